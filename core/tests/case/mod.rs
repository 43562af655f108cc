//! One golden case: its files read, its model scored in every way, all cells compared.

use std::io::Read;
use std::path::Path;

use cenote::input::{Text, Values};
use cenote::reference;
use cenote::{
    Batch, Cell, ErrorKind, LeafAssignment, MissingColumns, Model, OutputColumn, OutputValues,
    PredictOptions, Predictions, Row,
};

/// What came of a case.
pub(crate) enum Outcome {
    /// The algorithm is not scored yet.
    Skipped(String),
    /// It was scored and compared.
    Ran(Report),
}

/// What was compared, and what differed.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: usize,
    pub(crate) cells: usize,
    pub(crate) worst_ulp: u64,
    pub(crate) failures: Vec<String>,
}

/// A CSV file: names, and rows of cells.
struct Table {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Scores the case in that folder.
pub(crate) fn run(folder: &Path) -> Outcome {
    let meta: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("meta.json")).expect("meta.json")).expect("JSON");
    let algorithm = meta["mojo_algo"].as_str().or(meta["algo"].as_str()).unwrap_or("unknown").to_owned();
    let mut report = Report::default();
    let model = match Model::open(folder.join("model.zip")) {
        Ok(model) => model,
        Err(error) => {
            let supported = matches!(algorithm.as_str(), "gbm" | "drf" | "glm");
            if let ErrorKind::Open(open) = error.kind()
                && matches!(open.kind(), cenote::mojo::ErrorKind::Unsupported(_))
                && !supported
            {
                return Outcome::Skipped(algorithm);
            }
            report.failures.push(format!("cannot open: {error}"));
            return Outcome::Ran(report);
        }
    };
    // Units in the last place that a number may be off: none is needed, this is what is promised.
    let tolerance = if algorithm == "glm" { 4 } else { 2 };
    let mut check = Check { model: &model, tolerance, report: &mut report };
    let input = table(folder, "input.csv").expect("input.csv");
    check.predictions(&input, &table(folder, "expected.csv").expect("expected.csv"));
    check.single_rows(&input);
    check.reference(&input);
    if let Some(expected) = table(folder, "expected_leaves.csv") {
        check.leaves(&input, &expected);
    }
    if let Some(expected) = table(folder, "expected_staged.csv") {
        check.staged(&input, &expected);
    }
    if let Some(input) = table(folder, "perf_input.csv") {
        check.predictions(&input, &table(folder, "perf_expected.csv").expect("perf_expected.csv"));
    }
    Outcome::Ran(report)
}

struct Check<'c> {
    model: &'c Model,
    tolerance: u64,
    report: &'c mut Report,
}

