//! The front door: open a model, predict, explain.

mod outputs;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use cenote_mojo::{Archive, Artifact, Bytes, Category, Domain, Limits, Manifest, MojoVersion, Schema};

use self::outputs::{Outputs, PREDICT};
use crate::compile::{EngineOptions, EngineReport, FlatForest, LateFlat, SmallForest, report};
use crate::error::{Error, ErrorKind};
use crate::explain::leaves::Leaves;
use crate::explain::staged;
use crate::input::encoder::{Encoder, Place};
use crate::input::{Batch, Cell, Row};
use crate::kernels::reserve_large_pages;
use crate::plain::Plain;
use crate::predictions::{OutputColumn, OutputValues, Predictions, RowError};
use crate::score::blocks::{self, Cut, Slice, Work};
use crate::score::forest::{Finish, forest};
use crate::score::{Refusal, Scorer, label};

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
///
/// ```no_run
/// # fn main() -> Result<(), cenote::Error> {
/// let model = cenote::Model::open("model.zip")?;
/// let row = cenote::Row::new().with("carrier", "UA").with("distance", 2475.0);
/// let predictions = model.predict_row(&row)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

/// A model that is kept by others.
#[cfg(feature = "store")]
#[derive(Debug, Clone)]
pub(crate) struct WeakModel(std::sync::Weak<Inner>);

#[cfg(feature = "store")]
impl WeakModel {
    pub(crate) fn new(model: &Model) -> Self {
        Self(Arc::downgrade(&model.inner))
    }

    /// The model, if somebody still has it.
    pub(crate) fn upgrade(&self) -> Option<Model> {
        self.0.upgrade().map(|inner| Model { inner })
    }
}

#[derive(Debug)]
struct Inner {
    manifest: Manifest,
    schema: Schema,
    n_trees: usize,
    plain: Arc<Plain>,
    encoder: Encoder,
    scorer: Scorer,
    /// The plain engine, if the model is a forest.
    flat: Arc<LateFlat>,
    outputs: Outputs,
    trees: OnceLock<Trees>,
}

/// What explanations need and predictions do not: made when first asked for.
#[derive(Debug)]
struct Trees {
    leaves: Leaves,
    finish: Finish,
}

impl Model {
    /// A batch of at most so many rows is scored by the caller's thread alone, in or out of a pool.
    pub const ROWS_ALONE: usize = blocks::FEWEST_ROWS;

