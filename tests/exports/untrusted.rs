//! `export verify` on folders into which anybody may have put anything: special files, links, huge files, and manifests
//! that are whole and lie.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use halosync::export::VerifyProblem;
use halosync::export::{VerifyOptions, VerifyReport, verify};
use serde_json::{Value as Json, json};

use crate::export_env::{ExportEnv, read_files, text, ticket_row};
use crate::support::{file_names, sha256};

/// A file that no memory and no patience suffices for; it takes no space.
const HUGE: u64 = 1 << 40;

const MANIFEST: &str = "deltas/c/_000000000002-000000000004.manifest";
const DATA: &str = "deltas/c/000000000002-000000000004.csv";

/// An export folder with a chain of two packages and a snapshot; the second package has a row of each operation.
struct ExportFolder {
    folder: tempfile::TempDir,
    snapshot: String,
}

impl ExportFolder {
    fn new(options: &[&str]) -> ExportFolder {
        let env = ExportEnv::new("[export]\nconsumer = \"c\"");
        let export = |arguments: &[&str]| env.run_ok(&[&["export"], arguments, options].concat());
        env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "b, \"c\"\r\n{\"_op\":\"d\"}")]);
        export(&["delta"]);
        env.store_rows(&[ticket_row(1, "edited"), ticket_row(3, "new")]);
        export(&["delta"]);
        export(&["snapshot"]);
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in read_files(&env.path("export")) {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let snapshot = file_names(&folder.path().join("snapshots")).remove(0);
        ExportFolder { folder, snapshot }
    }

    /// A file, where `SNAPSHOT` stands for the folder of the snapshot.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name.replace("SNAPSHOT", &format!("snapshots/{}", self.snapshot)))
    }

    /// Changes a manifest and makes its own hash right again.
    fn forge(&self, name: &str, change: impl FnOnce(&mut Json)) {
        let path = self.path(name);
        let mut manifest: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut manifest);
        let zeros = "0".repeat(64);
        manifest["manifest_sha256"] = zeros.as_str().into();
        let unsealed = serde_json::to_string_pretty(&manifest).unwrap();
        fs::write(&path, unsealed.replace(&zeros, &sha256(unsealed.as_bytes()))).unwrap();
    }

    /// Writes other data and makes all hashes right again.
    fn forge_data(&self, data: &str, bytes: &[u8], change: impl FnOnce(&mut Json)) {
        fs::write(self.path(data), bytes).unwrap();
        self.forge(MANIFEST, |manifest| {
            manifest["files"][0]["bytes"] = bytes.len().into();
            manifest["files"][0]["sha256"] = sha256(bytes).into();
            change(manifest);
        });
    }

    fn verify(&self) -> VerifyReport {
        verify(self.folder.path(), &VerifyOptions::default()).unwrap()
    }

    /// Runs the real binary, which is ended if it hangs.
    fn run_verify(&self, arguments: &[&str]) -> (Option<i32>, Json) {
        let output = Command::new("timeout")
            .args(["60", env!("CARGO_BIN_EXE_halosync"), "--json", "export", "verify"])
            .arg(self.folder.path())
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code(), serde_json::from_str(&text(&output.stdout)).unwrap_or_default())
    }
}

