//! The blocks of `docs/operations.md` that need no systemd, as they stand there.

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

/// The block of a name, in the folders of a test.
fn block(name: &str, agent: &Agent) -> String {
    let (_, rest) = PAGE.split_once(&format!("```sh {name}\n")).unwrap_or_else(|| panic!("no block {name}"));
    let (block, _) = rest.split_once("\n```").unwrap();
    let at = |place: &str| agent.path(place).display().to_string();
    block.replace("/var/lib/halosync", &at("state")).replace("/var/backups", &at("backups"))
}

/// Runs a block; the program is found by its name.
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

async fn copied() -> Option<(Simulator, Agent)> {
    if Command::new("sqlite3").arg("-version").output().is_err() {
        eprintln!("SKIPPED: sqlite3 is not on this machine");
        return None;
    }
    let settings = SimulatorSettings {
        tickets: 250,
        client_id: CLIENT_ID.into(),
        client_secret: CLIENT_SECRET.into(),
        ..SimulatorSettings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    let places = "[store]\npath = \"state/halosync.db\"\n\n[export]\ndir = \"state/export\"\n";
    let agent = Agent::of(&simulator.url(), places);
    for folder in ["state", "backups"] {
        fs::create_dir(agent.path(folder)).unwrap();
    }
    agent.run(&["sync"]).success();
    Some((simulator, agent))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_put_back_begins_a_new_lineage_and_catches_up() {
    let Some((simulator, agent)) = copied().await else { return };
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
    let handed_on = agent.run(&["export", "delta"]).success();
    let told = String::from_utf8_lossy(&handed_on.get_output().stdout).into_owned();
    assert!(told.contains("lineage"), "{told}");
    assert_ne!(lineage(), before);
    agent.run(&["export", "verify", "state/export"]).success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_fresh_says_so_and_one_that_was_vacuumed_is_as_it_was() {
    let Some((_simulator, agent)) = copied().await else { return };
    succeeds("fresh", &agent);
    succeeds("vacuum", &agent);
    assert!(succeeds("check", &agent).contains("integrity"));
    agent.run(&["sync"]).success();
    let database = rusqlite::Connection::open(agent.path("state/halosync.db")).unwrap();
    for table in ["runs", "walks"] {
        let old = format!("UPDATE {table} SET ended_at = '2020-01-01T00:00:00.000Z'");
        database.execute(&old, []).unwrap();
    }
    assert_eq!(run("fresh", &agent).status.code(), Some(4));
}

/// What the page says about the settings and the figures is what there is.
#[test]
fn every_setting_and_every_figure_that_the_page_names_is_there() {
    let example = fs::read_to_string("agent.toml.example").unwrap();
    let figures = fs::read_to_string("src/agent/service/exposition.rs").unwrap();
    for code in PAGE.split('`').skip(1).step_by(2) {
        if code.starts_with("halosync_") {
            assert!(figures.contains(&format!("\"{code}\"")), "there is no figure {code}");
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
