//! Forgetting entities: every row of theirs, online, in the past and among the raw documents.

use tokio_postgres::types::{ToSql, Type as PgType};

use super::FeatureStore;
use super::ddl::{identifier, key_list};
use super::error::{Error, Step};
use super::jobs;
use super::pool::Deadline;
use super::read::{EncodedKey, key_lists};
use super::value::Key;
use super::view::View;
use super::wire::Encoded;

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Erased {
    /// Rows of the online table.
    pub online: u64,
    /// Rows of the history.
    pub history: u64,
    /// Raw documents.
    pub raw: u64,
}

impl FeatureStore {
    /// Erases every row of some keys of `view`, online, in its history and among its raw documents, in one transaction: as the law
    /// may ask. A write that comes later makes its key anew.
    ///
    /// Dropping the future rolls everything back, unless the commit is under way; erasing the same again is safe.
    ///
    /// # Errors
    /// If a key does not fit the view, or the store fails: nothing is erased, unless the connection broke in the commit.
    pub async fn erase<K: Into<Key>>(
        &self,
        view: &View,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Erased, Error> {
        let keys = keys.into_iter().map(|key| EncodedKey::new(view, &key.into()));
        let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
        // One order for all, as in writes: so nobody waits in a circle.
        keys.sort_unstable();
        let lists = key_lists(view, &keys);
        let lists: Vec<_> = lists.iter().map(|list| Encoded(Some(list))).collect();
        let types = view.keys().iter().map(|key| key.ty.pg_array());
        let parameters: Vec<(&(dyn ToSql + Sync), PgType)> =
            lists.iter().map(|list| list as &(dyn ToSql + Sync)).zip(types).collect();
        let pool = self.pool();
        let length = pool.deadlines().write;
        let lease = pool.begin(Step::Write, length).await?;
        let outcome = async {
            let mut erased = Erased::default();
            // Else a batch from the history could bring back online what is erased meanwhile.
            jobs::lock_view(self, &lease, view).await?;
            for (table, count) in [
                (Some(view.table()), &mut erased.online),
                (view.history().map(|_| view.history_table()), &mut erased.history),
                (view.raw().map(|_| view.raw_table()), &mut erased.raw),
            ] {
                let Some(table) = table else { continue };
                let sql = delete(view, &self.qualified(&table));
                let rows = lease.client().execute_typed(&sql, &parameters);
                *count = lease.during(Step::Write, Deadline::after(length), rows).await?;
            }
            Ok(erased)
        }
        .await;
        lease.end(Step::Write, Deadline::after(length), outcome).await
    }
}

fn delete(view: &View, table: &str) -> String {
    let lists = view.keys().iter().zip(1..).map(|(key, place)| format!("${place}::{}[]", key.ty.sql()));
    let same = view.keys().iter().map(|key| identifier(&key.name)).map(|key| format!("t.{key} = k.{key}"));
    format!(
        "DELETE FROM {table} t USING unnest({}) AS k({}) WHERE {}",
        lists.collect::<Vec<_>>().join(", "),
        key_list(view),
        same.collect::<Vec<_>>().join(" AND ")
    )
}
