//! Lines to leaves, and leaves to sums.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::kernels::heap::{self, Bits};
use crate::kernels::{CHUNK, MaskScratch};
use crate::layout::{GROUP, Line, MAX_DEPTH, MaskForest, MaskTree, Sums, TILE, TILES};

impl Bits for __m256i {
    const WORDS: usize = 4;
    const MANY: bool = false;

    #[inline(always)]
    fn none() -> Self {
        // SAFETY: only used where the processor has the instruction, as for all below.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn all() -> Self {
        // SAFETY: see above.
        unsafe { _mm256_set1_epi64x(-1) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u64) -> Self {
        // SAFETY: see above, and the caller's promise.
        unsafe { _mm256_load_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u64) {
        // SAFETY: see above, and the caller's promise.
        unsafe { _mm256_store_si256(to.cast(), self) }
    }

    #[inline(always)]
    fn right(above: Self, at: Self, low: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_or_si256(above, _mm256_and_si256(at, low)) }
    }

    #[inline(always)]
    fn choose(by: Self, right: Self, left: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_xor_si256(left, _mm256_and_si256(by, _mm256_xor_si256(left, right))) }
    }
}

/// See [`crate::kernels::Isa::add_trees`], which checked the shapes.
#[target_feature(enable = "avx2,bmi2")]
pub(in crate::kernels) fn add_trees(
    forest: &MaskForest,
    trees: Range<usize>,
    lines: &[Line],
    rows: usize,
    scratch: &mut MaskScratch,
    sums: &mut Sums,
) {
    if forest.trees()[trees.clone()].iter().any(|tree| tree.depth > BYTE) {
        add_chunks::<true>(forest, trees, lines, rows, scratch, sums);
    } else {
        add_chunks::<false>(forest, trees, lines, rows, scratch, sums);
    }
}

/// Levels whose answers one byte holds.
const BYTE: u32 = u8::BITS;
/// Where the scratch has the upper bytes of indices, if there are any: after the lower bytes of half a chunk's trees.
const UPPER: usize = CHUNK / 2;

/// The same; if `WIDE`, some tree has more levels than answers in a byte.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn add_chunks<const WIDE: bool>(
    forest: &MaskForest,
    trees: Range<usize>,
    lines: &[Line],
    rows: usize,
    scratch: &mut MaskScratch,
    sums: &mut Sums,
) {
    let most = if WIDE { UPPER } else { CHUNK };
    for first in trees.clone().step_by(most) {
        let chunk = &forest.trees()[first..trees.end.min(first + most)];
        for (number, tree) in chunk.iter().enumerate() {
            index_bytes::<WIDE>(forest, tree, lines, number, rows, scratch);
        }
        for tile in 0..rows.div_ceil(TILE) {
            add_leaves::<WIDE>(forest, chunk, tile, 0, scratch, sums);
            add_leaves::<WIDE>(forest, chunk, tile, 4, scratch, sums);
        }
    }
}

/// Asks the tests of `tree`, and writes the leaf's index of each row, in bytes, to what the scratch has of tree `number`: as
/// [`transpose`] has them, for each half of a group.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn index_bytes<const WIDE: bool>(
    forest: &MaskForest,
    tree: &MaskTree,
    lines: &[Line],
    number: usize,
    rows: usize,
    scratch: &mut MaskScratch,
) {
    let depth = tree.depth as usize;
    let tests = forest.tests()[tree.first as usize..].as_ptr();
    let none = _mm256_setzero_si256();
    for half in 0..rows.div_ceil(GROUP / 2) {
        let words = lines.as_ptr().cast::<u64>().wrapping_add(half * 4);
        let mut planes = [none; MAX_DEPTH];
        if rows <= TILE {
            let mut tile = [[0u64; 1]; MAX_DEPTH];
            // SAFETY: the maker of the forest checked that it has the tree's tests, and that they name its lines; the caller
            // that there are as many.
            unsafe { heap::planes(words, tests, depth, &mut tile) };
            for (plane, [word]) in planes.iter_mut().zip(tile) {
                *plane = _mm256_setr_epi64x(word as i64, 0, 0, 0);
            }
        } else {
            // SAFETY: see above.
            unsafe { heap::planes(words, tests, depth, &mut planes) };
        }
        // The lowest bit first; those that fewer levels than 6 lack are 0, as leaves then stand apart.
        let top = depth.max(6) - 1;
        let plane = |bit: usize| if bit <= top { planes[top - bit] } else { none };
        let mut low = [plane(0), plane(1), plane(2), plane(3), plane(4), plane(5), none, none];
        if depth > 6 {
            (low[6], low[7]) = (plane(6), plane(7));
        }
        transpose(&mut low);
        store(low, &mut scratch.bytes[number], half);
        if WIDE {
            let mut high = [plane(8), plane(9), none, none, none, none, none, none];
            transpose(&mut high);
            store(high, &mut scratch.bytes[UPPER + number], half);
        }
    }
}

