//! What an administrator can do about each error.

use std::io;

use super::{AppError, is_disk_full};
use crate::export::ExportError;
use crate::store::{LockError, StoreError};
use crate::sync::SyncError;

impl AppError {
    /// What an administrator can do about it, in one line.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            AppError::NoSettings { .. } => "create one with `halosync init`, or name one with --config".into(),
            AppError::Settings { .. } => {
                "see the commented example that `halosync init FILE` writes".into()
            }
            AppError::Unreadable { what, path, source } => {
                let path = path.display();
                match source.kind() {
                    io::ErrorKind::InvalidData => format!("check that {path} contains {what} as plain text"),
                    io::ErrorKind::IsADirectory => format!("name the file itself: {path} is a folder"),
                    _ => format!("check that {path} exists and that this user may read it"),
                }
            }
            AppError::CannotCreate { path, source } if source.kind() == io::ErrorKind::AlreadyExists => {
                format!("{} was left unchanged; name another file, or remove it first", path.display())
            }
            AppError::CannotCreate { source, .. } if is_disk_full(source) => make_room(),
            AppError::CannotCreate { path, .. } => {
                format!("check that the folder of {} exists and that this user may write to it", path.display())
            }
            AppError::NotADemo { .. } => "name another folder with --dir".into(),
            AppError::Secret { location, problem } => problem.help(location),
            AppError::HttpOptions(_) => "check ca_file (PEM) and proxy".into(),
            AppError::Sync(error) => help_for_sync(error),
            AppError::Store(error) => help_for_store(error),
            AppError::Lock(LockError::Held { .. }) => "wait until it has finished; nothing was changed".into(),
            AppError::Lock(LockError::NotAFile { path }) => {
                format!("remove {}; nothing was changed", path.display())
            }
            AppError::Lock(LockError::Io { source, .. }) if is_disk_full(source) => {
                format!("{}; nothing was changed", make_room())
            }
            AppError::Lock(LockError::Io { .. }) => {
                "check that the folder of the database exists and that this user may write to it".into()
            }
            AppError::Export(ExportError::CannotWrite { source, .. } | ExportError::CannotCreate { source, .. })
                if is_disk_full(source) =>
            {
                format!(
                    "{}; nothing was recorded as exported, and the next export writes the same package",
                    make_room()
                )
            }
            AppError::Export(ExportError::CannotCreate { .. }) => {
                "check that the folder exists and that this user may write to it; nothing was recorded as exported"
                    .into()
            }
            AppError::Export(ExportError::CannotWrite { .. }) => {
                "check the disk; nothing was recorded as exported, and the next export writes the same package".into()
            }
            AppError::Export(ExportError::Contradiction { .. }) => {
                "move the file away; the next export continues after the last recorded package".into()
            }
            AppError::Export(ExportError::CannotRead { .. }) => {
                "check that this user may read it; nothing was changed".into()
            }
            AppError::Export(ExportError::NoPackage { .. }) => {
                "name an export folder, the folder of a consumer in its `deltas`, or a snapshot".into()
            }
            AppError::Consumer(problem) => problem.help(),
            AppError::Reset(problem) => problem.help().into(),
            AppError::CannotListen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another program uses that address: stop it, or choose another port in metrics.listen".into()
            }
            AppError::CannotListen { .. } => {
                "choose an address of this machine and a port above 1023 in metrics.listen".into()
            }
            AppError::Serve(_) => "choose another --listen address on this machine".into(),
            AppError::DescriptorLimit(_) => {
                "raise the limit of open files (`ulimit -n`, LimitNOFILE= of the unit); nothing was changed".into()
            }
            AppError::System { .. } => "try again".into(),
            AppError::Stopped(_) => "run the command again to continue".into(),
        }
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
        SyncError::Stopped | SyncError::TaskFailed(_) => {
            "try again; everything committed so far is saved".into()
        }
    }
}

fn help_for_store(error: &StoreError) -> String {
    match error {
        StoreError::Missing(_) => "`halosync sync` creates it; check store.path".into(),
        StoreError::CannotCreate { path, .. } => {
            let folder = path.parent().unwrap_or(path);
            format!("create the folder first: mkdir -m 0750 {}", folder.display())
        }
        StoreError::OwnedByAnother { owner, .. } => {
            format!("run it as the owner of the folder: sudo -u '#{owner}' halosync …")
        }
        StoreError::Damaged { path, .. } | StoreError::IntegrityCheckFailed { path, .. } => {
            format!("move {} away or restore a backup, then sync again", path.display())
        }
        StoreError::Foreign { .. } => "name another file in store.path; this one was left unchanged".into(),
        StoreError::Newer { .. } => "install the newer version again; the database was left unchanged".into(),
        StoreError::Unreleased { path } => {
            format!("move {} away and run `halosync sync`, which loads every ticket again", path.display())
        }
        StoreError::IncompleteSchema { path, .. } => {
            format!("restore a backup, or move {} away and run `halosync sync` again", path.display())
        }
        StoreError::RestoredBesideWal { path, .. } => format!(
            "if a backup was put back, put it back again and remove {0}-wal and {0}-shm before you start; else restore \
             a backup, or move all three files away and sync again",
            path.display()
        ),
        StoreError::DiskLow { .. } => {
            "free up disk space, or lower store.min_free_disk; everything committed so far is saved".into()
        }
        StoreError::Full(_) => format!("{}; the next run continues after the last commit", make_room()),
        // SQLite does not say which error of the system it met.
        StoreError::Io(_) if file_size_limit().is_some() => {
            format!("{}, or check the disk; everything committed so far is saved", make_room())
        }
        StoreError::Io(_) => {
            "check the disk and the owner of the database and its -wal and -shm files".into()
        }
        StoreError::Busy(_) => "end the other program's transaction, or raise store.busy_timeout".into(),
        StoreError::InvalidData { .. } => "restore a backup, or load a new database".into(),
        StoreError::Migration(_) | StoreError::Sqlite(_) => "this is a bug: please report it".into(),
    }
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
