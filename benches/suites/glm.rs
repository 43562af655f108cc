//! A GLM with columns of many levels, from the caller's columns to the predictions, by the form the columns come in.
//!
//! In flow rows drawn from the model's own levels, with missing cells; out flows the time of 100,000 rows on one thread.
//! `raw` lends the scorer its very numbers, so that it is the scorer alone; what the other forms take beyond it is
//! their encoding. The clock is the thread's own, which a busy machine hardly moves; criterion's
//! `ns/row/tree` are nanoseconds a row.

mod clock;

use std::hint::black_box;

use cenote::input::{Batch, Codes, Offsets, Primitive, Strided, Text, Values};
use cenote::{Model, PredictOptions};
use clock::ThreadClock;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 100_000;

/// The columns of a batch in every form.
struct Table {
    /// Raw features, column after column.
    raw: Vec<Vec<f64>>,
    /// The same, row after row.
    by_row: Vec<f64>,
    single: Vec<Vec<f32>>,
    names: Vec<String>,
    texts: Vec<Option<Texts>>,
}

/// A categorical column in the caller's forms. A missing cell is an unseen level, which scores the same.
struct Texts {
    codes: Vec<i32>,
    dictionary: (Vec<i32>, String),
    packed: (Vec<i32>, String),
}

/// `splitmix64`, to draw the same rows everywhere.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn pack<'t>(texts: impl Iterator<Item = &'t str>) -> (Vec<i32>, String) {
    let mut packed = (vec![0], String::new());
    for text in texts {
        packed.1.push_str(text);
        packed.0.push(packed.1.len() as i32);
    }
    packed
}

impl Table {
    fn new(model: &Model) -> Self {
        let state = &mut 1;
        let features = &model.schema().features;
        let mut table = Self {
            raw: Vec::new(),
            by_row: vec![0.0; ROWS * features.len()],
            single: Vec::new(),
            names: features.iter().map(|column| column.name.clone()).collect(),
            texts: Vec::new(),
        };
        for (at, column) in features.iter().enumerate() {
            // One cell of twenty is missing.
            let mut missing = || next(state).is_multiple_of(20);
            let gaps: Vec<bool> = (0..ROWS).map(|_| missing()).collect();
            let values: Vec<f64> = match &column.domain {
                Some(domain) => {
                    let codes = gaps.iter().map(|gap| match gap {
                        true => domain.len() as i32,
                        false => (next(state) % domain.len() as u64) as i32,
                    });
                    let codes: Vec<i32> = codes.collect();
                    let text = |code: i32| domain.get(code as usize).map_or("no such level", String::as_str);
                    table.texts.push(Some(Texts {
                        dictionary: pack((0..=domain.len() as i32).map(text)),
                        packed: pack(codes.iter().map(|code| text(*code))),
                        codes: codes.clone(),
                    }));
                    let raw = |code: i32| if code as usize == domain.len() { f64::NAN } else { code.into() };
                    codes.into_iter().map(raw).collect()
                }
                None => {
                    table.texts.push(None);
                    let unit = |bits: u64| (bits >> 11) as f64 / (1_u64 << 53) as f64;
                    gaps.iter()
                        .map(
                            |gap| {
                                if *gap {
                                    f64::NAN
                                } else {
                                    f64::from((unit(next(state)) * 8.0 - 4.0) as f32)
                                }
                            },
                        )
                        .collect()
                }
            };
            for (row, value) in values.iter().enumerate() {
                table.by_row[row * features.len() + at] = *value;
            }
            table.single.push(values.iter().map(|value| *value as f32).collect());
            table.raw.push(values);
        }
        table
    }

    fn batch<'t>(&'t self, column: impl Fn(usize) -> Values<'t>) -> Batch<'t> {
        let mut batch = Batch::new(ROWS);
        for (at, name) in self.names.iter().enumerate() {
            batch.push(name.as_str(), column(at)).expect("columns of one length, each once");
        }
        batch
    }

    /// Numbers as they are, and `text` where levels are.
    fn with_texts<'t>(&'t self, text: impl Fn(&'t Texts) -> Values<'t>) -> Batch<'t> {
        self.batch(|at| self.texts[at].as_ref().map_or_else(|| Values::from(&*self.raw[at]), &text))
    }
}

fn packed((offsets, data): &(Vec<i32>, String)) -> Text<'_> {
    Text::Packed { offsets: Offsets::I32(offsets), data, validity: None }
}

fn raw(values: Strided<'_, f64>) -> Values<'_> {
    Values::Raw(Primitive { values, validity: None })
}

fn dictionary(texts: &Texts) -> Values<'_> {
    let levels = packed(&texts.dictionary);
    Values::Dictionary { codes: Codes::I32(&texts.codes), validity: None, levels }
}

fn glm(c: &mut Criterion<ThreadClock>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/glm_highcard.zip");
    let model = Model::open(path).expect("a committed model");
    let table = Table::new(&model);
    let width = table.names.len();
    let forms = [
        ("raw", table.batch(|at| raw((&*table.raw[at]).into()))),
        ("raw_by_row", table.batch(|at| raw(Strided::new(&table.by_row[at..], width)))),
        ("dictionary", table.with_texts(dictionary)),
        ("text", table.with_texts(|texts| Values::Text(packed(&texts.packed)))),
        (
            "dictionary_f32",
            table.batch(|at| match &table.texts[at] {
                Some(texts) => dictionary(texts),
                None => Values::from(&*table.single[at]),
            }),
        ),
    ];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
    let options = PredictOptions::default();
    let mut group = c.benchmark_group("glm_highcard");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10);
    for (form, batch) in &forms {
        group.bench_function(*form, |b| {
            pool.install(|| b.iter(|| model.predict_with(black_box(batch), &options).expect("predictions")));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ThreadClock);
    targets = glm
}
criterion_main!(benches);
