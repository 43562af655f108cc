//! The connections of a store, each wait with its deadline, and calls that go again where a connection turned out dead.
//!
//! In flow statements; out flow answers, or an error that names the step. What is done on a connection is `lease`'s.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use deadpool::managed::{self, Object, PoolError, QueueMode, TimeoutType, Timeouts};
use deadpool_postgres::{ManagerConfig, RecyclingMethod, Runtime};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type as PgType};
use tokio_postgres::{Row, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::breaker::{Breaker, InFlight};
use super::config::Deadlines;
use super::connection::Manager;
use super::error::{Error, ErrorKind, Step};
use super::lease::Lease;
use super::telemetry::{Timed, timed, timed_at_once, timed_since};

type TlsSocket = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// When a call must have ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(super) end: Instant,
    pub(super) length: Duration,
}

impl Deadline {
    pub(crate) fn after(length: Duration) -> Self {
        Self::since(Instant::now(), length)
    }

    fn since(start: Instant, length: Duration) -> Self {
        Self { end: start + length, length }
    }

    fn left(self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

/// A statement of fixed text, with the types of its parameters and of its answer.
#[derive(Debug)]
pub(crate) struct Query {
    /// The view it belongs to, for messages.
    pub(crate) view: String,
    pub(crate) sql: Arc<str>,
    pub(crate) parameters: Vec<PgType>,
    /// Name and type of each column of the answer.
    pub(crate) columns: Vec<(String, PgType)>,
}

/// A statement with its parameters.
pub(crate) type Asked<'a> = (&'a Query, &'a [&'a (dyn ToSql + Sync)]);

/// The pool of one store.
pub(crate) struct Pool {
    inner: managed::Pool<Manager>,
    size: usize,
    config: tokio_postgres::Config,
    pub(super) tls: MakeRustlsConnect,
    deadlines: Deadlines,
    pub(super) abandoned: Arc<Abandoned>,
    breaker: Breaker,
    in_flight: InFlight,
    /// Whether statements are sent with each call, not prepared: they were lost before.
    pub(super) unnamed: AtomicBool,
}

/// Connections whose caller went away and whose query is being cancelled.
#[derive(Debug, Default)]
pub(super) struct Abandoned {
    count: AtomicUsize,
    one_less: Notify,
}

/// One of [`Abandoned`], for as long as it lives.
pub(super) struct Abandon(Arc<Abandoned>);

impl Abandon {
    pub(super) fn new(all: &Arc<Abandoned>) -> Self {
        all.count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(all))
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.one_less.notify_waiters();
    }
}

impl Pool {
    pub(crate) fn new(
        config: tokio_postgres::Config,
        tls: MakeRustlsConnect,
        size: usize,
        in_flight: usize,
        unnamed: bool,
        deadlines: Deadlines,
    ) -> Result<Self, Error> {
        let manager = deadpool_postgres::Manager::from_config(
            config.clone(),
            tls.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let inner = managed::Pool::builder(Manager(manager))
            .max_size(size)
            .runtime(Runtime::Tokio1)
            // The one that came back last is given out first: its backend has the tables at hand.
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|_| Error::config("the pool cannot be built"))?;
        Ok(Self {
            inner,
            size,
            config,
            tls,
            deadlines,
            abandoned: Arc::default(),
            breaker: Breaker::default(),
            in_flight: InFlight::new(in_flight),
            unnamed: AtomicBool::new(unnamed),
        })
    }

    pub(crate) fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    /// A connection that is no part of the pool, for who listens on it.
    pub(crate) async fn apart(
        &self,
    ) -> Result<(tokio_postgres::Client, tokio_postgres::Connection<Socket, TlsSocket>), Error> {
        let after = self.deadlines.connect;
        match timeout(after, self.config.connect(self.tls.clone())).await {
            Ok(outcome) => outcome.map_err(|error| Error::database(Step::Connect, error)),
            Err(_) => Err(ErrorKind::Deadline { step: Step::Connect, after }.into()),
        }
    }

    /// How many connections there are and how many are free.
    pub(crate) fn size(&self) -> (usize, usize) {
        let status = self.inner.status();
        (status.size, status.available)
    }

    /// Makes a first connection, or tests a pooled one.
    pub(crate) async fn warm(&self) -> Result<(), Error> {
        let deadline = Deadline::after(self.deadlines.wait + self.deadlines.connect);
        let lease = self.lease(deadline).await?;
        lease.during(Step::Connect, deadline, lease.client().check_connection()).await
    }

