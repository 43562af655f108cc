//! Files that are wrong by accident or by intent: each gives an error, in little memory and time, and none a panic.

use cenote_mojo::{Archive, Artifact, ErrorKind, Limits, Place};

use crate::support::{Claim, Random, lying_zip, model, unzip, zip};
use crate::trees::gbm;

/// What a stranger's file may cost here.
fn strict() -> Limits {
    Limits {
        total_bytes: 8 << 20,
        entry_bytes: 4 << 20,
        nodes: 100_000,
        columns: 10_000,
        entries: 10_000,
        ..Limits::default()
    }
}

const SMALL: [&str; 8] = [
    "old3_10_0_10_gbm_navsrest",
    "old3_10_0_10_gbm_poisson",
    "old3_10_3_3_glm_gauss",
    "old3_10_3_3_gbm_poisson",
    "old3_22_1_6_glm_ordinal",
    "gbm_singleleaf",
    "gbm_enc_enumlimited_dest_reg",
    "glm_multinomial_penguins",
];

/// Reads all there is; the outcome does not matter, coming back does.
fn survive(bytes: &[u8]) -> Result<Artifact, cenote_mojo::Error> {
    let mut archive = Archive::from_bytes_with(bytes, &strict())?;
    let artifact = archive.artifact();
    let _ = archive.metadata();
    if let Err(error) = &artifact {
        assert!(!error.to_string().is_empty());
    }
    artifact
}

#[test]
fn every_entry_cut_at_many_points() {
    for case in SMALL {
        let entries = unzip(&model(case));
        for index in 0..entries.len() {
            let name = entries[index].0.clone();
            let whole = entries[index].1.len();
            let step = (whole / 12).max(1);
            for cut in (0..whole).step_by(step) {
                let mut changed = entries.clone();
                changed[index].1.truncate(cut);
                let outcome = survive(&zip(&changed));
                // Bytes of trees are all needed, so a cut is always noticed, at its entry.
                if name.ends_with(".bin") {
                    let error = outcome.expect_err(&name);
                    assert!(matches!(error.kind(), ErrorKind::Malformed(_)), "{error}");
                    assert_eq!(error.entry(), Some(name.as_str()), "{error}");
                }
            }
        }
    }
}

#[test]
fn zips_cut_anywhere() {
    for case in ["old3_10_0_10_gbm_navsrest", "old3_10_3_3_glm_gauss"] {
        let bytes = model(case);
        for cut in 0..bytes.len() {
            assert!(survive(&bytes[..cut]).is_err(), "{case} cut at {cut}");
        }
    }
}

#[test]
fn flipped_bits_in_entries_and_in_zips() {
    let mut random = Random(0x5EED_0FCE_A07E);
    for case in SMALL {
        let bytes = model(case);
        let entries = unzip(&bytes);
        for _ in 0..60 {
            let mut changed = entries.clone();
            for _ in 0..=random.below(3) {
                let index = random.below(changed.len());
                let content = &mut changed[index].1;
                if !content.is_empty() {
                    let at = random.below(content.len());
                    content[at] ^= 1 << random.below(8);
                }
            }
            let _ = survive(&zip(&changed));
        }
        for _ in 0..200 {
            let mut changed = bytes.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(changed.len());
                changed[at] = random.below(256) as u8;
            }
            let _ = survive(&changed);
        }
    }
}

/// Every byte of a tree set to every value of note.
#[test]
fn trees_with_any_byte_changed() {
    let entries = unzip(&model("old3_10_3_3_gbm_poisson"));
    let (_, blob) = entries.iter().find(|(name, _)| name == "trees/t00_000.bin").unwrap();
    for at in 0..blob.len().min(600) {
        for value in [0, 1, 4, 8, 12, 16, 32, 48, 51, 0x7F, 0x80, 0xC0, 0xFF] {
            let mut changed = blob.clone();
            changed[at] = value;
            let _ = survive(&gbm("1.20", changed));
        }
    }
}

fn refused(bytes: &[u8], words: &str) {
    let error = Artifact::from_bytes_with(bytes, &strict()).unwrap_err();
    assert!(error.to_string().contains(words), "expected {words:?}, got {error}");
}

