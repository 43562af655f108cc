//! Reads by a streaming replica: while it keeps up, never while it is behind, and not at all once it is gone.

use std::time::{Duration, Instant};

use cenote::store::{FeatureStore, Record, Timestamp, Type, Value, View};
use tokio::time::sleep;

use crate::proxy::{Mode, Proxy};
use crate::server;

const LAG: Duration = Duration::from_millis(400);

fn view() -> View {
    View::builder("replicated").key("id", Type::I64).feature("a", Type::F64).build().unwrap()
}

async fn write(store: &FeatureStore, value: f64) {
    let values: Vec<Value> = vec![value.into()];
    store.writer(&view()).upsert(&[Record::new(1i64, Timestamp::now(), values)]).await.unwrap();
}

async fn read(store: &FeatureStore) -> f64 {
    store.reader(&view()).get(1i64).await.unwrap().get("a").unwrap().as_f64().unwrap()
}

/// Reads until the replica answers.
async fn answers(store: &FeatureStore) {
    for _ in 0..3000 {
        let before = store.replicas()[0].reads;
        read(store).await;
        if store.replicas()[0].reads > before {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the replica did not answer within a minute");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_answers_while_it_keeps_up_and_never_while_it_is_behind() {
    let primary = server::builder().connect().await.unwrap();
    primary.apply(&view()).await.unwrap();
    write(&primary, 1.0).await;
    let replica = server::replica();
    let dsn = |port| format!("host=127.0.0.1 port={port} user=cenote dbname=postgres");
    let proxy = Proxy::to(replica.port).await;
    let store = FeatureStore::builder(&server::dsn())
        .schema(primary.schema())
        .replica(&dsn(proxy.port))
        .max_replica_lag(LAG)
        .connect()
        .await
        .unwrap();
    answers(&store).await;
    assert!(store.replicas()[0].fresh);
    let many = store.reader(&view()).get_many([1i64, 2]).await.unwrap();
    assert_eq!(many.columns[0].value(0).as_f64(), Some(1.0));

    // It stands still: what was written longer ago than the lag that is allowed is always seen.
    let (client, connection) =
        tokio_postgres::connect(&dsn(replica.port), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    // Within it the replica answers: again and again, since a busy machine may let the lag pass before the first read.
    let (mut value, mut behind) = (1.0, 0);
    while behind == 0 {
        assert!(value < 50.0, "the replica never answered within the lag that is allowed");
        client.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
        value += 1.0;
        write(&store, value).await;
        let written = Instant::now();
        while written.elapsed() < 3 * LAG {
            let begun = written.elapsed();
            let found = read(&store).await;
            assert!(found == value || begun < LAG, "{found} was read {begun:?} after {value} was written");
            behind += u32::from(found != value);
            sleep(Duration::from_millis(2)).await;
        }
        assert!(!store.replicas()[0].fresh);
        let reads = store.replicas()[0].reads;
        assert_eq!(read(&store).await, value);
        assert_eq!(store.replicas()[0].reads, reads);
        client.batch_execute("SELECT pg_wal_replay_resume()").await.unwrap();
        answers(&store).await;
        assert_eq!(read(&store).await, value);
    }

    // It is gone: the primary answers, and no read fails.
    proxy.set(Mode::Cut);
    for _ in 0..50 {
        assert_eq!(read(&store).await, value);
        sleep(Duration::from_millis(5)).await;
    }
    proxy.set(Mode::Pass);
    answers(&store).await;
}

#[tokio::test]
async fn a_primary_is_no_replica() {
    let primary = server::builder().connect().await.unwrap();
    primary.apply(&view()).await.unwrap();
    write(&primary, 1.0).await;
    let settings = FeatureStore::builder(&server::dsn()).schema(primary.schema()).replica(&server::dsn());
    let store = settings.connect().await.unwrap();
    for _ in 0..10 {
        assert_eq!(read(&store).await, 1.0);
    }
    assert_eq!(store.replicas()[0].reads, 0);
    let unreadable =
        FeatureStore::builder(&server::dsn()).replica("hush=1 hush").connect().await.unwrap_err();
    assert!(!unreadable.to_string().contains("hush"), "{unreadable}");
}
