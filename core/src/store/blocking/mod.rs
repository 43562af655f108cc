//! The store for callers without an async runtime: Python first of all.
//!
//! In flow calls on any thread; out flow the same answers as the async store's. Each thread has a current-thread runtime of its
//! own, with one connection a store: driver and query on one thread take half the time that two threads take. The invariant: a
//! connection never leaves the thread and the process that made it. So a call after `fork` in the child connects anew, and what
//! the parent had is left untouched; a thread that ends closes its connections.

mod served;

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::decisions::{Decision, DecisionId, Replay};
use crate::input::{Batch, Row};
use crate::model::Model;
use crate::registry::{ModelRef, ModelVersion, PublicKey, Registration, Route, Stage};
use crate::serve::{self, Counters, Explanation, Fetched, PlanBuilder, Score, Scores};

pub use served::Served;

use super::{
    Builder, Erased, Error, ErrorKind, FeatureSet, Features, Key, KnownAt, Maintained, Record, Timestamp,
    Upserted, View, WriteOptions,
};

/// How long the end of a failed call waits for its query to be cancelled at the server.
const SETTLE: Duration = Duration::from_millis(500);

/// A store of features, for threads without an async runtime. Cheap to clone, shared between threads at will.
///
/// Every thread that uses it has one connection, made at its first call and closed when the thread ends. All that is said of the
/// errors of [`FeatureStore`](super::FeatureStore) holds; besides, every call is refused with `InsideRuntime` on a thread that
/// runs an async runtime.
///
/// ```no_run
/// use cenote::store::{Type, View, blocking::FeatureStore};
///
/// let view = View::builder("customer_stats").key("customer", Type::I64).feature("age", Type::F64).build()?;
/// let store = FeatureStore::connect("postgres://app@localhost/features")?;
/// let features = store.reader(&view).get(7i64)?;
///
/// let plan = store.plan(&cenote::Model::open("churn.zip")?, &view, |plan| plan)?;
/// let score = plan.score(7i64)?;
/// # Ok::<(), cenote::store::Error>(())
/// ```
#[derive(Clone)]
pub struct FeatureStore {
    shared: Arc<Shared>,
}

struct Shared {
    id: u64,
    settings: Builder,
    /// What makes the statements; it never connects.
    template: super::FeatureStore,
    closed: AtomicBool,
}

impl std::fmt::Debug for FeatureStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.template.fmt(f)
    }
}

/// What a thread has: its runtime, and its connection to each store.
struct Local {
    process: u32,
    /// Dropped before the runtime on which their connections run.
    stores: HashMap<u64, (Weak<Shared>, super::FeatureStore)>,
    runtime: Rc<Runtime>,
}

thread_local! {
    static LOCAL: RefCell<Option<Local>> = const { RefCell::new(None) };
    /// What may end the call that this thread has under way.
    static CANCELLATION: RefCell<Option<Cancellation>> = const { RefCell::new(None) };
}

/// Ends the calls of one thread from another: their queries are cancelled at the server. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Cancellation {
    cancelled: Arc<watch::Sender<bool>>,
}

impl Cancellation {
    /// One that nobody has used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the call to a store that is under way in [`scope`](Self::scope), and every later one there, with `Cancelled`.
    pub fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Runs `work` on this thread, its calls to stores under this cancellation.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Puts back what was there before, also after a panic.
        struct Outer(Option<Cancellation>);
        impl Drop for Outer {
            fn drop(&mut self) {
                CANCELLATION.set(self.0.take());
            }
        }
        let _outer = Outer(CANCELLATION.replace(Some(self.clone())));
        work()
    }

    /// Awaits a call, or that it is given up; the call's future is then dropped.
    async fn or_cancelled<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut cancelled = self.cancelled.subscribe();
        let cancelled = pin!(cancelled.wait_for(|cancelled| *cancelled));
        match select(cancelled, pin!(call)).await {
            Either::Left(_) => Err(ErrorKind::Cancelled.into()),
            Either::Right((outcome, _)) => outcome,
        }
    }
}

impl FeatureStore {
    /// Connects with default settings.
    ///
    /// # Errors
    /// If the settings cannot be used, or the server cannot be reached or refuses within the deadline.
    pub fn connect(dsn: &str) -> Result<Self, Error> {
        Self::new(super::FeatureStore::builder(dsn))
    }

