//! The model registry: immutable versions of models in PostgreSQL, and names that point at them.
//!
//! In flow the bytes of a MOJO; out flows a [`Model`] whose bytes have the digest that was registered. The invariant: a
//! version never changes, and nothing is registered that cannot be opened. Where a model is served is an alias
//! (`churn@production`), and moving it is one statement.
//!
//! ```no_run
//! # async fn example(store: cenote::store::FeatureStore) -> Result<(), Box<dyn std::error::Error>> {
//! let registry = store.registry();
//! registry.apply().await?;
//! let version = registry.register("churn", &std::fs::read("churn.zip")?).await?;
//! registry.promote("churn", "production", version.version).await?;
//! let (version, model) = registry.load(&"churn@production".parse()?).await?;
//! # let _ = (version, model);
//! # Ok(())
//! # }
//! ```

mod reference;

use sha2::{Digest, Sha256};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type as PgType};

pub use reference::{ModelRef, Selector};

use crate::model::Model;
use crate::store::{Deadline, Lease, identifier, literal, wire};
use crate::store::{Error, ErrorKind, FeatureStore, Step, Timestamp};

/// The models of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    store: FeatureStore,
}

/// What the registry knows of one version of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelVersion {
    /// The model's name.
    pub name: String,
    /// Its version, from 1.
    pub version: i32,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// How many bytes the MOJO has.
    pub bytes: i64,
    /// H2O's short name of the algorithm, such as `gbm`.
    pub algorithm: String,
    /// The release of H2O that trained it.
    pub h2o_version: String,
    /// The columns it reads, in its order.
    pub inputs: Vec<String>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// The aliases that point at it, ascending.
    pub aliases: Vec<String>,
}

/// A parameter of a statement with its type.
type Parameter<'a> = (&'a (dyn ToSql + Sync), PgType);

impl FeatureStore {
    /// The models of this store's schema.
    pub fn registry(&self) -> Registry {
        Registry { store: self.clone() }
    }
}

impl Registry {
    /// Makes the registry's tables, if they are not there.
    ///
    /// Dropping the future rolls everything back.
    ///
    /// # Errors
    /// A refusal by the server; a deadline.
    pub async fn apply(&self) -> Result<(), Error> {
        let schema = identifier(self.store.schema());
        let lock = literal(&format!("cenote migrate {}", self.store.schema()));
        let sql = format!(
            "SELECT pg_advisory_xact_lock(hashtextextended({lock}, 0)); \
             CREATE SCHEMA IF NOT EXISTS {schema}; \
             CREATE TABLE IF NOT EXISTS {models} (\
               name text COLLATE \"C\", version integer CHECK (version > 0), bytes bytea NOT NULL, \
               sha256 text NOT NULL, algorithm text NOT NULL, h2o_version text NOT NULL, inputs text[] NOT NULL, \
               created_at timestamptz NOT NULL DEFAULT now(), \
               PRIMARY KEY (name, version), UNIQUE (name, sha256)); \
             ALTER TABLE {models} ALTER COLUMN bytes SET STORAGE EXTERNAL; \
             CREATE TABLE IF NOT EXISTS {aliases} (\
               name text COLLATE \"C\", alias text COLLATE \"C\", version integer NOT NULL, \
               changed_at timestamptz NOT NULL DEFAULT now(), \
               PRIMARY KEY (name, alias), FOREIGN KEY (name, version) REFERENCES {models})",
            models = self.table("models"),
            aliases = self.table("model_aliases"),
        );
        let length = self.store.pool().deadlines().migrate;
        let lease = self.store.pool().begin(Step::Migrate, length).await?;
        let deadline = Deadline::after(length);
        let outcome = lease.during(Step::Migrate, deadline, lease.client().batch_execute(&sql)).await;
        lease.end(Step::Migrate, deadline, outcome).await
    }

