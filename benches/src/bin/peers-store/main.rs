//! The Rust side of `make peers-store`: cenote's store and raw tokio-postgres, asked in turn by `benches/store/run.py`.
//!
//! `peers-store DSN SCHEMA` reads commands from standard input, a line each: the name of a work and its numbers. It answers with
//! `sample,WORK,WHO,VALUE VALUE ...` (microseconds), `value,WORK,WHO,METRIC,VALUE`, and `done`. What it needs of tables and
//! connections it makes at the first command that needs them; a command that fails ends the program.
#![expect(clippy::print_stdout, reason = "its output is what it is asked for")]

mod faults;
mod joins;
mod reads;
mod writes;

use std::io::Write;
use std::time::Duration;

use cenote::store::{Builder, FeatureStore, History, Type, View};

/// How many features a row has.
const FEATURES: usize = 20;
/// How many keys the online table has.
const KEYS: i64 = 100_000;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where the server is and which schema is ours.
struct Place {
    dsn: String,
    schema: String,
}

impl Place {
    fn builder(&self) -> Builder {
        FeatureStore::builder(&self.dsn).schema(&self.schema)
    }

    async fn client(&self) -> Outcome<tokio_postgres::Client> {
        let (client, connection) = tokio_postgres::connect(&self.dsn, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// The view that all works but one read and write.
fn view() -> Outcome<View> {
    Ok(wide("bench", "f", FEATURES).build()?)
}

/// The same with a history.
fn view_with_history() -> Outcome<View> {
    Ok(wide("past", "f", FEATURES).history(History::default()).build()?)
}

/// A view of `features` numbers.
fn wide(name: &str, prefix: &str, features: usize) -> cenote::store::ViewBuilder {
    let view = View::builder(name).key("id", Type::I64);
    (0..features).fold(view, |view, feature| view.feature(format!("{prefix}{feature}"), Type::F64))
}

fn feature_names() -> Vec<String> {
    (0..FEATURES).map(|feature| format!("f{feature}")).collect()
}

fn samples(work: &str, who: &str, times: &[Duration]) {
    let times: Vec<_> = times.iter().map(|time| format!("{:.2}", time.as_secs_f64() * 1e6)).collect();
    println!("sample,{work},{who},{}", times.join(" "));
}

fn value(work: &str, who: &str, metric: &str, value: f64) {
    println!("value,{work},{who},{metric},{value}");
}

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let (Some(dsn), Some(schema)) = (arguments.next(), arguments.next()) else {
        return Err("usage: peers-store DSN SCHEMA".into());
    };
    let place = Place { dsn, schema };
    // One thread: the driver beside the query, as the server's own tool has it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // In a task, as a service's calls are: what runs beside the tasks is polled only after another look at the sockets.
    runtime.block_on(async { tokio::spawn(answer(place)).await? })
}

/// Does what is asked for on standard input, one work after another.
async fn answer(place: Place) -> Outcome {
    let mut reads = None;
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line)? > 0 {
        let mut words = line.trim_end().split(' ');
        let work = words.next().unwrap_or_default();
        let numbers = words.map(str::parse).collect::<Result<Vec<usize>, _>>()?;
        match (work, &*numbers) {
            ("fill", []) => writes::fill(&place).await?,
            ("upsert", [rows, round]) => writes::upsert(&place, *rows, *round).await?,
            ("memory", [rows]) => writes::memory(&place, *rows).await?,
            ("past", [keys, events]) => joins::fill(&place, *keys, *events).await?,
            ("join", [entities, keys, events]) => {
                joins::join(&place, *entities, *keys, *events).await?;
            }
            ("kills", [kills]) => faults::kills(&place, *kills).await?,
            ("cancel", [times]) => faults::cancel(&place, *times).await?,
            _ => {
                let reads = match &mut reads {
                    Some(reads) => reads,
                    none => none.insert(reads::Reads::new(&place).await?),
                };
                match (work, &*numbers) {
                    ("get", [calls]) => reads.get(*calls).await?,
                    ("get_many", [calls]) => reads.get_many(*calls).await?,
                    ("score", [calls]) => reads.score(*calls).await?,
                    ("in_flight", [clients, milliseconds]) => {
                        reads.in_flight(*clients, Duration::from_millis(*milliseconds as u64)).await?;
                    }
                    _ => return Err(format!("there is no work {line:?}").into()),
                }
            }
        }
        println!("done");
        std::io::stdout().flush()?;
        line.clear();
    }
    Ok(())
}