    /// Connects. The pool's size says nothing here: each thread has one connection.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn new(settings: Builder) -> Result<Self, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let settings = settings.pool(1);
        let template = settings.clone().lazy()?;
        #[cfg(feature = "cache")]
        let settings = super::Builder {
            // One cache for all threads.
            cache: template.cache().cloned().map_or_else(Default::default, super::config::Caching::By),
            ..settings
        };
        let shared = Shared {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            template,
            settings,
            closed: AtomicBool::new(false),
        };
        let store = Self { shared: Arc::new(shared) };
        store.run(async |store| store.pool().warm().await)?;
        Ok(store)
    }

    /// The process's one store of this connection string, connected at the first call, with default settings.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn shared(dsn: &str) -> Result<Self, Error> {
        static STORES: OnceLock<Mutex<HashMap<String, FeatureStore>>> = OnceLock::new();
        let stores = STORES.get_or_init(Mutex::default);
        let known = stores.lock().unwrap_or_else(PoisonError::into_inner).get(dsn).cloned();
        if let Some(store) = known.filter(|store| !store.shared.closed.load(Ordering::Acquire)) {
            return Ok(store);
        }
        // Not under the lock: a server that does not answer stops nobody else.
        let store = Self::connect(dsn)?;
        stores.lock().unwrap_or_else(PoisonError::into_inner).insert(dsn.to_owned(), store.clone());
        Ok(store)
    }

    /// The PostgreSQL schema that holds the store's tables.
    pub fn schema(&self) -> &str {
        self.shared.template.schema()
    }

    /// An async store of the same tables with a pool of its own, which connects at its first call. Callers wait for one of its
    /// `connections` as long as they would for the answer.
    ///
    /// # Errors
    /// If `connections` is zero.
    pub fn beside(&self, connections: usize) -> Result<super::FeatureStore, Error> {
        let mut settings = self.shared.settings.clone().pool(connections).in_flight(usize::MAX);
        settings.deadlines.wait = settings.deadlines.read;
        settings.lazy()
    }

    /// The SQL that [`apply`](Self::apply) would run; none if the tables are as the view says.
    ///
    /// # Errors
    /// As [`FeatureStore::plan_view`](super::FeatureStore::plan_view).
    pub fn plan_view(&self, view: &View) -> Result<Vec<String>, Error> {
        self.run(async |store| Ok(store.plan_view(view).await?.statements().to_vec()))
    }

    /// Makes the tables of `view`.
    ///
    /// # Errors
    /// As [`FeatureStore::apply`](super::FeatureStore::apply).
    pub fn apply(&self, view: &View) -> Result<(), Error> {
        self.run(async |store| store.apply(view).await)
    }

    /// Compares the catalogue with `view`.
    ///
    /// # Errors
    /// `SchemaDrift` that lists every difference.
    pub fn verify(&self, view: &View) -> Result<(), Error> {
        self.run(async |store| store.verify(view).await)
    }

    /// Reads all features of `view`.
    pub fn reader(&self, view: &View) -> Reader {
        Reader { store: self.clone(), reader: self.shared.template.reader(view) }
    }

    /// Reads the features of `view` called `names`, in that order.
    ///
    /// # Errors
    /// If the view has no feature of such a name.
    pub fn reader_of<'n>(
        &self,
        view: &View,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Reader, Error> {
        Ok(Reader { store: self.clone(), reader: self.shared.template.reader_of(view, names)? })
    }

    /// Reads the past of `view`.
    ///
    /// # Errors
    /// If the view keeps no history.
    pub fn as_of(&self, view: &View) -> Result<AsOf, Error> {
        Ok(AsOf { store: self.clone(), as_of: self.shared.template.as_of(view)? })
    }

    /// Makes the history's partitions of the months to come, and drops those that are too old.
    ///
    /// # Errors
    /// As [`FeatureStore::maintain`](super::FeatureStore::maintain).
    pub fn maintain(&self, view: &View) -> Result<Maintained, Error> {
        self.run(async |store| store.maintain(view).await)
    }

    /// Erases every row of some keys of `view`, online and in its history.
    ///
    /// # Errors
    /// As [`FeatureStore::erase`](super::FeatureStore::erase).
    pub fn erase<K: Into<Key>>(
        &self,
        view: &View,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Erased, Error> {
        self.run(async |store| store.erase(view, keys).await)
    }

    /// Writes `view`.
    pub fn writer(&self, view: &View) -> Writer {
        Writer { store: self.clone(), writer: self.shared.template.writer(view) }
    }

    /// Binds `model` to `view`, as `settings` changes the plan.
    ///
    /// # Errors
    /// As [`PlanBuilder::build`].
    pub fn plan(
        &self,
        model: &Model,
        view: &View,
        settings: impl FnOnce(PlanBuilder) -> PlanBuilder,
    ) -> Result<ScorePlan, Error> {
        let builder = settings(self.shared.template.plan(model, view));
        let plan = builder.bind()?;
        self.run(async |store| plan.on(store).check().await)?;
        Ok(ScorePlan { store: self.clone(), plan })
    }

    /// Makes the model registry's tables, if they are not there.
    ///
    /// # Errors
    /// As [`Registry::apply`](crate::registry::Registry::apply).
    pub fn apply_registry(&self) -> Result<(), Error> {
        self.run(async |store| store.registry().apply().await)
    }

    /// Registers a MOJO as the next version of `name`; the same bytes again give the version that they have.
    ///
    /// # Errors
    /// As [`Registry::register`](crate::registry::Registry::register).
    pub fn register_model(&self, name: &str, mojo: &[u8]) -> Result<ModelVersion, Error> {
        self.run(async |store| store.registry().register(name, mojo).await)
    }

    /// Registers a MOJO with metrics, tags, golden rows and a signature.
    ///
    /// # Errors
    /// As [`Registry::register_with`](crate::registry::Registry::register_with).
    pub fn register_model_with(
        &self,
        name: &str,
        mojo: &[u8],
        with: &Registration<'_>,
    ) -> Result<ModelVersion, Error> {
        self.run(async |store| store.registry().register_with(name, mojo, with).await)
    }

    /// Says where a version of model `name` is in its life.
    ///
    /// # Errors
    /// As [`Registry::set_stage`](crate::registry::Registry::set_stage).
    pub fn set_model_stage(&self, name: &str, version: i32, stage: Stage) -> Result<(), Error> {
        self.run(async |store| store.registry().set_stage(name, version, stage).await)
    }

    /// Points `alias` of model `name` at the versions of a route.
    ///
    /// # Errors
    /// As [`Registry::route`](crate::registry::Registry::route).
    pub fn route_model(&self, name: &str, alias: &str, route: &Route) -> Result<(), Error> {
        self.run(async |store| store.registry().route(name, alias, route).await)
    }

    /// The versions behind `alias` of model `name`.
    ///
    /// # Errors
    /// As [`Registry::find_route`](crate::registry::Registry::find_route).
    pub fn find_route(&self, name: &str, alias: &str) -> Result<Route, Error> {
        self.run(async |store| store.registry().find_route(name, alias).await)
    }

    /// What the registry knows of a model.
    ///
    /// # Errors
    /// As [`Registry::find`](crate::registry::Registry::find), or if `reference` cannot be read.
    pub fn find_model(&self, reference: &str) -> Result<ModelVersion, Error> {
        let reference: ModelRef = reference.parse()?;
        self.run(async |store| store.registry().find(&reference).await)
    }

    /// Fetches the bytes of a model; with `trusted`, only if one of these keys signed it.
    ///
    /// # Errors
    /// As [`Registry::fetch`](crate::registry::Registry::fetch), or if `reference` cannot be read.
    pub fn fetch_model_trusting(
        &self,
        reference: &str,
        trusted: Option<Vec<PublicKey>>,
    ) -> Result<(ModelVersion, Vec<u8>), Error> {
        let reference: ModelRef = reference.parse()?;
        self.run(async |store| registry(store, trusted).fetch(&reference).await)
    }

    /// Verifies a version whole: signature, digest, that it opens, and its golden rows; with `trusted`, that one of these keys
    /// signed it.
    ///
    /// # Errors
    /// As [`Registry::verify`](crate::registry::Registry::verify), or if `reference` cannot be read.
    pub fn verify_model(
        &self,
        reference: &str,
        trusted: Option<Vec<PublicKey>>,
    ) -> Result<ModelVersion, Error> {
        let reference: ModelRef = reference.parse()?;
        self.run(async |store| registry(store, trusted).verify(&reference).await)
    }

    /// Points `alias` of model `name` at a version.
    ///
    /// # Errors
    /// As [`Registry::promote`](crate::registry::Registry::promote).
    pub fn promote_model(&self, name: &str, alias: &str, version: i32) -> Result<(), Error> {
        self.run(async |store| store.registry().promote(name, alias, version).await)
    }

    /// All versions of model `name`, or of every model.
    ///
    /// # Errors
    /// As [`Registry::list`](crate::registry::Registry::list).
    pub fn list_models(&self, name: Option<&str>) -> Result<Vec<ModelVersion>, Error> {
        self.run(async |store| store.registry().list(name).await)
    }

    /// Fetches a model by `name`, `name:version`, `name@alias` or `name#sha256`, its digest compared with the registered one.
    ///
    /// # Errors
    /// As [`Registry::load`](crate::registry::Registry::load), or if `reference` cannot be read.
    pub fn load_model(&self, reference: &str) -> Result<(ModelVersion, Model), Error> {
        let reference: ModelRef = reference.parse()?;
        self.run(async |store| store.registry().load(&reference).await)
    }

    /// Fetches the bytes of a model, as [`load_model`](Self::load_model) finds it, without opening it.
    ///
    /// # Errors
    /// As [`Registry::fetch`](crate::registry::Registry::fetch), or if `reference` cannot be read.
    pub fn fetch_model(&self, reference: &str) -> Result<(ModelVersion, Vec<u8>), Error> {
        let reference: ModelRef = reference.parse()?;
        self.run(async |store| store.registry().fetch(&reference).await)
    }

    /// Makes the online table of `view` tell of its changes, which is what a cache needs to keep its rows.
    ///
    /// # Errors
    /// As [`FeatureStore::notify_changes`](super::FeatureStore::notify_changes).
    #[cfg(feature = "cache")]
    pub fn notify_changes(&self, view: &View) -> Result<(), Error> {
        self.run(async |store| store.notify_changes(view).await)
    }

    /// What the store's cache has done; all zero where there is none.
    #[cfg(feature = "cache")]
    pub fn cache_counters(&self) -> super::CacheCounters {
        self.shared.template.cache_counters()
    }

    /// Compares the online rows of about `sample` keys of `view` with the newest of their history as of now.
    ///
    /// # Errors
    /// As [`FeatureStore::parity`](super::FeatureStore::parity).
    pub fn parity(&self, view: &View, sample: u32) -> Result<super::Parity, Error> {
        self.run(async |store| store.parity(view, sample).await)
    }

    /// Makes the decision log's table, if it is not there.
    ///
    /// # Errors
    /// As [`DecisionLog::apply`](crate::decisions::DecisionLog::apply).
    pub fn apply_decisions(&self) -> Result<(), Error> {
        self.run(async |store| store.decisions().apply().await)
    }

    /// Records the decision that a score of `key` is; when this returns, it is committed.
    ///
    /// # Errors
    /// As [`DecisionLog::record`](crate::decisions::DecisionLog::record).
    pub fn record(&self, view: &View, key: impl Into<Key>, score: &Score) -> Result<DecisionId, Error> {
        self.run(async |store| store.decisions().record(view, key, score).await)
    }

    /// A decision.
    ///
    /// # Errors
    /// As [`DecisionLog::find`](crate::decisions::DecisionLog::find).
    pub fn find_decision(&self, id: DecisionId) -> Result<Decision, Error> {
        self.run(async |store| store.decisions().find(id).await)
    }

    /// Makes a decision again.
    ///
    /// # Errors
    /// As [`DecisionLog::replay`](crate::decisions::DecisionLog::replay).
    pub fn replay(&self, id: DecisionId) -> Result<Replay, Error> {
        self.run(async |store| store.decisions().replay(id).await)
    }

    /// Closes the store for all its clones: this thread's connection at once, each other thread's at its next call on any store,
    /// or with the thread. New calls are refused.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        LOCAL.with_borrow_mut(|local| {
            if let Some(local) = local.as_mut().filter(|local| local.process == std::process::id()) {
                local.forget_closed();
            }
        });
    }

    /// Runs a call on this thread's runtime and connection.
    fn run<T>(&self, call: impl AsyncFnOnce(&super::FeatureStore) -> Result<T, Error>) -> Result<T, Error> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(ErrorKind::InsideRuntime.into());
        }
        let (runtime, store) = self.local()?;
        let cancellation = CANCELLATION.with_borrow(Clone::clone);
        runtime.block_on(async {
            let outcome = match cancellation {
                None => call(&store).await,
                Some(cancellation) => cancellation.or_cancelled(call(&store)).await,
            };
            if outcome.is_err() {
                // This thread's runtime stands still between calls: a query that was left must be cancelled within this one.
                store.pool().settle(SETTLE).await;
            }
            outcome
        })
    }

    /// This thread's runtime, and its store.
    fn local(&self) -> Result<(Rc<Runtime>, super::FeatureStore), Error> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(ErrorKind::Closed.into());
        }
        LOCAL.with_borrow_mut(|slot| {
            let process = std::process::id();
            if slot.as_ref().is_some_and(|local| local.process != process) {
                // After a fork the sockets are the parent's too: to close them properly would end its sessions.
                std::mem::forget(slot.take());
            }
            let local = match slot {
                Some(local) => local,
                None => {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .map_err(ErrorKind::Runtime)?;
                    slot.insert(Local { process, stores: HashMap::new(), runtime: Rc::new(runtime) })
                }
            };
            let id = self.shared.id;
            if let Some((_, store)) = local.stores.get(&id) {
                return Ok((Rc::clone(&local.runtime), store.clone()));
            }
            local.forget_closed();
            let store = self.shared.settings.clone().lazy()?;
            local.stores.insert(id, (Arc::downgrade(&self.shared), store.clone()));
            Ok((Rc::clone(&local.runtime), store))
        })
    }
}

