//! Whatever table a caller has, to columns that a [`Batch`] can borrow.
//!
//! In flow pandas, polars, pyarrow and other Arrow tables, NumPy arrays, dicts and lists of dicts; out flows an
//! [`Input`]: its [`Form`], to give the answer back in, and only the columns that the model reads. A buffer is borrowed
//! where its layout allows, and [`Column`] keeps its owner alive. No package is imported that the caller has not.

mod arrays;
mod arrow;
mod mapping;
mod objects;
mod pandas;
mod validity;

use std::collections::HashMap;

use arrow_array::RecordBatchReader;
use cenote::Batch;
use cenote::input::{Text, Values};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyString};

use self::arrays::{Matrix, NumpyColumn};
use self::arrow::ArrowColumn;
pub(crate) use self::arrow::wanted_columns;
pub(crate) use self::mapping::{RowCells, is_row};
use self::objects::Objects;
pub(crate) use self::objects::{Object, epoch};
use self::validity::Bitmap;

/// What a column is for, which decides what its cells mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A model's numbers: `NaN` is a number, times are milliseconds since 1970.
    Numeric,
    /// A model's levels: `NaN` is a missing cell, a whole number is the level of that text.
    Categorical,
    /// A column of the feature store: `NaN` is a missing cell.
    Stored,
    /// The store's moments: microseconds since 1970.
    Moment,
    /// The store's days: days since 1970.
    Day,
    /// The store's exact decimals: text, or numbers.
    Decimal,
    /// The store's documents: JSON text, or dicts and lists.
    Document,
}

/// A column that is wanted of a table.
#[derive(Debug)]
pub(crate) struct WantedColumn {
    pub(crate) name: String,
    /// The name as the Python string that dicts are asked with.
    pub(crate) key: Py<PyString>,
    pub(crate) role: Role,
}

impl WantedColumn {
    pub(crate) fn new(py: Python<'_>, name: &str, role: Role) -> Self {
        Self { name: name.to_owned(), key: PyString::intern(py, name).unbind(), role }
    }
}

/// The columns that a model reads, or a view of the store has.
#[derive(Debug)]
pub(crate) struct Wanted {
    columns: Vec<WantedColumn>,
    index: HashMap<String, usize>,
    /// How many of `columns` are features; an offset column may follow.
    features: usize,
}

impl Wanted {
    /// The columns that `model` reads: its features in its own order, then the offset column if it has one.
    pub(crate) fn of(py: Python<'_>, model: &cenote::Model) -> Self {
        let schema = model.schema();
        let column = |name: &str, role| WantedColumn::new(py, name, role);
        let mut columns: Vec<WantedColumn> = schema
            .input_columns()
            .iter()
            .map(|feature| match feature.domain {
                Some(_) => column(&feature.name, Role::Categorical),
                None => column(&feature.name, Role::Numeric),
            })
            .collect();
        let features = columns.len();
        if let Some(offset) = &schema.offset_column
            && columns.iter().all(|feature| feature.name != *offset)
        {
            columns.push(column(offset, Role::Numeric));
        }
        Self::new(columns, features)
    }

    /// These columns, of which the first `features` are a model's features.
    pub(crate) fn new(columns: Vec<WantedColumn>, features: usize) -> Self {
        let index = columns.iter().enumerate().map(|(ix, column)| (column.name.clone(), ix)).collect();
        Self { columns, index, features }
    }

    /// All columns: features, then the offset column if there is one.
    pub(crate) fn columns(&self) -> &[WantedColumn] {
        &self.columns
    }

    /// Where the column called `name` stands, if it is wanted.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }
}

/// One column's buffers, or their owner; as long as its [`Columns`] has rows.
enum Column<'py> {
    Arrow(ArrowColumn),
    Numpy {
        values: NumpyColumn<'py>,
        validity: Option<Bitmap>,
    },
    /// Codes into levels, from pandas.
    Codes {
        codes: NumpyColumn<'py>,
        validity: Option<Bitmap>,
        levels: Vec<Option<String>>,
    },
    Objects(Objects),
}

impl Column<'_> {
    fn values(&self) -> Values<'_> {
        match self {
            Column::Arrow(column) => column.values(),
            Column::Numpy { values, validity } => values.values(validity.as_ref()),
            Column::Codes { codes, validity, levels } => match codes.codes() {
                Some(codes) => Values::Dictionary {
                    codes,
                    validity: validity.as_ref().map(Bitmap::validity),
                    levels: Text::Slices(levels.iter().map(Option::as_deref).collect()),
                },
                None => Values::Missing,
            },
            Column::Objects(objects) => objects.values(),
        }
    }
}

/// The columns of some rows, each with its place among the model's [`Wanted`].
pub(crate) struct Columns<'py> {
    rows: usize,
    held: Held<'py>,
}

