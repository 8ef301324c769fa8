//! Custom fields: one row for each in `custom_fields`, and a change record for each difference.
//!
//! Invariant: after a verified full scan with custom fields, a ticket whose fields are not known for its
//! stored version (`ticket_state.fields_hash` is NULL) has a row in `pending_fetches`, or in
//! `unlisted_tickets` if the server no longer finds it.

use rusqlite::{Connection, Row};

use super::CustomFieldsState;
use super::change_record::{CUSTOM_FIELDS, CUSTOM_FIELDS_OFF, ChangeRecord, REPAIRED, WriteContext};
use super::statements::UpsertStatements;
use super::stored_version::{TicketState, stored_hash};
use super::ticket_columns::last_modified;
use crate::store::{StoreError, WriteTx};
use crate::ticket::{CustomField, CustomFields, Op, TicketDiff, Timestamp};

/// The custom fields of one ticket, received by a request for that ticket alone.
#[derive(Clone, Debug)]
pub struct FetchedCustomFields {
    /// The id of the ticket.
    pub id: i64,
    /// Its custom fields.
    pub fields: CustomFields,
    /// The `last_update` of the version that they belong to.
    pub last_update: Option<Timestamp>,
    /// The number of the request.
    pub request_no: i64,
}

/// The result of storing fetched custom fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOutcome {
    /// They differed from the stored ones and replaced them.
    Changed,
    /// They did not differ from the stored ones.
    Unchanged,
    /// They are not all custom fields of the ticket, because the id of some cannot be told. What they show is stored
    /// where it differed, nothing is removed, and they must be fetched again.
    Incomplete {
        /// Whether they differed from the stored ones.
        changed: bool,
    },
    /// They are older than what is stored, and must be fetched again.
    Stale,
    /// The ticket is no longer stored.
    TicketRemoved,
}

impl WriteTx<'_> {
    /// Stores fetched custom fields. They never overwrite those of a newer version or of a later request.
    pub fn store_custom_fields(
        &self,
        fetched: &FetchedCustomFields,
        run_id: i64,
        now: Timestamp,
    ) -> Result<StoreOutcome, StoreError> {
        let FetchedCustomFields { id, fields, last_update, request_no } = fetched;
        let context = WriteContext { run_id, now: &now.to_string() };
        let mut statements = UpsertStatements::prepare(self.connection)?;
        let is_purged = self.as_read_tx().is_purged(*id)?;
        let state = statements.stored_state(*id)?;
        let Some(state) = state.filter(|_| !is_purged) else { return Ok(StoreOutcome::TicketRemoved) };
        let version = statements.stored_version(*id, state)?;
        let (state, last_modified) = (&version.state, version.last_modified.as_deref());
        let fetched = last_update.map(|timestamp| timestamp.to_string());
        let older = last_modified.zip(fetched.as_deref()).is_some_and(|(stored, fetched)| fetched < stored);
        // The fields of a lost row are stored after the row.
        if version.row.is_none() || older || *request_no < state.request_no.max(state.fields_no.unwrap_or(0))
        {
            return Ok(StoreOutcome::Stale);
        }
        let stored = statements.stored_custom_fields(*id)?;
        let fields = &fields.with_last_good(&state.last_good_fields(&stored, fields));
        let changed = stored.fields() != fields.fields();
        if changed {
            let change = TicketDiff::default().with_custom_fields(&stored, fields).to_json();
            let reason = if state.has_edited_fields() { REPAIRED } else { CUSTOM_FIELDS };
            let record = ChangeRecord {
                reason: Some(reason),
                last_modified,
                changed: Some(&change),
                ..ChangeRecord::new(*id, Op::Update)
            };
            statements.record_change_only(record, context)?;
        }
        statements.write_custom_fields(*id, &stored, fields)?;
        statements.replace_custom_field_rejects(*id, fields, state.rejected.is_some(), context.now)?;
        // The row of that version is still to come, unless the server is restored from a backup before.
        let is_later =
            last_modified.zip(fetched.as_deref()).is_some_and(|(stored, fetched)| stored < fetched);
        let fields_last_modified = fetched.as_deref().filter(|_| is_later);
        statements.complete_fetch(*id, fields, (*request_no, fields_last_modified), context.now)?;
        Ok(match changed {
            changed if !fields.is_complete() => StoreOutcome::Incomplete { changed },
            true => StoreOutcome::Changed,
            false => StoreOutcome::Unchanged,
        })
    }

    /// Deletes all custom fields, because they are no longer synchronized. Each ticket that had any gets a
    /// change record, so that every consumer deletes them too.
    pub fn clear_custom_fields(&self, run_id: i64, now: Timestamp) -> Result<(), StoreError> {
        let context = WriteContext { run_id, now: &now.to_string() };
        let mut statements = UpsertStatements::prepare(self.connection)?;
        let mut select = self.connection.prepare(
            "SELECT DISTINCT UID FROM custom_fields WHERE UID NOT IN (SELECT UID FROM purged) ORDER BY UID",
        )?;
        let ids: Vec<i64> = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for id in ids {
            // Fields without a ticket were written by another program.
            let Some(row) = statements.stored_row(id)? else { continue };
            let change = TicketDiff::default()
                .with_custom_fields(&statements.stored_custom_fields(id)?, &CustomFields::default())
                .to_json();
            let record = ChangeRecord {
                reason: Some(CUSTOM_FIELDS_OFF),
                last_modified: last_modified(&row),
                changed: Some(&change),
                ..ChangeRecord::new(id, Op::Update)
            };
            statements.record_change_only(record, context)?;
        }
        statements.clear_custom_field_rejects()?;
        // `ticket_state` first: then the trigger of the deleted fields finds nothing to write.
        self.connection.execute_batch(
            "UPDATE ticket_state SET fields_hash = NULL, fields_no = NULL, fields_last_modified = NULL
                 WHERE fields_no IS NOT NULL;
             DELETE FROM custom_fields; DELETE FROM pending_fetches WHERE kind = 'custom_fields';
             DELETE FROM field_definitions;",
        )?;
        Ok(())
    }
}

