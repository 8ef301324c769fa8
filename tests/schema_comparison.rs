//! The comparison of a database's schema with the one that the migrations make.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use halosync::store::{Store, StoreError, StoreOptions};
use rstest::rstest;
use rusqlite::Connection;

fn create(folder: &tempfile::TempDir, optional: bool) -> PathBuf {
    let path = folder.path().join("halosync.db");
    let options = StoreOptions {
        busy_timeout: Duration::from_secs(1),
        full_text: optional,
        index_last_modified: optional,
        now: "2026-11-22T12:00:00.000Z".parse().unwrap(),
    };
    Store::open(&path, &options).unwrap().close().unwrap();
    path
}

/// The additions, or the messages and the statements of the faults.
fn compare(optional: bool, sql: &str) -> (Vec<String>, Vec<String>, Vec<Option<String>>) {
    let folder = tempfile::tempdir().unwrap();
    let path = create(&folder, optional);
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let store = Store::open_read_only(&path, Duration::from_secs(1)).unwrap();
    match store.check_schema() {
        Ok(additions) => (additions, vec![], vec![]),
        Err(StoreError::SchemaChanged { faults, .. }) => (
            vec![],
            faults.iter().map(|fault| fault.message.clone()).collect(),
            faults.iter().map(|fault| fault.statement.clone()).collect(),
        ),
        Err(error) => panic!("{error}"),
    }
}

#[rstest]
fn schema_of_a_new_database_is_as_expected(#[values(false, true)] optional: bool) {
    assert_eq!(compare(optional, ""), (vec![], vec![], vec![]));
    // What `ANALYZE` makes is SQLite's own.
    assert_eq!(compare(optional, "ANALYZE"), (vec![], vec![], vec![]));
}

#[test]
fn tables_views_and_indexes_of_users_are_no_fault() {
    let sql = "CREATE TABLE mine (a); CREATE VIEW my_tickets AS SELECT UID FROM tickets;
               CREATE INDEX my_index ON tickets (TEAM); CREATE UNIQUE INDEX my_key ON mine (a);
               CREATE TRIGGER my_trigger AFTER INSERT ON mine BEGIN SELECT 1; END;";
    let (additions, faults, _) = compare(false, sql);
    assert_eq!(faults, [""; 0]);
    assert_eq!(
        additions,
        ["table mine", "index my_index", "index my_key", "view my_tickets", "trigger my_trigger"]
    );
}

#[rstest]
#[case::a_trigger_that_empties_changes(
    "CREATE TRIGGER audit AFTER INSERT ON changes BEGIN DELETE FROM changes; END",
    "trigger audit on changes does not belong to halosync: it can change or undo what is stored",
    Some("DROP TRIGGER \"audit\"")
)]
#[case::a_unique_index(
    "CREATE UNIQUE INDEX \"my \"\"key\" ON tickets (GUID)",
    "index my \"key on tickets does not belong to halosync: it can refuse what is stored",
    Some("DROP INDEX \"my \"\"key\"")
)]
#[case::a_missing_trigger(
    "DROP TRIGGER tickets_delete_empties_hash",
    "trigger tickets_delete_empties_hash is missing",
    Some(
        "CREATE TRIGGER tickets_delete_empties_hash AFTER DELETE ON tickets BEGIN UPDATE ticket_state SET hash = NULL WHERE UID = old.UID AND hash IS NOT NULL; END"
    )
)]
#[case::an_altered_trigger(
    "DROP TRIGGER tickets_delete_empties_hash; CREATE TRIGGER tickets_delete_empties_hash AFTER INSERT ON tickets BEGIN SELECT 1; END",
    "trigger tickets_delete_empties_hash of tickets was altered",
    Some(
        "DROP TRIGGER \"tickets_delete_empties_hash\"; CREATE TRIGGER tickets_delete_empties_hash AFTER DELETE ON tickets BEGIN UPDATE ticket_state SET hash = NULL WHERE UID = old.UID AND hash IS NOT NULL; END"
    )
)]
#[case::a_missing_index(
    "DROP INDEX changes_by_ticket",
    "index changes_by_ticket is missing",
    Some("CREATE INDEX changes_by_ticket ON changes (UID, seq)")
)]
#[case::another_column(
    "ALTER TABLE statuses ADD COLUMN mine",
    "table statuses of statuses was altered",
    None
)]
fn changed_schema_is_a_fault_with_the_statement_that_corrects_it(
    #[case] sql: &str,
    #[case] message: &str,
    #[case] statement: Option<&str>,
) {
    let (_, messages, statements) = compare(false, sql);
    assert_eq!(messages.first().map(String::as_str), Some(message), "{messages:?}");
    assert_eq!(statements[0].as_deref(), statement);
    // Each statement corrects its fault.
    if let Some(statement) = statement {
        assert_eq!(messages.len(), 1, "{messages:?}");
        let (_, messages, _) = compare(false, &format!("{sql}; {statement}"));
        assert_eq!(messages, [""; 0]);
    }
}

#[test]
fn full_text_index_without_one_of_its_triggers_is_a_fault() {
    let (_, messages, _) = compare(true, "DROP TRIGGER tickets_fts_delete");
    assert_eq!(messages, ["trigger tickets_fts_delete is missing"]);
}

#[rstest]
fn statement_that_corrects_a_lost_view_works_although_views_have_comments(
    #[values("ticket_overview", "status_intervals", "backlog_by_day", "ticket_custom_fields", "sync_health")]
    view: &str,
) {
    let sql = format!("DROP VIEW {view}");
    let (_, messages, statements) = compare(false, &sql);
    assert_eq!(messages, [format!("view {view} is missing")]);
    let statement = statements[0].as_deref().unwrap();
    let (_, messages, _) = compare(false, &format!("{sql}; {statement}; SELECT COUNT(*) FROM {view}"));
    assert_eq!(messages, [""; 0]);
}

#[test]
fn layout_of_statements_makes_no_difference() {
    let sql =
        "DROP INDEX changes_by_ticket; CREATE INDEX changes_by_ticket\n    ON changes\n        (UID, seq)";
    assert_eq!(compare(false, sql), (vec![], vec![], vec![]));
}
