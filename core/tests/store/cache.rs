//! Rows kept near: never older than the last notification, off where nobody listens, one fetch for many, and Redis as a guest.

use std::time::Duration;

use cenote::store::{CacheOptions, FeatureStore, Record, Status, Timestamp, Type, Value, View};
use tokio::time::{sleep, timeout};

use crate::proxy::{Mode, Proxy};
use crate::server;

fn view() -> View {
    View::builder("near")
        .key("id", Type::I64)
        .key("region", Type::Text)
        .feature("a", Type::F64)
        .feature("b", Type::Text)
        .ttl(Duration::from_secs(3600))
        .build()
        .unwrap()
}

fn record(id: i64, a: f64) -> Record {
    let values: Vec<Value> = vec![a.into(), format!("b{id}").as_str().into()];
    Record::new((id, "eu"), Timestamp::now(), values)
}

/// A store without a cache, whose table tells of its changes, and its schema's name.
async fn writer() -> FeatureStore {
    let store = server::builder().connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    store.notify_changes(&view()).await.unwrap();
    store.notify_changes(&view()).await.unwrap();
    let rows: Vec<_> = (0..50).map(|id| record(id, id as f64)).collect();
    store.writer(&view()).upsert(&rows).await.unwrap();
    store
}

/// A store of the same tables with a cache that hears.
async fn reader(of: &FeatureStore, options: CacheOptions, port: u16) -> FeatureStore {
    let dsn = format!("host=127.0.0.1 port={port} user=cenote dbname=postgres");
    let store = FeatureStore::builder(&dsn).schema(of.schema()).cache(options).connect().await.unwrap();
    hears(&store).await;
    store
}