/// Writes the bytes of half a group.
#[inline]
#[target_feature(enable = "avx2")]
fn store(registers: [__m256i; 8], bytes: &mut [Line; TILES], half: usize) {
    let bytes = bytes[half * 4..][..4].as_mut_ptr().cast::<__m256i>();
    for (at, register) in registers.into_iter().enumerate() {
        // SAFETY: four lines have room for eight registers.
        unsafe { _mm256_store_si256(bytes.add(at), register) };
    }
}

/// Bit `r` of byte `b` of register `i` becomes bit `i` of byte `b` of register `r`: of bit planes the bytes of rows `8b + r`, in
/// word `w` those of tile `w`.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(planes: &mut [__m256i; 8]) {
    let [a, b, c, d, e, f, g, h] = *planes;
    let low = _mm256_set1_epi8(0x0f);
    let (a, e) = swap::<4>(a, e, low);
    let (b, f) = swap::<4>(b, f, low);
    let (c, g) = swap::<4>(c, g, low);
    let (d, h) = swap::<4>(d, h, low);
    let low = _mm256_set1_epi8(0x33);
    let (a, c) = swap::<2>(a, c, low);
    let (b, d) = swap::<2>(b, d, low);
    let (e, g) = swap::<2>(e, g, low);
    let (f, h) = swap::<2>(f, h, low);
    let low = _mm256_set1_epi8(0x55);
    let (a, b) = swap::<1>(a, b, low);
    let (c, d) = swap::<1>(c, d, low);
    let (e, f) = swap::<1>(e, f, low);
    let (g, h) = swap::<1>(g, h, low);
    *planes = [a, b, c, d, e, f, g, h];
}

/// The upper bits of `a`, `BY` above the `low` ones of each byte, change places with the lower ones of `b`.
#[inline]
#[target_feature(enable = "avx2")]
fn swap<const BY: i32>(a: __m256i, b: __m256i, low: __m256i) -> (__m256i, __m256i) {
    let changed = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi64::<BY>(a), b), low);
    (_mm256_xor_si256(a, _mm256_slli_epi64::<BY>(changed)), _mm256_xor_si256(b, changed))
}

/// Adds the leaves of half the rows of `tile`, those of four registers from `from` on, as the scratch has their indices for the
/// trees of `chunk`; sums are in the order of these.
///
/// Registers are written out: the compiler keeps those that a loop goes over in memory.
#[inline]
#[target_feature(enable = "avx2")]
fn add_leaves<const WIDE: bool>(
    forest: &MaskForest,
    chunk: &[MaskTree],
    tile: usize,
    from: usize,
    scratch: &mut MaskScratch,
    sums: &mut Sums,
) {
    let sums = sums.0[tile * TILE + from * 8..][..32].as_mut_ptr();
    // SAFETY: four of 32 sums at a time.
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = unsafe {
        [
            _mm256_load_pd(sums),
            _mm256_load_pd(sums.add(4)),
            _mm256_load_pd(sums.add(8)),
            _mm256_load_pd(sums.add(12)),
            _mm256_load_pd(sums.add(16)),
            _mm256_load_pd(sums.add(20)),
            _mm256_load_pd(sums.add(24)),
            _mm256_load_pd(sums.add(28)),
        ]
    };
    let MaskScratch { bytes, values, .. } = scratch;
    let (half, word) = (tile / 4, tile % 4);
    for (number, tree) in chunk.iter().enumerate() {
        let tables = forest.leaves_of(tree).as_flattened().as_ptr();
        let at = half * 256 + from * 32 + word * 8;
        let low = bytes[number].as_ptr().cast::<u8>().wrapping_add(at);
        let high = bytes[(UPPER + number) % CHUNK].as_ptr().cast::<u8>().wrapping_add(at);
        // SAFETY: each eight bytes are indices of leaves of the tree.
        unsafe {
            widen(gather::<WIDE>(tables, low, high), &mut values[0], &mut a, &mut b);
            let (low, high) = (low.add(32), high.add(32));
            widen(gather::<WIDE>(tables, low, high), &mut values[1], &mut c, &mut d);
            let (low, high) = (low.add(32), high.add(32));
            widen(gather::<WIDE>(tables, low, high), &mut values[2], &mut e, &mut f);
            let (low, high) = (low.add(32), high.add(32));
            widen(gather::<WIDE>(tables, low, high), &mut values[3], &mut g, &mut h);
        }
    }
    // SAFETY: four of 32 sums at a time.
    unsafe {
        _mm256_store_pd(sums, a);
        _mm256_store_pd(sums.add(4), b);
        _mm256_store_pd(sums.add(8), c);
        _mm256_store_pd(sums.add(12), d);
        _mm256_store_pd(sums.add(16), e);
        _mm256_store_pd(sums.add(20), f);
        _mm256_store_pd(sums.add(24), g);
        _mm256_store_pd(sums.add(28), h);
    }
}

/// The leaves of eight rows, by the bytes of their indices.
///
/// # Safety
/// Eight bytes can be read at `low` and, if `WIDE`, at `high`, which are the indices of values at `tables`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn gather<const WIDE: bool>(tables: *const f32, low: *const u8, high: *const u8) -> __m256 {
    // SAFETY: the caller's promise.
    let mut index = _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(low.cast()) });
    if WIDE {
        // SAFETY: the caller's promise.
        let high = _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(high.cast()) });
        index = _mm256_or_si256(index, _mm256_slli_epi32::<8>(high));
    }
    // SAFETY: the caller's promise.
    unsafe { _mm256_i32gather_ps::<4>(tables, index) }
}

