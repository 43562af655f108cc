//! Models in the registry: immutable, verified, found by version, alias and digest.

use std::io::{Cursor, Read, Write};

use cenote::registry::{ModelRef, Registration, Registry, Route, SigningKey, Stage};
use cenote::store::ErrorKind;
use cenote::{Model, Row};

use crate::server;

/// The demo's model with another intercept: other bytes and other answers to the same columns.
pub(crate) fn variant(number: u32) -> Vec<u8> {
    let mut from = zip::ZipArchive::new(Cursor::new(fixture("demo/model.zip"))).unwrap();
    let mut to = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..from.len() {
        let mut entry = from.by_index(index).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if name == "model.ini" {
            let text = String::from_utf8(bytes).unwrap();
            let lines = text.lines().map(|line| match line.split_once(" = ") {
                Some(("init_f", _)) => format!("init_f = -{number}.5\n"),
                _ => format!("{line}\n"),
            });
            bytes = lines.collect::<String>().into_bytes();
        }
        to.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        to.write_all(&bytes).unwrap();
    }
    to.finish().unwrap().into_inner()
}

pub(crate) fn fixture(name: &str) -> Vec<u8> {
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

#[tokio::test]
async fn what_a_version_was_registered_with_stays_with_it() {
    let store = server::builder().connect().await.unwrap();
    let registry = store.registry();
    registry.apply().await.unwrap();
    let mojo = fixture("demo/model.zip");
    let with =
        |auc| Registration::new().metric("auc", auc).metric("logloss", 0.1 + 0.2).tag("team", "delays");
    let first = registry.register_with("late", &mojo, &with(0.75)).await.unwrap();
    assert_eq!(first.metrics["logloss"].to_bits(), (0.1f64 + 0.2).to_bits());
    assert_eq!(first.tags["team"], "delays");
    assert_eq!((first.inputs[0].as_str(), first.input_types[0].as_str()), ("carrier", "categorical"));
    assert_eq!((first.inputs[3].as_str(), first.input_types[3].as_str()), ("distance", "numeric"));
    assert_eq!(first.outputs, ["predict", "No", "Yes"]);
    assert_eq!(registry.register_with("late", &mojo, &with(0.75)).await.unwrap(), first);
    assert_eq!(registry.register("late", &mojo).await.unwrap(), first);
    let other = registry.register_with("late", &mojo, &with(0.76)).await.unwrap_err();
    assert!(matches!(other.kind(), ErrorKind::Registered { version: 1, what: "metrics", .. }), "{other}");
    let refused = registry.register_with("late", &mojo, &with(f64::NAN)).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Config { .. }), "{refused}");
}

#[tokio::test]
async fn an_archived_version_answers_for_nothing() {
    let store = server::builder().connect().await.unwrap();
    let registry = store.registry();
    registry.apply().await.unwrap();
    registry.register("late", &fixture("demo/model.zip")).await.unwrap();
    registry.register("late", &variant(1)).await.unwrap();
    registry.set_stage("late", 1, Stage::Production).await.unwrap();
    registry.route("late", "production", &Route::to(1).canary(2, 0.1)).await.unwrap();
    assert_eq!(registry.find(&reference("late:1")).await.unwrap().stage, Stage::Production);
    let refused = registry.set_stage("late", 2, Stage::Archived).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Archived { version: 2, .. }), "{refused}");
    registry.promote("late", "production", 1).await.unwrap();
    registry.set_stage("late", 2, Stage::Archived).await.unwrap();
    let refused = registry.promote("late", "production", 2).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Archived { version: 2, .. }), "{refused}");
    assert_eq!(registry.find_route("late", "production").await.unwrap(), Route::to(1));
    let missing = registry.set_stage("late", 3, Stage::Staging).await.unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::NoSuchModel { .. }), "{missing}");
    let wrong = registry.route("late", "production", &Route::to(1).canary(1, 1.5)).await.unwrap_err();
    assert!(matches!(wrong.kind(), ErrorKind::Config { .. }), "{wrong}");
}

