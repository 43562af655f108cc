//! The runtime of the asyncio store's reads. It has no thread of its own: the event loops that wait for its answers drive it.
//!
//! In flow futures; they get on in turns, each of which runs what is ready and never blocks. Whatever makes something ready, an answer
//! of the server or a task that was added or given up, makes the runtime's poller readable, which is an epoll instance that an event
//! loop can watch like a socket: so it knows when a turn is due. An answer then needs no other thread, whose waking took as long as
//! the server. The invariant: one turn at a time, in the process that made the runtime.
//!
//! What a poller does not tell is that a timer is due, and what came with a turn's very last look at it; so whoever waits for an
//! answer takes a turn every few milliseconds besides. Where no poller is found, as on systems without epoll, a thread drives.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, yield_now};

/// A runtime that event loops drive, or a thread.
pub(super) struct Turns {
    process: u32,
    handle: Handle,
    driver: Driver,
}

enum Driver {
    /// `None` is ended. Locked for a turn.
    Loops { runtime: Mutex<Option<Runtime>>, poller: RawFd },
    /// The thread lives as long as this and those that tasks have of it; `None` is ended.
    Thread { open: Mutex<Option<mpsc::Sender<()>>> },
}

impl Turns {
    /// A runtime that event loops drive, unless it must have a thread.
    pub(super) fn new(own_thread: bool) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let driver = match (!own_thread).then(|| poller_of(&runtime)).flatten() {
            Some(poller) => Driver::Loops { runtime: Mutex::new(Some(runtime)), poller },
            None => {
                let (open, mut closed) = mpsc::channel(1);
                // Nobody sends: the channel ends with its last sender.
                let work = move || runtime.block_on(async { while closed.recv().await.is_some() {} });
                std::thread::Builder::new().name("cenote-reads".to_owned()).spawn(work)?;
                Driver::Thread { open: Mutex::new(Some(open)) }
            }
        };
        Ok(Self { process: std::process::id(), handle, driver })
    }

    /// Whether event loops drive, not a thread.
    pub(super) fn are_taken_by_loops(&self) -> bool {
        matches!(self.driver, Driver::Loops { .. })
    }

    /// What becomes readable when a turn is due, if event loops drive and the runtime has not ended.
    pub(super) fn poller(&self, py: Python<'_>) -> Option<RawFd> {
        let Driver::Loops { runtime, poller } = &self.driver else { return None };
        let runtime = runtime.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        runtime.is_some().then_some(*poller)
    }

    /// Whether this is a fork of the process that made the runtime.
    pub(super) fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    /// Adds a task, which makes a turn due; `None` if the runtime has ended.
    pub(super) fn spawn(
        &self,
        py: Python<'_>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Option<AbortHandle> {
        match &self.driver {
            Driver::Loops { runtime, .. } => {
                let runtime = runtime.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
                runtime.as_ref().map(|runtime| runtime.spawn(work).abort_handle())
            }
            Driver::Thread { open } => {
                let open = open.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner).clone()?;
                let work = async move {
                    work.await;
                    drop(open);
                };
                Some(self.handle.spawn(work).abort_handle())
            }
        }
    }

    /// Runs what is ready, if event loops drive. Attached to the interpreter throughout, which takes some microseconds: to give it
    /// away and get it back could take milliseconds where other threads work.
    pub(super) fn turn(&self, py: Python<'_>) {
        let Driver::Loops { runtime, .. } = &self.driver else { return };
        if self.is_forked() || Handle::try_current().is_ok() {
            return;
        }
        let runtime = runtime.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*runtime {
            runtime.block_on(rounds());
        }
    }

    /// Ends the runtime once `farewell` has had a chance; tasks that are left are dropped.
    pub(super) fn end(&self, py: Python<'_>, farewell: impl Future<Output = ()> + Send + 'static) {
        let forked = self.is_forked();
        match &self.driver {
            Driver::Loops { runtime, .. } => {
                let taken = runtime.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner).take();
                let Some(runtime) = taken else { return };
                if forked {
                    // The sockets are the parent's.
                    std::mem::forget(runtime);
                    return;
                }
                if Handle::try_current().is_err() {
                    runtime.block_on(async {
                        let _ = tokio::time::timeout(Duration::ZERO, farewell).await;
                        // Connections say goodbye to the server when they are next polled.
                        rounds().await;
                    });
                }
                runtime.shutdown_background();
            }
            Driver::Thread { open } => {
                let open = open.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner).take();
                if forked {
                    // The thread, too, is the parent's.
                    std::mem::forget(open);
                } else if let Some(open) = open {
                    self.handle.spawn(async move {
                        farewell.await;
                        drop(open);
                    });
                }
            }
        }
    }
}

/// Two rounds of all tasks that are ready, each followed by a look at the poller: what the first brings, the second runs.
async fn rounds() {
    yield_now().await;
    yield_now().await;
}

/// The file descriptor of a runtime's poller: the epoll instance that watches a socket which only this runtime knows.
fn poller_of(runtime: &Runtime) -> Option<RawFd> {
    let (socket, _other) = {
        let _entered = runtime.enter();
        UnixStream::pair().ok()?
    };
    let socket = socket.as_raw_fd();
    let mut found: Option<(RawFd, Vec<String>)> = None;
    for entry in fs::read_dir("/proc/self/fdinfo").ok()? {
        let entry = entry.ok()?;
        let Some(descriptor) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(info) = fs::read_to_string(entry.path()) else { continue };
        let watched: Vec<_> =
            info.lines().filter(|line| line.starts_with("tfd:")).map(str::to_owned).collect();
        let number =
            |line: &String| line.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok());
        if !watched.iter().any(|line| number(line) == Some(socket)) {
            continue;
        }
        match &found {
            None => found = Some((descriptor, watched)),
            // The runtime has its poller under two numbers.
            Some((_, other)) if *other == watched => {}
            // Another instance remembers a closed file of the same number.
            Some(_) => return None,
        }
    }
    found.map(|(descriptor, _)| descriptor)
}
