//! A server that stands still, or crashes and comes back, under its callers.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cenote::store::{Deadlines, ErrorKind, FeatureStore, Record, Status, Step, Timestamp, Type, Value, View};

use crate::server::{self, Server};

fn view() -> View {
    View::builder("restarted").key("id", Type::I32).feature("x", Type::F64).build().unwrap()
}

/// Stops a process, or lets it go on.
fn signal(name: &str, process: &str) {
    let status = Command::new("kill").args([name, process]).status().unwrap();
    assert!(status.success(), "kill {name} {process}");
}

/// Reads a key until it is read within the deadline; returns how often that passed before. A machine that is busy may pass it
/// where nothing stands still.
async fn read(store: &FeatureStore, id: i32) -> u32 {
    let (start, mut passed) = (Instant::now(), 0);
    loop {
        match store.reader(&view()).get(id).await {
            Ok(row) => {
                assert_eq!(row.status, Status::Fresh);
                return passed;
            }
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Deadline { .. }), "{error}"),
        }
        passed += 1;
        assert!(start.elapsed() < Duration::from_secs(60), "{passed} deadlines passed");
    }
}

async fn filled(server: &Server, read: Duration) -> FeatureStore {
    let dsn = format!("host=127.0.0.1 port={} user=cenote dbname=postgres", server.port);
    let mut deadlines = Deadlines::default();
    (deadlines.read, deadlines.connect) = (read, read);
    let builder = FeatureStore::builder(&dsn).pool(4).deadlines(deadlines);
    let store = builder.connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    let rows: Vec<_> = (0..8).map(|id| Record::new(id, Timestamp::from_micros(0), [f64::from(id)])).collect();
    store.writer(&view()).upsert(&rows).await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_is_found_again_and_no_answer_is_wrong() {
    let mut server = Server::start("", ":");
    let store = filled(&server, Duration::from_secs(2)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let errors = Arc::new(Mutex::new(Vec::new()));
    let load: Vec<_> = (0..4i32)
        .map(|id| {
            let (reader, stop, errors) = (store.reader(&view()), Arc::clone(&stop), Arc::clone(&errors));
            tokio::spawn(async move {
                let mut reads = 0;
                while !stop.load(Ordering::Relaxed) {
                    match reader.get(id).await {
                        Ok(row) => {
                            assert_eq!(row.get("x"), Some(&Value::from(f64::from(id))));
                            reads += 1;
                        }
                        Err(error) => {
                            errors.lock().unwrap().push(error);
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                }
                reads
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server = tokio::task::spawn_blocking(move || {
            server.control("restart");
            server
        })
        .await
        .unwrap();
        let start = Instant::now();
        while store.reader(&view()).get(1).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "the server is not found again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        assert!(task.await.unwrap() > 0);
    }
    // While the server was away its callers were told so, and nothing else.
    for error in errors.lock().unwrap().iter() {
        let away = match error.kind() {
            ErrorKind::Connection { .. } | ErrorKind::CircuitOpen { .. } | ErrorKind::Deadline { .. } => true,
            // It is starting up or shutting down, or another backend's crash ended this one.
            ErrorKind::Database { sqlstate, .. } => sqlstate.starts_with("57P") || sqlstate.starts_with("08"),
            _ => false,
        };
        assert!(away, "{error:?}");
    }
    let rows: Vec<_> = (0..8).map(|id| Record::new(id, Timestamp::from_micros(1), [1.0])).collect();
    assert_eq!(store.writer(&view()).upsert(&rows).await.unwrap().updated, 8);
    assert!(store.connections().0 <= 4);
}

#[tokio::test]
async fn a_backend_that_stands_still_costs_its_caller_a_deadline_and_no_one_else() {
    let server = Server::start("", ":");
    let store = filled(&server, Duration::from_millis(300)).await;
    read(&store, 1).await;
    let admin = server::client_of(&server).await;
    let sql = "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'cenote'";
    let backends: Vec<String> = admin.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(!backends.is_empty());
    backends.iter().for_each(|process| signal("-STOP", process));
    // Theirs were the connections; once each has cost a deadline, the next one is new.
    assert!(read(&store, 2).await > 0);
    backends.iter().for_each(|process| signal("-CONT", process));

    // The whole server: a new connection is named by its step.
    let main = std::fs::read_to_string(server.folder.join("data/postmaster.pid")).unwrap();
    let main = main.lines().next().unwrap();
    signal("-STOP", main);
    let fresh =
        FeatureStore::builder(&format!("host=127.0.0.1 port={} user=cenote dbname=postgres", server.port));
    let mut deadlines = Deadlines::default();
    deadlines.connect = Duration::from_millis(200);
    let error = fresh.clone().deadlines(deadlines).connect().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Deadline { step: Step::Connect, .. }), "{error}");
    signal("-CONT", main);
    fresh.connect().await.unwrap();
    read(&store, 3).await;
}
