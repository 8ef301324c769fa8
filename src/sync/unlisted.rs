//! What it means that a full walk did not show a stored ticket. Absence is not deletion.
//!
//! Pure. A ticket leaves only after a counted full walk and the server's own word about that ticket;
//! and not when so many are gone at once that a cut in the agent's permissions is the likelier cause
//! (`halo-api.md` §1.7).

use std::collections::HashMap;

use chrono::TimeDelta;

use crate::scope::Scope;
use crate::store::{RemovalReason, UnlistedStatus, UnlistedTicket};
use crate::ticket::attribute::{MERGED_INTO_ID, TICKET_TYPE_ID};
use crate::ticket::{Ticket, Timestamp};

/// So few tickets may always be gone.
const ALWAYS_ALLOWED: u64 = 20;

/// A ticket that the server keeps back is asked about again after 1, 2, 4 … days, and at least so often.
const RECHECK_INTERVAL_MAX: TimeDelta = TimeDelta::days(30);

/// The absent tickets, by what is known of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnlistedGroups {
    /// Nothing yet: they are news, and the brake counts them.
    pub new: Vec<i64>,
    /// The server kept them back when it was asked, and it is time to ask again.
    pub due: Vec<i64>,
    /// The same, and it is not.
    pub deferred: u64,
}

/// Sorts what a full walk did not show by what is known of it.
#[must_use]
pub fn group_unlisted(unlisted: &[i64], known: &[UnlistedTicket], now: Timestamp) -> UnlistedGroups {
    let known: HashMap<i64, &UnlistedTicket> = known.iter().map(|ticket| (ticket.id, ticket)).collect();
    let mut groups = UnlistedGroups::default();
    for id in unlisted {
        match known.get(id) {
            None => groups.new.push(*id),
            Some(UnlistedTicket { status: UnlistedStatus::NotAsked | UnlistedStatus::Missing, .. }) => {
                groups.new.push(*id);
            }
            Some(ticket) if is_due(ticket, now) => groups.due.push(*id),
            Some(_) => groups.deferred += 1,
        }
    }
    groups
}

/// A day further away than any can be means that the local clock was wrong when it was written down.
fn is_due(ticket: &UnlistedTicket, now: Timestamp) -> bool {
    ticket.ask_again_at <= now || now.plus(RECHECK_INTERVAL_MAX) < ticket.ask_again_at
}

/// When a ticket that was just asked about is asked about again: after as long as it has been missed, in
/// powers of two of a day.
#[must_use]
pub fn ask_again_at(first_missed_at: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let missed = first_missed_at.map_or(TimeDelta::zero(), |first| now.instant() - first.instant());
    let day = TimeDelta::days(1);
    let mut pause = day;
    while pause < RECHECK_INTERVAL_MAX && pause * 2 - day <= missed {
        pause = pause * 2;
    }
    now.plus(pause.min(RECHECK_INTERVAL_MAX))
}

/// What to do about the stored tickets that a counted full walk did not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteGuardDecision {
    /// None is absent.
    NoneUnlisted,
    /// Too many are gone: nothing is concluded until a person says so.
    Exceeded {
        /// How many may be gone at once.
        allowed: u64,
    },
    /// Ask the server about each.
    AskServer,
}

/// Judges by numbers: how many absences are news, of how many stored tickets, and whether the walk saw
/// anything.
#[must_use]
pub fn check_delete_guard(
    unlisted: u64,
    stored: u64,
    seen: u64,
    delete_guard: f64,
    accept_deletes: bool,
) -> DeleteGuardDecision {
    let allowed = allowed_deletions(stored, delete_guard);
    match unlisted {
        0 => DeleteGuardDecision::NoneUnlisted,
        _ if accept_deletes => DeleteGuardDecision::AskServer,
        _ if allowed < unlisted => DeleteGuardDecision::Exceeded { allowed },
        // An empty list is the likeliest wrong answer of all.
        _ if seen == 0 => DeleteGuardDecision::Exceeded { allowed: 0 },
        _ => DeleteGuardDecision::AskServer,
    }
}

/// How many tickets may leave at once.
#[must_use]
pub fn allowed_deletions(stored: u64, delete_guard: f64) -> u64 {
    // Shares of counts far below 2^53; rounding by one ticket is of no account.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let share = (stored as f64 * delete_guard) as u64;
    ALWAYS_ALLOWED.max(share)
}

/// What the server says of one ticket when asked for it alone.
#[derive(Clone, Copy, Debug)]
pub enum ServerAnswer<'a> {
    /// It knows no such ticket.
    Missing,
    /// This agent may not see it.
    Forbidden,
    /// Here it is.
    Found(&'a Ticket),
}

/// What follows for the stored copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalDecision {
    /// It leaves.
    Remove(RemovalReason),
    /// It stays and is listed in `absences` with this word.
    Keep(UnlistedStatus),
}