/// The store's registry, from which nothing is loaded but what one of these keys signed, if there are any.
fn registry(store: &super::FeatureStore, trusted: Option<Vec<PublicKey>>) -> crate::registry::Registry {
    match trusted {
        Some(keys) => store.registry().trusting(keys),
        None => store.registry(),
    }
}

impl Local {
    /// Closes this thread's connections to stores that are closed or gone.
    fn forget_closed(&mut self) {
        let runtime = &self.runtime;
        self.stores.retain(|_, (shared, store)| {
            let open = shared.upgrade().is_some_and(|shared| !shared.closed.load(Ordering::Acquire));
            if !open && tokio::runtime::Handle::try_current().is_err() {
                runtime.block_on(async {
                    store.pool().close();
                    // The connection's own task says goodbye to the server when it is next polled.
                    tokio::task::yield_now().await;
                });
            }
            open
        });
    }
}

/// Reads a view; see [`store::Reader`](super::Reader).
#[derive(Clone)]
pub struct Reader {
    store: FeatureStore,
    reader: super::Reader,
}

impl Reader {
    /// The view that is read.
    pub fn view(&self) -> &View {
        self.reader.view()
    }

    /// The features of one key.
    ///
    /// # Errors
    /// As [`store::Reader::get`](super::Reader::get).
    pub fn get(&self, key: impl Into<Key>) -> Result<Features, Error> {
        self.store.run(async |store| self.reader.on(store).get(key).await)
    }

