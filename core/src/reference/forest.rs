//! Forests: `scoreTreeRange`, then `unifyPreds` of GBM and DRF on the `preds` array, then calibration.

use cenote_mojo::algo::{Calibration, Distribution, Drf, Forest, Gbm, Link};
use cenote_mojo::{Artifact, Body};

use super::{index, throw, tree};
use crate::predictions::RowError;
use crate::score::exp::exp;
use crate::score::java;

pub(super) fn of(artifact: &Artifact) -> &Forest {
    match &artifact.body {
        Body::Gbm(gbm) => &gbm.forest,
        Body::Drf(drf) => &drf.forest,
        _ => panic!("no trees in {}", artifact.manifest.algorithm),
    }
}

/// Adds the trees of the first `groups` groups.
pub(super) fn sums(
    artifact: &Artifact,
    forest: &Forest,
    row: &[f64],
    groups: usize,
    preds: &mut [f64],
) -> Result<(), RowError> {
    let first = usize::from(artifact.manifest.n_classes != 1);
    for class in 0..forest.trees_per_group {
        for group in 0..groups {
            if let Some(tree) = &forest.trees[class * forest.groups + group] {
                preds[first + class] += tree::score(&artifact.schema, forest.rules, tree, row)?;
            }
        }
    }
    Ok(())
}

pub(super) fn unify_gbm(
    artifact: &Artifact,
    gbm: &Gbm,
    row: &[f64],
    offset: f64,
    preds: &mut [f64],
) -> Result<(), RowError> {
    match gbm.distribution {
        Distribution::Bernoulli | Distribution::QuasiBinomial | Distribution::ModifiedHuber => {
            let f = preds[1] + gbm.init_f + offset;
            preds[2] = link_inverse(gbm.link, f);
            preds[1] = 1.0 - preds[2];
        }
        Distribution::Multinomial => {
            if artifact.manifest.n_classes == 2 {
                preds[1] += gbm.init_f + offset;
                preds[2] = -preds[1];
            }
            let mut greatest = f64::NEG_INFINITY;
            for p in &preds[1..] {
                greatest = java::max(greatest, *p);
            }
            let mut sum = 0.0;
            for p in &mut preds[1..] {
                *p = exp(*p - greatest);
                sum += *p;
            }
            for p in &mut preds[1..] {
                *p /= sum;
            }
        }
        _ => {
            let f = preds[0] + gbm.init_f + offset;
            preds[0] = link_inverse(gbm.link, f);
            return Ok(());
        }
    }
    correct_and_choose(artifact, row, preds)
}

pub(super) fn unify_drf(
    artifact: &Artifact,
    drf: &Drf,
    row: &[f64],
    preds: &mut [f64],
) -> Result<(), RowError> {
    let classes = artifact.manifest.n_classes;
    let groups = drf.forest.groups as f64;
    if classes == 1 {
        preds[0] /= groups;
        return Ok(());
    }
    if classes == 2 && !drf.binomial_double_trees {
        preds[1] /= groups;
        preds[2] = 1.0 - preds[1];
    } else {
        let mut sum = 0.0;
        for p in &preds[1..] {
            sum += *p;
        }
        if sum > 0.0 {
            for p in &mut preds[1..] {
                *p /= sum;
            }
        }
    }
    correct_and_choose(artifact, row, preds)
}

fn link_inverse(link: Link, f: f64) -> f64 {
    let exp = |x: f64| java::min(1e19, exp(x));
    match link {
        Link::Log => exp(f),
        Link::Logit | Link::Ologit => 1.0 / (1.0 + exp(-f)),
        Link::Ologlog => 1.0 - exp(-exp(f)),
        Link::Oprobit => 0.0,
        Link::Inverse => {
            let x = if f < 0.0 { java::min(-1e-5, f) } else { java::max(-1e-5, f) };
            1.0 / x
        }
        _ => f,
    }
}

fn correct_and_choose(artifact: &Artifact, row: &[f64], preds: &mut [f64]) -> Result<(), RowError> {
    let manifest = &artifact.manifest;
    let priors = manifest.prior_class_distribution.as_deref();
    if let (true, Some(before), Some(after)) =
        (manifest.balance_classes, priors, manifest.model_class_distribution.as_deref())
    {
        let mut sum = 0.0;
        for class in 1..preds.len() {
            if before[class - 1] != 0.0 && after[class - 1] != 0.0 {
                preds[class] *= before[class - 1] / after[class - 1];
            }
            sum += preds[class];
        }
        if sum > 0.0 {
            for p in &mut preds[1..] {
                *p /= sum;
            }
        }
    }
    preds[0] = if preds.len() == 3 {
        if preds[2] >= manifest.default_threshold { 1.0 } else { 0.0 }
    } else {
        most_probable(preds, priors, row)? as f64
    };
    Ok(())
}

fn most_probable(preds: &[f64], priors: Option<&[f64]>, row: &[f64]) -> Result<usize, RowError> {
    let mut ties = vec![0];
    let mut best = 1;
    let mut count = 0;
    for class in 2..preds.len() {
        if preds[best] < preds[class] {
            best = class;
            count = 0;
        } else if preds[best] == preds[class] {
            count += 1;
            ties.push(class - 1);
        }
    }
    if count == 0 {
        return Ok(best - 1);
    }
    let mut hash = 0_i64;
    for value in row {
        hash ^= value.to_bits() as i64 >> 6;
    }
    if let Some(priors) = priors {
        let sum = ties.iter().fold(0.0, |sum, class| sum + priors[*class]);
        let drawn = java::first_random_double(hash);
        let mut partial = 0.0;
        for class in ties {
            partial += priors[class] / sum;
            if drawn <= partial {
                return Ok(class);
            }
        }
    }
    let mut left = hash as i32 % (count + 1);
    for class in 1..preds.len() {
        if preds[class] == preds[best] {
            left -= 1;
            if left < 0 {
                return Ok(class - 1);
            }
        }
    }
    Err(throw("java.lang.RuntimeException", "Should Not Reach Here"))
}

/// The calibrated probabilities of both classes.
pub(super) fn calibrate(calibration: &Calibration, preds: &[f64]) -> Result<[f64; 2], RowError> {
    let p = match calibration {
        Calibration::Platt(beta) if beta.len() >= 2 => 1.0 / (exp(-(preds[1] * beta[0] + beta[1])) + 1.0),
        Calibration::Platt(beta) => return Err(index(beta.len() as i64, beta.len())),
        Calibration::Isotonic { min, max, x, y } => {
            let p = preds[2];
            let p = if p.is_nan() { f64::NAN } else { p.max(*min).min(*max) };
            if p.is_nan() || p < *min || p > *max {
                f64::NAN
            } else if let Some(exact) = find(x, p) {
                y[exact]
            } else {
                let high = x.iter().filter(|x| **x < p).count();
                if high == 0 || high == x.len() {
                    return Err(index(high as i64 - 1, x.len()));
                }
                let low = high - 1;
                y[low] + (y[high] - y[low]) / (x[high] - x[low]) * (p - x[low])
            }
        }
    };
    Ok([1.0 - p, p])
}

/// The index that `Arrays.binarySearch` finds, which among equal values is neither the first nor the last.
fn find(values: &[f64], key: f64) -> Option<usize> {
    let (mut low, mut high) = (0, values.len() as i64 - 1);
    while low <= high {
        let middle = (low + high) >> 1;
        let value = values[middle as usize];
        if value < key {
            low = middle + 1;
        } else if value > key {
            high = middle - 1;
        } else {
            return Some(middle as usize);
        }
    }
    None
}
