//! Erases a ticket: its rows and the values of its change records. The record of the erasure has no content.

use super::change_record::{ChangeRecord, ERASED, WriteContext};
use super::local_edits::delete_ticket;
use super::statements::UpsertStatements;
use crate::reference::REFERENCE_TABLES;
use crate::store::full_text::repair_full_text;
use crate::store::{StoreError, WriteTx};
use crate::ticket::{Op, Timestamp};

impl WriteTx<'_> {
    /// Deletes the rows of a ticket, empties its change records, and records the erasure unless its newest record is one.
    /// The ticket must be in `purged`, or the append-only trigger refuses that. Of one that `was_purged` before, the
    /// record may have aged out.
    pub(in crate::store) fn erase_ticket(
        &self,
        id: i64,
        was_purged: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut statements = UpsertStatements::prepare(self.connection)?;
        if statements.stored_state(id)?.is_some_and(|state| state.rejected.is_some()) {
            // Many rejects of one attribute are one row, which counts one less.
            statements.delete_rejects(id)?;
        }
        self.empty_grouped_rejects()?;
        delete_ticket(self.connection, id)?;
        self.connection.execute(
            "UPDATE changes SET changed = NULL, last_row = NULL, reason = NULL
             WHERE UID = ?1 AND (changed IS NOT NULL OR last_row IS NOT NULL
                 OR (reason IS NOT NULL AND reason <> ?2))",
            (id, ERASED),
        )?;
        let last = statements.last_record(id)?;
        if last.map_or(!was_purged, |last| !last.is_erasure) {
            // It belongs to no run; records are in the order of runs.
            let run_id = self.as_read_tx().newest_run_id()?.unwrap_or(0);
            let record = ChangeRecord { reason: Some(ERASED), ..ChangeRecord::new(id, Op::Delete) };
            statements.record_change(record, WriteContext { run_id, now: &now.to_string() })?;
        }
        // The words of a row that another program lost or replaced may still be in the index.
        repair_full_text(self.connection)
    }

    /// Deletes the value in each row that stands for many rejects: nobody knows whose it is.
    fn empty_grouped_rejects(&self) -> Result<(), StoreError> {
        let mut select = self.connection.prepare(
            "SELECT reject_id, attribute FROM rejects
             WHERE UID IS NULL AND attribute IS NOT NULL AND raw IS NOT NULL",
        )?;
        let groups: Vec<(i64, String)> =
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        let is_reference = |name: &str| REFERENCE_TABLES.iter().any(|table| table.name == name);
        for (reject_id, _) in groups.iter().filter(|(_, attribute)| !is_reference(attribute)) {
            self.connection.execute("UPDATE rejects SET raw = NULL WHERE reject_id = ?1", [reject_id])?;
        }
        Ok(())
    }

    /// Deletes rows of erased tickets that another program put back; returns whether there were any.
    pub(in crate::store) fn delete_purged(&self) -> Result<bool, StoreError> {
        let mut rows = 0;
        for id in self.as_read_tx().purged_ids()? {
            rows += delete_ticket(self.connection, id)?;
        }
        let is_any = rows != 0;
        if is_any {
            // Not every way to put a row back fires the triggers of the index.
            repair_full_text(self.connection)?;
        }
        Ok(is_any)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::{Store, TxEnd};

    #[test]
    fn only_rows_that_were_put_back_are_deleted_and_reported() {
        let now = "2026-11-22T12:00:00.000Z".parse().unwrap();
        let mut store = Store::in_memory(now).unwrap();
        let delete = |store: &mut Store| store.write(TxEnd::Commit, |tx| tx.delete_purged()).unwrap();
        assert!(!delete(&mut store), "nothing is erased");
        let sql = "INSERT INTO purged (UID, purged_at, reason)
                   VALUES (7, '2026-11-22T12:00:00.000Z', 'a test'), (8, '2026-11-22T12:00:00.000Z', 'a test')";
        store.connection.execute_batch(sql).unwrap();
        assert!(!delete(&mut store), "nothing was put back");
        for table in ["tickets (UID)", "ticket_extra (UID)", "custom_fields (UID, FIELD_ID)"] {
            let values = if table.contains("FIELD_ID") { "8, 120" } else { "8" };
            store.connection.execute_batch(&format!("INSERT INTO {table} VALUES ({values})")).unwrap();
            assert!(delete(&mut store), "{table}");
            assert!(!delete(&mut store), "{table} again");
        }
        // The service keeps the database open.
        store.connection.execute_batch("INSERT INTO tickets (UID) VALUES (8)").unwrap();
        store.write(TxEnd::Commit, |tx| tx.mark_local_edits(1, now)).unwrap();
        let left: i64 =
            store.connection.query_row("SELECT COUNT(*) FROM tickets", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }
}
