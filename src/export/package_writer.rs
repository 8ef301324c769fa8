//! Files that appear whole or not at all: written under a temporary name in the same folder, flushed to disk,
//! then renamed. The folder is flushed too, or the name could be lost.

use std::fs;
use std::io::{self, Write};
use std::mem;
use std::num::NonZeroU64;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{Advice, fadvise};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::ExportError;
use super::file::{CHUNK_SIZE, TEMP_PREFIX, fsync};
use crate::content_digest::{ContentDigest, hex};

/// Number of bytes after which the kernel is asked to start writing to disk.
const WRITEBACK_BYTES: u64 = 1 << 24;

/// Number of full buffers that may wait for the writing thread.
const QUEUED_BUFFERS: usize = 2;

/// A file that is being written and has no name yet. Dropping it removes it.
///
/// A separate thread hashes and writes while the next rows are read.
pub struct PackageWriter {
    file: NamedTempFile,
    folder: PathBuf,
    /// Path that errors name.
    display_path: PathBuf,
    buffer: Vec<u8>,
    full_buffers: Option<SyncSender<Vec<u8>>>,
    empty_buffers: Receiver<Vec<u8>>,
    worker: Option<JoinHandle<io::Result<ContentDigest>>>,
}

impl PackageWriter {
    /// Creates an unnamed file in a folder; errors name `display_path`.
    pub fn new(folder: &Path, display_path: &Path) -> Result<PackageWriter, ExportError> {
        let file = create_unnamed(folder, display_path)?;
        let mut out = file.as_file().try_clone().map_err(ExportError::cannot_create(display_path))?;
        let (full_buffers, incoming) = sync_channel::<Vec<u8>>(QUEUED_BUFFERS);
        let (recycled, empty_buffers) = channel();
        let worker = thread::spawn(move || {
            let (mut hash, mut bytes, mut advised) = (Sha256::new(), 0, 0);
            for mut buffer in incoming {
                // Not through `NamedTempFile`, whose errors have the temporary name.
                out.write_all(&buffer)?;
                hash.update(&buffer);
                bytes += buffer.len() as u64;
                if advised + WRITEBACK_BYTES <= bytes {
                    // Spreads the work of the disk, instead of one long flush at the end. Only a hint, so
                    // errors do not matter.
                    let _ = fadvise(&out, 0, NonZeroU64::new(bytes), Advice::DontNeed);
                    advised = bytes;
                }
                buffer.clear();
                // Fails after the last buffer, when none is needed.
                let _ = recycled.send(buffer);
            }
            Ok(ContentDigest { bytes, sha256: hex(&hash.finalize()) })
        });
        let buffer = Vec::with_capacity(CHUNK_SIZE);
        let (folder, display_path) = (folder.to_owned(), display_path.to_owned());
        Ok(PackageWriter {
            file,
            folder,
            display_path,
            buffer,
            full_buffers: Some(full_buffers),
            empty_buffers,
            worker: Some(worker),
        })
    }

    /// Writes the rest and flushes the file to disk.
    ///
    /// # Errors
    /// After an error no file is left behind.
    pub fn finish(mut self) -> Result<UnnamedFile, ExportError> {
        let digest = self
            .send_buffer()
            .and_then(|()| self.join_worker())
            .map_err(ExportError::cannot_write(&self.display_path))?;
        self.file.as_file().sync_all().map_err(ExportError::cannot_write(&self.display_path))?;
        Ok(UnnamedFile { file: self.file, folder: self.folder, display_path: self.display_path, digest })
    }

    fn send_buffer(&mut self) -> io::Result<()> {
        let next = self.empty_buffers.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK_SIZE));
        let buffer = mem::replace(&mut self.buffer, next);
        match &self.full_buffers {
            Some(sender) if sender.send(buffer).is_ok() => Ok(()),
            // The thread stops receiving only after an error, which it returns.
            _ => Err(self.join_worker().err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn join_worker(&mut self) -> io::Result<ContentDigest> {
        self.full_buffers = None;
        let worker = self.worker.take().ok_or(io::ErrorKind::BrokenPipe)?;
        worker.join().map_err(|_| io::Error::other("the writing thread panicked"))?
    }
}

impl Write for PackageWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if CHUNK_SIZE <= self.buffer.len() {
            self.send_buffer()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Destination of rows: a file, compressed or not.
pub enum Sink {
    /// Uncompressed.
    Plain(PackageWriter),
    /// Compressed; the same rows give the same bytes.
    Gzip(Box<GzEncoder<PackageWriter>>),
}

impl Sink {
    pub(super) fn new(folder: &Path, display_path: &Path, gzip: bool) -> Result<Sink, ExportError> {
        let writer = PackageWriter::new(folder, display_path)?;
        Ok(if gzip {
            Sink::Gzip(Box::new(GzEncoder::new(writer, Compression::default())))
        } else {
            Sink::Plain(writer)
        })
    }

    pub(super) fn finish(self, display_path: &Path) -> Result<UnnamedFile, ExportError> {
        match self {
            Sink::Plain(writer) => writer.finish(),
            Sink::Gzip(encoder) => {
                encoder.finish().map_err(ExportError::cannot_write(display_path))?.finish()
            }
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Plain(writer) => writer.write(bytes),
            Sink::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A complete file on disk that has no name yet. Dropping it removes it.
pub struct UnnamedFile {
    file: NamedTempFile,
    folder: PathBuf,
    /// Path that errors name.
    display_path: PathBuf,
    digest: ContentDigest,
}

impl UnnamedFile {
    /// Writes a small file; errors name `display_path`.
    ///
    /// # Errors
    /// After an error no file is left behind.
    pub fn from_bytes(folder: &Path, display_path: &Path, bytes: &[u8]) -> Result<UnnamedFile, ExportError> {
        let mut file = create_unnamed(folder, display_path)?;
        let out = file.as_file_mut();
        out.write_all(bytes)
            .and_then(|()| out.sync_all())
            .map_err(ExportError::cannot_write(display_path))?;
        let digest = ContentDigest::of(bytes);
        Ok(UnnamedFile { file, folder: folder.to_owned(), display_path: display_path.to_owned(), digest })
    }

    /// Returns size and hash of the file.
    #[must_use]
    pub fn digest(&self) -> &ContentDigest {
        &self.digest
    }

    /// Gives the file its name, which may have the folders that it is in. An existing file of that name is an error and remains unchanged.
    ///
    /// # Errors
    /// After an error of flushing the folder the file has its name.
    pub fn commit(self, name: &str) -> Result<ContentDigest, ExportError> {
        let name = Path::new(name).file_name().unwrap_or_default();
        let persisted = self.file.persist_noclobber(self.folder.join(name)).map_err(|error| error.error);
        persisted.map_err(ExportError::cannot_create(&self.display_path))?;
        fsync(&self.folder).map_err(ExportError::cannot_write(&self.display_path))?;
        Ok(self.digest)
    }

    /// Gives the file its name, in place of an existing file of that name.
    pub fn replace(self, name: &str) -> Result<(), ExportError> {
        let persisted = self.file.persist(self.folder.join(name)).map_err(|error| error.error);
        persisted.map_err(ExportError::cannot_create(&self.display_path))?;
        fsync(&self.folder).map_err(ExportError::cannot_write(&self.display_path))
    }
}

fn create_unnamed(folder: &Path, display_path: &Path) -> Result<NamedTempFile, ExportError> {
    // Readable by the group, less the umask. Opened here, because the errors of `tempfile` have the
    // temporary name.
    let open = |path: &Path| fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMP_PREFIX).make_in(folder, open).map_err(ExportError::cannot_create(display_path))
}
