//! `cenote.FeatureStore`: features from PostgreSQL by key, and the scores of keys, through the core's blocking store.
//!
//! In flow views, rows and keys as Python has them; out flow features and predictions with the status of each key. Every
//! thread has its own connection, so calls run on the caller's thread, detached from the interpreter; only the scoring of
//! many keys goes to the pool.

mod aio;
mod answers;
mod bulk;
mod documents;
mod keys;
mod readers;
mod registry;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cenote::serve::{OnMissing, OnStale, PlanBuilder, UnseenLevels};
use cenote::store::blocking;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

pub(crate) use self::aio::{AsyncReads, Call, Cancellation, Mailbox};
pub(crate) use self::answers::{FeatureSet, Features, Score, Scores, Upserted};
pub(crate) use self::bulk::{Erased, FinishedBatch, Loaded, Maintained, Materialized, Stored};
pub(crate) use self::documents::Document;
use self::readers::{Readers, Selection};
pub(crate) use self::registry::ModelVersion;
pub(crate) use self::view::View;
use crate::enter::{enter_scoring, enter_store};
use crate::error;
use crate::input::{self, Input, RowCells, Source, Wanted};
use crate::model::Model;

/// A store of features in PostgreSQL.
///
/// Safe to share between threads, each of which has its own connection, and usable in a child after a fork.
#[pyclass(frozen, module = "cenote", name = "FeatureStore")]
pub(crate) struct FeatureStore {
    store: blocking::FeatureStore,
    readers: Readers<blocking::Reader>,
}

impl FeatureStore {
    fn new(store: blocking::FeatureStore) -> Self {
        Self { store, readers: Readers::default() }
    }
}

/// Seconds to a deadline.
fn seconds(name: &str, seconds: f64) -> PyResult<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(PyValueError::new_err(format!("{name} is a positive number of seconds"))),
    }
}

#[pymethods]
impl FeatureStore {
    /// Connect to a database.
    #[staticmethod]
    #[pyo3(signature = (dsn, *, schema=None, read_timeout=None, write_timeout=None, root_certificates=None))]
    fn connect(
        py: Python<'_>,
        dsn: &str,
        schema: Option<String>,
        read_timeout: Option<f64>,
        write_timeout: Option<f64>,
        root_certificates: Option<PathBuf>,
    ) -> PyResult<Self> {
        let mut settings = cenote::store::FeatureStore::builder(dsn);
        if let Some(schema) = schema {
            settings = settings.schema(schema);
        }
        if let Some(timeout) = read_timeout {
            settings = settings.read_timeout(seconds("read_timeout", timeout)?);
        }
        if let Some(timeout) = write_timeout {
            settings = settings.write_timeout(seconds("write_timeout", timeout)?);
        }
        if let Some(file) = root_certificates {
            settings = settings.root_certificates(file);
        }
        Ok(Self::new(enter_store(py, || blocking::FeatureStore::new(settings))?))
    }

    /// The process's one store of this connection string, connected at the first call.
    #[staticmethod]
    fn shared(py: Python<'_>, dsn: &str) -> PyResult<Self> {
        Ok(Self::new(enter_store(py, || blocking::FeatureStore::shared(dsn))?))
    }

    /// The PostgreSQL schema that holds the store's tables.
    #[getter]
    fn schema(&self) -> &str {
        self.store.schema()
    }

    /// The SQL that :meth:`apply` would run; none if the tables are as the view says.
    fn plan_view(&self, py: Python<'_>, view: &View) -> PyResult<Vec<String>> {
        enter_store(py, || self.store.plan_view(view.view()))
    }

    /// Make the tables of a view.
    fn apply(&self, py: Python<'_>, view: &View) -> PyResult<()> {
        enter_store(py, || self.store.apply(view.view()))
    }

    /// Compare the tables with a view.
    fn verify(&self, py: Python<'_>, view: &View) -> PyResult<()> {
        enter_store(py, || self.store.verify(view.view()))
    }

    /// Write rows of a view; of a key's rows the newest wins.
    #[pyo3(signature = (view, data, *, written_at=None, history_only=false))]
    fn upsert(
        &self,
        view: &View,
        data: &Bound<'_, PyAny>,
        written_at: Option<&Bound<'_, PyAny>>,
        history_only: bool,
    ) -> PyResult<Upserted> {
        let py = data.py();
        let options = bulk::options(written_at)?;
        let writer = bulk::writer(py, &self.store, view, history_only)?;
        let mut total = Upserted::default();
        bulk::each_batch(view, data, |batch| {
            total.add(enter_store(py, || writer.upsert_batch(batch, options))?);
            Ok(())
        })?;
        Ok(total)
    }

