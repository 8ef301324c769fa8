//! Reads the client's database with SQLite alone, without using any of the client's code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use chrono::TimeDelta;
use halosync::ticket::Timestamp;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value as Json;

use crate::coverage::CoverageEvent;
use crate::support::database::attribute_value;
use crate::support::mapping::{self, Fields, Tickets};

/// A read-only connection.
pub(crate) struct DbReader(Connection);

/// A row of `scans`.
#[derive(Debug)]
pub(crate) struct ScanRecord {
    pub(crate) scan_id: i64,
    pub(crate) run_id: i64,
    pub(crate) full: bool,
    pub(crate) outcome: Option<String>,
    pub(crate) pages: i64,
    pub(crate) updated_from: Option<Timestamp>,
    /// By the local clock.
    pub(crate) started_at: Timestamp,
    /// Whether it moved the watermark although the counts did not agree.
    accepted: bool,
}

impl ScanRecord {
    /// Whether it proved what it could: it is verified, or its only lack are rows without an id or what is accepted.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_verified() || self.accepted
    }

    /// Whether the scan is recorded as proved complete.
    pub(crate) fn is_verified(&self) -> bool {
        matches!(self.outcome.as_deref(), Some("verified" | "confirmed"))
    }
}

/// A row of `watermark_journal`.
#[derive(Debug)]
pub(crate) struct WatermarkMove {
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    pub(crate) reason: String,
    pub(crate) run_id: Option<i64>,
}

/// A row of `changes`, as far as it says when something happened.
#[derive(Debug)]
pub(crate) struct DatedRecord {
    pub(crate) seq: i64,
    pub(crate) id: i64,
    pub(crate) op: String,
    pub(crate) reason: Option<String>,
    pub(crate) run_id: i64,
    pub(crate) observed_at: Timestamp,
    pub(crate) not_before: Option<Timestamp>,
    /// The attributes, extras and custom fields that changed.
    pub(crate) changed: Vec<String>,
}

static COLUMNS: LazyLock<usize> = LazyLock::new(|| mapping::columns().count());

static TICKETS: LazyLock<String> = LazyLock::new(|| {
    let columns: Vec<_> = mapping::columns().map(|name| format!("\"{name}\"")).collect();
    format!("SELECT UID, {} FROM tickets", columns.join(", "))
});

fn timestamp(text: Option<String>) -> Option<Timestamp> {
    text.map(|text| text.parse::<Timestamp>().expect("a timestamp of 24 characters"))
}

