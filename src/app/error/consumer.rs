//! Errors about consumers and their packages.

use std::path::PathBuf;

use super::ExitStatus;

/// Why a consumer cannot acknowledge a package, be listed or be forgotten.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "consumer_")]
pub enum ConsumerError {
    /// No package was ever exported for a consumer of that name.
    #[error("there is no consumer {0}")]
    #[strum(serialize = "unknown")]
    NoConsumer(String),
    /// No package ends at that change.
    #[error("no package of {consumer} ends at change {seq}")]
    #[strum(serialize = "no_package")]
    NoPackage {
        /// The consumer.
        consumer: String,
        /// The change number given.
        seq: i64,
        /// The change numbers at which its packages end, ascending.
        ends: Vec<i64>,
        /// The newest change.
        newest: i64,
    },
    /// The packages of a consumer are in one folder.
    #[error("the packages of {consumer} are in {}, not in {}", .folder.display(), .given.display())]
    OtherFolder {
        /// The consumer.
        consumer: String,
        /// The folder of its packages.
        folder: PathBuf,
        /// The folder that was given.
        given: PathBuf,
    },
    /// The packages of this consumer are shipped to a lake, or were.
    #[error("the packages of the consumer lake are for the lake that they are shipped to")]
    OfLake,
    /// The package is from before a backup of the database was restored.
    #[error(
        "no package of {consumer} ends at change {seq} any longer: a backup of the database was restored"
    )]
    BackupRestored {
        /// The consumer.
        consumer: String,
        /// The change number given.
        seq: i64,
        /// What is newer than the database.
        evidence: String,
        /// The new lineage.
        lineage: String,
    },
}

impl ConsumerError {
    pub(super) fn exit_status(&self) -> ExitStatus {
        match self {
            ConsumerError::OtherFolder { .. } | ConsumerError::OfLake => ExitStatus::Usage,
            _ => ExitStatus::NoInput,
        }
    }

    pub(super) fn help(&self) -> String {
        match self {
            ConsumerError::NoConsumer(_) => "`halosync export list` shows the consumers".into(),
            ConsumerError::NoPackage { consumer, seq, newest, .. } if newest < seq => format!(
                "the newest change is {newest}; if an older copy of the database was restored, and the consumer has loaded \
                 change {seq} before: `halosync export ack --consumer {consumer} --seq {seq} --restored`"
            ),
            ConsumerError::NoPackage { consumer, ends, .. } if ends.is_empty() => {
                format!("no package is waiting; see `halosync export list --consumer {consumer}`")
            }
            ConsumerError::NoPackage { ends, .. } => {
                let last: Vec<_> = ends.iter().rev().take(5).rev().map(i64::to_string).collect();
                format!("name the change at which a package ends: {}", last.join(", "))
            }
            ConsumerError::OtherFolder { consumer, .. } => format!(
                "use that folder, or another consumer name; `halosync export forget --consumer {consumer}` removes its \
                 packages, after which it may start anew elsewhere"
            ),
            ConsumerError::OfLake => {
                "`halosync lake push` makes, ships and acknowledges them; name another consumer for files on disk".into()
            }
            ConsumerError::BackupRestored { evidence, lineage, .. } => format!(
                "{evidence} is newer than the database: lineage {lineage} begins, and every consumer starts again at 0"
            ),
        }
    }
}
