//! Up to where the local copy is known to be complete, where the next walk starts, and when the mark
//! moves.
//!
//! Pure. The mark is the server's time at the start of a walk that was counted: never the local clock,
//! because it may be wrong, and never the newest row, because a row may become visible after its own
//! stamp (`halo-api.md` §2.4).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::scope::Scope;
use crate::ticket::Timestamp;

/// The position of the copy: the one row of `watermarks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// What it is a position in.
    pub scope: Scope,
    /// Whether the first full walk is done.
    pub state: WatermarkState,
    /// Every ticket updated before this instant, as the server lists them, is stored.
    pub covered_until: Option<Timestamp>,
    /// The newest `last_update` that is not newer than the last pass; never a bound by itself.
    pub newest_seen: Option<Timestamp>,
    /// A ticket that bears it, where not too many do: following walks ask for it too, and where it does
    /// not come back the filter no longer means what it did.
    pub canary: Option<i64>,
    /// What `covered_until` becomes when the fill that is under way is counted.
    pub initial_started_at: Option<Timestamp>,
    /// The greatest id committed by that fill.
    pub initial_last_id: Option<i64>,
}

/// Whether the copy has once been complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WatermarkState {
    /// No full walk was counted in this scope.
    Initial,
    /// One was; from now on only changes are asked for.
    Incremental,
}

impl WatermarkState {
    /// Its word in `watermarks.state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            WatermarkState::Initial => "initial",
            WatermarkState::Incremental => "incremental",
        }
    }
}

impl Watermark {
    /// The position of an empty database.
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

/// A walk over the ticket list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanKind {
    /// Every ticket, without a date filter.
    Full,
    /// What was updated at or after this instant.
    Incremental {
        /// The lower bound; there is never an upper one.
        from: Timestamp,
    },
}

impl ScanKind {
    /// Its word in `walks.kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ScanKind::Full => "full",
            ScanKind::Incremental { .. } => "incremental",
        }
    }
}

/// What the server makes of the lower bound of `last_update` (`halo-api.md` §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateFilterBehavior {
    /// It shows a ticket that was updated at that very instant.
    Inclusive,
    /// It shows only what was updated later.
    Exclusive,
    /// It reads the bound as an earlier instant than is meant.
    Early,
    /// It reads the bound as a later instant than is meant: in another zone.
    Late,
    /// It shows everything.
    Ignored,
    /// It is not known: there was nothing to find it out with.
    Unknown,
}

impl DateFilterBehavior {
    const ALL: [DateFilterBehavior; 6] = [
        DateFilterBehavior::Inclusive,
        DateFilterBehavior::Exclusive,
        DateFilterBehavior::Early,
        DateFilterBehavior::Late,
        DateFilterBehavior::Ignored,
        DateFilterBehavior::Unknown,
    ];

    /// Its word in `server_probes.verdict`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            DateFilterBehavior::Inclusive => "inclusive",
            DateFilterBehavior::Exclusive => "exclusive",
            DateFilterBehavior::Early => "early",
            DateFilterBehavior::Late => "late",
            DateFilterBehavior::Ignored => "ignored",
            DateFilterBehavior::Unknown => "unknown",
        }
    }

    /// From its word; what is no word of it is not known.
    #[must_use]
    pub fn parse_or_unknown(text: &str) -> DateFilterBehavior {
        DateFilterBehavior::ALL
            .into_iter()
            .find(|it| it.as_str() == text)
            .unwrap_or(DateFilterBehavior::Unknown)
    }

    /// By how much a bound is asked for earlier than it is meant; `None` where there is no following
    /// the changes. Zones reach from 12 hours behind UTC to 14 hours ahead of it.
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

/// As far as the clocks of the earth are apart.
pub const MAX_ZONE_DIFFERENCE: TimeDelta = TimeDelta::hours(26);

/// What a person wants of the choice of a walk.
#[derive(Clone, Copy, Debug)]
pub struct ScanSchedule {
    /// Asked for by hand.
    pub full_requested: bool,
    /// How often a full walk is due; `None` is never.
    pub full_every: Option<Duration>,
    /// How far a following walk reaches back behind the mark.
    pub overlap: TimeDelta,
    /// How often a following walk is due while a full one is under way.
    pub incremental_every: Duration,
}

