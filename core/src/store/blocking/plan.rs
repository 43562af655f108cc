//! The blocking twin of a model that is bound to a view.

use super::FeatureStore;
use crate::input::Row;
use crate::model::Model;
use crate::serve::{self, Counters, Explanation, Fetched, Score, Scores};
use crate::store::{self, Error, Key, View};

/// A model bound to a view; see [`serve::ScorePlan`].
#[derive(Clone)]
pub struct ScorePlan {
    pub(super) store: FeatureStore,
    pub(super) plan: serve::ScorePlan,
}

impl ScorePlan {
    /// The model that is bound.
    pub fn model(&self) -> &Model {
        self.plan.model()
    }

    /// The view that it is bound to.
    pub fn view(&self) -> &View {
        self.plan.view()
    }

    /// The same plan on an async store of the same tables.
    pub fn on(&self, store: &store::FeatureStore) -> serve::ScorePlan {
        self.plan.on(store)
    }

    /// What the plan and its clones have seen.
    pub fn counters(&self) -> Counters {
        self.plan.counters()
    }

    /// Says what the plan will do, and warns where a key's row is not found by an index.
    ///
    /// # Errors
    /// As [`serve::ScorePlan::explain`].
    pub fn explain(&self) -> Result<Explanation, Error> {
        self.store.run(async |store| self.plan.on(store).explain().await)
    }

    /// Fetches the features of `key` and scores them.
    ///
    /// # Errors
    /// As [`serve::ScorePlan::score`].
    pub fn score(&self, key: impl Into<Key>) -> Result<Score, Error> {
        self.store.run(async |store| self.plan.on(store).score(key).await)
    }

    /// As [`score`](Self::score), with the inputs that come with the request.
    ///
    /// # Errors
    /// As [`serve::ScorePlan::score_with`].
    pub fn score_with(&self, key: impl Into<Key>, request: &Row<'_>) -> Result<Score, Error> {
        self.store.run(async |store| self.plan.on(store).score_with(key, request).await)
    }

    /// Fetches the features of many keys and scores them on this thread and those of rayon.
    ///
    /// # Errors
    /// As [`serve::ScorePlan::score_many`].
    pub fn score_many<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Scores, Error> {
        self.fetch(keys)?.score()
    }

    /// What the store knows of the keys, to be scored with the inputs that come with the request.
    ///
    /// # Errors
    /// As [`serve::ScorePlan::fetch`].
    pub fn fetch<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Fetched, Error> {
        self.store.run(async |store| self.plan.on(store).fetch(keys).await)
    }
}
