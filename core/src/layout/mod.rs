//! Packed arrays that kernels read. Their invariants are checked here, once, when they are made.

mod byte_table;
mod exact;
mod lines;
mod masks;
mod ranks;
mod rows;
mod subtrees;
mod waves;

pub(crate) use byte_table::{ByteColumns, ByteTable, Runs};
pub(crate) use exact::{DIGIT, DigitTables, MAX_DIGITS, SumRange};
pub(crate) use lines::{GROUP, Line, Sums, TILE, TILES};
pub(crate) use masks::{
    Ask, BitRows, ColumnLines, Heap, LeafTables, LineTest, MAX_BYTE, MAX_DEPTH, MAX_LINES, MaskForest,
    MaskTree, mask_forest,
};
pub(crate) use ranks::{RankTable, RowRanks, floor32};
pub(crate) use rows::{Deposit, MAX_ROW_COLUMNS, MAX_ROW_PLANES, RowForest};
pub(crate) use subtrees::{
    CODES, CodeLine, Exits, MISSING, NARROW, SLOTS, SUBTREE_LEVELS, Step, Subtree, SubtreeForest,
    SubtreeForestBuilder, TreeSize, WIDE_LEFT,
};
pub(crate) use waves::{Step as WaveStep, WAVE, WaveForest, WaveForestBuilder, WaveNode};
