//! Rows that another program edited or lost, and what a full scan needs to repair them.
//!
//! Every write of `tickets`, `ticket_extra` and `custom_fields` empties the hash in `ticket_state` by a trigger; `upsert` sets
//! it again in the same transaction. A row without a hash is therefore an edit by another program, and costs
//! the scan nothing to find: it cannot be equal to a received row, so it is compared.
//!
//! No trigger sees a row that a damaged file lost. Those rows are found before each full scan, by joins
//! without network, and are only marked: what is right is decided by what the server shows, and a ticket that
//! it does not show leaves by the way of every unlisted ticket (asked for by its id, within the delete guard).

use std::fmt;

use roaring::RoaringTreemap;
use rusqlite::Connection;

use super::change_record::{ChangeRecord, REPAIRED, WriteContext};
use super::statements::{UpsertStatements, mark_edited};
use crate::store::full_text::repair_full_text;
use crate::store::{ReadTx, StoreError, WriteTx};
use crate::ticket::attribute::STATUS;
use crate::ticket::{CellValue, Op, TicketDiff, Timestamp};

/// The low bits of a request number count the requests of a run; the high bits are its `run_id`.
pub const REQUEST_NUMBER_BITS: u32 = 32;

/// Rows of the local database that do not agree with each other, as ids of tickets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalEdits {
    /// Rows of `tickets`, `ticket_extra` or `custom_fields` that another program wrote.
    pub edited: RoaringTreemap,
    /// Tickets without a row in `tickets` that should have one.
    pub lost: RoaringTreemap,
    /// Rows of `tickets` without one in `ticket_state`.
    pub without_state: RoaringTreemap,
    /// Stored tickets that were never recorded as created, or are recorded as deleted.
    pub unrecorded: RoaringTreemap,
    /// Tickets whose `STATUS` is not the name of their status.
    pub status_names: RoaringTreemap,
    /// Tickets with custom fields or extras that should have none: they are not stored, or custom fields are not
    /// synchronized.
    pub orphaned_fields: RoaringTreemap,
}

impl LocalEdits {
    /// The kinds, each with the words for its number.
    fn kinds(&self) -> [(&RoaringTreemap, &'static str); 6] {
        [
            (&self.edited, "edited"),
            (&self.lost, "lost"),
            (&self.without_state, "without a row in ticket_state"),
            (&self.unrecorded, "not recorded in changes"),
            (&self.status_names, "with a wrong status name"),
            (&self.orphaned_fields, "with custom fields or extras that belong to no stored ticket"),
        ]
    }

    /// Whether everything agrees.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds().iter().all(|(ids, _)| ids.is_empty())
    }
}