impl UpsertStatements<'_> {
    /// The stored custom fields of a ticket.
    pub(super) fn stored_custom_fields(&self, id: i64) -> Result<CustomFields, StoreError> {
        read_custom_fields(self.connection, id)
    }

    /// What a row shows that leaves out its custom fields: that the ticket has no values, if none are stored either.
    pub(super) fn resolve_omitted(
        &self,
        id: i64,
        state: &TicketState,
    ) -> Result<CustomFieldsState, StoreError> {
        let stored = self.stored_custom_fields(id)?;
        Ok(if stored.fields().iter().any(CustomField::has_value) {
            CustomFieldsState::Omitted
        } else if state.has_edited_fields() {
            CustomFieldsState::Provided(CustomFields::default())
        } else {
            CustomFieldsState::Provided(stored)
        })
    }

    /// Replaces the stored custom fields of a ticket where they differ from the received ones.
    pub(super) fn write_custom_fields(
        &self,
        id: i64,
        stored: &CustomFields,
        received: &CustomFields,
    ) -> Result<(), StoreError> {
        for field in stored.fields().iter().filter(|field| received.get(field.id).is_none()) {
            self.connection
                .prepare_cached("DELETE FROM custom_fields WHERE UID = ?1 AND FIELD_ID = ?2")?
                .execute((id, field.id))?;
        }
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO custom_fields (UID, FIELD_ID, NAME, LABEL, TYPE, VALUE, DISPLAY)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (UID, FIELD_ID) DO UPDATE SET NAME = excluded.NAME, LABEL = excluded.LABEL,
                 TYPE = excluded.TYPE, VALUE = excluded.VALUE, DISPLAY = excluded.DISPLAY",
        )?;
        for field in received.fields().iter().filter(|field| stored.get(field.id) != Some(field)) {
            let CustomField { id: field_id, name, label, kind, value, display } = field;
            upsert.execute((id, field_id, name, label, kind, value, display))?;
        }
        Ok(())
    }

    /// Records that the custom fields of the stored version are known, and deletes the pending fetch; if they are not
    /// complete, they stay pending. `last_modified` is that of their version where it is later than that of the row.
    pub(super) fn complete_fetch(
        &self,
        id: i64,
        fields: &CustomFields,
        (request_no, last_modified): (i64, Option<&str>),
        now: &str,
    ) -> Result<(), StoreError> {
        let hash = fields.is_complete().then(|| stored_hash(fields.hash()));
        // The same custom fields again write nothing.
        self.connection
            .prepare_cached(
                "UPDATE ticket_state SET fields_hash = ?2, fields_no = ?3, fields_last_modified = ?4
                 WHERE UID = ?1 AND (fields_hash IS NOT ?2 OR COALESCE(fields_no, 0) = 0
                     OR COALESCE(fields_last_modified, ?4) IS NOT NULL)",
            )?
            .execute((id, hash, request_no, last_modified))?;
        if hash.is_none() {
            return self.enqueue_fetch(id, &CustomFieldsState::NotProvided, now);
        }
        self.connection
            .prepare_cached("DELETE FROM pending_fetches WHERE UID = ?1 AND kind = 'custom_fields'")?
            .execute([id])?;
        Ok(())
    }

    /// Enqueues a fetch, unless there is one.
    pub(super) fn enqueue_fetch(
        &self,
        id: i64,
        received: &CustomFieldsState,
        now: &str,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO pending_fetches (UID, kind, reason, due_at) VALUES (?1, 'custom_fields', ?2, ?3)
                 ON CONFLICT DO NOTHING",
            )?
            .execute((id, received.fetch_reason(), now))?;
        Ok(())
    }

    /// Enqueues a fetch that is due at once, because the ticket changed, whatever attempts have failed. What
    /// it finds is then a change, no longer the repair of an edit.
    pub(super) fn requeue_fetch(
        &self,
        id: i64,
        received: &CustomFieldsState,
        now: &str,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE ticket_state SET fields_hash = NULL, fields_no = NULLIF(fields_no, 0),
                     fields_last_modified = NULL WHERE UID = ?1",
            )?
            .execute([id])?;
        self.connection
            .prepare_cached(
                "INSERT INTO pending_fetches (UID, kind, reason, due_at) VALUES (?1, 'custom_fields', ?2, ?3)
                 ON CONFLICT (UID, kind) DO UPDATE SET reason = excluded.reason, attempts = 0, due_at = excluded.due_at",
            )?
            .execute((id, received.fetch_reason(), now))?;
        Ok(())
    }
}

/// The stored custom fields of a ticket.
pub(in crate::store) fn read_custom_fields(
    connection: &Connection,
    id: i64,
) -> Result<CustomFields, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT FIELD_ID, NAME, LABEL, TYPE, VALUE, DISPLAY FROM custom_fields WHERE UID = ?1",
    )?;
    let fields: Vec<_> = statement.query_map([id], read_custom_field)?.collect::<Result<_, _>>()?;
    Ok(fields.into())
}

fn read_custom_field(row: &Row<'_>) -> rusqlite::Result<CustomField> {
    Ok(CustomField {
        id: row.get(0)?,
        name: row.get(1)?,
        label: row.get(2)?,
        kind: row.get(3)?,
        value: row.get(4)?,
        display: row.get(5)?,
    })
}
