//! Lines to leaves, and leaves to sums.

use std::arch::x86_64::*;
use std::ops::Range;

use super::digits::{add_digits, flush};
use super::lines::transpose_words;
use crate::kernels::heap::{self, Bits};
use crate::kernels::{CHUNK, MaskScratch};
use crate::layout::{LeafTables, Line, MAX_DEPTH, MaskForest, MaskTree, Sums, TILE, TILES};

impl Bits for __m512i {
    const WORDS: usize = 8;
    const MANY: bool = true;

    #[inline(always)]
    fn none() -> Self {
        // SAFETY: only used where the processor has the instruction, as for all below.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn all() -> Self {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi64(-1) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u64) -> Self {
        // SAFETY: see above, and the caller's promise.
        unsafe { _mm512_load_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u64) {
        // SAFETY: see above, and the caller's promise.
        unsafe { _mm512_store_si512(to.cast(), self) }
    }

    #[inline(always)]
    fn right(above: Self, at: Self, low: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_ternarylogic_epi64::<0xF8>(above, at, low) }
    }

    #[inline(always)]
    fn choose(by: Self, right: Self, left: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_ternarylogic_epi64::<0xCA>(by, right, left) }
    }
}

/// Half a line: as many tests take as long as of a whole one, but what comes after them is half the work.
#[derive(Clone, Copy)]
struct Half(__m256i);

impl Bits for Half {
    const WORDS: usize = 4;
    const MANY: bool = true;

    #[inline(always)]
    fn none() -> Self {
        // SAFETY: only used where the processor has the instruction, as for all below.
        Self(unsafe { _mm256_setzero_si256() })
    }

    #[inline(always)]
    fn all() -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_set1_epi64x(-1) })
    }

    #[inline(always)]
    unsafe fn load(from: *const u64) -> Self {
        // SAFETY: see above, and the caller's promise.
        Self(unsafe { _mm256_load_si256(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u64) {
        // SAFETY: see above, and the caller's promise.
        unsafe { _mm256_store_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    fn right(above: Self, at: Self, low: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_ternarylogic_epi64::<0xF8>(above.0, at.0, low.0) })
    }

    #[inline(always)]
    fn choose(by: Self, right: Self, left: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_ternarylogic_epi64::<0xCA>(by.0, right.0, left.0) })
    }
}

/// The bits of some rows as the first words of a line; the others may be anything.
trait Widen: Bits {
    fn widen(self) -> __m512i;
}

impl Widen for Half {
    #[inline(always)]
    fn widen(self) -> __m512i {
        // SAFETY: only used where the processor has the instruction.
        unsafe { _mm512_castsi256_si512(self.0) }
    }
}

impl Widen for __m512i {
    #[inline(always)]
    fn widen(self) -> __m512i {
        self
    }
}

/// See [`crate::kernels::Isa::add_trees`], which checked the shapes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bitalg,gfni")]
pub(in crate::kernels) fn add_trees(
    forest: &MaskForest,
    trees: Range<usize>,
    lines: &[Line],
    rows: usize,
    scratch: &mut MaskScratch,
    sums: &mut Sums,
) {
    let tiles = rows.div_ceil(TILE);
    let leaves = forest.leaf_tables(&trees);
    for first in trees.clone().step_by(CHUNK) {
        let chunk = &forest.trees()[first..trees.end.min(first + CHUNK)];
        for (number, tree) in chunk.iter().enumerate() {
            if tiles <= Half::WORDS {
                index_bytes::<Half>(forest, tree, lines, number, scratch);
            } else {
                index_bytes::<__m512i>(forest, tree, lines, number, scratch);
            }
        }
        match leaves {
            LeafTables::Digits(tables) => {
                let first = first - trees.start;
                (0..tiles).for_each(|tile| add_digits(tables, first, chunk.len(), tile, scratch));
            }
            LeafTables::Bytes(tables) => {
                let before = forest.trees()[trees.start].table;
                (0..tiles).for_each(|tile| add_leaves(tables, before, chunk, tile, scratch, sums));
            }
        }
    }
    if let LeafTables::Digits(tables) = leaves {
        (0..tiles).for_each(|tile| flush(tables, tile, scratch, sums));
    }
}