    /// The features of entities from several views, by as few queries as there are different keys.
    #[pyo3(signature = (views, keys, *, roles=None))]
    fn get_views(
        &self,
        py: Python<'_>,
        views: Vec<PyRef<'_, View>>,
        keys: &Bound<'_, PyAny>,
        roles: Option<Vec<Option<std::collections::HashMap<String, String>>>>,
    ) -> PyResult<Vec<FeatureSet>> {
        bulk::get_views(py, &self.store, &views, keys, roles)
    }

    /// Write rows of a view batch by batch, each recorded under the load's name.
    #[pyo3(signature = (view, data, *, name, written_at=None, history_only=false))]
    fn load(
        &self,
        view: &View,
        data: &Bound<'_, PyAny>,
        name: &str,
        written_at: Option<&Bound<'_, PyAny>>,
        history_only: bool,
    ) -> PyResult<Loaded> {
        bulk::load(&self.store, view, data, name, written_at, history_only)
    }

    /// Bring online what came into the history alone.
    #[pyo3(signature = (view, *, full=false, batch_rows=200_000, progress=None))]
    fn materialize(
        &self,
        py: Python<'_>,
        view: &View,
        full: bool,
        batch_rows: u64,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Materialized> {
        bulk::materialize(py, &self.store, view, full, batch_rows, progress)
    }

    /// The finished batches of a load of a view, or of all its loads and materialisations.
    #[pyo3(signature = (view, job=None))]
    fn finished_batches(
        &self,
        py: Python<'_>,
        view: &View,
        job: Option<&str>,
    ) -> PyResult<Vec<FinishedBatch>> {
        let batches = enter_store(py, || self.store.finished_batches(view.view(), job))?;
        batches.into_iter().map(|batch| FinishedBatch::new(py, batch)).collect()
    }

    /// Forget the finished batches of a view that are older than some days.
    #[pyo3(signature = (view, *, days=30))]
    fn forget_batches(&self, py: Python<'_>, view: &View, days: u32) -> PyResult<u64> {
        let age = Duration::from_secs(86_400 * u64::from(days));
        enter_store(py, || self.store.forget_batches(view.view(), age))
    }

    /// Make the history's partitions of the months to come, and drop those that are too old.
    fn maintain(&self, py: Python<'_>, view: &View) -> PyResult<Maintained> {
        enter_store(py, || self.store.maintain(view.view())).map(Maintained::from)
    }

    /// Erase every row of keys: online, in the history and among the raw documents.
    fn erase(&self, view: &View, keys: &Bound<'_, PyAny>) -> PyResult<Erased> {
        let keys_of = view.keys(keys)?;
        enter_store(keys.py(), || self.store.erase(view.view(), keys_of)).map(Erased::from)
    }

    /// The features of a key as they were known at a time.
    #[pyo3(signature = (view, key, at, *, known_at=None, features=None))]
    fn as_of(
        &self,
        view: &View,
        key: &Bound<'_, PyAny>,
        at: &Bound<'_, PyAny>,
        known_at: Option<&Bound<'_, PyAny>>,
        features: Option<Vec<String>>,
    ) -> PyResult<Features> {
        let py = key.py();
        let (key, at) = (view.key(key)?, keys::timestamp(at)?);
        let selection = self.reader(py, view, features)?;
        let past = bulk::past(py, &selection.reader, known_at)?;
        let found = enter_store(py, || past.get(key, at))?;
        Features::new(py, found, &selection.names)
    }

    /// The features of entities as they were known at each one's time.
    #[pyo3(signature = (view, entities, *, known_at=None, features=None))]
    fn join(
        &self,
        view: &View,
        entities: &Bound<'_, PyAny>,
        known_at: Option<&Bound<'_, PyAny>>,
        features: Option<Vec<String>>,
    ) -> PyResult<FeatureSet> {
        let py = entities.py();
        let selection = self.reader(py, view, features)?;
        let past = bulk::past(py, &selection.reader, known_at)?;
        bulk::join(&past, view, entities)
    }

    /// Keep raw documents of a view.
    fn put_documents(
        &self,
        py: Python<'_>,
        view: &View,
        documents: Vec<PyRef<'_, Document>>,
    ) -> PyResult<Stored> {
        documents::put(py, &self.store, view, &documents)
    }

    /// The newest raw document of a key, or the one that was known at a time.
    #[pyo3(signature = (view, key, *, at=None, known_at=None))]
    fn get_document(
        &self,
        view: &View,
        key: &Bound<'_, PyAny>,
        at: Option<&Bound<'_, PyAny>>,
        known_at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Document>> {
        documents::get(&self.store, view, key, at, known_at)
    }

    /// Raw documents that contain something, or whose member has a text.
    #[pyo3(signature = (view, *, containing=None, path=None, text=None, limit=100))]
    fn find_documents(
        &self,
        py: Python<'_>,
        view: &View,
        containing: Option<&Bound<'_, PyAny>>,
        path: Option<Vec<String>>,
        text: Option<&str>,
        limit: u32,
    ) -> PyResult<Vec<Document>> {
        documents::find(py, &self.store, view, containing, path, text, limit)
    }

    /// The features of one key.
    #[pyo3(signature = (view, key, *, features=None))]
    fn get(&self, view: &View, key: &Bound<'_, PyAny>, features: Option<Vec<String>>) -> PyResult<Features> {
        let py = key.py();
        let key = view.key(key)?;
        let selection = self.reader(py, view, features)?;
        let features = enter_store(py, || selection.reader.get(key))?;
        Features::new(py, features, &selection.names)
    }

    /// The features of many keys, in their order.
    #[pyo3(signature = (view, keys, *, features=None))]
    fn get_many(
        &self,
        view: &View,
        keys: &Bound<'_, PyAny>,
        features: Option<Vec<String>>,
    ) -> PyResult<FeatureSet> {
        let py = keys.py();
        let keys = view.keys(keys)?;
        let selection = self.reader(py, view, features)?;
        Ok(FeatureSet::new(enter_store(py, || selection.reader.get_many(keys))?))
    }

    /// Bind a model's inputs to a view's columns.
    #[pyo3(signature = (model, view, *, columns=None, request=None, absent=None, on_missing="na", on_stale="na", unseen_levels="error"))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn plan(
        &self,
        py: Python<'_>,
        model: &Bound<'_, Model>,
        view: &Bound<'_, View>,
        columns: Option<std::collections::HashMap<String, String>>,
        request: Option<Vec<String>>,
        absent: Option<Vec<String>>,
        on_missing: &str,
        on_stale: &str,
        unseen_levels: &str,
    ) -> PyResult<ScorePlan> {
        let wrong = |message: &'static str| PyValueError::new_err(message);
        let on_missing = match on_missing {
            "na" => OnMissing::AsMissing,
            "error" => OnMissing::Refuse,
            _ => return Err(wrong("on_missing is \"na\" or \"error\"")),
        };
        let on_stale = match on_stale {
            "na" => OnStale::AsMissing,
            "use" => OnStale::Use,
            "error" => OnStale::Refuse,
            _ => return Err(wrong("on_stale is \"na\", \"use\" or \"error\"")),
        };
        let unseen = match unseen_levels {
            "na" => UnseenLevels::AsMissing,
            "error" => UnseenLevels::Refuse,
            _ => return Err(wrong("unseen_levels is \"na\" or \"error\"")),
        };
        let settings = |mut plan: PlanBuilder| {
            for (input, column) in columns.into_iter().flatten() {
                plan = plan.column(input, column);
            }
            plan.request(request.into_iter().flatten())
                .absent(absent.into_iter().flatten())
                .on_missing(on_missing)
                .on_stale(on_stale)
                .unseen_levels(unseen)
        };
        let (bound, to) = (model.get().model(), view.get().view());
        let plan = enter_store(py, || self.store.plan(bound, to, settings))?;
        Ok(ScorePlan { plan, model: model.clone().unbind(), view: view.clone().unbind() })
    }

    /// Make the model registry's tables, if they are not there.
    fn apply_registry(&self, py: Python<'_>) -> PyResult<()> {
        enter_store(py, || self.store.apply_registry())
    }

    /// Register a model as the next version of a name.
    fn register_model(&self, py: Python<'_>, name: &str, model: &Bound<'_, Model>) -> PyResult<ModelVersion> {
        let bytes = model.get().to_bytes(py);
        let mojo = bytes.as_bytes(py);
        enter_store(py, || self.store.register_model(name, mojo)).map(ModelVersion::new)
    }

    /// Point an alias of a name at a version.
    fn promote_model(&self, py: Python<'_>, name: &str, alias: &str, version: i32) -> PyResult<()> {
        enter_store(py, || self.store.promote_model(name, alias, version))
    }

    /// All versions of a name, or of every model.
    #[pyo3(signature = (name=None))]
    fn list_models(&self, py: Python<'_>, name: Option<&str>) -> PyResult<Vec<ModelVersion>> {
        let versions = enter_store(py, || self.store.list_models(name))?;
        Ok(versions.into_iter().map(ModelVersion::new).collect())
    }

    /// Load a model.
    fn load_model(&self, py: Python<'_>, reference: &str) -> PyResult<Model> {
        let (_, bytes) = enter_store(py, || self.store.fetch_model(reference))?;
        Model::from_bytes(PyBytes::new(py, &bytes))
    }

    /// Close the store for all that share it.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.store.close());
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        self.close(py);
    }

