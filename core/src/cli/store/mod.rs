//! `cenote store`: what is done to a feature store from the command line.
//!
//! In flow view files, keys and files of rows; out flow rows in PostgreSQL, tables and progress for people, with `--json` one
//! document for programs on standard output.

mod bulk;
pub(crate) mod connect;
mod read;
mod tables;
pub(crate) mod text;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cenote::store::View;
use clap::{Args, Subcommand};

use self::connect::Connection;

const ABOUT_VIEWS: &str = "A view is a JSON file that names an entity's keys and features, typed; docs/store.md has its form. \
The database is named by --dsn, else by CENOTE_DATABASE_URL, else by PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSWORD and the \
like; it is never printed.";

#[derive(Debug, Subcommand)]
#[command(after_help = ABOUT_VIEWS)]
pub(crate) enum StoreCommand {
    /// Prints the SQL that would make the tables of views, and does nothing
    Plan(Common),
    /// Makes the tables of views: additions in place, in one transaction a view
    Apply(Common),
    /// Compares the tables with views; lists each difference and exits with 1 if there is one
    Verify(Common),
    /// Loads rows from CSV or Parquet, batch by batch; a load that was killed goes on where it stood
    #[command(after_help = bulk::ABOUT_LOAD)]
    Load(bulk::LoadArgs),
    /// Prints the features of keys
    Get(read::GetArgs),
    /// Joins features to a file of entities as they were known at each entity's time
    #[command(after_help = read::ABOUT_PIT)]
    Pit(read::PitArgs),
    /// Brings online what came into the history alone
    Materialize(bulk::MaterializeArgs),
    /// Compares online rows with the newest of their history; lists each difference and exits with 1 if there is one
    Parity(read::ParityArgs),
    /// Makes the history's partitions of the months to come, drops those that are too old, forgets finished batches
    Gc(tables::GcArgs),
    /// Erases every row of keys: online, in the history and among the raw documents
    Erase(read::EraseArgs),
}

/// What each verb takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// JSON files of views
    #[arg(value_name = "VIEW", required = true)]
    views: Vec<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    /// Print one JSON document, for programs
    #[arg(long)]
    json: bool,
}

/// What a verb on one view takes.
#[derive(Debug, Args)]
pub(crate) struct OneView {
    /// The JSON file of the view
    #[arg(value_name = "VIEW")]
    view: PathBuf,
    #[command(flatten)]
    connection: Connection,
    /// Print one JSON document, for programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &StoreCommand) -> anyhow::Result<()> {
    match command {
        StoreCommand::Plan(args) => tables::plan(args),
        StoreCommand::Apply(args) => tables::apply(args),
        StoreCommand::Verify(args) => tables::verify(args),
        StoreCommand::Load(args) => bulk::load(args),
        StoreCommand::Get(args) => read::get(args),
        StoreCommand::Pit(args) => read::pit(args),
        StoreCommand::Materialize(args) => bulk::materialize(args),
        StoreCommand::Parity(args) => read::parity(args),
        StoreCommand::Gc(args) => tables::gc(args),
        StoreCommand::Erase(args) => read::erase(args),
    }
}

/// Reads a view from its file.
fn open_view(path: &Path) -> anyhow::Result<View> {
    let wrong = || format!("cannot read the view {}", path.display());
    let json = fs::read_to_string(path).with_context(wrong)?;
    View::from_json(&json).with_context(wrong)
}
