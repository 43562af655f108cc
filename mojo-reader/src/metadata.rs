//! What H2O says of the training: `experimental/modelDetails.json`.
//!
//! In flow the JSON that H2O's REST API gives for a model; out flow metrics, variable importances, parameters and tables as
//! plain data, with the JSON itself beside them. No score needs any of it, except that contributions of a random forest
//! need [`Metadata::used_variables`]. What is absent, or of another shape than expected, is `None` or empty here and can
//! still be looked up in [`Metadata::json`]. Mirrors `ModelAttributes`, `ModelJsonReader` and `VariableImportances`.

use serde_json::{Map, Value};

use crate::archive::Archive;
use crate::error::Error;

const ENTRY: &str = "experimental/modelDetails.json";

/// What H2O says of a model's training.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The key of the model in the cluster that trained it.
    pub model_id: Option<String>,
    /// The threshold of the second class, as in the manifest.
    pub default_threshold: Option<f64>,
    /// Metrics on the training data.
    pub training_metrics: Option<Metrics>,
    /// Metrics on the validation frame, if there was one.
    pub validation_metrics: Option<Metrics>,
    /// Metrics on the folds held out, if there was cross-validation.
    pub cross_validation_metrics: Option<Metrics>,
    /// Importances of variables, greatest first, where the algorithm has them.
    pub variable_importances: Option<Vec<VariableImportance>>,
    /// The parameters that the model was built with.
    pub parameters: Vec<Parameter>,
    /// The other tables of the output, such as `model_summary`, `scoring_history` and `coefficients_table`, by key.
    pub tables: Vec<(String, Table)>,
    /// How to build the model again: cluster, nodes, frames.
    pub reproducibility: Vec<Table>,
    /// The whole document.
    pub json: Value,
}

/// Metrics of a model on one set of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Every metric that is one number, by H2O's name (`AUC`, `logloss`, `RMSE`, `nobs`, ...), by name.
    pub values: Vec<(String, f64)>,
    /// The confusion matrix of a classifier, at the threshold of maximal F1 if there are two classes.
    pub confusion_matrix: Option<Table>,
    /// The metrics that are tables, such as `thresholds_and_metric_scores` and `gains_lift_table`, by key.
    pub tables: Vec<(String, Table)>,
}

/// How much one variable weighed.
#[derive(Debug, Clone, PartialEq)]
pub struct VariableImportance {
    /// The variable; a level of a column where the algorithm sees one column a level.
    pub variable: String,
    /// In the algorithm's own unit.
    pub relative: f64,
    /// Relative to the greatest, 0..=1.
    pub scaled: f64,
    /// Share of the whole, 0..=1.
    pub percentage: f64,
}

/// A parameter of training.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The name, such as `max_depth`.
    pub name: String,
    /// What the model was built with.
    pub actual: Value,
    /// What it is when not given.
    pub default: Value,
    /// What the user gave, if the release wrote it.
    pub input: Option<Value>,
}

/// A table (H2O's `TwoDimTable`).
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The heading.
    pub name: String,
    /// More of a heading.
    pub description: String,
    /// The columns, all of one length.
    pub columns: Vec<TableColumn>,
}

/// A column of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub struct TableColumn {
    /// The column's key, such as `relative_importance`; may be empty.
    pub name: String,
    /// The column's heading, such as `Relative Importance`.
    pub heading: String,
    /// The cells.
    pub cells: Vec<Cell>,
}

/// A cell of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// A number; what H2O writes as the text `NaN` or `Infinity` is one.
    Number(f64),
    /// Text.
    Text(String),
}

impl Metadata {
    pub(crate) fn read(archive: &mut Archive<'_>) -> Result<Option<Self>, Error> {
        let mut bytes = Vec::new();
        if !archive.read(ENTRY, &mut bytes)? {
            return Ok(None);
        }
        let limit = archive.limits().metadata_bytes;
        if bytes.len() as u64 > limit {
            return Err(Error::limit("bytes of the metadata", limit).in_entry(ENTRY));
        }
        let json = serde_json::from_slice(&bytes).map_err(|e| {
            Error::malformed(format!("broken JSON in column {}", e.column()))
                .in_entry(ENTRY)
                .at_line(e.line())
        })?;
        Ok(Some(Self::from_json(json)))
    }

