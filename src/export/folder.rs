//! The folder of a consumer: writing packages, and recovery after a kill.

use std::fs;
use std::path::{Path, PathBuf};

use super::file::{create_folders, fsync_folder, hash_file, is_temporary, list_entries, remove_if_present};
use super::manifest::{Manifest, ManifestFile, PackageMetadata};
use super::package_writer::{Sink, UnnamedFile};
use super::{ExportError, RowWriter};
use crate::config::{ConsumerName, FormatOptions};
use crate::ticket::Column;

/// Folder of all consumers' folders, below the export folder.
pub(super) const DELTAS: &str = "deltas";

/// The folder of one consumer.
#[derive(Debug)]
pub struct ConsumerFolder {
    pub(super) dir: PathBuf,
    pub(super) consumer: String,
    pub(super) path: PathBuf,
}

impl ConsumerFolder {
    /// Opens the folder of a consumer below the export folder `dir`, and finishes or removes files that a
    /// killed process left behind. The export folder is created only if its parent exists: a longer missing
    /// path is more likely a typing error.
    pub fn open(dir: &Path, consumer: &ConsumerName) -> Result<ConsumerFolder, ExportError> {
        let path = dir.join(DELTAS).join(consumer.as_str());
        create_folders([dir, &dir.join(DELTAS), &path])?;
        let folder = ConsumerFolder { dir: dir.to_owned(), consumer: consumer.as_str().to_owned(), path };
        folder.recover()?;
        Ok(folder)
    }

    /// Returns the path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a data file with the rows that `emit_rows` writes. The file has no name yet; errors name it
    /// `name`.
    ///
    /// # Errors
    /// Errors of writing, or those of `emit_rows`. No file is left behind.
    pub fn write_data<T, E: From<ExportError>>(
        &self,
        name: &str,
        options: FormatOptions,
        columns: &[Column],
        emit_rows: impl FnOnce(&mut RowWriter<Sink>) -> Result<T, E>,
    ) -> Result<(T, UnnamedFile), E> {
        write_rows((&self.path, &self.path.join(name)), options, columns, emit_rows)
    }

    /// Names the data file and then the manifest. The manifest is on disk before either is named, so that
    /// the next process can finish the package if this one is killed in between.
    ///
    /// # Errors
    /// After an error there is no such package.
    pub fn commit(
        &self,
        data: UnnamedFile,
        options: FormatOptions,
        rows: u64,
        package: PackageMetadata,
    ) -> Result<Manifest, ExportError> {
        let range = package.range();
        let name = range.data_file(options);
        let file = ManifestFile::new(name.clone(), options, rows, data.digest().clone());
        let (manifest, manifest_file) = self.prepare_manifest(package, file)?;
        data.commit(&name)?;
        if let Err(error) = manifest_file.commit(&range.manifest_file()) {
            // Without a manifest it is not a package, and it would block the next attempt.
            let _ = remove_if_present(&self.path.join(name));
            return Err(error);
        }
        Ok(manifest)
    }

    /// Adds the manifest for a data file that already has its name.
    pub fn add_manifest(
        &self,
        data_file: &str,
        options: FormatOptions,
        rows: u64,
        package: PackageMetadata,
    ) -> Result<Manifest, ExportError> {
        let range = package.range();
        let digest = hash_file(&self.path.join(data_file))?;
        let (manifest, manifest_file) =
            self.prepare_manifest(package, ManifestFile::new(data_file.to_owned(), options, rows, digest))?;
        manifest_file.commit(&range.manifest_file())?;
        Ok(manifest)
    }

    fn prepare_manifest(
        &self,
        package: PackageMetadata,
        file: ManifestFile,
    ) -> Result<(Manifest, UnnamedFile), ExportError> {
        let range = package.range();
        let display_path = self.path.join(range.manifest_file());
        let (manifest, bytes) =
            Manifest::build(package, vec![file]).map_err(ExportError::cannot_write(&display_path))?;
        let unnamed = UnnamedFile::from_bytes(&self.path, &display_path, &bytes)?;
        Ok((manifest, unnamed))
    }

    /// Whether size and hash of the data files match a manifest.
    pub fn data_matches(&self, manifest: &Manifest) -> Result<bool, ExportError> {
        for file in &manifest.files {
            let path = self.path.join(&file.name);
            if !path.is_file() {
                return Ok(false);
            }
            let digest = hash_file(&path)?;
            if (digest.bytes, digest.sha256.as_str()) != (file.bytes, file.sha256.as_str()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the files of a package in any folder: first the manifest, without which the data is not a
    /// package. Missing files are not an error.
    pub fn remove_package(folder: &Path, manifest: &str, data: &str) -> Result<(), ExportError> {
        remove_if_present(&folder.join(manifest))?;
        remove_if_present(&folder.join(data))?;
        if folder.exists() { fsync_folder(folder) } else { Ok(()) }
    }

    /// Finishes or removes temporary files of a killed process: a manifest whose data file already has its
    /// name gets its own name, everything else is removed.
    fn recover(&self) -> Result<(), ExportError> {
        for (name, kind) in list_entries(&self.path)? {
            if !is_temporary(&name) || !kind.is_file() {
                continue;
            }
            let path = self.path.join(&name);
            if let Ok(manifest) = read_manifest(&path) {
                let target = self.path.join(manifest.range().manifest_file());
                if !target.exists() && self.data_matches(&manifest)? {
                    fs::rename(&path, &target).map_err(ExportError::cannot_create(&target))?;
                    fsync_folder(&self.path)?;
                    continue;
                }
            }
            remove_if_present(&path)?;
        }
        Ok(())
    }
}

/// Writes rows to an unnamed file in a folder; errors name it `display_path`.
pub(super) fn write_rows<T, E: From<ExportError>>(
    (folder, display_path): (&Path, &Path),
    options: FormatOptions,
    columns: &[Column],
    emit_rows: impl FnOnce(&mut RowWriter<Sink>) -> Result<T, E>,
) -> Result<(T, UnnamedFile), E> {
    let mut writer = RowWriter::new(options, columns, Sink::new(folder, display_path, options.gzip)?);
    let output = emit_rows(&mut writer)?;
    let sink = writer.finish().map_err(ExportError::cannot_write(display_path))?;
    Ok((output, sink.finish(display_path)?))
}

/// Reads a manifest. A longer file, such as the temporary file of data, is refused before it is read.
pub(super) fn read_manifest(path: &Path) -> Result<Manifest, ExportError> {
    const MAX_MANIFEST_BYTES: u64 = 1 << 20;
    let length = fs::metadata(path).map_err(ExportError::cannot_read(path))?.len();
    if MAX_MANIFEST_BYTES < length {
        return Err(ExportError::contradiction(path.to_owned(), "it is too large for a manifest"));
    }
    let bytes = fs::read(path).map_err(ExportError::cannot_read(path))?;
    Manifest::parse(&bytes).map_err(|why| ExportError::Contradiction { path: path.to_owned(), why })
}
