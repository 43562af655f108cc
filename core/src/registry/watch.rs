//! An alias watched: what it points at is loaded, verified, tested and then put in the place of what answered before, at once.
//!
//! In flow notifications that the alias changed; out flows, at any time, what is made of its models. The invariant: what answers
//! was verified, gave its golden answers and was prepared whole; a change that fails one of these changes nothing, and is
//! remembered as refused. A connection that is lost is made again, and the alias is then read anew, so no change is missed; it is
//! read anew now and then besides, for there are poolers that swallow notifications.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::route::CHANNEL;
use super::{ModelRef, ModelVersion, Registry, Route, Selector};
use crate::model::Model;
use crate::store::{Error, ErrorKind, Listener, Timestamp};

/// How long to wait before a connection is made again: doubled at each failure, at most the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How often the alias is read though nobody said that it changed, and the connection is asked whether it still is one.
const REREAD: Duration = Duration::from_secs(15);
/// How long to wait after a failure that may pass by itself.
const AGAIN: Duration = Duration::from_secs(1);

/// A version and its model.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// What the registry knows of it.
    pub version: Arc<ModelVersion>,
    /// The model.
    pub model: Model,
}

/// The models behind an alias, verified and tested.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Routed {
    /// Which versions they are.
    pub route: Route,
    /// The one that answers.
    pub primary: Loaded,
    /// The one that answers for some of the keys.
    pub canary: Option<Loaded>,
    /// The one that is scored and does not answer.
    pub shadow: Option<Loaded>,
}

/// An alias that is being watched, and what is made of its models. Cheap to clone; with the last clone the watching ends.
#[derive(Debug)]
pub struct Watch<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<T> {
    now: watch::Receiver<Arc<T>>,
    state: Arc<Mutex<WatchState>>,
    task: AbortHandle,
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a watch fares.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct WatchState {
    /// Whether changes are heard of as they happen; else they are seen when the alias is next read.
    pub listening: bool,
    /// How often other models were put in place.
    pub swaps: u64,
    /// Why the newest change was not made; `None` where the alias and what answers are one.
    pub refused: Option<String>,
}

impl Registry {
    /// Watches an alias (`churn@production`): its models now, and whenever it changes, those it then points at.
    ///
    /// Needs a tokio runtime, on which a task keeps watch until the last clone of the [`Watch`] is dropped. Dropping the future
    /// leaves nothing behind.
    ///
    /// # Errors
    /// If `reference` is no alias; as [`load`](Self::load) and [`self_test`](Self::self_test) of the models that it points at now.
    pub async fn watch(&self, reference: &ModelRef) -> Result<Watch<Routed>, Error> {
        self.watch_with(reference, |routed| std::future::ready(Ok(routed))).await
    }

    /// As [`watch`](Self::watch), of what `prepare` makes of the models: where it fails, the change is refused.
    ///
    /// # Errors
    /// As [`watch`](Self::watch), and those of `prepare`.
    pub async fn watch_with<T, P, F>(&self, reference: &ModelRef, prepare: P) -> Result<Watch<T>, Error>
    where
        T: Send + Sync + 'static,
        P: Fn(Routed) -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let Selector::Alias(alias) = &reference.selector else {
            return Err(Error::config(format!(
                "{:?} is no alias: nothing else moves",
                reference.to_string()
            )));
        };
        let (route, since) = self.revision(&reference.name, alias).await?;
        let first = prepare(self.routed(&reference.name, route).await?).await?;
        let (put, now) = watch::channel(Arc::new(first));
        let state = Arc::new(Mutex::new(WatchState::default()));
        let keeper = Keeper {
            registry: self.clone(),
            name: reference.name.clone(),
            alias: alias.clone(),
            prepare,
            seen: (route, since),
            stuck: false,
            put,
            state: Arc::clone(&state),
        };
        let task = tokio::spawn(keeper.keep()).abort_handle();
        Ok(Watch { inner: Arc::new(Inner { now, state, task }) })
    }

    /// The models of a route: verified, and tested by their golden rows.
    async fn routed(&self, name: &str, route: Route) -> Result<Routed, Error> {
        let primary = self.tested(name, route.version).await?;
        let canary = match route.canary {
            Some(canary) => Some(self.tested(name, canary.version).await?),
            None => None,
        };
        let shadow = match route.shadow {
            Some(version) => Some(self.tested(name, version).await?),
            None => None,
        };
        Ok(Routed { route, primary, canary, shadow })
    }

