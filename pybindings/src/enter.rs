//! The one way into the core: let other Python threads run, score on a live pool, come back.
//!
//! The pool is ours and not rayon's global one because threads do not survive `fork()`: a child of
//! `multiprocessing`'s fork method would wait for ever on the parent's. It belongs to the process that made it; a child
//! makes its own at its first call. All Python threads of a process share it, so they never oversubscribe the machine.
//! `RAYON_NUM_THREADS` sets its size at start, `cenote.set_num_threads` at any time.

use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error;

/// A pool, and the process whose threads it has.
struct Owned {
    process: u32,
    pool: Arc<ThreadPool>,
}

/// Locked only while attached to the interpreter and never across a call into it, so that `os.fork`, which runs
/// attached too, cannot copy it locked.
static POOL: Mutex<Option<Owned>> = Mutex::new(None);

/// The pool of this process, made if there is none.
fn pool(_attached: Python<'_>) -> PyResult<Arc<ThreadPool>> {
    let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some(owned) = slot.as_ref()
        && owned.process == process
    {
        return Ok(Arc::clone(&owned.pool));
    }
    let pool = build(0)?;
    // A pool inherited by fork must not be dropped: that would signal threads which are not there.
    std::mem::forget(slot.replace(Owned { process, pool: Arc::clone(&pool) }));
    Ok(pool)
}

/// A pool of `threads`, 0 meaning rayon's own choice.
fn build(threads: usize) -> PyResult<Arc<ThreadPool>> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("cenote-{index}"))
        .build()
        .map(Arc::new)
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

/// Set how many threads score batches, in this process and from now on; ``None`` is as many as there are processors.
#[pyfunction]
#[pyo3(signature = (threads))]
pub(crate) fn set_num_threads(_py: Python<'_>, threads: Option<NonZero<usize>>) -> PyResult<()> {
    let pool = build(threads.map_or(0, NonZero::get))?;
    let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let former = slot.replace(Owned { process: std::process::id(), pool });
    drop(slot);
    match former {
        Some(owned) if owned.process != std::process::id() => std::mem::forget(owned),
        former => drop(former),
    }
    Ok(())
}

/// How many threads score batches.
#[pyfunction]
pub(crate) fn get_num_threads(py: Python<'_>) -> PyResult<usize> {
    Ok(pool(py)?.current_num_threads())
}

/// Runs a call to the feature store on this very thread, detached from the interpreter: the thread has the connection.
pub(crate) fn enter_store<T, F>(py: Python<'_>, call: F) -> PyResult<T>
where
    T: Send,
    F: FnOnce() -> Result<T, cenote::store::Error> + Send,
{
    let result = py.detach(call);
    py.check_signals()?;
    result.map_err(|error| error::store(py, &error))
}

/// Scores what was fetched from the store, on the pool.
pub(crate) fn enter_scoring<T, F>(py: Python<'_>, work: F) -> PyResult<T>
where
    T: Send,
    F: FnOnce() -> Result<T, cenote::store::Error> + Send,
{
    let pool = pool(py)?;
    enter_store(py, || pool.install(work))
}

/// Runs `work`, which scores `rows` rows, on the pool, or on this thread if it would not be shared, detached from the
/// interpreter. Its error is raised with `found`, the columns that came; a signal that arrived meanwhile, such as Ctrl-C, is
/// raised first.
pub(crate) fn enter<T, F>(py: Python<'_>, rows: usize, found: &[String], work: F) -> PyResult<T>
where
    T: Send,
    F: FnOnce() -> Result<T, cenote::Error> + Send,
{
    let result = if rows <= cenote::Model::ROWS_ALONE {
        py.detach(work)
    } else {
        let pool = pool(py)?;
        py.detach(|| pool.install(work))
    };
    py.check_signals()?;
    result.map_err(|error| error::core(py, &error, found))
}
