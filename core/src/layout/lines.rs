//! Memory in units of a cache line, and the size of the groups of rows that kernels work on.

/// Rows that one 64-byte register of bytes holds.
pub(crate) const TILE: usize = 64;
/// Tiles of a group: as many as make one bit a row fill a register.
pub(crate) const TILES: usize = 8;
/// Rows of a group.
pub(crate) const GROUP: usize = TILE * TILES;

/// 64 bytes on a 64-byte boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

impl Line {
    /// A line of zeros.
    pub(crate) const ZERO: Line = Line([0; 64]);
}

/// One `f64` accumulator for each row of a group, in an order that belongs to the kernel that fills it.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [f64; GROUP]);

impl Sums {
    /// All sums 0.
    pub(crate) const ZERO: Sums = Sums([0.0; GROUP]);
}
