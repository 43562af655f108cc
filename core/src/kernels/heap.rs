//! A heap of tests asked of many rows at a time, in any register: what all twins share.
//!
//! In flow the lines of a group of rows, one bit a row; out flow the bits of the leaf's index, one plane a level. A test is
//! three lines and one three-operand instruction ([`Bits::right`]), and goes at once into the choice between the two
//! neighbours of its level, which the answers of the levels above make: nothing is stored on the way. Loads bound it: three
//! lines a test, and one word for two tests' places.

use crate::layout::{ColumnLines, LineTest, MAX_DEPTH};

/// One bit a row, for as many rows as the type holds: what a register holds of a line.
///
/// Implementations for vector types may only be used where the processor has their instructions.
pub(super) trait Bits: Copy {
    /// How many words of 64 rows.
    const WORDS: usize;
    /// Whether there are registers for 16 answers beside the planes above them.
    const MANY: bool;

    /// No row.
    fn none() -> Self;

    /// Every row.
    fn all() -> Self;

    /// The words at `from`.
    ///
    /// # Safety
    /// `WORDS` words can be read, and they lie on a boundary of as many.
    unsafe fn load(from: *const u64) -> Self;

    /// Writes the words to `to`.
    ///
    /// # Safety
    /// `WORDS` words can be written, and they lie on a boundary of as many.
    unsafe fn store(self, to: *mut u64);

    /// The rows of `above`, and those that `at` and `low` share.
    fn right(above: Self, at: Self, low: Self) -> Self;

    /// `right` where `by` has the row, else `left`.
    fn choose(by: Self, right: Self, left: Self) -> Self;
}

impl<const N: usize> Bits for [u64; N] {
    const WORDS: usize = N;
    const MANY: bool = false;

    #[inline(always)]
    fn none() -> Self {
        [0; N]
    }

    #[inline(always)]
    fn all() -> Self {
        [u64::MAX; N]
    }

