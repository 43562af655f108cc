//! Which version answers for an alias: one, perhaps another for some of the keys, perhaps a third that only listens.
//!
//! In flow a key's bytes; out flows whether it is a canary's. The invariant: the choice depends on the model's name and the key
//! alone, so a key keeps its version on every machine, and those that a smaller share had a greater one has too.

use sha2::{Digest, Sha256};
use tokio_postgres::types::{ToSql, Type as PgType};

use super::{ModelRef, Registry, Selector, no_such};
use crate::store::{Deadline, Error, ErrorKind, Lease, Step, Timestamp, wire};

/// The channel that is told `name@alias` when an alias has changed.
pub(super) const CHANNEL: &str = "cenote_model_aliases";

/// The versions behind an alias.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Route {
    /// The version that answers.
    pub version: i32,
    /// Another version that answers in its place for a share of the keys.
    pub canary: Option<Canary>,
    /// A version that is scored as well and never answers.
    pub shadow: Option<i32>,
}

/// A version that answers for a share of the keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Canary {
    /// The version.
    pub version: i32,
    /// The share of the keys, 0..=1.
    pub share: f64,
}

impl Route {
    /// One version for all keys.
    pub fn to(version: i32) -> Self {
        Self { version, canary: None, shadow: None }
    }

    /// Gives `share` (0..=1) of the keys to `version`.
    #[must_use]
    pub fn canary(mut self, version: i32, share: f64) -> Self {
        self.canary = Some(Canary { version, share });
        self
    }

    /// Scores `version` as well, and counts in what it differs.
    #[must_use]
    pub fn shadow(mut self, version: i32) -> Self {
        self.shadow = Some(version);
        self
    }

    /// All versions, the one that answers first.
    pub(super) fn versions(&self) -> impl Iterator<Item = i32> {
        let canary = self.canary.map(|canary| canary.version);
        std::iter::once(self.version).chain(canary).chain(self.shadow)
    }
}

impl Canary {
    /// Whether a key is among the canary's: the first 64 bits of SHA-256 over the model's name, a zero byte and the key's wire
    /// form, as a fraction of 2^64, are below the share.
    pub(crate) fn takes(&self, name: &str, key: &[u8]) -> bool {
        let hash = Sha256::new().chain_update(name).chain_update([0]).chain_update(key).finalize();
        let first = hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        // 2^64 as f64; a share of 1 takes every key.
        (first as f64) < self.share * 18_446_744_073_709_551_616.0 || self.share >= 1.0
    }
}

impl Registry {
    /// Points `alias` of `name` at a version alone, and tells those who listen on the channel `cenote_model_aliases`
    /// (payload: `name@alias`). A canary and a shadow end.
    ///
    /// Dropping the future moves the alias or leaves it.
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub async fn promote(&self, name: &str, alias: &str, version: i32) -> Result<(), Error> {
        self.route(name, alias, &Route::to(version)).await
    }

    /// Points `alias` of `name` at the versions of a route, and tells those who listen, as [`promote`](Self::promote).
    ///
    /// Dropping the future changes the alias or leaves it.
    ///
    /// # Errors
    /// `NoSuchModel` if there is no such version, `Archived` if one is archived; if the share is not of 0..=1; a refusal by the
    /// server; a deadline.
    pub async fn route(&self, name: &str, alias: &str, route: &Route) -> Result<(), Error> {
        ModelRef::check_name(name)?;
        ModelRef::check_name(alias)?;
        if route.canary.is_some_and(|canary| !(0.0..=1.0).contains(&canary.share)) {
            return Err(Error::config("a canary's share is a number of 0..=1"));
        }
        let stages = format!("SELECT version, stage FROM {} WHERE name = $1", self.table("models"));
        let change = format!(
            "INSERT INTO {} (name, alias, version, canary, share, shadow) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version, canary = excluded.canary, \
             share = excluded.share, shadow = excluded.shadow, changed_at = clock_timestamp()",
            self.table("model_aliases"),
        );
        let (canary, share) = route.canary.map(|canary| (canary.version, canary.share)).unzip();
        self.change(name, async |lease, deadline| {
            let rows = self.query(lease, deadline, &stages, &[(&name, PgType::TEXT)]).await?;
            for version in route.versions() {
                let wrong = |error| Error::database(Step::Registry, error);
                let mut known = None;
                for row in &rows {
                    if row.try_get::<_, i32>(0).map_err(wrong)? == version {
                        known = Some(row.try_get::<_, &str>(1).map_err(wrong)?);
                    }
                }
                let reference = || ModelRef { name: name.to_owned(), selector: Selector::Version(version) };
                if known.ok_or_else(|| no_such(&reference()))? == "archived" {
                    let what = "is archived: no alias may point at it";
                    return Err(ErrorKind::Archived { name: name.to_owned(), version, what }.into());
                }
            }
            let parameters: [(&(dyn ToSql + Sync), PgType); 6] = [
                (&name, PgType::TEXT),
                (&alias, PgType::TEXT),
                (&route.version, PgType::INT4),
                (&canary, PgType::INT4),
                (&share, PgType::FLOAT8),
                (&route.shadow, PgType::INT4),
            ];
            self.query(lease, deadline, &change, &parameters).await?;
            let payload = format!("{name}@{alias}");
            let notify = "SELECT pg_notify($1, $2)";
            self.query(lease, deadline, notify, &[(&CHANNEL, PgType::TEXT), (&payload, PgType::TEXT)])
                .await?;
            Ok(())
        })
        .await
    }

