//! One row of named cells.

use std::borrow::Cow;

/// A cell of a [`Row`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Cell<'a> {
    /// No value: the same as leaving the name out.
    Missing,
    /// A number; for a categorical column H2O refuses it unless it is `NaN`.
    Number(f64),
    /// An integer; for a categorical column the level of that text.
    Integer(i64),
    /// 1 or 0; for a categorical column the level `true` or `false` in any of H2O's spellings.
    Bool(bool),
    /// Text: a level of a categorical column, or a number as `Double.parseDouble` reads it.
    Text(&'a str),
}

/// One row by name, borrowed from the caller.
///
/// A name given twice keeps the later cell; names that the model does not know are ignored.
#[derive(Debug, Clone, Default)]
pub struct Row<'a> {
    cells: Vec<(Cow<'a, str>, Cell<'a>)>,
}

impl<'a> Row<'a> {
    /// A row without cells.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a cell and returns the row.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'a, str>>, cell: impl Into<Cell<'a>>) -> Self {
        self.push(name, cell);
        self
    }

    /// Adds a cell.
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, cell: impl Into<Cell<'a>>) {
        self.cells.push((name.into(), cell.into()));
    }

    /// The cells in the order they were added.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = (&str, Cell<'a>)> {
        self.cells.iter().map(|(name, cell)| (name.as_ref(), *cell))
    }

    /// The last cell called `name`, or `None` if there is none.
    pub fn get(&self, name: &str) -> Option<Cell<'a>> {
        self.cells.iter().rev().find(|(other, _)| other == name).map(|(_, cell)| *cell)
    }
}

impl From<f64> for Cell<'_> {
    fn from(value: f64) -> Self {
        Cell::Number(value)
    }
}

impl From<i64> for Cell<'_> {
    fn from(value: i64) -> Self {
        Cell::Integer(value)
    }
}

impl From<bool> for Cell<'_> {
    fn from(value: bool) -> Self {
        Cell::Bool(value)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(value: &'a str) -> Self {
        Cell::Text(value)
    }
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Missing, Into::into)
    }
}
