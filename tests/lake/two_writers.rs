//! Two copies under one name: never is anything overwritten, and the loser leaves no data behind.

use serde_json::json;

use crate::lake_env::{LakeEnv, SERVER};
use crate::support::test_env::CommandResult;

#[track_caller]
fn assert_refused(result: CommandResult, code: &str) {
    let result = result.code(65);
    assert!(result.stderr.contains(code), "{}", result.stderr);
}

fn claim(env: &LakeEnv) {
    env.lake_run(&["lake", "claim", "--server", SERVER]).success();
    env.push();
}

/// B9: two clones of one machine, whose packages end at different changes.
#[test]
fn clone_that_ships_something_else_is_refused_before_any_data() {
    for (first, second) in [(3, 5), (5, 3), (4, 4)] {
        let env = LakeEnv::new("");
        env.edit(1..=3, "a");
        env.push();
        let clone = env.clone_machine();
        env.edit((10..).take(first), "by the first");
        env.push();
        let before = env.objects();
        env.on(&clone, || {
            env.edit((20..).take(second), "by the second");
            assert_refused(env.lake_run(&["lake", "push"]), "lake_other_writer");
        });
        assert_eq!(env.objects(), before, "{first} and {second}");
        env.assert_lake_is_whole();
        // The first one goes on; the second one takes the name over only when it is told to.
        env.edit([1], "b");
        env.push();
        env.on(&clone, || {
            claim(&env);
            env.assert_lake_is_whole();
        });
        assert_refused(env.lake_run(&["lake", "push"]), "lake_superseded");
        env.on(&clone, || env.assert_lake_is_whole());
    }
}

/// What makes an epoch due is no claim: neither before this copy was refused nor after it.
#[test]
fn clone_does_not_take_the_name_over_by_itself() {
    let end_epoch: [&[&str]; 2] =
        [&["purge", "2", "--reason", "request"], &["export", "forget", "--consumer", "lake"]];
    for (number, arguments) in end_epoch.into_iter().cycle().take(4).enumerate() {
        let env = LakeEnv::new("");
        env.edit(1..=3, "a");
        env.push();
        let clone = env.clone_machine();
        env.edit([10], "by the first");
        env.push();
        let before = env.objects();
        env.on(&clone, || {
            env.edit([20], "by the second");
            if number < 2 {
                assert_refused(env.lake_run(&["lake", "push"]), "lake_other_writer");
            }
            env.lake_run(arguments).success();
            for _ in 0..2 {
                assert_refused(env.lake_run(&["lake", "push"]), "lake_other_writer");
            }
        });
        assert_eq!(env.objects(), before, "{arguments:?}");
        // The same after the other one has taken the name over.
        env.on(&clone, || claim(&env));
        let before = env.objects();
        assert_refused(env.lake_run(&["lake", "push"]), "lake_superseded");
        env.lake_run(arguments).success();
        for _ in 0..2 {
            assert_refused(env.lake_run(&["lake", "push"]), "lake_superseded");
        }
        assert_eq!(env.objects(), before, "{arguments:?}");
    }
}

/// A backup that is put back shows what its own machine has shipped since, and nothing about another machine.
#[test]
fn restored_database_is_no_claim_where_another_machine_ships() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    let backup = env.back_up_database();
    env.edit([4], "b");
    env.push();
    let clone = env.clone_machine();
    env.edit([5], "c");
    env.push();
    let before = env.objects();
    let restore_and_push = |code| {
        env.restore_database(&backup);
        env.edit([9], "restored");
        for _ in 0..2 {
            assert_refused(env.lake_run(&["lake", "push"]), code);
        }
    };
    env.on(&clone, || restore_and_push("lake_other_writer"));
    assert_eq!(env.objects(), before);
    // The same after the other machine has taken the name over by a claim.
    env.on(&clone, || claim(&env));
    let before = env.objects();
    restore_and_push("lake_superseded");
    assert_eq!(env.objects(), before);
    env.on(&clone, || env.assert_lake_is_whole());
}

/// Nothing of it is in the lake, so nothing can be missing there.
#[test]
fn database_that_was_restored_before_its_first_claim_begins() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    std::fs::write(env.lake().join("claims"), "not a folder").unwrap();
    env.lake_run(&["lake", "push"]).code(74);
    let backup = env.back_up_database();
    env.edit([4], "b");
    env.run_ok(&["export", "delta", "--consumer", "warehouse"]);
    env.restore_database(&backup);
    env.edit([1], "after the restore");
    std::fs::remove_file(env.lake().join("claims")).unwrap();
    env.push();
    env.assert_lake_is_whole();
}

