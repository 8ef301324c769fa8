//! `verify` detects every change to packages and names the file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use halosync::export::{ExportError, VerifyOptions, VerifyProblem, VerifyReport, verify};

use crate::export_env::{ExportEnv, read_files, ticket_row};

/// A chain of three packages, and a snapshot.
fn export_files() -> (ExportEnv, BTreeMap<PathBuf, Vec<u8>>) {
    let env = ExportEnv::new("[export]\nconsumer = \"c\"");
    for edit in 0..3 {
        env.store_rows(&[ticket_row(1, &format!("edit {edit}")), ticket_row(2 + edit, "new")]);
        let gzip: &[&str] = if edit == 1 { &["--gzip"] } else { &[] };
        env.run_ok(&[&["export", "delta"][..], gzip].concat());
    }
    env.run_ok(&["export", "snapshot", "--format", "jsonl"]);
    let mut files = read_files(&env.path("export"));
    // It has no part in what a consumer verifies.
    files.retain(|path, _| !path.starts_with("positions"));
    assert_eq!(files.len(), 6 + 9, "{:?}", files.keys());
    (env, files)
}

fn verify_all(folder: &Path, expect_to: Option<i64>) -> Result<VerifyReport, ExportError> {
    verify(folder, &VerifyOptions { expect_to, ..VerifyOptions::default() })
}

