//! Names of package files, such as `000000004200-000000004211.csv.gz` and `_000000004200-000000004211.manifest`, and
//! of snapshots, such as `2026-11-22T120000Z-seq000000004211`.
//!
//! A manifest begins with `_` and does not have the extension of a data format, so that neither a glob such as
//! `*.json` nor an engine that reads a folder takes it for data.

use std::fmt;

use chrono::TimeDelta;

use crate::config::FormatOptions;
use crate::ticket::Timestamp;

/// Name of a snapshot's manifest.
pub(super) const MANIFEST: &str = "_manifest";

/// Before and after the range in the name of a package's manifest.
const MANIFEST_PREFIX: char = '_';
const MANIFEST_SUFFIX: &str = ".manifest";

/// Separates the time from the sequence number in the name of a snapshot.
const SEQ_SEPARATOR: &str = "-seq";

/// Before the number of a data file, where a package has several.
const PART_PREFIX: &str = "-p";

/// Folder of the reference tables, below that of a consumer.
pub const REFERENCE_FOLDER: &str = "reference";

/// Range of sequence numbers of a package; empty where it has nothing but reference tables. Ranges sort in the order of their packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeqRange {
    /// Lower end, exclusive.
    pub from: i64,
    /// Upper end, inclusive.
    pub to: i64,
}

/// Kind of a package file, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Data; the options have only format and compression.
    Data(FormatOptions),
    Manifest,
}

impl SeqRange {
    /// Returns the name of the data file.
    #[must_use]
    pub fn data_file(self, options: FormatOptions) -> String {
        format!("{self}.{}", options.extension())
    }

    /// Returns the name of one of several data files of a package; the first is number 1.
    #[must_use]
    pub fn part_file(self, number: usize, options: FormatOptions) -> String {
        format!("{self}{PART_PREFIX}{number:02}.{}", options.extension())
    }

    /// Returns the name of the file of a reference table, with its folders.
    #[must_use]
    pub fn reference_file(self, table: &str, options: FormatOptions) -> String {
        format!("{REFERENCE_FOLDER}/{table}/{}", self.data_file(options))
    }

    /// Returns the name of the manifest.
    #[must_use]
    pub fn manifest_file(self) -> String {
        format!("{MANIFEST_PREFIX}{self}{MANIFEST_SUFFIX}")
    }

    fn parse(text: &str) -> Option<SeqRange> {
        let (from, to) = text.split_once('-')?;
        let range = SeqRange { from: from.parse().ok()?, to: to.parse().ok()? };
        // Only the exact form: `1-2` and `+00000000001-…` are not written by halosync.
        (range.to_string() == text && range.from <= range.to).then_some(range)
    }
}

impl fmt::Display for SeqRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:012}-{:012}", self.from, self.to)
    }
}

/// Returns the number in the name of one of several data files of a package.
pub(super) fn part_number(name: &str) -> Option<usize> {
    name.split_once('.')?.0.split_once(PART_PREFIX)?.1.parse().ok()
}

/// Splits the name of the file of a reference table into the table and the name in its folder.
#[must_use]
pub fn reference_name(name: &str) -> Option<(&str, &str)> {
    let (table, name) = name.strip_prefix(REFERENCE_FOLDER)?.strip_prefix('/')?.split_once('/')?;
    is_table(table).then_some((table, name))
}

/// Whether a text can be the name of a table.
pub(super) fn is_table(name: &str) -> bool {
    let may_be_in_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit();
    !name.is_empty() && name.bytes().all(may_be_in_name)
}

