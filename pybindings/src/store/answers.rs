//! What the store gives: features and predictions, with the status of their keys.

use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use cenote::input::arrow::ErrorColumn;
use cenote::store::{self, Status, Timestamp};
use cenote::{Predictions, serve};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDelta, PyDict, PyList, PyString};

use super::keys::{datetime, object};
use crate::error;
use crate::input::Form;
use crate::output;
use crate::table::ArrowTable;

/// What became of the rows of a write. The three add up to the rows given.
#[pyclass(frozen, eq, get_all, module = "cenote", name = "Upserted")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Upserted {
    /// Rows whose key was not there.
    inserted: u64,
    /// Rows that took the place of an older one.
    updated: u64,
    /// Rows that changed nothing: the store had a newer one or the same.
    stale: u64,
}

impl Upserted {
    pub(super) fn add(&mut self, more: store::Upserted) {
        self.inserted += more.inserted;
        self.updated += more.updated;
        self.stale += more.stale;
    }
}

#[pymethods]
impl Upserted {
    fn __repr__(&self) -> String {
        let Self { inserted, updated, stale } = self;
        format!("Upserted(inserted={inserted}, updated={updated}, stale={stale})")
    }
}

/// `fresh`, `stale` or `missing`.
fn name(status: Status) -> &'static str {
    match status {
        Status::Fresh => "fresh",
        Status::Stale { .. } => "stale",
        Status::Missing => "missing",
    }
}

/// How old a stale row is.
fn age(py: Python<'_>, status: Status) -> PyResult<Option<Py<PyDelta>>> {
    match status {
        Status::Stale { age } => {
            let seconds = age.as_secs();
            let (days, seconds) = ((seconds / 86_400) as i32, (seconds % 86_400) as i32);
            Ok(Some(PyDelta::new(py, days, seconds, age.subsec_micros() as i32, false)?.unbind()))
        }
        Status::Fresh | Status::Missing => Ok(None),
    }
}

fn moment(py: Python<'_>, event_ts: Option<Timestamp>) -> PyResult<Option<Py<PyAny>>> {
    event_ts.map(|moment| Ok(datetime(py, moment)?.unbind())).transpose()
}

/// How a replica fares, as a dict.
pub(super) fn replica<'py>(py: Python<'py>, state: &store::ReplicaState) -> PyResult<Bound<'py, PyDict>> {
    let answer = PyDict::new(py);
    answer.set_item("fresh", state.fresh)?;
    answer.set_item("reads", state.reads)?;
    Ok(answer)
}

/// The features of one key.
#[pyclass(frozen, module = "cenote", name = "Features")]
pub(crate) struct Features {
    /// ``fresh``, ``stale`` or ``missing``.
    #[pyo3(get)]
    status: &'static str,
    /// How old a stale row is, as a ``timedelta``; ``None`` where it is not stale.
    #[pyo3(get)]
    age: Option<Py<PyDelta>>,
    /// When the features held true; ``None`` where there is no row.
    #[pyo3(get)]
    event_ts: Option<Py<PyAny>>,
    /// Each feature's value by name, ``None`` where it is missing.
    #[pyo3(get)]
    values: Py<PyDict>,
}

impl Features {
    /// `names` are those of the features, in order.
    pub(super) fn new(py: Python<'_>, features: store::Features, names: &[Py<PyString>]) -> PyResult<Self> {
        let values = PyDict::new(py);
        for (value, name) in features.values.into_iter().zip(names) {
            values.set_item(name, object(py, value)?)?;
        }
        Ok(Self {
            status: name(features.status),
            age: age(py, features.status)?,
            event_ts: moment(py, features.event_ts)?,
            values: values.unbind(),
        })
    }
}

#[pymethods]
impl Features {
    fn __getitem__<'py>(&self, py: Python<'py>, feature: &str) -> PyResult<Bound<'py, PyAny>> {
        self.values.bind(py).as_any().get_item(feature)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<cenote.Features {}: {}>", self.status, self.values.bind(py).repr()?.to_string_lossy()))
    }
}

/// The statuses of many keys.
fn names(status: &[Status]) -> Vec<&'static str> {
    status.iter().map(|status| name(*status)).collect()
}

fn moments<'py>(py: Python<'py>, event_ts: &[Option<Timestamp>]) -> PyResult<Bound<'py, PyList>> {
    let moments: PyResult<Vec<_>> = event_ts.iter().map(|event| moment(py, *event)).collect();
    PyList::new(py, moments?)
}

/// The Arrow columns `status` and `event_ts`, which stand before the others.
fn head(status: &[Status], event_ts: &[Option<Timestamp>]) -> Vec<(String, ArrayRef)> {
    let mut statuses = StringDictionaryBuilder::<Int8Type>::new();
    for status in status {
        statuses.append_value(name(*status));
    }
    let moments: TimestampMicrosecondArray =
        event_ts.iter().map(|event| event.map(Timestamp::as_micros)).collect();
    vec![
        ("status".to_owned(), Arc::new(statuses.finish()) as ArrayRef),
        ("event_ts".to_owned(), Arc::new(moments.with_timezone("UTC"))),
    ]
}

/// A table of `head`, then `columns` whose names are not among its.
fn table(
    py: Python<'_>,
    mut head: Vec<(String, ArrayRef)>,
    columns: impl Iterator<Item = (String, ArrayRef)>,
) -> PyResult<ArrowTable> {
    let own = head.len();
    for (name, array) in columns {
        if head[..own].iter().any(|(other, _)| *other == name) {
            return Err(error::input(py, &format!("column {name:?} would stand twice in the table")));
        }
        head.push((name, array));
    }
    let columns = head.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| error::input(py, &error.to_string()))?;
    Ok(ArrowTable::new(batch))
}

