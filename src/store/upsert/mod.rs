//! The only writer of `tickets` and `changes`: a row is compared with what is stored, written where it
//! differs, and every difference is recorded.

mod custom_fields;
mod statements;

use std::collections::BTreeMap;

pub(super) use custom_fields::read_custom_fields;
pub use custom_fields::{FetchedCustomFields, StoreOutcome};
use statements::{ChangeRecord, TicketState, UpsertStatements, WriteContext, last_modified};
pub(super) use statements::{cell, columns};

use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::attribute::STATUS;
use crate::ticket::parse::{ReferenceItem, RejectedRow};
use crate::ticket::{
    AttributeValue, CellValue, CustomFields, Op, Ticket, TicketDiff, Timestamp, row_to_json,
};

/// A ticket as an answer showed it, and which answer that was.
#[derive(Debug)]
pub struct ObservedTicket {
    /// The ticket.
    pub ticket: Ticket,
    /// [`Ticket::hash`], taken where the ticket was parsed, off the writer's thread.
    pub hash: u64,
    /// What the answer told of its custom fields.
    pub custom_fields: CustomFieldsState,
    /// The number of the request; a later request has a greater one, over restarts too.
    pub request_no: i64,
}

/// What an answer told of a ticket's custom fields.
#[derive(Clone, Debug, PartialEq)]
pub enum CustomFieldsState {
    /// They are not copied.
    NotSynced,
    /// Nothing: where the ticket changed, they are owed.
    NotProvided,
    /// All of them.
    Provided(CustomFields),
}

/// What storing some sightings did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpsertCounts {
    /// Tickets that appeared.
    pub created: u64,
    /// Tickets that changed.
    pub updated: u64,
    /// Tickets that were stored already.
    pub unchanged: u64,
    /// Tickets shown in an older version than the stored one, which stays.
    pub older: Vec<i64>,
}

impl UpsertCounts {
    /// Adds the figures of a further batch.
    pub fn add(&mut self, more: UpsertCounts) {
        self.created += more.created;
        self.updated += more.updated;
        self.unchanged += more.unchanged;
        self.older.extend(more.older);
    }
}

/// Why a ticket leaves (`changes.reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalReason {
    /// The server does not know it any more.
    Vanished,
    /// The server says that it is deleted.
    Deleted,
    /// It was merged into another ticket and is not listed any more.
    Merged,
    /// It does not belong to what is copied any more.
    OutOfScope,
}

impl RemovalReason {
    /// Its word in `changes.reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RemovalReason::Vanished => "vanished",
            RemovalReason::Deleted => "deleted",
            RemovalReason::Merged => "merged",
            RemovalReason::OutOfScope => "out_of_scope",
        }
    }
}

/// A ticket that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Which.
    pub id: i64,
    /// Why.
    pub reason: RemovalReason,
}

