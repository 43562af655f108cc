//! Any bytes as the entries of an honest zip, so that no effort is lost on checksums: `@name` on a line of its own begins an
//! entry, what follows up to the next such line is its content. `corpus.py` makes such files of MOJOs.
#![no_main]

use std::collections::HashSet;
use std::io::{Cursor, Write};

use cenote_mojo::algo::{Node, Tree};
use cenote_mojo::{Archive, Artifact, Body, Limits};
use libfuzzer_sys::fuzz_target;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fuzz_target!(|bytes: &[u8]| {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut names = HashSet::new();
    for part in split(bytes) {
        let Some(end) = part.iter().position(|&byte| byte == b'\n') else { continue };
        let Ok(name) = std::str::from_utf8(&part[..end]) else { continue };
        if names.insert(name) && zip.start_file(name, options).is_ok() {
            zip.write_all(&part[end + 1..]).unwrap();
        }
    }
    let zip = zip.finish().unwrap().into_inner();
    let limits = Limits { total_bytes: 4 << 20, nodes: 100_000, columns: 10_000, ..Limits::default() };
    let Ok(mut archive) = Archive::from_bytes_with(&zip, &limits) else { return };
    if let Ok(artifact) = archive.artifact() {
        check(&artifact);
    }
    let _ = archive.metadata();
});

/// The bytes after each `@` that begins a line.
fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts: Vec<usize> =
        (0..bytes.len()).filter(|&at| bytes[at] == b'@' && (at == 0 || bytes[at - 1] == b'\n')).collect();
    starts.push(bytes.len() + 1);
    let parts: Vec<&[u8]> = starts.windows(2).map(|pair| &bytes[pair[0] + 1..pair[1] - 1]).collect();
    parts.into_iter()
}

/// What a scorer relies on.
fn check(artifact: &Artifact) {
    let forest = match &artifact.body {
        Body::Gbm(gbm) => &gbm.forest,
        Body::Drf(drf) => &drf.forest,
        _ => return,
    };
    assert_eq!(forest.trees.len(), forest.groups * forest.trees_per_group);
    for tree in forest.trees.iter().flatten() {
        check_tree(tree, artifact.schema.features.len());
    }
}

fn check_tree(tree: &Tree, columns: usize) {
    let mut parents = vec![0; tree.nodes.len()];
    for (at, node) in tree.nodes.iter().enumerate() {
        let Node::Split(split) = node else { continue };
        assert!((split.column as usize) < columns);
        for child in [split.left, split.right] {
            assert!(child as usize > at);
            parents[child as usize] += 1;
        }
        if let cenote_mojo::algo::Test::In(set) | cenote_mojo::algo::Test::Range(set) = split.test {
            let set = tree.sets[set as usize];
            assert!(set.start as usize + (set.bits as usize).div_ceil(8) <= tree.set_bytes.len());
        }
    }
    assert_eq!(parents[0], 0);
    assert!(parents[1..].iter().all(|&parents| parents == 1));
    if let Some(aux) = &tree.aux {
        let _ = aux.records();
    }
}
