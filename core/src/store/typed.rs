//! Rows of a view as Rust structs: the store by type, checked when the program is compiled.
//!
//! In flow structs with `#[derive(FeatureRow)]`; out flow the same, each with its status. What a struct says is a [`View`] like any
//! other: its tables, statements and promises are the untyped store's.

use std::marker::PhantomData;

use super::asof::{AsOf, KnownAt};
use super::cells::Record;
use super::error::{Error, ErrorKind};
use super::features::{FeatureSet, Status};
use super::read::Reader;
use super::value::{Date, Item, Key, Timestamp, Type, Value};
use super::view::View;
use super::write::{Upserted, WriteOptions, Writer};
use super::{FeatureStore, Load};

/// A row of a view. To be derived:
///
/// ```no_run
/// use cenote::store::{FeatureRow, FeatureStore, Timestamp};
///
/// #[derive(FeatureRow, Debug, Clone)]
/// #[row(view = "customer_stats", version = 2, ttl = "30d", history)]
/// struct CustomerStats {
///     #[row(key)]
///     customer_id: i64,
///     #[row(event_ts)]
///     at: Timestamp,
///     age: Option<f64>,
///     #[row(category("retail", "business"))]
///     segment: Option<Box<str>>,
/// }
///
/// # async fn example(store: FeatureStore) -> Result<(), cenote::store::Error> {
/// let stats = store.typed::<CustomerStats>()?;
/// stats.apply().await?;
/// let row = CustomerStats { customer_id: 7, at: Timestamp::now(), age: Some(41.5), segment: None };
/// stats.upsert(vec![row]).await?;
/// let found = stats.get(&7).await?;
/// assert!(found.status.is_fresh());
/// println!("{:?}", found.row);
/// # Ok(())
/// # }
/// ```
///
/// A feature whose field is an `Option` may be missing. One whose field is not is refused where it is read and missing: an error
/// names it.
pub trait FeatureRow: Sized {
    /// The key: of one key column its type, of several a tuple.
    type Key: Clone;

    /// The view that the struct is a row of.
    ///
    /// # Errors
    /// If the view contradicts itself, as in [`ViewBuilder::build`](super::ViewBuilder::build).
    fn view() -> Result<View, Error>;

    /// A key as the untyped store takes it.
    fn key(key: &Self::Key) -> Key;

    /// The row as the untyped store writes it.
    fn into_record(self) -> Record;

    /// The row from what was read.
    ///
    /// # Errors
    /// The name of a feature that is missing though its field is no `Option`.
    fn from_values(key: &Self::Key, event_ts: Timestamp, values: Vec<Value>) -> Result<Self, &'static str>;
}

/// A Rust type that a column may have.
pub trait FeatureType: Sized {
    /// The column's type.
    const TYPE: Type;

    /// The value of a cell.
    fn into_value(self) -> Value;

    /// From the value of a cell; `None` if it is of another type, or missing and this is no `Option`.
    fn from_value(value: Value) -> Option<Self>;
}

impl<T: FeatureType> FeatureType for Option<T> {
    const TYPE: Type = T::TYPE;

    fn into_value(self) -> Value {
        self.map_or(Value::Null, T::into_value)
    }

    fn from_value(value: Value) -> Option<Self> {
        if value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

macro_rules! feature_type {
    ($($rust:ty: $ty:expr, $($pattern:pat => $value:expr),+;)+) => {$(
        impl FeatureType for $rust {
            const TYPE: Type = $ty;

            fn into_value(self) -> Value {
                self.into()
            }

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    $($pattern => $value,)+
                    _ => None,
                }
            }
        }
    )+};
}
feature_type! {
    bool: Type::Bool, Value::Bool(value) => Some(value);
    i16: Type::I16, Value::Int(value) => value.try_into().ok();
    i32: Type::I32, Value::Int(value) => value.try_into().ok();
    i64: Type::I64, Value::Int(value) => Some(value);
    f32: Type::F32, Value::Float(value) => Some(value as f32);
    f64: Type::F64, Value::Float(value) => Some(value);
    String: Type::Text, Value::Text(text) | Value::Numeric(text) | Value::Json(text) => Some(text.into());
    Box<str>: Type::Text, Value::Text(text) | Value::Numeric(text) | Value::Json(text) => Some(text);
    Timestamp: Type::Timestamp, Value::Timestamp(value) => Some(value);
    Date: Type::Date, Value::Date(value) => Some(value);
    [u8; 16]: Type::Uuid, Value::Uuid(value) => Some(value);
}

