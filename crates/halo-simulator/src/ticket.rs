//! What the server stores of one ticket that cannot be derived from its number.

use crate::timestamp::SqlDateTime;

/// One ticket in 64 bytes or less; its texts, people and places follow from the seed and the id.
///
/// That is what lets a million tickets live in the memory that their JSON would need for twenty thousand.
#[derive(Clone, Debug)]
pub(crate) struct TicketRecord {
    pub(crate) id: i64,
    pub(crate) opened: SqlDateTime,
    /// `None` where the column is NULL.
    pub(crate) updated: Option<SqlDateTime>,
    pub(crate) closed: Option<SqlDateTime>,
    pub(crate) status: i32,
    pub(crate) ticket_type: i32,
    pub(crate) agent: i32,
    /// The server-wide change counter at the last change (`changeseq`, halo-api.md §5).
    pub(crate) change_seq: u32,
    /// How often the SLA was counted anew.
    pub(crate) sla_recounts: u8,
    pub(crate) lifecycle: Lifecycle,
    /// Outside what the agent may see (halo-api.md §1.7).
    pub(crate) hidden: bool,
}

/// Whether a ticket still takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
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
pub(crate) struct TicketOverrides {
    pub(crate) summary: Option<String>,
    pub(crate) details: Option<String>,
    pub(crate) custom_values: Vec<(i64, serde_json::Value, String)>,
    /// The whole list row as raw text.
    pub(crate) raw_row: Option<String>,
}

/// Where a ticket was merged to, and what it was before, so that the merge can be undone (halo-api.md §2.5).
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergeRecord {
    pub(crate) into: i64,
    pub(crate) status: i32,
    pub(crate) closed: Option<SqlDateTime>,
}

/// Halo's ids are 32-bit; what does not fit is held at the end of the range.
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
