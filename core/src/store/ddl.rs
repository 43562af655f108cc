//! A view's tables: what they should be, what the catalogue says they are, and the SQL from the one to the other.
//!
//! The invariant: a change in place only ever adds. Whatever else differs is refused with each difference named, and belongs
//! into a new version of the view, whose table stands beside the old one. All changes of one schema are made one after another,
//! under an advisory lock, each plan in one transaction.

use std::fmt::Write as _;

use tokio_postgres::types::{ToSql, Type as PgType};

use super::FeatureStore;
use super::error::{Error, ErrorKind, Step};
use super::lease::Lease;
use super::pool::{Deadline, Query};
use super::value::{Type, Value};
use super::view::View;
use super::wire::{Encoded, cell, text};

/// The SQL that would make the tables what the view says. Nothing is done before [`apply`](Self::apply).
#[must_use = "a plan does nothing until it is applied"]
pub struct Migration {
    store: FeatureStore,
    view: View,
    statements: Vec<String>,
}

impl Migration {
    /// The statements in order, to be shown; none if there is nothing to do.
    pub fn statements(&self) -> &[String] {
        &self.statements
    }

    /// Runs the statements in one transaction, under the schema's advisory lock.
    ///
    /// Dropping the future rolls everything back.
    ///
    /// # Errors
    /// `SchemaDrift` if the tables have changed since the plan was made (unless somebody else did the same meanwhile);
    /// a refusal by the server; a deadline.
    pub async fn apply(self) -> Result<(), Error> {
        let pool = self.store.pool();
        let length = pool.deadlines().migrate;
        let lease = pool.begin(Step::Migrate, length).await?;
        let outcome = self.run(&lease).await;
        lease.end(Step::Migrate, Deadline::after(length), outcome).await
    }

    async fn run(&self, lease: &Lease<'_>) -> Result<(), Error> {
        let length = self.store.pool().deadlines().migrate;
        lock_schema(&self.store, lease).await?;
        let now = statements(&self.store, &self.view, lease).await?;
        if now.is_empty() {
            return Ok(());
        }
        if now != self.statements {
            let differences = vec!["the tables have changed since the plan was made".to_owned()];
            return Err(drift(&self.view, differences));
        }
        for statement in &self.statements {
            let deadline = Deadline::after(length);
            lease.during(Step::Migrate, deadline, lease.client().batch_execute(statement)).await?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Migration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.statements.iter().try_for_each(|statement| writeln!(f, "{statement};"))
    }
}

impl FeatureStore {
    /// What would have to be done for `view` to have its tables: additions in place.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// `SchemaDrift` if the tables differ from the view by more than what can be added: give the view a new version.
    pub async fn plan_view(&self, view: &View) -> Result<Migration, Error> {
        let deadline = Deadline::after(self.pool().deadlines().migrate);
        let lease = self.pool().lease(deadline).await?;
        let statements = statements(self, view, &lease).await?;
        Ok(Migration { store: self.clone(), view: view.clone(), statements })
    }

    /// Makes the tables of `view`: its plan, applied.
    ///
    /// Dropping the future rolls everything back.
    ///
    /// # Errors
    /// As [`plan_view`](Self::plan_view) and [`Migration::apply`].
    pub async fn apply(&self, view: &View) -> Result<(), Error> {
        self.plan_view(view).await?.apply().await
    }

    /// Compares the catalogue with `view`.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// `SchemaDrift` that lists every difference.
    pub async fn verify(&self, view: &View) -> Result<(), Error> {
        let deadline = Deadline::after(self.pool().deadlines().migrate);
        let lease = self.pool().lease(deadline).await?;
        let mut differences = Vec::new();
        for table in tables(view) {
            let found = catalogue(self, &table.name, &lease).await?;
            if found.is_empty() {
                differences.push(format!("table {:?} is not there", table.name));
                continue;
            }
            let Comparison { missing, different } = compare(&table, &found);
            differences.extend(different);
            differences.extend(missing.iter().map(|column| table.says(column, "is not there")));
        }
        if differences.is_empty() { Ok(()) } else { Err(drift(view, differences)) }
    }
}

/// A table as the view says it should be.
struct Table {
    name: String,
    columns: Vec<TableColumn>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The newest row of each key.
    Online,
    /// Every row, in monthly partitions.
    History,
    /// Every document that features are made from.
    Raw,
}

impl Table {
    /// A difference of one of its columns.
    fn says(&self, column: &TableColumn, what: &str) -> String {
        match self.kind {
            Kind::Online => format!("column {:?} {what}", column.name),
            Kind::History => format!("column {:?} of the history {what}", column.name),
            Kind::Raw => format!("column {:?} of the raw documents {what}", column.name),
        }
    }
}

/// A column of a table, as it should be or as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TableColumn {
    name: String,
    ty: String,
    required: bool,
    /// Place in the primary key from 1, or 0.
    key: i16,
    /// What the server puts where a row says nothing, as SQL. Not compared.
    default: Option<String>,
}

