//! The server changes what its answers look like, and shows changes later than it dates them: unmapped fields, lateness
//! (M2 of the counter-examples).

use chrono::TimeDelta;
use halo_simulator::{ApiEndpoint, Edit};
use halosync::reference::AGENTS;
use halosync::sync::LATENESS_WARNING;
use halosync::ticket::{JsonType, UnmappedFields};
use serde_json::{Value as Json, json};

use crate::support::schema::Schema;
use crate::support::test_env::TestEnv;
use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

const DAY: u64 = 24 * 60;

/// The fields that were first seen after the first search of their object.
const NEW_FIELDS: &str =
    "SELECT object || '.' || field || ' ' || json_type FROM unmapped_fields JOIN field_searches
    USING (object) WHERE first_searched_at < first_seen_at ORDER BY 1";

/// What the last search of their object did not see.
const GONE_FIELDS: &str =
    "SELECT object || '.' || field FROM unmapped_fields JOIN field_searches USING (object)
    WHERE last_seen_at < last_searched_at AND json_type <> 'null' ORDER BY 1";

fn set_field(env: &VirtualEnv, endpoint: ApiEndpoint, name: &str, value: &Json) {
    env.with_server(|server, _| server.set_field(endpoint, name, None, value));
}

fn edit(env: &VirtualEnv, id: i64) {
    env.with_server(|server, now| server.edit(id, Edit::Touch, now));
}

fn lateness(env: &VirtualEnv) -> Vec<f64> {
    let numbers = env.texts("SELECT CAST(seconds AS TEXT) FROM lateness ORDER BY scan_id");
    numbers.iter().map(|it| it.parse().unwrap()).collect()
}

/// Edits a ticket; the edit is visible so many seconds later.
fn edit_late(env: &VirtualEnv, id: i64, seconds: i64) {
    env.with_server(|server, now| {
        server.edit_visible_later(id, Edit::Agent(3), TimeDelta::seconds(seconds), now);
    });
}

#[test]
fn fields_that_appear_vanish_or_change_type_are_found_in_every_shape() {
    with_paused_time(async {
        // Every changed ticket is fetched alone.
        let mut env = VirtualEnv::new(60, &["include_custom_fields=ignored"]);
        env.settings.scope.custom_fields = true;
        env.settings.reference = vec![AGENTS];
        set_field(&env, ApiEndpoint::List, "score", &json!("secret-4711"));
        env.run_ok().await;
        let objects = env.texts("SELECT object FROM field_searches ORDER BY 1");
        assert_eq!(objects, ["agents", "statuses", "ticket", "ticket_types", "tickets"]);
        assert_eq!(env.texts(NEW_FIELDS), [""; 0], "the first search");
        // What is mapped, or read on purpose, is not unmapped.
        let known =
            "SELECT field FROM unmapped_fields WHERE field IN ('id', 'summary', 'customfields', 'deleted',
            'dateclosed', 'parent_id', 'record_count', 'tickets')";
        assert_eq!(env.texts(known), [""; 0]);

        for (endpoint, name, value) in [
            (ApiEndpoint::List, "mood", json!("secret-4711")),
            (ApiEndpoint::List, "score", json!(4711)),
            (ApiEndpoint::Ticket, "steps", json!([4711, "secret-4711"])),
            (ApiEndpoint::Ticket, "workflow_name", json!({ "inner4711": "secret-4711" })),
            (ApiEndpoint::Agent, "desk", json!({ "inner4711": 1 })),
            (ApiEndpoint::Status, "weight", json!(4711.5)),
            (ApiEndpoint::Status, "slaaction", json!(true)),
        ] {
            set_field(&env, endpoint, name, &value);
        }
        env.with_server(|server, _| {
            server.drop_field(ApiEndpoint::Ticket, "sla_name", None);
            server.drop_field(ApiEndpoint::Status, "showonquickchange", None);
        });
        advance_minutes(DAY).await;
        edit(&env, env.server_ids()[5]);
        advance_minutes(1).await;
        assert!(is_incremental(&env.run_ok().await));
        let expected = [
            "agents.desk object",
            "statuses.slaaction boolean",
            "statuses.weight number",
            "ticket.steps array",
            "ticket.workflow_name object",
            "tickets.mood string",
            "tickets.score number",
        ];
        // The single ticket is not the one of the first run, and shows what that one has not.
        let new: Vec<_> = env.texts(NEW_FIELDS);
        let missing: Vec<_> = expected.iter().filter(|it| !new.contains(&(**it).to_owned())).collect();
        assert!(missing.is_empty(), "not found: {missing:?} in {new:?}");
        let gone = env.texts(GONE_FIELDS);
        for field in [
            "statuses.showonquickchange",
            "statuses.slaaction",
            "ticket.sla_name",
            "ticket.workflow_name",
            "tickets.score",
        ] {
            assert!(gone.contains(&field.to_owned()), "{field} is not in {gone:?}");
        }
        // Never a value, not even the names inside of one.
        let stored = env.texts("SELECT object || field || json_type FROM unmapped_fields").concat();
        assert!(!stored.contains("4711"), "{stored}");
    });
}

