//! What a caller hands over: a [`Batch`] of borrowed columns, or a [`Row`].
//!
//! In flow the caller's own buffers, never copied here; out flow the raw `f64` features that H2O's scorer
//! would see. A null cell is H2O's *absent key*; a `NaN` in a float column is Java's `Double.NaN`.

#[cfg(feature = "arrow")]
pub mod arrow;
mod batch;
pub(crate) mod columns;
pub(crate) mod encoder;
mod levels;
#[cfg(feature = "ndarray")]
pub mod ndarray;
#[cfg(feature = "parquet")]
pub mod parquet;
mod parse_double;
mod row;
#[cfg(all(feature = "arrow", feature = "store"))]
pub mod stored;

pub use batch::{Batch, Codes, Offsets, Primitive, Strided, Text, Validity, Values};
pub use row::{Cell, Row};
