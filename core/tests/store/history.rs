//! The past of features: what is kept, what is joined, and by whom it was known; against an oracle in plain Rust.

use std::collections::HashMap;
use std::time::Duration;

use cenote::Batch;
use cenote::input::Values;
use cenote::store::{
    ErrorKind, FeatureSet, History, Key, KnownAt, Record, Skew, Status, Timestamp, Type, Value, View,
    WriteOptions,
};

use crate::server;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn view() -> View {
    View::builder("past")
        .key("id", Type::I64)
        .feature("x", Type::F64)
        .history(History::default())
        .build()
        .unwrap()
}

fn x(set: &FeatureSet, row: usize) -> Value {
    set.columns[0].value(row)
}

/// What a value written after the label time must not do, and what it may when it is asked for.
#[tokio::test]
async fn a_value_written_later_is_not_known_earlier() {
    let store = server::builder().connect().await.unwrap();
    let view = view();
    store.apply(&view).await.unwrap();
    let writer = store.writer(&view);
    let known = WriteOptions::written_at;
    let done = writer.upsert_with(&[Record::new(1i64, at(100), [5.0])], known(at(101))).await.unwrap();
    assert_eq!((done.inserted, done.appended), (1, 1));
    // A backfill: an event before the label time, written after it.
    writer.upsert_with(&[Record::new(1i64, at(150), [999.0])], known(at(1000))).await.unwrap();
    // A correction of the first, later still.
    let done = writer.upsert_with(&[Record::new(1i64, at(100), [6.0])], known(at(2000))).await.unwrap();
    assert_eq!((done.stale, done.appended), (1, 1));

    let past = store.as_of(&view).unwrap();
    let label = (Key::from(1i64), at(200));
    assert_eq!(x(&past.join(std::slice::from_ref(&label)).await.unwrap(), 0), 5.0.into());
    assert_eq!(past.get(1i64, at(200)).await.unwrap().get("x"), Some(&5.0.into()));
    let cases = [
        (KnownAt::Label, 5.0),
        (KnownAt::At(at(150)), 5.0),
        (KnownAt::At(at(1000)), 999.0),
        (KnownAt::Any, 999.0),
    ];
    for (known_at, expected) in cases {
        let past = past.clone().known_at(known_at);
        assert_eq!(
            x(&past.join(std::slice::from_ref(&label)).await.unwrap(), 0),
            expected.into(),
            "{known_at:?}"
        );
        assert_eq!(past.get(1i64, at(200)).await.unwrap().get("x"), Some(&expected.into()), "{known_at:?}");
    }
    let corrected = past.clone().known_at(KnownAt::Any).get(1i64, at(149)).await.unwrap();
    assert_eq!((corrected.get("x"), corrected.event_ts), (Some(&6.0.into()), Some(at(100))));
    assert_eq!(past.get(1i64, at(100)).await.unwrap().status, Status::Missing, "known only a second later");
    assert_eq!(past.get(1i64, at(99)).await.unwrap().status, Status::Missing);
    assert_eq!(past.get(2i64, at(999)).await.unwrap().status, Status::Missing);
    // Online is what is newest now.
    assert_eq!(store.reader(&view).get(1i64).await.unwrap().get("x"), Some(&999.0.into()));
}