impl WriteTx<'_> {
    /// Stores what answers showed.
    ///
    /// Applying the same sightings again, or in another order, gives the same rows and no further
    /// record: the later `last_update` wins; where they are equal or one is missing, the answer that
    /// was asked for later.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn upsert<'s>(
        &self,
        observed_tickets: impl IntoIterator<Item = &'s ObservedTicket>,
        run_id: i64,
        now: Timestamp,
    ) -> Result<UpsertCounts, StoreError> {
        let context = WriteContext { run_id, now: &now.to_string() };
        let mut statements = UpsertStatements::prepare(self.connection)?;
        let mut counts = UpsertCounts::default();
        for observed in observed_tickets {
            let ticket = &observed.ticket;
            let Some(state) = statements.stored_state(ticket.id())? else {
                statements.create(observed, context)?;
                counts.created += 1;
                continue;
            };
            if state.is_unchanged_by(observed) {
                counts.unchanged += 1;
                continue;
            }
            let old = statements.stored_row(ticket.id())?;
            match compare_versions(&old, &state, observed) {
                VersionOrder::Newer if statements.update((&state, &old), observed, None, context)? => {
                    counts.updated += 1
                }
                VersionOrder::Older => counts.older.push(ticket.id()),
                VersionOrder::Newer | VersionOrder::EarlierRequest => counts.unchanged += 1,
            }
        }
        Ok(counts)
    }

    /// Puts the names on the statuses, as they are now. In the transaction that stores them: names may come while
    /// rows are under way, and a ticket gets a new one only when it is stored or when the name changes.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn apply_status_names(&self, observed_tickets: &mut [ObservedTicket]) -> Result<(), StoreError> {
        let names = self.as_read_tx().status_names()?;
        for observed in observed_tickets {
            observed.ticket.resolve_status_name(|status| names.get(&status).cloned());
        }
        Ok(())
    }

    /// Stores versions that are older than the stored ones, because the server was asked and means
    /// them: it was restored from a backup.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn apply_older(
        &self,
        observed_tickets: &[ObservedTicket],
        run_id: i64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let context = WriteContext { run_id, now: &now.to_string() };
        let mut statements = UpsertStatements::prepare(self.connection)?;
        let mut applied = 0;
        for observed in observed_tickets {
            let id = observed.ticket.id();
            let Some(state) = statements.stored_state(id)? else { continue };
            let old = statements.stored_row(id)?;
            applied += u64::from(statements.update((&state, &old), observed, Some("went_back"), context)?);
        }
        Ok(applied)
    }

    /// Removes tickets and records why, with the last known row.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn remove(&self, removals: &[Removal], run_id: i64, now: Timestamp) -> Result<u64, StoreError> {
        let context = WriteContext { run_id, now: &now.to_string() };
        let mut statements = UpsertStatements::prepare(self.connection)?;
        let mut removed = 0;
        for Removal { id, reason } in removals {
            if statements.stored_state(*id)?.is_none() {
                continue;
            }
            let row = statements.stored_row(*id)?;
            let last_row =
                row_to_json(row.iter().map(AttributeValue::as_cell), &statements.stored_custom_fields(*id)?);
            let record = ChangeRecord {
                reason: Some(reason.as_str()),
                last_modified: last_modified(&row),
                last_row: Some(&last_row),
                ..ChangeRecord::new(*id, Op::Delete)
            };
            statements.record_change(record, context)?;
            for table in
                ["tickets", "ticket_state", "custom_fields", "rejects", "unlisted_tickets", "pending_fetches"]
            {
                self.connection
                    .prepare_cached(&format!("DELETE FROM {table} WHERE UID = ?1"))?
                    .execute([id])?;
            }
            removed += 1;
        }
        Ok(removed)
    }

    /// Replaces the status list; tickets of a status that got another name get it too, each with a
    /// record.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn replace_statuses(
        &self,
        statuses: &[ReferenceItem],
        closed: Option<&[i64]>,
        run_id: i64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let old = self.as_read_tx().status_names()?;
        self.connection.execute("DELETE FROM statuses", [])?;
        let mut insert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO statuses (ID, NAME, TYPE, SEQUENCE, COLOUR, CLOSED) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut names = BTreeMap::new();
        for status in statuses {
            let ReferenceItem { id, name, details } = status;
            let closed = closed.map(|closed| closed.contains(id));
            insert.execute((id, name, details.kind, details.sequence, &details.color, closed))?;
            names.insert(*id, name.clone());
        }
        let mut renamed = 0;
        let ids: std::collections::BTreeSet<_> = old.keys().chain(names.keys()).copied().collect();
        for id in ids {
            if old.get(&id) != names.get(&id) {
                let name = names.get(&id).cloned().unwrap_or_else(|| id.to_string());
                renamed += self.rename_status(id, &name, run_id, now)?;
            }
        }
        Ok(renamed)
    }

    fn rename_status(&self, status: i64, name: &str, run_id: i64, now: Timestamp) -> Result<u64, StoreError> {
        let context = WriteContext { run_id, now: &now.to_string() };
        let mut statements = UpsertStatements::prepare(self.connection)?;
        let mut select = self.connection.prepare_cached(
            "SELECT UID, STATUS, SOURCE_LAST_MODIFIED FROM tickets WHERE STATUS_ID = ?1 AND STATUS IS NOT ?2 ORDER BY UID",
        )?;
        let tickets: Vec<(i64, Option<String>, Option<String>)> = select
            .query_map((status, name), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        for (id, old, last_modified) in &tickets {
            let old = old.as_deref().map_or(CellValue::Null, CellValue::Text);
            let record = ChangeRecord {
                reason: Some("status_renamed"),
                last_modified: last_modified.as_deref(),
                changed: Some(&TicketDiff::of_attribute(STATUS, old, CellValue::Text(name)).to_json()),
                ..ChangeRecord::new(*id, Op::Update)
            };
            statements.record_change_only(record, context)?;
            self.connection
                .prepare_cached("UPDATE tickets SET STATUS = ?2 WHERE UID = ?1")?
                .execute((id, name))?;
        }
        Ok(tickets.len() as u64)
    }

    /// Keeps rows that are no tickets, each once.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn record_rejected_rows(
        &self,
        rejected_rows: &[RejectedRow],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO rejects (UID, attribute, reason, raw, seen_at)
             SELECT NULL, NULL, ?1, ?2, ?3
             WHERE NOT EXISTS (SELECT 1 FROM rejects WHERE UID IS NULL AND raw = ?2)",
        )?;
        for RejectedRow { rejected } in rejected_rows {
            insert.execute((rejected.reason, &rejected.raw, now.to_string()))?;
        }
        Ok(())
    }
}

impl ReadTx<'_> {
    /// Which of the sightings are older than the stored versions.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn older_among(&self, observed_tickets: &[ObservedTicket]) -> Result<Vec<i64>, StoreError> {
        let mut statements = UpsertStatements::prepare(self.connection)?;
        let mut older = Vec::new();
        for observed in observed_tickets {
            let id = observed.ticket.id();
            let Some(state) = statements.stored_state(id)? else { continue };
            if !state.is_unchanged_by(observed)
                && matches!(
                    compare_versions(&statements.stored_row(id)?, &state, observed),
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

fn compare_versions(old: &[AttributeValue], state: &TicketState, observed: &ObservedTicket) -> VersionOrder {
    match (last_modified(old), last_modified(observed.ticket.values())) {
        // One spelling of 24 characters: the order of the texts is the order of the instants.
        (Some(stored), Some(shown)) if shown < stored => VersionOrder::Older,
        (Some(stored), Some(shown)) if stored < shown => VersionOrder::Newer,
        _ if state.request_no <= observed.request_no => VersionOrder::Newer,
        _ => VersionOrder::EarlierRequest,
    }
}
