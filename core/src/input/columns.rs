//! A batch's columns to blocks of raw features.
//!
//! In flow a [`Batch`] and the model's [`Encoder`]; out flow, block by block, one `f64` slice a feature. A numeric
//! column that is contiguous and has no nulls is lent, not copied; a dictionary's levels are looked up once a batch,
//! not once a row; of a row-major matrix some rows are taken at a time. What H2O refuses, or the strict policy, is gathered
//! with its row.

use std::ops::Range;

use super::batch::{Batch, Codes, Offsets, Primitive, Strided, Text, Validity, Values};
use super::encoder::{
    ABSENT, Code, Encoder, Form, Input, Kind, Misfit, NOT_A_NUMBER, NOT_AVAILABLE, Place, REFUSED, Stop,
    UNSEEN, as_offset, code, number, offset_of,
};
use super::levels::{Levels, Short};
use super::row::Cell;
use crate::error::{Error, ErrorKind};
use crate::model::{MissingColumns, Policy, PredictOptions};
use crate::predictions::RowError;

/// Where the features of one input column come from.
enum Source<'b, 'a> {
    /// The batch does not have it.
    Absent,
    /// The very numbers that the scorer reads.
    Lent(&'b [f64]),
    /// The very numbers, some elements apart.
    Strided(Strided<'b, f64>),
    /// Values to convert a cell at a time.
    Converted(&'b Values<'a>),
    /// Dictionary codes into the feature itself, where no cell can be refused; the last entry is what is missing.
    FeatureTable(Dictionary<'b>, Vec<f64>),
    /// Dictionary codes into numbers already converted; a text that is none is `None`.
    NumberTable(Dictionary<'b>, Vec<Option<f64>>),
    /// Dictionary codes into level codes already looked up.
    CodeTable(Dictionary<'b>, Vec<Code>),
}

#[derive(Clone, Copy)]
struct Dictionary<'b> {
    codes: Codes<'b>,
    validity: Option<Validity<'b>>,
}

/// A batch whose columns have been matched to a model's inputs.
pub(crate) struct BoundBatch<'b, 'a> {
    encoder: &'b Encoder,
    policy: Policy,
    sources: Vec<Source<'b, 'a>>,
    /// For each source that is neither lent nor absent, which of the runs of scratch space is its first.
    runs: Vec<Option<usize>>,
    /// How many runs there are. The first is `NaN`, for all that is absent.
    n_runs: usize,
    offset: Option<&'b Values<'a>>,
}

/// Cells of a block that do not pass.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Rows that H2O refuses; a row may stand here more than once until [`tidy`](Self::tidy).
    pub(crate) refused: Vec<RowError>,
    /// The first cell that the strict policy, or the data's own form, forbids: row, input, reason.
    first: Option<(usize, usize, Misfit)>,
}

/// Buffers of a thread, used for block after block.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    features: Vec<f64>,
    codes: Vec<Code>,
    offset: Vec<f64>,
}

impl Findings {
    fn forbid(&mut self, row: usize, input: usize, misfit: Misfit) {
        if self.first.is_none_or(|(first, other, _)| (row, input) < (first, other)) {
            self.first = Some((row, input, misfit));
        }
    }

    /// Adds another block's findings.
    pub(crate) fn merge(&mut self, other: Findings) {
        self.refused.extend(other.refused);
        if let Some((row, input, misfit)) = other.first {
            self.forbid(row, input, misfit);
        }
    }

    /// Sorts the refused rows, of which each keeps its first error.
    pub(crate) fn tidy(&mut self) {
        self.refused.sort_by_key(|error| error.row);
        self.refused.dedup_by_key(|error| error.row);
    }

    /// The refused rows, or the error that stops the batch.
    pub(crate) fn into_result(mut self, encoder: &Encoder) -> Result<Vec<RowError>, Error> {
        if let Some((row, input, Misfit { expected, found })) = self.first {
            let column =
                encoder.inputs().get(input).map_or(encoder.offset().unwrap_or_default(), |input| &input.name);
            return Err(ErrorKind::Cell { row, column: column.to_owned(), expected, found }.into());
        }
        self.tidy();
        Ok(self.refused)
    }
}

impl<'b, 'a> BoundBatch<'b, 'a> {
    /// Matches the columns of `batch` to the inputs of a model.
    ///
    /// # Errors
    /// If a column is missing and `options` do not say that its cells are.
    pub(crate) fn new(
        encoder: &'b Encoder,
        batch: &'b Batch<'a>,
        options: &PredictOptions,
    ) -> Result<Self, Error> {
        let mut found: Vec<Option<&'b Values<'a>>> = vec![None; encoder.inputs().len()];
        let mut offset = None;
        for (name, values) in batch.columns() {
            let Place { input, offset: is_offset } = encoder.place(name).unwrap_or_default();
            if let Some(at) = input {
                found[at] = Some(values);
            }
            if is_offset {
                offset = Some(values);
            }
        }
        if options.missing_columns == MissingColumns::Refuse {
            let there = |name: &str| match encoder.place(name) {
                Some(Place { input: Some(at), .. }) => found[at].is_some(),
                _ => offset.is_some(),
            };
            let missing: Vec<String> =
                encoder.required().filter(|name| !there(name)).map(str::to_owned).collect();
            if !missing.is_empty() {
                let found = batch.columns().map(|(name, _)| name.to_owned()).collect();
                return Err(ErrorKind::MissingColumns { missing, found }.into());
            }
        }
        let rows = batch.rows();
        let sources = encoder
            .inputs()
            .iter()
            .zip(found)
            .map(|(input, values)| {
                values.map_or(Source::Absent, |values| source(input, options.policy, values, rows))
            })
            .collect::<Vec<_>>();
        let mut n_runs = 1;
        let runs = encoder.inputs().iter().zip(&sources).map(|(input, source)| match source {
            Source::Absent | Source::Lent(_) => None,
            _ => {
                n_runs += input.width;
                Some(n_runs - input.width)
            }
        });
        let runs = runs.collect();
        Ok(Self { encoder, policy: options.policy, sources, runs, n_runs, offset })
    }

    /// Gives `score` the features of a block of rows, one slice a feature, and their offsets if the model has any.
    pub(crate) fn with_block<R>(
        &self,
        rows: Range<usize>,
        scratch: &mut Scratch,
        findings: &mut Findings,
        score: impl FnOnce(&[&[f64]], Option<&[f64]>) -> R,
    ) -> R {
        let count = rows.len();
        let Scratch { features, codes, offset } = scratch;
        features.resize(self.n_runs * count, f64::NAN);
        features[..count].fill(f64::NAN);
        let inputs = self.encoder.inputs();
        let sources = || inputs.iter().zip(&self.sources).zip(&self.runs).enumerate();
        // The cells of some rows of a matrix lie together, column after column.
        for from in (0..count).step_by(STRIDED_ROWS) {
            for (_, ((_, source), run)) in sources() {
                if let (Source::Strided(values), Some(run)) = (source, run) {
                    let targets = &mut features[run * count..][from..count.min(from + STRIDED_ROWS)];
                    values.copy_to(rows.start + from, targets, run % 8 == 1);
                }
            }
        }
        // First every cell is converted, then the slices are lent: `features` may not move in between.
        for (at, ((input, source), run)) in sources() {
            let Some(run) = run else { continue };
            let targets = &mut features[run * count..(run + input.width) * count];
            let mut job = Job { rows: rows.clone(), policy: self.policy, input: at, findings };
            match (&input.kind, source) {
                (_, Source::Strided(_)) => {}
                (_, Source::FeatureTable(dictionary, table)) => job.features(*dictionary, table, targets),
                (Kind::Number, source) => job.numbers(source, targets),
                (Kind::Levels { levels, count, form }, source) => {
                    if let (Form::Code, Source::Converted(Values::Raw(_))) = (form, source) {
                        job.numbers(source, targets);
                    } else {
                        job.codes(input, source, levels, *count, codes);
                        write(form, codes, targets);
                    }
                }
            }
        }
        let offset = self.offset.map(|values| {
            offset.clear();
            match values {
                Values::F64(Primitive { values, validity: None }) => {
                    offset.extend(rows.clone().map(|row| as_offset(values.get(row))));
                }
                values => offset.extend(rows.clone().map(|row| {
                    offset_of(values.cell(row), self.policy).unwrap_or_else(|_| {
                        findings.forbid(row, inputs.len(), NOT_A_NUMBER);
                        0.0
                    })
                })),
            }
            &**offset
        });
        let run = |run: usize| &features[run * count..(run + 1) * count];
        let mut slices: Vec<&[f64]> = vec![run(0); self.encoder.features()];
        for (_, ((input, source), first)) in sources() {
            for (at, slice) in slices[input.target..input.target + input.width].iter_mut().enumerate() {
                *slice = match (source, first) {
                    (Source::Lent(values), _) => &values[rows.clone()],
                    (_, Some(first)) => run(first + at),
                    (_, None) => run(0),
                };
            }
        }
        score(&slices, offset)
    }
}

/// Rows of a matrix that are taken at a time: with many columns they still fit the first cache.
const STRIDED_ROWS: usize = 64;

fn source<'b, 'a>(input: &Input, policy: Policy, values: &'b Values<'a>, rows: usize) -> Source<'b, 'a> {
    match (&input.kind, values) {
        (_, Values::Missing) => Source::Absent,
        (Kind::Number, Values::F64(column) | Values::Raw(column))
        | (Kind::Levels { form: Form::Code, .. }, Values::Raw(column)) => match column {
            Primitive { values: numbers, validity: None } if numbers.as_slice().is_some() => {
                Source::Lent(numbers.as_slice().unwrap_or_default())
            }
            Primitive { values, validity: None } => Source::Strided(*values),
            _ => Source::Converted(values),
        },
        // A dictionary that is far longer than the batch is not worth a table.
        (_, Values::Dictionary { codes, validity, levels })
            if levels.len() <= rows.saturating_mul(2) + 64 =>
        {
            let dictionary = Dictionary { codes: *codes, validity: *validity };
            let cells = (0..levels.len()).map(|at| levels.get(at).map_or(Cell::Missing, Cell::Text));
            // A text is never refused, but where the policy is strict.
            let unchecked = policy == Policy::Convert && !input.overflows;
            match &input.kind {
                Kind::Number if unchecked => {
                    let numbers = cells.map(|cell| number(cell, Policy::Strict).unwrap_or(f64::NAN));
                    Source::FeatureTable(dictionary, numbers.chain([f64::NAN]).collect())
                }
                Kind::Levels { levels, form: form @ (Form::Code | Form::Value(_)), .. } if unchecked => {
                    let features = cells.map(|cell| form.feature(code(levels, cell), 0));
                    Source::FeatureTable(dictionary, features.chain([f64::NAN]).collect())
                }
                Kind::Number => Source::NumberTable(
                    dictionary,
                    cells.map(|cell| number(cell, Policy::Strict).ok()).collect(),
                ),
                Kind::Levels { levels, .. } => {
                    Source::CodeTable(dictionary, cells.map(|cell| code(levels, cell)).collect())
                }
            }
        }
        _ => Source::Converted(values),
    }
}

/// Writes the features of a block of codes.
fn write(form: &Form, codes: &[Code], targets: &mut [f64]) {
    for (at, target) in targets.chunks_exact_mut(codes.len().max(1)).enumerate() {
        for (value, code) in target.iter_mut().zip(codes) {
            *value = form.feature(*code, at as u32);
        }
    }
}

/// Runs `$body` with `$slice` the codes of any width.
macro_rules! with_codes {
    ($codes:expr, $slice:ident => $body:expr) => {
        match $codes {
            Codes::I8($slice) => $body,
            Codes::I16($slice) => $body,
            Codes::I32($slice) => $body,
            Codes::I64($slice) => $body,
            Codes::U8($slice) => $body,
            Codes::U16($slice) => $body,
            Codes::U32($slice) => $body,
            Codes::U64($slice) => $body,
        }
    };
}

/// One column of one block.
struct Job<'j> {
    rows: Range<usize>,
    policy: Policy,
    input: usize,
    findings: &'j mut Findings,
}

impl Job<'_> {
    /// Converts the cells of a numeric column.
    fn numbers(&mut self, source: &Source<'_, '_>, out: &mut [f64]) {
        let values = match source {
            Source::Converted(values) => *values,
            Source::NumberTable(dictionary, table) => {
                return self.dictionary(*dictionary, table.len(), out, f64::NAN, |job, row, at| {
                    table[at].unwrap_or_else(|| job.not_a_number(row))
                });
            }
            // Done before, or not of numbers.
            _ => return,
        };
        match values {
            Values::F64(column) | Values::Raw(column) => self.primitive(column, out, f64::NAN, |value| value),
            Values::F32(column) => self.primitive(column, out, f64::NAN, f64::from),
            Values::I8(column) => self.primitive(column, out, f64::NAN, f64::from),
            Values::I16(column) => self.primitive(column, out, f64::NAN, f64::from),
            Values::I32(column) => self.primitive(column, out, f64::NAN, f64::from),
            Values::I64(column) => self.primitive(column, out, f64::NAN, |value| value as f64),
            Values::U8(column) => self.primitive(column, out, f64::NAN, f64::from),
            Values::U16(column) => self.primitive(column, out, f64::NAN, f64::from),
            Values::U32(column) => self.primitive(column, out, f64::NAN, f64::from),
            Values::U64(column) => self.primitive(column, out, f64::NAN, |value| value as f64),
            Values::Bool(column) => self.primitive(column, out, f64::NAN, |value| f64::from(u8::from(value))),
            Values::Text(text) => {
                for (row, out) in self.rows.clone().zip(out) {
                    *out = self.number(row, text.get(row).map_or(Cell::Missing, Cell::Text));
                }
            }
            Values::Cells(cells) => {
                for (row, out) in self.rows.clone().zip(out) {
                    *out = self.number(row, cells[row]);
                }
            }
            Values::Dictionary { codes, validity, levels } => {
                let dictionary = Dictionary { codes: *codes, validity: *validity };
                self.dictionary(dictionary, levels.len(), out, f64::NAN, |job, row, at| {
                    job.number(row, levels.get(at).map_or(Cell::Missing, Cell::Text))
                });
            }
            Values::Missing => out.fill(f64::NAN),
        }
    }

