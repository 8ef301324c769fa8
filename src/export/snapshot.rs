//! Snapshots: a folder with all tables as of one change, which appears whole or not at all. Its manifest and
//! `SHA256SUMS` list every file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::file::{TEMP_PREFIX, create_folders, fsync_folder, is_temporary, list_entries, remove_tree};
use super::folder::write_rows;
use super::manifest::{FileRole, Manifest, ManifestFile, PackageMetadata};
use super::name::MANIFEST;
use super::package_writer::{Sink, UnnamedFile};
use super::{ExportError, RowWriter};
use crate::config::FormatOptions;
use crate::snapshot_table::SnapshotTable;

/// Folder of snapshots, below the export folder.
pub(super) const SNAPSHOTS: &str = "snapshots";

/// Name of the file of checksums, for `sha256sum --check`.
pub(super) const CHECKSUMS: &str = "SHA256SUMS";

/// A snapshot that is being written and has no name yet. Dropping it removes it.
pub struct SnapshotWriter {
    temp_dir: TempDir,
    parent: PathBuf,
    files: Vec<ManifestFile>,
}

impl SnapshotWriter {
    /// Creates an unnamed snapshot below the export folder, and removes those that a killed process left
    /// behind.
    pub fn create(dir: &Path) -> Result<SnapshotWriter, ExportError> {
        let parent = dir.join(SNAPSHOTS);
        create_folders([dir, &parent])?;
        for (name, kind) in list_entries(&parent)? {
            if is_temporary(&name) && kind.is_dir() {
                let leftover = parent.join(name);
                remove_tree(&leftover)?;
            }
        }
        let temp_dir = tempfile::Builder::new()
            .prefix(TEMP_PREFIX)
            .tempdir_in(&parent)
            // The original error has the temporary name.
            .map_err(|error| error.kind().into())
            .map_err(ExportError::cannot_create(&parent))?;
        Ok(SnapshotWriter { temp_dir, parent, files: Vec::new() })
    }

    /// Returns the path of a table's file in errors.
    #[must_use]
    pub fn display_path(&self, table: SnapshotTable, options: FormatOptions) -> PathBuf {
        self.parent.join(file_name(table, options))
    }

    /// Writes a table with the rows that `emit_rows` writes; it returns their number.
    pub fn write_table<E: From<ExportError>>(
        &mut self,
        table: SnapshotTable,
        options: FormatOptions,
        emit_rows: impl FnOnce(&mut RowWriter<Sink>) -> Result<u64, E>,
    ) -> Result<(), E> {
        let name = file_name(table, options);
        let display_path = self.display_path(table, options);
        let role = FileRole::of_table(table.name());
        // Only these have columns of tickets.
        let has_attributes = matches!(role, FileRole::Tickets | FileRole::DeletedTickets);
        let options = FormatOptions { columns: options.columns.filter(|_| has_attributes), ..options };
        let folder = (self.temp_dir.path(), display_path.as_path());
        let (rows, data) = write_rows(folder, table.name(), options, &table.columns(), emit_rows)?;
        let digest = data.commit(&name)?;
        self.files.push(ManifestFile { role, ..ManifestFile::new(name, options, rows, digest) });
        Ok(())
    }

    /// Adds manifest and checksums, and gives the folder the first of `names` that is free.
    ///
    /// # Errors
    /// After an error there is no such snapshot, except that its name may be lost in a crash if the folder
    /// could not be flushed to disk.
    pub fn commit(
        self,
        names: impl IntoIterator<Item = String>,
        package: PackageMetadata,
    ) -> Result<(PathBuf, Manifest), ExportError> {
        // `rename` silently replaces an empty folder, so the name must be checked first.
        let path = names.into_iter().map(|name| self.parent.join(name)).find(|path| !path.exists());
        let already_exists = || ExportError::cannot_create(&self.parent)(io::ErrorKind::AlreadyExists.into());
        let path = path.ok_or_else(already_exists)?;
        let (manifest, text) =
            Manifest::build(package, self.files).map_err(ExportError::cannot_write(&path))?;
        let temp_path = self.temp_dir.path();
        let digest =
            UnnamedFile::from_bytes(temp_path, &path.join(MANIFEST), text.as_bytes())?.commit(MANIFEST)?;
        let checksums = checksums(&manifest, &digest.sha256);
        UnnamedFile::from_bytes(temp_path, &path.join(CHECKSUMS), checksums.as_bytes())?.commit(CHECKSUMS)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o750);
        fs::set_permissions(self.temp_dir.path(), mode).map_err(ExportError::cannot_create(&path))?;
        fs::rename(self.temp_dir.path(), &path).map_err(ExportError::cannot_create(&path))?;
        // Renamed, so there is nothing left to remove.
        let _ = self.temp_dir.keep();
        fsync_folder(&self.parent)?;
        Ok((path, manifest))
    }
}

fn file_name(table: SnapshotTable, options: FormatOptions) -> String {
    format!("{}.{}", table.name(), options.extension())
}

/// Returns the content of `SHA256SUMS`.
pub(super) fn checksums(manifest: &Manifest, manifest_file_sha256: &str) -> String {
    let files = manifest.files.iter().map(|file| (file.sha256.as_str(), file.name.as_str()));
    let all = files.chain([(manifest_file_sha256, MANIFEST)]);
    all.map(|(sha256, name)| format!("{sha256}  {name}\n")).collect()
}
