//! What a push puts, and when another epoch begins.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use halosync::store::Lock;
use serde_json::json;

use crate::lake_env::{LakeEnv, SERVER, URL, integer, text};

#[test]
fn push_puts_intent_data_and_manifest_and_a_second_one_changes_nothing() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    let report = env.push();
    assert_eq!(report["epoch"], 1);
    assert_eq!(report["began"], json!({ "epoch": 1, "reason": "first" }));
    assert_eq!(report["to_seq"], 3);
    env.assert_lake_is_whole();
    let day = env.manifests()[0]["created_at"].as_str().unwrap()[..10].to_owned();
    assert_eq!(
        env.object_names(),
        [
            format!("changes/server={SERVER}/day={day}/000001-000000000000-000000000003.parquet"),
            format!("claims/server={SERVER}/000001-000000000000.json"),
            format!("claims/server={SERVER}/000001.json"),
            format!("epochs/server={SERVER}/000001.json"),
            format!("manifests/server={SERVER}/000001-000000000000.json"),
            format!("status/server={SERVER}.json"),
        ]
    );
    let before = env.objects();
    let again = env.push();
    assert_eq!(again["shipped"], json!([]));
    assert_eq!(env.objects(), before);
}

#[test]
fn every_row_explains_itself_and_deletions_have_the_key_alone() {
    for (setting, summary) in [("", None), ("deleted_rows = \"last\"", Some("a"))] {
        let env = LakeEnv::new(setting);
        env.edit(1..=2, "a");
        env.push();
        env.remove_tickets(&[2]);
        env.push();
        env.assert_lake_is_whole();
        let rows = env.rows("tickets");
        let deleted = rows.iter().find(|row| text(row, "_op") == Some("d")).unwrap();
        assert_eq!(text(deleted, "_server"), Some(SERVER));
        assert_eq!(integer(deleted, "_epoch"), 1);
        assert_eq!(integer(deleted, "UID"), 2);
        assert_eq!(text(deleted, "_reason"), Some("deleted"));
        assert_eq!(text(deleted, "NAME"), summary, "{setting}");
    }
}

#[test]
fn reference_tables_come_along_and_alone_in_a_quiet_week() {
    let env = LakeEnv::new("");
    // Unlike a status, an agent has no name in the tickets.
    let agents = |name: &str| json!([{ "id": 2, "name": name }]);
    env.edit(1..=2, "a");
    env.store_names("agents", &agents("New"));
    env.push();
    env.store_names("agents", &agents("Open"));
    env.push();
    env.edit(1..=1, "b");
    env.push();
    env.assert_lake_is_whole();
    let ranges: Vec<_> = env
        .manifests()
        .iter()
        .map(|it| (it["from_seq"].as_i64().unwrap(), it["to_seq"].as_i64().unwrap()))
        .collect();
    assert_eq!(ranges, [(0, 2), (2, 2), (2, 3)]);
    // The two packages that begin after change 2 have a place of their own in the chain.
    for folder in ["claims", "manifests"] {
        for name in ["000001-000000000002.json", "000001-000000000002-2.json"] {
            assert!(
                env.lake().join(format!("{folder}/server={SERVER}")).join(name).exists(),
                "{folder} {name}"
            );
        }
    }
    let names: Vec<_> =
        env.rows("reference").iter().map(|row| text(row, "NAME").unwrap().to_owned()).collect();
    assert_eq!(names, ["New", "Open"]);
}

#[test]
fn large_packages_are_cut_into_parts() {
    let env = LakeEnv::new("max_file = \"1MB\"");
    // Text that cannot be compressed.
    let mut noise = fastrand::Rng::with_seed(7);
    for id in 1..=40 {
        let summary: String = std::iter::repeat_with(|| noise.alphanumeric()).take(200_000).collect();
        env.edit([id], &summary);
    }
    env.push();
    env.assert_lake_is_whole();
    let manifest = &env.manifests()[0];
    let files = manifest["files"].as_array().unwrap();
    assert!(2 < files.len(), "{files:?}");
    let sum: u64 = files.iter().map(|file| file["rows"].as_u64().unwrap()).sum();
    assert_eq!(sum, 40);
    for (index, file) in files.iter().enumerate() {
        assert!(file["name"].as_str().unwrap().ends_with(&format!("-p{:02}.parquet", index + 1)), "{file}");
        assert!(file["bytes"].as_u64().unwrap() <= 1 << 20, "{file}");
    }
    env.run_ok(&["export", "verify", "export"]);
}

