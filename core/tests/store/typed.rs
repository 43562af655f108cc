//! Rows as Rust structs: what a struct says is its view, and rows come back as they were written.

use std::time::Duration;

use cenote::store::{
    Date, ErrorKind, FeatureRow, Found, History, KnownAt, Status, Timestamp, Type, Value, View, WriteOptions,
};

use crate::server;

#[derive(FeatureRow, Debug, Clone, PartialEq)]
#[row(view = "routes", version = 2, ttl = "30d", history = "730d", owner = "ops")]
struct Route {
    #[row(key, entity = "airport")]
    origin: String,
    #[row(key)]
    flight: i32,
    #[row(event_ts)]
    at: Timestamp,
    delay: Option<f64>,
    #[row(category("winter", "summer"), default = "winter")]
    season: Option<Box<str>>,
    #[row(name = "share of seats", description = "sold")]
    share: f32,
    #[row(type = "numeric")]
    price: Option<String>,
    since: Option<Date>,
    weights: Vec<f32>,
    words: Option<Vec<Option<String>>>,
}

#[derive(FeatureRow, Debug, Clone, PartialEq)]
#[row(view = "plain")]
struct Plain {
    #[row(key)]
    id: i64,
    #[row(event_ts)]
    event_ts: Timestamp,
    x: f64,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn route(flight: i32, at: Timestamp) -> Route {
    Route {
        origin: "EWR".into(),
        flight,
        at,
        delay: Some(-0.5),
        season: Some("summer".into()),
        share: 0.1,
        price: Some("12.50".into()),
        since: Some(Date::from_days(20_000)),
        weights: vec![1.5, 2.0],
        words: Some(vec![Some("a".into()), None]),
    }
}

#[tokio::test]
async fn a_struct_is_its_view() {
    let built = View::builder("routes")
        .version(2)
        .role("origin", "airport", Type::Text)
        .key("flight", Type::I32)
        .feature("delay", Type::F64)
        .push(cenote::store::Feature::category("season", ["winter", "summer"]).with_default("winter"))
        .push(cenote::store::Feature::new("share of seats", Type::F32).with_description("sold"))
        .feature("price", Type::Numeric)
        .feature("since", Type::Date)
        .feature("weights", Type::List(cenote::store::Item::F32))
        .feature("words", Type::List(cenote::store::Item::Text))
        .ttl(Duration::from_secs(30 * 86_400))
        .history(History { retention_days: Some(730) })
        .event_time("at")
        .owner("ops")
        .build()
        .unwrap();
    assert_eq!(Route::view().unwrap(), built);
    assert_eq!(Plain::view().unwrap().event_time(), "event_ts");
}

#[tokio::test]
async fn rows_come_back_as_they_were_written() {
    let store = server::builder().connect().await.unwrap();
    let routes = store.typed::<Route>().unwrap();
    assert!(matches!(routes.verify().await.unwrap_err().kind(), ErrorKind::SchemaDrift { .. }));
    routes.apply().await.unwrap();
    routes.verify().await.unwrap();
    let now = Timestamp::from_micros(Timestamp::now().as_micros());
    let old = now - Duration::from_secs(40 * 86_400);
    let bare = Route {
        delay: None,
        season: None,
        price: None,
        since: None,
        words: None,
        weights: vec![],
        ..route(2, now)
    };
    let rows = vec![route(1, now), bare.clone(), route(3, old)];
    let done = routes.upsert_with(rows, WriteOptions::written_with_event()).await.unwrap();
    assert_eq!((done.inserted, done.appended), (3, 3));
    let key = |flight| ("EWR".to_owned(), flight);
    assert_eq!(routes.get(&key(1)).await.unwrap(), Found { status: Status::Fresh, row: Some(route(1, now)) });
    assert_eq!(store.get::<Route>(&key(2)).await.unwrap().row, Some(bare));
    let many = routes.get_many(&[key(9), key(3), key(1)]).await.unwrap();
    assert_eq!(many[0], Found { status: Status::Missing, row: None });
    assert!(matches!(many[1].status, Status::Stale { .. }));
    assert_eq!((&many[1].row, &many[2].row), (&Some(route(3, old)), &Some(route(1, now))));
    let past = routes.as_of().unwrap().known_at(KnownAt::Any);
    let joined = past.join(&[(key(3), now), (key(3), old), (key(1), now)]).await.unwrap();
    assert_eq!(joined[0].row, None, "too old by then");
    assert_eq!((&joined[1].row, &joined[2].row), (&Some(route(3, old)), &Some(route(1, now))));
}

#[tokio::test]
async fn a_missing_value_needs_an_option() {
    let store = server::builder().connect().await.unwrap();
    let plain = store.typed::<Plain>().unwrap();
    plain.apply().await.unwrap();
    let rows = (0..70_000).map(|id| Plain { id, event_ts: at(id), x: 1.0 });
    assert_eq!(plain.upsert_all(rows, WriteOptions::default()).await.unwrap().inserted, 70_000);
    assert_eq!(
        plain.get(&69_999).await.unwrap().row,
        Some(Plain { id: 69_999, event_ts: at(69_999), x: 1.0 })
    );
    let null = cenote::store::Record::new(1i64, at(100), [Value::Null]);
    store.writer(plain.view()).upsert(&[null]).await.unwrap();
    let error = plain.get(&1).await.unwrap_err();
    assert!(error.to_string().contains("feature \"x\" has no value"), "{error}");
    assert!(plain.as_of().is_err(), "it keeps no history");
}
