//! What can go wrong with the files.

use std::io;
use std::path::{Path, PathBuf};

/// Why a package could not be made or judged.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A folder or file cannot be made.
    #[error("cannot create {path}")]
    CannotCreate {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}")]
    CannotWrite {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {path}")]
    CannotRead {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A package in the folder contradicts the database.
    #[error("{path} does not belong here: {why}")]
    Contradiction {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is nothing to verify.
    #[error("there is no package in {path}")]
    NoPackage {
        /// The folder.
        path: PathBuf,
    },
}

impl ExportError {
    pub(super) fn cannot_create(path: &Path) -> impl FnOnce(io::Error) -> ExportError + use<> {
        let path = path.to_owned();
        move |source| ExportError::CannotCreate { path, source }
    }

    pub(super) fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> ExportError + use<> {
        let path = path.to_owned();
        move |source| ExportError::CannotWrite { path, source }
    }

    pub(super) fn cannot_read(path: &Path) -> impl FnOnce(io::Error) -> ExportError + use<> {
        let path = path.to_owned();
        move |source| ExportError::CannotRead { path, source }
    }

    pub(super) fn contradiction(path: PathBuf, why: &str) -> ExportError {
        ExportError::Contradiction { path, why: why.to_owned() }
    }
}
