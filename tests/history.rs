//! `halosync history`: the life of a ticket that the simulated server showed, and its row at a time.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;

use chrono::Utc;
use halo_simulator::{Edit, Simulator};
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use support::schema::Schema;
use support::test_env::TestEnv;

/// An environment after a first sync, and a ticket of it that is open and assigned.
async fn synced() -> (TestEnv<Simulator>, i64) {
    let env = TestEnv::builder()
        .tickets(120)
        .settings("include_custom_fields = true")
        .run_in_directory()
        .start()
        .await;
    let id = env.with_server(|server| {
        let id = server.ids()[50];
        server.edit(id, Edit::Status(2), Utc::now());
        server.edit(id, Edit::Agent(1), Utc::now());
        id
    });
    env.run(&["sync"]).success();
    (env, id)
}

fn edit(env: &TestEnv<Simulator>, id: i64, edits: impl IntoIterator<Item = Edit>) {
    env.advance_server_clock();
    env.with_server(|server| edits.into_iter().for_each(|edit| server.edit(id, edit, Utc::now())));
}

/// Runs `history ID --json` and returns its document, which matches the schema.
fn history(env: &TestEnv<Simulator>, id: i64) -> Json {
    let document = env.run_ok(&["history", &id.to_string()]);
    Schema::of("history").assert_valid(&document);
    document
}

fn row_at(env: &TestEnv<Simulator>, id: i64, at: &str) -> Json {
    let document = env.run_ok(&["history", &id.to_string(), "--at", at]);
    Schema::of("history").assert_valid(&document);
    document
}

/// The exit status and the code of the error of `history ID --at TIME`.
fn error_at(env: &TestEnv<Simulator>, id: i64, at: &str) -> (i32, String) {
    let result = env.run_json(&["history", &id.to_string(), "--at", at]);
    let error: Json = result.stderr.parse().unwrap();
    Schema::of("error").assert_valid(&error);
    (result.status.unwrap(), error["code"].as_str().unwrap().to_owned())
}

fn write(env: &TestEnv<Simulator>, sql: &str) {
    Connection::open(env.path("halosync.db")).unwrap().execute_batch(sql).unwrap();
}

fn events(document: &Json) -> Vec<&str> {
    let changes = document["changes"].as_array().unwrap().iter();
    changes.map(|change| change["event"].as_str().unwrap()).collect()
}

/// The stored row of a ticket as `history --json` has it, read by another program.
fn stored_attributes(env: &TestEnv<Simulator>, id: i64) -> BTreeMap<String, Json> {
    let columns = support::mapping::columns().map(|name| format!("'{name}', \"{name}\"")).collect::<Vec<_>>();
    // SQLite takes at most 127 arguments.
    let objects = columns.chunks(60).map(|chunk| {
        let object: String =
            env.value(&format!("SELECT json_object({}) FROM tickets WHERE UID = {id}", chunk.join(", ")));
        serde_json::from_str::<BTreeMap<String, Json>>(&object).unwrap()
    });
    objects.flatten().collect()
}

