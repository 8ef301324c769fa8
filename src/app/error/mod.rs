//! Everything that can end a command, with its causes, its exit status and what to do about it.

mod consumer;
mod exit_status;
mod help;
mod reset;
mod secret;

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use consumer::ConsumerError;
pub use exit_status::ExitStatus;
pub use reset::ResetError;
pub use secret::{SecretError, SecretLocation};

use crate::config::ConfigProblem;
use crate::export::ExportError;
use crate::halo::{HaloError, RootCause};
use crate::store::{LockError, StoreError};
use crate::sync::SyncError;

/// A signal that ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, from the keyboard.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// Why a command or the service ended early.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No settings file was found.
    #[error("there is no settings file: neither {}", tried.join(" nor "))]
    NoSettings {
        /// The paths that were tried.
        tried: Vec<&'static str>,
    },
    /// The settings are wrong.
    #[error("the settings cannot be used")]
    Settings {
        /// The file.
        file: PathBuf,
        /// Everything that is wrong.
        problems: Vec<ConfigProblem>,
    },
    /// A required file cannot be read.
    #[error("cannot read {what} in {path}")]
    Unreadable {
        /// What the file contains.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or folder cannot be created.
    #[error("cannot create {path}")]
    CannotCreate {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The demo does not touch a folder that it did not create.
    #[error("{path} already exists and was not created by the demo")]
    NotADemo {
        /// The folder.
        path: PathBuf,
    },
    /// The secret cannot be used.
    #[error("{problem}")]
    Secret {
        /// Where the secret is.
        location: SecretLocation,
        /// What is wrong with it.
        problem: SecretError,
    },
    /// The HTTP client cannot be built from the settings.
    #[error("cannot build the HTTP client")]
    HttpOptions(#[source] RootCause),
    /// A run failed.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Export files cannot be written or read.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A command names a consumer or package that does not exist.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// The watermark cannot be moved to the time asked for.
    #[error(transparent)]
    Reset(#[from] ResetError),
    /// The address for metrics cannot be bound.
    #[error("cannot listen on {address}")]
    CannotListen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The simulator cannot start.
    #[error("cannot serve the simulated HaloITSM")]
    Serve(#[source] io::Error),
    /// The operating system refused something basic.
    #[error("the operating system refused {what}")]
    System {
        /// What it was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process may open too few files.
    #[error("the process may open too few files")]
    DescriptorLimit(#[source] io::Error),
    /// A signal ended the command.
    #[error("interrupted by a signal; everything committed so far is saved")]
    Stopped(Signal),
}

impl AppError {
    /// Whether the error means that the database is damaged.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        let AppError::Store(error) = self else { return false };
        matches!(
            error,
            StoreError::Damaged { .. }
                | StoreError::IntegrityCheckFailed { .. }
                | StoreError::RestoredBesideWal { .. }
                | StoreError::IncompleteSchema { .. }
        )
    }

    /// The status that the command ends with.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            AppError::NoSettings { .. }
            | AppError::Settings { .. }
            | AppError::Unreadable { .. }
            | AppError::Secret { .. }
            | AppError::HttpOptions(_) => ExitStatus::Config,
            AppError::CannotCreate { source, .. } if is_disk_full(source) => ExitStatus::Io,
            AppError::CannotCreate { .. } | AppError::NotADemo { .. } => ExitStatus::CannotCreate,
            AppError::Sync(error) => sync_exit_status(error),
            AppError::Store(error) => store_exit_status(error),
            AppError::Lock(LockError::Held { .. }) => ExitStatus::TryLater,
            AppError::Lock(LockError::Io { source, .. }) if is_disk_full(source) => ExitStatus::Io,
            AppError::Lock(LockError::Io { .. } | LockError::NotAFile { .. }) => ExitStatus::CannotCreate,
            AppError::Export(ExportError::CannotCreate { source, .. }) if is_disk_full(source) => {
                ExitStatus::Io
            }
            AppError::Export(ExportError::CannotCreate { .. }) => ExitStatus::CannotCreate,
            AppError::Export(ExportError::CannotWrite { .. } | ExportError::CannotRead { .. }) => {
                ExitStatus::Io
            }
            AppError::Export(ExportError::NoPackage { .. }) | AppError::Consumer(_) => ExitStatus::NoInput,
            AppError::Export(ExportError::Contradiction { .. }) => ExitStatus::DataError,
            AppError::Reset(ResetError::NoWatermark) => ExitStatus::Incomplete,
            AppError::Reset(ResetError::Future(_) | ResetError::Forward { .. }) => ExitStatus::Usage,
            AppError::CannotListen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                ExitStatus::TryLater
            }
            AppError::CannotListen { .. } => ExitStatus::Config,
            AppError::DescriptorLimit(_) => ExitStatus::Config,
            AppError::Serve(_) | AppError::System { .. } => ExitStatus::Unexpected,
            AppError::Stopped(Signal::Interrupt) => ExitStatus::Interrupted,
            AppError::Stopped(Signal::Terminate) => ExitStatus::Terminated,
        }
    }

    /// The causes, the nearest first; for wrong settings, every problem.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        if let AppError::Settings { problems, .. } = self {
            return problems.iter().map(ToString::to_string).collect();
        }
        let mut causes: Vec<String> = Vec::new();
        let mut previous_text = self.to_string();
        let mut depth = 0;
        let mut next = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some libraries repeat the text of their cause, and SQLite's codes repeat its message.
            let repeated = previous_text.contains(&text) || (depth > 0 && text.starts_with("Error code "));
            previous_text.clone_from(&text);
            if !repeated {
                causes.push(text);
            }
            depth += 1;
            next = cause.source();
        }
        causes
    }

    /// The error and its causes in one line, separated by colons.
    #[must_use]
    pub fn chain(&self) -> String {
        let causes = self.causes();
        std::iter::once(self.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
    }
}

