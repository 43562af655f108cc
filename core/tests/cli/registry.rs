//! `cenote registry` against a real PostgreSQL: what it registers, shows, refuses and gives back.

use std::fs;

use serde_json::Value;

use crate::server;
use crate::support::{Outcome, cenote};

/// Runs a verb on a schema of the test's own.
fn registry(schema: &str, args: &[&str]) -> Outcome {
    let dsn = server::dsn();
    let mut all = vec!["registry", args[0], "--dsn", &dsn, "--schema", schema];
    all.extend(&args[1..]);
    cenote(&all)
}

fn fixture(name: &str) -> String {
    format!("{}/../fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_model_goes_in_is_found_and_comes_back_as_it_went() {
    let schema = server::schema();
    let folder = tempfile::tempdir().unwrap();
    let mojo = fixture("demo/model.zip");
    let golden = folder.path().join("golden.json");
    fs::write(&golden, r#"[{"carrier": "UA", "hour": 8}, {}]"#).unwrap();
    let golden = golden.to_str().unwrap();
    let more = ["--metric", "auc=0.75", "--tag", "team=delays", "--golden", golden, "--alias", "production"];
    let args = [&["add", "late", &mojo, "--json"][..], &more].concat();
    let added: Value = serde_json::from_str(&registry(&schema, &args).ok()).unwrap();
    let added = &added[0];
    assert_eq!((&added["version"], &added["golden_rows"]), (&1.into(), &2.into()));
    assert_eq!(added["metrics"]["auc"], 0.75);
    assert_eq!(added["aliases"][0], "production");

    let iris = fixture("zoo/gbm_multinomial_iris/model.zip");
    registry(&schema, &["add", "late", &iris]).ok();
    let table = registry(&schema, &["list"]).ok();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(
        lines[0].starts_with("model") && lines[1].contains("production") && lines[1].contains("auc=0.75")
    );

    let said = registry(&schema, &["verify", "late@production"]).ok();
    assert!(said.contains("late:1 is whole") && said.contains("2 golden rows"), "{said}");
    let back = folder.path().join("back.zip");
    registry(&schema, &["get", "late@production", "--output", back.to_str().unwrap()]).ok();
    assert_eq!(fs::read(&back).unwrap(), fs::read(&mojo).unwrap());

    let routed = ["promote", "late:1", "trial", "--canary", "2", "--share", "0.1"];
    registry(&schema, &routed).ok();
    registry(&schema, &["promote", "late:2", "--stage", "staging"]).ok();
    let listed: Value = serde_json::from_str(&registry(&schema, &["list", "late", "--json"]).ok()).unwrap();
    assert_eq!(listed[1]["stage"], "staging");
}

#[test]
fn what_is_wrong_is_one_line_and_nothing_is_written() {
    let schema = server::schema();
    let folder = tempfile::tempdir().unwrap();
    let mojo = fixture("demo/model.zip");
    registry(&schema, &["add", "late", &mojo]).ok();
    let output = folder.path().join("none.zip");
    let output = output.to_str().unwrap();
    let missing = registry(&schema, &["get", "late@production", "--output", output]).failed(1);
    assert!(missing.contains("late@production"), "{missing}");
    assert!(!std::path::Path::new(output).exists());
    let nothing = fixture("demo/flights.csv");
    registry(&schema, &["add", "late", &nothing]).failed(1);
    registry(&schema, &["add", "late", &mojo, "--metric", "auc"]).failed(2);
    registry(&schema, &["promote", "late:1", "--stage", "gone"]).failed(2);
    let changed = registry(&schema, &["add", "late", &mojo, "--metric", "auc=1"]).failed(1);
    assert!(changed.contains("metrics"), "{changed}");
}
