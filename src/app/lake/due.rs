//! When the service ships; pure.

use std::time::Duration;

use crate::app::has_passed;
use crate::config::ExportSchedule;
use crate::store::LakePushes;
use crate::ticket::Timestamp;

/// How long the service waits after the first failed push; after each further one twice as long.
const RETRY_FIRST: Duration = Duration::from_mins(1);

/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_hours(1);

/// When the service asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum PushMoment {
    /// A run has ended.
    AfterRun,
    /// At any other time.
    Between,
}

/// Whether a push is due. `pushes` is how the earlier ones went; the first one comes after a run.
pub(in crate::app) fn push_due(
    schedule: ExportSchedule,
    moment: PushMoment,
    pushes: Option<&LakePushes>,
    now: Timestamp,
) -> bool {
    match (schedule, pushes) {
        (ExportSchedule::Off, _) => false,
        (_, Some(pushes)) if 0 < pushes.failures => {
            let doublings = (pushes.failures - 1).min(16);
            has_passed((RETRY_FIRST * (1 << doublings)).min(RETRY_MAX), pushes.attempted_at, now)
        }
        (ExportSchedule::Every(span), Some(LakePushes { succeeded_at: Some(at), .. })) => {
            has_passed(span, *at, now)
        }
        _ => moment == PushMoment::AfterRun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_is_due_by_the_schedule_and_later_and_later_after_failures() {
        let at = |time: &str| -> Timestamp { format!("2026-11-26T{time}.000Z").parse().unwrap() };
        let hourly = ExportSchedule::Every(Duration::from_hours(1));
        let pushes = |attempted: &str, succeeded: Option<&str>, failures| LakePushes {
            attempted_at: at(attempted),
            succeeded_at: succeeded.map(at),
            failures,
            error: None,
        };
        let both = [PushMoment::AfterRun, PushMoment::Between];
        for (name, schedule, pushes, now, due) in [
            ("the first", hourly, None, "12:00:00", true),
            ("off", ExportSchedule::Off, None, "12:00:00", false),
            ("within the hour", hourly, Some(pushes("11:30:00", Some("11:30:00"), 0)), "12:00:00", false),
            ("after the hour", hourly, Some(pushes("11:00:00", Some("11:00:00"), 0)), "12:00:00", true),
            (
                "the clock stepped back",
                hourly,
                Some(pushes("13:00:00", Some("13:00:00"), 0)),
                "12:00:00",
                true,
            ),
            (
                "after each run",
                ExportSchedule::AfterSync,
                Some(pushes("11:59:59", Some("11:59:59"), 0)),
                "12:00:00",
                true,
            ),
            (
                "failed once, a minute ago",
                hourly,
                Some(pushes("11:59:00", Some("11:00:00"), 1)),
                "12:00:00",
                true,
            ),
            (
                "failed once, just now",
                hourly,
                Some(pushes("11:59:30", Some("10:00:00"), 1)),
                "12:00:00",
                false,
            ),
            ("failed four times", hourly, Some(pushes("11:53:00", None, 4)), "12:00:00", false),
            ("failed four times, 8 minutes ago", hourly, Some(pushes("11:52:00", None, 4)), "12:00:00", true),
            ("failed for a day", hourly, Some(pushes("11:00:00", None, 4_000_000_000)), "12:00:00", true),
            (
                "failed for a day, 59 minutes ago",
                hourly,
                Some(pushes("11:01:00", None, 99)),
                "12:00:00",
                false,
            ),
            (
                "failed after each run",
                ExportSchedule::AfterSync,
                Some(pushes("11:59:30", None, 1)),
                "12:00:00",
                false,
            ),
        ] {
            for moment in both {
                // What nothing has come before, and what comes after each run, waits for one.
                let waits_for_run = pushes.as_ref().is_none_or(|it| it.failures == 0)
                    && (pushes.is_none() || schedule == ExportSchedule::AfterSync);
                let due = due && (moment == PushMoment::AfterRun || !waits_for_run);
                assert_eq!(push_due(schedule, moment, pushes.as_ref(), at(now)), due, "{name}, {moment:?}");
            }
        }
    }
}
