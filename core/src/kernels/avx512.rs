//! The kernels for AVX-512 with VBMI, BITALG and GFNI.
//!
//! How a tree is asked of a group of 512 rows:
//! 1. Each test is asked of 64 rows by one compare into a mask register, and the eight masks of a group are stored as one
//!    line of bits. This is what bounds the kernel: one instruction a test and 64 rows on the one port that has it.
//! 2. The bits of the leaf's index are chosen level by level: the root's line is the highest bit, and each further level
//!    folds the lines of its slots by the bits above. One three-operand logic instruction serves 512 rows.
//! 3. For 64 rows at a time the bit planes become index bytes (a byte shuffle and an 8 x 8 bit transposition), and four
//!    byte shuffles look up the four bytes of the leaf values, 64 leaves a table.
//! 4. The bytes are interleaved to `f32`, widened and added. Interleaving permutes the rows of a tile; sums stay permuted.
//!
//! Tried and slower: index bytes by masked additions from mask registers (3 % of the whole), half of the compares as
//! subtract and sign mask on another port (no gain: stores and decoding bound it then), masks of one tree folded while
//! those of the next are compared (no gain).

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Group, MaskScratch, RowData, portable, rows};
use crate::layout::{
    BitRows, GROUP, Line, MAX_DEPTH, MaskForest, MaskTree, PLANES, RankTable, Sums, TILE, TILES,
};

/// The rank of each value; the table's ranks fit 16 bits, and the slices are as long as each other.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn ranks(table: &RankTable, values: &[f64], codes: &mut [u16]) {
    let (thresholds, starts) = (table.padded(), table.starts());
    let (origin, scale) = table.line();
    let (origin, scale) = (_mm512_set1_ps(origin), _mm512_set1_ps(scale));
    let last = _mm512_set1_ps((starts.len() - 2) as f32);
    let missing = _mm512_set1_epi32(table.missing() as i32);
    let mut values = values.chunks_exact(16);
    let mut codes = codes.chunks_exact_mut(16);
    for (values, codes) in (&mut values).zip(&mut codes) {
        // SAFETY: 16 values can be read.
        let (low, high) =
            unsafe { (_mm512_loadu_pd(values.as_ptr()), _mm512_loadu_pd(values.as_ptr().add(8))) };
        let low = _mm512_cvt_roundpd_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(low);
        let high = _mm512_cvt_roundpd_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(high);
        let value = _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high);
        let at = _mm512_mul_ps(_mm512_sub_ps(value, origin), scale);
        // The second operand is the answer where the first is NaN.
        let at = _mm512_min_ps(_mm512_max_ps(at, _mm512_setzero_ps()), last);
        let at = _mm512_cvttps_epi32(at);
        // SAFETY: `at` is from 0 to `starts.len() - 2`.
        let rank = unsafe { _mm512_i32gather_epi32::<2>(at, starts.as_ptr().cast()) };
        // One start and, above it, the next.
        let mut rank = _mm512_and_si512(rank, _mm512_set1_epi32(0xffff));
        for halving in (0..table.halvings()).rev() {
            let half = _mm512_set1_epi32(1 << halving);
            let at = _mm512_sub_epi32(_mm512_add_epi32(rank, half), _mm512_set1_epi32(1));
            // SAFETY: a bucket begins at most at the number of thresholds, and `2^halvings` more can be read.
            let threshold = unsafe { _mm512_i32gather_ps::<4>(at, thresholds.as_ptr()) };
            let reached = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(threshold, value);
            rank = _mm512_mask_add_epi32(rank, reached, rank, half);
        }
        let rank = _mm512_mask_mov_epi32(rank, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value), missing);
        // SAFETY: 16 codes can be written.
        unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(rank)) };
    }
    portable::ranks(table, values.remainder(), codes.into_remainder());
}

