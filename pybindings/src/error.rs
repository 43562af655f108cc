//! The crate's errors to the package's exceptions, which stand in `cenote/_errors.py`.
//!
//! In flow errors of the core and complaints of the conversions; out flow `PyErr`s of the documented classes, with
//! their attributes set. Messages name columns, rows and kinds of value, never a value.

use cenote::{Error, ErrorKind, RowError, mojo, store};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyList;

/// The classes that this module raises.
#[derive(Debug, Clone, Copy)]
enum Class {
    Cell,
    ColumnType,
    Input,
    Limit,
    MissingColumns,
    ModelFormat,
    Row,
    SchemaDrift,
    Store,
    StoreConnection,
    StoreTimeout,
    UnsupportedModel,
    UnsupportedOperation,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Cell => "CellError",
            Self::ColumnType => "ColumnTypeError",
            Self::Input => "InputError",
            Self::Limit => "LimitError",
            Self::MissingColumns => "MissingColumnsError",
            Self::ModelFormat => "ModelFormatError",
            Self::Row => "RowError",
            Self::SchemaDrift => "SchemaDriftError",
            Self::Store => "StoreError",
            Self::StoreConnection => "StoreConnectionError",
            Self::StoreTimeout => "StoreTimeoutError",
            Self::UnsupportedModel => "UnsupportedModelError",
            Self::UnsupportedOperation => "UnsupportedOperationError",
        }
    }
}

/// An exception of `class`, or the failure to make one.
fn make<'py>(py: Python<'py>, class: Class, message: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("cenote._errors")?.getattr(class.name())?.call1((message,))
}

/// Makes an exception and sets its attributes.
fn raise<F>(py: Python<'_>, class: Class, message: &str, set: F) -> PyErr
where
    F: FnOnce(&Bound<'_, PyAny>) -> PyResult<()>,
{
    match make(py, class, message).and_then(|exception| set(&exception).map(|()| exception)) {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// The data do not fit the model.
pub(crate) fn input(py: Python<'_>, message: &str) -> PyErr {
    raise(py, Class::Input, message, |_| Ok(()))
}

/// A column has a type that neither a model nor the store takes.
pub(crate) fn column_type(py: Python<'_>, column: &str, found: &str) -> PyErr {
    let message =
        format!("column {column:?}: expected numbers, booleans, times, text or categories, found {found}");
    raise(py, Class::ColumnType, &message, |exception| exception.setattr("column", column))
}

/// A column has a type that no model takes; the message says which.
pub(crate) fn column_types(py: Python<'_>, message: &str) -> PyErr {
    raise(py, Class::ColumnType, message, |_| Ok(()))
}

/// The call does not fit the model.
pub(crate) fn unsupported(py: Python<'_>, message: &str) -> PyErr {
    raise(py, Class::UnsupportedOperation, message, |_| Ok(()))
}

/// H2O refuses the row.
pub(crate) fn refused_row(py: Python<'_>, error: &RowError) -> PyErr {
    let message = format!("row {}: {error}", error.row);
    raise(py, Class::Row, &message, |exception| exception.setattr("row", error.row))
}

/// The file is not a model that this release can read.
fn open(py: Python<'_>, error: &mojo::Error) -> PyErr {
    let class = match error.kind() {
        mojo::ErrorKind::Malformed(_) => Class::ModelFormat,
        mojo::ErrorKind::Limit { .. } => Class::Limit,
        mojo::ErrorKind::Unsupported(_) => Class::UnsupportedModel,
        _ => return PyOSError::new_err(error.to_string()),
    };
    raise(py, class, &error.to_string(), |_| Ok(()))
}

/// Any error of opening a model.
pub(crate) fn opening(py: Python<'_>, error: &Error) -> PyErr {
    match error.kind() {
        ErrorKind::Unsupported { .. } => raise(py, Class::UnsupportedModel, &error.to_string(), |_| Ok(())),
        _ => core(py, error, &[]),
    }
}

/// Any error of the core. `found` are the columns that came, since a batch carries only those the model reads.
pub(crate) fn core(py: Python<'_>, error: &Error, found: &[String]) -> PyErr {
    match error.kind() {
        ErrorKind::Open(error) => open(py, error),
        ErrorKind::MissingColumns { missing, .. } => {
            let whole: Error =
                ErrorKind::MissingColumns { missing: missing.clone(), found: found.to_vec() }.into();
            raise(py, Class::MissingColumns, &whole.to_string(), |exception| {
                exception.setattr("missing", PyList::new(py, missing)?)?;
                exception.setattr("found", PyList::new(py, found)?)
            })
        }
        ErrorKind::Cell { row, column, .. } => raise(py, Class::Cell, &error.to_string(), |exception| {
            exception.setattr("row", row)?;
            exception.setattr("column", column)
        }),
        ErrorKind::Row(row) => refused_row(py, row),
        ErrorKind::Unsupported { .. } => unsupported(py, &error.to_string()),
        ErrorKind::ColumnLength { .. } | ErrorKind::DuplicateColumn { .. } => input(py, &error.to_string()),
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}

/// Any error of the feature store, with its cause if the message does not hold it.
pub(crate) fn store(py: Python<'_>, error: &store::Error) -> PyErr {
    use store::ErrorKind;
    let mut message = error.to_string();
    if let ErrorKind::Connection { source: Some(source), .. } = error.kind() {
        message = format!("{message}: {source}");
    }
    let class = match error.kind() {
        ErrorKind::Model(error) => return core(py, error, &[]),
        ErrorKind::SchemaDrift { differences: lines, .. } | ErrorKind::Bind { problems: lines, .. } => {
            return raise(py, Class::SchemaDrift, &message, |exception| {
                exception.setattr("differences", lines)
            });
        }
        ErrorKind::Cell { row, column, .. } => {
            return raise(py, Class::Cell, &message, |exception| {
                exception.setattr("row", row)?;
                exception.setattr("column", column)
            });
        }
        ErrorKind::Deadline { .. } => Class::StoreTimeout,
        ErrorKind::Connection { .. } | ErrorKind::CircuitOpen { .. } => Class::StoreConnection,
        ErrorKind::Config { .. }
        | ErrorKind::View { .. }
        | ErrorKind::Key { .. }
        | ErrorKind::Columns { .. } => Class::Input,
        _ => Class::Store,
    };
    raise(py, class, &message, |_| Ok(()))
}