fn make_fifo(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn make_link(path: &Path) {
    let target = path.with_file_name("../../elsewhere");
    fs::rename(path, &target).unwrap();
    symlink(target, path).unwrap();
}

fn make_huge(path: &Path) {
    File::options().write(true).open(path).unwrap().set_len(HUGE).unwrap();
}

#[expect(clippy::too_many_lines, reason = "one table")]
#[test]
fn every_kind_of_finding_is_named_with_its_file() {
    use VerifyProblem::{Edited, Empty, Foreign, Gap, Missing, Repeat};
    type Case = (&'static str, fn(&ExportFolder), &'static str, VerifyProblem, &'static str);
    fn member(it: &ExportFolder, name: &str, value: Json) {
        it.forge(MANIFEST, |manifest| manifest[name] = value);
    }
    fn file(it: &ExportFolder, name: &str, value: Json) {
        it.forge(MANIFEST, |manifest| manifest["files"][0][name] = value);
    }
    const SUMS: &str = "SNAPSHOT/SHA256SUMS";
    let cases: &[Case] = &[
        ("no files", |it| member(it, "files", json!([])), MANIFEST, Empty, "no file with tickets"),
        (
            "the same file twice",
            |it| {
                it.forge(MANIFEST, |manifest| {
                    let entry = manifest["files"][0].clone();
                    manifest["files"].as_array_mut().unwrap().push(entry);
                });
            },
            MANIFEST,
            Repeat,
            "twice",
        ),
        ("a file above", |it| file(it, "name", "../secret.csv".into()), MANIFEST, Foreign, "../secret.csv"),
        ("a file below", |it| file(it, "name", "a/b.csv".into()), MANIFEST, Foreign, "a/b.csv"),
        ("a file at the root", |it| file(it, "name", "/etc/passwd".into()), MANIFEST, Foreign, "/etc/passwd"),
        (
            "the data of another package",
            |it| file(it, "name", "000000000000-000000000002.csv".into()),
            MANIFEST,
            Foreign,
            "000000000000-000000000002.csv",
        ),
        ("the manifest as data", |it| file(it, "name", MANIFEST[9..].into()), MANIFEST, Foreign, "manifest"),
        ("another begin", |it| member(it, "from_seq", 1.into()), MANIFEST, Foreign, "000000000001-"),
        ("another end", |it| member(it, "to_seq", 5.into()), MANIFEST, Foreign, "-000000000005"),
        ("a negative begin", |it| member(it, "from_seq", (-1).into()), MANIFEST, Foreign, "package"),
        ("another kind", |it| member(it, "kind", "snapshot".into()), MANIFEST, Foreign, "consumer"),
        ("another lineage", |it| member(it, "lineage", "x".into()), MANIFEST, Foreign, "lineage"),
        ("another consumer", |it| member(it, "consumer", "x".into()), MANIFEST, Foreign, "consumer"),
        ("another role", |it| file(it, "role", "reference".into()), MANIFEST, Edited, "role reference"),
        ("another format", |it| file(it, "format", "json".into()), MANIFEST, Edited, "format"),
        ("another compression", |it| file(it, "compression", "gzip".into()), MANIFEST, Edited, "compression"),
        ("an earlier format", |it| member(it, "format", "halosync/1".into()), MANIFEST, Edited, "halosync/1"),
        ("too many rows", |it| file(it, "rows", 3.into()), DATA, Edited, "rows is 2"),
        ("too few rows", |it| file(it, "rows", 1.into()), DATA, Edited, "more rows than the 1"),
        ("endless rows", |it| file(it, "rows", u64::MAX.into()), DATA, Edited, "rows is 2"),
        (
            "other counts",
            |it| member(it, "counts", json!({ "c": 2, "u": 0, "d": 0 })),
            MANIFEST,
            Edited,
            "2 tickets were created",
        ),
        (
            "counts beyond all numbers",
            |it| member(it, "counts", json!({ "c": u64::MAX, "u": u64::MAX, "d": 1 })),
            MANIFEST,
            Edited,
            "add up",
        ),
        ("a link as data", |it| make_link(&it.path(DATA)), DATA, Foreign, "symbolic link"),
        ("a pipe as data", |it| make_fifo(&it.path(DATA)), DATA, Foreign, "named pipe"),
        (
            "a socket as data",
            |it| {
                fs::remove_file(it.path(DATA)).unwrap();
                UnixListener::bind(it.path(DATA)).unwrap();
            },
            DATA,
            Foreign,
            "socket",
        ),
        (
            "a folder as data",
            |it| {
                fs::remove_file(it.path(DATA)).unwrap();
                fs::create_dir(it.path(DATA)).unwrap();
            },
            DATA,
            Missing,
            "does not exist",
        ),
        ("no data", |it| fs::remove_file(it.path(DATA)).unwrap(), DATA, Missing, "does not exist"),
        ("emptied data", |it| fs::write(it.path(DATA), "").unwrap(), DATA, Empty, "empty"),
        ("huge data", |it| make_huge(&it.path(DATA)), DATA, Edited, "size"),
        ("a link as manifest", |it| make_link(&it.path(MANIFEST)), MANIFEST, Foreign, "symbolic link"),
        ("a pipe as manifest", |it| make_fifo(&it.path(MANIFEST)), MANIFEST, Foreign, "named pipe"),
        ("an emptied manifest", |it| fs::write(it.path(MANIFEST), "").unwrap(), MANIFEST, Empty, "empty"),
        ("a huge manifest", |it| make_huge(&it.path(MANIFEST)), MANIFEST, Edited, "too large"),
        ("no manifest", |it| fs::remove_file(it.path(MANIFEST)).unwrap(), DATA, Missing, "manifest"),
        (
            "a gap",
            |it| {
                let name = |from: u32| format!("deltas/c/_00000000000{from}-000000000004.manifest");
                fs::rename(it.path(&name(2)), it.path(&name(3))).unwrap();
            },
            "deltas/c/_000000000003-000000000004.manifest",
            Gap,
            "000000000002-000000000003",
        ),
        (
            "another file",
            |it| fs::write(it.path("deltas/c/manifest.json"), "").unwrap(),
            "deltas/c/manifest.json",
            Foreign,
            "not the name",
        ),
        (
            "a link to a folder",
            |it| symlink(it.path("snapshots"), it.path("deltas/c/more")).unwrap(),
            "deltas/c/more",
            Foreign,
            "symbolic link",
        ),
        ("a link as checksums", |it| make_link(&it.path(SUMS)), SUMS, Foreign, "symbolic link"),
        ("a pipe as checksums", |it| make_fifo(&it.path(SUMS)), SUMS, Foreign, "named pipe"),
        ("huge checksums", |it| make_huge(&it.path(SUMS)), SUMS, Edited, "does not match"),
        ("emptied checksums", |it| fs::write(it.path(SUMS), "").unwrap(), SUMS, Empty, "does not match"),
        (
            "another role in a snapshot",
            |it| it.forge("SNAPSHOT/_manifest", |it| it["files"][1]["role"] = "custom_fields".into()),
            "SNAPSHOT/_manifest",
            Edited,
            "role custom_fields",
        ),
        (
            "a file above a snapshot",
            |it| it.forge("SNAPSHOT/_manifest", |it| it["files"][2]["name"] = "../statuses.csv".into()),
            "SNAPSHOT/_manifest",
            Foreign,
            "../statuses.csv",
        ),
        (
            "rows of a table in a snapshot",
            |it| it.forge("SNAPSHOT/_manifest", |it| it["files"][6]["rows"] = 7.into()),
            "SNAPSHOT/deleted_tickets.csv",
            Edited,
            "rows is 0, but the manifest says 7",
        ),
        (
            "counts of a snapshot",
            |it| it.forge("SNAPSHOT/_manifest", |it| it["counts"] = json!({ "c": 1, "u": 2, "d": 0 })),
            "SNAPSHOT/_manifest",
            Edited,
            "counts its tickets as created",
        ),
        (
            "a snapshot of another change",
            |it| it.forge("SNAPSHOT/_manifest", |it| it["to_seq"] = 5.into()),
            "SNAPSHOT/_manifest",
            Foreign,
            "named 4",
        ),
        (
            "a note among the positions",
            |it| fs::write(it.path("positions/note.txt"), "").unwrap(),
            "positions/note.txt",
            Foreign,
            "position",
        ),
    ];
    let untouched = ExportFolder::new(&[]).verify();
    assert_eq!((untouched.findings, untouched.notes), (Vec::new(), Vec::new()));
    for (name, change, path, problem, message) in cases {
        let export = ExportFolder::new(&[]);
        change(&export);
        let report = export.verify();
        let path = export.path(path);
        let is_named = report
            .findings
            .iter()
            .any(|it| it.path == path && it.problem == *problem && it.message.contains(message));
        assert!(is_named, "{name}: {:#?}", report.findings);
    }
}

#[test]
fn special_and_huge_files_do_not_stop_the_program() {
    let export = ExportFolder::new(&[]);
    make_fifo(&export.path(DATA));
    make_fifo(&export.path("deltas/c/_000000000000-000000000002.manifest"));
    make_fifo(&export.path("SNAPSHOT/SHA256SUMS"));
    make_fifo(&export.path("deltas/c/.DS_Store"));
    make_huge(&export.path(MANIFEST));
    let (status, report) = export.run_verify(&[]);
    assert_eq!(status, Some(65), "{report:#}");
    let pipes: Vec<_> = report["problems"].as_array().unwrap().iter().map(|it| &it["what"]).collect();
    assert_eq!(pipes.iter().filter(|what| **what == "it is a named pipe").count(), 4, "{report:#}");
}

/// The rows of the second package in each format, and how they are put together.
fn rewritten(format: &str, bytes: &[u8], change: impl Fn(&mut Vec<String>)) -> Vec<u8> {
    let text = text(bytes);
    let (start, separator, end) = match format {
        "csv" => ("", "\r\n", "\r\n"),
        "jsonl" => ("", "\n", "\n"),
        _ => ("[\n", ",\n", "\n]\n"),
    };
    let inner = text.strip_prefix(start).unwrap().strip_suffix(end).unwrap();
    let mut rows: Vec<_> = inner.split(separator).map(ToOwned::to_owned).collect();
    change(&mut rows);
    format!("{start}{}{end}", rows.join(separator)).into_bytes()
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn decompressed(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(bytes), &mut plain).unwrap();
    plain
}

#[expect(clippy::too_many_lines, reason = "one table")]
#[test]
fn rows_are_counted_in_every_format() {
    type Case = (&'static str, fn(&str, Vec<u8>) -> Vec<u8>, Option<&'static str>);
    let cases: &[Case] = &[
        ("the same rows", |_, bytes| bytes, None),
        (
            // Of its characters some are in two pieces of what is read, wherever it begins.
            "a long row",
            |_, bytes| text(&bytes).replacen("edited", &"€".repeat(400_000), 1).into(),
            None,
        ),
        (
            "a row twice",
            |format, bytes| rewritten(format, &bytes, |rows| rows.push(rows[rows.len() - 1].clone())),
            Some("more rows than the 2"),
        ),
        (
            "a row less",
            |format, bytes| rewritten(format, &bytes, |rows| drop(rows.pop())),
            Some("rows is 1, but the manifest says 2"),
        ),
        (
            "an update as a deletion",
            |_, bytes| {
                text(&bytes)
                    .replace("4,u,", "4,d,")
                    .replace("\"_op\":\"u\"", "\"_op\":\"d\"")
                    .replace("3,u,", "3,d,")
                    .into()
            },
            Some("but the data says 1, 0 and 1"),
        ),
        (
            "an unknown operation",
            |_, bytes| text(&bytes).replace("3,u,", "3,x,").replace("\"_op\":\"u\"", "\"_op\":\"x\"").into(),
            Some("`_op` of row 1"),
        ),
        (
            "a change of another package",
            |_, bytes| text(&bytes).replace("3,u,", "2,u,").replace("\"_seq\":3,", "\"_seq\":2,").into(),
            Some("`_seq` of row 1 is 2"),
        ),
        ("no operation", |_, bytes| text(&bytes).replace("_op", "_o").into(), Some("_op")),
        ("bytes behind the rows", |_, bytes| [&bytes[..], b"\"{"].concat(), Some("")),
        ("half of the rows", |_, bytes| bytes[..bytes.len() - 9].to_vec(), Some("")),
        ("nothing", |_, _| Vec::new(), Some("")),
        ("an open quote", |_, bytes| text(&bytes).replacen("edited", "\"edited", 1).into(), Some("")),
        ("a quote", |_, bytes| text(&bytes).replacen("edited", "edi\"ted", 1).into(), Some("")),
        (
            "text behind a closing quote",
            |_, bytes| text(&bytes).replacen("edited", "\"edited\"\"\"x\"\"", 1).into(),
            Some("row 1 is not valid"),
        ),
        (
            "a carriage return",
            |_, bytes| text(&bytes).replacen("edited", "edi\rted", 1).into(),
            Some("row 1"),
        ),
        (
            "another encoding",
            |_, bytes| {
                let at = bytes.windows(6).position(|it| it == b"edited").unwrap();
                [&bytes[..at], b"\xE9", &bytes[at + 1..]].concat()
            },
            Some("it is not valid UTF-8"),
        ),
        ("half of a character", |_, bytes| [&bytes[..], b"\xC3"].concat(), Some("")),
        (
            "a row too few and an empty line",
            |format, bytes| {
                rewritten(format, &bytes, |rows| {
                    rows.pop();
                    rows.push(String::new());
                })
            },
            Some(""),
        ),
        (
            "a row that is no object",
            |format, bytes| rewritten(format, &bytes, |rows| *rows.last_mut().unwrap() = "[\"c\",4]".into()),
            Some("row 2"),
        ),
        (
            "two operations",
            |_, bytes| {
                text(&bytes)
                    .replacen("\"_op\":", "\"_op\":\"c\",\"_op\":", 1)
                    .replacen("3,u,", "3,u,,", 1)
                    .into()
            },
            Some("row 1"),
        ),
    ];
    for format in ["csv", "jsonl", "json"] {
        for gzip in [false, true] {
            let options: &[&str] = if gzip { &["--format", format, "--gzip"] } else { &["--format", format] };
            let export = ExportFolder::new(options);
            let data =
                format!("{}.{format}{}", DATA.split('.').next().unwrap(), if gzip { ".gz" } else { "" });
            let stored = fs::read(export.path(&data)).unwrap();
            let plain = if gzip { decompressed(&stored) } else { stored.clone() };
            let assert_found = |name: &str, bytes: &[u8], expected: Option<&str>| {
                export.forge_data(&data, bytes, |_| {});
                let found = export.verify().findings;
                match expected {
                    None => assert_eq!(found, [], "{options:?}: {name}"),
                    Some(message) => {
                        assert_eq!(found.len(), 1, "{options:?}: {name}: {found:#?}");
                        assert!(found[0].message.contains(message), "{options:?}: {name}: {found:#?}");
                    }
                }
            };
            for (name, change, expected) in cases {
                let bytes = change(format, plain.clone());
                let bytes = if gzip { compressed(&bytes) } else { bytes };
                assert_found(name, &bytes, *expected);
            }
            if gzip {
                let (left, right) = plain.split_at(plain.len() / 2);
                let members = [compressed(left), compressed(right)].concat();
                assert_found("two members", &members, None);
                assert_found("a member more", &[&stored[..], &stored[..]].concat(), Some(""));
                assert_found("bytes behind it", &[&stored[..], b"x"].concat(), Some("bytes follow"));
                assert_found("zeros behind it", &[&stored[..], &[0; 64]].concat(), Some("bytes follow"));
                assert_found("cut", &stored[..stored.len() - 4], Some("gzip"));
                assert_found("no gzip", &plain, Some("gzip"));
            }
        }
    }
}

#[test]
fn wrong_type_in_a_row_is_not_reported_as_invalid_json() {
    for format in ["jsonl", "json"] {
        let export = ExportFolder::new(&["--format", format]);
        let data = format!("{}.{format}", DATA.split('.').next().unwrap());
        let plain = text(&fs::read(export.path(&data)).unwrap());
        for (from, to, fragment) in [
            ("\"_seq\":3,", "\"_seq\":\"3\",", "`_op` or `_seq` of row 1 has the wrong type"),
            ("\"_seq\":3,", "\"_seq\":3.5,", "`_op` or `_seq` of row 1 has the wrong type"),
            ("\"_op\":\"u\"", "\"_op\":1", "`_op` or `_seq` of row 1 has the wrong type"),
            ("\"_op\":\"u\"", "\"_op\":u", "row 1 is not valid JSON"),
        ] {
            assert!(plain.contains(from), "{plain}");
            export.forge_data(&data, plain.replacen(from, to, 1).as_bytes(), |_| {});
            let found = export.verify().findings;
            assert!(found.len() == 1 && found[0].message.contains(fragment), "{format} {to}: {found:#?}");
        }
    }
}

/// Each of them could go on for a terabyte, and hours.
#[test]
fn endless_rows_are_given_up() {
    for format in ["csv", "jsonl", "json"] {
        let export = ExportFolder::new(&["--format", format, "--gzip"]);
        let data = format!("{}.{format}.gz", DATA.split('.').next().unwrap());
        let mut plain = decompressed(&fs::read(export.path(&data)).unwrap());
        let first_line = plain.iter().position(|it| *it == b'\n').unwrap() + 1;
        plain.truncate(if format == "jsonl" { 0 } else { first_line });
        let cases: &[(&str, u8, &str)] = match format {
            "csv" => &[
                ("", b'\n', "row 1"),
                ("", b'x', "64 MiB"),
                ("3,c,\"", b'\n', "64 MiB"),
                ("", b',', "64 MiB"),
            ],
            "jsonl" => &[("", b'\n', "row 1"), ("", b' ', "64 MiB"), ("{\"", b'x', "64 MiB")],
            _ => &[("", b'\n', "64 MiB"), ("{\"", b'x', "64 MiB"), ("{\"_op\":\"", b'c', "64 MiB")],
        };
        let numbers_and_depth: &[(&str, u8, &str)] = if format == "csv" {
            &[]
        } else {
            &[("{\"_seq\":", b'3', "64 MiB"), ("{\"a\":", b'[', "64 MiB")]
        };
        for (start, filling, expected) in cases.iter().chain(numbers_and_depth) {
            let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
            bomb.write_all(&plain).unwrap();
            bomb.write_all(start.as_bytes()).unwrap();
            for _ in 0..65 {
                bomb.write_all(&vec![*filling; 1 << 20]).unwrap();
            }
            export.forge_data(&data, &bomb.finish().unwrap(), |_| {});
            let found = export.verify().findings;
            let case = format!("{format}: {start}{}", char::from(*filling));
            assert!(found.len() == 1 && found[0].message.contains(expected), "{case}: {found:#?}");
        }
    }
}

#[test]
fn files_of_file_managers_are_notes() {
    let export = ExportFolder::new(&[]);
    let left = [
        "deltas/.DS_Store",
        "deltas/c/Thumbs.db",
        "SNAPSHOT/desktop.ini",
        "deltas/c/._000000000002-000000000004.csv",
    ];
    for name in left {
        fs::write(export.path(name), "x").unwrap();
    }
    let (status, report) = export.run_verify(&["--expect-to", "4", "--from-start"]);
    assert_eq!(status, Some(0), "{report:#}");
    assert_eq!((&report["ok"], &report["problems"]), (&json!(true), &json!([])));
    let mut noted: Vec<_> = report["notes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["path"].as_str().unwrap().to_owned())
        .collect();
    noted.sort();
    let mut expected = left.map(|name| export.path(name).display().to_string());
    expected.sort();
    assert_eq!(noted, expected);
    // A folder with nothing else is still an empty one.
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join(".DS_Store"), "x").unwrap();
    assert!(verify(empty.path(), &VerifyOptions::default()).is_err());
}

#[test]
fn from_start_wants_a_chain_that_begins_at_0() {
    let export = ExportFolder::new(&[]);
    assert_eq!(export.run_verify(&["--from-start"]).0, Some(0));
    for name in ["_000000000000-000000000002.manifest", "000000000000-000000000002.csv"] {
        fs::remove_file(export.path("deltas/c").join(name)).unwrap();
    }
    assert_eq!(export.run_verify(&[]).0, Some(0), "the first package may have aged out");
    let (status, report) = export.run_verify(&["--from-start"]);
    assert_eq!(status, Some(65));
    let chain = export.path("deltas/c").display().to_string();
    assert_eq!(
        report["problems"],
        json!([{ "problem": "missing", "path": chain, "what": "it begins after change 2, not at 0" }])
    );
    // Where there is no chain, none begins at 0.
    fs::remove_dir_all(export.path("deltas")).unwrap();
    assert_eq!((export.run_verify(&[]).0, export.run_verify(&["--from-start"]).0), (Some(0), Some(65)));
}

#[test]
fn what_was_moved_aside_is_noted() {
    let export = ExportFolder::new(&[]);
    let aside = export.path("superseded/lineage/c");
    fs::create_dir_all(&aside).unwrap();
    fs::write(aside.join("000000000004-000000000006.csv"), "half a file").unwrap();
    fs::write(aside.join("note.txt"), "").unwrap();
    let report = export.verify();
    assert_eq!((report.findings.len(), report.notes.len()), (0, 2), "{report:?}");
}
