//! Linear predictors: coefficients of levels, and products of columns and coefficients, added to a sum a row.
//!
//! In flow raw columns and tables whose makers checked every index; out flow sums, a run of rows for each predictor, one
//! run after the other. A row's sum takes its terms in order, each product rounded before it is added, so that no width
//! changes a bit.
//!
//! Rows are the lanes. Four columns are read at a time, for four predictors at a time where there are so many.

use super::Isa;

/// The columns of numbers, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// A column each, as long as there are rows.
    pub(crate) columns: &'a [&'a [f64]],
    /// What stands for `NaN` in each.
    pub(crate) missing: &'a [f64],
    /// The coefficients of each predictor, one a column.
    pub(crate) coefficients: &'a [&'a [f64]],
}

/// Where the codes of a categorical column stand in its table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots {
    /// Of a code that has no coefficient, from this code on.
    pub(crate) beyond: u32,
    /// Of a missing value, if that does not stop the row.
    pub(crate) missing: Option<u32>,
}

/// Codes from here on are left to the scalar rules, for Java's `int` may overflow.
const LARGE: f64 = (1 << 30) as f64;
/// Added to a number below `2^52`, its low bits are the number rounded to a whole one.
const WHOLE: f64 = (1_u64 << 52) as f64;

/// How many columns are read in one pass. More would be faster from the first cache, but columns of a batch often begin at
/// the same place of a page, and then more than a set of that cache has ways push each other out.
const PASS: usize = 4;

/// Some columns, and as many predictors as their sums are added to at once.
struct Pass<'a, const N: usize> {
    columns: [&'a [f64]; N],
    missing: [f64; N],
    coefficients: [[f64; N]; PASS],
}

impl<'a> Terms<'a> {
    /// The columns from `first` on, for the predictors from `predictor` on; what is past the last predictor is 0.
    fn pass<const N: usize>(&self, first: usize, predictor: usize, rows: usize) -> Pass<'a, N> {
        Pass {
            columns: std::array::from_fn(|at| &self.columns[first + at][..rows]),
            missing: std::array::from_fn(|at| self.missing[first + at]),
            coefficients: std::array::from_fn(|k| {
                let coefficients = self.coefficients.get(predictor + k);
                std::array::from_fn(|at| coefficients.map_or(0.0, |of| of[first + at]))
            }),
        }
    }
}

impl<const N: usize> Pass<'_, N> {
    /// Adds the products of `K` predictors for the rows from `from` on.
    fn add<const K: usize>(&self, from: usize, rows: usize, sums: &mut [f64]) {
        for (at, coefficients) in self.coefficients.iter().take(K).enumerate() {
            for (row, sum) in sums[at * rows..][..rows].iter_mut().enumerate().skip(from) {
                for ((column, coefficient), missing) in
                    self.columns.iter().zip(coefficients).zip(&self.missing)
                {
                    let value = if column[row].is_nan() { *missing } else { column[row] };
                    *sum += coefficient * value;
                }
            }
        }
    }
}

/// Adds the products of all columns for all predictors, by what adds those of four columns or one for four predictors or
/// one.
macro_rules! add_terms {
    ($terms:expr, $rows:expr, $sums:expr, $add:path) => {{
        let (terms, rows, sums): (&Terms<'_>, usize, &mut [f64]) = ($terms, $rows, $sums);
        let (columns, predictors) = (terms.columns.len(), terms.coefficients.len());
        for first in (0..columns / PASS * PASS).step_by(PASS) {
            for predictor in (0..predictors / PASS * PASS).step_by(PASS) {
                $add(&terms.pass::<PASS>(first, predictor, rows), rows, PASS, &mut sums[predictor * rows..]);
            }
            for predictor in predictors / PASS * PASS..predictors {
                $add(&terms.pass::<PASS>(first, predictor, rows), rows, 1, &mut sums[predictor * rows..]);
            }
        }
        // Of the columns that are left, each is a pass of its own.
        for first in columns / PASS * PASS..columns {
            for predictor in 0..predictors {
                terms.pass::<1>(first, predictor, rows).add::<1>(0, rows, &mut sums[predictor * rows..]);
            }
        }
    }};
}

/// A pass in plain instructions.
fn add_pass(pass: &Pass<'_, PASS>, rows: usize, predictors: usize, sums: &mut [f64]) {
    match predictors {
        PASS => pass.add::<PASS>(0, rows, sums),
        _ => pass.add::<1>(0, rows, sums),
    }
}

/// Asks for the rows that stand a slice further: a caller's column goes on there, and is read from memory for the next run
/// of rows. Nothing comes of an address where there is nothing.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
fn fetch_ahead(column: &[f64], from: usize) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    let address = column.as_ptr().wrapping_add(column.len() + from);
    // SAFETY: a prefetch reads nothing that a program could see, and never faults.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) };
}

