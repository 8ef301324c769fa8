//! The prepared statements that write `tickets`, `ticket_state`, `custom_fields` and `changes`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, ToSql};

use super::reject_group::RejectGroup;
use super::{CustomFieldsState, ObservedTicket};
use crate::store::StoreError;
use crate::ticket::attribute::{ATTRIBUTE_COUNT, SOURCE_LAST_MODIFIED, UID};
use crate::ticket::{ATTRIBUTES, AttributeValue, CellValue, CustomFields, Op, Ticket, TicketDiff};

/// A row of `ticket_state`.
pub(super) struct TicketState {
    pub(super) hash: Option<i64>,
    pub(super) request_no: i64,
    /// The hash of the custom fields of the stored version; `None` if they are not known.
    pub(super) fields_hash: Option<i64>,
    /// The number of the request whose custom fields are stored.
    pub(super) fields_no: Option<i64>,
    /// What is rejected of the ticket.
    pub(super) rejected: Option<String>,
    /// The hash of the row as received, if attributes were rejected.
    received_hash: Option<i64>,
}

impl TicketState {
    /// Whether a received ticket does not differ from the stored one, and nothing else of it is rejected.
    pub(super) fn is_unchanged_by(&self, observed: &ObservedTicket) -> bool {
        let fields = match &observed.custom_fields {
            CustomFieldsState::NotSynced => true,
            CustomFieldsState::NotProvided => self.fields_hash.is_some(),
            CustomFieldsState::Provided(fields) => {
                self.fields_hash == Some(stored_hash(fields.hash()))
                    && !fields.has_rejected_values()
                    && !RejectGroup::CustomFields.is_in(self.rejected.as_deref())
            }
        };
        fields
            && if observed.ticket.rejected_values().is_empty() {
                self.has_same_row(observed) && !RejectGroup::Attributes.is_in(self.rejected.as_deref())
            } else {
                // The row was merged with the stored one when it was received first.
                self.hash.is_some()
                    && self.received_hash == Some(stored_hash(observed.ticket.received_hash()))
            }
    }

    fn has_same_row(&self, observed: &ObservedTicket) -> bool {
        self.hash == Some(stored_hash(observed.hash))
    }
}

/// The prepared statements of one batch.
pub(super) struct UpsertStatements<'c> {
    select_state: CachedStatement<'c>,
    select_row: CachedStatement<'c>,
    insert_row: CachedStatement<'c>,
    update_row: CachedStatement<'c>,
    insert_state: CachedStatement<'c>,
    update_state: CachedStatement<'c>,
    insert_change: CachedStatement<'c>,
    select_has_record: CachedStatement<'c>,
    pub(super) connection: &'c Connection,
}

/// A row of `changes` without its number.
#[derive(Clone, Copy)]
pub(super) struct ChangeRecord<'a> {
    pub(super) id: i64,
    pub(super) op: Op,
    pub(super) reason: Option<&'a str>,
    pub(super) last_modified: Option<&'a str>,
    pub(super) changed: Option<&'a str>,
    pub(super) last_row: Option<&'a str>,
}

/// The run that writes, and the time by the local clock.
#[derive(Clone, Copy)]
pub(super) struct WriteContext<'a> {
    pub(super) run_id: i64,
    pub(super) now: &'a str,
}

