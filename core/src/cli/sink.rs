//! What goes out: a path or standard output, CSV (plain or gzip) or Parquet, whole or not at all.
//!
//! Everything is written to a temporary file first. [`Sink::commit`] renames it to where it belongs (for standard
//! output, pipes and devices it copies it there), so that a failed run leaves no partial output. The temporary file is
//! also what makes the column `error` possible, which is there only if some row was refused: when the first such row
//! arrives, what was written so far is copied once to a new temporary file, with that column. Memory stays bounded.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use cenote::Predictions;
use cenote::input::arrow::ErrorColumn;
use cenote::input::parquet::ParquetWriter;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tempfile::NamedTempFile;

use super::csv_out::{self, Lines};
use super::{Encoding, Format};

/// The outcome of a piece, ready to be written.
pub(crate) enum Scored {
    Csv(Lines),
    Parquet(Predictions),
}

impl Scored {
    /// Does what can be done apart from the sink.
    pub(crate) fn new(predictions: Predictions, format: Format) -> Self {
        match format {
            Format::Csv => Scored::Csv(csv_out::lines(&predictions)),
            Format::Parquet => Scored::Parquet(predictions),
        }
    }
}

/// An output that is not there yet.
pub(crate) struct Sink {
    target: Target,
    encoding: Encoding,
    /// The columns, without rows.
    like: Predictions,
    writer: Writer,
    with_error: bool,
}

pub(crate) enum Target {
    /// A regular file, or none yet: the temporary file is renamed to it.
    File(PathBuf),
    /// A pipe or a device, which a rename would replace.
    Device(PathBuf),
    Stdout,
}

enum Writer {
    Plain(BufWriter<NamedTempFile>),
    Gzip(Box<GzEncoder<BufWriter<NamedTempFile>>>),
    Parquet(Box<ParquetWriter<NamedTempFile>>),
    /// Between two temporary files, and after a failure there.
    None,
}

impl Sink {
    /// Prepares to write predictions with the columns of `like` to `path`, `-` being standard output.
    pub(crate) fn create(path: &Path, encoding: Encoding, like: Predictions) -> anyhow::Result<Self> {
        let target = Target::new(path)?;
        let writer = Writer::begin(&target, encoding, &like, false)?;
        Ok(Self { target, encoding, like, writer, with_error: false })
    }

    /// Adds rows.
    pub(crate) fn write(&mut self, scored: Scored) -> anyhow::Result<()> {
        let with_error = match &scored {
            Scored::Csv(lines) => lines.with_error,
            Scored::Parquet(predictions) => !predictions.errors.is_empty(),
        };
        if with_error && !self.with_error {
            self.add_error_column()?;
        }
        match (scored, &mut self.writer) {
            (Scored::Parquet(predictions), Writer::Parquet(writer)) => writer.write(&predictions)?,
            (Scored::Csv(lines), writer) if self.with_error && !lines.with_error => {
                csv_out::widen(&lines.bytes, false, writer)?;
            }
            (Scored::Csv(lines), writer) => writer.write_all(&lines.bytes)?,
            (Scored::Parquet(_), _) => unreachable!("pieces are made for the format of the sink"),
        }
        Ok(())
    }

    /// Puts the output where it belongs.
    pub(crate) fn commit(mut self) -> anyhow::Result<()> {
        let whole = std::mem::replace(&mut self.writer, Writer::None).finish()?;
        self.target.place(whole)
    }