/// The place of a value in its column's table, and whether it is a code or a missing value; some place in any case.
#[inline]
fn slot(slots: Slots, value: f64) -> (usize, bool) {
    if value.is_nan() {
        return (slots.missing.unwrap_or_default() as usize, slots.missing.is_some());
    }
    let code = value as u32;
    ((code.min(slots.beyond)) as usize, f64::from(code) == value && value < LARGE)
}

/// The rows from `from` on of what [`Isa::add_levels`] does.
fn add_levels(slots: Slots, table: &[&[f64]], values: &[f64], from: usize, sums: &mut [f64], odd: &mut [u8]) {
    let rows = values.len();
    for row in from..rows {
        let (slot, fits) = slot(slots, values[row]);
        odd[row / 8] |= u8::from(!fits) << (row % 8);
        for (predictor, values) in table.iter().enumerate() {
            sums[predictor * rows + row] += values[slot];
        }
    }
}

/// The first of two classes is what the second leaves of 1; the label is 1 from the threshold on, where `NaN` is not.
#[inline(always)]
fn two_classes(second: &[f64], threshold: f64, first: &mut [f64], labels: &mut [u32]) {
    for ((second, first), label) in second.iter().zip(first).zip(labels) {
        *first = 1.0 - *second;
        *label = u32::from(*second >= threshold);
    }
}

