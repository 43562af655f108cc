//! cenote under the line protocol of `benches/peers/cenote_peers/worker.py`, beside the runtimes it is compared with.
//!
//! Lines come in, answers go out. A batch is borrowed columns: `f64` numbers, and level codes as they stand in a raw row;
//! out come predictions, link and label included. A batch of one row goes by [`Model::predict_raw`]. As `peers-worker
//! THREADS sums` it gives what the trees sum to instead, by [`Model::tree_sums`]: what most other runtimes are asked for.

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use cenote::input::Values;
use cenote::mojo::Body;
use cenote::{Batch, Model, OutputValues, PredictOptions, Predictions};
use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Time since it was made: with one thread the less of the clock's and the process's processor time.
struct Stopwatch {
    alone: bool,
    start: Instant,
    cpu: Duration,
}

impl Stopwatch {
    fn start(threads: usize) -> Self {
        Self { alone: threads == 1, cpu: Self::cpu(), start: Instant::now() }
    }

    fn cpu() -> Duration {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or(0))
    }

    fn clock(&self) -> Duration {
        self.start.elapsed()
    }

    fn read(&self) -> Duration {
        let clock = self.clock();
        if self.alone { clock.min(Self::cpu().saturating_sub(self.cpu)) } else { clock }
    }
}

/// What is asked of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Predictions,
    Sums,
}

/// How the process was started.
#[derive(Debug, Clone, Copy)]
struct Task {
    threads: usize,
    asked: Asked,
}

/// A model with its rows, by row and by column.
struct Opened {
    path: String,
    task: Task,
    model: Model,
    rows: Vec<f64>,
    columns: Vec<Vec<f64>>,
}

impl Opened {
    fn new(path: &str, rows: &str, task: Task) -> Result<Self> {
        let model = Model::open(path)?;
        let width = model.n_features();
        let rows: Vec<f64> = std::fs::read(rows)?
            .chunks_exact(4)
            .map(|bytes| f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
            .collect();
        let columns = (0..width).map(|j| rows.iter().skip(j).step_by(width).copied().collect()).collect();
        Ok(Self { path: path.to_owned(), task, model, rows, columns })
    }

    fn n_rows(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// Rows `from .. from + size`.
    fn batch(&self, from: usize, size: usize) -> Result<Batch<'_>> {
        let mut batch = Batch::new(size);
        for (feature, values) in self.model.schema().features.iter().zip(&self.columns) {
            let values = values[from..from + size].into();
            let values = if feature.domain.is_some() { Values::Raw(values) } else { Values::F64(values) };
            batch.push(&*feature.name, values)?;
        }
        Ok(batch)
    }

    fn score(&self, batch: &Batch<'_>) -> Result<Predictions> {
        Ok(match self.task.asked {
            Asked::Predictions => self.model.predict(batch)?,
            Asked::Sums => self.model.tree_sums(batch, &PredictOptions::default())?,
        })
    }

    /// Writes the numbers that the first rows are given, row by row; sums with the model's initial value, as others' are.
    fn check(&self, rows: usize, out: &str) -> Result<String> {
        let predictions = self.score(&self.batch(0, rows)?)?;
        let (what, initial) = match (self.task.asked, &self.model.artifact().body) {
            (Asked::Predictions, _) => ("predictions", 0.0),
            (Asked::Sums, Body::Gbm(gbm)) => ("sums", gbm.init_f),
            (Asked::Sums, _) => ("sums", 0.0),
        };
        let numbers: Vec<&Vec<f64>> = predictions
            .columns
            .iter()
            .filter_map(|column| match &column.values {
                OutputValues::Number(values) => Some(values),
                _ => None,
            })
            .collect();
        let by_row = (0..rows).flat_map(|row| numbers.iter().map(move |values| values[row] + initial));
        std::fs::write(out, by_row.flat_map(f64::to_le_bytes).collect::<Vec<u8>>())?;
        Ok(format!("ok {} {what}", numbers.len()))
    }

    /// Scores batch after batch until `limit` has gone, at least one.
    fn time(&self, size: usize, limit: Duration) -> Result<String> {
        if size == 1 && self.task.asked == Asked::Predictions {
            return self.time_rows(limit);
        }
        let starts = (0..=self.n_rows().saturating_sub(size)).step_by(size).take(4096);
        let batches = starts.map(|from| self.batch(from, size)).collect::<Result<Vec<_>>>()?;
        let watch = Stopwatch::start(self.task.threads);
        let mut done = 0;
        for batch in batches.iter().cycle() {
            std::hint::black_box(self.score(batch)?);
            done += size;
            if watch.clock() >= limit {
                break;
            }
        }
        Ok(format!("{} {done}", watch.read().as_nanos()))
    }

    fn time_rows(&self, limit: Duration) -> Result<String> {
        let mut numbers = vec![0.0; self.model.n_numbers()];
        let watch = Stopwatch::start(self.task.threads);
        let mut done = 0;
        for row in self.rows.chunks_exact(self.model.n_features()).cycle() {
            std::hint::black_box(self.model.predict_raw(row, 0.0, &mut numbers)?);
            done += 1;
            if done % 16 == 0 && watch.clock() >= limit {
                break;
            }
        }
        std::hint::black_box(&numbers);
        Ok(format!("{} {done}", watch.read().as_nanos()))
    }
}

/// Opens a model again and again until `limit` has gone, at least once.
fn load(path: &str, threads: usize, limit: Duration) -> Result<String> {
    let watch = Stopwatch::start(threads);
    let mut done = 0;
    while done == 0 || watch.clock() < limit {
        std::hint::black_box(Model::open(path)?);
        done += 1;
    }
    Ok(format!("{} {done}", watch.read().as_nanos()))
}

fn answer(line: &str, task: Task, opened: &mut Option<Opened>) -> Result<String> {
    let words: Vec<&str> = line.split('\t').collect();
    if let ["open", model, rows, ..] = words[..] {
        *opened = None;
        *opened = Some(Opened::new(model, rows, task)?);
        return Ok("ok".to_owned());
    }
    if let ["first", model] = words[..] {
        return load(model, task.threads, Duration::ZERO);
    }
    let opened = opened.as_ref().ok_or("no model is open")?;
    match words[..] {
        ["check", rows, out] => opened.check(rows.parse()?, out),
        ["time", batch, seconds] => opened.time(batch.parse()?, Duration::from_secs_f64(seconds.parse()?)),
        ["load", seconds] => load(&opened.path, task.threads, Duration::from_secs_f64(seconds.parse()?)),
        _ => Err(format!("not understood: {line}").into()),
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (threads, asked) = match &*arguments {
        [threads] => (threads, Asked::Predictions),
        [threads, sums] if sums == "sums" => (threads, Asked::Sums),
        _ => return Err("usage: peers-worker THREADS [sums]".into()),
    };
    let task = Task { threads: threads.parse()?, asked };
    let mut out = std::io::stdout().lock();
    let mut opened = None;
    writeln!(out, "ready")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        match answer(&line?, task, &mut opened) {
            Ok(answer) => writeln!(out, "{answer}")?,
            Err(error) => writeln!(out, "error {error}")?,
        }
        out.flush()?;
    }
    Ok(())
}
