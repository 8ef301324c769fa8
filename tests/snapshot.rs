//! `export snapshot`: every table at one change, complete or not there at all.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use halo_simulator::{Knobs, Simulator, SimulatorSettings};
use rusqlite::Connection;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A simulated server and the settings to copy it with.
struct Desk {
    simulator: Simulator,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn new(tickets: u32, latency_ms: u32) -> Desk {
        let mut knobs = Knobs::default();
        knobs.set(&format!("latency_ms={latency_ms}")).unwrap();
        let settings = SimulatorSettings { tickets, knobs, ..SimulatorSettings::default() };
        let (id, secret) = (settings.client_id.clone(), settings.client_secret.clone());
        let simulator = Simulator::start(settings).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut file = fs::OpenOptions::new();
        file.write(true).create_new(true).mode(0o600).open(folder.path().join("secret")).unwrap();
        fs::write(folder.path().join("secret"), secret).unwrap();
        let text = format!(
            "[halo]\nserver_url = \"{}\"\nclient_id = \"{id}\"\nclient_secret_file = \"secret\"\n\
             rate_limit = \"100000/1m\"\nparallel_requests = 2\n",
            simulator.url()
        );
        fs::write(folder.path().join("agent.toml"), text).unwrap();
        Desk { simulator, folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
        command
            .env_clear()
            .arg("-c")
            .arg(self.folder.path().join("agent.toml"))
            .arg("--json")
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("halosync.db")
    }
}

fn said(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The rows of a CSV file, by the column given.
fn rows(file: &Path, key: &str) -> BTreeMap<i64, Vec<String>> {
    let mut reader = csv::Reader::from_path(file).unwrap();
    let place = reader.headers().unwrap().iter().position(|name| name == key).unwrap();
    let rows = reader.records().map(|row| {
        let row: Vec<String> = row.unwrap().iter().map(ToOwned::to_owned).collect();
        (row[place].parse().unwrap(), row)
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_holds_every_table_and_proves_it() {
    let desk = Desk::new(300, 0).await;
    assert!(desk.run(&["sync"]).status.success());
    let taken = said(&desk.run(&["export", "snapshot"]));
    let folder = PathBuf::from(taken["folder"].as_str().unwrap());
    assert!(folder.to_str().unwrap().ends_with("-seq000000000300"), "{}", folder.display());
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest, taken["manifest"]);
    assert_eq!((&manifest["kind"], &manifest["complete"]), (&"snapshot".into(), &true.into()));

    let copy = Connection::open(desk.database()).unwrap();
    for file in manifest["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        let bytes = fs::read(folder.join(name)).unwrap();
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            (file["sha256"].as_str(), file["bytes"].as_u64()),
            (Some(hash.as_str()), Some(bytes.len() as u64))
        );
        let table = name.strip_suffix(".csv").unwrap();
        let key = if table == "tickets" || table == "custom_fields" { "UID" } else { "ID" };
        let there: i64 =
            copy.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows(&folder.join(name), key).len(), usize::try_from(there).unwrap(), "{table}");
        assert_eq!(file["rows"].as_i64(), Some(there), "{table}");
    }
    let checked =
        Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&folder).status();
    assert!(checked.unwrap().success(), "sha256sum finds another file than SHA256SUMS tells of");
    desk.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_consistent_at_one_change_while_a_sync_writes() {
    let desk = Desk::new(6_000, 15).await;
    let mut sync = desk.command(&["sync"]).stdout(Stdio::null()).spawn().unwrap();
    // Wait for the first commit of the pass: the event, not a time.
    let some = || {
        Connection::open(desk.database()).ok().and_then(|copy| {
            copy.query_row("SELECT COUNT(*) FROM tickets", [], |row| row.get::<_, i64>(0)).ok()
        })
    };
    while some().unwrap_or(0) == 0 {
        assert!(sync.try_wait().unwrap().is_none(), "the sync ended before its first commit was seen");
        tokio::task::yield_now().await;
    }
    let refused = desk.run(&["export", "snapshot"]);
    let taken = said(&desk.run(&["export", "snapshot", "--allow-incomplete"]));
    let under_way = sync.try_wait().unwrap().is_none();
    assert!(sync.wait().unwrap().success());
    assert!(under_way, "the sync was over too early for this test to show anything");
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(taken["manifest"]["complete"], false);

    let to = taken["manifest"]["to_seq"].as_i64().unwrap();
    let folder = PathBuf::from(taken["folder"].as_str().unwrap());
    let given: Vec<i64> = rows(&folder.join("tickets.csv"), "UID").into_keys().collect();
    let copy = Connection::open(desk.database()).unwrap();
    let mut statement = copy.prepare("SELECT UID FROM changes WHERE seq <= ?1 ORDER BY UID").unwrap();
    let recorded: Vec<i64> =
        statement.query_map([to], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(given, recorded, "the tickets are not those of the first {to} changes");
    desk.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_that_are_made_while_a_sync_writes_follow_each_other() {
    let desk = Desk::new(6_000, 15).await;
    let mut sync = desk.command(&["sync"]).stdout(Stdio::null()).spawn().unwrap();
    let mut packages = 0;
    let mut rows = 0;
    let mut take = || {
        let output = desk.run(&["export", "delta"]);
        // Before the first commit there is no database to hand on from.
        if output.status.code() == Some(66) {
            return 0;
        }
        let made = said(&output);
        let made = made["packages"].as_array().unwrap().clone();
        rows += made.iter().map(|it| it["counts"]["c"].as_u64().unwrap()).sum::<u64>();
        made.len()
    };
    while sync.try_wait().unwrap().is_none() {
        packages += take();
    }
    assert!(1 < packages, "the sync was over too early for this test to show anything");
    assert!(sync.wait().unwrap().success());
    take();
    assert_eq!(rows, 6_000);
    let verified = desk.run(&[
        "export",
        "verify",
        desk.folder.path().join("export").to_str().unwrap(),
        "--expect-to",
        "6000",
    ]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    desk.simulator.stop().await;
}
