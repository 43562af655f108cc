//! Behind pgbouncer in transaction mode: each transaction on another of its connections, prepared statements lost.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cenote::store::{FeatureStore, History, Record, StatementMode, Status, Timestamp, Type, Value, View};

use crate::server::{self, Beside, Server};

/// pgbouncer with two connections to the server, each given to another caller after every transaction.
fn pooler(server: &Server) -> (Beside, u16) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let program = folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file());
    let program =
        program.expect("this test runs pgbouncer and found none (Debian: apt-get install pgbouncer)");
    let port = server::free_port();
    let settings = format!(
        "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = users.txt\npool_mode = transaction\n\
         default_pool_size = 2\nserver_round_robin = 1\n",
        server.port
    );
    // The folder is the server's user's; this process may be root, who may write anywhere.
    std::fs::write(server.folder.join("pgbouncer.ini"), settings).unwrap();
    std::fs::write(server.folder.join("users.txt"), "\"cenote\" \"\"\n").unwrap();
    let beside = server.beside(Path::new(&program), &["pgbouncer.ini"]);
    let end = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "pgbouncer does not answer; its log is in {}", server.folder.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    (beside, port)
}

fn view(name: &str) -> View {
    let view = View::builder(name).key("id", Type::I32).feature("x", Type::F64);
    view.history(History::default()).build().unwrap()
}

#[tokio::test]
async fn behind_pgbouncer_in_transaction_mode_no_call_fails() {
    let (_pooler, port) = pooler(server::server());
    let dsn = format!("host=127.0.0.1 port={port} user=cenote dbname=postgres");
    for mode in [StatementMode::Auto, StatementMode::Unnamed] {
        let builder = FeatureStore::builder(&dsn).schema(server::schema()).pool(4).statement_mode(mode);
        let store = builder.connect().await.unwrap();
        let view = view("pooled");
        store.apply(&view).await.unwrap();
        let rows: Vec<_> =
            (0..50).map(|id| Record::new(id, Timestamp::from_micros(0), [f64::from(id)])).collect();
        store.writer(&view).upsert(&rows).await.unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|task: i32| {
                let (reader, writer) = (store.reader(&view), store.writer(&view));
                let as_of = store.as_of(&view).unwrap();
                tokio::spawn(async move {
                    for call in 0..50 {
                        let id = (task * 7 + call) % 50;
                        let row = reader.get(id).await.unwrap();
                        assert_eq!(row.get("x"), Some(&Value::from(f64::from(id))));
                        let set = reader.get_many([id, 99]).await.unwrap();
                        assert_eq!(set.status, [Status::Fresh, Status::Missing]);
                        if call % 10 == task {
                            let record =
                                Record::new(id, Timestamp::from_micros(i64::from(call)), [f64::from(id)]);
                            writer.upsert(&[record]).await.unwrap();
                            let set = as_of.join(&[(id.into(), Timestamp::now())]).await.unwrap();
                            assert_eq!(set.columns[0].value(0), f64::from(id).into());
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        store.verify(&view).await.unwrap();
        store.close().await;
    }
}
