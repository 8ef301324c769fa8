//! Pending tickets: the server lists them, but the row could not be read. Each is asked for again by its id until it is
//! stored or the server no longer has it (`pending_fetches` of kind `ticket`).

use std::collections::HashSet;

use chrono::TimeDelta;
use strum::IntoStaticStr;

use super::pending_fetches::FetchKind;
use super::{ObservedTicket, ReadTx, StoreError, UnlistedStatus, WriteTx};
use crate::ticket::Timestamp;
use crate::ticket::parse::{UnreadableReason, UnreadableTicket};

/// How many ids are named.
const NAMED_MAX: usize = 10;

/// The tickets that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingTickets {
    /// How many there are.
    pub count: u64,
    /// The first of their ids.
    pub first_ids: Vec<i64>,
}

/// A pending ticket that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueTicket {
    /// Its id.
    pub id: i64,
    /// Failed attempts.
    pub attempts: u32,
    /// Whether a run has met it as too large for memory: it is asked for alone.
    pub is_too_large: bool,
}

/// Why a pending ticket is still pending (`pending_fetches.reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum PendingTicketReason {
    /// Its row cannot be parsed, or its type cannot be read and the scope has types.
    Unreadable,
    /// Its row does not fit into memory.
    TooLarge,
    /// There was no memory for it beside other rows.
    Deferred,
    /// The server refuses to show it alone.
    Forbidden,
    /// The server has it, but does not list it by its id.
    NotListed,
    /// The server failed to answer for it.
    Unavailable,
}

impl From<UnreadableReason> for PendingTicketReason {
    fn from(reason: UnreadableReason) -> Self {
        match reason {
            UnreadableReason::Invalid => PendingTicketReason::Unreadable,
            UnreadableReason::Deferred => PendingTicketReason::Deferred,
            UnreadableReason::TooLarge => PendingTicketReason::TooLarge,
        }
    }
}

impl PendingTicketReason {
    /// The word in `pending_fetches.reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A ticket that could not be read is asked for again after this, then after twice this, and so on.
const PENDING_TICKET_PAUSE: TimeDelta = TimeDelta::minutes(5);

/// And at least this often.
pub const PENDING_TICKET_PAUSE_MAX: TimeDelta = TimeDelta::hours(6);

/// When a ticket that could not be read is due again, after so many earlier attempts.
#[must_use]
pub fn pending_ticket_due_at(attempts_before: u32, now: Timestamp) -> Timestamp {
    let pause = 2i32.checked_pow(attempts_before).map_or(PENDING_TICKET_PAUSE_MAX, |times| {
        (PENDING_TICKET_PAUSE * times).min(PENDING_TICKET_PAUSE_MAX)
    });
    now.plus(pause)
}

impl ReadTx<'_> {
    /// How many tickets are pending, and which.
    pub fn pending_tickets(&self) -> Result<PendingTickets, StoreError> {
        let ids = self.pending_ticket_ids()?;
        let first_ids = ids.iter().copied().take(NAMED_MAX).collect();
        Ok(PendingTickets { count: ids.len() as u64, first_ids })
    }

    /// The ids of the pending tickets, ascending.
    pub fn pending_ticket_ids(&self) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT UID FROM pending_fetches WHERE kind = 'ticket' ORDER BY UID";
        let mut statement = self.connection.prepare_cached(sql)?;
        let ids = statement.query_map([], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// The ids of pending tickets that were asked for already.
    fn asked_ticket_ids(&self) -> Result<HashSet<i64>, StoreError> {
        let sql = "SELECT UID FROM pending_fetches WHERE kind = 'ticket' AND 0 < attempts";
        let mut statement = self.connection.prepare_cached(sql)?;
        let ids = statement.query_map([], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// The pending tickets that are due, ascending by id. One due after `latest_due` was stored when the local clock was
    /// wrong.
    pub fn due_tickets(&self, now: Timestamp, latest_due: Timestamp) -> Result<Vec<DueTicket>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT UID, attempts, reason = 'too_large' FROM pending_fetches
             WHERE kind = 'ticket' AND (due_at <= ?1 OR ?2 < due_at) ORDER BY UID",
        )?;
        let due = statement.query_map((now.to_string(), latest_due.to_string()), |row| {
            Ok(DueTicket { id: row.get(0)?, attempts: row.get(1)?, is_too_large: row.get(2)? })
        })?;
        Ok(due.collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// Records what a scan listed and could not read, and what it could read again.
    ///
    /// An unreadable ticket becomes pending. One that is too large was asked for alone by the scan: it is due after the
    /// first pause, the others at once. One that is pending already keeps its time. A ticket of an earlier run that
    /// was stored, because it is in `listed` and not `older` than the stored version, is no longer pending; those that this
    /// run met have not been asked for yet, and stay so until then. An erased ticket is never pending.
    pub fn update_pending_tickets(
        &self,
        listed: &[ObservedTicket],
        older: &[i64],
        unreadable: &[UnreadableTicket],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let asked = self.as_read_tx().asked_ticket_ids()?;
        if !asked.is_empty() {
            let is_unreadable = |id| unreadable.iter().any(|ticket| ticket.id == id);
            let read = listed.iter().map(|observed| observed.ticket.id());
            for id in read.filter(|id| asked.contains(id) && !older.contains(id) && !is_unreadable(*id)) {
                self.complete_ticket(id)?;
            }
        }
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO pending_fetches (UID, kind, reason, attempts, due_at) SELECT ?1, 'ticket', ?2, ?3, ?4
             WHERE NOT EXISTS (SELECT 1 FROM purged WHERE UID = ?1)
             ON CONFLICT (UID, kind) DO UPDATE SET reason = excluded.reason",
        )?;
        for UnreadableTicket { id, reason } in unreadable {
            let (attempts, due_at) = match reason {
                UnreadableReason::Invalid | UnreadableReason::Deferred => (0, now),
                UnreadableReason::TooLarge => (1, pending_ticket_due_at(0, now)),
            };
            insert.execute((
                id,
                PendingTicketReason::from(*reason).as_str(),
                attempts,
                due_at.to_string(),
            ))?;
        }
        Ok(())
    }

    /// Counts a failed attempt and sets when the next one is due.
    pub fn reschedule_ticket(
        &self,
        id: i64,
        reason: PendingTicketReason,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.reschedule(FetchKind::Ticket, id, reason.as_str(), due_at)
    }

    /// Ends the wait for a ticket that was read, or that the server no longer has.
    pub fn complete_ticket(&self, id: i64) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("DELETE FROM pending_fetches WHERE UID = ?1 AND kind = 'ticket'")?
            .execute([id])?;
        Ok(())
    }

    /// Ends the wait for a ticket that the server no longer finds. If a version of it is stored, it is unlisted, and the
    /// next full scan decides.
    pub fn give_up_ticket(&self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        self.complete_ticket(id)?;
        if self.as_read_tx().stored_among(&[id])?.is_empty() {
            return Ok(());
        }
        self.record_unlisted(id, UnlistedStatus::Missing, now, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_ticket_is_asked_for_after_five_minutes_up_to_six_hours() {
        let now: Timestamp = "2026-03-04T10:20:30.000Z".parse().unwrap();
        let minutes =
            |attempts| (pending_ticket_due_at(attempts, now).instant() - now.instant()).num_minutes();
        let pauses: Vec<_> = (0..9).map(minutes).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 360, 360]);
        assert_eq!(minutes(u32::MAX), 360);
    }
}