impl DbReader {
    pub(crate) fn open(path: &Path) -> DbReader {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).expect("a database");
        connection.set_prepared_statement_cache_capacity(32);
        DbReader(connection)
    }

    pub(crate) fn watermark(&self) -> Option<Timestamp> {
        let sql = "SELECT covered_until FROM watermarks";
        timestamp(self.query(sql, |row| row.get(0).expect("a watermark")).pop().flatten())
    }

    /// The id of the newest run, 0 if there is none.
    pub(crate) fn last_run(&self) -> i64 {
        let sql = "SELECT COALESCE(MAX(run_id), 0) FROM runs";
        self.query(sql, |row| row.get(0).expect("a number")).pop().unwrap_or(0)
    }

    /// All scans, in order.
    pub(crate) fn scans(&self) -> Vec<ScanRecord> {
        let sql = "SELECT run_id, kind, outcome, pages, updated_from, scan_id, accepted, started_at FROM scans ORDER BY scan_id";
        self.query(sql, |row| ScanRecord {
            scan_id: row.get(5).expect("a scan"),
            run_id: row.get(0).expect("a run"),
            full: row.get::<_, String>(1).expect("a kind") == "full",
            outcome: row.get(2).expect("an outcome"),
            pages: row.get(3).expect("pages"),
            updated_from: timestamp(row.get(4).expect("a lower bound")),
            accepted: row.get(6).expect("a truth value"),
            started_at: timestamp(row.get(7).expect("a time")).expect("a time"),
        })
    }

    /// Whether the run is recorded as complete.
    pub(crate) fn is_complete(&self, run_id: i64) -> bool {
        let sql = "SELECT outcome IS 'complete' FROM runs WHERE run_id = ?1";
        self.query_with(sql, [run_id], |row| row.get(0).expect("an outcome")).first() == Some(&true)
    }

    /// By how much the clocks of the server's nodes differ, as far as a full scan has answered a step of its clock.
    pub(crate) fn clock_difference(&self) -> TimeDelta {
        let sql = "SELECT CAST(result AS INTEGER) FROM server_probes WHERE probe = 'clock_difference'";
        let seconds = self.query(sql, |row| row.get::<_, i64>(0).expect("a number")).pop();
        TimeDelta::seconds(seconds.unwrap_or(0))
    }

    /// Whether open and closed tickets are read as two lists, which a ticket may enter at any position.
    pub(crate) fn reads_two_lists(&self) -> bool {
        let sql = "SELECT result = 'open_and_closed' FROM server_probes WHERE probe = 'list_coverage'";
        self.query(sql, |row| row.get(0).expect("a result")).first() == Some(&true)
    }

    /// All moves of the watermark, in order.
    pub(crate) fn watermark_moves(&self) -> Vec<WatermarkMove> {
        let sql =
            "SELECT covered_from, covered_until, reason, run_id FROM watermark_journal ORDER BY move_id";
        self.query(sql, |row| WatermarkMove {
            from: timestamp(row.get(0).expect("a watermark")),
            to: timestamp(row.get(1).expect("a watermark")),
            reason: row.get(2).expect("a reason"),
            run_id: row.get(3).expect("a run"),
        })
    }

    /// The tickets that a run removed, each with the reason.
    pub(crate) fn tombstones(&self, run_id: i64) -> Vec<(i64, String)> {
        let sql = "SELECT UID, reason FROM changes WHERE op = 'd' AND run_id = ?1";
        self.query_with(sql, [run_id], |row| (row.get(0).expect("a ticket"), row.get(1).expect("a reason")))
    }

    /// The change records of the runs after one, in order.
    pub(crate) fn dated_records(&self, after_run: i64) -> Vec<DatedRecord> {
        let sql = "SELECT seq, UID, op, reason, run_id, observed_at, not_before, changed FROM changes
                   WHERE ?1 < run_id ORDER BY seq";
        self.query_with(sql, [after_run], |row| {
            let changed: Option<String> = row.get(7).expect("a text");
            let changed: serde_json::Map<String, Json> =
                changed.map_or_else(Default::default, |text| serde_json::from_str(&text).expect("JSON"));
            DatedRecord {
                seq: row.get(0).expect("a number"),
                id: row.get(1).expect("a ticket"),
                op: row.get(2).expect("an operation"),
                reason: row.get(3).expect("a reason"),
                run_id: row.get(4).expect("a run"),
                observed_at: timestamp(row.get(5).expect("a time")).expect("a time"),
                not_before: timestamp(row.get(6).expect("a time")),
                changed: changed.keys().cloned().collect(),
            }
        })
    }

    /// What came of reading each reference list.
    pub(crate) fn reference_results(&self) -> BTreeMap<String, String> {
        let sql = "SELECT name, result FROM reference_lists";
        let results = self.query(sql, |row| (row.get(0).expect("a name"), row.get(1).expect("a result")));
        results.into_iter().collect()
    }

    /// The rows of `ticket_extra`, in the order of [`mapping::extra_columns`].
    pub(crate) fn extras(&self) -> Tickets {
        let sql = "SELECT UID, CLOSED_AT, RESPONDED_AT, ASSIGNED_AT, PARENT_ID FROM ticket_extra";
        let row = |row: &rusqlite::Row<'_>| {
            let values = (1..=4).map(|column| attribute_value(row.get_ref(column).expect("a column")));
            (row.get(0).expect("an id"), values.collect())
        };
        self.query(sql, row).into_iter().collect()
    }

    /// The columns of `ticket_extra` that the list is known to carry.
    pub(crate) fn carried_extras(&self) -> BTreeSet<String> {
        let sql = "SELECT result FROM server_probes WHERE probe = 'list_extras'";
        let result = self.query(sql, |row| row.get::<_, String>(0).expect("a result")).pop();
        let names = result.unwrap_or_default();
        names.split(',').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
    }

    /// The version of each stored ticket: when it was last modified, and its status.
    pub(crate) fn versions(&self) -> BTreeMap<i64, (Option<String>, Option<i64>)> {
        let sql = "SELECT UID, SOURCE_LAST_MODIFIED, STATUS_ID FROM tickets";
        let rows = self.query(sql, |row| {
            (row.get(0).expect("a ticket"), (row.get(1).expect("a time"), row.get(2).expect("a status")))
        });
        rows.into_iter().collect()
    }

    /// The tickets for which a run stored an older version because the server confirmed it.
    pub(crate) fn went_back(&self, run_id: i64) -> Vec<i64> {
        let sql = "SELECT UID FROM changes WHERE reason = 'went_back' AND run_id = ?1";
        self.query_with(sql, [run_id], |row| row.get(0).expect("a ticket"))
    }

    /// The unlisted tickets, each with its status.
    pub(crate) fn unlisted_tickets(&self) -> BTreeMap<i64, String> {
        let sql = "SELECT UID, status || ' since ' || first_missed_at FROM unlisted_tickets";
        let rows = self.query(sql, |row| (row.get(0).expect("a ticket"), row.get(1).expect("a status")));
        rows.into_iter().collect()
    }

    /// The erased tickets.
    pub(crate) fn purged(&self) -> BTreeSet<i64> {
        let purged = self.query("SELECT UID FROM purged", |row| row.get(0).expect("a ticket"));
        purged.into_iter().collect()
    }

    /// The erased tickets of which something is stored, or of which a change record has values.
    pub(crate) fn known_of_purged(&self) -> Vec<i64> {
        let sql = "SELECT UID FROM (SELECT UID FROM tickets UNION SELECT UID FROM ticket_state
                       UNION SELECT UID FROM ticket_extra UNION SELECT UID FROM custom_fields
                       UNION SELECT UID FROM pending_fetches UNION SELECT UID FROM unlisted_tickets
                       UNION SELECT UID FROM rejects
                       UNION SELECT UID FROM changes WHERE changed IS NOT NULL OR last_row IS NOT NULL)
                   WHERE UID IN (SELECT UID FROM purged)";
        self.query(sql, |row| row.get(0).expect("a ticket"))
    }

    /// The scope: the ids of the ticket types, empty for all, and whether custom fields are included.
    pub(crate) fn scope(&self) -> (Vec<i64>, bool) {
        let text =
            self.query("SELECT scope FROM watermarks", |row| row.get::<_, String>(0).expect("a scope")).pop();
        let scope: Json = text.map_or(Json::Null, |text| serde_json::from_str(&text).expect("JSON"));
        let types = scope["ticket_types"].as_array().map_or(&[][..], Vec::as_slice);
        (types.iter().filter_map(Json::as_i64).collect(), scope["custom_fields"] == true)
    }

    /// Whether the initial load of this scope is finished.
    pub(crate) fn is_initial_load_finished(&self) -> bool {
        let sql = "SELECT state = 'incremental' FROM watermarks";
        self.query(sql, |row| row.get(0).expect("a state")).first() == Some(&true)
    }

    /// The stored tickets, ascending.
    pub(crate) fn ticket_ids(&self) -> Vec<i64> {
        self.query("SELECT UID FROM tickets ORDER BY UID", |row| row.get(0).expect("a ticket"))
    }

    /// The rows of `custom_fields`, by ticket.
    pub(crate) fn custom_fields(&self) -> BTreeMap<i64, Fields> {
        let sql = "SELECT UID, FIELD_ID, NAME, LABEL, CAST(TYPE AS TEXT), VALUE, DISPLAY FROM custom_fields";
        let mut fields: BTreeMap<i64, Fields> = BTreeMap::new();
        for (id, field, members) in self.query(sql, |row| {
            let members = [2, 3, 4, 5, 6].map(|column| row.get(column).expect("a member"));
            (row.get(0).expect("a ticket"), row.get(1).expect("a field"), members)
        }) {
            fields.entry(id).or_default().insert(field, members);
        }
        fields
    }

    /// The tickets whose custom fields are still to be fetched.
    pub(crate) fn pending_custom_fields(&self) -> Vec<i64> {
        let sql = "SELECT UID FROM pending_fetches WHERE kind = 'custom_fields'";
        self.query(sql, |row| row.get(0).expect("a ticket"))
    }

    /// The tickets that are listed but could not be read.
    pub(crate) fn pending_tickets(&self) -> Vec<i64> {
        let sql = "SELECT UID FROM pending_fetches WHERE kind = 'ticket'";
        self.query(sql, |row| row.get(0).expect("a ticket"))
    }

    /// The attributes of each ticket whose value could not be read.
    pub(crate) fn rejected_values(&self) -> BTreeMap<i64, BTreeSet<String>> {
        let sql = "SELECT UID, attribute FROM rejects WHERE UID IS NOT NULL";
        let mut rejected: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        for (id, attribute) in
            self.query(sql, |row| (row.get(0).expect("a ticket"), row.get(1).expect("an attribute")))
        {
            rejected.entry(id).or_default().insert(attribute);
        }
        rejected
    }

    /// How many rows without an id the last full scan showed.
    pub(crate) fn rows_without_id(&self) -> usize {
        let sql = "SELECT count FROM rejects WHERE UID IS NULL AND attribute IS NULL";
        self.query(sql, |row| row.get::<_, u32>(0).expect("a number"))
            .into_iter()
            .map(|count| count as usize)
            .sum()
    }

    /// The tickets whose custom fields are neither known nor pending, and that are not unlisted either.
    pub(crate) fn forgotten_custom_fields(&self) -> Vec<i64> {
        let sql = "SELECT UID FROM ticket_state WHERE fields_hash IS NULL
                   AND UID NOT IN (SELECT UID FROM pending_fetches) AND UID NOT IN (SELECT UID FROM unlisted_tickets)";
        self.query(sql, |row| row.get(0).expect("a ticket"))
    }

    /// The events that show in the database after a run with this id.
    pub(crate) fn events_after(&self, run_id: i64) -> Vec<CoverageEvent> {
        let queries = [
            (CoverageEvent::FetchesPending, "SELECT EXISTS (SELECT 1 FROM pending_fetches)"),
            (
                CoverageEvent::NameMissing,
                "SELECT EXISTS (SELECT 1 FROM reference_lists WHERE unknown_ids IS NOT NULL)",
            ),
            (
                CoverageEvent::ListHalfRead,
                "SELECT EXISTS (SELECT 1 FROM reference_lists WHERE next_page IS NOT NULL)",
            ),
            (
                CoverageEvent::ForbiddenTicketKept,
                "SELECT EXISTS (SELECT 1 FROM unlisted_tickets WHERE status = 'forbidden')",
            ),
            (
                CoverageEvent::TicketsPending,
                "SELECT EXISTS (SELECT 1 FROM pending_fetches WHERE kind = 'ticket')",
            ),
            (CoverageEvent::ValuesRejected, "SELECT EXISTS (SELECT 1 FROM rejects WHERE UID IS NOT NULL)"),
            (
                CoverageEvent::RowsRejected,
                "SELECT EXISTS (SELECT 1 FROM rejects WHERE UID IS NULL AND attribute IS NULL)",
            ),
            (
                CoverageEvent::ShortfallAccepted,
                "SELECT EXISTS (SELECT 1 FROM watermark_journal WHERE reason = 'accepted_shortfall' AND run_id > ?1)",
            ),
            (
                CoverageEvent::Repaired,
                "SELECT EXISTS (SELECT 1 FROM changes WHERE reason = 'repaired' AND run_id > ?1)",
            ),
            (
                CoverageEvent::StoredAfterPurge,
                "SELECT EXISTS (SELECT 1 FROM changes c WHERE op = 'c' AND run_id > ?1 AND EXISTS
                     (SELECT 1 FROM changes e WHERE e.UID = c.UID AND e.reason = 'erased' AND e.seq < c.seq))",
            ),
            (
                CoverageEvent::CustomFieldsFetched,
                "SELECT EXISTS (SELECT 1 FROM changes WHERE reason = 'custom_fields' AND run_id > ?1)",
            ),
            (
                CoverageEvent::ScopeChanged,
                "SELECT EXISTS (SELECT 1 FROM watermark_journal WHERE reason = 'scope_changed' AND run_id > ?1)",
            ),
        ];
        let is_true = |sql: &str| {
            let parameters: &[i64] = if sql.contains("?1") { &[run_id] } else { &[] };
            let results = self.query_with(sql, rusqlite::params_from_iter(parameters), |row| {
                row.get(0).expect("a truth value")
            });
            results.first() == Some(&true)
        };
        queries.into_iter().filter(|(_, sql)| is_true(sql)).map(|(event, _)| event).collect()
    }

    pub(crate) fn tickets(&self) -> Tickets {
        let columns = *COLUMNS;
        let row = |row: &rusqlite::Row<'_>| {
            let values = (1..=columns).map(|column| attribute_value(row.get_ref(column).expect("a column")));
            (row.get(0).expect("an id"), values.collect())
        };
        self.query(&TICKETS, row).into_iter().collect()
    }

    /// The names of the tables that follow from the seed, in order: all but the identity that is drawn when a database is
    /// created.
    pub(crate) fn tables(&self) -> Vec<String> {
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                   AND name NOT IN ('lineage', 'refinery_schema_history') ORDER BY name";
        self.query(sql, |row| row.get(0).expect("a name"))
    }

    /// Passes the name and then each row of each table to `write`.
    pub(crate) fn dump(&self, tables: &[String], write: &mut dyn FnMut(&str)) {
        for table in tables {
            let rows = self.query(&format!("SELECT * FROM {table} ORDER BY 1"), |row| {
                let columns = row.as_ref().column_count();
                (0..columns)
                    .map(|column| format!("{:?}", row.get_ref(column).expect("a column")))
                    .collect::<Vec<_>>()
                    .join("|")
            });
            write(table);
            for row in &rows {
                write(row);
            }
        }
    }

    /// The result of SQLite's integrity check, `ok` if the file is intact.
    pub(crate) fn integrity(&self) -> String {
        self.query("PRAGMA integrity_check", |row| row.get::<_, String>(0).expect("a result")).join("; ")
    }

    /// The number that a query with two parameters has.
    pub(crate) fn number(&self, sql: &str, parameters: [i64; 2]) -> i64 {
        self.query_with(sql, parameters, |row| row.get(0).expect("a number")).pop().unwrap_or(0)
    }

    pub(crate) fn query<T>(&self, sql: &str, read: impl Fn(&rusqlite::Row<'_>) -> T) -> Vec<T> {
        self.query_with(sql, [], read)
    }

    /// Queries with parameters. A statement is prepared once, so its text should not vary.
    fn query_with<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl Fn(&rusqlite::Row<'_>) -> T,
    ) -> Vec<T> {
        let mut statement = self.0.prepare_cached(sql).expect(sql);
        let rows = statement.query_map(parameters, |row| Ok(read(row))).expect(sql);
        rows.map(|row| row.expect(sql)).collect()
    }
}
