//! Rejected values and rows: one row of `rejects` for each ticket and attribute, for as long as the value cannot be read.
//!
//! `ticket_state.rejected` names what is rejected of a ticket. So a ticket without rejects costs nothing, and a value
//! that is read again is known to have been rejected, also where many rejects of its attribute are one row.

use rusqlite::OptionalExtension as _;

use super::ObservedTicket;
use super::reject_group::{RejectGroup, split};
use super::statements::UpsertStatements;
use crate::store::{ReadTx, StoreError, WriteTx};
use crate::ticket::parse::{ParsedItems, RejectedRow};
use crate::ticket::{ATTRIBUTES, CustomFields, RejectedValue, Timestamp, attribute};

/// More rejects of one attribute than this are one row with a count.
const ROWS_PER_ATTRIBUTE_MAX: i64 = 1_000;

fn stored_count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl UpsertStatements<'_> {
    /// Replaces the rejects of the attributes of a stored ticket by those of a response. `is_merged` is whether its row is
    /// not stored as received.
    pub(super) fn replace_attribute_rejects(
        &self,
        observed: &ObservedTicket,
        is_merged: bool,
        now: &str,
    ) -> Result<(), StoreError> {
        let ticket = &observed.ticket;
        let rejected: Vec<_> = ticket
            .rejected_values()
            .iter()
            .map(|(position, rejected)| (attribute::stored_attribute(*position).name.to_owned(), rejected))
            .collect();
        let received_hash = is_merged.then(|| ticket.received_hash().cast_signed());
        self.replace_rejects(ticket.id(), RejectGroup::Attributes, &rejected, now)?;
        self.connection
            .prepare_cached(
                "UPDATE ticket_state SET received_hash = ?2 WHERE UID = ?1 AND received_hash IS NOT ?2",
            )?
            .execute((ticket.id(), received_hash))?;
        Ok(())
    }

    /// Replaces the rejects of the custom fields of a stored ticket by those of a response.
    pub(super) fn replace_custom_field_rejects(
        &self,
        id: i64,
        fields: &CustomFields,
        had_any: bool,
        now: &str,
    ) -> Result<(), StoreError> {
        if !fields.has_rejected_values() && !had_any {
            return Ok(());
        }
        self.replace_rejects(id, RejectGroup::CustomFields, &fields.rejected_values(), now)
    }

    /// Deletes all rejects of a ticket.
    pub(super) fn delete_rejects(&self, id: i64) -> Result<(), StoreError> {
        for group in [RejectGroup::Attributes, RejectGroup::CustomFields] {
            self.replace_rejects(id, group, &[], "")?;
        }
        Ok(())
    }

    fn replace_rejects(
        &self,
        id: i64,
        group: RejectGroup,
        rejected: &[(String, &RejectedValue)],
        now: &str,
    ) -> Result<(), StoreError> {
        let stored: Option<String> = self
            .connection
            .prepare_cached("SELECT rejected FROM ticket_state WHERE UID = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?
            .flatten();
        let stored = stored.unwrap_or_default();
        let mut names: Vec<&str> = split(&stored).filter(|name| !group.includes(name)).collect();
        for name in split(&stored).filter(|name| group.includes(name)) {
            if rejected.iter().all(|(rejected, _)| rejected != name) {
                self.remove_reject(id, name)?;
            }
        }
        for (name, rejected) in rejected {
            if split(&stored).any(|stored| stored == name) {
                self.refresh_reject(id, name, rejected, now)?;
            } else {
                self.add_reject(id, name, rejected, now)?;
            }
            names.push(name);
        }
        names.sort_unstable();
        let names = names.join(",");
        if names != stored {
            self.connection
                .prepare_cached("UPDATE ticket_state SET rejected = NULLIF(?2, '') WHERE UID = ?1")?
                .execute((id, names))?;
        }
        Ok(())
    }

    fn add_reject(&self, id: i64, name: &str, rejected: &RejectedValue, now: &str) -> Result<(), StoreError> {
        let RejectedValue { reason, raw } = rejected;
        let counted = self
            .connection
            .prepare_cached("UPDATE rejects SET count = count + 1 WHERE attribute = ?1 AND UID IS NULL")?
            .execute([name])?;
        if counted != 0 {
            return Ok(());
        }
        self.connection
            .prepare_cached(
                "INSERT INTO rejects (UID, attribute, reason, raw, seen_at) VALUES (?1, ?2, ?3, NULLIF(?4, ''), ?5)
                 ON CONFLICT (UID, attribute) DO UPDATE SET
                     reason = excluded.reason, raw = excluded.raw, seen_at = excluded.seen_at",
            )?
            .execute((id, name, reason, raw, now))?;
        let count: i64 = self
            .connection
            .prepare_cached("SELECT COUNT(*) FROM rejects WHERE attribute = ?1")?
            .query_row([name], |row| row.get(0))?;
        if ROWS_PER_ATTRIBUTE_MAX < count {
            self.connection.execute("DELETE FROM rejects WHERE attribute = ?1", [name])?;
            self.connection.execute(
                "INSERT INTO rejects (attribute, reason, raw, count, seen_at) VALUES (?1, ?2, NULLIF(?3, ''), ?4, ?5)",
                (name, reason, raw, count, now),
            )?;
        }
        Ok(())
    }

    /// Notes that a value is rejected with another text than before. The text of a volatile attribute may differ in
    /// every response.
    fn refresh_reject(
        &self,
        id: i64,
        name: &str,
        rejected: &RejectedValue,
        now: &str,
    ) -> Result<(), StoreError> {
        if attribute::VOLATILE.iter().any(|position| ATTRIBUTES[*position].name == name) {
            return Ok(());
        }
        let RejectedValue { reason, raw } = rejected;
        self.connection
            .prepare_cached(
                "UPDATE rejects SET reason = ?3, raw = NULLIF(?4, ''), seen_at = ?5
                 WHERE UID = ?1 AND attribute = ?2 AND (reason <> ?3 OR raw IS NOT NULLIF(?4, ''))",
            )?
            .execute((id, name, reason, raw, now))?;
        Ok(())
    }

    fn remove_reject(&self, id: i64, name: &str) -> Result<(), StoreError> {
        let deleted = self
            .connection
            .prepare_cached("DELETE FROM rejects WHERE UID = ?1 AND attribute = ?2")?
            .execute((id, name))?;
        if deleted == 0 {
            self.connection
                .prepare_cached("UPDATE rejects SET count = count - 1 WHERE attribute = ?1 AND UID IS NULL")?
                .execute([name])?;
            self.connection
                .prepare_cached("DELETE FROM rejects WHERE attribute = ?1 AND UID IS NULL AND count < 1")?
                .execute([name])?;
        }
        Ok(())
    }

    /// Deletes the rejects of all custom fields.
    pub(super) fn clear_custom_field_rejects(&self) -> Result<(), StoreError> {
        let mut select =
            self.connection.prepare("SELECT UID FROM ticket_state WHERE rejected IS NOT NULL")?;
        let ids: Vec<i64> = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for id in ids {
            self.replace_rejects(id, RejectGroup::CustomFields, &[], "")?;
        }
        Ok(())
    }
}

