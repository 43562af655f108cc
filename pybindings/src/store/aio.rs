//! What the asyncio store is made of: reads that event loops drive themselves, and the cancellation of calls on other threads.
//!
//! In flows a read with the future that waits for it; a turn of the runtime puts its answer into the mailbox of the future's event
//! loop. The loop whose turn it was hands it out at once; another wakes by a byte in a pipe. The invariant: a future that is
//! cancelled cancels its query at the server, and an event loop never waits for the store.

use std::collections::HashMap;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cenote::serve;
use cenote::store::{self, blocking};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::answers::{FeatureSet, Features, Score};
use super::readers::{Readers, Selection};
use super::turns::Turns;
use super::view::View;
use super::{FeatureStore, ScorePlan, ServedModel};
use crate::error;
use crate::input::RowCells;

/// How long turns go on after a call was given up or failed: its query is then being cancelled.
const SETTLE: Duration = Duration::from_secs(1);

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
    Closed,
}

impl Answer {
    fn into_object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::Features(features, selection) => {
                Py::new(py, Features::new(py, features, &selection.names)?)?.into_any()
            }
            Self::Set(set) => Py::new(py, FeatureSet::new(set))?.into_any(),
            Self::Score(score) => Py::new(py, Score::new(py, *score)?)?.into_any(),
            Self::Closed => py.None(),
        })
    }
}

/// Answers that nobody has fetched yet, by the number of their call.
struct Letters {
    answers: Mutex<Vec<(u64, Result<Answer, store::Error>)>>,
    /// Whether their event loop is in a turn, after which it looks for letters unasked.
    attended: AtomicBool,
    /// A byte is in the pipe if there are any that came otherwise.
    bell: PipeWriter,
}

impl Letters {
    fn put(&self, call: u64, answer: Result<Answer, store::Error>) {
        let mut answers = lock(&self.answers);
        answers.push((call, answer));
        if answers.len() == 1 && !self.attended.load(Ordering::Acquire) {
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
    waiting: Arc<Mutex<Waiting>>,
}

/// The futures of the calls that are under way. Never locked across a call into the interpreter.
#[derive(Default)]
struct Waiting {
    next: u64,
    futures: HashMap<u64, Py<PyAny>>,
    /// Whether the event loop takes turns from time to time.
    beating: bool,
    /// Until when it does so though nobody waits.
    settling: Option<Instant>,
}

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> PyResult<Self> {
        let (pipe, bell) = pipe()?;
        let letters = Letters { answers: Mutex::default(), attended: AtomicBool::new(false), bell };
        Ok(Self { letters: Arc::new(letters), pipe, waiting: Arc::default() })
    }

    /// What an event loop watches for reading.
    fn fileno(&self) -> i32 {
        self.pipe.as_raw_fd()
    }

    /// Hand out the answers that have come. To be called when there is something to read.
    fn deliver(&self, py: Python<'_>) -> PyResult<()> {
        let _ = (&self.pipe).read(&mut [0])?;
        self.hand_out(py)
    }
}

impl Mailbox {
    fn expect(&self, future: Py<PyAny>) -> u64 {
        let mut waiting = lock(&self.waiting);
        let call = waiting.next;
        waiting.next += 1;
        waiting.futures.insert(call, future);
        call
    }

    fn hand_out(&self, py: Python<'_>) -> PyResult<()> {
        let answers = std::mem::take(&mut *lock(&self.letters.answers));
        for (call, answer) in answers {
            if answer.is_err() {
                lock(&self.waiting).settling = Some(Instant::now() + SETTLE);
            }
            let Some(future) = take(&self.waiting, call) else { continue };
            let future = future.bind(py);
            if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                continue;
            }
            let object =
                answer.map_err(|error| error::store(py, &error)).and_then(|answer| answer.into_object(py));
            match object {
                Ok(object) => future.call_method1(intern!(py, "set_result"), (object,))?,
                Err(error) => future.call_method1(intern!(py, "set_exception"), (error,))?,
            };
        }
        Ok(())
    }
}

/// Takes a call's future.
fn take(waiting: &Mutex<Waiting>, call: u64) -> Option<Py<PyAny>> {
    lock(waiting).futures.remove(&call)
}

/// A read that is under way.
#[pyclass(frozen, module = "cenote._cenote", name = "Call")]
pub(crate) struct Call {
    number: u64,
    task: AbortHandle,
    waiting: Arc<Mutex<Waiting>>,
}

#[pymethods]
impl Call {
    /// Give it up: the server is asked to cancel the query.
    fn cancel(&self) {
        self.task.abort();
        let mut waiting = lock(&self.waiting);
        waiting.settling = Some(Instant::now() + SETTLE);
        let future = waiting.futures.remove(&self.number);
        drop(waiting);
        drop(future);
    }
}

/// Reads on a pool of connections of their own.
#[pyclass(frozen, module = "cenote._cenote", name = "AsyncReads")]
pub(crate) struct AsyncReads {
    store: store::FeatureStore,
    readers: Readers<store::Reader>,
    turns: Turns,
}

