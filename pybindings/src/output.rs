//! Predictions, given back in the kind of table that came.
//!
//! In flow [`Predictions`] and a [`Form`]; out flows a Python object. Labels are categories where a kind of table has them,
//! as H2O's `predict` column is a factor; else text; in a matrix of numbers their place among the model's labels. A refused
//! row is missing in every column, and a last column `error` says why, if some row was refused.

use std::collections::HashMap;
use std::ffi::CString;
use std::iter::Peekable;
use std::slice;

use cenote::input::arrow::ErrorColumn;
use cenote::{OutputColumn, OutputValues, Predictions, RowError};
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList, PyString};
use pyo3::{IntoPyObjectExt, intern};

use crate::error;
use crate::input::Form;
use crate::table::ArrowTable;

/// The column that says why rows were refused.
const ERROR: &str = "error";

impl<'py> Form<'py> {
    /// Gives `predictions` back in this form.
    pub(crate) fn give(self, py: Python<'py>, predictions: Predictions) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Form::Pandas { index } => pandas(py, predictions, &index),
            Form::Polars => py
                .import(intern!(py, "polars"))?
                .call_method1(intern!(py, "DataFrame"), (arrow(py, &predictions)?,)),
            Form::PyArrowTable => py
                .import(intern!(py, "pyarrow"))?
                .call_method1(intern!(py, "table"), (arrow(py, &predictions)?,)),
            Form::PyArrowBatch => py
                .import(intern!(py, "pyarrow"))?
                .call_method1(intern!(py, "record_batch"), (arrow(py, &predictions)?,)),
            Form::Arrow => Ok(arrow(py, &predictions)?.into_any()),
            Form::Numpy => matrix(py, &predictions),
            Form::Lists => lists(py, &predictions),
            Form::Arrays => arrays(py, predictions),
            Form::Rows => rows(py, &predictions),
        }
    }
}

/// The only row as a dict.
pub(crate) fn one<'py>(py: Python<'py>, predictions: &Predictions) -> PyResult<Bound<'py, PyAny>> {
    if let Some(refused) = predictions.errors.first() {
        return Err(error::refused_row(py, refused));
    }
    let row = PyDict::new(py);
    for column in &predictions.columns {
        let value = match &column.values {
            OutputValues::Number(values) => values[0].into_bound_py_any(py)?,
            OutputValues::Integer(values) => values[0].into_bound_py_any(py)?,
            OutputValues::Label { codes, domain } => match domain.get(codes[0] as usize) {
                Some(label) => label.into_bound_py_any(py)?,
                None => py.None().into_bound(py),
            },
            other => return Err(unknown(py, other)),
        };
        row.set_item(&column.name, value)?;
    }
    Ok(row.into_any())
}

/// Adds the predictions of the next rows to those of the rows before.
pub(crate) fn append(all: &mut Predictions, next: Predictions) {
    let offset = all.rows;
    all.rows += next.rows;
    all.errors.extend(next.errors.into_iter().map(|error| RowError { row: error.row + offset, ..error }));
    for (column, next) in all.columns.iter_mut().zip(next.columns) {
        match (&mut column.values, next.values) {
            (OutputValues::Number(values), OutputValues::Number(next)) => values.extend(next),
            (OutputValues::Integer(values), OutputValues::Integer(next)) => values.extend(next),
            (
                OutputValues::Label { codes, domain },
                OutputValues::Label { codes: next, domain: next_domain },
            ) => {
                if *domain == next_domain {
                    codes.extend(next);
                } else {
                    // Leaf paths: each batch has a domain of those it met.
                    let mut labels = domain.to_vec();
                    let mut known: HashMap<String, u32> = labels.iter().cloned().zip(0..).collect();
                    let places: Vec<u32> = next_domain
                        .iter()
                        .map(|label| {
                            *known.entry(label.clone()).or_insert_with(|| {
                                labels.push(label.clone());
                                labels.len() as u32 - 1
                            })
                        })
                        .collect();
                    codes.extend(
                        next.iter().map(|code| {
                            places.get(*code as usize).copied().unwrap_or(OutputValues::NO_LABEL)
                        }),
                    );
                    *domain = labels.into();
                }
            }
            _ => unreachable!("one call gives one kind of column"),
        }
    }
}

fn unknown(py: Python<'_>, values: &OutputValues) -> PyErr {
    error::unsupported(py, &format!("this build does not know how to give back {values:?}"))
}

/// Walks the rows and says which are refused.
struct Refused<'a>(Peekable<slice::Iter<'a, RowError>>);

impl<'a> Refused<'a> {
    fn of(predictions: &'a Predictions) -> Self {
        Self(predictions.errors.iter().peekable())
    }

