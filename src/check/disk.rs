//! Whether there is room for what comes, on a disk that locks can be kept on.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Verdict;

/// Less than that is little whatever comes, in bytes.
const FLOOR: u64 = 256 << 20;

/// A ticket in the database, its log and its change record, against its size in a page.
const COPY: u64 = 2;

/// A ticket in a first package, against the same.
const PACKAGE: u64 = 1;

/// File systems of other machines: SQLite's log needs memory that all who use it share
/// (<https://www.sqlite.org/wal.html>, 1). Numbers of statfs(2).
const REMOTE: [(u64, &str); 8] = [
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
pub(super) fn verdict(database: &Path, exports: &Path, expected: Option<u64>) -> Verdict {
    let there = fs::metadata(database).map_or(0, |it| it.len());
    let (Some(copy), package) = (disk(database), disk(exports)) else {
        return Verdict::warning(
            format!("nothing is known of the disk of {}", database.display()),
            "see that its folder is there",
        );
    };
    let expected = expected.unwrap_or(0);
    let needed = expected.saturating_mul(COPY).saturating_sub(there);
    judge(&copy, package.as_ref(), needed, expected.saturating_mul(PACKAGE))
}

fn judge(copy: &Disk, package: Option<&Disk>, needed: u64, for_package: u64) -> Verdict {
    if let Some(kind) = copy.remote {
        return Verdict::warning(
            format!("{} is on a file system of another machine ({kind})", copy.folder.display()),
            "put store.path on a disk of this machine: SQLite's log needs memory that all readers share",
        );
    }
    let together = package.is_none_or(|package| package.device == copy.device);
    let needed = FLOOR.max(if together { needed.saturating_add(for_package) } else { needed });
    let others = package.filter(|_| !together).map(|package| (package, FLOOR.max(for_package)));
    for (disk, needed) in [(copy, needed)].into_iter().chain(others) {
        if disk.free < needed {
            return Verdict::warning(
                format!(
                    "{} has room for {}, and {} may be needed",
                    disk.folder.display(),
                    megabytes(disk.free),
                    megabytes(needed)
                ),
                "make room, or name a larger disk in store.path or export.dir; a full one loses nothing, and \
                 the passes wait",
            );
        }
    }
    let free = megabytes(copy.free);
    Verdict::Good(format!(
        "{} has room for {free}; {} may be needed",
        copy.folder.display(),
        megabytes(needed)
    ))
}

/// The disk of the folder itself, or of the nearest one above that is there: a folder may be a disk of its own.
fn disk(path: &Path) -> Option<Disk> {
    let path = std::path::absolute(path).ok()?;
    let folder = path.ancestors().find(|it| it.is_dir())?.to_owned();
    let room = rustix::fs::statvfs(&folder).ok()?;
    let kind = rustix::fs::statfs(&folder).ok()?.f_type.cast_unsigned() & 0xFFFF_FFFF;
    Some(Disk {
        device: fs::metadata(&folder).ok()?.dev(),
        free: room.f_bavail.saturating_mul(room.f_frsize),
        remote: REMOTE.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name),
        folder,
    })
}

fn megabytes(bytes: u64) -> String {
    match bytes >> 20 {
        few @ 0..10_000 => format!("{few} MB"),
        many => format!("{} GB", many >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_may_be_a_disk_of_its_own_and_one_that_is_not_there_is_on_that_above() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("export/later")] {
            assert_eq!(disk(&path).unwrap().folder, folder.path());
        }
    }

    #[test]
    fn a_disk_that_is_too_small_or_not_of_this_machine_is_warned_of() {
        let disk = |device, gigabytes: u64| Disk {
            folder: format!("/disk{device}").into(),
            device,
            free: gigabytes << 30,
            remote: None,
        };
        let (small, large) = (disk(1, 0), disk(1, 9));
        let nfs = Disk { remote: Some("NFS"), ..large.clone() };
        for (name, copy, package, needed, for_package, says) in [
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
            let verdict = judge(copy, package, needed, for_package);
            assert!(verdict.says().contains(says), "{name}: {}", verdict.says());
            let good = matches!(verdict, Verdict::Good(_));
            assert_eq!(good, says.contains("may"), "{name}");
        }
    }
}
