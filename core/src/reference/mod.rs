//! The oracle within the crate: a scorer that is slow and obvious.
//!
//! In flow an [`Artifact`] and one raw row; out flows what H2O's Java would say of it. It follows the Java step by step,
//! with the same `preds` array, and shares nothing with the compiled scorers but the arithmetic of `Math.exp` and its
//! like, so that it shares no mistake with them either. Tests hold every engine to its bits. Not for production: it
//! allocates at every turn and walks a forest's trees as they lie in the file.

mod forest;
mod glm;
mod tree;

use cenote_mojo::{Artifact, Body, Category};

use crate::predictions::RowError;

/// What the reference says of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The index of the predicted label; `None` for a regression.
    pub label: Option<u32>,
    /// The prediction, or the class probabilities and then the calibrated ones.
    pub numbers: Vec<f64>,
}

/// Scores one raw row: features in the order of `artifact.schema.features`, level codes as numbers, `NaN` where missing.
///
/// # Errors
/// Where h2o-genmodel throws.
///
/// # Panics
/// If the row is shorter than the schema, or the algorithm has no reference yet.
pub fn score(artifact: &Artifact, row: &[f64], offset: f64) -> Result<Answer, RowError> {
    let classifier = artifact.manifest.category != Category::Regression;
    let classes = artifact.manifest.n_classes;
    let mut preds = vec![0.0; if classifier { 1 + classes } else { 2 }];
    let mut row = row.to_vec();
    match &artifact.body {
        Body::Gbm(gbm) => {
            forest::sums(artifact, &gbm.forest, &row, gbm.forest.groups, &mut preds)?;
            forest::unify_gbm(artifact, gbm, &row, offset, &mut preds)?;
        }
        Body::Drf(drf) => {
            forest::sums(artifact, &drf.forest, &row, drf.forest.groups, &mut preds)?;
            forest::unify_drf(artifact, drf, &row, &mut preds)?;
        }
        Body::Glm(glm) => glm::score(artifact, glm, &mut row, offset, &mut preds)?,
        _ => panic!("no reference for {}", artifact.manifest.algorithm),
    }
    if !classifier {
        return Ok(Answer { label: None, numbers: vec![preds[0]] });
    }
    let label = preds[0] as i32;
    if label < 0 || label as usize >= classes {
        return Err(index(i64::from(label), classes));
    }
    let mut numbers = preds[1..].to_vec();
    if artifact.manifest.category == Category::Binomial {
        let calibration = match &artifact.body {
            Body::Gbm(gbm) => &gbm.calibration,
            Body::Drf(drf) => &drf.calibration,
            _ => &None,
        };
        if let Some(calibration) = calibration {
            numbers.extend(forest::calibrate(calibration, &preds)?);
        }
    }
    Ok(Answer { label: Some(label as u32), numbers })
}

/// What each class's trees sum to, with nothing added.
///
/// # Errors
/// Where h2o-genmodel throws.
///
/// # Panics
/// If the model has no trees.
pub fn tree_sums(artifact: &Artifact, row: &[f64]) -> Result<Vec<f64>, RowError> {
    let forest = forest::of(artifact);
    let first = usize::from(artifact.manifest.n_classes != 1);
    let mut preds = vec![0.0; first + forest.trees_per_group];
    forest::sums(artifact, forest, row, forest.groups, &mut preds)?;
    Ok(preds.split_off(first))
}

/// The path and the node id of each tree's leaf, class by class; absent trees are left out. Neither is there for a leaf
/// deeper than 63.
///
/// # Panics
/// If the model has no trees, or its auxiliary records are broken.
pub fn leaves(artifact: &Artifact, row: &[f64]) -> Vec<(Option<String>, i32)> {
    let forest = forest::of(artifact);
    let trees = forest.trees.iter().flatten();
    trees.map(|tree| tree::leaf_assignment(&artifact.schema, forest.rules, tree, row)).collect()
}

/// The prediction after each group of trees, group by group, each scored from the first tree on.
///
/// # Errors
/// Where h2o-genmodel throws.
///
/// # Panics
/// If the model has no trees.
pub fn staged(artifact: &Artifact, row: &[f64]) -> Result<Vec<f64>, RowError> {
    let forest = forest::of(artifact);
    let classifier = artifact.manifest.category != Category::Regression;
    let mut stages = Vec::new();
    for groups in 1..=forest.groups {
        let mut preds = vec![0.0; if classifier { 1 + artifact.manifest.n_classes } else { 2 }];
        forest::sums(artifact, forest, row, groups, &mut preds)?;
        match &artifact.body {
            Body::Gbm(gbm) => forest::unify_gbm(artifact, gbm, row, 0.0, &mut preds)?,
            Body::Drf(drf) => forest::unify_drf(artifact, drf, row, &mut preds)?,
            _ => {}
        }
        let first = usize::from(classifier);
        stages.extend_from_slice(&preds[first..first + forest.trees_per_group]);
    }
    Ok(stages)
}

fn throw(class: &'static str, message: impl Into<String>) -> RowError {
    RowError { row: 0, class, message: message.into() }
}

fn index(index: i64, length: usize) -> RowError {
    let message = format!("Index {index} out of bounds for length {length}");
    throw("java.lang.ArrayIndexOutOfBoundsException", message)
}
