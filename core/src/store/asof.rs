//! Features as they were known at a time: the point-in-time join of a training set, and single looks into the past.
//!
//! In flow entities, each with its time; out flows exactly one row for each, in their order: the latest event at or before its
//! time, no older than the view's ttl, among the rows that were known by then. The invariant: nothing that was written after the
//! time it is asked for can be seen, unless the caller says so; so a training set has what serving would have had.

use std::ops::Range;

use bytes::BytesMut;
use futures_util::TryStreamExt;
use futures_util::future::try_join;
use tokio_postgres::types::{ToSql, Type as PgType};

use crate::input::Batch;

use super::FeatureStore;
use super::cells::{BatchRows, Entities, Rows};
use super::ddl::identifier;
use super::error::{Error, ErrorKind, Step};
use super::features::{self, FeatureSet, Features, Status};
use super::history;
use super::lease::Lease;
use super::merge::list;
use super::pool::{Deadline, Query};
use super::read::{EncodedKey, FoundRows, Reader};
use super::telemetry::{Timed, timed};
use super::value::{Key, Timestamp, Type};
use super::view::View;
use super::wire::{Encoded, Mismatch, begin_array, cell, fixed};

/// How many entities are sorted at a time, whose rows are held until they are in their places.
const SORTED: usize = 200_000;
/// How many of them are joined by one statement; the next one is at the server before the answer is read.
const ENTITIES_A_STATEMENT: usize = 10_000;

/// By when a value must have become known to be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KnownAt {
    /// By the entity's own time: what serving would have seen then.
    #[default]
    Label,
    /// By this moment, for every entity: a training set as it could have been made then.
    At(Timestamp),
    /// At any time: also what was corrected or loaded since.
    Any,
}

/// Reads a view's past. Cheap to clone.
#[derive(Clone)]
pub struct AsOf {
    reader: Reader,
    known_at: KnownAt,
    parse: bool,
}

impl FeatureStore {
    /// Reads the past of `view`.
    ///
    /// # Errors
    /// If the view keeps no history.
    pub fn as_of(&self, view: &View) -> Result<AsOf, Error> {
        self.reader(view).as_of()
    }
}

impl Reader {
    /// Reads the past of this reader's view and features.
    ///
    /// # Errors
    /// If the view keeps no history.
    pub fn as_of(&self) -> Result<AsOf, Error> {
        history::kept(&self.view)?;
        Ok(AsOf { reader: self.clone(), known_at: KnownAt::default(), parse: false })
    }
}

/// The entities in sets that are joined one by one, so that no more than a set is held.
pub(super) fn sets(
    entities: impl IntoIterator<Item = (Key, Timestamp)>,
) -> impl Iterator<Item = Vec<(Key, Timestamp)>> {
    let mut entities = entities.into_iter();
    std::iter::from_fn(move || {
        let some: Vec<_> = entities.by_ref().take(SORTED).collect();
        (!some.is_empty()).then_some(some)
    })
}

impl AsOf {
    /// By when a value must have become known.
    #[must_use]
    pub fn known_at(mut self, known_at: KnownAt) -> Self {
        self.known_at = known_at;
        self
    }

    /// Reads text in a batch of entities as values of their columns' types, as text from a CSV file is.
    #[must_use]
    pub fn parsing_text(mut self) -> Self {
        self.parse = true;
        self
    }

    /// The view that is read.
    pub fn view(&self) -> &View {
        self.reader.view()
    }

    /// The same on another store of the same tables.
    pub(crate) fn on(&self, store: &FeatureStore) -> Self {
        Self { reader: self.reader.on(store), ..self.clone() }
    }

    /// The features of `key` as they were known at `at`. [`Status::Missing`] if there were none, or only stale ones.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// If the key does not fit the view, `at` is out of PostgreSQL's range, or the store fails.
    pub async fn get(&self, key: impl Into<Key>, at: Timestamp) -> Result<Features, Error> {
        let Reader { store, view, .. } = &self.reader;
        let key = EncodedKey::new(view, &key.into())?;
        let at = at.to_wire().ok_or_else(|| Error::config("a moment out of range"))?.to_be_bytes();
        let known = self.known_by()?;
        let mut fields: Vec<_> = key.fields().map(|field| Encoded(Some(field))).collect();
        fields.push(Encoded(Some(&at)));
        fields.push(Encoded(known.as_ref().map(<[u8; 8]>::as_slice)));
        let parameters: Vec<_> = fields.iter().map(|field| field as &(dyn ToSql + Sync)).collect();
        let rows = store.pool().read(&self.single(), &parameters).await?;
        // What is too old was left out by the server.
        features::one(&self.reader.features, rows.first(), 0, None)
    }

