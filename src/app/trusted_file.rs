//! Reads files that decide whom halosync trusts: settings, secrets, certificates.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::error::{AppError, FileProblem};

/// The bits of a mode that let group or others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Returns what is known of a file without opening it.
///
/// # Errors
/// It is no regular file, or somebody else than root and this user can write it.
pub(super) fn inspect(path: &Path, what: &'static str) -> Result<Metadata, AppError> {
    let metadata = fs::metadata(path).map_err(unreadable(what, path))?;
    let untrusted = |problem| AppError::File { what, path: path.to_owned(), problem };
    check_regular(&metadata).and_then(|()| check_writers(&metadata)).map_err(untrusted)?;
    Ok(metadata)
}

/// Reads a file of at most `max` bytes that nobody but root and this user can write.
pub(super) fn read(path: &Path, what: &'static str, max: u64) -> Result<Vec<u8>, AppError> {
    inspect(path, what)?;
    read_checked(path, what, max, check_writers)
}

/// Reads a systemd credential of at most `max` bytes: systemd decides who can write it.
pub(super) fn read_credential(path: &Path, what: &'static str, max: u64) -> Result<Vec<u8>, AppError> {
    read_checked(path, what, max, |_| Ok(()))
}

fn read_checked(
    path: &Path,
    what: &'static str,
    max: u64,
    check: impl Fn(&Metadata) -> Result<(), FileProblem>,
) -> Result<Vec<u8>, AppError> {
    let unreadable = unreadable(what, path);
    let untrusted = |problem| AppError::File { what, path: path.to_owned(), problem };
    // Opening a device may have effects, and opening a pipe would wait for its other end.
    check_regular(&fs::metadata(path).map_err(&unreadable)?).map_err(untrusted)?;
    let file = open(path).map_err(&unreadable)?;
    let metadata = file.metadata().map_err(&unreadable)?;
    // Another file may be there by now.
    check_regular(&metadata).and_then(|()| check(&metadata)).map_err(untrusted)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(&unreadable)?;
    if max < bytes.len() as u64 {
        return Err(untrusted(FileProblem::TooLarge { max }));
    }
    Ok(bytes)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn check_regular(metadata: &Metadata) -> Result<(), FileProblem> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(FileProblem::NotRegular(if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }))
}

fn check_writers(metadata: &Metadata) -> Result<(), FileProblem> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != 0 && owner != geteuid().as_raw() {
        Err(FileProblem::OwnedByAnother { owner })
    } else if mode & WRITABLE_BY_OTHERS != 0 {
        Err(FileProblem::Writable { mode })
    } else {
        Ok(())
    }
}

/// Makes the error of a file that cannot be read.
pub(super) fn unreadable(what: &'static str, path: &Path) -> impl Fn(io::Error) -> AppError {
    move |source| AppError::Unreadable { what, path: path.to_owned(), source }
}
