//! How late changes become visible, and the overlap that allows for it.
//!
//! A change is late by the time from its `last_update` to the start of the newest verified scan before the first sighting of
//! that version: that scan should have shown it. Both times are the server's. The interval between scans is no part of it.

use chrono::TimeDelta;

use crate::ticket::Timestamp;

/// What is later is not late: the ticket became visible in another way, such as a permission that was granted.
pub const LATENESS_MAX: TimeDelta = TimeDelta::days(1);

/// The shortest overlap that is proposed.
const PROPOSED_OVERLAP_MIN: TimeDelta = TimeDelta::minutes(5);

/// By how much a version is late that a scan sees first. `covered_until` is the start of the newest verified scan before;
/// `clock_difference` that of the clocks of the server's nodes, by which scans ask further back anyway.
#[must_use]
pub fn lateness(
    covered_until: Timestamp,
    last_update: Timestamp,
    clock_difference: TimeDelta,
) -> Option<TimeDelta> {
    let late = covered_until.instant() - last_update.instant() - clock_difference;
    (TimeDelta::zero() < late && late <= LATENESS_MAX).then_some(late)
}

/// The overlap that allows for a lateness: twice as much, in whole minutes.
#[must_use]
pub fn proposed_overlap(lateness: TimeDelta) -> TimeDelta {
    let doubled = u64::try_from((lateness * 2).num_milliseconds()).unwrap_or(0);
    let minutes = i64::try_from(doubled.div_ceil(60_000)).unwrap_or(i64::MAX);
    TimeDelta::try_minutes(minutes).unwrap_or(TimeDelta::MAX).max(PROPOSED_OVERLAP_MIN)
}

/// Whether a lateness comes near the overlap: twice as much would not be found.
#[must_use]
pub fn is_near_overlap(lateness: TimeDelta, overlap: TimeDelta) -> bool {
    overlap < lateness * 2
}

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;

    #[test]
    fn lateness_counts_from_the_update_to_the_newest_verified_scan() {
        let day = 86_400;
        for (name, last_update, clock_difference, expected) in [
            ("updated after the scan", 1, 0, None),
            ("updated as it started", 0, 0, None),
            ("updated before it", -90, 0, Some(90)),
            ("as the nodes' clocks differ", -90, 90, None),
            ("by more than that", -90, 60, Some(30)),
            ("a day", -day, 0, Some(day)),
            ("more than a day", -day - 1, 0, None),
        ] {
            let found = lateness(at(0), at(last_update), TimeDelta::seconds(clock_difference));
            assert_eq!(found, expected.map(TimeDelta::seconds), "{name}");
        }
    }

    #[test]
    fn overlap_is_twice_the_lateness_in_whole_minutes_and_never_less_than_five() {
        for (seconds, minutes, near_ten_minutes) in [
            (1, 5, false),
            (150, 5, false),
            (151, 6, false),
            (300, 10, false),
            (301, 11, true),
            (3_600, 120, true),
        ] {
            let lateness = TimeDelta::seconds(seconds);
            assert_eq!(proposed_overlap(lateness), TimeDelta::minutes(minutes), "{seconds}");
            assert_eq!(is_near_overlap(lateness, TimeDelta::minutes(10)), near_ten_minutes, "{seconds}");
        }
    }
}
