//! Distributed random forests: the keys beside the trees. Mirrors `DrfMojoReader`.

use crate::artifact::Body;
use crate::error::Error;
use crate::ini::require;
use crate::read::Source;

use super::{Calibration, Forest, calibration, forest};

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

pub(crate) fn read(source: &mut Source<'_, '_>) -> Result<Body, Error> {
    const DOUBLE: &str = "binomial_double_trees";
    let forest = forest::read(source)?;
    let Source { archive, ini, .. } = source;
    Ok(Body::Drf(Drf {
        forest,
        binomial_double_trees: require(ini.bool(DOUBLE)?, DOUBLE)?,
        calibration: calibration::read(archive, ini)?,
    }))
}
