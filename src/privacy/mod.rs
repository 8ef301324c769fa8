//! What `[privacy]` holds back: columns that are not stored, or stored as a keyed hash.
//!
//! The rules are applied where a response was parsed, so that nothing behind that ever sees the values: no table, change
//! record, reject, export or log.

mod column;
mod difference;
mod hash_key;
mod records;

use std::collections::BTreeMap;

pub use column::ProtectedColumn;
pub use difference::{PrivacyDifference, RecordedRule};
pub use hash_key::HashKey;

use column::SAME_TEXT;

use crate::reference::{ReferenceRow, ReferenceTable};
use crate::ticket::parse::{ParsedItems, ParsedPage};
use crate::ticket::{AttributeValue, CustomField, Ticket};

/// What happens to the values of a column before they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum PrivacyRule {
    /// They are left out: the column is NULL, and a custom field has no row.
    Exclude,
    /// They are replaced by their HMAC-SHA256, so that equal values stay equal.
    Hash,
}

impl PrivacyRule {
    /// Returns the word in `[privacy]` and in `privacy_rules.rule`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The rules of `[privacy]`, with the key of the hashes.
#[derive(Clone, Debug, Default)]
pub struct PrivacyRules {
    columns: BTreeMap<ProtectedColumn, PrivacyRule>,
    key: Option<HashKey>,
}

impl PrivacyRules {
    /// Creates the rules of the settings. Each is extended to the columns that hold the same text, such as the name of a client
    /// in `tickets` and in `clients`, unless those have a rule of their own: a join would undo it otherwise. Where two rules
    /// are extended to one column, it is left out.
    #[must_use]
    pub fn new(declared: &[(ProtectedColumn, PrivacyRule)], key: Option<HashKey>) -> PrivacyRules {
        let mut columns = BTreeMap::new();
        for (column, rule) in declared {
            let name = column.to_string();
            for same in SAME_TEXT.iter().filter(|same| same.columns.contains(&name.as_str())) {
                let names = same.columns.iter().chain(same.repeated_in);
                for column in names.filter_map(|name| ProtectedColumn::named(name)) {
                    columns
                        .entry(column)
                        .and_modify(|known: &mut PrivacyRule| *known = (*known).min(*rule))
                        .or_insert(*rule);
                }
            }
        }
        columns.extend(declared.iter().copied());
        PrivacyRules { columns, key }
    }

    /// Whether nothing is held back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Returns the columns with their rules, those included that a rule was extended to.
    pub fn columns(&self) -> impl Iterator<Item = (ProtectedColumn, PrivacyRule)> {
        self.columns.iter().map(|(column, rule)| (*column, *rule))
    }

    /// Returns what tells whether the key is still the same; `None` where nothing is hashed.
    #[must_use]
    pub fn key_id(&self) -> Option<String> {
        let hashes = self.columns.values().any(|rule| *rule == PrivacyRule::Hash);
        self.key.as_ref().filter(|_| hashes).map(HashKey::id)
    }

    /// Whether something is hashed with a key so short that it can be found by trying.
    #[must_use]
    pub fn has_short_key(&self) -> bool {
        self.key_id().is_some() && self.key.as_ref().is_some_and(HashKey::is_short)
    }

    /// Returns the rules that leave some columns out.
    #[must_use]
    fn excluding(columns: impl IntoIterator<Item = ProtectedColumn>) -> PrivacyRules {
        let columns = columns.into_iter().map(|column| (column, PrivacyRule::Exclude)).collect();
        PrivacyRules { columns, key: None }
    }

    /// Returns the rules of some of the columns, with the same key.
    fn restricted_to(&self, is_kept: impl Fn(ProtectedColumn) -> bool) -> PrivacyRules {
        let columns = self.columns().filter(|(column, _)| is_kept(*column)).collect();
        PrivacyRules { columns, key: self.key.clone() }
    }

