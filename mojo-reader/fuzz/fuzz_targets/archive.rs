//! Any bytes as a zip. Run with `cargo +nightly fuzz run archive`, best from a corpus of small MOJOs.
#![no_main]

use cenote_mojo::{Archive, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { total_bytes: 4 << 20, nodes: 100_000, columns: 10_000, ..Limits::default() };
    if let Ok(mut archive) = Archive::from_bytes_with(bytes, &limits) {
        let _ = archive.artifact();
        let _ = archive.metadata();
    }
});
