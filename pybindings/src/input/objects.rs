//! Columns of Python objects: lists, object arrays, cells of dicts.
//!
//! In flow `None`, numbers, booleans and strings in any mixture; out flow the narrowest values that hold them all. Strings
//! are not copied: a reference to each keeps its UTF-8 alive, and one that comes again soon is taken once. What stands for
//! "missing" in Python is missing here: `None`, `pandas.NA`, `NaT`, and in a categorical column also `nan`. Times are
//! milliseconds since 1970-01-01 UTC for a model, as H2O holds them; a `datetime` without a zone is taken as UTC.

use std::borrow::Cow;

use cenote::Cell;
use cenote::input::{Codes, Primitive, Text, Values};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBool, PyDate, PyDateTime, PyDelta, PyDict, PyFloat, PyInt, PyString, PyTzInfo};

use super::validity::Bitmap;
use super::{Role, WantedColumn};
use crate::error;

/// A Python object as a cell.
#[derive(Debug)]
pub(crate) enum Object {
    Missing,
    Number(f64),
    Integer(i64),
    Bool(bool),
    Text(PyBackedStr),
}

impl Object {
    /// Reads a cell of `column`.
    ///
    /// # Errors
    /// `ColumnTypeError` for an object that is none of the kinds.
    pub(crate) fn read(object: &Bound<'_, PyAny>, column: &WantedColumn) -> PyResult<Self> {
        if object.is_none() {
            Ok(Self::Missing)
        } else if let Ok(number) = object.cast::<PyFloat>() {
            Ok(Self::number(number.value(), column.role))
        } else if let Ok(text) = object.cast::<PyString>() {
            Ok(Self::Text(backed(text)?))
        } else if let Ok(truth) = object.cast::<PyBool>() {
            Ok(Self::Bool(truth.is_true()))
        } else if let Ok(integer) = object.cast::<PyInt>() {
            Self::integer(integer, column.role)
        } else {
            Self::foreign(object, column)
        }
    }

    fn number(value: f64, role: Role) -> Self {
        if value.is_nan() && role != Role::Numeric { Self::Missing } else { Self::Number(value) }
    }

    /// An integer: the level of that text in a categorical column; one past 64 bits is the nearest double.
    fn integer(integer: &Bound<'_, PyInt>, role: Role) -> PyResult<Self> {
        if let Ok(value) = integer.extract::<i64>() {
            return Ok(match role {
                Role::Numeric => Self::Number(value as f64),
                _ => Self::Integer(value),
            });
        }
        let negative = integer.lt(0)?;
        let infinity = if negative { f64::NEG_INFINITY } else { f64::INFINITY };
        Ok(Self::Number(integer.extract::<f64>().unwrap_or(infinity)))
    }

    /// The scalars of NumPy and the markers of pandas, told by their types' names.
    fn foreign(object: &Bound<'_, PyAny>, column: &WantedColumn) -> PyResult<Self> {
        let name = object.get_type().fully_qualified_name()?;
        match name.to_str()? {
            "pandas._libs.missing.NAType" | "pandas.api.typing.NAType" => Ok(Self::Missing),
            "pandas._libs.tslibs.nattype.NaTType" | "pandas.api.typing.NaTType" => Ok(Self::Missing),
            "numpy.bool" | "numpy.bool_" => Ok(Self::Bool(object.is_truthy()?)),
            numpy if numpy.starts_with("numpy.int") || numpy.starts_with("numpy.uint") => {
                Self::integer(&object.py().get_type::<PyInt>().call1((object,))?.cast_into()?, column.role)
            }
            numpy if numpy.starts_with("numpy.float") || numpy == "numpy.longdouble" => {
                Ok(Self::number(object.extract()?, column.role))
            }
            "decimal.Decimal" if column.role == Role::Decimal => Ok(Self::Text(backed(&object.str()?)?)),
            "uuid.UUID" if column.role == Role::Stored => Ok(Self::Text(backed(&object.str()?)?)),
            "dict" | "list" | "tuple" | "numpy.ndarray" if column.role == Role::Document => {
                Ok(Self::Text(document(object, column)?))
            }
            "decimal.Decimal" => Ok(Self::number(object.extract()?, column.role)),
            _ if object.is_instance_of::<PyDate>() => {
                let micros = microseconds(object)?;
                Ok(match column.role {
                    Role::Moment => Self::Integer(micros),
                    Role::Day => Self::Integer(micros.div_euclid(MICROSECONDS_A_DAY)),
                    _ => Self::Number(micros.div_euclid(1000) as f64),
                })
            }
            other => Err(error::column_type(object.py(), &column.name, other)),
        }
    }

