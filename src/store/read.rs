//! What the floors above want to know, as values.

use std::collections::HashMap;

use roaring::RoaringTreemap;
use rusqlite::Connection;

use super::watermark::parse_timestamp;
use super::{InterruptedScan, LastFullScan, LastScan, ServerProbe, StoreError};
use crate::ticket::Timestamp;
use crate::watermark::Watermark;

/// A transaction that reads; everything it says belongs together.
pub struct ReadTx<'c> {
    pub(super) connection: &'c Connection,
}

/// How the copy stands.
#[derive(Clone, Debug)]
pub struct Health {
    /// The watermark, where there is one.
    pub watermark: Option<Watermark>,
    /// Tickets present.
    pub tickets: u64,
    /// The newest change.
    pub last_seq: i64,
    /// Tickets whose custom fields are owed.
    pub pending_fetches: u64,
    /// Tickets whose custom fields the server refuses to show.
    pub unreadable: u64,
    /// Tickets that the server did not show, and that are kept.
    pub unlisted_tickets: u64,
    /// Values and rows that could not be taken.
    pub rejects: u64,
    /// When a pass last ended complete.
    pub last_complete_at: Option<Timestamp>,
    /// The full walk that was last counted.
    pub last_full_scan: Option<LastFullScan>,
    /// The last walk that ended.
    pub last_scan: Option<LastScan>,
    /// A full walk that was interrupted.
    pub interrupted_scan: Option<InterruptedScan>,
    /// The last passes, the newest first.
    pub runs: Vec<LastRun>,
    /// Verdicts about the server.
    pub probes: Vec<ServerProbe>,
}

/// A pass as `runs` has it.
#[derive(Clone, Debug)]
pub struct LastRun {
    /// Its number.
    pub run_id: i64,
    /// `sync` or `dry_run`.
    pub kind: String,
    /// `complete`, `incomplete`, `failed`; `None` while under way or after a kill.
    pub outcome: Option<String>,
    /// Why it was not complete.
    pub error: Option<String>,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Its requests.
    pub requests: i64,
    /// What it created, updated and deleted.
    pub changes: [i64; 3],
}

/// A stored ticket, as far as the judgement of an absence needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTicket {
    /// Its number.
    pub id: i64,
    /// Its type.
    pub ticket_type: Option<i64>,
}

impl ReadTx<'_> {
    /// The names of the statuses.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn status_names(&self) -> Result<HashMap<i64, String>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT ID, NAME FROM statuses")?;
        let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// How many tickets there are.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn ticket_count(&self) -> Result<u64, StoreError> {
        let count: i64 =
            self.connection.query_row("SELECT COUNT(*) FROM ticket_state", [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The stored tickets that are not among `seen`.
    ///
    /// # Errors
    /// [`StoreError`]
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

    /// Those of some tickets that are stored.
    ///
    /// # Errors
    /// [`StoreError`]
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

    /// The stored tickets with their types.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn stored_tickets(&self) -> Result<Vec<StoredTicket>, StoreError> {
        let mut statement =
            self.connection.prepare("SELECT UID, TICKET_TYPE_ID FROM tickets ORDER BY UID")?;
        let rows =
            statement.query_map([], |row| Ok(StoredTicket { id: row.get(0)?, ticket_type: row.get(1)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How the copy stands, with the last `runs` passes.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn health(&self, runs: u32) -> Result<Health, StoreError> {
        let count = |table: &str| -> Result<u64, StoreError> {
            let sql = format!("SELECT COUNT(*) FROM {table}");
            let count: i64 = self.connection.query_row(&sql, [], |row| row.get(0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        };
        let last_complete_at = parse_timestamp(self.connection.query_row(
            // A full walk that takes hours makes way for following ones, each complete in itself.
            "SELECT MAX(ended_at) FROM (
                 SELECT ended_at FROM runs WHERE outcome = 'complete' AND kind = 'sync'
                 UNION ALL
                 SELECT ended_at FROM scans WHERE kind = 'incremental' AND outcome = 'verified')",
            [],
            |row| row.get(0),
        )?)?;
        Ok(Health {
            watermark: self.watermark()?,
            tickets: self.ticket_count()?,
            last_seq: self.greatest_seq()?,
            pending_fetches: count("pending_fetches WHERE reason <> 'unreadable'")?,
            unreadable: count("pending_fetches WHERE reason = 'unreadable'")?,
            unlisted_tickets: count("unlisted_tickets")?,
            rejects: count("rejects")?,
            last_complete_at,
            last_full_scan: self.last_full_scan()?,
            last_scan: self.last_scan()?,
            interrupted_scan: self.interrupted_scan()?,
            runs: self.last_runs(runs)?,
            probes: self.probes()?,
        })
    }

    fn last_runs(&self, limit: u32) -> Result<Vec<LastRun>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT run_id, kind, outcome, error, started_at, ended_at, requests, created, updated, deleted
             FROM runs ORDER BY run_id DESC LIMIT ?1",
        )?;
        let runs = statement.query_map([limit], |row| {
            Ok(LastRun {
                run_id: row.get(0)?,
                kind: row.get(1)?,
                outcome: row.get(2)?,
                error: row.get(3)?,
                started_at: row.get(4)?,
                ended_at: row.get(5)?,
                requests: row.get(6)?,
                changes: [row.get(7)?, row.get(8)?, row.get(9)?],
            })
        })?;
        Ok(runs.collect::<Result<_, _>>()?)
    }
}
