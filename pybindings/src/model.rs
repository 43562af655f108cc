//! `cenote.Model`: the core's model with Python's tables around it.
//!
//! In flow tables of any kind that [`input`] takes; out flow tables of the same kind. The class is frozen and may be shared
//! between threads; it carries the bytes of its MOJO, so that it pickles to where the file is not.

use std::borrow::Cow;

use cenote::input::Values;
use cenote::mojo::Bytes;
use cenote::{Batch, LeafAssignment, MissingColumns, Policy, PredictOptions, Predictions};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::enter::enter;
use crate::error;
use crate::input::{self, Input, Role, RowCells, Source, Wanted};
use crate::output;

/// A model ready to score. Make one with :func:`cenote.load`.
///
/// It is immutable, safe to share between threads, and pickles with the bytes of its MOJO, so that Spark, Ray and
/// multiprocessing can carry it. A child after ``fork`` may use it too.
///
/// **Tables.** Each call takes a pandas or polars ``DataFrame``, a pyarrow ``Table`` or ``RecordBatch``, any object with
/// ``__arrow_c_stream__`` or ``__arrow_c_array__``, a 2-D NumPy array, a dict of columns, a list of dicts, or one dict of
/// single values (a row), and gives back the same kind; another Arrow table comes back as an :class:`ArrowTable`. Columns are
/// found by name, in any order, and those the model does not read are ignored. A NumPy array of numbers has the columns of
/// :attr:`feature_names` in that order, categorical ones as level codes (their place in :attr:`domains`); one of objects or
/// text has cells as in a dict. Labels come back as categories (pandas, polars, Arrow), as text (dicts), or as their place in
/// :attr:`labels` (NumPy).
///
/// **Cells.** ``None``, null, ``NA`` and ``NaT`` are missing, and so is ``nan`` in a categorical column. As in H2O's
/// ``EasyPredictModelWrapper``: an unseen level counts as missing, text in a numeric column is read as Java's
/// ``Double.parseDouble`` reads it and is missing where that fails, a whole number in a categorical column is the level of
/// that text. Times are milliseconds since 1970-01-01 UTC. ``strict=True`` refuses what does not fit in place of converting
/// it (:class:`CellError` names row and column).
///
/// **Rows that H2O refuses**, because its Java scorer throws on them, are missing in every column of the answer (``nan`` in
/// NumPy arrays, with a ``RuntimeWarning``), and a last column ``error`` says why; that column is there only if some row was
/// refused. A single row raises :class:`RowError`, and so does any table under ``strict=True``.
///
/// **Missing columns.** A table without a column that the model reads raises :class:`MissingColumnsError`; a single row may
/// leave cells out, which then are missing. ``missing_columns="na"`` or ``"error"`` chooses for both.
///
/// **Threads.** Batches are scored on a pool that all threads of the process share, with the GIL released: see
/// :func:`set_num_threads`. A single row is scored on the caller's thread, with the GIL held: that takes microseconds.
#[pyclass(frozen, module = "cenote", name = "Model")]
#[derive(Debug)]
pub(crate) struct Model {
    model: cenote::Model,
    wanted: Wanted,
    bytes: Py<PyBytes>,
}

/// What is asked of the model.
#[derive(Debug, Clone, Copy)]
enum Call {
    Predict,
    Leaves(LeafAssignment),
    Staged,
}

impl Model {
    /// Opens the model in the bytes of a zip.
    pub(crate) fn from_bytes(bytes: Bound<'_, PyBytes>) -> PyResult<Self> {
        let py = bytes.py();
        // The model holds Python's own bytes, not a copy of them.
        let shared = Bytes::from_owner(PyBackedBytes::from(bytes.clone()));
        let model = py.detach(|| cenote::Model::from_shared(shared));
        let model = model.map_err(|error| error::opening(py, &error))?;
        let wanted = Wanted::of(py, &model);
        Ok(Self { model, wanted, bytes: bytes.unbind() })
    }

    /// The core's model.
    pub(crate) fn model(&self) -> &cenote::Model {
        &self.model
    }

    /// The columns that it reads.
    pub(crate) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    fn call(
        &self,
        call: Call,
        batch: &Batch<'_>,
        options: &PredictOptions,
    ) -> Result<Predictions, cenote::Error> {
        match call {
            Call::Predict => self.model.predict_with(batch, options),
            Call::Leaves(kind) => self.model.leaf_assignments(batch, kind, options),
            Call::Staged => self.model.staged_probabilities(batch, options),
        }
    }

