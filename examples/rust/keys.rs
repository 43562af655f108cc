//! Scores keys: features come from PostgreSQL and go through the model in one call.
//!
//! Usage: `CENOTE_DATABASE_URL=postgres://... cargo run -p cenote-examples --bin keys`, with the demo's model. It makes the
//! view's table in that database, if it is not there, and writes two rows.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::Path;

use cenote::store::{FeatureStore, Record, Timestamp, Type, Value, View};
use cenote::{Model, OutputValues};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("CENOTE_DATABASE_URL").map_err(|_| "CENOTE_DATABASE_URL names no database")?;
    let model = Model::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/demo/model.zip"))?;

    // A view says what is known of an entity, and has a table of its own.
    let view = View::builder("example_flights")
        .key("flight_id", Type::I64)
        .feature("carrier", Type::Text)
        .feature("origin", Type::Text)
        .feature("hour", Type::F64)
        .feature("distance", Type::F64)
        .build()?;
    let store = FeatureStore::connect(&url).await?;
    store.apply(&view).await?;
    let now = Timestamp::now();
    let flight = |key: i64, carrier: &str, origin: &str, hour: f64, distance: Value| {
        Record::new(key, now, [carrier.into(), origin.into(), Value::from(hour), distance])
    };
    let flights = [flight(1, "UA", "EWR", 8.0, 1372.0.into()), flight(2, "DL", "JFK", 19.0, Value::Null)];
    store.writer(&view).upsert(&flights).await?;

    // Binding checks names, types and levels once; what the view does not have must be said.
    let known: Vec<&str> = view.features().iter().map(|feature| feature.name.as_str()).collect();
    let others = model.schema().input_columns().iter().map(|column| column.name.clone());
    let absent: Vec<String> = others.filter(|name| !known.contains(&name.as_str())).collect();
    let plan = store.plan(&model, &view).absent(absent).build().await?;

    // Key 3 has no row: its features are missing values, and its status says so.
    let keys = [1i64, 2, 3];
    let scores = plan.score_many(keys).await?;
    let late = scores.predictions.column("Yes").ok_or("the model gives no probability of Yes")?;
    let OutputValues::Number(late) = &late.values else { return Err("a probability is no number".into()) };
    for ((key, status), late) in keys.iter().zip(&scores.status).zip(late) {
        println!("flight {key}: late with probability {late:.4} (features: {status:?})");
    }
    store.close().await;
    Ok(())
}
