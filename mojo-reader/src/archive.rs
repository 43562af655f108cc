//! A zip, a folder or a reader becomes named entries; every lie a zip can tell is refused.
//!
//! In flow bytes; out flow the contents of entries asked for by name, each inflated only then. What was asked for is
//! charged to [`Limits`]. The zip crate is hidden in here. What the entries mean is left to `read` and `metadata`, and the
//! inflating of an entry that was taken as it lies to `packed`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive, ZipReadOptions};

use crate::algo::PackedTrees;
use crate::artifact::Artifact;
use crate::error::{Error, ErrorKind};
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::packed::{Inflater, Packed};
use crate::read;

/// Entries below this size are not held to [`Limits::ratio`]: a short run of equal bytes packs well and harms nobody.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// An opened MOJO, to read the model, its metadata or both from one opening.
///
/// ```
/// # let path = "../fixtures/zoo/gbm_deep_chain/model.zip";
/// let mut archive = cenote_mojo::Archive::open(path)?;
/// let artifact = archive.artifact()?;
/// let metadata = archive.metadata()?.expect("this model has some");
/// let auc = metadata.training_metrics.and_then(|metrics| metrics.get("AUC"));
/// assert!(auc.is_some_and(|auc| auc > 0.5));
/// # Ok::<(), cenote_mojo::Error>(())
/// ```
pub struct Archive<'a> {
    source: Source<'a>,
    limits: Limits,
    spent_bytes: u64,
    spent_levels: u64,
}

enum Source<'a> {
    Zip(Zip<'a>),
    Folder(PathBuf),
}

struct Zip<'a> {
    archive: ZipArchive<Box<dyn ReadSeek + 'a>>,
    /// All of the file, where it is in memory to stay: entries that stay packed are parts of it.
    shared: Option<Bytes>,
    inflater: Inflater,
}

trait ReadSeek: Read + Seek {}
impl<R: Read + Seek> ReadSeek for R {}

impl fmt::Debug for Archive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("spent_bytes", &self.spent_bytes).finish_non_exhaustive()
    }
}