    fn __repr__(&self) -> String {
        format!("<cenote.FeatureStore in schema {:?}>", self.store.schema())
    }
}

impl FeatureStore {
    fn reader(
        &self,
        py: Python<'_>,
        view: &View,
        features: Option<Vec<String>>,
    ) -> PyResult<Arc<Selection<blocking::Reader>>> {
        self.readers.get(py, view.view(), features, |names| match names {
            None => Ok(self.store.reader(view.view())),
            Some(names) => self.store.reader_of(view.view(), names.iter().map(String::as_str)),
        })
    }
}

/// A model bound to a view: keys in, predictions out, by one query.
///
/// Safe to share between threads.
#[pyclass(frozen, module = "cenote", name = "ScorePlan")]
pub(crate) struct ScorePlan {
    plan: blocking::ScorePlan,
    model: Py<Model>,
    view: Py<View>,
}

impl ScorePlan {
    fn wanted(&self) -> &Wanted {
        self.model.get().wanted()
    }
}

#[pymethods]
impl ScorePlan {
    /// The model that is bound.
    #[getter]
    fn model(&self, py: Python<'_>) -> Py<Model> {
        self.model.clone_ref(py)
    }

    /// The view that it is bound to.
    #[getter]
    fn view(&self, py: Python<'_>) -> Py<View> {
        self.view.clone_ref(py)
    }

