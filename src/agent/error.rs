//! Everything that can stop the agent, with the exit status and what a person can do.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::consumers::BookProblem;
use super::reset::ResetProblem;
use super::settings::CREDENTIAL;
use crate::config::Problem;
use crate::export::ExportError;
use crate::halo::{HaloError, Root};
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
pub enum SecretProblem {
    /// There is none.
    #[error("there is no client secret")]
    Absent,
    /// It is empty.
    #[error("the client secret is empty")]
    Empty,
    /// It holds a line break or the like.
    #[error("the client secret holds a line break, a byte order mark or another control character")]
    ControlCharacters,
    /// It begins or ends with a blank.
    #[error("the client secret begins or ends with a blank")]
    Blanks,
    /// Others can read it.
    #[error("the client secret can be read by others (mode {mode:04o})")]
    Exposed {
        /// The mode of its file.
        mode: u32,
    },
}

/// Why the agent stopped.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
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
        problems: Vec<Problem>,
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
        place: PathBuf,
        /// What is wrong.
        problem: SecretProblem,
    },
    /// Connections cannot be set up.
    #[error("the connection settings cannot be used")]
    Wiring(#[source] Root),
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
    Book(#[from] BookProblem),
    /// The watermark cannot be moved as wanted.
    #[error(transparent)]
    Reset(#[from] ResetProblem),
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

impl AgentError {
    /// Whether it says that the database is damaged.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, AgentError::Store(StoreError::Damaged { .. } | StoreError::Unsound { .. }))
    }

    /// The exit status (`sysexits.h` where it has one).
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            AgentError::NoSettings { .. }
            | AgentError::Settings { .. }
            | AgentError::Unreadable { .. }
            | AgentError::Secret { .. }
            | AgentError::Wiring(_) => 78,
            AgentError::CannotCreate { source, .. } if is_full(source) => 74,
            AgentError::CannotCreate { .. } | AgentError::NotADemo { .. } => 73,
            AgentError::Sync(error) => of_sync(error),
            AgentError::Store(error) => of_store(error),
            AgentError::Lock(LockError::Held { .. }) => 75,
            AgentError::Lock(LockError::Io { source, .. }) if is_full(source) => 74,
            AgentError::Lock(LockError::Io { .. }) => 73,
            AgentError::Export(ExportError::CannotCreate { source, .. }) if is_full(source) => 74,
            AgentError::Export(ExportError::CannotCreate { .. }) => 73,
            AgentError::Export(ExportError::Io { .. } | ExportError::CannotRead { .. }) => 74,
            AgentError::Export(ExportError::NoPackage { .. }) | AgentError::Book(_) => 66,
            AgentError::Export(ExportError::Contradiction { .. }) => 65,
            AgentError::Reset(ResetProblem::NoMark) => 3,
            AgentError::Reset(ResetProblem::Future(_) | ResetProblem::Forward { .. }) => 2,
            AgentError::CannotListen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => 75,
            AgentError::CannotListen { .. } => 78,
            AgentError::Serve(_) | AgentError::System { .. } => 1,
            AgentError::Stopped(Signal::Interrupt) => 130,
            AgentError::Stopped(Signal::Terminate) => 143,
        }
    }

    /// Why, from near to far; the problems of the settings each.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        if let AgentError::Settings { problems, .. } = self {
            return problems.iter().map(ToString::to_string).collect();
        }
        let mut causes: Vec<String> = Vec::new();
        let mut said = self.to_string();
        let mut depth = 0;
        let mut next = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some libraries repeat their cause in their own words; SQLite's codes only say again what its
            // message said.
            let repeated = said.contains(&text) || (depth > 0 && text.starts_with("Error code "));
            said.clone_from(&text);
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
            AgentError::NoSettings { .. } => "write them with `halosync init`, or name them with --config".into(),
            AgentError::Settings { .. } => {
                "see the commented example that `halosync init FILE` writes".into()
            }
            AgentError::Unreadable { what, path, source } => {
                let path = path.display();
                match source.kind() {
                    io::ErrorKind::InvalidData => format!("see that {path} really holds {what}, as plain text"),
                    io::ErrorKind::IsADirectory => format!("name the file itself: {path} is a folder"),
                    _ => format!("check that {path} is there and that this user may read it"),
                }
            }
            AgentError::CannotCreate { path, source } if source.kind() == io::ErrorKind::AlreadyExists => {
                format!("{} stays as it is; name another file, or remove it first", path.display())
            }
            AgentError::CannotCreate { source, .. } if is_full(source) => "make room on the disk".into(),
            AgentError::CannotCreate { path, .. } => {
                format!("check the folder of {} and its owner", path.display())
            }
            AgentError::NotADemo { .. } => "name another folder with --dir".into(),
            AgentError::Secret { place, problem } => match problem {
                SecretProblem::Exposed { .. } => format!("chmod 600 {}", place.display()),
                SecretProblem::Absent => {
                    "put it into a file of mode 0600 and name that in client_secret_file".into()
                }
                // What systemd hands over is a copy, and empty where there is nothing to copy.
                _ if place.ends_with(CREDENTIAL) => "write it into the file that LoadCredential= of the unit \
                     names, such as /etc/halosync/client-secret: one line, nothing before or behind it"
                    .into(),
                _ => format!("write it again into {}: one line, nothing before or behind it", place.display()),
            },
            AgentError::Wiring(_) => "check ca_file (PEM) and proxy".into(),
            AgentError::Sync(error) => help_for_sync(error),
            AgentError::Store(error) => help_for_store(error),
            AgentError::Lock(LockError::Held { .. }) => "wait until it is done; nothing was changed".into(),
            AgentError::Lock(LockError::Io { source, .. }) if is_full(source) => {
                "make room on the disk; nothing was changed".into()
            }
            AgentError::Lock(LockError::Io { .. }) => "check the folder of the database and its owner".into(),
            AgentError::Export(ExportError::Io { source, .. } | ExportError::CannotCreate { source, .. })
                if is_full(source) =>
            {
                "make room on the disk; nothing was marked as handed on, the next export makes the same package"
                    .into()
            }
            AgentError::Export(ExportError::CannotCreate { .. }) => {
                "check that the folder is there and that this user may write to it; nothing was marked as handed on"
                    .into()
            }
            AgentError::Export(ExportError::Io { .. }) => {
                "check the disk; nothing was marked as handed on, the next export makes the same package".into()
            }
            AgentError::Export(ExportError::Contradiction { .. }) => {
                "move the file aside; packages are made again from where the book of the database ends".into()
            }
            AgentError::Export(ExportError::CannotRead { .. }) => {
                "check that this user may read it; nothing was changed".into()
            }
            AgentError::Export(ExportError::NoPackage { .. }) => {
                "name an export folder, the folder of a consumer in its `deltas`, or a snapshot".into()
            }
            AgentError::Book(problem) => match problem {
                BookProblem::NoConsumer { .. } => "`halosync export list` shows the consumers".into(),
                BookProblem::NoPackage { consumer, ends, .. } if ends.is_empty() => {
                    format!("no package waits; see `halosync export list --consumer {consumer}`")
                }
                BookProblem::NoPackage { ends, .. } => {
                    let last: Vec<_> = ends.iter().rev().take(5).rev().map(i64::to_string).collect();
                    format!("name the end of a package: {}", last.join(", "))
                }
                BookProblem::Restarted { evidence, lineage, .. } => format!(
                    "{} is newer than the database; lineage {lineage} begins, and every consumer starts again at 0",
                    evidence.display()
                ),
            },
            AgentError::Reset(problem) => match problem {
                ResetProblem::NoMark => "the next `halosync sync` reads every ticket anyway".into(),
                ResetProblem::Future(_) => "name a time that has passed, by this machine's clock".into(),
                ResetProblem::Forward { .. } => {
                    "name an earlier time; forward the watermark goes by itself, when a walk was counted".into()
                }
            },
            AgentError::CannotListen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another program has that address: end it, or choose another port in metrics.listen".into()
            }
            AgentError::CannotListen { .. } => {
                "choose an address of this machine and a port above 1023 in metrics.listen".into()
            }
            AgentError::Serve(_) => "choose another --listen address on this machine".into(),
            AgentError::System { .. } => "try again".into(),
            AgentError::Stopped(_) => "the next pass goes on from the watermark".into(),
        }
    }
}

