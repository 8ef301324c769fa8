//! A store that speaks the protocol of S3, and what may go wrong on the way to it.

use serde_json::json;

use crate::lake_env::URL;
use crate::recipes::{assert_recipes_agree, duckdb_program, has_python_module, python, server_name, servers};
use crate::stores::{Moto, Proxy, SECRET, TEMPORARY_TOKEN, Trouble, assert_troubles_do_no_harm, copy_at};

#[test]
fn second_push_to_s3_changes_nothing_and_no_secret_is_anywhere() {
    let Some(moto) = Moto::start() else { return };
    let env = copy_at(&moto.url, "acme");
    env.edit(1..=30, "a");
    env.push();
    env.edit(1..=3, "b");
    env.push();
    let before = moto.listing();
    // Two objects for each package, two for the epoch, and intents and the status.
    assert_eq!(before.len(), 2 * 3 + 2 + 1, "{before:?}");
    env.push();
    assert_eq!(moto.listing(), before);
    env.verify();
    let log = env.lake_run(&["-vv", "lake", "push"]).success();
    assert!(!log.stderr.contains(SECRET) && !log.stdout.contains(SECRET));
    let database = std::fs::read(env.path("halosync.db")).unwrap();
    assert!(!database.windows(SECRET.len()).any(|it| it == SECRET.as_bytes()));
}

#[test]
fn troubles_on_the_way_neither_lose_nor_repeat_an_object() {
    let Some(moto) = Moto::start() else { return };
    assert_troubles_do_no_harm(
        &moto.url,
        &moto.url,
        |proxy, name| copy_at(&proxy.url, name),
        |own| moto.listing().into_keys().filter(|name| name.contains(own)).count(),
    );
}

#[test]
fn store_that_ignores_the_condition_is_refused() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::start(&moto.url, Trouble::IgnoresCondition);
    let env = copy_at(&proxy.url, "acme");
    env.edit(1..=3, "a");
    let refused = env.lake_run(&["lake", "push"]).code(78);
    assert!(refused.stderr.contains("lake_accepts_second"), "{}", refused.stderr);
    assert!(!moto.listing().keys().any(|name| name.contains("/changes/")));
    let check = env.lake_run(&["check"]);
    assert!(check.stdout.contains("accepts a second object"), "{}", check.stdout);
}

/// What waits may hold the ticket: readers must never be told of an epoch with it.
#[test]
fn ticket_that_is_erased_during_a_push_is_in_no_epoch_that_readers_use() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::start(&moto.url, Trouble::Nothing);
    let env = copy_at(&proxy.url, "acme");
    env.edit(1..=3, "a");
    let purge = |id| env.lake_run(&["purge", id, "--reason", "request"]).success();
    let (push, _) = proxy.push_held(&env, || purge("2"));
    let report = push.success().json;
    assert_eq!(report["began"], json!({ "epoch": 2, "reason": "erased" }));
    let epochs: Vec<_> = moto.listing().into_keys().filter(|name| name.contains("/epochs/")).collect();
    assert_eq!(epochs, ["halo/epochs/server=acme/000002.json"]);
    assert!(!moto.listing().contains_key("halo/manifests/server=acme/000001-000000000000.json"));
    env.verify();
    // In an epoch that readers use already, the manifest would show it to them.
    env.edit([1], "qzerased");
    let (push, _) = proxy.push_held(&env, || purge("1"));
    assert_eq!(push.success().json["epoch"], 3);
    let manifests = moto.listing().into_keys().filter(|name| name.contains("/manifests/")).count();
    assert_eq!(manifests, 2);
    env.verify();
}

/// Putting a large package takes a while, in which another copy may take the name over.
#[test]
fn copy_that_is_superseded_during_a_push_announces_nothing_and_leaves_the_status_alone() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::start(&moto.url, Trouble::Nothing);
    let env = copy_at(&proxy.url, "acme");
    env.edit(1..=3, "a");
    let other = copy_at(&moto.url, "acme");
    other.edit([7], "other");
    let (push, status) = proxy.push_held(&env, || {
        other.lake_run(&["lake", "claim", "--server", "acme"]).success();
        other.push();
        moto.listing()["halo/status/server=acme.json"].clone()
    });
    let refused = push.code(65);
    assert!(refused.stderr.contains("lake_superseded"), "{}", refused.stderr);
    let listing = moto.listing();
    assert_eq!(listing["halo/status/server=acme.json"], status);
    assert!(!listing.contains_key("halo/epochs/server=acme/000001.json"));
    other.verify();
}

