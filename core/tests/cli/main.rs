//! The program `cenote`, run as its users run it, against H2O's own answers.

mod inspect_print;
mod score;
mod support;
