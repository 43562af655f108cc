//! Views applied, rows written and read back: the online table's promises.

use std::time::Duration;

use cenote::Batch;
use cenote::input::{Primitive, Values};
use cenote::store::{
    Date, ErrorKind, Feature, FeatureStore, Item, Key, Record, Status, Timestamp, Type, Upserted, Value,
    View, WriteOptions,
};

use crate::server;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// Inserted, updated, stale.
fn counts(done: Upserted) -> (u64, u64, u64) {
    (done.inserted, done.updated, done.stale)
}

fn stats() -> View {
    View::builder("stats")
        .key("carrier", Type::Text)
        .key("flight", Type::I32)
        .feature("delay", Type::F64)
        .category("season", ["winter", "summer"])
        .build()
        .unwrap()
}

fn record(carrier: &str, flight: i32, event: i64, delay: f64) -> Record {
    let values = [Value::from(delay), Value::from("winter")];
    Record::new((carrier, flight), at(event), values)
}

#[tokio::test]
async fn a_row_comes_back_as_it_was_written() {
    let store = server::builder().connect().await.unwrap();
    let view = View::builder("all_types")
        .key("id", Type::I64)
        .feature("a bool", Type::Bool)
        .feature("i16", Type::I16)
        .feature("i32", Type::I32)
        .feature("i64", Type::I64)
        .feature("f32", Type::F32)
        .feature("f64", Type::F64)
        .feature("quote\"d", Type::Text)
        .feature("moment", Type::Timestamp)
        .feature("day", Type::Date)
        .feature("decimal", Type::Numeric)
        .feature("uuid", Type::Uuid)
        .feature("document", Type::Json)
        .feature("vector", Type::List(Item::F32))
        .feature("words", Type::List(Item::Text))
        .build()
        .unwrap();
    store.apply(&view).await.unwrap();
    let values: Vec<Value> = vec![
        true.into(),
        (-1i16).into(),
        i32::MAX.into(),
        i64::MIN.into(),
        0.1f32.into(),
        f64::NAN.into(),
        "it's Zürich".into(),
        at(-5).into(),
        Date::from_days(20_000).into(),
        Value::Numeric("-1234567890123456789.000100".into()),
        [0xab; 16].into(),
        Value::Json(r#"{"a": [1, "ü"]}"#.into()),
        vec![0.5f32, -0.0].into(),
        Value::List(vec!["a".into(), Value::Null]),
    ];
    let nulls = vec![Value::Null; values.len()];
    let writer = store.writer(&view);
    let rows = [Record::new(1i64, at(10), values.clone()), Record::new(2i64, at(10), nulls.clone())];
    assert_eq!(counts(writer.upsert(&rows).await.unwrap()), (2, 0, 0));

    let reader = store.reader(&view);
    let one = reader.get(1i64).await.unwrap();
    assert_eq!(one.status, Status::Fresh);
    assert_eq!(one.event_ts, Some(at(10)));
    let many = reader.get_many([3i64, 2, 1, 1]).await.unwrap();
    assert_eq!(many.status, [Status::Missing, Status::Fresh, Status::Fresh, Status::Fresh]);
    assert_eq!(many.event_ts, [None, Some(at(10)), Some(at(10)), Some(at(10))]);
    // A list is one value, of any length; text is taken for what it says.
    let texts = [
        ("uuid", Value::from("abababab-abab-abab-abab-abababababab")),
        ("decimal", "-1234567890123456789.000100".into()),
        ("document", r#"{"a":[1,"ü"]}"#.into()),
    ];
    let mut said = values.clone();
    for (name, text) in texts {
        let place = view.features().iter().position(|feature| feature.name == name).unwrap();
        said[place] = text;
    }
    assert_eq!(
        counts(writer.upsert(&[Record::new(1i64, at(10), said)]).await.unwrap()),
        (0, 0, 1),
        "the same again"
    );
    for (column, ((name, value), expected)) in many.columns.iter().zip(one.iter().zip(&values)) {
        assert_eq!(column.name, *name);
        // NaN is a value, and not equal to itself.
        assert_eq!(format!("{value:?}"), format!("{expected:?}"), "{name}");
        assert_eq!([column.value(0), column.value(1)], [Value::Null, Value::Null], "{name}");
        assert_eq!(format!("{:?}", column.value(2)), format!("{expected:?}"), "{name}");
        assert_eq!(format!("{:?}", column.value(3)), format!("{expected:?}"), "{name}");
    }
}

#[tokio::test]
async fn composite_keys_are_never_joined() {
    let store = server::builder().connect().await.unwrap();
    let view = View::builder("pairs")
        .key("a", Type::I64)
        .key("b", Type::I64)
        .feature("x", Type::F64)
        .build()
        .unwrap();
    store.apply(&view).await.unwrap();
    let rows = [Record::new((1i64, 23i64), at(0), [100.0]), Record::new((12i64, 3i64), at(0), [200.0])];
    store.writer(&view).upsert(&rows).await.unwrap();
    let reader = store.reader(&view);
    let set = reader.get_many([(1i64, 23i64), (12, 3), (1, 3), (12, 23)]).await.unwrap();
    let x = &set.columns[0];
    assert_eq!(
        [x.value(0), x.value(1), x.value(2), x.value(3)],
        [100.0.into(), 200.0.into(), Value::Null, Value::Null]
    );
    assert_eq!(reader.get((12i64, 3i64)).await.unwrap().get("x"), Some(&200.0.into()));
}

#[tokio::test]
async fn the_newest_event_wins_whatever_the_order() {
    let store = server::builder().connect().await.unwrap();
    let view = stats();
    store.apply(&view).await.unwrap();
    let writer = store.writer(&view);
    let delay = async |flight: i32| {
        let row = store.reader(&view).get(("UA", flight)).await.unwrap();
        row.get("delay").and_then(Value::as_f64).unwrap()
    };

    assert_eq!(counts(writer.upsert(&[record("UA", 1, 20, 2.0)]).await.unwrap()), (1, 0, 0));
    assert_eq!(
        counts(writer.upsert(&[record("UA", 1, 10, 1.0)]).await.unwrap()),
        (0, 0, 1),
        "an older event"
    );
    assert_eq!(delay(1).await, 2.0);
    assert_eq!(counts(writer.upsert(&[record("UA", 1, 20, 2.0)]).await.unwrap()), (0, 0, 1), "a replay");
    assert_eq!(counts(writer.upsert(&[record("UA", 1, 20, 2.5)]).await.unwrap()), (0, 1, 0), "a correction");
    assert_eq!(delay(1).await, 2.5);
    let past = WriteOptions::written_at(at(1));
    let late = writer.upsert_with(&[record("UA", 1, 20, 9.0)], past).await.unwrap();
    assert_eq!(counts(late), (0, 0, 1), "a value known before the correction");
    assert_eq!(delay(1).await, 2.5);

    // The same by COPY: a batch above the few that go as single statements, its own doubles in it.
    let mut rows: Vec<_> = (0..100).rev().map(|flight| record("DL", flight, 50, f64::from(flight))).collect();
    rows.push(record("DL", 7, 60, 7.5));
    rows.push(record("DL", 7, 55, -1.0));
    rows.push(record("DL", 8, 50, 8.5));
    rows.push(record("UA", 1, 30, 3.0));
    assert_eq!(counts(writer.upsert(&rows).await.unwrap()), (100, 1, 3));
    assert_eq!(counts(writer.upsert(&rows).await.unwrap()), (0, 0, 104), "a replay");
    let keys = [("DL", 6), ("DL", 7), ("DL", 8), ("UA", 1)];
    let set = store.reader(&view).get_many(keys).await.unwrap();
    let delays: Vec<_> = (0..4).map(|row| set.columns[0].value(row)).collect();
    assert_eq!(delays, [6.0.into(), 7.5.into(), 8.5.into(), 3.0.into()]);
}

#[tokio::test]
async fn the_ttl_holds_online_and_its_edge_is_fresh() {
    let store = server::builder().connect().await.unwrap();
    let view = View::builder("short")
        .key("id", Type::I32)
        .feature("x", Type::F64)
        .ttl(Duration::from_secs(3600))
        .build()
        .unwrap();
    store.apply(&view).await.unwrap();
    let now = Timestamp::now();
    let minute = Duration::from_secs(60);
    let rows = [
        Record::new(1i32, now - 61 * minute, [1.0]),
        Record::new(2i32, now - 59 * minute, [2.0]),
        Record::new(3i32, now + 5 * minute, [3.0]),
    ];
    store.writer(&view).upsert(&rows).await.unwrap();
    let set = store.reader(&view).get_many([1i32, 2, 3, 4]).await.unwrap();
    let Status::Stale { age } = set.status[0] else { panic!("{:?} is not stale", set.status[0]) };
    assert!((61 * minute..62 * minute).contains(&age), "{age:?}");
    assert_eq!(set.status[1..], [Status::Fresh, Status::Fresh, Status::Missing]);
    assert_eq!(set.columns[0].value(0), 1.0.into(), "a stale value is given, and called stale");
}

#[tokio::test]
async fn a_batch_of_columns_is_written() {
    let store = server::builder().connect().await.unwrap();
    let view = stats();
    store.apply(&view).await.unwrap();
    let rows = 120_000;
    let flights: Vec<i64> = (0..rows as i64).collect();
    let delays: Vec<f64> = (0..rows).map(|row| row as f64 / 8.0).collect();
    let events = vec![1_000_000i64; rows];
    let carriers = vec![Some("UA"); rows];
    let seasons: Vec<Option<&str>> = (0..rows).map(|row| (row % 3 != 0).then_some("summer")).collect();
    let mut batch = Batch::new(rows);
    batch.push("flight", Values::I64(Primitive::from(&flights[..]))).unwrap();
    batch.push("delay", delays.as_slice().into()).unwrap();
    batch.push("event_ts", events.as_slice().into()).unwrap();
    batch.push("season", seasons.as_slice().into()).unwrap();
    batch.push("carrier", carriers.as_slice().into()).unwrap();
    let writer = store.writer(&view);
    let done = writer.upsert_batch(&batch, WriteOptions::default()).await.unwrap();
    assert_eq!(counts(done), (rows as u64, 0, 0));
    let again = writer.upsert_batch(&batch, WriteOptions::default()).await.unwrap();
    assert_eq!(counts(again), (0, 0, rows as u64));

    // More keys than one statement takes.
    let keys = (0..25_000).rev().map(|flight| Key::from(("UA", flight)));
    let set = store.reader(&view).get_many(keys).await.unwrap();
    assert_eq!(set.len(), 25_000);
    for row in 0..25_000 {
        let flight = 24_999 - row;
        assert_eq!(set.columns[0].value(row), (flight as f64 / 8.0).into());
        assert_eq!(set.columns[1].is_present(row), flight % 3 != 0);
    }
    assert_eq!(set.batch().columns().len(), 2);
}

#[tokio::test]
async fn a_cell_that_does_not_fit_is_named_and_nothing_is_written() {
    let store = server::builder().connect().await.unwrap();
    let view = stats();
    store.apply(&view).await.unwrap();
    let writer = store.writer(&view);
    let bad = Record::new(("UA", 2i32), at(0), [Value::from("late"), Value::Null]);
    let error = writer.upsert(&[record("UA", 1, 0, 1.0), bad]).await.unwrap_err();
    assert_eq!(error.to_string(), "row 1, column \"delay\": expected double precision, found text");
    let no_key = Record::new(Key::new([Value::Null, 1i64.into()]), at(0), [Value::Null, Value::Null]);
    let error = writer.upsert(&[no_key]).await.unwrap_err();
    assert_eq!(error.to_string(), "row 0, column \"carrier\": expected text, found no value");
    let error = writer.upsert(&[Record::new(("UA", 1i32), at(0), [1.0])]).await.unwrap_err();
    assert_eq!(error.to_string(), "row 0, column \"values\": expected 2 values, found 1");
    let future = Record::new(("UA", 1i32), Timestamp::from_micros(i64::MAX), [Value::Null, Value::Null]);
    let error = writer.upsert(&[future]).await.unwrap_err();
    assert!(error.to_string().contains("found a moment out of range"), "{error}");

    let mut batch = Batch::new(1);
    batch.push("flight", [1i64].as_slice().into()).unwrap();
    batch.push("dely", [1.0f64].as_slice().into()).unwrap();
    let error = writer.upsert_batch(&batch, WriteOptions::default()).await.unwrap_err();
    let ErrorKind::Columns { missing, unknown, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(missing, &["carrier", "event_ts", "delay", "season"]);
    assert_eq!(unknown, &["dely"]);

    let reader = store.reader(&view);
    assert_eq!(reader.get(("UA", 1i32)).await.unwrap().status, Status::Missing);
    let error = reader.get("UA").await.unwrap_err();
    assert_eq!(error.to_string(), "key column \"stats\": expected 2 values, found 1");
    let error = reader.get(("UA", 1i64 << 40)).await.unwrap_err();
    assert_eq!(error.to_string(), "key column \"flight\": expected integer, found a number out of range");
}

#[tokio::test]
async fn a_projection_reads_what_it_names() {
    let store = server::builder().connect().await.unwrap();
    let view = stats();
    store.apply(&view).await.unwrap();
    store.writer(&view).upsert(&[record("UA", 1, 0, 1.0)]).await.unwrap();
    let reader = store.reader_of(&view, ["season"]).unwrap();
    let row = reader.get(("UA", 1i32)).await.unwrap();
    assert_eq!(row.iter().collect::<Vec<_>>(), [("season", &"winter".into())]);
    assert!(store.reader_of(&view, ["sesaon"]).is_err());
}

#[tokio::test]
async fn a_view_grows_in_place_and_nothing_else() {
    let store = server::builder().connect().await.unwrap();
    let first = stats();
    let plan = store.plan_view(&first).await.unwrap();
    assert_eq!(plan.statements().len(), 4, "{plan}");
    let error = store.verify(&first).await.unwrap_err();
    assert!(error.to_string().contains("is not there"), "{error}");
    plan.apply().await.unwrap();
    store.verify(&first).await.unwrap();
    assert!(store.plan_view(&first).await.unwrap().statements().is_empty());
    store.writer(&first).upsert(&[record("UA", 1, 0, 1.0)]).await.unwrap();

    let grown = first.to_json().replace(r#"],"features":["#, r#"],"features":[{"name":"new","type":"i64"},"#);
    let grown = View::from_json(&grown).unwrap();
    let plan = store.plan_view(&grown).await.unwrap();
    assert!(plan.to_string().contains("ADD COLUMN \"new\" bigint"), "{plan}");
    plan.apply().await.unwrap();
    store.verify(&grown).await.unwrap();
    let row = store.reader(&grown).get(("UA", 1i32)).await.unwrap();
    assert_eq!(row.get("new"), Some(&Value::Null));
    assert_eq!(row.get("delay"), Some(&1.0.into()));

    let changed =
        View::from_json(&grown.to_json().replace(r#""delay","type":"f64""#, r#""delay","type":"f32""#));
    let changed = changed.unwrap();
    for error in [store.apply(&changed).await.unwrap_err(), store.verify(&changed).await.unwrap_err()] {
        let ErrorKind::SchemaDrift { differences, .. } = error.kind() else { panic!("{error}") };
        assert_eq!(differences, &["column \"delay\" is double precision, not real"]);
    }
    let beside = View::from_json(&changed.to_json().replace("\"version\":1", "\"version\":2")).unwrap();
    store.apply(&beside).await.unwrap();
    store.verify(&beside).await.unwrap();
    store.verify(&grown).await.unwrap();
}

#[tokio::test]
async fn a_moment_without_an_offset_as_default_is_utc_in_every_zone() {
    let schema = server::schema();
    let zone = format!("{} options='-c TimeZone=America/New_York'", server::dsn());
    let store = FeatureStore::builder(&zone).schema(&schema).connect().await.unwrap();
    let view = View::builder("zoned").key("id", Type::I64).feature("x", Type::F64);
    store.apply(&view.clone().build().unwrap()).await.unwrap();
    let written = store.writer(&view.clone().build().unwrap());
    written.upsert(&[Record::new(1i64, at(1), [1.0])]).await.unwrap();
    let since = Feature::new("since", Type::Timestamp).with_default("2026-07-01T12:00:00");
    let grown = view.push(since).build().unwrap();
    store.apply(&grown).await.unwrap();
    let found = store.reader(&grown).get(1i64).await.unwrap();
    assert_eq!(found.get("since"), Some(&Value::Timestamp(at(1_782_907_200))), "the row from before");
}

#[tokio::test]
async fn many_may_apply_and_write_at_once() {
    let store = server::builder().connect().await.unwrap();
    let view = stats();
    let tasks = (0..8i64).map(|writer| {
        let (store, view) = (store.clone(), view.clone());
        tokio::spawn(async move {
            store.apply(&view).await.unwrap();
            // Each in another order: only a common order of keys keeps them from waiting in a circle.
            let mut rows: Vec<_> =
                (0..500).map(|flight| record("UA", flight, writer, writer as f64)).collect();
            rows.rotate_left(60 * writer as usize);
            store.writer(&view).upsert(&rows).await.unwrap()
        })
    });
    let mut total = 0;
    for task in tasks.collect::<Vec<_>>() {
        let (inserted, updated, stale) = counts(task.await.unwrap());
        total += inserted;
        assert_eq!(inserted + updated + stale, 500);
    }
    assert_eq!(total, 500);
    let set = store.reader(&view).get_many((0..500).map(|flight| ("UA", flight))).await.unwrap();
    assert!((0..500).all(|row| set.columns[0].value(row) == 7.0.into()));
}
