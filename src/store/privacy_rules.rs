//! The privacy rules that the database was written with, and what follows from others.

use super::tx::parse_word;
use super::{LineageReason, MoveReason, ReadTx, StoreError, WriteTx};
use crate::privacy::{PrivacyDifference, PrivacyRule, PrivacyRules, ProtectedColumn, RecordedRule};
use crate::reference::REFERENCE_TABLES;
use crate::ticket::{AttributeValue, Timestamp};
use crate::watermark::Watermark;

impl ReadTx<'_> {
    /// The rules that what is stored was written with.
    pub fn privacy_rules(&self) -> Result<Vec<RecordedRule>, StoreError> {
        let mut statement = self.connection.prepare("SELECT name, rule, key_id FROM privacy_rules")?;
        let mut rows = statement.query([])?;
        let mut rules = Vec::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let column = ProtectedColumn::named(&name).ok_or_else(|| StoreError::InvalidData {
                what: format!("a privacy rule for {name}, which is no column,"),
            })?;
            let rule: PrivacyRule = parse_word("privacy_rules.rule", &row.get::<_, String>(1)?)?;
            rules.push(RecordedRule { column, rule, key_id: row.get(2)? });
        }
        Ok(rules)
    }
}

impl ReadTx<'_> {
    /// Whether values that rules hold back may be left in the files of the database, although no table has them.
    pub fn has_privacy_traces(&self) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM privacy_rules WHERE traces)";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }
}

impl WriteTx<'_> {
    /// Records that the files of the database have no value any more that rules hold back.
    pub fn forget_privacy_traces(&self) -> Result<(), StoreError> {
        self.connection.execute("UPDATE privacy_rules SET traces = 0 WHERE traces", [])?;
        Ok(())
    }

    /// Carries out the rules of the settings in everything that is stored, and records them.
    ///
    /// New rules are applied to tables and to change records, without a change record of their own: that would have to show
    /// the value. So a new lineage begins, in which every consumer starts again at 0. Where the server must be asked again, a
    /// new initial load follows.
    pub fn carry_out_privacy(
        &self,
        difference: &PrivacyDifference,
        rules: &PrivacyRules,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if !difference.new.is_empty() {
            self.hold_back(&difference.new)?;
            if 0 < self.as_read_tx().greatest_seq()? {
                self.begin_lineage(&[], LineageReason::PrivacyRules, now)?;
            }
        }
        if !difference.outdated.is_empty() {
            self.ask_again(&difference.outdated, now)?;
        }
        self.record_privacy_rules(rules, now)
    }

    fn hold_back(&self, rules: &PrivacyRules) -> Result<(), StoreError> {
        self.hold_back_in_tickets(rules)?;
        self.hold_back_in_custom_fields(rules)?;
        self.hold_back_in_rejects(rules)?;
        self.hold_back_in_changes(rules)?;
        self.drop_checkpoint_texts()?;
        self.drop_error_texts()?;
        for table in &REFERENCE_TABLES {
            for (position, rule) in rules.reference(table) {
                let column = table.columns[position].column.name;
                let sql = format!("SELECT DISTINCT \"{column}\" FROM {table} WHERE \"{column}\" IS NOT NULL");
                let mut select = self.connection.prepare(&sql)?;
                let values: Vec<rusqlite::types::Value> =
                    select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
                let mut update = self
                    .connection
                    .prepare(&format!("UPDATE {table} SET \"{column}\" = ?2 WHERE \"{column}\" = ?1"))?;
                for value in values {
                    let mut held_back = match &value {
                        rusqlite::types::Value::Text(text) => AttributeValue::Text(text.clone()),
                        _ => AttributeValue::Null,
                    };
                    rules.apply(rule, &mut held_back);
                    let text = match held_back {
                        AttributeValue::Text(text) => Some(text),
                        _ => None,
                    };
                    update.execute((value, text))?;
                }
            }
        }
        Ok(())
    }

    /// Drops the texts of errors: the server's words in them may hold anything.
    fn drop_error_texts(&self) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE runs SET error = 'its text was removed when privacy rules were added' WHERE error IS NOT NULL",
            [],
        )?;
        self.connection.execute("UPDATE reference_lists SET details = NULL WHERE details IS NOT NULL", [])?;
        Ok(())
    }

    /// Begins a new initial load, because the stored values of some columns are not those that the settings ask for.
    fn ask_again(&self, columns: &[ProtectedColumn], now: Timestamp) -> Result<(), StoreError> {
        if columns.iter().any(|column| matches!(column, ProtectedColumn::CustomField(_))) {
            // Single tickets are asked for their custom fields only where these are not known.
            self.connection
                .execute("UPDATE ticket_state SET fields_hash = NULL WHERE fields_hash IS NOT NULL", [])?;
        }
        for column in columns {
            if let ProtectedColumn::Reference(table, _) = column {
                self.connection.execute("DELETE FROM reference_lists WHERE name = ?1", [table])?;
            }
        }
        if let Some(watermark) = self.as_read_tx().watermark()? {
            self.abandon_scans(now)?;
            let watermark = Watermark::new(watermark.scope);
            self.set_watermark(&watermark, Some(MoveReason::PrivacyChanged), None, now)?;
        }
        Ok(())
    }

    fn record_privacy_rules(&self, rules: &PrivacyRules, now: Timestamp) -> Result<(), StoreError> {
        let recorded = self.as_read_tx().privacy_rules()?;
        for rule in recorded {
            if rules.columns().all(|(column, _)| column != rule.column) {
                self.connection
                    .execute("DELETE FROM privacy_rules WHERE name = ?1", [rule.column.to_string()])?;
            }
        }
        let mut upsert = self.connection.prepare(
            "INSERT INTO privacy_rules (name, rule, key_id, since) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE
             SET rule = excluded.rule, key_id = excluded.key_id, since = excluded.since, traces = 1
             WHERE rule <> excluded.rule OR key_id IS NOT excluded.key_id",
        )?;
        for (column, rule) in rules.columns() {
            let key_id = rules.key_id().filter(|_| rule == PrivacyRule::Hash);
            upsert.execute((column.to_string(), rule.as_str(), key_id, now.to_string()))?;
        }
        Ok(())
    }
}