/// The report of `verify` on a changed copy of the files.
fn verify_changed(
    files: &BTreeMap<PathBuf, Vec<u8>>,
    change: impl FnOnce(&mut BTreeMap<PathBuf, Vec<u8>>),
) -> VerifyReport {
    let mut changed = files.clone();
    change(&mut changed);
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in &changed {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let mut report = verify_all(folder.path(), None).unwrap();
    for finding in &mut report.findings {
        finding.path = finding.path.strip_prefix(folder.path()).unwrap().to_owned();
    }
    report
}

fn assert_named(report: &VerifyReport, path: &Path, problems: &[VerifyProblem], context: &str) {
    let named = report.findings.iter().any(|it| it.path == path && problems.contains(&it.problem));
    assert!(named, "{context}: {} is not named as {problems:?}: {:?}", path.display(), report.findings);
}

fn packages(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<PathBuf> {
    let deltas = files.keys().filter(|path| path.starts_with("deltas"));
    deltas.filter(|path| !path.to_str().unwrap().ends_with(".manifest")).cloned().collect()
}

fn manifest_of(data: &Path) -> PathBuf {
    let name = data.file_name().unwrap().to_str().unwrap();
    data.with_file_name(format!("_{}.manifest", name.split('.').next().unwrap()))
}

#[test]
fn untouched_packages_have_no_findings() {
    let (_env, files) = export_files();
    let report = verify_changed(&files, |_| {});
    assert_eq!(report.findings, []);
    let chain = &report.chains[0];
    assert_eq!((chain.packages, chain.from_seq, chain.to_seq, chain.rows), (3, 0, 6, 6));
}

#[test]
fn every_changed_byte_is_detected_with_its_file() {
    let (env, files) = export_files();
    let export = env.path("export");
    for (name, bytes) in &files {
        let path = export.join(name);
        let file = File::options().write(true).open(&path).unwrap();
        for (offset, byte) in bytes.iter().enumerate() {
            for bit in [0x01, 0x20] {
                file.write_all_at(&[byte ^ bit], offset as u64).unwrap();
                let report = verify_all(path.parent().unwrap(), None).unwrap();
                let named = report.findings.iter().any(|it| it.path == path);
                assert!(named, "byte {offset} of {} with bit {bit:#x}: {report:?}", name.display());
            }
            file.write_all_at(&[*byte], offset as u64).unwrap();
        }
    }
    assert_eq!(verify_all(&export, None).unwrap().findings, []);
}

#[test]
fn every_truncation_and_addition_is_detected() {
    let (env, files) = export_files();
    let export = env.path("export");
    for (name, bytes) in &files {
        let path = export.join(name);
        let assert_detected = |context: &str| {
            let report = verify_all(path.parent().unwrap(), None).unwrap();
            let named = report.findings.iter().any(|it| it.path == path);
            assert!(named, "{} {context}: {report:?}", name.display());
        };
        fs::write(&path, [bytes.as_slice(), b"\n"].concat()).unwrap();
        assert_detected("with a byte more");
        let file = File::options().write(true).open(&path).unwrap();
        for length in (0..bytes.len() as u64).rev() {
            file.set_len(length).unwrap();
            assert_detected(&format!("with {length} bytes"));
        }
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn every_missing_or_renamed_file_is_detected() {
    let (_env, files) = export_files();
    for path in files.keys() {
        let report = verify_changed(&files, |files| drop(files.remove(path)));
        // A package without its manifest is named by its data file.
        let data = packages(&files).into_iter().find(|data| manifest_of(data) == *path);
        assert_named(&report, data.as_ref().unwrap_or(path), &[VerifyProblem::Missing], "gone");

        let other = path.with_file_name(format!("other-{}", path.file_name().unwrap().to_str().unwrap()));
        let report = verify_changed(&files, |files| {
            let bytes = files.remove(path).unwrap();
            files.insert(other.clone(), bytes);
        });
        assert_named(&report, &other, &[VerifyProblem::Foreign], "renamed");
        assert!(1 < report.findings.len(), "{report:?}");
    }
}

#[test]
fn every_swap_of_files_is_detected() {
    let (_env, files) = export_files();
    let paths: Vec<_> = files.keys().collect();
    for (position, one) in paths.iter().enumerate() {
        for other in paths.iter().skip(position + 1).filter(|other| files[**other] != files[*one]) {
            let report = verify_changed(&files, |files| {
                let (left, right) = (files[*one].clone(), files[*other].clone());
                files.insert((*one).clone(), right);
                files.insert((*other).clone(), left);
            });
            // A data file whose manifest has another content cannot be checked.
            let is_manifest = |path: &Path| path.to_str().unwrap().ends_with("manifest");
            let both = is_manifest(one) == is_manifest(other) || one.parent() != other.parent();
            for path in [one, other].into_iter().filter(|path| both || is_manifest(path)) {
                let problems = [
                    VerifyProblem::Edited,
                    VerifyProblem::Empty,
                    VerifyProblem::Foreign,
                    VerifyProblem::Missing,
                ];
                assert_named(&report, path, &problems, "swapped");
            }
        }
    }
    // Two packages swapped as a whole.
    let [first, _, last] = packages(&files).try_into().unwrap();
    let report = verify_changed(&files, |files| {
        for (one, other) in [(first.clone(), last.clone()), (manifest_of(&first), manifest_of(&last))] {
            let (left, right) = (files[&one].clone(), files[&other].clone());
            files.insert(one, right);
            files.insert(other, left);
        }
    });
    for path in [&first, &last] {
        assert_named(&report, &manifest_of(path), &[VerifyProblem::Foreign], "packages swapped");
    }
}

#[test]
fn missing_package_is_a_gap_or_a_missing_end() {
    let (env, files) = export_files();
    let [first, middle, last] = packages(&files).try_into().unwrap();
    let without = |data: &Path| {
        verify_changed(&files, |files| {
            files.remove(data).unwrap();
            files.remove(&manifest_of(data)).unwrap();
        })
    };
    let report = without(&middle);
    assert_named(&report, &manifest_of(&last), &[VerifyProblem::Gap], "the middle");
    let range = middle.file_stem().unwrap().to_str().unwrap().split('.').next().unwrap();
    assert!(report.findings[0].message.contains(range), "{report:?} does not name {range}");
    // The oldest package may have expired, so only the start of the chain changes.
    assert_eq!(without(&first).chains[0].from_seq, 2);

    let consumer = env.deltas("c");
    for path in [last.clone(), manifest_of(&last)] {
        fs::remove_file(env.path("export").join(path)).unwrap();
    }
    assert_eq!(verify_all(&consumer, None).unwrap().findings, []);
    assert_eq!(verify_all(&consumer, Some(4)).unwrap().findings, []);
    let report = verify_all(&consumer, Some(6)).unwrap();
    assert_named(&report, &consumer, &[VerifyProblem::Missing], "the newest");
    let result = env.run_json(&["export", "verify", consumer.to_str().unwrap(), "--expect-to", "6"]);
    assert_eq!(result.status, Some(65));
    assert!(verify_all(&env.path("nowhere"), Some(6)).unwrap_err().to_string().contains("no package"));
}

#[test]
fn expect_to_is_checked_against_the_last_change() {
    let (env, _) = export_files();
    let (export, last) = (env.path("export"), env.last_seq());
    let problems = |expected| -> Vec<VerifyProblem> {
        let report = verify_all(&export, Some(expected)).unwrap();
        report.findings.iter().map(|finding| finding.problem).collect()
    };
    assert_eq!(problems(last), []);
    fs::create_dir(export.join("superseded")).unwrap();
    fs::rename(export.join("deltas"), export.join("superseded/deltas")).unwrap();
    assert_eq!(problems(last), [], "the snapshot reaches it");
    assert_eq!(problems(last + 1), [VerifyProblem::Missing], "the snapshot does not reach it");
    fs::remove_dir_all(export.join("snapshots")).unwrap();
    assert_eq!(problems(last), [VerifyProblem::Missing], "superseded packages do not count");
}

#[test]
fn foreign_and_repeated_packages_are_detected() {
    let (env, files) = export_files();
    // The same changes as one package, from a chain that started again.
    env.run_ok(&["export", "forget", "--consumer", "c"]);
    env.run_ok(&["export", "delta"]);
    let again = read_files(&env.path("export/deltas"));
    env.run_ok(&["export", "delta", "--consumer", "other"]);
    let other = read_files(&env.path("export/deltas/other"));
    let of = |name: &str| Path::new("deltas/c").join(name);
    let report = verify_changed(&files, |files| {
        files.extend(again.iter().map(|(name, bytes)| (Path::new("deltas").join(name), bytes.clone())));
    });
    let whole = of("_000000000000-000000000006.manifest");
    assert!(report.findings.iter().any(|it| it.problem == VerifyProblem::Repeat), "{report:?}");
    assert!(!files.contains_key(&whole) && report.chains[0].packages == 4);
    let report = verify_changed(&files, |files| {
        files.retain(|path, _| {
            !path.starts_with("deltas/c") || path.to_str().unwrap().contains("000000000000-")
        });
        files.extend(other.iter().map(|(name, bytes)| (Path::new("deltas/c").join(name), bytes.clone())));
    });
    assert_named(&report, &whole, &[VerifyProblem::Foreign], "another consumer's");
    let report = verify_changed(&files, |files| drop(files.insert(of("notes.txt"), b"hello".to_vec())));
    assert_named(&report, &of("notes.txt"), &[VerifyProblem::Foreign], "another file");
}
