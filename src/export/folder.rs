//! The folder of a consumer: its packages by the numbers in their names, and what a killed process
//! left there.

use std::fs;
use std::path::{Path, PathBuf};

use super::file::{TEMP_PREFIX, create_folders, fsync_folder, hash_file, list_entries, remove_if_present};
use super::manifest::{Manifest, ManifestFile, PackageMetadata};
use super::package_writer::{Sink, UnnamedFile};
use super::{ExportError, RowWriter};
use crate::config::{ConsumerName, FormatOptions};
use crate::ticket::Column;

pub(super) const DELTAS: &str = "deltas";

/// The folder of one consumer.
#[derive(Debug)]
pub struct ConsumerFolder {
    pub(super) dir: PathBuf,
    pub(super) consumer: String,
    pub(super) path: PathBuf,
}

impl ConsumerFolder {
    /// The folder of a consumer below the export folder. The export folder is made where its own
    /// parent is there; a longer missing path is more likely a slip of the pen. What a killed process
    /// left unfinished is finished or removed.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn open(dir: &Path, consumer: &ConsumerName) -> Result<ConsumerFolder, ExportError> {
        let path = dir.join(DELTAS).join(consumer.as_str());
        create_folders([dir, &dir.join(DELTAS), &path])?;
        let folder = ConsumerFolder { dir: dir.to_owned(), consumer: consumer.as_str().to_owned(), path };
        folder.recover()?;
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the data of a package: `fill` gives the rows. It has no name yet; errors call it `name`.
    ///
    /// # Errors
    /// [`ExportError`], or what `fill` reports; there is no file then.
    pub fn write_data<T, E: From<ExportError>>(
        &self,
        name: &str,
        options: FormatOptions,
        columns: &[Column],
        emit_rows: impl FnOnce(&mut RowWriter<Sink>) -> Result<T, E>,
    ) -> Result<(T, UnnamedFile), E> {
        write_rows((&self.path, &self.path.join(name)), options, columns, emit_rows)
    }

    /// Names data and manifest, in this order. The manifest is on the disk before: should the process be
    /// killed between the two names, the next one finds it.
    ///
    /// # Errors
    /// [`ExportError`]; there is no such package then.
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
            // Nobody has heard of it yet, and it would be in the way of the next attempt.
            let _ = remove_if_present(&self.path.join(name));
            return Err(error);
        }
        Ok(manifest)
    }

    /// Adds the manifest to data that has its name already.
    ///
    /// # Errors
    /// [`ExportError`]
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

    /// Whether the data is what a manifest tells of.
    ///
    /// # Errors
    /// [`ExportError`]
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

    /// Removes the files of a package, wherever it is: first the manifest, without which nobody takes the
    /// data for a package.
    ///
    /// # Errors
    /// [`ExportError`]; files that are not there are removed already.
    pub fn remove_package(folder: &Path, manifest: &str, data: &str) -> Result<(), ExportError> {
        remove_if_present(&folder.join(manifest))?;
        remove_if_present(&folder.join(data))?;
        if folder.exists() { fsync_folder(folder) } else { Ok(()) }
    }

    /// Finishes or removes what a killed process left: a manifest whose data has its name already gets
    /// its own, everything else was never heard of.
    fn recover(&self) -> Result<(), ExportError> {
        for (name, kind) in list_entries(&self.path)? {
            if !name.starts_with(TEMP_PREFIX) || !kind.is_file() {
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

/// Writes rows into a folder; errors call the file `shown`.
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

/// A manifest that stands alone; the draft of data, which may be long, is not read for one.
pub(super) fn read_manifest(path: &Path) -> Result<Manifest, ExportError> {
    const MAX_MANIFEST_BYTES: u64 = 1 << 20;
    let length = fs::metadata(path).map_err(ExportError::cannot_read(path))?.len();
    if MAX_MANIFEST_BYTES < length {
        return Err(ExportError::contradiction(path.to_owned(), "it is too long for a manifest"));
    }
    let bytes = fs::read(path).map_err(ExportError::cannot_read(path))?;
    Manifest::parse(&bytes).map_err(|why| ExportError::Contradiction { path: path.to_owned(), why })
}
