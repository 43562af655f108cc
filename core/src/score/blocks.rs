//! A batch in blocks of rows, over the caller's rayon pool.
//!
//! In flow a batch, empty output columns, and the work to do on a block; out flow the filled columns. Blocks are
//! independent, so that the number of threads changes no bit. A small batch stays on the caller's thread.

use std::ops::Range;

use rayon::prelude::*;

use super::Refusal;
use crate::compile::Block;
use crate::error::Error;
use crate::input::Batch;
use crate::input::columns::{BoundBatch, Findings, Scratch};
use crate::input::encoder::Encoder;
use crate::model::PredictOptions;
use crate::predictions::{OutputColumn, OutputValues, Predictions, RowError};

/// The rows of one block in an output column.
pub(crate) enum Slice<'o> {
    Number(&'o mut [f64]),
    Code(&'o mut [u32]),
    Integer(&'o mut [i32]),
}

/// A block is not worth a thread of its own below this many rows.
pub(crate) const FEWEST_ROWS: usize = 256;
/// The features of a block should stay within a core's cache.
const MOST_FEATURE_BYTES: usize = 1 << 21;

/// How the rows of a batch are cut.
pub(crate) struct Cut {
    /// How many rows the work likes in a block.
    pub(crate) preferred: usize,
    /// How many features a row has.
    pub(crate) features: usize,
}

impl Cut {
    fn rows(&self, batch: usize) -> usize {
        if batch <= FEWEST_ROWS {
            return batch.max(1);
        }
        let cached = MOST_FEATURE_BYTES / (8 * self.features.max(1));
        let shared = batch.div_ceil(rayon::current_num_threads());
        self.preferred.min(cached).min(shared).max(FEWEST_ROWS)
    }
}

/// What is done with the features and offsets of a block: the columns are filled, the rows on which H2O throws named.
pub(crate) trait Work:
    Fn(&Block<'_>, Option<&[f64]>, &mut [Slice<'_>], &mut dyn FnMut(usize, Refusal)) + Sync
{
}

impl<F> Work for F where
    F: Fn(&Block<'_>, Option<&[f64]>, &mut [Slice<'_>], &mut dyn FnMut(usize, Refusal)) + Sync
{
}

/// Fills `columns` block by block.
pub(crate) fn run(
    encoder: &Encoder,
    batch: &Batch<'_>,
    options: &PredictOptions,
    cut: &Cut,
    mut columns: Vec<OutputColumn>,
    work: impl Work,
) -> Result<Predictions, Error> {
    let bound = BoundBatch::new(encoder, batch, options)?;
    let rows = batch.rows();
    let block_rows = cut.rows(rows);
    let one = |scratch: &mut Scratch, (range, mut out): (Range<usize>, Vec<Slice<'_>>)| {
        let mut findings = Findings::default();
        let mut refused = Vec::new();
        let (start, rows) = (range.start, range.len());
        bound.with_block(range, scratch, &mut findings, |columns, offset| {
            work(&Block { columns, rows }, offset, &mut out, &mut |row, refusal: Refusal| {
                let Refusal { class, message } = refusal;
                refused.push(RowError { row: start + row, class, message });
            });
        });
        // What conversion refused comes first: the sort is stable, and a row keeps its first error.
        findings.refused.append(&mut refused);
        findings
    };
    let tasks = split(&mut columns, rows, block_rows);
    let findings = if tasks.len() <= 1 {
        let mut scratch = Scratch::default();
        tasks.into_iter().map(|task| one(&mut scratch, task)).collect::<Vec<_>>()
    } else {
        tasks.into_par_iter().map_init(Scratch::default, one).collect()
    };
    let mut all = Findings::default();
    findings.into_iter().for_each(|findings| all.merge(findings));
    let errors = all.into_result(encoder)?;
    for error in &errors {
        columns.iter_mut().for_each(|column| column.values.blank(error.row));
    }
    Ok(Predictions { rows, columns, errors })
}

/// The blocks of rows, each with its part of every column.
fn split(
    columns: &mut [OutputColumn],
    rows: usize,
    block_rows: usize,
) -> Vec<(Range<usize>, Vec<Slice<'_>>)> {
    let mut tasks: Vec<(Range<usize>, Vec<Slice<'_>>)> = (0..rows)
        .step_by(block_rows)
        .map(|start| (start..rows.min(start + block_rows), Vec::with_capacity(columns.len())))
        .collect();
    for column in columns {
        let mut tasks = tasks.iter_mut();
        let mut give = |slice| {
            if let Some((_, slices)) = tasks.next() {
                slices.push(slice);
            }
        };
        match &mut column.values {
            OutputValues::Number(values) => {
                values.chunks_mut(block_rows).map(Slice::Number).for_each(&mut give);
            }
            OutputValues::Label { codes, .. } => {
                codes.chunks_mut(block_rows).map(Slice::Code).for_each(&mut give);
            }
            OutputValues::Integer(values) => {
                values.chunks_mut(block_rows).map(Slice::Integer).for_each(&mut give);
            }
        }
    }
    tasks
}
