//! What the pool keeps: a connection with the statements that are prepared on it, and a timer.
//!
//! In flow connections as deadpool-postgres makes them; out flow the same, with what makes the next call on each quicker. The
//! invariant: a statement is kept for the text, the parameters and the connection that it was prepared for, and its answer's types
//! were compared with those of the query that it is kept for; so a call that asks again compares an address, where a cache keyed by
//! the text would hash it and check the types anew. There are at most [`STATEMENTS`] on a connection.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use deadpool::managed::{self, Metrics, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio::runtime::{Handle, Id};
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_postgres::Statement;
use tokio_postgres::types::Type as PgType;

use super::pool::Query;

/// How many statements a connection keeps prepared; at more, all are forgotten.
const STATEMENTS: usize = 256;

/// Makes the pool's connections.
pub(super) struct Manager(pub(super) deadpool_postgres::Manager);

/// A connection and what is kept for the next call on it.
pub(super) struct Connection {
    client: ClientWrapper,
    prepared: Mutex<Vec<Prepared>>,
    /// The last call's timer, and the runtime that it is set in.
    timer: Mutex<Option<(Id, Pin<Box<Sleep>>)>>,
}

struct Prepared {
    sql: Arc<str>,
    parameters: Vec<PgType>,
    statement: Statement,
}

impl Connection {
    /// The statement of this very query, its answer's types checked before.
    pub(super) fn known(&self, query: &Query) -> Option<Statement> {
        let prepared = self.prepared();
        let same = prepared.iter().find(|prepared| Arc::ptr_eq(&prepared.sql, &query.sql));
        same.map(|prepared| prepared.statement.clone())
    }

    /// A statement of the same text and parameters, prepared for another query.
    pub(super) fn alike(&self, query: &Query) -> Option<Statement> {
        let prepared = self.prepared();
        let same =
            |prepared: &&Prepared| prepared.sql == query.sql && prepared.parameters == query.parameters;
        prepared.iter().find(same).map(|prepared| prepared.statement.clone())
    }

    /// Keeps a statement whose answer's types are the query's, in place of one of the same text and parameters.
    pub(super) fn keep(&self, query: &Query, statement: &Statement) {
        let mut prepared = self.prepared();
        prepared.retain(|prepared| prepared.sql != query.sql || prepared.parameters != query.parameters);
        if prepared.len() >= STATEMENTS {
            prepared.clear();
        }
        let (sql, parameters) = (Arc::clone(&query.sql), query.parameters.clone());
        prepared.push(Prepared { sql, parameters, statement: statement.clone() });
    }

    /// Awaits an answer until `end`; `None` where it did not come by then.
    ///
    /// A timer that is set anew for each call is entered into the runtime's list under a lock, taken out again under it, and wakes
    /// the runtime where no other comes before it. One that stays set from call to call is only told its later end.
    pub(super) async fn until<T>(&self, end: Instant, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        let mut timer = None;
        let outcome = poll_fn(|context| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(Some(answer));
            }
            let (_, timer) = timer.get_or_insert_with(|| self.timer_to(end));
            pin!(unconstrained(timer.as_mut())).poll(context).map(|()| None)
        })
        .await;
        if outcome.is_some() && timer.is_some() {
            *self.timer() = timer;
        }
        outcome
    }

    /// The last call's timer moved to `end`, or a new one; that of another runtime, which may stand still, is of no use.
    fn timer_to(&self, end: Instant) -> (Id, Pin<Box<Sleep>>) {
        let here = Handle::current().id();
        let kept = self.timer().take();
        match kept {
            Some((runtime, mut timer)) if runtime == here => {
                timer.as_mut().reset(end);
                (runtime, timer)
            }
            _ => (here, Box::pin(sleep_until(end))),
        }
    }

    fn timer(&self) -> MutexGuard<'_, Option<(Id, Pin<Box<Sleep>>)>> {
        self.timer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all statements, which closes them at the server.
    pub(super) fn forget(&self) {
        self.prepared().clear();
    }

    fn prepared(&self) -> MutexGuard<'_, Vec<Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

impl managed::Manager for Manager {
    /// Boxed, since the pool moves what it keeps some twenty times a call.
    type Type = Box<Connection>;
    type Error = tokio_postgres::Error;

    async fn create(&self) -> Result<Box<Connection>, tokio_postgres::Error> {
        // Who looks only whether a connection is free polls once, and begins nothing.
        tokio::task::yield_now().await;
        let client = self.0.create().await?;
        Ok(Box::new(Connection { client, prepared: Mutex::default(), timer: Mutex::default() }))
    }

    async fn recycle(
        &self,
        connection: &mut Box<Connection>,
        metrics: &Metrics,
    ) -> RecycleResult<tokio_postgres::Error> {
        self.0.recycle(&mut connection.client, metrics).await
    }

    fn detach(&self, connection: &mut Box<Connection>) {
        self.0.detach(&mut connection.client);
    }
}
