//! What it means that a full walk did not show a stored ticket. Absence is not deletion.
//!
//! Pure. A ticket leaves only after a counted full walk and the server's own word about that ticket;
//! and not when so many are gone at once that a cut in the agent's permissions is the likelier cause
//! (`halo-api.md` §1.7).

use crate::scope::Scope;
use crate::store::Departure;
use crate::ticket::Ticket;
use crate::ticket::attribute::{MERGED_INTO_ID, TICKET_TYPE_ID};

/// So few tickets may always be gone.
const FEW: u64 = 20;

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

/// Judges by numbers: how many are absent, of how many stored, and whether the walk saw anything.
#[must_use]
pub fn judge(absent: u64, stored: u64, seen: u64, guard: f64, accepted: bool) -> Judgement {
    // Shares of counts far below 2^53; rounding by one ticket is of no account.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let allowed = FEW.max((stored as f64 * guard) as u64);
    match absent {
        0 => Judgement::NoneAbsent,
        _ if accepted => Judgement::Ask,
        _ if allowed < absent => Judgement::Brake { allowed },
        // An empty list is the likeliest wrong answer of all.
        _ if seen == 0 => Judgement::Brake { allowed: 0 },
        _ => Judgement::Ask,
    }
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
        Word::Found(ticket) if ticket.integer(MERGED_INTO_ID).is_some_and(|into| into != 0) => {
            Conclusion::Leaves(Departure::Merged)
        }
        Word::Found(ticket) if !scope.holds(ticket.integer(TICKET_TYPE_ID)) => {
            Conclusion::Leaves(Departure::OutOfScope)
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
        let deleted = ticket(r#"{"id": 7, "deleted": true}"#);
        let merged = ticket(r#"{"id": 7, "tickettype_id": 3, "merged_into_id": 8}"#);
        for (name, word, types, conclusion) in [
            ("404", Word::Missing, vec![], Conclusion::Leaves(Departure::Vanished)),
            ("403", Word::Forbidden, vec![], Conclusion::Stays("forbidden")),
            ("deleted", Word::Found(&deleted), vec![], Conclusion::Leaves(Departure::Deleted)),
            ("merged", Word::Found(&merged), vec![], Conclusion::Leaves(Departure::Merged)),
            ("another type", Word::Found(&plain), vec![4], Conclusion::Leaves(Departure::OutOfScope)),
            ("in scope", Word::Found(&plain), vec![3], Conclusion::Stays("not_listed")),
        ] {
            assert_eq!(conclude(word, &scope(types)), conclusion, "{name}");
        }
    }
}
