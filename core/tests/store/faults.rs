//! What the store owes its callers when queries hang, backends die, tables change and callers go away.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use cenote::store::{
    Deadlines, Error, ErrorKind, FeatureStore, Reader, Record, StatementMode, Status, Step, Timestamp, Type,
    Value, View,
};

use crate::proxy::{Mode, Proxy};
use crate::server;

/// How long a busy machine may take for what should come at once.
const PATIENCE: Duration = Duration::from_secs(60);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn view() -> View {
    View::builder("faulty").key("id", Type::I32).feature("x", Type::F64).build().unwrap()
}

fn row(id: i32, event: i64) -> Record {
    Record::new(id, Timestamp::from_micros(event), [f64::from(id)])
}

/// A schema of its own with ten rows, the application name by which its connections are known, and a plain client.
struct Setup {
    schema: String,
    application: String,
    admin: tokio_postgres::Client,
}

impl Setup {
    async fn new() -> Self {
        let schema = server::schema();
        let application = schema.replace(' ', "_");
        let store = FeatureStore::builder(&server::dsn()).schema(&schema).connect().await.unwrap();
        store.apply(&view()).await.unwrap();
        let rows: Vec<_> = (0..10).map(|id| row(id, 0)).collect();
        store.writer(&view()).upsert(&rows).await.unwrap();
        Self { schema, application, admin: server::client().await }
    }

    fn builder_on(&self, port: u16) -> cenote::store::Builder {
        let dsn = format!(
            "host=127.0.0.1 port={port} user=cenote dbname=postgres application_name={}",
            self.application
        );
        FeatureStore::builder(&dsn).schema(&self.schema)
    }

    fn builder(&self) -> cenote::store::Builder {
        self.builder_on(server::server().port)
    }

    /// Keeps every reader and writer of the table waiting until it is dropped.
    async fn lock_table(&self) -> tokio_postgres::Client {
        let client = server::client().await;
        let lock = format!("BEGIN; LOCK TABLE \"{}\".faulty_v1 IN ACCESS EXCLUSIVE MODE", self.schema);
        client.batch_execute(&lock).await.unwrap();
        client
    }

    /// How many of the store's backends are at work.
    async fn at_work(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state <> 'idle'";
        self.admin.query_one(sql, &[&self.application]).await.unwrap().get(0)
    }

    /// Waits until one of the store's queries waits for a lock.
    async fn until_locked(&self) {
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'";
        let start = Instant::now();
        while self.admin.query_one(sql, &[&self.application]).await.unwrap().get::<_, i64>(0) == 0 {
            assert!(start.elapsed() < PATIENCE, "no query waits");
            tokio::time::sleep(ms(1)).await;
        }
    }

    /// Ends the store's backends.
    async fn kill(&self) -> i64 {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
        self.admin.query_one(sql, &[&self.application]).await.unwrap().get(0)
    }

    /// Ends one of the store's backends.
    async fn kill_one(&self) -> i64 {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
                   WHERE application_name = $1 ORDER BY random() LIMIT 1) one";
        self.admin.query_one(sql, &[&self.application]).await.unwrap().get(0)
    }

    /// How long the server takes to be rid of the store's queries.
    async fn until_free(&self) -> Duration {
        let start = Instant::now();
        while self.at_work().await > 0 {
            assert!(start.elapsed() < PATIENCE, "a query runs on");
            tokio::time::sleep(ms(1)).await;
        }
        start.elapsed()
    }
}

/// Reads by both statements.
async fn reads(reader: &Reader) {
    assert_eq!(reader.get(5).await.unwrap().get("x"), Some(&5.0.into()));
    let set = reader.get_many([3, 99, 4]).await.unwrap();
    assert_eq!(set.status, [Status::Fresh, Status::Missing, Status::Fresh]);
    assert_eq!([set.columns[0].value(0), set.columns[0].value(2)], [3.0.into(), 4.0.into()]);
}

/// As [`reads`], of a store with a short deadline: a machine that is busy may pass it a few times.
async fn patient_reads(reader: &Reader) {
    let start = Instant::now();
    while let Err(error) = reader.get(5).await {
        assert!(matches!(error.kind(), ErrorKind::Deadline { .. }), "{error}");
        assert!(start.elapsed() < PATIENCE, "no read within its deadline");
    }
}

fn deadline(error: &Error) -> (Step, Duration) {
    match error.kind() {
        ErrorKind::Deadline { step, after } => (*step, *after),
        _ => panic!("{error} is not a deadline"),
    }
}