/// See [`super::Isa::look_up`]; `table` is longer than 3, and there are at most as many codes as rows of a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn look_up(codes: &[u16], table: &[u8], bytes: &mut [Line; TILES]) {
    // Four bytes are read for each; so that the last ones stay within the table, they begin earlier and are shifted.
    let last = _mm512_set1_epi32(table.len() as i32 - 4);
    let mut chunks = codes.chunks_exact(16);
    let out = bytes.as_mut_ptr().cast::<u8>();
    for (index, codes) in (&mut chunks).enumerate() {
        // SAFETY: 16 codes can be read.
        let code = _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) });
        let at = _mm512_min_epu32(code, last);
        let shift = _mm512_slli_epi32::<3>(_mm512_sub_epi32(code, at));
        // SAFETY: four bytes from `at <= len - 4` on can be read.
        let four = unsafe { _mm512_i32gather_epi32::<1>(at, table.as_ptr().cast()) };
        let byte = _mm512_cvtepi32_epi8(_mm512_srlv_epi32(four, shift));
        // SAFETY: there are at most as many codes as bytes.
        unsafe { _mm_store_si128(out.add(index * 16).cast(), byte) };
    }
    for (index, code) in chunks.remainder().iter().enumerate() {
        let at = codes.len() / 16 * 16 + index;
        bytes[at / TILE].0[at % TILE] = table[usize::from(*code)];
    }
}

/// See [`super::Isa::bit_planes`], which checked the shapes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,gfni")]
pub(super) fn bit_planes(bit_rows: &BitRows, codes: &[u16], first: usize, stride: usize, planes: &mut [u64]) {
    let words = bit_rows.words();
    // SAFETY: constant lines.
    let (to_bits, to_bytes) = unsafe {
        (
            _mm512_load_si512((&raw const REVERSED).cast()),
            _mm512_load_si512((&raw const TRANSPOSE_BYTES).cast()),
        )
    };
    let identity = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
    for (tile, codes) in codes.chunks(TILE).enumerate() {
        let mut at = [_mm512_setzero_si512(); 8];
        for (at, codes) in at.iter_mut().zip(codes.chunks(8)) {
            let mut row = [0i64; 8];
            for (row, code) in row.iter_mut().zip(codes) {
                assert!(usize::from(*code) < bit_rows.codes());
                *row = i64::from(*code) * words as i64;
            }
            // SAFETY: eight words.
            *at = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
        }
        for word in 0..words {
            let mut lines = [_mm512_setzero_si512(); 8];
            for (line, at) in lines.iter_mut().zip(at) {
                // SAFETY: `word` is one of the words of a code.
                *line = unsafe { _mm512_i64gather_epi64::<8>(at, bit_rows.bits().as_ptr().add(word).cast()) };
                // A word is a row: make word `j` the byte `j` of each of the eight rows.
                *line = _mm512_permutexvar_epi8(to_bytes, *line);
            }
            transpose_words(&mut lines);
            let out = planes[tile * stride + first + word * 64..][..64].as_mut_ptr();
            for (byte, line) in lines.into_iter().enumerate() {
                // Each word is eight rows of eight tests. Reversed rows as a matrix give the tests, eight rows each;
                // then word `t` takes test `t` of all rows.
                let line =
                    _mm512_gf2p8affine_epi64_epi8::<0>(identity, _mm512_permutexvar_epi8(to_bits, line));
                // SAFETY: eight of 64 words.
                unsafe {
                    _mm512_storeu_si512(out.add(byte * 8).cast(), _mm512_permutexvar_epi8(to_bytes, line))
                };
            }
        }
    }
}

/// Transposes 8 x 8 words.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_words(lines: &mut [__m512i; 8]) {
    let [a, b, c, d, e, f, g, h] = *lines;
    let pairs = [(a, b), (c, d), (e, f), (g, h)];
    let low = pairs.map(|(a, b)| _mm512_unpacklo_epi64(a, b));
    let high = pairs.map(|(a, b)| _mm512_unpackhi_epi64(a, b));
    for (odd, [a, b, c, d]) in [low, high].into_iter().enumerate() {
        let ab_even = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
        let ab_odd = _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b);
        let cd_even = _mm512_shuffle_i64x2::<0b10_00_10_00>(c, d);
        let cd_odd = _mm512_shuffle_i64x2::<0b11_01_11_01>(c, d);
        lines[odd] = _mm512_shuffle_i64x2::<0b10_00_10_00>(ab_even, cd_even);
        lines[odd + 4] = _mm512_shuffle_i64x2::<0b11_01_11_01>(ab_even, cd_even);
        lines[odd + 2] = _mm512_shuffle_i64x2::<0b10_00_10_00>(ab_odd, cd_odd);
        lines[odd + 6] = _mm512_shuffle_i64x2::<0b11_01_11_01>(ab_odd, cd_odd);
    }
}

