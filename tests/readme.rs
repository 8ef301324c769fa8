//! The README and the other documents: their SQL runs on a real database, their links exist, their tables are complete.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use halo_simulator::{Simulator, SimulatorSettings};
use halosync::config::{Config, EXAMPLE};

/// Returns the SQL blocks of a document.
fn queries(text: &str) -> Vec<&str> {
    text.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// Runs the demo once and returns its output.
fn demo(folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_halosync"))
        .args(["demo", "--tickets", "600", "--dir"])
        .arg(folder.join("demo"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn demo_shows_every_step_and_documented_queries_run_on_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let text = demo(folder.path());
    for fragment in [
        "600 created, 0 updated, 0 deleted",
        "0 created, 0 updated, 0 deleted",
        "5 created, 25 updated, 0 deleted",
        "1 retried",
        "0 created, 0 updated, 3 deleted",
        "36 rows (5 created, 28 updated, 3 deleted)",
        "602 rows (602 created, 0 updated, 0 deleted)",
    ] {
        assert!(text.contains(fragment), "the demo did not print {fragment:?}:\n{text}");
    }
    let database = rusqlite::Connection::open(folder.path().join("demo/halosync.db")).unwrap();
    let readme = fs::read_to_string("README.md").unwrap();
    let page = fs::read_to_string("docs/queries.md").unwrap();
    let queries: Vec<_> = [queries(&readme), queries(&page)].concat();
    // The server of the demo sends fields that are not stored, and shows no change late.
    let expected = [25.., 25.., 25.., 1.., 1.., 0..];
    assert_eq!(queries.len(), expected.len());
    for (query, rows) in queries.iter().zip(expected) {
        let mut statement = database.prepare(query).unwrap_or_else(|error| panic!("{error}\n{query}"));
        let found = statement.query_map([], |_| Ok(())).unwrap().count();
        assert!(rows.contains(&found), "{found} rows for\n{query}");
    }
    let fields = "SELECT COUNT(*) FROM ticket_custom_fields WHERE NAME = 'CFService' AND TEXT <> ''";
    let named: i64 = database.query_row(fields, [], |row| row.get(0)).unwrap();
    assert!(100 < named, "{named} tickets name their service");
    // Three tickets were deleted, each confirmed by the server.
    let reasons: String = database
        .query_row("SELECT GROUP_CONCAT(DISTINCT REASON) FROM deleted_tickets", [], |row| row.get(0))
        .unwrap();
    assert_eq!(reasons, "vanished");
}

/// A shell in a folder, with the program in `PATH` and nothing of Cargo in its environment.
fn shell(folder: &Path, line: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_halosync")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-euc", line]).current_dir(folder).env_clear().env("PATH", path);
    shell
}

fn has_sqlite3() -> bool {
    let found = Command::new("sqlite3").arg("-version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: sqlite3 is not installed");
    }
    found
}

#[test]
fn lines_that_the_demo_prints_can_be_pasted_and_a_sync_afterwards_says_that_its_server_has_ended() {
    if !has_sqlite3() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = shell(folder.path(), "halosync demo --tickets 300 --dir 'my demo'").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, next) = text.split_once("What to try next:\n").unwrap();
    let lines: Vec<_> = next.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    assert_eq!(lines.len(), 7, "{next}");
    for line in lines {
        let output = shell(folder.path(), line).output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{line}: {output:?}");
    }
    let output = shell(folder.path(), "halosync -c 'my demo/agent.toml' sync").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{error}");
    assert!(error.contains("error: the server of this demo has ended\n"), "{error}");
}

#[test]
fn demo_of_the_lake_prints_lines_that_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = shell(folder.path(), "halosync demo --lake --tickets 150 --dir 'my lake'").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("verified: nothing is missing, repeated or altered"), "{text}");
    let (_, next) = text.split_once("What to try next:\n").unwrap();
    let lines: Vec<_> = next.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    assert_eq!(lines.len(), 4, "{next}");
    for line in lines {
        let needs = if line.contains("python3") { "pyspark" } else { "duckdb" };
        let is_there = line.starts_with("halosync ")
            || shell(folder.path(), &format!("python3 -c 'import {needs}' && command -v duckdb java"))
                .status()
                .unwrap()
                .success();
        if !is_there {
            eprintln!("SKIPPED: {line} (not installed)");
            continue;
        }
        let output = shell(folder.path(), line).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !text.is_empty(), "{line}: {output:?}");
        if !line.starts_with("halosync ") {
            assert!(
                ["acme", "globex", "initech"].iter().all(|name| text.contains(name))
                    || text.contains("only showing"),
                "{text}"
            );
        }
    }
}

