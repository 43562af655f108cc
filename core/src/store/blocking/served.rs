//! An alias watched for threads without a runtime: a thread of its own keeps watch, any thread scores.
//!
//! The invariant: a child after `fork`, in which that thread is not, starts one of its own at its first call; if it cannot, what
//! answered at the fork goes on.

use std::sync::{Arc, PoisonError, RwLock, mpsc};

use tokio::sync::oneshot;

use super::FeatureStore;
use crate::input::{Batch, Row};
use crate::model::Model;
use crate::registry::{ModelRef, ModelVersion, PublicKey, Route, WatchState};
use crate::serve::{self, Counters, PlanBuilder, Score, Scores, ServedRows, ShadowCounters};
use crate::store::{self, Error, ErrorKind, Key, View};

/// An alias of the registry at work on a view; see [`serve::Served`]. Cheap to clone; with the last clone the watching ends.
#[derive(Clone)]
pub struct Served {
    inner: Arc<Inner>,
}

type Settings = dyn Fn(PlanBuilder) -> PlanBuilder + Send + Sync;

struct Inner {
    store: FeatureStore,
    reference: ModelRef,
    trusted: Option<Vec<PublicKey>>,
    view: View,
    settings: Arc<Settings>,
    kept: RwLock<Kept>,
}

/// What the thread that keeps watch has made, and what ends it.
struct Kept {
    process: u32,
    served: serve::Served,
    /// Its end ends the thread.
    _end: oneshot::Sender<()>,
}

impl FeatureStore {
    /// Watches an alias (`churn@production`) and scores keys of `view` by what it points at, as `settings` changes the plans; with
    /// `trusted`, only what one of these keys signed is put to work.
    ///
    /// # Errors
    /// As [`FeatureStore::serve`](crate::store::FeatureStore::serve), or if `reference` cannot be read.
    pub fn serve(
        &self,
        reference: &str,
        trusted: Option<Vec<PublicKey>>,
        view: &View,
        settings: impl Fn(PlanBuilder) -> PlanBuilder + Send + Sync + 'static,
    ) -> Result<Served, Error> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(ErrorKind::InsideRuntime.into());
        }
        let (reference, view, settings) =
            (reference.parse()?, view.clone(), Arc::new(settings) as Arc<Settings>);
        let kept = keep(self, &reference, trusted.clone(), &view, &settings)?;
        let kept = RwLock::new(kept);
        Ok(Served {
            inner: Arc::new(Inner { store: self.clone(), reference, trusted, view, settings, kept }),
        })
    }
}

/// Starts a thread that keeps watch, and waits until it has what answers now.
fn keep(
    store: &FeatureStore,
    reference: &ModelRef,
    trusted: Option<Vec<PublicKey>>,
    view: &View,
    settings: &Arc<Settings>,
) -> Result<Kept, Error> {
    let (give, take) = mpsc::sync_channel(1);
    let (end, ended) = oneshot::channel::<()>();
    let builder = store.shared.settings.clone();
    let (reference, view, settings) = (reference.clone(), view.clone(), Arc::clone(settings));
    let watch = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime.map_err(ErrorKind::Runtime) {
            Ok(runtime) => runtime,
            Err(error) => return drop(give.send(Err(error.into()))),
        };
        runtime.block_on(async move {
            let served = async {
                let store = builder.lazy()?;
                let registry = super::registry::trusting(&store, trusted);
                store.serve(&registry, &reference, &view, move |plan| settings(plan)).await
            };
            // A caller that has gone ends the thread as well.
            if give.send(served.await).is_ok() {
                let _ = ended.await;
            }
        });
    };
    let spawned = std::thread::Builder::new().name("cenote-watch".to_owned()).spawn(watch);
    spawned.map_err(ErrorKind::Runtime)?;
    let gone = || ErrorKind::Runtime(std::io::Error::other("the thread that keeps watch has ended"));
    let served = take.recv().map_err(|_| gone())??;
    Ok(Kept { process: std::process::id(), served, _end: end })
}

impl Served {
    /// What is watched, by a thread of this process.
    fn served(&self) -> serve::Served {
        let Inner { store, reference, trusted, view, settings, kept } = &*self.inner;
        let process = std::process::id();
        let now = kept.read().unwrap_or_else(PoisonError::into_inner);
        if now.process == process {
            return now.served.clone();
        }
        let served = now.served.clone();
        drop(now);
        // Not waited for: who held the lock at the fork is not there to give it up.
        if let Ok(mut kept) = kept.try_write()
            && kept.process != process
        {
            match keep(store, reference, trusted.clone(), view, settings) {
                // What the parent's thread has is left as it is.
                Ok(new) => std::mem::forget(std::mem::replace(&mut *kept, new)),
                Err(error) => tracing::warn!(%error, "a child keeps the models that it had at the fork"),
            }
            return kept.served.clone();
        }
        served
    }

    /// The view whose keys are scored.
    pub fn view(&self) -> &View {
        &self.inner.view
    }

    /// The model that answers for most keys now.
    pub fn model(&self) -> Model {
        self.served().model()
    }

    /// The version that answers for most keys now.
    pub fn version(&self) -> Arc<ModelVersion> {
        self.served().version()
    }

    /// Which versions are at work now.
    pub fn route(&self) -> Route {
        self.served().route()
    }

    /// How the watch fares.
    pub fn state(&self) -> WatchState {
        self.served().state()
    }

    /// What the version that answers for most keys has seen since it was put to work.
    pub fn counters(&self) -> Counters {
        self.served().counters()
    }

    /// In what the shadow has differed since it was put to work; `None` where there is none.
    pub fn shadow(&self) -> Option<ShadowCounters> {
        self.served().shadow()
    }

    /// Fetches the features of `key` and scores them by the version that the key has.
    ///
    /// # Errors
    /// As [`serve::Served::score_with`].
    pub fn score_with(&self, key: impl Into<Key>, request: &Row<'_>) -> Result<Score, Error> {
        let (served, key) = (self.served(), key.into());
        self.inner.store.run(async |store| served.score_on(store, key, request).await)
    }

    /// As [`score_with`](Self::score_with), fetched by an asynchronous store of the same tables, which the caller drives.
    ///
    /// Dropping the future cancels the query at the server.
    ///
    /// # Errors
    /// As [`serve::Served::score_with`].
    pub async fn score_on(
        &self,
        store: &store::FeatureStore,
        key: impl Into<Key>,
        request: &Row<'_>,
    ) -> Result<Score, Error> {
        self.served().score_on(store, key.into(), request).await
    }

    /// As [`score_with`](Self::score_with), where nothing comes with the request.
    ///
    /// # Errors
    /// As [`serve::Served::score`].
    pub fn score(&self, key: impl Into<Key>) -> Result<Score, Error> {
        self.score_with(key, &Row::new())
    }

    /// What the store knows of the keys, to be scored with the inputs that come with the request.
    ///
    /// # Errors
    /// As [`serve::Served::fetch`].
    pub fn fetch<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<ServedRows, Error> {
        let (served, keys) = (self.served(), keys.into_iter().map(Into::into).collect());
        self.inner.store.run(async |store| served.fetch_on(store, keys).await)
    }

    /// Fetches the features of many keys by one query and scores each by the version that it has.
    ///
    /// # Errors
    /// As [`serve::Served::score_many`].
    pub fn score_many<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Scores, Error> {
        self.fetch(keys)?.score_with(&Batch::new(0))
    }
}
