//! Generalised linear models: coefficients to linear predictors to predictions.
//!
//! In flow a block's features, categorical columns first; out flow the mean, or class probabilities and the label. A
//! linear predictor is summed in `f64` in H2O's order: categories ascending, numbers ascending, intercept, offset; a
//! product is rounded before it is added. Mirrors `GlmMojoModel`, `GlmMultinomialMojoModel`, `GlmOrdinalMojoModel`.

use std::ops::Range;

use cenote_mojo::algo::{Glm, GlmKind, Link};
use cenote_mojo::{Artifact, Category};

use super::blocks::Slice;
use super::exp::exp;
use super::link::glm_inverses;
use super::{Refusal, add_offsets, write};
use crate::compile::Block;
use crate::kernels::{Isa, Slots, Terms};

/// Sums that are held at once, over all predictors: with the columns they are added from they stay in the first cache.
const SUMS: usize = 2048;
/// The fewest rows that are taken at once.
const FEWEST_ROWS: usize = 64;
/// The most rows that are taken at once.
const MOST_ROWS: usize = 1024;

/// A GLM ready to score.
#[derive(Debug)]
pub(crate) struct GlmScorer {
    isa: Isa,
    kind: GlmKind,
    /// Whether the answer is two classes of which `kind` gives the second's probability.
    threshold: f64,
    /// How many numbers a row has.
    numbers: usize,
    /// How many linear predictors there are, and how many coefficients each has.
    predictors: usize,
    run: usize,
    beta: Vec<f64>,
    factors: Vec<Factor>,
    /// The numeric columns, which follow the categorical ones in rows and coefficients.
    terms: usize,
    /// Where their coefficients begin.
    first: usize,
    /// What a missing value of each is taken for; `NaN` if it stays missing.
    means: Vec<f64>,
}

/// A categorical column.
#[derive(Debug)]
struct Factor {
    /// Where its coefficients begin and end.
    begin: i32,
    end: i32,
    /// What a missing value is taken for, if it is.
    missing: f64,
    /// 1 if level 0 has no coefficient.
    skipped: i32,
    /// What each code adds, if no code stops a row.
    table: Option<Table>,
}

/// What the codes of a column add to each predictor.
#[derive(Debug)]
struct Table {
    slots: Slots,
    /// How many slots a predictor has.
    width: usize,
    values: Box<[f64]>,
}

impl GlmScorer {
    pub(crate) fn new(artifact: &Artifact, glm: &Glm, isa: Isa) -> Self {
        let classes = artifact.manifest.n_classes;
        let (numbers, predictors, run) = match glm.kind {
            GlmKind::Single { binomial, .. } => (if binomial { 2 } else { 1 }, 1, glm.beta.len()),
            GlmKind::Multinomial => (classes, classes, glm.beta.len() / classes),
            GlmKind::Ordinal => (classes, classes - 1, glm.beta.len() / classes),
        };
        let impute = |values: Option<f64>| values.filter(|_| glm.mean_imputation).unwrap_or(f64::NAN);
        let bounds = |at: usize| glm.cat_offsets.get(at).copied().unwrap_or_default();
        let factors = (0..glm.cats)
            .map(|at| {
                let mut factor = Factor {
                    begin: bounds(at),
                    end: bounds(at + 1),
                    missing: impute(glm.cat_modes.get(at).map(|mode| f64::from(*mode))),
                    skipped: i32::from(!glm.use_all_factor_levels),
                    table: None,
                };
                factor.table = Table::new(&factor, predictors, run, &glm.beta);
                factor
            })
            .collect();
        let first = bounds(glm.cats) as usize;
        // A single predictor takes all coefficients there are, several take as many as there are columns.
        let nums = match glm.kind {
            GlmKind::Single { .. } => {
                (run - 1).saturating_sub(first).min(artifact.schema.features.len() - glm.cats)
            }
            _ => glm.nums,
        };
        let means = (0..nums).map(|at| impute(glm.num_means.get(at).copied())).collect();
        debug_assert!(artifact.manifest.category != Category::Regression || numbers == 1);
        Self {
            isa,
            kind: glm.kind.clone(),
            threshold: artifact.manifest.default_threshold,
            numbers,
            predictors,
            run,
            beta: glm.beta.clone(),
            factors,
            terms: nums,
            first,
            means,
        }
    }