#[test]
fn erasing_a_ticket_begins_an_epoch_without_it() {
    const ERASED: &str = "qzerasedsummary";
    let env = LakeEnv::new("deleted_rows = \"last\"");
    env.edit(1..=3, "a");
    env.push();
    env.edit([2], ERASED);
    // Made and not shipped: it would bring the text into the lake.
    env.take_lake_away();
    env.lake_run(&["lake", "push"]).code(78);
    env.bring_lake_back();
    let purge = env.lake_run(&["purge", "2", "--reason", "request"]).success().json;
    assert_eq!(purge["lake"], env.url());
    let report = env.push();
    assert_eq!(report["began"], json!({ "epoch": 2, "reason": "erased" }));
    assert!(
        !env.path("export/deltas/lake/000001").exists(),
        "the packages of the earlier epoch stay on disk"
    );
    // Whatever an earlier epoch has left on disk is named.
    let left = env.path("export/deltas/lake/000001/000000000000-000000000003.parquet");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::write(&left, "left").unwrap();
    let again = env.lake_run(&["purge", "2", "--reason", "request"]).success().json;
    assert!(again["files"].as_array().unwrap().contains(&json!(left)), "{again}");
    env.push();
    assert!(!left.exists());
    env.assert_lake_is_whole();
    assert_eq!(env.fold().into_keys().collect::<Vec<_>>(), [1, 3]);
    for row in env.rows("tickets") {
        assert_ne!(text(&row, "NAME"), Some(ERASED));
    }
    let names = env.object_names();
    let shipped = names.iter().filter(|name| name.starts_with("changes/")).count();
    assert_eq!(shipped, 3, "{names:?}");
}

#[test]
fn forgotten_and_damaged_packages_begin_a_new_epoch() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    env.lake_run(&["export", "forget", "--consumer", "lake"]).success();
    assert_eq!(env.push()["began"]["epoch"], 2);
    env.assert_lake_is_whole();

    env.edit([1], "b");
    env.take_lake_away();
    env.lake_run(&["lake", "push"]).code(78);
    env.bring_lake_back();
    fs::write(env.path("export/deltas/lake/000002/000000000003-000000000004.parquet"), "damaged").unwrap();
    let failed = env.lake_run(&["lake", "push"]).code(65);
    assert!(failed.stderr.contains("lake_damaged"), "{}", failed.stderr);
    assert_eq!(env.push()["began"], json!({ "epoch": 3, "reason": "damaged" }));
    env.assert_lake_is_whole();
}

#[test]
fn nothing_is_shipped_before_the_initial_load_is_complete() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    let database = rusqlite::Connection::open(env.path("halosync.db")).unwrap();
    database.execute("DELETE FROM watermark_journal", []).unwrap();
    drop(database);
    let report = env.lake_run(&["lake", "push"]).code(3);
    assert_eq!(report.json["epoch"], json!(null));
    assert!(env.object_names().is_empty());
    assert_eq!(env.lake_run(&["lake", "status"]).success().json["pushes"], json!(null));
}

