//! Restored copies of the database, scratch databases, and folders that are moved: no change is lost, no chain goes on with
//! other content, and nothing of another database is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::export_env::{ExportEnv, read_files, ticket_row};
use crate::readers::{assert_equal, fold, manifests};
use crate::support::file_names;

fn export_delta(env: &ExportEnv, consumer: &str) -> Json {
    env.run_ok(&["export", "delta", "--consumer", consumer])
}

/// Changes the tickets; each call makes `count` change records.
fn edit(env: &ExportEnv, word: &str, count: usize) {
    for number in 0..count {
        env.store_rows(&[ticket_row(1, &format!("{word} {number}"))]);
    }
}

/// The consumer has loaded its packages and takes them away.
fn take_away(env: &ExportEnv, consumer: &str) {
    for name in file_names(&env.deltas(consumer)) {
        fs::remove_file(env.deltas(consumer).join(name)).unwrap();
    }
}

fn position(env: &ExportEnv, consumer: &str) -> Json {
    let path = env.path("export/positions").join(format!("{consumer}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Asserts that the consumer's chain is whole and that its position file names its end.
fn assert_chain(env: &ExportEnv, consumer: &str, context: &str) {
    let chain = manifests(&env.deltas(consumer));
    assert_eq!(chain[0]["from_seq"], 0, "{context}");
    assert_equal(&fold(&env.deltas(consumer)), &env.tickets(), context);
    let last = chain.last().unwrap();
    let position = position(env, consumer);
    assert_eq!(position["lineages"][0], last["lineage"], "{context}");
    assert_eq!(position["to_seq"], last["to_seq"], "{context}");
    assert_eq!(position["manifest_sha256"], last["manifest_sha256"], "{context}");
}

#[test]
fn restored_database_is_noticed_whatever_was_synced_since_and_whatever_the_consumers_took_away() {
    for synced_since in [0, 1, 2, 9] {
        for taken_away in [false, true] {
            for known_before in [false, true] {
                let context = format!("{synced_since} changes since, {taken_away}, {known_before}");
                let env = ExportEnv::new("");
                env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "a")]);
                export_delta(&env, "other");
                if known_before {
                    export_delta(&env, "c");
                }
                let backup = env.back_up_database();
                edit(&env, "before", 2);
                export_delta(&env, "c");
                let old = position(&env, "c");
                if taken_away {
                    take_away(&env, "c");
                }
                env.restore_database(&backup);
                edit(&env, "after", synced_since);

                // Another consumer exports first: it was not exported since the backup, and must not go on either.
                let report = export_delta(&env, "other");
                let lineage = report["restart"]["lineage"].as_str().expect(&context).to_owned();
                assert_ne!(old["lineages"][0], lineage.as_str(), "{context}");
                let report = export_delta(&env, "c");
                assert_eq!(report["restart"], Json::Null, "{context}: the lineage started again");
                assert_eq!(report["packages"][0]["from_seq"], 0, "{context}");
                for consumer in ["other", "c"] {
                    assert_chain(&env, consumer, &context);
                    assert_eq!(position(&env, consumer)["lineages"], json!([lineage, old["lineages"][0]]));
                }
                let superseded = env.path("export/superseded").join(old["lineages"][0].as_str().unwrap());
                assert_eq!(superseded.join("c").exists(), !taken_away, "{context}");
                env.run_ok(&["export", "verify", "export", "--expect-to", &env.last_seq().to_string()]);
            }
        }
    }
}

#[test]
fn lineages_never_come_back_after_several_restores() {
    for taken_away in [false, true] {
        let env = ExportEnv::new("");
        env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "a")]);
        export_delta(&env, "one");
        export_delta(&env, "two");
        let older = env.back_up_database();
        edit(&env, "x", 1);
        export_delta(&env, "one");
        let newer = env.back_up_database();
        edit(&env, "y", 3);
        for consumer in ["one", "two"] {
            export_delta(&env, consumer);
        }
        let mut lineages = BTreeSet::from([position(&env, "one")["lineages"][0].to_string()]);
        for (number, backup) in [&newer, &older, &older, &newer, &older].into_iter().enumerate() {
            if taken_away {
                take_away(&env, "one");
                take_away(&env, "two");
            }
            env.restore_database(backup);
            edit(&env, &format!("restore {number}"), number);
            // The consumers take turns in being the first.
            let consumers = if number % 2 == 0 { ["one", "two"] } else { ["two", "one"] };
            for consumer in consumers {
                export_delta(&env, consumer);
                assert_chain(&env, consumer, &format!("restore {number}, {taken_away}"));
            }
            let lineage = position(&env, "one")["lineages"][0].to_string();
            assert_eq!(position(&env, "two")["lineages"][0].to_string(), lineage);
            assert!(lineages.insert(lineage), "restore {number}, {taken_away}: a lineage came back");
        }
    }
}

