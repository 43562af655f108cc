//! Rows kept near: in this process, and beyond it in Redis, before PostgreSQL is asked.
//!
//! In flow keys; out flow rows as they came over the wire, or that there is none. The invariant: no row is given that was changed
//! before the last notification that was heard. A view is kept only where its table tells of every change
//! ([`FeatureStore::notify_changes`]) and somebody listens; while the listening connection is lost nothing is kept nor given, and
//! afterwards all is forgotten. A row that was read before a change and arrives after it is not kept. Whether a row is stale is
//! judged when it is given, never when it was kept.

mod notify;
#[cfg(feature = "redis")]
mod redis;
mod row;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use moka::Expiry;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::sleep;

pub(crate) use row::Kept;

use super::Builder;
#[cfg(doc)]
use super::FeatureStore;
use super::error::{Error, ErrorKind};
use super::listen::Listener;
use super::read::{EncodedKey, Reader, Server, StoredRow};
use super::view::View;

/// How long to wait before a listening connection is made again: doubled at each failure, at most the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How often the listening connection is asked whether it still is one.
const ASK: Duration = Duration::from_secs(5);
/// How many changes may wait to be forgotten; at more, all is.
const CHANGES: usize = 4096;

/// How rows are kept near.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    bytes: u64,
    ttl: Duration,
    missing_ttl: Duration,
    #[cfg(feature = "redis")]
    redis: Option<redis::Settings>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            ttl: Duration::from_secs(60),
            missing_ttl: Duration::from_secs(5),
            #[cfg(feature = "redis")]
            redis: None,
        }
    }
}

impl CacheOptions {
    /// 64 MiB in this process, a minute for a row, five seconds for a key without one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes of rows and keys this process keeps.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// How long a row is kept; never longer than the view's ttl.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long it is kept that a key has no row.
    #[must_use]
    pub fn missing_ttl(mut self, ttl: Duration) -> Self {
        self.missing_ttl = ttl;
        self
    }

    /// Keeps rows in Redis as well, for all processes: `redis://host:port/db`. A Redis that is not there, or takes longer than
    /// `timeout`, is a miss, never an error.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn redis(mut self, url: impl Into<String>, timeout: Duration) -> Self {
        self.redis = Some(redis::Settings { url: url.into(), timeout });
        self
    }
}

/// What a cache has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheCounters {
    /// Rows, or their absence, that this process had.
    pub hits: u64,
    /// Those that Redis had.
    pub redis_hits: u64,
    /// Those that PostgreSQL was asked for.
    pub misses: u64,
    /// Reads that went past the cache: nobody listens, or the view's table does not tell of its changes.
    pub bypassed: u64,
    /// Calls to Redis that failed or took too long.
    pub redis_errors: u64,
    /// Keys that were forgotten because they changed.
    pub invalidated: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    hits: AtomicU64,
    redis_hits: AtomicU64,
    misses: AtomicU64,
    bypassed: AtomicU64,
    redis_errors: AtomicU64,
    invalidated: AtomicU64,
}

/// The place of one view in the cache.
struct Slot {
    id: u32,
    /// What the view's table is called in notifications.
    table: String,
    #[cfg(feature = "redis")]
    fingerprint: String,
    /// Counts every change of the table that was heard of.
    epoch: AtomicU64,
    /// Part of each entry's name: another makes all former entries unreachable.
    generation: AtomicU32,
    /// Whether the table tells of its changes.
    notified: OnceCell<bool>,
    /// Reads all of the view.
    reader: Reader,
    ttl: Duration,
}

/// What an entry is called: the view's place, its generation, the key.
type Name = (u32, u32, EncodedKey);

/// The rows that are kept for a store and its clones, in all threads.
pub(crate) struct Cache {
    shared: Arc<Shared>,
    process: u32,
    /// Its end ends the thread that listens.
    _end: oneshot::Sender<()>,
}

struct Shared {
    rows: moka::future::Cache<Name, Arc<Kept>>,
    options: CacheOptions,
    slots: RwLock<HashMap<String, Arc<Slot>>>,
    /// Whether changes are heard of.
    hearing: AtomicBool,
    tally: Tally,
    #[cfg(feature = "redis")]
    redis: Option<redis::Tier>,
}

/// Each entry ends by its own ttl.
struct ByEntry;

impl Expiry<Name, Arc<Kept>> for ByEntry {
    fn expire_after_create(&self, _: &Name, kept: &Arc<Kept>, _: Instant) -> Option<Duration> {
        Some(kept.ttl)
    }
}