    /// The versions behind an alias.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// `NoSuchModel` if there is no such alias; a refusal by the server; a deadline.
    pub async fn find_route(&self, name: &str, alias: &str) -> Result<Route, Error> {
        Ok(self.revision(name, alias).await?.0)
    }

    /// The versions behind an alias, and since when.
    pub(super) async fn revision(&self, name: &str, alias: &str) -> Result<(Route, Timestamp), Error> {
        let deadline = Deadline::after(self.store.pool().deadlines().read);
        let lease = self.store.pool().lease(deadline).await?;
        let sql = format!(
            "SELECT version, canary, share, shadow, changed_at FROM {} WHERE name = $1 AND alias = $2",
            self.table("model_aliases")
        );
        let parameters: [(&(dyn ToSql + Sync), PgType); 2] = [(&name, PgType::TEXT), (&alias, PgType::TEXT)];
        let rows = self.query(&lease, deadline, &sql, &parameters).await?;
        let row = rows.first().ok_or_else(|| {
            no_such(&ModelRef { name: name.to_owned(), selector: Selector::Alias(alias.to_owned()) })
        })?;
        let wrong = |error| Error::database(Step::Registry, error);
        let canary: Option<i32> = row.try_get(1).map_err(wrong)?;
        let share: Option<f64> = row.try_get(2).map_err(wrong)?;
        let route = Route {
            version: row.try_get(0).map_err(wrong)?,
            canary: canary.zip(share).map(|(version, share)| Canary { version, share }),
            shadow: row.try_get(3).map_err(wrong)?,
        };
        let changed_at = i64::from_be_bytes(wire::fixed(wire::cell(row, 4)?.unwrap_or_default())?);
        Ok((route, Timestamp::from_wire(changed_at)))
    }

    /// Changes what is known of one model, in a transaction, one change after another.
    pub(super) async fn change<T>(
        &self,
        name: &str,
        change: impl AsyncFnOnce(&Lease<'_>, Deadline) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let lock = crate::store::literal(&format!("cenote models {} {name}", self.store.schema()));
        let lock = format!("SELECT pg_advisory_xact_lock(hashtextextended({lock}, 0))");
        let length = self.store.pool().deadlines().write;
        let lease = self.store.pool().begin(Step::Registry, length).await?;
        let deadline = Deadline::after(length);
        let outcome = async {
            lease.during(Step::Lock, deadline, lease.client().batch_execute(&lock)).await?;
            change(&lease, deadline).await
        }
        .await;
        lease.end(Step::Registry, deadline, outcome).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_keys_is_a_canarys_and_keeps_its_keys_as_it_grows() {
        let takes = |share, key: u32| Canary { version: 2, share }.takes("churn", &key.to_be_bytes());
        for share in [0.0, 0.01, 0.25, 0.5, 1.0] {
            let taken = (0..20_000).filter(|key| takes(share, *key)).count() as f64 / 20_000.0;
            assert!((taken - share).abs() < 0.02, "{taken} of {share}");
        }
        assert!((0..20_000).all(|key| !takes(0.1, key) || takes(0.2, key)));
        // Fixed for ever: keys must not change hands with a release.
        let first: Vec<u32> = (0..100).filter(|key| takes(0.05, *key)).collect();
        assert_eq!(first, [18, 23, 29, 42, 94]);
        let other = |key: u32| Canary { version: 2, share: 0.05 }.takes("other", &key.to_be_bytes());
        assert_ne!((0..100).filter(|key| other(*key)).collect::<Vec<_>>(), first);
    }
}
