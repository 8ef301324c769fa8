//! The exit status of each error, and what an administrator can do about it.

use std::io;

use super::{AppError, ExitStatus, PurgeError, Signal};
use crate::config::ConfigProblem;
use crate::export::ExportError;
use crate::halo::HaloError;
use crate::store::{LockError, StoreError};
use crate::sync::SyncError;

use ExitStatus::{
    CannotCreate, Config, DataError, Interrupted, Io, NoInput, Refused, Terminated, TryLater, Unavailable,
    Unexpected,
};

type Remedy = (ExitStatus, String);

/// How many names of ticket types an error lists, and how many characters of each.
const TYPES_SHOWN_MAX: usize = 50;
const TYPE_NAME_MAX: usize = 60;

impl AppError {
    /// The status that the command ends with.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        self.remedy().0
    }

    /// What an administrator can do about it, in one line.
    #[must_use]
    pub fn help(&self) -> String {
        self.remedy().1
    }

    fn remedy(&self) -> Remedy {
        match self {
            AppError::NoSettings(_) => {
                (Config, "create one with `halosync init`, or name one with --config".into())
            }
            AppError::Settings(problems) if problems.iter().all(ConfigProblem::is_of_environment) => {
                (Config, "correct the environment variable, or unset it".into())
            }
            AppError::Settings(_) => {
                (Config, "see the commented example that `halosync init FILE` writes".into())
            }
            AppError::Unreadable { what, path, source } => {
                let path = path.display();
                let help = match source.kind() {
                    io::ErrorKind::InvalidData => format!("check that {path} contains {what} as plain text"),
                    _ => format!("check that {path} exists and that this user may read it"),
                };
                (Config, help)
            }
            AppError::File { what, path, problem } => (Config, problem.help(what, path)),
            AppError::CannotCreate { source, .. } if is_disk_full(source) => (Io, make_room()),
            AppError::CannotCreate { path, source } => {
                let path = path.display();
                let help = if source.kind() == io::ErrorKind::AlreadyExists {
                    format!("{path} was left unchanged; name another file, or remove it first")
                } else {
                    format!("check that the folder of {path} exists and that this user may write to it")
                };
                (CannotCreate, help)
            }
            AppError::DemoEnded(_) => (
                Unavailable,
                "the files stay and can be queried; `halosync demo --keep-serving` leaves the server running"
                    .into(),
            ),
            AppError::NotADemo(_) => (CannotCreate, "name another folder with --dir".into()),
            AppError::NotAReport(_) => (CannotCreate, "name another file with --out".into()),
            AppError::Secret { location, problem } => (Config, problem.help(location)),
            AppError::PrivacyPending { new, .. } if new.is_empty() => (
                TryLater,
                "use the settings and the key of the service; if the change is meant, run `halosync sync`: it reads everything \
                 anew and stores what the settings no longer hold back"
                    .into(),
            ),
            AppError::PrivacyPending { .. } => (
                TryLater,
                "run `halosync sync` first, or restart the service: both carry out the rules".into(),
            ),
            AppError::HttpOptions(_) => (Config, "check ca_file and proxy".into()),
            AppError::Sync(error) => sync_remedy(error),
            AppError::Store(error) => store_remedy(error),
            AppError::Lock(error) => lock_remedy(error),
            AppError::Export(error) => export_remedy(error),
            AppError::Format(error) => (Config, error.help().into()),
            AppError::Consumer(error) => (error.exit_status(), error.help()),
            AppError::Reset(error) => (error.exit_status(), error.help().into()),
            AppError::Purge(PurgeError::FileKeepsTraces { id, source }) => {
                let (status, help) = store_remedy(source);
                (status, format!("{help}; then run `halosync purge {id} --reason TEXT` again"))
            }
            AppError::Purge(error) => (error.exit_status(), error.help()),
            AppError::Lake(error) => super::lake::remedy(error),
            AppError::LakePush(error) => (error.exit_status(), error.help()),
            AppError::History(error) => (error.exit_status(), error.help()),
            AppError::CannotListen(_, source) if source.kind() == io::ErrorKind::AddrInUse => (
                TryLater,
                "another program uses that address: stop it, or choose another port in metrics.listen".into(),
            ),
            AppError::CannotListen(..) => {
                (Config, "choose an address of this machine and a port above 1023 in metrics.listen".into())
            }
            AppError::Replay { path, source } => {
                let path = path.display();
                let help = match source.kind() {
                    io::ErrorKind::IsADirectory => format!("name the file itself: {path} is a folder"),
                    _ => format!("check that {path} exists and that this user may read it"),
                };
                (NoInput, help)
            }
            AppError::Serve(_) => (Unexpected, "choose another --listen address on this machine".into()),
            AppError::System(..) => (Unexpected, "try again".into()),
            AppError::DescriptorLimit(_) => (
                Config,
                "raise the limit of open files (`ulimit -n`, LimitNOFILE= of the unit); nothing was changed"
                    .into(),
            ),
            AppError::Stopped(signal) => {
                let status = match signal {
                    Signal::Interrupt => Interrupted,
                    Signal::Terminate => Terminated,
                };
                (status, "run the command again to continue".into())
            }
        }
    }
}