/// What the two wide sets share: the passes by hand, since the compiler keeps arrays of lanes in memory, and the rest as the
/// compiler makes it.
macro_rules! twins {
    ($features:literal, $lanes:literal, $load:ident, $store:ident, $set:ident, $add:ident, $mul:ident) => {
        #[target_feature(enable = $features)]
        pub(super) fn add_terms(terms: &Terms<'_>, rows: usize, sums: &mut [f64]) {
            super::add_terms!(terms, rows, sums, add_pass);
        }

        /// Adds the products of four columns for four predictors, or one.
        #[target_feature(enable = $features)]
        fn add_pass(pass: &Pass<'_, PASS>, rows: usize, predictors: usize, sums: &mut [f64]) {
            assert!(
                pass.columns.iter().all(|column| column.len() == rows) && sums.len() >= predictors * rows
            );
            let [a, b, c, d] = pass.columns.map(<[f64]>::as_ptr);
            let missing = pass.missing.map(|missing| $set(missing));
            let first = pass.coefficients[0].map(|coefficient| $set(coefficient));
            let whole = rows / $lanes * $lanes;
            for row in (0..whole).step_by($lanes) {
                pass.columns.iter().for_each(|column| fetch_ahead(column, row));
                // SAFETY: the rows from `row` on, as many as there are lanes, are below `rows`: all columns have them.
                let a = imputed(unsafe { $load(a.add(row)) }, missing[0]);
                // SAFETY: as above.
                let b = imputed(unsafe { $load(b.add(row)) }, missing[1]);
                // SAFETY: as above.
                let c = imputed(unsafe { $load(c.add(row)) }, missing[2]);
                // SAFETY: as above.
                let d = imputed(unsafe { $load(d.add(row)) }, missing[3]);
                let out = sums.as_mut_ptr();
                // SAFETY: each predictor has as many sums as there are rows.
                let sum = unsafe { $load(out.add(row)) };
                let sum = $add($add(sum, $mul(first[0], a)), $mul(first[1], b));
                let sum = $add($add(sum, $mul(first[2], c)), $mul(first[3], d));
                // SAFETY: as above.
                unsafe { $store(out.add(row), sum) };
                for (predictor, of) in pass.coefficients.iter().enumerate().take(predictors).skip(1) {
                    let at = predictor * rows + row;
                    // SAFETY: as above.
                    let sum = unsafe { $load(out.add(at)) };
                    let sum = $add($add(sum, $mul($set(of[0]), a)), $mul($set(of[1]), b));
                    let sum = $add($add(sum, $mul($set(of[2]), c)), $mul($set(of[3]), d));
                    // SAFETY: as above.
                    unsafe { $store(out.add(at), sum) };
                }
            }
            match predictors {
                PASS => pass.add::<PASS>(whole, rows, sums),
                _ => pass.add::<1>(whole, rows, sums),
            }
        }

        #[target_feature(enable = $features)]
        pub(super) fn two_classes(second: &[f64], threshold: f64, first: &mut [f64], labels: &mut [u32]) {
            super::two_classes(second, threshold, first, labels);
        }
    };
}
#[cfg(target_arch = "x86_64")]
use add_terms;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{LARGE, PASS, Pass, Slots, Terms, WHOLE, fetch_ahead};

    twins!("avx2", 4, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_set1_pd, _mm256_add_pd, _mm256_mul_pd);

    /// The values, `missing` in place of `NaN`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn imputed(values: __m256d, missing: __m256d) -> __m256d {
        _mm256_blendv_pd(values, missing, _mm256_cmp_pd::<_CMP_UNORD_Q>(values, values))
    }

    /// See [`super::Isa::add_levels`]; a table of a predictor is longer than every slot.
    #[target_feature(enable = "avx2")]
    pub(super) fn add_levels(
        slots: Slots,
        table: &[&[f64]],
        values: &[f64],
        sums: &mut [f64],
        odd: &mut [u8],
    ) {
        let rows = values.len();
        let whole = _mm256_set1_pd(WHOLE);
        let beyond = _mm256_set1_pd(slots.beyond.into());
        let missing = _mm256_set1_pd(slots.missing.unwrap_or_default().into());
        let fours = values.as_chunks::<4>().0;
        for (at, four) in fours.iter().enumerate() {
            if at % 2 == 0 {
                fetch_ahead(values, at * 4);
            }
            // SAFETY: four numbers can be read.
            let value = unsafe { _mm256_loadu_pd(four.as_ptr()) };
            let shifted = _mm256_add_pd(value, whole);
            let is_whole = _mm256_cmp_pd::<_CMP_EQ_OQ>(_mm256_sub_pd(shifted, whole), value);
            let fits = _mm256_and_pd(
                _mm256_and_pd(is_whole, _mm256_cmp_pd::<_CMP_GE_OQ>(value, _mm256_setzero_pd())),
                _mm256_cmp_pd::<_CMP_LT_OQ>(value, _mm256_set1_pd(LARGE)),
            );
            let is_missing = _mm256_cmp_pd::<_CMP_UNORD_Q>(value, value);
            let mut fits = _mm256_movemask_pd(fits);
            if slots.missing.is_some() {
                fits |= _mm256_movemask_pd(is_missing);
            }
            odd[at / 2] |= ((!fits & 0xf) as u8) << (at % 2 * 4);
            // The second operand is the answer where the first is NaN.
            let code = _mm256_min_pd(_mm256_max_pd(value, _mm256_setzero_pd()), beyond);
            let code = _mm256_blendv_pd(code, missing, is_missing);
            let slot =
                _mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(code, whole)), _mm256_castpd_si256(whole));
            for (predictor, table) in table.iter().enumerate() {
                // SAFETY: a slot is at most `beyond`, or `missing`: within the table.
                let added = unsafe { _mm256_i64gather_pd::<8>(table.as_ptr(), slot) };
                let sums = &mut sums[predictor * rows + at * 4..][..4];
                // SAFETY: four numbers can be read.
                let sum = _mm256_add_pd(unsafe { _mm256_loadu_pd(sums.as_ptr()) }, added);
                // SAFETY: four numbers can be written.
                unsafe { _mm256_storeu_pd(sums.as_mut_ptr(), sum) };
            }
        }
        super::add_levels(slots, table, values, fours.len() * 4, sums, odd);
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{LARGE, PASS, Pass, Slots, Terms, fetch_ahead};

    twins!(
        "avx512f,avx512bw,avx512dq,avx512vl",
        8,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_set1_pd,
        _mm512_add_pd,
        _mm512_mul_pd
    );

    /// The values, `missing` in place of `NaN`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn imputed(values: __m512d, missing: __m512d) -> __m512d {
        _mm512_mask_mov_pd(values, _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(values, values), missing)
    }

    /// See [`super::Isa::add_levels`]; a table of a predictor is longer than every slot.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn add_levels(
        slots: Slots,
        table: &[&[f64]],
        values: &[f64],
        sums: &mut [f64],
        odd: &mut [u8],
    ) {
        let rows = values.len();
        let beyond = _mm256_set1_epi32(slots.beyond as i32);
        let missing = _mm256_set1_epi32(slots.missing.unwrap_or_default() as i32);
        let missing_fits = if slots.missing.is_some() { 0xff } else { 0 };
        let eights = values.as_chunks::<8>().0;
        for (at, (eight, odd)) in eights.iter().zip(&mut *odd).enumerate() {
            fetch_ahead(values, at * 8);
            // SAFETY: eight numbers can be read.
            let value = unsafe { _mm512_loadu_pd(eight.as_ptr()) };
            let code = _mm512_cvttpd_epu32(value);
            let fits = _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(_mm512_cvtepu32_pd(code), value)
                & _mm512_cmp_pd_mask::<_CMP_LT_OQ>(value, _mm512_set1_pd(LARGE));
            let is_missing = _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(value, value);
            *odd |= !(fits | is_missing & missing_fits);
            let slot = _mm256_mask_mov_epi32(_mm256_min_epu32(code, beyond), is_missing, missing);
            for (predictor, table) in table.iter().enumerate() {
                // SAFETY: a slot is at most `beyond`, or `missing`: within the table.
                let added = unsafe { _mm512_i32gather_pd::<8>(slot, table.as_ptr()) };
                let sums = &mut sums[predictor * rows + at * 8..][..8];
                // SAFETY: eight numbers can be read.
                let sum = _mm512_add_pd(unsafe { _mm512_loadu_pd(sums.as_ptr()) }, added);
                // SAFETY: eight numbers can be written.
                unsafe { _mm512_storeu_pd(sums.as_mut_ptr(), sum) };
            }
        }
        super::add_levels(slots, table, values, eights.len() * 8, sums, odd);
    }
}

