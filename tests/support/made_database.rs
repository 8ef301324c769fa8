//! A database of halosync's own schema whose rows a test inserts with SQL.

use std::path::PathBuf;
use std::time::Duration;

use halosync::store::{Store, StoreOptions};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tempfile::TempDir;

pub(crate) struct MadeDatabase {
    folder: TempDir,
    connection: Connection,
}

impl MadeDatabase {
    /// A database with full-text search that holds what `sql` inserts. In it `«-3 days»` is the time three days ago.
    pub(crate) fn new(sql: &str) -> MadeDatabase {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            busy_timeout: Duration::from_secs(1),
            full_text: true,
            index_last_modified: false,
            now: "2026-11-22T12:00:00.000Z".parse().unwrap(),
        };
        Store::open(&folder.path().join("halosync.db"), &options).unwrap().close().unwrap();
        let connection = Connection::open(folder.path().join("halosync.db")).unwrap();
        let database = MadeDatabase { folder, connection };
        database.execute(sql);
        database
    }

    /// Runs statements in one transaction, so that all of its "now" are close together.
    pub(crate) fn execute(&self, sql: &str) {
        let sql = sql.replace('«', "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '").replace('»', "')");
        self.connection
            .execute_batch(&format!("BEGIN; {sql}; COMMIT"))
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("halosync.db")
    }

    /// The rows of a query, cells separated by ` | `.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let mut statement = self.connection.prepare(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
        let width = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cells = (0..width).map(|column| {
                Ok(match row.get_ref(column)? {
                    ValueRef::Null => "NULL".to_owned(),
                    ValueRef::Integer(number) => number.to_string(),
                    ValueRef::Real(number) => number.to_string(),
                    ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
                })
            });
            Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join(" | "))
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// The steps of the plan of a query, each as in `EXPLAIN QUERY PLAN`, with the steps above it.
    pub(crate) fn plan(&self, sql: &str) -> Vec<(Vec<String>, String)> {
        let sql = format!("EXPLAIN QUERY PLAN {sql}");
        let mut statement = self.connection.prepare(&sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(3)?))
        });
        let steps: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
        let above = |mut parent: i64| {
            let mut names = Vec::new();
            while let Some((_, up, name)) = steps.iter().find(|(id, _, _)| *id == parent) {
                names.push(name.clone());
                parent = *up;
            }
            names
        };
        steps.iter().map(|(_, parent, name)| (above(*parent), name.clone())).collect()
    }

    /// Asserts that no step below a correlated one, and no inner loop, scans `changes`.
    pub(crate) fn assert_changes_are_scanned_once(&self, sql: &str) {
        let plan = self.plan(sql);
        for (index, (above, step)) in plan.iter().enumerate() {
            let name = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next()).unwrap_or("");
            if !["changes", "c", "l"].contains(&name) {
                continue;
            }
            let is_correlated = above.iter().any(|it| it.contains("CORRELATED"));
            let is_inner = plan[..index].iter().any(|(other, step)| {
                other == above && (step.starts_with("SCAN ") || step.starts_with("SEARCH "))
            });
            assert!(!is_correlated && !is_inner, "{sql}: {step} below {above:?}");
        }
    }
}
