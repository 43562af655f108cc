//! `cenote.ScorePlan`: a model bound to a view, and how it is bound.
//!
//! In flow keys, and inputs that come with the request; out flow scores by the core's blocking plan.

use std::collections::HashMap;

use cenote::serve::{Counters, OnMissing, OnStale, PlanBuilder, UnseenLevels};
use cenote::store::blocking;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::answers::{Score, Scores};
use super::decisions::Explanation;
use super::view::View;
use crate::enter::{enter_scoring, enter_store};
use crate::error;
use crate::input::{self, Input, RowCells, Source, Wanted};
use crate::model::Model;

/// How a plan binds its inputs, and what it makes of keys without features.
pub(super) struct PlanSettings {
    columns: HashMap<String, String>,
    request: Vec<String>,
    absent: Vec<String>,
    on_missing: OnMissing,
    on_stale: OnStale,
    unseen: UnseenLevels,
}

impl PlanSettings {
    pub(super) fn read(
        columns: Option<HashMap<String, String>>,
        request: Option<Vec<String>>,
        absent: Option<Vec<String>>,
        on_missing: &str,
        on_stale: &str,
        unseen_levels: &str,
    ) -> PyResult<Self> {
        let wrong = |message: &'static str| PyValueError::new_err(message);
        let on_missing = match on_missing {
            "na" => OnMissing::AsMissing,
            "error" => OnMissing::Refuse,
            _ => return Err(wrong("on_missing is \"na\" or \"error\"")),
        };
        let on_stale = match on_stale {
            "na" => OnStale::AsMissing,
            "use" => OnStale::Use,
            "error" => OnStale::Refuse,
            _ => return Err(wrong("on_stale is \"na\", \"use\" or \"error\"")),
        };
        let unseen = match unseen_levels {
            "na" => UnseenLevels::AsMissing,
            "error" => UnseenLevels::Refuse,
            _ => return Err(wrong("unseen_levels is \"na\" or \"error\"")),
        };
        let (columns, request) = (columns.unwrap_or_default(), request.unwrap_or_default());
        Ok(Self { columns, request, absent: absent.unwrap_or_default(), on_missing, on_stale, unseen })
    }

    pub(super) fn of(&self, mut plan: PlanBuilder) -> PlanBuilder {
        for (input, column) in &self.columns {
            plan = plan.column(input, column);
        }
        plan.request(&self.request)
            .absent(&self.absent)
            .on_missing(self.on_missing)
            .on_stale(self.on_stale)
            .unseen_levels(self.unseen)
    }
}

/// The counters of a plan as a dict.
pub(super) fn counters<'py>(py: Python<'py>, counters: &Counters) -> PyResult<Bound<'py, PyDict>> {
    let inputs = PyDict::new(py);
    for input in &counters.inputs {
        let input_counters = PyDict::new(py);
        input_counters.set_item("absent", input.absent)?;
        input_counters.set_item("unseen", input.unseen)?;
        inputs.set_item(&input.name, input_counters)?;
    }
    let answer = PyDict::new(py);
    answer.set_item("keys", counters.keys)?;
    answer.set_item("missing", counters.missing)?;
    answer.set_item("stale", counters.stale)?;
    answer.set_item("inputs", inputs)?;
    Ok(answer)
}

/// A model bound to a view: keys in, predictions out, by one query.
///
/// Safe to share between threads.
#[pyclass(frozen, module = "cenote", name = "ScorePlan")]
pub(crate) struct ScorePlan {
    pub(super) plan: blocking::ScorePlan,
    pub(super) model: Py<Model>,
    pub(super) view: Py<View>,
}

impl ScorePlan {
    fn wanted(&self) -> &Wanted {
        self.model.get().wanted()
    }
}

#[pymethods]
impl ScorePlan {
    /// The model that is bound.
    #[getter]
    fn model(&self, py: Python<'_>) -> Py<Model> {
        self.model.clone_ref(py)
    }

    /// The view that it is bound to.
    #[getter]
    fn view(&self, py: Python<'_>) -> Py<View> {
        self.view.clone_ref(py)
    }

    /// Say what the plan will do.
    fn explain(&self, py: Python<'_>) -> PyResult<Explanation> {
        enter_store(py, || self.plan.explain()).map(Explanation::new)
    }

    /// What the plan has seen.
    #[getter]
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        counters(py, &self.plan.counters())
    }

    /// Fetch the features of a key and score them.
    #[pyo3(signature = (key, request=None))]
    fn score(&self, key: &Bound<'_, PyAny>, request: Option<&Bound<'_, PyDict>>) -> PyResult<Score> {
        let py = key.py();
        let key = self.view.get().key(key)?;
        let score = match request {
            None => enter_store(py, || self.plan.score(key))?,
            Some(request) => {
                let cells = RowCells::read(request, self.wanted())?;
                let row = cells.row(self.wanted());
                enter_store(py, || self.plan.score_with(key, &row))?
            }
        };
        Score::new(py, score)
    }

    /// Fetch the features of many keys by one query and score them.
    #[pyo3(signature = (keys, request=None))]
    fn score_many(&self, keys: &Bound<'_, PyAny>, request: Option<&Bound<'_, PyAny>>) -> PyResult<Scores> {
        let py = keys.py();
        let keys = self.view.get().keys(keys)?;
        let Some(request) = request else {
            let fetched = enter_store(py, || self.plan.fetch(keys))?;
            return Ok(Scores::new(enter_scoring(py, || fetched.score())?));
        };
        let Input { names, source, .. } = input::table(request, self.wanted())?;
        let scores = match source {
            Source::Columns(columns) => {
                let batch = columns.batch(self.wanted()).map_err(|error| error::core(py, &error, &names))?;
                let fetched = enter_store(py, || self.plan.fetch(keys))?;
                enter_scoring(py, || fetched.score_with(&batch))?
            }
            Source::Stream(_) => {
                return Err(error::input(
                    py,
                    "request: expected a dict of columns, a list of dicts or a pandas frame",
                ));
            }
        };
        Ok(Scores::new(scores))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let model = self.model.bind(py).repr()?;
        Ok(format!("<cenote.ScorePlan of {} on view {:?}>", model.to_string_lossy(), self.plan.view().name()))
    }
}
