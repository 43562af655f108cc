//! Instructions executed, counted by callgrind: a signal that a busy machine does not move.
//!
//! `cargo bench -p cenote-bench --bench instructions` runs each cell (a work on an instruction set) in a process of its own
//! under valgrind and prints the counts beside those of `benches/results/instructions.csv`; more than three in a hundred
//! above one of them fails, and `--update` writes them anew. Debian's valgrind knows no AVX-512, so the cells are the
//! portable and the AVX2 paths. Where there is no valgrind nothing is counted, and it says so. One thread; what is
//! counted is from borrowed columns to predictions, after one call that warms up; or the opening of a model.

#[expect(dead_code, reason = "the criterion suites use the rest")]
mod forests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use cenote::mojo::Artifact;
use cenote::{EngineOptions, Model};

const ROWS: usize = 1000;
const SINGLE_ROWS: usize = 200;
/// How much above the kept count is too much.
const TOLERANCE: f64 = 0.03;
const ISAS: [&str; 2] = ["portable", "avx2"];
const WORKS: [(&str, Kind); 8] = [
    ("gbm_500x6_numeric", Kind::Batch),
    ("gbm_500x6_flights", Kind::Batch),
    ("gbm_multinomial_10", Kind::Batch),
    ("generated_100x20", Kind::Batch),
    ("glm_highcard", Kind::Batch),
    ("one_row_500x6_numeric", Kind::Row),
    ("one_row_500x6_flights", Kind::Row),
    ("load_500x6_flights", Kind::Load),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One call with [`ROWS`] rows.
    Batch,
    /// [`SINGLE_ROWS`] calls with one.
    Row,
    /// One opening from bytes.
    Load,
}

impl Kind {
    /// What a count is divided by.
    fn units(self) -> usize {
        match self {
            Kind::Batch => ROWS,
            Kind::Row => SINGLE_ROWS,
            Kind::Load => 1,
        }
    }
}

/// Callgrind counts while this is on the stack.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

fn artifact(work: &str) -> Artifact {
    match work.split_once("_500x6_") {
        _ if work == "generated_100x20" => forests::artifact(forests::DEEP),
        Some(("one_row" | "load", kind)) => forests::committed(&format!("gbm_500x6_{kind}")),
        _ => forests::committed(work),
    }
}

/// Runs a cell, counted, and prints the engine that did it.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn run(work: &str, kind: Kind, isa: &str) {
    let mut options = EngineOptions::default();
    options.isa = Some(isa.into());
    let artifact = artifact(work);
    let open = || Model::from_artifact_with(artifact.clone(), &options).expect("a supported model");
    let model = open();
    match kind {
        Kind::Batch => {
            let columns = forests::rows(&artifact, ROWS);
            let batch = forests::batch(&artifact, &columns, ROWS);
            let mut predict = || drop(black_box(model.predict(&batch)));
            predict();
            counted(&mut predict);
        }
        Kind::Row => {
            let columns = forests::rows(&artifact, SINGLE_ROWS);
            let row = |at: usize| columns.iter().map(|column| column[at]).collect::<Vec<f64>>();
            let rows: Vec<Vec<f64>> = (0..SINGLE_ROWS).map(row).collect();
            let mut numbers = vec![0.0; model.n_numbers()];
            let mut predict = || {
                for row in &rows {
                    black_box(model.predict_raw(row, 0.0, &mut numbers).is_ok());
                }
            };
            predict();
            counted(&mut predict);
        }
        Kind::Load => {
            let path = format!("{}/models/gbm_500x6_flights.zip", env!("CARGO_MANIFEST_DIR"));
            let bytes = std::fs::read(path).expect("a committed model");
            let load = || Artifact::from_bytes(&bytes).expect("a model");
            counted(&mut || drop(black_box(Model::from_artifact_with(load(), &options))));
        }
    }
    println!("{}", model.engine());
}

/// A cell's count, in a process under callgrind, and the engine.
fn count(work: &str, isa: &str) -> Result<(u64, String), String> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let out = std::env::temp_dir().join(format!("cenote-callgrind-{}-{work}-{isa}", std::process::id()));
    let said = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*instructions::counted*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(here)
        .args(["cell", work, isa])
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let text = std::fs::read_to_string(&out);
    let _ = std::fs::remove_file(&out);
    if !said.status.success() {
        return Err(format!("{work} on {isa}: {}", String::from_utf8_lossy(&said.stderr)));
    }
    let text = text.map_err(|error| format!("{}: {error}", out.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let total = total.and_then(|count| count.trim().parse().ok()).filter(|count| *count > 0);
    let total = total.ok_or_else(|| format!("{work} on {isa}: callgrind counted nothing"))?;
    Ok((total, String::from_utf8_lossy(&said.stdout).trim().to_owned()))
}

fn kept_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results/instructions.csv")
}

const HEAD: &str = "work,isa,engine,instructions,per_row";

/// The counts of the kept table by work and instruction set; none if there is no table yet.
fn kept() -> BTreeMap<(String, String), u64> {
    let text = std::fs::read_to_string(kept_path()).unwrap_or_default();
    let cells = text.lines().skip(1).filter_map(|line| {
        let mut words = line.split(',');
        let (work, isa) = (words.next()?, words.next()?);
        Some(((work.to_owned(), isa.to_owned()), words.nth(1)?.parse().ok()?))
    });
    cells.collect()
}

/// Counts every cell, compares, prints.
#[expect(clippy::print_stdout, reason = "its report")]
fn compare(update: bool) -> Result<(), String> {
    let kept = kept();
    let mut table = format!("{HEAD}\n");
    let mut worse = Vec::new();
    println!(
        "{:<24} {:<9} {:<6} {:>13} {:>12} {:>8}",
        "work", "isa", "engine", "instructions", "a row", "change"
    );
    for (work, kind) in WORKS {
        for isa in ISAS {
            let (total, engine) = count(work, isa)?;
            let each = total as f64 / kind.units() as f64;
            let before = kept.get(&(work.to_owned(), isa.to_owned()));
            let change = before.map(|before| total as f64 / *before as f64 - 1.0);
            let said = change.map_or_else(|| "new".to_owned(), |change| format!("{:+.1} %", 100.0 * change));
            println!("{work:<24} {isa:<9} {engine:<6} {total:>13} {each:>12.1} {said:>8}");
            if change.is_some_and(|change| change > TOLERANCE) {
                worse.push(format!("{work} on {isa}: {said}"));
            }
            writeln!(table, "{work},{isa},{engine},{total},{each:.1}").map_err(|error| error.to_string())?;
        }
    }
    if update {
        std::fs::write(kept_path(), table).map_err(|error| error.to_string())?;
        println!("written to {}", kept_path().display());
        return Ok(());
    }
    if worse.is_empty() {
        return Ok(());
    }
    Err(format!(
        "more instructions than benches/results/instructions.csv allows ({:.0} %):\n  {}",
        100.0 * TOLERANCE,
        worse.join("\n  ")
    ))
}

#[expect(clippy::print_stdout, reason = "its report")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [cell, work, isa] = &*arguments
        && cell == "cell"
        && let Some((_, kind)) = WORKS.iter().find(|(name, _)| name == work)
    {
        run(work, *kind, isa);
        return ExitCode::SUCCESS;
    }
    // `cargo bench -- FILTER` is for the criterion suites.
    if arguments.iter().any(|word| !word.starts_with("--")) {
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("instructions: no valgrind here, nothing counted");
        return ExitCode::SUCCESS;
    }
    match compare(arguments.iter().any(|word| word == "--update")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}
