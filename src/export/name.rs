//! Names: of a package's files, `000000004200-000000004211.csv.gz` and the manifest beside it, and of snapshots,
//! `2026-11-22T120000Z-seq000000004211`.

use std::fmt;

use chrono::TimeDelta;

use crate::config::{Format, FormatOptions};
use crate::ticket::Timestamp;

/// The name of a snapshot's manifest, and how that of a package's ends.
pub(super) const MANIFEST: &str = "manifest.json";

/// What stands before the change in the name of a snapshot.
const SEQ_SEPARATOR: &str = "-seq";

/// The range of a package. Ranges sort as their packages follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeqRange {
    /// The lower end, not in it.
    pub from: i64,
    /// The upper end, in it.
    pub to: i64,
}

/// What a file of a package is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Data { format: Format, gzip: bool },
    Manifest,
}

impl SeqRange {
    /// The name of its data file.
    #[must_use]
    pub fn data_file(self, options: FormatOptions) -> String {
        format!("{self}.{}", options.extension())
    }

    /// The name of its manifest.
    #[must_use]
    pub fn manifest_file(self) -> String {
        format!("{self}.{MANIFEST}")
    }

    fn parse(text: &str) -> Option<SeqRange> {
        let (from, to) = text.split_once('-')?;
        let range = SeqRange { from: from.parse().ok()?, to: to.parse().ok()? };
        // One spelling only: `1-2` and `+00000000001-…` are names of other programs.
        (range.to_string() == text && range.from < range.to).then_some(range)
    }
}

impl fmt::Display for SeqRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:012}-{:012}", self.from, self.to)
    }
}

/// Which part of which package a file is; `None` for a name that no package has.
pub(super) fn parse_file_name(name: &str) -> Option<(SeqRange, FileKind)> {
    let (range, extension) = name.split_once('.')?;
    let range = SeqRange::parse(range)?;
    if extension == MANIFEST {
        return Some((range, FileKind::Manifest));
    }
    let (format, gzip) = extension.strip_suffix(".gz").map_or((extension, false), |base| (base, true));
    Some((range, FileKind::Data { format: Format::parse(format)?, gzip }))
}

/// The names that a snapshot may bear: its second, or the next ones where that is taken.
pub fn snapshot_names(at: Timestamp, to: i64) -> impl Iterator<Item = String> {
    (0..60).map(move |offset| {
        let second = at.instant() + TimeDelta::seconds(offset);
        format!("{}{SEQ_SEPARATOR}{to:012}", second.format("%Y-%m-%dT%H%M%SZ"))
    })
}

/// The change that a snapshot is of, by its name.
pub(super) fn snapshot_seq(name: &str) -> Option<i64> {
    name.rsplit_once(SEQ_SEPARATOR)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_name_contains_its_sequence_number() {
        let at = Timestamp::parse("2026-11-22T12:00:59.000Z").unwrap();
        let names: Vec<_> = snapshot_names(at, 4_211).take(2).collect();
        assert_eq!(names, ["2026-11-22T120059Z-seq000000004211", "2026-11-22T120100Z-seq000000004211"]);
        assert!(names.iter().all(|name| snapshot_seq(name) == Some(4_211)));
        assert_eq!(snapshot_seq("lost+found"), None);
    }

    #[test]
    fn only_exactly_spelled_file_names_are_parsed() {
        let range = SeqRange { from: 4_200, to: 4_211 };
        assert_eq!(range.manifest_file(), "000000004200-000000004211.manifest.json");
        assert_eq!(parse_file_name(&range.manifest_file()), Some((range, FileKind::Manifest)));
        for format in Format::ALL {
            for gzip in [false, true] {
                let name = range.data_file(FormatOptions { gzip, ..FormatOptions::exact(format) });
                assert_eq!(parse_file_name(&name), Some((range, FileKind::Data { format, gzip })), "{name}");
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
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }
}
