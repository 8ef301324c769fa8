//! `halosync status`, as text and JSON, in every state of the database.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use halo_simulator::{ServerFault, Simulator};
use serde_json::{Value as Json, json};
use support::schema::Schema;
use support::test_env::{CommandResult, TestEnv};
use support::with_separator;

/// More than one transaction stores.
const TICKETS: u32 = 1_200;

async fn serve(settings_text: &str) -> (Simulator, TestEnv<()>) {
    let simulator = support::server::serve(TICKETS).await;
    let env = TestEnv::for_server(&simulator.url(), settings_text);
    (simulator, env)
}

/// Runs `status --json` and returns its report, which matches its schema.
fn status_json(env: &TestEnv<()>, more: &[&str], status: i32) -> Json {
    let result = env.run_json(&[&["status"], more].concat()).code(status);
    let report = serde_json::from_str(&result.stdout).unwrap();
    Schema::of("status").assert_valid(&report);
    report
}

fn status_text(env: &TestEnv<()>) -> String {
    env.run(&["status"]).success().stdout
}

fn first_line(env: &TestEnv<()>) -> String {
    status_text(env).lines().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_matches_its_schema_when_empty_interrupted_complete_and_confirmed() {
    let (simulator, env) = serve("parallel_requests = 1\nmax_retries = 0").await;
    let fault = |text: &str| simulator.with(|server| server.inject(ServerFault::parse(text).unwrap()));
    env.run(&["status"]).code(66);

    fault("token:status=403");
    env.run(&["sync"]).code(77);
    let empty = status_json(&env, &["--max-age", "1h"], 4);
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
    env.run(&["sync"]).code(77);
    let interrupted = status_json(&env, &["--max-age", "1h"], 4);
    let received = interrupted["interrupted_scan"]["received"].as_u64();
    assert!(received.is_some_and(|received| 0 < received), "{interrupted:#}");
    assert_eq!(interrupted["state"], "initial");
    let reasons: Vec<_> = (0..2).map(|position| &interrupted["reasons"][position]["reason"]).collect();
    assert_eq!(reasons, ["initial_load_incomplete", "last_run_not_complete"], "{interrupted:#}");
    let line = first_line(&env);
    assert!(
        line.starts_with("ATTENTION: the initial load has not completed; the last run failed: "),
        "{line}"
    );
    let received =
        format!("interrupted scan  {} tickets received since", with_separator(received.unwrap_or(0)));
    assert!(status_text(&env).contains(&received), "{}", status_text(&env));
    Schema::of("status").assert_is_exact(&interrupted);

    simulator.with(|server| server.clear_faults());
    env.run(&["sync"]).success();
    env.run(&["export", "delta"]).success();
    let reader = rusqlite::Connection::open(env.path("halosync.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM tickets").unwrap();
    let full = status_json(&env, &["--max-age", "1h"], 0);
    for (member, value) in [
        ("state", json!("incremental")),
        ("health", json!("ok")),
        ("reasons", json!([])),
        ("fresh", json!(true)),
        ("tickets", json!(TICKETS)),
        // The scan was resumed; another full scan confirms its first part.
        ("last_full_outcome", json!("verified")),
        ("service_pid", Json::Null),
    ] {
        assert_eq!(full[member], value, "{full:#}");
    }
    assert_eq!(full["readers"][0]["pid"], std::process::id(), "{full:#}");
    assert_eq!(full["consumers"][0]["waiting"], 0);
    assert_eq!(first_line(&env), "OK");
    Schema::of("status").assert_is_exact(&full);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_sync_says_how_many_tickets_are_saved() {
    let (simulator, env) = serve("parallel_requests = 1").await;
    simulator.with(|server| server.inject(ServerFault::parse("list@page11:delay=600000").unwrap()));
    let child = env.command(&["sync"]).spawn().unwrap();
    let checkpoints = || env.try_value::<i64>("SELECT COUNT(*) FROM scan_checkpoints");
    let started = Instant::now();
    while checkpoints().is_none_or(|rows| rows == 0) {
        assert!(started.elapsed() < Duration::from_mins(1), "no rows were committed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let errors = CommandResult::of(child).code(130).stderr;
    let received = status_json(&env, &[], 0)["interrupted_scan"]["received"].as_u64().unwrap();
    let saved = format!("Interrupted. {} of 1,200 tickets are saved;", with_separator(received));
    assert_eq!(errors, format!("{saved} run `halosync sync` again to continue.\n"));
}

/// Frequent incremental scans must not hide the outcome of the last full scan.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcome_of_the_last_full_scan_outlives_incremental_scans() {
    let (_simulator, env) = serve("").await;
    env.run(&["sync"]).success();
    for (arguments, kind, outcome) in [
        (&["sync"][..], "incremental", "verified"),
        (&["sync", "--full"], "full", "confirmed"),
        (&["sync"], "incremental", "confirmed"),
    ] {
        env.run(arguments).success();
        let found = status_json(&env, &[], 0);
        assert_eq!(found["last_scan"]["kind"], kind, "{found:#}");
        assert_eq!(found["last_full_outcome"], outcome, "{found:#}");
    }
    let text = status_text(&env);
    let line = text.lines().find(|line| line.starts_with("last full scan")).unwrap();
    assert!(line.ends_with(" ago), confirmed"), "{text}");
    for line in ["tickets           1,200\n", "service           not running\n"] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_names_an_incomplete_run_rejected_values_and_stale_data() {
    let (simulator, env) = serve("max_retries = 0\n\n[sync]\ninterval = \"5m\"").await;
    simulator.with(|server| {
        let id = server.ids()[0];
        server.set_raw_row(id, format!("{{\"id\":{id},\"summary\":[7]}}"));
    });
    env.run(&["sync"]).success();
    let line = first_line(&env);
    assert!(line.starts_with("ATTENTION: ") && line.contains(" could not be stored as received"), "{line}");

    simulator.with(|server| server.inject(ServerFault::parse("list:status=403").unwrap()));
    env.run(&["sync"]).code(77);
    let line = first_line(&env);
    assert!(line.starts_with("ATTENTION: the last run failed: "), "{line}");
    let database = rusqlite::Connection::open(env.path("halosync.db")).unwrap();
    for table in ["runs", "scans"] {
        let old = format!("UPDATE {table} SET ended_at = '2020-01-01T00:00:00.000Z'");
        database.execute(&old, []).unwrap();
    }
    let line = first_line(&env);
    assert!(
        line.starts_with("ATTENTION: the last complete run ended at 2020-01-01T00:00:00.000Z; "),
        "{line}"
    );
}
