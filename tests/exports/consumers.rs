//! Consumers at different speeds, retention, and forgotten consumers.

use rusqlite::Connection;
use serde_json::{Value as Json, json};

use crate::export_env::{ExportEnv, ticket_row};
use crate::readers::{assert_equal, fold, manifests, snapshot};
use crate::support::file_names;

fn export_delta(env: &ExportEnv, consumer: &str) -> Json {
    env.run_ok(&["export", "delta", "--consumer", consumer])
}

fn acknowledge(env: &ExportEnv, consumer: &str, seq: i64) -> Json {
    env.run_ok(&["export", "ack", "--consumer", consumer, "--seq", &seq.to_string()])
}

/// Makes all packages and change records so old that they are removed as soon as no consumer needs them.
fn age_everything(env: &ExportEnv) {
    let connection = Connection::open(env.path("halosync.db")).unwrap();
    connection.execute("UPDATE packages SET created_at = '2026-01-01T00:00:00.000Z'", []).unwrap();
    let trigger: String = connection
        .query_row("SELECT sql FROM sqlite_master WHERE name = 'changes_append_only'", [], |row| row.get(0))
        .unwrap();
    connection.execute_batch("DROP TRIGGER changes_append_only").unwrap();
    connection.execute("UPDATE changes SET observed_at = '2026-01-01T00:00:00.000Z'", []).unwrap();
    connection.execute_batch(&trigger).unwrap();
}

#[test]
fn consumers_progress_independently_and_keep_what_they_need() {
    let env = ExportEnv::new("[store]\nkeep_changes = \"1d\"\n[export]\nkeep = \"1d\"");
    env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "a"), ticket_row(3, "a")]);
    export_delta(&env, "fast");
    export_delta(&env, "slow");
    env.store_rows(&[ticket_row(2, "b"), ticket_row(4, "b")]);
    env.remove_tickets(&[3]);
    export_delta(&env, "fast");
    env.store_rows(&[ticket_row(1, "c"), ticket_row(3, "c")]);
    export_delta(&env, "fast");
    assert_eq!(env.last_seq(), 8);

    // Change records stay until both consumers acknowledged them, however old they are.
    age_everything(&env);
    acknowledge(&env, "fast", 6);
    assert_eq!(env.number("SELECT MIN(seq) FROM changes"), 4, "the first change that `slow` still needs");
    let remaining = file_names(&env.deltas("fast"));
    assert_eq!(remaining, ["000000000006-000000000008.csv", "_000000000006-000000000008.manifest"]);
    assert_eq!(file_names(&env.deltas("slow")).len(), 2, "a package that was not acknowledged is gone");
    let verdict = env.run_ok(&["export", "verify", "export", "--expect-to", "3"]);
    assert_eq!(verdict["chains"][0]["from_seq"], 6, "{verdict}");

    export_delta(&env, "slow");
    assert_equal(&fold(&env.deltas("slow")), &env.tickets(), "slow");
    // The chain continues after removed packages, and a package may be acknowledged twice.
    acknowledge(&env, "fast", 8);
    acknowledge(&env, "fast", 8);
    assert_eq!(file_names(&env.deltas("fast")), [""; 0]);
    env.store_rows(&[ticket_row(5, "d")]);
    export_delta(&env, "fast");
    let last = manifests(&env.deltas("fast")).remove(0);
    assert_eq!((&last["from_seq"], &last["to_seq"]), (&8.into(), &9.into()));
    assert!(last["previous_manifest_sha256"].is_string(), "{last}");

    // A new consumer starts from the tickets, because the change log is no longer complete.
    export_delta(&env, "late");
    assert_equal(&fold(&env.deltas("late")), &env.tickets(), "late");

    // Forgetting the slow consumer removes its packages and the change records kept for it.
    age_everything(&env);
    env.store_rows(&[ticket_row(6, "e")]);
    assert_eq!(env.run_ok(&["export", "forget", "--consumer", "slow"])["removed_packages"], 2);
    assert_eq!(file_names(&env.deltas("slow")), [""; 0]);
    assert_eq!(env.number("SELECT MIN(seq) FROM changes"), 10);
    assert_eq!(env.run_err(&["export", "ack", "--consumer", "slow", "--seq", "8"]).0, 66);
    assert_eq!(env.run_err(&["export", "forget", "--consumer", "slow"]).0, 66);
    for consumer in ["late", "slow"] {
        export_delta(&env, consumer);
        assert_equal(&fold(&env.deltas(consumer)), &env.tickets(), consumer);
    }
    let listed = env.run_ok(&["export", "list"]);
    let known: Vec<_> = listed["consumers"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(known, ["fast", "late", "slow"]);
    assert_eq!(env.run_ok(&["export", "list", "--consumer", "late"])["consumers"][0]["waiting"], 0);
    assert_eq!(env.run_err(&["export", "list", "--consumer", "unknown"]).0, 66);
}

#[test]
fn only_package_ends_can_be_acknowledged() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "a")]);
    export_delta(&env, "c");
    for seq in ["1", "3", "999999"] {
        let (status, error) = env.run_err(&["export", "ack", "--consumer", "c", "--seq", seq]);
        assert_eq!(status, 66, "{error}");
    }
    assert_eq!(env.number("SELECT acked_seq FROM consumers"), 0);
    assert_eq!(acknowledge(&env, "c", 2)["acked_seq"], 2);
    assert_eq!(env.number("SELECT COUNT(*) FROM lineage"), 1, "a wrong number starts no new lineage");

    let env = ExportEnv::new("[export]\nack = \"auto\"\nconsumer = \"c\"");
    env.store_rows(&[ticket_row(1, "a")]);
    env.run_ok(&["export", "delta"]);
    assert_eq!(env.number("SELECT acked_seq FROM consumers"), 1);
}

#[test]
fn fail_if_empty_exits_with_4_when_nothing_is_new() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a")]);
    assert_eq!(env.run_json(&["export", "delta", "--fail-if-empty"]).status, Some(0));
    assert_eq!(env.run_json(&["export", "delta", "--fail-if-empty"]).status, Some(4));
    assert_eq!(env.run_json(&["export", "snapshot", "--fail-if-empty"]).status, Some(0));
    env.remove_tickets(&[1]);
    assert_eq!(env.run_json(&["export", "snapshot", "--fail-if-empty"]).status, Some(4));
    assert_eq!(file_names(&env.path("export/snapshots")).len(), 1);
}

#[test]
fn snapshots_of_the_same_second_do_not_collide() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a")]);
    let taken: Vec<_> = (0..3).map(|_| env.run_ok(&["export", "snapshot", "--consumer", "lake"])).collect();
    for it in &taken {
        assert_equal(&snapshot(it["folder"].as_str().unwrap().as_ref(), false), &env.tickets(), "a snapshot");
        assert_eq!(it["manifest"]["consumer"], json!("lake"));
    }
    assert_eq!(file_names(&env.path("export/snapshots")).len(), 3);
}
