//! What the store tells of itself: the documented names, with labels that hold no key, value or address.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cenote::store::{Deadlines, FeatureStore, Record, Timestamp, Type, Value, View};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::server;

/// Notes what is registered.
#[derive(Default, Clone)]
struct Names(Arc<Mutex<Vec<String>>>);

impl Names {
    fn note(&self, key: &Key) {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        self.0.lock().unwrap().push(format!("{} {}", key.name(), labels.join(" ")));
    }

    fn has(&self, name: &str) -> bool {
        self.0.lock().unwrap().iter().any(|other| other == name)
    }
}

impl Recorder for Names {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.note(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note(key);
        Histogram::noop()
    }
}

#[test]
fn calls_are_told_of_by_their_documented_names() {
    let names = Names::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&names, || runtime.block_on(calls()));
    for name in [
        "cenote_store_seconds step=connection outcome=ok",
        "cenote_store_seconds step=read outcome=ok",
        "cenote_store_seconds step=read outcome=deadline",
        "cenote_store_seconds step=read outcome=abandoned",
        "cenote_store_seconds step=write outcome=ok",
        "cenote_rows_written_total what=inserted",
    ] {
        assert!(names.has(name), "{name}: {:?}", names.0.lock().unwrap());
    }
    let all = names.0.lock().unwrap().concat();
    assert!(!all.contains("secret") && !all.contains("127.0.0.1"), "{all}");
}

async fn calls() {
    let view = View::builder("told").key("id", Type::Text).feature("a", Type::F64).build().unwrap();
    let mut deadlines = Deadlines::default();
    deadlines.read = Duration::from_millis(300);
    let store = server::builder().deadlines(deadlines).connect().await.unwrap();
    store.apply(&view).await.unwrap();
    let values: Vec<Value> = vec![1.0.into()];
    store.writer(&view).upsert(&[Record::new("secret", Timestamp::now(), values)]).await.unwrap();
    let reader = store.reader(&view);
    reader.get("secret").await.unwrap();
    // A lock that nobody gives up: a deadline, and a caller who does not wait for it.
    let client = server::client().await;
    let lock = format!("BEGIN; LOCK TABLE \"{}\".{} IN ACCESS EXCLUSIVE MODE", store.schema(), view.table());
    client.batch_execute(&lock).await.unwrap();
    reader.get("secret").await.unwrap_err();
    let abandoned = tokio::time::timeout(Duration::from_millis(50), reader.get("secret")).await;
    assert!(abandoned.is_err());
    client.batch_execute("ROLLBACK").await.unwrap();
    let _: FeatureStore = store;
}
