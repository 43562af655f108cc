//! From sums of trees to predictions, for GBM and DRF.
//!
//! In flows what an engine sums, a class at a time; out flow the prediction or the class probabilities, corrected for
//! balancing and calibrated, and the label. Mirrors `GbmMojoModel.unifyPreds`, `DrfMojoModel.unifyPreds`,
//! `GenModel.GBM_rescale` and `GenModel.correctProbabilities`.

use cenote_mojo::algo::{Calibration, Distribution, Forest, Link, TreeRules};
use cenote_mojo::{Artifact, Body, Category};

use super::blocks::Slice;
use super::exp::exp;
use super::{Refusal, calibrate, java, label, link, put};
use crate::compile::{self, Block, Engine, EngineOptions, FlatForest};
use crate::error::{Error, ErrorKind};

/// A forest ready to score.
#[derive(Debug)]
pub(crate) struct ForestScorer {
    engine: Box<dyn Engine>,
    /// The walk that finds the rows on which MOJO 1.00 throws; no forest of a later version does.
    guard: Option<FlatForest>,
    finish: Finish,
    /// Trees a group.
    sums: usize,
}

/// What becomes of the sums.
#[derive(Debug)]
pub(crate) struct Finish {
    rule: Rule,
    /// How many classes there are; 0 for regression.
    classes: usize,
    threshold: f64,
    /// For each class its share before balancing and its share after.
    balance: Option<Vec<(f64, f64)>>,
    priors: Option<Vec<f64>>,
    calibration: Option<Calibration>,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    /// One sum, through the link the probability of the second class.
    GbmBinary { link: Link, init_f: f64 },
    /// A sum a class, through softmax; two classes share one tree.
    GbmSoftmax { init_f: f64 },
    /// One sum through the link.
    GbmSingle { link: Link, init_f: f64 },
    /// The mean of the trees.
    DrfMean { groups: f64 },
    /// The mean of the trees is the probability of the first class.
    DrfBinary { groups: f64 },
    /// Votes a class, made to sum to 1.
    DrfVotes,
}

impl ForestScorer {
    pub(crate) fn new(artifact: &Artifact, options: &EngineOptions) -> Result<Self, Error> {
        let forest = forest(artifact)?;
        let guard = (forest.rules == TreeRules::V100).then(|| FlatForest::new(forest, &artifact.schema));
        Ok(Self {
            engine: compile::engine(forest, &artifact.schema, options),
            guard,
            finish: Finish::new(artifact)?,
            sums: forest.trees_per_group,
        })
    }

    pub(crate) fn engine(&self) -> &'static str {
        self.engine.name()
    }

    pub(crate) fn block_rows(&self) -> usize {
        self.engine.block_rows()
    }

    pub(crate) fn score(
        &self,
        block: &Block<'_>,
        offset: Option<&[f64]>,
        out: &mut [Slice<'_>],
        refuse: &mut dyn FnMut(usize, Refusal),
    ) {
        let Block { columns, rows } = *block;
        let mut sums = vec![0.0; self.sums * rows];
        self.engine.sums(block, &mut sums);
        let mut numbers = vec![0.0; self.finish.numbers()];
        for row in 0..rows {
            let outcome = self.guard(|column| columns[column][row]).and_then(|()| {
                numbers.fill(0.0);
                for (class, number) in numbers.iter_mut().enumerate().take(self.sums) {
                    *number = sums[class * rows + row];
                }
                let hash = || columns.iter().fold(0, |hash, column| hash ^ label::hash_of(column[row]));
                self.finish.numbers_and_label(&mut numbers, offset.map_or(0.0, |offset| offset[row]), hash)
            });
            match outcome {
                Ok(label) => put(out, row, label, &numbers),
                Err(refusal) => refuse(row, refusal),
            }
        }
    }

    pub(crate) fn score_row(
        &self,
        row: &[f64],
        offset: f64,
        out: &mut [f64],
    ) -> Result<Option<u32>, Refusal> {
        self.guard(|column| row[column])?;
        out.fill(0.0);
        self.engine.row_sums(row, &mut out[..self.sums]);
        let hash = || row.iter().fold(0, |hash, feature| hash ^ label::hash_of(*feature));
        self.finish.numbers_and_label(out, offset, hash)
    }

    fn guard(&self, feature: impl Fn(usize) -> f64 + Copy) -> Result<(), Refusal> {
        self.guard.as_ref().map_or(Ok(()), |flat| guard(flat, feature))
    }
}

/// Finds out whether Java throws while it walks the trees: MOJO 1.00 does at a set that is asked for a negative code.
pub(crate) fn guard(flat: &FlatForest, feature: impl Fn(usize) -> f64 + Copy) -> Result<(), Refusal> {
    if !flat.may_halt(feature) {
        return Ok(());
    }
    flat.check(feature).map_err(|halt| Refusal {
        class: "java.lang.IndexOutOfBoundsException",
        message: format!("idx < 0: {}", halt.code),
    })
}

/// The trees of a model that has any.
pub(crate) fn forest(artifact: &Artifact) -> Result<&Forest, Error> {
    match &artifact.body {
        Body::Gbm(gbm) => Ok(&gbm.forest),
        Body::Drf(drf) => Ok(&drf.forest),
        _ => {
            let algorithm = artifact.manifest.algorithm.clone();
            Err(ErrorKind::Unsupported { operation: "walking trees", algorithm }.into())
        }
    }
}

