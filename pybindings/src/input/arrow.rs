//! Arrow tables, through the PyCapsule interface: polars, pyarrow and any other producer.
//!
//! In flow `__arrow_c_stream__` or `__arrow_c_array__`; out flow record batches one by one, and of each the columns that
//! the model reads. Which Arrow types are read and how is the core's affair ([`ArrowColumns`]).

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use cenote::input::Values;
use cenote::input::arrow::{ArrowColumns, Reading};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_arrow::PyChunkedArray;
use pyo3_arrow::input::{AnyArray, AnyRecordBatch};

use super::{Form, Input, Role, Source, Wanted, WantedColumn};
use crate::error;

/// One array that came for a column of another table.
pub(super) struct ArrowColumn(ArrowColumns);

impl ArrowColumn {
    /// Takes an Arrow array, whole or in chunks, given for `column`.
    pub(super) fn new(data: &Bound<'_, PyAny>, column: &WantedColumn) -> PyResult<Self> {
        let py = data.py();
        let chunks: PyChunkedArray = data.extract::<AnyArray>()?.into_chunked_array()?;
        let array: ArrayRef = match chunks.chunks() {
            [] => arrow_array::new_empty_array(chunks.field().data_type()),
            [array] => array.clone(),
            several => {
                let several: Vec<_> = several.iter().map(AsRef::as_ref).collect();
                arrow_select::concat::concat(&several).map_err(|error| refused(py, error))?
            }
        };
        let batch = RecordBatch::try_from_iter_with_nullable([(column.name.as_str(), array, true)])
            .map_err(|error| refused(py, error))?;
        let columns = ArrowColumns::read(&batch, |_| Some(reading(column.role)));
        columns.map(Self).map_err(|error| refused(py, error))
    }

    /// The array's values.
    pub(super) fn values(&self) -> Values<'_> {
        let only =
            self.0.batch().ok().and_then(|batch| batch.columns().next().map(|(_, values)| values.clone()));
        only.unwrap_or(Values::Missing)
    }
}

/// Those columns of `batch` that are wanted.
pub(crate) fn wanted_columns(py: Python<'_>, batch: &RecordBatch, wanted: &Wanted) -> PyResult<ArrowColumns> {
    let read = |name: &str| wanted.find(name).map(|ix| reading(wanted.columns[ix].role));
    ArrowColumns::read(batch, read).map_err(|error| refused(py, error))
}

/// What the core reads a column for: the store tells times apart that a model does not.
fn reading(role: Role) -> Reading {
    match role {
        Role::Moment => Reading::Moment,
        Role::Day => Reading::Day,
        Role::Decimal | Role::Document => Reading::Exact,
        _ => Reading::Model,
    }
}

/// The core names the column and its type where it refuses one.
fn refused(py: Python<'_>, error: ArrowError) -> PyErr {
    match error {
        ArrowError::SchemaError(message) => error::column_types(py, &message),
        other => error::input(py, &other.to_string()),
    }
}

/// Takes a polars frame: only the columns that are wanted, since polars has types that Arrow cannot say. A column of
/// polars' type `Null` goes as booleans, as polars 1 exports it in a way that Arrow forbids.
pub(super) fn polars<'py>(frame: &Bound<'py, PyAny>, wanted: &Wanted) -> PyResult<Input<'py>> {
    let py = frame.py();
    let names: Vec<String> = frame.getattr(intern!(py, "columns"))?.extract()?;
    let mut frame = select(frame, &names, wanted)?;
    let null = py.import(intern!(py, "polars"))?.getattr(intern!(py, "Null"))?;
    if frame.getattr(intern!(py, "dtypes"))?.contains(&null)? {
        let boolean = py.import(intern!(py, "polars"))?.getattr(intern!(py, "Boolean"))?;
        let casts = PyDict::new(py);
        casts.set_item(null, boolean)?;
        frame = frame.call_method1(intern!(py, "cast"), (casts,))?;
    }
    Ok(Input { names, ..table(&frame, Form::Polars)? })
}

/// Takes a pyarrow `Table` or `RecordBatch`, and of it only the columns that are wanted.
pub(super) fn pyarrow<'py>(
    data: &Bound<'py, PyAny>,
    wanted: &Wanted,
    form: Form<'py>,
) -> PyResult<Input<'py>> {
    let py = data.py();
    let names: Vec<String> = data.getattr(intern!(py, "schema"))?.getattr(intern!(py, "names"))?.extract()?;
    let chosen = select(data, &names, wanted)?;
    Ok(Input { names, ..table(&chosen, form)? })
}

/// The columns of `names` that are wanted, or the whole table if there are none: it would have no rows then.
fn select<'py>(data: &Bound<'py, PyAny>, names: &[String], wanted: &Wanted) -> PyResult<Bound<'py, PyAny>> {
    let mut places: Vec<usize> = names.iter().filter_map(|name| wanted.find(name)).collect();
    let chosen: Vec<&String> = names.iter().filter(|name| wanted.find(name).is_some()).collect();
    places.sort_unstable();
    places.dedup();
    // Of a name that stands twice the core shall complain.
    if chosen.is_empty() || chosen.len() == names.len() || places.len() < chosen.len() {
        return Ok(data.clone());
    }
    data.call_method1(intern!(data.py(), "select"), (chosen,))
}

/// Takes a table that exports itself by Arrow's capsules.
///
/// # Errors
/// Whatever the producer raises; `TypeError` for an array that is no table.
pub(super) fn table<'py>(data: &Bound<'py, PyAny>, form: Form<'py>) -> PyResult<Input<'py>> {
    let reader = data.extract::<AnyRecordBatch>()?.into_reader()?;
    let schema = reader.schema();
    if schema.fields().is_empty() && data.len().is_ok_and(|rows| rows > 0) {
        return Err(PyTypeError::new_err("expected a table with columns, found one without"));
    }
    let names = schema.fields().iter().map(|field| field.name().clone()).collect();
    Ok(Input { form, names, source: Source::Stream(reader) })
}
