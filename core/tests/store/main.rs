//! The feature store against a real PostgreSQL.

mod blocking;
mod bulk;
mod faults;
mod history;
mod online;
mod pooler;
mod proxy;
mod raw;
mod registry;
mod restart;
mod serve;
mod server;
mod service;
mod tls;
mod typed;