    /// Begins anew with the column `error`, and copies the rows written so far, which have nothing in it.
    fn add_error_column(&mut self) -> anyhow::Result<()> {
        let mut former = std::mem::replace(&mut self.writer, Writer::None).finish()?;
        former.rewind()?;
        let mut writer = Writer::begin(&self.target, self.encoding, &self.like, true)?;
        if let Writer::Parquet(parquet) = &mut writer {
            parquet.append(former.reopen()?)?;
        } else {
            let buffered = BufReader::with_capacity(1 << 16, former);
            let mut rows: Box<dyn Read> = match self.encoding {
                Encoding::Gzip => Box::new(GzDecoder::new(buffered)),
                _ => Box::new(buffered),
            };
            // The header is already there in its new form; what is left of the old one is skipped.
            io::copy(&mut (&mut rows).take(header(&self.like, false).len() as u64), &mut io::sink())?;
            let (mut open, mut buffer) = (false, vec![0; 1 << 16]);
            loop {
                let length = rows.read(&mut buffer)?;
                if length == 0 {
                    break;
                }
                open = csv_out::widen(&buffer[..length], open, &mut writer)?;
            }
        }
        self.writer = writer;
        self.with_error = true;
        Ok(())
    }
}

fn header(like: &Predictions, with_error: bool) -> Vec<u8> {
    let names = like.columns.iter().map(|column| column.name.as_str());
    csv_out::header(names.chain(with_error.then_some("error")))
}

impl Target {
    pub(crate) fn new(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Target::Stdout);
        }
        // A link stays a link: what it points to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Ok(match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                anyhow::bail!("cannot write {}: it is a folder", path.display())
            }
            Ok(metadata) if !metadata.is_file() => Target::Device(path),
            _ => Target::File(path),
        })
    }

    /// Puts a whole file where it belongs.
    pub(crate) fn place(self, mut whole: NamedTempFile) -> anyhow::Result<()> {
        match self {
            Target::File(path) => {
                whole.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
            }
            Target::Device(path) => {
                whole.rewind()?;
                let mut device = File::options().write(true).open(&path)?;
                io::copy(&mut whole, &mut device)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            Target::Stdout => {
                whole.rewind()?;
                let mut stdout = io::stdout().lock();
                io::copy(&mut whole, &mut stdout).and_then(|_| stdout.flush())?;
            }
        }
        Ok(())
    }

    /// A file beside, to be written whole before it is placed.
    pub(crate) fn temporary(&self) -> anyhow::Result<NamedTempFile> {
        let Target::File(path) = self else {
            return NamedTempFile::new().context("cannot make a temporary file");
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().with_context(|| format!("{} is no file name", path.display()))?;
        let prefix = format!(".{}.", name.to_string_lossy());
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As an ordinary new file; the umask takes its part.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        builder.tempfile_in(folder).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Writer {
    fn begin(
        target: &Target,
        encoding: Encoding,
        like: &Predictions,
        with_error: bool,
    ) -> anyhow::Result<Self> {
        let file = target.temporary()?;
        let buffered = |file| BufWriter::with_capacity(1 << 16, file);
        let mut writer = match encoding {
            Encoding::Plain => Writer::Plain(buffered(file)),
            Encoding::Gzip => Writer::Gzip(Box::new(GzEncoder::new(buffered(file), Compression::default()))),
            Encoding::Parquet => {
                let error = if with_error { ErrorColumn::Always } else { ErrorColumn::WhenAny };
                return Ok(Writer::Parquet(Box::new(ParquetWriter::new(file, like, error)?)));
            }
        };
        writer.write_all(&header(like, with_error))?;
        Ok(writer)
    }

    fn finish(self) -> anyhow::Result<NamedTempFile> {
        Ok(match self {
            Writer::Plain(writer) => writer.into_inner()?,
            Writer::Gzip(writer) => writer.finish()?.into_inner()?,
            Writer::Parquet(writer) => writer.finish()?,
            Writer::None => anyhow::bail!("an earlier write failed"),
        })
    }
}

/// The text of a CSV output; a Parquet output takes none.
impl Write for Writer {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self {
            Writer::Plain(writer) => writer.write(text),
            Writer::Gzip(writer) => writer.write(text),
            Writer::Parquet(_) | Writer::None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Writer::Plain(writer) => writer.flush(),
            Writer::Gzip(writer) => writer.flush(),
            Writer::Parquet(_) | Writer::None => Ok(()),
        }
    }
}
