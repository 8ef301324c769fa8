//! Up to where the local copy is known to be complete, where the next walk starts, and when the mark
//! moves.
//!
//! Pure. The mark is the server's time at the start of a walk that was counted: never the local clock,
//! because it may be wrong, and never the newest row, because a row may become visible after its own
//! stamp (`halo-api.md` §2.4).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::scope::Scope;
use crate::ticket::Stamp;

/// The position of the copy: the one row of `watermarks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// What it is a position in.
    pub scope: Scope,
    /// Whether the first full walk is done.
    pub state: State,
    /// Every ticket updated before this instant, as the server lists them, is stored.
    pub covered_until: Option<Stamp>,
    /// The newest `last_update` that is not newer than the last pass; never a bound by itself.
    pub newest_seen: Option<Stamp>,
    /// A ticket that bears it, where not too many do: following walks ask for it too, and where it does
    /// not come back the filter no longer means what it did.
    pub canary: Option<i64>,
    /// What `covered_until` becomes when the fill that is under way is counted.
    pub fill_started_at: Option<Stamp>,
    /// The greatest id committed by that fill.
    pub fill_last_id: Option<i64>,
}

/// Whether the copy has once been complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No full walk was counted in this scope.
    Filling,
    /// One was; from now on only changes are asked for.
    Following,
}

impl State {
    /// Its word in `watermarks.state`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            State::Filling => "filling",
            State::Following => "following",
        }
    }
}

impl Watermark {
    /// The position of an empty database.
    #[must_use]
    pub fn of_nothing(scope: Scope) -> Watermark {
        Watermark {
            scope,
            state: State::Filling,
            covered_until: None,
            newest_seen: None,
            canary: None,
            fill_started_at: None,
            fill_last_id: None,
        }
    }
}

/// A walk over the ticket list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Every ticket, without a date filter.
    Full,
    /// What was updated at or after this instant.
    Following {
        /// The lower bound; there is never an upper one.
        from: Stamp,
    },
}

impl Walk {
    /// Its word in `walks.kind`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Walk::Full => "full",
            Walk::Following { .. } => "following",
        }
    }
}

/// What the server makes of the lower bound of `last_update` (`halo-api.md` §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateFilter {
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

impl DateFilter {
    const ALL: [DateFilter; 6] = [
        DateFilter::Inclusive,
        DateFilter::Exclusive,
        DateFilter::Early,
        DateFilter::Late,
        DateFilter::Ignored,
        DateFilter::Unknown,
    ];

    /// Its word in `calibrations.verdict`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            DateFilter::Inclusive => "inclusive",
            DateFilter::Exclusive => "exclusive",
            DateFilter::Early => "early",
            DateFilter::Late => "late",
            DateFilter::Ignored => "ignored",
            DateFilter::Unknown => "unknown",
        }
    }

    /// From its word; what is no word of it is not known.
    #[must_use]
    pub fn from_word(word: &str) -> DateFilter {
        DateFilter::ALL.into_iter().find(|it| it.word() == word).unwrap_or(DateFilter::Unknown)
    }

    /// By how much a bound is asked for earlier than it is meant; `None` where there is no following
    /// the changes. Zones reach from 12 hours behind UTC to 14 hours ahead of it.
    #[must_use]
    pub const fn lead(self) -> Option<TimeDelta> {
        match self {
            DateFilter::Inclusive => Some(TimeDelta::zero()),
            DateFilter::Exclusive => Some(TimeDelta::seconds(1)),
            DateFilter::Early | DateFilter::Late => Some(ZONES),
            DateFilter::Ignored | DateFilter::Unknown => None,
        }
    }
}

/// As far as the clocks of the earth are apart.
pub const ZONES: TimeDelta = TimeDelta::hours(26);

/// What a person wants of the choice of a walk.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Asked for by hand.
    pub full: bool,
    /// How often a full walk is due; `None` is never.
    pub full_every: Option<Duration>,
    /// How far a following walk reaches back behind the mark.
    pub overlap: TimeDelta,
    /// How often a following walk is due while a full one is under way.
    pub follow_every: Duration,
}

