//! Decisions written behind: the caller never waits, and what cannot be kept is counted.
//!
//! In flow decisions, into a queue of fixed length; out they go in batches. The invariant: the queue never grows, a caller never
//! waits, and every decision pushed is written, still queued, or counted as dropped. A batch that cannot be written is tried again
//! until it can; meanwhile the queue fills, and then new decisions are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::{Decision, DecisionLog};
use crate::store::Error;

/// How many decisions one statement writes at most.
const BATCH: usize = 256;
/// How long to wait before a batch is tried again: doubled at each failure, at most the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

enum Item {
    Decision(Box<Decision>),
    /// Tells when all that came before has been written.
    Flush(oneshot::Sender<()>),
}

/// A queue of decisions before the log. Cheap to clone; when the last clone is dropped, what is queued is still written.
#[derive(Debug, Clone)]
pub struct DecisionBuffer {
    queue: mpsc::Sender<Item>,
    counters: Arc<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    pushed: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
}

/// What became of the decisions that were pushed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferCounters {
    /// Decisions that were pushed.
    pub pushed: u64,
    /// Those that are committed.
    pub written: u64,
    /// Those that found no place in the queue.
    pub dropped: u64,
    /// How often a batch could not be written and went again.
    pub failures: u64,
}

impl DecisionLog {
    /// A queue of `capacity` decisions before this log, written behind by a task.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn buffered(&self, capacity: usize) -> DecisionBuffer {
        let (buffer, writing) = self.queue(capacity);
        tokio::spawn(writing);
        buffer
    }

    /// A queue of `capacity` decisions before this log, and what writes them until nobody can push any more and all is written.
    pub(crate) fn queue(
        &self,
        capacity: usize,
    ) -> (DecisionBuffer, impl Future<Output = ()> + Send + 'static) {
        let (queue, items) = mpsc::channel(capacity.max(1));
        let counters = Arc::new(Tally::default());
        let writing = write(self.clone(), items, Arc::clone(&counters));
        (DecisionBuffer { queue, counters }, writing)
    }
}

impl DecisionBuffer {
    /// Queues a decision, or drops and counts it where the queue is full; never waits. Whether it was queued.
    pub fn push(&self, decision: Decision) -> bool {
        self.counters.pushed.fetch_add(1, Ordering::Relaxed);
        let queued = self.queue.try_send(Item::Decision(Box::new(decision))).is_ok();
        if !queued {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("cenote_decisions_dropped_total").increment(1);
        }
        queued
    }

    /// Waits until all that was queued before is committed.
    ///
    /// Dropping the future is safe.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Item::Flush(done)).await.is_ok() {
            // The runtime is shutting down if nobody answers.
            let _ = wait.await;
        }
    }

    /// What became of the decisions that were pushed.
    pub fn counters(&self) -> BufferCounters {
        let Tally { pushed, written, dropped, failures } = &*self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BufferCounters {
            pushed: read(pushed),
            written: read(written),
            dropped: read(dropped),
            failures: read(failures),
        }
    }
}

/// Writes what comes, in batches, until nobody can push any more and all is written.
async fn write(log: DecisionLog, mut items: mpsc::Receiver<Item>, counters: Arc<Tally>) {
    let (mut some, mut batch, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
    while items.recv_many(&mut some, BATCH).await > 0 {
        for item in some.drain(..) {
            match item {
                Item::Decision(decision) => batch.push(*decision),
                Item::Flush(done) => flushes.push(done),
            }
        }
        let mut pause = PAUSE.0;
        while let Err(error) = log.write(&batch).await {
            counters.failures.fetch_add(1, Ordering::Relaxed);
            note(&error);
            if matches!(error.kind(), crate::store::ErrorKind::Closed) {
                counters.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        counters.written.fetch_add(batch.len() as u64, Ordering::Relaxed);
        metrics::counter!("cenote_decisions_written_total").increment(batch.len() as u64);
        batch.clear();
        for done in flushes.drain(..) {
            // Whoever asked may have gone.
            let _ = oneshot::Sender::send(done, ());
        }
    }
}

fn note(error: &Error) {
    tracing::warn!(%error, "decisions cannot be written; they are tried again");
}
