//! Stored tickets: how many there are, which ones, and of which types.

use roaring::RoaringTreemap;
use rusqlite::OptionalExtension as _;

use super::tx::parse_timestamp;
use super::{ReadTx, StoreError};
use crate::ticket::Timestamp;

/// A stored ticket and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTicket {
    /// Its id.
    pub id: i64,
    /// The id of its ticket type.
    pub ticket_type: Option<i64>,
}

impl ReadTx<'_> {
    /// Counts the stored tickets.
    pub fn ticket_count(&self) -> Result<u64, StoreError> {
        let count: i64 =
            self.connection.query_row("SELECT COUNT(*) FROM ticket_state", [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The stored tickets that are not among `seen`, ascending.
    pub fn unseen_ids(&self, seen: &RoaringTreemap) -> Result<Vec<i64>, StoreError> {
        let mut statement = self.connection.prepare("SELECT UID FROM ticket_state ORDER BY UID")?;
        let mut unseen = Vec::new();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if !seen.contains(id.cast_unsigned()) {
                unseen.push(id);
            }
        }
        Ok(unseen)
    }

    /// Those of `ids` that are stored, in the given order.
    pub fn stored_among(&self, ids: &[i64]) -> Result<Vec<i64>, StoreError> {
        let mut statement =
            self.connection.prepare("SELECT EXISTS (SELECT 1 FROM ticket_state WHERE UID = ?1)")?;
        let mut stored = Vec::new();
        for id in ids {
            if statement.query_row([id], |row| row.get(0))? {
                stored.push(*id);
            }
        }
        Ok(stored)
    }

    /// All stored tickets with their types, ascending by id.
    pub fn stored_tickets(&self) -> Result<Vec<StoredTicket>, StoreError> {
        let mut statement =
            self.connection.prepare("SELECT UID, TICKET_TYPE_ID FROM tickets ORDER BY UID")?;
        let rows =
            statement.query_map([], |row| Ok(StoredTicket { id: row.get(0)?, ticket_type: row.get(1)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The newest `last_update` of a stored ticket that is not after `until`, the greatest id that has it,
    /// and how many tickets do. Reads the whole table, unless `index_last_modified` is set.
    pub fn newest_last_update(&self, until: Timestamp) -> Result<Option<(Timestamp, i64, u64)>, StoreError> {
        let newest: Option<(String, i64, i64)> = self
            .connection
            .query_row(
                "SELECT SOURCE_LAST_MODIFIED, MAX(UID), COUNT(*) FROM tickets WHERE SOURCE_LAST_MODIFIED =
                     (SELECT MAX(SOURCE_LAST_MODIFIED) FROM tickets WHERE SOURCE_LAST_MODIFIED <= ?1)
                 GROUP BY 1",
                [until.to_string()],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        let Some((text, id, count)) = newest else { return Ok(None) };
        Ok(Some((parse_timestamp(&text)?, id, count.cast_unsigned())))
    }

    /// Whether a ticket is stored with this `last_update`.
    pub fn has_last_update(&self, id: i64, last_update: Timestamp) -> Result<bool, StoreError> {
        Ok(self.connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM tickets WHERE UID = ?1 AND SOURCE_LAST_MODIFIED = ?2)",
            (id, last_update.to_string()),
            |row| row.get(0),
        )?)
    }
}