/// Adds eight values to eight sums, by way of memory, which the compiler must not see through: taking the upper half out of a
/// register, and widening what is in one, would need the port that shuffles.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(found: __m256, values: &mut [f32; 16], low: &mut __m256d, high: &mut __m256d) {
    let halves: *mut __m128 = (&raw mut *values).cast();
    // SAFETY: eight values, on a line.
    unsafe {
        _mm256_store_ps(halves.cast(), found);
        *low = _mm256_add_pd(*low, _mm256_cvtps_pd(halves.read_volatile()));
        *high = _mm256_add_pd(*high, _mm256_cvtps_pd(halves.add(1).read_volatile()));
    }
}

/// The leaf's index for each row of whole tiles, to the scratch; shapes as of [`add_trees`].
#[target_feature(enable = "avx2,bmi2")]
pub(in crate::kernels) fn indices(
    forest: &MaskForest,
    tree: &MaskTree,
    lines: &[Line],
    rows: usize,
    scratch: &mut MaskScratch,
) {
    if tree.depth > BYTE {
        index_bytes::<true>(forest, tree, lines, 0, rows, scratch);
    } else {
        index_bytes::<false>(forest, tree, lines, 0, rows, scratch);
    }
    let MaskScratch { bytes, index, .. } = scratch;
    for half in 0..rows.div_ceil(GROUP / 2) {
        let low = in_order(&bytes[0], half);
        let high = match tree.depth > BYTE {
            true => in_order(&bytes[UPPER], half),
            false => [_mm256_setzero_si256(); 8],
        };
        for (at, (low, high)) in low.into_iter().zip(high).enumerate() {
            let (first, second) = (_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high));
            // Register `at` has 16 rows of tile `at / 4` of a half in its lower lane, and of the tile two further in its upper one.
            let out = index[half * 256 + at * 16..].as_mut_ptr().cast::<__m128i>();
            // SAFETY: 16 indices of each of two tiles.
            unsafe {
                _mm_storeu_si128(out, _mm256_castsi256_si128(first));
                _mm_storeu_si128(out.add(1), _mm256_castsi256_si128(second));
                _mm_storeu_si128(out.add(16), _mm256_extracti128_si256::<1>(first));
                _mm_storeu_si128(out.add(17), _mm256_extracti128_si256::<1>(second));
            }
        }
    }
}

/// The bytes of half a group, as [`transpose`] has them, in the order of rows: 16 rows of tile `r / 4` in the lower lane of
/// register `r`, and of tile `2 + r / 4` in the upper one.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order(bytes: &[Line; TILES], half: usize) -> [__m256i; 8] {
    let bytes = bytes[half * 4..][..4].as_ptr().cast::<__m256i>();
    // SAFETY: eight registers of four lines.
    let [a, b, c, d, e, f, g, h] = unsafe {
        [
            _mm256_load_si256(bytes),
            _mm256_load_si256(bytes.add(1)),
            _mm256_load_si256(bytes.add(2)),
            _mm256_load_si256(bytes.add(3)),
            _mm256_load_si256(bytes.add(4)),
            _mm256_load_si256(bytes.add(5)),
            _mm256_load_si256(bytes.add(6)),
            _mm256_load_si256(bytes.add(7)),
        ]
    };
    let ([ab, ab2], [cd, cd2]) = (bytes_of(a, b), bytes_of(c, d));
    let ([ef, ef2], [gh, gh2]) = (bytes_of(e, f), bytes_of(g, h));
    let ([s, t, u, v], [w, x, y, z]) = (
        [
            _mm256_unpacklo_epi16(ab, cd),
            _mm256_unpackhi_epi16(ab, cd),
            _mm256_unpacklo_epi16(ab2, cd2),
            _mm256_unpackhi_epi16(ab2, cd2),
        ],
        [
            _mm256_unpacklo_epi16(ef, gh),
            _mm256_unpackhi_epi16(ef, gh),
            _mm256_unpacklo_epi16(ef2, gh2),
            _mm256_unpackhi_epi16(ef2, gh2),
        ],
    );
    [
        _mm256_unpacklo_epi32(s, w),
        _mm256_unpackhi_epi32(s, w),
        _mm256_unpacklo_epi32(t, x),
        _mm256_unpackhi_epi32(t, x),
        _mm256_unpacklo_epi32(u, y),
        _mm256_unpackhi_epi32(u, y),
        _mm256_unpacklo_epi32(v, z),
        _mm256_unpackhi_epi32(v, z),
    ]
}

/// The bytes of two registers in turn.
#[inline]
#[target_feature(enable = "avx2")]
fn bytes_of(even: __m256i, odd: __m256i) -> [__m256i; 2] {
    [_mm256_unpacklo_epi8(even, odd), _mm256_unpackhi_epi8(even, odd)]
}
