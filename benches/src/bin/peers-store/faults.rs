//! What callers see when backends die and queries are given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cenote::store::{FeatureStore, Value};
use tokio_postgres::Client;

use crate::{KEYS, Outcome, Place, value, view};

const POOL: usize = 8;

/// A store whose connections can be told from others.
async fn store(place: &Place, application: &str, read: Duration) -> Outcome<FeatureStore> {
    let dsn = format!("{} application_name={application}", place.dsn);
    let builder = FeatureStore::builder(&dsn).schema(&place.schema).pool(POOL).read_timeout(read);
    Ok(builder.connect().await?)
}

/// Ends backends under load, one after another; then looks whether the pool is whole.
pub(crate) async fn kills(place: &Place, kills: usize) -> Outcome {
    let (work, application) = ("backend_kills", "peers_store_kills");
    let store = store(place, application, Duration::from_secs(5)).await?;
    let reader = store.reader(&view()?);
    let [reads, wrong, errors] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..POOL as i64)
        .map(|task| {
            let (reader, stop) = (reader.clone(), Arc::clone(&stop));
            let [reads, wrong, errors] = [&reads, &wrong, &errors].map(Arc::clone);
            tokio::spawn(async move {
                let mut call = task;
                while !stop.load(Ordering::Relaxed) {
                    call += 7919;
                    let id = call % KEYS;
                    let counter = match reader.get(id).await {
                        Ok(row) if row.get("f0") == Some(&Value::from(id as f64 / 3.0 + 1.0)) => &reads,
                        Ok(_) => &wrong,
                        Err(_) => &errors,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let admin = place.client().await?;
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
                WHERE application_name = $1 ORDER BY random() LIMIT 1) one";
    let mut killed = 0;
    while killed < kills as i64 {
        killed += admin.query_one(kill, &[&application]).await?.get::<_, i64>(0);
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    // All that are left at once, and how long until every caller has its answer again.
    let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
    killed += admin.query_one(all, &[&application]).await?.get::<_, i64>(0);
    let start = Instant::now();
    let again: Vec<_> = (0..POOL as i64)
        .map(|id| {
            let reader = reader.clone();
            tokio::spawn(async move { reader.get(id).await.is_ok() })
        })
        .collect();
    let mut recovered = true;
    for task in again {
        recovered &= task.await?;
    }
    let recovery = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await?;
    }
    let failed = wrong.load(Ordering::Relaxed) + u64::from(!recovered);
    value(work, "cenote", "kills", killed as f64);
    value(work, "cenote", "reads", reads.load(Ordering::Relaxed) as f64);
    value(work, "cenote", "wrong_reads", failed as f64);
    value(work, "cenote", "visible_errors", errors.load(Ordering::Relaxed) as f64);
    value(work, "cenote", "recovery_ms", recovery.as_secs_f64() * 1e3);
    value(work, "cenote", "pool_missing", (POOL - store.connections().0) as f64);
    Ok(())
}

/// Queries that wait for a lock, given up by their deadline or by their caller: how long the server works on.
pub(crate) async fn cancel(place: &Place, times: usize) -> Outcome {
    let application = "peers_store_cancel";
    let store = store(place, application, Duration::from_millis(60)).await?;
    let reader = store.reader(&view()?);
    let (admin, lock) = (place.client().await?, place.client().await?);
    reader.get(1i64).await?;
    let table = format!("\"{}\".bench_v1", place.schema);
    lock.batch_execute(&format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await?;
    let (mut deadline, mut dropped) = (Vec::new(), Vec::new());
    for _ in 0..times {
        if reader.get(1i64).await.is_ok() {
            return Err("a read went through a lock".into());
        }
        deadline.push(until_free(&admin, application).await?);
        let _ = tokio::time::timeout(Duration::from_millis(20), reader.get(1i64)).await;
        dropped.push(until_free(&admin, application).await?);
    }
    crate::samples("free_after_deadline", "cenote", &deadline);
    crate::samples("free_after_drop", "cenote", &dropped);

    // The driver alone: the query of a future that was dropped runs on.
    let dsn = format!("{} application_name=peers_store_raw", place.dsn);
    let (client, connection) = tokio_postgres::connect(&dsn, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let sql = format!("SELECT * FROM {table} WHERE id = 1");
    let _ = tokio::time::timeout(Duration::from_millis(20), client.query(&sql, &[])).await;
    let free = until_free(&admin, "peers_store_raw").await?;
    crate::samples("free_after_drop", "tokio_postgres", &[free]);
    lock.batch_execute("ROLLBACK").await?;
    Ok(())
}

/// How long until none of an application's backends is at work; two seconds where they do not end.
async fn until_free(admin: &Client, application: &str) -> Outcome<Duration> {
    let start = Instant::now();
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state <> 'idle'";
    while start.elapsed() < Duration::from_secs(2) {
        if admin.query_one(sql, &[&application]).await?.get::<_, i64>(0) == 0 {
            break;
        }
    }
    Ok(start.elapsed())
}
