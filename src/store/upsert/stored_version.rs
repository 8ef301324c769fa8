//! What is stored of a ticket, and how a received version compares with it.

use std::borrow::Cow;

use super::change_record::REPAIRED;
use super::reject_group::RejectGroup;
use super::ticket_columns::last_modified;
use super::{CustomFieldsState, ObservedTicket};
use crate::ticket::{AttributeValue, CustomFields, ExtraSet};

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
    /// The hash of the row as received, if it is not stored as received: values were rejected, or the response says nothing
    /// about extras that are stored.
    pub(super) received_hash: Option<i64>,
    /// The newest change record; 0 if `ticket_state` lost the row and no record of the ticket is kept.
    pub(super) last_seq: i64,
    /// The `last_update` of the version whose custom fields are stored, where it is later than that of the row.
    pub(super) fields_last_modified: Option<String>,
}

impl TicketState {
    /// Whether a received ticket does not differ from the stored one, and nothing else of it is rejected.
    pub(super) fn is_unchanged_by(&self, observed: &ObservedTicket) -> bool {
        let fields = match &observed.custom_fields {
            CustomFieldsState::NotSynced => true,
            CustomFieldsState::NotProvided | CustomFieldsState::Unreadable => {
                self.fields_hash.is_some() && !self.has_fields_of_lost_version(observed)
            }
            CustomFieldsState::Omitted => {
                self.fields_hash == Some(stored_hash(CustomFields::default().hash()))
            }
            CustomFieldsState::Provided(fields) => {
                self.fields_hash == Some(stored_hash(fields.hash()))
                    && !fields.has_rejected_values()
                    && !RejectGroup::CustomFields.is_in(self.rejected.as_deref())
            }
        };
        fields
            && if observed.ticket.rejected_values().is_empty() {
                !RejectGroup::Attributes.is_in(self.rejected.as_deref())
                    && (self.has_same_row(observed) || self.has_same_row_without_extras(observed))
            } else {
                // The row was merged with the stored one when it was received first.
                self.hash.is_some()
                    && self.received_hash == Some(stored_hash(observed.ticket.received_hash()))
            }
    }

    /// Whether the stored custom fields are of a version that the server no longer has: a later request shows an earlier
    /// one, because the server was restored from a backup.
    pub(super) fn has_fields_of_lost_version(&self, observed: &ObservedTicket) -> bool {
        let Some(fields_last_modified) = self.fields_last_modified.as_deref() else { return false };
        last_modified(observed.ticket.values()).is_some_and(|received| received < fields_last_modified)
            && self.fields_no.is_some_and(|stored| stored < observed.request_no)
    }

    /// Whether a response that says nothing about some extras showed the same row before.
    fn has_same_row_without_extras(&self, observed: &ObservedTicket) -> bool {
        observed.ticket.shown_extras() != ExtraSet::ALL
            && self.hash.is_some()
            && self.received_hash == Some(stored_hash(observed.hash))
    }

    pub(super) fn has_same_row(&self, observed: &ObservedTicket) -> bool {
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
    /// The row with its extras; `None` if it was lost.
    pub(super) row: Option<Vec<AttributeValue>>,
    /// Its `last_update`; that of the newest change record where the row cannot be trusted.
    pub(super) last_modified: Option<String>,
    /// Whether consumers may have the ticket.
    pub(super) is_recorded: bool,
    /// Whether consumers may lack the ticket.
    pub(super) is_missed: bool,
    /// Whether the ticket is recorded as deleted.
    pub(super) is_recorded_as_deleted: bool,
}

impl StoredVersion {
    /// The stored row, if its values may stand in for those that cannot be read. Of an edited row it is not known which
    /// values another program wrote, so that none counts as good: what cannot be read is then NULL, as in a new ticket. An
    /// edit that emptied no hash (a damaged disk, triggers switched off) cannot be known here; such a value stays until
    /// the server's can be read.
    pub(super) fn last_good_row(&self) -> Option<&[AttributeValue]> {
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

/// Converts a hash to the signed integers of SQLite; its bits stay the same.
pub(super) fn stored_hash(hash: u64) -> i64 {
    hash.cast_signed()
}
