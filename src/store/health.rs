//! The state of the database for `status`, the metrics and `/readyz`.

use super::tx::parse_optional_timestamp;
use super::{InterruptedScan, LastFullScan, LastRun, LastScan, ReadTx, ServerProbe, StoreError};
use crate::ticket::Timestamp;
use crate::watermark::Watermark;

/// The state of the database. The counts and the time of the last complete run are the columns of the
/// view `sync_health`.
#[derive(Clone, Debug)]
pub struct Health {
    /// The watermark; `None` until the first run has started.
    pub watermark: Option<Watermark>,
    /// Stored tickets.
    pub tickets: u64,
    /// The newest change record, 0 before the first; records that aged out do not lower it.
    pub last_seq: i64,
    /// Tickets that are listed but could not be read.
    pub pending_tickets: u64,
    /// Single tickets that are still to be fetched, for themselves or for their custom fields.
    pub pending_fetches: u64,
    /// Tickets whose custom fields the server refuses to show.
    pub unreadable: u64,
    /// Tickets that the server no longer lists and that are not confirmed as deleted.
    pub unlisted_tickets: u64,
    /// Values and rows that could not be stored as received.
    pub rejects: u64,
    /// When the local copy was last complete, by the local clock: the end of a complete run, or of a
    /// verified incremental scan inside a full scan that takes longer than `interval`.
    pub last_complete_at: Option<Timestamp>,
    /// The last full scan that was verified or confirmed.
    pub last_full_scan: Option<LastFullScan>,
    /// The last scan that ended.
    pub last_scan: Option<LastScan>,
    /// A full scan that can be resumed.
    pub interrupted_scan: Option<InterruptedScan>,
    /// The last runs, newest first.
    pub runs: Vec<LastRun>,
    /// What is known about the server.
    pub probes: Vec<ServerProbe>,
}

impl ReadTx<'_> {
    /// The state of the database, with the last `runs` runs.
    pub fn health(&self, runs: u32) -> Result<Health, StoreError> {
        let sql = "SELECT tickets, pending_tickets, pending_fetches, unreadable, unlisted_tickets, rejects,
                   last_seq, last_complete_at FROM sync_health";
        let (counts, last_seq, last_complete_at) = self.connection.query_row(sql, [], |row| {
            let count = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            let counts = [count(0)?, count(1)?, count(2)?, count(3)?, count(4)?, count(5)?];
            Ok((counts, row.get(6)?, row.get(7)?))
        })?;
        let [tickets, pending_tickets, pending_fetches, unreadable, unlisted_tickets, rejects] = counts;
        Ok(Health {
            watermark: self.watermark()?,
            tickets,
            last_seq,
            pending_tickets,
            pending_fetches,
            unreadable,
            unlisted_tickets,
            rejects,
            last_complete_at: parse_optional_timestamp(last_complete_at)?,
            last_full_scan: self.last_full_scan()?,
            last_scan: self.last_scan()?,
            interrupted_scan: self.interrupted_scan()?,
            runs: self.last_runs(runs)?,
            probes: self.probes()?,
        })
    }
}
