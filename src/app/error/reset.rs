//! Errors of `halosync reset`.

use super::ExitStatus;
use crate::ticket::Timestamp;

/// Why the watermark cannot be moved to the time asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "reset_")]
pub enum ResetError {
    /// The initial load has not completed.
    #[error("no watermark yet: the first full sync has not completed")]
    NoWatermark,
    /// The time is later than now.
    #[error("{0} is in the future")]
    Future(Timestamp),
    /// The time is later than the watermark, so rows before it may be missing.
    #[error("{to} is later than the watermark, which is at {watermark}")]
    Forward {
        /// The time asked for.
        to: Timestamp,
        /// The present watermark.
        watermark: Timestamp,
    },
}

impl ResetError {
    pub(super) const fn exit_status(self) -> ExitStatus {
        match self {
            ResetError::NoWatermark => ExitStatus::Incomplete,
            ResetError::Future(_) | ResetError::Forward { .. } => ExitStatus::Usage,
        }
    }

    pub(super) const fn help(self) -> &'static str {
        match self {
            ResetError::NoWatermark => "the next `halosync sync` reads every ticket anyway",
            ResetError::Future(_) => "name a time in the past, by this machine's clock",
            ResetError::Forward { .. } => {
                "name an earlier time; only a complete sync moves the watermark forward"
            }
        }
    }
}