/// The transaction that wrote a row, which says in what order rows came in.
const WRITTEN_XID: &str = "written_xid";
const THIS_TRANSACTION: &str = "(pg_current_xact_id()::text::bigint)";

/// The tables that a view has.
fn tables(view: &View) -> Vec<Table> {
    let online = Table { name: view.table(), columns: columns(view, Kind::Online), kind: Kind::Online };
    let history = view.history().map(|_| Table {
        name: view.history_table(),
        columns: columns(view, Kind::History),
        kind: Kind::History,
    });
    let raw = view.raw().map(|_| Table {
        name: view.raw_table(),
        columns: columns(view, Kind::Raw),
        kind: Kind::Raw,
    });
    std::iter::once(online).chain(history).chain(raw).collect()
}

fn columns(view: &View, kind: Kind) -> Vec<TableColumn> {
    let column = |name: &str, ty: Type, required, key| TableColumn {
        name: name.to_owned(),
        ty: ty.sql().to_owned(),
        required,
        key,
        default: None,
    };
    let keys = view.keys().iter().zip(1i16..);
    let mut columns: Vec<_> = keys.map(|(key, place)| column(&key.name, key.ty, true, place)).collect();
    let last = columns.len() as i16;
    let (event, written) = if kind == Kind::Online { (0, 0) } else { (last + 1, last + 2) };
    columns.push(column("event_ts", Type::Timestamp, true, event));
    let now = Some("now()".to_owned());
    columns.push(TableColumn { default: now, ..column("written_at", Type::Timestamp, true, written) });
    if kind == Kind::Raw {
        columns.push(column("document", Type::Json, true, 0));
        return columns;
    }
    if kind == Kind::History {
        let xid = column(WRITTEN_XID, Type::I64, true, 0);
        columns.push(TableColumn { default: Some(THIS_TRANSACTION.to_owned()), ..xid });
    }
    columns.extend(view.features().iter().map(|feature| {
        let default = feature.default.as_ref().map(|default| match (feature.default_value(), default) {
            // With its zone: without, the session would take its own.
            (Ok(Some(Value::Timestamp(moment))), _) => literal(&moment.to_string()),
            (_, serde_json::Value::String(text)) => literal(text),
            (_, other) => literal(&other.to_string()),
        });
        TableColumn { default, ..column(&feature.name, feature.ty, false, 0) }
    }));
    columns
}

struct Comparison {
    /// Columns that could be added.
    missing: Vec<TableColumn>,
    /// Differences that no addition mends.
    different: Vec<String>,
}

fn compare(expected: &Table, found: &[TableColumn]) -> Comparison {
    let mut comparison = Comparison { missing: Vec::new(), different: Vec::new() };
    for column in &expected.columns {
        let mut differs = |what: &str| comparison.different.push(expected.says(column, what));
        let Some(is) = found.iter().find(|found| found.name == column.name) else {
            if column.required && column.name != WRITTEN_XID {
                differs("is not there");
            } else {
                comparison.missing.push(column.clone());
            }
            continue;
        };
        if is.ty != column.ty {
            differs(&format!("is {}, not {}", is.ty, column.ty));
        }
        if is.required != column.required {
            differs(if is.required { "is NOT NULL" } else { "may be NULL" });
        }
        if is.key != column.key {
            differs("has another place in the primary key");
        }
    }
    for column in found {
        if !expected.columns.iter().any(|expected| expected.name == column.name) {
            comparison.different.push(expected.says(column, "is not in the view"));
        }
    }
    comparison
}

