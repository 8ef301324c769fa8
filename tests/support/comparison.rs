//! Compares local tickets with the server's, attribute by attribute.

use std::collections::{BTreeMap, BTreeSet};

use super::mapping::{self, Fields, Tickets};

/// Asserts that every ticket of the server is stored locally and up to date. More tickets may be stored.
pub(crate) fn assert_nothing_missing(local: &Tickets, server: &Tickets, context: &str) {
    for (id, expected) in server {
        let ticket = local.get(id).unwrap_or_else(|| panic!("{context}: ticket {id} is missing"));
        let differences = mapping::differences(ticket, expected);
        assert!(differences.is_empty(), "{context}: ticket {id} is out of date: {}", differences.join(", "));
    }
}

/// Asserts that exactly the server's tickets are stored locally, and those of `also_stored`, and that the server's are
/// up to date.
pub(crate) fn assert_tickets_match(local: &Tickets, server: &Tickets, also_stored: &[i64], context: &str) {
    assert_nothing_missing(local, server, context);
    let stored: BTreeSet<_> = local.keys().copied().collect();
    let expected: BTreeSet<_> = server.keys().chain(also_stored).copied().collect();
    let surplus: Vec<_> = stored.difference(&expected).collect();
    assert!(surplus.is_empty(), "{context}: tickets are stored that the server does not have: {surplus:?}");
    let missing: Vec<_> = expected.difference(&stored).collect();
    assert!(missing.is_empty(), "{context}: tickets should still be stored: {missing:?}");
}

/// Asserts that the custom fields of these tickets are the server's.
pub(crate) fn assert_custom_fields_match(
    local: &BTreeMap<i64, Fields>,
    server: &BTreeMap<i64, Fields>,
    context: &str,
) {
    let none = Fields::new();
    for (id, expected) in server {
        let differences = mapping::field_differences(local.get(id).unwrap_or(&none), expected);
        assert!(differences.is_empty(), "{context}: ticket {id}: {}", differences.join(", "));
    }
}