#[test]
fn first_page_of_a_scan_is_searched_and_costs_no_request() {
    with_paused_time(async {
        let env = VirtualEnv::new(40, &[]);
        let id = env.server_ids()[34];
        env.with_server(|server, _| server.set_field(ApiEndpoint::List, "mood", Some(id), &json!("calm")));
        env.run_ok().await;
        let mood = "SELECT COUNT(*) FROM unmapped_fields WHERE field = 'mood'";
        assert_eq!(env.number(mood), 0, "the ticket is not on the first page");
        advance_minutes(30).await;
        edit(&env, id);
        advance_minutes(1).await;
        env.reset_request_log();
        env.run_ok().await;
        assert_eq!((env.number(mood), env.list_request_count()), (1, 1));
        let seen_at = "SELECT last_seen_at FROM unmapped_fields WHERE field = 'mood'";
        let before = env.texts(seen_at);
        advance_minutes(1).await;
        env.run_ok().await;
        assert_ne!(env.texts(seen_at), before, "it moves with each scan that sees the field");
        // A dry run stores nothing.
        set_field(&env, ApiEndpoint::List, "score", &json!(1));
        let mut settings = env.settings.clone();
        settings.dry_run = true;
        advance_minutes(1).await;
        env.run_until(settings, std::future::pending()).await.unwrap();
        assert!(!env.texts(NEW_FIELDS).contains(&"tickets.score number".to_owned()));
    });
}

#[test]
fn hostile_names_are_bounded_clean_and_without_secrets() {
    with_paused_time(async {
        let env = VirtualEnv::new(20, &[]);
        let id = env.server_ids()[0];
        for (run, prefix) in ["alpha", "beta", "gamma", "delta"].into_iter().enumerate() {
            let row = env.with_server(|server, now| {
                server.clear_raw_row(id);
                server.row(id, now).unwrap()
            });
            let names = [
                "demo-secret".to_owned(),
                "key_demo-secret_x".to_owned(),
                format!("{}demo-secret", "x".repeat(60)),
                "ZGVtby1zZWNyZXQ".to_owned(),
                "red\u{1b}[31m\u{202e}\n".to_owned(),
                "y".repeat(1_000_000),
                String::new(),
            ];
            let many = (0..10_000).map(|number| format!("{prefix}{number}"));
            let fields = names.into_iter().chain(many).map(|name| format!("{}:null,", json!(name)));
            let raw = format!("{{{}{}", fields.collect::<String>(), &row.to_string()[1..]);
            env.with_server(|server, _| server.set_raw_row(id, raw));
            if run != 0 {
                advance_minutes(1).await;
            }
            env.run_full_ok().await;
        }
        let number = |sql: &str| env.number(&format!("SELECT COUNT(*) FROM unmapped_fields WHERE {sql}"));
        assert_eq!(number("object = 'tickets'"), 1_000);
        assert_eq!(number("64 < length(field)"), 0);
        assert_eq!(number(&format!("field = '{}'", "y".repeat(64))), 1);
        assert_eq!(number("field GLOB '*[' || char(1) || '-' || char(31) || ']*'"), 0);
        let names = env.texts("SELECT field FROM unmapped_fields").join(" ");
        for secret in ["demo-secret", "demo-s", "ZGVtby1zZWNyZX"] {
            assert!(!names.contains(secret), "{secret}");
        }
        assert!(names.contains("key_[redacted]_x") && !names.contains('\u{202e}'));
    });
}

