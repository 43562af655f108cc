//! A private PostgreSQL for the tests: made in a temporary folder, on a free port, ended with the test program however that ends.
//!
//! The server binary is found in `PATH` or where Debian puts it. As root, which PostgreSQL refuses, it runs as the user
//! `postgres`, or `nobody`. It is ended by a shell that waits for its standard input to close: the test program holds the other
//! end, so a panic or a kill ends the server too, and its folder goes with it.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cenote::store::{Builder, FeatureStore};

pub(crate) struct Server {
    pub(crate) port: u16,
    /// Lives as long as the program: its standard input closes with it.
    _shell: Child,
}

/// The server that all tests of this program share.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

/// A connection string for the shared server.
pub(crate) fn dsn() -> String {
    format!("host=127.0.0.1 port={} user=cenote dbname=postgres", server().port)
}

/// Settings for a schema of the test's own.
pub(crate) fn builder() -> Builder {
    FeatureStore::builder(&dsn()).schema(schema())
}

/// A name that no other test has.
pub(crate) fn schema() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("test {}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A plain connection beside the store.
pub(crate) async fn client() -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(&dsn(), tokio_postgres::NoTls).await.expect("the server takes connections");
    tokio::spawn(connection);
    client
}

impl Server {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("cenote-test-{}", std::process::id()));
        // The server is made and run by one shell, which ends it when its input closes.
        let script = r#"
            set -e
            "$1/initdb" -D "$2/data" -U cenote -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$2/initdb.log" 2>&1 || {
                cat "$2/initdb.log"; exit 1; }
            "$1/postgres" -D "$2/data" -p "$3" -k "" -h 127.0.0.1 -c fsync=off -c max_connections=200 \
                -c max_prepared_transactions=10 -c log_min_messages=fatal >"$2/server.log" 2>&1 </dev/null &
            server=$!
            echo started
            cat >/dev/null || true
            kill -QUIT $server 2>/dev/null || true
            wait $server || true
            rm -rf "$2"
        "#;
        Self::run(&folder, script, "")
    }

    /// Runs a script that makes a server in `folder` and starts it on a free port: `$1` the binaries, `$2` the folder, `$3` the
    /// port, `$4` what the script needs besides.
    fn run(folder: &Path, script: &str, besides: &str) -> Self {
        let bin = binaries();
        std::fs::create_dir_all(folder).expect("the temporary folder is writable");
        let user = unprivileged(folder);
        if let Some((uid, gid)) = user {
            chown(folder, Some(uid), Some(gid)).expect("root may give the folder away");
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh"]).arg(&bin).arg(folder).arg(port.to_string()).arg(besides);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        // An interrupt at the keyboard ends the tests; the shell must live on to clean up.
        command.process_group(0);
        let mut child = command.spawn().expect("/bin/sh runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("the shell answers");
        assert_eq!(
            line.trim(),
            "started",
            "the server could not be made; its log is in {}",
            folder.display()
        );
        let end = Instant::now() + Duration::from_secs(60);
        while !answers(port) {
            assert!(Instant::now() < end, "PostgreSQL does not answer; its log is in {}", folder.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, _shell: child }
    }
}

/// A streaming replica of the shared server; ended with the test program, as that is.
pub(crate) fn replica() -> Server {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("cenote-replica-{}-{number}", std::process::id()));
    let script = r#"
        set -e
        "$1/pg_basebackup" -D "$2/data" -h 127.0.0.1 -p "$4" -U cenote -R -X stream --checkpoint=fast --no-sync \
            >"$2/backup.log" 2>&1 || { cat "$2/backup.log"; exit 1; }
        "$1/postgres" -D "$2/data" -p "$3" -k "" -h 127.0.0.1 -c fsync=off -c hot_standby=on \
            -c log_min_messages=fatal >"$2/server.log" 2>&1 </dev/null &
        server=$!
        echo started
        cat >/dev/null || true
        kill -QUIT $server 2>/dev/null || true
        wait $server || true
        rm -rf "$2"
    "#;
    Server::run(&folder, script, &server().port.to_string())
}

/// Whether the server has left its start-up phase: it asks for no password and says `R` (authentication).
fn answers(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let parameters = b"user\0cenote\0database\0postgres\0\0";
    let mut message = Vec::from((8 + parameters.len() as u32).to_be_bytes());
    message.extend([0, 3, 0, 0]);
    message.extend(parameters);
    let mut first = [0];
    stream.write_all(&message).and_then(|()| stream.read_exact(&mut first)).is_ok() && first == *b"R"
}

pub(crate) fn binaries() -> PathBuf {
    let has_server = |folder: &Path| folder.join("postgres").is_file() && folder.join("initdb").is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(folder) = std::env::split_paths(&path).find(|folder| has_server(folder)) {
        // A link may stand there alone; the other programs stand beside the server.
        let server = std::fs::canonicalize(folder.join("postgres")).unwrap_or_default();
        return server.parent().map_or(folder, Path::to_owned);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.into_iter().rfind(|folder| has_server(folder)).expect(
        "the store's tests start a PostgreSQL of their own and found no `postgres` and `initdb`, neither in PATH nor in \
         /usr/lib/postgresql/*/bin: install the server (Debian: apt-get install postgresql)",
    )
}

/// The user and group to run the server as, if the folder's owner, which is this process's user, is root.
fn unprivileged(folder: &Path) -> Option<(u32, u32)> {
    let owner = std::fs::metadata(folder).expect("the folder was just made").uid();
    (owner == 0).then(|| {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let ids = |name: &str| {
            let line = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":x:"))?;
            let mut fields = line.split(':').map(str::parse);
            Some((fields.next()?.ok()?, fields.next()?.ok()?))
        };
        ids("postgres").or_else(|| ids("nobody")).unwrap_or((65534, 65534))
    })
}
