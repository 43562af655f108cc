//! A model bound to a view: each of its inputs to a feature, a key column, the request, or nothing.
//!
//! In flow a model, a view and how they are to meet; out flows a [`ScorePlan`], or every reason why there is none. The invariant:
//! a plan that was bound finds each input of the model in the columns that it fetches, of a type that the model takes.

use std::collections::HashMap;
use std::sync::Arc;

use cenote_mojo::Column;

use super::counters::Tally;
use super::{Input, OnMissing, OnStale, Plan, ScorePlan, Source};
use crate::model::{Model, PredictOptions};
use crate::registry::ModelVersion;
use crate::store::{Error, ErrorKind, FeatureStore, Type, View};

/// What happens to a level that the view declares and the model has not seen in training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnseenLevels {
    /// The plan is refused.
    #[default]
    Refuse,
    /// The model takes it as H2O takes an unseen level.
    AsMissing,
}

/// Binds a model to a view; see [`FeatureStore::plan`].
#[must_use = "a plan is checked by build()"]
pub struct PlanBuilder {
    store: FeatureStore,
    model: Model,
    version: Option<Arc<ModelVersion>>,
    view: View,
    columns: HashMap<String, String>,
    request: Vec<String>,
    absent: Vec<String>,
    on_missing: OnMissing,
    on_stale: OnStale,
    unseen: UnseenLevels,
}

impl FeatureStore {
    /// Binds `model` to `view`: each input of the model to the feature, or the key column, of its name.
    pub fn plan(&self, model: &Model, view: &View) -> PlanBuilder {
        PlanBuilder {
            store: self.clone(),
            model: model.clone(),
            version: None,
            view: view.clone(),
            columns: HashMap::new(),
            request: Vec::new(),
            absent: Vec::new(),
            on_missing: OnMissing::default(),
            on_stale: OnStale::default(),
            unseen: UnseenLevels::default(),
        }
    }
}

impl PlanBuilder {
    /// Takes `input` of the model from the view's `column`, which has another name.
    pub fn column(mut self, input: impl Into<String>, column: impl Into<String>) -> Self {
        self.columns.insert(input.into(), column.into());
        self
    }

    /// Takes these inputs from the caller at each call: [`ScorePlan::score_with`], [`Fetched::score_with`](super::Fetched::score_with).
    pub fn request(mut self, inputs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.request.extend(inputs.into_iter().map(Into::into));
        self
    }

    /// Takes these inputs as missing, always.
    pub fn absent(mut self, inputs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.absent.extend(inputs.into_iter().map(Into::into));
        self
    }

