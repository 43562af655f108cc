//! Keys to features to predictions in one call.
//!
//! In flow a model and a view: [`PlanBuilder::build`] proves once that every input of the model is there, of a type and with
//! levels that the model takes. Then keys flow in and predictions flow out, in the keys' order, each with the status of its key.
//! The invariant: only the columns that the model reads are fetched, by one query; and scoring never awaits: one row is scored
//! where the answer arrives, many are moved off the runtime's threads by one function here.

mod bind;
mod counters;
mod explain;
mod served;

use std::sync::Arc;

pub use bind::{PlanBuilder, UnseenLevels};
use counters::Tally;
pub use counters::{Counters, InputCounters};
pub use explain::Explanation;
pub use served::{Served, ServedRows, ShadowCounters};

use crate::input::{Batch, Cell, Row, Values};
use crate::model::{BoundRow, Model};
use crate::predictions::{OutputColumn, OutputValues, Predictions};
use crate::registry::ModelVersion;
use crate::store::telemetry::{Timed, scored, timed};
use crate::store::{
    Error, ErrorKind, FeatureSet, FeatureStore, FoundRows, Key, Reader, Status, StoredRow, Timestamp, Value,
    View,
};

/// Up to so many rows are scored on the thread that awaits them: a hop to another costs more.
const ROWS_INLINE: usize = 64;

/// What happens to a key that has no row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMissing {
    /// Its features are missing values to the model.
    #[default]
    AsMissing,
    /// The call is refused, naming the key's place.
    Refuse,
}

/// What happens to a key whose row is older than the view's ttl.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnStale {
    /// Its features are missing values to the model, as in a training set.
    #[default]
    AsMissing,
    /// Its features are used, and the status says how old they are.
    Use,
    /// The call is refused, naming the key's place.
    Refuse,
}

/// Where an input of the model comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Key column of that index.
    Key(usize),
    /// Feature of that index of the reader.
    Feature(usize),
    /// The caller gives it with the key.
    Request,
    /// It is always missing.
    Absent,
}

#[derive(Debug, Clone)]
struct Input {
    name: Arc<str>,
    source: Source,
}

/// A model bound to a view. Cheap to clone; it may be shared between threads.
#[derive(Clone)]
pub struct ScorePlan {
    inner: Arc<Plan>,
    reader: Reader,
}

struct Plan {
    /// The model, with its row in the order of the inputs.
    row: BoundRow,
    version: Option<Arc<ModelVersion>>,
    inputs: Vec<Input>,
    on_missing: OnMissing,
    on_stale: OnStale,
    tally: Tally,
}

/// The score of one key.
#[derive(Clone)]
pub struct Score {
    /// What the store knows of the key.
    pub status: Status,
    /// When the features held true; `None` where there is no row.
    pub event_ts: Option<Timestamp>,
    label: Option<u32>,
    numbers: Box<[f64]>,
    /// What the model saw: its raw row, and the offset.
    features: Box<[f64]>,
    offset: f64,
    model: Model,
    version: Option<Arc<ModelVersion>>,
}

/// The scores of many keys, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// What the store knows of each key.
    pub status: Vec<Status>,
    /// When each key's features held true; `None` where there is no row.
    pub event_ts: Vec<Option<Timestamp>>,
    /// The registered version that answered for each key, where the plan was told; else 0.
    pub versions: Vec<i32>,
    /// The predictions: a row a key.
    pub predictions: Predictions,
}

impl ScorePlan {
    /// The model that is bound.
    pub fn model(&self) -> &Model {
        self.inner.row.model()
    }

    /// The registered version that the model is, where the plan was told.
    pub fn version(&self) -> Option<&ModelVersion> {
        self.inner.version.as_deref()
    }

    /// The view that it is bound to.
    pub fn view(&self) -> &View {
        self.reader.view()
    }

    /// What the plan and its clones have seen: missing and stale keys; missing values and unseen levels of the inputs that are
    /// stored.
    pub fn counters(&self) -> Counters {
        self.inner.tally.read()
    }

    /// The same plan on another store of the same tables.
    pub(crate) fn on(&self, store: &FeatureStore) -> Self {
        Self { inner: Arc::clone(&self.inner), reader: self.reader.on(store) }
    }

