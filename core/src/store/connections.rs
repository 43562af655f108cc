//! The connections of a pool: the free ones, the places of those in use, and the statements that each has prepared.
//!
//! The invariant: there are never more connections than places, and who has a place has a connection or makes one. The one that
//! came back last is given out first: its backend has the tables at hand. One that was lost is noticed when it is given out.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, Semaphore, TryAcquireError};
use tokio::task::JoinHandle;
use tokio_postgres::types::Type as PgType;
use tokio_postgres::{Client, Config, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::pool::Query;

/// How many statements a connection keeps prepared; at more, all are forgotten.
const STATEMENTS: usize = 256;

/// The connections of one server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connections(Arc<Shared>);

struct Shared {
    free: Mutex<Vec<Connection>>,
    places: Semaphore,
    limit: usize,
    count: Arc<AtomicUsize>,
    closed: AtomicBool,
}

/// A connection, ended when it is dropped.
pub(super) struct Connection {
    pub(super) client: Client,
    driver: JoinHandle<()>,
    statements: Mutex<Vec<Prepared>>,
    /// Whether it was made for an earlier call.
    pub(super) pooled: bool,
    count: Arc<AtomicUsize>,
}

struct Prepared {
    sql: Box<str>,
    parameters: Vec<PgType>,
    statement: Statement,
}

/// Leave to have a connection; given back when it is dropped.
pub(super) struct Permit(Connections);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.places.add_permits(1);
    }
}

impl Connections {
    pub(super) fn new(limit: usize) -> Self {
        Self(Arc::new(Shared {
            free: Mutex::default(),
            places: Semaphore::new(limit),
            limit,
            count: Arc::default(),
            closed: AtomicBool::new(false),
        }))
    }

    pub(super) fn limit(&self) -> usize {
        self.0.limit
    }

    /// How many there are, and how many of them are free.
    pub(super) fn size(&self) -> (usize, usize) {
        let free = self.free().len();
        (self.0.count.load(Ordering::Acquire), free)
    }

    /// Gives out no more; those in use end as they come back.
    pub(super) fn close(&self) {
        self.0.places.close();
        self.0.closed.store(true, Ordering::Release);
        self.free().clear();
    }

    /// A place, if one is free.
    pub(super) fn try_permit(&self) -> Result<Permit, TryAcquireError> {
        self.0.places.try_acquire().map(|permit| self.permit(permit))
    }

    /// A place, as soon as one is free; in the order in which they were asked for.
    pub(super) async fn permitted(&self) -> Result<Permit, AcquireError> {
        self.0.places.acquire().await.map(|permit| self.permit(permit))
    }

    fn permit(&self, permit: tokio::sync::SemaphorePermit<'_>) -> Permit {
        permit.forget();
        Permit(self.clone())
    }

    /// A free connection that is not known to be lost.
    pub(super) fn take(&self, _: &Permit) -> Option<Connection> {
        loop {
            let mut connection = self.free().pop()?;
            if !connection.client.is_closed() {
                connection.pooled = true;
                return Some(connection);
            }
        }
    }

    /// Makes a connection, which the runtime that this runs on drives.
    pub(super) async fn make(
        &self,
        _: &Permit,
        config: &Config,
        tls: MakeRustlsConnect,
    ) -> Result<Connection, tokio_postgres::Error> {
        let (client, driver) = config.connect(tls).await?;
        self.0.count.fetch_add(1, Ordering::AcqRel);
        let driver = tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection has ended");
            }
        });
        let (statements, count) = (Mutex::default(), Arc::clone(&self.0.count));
        Ok(Connection { client, driver, statements, pooled: false, count })
    }

    /// Takes back a connection on which nothing is under way.
    pub(super) fn give_back(&self, connection: Connection) {
        let mut free = self.free();
        if !self.0.closed.load(Ordering::Acquire) {
            free.push(connection);
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// The statement, if it is prepared.
    pub(super) fn statement(&self, query: &Query) -> Option<Statement> {
        let statements = self.statements();
        let known = statements
            .iter()
            .find(|known| *known.sql == *query.sql && known.parameters == query.parameters)?;
        Some(known.statement.clone())
    }

    pub(super) fn keep(&self, query: &Query, statement: Statement) {
        let mut statements = self.statements();
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        let (sql, parameters) = (query.sql.as_str().into(), query.parameters.clone());
        statements.push(Prepared { sql, parameters, statement });
    }

    pub(super) fn forget_statements(&self) {
        self.statements().clear();
    }

    fn statements(&self) -> MutexGuard<'_, Vec<Prepared>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The socket goes with it, also where the server owes an answer.
        self.driver.abort();
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}
