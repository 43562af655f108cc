//! What the asyncio store is made of: reads on a thread with an async runtime, and the cancellation of calls on other threads.
//!
//! In flows a read with the future that waits for it; the thread asks the server, never holding the interpreter, and puts the
//! answer into the mailbox of the future's event loop, which wakes by a byte in a pipe and hands the answers out. The invariant: a
//! future that is cancelled cancels its query at the server, and an event loop never waits for the store.

use std::collections::HashMap;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cenote::serve;
use cenote::store::{self, blocking};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::answers::{FeatureSet, Features, Score};
use super::readers::{Readers, Selection};
use super::view::View;
use super::{FeatureStore, ScorePlan};
use crate::error;

/// Ends calls that run on another thread: their queries are cancelled at the server.
#[pyclass(frozen, module = "cenote._cenote", name = "Cancellation")]
#[derive(Default)]
pub(crate) struct Cancellation(blocking::Cancellation);

#[pymethods]
impl Cancellation {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// End the call that is under way in :meth:`run`.
    fn cancel(&self) {
        self.0.cancel();
    }

    /// Call a function on this thread.
    #[pyo3(signature = (function, *args, **kwargs))]
    fn run(
        &self,
        function: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        self.0.scope(|| Ok(function.call(args, kwargs)?.unbind()))
    }
}

/// An answer on its way to its event loop.
enum Answer {
    Features(store::Features, Arc<Selection<store::Reader>>),
    Set(store::FeatureSet),
    Score(Box<serve::Score>),
}

impl Answer {
    fn into_object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::Features(features, selection) => {
                Py::new(py, Features::new(py, features, &selection.names)?)?.into_any()
            }
            Self::Set(set) => Py::new(py, FeatureSet::new(set))?.into_any(),
            Self::Score(score) => Py::new(py, Score::new(py, *score)?)?.into_any(),
        })
    }
}

/// Answers that nobody has fetched yet, by the number of their call.
struct Letters {
    answers: Mutex<Vec<(u64, Result<Answer, store::Error>)>>,
    /// A byte is in the pipe if there are any.
    bell: PipeWriter,
}