impl<'a> Archive<'a> {
    /// Opens a zip file, which is read whole, or the folder of an unzipped MOJO, whose files are read as they are needed.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a zip or lies about its entries, or exceeds the default [`Limits`].
    pub fn open(path: impl AsRef<Path>) -> Result<Archive<'static>, Error> {
        Archive::open_with(path, &Limits::default())
    }

    /// [`open`](Self::open) within limits of the caller's.
    pub fn open_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Archive<'static>, Error> {
        Self::open_into(path, limits, Vec::with_capacity)
    }

    /// [`open_with`](Self::open_with), which reads a zip into what `room` makes for so many bytes. For `cenote`, which knows better
    /// than to ask for one small page after another.
    #[doc(hidden)]
    pub fn open_into(
        path: impl AsRef<Path>,
        limits: &Limits,
        room: impl FnOnce(usize) -> Vec<u8>,
    ) -> Result<Archive<'static>, Error> {
        let path = path.as_ref();
        let about = |error: Error| error.in_entry(&path.to_string_lossy());
        let metadata = fs::metadata(path).map_err(|e| about(e.into()))?;
        if metadata.is_dir() {
            let root = path.canonicalize().map_err(|e| about(e.into()))?;
            return Ok(Archive {
                source: Source::Folder(root),
                limits: limits.clone(),
                spent_bytes: 0,
                spent_levels: 0,
            });
        }
        if !metadata.is_file() {
            return Err(about(Error::malformed("neither a file nor a folder")));
        }
        let file = File::open(path).map_err(|e| about(e.into()))?;
        let bytes = read_at_most(file, metadata.len(), limits.archive_bytes, "bytes of the archive", room)
            .map_err(about)?;
        Archive::from_shared_with(bytes.into(), limits).map_err(about)
    }

    /// Opens the bytes of a zip. Errors as [`open`](Self::open).
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::from_bytes_with(bytes, &Limits::default())
    }

    /// [`from_bytes`](Self::from_bytes) within limits of the caller's.
    pub fn from_bytes_with(bytes: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        Self::from_reader_with(Cursor::new(bytes), limits)
    }

    /// Opens the bytes of a zip that others hold too; what stays packed of the model holds them as well, and copies nothing.
    /// Errors as [`open`](Self::open).
    pub fn from_shared(bytes: Bytes) -> Result<Archive<'static>, Error> {
        Archive::from_shared_with(bytes, &Limits::default())
    }

    /// [`from_shared`](Self::from_shared) within limits of the caller's.
    pub fn from_shared_with(bytes: Bytes, limits: &Limits) -> Result<Archive<'static>, Error> {
        Archive::new(Box::new(Cursor::new(bytes.clone())), Some(bytes), limits)
    }

    /// Opens a zip from anywhere that can seek. Errors as [`open`](Self::open).
    pub fn from_reader(reader: impl Read + Seek + 'a) -> Result<Self, Error> {
        Self::from_reader_with(reader, &Limits::default())
    }

    /// [`from_reader`](Self::from_reader) within limits of the caller's.
    pub fn from_reader_with(reader: impl Read + Seek + 'a, limits: &Limits) -> Result<Self, Error> {
        Archive::new(Box::new(reader), None, limits)
    }

    fn new(
        mut reader: Box<dyn ReadSeek + 'a>,
        shared: Option<Bytes>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let length = reader.seek(io::SeekFrom::End(0))?;
        if length > limits.archive_bytes {
            return Err(Error::limit("bytes of the archive", limits.archive_bytes));
        }
        // Reads the directory, which takes some eight times its bytes at most.
        let mut archive = ZipArchive::new(reader).map_err(from_zip)?;
        check(&mut archive, limits)?;
        Ok(Archive {
            source: Source::Zip(Zip { archive, shared, inflater: Inflater::default() }),
            limits: limits.clone(),
            spent_bytes: 0,
            spent_levels: 0,
        })
    }

    /// Reads the model.
    ///
    /// # Errors
    ///
    /// If the file is not a MOJO or contradicts itself, asks for more than its [`Limits`], or holds an algorithm or version
    /// that is not supported (the error names it).
    pub fn artifact(&mut self) -> Result<Artifact, Error> {
        read::artifact(self)
    }

    /// [`artifact`](Self::artifact) without the trees of a forest, and these as they lie in the archive. For `cenote`, which keeps
    /// trees in a form of its own; the model is all right only once they have been read. Errors as `artifact`.
    #[doc(hidden)]
    pub fn outline(&mut self) -> Result<(Artifact, Option<PackedTrees>), Error> {
        read::outline(self)
    }

    /// Reads what H2O says of the training, if the MOJO holds it. No score needs it, so a model whose metadata is broken can
    /// still be used.
    ///
    /// # Errors
    ///
    /// If the entry cannot be read, is not JSON, or is larger than [`Limits::metadata_bytes`].
    pub fn metadata(&mut self) -> Result<Option<Metadata>, Error> {
        Metadata::read(self)
    }

    /// The bytes of the zip, to open it again; `None` if it is a folder.
    ///
    /// # Errors
    ///
    /// If the reader that was opened fails.
    pub fn into_bytes(self) -> Result<Option<Bytes>, Error> {
        let Source::Zip(zip) = self.source else { return Ok(None) };
        if let Some(bytes) = zip.shared {
            return Ok(Some(bytes));
        }
        let mut reader = zip.archive.into_inner();
        // Within `Limits::archive_bytes`, as was checked when it was opened.
        let length = reader.seek(io::SeekFrom::End(0))?;
        let mut bytes = Vec::with_capacity(length as usize);
        reader.rewind()?;
        reader.take(length).read_to_end(&mut bytes)?;
        Ok(Some(bytes.into()))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Reads an entry into `into`, replacing what was there; `false` if there is no such entry.
    pub(crate) fn read(&mut self, name: &str, into: &mut Vec<u8>) -> Result<bool, Error> {
        into.clear();
        if !is_safe(name) {
            return Err(Error::malformed("an entry's name must not lead out of the archive").in_entry(name));
        }
        let found = match &mut self.source {
            Source::Zip(zip) => match zip.take_packed(name) {
                Ok(Some(packed)) => zip.inflater.unpack(&packed, into).map(|()| true),
                Ok(None) => Ok(false),
                Err(error) => Err(error),
            },
            Source::Folder(root) => read_folder(root, name, &self.limits, into),
        }
        .map_err(|e| e.in_entry(name))?;
        self.spent_bytes = self.spent_bytes.saturating_add(into.len() as u64);
        if self.spent_bytes > self.limits.total_bytes {
            return Err(Error::limit("bytes of all entries", self.limits.total_bytes).in_entry(name));
        }
        Ok(found)
    }

    /// Charges levels that are about to be kept.
    pub(crate) fn charge_levels(&mut self, n: usize) -> Result<(), Error> {
        self.spent_levels = self.spent_levels.saturating_add(n as u64);
        let limit = self.limits.levels;
        if self.spent_levels > limit { Err(Error::limit("levels of all columns", limit)) } else { Ok(()) }
    }

    /// Takes an entry as it lies, compressed or not, to be inflated when it is needed; `None` if there is no such entry.
    pub(crate) fn read_packed(&mut self, name: &str) -> Result<Option<Packed>, Error> {
        let packed = match &mut self.source {
            Source::Zip(zip) => zip.take_packed(name).map_err(|e| e.in_entry(name))?,
            Source::Folder(_) => {
                let mut bytes = Vec::new();
                let found = self.read(name, &mut bytes)?;
                return Ok(found.then(|| Packed::stored(name, bytes)));
            }
        };
        Ok(packed)
    }

    /// Reads an entry that must be there.
    pub(crate) fn require(&mut self, name: &str, into: &mut Vec<u8>) -> Result<(), Error> {
        if self.read(name, into)? {
            Ok(())
        } else {
            Err(Error::malformed("there is no such entry").in_entry(name))
        }
    }
}

