//! The decision log: what was answered, by which bytes, from what; and the same answer again, bit for bit.
//!
//! In flow scores; out flow decisions, and replays of them. A decision holds the digest of the model, the raw row that the model
//! saw as bits, and the answer as bits: nothing that a later write of features or another version of a model could change. The
//! invariant: a decision that [`record`](DecisionLog::record) has returned from is committed; one that went through a
//! [`DecisionBuffer`] is written later, or counted as dropped.

mod buffer;
mod id;

use serde_json::Value as Json;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type as PgType};

pub use buffer::{BufferCounters, DecisionBuffer};
pub use id::DecisionId;

use crate::model::Model;
use crate::registry::{ModelRef, ModelVersion, Selector};
use crate::serve::Score;
use crate::store::{Deadline, identifier, literal, wire};
use crate::store::{Error, ErrorKind, FeatureStore, Key, Step, Timestamp, Value, View};

/// The decisions of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DecisionLog {
    store: FeatureStore,
}

/// One answer, and all that it was made of.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// What names it.
    pub id: DecisionId,
    /// When it was made.
    pub decided_at: Timestamp,
    /// The view that was read.
    pub view: String,
    /// The view's version.
    pub view_version: u32,
    /// The key as a JSON list, a value a column: moments as microseconds since 1970, days as days since 1970.
    pub key: String,
    /// The model.
    pub model: String,
    /// Its version.
    pub version: i32,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// What the store knew of the key: `fresh`, `stale` or `missing`.
    pub status: String,
    /// When the features held true; `None` where there was no row.
    pub event_ts: Option<Timestamp>,
    /// What the model saw: one number a feature, level codes as numbers, `NaN` where missing.
    pub features: Box<[f64]>,
    /// The offset on the link scale.
    pub offset: f64,
    /// The label's place in the model's labels; `None` for a regression.
    pub label: Option<u32>,
    /// The numbers of the prediction, in the order of H2O's columns.
    pub numbers: Box<[f64]>,
}

/// A decision made again.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Replay {
    /// The decision as it was recorded.
    pub decision: Decision,
    /// The model that made it, verified, by its digest.
    pub model: Model,
    /// The label's place now.
    pub label: Option<u32>,
    /// The numbers now.
    pub numbers: Box<[f64]>,
}

impl Replay {
    /// Whether the answer is the same, to the last bit.
    pub fn is_identical(&self) -> bool {
        let bits = |numbers: &[f64]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        self.label == self.decision.label && bits(&self.numbers) == bits(&self.decision.numbers)
    }

    /// What the model saw, by name: level codes as the levels' texts, JSON numbers, null where missing.
    pub fn features(&self) -> Vec<(String, Json)> {
        let columns = &self.model.schema().features;
        let value = |(column, value): (&crate::mojo::Column, &f64)| {
            let level = column.domain.as_ref().and_then(|domain| domain.get(*value as usize));
            let json = match level {
                _ if value.is_nan() => Json::Null,
                Some(level) => level.as_str().into(),
                None => (*value).into(),
            };
            (column.name.clone(), json)
        };
        columns.iter().zip(&self.decision.features).map(value).collect()
    }
}

impl Decision {
    /// The decision that a score of `key` is.
    ///
    /// # Errors
    /// If the score does not say which registered version it is of: the plan must have been told by
    /// [`PlanBuilder::version`](crate::serve::PlanBuilder::version), as [`FeatureStore::serve`] does.
    pub fn new(view: &View, key: &Key, score: &Score) -> Result<Self, Error> {
        let Some(ModelVersion { name, version, sha256, .. }) = score.version() else {
            return Err(Error::config(
                "a decision needs a score of a registered version: tell the plan which",
            ));
        };
        Ok(Self {
            id: DecisionId::new()?,
            decided_at: Timestamp::now(),
            view: view.name().to_owned(),
            view_version: view.version(),
            key: Json::Array(key.values().iter().map(json).collect()).to_string(),
            model: name.clone(),
            version: *version,
            sha256: sha256.clone(),
            status: score.status.name().to_owned(),
            event_ts: score.event_ts,
            features: score.features().into(),
            offset: score.offset(),
            label: score.label_index(),
            numbers: score.numbers().into(),
        })
    }
}

