//! Consumers at different speeds, what is kept for them, one that is forgotten, and a database that was put back.

use std::fs;

use rusqlite::Connection;
use serde_json::{Value as Json, json};

use crate::desk::{Desk, names, ticket};
use crate::readers::{assert_equal, fold, manifests, snapshot};

fn deliver(desk: &Desk, consumer: &str) -> Json {
    desk.good(&["export", "delta", "--consumer", consumer])
}

fn acknowledge(desk: &Desk, consumer: &str, seq: i64) -> Json {
    desk.good(&["export", "ack", "--consumer", consumer, "--seq", &seq.to_string()])
}

/// Makes everything in the book and the log so old that it ages out as soon as it may.
fn let_time_pass(desk: &Desk) {
    let connection = Connection::open(desk.path("halosync.db")).unwrap();
    connection.execute("UPDATE packages SET created_at = '2026-01-01T00:00:00.000Z'", []).unwrap();
    let trigger: String = connection
        .query_row("SELECT sql FROM sqlite_master WHERE name = 'changes_are_never_edited'", [], |row| {
            row.get(0)
        })
        .unwrap();
    connection.execute_batch("DROP TRIGGER changes_are_never_edited").unwrap();
    connection.execute("UPDATE changes SET observed_at = '2026-01-01T00:00:00.000Z'", []).unwrap();
    connection.execute_batch(&trigger).unwrap();
}