    /// The statement of [`get`](Self::get).
    fn single(&self) -> Query {
        let Reader { view, features, .. } = &self.reader;
        let keys = view.keys();
        let (at, known) = (keys.len() + 1, keys.len() + 2);
        let values: Vec<_> = keys.iter().zip(1..).map(|(key, place)| (key, format!("${place}"))).collect();
        let same = values.iter().map(|(key, place)| format!("h.{} = {place}", identifier(&key.name)));
        let mut parameters: Vec<_> = keys.iter().map(|key| key.ty.pg()).collect();
        parameters.extend([PgType::TIMESTAMPTZ, PgType::TIMESTAMPTZ]);
        let mut columns = vec![("event_ts".to_owned(), PgType::TIMESTAMPTZ)];
        columns.extend(features.iter().map(|(name, ty)| (name.clone(), ty.pg())));
        let same = same.collect::<Vec<_>>().join(" AND ");
        let sql = self.newest(&same, &format!("${at}"), &format!("${known}::timestamptz"));
        Query { view: view.history_table(), sql: sql.into(), parameters, columns }
    }

    /// The newest row at `at` of the key that `same` picks, known by `known`.
    fn newest(&self, same: &str, at: &str, known: &str) -> String {
        let Reader { store, view, features, .. } = &self.reader;
        let names =
            features.iter().map(|(name, ty)| ty.read(format!("h.{}", identifier(name)))).collect::<Vec<_>>();
        let names = names.join(", ");
        let mut sql = format!(
            "SELECT h.event_ts, {names} FROM {} h WHERE {same} AND h.event_ts <= {at}",
            store.qualified(&view.history_table())
        );
        if let Some(ttl) = view.ttl() {
            // In seconds, which no change of the clocks makes longer or shorter; it also prunes partitions.
            sql.push_str(&format!(" AND h.event_ts >= {at} - interval '{} seconds'", ttl.as_secs()));
        }
        if self.known_at != KnownAt::Any {
            sql.push_str(&format!(" AND h.written_at <= coalesce({known}, {at})"));
        } else {
            // The parameter must be used to have a type.
            sql.push_str(&format!(" AND {known} IS NULL"));
        }
        sql.push_str(" ORDER BY h.event_ts DESC, h.written_at DESC LIMIT 1");
        sql
    }

    fn known_by(&self) -> Result<Option<[u8; 8]>, Error> {
        let KnownAt::At(moment) = self.known_at else { return Ok(None) };
        let count = moment.to_wire().ok_or_else(|| Error::config("known_at is a moment out of range"))?;
        Ok(Some(count.to_be_bytes()))
    }

    /// The features of each entity as they were known at its time: exactly one row an entity, in their order.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// If an entity does not fit the view (its row is named), or the store fails.
    pub async fn join(&self, entities: &[(Key, Timestamp)]) -> Result<FeatureSet, Error> {
        let view = &self.reader.view;
        for (key, _) in entities {
            if key.values().len() != view.keys().len() {
                EncodedKey::new(view, key)?;
            }
        }
        timed(Timed::Join, self.run(&Entities { view, entities })).await
    }

    /// As [`join`](Self::join), of any number of entities: each 200,000 of them, and what is left, give one set to `each`, in their
    /// order, so memory does not grow with their number. A set is asked for when the one before was taken.
    ///
    /// Dropping the future cancels the query at the server; the sets before were given.
    ///
    /// # Errors
    /// As [`join`](Self::join), rows counted within their set, or what `each` says.
    pub async fn join_all<E: From<Error>>(
        &self,
        entities: impl IntoIterator<Item = (Key, Timestamp)>,
        mut each: impl FnMut(FeatureSet) -> Result<(), E>,
    ) -> Result<(), E> {
        for some in sets(entities) {
            each(self.join(&some).await?)?;
        }
        Ok(())
    }