/// A value of a key as JSON.
fn json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Text(value) | Value::Numeric(value) | Value::Json(value) => (**value).into(),
        Value::Timestamp(value) => value.as_micros().into(),
        Value::Date(value) => value.as_days().into(),
        Value::Uuid(bytes) => id::text(bytes).into(),
        Value::Float(value) => (*value).into(),
        Value::Null | Value::List(_) => Json::Null,
    }
}

/// Numbers as their bits, big-endian.
fn bits(numbers: &[f64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_bits().to_be_bytes()).collect()
}

fn numbers(bytes: &[u8]) -> Result<Box<[f64]>, Error> {
    let (numbers, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(Error::protocol(Step::Decisions, "numbers that are not of eight bytes each"));
    }
    Ok(numbers.iter().map(|bytes| f64::from_bits(u64::from_be_bytes(*bytes))).collect())
}

impl FeatureStore {
    /// The decisions of this store's schema.
    pub fn decisions(&self) -> DecisionLog {
        DecisionLog { store: self.clone() }
    }
}

impl DecisionLog {
    /// Makes the log's table, if it is not there.
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
             CREATE TABLE IF NOT EXISTS {table} (id uuid PRIMARY KEY, decided_at timestamptz NOT NULL, view text NOT NULL, \
               view_version integer NOT NULL, key jsonb NOT NULL, model text NOT NULL, version integer NOT NULL, \
               sha256 text NOT NULL, status text NOT NULL, event_ts timestamptz, features bytea NOT NULL, \
               link_offset double precision NOT NULL, label integer, numbers bytea NOT NULL); \
             CREATE INDEX IF NOT EXISTS cenote_decisions_of_key ON {table} (view, key, decided_at)",
            table = self.table(),
        );
        let length = self.store.pool().deadlines().migrate;
        let lease = self.store.pool().begin(Step::Migrate, length).await?;
        let deadline = Deadline::after(length);
        let outcome = lease.during(Step::Migrate, deadline, lease.client().batch_execute(&sql)).await;
        lease.end(Step::Migrate, deadline, outcome).await
    }

    /// Records the decision that a score of `key` is; when this returns, it is committed.
    ///
    /// Dropping the future records it or not.
    ///
    /// # Errors
    /// As [`Decision::new`]; a refusal by the server; a deadline.
    pub async fn record(&self, view: &View, key: impl Into<Key>, score: &Score) -> Result<DecisionId, Error> {
        let decision = Decision::new(view, &key.into(), score)?;
        self.write(std::slice::from_ref(&decision)).await?;
        Ok(decision.id)
    }

    /// Writes decisions by one statement. To write one twice changes nothing, so it goes again where a connection was lost.
    ///
    /// Dropping the future writes all of them or none.
    ///
    /// # Errors
    /// A refusal by the server; a deadline.
    pub async fn write(&self, decisions: &[Decision]) -> Result<(), Error> {
        if decisions.is_empty() {
            return Ok(());
        }
        match self.write_once(decisions).await {
            Err(error) if error.is_transient() => self.write_once(decisions).await,
            outcome => outcome,
        }
    }

    async fn write_once(&self, decisions: &[Decision]) -> Result<(), Error> {
        /// One array a column.
        macro_rules! column {
            ($decision:ident => $value:expr) => {
                decisions.iter().map(|$decision| $value).collect::<Vec<_>>()
            };
        }
        let wire = |moment: Timestamp| moment.to_wire().unwrap_or(i64::MAX);
        let ids = column!(d => d.id.to_string());
        // Moments go as their counts: microseconds since 2000.
        let decided = column!(d => wire(d.decided_at));
        let view = column!(d => d.view.as_str());
        let view_version = column!(d => d.view_version as i32);
        let key = column!(d => d.key.as_str());
        let model = column!(d => d.model.as_str());
        let version = column!(d => d.version);
        let sha256 = column!(d => d.sha256.as_str());
        let status = column!(d => d.status.as_str());
        let event = column!(d => d.event_ts.map(wire));
        let features = column!(d => bits(&d.features));
        let offset = column!(d => d.offset);
        let label = column!(d => d.label.map(|label| label as i32));
        let numbers = column!(d => bits(&d.numbers));
        let sql = format!(
            "INSERT INTO {} SELECT i::uuid, {EPOCH} + d * interval '1 microsecond', v, vv, k::jsonb, m, n, s, st, \
             {EPOCH} + e * interval '1 microsecond', f, o, l, b \
             FROM unnest($1::text[], $2::int8[], $3::text[], $4::int4[], $5::text[], $6::text[], $7::int4[], $8::text[], \
             $9::text[], $10::int8[], $11::bytea[], $12::float8[], $13::int4[], $14::bytea[]) \
             AS t(i, d, v, vv, k, m, n, s, st, e, f, o, l, b) ON CONFLICT (id) DO NOTHING",
            self.table()
        );
        let parameters: [(&(dyn ToSql + Sync), PgType); 14] = [
            (&ids, PgType::TEXT_ARRAY),
            (&decided, PgType::INT8_ARRAY),
            (&view, PgType::TEXT_ARRAY),
            (&view_version, PgType::INT4_ARRAY),
            (&key, PgType::TEXT_ARRAY),
            (&model, PgType::TEXT_ARRAY),
            (&version, PgType::INT4_ARRAY),
            (&sha256, PgType::TEXT_ARRAY),
            (&status, PgType::TEXT_ARRAY),
            (&event, PgType::INT8_ARRAY),
            (&features, PgType::BYTEA_ARRAY),
            (&offset, PgType::FLOAT8_ARRAY),
            (&label, PgType::INT4_ARRAY),
            (&numbers, PgType::BYTEA_ARRAY),
        ];
        self.query(self.store.pool().deadlines().write, &sql, &parameters).await?;
        Ok(())
    }

    /// A decision.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// `NoSuchDecision`; a refusal by the server; a deadline.
    pub async fn find(&self, id: DecisionId) -> Result<Decision, Error> {
        let sql = format!("SELECT {COLUMNS} FROM {} WHERE id = $1::text::uuid", self.table());
        let text = id.to_string();
        let rows = self.query(self.store.pool().deadlines().read, &sql, &[(&text, PgType::TEXT)]).await?;
        match rows.first() {
            Some(row) => Decision::from_row(row),
            None => Err(ErrorKind::NoSuchDecision { id: text }.into()),
        }
    }

    /// The newest decisions of a key, the newest first, at most `limit`.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// A refusal by the server; a deadline.
    pub async fn of_key(&self, view: &View, key: impl Into<Key>, limit: u32) -> Result<Vec<Decision>, Error> {
        let key = Json::Array(key.into().values().iter().map(json).collect()).to_string();
        let sql = format!(
            "SELECT {COLUMNS} FROM {} WHERE view = $1 AND key = $2::text::jsonb ORDER BY decided_at DESC LIMIT $3",
            self.table()
        );
        let (name, limit) = (view.name(), i64::from(limit));
        let parameters: [(&(dyn ToSql + Sync), PgType); 3] =
            [(&name, PgType::TEXT), (&key, PgType::TEXT), (&limit, PgType::INT8)];
        let rows = self.query(self.store.pool().deadlines().read, &sql, &parameters).await?;
        rows.iter().map(Decision::from_row).collect()
    }

    /// Makes a decision again: the model of its digest, loaded and verified, on the very row that it saw.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// `NoSuchDecision`; `NoSuchModel` if the registry has no such digest any more; as
    /// [`Registry::load`](crate::registry::Registry::load); if the row does not fit the model.
    pub async fn replay(&self, id: DecisionId) -> Result<Replay, Error> {
        let decision = self.find(id).await?;
        let reference =
            ModelRef { name: decision.model.clone(), selector: Selector::Digest(decision.sha256.clone()) };
        let (_, model) = self.store.registry().load(&reference).await?;
        if decision.features.len() != model.n_features() {
            return Err(Error::protocol(Step::Decisions, "a row of another length than the model's"));
        }
        let mut numbers = vec![f64::NAN; model.n_numbers()].into_boxed_slice();
        let label = model.predict_raw(&decision.features, decision.offset, &mut numbers)?;
        Ok(Replay { decision, model, label, numbers })
    }

    /// Drops the decisions that were made before a moment, and says how many.
    ///
    /// Dropping the future drops all of them or none.
    ///
    /// # Errors
    /// If the moment is out of PostgreSQL's range; a refusal by the server; a deadline.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, Error> {
        let before = before.to_wire().ok_or_else(|| Error::config("a moment out of range"))?;
        let sql = format!(
            "WITH gone AS (DELETE FROM {} WHERE decided_at < {EPOCH} + $1 * interval '1 microsecond' RETURNING 1) \
             SELECT count(*) FROM gone",
            self.table()
        );
        let deadline = self.store.pool().deadlines().write;
        let rows = self.query(deadline, &sql, &[(&before, PgType::INT8)]).await?;
        let count = rows.first().map(|row| row.try_get::<_, i64>(0)).transpose();
        let count = count.map_err(|error| Error::database(Step::Decisions, error))?;
        Ok(count.unwrap_or(0).unsigned_abs())
    }

    /// Erases the decisions of a key of a view: what they hold is the entity's, and [`FeatureStore::erase`] does not touch them.
    ///
    /// Dropping the future erases all of them or none.
    ///
    /// # Errors
    /// A refusal by the server; a deadline.
    pub async fn erase(&self, view: &View, key: impl Into<Key>) -> Result<u64, Error> {
        let key = Json::Array(key.into().values().iter().map(json).collect()).to_string();
        let sql = format!(
            "WITH gone AS (DELETE FROM {} WHERE view = $1 AND key = $2::text::jsonb RETURNING 1) SELECT count(*) FROM gone",
            self.table()
        );
        let name = view.name();
        let parameters: [(&(dyn ToSql + Sync), PgType); 2] = [(&name, PgType::TEXT), (&key, PgType::TEXT)];
        let rows = self.query(self.store.pool().deadlines().write, &sql, &parameters).await?;
        let count = rows.first().map(|row| row.try_get::<_, i64>(0)).transpose();
        let count = count.map_err(|error| Error::database(Step::Decisions, error))?;
        Ok(count.unwrap_or(0).unsigned_abs())
    }

    fn table(&self) -> String {
        self.store.qualified("cenote_decisions")
    }

    async fn query(
        &self,
        length: std::time::Duration,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), PgType)],
    ) -> Result<Vec<Row>, Error> {
        let deadline = Deadline::after(length);
        let lease = self.store.pool().lease(deadline).await?;
        lease.during(Step::Decisions, deadline, lease.client().query_typed(sql, parameters)).await
    }
}

