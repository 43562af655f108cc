//! From class probabilities to the predicted label.
//!
//! Mirrors `GenModel.getPrediction`, `getPredictionBinomial` and `getPredictionMultinomial`.

use super::Refusal;
use super::java;

/// The label of the second of two classes if its probability reaches the threshold; `NaN` does not.
#[inline]
pub(crate) fn of_two(second: f64, threshold: f64) -> u32 {
    u32::from(second >= threshold)
}

/// The label of the most probable of many classes. A tie is broken at random, weighted by the classes' prior shares,
/// with a generator that the row's own bits seed: `hash` gives that seed.
///
/// `classes` are columns of `rows` probabilities each, one column after the other.
pub(crate) fn of_many(
    classes: &[f64],
    rows: usize,
    row: usize,
    priors: Option<&[f64]>,
    hash: impl FnOnce() -> i64,
) -> Result<u32, Refusal> {
    let mut best = 0;
    let mut most = classes[row];
    let mut ties = 0;
    for (class, column) in classes.chunks_exact(rows).enumerate().skip(1) {
        let probability = column[row];
        ties = if most < probability { 0 } else { ties + i32::from(most == probability) };
        (best, most) = if most < probability { (class, probability) } else { (best, most) };
    }
    if ties == 0 {
        return Ok(best as u32);
    }
    let probabilities: Vec<f64> = classes.chunks_exact(rows).map(|column| column[row]).collect();
    break_tie(&probabilities, priors, best, ties, hash())
}

#[cold]
fn break_tie(
    probabilities: &[f64],
    priors: Option<&[f64]>,
    best: usize,
    ties: i32,
    hash: i64,
) -> Result<u32, Refusal> {
    if let Some(priors) = priors {
        // H2O's list of ties always begins with class 0, and keeps ties for a lead that was lost later.
        let mut tied = vec![0];
        let mut lead = 0;
        for (class, probability) in probabilities.iter().enumerate().skip(1) {
            if probabilities[lead] < *probability {
                lead = class;
            } else if probabilities[lead] == *probability {
                tied.push(class);
            }
        }
        let prior = |class: usize| {
            priors.get(class).copied().ok_or_else(|| Refusal::index(class as i64, priors.len()))
        };
        let mut sum = 0.0;
        for class in &tied {
            sum += prior(*class)?;
        }
        let drawn = java::first_random_double(hash);
        let mut partial = 0.0;
        for class in &tied {
            partial += prior(*class)? / sum;
            if drawn <= partial {
                return Ok(*class as u32);
            }
        }
    }
    // Without usable priors: one of the equal ones, counted by the hash's low half.
    let mut left = hash as i32 % (ties + 1);
    for (class, probability) in probabilities.iter().enumerate() {
        if *probability == probabilities[best] {
            left -= 1;
            if left < 0 {
                return Ok(class as u32);
            }
        }
    }
    Err(Refusal { class: "java.lang.RuntimeException", message: "Should Not Reach Here".to_owned() })
}

/// What a raw feature adds, by exclusive or, to the seed of a tie-break.
#[inline]
pub(crate) fn hash_of(feature: f64) -> i64 {
    feature.to_bits() as i64 >> 6
}

#[cfg(test)]
mod tests {
    use super::{of_many, of_two};

    #[test]
    fn nan_is_below_every_threshold() {
        assert_eq!(of_two(f64::NAN, 0.0), 0);
        assert_eq!(of_two(0.5, 0.5), 1);
    }

    #[test]
    fn a_clear_lead_needs_no_draw() {
        assert_eq!(of_many(&[0.2, 0.5, 0.3], 1, 0, None, || unreachable!()), Ok(1));
        assert_eq!(of_many(&[f64::NAN, 0.5, 0.3], 1, 0, None, || unreachable!()), Ok(0));
    }

    #[test]
    fn a_tie_without_priors_is_broken_by_the_hash() {
        assert_eq!(of_many(&[0.5, 0.5], 1, 0, None, || 0), Ok(0));
        assert_eq!(of_many(&[0.5, 0.5], 1, 0, None, || 1), Ok(1));
        assert_eq!(of_many(&[0.2, 0.4, 0.4], 1, 0, None, || 3), Ok(2));
    }

    /// The draw for seed 0 is 0.73: past class 0's share of 0.4 / 0.6, though class 0 is not even in the lead.
    #[test]
    fn a_tie_is_drawn_by_prior_shares_with_class_0_always_among_the_tied() {
        assert_eq!(of_many(&[0.2, 0.4, 0.4], 1, 0, Some(&[0.4, 0.4, 0.2]), || 0), Ok(2));
        assert_eq!(of_many(&[0.2, 0.4, 0.4], 1, 0, Some(&[0.8, 0.0, 0.2]), || 0), Ok(0));
    }
}
