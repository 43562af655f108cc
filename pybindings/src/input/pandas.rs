//! pandas frames, column by column and without pyarrow, which pandas does not require.
//!
//! In flow `DataFrame`s and `Series` of NumPy, categorical, nullable, string and Arrow types; out flow the arrays behind
//! them. `NaN`, `None`, `NA` and `NaT` are missing cells.

use numpy::{PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyString};

use super::arrays::NumpyColumn;
use super::arrow::ArrowColumn;
use super::validity::Bitmap;
use super::{Column, Columns, Form, Input, Role, Source, Wanted, WantedColumn, arrays};
use crate::error;

/// Takes a frame. A column label that is no string is known by its `str`.
///
/// # Errors
/// `InputError` if a column that the model reads is there twice.
pub(super) fn frame<'py>(frame: &Bound<'py, PyAny>, wanted: &Wanted) -> PyResult<Input<'py>> {
    let py = frame.py();
    let index = frame.getattr(intern!(py, "index"))?;
    let labels = frame.getattr(intern!(py, "columns"))?.call_method0(intern!(py, "tolist"))?;
    let labels = labels.cast_into::<PyList>()?;
    let mut names = Vec::with_capacity(labels.len());
    let mut taken = vec![false; wanted.columns().len()];
    let mut found = Vec::with_capacity(wanted.columns().len());
    for label in labels {
        let name = label.str()?.to_string_lossy().into_owned();
        if let Some(ix) = wanted.find(&name) {
            if std::mem::replace(&mut taken[ix], true) {
                return Err(error::input(py, &format!("column {name:?} stands twice in the frame")));
            }
            found.push((ix, label));
        }
        names.push(name);
    }
    let column = |(ix, label): (usize, Bound<'py, PyAny>)| -> PyResult<_> {
        Ok((ix, series(&frame.get_item(label)?, &wanted.columns()[ix])?))
    };
    let columns = found.into_iter().map(column).collect::<PyResult<Vec<_>>>()?;
    let columns = Columns::new(index.len()?, columns);
    Ok(Input { form: Form::Pandas { index }, names, source: Source::Columns(columns) })
}

/// Takes a series given for `column`.
pub(super) fn series<'py>(series: &Bound<'py, PyAny>, column: &WantedColumn) -> PyResult<Column<'py>> {
    let py = series.py();
    let dtype = series.getattr(intern!(py, "dtype"))?;
    let class = dtype.get_type().name()?;
    match class.to_str()? {
        "CategoricalDtype" => categorical(series, column),
        "ArrowDtype" => arrow(series, column),
        "StringDtype" if dtype.getattr(intern!(py, "storage"))?.eq("pyarrow")? => arrow(series, column),
        "StringDtype" => plain(series, column),
        "DatetimeTZDtype" => {
            let utc = series.getattr(intern!(py, "dt"))?.call_method1(intern!(py, "tz_convert"), ("UTC",))?;
            plain(&utc, column)
        }
        "PeriodDtype" | "IntervalDtype" => {
            Err(error::column_type(py, &column.name, &dtype.str()?.to_string_lossy()))
        }
        _ if dtype.hasattr(intern!(py, "numpy_dtype"))? && dtype.hasattr(intern!(py, "na_value"))? => {
            masked(series, &dtype, column)
        }
        _ => plain(series, column),
    }
}

/// The series as a NumPy array of its own choice.
fn plain<'py>(series: &Bound<'py, PyAny>, column: &WantedColumn) -> PyResult<Column<'py>> {
    arrays::column(&series.call_method0(intern!(series.py(), "to_numpy"))?, column)
}

/// The Arrow array behind the series; pyarrow is there, or the series could not be.
fn arrow<'py>(series: &Bound<'py, PyAny>, column: &WantedColumn) -> PyResult<Column<'py>> {
    let py = series.py();
    let array = series.getattr(intern!(py, "array"))?.call_method0(intern!(py, "__arrow_array__"))?;
    Ok(Column::Arrow(ArrowColumn::new(&array, column)?))
}

/// Nullable integers, floats and booleans: values and a mask.
fn masked<'py>(
    series: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
    column: &WantedColumn,
) -> PyResult<Column<'py>> {
    let py = series.py();
    let options = PyDict::new(py);
    options.set_item(intern!(py, "dtype"), dtype.getattr(intern!(py, "numpy_dtype"))?)?;
    options.set_item(intern!(py, "na_value"), 0)?;
    let values =
        series.call_method(intern!(py, "to_numpy"), (), Some(&options))?.cast_into::<PyUntypedArray>()?;
    let missing = series.call_method0(intern!(py, "isna"))?.call_method0(intern!(py, "to_numpy"))?;
    let missing: PyReadonlyArray1<'_, bool> = missing.extract()?;
    let missing = missing.as_array();
    let validity =
        missing.iter().any(|missing| *missing).then(|| Bitmap::of(missing.iter().map(|missing| !missing)));
    match NumpyColumn::borrow(&values)? {
        Some(values) => Ok(Column::Numpy { values, validity }),
        None => Err(error::column_type(py, &column.name, &values.dtype().str()?.to_string_lossy())),
    }
}

/// Codes into categories. Text is levels as it is, and so are whole numbers where the model wants levels; other categories
/// stand for their values.
fn categorical<'py>(series: &Bound<'py, PyAny>, column: &WantedColumn) -> PyResult<Column<'py>> {
    let py = series.py();
    let array = series.getattr(intern!(py, "array"))?;
    let categories = array.getattr(intern!(py, "categories"))?.call_method0(intern!(py, "tolist"))?;
    let mut levels = Vec::with_capacity(categories.len()?);
    for category in categories.cast_into::<PyList>()? {
        let is_level = category.is_instance_of::<PyString>()
            || column.role == Role::Categorical
                && category.is_instance_of::<PyInt>()
                && !category.is_instance_of::<PyBool>();
        if !is_level {
            let module = py.import(intern!(py, "numpy"))?;
            return arrays::column(&module.call_method1(intern!(py, "asarray"), (series,))?, column);
        }
        levels.push(Some(category.str()?.to_string_lossy().into_owned()));
    }
    let codes = array.getattr(intern!(py, "codes"))?.cast_into::<PyUntypedArray>()?;
    let Some(codes) = NumpyColumn::borrow(&codes)? else {
        return Err(error::column_type(py, &column.name, &codes.dtype().str()?.to_string_lossy()));
    };
    let validity = codes.not_negative();
    Ok(Column::Codes { codes, validity, levels })
}
