//! What can go wrong between a caller and its features: every error names the step, and a deadline its length.
//!
//! The invariant: no message holds a connection string, a password or a feature's value. So the server's own text is
//! passed on only for the classes of error whose text is made of identifiers alone.

use std::time::Duration;

use tokio_postgres::error::SqlState;

/// The part of a call that was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Waiting for a free connection of the pool.
    Wait,
    /// Making a connection: TCP, TLS, authentication.
    Connect,
    /// Testing a pooled connection before its use.
    Recycle,
    /// Preparing a statement.
    Prepare,
    /// Reading features.
    Read,
    /// Writing features.
    Write,
    /// Waiting for the advisory lock of a view.
    Lock,
    /// Reading the catalogue, or changing tables.
    Migrate,
    /// Reading or changing the model registry.
    Registry,
    /// Listening for notifications.
    Listen,
    /// Reading or writing the decision log.
    Decisions,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Step::Wait => "waiting for a free connection",
            Step::Connect => "connecting",
            Step::Recycle => "testing a pooled connection",
            Step::Prepare => "preparing a statement",
            Step::Read => "reading features",
            Step::Write => "writing features",
            Step::Lock => "waiting for the advisory lock",
            Step::Migrate => "migrating",
            Step::Registry => "using the model registry",
            Step::Listen => "listening for notifications",
            Step::Decisions => "using the decision log",
        })
    }
}

/// Why the feature store refused or failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<ErrorKind>);