async fn statements(store: &FeatureStore, view: &View, lease: &Lease<'_>) -> Result<Vec<String>, Error> {
    let schema = identifier(store.schema());
    let views = format!("{schema}.\"cenote_views\"");
    let mut statements = Vec::new();
    let mut differences = Vec::new();
    for table in tables(view) {
        let found = catalogue(store, &table.name, lease).await?;
        if found.is_empty() {
            if table.kind == Kind::Online {
                statements.push(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
                statements.push(format!(
                    "CREATE TABLE IF NOT EXISTS {views} (name text, version integer, definition jsonb NOT NULL, \
                     fingerprint text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(), \
                     PRIMARY KEY (name, version))"
                ));
            }
            statements.extend(create(store, view, &table));
            continue;
        }
        let Comparison { missing, different } = compare(&table, &found);
        differences.extend(different);
        let name = store.qualified(&table.name);
        for column in missing {
            let (column_name, ty) = (identifier(&column.name), &column.ty);
            if column.name == WRITTEN_XID {
                // What is there came in before everything; a constant is added without a rewrite.
                statements
                    .push(format!("ALTER TABLE {name} ADD COLUMN {column_name} {ty} NOT NULL DEFAULT 0"));
                statements.push(format!(
                    "ALTER TABLE {name} ALTER COLUMN {column_name} SET DEFAULT {THIS_TRANSACTION}"
                ));
                continue;
            }
            let default = column.default.map(|default| format!(" DEFAULT {default}")).unwrap_or_default();
            statements.push(format!("ALTER TABLE {name} ADD COLUMN {column_name} {ty}{default}"));
        }
    }
    if !differences.is_empty() {
        return Err(drift(view, differences));
    }
    if statements.is_empty() && recorded(store, view, lease).await?.as_deref() == Some(&view.fingerprint()) {
        return Ok(statements);
    }
    statements.push(format!(
        "INSERT INTO {views} (name, version, definition, fingerprint) VALUES ({}, {}, {}, {}) \
         ON CONFLICT (name, version) DO UPDATE SET definition = excluded.definition, \
         fingerprint = excluded.fingerprint, applied_at = excluded.applied_at",
        literal(view.name()),
        view.version(),
        literal(&view.to_json()),
        literal(&view.fingerprint()),
    ));
    Ok(statements)
}

/// What makes a table and its indexes.
fn create(store: &FeatureStore, view: &View, table: &Table) -> Vec<String> {
    let name = store.qualified(&table.name);
    let mut sql = format!("CREATE TABLE {name} (");
    for (place, column) in table.columns.iter().enumerate() {
        let _ =
            write!(sql, "{}{} {}", if place > 0 { ", " } else { "" }, identifier(&column.name), column.ty);
        if view.keys().get(place).is_some_and(|key| key.ty == Type::Text) {
            // One byte order for every locale: equal keys are equal bytes, and comparing them is quick.
            sql.push_str(" COLLATE \"C\"");
        }
        if column.required {
            sql.push_str(" NOT NULL");
        }
        if let Some(default) = &column.default {
            let _ = write!(sql, " DEFAULT {default}");
        }
        if column.name == "event_ts" {
            sql.push_str(" CHECK (isfinite(event_ts))");
        }
    }
    let keys = key_list(view);
    match table.kind {
        // No index but the key, and room in each page: so an update stays in its page and touches no index.
        Kind::Online => {
            let _ = write!(sql, ", PRIMARY KEY ({keys})) WITH (fillfactor = 80)");
            vec![sql]
        }
        // Read backwards, the key's index gives the newest event first, and of one event what became known last.
        Kind::History => {
            let _ =
                write!(sql, ", PRIMARY KEY ({keys}, event_ts, written_at)) PARTITION BY RANGE (event_ts)");
            let brin = |column| format!("CREATE INDEX ON {name} USING brin ({column})");
            vec![sql, brin("event_ts"), brin(WRITTEN_XID)]
        }
        Kind::Raw => {
            let _ = write!(sql, ", PRIMARY KEY ({keys}, event_ts, written_at))");
            let mut statements = vec![sql];
            let raw = view.raw().cloned().unwrap_or_default();
            if raw.gin {
                statements.push(format!("CREATE INDEX ON {name} USING gin (document jsonb_path_ops)"));
            }
            statements.extend(
                raw.paths
                    .iter()
                    .map(|path| format!("CREATE INDEX ON {name} (({}))", member("document", path))),
            );
            statements
        }
    }
}

/// The text of a document's member.
pub(super) fn member(document: &str, path: &[String]) -> String {
    let (last, way) = path.split_last().map_or((String::new(), &[][..]), |(last, way)| (literal(last), way));
    let way: String = way.iter().map(|name| format!("->{}", literal(name))).collect();
    format!("{document}{way}->>{last}")
}

/// The key columns, quoted, with commas.
pub(crate) fn key_list(view: &View) -> String {
    view.keys().iter().map(|key| identifier(&key.name)).collect::<Vec<_>>().join(", ")
}

/// Waits until nobody else changes the schema's tables, and keeps others from it to the end of the transaction.
pub(crate) async fn lock_schema(store: &FeatureStore, lease: &Lease<'_>) -> Result<(), Error> {
    let name = literal(&format!("cenote migrate {}", store.schema()));
    let sql = format!("SELECT pg_advisory_xact_lock(hashtextextended({name}, 0))");
    let deadline = Deadline::after(store.pool().deadlines().migrate);
    lease.during(Step::Lock, deadline, lease.client().batch_execute(&sql)).await
}

/// The columns that a table of the store's schema has; none if there is no such table.
async fn catalogue(store: &FeatureStore, table: &str, lease: &Lease<'_>) -> Result<Vec<TableColumn>, Error> {
    let query = Query {
        view: table.to_owned(),
        sql: "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
              coalesce(array_position(i.indkey::int2[], a.attnum), -1)::int2 + 1::int2 \
              FROM pg_catalog.pg_attribute a \
              JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
              JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisprimary \
              WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
            .into(),
        parameters: vec![PgType::TEXT, PgType::TEXT],
        columns: [PgType::TEXT, PgType::TEXT, PgType::BOOL, PgType::INT2]
            .map(|ty| (String::from("catalogue"), ty))
            .to_vec(),
    };
    let deadline = Deadline::after(store.pool().deadlines().migrate);
    let (schema, table) = (Encoded(Some(store.schema().as_bytes())), Encoded(Some(table.as_bytes())));
    let parameters: [&(dyn ToSql + Sync); 2] = [&schema, &table];
    let rows = lease.query(Step::Migrate, &query, &parameters, deadline).await?;
    let rows = rows.iter().map(|row| {
        let text_at = |index| Ok::<_, Error>(text(cell(row, index)?.unwrap_or_default())?.to_owned());
        let key = cell(row, 3)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, i16::from_be_bytes);
        Ok(TableColumn {
            name: text_at(0)?,
            ty: text_at(1)?,
            required: cell(row, 2)? == Some(&[1]),
            key,
            default: None,
        })
    });
    rows.collect()
}

/// The fingerprint that was recorded when the view was last applied.
async fn recorded(store: &FeatureStore, view: &View, lease: &Lease<'_>) -> Result<Option<String>, Error> {
    let deadline = Deadline::after(store.pool().deadlines().migrate);
    let sql = format!(
        "SELECT fingerprint FROM {}.\"cenote_views\" WHERE name = {} AND version = {}",
        identifier(store.schema()),
        literal(view.name()),
        view.version()
    );
    let answer = lease.during(Step::Migrate, deadline, lease.client().query_typed(&sql, &[])).await?;
    let Some(row) = answer.first() else { return Ok(None) };
    Ok(cell(row, 0)?.map(text).transpose()?.map(str::to_owned))
}

fn drift(view: &View, differences: Vec<String>) -> Error {
    ErrorKind::SchemaDrift { view: view.table(), differences }.into()
}

/// A name as an SQL identifier.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as an SQL literal, whatever `standard_conforming_strings` is.
pub(crate) fn literal(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    if escaped.contains('\\') {
        format!(" E'{}'", escaped.replace('\\', "\\\\"))
    } else {
        format!("'{escaped}'")
    }
}
