//! What keeps callers from a server that is not there, and from piling up before one that is slow.
//!
//! In flow the outcomes of attempts to connect; out flows leave to try, or a typed refusal at once. The invariant: while the
//! circuit is open one caller at a time probes the server, after a pause; all others are told when to come again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::{Error, ErrorKind};

/// After so many failures to connect, one after another, the circuit opens.
const FAILURES: u32 = 5;
/// How long it is open before the server is probed: doubled at each failure, at most the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// The circuit to one server.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Whether [`state`](Self::state) need be looked at.
    troubled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// When the circuit is open: until when nobody tries.
    closed_to: Option<Instant>,
}

impl Breaker {
    /// Leave to connect.
    pub(super) fn admit(&self) -> Result<(), Error> {
        if !self.is_troubled() {
            return Ok(());
        }
        let mut state = self.state();
        let Some(until) = state.closed_to else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Err(ErrorKind::CircuitOpen { retry_in: left }.into());
        }
        // This caller probes; the others wait for another pause, or for its success.
        state.closed_to = Some(Instant::now() + PAUSE.0);
        Ok(())
    }

    /// Whether connecting failed of late, so that leave need be asked.
    pub(super) fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Acquire)
    }

    pub(super) fn succeeded(&self) {
        if self.is_troubled() {
            *self.state() = State::default();
            self.troubled.store(false, Ordering::Release);
        }
    }

    pub(super) fn failed(&self) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            let pause = PAUSE.0.saturating_mul(1 << (state.failures - FAILURES).min(16)).min(PAUSE.1);
            state.closed_to = Some(Instant::now() + pause);
            metrics::counter!("cenote_circuit_opened_total").increment(1);
            tracing::warn!(
                failures = state.failures,
                "the server cannot be reached; it is left alone for a while"
            );
        }
        self.troubled.store(true, Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many calls are under way, and how many there may be.
#[derive(Debug)]
pub(super) struct InFlight {
    count: AtomicUsize,
    limit: usize,
}

/// The place of one call.
#[derive(Debug)]
pub(super) struct Place<'f>(&'f InFlight);

impl InFlight {
    pub(super) fn new(limit: usize) -> Self {
        Self { count: AtomicUsize::new(0), limit }
    }

    pub(super) fn enter(&self) -> Result<Place<'_>, Error> {
        // Counted first: the place gives itself up where there was none.
        let place = Place(self);
        if self.count.fetch_add(1, Ordering::AcqRel) < self.limit {
            return Ok(place);
        }
        drop(place);
        Err(ErrorKind::Overloaded { limit: self.limit }.into())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_caller_probes_an_open_circuit() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            breaker.admit().unwrap();
            breaker.failed();
        }
        assert!(matches!(breaker.admit().unwrap_err().kind(), ErrorKind::CircuitOpen { .. }));
        tokio::time::advance(PAUSE.0).await;
        breaker.admit().unwrap();
        breaker.admit().unwrap_err();
        breaker.failed();
        tokio::time::advance(PAUSE.0).await;
        breaker.admit().unwrap_err();
        tokio::time::advance(PAUSE.0).await;
        breaker.admit().unwrap();
        breaker.succeeded();
        breaker.admit().unwrap();
        breaker.admit().unwrap();
    }

    #[test]
    fn places_are_counted() {
        let calls = InFlight::new(2);
        let first = calls.enter().unwrap();
        let _second = calls.enter().unwrap();
        assert!(matches!(calls.enter().unwrap_err().kind(), ErrorKind::Overloaded { limit: 2 }));
        drop(first);
        let _third = calls.enter().unwrap();
        assert!(calls.enter().is_err());
    }
}
