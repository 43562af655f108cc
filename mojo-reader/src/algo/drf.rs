//! Distributed random forests: the keys beside the trees. Mirrors `DrfMojoReader`.

use super::{Calibration, Forest};

/// A DRF.
#[derive(Debug, Clone, PartialEq)]
pub struct Drf {
    /// The trees.
    pub forest: Forest,
    /// Whether a binomial forest has a tree for each of its classes.
    pub binomial_double_trees: bool,
    /// Calibration of the probabilities, if the model has one.
    pub calibration: Option<Calibration>,
}
