//! Everything that can stop the agent, with the exit status and what a person can do.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::consumers::ConsumerError;
use super::reset::ResetError;
use super::settings::CREDENTIAL;
use crate::config::ConfigProblem;
use crate::export::ExportError;
use crate::halo::{HaloError, RootCause};
use crate::store::{LockError, StoreError};
use crate::sync::SyncError;

/// A signal that ends the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, from the keyboard.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// What is wrong with a secret, which is never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is none.
    #[error("there is no client secret")]
    Missing,
    /// It is empty.
    #[error("the client secret is empty")]
    Empty,
    /// It holds a line break or the like.
    #[error("the client secret holds a line break, a byte order mark or another control character")]
    ControlCharacters,
    /// It begins or ends with a blank.
    #[error("the client secret begins or ends with a blank")]
    SurroundingWhitespace,
    /// Others can read it.
    #[error("the client secret can be read by others (mode {mode:04o})")]
    Exposed {
        /// The mode of its file.
        mode: u32,
    },
}

/// Why the agent stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There are no settings.
    #[error("there are no settings: neither {}", tried.join(" nor "))]
    NoSettings {
        /// Where they were looked for.
        tried: Vec<&'static str>,
    },
    /// The settings cannot be used.
    #[error("the settings cannot be used")]
    Settings {
        /// The file.
        file: PathBuf,
        /// All that is wrong.
        problems: Vec<ConfigProblem>,
    },
    /// A file that is needed cannot be read.
    #[error("cannot read {what} in {path}")]
    Unreadable {
        /// What it holds.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be made.
    #[error("cannot create {path}")]
    CannotCreate {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The demo will not touch a folder that is not its own.
    #[error("{path} is there already and was not made by the demo")]
    NotADemo {
        /// The folder.
        path: PathBuf,
    },
    /// The secret cannot be used.
    #[error("{problem}")]
    Secret {
        /// Where it is.
        location: PathBuf,
        /// What is wrong.
        problem: SecretError,
    },
    /// Connections cannot be set up.
    #[error("the connection settings cannot be used")]
    HttpOptions(#[source] RootCause),
    /// A pass.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The files.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The book of the consumers.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// The watermark cannot be moved as wanted.
    #[error(transparent)]
    Reset(#[from] ResetError),
    /// The address for metrics cannot be had.
    #[error("cannot listen at {address}")]
    CannotListen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The simulator.
    #[error("cannot serve the simulated HaloITSM")]
    Serve(#[source] io::Error),
    /// The operating system refused something basic.
    #[error("the operating system refused {what}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A signal.
    #[error("stopped by a signal; what was committed stays")]
    Stopped(Signal),
}

impl AppError {
    /// Whether it says that the database is damaged.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, AppError::Store(StoreError::Damaged { .. } | StoreError::IntegrityCheckFailed { .. }))
    }

    /// The exit status (`sysexits.h` where it has one).
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            AppError::NoSettings { .. }
            | AppError::Settings { .. }
            | AppError::Unreadable { .. }
            | AppError::Secret { .. }
            | AppError::HttpOptions(_) => 78,
            AppError::CannotCreate { source, .. } if is_disk_full(source) => 74,
            AppError::CannotCreate { .. } | AppError::NotADemo { .. } => 73,
            AppError::Sync(error) => sync_exit_status(error),
            AppError::Store(error) => store_exit_status(error),
            AppError::Lock(LockError::Held { .. }) => 75,
            AppError::Lock(LockError::Io { source, .. }) if is_disk_full(source) => 74,
            AppError::Lock(LockError::Io { .. }) => 73,
            AppError::Export(ExportError::CannotCreate { source, .. }) if is_disk_full(source) => 74,
            AppError::Export(ExportError::CannotCreate { .. }) => 73,
            AppError::Export(ExportError::CannotWrite { .. } | ExportError::CannotRead { .. }) => 74,
            AppError::Export(ExportError::NoPackage { .. }) | AppError::Consumer(_) => 66,
            AppError::Export(ExportError::Contradiction { .. }) => 65,
            AppError::Reset(ResetError::NoWatermark) => 3,
            AppError::Reset(ResetError::Future(_) | ResetError::Forward { .. }) => 2,
            AppError::CannotListen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => 75,
            AppError::CannotListen { .. } => 78,
            AppError::Serve(_) | AppError::System { .. } => 1,
            AppError::Stopped(Signal::Interrupt) => 130,
            AppError::Stopped(Signal::Terminate) => 143,
        }
    }

    /// Why, from near to far; the problems of the settings each.
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
            // Some libraries repeat their cause in their own words; SQLite's codes only say again what its
            // message said.
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

    /// The error with its causes, one behind the other.
    #[must_use]
    pub fn chain(&self) -> String {
        let causes = self.causes();
        std::iter::once(self.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
    }

    /// What a person can do.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            AppError::NoSettings { .. } => "write them with `halosync init`, or name them with --config".into(),
            AppError::Settings { .. } => {
                "see the commented example that `halosync init FILE` writes".into()
            }
            AppError::Unreadable { what, path, source } => {
                let path = path.display();
                match source.kind() {
                    io::ErrorKind::InvalidData => format!("see that {path} really holds {what}, as plain text"),
                    io::ErrorKind::IsADirectory => format!("name the file itself: {path} is a folder"),
                    _ => format!("check that {path} is there and that this user may read it"),
                }
            }
            AppError::CannotCreate { path, source } if source.kind() == io::ErrorKind::AlreadyExists => {
                format!("{} stays as it is; name another file, or remove it first", path.display())
            }
            AppError::CannotCreate { source, .. } if is_disk_full(source) => "make room on the disk".into(),
            AppError::CannotCreate { path, .. } => {
                format!("check the folder of {} and its owner", path.display())
            }
            AppError::NotADemo { .. } => "name another folder with --dir".into(),
            AppError::Secret { location, problem } => match problem {
                SecretError::Exposed { .. } => format!("chmod 600 {}", location.display()),
                SecretError::Missing => {
                    "put it into a file of mode 0600 and name that in client_secret_file".into()
                }
                // What systemd hands over is a copy, and empty where there is nothing to copy.
                _ if location.ends_with(CREDENTIAL) => "write it into the file that LoadCredential= of the unit \
                     names, such as /etc/halosync/client-secret: one line, nothing before or behind it"
                    .into(),
                _ => format!("write it again into {}: one line, nothing before or behind it", location.display()),
            },
            AppError::HttpOptions(_) => "check ca_file (PEM) and proxy".into(),
            AppError::Sync(error) => help_for_sync(error),
            AppError::Store(error) => help_for_store(error),
            AppError::Lock(LockError::Held { .. }) => "wait until it is done; nothing was changed".into(),
            AppError::Lock(LockError::Io { source, .. }) if is_disk_full(source) => {
                "make room on the disk; nothing was changed".into()
            }
            AppError::Lock(LockError::Io { .. }) => "check the folder of the database and its owner".into(),
            AppError::Export(ExportError::CannotWrite { source, .. } | ExportError::CannotCreate { source, .. })
                if is_disk_full(source) =>
            {
                "make room on the disk; nothing was marked as handed on, the next export makes the same package"
                    .into()
            }
            AppError::Export(ExportError::CannotCreate { .. }) => {
                "check that the folder is there and that this user may write to it; nothing was marked as handed on"
                    .into()
            }
            AppError::Export(ExportError::CannotWrite { .. }) => {
                "check the disk; nothing was marked as handed on, the next export makes the same package".into()
            }
            AppError::Export(ExportError::Contradiction { .. }) => {
                "move the file aside; packages are made again from where the book of the database ends".into()
            }
            AppError::Export(ExportError::CannotRead { .. }) => {
                "check that this user may read it; nothing was changed".into()
            }
            AppError::Export(ExportError::NoPackage { .. }) => {
                "name an export folder, the folder of a consumer in its `deltas`, or a snapshot".into()
            }
            AppError::Consumer(problem) => match problem {
                ConsumerError::NoConsumer { .. } => "`halosync export list` shows the consumers".into(),
                ConsumerError::NoPackage { consumer, ends, .. } if ends.is_empty() => {
                    format!("no package waits; see `halosync export list --consumer {consumer}`")
                }
                ConsumerError::NoPackage { ends, .. } => {
                    let last: Vec<_> = ends.iter().rev().take(5).rev().map(i64::to_string).collect();
                    format!("name the end of a package: {}", last.join(", "))
                }
                ConsumerError::BackupRestored { evidence, lineage, .. } => format!(
                    "{} is newer than the database; lineage {lineage} begins, and every consumer starts again at 0",
                    evidence.display()
                ),
            },
            AppError::Reset(problem) => match problem {
                ResetError::NoWatermark => "the next `halosync sync` reads every ticket anyway".into(),
                ResetError::Future(_) => "name a time that has passed, by this machine's clock".into(),
                ResetError::Forward { .. } => {
                    "name an earlier time; forward the watermark goes by itself, when a walk was counted".into()
                }
            },
            AppError::CannotListen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another program has that address: end it, or choose another port in metrics.listen".into()
            }
            AppError::CannotListen { .. } => {
                "choose an address of this machine and a port above 1023 in metrics.listen".into()
            }
            AppError::Serve(_) => "choose another --listen address on this machine".into(),
            AppError::System { .. } => "try again".into(),
            AppError::Stopped(_) => "the next pass goes on from the watermark".into(),
        }
    }
}