#[test]
fn consumer_that_has_loaded_more_than_the_database_knows_says_so() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "a")]);
    export_delta(&env, "c");
    let (status, error) = env.run_err(&["export", "ack", "--consumer", "c", "--seq", "7"]);
    assert!(status == 66 && error.contains("--restored"), "{error}");
    assert_eq!(env.number("SELECT COUNT(*) FROM lineage"), 1);

    let report = env.run_ok(&["export", "ack", "--consumer", "c", "--seq", "7", "--restored"]);
    assert!(report["restart"]["lineage"].is_string(), "{report}");
    assert_eq!(export_delta(&env, "c")["packages"][0]["from_seq"], 0);
    assert_chain(&env, "c", "after an acknowledgment beyond the end");

    // What the database knows is acknowledged as ever.
    let to = env.last_seq().to_string();
    let report = env.run_ok(&["export", "ack", "--consumer", "c", "--seq", &to, "--restored"]);
    assert_eq!((&report["restart"], report["acked_seq"].as_i64()), (&Json::Null, Some(env.last_seq())));
    // A consumer that the older copy does not know.
    let report = env.run_ok(&["export", "ack", "--consumer", "new", "--seq", "1", "--restored"]);
    assert!(report["restart"]["lineage"].is_string(), "{report}");
}

