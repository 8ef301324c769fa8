//! Files and folders: listing, hashing, creating, removing, fsync.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ExportError;
use crate::content_digest::{ContentDigest, hex};
use crate::regular_file::{self, LinkPolicy, OpenedFile, read_small};

/// Size above which a file is no manifest.
pub(super) const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// Prefix of temporary names. Files left behind by a killed process are recovered by the next one.
pub(super) const TEMP_PREFIX: &str = ".halosync-";

/// Whether a name is that of an unfinished file or folder.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMP_PREFIX)
}

/// Removes the temporary files that a killed process left in a folder.
pub(super) fn remove_temporary_files(folder: &Path) -> Result<(), ExportError> {
    for (name, kind) in list_entries(folder)? {
        if is_temporary(&name) && kind.is_file() {
            remove_if_present(&folder.join(name))?;
        }
    }
    Ok(())
}

/// Number of bytes that are hashed or written at a time.
pub(super) const CHUNK_SIZE: usize = 1 << 18;

/// Flushes the names in a folder to disk.
pub(super) fn fsync_folder(folder: &Path) -> Result<(), ExportError> {
    fsync(folder).map_err(ExportError::cannot_write(folder))
}

pub(super) fn fsync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Opens a regular file; a link or special file is refused.
pub(super) fn open_regular(path: &Path) -> Result<File, ExportError> {
    match regular_file::open_regular(path, LinkPolicy::Refuse).map_err(ExportError::cannot_read(path))? {
        OpenedFile::Regular(file, _) => Ok(file),
        OpenedFile::Other(what) => Err(ExportError::contradiction(path.to_owned(), what)),
    }
}

/// Reads a manifest or position file. A longer file is refused before it is read.
pub(super) fn read_small_file(path: &Path) -> Result<Vec<u8>, ExportError> {
    let bytes =
        read_small(open_regular(path)?, MAX_MANIFEST_BYTES).map_err(ExportError::cannot_read(path))?;
    bytes.ok_or_else(|| ExportError::contradiction(path.to_owned(), "it is too large"))
}

/// Reads a file and returns its size and hash.
pub(super) fn hash_file(path: &Path) -> Result<ContentDigest, ExportError> {
    let mut file = open_regular(path)?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; CHUNK_SIZE];
    loop {
        let read = file.read(&mut buffer).map_err(ExportError::cannot_read(path))?;
        if read == 0 {
            return Ok(ContentDigest { bytes, sha256: hex(&hash.finalize()) });
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

/// Moves a file to a folder, under a name that is free there: its own, or that with a number behind it. Returns its path.
pub(super) fn move_file(path: &Path, folder: &Path) -> Result<PathBuf, ExportError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let numbered = (1..=u16::MAX).map(|number| format!("{name}.{number}"));
    let mut targets = std::iter::once(name.clone()).chain(numbered).map(|name| folder.join(name));
    let Some(target) = targets.find(|it| fs::symlink_metadata(it).is_err()) else {
        return Err(ExportError::cannot_create(folder)(io::ErrorKind::AlreadyExists.into()));
    };
    fs::rename(path, &target).map_err(ExportError::cannot_create(&target))?;
    Ok(target)
}

/// Removes a file if it exists.
pub(super) fn remove_if_present(path: &Path) -> Result<(), ExportError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ExportError::cannot_write(path)(error)),
        _ => Ok(()),
    }
}

/// Removes a folder with everything in it.
pub(super) fn remove_tree(path: &Path) -> Result<(), ExportError> {
    fs::remove_dir_all(path).map_err(ExportError::cannot_write(path))
}