    /// Checks the tables against the view.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        self.reader.check().await
    }

    /// Fetches the features of `key` and scores them on this thread.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// If the key does not fit the view, the plan refuses its status, the store fails, H2O would refuse the row, or the plan has
    /// inputs that come with the request.
    pub async fn score(&self, key: impl Into<Key>) -> Result<Score, Error> {
        self.score_with(key, &Row::new()).await
    }

    /// As [`score`](Self::score), with the inputs that come with the request; other names of `request` are not looked at.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// As [`score`](Self::score), or if the request lacks an input.
    pub async fn score_with(&self, key: impl Into<Key>, request: &Row<'_>) -> Result<Score, Error> {
        let key = key.into();
        let score = async {
            let row = self.reader.row(&key).await?;
            self.score_row(&key, row.as_ref(), request)
        };
        timed(Timed::Score, score).await
    }

    /// Scores the row of `key` that the reader found.
    fn score_row(&self, key: &Key, row: Option<&StoredRow>, request: &Row<'_>) -> Result<Score, Error> {
        let (status, event_ts) = match row {
            Some(row) => {
                let event = crate::store::event_ts(row, 0)?;
                (Status::of(event, Timestamp::now(), self.view().ttl()), Some(event))
            }
            None => (Status::Missing, None),
        };
        let tally = &self.inner.tally;
        tally.key(status);
        scored(status, 1);
        let usable = self.usable(0, status)?;
        let mut failed = None;
        let cells = self.inner.inputs.iter().enumerate().map(|(place, input)| {
            let cell = match input.source {
                Source::Key(index) => Ok(key_cell(&key.values()[index])),
                Source::Feature(index) => match row {
                    Some(row) if usable => self.reader.feature_cell(row, index),
                    _ => Ok(Cell::Missing),
                },
                Source::Request => request.get(&input.name).ok_or_else(|| self.unrequested()),
                Source::Absent => Ok(Cell::Missing),
            };
            let cell = cell.unwrap_or_else(|error| {
                failed = Some(error);
                Cell::Missing
            });
            if matches!(input.source, Source::Key(_) | Source::Feature(_)) {
                tally.cell(place, cell);
            }
            cell
        });
        let model = self.model();
        let mut features = vec![f64::NAN; model.n_features()].into_boxed_slice();
        let offset = self.inner.row.encode(cells, &mut features)?;
        if let Some(error) = failed {
            return Err(error);
        }
        let mut numbers = vec![f64::NAN; model.n_numbers()].into_boxed_slice();
        let label = model.predict_raw(&features, offset, &mut numbers)?;
        let (model, version) = (model.clone(), self.inner.version.clone());
        Ok(Score { status, event_ts, label, numbers, features, offset, model, version })
    }

    /// Fetches the features of many keys by one query and scores them, many off the runtime's threads.
    ///
    /// Dropping the future cancels the query at the server; scoring that has begun on another thread ends there, unheard.
    ///
    /// # Errors
    /// If a key does not fit the view, the plan refuses a status, the store fails, or the plan has inputs that come with the
    /// request. A row that H2O would refuse is in [`Predictions::errors`].
    pub async fn score_many<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Scores, Error> {
        let fetched = self.fetch(keys).await?;
        off_runtime(fetched.len(), move || fetched.score()).await
    }

    /// The first half of [`score_many`](Self::score_many): what the store knows of the keys, to be scored where and when the
    /// caller likes.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// If a key does not fit the view, the plan refuses a status, or the store fails.
    pub async fn fetch<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Fetched, Error> {
        let keys: Arc<[Key]> = keys.into_iter().map(Into::into).collect();
        let found = self.reader.rows(keys.iter()).await?;
        self.take(&keys, &found, |_| true)
    }

    /// What of the rows that the reader found goes into the model. Those that are not `mine` are neither counted nor refused.
    fn take(
        &self,
        keys: &Arc<[Key]>,
        found: &FoundRows,
        mine: impl Fn(usize) -> bool,
    ) -> Result<Fetched, Error> {
        let now = Timestamp::now();
        let ttl = self.view().ttl();
        let (mut status, mut usable) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        for event in found.event_ts() {
            let known = event.map_or(Status::Missing, |event| Status::of(event, now, ttl));
            let row = status.len();
            if mine(row) {
                self.inner.tally.key(known);
                usable.push(self.usable(row, known)?);
            } else {
                usable.push(false);
            }
            status.push(known);
        }
        status.iter().enumerate().filter(|(row, _)| mine(*row)).for_each(|(_, status)| scored(*status, 1));
        let features = self.reader.feature_set(found, status, |row| usable[row]);
        for (place, input) in self.inner.inputs.iter().enumerate() {
            for (row, key) in keys.iter().enumerate().filter(|(row, _)| mine(*row)) {
                match input.source {
                    Source::Key(index) => self.inner.tally.cell(place, key_cell(&key.values()[index])),
                    Source::Feature(index) => {
                        self.inner.tally.cell(place, features.columns[index].cell(row));
                    }
                    Source::Request | Source::Absent => {}
                }
            }
        }
        Ok(Fetched { plan: self.clone(), keys: Arc::clone(keys), features })
    }

    /// Whether features of that status go into the model.
    fn usable(&self, index: usize, status: Status) -> Result<bool, Error> {
        let refused = match (status, self.inner.on_missing, self.inner.on_stale) {
            (Status::Missing, OnMissing::Refuse, _) => "missing",
            (Status::Stale { .. }, _, OnStale::Refuse) => "stale",
            (Status::Stale { .. }, _, on_stale) => return Ok(on_stale == OnStale::Use),
            (status, ..) => return Ok(status != Status::Missing),
        };
        Err(ErrorKind::Refused { view: self.view().name().to_owned(), index, status: refused }.into())
    }

    fn unrequested(&self) -> Error {
        let request = self.inner.inputs.iter().filter(|input| input.source == Source::Request);
        let problems =
            request.map(|input| format!("input {:?} comes with the request", input.name)).collect();
        ErrorKind::Bind { view: self.view().name().to_owned(), problems }.into()
    }
}

