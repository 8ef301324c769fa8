//! A database that a test writes itself, and the real binary that exports it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use halosync::reference::{ReferenceTable, parse_reference_list};
use halosync::scope::{MAPPING_VERSION, Scope};
use halosync::store::{MoveReason, Removal, RemovalReason, RunKind, Store, StoreOptions, TxEnd};
use halosync::ticket::{AttributeValue, Timestamp};
use halosync::watermark::{Watermark, WatermarkState};
use serde_json::{Value as Json, json};

use crate::support::database::{attribute_value, observed_tickets};
use crate::support::file_names;
use crate::support::test_env::{NO_SERVER, TestEnv};

/// Tickets by id, each with its attributes in the order of their names.
pub(crate) type StoredTickets = BTreeMap<i64, Vec<AttributeValue>>;

/// Texts that have broken exports elsewhere.
pub(crate) const HOSTILE_TEXTS: [&str; 16] = [
    "",
    "\"quoted\", and \"\"doubly\"\"",
    "a line\nand a line",
    "a line\r\nand a line",
    "a lone \r in the middle",
    "\r",
    "\n",
    "=HYPERLINK(\"http://x\")",
    "+1-1@x",
    "-1",
    "@SUM(A1)",
    "\u{202e}right to left\u{202c} \u{200f}\u{1F9D1}\u{200D}\u{1F680}",
    "one\u{2028}two\u{2029}three\u{85}four",
    "\\. \\N \\n \\r \\\\",
    "' \t, ;|\t",
    "\u{FEFF}NULL null None nan",
];

pub(crate) fn now() -> Timestamp {
    Timestamp::new(Utc::now()).unwrap()
}

pub(crate) fn open_store(database: &Path) -> Store {
    let options = StoreOptions {
        busy_timeout: Duration::from_secs(10),
        full_text: false,
        index_last_modified: false,
        now: now(),
    };
    Store::open(database, &options).unwrap()
}

/// Stores rows of the ticket list, as a run would.
pub(crate) fn store_rows(mut store: Store, rows: &[Json], custom_fields: bool) {
    let request_no = store.read(|tx| tx.greatest_seq()).unwrap() + 1;
    let observed = observed_tickets(request_no, rows, custom_fields);
    store.write(TxEnd::Commit, |tx| tx.upsert(&observed, 1, now())).unwrap();
    store.close().unwrap();
}

/// A ticket as the server lists it.
pub(crate) fn ticket_row(id: i64, summary: &str) -> Json {
    json!({ "id": id, "summary": summary, "status_id": 2, "last_update": "2026-11-22T11:00:00" })
}

/// A test environment without a server, whose database has a watermark; the test stores and removes the tickets.
pub(crate) struct ExportEnv {
    env: TestEnv<()>,
    /// Whether custom fields are synchronized.
    pub(crate) custom_fields: bool,
}

impl Deref for ExportEnv {
    type Target = TestEnv<()>;

    fn deref(&self) -> &TestEnv<()> {
        &self.env
    }
}

impl ExportEnv {
    /// A database without a ticket; `settings` are sections of `agent.toml`.
    pub(crate) fn new(settings: &str) -> ExportEnv {
        ExportEnv::with_custom_fields(settings, false)
    }

    pub(crate) fn with_custom_fields(settings: &str, custom_fields: bool) -> ExportEnv {
        let env = TestEnv::builder().settings(settings).in_memory().run_in_directory().for_server(NO_SERVER);
        let env = ExportEnv { env, custom_fields };
        let watermark = Watermark {
            scope: Scope {
                server: NO_SERVER.into(),
                tenant: String::new(),
                ticket_types: Vec::new(),
                custom_fields,
                mapping: MAPPING_VERSION,
            },
            state: WatermarkState::Incremental,
            covered_until: Some(now()),
            newest_seen: None,
            canary: None,
            initial_started_at: None,
            initial_last_id: None,
        };
        let mut store = env.store();
        store
            .write(TxEnd::Commit, |tx| {
                let run = tx.begin_run(RunKind::Sync, now())?;
                tx.set_watermark(&watermark, Some(MoveReason::Verified), Some(run), now())
            })
            .unwrap();
        store.close().unwrap();
        env
    }

    /// The directory of a consumer's packages.
    pub(crate) fn deltas(&self, consumer: &str) -> PathBuf {
        self.path("export/deltas").join(consumer)
    }

    pub(crate) fn store(&self) -> Store {
        open_store(&self.path("halosync.db"))
    }

    /// Stores rows of the ticket list, as a run would.
    pub(crate) fn store_rows(&self, rows: &[Json]) {
        store_rows(self.store(), rows, self.custom_fields);
    }

    /// Stores the whole list of a reference table, as a run would.
    pub(crate) fn store_names(&self, table: &str, rows: &Json) {
        let table = ReferenceTable::named(table).unwrap();
        let list = parse_reference_list(table, rows.to_string().as_bytes()).unwrap();
        let mut store = self.store();
        store.write(TxEnd::Commit, |tx| tx.store_reference_list(table, &list, 1, now())).unwrap();
        store.close().unwrap();
    }

