//! An alias at work: hot swaps, refusals, canaries and shadows, and a connection that is cut.

use std::time::Duration;

use cenote::registry::{ModelRef, Registration, Registry, Route};
use cenote::serve::{OnMissing, Served};
use cenote::store::{ErrorKind, FeatureStore, Record, Timestamp, Type, Value, View};
use cenote::{Model, OutputValues, Row};
use tokio::time::{sleep, timeout};

use crate::proxy::{Mode, Proxy};
use crate::registry::{fixture, variant};
use crate::server;

fn reference(text: &str) -> ModelRef {
    text.parse().unwrap()
}

fn view() -> View {
    View::builder("flights")
        .key("flight", Type::I64)
        .feature("carrier", Type::Text)
        .feature("distance", Type::F64)
        .feature("hour", Type::I16)
        .build()
        .unwrap()
}

/// Inputs of the demo's model that the view lacks.
const ABSENT: [&str; 9] =
    ["origin", "dest", "temp", "wind_speed", "wind_gust", "precip", "visib", "plane_year", "seats"];

async fn setup(store: &FeatureStore) -> Registry {
    let view = view();
    store.apply(&view).await.unwrap();
    let rows: Vec<_> = (0..200i64)
        .map(|flight| {
            let values: Vec<Value> = vec!["UA".into(), (100.0 * flight as f64).into(), (flight % 24).into()];
            Record::new(flight, Timestamp::now(), values)
        })
        .collect();
    store.writer(&view).upsert(&rows).await.unwrap();
    let registry = store.registry();
    registry.apply().await.unwrap();
    let golden =
        || Registration::new().golden_row(&Row::new().with("carrier", "UA").with("hour", 8i64)).unwrap();
    for number in 0..3 {
        let mojo = if number == 0 { fixture("demo/model.zip") } else { variant(number) };
        registry.register_with("late", &mojo, &golden()).await.unwrap();
    }
    registry.promote("late", "production", 1).await.unwrap();
    registry
}

async fn serve(store: &FeatureStore, registry: &Registry) -> Served {
    let served =
        store.serve(registry, &reference("late@production"), &view(), |plan| plan.absent(ABSENT)).await;
    served.unwrap()
}

async fn swapped(served: &Served, version: i32) {
    let wait = async {
        while served.version().version != version {
            served.swapped().await;
        }
    };
    timeout(Duration::from_secs(20), wait).await.expect("the models are swapped");
}

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the condition did not come true within 20 s");
}

