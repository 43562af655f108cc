//! What has been done of work that takes many transactions: a row for each finished batch of a load or a materialisation.
//!
//! The invariant: a batch's row is committed with what the batch did, so that the row is there if and only if that was done. Work
//! that was killed goes on where it stood; two that do the same work do each batch once.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type as PgType};

use super::FeatureStore;
use super::ddl::{identifier, literal, lock_schema};
use super::error::{Error, Step};
use super::lease::Lease;
use super::pool::Deadline;
use super::value::Timestamp;
use super::view::View;
use super::wire::{cell, fixed, text};
use super::write::Upserted;

/// A finished batch of a load or a materialisation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FinishedBatch {
    /// The load's name, or `materialize` and the transactions that it covers.
    pub job: String,
    /// Its number, from 0.
    pub batch: u64,
    /// How many rows it had.
    pub rows: u64,
    /// What became of them.
    pub done: Upserted,
    /// When it was committed.
    pub finished_at: Timestamp,
    /// SHA-256 of its rows; of a materialisation nothing.
    pub(super) digest: Vec<u8>,
}

impl FeatureStore {
    pub(super) fn batches_table(&self) -> String {
        self.qualified("cenote_batches")
    }

    pub(super) fn watermarks_table(&self) -> String {
        self.qualified("cenote_watermarks")
    }

    /// Makes the tables of this file, if they are not there.
    pub(super) async fn ensure_jobs(&self) -> Result<(), Error> {
        let length = self.pool().deadlines().migrate;
        let (batches, watermarks) = (self.batches_table(), self.watermarks_table());
        let there = format!(
            "SELECT to_regclass({}) IS NOT NULL AND to_regclass({}) IS NOT NULL",
            literal(&batches),
            literal(&watermarks)
        );
        let lease = self.pool().lease(Deadline::after(length)).await?;
        let rows = lease.client().query_typed(&there, &[]);
        let rows = lease.during(Step::Migrate, Deadline::after(length), rows).await?;
        if rows.first().map(|row| cell(row, 0)).transpose()?.flatten() == Some(&[1]) {
            return Ok(());
        }
        drop(lease);
        let sql = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema}; \
             CREATE TABLE IF NOT EXISTS {batches} (view text COLLATE \"C\", version integer, job text COLLATE \"C\", \
             batch bigint, rows bigint NOT NULL, inserted bigint NOT NULL, updated bigint NOT NULL, \
             appended bigint NOT NULL, digest bytea NOT NULL, finished_at timestamptz NOT NULL DEFAULT now(), \
             PRIMARY KEY (view, version, job, batch)); \
             CREATE TABLE IF NOT EXISTS {watermarks} (view text COLLATE \"C\", version integer, \
             watermark bigint NOT NULL, target bigint, rows bigint, batches integer, \
             changed_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (view, version))",
            schema = identifier(self.schema()),
        );
        let lease = self.pool().begin(Step::Migrate, length).await?;
        let outcome = async {
            lock_schema(self, &lease).await?;
            lease.during(Step::Migrate, Deadline::after(length), lease.client().batch_execute(&sql)).await
        }
        .await;
        lease.end(Step::Migrate, Deadline::after(length), outcome).await
    }

    /// The finished batches of a load of `view`, or of all its loads and materialisations, by job and number.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// A refusal by the server; a deadline.
    pub async fn finished_batches(
        &self,
        view: &View,
        job: Option<&str>,
    ) -> Result<Vec<FinishedBatch>, Error> {
        self.ensure_jobs().await?;
        let sql = format!(
            "SELECT job::text, batch, rows, inserted, updated, appended, finished_at, digest FROM {} \
             WHERE view = $1 AND version = {} AND ($2 IS NULL OR job = $2) ORDER BY job, batch",
            self.batches_table(),
            view.version()
        );
        let deadline = Deadline::after(self.pool().deadlines().read);
        let lease = self.pool().lease(deadline).await?;
        let parameters: [(&(dyn ToSql + Sync), PgType); 2] =
            [(&view.name(), PgType::TEXT), (&job, PgType::TEXT)];
        let answer = lease.client().query_typed(&sql, &parameters);
        let rows = lease.during(Step::Read, deadline, answer).await?;
        rows.iter().map(finished).collect()
    }

    /// Forgets the finished batches of `view` that are older than `age`, and gives how many. A load that is run again after that
    /// writes its batches anew, which changes nothing.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// A refusal by the server; a deadline.
    pub async fn forget_batches(&self, view: &View, age: Duration) -> Result<u64, Error> {
        self.ensure_jobs().await?;
        // Not those of a materialisation that is under way.
        let sql = format!(
            "DELETE FROM {} b WHERE b.view = $1 AND b.version = {version} \
             AND b.finished_at < now() - interval '{} seconds' AND NOT EXISTS (SELECT FROM {} w \
             WHERE w.view = b.view AND w.version = b.version AND b.job = 'materialize ' || w.watermark || '..' || w.target)",
            self.batches_table(),
            age.as_secs(),
            self.watermarks_table(),
            version = view.version(),
        );
        let deadline = Deadline::after(self.pool().deadlines().write);
        let lease = self.pool().lease(deadline).await?;
        let parameters: [(&(dyn ToSql + Sync), PgType); 1] = [(&view.name(), PgType::TEXT)];
        lease.during(Step::Write, deadline, lease.client().execute_typed(&sql, &parameters)).await
    }
}

