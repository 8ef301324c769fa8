//! Files for systems that are offline: packages of changes, each with a manifest that proves it.
//!
//! Knows nothing of databases and networks: rows come in as values. A file appears whole or not at
//! all, and is never overwritten.

mod csv;
mod draft;
mod error;
mod file;
mod folder;
mod json;
mod manifest;
mod name;
mod snapshot;
mod stray;
mod verify;

use std::io::{self, Write};
use std::mem;

pub use draft::{Draft, Nameless, Sink};
pub use error::ExportError;
pub use file::Written;
pub use folder::Folder;
pub use manifest::{Counts, File, Manifest, Options, Package};
pub use name::{Range, snapshot_names};
pub use snapshot::SnapshotFolder;
pub use stray::{Stray, beyond};
pub use verify::{Chain, Finding, Problem, Verdict, verify};

use crate::config::{Format, Style};
use crate::ticket::{Cell, Column};

/// Bytes of rows that are handed on together.
const PIECE: usize = 1 << 16;

/// Writes rows in one style.
pub struct Rows<W: Write> {
    encoder: Encoder,
    piece: Vec<u8>,
    out: W,
}

enum Encoder {
    Csv(csv::Csv),
    Json(json::Json),
}

impl<W: Write> Rows<W> {
    /// Begins, with the header where the format has one.
    #[must_use]
    pub fn begin(style: Style, columns: &[Column], out: W) -> Rows<W> {
        let mut piece = Vec::with_capacity(2 * PIECE);
        let encoder = match style.format {
            Format::Csv => Encoder::Csv(csv::Csv::begin(style, columns, &mut piece)),
            Format::Jsonl => Encoder::Json(json::Json::lines(columns)),
            Format::Json => Encoder::Json(json::Json::array(columns, &mut piece)),
        };
        Rows { encoder, piece, out }
    }

    /// Writes one row: a cell for each column.
    ///
    /// # Errors
    /// What writing reports.
    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) -> io::Result<()> {
        match &mut self.encoder {
            Encoder::Csv(csv) => csv.row(cells, &mut self.piece),
            Encoder::Json(json) => json.row(cells, &mut self.piece),
        }
        if PIECE <= self.piece.len() {
            self.out.write_all(&self.piece)?;
            self.piece.clear();
        }
        Ok(())
    }

    /// Ends, and gives back what was written to.
    ///
    /// # Errors
    /// What writing reports.
    pub fn end(mut self) -> io::Result<W> {
        let mut piece = mem::take(&mut self.piece);
        if let Encoder::Json(json) = self.encoder {
            json.end(&mut piece);
        }
        self.out.write_all(&piece)?;
        Ok(self.out)
    }
}

/// Whether any byte is such a one; without a way out half-way, which lets the compiler look at many bytes
/// at once.
fn any(bytes: &[u8], such: impl Fn(u8) -> bool) -> bool {
    bytes.chunks(64).any(|chunk| chunk.iter().fold(false, |found, byte| found | such(*byte)))
}