/// Parses the name of a package file, that of a reference table with its folders; `None` for any other name.
pub(super) fn parse_file_name(name: &str) -> Option<(SeqRange, FileKind)> {
    if let Some((_, name)) = reference_name(name) {
        return parse_file_name(name).filter(|(_, kind)| *kind != FileKind::Manifest);
    }
    if let Some(rest) = name.strip_prefix(MANIFEST_PREFIX) {
        return Some((SeqRange::parse(rest.strip_suffix(MANIFEST_SUFFIX)?)?, FileKind::Manifest));
    }
    let (stem, extension) = name.split_once('.')?;
    let options = FormatOptions::from_extension(extension)?;
    let range = SeqRange::parse(stem.split_once(PART_PREFIX).map_or(stem, |(range, _)| range))?;
    // Only the exact form is written by halosync.
    let part = stem.split_once(PART_PREFIX).map(|(_, number)| number.parse().ok());
    let is_exact = match part {
        None => true,
        Some(number) => number.is_some_and(|number| 0 < number && range.part_file(number, options) == name),
    };
    is_exact.then_some((range, FileKind::Data(options)))
}

/// Returns names for a snapshot, in order of preference: with its second, then with the following seconds.
pub fn snapshot_names(at: Timestamp, to: i64) -> impl Iterator<Item = String> {
    (0..60).map(move |offset| {
        let second = at.instant() + TimeDelta::seconds(offset);
        format!("{}{SEQ_SEPARATOR}{to:012}", second.format("%Y-%m-%dT%H%M%SZ"))
    })
}

/// Returns the sequence number in the name of a snapshot.
pub(super) fn snapshot_seq(name: &str) -> Option<i64> {
    name.rsplit_once(SEQ_SEPARATOR)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;
    use crate::config::Format;

    #[test]
    fn snapshot_name_contains_its_sequence_number() {
        let at: Timestamp = "2026-11-22T12:00:59.000Z".parse().unwrap();
        let names: Vec<_> = snapshot_names(at, 4_211).take(2).collect();
        assert_eq!(names, ["2026-11-22T120059Z-seq000000004211", "2026-11-22T120100Z-seq000000004211"]);
        assert!(names.iter().all(|name| snapshot_seq(name) == Some(4_211)));
        assert_eq!(snapshot_seq("lost+found"), None);
    }

    #[test]
    fn only_exactly_spelled_file_names_are_parsed() {
        let range = SeqRange { from: 4_200, to: 4_211 };
        assert_eq!(range.manifest_file(), "_000000004200-000000004211.manifest");
        assert_eq!(parse_file_name(&range.manifest_file()), Some((range, FileKind::Manifest)));
        for format in Format::VARIANTS {
            for gzip in [false, true] {
                let options = FormatOptions { gzip, ..FormatOptions::exact(*format) };
                let exists = options.check(|_| true).is_ok();
                let parsed = exists.then_some((range, FileKind::Data(options)));
                let name = range.data_file(options);
                assert_eq!(parse_file_name(&name), parsed, "{name}");
                for number in [1, 99, 100] {
                    let name = range.part_file(number, options);
                    assert_eq!(parse_file_name(&name), parsed, "{name}");
                }
                let name = range.reference_file("agents", options);
                assert_eq!(parse_file_name(&name), parsed, "{name}");
            }
        }
        for name in [
            "000000004200-000000004211",
            "000000004200-000000004211.csv.bz2",
            "000000004200-000000004211.CSV",
            "000000004200-000000004211.parquet.gz",
            "000000004211-000000004200.csv",
            "4200-4211.csv",
            "000000004200-000000004211-p1.csv",
            "000000004200-000000004211-p00.csv",
            "000000004200-000000004211-p+1.csv",
            "000000004200-000000004211-.csv",
            "_000000004200-000000004211-p01.manifest",
            "+00000004200-000000004211.csv",
            "_000000004200-000000004211.manifest.gz",
            "_000000004200-000000004211.manifest.json",
            "_000000004200-000000004211.csv",
            "000000004200-000000004211.manifest",
            "000000004200-000000004211.manifest.json",
            "__000000004200-000000004211.manifest",
            "README",
            "reference/../000000004200-000000004211.csv",
            "reference/agents/_000000004200-000000004211.manifest",
            "reference/000000004200-000000004211.csv",
        ] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }
}
