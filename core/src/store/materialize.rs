//! From the history to the online table: what came into the history alone, such as a backfill, becomes what is read by key.
//!
//! The invariant: a row is taken by the order in which it came in, never by its event time, so a late row is not missed. Each row of
//! a history has the number of the transaction that wrote it, and a view has a watermark: all transactions below it are over and
//! their rows are online. A run takes the rows from the watermark to the oldest transaction that is still running, in batches of
//! keys, each one transaction with its record; then the watermark is moved. A run that was killed is gone on with by the next.

use tokio_postgres::types::{ToSql, Type as PgType};

use super::FeatureStore;
use super::ddl::identifier;
use super::error::{Error, Step};
use super::history;
use super::jobs::{self, FinishedBatch};
use super::merge::{self, list};
use super::pool::Deadline;
use super::value::{Timestamp, Type};
use super::view::View;
use super::wire::{cell, fixed};
use super::write::Upserted;

/// How to materialise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaterializeOptions {
    /// Takes the whole history, not what came in since the last run.
    pub full: bool,
    /// About how many rows of the history one transaction takes: 200,000 if not set.
    pub rows_a_batch: u64,
}

impl Default for MaterializeOptions {
    fn default() -> Self {
        Self { full: false, rows_a_batch: 200_000 }
    }
}

/// What a run of [`FeatureStore::materialize`] has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Materialized {
    /// The rows of the history that the run takes.
    pub rows: u64,
    /// Keys that were not online.
    pub inserted: u64,
    /// Keys whose row online was older.
    pub updated: u64,
    /// Batches done, those of an earlier run that was killed among them.
    pub done: u32,
    /// Batches of the run.
    pub batches: u32,
}

/// From a watermark to a target, in batches.
#[derive(Debug, Clone, Copy)]
struct Run {
    watermark: i64,
    target: i64,
    rows: u64,
    batches: u32,
}

impl FeatureStore {
    /// Brings online what came into the history of `view` since the last run.
    ///
    /// Dropping the future leaves the batches that were committed; the next call goes on.
    ///
    /// # Errors
    /// If the view keeps no history; a refusal by the server; a deadline: that of a join holds for each batch.
    pub async fn materialize(&self, view: &View) -> Result<Materialized, Error> {
        self.materialize_with(view, MaterializeOptions::default(), |_| ()).await
    }

    /// As [`materialize`](Self::materialize), as told; `progress` is called before the first and after each batch.
    ///
    /// Dropping the future: as [`materialize`](Self::materialize).
    ///
    /// # Errors
    /// As [`materialize`](Self::materialize).
    pub async fn materialize_with(
        &self,
        view: &View,
        options: MaterializeOptions,
        mut progress: impl FnMut(&Materialized),
    ) -> Result<Materialized, Error> {
        history::kept(view)?;
        self.ensure_jobs().await?;
        let run = self.begin_run(view, options).await?;
        let mut all = Materialized { rows: run.rows, batches: run.batches, ..Materialized::default() };
        let finished = self.finished_batches(view, Some(&run.job())).await?;
        finished.iter().for_each(|before| all.add(before.done));
        progress(&all);
        for batch in 0..run.batches {
            if finished.iter().any(|before| before.batch == u64::from(batch)) {
                continue;
            }
            all.add(self.one_batch(view, run, batch).await?);
            progress(&all);
        }
        self.end_run(view, run).await?;
        Ok(all)
    }

