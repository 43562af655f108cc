//! The kernels for AVX2.
//!
//! As the AVX-512 twins, half as wide; a test and a choice are two and three instructions. Leaves are gathered.

mod codes;
mod lines;
mod row;
mod trees;

pub(super) use codes::{look_up, ranks, row_bytes, row_ranks};
pub(super) use lines::{bit_planes, column_lines};
pub(super) use row::{MAX_COLUMNS as MAX_ROW_COLUMNS, row_sum};
pub(super) use trees::{add_trees, indices};
