//! Runs the blocks of `docs/operations.md` that need no systemd.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod agent;
}

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use chrono::Utc;
use halo_simulator::{Simulator, SimulatorSettings};
use support::agent::{Agent, CLIENT_ID, CLIENT_SECRET};

const PAGE: &str = include_str!("../docs/operations.md");

/// A named block, with its paths replaced by those of the test.
fn block(name: &str, agent: &Agent) -> String {
    let (_, rest) = PAGE.split_once(&format!("```sh {name}\n")).unwrap_or_else(|| panic!("no block {name}"));
    let (block, _) = rest.split_once("\n```").unwrap();
    let path = |name: &str| agent.path(name).display().to_string();
    block.replace("/var/lib/halosync", &path("state")).replace("/var/backups", &path("backups"))
}

/// Runs a block with the program in `PATH`.
fn run(name: &str, agent: &Agent) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_halosync")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-euc", &block(name, agent)]).current_dir(agent.path("")).env_clear().env("PATH", path);
    shell.output().unwrap()
}

fn succeeds(name: &str, agent: &Agent) -> String {
    let output = run(name, agent);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn synced() -> Option<(Simulator, Agent)> {
    if Command::new("sqlite3").arg("-version").output().is_err() {
        eprintln!("SKIPPED: sqlite3 is not installed");
        return None;
    }
    let settings = SimulatorSettings {
        tickets: 250,
        client_id: CLIENT_ID.into(),
        client_secret: CLIENT_SECRET.into(),
        ..SimulatorSettings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    let paths = "[store]\npath = \"state/halosync.db\"\n\n[export]\ndir = \"state/export\"\n";
    let agent = Agent::of(&simulator.url(), paths);
    for folder in ["state", "backups"] {
        fs::create_dir(agent.path(folder)).unwrap();
    }
    agent.run(&["sync"]).success();
    Some((simulator, agent))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_backup_starts_a_new_lineage_and_catches_up() {
    let Some((simulator, agent)) = synced().await else { return };
    let rows = succeeds("reader", &agent);
    assert!(rows.contains('|'), "{rows}");
    agent.run(&["export", "delta"]).success();
    succeeds("backup", &agent);

    simulator.with(|server| server.edit_some(5, Utc::now()));
    agent.run(&["sync"]).success();
    agent.run(&["export", "delta"]).success();
    let lineage = || -> String {
        let database = rusqlite::Connection::open(agent.path("state/halosync.db")).unwrap();
        database.query_row("SELECT lineage FROM lineage ORDER BY rowid DESC", [], |row| row.get(0)).unwrap()
    };
    let before = lineage();

    succeeds("restore", &agent);
    agent.run(&["status"]).success();
    agent.run(&["sync"]).success();
    simulator.with(|server| server.edit_some(3, Utc::now()));
    agent.run(&["sync"]).success();
    let export = agent.run(&["export", "delta"]).success();
    let message = String::from_utf8_lossy(&export.get_output().stdout).into_owned();
    assert!(message.contains("lineage"), "{message}");
    assert_ne!(lineage(), before);
    agent.run(&["export", "verify", "state/export"]).success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freshness_check_and_vacuum_work_as_documented() {
    let Some((_simulator, agent)) = synced().await else { return };
    succeeds("fresh", &agent);
    succeeds("vacuum", &agent);
    assert!(succeeds("check", &agent).contains("integrity"));
    agent.run(&["sync"]).success();
    let database = rusqlite::Connection::open(agent.path("state/halosync.db")).unwrap();
    for table in ["runs", "scans"] {
        let old = format!("UPDATE {table} SET ended_at = '2020-01-01T00:00:00.000Z'");
        database.execute(&old, []).unwrap();
    }
    assert_eq!(run("fresh", &agent).status.code(), Some(4));
}

/// Every setting and metric that the page names exists.
#[test]
fn every_setting_and_metric_in_the_page_exists() {
    let example = fs::read_to_string("agent.toml.example").unwrap();
    let metrics = fs::read_to_string("src/app/service/metrics.rs").unwrap();
    for code in PAGE.split('`').skip(1).step_by(2) {
        if code.starts_with("halosync_") {
            assert!(metrics.contains(&format!("\"{code}\"")), "there is no metric {code}");
        }
        let key = code.split(" = ").next().unwrap();
        if let Some((section, key)) = key
            .split_once('.')
            .filter(|(section, _)| ["halo", "sync", "store", "export", "log", "metrics"].contains(section))
        {
            let rest = example.split(&format!("[{section}]")).nth(1).unwrap();
            let section = rest.split("\n[").next().unwrap();
            assert!(section.contains(&format!("{key} = ")), "there is no setting {code}");
        }
    }
}
