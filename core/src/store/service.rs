//! Several views read together by one entity: those of one key by one statement, those of different keys side by side.
//!
//! In flow readers, each with the roles that its keys play; out flows one [`FeatureSet`] a reader. The invariant: views that are keyed
//! by the same columns of the entity are one SELECT, all selects of a call go out on one connection without waiting for each other,
//! and each set has one row an entity, in their order.

use tokio_postgres::types::{ToSql, Type as PgType};

use super::FeatureStore;
use super::ddl::identifier;
use super::error::{Error, ErrorKind};
use super::features::{FeatureSet, Status};
use super::pool::Query;
use super::read::{EncodedKey, FoundRows, Reader};
use super::value::{Key, Timestamp, Type, Value};
use super::view::View;
use super::wire::{self, Encoded, cell};

/// How many entities one statement asks for.
const ENTITIES_A_STATEMENT: usize = 10_000;

/// Several views that are read together. Made by [`FeatureStore::service`]; cheap to clone.
#[derive(Clone)]
pub struct FeatureService {
    store: FeatureStore,
    readers: std::sync::Arc<[Reader]>,
    columns: std::sync::Arc<[(String, Type)]>,
    groups: std::sync::Arc<[Group]>,
}

/// Builds a [`FeatureService`].
#[derive(Clone)]
pub struct ServiceBuilder {
    store: FeatureStore,
    /// Each reader with the entity's column for each of its key columns.
    members: Vec<(Reader, Vec<String>)>,
}

/// Views that are keyed by the same columns of the entity.
struct Group {
    /// The places of those columns.
    columns: Vec<usize>,
    /// The places of its readers, and of the event time of each in an answer's row.
    members: Vec<(usize, usize)>,
    query: Query,
    /// A view of these key columns, to encode keys by.
    view: View,
}

impl FeatureStore {
    /// Begins a service: several views that are read together by one entity.
    pub fn service(&self) -> ServiceBuilder {
        ServiceBuilder { store: self.clone(), members: Vec::new() }
    }
}

impl ServiceBuilder {
    /// Adds what `reader` reads, by the entity's columns of the names of its key columns.
    #[must_use]
    pub fn with(self, reader: &Reader) -> Self {
        self.with_roles(reader, &[])
    }

    /// Adds what `reader` reads, by the entity's columns that `roles` names in place of key columns: with `("airport", "origin")` a
    /// view of airports is read for the airport that the entity calls `origin`. A view may be added in several roles.
    #[must_use]
    pub fn with_roles(mut self, reader: &Reader, roles: &[(&str, &str)]) -> Self {
        let columns = reader.view().keys().iter().map(|key| {
            let role = roles.iter().find(|(name, _)| *name == key.name);
            role.map_or_else(|| key.name.clone(), |(_, role)| (*role).to_owned())
        });
        let columns = columns.collect();
        self.members.push((reader.clone(), columns));
        self
    }

    /// Checks that the members agree on the entity, and makes the statements.
    ///
    /// # Errors
    /// If there is no member, two take a column of the entity as different types, or two key columns of one play one role.
    pub fn build(self) -> Result<FeatureService, Error> {
        let refuse =
            |view: &View, what: String| Error::from(ErrorKind::View { view: view.name().to_owned(), what });
        if self.members.is_empty() {
            return Err(Error::config("a service reads at least one view"));
        }
        let mut columns: Vec<(String, Type)> = Vec::new();
        let mut keyed: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
        for (member, (reader, names)) in self.members.iter().enumerate() {
            let mut places = Vec::new();
            for (key, name) in reader.view().keys().iter().zip(names) {
                let place = columns.iter().position(|(other, _)| other == name).unwrap_or_else(|| {
                    columns.push((name.clone(), key.ty));
                    columns.len() - 1
                });
                if columns[place].1 != key.ty {
                    let what =
                        format!("{name:?} is {} here and {} in another view", key.ty, columns[place].1);
                    return Err(refuse(reader.view(), what));
                }
                if places.contains(&place) {
                    return Err(refuse(reader.view(), format!("two of its key columns are {name:?}")));
                }
                places.push(place);
            }
            let mut set = places.clone();
            set.sort_unstable();
            match keyed.iter_mut().find(|(other, _)| *other == set) {
                Some((_, members)) => members.push(member),
                None => keyed.push((set, vec![member])),
            }
        }
        let groups = keyed.into_iter().map(|(set, members)| self.group(&columns, set, &members));
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        let readers: Vec<_> = self.members.into_iter().map(|(reader, _)| reader).collect();
        Ok(FeatureService {
            store: self.store,
            readers: readers.into(),
            columns: columns.into(),
            groups: groups.into(),
        })
    }

