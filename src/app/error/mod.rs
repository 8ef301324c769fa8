//! Everything that can end a command, with its causes, its exit status and what to do about it.

mod code;
mod consumer;
mod exit_status;
mod file;
mod history;
mod lake;
mod purge;
mod remedy;
mod reset;
mod secret;

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use consumer::ConsumerError;
pub use exit_status::ExitStatus;
pub use file::FileProblem;
pub use history::{HistoryError, removal_to_text};
pub use lake::LakePushError;
pub use purge::PurgeError;
pub use reset::ResetError;
pub use secret::{SecretError, SecretLocation};

use crate::config::{ConfigProblem, FormatError};
use crate::export::ExportError;
use crate::halo::{HaloError, RootCause};
use crate::lake::LakeError;
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
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum AppError {
    /// No settings file was found.
    #[error("there is no settings file: neither {}", .0.join(" nor "))]
    #[strum(serialize = "settings_missing")]
    NoSettings(&'static [&'static str]),
    /// The settings are wrong.
    #[error("the settings cannot be used")]
    #[strum(serialize = "settings_invalid")]
    Settings(Vec<ConfigProblem>),
    /// A required file cannot be read.
    #[error("cannot read {what} in {path}")]
    #[strum(serialize = "file_unreadable")]
    Unreadable {
        /// What the file contains.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of settings, secrets or certificates cannot be trusted or used.
    #[error("cannot use {what} in {path}")]
    #[strum(serialize = "")]
    File {
        /// What the file contains.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: FileProblem,
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
    #[error("{0} already exists and was not created by the demo")]
    NotADemo(PathBuf),
    /// A report never replaces a file that is none.
    #[error("{0} already exists and is not a report of halosync")]
    NotAReport(PathBuf),
    /// The simulated server of these settings ended with the demo.
    #[error("the server of this demo has ended")]
    DemoEnded(#[source] HaloError),
    /// The secret cannot be used.
    #[error("{problem}")]
    #[strum(serialize = "")]
    Secret {
        /// Where the secret is.
        location: SecretLocation,
        /// What is wrong with it.
        problem: SecretError,
    },
    /// The privacy rules of the settings are not those of the database, and this command cannot carry them out.
    #[error("{}", privacy_pending(new, outdated))]
    PrivacyPending {
        /// The columns with a rule in the settings that is not carried out yet.
        new: Vec<String>,
        /// The columns with a rule in the database that is gone from the settings, or has another key there.
        outdated: Vec<String>,
    },
    /// The HTTP client cannot be built from the settings.
    #[error("cannot build the HTTP client")]
    HttpOptions(#[source] RootCause),
    /// A run failed.
    #[error(transparent)]
    #[strum(serialize = "")]
    Sync(#[from] SyncError),
    /// The database cannot be used.
    #[error(transparent)]
    #[strum(serialize = "")]
    Store(#[from] StoreError),
    /// A lock cannot be taken.
    #[error(transparent)]
    #[strum(serialize = "")]
    Lock(#[from] LockError),
    /// Export files cannot be written or read.
    #[error(transparent)]
    #[strum(serialize = "")]
    Export(#[from] ExportError),
    /// Files cannot be exported in the format asked for.
    #[error(transparent)]
    #[strum(serialize = "")]
    Format(#[from] FormatError),
    /// A command names a consumer or package that does not exist.
    #[error(transparent)]
    #[strum(serialize = "")]
    Consumer(#[from] ConsumerError),
    /// The watermark cannot be moved to the time asked for.
    #[error(transparent)]
    #[strum(serialize = "")]
    Reset(#[from] ResetError),
    /// A ticket cannot be erased.
    #[error(transparent)]
    #[strum(serialize = "")]
    Purge(#[from] PurgeError),
    /// The object store of the lake cannot be used.
    #[error(transparent)]
    #[strum(serialize = "")]
    Lake(#[from] LakeError),
    /// Nothing more can be shipped to the lake.
    #[error(transparent)]
    #[strum(serialize = "")]
    LakePush(#[from] LakePushError),
    /// The history of a ticket cannot be shown.
    #[error(transparent)]
    #[strum(serialize = "")]
    History(#[from] HistoryError),
    /// The address for metrics cannot be bound.
    #[error("cannot listen on {0}")]
    CannotListen(SocketAddr, #[source] io::Error),
    /// The simulator cannot start.
    #[error("cannot serve the simulated HaloITSM")]
    #[strum(serialize = "cannot_serve")]
    Serve(#[source] io::Error),
    /// A response to replay cannot be read.
    #[error("cannot read the response to replay in {path}")]
    #[strum(serialize = "replay_unreadable")]
    Replay {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The operating system refused something basic.
    #[error("the operating system refused {0}")]
    #[strum(serialize = "system_refused")]
    System(&'static str, #[source] io::Error),
    /// The process may open too few files.
    #[error("the process may open too few files")]
    DescriptorLimit(#[source] io::Error),
    /// A signal ended the command.
    #[error("interrupted by a signal")]
    #[strum(serialize = "interrupted")]
    Stopped(Signal),
}

fn privacy_pending(new: &[String], outdated: &[String]) -> String {
    let (new, outdated) = (new.join(", "), outdated.join(", "));
    if new.is_empty() {
        format!("the settings have other privacy rules, or another key, than the database ({outdated})")
    } else {
        format!("the database does not have the privacy rules of the settings yet ({new})")
    }
}

impl From<HaloError> for AppError {
    fn from(error: HaloError) -> Self {
        AppError::Sync(error.into())
    }
}

impl AppError {
    /// Whether the error means that the database is damaged or that its schema was changed.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        let AppError::Store(error) = self else { return false };
        matches!(
            error,
            StoreError::Damaged { .. }
                | StoreError::IntegrityCheckFailed { .. }
                | StoreError::RestoredBesideWal { .. }
                | StoreError::IncompleteSchema { .. }
                | StoreError::SchemaChanged { .. }
        )
    }

    /// The causes, the nearest first; for wrong settings, every problem.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        if let AppError::Settings(problems) = self {
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
