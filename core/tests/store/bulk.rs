//! Loads and materialisation: batches done once, whatever is killed; late rows that arrive; nothing that comes back.

use std::collections::HashMap;
use std::time::Duration;

use cenote::store::{
    ErrorKind, FeatureStore, History, Key, MaterializeOptions, Record, Status, Timestamp, Type, Value, View,
    WriteOptions,
};

use crate::server;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn view() -> View {
    View::builder("bulk")
        .key("name", Type::Text)
        .key("id", Type::I32)
        .feature("x", Type::F64)
        .history(History::default())
        .build()
        .unwrap()
}

fn record(id: i32, event: i64, x: f64) -> Record {
    Record::new((["", "a", "bcd"][(id.rem_euclid(3)) as usize], id), at(event), [x])
}

async fn x(store: &FeatureStore, id: i32) -> Value {
    let key = record(id, 0, 0.0).key;
    store.reader(&view()).get(key).await.unwrap().get("x").unwrap().clone()
}

/// Waits until all that is committed by now is older than every transaction that is still running on the shared server.
async fn settled() {
    let client = server::client().await;
    let last: String = client.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap().get(0);
    let over = format!("SELECT pg_snapshot_xmin(pg_current_snapshot()) > '{last}'::xid8");
    for _ in 0..3000 {
        if client.query_one(&over, &[]).await.unwrap().get(0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a transaction never ends");
}

/// Batches of a source that can be read again.
fn batches() -> Vec<Vec<Record>> {
    let batch = |batch: i64| {
        (0..300)
            .map(|n| record((batch as i32 * 7 + n) % 500, batch * 10 + i64::from(n % 3), f64::from(n)))
            .collect()
    };
    (0..20).map(batch).collect()
}

#[tokio::test]
async fn a_load_goes_on_where_it_was_killed() {
    let store = server::builder().connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    let writer = store.writer(&view());
    let mut expected: HashMap<String, (i64, f64)> = HashMap::new();
    for record in batches().into_iter().flatten() {
        let x = record.values[0].as_f64().unwrap();
        let newest = expected.entry(format!("{:?}", record.key)).or_insert((i64::MIN, 0.0));
        // Of one event time what came later is a correction.
        if record.event_ts.as_micros() >= newest.0 {
            *newest = (record.event_ts.as_micros(), x);
        }
    }
    // Each run is dropped after a while, longer and longer, wherever it stands.
    let (mut runs, mut patience) = (0, Duration::from_millis(5));
    let loaded = loop {
        runs += 1;
        patience += Duration::from_millis(7);
        let load = async {
            let mut load = writer.load("spring", WriteOptions::default()).await?;
            for batch in batches() {
                load.records(&batch).await?;
            }
            Ok::<_, cenote::store::Error>(load.loaded())
        };
        if let Ok(loaded) = tokio::time::timeout(patience, load).await {
            break loaded.unwrap();
        }
        assert!(runs < 2000, "it never ends");
    };
    assert!(runs > 1 && loaded.passed > 0, "no run was dropped: {runs}");
    assert_eq!((loaded.batches, loaded.rows), (20, 6000));
    let done = loaded.upserted;
    assert_eq!(done.inserted + done.updated + done.stale, 6000);
    assert_eq!(done.inserted, expected.len() as u64);
    let state = store.finished_batches(&view(), Some("spring")).await.unwrap();
    assert_eq!(state.iter().map(|batch| batch.batch).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    assert!(state.iter().all(|batch| batch.rows == 300));

    // Again: all is passed over. Under another name: all is written, and nothing is changed.
    for (name, passed) in [("spring", 20), ("summer", 0)] {
        let mut load = writer.load(name, WriteOptions::default()).await.unwrap();
        for batch in batches() {
            load.records(&batch).await.unwrap();
        }
        assert_eq!(load.loaded().passed, passed);
    }
    let keys: Vec<Key> = (0..500).map(|id| record(id, 0, 0.0).key).collect();
    let set = store.reader(&view()).get_many(keys.clone()).await.unwrap();
    for (row, key) in keys.iter().enumerate() {
        let newest = expected.get(&format!("{key:?}"));
        assert_eq!(set.event_ts[row], newest.map(|(event, _)| Timestamp::from_micros(*event)), "{key:?}");
    }
    assert_eq!(store.forget_batches(&view(), Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(store.forget_batches(&view(), Duration::ZERO).await.unwrap(), 40);
}

#[tokio::test]
async fn a_source_that_has_changed_is_noticed() {
    let store = server::builder().connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    let writer = store.writer(&view());
    let mut load = writer.load("l", WriteOptions::default()).await.unwrap();
    load.records(&[record(1, 1, 1.0)]).await.unwrap();
    let mut load = writer.load("l", WriteOptions::default()).await.unwrap();
    let error = load.records(&[record(1, 1, 2.0)]).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Batch { batch: 0, .. }), "{error}");
    assert_eq!(x(&store, 1).await, 1.0.into());
    // A batch that cannot be written is not recorded either.
    load.records(&[record(1, 1, 1.0)]).await.unwrap();
    let bad = Record::new(("a", 1i32), at(0), [Value::from("text")]);
    assert!(load.records(&[record(2, 1, 1.0), bad]).await.is_err());
    assert_eq!(store.finished_batches(&view(), None).await.unwrap().len(), 1);
    let done = load.records(&[record(2, 1, 1.0)]).await.unwrap();
    assert_eq!((done.batches, done.passed), (2, 1));
}

#[tokio::test]
async fn an_iterator_of_any_length_is_written() {
    let store = server::builder().connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    let records = (0..120_000).map(|n| record(n % 60_000, i64::from(n), 1.0));
    let done = store.writer(&view()).upsert_all(records, WriteOptions::default()).await.unwrap();
    assert_eq!((done.inserted, done.updated, done.appended), (60_000, 60_000, 120_000));
}

#[tokio::test]
async fn what_came_into_the_history_is_brought_online() {
    let store = server::builder().connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    let (writer, history) = (store.writer(&view()), store.writer(&view()).history_only().unwrap());
    let rows: Vec<_> = (-500..500).map(|id| record(id, 100, f64::from(id))).collect();
    let done = history.upsert(&rows).await.unwrap();
    assert_eq!((done.inserted, done.updated, done.appended), (0, 0, 1000));
    history.upsert(&[record(1, 90, -1.0)]).await.unwrap();
    writer.upsert(&[record(2, 200, 2.5)]).await.unwrap();
    assert_eq!(x(&store, 1).await, Value::Null, "not yet online");

    settled().await;
    let mut progress = Vec::new();
    let options = MaterializeOptions::default();
    let small = {
        let mut small = options;
        small.rows_a_batch = 300;
        small
    };
    let done =
        store.materialize_with(&view(), small, |now| progress.push((now.done, now.batches))).await.unwrap();
    assert_eq!((done.rows, done.inserted, done.updated), (1002, 999, 0));
    assert_eq!(progress, [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]);
    let values = [(1, 1.0), (2, 2.5), (-500, -500.0)];
    for (id, value) in values {
        assert_eq!(x(&store, id).await, value.into());
    }
    assert_eq!(store.materialize(&view()).await.unwrap(), Default::default(), "nothing came since");
    // An older event that comes later changes nothing online; a newer one does, whatever its event time is to the last run.
    history.upsert(&[record(1, 50, -2.0), record(3, 150, 3.5), record(777, 1, 7.0)]).await.unwrap();
    settled().await;
    let done = store.materialize(&view()).await.unwrap();
    assert_eq!((done.rows, done.inserted, done.updated), (3, 1, 1));
    assert_eq!(
        [x(&store, 1).await, x(&store, 3).await, x(&store, 777).await],
        [1.0.into(), 3.5.into(), 7.0.into()]
    );
    // All again: the same rows are online.
    let full = {
        let mut full = options;
        full.full = true;
        full
    };
    let done = store.materialize_with(&view(), full, |_| ()).await.unwrap();
    assert_eq!((done.rows, done.inserted, done.updated), (1005, 0, 0));

    let forgetful = View::builder("forgetful").key("id", Type::I64).feature("x", Type::F64).build().unwrap();
    assert!(matches!(store.materialize(&forgetful).await.unwrap_err().kind(), ErrorKind::View { .. }));
    assert!(store.writer(&forgetful).history_only().is_err());
}

/// A transaction that began before a run and commits after it.
#[tokio::test]
async fn a_late_commit_is_not_missed() {
    let (builder, schema) = {
        let schema = server::schema();
        (FeatureStore::builder(&server::dsn()).schema(&schema), schema)
    };
    let store = builder.connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    let history = store.writer(&view()).history_only().unwrap();
    history.upsert(&[record(0, 1, 0.0)]).await.unwrap();
    settled().await;
    let late = server::client().await;
    let insert = format!(
        "BEGIN; INSERT INTO \"{schema}\".bulk_v1_history (name, id, event_ts, x) VALUES ('a', 1, 'epoch', 1.5)"
    );
    late.batch_execute(&insert).await.unwrap();
    history.upsert(&[record(3, 5, 3.0)]).await.unwrap();
    // What came in after a transaction that is still running waits for it.
    store.materialize(&view()).await.unwrap();
    assert_eq!([x(&store, 0).await, x(&store, 1).await], [0.0.into(), Value::Null]);
    late.batch_execute("COMMIT").await.unwrap();
    settled().await;
    store.materialize(&view()).await.unwrap();
    assert_eq!([x(&store, 1).await, x(&store, 3).await], [1.5.into(), 3.0.into()]);
}

#[tokio::test]
async fn a_materialisation_that_was_dropped_is_gone_on_with() {
    let store = server::builder().connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    let history = store.writer(&view()).history_only().unwrap();
    let rows: Vec<_> = (0..20_000).map(|id| record(id % 7000, i64::from(id), f64::from(id))).collect();
    history.upsert(&rows).await.unwrap();
    settled().await;
    let mut options = MaterializeOptions::default();
    options.rows_a_batch = 500;
    let (mut runs, mut patience) = (0, Duration::from_millis(10));
    let done = loop {
        runs += 1;
        patience += Duration::from_millis(10);
        let view = view();
        let run = store.materialize_with(&view, options, |_| ());
        if let Ok(done) = tokio::time::timeout(patience, run).await {
            break done.unwrap();
        }
        assert!(runs < 2000, "it never ends");
    };
    assert!(runs > 1, "no run was dropped");
    assert_eq!((done.rows, done.batches, done.done), (20_000, 64, 64));
    assert_eq!((done.inserted, done.updated), (7000, 0), "each batch was done once");
    for id in [0, 1, 6999] {
        let newest = (0..20_000).rev().find(|n| n % 7000 == id).unwrap();
        assert_eq!(x(&store, id).await, f64::from(newest).into());
    }
}

#[tokio::test]
async fn what_is_erased_does_not_come_back() {
    let store = server::builder().connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    let rows: Vec<_> = (0..3000).map(|id| record(id, 1, 1.0)).collect();
    store.writer(&view()).history_only().unwrap().upsert(&rows).await.unwrap();
    settled().await;
    let mut options = MaterializeOptions::default();
    options.rows_a_batch = 100;
    let erase = async {
        for id in 0..100 {
            store.erase(&view(), [record(id, 0, 0.0).key]).await.unwrap();
        }
    };
    let view = view();
    let (run, ()) = tokio::join!(store.materialize_with(&view, options, |_| ()), erase);
    run.unwrap();
    let keys: Vec<Key> = (0..3000).map(|id| record(id, 0, 0.0).key).collect();
    let set = store.reader(&view).get_many(keys).await.unwrap();
    assert!(set.status[..100].iter().all(|status| *status == Status::Missing));
    assert!(set.status[100..].iter().all(|status| status.is_fresh()));
}

/// Writers and a run meet on the same keys: nobody waits in a circle, and the newest is online.
#[tokio::test]
async fn writers_and_a_run_meet() {
    let store = server::builder().connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    let history = store.writer(&view()).history_only().unwrap();
    let rows: Vec<_> = (-1500..1500).map(|id| record(id, 1, 1.0)).collect();
    history.upsert(&rows).await.unwrap();
    let writes = (2..8i64).map(|event| {
        let store = store.clone();
        tokio::spawn(async move {
            let rows: Vec<_> = (-1500..1500).map(|id| record(id, event, event as f64)).collect();
            store.writer(&view()).upsert(&rows).await.unwrap();
        })
    });
    let writes: Vec<_> = writes.collect();
    for _ in 0..4 {
        let mut full = MaterializeOptions::default();
        (full.full, full.rows_a_batch) = (true, 5000);
        store.materialize_with(&view(), full, |_| ()).await.unwrap();
    }
    for write in writes {
        write.await.unwrap();
    }
    let keys: Vec<Key> = (-1500..1500).map(|id| record(id, 0, 0.0).key).collect();
    let set = store.reader(&view()).get_many(keys).await.unwrap();
    assert!((0..3000).all(|row| set.columns[0].value(row) == 7.0.into()));
}

/// Rows of new keys go straight into the table; a key that another writer brings meanwhile is merged all the same.
#[tokio::test]
async fn a_key_that_comes_while_new_ones_are_copied() {
    let store = server::builder().connect().await.unwrap();
    let view = View::builder("copied").key("id", Type::I32).feature("x", Type::F64).build().unwrap();
    store.apply(&view).await.unwrap();
    let rows = |event: i64| -> Vec<_> {
        (0..3000).map(|id| Record::new(id, at(event), [f64::from(id) + event as f64])).collect()
    };
    let mut other = server::client().await;
    let theirs = other.transaction().await.unwrap();
    let table = format!("\"{}\".copied_v1", store.schema());
    let insert = format!(
        "INSERT INTO {table} (id, event_ts, x) VALUES (700, to_timestamp(5), 5), (701, to_timestamp(1), 1)"
    );
    theirs.batch_execute(&insert).await.unwrap();
    let ours = tokio::spawn({
        let (writer, rows) = (store.writer(&view), rows(3));
        async move { writer.upsert(&rows).await.unwrap() }
    });
    // They do not see each other's rows; ours waits where theirs is.
    let admin = server::client().await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY %copied_v1%' AND wait_event_type = 'Lock'";
    let waiting = async || admin.query_one(waits, &[]).await.unwrap().get::<_, i64>(0);
    for _ in 0..1000 {
        if waiting().await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(waiting().await, 1, "nobody waits");
    theirs.commit().await.unwrap();
    let done = ours.await.unwrap();
    assert_eq!((done.inserted, done.updated, done.stale), (2998, 1, 1));
    let set = store.reader(&view).get_many(0..3000).await.unwrap();
    for id in 0..3000 {
        let expected = if id == 700 { 5.0 } else { f64::from(id) + 3.0 };
        assert_eq!(set.columns[0].value(id as usize), expected.into());
    }
    let done = store.writer(&view).upsert(&rows(3)).await.unwrap();
    assert_eq!((done.inserted, done.updated, done.stale), (0, 0, 3000));
    // The moment that the caller gives is the row's, also where it is copied.
    let known = at(77);
    let more: Vec<_> = (5000..5100).map(|id| Record::new(id, at(9), [1.0])).collect();
    store.writer(&view).upsert_with(&more, WriteOptions::written_at(known)).await.unwrap();
    let more: Vec<_> = (6000..6100).map(|id| Record::new(id, at(9), [1.0])).collect();
    store.writer(&view).upsert_with(&more, WriteOptions::written_with_event()).await.unwrap();
    let moments = format!(
        "SELECT count(*) FILTER (WHERE id >= 6000 AND written_at = event_ts), \
         count(*) FILTER (WHERE id BETWEEN 5000 AND 5099 AND written_at = to_timestamp(77)), \
         count(*) FILTER (WHERE id < 3000 AND written_at > now() - interval '1 hour') FROM {table}"
    );
    let row = other.query_one(&moments, &[]).await.unwrap();
    assert_eq!([0, 1, 2].map(|column| row.get::<_, i64>(column)), [100, 100, 3000]);
}

/// Every way in, at random, against an oracle: a list of facts, of which the greatest `(event, written)` of a key is online.
#[tokio::test]
async fn ten_thousand_keys_agree_with_the_oracle() {
    let store = server::builder().connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    let (writer, history) = (store.writer(&view()), store.writer(&view()).history_only().unwrap());
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut dice = |sides: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % sides
    };
    // Keys that would be one if they were joined into a text, and of both signs.
    let key = |n: u64| (["", "1", "11", "a,1", "\u{fc}"][(n % 5) as usize], (n / 5) as i32 - 1000);
    let mut facts: HashMap<(&str, i32), (i64, i64, Option<f64>)> = HashMap::new();
    for round in 0..12u64 {
        // Around the hour that Europe's clocks had twice, and around the turn of a month; ties; what is written later was not
        // always known later.
        let written = 1_793_491_200_000_000 + (round * 5 % 12) as i64;
        let rows: Vec<_> = (0..6000)
            .map(|_| {
                let event = [1_792_886_400, 1_793_491_200][dice(2) as usize] + dice(4) as i64 * 1800;
                let value = (dice(5) > 0).then(|| dice(1000) as f64);
                (key(dice(10_000)), event * 1_000_000 + [0, 0, -1, 1][dice(4) as usize], value)
            })
            .collect();
        let mut meant = HashMap::new();
        for (key, event, value) in &rows {
            meant.insert((*key, *event), *value);
        }
        for ((key, event), value) in meant {
            let newest = facts.entry(key).or_insert((event, written, value));
            if (event, written) > (newest.0, newest.1) {
                *newest = (event, written, value);
            }
        }
        let records: Vec<_> = rows
            .iter()
            .map(|(key, event, value)| Record::new(*key, Timestamp::from_micros(*event), [*value]))
            .collect();
        let options = WriteOptions::written_at(Timestamp::from_micros(written));
        match round % 3 {
            0 => drop(writer.upsert_with(&records, options).await.unwrap()),
            1 => drop(history.upsert_with(&records, options).await.unwrap()),
            _ => {
                let mut load = writer.load(format!("round {round}"), options).await.unwrap();
                load.records(&records).await.unwrap();
            }
        }
    }
    settled().await;
    let mut full = MaterializeOptions::default();
    full.rows_a_batch = 10_000;
    store.materialize_with(&view(), full, |_| ()).await.unwrap();
    let keys: Vec<_> = (0..10_000).map(key).collect();
    let set = store.reader(&view()).get_many(keys.iter().copied()).await.unwrap();
    let mut found = 0;
    for (row, key) in keys.iter().enumerate() {
        let expected = facts.get(key);
        assert_eq!(set.event_ts[row], expected.map(|fact| Timestamp::from_micros(fact.0)), "{key:?}");
        assert_eq!(set.columns[0].value(row), expected.and_then(|fact| fact.2).into(), "{key:?}");
        found += usize::from(expected.is_some());
    }
    assert!(found > 9000, "{found}");
}
