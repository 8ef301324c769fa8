//! Debts: tickets whose custom fields have to be asked for one by one, and have not been told yet.
//!
//! A debt is made in the transaction that stores the version it is of ([`super::Writing::upsert`]), and
//! goes when the fields are stored: no crash loses one, and no walk waits for them.

use super::{MISSING_STATUS, ReadTx, StoreError, WriteTx};
use crate::ticket::{CustomFields, Timestamp};

/// A ticket whose custom fields are owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingFetch {
    /// The ticket.
    pub id: i64,
    /// How often they were asked for in vain.
    pub attempts: u32,
}

/// Which debts that were asked for in vain are to be paid.
#[derive(Clone, Copy, Debug)]
pub struct DueFetchFilter {
    /// Those that were due before this.
    pub due_before: Timestamp,
    /// No debt can be due later than this, unless the local clock was wrong when it was put off.
    pub latest_due: Timestamp,
    /// Those that the server refuses to show, too.
    pub include_unreadable: bool,
    /// So many at the most.
    pub limit: u32,
}

impl ReadTx<'_> {
    /// Debts that were never asked for, in order of id, those behind `after`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn unattempted_fetches(&self, after: i64, limit: u32) -> Result<Vec<PendingFetch>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT UID FROM pending_fetches WHERE attempts = 0 AND ?1 < UID ORDER BY UID LIMIT ?2",
        )?;
        let fetches =
            statement.query_map((after, limit), |row| Ok(PendingFetch { id: row.get(0)?, attempts: 0 }))?;
        Ok(fetches.collect::<Result<_, _>>()?)
    }

    /// Debts that were asked for in vain and are due, the longest due first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn due_fetches(&self, filter: &DueFetchFilter) -> Result<Vec<PendingFetch>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT UID, attempts FROM pending_fetches
             WHERE 0 < attempts AND (due_at < ?1 OR ?2 < due_at) AND (?3 OR reason <> 'unreadable')
             ORDER BY due_at, UID LIMIT ?4",
        )?;
        let DueFetchFilter { due_before, latest_due, include_unreadable, limit } = filter;
        let fetches = statement.query_map(
            (due_before.to_string(), latest_due.to_string(), include_unreadable, limit),
            |row| Ok(PendingFetch { id: row.get(0)?, attempts: row.get(1)? }),
        )?;
        Ok(fetches.collect::<Result<_, _>>()?)
    }
}

impl WriteTx<'_> {
    /// Puts a debt off, because it was asked for in vain: `why` is a word.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn reschedule_fetch(&self, id: i64, reason: &str, due_at: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE pending_fetches SET reason = ?2, attempts = attempts + 1, due_at = ?3 WHERE UID = ?1",
            )?
            .execute((id, reason, due_at.to_string()))?;
        Ok(())
    }

    /// Closes a debt, because the server knows no such ticket: the next full walk judges that. Should the
    /// ticket be shown again, its fields are owed again, because they are still not known.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn move_to_unlisted(&self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        self.connection.prepare_cached("DELETE FROM pending_fetches WHERE UID = ?1")?.execute([id])?;
        self.record_unlisted(id, MISSING_STATUS, now, now)
    }

    /// A ticket whose custom fields are not known owes them.
    pub(super) fn enqueue_fetch_if_unknown(&self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO pending_fetches (UID, reason, due_at) SELECT UID, 'unread', ?2 FROM ticket_state
                 WHERE UID = ?1 AND fields_hash IS NULL ON CONFLICT DO NOTHING",
            )?
            .execute((id, now.to_string()))?;
        Ok(())
    }

    /// Every ticket owes its custom fields: what the list told of them was not right.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn enqueue_all_fetches(&self, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute("UPDATE ticket_state SET fields_hash = NULL", [])?;
        self.connection.execute(
            "INSERT INTO pending_fetches (UID, reason, due_at) SELECT UID, 'unread', ?1 FROM ticket_state WHERE true
             ON CONFLICT DO NOTHING",
            [now.to_string()],
        )?;
        Ok(())
    }

    /// Tickets that were listed without custom fields have none: the list leaves empty ones out. Those
    /// that have any stored are asked for all the same.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn assume_omitted_fields_empty(&self) -> Result<(), StoreError> {
        let empty = CustomFields::default().hash().cast_signed();
        self.connection.execute(
            "UPDATE ticket_state SET fields_hash = ?1, fields_no = request_no
             WHERE UID IN (SELECT UID FROM pending_fetches WHERE attempts = 0)
                 AND UID NOT IN (SELECT UID FROM custom_fields)",
            [empty],
        )?;
        self.connection.execute(
            "DELETE FROM pending_fetches WHERE attempts = 0
                 AND UID IN (SELECT UID FROM ticket_state WHERE fields_hash IS NOT NULL)",
            [],
        )?;
        Ok(())
    }
}
