//! What the real binary makes of a database that is not as it left it: restored from a dump or beside an old -wal file,
//! half created, of another version, or reached through a symbolic link.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use halo_simulator::Simulator;
use halosync::store::Lock;
use rstest::rstest;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use support::test_env::{CommandResult, TestEnv};

/// The first migration, as it is applied.
const SCHEMA: &str = include_str!("../migrations/V1__tickets.sql");

const TICKETS: u32 = 120;

async fn start_env() -> TestEnv {
    TestEnv::builder().tickets(TICKETS).settings("page_size = 50\n\n[store]\nfull_text = true").start().await
}

fn database(env: &TestEnv) -> PathBuf {
    env.path("halosync.db")
}

/// Runs `sqlite3` with a script and returns its output.
fn sqlite3(database: &Path, script: &[u8]) -> Vec<u8> {
    let mut process = Command::new("sqlite3")
        .arg(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    let script = script.to_owned();
    let writer = std::thread::spawn(move || input.write_all(&script).unwrap());
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    output.stdout
}

fn remove_database(env: &TestEnv) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(env.path(format!("halosync.db{suffix}")));
    }
}

fn execute(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Copies a file in a process of its own: closing it here would drop SQLite's locks.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}

fn lineages(env: &TestEnv) -> Vec<String> {
    env.texts("SELECT reason FROM lineage ORDER BY rowid")
}

/// Asserts the outcome of the database step of `check --offline`, and its exit status.
fn assert_check(env: &TestEnv, status: i32, step: &str, outcome: &str, message: &str) {
    let report = env.run_json(&["check", "--offline"]).code(status).json;
    let steps = report["steps"].as_array().unwrap();
    let found = steps.iter().find(|it| it["step"] == step).unwrap_or_else(|| panic!("no {step}: {report:#}"));
    assert_eq!(found["outcome"], outcome, "{report:#}");
    let text = found["message"].as_str().unwrap();
    assert!(text.contains(message), "{text}");
}

/// What `.dump` loses, and what `.recover` may lose and add besides; newer versions of it keep the pragmas.
#[rstest]
#[case::dump("", "restored from a text dump", "restored from a dump")]
#[case::recover(
    "CREATE TABLE lost_and_found (rootpgno INTEGER, pgno INTEGER, nfield INTEGER, id INTEGER, c0);
     DELETE FROM sqlite_sequence; DELETE FROM changes WHERE seq BETWEEN 40 AND 50",
    "restored from a text dump",
    "restored from a dump"
)]
#[case::recover_with_pragmas(
    "DELETE FROM changes WHERE seq BETWEEN 40 AND 50; PRAGMA application_id = 1212238927; PRAGMA user_version = 1",
    "11 change records are missing",
    "change records were missing"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_restored_from_text_is_adopted_with_a_new_lineage(
    #[case] loss: &str,
    #[case] message: &str,
    #[case] reason: &str,
) {
    let env = start_env().await;
    env.run_ok(&["sync"]);
    env.run_ok(&["export", "delta"]);
    let path = database(&env);
    let text = sqlite3(&path, b".dump");
    remove_database(&env);
    sqlite3(&path, &text);
    let marked = "SELECT application_id FROM pragma_application_id";
    assert_eq!(env.number(marked), 0, "a dump keeps the pragma");
    execute(&path, loss);
    let before = fs::read(&path).unwrap();
    assert_check(&env, 0, "database", "warning", message);
    env.run_ok(&["status"]);
    assert!(fs::read(&path).unwrap() == before, "check and status changed the file");

    env.with_server(|server| server.edit_some(7, chrono::Utc::now()));
    let result = env.run(&["sync"]).success();
    assert!(result.stderr.contains(message), "{}", result.stderr);
    assert!(result.stderr.contains(": a new lineage begins"), "{}", result.stderr);
    env.assert_matches_server("after the restore");
    assert_eq!(lineages(&env), ["created", reason]);
    assert_eq!(env.value::<String>("PRAGMA journal_mode"), "wal");
    assert_eq!(env.number("PRAGMA application_id"), 0x4841_4C4F);
    assert_eq!(env.number("PRAGMA user_version"), 1);
    assert_check(&env, 0, "database", "ok", "120 tickets");
    let found = "SELECT COUNT(*) FROM tickets_fts WHERE tickets_fts MATCH (SELECT '\"' || NAME || '\"' FROM tickets LIMIT 1)";
    assert!(0 < env.number(found), "the index was not built again");

    // It is reported once, and the consumer gets everything again.
    let result = env.run(&["sync"]).success();
    assert!(!result.stderr.contains("lineage"), "{}", result.stderr);
    let package = env.run_ok(&["export", "delta"]);
    assert_eq!(package["packages"][0]["from_seq"], 0, "{package:#}");
    env.run(&["export", "verify", env.path("export").to_str().unwrap()]).success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_change_records_begin_a_new_lineage_and_aged_out_ones_do_not() {
    let env = start_env().await;
    env.run_ok(&["sync"]);
    env.run_ok(&["export", "delta"]);
    env.run_ok(&["export", "ack", "--seq", "120"]);
    let path = database(&env);
    for (loss, missing) in [
        ("DELETE FROM changes WHERE seq = 60", "1 change record is missing"),
        ("DELETE FROM changes WHERE seq > (SELECT MAX(seq) - 3 FROM changes)", "3 change records are"),
        ("DELETE FROM changes", "change records are missing"),
        ("DELETE FROM sqlite_sequence WHERE name = 'changes'", "lost the numbering"),
        ("DELETE FROM lineage", "change records are missing"),
    ] {
        let before = lineages(&env);
        execute(&path, loss);
        assert_check(&env, 0, "database", "warning", missing);
        // New records, so that the next loss is above what is known to be lost.
        env.with_server(|server| server.edit_some(20, chrono::Utc::now() + chrono::TimeDelta::minutes(1)));
        env.advance_server_clock();
        let result = env.run(&["sync"]).success();
        assert!(result.stderr.contains(missing), "{loss}: {}", result.stderr);
        let after = lineages(&env);
        assert_eq!(after.last().map(String::as_str), Some("change records were missing"), "{loss}");
        assert!(after.len() == before.len() + 1 || loss.ends_with("lineage"), "{loss}: {after:?}");
        assert_check(&env, 0, "database", "ok", "120 tickets");
        let result = env.run(&["sync"]).success();
        assert!(!result.stderr.contains("lineage"), "{loss} is reported twice: {}", result.stderr);
    }
    // A database that has lost its lineage cannot tell that the packages are its own.
    let refused = env.run(&["export", "delta"]).code(65);
    assert!(refused.stderr.contains("positions/default.json"), "{}", refused.stderr);
    fs::remove_dir_all(env.path("export")).unwrap();
    // A consumer starts from the tickets, whatever was lost.
    let package = env.run_ok(&["export", "delta"]);
    assert_eq!(
        (&package["packages"][0]["from_seq"], &package["packages"][0]["rows"]),
        (&0.into(), &120.into())
    );

    let lineage_count = lineages(&env).len();
    let seq = env.number("SELECT MAX(exported_seq) FROM consumers").to_string();
    env.run_ok(&["export", "ack", "--seq", &seq]);
    let mut command = env.command(&["export", "delta"]);
    command.env("HALOSYNC_STORE__KEEP_CHANGES", "1ms");
    CommandResult::of(command.spawn().unwrap()).success();
    assert_eq!(env.number("SELECT COUNT(*) FROM changes"), 0, "nothing aged out");
    let result = env.run(&["sync"]).success();
    assert_eq!((lineages(&env).len(), result.stderr.as_str()), (lineage_count, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_put_back_beside_the_wal_of_a_later_life_is_refused() {
    let env = start_env().await;
    env.run_ok(&["sync"]);
    let (path, backup, wal) = (database(&env), env.path("backup.db"), env.path("halosync.db-wal"));
    copy(&path, &backup);
    env.with_server(|server| {
        server.edit_some(80, chrono::Utc::now());
        server.create(300, chrono::Utc::now());
    });
    env.run_ok(&["sync"]);
    let base = env.path("base.db");
    copy(&path, &base);

    // A reader keeps the log from being emptied, as a kill does.
    let reader = Connection::open(&path).unwrap();
    reader.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM tickets").unwrap();
    env.with_server(|server| server.edit_some(40, chrono::Utc::now() + chrono::TimeDelta::minutes(1)));
    env.advance_server_clock();
    env.run_ok(&["sync"]);
    drop(reader);
    assert_ne!(fs::metadata(&wal).unwrap().len(), 0, "the log is empty");
    let saved_wal = env.path("saved-wal");
    copy(&wal, &saved_wal);
    env.run_ok(&["sync"]);

    let put_back = |file: &Path| {
        remove_database(&env);
        copy(&saved_wal, &wal);
        std::thread::sleep(Duration::from_millis(30));
        copy(file, &path);
    };
    put_back(&backup);
    let before = fs::read(&path).unwrap();
    for command in [&["sync"][..], &["export", "delta"], &["reset", "--to", "2026-01-01", "--reason", "test"]]
    {
        let result = env.run(command).code(65);
        assert!(result.stderr.contains("does not fit the file"), "{command:?}: {}", result.stderr);
        assert!(result.stderr.contains("halosync.db-wal and"), "{command:?}: {}", result.stderr);
    }
    assert_check(&env, 65, "integrity", "failure", "does not fit the file");
    assert!(fs::read(&path).unwrap() == before, "the file was changed");
    assert_eq!(fs::read(&wal).unwrap(), fs::read(&saved_wal).unwrap(), "the log was changed");

    // What the message says helps.
    fs::remove_file(&wal).unwrap();
    fs::remove_file(env.path("halosync.db-shm")).unwrap();
    env.run_ok(&["sync", "--full"]);
    env.assert_matches_server("after the backup was put back properly");

    // The file that the log belongs to fits, whenever it was put back.
    put_back(&base);
    env.run_ok(&["sync", "--full"]);
    env.assert_matches_server("after the log was applied to its own database");
}

/// What a kill of an earlier version between two of its transactions left, each as a script for an empty file.
#[rstest]
#[case::the_mark("")]
#[case::the_history_table("{HISTORY}")]
#[case::the_tables_without_history("{HISTORY}{TABLES}")]
#[case::some_tables(
    "{HISTORY}CREATE TABLE tickets (UID INTEGER PRIMARY KEY); CREATE VIEW open_tickets AS SELECT 1;"
)]
#[case::history_without_tables("{HISTORY}{APPLIED}CREATE TABLE tickets (UID INTEGER PRIMARY KEY);")]
#[case::no_version("{HISTORY}{TABLES}{APPLIED}")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_created_database_is_created_anew(#[case] script: &str) {
    let env = start_env().await;
    // The row as this version writes it.
    env.run_ok(&["sync"]);
    let applied = env.texts(
        "SELECT 'INSERT INTO refinery_schema_history VALUES (' || version || ', ' || quote(name) || ', '
             || quote(applied_on) || ', ' || quote(checksum) || ');' FROM refinery_schema_history",
    );
    remove_database(&env);
    let history = "CREATE TABLE refinery_schema_history (version INT4 PRIMARY KEY, name VARCHAR(255),
                   applied_on VARCHAR(255), checksum VARCHAR(255));";
    let script = script
        .replace("{HISTORY}", history)
        .replace("{TABLES}", SCHEMA)
        .replace("{APPLIED}", &applied.concat());
    let path = database(&env);
    execute(&path, &format!("PRAGMA application_id = {}; PRAGMA journal_mode = WAL; {script}", 0x4841_4C4F));
    assert_check(&env, 0, "database", "ok", "none yet");
    env.run_ok(&["sync"]);
    env.assert_matches_server("after the creation was finished");
    assert_eq!(lineages(&env), ["created"]);
    assert_check(&env, 0, "database", "ok", "120 tickets");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_of_another_schema_is_refused_and_left_alone() {
    let env = start_env().await;
    env.run_ok(&["sync"]);
    let (path, intact) = (database(&env), env.path("intact.db"));
    copy(&path, &intact);
    for (name, script, status, message, help) in [
        (
            "an unreleased version",
            "UPDATE refinery_schema_history SET checksum = '1'",
            78,
            "was made by an unreleased version",
            "move",
        ),
        (
            "a dump of an unreleased version",
            "UPDATE refinery_schema_history SET checksum = '1'; PRAGMA application_id = 0; PRAGMA user_version = 0",
            78,
            "was made by an unreleased version",
            "move",
        ),
        (
            "a lost table",
            "DROP TABLE scan_checkpoints",
            65,
            "is incomplete: scan_checkpoints is missing",
            "restore",
        ),
        (
            "a dump that lost tables",
            "DROP TABLE rejects; DROP TABLE watermarks; PRAGMA application_id = 0",
            65,
            "is incomplete: rejects, watermarks are missing",
            "restore",
        ),
        (
            "a lost history",
            "DELETE FROM refinery_schema_history",
            65,
            "the record of its schema is missing",
            "restore",
        ),
        (
            "a newer version",
            "INSERT INTO refinery_schema_history VALUES (2, 'more', '2030-01-01T00:00:00Z', '5')",
            78,
            "has schema 2",
            "newer version",
        ),
        ("another program's", "PRAGMA application_id = 77", 78, "another program", "another file"),
    ] {
        remove_database(&env);
        copy(&intact, &path);
        execute(&path, &format!("PRAGMA foreign_keys = OFF; {script}"));
        let before = fs::read(&path).unwrap();
        for command in [&["sync"][..], &["status"], &["export", "delta"]] {
            let result = env.run(command).code(status);
            assert!(
                result.stderr.contains(message) && result.stderr.contains(help),
                "{name}: {}",
                result.stderr
            );
        }
        assert_check(&env, status, "database", "failure", message);
        assert!(fs::read(&path).unwrap() == before, "{name}: the file was changed");
    }
}

/// Kills the first start shortly after the database file appears.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_start_that_is_killed_at_any_moment_can_be_repeated() {
    let env = start_env().await;
    let path = database(&env);
    let mut kills = 0;
    for delay in (0..40).map(|step| Duration::from_micros(step * 250)) {
        let mut child = env.command(&["sync"]).spawn().unwrap();
        let start = Instant::now();
        while !path.exists() && start.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        std::thread::sleep(delay);
        child.kill().unwrap();
        kills += u32::from(CommandResult::of(child).status.is_none());
        let check = env.run_json(&["check", "--offline"]);
        if check.status != Some(0) {
            // A rollback journal that only a writer may roll back.
            assert!(check.stdout.contains("readonly"), "{delay:?}: {}", check.stdout);
        }
        env.run(&["sync"]).success();
        env.assert_matches_server(&format!("killed after {delay:?}"));
        assert_eq!(lineages(&env), ["created"], "{delay:?}");
        remove_database(&env);
    }
    assert!(20 < kills, "only {kills} were killed in time");
}

