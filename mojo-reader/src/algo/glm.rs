//! Generalised linear models. Mirrors `GlmMojoReader`.

use super::Link;

/// What the linear predictor becomes.
#[derive(Debug, Clone, PartialEq)]
pub enum GlmKind {
    /// One linear predictor through an inverse link; `binomial` families give two classes.
    Single {
        /// The link.
        link: Link,
        /// Whether the mean is the probability of the second of two classes.
        binomial: bool,
        /// The power of a Tweedie link; 0 means log.
        tweedie_link_power: f64,
    },
    /// A linear predictor a class, through softmax.
    Multinomial,
    /// Cumulative logits.
    Ordinal,
}

/// A GLM: categorical columns first, then numeric ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Glm {
    /// The family's name, as in the file.
    pub family: String,
    /// Shape of the prediction.
    pub kind: GlmKind,
    /// Coefficients: categorical, numeric, intercept; for several classes one such run a class.
    pub beta: Vec<f64>,
    /// Whether level 0 of a factor has a coefficient of its own.
    pub use_all_factor_levels: bool,
    /// How many leading columns are categorical.
    pub cats: usize,
    /// The code a missing categorical value is replaced by; as long as `cats` when imputing.
    pub cat_modes: Vec<i32>,
    /// Where each categorical column's coefficients begin; `cats + 1` long.
    pub cat_offsets: Vec<i32>,
    /// How many numeric columns follow.
    pub nums: usize,
    /// The value a missing number is replaced by; as long as `nums` when imputing.
    pub num_means: Vec<f64>,
    /// Whether missing values are replaced before scoring.
    pub mean_imputation: bool,
    /// The dispersion estimate (1 where the file has none).
    pub dispersion: f64,
}
