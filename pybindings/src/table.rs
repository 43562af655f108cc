//! The Arrow table that goes back where the caller's own kind of table is not one that we know.
//!
//! In flow a `RecordBatch` of predictions; out flow the capsules of the Arrow PyCapsule interface, which any Arrow library
//! takes without a copy.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, FieldRef};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use pyo3_arrow::ffi::{ArrayIterator, to_array_pycapsules, to_schema_pycapsule, to_stream_pycapsule};

/// A table of predictions for any library that speaks the Arrow PyCapsule interface.
///
/// Give it to ``pyarrow.table``, ``polars.DataFrame``, ``duckdb`` or another consumer; nothing is copied.
#[pyclass(frozen, module = "cenote", name = "ArrowTable")]
#[derive(Debug)]
pub(crate) struct ArrowTable {
    batch: RecordBatch,
}

impl ArrowTable {
    pub(crate) fn new(batch: RecordBatch) -> Self {
        Self { batch }
    }

    /// The table as an Arrow stream of one record batch.
    pub(crate) fn stream<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let (array, field) = self.parts();
        let reader = Box::new(ArrayIterator::new(vec![Ok(array)], field));
        Ok(to_stream_pycapsule(py, reader, requested_schema)?)
    }

    /// The table as one struct array, and its field.
    fn parts(&self) -> (ArrayRef, FieldRef) {
        let schema = self.batch.schema();
        let field = Field::new("", DataType::Struct(schema.fields().clone()), false);
        (Arc::new(StructArray::from(self.batch.clone())), Arc::new(field))
    }
}

#[pymethods]
impl ArrowTable {
    /// How many rows there are.
    #[getter]
    fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// The names of the columns.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.batch.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    fn __len__(&self) -> usize {
        self.batch.num_rows()
    }

    fn __repr__(&self) -> String {
        format!("<cenote.ArrowTable: {} rows of {:?}>", self.batch.num_rows(), self.column_names())
    }

    /// The schema as an Arrow PyCapsule.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(to_schema_pycapsule(py, self.batch.schema().as_ref())?)
    }

    /// The table as one Arrow struct array.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (array, field) = self.parts();
        Ok(to_array_pycapsules(py, field, array.as_ref(), requested_schema)?)
    }

    /// The table as an Arrow stream of one record batch.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        self.stream(py, requested_schema)
    }
}