#[tokio::test]
async fn every_entity_has_one_row_in_its_place() {
    let store = server::builder().connect().await.unwrap();
    let view = view();
    store.apply(&view).await.unwrap();
    let rows: Vec<_> = (0..1000i64).map(|row| Record::new(row % 10, at(row), [row as f64])).collect();
    let done = store.writer(&view).upsert_with(&rows, WriteOptions::written_with_event()).await.unwrap();
    assert_eq!((done.inserted, done.updated, done.stale, done.appended), (10, 0, 990, 1000));
    // More than one statement takes; keys unknown, times twice, in no order.
    let n = 60_000;
    let ids: Vec<i64> = (0..n).map(|row| row * 7 % 13).collect();
    let times: Vec<i64> = (0..n).map(|row| row * 31 % 1500 * 1_000_000).collect();
    let labels: Vec<i64> = (0..n).collect();
    let mut batch = Batch::new(n as usize);
    batch.push("event_ts", times.as_slice().into()).unwrap();
    batch.push("label", labels.as_slice().into()).unwrap();
    batch.push("id", Values::from(ids.as_slice())).unwrap();
    let set = store.as_of(&view).unwrap().join_batch(&batch).await.unwrap();
    assert_eq!(set.len(), n as usize);
    for (row, (id, time)) in ids.iter().zip(&times).enumerate() {
        let latest = (0..=(time / 1_000_000).min(999)).rev().find(|event| event % 10 == *id);
        assert_eq!(set.event_ts[row], latest.map(at), "{id} at {time}");
        assert_eq!(x(&set, row), latest.map(|event| event as f64).into());
    }
}

#[tokio::test]
async fn more_entities_than_a_set_holds_are_joined_in_their_order() {
    let store = server::builder().connect().await.unwrap();
    let view = view();
    store.apply(&view).await.unwrap();
    let rows: Vec<_> = (0..5i64).map(|id| Record::new(id, at(id), [id as f64])).collect();
    store.writer(&view).upsert_with(&rows, WriteOptions::written_with_event()).await.unwrap();
    let past = store.as_of(&view).unwrap();
    let entity = |row: i64| (Key::from(row % 7), at(3));
    let (mut lengths, mut row) = (Vec::new(), 0);
    let take = |set: FeatureSet| {
        for place in 0..set.len() {
            // Two keys are unknown, one's event is later.
            let known = (row % 7 <= 3).then_some((row % 7) as f64);
            assert_eq!(x(&set, place), known.into(), "entity {row}");
            row += 1;
        }
        lengths.push(set.len());
        Ok::<_, cenote::store::Error>(())
    };
    past.join_all((0..200_500).map(entity), take).await.unwrap();
    assert_eq!(lengths, [200_000, 500]);
    let mut sets = 0;
    let refused = past.join_all((0..9).map(entity), |_| {
        sets += 1;
        Err(std::io::Error::other("no room").into())
    });
    let refused: Box<dyn std::error::Error> = refused.await.unwrap_err();
    assert_eq!((refused.to_string().as_str(), sets), ("no room", 1));
}

#[tokio::test]
async fn what_is_written_twice_is_kept_once() {
    let store = server::builder().connect().await.unwrap();
    let view = view();
    store.apply(&view).await.unwrap();
    let writer = store.writer(&view);
    for many in [3, 100] {
        let rows: Vec<_> = (0..many).map(|id| Record::new(many * 1000 + id, at(id), [id as f64])).collect();
        assert_eq!(writer.upsert(&rows).await.unwrap().appended, many as u64);
        assert_eq!(writer.upsert(&rows).await.unwrap().appended, 0);
        let corrected: Vec<_> = (0..many).map(|id| Record::new(many * 1000 + id, at(id), [-1.0])).collect();
        let done = writer.upsert(&corrected).await.unwrap();
        assert_eq!((done.updated, done.appended), (many as u64, many as u64));
        // Taken back: it is news again.
        let done = writer.upsert(&rows).await.unwrap();
        assert_eq!((done.updated, done.appended), (many as u64, many as u64));
    }
}

