//! Owner and mode of the database files. They are never opened: closing them would drop SQLite's locks.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::CheckOutcome;
use crate::store::{parent_folder, sibling_path};

/// Owner and mode of a file or folder (stat(2)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileStat {
    pub(super) path: PathBuf,
    owner: u32,
    pub(super) mode: u32,
}

/// Checks the folder, the database and the files beside it, as far as they exist.
pub(super) fn check(database: &Path) -> CheckOutcome {
    let names = ["", "-wal", "-shm"].map(|suffix| sibling_path(database, suffix));
    let files: Vec<_> = names.iter().filter_map(|path| stat(path)).collect();
    assess(stat(&parent_folder(database)).as_ref(), &files)
}

pub(super) fn stat(path: &Path) -> Option<FileStat> {
    let metadata = fs::metadata(path).ok()?;
    Some(FileStat { path: path.to_owned(), owner: metadata.uid(), mode: metadata.mode() & 0o7777 })
}

fn assess(folder: Option<&FileStat>, files: &[FileStat]) -> CheckOutcome {
    let mut problems = Vec::new();
    if let Some(folder) = folder.filter(|it| it.mode & 0o022 != 0) {
        let path = folder.path.display();
        problems.push((
            format!("others can write in {path} (mode {:04o})", folder.mode),
            format!(
                "chmod go-w {path}: another user who opens the database first would own its -wal and -shm files, and \
                 halosync could no longer open it"
            ),
        ));
    }
    for file in files {
        let path = file.path.display();
        let owner = files.first().map_or(file.owner, |database| database.owner);
        if file.owner != owner {
            problems.push((
                format!("{path} belongs to user {}, the database to user {owner}", file.owner),
                format!("chown {owner} {path} while nobody has the database open"),
            ));
        }
        if file.mode & 0o007 != 0 {
            problems.push((
                format!("everybody can read {path} (mode {:04o})", file.mode),
                format!("chmod o-rwx {path}, unless everybody may read the tickets"),
            ));
        }
    }
    if !problems.is_empty() {
        let (messages, helps): (Vec<_>, Vec<_>) = problems.into_iter().unzip();
        return CheckOutcome::warning(messages.join("; "), helps.join("; "));
    }
    let Some(database) = files.first() else {
        return CheckOutcome::Ok("only the owner can write in the folder of the database".into());
    };
    let modes: Vec<_> = files.iter().map(|it| format!("{:04o}", it.mode)).collect();
    CheckOutcome::Ok(format!("all owned by user {}, modes {}", database.owner, modes.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_users_or_open_to_everybody_warn() {
        let file = |name: &str, owner, mode| FileStat { path: name.into(), owner, mode };
        let folder = file("state", 7, 0o750);
        let open = file("state", 7, 0o770);
        let all = [file("db", 7, 0o640), file("db-wal", 7, 0o640), file("db-shm", 7, 0o640)];
        let foreign = [file("db", 7, 0o640), file("db-wal", 8, 0o640)];
        let readable = [file("db", 7, 0o640), file("db-shm", 7, 0o644)];
        for (folder, files, message) in [
            (&folder, &all[..], "all owned by user 7, modes 0640, 0640, 0640"),
            (&folder, &[], "only the owner can write in the folder of the database"),
            (&open, &all, "others can write in state (mode 0770)"),
            (&folder, &foreign, "db-wal belongs to user 8, the database to user 7"),
            (&folder, &readable, "everybody can read db-shm (mode 0644)"),
            (
                &open,
                &[file("db", 7, 0o644), file("db-wal", 8, 0o640)],
                "others can write in state (mode 0770); everybody can read db (mode 0644); db-wal belongs to user 8, \
                 the database to user 7",
            ),
        ] {
            let outcome = assess(Some(folder), files);
            assert_eq!(outcome.message(), message);
            let is_ok = matches!(outcome, CheckOutcome::Ok(_));
            assert_eq!(is_ok, message.starts_with("all") || message.starts_with("only"), "{message}");
        }
    }
}
