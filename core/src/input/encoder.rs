//! The plan by which a caller's cells become the raw features that H2O's scorer reads.
//!
//! In flows a [`Schema`]; out flows an [`Encoder`] that knows, for each input column, what its cells may be and which
//! features they fill. It keeps two of H2O's distinctions: a cell that is absent leaves all its features `NaN`, while
//! one that is *not available* (an unseen level, a `NaN`) is what its encoding makes of that. Columns of a batch are
//! filled by [`columns`](super::columns).
//!
//! Mirrors `RowToRawDataConverter`, the `*Encoder` and the `*ColumnMapper` classes of h2o-genmodel.

use cenote_mojo::{CategoricalEncoding, Column, Schema};
use hashbrown::HashMap;

use super::levels::Levels;
use super::parse_double::parse_double;
use super::row::{Cell, Row};
use crate::error::{Error, ErrorKind};
use crate::model::Policy;
use crate::predictions::RowError;
use crate::score::Refusal;

/// The class that h2o-genmodel throws at a value of a type that its column does not take.
pub(crate) const UNKNOWN_TYPE: &str = "hex.genmodel.easy.exception.PredictUnknownTypeException";

/// What a categorical cell turned out to be: a level's code, or one of the constants here.
pub(crate) type Code = u32;
/// The cell is absent: its features stay `NaN`.
pub(crate) const ABSENT: Code = u32::MAX;
/// The cell is there but holds no value.
pub(crate) const NOT_AVAILABLE: Code = u32::MAX - 1;
/// The cell names no level of the column.
pub(crate) const UNSEEN: Code = u32::MAX - 2;
/// The cell is a number, which H2O refuses in a categorical column.
pub(crate) const REFUSED: Code = u32::MAX - 3;

/// How the code of a level fills features.
#[derive(Debug)]
pub(crate) enum Form {
    /// One feature, which takes the level's code itself.
    Code,
    /// One feature, which takes a number that stands for the level.
    Value(Box<[f64]>),
    /// A feature a level and one for not available: 1 for the one, 0 for the others.
    OneHot {
        /// How many distinct levels there are.
        levels: u32,
    },
    /// The bits of `code + 1`, lowest first; 0 is not available.
    Binary,
}

/// What the cells of an input column are.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Numbers, one feature.
    Number,
    /// Levels.
    Levels {
        /// From text to code.
        levels: Levels,
        /// How many codes there are.
        count: u32,
        /// From code to features.
        form: Form,
    },
}

/// One column that the caller supplies.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) name: Box<str>,
    /// The first feature that it fills.
    pub(crate) target: usize,
    /// How many features it fills.
    pub(crate) width: usize,
    /// Whether its encoding is wider than the features that are left, so that Java throws where a cell is present.
    pub(crate) overflows: bool,
    pub(crate) kind: Kind,
}

/// What a name of the caller's stands for. Where H2O kept the offset among the columns before encoding it is both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// The index of an input column.
    pub(crate) input: Option<usize>,
    /// The offset.
    pub(crate) offset: bool,
}

/// The plan for a model.
#[derive(Debug)]
pub(crate) struct Encoder {
    inputs: Vec<Input>,
    /// Which of them a caller must supply.
    required: Vec<bool>,
    places: HashMap<Box<str>, Place>,
    offset: Option<Box<str>>,
    features: usize,
}

/// A cell under the strict policy that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) expected: &'static str,
    pub(crate) found: &'static str,
}

