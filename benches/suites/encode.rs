//! What a batch costs before its sums, by the form its columns come in: every column brought to raw features, and one tree.
//!
//! In flow rows drawn from the levels of `gbm_500x6_flights`, of which one tree is kept; out flows the wall's time of
//! 100,000 rows on one thread. `raw` is lent as it is, so that it is the tree and the answer alone.

use std::hint::black_box;

use cenote::input::{Batch, Codes, Offsets, Primitive, Strided, Text, Validity, Values};
use cenote::mojo::{Artifact, Body};
use cenote::{Model, PredictOptions};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 100_000;

/// One column in every form.
struct Column {
    name: String,
    raw: Vec<f64>,
    single: Vec<f32>,
    /// Codes, the dictionary, and every row's text; `None` for a column of numbers.
    levels: Option<(Vec<i32>, Packed, Packed)>,
}

/// Offsets and data.
type Packed = (Vec<i32>, String);

fn pack<'t>(texts: impl Iterator<Item = &'t str>) -> Packed {
    let mut packed = (vec![0], String::new());
    for text in texts {
        packed.1.push_str(text);
        packed.0.push(packed.1.len() as i32);
    }
    packed
}

fn text((offsets, data): &Packed) -> Text<'_> {
    Text::Packed { offsets: Offsets::I32(offsets), data, validity: None }
}

/// Rows that are the same everywhere.
fn columns(artifact: &Artifact) -> Vec<Column> {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let column = |feature: &cenote::mojo::Column| {
        let draws: Vec<usize> = (0..ROWS).map(|_| next()).collect();
        let levels = feature.domain.as_ref().map(|domain| {
            let codes: Vec<i32> = draws.iter().map(|draw| (draw % domain.len()) as i32).collect();
            let texts = pack(codes.iter().map(|code| domain[*code as usize].as_str()));
            (codes, pack(domain.iter().map(String::as_str)), texts)
        });
        let raw: Vec<f64> = match &levels {
            Some((codes, ..)) => codes.iter().map(|code| f64::from(*code)).collect(),
            None => draws.iter().map(|draw| f64::from(*draw as f32 / 1000.0)).collect(),
        };
        let single = raw.iter().map(|value| *value as f32).collect();
        Column { name: feature.name.clone(), raw, single, levels }
    };
    artifact.schema.features.iter().map(column).collect()
}

fn encode(criterion: &mut Criterion) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/gbm_500x6_flights.zip");
    let mut artifact = Artifact::open(path).expect("a committed model");
    let Body::Gbm(gbm) = &mut artifact.body else { unreachable!("a GBM") };
    gbm.forest.trees.truncate(1);
    gbm.forest.groups = 1;
    let columns = columns(&artifact);
    let model = Model::from_artifact(artifact).expect("a tree");
    let by_row: Vec<f64> =
        (0..ROWS).flat_map(|row| columns.iter().map(move |column| column.raw[row])).collect();
    let present = vec![0xff; ROWS.div_ceil(8)];
    let validity = Some(Validity::new(&present, 0));

    let raw = |values| Values::Raw(Primitive { values, validity: None });
    let forms = ["raw", "by_row", "dictionary", "dictionary_nullable", "dictionary_f32", "text"];
    let value = |form: &str, at: usize| {
        let column = &columns[at];
        match (&column.levels, form) {
            (_, "raw") => raw(Strided::from(&*column.raw)),
            (_, "by_row") => raw(Strided::new(&by_row[at..], columns.len())),
            (None, "dictionary_f32") => Values::from(&*column.single),
            (None, _) => Values::from(&*column.raw),
            (Some((.., texts)), "text") => Values::Text(text(texts)),
            (Some((codes, levels, _)), form) => Values::Dictionary {
                codes: Codes::I32(codes),
                validity: validity.filter(|_| form == "dictionary_nullable"),
                levels: text(levels),
            },
        }
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
    let options = PredictOptions::default();
    let mut group = criterion.benchmark_group("encode");
    group.sample_size(10).throughput(Throughput::Elements(ROWS as u64));
    for form in forms {
        let mut batch = Batch::new(ROWS);
        for (at, column) in columns.iter().enumerate() {
            batch.push(column.name.as_str(), value(form, at)).expect("columns of one length, each once");
        }
        group.bench_function(form, |bencher| {
            pool.install(|| bencher.iter(|| black_box(model.predict_with(&batch, &options))));
        });
    }
}

criterion_group!(suites, encode);
criterion_main!(suites);
