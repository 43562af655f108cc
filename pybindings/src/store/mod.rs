//! `cenote.FeatureStore`: features from PostgreSQL by key, and the scores of keys, through the core's blocking store.
//!
//! In flow views, rows and keys as Python has them; out flow features and predictions with the status of each key. Every
//! thread has its own connection, so calls run on the caller's thread, detached from the interpreter; only the scoring of
//! many keys goes to the pool.

mod aio;
mod answers;
mod bulk;
mod decisions;
mod documents;
mod keys;
mod plan;
mod readers;
mod registry;
mod served;
mod settings;
mod turns;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cenote::registry::{Registration, Route, SigningKey};
use cenote::store::blocking;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

pub(crate) use self::aio::{AsyncReads, Call, Cancellation, Mailbox};
pub(crate) use self::answers::{FeatureSet, Features, Score, Scores, Upserted};
pub(crate) use self::bulk::{Erased, FinishedBatch, Loaded, Maintained, Materialized, Stored};
pub(crate) use self::decisions::{Decision, DecisionBuffer, Explanation, Replay};
pub(crate) use self::documents::Document;
use self::plan::PlanSettings;
pub(crate) use self::plan::ScorePlan;
use self::readers::{Readers, Selection};
pub(crate) use self::registry::ModelVersion;
pub(crate) use self::served::{ServedModel, WatchState};
use self::settings::Settings;
pub(crate) use self::view::View;
use crate::enter::enter_store;
use crate::error;
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

