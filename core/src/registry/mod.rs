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

mod golden;
mod reference;
mod registration;
mod route;
mod signing;
mod version;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type as PgType};

pub use reference::{ModelRef, Selector};
pub use registration::Registration;
pub use route::{Canary, Route};
pub use signing::{PublicKey, SigningKey};
pub use version::{ModelVersion, Stage};
pub use watch::{Loaded, Routed, Watch, WatchState};

use crate::model::Model;
use crate::store::{Deadline, Lease, identifier, literal, wire};
use crate::store::{Error, ErrorKind, FeatureStore, Step};
use golden::Golden;

/// The models of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    store: FeatureStore,
    /// Whose signature a model must have to be loaded; `None` if it need not have one.
    trusted: Option<Arc<HashSet<PublicKey>>>,
}

/// A parameter of a statement with its type.
type Parameter<'a> = (&'a (dyn ToSql + Sync), PgType);

impl FeatureStore {
    /// The models of this store's schema.
    pub fn registry(&self) -> Registry {
        Registry { store: self.clone(), trusted: None }
    }
}

impl Registry {
    /// The same registry, from which nothing is loaded but what one of these keys signed.
    #[must_use]
    pub fn trusting(mut self, keys: impl IntoIterator<Item = PublicKey>) -> Self {
        self.trusted = Some(Arc::new(keys.into_iter().collect()));
        self
    }

    /// Makes the registry's tables, or adds to them what this release keeps besides.
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
             ALTER TABLE {models} ALTER COLUMN bytes SET STORAGE EXTERNAL, \
               ADD COLUMN IF NOT EXISTS input_types text[] NOT NULL DEFAULT '{{}}', \
               ADD COLUMN IF NOT EXISTS outputs text[] NOT NULL DEFAULT '{{}}', \
               ADD COLUMN IF NOT EXISTS metrics jsonb NOT NULL DEFAULT '{{}}', \
               ADD COLUMN IF NOT EXISTS tags jsonb NOT NULL DEFAULT '{{}}', \
               ADD COLUMN IF NOT EXISTS stage text NOT NULL DEFAULT 'none', \
               ADD COLUMN IF NOT EXISTS public_key bytea, ADD COLUMN IF NOT EXISTS signature bytea, \
               ADD COLUMN IF NOT EXISTS golden_rows integer NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS golden text; \
             CREATE TABLE IF NOT EXISTS {aliases} (\
               name text COLLATE \"C\", alias text COLLATE \"C\", version integer NOT NULL, \
               changed_at timestamptz NOT NULL DEFAULT now(), \
               PRIMARY KEY (name, alias), FOREIGN KEY (name, version) REFERENCES {models}); \
             ALTER TABLE {aliases} ADD COLUMN IF NOT EXISTS canary integer, \
               ADD COLUMN IF NOT EXISTS share double precision, ADD COLUMN IF NOT EXISTS shadow integer",
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
        self.register_with(name, mojo, &Registration::new()).await
    }

