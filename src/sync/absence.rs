//! What it means that a full walk did not show a stored ticket. Absence is not deletion.
//!
//! Pure. A ticket leaves only after a counted full walk and the server's own word about that ticket;
//! and not when so many are gone at once that a cut in the agent's permissions is the likelier cause
//! (`halo-api.md` §1.7).

use std::collections::HashMap;

use chrono::TimeDelta;

use crate::scope::Scope;
use crate::store::{Absence, Departure, MISSING};
use crate::ticket::attribute::{MERGED_INTO_ID, TICKET_TYPE_ID};
use crate::ticket::{Stamp, Ticket};

/// So few tickets may always be gone.
const FEW: u64 = 20;

/// A ticket that the server keeps back is asked about again after 1, 2, 4 … days, and at least so often.
const ASK_EVERY_MAX: TimeDelta = TimeDelta::days(30);

/// The word for a ticket that was not asked about, because too many were gone.
pub const NOT_ASKED: &str = "not_asked";

/// The absent tickets, by what is known of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent {
    /// Nothing yet: they are news, and the brake counts them.
    pub news: Vec<i64>,
    /// The server kept them back when it was asked, and it is time to ask again.
    pub again: Vec<i64>,
    /// The same, and it is not.
    pub waiting: u64,
}

/// Sorts what a full walk did not show by what is known of it.
#[must_use]
pub fn sort(absent: &[i64], known: &[Absence], now: Stamp) -> Absent {
    let known: HashMap<i64, &Absence> = known.iter().map(|absence| (absence.id, absence)).collect();
    let mut sorted = Absent::default();
    for id in absent {
        match known.get(id) {
            None => sorted.news.push(*id),
            Some(absence) if [NOT_ASKED, MISSING].contains(&absence.status.as_str()) => sorted.news.push(*id),
            Some(absence) if is_due(absence, now) => sorted.again.push(*id),
            Some(_) => sorted.waiting += 1,
        }
    }
    sorted
}

/// A day further away than any can be means that the local clock was wrong when it was written down.
fn is_due(absence: &Absence, now: Stamp) -> bool {
    absence.ask_again_at <= now || now.minus(-ASK_EVERY_MAX) < absence.ask_again_at
}

/// When a ticket that was just asked about is asked about again: after as long as it has been missed, in
/// powers of two of a day.
#[must_use]
pub fn ask_again_at(first_missed_at: Option<Stamp>, now: Stamp) -> Stamp {
    let missed = first_missed_at.map_or(TimeDelta::zero(), |first| now.instant() - first.instant());
    let day = TimeDelta::days(1);
    let mut pause = day;
    while pause < ASK_EVERY_MAX && pause * 2 - day <= missed {
        pause = pause * 2;
    }
    now.minus(-pause.min(ASK_EVERY_MAX))
}

/// What to do about the stored tickets that a counted full walk did not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// None is absent.
    NoneAbsent,
    /// Too many are gone: nothing is concluded until a person says so.
    Brake {
        /// How many may be gone at once.
        allowed: u64,
    },
    /// Ask the server about each.
    Ask,
}

/// Judges by numbers: how many absences are news, of how many stored tickets, and whether the walk saw
/// anything.
#[must_use]
pub fn judge(absent: u64, stored: u64, seen: u64, guard: f64, accepted: bool) -> Judgement {
    let allowed = allowed(stored, guard);
    match absent {
        0 => Judgement::NoneAbsent,
        _ if accepted => Judgement::Ask,
        _ if allowed < absent => Judgement::Brake { allowed },
        // An empty list is the likeliest wrong answer of all.
        _ if seen == 0 => Judgement::Brake { allowed: 0 },
        _ => Judgement::Ask,
    }
}

/// How many tickets may leave at once.
#[must_use]
pub fn allowed(stored: u64, guard: f64) -> u64 {
    // Shares of counts far below 2^53; rounding by one ticket is of no account.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let share = (stored as f64 * guard) as u64;
    FEW.max(share)
}

/// What the server says of one ticket when asked for it alone.
#[derive(Clone, Copy, Debug)]
pub enum Word<'a> {
    /// It knows no such ticket.
    Missing,
    /// This agent may not see it.
    Forbidden,
    /// Here it is.
    Found(&'a Ticket),
}

/// What follows for the stored copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// It leaves.
    Leaves(Departure),
    /// It stays and is listed in `absences` with this word.
    Stays(&'static str),
}

