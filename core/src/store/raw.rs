//! The documents that features are made from: JSON by key and event time, beside the view's tables.
//!
//! In flow [`Document`]s; out flow those of a key as they were known at a time, or those that contain something. The invariant is the
//! history's: nothing is overwritten. The same document again is kept once; another one of the same key and event time is a correction,
//! kept beside with the time at which it became known.

use std::collections::BTreeMap;

use bytes::BytesMut;
use tokio_postgres::types::{ToSql, Type as PgType};

use super::FeatureStore;
use super::asof::KnownAt;
use super::ddl::{self, identifier};
use super::error::{Error, ErrorKind, Step};
use super::merge::list;
use super::pool::{Deadline, Query};
use super::read::{EncodedKey, key_lists};
use super::value::{Key, Timestamp, Type, Value};
use super::view::View;
use super::wire::{self, Encoded, cell};

/// How many documents, and bytes of them, one statement takes.
const DOCUMENTS_A_STATEMENT: usize = 5_000;
const BYTES_A_STATEMENT: usize = 8 << 20;

/// One document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The entity that it is about.
    pub key: Key,
    /// When it held true.
    pub event_ts: Timestamp,
    /// When it became known. To be written: now, if not given; always given where it was read.
    pub written_at: Option<Timestamp>,
    /// Its JSON text. As it was read: as `jsonb` prints it, members sorted, the last of two of one name kept.
    pub json: Box<str>,
}

impl Document {
    /// A document of `key` that held true at `event_ts`, known from now on.
    pub fn new(key: impl Into<Key>, event_ts: Timestamp, json: impl Into<Box<str>>) -> Self {
        Self { key: key.into(), event_ts, written_at: None, json: json.into() }
    }
}

/// What became of documents that were put. The two add up to the documents given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Documents that are kept from now on.
    pub stored: u64,
    /// Documents that were known, or stood twice.
    pub known: u64,
}

/// The documents of a view. Cheap to clone.
#[derive(Clone)]
pub struct Raw {
    store: FeatureStore,
    view: View,
}

impl FeatureStore {
    /// The documents of `view`.
    ///
    /// # Errors
    /// If the view keeps none.
    pub fn raw(&self, view: &View) -> Result<Raw, Error> {
        if view.raw().is_none() {
            let what = "it keeps no raw documents".to_owned();
            return Err(ErrorKind::View { view: view.name().to_owned(), what }.into());
        }
        Ok(Raw { store: self.clone(), view: view.clone() })
    }
}

/// A document encoded: moment of the event, moment at which it became known, text.
type Content = (Vec<u8>, Option<Timestamp>, BytesMut);

impl Raw {
    /// The view whose documents these are.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The same on another store of the same tables.
    pub(crate) fn on(&self, store: &FeatureStore) -> Self {
        Self { store: store.clone(), ..self.clone() }
    }

    /// Keeps documents, in one transaction. The same again changes nothing; of two of one key and event time that came together
    /// the later is meant.
    ///
    /// Dropping the future rolls everything back, unless the commit is under way.
    ///
    /// # Errors
    /// If a key does not fit the view, a text is no JSON or a moment is out of range (its row is named, nothing is kept), or the
    /// store fails.
    pub async fn put(&self, documents: &[Document]) -> Result<Stored, Error> {
        let mut distinct = BTreeMap::new();
        for (row, document) in documents.iter().enumerate() {
            let (key, content) = self.encode(row, document)?;
            // In the order of keys, as all writes are.
            distinct.insert((key, content.0.clone(), document.written_at), content);
        }
        let rows: Vec<_> = distinct.into_iter().map(|((key, ..), content)| (key, content)).collect();
        if rows.is_empty() {
            return Ok(Stored::default());
        }
        let length = self.store.pool().deadlines().write;
        let sql = self.insert();
        let lease = self.store.pool().begin(Step::Write, length).await?;
        let outcome = async {
            let (mut stored, mut first) = (0, 0);
            while first < rows.len() {
                let mut bytes = 0;
                let some = rows[first..].iter().take(DOCUMENTS_A_STATEMENT).take_while(|(_, (.., json))| {
                    let fits = bytes < BYTES_A_STATEMENT;
                    bytes += json.len();
                    fits
                });
                let last = first + some.count();
                let (lists, types) = self.lists(&rows[first..last]);
                let lists: Vec<_> = lists.iter().map(|list| Encoded(Some(list))).collect();
                let parameters: Vec<(&(dyn ToSql + Sync), PgType)> =
                    lists.iter().map(|list| list as &(dyn ToSql + Sync)).zip(types).collect();
                let answer = lease.client().execute_typed(&sql, &parameters);
                stored += lease.during(Step::Write, Deadline::after(length), answer).await?;
                first = last;
            }
            Ok(Stored { stored, known: documents.len() as u64 - stored })
        }
        .await;
        lease.end(Step::Write, Deadline::after(length), outcome).await
    }

