//! A real model over real rows: what the store serves by key is what H2O's own scorer says of the row.

use std::collections::HashMap;
use std::time::Duration;

use cenote::input::{Batch, Cell};
use cenote::serve::{OnMissing, OnStale, ScorePlan, UnseenLevels};
use cenote::store::{ErrorKind, FeatureStore, Record, Status, Timestamp, Type, Value, View};
use cenote::{Model, OutputValues, Row};

use crate::server;

const MODEL: &[u8] = include_bytes!("../../../fixtures/demo/model.zip");
const FLIGHTS: &str = include_str!("../../../fixtures/demo/flights.csv");
const EXPECTED: &str = include_str!("../../../fixtures/demo/expected.csv");

/// The demo's columns after `flight_id`, and whether each is a category.
fn columns() -> Vec<(&'static str, bool)> {
    let names = FLIGHTS.lines().next().unwrap().split(',').skip(1);
    names.map(|name| (name, ["carrier", "origin", "dest"].contains(&name))).collect()
}

fn view() -> View {
    let mut view = View::builder("flights").key("flight_id", Type::I64).ttl(Duration::from_secs(3600));
    for (name, category) in columns() {
        // Numbers of every width that the wire has.
        let ty = match name {
            _ if category => Type::Text,
            "hour" => Type::I16,
            "distance" => Type::I32,
            "seats" => Type::I64,
            _ => Type::F64,
        };
        view = view.feature(name, ty);
    }
    view.build().unwrap()
}

fn records() -> Vec<Record> {
    let rows = FLIGHTS.lines().skip(1).map(|line| {
        let mut cells = line.split(',');
        let key: i64 = cells.next().unwrap().parse().unwrap();
        let values = cells.zip(columns()).map(|(cell, (_, category))| match cell {
            "" => Value::Null,
            text if category => Value::from(text),
            number => Value::from(number.parse::<f64>().unwrap()),
        });
        Record::new(key, Timestamp::now(), values.collect::<Vec<_>>())
    });
    rows.collect()
}

/// The label and the two probabilities that H2O gives each flight.
fn expected() -> HashMap<i64, (&'static str, [f64; 2])> {
    let lines = EXPECTED.lines().skip(1).map(|line| {
        let cells: Vec<_> = line.split(',').collect();
        (cells[0].parse().unwrap(), (cells[1], [cells[2].parse().unwrap(), cells[3].parse().unwrap()]))
    });
    lines.collect()
}

/// Equal but for the last two bits: the exponential is Java's to that.
fn close(a: f64, b: f64) -> bool {
    (a.to_bits() as i64 - b.to_bits() as i64).abs() <= 2
}

async fn setup(view: &View) -> (FeatureStore, Model) {
    let store = server::builder().pool(2).connect().await.unwrap();
    store.apply(view).await.unwrap();
    (store, Model::from_bytes(MODEL).unwrap())
}

async fn plan(view: &View) -> (FeatureStore, ScorePlan) {
    let (store, model) = setup(view).await;
    store.writer(view).upsert(&records()).await.unwrap();
    let plan = store.plan(&model, view).build().await.unwrap();
    (store, plan)
}

#[tokio::test]
async fn a_key_scores_as_its_row_does() {
    let (_store, plan) = plan(&view()).await;
    let expected = expected();
    assert!(expected.len() > 100);
    for (key, (label, numbers)) in &expected {
        let score = plan.score(*key).await.unwrap();
        assert_eq!(score.status, Status::Fresh);
        assert_eq!(score.label(), Some(*label), "flight {key}");
        assert!(score.numbers().iter().zip(numbers).all(|(a, b)| close(*a, *b)), "flight {key}: {score:?}");
    }
}

#[tokio::test]
async fn many_keys_score_in_their_order() {
    let (_store, plan) = plan(&view()).await;
    let expected = expected();
    let mut keys: Vec<i64> = expected.keys().copied().collect();
    // More than are scored on the runtime's own thread; one that is not there, one that stands twice.
    assert!(keys.len() > 64);
    keys.insert(1, -1);
    keys.push(keys[0]);
    let scores = plan.score_many(keys.iter().copied()).await.unwrap();
    let [label, numbers @ ..] = &scores.predictions.columns[..] else { panic!("no columns") };
    let OutputValues::Label { codes, domain } = &label.values else { panic!("{label:?}") };
    for (row, key) in keys.iter().enumerate() {
        let one = plan.score(*key).await.unwrap();
        assert_eq!(scores.status[row], one.status);
        assert_eq!(Some(domain[codes[row] as usize].as_str()), one.label());
        for (column, number) in numbers.iter().zip(one.numbers()) {
            let OutputValues::Number(values) = &column.values else { panic!("{column:?}") };
            assert_eq!(values[row].to_bits(), number.to_bits(), "one and many differ");
            assert_eq!(one.number(&column.name), Some(*number));
        }
        if let Some((expected, _)) = expected.get(key) {
            assert_eq!(one.label(), Some(*expected));
        }
    }
    assert_eq!(scores.status[1], Status::Missing);
    let unknown = plan.model().predict_row(&Row::new()).unwrap();
    assert_eq!(
        plan.score(-1i64).await.unwrap().predictions(),
        unknown,
        "a missing key is a row of missing values"
    );
    assert_eq!(plan.score_many(Vec::<i64>::new()).await.unwrap().predictions.rows, 0);
}

