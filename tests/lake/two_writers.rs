//! Two copies under one name: never is anything overwritten, and the loser leaves no data behind.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::export_env::{open_store, store_rows, ticket_row};
use crate::lake_env::{LakeEnv, SERVER, copy_folder};
use crate::support::test_env::CommandResult;

fn run_in(env: &LakeEnv, folder: &Path, arguments: &[&str]) -> CommandResult {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
    command.env_clear().env("HALOSYNC_LAKE__URL", env.url()).current_dir(folder);
    command.arg("--json").arg("--config").arg(folder.join("agent.toml")).args(arguments);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    CommandResult::of(command.spawn().unwrap())
}

/// Stores tickets in the database of another copy.
fn edit_in(folder: &Path, ids: impl IntoIterator<Item = i64>, summary: &str) {
    let rows: Vec<_> = ids.into_iter().map(|id| ticket_row(id, summary)).collect();
    store_rows(open_store(&folder.join("halosync.db")), &rows, false);
}

#[track_caller]
fn assert_refused(result: CommandResult, code: &str) {
    let result = result.code(65);
    assert!(result.stderr.contains(code), "{}", result.stderr);
}

/// B9: two clones of one machine, whose packages end at different changes.
#[test]
fn clone_that_ships_something_else_is_refused_before_any_data() {
    for (first, second) in [(3, 5), (5, 3), (4, 4)] {
        let env = LakeEnv::new("");
        env.edit(1..=3, "a");
        env.push();
        let clone = copy_folder(env.directory());
        env.edit((10..).take(first), "by the first");
        env.push();
        let before = env.objects();
        edit_in(clone.path(), (20..).take(second), "by the second");
        assert_refused(run_in(&env, clone.path(), &["lake", "push"]), "lake_other_writer");
        assert_eq!(env.objects(), before, "{first} and {second}");
        env.assert_lake_is_whole();
        // The first one goes on; the second one takes the name over only when it is told to.
        env.edit([1], "b");
        env.push();
        run_in(&env, clone.path(), &["lake", "claim", "--server", SERVER]).success();
        run_in(&env, clone.path(), &["lake", "push"]).success();
        assert_refused(env.lake_run(&["lake", "push"]), "lake_superseded");
        env.verify();
        assert!(env.fold().values().any(|it| it == "by the second"));
        assert!(!env.fold().values().any(|it| it == "by the first"));
    }
}

#[test]
fn restored_backup_begins_an_epoch_and_ends_the_one_of_the_old_machine() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    let backup = env.back_up_database();
    env.edit(4..=6, "b");
    env.push();
    let old_machine = copy_folder(env.directory());
    env.restore_database(&backup);
    env.edit([1], "after the restore");
    let report = env.push();
    assert_eq!(report["began"]["epoch"], 2, "{report}");
    assert_eq!(report["began"]["reason"], "new_lineage");
    env.assert_lake_is_whole();
    assert_refused(run_in(&env, old_machine.path(), &["lake", "push"]), "lake_superseded");
    env.assert_lake_is_whole();
}

#[test]
fn machine_that_was_restored_as_a_whole_is_refused_until_it_claims_its_name() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    let machine = copy_folder(env.directory());
    env.edit(4..=6, "b");
    env.push();
    edit_in(machine.path(), [9], "restored");
    assert_refused(run_in(&env, machine.path(), &["lake", "push"]), "lake_other_writer");
    run_in(&env, machine.path(), &["lake", "claim", "--server", "other"]).code(2);
    run_in(&env, machine.path(), &["lake", "claim", "--server", SERVER]).success();
    run_in(&env, machine.path(), &["lake", "push"]).success();
    env.verify();
    assert_eq!(env.fold().into_keys().collect::<Vec<_>>(), [1, 2, 3, 9]);
}

#[test]
fn another_database_cannot_take_a_name_without_a_claim() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    let before = env.objects();
    let other = LakeEnv::new("");
    other.edit(7..=8, "other");
    assert_refused(run_in(&env, other.directory(), &["lake", "push"]), "lake_foreign");
    assert_eq!(env.objects(), before);
    run_in(&env, other.directory(), &["lake", "claim", "--server", SERVER]).success();
    run_in(&env, other.directory(), &["lake", "push"]).success();
    assert_eq!(env.fold(), other.stored());
    assert_refused(env.lake_run(&["lake", "push"]), "lake_superseded");
}
