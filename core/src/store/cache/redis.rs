//! Rows in Redis, for all processes: looked at before PostgreSQL, filled after it, forgotten when they change.
//!
//! In flow keys; out flow rows, or a lease to fill what was missed. The invariant: an entry is trusted only under the present
//! mark of its view, and a fill is refused by whatever came since its lease. So a change puts a stone in the entry's place, that
//! stands longer than any fill can be under way; and where a change may have been missed (nobody listened, Redis was away) the
//! mark is replaced, before anything is trusted again. Redis is asked on a thread of its own, within a time limit: whatever goes
//! wrong is a miss.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;

use super::{Kept, Tally};
use crate::store::error::{Error, ErrorKind};
use crate::store::read::EncodedKey;

/// How long a changed entry cannot be filled: longer than a fill is under way.
const STONE: Duration = Duration::from_secs(10);
/// A fill that took longer is given up.
const LEASE: Duration = Duration::from_secs(8);
/// How long Redis is left alone after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// What stands in the place of a changed entry; an entry is at least as long as its mark.
const STONE_TEXT: &[u8] = b"!";

/// How Redis is reached.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) url: String,
    pub(super) timeout: Duration,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may hold a password.
        f.debug_struct("Settings").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The tier: a handle to the thread that speaks with Redis.
pub(super) struct Tier {
    inner: Arc<Inner>,
    runtime: Handle,
    /// Its end ends the thread.
    _end: oneshot::Sender<()>,
}

struct Inner {
    client: redis::Client,
    timeout: Duration,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Part of each view's mark that this process trusts; another after every gap.
    trust: AtomicU64,
    /// Whether marks must be replaced before anything is trusted.
    gap: AtomicBool,
    /// Until when Redis is left alone, in milliseconds since `start`.
    away_until: AtomicU64,
    start: Instant,
}

/// What Redis knows of a key.
pub(super) enum Found {
    /// Its row, or that it has none.
    Row(Vec<u8>),
    /// Nothing to be trusted; with leave to fill it, perhaps.
    Miss(Option<Lease>),
}

/// What Redis says of one name.
type Answer = Option<Vec<u8>>;

/// Leave to fill an entry.
pub(super) struct Lease {
    entry: Vec<u8>,
    mark: Vec<u8>,
    since: Instant,
}

impl Tier {
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        // The error's own text may hold the address.
        let client = redis::Client::open(settings.url)
            .map_err(|_| Error::config("the address of Redis cannot be read"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ErrorKind::Runtime)?;
        let (end, ended) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name("cenote-redis".to_owned());
        thread.spawn(move || drop(runtime.block_on(ended))).map_err(ErrorKind::Runtime)?;
        let inner = Inner {
            client,
            timeout: settings.timeout,
            connection: Mutex::new(None),
            trust: AtomicU64::new(0),
            gap: AtomicBool::new(true),
            away_until: AtomicU64::new(0),
            start: Instant::now(),
        };
        Ok(Self { inner: Arc::new(inner), runtime: handle, _end: end })
    }

    /// What Redis knows of a key.
    pub(super) async fn get(&self, view: &str, key: &EncodedKey, tally: &Tally) -> Found {
        let inner = Arc::clone(&self.inner);
        if inner.is_away() {
            return Found::Miss(None);
        }
        let (mark, entry) = names(view, key);
        let get = self.runtime.spawn(async move { inner.get(mark, entry).await });
        // The thread's own limits hold; this one is for a thread that is gone.
        match timeout(self.inner.timeout * 3, get).await {
            Ok(Ok(Some(found))) => found,
            _ => {
                failed(tally);
                Found::Miss(None)
            }
        }
    }

    /// Fills an entry, behind the caller's back.
    pub(super) fn fill(&self, lease: Lease, kept: &Kept) {
        if lease.since.elapsed() > LEASE {
            return;
        }
        let mut value = lease.mark.clone();
        value.extend_from_slice(kept.bytes());
        let (inner, ttl) = (Arc::clone(&self.inner), kept.ttl);
        self.runtime.spawn(async move {
            // Not where a stone stands, nor over what another has filled under the same mark.
            const FILL: &str = "local v = redis.call('GET', KEYS[1]) \
                if v == '!' or (v and string.sub(v, 1, #ARGV[2]) == ARGV[2]) then return 0 end \
                redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3]) return 1";
            let mut fill = redis::cmd("EVAL");
            fill.arg(FILL)
                .arg(1)
                .arg(&lease.entry)
                .arg(value)
                .arg(&lease.mark)
                .arg(ttl.as_millis().max(1) as u64);
            inner.ask::<()>(&fill).await;
        });
    }

