//! Which scan is due, and from when it reads.

use std::time::Duration;

use chrono::TimeDelta;
use strum::{EnumString, IntoStaticStr};

use super::{Watermark, WatermarkState};
use crate::ticket::Timestamp;

/// What a scan reads (`scans.kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ScanKind {
    /// The whole list, without a date filter.
    Full,
    /// Tickets updated at or after an instant.
    Incremental {
        /// The lower bound; there is no upper one.
        from: Timestamp,
    },
}

/// Its word; the lower bound is left out.
impl serde::Serialize for ScanKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl ScanKind {
    /// The word in `scans.kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How the server applies the lower bound of `last_update` (`halo-api.md` §2.4): the result of the probe
/// `date_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum DateFilterBehavior {
    /// It lists a ticket that was updated at that very instant.
    Inclusive,
    /// It lists only tickets that were updated later.
    Exclusive,
    /// It takes the bound for an earlier instant.
    Early,
    /// It takes the bound for a later instant, in another time zone.
    Late,
    /// It ignores the bound and lists everything.
    Ignored,
    /// It is not known, because there was no ticket to probe it with.
    Unknown,
}

impl DateFilterBehavior {
    /// The word in `server_probes.result`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// By how much earlier a bound must be requested; `None` if incremental scans are not possible.
    #[must_use]
    pub const fn safety_margin(self) -> Option<TimeDelta> {
        match self {
            DateFilterBehavior::Inclusive => Some(TimeDelta::zero()),
            DateFilterBehavior::Exclusive => Some(TimeDelta::seconds(1)),
            DateFilterBehavior::Early | DateFilterBehavior::Late => Some(MAX_ZONE_DIFFERENCE),
            DateFilterBehavior::Ignored | DateFilterBehavior::Unknown => None,
        }
    }
}

/// The greatest difference between two time zones: from 12 hours behind UTC to 14 hours ahead of it.
pub const MAX_ZONE_DIFFERENCE: TimeDelta = TimeDelta::hours(26);

/// The settings that decide which scan is next.
#[derive(Clone, Copy, Debug)]
pub struct ScanSchedule {
    /// Whether a full scan was requested by hand.
    pub full_requested: bool,
    /// How often a full scan is due; `None` is never.
    pub full_every: Option<Duration>,
    /// How far before the watermark an incremental scan starts.
    pub overlap: TimeDelta,
    /// How often an incremental scan is due while a full scan is running.
    pub incremental_every: Duration,
}

/// What is known from earlier scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanHistory {
    /// The last full scan that was verified.
    pub last_full: Option<VerifiedFullScan>,
    /// The full scans since then that reached their end without being verified.
    pub unverified: Option<UnverifiedFullScans>,
    /// Whether a full scan was interrupted and can be resumed.
    pub is_interrupted: bool,
    /// Whether the server's clock has stepped back since the last full scan.
    pub clock_stepped: bool,
    /// Whether custom fields are known that no full scan has requested.
    pub has_new_fields: bool,
    /// How the server applies the date filter.
    pub date_filter: DateFilterBehavior,
    /// By how much the clocks of the server's nodes differ.
    pub clock_difference: TimeDelta,
}

/// A full scan that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedFullScan {
    /// When it ended, by the local clock.
    pub ended_at: Timestamp,
    /// Whether it was resumed, or was an initial load during which tickets disappeared: a ticket that appeared in its
    /// first part without a new `last_update` is found only by another full scan.
    pub needs_confirmation: bool,
}

/// Full scans that reached their end without being verified, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnverifiedFullScans {
    /// How many, at least 1.
    pub count: u32,
    /// When the last one ended, by the local clock.
    pub ended_at: Timestamp,
}

/// A full scan that needs confirmation is confirmed after this time, also where no full scans are scheduled.
const CONFIRM_AFTER: Duration = Duration::from_hours(24);

/// A full scan that was not verified is tried again after this time, after twice this, and so on.
const FULL_SCAN_RETRY: Duration = Duration::from_hours(1);

impl UnverifiedFullScans {
    /// When a full scan is tried again unless one is requested: after 1, 2, 4 … hours, at most `full_every`.
    #[must_use]
    pub fn retry_at(&self, full_every: Option<Duration>) -> Timestamp {
        let doublings = self.count.saturating_sub(1).min(10);
        let pause = FULL_SCAN_RETRY * 2u32.pow(doublings);
        let pause = pause.min(full_every.unwrap_or(CONFIRM_AFTER).max(FULL_SCAN_RETRY));
        self.ended_at.plus(TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX))
    }

    /// Whether that time has come. A time before the end of the last one means that the local clock was set back.
    #[must_use]
    pub fn may_retry(&self, full_every: Option<Duration>, now: Timestamp) -> bool {
        self.retry_at(full_every) <= now || now < self.ended_at
    }
}

