//! Generalised linear models. Mirrors `GlmMojoReader`.

use crate::artifact::Body;
use crate::error::Error;
use crate::ini::{Ini, require};
use crate::read::Source;

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
    /// Coefficients: categorical, numeric, intercept; for several classes one such run a class, all of one length.
    ///
    /// A run is as long as `cat_offsets[cats] + nums + 1`, or longer. Then Java's `GlmMojoModel` goes on to multiply what
    /// stands before the intercept with the columns that follow (which exist), while the models of several classes pass over
    /// it.
    pub beta: Vec<f64>,
    /// Whether level 0 of a factor has a coefficient of its own.
    pub use_all_factor_levels: bool,
    /// How many leading columns are categorical.
    pub cats: usize,
    /// The code a missing categorical value is replaced by; at least `cats` long when imputing. A code is not checked
    /// against the levels, as Java only meets it in a row that lacks the value.
    pub cat_modes: Vec<i32>,
    /// Where each categorical column's coefficients begin; `cats + 1` long, ascending, within a run of `beta`.
    pub cat_offsets: Vec<i32>,
    /// How many numeric columns follow.
    pub nums: usize,
    /// The value a missing number is replaced by; at least `nums` long when imputing.
    pub num_means: Vec<f64>,
    /// Whether missing values are replaced before scoring.
    pub mean_imputation: bool,
    /// The dispersion estimate (1 where the file has none).
    pub dispersion: f64,
}

pub(crate) fn read(source: &mut Source<'_, '_>) -> Result<Body, Error> {
    let Source { ini, manifest, schema, .. } = source;
    let family = ini.text("family").unwrap_or_default().to_owned();
    let glm = Glm {
        kind: kind(ini, &family)?,
        family,
        beta: require(ini.doubles("beta")?, "beta")?,
        use_all_factor_levels: ini.bool("use_all_factor_levels")?.unwrap_or(false),
        cats: ini.count("cats")?,
        cat_modes: ini.ints("cat_modes")?.unwrap_or_default(),
        cat_offsets: ini.ints("cat_offsets")?.unwrap_or_default(),
        nums: ini.count("nums")?,
        num_means: ini.doubles("num_means")?.unwrap_or_default(),
        mean_imputation: ini.bool("mean_imputation")?.unwrap_or(false),
        dispersion: ini.double("dispersion_estimated")?.unwrap_or(1.0),
    };
    glm.check(ini, manifest.n_classes, schema.features.len())?;
    Ok(Body::Glm(glm))
}

fn kind(ini: &Ini, family: &str) -> Result<GlmKind, Error> {
    match family {
        "multinomial" => return Ok(GlmKind::Multinomial),
        "ordinal" => return Ok(GlmKind::Ordinal),
        _ => {}
    }
    let name = require(ini.text("link"), "link")?;
    // `GlmMojoModel.createLinkFunction` knows these and no others.
    let link = match Link::from_name(name) {
        Some(link @ (Link::Identity | Link::Logit | Link::Log | Link::Inverse | Link::Tweedie)) => link,
        _ => return Err(ini.wrong("link", format!("the link {name:?} does not fit family {family:?}"))),
    };
    Ok(GlmKind::Single {
        link,
        binomial: matches!(family, "binomial" | "fractionalbinomial" | "quasibinomial"),
        tweedie_link_power: ini.double("tweedie_link_power")?.unwrap_or(0.0),
    })
}

impl Glm {
    /// How many coefficients one class has.
    fn run(&self, n_classes: usize) -> usize {
        match self.kind {
            GlmKind::Single { .. } => self.beta.len(),
            GlmKind::Multinomial | GlmKind::Ordinal => self.beta.len() / n_classes,
        }
    }

    /// Checks what a scorer indexes with: offsets, lengths, and that columns and coefficients are as many.
    fn check(&self, ini: &Ini, n_classes: usize, n_features: usize) -> Result<(), Error> {
        let wrong = |key, message: String| Err(ini.wrong(key, message));
        let (cats, nums) = (self.cats, self.nums);
        if cats.checked_add(nums).is_none_or(|columns| columns > n_features) {
            return wrong("nums", format!("{cats} categorical and {nums} numeric columns of {n_features}"));
        }
        if self.cat_offsets.len() != cats + 1 {
            return wrong("cat_offsets", format!("{} offsets for {cats} columns", self.cat_offsets.len()));
        }
        if self.cat_offsets[0] < 0 || !self.cat_offsets.is_sorted() {
            return wrong("cat_offsets", "the offsets do not ascend from 0".to_owned());
        }
        match self.kind {
            GlmKind::Single { binomial: true, .. } if n_classes != 2 => {
                return wrong("family", format!("{:?} does not fit {n_classes} classes", self.family));
            }
            GlmKind::Multinomial | GlmKind::Ordinal
                if n_classes < 2 || !self.beta.len().is_multiple_of(n_classes) =>
            {
                return wrong("beta", format!("{} coefficients for {n_classes} classes", self.beta.len()));
            }
            _ => {}
        }
        let run = self.run(n_classes);
        let needed = self.cat_offsets[cats] as usize + nums + 1;
        if run < needed {
            return wrong("beta", format!("{run} coefficients a class, {needed} needed"));
        }
        // Java multiplies every coefficient left between the factors and the intercept with a column.
        let numeric = run - 1 - self.cat_offsets[cats] as usize;
        if matches!(self.kind, GlmKind::Single { .. }) && cats + numeric > n_features {
            return wrong("beta", format!("{run} coefficients for {n_features} columns"));
        }
        if self.mean_imputation {
            if self.cat_modes.len() < cats {
                return wrong("cat_modes", format!("{} modes for {cats} columns", self.cat_modes.len()));
            }
            if self.num_means.len() < nums {
                return wrong("num_means", format!("{} means for {nums} columns", self.num_means.len()));
            }
        }
        Ok(())
    }
}