    /// Forgets a key: when this returns its entry is not trusted, and until the stone is gone nobody fills it.
    pub(super) async fn forget(&self, view: &str, key: &EncodedKey, tally: &Tally) {
        let (_, entry) = names(view, key);
        let inner = Arc::clone(&self.inner);
        let set = self.runtime.spawn(async move {
            let mut set = redis::cmd("SET");
            set.arg(entry).arg(STONE_TEXT).arg("PX").arg(STONE.as_millis() as u64);
            inner.ask::<()>(&set).await
        });
        if !matches!(timeout(self.inner.timeout * 3, set).await, Ok(Ok(Some(())))) {
            // Others may have the entry when Redis is back.
            failed(tally);
            self.inner.distrust();
        }
    }

    /// Trusts nothing that is there now.
    pub(super) fn distrust(&self) {
        self.inner.distrust();
    }
}

impl Inner {
    fn distrust(&self) {
        self.trust.fetch_add(1, Ordering::SeqCst);
        self.gap.store(true, Ordering::SeqCst);
    }

    fn is_away(&self) -> bool {
        (self.start.elapsed().as_millis() as u64) < self.away_until.load(Ordering::Relaxed)
    }

    /// `None` where Redis failed.
    async fn get(&self, mark: Vec<u8>, entry: Vec<u8>) -> Option<Found> {
        let since = Instant::now();
        if self.gap.load(Ordering::SeqCst) {
            self.replace_marks().await?;
        }
        let mut ask = redis::cmd("MGET");
        ask.arg(ROOT).arg(&mark).arg(&entry);
        let (root, known, value): (Answer, Answer, Answer) = self.ask(&ask).await?;
        // The mark of everything, and that of the view: both of fixed length.
        let (Some(root), Some(view)) = (root, known) else {
            self.make_marks(&mark).await?;
            return Some(Found::Miss(None));
        };
        let trusted = [root, view].concat();
        Some(match value {
            Some(value) if value == STONE_TEXT => Found::Miss(None),
            Some(mut value) if value.starts_with(&trusted) => Found::Row(value.split_off(trusted.len())),
            _ => Found::Miss(Some(Lease { entry, mark: trusted, since })),
        })
    }

    /// Another mark of everything: no entry that is there now has it.
    async fn replace_marks(&self) -> Option<()> {
        let trust = self.trust.load(Ordering::SeqCst);
        let mut set = redis::cmd("SET");
        set.arg(ROOT).arg(random()?.as_slice());
        self.ask::<()>(&set).await?;
        if self.trust.load(Ordering::SeqCst) == trust {
            self.gap.store(false, Ordering::SeqCst);
        }
        Some(())
    }

    /// Marks where there are none: Redis has forgotten them, or never had any.
    async fn make_marks(&self, view: &[u8]) -> Option<()> {
        for name in [ROOT, view] {
            let mut set = redis::cmd("SET");
            set.arg(name).arg(random()?.as_slice()).arg("NX");
            self.ask::<Option<String>>(&set).await?;
        }
        Some(())
    }

    /// Asks Redis within the limit; `None` where that fails, and then it is left alone for a while.
    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        if self.is_away() {
            return None;
        }
        let asked = async {
            let mut connection = {
                let mut slot = self.connection.lock().await;
                match &*slot {
                    Some(connection) => connection.clone(),
                    None => slot.insert(self.client.get_multiplexed_async_connection().await?).clone(),
                }
            };
            command.query_async::<T>(&mut connection).await
        };
        if let Ok(Ok(answer)) = timeout(self.timeout, asked).await {
            return Some(answer);
        }
        let until = self.start.elapsed() + PAUSE;
        self.away_until.store(until.as_millis() as u64, Ordering::Relaxed);
        *self.connection.lock().await = None;
        tracing::debug!("redis did not answer; it is left alone for a while");
        None
    }
}

fn failed(tally: &Tally) {
    tally.redis_errors.fetch_add(1, Ordering::Relaxed);
    metrics::counter!("cenote_cache_redis_errors_total").increment(1);
}

/// The name of the mark of everything.
const ROOT: &[u8] = b"cenote:mark";

/// The names of a view's mark and of a key's entry.
fn names(view: &str, key: &EncodedKey) -> (Vec<u8>, Vec<u8>) {
    let mut entry = format!("cenote:{view}:").into_bytes();
    entry.extend_from_slice(std::borrow::Borrow::<[u8]>::borrow(key));
    (format!("cenote:{view}").into_bytes(), entry)
}

fn random() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}
