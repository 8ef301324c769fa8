//! The stored part of a ticket: what cannot be derived from the seed and its id.

use crate::row_defect::RowDefect;
use crate::timestamp::SqlDateTime;

/// One ticket in at most 64 bytes; its texts, people and sites are derived from the seed and the id.
///
/// A million tickets need as much memory as the JSON of 20,000 would.
#[derive(Clone, Debug)]
pub(crate) struct TicketRecord {
    pub(crate) id: i64,
    pub(crate) opened: SqlDateTime,
    /// `None` for a NULL column.
    pub(crate) updated: Option<SqlDateTime>,
    pub(crate) closed: Option<SqlDateTime>,
    pub(crate) status: i32,
    pub(crate) ticket_type: i32,
    pub(crate) agent: i32,
    /// The server-wide change counter at the last change (`changeseq`, halo-api.md §5).
    pub(crate) change_seq: u32,
    /// Number of SLA recalculations.
    pub(crate) sla_recounts: u8,
    pub(crate) lifecycle: Lifecycle,
    /// Whether the ticket is outside the agent's permissions (halo-api.md §1.7).
    pub(crate) hidden: bool,
}

/// Whether a ticket is live, merged or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Live,
    Merged,
    /// Soft-deleted: the row stays in the database.
    Deleted,
}

/// A change that a user makes to a ticket.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// A new summary.
    Summary(String),
    /// A new status; a closing one sets `dateclosed`, any other clears it.
    Status(i64),
    /// A new description.
    Details(String),
    /// A new ticket type.
    TicketType(i64),
    /// A new agent; 1 is "unassigned". No list needs to have it: some old ids are in no answer at all.
    Agent(i64),
    /// An action that changes only `last_update` and `lastactiondate`.
    Touch,
    /// A new value of a custom field and its display text.
    CustomField {
        /// The id of the field, as in `/api/FieldInfo`.
        field: i64,
        /// Any JSON value.
        value: serde_json::Value,
        /// The text shown to users.
        display: String,
    },
}

/// Edited values that replace derived ones; few tickets have any.
#[derive(Clone, Debug, Default)]
pub(crate) struct TicketOverrides {
    pub(crate) summary: Option<String>,
    pub(crate) details: Option<String>,
    pub(crate) custom_values: Vec<(i64, serde_json::Value, String)>,
    /// Raw text to serve in place of the list row.
    pub(crate) raw_row: Option<String>,
    /// What is wrong with the row as it is served.
    pub(crate) defects: Vec<RowDefect>,
}

/// The target of a merge and the state before it, so that the merge can be undone (halo-api.md §2.5).
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergeRecord {
    pub(crate) into: i64,
    pub(crate) status: i32,
    pub(crate) closed: Option<SqlDateTime>,
}

/// Converts to the 32 bits of a Halo id; values out of range become the nearest limit.
pub(crate) fn saturating_i32(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}

#[cfg(test)]
mod tests {
    #[test]
    fn ticket_record_is_at_most_64_bytes() {
        assert!(size_of::<super::TicketRecord>() <= 64);
    }
}
