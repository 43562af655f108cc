//! The corners of Java's arithmetic that Rust has otherwise.

/// `Math.max`: `NaN` if either is, and `+0` above `-0`.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == b {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// `Math.min`: `NaN` if either is, and `-0` below `+0`.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

/// `Math.pow`, which gives `NaN` where C gives 1: for a `NaN` exponent, and for 1 or -1 to an infinite power. A square is
/// a product in HotSpot; other powers are the platform's, which may differ from Java's in the last bit.
pub(crate) fn pow(x: f64, y: f64) -> f64 {
    if y == 2.0 {
        x * x
    } else if y.is_nan() || (x.abs() == 1.0 && y.is_infinite()) {
        f64::NAN
    } else {
        x.powf(y)
    }
}

/// The first `nextDouble` of a `java.util.Random` of that seed.
pub(crate) fn first_random_double(seed: i64) -> f64 {
    const MASK: u64 = (1 << 48) - 1;
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    let mut state = (seed as u64 ^ MULTIPLIER) & MASK;
    let mut next = |bits: u32| {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        state >> (48 - bits)
    };
    let high = next(26) << 27;
    (high + next(27)) as f64 * (1.0 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::{first_random_double, max, min, pow};

    #[test]
    fn extremes_treat_zeros_and_nan_as_java_does() {
        assert_eq!(max(-0.0, 0.0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(min(0.0, -0.0).to_bits(), (-0.0_f64).to_bits());
        assert!(max(f64::NAN, 1.0).is_nan() && min(1.0, f64::NAN).is_nan());
        assert_eq!((max(1.0, 2.0), min(1.0, 2.0)), (2.0, 1.0));
    }

    #[test]
    fn powers_of_one_are_not_always_one() {
        assert!(pow(1.0, f64::NAN).is_nan() && pow(-1.0, f64::INFINITY).is_nan());
        assert_eq!(pow(f64::NAN, 0.0), 1.0);
        assert_eq!(pow(0.347_742_633_933_974_1, 2.0), 0.347_742_633_933_974_1 * 0.347_742_633_933_974_1);
    }

    /// Values of OpenJDK 17.
    #[test]
    fn random_is_java_util_random() {
        assert_eq!(first_random_double(42), 0.727_563_680_032_868_1);
        assert_eq!(first_random_double(-7), 0.269_121_809_326_076_1);
    }
}