/// Transposes 8 x 8 bytes.
static TRANSPOSE_BYTES: Line = {
    let mut line = [0; 64];
    let mut at = 0;
    while at < 64 {
        line[at] = (at % 8 * 8 + at / 8) as u8;
        at += 1;
    }
    Line(line)
};

/// Reverses the bytes of each word.
static REVERSED: Line = {
    let mut line = [0; 64];
    let mut at = 0;
    while at < 64 {
        line[at] = (at / 8 * 8 + 7 - at % 8) as u8;
        at += 1;
    }
    Line(line)
};

/// See [`super::Isa::add_trees`], which checked the shapes: `group` has what the tests of `forest` name, and `trees` are trees of it.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bitalg,gfni")]
pub(super) fn add_trees(
    forest: &MaskForest,
    trees: Range<usize>,
    group: Group<'_>,
    scratch: &mut MaskScratch,
    sums: &mut Sums,
) {
    // The fewest passes of 8, 4, 2 and 1 tiles; a pass costs about as much as one tile more.
    let tiles = group.rows.div_ceil(TILE);
    if tiles > 5 {
        return add_trees_of_tiles::<TILES>(forest, trees, group, 0, scratch, sums);
    }
    let mut from = 0;
    while from < tiles {
        match tiles - from {
            1 => add_trees_of_tiles::<1>(forest, trees.clone(), group, from, scratch, sums),
            2 => add_trees_of_tiles::<2>(forest, trees.clone(), group, from, scratch, sums),
            _ => add_trees_of_tiles::<4>(forest, trees.clone(), group, from, scratch, sums),
        }
        from += match tiles - from {
            1 => 1,
            2 => 2,
            _ => 4,
        };
    }
}

/// The same for `N` tiles from tile `from` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bitalg,gfni")]
fn add_trees_of_tiles<const N: usize>(
    forest: &MaskForest,
    trees: Range<usize>,
    group: Group<'_>,
    from: usize,
    scratch: &mut MaskScratch,
    sums: &mut Sums,
) {
    let from = from.min(TILES - N.min(TILES));
    let MaskScratch { masks, planes, tables, .. } = scratch;
    for tree in &forest.trees()[trees] {
        compare::<N>(forest, tree, group, from, masks);
        let depth = tree.depth as usize;
        if depth < 6 {
            planes[PLANES - 6 + depth..].fill(Line::ZERO);
        }
        fold(masks, depth, planes);
        let first = tree.table as usize;
        let values = &forest.leaves()[first..first + (1 << depth.saturating_sub(6))];
        let tables = &mut tables[..values.len()];
        for (table, values) in tables.iter_mut().zip(values) {
            *table = byte_planes(values);
        }
        let sums: &mut [f64; GROUP] = &mut sums.0;
        for tile in 0..N {
            // SAFETY: a tile's 64 sums from `(from + tile) * 64` on lie within the group, as `from + N <= TILES`.
            unsafe { add_leaves(planes, tile, tables, sums.as_mut_ptr().add((from + tile) * TILE)) };
        }
    }
}

/// Asks every test of `tree`: bit `r` of `masks[slot]` says whether row `r` goes right there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bitalg")]
fn compare<const N: usize>(
    forest: &MaskForest,
    tree: &MaskTree,
    group: Group<'_>,
    from: usize,
    masks: &mut [Line; 1 << MAX_DEPTH],
) {
    let columns = group.columns.as_ptr().wrapping_add(from);
    let masks = masks.as_mut_ptr();
    // SAFETY (of all reads and writes below): the builder checked that each test names a slot of a heap of at most
    // `MAX_DEPTH` levels and a column of the forest, and the caller that there are `TILES` lines for each column;
    // `from + N <= TILES`.
    for test in &forest.rank_tests()[tree.rank.0 as usize..tree.rank.1 as usize] {
        let below = _mm512_set1_epi32(test.below as i32);
        let column = columns.wrapping_add(usize::from(test.column) * TILES);
        let out = masks.wrapping_add(usize::from(test.slot)).cast::<u64>();
        for tile in 0..N {
            // SAFETY: see above.
            unsafe {
                let bytes = _mm512_load_si512(column.add(tile).cast());
                *out.add(tile) = _mm512_cmpgt_epi8_mask(bytes, below);
            }
        }
    }
    for test in &forest.small_tests()[tree.small.0 as usize..tree.small.1 as usize] {
        let bits = _mm512_set1_epi64(test.bits as i64);
        let column = columns.wrapping_add(usize::from(test.column) * TILES);
        let out = masks.wrapping_add(usize::from(test.slot)).cast::<u64>();
        for tile in 0..N {
            // SAFETY: see above.
            unsafe {
                let bytes = _mm512_load_si512(column.add(tile).cast());
                *out.add(tile) = _mm512_bitshuffle_epi64_mask(bits, bytes);
            }
        }
    }
    if tree.plane.0 == tree.plane.1 {
        return;
    }
    for (tile, answers) in group.answers.chunks_exact(forest.planes()).skip(from).take(N).enumerate() {
        for test in &forest.plane_tests()[tree.plane.0 as usize..tree.plane.1 as usize] {
            let out = masks.wrapping_add(usize::from(test.slot)).cast::<u64>();
            // SAFETY: see above; the builder checked the plane.
            unsafe { *out.add(tile) = *answers.get_unchecked(test.plane as usize) };
        }
    }
}

