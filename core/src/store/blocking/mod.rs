//! The store for callers without an async runtime: Python first of all.
//!
//! In flow calls on any thread; out flow the same answers as the async store's. Each thread has a current-thread runtime of its
//! own, with one connection a store: driver and query on one thread take half the time that two threads take. The invariant: a
//! connection never leaves the thread and the process that made it. So a call after `fork` in the child connects anew, and what
//! the parent had is left untouched; a thread that ends closes its connections.

mod bulk;
mod decisions;
mod plan;
mod registry;
mod served;
mod thread;
mod typed;
mod views;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::model::Model;
use crate::serve::PlanBuilder;

use super::{Builder, Erased, Error, Key, Maintained, ReplicaState, View};

pub use bulk::{FeatureService, Load, Raw};
pub use decisions::DecisionBuffer;
pub use plan::ScorePlan;
pub use served::Served;
pub use thread::Cancellation;
pub use typed::{TypedAsOf, TypedView};
pub use views::{AsOf, Reader, Writer};

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

    /// How the replicas fare for this thread, in the order in which they were named; each thread has connections to them of its own.
    ///
    /// # Errors
    /// As any call: if the store is closed, or this thread runs an async runtime.
    pub fn replicas(&self) -> Result<Vec<ReplicaState>, Error> {
        self.run(async |store| Ok(store.replicas()))
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

    /// Erases every row of some keys of `view`, online, in its history and among its raw documents.
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

    /// Closes the store for all its clones: this thread's connection at once, each other thread's at its next call on any store,
    /// or with the thread. New calls are refused.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        thread::forget_closed();
    }
}
