//! Generalised linear models: `glmScore0` of the three scorers of h2o-genmodel, on the `preds` array.

use cenote_mojo::Artifact;
use cenote_mojo::algo::{Glm, GlmKind, Link};

use super::{index, throw};
use crate::predictions::RowError;
use crate::score::exp::exp;
use crate::score::java;

#[expect(clippy::needless_range_loop, reason = "one index into several arrays, as in Java")]
pub(super) fn score(
    artifact: &Artifact,
    glm: &Glm,
    data: &mut [f64],
    offset: f64,
    preds: &mut [f64],
) -> Result<(), RowError> {
    if glm.mean_imputation {
        for i in 0..glm.cats {
            if data[i].is_nan() {
                data[i] = f64::from(glm.cat_modes[i]);
            }
        }
        for i in 0..glm.nums {
            if data[glm.cats + i].is_nan() {
                data[glm.cats + i] = glm.num_means[i];
            }
        }
    }
    let classes = artifact.manifest.n_classes;
    match glm.kind {
        GlmKind::Single { link, binomial, tweedie_link_power } => {
            let eta = linear(glm, data, 0, glm.beta.len())? + offset;
            let mu = inverse(link, tweedie_link_power, eta);
            if binomial {
                preds[0] = if mu >= artifact.manifest.default_threshold { 1.0 } else { 0.0 };
                preds[1] = 1.0 - mu;
                preds[2] = mu;
            } else {
                preds[0] = mu;
            }
        }
        GlmKind::Multinomial => {
            let run = glm.beta.len() / classes;
            for class in 0..classes {
                preds[1 + class] = linear(glm, data, class * run, run)?;
            }
            let mut greatest = 0.0;
            for p in &preds[1..] {
                if *p > greatest {
                    greatest = *p;
                }
            }
            let mut sum = 0.0;
            for p in &mut preds[1..] {
                *p = exp(*p - greatest);
                sum += *p;
            }
            let scale = 1.0 / sum;
            let mut most = 0.0;
            preds[0] = 0.0;
            for class in 1..preds.len() {
                preds[class] *= scale;
                if preds[class] > most {
                    most = preds[class];
                    preds[0] = (class - 1) as f64;
                }
            }
        }
        GlmKind::Ordinal => {
            let run = glm.beta.len() / classes;
            for class in 0..classes - 1 {
                preds[1 + class] = linear(glm, data, class * run, run)?;
            }
            let mut previous = 0.0;
            for p in &mut preds[1..classes] {
                let eta = *p + offset;
                let current = 1.0 / (1.0 + exp(-eta));
                *p = current - previous;
                previous = current;
            }
            preds[classes] = 1.0 - previous;
            preds[0] = 0.0;
            let mut greatest = 0;
            for i in 1..preds.len() {
                if preds[i] > preds[greatest] {
                    greatest = i;
                }
            }
            preds[0] = greatest as f64 - 1.0;
        }
    }
    Ok(())
}

/// The linear predictor whose coefficients are `run` from `first` on.
#[expect(clippy::needless_range_loop, reason = "one index into several arrays, as in Java")]
fn linear(glm: &Glm, data: &[f64], first: usize, run: usize) -> Result<f64, RowError> {
    let skipped = i32::from(!glm.use_all_factor_levels);
    let mut eta = 0.0;
    for i in 0..glm.cats {
        if skipped == 1 && data[i] == 0.0 {
            continue;
        }
        let level = (data[i] as i32).wrapping_sub(skipped);
        if f64::from(level) != data[i] - f64::from(skipped) {
            return Err(throw("java.lang.IllegalArgumentException", "categorical value out of range"));
        }
        let level = level.wrapping_add(glm.cat_offsets[i]);
        if level < glm.cat_offsets[i + 1] {
            let at = i64::from(level) + first as i64;
            let beta = usize::try_from(at).ok().and_then(|at| glm.beta.get(at));
            eta += beta.ok_or_else(|| index(at, glm.beta.len()))?;
        }
    }
    let begin = glm.cat_offsets[glm.cats] as usize;
    for i in 0..run - 1 - begin {
        if i < glm.nums || matches!(glm.kind, GlmKind::Single { .. }) {
            eta += glm.beta[first + begin + i] * data[glm.cats + i];
        }
    }
    eta += glm.beta[first + run - 1];
    Ok(eta)
}

fn inverse(link: Link, power: f64, x: f64) -> f64 {
    match link {
        Link::Logit => 1.0 / (exp(-x) + 1.0),
        Link::Log => exp(x),
        Link::Inverse => {
            let x = if x < 0.0 { java::min(-1e-5, x) } else { java::max(1e-5, x) };
            1.0 / x
        }
        Link::Tweedie if power == 0.0 => java::max(2e-16, exp(x)),
        Link::Tweedie => java::pow(x, 1.0 / power),
        _ => x,
    }
}