/// `right` where the bit of `by` is set, else `left`.
#[inline]
#[target_feature(enable = "avx512f")]
fn choose(by: __m512i, right: __m512i, left: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0xCA>(by, right, left)
}

/// The bits of the leaf's index from the answers of a heap of `depth` levels, to `planes`, the last level's in the last line or, of fewer levels than 6, as far before it.
#[inline]
#[target_feature(enable = "avx512f")]
fn fold(masks: &[Line; 1 << MAX_DEPTH], depth: usize, planes: &mut [Line; PLANES]) {
    let mut above = [_mm512_setzero_si512(); PLANES];
    for level in 0..depth {
        let slots = masks[(1 << level) - 1..].as_ptr();
        // SAFETY (of all): a heap of `depth <= MAX_DEPTH` levels has slots `2^level - 1 .. 2^(level + 1) - 1`.
        above[level] = match level {
            // SAFETY: see above.
            0 => unsafe { fold_slots::<0>(slots, &above, 0) },
            // SAFETY: see above.
            1 => unsafe { fold_slots::<1>(slots, &above, 0) },
            // SAFETY: see above.
            2 => unsafe { fold_slots::<2>(slots, &above, 0) },
            // SAFETY: see above.
            3 => unsafe { fold_slots::<3>(slots, &above, 0) },
            // SAFETY: see above.
            4 => unsafe { fold_slots::<4>(slots, &above, 0) },
            _ => {
                let upper = level - 5;
                let mut chunks = [_mm512_setzero_si512(); 1 << (MAX_DEPTH - 6)];
                for (index, chunk) in chunks[..1 << upper].iter_mut().enumerate() {
                    // SAFETY: see above; chunks are 32 slots each.
                    *chunk = unsafe { fold_slots::<5>(slots.add(index * 32), &above, upper) };
                }
                for by in (0..upper).rev() {
                    for index in 0..1 << by {
                        chunks[index] = choose(above[by], chunks[2 * index + 1], chunks[2 * index]);
                    }
                }
                chunks[0]
            }
        };
        // SAFETY: one of the `PLANES` lines.
        unsafe {
            _mm512_store_si512(planes.as_mut_ptr().add(PLANES - depth.max(6) + level).cast(), above[level])
        };
    }
}

/// Folds `2^L` lines into one by the planes `above[from..from + L]`, the last of which chooses among neighbours.
///
/// # Safety
/// `2^L` lines can be read at `slots`, and `from + L <= PLANES`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn fold_slots<const L: usize>(slots: *const Line, above: &[__m512i; PLANES], from: usize) -> __m512i {
    // SAFETY: the caller's promise.
    let line = |index: usize| unsafe { _mm512_load_si512(slots.add(index).cast()) };
    if L == 0 {
        return line(0);
    }
    let mut kept = [_mm512_setzero_si512(); 16];
    for (index, kept) in kept[..1 << (L - 1)].iter_mut().enumerate() {
        *kept = choose(above[from + L - 1], line(2 * index + 1), line(2 * index));
    }
    for by in (0..L - 1).rev() {
        for index in 0..1 << by {
            kept[index] = choose(above[from + by], kept[2 * index + 1], kept[2 * index]);
        }
    }
    kept[0]
}

