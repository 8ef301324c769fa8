//! `halosync reset`: the mark goes back, the rows stay, the next pass asks again.

#![allow(clippy::unwrap_used)]

mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod agent;
}

use std::time::Duration;

use chrono::TimeDelta;
use halo_simulator::{ApiEndpoint, Simulator, SimulatorSettings};
use halosync::store::{Store, StoreError};
use halosync::ticket::Timestamp;
use serde_json::Value as Json;
use support::agent::{Agent, CLIENT_ID, CLIENT_SECRET};

async fn simulator() -> Simulator {
    let settings = SimulatorSettings {
        tickets: 250,
        client_id: CLIENT_ID.into(),
        client_secret: CLIENT_SECRET.into(),
        ..SimulatorSettings::default()
    };
    Simulator::start(settings).await.unwrap()
}

fn json(agent: &Agent, arguments: &[&str]) -> Json {
    let output = agent.run(arguments).success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

fn mark(agent: &Agent) -> String {
    agent.database().query_row("SELECT covered_until FROM watermarks", [], |row| row.get(0)).unwrap()
}

fn number(agent: &Agent, sql: &str) -> i64 {
    agent.database().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn spelled(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_moves_the_mark_back_and_the_next_pass_asks_again_from_there() {
    let simulator = simulator().await;
    let agent = Agent::of(&simulator.url(), "");
    json(&agent, &["sync", "--json"]);
    let (from, changes) = (mark(&agent), number(&agent, "SELECT COUNT(*) FROM changes"));
    let to = spelled(&from).minus(TimeDelta::days(40)).to_string();

    let told = json(&agent, &["reset", "--to", &to, "--reason", " a backup was restored ", "--json"]);
    assert_eq!((&told["from"], &told["to"]), (&from.as_str().into(), &to.as_str().into()));
    assert_eq!(mark(&agent), to);
    let journal = "SELECT reason || ' ' || covered_from || ' ' || covered_until FROM watermark_journal
                   ORDER BY move_id DESC LIMIT 1";
    let noted: String = agent.database().query_row(journal, [], |row| row.get(0)).unwrap();
    assert_eq!(noted, format!("reset: a backup was restored {from} {to}"));
    assert_eq!(number(&agent, "SELECT COUNT(*) FROM tickets"), 250);

    simulator.with(|server| server.log_mut().reset());
    let report = json(&agent, &["sync", "--json"]);
    assert_eq!((&report["outcome"], &report["scan"]["kind"]), (&"complete".into(), &"incremental".into()));
    let asked = simulator.with(|server| {
        let list = server.log().entries().find(|entry| entry.endpoint == ApiEndpoint::List).unwrap();
        list.query.split("lastupdatefromdate=").nth(1).unwrap()[..24 + 4].replace("%3A", ":")
    });
    assert!(asked <= to, "it asked from {asked}");
    assert_eq!(number(&agent, "SELECT COUNT(*) FROM changes"), changes, "a replay left a trace");
    assert!(to < mark(&agent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_that_ends_before_a_reset_is_not_told_of_it() {
    let simulator = simulator().await;
    let agent = Agent::of(&simulator.url(), "");
    simulator.with(|server| server.set_clock_offset(TimeDelta::minutes(-10)));
    json(&agent, &["sync", "--json"]);
    let first = (mark(&agent), number(&agent, "SELECT MAX(seq) FROM changes"));
    simulator.with(|server| {
        server.set_clock_offset(TimeDelta::minutes(-5));
        server.edit_some(3, chrono::Utc::now());
    });
    json(&agent, &["sync", "--json"]);
    let to = spelled(&mark(&agent)).minus(TimeDelta::minutes(1)).to_string();
    assert!(first.0 < to);
    agent.run(&["reset", "--to", &to, "--reason", "x"]).success();
    let store = Store::open_read_only(&agent.path("halosync.db"), Duration::from_secs(1)).unwrap();
    let covered =
        |seq| store.read(|it| Ok::<_, StoreError>(it.covered_until_at(seq)?.map(|at| at.to_string())));
    assert_eq!(covered(first.1).unwrap(), Some(first.0));
    assert_eq!(covered(first.1 + 3).unwrap(), Some(to));
}