#[tokio::test]
async fn a_query_past_its_deadline_is_cancelled_at_the_server() {
    let setup = Setup::new().await;
    let store = setup.builder().pool(1).read_timeout(ms(100)).connect().await.unwrap();
    let reader = store.reader(&view());
    patient_reads(&reader).await;
    let lock = setup.lock_table().await;
    // The least of some: others want the processor too.
    let begun = Instant::now();
    let (mut tries, mut took, mut free) = (0, Duration::MAX, Duration::MAX);
    while tries < 5 || took >= ms(150) || free >= ms(50) {
        assert!(begun.elapsed() < PATIENCE, "the caller waited {took:?}, the server was free after {free:?}");
        let start = Instant::now();
        let error = reader.get(3).await.unwrap_err();
        took = took.min(start.elapsed());
        free = free.min(setup.until_free().await);
        assert_eq!(deadline(&error).1, ms(100));
        assert!(error.to_string().starts_with("deadline of 100 ms passed while "), "{error}");
        tries += 1;
    }
    lock.batch_execute("ROLLBACK").await.unwrap();
    patient_reads(&reader).await;
}

#[tokio::test]
async fn a_query_whose_caller_went_away_is_cancelled_at_the_server() {
    let setup = Setup::new().await;
    let store = setup.builder().pool(1).connect().await.unwrap();
    let (reader, writer) = (store.reader(&view()), store.writer(&view()));
    reads(&reader).await;
    let lock = setup.lock_table().await;
    let begun = Instant::now();
    let (mut tries, mut free) = (0, [Duration::MAX; 2]);
    while tries < 5 || free.iter().any(|free| *free >= ms(50)) {
        assert!(begun.elapsed() < PATIENCE, "the server was free after {free:?}");
        assert!(tokio::time::timeout(ms(50), reader.get(3)).await.is_err());
        free[0] = free[0].min(setup.until_free().await);
        assert!(tokio::time::timeout(ms(50), writer.upsert(&[row(3, 9)])).await.is_err());
        free[1] = free[1].min(setup.until_free().await);
        tries += 1;
    }
    lock.batch_execute("ROLLBACK").await.unwrap();
    reads(&reader).await;
    assert_eq!(reader.get(3).await.unwrap().event_ts, Some(Timestamp::from_micros(0)), "nothing was written");
}

/// Polls a future `polls` times, a moment apart, and drops it if it is not done by then.
async fn polled<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        tokio::time::sleep(ms(2)).await;
    }
    None
}

#[tokio::test]
async fn a_future_may_be_dropped_at_any_await() {
    let setup = Setup::new().await;
    let store = setup.builder().pool(2).connect().await.unwrap();
    let (reader, writer) = (store.reader(&view()), store.writer(&view()));
    let many: Vec<_> = (0..40).map(|id| row(id, 1)).collect();
    let (mut polls, mut reads_done, mut writes_done) = (0, 0, 0);
    while polls < 30 || reads_done <= 5 || writes_done <= 5 {
        assert!(polls < 1000, "{reads_done} reads and {writes_done} writes came to their end");
        // The connections are fresh every third time, so that connecting and preparing are dropped too.
        if polls % 3 == 0 {
            setup.kill().await;
        }
        reads_done += usize::from(polled(polls, reader.get_many([1, 2, 3])).await.is_some());
        let rows = &many[..polls.min(many.len())];
        writes_done += usize::from(polled(polls, writer.upsert(rows)).await.is_some());
        reads(&reader).await;
        polls += 1;
    }
    writer.upsert(&many).await.unwrap();
    let (size, _) = store.connections();
    assert!(size <= 2, "{size} connections");
    setup.until_free().await;
}

