//! `[privacy]`: what is held back is in no file that halosync leaves, and what was stored before is removed.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chrono::Utc;
use halo_simulator::{Edit, ReferenceKey, ReplayedResponse, Server};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rstest::rstest;
use serde_json::{Value as Json, json};
use support::test_env::{CommandResult, TestEnv};

const KEY: &str = "a key that nobody knows";

/// The planted values, each in one place: the property of a list row, and the column whose rule holds it back.
const IN_ROWS: [(&str, &str, &str); 14] = [
    ("summary", "NAME", "plantedsummary"),
    ("details", "DESCRIPTION", "planteddetails"),
    ("user_name", "USER_NAME", "plantedusername"),
    ("user_email", "USER_EMAIL", "plantedemail"),
    ("reportedby", "REPORTED_BY", "plantedreporter"),
    ("emailtolist", "EMAIL_TO_LIST", "plantedrecipients"),
    ("client_name", "CLIENT_NAME", "plantedclient"),
    ("site_name", "SITE_NAME", "plantedsite"),
    ("userdef1", "USER_DEF_1", "planteduserdefone"),
    ("userdef5", "USER_DEF_5", "planteduserdeffive"),
    ("oppcompanyname", "OPP_COMPANY_NAME", "plantedcompany"),
    ("servicestatusnote", "SERVICE_STATUS_NOTE", "plantednote"),
    ("ticket_tags", "TICKET_TAGS", "plantedtags"),
    ("team", "TEAM", "plantedteam"),
];

/// Those of custom fields, and of reference tables.
const ELSEWHERE: [(&str, &str); 6] = [
    ("CUSTOM.121", "plantedfieldvalue"),
    ("CUSTOM.122", "plantedfielddisplay"),
    ("agents.NAME", "plantedagent"),
    ("users.NAME", "plantedlisteduser"),
    ("sites.NAME", "plantedlistedsite"),
    ("clients.NAME", "plantedlistedclient"),
];

fn planted() -> Vec<&'static str> {
    IN_ROWS.iter().map(|it| it.2).chain(ELSEWHERE.iter().map(|it| it.1)).collect()
}

fn columns() -> Vec<&'static str> {
    IN_ROWS.iter().map(|it| it.1).chain(ELSEWHERE.iter().map(|it| it.0)).collect()
}

/// Settings with a rule for these columns.
fn rules(exclude: &[&str], hash: &[&str]) -> String {
    format!("[privacy]\nexclude = {exclude:?}\nhash = {hash:?}\nhash_key_file = \"privacy-key\"\n")
}

const BASE: &str = "max_retries = 0\ninclude_custom_fields = true\n\
    reference = [\"agents\", \"teams\", \"clients\", \"sites\", \"users\"]\n[store]\nfull_text = true\n";

async fn start(settings: &str) -> TestEnv {
    let builder = TestEnv::builder().tickets(40).settings(format!("{BASE}{settings}")).run_in_directory();
    let env = builder.start().await;
    write_key(&env, KEY);
    env
}

