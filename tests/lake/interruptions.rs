//! Kills and failures between any two steps: no package is half there, and none is there twice.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use halosync::app::{self, WorkCounter};
use halosync::config::{LakeConfig, LakeServer, LakeUrl};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::lake_env::{LakeEnv, SERVER, text};

/// Pushes while no manifest can be put, and everything before it can.
fn push_without_manifests(env: &LakeEnv) {
    let (folder, aside) = (env.lake().join("manifests"), env.path("manifests"));
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "not a folder").unwrap();
    env.lake_run(&["lake", "push"]).code(74);
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
}

/// The trap that decides the protocol: a package that was put without its manifest is not made anew with other content.
#[test]
fn ticket_of_a_package_without_manifest_is_no_ghost() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    env.edit([7], "ghost");
    push_without_manifests(&env);
    assert!(env.object_names().iter().any(|name| name.contains("000000000003-000000000004")));
    assert!(!env.fold().contains_key(&7), "a package without manifest is read");
    env.remove_tickets(&[7]);
    env.push();
    env.assert_lake_is_whole();
    assert_eq!(env.manifests().len(), 3);
}

/// An update of halosync between the two halves of a package.
#[test]
fn intents_and_claims_of_another_version_are_recognized() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    env.edit([1], "b");
    push_without_manifests(&env);
    for name in ["000001.json", "000001-000000000003.json"] {
        let path = env.lake().join(format!("claims/server={SERVER}/{name}"));
        let mut document: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        document["new"] = json!("member");
        fs::write(&path, document.to_string()).unwrap();
    }
    env.push();
    env.assert_lake_is_whole();
}

/// The base of a large database takes a while, and a service has to stop within seconds.
#[test]
fn stopped_push_writes_no_package() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    env.edit(1..=3, "b");
    let packages = || env.run_ok(&["export", "list"]);
    let before = packages();
    let mut loaded = app::load(Some(&env.path("agent.toml"))).unwrap();
    let lake = LakeConfig::reading(LakeUrl::parse(&env.url()).unwrap());
    loaded.config.lake = Some(LakeConfig { server: LakeServer::parse(SERVER).unwrap(), ..lake });
    let stop = CancellationToken::new();
    stop.cancel();
    let runtime = Runtime::new().unwrap();
    let _guard = runtime.enter();
    let error = app::push_to_lake(&loaded, stop, &WorkCounter::default()).unwrap_err();
    assert_eq!(error.to_string(), "shipping was stopped");
    assert_eq!(packages(), before);
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
    push_without_manifests(&env);
    assert_eq!((env.epoch(), env.fold()), (1, before));
    env.push();
    assert_eq!(env.epoch(), 2);
    env.assert_lake_is_whole();
}

#[test]
fn outage_leaves_packages_on_disk_that_are_shipped_in_order() {
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    env.take_lake_away();
    for summary in ["b", "c", "d"] {
        env.edit([1], summary);
        env.lake_run(&["lake", "push"]).code(78);
    }
    let status = env.lake_run(&["lake", "status"]).success().json;
    // The store is needed for the first request, which comes before a package is made only where an epoch begins.
    assert_eq!((&status["waiting"]["packages"], &status["pushes"]["failures"]), (&json!(3), &json!(3)));
    env.bring_lake_back();
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
        let mut child = env.lake_command(&["lake", "push"]).spawn().unwrap();
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
