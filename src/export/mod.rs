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
mod snapshot;

use std::io::{self, Write};

pub use error::ExportError;
pub use file::{Draft, Written};
pub use folder::{Folder, Leftover, data_name, manifest_name};
pub use manifest::{Counts, File, Manifest, Options, Package};
pub use snapshot::SnapshotFolder;

use crate::config::Format;
use crate::ticket::{Cell, Column};

/// Writes rows in one format.
pub enum Rows<W: Write> {
    /// RFC 4180.
    Csv(csv::Csv<W>),
    /// JSON Lines, or one array.
    Json(json::Json<W>),
}

impl<W: Write> Rows<W> {
    /// Begins, with the header where the format has one.
    ///
    /// # Errors
    /// What writing reports.
    pub fn begin(format: Format, columns: &[Column], out: W) -> io::Result<Rows<W>> {
        Ok(match format {
            Format::Csv => Rows::Csv(csv::Csv::begin(columns, out)?),
            Format::Jsonl => Rows::Json(json::Json::lines(columns, out)),
            Format::Json => Rows::Json(json::Json::array(columns, out)?),
        })
    }

    /// Writes one row: a cell for each column.
    ///
    /// # Errors
    /// What writing reports.
    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) -> io::Result<()> {
        match self {
            Rows::Csv(csv) => csv.row(cells),
            Rows::Json(json) => json.row(cells),
        }
    }

    /// Ends, and gives back what was written to.
    ///
    /// # Errors
    /// What writing reports.
    pub fn end(self) -> io::Result<W> {
        match self {
            Rows::Csv(csv) => Ok(csv.end()),
            Rows::Json(json) => json.end(),
        }
    }
}
