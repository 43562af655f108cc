//! A connection in use by one caller, and what becomes of it when the caller goes away.
//!
//! The invariant: it goes back to the pool only when the server has answered all that was asked on it. One that is left in the
//! middle of a statement or a transaction (a deadline passed, the future was dropped) is taken out of the pool, the server is asked
//! to cancel, and the connection is closed; so no later caller waits for another's query.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool::managed::Object;
use futures_util::TryStreamExt;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::breaker::Place;
use super::connection::{Connection, Manager};
use super::error::{Error, ErrorKind, Step};
use super::pool::{Abandon, Asked, Deadline, Pool, Query};

/// How long a request to cancel may take before the connection is closed without.
const CANCEL: Duration = Duration::from_millis(500);
/// How long until the request is sent again.
const CANCEL_AGAIN: Duration = Duration::from_millis(10);

/// A connection in use by one caller.
pub(crate) struct Lease<'p> {
    pool: &'p Pool,
    /// `Some` until the drop.
    object: Option<Object<Manager>>,
    /// Whether the server owes an answer, or a transaction is open.
    busy: AtomicBool,
    /// Whether the connection is lost, though its own task may not yet have noticed.
    broken: AtomicBool,
    _place: Place<'p>,
}

impl<'p> Lease<'p> {
    pub(super) fn new(pool: &'p Pool, object: Object<Manager>, place: Place<'p>) -> Self {
        let (busy, broken) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { pool, object: Some(object), busy, broken, _place: place }
    }
}

