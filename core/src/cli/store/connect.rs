//! How the program reaches PostgreSQL: by argument, by `CENOTE_DATABASE_URL`, or by the variables that libpq reads.
//!
//! The invariant: nothing here prints what it was given, for it may hold a password.

use std::env;
use std::path::{Path, PathBuf};

use cenote::store::{FeatureStore, blocking};
use clap::Args;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::super::Usage;

#[derive(Args)]
pub(crate) struct Connection {
    /// The database: a URL, or host=... user=...; who sees the machine's processes sees it, so a password is better kept in the
    /// environment
    #[arg(long, value_name = "DSN", hide_default_value = true)]
    dsn: Option<String>,
    /// The PostgreSQL schema that holds the store's tables
    #[arg(long, value_name = "NAME", default_value = "cenote")]
    schema: String,
    /// A PEM file of the authorities to trust in place of the machine's own
    #[arg(long, value_name = "FILE")]
    root_certificates: Option<PathBuf>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects.
    pub(crate) fn open(&self) -> anyhow::Result<blocking::FeatureStore> {
        let dsn = self.dsn.clone().or_else(|| variable("CENOTE_DATABASE_URL"));
        let config = with_libpq_defaults(dsn.as_deref(), variable)?;
        let mut builder = FeatureStore::from_config(config).schema(&self.schema);
        let certificates = self.root_certificates.clone().or(variable("PGSSLROOTCERT").map(PathBuf::from));
        if let Some(file) = certificates {
            builder = builder.root_certificates(file);
        }
        Ok(blocking::FeatureStore::new(builder)?)
    }
}

/// A variable of the environment that is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The settings of `dsn`; what it does not say is taken from `variable`, as libpq does it.
fn with_libpq_defaults(
    dsn: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Config> {
    let unreadable = |what: &str| Usage(format!("{what} cannot be read"));
    let mut config: Config = match dsn {
        Some(dsn) => dsn.parse().map_err(|_| unreadable("the connection string"))?,
        None => Config::new(),
    };
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        const SOCKETS: &str = "/var/run/postgresql";
        let host = variable("PGHOST")
            .unwrap_or_else(|| if Path::new(SOCKETS).is_dir() { SOCKETS } else { "localhost" }.to_owned());
        host.split(',').for_each(|host| {
            config.host(host);
        });
        debug_assert!(
            !config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.is_empty()))
        );
    }
    if config.get_ports().is_empty()
        && let Some(ports) = variable("PGPORT")
    {
        for port in ports.split(',') {
            config.port(port.parse().map_err(|_| unreadable("PGPORT"))?);
        }
    }
    if config.get_user().is_none()
        && let Some(user) = variable("PGUSER")
    {
        config.user(user);
    }
    if config.get_dbname().is_none()
        && let Some(name) = variable("PGDATABASE")
    {
        config.dbname(name);
    }
    if config.get_password().is_none()
        && let Some(password) = variable("PGPASSWORD")
    {
        config.password(password);
    }
    if config.get_options().is_none()
        && let Some(options) = variable("PGOPTIONS")
    {
        config.options(options);
    }
    if config.get_application_name().is_none()
        && let Some(name) = variable("PGAPPNAME")
    {
        config.application_name(name);
    }
    if config.get_ssl_mode() == SslMode::Prefer
        && let Some(mode) = variable("PGSSLMODE")
    {
        // Where TLS is required the certificate is verified, whichever of the last three is meant.
        config.ssl_mode(match mode.as_str() {
            "disable" => SslMode::Disable,
            "allow" | "prefer" => SslMode::Prefer,
            "require" | "verify-ca" | "verify-full" => SslMode::Require,
            _ => return Err(unreadable("PGSSLMODE").into()),
        });
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_string_does_not_say_comes_from_the_environment() {
        let set = |name: &str| {
            let all = [
                ("PGHOST", "db"),
                ("PGPORT", "6000"),
                ("PGUSER", "u"),
                ("PGDATABASE", "d"),
                ("PGPASSWORD", "hush"),
                ("PGSSLMODE", "verify-full"),
            ];
            all.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        };
        let config = with_libpq_defaults(None, set).unwrap();
        assert_eq!(config.get_hosts(), [Host::Tcp("db".into())]);
        assert_eq!(
            (config.get_ports(), config.get_user(), config.get_dbname()),
            (&[6000][..], Some("u"), Some("d"))
        );
        assert_eq!((config.get_password(), config.get_ssl_mode()), (Some(&b"hush"[..]), SslMode::Require));
        let config = with_libpq_defaults(Some("postgres://me:pw@here:1/x?sslmode=disable"), set).unwrap();
        assert_eq!(config.get_hosts(), [Host::Tcp("here".into())]);
        assert_eq!(
            (config.get_ports(), config.get_user(), config.get_dbname()),
            (&[1][..], Some("me"), Some("x"))
        );
        assert_eq!((config.get_password(), config.get_ssl_mode()), (Some(&b"pw"[..]), SslMode::Disable));
        let error = with_libpq_defaults(Some("host=h hush"), |_| None).unwrap_err().to_string();
        assert!(!error.contains("hush"), "{error}");
        assert!(with_libpq_defaults(None, |name| (name == "PGPORT").then(|| "x".to_owned())).is_err());
    }
}
