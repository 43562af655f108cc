//! The program `cenote`, run as its users run it, against H2O's own answers.

mod inspect_print;
mod registry;
mod score;
#[path = "../store/server.rs"]
#[expect(dead_code, reason = "the store's own tests also want connections beside the program's")]
mod server;
mod support;
