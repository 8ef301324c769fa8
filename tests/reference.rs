//! Compares the table of reference objects with the schema and the documentation.

use std::fs;
use std::path::Path;

use halosync::reference::{ColumnRole, REFERENCE_TABLES, render_markdown};
use halosync::store::{Store, StoreOptions};
use halosync::ticket::{Timestamp, ValueKind};

mod support;

#[test]
fn schema_has_exactly_the_columns_of_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halosync.db");
    let now: Timestamp = "2026-11-27T00:00:00.000Z".parse().unwrap();
    let options = StoreOptions {
        busy_timeout: std::time::Duration::ZERO,
        full_text: false,
        index_last_modified: false,
        now,
    };
    Store::open(&path, &options).unwrap().close().unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    for table in &REFERENCE_TABLES {
        let sql = format!("SELECT name, type, pk FROM pragma_table_info('{}') ORDER BY cid", table.name);
        let mut statement = connection.prepare(&sql).unwrap();
        let found: Vec<(String, String, bool)> = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? != 0)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let declared = table.stored_columns().map(|column| {
            let is_key = table.columns.iter().any(|it| it.column == column && it.role == ColumnRole::Key);
            let kind = match column.kind {
                ValueKind::Integer | ValueKind::Boolean => "INTEGER",
                ValueKind::Real => "REAL",
                _ => "TEXT",
            };
            (column.name.to_owned(), kind.to_owned(), is_key)
        });
        let (mut declared, mut found) = (declared.collect::<Vec<_>>(), found);
        declared.sort();
        found.sort();
        assert_eq!(declared, found, "{table}");
    }
}

#[test]
fn documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference-tables.md");
    let document = render_markdown();
    if fs::read_to_string(&path).unwrap_or_default() != document {
        fs::write(&path, document).unwrap();
        panic!(
            "docs/reference-tables.md was out of date and has been regenerated: review it, commit it, test again"
        );
    }
}