    /// Registers a MOJO with metrics, tags, golden rows and a signature.
    ///
    /// Dropping the future registers nothing, or the whole version.
    ///
    /// # Errors
    /// As [`register`](Self::register); `Registered` if the same bytes are there with something else beside them; if a metric is
    /// not finite, or the signature is not of this name and these bytes.
    pub async fn register_with(
        &self,
        name: &str,
        mojo: &[u8],
        with: &Registration<'_>,
    ) -> Result<ModelVersion, Error> {
        ModelRef::check_name(name)?;
        if with.metrics.values().any(|metric| !metric.is_finite()) {
            return Err(Error::config("a metric is not finite"));
        }
        let bytes = mojo.to_vec();
        let (model, bytes) = off_runtime(move || Ok((Model::from_bytes(&bytes)?, bytes))).await?;
        let manifest = model.manifest();
        let columns = model.schema().input_columns();
        let inputs: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let kind = |numeric: bool| if numeric { "numeric" } else { "categorical" };
        let input_types: Vec<&str> = columns.iter().map(|column| kind(column.domain.is_none())).collect();
        let outputs: Vec<&str> = model.output_names().collect();
        let digest = hexadecimal(&bytes);
        let (key, signature) = with.sign(name, &digest)?.unzip();
        let key = key.as_ref().map(|key: &PublicKey| key.as_bytes().as_slice());
        let golden = with.golden(&model)?;
        let golden_rows = golden.as_ref().map_or(0, Golden::len) as i32;
        let golden = golden.as_ref().map(Golden::to_text).transpose()?;
        let json = |error| Error::config(format!("metrics and tags cannot be written as JSON: {error}"));
        let metrics = serde_json::to_string(&with.metrics).map_err(json)?;
        let tags = serde_json::to_string(&with.tags).map_err(json)?;
        let sql = format!(
            "INSERT INTO {models} (name, version, bytes, sha256, algorithm, h2o_version, inputs, input_types, outputs, \
             metrics, tags, public_key, signature, golden_rows, golden) \
             SELECT $1, coalesce(max(version), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10::text::jsonb, $11, \
             $12, $13, $14 FROM {models} WHERE name = $1 ON CONFLICT (name, sha256) DO NOTHING",
            models = self.table("models")
        );
        let compare = format!(
            "SELECT metrics = $3::text::jsonb, tags = $4::text::jsonb, golden IS NOT DISTINCT FROM $5, \
             signature IS NOT DISTINCT FROM $6 FROM {} WHERE name = $1 AND sha256 = $2",
            self.table("models")
        );
        let reference = ModelRef { name: name.to_owned(), selector: Selector::Digest(digest.clone()) };
        self.change(name, async |lease, deadline| {
            let parameters: [Parameter<'_>; 14] = [
                (&name, PgType::TEXT),
                (&bytes, PgType::BYTEA),
                (&digest, PgType::TEXT),
                (&manifest.algo, PgType::TEXT),
                (&manifest.h2o_version, PgType::TEXT),
                (&inputs, PgType::TEXT_ARRAY),
                (&input_types, PgType::TEXT_ARRAY),
                (&outputs, PgType::TEXT_ARRAY),
                (&metrics, PgType::TEXT),
                (&tags, PgType::TEXT),
                (&key, PgType::BYTEA),
                (&signature, PgType::BYTEA),
                (&golden_rows, PgType::INT4),
                (&golden, PgType::TEXT),
            ];
            self.query(lease, deadline, &sql, &parameters).await?;
            let found = self.find_on(lease, deadline, &reference).await?;
            if !with.is_bare() {
                let parameters: [Parameter<'_>; 6] = [
                    (&name, PgType::TEXT),
                    (&digest, PgType::TEXT),
                    (&metrics, PgType::TEXT),
                    (&tags, PgType::TEXT),
                    (&golden, PgType::TEXT),
                    (&signature, PgType::BYTEA),
                ];
                let rows = self.query(lease, deadline, &compare, &parameters).await?;
                for (index, what) in ["metrics", "tags", "golden rows", "signature"].into_iter().enumerate() {
                    let same = rows.first().is_some_and(|row| row.try_get(index).unwrap_or(false));
                    if !same {
                        let ModelVersion { name, version, .. } = found;
                        return Err(ErrorKind::Registered { name, version, what }.into());
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    /// Says where a version is in its life.
    ///
    /// Dropping the future changes the stage or leaves it.
    ///
    /// # Errors
    /// `NoSuchModel`; `Archived` if it is to be archived and an alias points at it; a refusal by the server; a deadline.
    pub async fn set_stage(&self, name: &str, version: i32, stage: Stage) -> Result<(), Error> {
        let used = format!(
            "SELECT 1 FROM {} WHERE name = $1 AND $2 IN (version, canary, shadow)",
            self.table("model_aliases")
        );
        let change = format!(
            "UPDATE {} SET stage = $3 WHERE name = $1 AND version = $2 RETURNING 1",
            self.table("models")
        );
        let text = stage.name();
        self.change(name, async |lease, deadline| {
            let of: [Parameter<'_>; 3] =
                [(&name, PgType::TEXT), (&version, PgType::INT4), (&text, PgType::TEXT)];
            if stage == Stage::Archived && !self.query(lease, deadline, &used, &of[..2]).await?.is_empty() {
                let what = "cannot be archived: an alias points at it";
                return Err(ErrorKind::Archived { name: name.to_owned(), version, what }.into());
            }
            if self.query(lease, deadline, &change, &of).await?.is_empty() {
                let selector = Selector::Version(version);
                return Err(no_such(&ModelRef { name: name.to_owned(), selector }));
            }
            Ok(())
        })
        .await
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
        rows.iter().map(ModelVersion::from_row).collect()
    }

    /// A version, opened, after its signature and the digest of its bytes were verified. Its bytes are not fetched again while
    /// this process has the model already.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub async fn load(&self, reference: &ModelRef) -> Result<(ModelVersion, Model), Error> {
        let found = self.find(reference).await?;
        self.check_signature(&found)?;
        if let Some(model) = version::verified(&found.sha256) {
            return Ok((found, model));
        }
        // By its version: an alias may have moved.
        let selector = Selector::Version(found.version);
        let (found, bytes) = self.fetch(&ModelRef { name: found.name, selector }).await?;
        off_runtime(move || {
            let model = version::keep(&found.sha256, Model::from_shared(bytes.into())?);
            Ok((found, model))
        })
        .await
    }

    /// Fetches the bytes of a version, after its signature and their digest were verified.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// `NoSuchModel`; `Digest` if the bytes are not those that were registered; `Signature` if keys are
    /// [trusted](Self::trusting) and none of them signed it; a refusal by the server; a deadline.
    pub async fn fetch(&self, reference: &ModelRef) -> Result<(ModelVersion, Vec<u8>), Error> {
        let deadline = Deadline::after(self.store.pool().deadlines().write);
        let lease = self.store.pool().lease(deadline).await?;
        let found = self.find_on(&lease, deadline, reference).await?;
        self.check_signature(&found)?;
        let rows = self.of_version(&lease, deadline, &found, "bytes").await?;
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

    /// Asks `model` for its answers to the version's golden rows, by both of its engines, and compares them bit for bit with those
    /// that it gave when it was registered.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// `SelfTest` that names the first row with another answer; a refusal by the server; a deadline.
    pub async fn self_test(&self, of: &ModelVersion, model: &Model) -> Result<(), Error> {
        if of.golden_rows == 0 {
            return Ok(());
        }
        let deadline = Deadline::after(self.store.pool().deadlines().read);
        let lease = self.store.pool().lease(deadline).await?;
        let rows = self.of_version(&lease, deadline, of, "golden").await?;
        drop(lease);
        let text = rows.first().map(|row| wire::cell(row, 0)).transpose()?.flatten();
        let golden = Golden::from_text(wire::text(text.unwrap_or_default())?)?;
        let model = model.clone();
        let differs = off_runtime(move || golden.differs(&model)).await?;
        match differs {
            None => Ok(()),
            Some(row) => Err(ErrorKind::SelfTest { name: of.name.clone(), version: of.version, row }.into()),
        }
    }

    /// Verifies a version whole: its signature, its digest, that it opens, and its golden rows.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch) and [`self_test`](Self::self_test).
    pub async fn verify(&self, reference: &ModelRef) -> Result<ModelVersion, Error> {
        let (found, bytes) = self.fetch(reference).await?;
        let model = off_runtime(move || Ok(Model::from_shared(bytes.into())?)).await?;
        self.self_test(&found, &model).await?;
        Ok(found)
    }

    /// Refuses a version that none of the trusted keys signed. The signature is checked also where no key is trusted: a wrong one
    /// is never a good sign.
    fn check_signature(&self, found: &ModelVersion) -> Result<(), Error> {
        let ModelVersion { name, version, sha256, signed_by, signature, .. } = found;
        let what = match (signed_by.as_ref().zip(signature.as_ref()), &self.trusted) {
            (Some((key, signature)), _) if !key.verifies(name, sha256, signature) => {
                "has a signature that is not of it"
            }
            (Some((key, _)), Some(trusted)) if !trusted.contains(key) => {
                "is signed by a key that is not trusted"
            }
            (None, Some(_)) => "is not signed",
            _ => return Ok(()),
        };
        Err(ErrorKind::Signature { name: name.clone(), version: *version, what }.into())
    }

    async fn of_version(
        &self,
        lease: &Lease<'_>,
        deadline: Deadline,
        of: &ModelVersion,
        column: &str,
    ) -> Result<Vec<Row>, Error> {
        let sql = format!("SELECT {column} FROM {} WHERE name = $1 AND version = $2", self.table("models"));
        self.query(lease, deadline, &sql, &[(&of.name, PgType::TEXT), (&of.version, PgType::INT4)]).await
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
        ModelVersion::from_row(rows.first().ok_or_else(|| no_such(to))?)
    }

    fn select(&self) -> String {
        let columns = ModelVersion::columns(&self.table("model_aliases"));
        format!("SELECT {columns} FROM {} m", self.table("models"))
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