#[tokio::test]
async fn missing_and_stale_keys_are_as_the_plan_says() {
    let view = view();
    let (store, model) = setup(&view).await;
    let mut rows = records();
    rows.truncate(2);
    rows[0].event_ts = Timestamp::now() - Duration::from_secs(7200);
    store.writer(&view).upsert(&rows).await.unwrap();
    let keys = [1001i64, 1002];
    let expected = expected();
    let unknown = model.predict_row(&Row::new()).unwrap();

    let plan = store.plan(&model, &view).build().await.unwrap();
    let score = plan.score(1001i64).await.unwrap();
    assert!(matches!(score.status, Status::Stale { .. }));
    assert_eq!(score.predictions(), unknown, "as in a training set, what is too old is missing");
    let scores = plan.fetch(keys).await.unwrap();
    assert!(!scores.features().columns[0].is_present(0) && scores.features().columns[0].is_present(1));
    let used = store.plan(&model, &view).on_stale(OnStale::Use).build().await.unwrap();
    assert_eq!(used.score(1001i64).await.unwrap().label(), Some(expected[&1001].0));

    let refused = store.plan(&model, &view).on_stale(OnStale::Refuse).on_missing(OnMissing::Refuse);
    let refused = refused.build().await.unwrap();
    assert_eq!(refused.score(1001i64).await.unwrap_err().to_string(), "key 0 of view \"flights\" is stale");
    assert_eq!(refused.score(1003i64).await.unwrap_err().to_string(), "key 0 of view \"flights\" is missing");
    let error = refused.score_many([1002i64, 5]).await.unwrap_err();
    assert_eq!(error.to_string(), "key 1 of view \"flights\" is missing");
}