    /// Opens a MOJO zip, or the folder of an unzipped one.
    ///
    /// # Errors
    /// If the file is not a MOJO, is damaged, asks for more than the default [`Limits`], or holds an algorithm or a
    /// version that is not supported.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &Limits::default())
    }

    /// [`open`](Self::open) within limits of the caller's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, Error> {
        let room = |bytes| {
            let mut room = Vec::new();
            reserve_large_pages(&mut room, bytes);
            room
        };
        Self::from_archive(Archive::open_into(path, limits, room)?, limits)
    }

    /// Opens a MOJO from the bytes of its zip.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_bytes_with(bytes, &Limits::default())
    }

    /// [`from_bytes`](Self::from_bytes) within limits of the caller's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes_with(bytes: &[u8], limits: &Limits) -> Result<Self, Error> {
        if bytes.len() as u64 > limits.archive_bytes {
            return Self::from_archive(Archive::from_bytes_with(bytes, limits)?, limits);
        }
        Self::from_shared_with(Bytes::copy_from_slice(bytes), limits)
    }

    /// Opens a MOJO from the bytes of its zip without copying them: the model holds them, as whoever else has them does.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_shared(bytes: Bytes) -> Result<Self, Error> {
        Self::from_shared_with(bytes, &Limits::default())
    }

    /// [`from_shared`](Self::from_shared) within limits of the caller's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_shared_with(bytes: Bytes, limits: &Limits) -> Result<Self, Error> {
        Self::from_archive(Archive::from_shared_with(bytes, limits)?, limits)
    }

    /// A model of an artifact already read.
    ///
    /// # Errors
    /// If its algorithm is not supported.
    pub fn from_artifact(artifact: Artifact) -> Result<Self, Error> {
        Self::from_artifact_with(artifact, &EngineOptions::from_env())
    }

    /// [`from_artifact`](Self::from_artifact), compiled for an engine and an instruction set of the caller's: for tests and
    /// benchmarks; every one of them gives the same numbers.
    ///
    /// # Errors
    /// As [`from_artifact`](Self::from_artifact).
    pub fn from_artifact_with(artifact: Artifact, engines: &EngineOptions) -> Result<Self, Error> {
        let trees = forest(&artifact).ok().map(|forest| SmallForest::new(forest, &artifact.schema));
        let plain = Arc::new(Plain::kept(artifact));
        Self::compile(plain.keep(), trees, &plain, engines)
    }

    fn from_archive(mut archive: Archive<'_>, limits: &Limits) -> Result<Self, Error> {
        let engines = EngineOptions::from_env();
        let (mut artifact, trees) = archive.outline()?;
        let Some(trees) = trees else { return Self::from_artifact_with(artifact, &engines) };
        let Some(zip) = archive.into_bytes()? else {
            trees.unpack_into(&mut artifact)?;
            return Self::from_artifact_with(artifact, &engines);
        };
        let trees = SmallForest::read(&trees, forest(&artifact)?, &artifact.schema)?;
        Self::compile(&artifact, Some(trees), &Arc::new(Plain::packed(zip, limits.clone())), &engines)
    }

    /// A model of `artifact`, which may be without its trees.
    fn compile(
        artifact: &Artifact,
        trees: Option<SmallForest>,
        plain: &Arc<Plain>,
        engines: &EngineOptions,
    ) -> Result<Self, Error> {
        let flat = Arc::new(LateFlat::new(Box::new({
            let plain = Arc::clone(plain);
            move || {
                let artifact = plain.lend();
                FlatForest::new(forest(&artifact).expect("a forest"), &artifact.schema)
            }
        })));
        let inner = Inner {
            encoder: Encoder::new(&artifact.schema),
            scorer: Scorer::new(artifact, trees.as_ref(), &flat, engines)?,
            outputs: Outputs::new(artifact),
            manifest: artifact.manifest.clone(),
            schema: artifact.schema.clone(),
            n_trees: trees.map_or(0, |trees| trees.count),
            plain: Arc::clone(plain),
            flat,
            trees: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The model as plain data. A forest that came as a zip is read again when this is first asked, and then kept.
    pub fn artifact(&self) -> &Artifact {
        self.inner.plain.keep()
    }

    /// Who made the model, and what it answers.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// What the model expects of a row.
    pub fn schema(&self) -> &Schema {
        &self.inner.schema
    }

    /// What kind of answer the model gives.
    pub fn category(&self) -> Category {
        self.manifest().category
    }

    /// The labels that `predict` may take, in H2O's order; `None` for a regression.
    pub fn labels(&self) -> Option<&Domain> {
        self.inner.outputs.labels.as_ref()
    }

    /// The names of the columns of a prediction, in order.
    pub fn output_names(&self) -> impl Iterator<Item = &str> {
        let outputs = &self.inner.outputs;
        outputs.labels.iter().map(|_| PREDICT).chain(outputs.numbers.iter().map(String::as_str))
    }

    /// The names of the columns that a caller supplies, the offset's last.
    pub fn input_names(&self) -> impl Iterator<Item = &str> {
        self.inner.encoder.required()
    }

    /// The column whose value is added on the link scale, if the model was trained with one.
    pub fn offset_column(&self) -> Option<&str> {
        self.inner.encoder.offset()
    }

    /// How many trees the model has, absent ones not counted; 0 for a model without trees.
    pub fn n_trees(&self) -> usize {
        self.inner.n_trees
    }

    /// The name of the engine that scores batches, as benchmarks report it.
    pub fn engine(&self) -> &'static str {
        self.inner.scorer.engine()
    }

    /// Every engine for forests, whether it fits the model, and which one scores its batches and which its single rows; empty
    /// for a model without trees. Compiles the model twice more for each engine.
    pub fn engines(&self) -> Vec<EngineReport> {
        let artifact = self.inner.plain.lend();
        let forest = forest(&artifact);
        let report = |forest| {
            let flat = Arc::clone(&self.inner.flat);
            report(&SmallForest::new(forest, self.schema()), flat, &EngineOptions::from_env())
        };
        forest.map_or_else(|_| Vec::new(), report)
    }

    /// Scores a batch with the default options.
    ///
    /// # Errors
    /// As [`predict_with`](Self::predict_with).
    pub fn predict(&self, batch: &Batch<'_>) -> Result<Predictions, Error> {
        self.predict_with(batch, &PredictOptions::default())
    }

    /// Scores a batch: `[rows x columns]`, columns as [`output_names`](Self::output_names). Rows that H2O refuses stand
    /// in [`Predictions::errors`]. The work is shared by the rayon pool that the caller is in.
    ///
    /// # Errors
    /// If a column is missing, a dictionary code lies outside of its dictionary, or a cell breaks the strict policy.
    pub fn predict_with(&self, batch: &Batch<'_>, options: &PredictOptions) -> Result<Predictions, Error> {
        let columns = self.inner.outputs.columns(batch.rows());
        self.run(batch, options, self.inner.scorer.block_rows(), columns, |block, offset, out, refuse| {
            self.inner.scorer.score(block, offset, out, refuse);
        })
    }

    /// Scores one row; cells that are not given are missing.
    ///
    /// # Errors
    /// If H2O refuses the row.
    pub fn predict_row(&self, row: &Row<'_>) -> Result<Predictions, Error> {
        let mut features = vec![f64::NAN; self.inner.encoder.features()];
        let offset = self.inner.encoder.encode_row(row, Policy::Convert, &mut features)?;
        let mut numbers = vec![f64::NAN; self.n_numbers()];
        let label = self.predict_raw(&features, offset, &mut numbers)?;
        let mut columns = self.inner.outputs.columns(1);
        let mut numbers = numbers.into_iter();
        for column in &mut columns {
            match &mut column.values {
                OutputValues::Label { codes, .. } => codes.fill(label.unwrap_or(OutputValues::NO_LABEL)),
                OutputValues::Number(values) => values.fill(numbers.next().unwrap_or(f64::NAN)),
                OutputValues::Integer(_) => {}
            }
        }
        Ok(Predictions { rows: 1, columns, errors: Vec::new() })
    }

    /// How many numbers a row's prediction has: the columns beside the label.
    pub fn n_numbers(&self) -> usize {
        self.inner.outputs.numbers.len()
    }

    /// How many features a raw row has: the columns of [`Schema::features`].
    pub fn n_features(&self) -> usize {
        self.inner.encoder.features()
    }

    /// Scores one raw row without allocating: features in the order of [`Schema::features`], level codes as numbers,
    /// `NaN` where missing. Writes the columns beside the label to `numbers`, and returns the label's index in
    /// [`labels`](Self::labels). `offset` is on the link scale; 0 where the model has none.
    ///
    /// # Errors
    /// If H2O refuses the row.
    ///
    /// # Panics
    /// If `features` is not [`n_features`](Self::n_features) long, or `numbers` not [`n_numbers`](Self::n_numbers).
    pub fn predict_raw(
        &self,
        features: &[f64],
        offset: f64,
        numbers: &mut [f64],
    ) -> Result<Option<u32>, Error> {
        assert_eq!(features.len(), self.n_features(), "features of a raw row");
        assert_eq!(numbers.len(), self.n_numbers(), "numbers of a prediction");
        self.inner
            .scorer
            .score_row(features, offset, numbers)
            .map_err(|Refusal { class, message }| ErrorKind::Row(RowError { row: 0, class, message }).into())
    }

    /// Prepares to encode rows whose cells come in a fixed order, such as that of a query's columns. Names that the model
    /// does not know are skipped.
    ///
    /// # Errors
    /// If a column that the model reads is not among `names`, and `options` do not say that it is missing.
    pub fn bind(&self, names: &[&str], options: &PredictOptions) -> Result<BoundRow, Error> {
        let encoder = &self.inner.encoder;
        if options.missing_columns == MissingColumns::Refuse {
            let missing: Vec<String> =
                encoder.required().filter(|name| !names.contains(name)).map(str::to_owned).collect();
            if !missing.is_empty() {
                let found = names.iter().map(|name| (*name).to_owned()).collect();
                return Err(ErrorKind::MissingColumns { missing, found }.into());
            }
        }
        let places = names.iter().map(|name| encoder.place(name)).collect();
        Ok(BoundRow { model: self.clone(), policy: options.policy, places })
    }

    /// What each class's trees sum to, in H2O's order and Java's bits, with nothing added and no link taken:
    /// `[rows x trees a group]`, columns `C1`, `C2` ...
    ///
    /// # Errors
    /// As [`predict_with`](Self::predict_with); also if the model has no trees.
    pub fn tree_sums(&self, batch: &Batch<'_>, options: &PredictOptions) -> Result<Predictions, Error> {
        let scorer = self.inner.scorer.forest().ok_or_else(|| self.unsupported("summing trees"))?;
        let column = |class: usize| OutputColumn {
            name: format!("C{}", class + 1),
            values: OutputValues::Number(vec![f64::NAN; batch.rows()]),
        };
        let columns = (0..scorer.n_sums()).map(column).collect();
        self.run(batch, options, self.inner.scorer.block_rows(), columns, |block, _, out, refuse| {
            scorer.sums(block, out, refuse);
        })
    }

    /// The leaf of every tree that each row falls into: `[rows x trees]`, columns `T1.C1` ... for the trees that there
    /// are, class by class.
    ///
    /// # Errors
    /// As [`predict_with`](Self::predict_with); also if the model has no trees, or is of a MOJO version without: paths
    /// begin with 1.20, node ids with 1.30.
    pub fn leaf_assignments(
        &self,
        batch: &Batch<'_>,
        kind: LeafAssignment,
        options: &PredictOptions,
    ) -> Result<Predictions, Error> {
        let (operation, since) = match kind {
            LeafAssignment::Path => ("leaf assignment by path", 20),
            LeafAssignment::NodeId => ("leaf assignment by node id", 30),
        };
        let trees = self.trees(operation)?;
        let version = self.manifest().mojo_version;
        if version < (MojoVersion { major: 1, hundredths: since }) {
            return Err(self.unsupported(operation));
        }
        let (flat, leaves) = (&**self.inner.flat, &trees.leaves);
        let columns = match kind {
            LeafAssignment::Path => leaves.path_columns(batch.rows()),
            LeafAssignment::NodeId => leaves.id_columns(batch.rows()),
        };
        self.run(batch, options, EXPLAIN_BLOCK, columns, |block, _, out, _| {
            for (tree, slice) in out.iter_mut().enumerate() {
                match slice {
                    Slice::Code(codes) => {
                        for (row, code) in codes.iter_mut().enumerate() {
                            *code = leaves.path(tree, flat, |column| block.columns[column][row]);
                        }
                    }
                    Slice::Integer(ids) => {
                        for (row, id) in ids.iter_mut().enumerate() {
                            *id = leaves.id(tree, flat, |column| block.columns[column][row]);
                        }
                    }
                    Slice::Number(_) => {}
                }
            }
        })
    }

    /// The prediction after each group of trees: `[rows x trees]`, columns `T1.C1`, `T1.C2` ... group by group. For two
    /// classes it is the first class's probability. An offset counts as 0, as in H2O.
    ///
    /// # Errors
    /// As [`predict_with`](Self::predict_with); also if the model has no trees.
    pub fn staged_probabilities(
        &self,
        batch: &Batch<'_>,
        options: &PredictOptions,
    ) -> Result<Predictions, Error> {
        let finish = &self.trees("staged prediction")?.finish;
        let flat = &**self.inner.flat;
        let columns = staged::columns(flat, batch.rows());
        self.run(batch, options, EXPLAIN_BLOCK, columns, |block, _, out, refuse| {
            for row in 0..block.rows {
                let feature = |column: usize| block.columns[column][row];
                let hash = || block.columns.iter().fold(0, |hash, column| hash ^ label::hash_of(column[row]));
                let put = |at: usize, value: f64| {
                    if let Slice::Number(values) = &mut out[at] {
                        values[row] = value;
                    }
                };
                if let Err(refusal) = staged::row(flat, finish, feature, hash, put) {
                    refuse(row, refusal);
                }
            }
        })
    }

    fn run(
        &self,
        batch: &Batch<'_>,
        options: &PredictOptions,
        preferred: usize,
        columns: Vec<OutputColumn>,
        work: impl Work,
    ) -> Result<Predictions, Error> {
        let encoder = &self.inner.encoder;
        let cut = Cut { preferred, features: encoder.features() };
        blocks::run(encoder, batch, options, &cut, columns, work)
    }

    fn trees(&self, operation: &'static str) -> Result<&Trees, Error> {
        if let Some(trees) = self.inner.trees.get() {
            return Ok(trees);
        }
        let artifact = self.inner.plain.lend();
        let forest = forest(&artifact).map_err(|_| self.unsupported(operation))?;
        let leaves = Leaves::new(forest, &self.inner.flat)?;
        let finish = Finish::new(&artifact, &EngineOptions::default())?;
        Ok(self.inner.trees.get_or_init(|| Trees { leaves, finish }))
    }

    fn unsupported(&self, operation: &'static str) -> Error {
        let Manifest { algorithm, mojo_version, .. } = self.manifest();
        ErrorKind::Unsupported { operation, algorithm: format!("{algorithm} (MOJO {mojo_version})") }.into()
    }
}