/// Chooses the next scan. `now` is the present by the local clock, which decides only whether a full scan is due. `None`:
/// a full scan is needed, but the last one was not verified, and it is not yet time to try again.
#[must_use]
pub fn next_scan(
    watermark: &Watermark,
    schedule: &ScanSchedule,
    history: &ScanHistory,
    now: Timestamp,
) -> Option<ScanKind> {
    let is_older = |at: Timestamp, age: Duration| {
        TimeDelta::from_std(age).is_ok_and(|age| age <= (now.instant() - at.instant()).abs())
    };
    let is_due = match history.last_full {
        None => schedule.full_every.is_some(),
        Some(last) => {
            let confirm_after = last.needs_confirmation.then_some(CONFIRM_AFTER);
            let every = schedule.full_every.into_iter().chain(confirm_after).min();
            every.is_some_and(|every| is_older(last.ended_at, every))
        }
    };
    let is_wanted = watermark.state == WatermarkState::Initial
        || history.clock_stepped
        || history.has_new_fields
        || is_due;
    let may_try = history.is_interrupted
        || history.unverified.is_none_or(|unverified| unverified.may_retry(schedule.full_every, now));
    if schedule.full_requested || (is_wanted && may_try) {
        return Some(ScanKind::Full);
    }
    match incremental_start(watermark, schedule, history) {
        Some(from) => Some(ScanKind::Incremental { from }),
        None => may_try.then_some(ScanKind::Full),
    }
}

