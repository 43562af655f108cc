//! Reads by key: one, many, several at a time, and with a model's score.

use std::time::{Duration, Instant};

use cenote::Model;
use cenote::serve::ScorePlan;
use cenote::store::{FeatureStore, Reader, Record, Timestamp};
use tokio_postgres::types::Type as PgType;
use tokio_postgres::{Client, Statement};

use crate::{FEATURES, KEYS, Outcome, Place, feature_names, samples, value, view, wide};

/// Calls of one contender before it is the next one's turn.
const TURN: usize = 25;

/// How many keys can be scored.
const SCORED: i64 = 10_000;

/// The processor's time of this thread, driver and query, which other programs do not lengthen.
#[derive(Default)]
struct Processor {
    last: Duration,
    ours: Duration,
    theirs: Duration,
}

impl Processor {
    fn now() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    fn start(&mut self) {
        self.last = Self::now();
    }

    fn ours(&mut self) {
        let now = Self::now();
        self.ours += now - self.last;
        self.last = now;
    }

    fn theirs(&mut self) {
        let now = Self::now();
        self.theirs += now - self.last;
        self.last = now;
    }

    fn report(&self, work: &str, calls: usize) {
        for (who, time) in [("cenote", self.ours), ("tokio_postgres", self.theirs)] {
            value(work, who, "client_cpu_us", time.as_secs_f64() * 1e6 / calls as f64);
        }
    }
}

/// What the reads share: connections and prepared statements of each contender.
pub(crate) struct Reads<'p> {
    place: &'p Place,
    reader: Reader,
    raw: Client,
    one: Statement,
    many: Statement,
    /// The plan, its model, and a reader of the model's features alone.
    scoring: Option<(ScorePlan, Model, Reader)>,
    /// Where the walk over the keys stands.
    next: i64,
}

/// Which columns a raw client selects, and from where.
fn select(schema: &str, more: &str, condition: &str) -> String {
    let names = feature_names().join(", ");
    format!("SELECT {more}event_ts, {names} FROM \"{schema}\".bench_v1 WHERE {condition}")
}

impl<'p> Reads<'p> {
    pub(crate) async fn new(place: &'p Place) -> Outcome<Self> {
        let store = place.builder().pool(1).connect().await?;
        let raw = place.client().await?;
        let one = raw.prepare_typed(&select(&place.schema, "", "id = $1"), &[PgType::INT8]).await?;
        let many = raw.prepare(&select(&place.schema, "id, ", "id = ANY($1)")).await?;
        Ok(Self { place, reader: store.reader(&view()?), raw, one, many, scoring: None, next: 0 })
    }

    fn key(&mut self) -> i64 {
        self.next += 7919;
        self.next % KEYS
    }

    /// One key, from the key to values of the program's own types.
    pub(crate) async fn get(&mut self, calls: usize) -> Outcome {
        let (mut ours, mut theirs) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
        let mut work = Processor::default();
        for _ in 0..calls.div_ceil(TURN) {
            work.start();
            for _ in 0..TURN {
                let id = self.key();
                let start = Instant::now();
                let row = self.reader.get(id).await?;
                ours.push(start.elapsed());
                assert!(row.status.is_fresh());
            }
            work.ours();
            for _ in 0..TURN {
                let id = self.key();
                let start = Instant::now();
                let row = self.raw.query_one(&self.one, &[&id]).await?;
                let values: Vec<Option<f64>> = (1..=FEATURES).map(|index| row.get(index)).collect();
                theirs.push(start.elapsed());
                assert_eq!(values.len(), FEATURES);
            }
            work.theirs();
        }
        work.report("get_1x20", ours.len());
        samples("get_1x20", "cenote", &ours);
        samples("get_1x20", "tokio_postgres", &theirs);
        Ok(())
    }

    /// A hundred keys, to columns in the order of the keys.
    pub(crate) async fn get_many(&mut self, calls: usize) -> Outcome {
        let (mut ours, mut theirs) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
        let mut work = Processor::default();
        for _ in 0..calls.div_ceil(TURN) {
            work.start();
            for _ in 0..TURN {
                let ids = self.hundred();
                let start = Instant::now();
                let set = self.reader.get_many(ids.iter().copied()).await?;
                ours.push(start.elapsed());
                assert!(set.status.iter().all(|status| status.is_fresh()) && set.len() == 100);
            }
            work.ours();
            for _ in 0..TURN {
                let ids = self.hundred();
                let start = Instant::now();
                let rows = self.raw.query(&self.many, &[&ids]).await?;
                let mut columns = vec![vec![None; ids.len()]; FEATURES];
                for row in &rows {
                    let id: i64 = row.get(0);
                    let place = ids.iter().position(|other| *other == id);
                    let place = place.ok_or("a key that was not asked for")?;
                    for (index, column) in columns.iter_mut().enumerate() {
                        column[place] = row.get::<_, Option<f64>>(2 + index);
                    }
                }
                theirs.push(start.elapsed());
                assert_eq!((rows.len(), columns.len()), (100, FEATURES));
            }
            work.theirs();
        }
        work.report("get_100x20", ours.len());
        samples("get_100x20", "cenote", &ours);
        samples("get_100x20", "tokio_postgres", &theirs);
        Ok(())
    }