#[tokio::test]
async fn killed_backends_are_not_seen_by_readers() {
    let setup = Setup::new().await;
    let store = setup.builder().pool(4).connect().await.unwrap();
    let reader = store.reader(&view());
    // Idle connections.
    for _ in 0..20 {
        reads(&reader).await;
        setup.kill().await;
    }
    // Under load.
    let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let load: Vec<_> = (0..8i32)
        .map(|id| {
            let (reader, done, count) = (reader.clone(), Arc::clone(&done), Arc::clone(&count));
            tokio::spawn(async move {
                while !done.load(Relaxed) {
                    let row = reader.get(id).await.unwrap();
                    assert_eq!(row.get("x"), Some(&Value::from(f64::from(id))));
                    count.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let (start, mut kills) = (Instant::now(), 0);
    while start.elapsed() < ms(3000) || kills <= 50 || count.load(Relaxed) <= 100 {
        assert!(start.elapsed() < PATIENCE, "{kills} kills, {count:?} reads");
        kills += setup.kill_one().await;
        tokio::time::sleep(ms(5)).await;
    }
    done.store(true, Relaxed);
    for task in load {
        task.await.unwrap();
    }
    assert!(store.connections().0 <= 4);
    reads(&reader).await;
}

#[tokio::test]
async fn a_full_pool_says_so() {
    let setup = Setup::new().await;
    let deadlines = {
        let mut deadlines = Deadlines::default();
        deadlines.wait = ms(50);
        deadlines
    };
    let store = setup.builder().pool(1).deadlines(deadlines).connect().await.unwrap();
    let reader = store.reader(&view());
    let lock = setup.lock_table().await;
    let busy = tokio::spawn({
        let reader = reader.clone();
        async move { reader.get(1).await }
    });
    setup.until_locked().await;
    let error = reader.get(2).await.unwrap_err();
    assert_eq!(deadline(&error), (Step::Wait, ms(50)));
    lock.batch_execute("ROLLBACK").await.unwrap();
    busy.await.unwrap().unwrap();
    reads(&reader).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_or_does_not_answer_is_named_by_its_step() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap().port();
    let mut deadlines = Deadlines::default();
    deadlines.connect = ms(100);
    let dsn = |port| format!("host=127.0.0.1 port={port} user=u password=hush");
    let error = FeatureStore::builder(&dsn(silent)).deadlines(deadlines).connect().await.unwrap_err();
    assert_eq!(deadline(&error), (Step::Connect, ms(100)));
    drop(listener);
    let error = FeatureStore::builder(&dsn(silent)).deadlines(deadlines).connect().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Connection { step: Step::Connect, .. }), "{error}");
    assert!(!format!("{error:?}").contains("hush"));
    let dsn = server::dsn().replace("dbname=postgres", "dbname=nowhere");
    let error = FeatureStore::connect(&dsn).await.unwrap_err();
    let message = "the server refused while connecting: SQLSTATE 3D000 (database \"nowhere\" does not exist)";
    assert_eq!(error.to_string(), message);
}

#[tokio::test]
async fn a_network_that_stands_still_ends_at_the_deadline_and_heals() {
    let setup = Setup::new().await;
    let proxy = Proxy::to(server::server().port).await;
    let store = setup.builder_on(proxy.port).pool(2).read_timeout(ms(150)).connect().await.unwrap();
    let reader = store.reader(&view());
    patient_reads(&reader).await;
    proxy.set(Mode::Stall);
    let start = Instant::now();
    let error = reader.get(1).await.unwrap_err();
    assert_eq!(deadline(&error), (Step::Read, ms(150)));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    proxy.set(Mode::Pass);
    patient_reads(&reader).await;
    proxy.set(Mode::Cut);
    let error = reader.get(1).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Connection { .. }), "{error}");
    proxy.set(Mode::Pass);
    patient_reads(&reader).await;
}

#[tokio::test]
async fn tables_changed_under_a_reader_are_drift_or_nothing() {
    let setup = Setup::new().await;
    let store = setup.builder().pool(1).connect().await.unwrap();
    let reader = store.reader(&view());
    reads(&reader).await;
    let alter = async |change: &str| {
        let sql = format!("ALTER TABLE \"{}\".faulty_v1 {change}", setup.schema);
        setup.admin.batch_execute(&sql).await.unwrap();
    };
    alter("ADD COLUMN y text").await;
    reads(&reader).await;
    alter("ALTER COLUMN x TYPE text").await;
    let error = reader.get(3).await.unwrap_err();
    let ErrorKind::SchemaDrift { differences, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(differences, &["column \"x\" is text, not float8"]);
    alter("ALTER COLUMN x TYPE double precision USING x::double precision").await;
    reads(&reader).await;
    alter("DROP COLUMN x").await;
    let error = reader.get(3).await.unwrap_err();
    assert!(error.to_string().contains("42703"), "{error}");
}

#[tokio::test]
async fn a_killed_writer_leaves_nothing_and_the_same_batch_goes_again() {
    let setup = Setup::new().await;
    let store = setup.builder().pool(2).connect().await.unwrap();
    let (reader, writer) = (store.reader(&view()), store.writer(&view()));
    let rows: Vec<_> = (0..1000).map(|id| row(id, 5)).collect();
    let lock = setup.lock_table().await;
    let writing = tokio::spawn({
        let (writer, rows) = (writer.clone(), rows.clone());
        async move { writer.upsert(&rows).await }
    });
    setup.until_locked().await;
    assert_eq!(setup.kill().await, 1);
    let error = writing.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("57P01"), "{error}");
    lock.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(reader.get(500).await.unwrap().status, Status::Missing);
    let done = writer.upsert(&rows).await.unwrap();
    assert_eq!((done.inserted, done.updated, done.stale), (990, 10, 0));
    let done = writer.upsert(&rows).await.unwrap();
    assert_eq!((done.inserted, done.updated, done.stale), (0, 0, 1000));
}

#[tokio::test]
async fn a_closed_store_refuses_and_lets_go() {
    let setup = Setup::new().await;
    let store = setup.builder().connect().await.unwrap();
    let reader = store.reader(&view());
    reads(&reader).await;
    store.close().await;
    assert!(matches!(reader.get(1).await.unwrap_err().kind(), ErrorKind::Closed));
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    let end = Instant::now() + PATIENCE;
    while setup.admin.query_one(sql, &[&setup.application]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(Instant::now() < end, "a connection stays open");
        tokio::time::sleep(ms(5)).await;
    }
}

#[tokio::test]
async fn more_calls_than_allowed_are_refused_at_once() {
    let setup = Setup::new().await;
    let store = setup.builder().pool(1).in_flight(3).connect().await.unwrap();
    let reader = store.reader(&view());
    let lock = setup.lock_table().await;
    let calls: Vec<_> = (0..3)
        .map(|id| {
            let reader = reader.clone();
            tokio::spawn(async move { reader.get(id).await })
        })
        .collect();
    // Each has begun once it was polled, and none can end.
    setup.until_locked().await;
    let begun = Instant::now();
    let mut least = Duration::MAX;
    while least >= ms(50) {
        assert!(begun.elapsed() < PATIENCE, "the refusal took {least:?}");
        let start = Instant::now();
        match reader.get(3).await.unwrap_err().kind() {
            ErrorKind::Overloaded { limit: 3 } => least = least.min(start.elapsed()),
            other => panic!("{other:?}"),
        }
    }
    lock.batch_execute("ROLLBACK").await.unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    reads(&reader).await;
}

#[tokio::test]
async fn a_server_that_went_away_is_left_alone_and_found_again() {
    let setup = Setup::new().await;
    let proxy = Proxy::to(server::server().port).await;
    let store = setup.builder_on(proxy.port).pool(2).connect().await.unwrap();
    let reader = store.reader(&view());
    reads(&reader).await;
    proxy.set(Mode::Cut);
    let mut refused = false;
    for _ in 0..20 {
        refused |= matches!(reader.get(1).await.unwrap_err().kind(), ErrorKind::CircuitOpen { .. });
    }
    assert!(refused, "twenty failures did not open the circuit");
    proxy.set(Mode::Pass);
    let start = Instant::now();
    while reader.get(1).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "the server is not found again");
        tokio::time::sleep(ms(20)).await;
    }
    reads(&reader).await;
}

