//! `halosync status`, as text and JSON, in every state of the database.

#![allow(clippy::unwrap_used)]

mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod agent;
    pub(crate) mod schema;
}

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use halo_simulator::{ServerFault, Simulator, SimulatorSettings};
use serde_json::{Value as Json, json};
use support::agent::{Agent, CLIENT_ID, CLIENT_SECRET};
use support::schema::Schema;

/// More than one transaction stores.
const TICKETS: u32 = 1_200;

async fn serve(settings_text: &str) -> (Simulator, Agent) {
    let settings = SimulatorSettings {
        tickets: TICKETS,
        client_id: CLIENT_ID.into(),
        client_secret: CLIENT_SECRET.into(),
        ..SimulatorSettings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    let agent = Agent::of(&simulator.url(), settings_text);
    (simulator, agent)
}

/// Runs `status --json` and returns its report, which matches its schema.
fn status_json(agent: &Agent, more: &[&str], status: i32) -> Json {
    let run = agent.run(&[&["--json", "status"], more].concat()).code(status);
    let report = serde_json::from_slice(&run.get_output().stdout).unwrap();
    Schema::of("status").holds(&report);
    report
}

fn status_text(agent: &Agent) -> String {
    String::from_utf8(agent.run(&["status"]).success().get_output().stdout.clone()).unwrap()
}

fn first_line(agent: &Agent) -> String {
    status_text(agent).lines().next().unwrap().to_owned()
}

fn with_separator(number: u64) -> String {
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", number / 1_000, number % 1_000) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_matches_its_schema_when_empty_interrupted_complete_and_confirmed() {
    let (simulator, agent) = serve("parallel_requests = 1\nmax_retries = 0").await;
    let fault = |text: &str| simulator.with(|server| server.inject(ServerFault::parse(text).unwrap()));
    agent.run(&["status"]).code(66);

    fault("token:status=403");
    agent.run(&["sync"]).code(77);
    let empty = status_json(&agent, &["--max-age", "1h"], 4);
    for (member, value) in [
        ("schema_version", json!(1)),
        ("health", json!("attention")),
        ("fresh", json!(false)),
        ("tickets", json!(0)),
        ("last_full_at", Json::Null),
    ] {
        assert_eq!(empty[member], value, "{empty:#}");
    }

    simulator.with(|server| server.clear_faults());
    fault("list@page11:status=403");
    agent.run(&["sync"]).code(77);
    let interrupted = status_json(&agent, &["--max-age", "1h"], 4);
    let received = interrupted["interrupted_scan"]["received"].as_u64();
    assert!(received.is_some_and(|received| 0 < received), "{interrupted:#}");
    assert_eq!(interrupted["state"], "initial");
    let reasons: Vec<_> = (0..2).map(|place| &interrupted["reasons"][place]["reason"]).collect();
    assert_eq!(reasons, ["initial_load_incomplete", "last_run_not_complete"], "{interrupted:#}");
    let line = first_line(&agent);
    assert!(
        line.starts_with("ATTENTION: the initial load has not completed; the last run failed: "),
        "{line}"
    );
    let received =
        format!("interrupted scan  {} tickets received since", with_separator(received.unwrap_or(0)));
    assert!(status_text(&agent).contains(&received), "{}", status_text(&agent));
    Schema::of("status").is_closed_around(&interrupted);

    simulator.with(|server| server.clear_faults());
    agent.run(&["sync"]).success();
    agent.run(&["export", "delta"]).success();
    let reader = rusqlite::Connection::open(agent.path("halosync.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM tickets").unwrap();
    let full = status_json(&agent, &["--max-age", "1h"], 0);
    for (member, value) in [
        ("state", json!("incremental")),
        ("health", json!("ok")),
        ("reasons", json!([])),
        ("fresh", json!(true)),
        ("tickets", json!(TICKETS)),
        // The resumed scan found again everything received before.
        ("last_full_outcome", json!("confirmed")),
        ("service_pid", Json::Null),
    ] {
        assert_eq!(full[member], value, "{full:#}");
    }
    assert_eq!(full["readers"][0]["pid"], std::process::id(), "{full:#}");
    assert_eq!(full["consumers"][0]["waiting"], 0);
    assert_eq!(first_line(&agent), "OK");
    Schema::of("status").is_closed_around(&full);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_sync_says_how_many_tickets_are_saved() {
    let (simulator, agent) = serve("parallel_requests = 1").await;
    simulator.with(|server| server.inject(ServerFault::parse("list@page11:delay=600000").unwrap()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
    let child =
        command.current_dir(agent.path("")).env_clear().arg("sync").stderr(Stdio::piped()).spawn().unwrap();
    let has_rows = || {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = rusqlite::Connection::open_with_flags(agent.path("halosync.db"), flags).ok()?;
        database.query_row("SELECT COUNT(*) FROM scan_checkpoints", [], |row| row.get::<_, i64>(0)).ok()
    };
    let started = Instant::now();
    while has_rows().is_none_or(|rows| rows == 0) {
        assert!(started.elapsed() < Duration::from_mins(1), "no rows were committed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{errors}");
    let received = status_json(&agent, &[], 0)["interrupted_scan"]["received"].as_u64().unwrap();
    let saved = format!("Interrupted. {} of 1,200 tickets are saved;", with_separator(received));
    assert_eq!(errors, format!("{saved} run `halosync sync` again to continue.\n"));
}

/// Frequent incremental scans must not hide the outcome of the last full scan.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcome_of_the_last_full_scan_outlives_incremental_scans() {
    let (_simulator, agent) = serve("").await;
    agent.run(&["sync"]).success();
    for (arguments, kind, outcome) in [
        (&["sync"][..], "incremental", "verified"),
        (&["sync", "--full"], "full", "confirmed"),
        (&["sync"], "incremental", "confirmed"),
    ] {
        agent.run(arguments).success();
        let found = status_json(&agent, &[], 0);
        assert_eq!(found["last_scan"]["kind"], kind, "{found:#}");
        assert_eq!(found["last_full_outcome"], outcome, "{found:#}");
    }
    let text = status_text(&agent);
    let line = text.lines().find(|line| line.starts_with("last full scan")).unwrap();
    assert!(line.ends_with(" ago), confirmed"), "{text}");
    for line in ["tickets           1,200\n", "service           not running\n"] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_names_an_incomplete_run_rejected_values_and_stale_data() {
    let (simulator, agent) = serve("max_retries = 0\n\n[sync]\ninterval = \"5m\"").await;
    simulator.with(|server| {
        let id = server.ids()[0];
        server.set_raw_row(id, format!("{{\"id\":{id},\"summary\":7}}"));
    });
    agent.run(&["sync"]).success();
    let line = first_line(&agent);
    assert!(line.starts_with("ATTENTION: ") && line.contains(" could not be stored as received"), "{line}");

    simulator.with(|server| server.inject(ServerFault::parse("list:status=403").unwrap()));
    agent.run(&["sync"]).code(77);
    let line = first_line(&agent);
    assert!(line.starts_with("ATTENTION: the last run failed: "), "{line}");
    let database = rusqlite::Connection::open(agent.path("halosync.db")).unwrap();
    for table in ["runs", "scans"] {
        let old = format!("UPDATE {table} SET ended_at = '2020-01-01T00:00:00.000Z'");
        database.execute(&old, []).unwrap();
    }
    let line = first_line(&agent);
    assert!(
        line.starts_with("ATTENTION: the last complete run ended at 2020-01-01T00:00:00.000Z; "),
        "{line}"
    );
}
