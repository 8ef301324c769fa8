//! The privacy rules that the database was written with, and what follows from others.

use super::tx::{parse_optional_timestamp, parse_word};
use super::upsert::{CellParam, cell};
use super::{LineageReason, MoveReason, ReadTx, StoreError, Traces, WriteTx};
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

    /// Where in the files of the database values may be left that rules hold back, although no table has them.
    pub fn privacy_traces(&self) -> Result<Traces, StoreError> {
        let greatest: Option<i64> =
            self.connection.query_row("SELECT MAX(traces) FROM privacy_rules", [], |row| row.get(0))?;
        Ok(match greatest {
            None | Some(0) => Traces::Removed,
            Some(1) => Traces::InLog,
            Some(_) => Traces::InDatabase,
        })
    }

    /// When the newest rule was carried out: what was exported before may hold what it holds back.
    pub fn newest_privacy_rule_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT MAX(since) FROM privacy_rules";
        parse_optional_timestamp(self.connection.query_row(sql, [], |row| row.get(0))?)
    }
}

impl WriteTx<'_> {
    /// Records where values are left that rules hold back.
    pub fn record_privacy_traces(&self, traces: Traces) -> Result<(), StoreError> {
        let number = match traces {
            Traces::Removed => 0,
            Traces::InLog => 1,
            Traces::InDatabase => 2,
        };
        self.connection.execute("UPDATE privacy_rules SET traces = ?1 WHERE traces <> ?1", [number])?;
        Ok(())
    }

    /// Carries out the rules of the settings in everything that is stored, and records them.
    ///
    /// New rules are applied to tables and to change records, without a change record of their own: that would have to show
    /// the value. So a new lineage begins, in which every consumer starts again at 0. Where the server must be asked again, a
    /// new initial load follows. `superseded` as in [`WriteTx::begin_lineage`].
    pub fn carry_out_privacy(
        &self,
        difference: &PrivacyDifference,
        rules: &PrivacyRules,
        superseded: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let changes_content =
            [&difference.new, &difference.discarded].into_iter().filter(|it| !it.is_empty());
        for rules in changes_content.clone() {
            self.hold_back(rules)?;
        }
        if changes_content.count() != 0 && 0 < self.as_read_tx().greatest_seq()? {
            self.begin_lineage(superseded, LineageReason::PrivacyRules, now)?;
        }
        if !difference.outdated.is_empty() {
            self.ask_again(&difference.outdated, now)?;
        }
        self.record_privacy_rules(rules, now)
    }

    fn hold_back(&self, rules: &PrivacyRules) -> Result<(), StoreError> {
        // First: the names of statuses follow from their table.
        for table in &REFERENCE_TABLES {
            for (position, rule) in rules.reference(table) {
                let column = table.columns[position].column.name;
                let sql = format!("SELECT DISTINCT \"{column}\" FROM {table} WHERE \"{column}\" IS NOT NULL");
                let mut select = self.connection.prepare(&sql)?;
                let values: Vec<AttributeValue> = select
                    .query_map([], |row| Ok(cell(row.get_ref(0)?).into()))?
                    .collect::<Result<_, _>>()?;
                let mut update = self
                    .connection
                    .prepare(&format!("UPDATE {table} SET \"{column}\" = ?2 WHERE \"{column}\" = ?1"))?;
                for value in values {
                    let mut held_back = value.clone();
                    rules.apply(rule, &mut held_back);
                    update.execute((CellParam(value.as_cell()), CellParam(held_back.as_cell())))?;
                }
            }
        }
        self.hold_back_in_tickets(rules)?;
        self.hold_back_in_custom_fields(rules)?;
        self.hold_back_in_rejects(rules)?;
        self.hold_back_in_changes(rules)?;
        self.drop_checkpoint_texts()?;
        self.drop_error_texts()
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
             SET rule = excluded.rule, key_id = excluded.key_id, since = excluded.since, traces = 2
             WHERE rule <> excluded.rule OR key_id IS NOT excluded.key_id",
        )?;
        for (column, rule) in rules.columns() {
            let key_id = rules.key_id().filter(|_| rule == PrivacyRule::Hash);
            upsert.execute((column.to_string(), rule.as_str(), key_id, now.to_string()))?;
        }
        Ok(())
    }
}
