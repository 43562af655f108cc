//! Redis behind the process's own tier: a guest that may be late, stopped, killed and brought back empty.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cenote::store::{CacheOptions, FeatureStore, Record, Timestamp, Type, Value, View};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::server;

/// A private Redis on a free port, ended with the test.
struct Redis {
    port: u16,
    folder: TempDir,
    child: Option<Child>,
}

impl Redis {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { port, folder: tempfile::tempdir().unwrap(), child: None };
        redis.run();
        redis
    }

    fn run(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the cache's tests start a Redis of their own: install the server (Debian: apt-get install redis-server)");
        self.child = Some(child);
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "Redis does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, signal: &str) {
        let process = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }

    fn options(&self) -> CacheOptions {
        CacheOptions::new().redis(format!("redis://127.0.0.1:{}/", self.port), Duration::from_millis(300))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn view() -> View {
    View::builder("shared").key("id", Type::I64).feature("a", Type::F64).build().unwrap()
}

async fn write(store: &FeatureStore, value: f64) {
    let rows: Vec<_> = (0..20i64)
        .map(|id| {
            let values: Vec<Value> = vec![(value + id as f64).into()];
            Record::new(id, Timestamp::now(), values)
        })
        .collect();
    store.writer(&view()).upsert(&rows).await.unwrap();
}

async fn writer() -> FeatureStore {
    let store = server::builder().connect().await.unwrap();
    store.apply(&view()).await.unwrap();
    store.notify_changes(&view()).await.unwrap();
    write(&store, 0.0).await;
    store
}

async fn reader(of: &FeatureStore, options: CacheOptions) -> FeatureStore {
    let store =
        FeatureStore::builder(&server::dsn()).schema(of.schema()).cache(options).connect().await.unwrap();
    for _ in 0..1000 {
        let before = store.cache_counters();
        store.reader(&view()).get(19i64).await.unwrap();
        if store.cache_counters().bypassed == before.bypassed {
            return store;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the cache did not come on within 20 s");
}

async fn a(store: &FeatureStore, id: i64) -> f64 {
    store.reader(&view()).get(id).await.unwrap().get("a").unwrap().as_f64().unwrap()
}

async fn becomes(store: &FeatureStore, id: i64, value: f64) {
    for _ in 0..1000 {
        if a(store, id).await == value {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("a change is heard of within 10 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_fetched_another_has_until_it_changes() {
    let redis = Redis::start();
    let writing = writer().await;
    let first = reader(&writing, redis.options()).await;
    // The second comes before the fills: to come is to trust nothing that is there.
    let second = reader(&writing, redis.options()).await;
    // The first misses make the marks; from then on what is missed is filled.
    for id in 0..10 {
        a(&first, id).await;
        // The fill is under way behind the first's back.
        sleep(Duration::from_millis(30)).await;
        assert_eq!(a(&second, id).await, id as f64);
    }
    assert!(second.cache_counters().redis_hits > 0, "{:?}", second.cache_counters());
    assert_eq!(second.cache_counters().redis_errors, 0);
    write(&writing, 100.0).await;
    for id in 0..10 {
        becomes(&first, id, 100.0 + id as f64).await;
        becomes(&second, id, 100.0 + id as f64).await;
    }
    // Somebody who comes later has nothing old either.
    let third = reader(&writing, redis.options()).await;
    for id in 0..20 {
        assert_eq!(a(&third, id).await, 100.0 + id as f64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_gone_is_a_miss_and_one_that_comes_back_has_nothing_old() {
    let mut redis = Redis::start();
    let writing = writer().await;
    let store = reader(&writing, redis.options()).await;
    for id in 0..10 {
        assert_eq!(a(&store, id).await, id as f64);
    }
    redis.kill();
    write(&writing, 50.0).await;
    for id in 0..20 {
        becomes(&store, id, 50.0 + id as f64).await;
    }
    assert!(store.cache_counters().redis_errors > 0);
    redis.run();
    write(&writing, 60.0).await;
    for id in 0..20 {
        becomes(&store, id, 60.0 + id as f64).await;
    }
    // It serves again once it is no longer left alone: another process finds what this one fills.
    sleep(Duration::from_millis(1200)).await;
    let other = reader(&writing, redis.options()).await;
    for id in 0..20 {
        assert_eq!(a(&other, id).await, 60.0 + id as f64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stands_still_costs_its_time_limit_and_hides_no_change() {
    let redis = Redis::start();
    let writing = writer().await;
    let store = reader(&writing, redis.options()).await;
    for id in 0..10 {
        a(&store, id).await;
    }
    redis.signal("-STOP");
    write(&writing, 70.0).await;
    let start = Instant::now();
    becomes(&store, 1, 71.0).await;
    assert!(start.elapsed() < Duration::from_secs(8));
    // It comes back with the rows from before the change, and none of them is trusted.
    redis.signal("-CONT");
    sleep(Duration::from_millis(1200)).await;
    let other = reader(&writing, redis.options()).await;
    for id in 0..20 {
        assert_eq!(a(&other, id).await, 70.0 + id as f64);
        becomes(&store, id, 70.0 + id as f64).await;
    }
}
