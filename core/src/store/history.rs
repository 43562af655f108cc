//! The monthly partitions of a view's history: made before they are needed, dropped when all of a month is too old.
//!
//! The invariant: a partition is made aside and then attached, so that nobody who reads or writes the history waits for it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use tokio_postgres::types::{ToSql, Type as PgType};

use super::FeatureStore;
use super::ddl::{identifier, lock_schema};
use super::error::{Error, ErrorKind, Step};
use super::lease::Lease;
use super::parse::Day;
use super::pool::Deadline;
use super::value::Timestamp;
use super::view::{History, View};
use super::wire::{cell, text};

/// How many months one write may add: eighty years.
const MONTHS_AT_ONCE: usize = 960;
/// How many months from now on there always are.
const MONTHS_AHEAD: i32 = 3;

/// A month of the calendar, UTC: months since January of the year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Month(i32);

impl Month {
    /// The month of a moment; `None` outside of the years 1 to 9999.
    pub(crate) fn of(moment: Timestamp) -> Option<Self> {
        const DAY: i64 = 86_400_000_000;
        let (year, month) = Day::of(moment.as_micros().div_euclid(DAY)).year_and_month();
        (1..=9999).contains(&year).then_some(Self((year * 12 + month - 1) as i32))
    }

    fn plus(self, months: i32) -> Self {
        Self(self.0 + months)
    }

    /// `202611`, the end of its partition's name.
    fn suffix(self) -> String {
        format!("{:04}{:02}", self.0 / 12, self.0 % 12 + 1)
    }

    /// Its first day.
    fn first(self) -> String {
        format!("{:04}-{:02}-01 00:00:00+00", self.0 / 12, self.0 % 12 + 1)
    }

    fn from_suffix(suffix: &str) -> Option<Self> {
        let (year, month) = suffix.split_at_checked(4)?;
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        (1..=12).contains(&month).then_some(Self(year * 12 + month - 1))
    }
}

/// What became of a view's partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Partitions that were made.
    pub made: Vec<String>,
    /// Partitions that were dropped, with all their rows.
    pub dropped: Vec<String>,
}

impl FeatureStore {
    /// Makes the partitions of the months to come, and drops those whose every event is older than the view's retention. To be
    /// run now and then; a write makes what it needs by itself.
    ///
    /// Dropping the future rolls everything back.
    ///
    /// # Errors
    /// If the view keeps no history; a refusal by the server; a deadline.
    pub async fn maintain(&self, view: &View) -> Result<Maintained, Error> {
        let history = kept(view)?;
        let now = Timestamp::now();
        let this =
            Month::of(now).ok_or_else(|| Error::config("the clock is outside of the years 1 to 9999"))?;
        let oldest =
            history.retention_days.map(|days| Month::of(now - Duration::from_secs(u64::from(days) * 86_400)));
        let ahead = (0..=MONTHS_AHEAD).map(|months| this.plus(months)).collect();
        self.change_partitions(view, &ahead, oldest.flatten()).await
    }

    /// Makes the partitions of `months` that are not there.
    pub(crate) async fn ensure_partitions(&self, view: &View, months: &BTreeSet<Month>) -> Result<(), Error> {
        if months.len() > MONTHS_AT_ONCE {
            return Err(Error::config(format!(
                "a write has events of {} months, at most {MONTHS_AT_ONCE}",
                months.len()
            )));
        }
        let deadline = Deadline::after(self.pool().deadlines().migrate);
        let lease = self.pool().lease(deadline).await?;
        let there = partitions(self, view, &lease).await?;
        drop(lease);
        if !months.is_subset(&there) {
            self.change_partitions(view, months, None).await?;
        }
        Ok(())
    }

    async fn change_partitions(
        &self,
        view: &View,
        needed: &BTreeSet<Month>,
        oldest: Option<Month>,
    ) -> Result<Maintained, Error> {
        let length = self.pool().deadlines().migrate;
        let lease = self.pool().begin(Step::Migrate, length).await?;
        let outcome = async {
            lock_schema(self, &lease).await?;
            let there = partitions(self, view, &lease).await?;
            let (table, mut sql) = (self.qualified(&view.history_table()), String::new());
            let mut done = Maintained::default();
            let name = |month: &Month| format!("{}_p{}", view.history_table(), month.suffix());
            for month in needed.difference(&there) {
                let partition = self.qualified(&name(month));
                let (from, to) = (month.first(), month.plus(1).first());
                let _ = write!(
                    sql,
                    "CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS); \
                     ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ('{from}') TO ('{to}'); "
                );
                done.made.push(name(month));
            }
            for month in there.iter().filter(|month| oldest.is_some_and(|oldest| **month < oldest)) {
                let _ = write!(sql, "DROP TABLE {}; ", self.qualified(&name(month)));
                done.dropped.push(name(month));
            }
            let deadline = Deadline::after(length);
            lease.during(Step::Migrate, deadline, lease.client().batch_execute(&sql)).await?;
            Ok(done)
        }
        .await;
        lease.end(Step::Migrate, Deadline::after(length), outcome).await
    }
}

/// The view's history, or the error that it keeps none.
pub(super) fn kept(view: &View) -> Result<&History, Error> {
    view.history().ok_or_else(|| {
        let what = "it keeps no history".to_owned();
        ErrorKind::View { view: view.name().to_owned(), what }.into()
    })
}

/// The months that have a partition.
async fn partitions(store: &FeatureStore, view: &View, lease: &Lease<'_>) -> Result<BTreeSet<Month>, Error> {
    let sql = "SELECT c.relname::text FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
               WHERE i.inhparent = to_regclass($1)";
    let table = format!("{}.{}", identifier(store.schema()), identifier(&view.history_table()));
    let deadline = Deadline::after(store.pool().deadlines().migrate);
    let parameters: [(&(dyn ToSql + Sync), PgType); 1] = [(&table, PgType::TEXT)];
    let rows = lease.during(Step::Migrate, deadline, lease.client().query_typed(sql, &parameters)).await?;
    let months = rows.iter().map(|row| {
        let name = text(cell(row, 0)?.unwrap_or_default())?;
        Ok(name.rsplit_once("_p").and_then(|(_, suffix)| Month::from_suffix(suffix)))
    });
    Ok(months.collect::<Result<Vec<_>, Error>>()?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_the_calendars() {
        let suffix = |seconds: i64| Month::of(Timestamp::from_micros(seconds * 1_000_000)).map(Month::suffix);
        // Seconds from `date -u +%s`.
        assert_eq!(suffix(0).unwrap(), "197001");
        assert_eq!(suffix(-1).unwrap(), "196912");
        assert_eq!(suffix(951_782_399).unwrap(), "200002");
        assert_eq!(suffix(951_868_799).unwrap(), "200002", "29 February");
        assert_eq!(suffix(951_868_800).unwrap(), "200003");
        assert_eq!(suffix(1_798_761_599).unwrap(), "202612");
        assert_eq!(suffix(-62_135_596_800).unwrap(), "000101");
        assert_eq!(suffix(-62_135_596_801), None);
        assert_eq!(suffix(253_402_300_799).unwrap(), "999912");
        assert_eq!(suffix(253_402_300_800), None);
        assert_eq!(Month::from_suffix("202611").unwrap().plus(2).first(), "2027-01-01 00:00:00+00");
        assert_eq!(Month::from_suffix("202613"), None);
    }
}