    /// As [`join`](Self::join), of a batch with the view's key columns and its event time (`event_ts`, if the view has no other
    /// name for it): the time of each entity in whole microseconds since 1970. Other columns are not looked at.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// As [`join`](Self::join), or if a column is not there.
    pub async fn join_batch(&self, entities: &Batch<'_>) -> Result<FeatureSet, Error> {
        timed(Timed::Join, self.run(&BatchRows::entities(&self.reader.view, entities, self.parse)?)).await
    }

    async fn run(&self, entities: &impl Rows) -> Result<FeatureSet, Error> {
        let mut set = self.reader.empty_set(entities.len());
        if entities.len() == 0 {
            return Ok(set);
        }
        let pool = self.reader.store.pool();
        let lease = pool.begin(Step::Read, pool.deadlines().join).await?;
        let outcome = async {
            let mut next = 0;
            while next < entities.len() {
                let end = entities.len().min(next + SORTED);
                let found = self.some(&lease, entities, next..end).await?;
                let status = |place: &Option<usize>| place.map_or(Status::Missing, |_| Status::Fresh);
                let status = found.row_of_key.iter().map(status);
                set.extend_from(&found.rows, &found.row_of_key, status, |_| true);
                next = end;
            }
            Ok(set)
        }
        .await;
        lease.end(Step::Read, Deadline::after(pool.deadlines().join), outcome).await
    }

    /// The rows of some entities as they came.
    async fn some(
        &self,
        lease: &Lease<'_>,
        entities: &impl Rows,
        range: Range<usize>,
    ) -> Result<FoundRows, Error> {
        let Reader { view, store, .. } = &self.reader;
        let length = store.pool().deadlines().join;
        let client = lease.client();
        let sorted = self.encode(entities, range.clone())?;
        // Only the key's index gives the newest row first; a plan that sorts reads a key's whole past for each entity.
        let plan = "SET LOCAL jit = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off";
        lease.during(Step::Read, Deadline::after(length), client.batch_execute(plan)).await?;
        let names = list("", view.keys().iter().map(|key| key.name.as_str()));
        let same: Vec<_> = view
            .keys()
            .iter()
            .map(|key| identifier(&key.name))
            .map(|key| format!("h.{key} = e.{key}"))
            .collect();
        let (at, known) = (view.keys().len() + 1, view.keys().len() + 2);
        let newest = self.newest(&same.join(" AND "), "e.event_ts", &format!("${known}::timestamptz"));
        // Parameters and not a table: nothing is written, so a standby can answer too.
        let keys: String = view
            .keys()
            .iter()
            .zip(1..)
            .map(|(key, place)| format!("${place}::{}[], ", key.ty.sql()))
            .collect();
        let sql = format!(
            "SELECT e.place, n.* FROM unnest({keys}${at}::timestamptz[]) WITH ORDINALITY \
             AS e({names}, event_ts, place) CROSS JOIN LATERAL ({newest}) n"
        );
        let known = self.known_by()?;
        let ask = async |part: Range<usize>| {
            let lists = sorted.lists(part);
            let mut fields: Vec<_> = lists.iter().map(|list| Encoded(Some(list))).collect();
            fields.push(Encoded(known.as_ref().map(<[u8; 8]>::as_slice)));
            let types = view.keys().iter().map(|key| key.ty.pg_array());
            let types = types.chain([PgType::TIMESTAMPTZ_ARRAY, PgType::TIMESTAMPTZ]);
            let parameters: Vec<_> =
                fields.iter().map(|field| field as &(dyn ToSql + Sync)).zip(types).collect();
            Ok(Some(Box::pin(client.query_typed_raw(&sql, parameters).await?)))
        };
        let mut found = FoundRows::new(&self.reader, range.len(), range.len());
        let part = |start: usize| start..range.len().min(start + ENTITIES_A_STATEMENT);
        let mut rows = lease.during(Step::Read, Deadline::after(length), ask(part(0))).await?;
        let mut start = 0;
        while let Some(mut answer) = rows.take() {
            let next = part(start + ENTITIES_A_STATEMENT);
            let next = async { if next.is_empty() { Ok(None) } else { ask(next).await } };
            // Each row is read while the server makes the next ones.
            let read = async {
                while let Some(row) = answer.try_next().await? {
                    if let Err(error) = self.take(&row, &sorted.order[start..], &mut found) {
                        return Ok(Err(error));
                    }
                }
                Ok(Ok(()))
            };
            let both = try_join(next, read);
            let (more, read) = lease.during(Step::Read, Deadline::after(length), both).await?;
            read?;
            rows = more;
            start += ENTITIES_A_STATEMENT;
        }
        Ok(found)
    }