    /// Registers a MOJO as the next version of `name`. The same bytes again give the version that they have.
    ///
    /// Dropping the future registers nothing, or the whole version.
    ///
    /// # Errors
    /// If the bytes cannot be opened as a model; a refusal by the server; a deadline.
    pub async fn register(&self, name: &str, mojo: &[u8]) -> Result<ModelVersion, Error> {
        ModelRef::check_name(name)?;
        let bytes = mojo.to_vec();
        let (model, bytes) = off_runtime(move || Ok((Model::from_bytes(&bytes)?, bytes))).await?;
        let manifest = model.manifest();
        let inputs: Vec<&str> =
            model.schema().input_columns().iter().map(|column| column.name.as_str()).collect();
        let digest = hexadecimal(&bytes);
        let sql = format!(
            "INSERT INTO {models} (name, version, bytes, sha256, algorithm, h2o_version, inputs) \
             SELECT $1, coalesce(max(version), 0) + 1, $2, $3, $4, $5, $6 FROM {models} WHERE name = $1 \
             ON CONFLICT (name, sha256) DO NOTHING",
            models = self.table("models")
        );
        let lock = format!(
            "SELECT pg_advisory_xact_lock(hashtextextended({}, 0))",
            literal(&format!("cenote models {} {name}", self.store.schema()))
        );
        let length = self.store.pool().deadlines().write;
        let lease = self.store.pool().begin(Step::Registry, length).await?;
        let deadline = Deadline::after(length);
        let outcome = async {
            lease.during(Step::Lock, deadline, lease.client().batch_execute(&lock)).await?;
            let parameters: [Parameter<'_>; 6] = [
                (&name, PgType::TEXT),
                (&bytes.as_slice(), PgType::BYTEA),
                (&digest, PgType::TEXT),
                (&manifest.algo, PgType::TEXT),
                (&manifest.h2o_version, PgType::TEXT),
                (&inputs, PgType::TEXT_ARRAY),
            ];
            self.query(&lease, deadline, &sql, &parameters).await?;
            let reference = ModelRef { name: name.to_owned(), selector: Selector::Digest(digest.clone()) };
            self.find_on(&lease, deadline, &reference).await
        }
        .await;
        lease.end(Step::Registry, deadline, outcome).await
    }

    /// Points `alias` of `name` at a version, and tells those who listen on the channel `cenote_model_aliases`
    /// (payload: `name@alias`).
    ///
    /// Dropping the future moves the alias or leaves it.
    ///
    /// # Errors
    /// `NoSuchModel` if there is no such version; a refusal by the server; a deadline.
    pub async fn promote(&self, name: &str, alias: &str, version: i32) -> Result<(), Error> {
        let reference = ModelRef { name: name.to_owned(), selector: Selector::Version(version) };
        ModelRef::check_name(name)?;
        ModelRef::check_name(alias)?;
        let sql = format!(
            "WITH moved AS (\
               INSERT INTO {aliases} (name, alias, version) \
               SELECT name, $2, version FROM {models} WHERE name = $1 AND version = $3 \
               ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version, changed_at = now() \
               RETURNING name, alias) \
             SELECT pg_notify('cenote_model_aliases', name || '@' || alias) FROM moved",
            models = self.table("models"),
            aliases = self.table("model_aliases"),
        );
        let deadline = Deadline::after(self.store.pool().deadlines().write);
        let lease = self.store.pool().lease(deadline).await?;
        let parameters: [Parameter<'_>; 3] =
            [(&name, PgType::TEXT), (&alias, PgType::TEXT), (&version, PgType::INT4)];
        let moved = self.query(&lease, deadline, &sql, &parameters).await?;
        if moved.is_empty() { Err(no_such(&reference)) } else { Ok(()) }
    }

    /// What the registry knows of a version.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// `NoSuchModel`; a refusal by the server; a deadline.
    pub async fn find(&self, reference: &ModelRef) -> Result<ModelVersion, Error> {
        let deadline = Deadline::after(self.store.pool().deadlines().read);
        let lease = self.store.pool().lease(deadline).await?;
        self.find_on(&lease, deadline, reference).await
    }

    /// All versions of `name`, or of every model, by name and version.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// A refusal by the server; a deadline.
    pub async fn list(&self, name: Option<&str>) -> Result<Vec<ModelVersion>, Error> {
        let deadline = Deadline::after(self.store.pool().deadlines().read);
        let lease = self.store.pool().lease(deadline).await?;
        let sql = format!("{} WHERE $1 IS NULL OR m.name = $1 ORDER BY m.name, m.version", self.select());
        let rows = self.query(&lease, deadline, &sql, &[(&name, PgType::TEXT)]).await?;
        rows.iter().map(version).collect()
    }

    /// Fetches a version and opens it, after its digest was compared with the registered one.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub async fn load(&self, reference: &ModelRef) -> Result<(ModelVersion, Model), Error> {
        let (found, bytes) = self.fetch(reference).await?;
        off_runtime(move || Ok((found, Model::from_bytes(&bytes)?))).await
    }

