//! Exports that are killed, that meet a full or broken disk, or whose folder is taken away, at every step that touches
//! the disk. Afterwards there is no half file and no package twice, the position is where the book says, and the next
//! call makes everything good.
//!
//! A small library (`shim.c`) stands between the program and the system's own; it counts the steps.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::desk::{Desk, files, names, text, ticket};
use crate::readers::{assert_equal, fold, snapshot};

/// No space left on device, input/output error, read-only file system.
const ERRORS: [i32; 3] = [28, 5, 30];

static SHIM: LazyLock<Option<(TempDir, PathBuf)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("shim.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exports/shim.c");
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).args(["-ldl", "-lpthread"]);
    let built = cfg!(target_os = "linux") && cc.status().is_ok_and(|status| status.success());
    if !built {
        eprintln!("SKIPPED: interruptions of exports (this needs Linux and a C compiler)");
    }
    built.then_some((folder, library))
});

/// What is interrupted: how everything stood before, the command, and what must be true when it was given again.
struct Scene {
    name: &'static str,
    arguments: &'static [&'static str],
    /// Lays everything out; the same each time.
    set: fn() -> Desk,
}

const SCENES: [Scene; 5] = [
    Scene { name: "a first package", arguments: &["export", "delta"], set: first },
    Scene {
        name: "a next package, and one that ages out",
        arguments: &["export", "delta", "--gzip"],
        set: next,
    },
    Scene { name: "after a restored copy", arguments: &["export", "delta"], set: restored },
    Scene { name: "a snapshot", arguments: &["export", "snapshot"], set: next },
    Scene {
        name: "a consumer that is forgotten",
        arguments: &["export", "forget", "--consumer", "default"],
        set: next,
    },
];

fn first() -> Desk {
    let desk = Desk::new("[export]\nack = \"auto\"");
    desk.apply(&[ticket(1, "a"), ticket(2, "a")]);
    desk
}

fn next() -> Desk {
    let desk = first();
    desk.good(&["export", "delta"]);
    let connection = Connection::open(desk.path("halosync.db")).unwrap();
    connection.execute("UPDATE packages SET created_at = '2026-01-01T00:00:00.000Z'", []).unwrap();
    desk.apply(&[ticket(1, "b"), ticket(3, "b")]);
    desk
}

fn restored() -> Desk {
    let desk = first();
    let backup = desk.back_up();
    desk.apply(&[ticket(1, "b"), ticket(3, "b")]);
    desk.good(&["export", "delta"]);
    desk.restore(&backup);
    desk
}

fn run(desk: &Desk, arguments: &[&str], step: u64, does: &str, folder: &str) -> Output {
    let (_, library) = SHIM.as_ref().unwrap();
    let mut command = desk.command(arguments);
    command
        .env("LD_PRELOAD", library)
        .env("SHIM_BELOW", desk.folder.path())
        .env("SHIM_COUNT", desk.path("count"))
        .env("SHIM_STEP", step.to_string())
        .env("SHIM_DOES", does)
        .env("SHIM_FOLDER", desk.path(folder));
    command.output().unwrap()
}

/// How many steps a scene has when nobody disturbs it.
fn steps(scene: &Scene) -> u64 {
    let desk = (scene.set)();
    let output = run(&desk, scene.arguments, 0, "", "");
    assert!(output.status.success(), "{}: {}", scene.name, text(&output.stderr));
    fs::read_to_string(desk.path("count")).unwrap().trim().parse().unwrap()
}

/// Files that have their names, by inode.
fn named(desk: &Desk) -> BTreeMap<PathBuf, u64> {
    let there = files(&desk.path("export")).into_keys();
    let visible = there.filter(|path| !path.to_str().unwrap().contains("/.halosync-"));
    visible.map(|path| (path.clone(), fs::metadata(desk.path("export").join(&path)).unwrap().ino())).collect()
}

/// Gives the command again, undisturbed, and asserts that everything is as if there had been nothing.
fn assert_heals(desk: &Desk, scene: &Scene, when: &str) {
    let before = named(desk);
    let output = desk.run(scene.arguments);
    let forgets = scene.arguments.contains(&"forget");
    // It may have been done already.
    let done = output.status.success() || (forgets && output.status.code() == Some(66));
    assert!(done, "{when}: {}", text(&output.stderr));
    let folder = desk.deltas("default");
    if forgets {
        assert_eq!(names(&folder), [""; 0], "{when}");
        assert_eq!(desk.number("SELECT COUNT(*) FROM consumers"), 0, "{when}");
        return;
    }
    // Whatever had its name keeps it: it was not made twice. (Aged out or superseded, it is gone or elsewhere.)
    for (path, inode) in named(desk) {
        assert!(before.get(&path).is_none_or(|it| *it == inode), "{when}: {} was made twice", path.display());
    }
    let litter: Vec<_> = files(&desk.path("export"))
        .into_keys()
        .filter(|it| it.to_str().unwrap().contains(".halosync-"))
        .collect();
    assert!(litter.is_empty(), "{when}: {litter:?}");
    if scene.arguments.contains(&"snapshot") {
        let snapshots = desk.path("export/snapshots");
        for name in names(&snapshots) {
            assert_equal(&snapshot(&snapshots.join(name), false), &desk.tickets(), when);
        }
        desk.good(&["export", "verify", "export/snapshots"]);
        return;
    }
    // All of it, or, where packages have aged out, from where the oldest begins.
    let verdict = desk.good(&[
        "export",
        "verify",
        folder.to_str().unwrap(),
        "--expect-to",
        &desk.last_seq().to_string(),
    ]);
    if verdict["chains"][0]["from_seq"] == 0 {
        assert_equal(&fold(&folder), &desk.tickets(), when);
    }
    let book = desk.number("SELECT MIN(from_seq) FROM packages");
    assert_eq!(verdict["chains"][0]["from_seq"], book, "{when}: the book and the folder");
    assert_eq!(desk.number("SELECT exported_seq FROM consumers"), desk.last_seq(), "{when}");
}

