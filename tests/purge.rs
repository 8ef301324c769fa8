//! `halosync purge`: an erased ticket is in no byte of the database's files, does not come back, and consumers are told.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use chrono::Utc;
use halo_simulator::Edit;
use halosync::store::{Lock, RunKind, Store, Traces, TxEnd};
use halosync::ticket::{ATTRIBUTES, AttributeValue, Op, Timestamp, attribute};
use rstest::rstest;
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use support::database::observed_tickets;
use support::history;
use support::schema::Schema;
use support::test_env::TestEnv;

const REASON: &str = "erasure request 2026-17";

/// Values of a ticket that no other has. None begins like another, because the full-text index stores a word without what
/// it shares with the word before.
const SUMMARY: &str = "aqsummaryplanted";
const OLD_SUMMARY: &str = "bqoldsummaryplanted";
const DETAILS: &str = "cqdetailsplanted";
const UMLAUTS: &str = "Čqžluťoučký-кружка-鈴木";
const FIELD: &str = "dqfieldplanted";
const OLD_FIELD: &str = "eqoldfieldplanted";
const REJECT: &str = "fqrejectplanted";
const EXTRA: &str = "2019-07-13T04:05:06.789";
const DELETED: &str = "gqdeletedplanted";

const PLANTED: [&str; 9] = [SUMMARY, OLD_SUMMARY, DETAILS, UMLAUTS, FIELD, OLD_FIELD, REJECT, EXTRA, DELETED];

fn now() -> Timestamp {
    Timestamp::new(Utc::now()).unwrap()
}

fn settings(full_text: bool) -> String {
    format!(
        "include_custom_fields = true\n\n[store]\nfull_text = {full_text}\nbusy_timeout = \"300ms\"\n\n\
         [export]\ndir = \"export\"\n"
    )
}

async fn start_env(tickets: u32, full_text: bool) -> TestEnv {
    TestEnv::builder()
        .tickets(tickets)
        .knobs(["row_extras=all", "details_bytes=300"])
        .settings(settings(full_text))
        .run_in_directory()
        .start()
        .await
}

fn purge(env: &TestEnv, id: i64) -> Json {
    let report = env.run_ok(&["purge", &id.to_string(), "--reason", REASON]);
    Schema::of("purge").assert_valid(&report);
    report
}

fn edit(env: &TestEnv, id: i64, edits: Vec<Edit>) {
    env.with_server(|server| edits.into_iter().for_each(|edit| server.edit(id, edit, Utc::now())));
}

/// A row as the server serves it, with other values.
fn serve(env: &TestEnv, id: i64, changes: Json) {
    env.with_server(|server| {
        let mut row = server.row(id, Utc::now()).unwrap();
        let Json::Object(changes) = changes else { panic!("an object") };
        row.as_object_mut().unwrap().extend(changes);
        server.set_raw_row(id, row.to_string());
    });
}