/// Where PostgreSQL begins to count.
const EPOCH: &str = "timestamptz '2000-01-01 00:00:00+00'";
const COLUMNS: &str = "id::text, decided_at, view, view_version, key::text, model, version, sha256, status, event_ts, features, \
                       link_offset, label, numbers";

impl Decision {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let wrong = |error| Error::database(Step::Decisions, error);
        let moment = |index| {
            let bytes = wire::cell(row, index)?.map(wire::fixed).transpose()?;
            Ok::<_, Error>(bytes.map(|bytes| Timestamp::from_wire(i64::from_be_bytes(bytes))))
        };
        let missing = || Error::protocol(Step::Decisions, "a decision without its moment");
        Ok(Self {
            id: row.try_get::<_, &str>(0).map_err(wrong)?.parse()?,
            decided_at: moment(1)?.ok_or_else(missing)?,
            view: row.try_get(2).map_err(wrong)?,
            view_version: row.try_get::<_, i32>(3).map_err(wrong)? as u32,
            // As it was written: the server spaces it otherwise.
            key: serde_json::from_str::<Json>(row.try_get(4).map_err(wrong)?)
                .map_err(|_| Error::protocol(Step::Decisions, "a key that is no JSON"))?
                .to_string(),
            model: row.try_get(5).map_err(wrong)?,
            version: row.try_get(6).map_err(wrong)?,
            sha256: row.try_get(7).map_err(wrong)?,
            status: row.try_get(8).map_err(wrong)?,
            event_ts: moment(9)?,
            features: numbers(wire::cell(row, 10)?.unwrap_or_default())?,
            offset: row.try_get(11).map_err(wrong)?,
            label: row.try_get::<_, Option<i32>>(12).map_err(wrong)?.map(|label| label as u32),
            numbers: numbers(wire::cell(row, 13)?.unwrap_or_default())?,
        })
    }
}