#[tokio::test]
async fn a_model_that_does_not_fit_its_view_is_refused_at_bind_time() {
    let model = Model::from_bytes(MODEL).unwrap();
    let json = view().to_json();
    let json = json.replace(r#"{"name":"temp","type":"f64"}"#, r#"{"name":"temp","type":"text"}"#);
    let json = json.replace(r#"{"name":"dest","type":"text"}"#, r#"{"name":"dest","type":"f64"}"#);
    let json = json.replace(r#"{"name":"visib","type":"f64"},"#, "");
    let carriers = r#"{"name":"carrier","type":"text","levels":["UA","ZZ"]}"#;
    let json = json.replace(r#"{"name":"carrier","type":"text"}"#, carriers);
    let view = View::from_json(&json).unwrap();
    let store = server::builder().connect().await.unwrap();
    store.apply(&view).await.unwrap();
    let error = store.plan(&model, &view).absent(["nonsense"]).build().await.err().unwrap();
    let ErrorKind::Bind { problems, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(
        problems,
        &[
            "input \"carrier\": the model has not seen levels [\"ZZ\"]",
            "input \"dest\" is a category, column \"dest\" is double precision",
            "input \"temp\" is a number, column \"temp\" is text",
            "input \"visib\" (a number): there is no column \"visib\"",
            "the model has no input \"nonsense\"",
        ]
    );
    // What the caller answers for is not refused.
    let answered = store
        .plan(&model, &view)
        .unseen_levels(UnseenLevels::AsMissing)
        .absent(["dest", "temp"])
        .column("visib", "precip");
    let plan = answered.build().await.unwrap();
    plan.score(1i64).await.unwrap();
    // A table that is not there is found when the plan is built, not when it is used.
    let elsewhere = server::builder().connect().await.unwrap();
    let error = elsewhere.plan(&model, &self::view()).build().await.err().unwrap();
    assert!(error.to_string().contains("42P01"), "{error}");
}

#[tokio::test]
async fn inputs_may_come_with_the_request_and_from_the_key() {
    // The carrier is a key here, and the weather comes with the request.
    let mut view = View::builder("planes").key("carrier", Type::Text).key("flight_id", Type::I64);
    let weather = ["temp", "wind_speed", "wind_gust", "precip", "visib"];
    for (name, category) in columns() {
        if name != "carrier" && !weather.contains(&name) {
            view = view.feature(name, if category { Type::Text } else { Type::F64 });
        }
    }
    let view = view.build().unwrap();
    let (store, model) = setup(&view).await;
    let mut rows = Vec::new();
    let mut requests = Vec::new();
    for record in records() {
        let named: Vec<_> = columns().into_iter().map(|(name, _)| name).zip(record.values).collect();
        let Value::Int(id) = record.key.values()[0] else { panic!() };
        let (carrier, mut kept, mut request) = (named[0].1.clone(), Vec::new(), Vec::new());
        for (name, value) in named.into_iter().skip(1) {
            if weather.contains(&name) { request.push((name, value.as_f64())) } else { kept.push(value) }
        }
        rows.push(Record::new((carrier.clone(), id), record.event_ts, kept));
        requests.push(((carrier, id), request));
    }
    store.writer(&view).upsert(&rows).await.unwrap();
    let plan = store.plan(&model, &view).request(weather).build().await.unwrap();
    let expected = expected();
    for ((carrier, id), request) in &requests {
        let mut row = Row::new();
        for (name, value) in request {
            row.push(*name, *value);
        }
        let score = plan.score_with((carrier.clone(), *id), &row).await.unwrap();
        assert_eq!(score.label(), Some(expected[id].0), "flight {id}");
    }
    let error = plan.score((requests[0].0.0.clone(), 1001i64)).await.unwrap_err();
    assert!(error.to_string().contains("input \"temp\" comes with the request"), "{error}");

    let keys = requests.iter().map(|(key, _)| key.clone());
    let fetched = plan.fetch(keys).await.unwrap();
    let mut batch = Batch::new(requests.len());
    for (index, name) in weather.iter().enumerate() {
        let cells: Vec<Cell<'_>> = requests.iter().map(|(_, request)| request[index].1.into()).collect();
        batch.push(*name, cenote::input::Values::Cells(cells.into())).unwrap();
    }
    let scores = fetched.score_with(&batch).unwrap();
    let OutputValues::Number(p) = &scores.predictions.columns[1].values else { panic!() };
    for (((_, id), _), p) in requests.iter().zip(p) {
        assert!(close(*p, expected[id].1[0]), "flight {id}");
    }
    assert!(fetched.score().is_err());
}

#[tokio::test]
async fn what_passes_by_is_counted() {
    let view = view();
    let (store, model) = setup(&view).await;
    let mut rows = records();
    rows.truncate(3);
    rows[0].event_ts = Timestamp::now() - Duration::from_secs(7200);
    rows[1].values[0] = "XX".into();
    rows[1].values[3] = Value::Null;
    store.writer(&view).upsert(&rows).await.unwrap();
    let plan = store.plan(&model, &view).build().await.unwrap();
    for _ in 0..2 {
        plan.score_many([1001i64, 1002, 1003, -1]).await.unwrap();
    }
    for key in [1001i64, 1002, 1003, -1] {
        plan.score(key).await.unwrap();
    }
    let counters = plan.counters();
    assert_eq!((counters.keys, counters.missing, counters.stale), (12, 3, 3));
    let input = |name: &str| {
        let input = counters.inputs.iter().find(|input| input.name == name).unwrap();
        (input.absent, input.unseen)
    };
    assert_eq!(input("carrier"), (6, 3));
    assert_eq!(input("dest"), (6, 0));
    assert_eq!(input(columns()[3].0), (9, 0));
}

#[test]
fn threads_score_without_a_runtime() {
    let store = cenote::store::blocking::FeatureStore::new(server::builder()).unwrap();
    let view = view();
    store.apply(&view).unwrap();
    store.writer(&view).upsert(&records(), cenote::store::WriteOptions::default()).unwrap();
    let model = Model::from_bytes(MODEL).unwrap();
    let plan = store.plan(&model, &view, |plan| plan.on_missing(OnMissing::Refuse)).unwrap();
    let expected = expected();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for (key, (label, _)) in &expected {
                    assert_eq!(plan.score(*key).unwrap().label(), Some(*label));
                }
                let scores = plan.score_many(expected.keys().copied()).unwrap();
                assert_eq!(scores.predictions.rows, expected.len());
            });
        }
    });
    assert!(plan.score(-1i64).is_err());
}

#[tokio::test]
async fn a_plan_explains_itself_and_warns_where_no_index_helps() {
    let (store, plan) = plan(&view()).await;
    let explained = plan.explain().await.unwrap();
    assert!(explained.sql.contains("WHERE t.\"flight_id\" = $1"), "{}", explained.sql);
    assert!(explained.query_plan.contains("Scan"), "{}", explained.query_plan);
    assert_eq!(explained.inputs.len(), 12);
    assert_eq!(explained.inputs[0], ("carrier".to_owned(), "feature \"carrier\"".to_owned()));
    assert!(explained.unread.is_empty());
    let client = server::client().await;
    client.batch_execute(&format!("ANALYZE \"{}\".flights_v1", store.schema())).await.unwrap();
    assert_eq!(plan.explain().await.unwrap().warnings, Vec::<String>::new());
    let drop = format!("ALTER TABLE \"{0}\".flights_v1 DROP CONSTRAINT flights_v1_pkey", store.schema());
    client.batch_execute(&drop).await.unwrap();
    let warnings = plan.explain().await.unwrap().warnings;
    assert!(matches!(&warnings[..], [one] if one.starts_with("no index of table")), "{warnings:?}");
}
