//! What the rows of packages and snapshots hold, and the options that change it.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::export_env::{ExportEnv, ticket_row};
use crate::support::file_names;

/// The newest package of the default consumer.
fn newest(env: &ExportEnv, extension: &str) -> String {
    let folder = env.deltas("default");
    let names = file_names(&folder);
    let newest = names.iter().rfind(|name| name.ends_with(extension)).expect("a package");
    fs::read_to_string(folder.join(newest)).unwrap()
}

fn json_rows(env: &ExportEnv) -> Vec<Json> {
    env.run_ok(&["export", "delta", "--format", "jsonl"]);
    newest(env, ".jsonl").lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn reason_is_that_of_the_newest_change_record() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "a"), ticket_row(3, "a")]);
    let reasons = |rows: &[Json]| -> Vec<(i64, String, Json)> {
        let row = |row: &Json| {
            (row["UID"].as_i64().unwrap(), row["_op"].as_str().unwrap().to_owned(), row["_reason"].clone())
        };
        rows.iter().map(row).collect()
    };
    assert!(json_rows(&env).iter().all(|row| row["_reason"].is_null()));
    env.remove_tickets(&[1, 2]);
    env.store_rows(&[ticket_row(3, "b")]);
    let deleted = json!("deleted");
    assert_eq!(
        reasons(&json_rows(&env)),
        [(1, "d".into(), deleted.clone()), (2, "d".into(), deleted), (3, "u".into(), Json::Null)]
    );
    env.store_rows(&[ticket_row(2, "back")]);
    assert_eq!(reasons(&json_rows(&env)), [(2, "c".into(), json!("returned"))]);
    // A consumer that begins now sees the reason too.
    env.run_ok(&["export", "delta", "--consumer", "late", "--format", "json"]);
    let late = fs::read_to_string(env.deltas("late").join("000000000000-000000000007.json")).unwrap();
    let late: Vec<Json> = serde_json::from_str(&late).unwrap();
    assert_eq!(reasons(&late), [(2, "c".into(), json!("returned")), (3, "c".into(), Json::Null)]);
}

#[test]
fn custom_fields_are_a_list_of_records() {
    let env = ExportEnv::with_custom_fields("", true);
    let mut row = ticket_row(1, "a");
    row["customfields"] = json!([
        { "id": 1200, "name": "CFb", "label": "B", "type": 2, "value": 7, "display": "seven" },
        { "id": 120, "name": "CFa", "label": "A", "type": 0, "value": "x", "display": "x" },
    ]);
    let mut bare = ticket_row(2, "a");
    bare["customfields"] = json!([]);
    env.store_rows(&[row, bare]);
    let expected = json!([
        { "FIELD_ID": 120, "NAME": "CFa", "LABEL": "A", "TYPE": 0, "VALUE": "x", "DISPLAY": "x" },
        { "FIELD_ID": 1200, "NAME": "CFb", "LABEL": "B", "TYPE": 2, "VALUE": "7", "DISPLAY": "seven" },
    ]);
    let rows = json_rows(&env);
    assert_eq!([&rows[0]["_custom_fields"], &rows[1]["_custom_fields"]], [&expected, &json!([])]);
    env.remove_tickets(&[1]);
    env.run_ok(&["export", "delta", "--format", "csv"]);
    let text = newest(&env, ".csv");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().next_back(), Some("_custom_fields"));
    let record = reader.records().next().unwrap().unwrap();
    assert_eq!(record.iter().next_back().unwrap().parse::<Json>().unwrap(), expected);
}

#[test]
fn only_selected_columns_are_exported() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "first"), ticket_row(2, "gone")]);
    env.run_ok(&["export", "delta", "--columns", "TEAM,NAME,STATUS_ID"]);
    let text = newest(&env, ".csv");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "_seq,_op,_observed_at,_reason,UID,TEAM,NAME,STATUS_ID");
    assert!(lines[1].starts_with("1,c,") && lines[1].ends_with(",,1,,first,2"), "{}", lines[1]);
    env.remove_tickets(&[2]);
    let rows = env.run_ok(&["export", "delta", "--format", "jsonl", "--columns", "_custom_fields,NAME"]);
    assert_eq!(rows["packages"][0]["counts"]["d"], 1);
    let line = newest(&env, ".jsonl");
    let order: Vec<_> = ["_seq", "_op", "_observed_at", "_reason", "UID", "_custom_fields", "NAME"]
        .iter()
        .map(|it| line.find(&format!("\"{it}\":")).expect(it))
        .collect();
    assert!(order.is_sorted() && line.parse::<Json>().unwrap().as_object().unwrap().len() == 7, "{line}");

    let taken = env.run_ok(&["export", "snapshot", "--columns", "NAME"]);
    assert_eq!(
        taken["manifest"]["options"],
        json!({ "excel": false, "newlines": "keep", "columns": ["NAME"] })
    );
    let folder = Path::new(taken["folder"].as_str().unwrap()).to_owned();
    assert_eq!(
        file_names(&folder),
        ["SHA256SUMS", "_manifest", "deleted_tickets.csv", "statuses.csv", "ticket_types.csv", "tickets.csv"]
    );
    assert_eq!(fs::read_to_string(folder.join("tickets.csv")).unwrap(), "UID,NAME\r\n1,first\r\n");
    let deleted = fs::read_to_string(folder.join("deleted_tickets.csv")).unwrap();
    assert!(deleted.starts_with("UID,REASON,SEEN_AT,NAME\r\n2,deleted,"), "{deleted}");
    env.run_ok(&["export", "verify", "export", "--from-start"]);
}

