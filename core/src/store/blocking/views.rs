//! The blocking twins of what reads and writes one view.

use super::FeatureStore;
use crate::input::Batch;
use crate::store::{
    self, Error, FeatureSet, Features, Key, KnownAt, Record, Timestamp, Upserted, View, WriteOptions,
};

/// Reads a view; see [`store::Reader`](store::Reader).
#[derive(Clone)]
pub struct Reader {
    pub(super) store: FeatureStore,
    pub(super) reader: store::Reader,
}

impl Reader {
    /// The view that is read.
    pub fn view(&self) -> &View {
        self.reader.view()
    }

    /// Reads the past of this reader's view and features.
    ///
    /// # Errors
    /// If the view keeps no history.
    pub fn as_of(&self) -> Result<AsOf, Error> {
        Ok(AsOf { store: self.store.clone(), as_of: self.reader.as_of()? })
    }

    /// The features of one key.
    ///
    /// # Errors
    /// As [`store::Reader::get`](store::Reader::get).
    pub fn get(&self, key: impl Into<Key>) -> Result<Features, Error> {
        self.store.run(async |store| self.reader.on(store).get(key).await)
    }

    /// The features of many keys, in their order.
    ///
    /// # Errors
    /// As [`store::Reader::get`](store::Reader::get).
    pub fn get_many<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<FeatureSet, Error> {
        self.store.run(async |store| self.reader.on(store).get_many(keys).await)
    }
}

/// Reads a view's past; see [`store::AsOf`](store::AsOf).
#[derive(Clone)]
pub struct AsOf {
    pub(super) store: FeatureStore,
    pub(super) as_of: store::AsOf,
}

impl AsOf {
    /// By when a value must have become known.
    #[must_use]
    pub fn known_at(self, known_at: KnownAt) -> Self {
        Self { as_of: self.as_of.known_at(known_at), ..self }
    }

    /// Reads text in a batch of entities as values of their columns' types; see
    /// [`store::AsOf::parsing_text`](store::AsOf::parsing_text).
    #[must_use]
    pub fn parsing_text(self) -> Self {
        Self { as_of: self.as_of.parsing_text(), ..self }
    }

    /// The features of `key` as they were known at `at`.
    ///
    /// # Errors
    /// As [`store::AsOf::get`](store::AsOf::get).
    pub fn get(&self, key: impl Into<Key>, at: Timestamp) -> Result<Features, Error> {
        self.store.run(async |store| self.as_of.on(store).get(key, at).await)
    }

    /// The features of each entity as they were known at its time.
    ///
    /// # Errors
    /// As [`store::AsOf::join`](store::AsOf::join).
    pub fn join(&self, entities: &[(Key, Timestamp)]) -> Result<FeatureSet, Error> {
        self.store.run(async |store| self.as_of.on(store).join(entities).await)
    }

    /// As [`join`](Self::join), of any number of entities, whose features go to `each` in sets.
    ///
    /// # Errors
    /// As [`store::AsOf::join_all`](store::AsOf::join_all).
    pub fn join_all<E: From<Error>>(
        &self,
        entities: impl IntoIterator<Item = (Key, Timestamp)>,
        mut each: impl FnMut(FeatureSet) -> Result<(), E>,
    ) -> Result<(), E> {
        // Between two sets nothing runs, so that `each` may use this store.
        for some in crate::store::asof::sets(entities) {
            each(self.join(&some)?)?;
        }
        Ok(())
    }

    /// As [`join`](Self::join), of a batch.
    ///
    /// # Errors
    /// As [`store::AsOf::join_batch`](store::AsOf::join_batch).
    pub fn join_batch(&self, entities: &Batch<'_>) -> Result<FeatureSet, Error> {
        self.store.run(async |store| self.as_of.on(store).join_batch(entities).await)
    }
}

/// Writes a view; see [`store::Writer`](store::Writer).
#[derive(Clone)]
pub struct Writer {
    pub(super) store: FeatureStore,
    pub(super) writer: store::Writer,
}

impl Writer {
    /// The view that is written.
    pub fn view(&self) -> &View {
        self.writer.view()
    }

    /// Writes records in one transaction.
    ///
    /// # Errors
    /// As [`store::Writer::upsert`](store::Writer::upsert).
    pub fn upsert(&self, records: &[Record], options: WriteOptions) -> Result<Upserted, Error> {
        self.store.run(async |store| self.writer.on(store).upsert_with(records, options).await)
    }

    /// Writes a batch in one transaction.
    ///
    /// # Errors
    /// As [`store::Writer::upsert_batch`](store::Writer::upsert_batch).
    pub fn upsert_batch(&self, batch: &Batch<'_>, options: WriteOptions) -> Result<Upserted, Error> {
        self.store.run(async |store| self.writer.on(store).upsert_batch(batch, options).await)
    }
}