    fn encode(&self, row: usize, document: &Document) -> Result<(EncodedKey, Content), Error> {
        let misfit = |column: &str, expected: Type, found: &str| {
            let (column, expected, found) = (column.to_owned(), expected.to_string(), found.to_owned());
            Error::from(ErrorKind::Cell { row, column, expected, found })
        };
        let key = EncodedKey::new(&self.view, &document.key).map_err(|error| match error.kind() {
            ErrorKind::Key { column, expected, found } => {
                let (column, expected, found) = (column.clone(), expected.clone(), found.clone());
                ErrorKind::Cell { row, column, expected, found }.into()
            }
            _ => error,
        })?;
        let (mut event, mut json) = (BytesMut::new(), BytesMut::new());
        for (moment, column) in [(Some(document.event_ts), "event_ts"), (document.written_at, "written_at")] {
            let Some(moment) = moment else { continue };
            let mut bytes = BytesMut::new();
            wire::encode_field(&Value::Timestamp(moment), Type::Timestamp, &mut bytes)
                .map_err(|mismatch| misfit(column, Type::Timestamp, mismatch.found))?;
            if column == "event_ts" {
                event = bytes;
            }
        }
        wire::encode_field(&Value::Json(document.json.clone()), Type::Json, &mut json)
            .map_err(|mismatch| misfit("document", Type::Json, mismatch.found))?;
        Ok((key, (event.to_vec(), document.written_at, json)))
    }

    /// One array a key column, then those of event times, moments at which they became known, and documents.
    fn lists(&self, rows: &[(EncodedKey, Content)]) -> (Vec<BytesMut>, Vec<PgType>) {
        let keys: Vec<_> = rows.iter().map(|(key, _)| key.clone()).collect();
        let mut lists = key_lists(&self.view, &keys);
        let mut types: Vec<_> = self.view.keys().iter().map(|key| key.ty.pg_array()).collect();
        let begin = |ty| {
            let mut list = BytesMut::new();
            wire::begin_array(ty, rows.len() as i32, &mut list);
            list
        };
        let (mut events, mut written, mut texts) =
            (begin(Type::Timestamp), begin(Type::Timestamp), begin(Type::Json));
        for (_, (event, known, json)) in rows {
            events.extend_from_slice(event);
            wire::encode_field(&(*known).into(), Type::Timestamp, &mut written)
                .expect("it was encoded before");
            texts.extend_from_slice(json);
        }
        lists.extend([events, written, texts]);
        types.extend([PgType::TIMESTAMPTZ_ARRAY, PgType::TIMESTAMPTZ_ARRAY, PgType::JSONB_ARRAY]);
        (lists, types)
    }

    fn table(&self) -> String {
        self.store.qualified(&self.view.raw_table())
    }

    fn key_names(&self, prefix: &str) -> String {
        list(prefix, self.view.keys().iter().map(|key| key.name.as_str()))
    }

    fn insert(&self) -> String {
        let view = &self.view;
        let lists = view.keys().iter().zip(1..).map(|(key, place)| format!("${place}::{}[]", key.ty.sql()));
        let lists: Vec<_> = lists.collect();
        let next = lists.len() + 1;
        let same: String = view
            .keys()
            .iter()
            .map(|key| identifier(&key.name))
            .map(|key| format!("r.{key} = s.{key} AND "))
            .collect();
        // Written by `now()` means what is newest; a moment that the caller gives is kept unless that very moment is there.
        format!(
            "INSERT INTO {table} ({names}, event_ts, written_at, document) \
             SELECT {staged}, s.event_ts, coalesce(s.written_at, now()), s.document \
             FROM unnest({}, ${next}::timestamptz[], ${}::timestamptz[], ${}::jsonb[]) \
             AS s({names}, event_ts, written_at, document) \
             WHERE s.written_at IS NOT NULL OR NOT EXISTS (SELECT FROM (SELECT r.document FROM {table} r \
             WHERE {same}r.event_ts = s.event_ts AND r.written_at <= now() ORDER BY r.written_at DESC LIMIT 1) p \
             WHERE p.document = s.document) ON CONFLICT DO NOTHING",
            lists.join(", "),
            next + 1,
            next + 2,
            table = self.table(),
            names = self.key_names(""),
            staged = self.key_names("s."),
        )
    }

    /// The newest document of `key`.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// If the key does not fit the view, or the store fails.
    pub async fn get(&self, key: impl Into<Key>) -> Result<Option<Document>, Error> {
        self.one(&key.into(), "true", &[]).await
    }

