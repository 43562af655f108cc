//! Writing the online table: the newest event wins, whatever the order in which rows arrive.
//!
//! In flow records or a batch; out flows how many rows were new, newer or stale. The invariant: after any set of writes, in
//! any order and repeated at will, a key's row is the one with the greatest `(event_ts, written_at)`; and two writers of the same
//! keys never wait for each other in a circle, for each writes its keys in one order. A call is one transaction: all or nothing.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::types::{ToSql, Type as PgType};

use crate::input::Batch;

use super::FeatureStore;
use super::cells::{BatchRows, Record, Rows, check_records};
use super::ddl::{identifier, key_list};
use super::error::{Error, ErrorKind, Step};
use super::pool::{Deadline, Lease, Query};
use super::value::{Timestamp, Type};
use super::view::View;
use super::wire::{Encoded, Mismatch, cell, fixed};

/// How many rows and bytes are encoded, sorted and sent at a time.
const ROWS_A_CHUNK: usize = 50_000;
const BYTES_A_CHUNK: usize = 16 << 20;
/// Up to so many rows go as single statements; more go by `COPY` into a temporary table.
const FEW_ROWS: usize = 16;
/// How much is handed to the connection at a time.
const SEND: usize = 256 << 10;

/// What became of the rows of a write. The three add up to the rows given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upserted {
    /// Rows whose key was not there.
    pub inserted: u64,
    /// Rows that took the place of an older one.
    pub updated: u64,
    /// Rows that changed nothing: the store had a newer one or the same, or the batch had.
    pub stale: u64,
}

/// How to write.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct WriteOptions {
    /// When the values became known; the transaction's own time if not given. Of two rows of a key with one event time, the
    /// one that became known later wins.
    pub written_at: Option<Timestamp>,
}

impl WriteOptions {
    /// Values that became known at `moment`, as when another store's past is copied.
    pub fn written_at(moment: Timestamp) -> Self {
        Self { written_at: Some(moment) }
    }
}

/// Writes a view. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    store: FeatureStore,
    view: View,
    sql: Arc<Sql>,
}

struct Sql {
    one: Query,
    stage: String,
    copy: String,
    merge: String,
    clear: String,
    /// The types of the staged columns: keys, event time, features.
    types: Vec<Type>,
    names: Vec<String>,
}

impl FeatureStore {
    /// Writes `view`.
    pub fn writer(&self, view: &View) -> Writer {
        Writer { store: self.clone(), view: view.clone(), sql: Arc::new(Sql::new(self, view)) }
    }
}

impl Sql {
    fn new(store: &FeatureStore, view: &View) -> Self {
        let columns: Vec<(&str, Type)> = view
            .keys()
            .iter()
            .map(|key| (key.name.as_str(), key.ty))
            .chain([("event_ts", Type::Timestamp)])
            .chain(view.features().iter().map(|feature| (feature.name.as_str(), feature.ty)))
            .collect();
        let list = |prefix: &str, names: &mut dyn Iterator<Item = &str>| {
            names.map(|name| format!("{prefix}{}", identifier(name))).collect::<Vec<_>>().join(", ")
        };
        let names = list("", &mut columns.iter().map(|(name, _)| *name));
        let features = || view.features().iter().map(|feature| feature.name.as_str());
        let (old, new) = (list("o.", &mut features()), list("excluded.", &mut features()));
        let set: String =
            features().map(identifier).map(|name| format!(", {name} = excluded.{name}")).collect();
        // A row of the same event time takes the place of one known before it, if it says anything else, down to the bit: so a
        // batch that is written twice changes nothing.
        let conflict = format!(
            "ON CONFLICT ({}) DO UPDATE SET event_ts = excluded.event_ts, written_at = excluded.written_at{set} \
             WHERE excluded.event_ts > o.event_ts OR (excluded.event_ts = o.event_ts \
             AND excluded.written_at > o.written_at AND ROW({old})::record *<> ROW({new})::record) \
             RETURNING (o.xmax = 0) AS inserted",
            key_list(view)
        );
        let table = store.table(view);
        let last = columns.len() + 1;
        let places: Vec<_> = (1..last).map(|place| format!("${place}")).collect();
        let mut parameters: Vec<_> = columns.iter().map(|(_, ty)| ty.pg()).collect();
        parameters.push(PgType::TIMESTAMPTZ);
        let one = Query {
            view: view.table(),
            sql: format!(
                "INSERT INTO {table} AS o ({names}, written_at) \
                 VALUES ({}, coalesce(${last}, now())) {conflict}",
                places.join(", ")
            ),
            parameters,
            columns: vec![("inserted".to_owned(), PgType::BOOL)],
        };
        let stage = format!("pg_temp.\"cenote_{}\"", &view.fingerprint()[..16]);
        let definitions: Vec<_> =
            columns.iter().map(|(name, ty)| format!("{} {}", identifier(name), ty.sql())).collect();
        Self {
            one,
            copy: format!("COPY {stage} ({names}) FROM STDIN (FORMAT binary)"),
            merge: format!(
                "WITH merged AS (INSERT INTO {table} AS o ({names}, written_at) \
                 SELECT {names}, coalesce($1, now()) FROM {stage} {conflict}) \
                 SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged"
            ),
            clear: format!("TRUNCATE {stage}"),
            stage: format!(
                "CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS",
                stage.trim_start_matches("pg_temp."),
                definitions.join(", ")
            ),
            types: columns.iter().map(|(_, ty)| *ty).collect(),
            names: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        }
    }
}

