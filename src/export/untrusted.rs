//! Opens files that anybody may have put into an export folder: no link is followed, nothing but a regular file is
//! opened, and nothing is read without a limit.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Size above which a file is no manifest.
pub(super) const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// A file, or what stands in its place.
pub(super) enum Opened {
    /// A regular file and its size.
    Regular(File, u64),
    /// Something else, which was not opened; as a clause that begins with "it".
    Other(&'static str),
}

/// Opens a file for reading if it is a regular one.
pub(super) fn open_regular(path: &Path) -> io::Result<Opened> {
    // Looked at first, because opening a device may already do something.
    if let Some(other) = describe(fs::symlink_metadata(path)?.file_type()) {
        return Ok(Opened::Other(other));
    }
    // It may have been replaced meanwhile: the flags keep the call from following a link or waiting for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::LOOP | Errno::NXIO) => return Ok(Opened::Other("it is not a regular file")),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    Ok(match describe(metadata.file_type()) {
        Some(other) => Opened::Other(other),
        None => Opened::Regular(file, metadata.len()),
    })
}

/// Describes what is not a regular file.
pub(super) fn describe(kind: fs::FileType) -> Option<&'static str> {
    let kinds = [
        (kind.is_symlink(), "it is a symbolic link"),
        (kind.is_dir(), "it is a folder"),
        (kind.is_fifo(), "it is a named pipe"),
        (kind.is_socket(), "it is a socket"),
        (kind.is_block_device() || kind.is_char_device(), "it is a device"),
        (!kind.is_file(), "it is not a regular file"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map(|(_, description)| description)
}

/// Reads a small file; `None` if it has more than `limit` bytes.
pub(super) fn read_small(file: File, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}