/// The lowest bytes of 64 values, then the second ones, and so on.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi")]
fn byte_planes(values: &[f32; 64]) -> [Line; 4] {
    // SAFETY: a constant line.
    let apart = unsafe { _mm512_load_si512((&raw const BYTES_APART).cast()) };
    let mut quarters = [_mm512_setzero_si512(); 4];
    for (index, quarter) in quarters.iter_mut().enumerate() {
        // SAFETY: 16 of 64 values.
        let values = unsafe { _mm512_loadu_si512(values.as_ptr().add(index * 16).cast()) };
        // A 128-bit lane for the lowest bytes of the 16, one for the second, and so on.
        *quarter = _mm512_permutexvar_epi8(apart, values);
    }
    let [a, b, c, d] = quarters;
    let (ab_low, cd_low) =
        (_mm512_shuffle_i64x2::<0b01_00_01_00>(a, b), _mm512_shuffle_i64x2::<0b01_00_01_00>(c, d));
    let (ab_high, cd_high) =
        (_mm512_shuffle_i64x2::<0b11_10_11_10>(a, b), _mm512_shuffle_i64x2::<0b11_10_11_10>(c, d));
    let planes = [
        _mm512_shuffle_i64x2::<0b10_00_10_00>(ab_low, cd_low),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(ab_low, cd_low),
        _mm512_shuffle_i64x2::<0b10_00_10_00>(ab_high, cd_high),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(ab_high, cd_high),
    ];
    let mut lines = [Line::ZERO; 4];
    for (line, plane) in lines.iter_mut().zip(planes) {
        // SAFETY: a line.
        unsafe { _mm512_store_si512((&raw mut *line).cast(), plane) };
    }
    lines
}

/// Of 16 values, the lowest bytes, then the second, and so on.
static BYTES_APART: Line = {
    let mut line = [0; 64];
    let mut at = 0;
    while at < 64 {
        line[at] = (at % 16 * 4 + at / 16) as u8;
        at += 1;
    }
    Line(line)
};

