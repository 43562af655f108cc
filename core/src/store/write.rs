//! Writing features: the newest event wins online, whatever the order in which rows arrive, and the history gets every row.
//!
//! In flow records or a batch; out flows how many rows were new, newer or stale. The invariant: after any set of writes, in
//! any order and repeated at will, a key's row is the one with the greatest `(event_ts, written_at)`; and two writers of the same
//! keys never wait for each other in a circle, for each writes its keys in one order. A call is one transaction: all or nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use futures_util::future::join;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_postgres::types::{ToSql, Type as PgType};

use crate::input::Batch;

use super::FeatureStore;
use super::cells::{BatchRows, Record, Rows, check_records};
use super::chunk::{Chunk, Entry};
use super::error::{Error, ErrorKind, Step};
use super::history::{self, Month};
use super::lease::Lease;
use super::merge::{Direct, Statements, Tables};
use super::pool::Deadline;
use super::telemetry::{Timed, timed};
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

/// What became of the rows of a write. The first three add up to the rows given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upserted {
    /// Rows whose key was not there.
    pub inserted: u64,
    /// Rows that took the place of an older one.
    pub updated: u64,
    /// Rows that changed nothing online: the store had a newer one or the same, or the batch had.
    pub stale: u64,
    /// Rows that the history did not have; 0 for a view without one.
    pub appended: u64,
}

/// How to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteOptions {
    known: Known,
    parse: bool,
}

/// When values became known. Of two rows of a key with one event time, the one that became known later wins.
#[derive(Debug, Clone, Copy, Default)]
enum Known {
    #[default]
    Now,
    At(Timestamp),
    WithEvent,
}

impl WriteOptions {
    /// Values that became known at `moment`, not now: as when what another store was told then is copied. Such a row is kept in
    /// the history even if it says the same as one known before it.
    pub fn written_at(moment: Timestamp) -> Self {
        Self { known: Known::At(moment), ..Self::default() }
    }

    /// Values that were known at once, each at its event time: as when a past is loaded of which no more is known.
    pub fn written_with_event() -> Self {
        Self { known: Known::WithEvent, ..Self::default() }
    }

    /// Reads text in a batch as values of their columns' types, as text from a CSV file is: see [`Timestamp::parse`] for moments;
    /// lists and documents are JSON.
    #[must_use]
    pub fn parsing_text(mut self) -> Self {
        self.parse = true;
        self
    }
}

/// Writes a view: its online table, and its history if it keeps one. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    store: FeatureStore,
    view: View,
    sql: Arc<Statements>,
    /// The months that are known to have a partition.
    months: Arc<Mutex<BTreeSet<Month>>>,
}

impl FeatureStore {
    /// Writes `view`.
    pub fn writer(&self, view: &View) -> Writer {
        Writer {
            store: self.clone(),
            view: view.clone(),
            sql: Arc::new(Statements::new(self, view, Tables::All)),
            months: Arc::default(),
        }
    }
}

/// What a transaction of a writer also does, so that it is done if and only if the rows are written.
pub(super) trait Also: Sync {
    /// Runs on the writer's connection after the rows and before the commit.
    fn run(&self, lease: &Lease<'_>, done: Upserted) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Also for () {
    async fn run(&self, _: &Lease<'_>, _: Upserted) -> Result<(), Error> {
        Ok(())
    }
}

impl Writer {
    /// The view that is written.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// A writer of the history alone: what it writes reaches the online table by
    /// [`FeatureStore::materialize`](super::FeatureStore::materialize).
    ///
    /// # Errors
    /// If the view keeps no history.
    pub fn history_only(&self) -> Result<Self, Error> {
        history::kept(&self.view)?;
        let sql = Arc::new(Statements::new(&self.store, &self.view, Tables::History));
        Ok(Self { sql, ..self.clone() })
    }

    pub(super) fn store(&self) -> &FeatureStore {
        &self.store
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
        self.write(&(&self.view, records), options, &()).await
    }

    /// Writes a batch in one transaction: columns by the names of the view's keys and features, and its event time (`event_ts`, if
    /// the view has no other name for it) in whole microseconds since 1970, as moments always are in a batch. A column that is not
    /// there has the feature's default, if it has one. The memory it takes does not grow with the batch.
    ///
    /// Dropping the future: as [`upsert`](Self::upsert).
    ///
    /// # Errors
    /// If a column is missing or not the view's; else as [`upsert`](Self::upsert).
    pub async fn upsert_batch(&self, batch: &Batch<'_>, options: WriteOptions) -> Result<Upserted, Error> {
        self.write(&BatchRows::new(&self.view, batch, options.parse)?, options, &()).await
    }