impl fmt::Display for LocalEdits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "tickets: ";
        for (ids, kind) in self.kinds() {
            if let Some(first) = ids.min() {
                write!(out, "{separator}{} {kind} (the first is {})", ids.len(), first.cast_signed())?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

impl ReadTx<'_> {
    /// Finds rows that another program edited or lost. Reads `tickets`, `ticket_state` and the ids of `changes`
    /// and `custom_fields` once; hashes nothing (that is [`ReadTx::unequal_hashes`]).
    pub fn find_local_edits(&self) -> Result<LocalEdits, StoreError> {
        let mut edits = LocalEdits::default();
        let tickets = self.collect_ids(
            "SELECT t.UID, n.NAME IS NOT NULL AND t.STATUS IS NOT n.NAME
             FROM tickets t LEFT JOIN statuses n ON n.ID = t.STATUS_ID",
            &mut edits.status_names,
        )?;
        let mut edited_rows = RoaringTreemap::new();
        let states = self.collect_ids("SELECT UID, hash IS NULL FROM ticket_state", &mut edited_rows)?;
        let has_custom_fields = self.has_custom_fields()?;
        if has_custom_fields {
            edits.edited = self.collect_ids(
                "SELECT UID, 0 FROM ticket_state WHERE fields_no = 0 AND fields_hash IS NULL",
                &mut RoaringTreemap::new(),
            )?;
        }
        edits.edited |= &edited_rows;
        // After a loss no record proves anything; then a new lineage begins.
        let first_seq = self.change_log_extent()?.first_complete_seq();
        let mut deleted = RoaringTreemap::new();
        let recorded = self.collect_ids(
            &format!(
                "SELECT c.UID, c.op = 'd' FROM changes c JOIN
                     (SELECT UID, MAX(seq) AS seq FROM changes WHERE {first_seq} <= seq GROUP BY UID) l
                     ON l.seq = c.seq"
            ),
            &mut deleted,
        )?;
        let existing = &recorded - &deleted;
        edits.lost = (&states | &existing) - &tickets;
        edits.without_state = &tickets - &states;
        edits.unrecorded = (&tickets & &states) & &deleted;
        if first_seq == 1 {
            // All records are there: a ticket without one was not stored by halosync.
            edits.unrecorded |= (&tickets & &states) - &recorded;
        }
        let with_fields = self.collect_ids(
            // One look for each ticket, not one for each field.
            "WITH RECURSIVE ids (UID) AS (
                 SELECT MIN(UID) FROM custom_fields UNION ALL
                 SELECT (SELECT MIN(f.UID) FROM custom_fields f WHERE ids.UID < f.UID) FROM ids
                 WHERE ids.UID IS NOT NULL
             ) SELECT UID, 0 FROM ids WHERE UID IS NOT NULL",
            &mut RoaringTreemap::new(),
        )?;
        let with_extras = self.collect_ids("SELECT UID, 0 FROM ticket_extra", &mut RoaringTreemap::new())?;
        let may_have = (&states | &edits.lost) | &edits.without_state;
        edits.orphaned_fields = if has_custom_fields { with_fields - &may_have } else { with_fields };
        edits.orphaned_fields |= with_extras - may_have;
        edits.edited -= &edits.lost;
        // The scan compares the whole row, status name included.
        for compared in [&edited_rows, &edits.without_state, &edits.unrecorded] {
            edits.status_names -= compared;
        }
        Ok(edits)
    }

    /// The ids in the first column of a query; those whose second column is true are added to `flagged`, too.
    fn collect_ids(&self, sql: &str, flagged: &mut RoaringTreemap) -> Result<RoaringTreemap, StoreError> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut ids = RoaringTreemap::new();
        while let Some(row) = rows.next()? {
            let id = row.get::<_, i64>(0)?.cast_unsigned();
            ids.insert(id);
            if row.get::<_, bool>(1)? {
                flagged.insert(id);
            }
        }
        Ok(ids)
    }
}

impl WriteTx<'_> {
    /// Finds rows that another program edited or lost, and makes the next full scan repair them.
    ///
    /// Call it in the transaction that begins or resumes a full scan, before its first page is stored. Status
    /// names are corrected at once, each with a change record (`u`, reason `repaired`). Every other ticket is
    /// only marked in `ticket_state`:
    ///
    /// - If the scan shows it, [`WriteTx::upsert`] compares it with what is stored. A difference is one change
    ///   record `u` with the reason `repaired`, also for a row that was lost: consumers have it already. It is
    ///   `c` only if no consumer can have it.
    /// - If the scan does not show it, it counts as stored, also without a row in `tickets`. So it is unlisted:
    ///   the server is asked about it by its id, and [`WriteTx::remove`] records `d`, with `last_row` NULL where
    ///   the row was lost.
    ///
    /// Rows of erased tickets are deleted: nothing is recorded, because consumers do not have them.
    pub fn mark_local_edits(&self, run_id: i64, now: Timestamp) -> Result<LocalEdits, StoreError> {
        self.delete_purged()?;
        let edits = self.as_read_tx().find_local_edits()?;
        let fields_no = self.as_read_tx().has_custom_fields()?.then_some(0);
        let context = WriteContext { run_id, now: &now.to_string() };
        for id in ids(&edits.orphaned_fields) {
            self.connection.prepare_cached("DELETE FROM custom_fields WHERE UID = ?1")?.execute([id])?;
            let is_stored = "SELECT 1 FROM ticket_state s WHERE s.UID = ticket_extra.UID";
            self.connection
                .prepare_cached(&format!(
                    "DELETE FROM ticket_extra WHERE UID = ?1 AND NOT EXISTS ({is_stored})"
                ))?
                .execute([id])?;
        }
        for marked in [&edits.lost, &edits.without_state, &edits.unrecorded] {
            for id in ids(marked) {
                mark_edited(self.connection, id, fields_no, context)?;
            }
        }
        // Every ticket that may be stored has a row in `ticket_state` now: of another, nothing is waited for.
        self.connection.execute_batch(
            "DELETE FROM rejects WHERE UID IS NOT NULL AND UID NOT IN (SELECT UID FROM ticket_state);
             DELETE FROM unlisted_tickets WHERE UID NOT IN (SELECT UID FROM ticket_state);
             DELETE FROM pending_fetches
                 WHERE kind = 'custom_fields' AND UID NOT IN (SELECT UID FROM ticket_state);",
        )?;
        // Where these numbers were edited, too, no request would ever be a later one.
        let next_run = (run_id + 1) << REQUEST_NUMBER_BITS;
        self.connection.execute(
            "UPDATE ticket_state SET request_no = 0 WHERE (hash IS NULL AND request_no <> 0) OR ?1 <= request_no",
            [next_run],
        )?;
        self.connection.execute(
            "UPDATE ticket_state SET fields_hash = NULL, fields_no = ?2
             WHERE ?1 <= fields_no OR (?2 IS NULL AND fields_no IS NOT NULL)",
            (next_run, fields_no),
        )?;
        let may_misfire =
            !(edits.edited.is_empty() && edits.lost.is_empty() && edits.without_state.is_empty());
        if may_misfire {
            repair_full_text(self.connection)?;
        }
        if !edits.status_names.is_empty() {
            let names = self.as_read_tx().status_names()?;
            let mut statements = UpsertStatements::prepare(self.connection)?;
            let mut select = self.connection.prepare("SELECT STATUS_ID FROM tickets WHERE UID = ?1")?;
            for id in ids(&edits.status_names) {
                let status: Option<i64> = select.query_row([id], |row| row.get(0))?;
                if let Some(name) = status.and_then(|status| names.get(&status)) {
                    statements.set_status_name(id, name.as_deref(), REPAIRED, context)?;
                }
            }
        }
        Ok(edits)
    }

    /// Empties the hashes of tickets, so that the next full scan compares them with the server's: those that
    /// [`ReadTx::unequal_hashes`] found.
    pub fn empty_hashes(&self, tickets: &RoaringTreemap) -> Result<(), StoreError> {
        let mut update = self.connection.prepare(
            "UPDATE ticket_state SET hash = NULL, fields_hash = NULL,
                 fields_no = CASE WHEN fields_no IS NULL THEN NULL ELSE 0 END
             WHERE UID = ?1",
        )?;
        for id in ids(tickets) {
            update.execute([id])?;
        }
        Ok(())
    }
}

