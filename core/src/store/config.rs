//! How to reach PostgreSQL: the connection string, the pool, the deadlines, and TLS.
//!
//! In flows what the caller set; out flows a connected [`FeatureStore`]. Hosts that are not this machine are reached by TLS
//! with the certificate and the name verified, unless the connection string says `sslmode=disable`. Nothing here prints a secret.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::FeatureStore;
use super::error::Error;
use super::pool::Pool;
use super::replicas::Replicas;

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// Waiting for a free connection of the pool: 1 s if not set.
    pub wait: Duration,
    /// Making a connection: 5 s if not set.
    pub connect: Duration,
    /// A read from the call to the answer, waiting and connecting within: 5 s if not set.
    pub read: Duration,
    /// One statement of a write: 60 s if not set.
    pub write: Duration,
    /// One statement of a point-in-time join: 10 min if not set.
    pub join: Duration,
    /// Waiting for a view's advisory lock, and each statement of a migration: 30 s if not set.
    pub migrate: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(1),
            connect: Duration::from_secs(5),
            read: Duration::from_secs(5),
            write: Duration::from_secs(60),
            join: Duration::from_secs(600),
            migrate: Duration::from_secs(30),
        }
    }
}

/// How statements go to the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatementMode {
    /// Prepared once a connection; sent with each call from the moment that prepared ones get lost, as they do behind a pooler
    /// that gives each transaction another connection (pgbouncer in transaction mode).
    #[default]
    Auto,
    /// Sent with each call: for such a pooler, known beforehand.
    Unnamed,
}

/// Settings of a [`FeatureStore`]; [`connect`](Self::connect) makes one.
#[derive(Clone)]
pub struct Builder {
    pub(crate) config: Result<tokio_postgres::Config, &'static str>,
    pub(crate) schema: String,
    pub(crate) pool: usize,
    pub(crate) in_flight: Option<usize>,
    pub(crate) statement_mode: StatementMode,
    pub(crate) deadlines: Deadlines,
    pub(crate) root_certificates: Option<PathBuf>,
    pub(crate) replicas: Vec<Result<tokio_postgres::Config, &'static str>>,
    pub(crate) max_lag: Duration,
    #[cfg(feature = "cache")]
    pub(crate) cache: Caching,
}

/// Whether rows are kept near.
#[cfg(feature = "cache")]
#[derive(Clone, Default)]
pub(crate) enum Caching {
    #[default]
    Not,
    /// By a cache that is started with the store.
    As(super::CacheOptions),
    /// By that of another store of the same tables.
    By(Arc<super::cache::Cache>),
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("schema", &self.schema)
            .field("pool", &self.pool)
            .field("deadlines", &self.deadlines)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new(dsn: &str) -> Self {
        let config =
            tokio_postgres::Config::from_str(dsn).map_err(|_| "the connection string cannot be read");
        Self { config, ..Self::from_config(tokio_postgres::Config::new()) }
    }

    pub(crate) fn from_config(config: tokio_postgres::Config) -> Self {
        Self {
            config: Ok(config),
            schema: "cenote".to_owned(),
            pool: 8,
            in_flight: None,
            statement_mode: StatementMode::default(),
            deadlines: Deadlines::default(),
            root_certificates: None,
            replicas: Vec::new(),
            max_lag: Duration::from_secs(1),
            #[cfg(feature = "cache")]
            cache: Caching::Not,
        }
    }

    /// The PostgreSQL schema that holds the store's tables: `cenote` if not set.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// How many connections there may be: 8 if not set.
    #[must_use]
    pub fn pool(mut self, connections: usize) -> Self {
        self.pool = connections;
        self
    }

