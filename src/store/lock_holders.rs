//! Which processes use the database: the writer by the lock file, readers by the locks of SQLite.
//!
//! Everything comes from `/proc/locks`. Opening the files and closing them again would drop SQLite's own
//! locks (<https://www.sqlite.org/howtocorrupt.html>, section 2.2), and trying a lock could disturb its
//! holder.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::paths::sibling_path;

/// The bytes of the -shm file that readers lock: `WAL_READ_LOCK(i)` is byte 120 + 3 + i, of five
/// (<https://www.sqlite.org/walformat.html>, 2.3.1).
const READ_MARKS: RangeInclusive<u64> = 123..=127;

/// A process that is reading the database.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ReaderProcess {
    /// Its process id.
    pub pid: u32,
    /// The name of its program, if it can be read.
    pub program: Option<String>,
}

/// The processes that use a database; none if `/proc/locks` cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockHolders {
    /// The process that holds the writer lock: the service, `sync` or `reset`.
    pub writer: Option<u32>,
    /// Other processes that are reading at this moment, without the caller.
    pub readers: Vec<ReaderProcess>,
}

impl LockHolders {
    /// Finds the processes that use a database.
    #[must_use]
    pub fn detect(database: &Path) -> LockHolders {
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let file = |suffix| KernelFileId::from_path(&sibling_path(database, suffix));
        let writer = file(".lock").and_then(|file| write_lock_holder(&locks, file));
        let own = [Some(std::process::id()), writer];
        let pids = file("-shm").map(|file| read_lock_holders(&locks, file)).unwrap_or_default();
        let others = pids.into_iter().filter(|pid| !own.contains(&Some(*pid)));
        LockHolders {
            writer,
            readers: others.map(|pid| ReaderProcess { pid, program: program_name(pid) }).collect(),
        }
    }
}

/// A file as `/proc/locks` identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KernelFileId {
    /// Major and minor number of its file system; unknown before Linux 5.8. On stacked file systems it
    /// differs from what stat(2) returns.
    device: Option<(u32, u32)>,
    inode: u64,
}

impl KernelFileId {
    fn from_path(path: &Path) -> Option<KernelFileId> {
        let stat =
            rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::INO | StatxFlags::MNT_ID).ok()?;
        let mount = (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Some(KernelFileId {
            device: mount.and_then(|mount| device_of_mount(&mounts, mount)),
            inode: stat.stx_ino,
        })
    }

    fn matches(self, lock: &HeldLock<'_>) -> bool {
        self.inode == lock.inode && self.device.is_none_or(|device| device == lock.device)
    }
}

/// Finds the device of a mount by its number (proc(5), mountinfo).
fn device_of_mount(mounts: &str, mount: u64) -> Option<(u32, u32)> {
    let mut lines = mounts.lines().map(str::split_whitespace);
    let device = lines.find_map(|mut words| (words.next()?.parse() == Ok(mount)).then(|| words.nth(1))?)?;
    let (major, minor) = device.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A line of `/proc/locks` (proc(5)).
struct HeldLock<'l> {
    kind: &'l str,
    access: &'l str,
    pid: u32,
    device: (u32, u32),
    inode: u64,
    from: u64,
    to: u64,
}

/// The locks that are held, without the waiting ones, which are marked with an arrow.
fn held_locks(locks: &str) -> impl Iterator<Item = HeldLock<'_>> {
    locks.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, _, access) = (words.next()?, words.next()?, words.next()?);
        let pid = words.next()?.parse().ok().filter(|pid| 0 < *pid)?;
        let mut file = words.next()?.split(':');
        let mut hexadecimal = || u32::from_str_radix(file.next()?, 16).ok();
        let device = (hexadecimal()?, hexadecimal()?);
        let inode = file.next()?.parse().ok()?;
        let from = words.next()?.parse().ok()?;
        let to = words.next().map_or(u64::MAX, |to| to.parse().unwrap_or(u64::MAX));
        Some(HeldLock { kind, access, pid, device, inode, from, to })
    })
}

/// The process that holds the lock file.
fn write_lock_holder(locks: &str, file: KernelFileId) -> Option<u32> {
    held_locks(locks)
        .find(|it| it.kind == "FLOCK" && it.access == "WRITE" && file.matches(it))
        .map(|it| it.pid)
}

/// The processes that hold a read mark in the -shm file.
fn read_lock_holders(locks: &str, file: KernelFileId) -> BTreeSet<u32> {
    let covers_read_mark = |it: &HeldLock<'_>| it.from <= *READ_MARKS.end() && *READ_MARKS.start() <= it.to;
    let readers = held_locks(locks)
        .filter(|it| it.kind == "POSIX" && it.access == "READ" && file.matches(it) && covers_read_mark(it));
    readers.map(|it| it.pid).collect()
}

fn program_name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = "\
1: POSIX  ADVISORY  READ  4711 fe:00:77 124 124
2: POSIX  ADVISORY  READ  4711 fe:00:77 128 128
2: -> POSIX  ADVISORY  READ  4712 fe:00:77 125 125
3: POSIX  ADVISORY  WRITE 4713 fe:00:77 120 120
4: POSIX  ADVISORY  READ  4714 fe:00:78 124 124
5: POSIX  ADVISORY  READ  4715 fe:00:77 123 127
6: OFDLCK ADVISORY  READ  -1 fe:00:77 124 124
7: FLOCK  ADVISORY  WRITE 815 fe:00:99 0 EOF
8: FLOCK  ADVISORY  READ  816 fe:00:98 0 EOF
9: LEASE  ACTIVE    READ  817
10: FLOCK  ADVISORY  WRITE 818 00:1b:97 0 EOF
";

    fn on_disk(inode: u64) -> KernelFileId {
        KernelFileId { device: Some((254, 0)), inode }
    }

    #[test]
    fn only_read_mark_holders_are_readers_and_only_held_locks_count() {
        assert_eq!(read_lock_holders(LOCKS, on_disk(77)).into_iter().collect::<Vec<_>>(), [4711, 4715]);
        assert_eq!(read_lock_holders(LOCKS, on_disk(78)).into_iter().collect::<Vec<_>>(), [4714]);
        assert_eq!(read_lock_holders(LOCKS, on_disk(79)).len(), 0);
        assert_eq!(write_lock_holder(LOCKS, on_disk(99)), Some(815));
        assert_eq!(write_lock_holder(LOCKS, on_disk(98)), None);
        assert_eq!(
            (read_lock_holders("", on_disk(77)).len(), write_lock_holder("not a lock\n\n", on_disk(99))),
            (0, None)
        );
    }

    #[test]
    fn same_inode_on_another_device_is_another_file() {
        assert_eq!(write_lock_holder(LOCKS, on_disk(97)), None);
        assert_eq!(write_lock_holder(LOCKS, KernelFileId { device: Some((0, 27)), inode: 97 }), Some(818));
        assert_eq!(write_lock_holder(LOCKS, KernelFileId { device: None, inode: 97 }), Some(818));
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n31 22 0:27 / /dev/shm rw - tmpfs tmpfs rw\n";
        for (mount, expected) in [(22, Some((254, 0))), (31, Some((0, 27))), (2, None)] {
            assert_eq!(device_of_mount(mounts, mount), expected);
        }
    }
}