enum Held<'py> {
    Columns(Vec<(usize, Column<'py>)>),
    Matrix(Matrix<'py>),
}

impl<'py> Columns<'py> {
    fn new(rows: usize, columns: Vec<(usize, Column<'py>)>) -> Self {
        Self { rows, held: Held::Columns(columns) }
    }

    /// The batch that borrows them.
    pub(crate) fn batch<'a>(&'a self, wanted: &'a Wanted) -> Result<Batch<'a>, cenote::Error> {
        let mut batch = Batch::new(self.rows);
        match &self.held {
            Held::Columns(columns) => {
                for (ix, column) in columns {
                    batch.push(wanted.columns[*ix].name.as_str(), column.values())?;
                }
            }
            Held::Matrix(matrix) => {
                for (ix, column) in wanted.columns[..matrix.columns()].iter().enumerate() {
                    batch.push(column.name.as_str(), matrix.column(ix))?;
                }
            }
        }
        Ok(batch)
    }
}

/// What kind of table came, and so what kind goes back.
#[derive(Debug)]
pub(crate) enum Form<'py> {
    /// A pandas `DataFrame` with this index.
    Pandas { index: Bound<'py, PyAny> },
    /// A polars `DataFrame`.
    Polars,
    /// A pyarrow `Table`.
    PyArrowTable,
    /// A pyarrow `RecordBatch`.
    PyArrowBatch,
    /// Some other Arrow table: ours goes back.
    Arrow,
    /// A 2-D NumPy array.
    Numpy,
    /// A dict of lists.
    Lists,
    /// A dict of which some column was a NumPy array.
    Arrays,
    /// A list of dicts.
    Rows,
}

/// Where the rows are.
pub(crate) enum Source<'py> {
    /// All here.
    Columns(Columns<'py>),
    /// Record batches that come one by one.
    Stream(Box<dyn RecordBatchReader + Send>),
}

/// A table as it came.
pub(crate) struct Input<'py> {
    pub(crate) form: Form<'py>,
    /// The names of all columns that came, for the error that says which are missing.
    pub(crate) names: Vec<String>,
    pub(crate) source: Source<'py>,
}

/// Whether `object` is an instance of `module.class`, without importing the module.
fn is_instance(object: &Bound<'_, PyAny>, module: &str, class: &str) -> PyResult<bool> {
    let py = object.py();
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?;
    match modules.cast_into::<PyDict>()?.get_item(module)? {
        // A module half imported by another thread may lack the class: then nobody has an instance of it.
        Some(module) if !module.is_none() => match module.getattr_opt(class)? {
            Some(class) => object.is_instance(&class),
            None => Ok(false),
        },
        _ => Ok(false),
    }
}

/// Takes any table that the package knows.
///
/// # Errors
/// `TypeError` for anything else; `ColumnTypeError` and `InputError` for what no model could take.
pub(crate) fn table<'py>(data: &Bound<'py, PyAny>, wanted: &Wanted) -> PyResult<Input<'py>> {
    if let Ok(rows) = data.cast::<PyList>() {
        return mapping::rows(rows, wanted);
    }
    if let Ok(columns) = data.cast::<PyDict>() {
        return mapping::columns(columns, wanted);
    }
    // First of these, since it is what single rows come in.
    if is_instance(data, "numpy", "ndarray")? {
        return arrays::matrix(data, wanted);
    }
    if is_instance(data, "pandas", "DataFrame")? {
        return pandas::frame(data, wanted);
    }
    if is_instance(data, "polars", "DataFrame")? {
        return arrow::polars(data, wanted);
    }
    if is_instance(data, "pyarrow", "RecordBatch")? {
        return arrow::pyarrow(data, wanted, Form::PyArrowBatch);
    }
    if is_instance(data, "pyarrow", "Table")? {
        return arrow::pyarrow(data, wanted, Form::PyArrowTable);
    }
    if is_instance(data, "pyarrow", "RecordBatchReader")? {
        return arrow::table(data, Form::PyArrowTable);
    }
    if is_instance(data, "polars", "LazyFrame")? {
        return Err(PyTypeError::new_err("a polars LazyFrame holds no rows yet: call its collect() first"));
    }
    let py = data.py();
    if data.hasattr(intern!(py, "__arrow_c_stream__"))? || data.hasattr(intern!(py, "__arrow_c_array__"))? {
        return arrow::table(data, Form::Arrow);
    }
    if let Ok(mapping) = data.cast::<PyMapping>() {
        let dict = PyDict::new(py);
        dict.update(mapping)?;
        return mapping::columns(&dict, wanted);
    }
    Err(PyTypeError::new_err(format!(
        "expected a pandas or polars DataFrame, an Arrow table, a 2-D NumPy array, a dict or a list of dicts, found {}",
        data.get_type().fully_qualified_name()?
    )))
}