/// Asks the tests of `tree`, and writes the lowest six bits of the leaf's index of each row as a byte, the others as planes, to
/// what the scratch has of tree `number` of a chunk.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bitalg,gfni")]
fn index_bytes<B: Widen>(
    forest: &MaskForest,
    tree: &MaskTree,
    lines: &[Line],
    number: usize,
    scratch: &mut MaskScratch,
) {
    let depth = tree.depth as usize;
    let mut planes = [B::none(); MAX_DEPTH];
    ask(forest, tree, lines, &mut planes);
    let bytes = &mut scratch.bytes[number];
    // The lowest six bits, the lowest first; those that fewer levels lack are 0, as leaves then stand apart.
    let top = depth.max(6) - 1;
    let none = _mm512_setzero_si512();
    let mut last = [
        planes[top].widen(),
        planes[top - 1].widen(),
        planes[top - 2].widen(),
        planes[top - 3].widen(),
        planes[top - 4].widen(),
        planes[top - 5].widen(),
        none,
        none,
    ];
    for (upper, plane) in
        scratch.uppers[number].iter_mut().zip(planes[..depth.saturating_sub(6)].iter().rev())
    {
        // SAFETY: at most as many words as a line has.
        unsafe { plane.store((&raw mut *upper).cast()) };
    }
    transpose_words(&mut last);
    for tile in 0..B::WORDS {
        // SAFETY: a line.
        unsafe { _mm512_store_si512((&raw mut bytes[tile]).cast(), bytes_of_planes(last[tile])) };
    }
}

/// The bits of the leaf's index of the first rows: `planes[level]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bitalg,gfni")]
fn ask<B: Bits>(forest: &MaskForest, tree: &MaskTree, lines: &[Line], planes: &mut [B; MAX_DEPTH]) {
    let tests = forest.tests()[tree.first as usize..].as_ptr();
    // SAFETY: the maker of the forest checked that it has the tree's tests, and that they name its lines; the caller that
    // there are as many.
    unsafe { heap::planes(lines.as_ptr().cast(), tests, tree.depth as usize, planes) };
}

/// The leaf's index for each row of a group, to the scratch; shapes as of [`add_trees`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bitalg,gfni")]
pub(in crate::kernels) fn indices(
    forest: &MaskForest,
    tree: &MaskTree,
    lines: &[Line],
    rows: usize,
    scratch: &mut MaskScratch,
) {
    if rows <= TILE * Half::WORDS {
        index_bytes::<Half>(forest, tree, lines, 0, scratch);
    } else {
        index_bytes::<__m512i>(forest, tree, lines, 0, scratch);
    }
    let upper = (tree.depth as usize).saturating_sub(6);
    let MaskScratch { bytes, uppers, index, .. } = scratch;
    for tile in 0..rows.div_ceil(TILE) {
        // SAFETY: a line.
        let low = unsafe { _mm512_load_si512((&raw const bytes[0][tile]).cast()) };
        let mut words = [0; 8];
        for (word, plane) in words.iter_mut().zip(&uppers[0][..upper]) {
            *word = plane[tile] as i64;
        }
        // SAFETY: eight words.
        let high = bytes_of_planes(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) });
        // Interleaving works within 128-bit lanes: give each half of a lane the rows it is to end with.
        let order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
        let (low, high) = (_mm512_permutexvar_epi64(order, low), _mm512_permutexvar_epi64(order, high));
        // Bits 6 and up.
        let (first, second) = (_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high));
        let join = |pair: __m512i| {
            let low = _mm512_and_si512(pair, _mm512_set1_epi16(0xff));
            _mm512_or_si512(low, _mm512_slli_epi16::<6>(_mm512_srli_epi16::<8>(pair)))
        };
        let out = index[tile * TILE..][..TILE].as_mut_ptr().cast::<__m512i>();
        // SAFETY: 64 indices of 16 bits.
        unsafe {
            _mm512_storeu_si512(out, join(first));
            _mm512_storeu_si512(out.add(1), join(second));
        }
    }
}

/// Bit `b` of byte `r` is bit `r` of word `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi,gfni")]
fn bytes_of_planes(words: __m512i) -> __m512i {
    // SAFETY: a constant line.
    let transpose = unsafe { _mm512_load_si512((&raw const TRANSPOSE).cast()) };
    // Row `i` of the identity is bit `i`: multiplied by a word as a matrix it gives the word's transpose.
    let identity = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
    _mm512_gf2p8affine_epi64_epi8::<0>(identity, _mm512_permutexvar_epi8(transpose, words))
}

/// For each of 8 rows, the byte of each of 8 planes, the last plane first, as the bit transposition wants them.
static TRANSPOSE: Line = {
    let mut line = [0; 64];
    let mut at = 0;
    while at < 64 {
        line[at] = ((7 - at % 8) * 8 + at / 8) as u8;
        at += 1;
    }
    Line(line)
};

