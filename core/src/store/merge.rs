//! The statements of a writer: rows staged, then merged into the online table and appended to the history, in one statement; or, where
//! all of their keys are new and no history is kept, copied into the online table.
//!
//! The invariant is the order by which one row of a key stands before another: the later event; of one event what became known
//! later. A row that became known now and says nothing else than is known of its event, down to the bit, is no news; one whose
//! moment the caller gives is news unless that very moment has a row. So a batch that is written twice changes nothing.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type as PgType;

use super::FeatureStore;
use super::ddl::{identifier, key_list};
use super::error::{Error, ErrorKind};
use super::pool::Query;
use super::value::Type;
use super::view::View;

/// Where the rows are that a merge takes.
enum Source<'a> {
    /// The parameters of the statement are the one row.
    Parameters,
    /// The staged rows; those with `extra` are the newest of their key.
    Stage(&'a str),
}

/// Which tables a writer writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tables {
    /// The online table, and the history if the view keeps one.
    All,
    History,
}

/// A writer's statements.
pub(super) struct Statements {
    /// Merges the one row that its parameters are: keys, event time, features, and the two that say when it became known.
    pub(super) one: Query,
    /// Makes the temporary table, empty.
    pub(super) stage: String,
    pub(super) copy: String,
    /// Merges the staged rows; its parameters say when they became known.
    pub(super) merge: String,
    /// How rows of new keys get into the online table without being staged, if that is all that is to be done with them.
    pub(super) direct: Option<Direct>,
    /// Name and type of the columns of a row: keys, event time, features.
    pub(super) columns: Vec<(String, Type)>,
}

/// Statements of rows whose keys are not there yet.
pub(super) struct Direct {
    /// Whether one of the keys is there, and the transaction's moment; its parameters are a list of each key column.
    pub(super) probe: String,
    /// Copies rows into the online table: keys, event time, features, when they became known.
    pub(super) copy: String,
}

impl Direct {
    /// Whether the copy was refused for what the merge can do: a key was there after all, or the table has policies for its rows.
    pub(super) fn refuses(error: &Error) -> bool {
        let known = [SqlState::UNIQUE_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED];
        matches!(error.kind(), ErrorKind::Database { sqlstate, .. }
            if known.iter().any(|known| known.code() == sqlstate))
    }

    /// Only the key's index is asked, key by key until one is found, however few or many rows the planner believes to be there.
    pub(super) const BEGIN: &str = "SAVEPOINT cenote_direct; SET LOCAL jit = off; SET LOCAL enable_hashjoin = off; \
         SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off";
    /// Takes those settings back: a merge in the same transaction is planned without them.
    pub(super) const PROBED: &str = "ROLLBACK TO SAVEPOINT cenote_direct";
    pub(super) const DONE: &str = "RELEASE SAVEPOINT cenote_direct";
    /// Also after an error.
    pub(super) const UNDO: &str = "ROLLBACK TO SAVEPOINT cenote_direct; RELEASE SAVEPOINT cenote_direct";

    fn new(store: &FeatureStore, view: &View, names: &str) -> Self {
        let table = store.table(view);
        let lists = view.keys().iter().zip(1..);
        let lists: Vec<_> = lists.map(|(key, place)| format!("${place}::{}[]", key.ty.sql())).collect();
        let (keys, lists) = (key_list(view), lists.join(", "));
        Self {
            probe: format!(
                "SELECT EXISTS (SELECT FROM unnest({lists}) AS k({keys}) JOIN {table} t USING ({keys})), now()"
            ),
            copy: format!("COPY {table} ({names}, written_at) FROM STDIN (FORMAT binary)"),
        }
    }
}

impl Statements {
    pub(super) fn new(store: &FeatureStore, view: &View, tables: Tables) -> Self {
        let columns: Vec<(String, Type)> = view
            .keys()
            .iter()
            .map(|key| (key.name.clone(), key.ty))
            .chain([("event_ts".to_owned(), Type::Timestamp)])
            .chain(view.features().iter().map(|feature| (feature.name.clone(), feature.ty)))
            .collect();
        let names = list("", columns.iter().map(|(name, _)| name.as_str()));
        let mut parameters: Vec<_> = columns.iter().map(|(_, ty)| ty.pg_parameter()).collect();
        parameters.extend([PgType::TIMESTAMPTZ, PgType::BOOL]);
        let counts = ["inserted", "updated", "appended"].map(|name| (name.to_owned(), PgType::INT8));
        let one = Query {
            view: view.table(),
            sql: merge(store, view, &columns, &Source::Parameters, tables).into(),
            parameters,
            columns: counts.to_vec(),
        };
        let stage = format!("pg_temp.\"cenote_{}\"", &view.fingerprint()[..16]);
        let definitions: Vec<_> =
            columns.iter().map(|(name, ty)| format!("{} {}", identifier(name), ty.sql())).collect();
        Self {
            one,
            // The history must be asked what it knows of each row.
            direct: (tables == Tables::All && view.history().is_none())
                .then(|| Direct::new(store, view, &names)),
            copy: format!("COPY {stage} ({names}, extra) FROM STDIN (FORMAT binary)"),
            merge: merge(store, view, &columns, &Source::Stage(&stage), tables),
            // A merge that looks into the history for each row can seem costly enough to be compiled; it runs too shortly for that.
            stage: format!(
                "SET LOCAL jit = off; \
                 CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}, extra boolean) ON COMMIT DELETE ROWS; TRUNCATE {stage}",
                stage.trim_start_matches("pg_temp."),
                definitions.join(", ")
            ),
            columns,
        }
    }
}