fn honest() -> Vec<Claim> {
    unzip(&model("old3_10_3_3_glm_gauss"))
        .iter()
        .map(|(name, content)| Claim::honest(name, content))
        .collect()
}

#[test]
fn lies_of_a_zip() {
    assert!(survive(&lying_zip(&honest())).is_ok(), "the writer can be honest");
    let lie = |edit: &dyn Fn(&mut Vec<Claim>)| {
        let mut claims = honest();
        edit(&mut claims);
        lying_zip(&claims)
    };
    refused(&lie(&|claims| claims.push(claims[0].clone())), "two entries have one name");
    for name in ["../up", "/etc/passwd", "a/../../b", "a\\b", "C:/x", "a//b", "./a", "nul\0", ""] {
        refused(&lie(&|claims| claims.push(Claim::honest(name, b"x"))), "must not lead out of the archive");
    }
    refused(&lie(&|claims| claims[0].flags = 1), "encrypted");
    refused(&lie(&|claims| claims[0].crc = Some(1)), "broken zip entry: wrong checksum");
    refused(&lie(&|claims| claims[0].size = Some(1_000_000)), "bytes declared");
    refused(&lie(&|claims| claims[0].size = Some(3)), "3 bytes declared");
    refused(&lie(&|claims| claims[0].size = Some(5 << 20)), "bytes of an entry exceed");
    refused(&lie(&|claims| claims[0].packed = Some(1 << 30)), "overlap");
    refused(&lie(&|claims| claims[0].local_name = Some(b"model.inj".to_vec())), "header inconsistency");
    refused(&lie(&|claims| claims[0].method = 12), "compression method");
    refused(&lie(&|claims| claims[0].external_attributes = 0o120_777 << 16), "a link");
    refused(
        &lie(&|claims| {
            let mut twin = Claim::honest("twin", &claims[0].content.clone());
            twin.same_place_as = Some(0);
            claims.push(twin);
        }),
        "overlap",
    );
    refused(b"", "broken zip");
    refused(&vec![0; 100_000], "broken zip");
    refused(b"PK\x05\x06", "broken zip");
    // An end record that claims more entries than there are.
    let mut bytes = lying_zip(&honest());
    let end = bytes.len() - 22;
    bytes[end + 8..end + 12].fill(0xFE);
    refused(&bytes, "broken zip");
}

#[test]
fn bombs() {
    let zeros = |n: usize| zip(&[("model.ini", vec![0u8; n])]);
    let error = Artifact::from_bytes(&zeros(64 << 20)).unwrap_err();
    assert_eq!(error.to_string(), "model.ini: decompressed bytes for one compressed exceed the limit of 200");
    refused(&zeros(5 << 20), "bytes of an entry exceed the limit of 4194304");
    let many: Vec<(String, Vec<u8>)> = (0..12).map(|i| (format!("e{i}"), vec![b'x'; 1 << 20])).collect();
    refused(&zip(&many), "bytes of all entries exceed the limit of 8388608");
    let many: Vec<(String, Vec<u8>)> = (0..10_001).map(|i| (format!("e{i}"), Vec::new())).collect();
    refused(&zip(&many), "entries exceed the limit of 10000");
    let big = Limits { archive_bytes: 100, ..Limits::default() };
    let error = Artifact::from_bytes_with(&model("gbm_singleleaf"), &big).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit: 100, .. }));
    // A directory of many columns that the file does not hold.
    let text =
        crate::support::ini("Gradient Boosting Machine", "1.40", "n_columns = 2000000000", &["a", "y"], "");
    refused(&zip(&[("model.ini", text)]), "columns exceed the limit of 10000");
    // What is short in the file and long in memory: keys, and levels.
    refused(
        &zip(&[("model.ini", "[info]\n".to_owned() + &"a=\n".repeat(50_000))]),
        "model.ini, line 41001: lines exceed",
    );
    let text = crate::support::ini("Gradient Boosting Machine", "1.40", "", &["a", "y"], "0: 1000000 d");
    let few = Limits { levels: 999_999, ..strict() };
    let error = Artifact::from_bytes_with(&zip(&[("model.ini", text.as_str()), ("domains/d", "\n")]), &few)
        .unwrap_err();
    assert_eq!(error.to_string(), "domains/d: levels of all columns exceed the limit of 999999");
}