/// A rejected row as stored: its key, reason, text, the ticket before it, and how many rows it stands for.
type StoredRow = (i64, (String, String, Option<i64>, i64));

impl ReadTx<'_> {
    /// The id of the ticket before the first row without a usable id, where the last full scan showed such rows; the inner
    /// `None` if there was none before it.
    pub fn first_rejected_row(&self) -> Result<Option<Option<i64>>, StoreError> {
        let sql =
            "SELECT after_id FROM rejects WHERE UID IS NULL AND attribute IS NULL ORDER BY reject_id LIMIT 1";
        Ok(self.connection.query_row(sql, [], |row| row.get(0)).optional()?)
    }

    /// How many values a run could not read that were not rejected with the same text before.
    pub fn rejected_value_count(&self, run_id: i64) -> Result<u64, StoreError> {
        let sql = "SELECT COALESCE(SUM(count), 0) FROM rejects WHERE attribute IS NOT NULL
                   AND (SELECT started_at FROM runs WHERE run_id = ?1) <= seen_at";
        let count: i64 = self.connection.query_row(sql, [run_id], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }

    /// How many rows without a usable id the last full scan showed.
    pub fn rejected_row_count(&self) -> Result<u64, StoreError> {
        let sql = "SELECT COALESCE(SUM(count), 0) FROM rejects WHERE UID IS NULL AND attribute IS NULL";
        let count: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }
}

