//! [`exp`](super::exp) and the logistic function of many numbers: the same operations in the same order, a number a lane.
//!
//! In flows a slice; out flow, in its place, the bits that the scalar form gives each number. Lanes in which the method
//! changes (`NaN`, results near the ends of the range, arguments too small to matter) are left to the scalar form.

use super::Isa;
use super::exp::exp;

/// `1 / (1 + e^-x)`, the power being at most `most`; `NaN` stays `NaN`.
#[inline]
fn logistic(x: f64, most: f64) -> f64 {
    let power = exp(-x);
    1.0 / (if power > most { most } else { power } + 1.0)
}

impl Isa {
    /// `e` to the power of each, as [`exp`].
    pub(crate) fn exps(self, values: &mut [f64]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx512(_) => unsafe { avx512::exps(values) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx2(_) => unsafe { avx2::exps(values) },
            _ => values.iter_mut().for_each(|value| *value = exp(*value)),
        }
    }

    /// `1 / (1 + e^-x)` of each, the power being at most `most`: infinity where nothing stops it.
    pub(crate) fn logistics(self, values: &mut [f64], most: f64) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx512(_) => unsafe { avx512::logistics(values, most) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx2(_) => unsafe { avx2::logistics(values, most) },
            _ => values.iter_mut().for_each(|value| *value = logistic(*value, most)),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::super::exp::*;

    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn exps(values: &mut [f64]) {
        each(values, |x| exp8(x));
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn logistics(values: &mut [f64], most: f64) {
        let (one, most) = (_mm512_set1_pd(1.0), _mm512_set1_pd(most));
        each(values, |x| {
            let power = exp8(_mm512_xor_pd(x, _mm512_set1_pd(-0.0)));
            // The second operand is the answer where one is NaN.
            _mm512_div_pd(one, _mm512_add_pd(_mm512_min_pd(most, power), one))
        });
    }

    /// Replaces eight numbers at a time.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn each(values: &mut [f64], of: impl Fn(__m512d) -> __m512d) {
        for chunk in values.chunks_mut(8) {
            let lanes = 0xff >> (8 - chunk.len());
            // SAFETY: as many numbers as the chunk has are read.
            let x = unsafe { _mm512_maskz_loadu_pd(lanes, chunk.as_ptr()) };
            // SAFETY: as many are written.
            unsafe { _mm512_mask_storeu_pd(chunk.as_mut_ptr(), lanes, of(x)) };
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn exp8(x: __m512d) -> __m512d {
        let set = |value: f64| _mm512_set1_pd(value);
        let (add, mul) = (|a, b| _mm512_add_pd(a, b), |a, b| _mm512_mul_pd(a, b));
        let shifted = add(mul(x, set(STEPS_A_UNIT)), set(ROUND));
        let steps = _mm512_castpd_si512(shifted);
        let count = _mm512_sub_pd(shifted, set(ROUND));
        let y = _mm512_sub_pd(_mm512_sub_pd(x, mul(count, set(STEP_HEAD))), mul(count, set(STEP_TAIL)));
        // Pairs: head and tail.
        let at = _mm512_slli_epi64::<1>(_mm512_and_si512(steps, _mm512_set1_epi64(63)));
        let table = POWERS.as_ptr().cast::<f64>();
        // SAFETY: `at` is even and below 128, and the table has 128 numbers.
        let head = unsafe { _mm512_i64gather_pd::<8>(at, table) };
        // SAFETY: as before; the last is 127.
        let tail = unsafe { _mm512_i64gather_pd::<8>(at, table.add(1)) };
        let square = mul(y, y);
        let cube = mul(square, y);
        let fifth = mul(mul(cube, square), add(mul(set(P6), y), set(P5)));
        let third = mul(cube, add(mul(set(P4), y), set(P3)));
        let part = add(add(third, add(add(y, tail), fifth)), mul(square, set(P2)));
        // The steps past the table are the exponent's, of which twelve bits matter.
        let exponent = _mm512_slli_epi64::<52>(_mm512_srli_epi64::<6>(steps));
        let power = _mm512_castsi512_pd(_mm512_add_epi64(_mm512_castpd_si512(head), exponent));
        let result = add(mul(part, power), power);
        let size = _mm512_abs_pd(x);
        let usual = _mm512_cmp_pd_mask::<_CMP_GE_OQ>(size, set(TINY))
            & _mm512_cmp_pd_mask::<_CMP_LT_OQ>(size, set(LARGE));
        if usual == 0xff { result } else { mended(x, result, usual) }
    }

    /// The lanes that are not usual, one by one.
    #[cold]
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn mended(x: __m512d, result: __m512d, usual: u8) -> __m512d {
        let (mut from, mut to) = ([0.0; 8], [0.0; 8]);
        // SAFETY: eight numbers can be written.
        unsafe { _mm512_storeu_pd(from.as_mut_ptr(), x) };
        // SAFETY: eight numbers can be written.
        unsafe { _mm512_storeu_pd(to.as_mut_ptr(), result) };
        for lane in (0..8).filter(|lane| usual >> lane & 1 == 0) {
            to[lane] = exp(from[lane]);
        }
        // SAFETY: eight numbers can be read.
        unsafe { _mm512_loadu_pd(to.as_ptr()) }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::super::exp::*;

    #[target_feature(enable = "avx2")]
    pub(super) fn exps(values: &mut [f64]) {
        each(values, |x| exp4(x));
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn logistics(values: &mut [f64], most: f64) {
        let (one, most) = (_mm256_set1_pd(1.0), _mm256_set1_pd(most));
        each(values, |x| {
            let power = exp4(_mm256_xor_pd(x, _mm256_set1_pd(-0.0)));
            // The second operand is the answer where one is NaN.
            _mm256_div_pd(one, _mm256_add_pd(_mm256_min_pd(most, power), one))
        });
    }

    /// Replaces four numbers at a time.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn each(values: &mut [f64], of: impl Fn(__m256d) -> __m256d) {
        for chunk in values.chunks_mut(4) {
            let mut four = [0.0; 4];
            four[..chunk.len()].copy_from_slice(chunk);
            // SAFETY: four numbers can be read.
            let result = of(unsafe { _mm256_loadu_pd(four.as_ptr()) });
            // SAFETY: four numbers can be written.
            unsafe { _mm256_storeu_pd(four.as_mut_ptr(), result) };
            chunk.copy_from_slice(&four[..chunk.len()]);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn exp4(x: __m256d) -> __m256d {
        let set = |value: f64| _mm256_set1_pd(value);
        let (add, mul) = (|a, b| _mm256_add_pd(a, b), |a, b| _mm256_mul_pd(a, b));
        let shifted = add(mul(x, set(STEPS_A_UNIT)), set(ROUND));
        let steps = _mm256_castpd_si256(shifted);
        let count = _mm256_sub_pd(shifted, set(ROUND));
        let y = _mm256_sub_pd(_mm256_sub_pd(x, mul(count, set(STEP_HEAD))), mul(count, set(STEP_TAIL)));
        // Pairs: head and tail.
        let at = _mm256_slli_epi64::<1>(_mm256_and_si256(steps, _mm256_set1_epi64x(63)));
        let table = POWERS.as_ptr().cast::<f64>();
        // SAFETY: `at` is even and below 128, and the table has 128 numbers.
        let head = unsafe { _mm256_i64gather_pd::<8>(table, at) };
        // SAFETY: as before; the last is 127.
        let tail = unsafe { _mm256_i64gather_pd::<8>(table.add(1), at) };
        let square = mul(y, y);
        let cube = mul(square, y);
        let fifth = mul(mul(cube, square), add(mul(set(P6), y), set(P5)));
        let third = mul(cube, add(mul(set(P4), y), set(P3)));
        let part = add(add(third, add(add(y, tail), fifth)), mul(square, set(P2)));
        // The steps past the table are the exponent's, of which twelve bits matter.
        let exponent = _mm256_slli_epi64::<52>(_mm256_srli_epi64::<6>(steps));
        let power = _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(head), exponent));
        let result = add(mul(part, power), power);
        let size = _mm256_andnot_pd(_mm256_set1_pd(-0.0), x);
        let usual = _mm256_and_pd(
            _mm256_cmp_pd::<_CMP_GE_OQ>(size, set(TINY)),
            _mm256_cmp_pd::<_CMP_LT_OQ>(size, set(LARGE)),
        );
        let usual = _mm256_movemask_pd(usual);
        if usual == 0xf { result } else { mended(x, result, usual) }
    }

    /// The lanes that are not usual, one by one.
    #[cold]
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    fn mended(x: __m256d, result: __m256d, usual: i32) -> __m256d {
        let (mut from, mut to) = ([0.0; 4], [0.0; 4]);
        // SAFETY: four numbers can be written.
        unsafe { _mm256_storeu_pd(from.as_mut_ptr(), x) };
        // SAFETY: four numbers can be written.
        unsafe { _mm256_storeu_pd(to.as_mut_ptr(), result) };
        for lane in (0..4).filter(|lane| usual >> lane & 1 == 0) {
            to[lane] = exp(from[lane]);
        }
        // SAFETY: four numbers can be read.
        unsafe { _mm256_loadu_pd(to.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments at and beside every change of method, and many between.
    fn arguments() -> Vec<f64> {
        let mut all = vec![
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            0.0,
            -0.0,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            f64::MIN,
        ];
        for edge in [2f64.powi(-54), 619.0, 709.782712893384, 708.3964185322641, 745.1332191019411, 1024.0] {
            for bits in edge.to_bits() - 2..=edge.to_bits() + 2 {
                all.extend([f64::from_bits(bits), -f64::from_bits(bits)]);
            }
        }
        let mut state = 7u64;
        for number in 0..200_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let unit = (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
            let wide = [2.0, 20.0, 1300.0, 1600.0][number & 3];
            all.push(if number % 97 == 0 { f64::from_bits(state) } else { unit * wide });
        }
        all
    }

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    #[test]
    fn every_set_gives_the_bits_of_the_scalar_form() {
        let all = arguments();
        for isa in Isa::available() {
            let mut found = all.clone();
            isa.exps(&mut found);
            for (x, found) in all.iter().zip(found) {
                assert!(same(found, exp(*x)), "exp({x:e}) by {}", isa.name());
            }
            for most in [f64::INFINITY, 1e19] {
                let mut found = all.clone();
                isa.logistics(&mut found, most);
                for (x, found) in all.iter().zip(found) {
                    assert!(same(found, logistic(*x, most)), "logistic({x:e}) by {}", isa.name());
                }
            }
        }
    }

    #[test]
    fn every_length_is_done_and_no_more() {
        let all = &arguments()[100..130];
        for isa in Isa::available() {
            for length in 0..all.len() {
                let mut found = all.to_vec();
                isa.exps(&mut found[..length]);
                for (at, x) in all.iter().enumerate() {
                    let expected = if at < length { exp(*x) } else { *x };
                    assert_eq!(found[at].to_bits(), expected.to_bits(), "{at} of {length} by {}", isa.name());
                }
            }
        }
    }
}
