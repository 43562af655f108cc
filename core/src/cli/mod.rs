//! The program `cenote`: a user of the crate's public interface like any other.
//!
//! In flow arguments; out flow files, text on standard output, one line on standard error if something is wrong, and
//! an exit code.

mod csv_in;
mod csv_out;
mod inspect;
mod names;
mod print;
mod registry;
mod score;
mod sink;
mod source;
mod store {
    pub(crate) mod connect;
    pub(crate) mod text;
}

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use cenote::{ErrorKind, Model};
use cenote_mojo::Archive;
use clap::{Parser, Subcommand, ValueEnum};

/// Scores H2O-3 MOJO models natively.
#[derive(Debug, Parser)]
#[command(name = "cenote", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 a file or its data are wrong; 2 the call is wrong, or not supported by \
the model. Errors are one line on standard error.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Scores a file of rows, line by line
    ///
    /// One line goes out for each row that comes in, in order, with H2O's names of columns. The input may have its
    /// columns in any order, and others beside. In CSV a cell that is empty, NA, N/A or - is missing (the last two
    /// unless they are a level of the model). A row that H2O's scorer refuses has empty cells, and says why in a last
    /// column `error`, which is there only if some row was refused. The output appears whole or not at all.
    #[command(after_help = EXIT_CODES)]
    Score(score::ScoreArgs),
    /// Says what a model is and wants: columns, response, trees, metrics, importances
    Inspect(inspect::InspectArgs),
    /// Prints what a model learned: its trees as Graphviz text, JSON or SVG, a GLM's coefficients as JSON
    Print(print::PrintArgs),
    /// Models in PostgreSQL: registers, lists, promotes, verifies and fetches versions
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Parquet,
}

/// How an output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Plain,
    Gzip,
    Parquet,
}

/// The call is wrong; the program exits with 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Format {
    /// By extension: `.parquet` and `.pq` are Parquet, all else is CSV.
    fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet" | "pq") => Format::Parquet,
            _ => Format::Csv,
        }
    }
}

impl Encoding {
    fn of(path: &Path, format: Option<Format>) -> Self {
        match format.unwrap_or_else(|| Format::of(path)) {
            Format::Parquet => Encoding::Parquet,
            Format::Csv if path.extension().is_some_and(|extension| extension == "gz") => Encoding::Gzip,
            Format::Csv => Encoding::Plain,
        }
    }

    fn format(self) -> Format {
        match self {
            Encoding::Parquet => Format::Parquet,
            Encoding::Plain | Encoding::Gzip => Format::Csv,
        }
    }
}

/// Runs the program with the process's arguments.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Score(args) => score::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Print(args) => print::run(args),
        Command::Registry(command) => registry::run(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn open_model(path: &Path) -> anyhow::Result<Model> {
    Model::open(path).with_context(|| format!("cannot open {}", path.display()))
}

fn open_archive(path: &Path) -> anyhow::Result<Archive<'static>> {
    // The error names the path.
    Ok(Archive::open(path)?)
}

/// Says on one line what went wrong; says nothing to a reader that has gone.
fn report(error: &anyhow::Error) -> ExitCode {
    let of_io =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    if error.chain().any(|cause| of_io(cause) == Some(io::ErrorKind::BrokenPipe)) {
        return ExitCode::SUCCESS;
    }
    let line = one_line(error);
    // A standard error that is closed leaves nobody to tell.
    let _ = writeln!(io::stderr(), "cenote: {line}");
    ExitCode::from(if is_usage(error) { 2 } else { 1 })
}

/// The chain of causes; one that its effect has told already is not told again.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.ends_with(&cause) {
            continue;
        }
        if !line.is_empty() {
            line += ": ";
        }
        line += &cause;
    }
    line.replace(['\n', '\r'], " ")
}

fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Usage>()
            || cause
                .downcast_ref::<cenote::Error>()
                .is_some_and(|error| matches!(error.kind(), ErrorKind::Unsupported { .. }))
    })
}