/// How many rows explanations take at a time: each has a value a tree.
const EXPLAIN_BLOCK: usize = 512;

/// Encodes rows whose cells come in an order fixed by [`Model::bind`].
#[derive(Debug, Clone)]
pub struct BoundRow {
    model: Model,
    policy: Policy,
    places: Vec<Option<Place>>,
}

impl BoundRow {
    /// The model that rows are encoded for.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Writes the raw features of a row whose `cells` stand in the order of the names bound, and returns its offset, both
    /// as [`Model::predict_raw`] takes them. Cells that are not given are missing.
    ///
    /// # Errors
    /// If H2O refuses the row, or the strict policy a cell.
    ///
    /// # Panics
    /// If `features` is not [`Model::n_features`] long.
    pub fn encode<'c>(
        &self,
        cells: impl IntoIterator<Item = Cell<'c>>,
        features: &mut [f64],
    ) -> Result<f64, Error> {
        let encoder = &self.model.inner.encoder;
        assert_eq!(features.len(), encoder.features(), "features of a raw row");
        features.fill(f64::NAN);
        let mut offset = 0.0;
        for (place, cell) in self.places.iter().zip(cells) {
            if let Some(place) = place {
                encoder.encode_cell(*place, cell, self.policy, features, &mut offset)?;
            }
        }
        Ok(offset)
    }
}
