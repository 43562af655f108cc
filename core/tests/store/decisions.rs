//! Decisions: recorded whole, replayed bit for bit whatever was written since, kept through a broken connection.

use std::time::Duration;

use cenote::decisions::{Decision, DecisionId, DecisionLog};
use cenote::registry::Registry;
use cenote::serve::ScorePlan;
use cenote::store::{self, ErrorKind, FeatureStore, Record, Step, Timestamp, Type, Value, View};
use tokio::time::timeout;

use crate::proxy::{Mode, Proxy};
use crate::registry::{fixture, variant};
use crate::server;

fn view() -> View {
    View::builder("flights")
        .key("flight", Type::I64)
        .key("leg", Type::Text)
        .feature("carrier", Type::Text)
        .feature("distance", Type::F64)
        .build()
        .unwrap()
}

const ABSENT: [&str; 10] =
    ["origin", "dest", "hour", "temp", "wind_speed", "wind_gust", "precip", "visib", "plane_year", "seats"];

async fn write(store: &FeatureStore, distance: f64) {
    let rows: Vec<_> = (0..20i64)
        .map(|flight| {
            let values: Vec<Value> = vec!["UA".into(), (distance + 0.1 * flight as f64).into()];
            Record::new((flight, "a"), Timestamp::now(), values)
        })
        .collect();
    store.writer(&view()).upsert(&rows).await.unwrap();
}

async fn setup(store: &FeatureStore) -> (Registry, ScorePlan, DecisionLog) {
    store.apply(&view()).await.unwrap();
    write(store, 1000.0).await;
    let registry = store.registry();
    registry.apply().await.unwrap();
    registry.register("late", &fixture("demo/model.zip")).await.unwrap();
    let (version, model) = registry.load(&"late".parse().unwrap()).await.unwrap();
    let plan = store.plan(&model, &view()).version(version).absent(ABSENT).build().await.unwrap();
    let log = store.decisions();
    log.apply().await.unwrap();
    log.apply().await.unwrap();
    (registry, plan, log)
}

#[tokio::test]
async fn a_decision_is_replayed_bit_for_bit_whatever_was_written_since() {
    let store = server::builder().connect().await.unwrap();
    let (registry, plan, log) = setup(&store).await;
    let mut made = Vec::new();
    for flight in 0..20i64 {
        let score = plan.score((flight, "a")).await.unwrap();
        made.push((log.record(&view(), (flight, "a"), &score).await.unwrap(), score));
    }
    let unknown = plan.score((-1i64, "b")).await.unwrap();
    made.push((log.record(&view(), (-1i64, "b"), &unknown).await.unwrap(), unknown));
    // Other features, another newest version.
    write(&store, 77.0).await;
    registry.register("late", &variant(5)).await.unwrap();
    for (id, score) in &made {
        let replay = log.replay(*id).await.unwrap();
        assert!(replay.is_identical());
        assert_eq!(replay.decision.numbers[..], *score.numbers());
        assert_eq!(replay.decision.version, 1);
        let bits = |row: &[f64]| row.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&replay.decision.features), bits(score.features()), "NaNs and all");
    }
    let replay = log.replay(made[3].0).await.unwrap();
    assert_eq!(replay.decision.key, r#"[3,"a"]"#);
    assert_eq!(replay.decision.status, "fresh");
    assert_eq!(replay.decision.event_ts, made[3].1.event_ts);
    let features = replay.features();
    assert_eq!(features[0], ("carrier".to_owned(), "UA".into()));
    assert_eq!(features[3], ("distance".to_owned(), (1000.0 + 0.1 * 3.0).into()));
    assert_eq!(features[1].1, serde_json::Value::Null);
    assert_eq!(log.find(made[20].0).await.unwrap().status, "missing");
    let of_key = log.of_key(&view(), (3i64, "a"), 10).await.unwrap();
    assert_eq!(of_key.iter().map(|decision| decision.id).collect::<Vec<_>>(), [made[3].0]);
}

#[tokio::test]
async fn a_replay_says_when_the_recorded_answer_is_another() {
    let store = server::builder().connect().await.unwrap();
    let (_, plan, log) = setup(&store).await;
    let score = plan.score((1i64, "a")).await.unwrap();
    let id = log.record(&view(), (1i64, "a"), &score).await.unwrap();
    let sql = format!(
        "UPDATE \"{}\".cenote_decisions SET numbers = set_byte(numbers, 7, get_byte(numbers, 7) # 1)",
        store.schema()
    );
    server::client().await.batch_execute(&sql).await.unwrap();
    assert!(!log.replay(id).await.unwrap().is_identical(), "one bit of one number");
}