fn merge(
    store: &FeatureStore,
    view: &View,
    columns: &[(String, Type)],
    source: &Source<'_>,
    tables: Tables,
) -> String {
    let names = list("", columns.iter().map(|(name, _)| name.as_str()));
    let staged = list("s.", columns.iter().map(|(name, _)| name.as_str()));
    let (rows, newest, first) = match source {
        Source::Parameters => {
            let places: Vec<_> = columns
                .iter()
                .zip(1..)
                .map(|((name, ty), place)| format!("${place}::{} AS {}", ty.sql(), identifier(name)))
                .collect();
            (format!("(SELECT {}) s", places.join(", ")), "", columns.len() + 1)
        }
        Source::Stage(stage) => (format!("{stage} s"), " WHERE s.extra", 1),
    };
    // A moment that the caller gives, or the event's own, or the transaction's.
    let written = format!(
        "coalesce(${first}::timestamptz, CASE WHEN ${}::boolean THEN s.event_ts END, now())",
        first + 1
    );
    let given = format!("(${first}::timestamptz IS NOT NULL OR ${}::boolean)", first + 1);
    let online = match tables {
        Tables::All => {
            upsert(store, view, &format!("SELECT {staged}, {written} FROM {rows}{newest}"), &given)
        }
        Tables::History => "SELECT true AS inserted WHERE false".to_owned(),
    };
    let mut sql = format!("WITH merged AS ({online})");
    let mut appended = "0::bigint";
    if view.history().is_some() {
        let features = || view.features().iter().map(|feature| feature.name.as_str());
        let history = store.qualified(&view.history_table());
        let same: String = view
            .keys()
            .iter()
            .map(|key| identifier(&key.name))
            .map(|key| format!("h.{key} = s.{key} AND "))
            .collect();
        sql.push_str(&format!(
            ", appended AS (INSERT INTO {history} ({names}, written_at) SELECT {staged}, {written} FROM {rows} \
             WHERE {given} OR NOT EXISTS (SELECT FROM (SELECT {known} FROM {history} h WHERE {same}h.event_ts = s.event_ts \
             AND h.written_at <= {written} ORDER BY h.written_at DESC LIMIT 1) p \
             WHERE ROW({before})::record *= ROW({new})::record) \
             ON CONFLICT DO NOTHING RETURNING 1)",
            known = list("h.", features()),
            before = list("p.", features()),
            new = list("s.", features()),
        ));
        appended = "(SELECT count(*) FROM appended)";
    }
    format!(
        "{sql} SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted), {appended} FROM merged"
    )
}

/// Merges `rows` (keys, event time, features, when they became known; one a key, in the one order of keys) into the online table.
/// `given` is an SQL condition: whether a row that says the same as what is known is news all the same.
pub(super) fn upsert(store: &FeatureStore, view: &View, rows: &str, given: &str) -> String {
    let features = || view.features().iter().map(|feature| feature.name.as_str());
    let keys = view.keys().iter().map(|key| key.name.as_str());
    let set: String = features().map(identifier).map(|name| format!(", {name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO {online} AS o ({names}, written_at) {rows} \
         ON CONFLICT ({keys}) DO UPDATE SET event_ts = excluded.event_ts, written_at = excluded.written_at{set} \
         WHERE excluded.event_ts > o.event_ts OR (excluded.event_ts = o.event_ts \
         AND excluded.written_at > o.written_at AND ({given} OR ROW({old})::record *<> ROW({new})::record)) \
         RETURNING (o.xmax = 0) AS inserted",
        online = store.table(view),
        names = list("", keys.chain(["event_ts"]).chain(features())),
        keys = key_list(view),
        old = list("o.", features()),
        new = list("excluded.", features()),
    )
}

/// Quoted names with commas, `prefix` before each.
pub(super) fn list<'a>(prefix: &str, names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("{prefix}{}", identifier(name))).collect::<Vec<_>>().join(", ")
}