    pub(crate) fn score(
        &self,
        block: &Block<'_>,
        offset: Option<&[f64]>,
        out: &mut [Slice<'_>],
        refuse: &mut dyn FnMut(usize, Refusal),
    ) {
        let most = (SUMS / self.predictors / 8 * 8).clamp(FEWEST_ROWS, MOST_ROWS).min(block.rows);
        let mut numbers = vec![0.0; self.numbers * most];
        let mut labels = vec![0; if self.has_labels() { most } else { 0 }];
        let mut odd = vec![0; most.div_ceil(8)];
        let coefficients = self.coefficients();
        for from in (0..block.rows).step_by(most.max(1)) {
            let rows = most.min(block.rows - from);
            let numbers = &mut numbers[..self.numbers * rows];
            let labels = &mut labels[..if self.has_labels() { rows } else { 0 }];
            odd.fill(0);
            self.predictors(block, from..from + rows, &coefficients, numbers, &mut odd);
            let offsets = offset.map(|offset| &offset[from..from + rows]);
            let is_odd = |row: usize| odd[row / 8] >> (row % 8) & 1 == 1;
            self.finish(numbers, rows, offsets, labels, &mut |row, refusal| {
                if !is_odd(row) {
                    refuse(from + row, refusal);
                }
            });
            write(out, from, rows, labels, numbers);
            if odd.iter().all(|odd| *odd == 0) {
                continue;
            }
            for row in (0..rows).filter(|row| is_odd(*row)).map(|row| from + row) {
                let features: Vec<f64> = block.columns.iter().map(|column| column[row]).collect();
                let mut numbers = vec![0.0; self.numbers];
                match self.score_row(&features, offset.map_or(0.0, |offset| offset[row]), &mut numbers) {
                    Ok(label) => write(out, row, 1, label.as_slice(), &numbers),
                    Err(refusal) => refuse(row, refusal),
                }
            }
        }
    }

    /// The coefficients of the numeric columns, a predictor after the other.
    fn coefficients(&self) -> Vec<&[f64]> {
        let run = |predictor: usize| &self.beta[predictor * self.run + self.first..][..self.terms];
        (0..self.predictors).map(run).collect()
    }

    /// Writes the linear predictors of the rows, one predictor after the other. The rows that are marked odd, by a bit, have
    /// values that are no code, or stop the row.
    fn predictors(
        &self,
        block: &Block<'_>,
        rows: Range<usize>,
        coefficients: &[&[f64]],
        sums: &mut [f64],
        odd: &mut [u8],
    ) {
        sums.fill(0.0);
        let mut columns = block.columns.iter().map(|column| &column[rows.clone()]);
        for (factor, column) in self.factors.iter().zip(&mut columns) {
            match &factor.table {
                Some(table) => self.isa.add_levels(table.slots, &table.by_predictor(), column, sums, odd),
                None => odd.fill(0xff),
            }
        }
        let columns: Vec<&[f64]> = columns.take(self.terms).collect();
        let terms = Terms { columns: &columns, missing: &self.means, coefficients };
        self.isa.add_terms(&terms, rows.len(), sums);
        for (predictor, sums) in sums.chunks_exact_mut(rows.len()).enumerate().take(self.predictors) {
            let intercept = self.beta[(predictor + 1) * self.run - 1];
            sums.iter_mut().for_each(|sum| *sum += intercept);
        }
    }

    fn has_labels(&self) -> bool {
        !matches!(self.kind, GlmKind::Single { binomial: false, .. })
    }

    pub(crate) fn score_row(
        &self,
        row: &[f64],
        offset: f64,
        out: &mut [f64],
    ) -> Result<Option<u32>, Refusal> {
        for (predictor, sum) in out.iter_mut().enumerate().take(self.predictors) {
            let beta = predictor * self.run;
            *sum = 0.0;
            for (factor, value) in self.factors.iter().zip(row) {
                if let Some(coefficient) = factor.coefficient(*value, beta, &self.beta)? {
                    *sum += coefficient;
                }
            }
            let numbers = &row[self.factors.len()..];
            for ((value, mean), coefficient) in
                numbers.iter().zip(&self.means).zip(&self.beta[beta + self.first..])
            {
                *sum += coefficient * if value.is_nan() { *mean } else { *value };
            }
            *sum += self.beta[beta + self.run - 1];
        }
        let mut label = [0];
        let label = &mut label[..usize::from(self.has_labels())];
        let mut refused = None;
        self.finish(out, 1, Some(&[offset]), label, &mut |_, refusal| refused = Some(refusal));
        refused.map_or(Ok(label.first().copied()), Err)
    }

    /// From the linear predictors in the front of `numbers`, one column of `rows` after the other, to the columns of
    /// numbers and the labels.
    fn finish(
        &self,
        numbers: &mut [f64],
        rows: usize,
        offsets: Option<&[f64]>,
        labels: &mut [u32],
        refuse: &mut dyn FnMut(usize, Refusal),
    ) {
        match self.kind {
            GlmKind::Single { link, binomial, tweedie_link_power } => {
                let (first, second) = numbers.split_at_mut(rows);
                add_offsets(first, offsets);
                match link {
                    Link::Logit | Link::Ologit => self.isa.logistics(first, f64::INFINITY),
                    Link::Log => self.isa.exps(first),
                    link => glm_inverses(link, tweedie_link_power, first),
                }
                if binomial {
                    second.copy_from_slice(first);
                    self.isa.two_classes(second, self.threshold, first, labels);
                }
            }
            // H2O's multinomial scorer takes no offset.
            GlmKind::Multinomial => self.softmax(numbers, rows, labels),
            GlmKind::Ordinal => {
                let predictors = numbers.len() - rows;
                for values in numbers[..predictors].chunks_exact_mut(rows) {
                    add_offsets(values, offsets);
                }
                ordinal(numbers, rows, labels, refuse);
            }
        }
    }

    /// Exponentials that sum to 1, each of the distance to the greatest or to 0; the label is the first of the greatest.
    fn softmax(&self, values: &mut [f64], rows: usize, labels: &mut [u32]) {
        const LANES: usize = 8;
        for from in (0..rows).step_by(LANES) {
            let lanes = from..rows.min(from + LANES);
            let mut greatest = [0.0; LANES];
            for class in values.chunks_exact(rows) {
                for (greatest, value) in greatest.iter_mut().zip(&class[lanes.clone()]) {
                    *greatest = if *value > *greatest { *value } else { *greatest };
                }
            }
            for class in values.chunks_exact_mut(rows) {
                class[lanes.clone()]
                    .iter_mut()
                    .zip(greatest)
                    .for_each(|(value, greatest)| *value -= greatest);
            }
        }
        self.isa.exps(values);
        labels.fill(0);
        for (from, labels) in (0..rows).step_by(LANES).zip(labels.chunks_mut(LANES)) {
            let lanes = from..from + labels.len();
            let (mut sums, mut most) = ([0.0; LANES], [0.0; LANES]);
            for class in values.chunks_exact(rows) {
                sums.iter_mut().zip(&class[lanes.clone()]).for_each(|(sum, value)| *sum += *value);
            }
            let scales = sums.map(|sum| 1.0 / sum);
            for (number, class) in values.chunks_exact_mut(rows).enumerate() {
                let lanes = class[lanes.clone()].iter_mut().zip(scales);
                for ((value, scale), (most, label)) in lanes.zip(most.iter_mut().zip(&mut *labels)) {
                    *value *= scale;
                    *label = if *value > *most { number as u32 } else { *label };
                    *most = if *value > *most { *value } else { *most };
                }
            }
        }
    }
}

impl Table {
    /// What [`Factor::coefficient`] says of each code; `None` if it stops a row at one.
    fn new(factor: &Factor, predictors: usize, run: usize, beta: &[f64]) -> Option<Self> {
        // Adding this changes no sum, as adding 0 would -0.
        let nothing = -0.0;
        let beyond = u32::try_from(factor.end - factor.begin + factor.skipped).ok()?;
        let missing = factor.coefficient(f64::NAN, 0, beta).is_ok().then_some(beyond + 1);
        let width = beyond as usize + 1 + usize::from(missing.is_some());
        let mut values = Vec::with_capacity(predictors * width);
        for predictor in 0..predictors {
            let added = |value: f64| {
                let coefficient = factor.coefficient(value, predictor * run, beta);
                coefficient.map(|coefficient| coefficient.unwrap_or(nothing)).ok()
            };
            for code in 0..beyond {
                values.push(added(f64::from(code))?);
            }
            values.push(nothing);
            if missing.is_some() {
                values.push(added(f64::NAN)?);
            }
        }
        Some(Self { slots: Slots { beyond, missing }, width, values: values.into() })
    }

