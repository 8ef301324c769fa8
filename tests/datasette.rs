//! Datasette on a database of halosync, if it is installed.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;
use support::made_database::MadeDatabase;

/// What Datasette responds to a request for a path, or nothing where it is not installed.
fn get(database: &Path, path: &str) -> Option<String> {
    let output = Command::new("python3")
        .args(["-m", "datasette"])
        .arg(database)
        .args(["--get", path])
        // No plugins of the user.
        .env("DATASETTE_LOAD_PLUGINS", "")
        .output();
    let is_missing =
        |output: &Output| String::from_utf8_lossy(&output.stderr).contains("No module named datasette");
    let Some(output) = output.ok().filter(|output| !is_missing(output)) else {
        eprintln!("SKIPPED: Datasette (not installed)");
        return None;
    };
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{path}: {page}{}", String::from_utf8_lossy(&output.stderr));
    Some(page)
}

#[test]
fn datasette_finds_the_full_text_index_and_shows_the_views() {
    let database = MadeDatabase::new(
        "INSERT INTO tickets (UID, NAME, DESCRIPTION, STATUS_ID, SOURCE_CREATED_DATE) VALUES
             (1, 'Printer jams', NULL, 1, «-1 day»), (2, 'No mail', 'Not even to the printer', 9, «-1 day»),
             (3, 'No VPN', NULL, 1, «-1 day»)",
    );
    let ids = |path: &str| -> Option<Vec<i64>> {
        let page: Json = get(&database.path(), path)?.parse().unwrap();
        Some(page["rows"].as_array().unwrap().iter().map(|row| row["UID"].as_i64().unwrap()).collect())
    };
    let Some(found) = ids("/halosync/tickets.json?_shape=objects&_search=printer") else { return };
    assert_eq!(found, [1, 2]);
    assert_eq!(ids("/halosync/open_tickets.json?_shape=objects&_sort=UID").unwrap(), [1, 3]);
    let page = get(&database.path(), "/halosync/tickets").unwrap();
    assert!(
        page.contains(r#"<input id="_search" type="search" name="_search""#),
        "no box to search in: {page}"
    );
}
