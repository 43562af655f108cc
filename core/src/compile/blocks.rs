//! Trees in blocks that share byte columns, and the bytes of a group of rows for a block.
//!
//! Codes become bytes by one table a column, and bytes lines of bits; answers to sets of more than 64 codes become planes,
//! which are lines too. Which trees share a block is planned in `plan`.

use std::ops::Range;

use crate::kernels::{Isa, RowData};
use crate::layout::{BitRows, ByteColumns, GROUP, Line, MaskForest, RowForest, TILES};

/// Trees that share byte columns.
#[derive(Debug)]
pub(super) struct TreeBlock {
    /// The columns, and what their bytes are made of.
    pub(super) columns: ByteColumns,
    /// The sets too large for a register: source, first plane, answers.
    pub(super) sets: Vec<(u16, usize, BitRows)>,
    /// The trees.
    pub(super) forest: MaskForest,
    /// Runs of trees of one class.
    pub(super) classes: Vec<(usize, Range<usize>)>,
    /// The trees for one row, if that is possible.
    pub(super) rows: Option<RowForest>,
}

/// The lines of a run of groups, for one block after another.
#[derive(Debug)]
pub(super) struct GroupData {
    lines: Vec<Line>,
}

impl GroupData {
    /// Room for `groups` groups and any of `blocks`.
    pub(super) fn new<'a>(blocks: impl Iterator<Item = &'a TreeBlock>, groups: usize) -> Self {
        let lines = blocks.map(|block| block.forest.lines()).max().unwrap_or(0);
        Self { lines: vec![Line::ZERO; groups * lines] }
    }

    /// Makes them for rows `from..from + rows` from the codes of each source, `stride` apart.
    pub(super) fn fill(
        &mut self,
        block: &TreeBlock,
        isa: Isa,
        codes: &[u16],
        stride: usize,
        from: usize,
        rows: usize,
    ) {
        let mut bytes = [Line::ZERO; TILES];
        let mut groups: Vec<(usize, &mut [Line])> =
            (0..rows).step_by(GROUP).zip(self.lines.chunks_exact_mut(block.forest.lines())).collect();
        let codes = |source: u16, group: usize| {
            &codes[usize::from(source) * stride + from + group..][..GROUP.min(rows - group)]
        };
        groups.iter_mut().for_each(|(_, lines)| block.forest.constant_lines(lines));
        // Column by column, so that its table stays in the first cache.
        for ((source, table), made) in block.columns.list().iter().zip(block.forest.columns()) {
            for (group, lines) in &mut groups {
                let codes = codes(*source, *group);
                isa.look_up(codes, table, &mut bytes);
                isa.column_lines(made, &bytes, codes.len(), &mut lines[made.lines()]);
            }
        }
        for (group, lines) in groups {
            let planes = &mut lines[block.forest.planes()];
            for (source, first, answers) in &block.sets {
                let planes = &mut planes[*first..][..answers.tests()];
                isa.bit_planes(answers, codes(*source, group), planes);
            }
        }
    }

    /// Those of one group.
    pub(super) fn group(&self, block: &TreeBlock, group: usize) -> &[Line] {
        &self.lines[group * block.forest.lines()..][..block.forest.lines()]
    }
}

impl TreeBlock {
    /// The bytes and answers of one row, from the code of each source.
    #[inline]
    pub(super) fn row(&self, isa: Isa, rows: &RowForest, codes: &[u16], row: &mut RowData) {
        isa.row_bytes(&self.columns, codes, row);
        row.clear(rows.planes());
        for (source, first, answers) in &self.sets {
            row.answer(*first, answers, usize::from(codes[usize::from(*source)]));
        }
        for (column, first, answers) in rows.sets() {
            row.answer(*first, answers, usize::from(row.bytes[usize::from(*column)]));
        }
    }
}
