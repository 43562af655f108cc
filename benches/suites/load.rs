//! Opening a model: reading the file's plain data, and that with compiling; and what an opened model keeps in memory.
//!
//! In flow the models of `benches/models`, and the file that `CENOTE_MODEL` names, if it names one; out flow times of the
//! wall's clock and, first, a table of resident bytes.

use std::hint::black_box;
use std::path::PathBuf;

use cenote::Model;
use cenote::mojo::Artifact;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Name and bytes of each model.
fn models() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models");
    let committed = ["gbm_500x6_numeric", "gbm_500x6_flights", "gbm_multinomial_10", "glm_highcard"];
    let committed = committed.map(|name| folder.join(name).with_extension("zip"));
    let named = std::env::var_os("CENOTE_MODEL").map(PathBuf::from);
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        (name, std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    committed.into_iter().chain(named).map(read).collect()
}

/// Bytes of the process in memory; 0 where there is no `/proc`.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// What each further model of a kind adds.
#[expect(clippy::print_stdout, reason = "criterion measures no memory")]
fn memory() {
    // What is freed would be used again, and not be counted.
    let mut all = Vec::new();
    for (name, bytes) in models() {
        let mut open = |times: u32| {
            let open = || Model::from_bytes(&bytes).expect("a model");
            all.extend((0..times).map(|_| open()));
            resident()
        };
        let before = open(2);
        let kept = open(4).saturating_sub(before) / 4;
        println!("memory/{name}: {kept} bytes resident a model, {} bytes of zip", bytes.len());
    }
}

fn load(criterion: &mut Criterion) {
    memory();
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    for (name, bytes) in models() {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("read", &name), |bencher| {
            bencher.iter(|| black_box(Artifact::from_bytes(&bytes)));
        });
        group.bench_function(BenchmarkId::new("open", &name), |bencher| {
            bencher.iter(|| black_box(Model::from_bytes(&bytes)));
        });
    }
}

criterion_group!(suites, load);
criterion_main!(suites);