#[tokio::test]
async fn what_is_not_there_is_named_and_what_is_old_is_dropped() {
    let store = server::builder().connect().await.unwrap();
    let (_, plan, log) = setup(&store).await;
    let nobody: DecisionId = "01900000-0000-7000-8000-000000000000".parse().unwrap();
    let missing = log.find(nobody).await.unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::NoSuchDecision { .. }), "{missing}");
    let score = plan.score((1i64, "a")).await.unwrap();
    log.record(&view(), (1i64, "a"), &score).await.unwrap();
    log.record(&view(), (2i64, "a"), &score).await.unwrap();
    assert_eq!(log.prune(Timestamp::now() - Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(log.erase(&view(), (2i64, "a")).await.unwrap(), 1);
    assert_eq!(log.prune(Timestamp::now() + Duration::from_secs(1)).await.unwrap(), 1);
    let unregistered = store.plan(plan.model(), &view()).absent(ABSENT).build().await.unwrap();
    let score = unregistered.score((1i64, "a")).await.unwrap();
    let refused = log.record(&view(), (1i64, "a"), &score).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Config { .. }), "{refused}");
}

#[tokio::test]
async fn the_same_decision_twice_is_one() {
    let store = server::builder().connect().await.unwrap();
    let (_, plan, log) = setup(&store).await;
    let score = plan.score((1i64, "a")).await.unwrap();
    let decision = Decision::new(&view(), &(1i64, "a").into(), &score).unwrap();
    log.write(&[decision.clone(), decision.clone()]).await.unwrap();
    log.write(std::slice::from_ref(&decision)).await.unwrap();
    let found = log.of_key(&view(), (1i64, "a"), 10).await.unwrap();
    // By their texts, for a NaN is equal to nothing.
    assert_eq!(format!("{found:?}"), format!("{:?}", [decision]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buffer_never_waits_and_counts_what_it_drops() {
    let store = server::builder().connect().await.unwrap();
    let (_, plan, log) = setup(&store).await;
    let score = plan.score((1i64, "a")).await.unwrap();
    let proxy = Proxy::to(server::server().port).await;
    let through = format!("host=127.0.0.1 port={} user=cenote dbname=postgres", proxy.port);
    let far = FeatureStore::builder(&through).schema(store.schema()).connect().await.unwrap();
    let buffer = far.decisions().buffered(500);
    let decision = || Decision::new(&view(), &(1i64, "a").into(), &score).unwrap();
    for _ in 0..100 {
        assert!(buffer.push(decision()));
    }
    timeout(Duration::from_secs(20), buffer.flush()).await.unwrap();
    assert_eq!((buffer.counters().written, buffer.counters().dropped), (100, 0));
    // The server is gone: the queue fills, and then decisions are dropped.
    proxy.set(Mode::Cut);
    let queued = (0..2000).filter(|_| buffer.push(decision())).count() as u64;
    let counters = buffer.counters();
    assert_eq!((counters.pushed, counters.dropped), (2100, 2000 - queued));
    assert!(counters.dropped >= 2000 - 500 - 3 * 256, "{counters:?}");
    proxy.set(Mode::Pass);
    timeout(Duration::from_secs(30), buffer.flush()).await.unwrap();
    let counters = buffer.counters();
    assert_eq!(counters.written, 100 + queued, "{counters:?}");
    assert_eq!(log.of_key(&view(), (1i64, "a"), 10_000).await.unwrap().len() as u64, 100 + queued);
}

#[test]
fn a_thread_writes_behind_for_those_without_a_runtime() {
    let builder = server::builder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(builder.clone().connect()).unwrap();
    let (_registry, plan, log) = runtime.block_on(setup(&store));
    let score = runtime.block_on(plan.score((1i64, "a"))).unwrap();
    let blocking = store::blocking::FeatureStore::new(builder).unwrap();
    let buffer = blocking.buffered_decisions(8).unwrap();
    let record = || buffer.record(&view(), (1i64, "a"), &score).unwrap();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(record)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    let limit = Duration::from_secs(20);
    buffer.flush(limit).unwrap();
    for id in &ids {
        assert_eq!(runtime.block_on(log.find(*id)).unwrap().key, "[1,\"a\"]");
    }
    // Nothing can be written now: the queue fills, and what finds no place is counted.
    let client = runtime.block_on(server::client());
    let lock = format!("BEGIN; LOCK TABLE \"{}\".cenote_decisions IN ACCESS EXCLUSIVE MODE", store.schema());
    runtime.block_on(client.batch_execute(&lock)).unwrap();
    let queued = (0..50).filter(|_| record().is_some()).count();
    let error = buffer.flush(Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Deadline { step: Step::Decisions, .. }), "{error}");
    let inside = runtime.block_on(async { buffer.flush(limit).unwrap_err() });
    assert!(matches!(inside.kind(), ErrorKind::InsideRuntime), "{inside}");
    runtime.block_on(client.batch_execute("ROLLBACK")).unwrap();
    buffer.flush(limit).unwrap();
    let counters = buffer.counters().unwrap();
    assert_eq!((counters.pushed, counters.dropped), (58, 50 - queued as u64));
    assert_eq!(counters.written, 8 + queued as u64);
    // It goes on without the store that it was made by, and writes what is left when nobody can push any more.
    blocking.close();
    let last = record().unwrap();
    drop(buffer);
    let end = std::time::Instant::now() + limit;
    while runtime.block_on(log.find(last)).is_err() {
        assert!(std::time::Instant::now() < end, "what was queued is not written");
    }
}