    /// The run that was left, or a new one.
    async fn begin_run(&self, view: &View, options: MaterializeOptions) -> Result<Run, Error> {
        let length = self.pool().deadlines().join;
        let lease = self.pool().begin(Step::Write, length).await?;
        let outcome = async {
            jobs::lock_view(self, &lease, view).await?;
            let name: (&(dyn ToSql + Sync), PgType) = (&view.name(), PgType::TEXT);
            let known = format!(
                "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, w.watermark, w.target, w.rows, \
                 w.batches::bigint FROM (SELECT) one LEFT JOIN {} w ON w.view = $1 AND w.version = {}",
                self.watermarks_table(),
                view.version()
            );
            let answer = lease.client().query_typed(&known, std::slice::from_ref(&name));
            let rows = lease.during(Step::Write, Deadline::after(length), answer).await?;
            let row = rows.first().ok_or_else(|| Error::protocol(Step::Write, "an answer without a row"))?;
            let number =
                |index| cell(row, index)?.map(|bytes| fixed(bytes).map(i64::from_be_bytes)).transpose();
            let now = number(0)?.unwrap_or_default();
            // A database that was restored elsewhere counts its transactions anew.
            let watermark = number(1)?.filter(|watermark| *watermark <= now && !options.full).unwrap_or(0);
            if let (Some(target), Some(rows), Some(batches)) = (number(2)?, number(3)?, number(4)?)
                && target <= now
                && number(1)? == Some(watermark)
            {
                let batches = u32::try_from(batches).unwrap_or(0);
                return Ok(Run { watermark, target, rows: rows as u64, batches });
            }
            let count = format!(
                "SELECT count(*) FROM {} h WHERE {}",
                self.qualified(&view.history_table()),
                between(watermark, now)
            );
            let answer = lease.client().query_typed(&count, &[]);
            let rows = lease.during(Step::Write, Deadline::after(length), answer).await?;
            let rows = rows.first().map(|row| cell(row, 0)).transpose()?.flatten().unwrap_or_default();
            let rows = u64::from_be_bytes(fixed(rows)?);
            // A power of two, so that a hash has its batch by its last bits.
            let batches = rows.div_ceil(options.rows_a_batch.max(1)).next_power_of_two().min(1 << 16);
            let run = Run { watermark, target: now, rows, batches: if rows == 0 { 0 } else { batches as u32 } };
            let note = format!(
                "INSERT INTO {} (view, version, watermark, target, rows, batches) \
                 VALUES ($1, {}, {watermark}, {now}, {rows}, {}) ON CONFLICT (view, version) DO UPDATE SET \
                 watermark = excluded.watermark, target = excluded.target, rows = excluded.rows, \
                 batches = excluded.batches, changed_at = now()",
                self.watermarks_table(),
                view.version(),
                run.batches
            );
            let answer = lease.client().execute_typed(&note, std::slice::from_ref(&name));
            lease.during(Step::Write, Deadline::after(length), answer).await?;
            if options.full {
                // The same transactions may have been covered by a run before.
                let forget = format!(
                    "DELETE FROM {} WHERE view = $1 AND version = {} AND job LIKE 'materialize %'",
                    self.batches_table(),
                    view.version()
                );
                let answer = lease.client().execute_typed(&forget, std::slice::from_ref(&name));
                lease.during(Step::Write, Deadline::after(length), answer).await?;
            }
            Ok(run)
        }
        .await;
        lease.end(Step::Write, Deadline::after(length), outcome).await
    }

    async fn one_batch(&self, view: &View, run: Run, batch: u32) -> Result<Upserted, Error> {
        let length = self.pool().deadlines().join;
        let lease = self.pool().begin(Step::Write, length).await?;
        let outcome = async {
            jobs::lock_view(self, &lease, view).await?;
            let mut done = Upserted::default();
            let record = FinishedBatch {
                job: run.job(),
                batch: batch.into(),
                rows: 0,
                done,
                finished_at: Timestamp::now(),
                digest: Vec::new(),
            };
            // Another run of the same batch waited for the lock no longer than this one: only the first does it.
            if !jobs::record(self, &lease, view, &record).await? {
                return Ok(done);
            }
            let sql = self.merge_history(view, run, batch);
            let answer = lease.client().query_typed(&sql, &[]);
            let rows = lease.during(Step::Write, Deadline::after(length), answer).await?;
            done.add(&rows)?;
            let counts = format!(
                "UPDATE {} SET rows = {}, inserted = {}, updated = {} \
                 WHERE view = $1 AND version = {} AND job = $2 AND batch = {batch}",
                self.batches_table(),
                done.inserted + done.updated,
                done.inserted,
                done.updated,
                view.version()
            );
            let job = run.job();
            let parameters: [(&(dyn ToSql + Sync), PgType); 2] =
                [(&view.name(), PgType::TEXT), (&job, PgType::TEXT)];
            let answer = lease.client().execute_typed(&counts, &parameters);
            lease.during(Step::Write, Deadline::after(length), answer).await?;
            Ok(done)
        }
        .await;
        lease.end(Step::Write, Deadline::after(length), outcome).await
    }