fn sync_exit_status(error: &SyncError) -> u8 {
    match error {
        SyncError::Halo(error) => match error {
            HaloError::Unreachable { .. } | HaloError::Unavailable { .. } => 69,
            HaloError::RateLimited { .. } => 75,
            HaloError::Refused { status: 401 | 403, .. } | HaloError::Credentials { .. } => 77,
            HaloError::UnsafeAuthUrl { .. } => 78,
            HaloError::Refused { .. } | HaloError::Unreadable(_) | HaloError::TooLarge { .. } => 65,
        },
        SyncError::Store(error) => store_exit_status(error),
        SyncError::AnotherServer { .. } | SyncError::UnknownType { .. } => 78,
        SyncError::Stopped => 143,
        SyncError::TaskFailed(_) => 1,
    }
}

fn help_for_sync(error: &SyncError) -> String {
    match error {
        SyncError::Halo(error) => error.advice().into(),
        SyncError::Store(error) => help_for_store(error),
        SyncError::AnotherServer { .. } => {
            "set server_url and tenant back, or use another database (store.path) for this server".into()
        }
        SyncError::UnknownType { known, .. } => {
            let known: Vec<_> = known.iter().map(|name| format!("{name:?}")).collect();
            format!("ticket_type can be any of {}", known.join(", "))
        }
        SyncError::Stopped | SyncError::TaskFailed(_) => "try again; what was committed stays".into(),
    }
}

