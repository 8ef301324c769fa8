//! Pending fetches: tickets whose custom fields must still be requested one by one.
//!
//! A pending fetch is created in the transaction that stores the version it belongs to
//! ([`WriteTx::upsert`]) and deleted when the fields are stored: no crash loses one, and no scan waits for
//! one.

use strum::IntoStaticStr;

use super::{ReadTx, StoreError, UnlistedStatus, WriteTx};
use crate::ticket::{CustomFields, Timestamp};

/// What a pending fetch is for (`pending_fetches.kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum FetchKind {
    /// The ticket itself (`store::pending_tickets`).
    Ticket,
    /// Its custom fields.
    CustomFields,
}

impl FetchKind {
    fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A ticket whose custom fields must be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingFetch {
    /// Its id.
    pub id: i64,
    /// Failed attempts.
    pub attempts: u32,
}

/// Why the last attempt failed (`pending_fetches.reason`). Before the first attempt the word is `unread`.
///
/// One word differs from its variant: `unreadable` is the word for a refusal, in the database, in `status` and in the
/// metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum FetchFailure {
    /// The answer was older than the stored version.
    Stale,
    /// The server refuses to show the ticket: its custom fields are unreadable for this agent.
    #[strum(serialize = "unreadable")]
    Forbidden,
    /// The answer could not be read.
    #[strum(serialize = "not_understood")]
    Unreadable,
    /// The answer was too large.
    TooLarge,
    /// The server failed to answer for this ticket.
    Unavailable,
}

impl FetchFailure {
    /// The word in `pending_fetches.reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Selects pending fetches that have failed before.
#[derive(Clone, Copy, Debug)]
pub struct DueFetchFilter {
    /// Selects those due before this instant.
    pub due_before: Timestamp,
    /// Selects those due after this instant, too: a pause that long means that the local clock was wrong
    /// when it was stored.
    pub latest_due: Timestamp,
    /// Whether to select those that the server refuses to show.
    pub include_forbidden: bool,
    /// The greatest number to select.
    pub limit: u32,
}

impl ReadTx<'_> {
    /// The pending fetches that were never attempted, with ids greater than `after`, ascending by id.
    pub fn unattempted_fetches(&self, after: i64, limit: u32) -> Result<Vec<PendingFetch>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT UID FROM pending_fetches WHERE kind = 'custom_fields' AND attempts = 0 AND ?1 < UID ORDER BY UID LIMIT ?2",
        )?;
        let fetches =
            statement.query_map((after, limit), |row| Ok(PendingFetch { id: row.get(0)?, attempts: 0 }))?;
        Ok(fetches.collect::<Result<_, _>>()?)
    }

    /// The number of custom fields that are pending and were never attempted.
    pub fn unattempted_fetch_count(&self) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) FROM pending_fetches WHERE kind = 'custom_fields' AND attempts = 0";
        Ok(self.connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)?)
    }

    /// The pending fetches that have failed before and are due, the longest overdue first.
    pub fn due_fetches(&self, filter: &DueFetchFilter) -> Result<Vec<PendingFetch>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT UID, attempts FROM pending_fetches
             WHERE kind = 'custom_fields' AND 0 < attempts AND (due_at < ?1 OR ?2 < due_at) AND (?3 OR reason <> 'unreadable')
             ORDER BY due_at, UID LIMIT ?4",
        )?;
        let DueFetchFilter { due_before, latest_due, include_forbidden, limit } = filter;
        let fetches = statement
            .query_map((due_before.to_string(), latest_due.to_string(), include_forbidden, limit), |row| {
                Ok(PendingFetch { id: row.get(0)?, attempts: row.get(1)? })
            })?;
        Ok(fetches.collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// Counts a failed attempt and sets when the next one is due.
    pub fn reschedule_fetch(
        &self,
        id: i64,
        reason: FetchFailure,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.reschedule(FetchKind::CustomFields, id, reason.as_str(), due_at)
    }

    pub(super) fn reschedule(
        &self,
        kind: FetchKind,
        id: i64,
        reason: &str,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE pending_fetches SET reason = ?3, attempts = attempts + 1, due_at = ?4
                 WHERE UID = ?1 AND kind = ?2",
            )?
            .execute((id, kind.as_str(), reason, due_at.to_string()))?;
        Ok(())
    }

    /// Makes a pending fetch an unlisted ticket, because the server no longer finds the ticket: the next
    /// full scan decides about it. Should the ticket be listed again, the fetch is enqueued again.
    pub fn move_to_unlisted(&self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("DELETE FROM pending_fetches WHERE UID = ?1 AND kind = 'custom_fields'")?
            .execute([id])?;
        self.record_unlisted(id, UnlistedStatus::Missing, now, now)
    }

    /// Enqueues a fetch if the custom fields of the ticket are not known.
    pub(super) fn enqueue_fetch_if_unknown(&self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO pending_fetches (UID, kind, reason, due_at) SELECT UID, 'custom_fields', 'unread', ?2 FROM ticket_state
                 WHERE UID = ?1 AND fields_hash IS NULL ON CONFLICT DO NOTHING",
            )?
            .execute((id, now.to_string()))?;
        Ok(())
    }

    /// Enqueues a fetch for every ticket, because the list turned out to show wrong custom fields.
    pub fn enqueue_all_fetches(&self, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute("UPDATE ticket_state SET fields_hash = NULL", [])?;
        self.connection.execute(
            "INSERT INTO pending_fetches (UID, kind, reason, due_at) SELECT UID, 'custom_fields', 'unread', ?1 FROM ticket_state WHERE true
             ON CONFLICT DO NOTHING",
            [now.to_string()],
        )?;
        Ok(())
    }

    /// Completes the fetches of tickets that were listed without custom fields, because the list leaves
    /// empty ones out. Tickets that have stored custom fields are still fetched, and those that were listed with custom
    /// fields in an unreadable form.
    pub fn assume_omitted_fields_empty(&self) -> Result<(), StoreError> {
        let empty = CustomFields::default().hash().cast_signed();
        self.connection.execute(
            "UPDATE ticket_state SET fields_hash = ?1, fields_no = request_no
             WHERE UID IN (SELECT UID FROM pending_fetches
                           WHERE kind = 'custom_fields' AND attempts = 0 AND reason = 'unread')
                 AND UID NOT IN (SELECT UID FROM custom_fields)",
            [empty],
        )?;
        self.connection.execute(
            "DELETE FROM pending_fetches WHERE kind = 'custom_fields' AND attempts = 0
                 AND UID IN (SELECT UID FROM ticket_state WHERE fields_hash IS NOT NULL)",
            [],
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The view `sync_health` counts the word of a refusal; readers of the database know the others.
    #[test]
    fn fetch_failures_have_the_words_of_the_schema() {
        for (failure, word) in [
            (FetchFailure::Stale, "stale"),
            (FetchFailure::Forbidden, "unreadable"),
            (FetchFailure::Unreadable, "not_understood"),
            (FetchFailure::TooLarge, "too_large"),
            (FetchFailure::Unavailable, "unavailable"),
        ] {
            assert_eq!(failure.as_str(), word);
        }
    }
}