#[test]
fn each_consumer_goes_at_its_own_pace_and_nothing_is_removed_that_one_still_needs() {
    let desk = Desk::new("[store]\nkeep_changes = \"1d\"\n[export]\nkeep = \"1d\"");
    desk.apply(&[ticket(1, "a"), ticket(2, "a"), ticket(3, "a")]);
    deliver(&desk, "fast");
    deliver(&desk, "slow");
    desk.apply(&[ticket(2, "b"), ticket(4, "b")]);
    desk.remove(&[3]);
    deliver(&desk, "fast");
    desk.apply(&[ticket(1, "c"), ticket(3, "c")]);
    deliver(&desk, "fast");
    assert_eq!(desk.last_seq(), 8);

    // Old as it is, it is neither taken nor handed on to both: it stays.
    let_time_pass(&desk);
    acknowledge(&desk, "fast", 6);
    assert_eq!(desk.number("SELECT MIN(seq) FROM changes"), 4, "what `slow` still needs begins at 4");
    let left = names(&desk.deltas("fast"));
    assert_eq!(left, ["000000000006-000000000008.csv", "000000000006-000000000008.manifest.json"]);
    assert_eq!(names(&desk.deltas("slow")).len(), 2, "a package that nobody took is gone");
    let verdict = desk.good(&["export", "verify", "export", "--expect-to", "3"]);
    assert_eq!(verdict["chains"][0]["from_seq"], 6, "{verdict}");

    deliver(&desk, "slow");
    assert_equal(&fold(&desk.deltas("slow")), &desk.tickets(), "slow");
    // The chain goes on from what has aged out, and repeating an acknowledgement is fine.
    acknowledge(&desk, "fast", 8);
    acknowledge(&desk, "fast", 8);
    assert_eq!(names(&desk.deltas("fast")), [""; 0]);
    desk.apply(&[ticket(5, "d")]);
    deliver(&desk, "fast");
    let last = manifests(&desk.deltas("fast")).remove(0);
    assert_eq!((&last["from_seq"], &last["to_seq"]), (&8.into(), &9.into()));
    assert!(last["previous_manifest_sha256"].is_string(), "{last}");

    // Whoever comes now starts from the tickets; the log is not whole any more.
    deliver(&desk, "late");
    assert_equal(&fold(&desk.deltas("late")), &desk.tickets(), "late");

    // The slow one is forgotten: its packages go, and what was kept for it.
    let_time_pass(&desk);
    desk.apply(&[ticket(6, "e")]);
    assert_eq!(desk.good(&["export", "forget", "--consumer", "slow"])["removed_packages"], 2);
    assert_eq!(names(&desk.deltas("slow")), [""; 0]);
    assert_eq!(desk.number("SELECT MIN(seq) FROM changes"), 10);
    assert_eq!(desk.bad(&["export", "ack", "--consumer", "slow", "--seq", "8"]).0, 66);
    assert_eq!(desk.bad(&["export", "forget", "--consumer", "slow"]).0, 66);
    for consumer in ["late", "slow"] {
        deliver(&desk, consumer);
        assert_equal(&fold(&desk.deltas(consumer)), &desk.tickets(), consumer);
    }
    let listed = desk.good(&["export", "list"]);
    let known: Vec<_> = listed["consumers"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(known, ["fast", "late", "slow"]);
    assert_eq!(desk.good(&["export", "list", "--consumer", "late"])["consumers"][0]["waiting"], 0);
    assert_eq!(desk.bad(&["export", "list", "--consumer", "nobody"]).0, 66);
}

#[test]
fn only_the_end_of_a_package_can_be_acknowledged_and_auto_does_it_at_once() {
    let desk = Desk::new("");
    desk.apply(&[ticket(1, "a"), ticket(2, "a")]);
    deliver(&desk, "c");
    for seq in ["1", "3", "999999"] {
        let (status, error) = desk.bad(&["export", "ack", "--consumer", "c", "--seq", seq]);
        assert_eq!(status, 66, "{error}");
    }
    assert_eq!(desk.number("SELECT acked_seq FROM consumers"), 0);
    assert_eq!(acknowledge(&desk, "c", 2)["acked_seq"], 2);
    assert_eq!(desk.number("SELECT COUNT(*) FROM lineage"), 1, "a slip of the pen is no other lineage");

    let desk = Desk::new("[export]\nack = \"auto\"\nconsumer = \"c\"");
    desk.apply(&[ticket(1, "a")]);
    desk.good(&["export", "delta"]);
    assert_eq!(desk.number("SELECT acked_seq FROM consumers"), 1);
}

#[test]
fn after_an_older_copy_was_restored_each_consumer_starts_again_at_0_in_a_new_lineage() {
    // What was done with the restored copy before anybody exported.
    for edits_since in [0, 1, 5] {
        let desk = Desk::new("");
        desk.apply(&[ticket(1, "a"), ticket(2, "a")]);
        deliver(&desk, "one");
        deliver(&desk, "two");
        let backup = desk.back_up();
        desk.apply(&[ticket(1, "b"), ticket(3, "b")]);
        deliver(&desk, "one");
        let old = manifests(&desk.deltas("one")).remove(1);
        desk.restore(&backup);
        // Milliseconds tell a package from what the log says of later.
        std::thread::sleep(std::time::Duration::from_millis(2));
        for edit in 0..edits_since {
            desk.apply(&[ticket(1, &format!("after {edit}"))]);
        }

        let report = deliver(&desk, "one");
        let lineage = report["restart"]["lineage"].as_str().expect("it is said");
        assert_ne!(old["lineage"], lineage, "{edits_since} edits");
        assert_eq!(report["packages"][0]["from_seq"], 0);
        for consumer in ["one", "two"] {
            let report = deliver(&desk, consumer);
            assert_eq!(report["restart"], Json::Null, "once is enough: {report}");
            let chain = manifests(&desk.deltas(consumer));
            assert_eq!(chain.len(), 1);
            assert_eq!(chain[0]["lineage"], lineage);
            assert_equal(&fold(&desk.deltas(consumer)), &desk.tickets(), consumer);
        }
        // What was handed on before is still there, apart, and sound.
        let apart = desk.path("export/superseded").join(old["lineage"].as_str().unwrap());
        assert_eq!(names(&apart), ["one", "two"]);
        assert_eq!(manifests(&apart.join("one"))[1], old);
        let last = desk.last_seq().to_string();
        desk.good(&["export", "verify", "export", "--expect-to", &last]);

        // The same copy is put back again: its lineage was left for good.
        desk.restore(&backup);
        let report = deliver(&desk, "two");
        assert!(report["restart"]["lineage"].is_string(), "{report}");
        assert_equal(&fold(&desk.deltas("two")), &desk.tickets(), "restored twice");
    }
}

#[test]
fn an_acknowledgement_or_a_snapshot_shows_a_restored_copy_too() {
    for command in ["ack", "snapshot"] {
        let desk = Desk::new("");
        desk.apply(&[ticket(1, "a")]);
        deliver(&desk, "c");
        let backup = desk.back_up();
        desk.apply(&[ticket(2, "b")]);
        deliver(&desk, "c");
        desk.restore(&backup);
        if command == "ack" {
            let (status, error) = desk.bad(&["export", "ack", "--consumer", "c", "--seq", "2"]);
            assert!(status == 66 && error.contains("lineage"), "{error}");
        } else {
            let taken = desk.good(&["export", "snapshot"]);
            assert_eq!(taken["restart"]["lineage"], taken["manifest"]["lineage"]);
        }
        assert_eq!(desk.number("SELECT COUNT(*) FROM lineage"), 2, "{command}");
        assert_eq!(deliver(&desk, "c")["packages"][0]["from_seq"], 0);
    }
}

#[test]
fn a_new_database_in_the_place_of_an_old_one_takes_its_folders_over() {
    let old = Desk::new("");
    old.apply(&[ticket(1, "old"), ticket(2, "old")]);
    for consumer in ["one", "two"] {
        deliver(&old, consumer);
    }
    let new = Desk::new("");
    new.apply(&[ticket(1, "new")]);
    let export = new.path("export");
    assert!(
        std::process::Command::new("cp")
            .arg("-a")
            .args([old.path("export"), export])
            .status()
            .unwrap()
            .success()
    );
    for consumer in ["one", "two", "one"] {
        deliver(&new, consumer);
        assert_equal(&fold(&new.deltas(consumer)), &new.tickets(), consumer);
    }
    let chains = [manifests(&new.deltas("one")), manifests(&new.deltas("two"))];
    assert_eq!(chains[0][0]["lineage"], chains[1][0]["lineage"], "the second restarted the first");
}

#[test]
fn what_belongs_to_others_is_refused_and_left_alone() {
    let desk = Desk::new("");
    desk.apply(&[ticket(1, "a"), ticket(2, "a")]);
    deliver(&desk, "c");
    // A package that overlaps what the book knows.
    let folder = desk.deltas("c");
    let stray = folder.join("000000000001-000000000002.csv");
    fs::write(&stray, "").unwrap();
    desk.apply(&[ticket(3, "a")]);
    deliver(&desk, "c");
    fs::rename(&stray, folder.join("000000000002-000000000003.json")).unwrap();
    desk.apply(&[ticket(4, "a")]);
    deliver(&desk, "c");
    fs::write(folder.join("000000000003-000000000009.manifest.json"), "{}").unwrap();
    let (status, error) = desk.bad(&["export", "delta", "--consumer", "c"]);
    assert!(status == 65 && error.contains("000000000003-000000000009.manifest.json"), "{error}");
}

#[test]
fn nothing_new_has_a_status_of_its_own_where_it_is_wanted() {
    let desk = Desk::new("");
    desk.apply(&[ticket(1, "a")]);
    assert_eq!(desk.run(&["export", "delta", "--fail-if-empty"]).status.code(), Some(0));
    assert_eq!(desk.run(&["export", "delta", "--fail-if-empty"]).status.code(), Some(4));
    assert_eq!(desk.run(&["export", "snapshot", "--fail-if-empty"]).status.code(), Some(0));
    desk.remove(&[1]);
    assert_eq!(desk.run(&["export", "snapshot", "--fail-if-empty"]).status.code(), Some(4));
    assert_eq!(names(&desk.path("export/snapshots")).len(), 1);
}

#[test]
fn two_snapshots_of_one_second_both_exist() {
    let desk = Desk::new("");
    desk.apply(&[ticket(1, "a")]);
    let taken: Vec<_> = (0..3).map(|_| desk.good(&["export", "snapshot", "--consumer", "lake"])).collect();
    for it in &taken {
        assert_equal(
            &snapshot(it["folder"].as_str().unwrap().as_ref(), false),
            &desk.tickets(),
            "a snapshot",
        );
        assert_eq!(it["manifest"]["consumer"], json!("lake"));
    }
    assert_eq!(names(&desk.path("export/snapshots")).len(), 3);
}
