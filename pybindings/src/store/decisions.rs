//! What Python sees of decisions and their replays, of parity, and of what a plan will do.

use cenote::store::{Skew, blocking};
use cenote::{decisions, serve, store};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::answers::Score;
use super::keys::{datetime, object};
use super::settings::seconds;
use super::view::View;
use crate::enter::enter_store;
use crate::error;

/// One answer, and all that it was made of.
#[pyclass(frozen, module = "cenote", name = "Decision")]
pub(crate) struct Decision {
    decision: decisions::Decision,
}

impl Decision {
    pub(super) fn new(decision: decisions::Decision) -> Self {
        Self { decision }
    }
}

/// A queue of decisions before the log: :meth:`record` never waits for the database, a thread writes behind.
#[pyclass(frozen, module = "cenote", name = "DecisionBuffer")]
pub(crate) struct DecisionBuffer {
    buffer: blocking::DecisionBuffer,
}

impl DecisionBuffer {
    pub(super) fn new(buffer: blocking::DecisionBuffer) -> Self {
        Self { buffer }
    }
}

/// How long the end of a ``with`` block waits until all is written.
const LAST_FLUSH: f64 = 30.0;

#[pymethods]
impl DecisionBuffer {
    /// Queue the decision that a score of a key is, and say its name; ``None`` where the queue is full, which is counted.
    fn record(&self, view: &View, key: &Bound<'_, PyAny>, score: &Score) -> PyResult<Option<String>> {
        let py = key.py();
        let key = view.key(key)?;
        let id = self.buffer.record(view.view(), key, score.score());
        Ok(id.map_err(|error| error::store(py, &error))?.map(|id| id.to_string()))
    }

    /// Wait until all that was queued before is written.
    #[pyo3(signature = (timeout=30.0))]
    fn flush(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let limit = seconds("timeout", timeout)?;
        enter_store(py, || self.buffer.flush(limit))
    }

    /// What became of the decisions that were recorded in this process.
    #[getter]
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.buffer.counters().map_err(|error| error::store(py, &error))?;
        let answer = PyDict::new(py);
        answer.set_item("pushed", counters.pushed)?;
        answer.set_item("written", counters.written)?;
        answer.set_item("dropped", counters.dropped)?;
        answer.set_item("failures", counters.failures)?;
        Ok(answer)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.flush(py, LAST_FLUSH)
    }
}

/// JSON as Python has it.
fn loads<'py>(py: Python<'py>, json: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (json,))
}

#[pymethods]
impl Decision {
    /// What names it: a UUID.
    #[getter]
    fn id(&self) -> String {
        self.decision.id.to_string()
    }

    /// When it was made.
    #[getter]
    fn decided_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.decision.decided_at)
    }

    /// The view that was read.
    #[getter]
    fn view(&self) -> &str {
        &self.decision.view
    }

    /// The key, a value a column.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        loads(py, &self.decision.key)
    }

    /// The model.
    #[getter]
    fn model(&self) -> &str {
        &self.decision.model
    }

    /// Its version.
    #[getter]
    fn version(&self) -> i32 {
        self.decision.version
    }

    /// SHA-256 of its bytes, in lower-case hexadecimal.
    #[getter]
    fn sha256(&self) -> &str {
        &self.decision.sha256
    }

    /// ``fresh``, ``stale`` or ``missing``.
    #[getter]
    fn status(&self) -> &str {
        &self.decision.status
    }

    /// When the features held true; ``None`` where there was no row.
    #[getter]
    fn event_ts<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.decision.event_ts.map(|moment| datetime(py, moment)).transpose()
    }

    /// The numbers of the prediction, in the order of H2O's columns.
    #[getter]
    fn numbers(&self) -> Vec<f64> {
        self.decision.numbers.to_vec()
    }

    fn __repr__(&self) -> String {
        let decisions::Decision { id, model, version, view, .. } = &self.decision;
        format!("<cenote.Decision {id} of {model}:{version} on view {view:?}>")
    }
}

/// A decision made again.
#[pyclass(frozen, module = "cenote", name = "Replay")]
pub(crate) struct Replay {
    replay: decisions::Replay,
}

impl Replay {
    pub(super) fn new(replay: decisions::Replay) -> Self {
        Self { replay }
    }
}

#[pymethods]
impl Replay {
    /// The decision as it was recorded.
    #[getter]
    fn decision(&self) -> Decision {
        Decision::new(self.replay.decision.clone())
    }

    /// Whether the answer is the same, to the last bit.
    #[getter]
    fn identical(&self) -> bool {
        self.replay.is_identical()
    }

    /// What the model saw, by name; ``None`` where it was missing.
    #[getter]
    fn features<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let features = PyDict::new(py);
        for (name, value) in self.replay.features() {
            features.set_item(name, loads(py, &value.to_string())?)?;
        }
        Ok(features)
    }

    /// The label now; ``None`` for a regression.
    #[getter]
    fn label(&self) -> Option<&str> {
        let labels = self.replay.model.labels()?;
        labels.get(self.replay.label? as usize).map(String::as_str)
    }

    /// The numbers now.
    #[getter]
    fn numbers(&self) -> Vec<f64> {
        self.replay.numbers.to_vec()
    }

    fn __repr__(&self) -> String {
        let same = if self.replay.is_identical() { "identical" } else { "different" };
        format!("<cenote.Replay of {}: {same}>", self.replay.decision.id)
    }
}

/// Online rows compared with the history, as a dict.
pub(super) fn parity<'py>(py: Python<'py>, parity: &store::Parity) -> PyResult<Bound<'py, PyDict>> {
    let differences = PyList::empty(py);
    for difference in &parity.differences {
        let key: PyResult<Vec<_>> =
            difference.key.values().iter().map(|value| object(py, value.clone())).collect();
        let one = PyDict::new(py);
        one.set_item("key", key?)?;
        let (what, features) = match &difference.skew {
            Skew::NoHistory => ("no history", &[][..]),
            Skew::Event { .. } => ("event", &[][..]),
            Skew::Features(features) => ("features", &features[..]),
            _ => ("other", &[][..]),
        };
        one.set_item("what", what)?;
        one.set_item("features", features)?;
        if let Skew::Event { online, history } = &difference.skew {
            one.set_item("online", datetime(py, *online)?)?;
            one.set_item("history", datetime(py, *history)?)?;
        }
        differences.append(one)?;
    }
    let answer = PyDict::new(py);
    answer.set_item("checked", parity.checked)?;
    answer.set_item("differing", parity.differing)?;
    answer.set_item("differences", differences)?;
    Ok(answer)
}

/// What a plan will do.
#[pyclass(frozen, get_all, module = "cenote", name = "Explanation")]
pub(crate) struct Explanation {
    /// The statement that fetches a key.
    sql: String,
    /// Where each input of the model comes from.
    inputs: Vec<(String, String)>,
    /// Features of the view that the model does not read, and that are not fetched.
    unread: Vec<String>,
    /// How the server would run the statement, as its ``EXPLAIN`` says.
    query_plan: String,
    /// What makes it slow or may soon.
    warnings: Vec<String>,
}

impl Explanation {
    pub(super) fn new(explanation: serve::Explanation) -> Self {
        let serve::Explanation { sql, inputs, unread, query_plan, warnings, .. } = explanation;
        Self { sql, inputs, unread, query_plan, warnings }
    }
}

#[pymethods]
impl Explanation {
    fn __repr__(&self) -> String {
        format!("<cenote.Explanation: {} warnings>", self.warnings.len())
    }
}
