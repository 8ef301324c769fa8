//! Data files of a package that is cut where a file would become too large.

use std::path::{Path, PathBuf};

use super::package_writer::{Sink, UnnamedFile};
use super::{ExportError, RowWriter};
use crate::config::FormatOptions;
use crate::ticket::{CellValue, Column};

/// What a package that may be cut has.
const TABLE: &str = "tickets";

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
        let current = open_rows((folder, display_path), TABLE, options, columns)?;
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
            let place = (self.folder, self.display_path.as_path());
            let next = open_rows(place, TABLE, self.options, self.columns)?;
            let full = std::mem::replace(&mut self.current, next);
            let rows = std::mem::take(&mut self.rows);
            self.finished.push(DataPart { rows, data: finish_rows(full, &self.display_path)? });
        }
        self.rows += 1;
        self.current.write_row(cells).map_err(|error| error.at(&self.display_path))
    }

    /// Ends the last file; there is one also without rows.
    pub(super) fn finish(self) -> Result<Vec<DataPart>, ExportError> {
        let PartWriter { current, rows, mut finished, display_path, .. } = self;
        finished.push(DataPart { rows, data: finish_rows(current, &display_path)? });
        Ok(finished)
    }
}

/// Begins an unnamed file in a folder for the rows of a table; errors name it `display_path`.
pub(super) fn open_rows(
    (folder, display_path): (&Path, &Path),
    table: &str,
    options: FormatOptions,
    columns: &[Column],
) -> Result<RowWriter<Sink>, ExportError> {
    let sink = Sink::new(folder, display_path, options.gzip)?;
    RowWriter::new(options, table, columns, sink).map_err(ExportError::cannot_write(display_path))
}

/// Ends such a file.
pub(super) fn finish_rows(writer: RowWriter<Sink>, display_path: &Path) -> Result<UnnamedFile, ExportError> {
    writer.finish().map_err(ExportError::cannot_write(display_path))?.finish(display_path)
}