fn of_sync(error: &SyncError) -> u8 {
    match error {
        SyncError::Halo(error) => match error {
            HaloError::Unreachable { .. } | HaloError::Unavailable { .. } => 69,
            HaloError::Throttled { .. } => 75,
            HaloError::Refused { status: 401 | 403, .. } | HaloError::Credentials { .. } => 77,
            HaloError::Misled { .. } => 78,
            HaloError::Refused { .. } | HaloError::Unreadable(_) | HaloError::TooLarge { .. } => 65,
        },
        SyncError::Store(error) => of_store(error),
        SyncError::AnotherServer { .. } | SyncError::UnknownType { .. } => 78,
        SyncError::Stopped => 143,
        SyncError::Broken(_) => 1,
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
        SyncError::Stopped | SyncError::Broken(_) => "try again; what was committed stays".into(),
    }
}

fn of_store(error: &StoreError) -> u8 {
    match error {
        StoreError::Missing(_) => 66,
        StoreError::CannotCreate { .. } => 73,
        StoreError::OwnedByAnother { .. } | StoreError::Foreign { .. } | StoreError::Newer { .. } => 78,
        StoreError::Damaged { .. } | StoreError::Unsound { .. } | StoreError::Nonsense { .. } => 65,
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
        StoreError::Damaged { path, .. } | StoreError::Unsound { path, .. } => {
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
        StoreError::Nonsense { .. } => "put a backup in its place, or fill a new database".into(),
        StoreError::Migration(_) | StoreError::Sqlite(_) => "this should not happen; please report it".into(),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