    #[inline(always)]
    unsafe fn load(from: *const u64) -> Self {
        // SAFETY: the caller's promise.
        unsafe { *from.cast() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u64) {
        // SAFETY: the caller's promise.
        unsafe { *to.cast() = self }
    }

    #[inline(always)]
    fn right(above: Self, at: Self, low: Self) -> Self {
        let mut found = above;
        for (found, (at, low)) in found.iter_mut().zip(at.iter().zip(low)) {
            *found |= at & low;
        }
        found
    }

    #[inline(always)]
    fn choose(by: Self, right: Self, left: Self) -> Self {
        let mut found = left;
        for (found, (by, right)) in found.iter_mut().zip(by.iter().zip(right)) {
            *found ^= by & (*found ^ right);
        }
        found
    }
}

/// The bits of the leaf's index for the rows at `lines`: `planes[level]`, the root's first. Further planes keep what they have.
///
/// # Safety
/// There are the tests of a heap of `depth` levels, at most [`MAX_DEPTH`], at `tests`; each names words from `lines` on that
/// [`Bits::load`] may read, as it may those 8 words after the high one's.
#[inline(always)]
pub(super) unsafe fn planes<B: Bits>(
    lines: *const u64,
    tests: *const LineTest,
    depth: usize,
    planes: &mut [B; MAX_DEPTH],
) {
    // SAFETY (of all): the caller's promise; level `l` has the tests from `2^l - 1` on.
    match depth {
        0 => {}
        // SAFETY: see above.
        1 => unsafe { upper::<B, 1>(lines, tests, planes) },
        // SAFETY: see above.
        2 => unsafe { upper::<B, 2>(lines, tests, planes) },
        // SAFETY: see above.
        3 => unsafe { upper::<B, 3>(lines, tests, planes) },
        // SAFETY: see above.
        4 => unsafe { upper::<B, 4>(lines, tests, planes) },
        // SAFETY: see above.
        5 => unsafe { upper::<B, 5>(lines, tests, planes) },
        // SAFETY: see above.
        _ => unsafe { upper::<B, 6>(lines, tests, planes) },
    }
    for level in 6..depth {
        // Runs of 32 tests are folded by the five planes above the level; what is left of each by the others.
        let first = level - 5;
        let mut chunks = [B::none(); 1 << (MAX_DEPTH - 6)];
        for (index, chunk) in chunks[..1 << first].iter_mut().enumerate() {
            // SAFETY: see above.
            *chunk = unsafe { fold_32(lines, tests.add((1 << level) - 1 + index * 32), planes, first) };
        }
        for by in (0..first).rev() {
            for index in 0..1 << by {
                chunks[index] = B::choose(planes[by], chunks[2 * index + 1], chunks[2 * index]);
            }
        }
        planes[level] = chunks[0];
    }
}

/// The first `D` levels, at most 6, without a branch.
///
/// # Safety
/// See [`planes`].
#[inline(always)]
unsafe fn upper<B: Bits, const D: usize>(
    lines: *const u64,
    tests: *const LineTest,
    planes: &mut [B; MAX_DEPTH],
) {
    let mut above = [B::none(); MAX_DEPTH];
    // SAFETY: the caller's promise.
    unsafe {
        above[0] = fold::<B, 0>(lines, tests, &above, 0);
        if D > 1 {
            above[1] = fold::<B, 1>(lines, tests.add(1), &above, 0);
        }
        if D > 2 {
            above[2] = fold::<B, 2>(lines, tests.add(3), &above, 0);
        }
        if D > 3 {
            above[3] = fold::<B, 3>(lines, tests.add(7), &above, 0);
        }
        if D > 4 {
            above[4] = fold::<B, 4>(lines, tests.add(15), &above, 0);
        }
        if D > 5 {
            above[5] = fold_32(lines, tests.add(31), &above, 0);
        }
    }
    planes[..D].copy_from_slice(&above[..D]);
}

/// The answers to 32 neighbouring tests, folded into one by the planes `above[from..from + 5]`.
///
/// # Safety
/// See [`planes`].
#[inline(always)]
unsafe fn fold_32<B: Bits>(
    lines: *const u64,
    tests: *const LineTest,
    above: &[B; MAX_DEPTH],
    from: usize,
) -> B {
    if B::MANY {
        // SAFETY: the caller's promise.
        return unsafe { fold::<B, 5>(lines, tests, above, from) };
    }
    // SAFETY: the caller's promise.
    unsafe {
        let left = fold::<B, 4>(lines, tests, above, from + 1);
        let right = fold::<B, 4>(lines, tests.add(16), above, from + 1);
        B::choose(above[from], right, left)
    }
}

/// The answers to `2^L` neighbouring tests, folded into one by the planes `above[from..from + L]`, the last of which chooses
/// among neighbours.
///
/// # Safety
/// See [`planes`].
#[inline(always)]
unsafe fn fold<B: Bits, const L: usize>(
    lines: *const u64,
    tests: *const LineTest,
    above: &[B; MAX_DEPTH],
    from: usize,
) -> B {
    if L == 0 {
        // SAFETY: the caller's promise.
        let test = unsafe { *tests };
        // SAFETY: the caller's promise.
        return unsafe { ask(lines, u64::from(test.high), u64::from(test.low)) };
    }
    let mut kept = [B::none(); 16];
    for (index, kept) in kept[..1 << (L - 1)].iter_mut().enumerate() {
        // SAFETY: the caller's promise: two tests are four times 16 bits.
        let places = opaque(unsafe { tests.add(2 * index).cast::<u64>().read_unaligned() });
        // Whichever half comes first in memory: the pair's order is that of its words.
        let [a, b, c, d] = if cfg!(target_endian = "little") {
            [places & 0xffff, places >> 16 & 0xffff, places >> 32 & 0xffff, places >> 48]
        } else {
            [places >> 48, places >> 32 & 0xffff, places >> 16 & 0xffff, places & 0xffff]
        };
        // SAFETY: the caller's promise.
        let (left, right) = unsafe { (ask(lines, a, b), ask(lines, c, d)) };
        *kept = B::choose(above[from + L - 1], right, left);
    }
    for by in (0..L - 1).rev() {
        for index in 0..1 << by {
            kept[index] = B::choose(above[from + by], kept[2 * index + 1], kept[2 * index]);
        }
    }
    kept[0]
}

/// The answers to the test of these places.
///
/// # Safety
/// See [`planes`].
#[inline(always)]
unsafe fn ask<B: Bits>(lines: *const u64, high: u64, low: u64) -> B {
    // SAFETY: the caller's promise.
    unsafe {
        let at = lines.add(high as usize);
        B::right(B::load(at.add(8)), B::load(at), B::load(lines.add(low as usize)))
    }
}

/// `word`, of which the compiler knows nothing more: it would compute the places of several tests in a vector register, and
/// take them out one by one (half as fast).
#[inline(always)]
fn opaque(word: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut word = word;
        // SAFETY: no instruction.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) word, options(pure, nomem, nostack, preserves_flags))
        };
        word
    }
    #[cfg(not(target_arch = "x86_64"))]
    word
}

/// Writes the lines of a rank column from the bits of its bytes, the lowest first.
///
/// # Safety
/// The words of `B` can be written at `out` and at every eighth word after it, as many as the column has lines.
#[inline(always)]
pub(super) unsafe fn digit_lines<B: Bits>(bits: [B; 8], made: &ColumnLines, out: *mut u64) {
    let [a, b, c, d, e, f, g, h] = bits;
    let (low, high) = (digits([a, b, c, d]), digits([e, f, g, h]));
    match made {
        ColumnLines::Direct { top, .. } => {
            for bound in 1..=usize::from(*top) {
                let line = B::right(high[bound / 16 + 1], high[bound / 16], low[bound % 16]);
                // SAFETY: the caller's promise.
                unsafe { line.store(out.add((bound - 1) * 8)) };
            }
        }
        ColumnLines::Digits { top, .. } => {
            let highs = usize::from(top / 16) + 2;
            for (line, digit) in high[..highs].iter().chain(&low[1..16]).enumerate() {
                // SAFETY: the caller's promise.
                unsafe { digit.store(out.add(line * 8)) };
            }
        }
        ColumnLines::Sets { .. } => {}
    }
}

/// For each digit, the rows whose digit of these four bits is at least it.
#[inline(always)]
fn digits<B: Bits>(bits: [B; 4]) -> [B; 17] {
    let [a, b, c, d] = bits;
    let (none, all) = (B::none(), B::all());
    let low = [all, B::right(a, all, b), b, B::right(none, a, b)];
    let high = [all, B::right(c, all, d), d, B::right(none, c, d), none];
    // Not by a closure: the compiler would not make it part of a function with more instructions.
    let mut digits = [none; 17];
    for (digit, rows) in digits[..16].iter_mut().enumerate() {
        *rows = B::right(high[digit / 4 + 1], high[digit / 4], low[digit % 4]);
    }
    digits
}
