//! What a plan has seen of its inputs: missing keys and stale ones, missing values and unseen levels, counted where they pass
//! by, at no further query.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use cenote_mojo::Column;

use crate::input::Cell;
use crate::store::Status;

/// What has passed through a plan since it was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Keys that were asked for.
    pub keys: u64,
    /// Keys without a row.
    pub missing: u64,
    /// Keys whose row was older than the view's ttl.
    pub stale: u64,
    /// The model's inputs, in its order.
    pub inputs: Vec<InputCounters>,
}

/// What has passed through one input of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputCounters {
    /// The input.
    pub name: String,
    /// Cells without a value, those of missing and stale keys among them.
    pub absent: u64,
    /// Cells with a level that the model has not seen in training; 0 for numbers.
    pub unseen: u64,
}

/// The counters of a plan at work.
pub(super) struct Tally {
    keys: AtomicU64,
    missing: AtomicU64,
    stale: AtomicU64,
    inputs: Vec<Input>,
}

struct Input {
    name: String,
    /// Every text that is a level, for a category.
    levels: Option<HashSet<Box<str>>>,
    absent: AtomicU64,
    unseen: AtomicU64,
}

impl Tally {
    pub(super) fn new<'c>(columns: impl Iterator<Item = &'c Column>) -> Self {
        let inputs = columns.map(|column| Input {
            name: column.name.clone(),
            levels: column.domain.as_ref().map(|domain| {
                // H2O writes a level also with its column's name before it.
                let short = |level: &str| Some(level.strip_prefix(&column.name)?.strip_prefix('.')?.into());
                let levels = domain.iter().map(|level| level.as_str().into());
                levels.chain(domain.iter().filter_map(|level| short(level))).collect()
            }),
            absent: AtomicU64::new(0),
            unseen: AtomicU64::new(0),
        });
        Self {
            keys: AtomicU64::new(0),
            missing: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            inputs: inputs.collect(),
        }
    }

    /// Counts a key.
    pub(super) fn key(&self, status: Status) {
        self.keys.fetch_add(1, Ordering::Relaxed);
        match status {
            Status::Missing => self.missing.fetch_add(1, Ordering::Relaxed),
            Status::Stale { .. } => self.stale.fetch_add(1, Ordering::Relaxed),
            Status::Fresh => 0,
        };
    }

    /// Counts a cell of input `index`.
    pub(super) fn cell(&self, index: usize, cell: Cell<'_>) {
        let input = &self.inputs[index];
        let unseen = match (&input.levels, cell) {
            (_, Cell::Missing) => {
                input.absent.fetch_add(1, Ordering::Relaxed);
                return;
            }
            (Some(levels), Cell::Text(text)) => !levels.contains(text),
            (Some(levels), Cell::Integer(value)) => !levels.contains(value.to_string().as_str()),
            _ => false,
        };
        if unseen {
            input.unseen.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What has been counted until now.
    pub(super) fn read(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let input = |input: &Input| InputCounters {
            name: input.name.clone(),
            absent: read(&input.absent),
            unseen: read(&input.unseen),
        };
        Counters {
            keys: read(&self.keys),
            missing: read(&self.missing),
            stale: read(&self.stale),
            inputs: self.inputs.iter().map(input).collect(),
        }
    }
}
