//! What a thread has of its own: a runtime, its connection to each store, and what may end the call that it has under way.
//!
//! In flow calls as futures; each runs to its end on the thread that makes it. The invariant: a connection never leaves the thread
//! and the process that made it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::{FeatureStore, Shared};
use crate::store::{self, Error, ErrorKind};

/// How long the end of a failed call waits for its query to be cancelled at the server.
const SETTLE: Duration = Duration::from_millis(500);

/// What a thread has: its runtime, and its connection to each store.
struct Local {
    process: u32,
    /// Dropped before the runtime on which their connections run.
    stores: HashMap<u64, (Weak<Shared>, store::FeatureStore)>,
    runtime: Rc<Runtime>,
}

thread_local! {
    static LOCAL: RefCell<Option<Local>> = const { RefCell::new(None) };
    /// What may end the call that this thread has under way.
    static CANCELLATION: RefCell<Option<Cancellation>> = const { RefCell::new(None) };
}

/// Ends the calls of one thread from another: their queries are cancelled at the server. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Cancellation {
    cancelled: Arc<watch::Sender<bool>>,
}

impl Cancellation {
    /// One that nobody has used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the call to a store that is under way in [`scope`](Self::scope), and every later one there, with `Cancelled`.
    pub fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Runs `work` on this thread, its calls to stores under this cancellation.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Puts back what was there before, also after a panic.
        struct Outer(Option<Cancellation>);
        impl Drop for Outer {
            fn drop(&mut self) {
                CANCELLATION.set(self.0.take());
            }
        }
        let _outer = Outer(CANCELLATION.replace(Some(self.clone())));
        work()
    }

    /// Awaits a call, or that it is given up; the call's future is then dropped.
    async fn or_cancelled<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut cancelled = self.cancelled.subscribe();
        let cancelled = pin!(cancelled.wait_for(|cancelled| *cancelled));
        match select(cancelled, pin!(call)).await {
            Either::Left(_) => Err(ErrorKind::Cancelled.into()),
            Either::Right((outcome, _)) => outcome,
        }
    }
}

impl FeatureStore {
    /// Runs a call on this thread's runtime and connection.
    pub(super) fn run<T>(
        &self,
        call: impl AsyncFnOnce(&store::FeatureStore) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(ErrorKind::InsideRuntime.into());
        }
        let (runtime, store) = self.local()?;
        let cancellation = CANCELLATION.with_borrow(Clone::clone);
        runtime.block_on(async {
            let outcome = match cancellation {
                None => call(&store).await,
                Some(cancellation) => cancellation.or_cancelled(call(&store)).await,
            };
            if outcome.is_err() {
                // This thread's runtime stands still between calls: a query that was left must be cancelled within this one.
                store.pool().settle(SETTLE).await;
            }
            outcome
        })
    }

    /// This thread's runtime, and its store.
    fn local(&self) -> Result<(Rc<Runtime>, store::FeatureStore), Error> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(ErrorKind::Closed.into());
        }
        LOCAL.with_borrow_mut(|slot| {
            let process = std::process::id();
            if slot.as_ref().is_some_and(|local| local.process != process) {
                // After a fork the sockets are the parent's too: to close them properly would end its sessions.
                std::mem::forget(slot.take());
            }
            let local = match slot {
                Some(local) => local,
                None => {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .map_err(ErrorKind::Runtime)?;
                    slot.insert(Local { process, stores: HashMap::new(), runtime: Rc::new(runtime) })
                }
            };
            let id = self.shared.id;
            if let Some((_, store)) = local.stores.get(&id) {
                return Ok((Rc::clone(&local.runtime), store.clone()));
            }
            local.forget_closed();
            let store = self.shared.settings.clone().lazy()?;
            local.stores.insert(id, (Arc::downgrade(&self.shared), store.clone()));
            Ok((Rc::clone(&local.runtime), store))
        })
    }
}

/// Closes this thread's connections to stores that are closed or gone.
pub(super) fn forget_closed() {
    LOCAL.with_borrow_mut(|local| {
        if let Some(local) = local.as_mut().filter(|local| local.process == std::process::id()) {
            local.forget_closed();
        }
    });
}

impl Local {
    /// Closes this thread's connections to stores that are closed or gone.
    fn forget_closed(&mut self) {
        let runtime = &self.runtime;
        self.stores.retain(|_, (shared, store)| {
            let open = shared.upgrade().is_some_and(|shared| !shared.closed.load(Ordering::Acquire));
            if !open && tokio::runtime::Handle::try_current().is_err() {
                runtime.block_on(async {
                    store.pool().close();
                    // The connection's own task says goodbye to the server when it is next polled.
                    tokio::task::yield_now().await;
                });
            }
            open
        });
    }
}