#[tokio::test]
async fn months_are_made_when_written_and_dropped_when_too_old() {
    let store = server::builder().connect().await.unwrap();
    let view = View::builder("kept")
        .key("id", Type::I64)
        .feature("x", Type::F64)
        .history(History { retention_days: Some(365) })
        .build()
        .unwrap();
    store.apply(&view).await.unwrap();
    let made = store.maintain(&view).await.unwrap();
    assert_eq!((made.made.len(), made.dropped.len()), (4, 0), "{made:?}");
    assert_eq!(store.maintain(&view).await.unwrap(), Default::default());
    let now = Timestamp::now();
    let day = Duration::from_secs(86_400);
    let writer = store.writer(&view);
    let old = [Record::new(1i64, now - 800 * day, [1.0]), Record::new(1i64, now - 30 * day, [2.0])];
    writer.upsert_with(&old, WriteOptions::written_with_event()).await.unwrap();
    let past = store.as_of(&view).unwrap();
    assert_eq!(past.get(1i64, now - 700 * day).await.unwrap().get("x"), Some(&1.0.into()));
    assert_eq!(store.maintain(&view).await.unwrap().dropped.len(), 1);
    assert_eq!(past.get(1i64, now - 700 * day).await.unwrap().status, Status::Missing);
    assert_eq!(past.get(1i64, now).await.unwrap().get("x"), Some(&2.0.into()));
    // The writer believes its months are there; it is told otherwise once, and then makes them.
    let error = writer.upsert(&old[..1]).await.unwrap_err();
    assert!(error.to_string().contains("23514"), "{error}");
    writer.upsert(&old[..1]).await.unwrap();
    let error = writer.upsert(&[Record::new(1i64, at(-90_000_000_000), [1.0])]).await.unwrap_err();
    assert!(error.to_string().contains("years 1 to 9999"), "{error}");

    let forgetful = View::builder("forgetful").key("id", Type::I64).feature("x", Type::F64).build().unwrap();
    assert!(matches!(store.as_of(&forgetful).err().unwrap().kind(), ErrorKind::View { .. }));
    assert!(matches!(store.maintain(&forgetful).await.unwrap_err().kind(), ErrorKind::View { .. }));
}