    /// Scores whatever `data` is.
    fn run<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        call: Call,
        options: Options,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = data.py();
        if let Ok(dict) = data.cast::<PyDict>()
            && input::is_row(dict, &self.wanted)?
        {
            return output::one(py, &self.run_row(dict, call, options)?);
        }
        let Input { form, names, source } = input::table(data, &self.wanted)?;
        let predictions = self.run_table(py, &names, source, call, &options.table())?;
        if options.strict
            && let Some(refused) = predictions.errors.first()
        {
            return Err(error::refused_row(py, refused));
        }
        form.give(py, predictions)
    }

    /// Scores one row, attached to the interpreter: coming back can take longer than scoring did.
    fn run_row(&self, dict: &Bound<'_, PyDict>, call: Call, options: Options) -> PyResult<Predictions> {
        let py = dict.py();
        let cells = RowCells::read(dict, &self.wanted)?;
        let scored = if matches!(call, Call::Predict) && options.is_default() {
            self.model.predict_row(&cells.row(&self.wanted))
        } else {
            let mut batch = Batch::new(1);
            cells
                .cells(&self.wanted)
                .try_for_each(|(name, cell)| batch.push(name, Values::Cells(Cow::Owned(vec![cell]))))
                .and_then(|()| self.call(call, &batch, &options.row()))
        };
        scored.map_err(|error| {
            let names: Vec<String> =
                dict.keys().iter().filter_map(|key| key.extract::<String>().ok()).collect();
            error::core(py, &error, &names)
        })
    }

    fn run_table(
        &self,
        py: Python<'_>,
        names: &[String],
        source: Source<'_>,
        call: Call,
        options: &PredictOptions,
    ) -> PyResult<Predictions> {
        match source {
            Source::Columns(columns) => {
                let batch = columns.batch(&self.wanted).map_err(|error| error::core(py, &error, names))?;
                enter(py, batch.rows(), names, || self.call(call, &batch, options))
            }
            Source::Stream(reader) => {
                let schema = reader.schema();
                let mut all: Option<Predictions> = None;
                let score = |batch: &arrow_array::RecordBatch| {
                    let columns = input::wanted_columns(py, batch, &self.wanted)?;
                    let batch = columns.batch().map_err(|error| error::core(py, &error, names))?;
                    enter(py, batch.rows(), names, || self.call(call, &batch, options))
                };
                for batch in reader {
                    let batch = batch.map_err(|error| error::input(py, &error.to_string()))?;
                    let next = score(&batch)?;
                    match &mut all {
                        None => all = Some(next),
                        Some(all) => output::append(all, next),
                    }
                }
                match all {
                    Some(all) => Ok(all),
                    None => score(&arrow_array::RecordBatch::new_empty(schema)),
                }
            }
        }
    }
}

/// The keyword arguments that all calls share.
#[derive(Debug, Clone, Copy)]
struct Options {
    strict: bool,
    missing_columns: Option<MissingColumns>,
}

impl Options {
    fn new(strict: bool, missing_columns: Option<&str>) -> PyResult<Self> {
        let missing_columns = match missing_columns {
            None => None,
            Some("error") => Some(MissingColumns::Refuse),
            Some("na") => Some(MissingColumns::AsMissing),
            Some(_) => return Err(PyValueError::new_err("missing_columns is \"error\", \"na\" or None")),
        };
        Ok(Self { strict, missing_columns })
    }

    fn is_default(self) -> bool {
        !self.strict && self.missing_columns != Some(MissingColumns::Refuse)
    }

    fn with_default(self, missing_columns: MissingColumns) -> PredictOptions {
        let mut options = PredictOptions::default();
        options.policy = if self.strict { Policy::Strict } else { Policy::Convert };
        options.missing_columns = self.missing_columns.unwrap_or(missing_columns);
        options
    }

    /// For a table: a column that is not there is a mistake.
    fn table(self) -> PredictOptions {
        self.with_default(MissingColumns::Refuse)
    }

    /// For one row: a cell that is not given is missing.
    fn row(self) -> PredictOptions {
        self.with_default(MissingColumns::AsMissing)
    }
}

#[pymethods]
impl Model {
    /// Reads a model from the bytes of its zip.
    #[staticmethod]
    fn _from_bytes(bytes: Bound<'_, PyBytes>) -> PyResult<Self> {
        Self::from_bytes(bytes)
    }

