//! The only writer of `tickets` and `changes`: compares each row with the stored one, writes it if it
//! differs, and records every difference.

mod change_record;
mod custom_fields;
mod erase;
mod local_edits;
mod not_before;
mod privacy;
mod received_version;
mod reject_group;
mod rejects;
mod statements;
mod stored_version;
mod ticket_columns;

use std::collections::HashMap;

pub use change_record::ERASED;
use change_record::{ChangeRecord, STATUS_RENAMED, WriteContext};
pub(super) use custom_fields::read_custom_fields;
pub use custom_fields::{FetchedCustomFields, StoreOutcome};
use local_edits::delete_ticket;
pub use local_edits::{LocalEdits, REQUEST_NUMBER_BITS};
use statements::UpsertStatements;
use stored_version::StoredVersion;
use strum::IntoStaticStr;
use ticket_columns::last_modified;
pub(super) use ticket_columns::{CellParam, EXTRA_COLUMNS, JOIN_EXTRA, SELECT_ROW, cell, columns, read_row};

use super::full_text::repair_full_text;
use super::{FetchFailure, ReadTx, StoreError, WriteTx};
use crate::ticket::attribute::MERGED_INTO_ID;
use crate::ticket::{AttributeValue, ChangeCounts, CustomFields, Op, Ticket, Timestamp, row_to_json};

/// A ticket as received in a response.
#[derive(Debug)]
pub struct ObservedTicket {
    /// The ticket.
    pub ticket: Ticket,
    /// [`Ticket::hash`], computed where the ticket was parsed and not on the thread of the writer.
    pub hash: u64,
    /// Its custom fields in that response.
    pub custom_fields: CustomFieldsState,
    /// The number of the request. Later requests have greater numbers, also across restarts.
    pub request_no: i64,
}

/// The custom fields of a ticket in a response.
#[derive(Clone, Debug, PartialEq)]
pub enum CustomFieldsState {
    /// They are not synchronized.
    NotSynced,
    /// The response does not contain them: if the ticket changed, they must be fetched.
    NotProvided,
    /// The response contains them in a form that tells nothing. The same follows.
    Unreadable,
    /// The response leaves them out, as it does for tickets without values. Where values are stored that proves nothing:
    /// then they must be fetched.
    Omitted,
    /// The response contains all of them.
    Provided(CustomFields),
}

impl CustomFieldsState {
    /// Why they must be fetched (`pending_fetches.reason`).
    fn fetch_reason(&self) -> &'static str {
        if *self == CustomFieldsState::Unreadable { FetchFailure::Unreadable.as_str() } else { "unread" }
    }
}

/// The result of storing received tickets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpsertOutcome {
    /// Tickets created and updated; an upsert deletes none.
    pub changes: ChangeCounts,
    /// Tickets that did not differ from the stored ones.
    pub unchanged: u64,
    /// The ids of tickets received in an older version than the stored one, which was kept.
    pub older: Vec<i64>,
}

impl UpsertOutcome {
    /// Counts what was recorded of one ticket.
    fn count(&mut self, recorded: Option<Op>) {
        match recorded {
            Some(op) => self.changes.add(op),
            None => self.unchanged += 1,
        }
    }

    /// Adds the result of another batch.
    pub fn add(&mut self, more: UpsertOutcome) {
        self.changes += more.changes;
        self.unchanged += more.unchanged;
        self.older.extend(more.older);
    }
}

/// Why a ticket is removed (`changes.reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RemovalReason {
    /// The server no longer finds it.
    Vanished,
    /// The server returns it as deleted.
    Deleted,
    /// It was merged into another ticket and is no longer listed.
    Merged,
    /// It no longer belongs to the scope.
    OutOfScope,
}

impl RemovalReason {
    /// The word in `changes.reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A ticket to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its id.
    pub id: i64,
    /// Why it is removed.
    pub reason: RemovalReason,
    /// The ticket that it was merged into, if the server said so.
    pub merged_into: Option<i64>,
}

impl Removal {
    /// A removal for a reason, of a ticket that was not merged.
    #[must_use]
    pub fn new(id: i64, reason: RemovalReason) -> Removal {
        Removal { id, reason, merged_into: None }
    }
}

