//! Reading the online table: one key, or many in the caller's order.
//!
//! In flow keys; out flow [`Features`] or a [`FeatureSet`]. The statements are made once, with the [`Reader`]: a call encodes its
//! keys, asks once, and puts the rows back into the caller's order here, which is quicker than asking the server for an order.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::BytesMut;
use tokio_postgres::types::{ToSql, Type as PgType};

use crate::input::Cell;

use super::FeatureStore;
use super::ddl::{identifier, key_list};
use super::error::{Error, ErrorKind};
use super::features::{self, FeatureColumn, FeatureSet, Features, Status};
use super::pool::Query;
use super::value::{Key, Timestamp, Type};
use super::view::View;
use super::wire::{self, Encoded};

/// How many distinct keys one statement asks for.
const KEYS_A_STATEMENT: usize = 10_000;

/// Reads a view, or some of its features. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(crate) store: FeatureStore,
    pub(crate) view: View,
    /// The features that are read, in order.
    pub(crate) features: std::sync::Arc<[(String, Type)]>,
    one: std::sync::Arc<Query>,
    many: std::sync::Arc<Query>,
    /// What the cache needs: the view's fingerprint, and where each feature stands among the view's, from 1.
    #[cfg(feature = "cache")]
    fingerprint: std::sync::Arc<str>,
    #[cfg(feature = "cache")]
    places: std::sync::Arc<[u32]>,
}

/// Where each of some distinct keys stands.
type Places<'k> = HashMap<&'k [u8], usize>;

/// Who may be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Server {
    /// The primary, or a replica that is not too far behind.
    Any,
    /// The primary alone: what is kept must not be older than the last change that was heard of.
    #[cfg(feature = "cache")]
    Primary,
}

/// A row of an answer, or of the cache.
pub(crate) enum StoredRow {
    Wire(tokio_postgres::Row),
    #[cfg(feature = "cache")]
    Kept {
        kept: std::sync::Arc<super::cache::Kept>,
        /// Where each feature of the reader stands in the row.
        places: std::sync::Arc<[u32]>,
        /// The column of the event time.
        first: usize,
    },
}

impl wire::Cells for StoredRow {
    fn cell(&self, index: usize) -> Result<Option<&[u8]>, Error> {
        match self {
            StoredRow::Wire(row) => row.cell(index),
            #[cfg(feature = "cache")]
            StoredRow::Kept { kept, places, first } => Ok(match index.checked_sub(*first) {
                Some(0) => kept.cell(0),
                Some(feature) => places.get(feature - 1).and_then(|place| kept.cell(*place as usize)),
                None => None,
            }),
        }
    }
}

impl FeatureStore {
    /// Reads all features of `view`.
    pub fn reader(&self, view: &View) -> Reader {
        let features = view.features().iter().map(|feature| (feature.name.clone(), feature.ty)).collect();
        Reader::new(self, view, features)
    }

    /// Reads the features of `view` called `names`, in that order.
    ///
    /// # Errors
    /// If the view has no feature of such a name.
    pub fn reader_of<'n>(
        &self,
        view: &View,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Reader, Error> {
        let features = names.into_iter().map(|name| {
            let feature = view.features().iter().find(|feature| feature.name == name);
            feature.map(|feature| (feature.name.clone(), feature.ty)).ok_or_else(|| {
                let what = format!("there is no feature {name:?}");
                Error::from(ErrorKind::View { view: view.name().to_owned(), what })
            })
        });
        Ok(Reader::new(self, view, features.collect::<Result<Vec<_>, _>>()?))
    }
}

impl Reader {
    fn new(store: &FeatureStore, view: &View, features: Vec<(String, Type)>) -> Self {
        let column =
            |(name, ty): &(String, Type)| format!(", {}", ty.read(format!("t.{}", identifier(name))));
        let columns: String = features.iter().map(column).collect();
        let mut answer = vec![(String::from("event_ts"), PgType::TIMESTAMPTZ)];
        answer.extend(features.iter().map(|(name, ty)| (name.clone(), ty.pg())));
        let table = store.table(view);
        let one = Query {
            view: view.table(),
            sql: one(store, view, &features, |place| format!("${place}")),
            parameters: view.keys().iter().map(|key| key.ty.pg()).collect(),
            columns: answer.clone(),
        };
        let keys: String = view.keys().iter().map(|key| format!("t.{}, ", identifier(&key.name))).collect();
        let source = match view.keys() {
            [key] => format!("{table} t WHERE t.{} = ANY($1)", identifier(&key.name)),
            several => {
                let lists: Vec<_> = several
                    .iter()
                    .zip(1..)
                    .map(|(key, place)| format!("${place}::{}[]", key.ty.sql()))
                    .collect();
                let names = key_list(view);
                format!("unnest({}) AS k({names}) JOIN {table} t USING ({names})", lists.join(", "))
            }
        };
        let mut columns_of_many: Vec<_> =
            view.keys().iter().map(|key| (key.name.clone(), key.ty.pg())).collect();
        columns_of_many.extend(answer);
        let many = Query {
            view: view.table(),
            sql: format!("SELECT {keys}t.event_ts{columns} FROM {source}"),
            parameters: view.keys().iter().map(|key| key.ty.pg_array()).collect(),
            columns: columns_of_many,
        };
        #[cfg(feature = "cache")]
        let place = |name: &str| view.features().iter().position(|feature| feature.name == *name);
        Self {
            store: store.clone(),
            view: view.clone(),
            #[cfg(feature = "cache")]
            fingerprint: view.fingerprint().into(),
            #[cfg(feature = "cache")]
            places: features
                .iter()
                .map(|(name, _)| place(name).map_or(0, |place| place as u32 + 1))
                .collect(),
            features: features.into(),
            one: one.into(),
            many: many.into(),
        }
    }

