//! Golden rows: rows of a model with its own answers, stored beside it, so that wherever it is loaded it can prove itself.
//!
//! In flow rows at registration; out flows a text that is stored with the version. The invariant: a model that is put to work by
//! [`watch`](super::Registry::watch) gave, on this machine, by the engine for batches and the one for rows, every answer that it
//! gave when it was registered, bit for bit.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::input::{Batch, Cell, Row, Values};
use crate::model::{MissingColumns, Model, PredictOptions};
use crate::predictions::{OutputValues, Predictions};
use crate::store::Error;

/// How many rows a version may have, and how long their text may be.
const LIMIT: (usize, usize) = (1000, 4 << 20);

/// Rows and the answers to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Golden {
    rows: Vec<Map<String, Value>>,
    answers: Vec<Answer>,
}

/// What a model says of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    /// The label's place in the model's labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<u32>,
    /// The bits of the numbers, in hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<String>,
    /// Why the row is refused, in place of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

impl Golden {
    /// Asks `model` for its answers to `rows`.
    pub(super) fn ask(model: &Model, rows: Vec<Map<String, Value>>) -> Result<Self, Error> {
        if rows.len() > LIMIT.0 {
            return Err(Error::config(format!("a model has at most {} golden rows", LIMIT.0)));
        }
        let answers = answers(model, &rows)?;
        match answers.iter().position(|answer| *answer == Answer::torn()) {
            None => Ok(Self { rows, answers }),
            Some(row) => {
                Err(Error::config(format!("golden row {row} has two answers, alone and in a batch")))
            }
        }
    }

    pub(super) fn to_text(&self) -> Result<String, Error> {
        match serde_json::to_string(self) {
            Ok(text) if text.len() <= LIMIT.1 => Ok(text),
            _ => Err(Error::config("the golden rows of a model are longer than 4 MiB")),
        }
    }

    pub(super) fn from_text(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|_| Error::config("the golden rows of a model cannot be read"))
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The first row to which `model` gives another answer now.
    pub(super) fn differs(&self, model: &Model) -> Result<Option<usize>, Error> {
        let now = answers(model, &self.rows)?;
        if now.len() != self.answers.len() {
            return Ok(Some(now.len().min(self.answers.len())));
        }
        Ok(now.iter().zip(&self.answers).position(|(now, then)| now != then))
    }
}

/// The cells of a row, by name.
pub(super) fn cells(row: &Map<String, Value>) -> Result<Vec<(&str, Cell<'_>)>, Error> {
    fn cell<'r>((name, value): (&'r String, &'r Value)) -> Result<(&'r str, Cell<'r>), Error> {
        let cell = match value {
            Value::Null => Cell::Missing,
            Value::Bool(value) => Cell::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Cell::Integer(whole),
                (None, Some(float)) => Cell::Number(float),
                (None, None) => return Err(Error::config("a golden row has a number that is out of range")),
            },
            Value::String(text) => Cell::Text(text),
            Value::Array(_) | Value::Object(_) => {
                return Err(Error::config("a golden row has a list or an object for a cell"));
            }
        };
        Ok((name, cell))
    }
    row.iter().map(cell).collect()
}

fn answers(model: &Model, rows: &[Map<String, Value>]) -> Result<Vec<Answer>, Error> {
    let cells = rows.iter().map(cells).collect::<Result<Vec<_>, _>>()?;
    let mut batch = Batch::new(rows.len());
    for name in model.input_names() {
        let cell = |row: &Vec<(&str, _)>| row.iter().find(|(other, _)| *other == name).map(|(_, cell)| *cell);
        let column = cells.iter().map(|row| cell(row).unwrap_or(Cell::Missing)).collect();
        batch.push(name, Values::Cells(column))?;
    }
    let options = PredictOptions { missing_columns: MissingColumns::AsMissing, ..PredictOptions::default() };
    let many = model.predict_with(&batch, &options)?;
    let mut answers = Vec::with_capacity(rows.len());
    for (place, cells) in cells.iter().enumerate() {
        let mut row = Row::new();
        cells.iter().for_each(|(name, cell)| row.push(*name, *cell));
        let answer = answer(&many, place);
        let alone = match model.predict_row(&row) {
            Ok(one) => self::answer(&one, 0),
            Err(error) => Answer { label: None, numbers: Vec::new(), refused: Some(error.to_string()) },
        };
        // Both engines serve, so both must agree.
        answers.push(if alone == answer { answer } else { Answer::torn() });
    }
    Ok(answers)
}

impl Answer {
    /// What stands for a row of which the engine for batches says something else than the one for rows: no
    /// golden row is stored with it.
    fn torn() -> Self {
        Self { label: None, numbers: Vec::new(), refused: None }
    }
}

fn answer(predictions: &Predictions, row: usize) -> Answer {
    let refused = predictions.errors.iter().find(|error| error.row == row).map(ToString::to_string);
    let mut answer = Answer { label: None, numbers: Vec::new(), refused };
    if answer.refused.is_some() {
        return answer;
    }
    for column in &predictions.columns {
        match &column.values {
            OutputValues::Label { codes, .. } => answer.label = Some(codes[row]),
            OutputValues::Number(values) => answer.numbers.push(format!("{:016x}", values[row].to_bits())),
            OutputValues::Integer(_) => {}
        }
    }
    answer
}