    /// The values of each predictor.
    fn by_predictor(&self) -> Vec<&[f64]> {
        self.values.chunks_exact(self.width).collect()
    }
}

impl Factor {
    /// The coefficient of a level, if it has one. A value that is no whole number stops the row.
    #[inline]
    fn coefficient(&self, value: f64, run: usize, beta: &[f64]) -> Result<Option<f64>, Refusal> {
        let value = if value.is_nan() { self.missing } else { value };
        if self.skipped == 1 && value == 0.0 {
            return Ok(None);
        }
        let level = (value as i32).wrapping_sub(self.skipped);
        if f64::from(level) != value - f64::from(self.skipped) {
            return Err(out_of_range());
        }
        let at = level.wrapping_add(self.begin);
        if at >= self.end {
            return Ok(None);
        }
        let index = i64::from(at) + run as i64;
        match usize::try_from(index).ok().and_then(|index| beta.get(index)) {
            Some(coefficient) => Ok(Some(*coefficient)),
            None => Err(Refusal::index(index, beta.len())),
        }
    }
}

#[cold]
fn out_of_range() -> Refusal {
    Refusal::illegal_argument("categorical value out of range")
}

/// Differences of cumulative logits; the label is the first of the greatest that is above 0, and without one H2O throws.
fn ordinal(values: &mut [f64], rows: usize, labels: &mut [u32], refuse: &mut dyn FnMut(usize, Refusal)) {
    let classes = values.len() / rows;
    for (row, label) in labels.iter_mut().enumerate() {
        let mut below = 0.0;
        let (mut found, mut most) = (None, 0.0);
        for class in 0..classes {
            let value = &mut values[class * rows + row];
            let up_to = if class + 1 < classes { 1.0 / (1.0 + exp(-*value)) } else { 1.0 };
            *value = up_to - below;
            below = up_to;
            if *value > most {
                most = *value;
                found = Some(class as u32);
            }
        }
        match found {
            Some(class) => *label = class,
            None => refuse(row, Refusal::index(-1, classes)),
        }
    }
}
