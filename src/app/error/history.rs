//! Errors of `halosync history`.

use super::ExitStatus;
use crate::store::ERASED;
use crate::ticket::Timestamp;

/// Why the history of a ticket, or its row at a time, cannot be shown. Times are to the millisecond, because a row may be of
/// any of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "history_")]
pub enum HistoryError {
    /// Nothing is recorded of the ticket.
    #[error("ticket {id} is not stored here{}", known.as_ref().map_or(String::new(), |it| format!(": {it}")))]
    UnknownTicket {
        /// Its number.
        id: i64,
        /// What is known of it all the same.
        known: Option<String>,
        /// The number of the last change record that aged out; 0 where none did.
        complete_after: i64,
    },
    /// The time is later than now.
    #[error("{0} is in the future")]
    Future(Timestamp),
    /// The ticket was first seen later.
    #[error("ticket {id} was not stored here at {at}: it was first seen at {first_seen}")]
    NotYetSeen {
        /// Its number.
        id: i64,
        /// The time asked for.
        at: Timestamp,
        /// When it was first seen.
        first_seen: Timestamp,
    },
    /// The ticket had been removed.
    #[error("ticket {id} was not stored here at {at}: it was removed at {removed_at}, because {why}")]
    Removed {
        /// Its number.
        id: i64,
        /// The time asked for.
        at: Timestamp,
        /// When it was removed.
        removed_at: Timestamp,
        /// Why, as a clause.
        why: String,
    },
    /// The ticket was erased here.
    #[error("the row of ticket {id} at {at} is not shown: it was erased on {} ({reason})", erased_at.to_second())]
    Erased {
        /// Its number.
        id: i64,
        /// The time asked for.
        at: Timestamp,
        /// When it was erased.
        erased_at: Timestamp,
        /// The reason that was given.
        reason: String,
    },
    /// Change records that are needed are no longer kept.
    #[error("the change records of ticket {id} do not reach back to {at}: older ones have aged out")]
    AgedOut {
        /// Its number.
        id: i64,
        /// The time asked for.
        at: Timestamp,
        /// The earliest time that they do reach, if there is one before now.
        earliest: Option<Timestamp>,
    },
    /// Nothing tells the values at that time.
    #[error("the row of ticket {id} at {at} is not known: {why}")]
    RowUnknown {
        /// Its number.
        id: i64,
        /// The time asked for.
        at: Timestamp,
        /// Why, as a clause.
        why: &'static str,
    },
    /// Another program edited the row or the change records, so that they do not agree.
    #[error("the row of ticket {id} at {at} is not known: the records after it contradict change {seq}")]
    Contradiction {
        /// Its number.
        id: i64,
        /// The time asked for.
        at: Timestamp,
        /// The change record.
        seq: i64,
    },
}

/// Why a ticket was removed, as a clause; the reason is that of `changes.reason`.
#[must_use]
pub fn removal_to_text(reason: &str, merged_into: Option<i64>) -> String {
    if let Some(into) = merged_into {
        return format!("it was merged into ticket {into}");
    }
    match reason {
        "vanished" => "the server no longer finds it".into(),
        "deleted" => "it was deleted on the server".into(),
        "merged" => "it was merged into another ticket".into(),
        "out_of_scope" => "it no longer has one of the ticket types in the settings".into(),
        ERASED => "it was erased here".into(),
        "" => "of a reason that was erased".into(),
        other => other.replace('_', " "),
    }
}

impl HistoryError {
    pub(super) const fn exit_status(&self) -> ExitStatus {
        match self {
            HistoryError::Future(_) => ExitStatus::Usage,
            HistoryError::Contradiction { .. } => ExitStatus::DataError,
            _ => ExitStatus::NoInput,
        }
    }

    pub(super) fn help(&self) -> String {
        match self {
            HistoryError::UnknownTicket { known: Some(_), .. } => {
                "`halosync sync` asks for it again when it is due; `halosync status` shows what else waits"
                    .into()
            }
            HistoryError::UnknownTicket { known: None, complete_after: 1.., .. } => {
                "check the number; change records have aged out, and with them what was removed before".into()
            }
            HistoryError::UnknownTicket { known: None, .. } => {
                "check the number, halo.ticket_type, and with `halosync status` whether the copy is complete"
                    .into()
            }
            HistoryError::Future(_) => "name a time in the past, by this machine's clock".into(),
            HistoryError::NotYetSeen { id, first_seen, .. } => {
                format!("the first row: `halosync history {id} --at {first_seen}`")
            }
            HistoryError::Erased { id, .. } => {
                format!("nothing of it is stored any more; `halosync history {id}` shows when it was here")
            }
            HistoryError::Removed { id, .. } => format!("`halosync history {id}` shows when it was stored"),
            HistoryError::AgedOut { id, earliest: Some(earliest), .. } => format!(
                "the earliest row: `halosync history {id} --at {earliest}`; store.keep_changes says how long records are kept"
            ),
            HistoryError::AgedOut { id, earliest: None, .. } => {
                format!(
                    "`halosync history {id}` shows its present row; store.keep_changes says how long records are kept"
                )
            }
            HistoryError::RowUnknown { id, .. } => format!(
                "`halosync sync --full` repairs what another program edited or lost; `halosync history {id}` shows what is known"
            ),
            HistoryError::Contradiction { id, .. } => format!(
                "`halosync history {id}` shows what is known; `halosync check --deep` looks for edits by other programs"
            ),
        }
    }
}
