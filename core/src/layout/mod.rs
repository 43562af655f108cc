//! Packed arrays that kernels read. Their invariants are checked here, once, when they are made.

mod lines;
mod masks;
mod ranks;
mod waves;

pub(crate) use lines::{GROUP, Line, Sums, TILE, TILES};
pub(crate) use masks::{BitRows, Leaves, MAX_DEPTH, MaskForest, MaskForestBuilder, MaskTree, PLANES};
pub(crate) use ranks::RankTable;
pub(crate) use waves::{Step, WAVE, WaveForest, WaveForestBuilder, WaveNode};
