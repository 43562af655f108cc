//! Whether what serving reads is what training would have read: the online rows of some keys against the newest of their history.
//!
//! In flow a view and how many keys to look at; out flow the differences, by key and feature, never a value. The invariant: both
//! rows of a key are seen in one statement, so a write meanwhile is no difference; and features are compared as bits.

use tokio_postgres::types::{ToSql, Type as PgType};

use super::FeatureStore;
use super::ddl::{identifier, key_list, literal};
use super::error::{Error, ErrorKind, Step};
use super::merge::list;
use super::pool::Deadline;
use super::value::{Key, Timestamp, Value};
use super::view::View;
use super::wire::{self, cell, fixed};

/// How many differences are listed; all are counted.
const LISTED: usize = 100;

/// Online rows compared with the history.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Parity {
    /// Keys that were looked at.
    pub checked: u64,
    /// Keys of which the two differ.
    pub differing: u64,
    /// The first of them, at most 100.
    pub differences: Vec<Difference>,
}

/// A key whose online row is not the newest of its history.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The key.
    pub key: Key,
    /// In what they differ.
    pub skew: Skew,
}

/// In what an online row differs from the newest of its history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skew {
    /// The history has no row of the key as of now: its month was dropped, or the online row was written past it.
    NoHistory,
    /// They are of other events; also where the online event lies in the future, which a training set as of now would not see.
    Event {
        /// When the online row held true.
        online: Timestamp,
        /// When the newest of the history did.
        history: Timestamp,
    },
    /// Of one event they have other features, which are named.
    Features(Vec<String>),
}

impl FeatureStore {
    /// Compares the online rows of about `sample` keys of `view`, chosen at random, with the newest of their history as of now.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// If the view keeps no history; a refusal by the server; a deadline.
    pub async fn parity(&self, view: &View, sample: u32) -> Result<Parity, Error> {
        if view.history().is_none() {
            let what = "it keeps no history".to_owned();
            return Err(ErrorKind::View { view: view.name().to_owned(), what }.into());
        }
        let deadline = Deadline::after(self.pool().deadlines().join);
        let lease = self.pool().lease(deadline).await?;
        let table = literal(&self.table(view));
        let estimate = format!("SELECT reltuples FROM pg_catalog.pg_class WHERE oid = {table}::regclass");
        let rows = lease.during(Step::Read, deadline, lease.client().query_typed(&estimate, &[])).await?;
        let rows = rows.first().map(|row| row.try_get::<_, f32>(0)).transpose();
        let rows = rows.map_err(|error| Error::database(Step::Read, error))?.unwrap_or(-1.0);
        let limit = i64::from(sample);
        let parameters: [(&(dyn ToSql + Sync), PgType); 1] = [(&limit, PgType::INT8)];
        let sql = self.parity_sql(view, pages(rows, sample));
        let answer = lease.client().query_typed(&sql, &parameters);
        let rows = lease.during(Step::Read, deadline, answer).await?;
        let keys = view.keys().len();
        let mut parity = Parity { checked: 0, differing: 0, differences: Vec::new() };
        for row in &rows {
            let moment = |index| {
                let bytes = cell(row, index)?.map(fixed).transpose()?;
                Ok::<_, Error>(bytes.map(|bytes| Timestamp::from_wire(i64::from_be_bytes(bytes))))
            };
            parity.checked += 1;
            let online =
                moment(keys)?.ok_or_else(|| Error::protocol(Step::Read, "an online row without event"))?;
            let skew = match moment(keys + 1)? {
                None => Skew::NoHistory,
                Some(history) if history != online => Skew::Event { online, history },
                Some(_) => {
                    let mut differing = Vec::new();
                    for (feature, index) in view.features().iter().zip(keys + 2..) {
                        if cell(row, index)? == Some(&[1]) {
                            differing.push(feature.name.clone());
                        }
                    }
                    if differing.is_empty() {
                        continue;
                    }
                    Skew::Features(differing)
                }
            };
            parity.differing += 1;
            if parity.differences.len() < LISTED {
                let mut key = Vec::with_capacity(keys);
                for (index, column) in view.keys().iter().enumerate() {
                    key.push(
                        cell(row, index)?.map_or(Ok(Value::Null), |bytes| wire::decode(column.ty, bytes))?,
                    );
                }
                parity.differences.push(Difference { key: Key(key), skew });
            }
        }
        metrics::counter!("cenote_parity_keys_total").increment(parity.checked);
        metrics::counter!("cenote_parity_differences_total").increment(parity.differing);
        Ok(parity)
    }

    fn parity_sql(&self, view: &View, pages: String) -> String {
        let keys = key_list(view);
        let features = || view.features().iter().map(|feature| feature.name.as_str());
        let same: Vec<_> = view
            .keys()
            .iter()
            .map(|key| identifier(&key.name))
            .map(|key| format!("h.{key} = s.{key}"))
            .collect();
        let differ: String = features()
            .map(identifier)
            .map(|name| format!(", ROW(s.{name})::record *<> ROW(n.{name})::record"))
            .collect();
        format!(
            "SELECT {keys_of_s}, s.event_ts, n.event_ts{differ} FROM \
             (SELECT {keys}, event_ts{names} FROM {online}{pages} ORDER BY random() LIMIT $1) s LEFT JOIN LATERAL \
             (SELECT h.event_ts{names_of_h} FROM {history} h WHERE {same} AND h.event_ts <= now() \
             ORDER BY h.event_ts DESC, h.written_at DESC LIMIT 1) n ON true",
            keys_of_s = list("s.", view.keys().iter().map(|key| key.name.as_str())),
            names = features().map(|name| format!(", {}", identifier(name))).collect::<String>(),
            names_of_h = features().map(|name| format!(", h.{}", identifier(name))).collect::<String>(),
            online = self.table(view),
            history = self.qualified(&view.history_table()),
            same = same.join(" AND "),
        )
    }
}

/// Which pages to look at for `sample` of about `rows` rows: a few where the table is large, else all.
fn pages(rows: f32, sample: u32) -> String {
    if rows < 10_000.0 || f64::from(rows) < 8.0 * f64::from(sample) {
        return String::new();
    }
    // Twice as many as are needed: rows do not lie evenly.
    let percent = (200.0 * f64::from(sample) / f64::from(rows)).clamp(0.01, 100.0);
    format!(" TABLESAMPLE SYSTEM ({percent})")
}

#[cfg(test)]
mod tests {
    use super::pages;

    #[test]
    fn a_large_table_is_not_read_whole() {
        assert_eq!(pages(-1.0, 100), "");
        assert_eq!(pages(9_000.0, 10), "");
        assert_eq!(pages(20_000.0, 10_000), "");
        assert_eq!(pages(1e6, 1000), " TABLESAMPLE SYSTEM (0.2)");
        assert_eq!(pages(1e9, 1), " TABLESAMPLE SYSTEM (0.01)");
    }
}
