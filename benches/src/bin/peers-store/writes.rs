//! Bulk writes: the newest of each key wins; the rate, what a replay changes, and the memory that a long write takes.

use std::time::Instant;

use cenote::Batch;
use cenote::store::WriteOptions;

use crate::{KEYS, Outcome, Place, feature_names, value, view, wide};

/// A column of keys, one of event times and one of numbers, which is every feature's.
struct Columns {
    ids: Vec<i64>,
    events: Vec<i64>,
    numbers: Vec<f64>,
}

impl Columns {
    fn new(rows: usize, event: i64) -> Self {
        Self {
            ids: (0..rows as i64).collect(),
            events: vec![event * 1_000_000; rows],
            numbers: (0..rows).map(|row| row as f64 / 3.0 + event as f64).collect(),
        }
    }

    fn batch<'a>(&'a self, names: &'a [String]) -> Outcome<Batch<'a>> {
        let mut batch = Batch::new(self.ids.len());
        batch.push("id", self.ids.as_slice().into())?;
        batch.push("event_ts", self.events.as_slice().into())?;
        for name in names {
            batch.push(name.as_str(), self.numbers.as_slice().into())?;
        }
        Ok(batch)
    }
}

/// The table that reads are from.
pub(crate) async fn fill(place: &Place) -> Outcome {
    let store = place.builder().connect().await?;
    let view = view()?;
    store.apply(&view).await?;
    let (columns, names) = (Columns::new(KEYS as usize, 1), feature_names());
    store.writer(&view).upsert_batch(&columns.batch(&names)?, WriteOptions::default()).await?;
    let sql = format!("VACUUM (ANALYZE) \"{}\".bench_v1", place.schema);
    place.client().await?.batch_execute(&sql).await?;
    Ok(())
}

/// New rows into a table of this round, then the same again.
pub(crate) async fn upsert(place: &Place, rows: usize, round: usize) -> Outcome {
    let store = place.builder().connect().await?;
    let view = wide(&format!("upsert_{round}"), "f", crate::FEATURES).build()?;
    store.apply(&view).await?;
    let (columns, names) = (Columns::new(rows, 1), feature_names());
    let batch = columns.batch(&names)?;
    let writer = store.writer(&view);
    let start = Instant::now();
    let done = writer.upsert_batch(&batch, WriteOptions::default()).await?;
    value("upsert", "cenote", "rows_per_s", rows as f64 / start.elapsed().as_secs_f64());
    assert_eq!(done.inserted, rows as u64);
    let start = Instant::now();
    let done = writer.upsert_batch(&batch, WriteOptions::default()).await?;
    value("upsert_replay", "cenote", "rows_per_s", rows as f64 / start.elapsed().as_secs_f64());
    value("upsert_replay", "cenote", "rows_changed", (done.inserted + done.updated) as f64);
    Ok(())
}

/// Many rows by one writer, a batch at a time as a stream gives them; how far the process's memory rose.
pub(crate) async fn memory(place: &Place, rows: usize) -> Outcome {
    const BATCH: usize = 100_000;
    let store = place.builder().connect().await?;
    let view = wide("memory", "f", crate::FEATURES).build()?;
    store.apply(&view).await?;
    let writer = store.writer(&view);
    let names = feature_names();
    let mut columns = Columns::new(BATCH, 1);
    let start = Instant::now();
    for batch in 0..rows.div_ceil(BATCH) {
        let first = (batch * BATCH) as i64;
        columns.ids.iter_mut().zip(first..).for_each(|(id, next)| *id = next);
        writer.upsert_batch(&columns.batch(&names)?, WriteOptions::default()).await?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let work = format!("upsert_{}m", rows / 1_000_000);
    value(&work, "cenote", "rows_per_s", rows as f64 / seconds);
    value(&work, "cenote", "peak_mb", peak()?);
    let sql = format!("DROP TABLE \"{}\".memory_v1", place.schema);
    place.client().await?.batch_execute(&sql).await?;
    Ok(())
}

/// The most memory that this process has had, in MB.
fn peak() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}
