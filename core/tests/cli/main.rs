//! The program `cenote`, run as its users run it, against H2O's own answers.

mod inspect_print;
mod score;
#[path = "../store/server.rs"]
mod server;
mod store;
mod support;