impl UpsertStatements<'_> {
    /// Sets the status name of a stored ticket and records that. An emptied hash stays empty.
    pub(super) fn set_status_name(
        &mut self,
        id: i64,
        name: Option<&str>,
        reason: &str,
        context: WriteContext<'_>,
    ) -> Result<(), StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT t.STATUS, t.SOURCE_LAST_MODIFIED, s.hash FROM tickets t
             LEFT JOIN ticket_state s ON s.UID = t.UID WHERE t.UID = ?1",
        )?;
        let (old, last_modified, hash): (Option<String>, Option<String>, Option<i64>) =
            select.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let [old, new] = [old.as_deref(), name].map(|name| name.map_or(CellValue::Null, CellValue::Text));
        let record = ChangeRecord {
            reason: Some(reason),
            last_modified: last_modified.as_deref(),
            changed: Some(&TicketDiff::of_attribute(STATUS, old, new).to_json()),
            ..ChangeRecord::new(id, Op::Update)
        };
        let seq = self.record_change(record, context)?;
        self.connection
            .prepare_cached("UPDATE tickets SET STATUS = ?2 WHERE UID = ?1")?
            .execute((id, name))?;
        self.connection
            .prepare_cached("UPDATE ticket_state SET hash = ?2, last_seq = ?3 WHERE UID = ?1")?
            .execute((id, hash, seq))?;
        Ok(())
    }
}

/// Deletes everything that is stored of a ticket, without a change record; returns the number of rows. `ticket_state` goes
/// first: then the triggers of the other tables find nothing to write.
pub(super) fn delete_ticket(connection: &Connection, id: i64) -> Result<usize, StoreError> {
    let mut rows = 0;
    for table in [
        "ticket_state",
        "tickets",
        "ticket_extra",
        "custom_fields",
        "rejects",
        "unlisted_tickets",
        "pending_fetches",
    ] {
        rows += connection.prepare_cached(&format!("DELETE FROM {table} WHERE UID = ?1"))?.execute([id])?;
    }
    Ok(rows)
}

fn ids(of: &RoaringTreemap) -> impl Iterator<Item = i64> {
    of.iter().map(u64::cast_signed)
}
