//! The store on threads without an async runtime.

use std::time::Duration;

use cenote::store::blocking::{Cancellation, FeatureStore};
use cenote::store::{
    self, ErrorKind, FeatureRow, FeatureSet, History, Key, KnownAt, Record, Status, Step, Timestamp, Type,
    View, WriteOptions,
};

use crate::server;

fn view() -> View {
    View::builder("plain").key("id", Type::I32).feature("x", Type::F64).build().unwrap()
}

fn rows(ids: std::ops::Range<i32>) -> Vec<Record> {
    ids.map(|id| Record::new(id, Timestamp::from_micros(0), [f64::from(id)])).collect()
}

/// A store, and a plain connection to watch and hinder it.
fn setup(application: &str) -> (FeatureStore, tokio::runtime::Runtime, tokio_postgres::Client, String) {
    let schema = server::schema();
    let dsn = format!("{} application_name={application}", server::dsn());
    let store = FeatureStore::new(
        store::FeatureStore::builder(&dsn).schema(&schema).read_timeout(Duration::from_millis(500)),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let admin = runtime.block_on(server::client());
    (store.unwrap(), runtime, admin, schema)
}

#[test]
fn threads_share_a_store_and_keep_their_connections() {
    let (store, runtime, admin, _) = setup("blocking_threads");
    assert_eq!(store.plan_view(&view()).unwrap().len(), 4);
    store.apply(&view()).unwrap();
    store.verify(&view()).unwrap();
    let done = store.writer(&view()).upsert(&rows(0..100), WriteOptions::default()).unwrap();
    assert_eq!(done.inserted, 100);
    let reader = store.reader(&view());
    let connections = || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'blocking_threads'";
        runtime.block_on(admin.query_one(sql, &[])).unwrap().get::<_, i64>(0)
    };
    std::thread::scope(|scope| {
        for id in 0..4 {
            let reader = &reader;
            scope.spawn(move || {
                for _ in 0..50 {
                    assert_eq!(reader.get(id).unwrap().get("x"), Some(&f64::from(id).into()));
                }
            });
        }
    });
    let set = reader.get_many([7, 700]).unwrap();
    assert_eq!(set.status, [Status::Fresh, Status::Missing]);
    let end = std::time::Instant::now() + Duration::from_secs(2);
    while connections() > 1 {
        assert!(std::time::Instant::now() < end, "a thread's connection outlives it");
    }
    store.close();
    assert!(matches!(reader.get(1).unwrap_err().kind(), ErrorKind::Closed));
    while connections() > 0 {
        assert!(std::time::Instant::now() < end, "a closed store has a connection");
    }
}

#[test]
fn a_deadline_frees_the_server_and_a_dead_connection_is_replaced() {
    let (store, runtime, admin, schema) = setup("blocking_faults");
    store.apply(&view()).unwrap();
    store.writer(&view()).upsert(&rows(0..3), WriteOptions::default()).unwrap();
    let reader = store.reader(&view());
    assert_eq!(reader.get(1).unwrap().status, Status::Fresh);
    let lock = format!("BEGIN; LOCK TABLE \"{schema}\".plain_v1 IN ACCESS EXCLUSIVE MODE");
    runtime.block_on(admin.batch_execute(&lock)).unwrap();
    let error = reader.get(1).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Deadline { step: Step::Read, .. }), "{error}");
    // The thread's runtime stands still now, and the server is free all the same.
    std::thread::sleep(Duration::from_millis(20));
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'blocking_faults' AND state <> 'idle'";
    assert_eq!(runtime.block_on(admin.query_one(sql, &[])).unwrap().get::<_, i64>(0), 0);
    runtime.block_on(admin.batch_execute("ROLLBACK")).unwrap();
    assert_eq!(reader.get(1).unwrap().status, Status::Fresh);
    // Between two calls nobody reads the news that the server has hung up.
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'blocking_faults'";
    let alive = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'blocking_faults'";
    let ended = || {
        runtime.block_on(admin.query_one(kill, &[])).unwrap();
        while runtime.block_on(admin.query_one(alive, &[])).unwrap().get::<_, i64>(0) > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    for _ in 0..5 {
        ended();
        assert_eq!(reader.get(1).unwrap().status, Status::Fresh);
    }
    ended();
    let done = store.writer(&view()).upsert(&rows(2..5), WriteOptions::default()).unwrap();
    assert_eq!((done.inserted, done.stale), (2, 1));
}