    /// Looks up the cells of a categorical column, and reports those that do not pass.
    fn codes(
        &mut self,
        input: &Input,
        source: &Source<'_, '_>,
        levels: &Levels,
        count: u32,
        out: &mut Vec<Code>,
    ) {
        out.clear();
        out.resize(self.rows.len(), ABSENT);
        self.look_up(source, levels, count, out);
        // Only a number stops a row then.
        if self.policy == Policy::Convert && !input.overflows && !out.contains(&REFUSED) {
            return;
        }
        for (row, code) in self.rows.clone().zip(out.iter()) {
            if matches!(*code, UNSEEN | REFUSED) || input.overflows {
                match input.check(*code, self.policy) {
                    Ok(_) => {}
                    Err(Stop::Strict(misfit)) => self.findings.forbid(row, self.input, misfit),
                    Err(Stop::Row(class, message)) => {
                        self.findings.refused.push(RowError { row, class, message });
                    }
                }
            }
        }
    }

    fn look_up(&mut self, source: &Source<'_, '_>, levels: &Levels, count: u32, out: &mut [Code]) {
        let values = match source {
            Source::CodeTable(dictionary, table) => {
                return self.dictionary(*dictionary, table.len(), out, ABSENT, |_, _, at| table[at]);
            }
            Source::Converted(values) => *values,
            // Done before, or not of codes.
            _ => return,
        };
        let float = |value: f64| if value.is_nan() { NOT_AVAILABLE } else { REFUSED };
        let integer = |value: i64| levels.integer(value).unwrap_or(UNSEEN);
        match values {
            Values::F64(column) => self.primitive(column, out, ABSENT, float),
            Values::F32(column) => self.primitive(column, out, ABSENT, |value| float(f64::from(value))),
            Values::I8(column) => self.primitive(column, out, ABSENT, |value| integer(i64::from(value))),
            Values::I16(column) => self.primitive(column, out, ABSENT, |value| integer(i64::from(value))),
            Values::I32(column) => self.primitive(column, out, ABSENT, |value| integer(i64::from(value))),
            Values::I64(column) => self.primitive(column, out, ABSENT, integer),
            Values::U8(column) => self.primitive(column, out, ABSENT, |value| integer(i64::from(value))),
            Values::U16(column) => self.primitive(column, out, ABSENT, |value| integer(i64::from(value))),
            Values::U32(column) => self.primitive(column, out, ABSENT, |value| integer(i64::from(value))),
            Values::U64(column) => self.primitive(column, out, ABSENT, |value| match i64::try_from(value) {
                Ok(value) => integer(value),
                Err(_) => levels.text(&value.to_string()).unwrap_or(UNSEEN),
            }),
            Values::Bool(column) => {
                self.primitive(column, out, ABSENT, |value| levels.bool(value).unwrap_or(UNSEEN));
            }
            // A raw code of an encoded column: only whole ones within the levels stand for a level.
            Values::Raw(column) => self.primitive(column, out, ABSENT, |value| {
                let code = value as u32;
                if f64::from(code) == value && code < count { code } else { NOT_AVAILABLE }
            }),
            Values::Text(text) => self.texts(text, levels, out),
            Values::Cells(cells) => {
                for (out, cell) in out.iter_mut().zip(&cells[self.rows.clone()]) {
                    *out = code(levels, *cell);
                }
            }
            Values::Dictionary { codes, validity, levels: texts } => {
                let dictionary = Dictionary { codes: *codes, validity: *validity };
                self.dictionary(dictionary, texts.len(), out, ABSENT, |_, _, at| {
                    code(levels, texts.get(at).map_or(Cell::Missing, Cell::Text))
                });
            }
            Values::Missing => {}
        }
    }

