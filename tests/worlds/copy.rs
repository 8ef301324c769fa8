//! The database of the agent as SQLite alone shows it, read with none of the agent's code.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use halosync::ticket::{AttributeValue, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value as Json;

use crate::coverage::Happening;
use crate::mapping::{self, Fields};

/// A connection that only reads.
pub(crate) struct Copy(pub(crate) Connection);

/// A walk as `walks` has it.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "as the column is called")]
pub(crate) struct Walk {
    pub(crate) scan_id: i64,
    pub(crate) run_id: i64,
    pub(crate) full: bool,
    pub(crate) outcome: Option<String>,
    pub(crate) pages: i64,
    pub(crate) updated_from: Option<Timestamp>,
}

impl Walk {
    pub(crate) fn is_counted(&self) -> bool {
        matches!(self.outcome.as_deref(), Some("verified" | "confirmed"))
    }
}

/// A line of `watermark_journal`.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    pub(crate) reason: String,
    pub(crate) run_id: Option<i64>,
}

static COLUMNS: LazyLock<usize> = LazyLock::new(|| mapping::columns().count());

static TICKETS: LazyLock<String> = LazyLock::new(|| {
    let columns: Vec<_> = mapping::columns().map(|name| format!("\"{name}\"")).collect();
    format!("SELECT UID, {} FROM tickets", columns.join(", "))
});

fn moment(text: Option<String>) -> Option<Timestamp> {
    text.map(|text| text.parse().expect("a moment of 24 characters"))
}

