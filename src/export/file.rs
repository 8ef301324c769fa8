//! Files and folders, by name: what is there, what is in it, and that it stays.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ExportError;

/// How the names of unfinished files begin; what is left of them after a kill is settled by the next call.
pub(super) const TEMP_PREFIX: &str = ".halosync-";

/// Bytes that are hashed and written at a time.
pub(super) const CHUNK_SIZE: usize = 1 << 18;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// Bytes.
    pub bytes: u64,
    /// Their SHA-256 in hex.
    pub sha256: String,
}

/// Brings the names in a folder to the disk.
pub(super) fn fsync_folder(folder: &Path) -> Result<(), ExportError> {
    fsync(folder).map_err(ExportError::cannot_write(folder))
}

pub(super) fn fsync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What is in a file that is there already.
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

/// Makes folders that are not there yet. A link in the place of one is refused: what is behind it may be
/// anybody's.
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
    // A trailing slash would have the link followed.
    let bare: PathBuf = folder.components().collect();
    let metadata = fs::symlink_metadata(&bare).map_err(ExportError::cannot_create(folder))?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Ok(());
    }
    let why = if kind.is_symlink() { "it is a symbolic link" } else { "it is no folder" };
    Err(ExportError::cannot_create(folder)(io::Error::new(io::ErrorKind::NotADirectory, why)))
}

/// The entries of a folder: names and kinds, sorted.
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

/// Removes a file; one that is not there is removed already.
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
