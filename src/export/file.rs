//! Files and folders: listing, hashing, creating, removing, fsync.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ExportError;

/// Prefix of temporary names. Files left behind by a killed process are recovered by the next one.
pub(super) const TEMP_PREFIX: &str = ".halosync-";

/// Whether a name is that of an unfinished file or folder.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMP_PREFIX)
}

/// Number of bytes that are hashed or written at a time.
pub(super) const CHUNK_SIZE: usize = 1 << 18;

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// Flushes the names in a folder to disk.
pub(super) fn fsync_folder(folder: &Path) -> Result<(), ExportError> {
    fsync(folder).map_err(ExportError::cannot_write(folder))
}

pub(super) fn fsync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Reads a file and returns its size and hash.
pub(super) fn hash_file(path: &Path) -> Result<FileDigest, ExportError> {
    let mut file = File::open(path).map_err(ExportError::cannot_read(path))?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; CHUNK_SIZE];
    loop {
        let read = file.read(&mut buffer).map_err(ExportError::cannot_read(path))?;
        if read == 0 {
            return Ok(FileDigest { bytes, sha256: hex(&hash.finalize()) });
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// Creates missing folders. A symbolic link in place of a folder is refused: its target may belong to anyone.
pub(super) fn create_folders<const N: usize>(folders: [&Path; N]) -> Result<(), ExportError> {
    for folder in folders {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_folder(folder)?,
            created => created.map_err(ExportError::cannot_create(folder))?,
        }
    }
    Ok(())
}

fn check_folder(folder: &Path) -> Result<(), ExportError> {
    // With a trailing slash a link would be followed.
    let without_slash: PathBuf = folder.components().collect();
    let metadata = fs::symlink_metadata(&without_slash).map_err(ExportError::cannot_create(folder))?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Ok(());
    }
    let why = if kind.is_symlink() { "it is a symbolic link" } else { "it is not a folder" };
    Err(ExportError::cannot_create(folder)(io::Error::new(io::ErrorKind::NotADirectory, why)))
}

/// Returns the entries of a folder with their types, sorted by name.
pub(super) fn list_entries(folder: &Path) -> Result<Vec<(String, fs::FileType)>, ExportError> {
    let read_error = || ExportError::cannot_read(folder);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(read_error())? {
        let entry = entry.map_err(read_error())?;
        let kind = entry.file_type().map_err(read_error())?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), kind));
    }
    entries.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(entries)
}

/// Removes a file if it exists.
pub(super) fn remove_if_present(path: &Path) -> Result<(), ExportError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ExportError::cannot_write(path)(error)),
        _ => Ok(()),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
