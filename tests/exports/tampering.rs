//! Whatever is done to packages on their way, `verify` sees it and names the file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use halosync::export::{VerifyProblem, VerifyReport, verify};

use crate::desk::{Desk, files, ticket};

/// A chain of three packages and a snapshot, each in a folder of its own.
fn made() -> (Desk, BTreeMap<PathBuf, Vec<u8>>) {
    let desk = Desk::new("[export]\nconsumer = \"c\"");
    for edit in 0..3 {
        desk.apply(&[ticket(1, &format!("edit {edit}")), ticket(2 + edit, "new")]);
        let gzip: &[&str] = if edit == 1 { &["--gzip"] } else { &[] };
        desk.good(&[&["export", "delta"][..], gzip].concat());
    }
    desk.good(&["export", "snapshot", "--format", "jsonl"]);
    let files = files(&desk.path("export"));
    assert_eq!(files.len(), 6 + 6, "{:?}", files.keys());
    (desk, files)
}

/// What is found when `done` was done to a copy of the files.
fn found(
    there: &BTreeMap<PathBuf, Vec<u8>>,
    done: impl FnOnce(&mut BTreeMap<PathBuf, Vec<u8>>),
) -> VerifyReport {
    let mut changed = there.clone();
    done(&mut changed);
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in &changed {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let mut verdict = verify(folder.path(), None).unwrap();
    for finding in &mut verdict.findings {
        finding.path = finding.path.strip_prefix(folder.path()).unwrap().to_owned();
    }
    verdict
}

fn assert_named(verdict: &VerifyReport, path: &Path, problems: &[VerifyProblem], what: &str) {
    let named = verdict.findings.iter().any(|it| it.path == path && problems.contains(&it.problem));
    assert!(named, "{what}: {} is not named as {problems:?}: {:?}", path.display(), verdict.findings);
}

fn packages(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<PathBuf> {
    let deltas = files.keys().filter(|path| path.starts_with("deltas"));
    deltas.filter(|path| !path.to_str().unwrap().ends_with(".manifest.json")).cloned().collect()
}

fn manifest_of(data: &Path) -> PathBuf {
    let name = data.file_name().unwrap().to_str().unwrap();
    data.with_file_name(format!("{}.manifest.json", name.split('.').next().unwrap()))
}

#[test]
fn what_nobody_touched_is_sound() {
    let (_desk, files) = made();
    let verdict = found(&files, |_| {});
    assert_eq!(verdict.findings, []);
    let chain = &verdict.chains[0];
    assert_eq!((chain.packages, chain.from_seq, chain.to_seq, chain.rows), (3, 0, 6, 6));
}

#[test]
fn every_changed_byte_is_seen_and_its_file_named() {
    let (desk, files) = made();
    let export = desk.path("export");
    for (name, bytes) in &files {
        let path = export.join(name);
        let file = File::options().write(true).open(&path).unwrap();
        for (place, byte) in bytes.iter().enumerate() {
            for bit in [0x01, 0x20] {
                file.write_all_at(&[byte ^ bit], place as u64).unwrap();
                let verdict = verify(path.parent().unwrap(), None).unwrap();
                let named = verdict.findings.iter().any(|it| it.path == path);
                assert!(named, "byte {place} of {} with bit {bit:#x}: {verdict:?}", name.display());
            }
            file.write_all_at(&[*byte], place as u64).unwrap();
        }
    }
    assert_eq!(verify(&export, None).unwrap().findings, []);
}

#[test]
fn every_truncation_and_every_addition_is_seen() {
    let (desk, files) = made();
    let export = desk.path("export");
    for (name, bytes) in &files {
        let path = export.join(name);
        let assert_seen = |what: &str| {
            let verdict = verify(path.parent().unwrap(), None).unwrap();
            let named = verdict.findings.iter().any(|it| it.path == path);
            assert!(named, "{} {what}: {verdict:?}", name.display());
        };
        fs::write(&path, [bytes.as_slice(), b"\n"].concat()).unwrap();
        assert_seen("with a byte more");
        let file = File::options().write(true).open(&path).unwrap();
        for length in (0..bytes.len() as u64).rev() {
            file.set_len(length).unwrap();
            assert_seen(&format!("with {length} bytes"));
        }
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn every_file_that_is_gone_or_renamed_is_seen() {
    let (_desk, files) = made();
    for path in files.keys() {
        let verdict = found(&files, |files| drop(files.remove(path)));
        // Of a delta without its manifest it is the data that is named.
        let data = packages(&files).into_iter().find(|data| manifest_of(data) == *path);
        assert_named(&verdict, data.as_ref().unwrap_or(path), &[VerifyProblem::Missing], "gone");

        let other = path.with_file_name(format!("other-{}", path.file_name().unwrap().to_str().unwrap()));
        let verdict = found(&files, |files| {
            let bytes = files.remove(path).unwrap();
            files.insert(other.clone(), bytes);
        });
        assert_named(&verdict, &other, &[VerifyProblem::Foreign], "renamed");
        assert!(1 < verdict.findings.len(), "{verdict:?}");
    }
}

#[test]
fn every_swap_is_seen() {
    let (_desk, files) = made();
    let paths: Vec<_> = files.keys().collect();
    for (place, one) in paths.iter().enumerate() {
        for other in paths.iter().skip(place + 1).filter(|other| files[**other] != files[*one]) {
            let verdict = found(&files, |files| {
                let (left, right) = (files[*one].clone(), files[*other].clone());
                files.insert((*one).clone(), right);
                files.insert((*other).clone(), left);
            });
            // What lies beside a manifest that holds something else cannot be judged.
            let is_manifest = |path: &Path| path.to_str().unwrap().ends_with("manifest.json");
            let both = is_manifest(one) == is_manifest(other) || one.parent() != other.parent();
            for path in [one, other].into_iter().filter(|path| both || is_manifest(path)) {
                let problems = [VerifyProblem::Edited, VerifyProblem::Foreign, VerifyProblem::Missing];
                assert_named(&verdict, path, &problems, "swapped");
            }
        }
    }
    // Whole packages under each other's names.
    let [first, _, last] = packages(&files).try_into().unwrap();
    let verdict = found(&files, |files| {
        for (one, other) in [(first.clone(), last.clone()), (manifest_of(&first), manifest_of(&last))] {
            let (left, right) = (files[&one].clone(), files[&other].clone());
            files.insert(one, right);
            files.insert(other, left);
        }
    });
    for path in [&first, &last] {
        assert_named(&verdict, &manifest_of(path), &[VerifyProblem::Foreign], "packages swapped");
    }
}

#[test]
fn a_package_that_is_gone_whole_is_a_gap_and_at_the_end_what_was_expected() {
    let (desk, files) = made();
    let [first, middle, last] = packages(&files).try_into().unwrap();
    let without = |data: &Path| {
        found(&files, |files| {
            files.remove(data).unwrap();
            files.remove(&manifest_of(data)).unwrap();
        })
    };
    let verdict = without(&middle);
    assert_named(&verdict, &manifest_of(&last), &[VerifyProblem::Gap], "the middle");
    let range = middle.file_stem().unwrap().to_str().unwrap().split('.').next().unwrap();
    assert!(verdict.findings[0].message.contains(range), "{verdict:?} does not name {range}");
    // The oldest may have aged out; it is told where the chain begins.
    assert_eq!(without(&first).chains[0].from_seq, 2);

    let consumer = desk.deltas("c");
    for path in [last.clone(), manifest_of(&last)] {
        fs::remove_file(desk.path("export").join(path)).unwrap();
    }
    assert_eq!(verify(&consumer, None).unwrap().findings, []);
    assert_eq!(verify(&consumer, Some(4)).unwrap().findings, []);
    let verdict = verify(&consumer, Some(6)).unwrap();
    assert_named(&verdict, &consumer, &[VerifyProblem::Missing], "the newest");
    let output = desk.run(&["export", "verify", consumer.to_str().unwrap(), "--expect-to", "6"]);
    assert_eq!(output.status.code(), Some(65));
    assert!(verify(&desk.path("nowhere"), Some(6)).unwrap_err().to_string().contains("no package"));
}

#[test]
fn what_is_left_reaches_a_change_or_the_folder_does_not() {
    let (desk, _) = made();
    let (export, last) = (desk.path("export"), desk.last_seq());
    let problems = |expected| -> Vec<VerifyProblem> {
        let verdict = verify(&export, Some(expected)).unwrap();
        verdict.findings.iter().map(|finding| finding.problem).collect()
    };
    assert_eq!(problems(last), []);
    fs::create_dir(export.join("superseded")).unwrap();
    fs::rename(export.join("deltas"), export.join("superseded/deltas")).unwrap();
    assert_eq!(problems(last), [], "the snapshot reaches it");
    assert_eq!(problems(last + 1), [VerifyProblem::Missing], "the snapshot does not reach it");
    fs::remove_dir_all(export.join("snapshots")).unwrap();
    assert_eq!(problems(last), [VerifyProblem::Missing], "what is superseded counts for nothing");
}

#[test]
fn packages_of_others_and_repeated_ones_are_seen() {
    let (desk, files) = made();
    // The same changes as one package, from a chain that was begun again.
    desk.good(&["export", "forget", "--consumer", "c"]);
    desk.good(&["export", "delta"]);
    let again = crate::desk::files(&desk.path("export/deltas"));
    desk.good(&["export", "delta", "--consumer", "other"]);
    let other = crate::desk::files(&desk.path("export/deltas/other"));
    let of = |name: &str| Path::new("deltas/c").join(name);
    let verdict = found(&files, |files| {
        files.extend(again.iter().map(|(name, bytes)| (Path::new("deltas").join(name), bytes.clone())));
    });
    let whole = of("000000000000-000000000006.manifest.json");
    assert!(verdict.findings.iter().any(|it| it.problem == VerifyProblem::Repeat), "{verdict:?}");
    assert!(!files.contains_key(&whole) && verdict.chains[0].packages == 4);
    let verdict = found(&files, |files| {
        files.retain(|path, _| {
            !path.starts_with("deltas/c") || path.to_str().unwrap().contains("000000000000-")
        });
        files.extend(other.iter().map(|(name, bytes)| (Path::new("deltas/c").join(name), bytes.clone())));
    });
    assert_named(&verdict, &whole, &[VerifyProblem::Foreign], "another consumer's");
    let verdict = found(&files, |files| drop(files.insert(of("notes.txt"), b"hello".to_vec())));
    assert_named(&verdict, &of("notes.txt"), &[VerifyProblem::Foreign], "a stranger");
}