fn store_exit_status(error: &StoreError) -> u8 {
    match error {
        StoreError::Missing(_) => 66,
        StoreError::CannotCreate { .. } => 73,
        StoreError::OwnedByAnother { .. } | StoreError::Foreign { .. } | StoreError::Newer { .. } => 78,
        StoreError::Damaged { .. }
        | StoreError::IntegrityCheckFailed { .. }
        | StoreError::InvalidData { .. } => 65,
        StoreError::Full(_) | StoreError::Io(_) => 74,
        StoreError::Busy(_) => 75,
        StoreError::Migration(_) | StoreError::Sqlite(_) => 1,
    }
}

fn help_for_store(error: &StoreError) -> String {
    match error {
        StoreError::Missing(_) => "`halosync sync` makes it; check store.path".into(),
        StoreError::CannotCreate { path, .. } => {
            let folder = path.parent().unwrap_or(path);
            format!("make the folder first: mkdir -m 0750 {}", folder.display())
        }
        StoreError::OwnedByAnother { owner, .. } => {
            format!("run it as the owner of the folder: sudo -u '#{owner}' halosync …")
        }
        StoreError::Damaged { path, .. } | StoreError::IntegrityCheckFailed { path, .. } => {
            format!("move {} aside, or put a backup in its place, and sync again", path.display())
        }
        StoreError::Foreign { .. } => "name another file in store.path; this one stays as it is".into(),
        StoreError::Newer { .. } => "install the newer version again; the database stays as it is".into(),
        StoreError::Full(_) => {
            "make room; the pass was rolled back to its last commit, the next one goes on".into()
        }
        StoreError::Io(_) => {
            "check the disk and the owner of the database and its -wal and -shm files".into()
        }
        StoreError::Busy(_) => "end the other program's transaction, or raise store.busy_timeout".into(),
        StoreError::InvalidData { .. } => "put a backup in its place, or fill a new database".into(),
        StoreError::Migration(_) | StoreError::Sqlite(_) => "this should not happen; please report it".into(),
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