    /// Says which registered version the model is; scores then carry it.
    pub fn version(mut self, version: impl Into<Arc<ModelVersion>>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// What happens to a key that has no row.
    pub fn on_missing(mut self, on_missing: OnMissing) -> Self {
        self.on_missing = on_missing;
        self
    }

    /// What happens to a key whose row is older than the view's ttl.
    pub fn on_stale(mut self, on_stale: OnStale) -> Self {
        self.on_stale = on_stale;
        self
    }

    /// What happens to levels that the view declares and the model has not seen.
    pub fn unseen_levels(mut self, unseen: UnseenLevels) -> Self {
        self.unseen = unseen;
        self
    }

    /// Proves every input of the model against the view, and the view against its table.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// [`Bind`](ErrorKind::Bind) that lists every input whose column is not there, whose type the model does not take (a number
    /// is a number or a boolean; a category is text, a whole number or a boolean) or whose levels it has not seen;
    /// [`SchemaDrift`](ErrorKind::SchemaDrift) if the table is not the view's; a failure of the store.
    pub async fn build(self) -> Result<ScorePlan, Error> {
        let plan = self.bind()?;
        plan.check().await?;
        Ok(plan)
    }

    /// As [`build`](Self::build), without asking the server.
    pub(crate) fn bind(self) -> Result<ScorePlan, Error> {
        let mut fetched = Vec::new();
        let plan = self.bind_to(&mut fetched)?;
        let reader = self.store.reader_of(&self.view, fetched.iter().map(String::as_str))?;
        Ok(ScorePlan { inner: Arc::new(plan), reader })
    }

    /// Binds the inputs to the columns that are fetched; those that are not yet are added.
    pub(super) fn bind_to(&self, fetched: &mut Vec<String>) -> Result<Plan, Error> {
        let schema = self.model.schema();
        let offset = schema.offset_column.iter().map(|name| Column { name: name.clone(), domain: None });
        let offset: Vec<_> = offset.collect();
        let (mut inputs, mut problems) = (Vec::new(), Vec::new());
        for input in schema.input_columns().iter().chain(&offset) {
            match self.source(input, fetched) {
                Ok(source) => inputs.push(Input { name: input.name.as_str().into(), source }),
                Err(problem) => problems.push(problem),
            }
        }
        for name in self.request.iter().chain(&self.absent).chain(self.columns.keys()) {
            if !schema.input_columns().iter().chain(&offset).any(|input| input.name == *name) {
                problems.push(format!("the model has no input {name:?}"));
            }
        }
        if !problems.is_empty() {
            return Err(ErrorKind::Bind { view: self.view.name().to_owned(), problems }.into());
        }
        let names: Vec<&str> = inputs.iter().map(|input| &*input.name).collect();
        let row = self.model.bind(&names, &PredictOptions::default())?;
        let tally = Tally::new(schema.input_columns().iter().chain(&offset));
        let (on_missing, on_stale) = (self.on_missing, self.on_stale);
        Ok(Plan { row, version: self.version.clone(), inputs, on_missing, on_stale, tally })
    }

    /// Where `input` comes from; a feature is added to those that are fetched.
    fn source(&self, input: &Column, fetched: &mut Vec<String>) -> Result<Source, String> {
        if self.request.contains(&input.name) {
            return Ok(Source::Request);
        }
        if self.absent.contains(&input.name) {
            return Ok(Source::Absent);
        }
        let name = self.columns.get(&input.name).unwrap_or(&input.name);
        let kind = if input.domain.is_some() { "a category" } else { "a number" };
        let takes = |ty: Type| match (ty, &input.domain) {
            (Type::Bool | Type::I16 | Type::I32 | Type::I64, _)
            | (Type::F32 | Type::F64 | Type::Numeric, None)
            | (Type::Text, Some(_)) => Ok(()),
            _ => Err(format!("input {:?} is {kind}, column {name:?} is {ty}", input.name)),
        };
        if let Some(index) = self.view.keys().iter().position(|key| key.name == *name) {
            takes(self.view.keys()[index].ty)?;
            return Ok(Source::Key(index));
        }
        let Some(feature) = self.view.features().iter().find(|feature| feature.name == *name) else {
            return Err(format!("input {:?} ({kind}): there is no column {name:?}", input.name));
        };
        takes(feature.ty)?;
        if let (Some(levels), Some(domain), UnseenLevels::Refuse) =
            (&feature.levels, &input.domain, self.unseen)
        {
            // H2O writes a level also with its column's name before it.
            let known = |level: &String| {
                domain.iter().any(|known| {
                    known == level
                        || known
                            .strip_prefix(input.name.as_str())
                            .and_then(|rest| rest.strip_prefix('.'))
                            .is_some_and(|rest| rest == level)
                })
            };
            let unseen: Vec<_> = levels.iter().filter(|level| !known(level)).collect();
            if !unseen.is_empty() {
                return Err(format!("input {:?}: the model has not seen levels {unseen:?}", input.name));
            }
        }
        // Two inputs may come from one column.
        let index = fetched.iter().position(|column| column == name).unwrap_or_else(|| {
            fetched.push(name.clone());
            fetched.len() - 1
        });
        Ok(Source::Feature(index))
    }
}
