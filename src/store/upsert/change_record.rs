//! A change record before it is written.

use crate::ticket::Op;

/// A row of `changes` without its number.
#[derive(Clone, Copy)]
pub(super) struct ChangeRecord<'a> {
    pub(super) id: i64,
    pub(super) op: Op,
    pub(super) reason: Option<&'a str>,
    pub(super) last_modified: Option<&'a str>,
    pub(super) changed: Option<&'a str>,
    pub(super) last_row: Option<&'a str>,
    /// Whether no scan tells since when it can be so: only extras or custom fields changed and no attribute, or a ticket is
    /// stored again that was erased here.
    pub(super) is_unbounded: bool,
}

/// The run that writes, and the time by the local clock.
#[derive(Clone, Copy)]
pub(super) struct WriteContext<'a> {
    pub(super) run_id: i64,
    pub(super) now: &'a str,
}

impl ChangeRecord<'_> {
    pub(super) const fn new(id: i64, op: Op) -> ChangeRecord<'static> {
        ChangeRecord {
            id,
            op,
            reason: None,
            last_modified: None,
            changed: None,
            last_row: None,
            is_unbounded: false,
        }
    }
}

/// The reason of a change record that repairs an edit by another program (`changes.reason`). It is no event
/// of the ticket: the server's row had been stored before.
pub(super) const REPAIRED: &str = "repaired";

/// The reason of a change record of tickets whose status was renamed.
pub(super) const STATUS_RENAMED: &str = "status_renamed";

/// The reason of a change record of custom fields that were fetched ticket by ticket.
pub(super) const CUSTOM_FIELDS: &str = "custom_fields";

/// The reason of a change record of custom fields that are no longer synchronized.
pub(super) const CUSTOM_FIELDS_OFF: &str = "custom_fields_off";

/// The reason of the deletion of a ticket that was erased here.
pub const ERASED: &str = "erased";

/// The reason of a ticket that is stored again after a deletion.
pub(super) const RETURNED: &str = "returned";
