//! The feature store beside what it stands on: raw tokio-postgres and pgbench, in turn, in one run, on a server of its own.
//!
//! Prints one line a measurement, `work,who,metric,value`; `--quick` takes a tenth of the time. Ratios within a run are what
//! counts: the machine's other work changes the times.
#![expect(clippy::print_stdout, reason = "its output is a table")]

#[path = "../../../core/tests/store/server.rs"]
mod server;

use std::time::{Duration, Instant};

use cenote::Batch;
use cenote::store::{FeatureStore, History, Key, Record, Timestamp, Type, View, WriteOptions};
use tokio_postgres::types::Type as PgType;

const FEATURES: usize = 20;
const KEYS: i64 = 100_000;

fn view(history: Option<History>) -> View {
    let mut view = View::builder("bench").key("id", Type::I64);
    for feature in 0..FEATURES {
        view = view.feature(format!("f{feature}"), Type::F64);
    }
    if let Some(history) = history {
        view = view.history(history);
    }
    view.build().expect("the view is sound")
}

fn report(work: &str, who: &str, metric: &str, value: f64) {
    println!("{work},{who},{metric},{value:.1}");
}

/// The median of each contender, its calls taken in turns so that all see the same machine.
fn p50(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let calls = if quick { 2_000 } else { 20_000 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("work,who,metric,value");
    runtime.block_on(async {
        let schema = server::schema();
        let store =
            FeatureStore::builder(&server::dsn()).schema(&schema).pool(8).connect().await.expect("connects");
        writes(&store, quick).await;
        reads(&store, &schema, calls).await;
        in_flight(&store, &schema, calls).await;
        joins(quick).await;
    });
    pgbench(&runtime, quick);
}

fn columns(rows: usize, from: i64) -> (Vec<i64>, Vec<i64>, Vec<f64>) {
    let ids = (0..rows as i64).map(|row| from + row).collect();
    let values = (0..rows).map(|row| row as f64 / 3.0).collect();
    (ids, vec![1_000_000; rows], values)
}

fn batch<'a>(names: &'a [String], ids: &'a [i64], events: &'a [i64], values: &'a [f64]) -> Batch<'a> {
    let mut batch = Batch::new(ids.len());
    batch.push("id", ids.into()).expect("distinct");
    batch.push("event_ts", events.into()).expect("distinct");
    for name in names {
        batch.push(name.as_str(), values.into()).expect("distinct");
    }
    batch
}

async fn writes(store: &FeatureStore, quick: bool) {
    let view = view(None);
    store.apply(&view).await.expect("applies");
    let names: Vec<String> = (0..FEATURES).map(|feature| format!("f{feature}")).collect();
    let writer = store.writer(&view);
    let rounds = if quick { 1 } else { 3 };
    for (work, repeat) in [("upsert new", false), ("upsert replay", true)] {
        let mut best = 0.0f64;
        for round in 0..rounds {
            let from = if repeat { 0 } else { i64::from(round) * KEYS };
            let (ids, events, values) = columns(KEYS as usize, from);
            let start = Instant::now();
            let batch = batch(&names, &ids, &events, &values);
            writer.upsert_batch(&batch, WriteOptions::default()).await.expect("writes");
            best = best.max(KEYS as f64 / start.elapsed().as_secs_f64());
        }
        report(work, "cenote", "rows/s", best);
    }
}

async fn reads(store: &FeatureStore, schema: &str, calls: usize) {
    let reader = store.reader(&view(None));
    let raw = server::client().await;
    let names: Vec<String> = (0..FEATURES).map(|feature| format!("f{feature}")).collect();
    let names = names.join(", ");
    let one = raw
        .prepare_typed(
            &format!("SELECT event_ts, {names} FROM \"{schema}\".bench_v1 WHERE id = $1"),
            &[PgType::INT8],
        )
        .await
        .expect("prepares");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for call in 0..calls as i64 {
        let id = call * 7919 % KEYS;
        let start = Instant::now();
        let row = reader.get(id).await.expect("reads");
        ours.push(start.elapsed());
        assert!(row.status.is_fresh());
        let start = Instant::now();
        let row = raw.query_one(&one, &[&id]).await.expect("reads");
        let values: Vec<f64> = (1..=FEATURES).map(|index| row.get(index)).collect();
        theirs.push(start.elapsed());
        assert_eq!(values.len(), FEATURES);
    }
    report("get 1 x 20", "cenote", "p50 us", p50(ours));
    report("get 1 x 20", "tokio-postgres", "p50 us", p50(theirs));

    let many = raw
        .prepare(&format!("SELECT id, event_ts, {names} FROM \"{schema}\".bench_v1 WHERE id = ANY($1)"))
        .await
        .expect("prepares");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for call in 0..calls as i64 / 10 {
        let ids: Vec<i64> = (0..100).map(|key| (call * 7919 + key * 104_729) % KEYS).collect();
        let start = Instant::now();
        let set = reader.get_many(ids.iter().copied()).await.expect("reads");
        ours.push(start.elapsed());
        assert_eq!(set.len(), 100);
        let start = Instant::now();
        let rows = raw.query(&many, &[&ids]).await.expect("reads");
        let mut table = vec![[0.0; FEATURES]; 100];
        for row in &rows {
            let id: i64 = row.get(0);
            let place = ids.iter().position(|other| *other == id).expect("asked for");
            for (index, value) in table[place].iter_mut().enumerate() {
                *value = row.get(2 + index);
            }
        }
        theirs.push(start.elapsed());
        assert_eq!(rows.len(), 100);
    }
    report("get 100 x 20", "cenote", "p50 us", p50(ours));
    report("get 100 x 20", "tokio-postgres", "p50 us", p50(theirs));
}

async fn in_flight(store: &FeatureStore, schema: &str, calls: usize) {
    let reader = store.reader(&view(None));
    let sql = format!("SELECT event_ts, {} FROM \"{schema}\".bench_v1 WHERE id = $1", {
        let names: Vec<String> = (0..FEATURES).map(|feature| format!("f{feature}")).collect();
        names.join(", ")
    });
    let each = calls / 8;
    for round in 0..2 {
        let start = Instant::now();
        let tasks: Vec<_> = (0..8i64)
            .map(|task| {
                let reader = reader.clone();
                tokio::spawn(async move {
                    for call in 0..each as i64 {
                        reader.get((call * 7919 + task) % KEYS).await.expect("reads");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("ends");
        }
        let ours = 8.0 * each as f64 / start.elapsed().as_secs_f64();
        let mut clients = Vec::new();
        for _ in 0..8 {
            let client = server::client().await;
            let statement = client.prepare(&sql).await.expect("prepares");
            clients.push((client, statement));
        }
        let start = Instant::now();
        let tasks: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(task, (client, statement))| {
                tokio::spawn(async move {
                    for call in 0..each as i64 {
                        let id = (call * 7919 + task as i64) % KEYS;
                        let row = client.query_one(&statement, &[&id]).await.expect("reads");
                        let values: Vec<f64> = (1..=FEATURES).map(|index| row.get(index)).collect();
                        assert_eq!(values.len(), FEATURES);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("ends");
        }
        let theirs = 8.0 * each as f64 / start.elapsed().as_secs_f64();
        if round == 1 {
            report("8 in flight", "cenote", "calls/s", ours);
            report("8 in flight", "tokio-postgres", "calls/s", theirs);
        }
    }
}

/// A training set: entities by time against a history of ten events a key.
async fn joins(quick: bool) {
    let schema = server::schema();
    let store = FeatureStore::builder(&server::dsn()).schema(&schema).connect().await.expect("connects");
    let view = view(Some(History::default()));
    store.apply(&view).await.expect("applies");
    let (keys, events, entities) = if quick { (5_000, 10, 10_000) } else { (100_000, 10, 100_000) };
    let writer = store.writer(&view);
    for event in 0..events {
        let rows: Vec<_> = (0..keys)
            .map(|id: i64| {
                Record::new(id, Timestamp::from_micros(event * 3_600_000_000), [event as f64; FEATURES])
            })
            .collect();
        writer.upsert_with(&rows, WriteOptions::written_with_event()).await.expect("writes");
    }
    let asked: Vec<(Key, Timestamp)> = (0..entities)
        .map(|row: i64| {
            let time = row * 7_919 % (events * 3600) * 1_000_000;
            (Key::from(row * 104_729 % keys), Timestamp::from_micros(time))
        })
        .collect();
    let client = server::client().await;
    client.batch_execute(&format!("ANALYZE \"{schema}\".bench_v1_history")).await.expect("analyzes");
    let (mut ours, mut bare) = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        let start = Instant::now();
        let set = store.as_of(&view).expect("a history").join(&asked).await.expect("joins");
        ours = ours.min(start.elapsed().as_secs_f64());
        assert!(set.event_ts.iter().all(Option::is_some));
        bare = bare.min(lateral(&client, &schema, &asked).await);
    }
    let work = format!("join {entities} x {}", keys * events);
    report(&work, "cenote", "ms", ours * 1e3);
    report(&work, "bare LATERAL", "ms", bare * 1e3);
}

/// The join alone: the entities are in a table already, sorted; the answer is read and thrown away.
async fn lateral(client: &tokio_postgres::Client, schema: &str, asked: &[(Key, Timestamp)]) -> f64 {
    use tokio_postgres::types::ToSql;
    let ids: Vec<i64> = asked
        .iter()
        .map(|(key, _)| match key.values() {
            [cenote::store::Value::Int(id)] => *id,
            _ => unreachable!("keys are whole numbers"),
        })
        .collect();
    let times: Vec<f64> = asked.iter().map(|(_, at)| at.as_micros() as f64 / 1e6).collect();
    client
        .batch_execute(
            "DROP TABLE IF EXISTS entities; CREATE TEMPORARY TABLE entities (id bigint, at timestamptz, row integer); \
             SET jit = off",
        )
        .await
        .expect("makes");
    let parameters: [&(dyn ToSql + Sync); 2] = [&ids, &times];
    client
        .execute(
            "INSERT INTO entities SELECT id, to_timestamp(at), row FROM \
             unnest($1::bigint[], $2::float8[]) WITH ORDINALITY AS e(id, at, row) ORDER BY id, at",
            &parameters,
        )
        .await
        .expect("fills");
    client.batch_execute("ANALYZE entities").await.expect("analyzes");
    let start = Instant::now();
    let sql = format!(
        "SELECT e.row, n.* FROM entities e CROSS JOIN LATERAL (SELECT * FROM \"{schema}\".bench_v1_history h \
         WHERE h.id = e.id AND h.event_ts <= e.at AND h.written_at <= e.at \
         ORDER BY h.event_ts DESC, h.written_at DESC LIMIT 1) n"
    );
    let rows = client.query(&sql, &[]).await.expect("joins");
    assert_eq!(rows.len(), asked.len());
    start.elapsed().as_secs_f64()
}

/// What the server can do for one client and for eight, asked by its own tool.
fn pgbench(runtime: &tokio::runtime::Runtime, quick: bool) {
    let schema = runtime.block_on(async {
        let store = server::builder().connect().await.expect("connects");
        writes_silently(&store).await;
        store.schema().to_owned()
    });
    let names: Vec<String> = (0..FEATURES).map(|feature| format!("f{feature}")).collect();
    let script = std::env::temp_dir().join(format!("cenote-pgbench-{}.sql", std::process::id()));
    let text = format!(
        "\\set id random(0, {})\nSELECT event_ts, {} FROM \"{schema}\".bench_v1 WHERE id = :id;\n",
        KEYS - 1,
        names.join(", ")
    );
    std::fs::write(&script, text).expect("the temporary folder is writable");
    for clients in [1, 8] {
        let output = std::process::Command::new(server::binaries().join("pgbench"))
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "cenote",
                "-n",
                "-M",
                "prepared",
                "-c",
                &clients.to_string(),
                "-p",
            ])
            .arg(server::server().port.to_string())
            .args(["-T", if quick { "1" } else { "5" }, "-f"])
            .arg(&script)
            .arg("postgres")
            .output()
            .expect("pgbench stands beside the server");
        let text = String::from_utf8_lossy(&output.stdout);
        let tps =
            text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
        let tps = tps.expect("pgbench prints its rate");
        match clients {
            1 => report("get 1 x 20", "pgbench", "mean us", 1e6 / tps),
            _ => report("8 in flight", "pgbench", "calls/s", tps),
        }
    }
    let _ = std::fs::remove_file(script);
}

async fn writes_silently(store: &FeatureStore) {
    let view = view(None);
    store.apply(&view).await.expect("applies");
    let names: Vec<String> = (0..FEATURES).map(|feature| format!("f{feature}")).collect();
    let (ids, events, values) = columns(KEYS as usize, 0);
    let batch = batch(&names, &ids, &events, &values);
    store.writer(&view).upsert_batch(&batch, WriteOptions::default()).await.expect("writes");
}
