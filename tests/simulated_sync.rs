//! `halosync sync` and `halosync export`: the real binary, over real sockets, against the simulated server in this process.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use halo_simulator::{ApiEndpoint, DeletedGet, Edit};
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use support::server::ServerProcess;
use support::test_env::{CommandResult, TestEnv};
use support::{file_names, sha256};

/// How long any event of these tests may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asserts that the database is intact and its change log has no gap, after an initial load.
fn assert_intact(env: &TestEnv) {
    assert_eq!(env.texts("PRAGMA integrity_check"), ["ok"]);
    let gaps = "SELECT COUNT(*) FROM changes WHERE seq > 1 AND seq - 1 NOT IN (SELECT seq FROM changes)";
    assert_eq!(env.number(gaps), 0, "the change log has gaps");
    assert_eq!(env.change_count(), env.number("SELECT COUNT(*) FROM tickets"));
}

/// Starts an initial load whose 18th list request gets no response, and waits until its first rows are committed.
async fn start_stuck_initial_load(env: &TestEnv) -> Child {
    env.inject("list@18:delay=600000");
    let child = env.command(&["--json", "sync"]).spawn().expect("a process");
    let committed = || env.try_value::<i64>("SELECT COUNT(*) FROM tickets").is_some_and(|rows| 0 < rows);
    wait_until("the first rows", || committed() && 18 <= env.list_request_count()).await;
    child
}

