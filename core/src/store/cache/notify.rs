//! How a table tells of its changes: triggers that notify, after the commit, of each key that was written or erased.
//!
//! The triggers see every writer, this library's and others'. A payload is the first 16 hexadecimal digits of SHA-256 over schema
//! and table, a space, and the key's wire form in hexadecimal, or `*` for any key.

use sha2::{Digest, Sha256};

use crate::store::FeatureStore;
use crate::store::ddl::{identifier, literal, lock_schema};
use crate::store::error::{Error, Step};
use crate::store::pool::Deadline;
use crate::store::read::EncodedKey;
use crate::store::value::Type;
use crate::store::view::View;

pub(super) const CHANNEL: &str = "cenote_rows";
/// A statement that changes more rows tells of all keys at once.
const KEYS: usize = 100;
const TRIGGERS: [&str; 4] = ["insert", "update", "delete", "truncate"];

/// What a view's table is called in payloads.
pub(super) fn table(store: &FeatureStore, view: &View) -> String {
    let hash =
        Sha256::new().chain_update(store.schema()).chain_update([0]).chain_update(view.table()).finalize();
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The key of a payload; `None` for all.
pub(super) fn key(text: &str) -> Option<EncodedKey> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    bytes.collect::<Option<Vec<u8>>>().map(EncodedKey::from_bytes)
}

impl FeatureStore {
    /// Makes the online table of `view` tell of its changes, which is what a [cache](super::CacheOptions) needs to keep its rows:
    /// triggers that notify, after a commit, of up to 100 keys a statement, or that any may have changed. To be called once, before
    /// the view is read through a cache. A commit that notifies waits for others that do: leave it where writes count more.
    ///
    /// Dropping the future rolls everything back.
    ///
    /// # Errors
    /// A refusal by the server, as where the table is not there; a deadline.
    pub async fn notify_changes(&self, view: &View) -> Result<(), Error> {
        let length = self.pool().deadlines().migrate;
        let lease = self.pool().begin(Step::Migrate, length).await?;
        let deadline = Deadline::after(length);
        let outcome = async {
            lock_schema(self, &lease).await?;
            lease.during(Step::Migrate, deadline, lease.client().batch_execute(&triggers(self, view))).await
        }
        .await;
        lease.end(Step::Migrate, deadline, outcome).await
    }
}

/// Whether the view's table tells of its changes.
pub(super) async fn is_told(store: &FeatureStore, view: &View) -> Result<bool, Error> {
    let deadline = Deadline::after(store.pool().deadlines().read);
    let lease = store.pool().lease(deadline).await?;
    let names: Vec<_> = TRIGGERS.iter().map(|event| literal(&format!("cenote_notify_{event}"))).collect();
    let sql = format!(
        "SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgrelid = to_regclass({}) AND tgenabled <> 'D' \
         AND tgname IN ({})",
        literal(&store.table(view)),
        names.join(", ")
    );
    let rows = lease.during(Step::Read, deadline, lease.client().query_typed(&sql, &[])).await?;
    let count = rows.first().map(|row| row.try_get::<_, i64>(0)).transpose();
    Ok(count.map_err(|error| Error::database(Step::Read, error))? == Some(TRIGGERS.len() as i64))
}

fn triggers(store: &FeatureStore, view: &View) -> String {
    let online = store.table(view);
    let table = table(store, view);
    let mut sql = String::new();
    for event in TRIGGERS {
        let function = store.qualified(&format!("cenote_notify_{event}_{table}"));
        let (rows, referencing, each) = match event {
            "insert" => ("changed", "REFERENCING NEW TABLE AS changed", "STATEMENT"),
            "delete" => ("changed", "REFERENCING OLD TABLE AS changed", "STATEMENT"),
            // A key that is changed by hand is two keys.
            "update" => (
                "(SELECT * FROM changed UNION ALL SELECT * FROM former)",
                "REFERENCING NEW TABLE AS changed OLD TABLE AS former",
                "STATEMENT",
            ),
            _ => ("", "", "STATEMENT"),
        };
        let all = format!("PERFORM pg_notify('{CHANNEL}', '{table} *');");
        let body = if rows.is_empty() {
            all
        } else {
            format!(
                "IF (SELECT count(*) > {KEYS} OR max(length(k)) > 7900 FROM (SELECT {key} AS k FROM {rows} r LIMIT {limit}) s) \
                 THEN {all} ELSE PERFORM pg_notify('{CHANNEL}', '{table} ' || k) FROM (SELECT DISTINCT {key} AS k FROM {rows} r) s; \
                 END IF;",
                key = key_sql(view),
                limit = KEYS + 1,
            )
        };
        let trigger = identifier(&format!("cenote_notify_{event}"));
        sql.push_str(&format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS \
             $cenote$BEGIN {body} RETURN NULL; END$cenote$; \
             DROP TRIGGER IF EXISTS {trigger} ON {online}; \
             CREATE TRIGGER {trigger} AFTER {event} ON {online} {referencing} FOR EACH {each} \
             EXECUTE FUNCTION {function}();\n",
        ));
    }
    sql
}

/// The key's wire form in hexadecimal: each column after its length.
fn key_sql(view: &View) -> String {
    let column = |(name, ty): (&str, Type)| {
        let name = identifier(name);
        let bytes = match ty {
            Type::Bool => format!("boolsend(r.{name})"),
            Type::I16 => format!("int2send(r.{name})"),
            Type::I32 => format!("int4send(r.{name})"),
            Type::I64 => format!("int8send(r.{name})"),
            Type::Timestamp => format!("timestamptz_send(r.{name})"),
            Type::Date => format!("date_send(r.{name})"),
            Type::Uuid => format!("uuid_send(r.{name})"),
            _ => format!("textsend(r.{name})"),
        };
        format!("int4send(length({bytes})) || {bytes}")
    };
    let columns: Vec<_> = view.keys().iter().map(|key| column((&key.name, key.ty))).collect();
    format!("encode({}, 'hex')", columns.join(" || "))
}
