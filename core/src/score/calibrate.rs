//! Calibrated probabilities of two classes.
//!
//! Mirrors `CalibrationMojoHelper`, `IsotonicCalibrator` and `IsotonicRegressionUtils`.

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
    match x.binary_search_by(|threshold| java_order(*threshold, clipped)) {
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

/// The order of `Arrays.binarySearch`, for which -0 is below +0.
fn java_order(a: f64, b: f64) -> std::cmp::Ordering {
    a.total_cmp(&b)
}
