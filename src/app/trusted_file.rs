//! Reads files that decide whom halosync trusts: settings, secrets, certificates.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

use super::error::{AppError, FileProblem};
use crate::regular_file::{LinkPolicy, OpenedFile, describe_other, open_regular, read_small};

/// The bits of a mode that let group or others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Returns what is known of a file without opening it.
///
/// # Errors
/// It is no regular file, or somebody else than root and this user can write it.
pub(super) fn inspect(path: &Path, what: &'static str) -> Result<Metadata, AppError> {
    let metadata = fs::metadata(path).map_err(unreadable(what, path))?;
    let problem = describe_other(metadata.file_type()).map(FileProblem::NotRegular);
    match problem.map_or_else(|| check_writers(&metadata), Err) {
        Ok(()) => Ok(metadata),
        Err(problem) => Err(AppError::File { what, path: path.to_owned(), problem }),
    }
}

/// Reads a file of at most `max` bytes that nobody but root and this user can write.
pub(super) fn read(path: &Path, what: &'static str, max: u64) -> Result<Vec<u8>, AppError> {
    // Said before that it cannot be opened.
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
    let untrusted = |problem| AppError::File { what, path: path.to_owned(), problem };
    // Volumes of Kubernetes and the certificates of a system are links.
    let file = match open_regular(path, LinkPolicy::Follow).map_err(unreadable(what, path))? {
        OpenedFile::Regular(file, metadata) => check(&metadata).map(|()| file),
        OpenedFile::Other(kind) => Err(FileProblem::NotRegular(kind)),
    };
    let bytes = read_small(file.map_err(untrusted)?, max).map_err(unreadable(what, path))?;
    bytes.ok_or_else(|| untrusted(FileProblem::TooLarge { max }))
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
