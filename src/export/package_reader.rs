//! Reads a published package as it lies on disk.

use std::io::Read as _;
use std::path::Path;

use super::ExportError;
use super::file::{open_regular, read_small_file};
use super::manifest::{Manifest, ManifestFile};
use crate::content_digest::ContentDigest;

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
    let path = folder.join(&file.name);
    let cannot_read = || ExportError::cannot_read(&path);
    let mut opened = open_regular(&path)?;
    let mut content = Vec::new();
    if opened.metadata().map_err(cannot_read())?.len() == file.bytes {
        // One allocation: growing would hold up to twice the content.
        content.reserve_exact(usize::try_from(file.bytes).unwrap_or(0));
        opened.read_to_end(&mut content).map_err(cannot_read())?;
    }
    if ContentDigest::of(&content) != file.digest() {
        return Err(ExportError::contradiction(path, "its size or hash is not that of the manifest"));
    }
    Ok(content)
}