    /// Why `row` is refused; rows must be asked in ascending order.
    fn at(&mut self, row: usize) -> Option<&'a RowError> {
        self.0.next_if(|error| error.row == row)
    }
}

/// The texts of the column `error`, one a row.
fn errors<'py>(py: Python<'py>, predictions: &Predictions) -> PyResult<Bound<'py, PyList>> {
    let mut refused = Refused::of(predictions);
    let texts: Vec<Option<String>> =
        (0..predictions.rows).map(|row| refused.at(row).map(ToString::to_string)).collect();
    PyList::new(py, texts)
}

fn arrow<'py>(py: Python<'py>, predictions: &Predictions) -> PyResult<Bound<'py, ArrowTable>> {
    let batch = predictions
        .to_record_batch(ErrorColumn::WhenAny)
        .map_err(|error| error::input(py, &error.to_string()))?;
    Bound::new(py, ArrowTable::new(batch))
}

fn pandas<'py>(
    py: Python<'py>,
    predictions: Predictions,
    index: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let pandas = py.import(intern!(py, "pandas"))?;
    let categorical = pandas.getattr(intern!(py, "Categorical"))?;
    let columns = PyDict::new(py);
    let errors = if predictions.errors.is_empty() { None } else { Some(errors(py, &predictions)?) };
    for column in predictions.columns {
        let values = match column.values {
            OutputValues::Number(values) => PyArray1::from_vec(py, values).into_any(),
            OutputValues::Integer(values) => PyArray1::from_vec(py, values).into_any(),
            OutputValues::Label { codes, domain } => {
                let labels = PyList::new(py, domain.iter())?;
                // `NO_LABEL` becomes -1, the code by which pandas knows a missing category.
                let codes = match i8::try_from(domain.len()) {
                    Ok(_) => {
                        PyArray1::from_vec(py, codes.iter().map(|code| *code as i8).collect()).into_any()
                    }
                    Err(_) => {
                        PyArray1::from_vec(py, codes.iter().map(|code| *code as i32).collect()).into_any()
                    }
                };
                categorical.call_method1(intern!(py, "from_codes"), (codes, labels))?
            }
            other => return Err(unknown(py, &other)),
        };
        columns.set_item(column.name, values)?;
    }
    if let Some(errors) = errors {
        columns.set_item(ERROR, errors)?;
    }
    let options = PyDict::new(py);
    options.set_item(intern!(py, "index"), index)?;
    options.set_item(intern!(py, "copy"), false)?;
    pandas.call_method(intern!(py, "DataFrame"), (columns,), Some(&options))
}

/// `[rows x columns]`: `float64`, or `int32` if all are node ids, or text if all are paths.
fn matrix<'py>(py: Python<'py>, predictions: &Predictions) -> PyResult<Bound<'py, PyAny>> {
    if let Some(first) = predictions.errors.first() {
        let message =
            format!("{} rows refused, the first: row {}: {first}", predictions.errors.len(), first.row);
        let category = py.get_type::<PyRuntimeWarning>();
        PyErr::warn(py, &category, &CString::new(message.replace('\0', "\u{fffd}"))?, 1)?;
    }
    let (rows, width) = (predictions.rows, predictions.columns.len());
    let columns = &predictions.columns;
    let all =
        |kind: fn(&OutputValues) -> bool| width > 0 && columns.iter().all(|column| kind(&column.values));
    if all(|values| matches!(values, OutputValues::Integer(_))) {
        let cells = |column: &OutputColumn, cell: &mut dyn FnMut(usize, i32)| {
            if let OutputValues::Integer(values) = &column.values {
                values.iter().enumerate().for_each(|(row, value)| cell(row, *value));
            }
        };
        return Ok(row_major(py, rows, columns, -1, cells)?.into_any());
    }
    if all(|values| matches!(values, OutputValues::Label { .. })) {
        let text = arrays_of(py, columns, |py, column| objects(py, column, &mut Refused::of(predictions)))?;
        return py.import(intern!(py, "numpy"))?.call_method1(intern!(py, "column_stack"), (text,));
    }
    let cells = |column: &OutputColumn, cell: &mut dyn FnMut(usize, f64)| match &column.values {
        OutputValues::Number(values) => values.iter().enumerate().for_each(|(row, value)| cell(row, *value)),
        OutputValues::Integer(values) => {
            values.iter().enumerate().for_each(|(row, value)| cell(row, f64::from(*value)));
        }
        OutputValues::Label { codes, .. } => codes.iter().enumerate().for_each(|(row, code)| {
            if *code != OutputValues::NO_LABEL {
                cell(row, f64::from(*code));
            }
        }),
        _ => {}
    };
    Ok(row_major(py, rows, columns, f64::NAN, cells)?.into_any())
}