    async fn end_run(&self, view: &View, run: Run) -> Result<(), Error> {
        let length = self.pool().deadlines().write;
        let sql = format!(
            "UPDATE {} SET watermark = {target}, target = NULL, rows = NULL, batches = NULL, changed_at = now() \
             WHERE view = $1 AND version = {} AND watermark = {} AND target = {target}",
            self.watermarks_table(),
            view.version(),
            run.watermark,
            target = run.target
        );
        let lease = self.pool().lease(Deadline::after(length)).await?;
        let parameters: [(&(dyn ToSql + Sync), PgType); 1] = [(&view.name(), PgType::TEXT)];
        let answer = lease.client().execute_typed(&sql, &parameters);
        lease.during(Step::Write, Deadline::after(length), answer).await?;
        Ok(())
    }

    /// Merges the newest row of each key of a batch.
    fn merge_history(&self, view: &View, run: Run, batch: u32) -> String {
        let names = |prefix| {
            let keys = view.keys().iter().map(|key| key.name.as_str());
            let features = view.features().iter().map(|feature| feature.name.as_str());
            list(prefix, keys.chain(["event_ts"]).chain(features).chain(["written_at"]))
        };
        let mut taken = between(run.watermark, run.target);
        if run.batches > 1 {
            let keys = list("h.", view.keys().iter().map(|key| key.name.as_str()));
            let mask = run.batches - 1;
            taken.push_str(&format!(" AND (hash_record_extended(ROW({keys}), 0) & {mask}) = {batch}"));
        }
        let order = key_order(view);
        let newest = format!(
            "SELECT {} FROM (SELECT DISTINCT ON ({order}) {} FROM {} h WHERE {taken} \
             ORDER BY {order}, h.event_ts DESC, h.written_at DESC) n",
            names("n."),
            names("h."),
            self.qualified(&view.history_table())
        );
        format!(
            "WITH merged AS ({}) SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted), \
             0::bigint FROM merged",
            merge::upsert(self, view, &newest, "true")
        )
    }
}

impl Run {
    fn job(self) -> String {
        format!("materialize {}..{}", self.watermark, self.target)
    }
}

impl Materialized {
    fn add(&mut self, done: Upserted) {
        self.inserted += done.inserted;
        self.updated += done.updated;
        self.done += 1;
    }
}

fn between(watermark: i64, target: i64) -> String {
    format!("h.written_xid >= {watermark} AND h.written_xid < {target}")
}

/// The keys in the order of their bytes on the wire, which is the order in which writers take them: so a writer and a run never wait
/// for each other in a circle.
fn key_order(view: &View) -> String {
    let order = view.keys().iter().map(|key| {
        let name = format!("h.{}", identifier(&key.name));
        match key.ty {
            Type::I16 | Type::I32 | Type::I64 => format!("({name} < 0), {name}"),
            Type::Timestamp => format!("({name} < '2000-01-01 00:00:00+00'), {name}"),
            Type::Date => format!("({name} < '2000-01-01'), {name}"),
            Type::Text => format!("octet_length({name}), {name}"),
            _ => name,
        }
    });
    order.collect::<Vec<_>>().join(", ")
}