    fn hundred(&mut self) -> Vec<i64> {
        let from = self.key();
        (0..100).map(|key| (from + key * 104_729) % KEYS).collect()
    }

    /// As many calls at a time as there are clients, each client with a connection, for a while.
    pub(crate) async fn in_flight(&mut self, clients: usize, length: Duration) -> Outcome {
        let store = self.place.builder().pool(clients).connect().await?;
        let reader = store.reader(&view()?);
        let mut raw = Vec::new();
        for task in 0..clients {
            let client = self.place.client().await?;
            let statement = client.prepare(&select(&self.place.schema, "", "id = $1")).await?;
            reader.get(task as i64).await?;
            raw.push((client, statement));
        }
        let end = Instant::now() + length;
        let tasks: Vec<_> = (0..clients as i64)
            .map(|task| {
                let reader = reader.clone();
                tokio::spawn(async move {
                    let mut calls = 0i64;
                    while Instant::now() < end {
                        let row = reader.get((calls * 7919 + task) % KEYS).await.expect("reads");
                        assert!(row.status.is_fresh());
                        calls += 1;
                    }
                    calls
                })
            })
            .collect();
        let start = Instant::now();
        let mut calls = 0;
        for task in tasks {
            calls += task.await?;
        }
        let work = format!("in_flight_{clients}");
        value(&work, "cenote", "calls_per_s", calls as f64 / start.elapsed().as_secs_f64());
        drop(store);
        let end = Instant::now() + length;
        let tasks: Vec<_> = raw
            .into_iter()
            .enumerate()
            .map(|(task, (client, statement))| {
                tokio::spawn(async move {
                    let mut calls = 0i64;
                    while Instant::now() < end {
                        let id = (calls * 7919 + task as i64) % KEYS;
                        let row = client.query_one(&statement, &[&id]).await.expect("reads");
                        let values: Vec<Option<f64>> = (1..=FEATURES).map(|index| row.get(index)).collect();
                        assert_eq!(values.len(), FEATURES);
                        calls += 1;
                    }
                    calls
                })
            })
            .collect();
        let start = Instant::now();
        let mut calls = 0;
        for task in tasks {
            calls += task.await?;
        }
        value(&work, "tokio_postgres", "calls_per_s", calls as f64 / start.elapsed().as_secs_f64());
        Ok(())
    }

    /// The score of a key by a GBM of 500 trees of depth 6, beside the read and the score of which it is made.
    pub(crate) async fn score(&mut self, calls: usize) -> Outcome {
        if self.scoring.is_none() {
            self.scoring = Some(scoring(self.place).await?);
        }
        let ids: Vec<i64> = (0..calls).map(|_| self.key() % SCORED).collect();
        let Some((plan, model, reader)) = &self.scoring else { return Err("just made".into()) };
        let (mut get, mut score, mut both) = (Vec::new(), Vec::new(), Vec::new());
        for ids in ids.chunks(TURN) {
            let mut expected = Vec::new();
            for id in ids {
                let start = Instant::now();
                let row = reader.get(*id).await?;
                get.push(start.elapsed());
                let features = row.values.iter().map(|value| match value {
                    cenote::store::Value::Float(value) => *value,
                    _ => f64::NAN,
                });
                let features: Vec<f64> = features.collect();
                let mut numbers = vec![0.0; model.n_numbers()];
                let start = Instant::now();
                model.predict_raw(&features, 0.0, &mut numbers)?;
                score.push(start.elapsed());
                expected.push(numbers);
            }
            for (id, numbers) in ids.iter().zip(expected) {
                let start = Instant::now();
                let found = plan.score(*id).await?;
                both.push(start.elapsed());
                assert_eq!(found.numbers(), numbers);
            }
        }
        samples("score_gbm_500x6", "cenote_get", &get);
        samples("score_gbm_500x6", "cenote_row_score", &score);
        samples("score_gbm_500x6", "cenote", &both);
        Ok(())
    }
}

/// A view with a column for each input of the model, and rows in it.
async fn scoring(place: &Place) -> Outcome<(ScorePlan, Model, Reader)> {
    let model = Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/models/gbm_500x6_numeric.zip"))?;
    let inputs = model.schema().input_columns().len();
    let names: Vec<_> = model.schema().input_columns().iter().map(|column| column.name.clone()).collect();
    let view = names
        .iter()
        .fold(wide("scored", "", 0), |view, name| view.feature(name.clone(), cenote::store::Type::F64))
        .build()?;
    let store: FeatureStore = place.builder().pool(1).connect().await?;
    store.apply(&view).await?;
    // Values from a fixed sequence between -2 and 2, where the model's thresholds are.
    let mut state = 1u64;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1u32 << 31) * 4.0 - 2.0
    };
    let rows: Vec<_> = (0..SCORED)
        .map(|id| {
            let values: Vec<f64> = (0..inputs).map(|_| number()).collect();
            Record::new(id, Timestamp::from_micros(0), values)
        })
        .collect();
    store.writer(&view).upsert(&rows).await?;
    let plan = store.plan(&model, &view).build().await?;
    Ok((plan, model, store.reader(&view)))
}
