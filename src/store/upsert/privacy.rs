//! Carries out privacy rules in the tickets and change records that are already stored.

use std::collections::BTreeSet;

use rusqlite::OptionalExtension as _;

use super::custom_fields::read_custom_fields;
use super::reject_group::split;
use super::stored_version::stored_hash;
use super::ticket_columns::{CellParam, SELECT_ROW, read_row};
use crate::privacy::{PrivacyRule, PrivacyRules};
use crate::store::{StoreError, WriteTx};
use crate::ticket::attribute::{ATTRIBUTE_COUNT, EXTRA_PREFIX, STATUS, STATUS_ID, UID, stored_attribute};
use crate::ticket::{AttributeValue, row_hash, status_name};

/// How many rows are read before the first of them is written.
const ROWS_AT_ONCE: i64 = 500;

impl WriteTx<'_> {
    /// Applies rules to the rows of all tickets and to their hashes, without change records.
    pub(in crate::store) fn hold_back_in_tickets(&self, rules: &PrivacyRules) -> Result<(), StoreError> {
        let stored: Vec<(usize, PrivacyRule)> = rules.stored().collect();
        if stored.is_empty() {
            return Ok(());
        }
        let status_names = self.as_read_tx().status_names()?;
        let mut select_row = self.connection.prepare_cached(&SELECT_ROW)?;
        let mut select_hash = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM ticket_state WHERE UID = ?1 AND hash IS NOT NULL)",
        )?;
        let mut set_hash = self
            .connection
            .prepare_cached("UPDATE ticket_state SET hash = ?2, received_hash = NULL WHERE UID = ?1")?;
        self.for_each_key("SELECT UID FROM tickets WHERE UID > ?1 ORDER BY UID LIMIT ?2", |id| {
            let Some(mut row) = read_row(&mut select_row, id)? else { return Ok(()) };
            let is_trusted: bool = select_hash.query_row([id], |row| row.get(0))?;
            let mut is_changed = false;
            for (position, rule) in &stored {
                let old = row[*position].clone();
                if *position == STATUS {
                    row[STATUS] = status_name(&row[STATUS_ID], &status_names);
                } else {
                    rules.apply(*rule, &mut row[*position]);
                }
                if row[*position] != old {
                    self.write_value(id, *position, &row[*position])?;
                    is_changed = true;
                }
            }
            if is_changed && is_trusted {
                set_hash.execute((id, stored_hash(row_hash(row.iter().map(AttributeValue::as_cell)))))?;
            }
            Ok(())
        })
    }

    fn write_value(&self, id: i64, position: usize, value: &AttributeValue) -> Result<(), StoreError> {
        let name = stored_attribute(position).name;
        let (table, column) = if position < ATTRIBUTE_COUNT {
            ("tickets", name)
        } else {
            ("ticket_extra", &name[EXTRA_PREFIX.len()..])
        };
        let uid = stored_attribute(UID).name;
        self.connection
            .prepare_cached(&format!("UPDATE {table} SET \"{column}\" = ?2 WHERE {uid} = ?1"))?
            .execute((id, CellParam(value.as_cell())))?;
        Ok(())
    }

    /// Applies rules to the custom fields of all tickets and to their hashes, without change records.
    pub(in crate::store) fn hold_back_in_custom_fields(
        &self,
        rules: &PrivacyRules,
    ) -> Result<(), StoreError> {
        let fields: Vec<_> = rules.custom_fields().map(|id| id.to_string()).collect();
        if fields.is_empty() {
            return Ok(());
        }
        let mut select = self
            .connection
            .prepare_cached("SELECT fields_hash, fields_no FROM ticket_state WHERE UID = ?1")?;
        let mut delete =
            self.connection.prepare_cached("DELETE FROM custom_fields WHERE UID = ?1 AND FIELD_ID = ?2")?;
        let mut update = self.connection.prepare_cached(
            "UPDATE custom_fields SET VALUE = ?3, DISPLAY = ?4 WHERE UID = ?1 AND FIELD_ID = ?2",
        )?;
        let mut set_hash = self
            .connection
            .prepare_cached("UPDATE ticket_state SET fields_hash = ?2, fields_no = ?3 WHERE UID = ?1")?;
        let with_fields = format!(
            "SELECT DISTINCT UID FROM custom_fields WHERE UID > ?1 AND FIELD_ID IN ({}) ORDER BY UID LIMIT ?2",
            fields.join(", ")
        );
        self.for_each_key(&with_fields, |id| {
            let state = select.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let (hash, request_no): (Option<i64>, Option<i64>) = state.unwrap_or_default();
            let mut stored = read_custom_fields(self.connection, id)?;
            let old = stored.clone();
            stored.retain_with(|field| rules.apply_to_custom_field(field));
            for field in old.fields() {
                match stored.get(field.id) {
                    None => drop(delete.execute((id, field.id))?),
                    Some(new) if new != field => {
                        update.execute((id, field.id, &new.value, &new.display))?;
                    }
                    Some(_) => {}
                }
            }
            let hash = hash.map(|_| stored_hash(stored.hash()));
            set_hash.execute((id, hash, request_no))?;
            Ok(())
        })
    }

    /// Drops the texts of all rejects, and the rejects of columns that are left out.
    pub(in crate::store) fn hold_back_in_rejects(&self, rules: &PrivacyRules) -> Result<(), StoreError> {
        self.connection.execute("UPDATE rejects SET raw = NULL WHERE raw IS NOT NULL", [])?;
        let mut select = self.connection.prepare("SELECT DISTINCT attribute FROM rejects")?;
        let names: Vec<Option<String>> = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let dropped: BTreeSet<String> =
            names.into_iter().flatten().filter(|name| rules.excludes_member(name)).collect();
        for name in &dropped {
            self.connection.execute("DELETE FROM rejects WHERE attribute = ?1", [name])?;
        }
        let with_rejects =
            "SELECT UID FROM ticket_state WHERE UID > ?1 AND rejected IS NOT NULL ORDER BY UID LIMIT ?2";
        self.for_each_key(with_rejects, |id| {
            let sql = "SELECT rejected FROM ticket_state WHERE UID = ?1";
            let names: String = self.connection.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
            let kept: Vec<_> = split(&names).filter(|name| !dropped.contains(*name)).collect();
            // The text of a rejected value is part of the second hash.
            self.connection
                .prepare_cached(
                    "UPDATE ticket_state SET rejected = NULLIF(?2, ''), received_hash = NULL WHERE UID = ?1",
                )?
                .execute((id, kept.join(",")))?;
            Ok(())
        })
    }

    /// Applies rules to what change records say. They are append-only for everybody else: the trigger that enforces it is
    /// absent within this transaction.
    pub(in crate::store) fn hold_back_in_changes(&self, rules: &PrivacyRules) -> Result<(), StoreError> {
        let sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'changes'";
        let mut select = self.connection.prepare(sql)?;
        let triggers: Vec<(String, String)> =
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        for (name, _) in &triggers {
            self.connection.execute_batch(&format!("DROP TRIGGER \"{}\"", name.replace('"', "\"\"")))?;
        }
        let mut select =
            self.connection.prepare_cached("SELECT changed, last_row FROM changes WHERE seq = ?1")?;
        let mut update = self
            .connection
            .prepare_cached("UPDATE changes SET changed = ?2, last_row = ?3 WHERE seq = ?1")?;
        let with_values =
            "SELECT seq FROM changes WHERE seq > ?1 AND (changed IS NOT NULL OR last_row IS NOT NULL)
             ORDER BY seq LIMIT ?2";
        self.for_each_key(with_values, |seq| {
            let (changed, last_row): (Option<String>, Option<String>) =
                select.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let invalid = |error| StoreError::InvalidData {
                what: format!("change record {seq}, whose values are not JSON ({error}),"),
            };
            let new_changed = changed.as_deref().map(|it| rules.apply_to_changed(it)).transpose();
            let new_last_row = last_row.as_deref().map(|it| rules.apply_to_last_row(it)).transpose();
            let (new_changed, new_last_row) = (new_changed.map_err(invalid)?, new_last_row.map_err(invalid)?);
            if (&new_changed, &new_last_row) != (&changed, &last_row) {
                update.execute((seq, new_changed, new_last_row))?;
            }
            Ok(())
        })?;
        triggers.iter().try_for_each(|(_, sql)| Ok(self.connection.execute_batch(sql)?))
    }

    /// Calls `work` for each key that a statement finds after `?1`, at most `?2` at a time, ascending.
    fn for_each_key(
        &self,
        sql: &str,
        mut work: impl FnMut(i64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut select = self.connection.prepare(sql)?;
        let mut after = i64::MIN;
        loop {
            let keys: Vec<i64> =
                select.query_map((after, ROWS_AT_ONCE), |row| row.get(0))?.collect::<Result<_, _>>()?;
            let Some(last) = keys.last() else { return Ok(()) };
            after = *last;
            for key in keys {
                work(key)?;
            }
        }
    }
}
