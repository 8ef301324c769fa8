//! The watermark: up to when the local copy is complete, where the next scan starts, and when it moves.
//!
//! The functions are pure. The watermark is the server's time at the start of a verified scan. It is never
//! taken from the local clock, which may be wrong, nor from the newest row, because a row may become
//! visible later than its `last_update` (`halo-api.md` §2.4).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use strum::{EnumString, IntoStaticStr};

use crate::scope::Scope;
use crate::ticket::Timestamp;

/// The watermark of a database: the one row of `watermarks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The scope that it belongs to.
    pub scope: Scope,
    /// Whether the initial load has completed.
    pub state: WatermarkState,
    /// Every listed ticket that was updated before this instant is stored.
    pub covered_until: Option<Timestamp>,
    /// The newest stored `last_update` that is not after the start of the last scan.
    pub newest_seen: Option<Timestamp>,
    /// The canary: a ticket with that `last_update`, unless more than one page shares it. Every incremental
    /// scan must bring it back; if one does not, the date filter is no longer trusted.
    pub canary: Option<i64>,
    /// What `covered_until` becomes when the initial load in progress is verified.
    pub initial_started_at: Option<Timestamp>,
    /// The greatest id that the initial load has committed.
    pub initial_last_id: Option<i64>,
}

/// Whether the local copy has ever been complete (`watermarks.state`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString, serde::Serialize, serde::Deserialize,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum WatermarkState {
    /// No full scan of this scope has been verified.
    Initial,
    /// A full scan has been verified, and incremental scans follow.
    Incremental,
}

impl WatermarkState {
    /// The word in `watermarks.state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Watermark {
    /// The watermark of an empty database.
    #[must_use]
    pub fn new(scope: Scope) -> Watermark {
        Watermark {
            scope,
            state: WatermarkState::Initial,
            covered_until: None,
            newest_seen: None,
            canary: None,
            initial_started_at: None,
            initial_last_id: None,
        }
    }
}

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
    /// When the last verified full scan ended, by the local clock.
    pub last_full: Option<Timestamp>,
    /// Whether the server's clock has stepped back since.
    pub clock_stepped: bool,
    /// Whether that scan was an initial load that was interrupted, or during which tickets disappeared: only
    /// another full scan shows that it missed nothing.
    pub needs_confirmation: bool,
    /// Whether custom fields are known that no full scan has requested.
    pub has_new_fields: bool,
    /// How the server applies the date filter.
    pub date_filter: DateFilterBehavior,
}

/// Chooses the next scan. `now` is the present by the local clock, which decides only whether a full scan is
/// due.
#[must_use]
pub fn next_scan(
    watermark: &Watermark,
    schedule: &ScanSchedule,
    history: &ScanHistory,
    now: Timestamp,
) -> ScanKind {
    let due = schedule.full_every.is_some_and(|every| {
        let age = history.last_full.map(|at| (now.instant() - at.instant()).abs());
        age.is_none_or(|age| TimeDelta::from_std(every).is_ok_and(|every| every <= age))
    });
    let ScanHistory { clock_stepped, needs_confirmation, has_new_fields, .. } = *history;
    if watermark.state == WatermarkState::Initial
        || schedule.full_requested
        || clock_stepped
        || needs_confirmation
        || has_new_fields
        || due
    {
        return ScanKind::Full;
    }
    incremental_start(watermark, schedule, history.date_filter)
        .map_or(ScanKind::Full, |from| ScanKind::Incremental { from })
}

/// The lower bound of an incremental scan: `overlap` before the watermark, or at the canary if that is
/// earlier. `None` if an incremental scan is not possible.
#[must_use]
pub fn incremental_start(
    watermark: &Watermark,
    schedule: &ScanSchedule,
    date_filter: DateFilterBehavior,
) -> Option<Timestamp> {
    let from = watermark.covered_until?.minus(schedule.overlap);
    let canary = watermark.newest_seen.filter(|_| watermark.canary.is_some());
    Some(canary.map_or(from, |newest| from.min(newest)).minus(date_filter.safety_margin()?))
}

/// The start of a run by the server's clock: the `Date` of its first list response, less the duration of
/// the request, less a second because `Date` may have been rounded.
#[must_use]
pub fn run_start(date: DateTime<Utc>, took: Duration) -> Option<Timestamp> {
    let took = TimeDelta::from_std(took).ok()?;
    Timestamp::new(date.checked_sub_signed(took)?.checked_sub_signed(TimeDelta::seconds(1))?)
}

/// How the watermark moves after a verified scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatermarkMove {
    /// Forward to the start of the run.
    Advance(Timestamp),
    /// Back to the server's time, which is before the watermark; a full scan is due.
    ClockStepped(Timestamp),
    /// Not at all.
    Stay,
}

