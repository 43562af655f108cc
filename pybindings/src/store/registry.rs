//! What Python sees of a model in the registry.

use cenote::registry;
use cenote::store::Timestamp;
use pyo3::prelude::*;

use super::keys::datetime;

/// What the registry knows of one version of a model.
#[pyclass(frozen, module = "cenote", name = "ModelVersion")]
#[derive(Debug)]
pub(crate) struct ModelVersion {
    version: registry::ModelVersion,
}

impl ModelVersion {
    pub(super) fn new(version: registry::ModelVersion) -> Self {
        Self { version }
    }
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
        let registry::ModelVersion { name, version, aliases, .. } = &self.version;
        format!("<cenote.ModelVersion {name}:{version} {aliases:?}>")
    }
}
