//! `get`, `pit` and `erase`: features by key, and features as they were known at a time.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use cenote::input::parquet::ParquetWriter;
use cenote::input::stored;
use cenote::store::{ErrorKind, Key, KnownAt, Skew, Status, Timestamp, Value, View};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, json};
use tempfile::NamedTempFile;

use super::super::score::progress;
use super::super::sink::Target;
use super::super::source::Input;
use super::super::{Encoding, Format, Usage, csv_out};
use super::text::{print_json, print_table};
use super::{OneView, open_view};

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    of: OneView,
    /// Keys, one an argument; of several key columns a line of CSV in the view's order: UA,1545
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// Only these features, by comma, in that order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    features: Option<Vec<String>>,
    /// As they were known at this moment (RFC 3339), from the history
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,
}

pub(crate) fn get(args: &GetArgs) -> anyhow::Result<()> {
    let view = open_view(&args.of.view)?;
    let keys = keys(&view, &args.keys)?;
    let at = args.at.as_deref().map(|text| moment("--at", text)).transpose()?;
    let store = args.of.connection.open()?;
    let reader = match &args.features {
        Some(names) => store.reader_of(&view, names.iter().map(String::as_str))?,
        None => store.reader(&view),
    };
    let set = match at {
        None => reader.get_many(keys.clone())?,
        Some(at) => {
            let entities: Vec<_> = keys.iter().map(|key| (key.clone(), at)).collect();
            reader.as_of()?.join(&entities)?
        }
    };
    let status = |row: usize| match set.status[row] {
        Status::Fresh => "fresh",
        Status::Stale { .. } => "stale",
        Status::Missing => "missing",
    };
    if args.of.json {
        let rows = keys.iter().enumerate().map(|(row, key)| {
            let key: Map<_, _> = view
                .keys()
                .iter()
                .zip(key.values())
                .map(|(column, value)| (column.name.clone(), value.to_json()))
                .collect();
            let features: Map<_, _> =
                set.columns.iter().map(|column| (column.name.clone(), column.value(row).to_json())).collect();
            let event = set.event_ts[row].map(|event| event.to_string());
            json!({"key": key, "status": status(row), "event_ts": event, "features": features})
        });
        return Ok(print_json(&rows.collect())?);
    }
    let names = view.keys().iter().map(|key| key.name.as_str()).chain(["status", "event_ts"]);
    let names: Vec<_> = names.chain(set.columns.iter().map(|column| column.name.as_str())).collect();
    let text = |value: Value| (value != Value::Null).then(|| value.to_string());
    let rows: Vec<Vec<_>> = keys
        .iter()
        .enumerate()
        .map(|(row, key)| {
            let key = key.values().iter().map(|value| text(value.clone()));
            let event = set.event_ts[row].map(|event| event.to_string());
            let head = key.chain([Some(status(row).to_owned()), event]);
            head.chain(set.columns.iter().map(|column| text(column.value(row)))).collect()
        })
        .collect();
    Ok(print_table(&names, &rows)?)
}

#[derive(Debug, Args)]
pub(crate) struct EraseArgs {
    #[command(flatten)]
    of: OneView,
    /// Keys, as `get` takes them
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
}

pub(crate) fn erase(args: &EraseArgs) -> anyhow::Result<()> {
    let view = open_view(&args.of.view)?;
    let keys = keys(&view, &args.keys)?;
    let erased = args.of.connection.open()?.erase(&view, keys)?;
    if args.of.json {
        let (online, history, raw) = (erased.online, erased.history, erased.raw);
        return Ok(print_json(&json!({"online": online, "history": history, "raw": raw}))?);
    }
    let counts = [erased.online, erased.history, erased.raw].map(|count| Some(count.to_string()));
    Ok(print_table(&["online", "history", "raw"], &[counts.to_vec()])?)
}

#[derive(Debug, Args)]
pub(crate) struct ParityArgs {
    #[command(flatten)]
    of: OneView,
    /// About how many keys to look at, chosen at random
    #[arg(long, value_name = "KEYS", default_value_t = 1000)]
    sample: u32,
}

