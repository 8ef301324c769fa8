//! The lock files beside the database: one for the writer, one for the exporter, one for who ships to the lake.
//!
//! The lock is held by the kernel, not by the existence of the file: it is released when the process ends,
//! so a killed halosync leaves nothing behind that would stop the next one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::paths::sibling_path;

/// More bytes than a process id and a line break have.
const PID_LENGTH_MAX: u64 = 32;

/// A held lock, released on drop.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a lock could not be acquired.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "lock_")]
pub enum LockError {
    /// Another process holds it.
    #[error("another halosync{} is using {}", pid.map_or(String::new(), |pid| format!(" (pid {pid})")), database.display())]
    Held {
        /// The database.
        database: PathBuf,
        /// The process id, if the file contains it.
        pid: Option<u32>,
    },
    /// A link or something else is in the place of the lock file.
    #[error("{path} is no regular file, or a link to one")]
    NotAFile {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file cannot be created.
    #[error("cannot create the lock file {path}")]
    #[strum(serialize = "cannot_create")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Lock {
    // Whichever symbolic links lead to the database, its locks are the same files beside it (`sibling_path`).

    /// Acquires the lock of the commands that write tickets (`run`, `sync`, `reset`, `purge`), without waiting.
    pub fn acquire_writer(database: &Path) -> Result<Lock, LockError> {
        Lock::acquire(database, ".lock", Duration::ZERO)
    }

    /// Acquires the lock of the exporters, and waits up to `timeout` for it.
    pub fn acquire_exporter(database: &Path, timeout: Duration) -> Result<Lock, LockError> {
        Lock::acquire(database, ".export.lock", timeout)
    }

    /// Acquires the lock of those who ship packages to the lake, and waits up to `timeout` for it.
    pub fn acquire_shipper(database: &Path, timeout: Duration) -> Result<Lock, LockError> {
        Lock::acquire(database, ".lake.lock", timeout)
    }

    fn acquire(database: &Path, suffix: &str, timeout: Duration) -> Result<Lock, LockError> {
        let path = sibling_path(database, suffix);
        let io_error = |source| LockError::Io { path: path.clone(), source };
        // A link here could make halosync, as its own user, create or overwrite any file; a pipe could make it wait.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags.bits().cast_signed())
            .open(&path);
        let mut file = match opened {
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return Err(LockError::NotAFile { path });
            }
            opened => opened.map_err(io_error)?,
        };
        let metadata = file.metadata().map_err(io_error)?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(LockError::NotAFile { path });
        }
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if started.elapsed() < timeout => {
                    // The blocking lock of the standard library has no timeout.
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    let pid = read_start(&mut file).ok().and_then(|text| text.trim().parse().ok());
                    return Err(LockError::Held { database: database.to_owned(), pid });
                }
                Err(TryLockError::Error(source)) => return Err(io_error(source)),
            }
        }
        // For people, and for the message above. What is not ours is not overwritten.
        let text = read_start(&mut file).map_err(io_error)?;
        if text.trim().is_empty() || text.trim().parse::<u32>().is_ok() {
            file.set_len(0).and_then(|()| file.rewind()).map_err(io_error)?;
            writeln!(file, "{}", std::process::id()).map_err(io_error)?;
        }
        Ok(Lock { _file: file })
    }
}

/// Reads the start of a lock file: more than a process id is something else.
fn read_start(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(PID_LENGTH_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
