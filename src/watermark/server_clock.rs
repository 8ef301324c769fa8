//! The server's clock: when a scan started, whether that can be true, and by how much the clocks of its nodes differ.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::ticket::Timestamp;

/// The start of a run by the server's clock: the `Date` of its first list response, less the duration of
/// the request, less a second because `Date` may have been rounded.
#[must_use]
pub fn run_start(date: DateTime<Utc>, took: Duration) -> Option<Timestamp> {
    let took = TimeDelta::from_std(took).ok()?;
    Timestamp::new(date.checked_sub_signed(took)?.checked_sub_signed(TimeDelta::seconds(1))?)
}

/// How far the server's clock may be ahead of both the local clock and the newest update.
const CLOCK_LEAD_MAX: TimeDelta = TimeDelta::days(1);

/// Whether the start of a scan can be the true time. It is not believed where it is more than a day ahead of both the
/// local clock and the newest `last_update` received: either of them alone may be wrong.
#[must_use]
pub fn is_start_believable(start: Timestamp, local: Timestamp, newest_update: Option<Timestamp>) -> bool {
    let is_ahead_of = |other: Timestamp| other.plus(CLOCK_LEAD_MAX) < start;
    !(is_ahead_of(local) && newest_update.is_none_or(is_ahead_of))
}

/// When a scan started, by the server's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanStart {
    /// The start of the scan; `None` if the server sent no readable `Date`.
    pub first: Option<Timestamp>,
    /// The start of this session of a resumed scan, otherwise the same.
    pub session: Option<Timestamp>,
}

impl ScanStart {
    /// The instant up to which a verified scan has seen every update: a resumed scan may have begun before the server's
    /// clock stepped back.
    #[must_use]
    pub fn covers(&self) -> Option<Timestamp> {
        self.first.min(self.session).or(self.session)
    }
}

/// A step of the server's clock, as the journal of the watermark has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// The watermark before it.
    pub covered_before: Timestamp,
    /// When the run began that had set it, by the local clock.
    pub set_at: Timestamp,
    /// The server's time at the step.
    pub stepped_to: Timestamp,
    /// When the step was found, by the local clock.
    pub found_at: Timestamp,
}

/// By how much two clocks of the server differ, if a step of its clock shows two nodes: so far the second is behind what
/// the first one says by now. The local clock only measures the time in between; at most a day of it counts.
#[must_use]
pub fn clock_difference(step: &ClockStep) -> TimeDelta {
    let between = step.found_at.instant() - step.set_at.instant();
    let between = between.clamp(TimeDelta::zero(), CLOCK_LEAD_MAX);
    (step.covered_before.instant() - step.stepped_to.instant() + between).max(TimeDelta::zero())
}

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;

    #[test]
    fn run_start_is_before_the_server_can_have_seen_the_request() {
        let date = at(100).instant();
        assert_eq!(run_start(date, Duration::from_secs(3)), Some(at(96)));
    }

    #[test]
    fn start_far_ahead_of_both_clocks_is_not_believed() {
        let day = 86_400;
        for (name, start, newest, believed) in [
            ("a day ahead", at(day), Some(at(0)), true),
            ("two days ahead of both", at(2 * day), Some(at(0)), false),
            ("two days ahead, nothing received", at(2 * day), None, false),
            ("local clock behind", at(2 * day), Some(at(2 * day - 60)), true),
            ("server behind", at(-90 * day), Some(at(0)), true),
        ] {
            assert_eq!(is_start_believable(start, at(0), newest), believed, "{name}");
        }
    }

    #[test]
    fn clock_difference_of_two_nodes_counts_the_time_between_the_runs() {
        // The first node was at 1000 when the local clock said 50; five minutes later the second one is at 400.
        let step =
            ClockStep { covered_before: at(1_000), set_at: at(50), stepped_to: at(400), found_at: at(350) };
        assert_eq!(clock_difference(&step), TimeDelta::seconds(900));
        let local_clock_set_back = ClockStep { found_at: at(-90_000), ..step };
        assert_eq!(clock_difference(&local_clock_set_back), TimeDelta::seconds(600));
    }
}
