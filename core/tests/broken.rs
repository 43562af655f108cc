//! Models whose trees are broken, opened by [`Model`], which never has them as plain data: refused where the reader refuses
//! them, with the same words, and else the same model.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use cenote::Model;
use cenote::mojo::Artifact;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// The entries of a committed model.
fn entries(case: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/zoo").join(case).join("model.zip");
    let mut zip = ZipArchive::new(Cursor::new(std::fs::read(path).expect("a fixture"))).expect("a zip");
    let count = zip.len();
    let read = |at| {
        let mut entry = zip.by_index(at).expect("an entry");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its bytes");
        (entry.name().expect("a name").into_owned(), content)
    };
    (0..count).map(read).collect()
}

fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(name.as_str(), SimpleFileOptions::default()).expect("an entry");
        writer.write_all(content).expect("memory");
    }
    writer.finish().expect("memory").into_inner()
}

#[test]
fn a_changed_byte_of_a_tree_is_refused_or_read_as_the_reader_does() {
    let (mut refused, mut taken) = (0, 0);
    for case in ["old3_10_3_3_gbm_poisson", "old3_10_0_10_gbm_navsrest", "gbm_enc_enumlimited_dest_reg"] {
        let entries = entries(case);
        let is_tree = |name: &str| name.starts_with("trees/") && !name.ends_with("_aux.bin");
        let tree = entries.iter().position(|(name, _)| is_tree(name)).expect("a tree");
        let length = entries[tree].1.len();
        for at in (0..length).step_by(length.div_ceil(40)) {
            for value in [0, 1, 4, 8, 12, 48, 51, 0x7F, 0xC0, 0xFF] {
                let mut changed = entries.clone();
                changed[tree].1[at] = value;
                let bytes = zip(&changed);
                match (Artifact::from_bytes(&bytes), Model::from_bytes(&bytes)) {
                    (Ok(artifact), Ok(model)) => {
                        taken += 1;
                        assert!(model.n_trees() > 0);
                        assert_eq!(model.schema(), &artifact.schema, "{case} {at} {value}");
                    }
                    (Err(wanted), Err(found)) => {
                        refused += 1;
                        let (wanted, found) = (wanted.to_string(), found.to_string());
                        assert!(found.ends_with(&wanted), "{case} {at} {value}: {found}, not {wanted}");
                    }
                    (artifact, model) => {
                        panic!("{case} {at} {value}: {:?}, {:?}", artifact.err(), model.err());
                    }
                }
            }
        }
    }
    assert!(refused > 100 && taken > 100, "{refused} refused, {taken} taken");
}
