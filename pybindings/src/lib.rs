//! The extension module of the Python package `cenote`: convert, let the interpreter go, score, convert back.
//!
//! PyO3 stands only in this crate. The package around it, with its documentation and its types, is in `python/cenote`.

// The future of a served score nests deeper than rustc's default of 128 when its layout is computed.
#![recursion_limit = "256"]

mod enter;
mod error;
mod input;
mod model;
mod output;
mod store;
mod table;

use pyo3::pymodule;

/// A call makes hundreds of small things and drops them again, at which the C library's allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the package is made of.
#[pymodule(gil_used = false)]
mod _cenote {
    #[pymodule_export]
    use crate::enter::{get_num_threads, set_num_threads};
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::store::{AsyncReads, Call, Cancellation, Mailbox};
    #[pymodule_export]
    use crate::store::{
        Decision, DecisionBuffer, Document, Erased, Explanation, FeatureSet, FeatureStore, Features,
        FinishedBatch, Loaded, Maintained, Materialized, ModelVersion, Replay, Score, ScorePlan, Scores,
        ServedModel, Stored, Upserted, View, WatchState,
    };
    #[pymodule_export]
    use crate::table::ArrowTable;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
