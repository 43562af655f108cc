//! `load` and `materialize`: many rows, a batch at a time, with progress; whatever is killed goes on where it stood.

use std::path::PathBuf;

use anyhow::Context;
use cenote::store::{ErrorKind, MaterializeOptions, Timestamp, Upserted, WriteOptions};
use clap::Args;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde_json::json;

use super::super::score::progress;
use super::super::source::Input;
use super::super::{Format, Usage};
use super::text::{print_json, print_table};
use super::{OneView, open_view};

pub(crate) const ABOUT_LOAD: &str = "Columns are found by the view's names, the event time by the view's name for it (event_ts if it has \
none). In CSV an empty cell is missing, and in columns that are not text also NA, N/A and -; moments are RFC 3339, UTC where no \
offset is given; lists and documents are JSON. Each batch is one transaction, recorded under the load's name: the same load again \
passes over what is done, after it compared a digest of the rows. Without --name nothing is recorded, and a load that is run again \
writes all rows again, which changes nothing.";

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    of: OneView,
    /// Rows to load: .csv, .csv.gz or .parquet; - for CSV on standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Take the input as this, whatever its name says
    #[arg(long, value_name = "FORMAT")]
    input_format: Option<Format>,
    /// The load's name, under which it can be gone on with
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// When the values became known: a moment in RFC 3339, or `event` for each at its event time; now if not given
    #[arg(long, value_name = "WHEN")]
    written_at: Option<String>,
    /// Write the history alone; `materialize` brings it online
    #[arg(long)]
    history_only: bool,
}

pub(crate) fn load(args: &LoadArgs) -> anyhow::Result<()> {
    let view = open_view(&args.of.view)?;
    let options = match args.written_at.as_deref() {
        None => WriteOptions::default(),
        Some("event") => WriteOptions::written_with_event(),
        Some(text) => {
            let moment = Timestamp::parse(text);
            WriteOptions::written_at(
                moment.ok_or_else(|| Usage("--written-at: no moment in RFC 3339".into()))?,
            )
        }
    };
    let options = options.parsing_text();
    let wrong = || format!("cannot load {}", args.input.display());
    let progress = progress();
    let input = Input::open(&args.input, args.input_format, &progress).with_context(wrong)?;
    let unknown: Vec<_> = input.names.iter().filter(|name| view.reading(name).is_none()).cloned().collect();
    if !unknown.is_empty() {
        anyhow::bail!("{}: view {:?} has no columns {unknown:?}", wrong(), view.name());
    }
    let store = args.of.connection.open()?;
    let mut writer = store.writer(&view);
    if args.history_only {
        writer = writer.history_only()?;
    }
    let mut load = args.name.as_ref().map(|name| writer.load(name, options)).transpose()?;
    let (mut rows, mut batches, mut done) = (0, 0, Upserted::default());
    for piece in input.pieces_of(&view, false).with_context(wrong)? {
        let piece = piece.and_then(|piece| piece.split()).with_context(wrong)?;
        let batch = piece.batch()?;
        let outcome = match &mut load {
            Some(load) => load.batch(&batch).map(|_| ()),
            None => writer.upsert_batch(&batch, options).map(|more| done += more),
        };
        outcome.map_err(|error| match error.kind() {
            ErrorKind::Cell { row, column, expected, found } => anyhow::anyhow!(
                "{}: {}, column {column:?}: expected {expected}, found {found}",
                wrong(),
                piece.place(*row)
            ),
            _ => anyhow::Error::from(error).context(wrong()),
        })?;
        rows += batch.rows() as u64;
        batches += 1;
    }
    progress.finish_and_clear();
    let passed = load.as_ref().map_or(0, |load| load.loaded().passed);
    let done = load.map_or(done, |load| load.loaded().upserted);
    if args.of.json {
        let document = json!({
            "view": view.name(), "version": view.version(), "rows": rows, "batches": batches, "passed": passed,
            "inserted": done.inserted, "updated": done.updated, "stale": done.stale, "appended": done.appended,
        });
        return Ok(print_json(&document)?);
    }
    let counts = [rows, batches, passed, done.inserted, done.updated, done.stale, done.appended];
    let header = ["rows", "batches", "passed", "inserted", "updated", "stale", "appended"];
    Ok(print_table(&header, &[counts.iter().map(|count| Some(count.to_string())).collect()])?)
}

#[derive(Debug, Args)]
pub(crate) struct MaterializeArgs {
    #[command(flatten)]
    of: OneView,
    /// Take the whole history, not what came in since the last run
    #[arg(long)]
    full: bool,
    /// About how many rows of the history one transaction takes
    #[arg(long, value_name = "ROWS", default_value_t = 200_000)]
    batch_rows: u64,
}

pub(crate) fn materialize(args: &MaterializeArgs) -> anyhow::Result<()> {
    let view = open_view(&args.of.view)?;
    let store = args.of.connection.open()?;
    let mut options = MaterializeOptions::default();
    (options.full, options.rows_a_batch) = (args.full, args.batch_rows);
    let bar = ProgressBar::no_length().with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} batch {pos} of {len}  {elapsed}, {eta} left ")
    {
        bar.set_style(style);
    }
    let done = store.materialize(&view, options, |now| {
        bar.set_length(now.batches.into());
        bar.set_position(now.done.into());
    })?;
    bar.finish_and_clear();
    if args.of.json {
        let document = json!({
            "view": view.name(), "version": view.version(), "rows": done.rows, "batches": done.batches,
            "inserted": done.inserted, "updated": done.updated,
        });
        return Ok(print_json(&document)?);
    }
    let counts = [done.rows, done.batches.into(), done.inserted, done.updated];
    let header = ["rows", "batches", "inserted", "updated"];
    Ok(print_table(&header, &[counts.iter().map(|count| Some(count.to_string())).collect()])?)
}
