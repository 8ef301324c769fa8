//! Files for systems that are offline: packages of changes, each with a manifest that proves it.
//!
//! Knows nothing of databases and networks: rows come in as values. A file appears whole or not at
//! all, and is never overwritten.

mod csv;
mod error;
mod file;
mod folder;
mod json;
mod manifest;
mod name;
mod package_writer;
mod snapshot;
mod unregistered;
mod verify;

use std::io::{self, Write};
use std::mem;

pub use error::ExportError;
pub use file::FileDigest;
pub use folder::ConsumerFolder;
pub use manifest::{Manifest, ManifestCounts, ManifestFile, ManifestOptions, PackageMetadata};
pub use name::{SeqRange, snapshot_names};
pub use package_writer::{PackageWriter, Sink, UnnamedFile};
pub use snapshot::SnapshotWriter;
pub use unregistered::{UnregisteredPackage, newer_than};
pub use verify::{Chain, VerifyFinding, VerifyProblem, VerifyReport, verify};

use crate::config::{Format, FormatOptions};
use crate::ticket::{CellValue, Column};

/// Bytes of rows that are handed on together.
const CHUNK_SIZE: usize = 1 << 16;

/// Writes rows in one style.
pub struct RowWriter<W: Write> {
    encoder: RowEncoder,
    buffer: Vec<u8>,
    out: W,
}

enum RowEncoder {
    Csv(csv::CsvWriter),
    Json(json::JsonWriter),
}

impl<W: Write> RowWriter<W> {
    /// Begins, with the header where the format has one.
    #[must_use]
    pub fn new(options: FormatOptions, columns: &[Column], out: W) -> RowWriter<W> {
        let mut buffer = Vec::with_capacity(2 * CHUNK_SIZE);
        let encoder = match options.format {
            Format::Csv => RowEncoder::Csv(csv::CsvWriter::new(options, columns, &mut buffer)),
            Format::Jsonl => RowEncoder::Json(json::JsonWriter::lines(columns)),
            Format::Json => RowEncoder::Json(json::JsonWriter::array(columns, &mut buffer)),
        };
        RowWriter { encoder, buffer, out }
    }

    /// Writes one row: a cell for each column.
    ///
    /// # Errors
    /// What writing reports.
    pub fn write_row<'a>(&mut self, cells: impl IntoIterator<Item = CellValue<'a>>) -> io::Result<()> {
        match &mut self.encoder {
            RowEncoder::Csv(csv) => csv.write_row(cells, &mut self.buffer),
            RowEncoder::Json(json) => json.write_row(cells, &mut self.buffer),
        }
        if CHUNK_SIZE <= self.buffer.len() {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Ends, and gives back what was written to.
    ///
    /// # Errors
    /// What writing reports.
    pub fn finish(mut self) -> io::Result<W> {
        let mut buffer = mem::take(&mut self.buffer);
        if let RowEncoder::Json(json) = self.encoder {
            json.finish(&mut buffer);
        }
        self.out.write_all(&buffer)?;
        Ok(self.out)
    }
}

/// Whether any byte is such a one; without a way out half-way, which lets the compiler look at many bytes
/// at once.
fn any_byte(bytes: &[u8], predicate: impl Fn(u8) -> bool) -> bool {
    bytes.chunks(64).any(|chunk| chunk.iter().fold(false, |found, byte| found | predicate(*byte)))
}
