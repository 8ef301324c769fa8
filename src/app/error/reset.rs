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
    #[error("{} is in the future", .0.to_second())]
    Future(Timestamp),
    /// The time is later than the watermark, so rows before it may be missing.
    #[error("{} is later than the watermark, which is at {}", to.to_second(), watermark.to_second())]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_messages_are_to_the_second() {
        let [to, watermark] =
            ["2026-11-22T12:00:00.999Z", "2026-11-21T08:00:00.001Z"].map(|it| it.parse().unwrap());
        for (error, message) in [
            (ResetError::Future(to), "2026-11-22T12:00:00Z is in the future"),
            (
                ResetError::Forward { to, watermark },
                "2026-11-22T12:00:00Z is later than the watermark, which is at 2026-11-21T08:00:00Z",
            ),
        ] {
            assert_eq!(error.to_string(), message);
        }
    }
}
