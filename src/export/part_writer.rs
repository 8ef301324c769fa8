//! Data files of a package that is cut where a file would become too large.

use std::path::{Path, PathBuf};

use super::package_writer::{Sink, UnnamedFile};
use super::{ExportError, FileRole, RowWriter};
use crate::config::FormatOptions;
use crate::ticket::{CellValue, Column};

/// One data file of a package, which has no name yet.
pub struct DataPart {
    /// Number of its rows.
    pub rows: u64,
    /// The file.
    pub data: UnnamedFile,
}

/// Writes rows to one file after another.
pub struct PartWriter<'a> {
    folder: &'a Path,
    /// Path that errors name.
    display_path: PathBuf,
    options: FormatOptions,
    columns: &'a [Column],
    max_bytes: Option<u64>,
    current: RowWriter<Sink>,
    rows: u64,
    finished: Vec<DataPart>,
}

impl<'a> PartWriter<'a> {
    pub(super) fn new(
        folder: &'a Path,
        display_path: &Path,
        options: FormatOptions,
        columns: &'a [Column],
        max_bytes: Option<u64>,
    ) -> Result<PartWriter<'a>, ExportError> {
        let current = open(folder, display_path, options, columns)?;
        Ok(PartWriter {
            folder,
            display_path: display_path.to_owned(),
            options,
            columns,
            max_bytes,
            current,
            rows: 0,
            finished: Vec::new(),
        })
    }

    /// Writes one row, with a cell for each column, whether it is selected or not.
    pub fn write_row<'c>(
        &mut self,
        cells: impl IntoIterator<Item = CellValue<'c>>,
    ) -> Result<(), ExportError> {
        if 0 < self.rows && self.max_bytes.is_some_and(|max| max <= self.current.max_size()) {
            let next = open(self.folder, &self.display_path, self.options, self.columns)?;
            let full = std::mem::replace(&mut self.current, next);
            self.finished.push(finish(full, std::mem::take(&mut self.rows), &self.display_path)?);
        }
        self.rows += 1;
        self.current.write_row(cells).map_err(|error| error.at(&self.display_path))
    }

    /// Ends the last file; there is one also without rows.
    pub(super) fn finish(self) -> Result<Vec<DataPart>, ExportError> {
        let PartWriter { current, rows, mut finished, display_path, .. } = self;
        finished.push(finish(current, rows, &display_path)?);
        Ok(finished)
    }
}

fn open(
    folder: &Path,
    display_path: &Path,
    options: FormatOptions,
    columns: &[Column],
) -> Result<RowWriter<Sink>, ExportError> {
    let sink = Sink::new(folder, display_path, options.gzip)?;
    let table = FileRole::Tickets.as_str();
    RowWriter::new(options, table, columns, sink).map_err(ExportError::cannot_write(display_path))
}

fn finish(writer: RowWriter<Sink>, rows: u64, display_path: &Path) -> Result<DataPart, ExportError> {
    let sink = writer.finish().map_err(ExportError::cannot_write(display_path))?;
    Ok(DataPart { rows, data: sink.finish(display_path)? })
}
