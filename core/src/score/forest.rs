//! From sums of trees to predictions, for GBM and DRF.
//!
//! In flows what an engine sums, a class at a time; out flow the prediction or the class probabilities, corrected for
//! balancing and calibrated, and the label. Mirrors `GbmMojoModel.unifyPreds`, `DrfMojoModel.unifyPreds`,
//! `GenModel.GBM_rescale` and `GenModel.correctProbabilities`.

use std::sync::Arc;

use cenote_mojo::algo::{Calibration, Distribution, Forest, Link, TreeRules};
use cenote_mojo::{Artifact, Body, Category};

use super::blocks::Slice;
use super::{Refusal, add_offsets, calibrate, label, link, write};
use crate::compile::{self, Block, Engine, EngineOptions, FlatForest, LateFlat, SmallForest};
use crate::error::{Error, ErrorKind};
use crate::kernels::Isa;

/// A forest ready to score.
#[derive(Debug)]
pub(crate) struct ForestScorer {
    engine: Box<dyn Engine>,
    /// The walk that finds the rows on which MOJO 1.00 throws; no forest of a later version does.
    guard: Option<Arc<LateFlat>>,
    finish: Finish,
    /// Trees a group.
    sums: usize,
}

/// What becomes of the sums.
#[derive(Debug)]
pub(crate) struct Finish {
    rule: Rule,
    /// What exponentials are taken by.
    isa: Isa,
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
    pub(crate) fn new(
        artifact: &Artifact,
        trees: &SmallForest,
        flat: &Arc<LateFlat>,
        options: &EngineOptions,
    ) -> Result<Self, Error> {
        let forest = forest(artifact)?;
        let guard = (forest.rules == TreeRules::V100).then(|| Arc::clone(flat));
        Ok(Self {
            engine: compile::engine(trees, Arc::clone(flat), options),
            guard,
            finish: Finish::new(artifact, options)?,
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
        let mut numbers = vec![0.0; self.finish.numbers() * rows];
        let mut labels = vec![0; if self.finish.has_labels() { rows } else { 0 }];
        self.guard_block(block, refuse);
        self.engine.sums(block, &mut numbers[..self.sums * rows]);
        let hash = |row: usize| columns.iter().fold(0, |hash, column| hash ^ label::hash_of(column[row]));
        self.finish.numbers_and_labels(&mut numbers, rows, offset, &mut labels, hash, refuse);
        write(out, 0, rows, &labels, &numbers);
    }

    /// How many sums a row has: the trees of a group.
    pub(crate) fn n_sums(&self) -> usize {
        self.sums
    }

    /// The sums alone: nothing is added, no link taken.
    pub(crate) fn sums(
        &self,
        block: &Block<'_>,
        out: &mut [Slice<'_>],
        refuse: &mut dyn FnMut(usize, Refusal),
    ) {
        let mut sums = vec![0.0; self.sums * block.rows];
        self.guard_block(block, refuse);
        self.engine.sums(block, &mut sums);
        write(out, 0, block.rows, &[], &sums);
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
        let hash = |_| row.iter().fold(0, |hash, feature| hash ^ label::hash_of(*feature));
        let mut label = [0];
        let label = &mut label[..usize::from(self.finish.has_labels())];
        let mut refused = None;
        self.finish.numbers_and_labels(out, 1, Some(&[offset]), label, hash, &mut |_, refusal| {
            refused.get_or_insert(refusal);
        });
        refused.map_or(Ok(label.first().copied()), Err)
    }

    fn guard_block(&self, block: &Block<'_>, refuse: &mut dyn FnMut(usize, Refusal)) {
        if self.guard.is_none() {
            return;
        }
        for row in 0..block.rows {
            if let Err(refusal) = self.guard(|column| block.columns[column][row]) {
                refuse(row, refusal);
            }
        }
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
    pub(crate) fn new(artifact: &Artifact, options: &EngineOptions) -> Result<Self, Error> {
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
            isa: options.isa(),
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

    /// Whether a row has a label.
    pub(crate) fn has_labels(&self) -> bool {
        self.classes > 0
    }

    /// From the sums in the front of `numbers`, zeros behind them, to all numbers and the labels. Numbers stand in columns
    /// of `rows`, one after the other; `hash` gives what seeds the draw among equal classes of a row.
    fn numbers_and_labels(
        &self,
        numbers: &mut [f64],
        rows: usize,
        offsets: Option<&[f64]>,
        labels: &mut [u32],
        hash: impl Fn(usize) -> i64,
        refuse: &mut dyn FnMut(usize, Refusal),
    ) {
        let (values, calibrated) = numbers.split_at_mut(self.values() * rows);
        self.unify(values, rows, offsets, labels, hash, refuse);
        let Some(calibration) = &self.calibration else { return };
        let ((first, second), of_class) = (calibrated.split_at_mut(rows), values.split_at(rows));
        for row in 0..rows {
            match calibrate::second_class(calibration, of_class.0[row], of_class.1[row]) {
                Ok(p) => (first[row], second[row]) = (1.0 - p, p),
                Err(refusal) => refuse(row, refusal),
            }
        }
    }

    /// From the sums in the front of `values`, zeros behind them, to the prediction, or the probabilities and the labels.
    /// Values stand in columns of `rows`, one after the other.
    pub(crate) fn unify(
        &self,
        values: &mut [f64],
        rows: usize,
        offsets: Option<&[f64]>,
        labels: &mut [u32],
        hash: impl Fn(usize) -> i64,
        refuse: &mut dyn FnMut(usize, Refusal),
    ) {
        let two = self.values() == 2;
        let (first, rest) = values.split_at_mut(rows);
        let through = |link: Link, init_f: f64, sums: &mut [f64]| {
            sums.iter_mut().for_each(|sum| *sum += init_f);
            add_offsets(sums, offsets);
            link::gbm_inverses(link, self.isa, sums);
        };
        match self.rule {
            Rule::GbmBinary { link, init_f } => {
                through(link, init_f, first);
                rest.copy_from_slice(first);
                first.iter_mut().for_each(|value| *value = 1.0 - *value);
            }
            Rule::GbmSoftmax { init_f } => {
                if two {
                    for (row, (first, second)) in first.iter_mut().zip(rest).enumerate() {
                        *first += init_f + offsets.map_or(0.0, |offsets| offsets[row]);
                        *second = -*first;
                    }
                }
                match rows {
                    1 => rescale_row(self.isa, values),
                    _ => rescale(self.isa, values, rows),
                }
            }
            Rule::GbmSingle { link, init_f } if self.classes == 0 => return through(link, init_f, first),
            // A custom distribution of two classes: H2O's scorer takes the response for the label's index.
            Rule::GbmSingle { link, init_f } => {
                for (row, label) in labels.iter_mut().enumerate() {
                    let offset = offsets.map_or(0.0, |offsets| offsets[row]);
                    let index = link::gbm_inverse(link, 0.0 + init_f + offset) as i32;
                    match u32::try_from(index) {
                        Ok(found) if (found as usize) < self.classes => *label = found,
                        _ => refuse(row, Refusal::index(i64::from(index), self.classes)),
                    }
                }
                return;
            }
            Rule::DrfMean { groups } => return first.iter_mut().for_each(|sum| *sum /= groups),
            Rule::DrfBinary { groups } => {
                for (first, second) in first.iter_mut().zip(rest) {
                    *first /= groups;
                    *second = 1.0 - *first;
                }
            }
            Rule::DrfVotes => normalise(values, rows, None),
        }
        if let Some(balance) = &self.balance {
            normalise(values, rows, Some(balance));
        }
        if two {
            for (label, second) in labels.iter_mut().zip(&values[rows..]) {
                *label = label::of_two(*second, self.threshold);
            }
            return;
        }
        for (row, label) in labels.iter_mut().enumerate() {
            match label::of_many(values, rows, row, self.priors.as_deref(), || hash(row)) {
                Ok(found) => *label = found,
                Err(refusal) => refuse(row, refusal),
            }
        }
    }
}

/// Rows that are taken at once where a row's classes are summed.
const LANES: usize = 256;

/// Exponentials that sum to 1, each of the distance to the greatest.
fn rescale(isa: Isa, values: &mut [f64], rows: usize) {
    for from in (0..rows).step_by(LANES) {
        let lanes = from..rows.min(from + LANES);
        let (mut greatest, mut sums) = ([f64::NEG_INFINITY; LANES], [0.0; LANES]);
        for class in values.chunks_exact(rows) {
            for (greatest, value) in greatest.iter_mut().zip(&class[lanes.clone()]) {
                // NaN stays; which of two zeros it is does not matter.
                *greatest = if *value > *greatest || value.is_nan() { *value } else { *greatest };
            }
        }
        for class in values.chunks_exact_mut(rows) {
            let class = &mut class[lanes.clone()];
            class.iter_mut().zip(greatest).for_each(|(value, greatest)| *value -= greatest);
            isa.exps(class);
            sums.iter_mut().zip(class).for_each(|(sum, value)| *sum += *value);
        }
        for class in values.chunks_exact_mut(rows) {
            class[lanes.clone()].iter_mut().zip(sums).for_each(|(value, sum)| *value /= sum);
        }
    }
}

/// The same for one row, whose classes lie side by side.
fn rescale_row(isa: Isa, values: &mut [f64]) {
    let greatest = values.iter().fold(f64::NEG_INFINITY, |greatest, value| {
        if *value > greatest || value.is_nan() { *value } else { greatest }
    });
    values.iter_mut().for_each(|value| *value -= greatest);
    isa.exps(values);
    let sum = values.iter().fold(0.0, |sum, value| sum + value);
    values.iter_mut().for_each(|value| *value /= sum);
}

/// Divides each row's values by their sum, where that is above 0, after the balancing of classes is undone if it was done.
fn normalise(values: &mut [f64], rows: usize, balance: Option<&[(f64, f64)]>) {
    for from in (0..rows).step_by(LANES) {
        let lanes = from..rows.min(from + LANES);
        let mut sums = [0.0; LANES];
        for (number, class) in values.chunks_exact_mut(rows).enumerate() {
            let factor = match balance.and_then(|balance| balance.get(number)) {
                Some((before, after)) if *before != 0.0 && *after != 0.0 => Some(before / after),
                _ => None,
            };
            for (value, sum) in class[lanes.clone()].iter_mut().zip(&mut sums) {
                if let Some(factor) = factor {
                    *value *= factor;
                }
                *sum += *value;
            }
        }
        for class in values.chunks_exact_mut(rows) {
            for (value, sum) in class[lanes.clone()].iter_mut().zip(sums) {
                *value = if sum > 0.0 { *value / sum } else { *value };
            }
        }
    }
}