/// The commands of the README's ten minutes, as a reader types them: everything but the installation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_minutes_of_the_readme_lead_to_an_answer() {
    if !has_sqlite3() {
        return;
    }
    let readme = fs::read_to_string("README.md").unwrap();
    let (_, steps) = readme.split_once("in ten minutes\n").unwrap();
    let (steps, _) = steps.split_once("\n## ").unwrap();
    let commands = steps.lines().filter_map(|line| line.strip_prefix("       "));
    let commands: Vec<_> = commands.filter(|command| !command.starts_with("cargo install")).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");

    let simulator = Simulator::start(SimulatorSettings { tickets: 300, ..SimulatorSettings::default() });
    let simulator = simulator.await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut answer = String::new();
    for command in commands {
        let command = command.replace("https://YOUR-SERVER", &simulator.url());
        let mut shell = shell(folder.path(), &command);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Only the step that saves the secret reads it.
        let _ = child.stdin.take().unwrap().write_all(b"demo-secret\n");
        let output = child.wait_with_output().unwrap();
        answer = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}: {answer}");
        if command.starts_with("halosync init") {
            let file = folder.path().join("agent.toml");
            let settings = fs::read_to_string(&file).unwrap();
            let settings = settings.replace("00000000-0000-0000-0000-000000000000", "halosync-demo");
            fs::write(file, settings).unwrap();
            assert!(
                answer.contains("\nNext steps:\n  1. ") && answer.contains("Write client_id into"),
                "{answer}"
            );
        }
    }
    assert!(1 < answer.lines().count() && answer.contains('|'), "{answer}");
}

#[test]
fn demo_replaces_its_own_folder_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    demo(folder.path());
    demo(folder.path());
    let precious = folder.path().join("demo");
    fs::remove_file(precious.join(".halosync-demo")).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_halosync")).args(["demo", "--dir"]).arg(&precious).output().unwrap();
    assert_eq!(output.status.code(), Some(73));
    assert!(precious.join("halosync.db").exists(), "a folder that is not the demo's was emptied");
}

#[test]
fn example_lists_every_setting_with_its_default() {
    let read = |text: &str| Config::read("agent.toml.example", text, Path::new("/etc/halosync"), []);
    let problems = read(EXAMPLE).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    let example = EXAMPLE.replace("//example.", "//acme.").replace("0000-000000000000", "0000-000000000001");
    let defaults = read(&example).unwrap();
    // Commented keys show their defaults: uncommenting them must change nothing.
    let uncommented: String = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(uncommented.contains("\npage_size = 100"));
    // Commands have another level where the settings have none, so that one is told apart from its default.
    let uncommented_config =
        format!("{:?}", read(&uncommented).unwrap()).replace("level: Some(Info)", "level: None");
    assert_eq!(uncommented_config, format!("{defaults:?}"));
    // Every key that the program knows is in the example.
    let keys = uncommented.lines().filter(|line| line.contains(" = ")).count();
    assert_eq!(keys, 55, "the number of keys in agent.toml.example changed");
}

/// The packaged settings differ from the example only in their paths.
#[test]
fn packaged_settings_differ_from_the_example_only_in_paths() {
    let packaged = fs::read_to_string("packaging/agent.toml").unwrap();
    let differing = |left: &str, right: &str| -> Vec<String> {
        let right: Vec<_> = right.lines().collect();
        left.lines().filter(|line| !right.contains(line)).map(ToOwned::to_owned).collect()
    };
    assert_eq!(
        differing(&packaged, EXAMPLE),
        [
            "# The secret is in /etc/halosync/client-secret (root, mode 0600); systemd passes it to the service as the",
            "# credential \"halo-client-secret\":  (umask 077; cat > /etc/halosync/client-secret)",
            "# client_secret_file = \"\"       # without systemd",
            "path = \"/var/lib/halosync/halosync.db\" # the database",
            "dir = \"/var/lib/halosync/export\" # folder of packages and snapshots",
        ]
    );
    assert_eq!(differing(EXAMPLE, &packaged).len(), 5, "{:?}", differing(EXAMPLE, &packaged));
}
