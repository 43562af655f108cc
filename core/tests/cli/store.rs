//! `cenote store`, against a private PostgreSQL: tables, loads that are killed, reads, joins in time.

use std::process::{Command, Stdio};
use std::time::Duration;

use cenote::input::parquet::ParquetFile;
use serde_json::Value;

use crate::server;
use crate::support::{Folder, Outcome, Table, cenote};

const VIEW: &str = r#"{"name": "flights", "keys": [{"name": "carrier", "type": "text"}, {"name": "flight", "type": "i32"}],
    "features": [{"name": "delay", "type": "f64"}, {"name": "season", "type": "text", "default": "winter"},
                 {"name": "since", "type": "date"}, {"name": "embedding", "type": "f32[]"}],
    "event_time": "departed_at", "history": {}}"#;

/// A folder with a view, and a schema of its own.
struct Store {
    folder: Folder,
    view: String,
    schema: String,
}

impl Store {
    fn new() -> Self {
        let folder = Folder::new();
        Self { view: folder.write("view.json", VIEW), schema: server::schema(), folder }
    }

    fn run(&self, verb: &str, more: &[&str]) -> Outcome {
        let dsn = server::dsn();
        cenote(&[&["store", verb, &self.view, "--dsn", &dsn, "--schema", &self.schema], more].concat())
    }

    fn json(&self, verb: &str, more: &[&str]) -> Value {
        serde_json::from_str(&self.run(verb, &[&["--json"], more].concat()).ok()).unwrap()
    }
}

#[test]
fn tables_are_planned_made_and_verified() {
    let store = Store::new();
    let plan = store.run("plan", &[]).ok();
    assert!(plan.starts_with("-- view flights version 1\nCREATE SCHEMA"), "{plan}");
    let failed = store.run("verify", &[]);
    assert_eq!(failed.code, 1);
    assert!(failed.stdout.contains("table \"flights_v1\" is not there"), "{failed:?}");
    let applied = store.json("apply", &[]);
    assert_eq!((&applied[0]["view"], &applied[0]["applied"]), (&"flights".into(), &true.into()));
    assert!(applied[0]["statements"].as_array().unwrap().len() > 5);
    assert_eq!(store.json("plan", &[])[0]["statements"], Value::Array(vec![]));
    let verified = store.run("verify", &[]).ok();
    assert_eq!(verified.lines().collect::<Vec<_>>(), ["table       state", "flights_v1  as the view says"]);
    let changed = store
        .folder
        .write("changed.json", VIEW.replace("\"delay\", \"type\": \"f64\"", "\"delay\", \"type\": \"f32\""));
    let dsn = server::dsn();
    let failed = cenote(&["store", "verify", &changed, "--json", "--dsn", &dsn, "--schema", &store.schema]);
    assert_eq!(failed.code, 1);
    assert!(failed.stdout.contains("double precision, not real"), "{failed:?}");
}

