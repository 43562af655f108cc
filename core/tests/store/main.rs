//! The feature store against a real PostgreSQL.

mod blocking;
#[cfg(feature = "cache")]
mod cache;
mod decisions;
mod faults;
mod history;
mod online;
mod pooler;
mod proxy;
#[cfg(feature = "redis")]
mod redis;
mod registry;
mod replicas;
mod restart;
mod serve;
mod served;
mod server;
mod telemetry;
mod tls;