pub(crate) fn parity(args: &ParityArgs) -> anyhow::Result<()> {
    let view = open_view(&args.of.view)?;
    let parity = args.of.connection.open()?.parity(&view, args.sample)?;
    let texts = |key: &Key| key.values().iter().map(Value::to_string).collect::<Vec<_>>();
    // What differs, the online event and that of the history, the features.
    let told = |skew: &Skew| match skew {
        Skew::NoHistory => ("no history", None, None, Vec::new()),
        Skew::Event { online, history } => {
            ("event", Some(online.to_string()), Some(history.to_string()), Vec::new())
        }
        Skew::Features(names) => ("features", None, None, names.clone()),
        _ => ("otherwise", None, None, Vec::new()),
    };
    if args.of.json {
        let differences = parity.differences.iter().map(|difference| {
            let (skew, online, history, features) = told(&difference.skew);
            let key: Vec<_> = difference.key.values().iter().map(Value::to_json).collect();
            json!({"key": key, "skew": skew, "online": online, "history": history, "features": features})
        });
        let differences: Vec<_> = differences.collect();
        let (checked, differing) = (parity.checked, parity.differing);
        print_json(&json!({"checked": checked, "differing": differing, "differences": differences}))?;
    } else {
        let counts = [parity.checked, parity.differing].map(|count| Some(count.to_string()));
        print_table(&["checked", "differing"], &[counts.to_vec()])?;
        let rows = parity.differences.iter().map(|difference| {
            let (skew, online, history, features) = told(&difference.skew);
            let features = (!features.is_empty()).then(|| features.join(", "));
            vec![Some(texts(&difference.key).join(",")), Some(skew.to_owned()), online, history, features]
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            print_table(&["key", "differs in", "online event", "history's event", "features"], &rows)?;
        }
    }
    match parity.differing {
        0 => Ok(()),
        differing => anyhow::bail!("{differing} of {} keys differ from their history", parity.checked),
    }
}

pub(crate) const ABOUT_PIT: &str = "One row goes out for each entity that comes in, in order: its own columns, then the view's features, the \
latest at or before its time, within the view's ttl, among those known by then. The entities have the view's key columns and its event \
time. The output appears whole or not at all.";

#[derive(Debug, Args)]
pub(crate) struct PitArgs {
    #[command(flatten)]
    of: OneView,
    /// Entities with their times: .csv, .csv.gz or .parquet; - for CSV on standard input
    #[arg(long, value_name = "FILE")]
    entities: PathBuf,
    /// Where the rows go: .csv, .csv.gz or .parquet; - for CSV on standard output
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Take the entities as this, whatever the file's name says
    #[arg(long, value_name = "FORMAT")]
    input_format: Option<Format>,
    /// Write the output as this, whatever its name says
    #[arg(long, value_name = "FORMAT")]
    output_format: Option<Format>,
    /// By when a value must have become known: `label`, the entity's own time; `any`; or a moment in RFC 3339
    #[arg(long, value_name = "WHEN", default_value = "label")]
    known_at: String,
    /// Only these features, by comma, in that order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    features: Option<Vec<String>>,
}

pub(crate) fn pit(args: &PitArgs) -> anyhow::Result<()> {
    let view = open_view(&args.of.view)?;
    let known_at = match args.known_at.as_str() {
        "label" => KnownAt::Label,
        "any" => KnownAt::Any,
        text => KnownAt::At(moment("--known-at", text)?),
    };
    let wrong = || format!("cannot join {}", args.entities.display());
    let progress = progress();
    let input = Input::open(&args.entities, args.input_format, &progress).with_context(wrong)?;
    let store = args.of.connection.open()?;
    let reader = match &args.features {
        Some(names) => store.reader_of(&view, names.iter().map(String::as_str))?,
        None => store.reader(&view),
    };
    let past = reader.as_of()?.known_at(known_at).parsing_text();
    let target = Target::new(&args.output)?;
    let encoding = Encoding::of(&args.output, args.output_format);
    let mut out = Output::Before(target.temporary()?);
    let (mut entities, mut found) = (0, 0);
    for piece in input.pieces_of(&view, true).with_context(wrong)? {
        let rows = piece.and_then(|piece| piece.split()).with_context(wrong)?;
        let set = past.join_batch(&rows.batch()?).map_err(|error| match error.kind() {
            ErrorKind::Cell { row, column, expected, found } => anyhow::anyhow!(
                "{}: {}, column {column:?}: expected {expected}, found {found}",
                wrong(),
                rows.place(*row)
            ),
            _ => anyhow::Error::from(error).context(wrong()),
        })?;
        entities += set.len();
        found += set.status.iter().filter(|status| status.is_fresh()).count();
        let table = stored::joined(&rows.table()?, &set).with_context(wrong)?;
        out = out.begun(encoding, table.schema())?;
        match &mut out {
            Output::Parquet(writer) => writer.write_batch(&table)?,
            out => {
                let cells = stored::cells(&table)?;
                let mut lines = Vec::new();
                for row in 0..table.num_rows() {
                    csv_out::record(cells.iter().map(|column| column[row].as_deref()), &mut lines);
                }
                out.write_all(&lines)?;
            }
        }
    }
    if let Output::Before(_) = out {
        anyhow::bail!("{}: it has no rows", wrong());
    }
    target.place(out.finish()?)?;
    progress.finish_and_clear();
    // Standard output may be the rows themselves.
    if args.of.json && args.output.as_os_str() != "-" {
        print_json(&json!({"view": view.name(), "entities": entities, "found": found}))?;
    }
    Ok(())
}

/// A file of joined rows under way.
enum Output {
    /// No row has come, so that its columns are not known.
    Before(NamedTempFile),
    Plain(BufWriter<NamedTempFile>),
    Gzip(Box<GzEncoder<BufWriter<NamedTempFile>>>),
    Parquet(Box<ParquetWriter<NamedTempFile>>),
}

impl Output {
    fn begun(self, encoding: Encoding, schema: arrow_schema::SchemaRef) -> anyhow::Result<Self> {
        let Output::Before(file) = self else { return Ok(self) };
        let header = csv_out::header(schema.fields().iter().map(|field| field.name().as_str()));
        let mut out = match encoding {
            Encoding::Parquet => {
                return Ok(Output::Parquet(Box::new(ParquetWriter::of_tables(file, schema)?)));
            }
            Encoding::Plain => Output::Plain(BufWriter::new(file)),
            Encoding::Gzip => {
                Output::Gzip(Box::new(GzEncoder::new(BufWriter::new(file), Compression::default())))
            }
        };
        out.write_all(&header)?;
        Ok(out)
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Output::Plain(writer) => writer.write_all(bytes),
            Output::Gzip(writer) => writer.write_all(bytes),
            Output::Before(_) | Output::Parquet(_) => Err(std::io::ErrorKind::Unsupported.into()),
        }
    }

    fn finish(self) -> anyhow::Result<NamedTempFile> {
        Ok(match self {
            Output::Before(file) => file,
            Output::Plain(writer) => writer.into_inner()?,
            Output::Gzip(writer) => writer.finish()?.into_inner()?,
            Output::Parquet(writer) => writer.finish()?,
        })
    }
}

/// Keys as arguments have them.
fn keys(view: &View, texts: &[String]) -> anyhow::Result<Vec<Key>> {
    let keys = texts.iter().map(|text| {
        let fields = match view.keys() {
            [_] => vec![text.clone()],
            _ => super::super::csv_in::fields(text)?,
        };
        // The call is wrong, not the data.
        Key::parse(view, fields.iter().map(String::as_str)).map_err(|error| Usage(error.to_string()).into())
    });
    keys.collect()
}

fn moment(argument: &str, text: &str) -> anyhow::Result<Timestamp> {
    Timestamp::parse(text).ok_or_else(|| Usage(format!("{argument}: no moment in RFC 3339")).into())
}
