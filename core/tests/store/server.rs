//! A private PostgreSQL for the tests: made in a temporary folder, on a free port, ended with the test program however that ends.
//!
//! The server's programs are found in the folder that `CENOTE_POSTGRES` names, in `PATH`, or where Debian puts them. As root, which
//! PostgreSQL refuses, it runs as the user `postgres`, or `nobody`. It is ended by a shell that waits for its standard input to
//! close: the test program holds the other end, so a panic or a kill ends the server too, and its folder goes with it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cenote::store::{Builder, FeatureStore};

pub(crate) struct Server {
    pub(crate) port: u16,
    /// Where its data and its logs are, and what a test has put there.
    pub(crate) folder: PathBuf,
    /// The user and group that it runs as, if not this process's.
    user: Option<(u32, u32)>,
    /// Its standard input closes when this is dropped, or with the program.
    shell: Child,
    answers: BufReader<ChildStdout>,
}

/// The server that all tests of this program share.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("-c max_connections=200 -c max_prepared_transactions=10", ":"))
}

/// A streaming replica of the shared server.
pub(crate) fn replica() -> Server {
    // A standby must allow as much as its primary does.
    let options = "-c max_connections=200 -c max_prepared_transactions=10";
    let primary = server().port;
    let prepare = format!(
        "rm -rf data && \"$bin/pg_basebackup\" -D data -h 127.0.0.1 -p {primary} -U cenote -R -X stream --checkpoint=fast"
    );
    Server::start(options, &prepare)
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
    client_of(server()).await
}

/// A plain connection to a server.
pub(crate) async fn client_of(server: &Server) -> tokio_postgres::Client {
    let dsn = format!("host=127.0.0.1 port={} user=cenote dbname=postgres", server.port);
    let (client, connection) =
        tokio_postgres::connect(&dsn, tokio_postgres::NoTls).await.expect("the server takes connections");
    tokio::spawn(connection);
    client
}

/// A port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.expect("a port is free").port()
}

impl Server {
    /// Makes a server and starts it with `options`, those of `postgres`. `prepare` is a shell's text that runs in the server's
    /// folder before its start; its data are in `data`.
    pub(crate) fn start(options: &str, prepare: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let bin = binaries();
        let name = format!("cenote-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        let user = unprivileged(&folder);
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).expect("root may give the folder away");
        }
        let port = free_port();
        let options =
            format!("-p {port} -k '' -h 127.0.0.1 -c fsync=off -c log_min_messages=fatal {options}");
        // The server is made, started again and ended by one shell, which ends it when its input closes.
        let script = r#"
            set -e
            bin=$1 folder=$2 options=$3 prepare=$4
            cd "$folder"
            "$bin/initdb" -D data -U cenote -A trust -E UTF8 --locale=C.UTF-8 --no-sync >initdb.log 2>&1 || {
                cat initdb.log; exit 1; }
            eval "$prepare" >prepare.log 2>&1 || { cat prepare.log; exit 1; }
            control() { "$bin/pg_ctl" -D data -l server.log -o "$options" -m immediate -s -w -t 60 "$@" </dev/null >control.log 2>&1; }
            control start || { cat control.log server.log; exit 1; }
            echo started
            while read -r command; do
                control "$command" && echo done || echo failed
            done
            control stop || true
            cd /
            rm -rf "$folder"
        "#;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh"]).arg(&bin).arg(&folder).args([&options, prepare]);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        // An interrupt at the keyboard ends the tests; the shell must live on to clean up.
        command.process_group(0);
        let mut shell = command.spawn().expect("/bin/sh runs");
        let mut answers = BufReader::new(shell.stdout.take().expect("piped"));
        let mut line = String::new();
        answers.read_line(&mut line).expect("the shell answers");
        assert_eq!(line.trim(), "started", "no server; its logs are in {}", folder.display());
        let end = Instant::now() + Duration::from_secs(60);
        while !is_up(port) {
            assert!(Instant::now() < end, "PostgreSQL does not answer; its log is in {}", folder.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, folder, user, shell, answers }
    }

    /// Lets `pg_ctl` do `command` (`restart`, `stop`, `start`), at once, as a crash does it.
    pub(crate) fn control(&mut self, command: &str) {
        let input = self.shell.stdin.as_mut().expect("piped");
        writeln!(input, "{command}").expect("the shell lives");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the shell answers");
        assert_eq!(line.trim(), "done", "{command} failed; the logs are in {}", self.folder.display());
    }

    /// Runs a program as the server's user, in its folder, until what this gives is dropped or the test program ends.
    pub(crate) fn beside(&self, program: &Path, arguments: &[&str]) -> Beside {
        let mut command = Command::new("/bin/sh");
        let script =
            r#""$@" >beside.log 2>&1 </dev/null & program=$!; cat >/dev/null || true; kill -KILL $program"#;
        command.args(["-c", script, "sh"]).arg(program).args(arguments).current_dir(&self.folder);
        command.stdin(Stdio::piped()).process_group(0);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        Beside { _shell: command.spawn().expect("/bin/sh runs") }
    }
}

/// A program beside a server; its shell's standard input closes when this is dropped.
pub(crate) struct Beside {
    _shell: Child,
}

/// Whether the server has left its start-up phase: it asks for no password and says `R` (authentication).
fn is_up(port: u16) -> bool {
    use std::io::Read;
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
    if let Some(folder) = std::env::var_os("CENOTE_POSTGRES").map(PathBuf::from) {
        assert!(has_server(&folder), "CENOTE_POSTGRES names no folder of PostgreSQL's programs");
        return folder;
    }
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