    /// Applies the rules to the rows of a page as received, once: a hash would be hashed again. The texts of rejected values
    /// and rows are dropped: what cannot be read may hold anything.
    pub fn apply_to_page(&self, page: &mut ParsedPage) {
        if self.is_empty() {
            return;
        }
        page.tickets.iter_mut().for_each(|ticket| self.apply_to_ticket(ticket));
        self.drop_rejected_texts(page);
    }

    /// Drops the texts of the rejected rows of a page, if there are rules.
    pub fn drop_rejected_texts(&self, page: &mut ParsedPage) {
        if !self.is_empty() {
            page.rejected_rows.iter_mut().for_each(|row| row.rejected.raw.clear());
        }
    }

    /// Applies the rules to a ticket.
    pub fn apply_to_ticket(&self, ticket: &mut Ticket) {
        if self.is_empty() {
            return;
        }
        for (position, rule) in self.stored() {
            self.apply(rule, &mut ticket.stored_values_mut()[position]);
        }
        let is_excluded =
            |position| self.rule_of(ProtectedColumn::Stored(position)) == Some(PrivacyRule::Exclude);
        ticket.keep_rejected_values(|position| !is_excluded(position));
        if let Some(fields) = ticket.custom_fields_mut() {
            fields.retain_with(|field| self.apply_to_custom_field(field));
        }
    }

    /// Applies the rules to a list of a reference table.
    pub fn apply_to_list(&self, table: &'static ReferenceTable, list: &mut ParsedItems<ReferenceRow>) {
        if self.is_empty() {
            return;
        }
        for row in &mut list.items {
            for (position, rule) in self.reference(table) {
                self.apply(rule, &mut row.values[position]);
                row.rejected.retain(|rejected| *rejected != position || rule != PrivacyRule::Exclude);
            }
        }
        if let Some(rejected) = &mut list.first_unreadable {
            rejected.raw.clear();
        }
    }

    /// Applies the rules to a custom field; returns whether it is stored.
    pub fn apply_to_custom_field(&self, field: &mut CustomField) -> bool {
        match self.rule_of(ProtectedColumn::CustomField(field.id)) {
            Some(PrivacyRule::Exclude) => return false,
            Some(PrivacyRule::Hash) => {
                for text in [&mut field.value, &mut field.display].into_iter().flatten() {
                    self.hash(text);
                }
            }
            None => {}
        }
        true
    }

    /// Applies a rule to a value.
    pub fn apply(&self, rule: PrivacyRule, value: &mut AttributeValue) {
        match (rule, value) {
            (PrivacyRule::Exclude, value) => *value = AttributeValue::Null,
            (PrivacyRule::Hash, AttributeValue::Text(text)) => self.hash(text),
            (PrivacyRule::Hash, _) => {}
        }
    }

    /// Replaces a text by its hash. An empty one says nothing, and stays.
    fn hash(&self, text: &mut String) {
        if !text.is_empty() {
            // Without a key nothing is stored rather than the text.
            *text = self.key.as_ref().map(|key| key.hash(text)).unwrap_or_default();
        }
    }

    fn rule_of(&self, column: ProtectedColumn) -> Option<PrivacyRule> {
        self.columns.get(&column).copied()
    }

    /// Returns the rules for attributes and extras, by their positions in
    /// [`stored_attributes`](crate::ticket::attribute::stored_attributes).
    pub fn stored(&self) -> impl Iterator<Item = (usize, PrivacyRule)> {
        self.columns().filter_map(|(column, rule)| match column {
            ProtectedColumn::Stored(position) => Some((position, rule)),
            _ => None,
        })
    }

    /// Returns the rules for the columns of a reference table, by their positions.
    pub fn reference(&self, table: &'static ReferenceTable) -> impl Iterator<Item = (usize, PrivacyRule)> {
        self.columns().filter_map(move |(column, rule)| match column {
            ProtectedColumn::Reference(named, position) if named == table.name => Some((position, rule)),
            _ => None,
        })
    }

    /// Returns the ids of the custom fields that have a rule.
    pub fn custom_fields(&self) -> impl Iterator<Item = i64> {
        self.columns().filter_map(|(column, _)| match column {
            ProtectedColumn::CustomField(id) => Some(id),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