    /// Predict a table, or the one row that a dict of single values is.
    #[pyo3(signature = (data, *, strict=false, missing_columns=None))]
    fn predict<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        strict: bool,
        missing_columns: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.run(data, Call::Predict, Options::new(strict, missing_columns)?)
    }

    /// Tell the leaf of every tree that each row falls into.
    #[pyo3(signature = (data, r#type="Path", *, strict=false, missing_columns=None))]
    fn predict_leaf_node_assignment<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        r#type: &str,
        strict: bool,
        missing_columns: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let kind = match r#type {
            "Path" => LeafAssignment::Path,
            "Node_ID" => LeafAssignment::NodeId,
            _ => return Err(PyValueError::new_err("type is \"Path\" or \"Node_ID\"")),
        };
        self.run(data, Call::Leaves(kind), Options::new(strict, missing_columns)?)
    }

    /// Predict after each tree.
    #[pyo3(signature = (data, *, strict=false, missing_columns=None))]
    fn staged_predict_proba<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        strict: bool,
        missing_columns: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.run(data, Call::Staged, Options::new(strict, missing_columns)?)
    }

    /// Tell how much each feature moves a row's prediction. Not in this release.
    #[pyo3(signature = (data, *, strict=false, missing_columns=None))]
    fn predict_contributions<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        strict: bool,
        missing_columns: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Options::new(strict, missing_columns)?;
        Err(error::unsupported(data.py(), "contributions are not in this release of cenote"))
    }

    /// The short name of the algorithm, such as ``gbm``.
    #[getter]
    fn algo(&self) -> &str {
        &self.model.manifest().algo
    }

    /// The long name of the algorithm.
    #[getter]
    fn algorithm(&self) -> &str {
        &self.model.manifest().algorithm
    }

    /// What the model answers, by H2O's name: ``Regression``, ``Binomial``, ``Multinomial`` ...
    #[getter]
    fn category(&self) -> String {
        format!("{:?}", self.model.manifest().category)
    }

    /// The release of H2O that wrote the file.
    #[getter]
    fn h2o_version(&self) -> &str {
        &self.model.manifest().h2o_version
    }

    /// The version of the algorithm's format, such as ``1.40``.
    #[getter]
    fn mojo_version(&self) -> String {
        self.model.manifest().mojo_version.to_string()
    }

    /// The model's uuid, as written.
    #[getter]
    fn uuid(&self) -> &str {
        &self.model.manifest().uuid
    }

    /// How many trees a class has; ``None`` for models without trees.
    #[getter]
    fn n_trees(&self) -> Option<usize> {
        self.info_value("n_trees")?.parse().ok()
    }

    /// The probability at and above which the second of two classes is predicted; ``None`` for other models.
    #[getter]
    fn default_threshold(&self) -> Option<f64> {
        let manifest = self.model.manifest();
        (manifest.n_classes == 2).then_some(manifest.default_threshold)
    }

    /// Every key of the file's ``[info]`` section, as written.
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let info = PyDict::new(py);
        for (key, value) in &self.model.manifest().info {
            info.set_item(key, value)?;
        }
        Ok(info)
    }

    /// The columns that the model reads, in its order; a NumPy array's columns stand in this order.
    #[getter]
    fn feature_names(&self) -> Vec<&str> {
        self.wanted.columns().iter().map(|column| column.name.as_str()).collect()
    }

    /// ``numeric`` or ``categorical``, by column.
    #[getter]
    fn feature_types<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let types = PyDict::new(py);
        for column in self.wanted.columns() {
            types.set_item(
                &column.key,
                match column.role {
                    Role::Categorical => "categorical",
                    _ => "numeric",
                },
            )?;
        }
        Ok(types)
    }

    /// The levels of each categorical column in code order, and ``None`` for each numeric one.
    #[getter]
    fn domains<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let domains = PyDict::new(py);
        for column in self.model.schema().input_columns() {
            domains.set_item(&column.name, column.domain.as_deref())?;
        }
        Ok(domains)
    }

    /// The response column, if the model is supervised.
    #[getter]
    fn response(&self) -> Option<&str> {
        self.model.schema().response.as_ref().map(|response| response.name.as_str())
    }

    /// The labels that ``predict`` may take, in H2O's order, if the model is a classifier.
    #[getter]
    fn labels(&self) -> Option<Vec<&str>> {
        Some(self.model.labels()?.iter().map(String::as_str).collect())
    }

    /// The column that is added on the link scale, if the model was trained with one.
    #[getter]
    fn offset_column(&self) -> Option<&str> {
        self.model.offset_column()
    }

    /// The columns of :meth:`predict`'s answer.
    #[getter]
    fn output_names(&self) -> Vec<&str> {
        self.model.output_names().collect()
    }

    /// The bytes of the MOJO's zip.
    pub(crate) fn to_bytes(&self, py: Python<'_>) -> Py<PyBytes> {
        self.bytes.clone_ref(py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let load = py.import(intern!(py, "cenote"))?.getattr(intern!(py, "load"))?;
        Ok((load, PyTuple::new(py, [self.bytes.bind(py)])?))
    }

    fn __repr__(&self) -> String {
        let manifest = self.model.manifest();
        let trees = self.n_trees().map(|trees| format!(", {trees} trees")).unwrap_or_default();
        format!(
            "<cenote.Model {} {:?}: {} features{trees}, H2O {}>",
            manifest.algo,
            manifest.category,
            self.wanted.columns().len(),
            manifest.h2o_version
        )
    }
}

impl Model {
    fn info_value(&self, key: &str) -> Option<&str> {
        let info = &self.model.manifest().info;
        info.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str())
    }
}
