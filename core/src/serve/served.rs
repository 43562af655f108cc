//! The models behind an alias at work on a view: the version that answers, the canary, the shadow, swapped while they serve.
//!
//! In flow keys; out flow scores, each with the version that gave it. The invariant: a key costs one query, whatever the number of
//! models, for they read one set of columns; a shadow never changes an answer, nor fails one; and what a call began with, it ends
//! with.

use std::borrow::Borrow;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Fetched, PlanBuilder, Score, ScorePlan, Scores, off_runtime};
use crate::input::{Batch, Row};
use crate::model::Model;
use crate::predictions::{OutputValues, Predictions};
use crate::registry::{Canary, ModelRef, ModelVersion, Registry, Route, Routed, Watch, WatchState};
use crate::serve::Counters;
use crate::store::telemetry::{Timed, timed};
use crate::store::{EncodedKey, Error, ErrorKind, FeatureStore, Key, Reader, View};

/// An alias of the registry at work on a view. Cheap to clone; with the last clone the watching ends.
#[derive(Clone)]
pub struct Served {
    watch: Watch<Deployment>,
}

/// In what a shadow's answers differed from those that were given.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct ShadowCounters {
    /// Rows that the shadow scored.
    pub scored: u64,
    /// Rows that it refused or the plan refused it.
    pub failed: u64,
    /// Rows with another label.
    pub labels: u64,
    /// Rows with another number, if only in its last bit.
    pub numbers: u64,
    /// The largest difference between two numbers.
    pub largest: f64,
}

impl FeatureStore {
    /// Watches an alias of `registry` and scores keys of `view` by what it points at; `settings` says of each model how its
    /// inputs are bound. A version whose inputs cannot be bound, or that answers its golden rows otherwise, is not put to work:
    /// what answered before goes on, and [`Served::state`] says why.
    ///
    /// Needs a tokio runtime. Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// As [`Registry::watch`] and [`PlanBuilder::build`]; `Route` if canary or shadow give other columns or labels.
    pub async fn serve(
        &self,
        registry: &Registry,
        reference: &ModelRef,
        view: &View,
        settings: impl Fn(PlanBuilder) -> PlanBuilder + Send + Sync + 'static,
    ) -> Result<Served, Error> {
        let (store, view) = (self.clone(), view.clone());
        let settings = Arc::new(settings);
        let prepare = move |routed: Routed| {
            let (store, view, settings) = (store.clone(), view.clone(), Arc::clone(&settings));
            async move {
                let deployment = Deployment::new(&store, &view, &*settings, &routed)?;
                deployment.primary.check().await?;
                Ok(deployment)
            }
        };
        Ok(Served { watch: registry.watch_with(reference, prepare).await? })
    }
}

impl Served {
    /// The model that answers for most keys now.
    pub fn model(&self) -> Model {
        self.watch.current().primary.model().clone()
    }

    /// The version that answers for most keys now.
    pub fn version(&self) -> Arc<ModelVersion> {
        let current = self.watch.current();
        Arc::clone(current.primary.inner.version.as_ref().expect("a deployment's plans have versions"))
    }

    /// Which versions are at work now.
    pub fn route(&self) -> Route {
        self.watch.current().route
    }

    /// How the watch fares.
    pub fn state(&self) -> WatchState {
        self.watch.state()
    }

    /// What the version that answers for most keys has seen since it was put to work.
    pub fn counters(&self) -> Counters {
        self.watch.current().primary.counters()
    }

    /// In what the shadow has differed since it was put to work; `None` where there is none.
    pub fn shadow(&self) -> Option<ShadowCounters> {
        self.watch.current().shadow.as_ref().map(|shadow| shadow.read())
    }

    /// Waits until other models are put to work than those that are now.
    ///
    /// Dropping the future is safe.
    pub async fn swapped(&self) {
        let current = self.watch.current();
        self.watch.other_than(&current).await;
    }

    /// Fetches the features of `key` and scores them by the version that the key has.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// As [`ScorePlan::score`].
    pub async fn score(&self, key: impl Into<Key>) -> Result<Score, Error> {
        self.score_with(key, &Row::new()).await
    }

    /// As [`score`](Self::score), with the inputs that come with the request.
    ///
    /// # Errors
    /// As [`ScorePlan::score_with`].
    pub async fn score_with(&self, key: impl Into<Key>, request: &Row<'_>) -> Result<Score, Error> {
        let current = self.watch.current();
        current.score(&current.primary.reader, key.into(), request).await
    }

    /// Fetches the features of many keys by one query and scores each by the version that it has.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// As [`ScorePlan::score_many`].
    pub async fn score_many<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Scores, Error> {
        let rows = self.fetch(keys).await?;
        off_runtime(rows.len(), move || rows.score()).await
    }

    /// The first half of [`score_many`](Self::score_many), as [`ScorePlan::fetch`].
    ///
    /// # Errors
    /// As [`ScorePlan::fetch`].
    pub async fn fetch<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<ServedRows, Error> {
        let current = self.watch.current();
        let keys = keys.into_iter().map(Into::into).collect();
        current.fetch(&current.primary.reader, keys).await
    }