    /// Writes rows, and what is `also` to be done, in one transaction.
    pub(super) async fn write(
        &self,
        rows: &impl Rows,
        options: WriteOptions,
        also: &impl Also,
    ) -> Result<Upserted, Error> {
        let write = async {
            match self.write_once(rows, options, also).await {
                // All was rolled back, and statements are unnamed from now on.
                Err(error) if error.is_lost_statement() => self.write_once(rows, options, also).await,
                outcome => outcome,
            }
        };
        let done = timed(Timed::Write, write).await?;
        metrics::counter!("cenote_rows_written_total", "what" => "inserted").increment(done.inserted);
        metrics::counter!("cenote_rows_written_total", "what" => "updated").increment(done.updated);
        metrics::counter!("cenote_rows_written_total", "what" => "stale").increment(done.stale);
        Ok(done)
    }

    async fn write_once(
        &self,
        rows: &impl Rows,
        options: WriteOptions,
        also: &impl Also,
    ) -> Result<Upserted, Error> {
        let known = match options.known {
            Known::Now => (None, false),
            Known::WithEvent => (None, true),
            Known::At(moment) => {
                let count =
                    moment.to_wire().ok_or_else(|| Error::config("written_at is a moment out of range"))?;
                (Some(count.to_be_bytes()), false)
            }
        };
        if rows.len() == 0 {
            return Ok(Upserted::default());
        }
        let (mut chunk, mut spare) = (Chunk::default(), Chunk::default());
        let mut next = self.fill(&mut chunk, rows, 0)?;
        if self.view.history().is_some() {
            self.make_months(rows).await?;
        }
        let pool = self.store.pool();
        let lease = pool.begin(Step::Write, pool.deadlines().write).await?;
        let outcome = async {
            let mut done = Upserted::default();
            loop {
                let last = next == rows.len();
                if last && chunk.entries.len() <= FEW_ROWS {
                    self.write_few(&lease, &chunk, known, &mut done).await?;
                } else {
                    // The next rows are encoded while the server is at these.
                    let busy = Notify::new();
                    let fill = async {
                        busy.notified().await;
                        tokio::task::yield_now().await;
                        self.fill(&mut spare, rows, next)
                    };
                    let write = async {
                        let written = self.write_chunk(&lease, &chunk, known, &busy, &mut done).await;
                        busy.notify_one();
                        written
                    };
                    let (written, filled) = join(write, fill).await;
                    written?;
                    next = filled?;
                    std::mem::swap(&mut chunk, &mut spare);
                }
                if last {
                    done.stale = rows.len() as u64 - done.inserted - done.updated;
                    also.run(&lease, done).await?;
                    return Ok(done);
                }
            }
        };
        let outcome = outcome.await;
        if outcome.is_err() {
            // Perhaps a partition was dropped.
            self.months().clear();
        }
        lease.end(Step::Write, self.deadline(), outcome).await
    }

    fn months(&self) -> MutexGuard<'_, BTreeSet<Month>> {
        self.months.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that every event's month has a partition. Before the transaction: this may need a connection of its own.
    async fn make_months(&self, rows: &impl Rows) -> Result<(), Error> {
        let event = self.view.keys().len();
        let mut needed = BTreeSet::new();
        let mut bytes = BytesMut::new();
        for row in 0..rows.len() {
            bytes.clear();
            let encoded = rows.encode(row, event, Type::Timestamp, &mut bytes);
            let month = encoded.and_then(|()| {
                let count = bytes.get(4..).and_then(|field| field.try_into().ok()).map(i64::from_be_bytes);
                let moment = Timestamp::from_wire(count.ok_or(Mismatch { found: "no value" })?);
                Month::of(moment).ok_or(Mismatch { found: "a moment outside of the years 1 to 9999" })
            });
            needed.insert(month.map_err(|mismatch| self.misfit(row, event, mismatch))?);
        }
        if !needed.is_subset(&self.months()) {
            self.store.ensure_partitions(&self.view, &needed).await?;
            self.months().extend(needed);
        }
        Ok(())
    }

    /// SHA-256 of rows as they go over the wire.
    pub(super) fn digest(&self, rows: &impl Rows) -> Result<[u8; 32], Error> {
        let (mut digest, mut bytes) = (Sha256::new(), BytesMut::new());
        for row in 0..rows.len() {
            for (column, (_, ty)) in self.sql.columns.iter().enumerate() {
                let fits = rows.encode(row, column, *ty, &mut bytes);
                fits.map_err(|mismatch| self.misfit(row, column, mismatch))?;
            }
            if bytes.len() >= SEND || row + 1 == rows.len() {
                digest.update(&bytes);
                bytes.clear();
            }
        }
        Ok(digest.finalize().into())
    }

    fn misfit(&self, row: usize, column: usize, Mismatch { found }: Mismatch) -> Error {
        let (name, ty) = &self.sql.columns[column];
        ErrorKind::Cell { row, column: name.clone(), expected: ty.to_string(), found: found.to_owned() }
            .into()
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.store.pool().deadlines().write)
    }