impl Cache {
    /// Starts the thread that listens. `settings` are those of the store, without a cache.
    pub(super) fn start(options: CacheOptions, settings: Builder) -> Result<Self, Error> {
        let rows = moka::future::Cache::builder()
            .max_capacity(options.bytes)
            .weigher(|(_, _, key): &Name, kept: &Arc<Kept>| {
                u32::try_from(key.len() + kept.len() + 128).unwrap_or(u32::MAX)
            })
            .expire_after(ByEntry)
            .build();
        #[cfg(feature = "redis")]
        let redis = options.redis.clone().map(redis::Tier::new).transpose()?;
        let shared = Arc::new(Shared {
            rows,
            options,
            slots: RwLock::default(),
            hearing: AtomicBool::new(false),
            tally: Tally::default(),
            #[cfg(feature = "redis")]
            redis,
        });
        let (end, ended) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ErrorKind::Runtime)?;
        let listening = Arc::clone(&shared);
        let listen = move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = listening.listen(settings) => {}
                    _ = ended => {}
                }
                listening.hearing.store(false, Ordering::Release);
            });
        };
        let thread = std::thread::Builder::new().name("cenote-cache".to_owned()).spawn(listen);
        thread.map_err(ErrorKind::Runtime)?;
        Ok(Self { shared, process: std::process::id(), _end: end })
    }

    /// What the cache has done.
    pub(super) fn counters(&self) -> CacheCounters {
        let Tally { hits, redis_hits, misses, bypassed, redis_errors, invalidated } = &self.shared.tally;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheCounters {
            hits: read(hits),
            redis_hits: read(redis_hits),
            misses: read(misses),
            bypassed: read(bypassed),
            redis_errors: read(redis_errors),
            invalidated: read(invalidated),
        }
    }

    /// The row of a key, for `reader`; `Err` of `None` where the cache may not be asked now.
    pub(super) async fn row(
        &self,
        reader: &Reader,
        key: &EncodedKey,
    ) -> Result<Option<StoredRow>, Option<Error>> {
        let slot = self.usable(reader).await?;
        let kept = self.shared.kept(&slot, reader, key).await?;
        Ok(Kept::row(&kept, reader, 0))
    }

    /// The rows of some keys, for `reader`, in their order; `Err` of `None` where the cache may not be asked now.
    pub(super) async fn rows(
        &self,
        reader: &Reader,
        keys: &[EncodedKey],
    ) -> Result<Vec<Option<StoredRow>>, Option<Error>> {
        let slot = self.usable(reader).await?;
        let first = reader.view.keys().len();
        let mut rows = Vec::with_capacity(keys.len());
        let mut missed = Vec::new();
        let (epoch, generation) = slot.now();
        for (place, key) in keys.iter().enumerate() {
            match self.shared.rows.get(&(slot.id, generation, key.clone())).await {
                Some(kept) => rows.push(Kept::row(&kept, reader, first)),
                None => {
                    missed.push(place);
                    rows.push(None);
                }
            }
        }
        count(&self.shared.tally.hits, "process", keys.len() - missed.len());
        if missed.is_empty() {
            return Ok(rows);
        }
        // Many at once are not fetched for one another: one statement fetches all that this call lacks.
        let wanted: Vec<_> = missed.iter().map(|place| keys[*place].clone()).collect();
        let full = slot.reader.on(&reader.store);
        let fetched = full.fetch_many(&wanted).await?;
        self.shared.tally.misses.fetch_add(wanted.len() as u64, Ordering::Relaxed);
        for ((place, key), row) in missed.into_iter().zip(wanted).zip(fetched) {
            let kept = Arc::new(self.shared.keep(&slot, row.as_ref(), first)?);
            rows[place] = Kept::row(&kept, reader, first);
            let name = (slot.id, generation, key);
            self.shared.rows.insert(name.clone(), kept).await;
            slot.forget_if_changed(&self.shared, epoch, &name).await;
        }
        Ok(rows)
    }

    /// The view's place, if it may be used now.
    async fn usable(&self, reader: &Reader) -> Result<Arc<Slot>, Option<Error>> {
        // After a fork there is nobody who listens.
        let may = self.process == std::process::id() && self.shared.hearing.load(Ordering::Acquire);
        if may {
            let slot = self.shared.slot(reader);
            let told = slot.notified.get_or_try_init(|| notify::is_told(&reader.store, &reader.view));
            if *told.await? {
                return Ok(slot);
            }
        }
        self.shared.tally.bypassed.fetch_add(1, Ordering::Relaxed);
        Err(None)
    }
}

impl Slot {
    /// How many changes were heard of, and what entries are called now: in this order, so that an entry that outlives a change
    /// is found out.
    fn now(&self) -> (u64, u32) {
        (self.epoch.load(Ordering::SeqCst), self.generation.load(Ordering::SeqCst))
    }

    fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes back what was kept since `epoch`, if the table has changed meanwhile: it may have been read before the change.
    async fn forget_if_changed(&self, shared: &Shared, epoch: u64, name: &Name) {
        if self.epoch.load(Ordering::SeqCst) != epoch {
            shared.rows.invalidate(name).await;
        }
    }
}