    /// Looks up strings.
    fn texts(&self, texts: &Text<'_>, levels: &Levels, out: &mut [Code]) {
        match texts {
            Text::Packed { offsets: Offsets::I32(offsets), data, .. } => {
                self.packed(texts, data.as_bytes(), offsets, levels, out);
            }
            Text::Packed { offsets: Offsets::I64(offsets), data, .. } => {
                self.packed(texts, data.as_bytes(), offsets, levels, out);
            }
            Text::Slices(slices) => {
                for (out, text) in out.iter_mut().zip(&slices[self.rows.clone()]) {
                    *out = text.map_or(ABSENT, |text| levels.text(text).unwrap_or(UNSEEN));
                }
            }
        }
    }

    /// Looks up strings that lie one after another.
    fn packed<O: Copy + Into<i64>>(
        &self,
        texts: &Text<'_>,
        data: &[u8],
        offsets: &[O],
        levels: &Levels,
        out: &mut [Code],
    ) {
        let bounds = offsets[self.rows.start..=self.rows.end].windows(2);
        for ((out, bounds), row) in out.iter_mut().zip(bounds).zip(self.rows.clone()) {
            let found = Short::within(data, bounds[0].into(), bounds[1].into());
            *out = match found.and_then(|short| levels.short(short)) {
                Some(code) => code,
                // Missing, or no text at all.
                None if texts.get(row).is_none() => ABSENT,
                None if found.is_some() => UNSEEN,
                None => texts.get(row).and_then(|text| levels.text(text)).unwrap_or(UNSEEN),
            };
        }
        // What stands at a missing cell may read as a level.
        if let Text::Packed { validity: Some(validity), .. } = texts {
            validity.for_missing(self.rows.clone(), |row| out[row - self.rows.start] = ABSENT);
        }
    }