    /// Encodes rows from `next` on until the chunk is full; sorts them by key, the newest of each first, and keeps what can
    /// matter: the newest of each key, or of each event of a key where there is a history. Gives the row after.
    fn fill(&self, chunk: &mut Chunk, rows: &impl Rows, mut next: usize) -> Result<usize, Error> {
        let columns = &self.sql.columns;
        let keys = self.view.keys().len();
        chunk.bytes.clear();
        chunk.entries.clear();
        while next < rows.len() && chunk.entries.len() < ROWS_A_CHUNK && chunk.bytes.len() < BYTES_A_CHUNK {
            let start = chunk.bytes.len();
            let mut event = start;
            for (column, (_, ty)) in columns.iter().enumerate() {
                if column == keys {
                    event = chunk.bytes.len();
                }
                let at = chunk.bytes.len();
                let fits = rows.encode(next, column, *ty, &mut chunk.bytes).and_then(|()| {
                    let missing = chunk.bytes[at..at + 4] == (-1i32).to_be_bytes();
                    if missing && column <= keys { Err(Mismatch { found: "no value" }) } else { Ok(()) }
                });
                fits.map_err(|mismatch| self.misfit(next, column, mismatch))?;
            }
            chunk.entries.push(Entry { start, event, end: chunk.bytes.len() });
            next += 1;
        }
        let Chunk { bytes, entries } = chunk;
        // Of one event time the later row of the batch. The order of keys is the same for every writer, which is all that it
        // must be.
        entries.sort_unstable_by(|a, b| {
            let newest = || b.event_ts(bytes).cmp(&a.event_ts(bytes)).then(b.start.cmp(&a.start));
            a.key(bytes).cmp(b.key(bytes)).then_with(newest)
        });
        let every_event = self.view.history().is_some();
        entries.dedup_by(|later, kept| {
            later.key(bytes) == kept.key(bytes)
                && !(every_event && later.event_ts(bytes) != kept.event_ts(bytes))
        });
        Ok(next)
    }

    async fn write_few(
        &self,
        lease: &Lease<'_>,
        chunk: &Chunk,
        known: (Option<[u8; 8]>, bool),
        done: &mut Upserted,
    ) -> Result<(), Error> {
        let with_event = [u8::from(known.1)];
        for entry in &chunk.entries {
            let deadline = self.deadline();
            let mut fields: Vec<_> = entry.fields(&chunk.bytes).map(Encoded).collect();
            fields.push(Encoded(known.0.as_ref().map(<[u8; 8]>::as_slice)));
            fields.push(Encoded(Some(&with_event)));
            let parameters: Vec<_> = fields.iter().map(|field| field as &(dyn ToSql + Sync)).collect();
            done.add(&lease.query(Step::Write, &self.sql.one, &parameters, deadline).await?)?;
        }
        Ok(())
    }

    /// Writes a chunk of many rows; says `busy` when the server has so much to do that this side has time.
    async fn write_chunk(
        &self,
        lease: &Lease<'_>,
        chunk: &Chunk,
        known: (Option<[u8; 8]>, bool),
        busy: &Notify,
        done: &mut Upserted,
    ) -> Result<(), Error> {
        if let Some(direct) = &self.sql.direct
            && let Some(now) = self.all_new(lease, direct, chunk).await?
            && self.insert(lease, direct, chunk, (known.0.unwrap_or(now), known.1), busy).await?
        {
            done.inserted += chunk.entries.len() as u64;
            return Ok(());
        }
        self.stage(lease, chunk).await?;
        busy.notify_one();
        self.merge(lease, known, done).await
    }

    /// The transaction's moment, if none of the chunk's keys is in the online table.
    async fn all_new(
        &self,
        lease: &Lease<'_>,
        direct: &Direct,
        chunk: &Chunk,
    ) -> Result<Option<[u8; 8]>, Error> {
        let keys = self.view.keys();
        let mut now = [0; 8];
        let types = || keys.iter().map(|key| key.ty.pg_array());
        self.run(lease, Direct::BEGIN).await?;
        // Some first: where keys are there, it is mostly many of them.
        for step in [(chunk.entries.len() / FEW_ROWS).max(1), 1] {
            let lists = chunk.key_lists(keys, step);
            let lists: Vec<_> = lists.iter().map(|list| Encoded(Some(list))).collect();
            let parameters: Vec<_> =
                lists.iter().map(|list| list as &(dyn ToSql + Sync)).zip(types()).collect();
            let probe = lease.client().query_typed(&direct.probe, &parameters);
            let answer = lease.during(Step::Write, self.deadline(), probe).await?;
            let row =
                answer.first().ok_or_else(|| Error::protocol(Step::Write, "an answer without a row"))?;
            if fixed(cell(row, 0)?.unwrap_or_default())? != [0] {
                self.run(lease, Direct::UNDO).await?;
                return Ok(None);
            }
            now = fixed(cell(row, 1)?.unwrap_or_default())?;
        }
        self.run(lease, Direct::PROBED).await?;
        Ok(Some(now))
    }

