//! Generalised linear models: coefficients to linear predictors to predictions.
//!
//! In flow a block's features, categorical columns first; out flow the mean, or class probabilities and the label. A
//! linear predictor is summed in `f64` in H2O's order: categories ascending, numbers ascending, intercept, offset; a
//! product is rounded before it is added. Mirrors `GlmMojoModel`, `GlmMultinomialMojoModel`, `GlmOrdinalMojoModel`.

use cenote_mojo::algo::{Glm, GlmKind};
use cenote_mojo::{Artifact, Category};

use super::blocks::Slice;
use super::exp::exp;
use super::link::glm_inverse;
use super::{Refusal, put};
use crate::compile::Block;

/// A GLM ready to score.
#[derive(Debug)]
pub(crate) struct GlmScorer {
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
    terms: Vec<Term>,
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
}

/// A numeric column.
#[derive(Debug)]
struct Term {
    column: usize,
    coefficient: usize,
    /// What a missing value is taken for; `NaN` if it stays missing.
    missing: f64,
}

impl GlmScorer {
    pub(crate) fn new(artifact: &Artifact, glm: &Glm) -> Self {
        let classes = artifact.manifest.n_classes;
        let (numbers, predictors, run) = match glm.kind {
            GlmKind::Single { binomial, .. } => (if binomial { 2 } else { 1 }, 1, glm.beta.len()),
            GlmKind::Multinomial => (classes, classes, glm.beta.len() / classes),
            GlmKind::Ordinal => (classes, classes - 1, glm.beta.len() / classes),
        };
        let impute = |values: Option<f64>| values.filter(|_| glm.mean_imputation).unwrap_or(f64::NAN);
        let bounds = |at: usize| glm.cat_offsets.get(at).copied().unwrap_or_default();
        let factors = (0..glm.cats)
            .map(|at| Factor {
                begin: bounds(at),
                end: bounds(at + 1),
                missing: impute(glm.cat_modes.get(at).map(|mode| f64::from(*mode))),
                skipped: i32::from(!glm.use_all_factor_levels),
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
        let terms = (0..nums)
            .map(|at| Term {
                column: glm.cats + at,
                coefficient: first + at,
                missing: impute(glm.num_means.get(at).copied()),
            })
            .collect();
        debug_assert!(artifact.manifest.category != Category::Regression || numbers == 1);
        Self {
            kind: glm.kind.clone(),
            threshold: artifact.manifest.default_threshold,
            numbers,
            predictors,
            run,
            beta: glm.beta.clone(),
            factors,
            terms,
        }
    }

    pub(crate) fn score(
        &self,
        block: &Block<'_>,
        offset: Option<&[f64]>,
        out: &mut [Slice<'_>],
        refuse: &mut dyn FnMut(usize, Refusal),
    ) {
        let Block { columns, rows } = *block;
        let mut sums = vec![0.0; self.predictors * rows];
        let mut refused = vec![false; rows];
        for (predictor, sums) in sums.chunks_mut(rows.max(1)).enumerate() {
            let beta = predictor * self.run;
            for (factor, column) in self.factors.iter().zip(columns) {
                for (row, sum) in sums.iter_mut().enumerate() {
                    match factor.coefficient(column[row], beta, &self.beta) {
                        Ok(Some(coefficient)) => *sum += coefficient,
                        Ok(None) => {}
                        Err(refusal) => {
                            if !std::mem::replace(&mut refused[row], true) {
                                refuse(row, refusal);
                            }
                        }
                    }
                }
            }
            for term in &self.terms {
                let coefficient = self.beta[beta + term.coefficient];
                for (sum, value) in sums.iter_mut().zip(columns[term.column]) {
                    *sum += coefficient * term.imputed(*value);
                }
            }
            let intercept = self.beta[beta + self.run - 1];
            sums.iter_mut().for_each(|sum| *sum += intercept);
        }
        let mut numbers = vec![0.0; self.numbers];
        for row in (0..rows).filter(|row| !refused[*row]) {
            for (predictor, number) in numbers.iter_mut().enumerate().take(self.predictors) {
                *number = sums[predictor * rows + row];
            }
            match self.finish(&mut numbers, offset.map_or(0.0, |offset| offset[row])) {
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
        for (predictor, sum) in out.iter_mut().enumerate().take(self.predictors) {
            let beta = predictor * self.run;
            *sum = 0.0;
            for (factor, value) in self.factors.iter().zip(row) {
                if let Some(coefficient) = factor.coefficient(*value, beta, &self.beta)? {
                    *sum += coefficient;
                }
            }
            for term in &self.terms {
                *sum += self.beta[beta + term.coefficient] * term.imputed(row[term.column]);
            }
            *sum += self.beta[beta + self.run - 1];
        }
        self.finish(out, offset)
    }

    /// From the linear predictors in the front of `numbers` to the numbers and the label.
    fn finish(&self, numbers: &mut [f64], offset: f64) -> Result<Option<u32>, Refusal> {
        match self.kind {
            GlmKind::Single { link, binomial, tweedie_link_power } => {
                let mean = glm_inverse(link, tweedie_link_power, numbers[0] + offset);
                if !binomial {
                    numbers[0] = mean;
                    return Ok(None);
                }
                numbers[0] = 1.0 - mean;
                numbers[1] = mean;
                Ok(Some(u32::from(mean >= self.threshold)))
            }
            // H2O's multinomial scorer takes no offset.
            GlmKind::Multinomial => Ok(Some(softmax(numbers))),
            GlmKind::Ordinal => ordinal(numbers, offset).map(Some),
        }
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

impl Term {
    #[inline]
    fn imputed(&self, value: f64) -> f64 {
        if value.is_nan() { self.missing } else { value }
    }
}

/// Exponentials that sum to 1, each of the distance to the greatest or to 0; the label is the first of the greatest.
fn softmax(values: &mut [f64]) -> u32 {
    let greatest =
        values.iter().fold(0.0, |greatest, value| if *value > greatest { *value } else { greatest });
    let mut sum = 0.0;
    for value in &mut *values {
        *value = exp(*value - greatest);
        sum += *value;
    }
    let scale = 1.0 / sum;
    let (mut label, mut most) = (0, 0.0);
    for (class, value) in values.iter_mut().enumerate() {
        *value *= scale;
        if *value > most {
            most = *value;
            label = class as u32;
        }
    }
    label
}

/// Differences of cumulative logits; the label is the first of the greatest that is above 0, and without one H2O throws.
fn ordinal(values: &mut [f64], offset: f64) -> Result<u32, Refusal> {
    let classes = values.len();
    let mut below = 0.0;
    for value in &mut values[..classes - 1] {
        let up_to = 1.0 / (1.0 + exp(-(*value + offset)));
        *value = up_to - below;
        below = up_to;
    }
    values[classes - 1] = 1.0 - below;
    let (mut label, mut most) = (None, 0.0);
    for (class, value) in values.iter().enumerate() {
        if *value > most {
            most = *value;
            label = Some(class as u32);
        }
    }
    label.ok_or_else(|| Refusal::index(-1, classes))
}