impl Copy {
    pub(crate) fn open(path: &Path) -> Copy {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).expect("a database");
        connection.set_prepared_statement_cache_capacity(32);
        Copy(connection)
    }

    /// Where the mark stands.
    pub(crate) fn mark(&self) -> Option<Timestamp> {
        let sql = "SELECT covered_until FROM watermarks";
        moment(self.all(sql, |row| row.get(0).expect("a mark")).pop().flatten())
    }

    /// The newest pass, 0 where there is none.
    pub(crate) fn last_run(&self) -> i64 {
        let sql = "SELECT COALESCE(MAX(run_id), 0) FROM runs";
        self.all(sql, |row| row.get(0).expect("a number")).pop().unwrap_or(0)
    }

    /// All walks, in order.
    pub(crate) fn walks(&self) -> Vec<Walk> {
        let sql = "SELECT run_id, kind, outcome, pages, updated_from, scan_id FROM scans ORDER BY scan_id";
        self.all(sql, |row| Walk {
            scan_id: row.get(5).expect("a walk"),
            run_id: row.get(0).expect("a pass"),
            full: row.get::<_, String>(1).expect("a kind") == "full",
            outcome: row.get(2).expect("an outcome"),
            pages: row.get(3).expect("pages"),
            updated_from: moment(row.get(4).expect("a bound")),
        })
    }

    /// Whether a pass says that it has everything.
    pub(crate) fn is_complete(&self, run_id: i64) -> bool {
        let sql = "SELECT outcome IS 'complete' FROM runs WHERE run_id = ?1";
        self.all_with(sql, [run_id], |row| row.get(0).expect("an outcome")).first() == Some(&true)
    }

    /// Whether open and closed tickets are read in lists of their own, which a ticket may enter anywhere.
    pub(crate) fn reads_two_lists(&self) -> bool {
        let sql = "SELECT result = 'open_and_closed' FROM server_probes WHERE probe = 'list_coverage'";
        self.all(sql, |row| row.get(0).expect("a verdict")).first() == Some(&true)
    }

    /// All moves of the mark, in order.
    pub(crate) fn moves(&self) -> Vec<Move> {
        let sql =
            "SELECT covered_from, covered_until, reason, run_id FROM watermark_journal ORDER BY move_id";
        self.all(sql, |row| Move {
            from: moment(row.get(0).expect("a mark")),
            to: moment(row.get(1).expect("a mark")),
            reason: row.get(2).expect("a reason"),
            run_id: row.get(3).expect("a pass"),
        })
    }

    /// The tickets that a pass removed, each with the reason.
    pub(crate) fn tombstones(&self, run_id: i64) -> Vec<(i64, String)> {
        let sql = "SELECT UID, reason FROM changes WHERE op = 'd' AND run_id = ?1";
        self.all_with(sql, [run_id], |row| (row.get(0).expect("a ticket"), row.get(1).expect("a reason")))
    }

    /// The tickets of which a pass took an older version than the stored one, because the server means it.
    pub(crate) fn went_back(&self, run_id: i64) -> Vec<i64> {
        let sql = "SELECT UID FROM changes WHERE reason = 'went_back' AND run_id = ?1";
        self.all_with(sql, [run_id], |row| row.get(0).expect("a ticket"))
    }

    /// The tickets that are kept although the server does not show them.
    pub(crate) fn absences(&self) -> BTreeMap<i64, String> {
        let sql = "SELECT UID, status || ' since ' || first_missed_at FROM unlisted_tickets";
        let rows = self.all(sql, |row| (row.get(0).expect("a ticket"), row.get(1).expect("a word")));
        rows.into_iter().collect()
    }

    /// What is copied: the numbers of the ticket types, none for all, and whether custom fields are.
    pub(crate) fn scope(&self) -> (Vec<i64>, bool) {
        let text =
            self.all("SELECT scope FROM watermarks", |row| row.get::<_, String>(0).expect("a scope")).pop();
        let scope: Json = text.map_or(Json::Null, |text| serde_json::from_str(&text).expect("JSON"));
        let types = scope["ticket_types"].as_array().map_or(&[][..], Vec::as_slice);
        (types.iter().filter_map(Json::as_i64).collect(), scope["custom_fields"] == true)
    }

    /// Whether a full walk was counted in this scope.
    pub(crate) fn is_filled(&self) -> bool {
        let sql = "SELECT state = 'incremental' FROM watermarks";
        self.all(sql, |row| row.get(0).expect("a state")).first() == Some(&true)
    }

    /// The rows of `custom_fields`, by ticket.
    pub(crate) fn fields(&self) -> BTreeMap<i64, Fields> {
        let sql = "SELECT UID, FIELD_ID, NAME, LABEL, CAST(TYPE AS TEXT), VALUE, DISPLAY FROM custom_fields";
        let mut fields: BTreeMap<i64, Fields> = BTreeMap::new();
        for (id, field, members) in self.all(sql, |row| {
            let members = [2, 3, 4, 5, 6].map(|column| row.get(column).expect("a member"));
            (row.get(0).expect("a ticket"), row.get(1).expect("a field"), members)
        }) {
            fields.entry(id).or_default().insert(field, members);
        }
        fields
    }

    /// The tickets whose custom fields are owed.
    pub(crate) fn debts(&self) -> Vec<i64> {
        self.all("SELECT UID FROM pending_fetches", |row| row.get(0).expect("a ticket"))
    }

    /// The tickets whose custom fields are not known and not owed either, nor missed.
    pub(crate) fn forgotten(&self) -> Vec<i64> {
        let sql = "SELECT UID FROM ticket_state WHERE fields_hash IS NULL
                   AND UID NOT IN (SELECT UID FROM pending_fetches) AND UID NOT IN (SELECT UID FROM unlisted_tickets)";
        self.all(sql, |row| row.get(0).expect("a ticket"))
    }

    /// What else came of the passes after this one.
    pub(crate) fn happenings(&self, after: i64) -> Vec<Happening> {
        let questions = [
            (Happening::Owed, "SELECT EXISTS (SELECT 1 FROM pending_fetches)"),
            (
                Happening::KeptBack,
                "SELECT EXISTS (SELECT 1 FROM unlisted_tickets WHERE status = 'forbidden')",
            ),
            (
                Happening::ReadAlone,
                "SELECT EXISTS (SELECT 1 FROM changes WHERE reason = 'custom_fields' AND run_id > ?1)",
            ),
            (
                Happening::ScopeChanged,
                "SELECT EXISTS (SELECT 1 FROM watermark_journal WHERE reason = 'scope_changed' AND run_id > ?1)",
            ),
        ];
        let so = |sql: &str| {
            let places: &[i64] = if sql.contains("?1") { &[after] } else { &[] };
            let answers =
                self.all_with(sql, rusqlite::params_from_iter(places), |row| row.get(0).expect("an answer"));
            answers.first() == Some(&true)
        };
        questions.into_iter().filter(|(_, sql)| so(sql)).map(|(happening, _)| happening).collect()
    }

    /// The tickets.
    pub(crate) fn tickets(&self) -> BTreeMap<i64, Vec<AttributeValue>> {
        let columns = *COLUMNS;
        let row = |row: &rusqlite::Row<'_>| {
            let values = (1..=columns).map(|place| value(row.get_ref(place).expect("a column")));
            (row.get(0).expect("an id"), values.collect())
        };
        self.all(&TICKETS, row).into_iter().collect()
    }

    /// Everything in it that follows from the world: all but the identity that is drawn when a database is made.
    pub(crate) fn digest(&self, into: &mut dyn FnMut(&str)) {
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                      AND name NOT IN ('lineage', 'refinery_schema_history') ORDER BY name";
        let tables: Vec<String> = self.all(tables, |row| row.get(0).expect("a name"));
        for table in tables {
            let rows = self.all(&format!("SELECT * FROM {table} ORDER BY 1"), |row| {
                let columns = row.as_ref().column_count();
                (0..columns)
                    .map(|place| format!("{:?}", row.get_ref(place).expect("a column")))
                    .collect::<Vec<_>>()
                    .join("|")
            });
            into(&table);
            for row in &rows {
                into(row);
            }
        }
    }

    /// What SQLite says of the file.
    pub(crate) fn integrity(&self) -> String {
        self.all("PRAGMA integrity_check", |row| row.get::<_, String>(0).expect("a word")).join("; ")
    }

    pub(crate) fn all<T>(&self, sql: &str, read: impl Fn(&rusqlite::Row<'_>) -> T) -> Vec<T> {
        self.all_with(sql, [], read)
    }

    /// With values for the places in it: a text that stays the same is prepared once.
    fn all_with<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl Fn(&rusqlite::Row<'_>) -> T,
    ) -> Vec<T> {
        let mut statement = self.0.prepare_cached(sql).expect(sql);
        let rows = statement.query_map(values, |row| Ok(read(row))).expect(sql);
        rows.map(|row| row.expect(sql)).collect()
    }
}

pub(crate) fn value(cell: ValueRef<'_>) -> AttributeValue {
    match cell {
        ValueRef::Null => AttributeValue::Null,
        ValueRef::Integer(number) => AttributeValue::Integer(number),
        ValueRef::Real(number) => AttributeValue::Real(number),
        ValueRef::Text(text) => AttributeValue::Text(String::from_utf8(text.to_vec()).expect("UTF-8")),
        ValueRef::Blob(_) => panic!("no column holds a blob"),
    }
}