    /// As [`score_with`](Self::score_with), by another store of the same tables.
    pub(crate) async fn score_on(
        &self,
        store: &FeatureStore,
        key: Key,
        request: &Row<'_>,
    ) -> Result<Score, Error> {
        let current = self.watch.current();
        current.score(&current.primary.reader.on(store), key, request).await
    }

    /// As [`fetch`](Self::fetch), by another store of the same tables.
    pub(crate) async fn fetch_on(&self, store: &FeatureStore, keys: Arc<[Key]>) -> Result<ServedRows, Error> {
        let current = self.watch.current();
        current.fetch(&current.primary.reader.on(store), keys).await
    }
}

/// The plans of a route, which read one set of columns.
struct Deployment {
    route: Route,
    primary: ScorePlan,
    canary: Option<(Canary, ScorePlan)>,
    shadow: Option<Arc<Shadow>>,
}

struct Shadow {
    plan: ScorePlan,
    counters: Mutex<ShadowCounters>,
}

impl Deployment {
    fn new(
        store: &FeatureStore,
        view: &View,
        settings: &impl Fn(PlanBuilder) -> PlanBuilder,
        routed: &Routed,
    ) -> Result<Self, Error> {
        let mut fetched = Vec::new();
        let mut plans = Vec::new();
        let primary = &routed.primary;
        for loaded in [Some(primary), routed.canary.as_ref(), routed.shadow.as_ref()] {
            let Some(loaded) = loaded else {
                plans.push(None);
                continue;
            };
            if let Some(what) = unlike(&primary.model, &loaded.model) {
                let ModelVersion { name, version, .. } = &*loaded.version;
                let (name, primary) = (name.clone(), primary.version.version);
                return Err(ErrorKind::Route { name, primary, version: *version, what }.into());
            }
            let builder = settings(store.plan(&loaded.model, view).version(Arc::clone(&loaded.version)));
            plans.push(Some(Arc::new(builder.bind_to(&mut fetched)?)));
        }
        let reader = store.reader_of(view, fetched.iter().map(String::as_str))?;
        let mut plans =
            plans.into_iter().map(|plan| plan.map(|inner| ScorePlan { inner, reader: reader.clone() }));
        let mut next = || plans.next().flatten();
        Ok(Self {
            route: routed.route,
            primary: next().expect("the version that answers was bound"),
            canary: routed.route.canary.zip(next()),
            shadow: next().map(|plan| Arc::new(Shadow { plan, counters: Mutex::default() })),
        })
    }

    /// The plan of a key, and whether it is the canary's.
    fn plan(&self, key: &Key) -> Result<(&ScorePlan, bool), Error> {
        let Some((canary, plan)) = &self.canary else { return Ok((&self.primary, false)) };
        let name = plan.version().map_or("", |version| &version.name);
        let key = EncodedKey::new(plan.view(), key)?;
        Ok(if canary.takes(name, key.borrow()) { (plan, true) } else { (&self.primary, false) })
    }

    async fn score(&self, reader: &Reader, key: Key, request: &Row<'_>) -> Result<Score, Error> {
        timed(Timed::Score, self.score_untimed(reader, key, request)).await
    }

    async fn score_untimed(&self, reader: &Reader, key: Key, request: &Row<'_>) -> Result<Score, Error> {
        let row = reader.row(&key).await?;
        let (plan, _) = self.plan(&key)?;
        let score = plan.score_row(&key, row.as_ref(), request)?;
        if let Some(shadow) = &self.shadow {
            shadow.note(&score, &shadow.plan.score_row(&key, row.as_ref(), request));
        }
        Ok(score)
    }

    async fn fetch(&self, reader: &Reader, keys: Arc<[Key]>) -> Result<ServedRows, Error> {
        let found = reader.rows(keys.iter()).await?;
        let mut canary = None;
        if let Some((_, plan)) = &self.canary {
            let mine: Vec<bool> =
                keys.iter().map(|key| Ok(self.plan(key)?.1)).collect::<Result<_, Error>>()?;
            if mine.contains(&true) {
                canary = Some((plan.take(&keys, &found, |row| mine[row])?, mine));
            }
        }
        let others = |row: usize| canary.as_ref().is_none_or(|(_, mine): &(_, Vec<bool>)| !mine[row]);
        let primary = self.primary.take(&keys, &found, others)?;
        let shadow = self
            .shadow
            .as_ref()
            .map(|shadow| (Arc::clone(shadow), shadow.plan.take(&keys, &found, |_| true)));
        Ok(ServedRows { primary, canary, shadow })
    }
}

/// In what two models' answers differ in kind.
fn unlike(primary: &Model, other: &Model) -> Option<&'static str> {
    if !primary.output_names().eq(other.output_names()) {
        Some("its predictions have other columns")
    } else if primary.labels() != other.labels() {
        Some("its labels are others")
    } else {
        None
    }
}

impl Shadow {
    fn read(&self) -> ShadowCounters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts in what a score differs from the one that was given.
    fn note(&self, given: &Score, shadow: &Result<Score, Error>) {
        let seen = shadow.as_ref().ok().map(|shadow| {
            (given.label != shadow.label, difference(given.numbers.iter().zip(&shadow.numbers)))
        });
        self.count(1, std::iter::once(seen));
    }

