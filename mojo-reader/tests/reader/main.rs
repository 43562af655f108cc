//! Tests of the reader from outside: golden files, hostile files, trees written and read back.

mod golden;
mod hostile;
mod meaning;
mod support;
mod trees;