fn write_key(env: &TestEnv, key: &str) {
    let path = env.path("privacy-key");
    fs::write(&path, format!("{key}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Replaces the sections of rules in the settings.
fn change_rules(env: &TestEnv, settings: &str) {
    let path = env.path("agent.toml");
    let text = fs::read_to_string(&path).unwrap();
    let before = text.split("[privacy]").next().unwrap();
    fs::write(path, format!("{before}{settings}")).unwrap();
}

/// The row of a ticket with all planted values; `more` tells two versions apart.
fn planted_row(server: &mut Server, id: i64, more: &str) -> Json {
    let mut row = server.row(id, Utc::now()).unwrap();
    for (property, _, value) in IN_ROWS {
        row[property] = json!(format!("{value} {more}"));
    }
    row["customfields"] = json!([
        {"id": 121, "name": "CFone", "label": "One", "type": 0, "value": format!("plantedfieldvalue {more}"), "display": "x"},
        {"id": 122, "name": "CFtwo", "label": "Two", "type": 0, "value": "y", "display": format!("plantedfielddisplay {more}")},
    ]);
    row
}

/// An agent that a ticket names.
fn agent(server: &mut Server) -> i64 {
    let ids = server.ids();
    let agents = ids.into_iter().filter_map(|id| server.row(id, Utc::now())?["agent_id"].as_i64());
    agents.filter(|agent| *agent != 1).min().expect("an assigned ticket")
}

fn plant(env: &TestEnv, id: i64, more: &str) {
    env.with_server(|server| {
        server.edit(id, Edit::Summary(more.to_owned()), Utc::now());
        let row = planted_row(server, id, more);
        server.set_raw_row(id, row.to_string());
    });
}

/// Everything that halosync prints, as a file among those that are searched.
fn keep_output(env: &TestEnv, result: &CommandResult, number: usize) {
    fs::write(env.path(format!("output-{number}")), format!("{}{}", result.stdout, result.stderr)).unwrap();
}

/// A life with changes, a deletion, rows that cannot be read, refusals, exports in all formats, and logs at trace.
fn live(env: &TestEnv) {
    let ids = env.with_server(|server| {
        let ids = server.ids();
        let agent = ReferenceKey::Agent(agent(server));
        server.rename_reference(agent, "plantedagent");
        let row = server.row(ids[0], Utc::now()).unwrap();
        server.rename_reference(ReferenceKey::User(row["user_id"].as_i64().unwrap()), "plantedlisteduser");
        server.rename_reference(ReferenceKey::Site(row["site_id"].as_i64().unwrap()), "plantedlistedsite");
        server.rename_reference(
            ReferenceKey::Client(row["client_id"].as_i64().unwrap()),
            "plantedlistedclient",
        );
        ids
    });
    for id in &ids[..3] {
        plant(env, *id, "first");
    }
    let mut outputs = 0;
    let mut run = |arguments: &[&str]| {
        outputs += 1;
        let result = env.run(&[&["-vvv"], arguments].concat());
        keep_output(env, &result, outputs);
        result
    };
    run(&["sync"]).success();
    run(&["export", "delta", "--format", "csv"]).success();
    plant(env, ids[0], "second");
    env.with_server(|server| {
        server.delete(ids[1], Utc::now());
        // A value that cannot be read, a row without an id, and a row that cannot be parsed.
        let mut unreadable = planted_row(server, ids[2], "third");
        for (property, _, value) in IN_ROWS {
            unreadable[property] = json!({ "text": value });
        }
        server.set_raw_row(ids[2], unreadable.to_string());
        let mut without_id = planted_row(server, ids[3], "fourth");
        without_id["id"] = Json::Null;
        server.set_raw_row(ids[3], without_id.to_string());
        let broken = planted_row(server, ids[4], "fifth").to_string();
        server.set_raw_row(ids[4], broken[..broken.len() - 1].to_owned());
    });
    run(&["sync", "--full"]).code(3);
    run(&["sync", "--full"]).code(3);
    // A refusal that repeats them all.
    let body = json!({ "message": planted().join(" ") }).to_string();
    for status in [403, 500, 200] {
        env.with_server(|server| {
            let body = if status == 200 { format!("[{body}") } else { body.clone() };
            server.replay(ReplayedResponse { path: "/api/tickets".into(), status, body: body.into() });
        });
        let result = run(&["sync"]);
        assert_ne!(result.status, Some(0));
        env.with_server(Server::clear_replays);
    }
    for arguments in [
        &["export", "delta", "--format", "json", "--gzip"][..],
        &["export", "delta", "--format", "jsonl", "--consumer", "other"],
        &["export", "snapshot"],
        &["status"],
        &["--json", "status"],
        &["history", &ids[0].to_string()],
        &["--json", "history", &ids[1].to_string()],
        &["check"],
    ] {
        run(arguments);
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Which of the texts are in which files, upper and lower case alike; packed files are unpacked.
fn found(folder: &Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files_below(folder) {
        let mut bytes = fs::read(&file).unwrap();
        if file.extension().is_some_and(|it| it == "gz") {
            let mut unpacked = Vec::new();
            std::io::copy(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut unpacked).unwrap();
            bytes = unpacked;
        }
        bytes.make_ascii_lowercase();
        let content = String::from_utf8_lossy(&bytes);
        for text in texts {
            if content.contains(text) {
                found.push(format!("{text} in {}", file.strip_prefix(folder).unwrap().display()));
            }
        }
    }
    found.sort();
    found
}

fn hmac(text: &str) -> String {
    let mut hmac = Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    hmac.update(text.as_bytes());
    hmac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Without rules every planted value is found: the search below finds something where there is something to find.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rules_every_planted_value_is_stored() {
    let env = start("").await;
    live(&env);
    for name in ["halosync.db", "export"] {
        let found = found(env.directory(), &planted()).join("\n");
        for text in planted() {
            assert!(
                found.lines().any(|line| line.starts_with(&format!("{text} in {name}"))),
                "{text}: {found}"
            );
        }
    }
    assert!(env.number("SELECT COUNT(*) FROM rejects WHERE raw LIKE '%planted%'") > 5);
}

#[rstest]
#[case::exclude(true)]
#[case::hash(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_values_are_in_no_file(#[case] exclude: bool) {
    let columns = columns();
    let settings = if exclude { rules(&columns, &[]) } else { rules(&[], &columns) };
    let env = start(&settings).await;
    live(&env);
    assert_eq!(found(env.directory(), &planted()), [""; 0]);
    assert_eq!(env.number("SELECT COUNT(*) FROM rejects WHERE raw IS NOT NULL"), 0);
    assert!(env.number("SELECT COUNT(*) FROM rejects WHERE UID IS NULL AND attribute IS NULL") > 0);
    let id = env.with_server(|server| server.ids()[0]);
    for (_, column, value) in IN_ROWS {
        let stored: Option<String> = env.value(&format!("SELECT \"{column}\" FROM tickets WHERE UID = {id}"));
        let expected = (!exclude).then(|| hmac(&format!("{value} second")));
        assert_eq!(stored, expected, "{column}");
    }
    let hashes = |text: &str| if exclude { None } else { Some(hmac(text)) };
    let fields: BTreeMap<i64, Option<String>> = env
        .query(&format!("SELECT FIELD_ID, VALUE FROM custom_fields WHERE UID = {id}"), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .into_iter()
        .collect();
    let value = hashes("plantedfieldvalue second");
    assert_eq!(fields.get(&121).cloned().flatten(), value, "an excluded field has no row");
    assert_eq!(fields.contains_key(&122), !exclude);
    let agent = env.with_server(agent);
    let agent: Option<String> = env.value(&format!("SELECT NAME FROM agents WHERE ID = {agent}"));
    assert_eq!(agent, hashes("plantedagent"));
    if !exclude {
        // What was equal stays equal, so that joins go on working.
        let client = "SELECT COUNT(*) FROM tickets t JOIN clients c ON c.ID = t.CLIENT_ID WHERE c.NAME = t.CLIENT_NAME";
        assert!(env.number(client) > 5);
    }
    assert_eq!(
        env.run_json(&["check"]).json["steps"]
            .as_array()
            .unwrap()
            .iter()
            .find(|step| step["step"] == "privacy")
            .unwrap()["outcome"],
        "ok"
    );
}

/// The files of the database, and what was exported since a time.
fn found_in_database(env: &TestEnv) -> Vec<String> {
    found(env.directory(), &planted()).into_iter().filter(|line| line.contains(" in halosync.db")).collect()
}

/// Counter-example B8: rules that are new are carried out in what is stored, also in change records, without a record that
/// shows the old value.
#[rstest]
#[case::exclude(true)]
#[case::hash(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_rules_are_carried_out_in_everything_stored(#[case] exclude: bool) {
    let env = start("").await;
    live(&env);
    assert!(!found_in_database(&env).is_empty());
    let columns = columns();
    change_rules(&env, &if exclude { rules(&columns, &[]) } else { rules(&[], &columns) });
    let earlier: Vec<_> =
        files_below(&env.path("export")).into_iter().filter(|path| !path.ends_with("default.json")).collect();
    let lineage: String = env.value("SELECT lineage FROM lineage ORDER BY rowid DESC LIMIT 1");
    let changes = env.change_count();

    // Nothing is exported before the rules are carried out, and a dry run changes nothing.
    let check = env.run_json(&["check", "--offline"]).success();
    let step = check.json["steps"].as_array().unwrap().iter().find(|step| step["step"] == "privacy").unwrap();
    assert_eq!(step["outcome"], "warning", "{step}");
    for arguments in [&["export", "delta"][..], &["export", "snapshot"], &["sync", "--dry-run"]] {
        let result = env.run(arguments).code(75);
        assert!(
            result.stderr.contains("does not have the privacy rules of the settings yet"),
            "{}",
            result.stderr
        );
        assert!(result.stderr.contains("help: run `halosync sync` first"), "{}", result.stderr);
    }
    assert_eq!(env.change_count(), changes);

    // A first dry run, before anything is stored, needs no rules.
    let other = start(&rules(&["DESCRIPTION"], &[])).await;
    other.run(&["sync", "--dry-run"]).success();
    // The rows that cannot be read are the server's own fault.
    let result = env.run(&["sync"]).code(3);
    assert_eq!(found_in_database(&env), [""; 0]);
    assert_eq!(env.number("SELECT COUNT(*) FROM privacy_rules WHERE traces"), 0);
    assert_ne!(env.value::<String>("SELECT lineage FROM lineage ORDER BY rowid DESC LIMIT 1"), lineage);
    assert_eq!(
        env.value::<String>("SELECT reason FROM lineage ORDER BY rowid DESC LIMIT 1"),
        "privacy rules were added"
    );
    // Every package and snapshot that was made before is named.
    for path in earlier.iter().filter(|it| it.extension().is_some_and(|it| it != "manifest")) {
        let path = path.display().to_string();
        let warnings = result
            .stderr
            .lines()
            .filter_map(|line| line.split_once("  WARN ")?.1.split_once(" was exported"));
        let is_named = warnings.clone().any(|(named, _)| path.starts_with(named));
        let is_package = path.contains("/deltas/") || path.contains("/snapshots/");
        assert_eq!(is_named, is_package, "{path}: {}", result.stderr);
    }
    assert_eq!(env.change_count(), changes, "no change record tells of it");
    for id in env.with_server(|server| server.ids()[..3].to_vec()) {
        env.run(&["history", &id.to_string()]).success();
    }
    // Each consumer starts again at 0; the packages made before are superseded.
    fs::remove_dir_all(env.path("export/snapshots")).unwrap();
    env.run(&["export", "delta"]).success();
    env.run(&["export", "delta", "--consumer", "other", "--format", "json"]).success();
    env.run(&["export", "snapshot"]).success();
    env.run(&["export", "verify", "export/deltas/default"]).success();
    // `check` names the old ones for as long as they are there.
    let earlier = |env: &TestEnv| {
        env.run(&["check", "--offline"]).stdout.contains("older than the rules may hold the values")
    };
    assert!(earlier(&env));
    fs::remove_dir_all(env.path("export/superseded")).unwrap();
    assert!(!earlier(&env));
    let found = found(env.directory(), &planted());
    let exported: Vec<_> = found.iter().filter(|line| line.contains(" in export")).collect();
    assert_eq!(exported, [""; 0]);

    // A full scan finds nothing to repair, and a second run nothing to do.
    env.run(&["sync", "--full"]).code(3);
    assert_eq!(env.change_count(), changes);
    let result = env.run(&["sync"]).code(3);
    assert!(!result.stderr.contains("[privacy]"), "{}", result.stderr);
}

/// What was left out can only come from the server again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_that_is_removed_brings_the_values_back() {
    let env = start(&rules(&["DESCRIPTION", "CUSTOM.121", "agents.NAME"], &["USER_NAME"])).await;
    let (id, agent) = env.with_server(|server| {
        let agent = agent(server);
        server.rename_reference(ReferenceKey::Agent(agent), "plantedagent");
        (server.ids()[0], agent)
    });
    plant(&env, id, "first");
    env.run(&["sync"]).success();
    let values = |env: &TestEnv| -> Vec<String> {
        env.texts(&format!(
            "SELECT COALESCE(DESCRIPTION, '-') FROM tickets WHERE UID = {id} UNION ALL
             SELECT COALESCE((SELECT VALUE FROM custom_fields WHERE UID = {id} AND FIELD_ID = 121), '-') UNION ALL
             SELECT COALESCE(NAME, '-') FROM agents WHERE ID = {agent} UNION ALL
             SELECT USER_NAME FROM tickets WHERE UID = {id}"
        ))
    };
    let hash = hmac("plantedusername first");
    assert_eq!(values(&env), ["-", "-", "-", &hash]);

    change_rules(&env, "");
    let result = env.run(&["export", "delta"]).code(75);
    assert!(result.stderr.contains("stores what the settings no longer hold back"), "{}", result.stderr);
    let result = env.run(&["sync"]).success();
    assert!(result.stderr.contains("changed: everything is read anew"), "{}", result.stderr);
    let shown = ["planteddetails first", "plantedfieldvalue first", "plantedagent", "plantedusername first"];
    assert_eq!(values(&env), shown);
    assert_eq!(
        env.texts("SELECT reason FROM watermark_journal ORDER BY move_id"),
        ["created", "verified", "privacy_changed", "verified"]
    );
    assert_eq!(env.number("SELECT COUNT(*) FROM privacy_rules"), 0);
    let changed: String = env.value(&format!("SELECT changed FROM changes WHERE UID = {id} AND op = 'u'"));
    let changed: Json = serde_json::from_str(&changed).unwrap();
    assert_eq!(changed["DESCRIPTION"], json!([null, "planteddetails first"]));
    assert_eq!(changed["USER_NAME"], json!([hash, "plantedusername first"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_replaces_every_hash_and_the_same_key_none() {
    let env = start(&rules(&[], &["USER_NAME", "agents.NAME"])).await;
    env.run(&["sync"]).success();
    let agent = env.with_server(agent);
    env.with_server(|server| {
        let id = server.ids()[0];
        server.delete(id, Utc::now());
        server.remove_reference(ReferenceKey::Agent(agent));
    });
    env.run(&["sync", "--full"]).success();
    let hashes = |env: &TestEnv| env.texts("SELECT USER_NAME FROM tickets ORDER BY UID");
    let (first, changes) = (hashes(&env), env.change_count());
    let gone: String = env.value(&format!("SELECT NAME FROM agents WHERE ID = {agent} AND PRESENT = 0"));
    // A line break at the end is no part of the key.
    let path = env.path("privacy-key");
    fs::write(&path, KEY).unwrap();
    env.run(&["sync", "--full"]).success();
    assert_eq!((hashes(&env), env.change_count()), (first.clone(), changes));
    fs::write(&path, "another key").unwrap();
    let result = env.run(&["export", "delta"]).code(75);
    assert!(
        result.stderr.contains("have other privacy rules, or another key, than the database"),
        "{}",
        result.stderr
    );
    env.run(&["sync"]).success();
    assert_eq!(env.change_count(), changes + 39);
    assert!(hashes(&env).iter().zip(&first).all(|(new, old)| new != old && new.len() == 64));
    // Nobody can show the others again; a hash with the former key is nowhere.
    let old: Vec<&str> = first.iter().chain([&gone]).map(String::as_str).collect();
    assert_eq!(found(env.directory(), &old), [""; 0]);
    env.run(&["sync", "--full"]).success();
    assert_eq!(env.change_count(), changes + 39);
    let check = env.run(&["check", "--offline"]).success();
    assert!(check.stdout.contains("fewer than 16 bytes"), "{}", check.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_names_are_held_back_like_others() {
    let env = start(&rules(&["STATUS"], &[])).await;
    env.run(&["sync"]).success();
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets WHERE STATUS IS NOT NULL"), 0);
    assert_eq!(env.number("SELECT COUNT(*) FROM statuses WHERE NAME IS NOT NULL"), 0);
    env.with_server(|server| server.rename_status(2, "plantedstatus"));
    env.run(&["sync", "--full"]).success();
    assert_eq!(
        env.number("SELECT COUNT(*) FROM changes WHERE op = 'u'"),
        0,
        "nobody can tell a renamed status"
    );
    // The number of a status that no list has is no name.
    env.with_server(|server| {
        let id = server.ids()[0];
        let mut row = server.row(id, Utc::now()).unwrap();
        row["status_id"] = json!(77);
        row["last_update"] = json!("2026-11-22T12:30:00.000Z");
        server.set_raw_row(id, row.to_string());
    });
    env.run(&["sync", "--full"]).success();
    let unlisted = |env: &TestEnv| env.texts("SELECT STATUS FROM tickets WHERE STATUS_ID = 77");
    assert_eq!(unlisted(&env), ["77"]);
    change_rules(&env, "");
    env.run(&["sync", "--full"]).success();
    change_rules(&env, &rules(&[], &["STATUS"]));
    env.run(&["sync"]).success();
    assert_eq!(unlisted(&env), ["77"]);
    env.with_server(|server| {
        let id = server.ids()[0];
        server.clear_raw_row(id);
    });
    env.run(&["sync", "--full"]).success();
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets WHERE length(STATUS) <> 64"), 0);
    change_rules(&env, "");
    env.run(&["sync", "--full"]).success();
    assert_eq!(
        env.number(
            "SELECT COUNT(*) FROM tickets t JOIN statuses s ON s.ID = t.STATUS_ID WHERE s.NAME = t.STATUS"
        ),
        40
    );
}

#[rstest]
#[case::unknown(
    "exclude = [\"DESCRIPTON\"]",
    "`privacy.exclude` has no column `DESCRIPTON`; did you mean `DESCRIPTION`?"
)]
#[case::needed(
    "exclude = [\"UID\"]",
    "`privacy.exclude` names `UID`, which cannot be held back: halosync needs it"
)]
#[case::no_text(
    "hash = [\"USER_ID\"]\nhash_key_file = \"privacy-key\"",
    "`privacy.hash` names `USER_ID`, which is no text and cannot be hashed"
)]
#[case::date(
    "hash = [\"EXTRA.CLOSED_AT\"]\nhash_key_file = \"privacy-key\"",
    "names `EXTRA.CLOSED_AT`, which is no text"
)]
#[case::no_key("hash = [\"USER_NAME\"]", "`privacy.hash` needs `privacy.hash_key_file`")]
#[case::missing_key(
    "hash = [\"USER_NAME\"]\nhash_key_file = \"nothing\"",
    "cannot read the key of `[privacy] hash` in"
)]
#[case::both(
    "exclude = \"NAME\"\nhash = \"NAME\"\nhash_key_file = \"privacy-key\"",
    "names `NAME`, which `privacy.exclude` names too"
)]
#[case::reference("exclude = [\"agents.ID\"]", "names `agents.ID`, which cannot be held back")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_that_cannot_be_applied_is_an_error(#[case] settings: &str, #[case] message: &str) {
    let env = start(&format!("[privacy]\n{settings}\n")).await;
    let result = env.run(&["sync"]).code(78);
    assert!(result.stderr.contains(message), "{}", result.stderr);
    assert!(!env.path("halosync.db").exists());
    env.run(&["check", "--offline"]).code(78);
}

