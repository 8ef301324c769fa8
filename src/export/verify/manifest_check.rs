//! Checks what a manifest says, without looking at its files.

use std::collections::BTreeSet;

use super::report::VerifyProblem;
use crate::config::FormatOptions;
use crate::export::manifest::{Compression, FileRole, Manifest, ManifestFile, PackageKind};
use crate::export::name::{FileKind, SeqRange, is_table, parse_file_name, part_number, reference_name};

/// What is wrong with a manifest, for people.
pub(super) type ManifestProblem = (VerifyProblem, String);

/// Returns the problems of a package's manifest, which has the range of its name, and the files in it that can be
/// looked at.
pub(super) fn check_package(
    manifest: &Manifest,
    range: SeqRange,
) -> (Vec<ManifestProblem>, Vec<&ManifestFile>) {
    let mut problems = Vec::new();
    if manifest.range() != range {
        problems
            .push((VerifyProblem::Foreign, format!("it is the manifest of package {}", manifest.range())));
    }
    let files = check_files(manifest, &mut problems, |file| {
        match parse_file_name(&file.name) {
            Some((named, FileKind::Data(options))) if named == range => described_as(file, options),
            _ => Err((VerifyProblem::Foreign, "it is not the name of its data".to_owned())),
        }?;
        let is_reference = reference_name(&file.name).is_some();
        let role = if is_reference { FileRole::Reference } else { FileRole::Tickets };
        if file.role == role { Ok(()) } else { Err(wrong_role(file)) }
    });
    (problems, files)
}

/// Returns the problems of a snapshot's manifest, and the files in it that can be looked at. `named_seq` is the
/// change in the name of the folder.
pub(super) fn check_snapshot(
    manifest: &Manifest,
    named_seq: Option<i64>,
) -> (Vec<ManifestProblem>, Vec<&ManifestFile>) {
    let mut problems = Vec::new();
    if manifest.kind != PackageKind::Snapshot {
        problems.push((VerifyProblem::Foreign, "it is not the manifest of a snapshot".to_owned()));
    }
    if manifest.from_seq != 0 || manifest.to_seq < 0 {
        let message = format!("a snapshot has no range such as {}", manifest.range());
        problems.push((VerifyProblem::Edited, message));
    }
    if let Some(seq) = named_seq.filter(|seq| *seq != manifest.to_seq) {
        let message = format!("it ends at change {}, but its folder is named {seq}", manifest.to_seq);
        problems.push((VerifyProblem::Foreign, message));
    }
    if manifest.counts.u != 0 || manifest.counts.d != 0 {
        let message = "a snapshot counts its tickets as created, and no others".to_owned();
        problems.push((VerifyProblem::Edited, message));
    }
    let files = check_files(manifest, &mut problems, |file| {
        let parts = file.name.split_once('.').filter(|(table, _)| is_table(table));
        let parsed =
            parts.and_then(|(table, extension)| Some((table, FormatOptions::from_extension(extension)?)));
        let Some((table, options)) = parsed else {
            return Err((VerifyProblem::Foreign, "it is not the name of a table's file".to_owned()));
        };
        described_as(file, options)?;
        if file.role == FileRole::of_table(table) { Ok(()) } else { Err(wrong_role(file)) }
    });
    (problems, files)
}

/// Checks the list of files; `check` looks at each entry.
fn check_files<'a>(
    manifest: &'a Manifest,
    problems: &mut Vec<ManifestProblem>,
    check: impl Fn(&ManifestFile) -> Result<(), ManifestProblem>,
) -> Vec<&'a ManifestFile> {
    let (mut names, mut usable) = (BTreeSet::new(), Vec::new());
    for file in &manifest.files {
        if !names.insert(&file.name) {
            problems.push((VerifyProblem::Repeat, format!("it lists {} twice", file.name)));
        } else if let Err((problem, message)) = check(file) {
            problems.push((problem, format!("it lists {:?}: {message}", file.name)));
        } else {
            usable.push(file);
        }
    }
    let of_tickets: Vec<_> = manifest.files.iter().filter(|file| file.role == FileRole::Tickets).collect();
    match of_tickets.as_slice() {
        [] => problems.push((VerifyProblem::Empty, "it lists no file with tickets".to_owned())),
        files if 1 < files.len() && !are_parts(files) => {
            if names.len() == manifest.files.len() {
                problems.push((VerifyProblem::Repeat, "it lists several files with tickets".to_owned()));
            }
        }
        files => {
            let counts = manifest.counts;
            let total = counts.c.saturating_add(counts.u).saturating_add(counts.d);
            let rows = total_rows(files.iter().copied());
            if total != rows {
                let message = format!("its counts add up to {total}, but it lists {rows} rows");
                problems.push((VerifyProblem::Edited, message));
            }
        }
    }
    usable
}

/// Whether files are the numbered parts of one package, in order and none left out.
fn are_parts(files: &[&ManifestFile]) -> bool {
    files.iter().enumerate().all(|(index, file)| part_number(&file.name) == Some(index + 1))
}

/// Checks that the extension of a file is that of its format and compression.
fn described_as(file: &ManifestFile, named: FormatOptions) -> Result<(), ManifestProblem> {
    if (file.format, file.compression) == (named.format, Compression::of(named)) {
        return Ok(());
    }
    Err((VerifyProblem::Edited, "its format and compression are not those of its name".to_owned()))
}

fn wrong_role(file: &ManifestFile) -> ManifestProblem {
    (VerifyProblem::Edited, format!("it has the role {}", file.role.as_str()))
}

/// The rows in data files; a forged manifest may say any number.
pub(super) fn total_rows<'f>(files: impl IntoIterator<Item = &'f ManifestFile>) -> u64 {
    files.into_iter().fold(0, |sum, file| sum.saturating_add(file.rows))
}