    pub(crate) fn remove_tickets(&self, ids: &[i64]) {
        let removals: Vec<_> = ids.iter().map(|id| Removal::new(*id, RemovalReason::Deleted)).collect();
        let mut store = self.store();
        store.write(TxEnd::Commit, |tx| tx.remove(&removals, 1, now())).unwrap();
        store.close().unwrap();
    }

    /// Runs a command with `--json` that must fail; returns its exit status and error output.
    pub(crate) fn run_err(&self, arguments: &[&str]) -> (i32, String) {
        let result = self.run_json(arguments);
        assert_ne!(result.status, Some(0), "{arguments:?}: {}", result.stdout);
        (result.status.expect("an exit status"), result.stderr)
    }

    pub(crate) fn last_seq(&self) -> i64 {
        self.number("SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)")
    }

    pub(crate) fn tickets(&self) -> StoredTickets {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT * FROM tickets").unwrap();
        let id = statement.column_names().position(|name| name == "UID").unwrap();
        let mut columns: Vec<_> = statement.column_names().map(ToOwned::to_owned).enumerate().collect();
        columns.sort_by(|left, right| left.1.cmp(&right.1));
        let mut rows = statement.query([]).unwrap();
        let mut tickets = StoredTickets::new();
        while let Some(row) = rows.next().unwrap() {
            let value = |column| attribute_value(row.get_ref(column).unwrap());
            tickets.insert(row.get(id).unwrap(), columns.iter().map(|(column, _)| value(*column)).collect());
        }
        if self.custom_fields {
            let mut fields = self.custom_fields_by_ticket();
            for (id, cells) in &mut tickets {
                let fields = fields.remove(id).unwrap_or_default();
                cells.push(AttributeValue::Text(Json::Array(fields).to_string()));
            }
            assert!(fields.is_empty(), "custom fields of tickets that are not stored: {fields:?}");
        } else {
            for cells in tickets.values_mut() {
                cells.push(AttributeValue::Null);
            }
        }
        for (id, cells) in &mut tickets {
            cells.push(
                self.extras(*id).map_or(AttributeValue::Null, |it| AttributeValue::Text(it.to_string())),
            );
        }
        tickets
    }

    /// What is stored of a ticket beside the attributes, in the form that packages have.
    fn extras(&self, id: i64) -> Option<Json> {
        let columns = ["CLOSED_AT", "RESPONDED_AT", "ASSIGNED_AT", "PARENT_ID"];
        let sql = format!("SELECT {} FROM ticket_extra WHERE UID = ?1", columns.join(", "));
        let connection = self.connection();
        let row = connection.query_row(&sql, [id], |row| {
            let value = |index| match attribute_value(row.get_ref(index).unwrap()) {
                AttributeValue::Integer(number) => json!(number),
                AttributeValue::Text(text) => json!(text),
                _ => Json::Null,
            };
            Ok(columns.iter().enumerate().map(|(index, name)| ((*name).to_owned(), value(index))).collect())
        });
        row.ok()
    }

    /// The custom fields by ticket, in the form that packages have, see `docs/loading.md`.
    fn custom_fields_by_ticket(&self) -> BTreeMap<i64, Vec<Json>> {
        let connection = self.connection();
        let sql = "SELECT UID, FIELD_ID, NAME, LABEL, TYPE, VALUE, DISPLAY FROM custom_fields
             ORDER BY UID, FIELD_ID";
        let mut statement = connection.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut fields: BTreeMap<i64, Vec<Json>> = BTreeMap::new();
        while let Some(row) = rows.next().unwrap() {
            let text = |column| row.get::<_, Option<String>>(column).unwrap();
            let field = json!({
                "FIELD_ID": row.get::<_, i64>(1).unwrap(), "NAME": text(2), "LABEL": text(3), "TYPE": row.get::<_, Option<i64>>(4).unwrap(),
                "VALUE": text(5), "DISPLAY": text(6),
            });
            fields.entry(row.get(0).unwrap()).or_default().push(field);
        }
        fields
    }

    /// Copies the database files, for [`ExportEnv::restore_database`].
    pub(crate) fn back_up_database(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let files = ["halosync.db", "halosync.db-wal", "halosync.db-shm"];
        files.into_iter().filter_map(|name| Some((name, fs::read(self.path(name)).ok()?))).collect()
    }

    pub(crate) fn restore_database(&self, backup: &BTreeMap<&'static str, Vec<u8>>) {
        for (name, bytes) in backup {
            fs::write(self.path(name), bytes).unwrap();
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All files below a directory, by their relative paths.
pub(crate) fn read_files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn read_below(directory: &Path, below: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for name in file_names(directory) {
            let path = directory.join(&name);
            if path.is_dir() {
                read_below(&path, &below.join(&name), found);
            } else {
                found.insert(below.join(&name), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    read_below(directory, Path::new(""), &mut found);
    found
}
