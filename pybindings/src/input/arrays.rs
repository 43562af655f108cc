//! NumPy arrays, borrowed where they are contiguous and of native bytes, else copied once by NumPy itself.
//!
//! In flow 1-D arrays, the columns of other tables, and the 2-D array that is a table of its own: H2O's raw rows in model
//! column order, level codes for categorical columns. Out flow slices of their memory.

use cenote::input::{Codes, Primitive, Strided, Values};
use numpy::{
    Element, PyArray, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::objects::Objects;
use super::validity::Bitmap;
use super::{Column, Columns, Form, Input, Role, Source, Wanted, WantedColumn};
use crate::error;

/// A contiguous 1-D array.
pub(super) enum NumpyColumn<'py> {
    F64(PyReadonlyArray1<'py, f64>),
    F32(PyReadonlyArray1<'py, f32>),
    I8(PyReadonlyArray1<'py, i8>),
    I16(PyReadonlyArray1<'py, i16>),
    I32(PyReadonlyArray1<'py, i32>),
    I64(PyReadonlyArray1<'py, i64>),
    U8(PyReadonlyArray1<'py, u8>),
    U16(PyReadonlyArray1<'py, u16>),
    U32(PyReadonlyArray1<'py, u32>),
    U64(PyReadonlyArray1<'py, u64>),
    Bool(PyReadonlyArray1<'py, bool>),
}

/// The memory of an array that [`contiguous`] let through.
fn slice<'a, T: Element>(array: &'a PyReadonlyArray1<'_, T>) -> &'a [T] {
    array.as_slice().unwrap_or(&[])
}

impl<'py> NumpyColumn<'py> {
    /// Borrows a 1-D array of numbers or booleans; `None` if its elements are of another kind.
    pub(super) fn borrow(array: &Bound<'py, PyUntypedArray>) -> PyResult<Option<Self>> {
        let dtype = array.dtype();
        Ok(Some(match (dtype.kind(), dtype.itemsize()) {
            (b'f', 8) => Self::F64(contiguous(array)?),
            (b'f', 4) => Self::F32(contiguous(array)?),
            (b'f', 2) => Self::F32(contiguous(&converted(array, "float32")?)?),
            (b'f', _) => Self::F64(contiguous(&converted(array, "float64")?)?),
            (b'i', 1) => Self::I8(contiguous(array)?),
            (b'i', 2) => Self::I16(contiguous(array)?),
            (b'i', 4) => Self::I32(contiguous(array)?),
            (b'i', 8) => Self::I64(contiguous(array)?),
            (b'u', 1) => Self::U8(contiguous(array)?),
            (b'u', 2) => Self::U16(contiguous(array)?),
            (b'u', 4) => Self::U32(contiguous(array)?),
            (b'u', 8) => Self::U64(contiguous(array)?),
            (b'b', _) => Self::Bool(contiguous(array)?),
            _ => return Ok(None),
        }))
    }

    pub(super) fn values<'a>(&'a self, validity: Option<&'a Bitmap>) -> Values<'a> {
        let validity = validity.map(Bitmap::validity);
        macro_rules! primitive {
            ($array:expr) => {
                Primitive { values: slice($array).into(), validity }
            };
        }
        match self {
            Self::F64(array) => Values::F64(primitive!(array)),
            Self::F32(array) => Values::F32(primitive!(array)),
            Self::I8(array) => Values::I8(primitive!(array)),
            Self::I16(array) => Values::I16(primitive!(array)),
            Self::I32(array) => Values::I32(primitive!(array)),
            Self::I64(array) => Values::I64(primitive!(array)),
            Self::U8(array) => Values::U8(primitive!(array)),
            Self::U16(array) => Values::U16(primitive!(array)),
            Self::U32(array) => Values::U32(primitive!(array)),
            Self::U64(array) => Values::U64(primitive!(array)),
            Self::Bool(array) => Values::Bool(primitive!(array)),
        }
    }

    /// The elements as codes of a dictionary, if they are integers.
    pub(super) fn codes(&self) -> Option<Codes<'_>> {
        match self {
            Self::I8(array) => Some(Codes::I8(slice(array))),
            Self::I16(array) => Some(Codes::I16(slice(array))),
            Self::I32(array) => Some(Codes::I32(slice(array))),
            Self::I64(array) => Some(Codes::I64(slice(array))),
            Self::U8(array) => Some(Codes::U8(slice(array))),
            Self::U16(array) => Some(Codes::U16(slice(array))),
            Self::U32(array) => Some(Codes::U32(slice(array))),
            Self::U64(array) => Some(Codes::U64(slice(array))),
            Self::F64(_) | Self::F32(_) | Self::Bool(_) => None,
        }
    }

    /// Which codes are not negative; `None` if none is.
    pub(super) fn not_negative(&self) -> Option<Bitmap> {
        fn of<T: Copy + Ord + Default>(codes: &[T]) -> Option<Bitmap> {
            let zero = T::default();
            codes.iter().any(|code| *code < zero).then(|| Bitmap::of(codes.iter().map(|code| *code >= zero)))
        }
        match self {
            Self::I8(array) => of(slice(array)),
            Self::I16(array) => of(slice(array)),
            Self::I32(array) => of(slice(array)),
            Self::I64(array) => of(slice(array)),
            _ => None,
        }
    }

    /// Which numbers are not `NaN`; `None` if none is.
    fn not_nan(&self) -> Option<Bitmap> {
        match self {
            Self::F64(array) => {
                let values = slice(array);
                values
                    .iter()
                    .any(|value| value.is_nan())
                    .then(|| Bitmap::of(values.iter().map(|value| !value.is_nan())))
            }
            Self::F32(array) => {
                let values = slice(array);
                values
                    .iter()
                    .any(|value| value.is_nan())
                    .then(|| Bitmap::of(values.iter().map(|value| !value.is_nan())))
            }
            _ => None,
        }
    }
}

/// How NumPy stores `NaT`.
const NOT_A_TIME: i64 = i64::MIN;

/// `array.astype(dtype)`: contiguous, aligned and of native bytes.
fn converted<'py>(array: &Bound<'py, PyUntypedArray>, dtype: &str) -> PyResult<Bound<'py, PyUntypedArray>> {
    Ok(array.call_method1(intern!(array.py(), "astype"), (dtype, "C"))?.cast_into()?)
}

/// `array` itself if a slice can name its memory, else a copy of which one can.
fn contiguous<'py, T: Element, D: numpy::ndarray::Dimension>(
    array: &Bound<'py, PyUntypedArray>,
) -> PyResult<numpy::PyReadonlyArray<'py, T, D>> {
    if array.is_contiguous()
        && array.is_aligned()
        && let Ok(array) = array.cast::<PyArray<T, D>>()
    {
        return Ok(array.try_readonly()?);
    }
    let native = array.dtype().call_method1(intern!(array.py(), "newbyteorder"), ("=",))?;
    let copy = array.call_method1(intern!(array.py(), "astype"), (native, "C"))?;
    Ok(copy.cast_into::<PyArray<T, D>>()?.try_readonly()?)
}

/// A 1-D array as a column, whatever its elements.
///
/// # Errors
/// `ColumnTypeError` for durations, complex numbers, bytes and records.
pub(super) fn column<'py>(array: &Bound<'py, PyAny>, column: &WantedColumn) -> PyResult<Column<'py>> {
    let array = array.cast::<PyUntypedArray>()?;
    if array.ndim() != 1 {
        return Err(error::input(
            array.py(),
            &format!("column {:?}: expected one dimension, found {}", column.name, array.ndim()),
        ));
    }
    if let Some(values) = NumpyColumn::borrow(array)? {
        let validity = if column.role == Role::Numeric { None } else { values.not_nan() };
        return Ok(Column::Numpy { values, validity });
    }
    match array.dtype().kind() {
        b'O' | b'U' | b'T' => Ok(Column::Objects(objects(array, column)?)),
        b'M' => {
            let unit = match column.role {
                Role::Moment => "datetime64[us]",
                Role::Day => "datetime64[D]",
                _ => "datetime64[ms]",
            };
            let values = contiguous::<i64, _>(&converted(&converted(array, unit)?, "int64")?)?;
            let validity = Bitmap::of(slice(&values).iter().map(|value| *value != NOT_A_TIME));
            Ok(Column::Numpy { values: NumpyColumn::I64(values), validity: Some(validity) })
        }
        _ => Err(error::column_type(array.py(), &column.name, &array.dtype().str()?.to_string_lossy())),
    }
}

/// Reads an array of objects or of text.
fn objects(array: &Bound<'_, PyUntypedArray>, column: &WantedColumn) -> PyResult<Objects> {
    let mut objects = Objects::new();
    if array.dtype().kind() == b'O'
        && let Ok(array) = array.cast::<numpy::PyArray1<Py<PyAny>>>()
    {
        let array = array.try_readonly()?;
        let cells = array.as_array();
        let rows = cells.len();
        for cell in cells {
            objects.push(cell.bind(array.py()), column, rows)?;
        }
        return Ok(objects);
    }
    let list = array.call_method0(intern!(array.py(), "tolist"))?.cast_into::<PyList>()?;
    let rows = list.len();
    for cell in list {
        objects.push(&cell, column, rows)?;
    }
    Ok(objects)
}

/// A 2-D array of raw values, a column each model column.
pub(super) struct Matrix<'py> {
    array: PyReadonlyArray2<'py, f64>,
}

impl Matrix<'_> {
    pub(super) fn columns(&self) -> usize {
        self.array.shape()[1]
    }

    /// Column `ix` of either memory order.
    pub(super) fn column(&self, ix: usize) -> Values<'_> {
        let (rows, columns) = (self.array.shape()[0], self.array.shape()[1]);
        let all = self.array.as_slice().unwrap_or(&[]);
        let values = if rows == 0 {
            Strided::from(&[][..])
        } else if self.array.is_c_contiguous() {
            Strided::new(&all[ix..], columns)
        } else {
            Strided::from(&all[ix * rows..(ix + 1) * rows])
        };
        Values::Raw(Primitive { values, validity: None })
    }
}

/// Takes a 2-D array.
///
/// # Errors
/// `InputError` if it has not a column for each model column; `ColumnTypeError` for elements that are no numbers.
pub(super) fn matrix<'py>(data: &Bound<'py, PyAny>, wanted: &Wanted) -> PyResult<Input<'py>> {
    let py = data.py();
    let array = data.cast::<PyUntypedArray>()?;
    let all: Vec<&str> = wanted.columns().iter().map(|column| column.name.as_str()).collect();
    let [rows, width] = *array.shape() else {
        return Err(error::input(py, &format!("expected a 2-D array, found {} dimensions", array.ndim())));
    };
    if width != wanted.features && width != all.len() {
        return Err(error::input(
            py,
            &format!("expected {} columns in the order {all:?}, found {width}", all.len()),
        ));
    }
    let names: Vec<String> = all[..width].iter().map(|name| (*name).to_owned()).collect();
    let columns = match array.dtype().kind() {
        b'f' if array.dtype().itemsize() == 8 => {
            Columns { rows, held: super::Held::Matrix(Matrix { array: contiguous(array)? }) }
        }
        b'f' | b'i' | b'u' | b'b' => {
            let array = contiguous(&converted(array, "float64")?)?;
            Columns { rows, held: super::Held::Matrix(Matrix { array }) }
        }
        b'O' | b'U' | b'T' => {
            let columns = array.getattr(intern!(py, "T"))?;
            let read = |(ix, wanted): (usize, &WantedColumn)| {
                let array = columns.get_item(ix)?.cast_into::<PyUntypedArray>()?;
                Ok((ix, Column::Objects(objects(&array, wanted)?)))
            };
            let columns: PyResult<Vec<_>> = wanted.columns()[..width].iter().enumerate().map(read).collect();
            Columns::new(rows, columns?)
        }
        _ => return Err(error::column_type(py, all[0], &array.dtype().str()?.to_string_lossy())),
    };
    Ok(Input { form: Form::Numpy, names, source: Source::Columns(columns) })
}
