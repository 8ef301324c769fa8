//! What the README promises: its SQL runs on a real copy, its files exist, its settings are known.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use halosync::config::{Config, EXAMPLE};

fn readme() -> String {
    fs::read_to_string("README.md").unwrap()
}

/// The blocks of SQL in the README.
fn queries(text: &str) -> Vec<&str> {
    text.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// Runs the demo once and gives its folder; the demo ends with 0 and tells every step.
fn demo(folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_halosync"))
        .args(["demo", "--tickets", "600", "--dir"])
        .arg(folder.join("demo"))
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    told
}

#[test]
fn the_demo_plays_every_step_and_every_query_of_the_readme_answers_on_its_copy() {
    let folder = tempfile::tempdir().unwrap();
    let told = demo(folder.path());
    for said in [
        "600 created, 0 updated, 0 deleted",
        "0 created, 0 updated, 0 deleted",
        "5 created, 25 updated, 0 deleted",
        "1 repeated",
        "0 created, 0 updated, 3 deleted",
        "36 rows (5 created, 28 updated, 3 deleted)",
        "602 rows (602 created, 0 updated, 0 deleted)",
    ] {
        assert!(told.contains(said), "the demo did not say {said:?}:\n{told}");
    }
    let copy = rusqlite::Connection::open(folder.path().join("demo/halosync.db")).unwrap();
    let readme = readme();
    let queries = queries(&readme);
    assert_eq!(queries.len(), 7);
    for (query, rows) in queries.iter().zip([2.., 20.., 25.., 3.., 20.., 0.., 1..]) {
        let mut statement = copy.prepare(query).unwrap_or_else(|error| panic!("{error}\n{query}"));
        let found = statement.query_map([], |_| Ok(())).unwrap().count();
        assert!(rows.contains(&found), "{found} rows for\n{query}");
    }
    let fields = "SELECT COUNT(*) FROM ticket_custom_fields WHERE NAME = 'CFService' AND TEXT <> ''";
    let filled: i64 = copy.query_row(fields, [], |row| row.get(0)).unwrap();
    assert!(100 < filled, "{filled} tickets name their service");
    // Three went, and the server's word was asked for each.
    let gone: String = copy
        .query_row("SELECT GROUP_CONCAT(DISTINCT REASON) FROM deleted_tickets", [], |row| row.get(0))
        .unwrap();
    assert_eq!(gone, "vanished");
}

#[test]
fn the_demo_replaces_its_own_folder_and_no_other() {
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
fn every_file_that_the_readme_links_to_is_there() {
    for link in readme().split("](").skip(1).filter_map(|rest| rest.split(')').next().map(ToOwned::to_owned))
    {
        assert!(link.starts_with("http") || Path::new(&link).exists(), "{link}");
    }
}

#[test]
fn the_example_holds_every_setting_with_its_default() {
    let read = |text: &str| Config::read("agent.toml.example", text, Path::new("/etc/halosync"), []);
    let told = read(EXAMPLE).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(told.matches("is still the example value").count(), 2, "{told}");
    let example = EXAMPLE.replace("//example.", "//desk.").replace("0000-000000000000", "0000-000000000001");
    let written = read(&example).unwrap();
    // A commented key shows its default: uncommenting all of them must change nothing.
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
    assert_eq!(format!("{:?}", read(&uncommented).unwrap()), format!("{written:?}"));
    // And no key that the program asks for is missing: a file with nothing but what is required has the
    // same settings.
    let keys = uncommented.lines().filter(|line| line.contains(" = ")).count();
    assert_eq!(keys, 39, "agent.toml.example has gained or lost a key; does design and code know?");
}

/// What the package installs is the example, with the places that a package has.
#[test]
fn the_packaged_settings_are_the_example_with_the_places_of_a_package() {
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
            "path = \"/var/lib/halosync/halosync.db\"",
            "dir = \"/var/lib/halosync/export\"",
        ]
    );
    assert_eq!(differing(EXAMPLE, &packaged).len(), 5, "{:?}", differing(EXAMPLE, &packaged));
}
