//! Which rejects of a ticket are replaced together, by their names in `ticket_state.rejected`.

use crate::ticket::{CUSTOM_FIELDS_PROPERTY, CUSTOM_PREFIX};

/// Rejects of a ticket that are replaced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RejectGroup {
    /// Those of its attributes.
    Attributes,
    /// Those of its custom fields.
    CustomFields,
}

impl RejectGroup {
    pub(super) fn includes(self, name: &str) -> bool {
        let is_custom = name == CUSTOM_FIELDS_PROPERTY || name.starts_with(CUSTOM_PREFIX);
        is_custom == (self == RejectGroup::CustomFields)
    }

    /// Whether a list of names, as in `ticket_state.rejected`, has one of this group.
    pub(super) fn is_in(self, names: Option<&str>) -> bool {
        names.is_some_and(|names| split(names).any(|name| self.includes(name)))
    }
}

pub(super) fn split(names: &str) -> impl Iterator<Item = &str> {
    names.split(',').filter(|name| !name.is_empty())
}