impl Lease<'_> {
    pub(crate) fn client(&self) -> &deadpool_postgres::ClientWrapper {
        self.connection()
    }

    pub(super) fn connection(&self) -> &Connection {
        self.object.as_ref().expect("a lease has its connection until it is dropped")
    }

    /// Whether the connection was made for an earlier call.
    pub(super) fn is_pooled(&self) -> bool {
        self.object.as_ref().is_some_and(|object| Object::metrics(object).recycle_count > 0)
    }

    /// Awaits an answer of the server. If the deadline passes or the future is dropped, the connection is abandoned.
    pub(crate) async fn during<T>(
        &self,
        step: Step,
        deadline: Deadline,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let open = self.busy.swap(true, Ordering::Relaxed);
        let outcome = self.connection().until(deadline.end, answer).await;
        let outcome = outcome.ok_or(ErrorKind::Deadline { step, after: deadline.length })?;
        self.busy.store(open, Ordering::Relaxed);
        self.answered(step, outcome)
    }

    /// An answer that has come; notes whether the connection is lost.
    fn answered<T>(&self, step: Step, outcome: Result<T, tokio_postgres::Error>) -> Result<T, Error> {
        outcome.map_err(|error| {
            let error = Error::database(step, error);
            if error.is_transient() {
                self.broken.store(true, Ordering::Relaxed);
            }
            error
        })
    }

    /// The answer of a statement: prepared on this connection once, or unnamed where prepared ones have been lost before.
    pub(crate) async fn query(
        &self,
        step: Step,
        query: &Query,
        parameters: &[&(dyn ToSql + Sync)],
        deadline: Deadline,
    ) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        let take = |row| {
            rows.push(row);
            Ok(())
        };
        self.query_into(step, query, parameters, deadline, take).await?;
        Ok(rows)
    }

    /// As [`query`](Self::query), each row given to `take` as it comes. After its first error the other rows are passed over.
    pub(super) async fn query_into(
        &self,
        step: Step,
        query: &Query,
        parameters: &[&(dyn ToSql + Sync)],
        deadline: Deadline,
        mut take: impl FnMut(Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.pool.unnamed.load(Ordering::Relaxed) {
            let rows = Box::pin(self.query_unnamed(step, query, parameters, deadline)).await?;
            return rows.into_iter().try_for_each(take);
        }
        let outcome = match self.connection().known(query) {
            Some(statement) => Ok(statement),
            None => Box::pin(self.prepare(query, deadline)).await,
        };
        let outcome = match outcome {
            Ok(statement) => {
                let answer = pin!(async {
                    let rows = self.client().query_raw(&statement, parameters.iter().copied()).await?;
                    let (mut rows, mut taken) = (pin!(rows), Ok(()));
                    while let Some(row) = rows.try_next().await? {
                        if taken.is_ok() {
                            taken = take(row);
                        }
                    }
                    Ok(taken)
                });
                self.during(step, deadline, answer).await.flatten()
            }
            Err(error) => Err(error),
        };
        if outcome.as_ref().is_err_and(Error::is_lost_statement) {
            self.pool.unnamed.store(true, Ordering::Relaxed);
            self.connection().forget();
        }
        outcome
    }

    async fn query_unnamed(
        &self,
        step: Step,
        query: &Query,
        parameters: &[&(dyn ToSql + Sync)],
        deadline: Deadline,
    ) -> Result<Vec<Row>, Error> {
        let typed: Vec<_> = parameters.iter().copied().zip(query.parameters.iter().cloned()).collect();
        let rows = self.during(step, deadline, self.client().query_typed(&query.sql, &typed)).await?;
        if let Some(row) = rows.first() {
            super::wire::check_columns(&query.view, row.columns(), &query.columns)?;
        }
        Ok(rows)
    }

    /// The answers of several statements, sent one after another.
    pub(super) async fn query_all(
        &self,
        asked: &[Asked<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Vec<Row>>, Error> {
        if self.pool.unnamed.load(Ordering::Relaxed) {
            // Behind a pooler each may go to another server: one at a time.
            let mut answers = Vec::with_capacity(asked.len());
            for (query, parameters) in asked {
                answers.push(self.query(Step::Read, query, parameters, deadline).await?);
            }
            return Ok(answers);
        }
        let outcome = async {
            let mut statements = Vec::with_capacity(asked.len());
            for (query, _) in asked {
                statements.push(self.prepare(query, deadline).await?);
            }
            let answers = asked
                .iter()
                .zip(&statements)
                .map(|((_, parameters), statement)| self.client().query(statement, parameters));
            self.during(Step::Read, deadline, futures_util::future::try_join_all(answers)).await
        };
        let outcome = outcome.await;
        if outcome.as_ref().is_err_and(Error::is_lost_statement) {
            self.pool.unnamed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// The statement, prepared on this connection once, its answer's types checked against the view.
    pub(crate) async fn prepare(&self, query: &Query, deadline: Deadline) -> Result<Statement, Error> {
        let connection = self.connection();
        if let Some(known) = connection.known(query) {
            return Ok(known);
        }
        let mut alike = connection.alike(query);
        loop {
            // One that was there may have been prepared before the tables were mended.
            let (statement, anew) = match alike.take() {
                Some(alike) => (alike, false),
                None => {
                    let prepared = connection.prepare_typed(&query.sql, &query.parameters);
                    (self.during(Step::Prepare, deadline, prepared).await?, true)
                }
            };
            match super::wire::check_columns(&query.view, statement.columns(), &query.columns) {
                Ok(()) => {
                    connection.keep(query, &statement);
                    return Ok(statement);
                }
                Err(drift) if anew => return Err(drift),
                Err(_) => connection.forget(),
            }
        }
    }

    /// Begins a transaction: from now until its end a dropped lease rolls it back by closing the connection.
    pub(super) async fn begin(&self, step: Step, deadline: Deadline) -> Result<(), Error> {
        self.during(step, deadline, self.client().batch_execute("BEGIN")).await?;
        self.busy.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the transaction: commits after success, rolls back after an error.
    pub(crate) async fn end<T>(
        &self,
        step: Step,
        deadline: Deadline,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        match outcome {
            Ok(value) => {
                self.during(step, deadline, self.client().batch_execute("COMMIT")).await?;
                self.busy.store(false, Ordering::Relaxed);
                Ok(value)
            }
            // The statement is still running, or nobody is there to roll back: the drop closes the connection.
            Err(error)
                if matches!(error.kind(), ErrorKind::Deadline { .. } | ErrorKind::Connection { .. }) =>
            {
                Err(error)
            }
            Err(error) => {
                if self.during(step, deadline, self.client().batch_execute("ROLLBACK")).await.is_ok() {
                    self.busy.store(false, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        if self.broken.load(Ordering::Relaxed) {
            drop(Object::take(object));
            return;
        }
        if !self.busy.load(Ordering::Relaxed) {
            return;
        }
        let cancel = object.cancel_token();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(Object::take(object));
            return;
        };
        let abandon = Abandon::new(&self.pool.abandoned);
        let tls = self.pool.tls.clone();
        runtime.spawn(async move {
            // The place in the pool is given up only afterwards, so that a slow server is not asked for more and more.
            let _ = timeout(CANCEL, async {
                // Answered once what was left has ended. A request that overtakes its statement cancels nothing: so again.
                let mut ended = pin!(object.simple_query(""));
                loop {
                    let _ = cancel.cancel_query(tls.clone()).await;
                    if timeout(CANCEL_AGAIN, ended.as_mut()).await.is_ok() {
                        break;
                    }
                }
            })
            .await;
            drop(Object::take(object));
            drop(abandon);
        });
    }
}
