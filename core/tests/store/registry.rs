//! Models in the registry: immutable, verified, found by version, alias and digest.

use cenote::registry::ModelRef;
use cenote::store::ErrorKind;

use crate::server;

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn reference(text: &str) -> ModelRef {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_version_never_changes_and_the_same_bytes_are_one() {
    let store = server::builder().connect().await.unwrap();
    let registry = store.registry();
    registry.apply().await.unwrap();
    registry.apply().await.unwrap();
    let mojo = fixture("demo/model.zip");
    let first = registry.register("late", &mojo).await.unwrap();
    assert_eq!((first.version, first.algorithm.as_str(), first.bytes), (1, "gbm", mojo.len() as i64));
    assert_eq!(first.inputs.len(), 12);
    assert_eq!(registry.register("late", &mojo).await.unwrap(), first);
    let other = registry.register("other", &mojo).await.unwrap();
    assert_eq!(other.version, 1);
    assert_eq!(registry.list(None).await.unwrap(), [first.clone(), other]);

    let (found, model) = registry.load(&reference("late")).await.unwrap();
    assert_eq!(found, first);
    assert_eq!(model.manifest().algo, "gbm");
    let by_digest = registry.find(&reference(&format!("late#{}", first.sha256))).await.unwrap();
    assert_eq!(by_digest, first);
}

#[tokio::test]
async fn an_alias_moves_and_what_is_not_there_is_named() {
    let store = server::builder().connect().await.unwrap();
    let registry = store.registry();
    registry.apply().await.unwrap();
    registry.register("late", &fixture("demo/model.zip")).await.unwrap();
    let missing = registry.find(&reference("late@production")).await.unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::NoSuchModel { reference } if reference == "late@production"));
    let missing = registry.promote("late", "production", 2).await.unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::NoSuchModel { reference } if reference == "late:2"));
    registry.promote("late", "production", 1).await.unwrap();
    registry.promote("late", "champion", 1).await.unwrap();
    let found = registry.find(&reference("late@production")).await.unwrap();
    assert_eq!(found.aliases, ["champion", "production"]);
}

#[tokio::test]
async fn registration_refuses_what_is_no_model() {
    let store = server::builder().connect().await.unwrap();
    let registry = store.registry();
    registry.apply().await.unwrap();
    let refused = registry.register("late", b"PK, but not really").await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Model(_)), "{refused}");
    assert!(registry.list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn bytes_changed_behind_the_registry_are_refused() {
    let store = server::builder().connect().await.unwrap();
    let registry = store.registry();
    registry.apply().await.unwrap();
    registry.register("late", &fixture("demo/model.zip")).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&server::dsn(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let sql = format!("UPDATE \"{}\".cenote_models SET bytes = bytes || '\\x00'", store.schema());
    client.batch_execute(&sql).await.unwrap();
    let refused = registry.load(&reference("late")).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Digest { version: 1, .. }), "{refused}");
}
