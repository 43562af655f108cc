//! Parquet files in and out, a batch at a time: memory does not grow with the file.
//!
//! In flow a file's wanted columns, as [`ArrowColumns`]; out flow [`Predictions`] in the layout of
//! [`Predictions::to_record_batch`]. Compression: Snappy, Zstandard, LZ4 and gzip in, Snappy out.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use arrow_array::{RecordBatch, new_null_array};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::arrow::{ArrowColumns, ErrorColumn, Reading};
use crate::predictions::{OutputColumn, OutputValues, Predictions};

/// A Parquet file whose footer has been read.
pub struct ParquetFile {
    builder: ParquetRecordBatchReaderBuilder<File>,
}

/// What each column is read for, by its name.
type Readings = Box<dyn Fn(&str) -> Option<Reading> + Send>;

/// The batches of a [`ParquetFile`].
pub struct ParquetBatches {
    reader: ParquetRecordBatchReader,
    reading: Readings,
}

impl ParquetFile {
    /// Reads the footer.
    ///
    /// # Errors
    /// If the file is no Parquet, is damaged, or cannot be read.
    pub fn open(file: File) -> Result<Self, ParquetError> {
        Ok(Self { builder: ParquetRecordBatchReaderBuilder::try_new(file)? })
    }

    /// The names of all columns, in file order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.builder.schema().fields().iter().map(|field| field.name().as_str())
    }

    /// How many rows the file has.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.builder.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Reads the columns for which `wanted` holds, at most `rows` rows a batch; the others are not touched.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn batches(self, rows: usize, wanted: impl Fn(&str) -> bool) -> Result<ParquetBatches, ParquetError> {
        self.batches_as(rows, wanted, |_| Some(Reading::Model))
    }

    /// As [`batches`](Self::batches), of columns that are read for what `reading` says; those for which it says nothing are only in
    /// [`ArrowColumns::source`].
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn batches_as(
        self,
        rows: usize,
        wanted: impl Fn(&str) -> bool,
        reading: impl Fn(&str) -> Option<Reading> + Send + 'static,
    ) -> Result<ParquetBatches, ParquetError> {
        let roots = self.names().enumerate().filter(|(_, name)| wanted(name)).map(|(root, _)| root);
        let mask = ProjectionMask::roots(self.builder.parquet_schema(), roots.collect::<Vec<_>>());
        let reader = self.builder.with_projection(mask).with_batch_size(rows).build()?;
        Ok(ParquetBatches { reader, reading: Box::new(reading) })
    }
}

impl Iterator for ParquetBatches {
    type Item = Result<ArrowColumns, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.and_then(|batch| ArrowColumns::read(&batch, &self.reading)).map_err(ParquetError::from))
    }
}

/// Writes predictions to a Parquet file.
pub struct ParquetWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: SchemaRef,
    error: ErrorColumn,
}

/// What a writer holds back before it writes a row group, in bytes.
const ROW_GROUP_BYTES: usize = 32 << 20;

impl<W: Write + Send> ParquetWriter<W> {
    /// Begins a file for predictions that have the columns of `like` (which may have no rows). With
    /// [`ErrorColumn::WhenAny`] there is no column `error`, and only predictions without refused rows can be written.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn new(sink: W, like: &Predictions, error: ErrorColumn) -> Result<Self, ParquetError> {
        let like =
            Predictions { rows: 0, columns: like.columns.iter().map(emptied).collect(), errors: Vec::new() };
        Self::of(sink, like.to_record_batch(error)?.schema(), error)
    }

    /// Begins a file for tables of that schema.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn of_tables(sink: W, schema: SchemaRef) -> Result<Self, ParquetError> {
        Self::of(sink, schema, ErrorColumn::default())
    }

    fn of(sink: W, schema: SchemaRef, error: ErrorColumn) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        Ok(Self { writer: ArrowWriter::try_new(sink, Arc::clone(&schema), Some(properties))?, schema, error })
    }

    /// Adds the rows of `predictions`.
    ///
    /// # Errors
    /// If the columns are others than at the beginning, or the sink fails.
    pub fn write(&mut self, predictions: &Predictions) -> Result<(), ParquetError> {
        self.write_batch(&predictions.to_record_batch(self.error)?)
    }

    /// Adds the rows of a file that was written without the column `error`, with nothing in that column if this has it.
    ///
    /// # Errors
    /// If the file is damaged, its columns are others, or the sink fails.
    pub fn append(&mut self, file: File) -> Result<(), ParquetError> {
        let schema = Arc::clone(&self.schema);
        for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
            let batch = batch?;
            let mut columns = batch.columns().to_vec();
            if let Some(error) = schema.fields().get(columns.len()) {
                columns.push(new_null_array(error.data_type(), batch.num_rows()));
            }
            let columns = (columns.iter().zip(schema.fields()))
                .map(|(column, field)| arrow_cast::cast(column, field.data_type()))
                .collect::<Result<_, _>>()?;
            self.write_batch(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        }
        Ok(())
    }

    /// Adds the rows of a table.
    ///
    /// # Errors
    /// If its columns are others than at the beginning, or the sink fails.
    pub fn write_batch(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.writer.write(batch)?;
        if self.writer.in_progress_size() > ROW_GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Writes the footer and hands back the sink.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn finish(self) -> Result<W, ParquetError> {
        self.writer.into_inner()
    }
}

/// The column without its rows.
fn emptied(column: &OutputColumn) -> OutputColumn {
    let values = match &column.values {
        OutputValues::Number(_) => OutputValues::Number(Vec::new()),
        OutputValues::Label { domain, .. } => {
            OutputValues::Label { codes: Vec::new(), domain: domain.clone() }
        }
        OutputValues::Integer(_) => OutputValues::Integer(Vec::new()),
    };
    OutputColumn { name: column.name.clone(), values }
}

impl std::fmt::Debug for ParquetFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetFile").field("rows", &self.rows()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ParquetBatches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetBatches").finish_non_exhaustive()
    }
}

impl<W: Write + Send> std::fmt::Debug for ParquetWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetWriter").field("error", &self.error).finish_non_exhaustive()
    }
}