#[rstest]
#[case::readable(0o644, KEY, "other users can read it (mode 0644)")]
#[case::writable(0o622, KEY, "other users can write it (mode 0622)")]
#[case::empty(0o600, "\n", "it is empty")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_that_cannot_be_trusted_is_refused(#[case] mode: u32, #[case] key: &str, #[case] problem: &str) {
    let env = start(&rules(&[], &["USER_NAME"])).await;
    fs::write(env.path("privacy-key"), key).unwrap();
    fs::set_permissions(env.path("privacy-key"), fs::Permissions::from_mode(mode)).unwrap();
    let result = env.run(&["sync"]).code(78);
    assert!(result.stderr.contains(problem), "{}", result.stderr);
    let check = env.run(&["check", "--offline"]).code(78);
    assert!(check.stdout.contains(problem), "{}", check.stdout);
}

/// Tickets are chosen by the names of their types.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_types_are_needed_to_choose_tickets() {
    let env = start("").await;
    change_rules(&env, &rules(&["ticket_types.NAME"], &[]));
    env.run(&["sync"]).success();
    assert_eq!(env.number("SELECT COUNT(*) FROM ticket_types WHERE NAME IS NOT NULL"), 0);
    let mut command = env.command(&["sync"]);
    let child = command.env("HALOSYNC_HALO__TICKET_TYPE", "Incident").spawn().unwrap();
    let result = CommandResult::of(child).code(78);
    assert!(result.stderr.contains("by which `halo.ticket_type` chooses tickets"), "{}", result.stderr);
}

