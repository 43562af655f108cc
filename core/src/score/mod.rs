//! Features to predictions: sums of trees or of coefficients, then links, corrections, calibration and labels.
//!
//! In flow blocks of raw features; out flow a label and numbers a row, in H2O's order, and the rows on which H2O throws.
//! A row's sum keeps H2O's order of summation in `f64`, whatever the block; see `docs/numerics.md`.

pub(crate) mod blocks;
pub(crate) mod calibrate;
pub(crate) mod forest;
mod glm;
pub(crate) mod java;
pub(crate) mod label;
pub(crate) mod link;

use std::sync::Arc;

use cenote_mojo::{Artifact, Body};

use crate::compile::{Block, EngineOptions, LateFlat, SmallForest};
use crate::error::{Error, ErrorKind};
pub(crate) use crate::kernels::exp;
use blocks::Slice;
use forest::ForestScorer;
use glm::GlmScorer;

/// Why H2O throws on a row: the class it throws and what the message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) class: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    /// An index that an array of that length does not have.
    pub(crate) fn index(index: i64, length: usize) -> Self {
        let message = format!("Index {index} out of bounds for length {length}");
        Self { class: "java.lang.ArrayIndexOutOfBoundsException", message }
    }

    pub(crate) fn illegal_argument(message: &str) -> Self {
        Self { class: "java.lang.IllegalArgumentException", message: message.to_owned() }
    }
}

/// A model ready to score.
#[derive(Debug)]
pub(crate) enum Scorer {
    Forest(Box<ForestScorer>),
    Glm(GlmScorer),
}

impl Scorer {
    /// Compiles a model; `trees` are its trees, which `artifact` may be without, and `flat` is its plain engine, if it is a forest.
    pub(crate) fn new(
        artifact: &Artifact,
        trees: Option<&SmallForest>,
        flat: &Arc<LateFlat>,
        options: &EngineOptions,
    ) -> Result<Self, Error> {
        match (&artifact.body, trees) {
            (Body::Gbm(_) | Body::Drf(_), Some(trees)) => {
                Ok(Scorer::Forest(Box::new(ForestScorer::new(artifact, trees, flat, options)?)))
            }
            (Body::Glm(glm), _) => Ok(Scorer::Glm(GlmScorer::new(artifact, glm, options.isa()))),
            _ => Err(ErrorKind::Unsupported {
                operation: "scoring",
                algorithm: artifact.manifest.algorithm.clone(),
            }
            .into()),
        }
    }

    /// The scorer of a forest, if the model is one.
    pub(crate) fn forest(&self) -> Option<&ForestScorer> {
        match self {
            Scorer::Forest(forest) => Some(forest),
            Scorer::Glm(_) => None,
        }
    }

    /// The engine's name.
    pub(crate) fn engine(&self) -> &'static str {
        match self {
            Scorer::Forest(forest) => forest.engine(),
            Scorer::Glm(_) => "glm",
        }
    }

    /// How many rows of a large batch a block should have.
    pub(crate) fn block_rows(&self) -> usize {
        match self {
            Scorer::Forest(forest) => forest.block_rows(),
            Scorer::Glm(_) => 4096,
        }
    }

    /// Writes the columns of a block: the label, if the model has labels, then the numbers.
    pub(crate) fn score(
        &self,
        block: &Block<'_>,
        offset: Option<&[f64]>,
        out: &mut [Slice<'_>],
        refuse: &mut dyn FnMut(usize, Refusal),
    ) {
        match self {
            Scorer::Forest(forest) => forest.score(block, offset, out, refuse),
            Scorer::Glm(glm) => glm.score(block, offset, out, refuse),
        }
    }

    /// Writes the numbers of one row and returns its label, without allocating.
    pub(crate) fn score_row(
        &self,
        row: &[f64],
        offset: f64,
        out: &mut [f64],
    ) -> Result<Option<u32>, Refusal> {
        match self {
            Scorer::Forest(forest) => forest.score_row(row, offset, out),
            Scorer::Glm(glm) => glm.score_row(row, offset, out),
        }
    }
}

/// Writes labels, if the model has some, and columns of numbers, one after the other, to the rows from `from` on.
fn write(out: &mut [Slice<'_>], from: usize, rows: usize, labels: &[u32], numbers: &[f64]) {
    let mut numbers = numbers.chunks_exact(rows.max(1));
    for slice in out {
        match slice {
            Slice::Number(values) => {
                if let Some(numbers) = numbers.next() {
                    values[from..from + rows].copy_from_slice(numbers);
                }
            }
            Slice::Code(codes) if !labels.is_empty() => codes[from..from + rows].copy_from_slice(labels),
            Slice::Code(_) | Slice::Integer(_) => {}
        }
    }
}

/// Adds the offsets, or Java's 0.
fn add_offsets(values: &mut [f64], offsets: Option<&[f64]>) {
    match offsets {
        Some(offsets) => values.iter_mut().zip(offsets).for_each(|(value, offset)| *value += offset),
        None => values.iter_mut().for_each(|value| *value += 0.0),
    }
}
