//! When a change cannot have been visible yet: the start of the newest verified scan that would have shown it.
//!
//! No row is written for that while nothing changes: `scans` says it.

use rusqlite::{Connection, OptionalExtension as _};

use super::change_record::{CUSTOM_FIELDS, ChangeRecord, REPAIRED, STATUS_RENAMED, WriteContext};
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
                 scan_id >= (SELECT COALESCE(MAX(scan_id), 0) FROM scans WHERE is_initial)
             FROM scans WHERE outcome IN ('verified', 'confirmed') ORDER BY scan_id DESC LIMIT ?1",
        )?;
        let scans = select.query_map([SCANS_MAX], |row| {
            Ok(VerifiedScan { started_at: row.get(0)?, updated_from: row.get(1)?, is_of_scope: row.get(2)? })
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
        let is_past = |at: &&str| *at <= context.now;
        match record.reason {
            Some(REPAIRED) => return Ok(None),
            // Read ticket by ticket after the scan, which need not have shown them.
            Some(reason) if reason.starts_with(CUSTOM_FIELDS) => return Ok(None),
            // No scan shows names of statuses.
            Some(STATUS_RENAMED) => return Ok(self.statuses_read_at.as_deref().filter(is_past)),
            _ if self.scans.is_empty() => return Ok(None),
            _ => {}
        }
        // A scan counts a ticket that it could not read, and leaves out values that it could not read.
        let is_unreadable = "SELECT EXISTS (SELECT 1 FROM pending_fetches WHERE UID = ?1 AND kind = 'ticket')
                 OR EXISTS (SELECT 1 FROM ticket_state WHERE UID = ?1 AND rejected IS NOT NULL)";
        if connection.prepare_cached(is_unreadable)?.query_row([record.id], |row| row.get(0))? {
            return Ok(None);
        }
        // Later scans did not see the ticket.
        let first_missed_at: Option<String> = connection
            .prepare_cached("SELECT first_missed_at FROM unlisted_tickets WHERE UID = ?1")?
            .query_row([record.id], |row| row.get(0))
            .optional()?;
        let first_missed_at = first_missed_at.as_deref();
        let newest = self.scans.iter().find(|scan| {
            scan.would_show(record) && first_missed_at.is_none_or(|missed| scan.started_at.as_str() < missed)
        });
        Ok(newest.map(|scan| scan.started_at.as_str()).filter(is_past))
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
            Op::Delete => self.updated_from.is_none(),
        }
    }
}
