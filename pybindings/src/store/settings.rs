//! How to reach the database, as keyword arguments say it.

use std::path::PathBuf;
use std::time::Duration;

use cenote::store::{Builder, CacheOptions, FeatureStore};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// How long Redis may take before a read goes on without.
const REDIS_TIMEOUT: Duration = Duration::from_millis(50);

/// The keyword arguments of a connection that are not the core's defaults.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) schema: Option<String>,
    pub(super) read_timeout: Option<f64>,
    pub(super) write_timeout: Option<f64>,
    pub(super) root_certificates: Option<PathBuf>,
    pub(super) replicas: Option<Vec<String>>,
    pub(super) max_replica_lag: Option<f64>,
    pub(super) cache_bytes: Option<u64>,
    pub(super) cache_ttl: Option<f64>,
    pub(super) cache_redis: Option<String>,
}

impl Settings {
    /// The core's settings.
    ///
    /// # Errors
    /// `ValueError` for what is no time, or for a lag where there is no replica.
    pub(super) fn of(self, dsn: &str) -> PyResult<Builder> {
        let mut settings = FeatureStore::builder(dsn);
        if let Some(schema) = self.schema {
            settings = settings.schema(schema);
        }
        if let Some(timeout) = self.read_timeout {
            settings = settings.read_timeout(seconds("read_timeout", timeout)?);
        }
        if let Some(timeout) = self.write_timeout {
            settings = settings.write_timeout(seconds("write_timeout", timeout)?);
        }
        if let Some(file) = self.root_certificates {
            settings = settings.root_certificates(file);
        }
        let replicas = self.replicas.unwrap_or_default();
        if let Some(lag) = self.max_replica_lag {
            if replicas.is_empty() {
                return Err(PyValueError::new_err("max_replica_lag says nothing without replicas"));
            }
            settings = settings.max_replica_lag(seconds("max_replica_lag", lag)?);
        }
        settings = replicas.iter().fold(settings, |settings, replica| settings.replica(replica));
        if self.cache_bytes.is_some() || self.cache_ttl.is_some() || self.cache_redis.is_some() {
            let mut cache = CacheOptions::new();
            if let Some(bytes) = self.cache_bytes {
                cache = cache.bytes(bytes);
            }
            if let Some(ttl) = self.cache_ttl {
                cache = cache.ttl(seconds("cache_ttl", ttl)?);
            }
            if let Some(url) = self.cache_redis {
                cache = cache.redis(url, REDIS_TIMEOUT);
            }
            settings = settings.cache(cache);
        }
        Ok(settings)
    }
}

/// Seconds to a length of time.
pub(super) fn seconds(name: &str, seconds: f64) -> PyResult<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(PyValueError::new_err(format!("{name} is a positive number of seconds"))),
    }
}
