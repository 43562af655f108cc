//! Reads by replicas that are not too far behind the primary.
//!
//! In flow reads; out flows the pool that answers them. The invariant: a replica answers only while it is known to have replayed
//! all that the primary had written `max_lag` ago. That is known by positions, not by clocks: the primary is asked how far its log
//! goes, the replica how far it has replayed, twice in each `max_lag`, by the caller that finds it due. A replica that fails or
//! falls behind is left alone, and the primary answers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::{Error, Step};
use super::pool::{Deadline, Pool};

/// How many of the primary's positions are remembered.
const POSITIONS: usize = 64;
/// How long a replica that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// The replicas of a store.
pub(super) struct Replicas {
    all: Vec<Replica>,
    max_lag: Duration,
    /// How far the primary's log went, and when it was asked.
    positions: Mutex<VecDeque<(u64, Instant)>>,
    next: AtomicUsize,
}

struct Replica {
    pool: Pool,
    known: Mutex<Known>,
    checking: AtomicBool,
    reads: AtomicU64,
}

/// What is known of a replica.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Until when it may answer.
    fresh_until: Option<Instant>,
    /// When it may be asked again, after a failure.
    again_at: Option<Instant>,
}

/// How a replica fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaState {
    /// Whether it may answer now.
    pub fresh: bool,
    /// Reads that it has answered.
    pub reads: u64,
}

/// Gives up the check that it stands for, also where its future is dropped.
struct Check<'r>(&'r AtomicBool);

impl Drop for Check<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Replicas {
    pub(super) fn new(pools: Vec<Pool>, max_lag: Duration) -> Self {
        let replica = |pool| Replica {
            pool,
            known: Mutex::default(),
            checking: AtomicBool::new(false),
            reads: AtomicU64::new(0),
        };
        let all = pools.into_iter().map(replica).collect();
        Self { all, max_lag, positions: Mutex::default(), next: AtomicUsize::new(0) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.all.iter().map(|replica| &replica.pool)
    }

    pub(super) fn states(&self) -> Vec<ReplicaState> {
        let now = Instant::now();
        let state = |replica: &Replica| ReplicaState {
            fresh: replica.known().fresh_until.is_some_and(|until| until > now),
            reads: replica.reads.load(Ordering::Relaxed),
        };
        self.all.iter().map(state).collect()
    }

    /// Reads by a replica that may answer, in turn; `None` where none may, or it failed: the primary is to answer then.
    ///
    /// Dropping the future leaves nothing behind.
    pub(super) async fn read<T>(
        &self,
        primary: &Pool,
        read: impl AsyncFnOnce(&Pool) -> Result<T, Error>,
    ) -> Option<T> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for place in 0..self.all.len() {
            let replica = &self.all[first.wrapping_add(place) % self.all.len()];
            if !self.may(replica, primary).await {
                continue;
            }
            return match read(&replica.pool).await {
                Ok(answer) => {
                    replica.reads.fetch_add(1, Ordering::Relaxed);
                    metrics::counter!("cenote_replica_reads_total").increment(1);
                    Some(answer)
                }
                // Whatever it is: a conflict with what is replayed, a table that is not there yet, a server that is gone.
                Err(error) => {
                    replica.failed(&error);
                    None
                }
            };
        }
        None
    }

    /// Whether a replica may answer; asks it and the primary where that is due and nobody else does.
    async fn may(&self, replica: &Replica, primary: &Pool) -> bool {
        let now = Instant::now();
        let Known { fresh_until, again_at } = *replica.known();
        if fresh_until.is_some_and(|until| until > now + self.max_lag / 2) {
            return true;
        }
        let due = again_at.is_none_or(|at| at <= now);
        if due && !replica.checking.swap(true, Ordering::AcqRel) {
            let _check = Check(&replica.checking);
            match self.check(replica, primary).await {
                Ok(fresh_until) => *replica.known() = Known { fresh_until, again_at: None },
                Err(error) => replica.failed(&error),
            }
        }
        replica.known().fresh_until.is_some_and(|until| until > Instant::now())
    }

    /// Until when a replica may answer, by how far it has come.
    async fn check(&self, replica: &Replica, primary: &Pool) -> Result<Option<Instant>, Error> {
        let asked = Instant::now();
        if let Some(position) = position(primary, "pg_current_wal_lsn()").await? {
            let mut positions = self.positions();
            positions.push_back((position, asked));
            while positions.len() > POSITIONS {
                positions.pop_front();
            }
        }
        // One that is no replica any more has a log of its own.
        let replayed = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END";
        let Some(replayed) = position(&replica.pool, replayed).await? else { return Ok(None) };
        let positions = self.positions();
        let has = positions.iter().rev().find(|(position, _)| *position <= replayed);
        Ok(has.map(|(_, asked)| *asked + self.max_lag))
    }

    fn positions(&self) -> MutexGuard<'_, VecDeque<(u64, Instant)>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replica {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: &Error) {
        *self.known() = Known { fresh_until: None, again_at: Some(Instant::now() + PAUSE) };
        metrics::counter!("cenote_replica_failures_total").increment(1);
        tracing::debug!(%error, "a replica is left alone for a while");
    }
}

/// A position in a server's log, in bytes since its beginning; `None` where it is NULL.
async fn position(pool: &Pool, what: &str) -> Result<Option<u64>, Error> {
    let deadline = Deadline::after(pool.deadlines().read);
    let lease = pool.lease(deadline).await?;
    let sql = format!("SELECT ({what} - '0/0'::pg_lsn)::int8");
    let rows = lease.during(Step::Read, deadline, lease.client().query_typed(&sql, &[])).await?;
    let bytes = rows.first().map(|row| row.try_get::<_, Option<i64>>(0)).transpose();
    let bytes = bytes.map_err(|error| Error::database(Step::Read, error))?;
    Ok(bytes.flatten().map(i64::unsigned_abs))
}
