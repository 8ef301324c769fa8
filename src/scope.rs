//! The scope of a database: one server, some or all ticket types, with or without custom fields.

use serde::{Deserialize, Serialize};

/// The version of the attribute mapping. A database of another version is loaded again.
pub const MAPPING_VERSION: u32 = 1;

/// The scope of a database, stored as JSON in `watermarks.scope`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The scheme, host, port and path of the server.
    pub server: String,
    /// The tenant on that server, or empty.
    pub tenant: String,
    /// The ids of the ticket types, ascending; empty means all.
    pub ticket_types: Vec<i64>,
    /// Whether custom fields are synchronized.
    pub custom_fields: bool,
    /// The [`MAPPING_VERSION`] that it was loaded with.
    pub mapping: u32,
}

/// How the configured scope differs from the scope of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeChange {
    /// Not at all.
    Unchanged,
    /// Custom fields are no longer synchronized; the watermark stays valid.
    CustomFieldsDisabled,
    /// Other tickets or values of the same server; an initial load follows.
    InitialLoad,
    /// Another server or tenant, whose tickets must not be mixed with the stored ones.
    OtherServer,
}

#[cfg(test)]
impl Scope {
    /// Every ticket of one server, without custom fields.
    pub(crate) fn example() -> Scope {
        Scope {
            server: "https://halo.example".into(),
            tenant: String::new(),
            ticket_types: vec![],
            custom_fields: false,
            mapping: MAPPING_VERSION,
        }
    }
}

impl Scope {
    /// Whether tickets of this type belong to the scope. A ticket without a type belongs only to a scope of
    /// all types.
    #[must_use]
    pub fn includes(&self, ticket_type: Option<i64>) -> bool {
        self.ticket_types.is_empty() || ticket_type.is_some_and(|it| self.ticket_types.contains(&it))
    }

    /// Whether tickets of this type are certainly outside the scope, which is never certain without a type.
    #[must_use]
    pub fn excludes(&self, ticket_type: Option<i64>) -> bool {
        ticket_type.is_some() && !self.includes(ticket_type)
    }

    /// How `wanted` differs from this scope.
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
            server: "https://halo.example.com".into(),
            tenant: "one".into(),
            ticket_types: types.to_vec(),
            custom_fields,
            mapping,
        };
        let stored = scope(&[3], true, 1);
        for (name, wanted, change) in [
            ("no change", stored.clone(), ScopeChange::Unchanged),
            ("custom fields off", scope(&[3], false, 1), ScopeChange::CustomFieldsDisabled),
            ("custom fields off and another type", scope(&[4], false, 1), ScopeChange::InitialLoad),
            ("more types", scope(&[3, 4], true, 1), ScopeChange::InitialLoad),
            ("all types", scope(&[], true, 1), ScopeChange::InitialLoad),
            ("another mapping", scope(&[3], true, 2), ScopeChange::InitialLoad),
            ("another tenant", Scope { tenant: "two".into(), ..stored.clone() }, ScopeChange::OtherServer),
            (
                "another port",
                Scope { server: "https://halo.example.com:8443".into(), ..stored.clone() },
                ScopeChange::OtherServer,
            ),
        ] {
            assert_eq!(stored.change_to(&wanted), change, "{name}");
        }
        assert_eq!(scope(&[3], false, 1).change_to(&stored), ScopeChange::InitialLoad, "custom fields on");
    }
}