    /// The view that is read.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The features of one key.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// If the key does not fit the view's key columns, the tables are not the view's, or the store fails.
    pub async fn get(&self, key: impl Into<Key>) -> Result<Features, Error> {
        let row = self.row(&key.into()).await?;
        features::one(&self.features, row.as_ref(), 0, self.view.ttl())
    }

    /// The features of many keys, in their order; a key may stand twice.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_many<K: Into<Key>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<FeatureSet, Error> {
        let keys: Vec<Key> = keys.into_iter().map(Into::into).collect();
        let found = self.rows(&keys).await?;
        let (now, ttl) = (Timestamp::now(), self.view.ttl());
        let status =
            |event: Option<Timestamp>| event.map_or(Status::Missing, |event| Status::of(event, now, ttl));
        let status = found.event_ts()?.into_iter().map(status).collect();
        self.feature_set(&found, status, |_| true)
    }

    /// The statement that reads the key whose columns are what `key` says of each, from 1.
    pub(crate) fn statement(&self, key: impl Fn(usize) -> String) -> String {
        one(&self.store, &self.view, &self.features, key)
    }

    /// Prepares the statements on a connection, which checks the answer's types against the view.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        self.store.pool().check(&[&self.one, &self.many]).await
    }

    /// The same reader on another store of the same tables.
    pub(crate) fn on(&self, store: &FeatureStore) -> Self {
        Self { store: store.clone(), ..self.clone() }
    }

    /// The rows by column; a row that is not `usable` has missing cells.
    pub(crate) fn feature_set(
        &self,
        found: &FoundRows,
        status: Vec<Status>,
        usable: impl Fn(usize) -> bool,
    ) -> Result<FeatureSet, Error> {
        let mut set = self.empty_set(status.len());
        self.append(&mut set, found, status, usable)?;
        Ok(set)
    }

    /// A set of this reader's features without rows, with room for some.
    pub(crate) fn empty_set(&self, rows: usize) -> FeatureSet {
        let column = |(name, ty): &(String, Type)| FeatureColumn::with_capacity(name.clone(), *ty, rows);
        let columns = self.features.iter().map(column).collect();
        FeatureSet { status: Vec::with_capacity(rows), event_ts: Vec::with_capacity(rows), columns }
    }

    /// Appends rows to a set; a row that is not `usable` has missing cells.
    pub(crate) fn append(
        &self,
        set: &mut FeatureSet,
        found: &FoundRows,
        status: Vec<Status>,
        usable: impl Fn(usize) -> bool,
    ) -> Result<(), Error> {
        let start = set.len();
        for (column, index) in set.columns.iter_mut().zip(found.first + 1..) {
            let cells = found.iter().enumerate().map(|(place, row)| {
                row.filter(|_| usable(place)).map_or(Ok(None), |row| wire::cell(row, index))
            });
            column.extend(start, cells)?;
        }
        set.status.extend(status);
        set.event_ts.extend(found.event_ts()?);
        Ok(())
    }

    /// Feature `index` of a row of [`row`](Self::row), as a cell of a model's row.
    pub(crate) fn feature_cell<'r>(&self, row: &'r StoredRow, index: usize) -> Result<Cell<'r>, Error> {
        match wire::cell(row, index + 1)? {
            Some(bytes) => wire::as_cell(self.features[index].1, bytes),
            None => Ok(Cell::Missing),
        }
    }

    /// The row of one key: its event time, then the features.
    pub(crate) async fn row(&self, key: &Key) -> Result<Option<StoredRow>, Error> {
        let key = EncodedKey::new(&self.view, key)?;
        #[cfg(feature = "cache")]
        if let Some(cache) = self.store.cache() {
            match Box::pin(cache.row(self, &key)).await {
                Ok(row) => return Ok(row),
                Err(Some(error)) => return Err(error),
                // The cache may not be asked now.
                Err(None) => {}
            }
        }
        Ok(self.fetch_one(&key, Server::Any).await?.map(StoredRow::Wire))
    }

    /// The row of one key from a server.
    pub(crate) async fn fetch_one(
        &self,
        key: &EncodedKey,
        server: Server,
    ) -> Result<Option<tokio_postgres::Row>, Error> {
        if let [_] = self.view.keys() {
            let field = Encoded(key.fields().next());
            return Ok(self.ask(&self.one, &[&field], server).await?.pop());
        }
        let fields: Vec<_> = key.fields().map(|field| Encoded(Some(field))).collect();
        let parameters: Vec<_> = fields.iter().map(|field| field as &(dyn ToSql + Sync)).collect();
        Ok(self.ask(&self.one, &parameters, server).await?.pop())
    }

    async fn ask(
        &self,
        query: &Query,
        parameters: &[&(dyn ToSql + Sync)],
        server: Server,
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        match server {
            Server::Any => self.store.read_near(query, parameters).await,
            #[cfg(feature = "cache")]
            Server::Primary => self.store.pool().read(query, parameters).await,
        }
    }

    /// The view's fingerprint.
    #[cfg(feature = "cache")]
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Where each feature stands among the view's, from 1.
    #[cfg(feature = "cache")]
    pub(crate) fn places(&self) -> &std::sync::Arc<[u32]> {
        &self.places
    }

    /// The row of each key: the key's columns, its event time, then the features.
    pub(crate) async fn rows(&self, keys: &[Key]) -> Result<FoundRows, Error> {
        let mut scratch = BytesMut::new();
        let encoded = keys.iter().map(|key| EncodedKey::encode(&self.view, key, &mut scratch));
        let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
        let mut places = Places::with_capacity(encoded.len());
        let place_of_key = encoded.iter().map(|key| {
            let next = places.len();
            *places.entry(&key.0).or_insert(next)
        });
        let place_of_key: Vec<usize> = place_of_key.collect();
        let distinct = if places.len() == encoded.len() {
            Cow::Borrowed(encoded.as_slice())
        } else {
            // A key's place is the next one where it stands for the first time.
            let mut distinct: Vec<EncodedKey> = Vec::with_capacity(places.len());
            for (key, place) in encoded.iter().zip(&place_of_key) {
                if *place == distinct.len() {
                    distinct.push(key.clone());
                }
            }
            Cow::Owned(distinct)
        };
        let found = self.found(&distinct, &places).await?;
        let mut row_of_place = vec![None; distinct.len()];
        let mut rows = Vec::with_capacity(distinct.len());
        for (place, row) in found.into_iter().enumerate() {
            if let Some(row) = row {
                row_of_place[place] = Some(rows.len());
                rows.push(row);
            }
        }
        let row_of_key = place_of_key.into_iter().map(|place| row_of_place[place]).collect();
        Ok(FoundRows { rows, row_of_key, first: self.view.keys().len() })
    }

    /// The row of each of some distinct keys, which stand at `places`.
    async fn found(&self, keys: &[EncodedKey], places: &Places<'_>) -> Result<Vec<Option<StoredRow>>, Error> {
        #[cfg(feature = "cache")]
        if let Some(cache) = self.store.cache() {
            match Box::pin(cache.rows(self, keys)).await {
                Ok(rows) => return Ok(rows),
                Err(Some(error)) => return Err(error),
                // The cache may not be asked now.
                Err(None) => {}
            }
        }
        Ok(self
            .fetch(keys, places, Server::Any)
            .await?
            .into_iter()
            .map(|row| row.map(StoredRow::Wire))
            .collect())
    }

    /// The row of each of some distinct keys from a server.
    #[cfg(feature = "cache")]
    pub(crate) async fn fetch_many(
        &self,
        keys: &[EncodedKey],
        server: Server,
    ) -> Result<Vec<Option<tokio_postgres::Row>>, Error> {
        self.fetch(keys, &keys.iter().map(|key| &*key.0).zip(0..).collect(), server).await
    }

    /// As [`fetch_many`](Self::fetch_many), of keys that stand at `places`.
    async fn fetch(
        &self,
        keys: &[EncodedKey],
        places: &Places<'_>,
        server: Server,
    ) -> Result<Vec<Option<tokio_postgres::Row>>, Error> {
        let mut found: Vec<_> = keys.iter().map(|_| None).collect();
        let mut scratch = Vec::new();
        for some in keys.chunks(KEYS_A_STATEMENT) {
            let lists = key_lists(&self.view, some);
            let lists: Vec<_> = lists.iter().map(|list| Encoded(Some(list))).collect();
            let parameters: Vec<_> = lists.iter().map(|list| list as &(dyn ToSql + Sync)).collect();
            for row in self.ask(&self.many, &parameters, server).await? {
                scratch.clear();
                for index in 0..self.view.keys().len() {
                    EncodedKey::push_field(&mut scratch, wire::cell(&row, index)?.unwrap_or_default());
                }
                if let Some(&place) = places.get(scratch.as_slice()) {
                    found[place] = Some(row);
                }
            }
        }
        Ok(found)
    }
}