impl Writer {
    /// The view that is written.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The same writer on another store of the same tables.
    pub(crate) fn on(&self, store: &FeatureStore) -> Self {
        Self { store: store.clone(), ..self.clone() }
    }

    /// Writes records in one transaction.
    ///
    /// Dropping the future rolls everything back, unless the commit is under way; writing the same again is always safe.
    ///
    /// # Errors
    /// If a cell does not fit its column (row and column are named, nothing is written), or the store fails: nothing is written,
    /// unless the connection broke in the commit.
    pub async fn upsert(&self, records: &[Record]) -> Result<Upserted, Error> {
        self.upsert_with(records, WriteOptions::default()).await
    }

    /// Writes records in one transaction, as told. Else as [`upsert`](Self::upsert).
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert).
    pub async fn upsert_with(&self, records: &[Record], options: WriteOptions) -> Result<Upserted, Error> {
        check_records(&self.view, records)?;
        self.write(&(&self.view, records), options).await
    }

    /// Writes a batch in one transaction: columns by the names of the view's keys and features, and `event_ts` in whole
    /// microseconds since 1970, as moments always are in a batch. The memory it takes does not grow with the batch.
    ///
    /// Dropping the future: as [`upsert`](Self::upsert).
    ///
    /// # Errors
    /// If a column is missing or not the view's; else as [`upsert`](Self::upsert).
    pub async fn upsert_batch(&self, batch: &Batch<'_>, options: WriteOptions) -> Result<Upserted, Error> {
        self.write(&BatchRows::new(&self.view, batch)?, options).await
    }

    async fn write(&self, rows: &impl Rows, options: WriteOptions) -> Result<Upserted, Error> {
        let written_at = match options.written_at.map(Timestamp::to_wire) {
            Some(None) => return Err(Error::config("written_at is a moment out of range")),
            Some(Some(count)) => Some(count.to_be_bytes()),
            None => None,
        };
        let mut chunk = Chunk::default();
        if rows.len() == 0 {
            return Ok(Upserted::default());
        }
        let mut next = self.fill(&mut chunk, rows, 0)?;
        let pool = self.store.pool();
        let lease = pool.begin(Step::Write, pool.deadlines().write).await?;
        let outcome = async {
            let mut done = Upserted::default();
            loop {
                let some = if next == rows.len() && chunk.entries.len() <= FEW_ROWS {
                    self.write_few(&lease, &chunk, written_at).await?
                } else {
                    self.write_many(&lease, &chunk, written_at).await?
                };
                done.inserted += some.inserted;
                done.updated += some.updated;
                if next == rows.len() {
                    done.stale = rows.len() as u64 - done.inserted - done.updated;
                    return Ok(done);
                }
                next = self.fill(&mut chunk, rows, next)?;
            }
        };
        let outcome = outcome.await;
        lease.end(Step::Write, self.deadline(), outcome).await
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.store.pool().deadlines().write)
    }

    /// Encodes rows from `next` on until the chunk is full; sorts them by key and keeps the newest of each. Gives the row after.
    fn fill(&self, chunk: &mut Chunk, rows: &impl Rows, mut next: usize) -> Result<usize, Error> {
        let Sql { types, names, .. } = &*self.sql;
        let keys = self.view.keys().len();
        chunk.bytes.clear();
        chunk.entries.clear();
        while next < rows.len() && chunk.entries.len() < ROWS_A_CHUNK && chunk.bytes.len() < BYTES_A_CHUNK {
            let start = chunk.bytes.len();
            let mut event = start;
            chunk.bytes.put_i16(types.len() as i16);
            for (column, ty) in types.iter().enumerate() {
                if column == keys {
                    event = chunk.bytes.len();
                }
                let at = chunk.bytes.len();
                let fits = rows.encode(next, column, *ty, &mut chunk.bytes).and_then(|()| {
                    let missing = chunk.bytes[at..at + 4] == (-1i32).to_be_bytes();
                    if missing && column <= keys { Err(Mismatch { found: "no value" }) } else { Ok(()) }
                });
                fits.map_err(|Mismatch { found }| ErrorKind::Cell {
                    row: next,
                    column: names[column].clone(),
                    expected: ty.to_string(),
                    found: found.to_owned(),
                })?;
            }
            chunk.entries.push(Entry { start, event, end: chunk.bytes.len() });
            next += 1;
        }
        let Chunk { bytes, entries } = chunk;
        // Newest first within a key; of one event time the later row of the batch. The order of keys is the same for every
        // writer, which is all that it must be.
        entries.sort_unstable_by(|a, b| {
            let newest = || b.event_ts(bytes).cmp(&a.event_ts(bytes)).then(b.start.cmp(&a.start));
            a.key(bytes).cmp(b.key(bytes)).then_with(newest)
        });
        entries.dedup_by(|later, kept| later.key(bytes) == kept.key(bytes));
        Ok(next)
    }

    async fn write_few(
        &self,
        lease: &Lease<'_>,
        chunk: &Chunk,
        written_at: Option<[u8; 8]>,
    ) -> Result<Upserted, Error> {
        let mut done = Upserted::default();
        for entry in &chunk.entries {
            let deadline = self.deadline();
            let statement = lease.prepare(&self.sql.one, deadline).await?;
            let mut fields: Vec<_> = entry.fields(&chunk.bytes).map(Encoded).collect();
            fields.push(Encoded(written_at.as_ref().map(<[u8; 8]>::as_slice)));
            let parameters: Vec<_> = fields.iter().map(|field| field as &(dyn ToSql + Sync)).collect();
            let answer = lease.client().query(&statement, &parameters);
            let answer = lease.during(Step::Write, deadline, answer).await?;
            match answer.first() {
                Some(row) if cell(row, 0)? == Some(&[1]) => done.inserted += 1,
                Some(_) => done.updated += 1,
                None => {}
            }
        }
        Ok(done)
    }

    async fn write_many(
        &self,
        lease: &Lease<'_>,
        chunk: &Chunk,
        written_at: Option<[u8; 8]>,
    ) -> Result<Upserted, Error> {
        let sql = &*self.sql;
        let deadline = self.deadline();
        let client = lease.client();
        let copy = async {
            client.batch_execute(&sql.stage).await?;
            client.batch_execute(&sql.clear).await?;
            let mut sink = Box::pin(client.copy_in::<_, Bytes>(&sql.copy).await?);
            let mut out = BytesMut::with_capacity(SEND + (64 << 10));
            // The signature, no flags, no extension.
            out.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
            for entry in &chunk.entries {
                out.put_slice(&chunk.bytes[entry.start..entry.end]);
                if out.len() >= SEND {
                    sink.feed(out.split().freeze()).await?;
                }
            }
            out.put_i16(-1);
            sink.feed(out.freeze()).await?;
            sink.as_mut().finish().await
        };
        lease.during(Step::Write, deadline, copy).await?;
        let written_at = Encoded(written_at.as_ref().map(<[u8; 8]>::as_slice));
        let parameters: [(&(dyn ToSql + Sync), PgType); 1] = [(&written_at, PgType::TIMESTAMPTZ)];
        let merge = client.query_typed(&sql.merge, &parameters);
        let answer = lease.during(Step::Write, self.deadline(), merge).await?;
        let row = answer.first().ok_or_else(|| Error::protocol(Step::Write, "an answer without a row"))?;
        let count = |index| -> Result<u64, Error> {
            Ok(u64::from_be_bytes(fixed(cell(row, index)?.unwrap_or_default())?))
        };
        Ok(Upserted { inserted: count(0)?, updated: count(1)?, stale: 0 })
    }
}

/// Rows in `COPY`'s binary form, and where each begins.
#[derive(Default)]
struct Chunk {
    bytes: BytesMut,
    entries: Vec<Entry>,
}

/// One encoded row: the number of fields and the keys from `start`, the event time at `event`.
#[derive(Clone, Copy)]
struct Entry {
    start: usize,
    event: usize,
    end: usize,
}

impl Entry {
    fn key(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start + 2..self.event]
    }

    fn event_ts(self, bytes: &[u8]) -> i64 {
        let field = bytes[self.event + 4..].first_chunk();
        i64::from_be_bytes(*field.expect("an event time has eight bytes"))
    }

    fn fields(self, bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = &bytes[self.start + 2..self.end];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                rest = after;
                return Some(None);
            };
            let (field, after) = after.split_at(length);
            rest = after;
            Some(Some(field))
        })
    }
}
