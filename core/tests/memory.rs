//! What opened models keep resident: less than twice what their files unpack to.
//!
//! One test in a process of its own, so that nothing else allocates meanwhile. The first models are not counted: what
//! opening needs for a while is then in the allocator's hands, and what each further model adds is what it keeps.
#![cfg(target_os = "linux")]

use std::path::Path;

use cenote::Model;

/// Bytes of the process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says so");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line of it");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<usize>().ok()).expect("a number")
        << 10
}

/// Bytes of all entries of a zip, as its directory declares them.
fn unpacked(zip: &[u8]) -> usize {
    let entries = zip.windows(4).enumerate().filter(|(_, bytes)| *bytes == b"PK\x01\x02");
    entries
        .map(|(at, _)| u32::from_le_bytes(zip[at + 24..at + 28].try_into().expect("four bytes")) as usize)
        .sum()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are the point")]
fn a_model_keeps_a_small_multiple_of_its_unpacked_file() {
    const FIRST: usize = 3;
    const MORE: usize = 9;
    // What is freed would be used again, and not be counted.
    let mut all = Vec::new();
    for name in ["gbm_500x6_numeric", "gbm_500x6_flights", "gbm_multinomial_10"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../benches/models/{name}.zip"));
        let zip = std::fs::read(path).expect("a committed model");
        let open = || Model::from_bytes(&zip).expect("a model");
        let mut models: Vec<Model> = (0..FIRST).map(|_| open()).collect();
        let before = resident();
        models.extend((0..MORE).map(|_| open()));
        let kept = (resident() - before) / MORE;
        let unpacked = unpacked(&zip);
        println!("{name}: {kept} bytes resident a model, {unpacked} unpacked");
        assert!(kept < 2 * unpacked, "{name}: {kept} bytes resident a model, {unpacked} unpacked");
        assert!(models.iter().all(|model| model.n_trees() > 0));
        all.append(&mut models);
    }
}