impl Isa {
    /// Adds each column's product to the sums of each predictor, columns ascending.
    ///
    /// # Panics
    /// If a column has not as many rows, or there are not so many sums, coefficients or stand-ins.
    pub(crate) fn add_terms(self, terms: &Terms<'_>, rows: usize, sums: &mut [f64]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx512(_) => unsafe { avx512::add_terms(terms, rows, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx2(_) => unsafe { avx2::add_terms(terms, rows, sums) },
            _ => add_terms!(terms, rows, sums, add_pass),
        }
    }

    /// Adds to each predictor's sums what its table says of each value's code, and marks the rows whose value is no code by
    /// a bit, eight rows a byte: what is added for these means nothing.
    ///
    /// # Panics
    /// If a table lacks a slot, or there are not as many sums or bits.
    pub(crate) fn add_levels(
        self,
        slots: Slots,
        table: &[&[f64]],
        values: &[f64],
        sums: &mut [f64],
        odd: &mut [u8],
    ) {
        let last = slots.beyond.max(slots.missing.unwrap_or_default());
        assert!(last < 1 << 30 && table.iter().all(|table| table.len() > last as usize));
        assert!(sums.len() >= table.len() * values.len() && odd.len() >= values.len().div_ceil(8));
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx512(_) => unsafe { avx512::add_levels(slots, table, values, sums, odd) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx2(_) => unsafe { avx2::add_levels(slots, table, values, sums, odd) },
            _ => add_levels(slots, table, values, 0, sums, odd),
        }
    }

    /// From the second class's probabilities to the first's, and to labels: 1 from the threshold on.
    pub(crate) fn two_classes(self, second: &[f64], threshold: f64, first: &mut [f64], labels: &mut [u32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx512(_) => unsafe { avx512::two_classes(second, threshold, first, labels) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx2(_) => unsafe { avx2::two_classes(second, threshold, first, labels) },
            _ => two_classes(second, threshold, first, labels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [f64; 18] = [
        f64::NAN,
        0.0,
        -0.0,
        1.0,
        2.0,
        3.0,
        4.0,
        2.5,
        -1.0,
        -0.5,
        1e-300,
        1073741823.0,
        1073741824.0,
        2147483647.0,
        4503599627370497.0,
        1e300,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];

    #[test]
    fn every_set_adds_the_coefficients_of_codes_and_marks_the_rest() {
        let tables: [[f64; 6]; 2] = [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [1.1, 1.2, 1.3, 1.4, 1.5, 1.6]];
        let table = tables.each_ref().map(<[f64; 6]>::as_slice);
        for isa in Isa::available() {
            for missing in [None, Some(5)] {
                for length in 0..EDGES.len() {
                    let (mut sums, mut odd) = (vec![7.0; 2 * length], vec![0; length.div_ceil(8)]);
                    let slots = Slots { beyond: 4, missing };
                    isa.add_levels(slots, &table, &EDGES[..length], &mut sums, &mut odd);
                    for (at, value) in EDGES[..length].iter().enumerate() {
                        let code = *value as i32;
                        let is_code = f64::from(code) == *value && (0..1 << 30).contains(&code);
                        let slot = match (value.is_nan(), is_code) {
                            (true, _) => missing,
                            (_, true) => Some((code as u32).min(4)),
                            _ => None,
                        };
                        let is_odd = odd[at / 8] >> (at % 8) & 1 == 1;
                        assert_eq!(is_odd, slot.is_none(), "{value} by {}", isa.name());
                        for (predictor, table) in table.iter().enumerate().filter(|_| slot.is_some()) {
                            let expected = 7.0 + table[slot.unwrap_or_default() as usize];
                            assert_eq!(sums[predictor * length + at], expected, "{value} by {}", isa.name());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_set_adds_products_in_order() {
        let mut columns: [Vec<f64>; 5] =
            std::array::from_fn(|term| (0..67).map(|row| 0.1 + (row * 7 + term * 3) as f64 / 9.0).collect());
        columns[1][5] = f64::NAN;
        columns[2][66] = f64::INFINITY;
        let missing = [0.0, 0.7, f64::NAN, 0.0, 0.1];
        let coefficients: [[f64; 5]; 6] = std::array::from_fn(|predictor| {
            std::array::from_fn(|term| (predictor * 5 + term) as f64 / 7.0 - 2.0)
        });
        for isa in Isa::available() {
            for (length, predictors) in (0..=67).flat_map(|length| (1..=6).map(move |k| (length, k))) {
                let mut sums = vec![0.1; length * predictors];
                let columns = columns.each_ref().map(|column| &column[..length]);
                let coefficients = coefficients.each_ref().map(<[f64; 5]>::as_slice);
                let coefficients = &coefficients[..predictors];
                let terms = Terms { columns: &columns, missing: &missing, coefficients };
                isa.add_terms(&terms, length, &mut sums);
                for (at, sum) in sums.iter().enumerate() {
                    let (predictor, row) = (at / length, at % length);
                    let mut expected = 0.1;
                    for (term, column) in columns.iter().enumerate() {
                        let value = if column[row].is_nan() { missing[term] } else { column[row] };
                        expected += coefficients[predictor][term] * value;
                    }
                    assert_eq!(sum.to_bits(), expected.to_bits(), "row {row} by {}", isa.name());
                }
            }
        }
    }

    #[test]
    fn the_threshold_itself_is_the_second_class() {
        let second = [0.2, 0.3, f64::NAN, 0.30000000000000004, 1.0, 0.0, 0.29, 0.31, 0.3];
        for isa in Isa::available() {
            let (mut first, mut labels) = ([0.0; 9], [9; 9]);
            isa.two_classes(&second, 0.3, &mut first, &mut labels);
            assert_eq!(labels, [0, 1, 0, 1, 1, 0, 0, 1, 1], "by {}", isa.name());
            assert_eq!((first[0], first[4]), (0.8, 0.0));
        }
    }
}