#[tokio::test]
async fn a_history_grows_with_its_view() {
    let store = server::builder().connect().await.unwrap();
    let plain = View::builder("past").key("id", Type::I64).feature("x", Type::F64).build().unwrap();
    store.apply(&plain).await.unwrap();
    store.writer(&plain).upsert(&[Record::new(1i64, at(1), [1.0])]).await.unwrap();
    // A history is added in place, then a feature to both tables.
    store.apply(&view()).await.unwrap();
    store.writer(&view()).upsert(&[Record::new(1i64, at(2), [2.0])]).await.unwrap();
    let grown = View::builder("past")
        .key("id", Type::I64)
        .feature("x", Type::F64)
        .feature("y", Type::Text)
        .history(History::default())
        .build()
        .unwrap();
    let error = store.verify(&grown).await.unwrap_err();
    let ErrorKind::SchemaDrift { differences, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(differences, &["column \"y\" is not there", "column \"y\" of the history is not there"]);
    let plan = store.plan_view(&grown).await.unwrap();
    assert_eq!(plan.statements().len(), 3, "{plan}");
    plan.apply().await.unwrap();
    store.verify(&grown).await.unwrap();
    let row = [Value::from(3.0), Value::from("new")];
    store.writer(&grown).upsert(&[Record::new(1i64, at(3), row)]).await.unwrap();
    let past = store.as_of(&grown).unwrap().known_at(KnownAt::Any);
    assert_eq!(past.get(1i64, at(3)).await.unwrap().get("y"), Some(&"new".into()));
    assert_eq!(past.get(1i64, at(2)).await.unwrap().get("y"), Some(&Value::Null));
}

#[tokio::test]
async fn an_erased_entity_is_gone_everywhere() {
    let store = server::builder().connect().await.unwrap();
    let view = view();
    store.apply(&view).await.unwrap();
    let rows: Vec<_> = (0..30i64).map(|row| Record::new(row % 3, at(row), [row as f64])).collect();
    store.writer(&view).upsert(&rows).await.unwrap();
    let erased = store.erase(&view, [1i64, 1, 77]).await.unwrap();
    assert_eq!((erased.online, erased.history), (1, 10));
    let past = store.as_of(&view).unwrap().known_at(KnownAt::Any);
    assert_eq!(store.reader(&view).get(1i64).await.unwrap().status, Status::Missing);
    assert_eq!(past.get(1i64, at(99)).await.unwrap().status, Status::Missing);
    assert_eq!(store.reader(&view).get(2i64).await.unwrap().status, Status::Fresh);
    assert_eq!(past.get(2i64, at(99)).await.unwrap().event_ts, Some(at(29)));
    assert_eq!(store.erase(&view, [1i64]).await.unwrap(), Default::default());
}

/// A small generator, the same numbers at every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// One row that was accepted: the oracle's memory is a list of them.
#[derive(Debug, Clone, Copy)]
struct Fact {
    event: i64,
    written: i64,
    value: Option<f64>,
}

const TTL: i64 = 3600;

#[tokio::test]
async fn ten_thousand_random_looks_agree_with_the_oracle() {
    let store = server::builder().connect().await.unwrap();
    let ttl = Duration::from_secs(TTL as u64);
    let view = View::builder("random")
        .key("a", Type::Text)
        .key("b", Type::I32)
        .feature("x", Type::F64)
        .ttl(ttl)
        .history(History::default())
        .build()
        .unwrap();
    store.apply(&view).await.unwrap();
    let (writer, mut dice) = (store.writer(&view), Dice(0x9e37_79b9_7f4a_7c15));
    // Keys that would be one if they were joined into a text; a key of nothing.
    let names = ["", "a", "a1", "a,1", "ü"];
    let key = |dice: &mut Dice| (names[dice.throw(5) as usize], [1, 11, -1, 111][dice.throw(4) as usize]);
    // Around the hour that Europe's clocks had twice, 2026-10-25, and around the turn of a month.
    let moment = |dice: &mut Dice| {
        let start = [1_792_886_400, 1_793_491_200][dice.throw(2) as usize];
        let coarse = start + dice.throw(16) as i64 * (TTL / 2);
        coarse * 1_000_000 + [0, 0, 0, -1, 1][dice.throw(5) as usize]
    };
    let mut facts: HashMap<(&str, i32), Vec<Fact>> = HashMap::new();
    for _ in 0..40 {
        let written = moment(&mut dice);
        let size = if dice.throw(4) == 0 { 60 } else { 1 + dice.throw(10) };
        let batch: Vec<_> = (0..size)
            .map(|_| {
                let value = (dice.throw(6) > 0).then(|| dice.throw(5) as f64);
                (key(&mut dice), moment(&mut dice), value)
            })
            .collect();
        let rows: Vec<_> = batch
            .iter()
            .map(|(key, event, value)| Record::new(*key, Timestamp::from_micros(*event), [*value]))
            .collect();
        let options = WriteOptions::written_at(Timestamp::from_micros(written));
        writer.upsert_with(&rows, options).await.unwrap();
        // In a batch the later row of a key and event is meant; of two batches of one moment the first.
        let mut meant: HashMap<_, Option<f64>> = HashMap::new();
        for (key, event, value) in &batch {
            meant.insert((*key, *event), *value);
        }
        for ((key, event), value) in meant {
            let known = facts.entry(key).or_default();
            if !known.iter().any(|fact| fact.event == event && fact.written == written) {
                known.push(Fact { event, written, value });
            }
        }
    }
    let newest = |facts: &[Fact], fits: &dyn Fn(&Fact) -> bool| {
        facts.iter().filter(|fact| fits(fact)).max_by_key(|fact| (fact.event, fact.written)).copied()
    };

    let (mut looks, mut found) = (0, 0);
    for round in 0..4 {
        let asked: Vec<_> = (0..2500).map(|_| (key(&mut dice), moment(&mut dice))).collect();
        let entities: Vec<_> =
            asked.iter().map(|(key, at)| (Key::from(*key), Timestamp::from_micros(*at))).collect();
        let fixed = moment(&mut dice);
        let known_at = match round {
            0 | 1 => KnownAt::Label,
            2 => KnownAt::At(Timestamp::from_micros(fixed)),
            _ => KnownAt::Any,
        };
        let past = store.as_of(&view).unwrap().known_at(known_at);
        let set = past.join(&entities).await.unwrap();
        assert_eq!(set.len(), asked.len());
        for (row, (key, at)) in asked.iter().enumerate() {
            let fits = |fact: &Fact| {
                let known = match known_at {
                    KnownAt::At(_) => fact.written <= fixed,
                    KnownAt::Any => true,
                    _ => fact.written <= *at,
                };
                known && fact.event <= *at && fact.event >= at - TTL * 1_000_000
            };
            let expected = newest(facts.get(key).map_or(&[], Vec::as_slice), &fits);
            assert_eq!(
                set.event_ts[row],
                expected.map(|fact| Timestamp::from_micros(fact.event)),
                "{key:?} at {at}"
            );
            assert_eq!(
                x(&set, row),
                expected.and_then(|fact| fact.value).into(),
                "{key:?} at {at}, {known_at:?}"
            );
            if row % 50 == 0 {
                let one = past.get(*key, Timestamp::from_micros(*at)).await.unwrap();
                assert_eq!((one.event_ts, one.get("x")), (set.event_ts[row], Some(&x(&set, row))));
            }
            looks += 1;
            found += u32::from(expected.is_some());
        }
    }
    assert!(looks == 10_000 && (2000..9500).contains(&found), "{found} of {looks} looks saw something");

    let keys: Vec<_> = names.iter().flat_map(|a| [1, 11, -1, 111].map(|b| (*a, b))).collect();
    let online = store.reader(&view).get_many(keys.iter().copied()).await.unwrap();
    for (row, key) in keys.iter().enumerate() {
        let expected = newest(facts.get(key).map_or(&[], Vec::as_slice), &|_| true);
        assert_eq!(online.event_ts[row], expected.map(|fact| Timestamp::from_micros(fact.event)), "{key:?}");
        assert_eq!(x(&online, row), expected.and_then(|fact| fact.value).into(), "{key:?}");
    }
}

#[tokio::test]
async fn parity_lists_every_way_in_which_serving_and_training_may_part() {
    let store = server::builder().connect().await.unwrap();
    let view = View::builder("parity")
        .key("id", Type::I64)
        .key("region", Type::Text)
        .feature("a", Type::F64)
        .feature("b", Type::Text)
        .history(History::default())
        .build()
        .unwrap();
    store.apply(&view).await.unwrap();
    let now = Timestamp::now();
    let rows: Vec<_> = (0..50i64)
        .map(|id| {
            let a = if id == 7 { f64::NAN.into() } else { Value::from(id as f64) };
            Record::new((id, "eu"), now - Duration::from_secs(60), vec![a, Value::Null])
        })
        .collect();
    store.writer(&view).upsert(&rows).await.unwrap();
    let same = store.parity(&view, 1000).await.unwrap();
    assert_eq!((same.checked, same.differing), (50, 0));
    assert_eq!(store.parity(&view, 10).await.unwrap().checked, 10);
    // What somebody did by hand: a sign of zero, a row gone from the past, an event moved.
    let table = format!("\"{}\".{}", store.schema(), view.table());
    let history = format!("\"{}\".{}", store.schema(), view.history_table());
    let by_hand = format!(
        "UPDATE {table} SET a = '-0', b = 'x' WHERE id = 0; DELETE FROM {history} WHERE id = 1; \
         UPDATE {table} SET event_ts = event_ts + interval '1 second' WHERE id = 2"
    );
    server::client().await.batch_execute(&by_hand).await.unwrap();
    let parity = store.parity(&view, 1000).await.unwrap();
    assert_eq!((parity.checked, parity.differing), (50, 3));
    let skew = |id: i64| {
        let key = Key::from((id, "eu"));
        &parity.differences.iter().find(|difference| difference.key == key).unwrap().skew
    };
    assert_eq!(*skew(0), Skew::Features(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(*skew(1), Skew::NoHistory);
    assert!(matches!(skew(2), Skew::Event { online, history } if online.since(*history).as_secs() == 1));
    let without = View::builder("plain").key("id", Type::I64).feature("a", Type::F64).build().unwrap();
    assert!(matches!(store.parity(&without, 1).await.unwrap_err().kind(), ErrorKind::View { .. }));
}