/// Decides how the watermark moves. `start` is [`run_start`], `None` if the server sent no readable `Date`.
#[must_use]
pub fn after_verified_scan(
    covered_until: Option<Timestamp>,
    start: Option<Timestamp>,
    overlap: TimeDelta,
) -> WatermarkMove {
    match (start, covered_until) {
        (None, _) => WatermarkMove::Stay,
        (Some(start), None) => WatermarkMove::Advance(start),
        (Some(start), Some(covered)) if covered <= start => WatermarkMove::Advance(start),
        (Some(start), Some(covered)) if start < covered.minus(overlap) => WatermarkMove::ClockStepped(start),
        (Some(_), Some(_)) => WatermarkMove::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap()
    }

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
            last_full: Some(at(0)),
            clock_stepped: false,
            needs_confirmation: false,
            has_new_fields: false,
            date_filter: DateFilterBehavior::Inclusive,
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
            let scan =
                next_scan(&watermark, &SCHEDULE, &ScanHistory { date_filter: filter, ..history() }, at(300));
            assert_eq!(scan, ScanKind::Incremental { from }, "{name}");
        }
    }

    #[test]
    fn full_scan_is_due_first_on_request_by_time_or_without_date_filter() {
        let initial = Watermark { state: WatermarkState::Initial, ..watermark() };
        let by_hand = ScanSchedule { full_requested: true, ..SCHEDULE };
        let ignored = ScanHistory { date_filter: DateFilterBehavior::Ignored, ..history() };
        let unknown = ScanHistory { date_filter: DateFilterBehavior::Unknown, ..history() };
        for (name, scan) in [
            (
                "initial load",
                next_scan(&initial, &SCHEDULE, &ScanHistory { last_full: None, ..history() }, at(0)),
            ),
            ("on request", next_scan(&watermark(), &by_hand, &history(), at(1))),
            ("full_every", next_scan(&watermark(), &SCHEDULE, &history(), at(86_400))),
            (
                "no earlier full scan",
                next_scan(&watermark(), &SCHEDULE, &ScanHistory { last_full: None, ..history() }, at(1)),
            ),
            (
                "clock stepped back",
                next_scan(&watermark(), &SCHEDULE, &ScanHistory { clock_stepped: true, ..history() }, at(1)),
            ),
            (
                "needs confirmation",
                next_scan(
                    &watermark(),
                    &SCHEDULE,
                    &ScanHistory { needs_confirmation: true, ..history() },
                    at(1),
                ),
            ),
            (
                "new custom fields",
                next_scan(&watermark(), &SCHEDULE, &ScanHistory { has_new_fields: true, ..history() }, at(1)),
            ),
            ("date filter ignored", next_scan(&watermark(), &SCHEDULE, &ignored, at(1))),
            ("date filter unknown", next_scan(&watermark(), &SCHEDULE, &unknown, at(1))),
            ("local clock set back", next_scan(&watermark(), &SCHEDULE, &history(), at(-86_400))),
        ] {
            assert_eq!(scan, ScanKind::Full, "{name}");
        }
    }

    #[test]
    fn run_start_is_before_the_server_can_have_seen_the_request() {
        let date = at(100).instant();
        assert_eq!(run_start(date, Duration::from_secs(3)), Some(at(96)));
    }

    #[test]
    fn watermark_moves_back_only_when_the_server_clock_did() {
        let overlap = TimeDelta::minutes(10);
        for (name, start, expected) in [
            ("later start", Some(at(5)), WatermarkMove::Advance(at(5))),
            ("earlier within the overlap", Some(at(-599)), WatermarkMove::Stay),
            ("earlier by the overlap", Some(at(-600)), WatermarkMove::Stay),
            ("earlier by more than the overlap", Some(at(-601)), WatermarkMove::ClockStepped(at(-601))),
            ("no `Date`", None, WatermarkMove::Stay),
        ] {
            assert_eq!(after_verified_scan(Some(at(0)), start, overlap), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn consecutive_scans_leave_no_instant_uncovered(starts in proptest::collection::vec(-100_000i64..100_000, 1..50)) {
            let mut watermark = watermark();
            for start in starts {
                let ScanKind::Incremental { from } = next_scan(&watermark, &SCHEDULE, &history(), at(0)) else { unreachable!() };
                match after_verified_scan(watermark.covered_until, Some(at(start)), SCHEDULE.overlap) {
                    WatermarkMove::Advance(to) => { prop_assert!(from <= watermark.covered_until.unwrap()); watermark.covered_until = Some(to) }
                    WatermarkMove::ClockStepped(to) => { prop_assert!(to < watermark.covered_until.unwrap()); watermark.covered_until = Some(to) }
                    WatermarkMove::Stay => {}
                }
            }
        }
    }
}
