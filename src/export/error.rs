//! Errors of exports.

use std::io;
use std::path::{Path, PathBuf};

/// Why files could not be exported or verified.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "export_")]
pub enum ExportError {
    /// A folder or file cannot be created.
    #[error("cannot create {path}")]
    CannotCreate {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}")]
    CannotWrite {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {path}")]
    CannotRead {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A value cannot be written to a file without changing it.
    #[error("cannot write {path}")]
    UnfitValue {
        /// The file.
        path: PathBuf,
        /// The value.
        #[source]
        value: UnfitValue,
    },
    /// A file of a package is damaged or contradicts the database.
    #[error("cannot use {path}: {why}")]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// The problem, beginning with "it" or "its".
        why: String,
    },
    /// The packages in the folder are those of another database.
    #[error("the packages of {consumer} in {dir} were written from another database")]
    OtherDatabase {
        /// The export folder.
        dir: PathBuf,
        /// The consumer.
        consumer: String,
        /// The folder of its packages.
        packages: PathBuf,
        /// Its position file.
        position: PathBuf,
    },
    /// There is nothing to verify.
    #[error("there is no package or snapshot in {path}")]
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

/// A stored value that a typed column cannot hold: another program wrote it. Its text is not shown, it may be private.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{column} of the row with {key_column} {key} is {found}, but the column holds {expected}")]
pub struct UnfitValue {
    /// The column.
    pub column: &'static str,
    /// The column that tells which row it is.
    pub key_column: &'static str,
    /// Its value.
    pub key: String,
    /// What the value is.
    pub found: &'static str,
    /// What it should be.
    pub expected: &'static str,
}

/// Why a row could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The output cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A value does not fit its column.
    #[error(transparent)]
    Unfit(#[from] UnfitValue),
}

impl RowError {
    /// The error of writing the file with this path.
    #[must_use]
    pub fn at(self, path: &Path) -> ExportError {
        let path = path.to_owned();
        match self {
            RowError::Io(source) => ExportError::CannotWrite { path, source },
            RowError::Unfit(value) => ExportError::UnfitValue { path, value },
        }
    }
}
