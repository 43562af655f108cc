//! The feature store against a real PostgreSQL.

mod online;
mod server;