/// Adds the leaves of the 64 rows of `tile`, in permuted order, as the scratch has their indices for the trees of `chunk`;
/// `tables` begin with table `before` of the forest.
///
/// Arrays of registers are written out here and below: the compiler keeps those that a loop goes over in memory.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,gfni")]
fn add_leaves(
    tables: &[[Line; 4]],
    before: u32,
    chunk: &[MaskTree],
    tile: usize,
    scratch: &mut MaskScratch,
    sums: &mut Sums,
) {
    let MaskScratch { bytes, uppers, values, .. } = scratch;
    let sums = sums.0[tile * TILE..][..TILE].as_mut_ptr();
    // SAFETY: eight of 64 sums at a time, on lines.
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = unsafe {
        [
            _mm512_load_pd(sums),
            _mm512_load_pd(sums.add(8)),
            _mm512_load_pd(sums.add(16)),
            _mm512_load_pd(sums.add(24)),
            _mm512_load_pd(sums.add(32)),
            _mm512_load_pd(sums.add(40)),
            _mm512_load_pd(sums.add(48)),
            _mm512_load_pd(sums.add(56)),
        ]
    };
    for (number, tree) in chunk.iter().enumerate() {
        // SAFETY: a line.
        let index = unsafe { _mm512_load_si512((&raw const bytes[number][tile]).cast()) };
        let tables = &tables[(tree.table - before) as usize..];
        let mut found = look_up(index, &tables[0]);
        if tree.depth > 6 {
            let upper = tree.depth as usize - 6;
            found = look_up_further(index, &tables[..1 << upper], &uppers[number][..upper], tile, found);
        }
        let [first, second, third, fourth] = interleave(found);
        widen(first, &mut values[0], &mut a, &mut b);
        widen(second, &mut values[1], &mut c, &mut d);
        widen(third, &mut values[2], &mut e, &mut f);
        widen(fourth, &mut values[3], &mut g, &mut h);
    }
    // SAFETY: eight of 64 sums at a time, on lines.
    unsafe {
        _mm512_store_pd(sums, a);
        _mm512_store_pd(sums.add(8), b);
        _mm512_store_pd(sums.add(16), c);
        _mm512_store_pd(sums.add(24), d);
        _mm512_store_pd(sums.add(32), e);
        _mm512_store_pd(sums.add(40), f);
        _mm512_store_pd(sums.add(48), g);
        _mm512_store_pd(sums.add(56), h);
    }
}

/// The four bytes of the leaves that `index` names in a table of 64.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi")]
fn look_up(index: __m512i, table: &[Line; 4]) -> [__m512i; 4] {
    let [a, b, c, d] = table;
    // SAFETY: lines.
    unsafe {
        [
            _mm512_permutexvar_epi8(index, _mm512_load_si512((&raw const *a).cast())),
            _mm512_permutexvar_epi8(index, _mm512_load_si512((&raw const *b).cast())),
            _mm512_permutexvar_epi8(index, _mm512_load_si512((&raw const *c).cast())),
            _mm512_permutexvar_epi8(index, _mm512_load_si512((&raw const *d).cast())),
        ]
    }
}

/// The same for rows whose leaf is in another table than the first, by the further bits of their index; `found` is what the
/// first has.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi")]
fn look_up_further(
    index: __m512i,
    tables: &[[Line; 4]],
    upper: &[[u64; TILES]],
    tile: usize,
    found: [__m512i; 4],
) -> [__m512i; 4] {
    let [mut a, mut b, mut c, mut d] = found;
    for (number, table) in tables.iter().enumerate().skip(1) {
        let mut rows = u64::MAX;
        for (bit, plane) in upper.iter().enumerate() {
            rows &= if number >> bit & 1 == 1 { plane[tile] } else { !plane[tile] };
        }
        let [ta, tb, tc, td] = table;
        // SAFETY: lines.
        unsafe {
            a = _mm512_mask_permutexvar_epi8(a, rows, index, _mm512_load_si512((&raw const *ta).cast()));
            b = _mm512_mask_permutexvar_epi8(b, rows, index, _mm512_load_si512((&raw const *tb).cast()));
            c = _mm512_mask_permutexvar_epi8(c, rows, index, _mm512_load_si512((&raw const *tc).cast()));
            d = _mm512_mask_permutexvar_epi8(d, rows, index, _mm512_load_si512((&raw const *td).cast()));
        }
    }
    [a, b, c, d]
}

/// Four lines of bytes to 64 values, 16 a register: the order of rows is that which [`super::super::Isa::read_sums`] undoes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(bytes: [__m512i; 4]) -> [__m512i; 4] {
    let [a, b, c, d] = bytes;
    let (ab_low, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
    [
        _mm512_unpacklo_epi16(ab_low, cd_low),
        _mm512_unpackhi_epi16(ab_low, cd_low),
        _mm512_unpacklo_epi16(ab_high, cd_high),
        _mm512_unpackhi_epi16(ab_high, cd_high),
    ]
}

/// Adds 16 values to 16 sums.
///
/// By way of memory, which the compiler must not see through: taking the upper half out of a register would need the port
/// that shuffles bytes (a tenth of the time of all this).
#[inline]
#[target_feature(enable = "avx512f")]
fn widen(bits: __m512i, values: &mut [f32; 16], low: &mut __m512d, high: &mut __m512d) {
    let halves: *mut __m256 = (&raw mut *values).cast();
    // SAFETY: 16 values, on a line.
    unsafe {
        _mm512_store_si512(halves.cast(), bits);
        *low = _mm512_add_pd(*low, _mm512_cvtps_pd(halves.read_volatile()));
        *high = _mm512_add_pd(*high, _mm512_cvtps_pd(halves.add(1).read_volatile()));
    }
}
