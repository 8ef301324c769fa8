//! The keys of reference objects, and what users have changed about those objects.

use std::collections::{BTreeMap, BTreeSet};

/// The key of a reference object: the numbers by which a ticket names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReferenceKey {
    /// `agent_id`; 1 is "Unassigned".
    Agent(i64),
    /// `team_id`
    Team(i64),
    /// `sla_id` and `priority_id`: priority 3 of one SLA is not priority 3 of another (halo-objects.md §3.3).
    Priority {
        /// The SLA.
        sla: i64,
        /// The number within the SLA.
        priority: i64,
    },
    /// `sla_id`
    Sla(i64),
    /// The id of a category; tickets have its text instead.
    Category(i64),
    /// `client_id`; 1 is "Unknown".
    Client(i64),
    /// `site_id`
    Site(i64),
    /// `user_id`
    User(i64),
}

/// What users have changed about the reference objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReferenceEdits {
    names: BTreeMap<ReferenceKey, String>,
    added: BTreeSet<ReferenceKey>,
    removed: BTreeSet<ReferenceKey>,
    inactive: BTreeMap<ReferenceKey, bool>,
}

impl ReferenceEdits {
    pub(crate) fn rename(&mut self, key: ReferenceKey, name: &str) {
        self.names.insert(key, name.to_owned());
    }

    /// Adds an object, or lists a removed one again.
    pub(crate) fn add(&mut self, key: ReferenceKey) {
        self.removed.remove(&key);
        self.added.insert(key);
    }

    pub(crate) fn remove(&mut self, key: ReferenceKey) {
        self.added.remove(&key);
        self.removed.insert(key);
    }

    pub(crate) fn set_inactive(&mut self, key: ReferenceKey, inactive: bool) {
        self.inactive.insert(key, inactive);
    }

    /// Returns the name of an object that was renamed or added.
    pub(crate) fn name(&self, key: ReferenceKey) -> Option<&str> {
        self.names.get(&key).map(String::as_str)
    }

    pub(crate) fn added(&self) -> impl Iterator<Item = ReferenceKey> {
        self.added.iter().copied()
    }

    pub(crate) fn is_removed(&self, key: ReferenceKey) -> bool {
        self.removed.contains(&key)
    }

    pub(crate) fn is_inactive(&self, key: ReferenceKey) -> Option<bool> {
        self.inactive.get(&key).copied()
    }
}
