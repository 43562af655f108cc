//! One file an algorithm: entries to plain structs. Nothing here predicts.

mod drf;
mod gbm;
mod glm;
mod tree;

pub use drf::Drf;
pub use gbm::Gbm;
pub use glm::{Glm, GlmKind};
pub use tree::{AuxNode, Calibration, Forest, LevelSet, NaSplit, Node, Split, Test, Tree, TreeRules};

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