/// Ways to name the same database.
#[rstest]
#[case::file("link.db")]
#[case::folder("folder/halosync.db")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_is_seen_through_symbolic_links(#[case] other: &str, #[values(false, true)] exists: bool) {
    let env = start_env().await;
    symlink(env.directory(), env.path("folder")).unwrap();
    symlink("halosync.db", env.path("link.db")).unwrap();
    if exists {
        env.run_ok(&["sync"]);
    }
    let run = |arguments: &[&str]| {
        let mut command = env.command(arguments);
        command.env("HALOSYNC_STORE__PATH", env.path(other)).env("HALOSYNC_STORE__BUSY_TIMEOUT", "50ms");
        CommandResult::of(command.spawn().unwrap())
    };
    let lock = Lock::acquire_writer(&database(&env)).unwrap();
    let result = run(&["sync"]).code(75);
    assert!(result.stderr.contains(&format!("(pid {})", std::process::id())), "{}", result.stderr);
    drop(lock);
    run(&["sync"]).success();
    env.assert_matches_server("through the link");
    let lock = Lock::acquire_exporter(&database(&env), Duration::ZERO).unwrap();
    run(&["export", "delta"]).code(75);
    drop(lock);
    run(&["export", "delta"]).success();
    let files: Vec<_> = fs::read_dir(env.directory()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(!files.iter().any(|it| it.to_string_lossy().starts_with("link.db.")), "{files:?}");
}