/// Waits for something that another process does.
async fn wait_until(event: &str, mut happened: impl FnMut() -> bool) {
    let since = Instant::now();
    while !happened() {
        assert!(since.elapsed() < TIMEOUT, "{event} did not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

// ---- The simulator ----

#[test]
fn simulator_replays_files_in_order_and_serves_the_rest_itself() {
    let folder = tempfile::tempdir().unwrap();
    let replay = |path: &str, file: &str, body: &str| {
        fs::write(folder.path().join(file), body).unwrap();
        let argument = format!("{path}{}", folder.path().join(file).display());
        ["--replay".into(), argument.into()]
    };
    let arguments = [
        replay("/api/tickets=", "before.json", r#"{"record_count":1,"tickets":[{"id":"1001"}]}"#),
        replay("/api/tickets=", "after.json", r#"{"record_count":0,"tickets":[]}"#),
        replay("/auth/token=400:", "token.json", r#"{"error":"invalid_client"}"#),
    ];
    let server = ServerProcess::start_with(5, arguments.into_iter().flatten());
    let list = || server.request("GET", "/api/tickets?pageinate=true&page_no=1");
    assert_eq!(list(), (200, r#"{"record_count":1,"tickets":[{"id":"1001"}]}"#.into()));
    for _ in 0..2 {
        assert_eq!(list(), (200, r#"{"record_count":0,"tickets":[]}"#.into()));
    }
    assert_eq!(server.request("POST", "/auth/token"), (400, r#"{"error":"invalid_client"}"#.into()));
    assert_eq!(server.request("GET", "/api/tickets/1001").0, 401);
    assert_eq!(server.control("GET", "ids").as_array().unwrap().len(), 5);
}

// ---- Scans ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn initial_load_stores_every_ticket_with_parallel_requests() {
    let env = TestEnv::builder()
        .tickets(717)
        .knob("page_cap=40")
        .knob("latency_ms=20")
        .settings("parallel_requests = 3")
        .start()
        .await;
    let report = env.run_ok(&["sync"]);
    assert_eq!((&report["outcome"], &report["tickets"]), (&"complete".into(), &717.into()));
    env.assert_matches_server("after the last sync");
    let (lists, peak) = env.with_server(|server| (server.log().list_count(), server.log().peak_in_flight()));
    // 18 pages, and the probes.
    assert!((18..=23).contains(&lists), "{lists} list requests");
    assert_eq!(peak, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_sync_makes_one_list_request_and_25_changes_at_most_two() {
    let env = TestEnv::new(2_500).await;
    env.run_ok(&["sync"]);
    let initial = env.change_count();

    env.reset_request_log();
    let quiet = env.run_ok(&["sync"]);
    assert_eq!(env.list_request_count(), 1);
    assert_eq!((env.change_count(), &quiet["scan"]["kind"]), (initial, &"incremental".into()));

    env.reset_request_log();
    let edited = env.with_server(|server| server.edit_some(25, Utc::now()));
    env.run_ok(&["sync"]);
    let lists = env.list_request_count();
    assert!(lists <= 2, "{lists} list requests for 25 changes");
    let recorded = env.texts(&format!(
        "SELECT op || ' ' || UID || COALESCE(reason, '') FROM changes WHERE seq > {initial} ORDER BY UID"
    ));
    let expected: Vec<_> = edited.iter().map(|id| format!("u {id}")).collect();
    assert_eq!(recorded, expected);
    env.assert_matches_server("after the last sync");
}

// ---- Failures ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_token_is_renewed_once() {
    // All tokens are revoked; or the server's clock jumps past their end.
    for fault in ["list@9:expire", "list@9:skew=7200"] {
        let env = TestEnv::builder().tickets(2_000).knob("latency_ms=5").start().await;
        env.inject(fault);
        env.run_ok(&["sync"]);
        let (tokens, refused) = env.with_server(|server| {
            let refused = server.log().entries().filter(|entry| entry.status == 401).count();
            (server.log().token_count(), refused)
        });
        assert_eq!(tokens, 2, "{fault}");
        assert!((1..=4).contains(&refused), "{fault}: {refused} requests were refused");
        env.assert_matches_server("after the last sync");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_is_respected_by_all_parallel_requests() {
    // A hundred pages: without the pause most of them would be requested.
    let env = TestEnv::builder().tickets(2_000).knob("page_cap=20").knob("latency_ms=20").start().await;
    env.inject("list@9:throttle=2");
    let report = env.run_ok(&["sync"]);
    assert_eq!(report["requests"]["repeated"], 1);
    env.assert_matches_server("after the last sync");
    env.with_server(|server| {
        let lists = server.log().entries().filter(|entry| entry.endpoint == ApiEndpoint::List);
        let after: Vec<_> = lists.skip_while(|entry| entry.status != 429).collect();
        let resumes_at = after[0].at + TimeDelta::milliseconds(1_900);
        // Requests in flight cannot know, nor those sent before a busy machine read the response.
        let soon = after.iter().filter(|entry| entry.at < resumes_at).count();
        assert!(soon <= 30, "{soon} of {} requests were sent during the pause", after.len());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn count_mismatch_is_incomplete_and_keeps_watermark() {
    let env = TestEnv::new(250).await;
    env.run_ok(&["sync"]);
    let (watermark, journal) = (env.watermark(), "SELECT COUNT(*) FROM watermark_journal");
    let moves = env.number(journal);
    let (incremental, full): (&[&str], &[&str]) = (&["sync"], &["sync", "--full"]);
    for (lie, command) in [("count=+7", full), ("count=-7", full), ("count=+7", incremental)] {
        let edited = env.with_server(|server| server.edit_some(3, Utc::now()));
        env.inject(&format!("list:{lie}"));
        let result = env.run_json(command);
        assert_eq!(result.status, Some(3), "{lie}: {}", result.stdout);
        assert_eq!(result.json["outcome"], "incomplete");
        assert_eq!((env.watermark(), env.number(journal)), (watermark.clone(), moves), "{lie}");
        env.clear_faults();
        // The received rows are stored all the same.
        let ids = edited.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let stored = env.number(&format!(
            "SELECT COUNT(*) FROM changes WHERE op = 'u' AND UID IN ({ids}) AND run_id = (SELECT MAX(run_id) FROM runs)"
        ));
        assert_eq!(stored, 3, "{lie}");
    }
    env.advance_server_clock();
    env.run_ok(&["sync"]);
    assert!(watermark < env.watermark());
    env.assert_matches_server("after the last sync");
}

// ---- Deletions ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_scan_finds_deletions_and_keeps_hidden_tickets() {
    let env = TestEnv::builder().tickets(250).knob("merged_listed=off").start().await;
    env.run_ok(&["sync"]);
    let ids = env.with_server(|server| server.ids());
    let (gone, merged, hidden) = (ids[17], ids[40], ids[99]);
    env.with_server(|server| {
        server.delete(gone, Utc::now());
        server.merge(merged, ids[41], Utc::now());
        server.hide(&[hidden]);
    });
    env.run_ok(&["sync", "--full"]);
    env.assert_matches_server_and(&[hidden], "after the last sync");
    let tombstones = "SELECT UID || ' ' || REASON FROM deleted_tickets ORDER BY UID";
    assert_eq!(env.texts(tombstones), [format!("{gone} vanished"), format!("{merged} merged")]);
    let unlisted = "SELECT UID || ' ' || status FROM unlisted_tickets";
    assert_eq!(env.texts(unlisted), [format!("{hidden} forbidden")]);

    // Another server marks deleted tickets; and the hidden ticket is visible again.
    env.with_server(|server| {
        server.knobs().deleted_get = DeletedGet::Found;
        server.delete(ids[18], Utc::now());
        server.unhide(&[hidden]);
    });
    env.run_ok(&["sync", "--full"]);
    env.assert_matches_server("after the last sync");
    assert!(env.texts(tombstones).contains(&format!("{} deleted", ids[18])));
    assert_eq!(env.texts(unlisted), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_guard_deletes_nothing_until_accepted() {
    let env = TestEnv::new(300).await;
    env.run_ok(&["sync"]);
    let gone: Vec<i64> = env.with_server(|server| server.ids().into_iter().skip(100).take(21).collect());
    env.with_server(|server| gone.iter().for_each(|id| server.delete(*id, Utc::now())));
    let (watermark, changes) = (env.watermark(), env.change_count());

    let result = env.run_json(&["sync", "--full"]);
    assert_eq!(result.status, Some(3), "{} {}", result.stdout, result.stderr);
    assert_eq!((env.watermark(), env.change_count()), (watermark.clone(), changes));
    env.assert_matches_server_and(&gone, "after the last sync");
    assert_eq!(env.number("SELECT COUNT(*) FROM unlisted_tickets WHERE status = 'guarded'"), 21);
    let stderr = env.run(&["sync", "--full"]).stderr;
    assert!(stderr.contains("halosync sync --full --accept-deletes"), "{stderr}");

    env.advance_server_clock();
    env.run_ok(&["sync", "--full", "--accept-deletes"]);
    env.assert_matches_server("after the last sync");
    assert_eq!(env.number("SELECT COUNT(*) FROM deleted_tickets WHERE REASON = 'vanished'"), 21);
    assert_eq!(env.number("SELECT COUNT(*) FROM unlisted_tickets"), 0);
    assert!(watermark < env.watermark());
}

// ---- What is written ----

/// Every row of every table but `runs`, as text.
fn dump(env: &TestEnv) -> BTreeMap<String, Vec<String>> {
    let database = env.connection();
    let tables =
        env.texts("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
    let rows_of = |table: &String| {
        let mut statement = database.prepare(&format!("SELECT * FROM \"{table}\"")).expect("a table");
        let width = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cells = (0..width).map(|column| Ok(format!("{:?}", row.get_ref(column)?)));
            Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
        });
        rows.expect("rows").collect::<Result<_, _>>().expect("rows")
    };
    tables.iter().filter(|name| *name != "runs").map(|name| (name.clone(), rows_of(name))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dry_run_writes_only_its_own_run() {
    let env = TestEnv::new(1_500).await;
    let report = env.run_ok(&["sync", "--dry-run"]);
    assert_eq!((&report["dry_run"], &report["changes"]["created"]), (&true.into(), &1_500.into()));
    let stored: usize = dump(&env)
        .iter()
        .filter(|(table, _)| !["lineage", "refinery_schema_history"].contains(&table.as_str()))
        .map(|(_, rows)| rows.len())
        .sum();
    assert_eq!(stored, 0, "a dry run wrote into an empty database");

    env.run_ok(&["sync"]);
    env.with_server(|server| {
        let ids = server.ids();
        server.edit_some(30, Utc::now());
        server.create(5, Utc::now());
        server.delete(ids[3], Utc::now());
        server.hide(&ids[7..9]);
        server.rename_status(1, "Fresh");
    });
    let before = dump(&env);
    for arguments in [&["sync", "--dry-run"][..], &["sync", "--dry-run", "--full"]] {
        let report = env.run_ok(arguments);
        assert_eq!(report["changes"]["created"], 5);
        assert_eq!(report["changes"]["deleted"], i32::from(arguments.contains(&"--full")));
        assert!(dump(&env) == before, "{arguments:?} wrote more than its run");
    }
    assert_eq!(env.texts("SELECT kind FROM runs ORDER BY run_id"), ["dry_run", "sync", "dry_run", "dry_run"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_after_sigterm_converges() {
    let env = TestEnv::new(2_500).await;
    let child = start_stuck_initial_load(&env).await;
    let since = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    let result = CommandResult::of(child);
    assert_eq!(result.status, Some(143), "{}", result.stderr);
    assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
    assert_intact(&env);
    assert_eq!(env.watermark(), "");
    assert_eq!(env.texts("SELECT outcome FROM runs"), ["failed"]);

    env.clear_faults();
    env.run_ok(&["sync"]);
    assert_intact(&env);
    env.assert_matches_server("after the last sync");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_sync_counts_every_ticket_that_it_created() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let env = TestEnv::new(2_500).await;
        let child = start_stuck_initial_load(&env).await;
        kill_process(Pid::from_child(&child), signal).expect("a signal");
        CommandResult::of(child).code(status);
        let tickets = env.number("SELECT COUNT(*) FROM tickets");
        assert!(0 < tickets, "{signal:?}");
        assert_eq!(env.number("SELECT SUM(created) FROM runs"), tickets, "{signal:?}");
        assert_eq!(env.number("SELECT SUM(received) FROM runs"), tickets, "{signal:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_after_sigkill_converges() {
    let env = TestEnv::new(2_500).await;
    let mut child = start_stuck_initial_load(&env).await;
    child.kill().expect("a kill");
    child.wait().expect("an end");
    assert_intact(&env);
    assert_eq!(
        env.number("SELECT COUNT(*) FROM watermarks WHERE state = 'initial' AND covered_until IS NULL"),
        1
    );

    env.clear_faults();
    env.run_ok(&["sync"]);
    assert_intact(&env);
    env.assert_matches_server("after the last sync");
}

// ---- Exports ----

/// A package on disk.
struct Package {
    manifest: Json,
    data: PathBuf,
}

/// The packages of the default consumer in order. Asserts all hashes, counts and links of the chain, without the code that
/// wrote them.
fn packages(env: &TestEnv) -> Vec<Package> {
    let folder = env.path("export/deltas/default");
    let names = file_names(&folder);
    let (mut previous, mut from) = (Json::Null, 0);
    let mut packages = Vec::new();
    for name in names.iter().filter(|name| name.ends_with(".manifest")) {
        let bytes = fs::read(folder.join(name)).expect("a manifest");
        let manifest: Json = serde_json::from_slice(&bytes).expect("JSON");
        let hash = manifest["manifest_sha256"].as_str().expect("a hash");
        let zeroed = String::from_utf8(bytes).expect("text").replace(hash, &"0".repeat(64));
        assert_eq!(sha256(zeroed.as_bytes()), hash, "{name}: its own hash");
        assert_eq!(manifest["previous_manifest_sha256"], previous, "{name}: the chain");
        assert_eq!(manifest["from_seq"], from, "{name}: the ranges");
        previous = hash.into();
        from = manifest["to_seq"].as_i64().expect("a number");

        let file = &manifest["files"][0];
        let data = folder.join(file["name"].as_str().expect("a name"));
        let bytes = fs::read(&data).expect("data");
        assert_eq!(sha256(&bytes), file["sha256"].as_str().expect("a hash"), "{name}: the data");
        assert_eq!(file["bytes"], bytes.len(), "{name}");
        let ops = rows(&data).into_iter().map(|row| row.1).collect::<String>();
        for op in ["c", "u", "d"] {
            assert_eq!(manifest["counts"][op], ops.matches(op).count(), "{name}: {op}");
        }
        assert_eq!(file["rows"], ops.len(), "{name}");
        packages.push(Package { manifest, data });
    }
    let beside = names.iter().filter(|name| *name != "reference").count();
    assert_eq!(beside, 2 * packages.len(), "more files than packages: {names:?}");
    let registered =
        env.texts("SELECT from_seq || '-' || to_seq || ' ' || manifest_sha256 FROM packages ORDER BY to_seq");
    let listed: Vec<_> = packages
        .iter()
        .map(|it| {
            let hash = it.manifest["manifest_sha256"].as_str().unwrap_or_default();
            format!("{}-{} {hash}", it.manifest["from_seq"], it.manifest["to_seq"])
        })
        .collect();
    assert_eq!(registered, listed, "the registered packages");
    packages
}

/// The ticket id and the operation of each row of a CSV file.
fn rows(file: &Path) -> Vec<(i64, String)> {
    let mut reader = csv::Reader::from_path(file).expect("a file");
    let header = reader.headers().expect("a header").clone();
    let position = |name: &str| header.iter().position(|column| column == name).expect("a column");
    let (id, op) = (position("UID"), position("_op"));
    let records = reader.records().map(|record| record.expect("a record"));
    records.map(|record| (record[id].parse().expect("a number"), record[op].to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delta_packages_hold_all_changes_in_an_unbroken_chain() {
    let env = TestEnv::new(600).await;
    env.run_ok(&["sync"]);
    env.run_ok(&["export", "delta"]);
    let first = packages(&env);
    assert_eq!(first.len(), 1);
    let ids: Vec<_> = rows(&first[0].data).into_iter().map(|row| row.0).collect();
    assert_eq!(ids, env.with_server(|server| server.ids()));
    assert_eq!(first[0].manifest["covered_until"], env.watermark());
    assert_eq!(first[0].manifest["complete"], true);

    let expected = env.with_server(|server| {
        let mut expected: BTreeMap<i64, &str> = BTreeMap::new();
        expected.extend(server.edit_some(12, Utc::now()).into_iter().map(|id| (id, "u")));
        expected.extend(server.create(4, Utc::now()).into_iter().map(|id| (id, "c")));
        let gone = ids[0];
        server.delete(gone, Utc::now());
        expected.insert(gone, "d");
        expected
    });
    env.run_ok(&["sync", "--full"]);
    env.run_ok(&["export", "delta"]);
    let both = packages(&env);
    assert_eq!(both.len(), 2);
    let exported: BTreeMap<_, _> = rows(&both[1].data).into_iter().collect();
    let exported: BTreeMap<_, _> = exported.iter().map(|(id, op)| (*id, op.as_str())).collect();
    assert_eq!(exported, expected);
    assert_eq!(both[1].manifest["to_seq"], env.number("SELECT MAX(seq) FROM changes"));

    assert_eq!(env.run_json(&["export", "delta", "--fail-if-empty"]).status, Some(4));
    assert_eq!(packages(&env).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_exports_according_to_schedule() {
    let made = |report: &Json| report["export"]["packages"].as_array().map(Vec::len);
    let env = TestEnv::builder().tickets(200).settings("\n[export]\nschedule = \"after-sync\"").start().await;
    assert_eq!(made(&env.run_ok(&["sync", "--dry-run"])), None);
    assert_eq!(made(&env.run_ok(&["sync"])), Some(1));
    assert_eq!(made(&env.run_ok(&["sync"])), Some(0), "nothing changed");
    assert_eq!(packages(&env).len(), 1);

    let env = TestEnv::builder().tickets(200).settings("\n[export]\nschedule = \"1h\"").start().await;
    assert_eq!(made(&env.run_ok(&["sync"])), Some(1), "there was no package yet");
    env.advance_server_clock();
    env.with_server(|server| server.edit_some(3, Utc::now()));
    assert_eq!(made(&env.run_ok(&["sync"])), None, "the export is not due");
    let database = Connection::open(env.path("halosync.db")).expect("the database");
    let earlier = "UPDATE consumers SET exported_at = strftime('%Y-%m-%dT%H:%M:%fZ', exported_at, '-1 hour')";
    database.execute(earlier, []).expect("an hour");
    // Another export is running: the sync succeeds without one.
    let lock = fs::File::create(env.path("halosync.db.export.lock")).expect("a lock");
    lock.try_lock().expect("the lock");
    assert_eq!(made(&env.run_ok(&["sync"])), None);
    drop(lock);
    assert_eq!(made(&env.run_ok(&["sync"])), Some(1));
    assert_eq!(packages(&env).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_export_after_complete_sync_reports_both() {
    let env = TestEnv::builder()
        .tickets(200)
        .settings("\n[export]\nschedule = \"after-sync\"\ndir = \"missing/export\"")
        .start()
        .await;
    let result = env.run_json(&["sync"]);
    assert_eq!(result.status, Some(73), "{}", result.stderr);
    assert_eq!((&result.json["outcome"], &result.json["export"]), (&"complete".into(), &Json::Null));
    assert!(result.stderr.contains("missing/export"), "{}", result.stderr);
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 200);
}

/// A package with an updated and a deleted ticket. Custom fields are an array in JSON, and the text of that array in CSV.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_fields_are_in_database_change_log_and_every_package_format() {
    let env = TestEnv::builder().tickets(60).settings("include_custom_fields = true").start().await;
    env.run_ok(&["sync"]);
    assert_eq!(env.number("SELECT COUNT(*) FROM custom_fields"), 60 * 9);
    for (consumer, format) in [("c", "csv"), ("l", "jsonl"), ("j", "json")] {
        env.run_ok(&["export", "delta", "--consumer", consumer, "--format", format]);
    }
    env.advance_server_clock();
    let ids = env.with_server(|server| server.ids());
    let (updated, deleted) = (ids[3], ids[7]);
    env.with_server(|server| {
        let edit = Edit::CustomField { field: 121, value: "CC, \"7\"".into(), display: "seven".into() };
        server.edit(updated, edit, Utc::now());
        server.delete(deleted, Utc::now());
    });
    let before =
        env.texts(&format!("SELECT VALUE FROM custom_fields WHERE UID = {updated} AND FIELD_ID = 121"));
    env.run_ok(&["sync", "--full"]);
    let logged = env.texts(&format!(
        "SELECT old_value || ' to ' || new_value FROM ticket_history WHERE UID = {updated} AND attribute = 'CUSTOM.121'"
    ));
    assert_eq!(logged, [format!("{} to CC, \"7\"", before[0])]);

    let of = |row: &Json| (row["UID"].as_i64().expect("a number"), row["_custom_fields"].clone());
    let parsed = |text: &str| text.parse::<Json>().expect("JSON");
    let mut exported: Vec<Vec<(i64, Json)>> = Vec::new();
    for (consumer, format) in [("c", "csv"), ("l", "jsonl"), ("j", "json")] {
        let made = env.run_ok(&["export", "delta", "--consumer", consumer, "--format", format]);
        let file = made["packages"][0]["file"].as_str().expect("a file").to_owned();
        let text =
            fs::read_to_string(env.path("export/deltas").join(consumer).join(file)).expect("a package");
        exported.push(match format {
            "csv" => {
                let mut rows = csv::Reader::from_reader(text.as_bytes());
                let header = rows.headers().expect("a header").clone();
                let position = |name| header.iter().position(|it| it == name).expect(name);
                let (id, fields) = (position("UID"), position("_custom_fields"));
                let row = |row: csv::StringRecord| (row[id].parse().expect("a number"), parsed(&row[fields]));
                rows.records().map(|it| row(it.expect("a row"))).collect()
            }
            "jsonl" => text.lines().map(|line| of(&parsed(line))).collect(),
            _ => parsed(&text).as_array().expect("an array").iter().map(of).collect(),
        });
    }
    let [csv, lines, array] = &exported[..] else { unreachable!("three formats") };
    assert_eq!(csv, lines);
    assert_eq!(csv, array);
    let exported: BTreeMap<_, _> = csv.iter().cloned().collect();
    assert_eq!(exported.keys().copied().collect::<Vec<_>>(), [updated, deleted]);
    let of_field =
        |id: i64| exported[&updated].as_array().expect("a list").iter().find(|it| it["FIELD_ID"] == id);
    assert_eq!(
        *of_field(121).expect("the field"),
        json!({ "FIELD_ID": 121, "NAME": "CFCostCentre", "LABEL": "Cost centre", "TYPE": 0, "VALUE": "CC, \"7\"", "DISPLAY": "seven" })
    );
    assert_eq!(
        exported[&deleted].as_array().map(Vec::len),
        Some(9),
        "the last known custom fields of the deleted ticket"
    );
}