#[tokio::test]
async fn only_what_a_trusted_key_signed_is_loaded() {
    let store = server::builder().connect().await.unwrap();
    let registry = store.registry();
    registry.apply().await.unwrap();
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let signed = Registration::new().signed_by(&key);
    let signed = registry.register_with("late", &fixture("demo/model.zip"), &signed).await.unwrap();
    assert_eq!(signed.signed_by, Some(key.public_key()));
    registry.register("late", &variant(1)).await.unwrap();
    let strict = registry.clone().trusting([key.public_key()]);
    strict.load(&reference("late:1")).await.unwrap();
    let what =
        async |registry: &Registry, text| match registry.load(&reference(text)).await.unwrap_err().kind() {
            ErrorKind::Signature { what, .. } => *what,
            other => panic!("{other}"),
        };
    assert_eq!(what(&strict, "late:2").await, "is not signed");
    let others = registry.clone().trusting([other.public_key()]);
    assert_eq!(what(&others, "late:1").await, "is signed by a key that is not trusted");
    // A signature moved to other bytes, or a key put in another's place, is none.
    let sql = format!(
        "UPDATE \"{0}\".cenote_models m SET signature = s.signature, public_key = s.public_key \
         FROM \"{0}\".cenote_models s WHERE s.version = 1 AND m.version = 2",
        store.schema()
    );
    server::client().await.batch_execute(&sql).await.unwrap();
    assert_eq!(what(&strict, "late:2").await, "has a signature that is not of it");
    assert_eq!(what(&registry, "late:2").await, "has a signature that is not of it");
    let made_elsewhere = Registration::new().signature(key.public_key(), vec![0; 64]);
    let refused = registry.register_with("late", &variant(2), &made_elsewhere).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Config { .. }), "{refused}");
}

#[tokio::test]
async fn golden_rows_must_be_answered_alike_for_ever() {
    let store = server::builder().connect().await.unwrap();
    let registry = store.registry();
    registry.apply().await.unwrap();
    let with = Registration::new()
        .golden_row(&Row::new().with("carrier", "UA").with("distance", 1372i64).with("temp", 60.08))
        .unwrap()
        .golden_json(
            r#"[{"carrier": "never seen", "distance": 4963, "wind_gust": null}, {"distance": "text"}]"#,
        )
        .unwrap();
    let version = registry.register_with("late", &fixture("demo/model.zip"), &with).await.unwrap();
    assert_eq!(version.golden_rows, 3);
    assert_eq!(registry.verify(&reference("late")).await.unwrap(), version);
    let (_, model) = registry.load(&reference("late")).await.unwrap();
    registry.self_test(&version, &model).await.unwrap();
    // Another model in its place does not give its answers.
    let another = Model::from_bytes(&variant(1)).unwrap();
    let differs = registry.self_test(&version, &another).await.unwrap_err();
    assert!(matches!(differs.kind(), ErrorKind::SelfTest { row: 0, version: 1, .. }), "{differs}");
    assert!(Registration::new().golden_json("{}").is_err());
    assert!(Registration::new().golden_json(r#"[{"a": [1]}]"#).is_err());
    assert!(Registration::new().golden_row(&Row::new().with("a", f64::INFINITY)).is_err());
}

#[tokio::test]
async fn a_model_is_fetched_once_while_somebody_has_it() {
    let store = server::builder().connect().await.unwrap();
    let registry = store.registry();
    registry.apply().await.unwrap();
    registry.register("late", &variant(77)).await.unwrap();
    let (_, model) = registry.load(&reference("late")).await.unwrap();
    let sql = format!("UPDATE \"{}\".cenote_models SET bytes = '\\x00'", store.schema());
    server::client().await.batch_execute(&sql).await.unwrap();
    registry.load(&reference("late")).await.unwrap();
    drop(model);
    let refused = registry.load(&reference("late")).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Digest { .. }), "{refused}");
}