    /// Counts in what predictions differ from those that were given.
    fn note_many(&self, given: &Predictions, shadow: &Result<Scores, Error>) {
        let Ok(Scores { predictions: shadow, .. }) = shadow else {
            return self.count(given.rows as u64, (0..given.rows).map(|_| None));
        };
        let seen = (0..given.rows).map(|row| {
            let refused = |by: &Predictions| by.errors.iter().any(|error| error.row == row);
            if refused(shadow) {
                return None;
            }
            let (mut label, mut numbers) = (false, Vec::new());
            for (given, shadow) in given.columns.iter().zip(&shadow.columns) {
                match (&given.values, &shadow.values) {
                    (OutputValues::Label { codes: a, .. }, OutputValues::Label { codes: b, .. }) => {
                        label |= a[row] != b[row];
                    }
                    (OutputValues::Number(a), OutputValues::Number(b)) => numbers.push((a[row], b[row])),
                    _ => {}
                }
            }
            Some((label, difference(numbers.iter().map(|(a, b)| (a, b)))))
        });
        self.count(given.rows as u64, seen);
    }

    /// Each row is `None` where the shadow failed, or whether its label differs and by how much its numbers do.
    fn count(&self, rows: u64, seen: impl Iterator<Item = Option<(bool, Option<f64>)>>) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *counters;
        counters.scored += rows;
        for row in seen {
            let Some((label, numbers)) = row else {
                counters.failed += 1;
                continue;
            };
            counters.labels += u64::from(label);
            counters.numbers += u64::from(numbers.is_some());
            counters.largest = counters.largest.max(numbers.unwrap_or(0.0));
        }
        let differ = (counters.numbers - before.numbers, counters.labels - before.labels);
        if differ != (0, 0) {
            let version = self.plan.version().map(|version| version.version);
            tracing::debug!(version, numbers = differ.0, labels = differ.1, "a shadow differs");
        }
        metrics::counter!("cenote_shadow_scores_total").increment(rows);
        metrics::counter!("cenote_shadow_differences_total").increment(differ.0);
    }
}

/// By how much numbers differ at most; `None` if they are the same to the bit.
fn difference<'n>(pairs: impl Iterator<Item = (&'n f64, &'n f64)>) -> Option<f64> {
    let differing = pairs.filter(|(a, b)| a.to_bits() != b.to_bits());
    // A NaN beside a number differs by more than can be said.
    differing
        .map(|(a, b)| if a.is_nan() || b.is_nan() { f64::INFINITY } else { (a - b).abs() })
        .reduce(f64::max)
}

/// Features of keys on their way to the models of an alias.
pub struct ServedRows {
    /// For the rows that are not the canary's.
    primary: Fetched,
    canary: Option<(Fetched, Vec<bool>)>,
    shadow: Option<(Arc<Shadow>, Result<Fetched, Error>)>,
}

impl ServedRows {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.primary.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.primary.is_empty()
    }

    /// Scores on this thread and those of rayon.
    ///
    /// # Errors
    /// As [`Fetched::score`].
    pub fn score(&self) -> Result<Scores, Error> {
        self.score_with(&Batch::new(0))
    }

    /// As [`score`](Self::score), with the inputs that come with the request: a row a key, in the keys' order.
    ///
    /// # Errors
    /// As [`Fetched::score_with`].
    pub fn score_with<'a>(&'a self, request: &Batch<'a>) -> Result<Scores, Error> {
        let mut scores = self.primary.score_with(request)?;
        if let Some((rows, mine)) = &self.canary {
            scores.take_over(&rows.score_with(request)?, mine);
        }
        if let Some((shadow, rows)) = &self.shadow {
            let answer = match rows {
                Ok(rows) => rows.score_with(request),
                Err(_) => Err(ErrorKind::Closed.into()),
            };
            shadow.note_many(&scores.predictions, &answer);
        }
        Ok(scores)
    }
}

impl Scores {
    /// Takes the rows that are `mine` from `other`, whose predictions have the same columns.
    fn take_over(&mut self, other: &Scores, mine: &[bool]) {
        let rows = || (0..mine.len()).filter(|row| mine[*row]);
        for (column, from) in self.predictions.columns.iter_mut().zip(&other.predictions.columns) {
            match (&mut column.values, &from.values) {
                (OutputValues::Label { codes: to, .. }, OutputValues::Label { codes: from, .. }) => {
                    rows().for_each(|row| to[row] = from[row]);
                }
                (OutputValues::Number(to), OutputValues::Number(from)) => {
                    rows().for_each(|row| to[row] = from[row]);
                }
                _ => {}
            }
        }
        let errors = &mut self.predictions.errors;
        errors.retain(|error| !mine[error.row]);
        errors.extend(other.predictions.errors.iter().filter(|error| mine[error.row]).cloned());
        errors.sort_by_key(|error| error.row);
        rows().for_each(|row| self.versions[row] = other.versions[row]);
    }
}