/// Which of the texts are in a byte of the database, its log or its shared memory.
fn found(env: &TestEnv, texts: &[&'static str]) -> BTreeSet<&'static str> {
    let files =
        ["", "-wal", "-shm"].map(|suffix| fs::read(env.path(format!("halosync.db{suffix}"))).unwrap());
    let is_in = |text: &&&str| {
        files.iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    texts.iter().filter(is_in).copied().collect()
}

/// Two tickets, one of which the server has deleted, with every planted value in some table. Returns their ids.
fn plant(env: &TestEnv) -> [i64; 2] {
    let ids = env.with_server(|server| server.ids());
    let (id, deleted) = (ids[ids.len() / 2], ids[ids.len() / 3]);
    env.run_ok(&["sync"]);
    let field = env.number("SELECT MIN(FIELD_ID) FROM custom_fields");
    let custom = |value: &str| Edit::CustomField { field, value: value.into(), display: value.to_owned() };
    // Longer than a page, so that it is in overflow pages.
    let details = format!("{DETAILS} {UMLAUTS} ").repeat(400);
    edit(env, id, vec![Edit::Summary(OLD_SUMMARY.into()), Edit::Details(details), custom(OLD_FIELD)]);
    edit(env, deleted, vec![Edit::Summary(DELETED.into())]);
    env.run_ok(&["sync"]);
    edit(env, id, vec![Edit::Summary(SUMMARY.into()), custom(FIELD)]);
    env.run_ok(&["sync"]);
    env.with_server(|server| server.delete(deleted, Utc::now()));
    serve(env, id, json!({ "impact": { REJECT: 1 }, "dateclosed": EXTRA }));
    env.run_ok(&["sync", "--full"]);
    [id, deleted]
}

#[rstest]
#[case::with_full_text(true)]
#[case::without_full_text(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_values_are_in_no_byte_of_the_database(#[case] full_text: bool) {
    let env = start_env(400, full_text).await;
    let [id, deleted] = plant(&env);
    // Rows that grow and move are copied from page to page, and what they leave behind is not deleted.
    for round in 1..=6 {
        for other in env.with_server(|server| server.edit_some(120, Utc::now())) {
            if other != id {
                edit(
                    &env,
                    other,
                    vec![Edit::Details("w".repeat(usize::try_from(other % 900).unwrap() * round))],
                );
            }
        }
        env.run_ok(&["sync"]);
    }
    assert_eq!(found(&env, &PLANTED), PLANTED.into(), "planted");
    let holds = "SELECT COUNT(*) FROM rejects WHERE UID IS NOT NULL AND raw LIKE '%fqreject%'";
    assert_eq!(env.number(holds), 1);
    let (count, changes) = (env.number("SELECT COUNT(*) FROM tickets"), env.change_count());

    let report = purge(&env, id);
    assert_eq!((&report["action"], &report["seq"]), (&"erased".into(), &(changes + 1).into()));
    purge(&env, deleted);
    assert_eq!(found(&env, &PLANTED), BTreeSet::new(), "after purge");
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), count - 1);
    for table in
        ["ticket_state", "ticket_extra", "custom_fields", "rejects", "pending_fetches", "unlisted_tickets"]
    {
        assert_eq!(env.number(&format!("SELECT COUNT(*) FROM {table} WHERE UID IN ({id}, {deleted})")), 0);
    }
    // The records keep their numbers, and the others what they say.
    let records = format!(
        "SELECT op || ' ' || COALESCE(reason, '') FROM changes WHERE UID = {deleted} AND changed IS NULL
         AND last_row IS NULL ORDER BY seq"
    );
    assert_eq!(env.texts(&records), ["c ", "u ", "d ", "d erased"]);
    assert_eq!(history::contradictions(&env.connection()), Vec::<String>::new());
    assert_eq!(env.value::<String>("PRAGMA integrity_check"), "ok");
    env.run(&["check", "--offline", "--deep"]).success();
    if full_text {
        let words: i64 =
            env.value("SELECT COUNT(*) FROM tickets_fts WHERE tickets_fts MATCH 'cqdetailsplanted'");
        assert_eq!(words, 0);
        env.connection().execute_batch("SELECT * FROM tickets_fts WHERE tickets_fts MATCH 'w*'").unwrap();
    }

    // Nothing of it comes back.
    let scan = env.run_ok(&["sync", "--full"]);
    assert_eq!(scan["outcome"], "complete");
    let outcomes = env.texts("SELECT outcome FROM scans ORDER BY scan_id DESC LIMIT 1");
    assert!(["verified", "confirmed"].contains(&outcomes[0].as_str()), "{outcomes:?}");
    assert_eq!(found(&env, &PLANTED), BTreeSet::new(), "after a full scan");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_full_of_old_pages_is_emptied() {
    let env = start_env(150, true).await;
    env.run_ok(&["sync"]);
    let id = env.with_server(|server| server.ids()[70]);
    edit(
        &env,
        id,
        vec![Edit::Summary(OLD_SUMMARY.into()), Edit::Details(format!("{DETAILS} ").repeat(2_000))],
    );
    // A reader keeps the log from being emptied.
    let reader = env.connection();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM tickets").unwrap();
    reader.query_row("SELECT COUNT(*) FROM tickets", [], |row| row.get::<_, i64>(0)).unwrap();
    env.run_ok(&["sync"]);
    edit(&env, id, vec![Edit::Summary(SUMMARY.into()), Edit::Details("short".into())]);
    env.run_ok(&["sync"]);
    let log = fs::read(env.path("halosync.db-wal")).unwrap();
    assert!(log.windows(DETAILS.len()).any(|window| window == DETAILS.as_bytes()), "{}", log.len());

    // While it reads, its pages stay.
    let id = id.to_string();
    let arguments = ["purge", &id, "--reason", REASON];
    let error = env.run(&arguments).code(75);
    assert!(
        error.stderr.contains("is erased in the database; traces stay in the log while a reader is open"),
        "{}",
        error.stderr
    );
    assert!(error.stderr.contains(&format!("pid {}", std::process::id())), "{}", error.stderr);
    assert_eq!(env.number(&format!("SELECT COUNT(*) FROM purged WHERE UID = {id}")), 1);
    let document: Json = env.run_json(&arguments).code(75).stderr.parse().unwrap();
    assert_eq!(document["code"], "purge_log_keeps_traces");

    drop(reader);
    let report = env.run_ok(&arguments);
    assert_eq!(report["action"], "already_erased");
    assert_eq!(found(&env, &PLANTED), BTreeSet::new());
    assert_eq!(fs::metadata(env.path("halosync.db-wal")).unwrap().len(), 0);
    let erasures = "SELECT COUNT(*) FROM changes WHERE reason = 'erased'";
    assert_eq!(env.number(erasures), 1, "erased again, and not recorded again");
    let text = env.run(&arguments).success().stdout;
    assert!(text.starts_with(&format!("ticket {id} has been erased since ")), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_time_and_reason_stay() {
    let env = start_env(30, false).await;
    env.run_ok(&["sync"]);
    let id = env.with_server(|server| server.ids()[3]);
    let first = purge(&env, id);
    let again = env.run_ok(&["purge", &id.to_string(), "--reason", "another one"]);
    for member in ["erased_at", "reason", "seq"] {
        assert_eq!(first[member], again[member]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_ticket_stays_away_whatever_the_server_shows() {
    let env = start_env(120, false).await;
    env.run_ok(&["sync"]);
    let ids = env.with_server(|server| server.ids());
    let [newest, pending, unlisted, vanished] = [ids[20], ids[40], ids[60], ids[80]];
    // It is the canary, pending, unlisted.
    edit(&env, newest, vec![Edit::Touch]);
    env.advance_server_clock();
    env.run_ok(&["sync"]);
    env.advance_server_clock();
    env.run_ok(&["sync"]);
    assert_eq!(env.number("SELECT canary_id FROM watermarks"), newest);
    env.with_server(|server| {
        server.set_row_defects(pending, vec!["broken".parse().unwrap()]);
        server.edit(pending, Edit::Touch, Utc::now());
        server.hide(&[unlisted]);
    });
    env.run(&["sync", "--full"]).code(3);
    assert_eq!(env.texts("SELECT UID || ' ' || kind FROM pending_fetches"), [format!("{pending} ticket")]);
    assert_eq!(env.number("SELECT UID FROM unlisted_tickets"), unlisted);
    let (seq, purged) = (env.change_count(), [newest, pending, unlisted, vanished]);
    for id in purged {
        purge(&env, id);
    }
    assert_eq!(env.change_count(), seq + 4);
    let canary = env.number("SELECT canary_id FROM watermarks");
    assert!(!purged.contains(&canary));
    assert_eq!(
        env.texts("SELECT newest_seen FROM watermarks"),
        env.texts(&format!("SELECT SOURCE_LAST_MODIFIED FROM tickets WHERE UID = {canary}"))
    );

    env.with_server(|server| {
        server.unhide(&[unlisted]);
        server.delete(vanished, Utc::now());
        server.edit(newest, Edit::Summary(SUMMARY.into()), Utc::now());
    });
    let arguments = [&["sync", "--full"][..], &["sync"], &["sync"], &["sync", "--full"]];
    for (round, arguments) in arguments.into_iter().enumerate() {
        env.advance_server_clock();
        env.with_server(|server| {
            // The newest ticket of each list.
            server.edit(newest, Edit::Touch, Utc::now());
            if round == 2 {
                server.set_row_defects(newest, vec!["broken".parse().unwrap()]);
            }
        });
        let report = env.run_ok(arguments);
        assert_eq!(report["outcome"], "complete", "{report}");
        let outcome: String = env.value("SELECT outcome FROM scans ORDER BY scan_id DESC LIMIT 1");
        assert!(["verified", "confirmed"].contains(&outcome.as_str()), "{outcome}");
        assert!(!purged.contains(&env.number("SELECT canary_id FROM watermarks")));
        for table in ["tickets", "ticket_state", "custom_fields", "pending_fetches", "unlisted_tickets"] {
            let sql = format!("SELECT COUNT(*) FROM {table} WHERE UID IN (SELECT UID FROM purged)");
            assert_eq!(env.number(&sql), 0, "{table} in round {round}");
        }
    }
    assert_eq!(env.change_count(), seq + 4, "nothing was recorded since");
    // They count as received.
    assert_eq!(
        env.texts("SELECT unique_ids || ' ' || record_count FROM scans ORDER BY scan_id DESC LIMIT 1"),
        ["119 119"]
    );
    let status = env.run_ok(&["status"]);
    assert_eq!((&status["health"], &status["tickets"]), (&"ok".into(), &116.into()));
    assert_eq!(status["erased_tickets"], 4);
    let text = env.run(&["status"]).success().stdout;
    assert!(text.contains("Erased"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undone_erasure_lets_the_next_full_scan_store_the_ticket() {
    let env = start_env(60, false).await;
    env.run_ok(&["sync"]);
    let id = env.with_server(|server| server.ids()[30]);
    let name = id.to_string();
    env.run(&["purge", "--undo", &name]).code(66);
    purge(&env, id);
    env.run_ok(&["sync", "--full"]);
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 59);
    let report = env.run_ok(&["purge", "--undo", &name]);
    Schema::of("purge").assert_valid(&report);
    assert_eq!((&report["action"], &report["reason"]), (&"undone".into(), &REASON.into()));
    env.run_ok(&["sync", "--full"]);
    env.assert_matches_server("after undo");
    let records = format!(
        "SELECT op || ' ' || COALESCE(reason, '-') || ' ' || COALESCE(not_before, '-') FROM changes
         WHERE UID = {id} ORDER BY seq DESC LIMIT 2"
    );
    // Nothing happened to it on the server.
    assert_eq!(env.texts(&records), ["c returned -", "d erased -"]);
    assert_eq!(env.run(&["purge", "--undo", &name]).code(66).stderr.matches("is not erased").count(), 1);
    // And it can be erased again.
    assert_eq!(purge(&env, id)["action"], "erased");
    assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE reason = 'erased'"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_line_and_unknown_tickets() {
    let env = start_env(20, false).await;
    env.run(&["purge", "7", "--reason", "x"]).code(66);
    assert!(!env.path("halosync.db").exists(), "no database was made");
    env.run_ok(&["sync"]);
    for (arguments, status) in [
        (&["purge", "999999", "--reason", "x"][..], 66),
        (&["purge", "--undo", "999999"], 66),
        (&["purge", "7"], 2),
        (&["purge", "7", "--reason", " "], 2),
        (&["purge", "7", "--reason", "x", "--undo"], 2),
        (&["purge", "0", "--reason", "x"], 2),
        (&["purge", "-7", "--reason", "x"], 2),
        (&["purge", "9007199254740993", "--reason", "x"], 2),
        (&["purge", "9007199254740992", "--reason", "x"], 66),
        (&["purge", "--reason", "x"], 2),
    ] {
        env.run(arguments).code(status);
    }
    assert_eq!(env.number("SELECT COUNT(*) FROM purged"), 0);
    let error: Json = env.run_json(&["purge", "999999", "--reason", "x"]).code(66).stderr.parse().unwrap();
    assert_eq!(error["code"], "purge_unknown_ticket");
    let id = env.with_server(|server| server.ids()[3]).to_string();
    assert_eq!(env.run(&["-q", "purge", &id, "--reason", "x"]).success().stdout, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_service_or_export_is_75_and_names_its_pid() {
    let env = start_env(20, false).await;
    env.run_ok(&["sync"]);
    let id = env.with_server(|server| server.ids()[3]).to_string();
    let database = env.path("halosync.db");
    let locks: [fn(&Path) -> Lock; 2] = [
        |database| Lock::acquire_writer(database).unwrap(),
        |database| Lock::acquire_exporter(database, Duration::ZERO).unwrap(),
    ];
    for lock in locks {
        let lock = lock(&database);
        for arguments in [&["purge", &id, "--reason", "x"][..], &["purge", "--undo", &id]] {
            let error = env.run(arguments).code(75).stderr;
            assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
            assert!(error.contains("stop the service") && error.contains("nothing was changed"), "{error}");
        }
        drop(lock);
        assert_eq!(env.number("SELECT COUNT(*) FROM purged"), 0);
    }
    purge(&env, id.parse().unwrap());
}

/// The rows of a package by id.
fn rows(package: &Path) -> Vec<Json> {
    let text = fs::read_to_string(package).unwrap();
    match package.extension().unwrap().to_str().unwrap() {
        "json" => serde_json::from_str(&text).unwrap(),
        "jsonl" => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        _ => {
            // None of the values here has a line break or a comma.
            let mut lines = text.trim_end().split("\r\n");
            let header: Vec<_> = lines.next().unwrap().trim_start_matches('\u{feff}').split(',').collect();
            let row = |line: &str| {
                let cells = line.split(',').map(|cell| match cell.parse::<i64>() {
                    _ if cell.is_empty() => Json::Null,
                    Ok(number) => number.into(),
                    Err(_) => cell.trim_matches('"').into(),
                });
                header.iter().map(|it| (*it).to_owned()).zip(cells).collect::<serde_json::Map<_, _>>().into()
            };
            lines.map(row).collect()
        }
    }
}

#[rstest]
#[case::csv("csv")]
#[case::json("json")]
#[case::jsonl("jsonl")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_are_told_by_a_row_with_the_key_alone(#[case] format: &str) {
    let env = start_env(40, false).await;
    let ids = env.with_server(|server| server.ids());
    let [stored, deleted, within] = [ids[5], ids[10], ids[15]];
    env.run_ok(&["sync"]);
    let export = || env.run_ok(&["export", "delta", "--consumer", "c", "--format", format]);
    env.with_server(|server| server.delete(deleted, Utc::now()));
    env.run_ok(&["sync", "--full"]);
    let first = export();
    assert_eq!(first["packages"][0]["rows"], 39);
    // One is created and erased before the consumer hears of it.
    edit(&env, stored, vec![Edit::Summary("changed before".into())]);
    let created = env.with_server(|server| server.create(1, Utc::now()))[0];
    env.advance_server_clock();
    env.run_ok(&["sync"]);
    let purged = [stored, deleted, within, created];
    for id in purged {
        purge(&env, id);
    }
    let report = export();
    let package = &report["packages"][0];
    assert_eq!(package["counts"], json!({ "c": 0, "u": 0, "d": 4 }), "{report}");
    let path = env.path(report["folder"].as_str().unwrap()).join(package["file"].as_str().unwrap());
    let told = rows(&path);
    assert_eq!(told.len(), 4);
    for row in &told {
        assert_eq!((&row["_op"], &row["_reason"]), (&"d".into(), &"erased".into()));
        assert!(purged.contains(&row["UID"].as_i64().unwrap()));
        assert!(row["_seq"].is_i64() && row["_observed_at"].is_string(), "{row}");
        let others = row.as_object().unwrap().iter();
        let mut others = others
            .filter(|(name, _)| !["_seq", "_op", "_observed_at", "_reason", "UID"].contains(&name.as_str()));
        assert!(others.all(|(_, value)| value.is_null()), "{row}");
    }
    // A consumer that begins now may have loaded an earlier chain.
    let fresh = env.run_ok(&["export", "delta", "--consumer", "fresh", "--format", format]);
    assert_eq!(fresh["packages"][0]["counts"], json!({ "c": 37, "u": 0, "d": 4 }), "{fresh}");
    env.run(&["export", "verify", "export", "--from-start"]).success();

    // It comes back as a new ticket.
    env.run_ok(&["purge", "--undo", &deleted.to_string()]);
    env.with_server(|server| server.restore(deleted, Utc::now()));
    env.run_ok(&["purge", "--undo", &stored.to_string()]);
    env.run_ok(&["sync", "--full"]);
    assert_eq!(export()["packages"][0]["counts"], json!({ "c": 2, "u": 0, "d": 0 }));
    env.run(&["export", "verify", "export", "--from-start"]).success();
}

/// Folds the deltas of the store from some positions on; they must give the tickets.
#[test]
fn deltas_over_an_erasure_fold_to_the_tickets() {
    let mut store = Store::in_memory(now()).unwrap();
    let row = |id: i64, summary: &str, second: u32| json!({ "id": id, "summary": summary, "last_update": format!("2026-11-22T11:00:{second:02}") });
    let run = store.write(TxEnd::Commit, |tx| tx.begin_run(RunKind::Sync, now())).unwrap();
    let name = ATTRIBUTES.iter().position(|it| it.name == "NAME").unwrap();
    let mut folds: Vec<(i64, std::collections::BTreeMap<i64, AttributeValue>)> = vec![];
    for second in 0..30 {
        let id = i64::from(second % 3) + 1;
        let observed =
            observed_tickets(i64::from(second) + 1, &[row(id, &format!("s{second}"), second)], false);
        store
            .write(TxEnd::Commit, |tx| {
                tx.upsert(&observed, run, now())?;
                match second % 7 {
                    2 => drop(tx.purge(id, REASON, 10, now())?),
                    5 => drop(tx.undo_purge(id)?),
                    6 => {
                        let removal =
                            halosync::store::Removal::new(id, halosync::store::RemovalReason::Vanished);
                        tx.remove(&[removal], run, now())?;
                    }
                    _ => {}
                }
                Ok(())
            })
            .unwrap();
        folds.push((0, std::collections::BTreeMap::new()));
        let every = usize::try_from(second).unwrap() % 4 + 1;
        for (position, rows) in folds.iter_mut().step_by(every) {
            *position = store
                .read(|tx| {
                    let greatest = tx.greatest_seq()?;
                    if *position < greatest {
                        tx.delta(*position, |row| {
                            let AttributeValue::Integer(id) = row.cells[attribute::UID].into() else {
                                panic!()
                            };
                            let had = rows.remove(&id);
                            match row.op {
                                Op::Create => assert_eq!(had, None, "created twice"),
                                Op::Update => assert!(had.is_some(), "changed and not there"),
                                Op::Delete => assert!(had.is_some() || row.reason == Some("erased")),
                            }
                            if row.op != Op::Delete {
                                rows.insert(id, row.cells[name].into());
                            }
                            Ok::<_, halosync::store::StoreError>(())
                        })?;
                    }
                    Ok::<_, halosync::store::StoreError>(greatest)
                })
                .unwrap();
        }
    }
    let stored: Vec<i64> = store.read(|tx| tx.stored_tickets()).unwrap().iter().map(|it| it.id).collect();
    assert!(!stored.is_empty());
    for (_, rows) in folds.iter().take(1) {
        assert_eq!(rows.keys().copied().collect::<Vec<_>>(), stored);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_still_hold_the_ticket_are_listed() {
    let env = start_env(40, false).await;
    let ids = env.with_server(|server| server.ids());
    let (id, other) = (ids[5], ids[7]);
    env.run_ok(&["sync"]);
    let export = |consumer: &str| {
        let report = env.run_ok(&["export", "delta", "--consumer", consumer]);
        report["packages"][0]["file"].as_str().unwrap().to_owned()
    };
    let first = export("c");
    edit(&env, other, vec![Edit::Summary("another one".into())]);
    env.run_ok(&["sync"]);
    let without = export("c");
    edit(&env, id, vec![Edit::Summary("changed".into())]);
    env.run_ok(&["sync"]);
    let third = export("c");
    let whole = export("d");
    env.run_ok(&["export", "snapshot"]);
    fs::create_dir_all(env.path("export/superseded/an-old-lineage/c/reference/agents")).unwrap();
    for file in
        ["000000000000-000000000009.csv", "_000000000000-000000000009.manifest", "reference/agents/x.csv"]
    {
        fs::write(env.path("export/superseded/an-old-lineage/c").join(file), "x").unwrap();
    }
    // Its consumer has taken it.
    fs::remove_file(env.path("export/deltas/c").join(&third)).unwrap();

    let report = purge(&env, id);
    Schema::of("purge").assert_is_exact(&report);
    let packages: Vec<_> = report["packages"].as_array().unwrap().iter().collect();
    let named: Vec<_> = packages
        .iter()
        .map(|it| (it["consumer"].as_str().unwrap(), it["file"].as_str().unwrap(), it["present"] == true))
        .collect();
    assert_eq!(
        named,
        [("c", first.as_str(), true), ("c", &third, false), ("d", &whole, true)],
        "not {without}"
    );
    assert!(Path::new(packages[0]["folder"].as_str().unwrap()).join(&first).exists());
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(
        files[0].as_str().unwrap().ends_with("superseded/an-old-lineage/c/000000000000-000000000009.csv")
    );
    let snapshots = report["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 1);
    assert!(Path::new(snapshots[0].as_str().unwrap()).join("_manifest").exists());

    // What is made from now on does not hold it.
    let (last, _) = (export("c"), export("e"));
    env.run_ok(&["export", "snapshot"]);
    let report = purge(&env, id);
    assert_eq!(report["packages"].as_array().unwrap().len(), 3, "not {last}");
    assert_eq!(report["snapshots"].as_array().unwrap().len(), 1);
    let text = env.run(&["purge", &id.to_string(), "--reason", "x"]).success().stdout;
    for part in [
        "Packages that hold it, by consumer:",
        &format!("c: {}", env.path("export/deltas/c").join(&first).display()),
        &format!("{third} (no longer there: its consumer has it)"),
        "Snapshots that hold it:",
        "next: delete these files",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    env.run(&["export", "verify", "export/deltas/d"]).success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_of_earlier_lineages_are_not_known_and_the_report_says_so() {
    let env = start_env(20, false).await;
    env.run_ok(&["sync"]);
    let id = env.with_server(|server| server.ids()[5]);
    let arguments = ["purge", &id.to_string(), "--reason", REASON];
    assert_eq!(purge(&env, id)["earlier_lineages"], 0);
    assert!(!env.run(&arguments).success().stdout.contains("lineage"));
    Connection::open(env.path("halosync.db"))
        .unwrap()
        .execute_batch(
            "INSERT INTO lineage (lineage, since, reason)
             VALUES ('another', '2026-11-22T12:00:00.000Z', 'an older copy was restored')",
        )
        .unwrap();
    assert_eq!(purge(&env, id)["earlier_lineages"], 1);
    let text = env.run(&arguments).success().stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let note = "note: the database has 1 earlier lineage, of which it no longer knows the packages: tell by hand whoever \
                loaded them.";
    assert!(text.contains(note), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn package_that_a_killed_export_left_is_not_published() {
    let env = start_env(30, false).await;
    env.run_ok(&["sync"]);
    let id = env.with_server(|server| server.ids()[5]);
    let report = env.run_ok(&["export", "delta"]);
    let (file, manifest) = (&report["packages"][0]["file"], &report["packages"][0]["manifest"]);
    let [file, manifest] = [file, manifest].map(|it| it.as_str().unwrap().to_owned());
    let folder = env.path("export/deltas/default");
    // As a kill before the manifest leaves it.
    let content = fs::read_to_string(folder.join(&manifest)).unwrap();
    fs::remove_file(folder.join(&manifest)).unwrap();
    fs::remove_file(env.path("export/positions/default.json")).unwrap();
    let connection = Connection::open(env.path("halosync.db")).unwrap();
    connection.execute("UPDATE packages SET state = 'named', manifest = ?1", [content]).unwrap();
    connection
        .execute_batch("UPDATE consumers SET exported_seq = 0, exported_at = NULL, last_manifest = NULL")
        .unwrap();
    drop(connection);

    let report = purge(&env, id);
    assert_eq!(report["packages"], json!([]));
    assert_eq!(report["files"].as_array().unwrap().len(), 1, "{report}");
    assert!(report["files"][0].as_str().unwrap().ends_with(&file));
    let report = env.run_ok(&["export", "delta"]);
    assert_eq!(report["packages"][0]["counts"], json!({ "c": 29, "u": 0, "d": 1 }));
    assert!(!folder.join(&file).exists(), "moved away");
    env.run(&["export", "verify", "export", "--from-start"]).success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_another_program_puts_back_are_deleted_silently() {
    let env = start_env(40, true).await;
    env.run_ok(&["sync"]);
    let id = env.with_server(|server| server.ids()[5]);
    env.run_ok(&["export", "delta"]);
    purge(&env, id);
    let seq = env.change_count();
    Connection::open(env.path("halosync.db"))
        .unwrap()
        .execute_batch(&format!(
            "INSERT INTO tickets (UID, NAME, STATUS_ID) VALUES ({id}, '{SUMMARY}', 1);
             INSERT INTO custom_fields (UID, FIELD_ID, VALUE) VALUES ({id}, 120, '{FIELD}');
             INSERT INTO ticket_extra (UID, PARENT_ID) VALUES ({id}, 9)"
        ))
        .unwrap();
    let shown = env.run(&["history", &id.to_string()]).success().stdout;
    assert!(!shown.contains(SUMMARY), "{shown}");
    let fresh = env.run_ok(&["export", "delta", "--consumer", "fresh"]);
    assert_eq!(fresh["packages"][0]["counts"], json!({ "c": 39, "u": 0, "d": 1 }));
    env.with_server(|server| server.rename_status(1, "Renamed"));
    let report = env.run_ok(&["sync", "--full"]);
    assert_eq!(report["outcome"], "complete");
    for table in ["tickets", "ticket_state", "custom_fields", "ticket_extra"] {
        assert_eq!(env.number(&format!("SELECT COUNT(*) FROM {table} WHERE UID = {id}")), 0, "{table}");
    }
    assert_eq!(env.number(&format!("SELECT COUNT(*) FROM changes WHERE {seq} < seq AND UID = {id}")), 0);
    assert_eq!(
        env.number(&format!("SELECT COUNT(*) FROM tickets_fts WHERE tickets_fts MATCH '{SUMMARY}'")),
        0
    );
}

/// The texts of all files below a folder.
fn texts_below(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: std::path::PathBuf| {
        if path.is_dir() { texts_below(&path) } else { fs::read_to_string(path).unwrap() }
    };
    entries.map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_put_back_are_in_no_snapshot_and_do_not_stay_until_a_full_scan() {
    let env = start_env(40, true).await;
    env.run_ok(&["sync"]);
    let id = env.with_server(|server| server.ids()[5]);
    purge(&env, id);
    let seq = env.change_count();
    let put_back = || {
        let sql = format!(
            "INSERT INTO tickets (UID, NAME, STATUS_ID) VALUES ({id}, '{SUMMARY}', 1);
             INSERT INTO custom_fields (UID, FIELD_ID, VALUE) VALUES ({id}, 120, '{FIELD}');
             INSERT INTO ticket_extra (UID, CLOSED_AT) VALUES ({id}, '2019-07-13T04:05:06.789Z')"
        );
        Connection::open(env.path("halosync.db")).unwrap().execute_batch(&sql).unwrap();
    };
    let assert_gone = |after: &str| {
        for table in ["tickets", "ticket_state", "custom_fields", "ticket_extra"] {
            let sql = format!("SELECT COUNT(*) FROM {table} WHERE UID = {id}");
            assert_eq!(env.number(&sql), 0, "{table} after {after}");
        }
        let words = format!("SELECT COUNT(*) FROM tickets_fts WHERE tickets_fts MATCH '{SUMMARY}'");
        assert_eq!((env.number(&words), env.change_count()), (0, seq), "{after}");
    };
    put_back();
    env.run_ok(&["export", "snapshot"]);
    let text = texts_below(&env.path("export/snapshots"));
    assert!(text.contains("UID"), "a snapshot was written");
    for planted in [SUMMARY, FIELD, EXTRA] {
        assert!(!text.contains(planted), "{planted}");
    }
    assert_gone("a snapshot");
    put_back();
    env.run_ok(&["sync"]);
    assert_eq!(env.texts("SELECT kind FROM scans ORDER BY scan_id DESC LIMIT 1"), ["incremental"]);
    assert_gone("an incremental scan");
    env.run(&["check", "--offline", "--deep"]).success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_records_of_other_tickets_cannot_be_altered() {
    let env = start_env(30, false).await;
    env.run_ok(&["sync"]);
    let ids = env.with_server(|server| server.ids());
    purge(&env, ids[3]);
    let connection = Connection::open(env.path("halosync.db")).unwrap();
    for (uid, assignment) in [
        (ids[4], "changed = NULL, last_row = NULL, reason = NULL"),
        (ids[3], "changed = '{}', last_row = NULL, reason = NULL"),
        (ids[3], "changed = NULL, last_row = NULL, reason = NULL, op = 'd'"),
        (ids[3], "changed = NULL, last_row = NULL, reason = NULL, UID = 5"),
        (ids[3], "reason = 'vanished'"),
    ] {
        let sql = format!("UPDATE changes SET {assignment} WHERE UID = {uid}");
        let error = connection.execute(&sql, []).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_and_views_show_nothing_of_it() {
    let env = start_env(60, false).await;
    let [id, deleted] = plant(&env);
    let at = env.value::<String>(&format!("SELECT MAX(observed_at) FROM changes WHERE UID = {id}"));
    for id in [id, deleted] {
        purge(&env, id);
    }
    for (id, name) in [(id, id.to_string()), (deleted, deleted.to_string())] {
        let text = env.run(&["history", &name]).success().stdout;
        assert!(text.contains("Erased") && text.contains(REASON), "{text}");
        assert!(PLANTED.iter().all(|planted| !text.contains(planted)), "{text}");
        assert!(text.contains("what changed was erased with the ticket"), "{text}");
        let document = env.run_ok(&["history", &name]);
        Schema::of("history").assert_valid(&document);
        assert_eq!(
            (&document["presence"], &document["erased"]["reason"]),
            (&"erased".into(), &REASON.into())
        );
        assert_eq!(document["row"], Json::Null);
        assert_eq!(document["ticket"], id);
        let error = env.run(&["history", &name, "--at", &at]).code(66).stderr;
        assert!(error.contains("is not shown: it was erased on") && error.contains(REASON), "{error}");
    }
    // Also where its records have aged out.
    let connection = Connection::open(env.path("halosync.db")).unwrap();
    for view in ["deleted_tickets", "ticket_history", "status_intervals", "ticket_overview"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {view}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                let value = format!("{:?}", row.get_ref(column).unwrap());
                assert!(PLANTED.iter().all(|planted| !value.contains(planted)), "{view}: {value}");
            }
        }
    }
    let row = "SELECT REASON || ' ' || (NAME IS NULL) || ' ' || (LAST_ROW IS NULL) FROM deleted_tickets";
    assert_eq!(env.texts(row), ["erased 1 1", "erased 1 1"]);
    let sql = format!("SELECT COUNT(*) FROM status_intervals WHERE UID IN ({id}, {deleted})");
    assert_eq!(env.number(&sql), 0);
    connection.execute_batch("DELETE FROM changes; UPDATE lineage SET complete_after = 9999").unwrap();
    drop(connection);
    let text = env.run(&["history", &id.to_string()]).success().stdout;
    assert!(text.contains("Erased"), "{text}");
}

#[test]
fn store_leaves_erased_tickets_out() {
    let mut store = Store::in_memory(now()).unwrap();
    let row = |id: i64| json!({ "id": id, "summary": "a", "last_update": "2026-11-22T11:00:00" });
    let rows: Vec<_> = [7, 8].map(row).into();
    store.write(TxEnd::Commit, |tx| tx.upsert(&observed_tickets(1, &rows, false), 1, now())).unwrap();
    let purged = store.write(TxEnd::Commit, |tx| tx.purge(7, REASON, 10, now())).unwrap().unwrap();
    assert_eq!((purged.was_purged, purged.seq), (false, Some(3)));
    store.write(TxEnd::Commit, |tx| tx.upsert(&observed_tickets(2, &rows, false), 1, now())).unwrap();
    store.write(TxEnd::Commit, |tx| tx.apply_older(&observed_tickets(3, &rows, false), 1, now())).unwrap();
    assert_eq!(store.read(|tx| tx.stored_among(&[7, 8])).unwrap(), [8]);
    assert!(store.write(TxEnd::Commit, |tx| tx.undo_purge(7)).unwrap().is_some());
    assert!(store.write(TxEnd::Commit, |tx| tx.undo_purge(7)).unwrap().is_none());
    store.write(TxEnd::Commit, |tx| tx.upsert(&observed_tickets(4, &rows, false), 1, now())).unwrap();
    assert_eq!(store.read(|tx| tx.stored_among(&[7, 8])).unwrap(), [7, 8]);
    assert_eq!(store.write(TxEnd::Commit, |tx| tx.purge(99, REASON, 10, now())).unwrap(), None);
}

fn open_store(path: &Path) -> Store {
    let options = halosync::store::StoreOptions {
        busy_timeout: Duration::from_secs(1),
        full_text: false,
        index_last_modified: false,
        now: now(),
    };
    Store::open(path, &options).unwrap()
}

/// More than a thousand rejects of one attribute are one row with one value, and nobody knows whose it is.
#[test]
fn value_of_many_rejects_goes_and_the_count_falls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halosync.db");
    let mut store = open_store(&path);
    let row = |id: i64| json!({ "id": id, "summary": "a", "impact": { "who": format!("{REJECT}{id}") } });
    let rows: Vec<_> = (1..=1_002).map(row).collect();
    for (request, rows) in (1..).zip(rows.chunks(501)) {
        let observed = observed_tickets(request, rows, false);
        store.write(TxEnd::Commit, |tx| tx.upsert(&observed, 1, now())).unwrap();
    }
    let group = || {
        let connection = Connection::open(&path).unwrap();
        let sql = "SELECT count, COALESCE(raw, 'none') FROM rejects WHERE UID IS NULL";
        connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).unwrap()
    };
    assert_eq!(group(), (1_002, format!("{{\"who\":\"{REJECT}1001\"}}")));
    store.write(TxEnd::Commit, |tx| tx.purge(1_001, REASON, 10, now())).unwrap();
    assert_eq!(group(), (1_001, "none".into()));
    assert_eq!(store.remove_traces().unwrap(), Traces::Removed);
    store.close().unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(!bytes.windows(REJECT.len()).any(|window| window == REJECT.as_bytes()));
}

/// Pages that are split leave copies of rows behind, which no deletion overwrites: a few of the erased tickets would stay.
#[test]
fn copies_that_moved_rows_left_behind_go_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halosync.db");
    let mut store = open_store(&path);
    let mut rng = fastrand::Rng::with_seed(7);
    let marker = |id: i64| format!("marker{id:05}planted");
    for request in 1..=60_i64 {
        let rows: Vec<_> = (0..100)
            .map(|_| {
                let id = rng.i64(1..=1_500);
                let summary = marker(id) + &"q".repeat(rng.usize(..900));
                let field = |field| {
                    json!({ "id": 120 + field, "name": "CFa", "label": "a", "type": 0,
                        "value": marker(id) + &"z".repeat(rng.usize(..200)) })
                };
                json!({ "id": id, "summary": summary, "last_update": format!("2026-11-22T11:00:{:02}", request % 60),
                    "customfields": (0..3).map(field).collect::<Vec<_>>() })
            })
            .collect();
        let observed = observed_tickets(request, &rows, true);
        store.write(TxEnd::Commit, |tx| tx.upsert(&observed, 1, now())).unwrap();
    }
    let mut purged: Vec<i64> = (1..=1_500).collect();
    rng.shuffle(&mut purged);
    purged.truncate(400);
    store
        .write(TxEnd::Commit, |tx| {
            purged.iter().try_for_each(|id| tx.purge(*id, REASON, 10, now()).map(drop))
        })
        .unwrap();
    assert_eq!(store.remove_traces().unwrap(), Traces::Removed);
    store.close().unwrap();
    let bytes = fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let left: Vec<_> = purged.iter().filter(|id| text.contains(&marker(**id))).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What an interrupted full scan has received is not read again when it is resumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_scan_that_had_received_the_ticket_starts_again_after_an_undo() {
    let env = TestEnv::builder()
        .tickets(200)
        .settings(format!("page_size = 10\nparallel_requests = 1\nmax_retries = 0\n{}", settings(false)))
        .fault("list@15:status=503")
        .start()
        .await;
    env.run(&["sync"]).code(69);
    let id = env.number("SELECT MIN(UID) FROM tickets");
    assert_eq!(env.number("SELECT COUNT(*) > 0 FROM scan_checkpoints"), 1);
    purge(&env, id);
    assert_eq!(env.number("SELECT COUNT(*) > 0 FROM scan_checkpoints"), 1, "it continues without the ticket");
    env.run_ok(&["purge", "--undo", &id.to_string()]);
    env.clear_faults();
    env.run_ok(&["sync"]);
    env.assert_matches_server("after undo");
}