impl WriteTx<'_> {
    /// Stores received tickets.
    ///
    /// Storing the same tickets again, or in another order, gives the same rows and no further change
    /// record: the later `last_update` wins; if they are equal or one is missing, the later request wins. Of two rows
    /// of one id in one batch with equal or no `last_update`, the one with the greater hash wins, so that a list that
    /// shows a ticket twice does not record a change with every scan. Two such rows in different batches are told
    /// apart by their requests only.
    ///
    /// A value that cannot be read leaves the last good one: the row is merged with the stored row first, then hashed
    /// and compared. Erased tickets are not stored.
    pub fn upsert<'s>(
        &self,
        observed_tickets: impl IntoIterator<Item = &'s ObservedTicket>,
        run_id: i64,
        now: Timestamp,
    ) -> Result<UpsertOutcome, StoreError> {
        let context = WriteContext { run_id, now: &now.to_string() };
        let mut statements = UpsertStatements::prepare(self.connection)?;
        let mut outcome = UpsertOutcome::default();
        let mut observed_tickets: Vec<_> = observed_tickets.into_iter().collect();
        let purged = self.as_read_tx().purged_ids()?;
        if !purged.is_empty() {
            observed_tickets.retain(|observed| !purged.contains(&observed.ticket.id()));
        }
        outcome.unchanged += drop_doubles(&mut observed_tickets);
        for observed in observed_tickets {
            let ticket = &observed.ticket;
            let Some(state) = statements.stored_state(ticket.id())? else {
                outcome.count(statements.create(observed, context)?);
                continue;
            };
            if state.is_unchanged_by(observed) {
                outcome.unchanged += 1;
                continue;
            }
            let stored = statements.stored_version(ticket.id(), state)?;
            match compare_versions(&stored, observed) {
                VersionOrder::Newer => {
                    outcome.count(statements.update(&stored, observed, None, context)?);
                }
                VersionOrder::Older => {
                    outcome.older.push(ticket.id());
                    // Whether this version is taken or not, some version is stored.
                    if observed.custom_fields != CustomFieldsState::NotSynced
                        && stored.state.fields_hash.is_none()
                    {
                        statements.enqueue_fetch(ticket.id(), &observed.custom_fields, context.now)?;
                    }
                }
                VersionOrder::EarlierRequest => outcome.unchanged += 1,
            }
        }
        if statements.met_unmarked_edit {
            repair_full_text(self.connection)?;
        }
        Ok(outcome)
    }

    /// Sets the status names of received tickets.
    ///
    /// Call it in the transaction that stores them: names may change after the rows were received, and a
    /// stored ticket gets a new one only when it is stored again or when the name changes.
    pub fn apply_status_names(&self, observed_tickets: &mut [ObservedTicket]) -> Result<(), StoreError> {
        let names = self.as_read_tx().status_names()?;
        for observed in observed_tickets {
            observed.ticket.resolve_status_name(&names);
        }
        Ok(())
    }

    /// Stores versions that are older than the stored ones, after the server confirmed them: it was restored
    /// from a backup. Returns how many tickets changed.
    pub fn apply_older(
        &self,
        observed_tickets: &[ObservedTicket],
        run_id: i64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let context = WriteContext { run_id, now: &now.to_string() };
        let mut statements = UpsertStatements::prepare(self.connection)?;
        let mut applied = 0;
        let purged = self.as_read_tx().purged_ids()?;
        for observed in observed_tickets.iter().filter(|it| !purged.contains(&it.ticket.id())) {
            let id = observed.ticket.id();
            let Some(state) = statements.stored_state(id)? else { continue };
            let stored = statements.stored_version(id, state)?;
            applied += u64::from(statements.update(&stored, observed, Some("went_back"), context)?.is_some());
        }
        if statements.met_unmarked_edit {
            repair_full_text(self.connection)?;
        }
        Ok(applied)
    }

    /// Removes tickets and records the reason and the last known row, which is NULL where the row was lost.
    /// Returns how many were stored.
    pub fn remove(&self, removals: &[Removal], run_id: i64, now: Timestamp) -> Result<u64, StoreError> {
        let context = WriteContext { run_id, now: &now.to_string() };
        let mut statements = UpsertStatements::prepare(self.connection)?;
        let mut removed = 0;
        for Removal { id, reason, merged_into } in removals {
            let Some(state) = statements.stored_state(*id)? else { continue };
            if state.rejected.is_some() {
                // Many rejects of one attribute are one row, which counts one less.
                statements.delete_rejects(*id)?;
            }
            let mut stored = statements.stored_version(*id, state)?;
            let fields = statements.stored_custom_fields(*id)?;
            if let (Some(row), Some(into)) = (&mut stored.row, merged_into) {
                // The row is older than the merge: the ticket is no longer listed since.
                row[MERGED_INTO_ID] = AttributeValue::Integer(*into);
            }
            let last_row = stored
                .row
                .as_deref()
                .map(|row| row_to_json(row.iter().map(AttributeValue::as_cell), &fields));
            let record = ChangeRecord {
                reason: Some(reason.as_str()),
                last_modified: stored.last_modified.as_deref(),
                last_row: last_row.as_deref(),
                ..ChangeRecord::new(*id, Op::Delete)
            };
            statements.record_change(record, context)?;
            delete_ticket(self.connection, *id)?;
            removed += 1;
        }
        if statements.met_unmarked_edit {
            repair_full_text(self.connection)?;
        }
        Ok(removed)
    }

    /// Sets the name of a status in its tickets, each with a change record. Returns how many tickets
    /// changed.
    pub(super) fn rename_status(
        &self,
        status: i64,
        name: Option<&str>,
        run_id: i64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let context = WriteContext { run_id, now: &now.to_string() };
        let mut select = self.connection.prepare_cached(
            "SELECT UID FROM tickets WHERE STATUS_ID = ?1 AND STATUS IS NOT ?2
                 AND UID NOT IN (SELECT UID FROM purged) ORDER BY UID",
        )?;
        let tickets: Vec<i64> =
            select.query_map((status, name), |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut statements = UpsertStatements::prepare(self.connection)?;
        for id in &tickets {
            statements.set_status_name(*id, name, STATUS_RENAMED, context)?;
        }
        Ok(tickets.len() as u64)
    }
}