/// The statement that reads one key: its event time, then the features.
fn one(
    store: &FeatureStore,
    view: &View,
    features: &[(String, Type)],
    key: impl Fn(usize) -> String,
) -> String {
    let columns =
        features.iter().map(|(name, ty)| format!(", {}", ty.read(format!("t.{}", identifier(name)))));
    let columns: String = columns.collect();
    let same = view.keys().iter().zip(1..);
    let same: Vec<_> =
        same.map(|(column, place)| format!("t.{} = {}", identifier(&column.name), key(place))).collect();
    format!("SELECT t.event_ts{columns} FROM {} t WHERE {}", store.table(view), same.join(" AND "))
}

/// One array a key column.
pub(crate) fn key_lists(view: &View, keys: &[EncodedKey]) -> Vec<BytesMut> {
    let count = i32::try_from(keys.len()).expect("a statement has fewer keys");
    let lists = view.keys().iter().enumerate().map(|(index, column)| {
        let mut list = BytesMut::with_capacity(20 + 12 * keys.len());
        wire::begin_array(column.ty, count, &mut list);
        for key in keys {
            list.extend_from_slice(key.field_with_length(index));
        }
        list
    });
    lists.collect()
}

/// The rows of an answer, in the order of the keys.
pub(crate) struct FoundRows {
    pub(crate) rows: Vec<StoredRow>,
    pub(crate) row_of_key: Vec<Option<usize>>,
    /// The column of the event time; the features follow.
    pub(crate) first: usize,
}

