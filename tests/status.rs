//! `halosync status`, as text and JSON, in every state of the database.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use chrono::Utc;
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

/// Asserts that the first line says `OK`, the number of tickets and their age.
#[track_caller]
fn assert_healthy(env: &TestEnv<()>, tickets: &str) {
    let line = first_line(env);
    let age = line.strip_prefix(&format!("OK — {tickets}, complete as of ")).unwrap_or_default();
    assert!(age == "now" || age.ends_with(" s ago"), "{line}");
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
    let received = with_separator(received.unwrap_or(0));
    assert_eq!(
        line,
        format!(
            "ATTENTION — the initial load has not completed: {received} of 1,200 tickets are saved. \
             `halosync sync` continues it."
        )
    );
    let text = status_text(&env);
    assert!(text.contains("\n  also — the last run failed: "), "{text}");
    let received = format!("\n  Interrupted scan       {received} of 1,200 tickets received since ");
    assert!(text.contains(&received), "{text}");
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
    assert_healthy(&env, "1,200 tickets");
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
    let line = text.lines().find(|line| line.starts_with("  Last full scan ")).unwrap();
    assert!(line.ends_with("), confirmed"), "{text}");
    for line in ["  Tickets                1,200\n", "  Service                not running\n"] {
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
    let text = status_text(&env);
    assert!(
        text.starts_with("ATTENTION — ") && text.contains(" could not be stored as received. "),
        "{text}"
    );

    simulator.with(|server| server.inject(ServerFault::parse("list:status=403").unwrap()));
    env.run(&["sync"]).code(77);
    let line = first_line(&env);
    assert!(line.starts_with("ATTENTION — the last run failed: "), "{line}");
    assert!(line.ends_with(" `halosync check` finds the cause."), "{line}");
    let database = rusqlite::Connection::open(env.path("halosync.db")).unwrap();
    for table in ["runs", "scans"] {
        let old = format!("UPDATE {table} SET ended_at = '2020-01-01T00:00:00.000Z'");
        database.execute(&old, []).unwrap();
    }
    let line = first_line(&env);
    let stale = "ATTENTION — the last complete run ended at 2020-01-01T00:00:00Z, ";
    assert!(line.starts_with(stale) && line.contains(" days ago. `halosync sync` catches up"), "{line}");
}

/// Deletes so many tickets that the delete guard holds, in a full scan.
async fn hold_delete_guard() -> (Simulator, TestEnv<()>) {
    let (simulator, env) = serve("").await;
    env.run(&["sync"]).success();
    simulator.with(|server| {
        let ids = server.ids();
        ids[..100].iter().for_each(|id| server.delete(*id, Utc::now()));
    });
    env.run(&["sync", "--full"]).code(3);
    (simulator, env)
}

const GUARD: &str = "100 tickets would be deleted at once; the delete guard allows 60";
const GUARD_HELP: &str = "halosync sync --full --accept-deletes";

/// Also where later runs are incremental, or fail for another reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_guard_is_in_every_later_sync_status_and_check_until_it_is_settled() {
    let (simulator, env) = hold_delete_guard().await;
    for _ in 0..2 {
        let sync = env.run(&["sync"]).code(3);
        assert!(sync.stderr.contains(GUARD) && sync.stderr.contains(GUARD_HELP), "{sync:?}");
        assert!(sync.stdout.contains(GUARD), "{sync:?}");
        let report = env.run_json(&["sync"]).code(3).json;
        assert_eq!(report["why"], GUARD, "{report:#}");
        assert!(report["help"].as_str().unwrap().contains(GUARD_HELP), "{report:#}");
    }
    simulator.with(|server| server.inject(ServerFault::parse("token:status=403").unwrap()));
    for expected in [3, 77] {
        if expected == 77 {
            env.run(&["sync"]).code(77);
        }
        let line = first_line(&env);
        assert!(line.starts_with(&format!("ATTENTION — {GUARD}. ")) && line.contains(GUARD_HELP), "{line}");
        let report = status_json(&env, &[], 0);
        assert_eq!(report["reasons"][0]["reason"], "delete_guard", "{report:#}");
        assert_eq!(report["delete_guard"], json!({ "removals": 100, "allowed": 60 }));
        assert_eq!(report["unlisted"], json!([{ "status": "guarded", "tickets": 100 }]));
        let has_other = expected == 77;
        assert_eq!(report["reasons"].as_array().unwrap().len(), 1 + usize::from(has_other), "{report:#}");
        let check = env.run(&["check", "--offline"]).success();
        assert!(check.stdout.contains(GUARD) && check.stdout.contains(GUARD_HELP), "{check:?}");
    }

    simulator.with(|server| server.clear_faults());
    env.run(&["sync", "--full", "--accept-deletes"]).success();
    assert_healthy(&env, "1,100 tickets");
    let report = status_json(&env, &[], 0);
    assert_eq!((&report["delete_guard"], &report["unlisted"]), (&Json::Null, &json!([])));
    let check = env.run(&["check", "--offline"]).success();
    assert!(!check.stdout.contains("delete guard"), "{check:?}");
    env.run(&["sync"]).success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_and_rows_that_cannot_be_read_are_named_or_accepted() {
    let (simulator, env) = serve("").await;
    let ids = simulator.with(|server| {
        let ids = server.ids();
        server.set_row_defects(ids[5], vec!["broken".parse().unwrap()]);
        server.set_row_defects(ids[9], vec!["missing.id".parse().unwrap()]);
        ids
    });
    let (pending, before) = (ids[5], ids[8]);
    let why =
        format!("1 row has no usable id (after ticket {before}); 1 ticket cannot be read yet: {pending}");
    for _ in 0..2 {
        env.run(&["sync"]).code(3);
        let text = status_text(&env);
        let line =
            format!("ATTENTION — 1 ticket cannot be read yet: {pending}. Every `halosync sync` asks again");
        assert!(text.starts_with(&line), "{text}");
        assert!(text.contains("\n  also — 1 row has no usable id. Correct the data in HaloITSM"), "{text}");
        let report = status_json(&env, &[], 0);
        let reasons = report["reasons"].as_array().unwrap();
        let reasons: Vec<_> = reasons.iter().map(|it| it["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["pending_tickets", "rejected_rows", "stale"], "{report:#}");
        assert_eq!((&report["pending_tickets"], &report["rejected_rows"]), (&json!(1), &json!(1)));
    }
    assert_eq!(status_json(&env, &[], 0)["runs"][0]["error"], why);

    let accepting = |arguments: &[&str]| {
        let mut command = env.command(arguments);
        CommandResult::of(command.env("HALOSYNC_SYNC__ACCEPT_SHORTFALL", "2").spawn().unwrap())
            .success()
            .stdout
    };
    accepting(&["sync"]);
    let text = accepting(&["status"]);
    let line = text.lines().next().unwrap();
    assert!(line.starts_with("OK — 1,198 tickets, complete as of "), "{text}");
    assert!(line.ends_with("; 2 missing, which `accept_shortfall` accepts"), "{text}");
}

/// What another program or a bad disk does is found without `check`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_schema_changes_a_full_disk_and_damage_are_causes() {
    let (_simulator, env) = serve("\n[store]\nmin_free_disk = \"0\"").await;
    env.run(&["sync"]).success();
    let execute =
        |sql: &str| rusqlite::Connection::open(env.path("halosync.db")).unwrap().execute_batch(sql).unwrap();
    let reasons = |env: &TestEnv<()>, status| {
        let report = status_json(env, &[], status);
        let reasons =
            report["reasons"].as_array().unwrap().iter().map(|it| it["reason"].as_str().unwrap().to_owned());
        reasons.collect::<Vec<_>>().join(" ")
    };
    execute("UPDATE tickets SET NAME = 'edited' WHERE UID = (SELECT MIN(UID) FROM tickets)");
    assert_eq!(reasons(&env, 0), "local_edits");
    execute("CREATE TRIGGER spy AFTER UPDATE ON tickets BEGIN SELECT 1; END");
    assert_eq!(reasons(&env, 0), "schema_changed local_edits");
    let line = first_line(&env);
    assert!(
        line.starts_with("ATTENTION — another program changed the schema: trigger spy on tickets "),
        "{line}"
    );
    assert!(line.ends_with(" `halosync check` shows how to undo it."), "{line}");
    execute("DROP TRIGGER spy; PRAGMA wal_checkpoint(TRUNCATE)");

    let disk = env.command(&["status"]).env("HALOSYNC_STORE__MIN_FREE_DISK", "1000000TB").spawn().unwrap();
    let text = CommandResult::of(disk).success().stdout;
    assert!(text.starts_with("ATTENTION — the disk is full: "), "{text}");

    // A page of `tickets` in the middle of the file.
    let path = env.path("halosync.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 8].fill(0xAB);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(reasons(&env, 65), "database_damaged");
    let text = env.run(&["status"]).code(65).stdout;
    let line = "ATTENTION — the database is damaged. Restore a backup, or move the file away, then run `halosync sync`";
    assert!(text.starts_with(line), "{text}");
}

/// In a pipe a report is text without styles, on a terminal it depends on its width; here is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn piped_status_has_no_styles_and_one_line_for_each_fact() {
    let (_simulator, env) = serve("").await;
    env.run(&["sync"]).success();
    env.run(&["export", "delta"]).success();
    let text = env.run(&["-v", "status"]).success().stdout;
    assert!(!text.contains('\u{1b}') && !text.contains("  \n"), "{text}");
    let headings: Vec<_> = text.lines().skip(1).filter(|it| !it.starts_with(' ') && !it.is_empty()).collect();
    assert_eq!(
        headings,
        ["Data", "Scans", "Waiting", "Last runs", "Consumers", "Names", "Server behavior"],
        "{text}"
    );
    let colored = env.run(&["--color", "always", "status"]).success().stdout;
    assert!(colored.starts_with("\u{1b}[1m\u{1b}[32mOK"), "{colored:?}");
}