impl Check<'_> {
    fn predictions(&mut self, input: &Table, expected: &Table) {
        let found = match self.model.predict_with(&batch(&columns(input), input.rows.len()), &options()) {
            Ok(found) => found,
            Err(error) => return self.fail(format!("predict: {error}")),
        };
        self.report.rows += found.rows;
        if found.rows != expected.rows.len() || found.columns.len() + 1 != expected.names.len() {
            return self.fail(format!("expected {:?}, found {}", expected.names, names(&found)));
        }
        let mut errors = found.errors.iter().peekable();
        for (row, cells) in expected.rows.iter().enumerate() {
            let error = cells.last().map_or("", String::as_str);
            let own = errors.next_if(|error| error.row == row).map_or("", |error| error.class);
            if error != own {
                self.fail(format!("row {}: expected error {error:?}, found {own:?}", row + 1));
            }
            if error.is_empty() {
                for (column, cell) in found.columns.iter().zip(cells) {
                    self.cell("predict", row, column, row, cell);
                }
            }
        }
    }

    /// A row by itself has the bits that it has in a batch.
    fn single_rows(&mut self, input: &Table) {
        let options = options();
        let whole = self.model.predict_with(&batch(&columns(input), input.rows.len()), &options);
        let Ok(whole) = whole else { return };
        for (at, cells) in input.rows.iter().enumerate().step_by(input.rows.len().div_ceil(200).max(1)) {
            let mut row = Row::new();
            for (name, cell) in input.names.iter().zip(cells) {
                row.push(name.as_str(), present(cell).map_or(Cell::Missing, Cell::Text));
            }
            let refused = whole.errors.iter().find(|error| error.row == at);
            match (self.model.predict_row(&row), refused) {
                (Ok(one), None) => {
                    let same = one.columns.iter().zip(&whole.columns).all(|(one, whole)| {
                        same_bits(&one.values, 0, &whole.values, at) && one.name == whole.name
                    });
                    if !same {
                        self.fail(format!("row {}: not the same by itself", at + 1));
                    }
                }
                (Err(error), Some(refused)) => {
                    if !matches!(error.kind(), ErrorKind::Row(own) if own.class == refused.class) {
                        self.fail(format!("row {}: by itself {error}, in a batch {refused}", at + 1));
                    }
                }
                (Ok(_), Some(refused)) => {
                    self.fail(format!("row {}: only a batch refuses: {refused}", at + 1))
                }
                (Err(error), None) => self.fail(format!("row {}: refused by itself: {error}", at + 1)),
            }
        }
    }

    /// The reference scorer has the bits of the compiled one, for predictions, leaves and stages.
    fn reference(&mut self, input: &Table) {
        let model = self.model;
        let (columns, options) = (columns(input), options());
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let bound = match model.bind(&names, &options) {
            Ok(bound) => bound,
            Err(error) => return self.fail(format!("bind: {error}")),
        };
        let batch = batch(&columns, input.rows.len());
        let whole = model.predict_with(&batch, &options).expect("predictions");
        let paths = model.leaf_assignments(&batch, LeafAssignment::Path, &options).ok();
        let ids = model.leaf_assignments(&batch, LeafAssignment::NodeId, &options).ok();
        let staged = model.staged_probabilities(&batch, &options).ok();
        let mut features = vec![f64::NAN; model.n_features()];
        // It is slow: its stages take the square of the trees.
        let sample = (50_000 / model.n_trees().max(1)).clamp(4, 100);
        for (at, cells) in input.rows.iter().enumerate().step_by(input.rows.len().div_ceil(sample).max(1)) {
            let cells = cells.iter().map(|cell| present(cell).map_or(Cell::Missing, Cell::Text));
            let offset = bound.encode(cells, &mut features).expect("text encodes");
            match reference::score(model.artifact(), &features, offset) {
                Ok(answer) => {
                    let label =
                        answer.label.map(|label| model.labels().expect("labels")[label as usize].clone());
                    let text = label.into_iter().chain(answer.numbers.iter().map(f64::to_string));
                    for (column, expected) in whole.columns.iter().zip(text) {
                        self.cell("reference", at, column, at, &expected);
                    }
                }
                Err(error) => {
                    if !whole.errors.iter().any(|own| own.row == at && own.class == error.class) {
                        self.fail(format!("row {}: only the reference refuses: {error}", at + 1));
                    }
                    continue;
                }
            }
            if let Some(staged) = &staged {
                let stages = reference::staged(model.artifact(), &features).expect("stages");
                for (column, expected) in staged.columns.iter().zip(stages) {
                    self.cell("reference stage", at, column, at, &expected.to_string());
                }
            }
            if let Some(paths) = &paths {
                let leaves = reference::leaves(model.artifact(), &features);
                for (tree, (path, id)) in leaves.iter().enumerate() {
                    let path = path.as_deref().unwrap_or("null");
                    self.cell("reference path", at, &paths.columns[tree], at, path);
                    if let Some(ids) = &ids {
                        self.cell("reference id", at, &ids.columns[tree], at, &id.to_string());
                    }
                }
            }
        }
    }

    fn leaves(&mut self, input: &Table, expected: &Table) {
        let columns = columns(input);
        let batch = batch(&columns, input.rows.len());
        let trees = expected.names.iter().filter(|name| name.starts_with("path_")).count();
        let kinds = [("leaf path", LeafAssignment::Path, 1), ("leaf id", LeafAssignment::NodeId, 1 + trees)];
        for (what, kind, first) in kinds {
            if expected.names.len() <= first {
                continue;
            }
            match self.model.leaf_assignments(&batch, kind, &options()) {
                Ok(found) => self.extra(what, &found, expected, first),
                Err(error) => self.fail(format!("{what}: {error}")),
            }
        }
    }

    fn staged(&mut self, input: &Table, expected: &Table) {
        match self.model.staged_probabilities(&batch(&columns(input), input.rows.len()), &options()) {
            Ok(found) => self.extra("staged", &found, expected, 1),
            Err(error) => self.fail(format!("staged: {error}")),
        }
    }

    /// Compares with a file whose first column is the one-based row.
    fn extra(&mut self, what: &str, found: &Predictions, expected: &Table, first: usize) {
        for cells in &expected.rows {
            let row: usize = cells[0].parse().expect("a row number");
            for (column, cell) in found.columns.iter().zip(&cells[first..]) {
                self.cell(what, row - 1, column, row - 1, cell);
            }
        }
    }

    fn cell(&mut self, what: &str, row: usize, column: &OutputColumn, at: usize, expected: &str) {
        self.report.cells += 1;
        let found = match &column.values {
            OutputValues::Number(values) => {
                let distance = ulps(values[at], expected.parse().expect("a number"));
                self.report.worst_ulp = self.report.worst_ulp.max(distance);
                if distance <= self.tolerance {
                    return;
                }
                values[at].to_string()
            }
            OutputValues::Label { codes, domain } => {
                let text = domain.get(codes[at] as usize).map_or("null", String::as_str);
                if text == expected {
                    return;
                }
                text.to_owned()
            }
            OutputValues::Integer(values) => {
                if values[at].to_string() == expected {
                    return;
                }
                values[at].to_string()
            }
            _ => "unknown values".to_owned(),
        };
        self.fail(format!("{what}, row {}, {}: expected {expected}, found {found}", row + 1, column.name));
    }

    fn fail(&mut self, message: String) {
        self.report.failures.push(message);
    }
}

