//! The statements that write `tickets`, `ticket_state`, `custom_fields` and `changes`, and what each of
//! them stands for.

use std::fmt::Write as _;
use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, ToSql};

use super::{Sighting, Told};
use crate::store::StoreError;
use crate::ticket::attribute::{COUNT, SOURCE_LAST_MODIFIED, UID};
use crate::ticket::{ATTRIBUTES, Cell, Change, CustomFields, Oddity, Op, Ticket, Value};

/// What stands in `ticket_state` beside a ticket.
pub(super) struct State {
    pub(super) hash: i64,
    pub(super) request_no: i64,
    /// Of the custom fields of the stored version; `None` where they are not known.
    pub(super) fields_hash: Option<i64>,
    /// Of the request whose custom fields are stored.
    pub(super) fields_no: Option<i64>,
}

impl State {
    /// Whether a sighting brings nothing new.
    pub(super) fn is_of(&self, sighting: &Sighting) -> bool {
        let fields = match &sighting.told {
            Told::Off => true,
            Told::Unknown => self.fields_hash.is_some(),
            Told::Known(fields) => self.fields_hash == Some(stored_hash(fields.hash())),
        };
        fields && self.has_row_of(sighting)
    }

    fn has_row_of(&self, sighting: &Sighting) -> bool {
        self.hash == stored_hash(sighting.hash)
    }
}

/// The prepared statements of one batch.
pub(super) struct Rows<'c> {
    state: CachedStatement<'c>,
    row: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    update: CachedStatement<'c>,
    insert_state: CachedStatement<'c>,
    update_state: CachedStatement<'c>,
    record: CachedStatement<'c>,
    known_before: CachedStatement<'c>,
    pub(super) connection: &'c Connection,
}

/// A line of `changes`, all but its number.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) id: i64,
    pub(super) op: Op,
    pub(super) reason: Option<&'a str>,
    pub(super) modified: Option<&'a str>,
    pub(super) changed: Option<&'a str>,
    pub(super) last_row: Option<&'a str>,
}

/// Which pass writes, and when by the local clock.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) run_id: i64,
    pub(super) now: &'a str,
}

impl<'c> Rows<'c> {
    pub(super) fn of(connection: &'c Connection) -> Result<Rows<'c>, StoreError> {
        Ok(Rows {
            state: connection.prepare_cached(
                "SELECT hash, request_no, fields_hash, fields_no FROM ticket_state WHERE UID = ?1",
            )?,
            row: connection.prepare_cached(&SELECT_ROW)?,
            insert: connection.prepare_cached(&INSERT)?,
            update: connection.prepare_cached(&UPDATE)?,
            insert_state: connection.prepare_cached(
                "INSERT INTO ticket_state (UID, hash, request_no, first_seen_at, last_seen_at, last_seq)
                 VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
            )?,
            update_state: connection.prepare_cached(
                "UPDATE ticket_state SET hash = ?2, request_no = ?3, last_seen_at = ?4, last_seq = ?5 WHERE UID = ?1",
            )?,
            record: connection.prepare_cached(
                "INSERT INTO changes (UID, op, reason, observed_at, source_last_modified, run_id, changed, last_row)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            known_before: connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM changes WHERE UID = ?1)")?,
            connection,
        })
    }

    pub(super) fn state(&mut self, id: i64) -> Result<Option<State>, StoreError> {
        let state = self.state.query_row([id], |row| {
            Ok(State {
                hash: row.get(0)?,
                request_no: row.get(1)?,
                fields_hash: row.get(2)?,
                fields_no: row.get(3)?,
            })
        });
        Ok(state.optional()?)
    }

    pub(super) fn row(&mut self, id: i64) -> Result<Vec<Value>, StoreError> {
        let row = self.row.query_row([id], |row| {
            (0..COUNT).map(|position| Ok(cell(row.get_ref(position)?).into())).collect()
        });
        Ok(row?)
    }

    pub(super) fn create(&mut self, sighting: &Sighting, writer: Writer<'_>) -> Result<(), StoreError> {
        let Sighting { ticket, hash, told, request_no } = sighting;
        execute(&mut self.insert, ticket)?;
        let returned: bool = self.known_before.query_row([ticket.id()], |row| row.get(0))?;
        let created = Record {
            reason: returned.then_some("returned"),
            modified: modified(ticket.values()),
            ..Record::of(ticket.id(), Op::Create)
        };
        let seq = self.record(created, writer)?;
        self.insert_state.execute((ticket.id(), stored_hash(*hash), request_no, writer.now, seq))?;
        self.reject(ticket, writer.now)?;
        match told {
            Told::Off => Ok(()),
            Told::Unknown => self.owe(ticket.id(), writer.now),
            Told::Known(fields) => {
                self.write_fields(ticket.id(), &CustomFields::default(), fields, writer.now)?;
                self.settle_fields(ticket.id(), fields, *request_no)
            }
        }
    }

    /// Writes what differs between the stored version and a newer one, and records it; says whether
    /// anything did. Of custom fields that were read by a later request than the sighting, the stored ones
    /// stay.
    pub(super) fn update(
        &mut self,
        (state, old): (&State, &[Value]),
        sighting: &Sighting,
        reason: Option<&str>,
        writer: Writer<'_>,
    ) -> Result<bool, StoreError> {
        let Sighting { ticket, hash, told, request_no } = sighting;
        let id = ticket.id();
        let fields = match told {
            Told::Known(fields) if state.fields_no.is_none_or(|read| read <= *request_no) => Some(fields),
            _ => None,
        };
        let stored = fields.map(|_| self.fields(id)).transpose()?;
        let fields = stored.as_ref().zip(fields);
        let moved = fields.is_some_and(|(stored, shown)| stored.fields() != shown.fields());
        let changed = moved || !state.has_row_of(sighting);
        if changed {
            let row = Change::between(old.iter().map(Value::cell), ticket.values().iter().map(Value::cell));
            let change = fields.into_iter().fold(row, |row, (stored, shown)| row.and_fields(stored, shown));
            execute(&mut self.update, ticket)?;
            let record = Record {
                reason,
                modified: modified(ticket.values()),
                changed: Some(&change.to_json()),
                ..Record::of(id, Op::Update)
            };
            let seq = self.record(record, writer)?;
            self.update_state.execute((id, stored_hash(*hash), request_no, writer.now, seq))?;
            self.forget_rejects(id)?;
            self.reject(ticket, writer.now)?;
        }
        match (fields, told) {
            (Some((stored, shown)), _) => {
                self.write_fields(id, stored, shown, writer.now)?;
                self.settle_fields(id, shown, *request_no)?;
            }
            (None, Told::Unknown) if changed => self.owe_anew(id, writer.now)?,
            (None, Told::Unknown) => self.owe(id, writer.now)?,
            (None, Told::Off | Told::Known(_)) => {}
        }
        Ok(changed)
    }

    pub(super) fn record(&mut self, record: Record<'_>, writer: Writer<'_>) -> Result<i64, StoreError> {
        let Record { id, op, reason, modified, changed, last_row } = record;
        let Writer { run_id, now } = writer;
        self.record.execute((id, op.letter(), reason, now, modified, run_id, changed, last_row))?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Records a change of a stored ticket that leaves its row in `tickets` as it is.
    pub(super) fn record_beside(&mut self, record: Record<'_>, writer: Writer<'_>) -> Result<(), StoreError> {
        let seq = self.record(record, writer)?;
        self.connection
            .prepare_cached("UPDATE ticket_state SET last_seq = ?2 WHERE UID = ?1")?
            .execute((record.id, seq))?;
        Ok(())
    }

    fn forget_rejects(&self, id: i64) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("DELETE FROM rejects WHERE UID = ?1 AND attribute IS NOT 'customfields'")?
            .execute([id])?;
        Ok(())
    }

    fn reject(&self, ticket: &Ticket, now: &str) -> Result<(), StoreError> {
        for (position, oddity) in ticket.oddities() {
            self.keep_reject(ticket.id(), ATTRIBUTES[*position].name, oddity, now)?;
        }
        Ok(())
    }

    pub(super) fn keep_reject(
        &self,
        id: i64,
        attribute: &str,
        oddity: &Oddity,
        now: &str,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO rejects (UID, attribute, reason, raw, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((id, attribute, oddity.reason, &oddity.raw, now))?;
        Ok(())
    }
}

impl Record<'_> {
    pub(super) const fn of(id: i64, op: Op) -> Record<'static> {
        Record { id, op, reason: None, modified: None, changed: None, last_row: None }
    }
}

