//! Python's values to the store's and back: keys, features, moments.

use cenote::store::{Date, Key, Timestamp, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDateTime, PyDelta, PyDict, PyInt, PyTuple};
use pyo3::{IntoPyObjectExt, intern};

use crate::error;
use crate::input::{Object, Role, WantedColumn, epoch};

/// Reads a key of `columns`.
pub(super) fn key(key: &Bound<'_, PyAny>, columns: &[WantedColumn]) -> PyResult<Key> {
    let py = key.py();
    // The common key, without a step between.
    if let ([column], Ok(integer)) = (columns, key.cast_exact::<PyInt>())
        && column.role == Role::Stored
        && let Ok(integer) = integer.extract::<i64>()
    {
        return Ok(Key::new([Value::Int(integer)]));
    }
    if let Ok(dict) = key.cast::<PyDict>() {
        let values = columns.iter().map(|column| match dict.get_item(&column.key)? {
            Some(cell) => value(&cell, column),
            None => Err(error::input(py, &format!("the key lacks column {:?}", column.name))),
        });
        return values.collect::<PyResult<Vec<_>>>().map(Key::new);
    }
    let Ok(tuple) = key.cast::<PyTuple>() else {
        let [column] = columns else {
            let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
            return Err(error::input(py, &format!("expected a tuple or a dict of {names:?}")));
        };
        return Ok(Key::new([value(key, column)?]));
    };
    if tuple.len() != columns.len() {
        let message = format!("expected a key of {} values, found {}", columns.len(), tuple.len());
        return Err(error::input(py, &message));
    }
    let values = tuple.iter().zip(columns).map(|(cell, column)| value(&cell, column));
    values.collect::<PyResult<Vec<_>>>().map(Key::new)
}

fn value(cell: &Bound<'_, PyAny>, column: &WantedColumn) -> PyResult<Value> {
    Ok(match Object::read(cell, column)? {
        Object::Missing => Value::Null,
        Object::Number(value) => Value::Float(value),
        Object::Integer(micros) if column.role == Role::Moment && !cell.is_instance_of::<PyInt>() => {
            Value::Timestamp(Timestamp::from_micros(micros))
        }
        Object::Integer(days) if column.role == Role::Day && !cell.is_instance_of::<PyInt>() => {
            Value::Date(Date::from_days(i32::try_from(days).unwrap_or(i32::MAX)))
        }
        Object::Integer(value) => Value::Int(value),
        Object::Bool(value) => Value::Bool(value),
        Object::Text(text) => Value::Text(text.as_str().into()),
    })
}

/// A `datetime` as a moment.
pub(super) fn timestamp(moment: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    let column = WantedColumn::new(moment.py(), "written_at", Role::Moment);
    match Object::read(moment, &column)? {
        Object::Integer(micros) => Ok(Timestamp::from_micros(micros)),
        _ => Err(error::column_type(moment.py(), &column.name, "no moment")),
    }
}

/// A moment as a `datetime` of UTC.
pub(super) fn datetime(py: Python<'_>, moment: Timestamp) -> PyResult<Bound<'_, PyAny>> {
    let micros = moment.as_micros();
    let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let since = PyDelta::new(py, days as i32, (rest / 1_000_000) as i32, (rest % 1_000_000) as i32, false)?;
    let epoch: Bound<'_, PyDateTime> = epoch(py)?;
    epoch.add(since)
}

/// A value of the store as Python has it.
pub(super) fn object(py: Python<'_>, value: Value) -> PyResult<Bound<'_, PyAny>> {
    match value {
        Value::Bool(value) => value.into_bound_py_any(py),
        Value::Int(value) => value.into_bound_py_any(py),
        Value::Float(value) => value.into_bound_py_any(py),
        Value::Text(value) => value.into_bound_py_any(py),
        Value::Timestamp(moment) => datetime(py, moment),
        Value::Date(date) => {
            epoch(py)?.call_method0(intern!(py, "date"))?.add(PyDelta::new(py, date.as_days(), 0, 0, false)?)
        }
        Value::Numeric(decimal) => {
            py.import(intern!(py, "decimal"))?.call_method1(intern!(py, "Decimal"), (&*decimal,))
        }
        Value::Uuid(bytes) => {
            let options = PyDict::new(py);
            options.set_item(intern!(py, "bytes"), PyBytes::new(py, &bytes))?;
            py.import(intern!(py, "uuid"))?.call_method(intern!(py, "UUID"), (), Some(&options))
        }
        Value::Json(document) => {
            py.import(intern!(py, "json"))?.call_method1(intern!(py, "loads"), (&*document,))
        }
        Value::List(items) => {
            let items: PyResult<Vec<_>> = items.into_iter().map(|item| object(py, item)).collect();
            items?.into_bound_py_any(py)
        }
        _ => Ok(py.None().into_bound(py)),
    }
}
