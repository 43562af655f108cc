//! Several views read together: by one key, by different keys, in roles; each with its own status.

use std::time::Duration;

use cenote::store::{FeatureStore, Key, Record, Status, Timestamp, Type, Value, View, blocking};

use crate::server;

fn airports() -> View {
    View::builder("airports")
        .key("airport", Type::Text)
        .feature("wind", Type::F64)
        .feature("x", Type::I32)
        .build()
        .unwrap()
}

fn runways() -> View {
    View::builder("runways")
        .key("airport", Type::Text)
        .feature("count", Type::I16)
        .ttl(Duration::from_secs(60))
        .build()
        .unwrap()
}

fn flights() -> View {
    View::builder("flights")
        .key("flight", Type::I64)
        .role("origin", "airport", Type::Text)
        .feature("delay", Type::F64)
        .build()
        .unwrap()
}

async fn filled(store: &FeatureStore) {
    for view in [airports(), runways(), flights()] {
        store.apply(&view).await.unwrap();
    }
    let now = Timestamp::now();
    let old = now - Duration::from_secs(3600);
    let wind = |airport: &str, wind: f64| Record::new(airport, now, [Value::from(wind), 1i32.into()]);
    store.writer(&airports()).upsert(&[wind("EWR", 1.5), wind("SFO", 2.5)]).await.unwrap();
    let runways_of = [Record::new("EWR", now, [3i16]), Record::new("LAX", old, [4i16])];
    store.writer(&runways()).upsert(&runways_of).await.unwrap();
    store.writer(&flights()).upsert(&[Record::new((7i64, "EWR"), now, [-3.0])]).await.unwrap();
}

#[tokio::test]
async fn views_are_read_together_in_their_roles() {
    let store = server::builder().connect().await.unwrap();
    filled(&store).await;
    let (airports, runways) = (store.reader(&airports()), store.reader(&runways()));
    let service = store
        .service()
        .with(&store.reader(&flights()))
        .with_roles(&airports, &[("airport", "origin")])
        .with_roles(&runways, &[("airport", "origin")])
        .with_roles(&store.reader_of(airports.view(), ["wind"]).unwrap(), &[("airport", "destination")])
        .build()
        .unwrap();
    let columns: Vec<_> = service.columns().collect();
    assert_eq!(columns, [("flight", Type::I64), ("origin", Type::Text), ("destination", Type::Text)]);
    let sets = service
        .get_many([(7i64, "EWR", "SFO"), (7, "SFO", "EWR"), (8, "LAX", "XXX"), (7, "EWR", "SFO")])
        .await
        .unwrap();
    let values = |set: usize, column: usize| -> Vec<Value> {
        (0..4).map(|row| sets[set].columns[column].value(row)).collect()
    };
    let null = Value::Null;
    assert_eq!(values(0, 0), [(-3.0).into(), null.clone(), null.clone(), (-3.0).into()]);
    assert_eq!(values(1, 0), [1.5.into(), 2.5.into(), null.clone(), 1.5.into()]);
    assert_eq!(values(1, 1), [1i32.into(), 1i32.into(), null.clone(), 1i32.into()]);
    assert_eq!(values(2, 0), [3i16.into(), null.clone(), 4i16.into(), 3i16.into()]);
    assert_eq!(values(3, 0), [2.5.into(), 1.5.into(), null, 2.5.into()]);
    assert_eq!(sets[2].status[..2], [Status::Fresh, Status::Missing]);
    assert!(matches!(sets[2].status[2], Status::Stale { .. }), "a view's own ttl");
    assert!(sets[1].event_ts[2].is_none() && sets[2].event_ts[2].is_some());

    let one = service.get((7i64, "EWR", "SFO")).await.unwrap();
    assert_eq!(one.iter().map(|set| set.len()).collect::<Vec<_>>(), [1, 1, 1, 1]);
    assert!(service.get_many(Vec::<Key>::new()).await.unwrap().iter().all(|set| set.is_empty()));
    let many = service.get_many((0..25_000i64).map(|flight| (flight, "EWR", "SFO"))).await.unwrap();
    assert_eq!((many[0].len(), many[0].columns[0].value(7)), (25_000, (-3.0).into()));
    assert_eq!(many[1].columns[0].value(24_999), 1.5.into());
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused() {
    let store = server::builder().connect().await.unwrap();
    filled(&store).await;
    let (airports, flights) = (store.reader(&airports()), store.reader(&flights()));
    assert!(store.service().build().is_err());
    let error = |service: cenote::store::ServiceBuilder| service.build().err().unwrap().to_string();
    let clash = error(store.service().with(&flights).with_roles(&airports, &[("airport", "flight")]));
    assert!(clash.contains("\"flight\" is text here and bigint in another view"), "{clash}");
    let twice = View::builder("pairs")
        .key("a", Type::Text)
        .key("b", Type::Text)
        .feature("x", Type::F64)
        .build()
        .unwrap();
    let twice = error(store.service().with_roles(&store.reader(&twice), &[("b", "a")]));
    assert!(twice.contains("two of its key columns"), "{twice}");
    let service = store.service().with(&airports).with(&flights).build().unwrap();
    for entity in [Key::from("EWR"), Key::from(("EWR", 7i64, 1i64)), Key::from((7i64, 7i64, "EWR"))] {
        assert!(service.get(entity).await.is_err());
    }
}

#[test]
fn the_same_without_a_runtime() {
    let settings = server::builder();
    let schema = {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = settings.connect().await.unwrap();
            filled(&store).await;
            store.schema().to_owned()
        })
    };
    let store = blocking::FeatureStore::new(FeatureStore::builder(&server::dsn()).schema(schema)).unwrap();
    let service = store
        .service(|store, service| {
            Ok(service
                .with(&store.reader(&airports()))
                .with_roles(&store.reader(&airports()), &[("airport", "to")]))
        })
        .unwrap();
    let sets = service.get(("EWR", "SFO")).unwrap();
    assert_eq!([sets[0].columns[0].value(0), sets[1].columns[0].value(0)], [1.5.into(), 2.5.into()]);
}
