//! When a change cannot have been visible yet: the start of the newest verified scan that would have shown it.
//!
//! No row is written for that while nothing changes: `scans` says it.

use rusqlite::{Connection, OptionalExtension as _};

use super::change_record::{
    CUSTOM_FIELDS, CUSTOM_FIELDS_OFF, ChangeRecord, ERASED, REPAIRED, STATUS_RENAMED, WriteContext,
};
use crate::store::StoreError;
use crate::ticket::Op;

/// So many scans are looked at; older ones say little.
const SCANS_MAX: u32 = 1_000;

/// A scan that was verified.
#[derive(Debug)]
struct VerifiedScan {
    /// By the local clock.
    started_at: String,
    /// The lower bound of an incremental scan.
    updated_from: Option<String>,
    /// Whether it belongs to the present scope: the initial load of that scope, or a later scan.
    is_of_scope: bool,
    /// By the local clock.
    ended_at: Option<String>,
    /// Whether its run was complete. Another one may have kept tickets that it did not see, because the delete guard held.
    is_of_complete_run: bool,
}

/// The verified scans, the newest first.
#[derive(Debug)]
pub(super) struct VerifiedScans {
    scans: Vec<VerifiedScan>,
    /// When the statuses were read last, before this transaction.
    statuses_read_at: Option<String>,
}

impl VerifiedScans {
    pub(super) fn read(connection: &Connection) -> Result<VerifiedScans, StoreError> {
        let mut select = connection.prepare_cached(
            "SELECT started_at, updated_from,
                 scan_id >= (SELECT COALESCE(MAX(scan_id), 0) FROM scans WHERE is_initial), ended_at,
                 (SELECT outcome FROM runs WHERE runs.run_id = scans.run_id) IS 'complete'
             FROM scans WHERE outcome IN ('verified', 'confirmed') ORDER BY scan_id DESC LIMIT ?1",
        )?;
        let scans = select.query_map([SCANS_MAX], |row| {
            Ok(VerifiedScan {
                started_at: row.get(0)?,
                updated_from: row.get(1)?,
                is_of_scope: row.get(2)?,
                ended_at: row.get(3)?,
                is_of_complete_run: row.get(4)?,
            })
        })?;
        let statuses_read_at = connection
            .prepare_cached(
                "SELECT read_at FROM reference_lists WHERE name = 'statuses' AND result = 'listed'",
            )?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(VerifiedScans { scans: scans.collect::<Result<_, _>>()?, statuses_read_at })
    }

    /// The lower bound of a change; `None` where no scan would have shown it, or where it is no event of the ticket.
    pub(super) fn not_before(
        &self,
        connection: &Connection,
        record: &ChangeRecord<'_>,
        context: WriteContext<'_>,
    ) -> Result<Option<&str>, StoreError> {
        // After the local clock stepped back its times say nothing.
        let is_past = |at: &str| at <= context.now;
        match record.reason {
            // Scans do not show what is fetched ticket by ticket; the others are no events of the ticket.
            Some(REPAIRED | CUSTOM_FIELDS | CUSTOM_FIELDS_OFF | ERASED) => return Ok(None),
            // Earlier scans need not have asked for these custom fields, nor the list have carried these extras; and they
            // showed a ticket that was erased here.
            _ if record.is_unbounded => return Ok(None),
            // No scan shows names of statuses.
            Some(STATUS_RENAMED) => {
                let read_at = self.statuses_read_at.as_deref();
                return Ok(read_at.filter(|at| is_past(at)));
            }
            _ if self.scans.is_empty() => return Ok(None),
            _ => {}
        }
        // Scans count a ticket as received that they cannot read. One that was never asked for alone was met in this run.
        let is_pending = "SELECT EXISTS
                 (SELECT 1 FROM pending_fetches WHERE UID = ?1 AND kind = 'ticket' AND 0 < attempts)";
        if connection.prepare_cached(is_pending)?.query_row([record.id], |row| row.get(0))? {
            return Ok(None);
        }
        // The scan that ended then did not see the ticket, nor did later ones.
        let first_missed_at: Option<String> = connection
            .prepare_cached("SELECT first_missed_at FROM unlisted_tickets WHERE UID = ?1")?
            .query_row([record.id], |row| row.get(0))
            .optional()?;
        let first_missed_at = first_missed_at.as_deref();
        let saw = match first_missed_at {
            None => &self.scans[..],
            // The order of scans is sure, that of times only as long as nobody sets the clock.
            Some(_) => {
                match self.scans.iter().rposition(|scan| scan.ended_at.as_deref() == first_missed_at) {
                    Some(missed) => &self.scans[missed + 1..],
                    None => &[],
                }
            }
        };
        let newest = saw.iter().find(|scan| scan.would_show(record));
        Ok(newest.map(|scan| scan.started_at.as_str()).filter(|at| is_past(at)))
    }
}

impl VerifiedScan {
    /// Whether it would have shown what a record says, had that been visible.
    fn would_show(&self, record: &ChangeRecord<'_>) -> bool {
        let covers = match (&self.updated_from, record.last_modified) {
            (None, _) => true,
            (Some(from), Some(last_modified)) => from.as_str() <= last_modified,
            (Some(_), None) => false,
        };
        match record.op {
            // A scan of another scope need not have shown a ticket that is new here.
            Op::Create => covers && self.is_of_scope,
            Op::Update => covers,
            // An incremental scan does not show that a ticket is gone.
            Op::Delete => self.updated_from.is_none() && self.is_of_complete_run,
        }
    }
}
