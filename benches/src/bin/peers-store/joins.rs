//! The point-in-time join of a training set, beside the bare statement.

use std::time::Instant;

use cenote::store::{Key, Record, Timestamp, WriteOptions};
use tokio_postgres::types::ToSql;

use crate::{FEATURES, Outcome, Place, value, view_with_history};

const HOUR: i64 = 3_600_000_000;

/// A history of an event an hour of each key, known when it happened.
pub(crate) async fn fill(place: &Place, keys: usize, events: usize) -> Outcome {
    let store = place.builder().connect().await?;
    let view = view_with_history()?;
    store.apply(&view).await?;
    let writer = store.writer(&view);
    for event in 0..events as i64 {
        let rows: Vec<_> = (0..keys as i64)
            .map(|id| {
                let values = (0..FEATURES).map(|feature| (id + event) as f64 + feature as f64 / 32.0);
                Record::new(id, Timestamp::from_micros(event * HOUR), values.collect::<Vec<_>>())
            })
            .collect();
        writer.upsert_with(&rows, WriteOptions::written_with_event()).await?;
    }
    let sql = format!("VACUUM (ANALYZE) \"{}\".past_v1_history", place.schema);
    place.client().await?.batch_execute(&sql).await?;
    Ok(())
}

/// The entities of round after round: keys and times in no order.
fn entities(count: usize, keys: usize, events: usize) -> Vec<(i64, i64)> {
    let (keys, span) = (keys as i64, events as i64 * HOUR / 1_000_000);
    (0..count as i64).map(|row| (row * 104_729 % keys, row * 7_919 % span * 1_000_000)).collect()
}

pub(crate) async fn join(place: &Place, count: usize, keys: usize, events: usize) -> Outcome {
    let store = place.builder().connect().await?;
    let asked = entities(count, keys, events);
    let ours: Vec<(Key, Timestamp)> =
        asked.iter().map(|(id, at)| (Key::from(*id), Timestamp::from_micros(*at))).collect();
    let as_of = store.as_of(&view_with_history()?)?;
    let start = Instant::now();
    let set = as_of.join(&ours).await?;
    value("join", "cenote", "s", start.elapsed().as_secs_f64());
    for (row, (id, at)) in asked.iter().enumerate() {
        assert_eq!(set.columns[0].value(row), ((id + at / HOUR) as f64).into(), "entity {row}");
    }
    bare(place, &asked).await
}

/// The statement alone: the entities are in a table already, sorted; the answer is read and thrown away.
async fn bare(place: &Place, asked: &[(i64, i64)]) -> Outcome {
    let client = place.client().await?;
    let (ids, times): (Vec<i64>, Vec<f64>) = asked.iter().map(|(id, at)| (*id, *at as f64 / 1e6)).unzip();
    let make = "CREATE TEMPORARY TABLE entities (id bigint, at timestamptz, row integer); SET jit = off";
    client.batch_execute(make).await?;
    let parameters: [&(dyn ToSql + Sync); 2] = [&ids, &times];
    let fill = "INSERT INTO entities SELECT id, to_timestamp(at), row FROM \
                unnest($1::bigint[], $2::float8[]) WITH ORDINALITY AS e(id, at, row) ORDER BY id, at";
    client.execute(fill, &parameters).await?;
    client.batch_execute("ANALYZE entities").await?;
    let names = crate::feature_names().join(", ");
    let sql = format!(
        "SELECT e.row, n.* FROM entities e CROSS JOIN LATERAL (SELECT event_ts, {names} \
         FROM \"{}\".past_v1_history h WHERE h.id = e.id AND h.event_ts <= e.at AND h.written_at <= e.at \
         ORDER BY h.event_ts DESC, h.written_at DESC LIMIT 1) n",
        place.schema
    );
    let start = Instant::now();
    let rows = client.query(&sql, &[]).await?;
    value("join", "bare_lateral", "s", start.elapsed().as_secs_f64());
    assert_eq!(rows.len(), asked.len());
    Ok(())
}