/// Trees whose lengths of left subtrees make them share, skip or repeat bytes.
#[test]
fn trees_that_contradict_themselves() {
    let head = |kind: u8, length: &[u8]| {
        let mut blob = vec![kind, 0, 0, 5];
        blob.extend(1f32.to_le_bytes());
        blob.extend(length);
        blob
    };
    let leaf = [&[0, 255, 255][..], &2f32.to_le_bytes()].concat();
    let good = [head(0xC0, &[7]), leaf.clone(), 3f32.to_le_bytes().to_vec()].concat();
    assert!(Artifact::from_bytes(&gbm("1.20", good.clone())).is_ok());
    for (length, words) in
        [(&[0u8][..], "should end at byte 9"), (&[8], "should end at byte 17"), (&[255], "should end")]
    {
        let blob = [head(0xC0, length), leaf.clone(), 3f32.to_le_bytes().to_vec()].concat();
        refused(&gbm("1.20", blob), words);
    }
    // Back to the beginning, by a negative length: a cycle for who follows it blindly.
    let blob = [head(0xC3, &(-12i32).to_le_bytes()), leaf.clone(), 3f32.to_le_bytes().to_vec()].concat();
    refused(&gbm("1.20", blob), "should end");
    refused(&gbm("1.20", [good.clone(), vec![0]].concat()), "1 bytes after the end of the tree");
    let mut column = good.clone();
    column[1] = 3;
    refused(&gbm("1.20", column), "trees/t00_000.bin, byte 1: a split on column 3 of 3");
    for kind in [4, 0xC4, 16, 32, 17, 50] {
        let mut changed = good.clone();
        changed[0] = kind;
        refused(&gbm("1.20", changed), "a node of kind");
    }
    // A set of more levels than bytes, and of a negative number.
    for bits in [1_000_000i32, -1, i32::MIN] {
        let blob = [&[12 | 0xC0, 0, 0, 5, 0, 0][..], &bits.to_le_bytes(), &[0; 40]].concat();
        let error = Artifact::from_bytes(&gbm("1.20", blob)).unwrap_err();
        assert!(matches!(error.place(), Some(Place::Byte(4 | 10))), "{error}");
    }
    let blob = [good, vec![]].concat();
    let mut entries = unzip(&gbm("1.20", blob));
    entries.push(("trees/t00_000_aux.bin".into(), vec![0; 80]));
    refused(&zip(&entries), "trees/t00_000_aux.bin: 80 bytes for 1 splits");
}

#[cfg(unix)]
#[test]
fn folders_keep_to_themselves() {
    let root = std::env::temp_dir().join(format!("cenote-mojo-links-{}", std::process::id()));
    let folder = root.join("mojo");
    std::fs::create_dir_all(folder.join("domains")).unwrap();
    let entries = unzip(&model("old3_10_3_3_glm_gauss"));
    for (name, content) in &entries {
        std::fs::write(folder.join(name), content).unwrap();
    }
    // As Kubernetes mounts a config map: each file a link within the folder.
    std::fs::rename(folder.join("model.ini"), folder.join("domains/ini")).unwrap();
    std::os::unix::fs::symlink("domains/ini", folder.join("model.ini")).unwrap();
    assert!(Artifact::open(&folder).is_ok());

    std::fs::write(root.join("outside"), b"secret\n").unwrap();
    std::fs::remove_file(folder.join("domains/d000.txt")).unwrap();
    std::os::unix::fs::symlink("../../outside", folder.join("domains/d000.txt")).unwrap();
    let error = Artifact::open(&folder).unwrap_err();
    assert_eq!(error.to_string(), "domains/d000.txt: a link leads out of the folder");

    std::fs::remove_file(folder.join("domains/d000.txt")).unwrap();
    std::fs::create_dir(folder.join("domains/d000.txt")).unwrap();
    assert_eq!(Artifact::open(&folder).unwrap_err().to_string(), "domains/d000.txt: not a file");
    let error = Artifact::open(root.join("nowhere")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io(_)) && error.to_string().contains("nowhere"), "{error}");
    std::fs::remove_dir_all(root).unwrap();
}
