//! The kernels for AVX-512 with VBMI, BITALG and GFNI.
//!
//! How a tree is asked of a group of 512 rows:
//! 1. A column's bytes become lines, one bit a row, once for all trees of a block ([`lines`]).
//! 2. Each test is three lines and one logic instruction for 512 rows, and so is the choice between two answers
//!    ([`super::heap`]): the bits of the leaf's index, without a compare. Loads bound it, two a cycle.
//! 3. The bit planes become index bytes (a transposition and an 8 x 8 bit product), and four byte shuffles look up the four
//!    bytes of the leaf values, 64 leaves a table. The bytes are interleaved to `f32`, widened and added ([`trees`]).
//!    Interleaving permutes the rows of a tile; sums stay permuted.

mod codes;
mod digits;
mod lines;
mod row;
mod trees;

pub(super) use codes::{look_up, look_up_runs, ranks, row_bytes, row_ranks};
pub(super) use lines::{bit_planes, column_lines};
pub(super) use row::{MAX_COLUMNS as MAX_ROW_COLUMNS, row_sum};
pub(super) use trees::{add_trees, indices};