    /// The newest document of `key` at `at` that was known then, or as `known_at` says.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// As [`get`](Self::get), or if a moment is out of range.
    pub async fn as_of(
        &self,
        key: impl Into<Key>,
        at: Timestamp,
        known_at: KnownAt,
    ) -> Result<Option<Document>, Error> {
        let moments = match known_at {
            KnownAt::Label => vec![at, at],
            KnownAt::At(known) => vec![at, known],
            KnownAt::Any => vec![at],
        };
        let place = self.view.keys().len() + 1;
        let mut condition = format!("r.event_ts <= ${place}");
        if moments.len() > 1 {
            condition.push_str(&format!(" AND r.written_at <= ${}", place + 1));
        }
        self.one(&key.into(), &condition, &moments).await
    }

    /// The newest document of a key that fulfils `condition`.
    async fn one(
        &self,
        key: &Key,
        condition: &str,
        moments: &[Timestamp],
    ) -> Result<Option<Document>, Error> {
        let key = EncodedKey::new(&self.view, key)?;
        let moments = moments.iter().map(|moment| moment.to_wire().map(i64::to_be_bytes));
        let moments: Option<Vec<_>> = moments.collect();
        let moments = moments.ok_or_else(|| Error::config("a moment out of range"))?;
        let fields: Vec<_> = key
            .fields()
            .map(|field| Encoded(Some(field)))
            .chain(moments.iter().map(|moment| Encoded(Some(moment))))
            .collect();
        let same = self.view.keys().iter().zip(1..);
        let same: String =
            same.map(|(key, place)| format!("r.{} = ${place} AND ", identifier(&key.name))).collect();
        let condition = format!("{same}{condition} ORDER BY r.event_ts DESC, r.written_at DESC LIMIT 1");
        let mut types: Vec<_> = self.view.keys().iter().map(|key| key.ty.pg()).collect();
        types.extend(moments.iter().map(|_| PgType::TIMESTAMPTZ));
        Ok(self.select(&condition, types, &fields).await?.into_iter().next())
    }

    /// Up to `limit` documents that contain the JSON document `part` (`@>`), the newest first: quick where the view asks for `gin`.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// If `part` is no JSON, or the store fails.
    pub async fn containing(&self, part: &str, limit: u32) -> Result<Vec<Document>, Error> {
        let mut bytes = BytesMut::new();
        wire::encode(&Value::Json(part.into()), Type::Json, &mut bytes)
            .map_err(|mismatch| Error::config(mismatch.found))?;
        self.find("r.document @> $1", PgType::JSONB, &bytes, limit).await
    }

    /// Up to `limit` documents whose member at `path` has the text `text`, the newest first: quick where the view names the path.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// If `path` is empty, or the store fails.
    pub async fn with_member(&self, path: &[String], text: &str, limit: u32) -> Result<Vec<Document>, Error> {
        if path.is_empty() {
            return Err(Error::config("a path names at least one member"));
        }
        let condition = format!("{} = $1", ddl::member("r.document", path));
        self.find(&condition, PgType::TEXT, text.as_bytes(), limit).await
    }

    async fn find(
        &self,
        condition: &str,
        ty: PgType,
        value: &[u8],
        limit: u32,
    ) -> Result<Vec<Document>, Error> {
        let condition = format!("{condition} ORDER BY r.event_ts DESC, r.written_at DESC LIMIT {limit}");
        self.select(&condition, vec![ty], &[Encoded(Some(value))]).await
    }

    async fn select(
        &self,
        condition: &str,
        types: Vec<PgType>,
        fields: &[Encoded<'_>],
    ) -> Result<Vec<Document>, Error> {
        let keys = self.view.keys();
        let mut columns: Vec<_> = keys.iter().map(|key| (key.name.clone(), key.ty.pg())).collect();
        columns.extend([
            ("event_ts".to_owned(), PgType::TIMESTAMPTZ),
            ("written_at".to_owned(), PgType::TIMESTAMPTZ),
            ("document".to_owned(), PgType::JSONB),
        ]);
        let query = Query {
            view: self.view.raw_table(),
            sql: format!(
                "SELECT {}, r.event_ts, r.written_at, r.document FROM {} r WHERE {condition}",
                self.key_names("r."),
                self.table()
            )
            .into(),
            parameters: types,
            columns,
        };
        let parameters: Vec<_> = fields.iter().map(|field| field as &(dyn ToSql + Sync)).collect();
        let rows = self.store.pool().read(&query, &parameters).await?;
        let documents = rows.iter().map(|row| {
            let key = keys
                .iter()
                .enumerate()
                .map(|(index, key)| wire::decode(key.ty, cell(row, index)?.unwrap_or_default()));
            Ok(Document {
                key: Key(key.collect::<Result<_, Error>>()?),
                event_ts: super::event_ts(row, keys.len())?,
                written_at: Some(super::event_ts(row, keys.len() + 1)?),
                json: wire::json(cell(row, keys.len() + 2)?.unwrap_or_default())?.into(),
            })
        });
        documents.collect()
    }
}