/// What is known of the walks before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// When the last counted full walk ended, by the local clock.
    pub last_full: Option<Stamp>,
    /// Whether the server's clock went back since.
    pub stepped: bool,
    /// Whether that walk was the first one and was interrupted, or tickets left while it read: then
    /// only another one shows that it missed nothing.
    pub to_confirm: bool,
    /// Whether custom fields are known that no full walk asked for.
    pub fields_grew: bool,
    /// What the server makes of the date filter.
    pub filter: DateFilter,
}

/// Chooses the next walk. `now` is the present by the local clock, which decides about nothing but
/// whether a full walk is due.
#[must_use]
pub fn next_walk(mark: &Watermark, schedule: &Schedule, past: &Past, now: Stamp) -> Walk {
    let due = schedule.full_every.is_some_and(|every| {
        let age = past.last_full.map(|at| (now.instant() - at.instant()).abs());
        age.is_none_or(|age| TimeDelta::from_std(every).is_ok_and(|every| every <= age))
    });
    let Past { stepped, to_confirm, fields_grew, .. } = *past;
    if mark.state == State::Filling || schedule.full || stepped || to_confirm || fields_grew || due {
        return Walk::Full;
    }
    following(mark, schedule, past.filter).map_or(Walk::Full, |from| Walk::Following { from })
}

/// Where a following walk starts: behind the mark by the overlap, or at the canary if that lies
/// further back; `None` where there can be none.
#[must_use]
pub fn following(mark: &Watermark, schedule: &Schedule, filter: DateFilter) -> Option<Stamp> {
    let from = mark.covered_until?.minus(schedule.overlap);
    let canary = mark.newest_seen.filter(|_| mark.canary.is_some());
    Some(canary.map_or(from, |stamp| from.min(stamp)).minus(filter.lead()?))
}

/// The start of a pass by the server's clock: the `Date` of its first list answer, less the time that
/// the request took, less the second that `Date` may have been rounded by.
#[must_use]
pub fn pass_start(date: DateTime<Utc>, took: Duration) -> Option<Stamp> {
    let took = TimeDelta::from_std(took).ok()?;
    Stamp::new(date.checked_sub_signed(took)?.checked_sub_signed(TimeDelta::seconds(1))?)
}

/// Where the mark goes when a walk was counted, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Forward to the start of the pass.
    Counted(Stamp),
    /// Back to the server's own time, which lies behind the mark; a full walk is due.
    ClockStepped(Stamp),
    /// Nowhere.
    Stay,
}

