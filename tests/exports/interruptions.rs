//! Exports that are killed, that meet a full or broken disk, or whose folder is removed, at every step that touches the
//! disk. Afterwards there is no partial file and no duplicate package, the consumer's position agrees with the packages, and
//! the next export recovers.
//!
//! A preloaded library (`shim.c`) counts the steps and injects the faults.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::export_env::{ExportEnv, read_files, ticket_row};
use crate::readers::{assert_equal, fold, snapshot};
use crate::support::file_names;
use crate::support::test_env::CommandResult;

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

/// A command that is interrupted, and its setup.
struct Scenario {
    name: &'static str,
    arguments: &'static [&'static str],
    /// Creates the same environment each time.
    set_up: fn() -> ExportEnv,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario { name: "a first package", arguments: &["export", "delta"], set_up: first },
    Scenario {
        name: "a second package, and one that expires",
        arguments: &["export", "delta", "--gzip"],
        set_up: next,
    },
    Scenario { name: "names alone", arguments: &["export", "delta"], set_up: names },
    Scenario { name: "after a restored backup", arguments: &["export", "delta"], set_up: restored },
    Scenario { name: "a snapshot", arguments: &["export", "snapshot"], set_up: next },
    Scenario {
        name: "a forgotten consumer",
        arguments: &["export", "forget", "--consumer", "default"],
        set_up: next,
    },
];

fn first() -> ExportEnv {
    let env = ExportEnv::new("[export]\nack = \"auto\"");
    env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "a")]);
    env
}

fn next() -> ExportEnv {
    let env = first();
    env.run_ok(&["export", "delta"]);
    let connection = Connection::open(env.path("halosync.db")).unwrap();
    connection.execute("UPDATE packages SET created_at = '2026-01-01T00:00:00.000Z'", []).unwrap();
    env.store_rows(&[ticket_row(1, "b"), ticket_row(3, "b")]);
    env.store_names("agents", &json!([{ "id": 1, "name": "Unassigned" }, { "id": 7, "name": "Ann" }]));
    env
}

fn names() -> ExportEnv {
    let env = first();
    env.run_ok(&["export", "delta"]);
    env.store_names("agents", &json!([{ "id": 7, "name": "Ann" }]));
    env
}

fn restored() -> ExportEnv {
    let env = first();
    let backup = env.back_up_database();
    env.store_rows(&[ticket_row(1, "b"), ticket_row(3, "b")]);
    env.run_ok(&["export", "delta"]);
    env.restore_database(&backup);
    env
}

fn run(env: &ExportEnv, arguments: &[&str], step: u64, fault: &str, folder: &str) -> CommandResult {
    let (_, library) = SHIM.as_ref().unwrap();
    let mut command = env.command(&[&["--json"][..], arguments].concat());
    command
        .env("LD_PRELOAD", library)
        .env("SHIM_BELOW", env.directory())
        .env("SHIM_COUNT", env.path("count"))
        .env("SHIM_STEP", step.to_string())
        .env("SHIM_DOES", fault)
        .env("SHIM_FOLDER", env.path(folder));
    CommandResult::of(command.spawn().unwrap())
}

/// The number of steps of an undisturbed scenario.
fn steps(scenario: &Scenario) -> u64 {
    let env = (scenario.set_up)();
    let result = run(&env, scenario.arguments, 0, "", "");
    assert!(result.status == Some(0), "{}: {}", scenario.name, result.stderr);
    fs::read_to_string(env.path("count")).unwrap().trim().parse().unwrap()
}

/// The inodes of the files that have their final names.
fn final_files(env: &ExportEnv) -> BTreeMap<PathBuf, u64> {
    let there = read_files(&env.path("export")).into_keys();
    // The position file is replaced with each package.
    let visible = there
        .filter(|path| !path.to_str().unwrap().contains("/.halosync-") && !path.starts_with("positions"));
    visible.map(|path| (path.clone(), fs::metadata(env.path("export").join(&path)).unwrap().ino())).collect()
}

/// Asserts that the repeated, undisturbed command leaves everything as without the interruption.
fn assert_recovers(env: &ExportEnv, scenario: &Scenario, context: &str) {
    let before = final_files(env);
    let result = env.run_json(scenario.arguments);
    let forgets = scenario.arguments.contains(&"forget");
    // The interrupted command may have done it already.
    let done = result.status == Some(0) || (forgets && result.status == Some(66));
    assert!(done, "{context}: {}", result.stderr);
    let folder = env.deltas("default");
    if forgets {
        assert_eq!(file_names(&folder), [""; 0], "{context}");
        assert_eq!(env.number("SELECT COUNT(*) FROM consumers"), 0, "{context}");
        return;
    }
    // A file with its final name is not written again. (Expired and superseded packages are gone or elsewhere.)
    for (path, inode) in final_files(env) {
        assert!(
            before.get(&path).is_none_or(|it| *it == inode),
            "{context}: {} was written twice",
            path.display()
        );
    }
    let temporary_files: Vec<_> = read_files(&env.path("export"))
        .into_keys()
        .filter(|it| it.to_str().unwrap().contains(".halosync-"))
        .collect();
    assert!(temporary_files.is_empty(), "{context}: {temporary_files:?}");
    if scenario.arguments.contains(&"snapshot") {
        let snapshots = env.path("export/snapshots");
        for name in file_names(&snapshots) {
            assert_equal(&snapshot(&snapshots.join(name), false), &env.tickets(), context);
        }
        env.run_ok(&["export", "verify", "export/snapshots"]);
        return;
    }
    // The whole chain, or what is left of it after packages expired.
    let verdict = env.run_ok(&[
        "export",
        "verify",
        folder.to_str().unwrap(),
        "--expect-to",
        &env.last_seq().to_string(),
    ]);
    if verdict["chains"][0]["from_seq"] == 0 {
        assert_equal(&fold(&folder), &env.tickets(), context);
    }
    let position = fs::read(env.path("export/positions/default.json")).unwrap();
    let position: serde_json::Value = serde_json::from_slice(&position).unwrap();
    assert_eq!(position["to_seq"], env.last_seq(), "{context}: the position file");
    assert_eq!(env.number("SELECT COUNT(*) FROM packages WHERE state = 'named'"), 0, "{context}");
    let registered = env.number("SELECT MIN(from_seq) FROM packages");
    assert_eq!(verdict["chains"][0]["from_seq"], registered, "{context}: the database and the folder");
    assert_eq!(env.number("SELECT exported_seq FROM consumers"), env.last_seq(), "{context}");
}