#[pymethods]
impl FeatureStore {
    /// Connect to a database.
    #[staticmethod]
    #[pyo3(signature = (dsn, *, schema=None, read_timeout=None, write_timeout=None, root_certificates=None, replicas=None, max_replica_lag=None, cache_bytes=None, cache_ttl=None, cache_redis=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn connect(
        py: Python<'_>,
        dsn: &str,
        schema: Option<String>,
        read_timeout: Option<f64>,
        write_timeout: Option<f64>,
        root_certificates: Option<PathBuf>,
        replicas: Option<Vec<String>>,
        max_replica_lag: Option<f64>,
        cache_bytes: Option<u64>,
        cache_ttl: Option<f64>,
        cache_redis: Option<String>,
    ) -> PyResult<Self> {
        let settings = Settings {
            schema,
            read_timeout,
            write_timeout,
            root_certificates,
            replicas,
            max_replica_lag,
            cache_bytes,
            cache_ttl,
            cache_redis,
        };
        let settings = settings.of(dsn)?;
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

    /// How the replicas fare for this thread, in the order in which they were named.
    #[getter]
    fn replicas<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let states = enter_store(py, || self.store.replicas())?;
        states.iter().map(|state| answers::replica(py, state)).collect()
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
    #[pyo3(signature = (model, view, *, columns=None, request=None, absent=None, on_missing="na", on_stale="na", unseen_levels="error", version=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn plan(
        &self,
        py: Python<'_>,
        model: &Bound<'_, Model>,
        view: &Bound<'_, View>,
        columns: Option<HashMap<String, String>>,
        request: Option<Vec<String>>,
        absent: Option<Vec<String>>,
        on_missing: &str,
        on_stale: &str,
        unseen_levels: &str,
        version: Option<&ModelVersion>,
    ) -> PyResult<ScorePlan> {
        let settings = PlanSettings::read(columns, request, absent, on_missing, on_stale, unseen_levels)?;
        let (bound, to) = (model.get().model(), view.get().view());
        let plan = enter_store(py, || {
            self.store.plan(bound, to, |plan| match version {
                Some(version) => settings.of(plan).version(version.share()),
                None => settings.of(plan),
            })
        })?;
        Ok(ScorePlan { plan, model: model.clone().unbind(), view: view.clone().unbind() })
    }

    /// Make the model registry's tables, if they are not there.
    fn apply_registry(&self, py: Python<'_>) -> PyResult<()> {
        enter_store(py, || self.store.apply_registry())
    }

    /// Register a model as the next version of a name.
    #[pyo3(signature = (name, model, *, metrics=None, tags=None, golden_rows=None, signing_key=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn register_model(
        &self,
        py: Python<'_>,
        name: &str,
        model: &Bound<'_, Model>,
        metrics: Option<BTreeMap<String, f64>>,
        tags: Option<BTreeMap<String, String>>,
        golden_rows: Option<&Bound<'_, PyAny>>,
        signing_key: Option<&str>,
    ) -> PyResult<ModelVersion> {
        let wrong = |error| error::store(py, &error);
        let key = signing_key.map(SigningKey::from_pem).transpose().map_err(wrong)?;
        let mut with = Registration::new();
        for (name, value) in metrics.into_iter().flatten() {
            with = with.metric(name, value);
        }
        for (name, value) in tags.into_iter().flatten() {
            with = with.tag(name, value);
        }
        if let Some(rows) = golden_rows {
            let text: String = py.import("json")?.call_method1("dumps", (rows,))?.extract()?;
            with = with.golden_json(&text).map_err(wrong)?;
        }
        if let Some(key) = &key {
            with = with.signed_by(key);
        }
        let bytes = model.get().to_bytes(py);
        let mojo = bytes.as_bytes(py);
        enter_store(py, || self.store.register_model_with(name, mojo, &with)).map(ModelVersion::new)
    }

    /// Point an alias of a name at a version.
    fn promote_model(&self, py: Python<'_>, name: &str, alias: &str, version: i32) -> PyResult<()> {
        enter_store(py, || self.store.promote_model(name, alias, version))
    }

    /// Point an alias of a name at a version, a canary and a shadow.
    #[pyo3(signature = (name, alias, version, *, canary=None, share=None, shadow=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn route_model(
        &self,
        py: Python<'_>,
        name: &str,
        alias: &str,
        version: i32,
        canary: Option<i32>,
        share: Option<f64>,
        shadow: Option<i32>,
    ) -> PyResult<()> {
        let mut route = Route::to(version);
        match (canary, share) {
            (Some(canary), Some(share)) => route = route.canary(canary, share),
            (None, None) => {}
            _ => return Err(PyValueError::new_err("canary and share belong together")),
        }
        if let Some(shadow) = shadow {
            route = route.shadow(shadow);
        }
        enter_store(py, || self.store.route_model(name, alias, &route))
    }

    /// The versions behind an alias.
    fn find_route<'py>(&self, py: Python<'py>, name: &str, alias: &str) -> PyResult<Bound<'py, PyDict>> {
        registry::route(py, &enter_store(py, || self.store.find_route(name, alias))?)
    }

    /// What the registry knows of a model.
    fn find_model(&self, py: Python<'_>, reference: &str) -> PyResult<ModelVersion> {
        enter_store(py, || self.store.find_model(reference)).map(ModelVersion::new)
    }

    /// Say where a version is in its life.
    fn set_model_stage(&self, py: Python<'_>, name: &str, version: i32, stage: &str) -> PyResult<()> {
        enter_store(py, || self.store.set_model_stage(name, version, stage.parse()?))
    }

    /// Verify a version whole.
    #[pyo3(signature = (reference, *, trusted_keys=None))]
    fn verify_model(
        &self,
        py: Python<'_>,
        reference: &str,
        trusted_keys: Option<Vec<String>>,
    ) -> PyResult<ModelVersion> {
        let trusted = registry::trusted(py, trusted_keys)?;
        enter_store(py, || self.store.verify_model(reference, trusted)).map(ModelVersion::new)
    }

    /// Watch an alias and score a view's keys by what it points at.
    #[pyo3(signature = (reference, view, *, columns=None, request=None, absent=None, on_missing="na", on_stale="na", unseen_levels="error", trusted_keys=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn watch_model(
        &self,
        py: Python<'_>,
        reference: &str,
        view: &Bound<'_, View>,
        columns: Option<HashMap<String, String>>,
        request: Option<Vec<String>>,
        absent: Option<Vec<String>>,
        on_missing: &str,
        on_stale: &str,
        unseen_levels: &str,
        trusted_keys: Option<Vec<String>>,
    ) -> PyResult<ServedModel> {
        let settings = PlanSettings::read(columns, request, absent, on_missing, on_stale, unseen_levels)?;
        let trusted = registry::trusted(py, trusted_keys)?;
        let to = view.get().view();
        let served =
            enter_store(py, || self.store.serve(reference, trusted, to, move |plan| settings.of(plan)))?;
        Ok(ServedModel::new(served, self, view.clone().unbind()))
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

    /// Make the decision log's table, if it is not there.
    fn apply_decisions(&self, py: Python<'_>) -> PyResult<()> {
        enter_store(py, || self.store.apply_decisions())
    }

    /// Record the decision that a score of a key is.
    fn record(&self, view: &View, key: &Bound<'_, PyAny>, score: &Score) -> PyResult<String> {
        let py = key.py();
        let key = view.key(key)?;
        let id = enter_store(py, || self.store.record(view.view(), key, score.score()))?;
        Ok(id.to_string())
    }

    /// A queue before the decision log, written behind by a thread.
    #[pyo3(signature = (*, capacity=10_000))]
    fn buffered_decisions(&self, py: Python<'_>, capacity: usize) -> PyResult<DecisionBuffer> {
        enter_store(py, || self.store.buffered_decisions(capacity)).map(DecisionBuffer::new)
    }

    /// A decision.
    fn find_decision(&self, py: Python<'_>, id: &str) -> PyResult<Decision> {
        enter_store(py, || self.store.find_decision(id.parse()?)).map(Decision::new)
    }

    /// Make a decision again.
    fn replay(&self, py: Python<'_>, id: &str) -> PyResult<Replay> {
        enter_store(py, || self.store.replay(id.parse()?)).map(Replay::new)
    }

    /// Compare online rows with the newest of their history.
    #[pyo3(signature = (view, *, sample=1000))]
    fn parity<'py>(&self, py: Python<'py>, view: &View, sample: u32) -> PyResult<Bound<'py, PyDict>> {
        decisions::parity(py, &enter_store(py, || self.store.parity(view.view(), sample))?)
    }

    /// Make a view's table tell of its changes, which a cache needs.
    fn notify_changes(&self, py: Python<'_>, view: &View) -> PyResult<()> {
        enter_store(py, || self.store.notify_changes(view.view()))
    }

    /// What the cache has done.
    #[getter]
    fn cache_counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.store.cache_counters();
        let answer = PyDict::new(py);
        answer.set_item("hits", counters.hits)?;
        answer.set_item("redis_hits", counters.redis_hits)?;
        answer.set_item("misses", counters.misses)?;
        answer.set_item("bypassed", counters.bypassed)?;
        answer.set_item("redis_errors", counters.redis_errors)?;
        answer.set_item("invalidated", counters.invalidated)?;
        Ok(answer)
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