impl WriteTx<'_> {
    /// Replaces the rows that could not be read as tickets by those that a full scan showed. A row that is still there
    /// keeps its `seen_at`. More than 1,000 are one row with a count.
    pub fn replace_rejected_rows(
        &self,
        rejected_rows: &[RejectedRow],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let received = stored_count(rejected_rows.len());
        let (rows, count) = match rejected_rows {
            [first, ..] if ROWS_PER_ATTRIBUTE_MAX < received => (std::slice::from_ref(first), received),
            rows => (rows, 1),
        };
        let mut select = self.connection.prepare_cached(
            "SELECT reject_id, reason, COALESCE(raw, ''), after_id, count FROM rejects
             WHERE UID IS NULL AND attribute IS NULL ORDER BY reject_id",
        )?;
        let mut stored: Vec<StoredRow> = select
            .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))))?
            .collect::<Result<_, _>>()?;
        let mut new = Vec::new();
        for RejectedRow { rejected: RejectedValue { reason, raw }, after_id } in rows {
            let is_same = |stored: &StoredRow| {
                let (stored_reason, stored_raw, stored_after, stored_count) = &stored.1;
                stored_reason == reason
                    && stored_raw == raw
                    && stored_after == after_id
                    && *stored_count == count
            };
            match stored.iter().position(is_same) {
                Some(position) => drop(stored.remove(position)),
                None => new.push((reason, raw, after_id, count)),
            }
        }
        for (reject_id, _) in stored {
            self.connection
                .prepare_cached("DELETE FROM rejects WHERE reject_id = ?1")?
                .execute([reject_id])?;
        }
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO rejects (reason, raw, after_id, count, seen_at) VALUES (?1, NULLIF(?2, ''), ?3, ?4, ?5)",
        )?;
        for (reason, raw, after_id, count) in new {
            insert.execute((reason, raw, after_id, count, now.to_string()))?;
        }
        Ok(())
    }

    /// Forgets that elements of a reference list could not be read.
    pub fn clear_rejected_items(&self, table: &str) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("DELETE FROM rejects WHERE UID IS NULL AND attribute = ?1")?
            .execute([table])?;
        Ok(())
    }

    /// Records how many elements of a reference list could not be read, with the first of them, as one row; deletes it
    /// where all could.
    pub fn replace_rejected_items<T>(
        &self,
        table: &str,
        list: &ParsedItems<T>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(RejectedValue { reason, raw }) = &list.first_unreadable else {
            return self.clear_rejected_items(table);
        };
        let unreadable = stored_count(list.unreadable);
        self.connection
            .prepare_cached(
                "UPDATE rejects SET reason = ?2, raw = NULLIF(?3, ''), count = ?4, seen_at = ?5
                 WHERE UID IS NULL AND attribute = ?1
                     AND (reason <> ?2 OR raw IS NOT NULLIF(?3, '') OR count <> ?4)",
            )?
            .execute((table, reason, raw, unreadable, now.to_string()))?;
        self.connection
            .prepare_cached(
                "INSERT INTO rejects (attribute, reason, raw, count, seen_at) SELECT ?1, ?2, NULLIF(?3, ''), ?4, ?5
                 WHERE NOT EXISTS (SELECT 1 FROM rejects WHERE UID IS NULL AND attribute = ?1)",
            )?
            .execute((table, reason, raw, unreadable, now.to_string()))?;
        Ok(())
    }
}