/// When the server last updated a row, as it is spelled there.
pub(super) fn modified(row: &[Value]) -> Option<&str> {
    match &row[SOURCE_LAST_MODIFIED] {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// SQLite's integers are signed; the bits are what is compared.
pub(super) fn stored_hash(hash: u64) -> i64 {
    hash.cast_signed()
}

fn execute(statement: &mut CachedStatement<'_>, ticket: &Ticket) -> Result<(), StoreError> {
    for (position, value) in ticket.values().iter().enumerate() {
        statement.raw_bind_parameter(position + 1, Bound(value.cell()))?;
    }
    statement.raw_execute()?;
    Ok(())
}

/// A cell as a parameter, lent and not copied.
struct Bound<'a>(Cell<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Cell::Null => ValueRef::Null,
            Cell::Integer(number) => ValueRef::Integer(number),
            Cell::Real(number) => ValueRef::Real(number),
            Cell::Text(text) | Cell::Json(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// What SQLite lends, as a cell. The columns hold no blobs and only UTF-8, by their checks and writers.
pub(in crate::store) fn cell(value: ValueRef<'_>) -> Cell<'_> {
    match value {
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) => std::str::from_utf8(text).map_or(Cell::Null, Cell::Text),
        ValueRef::Null | ValueRef::Blob(_) => Cell::Null,
    }
}

/// The attributes as a list of columns, each behind `prefix`.
pub(in crate::store) fn columns(prefix: &str) -> String {
    let names = ATTRIBUTES.iter().map(|attribute| format!("{prefix}\"{}\"", attribute.name));
    names.collect::<Vec<_>>().join(", ")
}

static SELECT_ROW: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM tickets WHERE UID = ?1", columns("")));

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let places: Vec<_> = (1..=COUNT).map(|place| format!("?{place}")).collect();
    format!("INSERT INTO tickets ({}) VALUES ({})", columns(""), places.join(", "))
});

static UPDATE: LazyLock<String> = LazyLock::new(|| {
    let mut sets = String::new();
    for (position, attribute) in ATTRIBUTES.iter().enumerate().filter(|(position, _)| *position != UID) {
        let comma = if sets.is_empty() { "" } else { ", " };
        // Writing to a `String` cannot fail.
        let _ = write!(sets, "{comma}\"{}\" = ?{}", attribute.name, position + 1);
    }
    format!("UPDATE tickets SET {sets} WHERE UID = ?{}", UID + 1)
});