/// The attributes that differ from the stored ones; 0 and 1 are booleans in JSON.
fn differences(stored: &BTreeMap<String, Json>, document: &Json) -> Vec<String> {
    let attributes = document["row"]["attributes"].as_object().unwrap();
    assert_eq!(attributes.len(), 101);
    let is_equal = |stored: &Json, shown: &Json| match shown {
        Json::Bool(shown) => *stored == json!(u8::from(*shown)),
        shown => stored == shown || (stored.is_f64() && stored.as_f64() == shown.as_f64()),
    };
    let different = attributes.iter().filter(|(name, shown)| !is_equal(&stored[*name], shown));
    different.map(|(name, shown)| format!("{name}: {} {shown}", stored[name])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn life_of_a_ticket_from_first_seen_to_deleted_and_its_row_at_each_change() {
    let (env, id) = synced().await;
    let mut rows = vec![stored_attributes(&env, id)];
    let mut sync = |arguments: &[&str]| {
        env.run(arguments).success();
        rows.push(stored_attributes(&env, id));
    };
    edit(&env, id, [Edit::Agent(3), Edit::Status(4)]);
    sync(&["sync"]);
    edit(&env, id, [Edit::Status(9)]);
    sync(&["sync"]);
    edit(&env, id, [Edit::Status(2), Edit::Summary("A new \u{1b}[31msummary".into())]);
    sync(&["sync"]);
    edit(&env, id, [Edit::Touch]);
    sync(&["sync"]);
    let stored = history(&env, id);
    assert_eq!((&stored["presence"], &stored["open"]), (&json!("stored"), &json!(true)));
    env.with_server(|server| server.delete(id, Utc::now()));
    env.run(&["sync", "--full"]).success();

    let document = history(&env, id);
    Schema::of("history").assert_is_exact(&document);
    assert_eq!(events(&document), ["first_seen", "updated", "closed", "reopened", "touched", "removed"]);
    assert_eq!(document["presence"], "removed");
    assert_eq!(document["removal"]["reason"], "vanished");
    let changes = document["changes"].as_array().unwrap();
    assert_eq!(changes[0]["not_before"], Json::Null);
    assert_eq!(changes[1]["run"]["scans"], json!(["incremental"]));
    for change in &changes[1..] {
        assert!(change["not_before"].as_str() < change["observed_at"].as_str(), "{change:#}");
    }
    let of_agent = changes[1]["changed"].as_array().unwrap().iter();
    let agent = of_agent.into_iter().find(|it| it["attribute"] == "AGENT_ID").unwrap();
    let name: String = env.value("SELECT NAME FROM agents WHERE ID = 3");
    assert_eq!((&agent["old_name"], &agent["new_name"]), (&json!("nobody"), &json!(name)));
    assert_eq!(changes[1]["server_time"], changes[1]["source_last_modified"]);

    for (change, stored) in changes.iter().zip(&rows) {
        let document = row_at(&env, id, change["observed_at"].as_str().unwrap());
        assert_eq!(differences(stored, &document), Vec::<String>::new());
        assert_eq!(document["since"]["seq"], change["seq"]);
    }
    assert_eq!(
        row_at(&env, id, changes[1]["observed_at"].as_str().unwrap())["until"]["seq"],
        changes[2]["seq"]
    );
    let removed_at = changes[5]["observed_at"].as_str().unwrap();
    assert_eq!(error_at(&env, id, removed_at), (66, "history_removed".into()));
    assert_eq!(error_at(&env, id, "2026-01-01"), (66, "history_not_yet_seen".into()));
    assert_eq!(error_at(&env, id, "9999-01-01"), (2, "history_future".into()));

    let text = env.run(&["-q", "history", &id.to_string()]).success().stdout;
    for part in [
        "Status  In Progress → With Supplier\n",
        "the server no longer finds it; noticed at ",
        "A new \u{FFFD}[31msummary",
        " by the server; seen ",
        "; only its date of last update moved (change ",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_reads_neither_secret_nor_lock_and_changes_no_file() {
    let (env, id) = synced().await;
    let lock = fs::File::options().write(true).open(env.path("halosync.db.lock")).unwrap();
    lock.lock().unwrap();
    fs::remove_file(env.path("client-secret")).unwrap();
    let files = support::file_names(env.directory());
    history(&env, id);
    let text = env.run(&[
        "history",
        &id.to_string(),
        "--at",
        &env.value::<String>("SELECT MAX(observed_at) FROM changes"),
    ]);
    assert!(text.success().stdout.contains("\nValues (open)\n"));
    assert_eq!(support::file_names(env.directory()), files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_tickets_are_66_and_say_what_is_known_and_numbers_are_required() {
    let (env, _) = synced().await;
    let unknown = env.run(&["history", "999999"]).code(66).stderr;
    assert!(unknown.starts_with("error: ticket 999999 is not stored here\nhelp: "), "{unknown}");
    write(
        &env,
        "INSERT INTO pending_fetches VALUES (999999, 'ticket', 'unreadable', 3, '2026-11-22T18:00:00.000Z')",
    );
    let pending = env.run(&["history", "999999"]).code(66).stderr;
    let known = "ticket 999999 is not stored here: the server lists it, but its row could not be read; 3 failed \
                 attempts, next one at 2026-11-22T18:00:00Z";
    assert!(pending.contains(known), "{pending}");
    for wrong in ["abc", "0", "-1", "1.5", "99999999999999999999"] {
        env.run(&["history", wrong]).code(2);
    }
    env.run(&["history", "1", "--at", "yesterday"]).code(2);
    env.run(&["history"]).code(2);
    fs::remove_file(env.path("halosync.db")).unwrap();
    env.run(&["history", "1"]).code(66);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_edit_hides_earlier_rows_until_it_is_repaired_and_is_never_shown_as_one() {
    let (env, id) = synced().await;
    let before = stored_attributes(&env, id);
    let first_seen: String = env.value(&format!("SELECT observed_at FROM changes WHERE UID = {id}"));
    write(&env, &format!("UPDATE tickets SET NAME = 'edited here' WHERE UID = {id}"));
    let document = history(&env, id);
    assert_eq!((&document["edited"], events(&document)), (&json!(true), vec!["first_seen"]));
    assert_eq!(error_at(&env, id, &first_seen), (66, "history_row_unknown".into()));
    let text = env.run(&["history", &id.to_string()]).success().stdout;
    assert!(text.contains("  Edited here  another program edited its row;"), "{text}");

    env.run(&["sync", "--full"]).success();
    let document = history(&env, id);
    assert_eq!((&document["edited"], events(&document)), (&json!(false), vec!["first_seen", "repaired"]));
    assert_eq!(differences(&before, &row_at(&env, id, &first_seen)), Vec::<String>::new());
}

/// The change record of a newer version has the edit as its old value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_that_was_edited_between_two_changes_is_not_shown() {
    let (env, id) = synced().await;
    let time_of_newest = || env.value::<String>("SELECT MAX(observed_at) FROM changes");
    edit(&env, id, [Edit::Summary("second".into())]);
    env.run(&["sync"]).success();
    let second = time_of_newest();
    write(&env, &format!("UPDATE tickets SET NAME = 'edited here' WHERE UID = {id}"));
    edit(&env, id, [Edit::Status(4)]);
    env.run(&["sync"]).success();
    assert_eq!(events(&history(&env, id)), ["first_seen", "updated", "updated"]);
    assert_eq!(error_at(&env, id, &second), (65, "history_contradiction".into()));
    assert_eq!(row_at(&env, id, &time_of_newest())["row"]["attributes"]["NAME"], "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aged_out_and_missing_change_records_give_no_row() {
    let (env, id) = synced().await;
    let change = |status, summary: &str| {
        edit(&env, id, [Edit::Status(status), Edit::Summary(summary.into())]);
        env.run(&["sync"]).success();
        env.value::<String>("SELECT MAX(observed_at) FROM changes")
    };
    let (second, third, fourth) = (change(4, "second"), change(2, "third"), change(4, "fourth"));
    let name = |at: &str| row_at(&env, id, at)["row"]["attributes"]["NAME"].clone();
    assert_eq!([&second, &third, &fourth].map(|at| name(at)), ["second", "third", "fourth"]);

    write(&env, &format!("DELETE FROM changes WHERE UID = {id} AND observed_at = '{third}'"));
    assert_eq!(error_at(&env, id, &fourth), (66, "history_row_unknown".into()));

    write(
        &env,
        &format!(
            "DELETE FROM changes WHERE observed_at < '{fourth}';
             UPDATE lineage SET complete_after = (SELECT MIN(seq) - 1 FROM changes)"
        ),
    );
    assert_eq!(error_at(&env, id, &second), (66, "history_aged_out".into()));
    assert_eq!(name(&fourth), "fourth");
    let document = history(&env, id);
    assert_eq!((&document["beginning_kept"], events(&document)), (&json!(false), vec!["updated"]));
    let text = env.run(&["history", &id.to_string()]).success().stdout;
    assert!(text.contains("\nOlder change records are no longer kept.\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn life_with_ten_thousand_changes_is_shown_whole() {
    let (env, id) = synced().await;
    write(
        &env,
        &format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
             INSERT INTO changes (UID, op, observed_at, not_before, source_last_modified, run_id, changed)
             SELECT {id}, 'u', strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 second'), NULL, NULL, 1,
                 json_object('URGENCY', json_array(i - 1, i)) FROM n;
             UPDATE ticket_state SET last_seq = (SELECT MAX(seq) FROM changes) WHERE UID = {id};"
        ),
    );
    assert_eq!(history(&env, id)["changes"].as_array().unwrap().len(), 10_001);
    let text = env.run(&["history", &id.to_string()]).success().stdout;
    assert_eq!(text.matches("URGENCY").count() + text.matches("  Urgency").count(), 10_000);
}
