//! Unlisted tickets: stored here, no longer listed by the server, and not confirmed as deleted.

use roaring::RoaringTreemap;
use strum::{EnumString, IntoStaticStr};

use super::tx::{parse_timestamp, parse_word};
use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::Timestamp;

/// What is known about an unlisted ticket (`unlisted_tickets.status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString, serde::Serialize)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum UnlistedStatus {
    /// The delete guard holds: it has not been requested, or is not deleted although the server no longer has it.
    Guarded,
    /// It has not been requested, because too many requests failed.
    NotAsked,
    /// It was not found when its custom fields were requested. The next full scan that does not list it
    /// requests it again.
    Missing,
    /// The server refuses to show it.
    Forbidden,
    /// The server returns it, and it belongs to the scope, but the list does not contain it.
    NotListed,
    /// The answer could not be read.
    Unreadable,
}

impl UnlistedStatus {
    /// The word in `unlisted_tickets.status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A row of `unlisted_tickets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlistedTicket {
    /// Its id.
    pub id: i64,
    /// What is known about it.
    pub status: UnlistedStatus,
    /// When a scan first did not list it, by the local clock.
    pub first_missed_at: Timestamp,
    /// When it is requested again.
    pub ask_again_at: Timestamp,
}

impl ReadTx<'_> {
    /// The unlisted tickets, ascending by id.
    pub fn unlisted_tickets(&self) -> Result<Vec<UnlistedTicket>, StoreError> {
        let sql = "SELECT UID, status, first_missed_at, ask_again_at FROM unlisted_tickets ORDER BY UID";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut unlisted = Vec::new();
        while let Some(row) = rows.next()? {
            unlisted.push(UnlistedTicket {
                id: row.get(0)?,
                status: parse_word("unlisted_tickets.status", &row.get::<_, String>(1)?)?,
                first_missed_at: parse_timestamp(&row.get::<_, String>(2)?)?,
                ask_again_at: parse_timestamp(&row.get::<_, String>(3)?)?,
            });
        }
        Ok(unlisted)
    }

    /// How many unlisted tickets have each status, by its word.
    pub(super) fn unlisted_by_status(&self) -> Result<Vec<(UnlistedStatus, u64)>, StoreError> {
        let sql = "SELECT status, COUNT(*) FROM unlisted_tickets GROUP BY status ORDER BY status";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut counts = Vec::new();
        while let Some(row) = rows.next()? {
            let status = parse_word("unlisted_tickets.status", &row.get::<_, String>(0)?)?;
            counts.push((status, row.get::<_, i64>(1)?.cast_unsigned()));
        }
        Ok(counts)
    }

    /// How many tickets the delete guard keeps.
    pub fn guarded_ticket_count(&self) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) FROM unlisted_tickets WHERE status = ?1";
        let count: i64 =
            self.connection.query_row(sql, [UnlistedStatus::Guarded.as_str()], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }
}

impl WriteTx<'_> {
    /// Records that a ticket is unlisted, and when to request it again. An erased one is not.
    pub fn record_unlisted(
        &self,
        id: i64,
        status: UnlistedStatus,
        now: Timestamp,
        ask_again_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO unlisted_tickets (UID, status, first_missed_at, ask_again_at) SELECT ?1, ?2, ?3, ?4
                 WHERE NOT EXISTS (SELECT 1 FROM purged WHERE UID = ?1)
                 ON CONFLICT (UID) DO UPDATE SET status = excluded.status, ask_again_at = excluded.ask_again_at",
            )?
            .execute((id, status.as_str(), now.to_string(), ask_again_at.to_string()))?;
        Ok(())
    }

    /// Removes the tickets in `seen` from the unlisted ones, in whatever version they were received. If
    /// their custom fields are synchronized and not known, fetching them is enqueued again.
    pub fn clear_unlisted(&self, seen: &RoaringTreemap, now: Timestamp) -> Result<(), StoreError> {
        let unlisted = self.as_read_tx().unlisted_tickets()?;
        let mut relisted =
            unlisted.iter().filter(|ticket| seen.contains(ticket.id.cast_unsigned())).peekable();
        if relisted.peek().is_none() {
            return Ok(());
        }
        let has_custom_fields = self.as_read_tx().has_custom_fields()?;
        let mut delete = self.connection.prepare("DELETE FROM unlisted_tickets WHERE UID = ?1")?;
        for ticket in relisted {
            delete.execute([ticket.id])?;
            if has_custom_fields {
                self.enqueue_fetch_if_unknown(ticket.id, now)?;
            }
        }
        Ok(())
    }
}