fn sync_remedy(error: &SyncError) -> Remedy {
    const TRY_AGAIN: &str = "try again; everything committed so far is saved";
    match error {
        SyncError::Halo(error) => (halo_exit_status(error), error.advice().into()),
        SyncError::Store(error) => store_remedy(error),
        SyncError::AnotherServer { .. } => (
            Config,
            "set server_url and tenant back, or use another database (store.path) for this server".into(),
        ),
        SyncError::UnknownType { known, .. } => {
            let shown =
                known.iter().take(TYPES_SHOWN_MAX).map(|name| name.chars().take(TYPE_NAME_MAX).collect());
            let shown: Vec<_> = shown.map(|name: String| format!("{name:?}")).collect();
            let more = known.len() - shown.len();
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            (Config, format!("ticket_type can be any of {}{more}", shown.join(", ")))
        }
        SyncError::Stopped => (Terminated, TRY_AGAIN.into()),
        SyncError::TaskFailed(_) => (Unexpected, TRY_AGAIN.into()),
    }
}

fn halo_exit_status(error: &HaloError) -> ExitStatus {
    match error {
        HaloError::Unreachable { .. } | HaloError::Unavailable { .. } => Unavailable,
        HaloError::RateLimited { .. } => TryLater,
        HaloError::Refused { status: 401 | 403, .. } | HaloError::Credentials { .. } => Refused,
        HaloError::OtherAuthServer { .. } => Config,
        HaloError::Refused { .. } | HaloError::Unreadable(_) | HaloError::TooLarge { .. } => DataError,
    }
}

fn store_remedy(error: &StoreError) -> Remedy {
    match error {
        StoreError::Missing(_) => (NoInput, "`halosync sync` creates it; check store.path".into()),
        StoreError::CannotCreate { path, .. } => {
            let folder = path.parent().unwrap_or(path).display();
            (CannotCreate, format!("create the folder first: mkdir -m 0750 {folder}"))
        }
        StoreError::OwnedByAnother { owner, .. } => {
            (Config, format!("run it as the owner of the folder: sudo -u '#{owner}' halosync …"))
        }
        StoreError::Damaged { path, .. } | StoreError::IntegrityCheckFailed { path, .. } => {
            (DataError, format!("move {} away or restore a backup, then sync again", path.display()))
        }
        StoreError::Foreign { .. } => {
            (Config, "name another file in store.path; this one was left unchanged".into())
        }
        StoreError::Newer { .. } => {
            (Config, "install the newer version again; the database was left unchanged".into())
        }
        StoreError::Unreleased { path } => (
            Config,
            format!("move {} away and run `halosync sync`, which loads every ticket again", path.display()),
        ),
        StoreError::IncompleteSchema { path, .. } => (
            DataError,
            format!("restore a backup, or move {} away and run `halosync sync` again", path.display()),
        ),
        StoreError::SchemaChanged { path, faults } => {
            let commands: Vec<_> = faults.iter().filter_map(|fault| fault.command(path)).collect();
            let is_lost = faults.iter().any(|fault| fault.statement.is_none());
            let restore = format!("restore a backup, or move {} away and sync again", path.display());
            let restore = is_lost.then_some(restore);
            (DataError, commands.into_iter().chain(restore).collect::<Vec<_>>().join("; "))
        }
        StoreError::RestoredBesideWal { path, .. } => (
            DataError,
            format!(
                "if a backup was put back, put it back again and remove {0}-wal and {0}-shm before you start; else \
                 restore a backup, or move all three files away and sync again",
                path.display()
            ),
        ),
        StoreError::DiskLow { .. } => (
            Io,
            "free up disk space, or lower store.min_free_disk; everything committed so far is saved".into(),
        ),
        StoreError::Full(_) => (Io, format!("{}; the next run continues after the last commit", make_room())),
        // SQLite does not say which error of the system it met.
        StoreError::Io(_) if file_size_limit().is_some() => {
            (Io, format!("{}, or check the disk; everything committed so far is saved", make_room()))
        }
        StoreError::Io(_) => {
            (Io, "check the disk and the owner of the database and its -wal and -shm files".into())
        }
        StoreError::Busy(_) => {
            (TryLater, "end the other program's transaction, or raise store.busy_timeout".into())
        }
        StoreError::InvalidData { .. } => (DataError, "restore a backup, or load a new database".into()),
        StoreError::Migration(_) | StoreError::Sqlite(_) => {
            (Unexpected, "this is a bug: please report it".into())
        }
    }
}