/// Asserts that a failed export reports a usable error and leaves no partial file.
fn assert_clean(env: &ExportEnv, result: &CommandResult, context: &str) {
    let status = result.status;
    assert!(matches!(status, Some(0 | 73 | 74)), "{context}: {status:?} {}", result.stderr);
    if status == Some(0) {
        return;
    }
    let error = &result.stderr;
    assert!(error.contains("\"help\"") && !error.contains(".halosync-"), "{context}: {error}");
    let temporary_files: Vec<_> = read_files(&env.path("export"))
        .into_keys()
        .filter(|it| it.to_str().unwrap().contains(".halosync-"))
        .collect();
    assert!(temporary_files.is_empty(), "{context}: {temporary_files:?} {error}");
}

#[test]
fn export_killed_at_any_step_recovers() {
    if SHIM.is_none() {
        return;
    }
    for scenario in &SCENARIOS {
        for step in 1..=steps(scenario) {
            for fault in ["kill-before", "kill-after"] {
                let env = (scenario.set_up)();
                let result = run(&env, scenario.arguments, step, fault, "");
                let context = format!("{}, {fault} step {step}", scenario.name);
                assert_eq!(result.status, None, "{context}: the export was not killed");
                assert_recovers(&env, scenario, &context);
            }
        }
    }
}

#[test]
fn disk_error_at_any_step_is_reported_and_recovers() {
    if SHIM.is_none() {
        return;
    }
    for scenario in &SCENARIOS {
        for step in 1..=steps(scenario) {
            // One error per step; all of them occur.
            let error = ERRORS[usize::try_from(step).unwrap() % ERRORS.len()];
            let env = (scenario.set_up)();
            let result = run(&env, scenario.arguments, step, &error.to_string(), "");
            let context = format!("{}, error {error} at step {step}", scenario.name);
            assert_clean(&env, &result, &context);
            assert_recovers(&env, scenario, &context);
        }
    }
}

#[test]
fn export_folder_removed_at_any_step_is_reported_and_recovers() {
    if SHIM.is_none() {
        return;
    }
    for (scenario, below) in
        [(&SCENARIOS[0], "export"), (&SCENARIOS[0], "export/deltas/default"), (&SCENARIOS[3], "export")]
    {
        for step in 1..=steps(scenario) {
            let env = (scenario.set_up)();
            let result = run(&env, scenario.arguments, step, "remove", below);
            let context = format!("{}, {below} removed at step {step}", scenario.name);
            let gone = !env.path(below).exists();
            assert_clean(&env, &result, &context);
            if result.status != Some(0) && gone {
                let exported =
                    |env: &ExportEnv| env.number("SELECT COALESCE(MAX(exported_seq), 0) FROM consumers");
                // A package that was published before the folder was removed is lost with it: only the position file
                // is written after that.
                let is_published = exported(&env) == env.last_seq() && result.stderr.contains("positions");
                assert!(is_published || exported(&env) == exported(&(scenario.set_up)()), "{context}");
                if scenario.arguments.contains(&"delta") && !is_published {
                    assert_recovers(&env, scenario, &context);
                }
            }
        }
    }
}

#[test]
fn export_target_must_be_a_writable_folder() {
    let env = first();
    fs::create_dir(env.path("elsewhere")).unwrap();
    let link =
        |name: &str, target: &str| std::os::unix::fs::symlink(env.path(target), env.path(name)).unwrap();
    link("link", "elsewhere");
    link("dangling", "nowhere");
    fs::create_dir(env.path("half")).unwrap();
    link("half/deltas", "elsewhere");
    link("half/snapshots", "elsewhere");
    fs::write(env.path("file"), "").unwrap();
    for (target, why) in [
        ("link", "symbolic link"),
        ("link/", "symbolic link"),
        ("dangling", "symbolic link"),
        ("half", "symbolic link"),
        ("file", "not a folder"),
        ("missing/export", "No such file"),
    ] {
        for kind in ["delta", "snapshot"] {
            let (status, error) = env.run_err(&["export", kind, "--out", target]);
            assert!(status == 73 && error.contains(why), "{kind} to {target}: {status} {error}");
        }
    }
    assert_eq!(file_names(&env.path("elsewhere")), [""; 0]);
    assert!(!env.path("missing").exists() && !env.path("nowhere").exists());
    assert_eq!(env.number("SELECT COUNT(*) FROM consumers"), 0);
    // A symbolic link among the parent folders is allowed.
    env.run_ok(&["export", "delta", "--out", "link/export"]);
    assert_eq!(file_names(&env.path("elsewhere/export/deltas/default")).len(), 2);
}
