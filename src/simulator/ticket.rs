//! What the server stores of one ticket that cannot be derived from its number.

use super::timestamp::SqlDateTime;

/// One ticket in 64 bytes or less; its texts, people and places follow from the seed and the id.
///
/// That is what lets a million tickets live in the memory that their JSON would need for twenty thousand.
#[derive(Clone, Debug)]
pub(super) struct TicketRecord {
    pub(super) id: i64,
    pub(super) opened: SqlDateTime,
    /// `None` where the column is NULL.
    pub(super) updated: Option<SqlDateTime>,
    pub(super) closed: Option<SqlDateTime>,
    pub(super) status: i32,
    pub(super) ticket_type: i32,
    pub(super) agent: i32,
    /// The server-wide change counter at the last change (`changeseq`, halo-api.md §5).
    pub(super) change_seq: u32,
    /// How often the SLA was counted anew.
    pub(super) sla_recounts: u8,
    pub(super) lifecycle: Lifecycle,
    /// Outside what the agent may see (halo-api.md §1.7).
    pub(super) hidden: bool,
}

/// Whether a ticket still takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifecycle {
    Live,
    Merged,
    /// Softly: the row stays in the database.
    Deleted,
}

/// A change that somebody makes in the ticket.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// A new summary.
    Summary(String),
    /// Another status; a closing one sets `dateclosed`, any other removes it.
    Status(i64),
    /// A new description.
    Details(String),
    /// Another ticket type.
    TicketType(i64),
    /// Another agent; 1 is nobody.
    Agent(i64),
    /// An action that leaves every mapped field but the two stamps as it is.
    Touch,
    /// A new value of a custom field, and the text shown for it.
    CustomField {
        /// The id of the field, see `/api/FieldInfo`.
        field: i64,
        /// Any JSON.
        value: serde_json::Value,
        /// What people read.
        display: String,
    },
}

/// What was typed over the derived texts of a ticket; few tickets have any.
#[derive(Clone, Debug, Default)]
pub(super) struct TicketOverrides {
    pub(super) summary: Option<String>,
    pub(super) details: Option<String>,
    pub(super) custom_values: Vec<(i64, serde_json::Value, String)>,
    /// The whole list row as raw text.
    pub(super) raw_row: Option<String>,
}

/// Where a ticket was merged to, and what it was before, so that the merge can be undone (halo-api.md §2.5).
#[derive(Clone, Copy, Debug)]
pub(super) struct MergeRecord {
    pub(super) into: i64,
    pub(super) status: i32,
    pub(super) closed: Option<SqlDateTime>,
}

/// Halo's ids are 32-bit; what does not fit is held at the end of the range.
pub(super) fn saturating_i32(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}

#[cfg(test)]
mod tests {
    #[test]
    fn ticket_record_is_at_most_64_bytes() {
        assert!(size_of::<super::TicketRecord>() <= 64);
    }
}
