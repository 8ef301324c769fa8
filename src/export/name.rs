//! Names: of a package's files, `000000004200-000000004211.csv.gz` and the manifest beside it, and of snapshots,
//! `2026-11-22T120000Z-seq000000004211`.

use std::fmt;

use chrono::TimeDelta;

use crate::config::{Format, Style};
use crate::ticket::Stamp;

/// The name of a snapshot's manifest, and how that of a package's ends.
pub(super) const MANIFEST: &str = "manifest.json";

/// What stands before the change in the name of a snapshot.
const SEQ: &str = "-seq";

/// The range of a package. Ranges sort as their packages follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The lower end, not in it.
    pub from: i64,
    /// The upper end, in it.
    pub to: i64,
}

/// What a file of a package is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Data { format: Format, gzip: bool },
    Manifest,
}

impl Range {
    /// The name of its data file.
    #[must_use]
    pub fn data_file(self, style: Style) -> String {
        format!("{self}.{}", style.ending())
    }

    /// The name of its manifest.
    #[must_use]
    pub fn manifest_file(self) -> String {
        format!("{self}.{MANIFEST}")
    }

    fn read(text: &str) -> Option<Range> {
        let (from, to) = text.split_once('-')?;
        let range = Range { from: from.parse().ok()?, to: to.parse().ok()? };
        // One spelling only: `1-2` and `+00000000001-…` are names of other programs.
        (range.to_string() == text && range.from < range.to).then_some(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:012}-{:012}", self.from, self.to)
    }
}

/// Which part of which package a file is; `None` for a name that no package has.
pub(super) fn part(name: &str) -> Option<(Range, Part)> {
    let (range, ending) = name.split_once('.')?;
    let range = Range::read(range)?;
    if ending == MANIFEST {
        return Some((range, Part::Manifest));
    }
    let (word, gzip) = ending.strip_suffix(".gz").map_or((ending, false), |word| (word, true));
    Some((range, Part::Data { format: Format::parse(word)?, gzip }))
}

/// The names that a snapshot may bear: its second, or the next ones where that is taken.
pub fn snapshot_names(at: Stamp, to: i64) -> impl Iterator<Item = String> {
    (0..60).map(move |later| {
        let second = at.instant() + TimeDelta::seconds(later);
        format!("{}{SEQ}{to:012}", second.format("%Y-%m-%dT%H%M%SZ"))
    })
}

/// The change that a snapshot is of, by its name.
pub(super) fn snapshot_seq(name: &str) -> Option<i64> {
    name.rsplit_once(SEQ)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_snapshot_tells_its_change() {
        let at = Stamp::from_spelled("2026-11-22T12:00:59.000Z").unwrap();
        let names: Vec<_> = snapshot_names(at, 4_211).take(2).collect();
        assert_eq!(names, ["2026-11-22T120059Z-seq000000004211", "2026-11-22T120100Z-seq000000004211"]);
        assert!(names.iter().all(|name| snapshot_seq(name) == Some(4_211)));
        assert_eq!(snapshot_seq("lost+found"), None);
    }

    #[test]
    fn a_name_is_read_only_as_it_is_spelled() {
        let range = Range { from: 4_200, to: 4_211 };
        assert_eq!(range.manifest_file(), "000000004200-000000004211.manifest.json");
        assert_eq!(part(&range.manifest_file()), Some((range, Part::Manifest)));
        for format in Format::ALL {
            for gzip in [false, true] {
                let name = range.data_file(Style { gzip, ..Style::exact(format) });
                assert_eq!(part(&name), Some((range, Part::Data { format, gzip })), "{name}");
            }
        }
        for name in [
            "000000004200-000000004211",
            "000000004200-000000004211.csv.bz2",
            "000000004200-000000004211.CSV",
            "000000004211-000000004200.csv",
            "000000004200-000000004200.csv",
            "4200-4211.csv",
            "+00000004200-000000004211.csv",
            "000000004200-000000004211.manifest.json.gz",
            "README",
        ] {
            assert_eq!(part(name), None, "{name}");
        }
    }
}
