//! Reads the local database of a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use halosync::store::{CustomFieldsState, ObservedTicket};
use halosync::ticket::AttributeValue;
use halosync::ticket::attribute::STATUS_ID;
use halosync::ticket::parse::ParsedPage;
use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::mapping::{self, Fields, Tickets};

/// A database file. Every query opens it anew and read-only, because programs under test write to it, replace it and
/// remove it.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    path: PathBuf,
}

impl Database {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Database {
        Database { path: path.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn connection(&self) -> Connection {
        self.try_connection().expect("a database")
    }

    fn try_connection(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(&self.path, flags)
    }

    /// The first column of the first row of a query.
    pub(crate) fn value<T: FromSql>(&self, sql: &str) -> T {
        self.connection()
            .query_row(sql, [], |row| row.get(0))
            .unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    /// The same, where it is a number.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.value(sql)
    }

    /// The same as [`Database::value`], or nothing where there is no database, table or row yet.
    pub(crate) fn try_value<T: FromSql>(&self, sql: &str) -> Option<T> {
        self.try_connection().and_then(|it| it.query_row(sql, [], |row| row.get(0))).ok()
    }

    /// The first column of a query, as text.
    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        self.query(sql, |row| row.get(0))
    }

    /// The rows of a query.
    pub(crate) fn query<T>(
        &self,
        sql: &str,
        row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Vec<T> {
        let database = self.connection();
        let mut statement = database.prepare(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
        let rows = statement.query_map([], row).unwrap();
        rows.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    pub(crate) fn change_count(&self) -> i64 {
        self.value("SELECT COUNT(*) FROM changes")
    }

    /// The stored tickets by id, their attributes in the order of [`mapping::columns`].
    pub(crate) fn tickets(&self) -> Tickets {
        let columns: Vec<_> = mapping::columns().map(|name| format!("\"{name}\"")).collect();
        let sql = format!("SELECT UID, {} FROM tickets", columns.join(", "));
        let rows = self.query(&sql, |row| {
            let values = (1..=columns.len()).map(|column| Ok(attribute_value(row.get_ref(column)?)));
            Ok((row.get(0)?, values.collect::<rusqlite::Result<_>>()?))
        });
        rows.into_iter().collect()
    }

    /// The rows of `custom_fields`, by ticket.
    pub(crate) fn custom_fields(&self) -> BTreeMap<i64, Fields> {
        let sql = "SELECT UID, FIELD_ID, NAME, LABEL, CAST(TYPE AS TEXT), VALUE, DISPLAY FROM custom_fields";
        let rows = self.query(sql, |row| {
            let mut members = [const { None }; 5];
            for (column, member) in (2_usize..).zip(&mut members) {
                *member = row.get(column)?;
            }
            Ok((row.get(0)?, row.get(1)?, members))
        });
        let mut fields: BTreeMap<i64, Fields> = BTreeMap::new();
        for (ticket, field, members) in rows {
            fields.entry(ticket).or_default().insert(field, members);
        }
        fields
    }

    /// Damages the first page of an index that no ordinary query reads. The database must not be open anywhere.
    pub(crate) fn damage(&self, index: &str) {
        let root: u32 = self.value(&format!("SELECT rootpage FROM sqlite_master WHERE name = '{index}'"));
        let mut bytes = fs::read(&self.path).unwrap();
        let end = root as usize * 4096;
        bytes[end - 4096..end].fill(0x5A);
        fs::write(&self.path, bytes).unwrap();
    }
}

/// A value of SQLite as the value of an attribute.
pub(crate) fn attribute_value(value: ValueRef<'_>) -> AttributeValue {
    match value {
        ValueRef::Null => AttributeValue::Null,
        ValueRef::Integer(number) => AttributeValue::Integer(number),
        ValueRef::Real(number) => AttributeValue::Real(number),
        ValueRef::Text(text) => AttributeValue::Text(String::from_utf8(text.to_vec()).expect("UTF-8")),
        ValueRef::Blob(_) => panic!("no attribute is a blob"),
    }
}

/// Rows of the ticket list, as a run observes them in the response to request `request_no`.
pub(crate) fn observed_tickets(request_no: i64, rows: &[Json], custom_fields: bool) -> Vec<ObservedTicket> {
    let page = json!({ "record_count": rows.len(), "tickets": rows }).to_string();
    let tickets = ParsedPage::parse(page.as_bytes()).unwrap().tickets;
    let observed = tickets.into_iter().map(|mut ticket| {
        let status = ticket.integer(STATUS_ID).map(|status| (status, Some("In Progress".to_owned())));
        ticket.resolve_status_name(&status.into_iter().collect());
        let provided = ticket.take_custom_fields();
        let custom_fields = if custom_fields {
            CustomFieldsState::Provided(provided.unwrap_or_default())
        } else {
            CustomFieldsState::NotSynced
        };
        ObservedTicket { hash: ticket.hash(), ticket, custom_fields, request_no }
    });
    observed.collect()
}

/// A temporary directory in memory where the machine has room for one: a slow disk would only add waiting.
pub(crate) fn temporary_directory_in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |it| it.f_bavail * it.f_frsize);
    if 1 << 30 <= free { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}