#[test]
fn another_thread_ends_a_call_and_its_query() {
    let (store, runtime, admin, schema) = setup("blocking_cancelled");
    store.apply(&view()).unwrap();
    store.writer(&view()).upsert(&rows(0..3), WriteOptions::default()).unwrap();
    let lock = format!("BEGIN; LOCK TABLE \"{schema}\".plain_v1 IN ACCESS EXCLUSIVE MODE");
    // Not the watcher: in a transaction pg_stat_activity stands still.
    let locker = runtime.block_on(server::client());
    runtime.block_on(locker.batch_execute(&lock)).unwrap();
    let cancellation = Cancellation::new();
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'blocking_cancelled' AND state <> 'idle'";
    let at_work = || runtime.block_on(admin.query_one(sql, &[])).unwrap().get::<_, i64>(0);
    std::thread::scope(|scope| {
        let (reader, writer) = (store.reader(&view()), store.writer(&view()));
        let inside = cancellation.clone();
        let caller = scope.spawn(move || {
            inside.scope(|| {
                let first = writer.upsert(&rows(0..3), WriteOptions::default()).unwrap_err();
                // Nothing is begun after it.
                (first, reader.get(1).unwrap_err())
            })
        });
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while at_work() == 0 && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        cancellation.cancel();
        let errors = caller.join().unwrap();
        for error in [errors.0, errors.1] {
            assert!(matches!(error.kind(), ErrorKind::Cancelled), "{error}");
        }
        let end = std::time::Instant::now() + Duration::from_secs(2);
        while at_work() > 0 {
            assert!(std::time::Instant::now() < end, "a query runs on");
        }
    });
    runtime.block_on(locker.batch_execute("ROLLBACK")).unwrap();
    assert_eq!(store.reader(&view()).get(1).unwrap().status, Status::Fresh);
}

#[test]
fn a_thread_of_a_runtime_is_refused() {
    let (store, runtime, _, _) = setup("blocking_runtime");
    let error = runtime.block_on(async { store.verify(&view()).unwrap_err() });
    assert!(matches!(error.kind(), ErrorKind::InsideRuntime), "{error}");
}

#[test]
fn one_store_serves_the_process() {
    let dsn = format!("{} application_name=blocking_shared", server::dsn());
    let first = FeatureStore::shared(&dsn).unwrap();
    let second = FeatureStore::shared(&dsn).unwrap();
    first.close();
    assert!(matches!(second.verify(&view()).unwrap_err().kind(), ErrorKind::Closed));
    let third = FeatureStore::shared(&dsn).unwrap();
    assert!(matches!(third.verify(&view()).unwrap_err().kind(), ErrorKind::SchemaDrift { .. }));
}

#[derive(FeatureRow, Debug, Clone, PartialEq)]
#[row(view = "typed", history = "730d")]
struct Row {
    #[row(key)]
    id: i64,
    #[row(event_ts)]
    at: Timestamp,
    x: Option<f64>,
}

#[test]
fn rows_as_structs_come_back_as_they_were_written() {
    let (store, _, _, _) = setup("blocking_typed");
    let typed = store.typed::<Row>().unwrap();
    assert!(matches!(typed.verify().unwrap_err().kind(), ErrorKind::SchemaDrift { .. }));
    typed.apply().unwrap();
    typed.verify().unwrap();
    let now = Timestamp::now();
    let row = |id: i64, at| Row { id, at, x: (id != 2).then_some(id as f64) };
    let first = row(1, now - Duration::from_secs(60));
    assert_eq!(typed.upsert(vec![first.clone(), row(2, now)]).unwrap().inserted, 2);
    let written = WriteOptions::default();
    assert_eq!(typed.upsert_all((1..5).map(|id| row(id, now)), written).unwrap().inserted, 2);
    let found = typed.get(&2).unwrap();
    assert_eq!((found.status, found.row), (Status::Fresh, Some(row(2, now))));
    assert_eq!(store.get::<Row>(&4).unwrap().row, Some(row(4, now)));
    let many = typed.get_many(&[3, 9, 3]).unwrap();
    let rows: Vec<_> = many.into_iter().map(|found| found.row).collect();
    assert_eq!(rows, [Some(row(3, now)), None, Some(row(3, now))]);
    let past = typed.as_of().unwrap().known_at(KnownAt::Any);
    let then = past.join(&[(1, now - Duration::from_secs(1)), (2, now - Duration::from_secs(1))]).unwrap();
    assert_eq!((&then[0].row, &then[1].row), (&Some(first), &None));
    let set = past.join_set(&[(1, now)]).unwrap();
    assert_eq!(set.column("x").unwrap().value(0), 1.0.into());
    let mut load = typed.load("first", written).unwrap();
    assert_eq!(load.records(&[row(7, now).into_record()]).unwrap().rows, 1);
    assert_eq!(typed.clone().get(&7).unwrap().row, Some(row(7, now)));
}

#[test]
fn between_two_sets_of_a_join_the_store_is_free() {
    let (store, _, _, _) = setup("blocking_sets");
    let view = View::builder("sets").key("id", Type::I32).feature("x", Type::F64).history(History::default());
    let view = view.build().unwrap();
    store.apply(&view).unwrap();
    store.writer(&view).upsert(&rows(0..5), WriteOptions::default()).unwrap();
    let (past, reader) = (store.as_of(&view).unwrap().known_at(KnownAt::Any), store.reader(&view));
    let (mut row, mut lengths) = (0, Vec::new());
    let entities = (0..200_010).map(|row| (Key::from(row % 7), Timestamp::from_micros(1)));
    let each = |set: FeatureSet| {
        for place in 0..set.len() {
            let known = (row % 7 < 5).then_some(f64::from(row % 7));
            assert_eq!(set.columns[0].value(place), known.into(), "entity {row}");
            row += 1;
        }
        lengths.push(set.len());
        // The caller may ask this store.
        assert_eq!(reader.get(4)?.get("x"), Some(&4.0.into()));
        Ok::<_, store::Error>(())
    };
    past.join_all(entities, each).unwrap();
    assert_eq!(lengths, [200_000, 10]);
}
