//! The work of opening a model, shared by a few threads. Not for others than `cenote`, which goes on where this crate ends.
//!
//! They live for one call: a pool would not survive `fork()`, after which a child may well open a model. As many as rayon
//! would make, so that `RAYON_NUM_THREADS` says it of both.

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

/// What `work` makes of each item, in order. Each thread makes one state for all of its items.
pub fn share<T: Sync, S, R: Send>(
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let run = |items: &[T]| {
        let mut state = state();
        items.iter().map(|item| work(&mut state, item)).collect::<Vec<R>>()
    };
    let threads = threads();
    let mut parts = items.chunks(items.len().div_ceil(threads).max(1));
    let Some(first) = parts.next() else { return Vec::new() };
    thread::scope(|scope| {
        let others: Vec<_> =
            parts.map(|part| (part, thread::Builder::new().spawn_scoped(scope, || run(part)))).collect();
        let mut results = run(first);
        for (part, other) in others {
            // A machine that has no more threads lets this one do the work.
            results.extend(match other {
                Ok(other) => other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => run(part),
            });
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for n in [0, 1, 2, 7, 1000] {
            let items: Vec<usize> = (0..n).collect();
            let numbered = share(
                &items,
                || 0,
                |seen, item| {
                    *seen += 1;
                    (*item, *seen)
                },
            );
            assert!(numbered.iter().map(|(item, _)| *item).eq(0..n));
            assert!(numbered.iter().all(|(item, seen)| *seen <= item + 1));
        }
    }
}
