//! TLS with an authority of the test's own: who is believed, who is refused, and that passwords are bound to the channel.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use cenote::store::{Builder, ErrorKind, FeatureStore, Record, Status, Step, Timestamp, Type, View};

use crate::server::{self, Server};

/// An authority, a certificate of it for `db.test`, and another authority that nobody asked.
const CERTIFICATES: &str = r#"
    key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    openssl req -x509 $key -keyout authority.key -out authority.pem -subj "/CN=authority of the tests"
    openssl req -x509 $key -keyout stranger.key -out stranger.pem -subj "/CN=stranger"
    openssl req $key -keyout data/server.key -out server.csr -subj "/CN=db.test"
    printf "subjectAltName=DNS:db.test\nbasicConstraints=CA:FALSE\n" >server.ext
    openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 \
        -extfile server.ext -out data/server.crt
    chmod 600 data/server.key
    chmod 755 .
    printf "host all cenote 127.0.0.1/32 trust\nhostssl all secret 127.0.0.1/32 scram-sha-256\n" >data/pg_hba.conf
"#;

/// A server that speaks TLS and asks `secret` for a password.
async fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let mut made = false;
    let server = SERVER.get_or_init(|| {
        made = true;
        Server::start("-c ssl=on", CERTIFICATES)
    });
    let role = "DO $$ BEGIN CREATE ROLE secret LOGIN PASSWORD 'hush'; GRANT CREATE ON DATABASE postgres TO secret; \
                EXCEPTION WHEN OTHERS THEN END $$";
    server::client_of(server).await.batch_execute(role).await.unwrap();
    server
}

fn certificate(server: &Server, name: &str) -> PathBuf {
    server.folder.join(name)
}

fn builder(server: &Server, host: &str, more: &str) -> Builder {
    let dsn = format!(
        "host={host} hostaddr=127.0.0.1 port={} user=secret password=hush dbname=postgres {more}",
        server.port
    );
    FeatureStore::builder(&dsn).schema(server::schema())
}

/// The texts of an error and its causes.
fn texts(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_verified_server_is_read_by_tls_and_its_channel_bound() {
    let server = server().await;
    let view = View::builder("private").key("id", Type::I32).feature("x", Type::F64).build().unwrap();
    for more in ["", "channel_binding=require"] {
        let builder =
            || builder(server, "db.test", more).root_certificates(certificate(server, "authority.pem"));
        let store = builder().connect().await.unwrap();
        store.apply(&view).await.unwrap();
        store.writer(&view).upsert(&[Record::new(1, Timestamp::from_micros(0), [2.5])]).await.unwrap();
        let reader = store.reader(&view);
        assert_eq!(reader.get(1).await.unwrap().status, Status::Fresh);
        let admin = server::client_of(server).await;
        let sql = "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE usename = 'secret'";
        let row = admin.query_one(sql, &[]).await.unwrap();
        assert!(row.get::<_, i64>(0) > 0 && row.get::<_, i64>(0) == row.get::<_, i64>(1), "not by TLS");
        // The request to cancel goes by TLS too.
        let lock = format!("BEGIN; LOCK TABLE \"{}\".private_v1 IN ACCESS EXCLUSIVE MODE", store.schema());
        // Not the watcher: in a transaction pg_stat_activity stands still.
        let locker = server::client_of(server).await;
        locker.batch_execute(&lock).await.unwrap();
        let hasty = builder().schema(store.schema()).read_timeout(Duration::from_millis(1500));
        let hasty = hasty.connect().await.unwrap();
        let error = hasty.reader(&view).get(1).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Deadline { .. }), "{error}");
        let work = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'secret' AND state <> 'idle'";
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while admin.query_one(work, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(std::time::Instant::now() < end, "a query runs on");
        }
        locker.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(reader.get(1).await.unwrap().status, Status::Fresh);
        store.close().await;
    }
}

#[tokio::test]
async fn a_server_of_another_name_or_authority_is_refused() {
    let server = server().await;
    for (host, authority) in [("other.test", "authority.pem"), ("db.test", "stranger.pem")] {
        let builder = builder(server, host, "").root_certificates(certificate(server, authority));
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Connection { step: Step::Connect, .. }), "{error:?}");
        assert!(!texts(&error).contains("hush"), "{}", texts(&error));
    }
    // Of the machine's own authorities none has signed it.
    if let Err(error) = builder(server, "db.test", "").connect().await {
        assert!(matches!(error.kind(), ErrorKind::Connection { .. } | ErrorKind::Config { .. }), "{error:?}");
    } else {
        panic!("a stranger was believed");
    }
}

#[tokio::test]
async fn what_is_asked_of_the_channel_is_not_waived() {
    let server = server().await;
    // Without TLS the server does not let this user in, and a binding that is required cannot be had.
    for more in ["sslmode=disable", "sslmode=disable channel_binding=require"] {
        assert!(builder(server, "db.test", more).connect().await.is_err(), "{more}");
    }
    let missing = builder(server, "db.test", "").root_certificates(certificate(server, "nobody.pem"));
    let error = missing.connect().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Config { .. }), "{error}");
    // A wrong password is not shown.
    let dsn = format!(
        "host=db.test hostaddr=127.0.0.1 port={} user=secret password=shush dbname=postgres",
        server.port
    );
    let builder = FeatureStore::builder(&dsn).root_certificates(certificate(server, "authority.pem"));
    let error = builder.connect().await.unwrap_err();
    assert!(error.to_string().contains("28P01") && !texts(&error).contains("shush"), "{}", texts(&error));
}