    /// The features of many keys, in their order.
    ///
    /// # Errors
    /// As [`store::Reader::get`](super::Reader::get).
    pub fn get_many<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<FeatureSet, Error> {
        self.store.run(async |store| self.reader.on(store).get_many(keys).await)
    }
}

/// Reads a view's past; see [`store::AsOf`](super::AsOf).
#[derive(Clone)]
pub struct AsOf {
    store: FeatureStore,
    as_of: super::AsOf,
}

impl AsOf {
    /// By when a value must have become known.
    #[must_use]
    pub fn known_at(self, known_at: KnownAt) -> Self {
        Self { as_of: self.as_of.known_at(known_at), ..self }
    }

    /// The features of `key` as they were known at `at`.
    ///
    /// # Errors
    /// As [`store::AsOf::get`](super::AsOf::get).
    pub fn get(&self, key: impl Into<Key>, at: Timestamp) -> Result<Features, Error> {
        self.store.run(async |store| self.as_of.on(store).get(key, at).await)
    }

    /// The features of each entity as they were known at its time.
    ///
    /// # Errors
    /// As [`store::AsOf::join`](super::AsOf::join).
    pub fn join(&self, entities: &[(Key, Timestamp)]) -> Result<FeatureSet, Error> {
        self.store.run(async |store| self.as_of.on(store).join(entities).await)
    }

