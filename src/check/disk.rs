//! Whether there is room for what comes, on a disk that locks can be kept on.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::CheckOutcome;

/// Less than that is little whatever comes, in bytes.
const MIN_FREE_BYTES: u64 = 256 << 20;

/// A ticket in the database, its log and its change record, against its size in a page.
const DATABASE_FACTOR: u64 = 2;

/// A ticket in a first package, against the same.
const PACKAGE_FACTOR: u64 = 1;

/// File systems of other machines: SQLite's log needs memory that all who use it share
/// (<https://www.sqlite.org/wal.html>, 1). Numbers of statfs(2).
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

/// The disk that a file is on, or will be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Disk {
    folder: PathBuf,
    device: u64,
    /// Bytes that a user may still write.
    free: u64,
    /// The name of its kind, where it is one of another machine.
    remote: Option<&'static str>,
}

/// Looks at the disks of database and exports. `expected` is the size of all tickets as the server writes
/// them, where it is known.
pub(super) fn check(database: &Path, exports: &Path, expected: Option<u64>) -> CheckOutcome {
    let database_bytes = fs::metadata(database).map_or(0, |it| it.len());
    let (Some(database_disk), export_disk) = (disk_of(database), disk_of(exports)) else {
        return CheckOutcome::warning(
            format!("nothing is known of the disk of {}", database.display()),
            "see that its folder is there",
        );
    };
    let expected = expected.unwrap_or(0);
    let needed = expected.saturating_mul(DATABASE_FACTOR).saturating_sub(database_bytes);
    assess(&database_disk, export_disk.as_ref(), needed, expected.saturating_mul(PACKAGE_FACTOR))
}

fn assess(database_disk: &Disk, export_disk: Option<&Disk>, needed: u64, package_bytes: u64) -> CheckOutcome {
    if let Some(kind) = database_disk.remote {
        return CheckOutcome::warning(
            format!("{} is on a file system of another machine ({kind})", database_disk.folder.display()),
            "put store.path on a disk of this machine: SQLite's log needs memory that all readers share",
        );
    }
    let is_same_disk = export_disk.is_none_or(|export_disk| export_disk.device == database_disk.device);
    let needed = MIN_FREE_BYTES.max(if is_same_disk { needed.saturating_add(package_bytes) } else { needed });
    let separate_export_disk = export_disk
        .filter(|_| !is_same_disk)
        .map(|export_disk| (export_disk, MIN_FREE_BYTES.max(package_bytes)));
    for (disk, needed) in [(database_disk, needed)].into_iter().chain(separate_export_disk) {
        if disk.free < needed {
            return CheckOutcome::warning(
                format!(
                    "{} has room for {}, and {} may be needed",
                    disk.folder.display(),
                    format_size(disk.free),
                    format_size(needed)
                ),
                "make room, or name a larger disk in store.path or export.dir; a full one loses nothing, and \
                 the passes wait",
            );
        }
    }
    let free = format_size(database_disk.free);
    CheckOutcome::Ok(format!(
        "{} has room for {free}; {} may be needed",
        database_disk.folder.display(),
        format_size(needed)
    ))
}

/// The disk of the folder itself, or of the nearest one above that is there: a folder may be a disk of its own.
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

fn format_size(bytes: u64) -> String {
    match bytes >> 20 {
        few @ 0..10_000 => format!("{few} MB"),
        many => format!("{} GB", many >> 10),
    }
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
        for (name, database_disk, export_disk, needed, package_bytes, fragment) in [
            ("room for all", &large, Some(&large), 2 << 30, 1 << 30, "has room for 9216 MB; 3072 MB may"),
            (
                "both do not fit",
                &large,
                Some(&large),
                8 << 30,
                4 << 30,
                "/disk1 has room for 9216 MB, and 12 GB",
            ),
            ("on disks of their own they do", &large, Some(&disk(2, 5)), 8 << 30, 4 << 30, "8192 MB may"),
            (
                "packages do not fit",
                &large,
                Some(&disk(2, 3)),
                8 << 30,
                4 << 30,
                "/disk2 has room for 3072 MB",
            ),
            ("nothing is expected", &large, None, 0, 0, "256 MB may be needed"),
            ("a full disk", &small, None, 0, 0, "has room for 0 MB, and 256 MB"),
            ("a disk elsewhere", &nfs, None, 0, 0, "of another machine (NFS)"),
        ] {
            let outcome = assess(database_disk, export_disk, needed, package_bytes);
            assert!(outcome.message().contains(fragment), "{name}: {}", outcome.message());
            let is_ok = matches!(outcome, CheckOutcome::Ok(_));
            assert_eq!(is_ok, fragment.contains("may"), "{name}");
        }
    }
}
