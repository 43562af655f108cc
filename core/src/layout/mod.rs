//! Packed arrays that kernels read. Their invariants are checked here, once, when they are made.

mod lines;
mod masks;
mod ranks;
mod rows;
mod subtrees;

pub(crate) use lines::{GROUP, Line, Sums, TILE, TILES};
pub(crate) use masks::{BitRows, MAX_DEPTH, MaskForest, MaskForestBuilder, MaskTree, PLANES};
pub(crate) use ranks::RankTable;
pub(crate) use rows::{MAX_ROW_COLUMNS, RowForest};
pub(crate) use subtrees::{
    Exits, MISSING, NARROW, SLOTS, Step, Subtree, SubtreeForest, SubtreeForestBuilder, WIDE_LEFT,
};
