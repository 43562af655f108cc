//! Every engine on every instruction set: `cargo bench -p cenote-bench --bench engines`.
//!
//! In flow committed and generated forests and rows by column; out flows what a whole `predict` takes on one thread, from
//! borrowed columns of `f64` to predictions, by engine, instruction set, batch size, depth, trees, columns and classes:
//! where criterion says `thrpt` stand nanoseconds of processor time a row a tree, so that rows a second are `1e9 / thrpt /
//! trees`. `threads` is by the wall's clock.

mod clock;
mod forests;

use std::hint::black_box;
use std::time::Duration;

use cenote::mojo::{Artifact, Body};
use clock::ThreadClock;
use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forests::{DEEP, SHALLOW, Shape};

const ENGINES: [(&str, &str); 7] = [
    ("masks", "avx512"),
    ("masks", "avx2"),
    ("subtrees", "avx512"),
    ("subtrees", "avx2"),
    ("subtrees", "portable"),
    ("flat", "portable"),
    ("masks", "portable"),
];

fn trees(artifact: &Artifact) -> u64 {
    match &artifact.body {
        Body::Gbm(gbm) => gbm.forest.trees.iter().flatten().count() as u64,
        Body::Drf(drf) => drf.forest.trees.iter().flatten().count() as u64,
        _ => 1,
    }
}

/// Half a second a cell: there are some two hundred.
fn brief<M: Measurement>(group: &mut BenchmarkGroup<'_, M>) {
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
}

/// Every engine that fits, by batch size.
fn by_batch(
    criterion: &mut Criterion<ThreadClock>,
    name: &str,
    artifact: &Artifact,
    sizes: &[usize],
    engines: &[(&str, &str)],
) {
    let columns = forests::rows(artifact, sizes.iter().copied().max().unwrap_or(0));
    let pool = forests::pool(1);
    let mut group = criterion.benchmark_group(name);
    brief(&mut group);
    for (engine, isa) in engines {
        // The walks are far slower: a large batch says no more than a small one.
        let most =
            if *engine == "flat" || (*engine, *isa) == ("masks", "portable") { 1000 } else { usize::MAX };
        let Some(model) = forests::model(artifact, engine, isa) else { continue };
        for size in sizes.iter().copied().filter(|size| *size <= most) {
            group.throughput(Throughput::Elements(size as u64 * trees(artifact)));
            let batch = forests::batch(artifact, &columns, size);
            group.bench_function(BenchmarkId::new(format!("{engine}-{isa}"), size), |bencher| {
                pool.install(|| bencher.iter(|| black_box(model.predict(&batch))));
            });
        }
    }
}

fn engines(criterion: &mut Criterion<ThreadClock>) {
    let sizes = [1, 8, 64, 1000, 100_000];
    for name in ["gbm_500x6_numeric", "gbm_500x6_flights", "gbm_multinomial_10"] {
        by_batch(criterion, name, &forests::committed(name), &sizes, &ENGINES);
    }
    by_batch(criterion, "generated_500x6", &forests::artifact(SHALLOW), &sizes, &ENGINES);
    by_batch(criterion, "generated_100x20", &forests::artifact(DEEP), &[1, 64, 1000, 20_000], &ENGINES);
}

fn shapes(criterion: &mut Criterion<ThreadClock>) {
    let best = [
        ("masks", "avx512"),
        ("masks", "avx2"),
        ("subtrees", "avx512"),
        ("subtrees", "avx2"),
        ("subtrees", "portable"),
    ];
    let sizes = [20_000];
    for depth in [2, 4, 6, 8, 10, 12] {
        let artifact = forests::artifact(Shape { trees: 100, depth, ..SHALLOW });
        by_batch(criterion, &format!("depth_{depth:02}"), &artifact, &sizes, &best);
    }
    for trees in [10, 100, 1000] {
        let artifact = forests::artifact(Shape { trees, ..SHALLOW });
        by_batch(criterion, &format!("trees_{trees:04}"), &artifact, &sizes, &best[..2]);
    }
    for columns in [4, 28, 200] {
        let artifact = forests::artifact(Shape { trees: 100, columns, ..SHALLOW });
        by_batch(criterion, &format!("columns_{columns:03}"), &artifact, &sizes, &best[..2]);
    }
    for classes in [3, 10] {
        let artifact = forests::artifact(Shape { trees: 50, classes, ..SHALLOW });
        by_batch(criterion, &format!("classes_{classes:02}"), &artifact, &sizes, &best[..2]);
    }
}

/// The same batch on one thread and on two.
fn threads(criterion: &mut Criterion) {
    let artifact = forests::committed("gbm_500x6_numeric");
    let model = cenote::Model::from_artifact(artifact.clone()).expect("a forest");
    let columns = forests::rows(&artifact, 100_000);
    let batch = forests::batch(&artifact, &columns, 100_000);
    let mut group = criterion.benchmark_group("threads");
    brief(&mut group);
    group.throughput(Throughput::Elements(100_000 * trees(&artifact)));
    for threads in [1, 2] {
        let pool = forests::pool(threads);
        group.bench_function(BenchmarkId::from_parameter(threads), |bencher| {
            pool.install(|| bencher.iter(|| black_box(model.predict(&batch))));
        });
    }
}

/// One row, from raw `f64` to the prediction.
fn one_row(criterion: &mut Criterion<ThreadClock>) {
    let mut group = criterion.benchmark_group("one_row");
    brief(&mut group);
    for name in ["gbm_500x6_numeric", "gbm_500x6_flights", "gbm_multinomial_10"] {
        let artifact = forests::committed(name);
        let columns = forests::rows(&artifact, 256);
        let rows: Vec<Vec<f64>> =
            (0..256).map(|row| columns.iter().map(|column| column[row]).collect()).collect();
        for isa in ["avx512", "avx2", "portable"] {
            let engine = if isa == "portable" { "subtrees" } else { "masks" };
            let Some(model) = forests::model(&artifact, engine, isa) else { continue };
            let mut next = rows.iter().cycle();
            let mut numbers = vec![0.0; model.n_numbers()];
            group.bench_function(BenchmarkId::new(name, isa), |bencher| {
                bencher.iter(|| {
                    let row = next.next().expect("a cycle");
                    black_box(model.predict_raw(row, 0.0, &mut numbers).is_ok())
                });
            });
        }
    }
}

criterion_group! {
    name = forests_by_shape;
    config = Criterion::default().with_measurement(ThreadClock);
    targets = engines, shapes, one_row
}
criterion_group!(whole, threads);
criterion_main!(forests_by_shape, whole);
