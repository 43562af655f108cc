//! Scores an Arrow record batch without copying its columns, and gives the predictions back as one.
//!
//! Usage: `cargo run -p cenote-examples --bin arrow_batch`, with the demo's model.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch};
use cenote::input::arrow::{ArrowColumns, ErrorColumn};
use cenote::{MissingColumns, Model, PredictOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let model = Model::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/demo/model.zip"))?;

    // Any table from any library that speaks Arrow will do: here three flights with some of the model's columns.
    let carrier: DictionaryArray<Int32Type> = [Some("UA"), Some("DL"), None].into_iter().collect();
    let table = RecordBatch::try_from_iter([
        ("carrier", Arc::new(carrier) as ArrayRef),
        ("hour", Arc::new(Int64Array::from(vec![8, 13, 20]))),
        ("distance", Arc::new(Float64Array::from(vec![Some(1372.0), None, Some(2586.0)]))),
    ])?;

    let columns = ArrowColumns::new(&table, |_| true)?;
    // A column that is not there is refused by default.
    let mut options = PredictOptions::default();
    options.missing_columns = MissingColumns::AsMissing;
    let predictions = model.predict_with(&columns.batch()?, &options)?;

    let scored = predictions.to_record_batch(ErrorColumn::WhenAny)?;
    for (field, array) in scored.schema().fields().iter().zip(scored.columns()) {
        println!("{}: {array:?}", field.name());
    }
    Ok(())
}
