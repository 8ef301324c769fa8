//! What follows when a full scan did not show a stored ticket.
//!
//! Pure. A ticket is removed only after a verified full scan and an answer of the server about that ticket, and not
//! when so many have disappeared at once that lost permissions are the likelier cause (`halo-api.md` §1.7).

use std::collections::HashMap;

use chrono::TimeDelta;

use crate::halo::TicketLookup;
use crate::scope::Scope;
use crate::store::{RemovalReason, UnlistedStatus, UnlistedTicket};
use crate::sync::completeness::allowed_deletions;
use crate::ticket::Timestamp;
use crate::ticket::attribute::{MERGED_INTO_ID, TICKET_TYPE_ID};

/// The server is asked about an unlisted ticket that stays after 1, 2, 4 … days, and at least this often.
const RECHECK_INTERVAL_MAX: TimeDelta = TimeDelta::days(30);

/// Unlisted tickets by what is known about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnlistedGroups {
    /// Nothing that decides about them: the delete guard counts them, and the server is asked.
    pub undecided: Vec<i64>,
    /// They stayed when the server was asked, and it is time to ask again.
    pub due: Vec<i64>,
    /// They stayed, and it is not yet time to ask again.
    pub deferred: u64,
}

/// Groups unlisted tickets by what is known about them. If `all_due`, it is time to ask again about each.
#[must_use]
pub fn group_unlisted(
    unlisted: &[i64],
    known: &[UnlistedTicket],
    now: Timestamp,
    all_due: bool,
) -> UnlistedGroups {
    let known: HashMap<i64, &UnlistedTicket> = known.iter().map(|ticket| (ticket.id, ticket)).collect();
    let mut groups = UnlistedGroups::default();
    for id in unlisted {
        match known.get(id) {
            None => groups.undecided.push(*id),
            Some(UnlistedTicket {
                status: UnlistedStatus::Guarded | UnlistedStatus::NotAsked | UnlistedStatus::Missing,
                ..
            }) => groups.undecided.push(*id),
            Some(ticket) if all_due || is_due(ticket, now) => groups.due.push(*id),
            Some(_) => groups.deferred += 1,
        }
    }
    groups
}

/// A time further ahead than any can be means that the local clock was wrong when it was recorded.
fn is_due(ticket: &UnlistedTicket, now: Timestamp) -> bool {
    ticket.ask_again_at <= now || now.plus(RECHECK_INTERVAL_MAX) < ticket.ask_again_at
}

/// When the server is asked again about a ticket that it was just asked about. The pause doubles: 1, 2, 4 … days, at most
/// `RECHECK_INTERVAL_MAX`, by how long the ticket has been unlisted.
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

/// What to do about unlisted tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteGuardDecision {
    /// There are none.
    NoneUnlisted,
    /// There are too many: nothing is deleted until a person confirms it.
    Exceeded {
        /// How many may be removed without confirmation.
        allowed: u64,
    },
    /// Ask the server about each.
    AskServer,
}

/// Decides by numbers: how many tickets are unlisted without an answer about them yet, of how many stored ones, and whether
/// the scan saw any ticket.
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
        // An empty list is the most likely wrong answer of all.
        _ if seen == 0 => DeleteGuardDecision::Exceeded { allowed: 0 },
        _ => DeleteGuardDecision::AskServer,
    }
}

/// What happens to the stored ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalDecision {
    /// It is removed.
    Remove {
        /// Why.
        reason: RemovalReason,
        /// The ticket that it was merged into, if the server says so.
        merged_into: Option<i64>,
    },
    /// It stays, and is recorded in `unlisted_tickets` with this status.
    Keep(UnlistedStatus),
}

/// Decides about one unlisted ticket from the server's answer to a request for it alone.
#[must_use]
pub fn decide_removal(lookup: &TicketLookup, scope: &Scope) -> RemovalDecision {
    let remove = |reason, merged_into| RemovalDecision::Remove { reason, merged_into };
    let ticket = match lookup {
        TicketLookup::Missing => return remove(RemovalReason::Vanished, None),
        TicketLookup::Forbidden => return RemovalDecision::Keep(UnlistedStatus::Forbidden),
        TicketLookup::Found(ticket) => ticket,
    };
    let merged_into = ticket.integer(MERGED_INTO_ID).filter(|into| *into != 0);
    if ticket.is_deleted() {
        remove(RemovalReason::Deleted, merged_into)
    } else if scope.excludes(ticket.integer(TICKET_TYPE_ID)) {
        // Checked before `merged`: out of scope, it makes no difference whether the ticket was merged.
        remove(RemovalReason::OutOfScope, merged_into)
    } else if merged_into.is_some() {
        remove(RemovalReason::Merged, merged_into)
    } else {
        RemovalDecision::Keep(UnlistedStatus::NotListed)
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
    fn unlisted_ticket_is_undecided_unless_the_server_is_known_to_withhold_it() {
        let at =
            |day: i64| "2026-03-01T00:00:00.000Z".parse::<Timestamp>().unwrap().plus(TimeDelta::days(day));
        let known =
            |id, status, ask_again_at| UnlistedTicket { id, status, first_missed_at: at(0), ask_again_at };
        let known = [
            known(1, UnlistedStatus::Forbidden, at(3)),
            known(2, UnlistedStatus::Forbidden, at(2)),
            known(3, UnlistedStatus::NotListed, at(1)),
            known(4, UnlistedStatus::NotAsked, at(9)),
            known(5, UnlistedStatus::Missing, at(9)),
            known(6, UnlistedStatus::Forbidden, at(900)),
        ];
        for (all_due, due, deferred) in [(false, vec![2, 3, 6], 1), (true, vec![1, 2, 3, 6], 0)] {
            let groups = group_unlisted(&[1, 2, 3, 4, 5, 6, 7], &known, at(2), all_due);
            assert_eq!(groups, UnlistedGroups { undecided: vec![4, 5, 7], due, deferred });
        }
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
        let found = |json: &str| TicketLookup::Found(Box::new(ticket(json)));
        let plain = || found(r#"{"id": 7, "tickettype_id": 3}"#);
        let typeless = found(r#"{"id": 7}"#);
        let deleted = found(r#"{"id": 7, "deleted": true}"#);
        let merged = || found(r#"{"id": 7, "tickettype_id": 3, "merged_into_id": 8}"#);
        let deleted_after_merge = found(r#"{"id": 7, "deleted": true, "merged_into_id": 8}"#);
        let keep = RemovalDecision::Keep;
        let remove = |reason, merged_into| RemovalDecision::Remove { reason, merged_into };
        for (name, lookup, types, decision) in [
            ("404", TicketLookup::Missing, vec![], remove(RemovalReason::Vanished, None)),
            ("403", TicketLookup::Forbidden, vec![], keep(UnlistedStatus::Forbidden)),
            ("deleted", deleted, vec![], remove(RemovalReason::Deleted, None)),
            ("merged and deleted", deleted_after_merge, vec![], remove(RemovalReason::Deleted, Some(8))),
            ("merged", merged(), vec![], remove(RemovalReason::Merged, Some(8))),
            ("merged, of another type", merged(), vec![4], remove(RemovalReason::OutOfScope, Some(8))),
            ("another type", plain(), vec![4], remove(RemovalReason::OutOfScope, None)),
            ("without a type", typeless, vec![4], keep(UnlistedStatus::NotListed)),
            ("in scope", plain(), vec![3], keep(UnlistedStatus::NotListed)),
        ] {
            assert_eq!(decide_removal(&lookup, &scope(types)), decision, "{name}");
        }
    }
}
