//! The blocking twins of the model registry and of the decision log.

use super::FeatureStore;
use crate::decisions::{Decision, DecisionId, Replay};
use crate::model::Model;
use crate::registry::{ModelRef, ModelVersion, PublicKey, Registration, Registry, Route, Stage};
use crate::serve::Score;
use crate::store::{self, Error, Key, View};

impl FeatureStore {
    /// Makes the model registry's tables, if they are not there.
    ///
    /// # Errors
    /// As [`Registry::apply`](crate::registry::Registry::apply).
    pub fn apply_registry(&self) -> Result<(), Error> {
        self.run(async |store| store.registry().apply().await)
    }

    /// Registers a MOJO as the next version of `name`; the same bytes again give the version that they have.
    ///
    /// # Errors
    /// As [`Registry::register`](crate::registry::Registry::register).
    pub fn register_model(&self, name: &str, mojo: &[u8]) -> Result<ModelVersion, Error> {
        self.run(async |store| store.registry().register(name, mojo).await)
    }

    /// Registers a MOJO with metrics, tags, golden rows and a signature.
    ///
    /// # Errors
    /// As [`Registry::register_with`](crate::registry::Registry::register_with).
    pub fn register_model_with(
        &self,
        name: &str,
        mojo: &[u8],
        with: &Registration<'_>,
    ) -> Result<ModelVersion, Error> {
        self.run(async |store| store.registry().register_with(name, mojo, with).await)
    }

    /// Says where a version of model `name` is in its life.
    ///
    /// # Errors
    /// As [`Registry::set_stage`](crate::registry::Registry::set_stage).
    pub fn set_model_stage(&self, name: &str, version: i32, stage: Stage) -> Result<(), Error> {
        self.run(async |store| store.registry().set_stage(name, version, stage).await)
    }

    /// Points `alias` of model `name` at the versions of a route.
    ///
    /// # Errors
    /// As [`Registry::route`](crate::registry::Registry::route).
    pub fn route_model(&self, name: &str, alias: &str, route: &Route) -> Result<(), Error> {
        self.run(async |store| store.registry().route(name, alias, route).await)
    }

    /// The versions behind `alias` of model `name`.
    ///
    /// # Errors
    /// As [`Registry::find_route`](crate::registry::Registry::find_route).
    pub fn find_route(&self, name: &str, alias: &str) -> Result<Route, Error> {
        self.run(async |store| store.registry().find_route(name, alias).await)
    }

    /// What the registry knows of a model.
    ///
    /// # Errors
    /// As [`Registry::find`](crate::registry::Registry::find), or if `reference` cannot be read.
    pub fn find_model(&self, reference: &str) -> Result<ModelVersion, Error> {
        let reference: ModelRef = reference.parse()?;
        self.run(async |store| store.registry().find(&reference).await)
    }

    /// Fetches the bytes of a model; with `trusted`, only if one of these keys signed it.
    ///
    /// # Errors
    /// As [`Registry::fetch`](crate::registry::Registry::fetch), or if `reference` cannot be read.
    pub fn fetch_model_trusting(
        &self,
        reference: &str,
        trusted: Option<Vec<PublicKey>>,
    ) -> Result<(ModelVersion, Vec<u8>), Error> {
        let reference: ModelRef = reference.parse()?;
        self.run(async |store| trusting(store, trusted).fetch(&reference).await)
    }

    /// Verifies a version whole: signature, digest, that it opens, and its golden rows; with `trusted`, that one of these keys
    /// signed it.
    ///
    /// # Errors
    /// As [`Registry::verify`](crate::registry::Registry::verify), or if `reference` cannot be read.
    pub fn verify_model(
        &self,
        reference: &str,
        trusted: Option<Vec<PublicKey>>,
    ) -> Result<ModelVersion, Error> {
        let reference: ModelRef = reference.parse()?;
        self.run(async |store| trusting(store, trusted).verify(&reference).await)
    }

    /// Points `alias` of model `name` at a version.
    ///
    /// # Errors
    /// As [`Registry::promote`](crate::registry::Registry::promote).
    pub fn promote_model(&self, name: &str, alias: &str, version: i32) -> Result<(), Error> {
        self.run(async |store| store.registry().promote(name, alias, version).await)
    }

    /// All versions of model `name`, or of every model.
    ///
    /// # Errors
    /// As [`Registry::list`](crate::registry::Registry::list).
    pub fn list_models(&self, name: Option<&str>) -> Result<Vec<ModelVersion>, Error> {
        self.run(async |store| store.registry().list(name).await)
    }

    /// Fetches a model by `name`, `name:version`, `name@alias` or `name#sha256`, its digest compared with the registered one.
    ///
    /// # Errors
    /// As [`Registry::load`](crate::registry::Registry::load), or if `reference` cannot be read.
    pub fn load_model(&self, reference: &str) -> Result<(ModelVersion, Model), Error> {
        let reference: ModelRef = reference.parse()?;
        self.run(async |store| store.registry().load(&reference).await)
    }

    /// Fetches the bytes of a model, as [`load_model`](Self::load_model) finds it, without opening it.
    ///
    /// # Errors
    /// As [`Registry::fetch`](crate::registry::Registry::fetch), or if `reference` cannot be read.
    pub fn fetch_model(&self, reference: &str) -> Result<(ModelVersion, Vec<u8>), Error> {
        let reference: ModelRef = reference.parse()?;
        self.run(async |store| store.registry().fetch(&reference).await)
    }

    /// Makes the decision log's table, if it is not there.
    ///
    /// # Errors
    /// As [`DecisionLog::apply`](crate::decisions::DecisionLog::apply).
    pub fn apply_decisions(&self) -> Result<(), Error> {
        self.run(async |store| store.decisions().apply().await)
    }

    /// Records the decision that a score of `key` is; when this returns, it is committed.
    ///
    /// # Errors
    /// As [`DecisionLog::record`](crate::decisions::DecisionLog::record).
    pub fn record(&self, view: &View, key: impl Into<Key>, score: &Score) -> Result<DecisionId, Error> {
        self.run(async |store| store.decisions().record(view, key, score).await)
    }

    /// A decision.
    ///
    /// # Errors
    /// As [`DecisionLog::find`](crate::decisions::DecisionLog::find).
    pub fn find_decision(&self, id: DecisionId) -> Result<Decision, Error> {
        self.run(async |store| store.decisions().find(id).await)
    }

    /// Makes a decision again.
    ///
    /// # Errors
    /// As [`DecisionLog::replay`](crate::decisions::DecisionLog::replay).
    pub fn replay(&self, id: DecisionId) -> Result<Replay, Error> {
        self.run(async |store| store.decisions().replay(id).await)
    }
}

/// The store's registry, from which nothing is loaded but what one of these keys signed, if there are any.
pub(super) fn trusting(store: &store::FeatureStore, trusted: Option<Vec<PublicKey>>) -> Registry {
    match trusted {
        Some(keys) => store.registry().trusting(keys),
        None => store.registry(),
    }
}