    pub(super) fn cell(&self) -> Cell<'_> {
        match self {
            Self::Missing => Cell::Missing,
            Self::Number(value) => Cell::Number(*value),
            Self::Integer(value) => Cell::Integer(*value),
            Self::Bool(value) => Cell::Bool(*value),
            Self::Text(text) => Cell::Text(text),
        }
    }
}

/// A document as JSON text; arrays and scalars of NumPy in it are the lists and numbers that they stand for.
fn document(object: &Bound<'_, PyAny>, column: &WantedColumn) -> PyResult<PyBackedStr> {
    let py = object.py();
    let to_list =
        py.import(intern!(py, "operator"))?.call_method1(intern!(py, "methodcaller"), ("tolist",))?;
    let options = PyDict::new(py);
    options.set_item(intern!(py, "default"), to_list)?;
    let json = py.import(intern!(py, "json"))?;
    match json.call_method(intern!(py, "dumps"), (object,), Some(&options)) {
        Ok(text) => backed(text.cast()?),
        Err(error) => Err(error::column_type(py, &column.name, &format!("what is no JSON ({error})"))),
    }
}

/// A string's UTF-8. Lone surrogates, which have none, become replacement characters: no level and no number has them.
fn backed(text: &Bound<'_, PyString>) -> PyResult<PyBackedStr> {
    match PyBackedStr::try_from(text.clone()) {
        Ok(backed) => Ok(backed),
        Err(_) => PyString::new(text.py(), &text.to_string_lossy()).try_into(),
    }
}

const MICROSECONDS_A_DAY: i64 = 86_400_000_000;

/// A `date`, at its midnight, or a `datetime` as microseconds since 1970-01-01 UTC.
fn microseconds(time: &Bound<'_, PyAny>) -> PyResult<i64> {
    let py = time.py();
    let module = py.import(intern!(py, "datetime"))?;
    let zone = PyTzInfo::utc(py)?;
    let aware = if !time.is_instance_of::<PyDateTime>() {
        let midnight = module.getattr(intern!(py, "time"))?.call0()?;
        let class = module.getattr(intern!(py, "datetime"))?;
        class.call_method1(intern!(py, "combine"), (time, midnight, zone))?
    } else if time.getattr(intern!(py, "tzinfo"))?.is_none() {
        let zoned = PyDict::new(py);
        zoned.set_item(intern!(py, "tzinfo"), zone)?;
        time.call_method(intern!(py, "replace"), (), Some(&zoned))?
    } else {
        time.clone()
    };
    let since = aware.sub(epoch(py)?)?;
    since.floor_div(PyDelta::new(py, 0, 0, 1, false)?)?.extract()
}

/// 1970-01-01 UTC.
pub(crate) fn epoch(py: Python<'_>) -> PyResult<Bound<'_, PyDateTime>> {
    PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(&PyTzInfo::utc(py)?.to_owned()))
}

/// How many recently seen strings are remembered by address; a power of two.
const RECENT: usize = 1024;

/// Strings by code. A string object seen lately has one code; equal strings may have several.
#[derive(Debug)]
pub(super) struct Strings {
    codes: Vec<u32>,
    present: Bitmap,
    levels: Vec<PyBackedStr>,
    /// Address and code; the level holds a reference, so an address stays its string's. 0 is nobody's.
    recent: Box<[(usize, u32)]>,
}

impl Strings {
    fn new(rows: usize) -> Self {
        Self {
            codes: Vec::with_capacity(rows),
            present: Bitmap::default(),
            levels: Vec::new(),
            recent: vec![(0, 0); RECENT].into_boxed_slice(),
        }
    }

    fn push_missing(&mut self) {
        self.codes.push(0);
        self.present.push(false);
    }

    fn push(&mut self, text: &Bound<'_, PyString>) -> PyResult<()> {
        let address = text.as_ptr() as usize;
        // Objects are 16-byte aligned, and neighbours are some dozens of bytes apart.
        let slot = ((address >> 4) ^ (address >> 14)) & (RECENT - 1);
        if self.recent[slot].0 == address {
            self.codes.push(self.recent[slot].1);
            self.present.push(true);
            return Ok(());
        }
        let level = backed(text)?;
        // An address is a name only while somebody holds the object: here, the level that is this very string.
        let lasts = level.as_py_str().as_ptr() == text.as_ptr();
        let code = self.push_level(text.py(), level)?;
        if lasts {
            self.recent[slot] = (address, code);
        }
        Ok(())
    }