#[test]
fn null_says_nothing_about_a_field_whose_type_is_known() {
    with_paused_time(async {
        let env = VirtualEnv::new(0, &[]);
        let search = |minute: u32, types: &[JsonType]| {
            let mut seen = UnmappedFields::default();
            for json_type in types {
                seen.add("mood", *json_type);
            }
            let now = format!("2026-11-22T12:{minute:02}:00.000Z").parse().unwrap();
            let mut new = Vec::new();
            env.write(|tx| {
                new = tx.record_unmapped_fields("tickets", &seen, now)?.fields;
                Ok(())
            });
            let stored = "SELECT json_type || ' ' || substr(first_seen_at, 15, 2) || ' ' || substr(last_seen_at, 15, 2)
                FROM unmapped_fields ORDER BY 1";
            (new.iter().map(|it| it.json_type.as_str()).collect::<Vec<_>>(), env.texts(stored).join(", "))
        };
        for (minute, types, new, stored) in [
            (1, &[][..], &[][..], ""),
            (2, &[JsonType::Null], &["null"], "null 02 02"),
            (3, &[JsonType::Null], &[], "null 02 03"),
            (4, &[JsonType::String], &[], "string 02 04"),
            (5, &[JsonType::Null], &[], "string 02 05"),
            (6, &[JsonType::Number, JsonType::Null], &["number"], "number 06 06, string 02 05"),
            (7, &[JsonType::Null], &[], "number 06 07, string 02 05"),
            (8, &[JsonType::String, JsonType::Number], &[], "number 06 08, string 02 08"),
        ] {
            assert_eq!(search(minute, types), (new.to_vec(), stored.to_owned()), "minute {minute}");
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_fields_are_logged_once_and_shown_by_status_and_check() {
    let env = TestEnv::builder().tickets(30).in_memory().start().await;
    let first = env.run(&["sync", "-v"]).success().stderr;
    assert_eq!(first.matches("fields of the server that are not stored: ").count(), 1, "{first}");
    assert!(!first.contains("new fields"), "{first}");
    assert!(!env.run(&["status"]).success().stdout.contains("New fields"));
    assert!(env.run(&["status", "-v"]).success().stdout.contains("  New fields "));
    env.with_server(|server| {
        for number in 0..25 {
            server.set_field(ApiEndpoint::List, &format!("mood{number:02}"), None, &json!("calm-4711"));
        }
        let id = server.ids()[3];
        server.edit(id, Edit::Touch, chrono::Utc::now());
    });
    let found = env.run(&["sync", "-v"]).success().stderr;
    let line = found.lines().find(|line| line.contains("the server sends new fields")).unwrap();
    let names = "which are not stored: ticket list: mood00 (string), mood01 (string), ";
    assert!(line.contains(names) && line.ends_with("mood19 (string); and 5 more"), "{line}");
    assert!(!found.contains("4711"), "{found}");
    assert!(!env.run(&["sync", "-v"]).success().stderr.contains("new fields"), "it is logged once");
    let text = env.run(&["status"]).success().stdout;
    assert!(text.contains("ticket list: mood00 (string), mood01 (string), "), "{text}");
    assert!(text.starts_with("OK"), "new fields are no fault\n{text}");
    let json: Json = serde_json::from_str(&env.run_json(&["status"]).success().stdout).unwrap();
    Schema::of("status").assert_valid(&json);
    let fields = json["unmapped_fields"].as_array().unwrap();
    let new = fields.iter().filter(|it| it["in_first_search"] == false);
    assert_eq!((new.count(), json["lateness"].is_null()), (25, true), "{json:#}");
    let check = env.run(&["check", "--offline"]).success().stdout;
    assert!(check.contains("✓ new fields     ticket list: mood00 (string)"), "{check}");
    assert!(check.contains("✓ lateness       no change was late"), "{check}");
}

/// The interval between runs is no lateness.
#[test]
fn m2_interval_of_an_hour_is_not_lateness() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        let ids = env.server_ids();
        env.run_ok().await;
        for id in &ids[..6] {
            advance_minutes(10).await;
            edit(&env, *id);
            env.with_server(|server, now| drop(server.create(1, now)));
            advance_minutes(50).await;
            assert!(is_incremental(&env.run_ok().await));
        }
        assert!(lateness(&env).is_empty());
        // Dated two minutes before a run, visible three minutes after it, found an hour later.
        edit_late(&env, ids[20], 300);
        advance_minutes(2).await;
        env.run_ok().await;
        advance_minutes(60).await;
        let report = env.run_ok().await;
        let [late] = lateness(&env)[..] else { panic!("{:?}", lateness(&env)) };
        // A scan starts a second before the first answer.
        assert!((115.0..=120.0).contains(&late), "{late}");
        assert_eq!(report.warnings, [""; 0], "the overlap is ten minutes");
        env.assert_matches_server("M2");
        advance_minutes(60).await;
        env.run_ok().await;
        assert_eq!(lateness(&env).len(), 1, "a version is late once");
    });
}

#[test]
fn lateness_near_the_overlap_is_reported_and_a_full_scan_finds_what_is_later() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        let ids = env.server_ids();
        env.run_ok().await;
        // Other tickets change all the time, so that no canary asks further back than the overlap.
        let run_after = async |minutes: u64, other: i64| {
            advance_minutes(minutes).await;
            edit(&env, other);
            advance_minutes(1).await;
            env.run_ok().await
        };
        run_after(5, ids[50]).await;
        edit_late(&env, ids[20], 9 * 60);
        run_after(4, ids[51]).await;
        run_after(2, ids[52]).await;
        let report = run_after(2, ids[53]).await;
        let [late] = lateness(&env)[..] else { panic!("{:?}", lateness(&env)) };
        assert!((475.0..=540.0).contains(&late), "{late}");
        let warning = report.warnings.concat();
        assert!(
            warning.starts_with(LATENESS_WARNING)
                && warning.contains("`overlap` is 10 min")
                && warning.contains("set `overlap = \"16m\"`"),
            "{warning}"
        );
        assert_eq!(run_after(4, ids[54]).await.warnings, [""; 0]);

        // Later than the overlap: no incremental scan sees it.
        edit_late(&env, ids[21], 20 * 60);
        for other in &ids[55..61] {
            run_after(4, *other).await;
        }
        assert_eq!(lateness(&env).len(), 1);
        let report = env.run_full_ok().await;
        assert!(report.warnings.concat().contains("1 changes are dated before the watermark"), "{report:?}");
        assert_eq!(lateness(&env).len(), 1, "a full scan measures nothing");
        env.assert_matches_server("late by more than the overlap");
    });
}

