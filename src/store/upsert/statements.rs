//! The prepared statements that read and write `tickets`, `ticket_extra`, `ticket_state` and `changes`.
//!
//! A write of `tickets` or `ticket_extra` empties the hash of the row, a write of `custom_fields` that of the fields
//! (`local_edits`). So the hash is always written after them.

use rusqlite::{CachedStatement, Connection, OptionalExtension as _};

use super::change_record::{ChangeRecord, ERASED, WriteContext};
use super::not_before::VerifiedScans;
use super::stored_version::{StoredVersion, TicketState};
use super::ticket_columns::{
    INSERT, SELECT_ROW, UPDATE, UPSERT_EXTRA, bind_and_execute, last_modified, read_row,
};
use crate::store::{ReadTx, StoreError};
use crate::ticket::attribute::ATTRIBUTE_COUNT;
use crate::ticket::{AttributeValue, ExtraSet, Ticket};

/// The newest change record of a ticket.
pub(super) struct LastRecord {
    pub(super) is_deletion: bool,
    /// Whether the ticket was erased here.
    pub(super) is_erasure: bool,
    last_modified: Option<String>,
}

/// The prepared statements of one batch.
pub(super) struct UpsertStatements<'c> {
    select_state: CachedStatement<'c>,
    select_row: CachedStatement<'c>,
    insert_row: CachedStatement<'c>,
    update_row: CachedStatement<'c>,
    pub(super) insert_state: CachedStatement<'c>,
    pub(super) update_state: CachedStatement<'c>,
    insert_change: CachedStatement<'c>,
    select_last_record: CachedStatement<'c>,
    /// Whether an edit by another program was met that is not marked ([`WriteTx::mark_local_edits`]), so that
    /// the full-text index may not agree with the rows.
    ///
    /// [`WriteTx::mark_local_edits`]: crate::store::WriteTx::mark_local_edits
    pub(super) met_unmarked_edit: bool,
    /// See [`UpsertStatements::carried_extras`].
    carried_extras: Option<ExtraSet>,
    /// Read with the first change record.
    verified_scans: Option<VerifiedScans>,
    /// The greatest number of a ticket with a change record, once it was asked for.
    greatest_recorded: Option<i64>,
    pub(super) connection: &'c Connection,
}

impl<'c> UpsertStatements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> Result<UpsertStatements<'c>, StoreError> {
        Ok(UpsertStatements {
            select_state: connection.prepare_cached(
                "SELECT hash, request_no, fields_hash, fields_no, rejected, received_hash, last_seq,
                     fields_last_modified
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
                "INSERT INTO changes
                     (UID, op, reason, observed_at, source_last_modified, run_id, changed, last_row, not_before)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?,
            select_last_record: connection.prepare_cached(
                "SELECT op = 'd', op = 'd' AND reason IS ?2, source_last_modified FROM changes
                 WHERE UID = ?1 ORDER BY seq DESC LIMIT 1",
            )?,
            met_unmarked_edit: false,
            carried_extras: None,
            verified_scans: None,
            greatest_recorded: None,
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
                fields_last_modified: row.get(7)?,
            })
        });
        Ok(state.optional()?)
    }

    /// The stored row with its extras; `None` if it was lost.
    pub(super) fn stored_row(&mut self, id: i64) -> Result<Option<Vec<AttributeValue>>, StoreError> {
        read_row(&mut self.select_row, id)
    }

    /// The last change record of a ticket, if it has one.
    pub(super) fn last_record(&mut self, id: i64) -> Result<Option<LastRecord>, StoreError> {
        let greatest = if let Some(greatest) = self.greatest_recorded {
            greatest
        } else {
            let sql = "SELECT MAX(UID) FROM changes";
            let greatest: Option<i64> = self.connection.query_row(sql, [], |row| row.get(0))?;
            *self.greatest_recorded.insert(greatest.unwrap_or(i64::MIN))
        };
        // An initial load goes up by number: it need not look for the records of any ticket.
        if greatest < id {
            return Ok(None);
        }
        let record = self.select_last_record.query_row((id, ERASED), |row| {
            Ok(LastRecord { is_deletion: row.get(0)?, is_erasure: row.get(1)?, last_modified: row.get(2)? })
        });
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

    /// Inserts the row of a ticket unless there is one; returns whether it did.
    pub(super) fn insert_row(&mut self, ticket: &Ticket) -> Result<bool, StoreError> {
        if bind_and_execute(&mut self.insert_row, ticket.values())? == 0 {
            return Ok(false);
        }
        self.write_extras(None, ticket)?;
        Ok(true)
    }

    /// Writes the row of a ticket over the stored one, if there is one.
    pub(super) fn write_row(
        &mut self,
        stored: Option<&[AttributeValue]>,
        ticket: &Ticket,
    ) -> Result<(), StoreError> {
        if stored.is_some() {
            bind_and_execute(&mut self.update_row, ticket.values())?;
            self.write_extras(stored, ticket)
        } else {
            // The row was lost, and what belongs to it may not be.
            self.connection
                .prepare_cached("DELETE FROM ticket_extra WHERE UID = ?1")?
                .execute([ticket.id()])?;
            self.insert_row(ticket).map(drop)
        }
    }

    /// A ticket that never had an extra has no row in `ticket_extra`.
    fn write_extras(&mut self, stored: Option<&[AttributeValue]>, ticket: &Ticket) -> Result<(), StoreError> {
        let extras = &ticket.stored_values()[ATTRIBUTE_COUNT..];
        let is_same = match stored {
            Some(stored) => stored[ATTRIBUTE_COUNT..] == *extras,
            None => extras.iter().all(|value| *value == AttributeValue::Null),
        };
        if !is_same {
            let mut values = extras.to_vec();
            values.push(AttributeValue::Integer(ticket.id()));
            bind_and_execute(&mut self.connection.prepare_cached(&UPSERT_EXTRA)?, &values)?;
        }
        Ok(())
    }

    /// The extras that the server's list is known to carry.
    pub(super) fn carried_extras(&mut self) -> Result<ExtraSet, StoreError> {
        if let Some(carried) = self.carried_extras {
            return Ok(carried);
        }
        let carried = ReadTx { connection: self.connection }.carried_extras()?;
        self.carried_extras = Some(carried);
        Ok(carried)
    }

    /// Adds a row to `changes`; returns its number.
    pub(super) fn record_change(
        &mut self,
        record: ChangeRecord<'_>,
        context: WriteContext<'_>,
    ) -> Result<i64, StoreError> {
        let scans = match self.verified_scans.take() {
            Some(scans) => scans,
            None => VerifiedScans::read(self.connection)?,
        };
        let not_before = scans.not_before(self.connection, &record, context)?;
        let ChangeRecord { id, op, reason, last_modified, changed, last_row, .. } = record;
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
            not_before,
        ))?;
        self.verified_scans = Some(scans);
        self.greatest_recorded = self.greatest_recorded.map(|greatest| greatest.max(id));
        self.insert_change.clear_bindings();
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