impl ReadTx<'_> {
    /// The ids of received tickets that are older than the stored versions.
    pub fn older_among(&self, observed_tickets: &[ObservedTicket]) -> Result<Vec<i64>, StoreError> {
        let mut statements = UpsertStatements::prepare(self.connection)?;
        let mut older = Vec::new();
        for observed in observed_tickets {
            let id = observed.ticket.id();
            let Some(state) = statements.stored_state(id)? else { continue };
            if !state.is_unchanged_by(observed)
                && matches!(
                    compare_versions(&statements.stored_version(id, state)?, observed),
                    VersionOrder::Older
                )
            {
                older.push(id);
            }
        }
        Ok(older)
    }
}

enum VersionOrder {
    Newer,
    Older,
    EarlierRequest,
}

fn compare_versions(stored: &StoredVersion, observed: &ObservedTicket) -> VersionOrder {
    if stored.row.is_none() {
        return VersionOrder::Newer;
    }
    match (stored.last_modified.as_deref(), last_modified(observed.ticket.values())) {
        // Timestamps have one fixed format, so their order as text is their order in time.
        (Some(stored), Some(received)) if received < stored => VersionOrder::Older,
        (Some(stored), Some(received)) if stored < received => VersionOrder::Newer,
        _ if stored.state.request_no <= observed.request_no => VersionOrder::Newer,
        _ => VersionOrder::EarlierRequest,
    }
}

/// Keeps one row for each id and returns how many were dropped: the later `last_update`, of equal ones the greater hash.
/// Where one is missing, the later request.
fn drop_doubles(observed_tickets: &mut Vec<&ObservedTicket>) -> u64 {
    if observed_tickets.is_sorted_by(|left, right| left.ticket.id() < right.ticket.id()) {
        return 0;
    }
    let mut best: HashMap<i64, &ObservedTicket> = HashMap::with_capacity(observed_tickets.len());
    for observed in observed_tickets.iter().copied() {
        best.entry(observed.ticket.id())
            .and_modify(|kept| {
                let (ours, theirs) = (kept.ticket.last_update(), observed.ticket.last_update());
                let is_better = match (ours, theirs) {
                    (Some(ours), Some(theirs)) if ours != theirs => ours < theirs,
                    (Some(_), None) | (None, Some(_)) => kept.request_no < observed.request_no,
                    _ => kept.hash < observed.hash,
                };
                if is_better {
                    *kept = observed;
                }
            })
            .or_insert(observed);
    }
    let received = observed_tickets.len();
    observed_tickets.retain(|observed| std::ptr::eq(best[&observed.ticket.id()], *observed));
    (received - observed_tickets.len()) as u64
}