/// A Rust type that the items of a list may have.
pub trait ListItem: FeatureType {
    /// The item's type.
    const ITEM: Item;
}

macro_rules! list_item {
    ($($rust:ty => $item:ident),+) => {$(
        impl ListItem for $rust {
            const ITEM: Item = Item::$item;
        }
    )+};
}
list_item!(bool => Bool, i16 => I16, i32 => I32, i64 => I64, f32 => F32, f64 => F64, String => Text, Box<str> => Text);

impl<T: ListItem> ListItem for Option<T> {
    const ITEM: Item = T::ITEM;
}

impl<T: ListItem> FeatureType for Vec<T> {
    const TYPE: Type = Type::List(T::ITEM);

    fn into_value(self) -> Value {
        Value::List(self.into_iter().map(T::into_value).collect())
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::List(items) => items.into_iter().map(T::from_value).collect(),
            _ => None,
        }
    }
}

/// What the store knows of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<T> {
    /// What the store knows of the key.
    pub status: Status,
    /// The row, if there is one; also where it is stale.
    pub row: Option<T>,
}

/// A view by the type of its rows. Made by [`FeatureStore::typed`]; cheap to clone.
pub struct TypedView<T> {
    reader: Reader,
    writer: Writer,
    rows: PhantomData<fn() -> T>,
}

/// A view's past by the type of its rows. Made by [`TypedView::as_of`].
pub struct TypedAsOf<T> {
    past: AsOf,
    rows: PhantomData<fn() -> T>,
}

impl<T> Clone for TypedView<T> {
    fn clone(&self) -> Self {
        Self { reader: self.reader.clone(), writer: self.writer.clone(), rows: PhantomData }
    }
}

impl FeatureStore {
    /// The view of `T`: make it once, its statements are made with it.
    ///
    /// # Errors
    /// If the view contradicts itself.
    pub fn typed<T: FeatureRow>(&self) -> Result<TypedView<T>, Error> {
        let view = T::view()?;
        Ok(TypedView { reader: self.reader(&view), writer: self.writer(&view), rows: PhantomData })
    }

    /// The row of one key: [`TypedView::get`], the statements made for this call.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// As [`TypedView::get`].
    pub async fn get<T: FeatureRow>(&self, key: &T::Key) -> Result<Found<T>, Error> {
        self.typed::<T>()?.get(key).await
    }
}

impl<T: FeatureRow> TypedView<T> {
    /// The same on another store of the same tables.
    pub(crate) fn on(&self, store: &FeatureStore) -> Self {
        Self { reader: self.reader.on(store), writer: self.writer.on(store), rows: PhantomData }
    }

    /// The view.
    pub fn view(&self) -> &View {
        self.reader.view()
    }

    /// Makes the view's tables.
    ///
    /// Dropping the future rolls everything back.
    ///
    /// # Errors
    /// As [`FeatureStore::apply`].
    pub async fn apply(&self) -> Result<(), Error> {
        self.writer.store().apply(self.view()).await
    }

    /// Compares the catalogue with the type.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// `SchemaDrift` that lists every difference.
    pub async fn verify(&self) -> Result<(), Error> {
        self.writer.store().verify(self.view()).await
    }

    /// The row of one key.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// As [`Reader::get`], or if a feature is missing whose field is no `Option`.
    pub async fn get(&self, key: &T::Key) -> Result<Found<T>, Error> {
        let found = self.reader.get(T::key(key)).await?;
        row(self.view(), key, found.status, found.event_ts, found.values)
    }