    async fn tested(&self, name: &str, version: i32) -> Result<Loaded, Error> {
        let reference = ModelRef { name: name.to_owned(), selector: Selector::Version(version) };
        let (version, model) = self.load(&reference).await?;
        self.self_test(&version, &model).await?;
        Ok(Loaded { version: Arc::new(version), model })
    }
}

impl<T> Watch<T> {
    /// What answers now. A call under way keeps what it began with.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.inner.now.borrow())
    }

    /// How the watch fares.
    pub fn state(&self) -> WatchState {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until something else than `current` answers, and gives that.
    ///
    /// Dropping the future is safe.
    pub async fn other_than(&self, current: &Arc<T>) -> Arc<T> {
        let mut now = self.inner.now.clone();
        match now.wait_for(|now| !Arc::ptr_eq(now, current)).await {
            Ok(other) => Arc::clone(&other),
            // The runtime is shutting down and the watch has ended: nothing else will ever come.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The task that keeps watch.
struct Keeper<T, P> {
    registry: Registry,
    name: String,
    alias: String,
    prepare: P,
    /// The route that was last tried, and since when it holds: one that was refused is not tried again and again.
    seen: (Route, Timestamp),
    /// Whether that one was refused.
    stuck: bool,
    put: watch::Sender<Arc<T>>,
    state: Arc<Mutex<WatchState>>,
}

impl<T, P, F> Keeper<T, P>
where
    T: Send + Sync + 'static,
    P: Fn(Routed) -> F + Send + Sync + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    async fn keep(mut self) {
        let mine = format!("{}@{}", self.name, self.alias);
        let mut pause = PAUSE.0;
        loop {
            let heard = Arc::new(Notify::new());
            let (hear, mine) = (Arc::clone(&heard), mine.clone());
            let hear = move |payload: &str| {
                if payload == mine {
                    hear.notify_one();
                }
            };
            let store = self.registry.store.clone();
            match Listener::open(&store, CHANNEL, hear).await {
                Ok(mut listener) => {
                    pause = PAUSE.0;
                    self.note(|state| state.listening = true);
                    loop {
                        // At first too: whatever changed while nobody listened.
                        let wait = if self.reread().await { REREAD } else { AGAIN };
                        tokio::select! {
                            () = heard.notified() => {}
                            () = listener.lost() => break,
                            () = sleep(wait) => if !listener.answers(&store).await { break },
                        }
                    }
                    self.note(|state| state.listening = false);
                }
                Err(error) => {
                    tracing::warn!(alias = %self.alias, model = %self.name, %error, "cannot listen for changes");
                    self.reread().await;
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn note(&self, change: impl FnOnce(&mut WatchState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Reads the alias, and puts its models in place if they are others; `false` if that is to be tried again soon.
    async fn reread(&mut self) -> bool {
        let (route, since) = match self.registry.revision(&self.name, &self.alias).await {
            Ok(revision) => revision,
            Err(error) => return self.refuse(&error),
        };
        if (route, since) == self.seen {
            if !self.stuck {
                self.note(|state| state.refused = None);
            }
            return true;
        }
        let made = async { (self.prepare)(self.registry.routed(&self.name, route).await?).await };
        match made.await {
            Ok(value) => {
                (self.seen, self.stuck) = ((route, since), false);
                // Under the state's lock: whoever sees the new models sees them counted, and the other way about.
                self.note(|state| {
                    self.put.send_replace(Arc::new(value));
                    state.swaps += 1;
                    state.refused = None;
                });
                metrics::counter!("cenote_model_swaps_total", "model" => self.name.clone()).increment(1);
                tracing::info!(alias = %self.alias, model = %self.name, version = route.version, "models swapped");
                true
            }
            Err(error) => {
                let settled = self.refuse(&error);
                if settled {
                    (self.seen, self.stuck) = ((route, since), true);
                }
                settled
            }
        }
    }

    /// Notes why a change is not made; whether that will stay so until the alias changes again.
    fn refuse(&self, error: &Error) -> bool {
        let passing = error.is_transient()
            || matches!(
                error.kind(),
                ErrorKind::Deadline { .. } | ErrorKind::Overloaded { .. } | ErrorKind::CircuitOpen { .. }
            );
        self.note(|state| state.refused = Some(error.to_string()));
        metrics::counter!("cenote_model_refusals_total", "model" => self.name.clone()).increment(1);
        tracing::warn!(alias = %self.alias, model = %self.name, %error, "what answers stays");
        !passing
    }
}
