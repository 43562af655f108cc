//! Reading the online table: one key, or many in the caller's order.
//!
//! In flow keys; out flow [`Features`] or a [`FeatureSet`]. The statements are made once, with the [`Reader`]: a call encodes its
//! keys, asks once, and puts the rows back into the caller's order here, which is quicker than asking the server for an order.

use std::borrow::Borrow;
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
            sql: one(store, view, &features, |place| format!("${place}")).into(),
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
            sql: format!("SELECT {keys}t.event_ts{columns} FROM {source}").into(),
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
        let found = self.rows(keys.into_iter().map(Into::into)).await?;
        let (now, ttl) = (Timestamp::now(), self.view.ttl());
        let status =
            |event: Option<Timestamp>| event.map_or(Status::Missing, |event| Status::of(event, now, ttl));
        Ok(self.feature_set(&found, found.event_ts().map(status), |_| true))
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

    /// The keys' rows, in the keys' order; a row that is not `usable` has missing cells.
    pub(crate) fn feature_set(
        &self,
        found: &FoundRows,
        status: impl IntoIterator<Item = Status>,
        usable: impl Fn(usize) -> bool,
    ) -> FeatureSet {
        let mut set = self.empty_set(found.row_of_key.len());
        set.extend_from(&found.rows, &found.row_of_key, status, usable);
        set
    }

    /// A set of this reader's features without rows, with room for some.
    pub(crate) fn empty_set(&self, rows: usize) -> FeatureSet {
        let column = |(name, ty): &(String, Type)| FeatureColumn::with_capacity(name.clone(), *ty, rows);
        let columns = self.features.iter().map(column).collect();
        FeatureSet { status: Vec::with_capacity(rows), event_ts: Vec::with_capacity(rows), columns }
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
        // As long as numbers are.
        let mut bytes = BytesMut::with_capacity(12 * self.view.keys().len());
        EncodedKey::fields_of(&self.view, key, &mut bytes)?;
        #[cfg(feature = "cache")]
        if let Some(cache) = self.store.cache() {
            let key = EncodedKey(bytes.as_ref().into());
            match Box::pin(cache.row(self, &key)).await {
                Ok(row) => return Ok(row),
                Err(Some(error)) => return Err(error),
                // The cache may not be asked now.
                Err(None) => {}
            }
        }
        Ok(self.fetch_one(&bytes, Server::Any).await?.map(StoredRow::Wire))
    }

    /// The row of one key from a server.
    pub(crate) async fn fetch_one(
        &self,
        key: &[u8],
        server: Server,
    ) -> Result<Option<tokio_postgres::Row>, Error> {
        if let [_] = self.view.keys() {
            let field = Encoded(fields(key).next());
            return self.ask_one(&[&field], server).await;
        }
        let fields: Vec<_> = fields(key).map(|field| Encoded(Some(field))).collect();
        let parameters: Vec<_> = fields.iter().map(|field| field as &(dyn ToSql + Sync)).collect();
        self.ask_one(&parameters, server).await
    }

    async fn ask_one(
        &self,
        parameters: &[&(dyn ToSql + Sync)],
        server: Server,
    ) -> Result<Option<tokio_postgres::Row>, Error> {
        let take = |found: &mut Option<tokio_postgres::Row>, row| {
            *found = Some(row);
            Ok(())
        };
        match server {
            Server::Any => self.store.read_near(&self.one, parameters, || None, take).await,
            #[cfg(feature = "cache")]
            Server::Primary => self.store.pool().read_into(&self.one, parameters, || None, take).await,
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

    /// The row of each key.
    pub(crate) async fn rows<K: Borrow<Key>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<FoundRows, Error> {
        let keys = keys.into_iter();
        // As long as numbers are, of as many as are said to come, within reason.
        let count = keys.size_hint().0.min(KEYS_A_STATEMENT);
        let (mut bytes, mut ends) = (BytesMut::with_capacity(12 * count), Vec::with_capacity(count));
        for key in keys {
            EncodedKey::fields_of(&self.view, key.borrow(), &mut bytes)?;
            ends.push(bytes.len());
        }
        let mut places = Places::with_capacity(ends.len());
        let mut distinct = Vec::with_capacity(ends.len());
        let mut start = 0;
        let mut place_of_key = ends;
        for end in &mut place_of_key {
            let key = &bytes[start..*end];
            start = *end;
            *end = *places.entry(key).or_insert_with(|| {
                distinct.push(key);
                distinct.len() - 1
            });
        }
        let mut found = self.found(&distinct, &places).await?;
        found.row_of_key = place_of_key.into_iter().map(|place| found.row_of_key[place]).collect();
        Ok(found)
    }

    /// The row of each of some distinct keys, which stand at `places`.
    async fn found(&self, keys: &[&[u8]], places: &Places<'_>) -> Result<FoundRows, Error> {
        #[cfg(feature = "cache")]
        if let Some(cache) = self.store.cache() {
            let encoded: Vec<_> = keys.iter().map(|key| EncodedKey((*key).into())).collect();
            match Box::pin(cache.rows(self, &encoded)).await {
                Ok(kept) => {
                    let mut found = FoundRows::new(self, keys.len(), keys.len());
                    for (place, row) in
                        kept.iter().enumerate().filter_map(|(place, row)| Some((place, row.as_ref()?)))
                    {
                        found.push(place, row, self.view.keys().len())?;
                    }
                    return Ok(found);
                }
                Err(Some(error)) => return Err(error),
                // The cache may not be asked now.
                Err(None) => {}
            }
        }
        let mut found: Option<FoundRows> = None;
        for some in keys.chunks(KEYS_A_STATEMENT) {
            let lists = key_lists(&self.view, some);
            let lists: Vec<_> = lists.iter().map(|list| Encoded(Some(list))).collect();
            let parameters: Vec<_> = lists.iter().map(|list| list as &(dyn ToSql + Sync)).collect();
            let begin = || (FoundRows::new(self, keys.len(), some.len()), Vec::new());
            // Each row goes into the columns as it comes.
            let take =
                |(found, scratch): &mut (FoundRows, Vec<u8>), row| match self.place(&row, places, scratch)? {
                    Some(place) => found.push(place, &row, self.view.keys().len()),
                    None => Ok(()),
                };
            let (part, _) = self.store.read_near(&self.many, &parameters, begin, take).await?;
            match &mut found {
                None => found = Some(part),
                Some(found) => found.append(&part),
            }
        }
        Ok(found.unwrap_or_else(|| FoundRows::new(self, 0, 0)))
    }

    /// The row of each of some distinct keys from the primary.
    #[cfg(feature = "cache")]
    pub(crate) async fn fetch_many(
        &self,
        keys: &[EncodedKey],
    ) -> Result<Vec<Option<tokio_postgres::Row>>, Error> {
        let places: Places<'_> = keys.iter().map(|key| &*key.0).zip(0..).collect();
        let mut found: Vec<_> = keys.iter().map(|_| None).collect();
        let mut scratch = Vec::new();
        for some in keys.chunks(KEYS_A_STATEMENT) {
            let lists = key_lists(&self.view, some);
            let lists: Vec<_> = lists.iter().map(|list| Encoded(Some(list))).collect();
            let parameters: Vec<_> = lists.iter().map(|list| list as &(dyn ToSql + Sync)).collect();
            for row in self.store.pool().read(&self.many, &parameters).await? {
                if let Some(place) = self.place(&row, &places, &mut scratch)? {
                    found[place] = Some(row);
                }
            }
        }
        Ok(found)
    }

    /// Whose row of the answer for many keys this is.
    fn place(
        &self,
        row: &tokio_postgres::Row,
        places: &Places<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<usize>, Error> {
        scratch.clear();
        for index in 0..self.view.keys().len() {
            EncodedKey::push_field(scratch, wire::cell(row, index)?.unwrap_or_default());
        }
        Ok(places.get(scratch.as_slice()).copied())
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
pub(crate) fn key_lists(view: &View, keys: &[impl Borrow<[u8]>]) -> Vec<BytesMut> {
    let count = i32::try_from(keys.len()).expect("a statement has fewer keys");
    let lists = view.keys().iter().enumerate().map(|(index, column)| {
        let mut list = BytesMut::with_capacity(20 + 12 * keys.len());
        wire::begin_array(column.ty, count, &mut list);
        for key in keys {
            list.extend_from_slice(field_with_length(key.borrow(), index));
        }
        list
    });
    lists.collect()
}

/// What there is of some keys: their rows by column, in the order in which they came, and which of them is each key's.
pub(crate) struct FoundRows {
    /// Without statuses.
    pub(crate) rows: FeatureSet,
    pub(crate) row_of_key: Vec<Option<usize>>,
}

impl FoundRows {
    /// No row yet of so many keys, with room for `rows`.
    pub(crate) fn new(reader: &Reader, keys: usize, rows: usize) -> Self {
        Self { rows: reader.empty_set(rows), row_of_key: vec![None; keys] }
    }

    /// Appends the row of the key at `place`: its event time in column `first`, then the features.
    pub(crate) fn push(&mut self, place: usize, row: &impl wire::Cells, first: usize) -> Result<(), Error> {
        self.row_of_key[place] = Some(self.rows.event_ts.len());
        self.rows.push_row(row, first)
    }

    /// Appends the rows of other keys among the same.
    fn append(&mut self, other: &Self) {
        let before = self.rows.event_ts.len();
        let all: Vec<_> = (0..other.rows.event_ts.len()).map(Some).collect();
        self.rows.extend_from(&other.rows, &all, [], |_| true);
        for (row, of) in self.row_of_key.iter_mut().zip(&other.row_of_key) {
            *row = row.or(of.map(|of| before + of));
        }
    }

    /// The event time of each key's row.
    pub(crate) fn event_ts(&self) -> impl ExactSizeIterator<Item = Option<Timestamp>> {
        self.row_of_key.iter().map(|row| row.and_then(|row| self.rows.event_ts[row]))
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
        fields(&self.0)
    }
}

/// The fields of a key in the wire's form.
fn fields(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = key;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (field, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        rest = after;
        Some(field)
    })
}

/// Field `index` of a key, after its length.
fn field_with_length(key: &[u8], index: usize) -> &[u8] {
    let mut rest = key;
    for _ in 0..index {
        rest = &rest[length_of_first(rest)..];
    }
    &rest[..length_of_first(rest)]
}

fn length_of_first(fields: &[u8]) -> usize {
    let length = fields.first_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length));
    4 + length as usize
}

impl Borrow<[u8]> for EncodedKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}
