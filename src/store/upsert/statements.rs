//! The prepared statements that write `tickets`, `ticket_state`, `custom_fields` and `changes`.
//!
//! A write of `tickets` empties the hash of the row, a write of `custom_fields` that of the fields
//! (`local_edits`). So the hash is always written after them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, ToSql};

use super::reject_group::RejectGroup;
use super::{CustomFieldsState, ObservedTicket};
use crate::store::{ReadTx, StoreError};
use crate::ticket::attribute::{ATTRIBUTE_COUNT, SOURCE_LAST_MODIFIED, UID, VOLATILE};
use crate::ticket::{ATTRIBUTES, AttributeValue, CellValue, CustomFields, Op, Ticket, TicketDiff};

/// A row of `ticket_state`.
pub(super) struct TicketState {
    /// `None` if another program edited the row.
    pub(super) hash: Option<i64>,
    pub(super) request_no: i64,
    /// The hash of the custom fields of the stored version; `None` if they are not known.
    pub(super) fields_hash: Option<i64>,
    /// The number of the request whose custom fields are stored; 0 if another program edited them.
    pub(super) fields_no: Option<i64>,
    /// What is rejected of the ticket.
    pub(super) rejected: Option<String>,
    /// The hash of the row as received, if attributes were rejected.
    received_hash: Option<i64>,
    /// The newest change record; 0 if `ticket_state` lost the row and no record of the ticket is kept.
    last_seq: i64,
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

    /// Whether another program edited the custom fields.
    pub(super) fn has_edited_fields(&self) -> bool {
        self.fields_no == Some(0) && self.fields_hash.is_none()
    }

    /// The stored custom fields that may stand in for what cannot be read of `received`. Of edited ones no member is known
    /// to be good. But a received set that is not complete leaves those that it does not show: which of them the server
    /// has cannot be known.
    pub(super) fn last_good_fields<'f>(
        &self,
        stored: &'f CustomFields,
        received: &CustomFields,
    ) -> Cow<'f, CustomFields> {
        if !self.has_edited_fields() {
            return Cow::Borrowed(stored);
        }
        let not_shown = stored.fields().iter().filter(|field| received.get(field.id).is_none());
        Cow::Owned(not_shown.cloned().collect::<Vec<_>>().into())
    }
}

/// What is stored of a ticket, as far as it is needed to compare it with a received one.
pub(super) struct StoredVersion {
    pub(super) state: TicketState,
    /// `None` if the row was lost.
    pub(super) row: Option<Vec<AttributeValue>>,
    /// Its `last_update`; that of the newest change record where the row cannot be trusted.
    pub(super) last_modified: Option<String>,
    /// Whether consumers may have the ticket.
    is_recorded: bool,
    /// Whether consumers may lack the ticket.
    is_missed: bool,
    /// Whether the ticket is recorded as deleted.
    is_recorded_as_deleted: bool,
}

impl StoredVersion {
    /// The stored row, if its values may stand in for those that cannot be read. Of an edited row it is not known which
    /// values another program wrote, so that none counts as good: what cannot be read is then NULL, as in a new ticket. An
    /// edit that emptied no hash (a damaged disk, triggers switched off) cannot be known here; such a value stays until
    /// the server's can be read.
    fn last_good_row(&self) -> Option<&[AttributeValue]> {
        self.row.as_deref().filter(|_| self.state.hash.is_some())
    }

    /// The reason of the record that stores a received version: `repaired` if it only undoes an edit by another
    /// program. A newer version is an event of the ticket and stays one, although the old values of its record
    /// are then those of the edit: no change of the server may be missed by who reads `changes`.
    pub(super) fn repair_reason(&self, observed: &ObservedTicket) -> Option<&'static str> {
        let received = last_modified(observed.ticket.values());
        let is_newer =
            self.last_modified.as_deref().zip(received).is_some_and(|(stored, received)| stored < received);
        let is_edited = match (&self.row, self.state.hash) {
            (None, _) => return Some(REPAIRED),
            (Some(_), None) => true,
            (Some(_), Some(_)) => self.state.has_edited_fields() && self.state.has_same_row(observed),
        };
        (is_edited && !is_newer).then_some(REPAIRED)
    }
}

