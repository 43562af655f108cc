//! The feature store against a real PostgreSQL.

mod online;
mod registry;
mod server;