    /// As [`join`](Self::join), of a batch.
    ///
    /// # Errors
    /// As [`store::AsOf::join_batch`](super::AsOf::join_batch).
    pub fn join_batch(&self, entities: &Batch<'_>) -> Result<FeatureSet, Error> {
        self.store.run(async |store| self.as_of.on(store).join_batch(entities).await)
    }
}

/// Writes a view; see [`store::Writer`](super::Writer).
#[derive(Clone)]
pub struct Writer {
    store: FeatureStore,
    writer: super::Writer,
}

impl Writer {
    /// The view that is written.
    pub fn view(&self) -> &View {
        self.writer.view()
    }

    /// Writes records in one transaction.
    ///
    /// # Errors
    /// As [`store::Writer::upsert`](super::Writer::upsert).
    pub fn upsert(&self, records: &[Record], options: WriteOptions) -> Result<Upserted, Error> {
        self.store.run(async |store| self.writer.on(store).upsert_with(records, options).await)
    }

    /// Writes a batch in one transaction.
    ///
    /// # Errors
    /// As [`store::Writer::upsert_batch`](super::Writer::upsert_batch).
    pub fn upsert_batch(&self, batch: &Batch<'_>, options: WriteOptions) -> Result<Upserted, Error> {
        self.store.run(async |store| self.writer.on(store).upsert_batch(batch, options).await)
    }
}

