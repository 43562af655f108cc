//! What Python sees of a model in the registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use cenote::registry::{self, PublicKey, Route};
use cenote::store::Timestamp;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::keys::datetime;
use crate::error;

/// What the registry knows of one version of a model.
#[pyclass(frozen, module = "cenote", name = "ModelVersion")]
#[derive(Debug)]
pub(crate) struct ModelVersion {
    version: Arc<registry::ModelVersion>,
}

impl ModelVersion {
    pub(super) fn new(version: registry::ModelVersion) -> Self {
        Self { version: Arc::new(version) }
    }

    pub(super) fn share(&self) -> Arc<registry::ModelVersion> {
        Arc::clone(&self.version)
    }

    pub(super) fn shared(version: Arc<registry::ModelVersion>) -> Self {
        Self { version }
    }
}

/// A route as a dict.
pub(super) fn route<'py>(py: Python<'py>, route: &Route) -> PyResult<Bound<'py, PyDict>> {
    let answer = PyDict::new(py);
    answer.set_item("version", route.version)?;
    answer.set_item("canary", route.canary.map(|canary| canary.version))?;
    answer.set_item("share", route.canary.map(|canary| canary.share))?;
    answer.set_item("shadow", route.shadow)?;
    Ok(answer)
}

#[pymethods]
impl ModelVersion {
    /// The model's name.
    #[getter]
    fn name(&self) -> &str {
        &self.version.name
    }

    /// Its version, from 1.
    #[getter]
    fn version(&self) -> i32 {
        self.version.version
    }

    /// SHA-256 of its bytes, in lower-case hexadecimal.
    #[getter]
    fn sha256(&self) -> &str {
        &self.version.sha256
    }

    /// How many bytes the MOJO has.
    #[getter]
    fn bytes(&self) -> i64 {
        self.version.bytes
    }

    /// H2O's short name of the algorithm, such as ``gbm``.
    #[getter]
    fn algo(&self) -> &str {
        &self.version.algorithm
    }

    /// The release of H2O that trained it.
    #[getter]
    fn h2o_version(&self) -> &str {
        &self.version.h2o_version
    }

    /// The columns it reads, in its order.
    #[getter]
    fn inputs(&self) -> Vec<&str> {
        self.version.inputs.iter().map(String::as_str).collect()
    }

    /// What each of them is: ``numeric`` or ``categorical``.
    #[getter]
    fn input_types(&self) -> Vec<&str> {
        self.version.input_types.iter().map(String::as_str).collect()
    }

    /// The columns of its predictions.
    #[getter]
    fn outputs(&self) -> Vec<&str> {
        self.version.outputs.iter().map(String::as_str).collect()
    }

    /// The metrics by which it was judged.
    #[getter]
    fn metrics(&self) -> BTreeMap<&str, f64> {
        self.version.metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect()
    }

    /// Its tags.
    #[getter]
    fn tags(&self) -> BTreeMap<&str, &str> {
        self.version.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// Where it is in its life.
    #[getter]
    fn stage(&self) -> &'static str {
        self.version.stage.name()
    }

    /// The ed25519 key that signed it, in hexadecimal.
    #[getter]
    fn signed_by(&self) -> Option<String> {
        self.version.signed_by.as_ref().map(ToString::to_string)
    }

    /// How many golden rows it has.
    #[getter]
    fn golden_rows(&self) -> i32 {
        self.version.golden_rows
    }

    /// When it was registered, as a ``datetime`` of UTC.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let created: Timestamp = self.version.created_at;
        datetime(py, created)
    }

    /// The aliases that point at it, ascending.
    #[getter]
    fn aliases(&self) -> Vec<&str> {
        self.version.aliases.iter().map(String::as_str).collect()
    }

    fn __repr__(&self) -> String {
        let registry::ModelVersion { name, version, aliases, .. } = &*self.version;
        format!("<cenote.ModelVersion {name}:{version} {aliases:?}>")
    }
}

/// Keys in PEM or hexadecimal.
pub(super) fn trusted(py: Python<'_>, keys: Option<Vec<String>>) -> PyResult<Option<Vec<PublicKey>>> {
    let keys = keys.map(|keys| keys.iter().map(|key| PublicKey::from_text(key)).collect());
    keys.transpose().map_err(|error| error::store(py, &error))
}