#[tokio::test]
async fn statements_that_get_lost_are_sent_with_each_call() {
    let setup = Setup::new().await;
    // As behind a pooler in transaction mode: what was prepared is not there at the next call. Here every write forgets it.
    let forget = format!(
        "CREATE FUNCTION \"{0}\".forget() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN NULL; END $$; \
         CREATE TRIGGER forget AFTER INSERT ON \"{0}\".faulty_v1 EXECUTE FUNCTION \"{0}\".forget()",
        setup.schema
    );
    setup.admin.batch_execute(&forget).await.unwrap();
    for mode in [StatementMode::Auto, StatementMode::Unnamed] {
        let store = setup.builder().pool(1).statement_mode(mode).connect().await.unwrap();
        let (reader, writer) = (store.reader(&view()), store.writer(&view()));
        for event in 1..5 {
            reads(&reader).await;
            let many: Vec<_> = (20..60).map(|id| row(id, event)).collect();
            writer.upsert(&[row(5, event), row(6, event)]).await.unwrap();
            writer.upsert(&many).await.unwrap();
        }
        store.verify(&view()).await.unwrap();
        reads(&reader).await;
    }
}

#[tokio::test]
async fn a_connection_keeps_a_bounded_number_of_statements() {
    let setup = Setup::new().await;
    let schema = &setup.schema;
    // What the store's own session has prepared, noted by each write.
    let note = format!(
        "CREATE TABLE \"{schema}\".noted (statements bigint); \
         CREATE FUNCTION \"{schema}\".note() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO \"{schema}\".noted SELECT count(*) FROM pg_prepared_statements; RETURN NULL; END $$; \
         CREATE TRIGGER note AFTER INSERT ON \"{schema}\".faulty_v1 EXECUTE FUNCTION \"{schema}\".note()"
    );
    setup.admin.batch_execute(&note).await.unwrap();
    let store = setup.builder().pool(1).connect().await.unwrap();
    let writer = store.writer(&view());
    for round in 0..700 {
        // Each has its own text: the same feature so many times.
        let reader = store.reader_of(&view(), std::iter::repeat_n("x", round + 1)).unwrap();
        assert_eq!(reader.get(3).await.unwrap().values.len(), round + 1);
        if round % 50 == 49 {
            writer.upsert(&[row(3, round as i64)]).await.unwrap();
        }
    }
    let sql = format!("SELECT count(*), max(statements) FROM \"{schema}\".noted");
    let noted = setup.admin.query_one(&sql, &[]).await.unwrap();
    assert_eq!(noted.get::<_, i64>(0), 14);
    assert!((50..=300).contains(&noted.get::<_, i64>(1)), "{} statements", noted.get::<_, i64>(1));
    reads(&store.reader(&view())).await;
}
