//! Scores rows one at a time, as a service does: cells by name, any of them missing.
//!
//! Usage: `cargo run -p cenote-examples --bin score_rows [-- model.zip]`; without a model it takes the demo's.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::PathBuf;

use cenote::{Cell, Model, OutputValues, Row};

fn main() -> Result<(), Box<dyn Error>> {
    let demo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/demo/model.zip");
    let model = Model::open(std::env::args().nth(1).map_or(demo, PathBuf::from))?;

    let rows = [
        Row::new().with("carrier", "UA").with("origin", "EWR").with("hour", 18.0).with("distance", 1400.0),
        // A number may come as text, and what is not known may be left out or be missing.
        Row::new().with("carrier", "AA").with("hour", "7").with("visib", Cell::Missing),
        // A level that the model has not seen counts as missing too, unless asked to be refused.
        Row::new().with("carrier", "Concorde").with("hour", 12.0),
    ];
    for row in &rows {
        let predictions = model.predict_row(row)?;
        for column in &predictions.columns {
            match &column.values {
                OutputValues::Label { codes, domain } => {
                    print!("{} = {}  ", column.name, domain[codes[0] as usize])
                }
                OutputValues::Number(numbers) => print!("{} = {:.4}  ", column.name, numbers[0]),
                other => print!("{} = {other:?}  ", column.name),
            }
        }
        println!();
    }
    Ok(())
}
