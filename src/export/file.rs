//! A file that appears whole or not at all: written under another name in the same folder, brought to
//! the disk, then renamed; and the folder is brought to the disk too, or the name could be lost.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::ExportError;

/// How the names of unfinished files begin; what is left of them after a kill is litter.
pub(super) const DRAFT_PREFIX: &str = ".halosync-";

/// A file that has no name yet.
pub struct Draft {
    out: BufWriter<Hashing>,
    folder: PathBuf,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub bytes: u64,
    /// Their SHA-256 in hex.
    pub sha256: String,
}

struct Hashing {
    file: NamedTempFile,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // Not through the wrapper: its errors name the draft, which nobody has heard of.
        let written = self.file.as_file_mut().write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

impl Draft {
    /// Begins a file in a folder.
    ///
    /// # Errors
    /// [`ExportError::CannotCreate`]
    pub fn new(folder: &Path) -> Result<Draft, ExportError> {
        let file = tempfile::Builder::new()
            .prefix(DRAFT_PREFIX)
            // The group reads; the umask may take more away.
            .permissions(Permissions::from_mode(0o640))
            .tempfile_in(folder)
            .map_err(ExportError::create(folder))?;
        let hashing = Hashing { file, hash: Sha256::new(), bytes: 0 };
        Ok(Draft { out: BufWriter::with_capacity(1 << 18, hashing), folder: folder.to_owned() })
    }

    /// Gives the file its name; a file that has that name already is an error and stays.
    ///
    /// # Errors
    /// [`ExportError`]; there is no such file then.
    pub fn publish(self, name: &str) -> Result<Written, ExportError> {
        let path = self.folder.join(name);
        let hashing =
            self.out.into_inner().map_err(|error| error.into_error()).map_err(ExportError::io(&path))?;
        let Hashing { file, hash, bytes } = hashing;
        file.as_file().sync_all().map_err(ExportError::io(&path))?;
        file.persist_noclobber(&path).map_err(|error| error.error).map_err(ExportError::create(&path))?;
        sync_folder(&self.folder)?;
        Ok(Written { bytes, sha256: hex(&hash.finalize()) })
    }
}

impl Write for Draft {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.out.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Brings the names in a folder to the disk.
pub(super) fn sync_folder(folder: &Path) -> Result<(), ExportError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ExportError::io(folder))
}

/// What is in a file that is there already.
pub(super) fn measure(path: &Path) -> Result<Written, ExportError> {
    let mut file = File::open(path).map_err(ExportError::io(path))?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut piece).map_err(ExportError::io(path))?;
        if read == 0 {
            return Ok(Written { bytes, sha256: hex(&hash.finalize()) });
        }
        hash.update(&piece[..read]);
        bytes += read as u64;
    }
}

/// Removes unfinished files of a process that was killed.
pub(super) fn remove_litter(folder: &Path) -> Result<(), ExportError> {
    for entry in fs::read_dir(folder).map_err(ExportError::io(folder))? {
        let entry = entry.map_err(ExportError::io(folder))?;
        if entry.file_name().to_string_lossy().starts_with(DRAFT_PREFIX) {
            fs::remove_file(entry.path()).map_err(ExportError::io(&entry.path()))?;
        }
    }
    Ok(())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
