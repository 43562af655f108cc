//! One file an algorithm: entries to plain structs. Nothing here predicts.

mod aux_records;
mod calibration;
mod drf;
mod encoding;
mod forest;
mod gbm;
mod glm;
mod tree;
mod tree_bytes;

pub use aux_records::{Aux, AuxNode};
pub use calibration::Calibration;
pub use drf::Drf;
#[doc(hidden)]
pub use forest::{PackedTrees, TakeTrees};
pub use gbm::Gbm;
pub use glm::{Glm, GlmKind};
pub use tree::{Forest, LevelSet, NaSplit, Node, Split, Test, Tree, TreeRules};

pub(crate) use drf::read as read_drf;
pub(crate) use gbm::read as read_gbm;
pub(crate) use glm::read as read_glm;

/// The response distribution. Mirrors `DistributionFamily`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are H2O's")]
#[non_exhaustive]
pub enum Distribution {
    Auto,
    Bernoulli,
    QuasiBinomial,
    FractionalBinomial,
    ModifiedHuber,
    Multinomial,
    Ordinal,
    Gaussian,
    Poisson,
    Gamma,
    Tweedie,
    Huber,
    Laplace,
    Quantile,
    NegativeBinomial,
    Custom,
}

/// A link function. Mirrors `LinkFunctionType` and the names of GLM links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are H2O's")]
#[non_exhaustive]
pub enum Link {
    Identity,
    Log,
    Logit,
    Inverse,
    Ologit,
    Ologlog,
    Oprobit,
    Tweedie,
    Multinomial,
}

impl Distribution {
    /// The distribution of that name in `DistributionFamily`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "AUTO" => Self::Auto,
            "bernoulli" => Self::Bernoulli,
            "quasibinomial" => Self::QuasiBinomial,
            "fractionalbinomial" => Self::FractionalBinomial,
            "modified_huber" => Self::ModifiedHuber,
            "multinomial" => Self::Multinomial,
            "ordinal" => Self::Ordinal,
            "gaussian" => Self::Gaussian,
            "poisson" => Self::Poisson,
            "gamma" => Self::Gamma,
            "tweedie" => Self::Tweedie,
            "huber" => Self::Huber,
            "laplace" => Self::Laplace,
            "quantile" => Self::Quantile,
            "negativebinomial" => Self::NegativeBinomial,
            "custom" => Self::Custom,
            _ => return None,
        })
    }

    /// The link where the file names none. Mirrors `ModelMojoReader.defaultLinkFunction`.
    pub(crate) fn default_link(self) -> Link {
        match self {
            Self::Bernoulli
            | Self::FractionalBinomial
            | Self::QuasiBinomial
            | Self::ModifiedHuber
            | Self::Ordinal => Link::Logit,
            Self::Multinomial | Self::Poisson | Self::Gamma | Self::Tweedie => Link::Log,
            _ => Link::Identity,
        }
    }
}

impl Link {
    /// The link of that name in `LinkFunctionType`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "identity" => Self::Identity,
            "log" => Self::Log,
            "logit" => Self::Logit,
            "inverse" => Self::Inverse,
            "ologit" => Self::Ologit,
            "ologlog" => Self::Ologlog,
            "oprobit" => Self::Oprobit,
            "tweedie" => Self::Tweedie,
            _ => return None,
        })
    }
}
