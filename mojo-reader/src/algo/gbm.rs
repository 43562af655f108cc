//! Gradient boosting machines: the keys beside the trees. Mirrors `GbmMojoReader`.

use super::{Calibration, Distribution, Forest, Link};

/// A GBM.
#[derive(Debug, Clone, PartialEq)]
pub struct Gbm {
    /// The trees.
    pub forest: Forest,
    /// The distribution trained for.
    pub distribution: Distribution,
    /// The link whose inverse ends the sum.
    pub link: Link,
    /// Added to the sum of trees, before the offset.
    pub init_f: f64,
    /// Calibration of the probabilities, if the model has one.
    pub calibration: Option<Calibration>,
}
