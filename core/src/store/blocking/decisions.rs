//! Decisions written behind for threads without a runtime: any thread pushes, a thread of its own writes.
//!
//! The invariant is that of [`decisions::DecisionBuffer`]: the queue never grows, who pushes never waits, and every decision is
//! written, still queued, or counted as dropped. A child after `fork`, in which the writing thread is not, starts a queue and a thread
//! of its own at its first push; what was queued at the fork is the parent's to write.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::timeout;

use super::FeatureStore;
use crate::decisions::{self, BufferCounters, Decision, DecisionId};
use crate::serve::Score;
use crate::store::{Error, ErrorKind, Key, Step, View};

/// A queue of decisions before the log; see [`decisions::DecisionBuffer`]. Cheap to clone; when the last clone is dropped, what is
/// queued is still written, as long as the process lives. It has a connection of its own and does not end with the store.
#[derive(Clone)]
pub struct DecisionBuffer {
    inner: Arc<Inner>,
}

struct Inner {
    store: FeatureStore,
    capacity: usize,
    kept: RwLock<Kept>,
}

/// The queue that a thread of this process writes.
struct Kept {
    process: u32,
    buffer: decisions::DecisionBuffer,
}

impl FeatureStore {
    /// A queue of `capacity` decisions before the log, written behind by a thread.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn buffered_decisions(&self, capacity: usize) -> Result<DecisionBuffer, Error> {
        let kept = RwLock::new(Kept { process: std::process::id(), buffer: self.start(capacity)? });
        Ok(DecisionBuffer { inner: Arc::new(Inner { store: self.clone(), capacity, kept }) })
    }

    /// Starts a thread that writes what is queued, until nobody can push any more and all is written.
    fn start(&self, capacity: usize) -> Result<decisions::DecisionBuffer, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ErrorKind::Runtime)?;
        let (buffer, writing) = self.beside(1)?.decisions().queue(capacity);
        let thread = std::thread::Builder::new().name("cenote-decisions".to_owned());
        thread.spawn(move || runtime.block_on(writing)).map_err(ErrorKind::Runtime)?;
        Ok(buffer)
    }
}

impl DecisionBuffer {
    /// The queue of this process.
    fn buffer(&self) -> Result<decisions::DecisionBuffer, Error> {
        let Inner { store, capacity, kept } = &*self.inner;
        let process = std::process::id();
        let now = kept.read().unwrap_or_else(PoisonError::into_inner);
        if now.process == process {
            return Ok(now.buffer.clone());
        }
        drop(now);
        let mut kept = kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.process != process {
            let new = Kept { process, buffer: store.start(*capacity)? };
            // What the parent's thread has is left as it is.
            std::mem::forget(std::mem::replace(&mut *kept, new));
        }
        Ok(kept.buffer.clone())
    }

    /// Queues the decision that a score of `key` is, without waiting; `None` where the queue is full, which is counted.
    ///
    /// # Errors
    /// As [`Decision::new`]; in a child after a fork if there can be no thread.
    pub fn record(
        &self,
        view: &View,
        key: impl Into<Key>,
        score: &Score,
    ) -> Result<Option<DecisionId>, Error> {
        let decision = Decision::new(view, &key.into(), score)?;
        let id = decision.id;
        Ok(self.buffer()?.push(decision).then_some(id))
    }

    /// Waits until all that was queued before is committed, at most `limit`.
    ///
    /// # Errors
    /// `Deadline` if it was not; what is queued is still tried. `InsideRuntime` on a thread that runs an async runtime.
    pub fn flush(&self, limit: Duration) -> Result<(), Error> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(ErrorKind::InsideRuntime.into());
        }
        let buffer = self.buffer()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let flushed = runtime
            .map_err(ErrorKind::Runtime)?
            .block_on(async { timeout(limit, buffer.flush()).await.is_ok() });
        let late = ErrorKind::Deadline { step: Step::Decisions, after: limit };
        if flushed { Ok(()) } else { Err(late.into()) }
    }

    /// What became of the decisions that were pushed in this process.
    ///
    /// # Errors
    /// In a child after a fork if there can be no thread.
    pub fn counters(&self) -> Result<BufferCounters, Error> {
        Ok(self.buffer()?.counters())
    }
}
