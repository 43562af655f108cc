//! The work of opening a model, shared by a few threads. Not for others than `cenote`, which goes on where this crate ends.
//!
//! They live for one call: a pool would not survive `fork()`, after which a child may well open a model. As many as rayon
//! would make, so that `RAYON_NUM_THREADS` says it of both.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The most threads that share work; a model is opened beside others that score.
const MOST: usize = 8;

/// How many threads share work.
fn threads() -> usize {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|asked| asked.parse().ok());
    match asked {
        Some(asked @ 1..) => asked,
        _ => thread::available_parallelism().map_or(1, usize::from),
    }
    .min(MOST)
}

/// What `work` makes of each item, in order. Each thread makes one state for all of its items, and takes the next when it is done
/// with one.
pub fn share<T: Send, S, R: Send>(
    items: Vec<T>,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) -> R + Sync,
) -> Vec<R> {
    let others = threads().min(items.len()).saturating_sub(1);
    if others == 0 {
        let mut state = state();
        return items.into_iter().map(|item| work(&mut state, item)).collect();
    }
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        let mut state = state();
        std::iter::from_fn(next).map(|(at, item)| (at, work(&mut state, item))).collect::<Vec<(usize, R)>>()
    };
    let mut results = thread::scope(|scope| {
        // A machine that has no more threads leaves the work to those that there are.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, run).ok();
        let others: Vec<_> = (0..others).filter_map(spawn).collect();
        let mut results = run();
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// `n` items in runs, a few for each thread: so many that none waits long for another.
pub fn runs(n: usize) -> Vec<Range<usize>> {
    let runs = match threads() {
        1 => 1,
        threads => 4 * threads,
    };
    let length = n.div_ceil(runs).max(1);
    (0..n).step_by(length).map(|first| first..n.min(first + length)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for n in [0, 1, 2, 7, 1000] {
            let items: Vec<usize> = (0..n).collect();
            let numbered = share(
                items,
                || 0,
                |seen, item: usize| {
                    *seen += 1;
                    (item, *seen)
                },
            );
            assert!(numbered.iter().map(|(item, _)| *item).eq(0..n));
            assert!(numbered.iter().all(|(item, seen)| *seen <= item + 1));
        }
    }
    #[test]
    fn runs_cover_all_items_in_order() {
        for n in [0, 1, 2, 7, 1000] {
            let runs = runs(n);
            assert!(runs.iter().cloned().flatten().eq(0..n));
            assert!(runs.iter().all(|run| !run.is_empty()) && runs.len() <= 4 * MOST);
        }
    }
}