    /// Adds a cell that has a level of its own.
    fn push_level(&mut self, py: Python<'_>, level: PyBackedStr) -> PyResult<u32> {
        let code = u32::try_from(self.levels.len())
            .map_err(|_| error::input(py, "a column of more than 4294967295 different strings"))?;
        self.levels.push(level);
        self.codes.push(code);
        self.present.push(true);
        Ok(code)
    }

    fn values(&self) -> Values<'_> {
        Values::Dictionary {
            codes: Codes::U32(&self.codes),
            validity: Some(self.present.validity()),
            levels: Text::Slices(self.levels.iter().map(|level| Some(&**level)).collect()),
        }
    }
}

/// A column read from objects.
#[derive(Debug)]
pub(super) enum Objects {
    /// Nothing but missing cells so far.
    Missing(usize),
    Numbers {
        values: Vec<f64>,
        present: Bitmap,
    },
    Strings(Strings),
    Mixed(Vec<Object>),
}

impl Objects {
    /// A column of no cells.
    pub(super) fn new() -> Self {
        Self::Missing(0)
    }

    /// Adds a cell of `column`; `rows` is how many there will be.
    pub(super) fn push(
        &mut self,
        object: &Bound<'_, PyAny>,
        column: &WantedColumn,
        rows: usize,
    ) -> PyResult<()> {
        // The two common columns, without a step between.
        match self {
            Self::Strings(strings) => {
                if let Ok(text) = object.cast::<PyString>() {
                    return strings.push(text);
                }
            }
            Self::Numbers { values, present } => {
                if let Ok(number) = object.cast_exact::<PyFloat>() {
                    let number = number.value();
                    present.push(!number.is_nan() || column.role == Role::Numeric);
                    values.push(number);
                    return Ok(());
                }
            }
            Self::Missing(_) | Self::Mixed(_) => {}
        }
        let cell = Object::read(object, column)?;
        match (&mut *self, cell) {
            (Self::Missing(count), Object::Missing) => *count += 1,
            (Self::Missing(count), Object::Number(number)) => {
                let mut values = Vec::with_capacity(rows);
                values.resize(*count, f64::NAN);
                let mut present = Bitmap::of(std::iter::repeat_n(false, *count));
                values.push(number);
                present.push(true);
                *self = Self::Numbers { values, present };
            }
            (Self::Missing(count), Object::Text(text)) => {
                let mut strings = Strings::new(rows);
                (0..*count).for_each(|_| strings.push_missing());
                strings.push_level(object.py(), text)?;
                *self = Self::Strings(strings);
            }
            (Self::Numbers { values, present }, Object::Missing) => {
                values.push(f64::NAN);
                present.push(false);
            }
            (Self::Numbers { values, present }, Object::Number(number)) => {
                values.push(number);
                present.push(true);
            }
            (Self::Strings(strings), Object::Missing) => strings.push_missing(),
            (Self::Strings(strings), Object::Text(text)) => {
                strings.push_level(object.py(), text)?;
            }
            (Self::Mixed(cells), cell) => cells.push(cell),
            (_, cell) => {
                let mut cells = std::mem::replace(self, Self::new()).into_cells(object.py(), rows);
                cells.push(cell);
                *self = Self::Mixed(cells);
            }
        }
        Ok(())
    }

    fn into_cells(self, py: Python<'_>, rows: usize) -> Vec<Object> {
        let mut cells = Vec::with_capacity(rows);
        match self {
            Self::Missing(count) => cells.extend((0..count).map(|_| Object::Missing)),
            Self::Numbers { values, present } => {
                let present = present.validity();
                cells.extend(values.into_iter().enumerate().map(|(row, value)| {
                    if present.is_valid(row) { Object::Number(value) } else { Object::Missing }
                }));
            }
            Self::Strings(Strings { codes, present, levels, .. }) => {
                let present = present.validity();
                cells.extend(codes.into_iter().enumerate().map(|(row, code)| {
                    if present.is_valid(row) {
                        Object::Text(levels[code as usize].clone_ref(py))
                    } else {
                        Object::Missing
                    }
                }));
            }
            Self::Mixed(former) => cells = former,
        }
        cells
    }

    pub(super) fn values(&self) -> Values<'_> {
        match self {
            Self::Missing(_) => Values::Missing,
            Self::Numbers { values, present } => Values::F64(Primitive {
                values: values.as_slice().into(),
                validity: Some(present.validity()),
            }),
            Self::Strings(strings) => strings.values(),
            Self::Mixed(cells) => Values::Cells(Cow::Owned(cells.iter().map(Object::cell).collect())),
        }
    }
}
