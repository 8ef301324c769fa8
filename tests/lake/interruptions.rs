//! Kills and failures between any two steps: no package is half there, and none is there twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use crate::lake_env::{LakeEnv, SERVER, text};

/// Puts a folder in the place of an object, so that it cannot be put.
fn block(env: &LakeEnv, name: &str) -> PathBuf {
    let path = env.lake().join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

/// The trap that decides the protocol: a package that was put without its manifest is not made anew with other content.
#[test]
fn ticket_of_a_package_without_manifest_is_no_ghost() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    env.edit([7], "ghost");
    let manifest = block(&env, &format!("manifests/server={SERVER}/000001-000000000003.json"));
    env.lake_run(&["lake", "push"]).code(74);
    assert!(env.object_names().iter().any(|name| name.contains("000000000003-000000000004")));
    assert!(!env.fold().contains_key(&7), "a package without manifest is read");
    env.remove_tickets(&[7]);
    fs::remove_dir(manifest).unwrap();
    env.push();
    env.assert_lake_is_whole();
    assert_eq!(env.manifests().len(), 3);
}

#[test]
fn readers_keep_the_old_epoch_until_the_new_one_is_whole() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    env.edit([1], "b");
    env.push();
    let before = env.fold();
    env.lake_run(&["purge", "3", "--reason", "request"]).success();
    let manifest = block(&env, &format!("manifests/server={SERVER}/000002-000000000000.json"));
    env.lake_run(&["lake", "push"]).code(74);
    assert_eq!((env.epoch(), env.fold()), (1, before));
    fs::remove_dir(manifest).unwrap();
    env.push();
    assert_eq!(env.epoch(), 2);
    env.assert_lake_is_whole();
}

#[test]
fn outage_leaves_packages_on_disk_that_are_shipped_in_order() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    fs::rename(env.lake(), env.path("elsewhere")).unwrap();
    for summary in ["b", "c", "d"] {
        env.edit([1], summary);
        env.lake_run(&["lake", "push"]).code(78);
    }
    let status = env.lake_run(&["lake", "status"]).success().json;
    // The store is needed for the first request, which comes before a package is made only where an epoch begins.
    assert_eq!((&status["waiting"]["packages"], &status["pushes"]["failures"]), (&json!(3), &json!(3)));
    fs::rename(env.path("elsewhere"), env.lake()).unwrap();
    assert_eq!(env.push()["shipped"].as_array().unwrap().len(), 3);
    env.assert_lake_is_whole();
    let status = env.lake_run(&["lake", "status"]).success().json;
    assert_eq!((&status["waiting"]["packages"], &status["pushes"]["failures"]), (&json!(0), &json!(0)));
}

/// `HALOSYNC_LAKE_KILLS` sets their number.
#[test]
fn killed_pushes_leave_a_whole_lake() {
    let kills = std::env::var("HALOSYNC_LAKE_KILLS").map_or(20, |it| it.parse().unwrap());
    let seed = std::env::var("HALOSYNC_SEED").map_or_else(|_| fastrand::u64(..), |it| it.parse().unwrap());
    eprintln!("HALOSYNC_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let env = LakeEnv::new("rebase = \"1s\"");
    env.edit(1..=50, "a");
    // How long a push takes on this machine.
    let started = Instant::now();
    env.push();
    let took = started.elapsed();
    let mut killed = 0;
    for round in 0..kills {
        let ids = std::iter::repeat_with(|| random.i64(1..=80)).take(5);
        env.edit(ids.collect::<BTreeSet<_>>(), &format!("round {round}"));
        if random.bool() {
            env.remove_tickets(&[random.i64(1..=80)]);
        }
        let mut child = env.lake_command(env.directory(), &["lake", "push"]).spawn().unwrap();
        std::thread::sleep(took.mul_f64(random.f64()));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        env.verify();
    }
    eprintln!("{killed} of {kills} pushes were killed");
    env.push();
    env.assert_lake_is_whole();
    assert!(env.rows("tickets").iter().all(|row| text(row, "_server") == Some(SERVER)));
}
