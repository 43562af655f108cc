//! The one error of the crate: the file is wrong, the caller is wrong, a limit was hit, or it is not supported.

/// Why a model could not be opened or a batch not scored.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<ErrorKind>);

/// The kinds of [`Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is not a model that this release can read.
    #[error(transparent)]
    Open(#[from] cenote_mojo::Error),
    /// A column's length is not the batch's.
    #[error("column {column:?} has {found} cells, the batch has {expected} rows")]
    ColumnLength {
        /// The column.
        column: String,
        /// Rows of the batch.
        expected: usize,
        /// Cells of the column.
        found: usize,
    },
    /// A matrix has more or fewer columns than names were given for.
    #[cfg(feature = "ndarray")]
    #[error("{names} names for a matrix of {columns} columns")]
    ColumnCount {
        /// How many names were given.
        names: usize,
        /// How many columns the matrix has.
        columns: usize,
    },
    /// Two columns of a batch have one name.
    #[error("column {column:?} stands twice in the batch")]
    DuplicateColumn {
        /// The column.
        column: String,
    },
    /// The batch lacks columns that the model reads.
    #[error("the model needs columns {missing:?}; the batch has {found:?}")]
    MissingColumns {
        /// What the model needs and the batch lacks.
        missing: Vec<String>,
        /// What came.
        found: Vec<String>,
    },
    /// A cell is refused under the strict policy.
    #[error("row {row}, column {column:?}: expected {expected}, found {found}")]
    Cell {
        /// Zero-based row.
        row: usize,
        /// The column.
        column: String,
        /// What the model takes there.
        expected: &'static str,
        /// The kind of value that came; never the value.
        found: &'static str,
    },
    /// The single row given is one that H2O refuses.
    #[error(transparent)]
    Row(#[from] crate::predictions::RowError),
    /// The call does not fit the model.
    #[error("{operation} is not supported by {algorithm} models")]
    Unsupported {
        /// The call.
        operation: &'static str,
        /// The model's algorithm.
        algorithm: String,
    },
}

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    pub(crate) fn column_length(column: &str, expected: usize, found: usize) -> Self {
        ErrorKind::ColumnLength { column: column.to_owned(), expected, found }.into()
    }

    #[cfg(feature = "ndarray")]
    pub(crate) fn column_count(names: usize, columns: usize) -> Self {
        ErrorKind::ColumnCount { names, columns }.into()
    }

    pub(crate) fn duplicate_column(column: &str) -> Self {
        ErrorKind::DuplicateColumn { column: column.to_owned() }.into()
    }
}

impl From<cenote_mojo::Error> for Error {
    fn from(error: cenote_mojo::Error) -> Self {
        ErrorKind::Open(error).into()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(kind))
    }
}
