//! Stores a received version of a ticket where it differs from what is stored, and records the difference.

use std::borrow::Cow;

use super::change_record::{ChangeRecord, RETURNED, WriteContext};
use super::statements::{UpsertStatements, mark_edited};
use super::stored_version::{StoredVersion, stored_hash};
use super::ticket_columns::last_modified;
use super::{CustomFieldsState, ObservedTicket};
use crate::store::StoreError;
use crate::ticket::attribute::{AGENT_ID, STATUS_ID, VOLATILE};
use crate::ticket::{AttributeValue, CustomFields, ExtraSet, Op, TicketDiff};

impl UpsertStatements<'_> {
    /// Stores a ticket that has no row in `ticket_state`. Returns what was recorded, if anything.
    pub(super) fn create(
        &mut self,
        observed: &ObservedTicket,
        context: WriteContext<'_>,
    ) -> Result<Option<Op>, StoreError> {
        let ObservedTicket { ticket, hash, custom_fields, request_no } = observed;
        let last = self.last_record(ticket.id())?;
        let is_new = last.as_ref().is_none_or(|last| last.is_deletion);
        if !is_new || !self.insert_row(ticket)? {
            return self.readopt(observed, context);
        }
        let record = ChangeRecord {
            is_unbounded: last.as_ref().is_some_and(|last| last.is_erasure),
            reason: last.map(|_| RETURNED),
            last_modified: last_modified(ticket.values()),
            ..ChangeRecord::new(ticket.id(), Op::Create)
        };
        let seq = self.record_change(record, context)?;
        self.insert_state.execute((ticket.id(), stored_hash(*hash), request_no, context.now, seq))?;
        if !ticket.rejected_values().is_empty() {
            self.replace_attribute_rejects(observed, true, context.now)?;
        }
        let fields = match custom_fields {
            CustomFieldsState::NotSynced => None,
            CustomFieldsState::NotProvided | CustomFieldsState::Unreadable => {
                self.enqueue_fetch(ticket.id(), custom_fields, context.now)?;
                None
            }
            CustomFieldsState::Omitted => Some(CustomFields::default()),
            CustomFieldsState::Provided(fields) => Some(fields.with_last_good(&CustomFields::default())),
        };
        if let Some(fields) = fields {
            // There are some only if another program wrote them.
            let stored = self.stored_custom_fields(ticket.id())?;
            self.write_custom_fields(ticket.id(), &stored, &fields)?;
            self.replace_custom_field_rejects(ticket.id(), &fields, false, context.now)?;
            self.complete_fetch(ticket.id(), &fields, (*request_no, None), context.now)?;
        }
        Ok(Some(Op::Create))
    }

    /// The ticket to store where the received one does not show all of it: with the last good value instead of one that
    /// cannot be read, and with what it means that custom fields are left out.
    fn with_last_good(
        &mut self,
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
        let kept_extras = self.kept_extras(observed, stored)?;
        // A copy of the ticket costs memory: only where there is a value to keep.
        if let Some(row) = stored.row.as_deref()
            && kept_extras.positions().any(|position| row[position] != AttributeValue::Null)
        {
            ticket = Cow::Owned(ticket.with_stored_extras(kept_extras, row));
            hash = ticket.hash();
        }
        if let CustomFieldsState::Provided(fields) = &*custom_fields
            && fields.has_rejected_values()
        {
            let stored_fields = self.stored_custom_fields(ticket.id())?;
            let fields = fields.with_last_good(&stored.state.last_good_fields(&stored_fields, fields));
            custom_fields = Cow::Owned(CustomFieldsState::Provided(fields));
        }
        if *custom_fields == CustomFieldsState::Omitted {
            custom_fields = Cow::Owned(self.resolve_omitted(ticket.id(), &stored.state)?);
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

    /// The extras that the response says nothing about, so that the stored ones stay. Where the list is known to carry an
    /// extra, another version without it has none; the same version cannot have lost it, so there the server no longer
    /// shows it.
    fn kept_extras(
        &mut self,
        observed: &ObservedTicket,
        stored: &StoredVersion,
    ) -> Result<ExtraSet, StoreError> {
        let hidden = ExtraSet::ALL.without(observed.ticket.shown_extras());
        let is_same_version = stored.state.hash.is_some()
            && stored.last_modified.as_deref() == last_modified(observed.ticket.values());
        if hidden.is_empty() || is_same_version {
            return Ok(hidden);
        }
        let mut kept = hidden.without(self.carried_extras()?);
        // When a ticket was closed or answered goes with its status, when it was assigned with its agent: where those stay,
        // so do the dates.
        let row = observed.ticket.stored_values();
        for (position, extras) in [(STATUS_ID, ExtraSet::OF_STATUS), (AGENT_ID, ExtraSet::OF_AGENT)] {
            if stored.last_good_row().is_some_and(|stored| stored[position] == row[position]) {
                kept = kept.union(hidden.intersection(extras));
            }
        }
        Ok(kept)
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
            !same_hash && stored.row.as_deref().is_none_or(|row| is_changed(row, ticket.stored_values()));
        let changed = fields_changed || row_changed || stored.is_missed;
        if changed {
            let seq = self.record_version(stored, observed, fields, reason, context)?;
            self.update_state.execute((id, stored_hash(*hash), request_no, context.now, seq))?;
        } else if !same_hash {
            self.connection
                .prepare_cached("UPDATE ticket_state SET hash = ?2, request_no = ?3 WHERE UID = ?1")?
                .execute((id, stored_hash(*hash), request_no))?;
        }
        let had_rejects = state.rejected.is_some();
        // The row as received, by which it is recognized when it is received again.
        let is_merged = received.hash != *hash || !received.ticket.rejected_values().is_empty();
        if is_merged || had_rejects || state.received_hash.is_some() {
            self.replace_attribute_rejects(received, is_merged, context.now)?;
        }
        match (fields, custom_fields) {
            (Some((stored, received)), _) => {
                self.write_custom_fields(id, stored, received)?;
                self.replace_custom_field_rejects(id, received, had_rejects, context.now)?;
                self.complete_fetch(id, received, (*request_no, None), context.now)?;
            }
            (None, CustomFieldsState::NotSynced | CustomFieldsState::Provided(_)) => {}
            (None, _) if changed || state.has_fields_of_lost_version(observed) => {
                self.requeue_fetch(id, custom_fields, context.now)?;
            }
            (None, _) if state.fields_hash.is_none() => {
                self.enqueue_fetch(id, custom_fields, context.now)?;
            }
            (None, CustomFieldsState::Omitted)
                if state.fields_no.is_none_or(|stored| stored <= *request_no) =>
            {
                self.requeue_fetch(id, custom_fields, context.now)?;
            }
            (None, _) => {}
        }
        Ok(changed.then_some(if stored.is_recorded { Op::Update } else { Op::Create }))
    }

    /// Writes the row of a received version and records what differs; returns the number of the change record.
    fn record_version(
        &mut self,
        stored: &StoredVersion,
        observed: &ObservedTicket,
        fields: Option<(&CustomFields, &CustomFields)>,
        reason: Option<&str>,
        context: WriteContext<'_>,
    ) -> Result<i64, StoreError> {
        let ticket = &observed.ticket;
        self.write_row(stored.row.as_deref(), ticket)?;
        let record = ChangeRecord {
            last_modified: last_modified(ticket.values()),
            ..ChangeRecord::new(ticket.id(), Op::Create)
        };
        if !stored.is_recorded {
            let reason = stored.is_recorded_as_deleted.then_some(RETURNED);
            return self.record_change(ChangeRecord { reason, ..record }, context);
        }
        // Of a lost row it is not known what changed.
        let row = stored.row.as_deref().map(|row| {
            TicketDiff::between(
                row.iter().map(AttributeValue::as_cell),
                ticket.stored_values().iter().map(AttributeValue::as_cell),
            )
        });
        let mut change = row.unwrap_or_default();
        if let Some((stored, received)) = fields {
            change = change.with_custom_fields(stored, received);
        }
        let changed = change.to_json();
        let is_unbounded = !change.is_empty() && !change.has_attributes();
        // Of a large ticket every copy counts.
        drop(change);
        self.record_change(
            ChangeRecord { op: Op::Update, reason, changed: Some(&changed), is_unbounded, ..record },
            context,
        )
    }
}

/// Whether two versions differ in more than volatile attributes.
fn is_changed(old: &[AttributeValue], new: &[AttributeValue]) -> bool {
    let mut pairs = old.iter().zip(new).enumerate();
    pairs.any(|(position, (old, new))| old != new && !VOLATILE.contains(&position))
}
