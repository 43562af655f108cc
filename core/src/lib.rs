//! Scores H2O-3 MOJO models natively.

mod compile;
#[cfg(feature = "store")]
pub mod decisions;
mod error;
mod explain;
pub mod input;
mod kernels;
mod layout;
mod model;
mod plain;
mod predictions;
pub mod reference;
#[cfg(feature = "store")]
pub mod registry;
mod score;
#[cfg(feature = "store")]
pub mod serve;
#[cfg(feature = "store")]
pub mod store;

pub use cenote_mojo as mojo;
pub use compile::{EngineOptions, EngineReport};
pub use error::{Error, ErrorKind};
pub use input::{Batch, Cell, Row};
pub use model::{BoundRow, LeafAssignment, MissingColumns, Model, Policy, PredictOptions};
pub use predictions::{OutputColumn, OutputValues, Predictions, RowError};