/// The kinds of [`Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The settings cannot be used.
    #[error("the store's settings cannot be used: {what}")]
    Config {
        /// What is wrong with them.
        what: String,
    },
    /// A view's definition contradicts itself.
    #[error("view {view:?}: {what}")]
    View {
        /// The view.
        view: String,
        /// What is wrong with it.
        what: String,
    },
    /// The tables are not what the view says; each difference is one line.
    #[error("the tables of view {view:?} differ from it: {}", differences.join("; "))]
    SchemaDrift {
        /// The view.
        view: String,
        /// What the catalogue has in place of what the view says.
        differences: Vec<String>,
    },
    /// The model's inputs do not fit the view; each problem is one line.
    #[error("the model cannot be bound to view {view:?}: {}", problems.join("; "))]
    Bind {
        /// The view.
        view: String,
        /// One line a model input that does not fit.
        problems: Vec<String>,
    },
    /// A deadline passed.
    #[error("deadline of {} ms passed while {step}", after.as_millis())]
    Deadline {
        /// What was under way.
        step: Step,
        /// How long it was given.
        after: Duration,
    },
    /// The caller gave the call up.
    #[error("the call was cancelled")]
    Cancelled,
    /// More calls are under way than the store allows.
    #[error("more than {limit} calls are under way")]
    Overloaded {
        /// How many there may be.
        limit: usize,
    },
    /// The server could not be reached several times; it is left alone for a while.
    #[error("the server could not be reached; it is tried again in {} ms", retry_in.as_millis())]
    CircuitOpen {
        /// When to come again.
        retry_in: Duration,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("connection lost while {step}")]
    Connection {
        /// What was under way.
        step: Step,
        /// The cause, where there is one without secrets.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The server refused.
    #[error("the server refused while {step}: SQLSTATE {sqlstate}{detail}")]
    Database {
        /// What was under way.
        step: Step,
        /// The five letters of the SQL standard.
        sqlstate: String,
        /// The server's text where it holds only identifiers, else the names of table and column.
        detail: String,
    },
    /// What the server sent is not what the statement promised.
    #[error("the server's answer cannot be understood while {step}: {what}")]
    Protocol {
        /// What was under way.
        step: Step,
        /// What was wrong.
        what: &'static str,
    },
    /// A key does not fit the view's key columns.
    #[error("key column {column:?}: expected {expected}, found {found}")]
    Key {
        /// The key column, or the view where the number of values is wrong.
        column: String,
        /// What the view takes there.
        expected: String,
        /// The kind of value that came; never the value.
        found: String,
    },
    /// A cell of a batch to be written does not fit its column. Nothing of the batch was written.
    #[error("row {row}, column {column:?}: expected {expected}, found {found}")]
    Cell {
        /// Zero-based row of the batch.
        row: usize,
        /// The column.
        column: String,
        /// What the view takes there.
        expected: String,
        /// The kind of value that came; never the value.
        found: String,
    },
    /// A batch to be written has not the view's columns.
    #[error(
        "view {view:?} has columns {missing:?} that the batch lacks, and the batch has {unknown:?} besides"
    )]
    Columns {
        /// The view.
        view: String,
        /// What the view has and the batch lacks.
        missing: Vec<String>,
        /// What the batch has and the view lacks.
        unknown: Vec<String>,
    },
    /// A key has no row, or a stale one, and the plan refuses such keys.
    #[error("key {index} of view {view:?} is {status}")]
    Refused {
        /// The view.
        view: String,
        /// Zero-based place of the key in the call.
        index: usize,
        /// `missing` or `stale`.
        status: &'static str,
    },
    /// A model's reference cannot be read.
    #[error("{reference:?} names no model: expected name, name:version, name@alias or name#sha256")]
    ModelReference {
        /// What was given.
        reference: String,
    },
    /// The registry has no such model.
    #[error("the registry has no model {reference:?}")]
    NoSuchModel {
        /// What was asked for.
        reference: String,
    },
    /// The bytes of a model are not those that were registered.
    #[error("the bytes of model {name:?}, version {version}, have another digest than was registered")]
    Digest {
        /// The model.
        name: String,
        /// Its version.
        version: i32,
    },
    /// The log has no such decision.
    #[error("the decision log has no decision {id}")]
    NoSuchDecision {
        /// What was asked for.
        id: String,
    },
    /// A model's signature is not there, or not that of a trusted key.
    #[error("model {name:?}, version {version}, {what}")]
    Signature {
        /// The model.
        name: String,
        /// Its version.
        version: i32,
        /// What is wrong with the signature.
        what: &'static str,
    },
    /// The same bytes are registered with something else beside them, and a version never changes.
    #[error("the same model is version {version} of {name:?} already, with other {what}")]
    Registered {
        /// The model.
        name: String,
        /// The version that has these bytes.
        version: i32,
        /// What differs: metrics, tags, golden rows or the signature.
        what: &'static str,
    },
    /// A version is archived and an alias would point at it, or the other way round.
    #[error("version {version} of model {name:?} {what}")]
    Archived {
        /// The model.
        name: String,
        /// The version.
        version: i32,
        /// What stands in the way.
        what: &'static str,
    },
    /// A model gives another answer to one of its golden rows than when it was registered.
    #[error(
        "model {name:?}, version {version}, answers its golden row {row} otherwise than when it was registered"
    )]
    SelfTest {
        /// The model.
        name: String,
        /// Its version.
        version: i32,
        /// Zero-based place of the row.
        row: usize,
    },
    /// Versions that would answer for one alias do not answer alike.
    #[error("model {name:?}: version {version} cannot stand in for version {primary}: {what}")]
    Route {
        /// The model.
        name: String,
        /// The version that most keys get.
        primary: i32,
        /// The one that differs from it.
        version: i32,
        /// In what it differs.
        what: &'static str,
    },
    /// A blocking call was made on a thread that runs an async runtime.
    #[error("a blocking call on a thread of an async runtime would stall it: use the async store")]
    InsideRuntime,
    /// A thread or runtime could not be started.
    #[error("the runtime of the blocking store could not be started")]
    Runtime(#[source] std::io::Error),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The model refused the row or the batch.
    #[error(transparent)]
    Model(#[from] crate::Error),
}

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// Whether the same read may succeed at once on another connection: the connection broke, or its backend was ended.
    pub(crate) fn is_transient(&self) -> bool {
        match self.kind() {
            ErrorKind::Connection { .. } => true,
            ErrorKind::Database { sqlstate, .. } => {
                sqlstate.starts_with("08") || sqlstate == SqlState::ADMIN_SHUTDOWN.code()
            }
            _ => false,
        }
    }

    /// The same error for another caller who waited for the same answer.
    #[cfg(feature = "cache")]
    pub(crate) fn shared(&self) -> Self {
        match self.kind() {
            ErrorKind::Deadline { step, after } => ErrorKind::Deadline { step: *step, after: *after },
            ErrorKind::Overloaded { limit } => ErrorKind::Overloaded { limit: *limit },
            ErrorKind::CircuitOpen { retry_in } => ErrorKind::CircuitOpen { retry_in: *retry_in },
            ErrorKind::Database { step, sqlstate, detail } => {
                ErrorKind::Database { step: *step, sqlstate: sqlstate.clone(), detail: detail.clone() }
            }
            ErrorKind::SchemaDrift { view, differences } => {
                ErrorKind::SchemaDrift { view: view.clone(), differences: differences.clone() }
            }
            ErrorKind::Protocol { step, what } => ErrorKind::Protocol { step: *step, what },
            ErrorKind::Closed => ErrorKind::Closed,
            _ => ErrorKind::Connection { step: Step::Read, source: None },
        }
        .into()
    }

    pub(crate) fn config(what: impl Into<String>) -> Self {
        ErrorKind::Config { what: what.into() }.into()
    }

    pub(crate) fn protocol(step: Step, what: &'static str) -> Self {
        ErrorKind::Protocol { step, what }.into()
    }

    /// What tokio-postgres reports, without what may hold a value or a secret.
    pub(crate) fn database(step: Step, error: tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            let mut detail = String::new();
            if names_only(db.code()) {
                detail = format!(" ({})", db.message());
            } else {
                for name in [db.table(), db.column(), db.constraint()].into_iter().flatten() {
                    detail.push_str(&format!(" {name:?}"));
                }
            }
            return ErrorKind::Database { step, sqlstate: db.code().code().to_owned(), detail }.into();
        }
        if error.is_closed() {
            return ErrorKind::Connection { step, source: None }.into();
        }
        let source = std::error::Error::source(&error);
        match source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
            Some(io) => {
                let source = Some(std::io::Error::new(io.kind(), io.kind().to_string()));
                ErrorKind::Connection { step, source }.into()
            }
            None if step == Step::Connect => {
                // Authentication, TLS and settings: their texts come from the client library and hold no value.
                let source = Some(std::io::Error::other(error.to_string()));
                ErrorKind::Connection { step, source }.into()
            }
            None => Self::protocol(step, "not a message of the protocol, or a value of another type"),
        }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        ErrorKind::Model(error).into()
    }
}

/// Whether the server's text for this class of error is made of identifiers alone: connection, feature not supported,
/// authentication, wrong catalogue or schema name, syntax or access rule, resources, limits, operator intervention.
fn names_only(state: &SqlState) -> bool {
    ["08", "0A", "28", "3D", "3F", "42", "53", "55", "57"].contains(&&state.code()[..2])
}
