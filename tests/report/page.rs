//! The file: what it contains, what it never contains, and what it never replaces.

use std::fs;

use rusqlite::Connection;
use serde_json::{Value as Json, json};

use crate::export_env::{ExportEnv, HOSTILE_TEXTS, ticket_row};

/// What a browser would run or fetch if it were not escaped.
pub(crate) const ATTACKS: [&str; 6] = [
    "</script><script>window.hacked=1</script>",
    "\"><img src=http://127.0.0.1:9/x onerror=window.hacked=1>",
    "<svg/onload=window.hacked=1>",
    "' autofocus onfocus=window.hacked=1 x='",
    "<!--<script>",
    "</title></style><iframe src=javascript:window.hacked=1>",
];

/// A database whose every text is hostile.
pub(crate) fn hostile_env() -> ExportEnv {
    let env = ExportEnv::new("");
    let texts: Vec<&str> = ATTACKS.into_iter().chain(HOSTILE_TEXTS).collect();
    for (table, key) in
        [("agents", "name"), ("teams", "name"), ("ticket_types", "name"), ("statuses", "name")]
    {
        let rows: Vec<_> = texts.iter().zip(2..).map(|(text, id)| json!({ "id": id, key: text })).collect();
        env.store_names(table, &Json::Array(rows));
    }
    let rows: Vec<_> = texts
        .iter()
        .zip(2..)
        .map(|(text, id)| {
            json!({ "id": id, "summary": text, "status_id": id, "team": text, "category_1": text, "client_name": text,
                "agent_id": id, "tickettype_id": id, "priority_id": 1, "user_name": text,
                "dateoccurred": "2026-11-20T10:00:00", "fixbydate": "2026-11-21T10:00:00",
                "last_update": "2026-11-22T11:00:00" })
        })
        .collect();
    env.store_rows(&rows);
    env
}

#[test]
fn hostile_texts_are_escaped_everywhere() {
    let env = hostile_env();
    env.run_ok(&["report"]);
    let html = fs::read_to_string(env.path("report.html")).unwrap();
    for attack in [
        "<script>window",
        "<img",
        "<svg/onload",
        "<iframe",
        "<!--<script",
        "http://127.0.0.1:9/x onerror=window.hacked=1>",
    ] {
        assert!(!html.contains(attack), "{attack}");
    }
    assert_eq!(html.matches("<script>").count(), 1);
    assert!(html.contains("&lt;script&gt;window.hacked=1"));
    // Nothing points to another place.
    for outside in ["src=\"", "href=\"http", "url(", "@import"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn names_of_people_are_left_out_on_request() {
    let env = ExportEnv::new("");
    env.store_names("agents", &json!([{ "id": 7, "name": "Qzagent Person" }]));
    env.store_rows(&[json!({ "id": 1, "summary": "Qzsummary", "status_id": 2, "agent_id": 7, "user_name": "Qzuser Person",
        "reportedby": "Qzreporter", "dateoccurred": "2026-11-20T10:00:00", "last_update": "2026-11-22T11:00:00" })]);
    for (arguments, contains) in [(&["report"][..], true), (&["report", "--no-people"], false)] {
        env.run_ok(arguments);
        let html = fs::read_to_string(env.path("report.html")).unwrap();
        for name in ["Qzagent", "Qzsummary"] {
            assert_eq!(html.contains(name), contains, "{name} {arguments:?}");
        }
        for name in ["Qzuser", "Qzreporter"] {
            assert!(!html.contains(name), "{name} {arguments:?}");
        }
    }
}

#[test]
fn only_a_report_is_replaced() {
    let env = ExportEnv::new("");
    let written = env.run_ok(&["report", "--out", "a.html", "--days", "30"]);
    assert_eq!(
        (&written["file"], &written["days"], &written["tickets"]),
        (&json!("a.html"), &json!(30), &json!(0))
    );
    env.run_ok(&["report", "--out", "a.html"]);
    for content in ["<!DOCTYPE html><p>mine", ""] {
        fs::write(env.path("mine.html"), content).unwrap();
        let (status, error) = env.run_err(&["report", "--out", "mine.html"]);
        assert_eq!(status, 73, "{error}");
        assert!(error.contains("not_a_report"), "{error}");
        assert_eq!(fs::read_to_string(env.path("mine.html")).unwrap(), content);
    }
    fs::create_dir(env.path("folder")).unwrap();
    std::os::unix::fs::symlink(env.path("a.html"), env.path("link.html")).unwrap();
    for out in ["folder", "link.html", "missing/report.html"] {
        assert_eq!(env.run_err(&["report", "--out", out]).0, 73, "{out}");
    }
    let names = crate::support::file_names(env.directory());
    assert!(!names.iter().any(|name| name.starts_with(".tmp")), "{names:?}");
}

/// Reading must not wait for a run, nor a run for it.
#[test]
fn report_takes_no_lock_and_changes_nothing() {
    let env = ExportEnv::new("");
    let _held = halosync::store::Lock::acquire_writer(&env.path("halosync.db")).unwrap();
    let before = fs::read(env.path("halosync.db")).unwrap();
    env.run_ok(&["report"]);
    assert_eq!(fs::read(env.path("halosync.db")).unwrap(), before);
}

/// Runs are kept for a while, and packages are received when they are acknowledged.
#[test]
fn copy_itself_says_how_far_it_and_its_consumers_are() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "b")]);
    env.run_ok(&["export", "delta", "--consumer", "siem"]);
    env.run_ok(&["export", "ack", "--consumer", "siem", "--seq", "2"]);
    env.store_rows(&[ticket_row(3, "c")]);
    env.run_ok(&["export", "delta", "--consumer", "siem"]);
    for (first_run, is_cut) in [("'now'", true), ("'2001-01-01'", false)] {
        let time = format!("strftime('%Y-%m-%dT%H:%M:%fZ', {first_run})");
        let started = format!("UPDATE runs SET started_at = {time}, ended_at = {time}");
        Connection::open(env.path("halosync.db")).unwrap().execute_batch(&started).unwrap();
        env.run_ok(&["report"]);
        let html = fs::read_to_string(env.path("report.html")).unwrap();
        assert_eq!(html.contains("<dt>Recorded since</dt>"), is_cut, "{first_run}");
        for fact in [
            "<dt>siem</dt><dd>exported to change 3, acknowledged to 2; 0 changes not exported</dd>",
            "<dt>Delete guard</dt><dd>does not hold</dd>",
        ] {
            assert!(html.contains(fact), "{fact}: {html}");
        }
    }
}

#[test]
fn report_without_a_database_says_what_to_do() {
    let env = ExportEnv::new("");
    fs::remove_file(env.path("halosync.db")).unwrap();
    let (status, error) = env.run_err(&["report"]);
    assert_eq!(status, 66, "{error}");
    assert!(!env.path("report.html").exists());
}