/// Refuses an archive whose directory lies, before any entry is inflated.
fn check<R: Read + Seek>(zip: &mut ZipArchive<R>, limits: &Limits) -> Result<(), Error> {
    if zip.has_duplicate_names() {
        return Err(Error::malformed("two entries have one name"));
    }
    if zip.len() as u64 > limits.entries {
        return Err(Error::limit("entries", limits.entries));
    }
    let mut total = 0u64;
    for index in 0..zip.len() {
        let entry = zip.by_index_data(index).map_err(from_zip)?;
        let name = entry.name().map_err(from_zip)?;
        let refuse = |message: &str| Err(Error::malformed(message).in_entry(&name));
        if !is_safe(name.trim_end_matches('/')) {
            return refuse("an entry's name must not lead out of the archive");
        }
        if entry.is_symlink() {
            return refuse("a link, not a file");
        }
        if entry.encrypted() {
            return Err(Error::unsupported("encrypted entries are not supported").in_entry(&name));
        }
        let (size, packed) = (entry.size(), entry.compressed_size());
        if size > limits.entry_bytes {
            return Err(Error::limit("bytes of an entry", limits.entry_bytes).in_entry(&name));
        }
        if size > RATIO_FREE_BYTES && size / packed.max(1) >= limits.ratio {
            return Err(Error::limit("decompressed bytes for one compressed", limits.ratio).in_entry(&name));
        }
        total = total.saturating_add(size);
    }
    if total > limits.total_bytes {
        return Err(Error::limit("bytes of all entries", limits.total_bytes));
    }
    if zip.has_overlapping_entries().map_err(from_zip)? {
        return Err(Error::malformed("entries overlap"));
    }
    Ok(())
}

fn open_zip<'z, R: Read + Seek>(
    zip: &'z mut ZipArchive<R>,
    name: &str,
) -> Result<Option<ZipFile<'z, R>>, Error> {
    let Some(index) = zip.index_for_name_raw(name.as_bytes()) else { return Ok(None) };
    let options = ZipReadOptions::new().enforce_header_consistency(true);
    let file = zip.by_index_with_options(index, options).map_err(from_zip)?;
    if !matches!(file.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        return Err(Error::unsupported("the compression method is not supported"));
    }
    Ok(Some(file))
}

impl Zip<'_> {
    fn take_packed(&mut self, name: &str) -> Result<Option<Packed>, Error> {
        // Opened only for its checks: nothing is inflated until something is read.
        if open_zip(&mut self.archive, name)?.is_none() {
            return Ok(None);
        }
        let mut file = self.archive.by_name_raw(name.as_bytes()).map_err(from_zip)?;
        // `check` found the packed bytes to lie within the archive.
        let length = file.compressed_size() as usize;
        let part = self.shared.as_ref().zip(file.data_start()).and_then(|(shared, start)| {
            let start = usize::try_from(start).ok()?;
            (start.checked_add(length)? <= shared.len()).then(|| shared.slice(start..start + length))
        });
        let bytes = match part {
            Some(part) => part,
            None => {
                let mut bytes = Vec::with_capacity(length);
                file.read_to_end(&mut bytes)?;
                bytes.into()
            }
        };
        let deflated = file.compression() == CompressionMethod::Deflated;
        Ok(Some(Packed::new(name, bytes, deflated, file.size() as usize, file.crc32())))
    }
}