#[test]
fn options_that_do_not_fit_are_usage_errors() {
    let env = ExportEnv::new("[export]\nformat = \"json\"");
    env.store_rows(&[ticket_row(1, "a")]);
    for (options, message) in [
        (&["--columns", "NAM"][..], "there is no column `NAM`; did you mean `NAME`?"),
        (&["--columns", "team"], "did you mean `TEAM`?"),
        (&["--columns", "NAME,NAME"], "named twice"),
        (&["--columns", ""], "must be names"),
        (&["--excel"], "--excel is for CSV only, but the format is json"),
        (&["--newlines", "escape"], "--newlines escape is for CSV only"),
        (&["--format", "jsonl", "--excel"], "the format is jsonl"),
        (&["--format", "parquet", "--excel"], "the format is parquet"),
        (&["--format", "parquet", "--newlines", "escape"], "the format is parquet"),
        (&["--excel-safe"], "--excel"),
    ] {
        for command in ["delta", "snapshot"] {
            let (status, error) = env.run_err(&[&["export", command][..], options].concat());
            let error: Json = serde_json::from_str(&error).unwrap();
            assert_eq!(status, 2, "{command} {options:?}: {error}");
            assert!(error.to_string().contains(message), "{command} {options:?}: {error}");
            assert!(!env.path("export").exists(), "{command} {options:?}");
        }
    }
    env.run_ok(&["export", "delta", "--format", "csv", "--excel"]);
}

#[test]
fn parquet_is_refused_with_gzip_and_where_it_is_not_built_in() {
    for settings in ["", "[export]\nformat = \"parquet\""] {
        let env = ExportEnv::new(settings);
        env.store_rows(&[ticket_row(1, "a")]);
        for command in ["delta", "snapshot"] {
            let (status, error) = env.run_err(&["export", command, "--format", "parquet", "--gzip"]);
            let error: Json = serde_json::from_str(&error).unwrap();
            assert_eq!((status, &error["exit_status"]), (78, &json!(78)), "{command}: {error}");
            let (code, help) = match (cfg!(feature = "lake"), settings) {
                (true, _) => ("format_already_compressed", "leave out --gzip"),
                (false, "") => ("format_not_built_in", "choose csv, jsonl or json"),
                (false, _) => ("settings_invalid", "choose csv, jsonl or json"),
            };
            assert_eq!(error["code"], code, "{command}: {error}");
            assert!(error.to_string().contains(help), "{command}: {error}");
            assert!(!env.path("export").exists(), "{command}");
        }
    }
}

#[test]
fn excel_files_have_a_mark_and_no_formulas() {
    let env = ExportEnv::new("");
    let mut row = ticket_row(7, "note;=cmd|' /C calc'!A0\n+1");
    row["cost"] = json!(-5.5);
    row["details"] = json!("  @SUM(A1), ok");
    row["department_id"] = json!(-5);
    env.store_rows(&[row]);
    env.run_ok(&["export", "delta", "--excel", "--columns", "NAME,DESCRIPTION,COST,DEPARTMENT_ID"]);
    let text = newest(&env, ".csv");
    let lines: Vec<_> = text.split("\r\n").collect();
    assert_eq!(lines[0], "\u{FEFF}_seq,_op,_observed_at,_reason,UID,NAME,DESCRIPTION,COST,DEPARTMENT_ID");
    let expected = ",,7,note;'=cmd|'' /C calc'!A0\\n'+1,\"  '@SUM(A1), ok\",-5.5,-5";
    assert!(lines[1].ends_with(expected), "{}", lines[1]);
    assert_eq!(lines.len(), 3, "a row is a line");
    env.run_ok(&["export", "verify", "export", "--from-start"]);
}

#[test]
fn snapshot_holds_definitions_and_deleted_tickets() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "gone")]);
    env.remove_tickets(&[2]);
    let taken = env.run_ok(&["export", "snapshot", "--format", "jsonl"]);
    let files: Vec<_> = taken["manifest"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["role"].as_str().unwrap()))
        .collect();
    assert_eq!(
        files,
        [
            ("tickets.jsonl", "tickets"),
            ("ticket_extra.jsonl", "ticket_extra"),
            ("statuses.jsonl", "reference"),
            ("ticket_types.jsonl", "reference"),
            ("custom_fields.jsonl", "custom_fields"),
            ("field_definitions.jsonl", "field_definitions"),
            ("deleted_tickets.jsonl", "deleted_tickets"),
        ]
    );
    assert_eq!(taken["manifest"]["format"], "halosync/2");
    let folder = Path::new(taken["folder"].as_str().unwrap()).to_owned();
    let deleted: Json = fs::read_to_string(folder.join("deleted_tickets.jsonl")).unwrap().parse().unwrap();
    assert_eq!(
        (&deleted["UID"], &deleted["REASON"], &deleted["NAME"]),
        (&json!(2), &json!("deleted"), &json!("gone"))
    );
}