/// Why a cell stops its row.
pub(crate) enum Stop {
    /// H2O refuses the row, with this class and message.
    Row(&'static str, String),
    /// The strict policy refuses the batch.
    Strict(Misfit),
}

impl Encoder {
    pub(crate) fn new(schema: &Schema) -> Self {
        let inputs = match (&schema.original, schema.encoding) {
            (Some(original), CategoricalEncoding::OneHotExplicit) => one_hot(&original.columns),
            (Some(original), CategoricalEncoding::Binary) => binary(&original.columns),
            (Some(original), CategoricalEncoding::EnumLimited) => {
                enum_limited(&original.columns, &schema.features)
            }
            (Some(original), CategoricalEncoding::Eigen) => eigen(&original.columns, &original.projection),
            (Some(original), CategoricalEncoding::LabelEncoder) => label(&original.columns, &schema.features),
            _ => enumerated(&schema.features),
        };
        let features = schema.features.len();
        // Java skips a column that begins past the last feature, and throws at one that only ends past it.
        let inputs: Vec<Input> = inputs
            .into_iter()
            .filter(|input| input.target < features)
            .map(|input| {
                let width = input.width.min(features - input.target);
                Input { width, overflows: width < input.width, ..input }
            })
            .collect();
        let offset: Option<Box<str>> = schema.offset_column.as_deref().map(Into::into);
        let mut places: HashMap<Box<str>, Place> = HashMap::new();
        // Of two columns of one name H2O's map keeps the later.
        for (at, input) in inputs.iter().enumerate() {
            places.entry(input.name.clone()).or_default().input = Some(at);
        }
        if let Some(name) = &offset {
            places.entry(name.clone()).or_default().offset = true;
        }
        let unsuppliable = schema.unsuppliable();
        let required = inputs.iter().map(|input| !unsuppliable.contains(&*input.name)).collect();
        Self { inputs, required, places, offset, features }
    }

    /// The names that a caller must supply.
    pub(crate) fn required(&self) -> impl Iterator<Item = &str> {
        let inputs = self.inputs.iter().enumerate().filter(|(at, input)| {
            self.required[*at] && self.place(&input.name).is_some_and(|place| place.input == Some(*at))
        });
        let offset = self.offset().filter(|name| self.place(name).is_some_and(|place| place.input.is_none()));
        inputs.map(|(_, input)| &*input.name).chain(offset)
    }

    /// How many features a raw row has.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// The columns that the caller supplies.
    pub(crate) fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The name of the offset column, if the model has one.
    pub(crate) fn offset(&self) -> Option<&str> {
        self.offset.as_deref()
    }

    /// What `name` stands for; `None` if the model does not know it.
    pub(crate) fn place(&self, name: &str) -> Option<Place> {
        self.places.get(name).copied()
    }

    /// Writes the features of one row, and returns its offset. `features` is [`features`](Self::features) long.
    pub(crate) fn encode_row(
        &self,
        row: &Row<'_>,
        policy: Policy,
        features: &mut [f64],
    ) -> Result<f64, Error> {
        features.fill(f64::NAN);
        let mut offset = 0.0;
        for (name, cell) in row.cells() {
            if let Some(place) = self.place(name) {
                self.encode_cell(place, cell, policy, features, &mut offset)?;
            }
        }
        Ok(offset)
    }