/// A 2-D array whose cells `cells` calls out column by column.
fn row_major<'py, T: numpy::Element + Copy>(
    py: Python<'py>,
    rows: usize,
    columns: &[OutputColumn],
    missing: T,
    cells: impl Fn(&OutputColumn, &mut dyn FnMut(usize, T)),
) -> PyResult<Bound<'py, PyArray2<T>>> {
    let width = columns.len();
    let mut all = vec![missing; rows * width];
    for (ix, column) in columns.iter().enumerate() {
        cells(column, &mut |row, value| all[row * width + ix] = value);
    }
    PyArray1::from_vec(py, all).reshape([rows, width])
}

fn arrays_of<'py>(
    py: Python<'py>,
    columns: &[OutputColumn],
    of: impl Fn(Python<'py>, &OutputColumn) -> PyResult<Vec<Bound<'py, PyAny>>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    columns.iter().map(|column| Ok(object_array(py, of(py, column)?))).collect()
}

fn object_array<'py>(py: Python<'py>, objects: Vec<Bound<'py, PyAny>>) -> Bound<'py, PyAny> {
    PyArray1::from_vec(py, objects.into_iter().map(Bound::unbind).collect::<Vec<Py<PyAny>>>()).into_any()
}

/// A column as Python objects, `None` where its row is refused.
fn objects<'py>(
    py: Python<'py>,
    column: &OutputColumn,
    refused: &mut Refused<'_>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let none = py.None().into_bound(py);
    let mut kept = |row: usize, value: Bound<'py, PyAny>| match refused.at(row) {
        Some(_) => none.clone(),
        None => value,
    };
    match &column.values {
        OutputValues::Number(values) => Ok(values
            .iter()
            .enumerate()
            .map(|(row, value)| kept(row, PyFloat::new(py, *value).into_any()))
            .collect()),
        OutputValues::Integer(values) => values
            .iter()
            .enumerate()
            .map(|(row, value)| Ok(kept(row, value.into_bound_py_any(py)?)))
            .collect(),
        OutputValues::Label { codes, domain } => {
            let labels: Vec<_> = domain.iter().map(|label| PyString::new(py, label).into_any()).collect();
            Ok(codes
                .iter()
                .enumerate()
                .map(|(row, code)| kept(row, labels.get(*code as usize).unwrap_or(&none).clone()))
                .collect())
        }
        other => Err(unknown(py, other)),
    }
}

fn lists<'py>(py: Python<'py>, predictions: &Predictions) -> PyResult<Bound<'py, PyAny>> {
    let all = PyDict::new(py);
    for column in &predictions.columns {
        let cells = objects(py, column, &mut Refused::of(predictions))?;
        all.set_item(&column.name, PyList::new(py, cells)?)?;
    }
    if !predictions.errors.is_empty() {
        all.set_item(ERROR, errors(py, predictions)?)?;
    }
    Ok(all.into_any())
}

fn arrays<'py>(py: Python<'py>, predictions: Predictions) -> PyResult<Bound<'py, PyAny>> {
    let all = PyDict::new(py);
    let errors = if predictions.errors.is_empty() { None } else { Some(errors(py, &predictions)?) };
    for column in &predictions.columns {
        let array = match &column.values {
            OutputValues::Number(values) => PyArray1::from_slice(py, values).into_any(),
            OutputValues::Integer(values) => PyArray1::from_slice(py, values).into_any(),
            _ => object_array(py, objects(py, column, &mut Refused::of(&predictions))?),
        };
        all.set_item(&column.name, array)?;
    }
    if let Some(errors) = errors {
        all.set_item(ERROR, object_array(py, errors.iter().collect()))?;
    }
    Ok(all.into_any())
}

fn rows<'py>(py: Python<'py>, predictions: &Predictions) -> PyResult<Bound<'py, PyAny>> {
    let mut columns = Vec::with_capacity(predictions.columns.len() + 1);
    for column in &predictions.columns {
        columns.push((
            PyString::intern(py, &column.name),
            objects(py, column, &mut Refused::of(predictions))?.into_iter(),
        ));
    }
    if !predictions.errors.is_empty() {
        let texts: Vec<_> = errors(py, predictions)?.iter().collect();
        columns.push((PyString::intern(py, ERROR), texts.into_iter()));
    }
    let list = PyList::empty(py);
    for _ in 0..predictions.rows {
        let row = PyDict::new(py);
        for (name, cells) in &mut columns {
            if let Some(cell) = cells.next() {
                row.set_item(&*name, cell)?;
            }
        }
        list.append(row)?;
    }
    Ok(list.into_any())
}
