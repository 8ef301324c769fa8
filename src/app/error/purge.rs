//! Errors of `halosync purge`.

use super::ExitStatus;
use crate::store::{ReaderProcess, StoreError};

/// Why a ticket cannot be erased, or not everywhere.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "purge_")]
pub enum PurgeError {
    /// Nothing is known of the ticket.
    #[error("nothing is known here of ticket {0}")]
    UnknownTicket(i64),
    /// It was not erased, so that there is nothing to undo.
    #[error("ticket {0} is not erased")]
    NotErased(i64),
    /// A reader still uses the write-ahead log.
    #[error("ticket {id} is erased in the database; traces stay in the log while a reader is open")]
    LogKeepsTraces {
        /// The ticket.
        id: i64,
        /// Who reads, as far as that can be told.
        readers: Vec<ReaderProcess>,
    },
    /// The database could not be written anew.
    #[error(
        "ticket {id} is erased in the database; traces stay in the file, which could not be written anew"
    )]
    FileKeepsTraces {
        /// The ticket.
        id: i64,
        /// Why.
        #[source]
        source: StoreError,
    },
}

impl PurgeError {
    /// Of [`PurgeError::FileKeepsTraces`] its cause decides.
    pub(super) const fn exit_status(&self) -> ExitStatus {
        match self {
            PurgeError::UnknownTicket(_) | PurgeError::NotErased(_) => ExitStatus::NoInput,
            PurgeError::LogKeepsTraces { .. } | PurgeError::FileKeepsTraces { .. } => ExitStatus::TryLater,
        }
    }

    pub(super) fn help(&self) -> String {
        match self {
            PurgeError::UnknownTicket(_) => {
                "check the number; a ticket that the server lists can be erased once it was synced".into()
            }
            PurgeError::NotErased(id) => format!("`halosync history {id}` shows what is known of it"),
            PurgeError::LogKeepsTraces { id, readers } => {
                let name = |it: &ReaderProcess| {
                    let program = it.program.as_deref().map_or(String::new(), |it| format!(", {it}"));
                    format!("pid {}{program}", it.pid)
                };
                let named: Vec<_> = readers.iter().map(name).collect();
                let named = if named.is_empty() { String::new() } else { format!(" ({})", named.join("; ")) };
                format!("close the reader{named}, then run `halosync purge {id} --reason TEXT` again")
            }
            PurgeError::FileKeepsTraces { id, .. } => {
                format!("run `halosync purge {id} --reason TEXT` again")
            }
        }
    }
}