/// Rows whose version is old, but that are not late.
#[test]
fn only_versions_that_a_verified_scan_should_have_shown_are_late() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        let ids = env.server_ids();
        env.run_ok().await;
        advance_minutes(5).await;
        // Listed all the time, but not readable.
        env.with_server(|server, now| {
            server.edit(ids[10], Edit::Agent(3), now);
            server.set_raw_row(ids[10], format!("{{\"id\":{},\"broken\":}}", ids[10]));
            // Gone, and back with an edit that nobody saw.
            server.delete(ids[11], now);
        });
        advance_minutes(1).await;
        env.run().await.unwrap();
        env.run_until(env.full_scan_settings(), std::future::pending()).await.unwrap();
        env.with_server(|server, now| {
            server.edit(ids[11], Edit::Agent(3), now);
        });
        advance_minutes(1).await;
        env.run().await.unwrap();
        env.with_server(|server, now| {
            server.clear_raw_row(ids[10]);
            server.restore(ids[11], now);
        });
        advance_minutes(5).await;
        env.run_ok().await;
        env.assert_matches_server("readable and restored");
        assert!(lateness(&env).is_empty(), "pending, and returned");

        // The server was restored from a backup.
        env.with_server(|server, _| server.back_up());
        edit(&env, ids[12]);
        advance_minutes(1).await;
        env.run_ok().await;
        env.with_server(|server, _| server.restore_backup());
        env.run_full_ok().await;
        assert!(lateness(&env).is_empty(), "went back");

        // After a reset the watermark is not the start of a scan.
        advance_minutes(30).await;
        env.run_ok().await;
        edit_late(&env, ids[13], 300);
        advance_minutes(2).await;
        env.run_ok().await;
        advance_minutes(4).await;
        env.write(|tx| {
            let watermark = tx.as_read_tx().watermark()?.unwrap().covered_until.unwrap();
            tx.reset_watermark(watermark.minus(TimeDelta::seconds(60)), "a test", watermark)
        });
        env.run_ok().await;
        env.assert_matches_server("after a reset");
        assert!(lateness(&env).is_empty(), "reset");

        // A dry run measures nothing.
        edit_late(&env, ids[14], 300);
        advance_minutes(2).await;
        env.run_ok().await;
        advance_minutes(4).await;
        let mut settings = env.settings.clone();
        settings.dry_run = true;
        env.run_until(settings, std::future::pending()).await.unwrap();
        assert!(lateness(&env).is_empty(), "dry run");
        env.run_ok().await;
        assert_eq!(lateness(&env).len(), 1, "and then it is late");
    });
}

