//! Exported files: packages of changes and snapshots, each with a manifest.
//!
//! No database and no network here: rows come in as values. A file appears whole or not at all, and is
//! never overwritten.

mod csv;
mod error;
mod file;
mod folder;
mod held_files;
mod json;
mod manifest;
mod name;
mod package_reader;
mod package_writer;
#[cfg(feature = "lake")]
mod parquet;
mod part_writer;
mod position;
mod snapshot;
mod unregistered;
mod verify;
mod work_counter;

use std::io::{self, Write};

pub use error::{ExportError, RowError, UnfitValue};
pub use folder::ConsumerFolder;
pub use held_files::{data_files_but_for, snapshot_folders, superseded_files};
pub use manifest::{
    Compression, FileRole, Manifest, ManifestCounts, ManifestFile, ManifestOptions, PackageKind,
    PackageMetadata,
};
pub use name::{REFERENCE_FOLDER, SeqRange, reference_name, snapshot_names};
pub use package_reader::{read_package_file, read_package_manifest};
pub use package_writer::{PackageWriter, Sink, UnnamedFile};
pub use part_writer::{DataPart, PartWriter};
pub use position::{ChainOrigin, ChainPosition, position_path, read_position, read_positions};
pub use snapshot::SnapshotWriter;
pub use unregistered::{RegisteredPackage, UnregisteredFiles, UnregisteredPackage, newer_snapshot};
pub(crate) use verify::serialize_path;
pub use verify::{
    Chain, VerifyFinding, VerifyNote, VerifyOptions, VerifyProblem, VerifyReport, verify, verify_links,
};
pub use work_counter::WorkCounter;

#[cfg(not(feature = "lake"))]
use crate::config::FormatError;
use crate::config::{Format, FormatOptions};
use crate::ticket::{CellValue, Column};

/// Number of bytes of rows that are buffered before they are written.
const CHUNK_SIZE: usize = 1 << 16;

/// Writes rows in the chosen format.
pub struct RowWriter<W: Write + Send> {
    encoder: RowEncoder<W>,
    /// Positions of the columns that are written, if not all are.
    selected: Option<Vec<usize>>,
}

enum RowEncoder<W: Write + Send> {
    Csv(csv::CsvWriter, TextOutput<W>),
    Json(json::JsonWriter, TextOutput<W>),
    #[cfg(feature = "lake")]
    Parquet(Box<parquet::ParquetWriter<W>>),
}

impl<W: Write + Send> RowEncoder<W> {
    fn write_row<'a>(&mut self, cells: impl IntoIterator<Item = CellValue<'a>>) -> Result<(), RowError> {
        match self {
            RowEncoder::Csv(csv, out) => {
                csv.write_row(cells, &mut out.buffer);
                Ok(out.flush_if_full()?)
            }
            RowEncoder::Json(json, out) => {
                json.write_row(cells, &mut out.buffer);
                Ok(out.flush_if_full()?)
            }
            #[cfg(feature = "lake")]
            RowEncoder::Parquet(parquet) => parquet.write_row(cells),
        }
    }
}

/// Rows as text, on their way to the output.
struct TextOutput<W> {
    buffer: Vec<u8>,
    /// Number of bytes that have left the buffer.
    flushed: u64,
    out: W,
}

impl<W: Write> TextOutput<W> {
    fn new(out: W) -> TextOutput<W> {
        TextOutput { buffer: Vec::with_capacity(2 * CHUNK_SIZE), flushed: 0, out }
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if CHUNK_SIZE <= self.buffer.len() {
            self.out.write_all(&self.buffer)?;
            self.flushed += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&self.buffer)?;
        Ok(self.out)
    }
}

impl<W: Write + Send> RowWriter<W> {
    /// Creates a writer for the rows of a table and writes what the format begins with.
    ///
    /// # Errors
    /// Errors of writing, and a format that the program was built without.
    pub fn new(options: FormatOptions, table: &str, columns: &[Column], out: W) -> io::Result<RowWriter<W>> {
        let selected = options.columns.map(|selection| selection.apply(columns));
        let columns: Vec<Column> = match &selected {
            Some(positions) => positions.iter().map(|position| columns[*position]).collect(),
            None => columns.to_vec(),
        };
        let encoder = match options.format {
            Format::Csv => {
                let mut out = TextOutput::new(out);
                RowEncoder::Csv(csv::CsvWriter::new(options, &columns, &mut out.buffer), out)
            }
            Format::Jsonl => RowEncoder::Json(json::JsonWriter::lines(&columns), TextOutput::new(out)),
            Format::Json => {
                let mut out = TextOutput::new(out);
                RowEncoder::Json(json::JsonWriter::array(&columns, &mut out.buffer), out)
            }
            #[cfg(feature = "lake")]
            Format::Parquet => {
                RowEncoder::Parquet(Box::new(parquet::ParquetWriter::new(table, &columns, out)?))
            }
            #[cfg(not(feature = "lake"))]
            Format::Parquet => {
                let _ = table;
                return Err(io::Error::new(io::ErrorKind::Unsupported, FormatError::NotBuiltIn));
            }
        };
        Ok(RowWriter { encoder, selected })
    }

    /// Writes one row, with a cell for each column, whether it is selected or not.
    ///
    /// # Errors
    /// Errors of writing, and in Parquet a value that its column cannot hold. Nothing can be written after an error.
    pub fn write_row<'a>(&mut self, cells: impl IntoIterator<Item = CellValue<'a>>) -> Result<(), RowError> {
        match &self.selected {
            None => self.encoder.write_row(cells),
            Some(positions) => {
                let cells: Vec<_> = cells.into_iter().collect();
                self.encoder.write_row(positions.iter().map(|position| cells[*position]))
            }
        }
    }

    /// Returns the size in bytes that the output will have at most if no further row is written: what was written, what
    /// is held of further rows before compression, and what the format ends with. It grows with each row, and only
    /// falls where held rows turn out to be smaller compressed.
    #[must_use]
    pub fn max_size(&self) -> u64 {
        /// What JSON ends with.
        const END: u64 = 8;
        match &self.encoder {
            RowEncoder::Csv(_, out) | RowEncoder::Json(_, out) => out.bytes() + END,
            #[cfg(feature = "lake")]
            RowEncoder::Parquet(parquet) => parquet.max_size(),
        }
    }

    /// Writes the rest and returns the underlying writer.
    pub fn finish(self) -> io::Result<W> {
        match self.encoder {
            RowEncoder::Csv(_, out) => out.finish(),
            RowEncoder::Json(json, mut out) => {
                json.finish(&mut out.buffer);
                out.finish()
            }
            #[cfg(feature = "lake")]
            RowEncoder::Parquet(parquet) => parquet.finish(),
        }
    }
}

/// Whether the predicate holds for any byte. Checks whole chunks without an early exit, so that the compiler
/// can vectorize it.
fn any_byte(bytes: &[u8], predicate: impl Fn(u8) -> bool) -> bool {
    bytes.chunks(64).any(|chunk| chunk.iter().fold(false, |found, byte| found | predicate(*byte)))
}