impl Letters {
    fn put(&self, call: u64, answer: Result<Answer, store::Error>) {
        let mut answers = lock(&self.answers);
        answers.push((call, answer));
        if answers.len() == 1 {
            // It fails only if nobody reads any more.
            let _ = (&self.bell).write_all(&[1]);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an event loop has under way: its futures, and the pipe that says that some of them have their answer.
#[pyclass(frozen, module = "cenote._cenote", name = "Mailbox")]
pub(crate) struct Mailbox {
    letters: Arc<Letters>,
    pipe: PipeReader,
    waiting: Arc<Waiting>,
}

/// The next call's number, and the futures of those under way. Never locked across a call into the interpreter.
type Waiting = Mutex<(u64, HashMap<u64, Py<PyAny>>)>;

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> PyResult<Self> {
        let (pipe, bell) = pipe()?;
        let letters = Arc::new(Letters { answers: Mutex::default(), bell });
        Ok(Self { letters, pipe, waiting: Arc::default() })
    }

    /// What an event loop watches for reading.
    fn fileno(&self) -> i32 {
        self.pipe.as_raw_fd()
    }

    /// Hand out the answers that have come. To be called when there is something to read.
    fn deliver(&self, py: Python<'_>) -> PyResult<()> {
        let _ = (&self.pipe).read(&mut [0])?;
        let answers = std::mem::take(&mut *lock(&self.letters.answers));
        for (call, answer) in answers {
            let Some(future) = take(&self.waiting, call) else { continue };
            let future = future.bind(py);
            if future.call_method0("done")?.is_truthy()? {
                continue;
            }
            let object =
                answer.map_err(|error| error::store(py, &error)).and_then(|answer| answer.into_object(py));
            match object {
                Ok(object) => future.call_method1("set_result", (object,))?,
                Err(error) => future.call_method1("set_exception", (error,))?,
            };
        }
        Ok(())
    }
}

impl Mailbox {
    fn expect(&self, future: Py<PyAny>) -> u64 {
        let mut waiting = lock(&self.waiting);
        let call = waiting.0;
        waiting.0 += 1;
        waiting.1.insert(call, future);
        call
    }
}

/// Takes a call's future.
fn take(waiting: &Waiting, call: u64) -> Option<Py<PyAny>> {
    lock(waiting).1.remove(&call)
}

/// A read that is under way.
#[pyclass(frozen, module = "cenote._cenote", name = "Call")]
pub(crate) struct Call {
    number: u64,
    task: AbortHandle,
    waiting: Arc<Waiting>,
}

#[pymethods]
impl Call {
    /// Give it up: the server is asked to cancel the query.
    fn cancel(&self) {
        self.task.abort();
        drop(take(&self.waiting, self.number));
    }
}

/// Reads on a thread of its own, on a pool of connections.
#[pyclass(frozen, module = "cenote._cenote", name = "AsyncReads")]
pub(crate) struct AsyncReads {
    process: u32,
    store: store::FeatureStore,
    readers: Readers<store::Reader>,
    runtime: Handle,
    /// The thread lives as long as this and those that calls have of it; `None` is closed.
    open: Mutex<Option<mpsc::Sender<()>>>,
}

#[pymethods]
impl AsyncReads {
    /// Reads of the tables of `store`, on up to `connections` connections of their own.
    #[new]
    fn new(py: Python<'_>, store: &FeatureStore, connections: usize) -> PyResult<Self> {
        let store = store.store.beside(connections).map_err(|error| error::store(py, &error))?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (open, mut closed) = mpsc::channel(1);
        // Nobody sends: the channel ends with its last sender.
        let work = move || runtime.block_on(async { while closed.recv().await.is_some() {} });
        std::thread::Builder::new().name("cenote-reads".to_owned()).spawn(work)?;
        let process = std::process::id();
        Ok(Self {
            process,
            store,
            readers: Readers::default(),
            runtime: handle,
            open: Mutex::new(Some(open)),
        })
    }

    /// Begin :meth:`FeatureStore.get`; `future` gets the answer by way of `mailbox`.
    #[pyo3(signature = (mailbox, future, view, key, features))]
    fn get(
        &self,
        mailbox: &Mailbox,
        future: Py<PyAny>,
        view: &View,
        key: &Bound<'_, PyAny>,
        features: Option<Vec<String>>,
    ) -> PyResult<Call> {
        let py = key.py();
        let selection = self.reader(py, view, features)?;
        let key = view.key(key)?;
        self.begin(py, mailbox, future, async move {
            let features = selection.reader.get(key).await?;
            Ok(Answer::Features(features, selection))
        })
    }

    /// Begin :meth:`FeatureStore.get_many`.
    #[pyo3(signature = (mailbox, future, view, keys, features))]
    fn get_many(
        &self,
        mailbox: &Mailbox,
        future: Py<PyAny>,
        view: &View,
        keys: &Bound<'_, PyAny>,
        features: Option<Vec<String>>,
    ) -> PyResult<Call> {
        let py = keys.py();
        let selection = self.reader(py, view, features)?;
        let keys = view.keys(keys)?;
        self.begin(
            py,
            mailbox,
            future,
            async move { Ok(Answer::Set(selection.reader.get_many(keys).await?)) },
        )
    }

    /// Begin :meth:`ScorePlan.score` of a key without more.
    #[pyo3(signature = (mailbox, future, plan, key))]
    fn score(
        &self,
        mailbox: &Mailbox,
        future: Py<PyAny>,
        plan: &ScorePlan,
        key: &Bound<'_, PyAny>,
    ) -> PyResult<Call> {
        let py = key.py();
        let key = plan.view.get().key(key)?;
        let plan = plan.plan.on(&self.store);
        self.begin(py, mailbox, future, async move { Ok(Answer::Score(Box::new(plan.score(key).await?))) })
    }

    /// Close the connections and end the thread.
    fn close(&self) {
        let open = lock(&self.open).take();
        if self.process != std::process::id() {
            // The thread and the sockets are the parent's.
            std::mem::forget(open);
        } else if let Some(open) = open {
            let store = self.store.clone();
            self.runtime.spawn(async move {
                store.close().await;
                drop(open);
            });
        }
    }
}

impl AsyncReads {
    fn reader(
        &self,
        py: Python<'_>,
        view: &View,
        features: Option<Vec<String>>,
    ) -> PyResult<Arc<Selection<store::Reader>>> {
        self.readers.get(py, view.view(), features, |names| match names {
            None => Ok(self.store.reader(view.view())),
            Some(names) => self.store.reader_of(view.view(), names.iter().map(String::as_str)),
        })
    }

    fn begin(
        &self,
        py: Python<'_>,
        mailbox: &Mailbox,
        future: Py<PyAny>,
        read: impl Future<Output = Result<Answer, store::Error>> + Send + 'static,
    ) -> PyResult<Call> {
        if self.process != std::process::id() {
            let message = "an AsyncFeatureStore does not outlive a fork: connect in the child";
            return Err(PyRuntimeError::new_err(message));
        }
        let Some(open) = lock(&self.open).clone() else {
            return Err(error::store(py, &store::ErrorKind::Closed.into()));
        };
        let number = mailbox.expect(future);
        let letters = Arc::clone(&mailbox.letters);
        let work = async move {
            letters.put(number, read.await);
            drop(open);
        };
        let task = self.runtime.spawn(work).abort_handle();
        Ok(Call { number, task, waiting: Arc::clone(&mailbox.waiting) })
    }
}

impl Drop for AsyncReads {
    fn drop(&mut self) {
        self.close();
    }
}
