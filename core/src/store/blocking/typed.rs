//! The blocking twins of a view by the type of its rows.

use super::FeatureStore;
use crate::store::{
    self, Error, FeatureRow, FeatureSet, Found, KnownAt, Load, Timestamp, Upserted, View, WriteOptions,
};

/// A view by the type of its rows; see [`store::TypedView`].
pub struct TypedView<T> {
    store: FeatureStore,
    typed: store::TypedView<T>,
}

/// A view's past by the type of its rows; see [`store::TypedAsOf`].
pub struct TypedAsOf<T> {
    store: FeatureStore,
    past: store::TypedAsOf<T>,
}

impl<T> Clone for TypedView<T> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), typed: self.typed.clone() }
    }
}

impl FeatureStore {
    /// The view of `T`: make it once, its statements are made with it.
    ///
    /// ```no_run
    /// use cenote::store::{FeatureRow, Timestamp, blocking::FeatureStore};
    ///
    /// #[derive(FeatureRow)]
    /// #[row(view = "customer_stats")]
    /// struct CustomerStats {
    ///     #[row(key)]
    ///     customer_id: i64,
    ///     #[row(event_ts)]
    ///     at: Timestamp,
    ///     age: Option<f64>,
    /// }
    ///
    /// let store = FeatureStore::connect("postgres://app@localhost/features")?;
    /// let stats = store.typed::<CustomerStats>()?;
    /// let found = stats.get(&7)?;
    /// println!("{:?}", found.row.and_then(|row| row.age));
    /// # Ok::<(), cenote::store::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the view contradicts itself.
    pub fn typed<T: FeatureRow>(&self) -> Result<TypedView<T>, Error> {
        Ok(TypedView { store: self.clone(), typed: self.shared.template.typed()? })
    }

    /// The row of one key: [`TypedView::get`], the statements made for this call.
    ///
    /// # Errors
    /// As [`TypedView::get`].
    pub fn get<T: FeatureRow>(&self, key: &T::Key) -> Result<Found<T>, Error> {
        self.typed::<T>()?.get(key)
    }
}

impl<T: FeatureRow> TypedView<T> {
    /// The view.
    pub fn view(&self) -> &View {
        self.typed.view()
    }

    /// Makes the view's tables.
    ///
    /// # Errors
    /// As [`store::TypedView::apply`].
    pub fn apply(&self) -> Result<(), Error> {
        self.store.apply(self.view())
    }

    /// Compares the catalogue with the type.
    ///
    /// # Errors
    /// `SchemaDrift` that lists every difference.
    pub fn verify(&self) -> Result<(), Error> {
        self.store.verify(self.view())
    }

    /// The row of one key.
    ///
    /// # Errors
    /// As [`store::TypedView::get`].
    pub fn get(&self, key: &T::Key) -> Result<Found<T>, Error> {
        self.store.run(async |store| self.typed.on(store).get(key).await)
    }

    /// The rows of many keys, in their order; a key may stand twice.
    ///
    /// # Errors
    /// As [`store::TypedView::get`].
    pub fn get_many(&self, keys: &[T::Key]) -> Result<Vec<Found<T>>, Error> {
        self.store.run(async |store| self.typed.on(store).get_many(keys).await)
    }

    /// Writes rows in one transaction; of a key's rows the newest wins.
    ///
    /// # Errors
    /// As [`store::Writer::upsert`].
    pub fn upsert(&self, rows: Vec<T>) -> Result<Upserted, Error> {
        self.upsert_with(rows, WriteOptions::default())
    }

    /// Writes rows in one transaction, as told.
    ///
    /// # Errors
    /// As [`store::Writer::upsert_with`].
    pub fn upsert_with(&self, rows: Vec<T>, options: WriteOptions) -> Result<Upserted, Error> {
        self.store.run(async |store| self.typed.on(store).upsert_with(rows, options).await)
    }

    /// Writes rows as they come, some tens of thousands a transaction.
    ///
    /// # Errors
    /// As [`store::Writer::upsert_all`].
    pub fn upsert_all(
        &self,
        rows: impl IntoIterator<Item = T>,
        options: WriteOptions,
    ) -> Result<Upserted, Error> {
        self.store.run(async |store| self.typed.on(store).upsert_all(rows, options).await)
    }

    /// Begins the load called `name`, or goes on with it; its records are [`FeatureRow::into_record`]'s.
    ///
    /// # Errors
    /// As [`store::Writer::load`].
    pub fn load(&self, name: &str, options: WriteOptions) -> Result<super::Load, Error> {
        let load: Load = self.store.run(async |store| self.typed.on(store).load(name, options).await)?;
        Ok(super::Load::new(&self.store, load))
    }

    /// Reads the past.
    ///
    /// # Errors
    /// If the view keeps no history.
    pub fn as_of(&self) -> Result<TypedAsOf<T>, Error> {
        Ok(TypedAsOf { store: self.store.clone(), past: self.typed.as_of()? })
    }
}

impl<T: FeatureRow> TypedAsOf<T> {
    /// By when a value must have become known.
    #[must_use]
    pub fn known_at(self, known_at: KnownAt) -> Self {
        Self { past: self.past.known_at(known_at), ..self }
    }

    /// The rows of entities as they were known at each one's time, in their order.
    ///
    /// # Errors
    /// As [`store::TypedAsOf::join`].
    pub fn join(&self, entities: &[(T::Key, Timestamp)]) -> Result<Vec<Found<T>>, Error> {
        self.store.run(async |store| self.past.on(store).join(entities).await)
    }

    /// As [`join`](Self::join), by column.
    ///
    /// # Errors
    /// As [`store::TypedAsOf::join_set`].
    pub fn join_set(&self, entities: &[(T::Key, Timestamp)]) -> Result<FeatureSet, Error> {
        self.store.run(async |store| self.past.on(store).join_set(entities).await)
    }
}