#[test]
fn rows_are_loaded_read_and_joined() {
    let store = Store::new();
    store.run("apply", &[]).ok();
    let csv = "flight,carrier,departed_at,delay,since,embedding\n\
               1,UA,2026-11-01T10:00:00Z,5.5,2020-02-29,\"[1, 2.5]\"\n\
               1,UA,2026-11-02 10:00:00+01:00,NA,,\n\
               2,NA,2026-11-01,-1e3,2020-03-01,[]\n";
    let input = store.folder.write("rows.csv", csv);
    let load = ["--input", &input, "--name", "first", "--written-at", "event"];
    let done = store.json("load", &load);
    let counts = ["rows", "batches", "passed", "inserted", "updated", "stale", "appended"];
    assert_eq!(counts.map(|name| done[name].as_u64().unwrap()), [3, 1, 0, 2, 0, 1, 3]);
    assert_eq!(store.json("load", &load)["passed"], 1);
    assert_eq!(
        store.run("load", &load[..2]).ok().lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(),
        ["3", "1", "0", "0", "0", "3", "0"]
    );

    let got = store.json("get", &["UA,1", "\"NA\",2", "XX,9", "--features", "delay,season,embedding"]);
    assert_eq!(got[0]["event_ts"], "2026-11-02T09:00:00Z");
    assert_eq!(got[0]["features"], serde_json::json!({"delay": null, "season": "winter", "embedding": null}));
    assert_eq!((&got[1]["features"]["delay"], &got[1]["key"]["carrier"]), (&(-1000.0).into(), &"NA".into()));
    assert_eq!((&got[2]["status"], &got[2]["event_ts"]), (&"missing".into(), &Value::Null));
    let past = store.json("get", &["UA,1", "--at", "2026-11-02"]);
    assert_eq!(
        past[0]["features"],
        serde_json::json!({"delay": 5.5, "season": "winter", "since": "2020-02-29", "embedding": [1.0, 2.5]})
    );
    let table = store.run("get", &["UA,1"]).ok();
    assert!(table.starts_with("carrier  flight  status  event_ts"), "{table}");

    // One row out for each in, in order, its own columns kept; the same from Parquet.
    let entities = "label,carrier,flight,departed_at\nx,UA,1,2026-11-02T08:00:00Z\n\"y,z\",UA,1,2026-11-03\n,ZZ,1,2026-11-03\n";
    let entities = store.folder.write("entities.csv", entities);
    let joined =
        store.run("pit", &["--entities", &entities, "--output", "-", "--features", "delay,since"]).ok();
    assert_eq!(
        joined,
        "label,carrier,flight,departed_at,delay,since\nx,UA,1,2026-11-02T08:00:00Z,5.5,2020-02-29\n\
                        \"y,z\",UA,1,2026-11-03,,\n,ZZ,1,2026-11-03,,\n"
    );
    let parquet = store.folder.path("joined.parquet");
    let done = store.json("pit", &["--entities", &entities, "--output", &parquet, "--known-at", "any"]);
    assert_eq!((&done["entities"], &done["found"]), (&3.into(), &2.into()));
    let file = ParquetFile::open(std::fs::File::open(&parquet).unwrap()).unwrap();
    assert_eq!(
        file.names().collect::<Vec<_>>(),
        ["label", "carrier", "flight", "departed_at", "delay", "season", "since", "embedding"]
    );
    assert_eq!(file.rows(), 3);
    // What went out can come in: features as they were typed.
    let narrow = store.folder.path("narrow.parquet");
    let fewer = store.folder.write("fewer.csv", "carrier,flight,departed_at\nUA,1,2026-11-02T08:00:00Z\n");
    store.run("pit", &["--entities", &fewer, "--output", &narrow]).ok();
    let again = store.json("load", &["--input", &narrow, "--history-only"]);
    assert_eq!((&again["rows"], &again["appended"], &again["inserted"]), (&1.into(), &1.into(), &0.into()));
    let past = store.json("get", &["UA,1", "--at", "2026-11-02T08:30:00Z"]);
    assert_eq!(past[0]["features"]["embedding"], serde_json::json!([1.0, 2.5]));

    let erased = store.json("erase", &["UA,1"]);
    assert_eq!((&erased["online"], &erased["history"]), (&1.into(), &3.into()));
    let collected = store.json("gc", &["--batches-older-than", "0"]);
    assert_eq!((&collected["batches"], collected["made"].as_array().unwrap().is_empty()), (&1.into(), false));
}

#[test]
fn what_is_wrong_is_said_in_one_line_and_nothing_is_written() {
    let store = Store::new();
    store.run("apply", &[]).ok();
    let input = store.folder.write(
        "rows.csv",
        "carrier,flight,departed_at,delay,since,embedding\nUA,1,2026-11-01,1,,\nUA,x,2026-11-01,1,,\n",
    );
    let error = store.run("load", &["--input", &input]).failed(1);
    assert!(
        error.contains("line 3, column \"flight\": expected integer, found text that is no whole number"),
        "{error}"
    );
    assert_eq!(store.json("get", &["UA,1"])[0]["status"], "missing");
    let unknown = store.folder.write("unknown.csv", "carrier,dely\n");
    assert!(store.run("load", &["--input", &unknown]).failed(1).contains("no columns [\"dely\"]"));
    assert!(store.run("get", &["UA"]).failed(2).contains("expected 2 values, found 1"));
    assert!(store.run("get", &["UA,x"]).failed(2).contains("no whole number"));
    assert!(store.run("get", &["UA,1", "--at", "yesterday"]).failed(2).contains("RFC 3339"));
    let output = store.folder.path("out.csv");
    let failed = store.run("pit", &["--entities", &input, "--output", &output]);
    assert_eq!(failed.code, 1);
    assert!(!std::path::Path::new(&output).exists());
    let view = store.folder.write("bad.json", VIEW.replace("keys", "kees"));
    let error = cenote(&["store", "plan", &view, "--dsn", &server::dsn()]).failed(1);
    assert!(error.contains("unknown field `kees`"), "{error}");
    let error =
        cenote(&["store", "plan", &store.view, "--dsn", "host=127.0.0.1 port=1 password=hush"]).failed(1);
    assert!(error.contains("connect") && !error.contains("hush"), "{error}");
}