fn read_folder(root: &Path, name: &str, limits: &Limits, into: &mut Vec<u8>) -> Result<bool, Error> {
    let path = match root.join(name).canonicalize() {
        Ok(path) => path,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        Err(e) => return Err(e.into()),
    };
    // A mounted folder may hold links (Kubernetes makes such), but none may lead out of it.
    if !path.starts_with(root) {
        return Err(Error::malformed("a link leads out of the folder"));
    }
    let metadata = fs::metadata(&path)?;
    if !metadata.is_file() {
        return Err(Error::malformed("not a file"));
    }
    let (file, room) = (File::open(&path)?, Vec::with_capacity);
    *into = read_at_most(file, metadata.len(), limits.entry_bytes, "bytes of an entry", room)?;
    Ok(true)
}

fn read_at_most(
    file: File,
    expected: u64,
    limit: u64,
    what: &'static str,
    room: impl FnOnce(usize) -> Vec<u8>,
) -> Result<Vec<u8>, Error> {
    if expected > limit {
        return Err(Error::limit(what, limit));
    }
    let mut bytes = room(usize::try_from(expected).unwrap_or(0));
    // The file may grow while it is read.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(Error::limit(what, limit)) } else { Ok(bytes) }
}

/// Whether a name stays inside the archive: relative, no `..`, nothing that another system would read as a root.
fn is_safe(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['\0', '\\'])
        && name.as_bytes().get(1) != Some(&b':')
        && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn from_zip(error: ZipError) -> Error {
    match error {
        ZipError::Io(e) => match e.kind() {
            // Kinds that the decoder uses for wrong bytes; the rest comes from the reader below it.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                Error::malformed(format!("broken zip entry: {}", lower_first(&e.to_string())))
            }
            _ => ErrorKind::Io(e).into(),
        },
        ZipError::InvalidArchive(what) => Error::malformed(format!("broken zip: {}", lower_first(&what))),
        ZipError::UnsupportedArchive(what) => Error::unsupported(format!("zip: {}", lower_first(what))),
        ZipError::CompressionMethodNotSupported(_) => {
            Error::unsupported("the compression method is not supported")
        }
        other => Error::malformed(format!("broken zip: {other}")),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in entries {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn entries_are_read_by_name() {
        let bytes = zip_of(&[("a/b", b"one"), ("empty", b"")]);
        let mut archive = Archive::from_bytes(&bytes).unwrap();
        let mut into = b"old".to_vec();
        assert!(archive.read("a/b", &mut into).unwrap());
        assert_eq!(into, b"one");
        assert!(archive.read("empty", &mut into).unwrap() && into.is_empty());
        assert!(!archive.read("a", &mut into).unwrap());
        assert_eq!(archive.require("a", &mut into).unwrap_err().to_string(), "a: there is no such entry");
        let packed = archive.read_packed("a/b").unwrap().unwrap();
        assert_eq!((packed.size(), packed.unpack().unwrap()), (3, b"one".to_vec()));
        assert!(archive.read_packed("b").unwrap().is_none());
    }

    #[test]
    fn what_is_read_again_and_again_is_charged() {
        let bytes = zip_of(&[("a", &[7; 60])]);
        let limits = Limits { total_bytes: 100, ..Limits::default() };
        let mut archive = Archive::from_bytes_with(&bytes, &limits).unwrap();
        let mut into = Vec::new();
        assert!(archive.read("a", &mut into).unwrap());
        let error = archive.read("a", &mut into).unwrap_err();
        assert_eq!(error.to_string(), "a: bytes of all entries exceed the limit of 100");
    }

    #[test]
    fn a_wrong_byte_is_noticed_where_it_is_packed_too() {
        let mut bytes = zip_of(&[("a", &[7; 600])]);
        bytes[32] ^= 1;
        let mut archive = Archive::from_bytes(&bytes).unwrap();
        assert!(archive.read("a", &mut Vec::new()).is_err());
        let packed = archive.read_packed("a").unwrap().unwrap();
        assert_eq!(packed.unpack().unwrap_err().entry(), Some("a"));
    }

    #[test]
    fn a_zip_may_stand_behind_other_bytes() {
        let mut bytes = b"#!/bin/sh\n".to_vec();
        bytes.extend(zip_of(&[("a", b"x")]));
        assert!(Archive::from_bytes(&bytes).unwrap().read("a", &mut Vec::new()).unwrap());
    }

    #[test]
    fn safe_names() {
        for name in ["a", "a/b.txt", "trees/t00_000.bin", "..a/b..", "é"] {
            assert!(is_safe(name), "{name}");
        }
        for name in ["", "/a", "a/", "a//b", ".", "..", "a/..", "a/./b", "a\\b", "c:a", "a\0"] {
            assert!(!is_safe(name), "{name}");
        }
    }
}
