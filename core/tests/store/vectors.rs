//! pgvector's type, passed through: on a server that has the extension, as those of `make test-postgres`, and on one that lacks it.

use cenote::store::{
    ErrorKind, FeatureStore, History, KnownAt, Record, Status, Timestamp, Type, Value, View,
};

use crate::server;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn view() -> View {
    View::builder("documents")
        .key("id", Type::I64)
        .feature("embedding", Type::Vector)
        .feature("words", Type::I32)
        .history(History::default())
        .build()
        .unwrap()
}

/// A store whose server has the extension; `None` where there is none to be had.
async fn store() -> Option<FeatureStore> {
    let client = server::client().await;
    let available = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')";
    if !client.query_one(available, &[]).await.unwrap().get::<_, bool>(0) {
        return None;
    }
    // Two sessions that make it at once meet in the catalogue: one at a time.
    let create = "BEGIN; SELECT pg_advisory_xact_lock(7); CREATE EXTENSION IF NOT EXISTS vector; COMMIT";
    client.batch_execute(create).await.unwrap();
    Some(server::builder().connect().await.unwrap())
}

#[tokio::test]
async fn a_server_without_the_extension_says_so() {
    if store().await.is_some() {
        // A database of its own has no extension, wherever the server has its files.
        let name = "without_vector";
        let client = server::client().await;
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let dsn = server::dsn().replace("dbname=postgres", &format!("dbname={name}"));
        refuses(&FeatureStore::builder(&dsn).connect().await.unwrap()).await;
    } else {
        refuses(&server::builder().connect().await.unwrap()).await;
    }
}

async fn refuses(store: &FeatureStore) {
    let error = store.apply(&view()).await.unwrap_err();
    assert!(error.to_string().contains("vector"), "{error}");
    // Nothing is left half made.
    assert!(matches!(store.verify(&view()).await.unwrap_err().kind(), ErrorKind::SchemaDrift { .. }));
}

#[tokio::test]
async fn a_vector_comes_back_as_it_was_written() {
    let Some(store) = store().await else { return };
    let view = view();
    store.apply(&view).await.unwrap();
    store.verify(&view).await.unwrap();
    let record = |id: i64, second: i64, vector: Value| Record::new(id, at(second), [vector, 7i32.into()]);
    let vector = |values: &[f32]| Value::from(values.to_vec());
    let writer = store.writer(&view);
    let rows = [record(1, 10, vector(&[0.5, -0.0, 3.25])), record(2, 10, Value::Null)];
    let done = writer.upsert(&rows).await.unwrap();
    assert_eq!((done.inserted, done.updated, done.stale), (2, 0, 0));
    // As pgvector writes it, and of another dimension.
    let text = [record(1, 20, "[1,2]".into()), record(3, 20, vector(&[1e-30]))];
    let done = writer.upsert(&text).await.unwrap();
    assert_eq!((done.inserted, done.updated, done.stale), (1, 1, 0));
    let done = writer.upsert(&text).await.unwrap();
    assert_eq!((done.inserted, done.updated, done.stale), (0, 0, 2), "the same again");

    let reader = store.reader(&view);
    let one = reader.get(1i64).await.unwrap();
    assert_eq!((one.status, one.get("embedding")), (Status::Fresh, Some(&vector(&[1.0, 2.0]))));
    let many = reader.get_many([3i64, 2, 1]).await.unwrap();
    let found = [0, 1, 2].map(|row| many.columns[0].value(row));
    assert_eq!(found, [vector(&[1e-30]), Value::Null, vector(&[1.0, 2.0])]);

    // The history has what was known before.
    let past = store.as_of(&view).unwrap().known_at(KnownAt::Any);
    assert_eq!(past.get(1i64, at(15)).await.unwrap().get("embedding"), Some(&vector(&[0.5, -0.0, 3.25])));
    let joined = past.join(&[(1i64.into(), at(25)), (2i64.into(), at(5))]).await.unwrap();
    assert_eq!([0, 1].map(|row| joined.columns[0].value(row)), [vector(&[1.0, 2.0]), Value::Null]);

    // The extension reads it: the nearest by its own operator.
    let nearest = format!(
        "SELECT id FROM {} WHERE vector_dims(embedding) = 2 ORDER BY embedding <-> '[1,2]' LIMIT 1",
        table(&store, &view).await
    );
    assert_eq!(server::client().await.query_one(&nearest, &[]).await.unwrap().get::<_, i64>(0), 1);
}

/// The view's online table, as SQL names it.
async fn table(store: &FeatureStore, view: &View) -> String {
    let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = $1 AND tablename LIKE $2
        ORDER BY length(tablename) LIMIT 1";
    let like = format!("{}%", view.name());
    server::client().await.query_one(tables, &[&store.schema(), &like]).await.unwrap().get(0)
}

#[tokio::test]
async fn many_vectors_are_written_whole_or_refused() {
    let Some(store) = store().await else { return };
    let view = view();
    store.apply(&view).await.unwrap();
    let records = |second: i64, component: f32| -> Vec<Record> {
        let vector = |id: i64| Value::from(vec![id as f32, if id == 1_999 { component } else { 0.5 }]);
        (0..2_000).map(|id| Record::new(id, at(second), [vector(id), 7i32.into()])).collect()
    };
    let writer = store.writer(&view);
    assert_eq!(writer.upsert(&records(10, 1.0)).await.unwrap().inserted, 2_000);
    for component in [f32::NAN, f32::INFINITY] {
        let error = writer.upsert(&records(20, component)).await.unwrap_err();
        assert!(error.to_string().contains("embedding"), "{error}");
    }
    let set = store.reader(&view).get_many(0..2_000i64).await.unwrap();
    assert!(set.event_ts.iter().all(|event| *event == Some(at(10))), "a refused write wrote nothing");
    assert_eq!(set.columns[0].value(1_999), vec![1_999.0f32, 1.0].into());
    assert_eq!(writer.upsert(&records(20, 2.0)).await.unwrap().updated, 2_000);
    let past = store.as_of(&view).unwrap().known_at(KnownAt::Any);
    assert_eq!(past.get(1_999i64, at(15)).await.unwrap().event_ts, Some(at(10)));
}