    /// Fetches the bytes of a version, after their digest was compared with the registered one.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// `NoSuchModel`; `Digest` if the bytes are not those that were registered; a refusal by the server; a deadline.
    pub async fn fetch(&self, reference: &ModelRef) -> Result<(ModelVersion, Vec<u8>), Error> {
        let deadline = Deadline::after(self.store.pool().deadlines().write);
        let lease = self.store.pool().lease(deadline).await?;
        let found = self.find_on(&lease, deadline, reference).await?;
        let sql = format!("SELECT bytes FROM {} WHERE name = $1 AND version = $2", self.table("models"));
        let parameters: [Parameter<'_>; 2] = [(&found.name, PgType::TEXT), (&found.version, PgType::INT4)];
        let rows = self.query(&lease, deadline, &sql, &parameters).await?;
        drop(lease);
        let row = rows.into_iter().next().ok_or_else(|| no_such(reference))?;
        off_runtime(move || {
            let bytes = wire::cell(&row, 0)?.unwrap_or_default();
            if hexadecimal(bytes) != found.sha256 {
                return Err(ErrorKind::Digest { name: found.name, version: found.version }.into());
            }
            Ok((found, bytes.to_vec()))
        })
        .await
    }

    async fn find_on(
        &self,
        lease: &Lease<'_>,
        deadline: Deadline,
        to: &ModelRef,
    ) -> Result<ModelVersion, Error> {
        let (models, aliases) = (self.table("models"), self.table("model_aliases"));
        let (which, value): (_, Parameter<'_>) = match &to.selector {
            Selector::Latest => (
                format!("SELECT max(version) FROM {models} WHERE name = $1 AND $2 IS NULL"),
                (&None::<i32>, PgType::INT4),
            ),
            Selector::Version(version) => ("$2".to_owned(), (version, PgType::INT4)),
            Selector::Digest(digest) => (
                format!("SELECT version FROM {models} WHERE name = $1 AND sha256 = $2"),
                (digest, PgType::TEXT),
            ),
            Selector::Alias(alias) => (
                format!("SELECT version FROM {aliases} WHERE name = $1 AND alias = $2"),
                (alias, PgType::TEXT),
            ),
        };
        let sql = format!("{} WHERE m.name = $1 AND m.version = ({which})", self.select());
        let rows = self.query(lease, deadline, &sql, &[(&to.name, PgType::TEXT), value]).await?;
        version(rows.first().ok_or_else(|| no_such(to))?)
    }

    fn select(&self) -> String {
        format!(
            "SELECT m.name, m.version, m.sha256, octet_length(m.bytes)::bigint, m.algorithm, m.h2o_version, m.inputs, \
             m.created_at, (SELECT coalesce(array_agg(a.alias::text ORDER BY a.alias), '{{}}') FROM {aliases} a \
             WHERE a.name = m.name AND a.version = m.version) FROM {models} m",
            models = self.table("models"),
            aliases = self.table("model_aliases"),
        )
    }

    async fn query(
        &self,
        lease: &Lease<'_>,
        deadline: Deadline,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Error> {
        lease.during(Step::Registry, deadline, lease.client().query_typed(sql, parameters)).await
    }

    fn table(&self, name: &str) -> String {
        format!("{}.{}", identifier(self.store.schema()), identifier(&format!("cenote_{name}")))
    }
}

fn version(row: &Row) -> Result<ModelVersion, Error> {
    let wrong = |error| Error::database(Step::Registry, error);
    let created_at = wire::fixed(wire::cell(row, 7)?.unwrap_or_default())?;
    Ok(ModelVersion {
        name: row.try_get(0).map_err(wrong)?,
        version: row.try_get(1).map_err(wrong)?,
        sha256: row.try_get(2).map_err(wrong)?,
        bytes: row.try_get(3).map_err(wrong)?,
        algorithm: row.try_get(4).map_err(wrong)?,
        h2o_version: row.try_get(5).map_err(wrong)?,
        inputs: row.try_get(6).map_err(wrong)?,
        created_at: Timestamp::from_wire(i64::from_be_bytes(created_at)),
        aliases: row.try_get(8).map_err(wrong)?,
    })
}

fn no_such(reference: &ModelRef) -> Error {
    ErrorKind::NoSuchModel { reference: reference.to_string() }.into()
}

fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opening a model takes milliseconds to seconds: never on a thread of the runtime.
async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