    /// Writes the features, or the offset, that one cell fills.
    pub(crate) fn encode_cell(
        &self,
        place: Place,
        cell: Cell<'_>,
        policy: Policy,
        features: &mut [f64],
        offset: &mut f64,
    ) -> Result<(), Error> {
        let fail = |name: &str, stop: Stop| match stop {
            Stop::Row(class, message) => Error::from(ErrorKind::Row(RowError { row: 0, class, message })),
            Stop::Strict(Misfit { expected, found }) => {
                ErrorKind::Cell { row: 0, column: name.to_owned(), expected, found }.into()
            }
        };
        if place.offset {
            *offset =
                offset_of(cell, policy).map_err(|stop| fail(self.offset().unwrap_or_default(), stop))?;
        }
        if let Some(at) = place.input {
            let input = &self.inputs[at];
            let targets = &mut features[input.target..input.target + input.width];
            input.encode_cell(cell, policy, targets).map_err(|stop| fail(&input.name, stop))?;
        }
        Ok(())
    }
}

impl Input {
    fn encode_cell(&self, cell: Cell<'_>, policy: Policy, targets: &mut [f64]) -> Result<(), Stop> {
        match &self.kind {
            Kind::Number => targets[0] = number(cell, policy)?,
            Kind::Levels { levels, form, .. } => {
                let code = self.check(code(levels, cell), policy)?;
                for (at, target) in targets.iter_mut().enumerate() {
                    *target = form.feature(code, at as u32);
                }
            }
        }
        Ok(())
    }
}

impl Input {
    /// What a code of this column does to its row under a policy.
    pub(crate) fn check(&self, code: Code, policy: Policy) -> Result<Code, Stop> {
        match (code, policy) {
            (UNSEEN, Policy::Strict) => {
                Err(Stop::Strict(Misfit { expected: "a level", found: "an unseen level" }))
            }
            (REFUSED, Policy::Strict) => Err(Stop::Strict(Misfit { expected: "a level", found: "a number" })),
            (REFUSED, Policy::Convert) => {
                let name = &self.name;
                let message =
                    format!("unexpected object type java.lang.Double for categorical column {name}");
                Err(Stop::Row(UNKNOWN_TYPE, message))
            }
            (code, _) if code != ABSENT && self.overflows => {
                let Refusal { class, message } =
                    Refusal::index((self.target + self.width) as i64, self.target + self.width);
                Err(Stop::Row(class, format!("{message}, at column {}", self.name)))
            }
            (code, _) => Ok(code),
        }
    }
}

impl Form {
    /// What the feature `at` of the column is for a cell of that code.
    #[inline]
    pub(crate) fn feature(&self, code: Code, at: u32) -> f64 {
        match (self, code) {
            (_, ABSENT) => f64::NAN,
            (Form::Code | Form::Value(_), NOT_AVAILABLE | UNSEEN | REFUSED) => f64::NAN,
            (Form::Code, code) => f64::from(code),
            (Form::Value(values), code) => values.get(code as usize).copied().unwrap_or(f64::NAN),
            // Equal levels leave features that no level and no missing value ever fills.
            (Form::OneHot { levels }, _) if at > *levels => f64::NAN,
            (Form::OneHot { levels }, NOT_AVAILABLE | UNSEEN | REFUSED) => f64::from(u8::from(at == *levels)),
            (Form::OneHot { .. }, code) => f64::from(u8::from(at == code)),
            (Form::Binary, NOT_AVAILABLE | UNSEEN | REFUSED) => 0.0,
            (Form::Binary, code) => f64::from(((u64::from(code) + 1) >> at & 1) as u8),
        }
    }
}

/// The number in a cell; text that is none is `NaN`, and missing too.
pub(crate) fn number(cell: Cell<'_>, policy: Policy) -> Result<f64, Stop> {
    Ok(match cell {
        Cell::Missing => f64::NAN,
        Cell::Number(value) => value,
        Cell::Integer(value) => value as f64,
        Cell::Bool(value) => f64::from(u8::from(value)),
        Cell::Text(text) => match (parse_double(text), policy) {
            (Some(value), _) => value,
            (None, Policy::Convert) => f64::NAN,
            (None, Policy::Strict) => return Err(Stop::Strict(NOT_A_NUMBER)),
        },
    })
}

/// Text in a numeric column that is no number.
pub(crate) const NOT_A_NUMBER: Misfit = Misfit { expected: "a number", found: "text that is none" };

/// The code of a cell of a categorical column.
pub(crate) fn code(levels: &Levels, cell: Cell<'_>) -> Code {
    match cell {
        Cell::Missing => ABSENT,
        Cell::Number(value) if value.is_nan() => NOT_AVAILABLE,
        Cell::Number(_) => REFUSED,
        Cell::Integer(value) => levels.integer(value).unwrap_or(UNSEEN),
        Cell::Bool(value) => levels.bool(value).unwrap_or(UNSEEN),
        Cell::Text(text) => levels.text(text).unwrap_or(UNSEEN),
    }
}

/// The offset in a cell: 0 where it is missing, or text that is no number.
pub(crate) fn offset_of(cell: Cell<'_>, policy: Policy) -> Result<f64, Stop> {
    match cell {
        Cell::Missing => Ok(0.0),
        cell => match number(cell, Policy::Strict) {
            Ok(value) => Ok(as_offset(value)),
            Err(_) if policy == Policy::Convert => Ok(0.0),
            Err(stop) => Err(stop),
        },
    }
}

/// An offset as H2O takes it. A negative zero is not passed on by `EasyPredictModelWrapper`.
pub(crate) fn as_offset(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value }
}

fn levels_of(domain: &[String]) -> impl Iterator<Item = (&str, u32)> {
    domain.iter().enumerate().map(|(code, text)| (text.as_str(), code as u32))
}

/// Plain look-up by text, without a second spelling.
fn plain(domain: &[String], form: Form) -> Kind {
    Kind::Levels { levels: Levels::new(levels_of(domain), None), count: domain.len() as u32, form }
}

/// A column's position is its feature's.
fn in_place<'c>(columns: &'c [Column], kind: impl Fn(usize, &'c Column) -> Kind) -> Vec<Input> {
    let input = |(at, column): (usize, &'c Column)| Input {
        name: column.name.as_str().into(),
        target: at,
        width: 1,
        overflows: false,
        kind: kind(at, column),
    };
    columns.iter().enumerate().map(input).collect()
}

