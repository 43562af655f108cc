//! What Python sees of an alias at work: scores by the version that each key has, swapped when the alias moves.

use std::sync::{Arc, Mutex, PoisonError};

use cenote::store::{Key, blocking};
use cenote::{Row, registry};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::answers::{Score, Scores};
use super::registry::ModelVersion;
use super::{FeatureStore, View};
use crate::enter::{enter_scoring, enter_store};
use crate::error;
use crate::input::{self, Input, RowCells, Source, Wanted};
use crate::model::Model;

/// An alias of the model registry at work on a view. Make one with :meth:`FeatureStore.watch_model`.
///
/// Safe to share between threads; a child after ``fork`` watches on its own.
#[pyclass(frozen, module = "cenote", name = "ServedModel")]
pub(crate) struct ServedModel {
    served: blocking::Served,
    store: blocking::FeatureStore,
    view: Py<View>,
    /// The model that answers for most keys, by its digest: made when it is asked for.
    model: Mutex<Option<(String, Py<Model>)>>,
    /// What it reads, for the version that it is.
    wanted: Mutex<Option<(Arc<registry::ModelVersion>, Arc<Wanted>)>>,
}

impl ServedModel {
    pub(super) fn new(served: blocking::Served, store: &FeatureStore, view: Py<View>) -> Self {
        let (model, wanted) = (Mutex::new(None), Mutex::new(None));
        Self { served, store: store.store.clone(), view, model, wanted }
    }

    fn current(&self, py: Python<'_>) -> PyResult<Py<Model>> {
        let version = py.detach(|| self.served.version());
        let known = || self.model.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((digest, model)) = &*known()
            && *digest == version.sha256
        {
            return Ok(model.clone_ref(py));
        }
        let registry::ModelVersion { name, sha256, .. } = &*version;
        let (_, bytes) = enter_store(py, || self.store.fetch_model(&format!("{name}#{sha256}")))?;
        let model = Py::new(py, Model::from_bytes(PyBytes::new(py, &bytes))?)?;
        *known() = Some((sha256.clone(), model.clone_ref(py)));
        Ok(model)
    }

    /// What of a request the model that answers for most keys reads; never waits for the database.
    fn wanted(&self, py: Python<'_>) -> Arc<Wanted> {
        let version = py.detach(|| self.served.version());
        let known = || self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, wanted)) = &*known()
            && Arc::ptr_eq(of, &version)
        {
            return Arc::clone(wanted);
        }
        let (model, after) = py.detach(|| (self.served.model(), self.served.version()));
        let wanted = Arc::new(Wanted::of(py, &model));
        // Between two swaps they are of one version.
        if Arc::ptr_eq(&version, &after) {
            let former = known().replace((version, Arc::clone(&wanted)));
            drop(former);
        }
        wanted
    }

    /// Reads a key.
    pub(super) fn key(&self, key: &Bound<'_, PyAny>) -> PyResult<Key> {
        self.view.get().key(key)
    }

    /// Reads what comes with a request; `None` is nothing.
    pub(super) fn request(&self, py: Python<'_>, request: Option<&Bound<'_, PyDict>>) -> PyResult<Request> {
        let read = |request| {
            let wanted = self.wanted(py);
            Ok::<_, PyErr>((RowCells::read(request, &wanted)?, wanted))
        };
        Ok(Request(request.map(read).transpose()?))
    }

    /// The core's.
    pub(super) fn served(&self) -> &blocking::Served {
        &self.served
    }
}

/// What came with a request, and what it was read as.
pub(super) struct Request(Option<(RowCells, Arc<Wanted>)>);

impl Request {
    /// The row that borrows it.
    pub(super) fn row(&self) -> Row<'_> {
        self.0.as_ref().map(|(cells, wanted)| cells.row(wanted)).unwrap_or_default()
    }
}

