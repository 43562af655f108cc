//! `cenote.View`: the keys that name an entity and its typed features, as JSON or a dict defines them.

use cenote::store::{self, Key, Type};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::keys;
use crate::error;
use crate::input::{Role, Wanted, WantedColumn};

/// How many keys room is made for before they have come.
const MANY_KEYS: usize = 1 << 16;

/// A feature view: what an entity's keys and features are. Immutable.
#[pyclass(frozen, eq, module = "cenote", name = "View")]
#[derive(Debug)]
pub(crate) struct View {
    view: store::View,
    wanted: Wanted,
    entities: Wanted,
}

impl PartialEq for View {
    fn eq(&self, other: &Self) -> bool {
        self.view == other.view
    }
}

impl View {
    pub(super) fn view(&self) -> &store::View {
        &self.view
    }

    /// The columns of rows to write: keys, event time, features.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The columns of entities to join: keys, event time.
    pub(super) fn entities(&self) -> &Wanted {
        &self.entities
    }

    /// A key as Python has it: the value itself, a tuple of several, or a dict by column.
    pub(super) fn key(&self, key: &Bound<'_, PyAny>) -> PyResult<Key> {
        keys::key(key, &self.wanted.columns()[..self.view.keys().len()])
    }

    /// Several keys.
    pub(super) fn keys(&self, keys: &Bound<'_, PyAny>) -> PyResult<Vec<Key>> {
        let mut all = Vec::with_capacity(keys.len().unwrap_or(0).min(MANY_KEYS));
        for key in keys.try_iter()? {
            all.push(self.key(&key?)?);
        }
        Ok(all)
    }
}

/// A column of the store, as Python's values are read for it.
pub(super) fn column(py: Python<'_>, name: &str, ty: Type) -> WantedColumn {
    let role = match ty {
        Type::Timestamp => Role::Moment,
        Type::Date => Role::Day,
        Type::Numeric => Role::Decimal,
        // Lists go as JSON, too.
        Type::Json | Type::List(_) | Type::Vector => Role::Document,
        _ => Role::Stored,
    };
    WantedColumn::new(py, name, role)
}

#[pymethods]
impl View {
    #[new]
    #[pyo3(signature = (definition, /))]
    fn new(definition: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = definition.py();
        let json = match definition.cast::<PyString>() {
            Ok(json) => json.clone(),
            Err(_) => {
                let dumps = py.import(intern!(py, "json"))?.getattr(intern!(py, "dumps"))?;
                dumps.call1((definition,))?.cast_into()?
            }
        };
        let view = store::View::from_json(json.to_str()?).map_err(|error| error::store(py, &error))?;
        let entities = || {
            let keys = view.keys().iter().map(|key| column(py, &key.name, key.ty));
            keys.chain([column(py, view.event_time(), Type::Timestamp)]).collect::<Vec<_>>()
        };
        let mut columns = entities();
        columns.extend(view.features().iter().map(|feature| column(py, &feature.name, feature.ty)));
        let width = columns.len();
        let entities = entities();
        let keys = entities.len();
        Ok(Self { wanted: Wanted::new(columns, width), entities: Wanted::new(entities, keys), view })
    }

    /// The name.
    #[getter]
    fn name(&self) -> &str {
        self.view.name()
    }

    /// The version: two versions have tables side by side.
    #[getter]
    fn version(&self) -> u32 {
        self.view.version()
    }

    /// The key columns' names in order.
    #[getter]
    #[pyo3(name = "keys")]
    fn key_names(&self) -> Vec<&str> {
        self.view.keys().iter().map(|key| key.name.as_str()).collect()
    }

    /// The features' names in order.
    #[getter]
    fn features(&self) -> Vec<&str> {
        self.view.features().iter().map(|feature| feature.name.as_str()).collect()
    }

    /// What tables call the time at which a row holds true.
    #[getter]
    fn event_time(&self) -> &str {
        self.view.event_time()
    }

    /// The JSON Schema of a definition, as JSON.
    #[staticmethod]
    fn json_schema() -> &'static str {
        store::View::JSON_SCHEMA
    }

    /// SHA-256 of the JSON form, in hexadecimal.
    #[getter]
    fn fingerprint(&self) -> String {
        self.view.fingerprint()
    }

    /// The definition as JSON, the same text for the same view.
    fn to_json(&self) -> String {
        self.view.to_json()
    }

    /// The definition as a dict.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let loads = py.import(intern!(py, "json"))?.getattr(intern!(py, "loads"))?;
        Ok(loads.call1((self.view.to_json(),))?.cast_into()?)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        PyString::new(py, &self.view.fingerprint()).hash()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let class = py.get_type::<Self>().into_any();
        Ok((class, PyTuple::new(py, [self.view.to_json()])?))
    }

    fn __repr__(&self) -> String {
        let (keys, features) = (self.view.keys().len(), self.view.features().len());
        format!(
            "<cenote.View {:?} version {}: {keys} keys, {features} features>",
            self.name(),
            self.version()
        )
    }
}
