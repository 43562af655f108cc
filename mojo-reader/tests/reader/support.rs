//! What the tests write files with: fixtures, zips honest and lying, small models.

use std::io::{Cursor, Write as _};
use std::path::PathBuf;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// A file of a golden case.
pub(crate) fn fixture(case: &str, file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/zoo").join(case).join(file)
}

/// The bytes of a golden case's MOJO.
pub(crate) fn model(case: &str) -> Vec<u8> {
    std::fs::read(fixture(case, "model.zip")).unwrap()
}

pub(crate) type Entries = Vec<(String, Vec<u8>)>;

/// The entries of a zip, in order.
pub(crate) fn unzip(bytes: &[u8]) -> Entries {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).unwrap();
    (0..zip.len())
        .map(|i| {
            let mut file = zip.by_index(i).unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut content).unwrap();
            (file.name().unwrap().into_owned(), content)
        })
        .collect()
}

/// An honest zip of entries.
pub(crate) fn zip<N: AsRef<str>, B: AsRef<[u8]>>(entries: &[(N, B)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in entries {
        writer.start_file(name.as_ref(), options).unwrap();
        writer.write_all(content.as_ref()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A stored entry whose headers say what they are told to.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) name: Vec<u8>,
    pub(crate) local_name: Option<Vec<u8>>,
    pub(crate) content: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) size: Option<u32>,
    pub(crate) packed: Option<u32>,
    pub(crate) crc: Option<u32>,
    /// Points at this earlier entry's header instead of its own.
    pub(crate) same_place_as: Option<usize>,
    pub(crate) external_attributes: u32,
}

impl Claim {
    pub(crate) fn honest(name: &str, content: &[u8]) -> Self {
        Claim {
            name: name.as_bytes().to_vec(),
            local_name: None,
            content: content.to_vec(),
            method: 0,
            flags: 0,
            size: None,
            packed: None,
            crc: None,
            same_place_as: None,
            external_attributes: 0,
        }
    }
}

/// A zip as its claims have it.
pub(crate) fn lying_zip(claims: &[Claim]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    let mut places: Vec<u32> = Vec::new();
    let head = |out: &mut Vec<u8>, claim: &Claim, name: &[u8]| {
        let size = claim.content.len() as u32;
        out.extend(claim.flags.to_le_bytes());
        out.extend(claim.method.to_le_bytes());
        out.extend([0; 4]);
        out.extend(claim.crc.unwrap_or_else(|| crc32(&claim.content)).to_le_bytes());
        out.extend(claim.packed.unwrap_or(size).to_le_bytes());
        out.extend(claim.size.unwrap_or(size).to_le_bytes());
        out.extend((name.len() as u16).to_le_bytes());
        out.extend(0u16.to_le_bytes());
    };
    for claim in claims {
        if let Some(other) = claim.same_place_as {
            places.push(places[other]);
            continue;
        }
        places.push(out.len() as u32);
        let name = claim.local_name.as_ref().unwrap_or(&claim.name);
        out.extend(b"PK\x03\x04\x14\x00");
        head(&mut out, claim, name);
        out.extend(name);
        out.extend(&claim.content);
    }
    let directory = out.len() as u32;
    for (claim, place) in claims.iter().zip(&places) {
        out.extend(b"PK\x01\x02\x14\x03\x14\x00");
        head(&mut out, claim, &claim.name);
        out.extend([0; 6]);
        out.extend(claim.external_attributes.to_le_bytes());
        out.extend(place.to_le_bytes());
        out.extend(&claim.name);
    }
    let length = out.len() as u32 - directory;
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((claims.len() as u16).to_le_bytes());
    out.extend((claims.len() as u16).to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(directory.to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 })
    };
    !bytes.iter().fold(!0, step)
}

/// A `model.ini` with the keys that every model has; `extra` lines of `[info]` come later and win.
pub(crate) fn ini(algorithm: &str, version: &str, extra: &str, columns: &[&str], domains: &str) -> String {
    let n = columns.len();
    format!(
        "[info]\nalgorithm = {algorithm}\nmojo_version = {version}\nh2o_version = 3.46.0.11\ncategory = Regression\n\
         uuid = 1\nsupervised = true\nn_features = {}\nn_classes = 1\nn_columns = {n}\nbalance_classes = false\n\
         default_threshold = 0.5\nprior_class_distrib = null\nmodel_class_distrib = null\n{extra}\n\n[columns]\n{}\n\n\
         [domains]\n{domains}\n",
        n - 1,
        columns.join("\n"),
    )
}

/// A small generator (xorshift64*), so that a failing case can be made again from its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }
}