/// What is known of the walks before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanHistory {
    /// When the last counted full walk ended, by the local clock.
    pub last_full: Option<Timestamp>,
    /// Whether the server's clock went back since.
    pub clock_stepped: bool,
    /// Whether that walk was the first one and was interrupted, or tickets left while it read: then
    /// only another one shows that it missed nothing.
    pub needs_confirmation: bool,
    /// Whether custom fields are known that no full walk asked for.
    pub has_new_fields: bool,
    /// What the server makes of the date filter.
    pub date_filter: DateFilterBehavior,
}

/// Chooses the next walk. `now` is the present by the local clock, which decides about nothing but
/// whether a full walk is due.
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

/// Where a following walk starts: behind the mark by the overlap, or at the canary if that lies
/// further back; `None` where there can be none.
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

/// The start of a pass by the server's clock: the `Date` of its first list answer, less the time that
/// the request took, less the second that `Date` may have been rounded by.
#[must_use]
pub fn run_start(date: DateTime<Utc>, took: Duration) -> Option<Timestamp> {
    let took = TimeDelta::from_std(took).ok()?;
    Timestamp::new(date.checked_sub_signed(took)?.checked_sub_signed(TimeDelta::seconds(1))?)
}

/// Where the mark goes when a walk was counted, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatermarkMove {
    /// Forward to the start of the pass.
    Advance(Timestamp),
    /// Back to the server's own time, which lies behind the mark; a full walk is due.
    ClockStepped(Timestamp),
    /// Nowhere.
    Stay,
}

/// Decides where the mark goes. `start` is [`pass_start`], `None` where the server sent no readable
/// `Date`.
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
            ("by the overlap", watermark(), DateFilterBehavior::Inclusive, at(-600)),
            ("a canary within it", with_canary(at(-5)), DateFilterBehavior::Inclusive, at(-600)),
            ("a canary behind it", with_canary(at(-9_000)), DateFilterBehavior::Inclusive, at(-9_000)),
            ("too many for a canary", without_canary, DateFilterBehavior::Inclusive, at(-600)),
            ("an exclusive bound", with_canary(at(-9_000)), DateFilterBehavior::Exclusive, at(-9_001)),
            ("another zone", watermark(), DateFilterBehavior::Late, at(-600 - 26 * 3_600)),
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
            ("first", next_scan(&initial, &SCHEDULE, &ScanHistory { last_full: None, ..history() }, at(0))),
            ("by hand", next_scan(&watermark(), &by_hand, &history(), at(1))),
            ("by time", next_scan(&watermark(), &SCHEDULE, &history(), at(86_400))),
            (
                "never done",
                next_scan(&watermark(), &SCHEDULE, &ScanHistory { last_full: None, ..history() }, at(1)),
            ),
            (
                "stepped",
                next_scan(&watermark(), &SCHEDULE, &ScanHistory { clock_stepped: true, ..history() }, at(1)),
            ),
            (
                "to confirm",
                next_scan(
                    &watermark(),
                    &SCHEDULE,
                    &ScanHistory { needs_confirmation: true, ..history() },
                    at(1),
                ),
            ),
            (
                "more fields",
                next_scan(&watermark(), &SCHEDULE, &ScanHistory { has_new_fields: true, ..history() }, at(1)),
            ),
            ("the filter is ignored", next_scan(&watermark(), &SCHEDULE, &ignored, at(1))),
            ("the filter is not known", next_scan(&watermark(), &SCHEDULE, &unknown, at(1))),
            ("a local clock set back", next_scan(&watermark(), &SCHEDULE, &history(), at(-86_400))),
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
            ("later", Some(at(5)), WatermarkMove::Advance(at(5))),
            ("a little earlier", Some(at(-599)), WatermarkMove::Stay),
            ("the whole overlap earlier", Some(at(-600)), WatermarkMove::Stay),
            ("more than the overlap earlier", Some(at(-601)), WatermarkMove::ClockStepped(at(-601))),
            ("no date", None, WatermarkMove::Stay),
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
