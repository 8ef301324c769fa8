//! Free disk space, and whether the file system supports SQLite's locks.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::CheckOutcome;
use crate::config::size_to_text;
use crate::store::ensure_free_disk;

/// Free space for packages that is always required, in bytes.
const MIN_EXPORT_BYTES: u64 = 256 << 20;

/// Size of a ticket in the database, write-ahead log and change record, relative to its size in a page.
const DATABASE_FACTOR: u64 = 2;

/// Size of a ticket in a first package, relative to its size in a page.
const PACKAGE_FACTOR: u64 = 1;

/// Network file systems, by their statfs(2) magic number: a write-ahead log needs shared memory, which they lack
/// (<https://www.sqlite.org/wal.html>, section 1).
const REMOTE_FILE_SYSTEMS: [(u64, &str); 8] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
];

/// The disk of a file that exists or will be created.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Disk {
    folder: PathBuf,
    device: u64,
    /// Free space for users other than root, in bytes.
    free: u64,
    /// Kind of the network file system, if it is one.
    remote: Option<&'static str>,
}

/// Checks the disks of database and exports. `min_free` is `[store] min_free_disk`; `expected` is the size of all
/// tickets as the server sends them, in bytes, if known.
pub(super) fn check(database: &Path, exports: &Path, min_free: u64, expected: Option<u64>) -> CheckOutcome {
    if let Err(error) = ensure_free_disk(database, min_free) {
        return CheckOutcome::Fail(error.into());
    }
    let database_bytes = fs::metadata(database).map_or(0, |it| it.len());
    let (Some(database_disk), export_disk) = (disk_of(database), disk_of(exports)) else {
        return CheckOutcome::warning(
            format!("cannot determine the free space for {}", database.display()),
            "check that its folder exists",
        );
    };
    let expected = expected.unwrap_or(0);
    let growth = expected.saturating_mul(DATABASE_FACTOR).saturating_sub(database_bytes);
    let needed = growth.saturating_add(min_free);
    assess(&database_disk, export_disk.as_ref(), needed, expected.saturating_mul(PACKAGE_FACTOR))
}

fn assess(database_disk: &Disk, export_disk: Option<&Disk>, needed: u64, package_bytes: u64) -> CheckOutcome {
    if let Some(kind) = database_disk.remote {
        return CheckOutcome::warning(
            format!("{} is on a network file system ({kind})", database_disk.folder.display()),
            "put store.path on a local disk: SQLite's write-ahead log does not work over a network",
        );
    }
    let is_same_disk = export_disk.is_none_or(|export_disk| export_disk.device == database_disk.device);
    let needed = if is_same_disk { needed.saturating_add(package_bytes) } else { needed };
    let separate_export_disk = export_disk
        .filter(|_| !is_same_disk)
        .map(|export_disk| (export_disk, MIN_EXPORT_BYTES.max(package_bytes)));
    for (disk, needed) in [(database_disk, needed)].into_iter().chain(separate_export_disk) {
        if disk.free < needed {
            let (folder, free) = (disk.folder.display(), size_to_text(disk.free));
            return CheckOutcome::warning(
                format!("{folder} has {free} free, but {} may be needed", size_to_text(needed)),
                "free some space, or put store.path or export.dir on a larger disk; a full disk loses no data, but \
                 stops runs and exports",
            );
        }
    }
    let (folder, free) = (database_disk.folder.display(), size_to_text(database_disk.free));
    CheckOutcome::Ok(format!("{folder} has {free} free; {} may be needed", size_to_text(needed)))
}

/// Returns the disk of a folder, or of its nearest existing parent.
fn disk_of(path: &Path) -> Option<Disk> {
    let path = std::path::absolute(path).ok()?;
    let folder = path.ancestors().find(|it| it.is_dir())?.to_owned();
    let stats = rustix::fs::statvfs(&folder).ok()?;
    let kind = rustix::fs::statfs(&folder).ok()?.f_type.cast_unsigned() & 0xFFFF_FFFF;
    Some(Disk {
        device: fs::metadata(&folder).ok()?.dev(),
        free: stats.f_bavail.saturating_mul(stats.f_frsize),
        remote: REMOTE_FILE_SYSTEMS.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name),
        folder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_is_that_of_the_folder_or_its_nearest_existing_parent() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("export/later")] {
            assert_eq!(disk_of(&path).unwrap().folder, folder.path());
        }
    }

    #[test]
    fn small_or_remote_disk_warns() {
        let disk = |device, gigabytes: u64| Disk {
            folder: format!("/disk{device}").into(),
            device,
            free: gigabytes << 30,
            remote: None,
        };
        let (small, large) = (disk(1, 0), disk(1, 9));
        let nfs = Disk { remote: Some("NFS"), ..large.clone() };
        let (five, three) = (disk(2, 5), disk(2, 3));
        for (name, database_disk, export_disk, needed, package, fragment) in [
            ("enough for all", &large, Some(&large), 2, 1, "has 9,216 MB free; 3,072 MB may"),
            ("too small for both", &large, Some(&large), 8, 4, "/disk1 has 9,216 MB free, but 12 GB"),
            ("separate disks", &large, Some(&five), 8, 4, "8,192 MB may"),
            ("too small for packages", &large, Some(&three), 8, 4, "/disk2 has 3,072 MB free, but"),
            ("expected size unknown", &large, None, 1, 0, "free; 1,024 MB may be needed"),
            ("full disk", &small, None, 1, 0, "has 0.0 MB free, but 1,024 MB"),
            ("network disk", &nfs, None, 0, 0, "network file system (NFS)"),
        ] {
            let outcome = assess(database_disk, export_disk, needed << 30, package << 30);
            assert!(outcome.message().contains(fragment), "{name}: {}", outcome.message());
            let is_ok = matches!(outcome, CheckOutcome::Ok(_));
            assert_eq!(is_ok, fragment.contains("may"), "{name}");
        }
    }
}