/// The newest change record of a ticket.
struct LastRecord {
    is_deletion: bool,
    last_modified: Option<String>,
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
    select_last_record: CachedStatement<'c>,
    /// Whether an edit by another program was met that is not marked ([`WriteTx::mark_local_edits`]), so that
    /// the full-text index may not agree with the rows.
    ///
    /// [`WriteTx::mark_local_edits`]: crate::store::WriteTx::mark_local_edits
    pub(super) met_unmarked_edit: bool,
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
                "SELECT hash, request_no, fields_hash, fields_no, rejected, received_hash, last_seq
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
            select_last_record: connection.prepare_cached(
                "SELECT op = 'd', source_last_modified FROM changes WHERE UID = ?1 ORDER BY seq DESC LIMIT 1",
            )?,
            met_unmarked_edit: false,
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
                last_seq: row.get(6)?,
            })
        });
        Ok(state.optional()?)
    }

    /// The stored row; `None` if it was lost.
    pub(super) fn stored_row(&mut self, id: i64) -> Result<Option<Vec<AttributeValue>>, StoreError> {
        let row = self.select_row.query_row([id], |row| {
            (0..ATTRIBUTE_COUNT).map(|position| Ok(cell(row.get_ref(position)?).into())).collect()
        });
        Ok(row.optional()?)
    }

    fn last_record(&mut self, id: i64) -> Result<Option<LastRecord>, StoreError> {
        let record = self
            .select_last_record
            .query_row([id], |row| Ok(LastRecord { is_deletion: row.get(0)?, last_modified: row.get(1)? }));
        Ok(record.optional()?)
    }

    /// What is stored of a ticket. Where another program edited or lost the row, the change records say how new
    /// it was and whether consumers have it.
    pub(super) fn stored_version(
        &mut self,
        id: i64,
        state: TicketState,
    ) -> Result<StoredVersion, StoreError> {
        let row = self.stored_row(id)?;
        if let (Some(values), Some(_)) = (&row, state.hash) {
            let last_modified = last_modified(values).map(ToOwned::to_owned);
            return Ok(StoredVersion {
                state,
                row,
                last_modified,
                is_recorded: true,
                is_missed: false,
                is_recorded_as_deleted: false,
            });
        }
        self.met_unmarked_edit |= state.request_no != 0;
        let (is_recorded, is_recorded_as_deleted, last_modified) = match self.last_record(id)? {
            Some(last) => (!last.is_deletion, last.is_deletion, last.last_modified),
            // Its record may have aged out.
            None => (ReadTx { connection: self.connection }.complete_after()? != Some(0), false, None),
        };
        let is_missed = !is_recorded || state.last_seq == 0;
        Ok(StoredVersion { state, row, last_modified, is_recorded, is_missed, is_recorded_as_deleted })
    }

    /// Stores a ticket that has no row in `ticket_state`. Returns what was recorded, if anything.
    pub(super) fn create(
        &mut self,
        observed: &ObservedTicket,
        context: WriteContext<'_>,
    ) -> Result<Option<Op>, StoreError> {
        let ObservedTicket { ticket, hash, custom_fields, request_no } = observed;
        let last = self.last_record(ticket.id())?;
        let is_new = last.as_ref().is_none_or(|last| last.is_deletion);
        if !is_new || !insert(&mut self.insert_row, ticket)? {
            return self.readopt(observed, context);
        }
        let record = ChangeRecord {
            reason: last.map(|_| RETURNED),
            last_modified: last_modified(ticket.values()),
            ..ChangeRecord::new(ticket.id(), Op::Create)
        };
        let seq = self.record_change(record, context)?;
        self.insert_state.execute((ticket.id(), stored_hash(*hash), request_no, context.now, seq))?;
        self.replace_attribute_rejects(observed, false, context.now)?;
        match custom_fields {
            CustomFieldsState::NotSynced => {}
            CustomFieldsState::NotProvided => self.enqueue_fetch(ticket.id(), context.now)?,
            CustomFieldsState::Provided(fields) => {
                let fields = fields.with_last_good(&CustomFields::default());
                // There are some only if another program wrote them.
                let stored = self.stored_custom_fields(ticket.id())?;
                self.write_custom_fields(ticket.id(), &stored, &fields)?;
                self.replace_custom_field_rejects(ticket.id(), &fields, false, context.now)?;
                self.complete_fetch(ticket.id(), &fields, *request_no, context.now)?;
            }
        }
        Ok(Some(Op::Create))
    }

    /// The ticket to store where a value of the received one cannot be read: with the last good value instead.
    fn with_last_good(
        &self,
        observed: &ObservedTicket,
        stored: &StoredVersion,
    ) -> Result<Option<ObservedTicket>, StoreError> {
        let ObservedTicket { ticket, hash, custom_fields, request_no } = observed;
        let (mut ticket, mut hash, mut custom_fields) =
            (Cow::Borrowed(ticket), *hash, Cow::Borrowed(custom_fields));
        if !ticket.rejected_values().is_empty()
            && let Some(row) = stored.last_good_row()
        {
            ticket = Cow::Owned(ticket.with_last_good(row));
            hash = ticket.hash();
        }
        if let CustomFieldsState::Provided(fields) = &*custom_fields
            && fields.has_rejected_values()
        {
            let stored_fields = self.stored_custom_fields(ticket.id())?;
            let fields = fields.with_last_good(&stored.state.last_good_fields(&stored_fields, fields));
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

    /// Stores a ticket that lost its row in `ticket_state`: it is compared like an edited one.
    fn readopt(
        &mut self,
        observed: &ObservedTicket,
        context: WriteContext<'_>,
    ) -> Result<Option<Op>, StoreError> {
        let id = observed.ticket.id();
        let fields_no = (observed.custom_fields != CustomFieldsState::NotSynced).then_some(0);
        mark_edited(self.connection, id, fields_no, context)?;
        self.met_unmarked_edit = true;
        let Some(state) = self.stored_state(id)? else { return Ok(None) };
        let stored = self.stored_version(id, state)?;
        self.update(&stored, observed, None, context)
    }

    /// Stores a received version where it differs, and records the difference; values that cannot be read are replaced by
    /// the last good ones first. Returns what was recorded, if anything. Stored custom fields that come from a later
    /// request are kept. Without a `reason` it is that of [`StoredVersion::repair_reason`].
    pub(super) fn update(
        &mut self,
        stored: &StoredVersion,
        received: &ObservedTicket,
        reason: Option<&str>,
        context: WriteContext<'_>,
    ) -> Result<Option<Op>, StoreError> {
        let merged = self.with_last_good(received, stored)?;
        let observed = merged.as_ref().unwrap_or(received);
        let reason = reason.or_else(|| stored.repair_reason(observed));
        let ObservedTicket { ticket, hash, custom_fields, request_no } = observed;
        let (id, state) = (ticket.id(), &stored.state);
        let fields = match custom_fields {
            CustomFieldsState::Provided(fields)
                if state.fields_no.is_none_or(|stored| stored <= *request_no) =>
            {
                Some(fields)
            }
            _ => None,
        };
        let stored_fields = fields.map(|_| self.stored_custom_fields(id)).transpose()?;
        let fields = stored_fields.as_ref().zip(fields);
        let fields_changed = fields.is_some_and(|(stored, received)| stored.fields() != received.fields());
        let same_hash = stored.row.is_some() && state.has_same_row(observed);
        let row_changed =
            !same_hash && stored.row.as_deref().is_none_or(|row| is_changed(row, ticket.values()));
        let changed = fields_changed || row_changed || stored.is_missed;
        if changed {
            self.write_row(stored.row.is_some(), ticket)?;
            let record = ChangeRecord {
                last_modified: last_modified(ticket.values()),
                ..ChangeRecord::new(id, Op::Create)
            };
            let seq = if stored.is_recorded {
                // Of a lost row it is not known what changed.
                let row = stored.row.as_deref().map(|row| {
                    TicketDiff::between(
                        row.iter().map(AttributeValue::as_cell),
                        ticket.values().iter().map(AttributeValue::as_cell),
                    )
                });
                let change = fields
                    .into_iter()
                    .fold(row.unwrap_or_default(), |row, (stored, new)| row.with_custom_fields(stored, new));
                let changed = change.to_json();
                self.record_change(
                    ChangeRecord { op: Op::Update, reason, changed: Some(&changed), ..record },
                    context,
                )?
            } else {
                let reason = stored.is_recorded_as_deleted.then_some(RETURNED);
                self.record_change(ChangeRecord { reason, ..record }, context)?
            };
            self.update_state.execute((id, stored_hash(*hash), request_no, context.now, seq))?;
        } else if !same_hash {
            self.connection
                .prepare_cached("UPDATE ticket_state SET hash = ?2, request_no = ?3 WHERE UID = ?1")?
                .execute((id, stored_hash(*hash), request_no))?;
        }
        let had_rejects = state.rejected.is_some();
        // The row as received, by which it is recognized when it is received again.
        self.replace_attribute_rejects(received, had_rejects, context.now)?;
        match (fields, custom_fields) {
            (Some((stored, received)), _) => {
                self.write_custom_fields(id, stored, received)?;
                self.replace_custom_field_rejects(id, received, had_rejects, context.now)?;
                self.complete_fetch(id, received, *request_no, context.now)?;
            }
            (None, CustomFieldsState::NotProvided) if changed => self.requeue_fetch(id, context.now)?,
            (None, CustomFieldsState::NotProvided) if state.fields_hash.is_none() => {
                self.enqueue_fetch(id, context.now)?;
            }
            (
                None,
                CustomFieldsState::NotSynced
                | CustomFieldsState::NotProvided
                | CustomFieldsState::Provided(_),
            ) => {}
        }
        Ok(changed.then_some(if stored.is_recorded { Op::Update } else { Op::Create }))
    }

    fn write_row(&mut self, exists: bool, ticket: &Ticket) -> Result<(), StoreError> {
        if exists {
            execute(&mut self.update_row, ticket)?;
        } else {
            insert(&mut self.insert_row, ticket)?;
        }
        Ok(())
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

    /// Records a change of the custom fields of a stored ticket.
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

/// Marks a ticket as edited; gives it a row in `ticket_state` if it has none. `fields_no` is 0 if custom fields
/// are synchronized. What was rejected of it is known again, except where many rejects of one attribute are one row:
/// that row then counts a ticket twice.
pub(super) fn mark_edited(
    connection: &Connection,
    id: i64,
    fields_no: Option<i64>,
    context: WriteContext<'_>,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO ticket_state (UID, hash, request_no, fields_no, first_seen_at, last_seen_at, last_seq, rejected)
             VALUES (?1, NULL, 0, ?2, ?3, ?3, COALESCE((SELECT MAX(seq) FROM changes WHERE UID = ?1), 0),
                 (SELECT GROUP_CONCAT(attribute) FROM rejects WHERE UID = ?1))
             ON CONFLICT (UID) DO UPDATE SET hash = NULL",
        )?
        .execute((id, fields_no, context.now))?;
    Ok(())
}

/// The reason of a change record that repairs an edit by another program (`changes.reason`). It is no event
/// of the ticket: the server's row had been stored before.
pub(super) const REPAIRED: &str = "repaired";

/// The reason of a ticket that is stored again after a deletion.
const RETURNED: &str = "returned";

/// Whether two versions differ in more than volatile attributes.
fn is_changed(old: &[AttributeValue], new: &[AttributeValue]) -> bool {
    let mut pairs = old.iter().zip(new).enumerate();
    pairs.any(|(position, (old, new))| old != new && !VOLATILE.contains(&position))
}

/// Inserts a row unless there is one; returns whether it did.
fn insert(statement: &mut CachedStatement<'_>, ticket: &Ticket) -> Result<bool, StoreError> {
    Ok(execute(statement, ticket)? != 0)
}

/// Runs a statement with the attributes as its parameters; returns how many rows it wrote.
fn execute(statement: &mut CachedStatement<'_>, ticket: &Ticket) -> Result<usize, StoreError> {
    for (position, value) in ticket.values().iter().enumerate() {
        statement.raw_bind_parameter(position + 1, CellParam(value.as_cell()))?;
    }
    Ok(statement.raw_execute()?)
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
    let (columns, placeholders) = (columns(""), placeholders.join(", "));
    format!("INSERT INTO tickets ({columns}) VALUES ({placeholders}) ON CONFLICT (UID) DO NOTHING")
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