/// What a model alone says of a flight.
fn alone(model: &Model, flight: i64) -> Vec<f64> {
    let row =
        Row::new().with("carrier", "UA").with("distance", 100.0 * flight as f64).with("hour", flight % 24);
    let columns = model.predict_row(&row).unwrap().columns;
    let numbers = columns.iter().filter_map(|column| match &column.values {
        OutputValues::Number(values) => Some(values[0]),
        _ => None,
    });
    numbers.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_that_moves_swaps_the_model_between_two_scores() {
    let store = server::builder().connect().await.unwrap();
    let registry = setup(&store).await;
    let served = serve(&store, &registry).await;
    let models: Vec<_> = [fixture("demo/model.zip"), variant(1), variant(2)]
        .iter()
        .map(|mojo| Model::from_bytes(mojo).unwrap())
        .collect();
    let (scoring, right) = (served.clone(), models.clone());
    let callers = tokio::spawn(async move {
        let (mut scored, mut versions) = (0u32, std::collections::BTreeSet::new());
        for flight in (0..200i64).cycle() {
            let score = scoring.score(flight).await.unwrap();
            let version = score.version().unwrap().version;
            // Every score is whole: the numbers are those of the version that it names.
            assert_eq!(score.numbers(), alone(&right[version as usize - 1], flight));
            versions.insert(version);
            scored += 1;
            if versions.len() == 3 && scored > 500 {
                return scored;
            }
        }
        unreachable!()
    });
    until(|| served.state().listening).await;
    for version in [2, 3] {
        sleep(Duration::from_millis(50)).await;
        registry.promote("late", "production", version).await.unwrap();
        swapped(&served, version).await;
    }
    timeout(Duration::from_secs(60), callers).await.unwrap().unwrap();
    assert_eq!(served.state().swaps, 2);
    assert_eq!(served.state().refused, None);
}

#[tokio::test]
async fn a_model_that_fails_its_golden_rows_is_not_put_to_work() {
    let store = server::builder().connect().await.unwrap();
    let registry = setup(&store).await;
    let served = serve(&store, &registry).await;
    until(|| served.state().listening).await;
    let spoil = |on: bool| {
        let (from, to) = if on { ("\"label\":", "\"label\":7") } else { ("\"label\":7", "\"label\":") };
        format!(
            "UPDATE \"{}\".cenote_models SET golden = replace(golden, '{from}', '{to}') WHERE version = 2",
            store.schema()
        )
    };
    let client = server::client().await;
    client.batch_execute(&spoil(true)).await.unwrap();
    registry.promote("late", "production", 2).await.unwrap();
    until(|| served.state().refused.is_some()).await;
    let refused = served.state().refused.unwrap();
    assert!(refused.contains("golden row 0"), "{refused}");
    assert_eq!(served.score(3i64).await.unwrap().version().unwrap().version, 1);
    // Mended and promoted again, it is.
    client.batch_execute(&spoil(false)).await.unwrap();
    registry.promote("late", "production", 2).await.unwrap();
    swapped(&served, 2).await;
    until(|| served.state().refused.is_none()).await;
}

#[tokio::test]
async fn a_model_that_does_not_fit_the_view_is_not_put_to_work() {
    let store = server::builder().connect().await.unwrap();
    let registry = setup(&store).await;
    let other = registry.register("late", &fixture("zoo/gbm_multinomial_iris/model.zip")).await.unwrap();
    let served = serve(&store, &registry).await;
    until(|| served.state().listening).await;
    registry.promote("late", "production", other.version).await.unwrap();
    until(|| served.state().refused.is_some()).await;
    assert_eq!(served.score(3i64).await.unwrap().version().unwrap().version, 1);
    let first =
        store.serve(&registry, &reference("late@production"), &view(), |plan| plan.absent(ABSENT)).await;
    assert!(matches!(first.err().unwrap().kind(), ErrorKind::Bind { .. }), "nothing answered before");
    let fixed = store.serve(&registry, &reference("late:1"), &view(), |plan| plan).await;
    assert!(matches!(fixed.err().unwrap().kind(), ErrorKind::Config { .. }), "a version does not move");
}

#[tokio::test]
async fn a_watch_survives_its_connection_and_misses_nothing() {
    let proxy = Proxy::to(server::server().port).await;
    let direct = server::builder();
    let registry_store = direct.connect().await.unwrap();
    let registry = setup(&registry_store).await;
    let through = format!("host=127.0.0.1 port={} user=cenote dbname=postgres", proxy.port);
    let store = FeatureStore::builder(&through).schema(registry_store.schema()).connect().await.unwrap();
    let served = serve(&store, &store.registry()).await;
    until(|| served.state().listening).await;
    proxy.set(Mode::Cut);
    until(|| !served.state().listening).await;
    // Nobody hears this one.
    registry.promote("late", "production", 3).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(served.version().version, 1);
    proxy.set(Mode::Pass);
    swapped(&served, 3).await;
    until(|| served.state().listening && served.state().refused.is_none()).await;
    registry.promote("late", "production", 2).await.unwrap();
    swapped(&served, 2).await;
}

#[tokio::test]
async fn a_canary_has_its_share_of_the_keys_and_keeps_it() {
    let store = server::builder().connect().await.unwrap();
    let registry = setup(&store).await;
    registry.route("late", "production", &Route::to(1).canary(2, 0.3)).await.unwrap();
    let served = serve(&store, &registry).await;
    let models = [fixture("demo/model.zip"), variant(1)].map(|mojo| Model::from_bytes(&mojo).unwrap());
    let mut versions = Vec::new();
    for flight in 0..200i64 {
        let score = served.score(flight).await.unwrap();
        let version = score.version().unwrap().version;
        assert_eq!(score.numbers(), alone(&models[version as usize - 1], flight));
        versions.push(version);
    }
    let canaries = versions.iter().filter(|version| **version == 2).count();
    assert!((30..90).contains(&canaries), "{canaries} of 200 keys, 60 expected");
    let scores = served.score_many((0..200i64).chain([-1])).await.unwrap();
    assert_eq!(scores.versions[..200], versions, "one and many agree on the version");
    for flight in 0..200usize {
        let [_, OutputValues::Number(n), OutputValues::Number(y)] =
            [0, 1, 2].map(|at| scores.predictions.columns[at].values.clone())
        else {
            panic!("columns")
        };
        let right = alone(&models[versions[flight] as usize - 1], flight as i64);
        assert_eq!([n[flight], y[flight]], right[..]);
    }
    // Another process, or this one after a start, gives each key the same version.
    let again = serve(&store, &registry).await.score_many(0..200i64).await.unwrap();
    assert_eq!(again.versions, versions);
    assert_eq!(served.counters().keys, 2 * (200 - canaries as u64) + u64::from(scores.versions[200] == 1));
}

#[tokio::test]
async fn a_shadow_is_compared_and_never_answers() {
    let store = server::builder().connect().await.unwrap();
    let registry = setup(&store).await;
    registry.route("late", "production", &Route::to(1).shadow(3)).await.unwrap();
    let served = serve(&store, &registry).await;
    let models = [fixture("demo/model.zip"), variant(2)].map(|mojo| Model::from_bytes(&mojo).unwrap());
    let mut largest = 0f64;
    for flight in 0..50i64 {
        let score = served.score(flight).await.unwrap();
        assert_eq!(score.version().unwrap().version, 1);
        assert_eq!(score.numbers(), alone(&models[0], flight));
        let pairs = alone(&models[0], flight).into_iter().zip(alone(&models[1], flight));
        largest = pairs.map(|(a, b)| (a - b).abs()).fold(largest, f64::max);
    }
    let shadow = served.shadow().unwrap();
    assert_eq!((shadow.scored, shadow.failed, shadow.numbers), (50, 0, 50));
    assert_eq!(shadow.largest, largest);
    let scores = served.score_many(0..50i64).await.unwrap();
    assert_eq!(scores.versions, [1; 50]);
    assert_eq!(served.shadow().unwrap().numbers, 100);
    assert_eq!(served.shadow().unwrap().largest, largest);
    // The same model as its own shadow never differs.
    registry.route("late", "production", &Route::to(1).shadow(1)).await.unwrap();
    until(|| served.route().shadow == Some(1)).await;
    served.score_many(0..200i64).await.unwrap();
    let same = served.shadow().unwrap();
    assert_eq!((same.scored, same.failed, same.labels, same.numbers), (200, 0, 0, 0));
}

#[tokio::test]
async fn a_plan_that_refuses_a_key_refuses_it_for_its_version_alone() {
    let store = server::builder().connect().await.unwrap();
    let registry = setup(&store).await;
    registry.route("late", "production", &Route::to(1).canary(2, 0.5).shadow(3)).await.unwrap();
    let settings = |plan: cenote::serve::PlanBuilder| plan.absent(ABSENT).on_missing(OnMissing::Refuse);
    let served = store.serve(&registry, &reference("late@production"), &view(), settings).await.unwrap();
    let refused = served.score_many([1i64, 2, -1, 3]).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Refused { index: 2, .. }), "{refused}");
    assert_eq!(served.score_many([1i64, 2, 3]).await.unwrap().versions.len(), 3);
    assert_eq!(served.shadow().unwrap().scored, 3);
}