/// A name that this copy has had before is not taken back, either.
#[test]
fn copy_that_comes_back_to_its_old_name_is_refused_if_another_one_has_it() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    let clone = env.clone_machine();
    env.edit([1], "b");
    env.push();
    let before = env.objects();
    env.on(&clone, || {
        env.set_variable("HALOSYNC_LAKE__SERVER", "other".into());
        env.push();
        env.set_variable("HALOSYNC_LAKE__SERVER", SERVER.into());
        assert_refused(env.lake_run(&["lake", "push"]), "lake_other_writer");
    });
    let own: Vec<_> =
        env.objects().into_iter().filter(|(name, _)| !name.to_string_lossy().contains("other")).collect();
    assert_eq!(own, before.into_iter().collect::<Vec<_>>());
    // The one that has shipped under it all along may come back.
    env.set_variable("HALOSYNC_LAKE__SERVER", "third".into());
    env.push();
    env.set_variable("HALOSYNC_LAKE__SERVER", SERVER.into());
    assert_eq!(env.push()["began"], json!({ "epoch": 2, "reason": "other_lake" }));
    env.assert_lake_is_whole();
}

/// A rule of the store may have deleted what only halosync reads.
#[test]
fn epoch_whose_claim_was_deleted_keeps_its_number() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    std::fs::remove_dir_all(env.lake().join("claims")).unwrap();
    let other = LakeEnv::new("");
    other.edit(7..=8, "other");
    let other = other.clone_machine();
    env.on(&other, || {
        assert_refused(env.lake_run(&["lake", "push"]), "lake_foreign");
        claim(&env);
        assert_eq!(env.epoch(), 2);
        env.assert_lake_is_whole();
    });
}

#[test]
fn restored_backup_goes_on_behind_what_its_machine_has_put_since() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    let backup = env.back_up_database();
    env.lake_run(&["export", "forget", "--consumer", "lake"]).success();
    env.push();
    env.edit([4], "b");
    env.push();
    env.restore_database(&backup);
    env.edit([1], "after the restore");
    assert_eq!(env.push()["began"], json!({ "epoch": 3, "reason": "new_lineage" }));
    env.assert_lake_is_whole();
}

#[test]
fn restored_backup_begins_an_epoch_and_ends_the_one_of_the_old_machine() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    let backup = env.back_up_database();
    env.edit(4..=6, "b");
    env.push();
    let old_machine = env.clone_machine();
    env.restore_database(&backup);
    env.edit([1], "after the restore");
    let report = env.push();
    assert_eq!(report["began"]["epoch"], 2, "{report}");
    assert_eq!(report["began"]["reason"], "new_lineage");
    env.assert_lake_is_whole();
    env.on(&old_machine, || assert_refused(env.lake_run(&["lake", "push"]), "lake_superseded"));
    env.assert_lake_is_whole();
}

/// Nothing on the machine shows that it is older than the lake.
#[test]
fn machine_that_was_restored_as_a_whole_is_refused_until_it_claims_its_name() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    let backup = env.clone_machine();
    env.edit(4..=6, "b");
    env.push();
    let before = env.objects();
    env.on(&backup, || {
        // It has nothing to ship, and may not tell readers that the lake ends there.
        assert_refused(env.lake_run(&["lake", "push"]), "lake_other_writer");
        assert_eq!(env.objects(), before);
        env.edit([9], "restored");
        assert_refused(env.lake_run(&["lake", "push"]), "lake_other_writer");
        env.lake_run(&["lake", "claim", "--server", "other"]).code(2);
        claim(&env);
        env.assert_lake_is_whole();
    });
}

#[test]
fn another_database_cannot_take_a_name_without_a_claim() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    let before = env.objects();
    let other = LakeEnv::new("");
    other.edit(7..=8, "other");
    let other = other.clone_machine();
    env.on(&other, || {
        assert_refused(env.lake_run(&["lake", "push"]), "lake_foreign");
        assert_eq!(env.objects(), before);
        claim(&env);
        env.assert_lake_is_whole();
    });
    assert_refused(env.lake_run(&["lake", "push"]), "lake_superseded");
}
