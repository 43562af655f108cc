//! What comes in: a path or standard input, CSV (plain or gzip) or Parquet, as pieces of bounded size.
//!
//! One thread reads pieces in order; what can be done to a piece by itself (splitting CSV records) is left to
//! whoever scores it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use cenote::Model;
use cenote::input::Batch;
use cenote::input::arrow::ArrowColumns;
use cenote::input::parquet::{ParquetBatches, ParquetFile};
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;

use super::csv_in::{self, Block, Blocks, Layout, Records};
use super::{Format, Usage};

/// An input whose column names are known.
pub(crate) struct Input {
    pub(crate) names: Vec<String>,
    kind: Kind,
}

enum Kind {
    Csv(Blocks<Box<dyn Read + Send>>),
    Parquet(Box<ParquetFile>, ProgressBar),
}

impl Input {
    /// Opens `path`, `-` being standard input, and moves `progress` along while it is read.
    pub(crate) fn open(path: &Path, format: Option<Format>, progress: &ProgressBar) -> anyhow::Result<Self> {
        let stdin = path == Path::new("-");
        if format.unwrap_or_else(|| Format::of(path)) == Format::Parquet {
            if stdin {
                return Err(Usage(
                    "Parquet cannot be read from standard input: its index stands at the end".into(),
                )
                .into());
            }
            let file = ParquetFile::open(File::open(path)?)?;
            progress.set_length(file.rows());
            let names = file.names().map(str::to_owned).collect();
            return Ok(Self { names, kind: Kind::Parquet(Box::new(file), progress.clone()) });
        }
        let raw: Box<dyn Read + Send> = if stdin {
            Box::new(progress.wrap_read(io::stdin()))
        } else {
            let file = File::open(path)?;
            progress.set_length(file.metadata()?.len());
            Box::new(progress.wrap_read(file))
        };
        let (blocks, names) = Blocks::new(decompressed(raw)?)?;
        Ok(Self { names, kind: Kind::Csv(blocks) })
    }

    /// Reads on, keeping the columns for which `wanted` holds. Pieces are smaller the more columns go out.
    pub(crate) fn pieces(
        self,
        model: &Model,
        wanted: impl Fn(&str) -> bool,
        outputs: usize,
    ) -> anyhow::Result<Pieces> {
        Ok(match self.kind {
            Kind::Csv(blocks) => {
                let block = (csv_in::BLOCK * 16 / outputs.max(16)).max(4 << 10);
                let layout = Arc::new(Layout::new(&self.names, model.schema(), wanted));
                Pieces::Csv(blocks.with_block_size(block), layout)
            }
            Kind::Parquet(file, progress) => {
                let width = self.names.iter().filter(|name| wanted(name)).count().max(outputs).max(1);
                let rows = ((2 << 20) / width).clamp(64, 16 << 10);
                Pieces::Parquet { batches: Box::new(file.batches(rows, wanted)?), first_row: 0, progress }
            }
        })
    }
}

/// The pieces of an input, in order.
pub(crate) enum Pieces {
    Csv(Blocks<Box<dyn Read + Send>>, Arc<Layout>),
    Parquet { batches: Box<ParquetBatches>, first_row: u64, progress: ProgressBar },
}

/// Some rows as they were read.
pub(crate) enum Piece {
    Csv(Block, Arc<Layout>),
    Parquet { columns: ArrowColumns, first_row: u64 },
}

impl Iterator for Pieces {
    type Item = anyhow::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Pieces::Csv(blocks, layout) => {
                let block = blocks.next_block().transpose()?;
                Some(block.map(|block| Piece::Csv(block, Arc::clone(layout))))
            }
            Pieces::Parquet { batches, first_row, progress } => Some(match batches.next()? {
                Ok(columns) => {
                    let piece = Piece::Parquet { first_row: *first_row, columns };
                    if let Piece::Parquet { columns, .. } = &piece {
                        *first_row += columns.rows() as u64;
                        progress.set_position(*first_row);
                    }
                    Ok(piece)
                }
                Err(error) => Err(error.into()),
            }),
        }
    }
}

/// Rows ready to be borrowed as a batch.
pub(crate) enum Rows {
    Csv(Records, Arc<Layout>),
    Parquet { columns: ArrowColumns, first_row: u64 },
}

impl Piece {
    /// Finds the cells.
    pub(crate) fn split(self) -> anyhow::Result<Rows> {
        Ok(match self {
            Piece::Csv(block, layout) => Rows::Csv(block.split(&layout)?, layout),
            Piece::Parquet { columns, first_row } => Rows::Parquet { columns, first_row },
        })
    }
}

impl Rows {
    pub(crate) fn batch(&self) -> Result<Batch<'_>, cenote::Error> {
        match self {
            Rows::Csv(records, layout) => records.batch(layout),
            Rows::Parquet { columns, .. } => columns.batch(),
        }
    }

    /// Where a row of the batch stands in the input, for people.
    pub(crate) fn place(&self, row: usize) -> String {
        match self {
            Rows::Csv(records, _) => format!("line {}", records.line(row)),
            Rows::Parquet { first_row, .. } => format!("row {}", first_row + row as u64 + 1),
        }
    }
}

/// Undoes gzip if the bytes begin as gzip does, whatever the file's name.
fn decompressed(mut raw: Box<dyn Read + Send>) -> anyhow::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::with_capacity(2);
    (&mut raw).take(2).read_to_end(&mut magic)?;
    let gzip = magic == [0x1f, 0x8b];
    let whole = io::Cursor::new(magic).chain(raw);
    Ok(if gzip {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, whole)))
    } else {
        Box::new(whole)
    })
}
