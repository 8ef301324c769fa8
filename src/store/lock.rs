//! The locks beside the database: one writer, one exporter.
//!
//! A lock file is held open, not merely there: the kernel lets go of it with the process, so a killed
//! agent leaves nothing behind that would stop the next one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::open::sibling_path;

/// A held lock; it is let go when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another halosync{} is at work on {}", pid.map_or(String::new(), |pid| format!(" (pid {pid})")), database.display())]
    Held {
        /// The database.
        database: PathBuf,
        /// Who, if the file says so.
        pid: Option<u32>,
    },
    /// The lock file cannot be made.
    #[error("cannot create the lock file {path}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Lock {
    /// The lock of those who change the copy: `run`, `sync`, `reset`.
    ///
    /// # Errors
    /// [`LockError`]; it does not wait.
    pub fn acquire_writer(database: &Path) -> Result<Lock, LockError> {
        Lock::acquire(database, ".lock", Duration::ZERO)
    }

    /// The lock of those who hand packages out.
    ///
    /// # Errors
    /// [`LockError`] after `patience`.
    pub fn acquire_exporter(database: &Path, timeout: Duration) -> Result<Lock, LockError> {
        Lock::acquire(database, ".export.lock", timeout)
    }

    fn acquire(database: &Path, suffix: &str, timeout: Duration) -> Result<Lock, LockError> {
        let path = sibling_path(database, suffix);
        let io_error = |source| LockError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error)?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if started.elapsed() < timeout => {
                    // The standard library's waiting lock has no limit, so it is asked for in steps.
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                    return Err(LockError::Held { database: database.to_owned(), pid });
                }
                Err(TryLockError::Error(source)) => return Err(io_error(source)),
            }
        }
        // For people and for the message above; the lock itself is the kernel's.
        file.set_len(0).and_then(|()| file.rewind()).map_err(io_error)?;
        writeln!(file, "{}", std::process::id()).map_err(io_error)?;
        Ok(Lock { _file: file })
    }
}
