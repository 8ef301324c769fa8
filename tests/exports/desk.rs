//! A copy with a history of its own, and the real program on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use chrono::Utc;
use halosync::scope::{MAPPING_VERSION, Scope};
use halosync::store::{
    CustomFieldsState, MoveReason, ObservedTicket, Removal, RemovalReason, RunKind, Store, StoreOptions, TxEnd,
};
use halosync::ticket::parse::ParsedPage;
use halosync::ticket::{AttributeValue, Timestamp};
use halosync::watermark::{Watermark, WatermarkState};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value as Json, json};
use tempfile::TempDir;

/// Tickets by number, each with its attributes in the order of their names.
pub(crate) type Tickets = BTreeMap<i64, Vec<AttributeValue>>;

pub(crate) const SERVER: &str = "http://127.0.0.1:9";

/// Texts that have broken exports elsewhere.
pub(crate) const HOSTILE: [&str; 16] = [
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

/// A ticket as the server lists it.
pub(crate) fn ticket(id: i64, summary: &str) -> Json {
    json!({ "id": id, "summary": summary, "status_id": 2, "last_update": "2026-11-22T11:00:00" })
}

/// A folder with settings and a database.
pub(crate) struct Desk {
    pub(crate) folder: TempDir,
    /// Whether custom fields are copied.
    pub(crate) custom_fields: bool,
}

impl Desk {
    /// A copy without a ticket that has been complete once.
    pub(crate) fn new(settings: &str) -> Desk {
        Desk::of(settings, false)
    }

    /// The same, with custom fields or without.
    pub(crate) fn of(settings: &str, custom_fields: bool) -> Desk {
        // In memory where that can be had: a disk that is slow would only be waited for.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(place).unwrap();
        let text = format!("[halo]\nserver_url = \"{SERVER}\"\nclient_id = \"x\"\n{settings}\n");
        fs::write(folder.path().join("agent.toml"), text).unwrap();
        let desk = Desk { folder, custom_fields };
        let mark = Watermark {
            scope: Scope {
                server: SERVER.into(),
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
        let mut store = desk.store();
        store
            .write(TxEnd::Commit, |writing| {
                let run = writing.begin_run(RunKind::Sync, now())?;
                writing.set_watermark(&mark, Some(MoveReason::Verified), Some(run), now())
            })
            .unwrap();
        store.close().unwrap();
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of a consumer.
    pub(crate) fn deltas(&self, consumer: &str) -> PathBuf {
        self.path("export/deltas").join(consumer)
    }

    pub(crate) fn store(&self) -> Store {
        let options = StoreOptions {
            busy_timeout: Duration::from_secs(10),
            full_text: false,
            index_last_modified: false,
            now: now(),
        };
        Store::open(&self.path("halosync.db"), &options).unwrap()
    }

    /// Stores rows of the list, as a pass would.
    pub(crate) fn apply(&self, rows: &[Json]) {
        let page = json!({ "record_count": rows.len(), "tickets": rows }).to_string();
        let tickets = ParsedPage::parse(page.as_bytes()).unwrap().tickets;
        let mut store = self.store();
        let request_no = store.read(|it| it.greatest_seq()).unwrap() + 1;
        let seen: Vec<_> = tickets
            .into_iter()
            .map(|mut ticket| {
                ticket.resolve_status_name(|_| Some("In Progress".into()));
                let shown = ticket.take_custom_fields();
                let told = if self.custom_fields {
                    CustomFieldsState::Provided(shown.unwrap_or_default())
                } else {
                    CustomFieldsState::NotSynced
                };
                ObservedTicket { hash: ticket.hash(), ticket, custom_fields: told, request_no }
            })
            .collect();
        store.write(TxEnd::Commit, |writing| writing.upsert(&seen, 1, now())).unwrap();
        store.close().unwrap();
    }

    pub(crate) fn remove(&self, ids: &[i64]) {
        let departed: Vec<_> =
            ids.iter().map(|id| Removal { id: *id, reason: RemovalReason::Deleted }).collect();
        let mut store = self.store();
        store.write(TxEnd::Commit, |writing| writing.remove(&departed, 1, now())).unwrap();
        store.close().unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halosync"));
        command.env_clear().arg("-c").arg(self.path("agent.toml")).arg("--json").args(arguments);
        command.current_dir(self.folder.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command says that must end well.
    pub(crate) fn good(&self, arguments: &[&str]) -> Json {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The status of a command that must not end well, and its error.
    pub(crate) fn bad(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", text(&output.stdout));
        (output.status.code().unwrap(), text(&output.stderr))
    }

    pub(crate) fn connection(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(self.path("halosync.db"), flags).unwrap()
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.connection().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn last_seq(&self) -> i64 {
        self.number("SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)")
    }

    pub(crate) fn tickets(&self) -> Tickets {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT * FROM tickets").unwrap();
        let id = statement.column_names().position(|name| name == "UID").unwrap();
        let mut columns: Vec<_> = statement.column_names().map(ToOwned::to_owned).enumerate().collect();
        columns.sort_by(|left, right| left.1.cmp(&right.1));
        let mut rows = statement.query([]).unwrap();
        let mut tickets = Tickets::new();
        while let Some(row) = rows.next().unwrap() {
            let value = |place| match row.get_ref(place).unwrap() {
                ValueRef::Null => AttributeValue::Null,
                ValueRef::Integer(number) => AttributeValue::Integer(number),
                ValueRef::Real(number) => AttributeValue::Real(number),
                ValueRef::Text(text) => AttributeValue::Text(String::from_utf8(text.to_vec()).unwrap()),
                ValueRef::Blob(_) => panic!("a blob in `tickets`"),
            };
            tickets.insert(row.get(id).unwrap(), columns.iter().map(|(place, _)| value(*place)).collect());
        }
        if self.custom_fields {
            let mut fields = self.fields();
            for (id, cells) in &mut tickets {
                let fields = fields.remove(id).unwrap_or_default();
                cells.push(AttributeValue::Text(Json::Object(fields).to_string()));
            }
            assert!(fields.is_empty(), "custom fields of tickets that are not here: {fields:?}");
        }
        tickets
    }

    /// The custom fields by ticket, each as `docs/loading.md` says that packages hold them.
    fn fields(&self) -> BTreeMap<i64, Map<String, Json>> {
        let connection = self.connection();
        let sql = "SELECT UID, FIELD_ID, NAME, LABEL, TYPE, VALUE, DISPLAY FROM custom_fields";
        let mut statement = connection.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut fields: BTreeMap<i64, Map<String, Json>> = BTreeMap::new();
        while let Some(row) = rows.next().unwrap() {
            let text = |place| row.get::<_, Option<String>>(place).unwrap();
            let field = json!({
                "NAME": text(2), "LABEL": text(3), "TYPE": row.get::<_, Option<i64>>(4).unwrap(),
                "VALUE": text(5), "DISPLAY": text(6),
            });
            let number: i64 = row.get(1).unwrap();
            fields.entry(row.get(0).unwrap()).or_default().insert(number.to_string(), field);
        }
        fields
    }

    /// Puts the database aside, as a backup does; `restore` puts it back.
    pub(crate) fn back_up(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let files = ["halosync.db", "halosync.db-wal", "halosync.db-shm"];
        files.into_iter().filter_map(|name| Some((name, fs::read(self.path(name)).ok()?))).collect()
    }

    pub(crate) fn restore(&self, backup: &BTreeMap<&'static str, Vec<u8>>) {
        for (name, bytes) in backup {
            fs::write(self.path(name), bytes).unwrap();
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All files below a folder, by their path in it.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn look(folder: &Path, below: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for name in names(folder) {
            let path = folder.join(&name);
            if path.is_dir() {
                look(&path, &below.join(&name), found);
            } else {
                found.insert(below.join(&name), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    look(folder, Path::new(""), &mut found);
    found
}
