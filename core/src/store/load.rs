//! Writing more than fits into memory or one transaction: batch by batch, each with a row that says it is done.
//!
//! In flow the batches of a source that can be read again in the same pieces; out flow counts. The invariant: each batch is written
//! once, whole, with its record. A load that was killed is begun again under its name: what is recorded is passed over, after its
//! digest was compared, so a source that has changed meanwhile is noticed.

use std::collections::HashMap;

use crate::input::Batch;

use super::FeatureStore;
use super::cells::{BatchRows, Record, Rows, check_records};
use super::error::{Error, ErrorKind};
use super::jobs::{self, FinishedBatch};
use super::lease::Lease;
use super::value::Timestamp;
use super::write::{Also, Upserted, WriteOptions, Writer};

/// How many records of an iterator are written by one transaction.
const RECORDS_A_BATCH: usize = 50_000;

/// A load under way. Made by [`Writer::load`].
pub struct Load {
    writer: Writer,
    name: String,
    options: WriteOptions,
    /// What an earlier run has finished.
    finished: HashMap<u64, FinishedBatch>,
    loaded: Loaded,
}

/// What has become of a load's batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// Batches that were given.
    pub batches: u64,
    /// Those of them that had been written before, and were passed over.
    pub passed: u64,
    /// Rows of all batches.
    pub rows: u64,
    /// What became of the rows, when they were written.
    pub upserted: Upserted,
}

impl Writer {
    /// Begins the load called `name`, or goes on with it. Batches must come in the same pieces and order as before.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn load(&self, name: impl Into<String>, options: WriteOptions) -> Result<Load, Error> {
        let name = name.into();
        let finished = self.store().finished_batches(self.view(), Some(&name)).await?;
        let finished = finished.into_iter().map(|batch| (batch.batch, batch)).collect();
        Ok(Load { writer: self.clone(), name, options, finished, loaded: Loaded::default() })
    }

    /// Writes records as they come, some tens of thousands a transaction: memory does not grow with their number.
    ///
    /// Dropping the future leaves the transactions that were committed; writing the same again is safe.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert); rows are counted within their transaction, and those before it are written.
    pub async fn upsert_all(
        &self,
        records: impl IntoIterator<Item = Record>,
        options: WriteOptions,
    ) -> Result<Upserted, Error> {
        let (mut total, mut some) = (Upserted::default(), Vec::new());
        let mut records = records.into_iter();
        loop {
            some.clear();
            some.extend(records.by_ref().take(RECORDS_A_BATCH));
            if some.is_empty() {
                return Ok(total);
            }
            total += self.upsert_with(&some, options).await?;
        }
    }
}

impl Load {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What has become of the batches so far.
    pub fn loaded(&self) -> Loaded {
        self.loaded
    }

    /// Writes the next batch, as [`Writer::upsert_batch`], or passes over it if that was done before. Gives what has become of all.
    ///
    /// Dropping the future writes the batch whole or not at all; the load is to be begun again.
    ///
    /// # Errors
    /// `Batch` if it was written before with other rows; else as [`Writer::upsert_batch`].
    pub async fn batch(&mut self, batch: &Batch<'_>) -> Result<Loaded, Error> {
        let parse = self.options.parses_text();
        let view = self.writer.view().clone();
        self.next(&BatchRows::new(&view, batch, parse)?).await
    }

    /// As [`batch`](Self::batch), of records.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    pub async fn records(&mut self, records: &[Record]) -> Result<Loaded, Error> {
        let view = self.writer.view().clone();
        check_records(&view, records)?;
        self.next(&(&view, records)).await
    }

    async fn next(&mut self, rows: &impl Rows) -> Result<Loaded, Error> {
        let number = self.loaded.batches;
        let digest = self.writer.digest(rows)?;
        let done = match self.finished.get(&number) {
            Some(before) if before.digest != digest => {
                return Err(ErrorKind::Batch { load: self.name.clone(), batch: number }.into());
            }
            Some(before) => {
                self.loaded.passed += 1;
                before.done
            }
            None => {
                let batch = FinishedBatch {
                    job: self.name.clone(),
                    batch: number,
                    rows: rows.len() as u64,
                    done: Upserted::default(),
                    finished_at: Timestamp::now(),
                    digest: digest.to_vec(),
                };
                self.writer.write(rows, self.options, &Mark { writer: &self.writer, batch }).await?
            }
        };
        self.loaded.batches += 1;
        self.loaded.rows += rows.len() as u64;
        self.loaded.upserted += done;
        Ok(self.loaded)
    }

    /// Goes on by another store of the same tables.
    pub(crate) fn move_to(&mut self, store: &FeatureStore) {
        self.writer = self.writer.on(store);
    }
}

/// Records a batch in the transaction that writes it.
struct Mark<'a> {
    writer: &'a Writer,
    batch: FinishedBatch,
}

impl Also for Mark<'_> {
    async fn run(&self, lease: &Lease<'_>, done: Upserted) -> Result<(), Error> {
        let batch = FinishedBatch { done, ..self.batch.clone() };
        // If another wrote the same batch meanwhile, this one has changed nothing.
        jobs::record(self.writer.store(), lease, self.writer.view(), &batch).await?;
        Ok(())
    }
}
