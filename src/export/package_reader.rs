//! Reads a published package as it lies on disk.

use std::path::Path;

use super::ExportError;
use super::file::{FileDigest, hash_file, list_entries, open_regular, read_small_file, remove_tree};
use super::folder::ConsumerFolder;
use super::manifest::{Manifest, ManifestFile};

/// Reads the manifest of a package: its content, and its bytes.
///
/// # Errors
/// Also where it is not a manifest.
pub fn read_package_manifest(folder: &Path, name: &str) -> Result<(Manifest, Vec<u8>), ExportError> {
    let path = folder.join(name);
    let bytes = read_small_file(&path)?;
    match Manifest::parse(&bytes) {
        Ok(manifest) => Ok((manifest, bytes)),
        Err(why) => Err(ExportError::Contradiction { path, why }),
    }
}

/// Reads a data file of a package whole.
///
/// # Errors
/// [`ExportError::Contradiction`] if size or hash is not that of the manifest.
pub fn read_package_file(folder: &Path, file: &ManifestFile) -> Result<Vec<u8>, ExportError> {
    use std::io::Read as _;

    let path = folder.join(&file.name);
    let expected = FileDigest { bytes: file.bytes, sha256: file.sha256.clone() };
    if hash_file(&path)? != expected {
        return Err(ExportError::contradiction(path, "its size or hash is not that of the manifest"));
    }
    let mut content = Vec::with_capacity(usize::try_from(file.bytes).unwrap_or(0));
    open_regular(&path)?.read_to_end(&mut content).map_err(ExportError::cannot_read(&path))?;
    Ok(content)
}

impl ConsumerFolder {
    /// Removes the folders of epochs before this one.
    pub fn remove_earlier_epochs(&self, epoch: i64) -> Result<(), ExportError> {
        if !self.path().exists() {
            return Ok(());
        }
        for (name, kind) in list_entries(self.path())? {
            let number = name.parse().ok().filter(|it: &i64| kind.is_dir() && *it < epoch);
            if number.is_some_and(|number| name == format!("{number:06}")) {
                remove_tree(&self.path().join(name))?;
            }
        }
        Ok(())
    }
}