/// A quiet server: scans ask back to the canary, and so see what a permission shows.
#[test]
fn tickets_that_a_permission_shows_are_late_only_if_they_are_new() {
    with_paused_time(async {
        let env = VirtualEnv::new(100, &[]);
        let hidden = &env.server_ids()[..5];
        env.with_server(|server, _| server.hide(hidden));
        env.run_ok().await;
        advance_minutes(2 * DAY).await;
        env.run_full_ok().await;
        for id in hidden {
            edit(&env, *id);
        }
        advance_minutes(206).await;
        assert!(is_incremental(&env.run_ok().await));
        env.with_server(|server, _| server.unhide(hidden));
        advance_minutes(1).await;
        let report = env.run_ok().await;
        assert!(is_incremental(&report));
        env.assert_matches_server("shown");
        assert_eq!((lateness(&env), report.warnings), (vec![], vec![]), "updated within the day, not opened");

        env.with_server(|server, now| server.create_visible_later(1, TimeDelta::minutes(9), now));
        advance_minutes(8).await;
        env.run_ok().await;
        advance_minutes(2).await;
        let report = env.run_ok().await;
        env.assert_matches_server("created late");
        let [late] = lateness(&env)[..] else { panic!("{:?}", lateness(&env)) };
        assert!((475.0..=480.0).contains(&late), "{late}");
        assert_eq!(report.warnings.len(), 1, "{report:?}");

        // Nothing says when it was opened.
        let unopened = env.with_server(|server, now| {
            let id = server.create(1, now)[0];
            let mut row = server.row(id, now).unwrap();
            row["dateoccurred"] = Json::Null;
            server.set_raw_row(id, row.to_string());
            server.hide(&[id]);
            id
        });
        advance_minutes(8).await;
        env.run_ok().await;
        env.with_server(|server, _| server.unhide(&[unopened]));
        advance_minutes(2).await;
        env.run_ok().await;
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets WHERE SOURCE_CREATED_DATE IS NULL"), 1);
        assert_eq!(lateness(&env).len(), 1);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_and_check_name_the_overlap_to_set() {
    let env = TestEnv::builder().tickets(30).in_memory().start().await;
    env.run(&["sync"]).success();
    let text = env.run(&["status", "-v"]).success().stdout;
    assert!(text.contains("  Late changes           no change was late in the last 30 days\n"), "{text}");
    let write = |seconds: f64| {
        let sql = "INSERT OR REPLACE INTO lateness SELECT MAX(scan_id), ?1, strftime('%Y-%m-%dT%H:%M:%fZ', 'now') FROM scans";
        rusqlite::Connection::open(env.database.path()).unwrap().execute(sql, [seconds]).unwrap();
    };
    write(30.0);
    let text = env.run(&["status", "-v"]).success().stdout;
    assert!(
        text.contains("up to 30 s late") && text.contains("`overlap = \"5m\"` is enough, it is 10 min"),
        "{text}"
    );
    assert!(!env.run(&["status"]).success().stdout.contains("Late changes"));
    write(400.5);
    let text = env.run(&["status"]).success().stdout;
    assert!(text.contains("set `overlap = \"14m\"` in `[sync]`, it is 10 min"), "{text}");
    let json: Json = serde_json::from_str(&env.run_json(&["status"]).success().stdout).unwrap();
    Schema::of("status").assert_valid(&json);
    let late = &json["lateness"];
    assert_eq!(
        (
            &late["seconds"],
            &late["overlap_seconds"],
            &late["proposed_overlap_seconds"],
            &late["near_overlap"]
        ),
        (&json!(400.5), &json!(600), &json!(840), &json!(true))
    );
    let check = env.run(&["check", "--offline"]).success().stdout;
    assert!(
        check.contains("! lateness       up to 7 min late in the last 30 days, the most delayed found "),
        "{check}"
    );
    assert!(check.contains("help: set `overlap = \"14m\"` in `[sync]`"), "{check}");
}