    fn group(&self, columns: &[(String, Type)], set: Vec<usize>, members: &[usize]) -> Result<Group, Error> {
        let mut answer = vec![("n".to_owned(), PgType::INT8)];
        let (mut selected, mut joins, mut places) = (String::from("k.n"), String::new(), Vec::new());
        for (alias, member) in members.iter().enumerate() {
            let (reader, names) = &self.members[*member];
            places.push((*member, answer.len()));
            answer.push(("event_ts".to_owned(), PgType::TIMESTAMPTZ));
            selected.push_str(&format!(", t{alias}.event_ts"));
            for (name, ty) in reader.features.iter() {
                answer.push((name.clone(), ty.pg()));
                selected.push_str(&format!(", {}", ty.read(format!("t{alias}.{}", identifier(name)))));
            }
            let same = reader.view().keys().iter().zip(names);
            let same: Vec<_> = same
                .map(|(key, name)| format!("t{alias}.{} = k.{}", identifier(&key.name), identifier(name)))
                .collect();
            let table = self.store.table(reader.view());
            joins.push_str(&format!(" LEFT JOIN {table} t{alias} ON {}", same.join(" AND ")));
        }
        let lists =
            set.iter().zip(1..).map(|(column, place)| format!("${place}::{}[]", columns[*column].1.sql()));
        let names = set.iter().map(|column| identifier(&columns[*column].0));
        let query = Query {
            view: members
                .iter()
                .map(|member| self.members[*member].0.view().table())
                .collect::<Vec<_>>()
                .join(", "),
            sql: format!(
                "SELECT {selected} FROM unnest({}) WITH ORDINALITY AS k({}, n){joins}",
                lists.collect::<Vec<_>>().join(", "),
                names.collect::<Vec<_>>().join(", ")
            )
            .into(),
            parameters: set.iter().map(|column| columns[*column].1.pg_array()).collect(),
            columns: answer,
        };
        let keys = View::builder("entity");
        let keys = set.iter().fold(keys, |keys, column| keys.key(&columns[*column].0, columns[*column].1));
        let view = keys.feature("\u{1}", Type::Bool).build()?;
        Ok(Group { columns: set, members: places, query, view })
    }
}

impl FeatureService {
    /// The entity's columns: what a key of this service has, in order.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (&str, Type)> {
        self.columns.iter().map(|(name, ty)| (name.as_str(), *ty))
    }

    /// The same on another store of the same tables.
    pub(crate) fn on(&self, store: &FeatureStore) -> Self {
        Self { store: store.clone(), ..self.clone() }
    }

    /// The features of one entity: one set of one row for each view, in the order in which they were added.
    ///
    /// Dropping the future cancels the queries at the server.
    ///
    /// # Errors
    /// As [`get_many`](Self::get_many).
    pub async fn get(&self, entity: impl Into<Key>) -> Result<Vec<FeatureSet>, Error> {
        self.get_many([entity]).await
    }

    /// The features of many entities, each a [`Key`] of [`columns`](Self::columns): one set for each view, in the order in which they
    /// were added, each with one row an entity.
    ///
    /// Dropping the future cancels the queries at the server.
    ///
    /// # Errors
    /// If an entity does not fit the columns, the tables are not the views', or the store fails.
    pub async fn get_many<K: Into<Key>>(
        &self,
        entities: impl IntoIterator<Item = K>,
    ) -> Result<Vec<FeatureSet>, Error> {
        let entities: Vec<Key> = entities.into_iter().map(Into::into).collect();
        for entity in &entities {
            if entity.0.len() != self.columns.len() {
                let (column, expected) = ("entity".to_owned(), format!("{} values", self.columns.len()));
                return Err(ErrorKind::Key { column, expected, found: entity.0.len().to_string() }.into());
            }
        }
        let mut sets: Vec<_> = self.readers.iter().map(|reader| reader.empty_set(entities.len())).collect();
        for some in entities.chunks(ENTITIES_A_STATEMENT) {
            self.some(some, &mut sets).await?;
        }
        Ok(sets)
    }

    async fn some(&self, entities: &[Key], sets: &mut [FeatureSet]) -> Result<(), Error> {
        let mut lists = Vec::with_capacity(self.groups.len());
        for group in self.groups.iter() {
            let key = |entity: &Key| {
                let values = group.columns.iter().map(|column| entity.0[*column].clone());
                EncodedKey::new(&group.view, &Key::new(values.collect::<Vec<Value>>()))
            };
            let keys = entities.iter().map(key).collect::<Result<Vec<_>, _>>()?;
            lists.push(super::read::key_lists(&group.view, &keys));
        }
        let encoded: Vec<Vec<_>> =
            lists.iter().map(|lists| lists.iter().map(|list| Encoded(Some(list))).collect()).collect();
        let parameters: Vec<Vec<&(dyn ToSql + Sync)>> = encoded
            .iter()
            .map(|lists| lists.iter().map(|list| list as &(dyn ToSql + Sync)).collect())
            .collect();
        let asked: Vec<_> = self
            .groups
            .iter()
            .zip(&parameters)
            .map(|(group, lists)| (&group.query, lists.as_slice()))
            .collect();
        let answers = self.store.pool().read_all(&asked).await?;
        let now = Timestamp::now();
        for (group, rows) in self.groups.iter().zip(answers) {
            let mut row_of_entity = vec![None; entities.len()];
            for (index, row) in rows.iter().enumerate() {
                let place = i64::from_be_bytes(wire::fixed(cell(row, 0)?.unwrap_or_default())?) - 1;
                let place = usize::try_from(place).ok().and_then(|place| row_of_entity.get_mut(place));
                *place.ok_or_else(|| Error::protocol(super::Step::Read, "a row for no entity"))? =
                    Some(index);
            }
            for (member, first) in &group.members {
                let reader = &self.readers[*member];
                let mut found = FoundRows::new(reader, entities.len(), entities.len());
                for (entity, index) in row_of_entity.iter().enumerate() {
                    let Some(row) = index.map(|index: usize| &rows[index]) else { continue };
                    // A view that has no row of an entity has no event time in the joined row.
                    if cell(row, *first)?.is_some() {
                        found.push(entity, row, *first)?;
                    }
                }
                let status = found.event_ts().map(|event| {
                    event.map_or(Status::Missing, |event| Status::of(event, now, reader.view().ttl()))
                });
                sets[*member].extend_from(&found.rows, &found.row_of_key, status, |_| true);
            }
        }
        Ok(())
    }
}
