//! Calibrated probabilities of two classes.
//!
//! Mirrors `CalibrationMojoHelper`, `IsotonicCalibrator` and `IsotonicRegressionUtils`.

use std::cmp::Ordering;

use cenote_mojo::algo::Calibration;

use super::Refusal;
use super::link::logistic;

/// The calibrated probability of the second class, from the uncalibrated ones of both.
pub(crate) fn second_class(calibration: &Calibration, first: f64, second: f64) -> Result<f64, Refusal> {
    match calibration {
        Calibration::Platt(beta) => match beta[..] {
            [slope, intercept, ..] => Ok(logistic(first * slope + intercept)),
            _ => Err(Refusal::index(beta.len() as i64, beta.len())),
        },
        Calibration::Isotonic { min, max, x, y } => isotonic(second, *min, *max, x, y),
    }
}

fn isotonic(p: f64, min: f64, max: f64, x: &[f64], y: &[f64]) -> Result<f64, Refusal> {
    let clipped = if p < min {
        min
    } else if p > max {
        max
    } else {
        p
    };
    if clipped.is_nan() || clipped < min || clipped > max {
        return Ok(f64::NAN);
    }
    let at = |values: &[f64], index: usize| {
        values.get(index).copied().ok_or_else(|| Refusal::index(index as i64, values.len()))
    };
    match java_search(x, clipped) {
        Ok(exact) => at(y, exact),
        Err(0) => Err(Refusal::index(-1, x.len())),
        Err(high) => {
            let low = high - 1;
            let (x_low, x_high) = (at(x, low)?, at(x, high)?);
            let (y_low, y_high) = (at(y, low)?, at(y, high)?);
            let slope = (y_high - y_low) / (x_high - x_low);
            Ok(y_low + slope * (clipped - x_low))
        }
    }
}

/// Where `key` stands among ascending numbers, or where it would.
///
/// Thresholds may stand twice, with values of their own, so it must end on the one of equals that `Arrays.binarySearch` ends
/// on; the standard library's search ends on another. The order is Java's: -0 below +0.
fn java_search(sorted: &[f64], key: f64) -> Result<usize, usize> {
    let (mut low, mut high) = (0, sorted.len());
    while low < high {
        let middle = low + (high - 1 - low) / 2;
        match sorted[middle].total_cmp(&key) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal => return Ok(middle),
        }
    }
    Err(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_thresholds_the_one_that_java_finds_decides() {
        // The indexes are what java.util.Arrays.binarySearch answers.
        let twice = [0.1, 0.2, 0.2, 0.3, 0.3, 0.3];
        let found = [0.0, 0.1, 0.15, 0.2, 0.3, 0.4].map(|key| java_search(&twice, key));
        assert_eq!(found, [Err(0), Ok(0), Err(1), Ok(2), Ok(4), Err(6)]);
        assert_eq!(java_search(&[-0.0, 0.0], 0.0), Ok(1));
        assert_eq!(java_search(&[], 0.0), Err(0));
    }

    #[test]
    fn between_thresholds_lies_a_line_and_outside_the_ends() {
        let calibrated = |p| isotonic(p, 0.1, 0.3, &[0.1, 0.3], &[0.0, 1.0]).unwrap();
        assert_eq!([0.0, 0.1, 0.3, 1.0].map(calibrated), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(calibrated(0.2), 0.0 + (1.0 - 0.0) / (0.3 - 0.1) * (0.2 - 0.1));
        assert!(calibrated(f64::NAN).is_nan());
    }
}
