//! Errors about consumers and their packages.

use std::path::PathBuf;

/// Why a consumer cannot acknowledge a package, be listed or be forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// No package was ever exported for a consumer of that name.
    #[error("there is no consumer {0}")]
    NoConsumer(String),
    /// No package ends at that change.
    #[error("no package of {consumer} ends at change {seq}")]
    NoPackage {
        /// The consumer.
        consumer: String,
        /// The change number given.
        seq: i64,
        /// The change numbers at which its packages end, ascending.
        ends: Vec<i64>,
    },
    /// The package is from before a backup of the database was restored.
    #[error(
        "no package of {consumer} ends at change {seq} any longer: a backup of the database was restored"
    )]
    BackupRestored {
        /// The consumer.
        consumer: String,
        /// The change number given.
        seq: i64,
        /// The file or folder that is newer than the database.
        evidence: PathBuf,
        /// The new lineage.
        lineage: String,
    },
}

impl ConsumerError {
    pub(super) fn help(&self) -> String {
        match self {
            ConsumerError::NoConsumer(_) => "`halosync export list` shows the consumers".into(),
            ConsumerError::NoPackage { consumer, ends, .. } if ends.is_empty() => {
                format!("no package is waiting; see `halosync export list --consumer {consumer}`")
            }
            ConsumerError::NoPackage { ends, .. } => {
                let last: Vec<_> = ends.iter().rev().take(5).rev().map(i64::to_string).collect();
                format!("name the change at which a package ends: {}", last.join(", "))
            }
            ConsumerError::BackupRestored { evidence, lineage, .. } => format!(
                "{} is newer than the database: lineage {lineage} begins, and every consumer starts again at 0",
                evidence.display()
            ),
        }
    }
}