/// How a watch fares.
#[pyclass(frozen, get_all, module = "cenote", name = "WatchState")]
#[derive(Debug)]
pub(crate) struct WatchState {
    /// Whether changes are heard of as they happen; else they are seen when the alias is next read.
    listening: bool,
    /// How often other models were put in place.
    swaps: u64,
    /// Why the newest change was not made; ``None`` where the alias and what answers are one.
    refused: Option<String>,
}

#[pymethods]
impl WatchState {
    fn __repr__(&self) -> String {
        let Self { listening, swaps, refused } = self;
        format!("WatchState(listening={listening}, swaps={swaps}, refused={refused:?})")
    }
}

#[pymethods]
impl ServedModel {
    /// The view whose keys are scored.
    #[getter]
    fn view(&self, py: Python<'_>) -> Py<View> {
        self.view.clone_ref(py)
    }

    /// The version that answers for most keys now.
    #[getter]
    fn version(&self, py: Python<'_>) -> ModelVersion {
        ModelVersion::shared(py.detach(|| self.served.version()))
    }

    /// The model that answers for most keys now.
    #[getter]
    fn model(&self, py: Python<'_>) -> PyResult<Py<Model>> {
        self.current(py)
    }

    /// Which versions are at work now.
    #[getter]
    fn route<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        super::registry::route(py, &py.detach(|| self.served.route()))
    }

    /// How the watch fares.
    #[getter]
    fn state(&self, py: Python<'_>) -> WatchState {
        let state = py.detach(|| self.served.state());
        WatchState { listening: state.listening, swaps: state.swaps, refused: state.refused }
    }

    /// What the version that answers for most keys has seen since it was put to work.
    #[getter]
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        super::plan::counters(py, &py.detach(|| self.served.counters()))
    }

    /// In what the shadow has differed since it was put to work.
    #[getter]
    fn shadow<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(shadow) = py.detach(|| self.served.shadow()) else { return Ok(None) };
        let answer = PyDict::new(py);
        answer.set_item("scored", shadow.scored)?;
        answer.set_item("failed", shadow.failed)?;
        answer.set_item("labels", shadow.labels)?;
        answer.set_item("numbers", shadow.numbers)?;
        answer.set_item("largest", shadow.largest)?;
        Ok(Some(answer))
    }

    /// Fetch the features of a key and score them.
    #[pyo3(signature = (key, request=None))]
    fn score(&self, key: &Bound<'_, PyAny>, request: Option<&Bound<'_, PyDict>>) -> PyResult<Score> {
        let py = key.py();
        let (key, request) = (self.key(key)?, self.request(py, request)?);
        let row = request.row();
        Score::new(py, enter_store(py, || self.served.score_with(key, &row))?)
    }

    /// Fetch the features of many keys by one query and score them.
    #[pyo3(signature = (keys, request=None))]
    fn score_many(&self, keys: &Bound<'_, PyAny>, request: Option<&Bound<'_, PyAny>>) -> PyResult<Scores> {
        let py = keys.py();
        let keys = self.view.get().keys(keys)?;
        let Some(request) = request else {
            let fetched = enter_store(py, || self.served.fetch(keys))?;
            return Ok(Scores::new(enter_scoring(py, || fetched.score())?));
        };
        let wanted = &*self.wanted(py);
        let Input { names, source, .. } = input::table(request, wanted)?;
        let Source::Columns(columns) = source else {
            let message = "request: expected a dict of columns, a list of dicts or a pandas frame";
            return Err(error::input(py, message));
        };
        let batch = columns.batch(wanted).map_err(|error| error::core(py, &error, &names))?;
        let fetched = enter_store(py, || self.served.fetch(keys))?;
        Ok(Scores::new(enter_scoring(py, || fetched.score_with(&batch))?))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let version: Arc<_> = py.detach(|| self.served.version());
        let view = self.served.view().name();
        format!("<cenote.ServedModel {}:{} on view {view:?}>", version.name, version.version)
    }
}
