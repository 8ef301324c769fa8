//! A snapshot: a folder with the tables as they stood at one change, which appears as a whole.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::file::{DRAFT_PREFIX, Draft, Written, sync_folder};
use super::manifest::{File, Manifest, Package};
use super::{ExportError, Folder, Rows};
use crate::config::Format;
use crate::ticket::Column;

/// A snapshot that has no name yet; dropped, it leaves nothing behind.
pub struct SnapshotFolder {
    draft: TempDir,
    inside: Folder,
    parent: PathBuf,
    files: Vec<File>,
}

impl SnapshotFolder {
    /// Begins a snapshot below the export folder.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn begin(dir: &Path) -> Result<SnapshotFolder, ExportError> {
        let parent = dir.join("snapshots");
        Folder::make([dir, &parent])?;
        let draft = tempfile::Builder::new()
            .prefix(DRAFT_PREFIX)
            .tempdir_in(&parent)
            .map_err(ExportError::create(&parent))?;
        let inside = Folder::nameless(draft.path());
        Ok(SnapshotFolder { draft, inside, parent, files: Vec::new() })
    }

    /// Writes a table: `fill` gives the rows and says how many there were.
    ///
    /// # Errors
    /// [`ExportError`], or what `fill` reports.
    pub fn write<E: From<ExportError>>(
        &mut self,
        table: &str,
        format: Format,
        columns: &[Column],
        fill: impl FnOnce(&mut Rows<Draft>) -> Result<u64, E>,
    ) -> Result<u64, E> {
        let name = format!("{table}.{}", format.word());
        let (rows, Written { bytes, sha256 }) = self.inside.write_data(&name, format, columns, fill)?;
        let format = format.word().to_owned();
        self.files.push(File { name, format, compression: "none".into(), rows, bytes, sha256 });
        Ok(rows)
    }

    /// Adds manifest and check sums and gives the folder its name.
    ///
    /// # Errors
    /// [`ExportError`]; there is no such folder then.
    pub fn publish(self, name: &str, package: Package) -> Result<(PathBuf, Manifest), ExportError> {
        let path = self.parent.join(name);
        let failed = ExportError::io(&path);
        let mut sums = String::new();
        for file in &self.files {
            sums.push_str(&format!("{}  {}\n", file.sha256, file.name));
        }
        let (manifest, bytes) = match Manifest::seal(package, self.files) {
            Ok(sealed) => sealed,
            Err(error) => return Err(failed(error.into())),
        };
        let mut draft = Draft::new(self.draft.path())?;
        draft.write_all(&bytes).map_err(failed)?;
        let written = draft.publish("manifest.json")?;
        sums.push_str(&format!("{}  manifest.json\n", written.sha256));
        let mut draft = Draft::new(self.draft.path())?;
        draft.write_all(sums.as_bytes()).map_err(ExportError::io(&path))?;
        draft.publish("SHA256SUMS")?;
        // A folder is renamed over an empty one without a word; a snapshot of this name is kept.
        if path.exists() {
            let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(ExportError::create(&path)(exists));
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o750);
        fs::set_permissions(self.draft.path(), mode).map_err(ExportError::create(&path))?;
        fs::rename(self.draft.path(), &path).map_err(ExportError::create(&path))?;
        // It bears its name now; nothing is left to clean up.
        let _ = self.draft.keep();
        sync_folder(&self.parent)?;
        Ok((path, manifest))
    }
}
