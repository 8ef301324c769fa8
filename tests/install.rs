//! Installed files: manual pages that everybody can read, units that systemd accepts.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_halosync");

/// Highest exposure allowed for a unit, in tenths.
const EXPOSURE: &str = "--threshold=12";

/// Writes the manual pages into a folder.
fn write_manual(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let written = Command::new(PROGRAM).args(["man", "--dir"]).arg(folder).output().unwrap();
    assert!(written.status.success(), "{}", text(&written));
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// Returns the packaged units with these extensions.
fn units(endings: &[&str]) -> Vec<PathBuf> {
    let every = fs::read_dir("packaging").unwrap().map(|it| it.unwrap().path());
    let wanted =
        |path: &PathBuf| path.extension().is_some_and(|it| endings.iter().any(|ending| it == *ending));
    let mut units: Vec<_> = every.filter(wanted).collect();
    units.sort();
    units
}

/// Runs `systemd-analyze verify`; returns success, and its lines about these units.
fn verify(units: &[PathBuf], manual: &Path) -> (bool, String) {
    // The empty part adds the default path: other units have manual pages too.
    let manual = format!("{}:", manual.display());
    let verified = Command::new("systemd-analyze").arg("verify").args(units).env("MANPATH", manual).output();
    let verified = verified.unwrap();
    let output = text(&verified);
    let ours = output.lines().filter(|line| line.contains("halosync") || line.contains("misspelled"));
    (verified.status.success(), ours.collect::<Vec<_>>().join("\n"))
}

fn is_installed(program: &str) -> bool {
    let installed = Command::new(program).arg("--version").output().is_ok();
    if !installed {
        eprintln!("SKIPPED: {program} is not installed");
    }
    installed
}

#[test]
fn manual_pages_are_readable_by_everybody_despite_the_umask() {
    let folder = tempfile::tempdir().unwrap();
    write_manual(folder.path());
    let pages: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(pages.len() > 10, "{pages:?}");
    for page in pages {
        assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o644, "{}", page.display());
    }
}

/// `verify` exits with 0 for unknown keys, so its output is compared.
#[test]
fn systemd_accepts_every_line_of_the_units() {
    if !is_installed("systemd-analyze") || !is_installed("man") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let manual = folder.path().join("manual");
    write_manual(&manual.join("man1"));
    // The built program replaces the installed one, and an instance the template.
    let placed: Vec<_> = units(&["service", "timer"])
        .iter()
        .map(|unit| {
            let text = fs::read_to_string(unit).unwrap();
            let name = unit.file_name().unwrap().to_str().unwrap().replace('@', "@one");
            let path = folder.path().join(name);
            fs::write(&path, text.replace("=/usr/bin/halosync ", &format!("={PROGRAM} "))).unwrap();
            path
        })
        .collect();
    assert_eq!(placed.len(), 4, "{placed:?}");
    assert_eq!(verify(&placed, &manual), (true, String::new()));

    // A misspelled key is reported.
    let misspelled = folder.path().join("misspelled.service");
    let text = fs::read_to_string(&placed[0]).unwrap().replace("\nProtectSystem=", "\nProtectSytem=");
    fs::write(&misspelled, text).unwrap();
    let (_, output) = verify(&[misspelled], &manual);
    assert!(output.contains("ProtectSytem"), "{output}");
}

#[test]
fn no_unit_exceeds_the_exposure_limit() {
    if !is_installed("systemd-analyze") {
        return;
    }
    for unit in units(&["service"]) {
        let mut analyze = Command::new("systemd-analyze");
        let analyzed = analyze.args(["security", "--offline=true", EXPOSURE]).arg(&unit).output().unwrap();
        assert!(analyzed.status.success(), "{}: {}", unit.display(), text(&analyzed));
    }
}