/// The variables of the environment are for stores that the settings do not name.
#[test]
fn endpoint_of_the_settings_comes_before_those_of_the_environment() {
    let Some(moto) = Moto::start() else { return };
    let env = copy_at(&moto.url, "acme");
    env.edit(1..=3, "a");
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"] {
        env.set_variable(name, "http://127.0.0.1:9".into());
    }
    env.push();
    env.verify();
    env.set_variable("HALOSYNC_LAKE__ENDPOINT", String::new());
    env.set_variable("AWS_ENDPOINT_URL_S3", "http://store.example.com".into());
    let refused = env.lake_run(&["lake", "push"]).code(78);
    assert!(refused.stderr.contains("must be https"), "{}", refused.stderr);
}

/// Under the policy of `docs/lake.md` S3 does not say that an object is missing.
#[test]
fn push_goes_on_where_the_store_hides_what_is_missing() {
    let Some(moto) = Moto::start() else { return };
    let env = copy_at(&moto.url, "acme");
    env.edit(1..=3, "a");
    let proxies =
        [Trouble::FailsForData, Trouble::HidesMissing].map(|trouble| Proxy::start(&moto.url, trouble));
    env.set_variable("HALOSYNC_LAKE__ENDPOINT", proxies[0].url.clone());
    env.lake_run(&["lake", "push"]).code(69);
    assert!(moto.listing().keys().any(|name| name.contains("000001-000000000000.json")));
    env.set_variable("HALOSYNC_LAKE__ENDPOINT", proxies[1].url.clone());
    assert_eq!(env.push()["to_seq"], 3);
    env.set_variable("HALOSYNC_LAKE__ENDPOINT", moto.url.clone());
    env.verify();
}

#[test]
fn answers_of_the_store_are_understood_and_cut() {
    let unused = "http://127.0.0.1:9";
    for (trouble, status, text) in [
        (Trouble::RefusesListing, 77, "refuses access"),
        (Trouble::RepeatsToken, 77, "400 Bad Request: ExpiredToken: expired"),
    ] {
        let proxy = Proxy::start(unused, trouble);
        let env = copy_at(&proxy.url, "acme");
        env.edit(1..=3, "a");
        let failed = env.lake_run(&["-vv", "lake", "push"]).code(status);
        assert!(failed.stderr.contains(text), "{trouble:?}: {}", failed.stderr);
        assert!(!failed.stderr.contains(TEMPORARY_TOKEN), "{}", failed.stderr);
        let stored = env.lake_run(&["lake", "status"]).success().json.to_string();
        assert!(stored.contains(text) && !stored.contains(TEMPORARY_TOKEN), "{stored}");
    }
}

#[test]
fn store_that_is_down_or_refuses_is_named_and_loses_nothing() {
    let Some(moto) = Moto::start() else { return };
    let env = copy_at(&moto.url, "acme");
    env.edit(1..=3, "a");
    env.push();
    env.edit([1], "b");
    env.set_variable("HALOSYNC_LAKE__ENDPOINT", "http://127.0.0.1:9".into());
    let failed = env.lake_run(&["lake", "push"]).code(69);
    assert!(failed.stderr.contains("lake_unavailable"), "{}", failed.stderr);
    env.set_variable("HALOSYNC_LAKE__ENDPOINT", moto.url.clone());
    assert_eq!(env.push()["shipped"].as_array().unwrap().len(), 1);
    env.verify();
    let missing = copy_at(&moto.url, "acme");
    missing.edit(1..=3, "a");
    missing.set_variable(URL, "s3://no-such-bucket/halo".into());
    let refused = missing.lake_run(&["lake", "push"]).code(78);
    assert!(refused.stderr.contains("lake_not_found"), "{}", refused.stderr);
}

#[test]
fn duckdb_reads_a_lake_of_several_servers_from_s3() {
    if !has_python_module("duckdb_extension_httpfs") {
        return;
    }
    let Some(moto) = Moto::start() else { return };
    let envs = servers(|number| copy_at(&moto.url, &server_name(number)));
    let endpoint = moto.url.trim_start_matches("http://");
    let before = format!(
        "from pathlib import Path\nimport duckdb_extension_httpfs as httpfs\n\
         db.install_extension(str(next(Path(httpfs.__file__).parent.rglob('*.duckdb_extension'))))\n\
         db.load_extension('httpfs')\n\
         db.execute(\"\"\"CREATE SECRET (TYPE s3, KEY_ID 'testing', SECRET '{SECRET}', REGION 'us-east-1',\n\
         ENDPOINT '{endpoint}', USE_SSL false, URL_STYLE 'path')\"\"\")"
    );
    let folder = tempfile::tempdir().unwrap();
    let program = duckdb_program("s3://lake/halo", &before, &envs);
    assert_recipes_agree(&python(&program, folder.path()), &envs);
}
