//! How the rules of the settings differ from those that a database was written with.

use super::{PrivacyRule, PrivacyRules, ProtectedColumn};

/// A rule that was carried out in a database: a row of `privacy_rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRule {
    /// The column.
    pub column: ProtectedColumn,
    /// The rule.
    pub rule: PrivacyRule,
    /// Of a hash: which key was used ([`PrivacyRules::key_id`]).
    pub key_id: Option<String>,
}

/// What must be done before the next row is stored.
#[derive(Clone, Debug, Default)]
pub struct PrivacyDifference {
    /// The rules that are not carried out yet in what is stored.
    pub new: PrivacyRules,
    /// The columns of which the server must be asked again: a rule is gone, or the key is another one.
    pub outdated: Vec<ProtectedColumn>,
    /// Leaves out those of them that hold hashes with another key: nothing is left of these.
    pub discarded: PrivacyRules,
}

impl PrivacyDifference {
    /// Compares the recorded rules with those of the settings.
    #[must_use]
    pub fn between(recorded: &[RecordedRule], wanted: &PrivacyRules) -> PrivacyDifference {
        let key_id = wanted.key_id();
        let recorded_rule = |column| recorded.iter().find(|it| it.column == column);
        // What is hashed can still be left out, what was left out is nowhere.
        let new = wanted.restricted_to(|column| match (recorded_rule(column), wanted.rule_of(column)) {
            (None, _) => true,
            (Some(recorded), Some(PrivacyRule::Exclude)) => recorded.rule != PrivacyRule::Exclude,
            (Some(_), _) => false,
        });
        let is_outdated = |it: &&RecordedRule| match (it.rule, wanted.rule_of(it.column)) {
            (_, None) | (PrivacyRule::Exclude, Some(PrivacyRule::Hash)) => true,
            (PrivacyRule::Hash, Some(PrivacyRule::Hash)) => it.key_id != key_id,
            (_, Some(PrivacyRule::Exclude)) => false,
        };
        let outdated = recorded.iter().filter(is_outdated).map(|it| it.column).collect();
        let has_other_key = |it: &&RecordedRule| {
            it.rule == PrivacyRule::Hash && key_id.is_some() && it.key_id != key_id && is_outdated(it)
        };
        let discarded = recorded.iter().filter(has_other_key).map(|it| it.column);
        PrivacyDifference { new, outdated, discarded: PrivacyRules::excluding(discarded) }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.outdated.is_empty()
    }
}