/// Asserts that an export that failed left no half file, and that the position is still that of the files.
fn assert_clean(desk: &Desk, output: &Output, when: &str) {
    let status = output.status.code();
    assert!(matches!(status, Some(0 | 73 | 74)), "{when}: {status:?} {}", text(&output.stderr));
    if status == Some(0) {
        return;
    }
    let error = text(&output.stderr);
    assert!(error.contains("\"help\"") && !error.contains(".halosync-"), "{when}: {error}");
    let litter: Vec<_> = files(&desk.path("export"))
        .into_keys()
        .filter(|it| it.to_str().unwrap().contains(".halosync-"))
        .collect();
    assert!(litter.is_empty(), "{when}: {litter:?} {error}");
}

#[test]
fn a_kill_at_any_step_costs_nothing() {
    if SHIM.is_none() {
        return;
    }
    for scene in &SCENES {
        for step in 1..=steps(scene) {
            for does in ["kill-before", "kill-after"] {
                let desk = (scene.set)();
                let output = run(&desk, scene.arguments, step, does, "");
                let when = format!("{}, {does} step {step}", scene.name);
                assert_eq!(output.status.code(), None, "{when}: it was not killed");
                assert_heals(&desk, scene, &when);
            }
        }
    }
}

#[test]
fn a_disk_that_fails_at_any_step_is_told_and_costs_nothing() {
    if SHIM.is_none() {
        return;
    }
    for scene in &SCENES {
        for step in 1..=steps(scene) {
            // Each step fails in one way, and all ways come up.
            let error = ERRORS[usize::try_from(step).unwrap() % ERRORS.len()];
            let desk = (scene.set)();
            let output = run(&desk, scene.arguments, step, &error.to_string(), "");
            let when = format!("{}, error {error} at step {step}", scene.name);
            assert_clean(&desk, &output, &when);
            assert_heals(&desk, scene, &when);
        }
    }
}

#[test]
fn a_folder_that_is_removed_while_it_is_written_is_told_and_costs_nothing() {
    if SHIM.is_none() {
        return;
    }
    for (scene, below) in
        [(&SCENES[0], "export"), (&SCENES[0], "export/deltas/default"), (&SCENES[3], "export")]
    {
        for step in 1..=steps(scene) {
            let desk = (scene.set)();
            let output = run(&desk, scene.arguments, step, "remove", below);
            let when = format!("{}, {below} removed at step {step}", scene.name);
            let gone = !desk.path(below).exists();
            assert_clean(&desk, &output, &when);
            // What was entered in the book before the folder went is gone with it, and nobody can know.
            if !output.status.success() && gone {
                assert_eq!(
                    desk.number("SELECT COALESCE(MAX(exported_seq), 0) FROM consumers"),
                    (scene.set)().number("SELECT COALESCE(MAX(exported_seq), 0) FROM consumers"),
                    "{when}"
                );
                if scene.arguments.contains(&"delta") {
                    assert_heals(&desk, scene, &when);
                }
            }
        }
    }
}

#[test]
fn the_target_must_be_a_folder_that_can_be_written() {
    let desk = first();
    fs::create_dir(desk.path("elsewhere")).unwrap();
    let link =
        |name: &str, target: &str| std::os::unix::fs::symlink(desk.path(target), desk.path(name)).unwrap();
    link("link", "elsewhere");
    link("dangling", "nowhere");
    fs::create_dir(desk.path("half")).unwrap();
    link("half/deltas", "elsewhere");
    link("half/snapshots", "elsewhere");
    fs::write(desk.path("file"), "").unwrap();
    for (target, why) in [
        ("link", "symbolic link"),
        ("link/", "symbolic link"),
        ("dangling", "symbolic link"),
        ("half", "symbolic link"),
        ("file", "not a folder"),
        ("missing/export", "No such file"),
    ] {
        for what in ["delta", "snapshot"] {
            let (status, error) = desk.bad(&["export", what, "--out", target]);
            assert!(status == 73 && error.contains(why), "{what} to {target}: {status} {error}");
        }
    }
    assert_eq!(names(&desk.path("elsewhere")), [""; 0]);
    assert!(!desk.path("missing").exists() && !desk.path("nowhere").exists());
    assert_eq!(desk.number("SELECT COUNT(*) FROM consumers"), 0);
    // A link among its parents is the administrator's business.
    desk.good(&["export", "delta", "--out", "link/export"]);
    assert_eq!(names(&desk.path("elsewhere/export/deltas/default")).len(), 2);
}
