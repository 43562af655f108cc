//! Inverse links: from the sum on the link scale to the response's.
//!
//! Mirrors `GbmMojoModel.linkInv`, and the `GLM_*Inv` methods of `GenModel`.

use cenote_mojo::algo::Link;

use super::exp::exp;
use super::java;
use crate::kernels::Isa;

/// Where the exponential of a GBM's link stops.
const GBM_MOST: f64 = 1e19;

/// [`gbm_inverse`] of each.
pub(crate) fn gbm_inverses(link: Link, isa: Isa, values: &mut [f64]) {
    match link {
        Link::Logit => isa.logistics(values, GBM_MOST),
        link => values.iter_mut().for_each(|value| *value = gbm_inverse(link, *value)),
    }
}

/// The inverse link of a GBM, whose exponential stops at 1e19.
#[inline]
pub(crate) fn gbm_inverse(link: Link, f: f64) -> f64 {
    match link {
        Link::Log => capped_exp(f),
        Link::Logit | Link::Ologit => 1.0 / (1.0 + capped_exp(-f)),
        Link::Ologlog => 1.0 - capped_exp(-capped_exp(f)),
        Link::Oprobit => 0.0,
        // Both bounds are -1e-5 in H2O.
        Link::Inverse => 1.0 / if f < 0.0 { java::min(-1e-5, f) } else { java::max(-1e-5, f) },
        _ => f,
    }
}

/// [`glm_inverse`] of each.
pub(crate) fn glm_inverses(link: Link, power: f64, values: &mut [f64]) {
    match link {
        Link::Logit => values.iter_mut().for_each(|value| *value = logistic(*value)),
        Link::Log => values.iter_mut().for_each(|value| *value = exp(*value)),
        link => values.iter_mut().for_each(|value| *value = glm_inverse(link, power, *value)),
    }
}

/// The inverse link of a GLM; `power` is the Tweedie link's.
#[inline]
pub(crate) fn glm_inverse(link: Link, power: f64, eta: f64) -> f64 {
    match link {
        Link::Logit | Link::Ologit => logistic(eta),
        Link::Log => exp(eta),
        Link::Inverse => 1.0 / if eta < 0.0 { java::min(-1e-5, eta) } else { java::max(1e-5, eta) },
        Link::Tweedie if power == 0.0 => java::max(2e-16, exp(eta)),
        Link::Tweedie => java::pow(eta, 1.0 / power),
        _ => eta,
    }
}

/// `1 / (e^-x + 1)`.
#[inline]
pub(crate) fn logistic(x: f64) -> f64 {
    1.0 / (exp(-x) + 1.0)
}

/// `NaN` stays `NaN`, as in `Math.min`.
#[inline]
fn capped_exp(x: f64) -> f64 {
    let power = exp(x);
    if power > GBM_MOST { GBM_MOST } else { power }
}
