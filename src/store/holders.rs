//! Who has the database now: the agent by its lock, readers by those of SQLite.
//!
//! Told by `/proc/locks` alone. Opening the files and closing them again would drop SQLite's own locks
//! (<https://www.sqlite.org/howtocorrupt.html>, section 2.2), and trying a lock could disturb its holder.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes of the -shm file that are locked by whoever reads: `WAL_READ_LOCK(i)` is byte 120 + 3 + i, of five
/// (<https://www.sqlite.org/walformat.html>, 2.3.1).
const READ_MARKS: RangeInclusive<u64> = 123..=127;

/// A program that reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Its process.
    pub pid: u32,
    /// Its name, where that can be seen.
    pub program: Option<String>,
}

/// Who has a database. Where the kernel does not tell, nobody is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// The process that may change it: a service, or a pass.
    pub agent: Option<u32>,
    /// Others that read at this moment, the caller aside.
    pub readers: Vec<Reader>,
}

impl Holders {
    /// Looks who has a database.
    #[must_use]
    pub fn of(database: &Path) -> Holders {
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let inode = |suffix: &str| {
            let mut name = OsString::from(database.as_os_str());
            name.push(suffix);
            fs::metadata(PathBuf::from(name)).ok().map(|it| it.ino())
        };
        let agent = inode(".lock").and_then(|inode| writer(&locks, inode));
        let own = [Some(std::process::id()), agent];
        let pids = inode("-shm").map(|inode| readers(&locks, inode)).unwrap_or_default();
        let others = pids.into_iter().filter(|pid| !own.contains(&Some(*pid)));
        Holders { agent, readers: others.map(|pid| Reader { pid, program: program(pid) }).collect() }
    }
}

/// A lock as `/proc/locks` has it (proc(5)).
struct Held<'l> {
    kind: &'l str,
    access: &'l str,
    pid: u32,
    inode: u64,
    from: u64,
    to: u64,
}

/// The locks that are held; those that are only waited for stand behind an arrow. The device is left out:
/// that of a stacked file system is not the one that stat(2) tells.
fn held(locks: &str) -> impl Iterator<Item = Held<'_>> {
    locks.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, _, access) = (words.next()?, words.next()?, words.next()?);
        let pid = words.next()?.parse().ok().filter(|pid| 0 < *pid)?;
        let inode = words.next()?.rsplit(':').next()?.parse().ok()?;
        let from = words.next()?.parse().ok()?;
        let to = words.next().map_or(u64::MAX, |to| to.parse().unwrap_or(u64::MAX));
        Some(Held { kind, access, pid, inode, from, to })
    })
}

/// Who holds the lock file of this inode.
fn writer(locks: &str, inode: u64) -> Option<u32> {
    held(locks).find(|it| it.kind == "FLOCK" && it.access == "WRITE" && it.inode == inode).map(|it| it.pid)
}

/// Who holds a read mark in the -shm file of this inode.
fn readers(locks: &str, inode: u64) -> BTreeSet<u32> {
    let is_mark = |it: &Held<'_>| it.from <= *READ_MARKS.end() && *READ_MARKS.start() <= it.to;
    let readers = held(locks)
        .filter(|it| it.kind == "POSIX" && it.access == "READ" && it.inode == inode && is_mark(it));
    readers.map(|it| it.pid).collect()
}

fn program(pid: u32) -> Option<String> {
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
";

    #[test]
    fn only_who_holds_a_read_mark_of_the_file_reads_and_only_a_held_lock_counts() {
        assert_eq!(readers(LOCKS, 77).into_iter().collect::<Vec<_>>(), [4711, 4715]);
        assert_eq!(readers(LOCKS, 78).into_iter().collect::<Vec<_>>(), [4714]);
        assert_eq!(readers(LOCKS, 79).len(), 0);
        assert_eq!(writer(LOCKS, 99), Some(815));
        assert_eq!(writer(LOCKS, 98), None);
        assert_eq!((readers("", 77).len(), writer("nonsense\n\n", 99)), (0, None));
    }
}