/// Concludes for one ticket that the list did not show.
#[must_use]
pub fn conclude(word: Word<'_>, scope: &Scope) -> Conclusion {
    match word {
        Word::Missing => Conclusion::Leaves(Departure::Vanished),
        Word::Forbidden => Conclusion::Stays("forbidden"),
        Word::Found(ticket) if ticket.is_deleted() => Conclusion::Leaves(Departure::Deleted),
        // Of another type it may still be listed, merged or not.
        Word::Found(ticket) if scope.leaves_out(ticket.integer(TICKET_TYPE_ID)) => {
            Conclusion::Leaves(Departure::OutOfScope)
        }
        Word::Found(ticket) if ticket.integer(MERGED_INTO_ID).is_some_and(|into| into != 0) => {
            Conclusion::Leaves(Departure::Merged)
        }
        Word::Found(_) => Conclusion::Stays("not_listed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::parse;

    #[test]
    fn the_brake_holds_when_more_are_gone_than_the_guard_allows() {
        for (absent, stored, seen, accepted, judgement) in [
            (0, 1_000, 1_000, false, Judgement::NoneAbsent),
            (20, 100, 80, false, Judgement::Ask),
            (21, 100, 79, false, Judgement::Brake { allowed: 20 }),
            (50, 1_000, 950, false, Judgement::Ask),
            (51, 1_000, 949, false, Judgement::Brake { allowed: 50 }),
            (500, 1_000, 500, true, Judgement::Ask),
            (3, 3, 0, false, Judgement::Brake { allowed: 0 }),
        ] {
            assert_eq!(judge(absent, stored, seen, 0.05, accepted), judgement, "{absent} of {stored}");
        }
    }

    #[test]
    fn a_ticket_that_is_kept_back_is_asked_about_after_one_two_four_and_so_on_up_to_thirty_days() {
        let first = Stamp::from_spelled("2026-03-01T00:00:00.000Z").unwrap();
        let (mut now, mut pauses) = (first, vec![]);
        for _ in 0..8 {
            let next = ask_again_at(Some(first), now);
            pauses.push((next.instant() - now.instant()).num_days());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(ask_again_at(None, first).minus(TimeDelta::days(1)), first);
        let ahead = ask_again_at(Some(first), first.minus(TimeDelta::days(400)));
        assert_eq!(
            ahead.minus(TimeDelta::days(1)),
            first.minus(TimeDelta::days(400)),
            "a clock that went back"
        );
    }

    #[test]
    fn only_what_is_not_known_to_be_kept_back_is_news() {
        let at =
            |day: i64| Stamp::from_spelled("2026-03-01T00:00:00.000Z").unwrap().minus(TimeDelta::days(-day));
        let known = |id, status: &str, ask_again_at| Absence {
            id,
            status: status.into(),
            first_missed_at: at(0),
            ask_again_at,
        };
        let known = [
            known(1, "forbidden", at(3)),
            known(2, "forbidden", at(2)),
            known(3, "not_listed", at(1)),
            known(4, NOT_ASKED, at(9)),
            known(5, MISSING, at(9)),
            known(6, "forbidden", at(900)),
        ];
        let sorted = sort(&[1, 2, 3, 4, 5, 6, 7], &known, at(2));
        assert_eq!(sorted, Absent { news: vec![4, 5, 7], again: vec![2, 3, 6], waiting: 1 });
    }

    #[test]
    fn only_the_servers_own_word_makes_a_ticket_leave() {
        let scope = |ticket_types| Scope {
            server: String::new(),
            tenant: String::new(),
            ticket_types,
            custom_fields: false,
            mapping: 1,
        };
        let ticket = |json: &str| parse::single(json.as_bytes()).unwrap();
        let plain = ticket(r#"{"id": 7, "tickettype_id": 3}"#);
        let typeless = ticket(r#"{"id": 7}"#);
        let deleted = ticket(r#"{"id": 7, "deleted": true}"#);
        let merged = ticket(r#"{"id": 7, "tickettype_id": 3, "merged_into_id": 8}"#);
        for (name, word, types, conclusion) in [
            ("404", Word::Missing, vec![], Conclusion::Leaves(Departure::Vanished)),
            ("403", Word::Forbidden, vec![], Conclusion::Stays("forbidden")),
            ("deleted", Word::Found(&deleted), vec![], Conclusion::Leaves(Departure::Deleted)),
            ("merged", Word::Found(&merged), vec![], Conclusion::Leaves(Departure::Merged)),
            (
                "merged, of another type",
                Word::Found(&merged),
                vec![4],
                Conclusion::Leaves(Departure::OutOfScope),
            ),
            ("another type", Word::Found(&plain), vec![4], Conclusion::Leaves(Departure::OutOfScope)),
            ("of no type", Word::Found(&typeless), vec![4], Conclusion::Stays("not_listed")),
            ("in scope", Word::Found(&plain), vec![3], Conclusion::Stays("not_listed")),
        ] {
            assert_eq!(conclude(word, &scope(types)), conclusion, "{name}");
        }
    }
}