fn lock_remedy(error: &LockError) -> Remedy {
    match error {
        LockError::Held { .. } => (
            TryLater,
            "wait until it has finished, or stop the service (systemctl stop halosync); nothing was changed"
                .into(),
        ),
        LockError::Io { source, .. } if is_disk_full(source) => {
            (Io, format!("{}; nothing was changed", make_room()))
        }
        LockError::NotAFile { path } => {
            (CannotCreate, format!("remove {}; nothing was changed", path.display()))
        }
        LockError::Io { .. } => (
            CannotCreate,
            "check that the folder of the database exists and that this user may write to it".into(),
        ),
    }
}

fn export_remedy(error: &ExportError) -> Remedy {
    match error {
        ExportError::CannotWrite { source, .. } | ExportError::CannotCreate { source, .. }
            if is_disk_full(source) =>
        {
            (
                Io,
                format!(
                    "{}; nothing was recorded as exported, and the next export writes the same package",
                    make_room()
                ),
            )
        }
        ExportError::CannotCreate { .. } => (
            CannotCreate,
            "check that the folder exists and that this user may write to it; nothing was recorded as exported"
                .into(),
        ),
        ExportError::CannotWrite { .. } => (
            Io,
            "check the disk; nothing was recorded as exported, and the next export writes the same package".into(),
        ),
        ExportError::CannotRead { .. } => {
            (Io, "check that this user may read it; nothing was changed".into())
        }
        ExportError::UnfitValue { .. } => (
            DataError,
            "correct the value, or run `halosync sync --full`, which restores what another program changed; \
             `--format csv` and `--format jsonl` write it as it is"
                .into(),
        ),
        ExportError::Contradiction { .. } => (
            DataError,
            "move the file away; the next export continues after the last recorded package".into(),
        ),
        ExportError::OtherDatabase { packages, position, .. } => (
            DataError,
            format!(
                "export to another folder (`--out`), or, if this database is to take over: move {} and {} away; then the \
                 consumer starts again at 0",
                packages.display(),
                position.display()
            ),
        ),
        ExportError::NoPackage { .. } => (
            NoInput,
            "name an export folder, the folder of a consumer in its `deltas`, or a snapshot".into(),
        ),
    }
}

/// Whether there is no room for more: the disk, the quota, or the file size limit of the process (`ulimit -f`).
fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// What to do where a file cannot grow.
fn make_room() -> String {
    match file_size_limit() {
        Some(bytes) => format!(
            "raise the file size limit of {bytes} bytes (`ulimit -f`, LimitFSIZE= of the unit), if the disk is not full"
        ),
        None => "free up disk space".to_owned(),
    }
}

/// The greatest size of a file that this process may write, in bytes, if there is a limit.
fn file_size_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current
}