    /// Appends a row of the join's answer to those that came before, and notes whose it is.
    fn take(&self, row: &tokio_postgres::Row, order: &[usize], found: &mut FoundRows) -> Result<(), Error> {
        if found.rows.event_ts.is_empty() {
            self.check(row)?;
        }
        let place = i64::from_be_bytes(fixed(cell(row, 0)?.unwrap_or_default())?);
        let entity = usize::try_from(place - 1).ok().and_then(|place| order.get(place));
        let entity = entity.ok_or_else(|| Error::protocol(Step::Read, "a row for no entity"))?;
        found.push(*entity, row, 1)
    }

    /// Refuses an answer whose columns are not the view's.
    fn check(&self, row: &tokio_postgres::Row) -> Result<(), Error> {
        let differences = row.columns().iter().skip(2).zip(self.reader.features.iter());
        let differences = differences.filter(|(column, (_, ty))| *column.type_() != ty.pg());
        let differences: Vec<_> = differences
            .map(|(column, (name, ty))| {
                format!("column {name:?} of the history is {}, not {ty}", column.type_())
            })
            .collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(ErrorKind::SchemaDrift { view: self.reader.view.table(), differences }.into())
    }

    /// The entities in the wire's form and the order in which they are asked for.
    fn encode(&self, entities: &impl Rows, range: Range<usize>) -> Result<Sorted, Error> {
        let keys = self.reader.view.keys().iter().map(|key| (key.name.as_str(), key.ty));
        let columns: Vec<(&str, Type)> = keys.chain([("event_ts", Type::Timestamp)]).collect();
        let mut bytes = BytesMut::new();
        let mut ends = Vec::with_capacity(range.len() * columns.len());
        for row in range.clone() {
            for (column, (name, ty)) in columns.iter().enumerate() {
                let at = bytes.len();
                let fits = entities.encode(row, column, *ty, &mut bytes).and_then(|()| {
                    let missing = bytes[at..at + 4] == (-1i32).to_be_bytes();
                    if missing { Err(Mismatch { found: "no value" }) } else { Ok(()) }
                });
                fits.map_err(|Mismatch { found }| ErrorKind::Cell {
                    row,
                    column: (*name).to_owned(),
                    expected: ty.to_string(),
                    found: found.to_owned(),
                })?;
                ends.push(bytes.len());
            }
        }
        let columns = columns.into_iter().map(|(_, ty)| ty).collect();
        let mut sorted = Sorted { columns, bytes, ends, order: Vec::new() };
        // What comes after the first length, as far as a number holds it, mostly says it all.
        let mut order: Vec<(u128, usize)> = (0..range.len())
            .map(|entity| {
                let mut first = [0; 16];
                let rest = &sorted.entity(entity)[4..];
                let known = rest.len().min(16);
                first[..known].copy_from_slice(&rest[..known]);
                (u128::from_be_bytes(first), entity)
            })
            .collect();
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| sorted.entity(a.1).cmp(sorted.entity(b.1))));
        sorted.order = order.into_iter().map(|(_, entity)| entity).collect();
        Ok(sorted)
    }
}

/// Entities in the wire's form, and their order by key and time: so the index is read from one end to the other.
struct Sorted {
    columns: Vec<Type>,
    bytes: BytesMut,
    /// Where each cell ends, entity by entity.
    ends: Vec<usize>,
    order: Vec<usize>,
}

impl Sorted {
    /// The cells `from..to` of all.
    fn cells(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[from.checked_sub(1).map_or(0, |last| self.ends[last])..self.ends[to - 1]]
    }

    fn entity(&self, entity: usize) -> &[u8] {
        self.cells(entity * self.columns.len(), (entity + 1) * self.columns.len())
    }

    /// Some places of the order as arrays, one a column.
    fn lists(&self, places: Range<usize>) -> Vec<BytesMut> {
        let count = i32::try_from(places.len()).expect("a statement has fewer entities");
        let lists = self.columns.iter().enumerate().map(|(column, ty)| {
            let mut list = BytesMut::with_capacity(20 + 12 * places.len());
            begin_array(*ty, count, &mut list);
            for entity in &self.order[places.clone()] {
                let cell = entity * self.columns.len() + column;
                list.extend_from_slice(self.cells(cell, cell + 1));
            }
            list
        });
        lists.collect()
    }
}