/// See [`super::Isa::row_leaves`]; `slots` are those of a shallow forest, which has at most 128 columns.
///
/// All tests of a tree are one byte shuffle and one compare; then eight trees walk their bits in one register.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(super) fn row_leaves(
    forest: &MaskForest,
    slots: &[[Line; 2]],
    first: usize,
    row: &RowData,
    out: &mut [f32],
) {
    // SAFETY: the first 128 bytes of a row.
    let (low, high) = unsafe {
        (_mm512_load_si512(row.bytes.as_ptr().cast()), _mm512_load_si512(row.bytes.as_ptr().add(64).cast()))
    };
    let wide = forest.columns() > 64;
    let has_sets = forest.small_tests().len() + forest.plane_tests().len() > 0;
    let one = _mm512_set1_epi64(1);
    let tables = _mm512_setr_epi64(0, 64, 128, 192, 256, 320, 384, 448);
    for (chunk, out) in out.chunks_mut(8).enumerate() {
        let first = first + chunk * 8;
        // Put together in registers: eight stores and then one load of them all would wait for the stores.
        let mut masks = _mm512_setzero_si512();
        for (index, [columns, bounds]) in slots[first..first + out.len()].iter().enumerate() {
            // SAFETY: two lines.
            let (columns, bounds) = unsafe {
                (
                    _mm512_load_si512((&raw const *columns).cast()),
                    _mm512_load_si512((&raw const *bounds).cast()),
                )
            };
            let bytes = if wide {
                _mm512_permutex2var_epi8(low, columns, high)
            } else {
                _mm512_permutexvar_epi8(columns, low)
            };
            let mut mask = _mm512_cmpgt_epi8_mask(bytes, bounds);
            if has_sets {
                rows::set_answers(forest, &forest.trees()[first + index], row, |_, bit| mask |= bit);
            }
            masks = _mm512_mask_set1_epi64(masks, 1 << index, mask as i64);
        }
        let mut at = _mm512_setzero_si512();
        for _ in 0..6 {
            let right = _mm512_and_si512(_mm512_srlv_epi64(masks, at), one);
            at = _mm512_add_epi64(_mm512_add_epi64(at, at), _mm512_add_epi64(right, one));
        }
        // Leaf 0 follows 63 slots.
        let place = _mm512_add_epi64(at, tables);
        let there = u8::MAX >> (8 - out.len());
        // SAFETY: each place is a leaf of its tree, whose table has the tree's number; as many values are written as the
        // mask says.
        unsafe {
            let values = forest.leaves().as_ptr().add(first).cast::<f32>().wrapping_sub(63);
            let leaves = _mm512_mask_i64gather_ps::<4>(_mm256_setzero_ps(), there, place, values);
            _mm256_mask_storeu_ps(out.as_mut_ptr(), there, leaves);
        }
    }
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

/// Adds the leaves of the 64 rows of `tile`, in permuted order.
///
/// # Safety
/// 64 sums can be read and written at `sums`, which lies on a line; `tile` is below `TILES`; `tables` is not empty, and
/// there are as many as the planes before the last six can name.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,gfni")]
unsafe fn add_leaves(planes: &[Line; PLANES], tile: usize, tables: &[[Line; 4]], sums: *mut f64) {
    let planes = planes.as_ptr().cast::<u64>();
    // SAFETY: a tile's word of one of the `PLANES` lines.
    let plane = |index: usize| unsafe { *planes.add((PLANES - 1 - index) * TILES + tile) };
    // Word `b` of `words` is plane `b`, the lowest bit of the index first.
    let mut words = _mm512_maskz_mov_epi64(1, _mm512_set1_epi64(plane(0) as i64));
    words = _mm512_mask_mov_epi64(words, 1 << 1, _mm512_set1_epi64(plane(1) as i64));
    words = _mm512_mask_mov_epi64(words, 1 << 2, _mm512_set1_epi64(plane(2) as i64));
    words = _mm512_mask_mov_epi64(words, 1 << 3, _mm512_set1_epi64(plane(3) as i64));
    words = _mm512_mask_mov_epi64(words, 1 << 4, _mm512_set1_epi64(plane(4) as i64));
    words = _mm512_mask_mov_epi64(words, 1 << 5, _mm512_set1_epi64(plane(5) as i64));
    // SAFETY: a constant line.
    let transpose = unsafe { _mm512_load_si512((&raw const TRANSPOSE).cast()) };
    let words = _mm512_permutexvar_epi8(transpose, words);
    // Row `i` of the identity is bit `i`: multiplied by a word as a matrix it gives the word's transpose.
    let identity = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
    let index = _mm512_gf2p8affine_epi64_epi8::<0>(identity, words);

    let mut bytes = [_mm512_setzero_si512(); 4];
    for (byte, line) in bytes.iter_mut().zip(&tables[0]) {
        // SAFETY: a line of a table.
        *byte = _mm512_permutexvar_epi8(index, unsafe { _mm512_load_si512((&raw const *line).cast()) });
    }
    for (number, table) in tables.iter().enumerate().skip(1) {
        let upper = tables.len().trailing_zeros() as usize;
        let mut rows = u64::MAX;
        for bit in 0..upper {
            let plane = plane(6 + bit);
            rows &= if number >> bit & 1 == 1 { plane } else { !plane };
        }
        for (byte, line) in bytes.iter_mut().zip(table) {
            // SAFETY: a line of a table.
            let line = unsafe { _mm512_load_si512((&raw const *line).cast()) };
            *byte = _mm512_mask_permutexvar_epi8(*byte, rows, index, line);
        }
    }
    let [a, b, c, d] = bytes;
    let (ab_low, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
    let quarters = [
        _mm512_unpacklo_epi16(ab_low, cd_low),
        _mm512_unpackhi_epi16(ab_low, cd_low),
        _mm512_unpacklo_epi16(ab_high, cd_high),
        _mm512_unpackhi_epi16(ab_high, cd_high),
    ];
    for (quarter, values) in quarters.into_iter().enumerate() {
        let values = _mm512_castsi512_ps(values);
        let low = _mm512_cvtps_pd(_mm512_castps512_ps256(values));
        let high = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(values));
        // SAFETY: the caller's promise.
        unsafe {
            let sums = sums.add(quarter * 16);
            _mm512_store_pd(sums, _mm512_add_pd(_mm512_load_pd(sums), low));
            _mm512_store_pd(sums.add(8), _mm512_add_pd(_mm512_load_pd(sums.add(8)), high));
        }
    }
}
