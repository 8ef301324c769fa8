//! A file that appears whole or not at all: written under another name in the same folder, brought to
//! the disk, then renamed; and the folder is brought to the disk too, or the name could be lost.

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
use super::file::{DRAFT_PREFIX, PIECE, Written, hex, synced};

/// Bytes after which the disk is asked to begin.
const SETTLE: u64 = 1 << 24;

/// Pieces that wait to be written.
const WAITING: usize = 2;

/// A file that is being written and has no name yet; dropped, it leaves nothing behind.
///
/// Hashing and writing go on in a thread of their own, while the next rows are read.
pub struct Draft {
    file: NamedTempFile,
    folder: PathBuf,
    /// What errors call it.
    shown: PathBuf,
    piece: Vec<u8>,
    full: Option<SyncSender<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
    hand: Option<JoinHandle<io::Result<Written>>>,
}

impl Draft {
    /// Begins a file in a folder; errors call it `shown`.
    ///
    /// # Errors
    /// [`ExportError::CannotCreate`]
    pub fn new(folder: &Path, shown: &Path) -> Result<Draft, ExportError> {
        let file = nameless(folder, shown)?;
        let mut out = file.as_file().try_clone().map_err(ExportError::create(shown))?;
        let (full, pieces) = sync_channel::<Vec<u8>>(WAITING);
        let (give_back, empty) = channel();
        let hand = thread::spawn(move || {
            let (mut hash, mut bytes, mut settled) = (Sha256::new(), 0, 0);
            for mut piece in pieces {
                // Not through the wrapper: its errors name the draft, which nobody has heard of.
                out.write_all(&piece)?;
                hash.update(&piece);
                bytes += piece.len() as u64;
                if settled + SETTLE <= bytes {
                    // The disk begins now and need not do everything at the end; a hint, so nothing is said
                    // where the system does not take it.
                    let _ = fadvise(&out, 0, NonZeroU64::new(bytes), Advice::DontNeed);
                    settled = bytes;
                }
                piece.clear();
                // Nobody takes it where the last piece is already under way.
                let _ = give_back.send(piece);
            }
            Ok(Written { bytes, sha256: hex(&hash.finalize()) })
        });
        let piece = Vec::with_capacity(PIECE);
        let (folder, shown) = (folder.to_owned(), shown.to_owned());
        Ok(Draft { file, folder, shown, piece, full: Some(full), empty, hand: Some(hand) })
    }

    /// Brings everything to the disk.
    ///
    /// # Errors
    /// [`ExportError`]; nothing is left then.
    pub fn finish(mut self) -> Result<Nameless, ExportError> {
        let written = self.pass_on().and_then(|()| self.ended()).map_err(ExportError::io(&self.shown))?;
        self.file.as_file().sync_all().map_err(ExportError::io(&self.shown))?;
        Ok(Nameless { file: self.file, folder: self.folder, shown: self.shown, written })
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let next = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
        let piece = mem::replace(&mut self.piece, next);
        match &self.full {
            Some(full) if full.send(piece).is_ok() => Ok(()),
            // It stops taking pieces only when it failed, and says why then.
            _ => Err(self.ended().err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn ended(&mut self) -> io::Result<Written> {
        self.full = None;
        let hand = self.hand.take().ok_or(io::ErrorKind::BrokenPipe)?;
        hand.join().map_err(|_| io::Error::other("the writing thread ended"))?
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if PIECE <= self.piece.len() {
            self.pass_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where rows go: into a draft, packed or not.
pub enum Sink {
    /// As it comes.
    Plain(Draft),
    /// Packed; the same rows give the same bytes.
    Gzip(Box<GzEncoder<Draft>>),
}

impl Sink {
    pub(super) fn new(folder: &Path, shown: &Path, gzip: bool) -> Result<Sink, ExportError> {
        let draft = Draft::new(folder, shown)?;
        Ok(if gzip {
            Sink::Gzip(Box::new(GzEncoder::new(draft, Compression::default())))
        } else {
            Sink::Plain(draft)
        })
    }

    pub(super) fn finish(self, shown: &Path) -> Result<Nameless, ExportError> {
        match self {
            Sink::Plain(draft) => draft.finish(),
            Sink::Gzip(encoder) => encoder.finish().map_err(ExportError::io(shown))?.finish(),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Plain(draft) => draft.write(bytes),
            Sink::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is whole and on the disk, and has no name yet; dropped, it leaves nothing behind.
pub struct Nameless {
    file: NamedTempFile,
    folder: PathBuf,
    /// What errors call it.
    shown: PathBuf,
    written: Written,
}

impl Nameless {
    /// A small file; errors call it `shown`.
    ///
    /// # Errors
    /// [`ExportError`]; nothing is left then.
    pub fn of(folder: &Path, shown: &Path, bytes: &[u8]) -> Result<Nameless, ExportError> {
        let mut file = nameless(folder, shown)?;
        let out = file.as_file_mut();
        out.write_all(bytes).and_then(|()| out.sync_all()).map_err(ExportError::io(shown))?;
        let written = Written { bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) };
        Ok(Nameless { file, folder: folder.to_owned(), shown: shown.to_owned(), written })
    }

    /// What is in it.
    #[must_use]
    pub fn written(&self) -> &Written {
        &self.written
    }

    /// Gives the file its name; a file that has that name already is an error and stays.
    ///
    /// # Errors
    /// [`ExportError`]; there is no such file then.
    pub fn publish(self, name: &str) -> Result<Written, ExportError> {
        let path = self.folder.join(name);
        let named = self.file.persist_noclobber(&path).map_err(|error| error.error);
        named.map_err(ExportError::create(&self.shown))?;
        if let Err(error) = synced(&self.folder) {
            // Nobody has heard of it yet, and it would be in the way of the next attempt.
            let _ = fs::remove_file(&path);
            return Err(ExportError::io(&self.shown)(error));
        }
        Ok(self.written)
    }
}

fn nameless(folder: &Path, shown: &Path) -> Result<NamedTempFile, ExportError> {
    // The group reads; the umask may take more away. Opened here, because the errors of the library that
    // finds the name hold that name, which nobody has heard of.
    let open = |path: &Path| fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
    let mut named = tempfile::Builder::new();
    named.prefix(DRAFT_PREFIX).make_in(folder, open).map_err(ExportError::create(shown))
}
