//! Opens regular files and nothing else: what lies in the place of one is neither opened nor waited for.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What a symbolic link at the end of a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkPolicy {
    /// It stands for the file: whoever made it chose that file.
    Follow,
    /// It is no regular file: anybody may have made it.
    Refuse,
}

/// A file, or what stands in its place.
pub(crate) enum OpenedFile {
    /// A regular file and what is known of it.
    Regular(File, Metadata),
    /// Something else, which was not opened; as a clause that begins with "it".
    Other(&'static str),
}

/// Opens a file for reading if it is a regular one.
pub(crate) fn open_regular(path: &Path, links: LinkPolicy) -> io::Result<OpenedFile> {
    let (metadata, follow) = match links {
        LinkPolicy::Follow => (fs::metadata(path)?, OFlags::empty()),
        LinkPolicy::Refuse => (fs::symlink_metadata(path)?, OFlags::NOFOLLOW),
    };
    // Opening a device may already do something.
    if let Some(other) = describe_other(metadata.file_type()) {
        return Ok(OpenedFile::Other(other));
    }
    // It may have been replaced meanwhile: the flags keep the call from following a link or waiting for a writer.
    let flags = follow | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::LOOP | Errno::NXIO) => return Ok(OpenedFile::Other("it was replaced")),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    Ok(match describe_other(metadata.file_type()) {
        Some(other) => OpenedFile::Other(other),
        None => OpenedFile::Regular(file, metadata),
    })
}

/// Describes what is not a regular file, as a clause that begins with "it".
pub(crate) fn describe_other(kind: FileType) -> Option<&'static str> {
    let kinds = [
        (kind.is_symlink(), "it is a symbolic link"),
        (kind.is_dir(), "it is a folder"),
        (kind.is_fifo(), "it is a named pipe"),
        (kind.is_socket(), "it is a socket"),
        (kind.is_block_device() || kind.is_char_device(), "it is a device"),
        (!kind.is_file(), "it is of an unknown kind"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map(|(_, description)| description)
}

/// Reads a small file; `None` if it has more than `limit` bytes.
pub(crate) fn read_small(file: File, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}