/// Counter-example B7 for rules: the log of the database still holds what a reader may read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_delays_the_removal_and_no_run() {
    let env = start("").await;
    let id = env.with_server(|server| server.ids()[0]);
    plant(&env, id, "first");
    env.run(&["sync"]).success();
    let reader = env.connection();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM tickets").unwrap();
    change_rules(&env, &format!("busy_timeout = \"200ms\"\n{}", rules(&["DESCRIPTION"], &[])));
    let result = env.run(&["sync"]).success();
    assert!(result.stderr.contains("traces of values that `[privacy]` holds back stay"), "{}", result.stderr);
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets WHERE DESCRIPTION IS NOT NULL"), 0);
    let check = env.run(&["check", "--offline"]).success();
    assert!(check.stdout.contains("may be left in the files of the database"), "{}", check.stdout);
    assert!(env.run(&["status"]).stdout.contains("Privacy"), "status says it until it is done");
    let details = ["planteddetails"];
    assert!(!found(env.directory(), &details).is_empty());
    drop(reader);
    let result = env.run(&["sync"]).success();
    assert!(!result.stderr.contains("traces"), "{}", result.stderr);
    assert_eq!(found(env.directory(), &details), [""; 0]);
}

/// A copy from before the rules gets them again, and its next package replaces what was exported since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_from_before_the_rules_gets_them_again() {
    let env = start("").await;
    let id = env.with_server(|server| server.ids()[0]);
    plant(&env, id, "first");
    env.run(&["sync"]).success();
    env.run(&["export", "delta"]).success();
    fs::copy(env.path("halosync.db"), env.path("backup")).unwrap();
    change_rules(&env, &rules(&["DESCRIPTION"], &[]));
    env.run(&["sync"]).success();
    env.run(&["export", "delta"]).success();

    for suffix in ["-wal", "-shm"] {
        fs::remove_file(env.path(format!("halosync.db{suffix}"))).unwrap();
    }
    fs::rename(env.path("backup"), env.path("halosync.db")).unwrap();
    env.run(&["export", "delta"]).code(75);
    env.run(&["sync"]).success();
    env.run(&["export", "delta"]).success();
    env.run(&["export", "verify", "export/deltas/default"]).success();
    fs::remove_dir_all(env.path("export/superseded")).unwrap();
    assert_eq!(found(env.directory(), &["planteddetails"]), [""; 0]);
}

