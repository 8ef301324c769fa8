//! `export snapshot` writes every table as of one change, and delta packages while `sync` writes.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use support::sha256;
use support::test_env::TestEnv;

async fn start_env(tickets: u32, latency_ms: u32) -> TestEnv {
    let env = TestEnv::builder().tickets(tickets).knob(format!("latency_ms={latency_ms}"));
    env.settings("parallel_requests = 2").start().await
}

/// The rows of a CSV file by their key column.
fn rows(file: &Path, key: &str) -> BTreeMap<i64, Vec<String>> {
    let mut reader = csv::Reader::from_path(file).unwrap();
    let key = reader.headers().unwrap().iter().position(|name| name == key).unwrap();
    let rows = reader.records().map(|row| {
        let row: Vec<String> = row.unwrap().iter().map(ToOwned::to_owned).collect();
        (row[key].parse().unwrap(), row)
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_holds_every_table_with_checksums() {
    let env = start_env(300, 0).await;
    env.run_ok(&["sync"]);
    let taken = env.run_ok(&["export", "snapshot"]);
    let folder = PathBuf::from(taken["folder"].as_str().unwrap());
    assert!(folder.to_str().unwrap().ends_with("-seq000000000300"), "{}", folder.display());
    let manifest: Json = serde_json::from_slice(&fs::read(folder.join("_manifest")).unwrap()).unwrap();
    assert_eq!(manifest, taken["manifest"]);
    assert_eq!((&manifest["kind"], &manifest["complete"]), (&"snapshot".into(), &true.into()));

    for file in manifest["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        let bytes = fs::read(folder.join(name)).unwrap();
        let hash = sha256(&bytes);
        assert_eq!(
            (file["sha256"].as_str(), file["bytes"].as_u64()),
            (Some(hash.as_str()), Some(bytes.len() as u64))
        );
        let table = name.strip_suffix(".csv").unwrap();
        let (key, role) = match table {
            "priorities" => ("PRIORITY_ID", "reference"),
            "statuses" | "ticket_types" | "agents" | "teams" | "slas" => ("ID", "reference"),
            "field_definitions" => ("FIELD_ID", table),
            _ => ("UID", table),
        };
        assert_eq!(file["role"], role);
        let stored = env.number(&format!("SELECT COUNT(*) FROM {table}"));
        if table != "priorities" {
            assert_eq!(rows(&folder.join(name), key).len(), usize::try_from(stored).unwrap(), "{table}");
        }
        assert_eq!(file["rows"].as_i64(), Some(stored), "{table}");
    }
    let checked =
        Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&folder).status();
    assert!(checked.unwrap().success(), "sha256sum found a difference to SHA256SUMS");
    env.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_during_sync_is_consistent_at_one_change() {
    let env = start_env(6_000, 15).await;
    let mut sync =
        env.command(&["--json", "sync"]).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    // Wait for the first commit of the run: the event, not a time.
    let stored = || env.try_value::<i64>("SELECT COUNT(*) FROM tickets");
    while stored().unwrap_or(0) == 0 {
        assert!(sync.try_wait().unwrap().is_none(), "the sync ended before its first commit");
        tokio::task::yield_now().await;
    }
    let refused = env.run_json(&["export", "snapshot"]);
    let taken = env.run_ok(&["export", "snapshot", "--allow-incomplete"]);
    let still_running = sync.try_wait().unwrap().is_none();
    assert!(sync.wait().unwrap().success());
    assert!(still_running, "test setup: the sync ended too early");
    assert_eq!(refused.status, Some(3), "{}", refused.stderr);
    assert_eq!(taken["manifest"]["complete"], false);

    let to = taken["manifest"]["to_seq"].as_i64().unwrap();
    let folder = PathBuf::from(taken["folder"].as_str().unwrap());
    let exported: Vec<i64> = rows(&folder.join("tickets.csv"), "UID").into_keys().collect();
    let recorded: Vec<i64> =
        env.query(&format!("SELECT UID FROM changes WHERE seq <= {to} ORDER BY UID"), |row| row.get(0));
    assert_eq!(exported, recorded, "the tickets are not those of the first {to} changes");
    env.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_made_during_sync_form_a_chain() {
    let env = start_env(6_000, 15).await;
    let mut sync =
        env.command(&["--json", "sync"]).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut packages = 0;
    let mut rows = 0;
    let mut export = || {
        let result = env.run_json(&["export", "delta"]);
        // Before the first commit there is nothing to export.
        if result.status == Some(66) {
            return 0;
        }
        let made = result.json["packages"].as_array().unwrap().clone();
        rows += made.iter().map(|it| it["counts"]["c"].as_u64().unwrap()).sum::<u64>();
        made.len()
    };
    while sync.try_wait().unwrap().is_none() {
        packages += export();
    }
    assert!(1 < packages, "test setup: the sync ended too early");
    assert!(sync.wait().unwrap().success());
    export();
    assert_eq!(rows, 6_000);
    env.run_ok(&["export", "verify", env.path("export").to_str().unwrap(), "--expect-to", "6000"]);
    env.server.stop().await;
}
