//! Reads H2O-3 MOJO artifacts into plain data.
//!
//! In flow the bytes of a zip or a folder; out flows an [`Artifact`]: checked, bounded, and nothing that predicts.
#![forbid(unsafe_code)]

pub mod algo;
mod artifact;
mod schema;

pub use artifact::{Artifact, Body, Category, Manifest, MojoVersion};
pub use schema::{CategoricalEncoding, Column, Domain, OriginalColumns, Response, Schema};
