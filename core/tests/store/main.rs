//! The feature store against a real PostgreSQL.

mod blocking;
mod faults;
mod history;
mod online;
mod pooler;
mod proxy;
mod registry;
mod restart;
mod serve;
mod server;
mod tls;
