//! Scores a CSV file: its columns go in as text, H2O's rules make levels and numbers of them.
//!
//! Usage: `cargo run -p cenote-examples --bin score_csv -- model.zip rows.csv`. For large files see `cenote score`, which streams.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use cenote::{Batch, Model, OutputValues, Predictions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(rows)) = (args.next(), args.next()) else {
        return Err("usage: score_csv model.zip rows.csv".into());
    };
    let model = Model::open(model)?;

    let mut reader = csv::Reader::from_path(rows)?;
    let names = reader.headers()?.clone();
    let records = reader.records().collect::<Result<Vec<_>, _>>()?;

    // A batch borrows its columns; an empty cell is a missing value.
    let columns: Vec<Vec<Option<&str>>> = (0..names.len())
        .map(|at| records.iter().map(|record| Some(&record[at]).filter(|cell| !cell.is_empty())).collect())
        .collect();
    let mut batch = Batch::new(records.len());
    for (name, cells) in names.iter().zip(&columns) {
        batch.push(name, cells.as_slice().into())?;
    }

    print(&model.predict(&batch)?);
    Ok(())
}

fn print(predictions: &Predictions) {
    let names: Vec<&str> = predictions.columns.iter().map(|column| column.name.as_str()).collect();
    println!("{}", names.join(","));
    for row in 0..predictions.rows {
        let cells = predictions.columns.iter().map(|column| match &column.values {
            OutputValues::Number(numbers) => numbers[row].to_string(),
            OutputValues::Label { codes, domain } => {
                domain.get(codes[row] as usize).cloned().unwrap_or_default()
            }
            OutputValues::Integer(numbers) => numbers[row].to_string(),
            _ => String::new(),
        });
        println!("{}", cells.collect::<Vec<_>>().join(","));
    }
    // Rows that H2O would refuse say why.
    for error in &predictions.errors {
        println!("row {} was refused: {error}", error.row);
    }
}
