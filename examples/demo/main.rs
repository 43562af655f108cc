//! The main job from Rust: features of real flights from PostgreSQL by key, scored by a real H2O model, checked against
//! H2O's own answers. `make demo` starts a server and runs this, then the same from Python.
//!
//! Usage: `CENOTE_DATABASE_URL=postgres://... demo`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use cenote::registry::ModelRef;
use cenote::store::{FeatureStore, Record, Timestamp, Type, Value, View};
use cenote::{OutputValues, Predictions};

/// Flights that the table shows.
const SHOWN: usize = 8;
/// Calls behind a median.
const CALLS: usize = 200;
/// How far a probability may be from H2O's, in units of the last place (docs/numerics.md).
const TOLERANCE_ULP: u64 = 2;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What H2O answered for a flight.
struct Expected {
    label: String,
    probabilities: Vec<f64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let url = std::env::var("CENOTE_DATABASE_URL").map_err(|_| "CENOTE_DATABASE_URL names no database")?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/demo");
    let view = View::from_json(include_str!("view.json"))?;
    let records = flights(&data.join("flights.csv"), &view)?;
    let expected = expected(&data.join("expected.csv"))?;

    let clock = Instant::now();
    let store = FeatureStore::connect(&url).await?;
    step("connect", clock);

    let clock = Instant::now();
    store.apply(&view).await?;
    let registry = store.registry();
    registry.apply().await?;
    step("apply the view and the registry", clock);

    let clock = Instant::now();
    let written = store.writer(&view).upsert(&records).await?;
    step(&format!("upsert {} flights ({} inserted)", records.len(), written.inserted), clock);

    let clock = Instant::now();
    let version = registry.register("late", &std::fs::read(data.join("model.zip"))?).await?;
    registry.promote("late", "production", version.version).await?;
    step(&format!("register the {} as late:{}", version.algorithm, version.version), clock);

    let clock = Instant::now();
    let reference: ModelRef = "late@production".parse()?;
    let (_, model) = registry.load(&reference).await?;
    step("load late@production, digest verified", clock);

    let clock = Instant::now();
    let plan = store.plan(&model, &view).build().await?;
    step("bind the model to the view", clock);

    let keys: Vec<i64> = expected.iter().map(|(key, _)| *key).collect();
    let mut took = Vec::with_capacity(CALLS);
    for key in keys.iter().cycle().take(CALLS) {
        let clock = Instant::now();
        plan.score(*key).await?;
        took.push(clock.elapsed());
    }
    println!("  {:<46} {:>8.3} ms", "score one key (median)", median(&mut took));
    let mut took = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let clock = Instant::now();
        plan.score_many(keys[..100].iter().copied()).await?;
        took.push(clock.elapsed());
    }
    println!("  {:<46} {:>8.3} ms", "score 100 keys (median)", median(&mut took));

    let scores = plan.score_many(keys.iter().copied()).await?;
    let by_key: HashMap<i64, &Record> = keys.iter().copied().zip(&records).collect();
    show(&view, &keys[..SHOWN], &by_key, &scores.predictions, &expected);
    check(&scores.predictions, &expected)?;
    store.close().await;
    Ok(())
}

fn step(what: &str, clock: Instant) {
    println!("  {what:<46} {:>8.3} ms", milliseconds(clock.elapsed()));
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn median(took: &mut [Duration]) -> f64 {
    took.sort_unstable();
    milliseconds(took[took.len() / 2])
}

/// The rows of `flights.csv` as records of the view; an empty cell is a missing feature.
fn flights(path: &Path, view: &View) -> Outcome<Vec<Record>> {
    let mut reader = csv::Reader::from_path(path)?;
    let names = reader.headers()?.clone();
    let place =
        |name: &str| names.iter().position(|other| other == name).ok_or(format!("no column {name:?}"));
    let key = place(&view.keys()[0].name)?;
    let features = view
        .features()
        .iter()
        .map(|feature| Ok((place(&feature.name)?, feature.ty)))
        .collect::<Outcome<Vec<_>>>()?;
    let now = Timestamp::now();
    let mut records = Vec::new();
    for row in reader.records() {
        let row = row?;
        let mut values = Vec::with_capacity(features.len());
        for &(index, ty) in &features {
            values.push(match (&row[index], ty) {
                ("", _) => Value::Null,
                (text, Type::Text) => Value::from(text),
                (number, _) => Value::from(number.parse::<f64>()?),
            });
        }
        records.push(Record::new(row[key].parse::<i64>()?, now, values));
    }
    Ok(records)
}

/// H2O's answers, in the order of the flights.
fn expected(path: &Path) -> Outcome<Vec<(i64, Expected)>> {
    let mut reader = csv::Reader::from_path(path)?;
    let mut answers = Vec::new();
    for row in reader.records() {
        let row = row?;
        let probabilities = row.iter().skip(2).map(str::parse).collect::<Result<_, _>>()?;
        answers.push((row[0].parse()?, Expected { label: row[1].to_owned(), probabilities }));
    }
    Ok(answers)
}

fn show(
    view: &View,
    keys: &[i64],
    records: &HashMap<i64, &Record>,
    predictions: &Predictions,
    expected: &[(i64, Expected)],
) {
    let names = ["carrier", "origin", "dest", "hour", "distance", "temp", "plane_year"];
    let places: Vec<usize> = names
        .iter()
        .filter_map(|name| view.features().iter().position(|feature| feature.name == *name))
        .collect();
    print!("\n  {:>9}", "flight_id");
    names.iter().for_each(|name| print!(" {name:>10}"));
    println!(" | {:>7} {:>20} | {:>20}", "predict", "P(late) by cenote", "P(late) by H2O");
    for (row, key) in keys.iter().enumerate() {
        print!("  {key:>9}");
        for &place in &places {
            let value = &records[key].values[place];
            let text = value.as_str().map(str::to_owned).or(value.as_f64().map(|number| number.to_string()));
            print!(" {:>10}", text.unwrap_or_default());
        }
        let late = expected[row].1.probabilities[1];
        println!(" | {:>7} {:>20} | {:>20}", label(predictions, row), number(predictions, 2, row), late);
    }
    println!();
}

fn label(predictions: &Predictions, row: usize) -> &str {
    match &predictions.columns[0].values {
        OutputValues::Label { codes, domain } => &domain[codes[row] as usize],
        other => panic!("the first column of a classifier holds labels, not {other:?}"),
    }
}

fn number(predictions: &Predictions, column: usize, row: usize) -> f64 {
    match &predictions.columns[column].values {
        OutputValues::Number(numbers) => numbers[row],
        other => panic!("column {column} of a classifier holds numbers, not {other:?}"),
    }
}

/// Compares every label and probability with H2O's.
fn check(predictions: &Predictions, expected: &[(i64, Expected)]) -> Outcome<()> {
    let mut worst = 0;
    for (row, (key, answer)) in expected.iter().enumerate() {
        if label(predictions, row) != answer.label {
            return Err(
                format!("flight {key}: {} is not H2O's {}", label(predictions, row), answer.label).into()
            );
        }
        for (column, &theirs) in answer.probabilities.iter().enumerate() {
            let ours = number(predictions, column + 1, row);
            worst = worst.max(ours.to_bits().abs_diff(theirs.to_bits()));
        }
    }
    if worst > TOLERANCE_ULP {
        return Err(format!("a probability is {worst} ulp from H2O's").into());
    }
    println!("  {} flights: every label is H2O's, every probability within {worst} ulp", expected.len());
    Ok(())
}