fn sync_exit_status(error: &SyncError) -> ExitStatus {
    match error {
        SyncError::Halo(error) => match error {
            HaloError::Unreachable { .. } | HaloError::Unavailable { .. } => ExitStatus::Unavailable,
            HaloError::RateLimited { .. } => ExitStatus::TryLater,
            HaloError::Refused { status: 401 | 403, .. } | HaloError::Credentials { .. } => {
                ExitStatus::Refused
            }
            HaloError::UnsafeAuthUrl { .. } => ExitStatus::Config,
            HaloError::Refused { .. } | HaloError::Unreadable(_) | HaloError::TooLarge { .. } => {
                ExitStatus::DataError
            }
        },
        SyncError::Store(error) => store_exit_status(error),
        SyncError::AnotherServer { .. } | SyncError::UnknownType { .. } => ExitStatus::Config,
        SyncError::Stopped => ExitStatus::Terminated,
        SyncError::TaskFailed(_) => ExitStatus::Unexpected,
    }
}

fn store_exit_status(error: &StoreError) -> ExitStatus {
    match error {
        StoreError::Missing(_) => ExitStatus::NoInput,
        StoreError::CannotCreate { .. } => ExitStatus::CannotCreate,
        StoreError::OwnedByAnother { .. }
        | StoreError::Foreign { .. }
        | StoreError::Newer { .. }
        | StoreError::Unreleased { .. } => ExitStatus::Config,
        StoreError::Damaged { .. }
        | StoreError::IntegrityCheckFailed { .. }
        | StoreError::IncompleteSchema { .. }
        | StoreError::RestoredBesideWal { .. }
        | StoreError::InvalidData { .. } => ExitStatus::DataError,
        StoreError::Full(_) | StoreError::Io(_) | StoreError::DiskLow { .. } => ExitStatus::Io,
        StoreError::Busy(_) => ExitStatus::TryLater,
        StoreError::Migration(_) | StoreError::Sqlite(_) => ExitStatus::Unexpected,
    }
}

/// Whether there is no room for more: the disk, the quota, or the file size limit of the process (`ulimit -f`).
fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