/// Waits until a key that is asked twice comes from the cache.
async fn hears(store: &FeatureStore) {
    let reader = store.reader(&view());
    for _ in 0..1000 {
        let before = store.cache_counters();
        reader.get((49i64, "eu")).await.unwrap();
        if store.cache_counters().bypassed == before.bypassed {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the cache did not come on within 20 s");
}

async fn a(store: &FeatureStore, id: i64) -> Option<f64> {
    store.reader(&view()).get((id, "eu")).await.unwrap().get("a").unwrap().as_f64()
}

/// Waits until the store gives another value than it gave: how long that takes is not promised, that it ends is.
async fn becomes(store: &FeatureStore, id: i64, value: Option<f64>) {
    let wait = async {
        while a(store, id).await != value {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), wait).await.expect("a change is heard of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_kept_until_they_change_whoever_changes_them() {
    let writing = writer().await;
    let store = reader(&writing, CacheOptions::new(), server::server().port).await;
    assert_eq!(a(&store, 3).await, Some(3.0));
    let before = store.cache_counters();
    for _ in 0..20 {
        assert_eq!(a(&store, 3).await, Some(3.0));
    }
    // Fewer columns of the same row, and many keys, are hits as well.
    let narrow = store.reader_of(&view(), ["b"]).unwrap();
    assert_eq!(narrow.get((3i64, "eu")).await.unwrap().get("b").unwrap().as_str(), Some("b3"));
    let counters = store.cache_counters();
    assert_eq!((counters.hits - before.hits, counters.misses), (21, before.misses));

    writing.writer(&view()).upsert(&[record(3, 33.0)]).await.unwrap();
    becomes(&store, 3, Some(33.0)).await;
    // By COPY, by hand, by erasure, and all at once.
    let many: Vec<_> = (0..40).map(|id| record(id, 7.0)).collect();
    writing.writer(&view()).upsert(&many).await.unwrap();
    becomes(&store, 3, Some(7.0)).await;
    let client = server::client().await;
    let table = format!("\"{}\".{}", store.schema(), view().table());
    client.batch_execute(&format!("UPDATE {table} SET a = 8 WHERE id = 3")).await.unwrap();
    becomes(&store, 3, Some(8.0)).await;
    writing.erase(&view(), [(3i64, "eu")]).await.unwrap();
    becomes(&store, 3, None).await;
    // That there is no row is kept too, until there is one.
    let before = store.cache_counters();
    assert_eq!(a(&store, 3).await, None);
    assert_eq!(store.cache_counters().hits, before.hits + 1);
    writing.writer(&view()).upsert(&[record(3, 1.0)]).await.unwrap();
    becomes(&store, 3, Some(1.0)).await;
    client.batch_execute(&format!("TRUNCATE {table}")).await.unwrap();
    becomes(&store, 3, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cache_gives_is_what_the_server_gives() {
    let writing = writer().await;
    let store = reader(&writing, CacheOptions::new(), server::server().port).await;
    let keys: Vec<(i64, &str)> =
        (-2..60).chain([5, 5]).map(|id| (id, if id == 9 { "us" } else { "eu" })).collect();
    let right = writing.reader(&view()).get_many(keys.clone()).await.unwrap();
    for _ in 0..3 {
        let near = store.reader(&view()).get_many(keys.clone()).await.unwrap();
        // By their texts: what stands at a missing cell is a NaN, which is equal to nothing.
        assert_eq!(format!("{:?}", near.columns), format!("{:?}", right.columns));
        assert_eq!((near.status, near.event_ts), (right.status.clone(), right.event_ts.clone()));
    }
    let before = store.cache_counters();
    store.reader(&view()).get_many(keys.clone()).await.unwrap();
    assert_eq!(store.cache_counters().misses, before.misses, "all of them are kept, absent ones too");
    for (id, region) in keys {
        let (near, far) = (store.reader(&view()), writing.reader(&view()));
        assert_eq!(near.get((id, region)).await.unwrap(), far.get((id, region)).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_while_nobody_listens() {
    let writing = writer().await;
    let proxy = Proxy::to(server::server().port).await;
    let store = reader(&writing, CacheOptions::new(), proxy.port).await;
    assert_eq!(a(&store, 4).await, Some(4.0));
    proxy.set(Mode::Cut);
    // The reads fail with the connection; what matters is that none is answered from before.
    writing.writer(&view()).upsert(&[record(4, 44.0)]).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    assert!(store.reader(&view()).get((4i64, "eu")).await.is_err(), "a row from before the cut was given");
    proxy.set(Mode::Pass);
    // Other reads may fail until the circuit is closed again.
    for _ in 0..500 {
        if store.reader(&view()).get((4i64, "eu")).await.is_ok() {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(a(&store, 4).await, Some(44.0));
    hears(&store).await;
    assert_eq!(a(&store, 4).await, Some(44.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_does_not_tell_is_not_kept() {
    let writing = server::builder().connect().await.unwrap();
    writing.apply(&view()).await.unwrap();
    writing.writer(&view()).upsert(&[record(1, 1.0)]).await.unwrap();
    let dsn = server::dsn();
    let store = FeatureStore::builder(&dsn)
        .schema(writing.schema())
        .cache(CacheOptions::new())
        .connect()
        .await
        .unwrap();
    for value in [2.0, 3.0, 4.0] {
        writing.writer(&view()).upsert(&[record(1, value)]).await.unwrap();
        assert_eq!(a(&store, 1).await, Some(value));
        sleep(Duration::from_millis(50)).await;
    }
    let counters = store.cache_counters();
    assert_eq!((counters.hits, counters.bypassed), (0, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_want_a_row_ask_once_and_staleness_is_judged_when_it_is_given() {
    let writing = writer().await;
    let store = reader(&writing, CacheOptions::new(), server::server().port).await;
    let before = store.cache_counters();
    let readers: Vec<_> = (0..64)
        .map(|_| {
            let reader = store.reader(&view());
            tokio::spawn(async move { reader.get((11i64, "eu")).await.unwrap() })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap().get("a").unwrap().as_f64(), Some(11.0));
    }
    assert_eq!(store.cache_counters().misses, before.misses + 1);
    // A row two seconds short of its ttl: fresh when it is kept, stale when it is given again.
    let mut old = record(12, 1.0);
    old.event_ts = Timestamp::now() + Duration::from_secs(2) - Duration::from_secs(3600);
    writing.erase(&view(), [(12i64, "eu")]).await.unwrap();
    writing.writer(&view()).upsert(&[old]).await.unwrap();
    becomes(&store, 12, Some(1.0)).await;
    sleep(Duration::from_millis(2100)).await;
    let given = store.reader(&view()).get((12i64, "eu")).await.unwrap();
    assert!(matches!(given.status, Status::Stale { .. }), "{given:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_writes_no_reader_is_left_with_an_old_row() {
    let writing = writer().await;
    let store = reader(&writing, CacheOptions::new(), server::server().port).await;
    for round in 0..40u32 {
        // Readers keep filling while the row changes under them.
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let reader = store.reader(&view());
                tokio::spawn(async move {
                    for _ in 0..25 {
                        reader.get((20i64, "eu")).await.unwrap();
                    }
                })
            })
            .collect();
        let value = f64::from(round) + 0.5;
        writing.writer(&view()).upsert(&[record(20, value)]).await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
        becomes(&store, 20, Some(value)).await;
    }
}
