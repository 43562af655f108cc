//! A connection that listens: `LISTEN` on one channel, and what it hears handed over at once.
//!
//! In flow the payloads of `NOTIFY`; out flows a call for each. The invariant: what is notified after [`Listener::open`] has
//! returned is heard, until [`Listener::lost`] returns; what was notified before must be read where it is kept.

use std::future::poll_fn;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client};

use super::FeatureStore;
use super::ddl::identifier;
use super::error::{Error, ErrorKind, Step};

/// One connection, outside of the pool. Dropping it closes the connection.
pub(crate) struct Listener {
    client: Client,
    connection: JoinHandle<()>,
}

impl Listener {
    /// Connects and listens; `hear` is called with each payload, on the connection's own task.
    ///
    /// Dropping the future leaves nothing behind.
    pub(crate) async fn open(
        store: &FeatureStore,
        channel: &str,
        mut hear: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, Error> {
        let (client, mut connection) = store.pool().apart().await?;
        let connection = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(heard) = message {
                    hear(heard.payload());
                }
            }
        });
        let listener = Self { client, connection };
        listener.ask(store, &format!("LISTEN {}", identifier(channel))).await?;
        Ok(listener)
    }

    /// Waits until the connection is gone.
    pub(crate) async fn lost(&mut self) {
        // It cannot be asked again once it has ended, and nobody does.
        let _ = (&mut self.connection).await;
    }

    /// Whether the server still answers on the connection: a socket may be gone without a word.
    pub(crate) async fn answers(&self, store: &FeatureStore) -> bool {
        self.ask(store, "").await.is_ok()
    }

    async fn ask(&self, store: &FeatureStore, sql: &str) -> Result<(), Error> {
        let after = store.pool().deadlines().connect;
        match timeout(after, self.client.batch_execute(sql)).await {
            Ok(outcome) => outcome.map_err(|error| Error::database(Step::Listen, error)),
            Err(_) => Err(ErrorKind::Deadline { step: Step::Listen, after }.into()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