    /// Looks up the features of dictionary codes.
    #[expect(clippy::unnecessary_cast, reason = "codes are of several types, of which one is u64")]
    fn features(&mut self, dictionary: Dictionary<'_>, table: &[f64], out: &mut [f64]) {
        let last = table.len() - 1;
        let mut outside = false;
        with_codes!(dictionary.codes, codes => {
            for (out, code) in out.iter_mut().zip(&codes[self.rows.clone()]) {
                // A negative code becomes a large one.
                let at = (*code as u64).min(last as u64) as usize;
                outside |= at == last;
                *out = table[at];
            }
        });
        if let Some(validity) = dictionary.validity {
            validity.for_missing(self.rows.clone(), |row| out[row - self.rows.start] = table[last]);
        }
        // Of a cell that is present, or else it does not matter.
        if outside {
            self.dictionary(dictionary, last, &mut vec![(); out.len()], (), |_, _, _| ());
        }
    }

    fn primitive<T: Copy, U: Copy>(
        &self,
        column: &Primitive<'_, T>,
        out: &mut [U],
        missing: U,
        convert: impl Fn(T) -> U,
    ) {
        match column.values.as_slice() {
            Some(values) => {
                for (out, value) in out.iter_mut().zip(&values[self.rows.clone()]) {
                    *out = convert(*value);
                }
            }
            None => {
                for (out, row) in out.iter_mut().zip(self.rows.clone()) {
                    *out = convert(column.values.get(row));
                }
            }
        }
        if let Some(validity) = column.validity {
            validity.for_missing(self.rows.clone(), |row| out[row - self.rows.start] = missing);
        }
    }

    fn dictionary<U: Copy>(
        &mut self,
        dictionary: Dictionary<'_>,
        entries: usize,
        out: &mut [U],
        missing: U,
        mut convert: impl FnMut(&mut Self, usize, usize) -> U,
    ) {
        let outside = Misfit {
            expected: "a code of the column's dictionary",
            found: "a code outside of the dictionary",
        };
        with_codes!(dictionary.codes, codes => {
            for (out, row) in out.iter_mut().zip(self.rows.clone()) {
                *out = if dictionary.validity.is_some_and(|validity| !validity.is_valid(row)) {
                    missing
                } else if (0..entries as i128).contains(&i128::from(codes[row])) {
                    convert(self, row, codes[row] as usize)
                } else {
                    self.findings.forbid(row, self.input, outside);
                    missing
                };
            }
        });
    }

    fn number(&mut self, row: usize, cell: Cell<'_>) -> f64 {
        number(cell, Policy::Strict).unwrap_or_else(|_| self.not_a_number(row))
    }

    fn not_a_number(&mut self, row: usize) -> f64 {
        if self.policy == Policy::Strict {
            self.findings.forbid(row, self.input, NOT_A_NUMBER);
        }
        f64::NAN
    }
}