    /// Fetch the features of a key and score them.
    #[pyo3(signature = (key, request=None))]
    fn score(&self, key: &Bound<'_, PyAny>, request: Option<&Bound<'_, PyDict>>) -> PyResult<Score> {
        let py = key.py();
        let key = self.view.get().key(key)?;
        let score = match request {
            None => enter_store(py, || self.plan.score(key))?,
            Some(request) => {
                let cells = RowCells::read(request, self.wanted())?;
                let row = cells.row(self.wanted());
                enter_store(py, || self.plan.score_with(key, &row))?
            }
        };
        Score::new(py, score)
    }

    /// Fetch the features of many keys by one query and score them.
    #[pyo3(signature = (keys, request=None))]
    fn score_many(&self, keys: &Bound<'_, PyAny>, request: Option<&Bound<'_, PyAny>>) -> PyResult<Scores> {
        let py = keys.py();
        let keys = self.view.get().keys(keys)?;
        let Some(request) = request else {
            let fetched = enter_store(py, || self.plan.fetch(keys))?;
            return Ok(Scores::new(enter_scoring(py, || fetched.score())?));
        };
        let Input { names, source, .. } = input::table(request, self.wanted())?;
        let scores = match source {
            Source::Columns(columns) => {
                let batch = columns.batch(self.wanted()).map_err(|error| error::core(py, &error, &names))?;
                let fetched = enter_store(py, || self.plan.fetch(keys))?;
                enter_scoring(py, || fetched.score_with(&batch))?
            }
            Source::Stream(_) => {
                return Err(error::input(
                    py,
                    "request: expected a dict of columns, a list of dicts or a pandas frame",
                ));
            }
        };
        Ok(Scores::new(scores))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let model = self.model.bind(py).repr()?;
        Ok(format!("<cenote.ScorePlan of {} on view {:?}>", model.to_string_lossy(), self.plan.view().name()))
    }
}