/// The features of many keys by column, in the order of the keys.
#[pyclass(frozen, module = "cenote", name = "FeatureSet")]
pub(crate) struct FeatureSet {
    set: store::FeatureSet,
}

impl FeatureSet {
    pub(super) fn new(set: store::FeatureSet) -> Self {
        Self { set }
    }
}

#[pymethods]
impl FeatureSet {
    /// ``fresh``, ``stale`` or ``missing``, by key.
    #[getter]
    fn status(&self) -> Vec<&'static str> {
        names(&self.set.status)
    }

    /// When each key's features held true; ``None`` where there is no row.
    #[getter]
    fn event_ts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        moments(py, &self.set.event_ts)
    }

    /// The features as a dict of lists, ``None`` where one is missing.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for column in &self.set.columns {
            let cells: PyResult<Vec<_>> =
                (0..self.set.len()).map(|row| object(py, column.value(row))).collect();
            all.set_item(&column.name, cells?)?;
        }
        Ok(all)
    }

    /// ``status``, ``event_ts`` and the features as an Arrow stream, for ``pyarrow.table``, ``polars.DataFrame`` ...
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let batch = self.set.to_record_batch_with_status();
        let batch = batch.map_err(|error| error::input(py, &error.to_string()))?;
        ArrowTable::new(batch).stream(py, requested_schema)
    }

    fn __len__(&self) -> usize {
        self.set.len()
    }

    fn __repr__(&self) -> String {
        let names: Vec<_> = self.set.columns.iter().map(|column| column.name.as_str()).collect();
        format!("<cenote.FeatureSet: {} keys, {names:?}>", self.set.len())
    }
}

/// The score of one key.
#[pyclass(frozen, module = "cenote", name = "Score")]
pub(crate) struct Score {
    /// ``fresh``, ``stale`` or ``missing``.
    #[pyo3(get)]
    status: &'static str,
    /// How old a stale row is, as a ``timedelta``; ``None`` where it is not stale.
    #[pyo3(get)]
    age: Option<Py<PyDelta>>,
    /// When the features held true; ``None`` where there is no row.
    #[pyo3(get)]
    event_ts: Option<Py<PyAny>>,
    /// The prediction, as :meth:`Model.predict` gives it for one row.
    #[pyo3(get)]
    prediction: Py<PyAny>,
    /// The registered version that answered, where one is known.
    #[pyo3(get)]
    version: Option<i32>,
    score: serve::Score,
}

impl Score {
    pub(super) fn new(py: Python<'_>, score: serve::Score) -> PyResult<Self> {
        Ok(Self {
            status: name(score.status),
            age: age(py, score.status)?,
            event_ts: moment(py, score.event_ts)?,
            prediction: output::one(py, &score.predictions())?.unbind(),
            version: score.version().map(|version| version.version),
            score,
        })
    }

    /// The core's score.
    pub(super) fn score(&self) -> &serve::Score {
        &self.score
    }
}

#[pymethods]
impl Score {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<cenote.Score {}: {}>", self.status, self.prediction.bind(py).repr()?.to_string_lossy()))
    }
}

/// The scores of many keys, in their order.
#[pyclass(frozen, module = "cenote", name = "Scores")]
pub(crate) struct Scores {
    status: Vec<Status>,
    event_ts: Vec<Option<Timestamp>>,
    versions: Vec<i32>,
    predictions: Predictions,
}

impl Scores {
    pub(super) fn new(scores: serve::Scores) -> Self {
        let serve::Scores { status, event_ts, versions, predictions } = scores;
        Self { status, event_ts, versions, predictions }
    }
}

#[pymethods]
impl Scores {
    /// ``fresh``, ``stale`` or ``missing``, by key.
    #[getter]
    fn status(&self) -> Vec<&'static str> {
        names(&self.status)
    }

    /// When each key's features held true; ``None`` where there is no row.
    #[getter]
    fn event_ts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        moments(py, &self.event_ts)
    }

    /// The registered version that answered for each key, ``None`` where none is known.
    #[getter]
    fn versions(&self) -> Vec<Option<i32>> {
        self.versions.iter().map(|version| (*version > 0).then_some(*version)).collect()
    }

    /// The predictions as a dict of lists, as :meth:`Model.predict` gives them.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Form::Lists.give(py, self.predictions.clone())
    }

    /// The predictions as a list of dicts, as :meth:`Model.predict` gives them.
    fn to_dicts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Form::Rows.give(py, self.predictions.clone())
    }

    /// ``status``, ``event_ts`` and the predictions as an Arrow stream, for ``pyarrow.table``, ``polars.DataFrame`` ...
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let batch = self
            .predictions
            .to_record_batch(ErrorColumn::WhenAny)
            .map_err(|error| error::input(py, &error.to_string()))?;
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        let columns = names.zip(batch.columns().iter().cloned());
        table(py, head(&self.status, &self.event_ts), columns)?.stream(py, requested_schema)
    }

    fn __len__(&self) -> usize {
        self.status.len()
    }

    fn __repr__(&self) -> String {
        let names: Vec<_> = self.predictions.columns.iter().map(|column| column.name.as_str()).collect();
        format!("<cenote.Scores: {} keys, {names:?}>", self.status.len())
    }
}
