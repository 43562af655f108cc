//! How long calls take and how they end, for whatever collector the program installs: `tracing` spans, `metrics` histograms and
//! counters. Without one both cost a few nanoseconds. The names are in `docs/store.md`; no label holds a key, a value or an address.

use std::future::Future;
use std::time::Instant;

use tracing::Instrument as _;

use super::error::{Error, ErrorKind};

/// What is timed, as the label `step` says it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timed {
    /// Getting a connection: waiting in the pool, and connecting where need be.
    Connection,
    /// A read by key, all of its tries.
    Read,
    /// A write, from its first row to the commit.
    Write,
    /// A point-in-time join.
    Join,
    /// The score of one key: read, decode and score.
    Score,
}

impl Timed {
    fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Read => "read",
            Self::Write => "write",
            Self::Join => "join",
            Self::Score => "score",
        }
    }

    fn span(self) -> tracing::Span {
        match self {
            Self::Connection => tracing::trace_span!("cenote.connection"),
            Self::Read => tracing::debug_span!("cenote.read"),
            Self::Write => tracing::debug_span!("cenote.write"),
            Self::Join => tracing::debug_span!("cenote.join"),
            Self::Score => tracing::debug_span!("cenote.score"),
        }
    }
}

/// A call under way; how it ends is noted when this goes, also where its future is dropped.
struct Call {
    what: Timed,
    since: Instant,
    outcome: &'static str,
}

impl Drop for Call {
    fn drop(&mut self) {
        let seconds = self.since.elapsed().as_secs_f64();
        // A histogram whose labels are literals is named once; the others' names are made at each call.
        macro_rules! ok {
            ($($what:ident $step:literal),+) => {
                match (self.what, self.outcome) {
                    $((Timed::$what, "ok") => {
                        metrics::histogram!("cenote_store_seconds", "step" => $step, "outcome" => "ok").record(seconds);
                    })+
                    (what, outcome) => {
                        let step = what.name();
                        metrics::histogram!("cenote_store_seconds", "step" => step, "outcome" => outcome).record(seconds);
                    }
                }
            };
        }
        ok!(Connection "connection", Read "read", Write "write", Join "join", Score "score");
    }
}

/// Runs a call within its span, and notes how long it took and how it ended: `ok`, what kind of error, or `abandoned`.
pub(crate) async fn timed<T>(what: Timed, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timed_since(what, Instant::now(), call).await
}

/// As [`timed`], of a call whose beginning is known.
pub(crate) async fn timed_since<T>(
    what: Timed,
    since: Instant,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut noted = Call { what, since, outcome: "abandoned" };
    let outcome = call.instrument(what.span()).await;
    noted.outcome = match &outcome {
        Ok(_) => "ok",
        Err(error) => kind(error),
    };
    outcome
}

/// As [`timed_since`], of what awaits nothing; where it gives nothing, nothing is noted.
pub(crate) fn timed_at_once<T>(what: Timed, since: Instant, call: impl FnOnce() -> Option<T>) -> Option<T> {
    let given = what.span().in_scope(call)?;
    drop(Call { what, since, outcome: "ok" });
    Some(given)
}

/// Counts keys that were scored, by what the store knew of them.
pub(crate) fn scored(status: super::Status, keys: u64) {
    let counter = match status {
        super::Status::Fresh => metrics::counter!("cenote_scored_keys_total", "status" => "fresh"),
        super::Status::Stale { .. } => metrics::counter!("cenote_scored_keys_total", "status" => "stale"),
        super::Status::Missing => metrics::counter!("cenote_scored_keys_total", "status" => "missing"),
    };
    counter.increment(keys);
}

fn kind(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Deadline { .. } => "deadline",
        ErrorKind::Overloaded { .. } => "overloaded",
        ErrorKind::CircuitOpen { .. } => "circuit_open",
        ErrorKind::Connection { .. } => "connection",
        ErrorKind::Database { .. } => "refused",
        ErrorKind::SchemaDrift { .. } => "drift",
        _ => "other",
    }
}