/// A loader that is killed outright, again and again, is gone on with: every row once.
#[test]
fn a_killed_load_goes_on() {
    let store = Store::new();
    store.run("apply", &[]).ok();
    let mut csv = String::from("carrier,flight,departed_at,delay,since,embedding,season\n");
    // Few rows, each long: several pieces, each quickly written.
    let (rows, long) = (3000, "long ".repeat(1600));
    for row in 0..rows {
        let day = 1 + row / 1000;
        csv += &format!("UA,{},2026-11-{day:02}T00:00:00Z,{row}.25,2026-01-01,[{row}],{long}\n", row % 1000);
    }
    let input = store.folder.write("many.csv", csv);
    let (dsn, mut killed) = (server::dsn(), 0);
    let args = [
        "store",
        "load",
        &store.view,
        "--dsn",
        &dsn,
        "--schema",
        &store.schema,
        "--input",
        &input,
        "--name",
        "many",
        "--json",
    ];
    for patience in 1..200u64 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cenote"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let end = std::time::Instant::now() + Duration::from_millis(100 * patience);
        while child.try_wait().unwrap().is_none() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let ended = child.try_wait().unwrap().is_some();
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        if !ended {
            killed += 1;
            continue;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let done: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&done["rows"], &done["inserted"], &done["updated"]),
            (&rows.into(), &1000.into(), &2000.into())
        );
        assert_eq!(done["appended"], rows);
        assert!(killed > 0, "it was too quick to be killed");
        let got = store.json("get", &["UA,17"]);
        assert_eq!(got[0]["features"]["delay"], 2017.25);
        return;
    }
    panic!("it never ends");
}

#[test]
fn a_history_is_materialised() {
    let store = Store::new();
    store.run("apply", &[]).ok();
    let input = store.folder.write(
        "rows.csv",
        "carrier,flight,departed_at,delay,since,embedding\nUA,1,2026-11-01,1,,\nUA,2,2026-11-01,2,,\n",
    );
    store.run("load", &["--input", &input, "--history-only"]).ok();
    assert_eq!(store.json("get", &["UA,1"])[0]["status"], "missing");
    // Other tests' transactions hold the watermark back for a while.
    let mut inserted = 0;
    for _ in 0..300 {
        inserted += store.json("materialize", &[])["inserted"].as_u64().unwrap();
        if inserted == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(inserted, 2);
    assert_eq!(store.json("get", &["UA,2"])[0]["features"]["delay"], 2.0);
    let table = Table::parse(
        &store
            .run("materialize", &["--full"])
            .ok()
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(",") + "\n")
            .collect::<String>(),
    );
    assert_eq!(table.column("inserted").unwrap(), ["0"]);

    // Now the online rows are the newest of the history, until that alone hears of another event.
    let parity = store.json("parity", &[]);
    assert_eq!((&parity["checked"], &parity["differing"]), (&2.into(), &0.into()));
    let newer = store
        .folder
        .write("newer.csv", "carrier,flight,departed_at,delay,since,embedding\nUA,1,2026-11-02,3,,\n");
    store.run("load", &["--input", &newer, "--history-only"]).ok();
    let differs = store.run("parity", &["--json"]);
    assert_eq!(differs.code, 1);
    let found: Value = serde_json::from_str(&differs.stdout).unwrap();
    assert_eq!(
        found["differences"],
        serde_json::json!([{"key": ["UA", 1], "skew": "event", "online": "2026-11-01T00:00:00Z",
                            "history": "2026-11-02T00:00:00Z", "features": []}])
    );
    assert!(store.run("parity", &[]).stdout.contains("UA,1  event"));
}