/// A model bound to a view; see [`serve::ScorePlan`].
#[derive(Clone)]
pub struct ScorePlan {
    store: FeatureStore,
    plan: serve::ScorePlan,
}

impl ScorePlan {
    /// The model that is bound.
    pub fn model(&self) -> &Model {
        self.plan.model()
    }

    /// The view that it is bound to.
    pub fn view(&self) -> &View {
        self.plan.view()
    }

    /// The same plan on an async store of the same tables.
    pub fn on(&self, store: &super::FeatureStore) -> serve::ScorePlan {
        self.plan.on(store)
    }

    /// What the plan and its clones have seen.
    pub fn counters(&self) -> Counters {
        self.plan.counters()
    }

    /// Says what the plan will do, and warns where a key's row is not found by an index.
    ///
    /// # Errors
    /// As [`serve::ScorePlan::explain`].
    pub fn explain(&self) -> Result<Explanation, Error> {
        self.store.run(async |store| self.plan.on(store).explain().await)
    }

    /// Fetches the features of `key` and scores them.
    ///
    /// # Errors
    /// As [`serve::ScorePlan::score`].
    pub fn score(&self, key: impl Into<Key>) -> Result<Score, Error> {
        self.store.run(async |store| self.plan.on(store).score(key).await)
    }

    /// As [`score`](Self::score), with the inputs that come with the request.
    ///
    /// # Errors
    /// As [`serve::ScorePlan::score_with`].
    pub fn score_with(&self, key: impl Into<Key>, request: &Row<'_>) -> Result<Score, Error> {
        self.store.run(async |store| self.plan.on(store).score_with(key, request).await)
    }

    /// Fetches the features of many keys and scores them on this thread and those of rayon.
    ///
    /// # Errors
    /// As [`serve::ScorePlan::score_many`].
    pub fn score_many<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Scores, Error> {
        self.fetch(keys)?.score()
    }

    /// What the store knows of the keys, to be scored with the inputs that come with the request.
    ///
    /// # Errors
    /// As [`serve::ScorePlan::fetch`].
    pub fn fetch<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Fetched, Error> {
        self.store.run(async |store| self.plan.on(store).fetch(keys).await)
    }
}
