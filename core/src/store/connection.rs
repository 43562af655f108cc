//! What the pool keeps: a connection with the statements that are prepared on it.
//!
//! In flow connections as deadpool-postgres makes them; out flow the same, each with its statements beside it. The invariant: a
//! statement is kept for the text, the parameters and the connection that it was prepared for, and its answer's types were compared
//! with those of the query that it is kept for; so a call that asks again compares an address, where a cache keyed by the text would
//! hash it and check the types anew. There are at most [`STATEMENTS`] on a connection.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deadpool::managed::{self, Metrics, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::Statement;
use tokio_postgres::types::Type as PgType;

use super::pool::Query;

/// How many statements a connection keeps prepared; at more, all are forgotten.
const STATEMENTS: usize = 256;

/// Makes the pool's connections.
pub(super) struct Manager(pub(super) deadpool_postgres::Manager);

/// A connection and what is prepared on it.
pub(super) struct Connection {
    client: ClientWrapper,
    prepared: Mutex<Vec<Prepared>>,
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
    type Type = Connection;
    type Error = tokio_postgres::Error;

    async fn create(&self) -> Result<Connection, tokio_postgres::Error> {
        // Who looks only whether a connection is free polls once, and begins nothing.
        tokio::task::yield_now().await;
        Ok(Connection { client: self.0.create().await?, prepared: Mutex::default() })
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        metrics: &Metrics,
    ) -> RecycleResult<tokio_postgres::Error> {
        self.0.recycle(&mut connection.client, metrics).await
    }

    fn detach(&self, connection: &mut Connection) {
        self.0.detach(&mut connection.client);
    }
}