/// A column that the case leaves out is one whose cells are missing.
fn options() -> PredictOptions {
    let mut options = PredictOptions::default();
    options.missing_columns = MissingColumns::AsMissing;
    options
}

fn present(cell: &str) -> Option<&str> {
    (!cell.is_empty() && cell != "NA").then_some(cell)
}

fn columns(table: &Table) -> Vec<(&str, Vec<Option<&str>>)> {
    let cells = |at: usize| table.rows.iter().map(|row| row.get(at).and_then(|cell| present(cell))).collect();
    table.names.iter().enumerate().map(|(at, name)| (name.as_str(), cells(at))).collect()
}

fn batch<'a>(columns: &'a [(&'a str, Vec<Option<&'a str>>)], rows: usize) -> Batch<'a> {
    let mut batch = Batch::new(rows);
    for (name, cells) in columns {
        batch.push(*name, Values::Text(Text::Slices(cells.as_slice().into()))).expect("distinct columns");
    }
    batch
}

fn names(found: &Predictions) -> String {
    found.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(",")
}

fn same_bits(one: &OutputValues, at_one: usize, other: &OutputValues, at_other: usize) -> bool {
    match (one, other) {
        (OutputValues::Number(one), OutputValues::Number(other)) => {
            one[at_one].to_bits() == other[at_other].to_bits()
                || (one[at_one].is_nan() && other[at_other].is_nan())
        }
        (OutputValues::Label { codes: one, .. }, OutputValues::Label { codes: other, .. }) => {
            one[at_one] == other[at_other]
        }
        _ => false,
    }
}

/// How many doubles lie between two; 0 for equal ones and for two `NaN`.
fn ulps(a: f64, b: f64) -> u64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        return 0;
    }
    if a.is_nan() || b.is_nan() {
        return u64::MAX;
    }
    let order = |value: f64| {
        let bits = value.to_bits() as i64;
        if bits < 0 { i64::MIN.wrapping_sub(bits) } else { bits }
    };
    order(a).abs_diff(order(b))
}

/// Reads `name`, or `name.gz`; `None` if there is neither.
fn table(folder: &Path, name: &str) -> Option<Table> {
    let mut text = Vec::new();
    if let Ok(bytes) = std::fs::read(folder.join(name)) {
        text = bytes;
    } else {
        let file = std::fs::File::open(folder.join(format!("{name}.gz"))).ok()?;
        flate2::read::MultiGzDecoder::new(file).read_to_end(&mut text).expect("a gzip file");
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_slice());
    let names = reader.headers().expect("a header").iter().map(str::to_owned).collect();
    let rows = reader
        .records()
        .map(|record| record.expect("a record").iter().map(str::to_owned).collect())
        .collect();
    Some(Table { names, rows })
}