/// Decides where the mark goes. `start` is [`pass_start`], `None` where the server sent no readable
/// `Date`.
#[must_use]
pub fn after_counted(covered_until: Option<Stamp>, start: Option<Stamp>, overlap: TimeDelta) -> Move {
    match (start, covered_until) {
        (None, _) => Move::Stay,
        (Some(start), None) => Move::Counted(start),
        (Some(start), Some(mark)) if mark <= start => Move::Counted(start),
        (Some(start), Some(mark)) if start < mark.minus(overlap) => Move::ClockStepped(start),
        (Some(_), Some(_)) => Move::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Stamp {
        Stamp::new(DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap()
    }

    fn mark() -> Watermark {
        let scope = Scope {
            server: "https://halo.example".into(),
            tenant: String::new(),
            ticket_types: vec![],
            custom_fields: false,
            mapping: 1,
        };
        Watermark { state: State::Following, covered_until: Some(at(0)), ..Watermark::of_nothing(scope) }
    }

    const SCHEDULE: Schedule = Schedule {
        full: false,
        full_every: Some(Duration::from_hours(24)),
        overlap: TimeDelta::minutes(10),
        follow_every: Duration::from_mins(5),
    };

    fn past() -> Past {
        Past {
            last_full: Some(at(0)),
            stepped: false,
            to_confirm: false,
            fields_grew: false,
            filter: DateFilter::Inclusive,
        }
    }

    #[test]
    fn a_following_walk_reaches_back_behind_the_mark_and_to_the_canary() {
        let with_canary = |stamp| Watermark { newest_seen: Some(stamp), canary: Some(7), ..mark() };
        let crowded = Watermark { newest_seen: Some(at(-9_000)), canary: None, ..mark() };
        for (name, mark, filter, from) in [
            ("by the overlap", mark(), DateFilter::Inclusive, at(-600)),
            ("a canary within it", with_canary(at(-5)), DateFilter::Inclusive, at(-600)),
            ("a canary behind it", with_canary(at(-9_000)), DateFilter::Inclusive, at(-9_000)),
            ("too many for a canary", crowded, DateFilter::Inclusive, at(-600)),
            ("an exclusive bound", with_canary(at(-9_000)), DateFilter::Exclusive, at(-9_001)),
            ("another zone", mark(), DateFilter::Late, at(-600 - 26 * 3_600)),
        ] {
            let walk = next_walk(&mark, &SCHEDULE, &Past { filter, ..past() }, at(300));
            assert_eq!(walk, Walk::Following { from }, "{name}");
        }
    }

    #[test]
    fn a_full_walk_is_due_first_by_hand_by_time_and_where_there_is_no_following() {
        let filling = Watermark { state: State::Filling, ..mark() };
        let by_hand = Schedule { full: true, ..SCHEDULE };
        let ignored = Past { filter: DateFilter::Ignored, ..past() };
        let unknown = Past { filter: DateFilter::Unknown, ..past() };
        for (name, walk) in [
            ("first", next_walk(&filling, &SCHEDULE, &Past { last_full: None, ..past() }, at(0))),
            ("by hand", next_walk(&mark(), &by_hand, &past(), at(1))),
            ("by time", next_walk(&mark(), &SCHEDULE, &past(), at(86_400))),
            ("never done", next_walk(&mark(), &SCHEDULE, &Past { last_full: None, ..past() }, at(1))),
            ("stepped", next_walk(&mark(), &SCHEDULE, &Past { stepped: true, ..past() }, at(1))),
            ("to confirm", next_walk(&mark(), &SCHEDULE, &Past { to_confirm: true, ..past() }, at(1))),
            ("more fields", next_walk(&mark(), &SCHEDULE, &Past { fields_grew: true, ..past() }, at(1))),
            ("the filter is ignored", next_walk(&mark(), &SCHEDULE, &ignored, at(1))),
            ("the filter is not known", next_walk(&mark(), &SCHEDULE, &unknown, at(1))),
            ("a local clock set back", next_walk(&mark(), &SCHEDULE, &past(), at(-86_400))),
        ] {
            assert_eq!(walk, Walk::Full, "{name}");
        }
    }

    #[test]
    fn the_start_of_a_pass_is_before_the_server_could_have_seen_it() {
        let date = at(100).instant();
        assert_eq!(pass_start(date, Duration::from_secs(3)), Some(at(96)));
    }

    #[test]
    fn the_mark_goes_back_only_when_the_servers_clock_did() {
        let overlap = TimeDelta::minutes(10);
        for (name, start, expected) in [
            ("later", Some(at(5)), Move::Counted(at(5))),
            ("a little earlier", Some(at(-599)), Move::Stay),
            ("the whole overlap earlier", Some(at(-600)), Move::Stay),
            ("more than the overlap earlier", Some(at(-601)), Move::ClockStepped(at(-601))),
            ("no date", None, Move::Stay),
        ] {
            assert_eq!(after_counted(Some(at(0)), start, overlap), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn consecutive_walks_leave_no_instant_uncovered(starts in proptest::collection::vec(-100_000i64..100_000, 1..50)) {
            let mut mark = mark();
            for start in starts {
                let Walk::Following { from } = next_walk(&mark, &SCHEDULE, &past(), at(0)) else { unreachable!() };
                match after_counted(mark.covered_until, Some(at(start)), SCHEDULE.overlap) {
                    Move::Counted(to) => { prop_assert!(from <= mark.covered_until.unwrap()); mark.covered_until = Some(to) }
                    Move::ClockStepped(to) => { prop_assert!(to < mark.covered_until.unwrap()); mark.covered_until = Some(to) }
                    Move::Stay => {}
                }
            }
        }
    }
}
