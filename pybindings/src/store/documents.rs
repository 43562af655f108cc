//! Raw documents as Python has them: a key, times, and what `json` makes of the text.

use cenote::store::{self, KnownAt, Value, blocking};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::bulk::{Stored, known_at};
use super::keys::{datetime, object, timestamp};
use super::view::View;
use crate::enter::enter_store;
use crate::error;

/// A raw document of a view: JSON about an entity.
#[pyclass(frozen, get_all, module = "cenote")]
pub(crate) struct Document {
    /// The entity: the value of its key column, or a tuple of several.
    key: Py<PyAny>,
    /// When it held true.
    event_ts: Py<PyAny>,
    /// What it says, as ``json.loads`` reads it.
    document: Py<PyAny>,
    /// When it became known; ``None`` for now, where it is to be put.
    written_at: Option<Py<PyAny>>,
}

#[pymethods]
impl Document {
    #[new]
    #[pyo3(signature = (key, event_ts, document, *, written_at=None))]
    fn new(key: Py<PyAny>, event_ts: Py<PyAny>, document: Py<PyAny>, written_at: Option<Py<PyAny>>) -> Self {
        Self { key, event_ts, document, written_at }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (key, at) = (self.key.bind(py).repr()?, self.event_ts.bind(py).repr()?);
        Ok(format!("<cenote.Document of {} at {}>", key.to_string_lossy(), at.to_string_lossy()))
    }
}

impl Document {
    fn of(py: Python<'_>, found: store::Document) -> PyResult<Self> {
        let mut values = found.key.values().to_vec();
        let key = if values.len() == 1 {
            object(py, values.remove(0))?
        } else {
            let values = values.into_iter().map(|value| object(py, value)).collect::<PyResult<Vec<_>>>()?;
            PyTuple::new(py, values)?.into_any()
        };
        let written_at = found.written_at.map(|moment| datetime(py, moment)).transpose()?;
        Ok(Self {
            key: key.unbind(),
            event_ts: datetime(py, found.event_ts)?.unbind(),
            document: object(py, Value::Json(found.json))?.unbind(),
            written_at: written_at.map(Bound::unbind),
        })
    }
}

/// The JSON text of an object; text is text, not JSON.
fn json(object: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = object.py();
    let text = py.import(intern!(py, "json"))?.call_method1(intern!(py, "dumps"), (object,))?;
    text.cast_into::<PyString>()?.extract()
}

fn raw(py: Python<'_>, store: &blocking::FeatureStore, view: &View) -> PyResult<blocking::Raw> {
    store.raw(view.view()).map_err(|error| error::store(py, &error))
}

pub(super) fn put(
    py: Python<'_>,
    store: &blocking::FeatureStore,
    view: &View,
    documents: &[PyRef<'_, Document>],
) -> PyResult<Stored> {
    let raw = raw(py, store, view)?;
    let documents = documents.iter().map(|given| {
        let key = view.key(given.key.bind(py))?;
        let event_ts = timestamp(given.event_ts.bind(py))?;
        let written_at = given.written_at.as_ref().map(|moment| timestamp(moment.bind(py))).transpose()?;
        let text = json(given.document.bind(py))?;
        Ok(store::Document { written_at, ..store::Document::new(key, event_ts, text) })
    });
    let documents = documents.collect::<PyResult<Vec<_>>>()?;
    let done = enter_store(py, || raw.put(&documents))?;
    Ok(Stored { stored: done.stored, known: done.known })
}

pub(super) fn get(
    store: &blocking::FeatureStore,
    view: &View,
    key: &Bound<'_, PyAny>,
    at: Option<&Bound<'_, PyAny>>,
    known: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Document>> {
    let py = key.py();
    let raw = raw(py, store, view)?;
    let key = view.key(key)?;
    let known: KnownAt = known_at(known)?;
    let found = match at {
        None => enter_store(py, || raw.get(key))?,
        Some(at) => {
            let at = timestamp(at)?;
            enter_store(py, || raw.as_of(key, at, known))?
        }
    };
    found.map(|found| Document::of(py, found)).transpose()
}

pub(super) fn find(
    py: Python<'_>,
    store: &blocking::FeatureStore,
    view: &View,
    containing: Option<&Bound<'_, PyAny>>,
    path: Option<Vec<String>>,
    text: Option<&str>,
    limit: u32,
) -> PyResult<Vec<Document>> {
    let raw = raw(py, store, view)?;
    let found = match (containing, path, text) {
        (Some(part), None, None) => {
            let part = json(part)?;
            enter_store(py, || raw.containing(&part, limit))?
        }
        (None, Some(path), Some(text)) => enter_store(py, || raw.with_member(&path, text, limit))?,
        _ => return Err(PyValueError::new_err("expected containing, or path and text")),
    };
    found.into_iter().map(|found| Document::of(py, found)).collect()
}
