//! The feature store against a real PostgreSQL.

mod blocking;
mod decisions;
mod faults;
mod history;
mod online;
mod proxy;
mod registry;
mod serve;
mod server;
mod served;