/// Records a batch within the transaction that did it. `false` if another did it meanwhile.
pub(super) async fn record(
    store: &FeatureStore,
    lease: &Lease<'_>,
    view: &View,
    batch: &FinishedBatch,
) -> Result<bool, Error> {
    let sql = format!(
        "INSERT INTO {} (view, version, job, batch, rows, inserted, updated, appended, digest) \
         VALUES ($1, {}, $2, {}, {}, {}, {}, {}, $3) ON CONFLICT DO NOTHING",
        store.batches_table(),
        view.version(),
        batch.batch,
        batch.rows,
        batch.done.inserted,
        batch.done.updated,
        batch.done.appended,
    );
    let parameters: [(&(dyn ToSql + Sync), PgType); 3] =
        [(&view.name(), PgType::TEXT), (&batch.job, PgType::TEXT), (&batch.digest, PgType::BYTEA)];
    let deadline = Deadline::after(store.pool().deadlines().write);
    let count = lease.during(Step::Write, deadline, lease.client().execute_typed(&sql, &parameters)).await?;
    Ok(count == 1)
}

/// Keeps others that materialise or erase `view` waiting to the end of the transaction.
pub(super) async fn lock_view(store: &FeatureStore, lease: &Lease<'_>, view: &View) -> Result<(), Error> {
    let name = literal(&format!("cenote view {} {}", store.schema(), view.table()));
    let sql = format!("SELECT pg_advisory_xact_lock(hashtextextended({name}, 0))");
    let deadline = Deadline::after(store.pool().deadlines().migrate);
    lease.during(Step::Lock, deadline, lease.client().batch_execute(&sql)).await
}

fn finished(row: &tokio_postgres::Row) -> Result<FinishedBatch, Error> {
    let count = |index| Ok::<_, Error>(u64::from_be_bytes(fixed(cell(row, index)?.unwrap_or_default())?));
    let mut batch = FinishedBatch {
        job: text(cell(row, 0)?.unwrap_or_default())?.to_owned(),
        batch: count(1)?,
        rows: count(2)?,
        done: Upserted { inserted: count(3)?, updated: count(4)?, stale: 0, appended: count(5)? },
        finished_at: super::event_ts(row, 6)?,
        digest: cell(row, 7)?.unwrap_or_default().to_vec(),
    };
    batch.done.stale = batch.rows.saturating_sub(batch.done.inserted + batch.done.updated);
    Ok(batch)
}
