//! The feature store against a real PostgreSQL.

mod blocking;
#[cfg(feature = "cache")]
mod cache;
mod decisions;
mod faults;
mod history;
mod online;
mod proxy;
#[cfg(feature = "redis")]
mod redis;
mod registry;
mod replicas;
mod serve;
mod served;
mod server;