/// Concludes for one ticket that the list did not show.
#[must_use]
pub fn decide_removal(answer: ServerAnswer<'_>, scope: &Scope) -> RemovalDecision {
    match answer {
        ServerAnswer::Missing => RemovalDecision::Remove(RemovalReason::Vanished),
        ServerAnswer::Forbidden => RemovalDecision::Keep(UnlistedStatus::Forbidden),
        ServerAnswer::Found(ticket) if ticket.is_deleted() => RemovalDecision::Remove(RemovalReason::Deleted),
        // Of another type it may still be listed, merged or not.
        ServerAnswer::Found(ticket) if scope.excludes(ticket.integer(TICKET_TYPE_ID)) => {
            RemovalDecision::Remove(RemovalReason::OutOfScope)
        }
        ServerAnswer::Found(ticket) if ticket.integer(MERGED_INTO_ID).is_some_and(|into| into != 0) => {
            RemovalDecision::Remove(RemovalReason::Merged)
        }
        ServerAnswer::Found(_) => RemovalDecision::Keep(UnlistedStatus::NotListed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::parse;

    #[test]
    fn delete_guard_holds_when_more_tickets_are_unlisted_than_allowed() {
        for (unlisted, stored, seen, accept_deletes, decision) in [
            (0, 1_000, 1_000, false, DeleteGuardDecision::NoneUnlisted),
            (20, 100, 80, false, DeleteGuardDecision::AskServer),
            (21, 100, 79, false, DeleteGuardDecision::Exceeded { allowed: 20 }),
            (50, 1_000, 950, false, DeleteGuardDecision::AskServer),
            (51, 1_000, 949, false, DeleteGuardDecision::Exceeded { allowed: 50 }),
            (500, 1_000, 500, true, DeleteGuardDecision::AskServer),
            (3, 3, 0, false, DeleteGuardDecision::Exceeded { allowed: 0 }),
        ] {
            assert_eq!(
                check_delete_guard(unlisted, stored, seen, 0.05, accept_deletes),
                decision,
                "{unlisted} of {stored}"
            );
        }
    }

    #[test]
    fn unlisted_ticket_is_asked_about_again_after_1_2_4_up_to_30_days() {
        let first: Timestamp = "2026-03-01T00:00:00.000Z".parse().unwrap();
        let (mut now, mut pauses) = (first, vec![]);
        for _ in 0..8 {
            let next = ask_again_at(Some(first), now);
            pauses.push((next.instant() - now.instant()).num_days());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(ask_again_at(None, first).minus(TimeDelta::days(1)), first);
        let after_clock_went_back = ask_again_at(Some(first), first.minus(TimeDelta::days(400)));
        assert_eq!(
            after_clock_went_back.minus(TimeDelta::days(1)),
            first.minus(TimeDelta::days(400)),
            "a clock that went back"
        );
    }

    #[test]
    fn unlisted_ticket_is_new_unless_the_server_is_known_to_withhold_it() {
        let at =
            |day: i64| "2026-03-01T00:00:00.000Z".parse::<Timestamp>().unwrap().plus(TimeDelta::days(day));
        let known = |id, status: &str, ask_again_at| UnlistedTicket {
            id,
            status,
            first_missed_at: at(0),
            ask_again_at,
        };
        let known = [
            known(1, UnlistedStatus::Forbidden, at(3)),
            known(2, UnlistedStatus::Forbidden, at(2)),
            known(3, UnlistedStatus::NotListed, at(1)),
            known(4, UnlistedStatus::NotAsked, at(9)),
            known(5, UnlistedStatus::Missing, at(9)),
            known(6, UnlistedStatus::Forbidden, at(900)),
        ];
        let groups = group_unlisted(&[1, 2, 3, 4, 5, 6, 7], &known, at(2));
        assert_eq!(groups, UnlistedGroups { new: vec![4, 5, 7], due: vec![2, 3, 6], deferred: 1 });
    }

    #[test]
    fn ticket_is_removed_only_on_the_servers_answer_about_it() {
        let scope = |ticket_types| Scope {
            server: String::new(),
            tenant: String::new(),
            ticket_types,
            custom_fields: false,
            mapping: 1,
        };
        let ticket = |json: &str| parse::parse_ticket(json.as_bytes()).unwrap();
        let plain = ticket(r#"{"id": 7, "tickettype_id": 3}"#);
        let typeless = ticket(r#"{"id": 7}"#);
        let deleted = ticket(r#"{"id": 7, "deleted": true}"#);
        let merged = ticket(r#"{"id": 7, "tickettype_id": 3, "merged_into_id": 8}"#);
        for (name, answer, types, decision) in [
            ("404", ServerAnswer::Missing, vec![], RemovalDecision::Remove(RemovalReason::Vanished)),
            ("403", ServerAnswer::Forbidden, vec![], RemovalDecision::Keep(UnlistedStatus::Forbidden)),
            (
                "deleted",
                ServerAnswer::Found(&deleted),
                vec![],
                RemovalDecision::Remove(RemovalReason::Deleted),
            ),
            ("merged", ServerAnswer::Found(&merged), vec![], RemovalDecision::Remove(RemovalReason::Merged)),
            (
                "merged, of another type",
                ServerAnswer::Found(&merged),
                vec![4],
                RemovalDecision::Remove(RemovalReason::OutOfScope),
            ),
            (
                "another type",
                ServerAnswer::Found(&plain),
                vec![4],
                RemovalDecision::Remove(RemovalReason::OutOfScope),
            ),
            ("of no type", ServerAnswer::Found(&typeless), vec![4], RemovalDecision::Keep(UnlistedStatus::NotListed)),
            ("in scope", ServerAnswer::Found(&plain), vec![3], RemovalDecision::Keep(UnlistedStatus::NotListed)),
        ] {
            assert_eq!(decide_removal(answer, &scope(types)), decision, "{name}");
        }
    }
}
