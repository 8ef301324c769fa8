//! Where the files of a database are.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The most symbolic links that are followed, as in the kernel (`path_resolution(7)`).
const LINKS_MAX: u32 = 40;

/// The identity of a file whatever its name is (stat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Identifies the file that has this name now.
    #[must_use]
    pub fn from_path(path: &Path) -> Option<FileId> {
        let metadata = fs::metadata(path).ok()?;
        Some(FileId { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// The file beside a database whose name has a suffix, such as `-wal` or `.lock`. Whichever symbolic links lead to the
/// database, it is the same file: SQLite and the locks must agree about it. Hard links are not recognized.
#[must_use]
pub fn sibling_path(database: &Path, suffix: &str) -> PathBuf {
    let mut name = canonical_path(database).into_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// The folder that a database is in, or will be in.
#[must_use]
pub fn parent_folder(database: &Path) -> PathBuf {
    folder_of(&canonical_path(database))
}

/// The path without symbolic links of a file that may not exist yet.
fn canonical_path(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if let Ok(found) = fs::canonicalize(&path) {
            return found;
        }
        // SQLite creates the missing target of a link.
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => break,
        }
    }
    match (fs::canonicalize(folder_of(&path)), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// The folder of a path, `.` if the path names none.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn siblings_are_the_same_through_every_link() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("real/deep")).unwrap();
        symlink(at("real"), at("folder")).unwrap();
        symlink("real/halosync.db", at("relative.db")).unwrap();
        symlink(at("relative.db"), at("twice.db")).unwrap();
        symlink("loop.db", at("loop.db")).unwrap();
        let expected = fs::canonicalize(at("real")).unwrap().join("halosync.db.lock");
        let names =
            ["real/halosync.db", "folder/halosync.db", "relative.db", "twice.db", "real/deep/../halosync.db"];
        for exists in [false, true] {
            for name in names {
                assert_eq!(sibling_path(&at(name), ".lock"), expected, "{name}, exists: {exists}");
                assert_eq!(parent_folder(&at(name)), expected.parent().unwrap(), "{name}");
            }
            fs::write(at("real/halosync.db"), "").unwrap();
        }
        // What leads nowhere is left as it is; opening it says why.
        for name in ["loop.db", "missing/halosync.db"] {
            assert!(sibling_path(&at(name), ".lock").ends_with(format!("{name}.lock")), "{name}");
        }
        assert_eq!(folder_of(Path::new("halosync.db")), Path::new("."));
    }
}