#[pymethods]
impl AsyncReads {
    /// Reads of the tables of `store`, on up to `connections` connections; driven by event loops where that can be.
    #[new]
    #[pyo3(signature = (store, connections, own_thread=false))]
    fn new(py: Python<'_>, store: &FeatureStore, connections: usize, own_thread: bool) -> PyResult<Self> {
        let store = store.store.beside(connections).map_err(|error| error::store(py, &error))?;
        Ok(Self { store, readers: Readers::default(), turns: Turns::new(own_thread)? })
    }

    /// What an event loop watches to know when :meth:`turn` is due; ``None`` if a thread does the work, or none is left.
    fn fileno(&self, py: Python<'_>) -> Option<i32> {
        self.turns.poller(py)
    }

    /// Get on with all calls, and hand out the answers of `mailbox`.
    fn turn(&self, py: Python<'_>, mailbox: &Mailbox) -> PyResult<()> {
        mailbox.letters.attended.store(true, Ordering::Release);
        self.turns.turn(py);
        mailbox.letters.attended.store(false, Ordering::Release);
        mailbox.hand_out(py)
    }

    /// Whether the event loop of `mailbox` is to :meth:`beat` from now on.
    fn begin_to_beat(&self, mailbox: &Mailbox) -> bool {
        let mut waiting = lock(&mailbox.waiting);
        let begin = !waiting.beating && !waiting.futures.is_empty() && self.turns.are_taken_by_loops();
        waiting.beating |= begin;
        begin
    }

    /// Take the turn that is due for the time alone; ``False`` if it was the last for now.
    fn beat(&self, py: Python<'_>, mailbox: &Mailbox) -> PyResult<bool> {
        self.turn(py, mailbox)?;
        let mut waiting = lock(&mailbox.waiting);
        let settling = waiting.settling.is_some_and(|until| until > Instant::now());
        waiting.beating = !waiting.futures.is_empty() || settling;
        Ok(waiting.beating)
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

    /// Begin :meth:`ScorePlan.score`.
    #[pyo3(signature = (mailbox, future, plan, key, request))]
    fn score(
        &self,
        mailbox: &Mailbox,
        future: Py<PyAny>,
        plan: &ScorePlan,
        key: &Bound<'_, PyAny>,
        request: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Call> {
        let py = key.py();
        let key = plan.view.get().key(key)?;
        let model = plan.model.clone_ref(py);
        let cells = request.map(|request| RowCells::read(request, model.get().wanted())).transpose()?;
        let plan = plan.plan.on(&self.store);
        self.begin(py, mailbox, future, async move {
            let row = cells.as_ref().map(|cells| cells.row(model.get().wanted())).unwrap_or_default();
            Ok(Answer::Score(Box::new(plan.score_with(key, &row).await?)))
        })
    }

    /// Begin :meth:`ServedModel.score`.
    #[pyo3(signature = (mailbox, future, served, key, request))]
    fn score_served(
        &self,
        mailbox: &Mailbox,
        future: Py<PyAny>,
        served: &ServedModel,
        key: &Bound<'_, PyAny>,
        request: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Call> {
        let py = key.py();
        let (key, request) = (served.key(key)?, served.request(py, request)?);
        let (store, served) = (self.store.clone(), served.served().clone());
        self.begin(py, mailbox, future, async move {
            Ok(Answer::Score(Box::new(served.score_on(&store, key, &request.row()).await?)))
        })
    }

    /// Begin to close the connections, once what was given up is cancelled.
    #[pyo3(signature = (mailbox, future))]
    fn settle(&self, py: Python<'_>, mailbox: &Mailbox, future: Py<PyAny>) -> PyResult<Call> {
        let store = self.store.clone();
        self.begin(py, mailbox, future, async move {
            store.close().await;
            Ok(Answer::Closed)
        })
    }

    /// Close the connections and end what drives them.
    fn close(&self, py: Python<'_>) {
        let store = self.store.clone();
        self.turns.end(py, async move { store.close().await });
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
        if self.turns.is_forked() {
            let message = "an AsyncFeatureStore does not outlive a fork: connect in the child";
            return Err(PyRuntimeError::new_err(message));
        }
        if self.turns.are_taken_by_loops() && Handle::try_current().is_ok() {
            return Err(error::store(py, &store::ErrorKind::InsideRuntime.into()));
        }
        let number = mailbox.expect(future);
        let letters = Arc::clone(&mailbox.letters);
        let Some(task) = self.turns.spawn(py, async move { letters.put(number, read.await) }) else {
            take(&mailbox.waiting, number);
            return Err(error::store(py, &store::ErrorKind::Closed.into()));
        };
        // The first goes out at once; more wait for the turn that is due now, and go out together.
        if lock(&mailbox.waiting).futures.len() == 1 && self.turns.are_taken_by_loops() {
            self.turn(py, mailbox)?;
        }
        Ok(Call { number, task, waiting: Arc::clone(&mailbox.waiting) })
    }
}

impl Drop for AsyncReads {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}
