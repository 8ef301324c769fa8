//! Runs the blocks of `docs/operations.md` that need no systemd.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use chrono::Utc;
use halo_simulator::Simulator;
use support::database::Database;
use support::test_env::TestEnv;

const PAGE: &str = include_str!("../docs/operations.md");

/// A named block, with its paths replaced by those of the test.
fn block(name: &str, env: &TestEnv<()>) -> String {
    let (_, rest) = PAGE.split_once(&format!("```sh {name}\n")).unwrap_or_else(|| panic!("no block {name}"));
    let (block, _) = rest.split_once("\n```").unwrap();
    let path = |name: &str| env.path(name).display().to_string();
    block.replace("/var/lib/halosync", &path("state")).replace("/var/backups", &path("backups"))
}

/// Runs a block with the program in `PATH`.
fn run(name: &str, env: &TestEnv<()>) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_halosync")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-euc", &block(name, env)]).current_dir(env.path("")).env_clear().env("PATH", path);
    shell.output().unwrap()
}

fn succeeds(name: &str, env: &TestEnv<()>) -> String {
    let output = run(name, env);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn synced() -> Option<(Simulator, TestEnv<()>)> {
    if Command::new("sqlite3").arg("-version").output().is_err() {
        eprintln!("SKIPPED: sqlite3 is not installed");
        return None;
    }
    let simulator = support::server::serve(250).await;
    let paths = "[store]\npath = \"state/halosync.db\"\n\n[export]\ndir = \"state/export\"\n";
    let env = TestEnv::for_server(&simulator.url(), paths);
    for folder in ["state", "backups"] {
        fs::create_dir(env.path(folder)).unwrap();
    }
    env.run(&["sync"]).success();
    Some((simulator, env))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_backup_starts_a_new_lineage_and_catches_up() {
    let Some((simulator, env)) = synced().await else { return };
    let rows = succeeds("reader", &env);
    assert!(rows.contains('|'), "{rows}");
    env.run(&["export", "delta"]).success();
    succeeds("backup", &env);

    simulator.with(|server| server.edit_some(5, Utc::now()));
    env.run(&["sync"]).success();
    env.run(&["export", "delta"]).success();
    let database = Database::new(env.path("state/halosync.db"));
    let lineage = || database.value::<String>("SELECT lineage FROM lineage ORDER BY rowid DESC");
    let before = lineage();

    succeeds("restore", &env);
    env.run(&["status"]).success();
    env.run(&["sync"]).success();
    simulator.with(|server| server.edit_some(3, Utc::now()));
    env.run(&["sync"]).success();
    let message = env.run(&["export", "delta"]).success().stdout;
    assert!(message.contains("lineage"), "{message}");
    assert_ne!(lineage(), before);
    env.run(&["export", "verify", "state/export"]).success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freshness_check_and_vacuum_work_as_documented() {
    let Some((_simulator, env)) = synced().await else { return };
    succeeds("fresh", &env);
    succeeds("vacuum", &env);
    assert!(succeeds("check", &env).contains("integrity"));
    env.run(&["sync"]).success();
    let database = rusqlite::Connection::open(env.path("state/halosync.db")).unwrap();
    for table in ["runs", "scans"] {
        let old = format!("UPDATE {table} SET ended_at = '2020-01-01T00:00:00.000Z'");
        database.execute(&old, []).unwrap();
    }
    assert_eq!(run("fresh", &env).status.code(), Some(4));
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
