//! Erased tickets: `purged` names them, so that nothing that the server still shows of them is stored again.
//!
//! `upsert` and the writers of pending and unlisted tickets leave them out; their ids count as received all the same,
//! because scans count what was listed.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::OptionalExtension as _;

use super::full_text::optimize_full_text;
use super::tx::parse_timestamp;
use super::upsert::ERASED;
use super::{ReadTx, Store, StoreError, WriteTx};
use crate::ticket::Timestamp;

/// A row of `purged`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgedTicket {
    /// The id of the ticket.
    pub id: i64,
    /// When it was erased first, by the local clock.
    pub purged_at: Timestamp,
    /// The reason that was given then.
    pub reason: String,
}

/// What erasing a ticket did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketPurge {
    /// The ticket.
    pub ticket: PurgedTicket,
    /// Whether it had been erased before.
    pub was_purged: bool,
    /// The number of the change record of the erasure; `None` where it aged out.
    pub seq: Option<i64>,
}

/// Where something can be known of a ticket.
const TABLES: [&str; 8] = [
    "tickets",
    "ticket_state",
    "ticket_extra",
    "custom_fields",
    "changes",
    "pending_fetches",
    "unlisted_tickets",
    "rejects",
];

impl ReadTx<'_> {
    /// The ids of the erased tickets. There are few.
    pub(super) fn purged_ids(&self) -> Result<BTreeSet<i64>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT UID FROM purged")?;
        let ids = statement.query_map([], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Whether a ticket was erased.
    pub fn is_purged(&self, id: i64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM purged WHERE UID = ?1)";
        Ok(self.connection.prepare_cached(sql)?.query_row([id], |row| row.get(0))?)
    }

    /// How many tickets were erased.
    pub(super) fn purged_count(&self) -> Result<u64, StoreError> {
        let count: i64 = self.connection.query_row("SELECT COUNT(*) FROM purged", [], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }

    /// When and why a ticket was erased, if it was.
    pub fn purged_ticket(&self, id: i64) -> Result<Option<PurgedTicket>, StoreError> {
        let sql = "SELECT purged_at, reason FROM purged WHERE UID = ?1";
        let row: Option<(String, String)> =
            self.connection.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        row.map(|(at, reason)| Ok(PurgedTicket { id, purged_at: parse_timestamp(&at)?, reason })).transpose()
    }

    /// Whether anything is known of a ticket.
    fn is_known(&self, id: i64) -> Result<bool, StoreError> {
        for table in TABLES {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE UID = ?1)");
            if self.connection.query_row(&sql, [id], |row| row.get(0))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl WriteTx<'_> {
    /// Erases a ticket: its rows, the values in its change records, and packages that an export has not published yet. It
    /// is not stored again. `None` if nothing is known of it. One that is erased already keeps its time and reason.
    ///
    /// Another ticket becomes the canary if this one was it; more than `canary_max` with the same last update are too many.
    ///
    /// The values are still in the files afterwards: [`Store::remove_traces`] removes them.
    pub fn purge(
        &self,
        id: i64,
        reason: &str,
        canary_max: u64,
        now: Timestamp,
    ) -> Result<Option<TicketPurge>, StoreError> {
        let read_tx = self.as_read_tx();
        let before = read_tx.purged_ticket(id)?;
        let was_purged = before.is_some();
        if !was_purged && !read_tx.is_known(id)? {
            return Ok(None);
        }
        let ticket = before.unwrap_or_else(|| PurgedTicket { id, purged_at: now, reason: reason.to_owned() });
        self.connection.execute(
            "INSERT INTO purged (UID, purged_at, reason) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            (id, ticket.purged_at.to_string(), &ticket.reason),
        )?;
        self.erase_ticket(id, was_purged, now)?;
        self.replace_canary(id, canary_max, now)?;
        let values = read_tx.held_values(id)?;
        for package in read_tx.holding_packages(&values)?.iter().filter(|package| !package.is_published) {
            // The next export would publish it; without its record the files are moved away.
            self.connection.execute(
                "DELETE FROM packages WHERE consumer = ?1 AND to_seq = ?2 AND from_seq = ?3",
                (&package.consumer, package.to_seq, package.from_seq),
            )?;
        }
        // What the lake has of the ticket goes with the epochs before the next one.
        self.end_lake_epoch(ERASED)?;
        let sql = "SELECT MAX(seq) FROM changes WHERE UID = ?1 AND op = 'd' AND reason = ?2";
        let seq = self.connection.query_row(sql, (id, ERASED), |row| row.get(0))?;
        Ok(Some(TicketPurge { ticket, was_purged, seq }))
    }

    /// Lets an erased ticket be stored again. Returns what was known of the erasure, if it was erased.
    ///
    /// An interrupted full scan that has received the ticket, and did not store it, starts again.
    pub fn undo_purge(&self, id: i64) -> Result<Option<PurgedTicket>, StoreError> {
        let purged = self.as_read_tx().purged_ticket(id)?;
        if let Some(scan) = self.as_read_tx().interrupted_scan()?.filter(|_| purged.is_some())
            && (scan.checkpoint.ids.contains(id.cast_unsigned())
                || scan.earlier_list_ids.contains(id.cast_unsigned()))
        {
            self.record_checkpoint(scan.scan_id, None)?;
        }
        self.connection.execute("DELETE FROM purged WHERE UID = ?1", [id])?;
        Ok(purged)
    }

    fn replace_canary(&self, id: i64, canary_max: u64, now: Timestamp) -> Result<(), StoreError> {
        let Some(mut watermark) = self.as_read_tx().watermark()? else { return Ok(()) };
        if watermark.canary != Some(id) {
            return Ok(());
        }
        let newest = match watermark.covered_until {
            Some(until) => self.as_read_tx().newest_last_update(until)?,
            None => None,
        };
        watermark.newest_seen = newest.map(|(last_update, ..)| last_update);
        watermark.canary =
            newest.filter(|(_, _, tickets)| *tickets <= canary_max).map(|(_, canary, _)| canary);
        self.set_watermark(&watermark, None, None, now)
    }
}

/// Where deleted values may be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traces {
    /// Nowhere.
    Removed,
    /// In the write-ahead log.
    InLog,
    /// In the database file, too.
    InDatabase,
}

impl Store {
    /// Removes what deleted values leave in the files: in the full-text index, in pages that were rearranged while they
    /// were stored, which `secure_delete` does not overwrite, and in the write-ahead log. Writes the whole database anew,
    /// which needs twice its size of free space, half of it for a temporary file. Returns what is left where a reader still
    /// uses the log after `busy_timeout`.
    ///
    /// # Errors
    /// On error the content of the database is as it was, and so are the traces.
    pub fn remove_traces(&self) -> Result<Traces, StoreError> {
        optimize_full_text(&self.connection)?;
        // Before the database is written anew, which would all stay in the log of a reader.
        if self.truncate_wal(self.busy_timeout)? {
            return Ok(Traces::InDatabase);
        }
        if let Err(error) = self.connection.execute_batch("VACUUM") {
            // What it wrote to the log takes the space of what it needs.
            self.truncate_wal(self.busy_timeout)?;
            return Err(error.into());
        }
        Ok(if self.truncate_wal(self.busy_timeout)? { Traces::InLog } else { Traces::Removed })
    }

    /// Removes what deleted values leave in the write-ahead log, without waiting for readers. Returns whether that was
    /// possible.
    pub fn empty_log(&self) -> Result<bool, StoreError> {
        Ok(!self.truncate_wal(Duration::ZERO)?)
    }
}