impl<'c> UpsertStatements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> Result<UpsertStatements<'c>, StoreError> {
        Ok(UpsertStatements {
            select_state: connection.prepare_cached(
                "SELECT hash, request_no, fields_hash, fields_no, rejected, received_hash
                 FROM ticket_state WHERE UID = ?1",
            )?,
            select_row: connection.prepare_cached(&SELECT_ROW)?,
            insert_row: connection.prepare_cached(&INSERT)?,
            update_row: connection.prepare_cached(&UPDATE)?,
            insert_state: connection.prepare_cached(
                "INSERT INTO ticket_state (UID, hash, request_no, first_seen_at, last_seen_at, last_seq)
                 VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
            )?,
            update_state: connection.prepare_cached(
                "UPDATE ticket_state SET hash = ?2, request_no = ?3, last_seen_at = ?4, last_seq = ?5 WHERE UID = ?1",
            )?,
            insert_change: connection.prepare_cached(
                "INSERT INTO changes (UID, op, reason, observed_at, source_last_modified, run_id, changed, last_row)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            select_has_record: connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM changes WHERE UID = ?1)")?,
            connection,
        })
    }

    pub(super) fn stored_state(&mut self, id: i64) -> Result<Option<TicketState>, StoreError> {
        let state = self.select_state.query_row([id], |row| {
            Ok(TicketState {
                hash: row.get(0)?,
                request_no: row.get(1)?,
                fields_hash: row.get(2)?,
                fields_no: row.get(3)?,
                rejected: row.get(4)?,
                received_hash: row.get(5)?,
            })
        });
        Ok(state.optional()?)
    }

    pub(super) fn stored_row(&mut self, id: i64) -> Result<Vec<AttributeValue>, StoreError> {
        let row = self.select_row.query_row([id], |row| {
            (0..ATTRIBUTE_COUNT).map(|position| Ok(cell(row.get_ref(position)?).into())).collect()
        });
        Ok(row?)
    }

    pub(super) fn create(
        &mut self,
        observed: &ObservedTicket,
        context: WriteContext<'_>,
    ) -> Result<(), StoreError> {
        let ObservedTicket { ticket, hash, custom_fields, request_no } = observed;
        execute(&mut self.insert_row, ticket)?;
        let returned: bool = self.select_has_record.query_row([ticket.id()], |row| row.get(0))?;
        let record = ChangeRecord {
            reason: returned.then_some("returned"),
            last_modified: last_modified(ticket.values()),
            ..ChangeRecord::new(ticket.id(), Op::Create)
        };
        let seq = self.record_change(record, context)?;
        self.insert_state.execute((ticket.id(), stored_hash(*hash), request_no, context.now, seq))?;
        self.replace_attribute_rejects(observed, false, context.now)?;
        match custom_fields {
            CustomFieldsState::NotSynced => Ok(()),
            CustomFieldsState::NotProvided => self.enqueue_fetch(ticket.id(), context.now),
            CustomFieldsState::Provided(fields) => {
                let none = CustomFields::default();
                let fields = fields.with_last_good(&none);
                self.write_custom_fields(ticket.id(), &none, &fields)?;
                self.replace_custom_field_rejects(ticket.id(), &fields, false, context.now)?;
                self.complete_fetch(ticket.id(), &fields, *request_no, context.now)
            }
        }
    }

    /// The ticket to store where a value of the received one cannot be read: with the last good value instead.
    pub(super) fn with_last_good(
        &self,
        observed: &ObservedTicket,
        stored: &[AttributeValue],
    ) -> Result<Option<ObservedTicket>, StoreError> {
        let ObservedTicket { ticket, hash, custom_fields, request_no } = observed;
        let (mut ticket, mut hash, mut custom_fields) =
            (Cow::Borrowed(ticket), *hash, Cow::Borrowed(custom_fields));
        if !ticket.rejected_values().is_empty() {
            ticket = Cow::Owned(ticket.with_last_good(stored));
            hash = ticket.hash();
        }
        if let CustomFieldsState::Provided(fields) = &*custom_fields
            && fields.has_rejected_values()
        {
            let fields = fields.with_last_good(&self.stored_custom_fields(ticket.id())?);
            custom_fields = Cow::Owned(CustomFieldsState::Provided(fields));
        }
        Ok(match (ticket, custom_fields) {
            (Cow::Borrowed(_), Cow::Borrowed(_)) => None,
            (ticket, custom_fields) => Some(ObservedTicket {
                ticket: ticket.into_owned(),
                hash,
                custom_fields: custom_fields.into_owned(),
                request_no: *request_no,
            }),
        })
    }

    /// Stores a newer version and records the difference, and returns whether there was one. Stored custom
    /// fields that come from a later request are kept. Values that cannot be read were replaced before
    /// ([`UpsertStatements::with_last_good`]).
    pub(super) fn update(
        &mut self,
        (state, old): (&TicketState, &[AttributeValue]),
        observed: &ObservedTicket,
        reason: Option<&str>,
        context: WriteContext<'_>,
    ) -> Result<bool, StoreError> {
        let ObservedTicket { ticket, hash, custom_fields, request_no } = observed;
        let id = ticket.id();
        let fields = match custom_fields {
            CustomFieldsState::Provided(fields)
                if state.fields_no.is_none_or(|stored| stored <= *request_no) =>
            {
                Some(fields)
            }
            _ => None,
        };
        let stored = fields.map(|_| self.stored_custom_fields(id)).transpose()?;
        let fields = stored.as_ref().zip(fields);
        let fields_changed = fields.is_some_and(|(stored, received)| stored.fields() != received.fields());
        let changed = fields_changed || !state.has_same_row(observed);
        if changed {
            let row = TicketDiff::between(
                old.iter().map(AttributeValue::as_cell),
                ticket.values().iter().map(AttributeValue::as_cell),
            );
            let change =
                fields.into_iter().fold(row, |row, (stored, new)| row.with_custom_fields(stored, new));
            execute(&mut self.update_row, ticket)?;
            let record = ChangeRecord {
                reason,
                last_modified: last_modified(ticket.values()),
                changed: Some(&change.to_json()),
                ..ChangeRecord::new(id, Op::Update)
            };
            let seq = self.record_change(record, context)?;
            self.update_state.execute((id, stored_hash(*hash), request_no, context.now, seq))?;
        }
        let had_rejects = state.rejected.is_some();
        self.replace_attribute_rejects(observed, had_rejects, context.now)?;
        match (fields, custom_fields) {
            (Some((stored, received)), _) => {
                self.write_custom_fields(id, stored, received)?;
                self.replace_custom_field_rejects(id, received, had_rejects, context.now)?;
                self.complete_fetch(id, received, *request_no, context.now)?;
            }
            (None, CustomFieldsState::NotProvided) if changed => self.requeue_fetch(id, context.now)?,
            (None, CustomFieldsState::NotProvided) => self.enqueue_fetch(id, context.now)?,
            (None, CustomFieldsState::NotSynced | CustomFieldsState::Provided(_)) => {}
        }
        Ok(changed)
    }

    pub(super) fn record_change(
        &mut self,
        record: ChangeRecord<'_>,
        context: WriteContext<'_>,
    ) -> Result<i64, StoreError> {
        let ChangeRecord { id, op, reason, last_modified, changed, last_row } = record;
        let WriteContext { run_id, now } = context;
        self.insert_change.execute((
            id,
            op.as_str(),
            reason,
            now,
            last_modified,
            run_id,
            changed,
            last_row,
        ))?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Records a change of a stored ticket without writing its row in `tickets`.
    pub(super) fn record_change_only(
        &mut self,
        record: ChangeRecord<'_>,
        context: WriteContext<'_>,
    ) -> Result<(), StoreError> {
        let seq = self.record_change(record, context)?;
        self.connection
            .prepare_cached("UPDATE ticket_state SET last_seq = ?2 WHERE UID = ?1")?
            .execute((record.id, seq))?;
        Ok(())
    }
}