    /// How many calls may be under way, those that wait for a connection among them; at more, a call is refused with `Overloaded`
    /// at once. 64 a connection if not set.
    #[must_use]
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.in_flight = Some(calls);
        self
    }

    /// How statements go to the server.
    #[must_use]
    pub fn statement_mode(mut self, mode: StatementMode) -> Self {
        self.statement_mode = mode;
        self
    }

    /// All deadlines at once.
    #[must_use]
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// The deadline of a read, from the call to the answer.
    #[must_use]
    pub fn read_timeout(mut self, deadline: Duration) -> Self {
        self.deadlines.read = deadline;
        self
    }

    /// The deadline of each statement of a write.
    #[must_use]
    pub fn write_timeout(mut self, deadline: Duration) -> Self {
        self.deadlines.write = deadline;
        self
    }

    /// A PEM file of the authorities to trust in place of the machine's own.
    #[must_use]
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.root_certificates = Some(file.into());
        self
    }

    /// A read replica: reads by key go to one of them while it is known to be no further behind than
    /// [`max_replica_lag`](Self::max_replica_lag), else to the primary. Each has a pool of its own, of the same size.
    #[must_use]
    pub fn replica(mut self, dsn: &str) -> Self {
        let config = tokio_postgres::Config::from_str(dsn);
        self.replicas.push(config.map_err(|_| "the connection string of a replica cannot be read"));
        self
    }

    /// How far a replica may be behind the primary and still answer: 1 s if not set.
    #[must_use]
    pub fn max_replica_lag(mut self, lag: Duration) -> Self {
        self.max_lag = lag;
        self
    }

    /// Keeps the rows of views whose tables [tell of their changes](FeatureStore::notify_changes) near, for reads and scores by
    /// key. A thread of its own listens for changes.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn cache(mut self, options: super::CacheOptions) -> Self {
        self.cache = Caching::As(options);
        self
    }

    /// Makes the pool and its first connection. Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// If the settings cannot be used, or the server cannot be reached or refuses within the deadline.
    pub async fn connect(self) -> Result<FeatureStore, Error> {
        let store = self.lazy()?;
        store.pool().warm().await?;
        Ok(store)
    }

    /// A store that connects at its first use.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn lazy(mut self) -> Result<FeatureStore, Error> {
        let config = self.config.clone().map_err(Error::config)?;
        if self.pool == 0 {
            return Err(Error::config("a pool has at least one connection"));
        }
        if self.schema.is_empty() || self.schema.len() > 63 || self.schema.contains('\0') {
            return Err(Error::config("a schema's name is 1 to 63 bytes without NUL"));
        }
        let pool = self.make_pool(config)?;
        let replicas =
            self.replicas.iter().map(|config| self.make_pool(config.clone().map_err(Error::config)?));
        let replicas = Replicas::new(replicas.collect::<Result<_, _>>()?, self.max_lag);
        #[cfg(feature = "cache")]
        let cache = match std::mem::take(&mut self.cache) {
            Caching::Not => None,
            Caching::By(cache) => Some(cache),
            Caching::As(options) => Some(Arc::new(super::cache::Cache::start(options, self.clone())?)),
        };
        let schema = std::mem::take(&mut self.schema);
        Ok(FeatureStore {
            inner: Arc::new(super::Inner {
                pool,
                replicas,
                schema,
                #[cfg(feature = "cache")]
                cache,
            }),
        })
    }

    /// The pool of one server.
    fn make_pool(&self, mut config: tokio_postgres::Config) -> Result<Pool, Error> {
        if config.get_application_name().is_none() {
            config.application_name("cenote");
        }
        config.connect_timeout(self.deadlines.connect);
        let tls = self.tls(&mut config)?;
        let in_flight = self.in_flight.unwrap_or(64 * self.pool);
        let unnamed = self.statement_mode == StatementMode::Unnamed;
        Ok(Pool::new(config, tls, self.pool, in_flight, unnamed, self.deadlines))
    }

    /// Decides on TLS, and makes what verifies the server.
    fn tls(&self, config: &mut tokio_postgres::Config) -> Result<MakeRustlsConnect, Error> {
        let local = config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => {
                name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
            }
            #[cfg(unix)]
            Host::Unix(_) => true,
        }) && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback);
        match config.get_ssl_mode() {
            SslMode::Prefer if local && self.root_certificates.is_none() => config.ssl_mode(SslMode::Disable),
            SslMode::Prefer => config.ssl_mode(SslMode::Require),
            _ => config,
        };
        let mut roots = rustls::RootCertStore::empty();
        if config.get_ssl_mode() != SslMode::Disable {
            match &self.root_certificates {
                Some(file) => {
                    let unreadable = |_| Error::config("the file of root certificates cannot be read");
                    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
                        let certificate = certificate.map_err(unreadable)?;
                        roots
                            .add(certificate)
                            .map_err(|_| Error::config("a root certificate cannot be used"))?;
                    }
                }
                None => {
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                }
            }
            if roots.is_empty() {
                return Err(Error::config("no root certificate is there to verify the server by"));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| Error::config("TLS 1.2 and 1.3 are not to be had"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(dsn: &str) -> SslMode {
        let builder = Builder::new(dsn);
        let mut config = builder.config.clone().unwrap();
        builder.tls(&mut config).map(|_| config.get_ssl_mode()).unwrap_or(SslMode::Require)
    }

    #[test]
    fn only_this_machine_is_reached_without_tls() {
        assert_eq!(mode("host=127.0.0.1"), SslMode::Disable);
        assert_eq!(mode("host=/run/postgresql"), SslMode::Disable);
        assert_eq!(mode("host=db.example"), SslMode::Require);
        assert_eq!(mode("host=localhost hostaddr=10.0.0.1"), SslMode::Require);
        assert_eq!(mode("host=localhost,db.example"), SslMode::Require);
        assert_eq!(mode("host=db.example sslmode=disable"), SslMode::Disable);
    }

    #[test]
    fn nothing_prints_a_secret() {
        for dsn in ["postgres://u:hush@h/db", "password=hush hush2=3", "postgres://u:hush@h:hush/db"] {
            let builder = Builder::new(dsn);
            assert!(!format!("{builder:?}").contains("hush"));
            if let Err(error) = builder.lazy() {
                assert!(!format!("{error:?} {error}").contains("hush"), "{error:?}");
            }
        }
    }
}