impl FoundRows {
    /// The event time of each key's row.
    pub(crate) fn event_ts(&self) -> Result<Vec<Option<Timestamp>>, Error> {
        self.iter().map(|row| row.map(|row| features::event_ts(row, self.first)).transpose()).collect()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Option<&StoredRow>> {
        self.row_of_key.iter().map(|row| row.map(|row| &self.rows[row]))
    }
}

/// A key in the wire's form: each field after its length, so that `(1, 23)` and `(12, 3)` are different bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EncodedKey(Box<[u8]>);

impl EncodedKey {
    pub(crate) fn new(view: &View, key: &Key) -> Result<Self, Error> {
        // As long as numbers are, which then stay where they are.
        let mut bytes = BytesMut::with_capacity(12 * view.keys().len());
        Self::fields_of(view, key, &mut bytes)?;
        Ok(Self(Vec::from(bytes).into()))
    }

    /// As [`new`](Self::new), with memory to work in.
    fn encode(view: &View, key: &Key, bytes: &mut BytesMut) -> Result<Self, Error> {
        bytes.clear();
        Self::fields_of(view, key, bytes)?;
        Ok(Self(bytes.as_ref().into()))
    }

    /// Appends the key's fields.
    fn fields_of(view: &View, key: &Key, bytes: &mut BytesMut) -> Result<(), Error> {
        let columns = view.keys();
        if key.0.len() != columns.len() {
            return Err(ErrorKind::Key {
                column: view.name().to_owned(),
                expected: format!("{} values", columns.len()),
                found: key.0.len().to_string(),
            }
            .into());
        }
        for (column, value) in columns.iter().zip(&key.0) {
            let refuse = |found: &str| {
                Error::from(ErrorKind::Key {
                    column: column.name.clone(),
                    expected: column.ty.to_string(),
                    found: found.to_owned(),
                })
            };
            if *value == super::value::Value::Null {
                return Err(refuse(value.kind()));
            }
            wire::encode_field(value, column.ty, bytes).map_err(|mismatch| refuse(mismatch.found))?;
        }
        Ok(())
    }

    /// From the wire's form, as the cache names keys.
    #[cfg(feature = "cache")]
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    #[cfg(feature = "cache")]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn push_field(key: &mut Vec<u8>, field: &[u8]) {
        key.extend_from_slice(&(field.len() as i32).to_be_bytes());
        key.extend_from_slice(field);
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (field, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            rest = after;
            Some(field)
        })
    }

    fn field_with_length(&self, index: usize) -> &[u8] {
        let mut rest = &*self.0;
        for _ in 0..index {
            rest = &rest[length_of_first(rest)..];
        }
        &rest[..length_of_first(rest)]
    }
}

fn length_of_first(fields: &[u8]) -> usize {
    let length = fields.first_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length));
    4 + length as usize
}

impl std::borrow::Borrow<[u8]> for EncodedKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}
