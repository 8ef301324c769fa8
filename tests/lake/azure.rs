//! A store that speaks the protocol of Azure Blob Storage, and what may go wrong on the way to it.

use crate::lake_env::URL;
use crate::stores::{Azurite, assert_troubles_do_no_harm};

#[test]
fn second_push_to_azure_changes_nothing_and_a_second_writer_is_refused() {
    let Some(azurite) = Azurite::start() else { return };
    let env = Azurite::copy_at(&azurite.url, "acme");
    env.edit(1..=30, "a");
    env.push();
    env.edit(1..=3, "b");
    env.push();
    let before = azurite.listing();
    assert_eq!(before.lines().count(), 2 * 3 + 2 + 1, "{before}");
    env.push();
    assert_eq!(azurite.listing(), before);
    env.verify();
    let check = env.lake_run(&["check"]);
    assert!(check.stdout.contains("takes each name once"), "{}", check.stdout);
    let other = Azurite::copy_at(&azurite.url, "acme");
    other.edit([7], "other");
    let refused = other.lake_run(&["lake", "push"]).code(65);
    assert!(refused.stderr.contains("lake_foreign"), "{}", refused.stderr);
}

#[test]
fn troubles_on_the_way_to_azure_neither_lose_nor_repeat_an_object() {
    let Some(azurite) = Azurite::start() else { return };
    let account = azurite.url.rsplit('/').next().unwrap();
    let store = azurite.url.trim_end_matches(account).trim_end_matches('/');
    assert_troubles_do_no_harm(
        store,
        &azurite.url,
        |proxy, name| Azurite::copy_at(&format!("{}/{account}", proxy.url), name),
        |own| azurite.listing().lines().filter(|line| line.contains(own)).count(),
    );
}

#[test]
fn container_that_does_not_exist_and_a_wrong_key_are_named() {
    let Some(azurite) = Azurite::start() else { return };
    let env = Azurite::copy_at(&azurite.url, "acme");
    env.edit(1..=3, "a");
    env.set_variable(URL, "az://no-such-container/halo".into());
    let missing = env.lake_run(&["lake", "push"]).code(78);
    assert!(missing.stderr.contains("lake_not_found"), "{}", missing.stderr);
    env.set_variable(URL, "az://lake/halo".into());
    env.set_variable("AZURE_STORAGE_ACCOUNT_KEY", "AAAA".into());
    let refused = env.lake_run(&["lake", "push"]).code(77);
    assert!(refused.stderr.contains("lake_refused"), "{}", refused.stderr);
}