    /// Runs statements that have no answer.
    async fn run(&self, lease: &Lease<'_>, statements: &str) -> Result<(), Error> {
        lease.during(Step::Write, self.deadline(), lease.client().batch_execute(statements)).await
    }

    /// Copies rows of new keys into the online table. `false`, and nothing done, if another writer came first with one of them, or
    /// the table does not take a `COPY`.
    async fn insert(
        &self,
        lease: &Lease<'_>,
        direct: &Direct,
        chunk: &Chunk,
        (moment, with_event): ([u8; 8], bool),
        busy: &Notify,
    ) -> Result<bool, Error> {
        let half = chunk.entries.len() / 2;
        let row = |index: usize, entry: &Entry, out: &mut BytesMut| {
            if index == half {
                busy.notify_one();
            }
            out.put_i32(8);
            if with_event {
                out.put_i64(entry.event_ts(&chunk.bytes));
            } else {
                out.put_slice(&moment);
            }
        };
        match self.copy(lease, &direct.copy, chunk, row).await {
            Ok(()) => {
                self.run(lease, Direct::DONE).await?;
                Ok(true)
            }
            Err(error) if Direct::refuses(&error) => {
                self.run(lease, Direct::UNDO).await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Copies the chunk into the temporary table.
    async fn stage(&self, lease: &Lease<'_>, chunk: &Chunk) -> Result<(), Error> {
        self.run(lease, &self.sql.stage).await?;
        let mut last: Option<Entry> = None;
        let newest = |_: usize, entry: &Entry, out: &mut BytesMut| {
            let newest = last.is_none_or(|last| last.key(&chunk.bytes) != entry.key(&chunk.bytes));
            last = Some(*entry);
            out.put_i32(1);
            out.put_u8(u8::from(newest));
        };
        self.copy(lease, &self.sql.copy, chunk, newest).await
    }

    /// Copies the chunk's rows by a statement, each with one more field, which `more` appends.
    async fn copy(
        &self,
        lease: &Lease<'_>,
        statement: &str,
        chunk: &Chunk,
        mut more: impl FnMut(usize, &Entry, &mut BytesMut),
    ) -> Result<(), Error> {
        let copy = async {
            let mut sink = Box::pin(lease.client().copy_in::<_, Bytes>(statement).await?);
            let mut out = BytesMut::with_capacity(SEND + (64 << 10));
            // The signature, no flags, no extension.
            out.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
            for (index, entry) in chunk.entries.iter().enumerate() {
                out.put_i16(self.sql.columns.len() as i16 + 1);
                out.put_slice(&chunk.bytes[entry.start..entry.end]);
                more(index, entry, &mut out);
                if out.len() >= SEND {
                    sink.feed(out.split().freeze()).await?;
                }
            }
            out.put_i16(-1);
            sink.feed(out.freeze()).await?;
            sink.as_mut().finish().await
        };
        lease.during(Step::Write, self.deadline(), copy).await?;
        Ok(())
    }

    /// Merges what is in the temporary table.
    async fn merge(
        &self,
        lease: &Lease<'_>,
        known: (Option<[u8; 8]>, bool),
        done: &mut Upserted,
    ) -> Result<(), Error> {
        let written_at = Encoded(known.0.as_ref().map(<[u8; 8]>::as_slice));
        let parameters: [(&(dyn ToSql + Sync), PgType); 2] =
            [(&written_at, PgType::TIMESTAMPTZ), (&known.1, PgType::BOOL)];
        let merge = lease.client().query_typed(&self.sql.merge, &parameters);
        done.add(&lease.during(Step::Write, self.deadline(), merge).await?)
    }
}

impl std::ops::AddAssign for Upserted {
    fn add_assign(&mut self, more: Self) {
        self.inserted += more.inserted;
        self.updated += more.updated;
        self.stale += more.stale;
        self.appended += more.appended;
    }
}

impl WriteOptions {
    pub(super) fn parses_text(self) -> bool {
        self.parse
    }
}

impl Upserted {
    /// Adds what a merge counted.
    pub(super) fn add(&mut self, answer: &[tokio_postgres::Row]) -> Result<(), Error> {
        let row = answer.first().ok_or_else(|| Error::protocol(Step::Write, "an answer without a row"))?;
        for (index, count) in
            [&mut self.inserted, &mut self.updated, &mut self.appended].into_iter().enumerate()
        {
            *count += u64::from_be_bytes(fixed(cell(row, index)?.unwrap_or_default())?);
        }
        Ok(())
    }
}