impl ChangeRecord<'_> {
    pub(super) const fn new(id: i64, op: Op) -> ChangeRecord<'static> {
        ChangeRecord { id, op, reason: None, last_modified: None, changed: None, last_row: None }
    }
}

/// The text of `SOURCE_LAST_MODIFIED` in a row.
pub(super) fn last_modified(row: &[AttributeValue]) -> Option<&str> {
    match &row[SOURCE_LAST_MODIFIED] {
        AttributeValue::Text(text) => Some(text),
        _ => None,
    }
}

/// Converts a hash to the signed integers of SQLite; its bits stay the same.
pub(super) fn stored_hash(hash: u64) -> i64 {
    hash.cast_signed()
}

fn execute(statement: &mut CachedStatement<'_>, ticket: &Ticket) -> Result<(), StoreError> {
    for (position, value) in ticket.values().iter().enumerate() {
        statement.raw_bind_parameter(position + 1, CellParam(value.as_cell()))?;
    }
    statement.raw_execute()?;
    Ok(())
}

/// A cell as a borrowed parameter.
struct CellParam<'a>(CellValue<'a>);

impl ToSql for CellParam<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            CellValue::Null => ValueRef::Null,
            CellValue::Integer(number) => ValueRef::Integer(number),
            CellValue::Real(number) => ValueRef::Real(number),
            CellValue::Text(text) | CellValue::Json(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// Converts a value of SQLite to a cell. Blobs and invalid UTF-8 become NULL; no column can contain them.
pub(in crate::store) fn cell(value: ValueRef<'_>) -> CellValue<'_> {
    match value {
        ValueRef::Integer(number) => CellValue::Integer(number),
        ValueRef::Real(number) => CellValue::Real(number),
        ValueRef::Text(text) => std::str::from_utf8(text).map_or(CellValue::Null, CellValue::Text),
        ValueRef::Null | ValueRef::Blob(_) => CellValue::Null,
    }
}

/// The attributes as a list of column names, each with `prefix`.
pub(in crate::store) fn columns(prefix: &str) -> String {
    let names = ATTRIBUTES.iter().map(|attribute| format!("{prefix}\"{}\"", attribute.name));
    names.collect::<Vec<_>>().join(", ")
}

static SELECT_ROW: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM tickets WHERE UID = ?1", columns("")));

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let placeholders: Vec<_> = (1..=ATTRIBUTE_COUNT).map(|number| format!("?{number}")).collect();
    format!("INSERT INTO tickets ({}) VALUES ({})", columns(""), placeholders.join(", "))
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
