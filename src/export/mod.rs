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
mod part_writer;
mod position;
mod snapshot;
mod unregistered;
mod verify;
mod work_counter;

use std::io::{self, Write};
use std::mem;

pub use error::ExportError;
pub use file::FileDigest;
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

use crate::config::{Format, FormatOptions};
use crate::ticket::{CellValue, Column};

/// Number of bytes of rows that are buffered before they are written.
const CHUNK_SIZE: usize = 1 << 16;

/// Writes rows in the chosen format.
pub struct RowWriter<W: Write> {
    encoder: RowEncoder,
    /// Positions of the columns that are written, if not all are.
    selected: Option<Vec<usize>>,
    buffer: Vec<u8>,
    /// Number of bytes that `out` has.
    written: u64,
    out: W,
}

enum RowEncoder {
    Csv(csv::CsvWriter),
    Json(json::JsonWriter),
}

impl RowEncoder {
    fn write_row<'a>(&mut self, cells: impl IntoIterator<Item = CellValue<'a>>, out: &mut Vec<u8>) {
        match self {
            RowEncoder::Csv(csv) => csv.write_row(cells, out),
            RowEncoder::Json(json) => json.write_row(cells, out),
        }
    }
}

impl<W: Write> RowWriter<W> {
    /// Creates a writer and buffers the header, if the format has one.
    #[must_use]
    pub fn new(options: FormatOptions, columns: &[Column], out: W) -> RowWriter<W> {
        let selected = options.columns.map(|selection| selection.apply(columns));
        let columns: Vec<Column> = match &selected {
            Some(positions) => positions.iter().map(|position| columns[*position]).collect(),
            None => columns.to_vec(),
        };
        let mut buffer = Vec::with_capacity(2 * CHUNK_SIZE);
        let encoder = match options.format {
            Format::Csv => RowEncoder::Csv(csv::CsvWriter::new(options, &columns, &mut buffer)),
            Format::Jsonl => RowEncoder::Json(json::JsonWriter::lines(&columns)),
            Format::Json => RowEncoder::Json(json::JsonWriter::array(&columns, &mut buffer)),
        };
        RowWriter { encoder, selected, buffer, written: 0, out }
    }

    /// Writes one row, with a cell for each column, whether it is selected or not.
    pub fn write_row<'a>(&mut self, cells: impl IntoIterator<Item = CellValue<'a>>) -> io::Result<()> {
        match &self.selected {
            None => self.encoder.write_row(cells, &mut self.buffer),
            Some(positions) => {
                let cells: Vec<_> = cells.into_iter().collect();
                let selected = positions.iter().map(|position| cells[*position]);
                self.encoder.write_row(selected, &mut self.buffer);
            }
        }
        if CHUNK_SIZE <= self.buffer.len() {
            self.out.write_all(&self.buffer)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Returns the number of bytes that the output will have at least and, but for compression, at most.
    #[must_use]
    pub fn size_bound(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Writes the rest and returns the underlying writer.
    pub fn finish(mut self) -> io::Result<W> {
        let mut buffer = mem::take(&mut self.buffer);
        if let RowEncoder::Json(json) = self.encoder {
            json.finish(&mut buffer);
        }
        self.out.write_all(&buffer)?;
        Ok(self.out)
    }
}

/// Whether the predicate holds for any byte. Checks whole chunks without an early exit, so that the compiler
/// can vectorize it.
fn any_byte(bytes: &[u8], predicate: impl Fn(u8) -> bool) -> bool {
    bytes.chunks(64).any(|chunk| chunk.iter().fold(false, |found, byte| found | predicate(*byte)))
}