#[test]
fn ack_and_snapshot_detect_a_restored_database() {
    for command in ["ack", "snapshot"] {
        let env = ExportEnv::new("");
        env.store_rows(&[ticket_row(1, "a")]);
        export_delta(&env, "c");
        let backup = env.back_up_database();
        env.store_rows(&[ticket_row(2, "b")]);
        export_delta(&env, "c");
        env.restore_database(&backup);
        if command == "ack" {
            let (status, error) = env.run_err(&["export", "ack", "--consumer", "c", "--seq", "2"]);
            assert!(status == 66 && error.contains("lineage"), "{error}");
        } else {
            let taken = env.run_ok(&["export", "snapshot"]);
            assert_eq!(taken["restart"]["lineage"], taken["manifest"]["lineage"]);
        }
        assert_eq!(env.number("SELECT COUNT(*) FROM lineage"), 2, "{command}");
        assert_eq!(export_delta(&env, "c")["packages"][0]["from_seq"], 0);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for (path, bytes) in read_files(from) {
        let to = to.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
}

#[test]
fn scratch_database_is_refused_and_nothing_is_moved() {
    // What is left of the real chain: everything, only the packages, only the position file.
    for gone in ["nothing", "positions", "deltas"] {
        let real = ExportEnv::new("");
        real.store_rows(&[ticket_row(1, "real"), ticket_row(2, "real")]);
        export_delta(&real, "c");
        let scratch = ExportEnv::new("");
        scratch.store_rows(&[ticket_row(1, "scratch")]);
        copy_folder(&real.path("export"), &scratch.path("export"));
        match gone {
            "positions" => fs::remove_dir_all(scratch.path("export/positions")).unwrap(),
            "deltas" => take_away(&scratch, "c"),
            _ => {}
        }
        let before = read_files(&scratch.path("export"));
        let (status, error) = scratch.run_err(&["export", "delta", "--consumer", "c"]);
        assert_eq!(status, 65, "{gone}: {error}");
        assert!(error.contains("deltas/c") && error.contains("positions/c.json"), "{gone}: {error}");
        assert_eq!(read_files(&scratch.path("export")), before, "{gone}");
        assert_eq!(scratch.number("SELECT COUNT(*) FROM lineage"), 1, "{gone}");

        // As the help says, for a database that was made anew.
        fs::create_dir(scratch.path("kept")).unwrap();
        fs::rename(scratch.deltas("c"), scratch.path("kept/deltas")).unwrap();
        let _ = fs::rename(scratch.path("export/positions/c.json"), scratch.path("kept/position"));
        assert_eq!(export_delta(&scratch, "c")["packages"][0]["from_seq"], 0, "{gone}");
        assert_chain(&scratch, "c", gone);
    }
}

#[test]
fn consumer_belongs_to_the_folder_of_its_first_package() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a")]);
    export_delta(&env, "c");
    env.store_rows(&[ticket_row(2, "b")]);
    let elsewhere = ["export", "delta", "--consumer", "c", "--out", "elsewhere"];
    let (status, error) = env.run_err(&elsewhere);
    assert!(status == 2 && error.contains("export/deltas/c"), "{error}");
    assert!(!env.path("elsewhere").exists());
    // Another spelling of the same folder.
    std::os::unix::fs::symlink(env.directory(), env.path("link")).unwrap();
    env.run_ok(&["export", "delta", "--consumer", "c", "--out", "link/export"]);
    // The folder itself is moved.
    fs::rename(env.path("export"), env.path("elsewhere")).unwrap();
    env.store_rows(&[ticket_row(3, "c")]);
    assert_eq!(env.run_ok(&elsewhere)["packages"][0]["from_seq"], 2);
    assert_equal(&fold(&env.path("elsewhere/deltas/c")), &env.tickets(), "moved");
    let (status, _) = env.run_err(&["export", "delta", "--consumer", "c"]);
    assert_eq!(status, 2);
    // A forgotten consumer may start anew anywhere, also where it was.
    for target in ["elsewhere", "export", "elsewhere"] {
        env.run_ok(&["export", "forget", "--consumer", "c"]);
        let report = env.run_ok(&["export", "delta", "--consumer", "c", "--out", target]);
        assert_eq!((&report["packages"][0]["from_seq"], &report["restart"]), (&json!(0), &Json::Null));
    }
}

/// What somebody puts into a consumer's folder under the names of packages.
enum Plant {
    File(&'static str),
    Link,
    NamedPipe,
    Folder,
}

#[test]
fn only_what_the_exporter_wrote_is_published() {
    let next = "000000000002-000000000003";
    for (name, plant, moved) in [
        ("csv", Plant::File(""), true),
        ("csv", Plant::File("_seq,_op\n"), true),
        ("csv", Plant::File("forged"), true),
        ("json", Plant::File("[]"), true),
        ("manifest", Plant::File("{}"), true),
        ("manifest", Plant::File(""), true),
        ("csv", Plant::Link, false),
        ("csv", Plant::NamedPipe, false),
        ("csv", Plant::Folder, false),
        ("manifest", Plant::Link, false),
        ("manifest", Plant::NamedPipe, false),
    ] {
        let env = ExportEnv::new("");
        env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "a")]);
        export_delta(&env, "c");
        env.store_rows(&[ticket_row(3, "a")]);
        let folder = env.deltas("c");
        let manifest = file_names(&folder).into_iter().find(|it| it.contains("manifest")).unwrap();
        let name = match name {
            "manifest" => manifest.replace("000000000000-000000000002", next),
            extension => format!("{next}.{extension}"),
        };
        let path = folder.join(&name);
        match plant {
            Plant::File(text) => fs::write(&path, text).unwrap(),
            Plant::Link => std::os::unix::fs::symlink(env.path("agent.toml"), &path).unwrap(),
            Plant::NamedPipe => {
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                    .unwrap();
            }
            Plant::Folder => fs::create_dir(&path).unwrap(),
        }
        if moved {
            let planted = fs::read(&path).unwrap();
            let report = export_delta(&env, "c");
            let target = env.path("export/superseded/foreign/c").join(&name);
            assert_eq!(fs::read(&target).unwrap(), planted, "{name}");
            assert!(report["foreign"][0].as_str().unwrap().ends_with(&name), "{name}: {report}");
            assert_chain(&env, "c", &name);
            env.run_ok(&["export", "verify", folder.to_str().unwrap()]);
        } else {
            let names = file_names(&folder);
            let (status, error) = env.run_err(&["export", "delta", "--consumer", "c"]);
            assert!(status == 65 && error.contains(&name), "{name}: {status} {error}");
            assert_eq!(file_names(&folder), names, "{name}");
            assert_eq!(env.number("SELECT MAX(exported_seq) FROM consumers"), 2, "{name}");
        }
    }
}

/// A copy of the database on the same folder goes on beside the real one: that is a restored copy as far as anybody can tell,
/// and each side says so instead of continuing the other's chain.
#[test]
fn two_copies_never_continue_one_chain() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a")]);
    export_delta(&env, "c");
    let copies = [env.back_up_database(), env.back_up_database()];
    let mut copies: Vec<BTreeMap<_, _>> = copies.into();
    for round in 0..4 {
        env.restore_database(&copies[round % 2]);
        edit(&env, &format!("copy {round}"), 1 + round);
        export_delta(&env, "c");
        assert_chain(&env, "c", &format!("round {round}"));
        copies[round % 2] = env.back_up_database();
    }
}