impl Finish {
    pub(crate) fn new(artifact: &Artifact) -> Result<Self, Error> {
        let manifest = &artifact.manifest;
        let classes = if manifest.category == Category::Regression { 0 } else { manifest.n_classes };
        let (rule, calibration) = match &artifact.body {
            Body::Gbm(gbm) => {
                let (link, init_f) = (gbm.link, gbm.init_f);
                let rule = match gbm.distribution {
                    Distribution::Bernoulli | Distribution::QuasiBinomial | Distribution::ModifiedHuber => {
                        Rule::GbmBinary { link, init_f }
                    }
                    Distribution::Multinomial => Rule::GbmSoftmax { init_f },
                    _ => Rule::GbmSingle { link, init_f },
                };
                (rule, &gbm.calibration)
            }
            Body::Drf(drf) => {
                let groups = drf.forest.groups as f64;
                let rule = match manifest.n_classes {
                    1 => Rule::DrfMean { groups },
                    2 if !drf.binomial_double_trees => Rule::DrfBinary { groups },
                    _ => Rule::DrfVotes,
                };
                (rule, &drf.calibration)
            }
            _ => forest(artifact).map(|_| unreachable!("only GBM and DRF have a forest"))?,
        };
        let distributions = manifest
            .prior_class_distribution
            .as_ref()
            .zip(manifest.model_class_distribution.as_ref())
            .filter(|_| manifest.balance_classes);
        Ok(Self {
            rule,
            classes,
            threshold: manifest.default_threshold,
            balance: distributions
                .map(|(prior, model)| prior.iter().copied().zip(model.iter().copied()).collect()),
            priors: manifest.prior_class_distribution.clone(),
            calibration: calibration.clone().filter(|_| manifest.category == Category::Binomial),
        })
    }

    /// How many values [`unify`](Self::unify) takes: the classes, or 1.
    pub(crate) fn values(&self) -> usize {
        self.classes.max(1)
    }

    /// How many numbers a row has: the prediction, or the probabilities and then the calibrated ones.
    pub(crate) fn numbers(&self) -> usize {
        self.values() + if self.calibration.is_some() { 2 } else { 0 }
    }

    /// From the sums in the front of `numbers`, zeros behind them, to all numbers and the label.
    fn numbers_and_label(
        &self,
        numbers: &mut [f64],
        offset: f64,
        hash: impl FnOnce() -> i64,
    ) -> Result<Option<u32>, Refusal> {
        let (values, calibrated) = numbers.split_at_mut(self.values());
        let label = self.unify(values, offset, hash)?;
        if let (Some(calibration), [first, second]) = (&self.calibration, calibrated) {
            let p = calibrate::second_class(calibration, values[0], values[1])?;
            (*first, *second) = (1.0 - p, p);
        }
        Ok(label)
    }

    /// From the sums in the front of `values`, zeros behind them, to the prediction, or the probabilities and the label.
    pub(crate) fn unify(
        &self,
        values: &mut [f64],
        offset: f64,
        hash: impl FnOnce() -> i64,
    ) -> Result<Option<u32>, Refusal> {
        match self.rule {
            Rule::GbmBinary { link, init_f } => {
                let second = link::gbm_inverse(link, values[0] + init_f + offset);
                values[1] = second;
                values[0] = 1.0 - second;
            }
            Rule::GbmSoftmax { init_f } => {
                if let [first, second] = values {
                    *first += init_f + offset;
                    *second = -*first;
                }
                rescale(values);
            }
            Rule::GbmSingle { link, init_f } if self.classes == 0 => {
                values[0] = link::gbm_inverse(link, values[0] + init_f + offset);
                return Ok(None);
            }
            // A custom distribution of two classes: H2O's scorer takes the response for the label's index.
            Rule::GbmSingle { link, init_f } => {
                let index = link::gbm_inverse(link, 0.0 + init_f + offset) as i32;
                return match u32::try_from(index) {
                    Ok(label) if (label as usize) < self.classes => Ok(Some(label)),
                    _ => Err(Refusal::index(i64::from(index), self.classes)),
                };
            }
            Rule::DrfMean { groups } => {
                values[0] /= groups;
                return Ok(None);
            }
            Rule::DrfBinary { groups } => {
                values[0] /= groups;
                values[1] = 1.0 - values[0];
            }
            Rule::DrfVotes => {
                let sum = values.iter().fold(0.0, |sum, value| sum + value);
                if sum > 0.0 {
                    values.iter_mut().for_each(|value| *value /= sum);
                }
            }
        }
        if let Some(balance) = &self.balance {
            correct(values, balance);
        }
        if let [_, second] = values {
            return Ok(Some(label::of_two(*second, self.threshold)));
        }
        label::of_many(values, self.priors.as_deref(), hash).map(Some)
    }
}

/// Exponentials that sum to 1, each of the distance to the greatest.
fn rescale(values: &mut [f64]) {
    let greatest = values.iter().fold(f64::NEG_INFINITY, |greatest, value| java::max(greatest, *value));
    let mut sum = 0.0;
    for value in &mut *values {
        *value = exp(*value - greatest);
        sum += *value;
    }
    values.iter_mut().for_each(|value| *value /= sum);
}

/// Undoes the balancing of classes in the probabilities.
fn correct(values: &mut [f64], balance: &[(f64, f64)]) {
    let mut sum = 0.0;
    for (value, (before, after)) in values.iter_mut().zip(balance) {
        if *before != 0.0 && *after != 0.0 {
            *value *= before / after;
        }
        sum += *value;
    }
    if sum > 0.0 {
        values.iter_mut().for_each(|value| *value /= sum);
    }
}