    /// Prepares statements on a connection and checks the types of their answers.
    pub(crate) async fn check(&self, queries: &[&Query]) -> Result<(), Error> {
        let deadline = Deadline::after(self.deadlines.read);
        let lease = self.lease(deadline).await?;
        for query in queries {
            if self.unnamed.load(Ordering::Relaxed) {
                // Their types are checked with each answer.
                break;
            }
            match lease.prepare(query, deadline).await {
                Err(error) if error.is_lost_statement() => self.unnamed.store(true, Ordering::Relaxed),
                outcome => drop(outcome?),
            }
        }
        Ok(())
    }

    /// Refuses new work; connections close as they come back.
    pub(crate) fn close(&self) {
        self.inner.close();
    }

    /// Waits until no abandoned query is left, at most `limit`.
    pub(crate) async fn settle(&self, limit: Duration) {
        let _ = timeout(limit, async {
            loop {
                let notified = self.abandoned.one_less.notified();
                if self.abandoned.count.load(Ordering::Acquire) == 0 {
                    return;
                }
                notified.await;
            }
        })
        .await;
    }

    /// A connection for this caller alone. Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// If too many calls are under way, the server could not be reached of late, or not now, or a step took too long.
    pub(crate) async fn lease(&self, deadline: Deadline) -> Result<Lease<'_>, Error> {
        timed(Timed::Connection, pin!(self.lease_untimed(deadline))).await
    }

    async fn lease_untimed(&self, deadline: Deadline) -> Result<Lease<'_>, Error> {
        if let Some(lease) = self.lease_at_once() {
            return Ok(lease);
        }
        let place = self.in_flight.enter()?;
        // In memory of its own, since it may connect, so that a read's own is small.
        let object = Box::pin(self.wait(deadline)).await?;
        self.breaker.succeeded();
        Ok(Lease::new(self, object, place))
    }

    fn lease_at_once(&self) -> Option<Lease<'_>> {
        let place = self.in_flight.enter().ok()?;
        let object = self.free()?;
        self.breaker.succeeded();
        Some(Lease::new(self, object, place))
    }

    /// A connection that is free now, as mostly one is: nothing is awaited for it, no timer made, no memory asked for.
    fn free(&self) -> Option<Object<Manager>> {
        let at_once = Timeouts { wait: Some(Duration::ZERO), create: None, recycle: None };
        let mut taken = pin!(self.inner.timeout_get(&at_once));
        match taken.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => taken.ok(),
            // One would have to be made.
            Poll::Pending => None,
        }
    }

    /// A connection that must be made, or waited for.
    async fn wait(&self, deadline: Deadline) -> Result<Object<Manager>, Error> {
        if self.breaker.is_troubled() {
            self.breaker.admit()?;
        }
        let left = deadline.left();
        let (wait, create) = (self.deadlines.wait.min(left), self.deadlines.connect.min(left));
        // Recycling awaits nothing.
        let patient = Timeouts { wait: Some(wait), create: Some(create), recycle: None };
        self.inner.timeout_get(&patient).await.map_err(|error| {
            if matches!(error, PoolError::Timeout(TimeoutType::Create) | PoolError::Backend(_)) {
                self.breaker.failed();
            }
            self.refused(error, deadline)
        })
    }

    fn refused(&self, error: PoolError<tokio_postgres::Error>, deadline: Deadline) -> Error {
        match error {
            PoolError::Timeout(kind) => {
                let (step, limit) = match kind {
                    TimeoutType::Wait => (Step::Wait, self.deadlines.wait),
                    TimeoutType::Create => (Step::Connect, self.deadlines.connect),
                    TimeoutType::Recycle => (Step::Recycle, self.deadlines.connect),
                };
                ErrorKind::Deadline { step, after: limit.min(deadline.length) }.into()
            }
            PoolError::Backend(error) => Error::database(Step::Connect, error),
            PoolError::Closed => ErrorKind::Closed.into(),
            PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Error::config("the pool was built without a runtime")
            }
        }
    }

    /// Reads: the whole answer of one statement, within the deadline of a read. Tried again on another connection where this one
    /// turned out dead or its backend was ended, and where the prepared statement got lost or a change of the tables made it
    /// unusable.
    ///
    /// Dropping the future cancels the statement at the server.
    pub(crate) async fn read(
        &self,
        query: &Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.read_into(query, parameters, Vec::new, |rows, row| {
            rows.push(row);
            Ok(())
        })
        .await
    }

    /// As [`read`](Self::read), each row taken as it comes into what `begin` makes, which each try does anew.
    pub(crate) async fn read_into<T>(
        &self,
        query: &Query,
        parameters: &[&(dyn ToSql + Sync)],
        begin: impl Fn() -> T,
        take: impl Fn(&mut T, Row) -> Result<(), Error>,
    ) -> Result<T, Error> {
        let start = Instant::now();
        let tries = pin!(self.read_tries(query, parameters, start, &begin, &take));
        timed_since(Timed::Read, start.into_std(), tries).await
    }

    async fn read_tries<T>(
        &self,
        query: &Query,
        parameters: &[&(dyn ToSql + Sync)],
        start: Instant,
        begin: &impl Fn() -> T,
        take: &impl Fn(&mut T, Row) -> Result<(), Error>,
    ) -> Result<T, Error> {
        let deadline = Deadline::since(start, self.deadlines.read);
        let mut retries = Retries::new(self);
        let mut first = Some(start);
        loop {
            let since = first.take().unwrap_or_else(Instant::now).into_std();
            let lease = match timed_at_once(Timed::Connection, since, || self.lease_at_once()) {
                Some(lease) => lease,
                None => match timed_since(Timed::Connection, since, pin!(self.lease_untimed(deadline))).await
                {
                    Err(error) if error.is_transient() && retries.another(None) => continue,
                    lease => lease?,
                },
            };
            let mut all = begin();
            let outcome = {
                let each = |row| take(&mut all, row);
                let asked = pin!(lease.query_into(Step::Read, query, parameters, deadline, each));
                asked.await
            };
            match outcome {
                Ok(()) => return Ok(all),
                Err(error)
                    if (error.is_transient() || error.is_outdated_plan() || error.is_lost_statement())
                        && retries.another(Some(&lease)) =>
                {
                    if error.is_outdated_plan() {
                        lease.connection().forget();
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`read`](Self::read), of several statements sent one after another on one connection, no answer waited for between them.
    pub(crate) async fn read_all(&self, asked: &[Asked<'_>]) -> Result<Vec<Vec<Row>>, Error> {
        if let [(query, parameters)] = asked {
            return Ok(vec![self.read(query, parameters).await?]);
        }
        let deadline = Deadline::after(self.deadlines.read);
        let mut retries = Retries::new(self);
        loop {
            let lease = match self.lease(deadline).await {
                Err(error) if error.is_transient() && retries.another(None) => continue,
                lease => lease?,
            };
            match lease.query_all(asked, deadline).await {
                Err(error)
                    if (error.is_transient() || error.is_outdated_plan() || error.is_lost_statement())
                        && retries.another(Some(&lease)) =>
                {
                    lease.connection().forget();
                }
                outcome => return outcome,
            }
        }
    }

    /// A connection with a transaction begun. Tried again where a pooled connection turns out dead: nothing was done on it.
    pub(crate) async fn begin(&self, step: Step, length: Duration) -> Result<Lease<'_>, Error> {
        let mut retries = Retries::new(self);
        loop {
            let lease = self.lease(Deadline::after(length)).await?;
            match lease.begin(step, Deadline::after(length)).await {
                Err(error) if error.is_transient() && retries.another(Some(&lease)) => {}
                outcome => return outcome.map(|()| lease),
            }
        }
    }
}

/// How often a call goes again: as often as a connection from the pool was dead before the call, three times where a backend was
/// ended in the call, and once where none was to be had. All of it within the call's one deadline.
struct Retries {
    pooled: usize,
    fresh: usize,
    connect: usize,
}

impl Retries {
    fn new(pool: &Pool) -> Self {
        Self { pooled: pool.size, fresh: 3, connect: 1 }
    }

    /// Whether to go again after a failure on `lease`, or before there was one.
    fn another(&mut self, lease: Option<&Lease<'_>>) -> bool {
        let left = match lease {
            Some(lease) if lease.is_pooled() => &mut self.pooled,
            Some(_) => &mut self.fresh,
            None => &mut self.connect,
        };
        let another = *left > 0;
        *left = left.saturating_sub(1);
        another
    }
}

impl Error {
    /// Whether the tables changed under a prepared statement (`0A000`, "cached plan must not change result type").
    pub(super) fn is_outdated_plan(&self) -> bool {
        matches!(self.kind(), ErrorKind::Database { sqlstate, .. }
            if sqlstate == SqlState::FEATURE_NOT_SUPPORTED.code())
    }

    /// Whether a prepared statement was not there, or another's was: between us and the server stands a pooler that gives each
    /// transaction another connection.
    pub(crate) fn is_lost_statement(&self) -> bool {
        let lost = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT];
        matches!(self.kind(), ErrorKind::Database { sqlstate, .. }
            if lost.iter().any(|lost| lost.code() == sqlstate))
    }
}
