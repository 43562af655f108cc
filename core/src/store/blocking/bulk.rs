//! The blocking twins of what moves many rows: loads, materialisation, raw documents.

use std::time::Duration;

use crate::input::Batch;
use crate::store::{
    self, Document, Error, FeatureSet, FinishedBatch, Key, KnownAt, Loaded, MaterializeOptions, Materialized,
    Record, Stored, Timestamp, Upserted, View, WriteOptions,
};

use super::{FeatureStore, Writer};

/// A load under way; see [`store::Load`].
pub struct Load {
    store: FeatureStore,
    load: store::Load,
}

/// Several views that are read together; see [`store::FeatureService`].
#[derive(Clone)]
pub struct FeatureService {
    store: FeatureStore,
    service: store::FeatureService,
}

/// The documents of a view; see [`store::Raw`].
#[derive(Clone)]
pub struct Raw {
    store: FeatureStore,
    raw: store::Raw,
}

impl FeatureStore {
    /// Brings online what came into the history of `view` since the last run, as told; `progress` is called before the first and
    /// after each batch.
    ///
    /// # Errors
    /// As [`store::FeatureStore::materialize_with`].
    pub fn materialize(
        &self,
        view: &View,
        options: MaterializeOptions,
        progress: impl FnMut(&Materialized),
    ) -> Result<Materialized, Error> {
        self.run(async |store| store.materialize_with(view, options, progress).await)
    }

    /// The finished batches of a load of `view`, or of all its loads and materialisations.
    ///
    /// # Errors
    /// As [`store::FeatureStore::finished_batches`].
    pub fn finished_batches(&self, view: &View, job: Option<&str>) -> Result<Vec<FinishedBatch>, Error> {
        self.run(async |store| store.finished_batches(view, job).await)
    }

    /// Forgets the finished batches of `view` that are older than `age`, and gives how many.
    ///
    /// # Errors
    /// As [`store::FeatureStore::forget_batches`].
    pub fn forget_batches(&self, view: &View, age: Duration) -> Result<u64, Error> {
        self.run(async |store| store.forget_batches(view, age).await)
    }

    /// Several views that are read together, as `members` adds them to a builder: their readers are those of the store that it is
    /// given.
    ///
    /// # Errors
    /// As [`store::ServiceBuilder::build`].
    pub fn service(
        &self,
        members: impl FnOnce(&store::FeatureStore, store::ServiceBuilder) -> Result<store::ServiceBuilder, Error>,
    ) -> Result<FeatureService, Error> {
        let template = &self.shared.template;
        let service = members(template, template.service())?.build()?;
        Ok(FeatureService { store: self.clone(), service })
    }

    /// The documents of `view`.
    ///
    /// # Errors
    /// If the view keeps none.
    pub fn raw(&self, view: &View) -> Result<Raw, Error> {
        Ok(Raw { store: self.clone(), raw: self.shared.template.raw(view)? })
    }
}

impl Writer {
    /// A writer of the history alone.
    ///
    /// # Errors
    /// If the view keeps no history.
    pub fn history_only(&self) -> Result<Self, Error> {
        Ok(Self { store: self.store.clone(), writer: self.writer.history_only()? })
    }

    /// Begins the load called `name`, or goes on with it.
    ///
    /// # Errors
    /// As [`store::Writer::load`].
    pub fn load(&self, name: impl Into<String>, options: WriteOptions) -> Result<Load, Error> {
        let load = self.store.run(async |store| self.writer.on(store).load(name, options).await)?;
        Ok(Load { store: self.store.clone(), load })
    }

    /// Writes records as they come, some tens of thousands a transaction.
    ///
    /// # Errors
    /// As [`store::Writer::upsert_all`].
    pub fn upsert_all(
        &self,
        records: impl IntoIterator<Item = Record>,
        options: WriteOptions,
    ) -> Result<Upserted, Error> {
        self.store.run(async |store| self.writer.on(store).upsert_all(records, options).await)
    }
}

impl Load {
    pub(super) fn new(store: &FeatureStore, load: store::Load) -> Self {
        Self { store: store.clone(), load }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.load.name()
    }

    /// What has become of the batches so far.
    pub fn loaded(&self) -> Loaded {
        self.load.loaded()
    }

    /// Writes the next batch, or passes over it if that was done before.
    ///
    /// # Errors
    /// As [`store::Load::batch`].
    pub fn batch(&mut self, batch: &Batch<'_>) -> Result<Loaded, Error> {
        let Self { store, load } = self;
        store.run(async |store| {
            load.move_to(store);
            load.batch(batch).await
        })
    }

    /// As [`batch`](Self::batch), of records.
    ///
    /// # Errors
    /// As [`store::Load::records`].
    pub fn records(&mut self, records: &[Record]) -> Result<Loaded, Error> {
        let Self { store, load } = self;
        store.run(async |store| {
            load.move_to(store);
            load.records(records).await
        })
    }
}

impl FeatureService {
    /// The entity's columns: what a key of this service has, in order.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (&str, store::Type)> {
        self.service.columns()
    }

    /// The features of one entity: one set of one row for each view.
    ///
    /// # Errors
    /// As [`store::FeatureService::get_many`].
    pub fn get(&self, entity: impl Into<Key>) -> Result<Vec<FeatureSet>, Error> {
        self.get_many([entity])
    }

    /// The features of many entities: one set for each view, each with one row an entity.
    ///
    /// # Errors
    /// As [`store::FeatureService::get_many`].
    pub fn get_many<K: Into<Key>>(
        &self,
        entities: impl IntoIterator<Item = K>,
    ) -> Result<Vec<FeatureSet>, Error> {
        self.store.run(async |store| self.service.on(store).get_many(entities).await)
    }
}

impl Raw {
    /// Keeps documents, in one transaction; the same again changes nothing.
    ///
    /// # Errors
    /// As [`store::Raw::put`].
    pub fn put(&self, documents: &[Document]) -> Result<Stored, Error> {
        self.store.run(async |store| self.raw.on(store).put(documents).await)
    }

    /// The newest document of `key`.
    ///
    /// # Errors
    /// As [`store::Raw::get`].
    pub fn get(&self, key: impl Into<Key>) -> Result<Option<Document>, Error> {
        self.store.run(async |store| self.raw.on(store).get(key).await)
    }

    /// The newest document of `key` at `at` that was known then, or as `known_at` says.
    ///
    /// # Errors
    /// As [`store::Raw::as_of`].
    pub fn as_of(
        &self,
        key: impl Into<Key>,
        at: Timestamp,
        known_at: KnownAt,
    ) -> Result<Option<Document>, Error> {
        self.store.run(async |store| self.raw.on(store).as_of(key, at, known_at).await)
    }

    /// Up to `limit` documents that contain the JSON document `part`, the newest first.
    ///
    /// # Errors
    /// As [`store::Raw::containing`].
    pub fn containing(&self, part: &str, limit: u32) -> Result<Vec<Document>, Error> {
        self.store.run(async |store| self.raw.on(store).containing(part, limit).await)
    }

    /// Up to `limit` documents whose member at `path` has the text `text`, the newest first.
    ///
    /// # Errors
    /// As [`store::Raw::with_member`].
    pub fn with_member(&self, path: &[String], text: &str, limit: u32) -> Result<Vec<Document>, Error> {
        self.store.run(async |store| self.raw.on(store).with_member(path, text, limit).await)
    }
}
