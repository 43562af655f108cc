//! The front door: open a model, predict, explain.

use std::path::Path;

use cenote_mojo::Artifact;

use crate::error::Error;
use crate::input::{Batch, Row};
use crate::predictions::Predictions;

/// What happens to a cell that does not fit its column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// As H2O's `EasyPredictModelWrapper` with `convertUnknownCategoricalLevelsToNa` and `convertInvalidNumbersToNa`.
    #[default]
    Convert,
    /// Refuse the batch, naming column, row and kind of value.
    Strict,
}

/// What happens when a column that the model reads is not in the batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingColumns {
    /// An error that lists what the model needs and what came.
    #[default]
    Refuse,
    /// Every cell of it is missing.
    AsMissing,
}

/// How to predict.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PredictOptions {
    /// What happens to a cell that does not fit its column.
    pub policy: Policy,
    /// What happens when a column is not there.
    pub missing_columns: MissingColumns,
}

/// Which name of a leaf is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeafAssignment {
    /// The turns from the root, such as `LRL`; none for leaves deeper than 63.
    Path,
    /// H2O's node id; -1 for leaves deeper than 63.
    NodeId,
}

/// A model ready to score: immutable, `Send + Sync`, cheap to clone.
#[derive(Debug, Clone)]
pub struct Model {
    artifact: std::sync::Arc<Artifact>,
}

impl Model {
    /// Opens a MOJO zip, or the folder of an unzipped one.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        todo!("{:?}", path.as_ref())
    }

    /// Opens a MOJO from the bytes of its zip.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        todo!("{}", bytes.len())
    }

    /// The model as plain data.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Scores a batch with the default options.
    pub fn predict(&self, batch: &Batch<'_>) -> Result<Predictions, Error> {
        self.predict_with(batch, &PredictOptions::default())
    }

    /// Scores a batch.
    pub fn predict_with(&self, _batch: &Batch<'_>, _options: &PredictOptions) -> Result<Predictions, Error> {
        todo!()
    }

    /// Scores one row; cells that are not given are missing.
    pub fn predict_row(&self, _row: &Row<'_>) -> Result<Predictions, Error> {
        todo!()
    }

    /// The leaf of every tree that each row falls into: `[rows x trees]`, columns `T1.C1` ....
    pub fn leaf_assignments(
        &self,
        _batch: &Batch<'_>,
        _kind: LeafAssignment,
        _options: &PredictOptions,
    ) -> Result<Predictions, Error> {
        todo!()
    }

    /// The prediction after each tree: `[rows x trees]`, columns `T1.C1` ....
    pub fn staged_probabilities(
        &self,
        _batch: &Batch<'_>,
        _options: &PredictOptions,
    ) -> Result<Predictions, Error> {
        todo!()
    }
}
