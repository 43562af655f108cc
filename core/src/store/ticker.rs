//! A timer that is always set while calls come, so that setting a call's own deadline is cheap.
//!
//! A runtime that gets a timer earlier than all that it has must be woken, to sleep shorter: a write to a pipe and a turn for
//! nothing, at every call. Where a tick stands before them all, a deadline is an entry in a list. It took a read of one key from
//! 1.25 to between 1.14 and 1.18 times the driver's own. The ticks end when no call has come for a second; nothing depends on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(100);
/// After so many ticks without a call they end.
const IDLE_TICKS: usize = 10;

/// Ticks of one pool.
#[derive(Debug, Default)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    calls: AtomicU64,
    ticking: AtomicBool,
}

/// Says when the ticks have ended, also if their runtime is gone.
struct Ticking(Arc<Shared>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.ticking.store(false, Ordering::Release);
    }
}

impl Ticker {
    /// Notes a call, on the runtime that it runs on.
    pub(super) fn call(&self) {
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        if self.shared.ticking.load(Ordering::Relaxed) || self.shared.ticking.swap(true, Ordering::AcqRel) {
            return;
        }
        let ticking = Ticking(Arc::clone(&self.shared));
        tokio::spawn(async move {
            let (mut last, mut idle) = (0, 0);
            while idle < IDLE_TICKS {
                tokio::time::sleep(TICK).await;
                let calls = ticking.0.calls.load(Ordering::Relaxed);
                idle = if calls == last { idle + 1 } else { 0 };
                last = calls;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ticks_end_when_no_call_comes_and_begin_again() {
        let ticker = Ticker::default();
        for _ in 0..2 {
            ticker.call();
            tokio::time::sleep(TICK * (IDLE_TICKS as u32 - 1)).await;
            ticker.call();
            tokio::time::sleep(TICK * (IDLE_TICKS as u32 - 1)).await;
            assert!(ticker.shared.ticking.load(Ordering::Relaxed), "calls keep it alive");
            tokio::time::sleep(TICK * 5).await;
            assert!(!ticker.shared.ticking.load(Ordering::Relaxed), "without calls it ends");
        }
    }

    #[test]
    fn a_runtime_that_ends_takes_its_ticks_along() {
        let ticker = Ticker::default();
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { ticker.call() });
            drop(runtime);
            assert!(!ticker.shared.ticking.load(Ordering::Relaxed));
        }
    }
}
