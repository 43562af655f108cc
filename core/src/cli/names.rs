//! H2O's names for what the reader's types say.

use cenote_mojo::algo::{Distribution, GlmKind, Link};

/// The link of a GLM of one linear predictor; the others have names of their own.
pub(super) fn glm_link(kind: &GlmKind) -> Option<&'static str> {
    match kind {
        GlmKind::Single { link: it, .. } => Some(link(*it)),
        GlmKind::Multinomial => Some("multinomial"),
        GlmKind::Ordinal => Some("ologit"),
    }
}

pub(super) fn distribution(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::Auto => "AUTO",
        Distribution::Bernoulli => "bernoulli",
        Distribution::QuasiBinomial => "quasibinomial",
        Distribution::FractionalBinomial => "fractionalbinomial",
        Distribution::ModifiedHuber => "modified_huber",
        Distribution::Multinomial => "multinomial",
        Distribution::Ordinal => "ordinal",
        Distribution::Gaussian => "gaussian",
        Distribution::Poisson => "poisson",
        Distribution::Gamma => "gamma",
        Distribution::Tweedie => "tweedie",
        Distribution::Huber => "huber",
        Distribution::Laplace => "laplace",
        Distribution::Quantile => "quantile",
        Distribution::NegativeBinomial => "negativebinomial",
        Distribution::Custom => "custom",
        _ => "unknown",
    }
}

pub(super) fn link(link: Link) -> &'static str {
    match link {
        Link::Identity => "identity",
        Link::Log => "log",
        Link::Logit => "logit",
        Link::Inverse => "inverse",
        Link::Ologit => "ologit",
        Link::Ologlog => "ologlog",
        Link::Oprobit => "oprobit",
        Link::Tweedie => "tweedie",
        Link::Multinomial => "multinomial",
        _ => "unknown",
    }
}
