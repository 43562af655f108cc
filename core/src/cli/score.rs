//! `cenote score`: one thread reads pieces, the pool's threads split, score and format them, one thread writes them in
//! order. At most a few pieces are under way, so memory does not grow with the input.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::Context;
use cenote::input::Values;
use cenote::{Batch, ErrorKind, LeafAssignment, MissingColumns, Model, Policy, PredictOptions, Predictions};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::sink::{Scored, Sink};
use super::source::{Input, Piece};
use super::{Encoding, Format, Usage, open_model};

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// The model: a MOJO zip, or the folder of an unzipped one
    #[arg(long, value_name = "MODEL")]
    mojo: PathBuf,
    /// Rows to score: .csv, .csv.gz or .parquet; - for CSV on standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where predictions go: .csv, .csv.gz or .parquet; - for CSV on standard output
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    what: What,
    /// Refuse cells that do not fit their column (unseen levels, text for numbers), and exit with 1 if a row was refused
    #[arg(long)]
    strict: bool,
    /// What to do when the input lacks a column of the model: refuse it, or take every cell as missing
    #[arg(long, value_name = "WHAT", default_value = "refuse")]
    missing_columns: Absent,
    /// Threads that score; by default one a processor
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// Take the input as this, whatever its name says
    #[arg(long, value_name = "FORMAT")]
    input_format: Option<Format>,
    /// Write the output as this, whatever its name says
    #[arg(long, value_name = "FORMAT")]
    output_format: Option<Format>,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct What {
    /// Instead of predictions: each feature's contribution (TreeSHAP) and BiasTerm
    #[arg(long)]
    contributions: bool,
    /// Instead of predictions: the leaf that each row falls into, a column a tree
    #[arg(long, value_name = "KIND")]
    leaf_assignments: Option<Leaf>,
    /// Instead of predictions: the prediction after each tree, a column a tree
    #[arg(long)]
    staged: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Leaf {
    /// The turns from the root, such as LRL
    Path,
    /// H2O's node id
    NodeId,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Absent {
    Refuse,
    Na,
}

/// A model and what is asked of it.
struct Question {
    model: Model,
    options: PredictOptions,
    ask: Ask,
}

#[derive(Debug, Clone, Copy)]
enum Ask {
    Predictions,
    Contributions,
    Leaves(LeafAssignment),
    Staged,
}

/// How many rows were refused, and the first of them.
#[derive(Debug, Default)]
struct Refused {
    rows: u64,
    first: Option<String>,
}

pub(crate) fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    let question = Question::new(args)?;
    let progress = progress();
    let wrong_input = || format!("cannot score {}", args.input.display());
    let input = Input::open(&args.input, args.input_format, &progress).with_context(wrong_input)?;

    // A batch without rows tells the output's columns, and whether the input has all that the model needs.
    let mut header = Batch::new(0);
    for name in &input.names {
        header.push(name.as_str(), Values::Missing)?;
    }
    let like = question.answer(&header).with_context(wrong_input)?;
    let wanted = |name: &str| question.reads(name);
    let pieces = input.pieces(&question.model, wanted, like.columns.len()).with_context(wrong_input)?;

    let encoding = Encoding::of(&args.output, args.output_format);
    let mut sink = Sink::create(&args.output, encoding, like)?;
    let mut refused = Refused::default();
    let threads = args.threads.map_or(0, NonZero::get);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let under_way = pool.current_num_threads() + 1;

    std::thread::scope(|scope| {
        let (queue, in_order) = sync_channel::<Receiver<anyhow::Result<(Scored, Refused)>>>(under_way);
        let (sink, refused) = (&mut sink, &mut refused);
        let writer = scope.spawn(move || {
            for answer in in_order {
                let (scored, some) = answer.recv().context("a scoring thread ended early")??;
                refused.rows += some.rows;
                refused.first = refused.first.take().or(some.first);
                sink.write(scored).with_context(|| format!("cannot write {}", args.output.display()))?;
            }
            anyhow::Ok(())
        });
        pool.in_place_scope(|tasks| {
            for piece in pieces {
                let (answer, receiver) = sync_channel(1);
                if queue.send(receiver).is_err() {
                    break; // The writer has failed and says why.
                }
                let is_last = piece.is_err();
                let (question, format) = (&question, encoding.format());
                tasks.spawn(move |_| {
                    // Nobody listens any more once the writer has failed.
                    let scored = piece.and_then(|piece| question.score(piece, format));
                    let _ = answer.send(scored.with_context(wrong_input));
                });
                if is_last {
                    break;
                }
            }
            drop(queue);
        });
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    progress.finish_and_clear();
    sink.commit()?;
    if args.strict
        && let Some(first) = refused.first
    {
        anyhow::bail!("{} rows were refused, the first at {first}", refused.rows);
    }
    Ok(())
}

impl Question {
    fn new(args: &ScoreArgs) -> anyhow::Result<Self> {
        let ask = match args.what {
            What { contributions: true, .. } => Ask::Contributions,
            What { leaf_assignments: Some(Leaf::Path), .. } => Ask::Leaves(LeafAssignment::Path),
            What { leaf_assignments: Some(Leaf::NodeId), .. } => Ask::Leaves(LeafAssignment::NodeId),
            What { staged: true, .. } => Ask::Staged,
            _ => Ask::Predictions,
        };
        let mut options = PredictOptions::default();
        if args.strict {
            options.policy = Policy::Strict;
        }
        if args.missing_columns == Absent::Na {
            options.missing_columns = MissingColumns::AsMissing;
        }
        Ok(Self { model: open_model(&args.mojo)?, options, ask })
    }

    fn answer(&self, batch: &Batch<'_>) -> anyhow::Result<Predictions> {
        Ok(match self.ask {
            Ask::Predictions => self.model.predict_with(batch, &self.options)?,
            Ask::Contributions => return Err(Usage("contributions are not supported yet".into()).into()),
            Ask::Leaves(kind) => self.model.leaf_assignments(batch, kind, &self.options)?,
            Ask::Staged => self.model.staged_probabilities(batch, &self.options)?,
        })
    }

    /// Whether the model reads the column `name`.
    fn reads(&self, name: &str) -> bool {
        let schema = self.model.schema();
        let mut columns = schema.input_columns().iter().chain(&schema.features);
        columns.any(|column| column.name == name) || schema.offset_column.as_deref() == Some(name)
    }

    fn score(&self, piece: Piece, format: Format) -> anyhow::Result<(Scored, Refused)> {
        let rows = piece.split()?;
        let predictions = match self.answer(&rows.batch()?) {
            Ok(predictions) => predictions,
            Err(error) => match error.downcast_ref::<cenote::Error>().map(cenote::Error::kind) {
                Some(ErrorKind::Cell { row, column, expected, found }) => {
                    anyhow::bail!(
                        "{}, column {column:?}: expected {expected}, found {found}",
                        rows.place(*row)
                    )
                }
                _ => return Err(error),
            },
        };
        let first = predictions.errors.first().map(|error| format!("{}: {error}", rows.place(error.row)));
        let refused = Refused { rows: predictions.errors.len() as u64, first };
        Ok((Scored::new(predictions, format), refused))
    }
}

/// A bar on a terminal; nothing elsewhere.
fn progress() -> ProgressBar {
    const BAR: &str = "{wide_bar} {percent:>3} %  {elapsed}, {eta} left ";
    // Also if the run fails, so that the error has a line of its own.
    let bar = ProgressBar::no_length().with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    bar
}