    /// The rows of many keys, in their order; a key may stand twice.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_many(&self, keys: &[T::Key]) -> Result<Vec<Found<T>>, Error> {
        let set = self.reader.get_many(keys.iter().map(T::key)).await?;
        rows(self.view(), keys.iter(), &set)
    }

    /// Writes rows in one transaction; of a key's rows the newest wins.
    ///
    /// Dropping the future: as [`Writer::upsert`].
    ///
    /// # Errors
    /// As [`Writer::upsert`].
    pub async fn upsert(&self, rows: Vec<T>) -> Result<Upserted, Error> {
        self.upsert_with(rows, WriteOptions::default()).await
    }

    /// Writes rows in one transaction, as told.
    ///
    /// # Errors
    /// As [`Writer::upsert_with`].
    pub async fn upsert_with(&self, rows: Vec<T>, options: WriteOptions) -> Result<Upserted, Error> {
        let records: Vec<_> = rows.into_iter().map(T::into_record).collect();
        self.writer.upsert_with(&records, options).await
    }

    /// Writes rows as they come, some tens of thousands a transaction.
    ///
    /// # Errors
    /// As [`Writer::upsert_all`].
    pub async fn upsert_all(
        &self,
        rows: impl IntoIterator<Item = T>,
        options: WriteOptions,
    ) -> Result<Upserted, Error> {
        self.writer.upsert_all(rows.into_iter().map(T::into_record), options).await
    }

    /// Begins the load called `name`, or goes on with it; its records are [`FeatureRow::into_record`]'s.
    ///
    /// # Errors
    /// As [`Writer::load`].
    pub async fn load(&self, name: &str, options: WriteOptions) -> Result<Load, Error> {
        self.writer.load(name, options).await
    }

    /// Reads the past.
    ///
    /// # Errors
    /// If the view keeps no history.
    pub fn as_of(&self) -> Result<TypedAsOf<T>, Error> {
        Ok(TypedAsOf { past: self.reader.as_of()?, rows: PhantomData })
    }
}

impl<T: FeatureRow> TypedAsOf<T> {
    /// The same on another store of the same tables.
    pub(crate) fn on(&self, store: &FeatureStore) -> Self {
        Self { past: self.past.on(store), rows: PhantomData }
    }

    /// By when a value must have become known.
    #[must_use]
    pub fn known_at(self, known_at: KnownAt) -> Self {
        Self { past: self.past.known_at(known_at), ..self }
    }

    /// The rows of entities as they were known at each one's time, in their order.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// As [`AsOf::join`], or if a feature is missing whose field is no `Option`.
    pub async fn join(&self, entities: &[(T::Key, Timestamp)]) -> Result<Vec<Found<T>>, Error> {
        let set = self.join_set(entities).await?;
        rows(self.past.view(), entities.iter().map(|(key, _)| key), &set)
    }

    /// As [`join`](Self::join), by column.
    ///
    /// # Errors
    /// As [`AsOf::join`].
    pub async fn join_set(&self, entities: &[(T::Key, Timestamp)]) -> Result<FeatureSet, Error> {
        let entities: Vec<_> = entities.iter().map(|(key, at)| (T::key(key), *at)).collect();
        self.past.join(&entities).await
    }
}

fn rows<'k, T: FeatureRow>(
    view: &View,
    keys: impl Iterator<Item = &'k T::Key>,
    set: &FeatureSet,
) -> Result<Vec<Found<T>>, Error>
where
    T::Key: 'k,
{
    let found = keys.enumerate().map(|(place, key)| {
        let values = set.columns.iter().map(|column| column.value(place)).collect();
        row(view, key, set.status[place], set.event_ts[place], values)
    });
    found.collect()
}

fn row<T: FeatureRow>(
    view: &View,
    key: &T::Key,
    status: Status,
    event_ts: Option<Timestamp>,
    values: Vec<Value>,
) -> Result<Found<T>, Error> {
    let row = event_ts.map(|event_ts| T::from_values(key, event_ts, values)).transpose();
    let row = row.map_err(|name| {
        let what = format!("feature {name:?} has no value that its field can hold");
        Error::from(ErrorKind::View { view: view.name().to_owned(), what })
    })?;
    Ok(Found { status, row })
}
