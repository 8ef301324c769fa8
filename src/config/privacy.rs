//! `[privacy]`: what is not stored, or stored as a hash.

use std::path::PathBuf;

use super::halo::HaloConfig;
use super::reader::{Section, did_you_mean};
use crate::privacy::{PrivacyRule, ProtectedColumn};

/// `[privacy]`: what is not stored, or stored as a hash.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PrivacyConfig {
    /// The rules as declared.
    pub rules: Vec<(ProtectedColumn, PrivacyRule)>,
    /// File with the key of the hashes; there is one where anything is hashed.
    pub hash_key_file: Option<PathBuf>,
}

impl PrivacyConfig {
    /// Reads the section. `halo` is what else depends on the columns.
    pub(super) fn read(section: &mut Section<'_, '_>, halo: Option<&HaloConfig>) -> PrivacyConfig {
        let mut rules: Vec<(ProtectedColumn, PrivacyRule)> = Vec::new();
        for (key, rule) in [("exclude", PrivacyRule::Exclude), ("hash", PrivacyRule::Hash)] {
            for name in section.texts(key) {
                match read_column(name.trim(), rule, halo) {
                    Ok(column) if rules.iter().any(|(known, other)| *known == column && *other != rule) => {
                        let message =
                            format!("names `{column}`, which `privacy.exclude` names too: keep one of them");
                        section.add_problem(key, message);
                    }
                    Ok(column) => rules.push((column, rule)),
                    Err(message) => section.add_problem(key, message),
                }
            }
        }
        let hash_key_file = section.path("hash_key_file");
        if hash_key_file.is_none() && rules.iter().any(|(_, rule)| *rule == PrivacyRule::Hash) {
            section.add_problem("hash", "needs `privacy.hash_key_file`: a file with a secret key");
        }
        PrivacyConfig { rules, hash_key_file }
    }
}

/// The column with a name; the problem as a clause after the key.
fn read_column(name: &str, rule: PrivacyRule, halo: Option<&HaloConfig>) -> Result<ProtectedColumn, String> {
    let Some(column) = ProtectedColumn::named(name) else {
        let names: Vec<_> = ProtectedColumn::names().collect();
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        return Err(format!(
            "has no column `{name}`{hint}; it takes attributes, EXTRA.<NAME>, CUSTOM.<FIELD_ID> and columns of reference \
             tables such as agents.NAME"
        ));
    };
    column.check(rule)?;
    let chooses_types = halo.is_some_and(|halo| !halo.ticket_types.is_empty());
    if chooses_types && name == "ticket_types.NAME" {
        return Err(
            "names `ticket_types.NAME`, by which `halo.ticket_type` chooses tickets: keep one of them".into(),
        );
    }
    Ok(column)
}
