//! Plain Python: a dict of columns, a list of dicts, and the one dict that is a row.
//!
//! In flow dicts whose keys are column names; out flow columns of objects, or of whatever a dict's column is. A key that a
//! row lacks is a missing cell, as in H2O's `RowData`.

use cenote::{Cell, Row};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PySequence, PyString};

use super::arrow::ArrowColumn;
use super::objects::{Object, Objects};
use super::{Column, Columns, Form, Input, Source, Wanted, WantedColumn, arrays, is_instance, pandas};
use crate::error;

/// Whether a dict is one row: no value of the model's columns is a column, or, where it has none of those, no value at all.
/// So a dict of nothing is a row of which no cell is given.
pub(crate) fn is_row(dict: &Bound<'_, PyDict>, wanted: &Wanted) -> PyResult<bool> {
    let mut known = false;
    for column in wanted.columns() {
        if let Some(value) = dict.get_item(&column.key)? {
            known = true;
            if is_many(&value)? {
                return Ok(false);
            }
        }
    }
    if known {
        return Ok(true);
    }
    for value in dict.values() {
        if is_many(&value)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a value of a dict is a column and not a cell.
fn is_many(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    // Most cells are of these kinds; asking a number for a shape makes an exception each time.
    if value.is_none()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
    {
        return Ok(false);
    }
    let py = value.py();
    // NumPy's scalars have a shape too: an empty one.
    if let Some(shape) = value.getattr_opt(intern!(py, "shape"))? {
        return Ok(shape.len().is_ok_and(|dimensions| dimensions > 0));
    }
    Ok(value.cast::<PySequence>().is_ok()
        || value.hasattr(intern!(py, "__arrow_c_array__"))?
        || value.hasattr(intern!(py, "__arrow_c_stream__"))?)
}

/// The cells of one row, kept alive for the [`Row`] that borrows them.
pub(crate) struct RowCells {
    cells: Vec<(usize, Object)>,
}

impl RowCells {
    /// Reads those cells of `dict` that the model reads.
    pub(crate) fn read(dict: &Bound<'_, PyDict>, wanted: &Wanted) -> PyResult<Self> {
        let mut cells = Vec::with_capacity(wanted.columns().len());
        for (ix, column) in wanted.columns().iter().enumerate() {
            if let Some(value) = dict.get_item(&column.key)? {
                cells.push((ix, Object::read(&value, column)?));
            }
        }
        Ok(Self { cells })
    }

    /// The row that borrows them.
    pub(crate) fn row<'a>(&'a self, wanted: &'a Wanted) -> Row<'a> {
        let mut row = Row::new();
        for (name, cell) in self.cells(wanted) {
            row.push(name, cell);
        }
        row
    }

    /// Names and cells.
    pub(crate) fn cells<'a>(
        &'a self,
        wanted: &'a Wanted,
    ) -> impl ExactSizeIterator<Item = (&'a str, Cell<'a>)> {
        self.cells.iter().map(|(ix, cell)| (wanted.columns()[*ix].name.as_str(), cell.cell()))
    }
}

/// Takes a dict of columns.
///
/// # Errors
/// `InputError` if the columns differ in length; `TypeError` if one holds a single cell.
pub(super) fn columns<'py>(dict: &Bound<'py, PyDict>, wanted: &Wanted) -> PyResult<Input<'py>> {
    let py = dict.py();
    let mut rows = None;
    let mut form = Form::Lists;
    let mut names = Vec::with_capacity(dict.len());
    let mut taken = Vec::with_capacity(wanted.columns().len());
    for (key, value) in dict {
        let key = key.cast_into::<PyString>()?;
        let name = key.to_string_lossy().into_owned();
        if !is_many(&value)? {
            return Err(PyTypeError::new_err(format!(
                "column {name:?}: expected a list or an array as in the other columns, found {}",
                value.get_type().name()?
            )));
        }
        if is_instance(&value, "numpy", "ndarray")? {
            form = Form::Arrays;
        }
        let length = value.len()?;
        if *rows.get_or_insert(length) != length {
            return Err(error::input(
                py,
                &format!("column {name:?} has {length} cells, the first has {}", rows.unwrap_or_default()),
            ));
        }
        if let Some(ix) = wanted.find(&name) {
            taken.push((ix, one_column(&value, &wanted.columns()[ix])?));
        }
        names.push(name);
    }
    let columns = Columns::new(rows.unwrap_or(0), taken);
    Ok(Input { form, names, source: Source::Columns(columns) })
}

/// A column given by itself: an array, a series, a list or another sequence.
fn one_column<'py>(value: &Bound<'py, PyAny>, column: &WantedColumn) -> PyResult<Column<'py>> {
    let py = value.py();
    if let Ok(list) = value.cast::<PyList>() {
        let mut objects = Objects::new();
        for cell in list {
            objects.push(&cell, column, list.len())?;
        }
        return Ok(Column::Objects(objects));
    }
    if is_instance(value, "numpy", "ndarray")? {
        return arrays::column(value, column);
    }
    if is_instance(value, "pandas", "Series")? {
        return pandas::series(value, column);
    }
    if value.hasattr(intern!(py, "__arrow_c_array__"))? || value.hasattr(intern!(py, "__arrow_c_stream__"))? {
        return Ok(Column::Arrow(ArrowColumn::new(value, column)?));
    }
    let cells = value.cast::<PySequence>()?;
    let rows = cells.len()?;
    let mut objects = Objects::new();
    for cell in cells.try_iter()? {
        objects.push(&cell?, column, rows)?;
    }
    Ok(Column::Objects(objects))
}

/// Takes a list of dicts. A column is missing, as a column, if no row has its key.
///
/// # Errors
/// `TypeError` if some item is not a dict.
pub(super) fn rows<'py>(list: &Bound<'py, PyList>, wanted: &Wanted) -> PyResult<Input<'py>> {
    let py = list.py();
    let rows = list.len();
    let none = py.None().into_bound(py);
    let mut read: Vec<(bool, Objects)> = wanted.columns().iter().map(|_| (false, Objects::new())).collect();
    for (row, item) in list.iter().enumerate() {
        let Ok(dict) = item.cast::<PyDict>() else {
            return Err(PyTypeError::new_err(format!(
                "row {row}: expected a dict, found {}",
                item.get_type().name()?
            )));
        };
        for ((seen, objects), column) in read.iter_mut().zip(wanted.columns()) {
            match dict.get_item(&column.key)? {
                Some(cell) => {
                    *seen = true;
                    objects.push(&cell, column, rows)?;
                }
                None => objects.push(&none, column, rows)?,
            }
        }
    }
    let mut names: Vec<String> = Vec::new();
    if let Some(first) = list.iter().next() {
        for key in first.cast_into::<PyDict>()?.keys() {
            names.push(key.str()?.to_string_lossy().into_owned());
        }
    }
    // An empty list lacks no column: it has no row that could.
    let columns = read.into_iter().enumerate().filter(|(_, (seen, _))| *seen || rows == 0);
    let columns = columns.map(|(ix, (_, objects))| (ix, Column::Objects(objects))).collect();
    Ok(Input { form: Form::Rows, names, source: Source::Columns(Columns::new(rows, columns)) })
}
