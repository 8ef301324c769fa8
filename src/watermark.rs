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
    /// The newest `last_update` ever received; of interest to people, never a bound.
    pub newest_seen: Option<Stamp>,
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

/// What the choice of a walk depends on besides the mark.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Asked for by hand.
    pub full: bool,
    /// How often a full walk is due; `None` is never.
    pub full_every: Option<Duration>,
    /// How far a following walk reaches back behind the mark.
    pub overlap: TimeDelta,
}

/// Chooses the next walk. `last_full` is when the last counted full walk ended and `now` the present,
/// both by the local clock, which decides about nothing but this; `stepped` whether the server's clock
/// went back since.
#[must_use]
pub fn next_walk(
    mark: &Watermark,
    schedule: &Schedule,
    last_full: Option<Stamp>,
    stepped: bool,
    now: Stamp,
) -> Walk {
    let (State::Following, Some(covered_until)) = (mark.state, mark.covered_until) else {
        return Walk::Full;
    };
    let due = schedule.full_every.is_some_and(|every| {
        let age = last_full.map(|at| (now.instant() - at.instant()).abs());
        age.is_none_or(|age| TimeDelta::from_std(every).is_ok_and(|every| every <= age))
    });
    if schedule.full || stepped || due {
        Walk::Full
    } else {
        Walk::Following { from: covered_until.minus(schedule.overlap) }
    }
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

    fn following() -> Watermark {
        let scope = Scope {
            server: "https://halo.example".into(),
            tenant: String::new(),
            ticket_types: vec![],
            custom_fields: false,
            mapping: 1,
        };
        Watermark { state: State::Following, covered_until: Some(at(0)), ..Watermark::of_nothing(scope) }
    }

    const SCHEDULE: Schedule =
        Schedule { full: false, full_every: Some(Duration::from_hours(24)), overlap: TimeDelta::minutes(10) };

    #[test]
    fn a_following_walk_reaches_back_behind_the_mark_by_the_overlap() {
        let walk = next_walk(&following(), &SCHEDULE, Some(at(0)), false, at(300));
        assert_eq!(walk, Walk::Following { from: at(-600) });
    }

    #[test]
    fn a_full_walk_is_due_first_by_hand_by_time_and_after_the_servers_clock_stepped() {
        let filling = Watermark { state: State::Filling, ..following() };
        let by_hand = Schedule { full: true, ..SCHEDULE };
        for (name, walk) in [
            ("first", next_walk(&filling, &SCHEDULE, None, false, at(0))),
            ("by hand", next_walk(&following(), &by_hand, Some(at(0)), false, at(1))),
            ("by time", next_walk(&following(), &SCHEDULE, Some(at(0)), false, at(86_400))),
            ("never done", next_walk(&following(), &SCHEDULE, None, false, at(1))),
            ("stepped", next_walk(&following(), &SCHEDULE, Some(at(0)), true, at(1))),
            ("a local clock set back", next_walk(&following(), &SCHEDULE, Some(at(0)), false, at(-86_400))),
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
            let mut mark = following();
            for start in starts {
                let Walk::Following { from } = next_walk(&mark, &SCHEDULE, Some(at(0)), false, at(0)) else { unreachable!() };
                match after_counted(mark.covered_until, Some(at(start)), SCHEDULE.overlap) {
                    Move::Counted(to) => { prop_assert!(from <= mark.covered_until.unwrap()); mark.covered_until = Some(to) }
                    Move::ClockStepped(to) => { prop_assert!(to < mark.covered_until.unwrap()); mark.covered_until = Some(to) }
                    Move::Stay => {}
                }
            }
        }
    }
}