impl Score {
    /// The model that answered.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The registered version that answered, where the plan was told.
    pub fn version(&self) -> Option<&ModelVersion> {
        self.version.as_deref()
    }

    /// The offset on the link scale; 0 where the model has none.
    pub fn offset(&self) -> f64 {
        self.offset
    }

    /// The place of [`label`](Self::label) in [`Model::labels`].
    pub fn label_index(&self) -> Option<u32> {
        self.label
    }

    /// What the model saw: one number a feature of [`Schema::features`](cenote_mojo::Schema::features), level codes as numbers,
    /// `NaN` where missing.
    pub fn features(&self) -> &[f64] {
        &self.features
    }

    /// The label that is predicted; `None` for a regression.
    pub fn label(&self) -> Option<&str> {
        let domain = self.model.labels()?;
        domain.get(self.label? as usize).map(String::as_str)
    }

    /// The numbers of the prediction, in the order of H2O's columns: probabilities, or the prediction of a regression.
    pub fn numbers(&self) -> &[f64] {
        &self.numbers
    }

    /// The number called `name`, such as `p1`.
    pub fn number(&self, name: &str) -> Option<f64> {
        let names = self.model.output_names().skip(usize::from(self.model.labels().is_some()));
        names.zip(&self.numbers).find(|(other, _)| *other == name).map(|(_, number)| *number)
    }

    /// The prediction as a table of one row, as the model gives it.
    pub fn predictions(&self) -> Predictions {
        let mut names = self.model.output_names();
        let label = self.model.labels().zip(self.model.labels().and_then(|_| names.next()));
        let label = label.map(|(domain, name)| OutputColumn {
            name: name.to_owned(),
            values: OutputValues::Label {
                codes: vec![self.label.unwrap_or(OutputValues::NO_LABEL)],
                domain: domain.clone(),
            },
        });
        let numbers = names.zip(&self.numbers).map(|(name, number)| OutputColumn {
            name: name.to_owned(),
            values: OutputValues::Number(vec![*number]),
        });
        Predictions { rows: 1, columns: label.into_iter().chain(numbers).collect(), errors: Vec::new() }
    }
}

impl std::fmt::Debug for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Score")
            .field("status", &self.status)
            .field("event_ts", &self.event_ts)
            .field("predictions", &self.predictions())
            .finish()
    }
}

/// Features of keys on their way to the model.
#[derive(Clone)]
pub struct Fetched {
    plan: ScorePlan,
    keys: Arc<[Key]>,
    features: FeatureSet,
}

impl Fetched {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The features as the model will see them: those that the plan takes as missing are missing here.
    pub fn features(&self) -> &FeatureSet {
        &self.features
    }

    /// Scores on this thread and those of rayon.
    ///
    /// # Errors
    /// If the plan has inputs that come with the request, or the model refuses the batch.
    pub fn score(&self) -> Result<Scores, Error> {
        self.score_with(&Batch::new(0))
    }

    /// As [`score`](Self::score), with the inputs that come with the request: a row a key, in the keys' order.
    ///
    /// # Errors
    /// If the request lacks an input or has another number of rows; if the model refuses the batch.
    pub fn score_with<'a>(&'a self, request: &Batch<'a>) -> Result<Scores, Error> {
        let Self { plan, keys, features } = self;
        let values: Vec<Option<Values<'a>>> =
            features.columns.iter().map(|column| column.as_values()).collect();
        let mut batch = Batch::new(keys.len());
        for input in &plan.inner.inputs {
            let values = match input.source {
                Source::Key(index) => {
                    Values::Cells(keys.iter().map(|key| key_cell(&key.values()[index])).collect())
                }
                Source::Feature(index) => values[index].clone().unwrap_or(Values::Missing),
                Source::Request => request.column(&input.name).ok_or_else(|| plan.unrequested())?.clone(),
                Source::Absent => Values::Missing,
            };
            batch.push(&*input.name, values)?;
        }
        let predictions = plan.model().predict(&batch)?;
        let versions = vec![plan.version().map_or(0, |version| version.version); keys.len()];
        let (status, event_ts) = (features.status.clone(), features.event_ts.clone());
        Ok(Scores { status, event_ts, versions, predictions })
    }
}

/// A value of a key as a cell of the model's row.
fn key_cell(value: &Value) -> Cell<'_> {
    match value {
        Value::Bool(value) => Cell::Bool(*value),
        Value::Int(value) => Cell::Integer(*value),
        Value::Text(value) => Cell::Text(value),
        _ => Cell::Missing,
    }
}

/// The one way from async code to scoring: few rows on this thread, many on one that may be busy for long.
async fn off_runtime<T: Send + 'static>(rows: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if rows <= ROWS_INLINE {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
