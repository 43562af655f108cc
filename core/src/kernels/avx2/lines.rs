//! Bytes to lines: one bit a row for each question of a column.

use std::arch::x86_64::*;

use crate::kernels::{heap, portable};
use crate::layout::{BitRows, ColumnLines, Line, TILES};

/// See [`crate::kernels::Isa::bit_planes`], which checked the shapes.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn bit_planes(bit_rows: &BitRows, codes: &[u16], lines: &mut [Line]) {
    portable::bit_planes(bit_rows, codes, lines);
}

/// See [`crate::kernels::Isa::column_lines`], which checked the shapes.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn column_lines(
    made: &ColumnLines,
    bytes: &[Line; TILES],
    tiles: usize,
    lines: &mut [Line],
) {
    let bytes = bytes[..tiles].as_ptr().cast::<__m256i>();
    // SAFETY: a run of 32 bytes of a tile.
    let run = |run: usize| unsafe { _mm256_load_si256(bytes.add(run)) };
    if let ColumnLines::Sets { sets, .. } = made {
        let seven = _mm256_set1_epi8(7);
        let bit_of = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        for at in 0..tiles * 2 {
            let slot = run(at);
            let bit = _mm256_shuffle_epi8(bit_of, _mm256_and_si256(slot, seven));
            let byte = _mm256_and_si256(_mm256_srli_epi16::<3>(slot), seven);
            for (set, line) in sets.iter().zip(&mut *lines) {
                let set = _mm256_set1_epi64x(*set as i64);
                let found = _mm256_and_si256(_mm256_shuffle_epi8(set, byte), bit);
                let line: *mut i32 = (&raw mut *line).cast();
                // SAFETY: one of the 16 halves of a line's words.
                unsafe { *line.add(at) = _mm256_movemask_epi8(_mm256_cmpeq_epi8(found, bit)) };
            }
        }
        return;
    }
    let mut bits = [Line::ZERO; 8];
    for at in 0..tiles * 2 {
        let mut bytes = run(at);
        for line in bits.iter_mut().rev() {
            let line: *mut i32 = (&raw mut *line).cast();
            // SAFETY: one of the 16 halves of a line's words.
            unsafe { *line.add(at) = _mm256_movemask_epi8(bytes) };
            bytes = _mm256_add_epi8(bytes, bytes);
        }
    }
    for half in 0..tiles.div_ceil(TILES / 2) {
        let mut halves = [_mm256_setzero_si256(); 8];
        for (of, line) in halves.iter_mut().zip(&bits) {
            // SAFETY: half a line.
            *of = unsafe { _mm256_load_si256((&raw const *line).cast::<__m256i>().add(half)) };
        }
        // SAFETY: the column's lines.
        unsafe { heap::digit_lines(halves, made, lines.as_mut_ptr().cast::<u64>().add(half * 4)) };
    }
}
