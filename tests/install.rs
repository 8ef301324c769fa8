//! What is installed beside the program: pages that everybody can read, units that systemd understands.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_halosync");

/// The most that a unit may be exposed, in tenths.
const EXPOSURE: &str = "--threshold=12";

/// Writes the manual pages into a folder.
fn write_manual(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let written = Command::new(PROGRAM).args(["man", "--dir"]).arg(folder).output().unwrap();
    assert!(written.status.success(), "{}", said(&written));
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// The units of the package, those of an ending.
fn units(endings: &[&str]) -> Vec<PathBuf> {
    let every = fs::read_dir("packaging").unwrap().map(|it| it.unwrap().path());
    let wanted =
        |path: &PathBuf| path.extension().is_some_and(|it| endings.iter().any(|ending| it == *ending));
    let mut units: Vec<_> = every.filter(wanted).collect();
    units.sort();
    units
}

/// What `systemd-analyze verify` says to units, not to those of the machine, and whether it succeeds.
fn verify(units: &[PathBuf], manual: &Path) -> (bool, String) {
    // An empty part stands for where manuals usually are: other units have pages too.
    let manual = format!("{}:", manual.display());
    let verified = Command::new("systemd-analyze").arg("verify").args(units).env("MANPATH", manual).output();
    let verified = verified.unwrap();
    let told = said(&verified);
    let of_ours = told.lines().filter(|line| line.contains("halosync") || line.contains("misspelt"));
    (verified.status.success(), of_ours.collect::<Vec<_>>().join("\n"))
}

fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        eprintln!("SKIPPED: {program} is not installed");
    }
    there
}

#[test]
fn manual_pages_are_for_everybody_whatever_the_mask() {
    let folder = tempfile::tempdir().unwrap();
    write_manual(folder.path());
    let pages: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(pages.len() > 10, "{pages:?}");
    for page in pages {
        assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o644, "{}", page.display());
    }
}

/// `verify` ends with 0 where it does not know a key: what it says counts.
#[test]
fn systemd_understands_every_line_of_the_units() {
    if !is_there("systemd-analyze") || !is_there("man") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let manual = folder.path().join("manual");
    write_manual(&manual.join("man1"));
    // The program is not installed: that of the tree stands for it, and an instance for the template.
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

    // And a misspelt line would be told.
    let misspelt = folder.path().join("misspelt.service");
    let text = fs::read_to_string(&placed[0]).unwrap().replace("\nProtectSystem=", "\nProtectSytem=");
    fs::write(&misspelt, text).unwrap();
    let (_, told) = verify(&[misspelt], &manual);
    assert!(told.contains("ProtectSytem"), "{told}");
}

#[test]
fn no_unit_is_exposed_more_than_it_must_be() {
    if !is_there("systemd-analyze") {
        return;
    }
    for unit in units(&["service"]) {
        let mut judge = Command::new("systemd-analyze");
        let judged = judge.args(["security", "--offline=true", EXPOSURE]).arg(&unit).output().unwrap();
        assert!(judged.status.success(), "{}: {}", unit.display(), said(&judged));
    }
}
