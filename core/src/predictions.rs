//! What comes out: columns with H2O's names, and the rows that H2O would have refused.

use cenote_mojo::Domain;

/// One output column; as long as its [`Predictions`] has rows.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputColumn {
    /// H2O's name for it.
    pub name: String,
    /// Its values.
    pub values: OutputValues,
}

/// The values of an output column. What stands at a refused row says nothing: `NaN`, [`NO_LABEL`](Self::NO_LABEL), or -1.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum OutputValues {
    /// Numbers: probabilities 0..=1, or predictions in the response's unit.
    Number(Vec<f64>),
    /// Labels, or other text that repeats (leaf paths): codes into `domain`, [`NO_LABEL`](Self::NO_LABEL) for none.
    Label {
        /// One code a row.
        codes: Vec<u32>,
        /// The texts.
        domain: Domain,
    },
    /// Whole numbers: leaf node ids, -1 where H2O gives none.
    Integer(Vec<i32>),
}

impl OutputValues {
    /// The code of "no label".
    pub const NO_LABEL: u32 = u32::MAX;

    /// Writes what a refused row holds.
    pub(crate) fn blank(&mut self, row: usize) {
        match self {
            Self::Number(values) => values[row] = f64::NAN,
            Self::Label { codes, .. } => codes[row] = Self::NO_LABEL,
            Self::Integer(values) => values[row] = -1,
        }
    }
}

/// Why H2O refuses a row. The text begins with the Java exception's class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {message}")]
pub struct RowError {
    /// Zero-based row of the batch.
    pub row: usize,
    /// The class that h2o-genmodel throws, such as `java.lang.IllegalArgumentException`.
    pub class: &'static str,
    /// What was wrong, naming the column.
    pub message: String,
}

/// The outcome of scoring a batch: `[rows x columns]`, in input order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Predictions {
    /// How many rows were scored or refused.
    pub rows: usize,
    /// Output columns in H2O's order.
    pub columns: Vec<OutputColumn>,
    /// The refused rows, ascending.
    pub errors: Vec<RowError>,
}

impl Predictions {
    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&OutputColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}
