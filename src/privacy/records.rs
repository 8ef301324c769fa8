//! Applies rules to the JSON of change records that are already stored.

use serde_json::{Map, Value as Json};

use super::{PrivacyRule, PrivacyRules, ProtectedColumn};
use crate::ticket::attribute::EXTRA_PREFIX;
use crate::ticket::{CUSTOM_FIELDS_KEY, CUSTOM_PREFIX, EXTRA_KEY};

impl PrivacyRules {
    /// Applies the rules to `changes.changed`: a column that is left out disappears, of one that is hashed both values are.
    ///
    /// # Errors
    /// The text is no JSON object.
    pub fn apply_to_changed(&self, changed: &str) -> serde_json::Result<String> {
        let mut changed: Map<String, Json> = serde_json::from_str(changed)?;
        changed.retain(|name, pair| {
            let rule = self.rule_of_member(name);
            if rule == Some(PrivacyRule::Hash) {
                pair.as_array_mut().into_iter().flatten().for_each(|value| self.hash_json(value));
            }
            rule != Some(PrivacyRule::Exclude)
        });
        Ok(Json::Object(changed).to_string())
    }

    /// Applies the rules to `changes.last_row`.
    ///
    /// # Errors
    /// The text is no JSON object.
    pub fn apply_to_last_row(&self, last_row: &str) -> serde_json::Result<String> {
        let mut row: Map<String, Json> = serde_json::from_str(last_row)?;
        self.apply_to_members(&mut row, "");
        if let Some(Json::Object(extras)) = row.get_mut(EXTRA_KEY) {
            self.apply_to_members(extras, EXTRA_PREFIX);
        }
        if let Some(Json::Array(fields)) = row.get_mut(CUSTOM_FIELDS_KEY) {
            fields.retain_mut(|field| self.apply_to_field(field));
        }
        Ok(Json::Object(row).to_string())
    }

    /// Whether a member of `changed`, or the name of a reject, belongs to a column that is left out.
    #[must_use]
    pub fn excludes_member(&self, name: &str) -> bool {
        self.rule_of_member(name) == Some(PrivacyRule::Exclude)
    }

    /// Applies the rules to the members of a row, whose columns have the same names after a prefix.
    fn apply_to_members(&self, members: &mut Map<String, Json>, prefix: &str) {
        members.retain(|name, value| {
            let column = ProtectedColumn::named(&format!("{prefix}{name}"));
            let rule = column.and_then(|column| self.rule_of(column));
            if rule == Some(PrivacyRule::Hash) {
                self.hash_json(value);
            }
            rule != Some(PrivacyRule::Exclude)
        });
    }

    /// Applies the rules to a record of a custom field; returns whether it is kept.
    fn apply_to_field(&self, field: &mut Json) -> bool {
        let id = field.get("FIELD_ID").and_then(Json::as_i64);
        let rule = id.and_then(|id| self.rule_of(ProtectedColumn::CustomField(id)));
        if rule == Some(PrivacyRule::Hash) {
            for name in ["VALUE", "DISPLAY"] {
                field.get_mut(name).into_iter().for_each(|value| self.hash_json(value));
            }
        }
        rule != Some(PrivacyRule::Exclude)
    }

    /// The rule for a member of `changed`. A custom field has several: `CUSTOM.<FIELD_ID>` is its value, the others have a
    /// suffix. Its name, label and type say nothing about a ticket, and are never hashed.
    fn rule_of_member(&self, name: &str) -> Option<PrivacyRule> {
        let Some(member) = name.strip_prefix(CUSTOM_PREFIX) else {
            return ProtectedColumn::named(name).and_then(|column| self.rule_of(column));
        };
        let (id, suffix) = member.split_once('.').unwrap_or((member, ""));
        let rule = self.rule_of(ProtectedColumn::CustomField(id.parse().ok()?))?;
        (rule == PrivacyRule::Exclude || matches!(suffix, "" | "DISPLAY")).then_some(rule)
    }

    fn hash_json(&self, value: &mut Json) {
        if let Json::String(text) = value {
            self.hash(text);
        }
    }
}
