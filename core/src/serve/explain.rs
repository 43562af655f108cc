//! What a plan will do: the statement, where each input comes from, how the server would run it, and what is wrong with that.

use serde_json::Value;

use super::{ScorePlan, Source};
use crate::store::{Deadline, Error, Lease, Step, identifier, literal, wire};

/// More rows than these are not read one after another without a warning.
const FEW: f64 = 1000.0;

/// What a plan will do.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The statement that fetches a key.
    pub sql: String,
    /// Each input of the model and where it comes from.
    pub inputs: Vec<(String, String)>,
    /// Features of the view that the model does not read, and that are not fetched.
    pub unread: Vec<String>,
    /// How the server would run the statement, as its `EXPLAIN` says.
    pub query_plan: String,
    /// What makes it slow or may soon; none if all is well.
    pub warnings: Vec<String>,
}

impl ScorePlan {
    /// Says what the plan will do, and warns where a key's row is not found by an index.
    ///
    /// Dropping the future rolls everything back; nothing is changed in any case.
    ///
    /// # Errors
    /// A refusal by the server; a deadline.
    pub async fn explain(&self) -> Result<Explanation, Error> {
        let view = self.view();
        let fetched = |name: &str| self.reader.features.iter().any(|(other, _)| other == name);
        let unread = view.features().iter().filter(|feature| !fetched(&feature.name));
        let mut explanation = Explanation {
            sql: self.reader.statement(|place| format!("${place}")),
            inputs: self
                .inner
                .inputs
                .iter()
                .map(|input| (input.name.to_string(), self.origin(input.source)))
                .collect(),
            unread: unread.map(|feature| feature.name.clone()).collect(),
            query_plan: String::new(),
            warnings: Vec::new(),
        };
        let store = &self.reader.store;
        let length = store.pool().deadlines().read;
        let lease = store.pool().begin(Step::Read, length).await?;
        let deadline = Deadline::after(length);
        // The settings that are tried end with the transaction.
        let outcome = self.ask(&lease, deadline, &mut explanation).await;
        lease.end(Step::Read, deadline, outcome).await?;
        Ok(explanation)
    }

    fn origin(&self, source: Source) -> String {
        match source {
            Source::Key(index) => format!("key {:?}", self.view().keys()[index].name),
            Source::Feature(index) => format!("feature {:?}", self.reader.features[index].0),
            Source::Request => "the request".to_owned(),
            Source::Absent => "always missing".to_owned(),
        }
    }

    async fn ask(&self, lease: &Lease<'_>, deadline: Deadline, to: &mut Explanation) -> Result<(), Error> {
        let store = &self.reader.store;
        let table = store.table(self.view());
        // A key that the planner cannot see, as in the prepared statement: that of some row.
        let keys = self.view().keys();
        let some =
            |place: usize| format!("(SELECT {} FROM {table} LIMIT 1)", identifier(&keys[place - 1].name));
        let sql = self.reader.statement(some);
        let ask = async |sql: &str| {
            let rows = lease.during(Step::Read, deadline, lease.client().query_typed(sql, &[])).await?;
            let line = |row| Ok(wire::text(wire::cell(row, 0)?.unwrap_or_default())?.to_owned());
            rows.iter().map(line).collect::<Result<Vec<_>, Error>>()
        };
        to.query_plan = ask(&format!("EXPLAIN {sql}")).await?.join("\n");
        let scans = |plan: Vec<String>| {
            let plan: Value = serde_json::from_str(&plan.concat()).unwrap_or_default();
            reads_whole(&plan[0]["Plan"], &self.view().table())
        };
        let chosen = scans(ask(&format!("EXPLAIN (FORMAT JSON) {sql}")).await?);
        let off = lease.client().batch_execute("SET LOCAL enable_seqscan = off");
        lease.during(Step::Read, deadline, off).await?;
        let forced = scans(ask(&format!("EXPLAIN (FORMAT JSON) {sql}")).await?);
        let numbers = format!(
            "SELECT concat_ws(' ', c.reltuples, coalesce(s.n_live_tup, 0), coalesce(s.n_dead_tup, 0)) \
             FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid \
             WHERE c.oid = {}::regclass",
            literal(&table)
        );
        let numbers = ask(&numbers).await?.concat();
        let mut numbers = numbers.split(' ').map(|number| number.parse::<f64>().unwrap_or(0.0));
        let mut next = || numbers.next().unwrap_or(0.0);
        let (rows, live, dead) = (next(), next(), next());
        let name = self.view().table();
        if forced {
            let keys: Vec<_> = self.view().keys().iter().map(|key| key.name.as_str()).collect();
            to.warnings.push(format!(
                "no index of table {name:?} is on its keys {keys:?}: every read scans the whole table"
            ));
        } else if chosen && rows > FEW {
            to.warnings.push(format!(
                "the server would scan the whole table {name:?} of about {rows:.0} rows, though an index is there"
            ));
        }
        if rows < 0.0 {
            to.warnings.push(format!("table {name:?} was never analysed: run ANALYZE once it is filled"));
        }
        if dead > live && dead > FEW {
            to.warnings
                .push(format!("table {name:?} has more dead rows than live ones: let autovacuum keep up"));
        }
        Ok(())
    }
}

/// Whether a plan reads `table` from one end to the other, but for what picks the key.
fn reads_whole(plan: &Value, table: &str) -> bool {
    if plan["Parent Relationship"] == "InitPlan" {
        return false;
    }
    let scans = plan["Node Type"].as_str().is_some_and(|node| node.contains("Seq Scan"));
    (scans && plan["Relation Name"] == table)
        || plan["Plans"].as_array().is_some_and(|plans| plans.iter().any(|plan| reads_whole(plan, table)))
}
