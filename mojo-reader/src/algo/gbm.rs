//! Gradient boosting machines: the keys beside the trees. Mirrors `GbmMojoReader`.

use crate::artifact::Body;
use crate::error::Error;
use crate::ini::require;
use crate::read::Source;

use super::{Calibration, Distribution, Forest, Link, calibration, forest};

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

pub(crate) fn read(source: &mut Source<'_, '_>) -> Result<Body, Error> {
    let forest = forest::read(source)?;
    let Source { archive, ini, manifest, .. } = source;
    let name = require(ini.text("distribution"), "distribution")?;
    let distribution = Distribution::from_name(name)
        .ok_or_else(|| ini.wrong("distribution", format!("the distribution {name:?} is not one of H2O's")))?;
    // These write probabilities of two classes, or of all, whatever the category says.
    let fits = match distribution {
        Distribution::Bernoulli | Distribution::QuasiBinomial | Distribution::ModifiedHuber => {
            manifest.n_classes == 2
        }
        Distribution::Multinomial => manifest.n_classes >= 2,
        _ => true,
    };
    if !fits {
        return Err(
            ini.wrong("distribution", format!("{name:?} does not fit {} classes", manifest.n_classes))
        );
    }
    let link = match ini.text("link_function") {
        None => distribution.default_link(),
        Some(name) => Link::from_name(name)
            .ok_or_else(|| ini.wrong("link_function", format!("the link {name:?} is not one of H2O's")))?,
    };
    Ok(Body::Gbm(Gbm {
        forest,
        distribution,
        link,
        init_f: require(ini.double("init_f")?, "init_f")?,
        calibration: calibration::read(archive, ini)?,
    }))
}
