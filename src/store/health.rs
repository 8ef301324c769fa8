//! The state of the database for `status`, the metrics and `/readyz`.

use super::tx::parse_optional_timestamp;
use super::{
    InterruptedScan, LastFullScan, LastRun, LastScan, PendingTickets, ReadTx, ReferenceList, ServerProbe,
    StoreError, Traces, UnlistedStatus,
};
use crate::reference::ReferenceTable;
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
    pub pending_tickets: PendingTickets,
    /// Single tickets that are still to be fetched, for themselves or for their custom fields.
    pub pending_fetches: u64,
    /// Tickets whose custom fields the server refuses to show.
    pub unreadable: u64,
    /// Tickets that the server no longer lists and that are not confirmed as deleted.
    pub unlisted_tickets: u64,
    /// How many of them have each status.
    pub unlisted_by_status: Vec<(UnlistedStatus, u64)>,
    /// Tickets that were erased here and are not stored again.
    pub erased_tickets: u64,
    /// Whether values that `[privacy]` holds back may be left in the files of the database.
    pub has_privacy_traces: bool,
    /// Values and rows that could not be stored as received.
    pub rejects: u64,
    /// Those of them that are rows without a usable id.
    pub rejected_rows: u64,
    /// When the local copy was last complete, by the local clock: the end of a complete run, or of a
    /// verified incremental scan inside a full scan that takes longer than `interval`.
    pub last_complete_at: Option<Timestamp>,
    /// The last full scan that was verified or confirmed.
    pub last_full_scan: Option<LastFullScan>,
    /// The last scan that ended.
    pub last_scan: Option<LastScan>,
    /// A full scan that can be resumed.
    pub interrupted_scan: Option<InterruptedScan>,
    /// The server's last count of the list of that scan.
    pub interrupted_scan_count: Option<u64>,
    /// The last runs, newest first.
    pub runs: Vec<LastRun>,
    /// What is known about the server.
    pub probes: Vec<ServerProbe>,
    /// When each reference table was read last, and what came of it.
    pub reference_lists: Vec<(&'static ReferenceTable, ReferenceList)>,
}

impl Health {
    /// How many of the tickets that the server lists an unfinished initial load has stored. After a change of scope there are
    /// older ones too.
    #[must_use]
    pub fn saved_by_initial_load(&self) -> u64 {
        self.interrupted_scan.as_ref().map_or(self.tickets, |scan| scan.received().min(self.tickets))
    }
}

impl Health {
    /// Tickets whose custom fields are still to be fetched.
    #[must_use]
    pub fn pending_custom_fields(&self) -> u64 {
        self.pending_fetches.saturating_sub(self.pending_tickets.count)
    }
}

impl ReadTx<'_> {
    /// The state of the database, with the last `runs` runs.
    pub fn health(&self, runs: u32) -> Result<Health, StoreError> {
        let sql = "SELECT tickets, pending_fetches, unreadable, unlisted_tickets, rejects,
                   last_seq, last_complete_at FROM sync_health";
        let (counts, last_seq, last_complete_at) = self.connection.query_row(sql, [], |row| {
            let count = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            let counts = [count(0)?, count(1)?, count(2)?, count(3)?, count(4)?];
            Ok((counts, row.get(5)?, row.get(6)?))
        })?;
        let [tickets, pending_fetches, unreadable, unlisted_tickets, rejects] = counts;
        let interrupted_scan = self.interrupted_scan()?;
        let interrupted_scan_count =
            interrupted_scan.as_ref().map(|scan| self.scan_record_count(scan.scan_id)).transpose()?.flatten();
        Ok(Health {
            watermark: self.watermark()?,
            tickets,
            last_seq,
            pending_tickets: self.pending_tickets()?,
            pending_fetches,
            unreadable,
            unlisted_tickets,
            unlisted_by_status: self.unlisted_by_status()?,
            erased_tickets: self.purged_count()?,
            has_privacy_traces: self.privacy_traces()? != Traces::Removed,
            rejects,
            rejected_rows: self.rejected_row_count()?,
            last_complete_at: parse_optional_timestamp(last_complete_at)?,
            last_full_scan: self.last_full_scan()?,
            last_scan: self.last_scan()?,
            interrupted_scan,
            interrupted_scan_count,
            runs: self.last_runs(runs)?,
            probes: self.probes()?,
            reference_lists: self.reference_lists()?,
        })
    }
}
