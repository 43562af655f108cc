//! The feature store against a real PostgreSQL.

mod blocking;
mod bulk;
mod faults;
mod history;
mod online;
mod proxy;
mod raw;
mod registry;
mod serve;
mod server;
mod service;
mod typed;
