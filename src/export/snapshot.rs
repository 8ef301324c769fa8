//! A snapshot: a folder with the tables as they stood at one change, which appears as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::draft::{Nameless, Sink};
use super::file::{DRAFT_PREFIX, entries, make_folders, sync_folder};
use super::folder::write;
use super::manifest::{File, Manifest, Package};
use super::name::MANIFEST;
use super::{ExportError, Rows};
use crate::config::Style;
use crate::ticket::Column;

pub(super) const SNAPSHOTS: &str = "snapshots";

/// The name of the check sums, for `sha256sum --check`.
pub(super) const SUMS: &str = "SHA256SUMS";

/// A snapshot that has no name yet; dropped, it leaves nothing behind.
pub struct SnapshotFolder {
    draft: TempDir,
    parent: PathBuf,
    files: Vec<File>,
}

impl SnapshotFolder {
    /// Begins a snapshot below the export folder. What a killed process left there is removed.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn begin(dir: &Path) -> Result<SnapshotFolder, ExportError> {
        let parent = dir.join(SNAPSHOTS);
        make_folders([dir, &parent])?;
        for (name, kind) in entries(&parent)? {
            if name.starts_with(DRAFT_PREFIX) && kind.is_dir() {
                let litter = parent.join(name);
                fs::remove_dir_all(&litter).map_err(ExportError::io(&litter))?;
            }
        }
        let draft = tempfile::Builder::new()
            .prefix(DRAFT_PREFIX)
            .tempdir_in(&parent)
            // Its words name the draft, which nobody has heard of.
            .map_err(|error| error.kind().into())
            .map_err(ExportError::create(&parent))?;
        Ok(SnapshotFolder { draft, parent, files: Vec::new() })
    }

    /// What errors call the file of a table.
    #[must_use]
    pub fn shown(&self, table: &str, style: Style) -> PathBuf {
        self.parent.join(file_name(table, style))
    }

    /// Writes a table: `fill` gives the rows and says how many there were.
    ///
    /// # Errors
    /// [`ExportError`], or what `fill` reports.
    pub fn write<E: From<ExportError>>(
        &mut self,
        table: &str,
        style: Style,
        columns: &[Column],
        fill: impl FnOnce(&mut Rows<Sink>) -> Result<u64, E>,
    ) -> Result<(), E> {
        let name = file_name(table, style);
        let shown = self.shown(table, style);
        let (rows, data) = write((self.draft.path(), &shown), style, columns, fill)?;
        let written = data.publish(&name)?;
        self.files.push(File::of(name, style, rows, written));
        Ok(())
    }

    /// Adds manifest and check sums and gives the folder the first of these names that is free.
    ///
    /// # Errors
    /// [`ExportError`]; there is no such folder then.
    pub fn publish(
        self,
        names: impl IntoIterator<Item = String>,
        package: Package,
    ) -> Result<(PathBuf, Manifest), ExportError> {
        // A folder is renamed over an empty one without a word; a snapshot of that name is kept.
        let path = names.into_iter().map(|name| self.parent.join(name)).find(|path| !path.exists());
        let taken = || ExportError::create(&self.parent)(io::ErrorKind::AlreadyExists.into());
        let path = path.ok_or_else(taken)?;
        let (manifest, bytes) = Manifest::seal(package, self.files).map_err(ExportError::io(&path))?;
        let inside = self.draft.path();
        let written = Nameless::of(inside, &path.join(MANIFEST), &bytes)?.publish(MANIFEST)?;
        let sums = sums(&manifest, &written.sha256);
        Nameless::of(inside, &path.join(SUMS), sums.as_bytes())?.publish(SUMS)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o750);
        fs::set_permissions(self.draft.path(), mode).map_err(ExportError::create(&path))?;
        fs::rename(self.draft.path(), &path).map_err(ExportError::create(&path))?;
        // It bears its name now; nothing is left to clean up.
        let _ = self.draft.keep();
        sync_folder(&self.parent)?;
        Ok((path, manifest))
    }
}

fn file_name(table: &str, style: Style) -> String {
    format!("{table}.{}", style.ending())
}

/// What stands in `SHA256SUMS`.
pub(super) fn sums(manifest: &Manifest, manifest_file_sha256: &str) -> String {
    let files = manifest.files.iter().map(|file| (file.sha256.as_str(), file.name.as_str()));
    let all = files.chain([(manifest_file_sha256, MANIFEST)]);
    all.map(|(sha256, name)| format!("{sha256}  {name}\n")).collect()
}
