//! What a database is a copy of: one server, some of its ticket types, with or without custom fields.

use serde::{Deserialize, Serialize};

/// The version of the mapping; a database filled under another one is filled again.
pub const MAPPING_VERSION: u32 = 1;

/// The scope of a database, as it stands in `watermarks.scope`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Scheme, host, port and path of the server.
    pub server: String,
    /// The tenant on it, or empty.
    pub tenant: String,
    /// The ticket types that are copied, ascending; empty is all of them.
    pub ticket_types: Vec<i64>,
    /// Whether custom fields are copied.
    pub custom_fields: bool,
    /// [`MAPPING`] when it was filled.
    pub mapping: u32,
}

/// How a wanted scope relates to the one that a database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeChange {
    /// The same.
    Unchanged,
    /// The same rows, only that their custom fields are not copied any more: the position stays.
    CustomFieldsDisabled,
    /// The same server, but other rows or values: the old position means nothing any more.
    InitialLoad,
    /// Another server; its tickets must never be mixed with these.
    OtherServer,
}

impl Scope {
    /// Whether the scope holds tickets of this type; one without a type belongs to no filtered scope.
    #[must_use]
    pub fn includes(&self, ticket_type: Option<i64>) -> bool {
        self.ticket_types.is_empty() || ticket_type.is_some_and(|it| self.ticket_types.contains(&it))
    }

    /// Whether tickets of this type are certainly outside: of one without a type nobody knows.
    #[must_use]
    pub fn excludes(&self, ticket_type: Option<i64>) -> bool {
        ticket_type.is_some() && !self.includes(ticket_type)
    }

    /// How `wanted` relates to this scope.
    #[must_use]
    pub fn change_to(&self, wanted: &Scope) -> ScopeChange {
        if (&self.server, &self.tenant) != (&wanted.server, &wanted.tenant) {
            ScopeChange::OtherServer
        } else if self == wanted {
            ScopeChange::Unchanged
        } else if self.custom_fields && *wanted == (Scope { custom_fields: false, ..self.clone() }) {
            ScopeChange::CustomFieldsDisabled
        } else {
            ScopeChange::InitialLoad
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disabling_custom_fields_keeps_the_watermark() {
        let scope = |types: &[i64], custom_fields, mapping| Scope {
            server: "https://desk.example.com".into(),
            tenant: "one".into(),
            ticket_types: types.to_vec(),
            custom_fields,
            mapping,
        };
        let stored = scope(&[3], true, 1);
        for (name, wanted, change) in [
            ("nothing", stored.clone(), ScopeChange::Unchanged),
            ("custom fields off", scope(&[3], false, 1), ScopeChange::CustomFieldsDisabled),
            ("custom fields off and another type", scope(&[4], false, 1), ScopeChange::InitialLoad),
            ("more types", scope(&[3, 4], true, 1), ScopeChange::InitialLoad),
            ("all types", scope(&[], true, 1), ScopeChange::InitialLoad),
            ("another mapping", scope(&[3], true, 2), ScopeChange::InitialLoad),
            ("another tenant", Scope { tenant: "two".into(), ..stored.clone() }, ScopeChange::OtherServer),
            (
                "another port",
                Scope { server: "https://desk.example.com:8443".into(), ..stored.clone() },
                ScopeChange::OtherServer,
            ),
        ] {
            assert_eq!(stored.change_to(&wanted), change, "{name}");
        }
        assert_eq!(scope(&[3], false, 1).change_to(&stored), ScopeChange::InitialLoad, "custom fields on");
    }
}
