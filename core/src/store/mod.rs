//! The feature store: features of entities in PostgreSQL, typed, read by key in one query.
//!
//! In flow a [`View`] (what an entity's features are), rows to write and keys to read; out flow features with the status of
//! each key. The invariant: whatever the order in which rows were written, a key has its newest; whatever fails, the error
//! names the step, and no connection goes back to the pool with a question open.
//!
//! ```no_run
//! use cenote::store::{FeatureStore, Record, Timestamp, Type, View};
//!
//! # async fn example() -> Result<(), cenote::store::Error> {
//! let view = View::builder("customer_stats").key("customer", Type::I64).feature("age", Type::F64).build()?;
//! let store = FeatureStore::connect("postgres://app@localhost/features").await?;
//! store.apply(&view).await?;
//! store.writer(&view).upsert(&[Record::new(7i64, Timestamp::now(), [41.5])]).await?;
//! let features = store.reader(&view).get(7i64).await?;
//! assert!(features.status.is_fresh());
//! # Ok(())
//! # }
//! ```
//!
//! The wire is binary throughout; every statement's text is fixed when a [`Reader`] or [`Writer`] is made, and prepared once a
//! connection. What a model makes of the features is [`serve`](crate::serve)'s; callers without an async runtime use [`blocking`].

mod asof;
pub mod blocking;
mod breaker;
#[cfg(feature = "cache")]
mod cache;
mod cells;
mod chunk;
mod config;
mod connection;
mod ddl;
mod erase;
mod error;
mod features;
mod history;
mod jobs;
mod lease;
mod listen;
mod load;
mod materialize;
mod merge;
mod numeric;
mod parity;
mod parse;
mod pool;
mod raw;
mod read;
mod replicas;
mod service;
pub(crate) mod telemetry;
mod typed;
mod value;
mod view;
pub(crate) mod wire;
mod write;

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::ToSql;

pub use asof::{AsOf, KnownAt};
#[cfg(feature = "cache")]
pub use cache::{CacheCounters, CacheOptions};
pub use cells::Record;
/// Makes a struct a row of a view: see [`FeatureRow`](trait@FeatureRow).
pub use cenote_derive::FeatureRow;
pub use config::{Builder, Deadlines, StatementMode};
pub use ddl::Migration;
pub use erase::Erased;
pub use error::{Error, ErrorKind, Step};
pub use features::{FeatureColumn, FeatureSet, FeatureValues, Features, Status};
pub use history::Maintained;
pub use jobs::FinishedBatch;
pub use load::{Load, Loaded};
pub use materialize::{MaterializeOptions, Materialized};
pub use parity::{Difference, Parity, Skew};
pub use raw::{Document, Raw, Stored};
pub use read::Reader;
pub use replicas::ReplicaState;
pub use service::{FeatureService, ServiceBuilder};
pub use typed::{FeatureRow, FeatureType, Found, ListItem, TypedAsOf, TypedView};
pub use value::{Date, Item, Key, Timestamp, Type, Value};
pub use view::{Feature, History, KeyColumn, RawDocuments, View, ViewBuilder};
pub use write::{Upserted, WriteOptions, Writer};

pub(crate) use ddl::{identifier, literal};
pub(crate) use features::event_ts;
pub(crate) use lease::Lease;
pub(crate) use listen::Listener;
pub(crate) use pool::Deadline;
use pool::Pool;
pub(crate) use read::{EncodedKey, FoundRows, StoredRow};

/// A store of features in a PostgreSQL schema: a pool of connections and what is done by them. Cheap to clone.
#[derive(Clone)]
pub struct FeatureStore {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    replicas: replicas::Replicas,
    schema: String,
    #[cfg(feature = "cache")]
    cache: Option<Arc<cache::Cache>>,
}

impl std::fmt::Debug for FeatureStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeatureStore").field("schema", &self.inner.schema).finish_non_exhaustive()
    }
}

impl FeatureStore {
    /// Settings from a connection string, as libpq reads them: a URL or `host=... user=...`.
    pub fn builder(dsn: &str) -> Builder {
        Builder::new(dsn)
    }

    /// Settings from tokio-postgres's own.
    pub fn from_config(config: tokio_postgres::Config) -> Builder {
        Builder::from_config(config)
    }

    /// Connects with default settings.
    ///
    /// Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect(dsn: &str) -> Result<Self, Error> {
        Self::builder(dsn).connect().await
    }

    /// What the store's cache has done; all zero where there is none.
    #[cfg(feature = "cache")]
    pub fn cache_counters(&self) -> CacheCounters {
        self.cache().map(|cache| cache.counters()).unwrap_or_default()
    }

    #[cfg(feature = "cache")]
    pub(crate) fn cache(&self) -> Option<&Arc<cache::Cache>> {
        self.inner.cache.as_ref()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// The PostgreSQL schema that holds the store's tables.
    pub fn schema(&self) -> &str {
        &self.inner.schema
    }

    /// How many connections there are, and how many of them are free.
    pub fn connections(&self) -> (usize, usize) {
        self.pool().size()
    }

    /// Closes the store for all its clones: calls under way end, new ones are refused, abandoned queries are cancelled.
    ///
    /// Dropping the future is safe.
    pub async fn close(&self) {
        self.pool().close();
        self.inner.replicas.pools().for_each(Pool::close);
        self.pool().settle(Duration::from_secs(1)).await;
    }

    /// How the replicas fare, in the order in which they were named.
    pub fn replicas(&self) -> Vec<ReplicaState> {
        self.inner.replicas.states()
    }

    /// Reads by a replica that is not too far behind, or else by the primary; as [`Pool::read_into`].
    async fn read_near<T>(
        &self,
        query: &pool::Query,
        parameters: &[&(dyn ToSql + Sync)],
        begin: impl Fn() -> T,
        take: impl Fn(&mut T, tokio_postgres::Row) -> Result<(), Error>,
    ) -> Result<T, Error> {
        if !self.inner.replicas.is_empty() {
            let read = async |pool: &Pool| pool.read_into(query, parameters, &begin, &take).await;
            // In memory of its own, so that a read of the primary alone is small.
            if let Some(rows) = Box::pin(self.inner.replicas.read(self.pool(), read)).await {
                return Ok(rows);
            }
        }
        self.pool().read_into(query, parameters, begin, take).await
    }

    /// The view's online table, quoted, with its schema.
    pub(crate) fn table(&self, view: &View) -> String {
        self.qualified(&view.table())
    }

    /// A table's name, quoted, with its schema.
    pub(crate) fn qualified(&self, table: &str) -> String {
        format!("{}.{}", ddl::identifier(self.schema()), ddl::identifier(table))
    }
}
