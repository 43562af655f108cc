//! Reads H2O-3 MOJO artifacts into plain data.
//!
//! In flow the bytes of a zip or a folder; out flows an [`Artifact`]: checked, bounded, and nothing that predicts.
//!
//! ```
//! use cenote_mojo::{Artifact, Body};
//!
//! # let path = "../fixtures/zoo/gbm_deep_chain/model.zip";
//! let artifact = Artifact::open(path)?; // a zip, or the folder of an unzipped one
//! for column in artifact.schema.input_columns() {
//!     println!("{}: {} levels", column.name, column.domain.as_ref().map_or(0, |levels| levels.len()));
//! }
//! match &artifact.body {
//!     Body::Gbm(gbm) => println!("a GBM of {} trees", gbm.forest.trees.iter().flatten().count()),
//!     Body::Drf(drf) => println!("a DRF of {} trees", drf.forest.trees.iter().flatten().count()),
//!     Body::Glm(glm) => println!("a GLM of {} coefficients", glm.beta.len()),
//!     _ => println!("{}", artifact.manifest.algorithm),
//! }
//! # Ok::<(), cenote_mojo::Error>(())
//! ```
//!
//! An [`Archive`] is what was opened: it gives the artifact, and on request the [`Metadata`] that H2O wrote of the training.
//! The statistics beside each tree, which only explanations read, stay packed in [`algo::Aux`] until asked for.
//!
//! Whatever the bytes are, reading them ends with an artifact or an [`Error`] that says where they are wrong, in memory
//! and time bounded by [`Limits`]. What an artifact says of itself holds: a scorer may index by it without checks,
//! except where a field's documentation says otherwise.
#![forbid(unsafe_code)]

pub mod algo;
mod archive;
mod artifact;
mod cursor;
mod error;
mod ini;
mod limits;
mod metadata;
mod packed;
mod read;
mod schema;
mod text;
#[doc(hidden)]
pub mod threads;

pub use archive::Archive;
pub use artifact::{Artifact, Body, Category, Manifest, MojoVersion};
pub use bytes::Bytes;
pub use error::{Error, ErrorKind, Place};
pub use limits::Limits;
pub use metadata::{Cell, Metadata, Metrics, Parameter, Table, TableColumn, VariableImportance};
pub use schema::{CategoricalEncoding, Column, Domain, OriginalColumns, Response, Schema};