    fn from_json(json: Value) -> Self {
        let output = &json["output"];
        let metrics = |key: &str| output[key].as_object().map(Metrics::from_json);
        Metadata {
            model_id: json["model_id"]["name"].as_str().map(str::to_owned),
            default_threshold: number(&output["default_threshold"]),
            training_metrics: metrics("training_metrics"),
            validation_metrics: metrics("validation_metrics"),
            cross_validation_metrics: metrics("cross_validation_metrics"),
            variable_importances: Table::from_json(&output["variable_importances"])
                .as_ref()
                .and_then(importances),
            parameters: array(&json["parameters"]).iter().filter_map(Parameter::from_json).collect(),
            tables: output
                .as_object()
                .map(tables)
                .unwrap_or_default()
                .into_iter()
                .filter(|(key, _)| key != "variable_importances")
                .collect(),
            reproducibility: array(&output["reproducibility_information_table"])
                .iter()
                .filter_map(Table::from_json)
                .collect(),
            json,
        }
    }

    /// How many variables have an importance other than zero, which H2O's contributions of a random forest divide by;
    /// `None` if the file has no importances. Mirrors `VariableImportances.numberOfUsedVariables`.
    pub fn used_variables(&self) -> Option<usize> {
        let importances = self.variable_importances.as_ref()?;
        Some(importances.iter().filter(|importance| importance.relative != 0.0).count())
    }

    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

impl Metrics {
    fn from_json(object: &Map<String, Value>) -> Self {
        // Times and checksums are numbers too, but measure nothing.
        let measures = |key: &str| !key.ends_with("checksum") && key != "scoring_time";
        Metrics {
            values: object
                .iter()
                .filter(|(key, _)| measures(key))
                .filter_map(|(key, value)| Some((key.clone(), number(value)?)))
                .collect(),
            confusion_matrix: object.get("cm").and_then(|cm| Table::from_json(&cm["table"])),
            tables: tables(object),
        }
    }

    /// The metric of that name, such as `AUC`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(key, _)| key == name).map(|&(_, value)| value)
    }
}

impl Parameter {
    fn from_json(json: &Value) -> Option<Self> {
        Some(Parameter {
            name: json["name"].as_str()?.to_owned(),
            actual: json["actual_value"].clone(),
            default: json["default_value"].clone(),
            input: json.get("input_value").cloned(),
        })
    }
}

impl Table {
    /// The table at `json`, or `None` if it is none: its data stand by column.
    fn from_json(json: &Value) -> Option<Self> {
        let object = json.as_object()?;
        let rows = usize::try_from(object.get("rowcount")?.as_u64()?).ok()?;
        let data = object.get("data")?.as_array()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let columns = object.get("columns")?.as_array()?.iter().zip(data).map(|(spec, cells)| {
            let cells = cells.as_array().filter(|cells| cells.len() >= rows)?;
            Some(TableColumn {
                name: text(&spec["name"]),
                heading: text(&spec["description"]),
                cells: cells[..rows]
                    .iter()
                    .map(|cell| Cell::from_json(cell, spec["type"] == "string"))
                    .collect(),
            })
        });
        Some(Table {
            name: text(&json["name"]),
            description: text(&json["description"]),
            columns: columns.collect::<Option<_>>()?,
        })
    }

    /// The column of that key or heading.
    pub fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name || column.heading == name)
    }
}

impl Cell {
    fn from_json(json: &Value, is_text: bool) -> Self {
        match (number(json), json) {
            (Some(number), _) if !is_text => Cell::Number(number),
            (_, Value::String(text)) => Cell::Text(text.clone()),
            (Some(number), _) => Cell::Number(number),
            _ => Cell::Empty,
        }
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        if let Cell::Number(number) = self { Some(*number) } else { None }
    }
}

/// A number, or one of the three words that H2O writes for what JSON has no number for.
fn number(json: &Value) -> Option<f64> {
    match json {
        Value::String(word) => match word.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        other => other.as_f64(),
    }
}

fn array(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn tables(object: &Map<String, Value>) -> Vec<(String, Table)> {
    object.iter().filter_map(|(key, value)| Some((key.clone(), Table::from_json(value)?))).collect()
}

/// Mirrors `VariableImportances.extractFromJson`, which knows the columns by their headings.
fn importances(table: &Table) -> Option<Vec<VariableImportance>> {
    let variables = table.column("Variable")?;
    let numbers = |heading| table.column(heading).map(|column| column.cells.as_slice());
    let relative = numbers("Relative Importance")?;
    let cell =
        |cells: Option<&[Cell]>, row: usize| cells.and_then(|cells| cells[row].number()).unwrap_or(f64::NAN);
    let rows = variables.cells.iter().enumerate().map(|(row, variable)| VariableImportance {
        variable: match variable {
            Cell::Text(text) => text.clone(),
            Cell::Number(number) => number.to_string(),
            Cell::Empty => String::new(),
        },
        relative: relative[row].number().unwrap_or(f64::NAN),
        scaled: cell(numbers("Scaled Importance"), row),
        percentage: cell(numbers("Percentage"), row),
    });
    Some(rows.collect())
}