#[rstest]
#[case::writer("halosync.db.lock", "sync")]
#[case::exporter("halosync.db.export.lock", "export")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_file_that_is_a_link_is_not_followed(#[case] lock: &str, #[case] command: &str) {
    let env: TestEnv<Simulator> = start_env().await;
    env.run_ok(&["sync"]);
    let arguments: &[&str] = if command == "sync" { &["sync"] } else { &["export", "delta"] };
    let victim = env.path("victim");
    fs::write(&victim, "precious").unwrap();
    let _ = fs::remove_file(env.path(lock));
    for target in [victim.clone(), env.path("not-there")] {
        symlink(&target, env.path(lock)).unwrap();
        let result = env.run(arguments).code(73);
        assert!(result.stderr.contains("is no regular file"), "{}", result.stderr);
        fs::remove_file(env.path(lock)).unwrap();
    }
    fs::hard_link(&victim, env.path(lock)).unwrap();
    env.run(arguments).code(73);
    fs::remove_file(env.path(lock)).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(!env.path("not-there").exists());
    // A file of that name that somebody else wrote is locked, and keeps its content.
    fs::write(env.path(lock), "my notes\n").unwrap();
    env.run(arguments).success();
    assert_eq!(fs::read_to_string(env.path(lock)).unwrap(), "my notes\n");
}