/// What an interrupted full scan keeps of rows without an id has no text any more, and it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoint_of_an_interrupted_scan_loses_its_texts() {
    let env = TestEnv::builder().tickets(2_000).settings(BASE).run_in_directory().start().await;
    write_key(&env, KEY);
    env.with_server(|server| {
        let id = server.ids()[5];
        let mut row = planted_row(server, id, "first");
        row["id"] = Json::Null;
        server.set_raw_row(id, row.to_string());
    });
    // The list ends in the middle: what was committed before stays.
    env.inject("list@page15:status=500");
    env.run(&["sync"]);
    assert_eq!(
        env.number("SELECT COUNT(*) > 0 FROM scan_checkpoints WHERE rejected_rows LIKE '%planted%'"),
        1
    );
    env.clear_faults();
    change_rules(&env, &rules(&["DESCRIPTION"], &[]));
    env.inject("list:status=500");
    env.run(&["sync"]);
    assert_eq!(env.number("SELECT COUNT(*) > 0 FROM scan_checkpoints WHERE rejected_rows IS NOT NULL"), 1);
    assert_eq!(found_in_database(&env), [""; 0]);
    env.clear_faults();
    env.run(&["sync"]).code(3);
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 1_999);
    assert_eq!(found_in_database(&env), [""; 0]);
}