/// The lower bound of an incremental scan: `overlap` before the watermark, or at the canary if that is earlier. `None` if
/// an incremental scan is not possible.
///
/// Where an initial load came to its end but was not verified, there is no watermark yet: then what changed since its
/// start is read, so that the copy stays as new as it can be.
#[must_use]
pub fn incremental_start(
    watermark: &Watermark,
    schedule: &ScanSchedule,
    history: &ScanHistory,
) -> Option<Timestamp> {
    let load_ended = history.unverified.is_some() && !history.is_interrupted;
    let covered_until = watermark.covered_until.or(watermark.initial_started_at.filter(|_| load_ended))?;
    let from = covered_until.minus(schedule.overlap).minus(history.clock_difference);
    let canary = watermark.newest_seen.filter(|_| watermark.canary.is_some());
    Some(canary.map_or(from, |newest| from.min(newest)).minus(history.date_filter.safety_margin()?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::super::{ScanStart, WatermarkMove, after_verified_scan};
    use super::*;
    use crate::scope::Scope;
    use proptest::prelude::*;

    fn watermark() -> Watermark {
        let scope = Scope {
            server: "https://halo.example".into(),
            tenant: String::new(),
            ticket_types: vec![],
            custom_fields: false,
            mapping: 1,
        };
        Watermark { state: WatermarkState::Incremental, covered_until: Some(at(0)), ..Watermark::new(scope) }
    }

    const SCHEDULE: ScanSchedule = ScanSchedule {
        full_requested: false,
        full_every: Some(Duration::from_hours(24)),
        overlap: TimeDelta::minutes(10),
        incremental_every: Duration::from_mins(5),
    };

    fn history() -> ScanHistory {
        ScanHistory {
            last_full: Some(VerifiedFullScan { ended_at: at(0), needs_confirmation: false }),
            unverified: None,
            is_interrupted: false,
            clock_stepped: false,
            has_new_fields: false,
            date_filter: DateFilterBehavior::Inclusive,
            clock_difference: TimeDelta::zero(),
        }
    }

    #[test]
    fn incremental_scan_starts_an_overlap_before_watermark_or_at_canary() {
        let with_canary = |newest| Watermark { newest_seen: Some(newest), canary: Some(7), ..watermark() };
        let without_canary = Watermark { newest_seen: Some(at(-9_000)), canary: None, ..watermark() };
        for (name, watermark, filter, from) in [
            ("overlap", watermark(), DateFilterBehavior::Inclusive, at(-600)),
            ("canary within the overlap", with_canary(at(-5)), DateFilterBehavior::Inclusive, at(-600)),
            ("canary before the overlap", with_canary(at(-9_000)), DateFilterBehavior::Inclusive, at(-9_000)),
            ("no canary", without_canary, DateFilterBehavior::Inclusive, at(-600)),
            ("exclusive bound", with_canary(at(-9_000)), DateFilterBehavior::Exclusive, at(-9_001)),
            ("another time zone", watermark(), DateFilterBehavior::Late, at(-600 - 26 * 3_600)),
        ] {
            let history = ScanHistory { date_filter: filter, ..history() };
            let scan = next_scan(&watermark, &SCHEDULE, &history, at(300));
            assert_eq!(scan, Some(ScanKind::Incremental { from }), "{name}");
        }
        let history = ScanHistory { clock_difference: TimeDelta::minutes(15), ..history() };
        let scan = next_scan(&watermark(), &SCHEDULE, &history, at(300));
        assert_eq!(scan, Some(ScanKind::Incremental { from: at(-1_500) }), "nodes with different clocks");
    }

    #[test]
    fn full_scan_is_due_first_on_request_by_time_or_without_date_filter() {
        let initial = Watermark { state: WatermarkState::Initial, covered_until: None, ..watermark() };
        let by_hand = ScanSchedule { full_requested: true, ..SCHEDULE };
        let no_full = ScanSchedule { full_every: None, ..SCHEDULE };
        let never = ScanHistory { last_full: None, ..history() };
        let ignored = ScanHistory { date_filter: DateFilterBehavior::Ignored, ..history() };
        let unknown = ScanHistory { date_filter: DateFilterBehavior::Unknown, ..history() };
        let stepped = ScanHistory { clock_stepped: true, ..history() };
        let new_fields = ScanHistory { has_new_fields: true, ..history() };
        let resumed = ScanHistory {
            last_full: Some(VerifiedFullScan { ended_at: at(0), needs_confirmation: true }),
            ..history()
        };
        let day = 86_400;
        for (name, scan) in [
            ("initial load", next_scan(&initial, &SCHEDULE, &never, at(0))),
            ("on request", next_scan(&watermark(), &by_hand, &history(), at(1))),
            ("full_every", next_scan(&watermark(), &SCHEDULE, &history(), at(day))),
            ("no earlier full scan", next_scan(&watermark(), &SCHEDULE, &never, at(1))),
            ("clock stepped back", next_scan(&watermark(), &SCHEDULE, &stepped, at(1))),
            ("resumed, a day later", next_scan(&watermark(), &no_full, &resumed, at(day))),
            ("new custom fields", next_scan(&watermark(), &SCHEDULE, &new_fields, at(1))),
            ("date filter ignored", next_scan(&watermark(), &SCHEDULE, &ignored, at(1))),
            ("date filter unknown", next_scan(&watermark(), &SCHEDULE, &unknown, at(1))),
            ("local clock set back", next_scan(&watermark(), &SCHEDULE, &history(), at(-day))),
        ] {
            assert_eq!(scan, Some(ScanKind::Full), "{name}");
        }
        for (name, scan) in [
            ("resumed, within the day", next_scan(&watermark(), &SCHEDULE, &resumed, at(day - 1))),
            ("full scans off", next_scan(&watermark(), &no_full, &history(), at(30 * day))),
        ] {
            assert!(matches!(scan, Some(ScanKind::Incremental { .. })), "{name}: {scan:?}");
        }
    }

    #[test]
    fn unverified_full_scan_is_tried_again_after_growing_pauses() {
        let hours = |count, every: Option<u64>| {
            let unverified = UnverifiedFullScans { count, ended_at: at(0) };
            let retry_at = unverified.retry_at(every.map(Duration::from_hours));
            (retry_at.instant() - at(0).instant()).num_hours()
        };
        assert_eq!([1, 2, 3, 4, 5, 6, 99].map(|count| hours(count, Some(24))), [1, 2, 4, 8, 16, 24, 24]);
        assert_eq!([1, 5, 9].map(|count| hours(count, None)), [1, 16, 24]);
        assert_eq!(hours(3, Some(1)), 1);

        let initial = Watermark {
            state: WatermarkState::Initial,
            covered_until: None,
            initial_started_at: Some(at(-7_200)),
            ..watermark()
        };
        let unverified = Some(UnverifiedFullScans { count: 1, ended_at: at(0) });
        let history = ScanHistory { last_full: None, unverified, ..history() };
        let by_hand = ScanSchedule { full_requested: true, ..SCHEDULE };
        let since_load = Some(ScanKind::Incremental { from: at(-7_200 - 600) });
        assert_eq!(next_scan(&initial, &SCHEDULE, &history, at(3_599)), since_load);
        assert_eq!(next_scan(&initial, &SCHEDULE, &history, at(3_600)), Some(ScanKind::Full));
        assert_eq!(next_scan(&initial, &by_hand, &history, at(1)), Some(ScanKind::Full));
        let interrupted = ScanHistory { is_interrupted: true, ..history };
        assert_eq!(next_scan(&initial, &SCHEDULE, &interrupted, at(1)), Some(ScanKind::Full));
        let no_filter = ScanHistory { date_filter: DateFilterBehavior::Ignored, ..history };
        assert_eq!(next_scan(&initial, &SCHEDULE, &no_filter, at(1)), None);
    }

    proptest! {
        #[test]
        fn consecutive_scans_leave_no_instant_uncovered(starts in proptest::collection::vec(-100_000i64..100_000, 1..50)) {
            let mut watermark = watermark();
            for start in starts {
                let Some(ScanKind::Incremental { from }) = next_scan(&watermark, &SCHEDULE, &history(), at(0)) else {
                    unreachable!()
                };
                let start = ScanStart { first: Some(at(start)), session: Some(at(start)) };
                match after_verified_scan(watermark.covered_until, start, SCHEDULE.overlap) {
                    WatermarkMove::Advance(to) => {
                        prop_assert!(from <= watermark.covered_until.unwrap());
                        watermark.covered_until = Some(to);
                    }
                    WatermarkMove::ClockStepped(to) => {
                        prop_assert!(to < watermark.covered_until.unwrap());
                        watermark.covered_until = Some(to);
                    }
                    WatermarkMove::Stay => {}
                }
            }
        }
    }
}
