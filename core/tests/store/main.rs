//! The feature store against a real PostgreSQL.

#[cfg(feature = "arrow")]
mod arrow;
mod blocking;
mod bulk;
#[cfg(feature = "cache")]
mod cache;
mod decisions;
mod faults;
mod history;
mod online;
mod pooler;
mod proxy;
mod raw;
#[cfg(feature = "redis")]
mod redis;
mod registry;
mod replicas;
mod restart;
mod serve;
mod served;
mod server;
mod service;
mod telemetry;
mod tls;
mod typed;
mod vectors;