/// Mirrors `EnumEncoder`: a level not found is sought again as `column.level`.
fn enumerated(features: &[Column]) -> Vec<Input> {
    in_place(features, |_, column| match &column.domain {
        None => Kind::Number,
        Some(domain) => {
            let levels = Levels::new(levels_of(domain), Some((&format!("{}.", column.name), "")));
            Kind::Levels { levels, count: domain.len() as u32, form: Form::Code }
        }
    })
}

/// Mirrors `LabelEncoder`: a level that reads as a Java `int` is that number.
fn label(original: &[Column], features: &[Column]) -> Vec<Input> {
    // `LabelEncoderDomainMapConstructor` takes the names of the features and the levels of the original columns.
    let mut inputs = in_place(original, |_, column| match &column.domain {
        None => Kind::Number,
        Some(domain) => {
            let value = |(code, text): (usize, &String)| text.parse::<i32>().map_or(code as f64, f64::from);
            let values = domain.iter().enumerate().map(value).collect();
            plain(domain, Form::Value(values))
        }
    });
    for (input, feature) in inputs.iter_mut().zip(features) {
        input.name = feature.name.as_str().into();
    }
    inputs
}

/// Mirrors `EigenEncoder`: each level has a number, rounded to `f32`.
fn eigen(original: &[Column], projection: &[f64]) -> Vec<Input> {
    let starts: Vec<usize> = original
        .iter()
        .scan(0, |next, column| {
            let start = *next;
            *next += column.domain.as_ref().map_or(0, |domain| domain.len());
            Some(start)
        })
        .collect();
    in_place(original, |at, column| match &column.domain {
        None => Kind::Number,
        Some(domain) => {
            let values = projection.iter().skip(starts[at]).take(domain.len());
            plain(domain, Form::Value(values.map(|value| f64::from(*value as f32)).collect()))
        }
    })
}

/// Mirrors `EnumLimitedEncoder`: the levels of the model's column, and those of the caller's that fall under `other`.
fn enum_limited(original: &[Column], features: &[Column]) -> Vec<Input> {
    in_place(original, |at, column| match &column.domain {
        None => Kind::Number,
        Some(domain) => {
            let kept: &[String] =
                features.get(at).and_then(|feature| feature.domain.as_deref()).unwrap_or(&[]);
            let other = kept.iter().rposition(|level| level == "other").map(|code| code as u32);
            let folded = domain
                .iter()
                .filter(|level| !kept.contains(level))
                .filter_map(|level| Some((level.as_str(), other?)));
            let entries = levels_of(kept).chain(folded).filter(|(text, _)| *text != "other");
            let levels = Levels::new(entries, Some((&format!("{}.top_", column.name), "_levels")));
            Kind::Levels { levels, count: kept.len() as u32, form: Form::Code }
        }
    })
}

/// Mirrors `OneHotEncoder`: numeric columns first, then a feature for each level and one for not available.
fn one_hot(original: &[Column]) -> Vec<Input> {
    numbers_first(original, |domain| {
        let distinct = domain.iter().collect::<hashbrown::HashSet<_>>().len() as u32;
        (domain.len() + 1, Form::OneHot { levels: distinct })
    })
}

/// Mirrors `BinaryEncoder`: numeric columns first, then as many bits as the count of levels needs.
fn binary(original: &[Column]) -> Vec<Input> {
    numbers_first(original, |domain| {
        let bits = 1 + domain.len().max(1).ilog2();
        (bits as usize, Form::Binary)
    })
}

fn numbers_first(original: &[Column], form: impl Fn(&[String]) -> (usize, Form)) -> Vec<Input> {
    let mut target = 0;
    let mut inputs = Vec::with_capacity(original.len());
    for column in original.iter().filter(|column| column.domain.is_none()) {
        inputs.push(Input {
            name: column.name.as_str().into(),
            target,
            width: 1,
            overflows: false,
            kind: Kind::Number,
        });
        target += 1;
    }
    for column in original {
        if let Some(domain) = &column.domain {
            let (width, form) = form(domain);
            inputs.push(Input {
                name: column.name.as_str().into(),
                target,
                width,
                overflows: false,
                kind: plain(domain, form),
            });
            target += width;
        }
    }
    inputs
}
