//! How class probabilities are calibrated after prediction. Mirrors `CalibrationMojoHelper` and
//! `ModelMojoReader.readIsotonicCalibrator`.

use crate::archive::Archive;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::ini::Ini;

/// How class probabilities are calibrated after prediction.
#[derive(Debug, Clone, PartialEq)]
pub enum Calibration {
    /// Platt scaling: slope and intercept of a logistic regression on the probability of the first class.
    Platt(Vec<f64>),
    /// Isotonic regression: clip to `[min, max]`, then interpolate between thresholds.
    Isotonic {
        /// Lower clip of the input.
        min: f64,
        /// Upper clip of the input.
        max: f64,
        /// Thresholds, ascending.
        x: Vec<f64>,
        /// Value at each threshold; as long as `x`.
        y: Vec<f64>,
    },
}

/// Reads the calibration of a tree model, if it has one.
pub(super) fn read(archive: &mut Archive<'_>, ini: &Ini) -> Result<Option<Calibration>, Error> {
    const METHOD: &str = "calib_method";
    const BETA: &str = "calib_glm_beta";
    match ini.text(METHOD) {
        None => Ok(None),
        Some("platt") => {
            let beta = ini.doubles(BETA)?.unwrap_or_default();
            if beta.len() < 2 {
                return Err(ini.wrong(BETA, "a slope and an intercept are needed"));
            }
            Ok(Some(Calibration::Platt(beta)))
        }
        Some("isotonic") => {
            const X: &str = "calib/thresholds_x";
            const Y: &str = "calib/thresholds_y";
            let x = doubles(archive, X)?;
            let y = doubles(archive, Y)?;
            if x.len() != y.len() {
                return Err(
                    Error::malformed(format!("{} values for {} thresholds", y.len(), x.len())).in_entry(Y)
                );
            }
            // Java searches them by halves.
            if !x.is_sorted() {
                return Err(Error::malformed("the thresholds do not ascend").in_entry(X));
            }
            let min = ini.double("calib_min_x")?.unwrap_or(f64::NAN);
            let max = ini.double("calib_max_x")?.unwrap_or(f64::NAN);
            Ok(Some(Calibration::Isotonic { min, max, x, y }))
        }
        Some(other) => {
            Err(ini.wrong(METHOD, format!("the calibration method {other:?} is not one of H2O's")))
        }
    }
}

/// A count and as many doubles, highest byte first whatever the machine. Mirrors `ModelMojoReader.readblobDoubles`.
fn doubles(archive: &mut Archive<'_>, entry: &str) -> Result<Vec<f64>, Error> {
    let mut bytes = Vec::new();
    archive.require(entry, &mut bytes)?;
    let mut cursor = Cursor::new(&bytes);
    let mut read = || {
        let n = cursor.i32_be()?;
        if i64::from(n) * 8 != cursor.remaining() as i64 {
            return Err(Error::malformed(format!("{n} numbers declared, {} bytes left", cursor.remaining()))
                .at_byte(0));
        }
        (0..n).map(|_| cursor.f64_be()).collect()
    };
    read().map_err(|e: Error| e.in_entry(entry))
}