/// Whoever asks for the state sees a failure wherever it came from, but none where another try may simply come later.
#[test]
fn status_tells_of_every_failure_but_not_of_waiting() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    env.edit([1], "b");
    let failures =
        |env: &LakeEnv| env.lake_run(&["lake", "status"]).success().json["pushes"]["failures"].clone();
    env.set_variable("HALOSYNC_STORE__BUSY_TIMEOUT", "100ms".into());
    let held = Lock::acquire_shipper(&env.path("halosync.db"), Duration::ZERO).unwrap();
    env.lake_run(&["lake", "push"]).code(75);
    drop(held);
    assert_eq!(failures(&env), 0);
    let folder = env.url();
    env.set_variable(URL, "s3://lake/halo".into());
    // The tokens of a machine would go through the network unencrypted.
    env.set_variable("AWS_ENDPOINT_URL", "http://store.example.com".into());
    let refused = env.lake_run(&["lake", "push"]).code(78);
    assert!(refused.stderr.contains("must be https"), "{}", refused.stderr);
    assert_eq!(failures(&env), 1);
    env.set_variable(URL, folder);
    env.push();
    assert_eq!(failures(&env), 0);
}

#[test]
fn lost_objects_are_found() {
    for lost in [
        "manifests/server=acme/000001-000000000003.json",
        "manifests/server=acme/000001-000000000000.json",
        "manifests/server=acme",
        "epochs/server=acme",
        "changes/server=acme",
    ] {
        let env = LakeEnv::new("");
        env.push_twice();
        env.verify();
        env.lose(lost);
        for arguments in
            [&["lake", "verify", &env.url()][..], &["lake", "verify", &env.url(), "--server", SERVER]]
        {
            let found = env.lake_run(arguments).code(65);
            assert_ne!(found.json["findings"], json!([]), "{lost}");
        }
    }
}

#[test]
fn what_is_not_there_is_named() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    let empty = env.lake_run(&["lake", "verify", &env.url()]).code(66);
    assert!(empty.stderr.contains("there are no packages in file://"), "{}", empty.stderr);
    env.take_lake_away();
    let missing = env.lake_run(&["lake", "push"]).code(78);
    assert!(missing.stderr.contains("the folder of the lake does not exist"), "{}", missing.stderr);
    assert!(!env.lake().exists());
    env.bring_lake_back();
}

/// New rules must reach the lake: what is held back from now on is in no object of the new epoch.
#[test]
fn new_privacy_rules_begin_an_epoch_without_what_they_hold_back() {
    const HELD_BACK: &str = "qzheldback";
    let env = LakeEnv::new("");
    env.edit(1..=3, HELD_BACK);
    env.push();
    let mut settings = fs::OpenOptions::new().append(true).open(env.path("agent.toml")).unwrap();
    writeln!(settings, "[privacy]\nexclude = [\"NAME\"]").unwrap();
    // A run carries them out before it asks the server, which is none here.
    env.lake_run(&["lake", "push"]).code(75);
    env.lake_run(&["sync"]).code(69);
    let report = env.push();
    assert_eq!(report["began"], json!({ "epoch": 2, "reason": "new_lineage" }), "{report}");
    env.verify();
    let rows = env.rows("tickets");
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| text(row, "NAME") != Some(HELD_BACK)));
}

#[test]
fn packages_of_the_lake_are_not_for_other_commands() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    for arguments in [
        &["export", "delta", "--consumer", "lake"][..],
        &["export", "ack", "--consumer", "lake", "--seq", "3"],
    ] {
        env.lake_run(arguments).code(2);
    }
    env.push();
    for arguments in [
        &["export", "delta", "--consumer", "lake"][..],
        &["export", "ack", "--consumer", "lake", "--seq", "3"],
    ] {
        env.lake_run(arguments).code(2);
    }
    env.assert_lake_is_whole();
}

/// Changes that follow what is not there would be read as everything.
#[test]
fn emptied_lake_is_noticed() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    env.edit([1], "b");
    fs::remove_dir_all(env.lake()).unwrap();
    fs::create_dir(env.lake()).unwrap();
    let refused = env.lake_run(&["lake", "push"]).code(65);
    assert!(refused.stderr.contains("lake_claim_missing"), "{}", refused.stderr);
    assert!(env.object_names().is_empty());
    env.lake_run(&["lake", "claim", "--server", SERVER]).success();
    env.push();
    env.assert_lake_is_whole();
}