impl Shared {
    fn slot(&self, reader: &Reader) -> Arc<Slot> {
        let fingerprint = reader.fingerprint();
        if let Some(slot) = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(fingerprint) {
            return Arc::clone(slot);
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let id = slots.len() as u32;
        let view: &View = &reader.view;
        let slot = slots.entry(fingerprint.to_owned()).or_insert_with(|| {
            Arc::new(Slot {
                id,
                table: notify::table(&reader.store, view),
                #[cfg(feature = "redis")]
                fingerprint: fingerprint.to_owned(),
                epoch: AtomicU64::new(0),
                generation: AtomicU32::new(0),
                notified: OnceCell::new(),
                reader: reader.store.reader(view),
                ttl: view.ttl().map_or(self.options.ttl, |ttl| ttl.min(self.options.ttl)),
            })
        });
        Arc::clone(slot)
    }

    /// What is known of a key: from this process, from Redis, or from PostgreSQL, asked once however many want it.
    async fn kept(&self, slot: &Arc<Slot>, reader: &Reader, key: &EncodedKey) -> Result<Arc<Kept>, Error> {
        let (epoch, generation) = slot.now();
        let name = (slot.id, generation, key.clone());
        if let Some(kept) = self.rows.get(&name).await {
            count(&self.tally.hits, "process", 1);
            return Ok(kept);
        }
        let kept = self.rows.try_get_with(name.clone(), self.load(slot, reader, key)).await;
        let kept = kept.map_err(|error| error.shared())?;
        slot.forget_if_changed(self, epoch, &name).await;
        Ok(kept)
    }

    async fn load(&self, slot: &Slot, reader: &Reader, key: &EncodedKey) -> Result<Arc<Kept>, Error> {
        #[cfg(feature = "redis")]
        let found = match &self.redis {
            Some(redis) => redis.get(&slot.fingerprint, key, &self.tally).await,
            None => redis::Found::Miss(None),
        };
        #[cfg(feature = "redis")]
        if let redis::Found::Row(bytes) = &found
            && let Some(kept) = Kept::from_bytes(bytes, slot.reader.features.len(), self.ttls(slot))
        {
            count(&self.tally.redis_hits, "redis", 1);
            return Ok(Arc::new(kept));
        }
        self.tally.misses.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("cenote_cache_misses_total").increment(1);
        let row = slot.reader.on(&reader.store).fetch_one(key.borrow(), Server::Primary).await?;
        let kept = self.keep(slot, row.as_ref(), 0)?;
        #[cfg(feature = "redis")]
        if let (Some(redis), redis::Found::Miss(Some(lease))) = (&self.redis, found) {
            redis.fill(lease, &kept);
        }
        Ok(Arc::new(kept))
    }

    fn ttls(&self, slot: &Slot) -> (Duration, Duration) {
        (slot.ttl, self.options.missing_ttl)
    }

    fn keep(&self, slot: &Slot, row: Option<&tokio_postgres::Row>, first: usize) -> Result<Kept, Error> {
        Kept::new(row, first, slot.reader.features.len(), self.ttls(slot))
    }

    /// Listens for changes for ever.
    async fn listen(&self, settings: Builder) {
        let Ok(store) = settings.lazy() else { return };
        let mut pause = PAUSE.0;
        loop {
            let (tell, mut changes) = mpsc::channel::<String>(CHANGES);
            let overflow = Arc::new(AtomicBool::new(false));
            let overflowed = Arc::clone(&overflow);
            let hear = move |payload: &str| {
                if tell.try_send(payload.to_owned()).is_err() {
                    overflowed.store(true, Ordering::Release);
                }
            };
            if let Ok(mut listener) = Listener::open(&store, notify::CHANNEL, hear).await {
                pause = PAUSE.0;
                // What changed while nobody listened is not known.
                self.forget_all();
                self.hearing.store(true, Ordering::Release);
                loop {
                    tokio::select! {
                        change = changes.recv() => match change {
                            Some(change) => self.forget(&change).await,
                            None => break,
                        },
                        () = listener.lost() => break,
                        () = sleep(ASK) => if !listener.answers(&store).await { break },
                    }
                    if overflow.swap(false, Ordering::AcqRel) {
                        self.forget_all();
                    }
                }
                self.hearing.store(false, Ordering::Release);
                tracing::warn!("the cache is off until changes are heard of again");
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Forgets everything: first beyond the process, so that nothing comes back from there.
    fn forget_all(&self) {
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            redis.distrust();
        }
        for slot in self.slots() {
            slot.forget_all();
        }
    }

    /// Forgets what a payload names: a table, and a key or all.
    async fn forget(&self, payload: &str) {
        let Some((table, key)) = payload.split_once(' ') else { return };
        for slot in self.slots().iter().filter(|slot| slot.table == table) {
            self.tally.invalidated.fetch_add(1, Ordering::Relaxed);
            match notify::key(key) {
                Some(key) => {
                    #[cfg(feature = "redis")]
                    if let Some(redis) = &self.redis {
                        redis.forget(&slot.fingerprint, &key, &self.tally).await;
                    }
                    slot.epoch.fetch_add(1, Ordering::SeqCst);
                    let generation = slot.generation.load(Ordering::SeqCst);
                    self.rows.invalidate(&(slot.id, generation, key)).await;
                }
                None => {
                    #[cfg(feature = "redis")]
                    if let Some(redis) = &self.redis {
                        redis.distrust();
                    }
                    slot.forget_all();
                }
            }
        }
    }
}

fn count(counter: &AtomicU64, tier: &'static str, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
    metrics::counter!("cenote_cache_hits_total", "tier" => tier).increment(more as u64);
}
