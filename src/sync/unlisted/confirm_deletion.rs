//! Asks the server about the stored tickets that a verified full scan did not show.

use std::collections::{HashMap, HashSet};

use super::decide::{self, DeleteGuardDecision, RemovalDecision};
use crate::halo::BudgetPermit;
use crate::store::{ObservedTicket, Removal, RemovalReason, UnlistedStatus};
use crate::sync::SyncError;
use crate::sync::completeness::{GuardedDeletions, allowed_deletions};
use crate::sync::context::{DECISION_TARGET, RunContext, RunPhase};
use crate::sync::lookup::{IDS_PER_REQUEST, RECORD_REQUESTS_EVERY, listed_tickets};
use crate::sync::row_intake::RowMapping;
use crate::sync::scan::ScanEnd;
use crate::ticket::Timestamp;

/// When so many single tickets cannot be read in one run, it is not the tickets that are to blame.
const FAILURES_MAX: u32 = 5;

/// What the end of a full scan stores about tickets that it did not show.
#[derive(Default)]
pub(in crate::sync) struct UnlistedWrites {
    /// Tickets that are removed.
    pub(in crate::sync) removals: Vec<Removal>,
    /// Tickets that stay, because no deletion is confirmed.
    pub(in crate::sync) unconfirmed: Vec<UnconfirmedRemoval>,
    /// Tickets that the scan did not show and that the server has all the same.
    pub(in crate::sync) present: Vec<ObservedTicket>,
    /// The share of the memory for responses that these occupy.
    memory: BudgetPermit,
}

/// An unlisted ticket that stays.
pub(in crate::sync) struct UnconfirmedRemoval {
    pub(in crate::sync) id: i64,
    /// What the server answered.
    pub(in crate::sync) status: UnlistedStatus,
    /// When the server is asked again.
    pub(in crate::sync) ask_again_at: Timestamp,
}

/// Asks about the unlisted tickets. Returns an outcome if the delete guard holds: then no ticket is removed.
pub(in crate::sync) async fn check_unlisted(
    context: &RunContext,
    mapping: &RowMapping,
    scan: &ScanEnd,
    writes: &mut UnlistedWrites,
) -> Result<Option<GuardedDeletions>, SyncError> {
    let (seen, now) = (scan.seen_ids(), context.now());
    let (seen_count, out_of_scope) = (seen.len(), scan.out_of_scope.clone());
    let (unlisted, out_of_scope, known, stored) = context
        .store
        .call(move |store| {
            store.read(|tx| {
                // A ticket that cannot be read for the moment counts as listed.
                let pending = tx.pending_ticket_ids()?;
                let mut unlisted = tx.unseen_ids(&seen)?;
                unlisted.retain(|id| pending.binary_search(id).is_err());
                let out_of_scope = tx.stored_among(&out_of_scope)?;
                Ok((unlisted, out_of_scope, tx.unlisted_tickets()?, tx.ticket_count()?))
            })
        })
        .await?;
    let (delete_guard, accept_deletes) = (context.settings.delete_guard, context.settings.accept_deletes);
    // Whoever requests a full scan wants to know now.
    let all_due = context.settings.schedule.full_requested;
    let groups = decide::group_unlisted(&unlisted, &known, now, all_due);
    let guarded =
        |id: &i64| UnconfirmedRemoval { id: *id, status: UnlistedStatus::Guarded, ask_again_at: now };
    let undecided = groups.undecided.len() as u64;
    let decision = decide::check_delete_guard(undecided, stored, seen_count, delete_guard, accept_deletes);
    if let DeleteGuardDecision::Exceeded { allowed } = decision {
        tracing::info!(
            target: DECISION_TARGET,
            undecided,
            allowed,
            "the delete guard holds: unlisted tickets {undecided}, allowed deletions {allowed}"
        );
        writes.unconfirmed.extend(groups.undecided.iter().map(guarded));
        return Ok(Some(GuardedDeletions { removals: undecided, allowed }));
    }
    let mut to_ask = groups.undecided;
    to_ask.extend(groups.due);
    to_ask.sort_unstable();
    if !to_ask.is_empty() {
        let asked = to_ask.len() as u64;
        tracing::info!(target: DECISION_TARGET, asked, "asking the server about unlisted tickets: {asked}");
        context.progress.phase(RunPhase::UnlistedTickets(asked));
    }
    let first_missed: HashMap<i64, Timestamp> =
        known.into_iter().map(|ticket| (ticket.id, ticket.first_missed_at)).collect();
    let mut removals = Vec::new();
    // One of the rows without an id may be that of a merged ticket, which is removed only if it is no longer listed.
    let may_be_listed = !scan.rejected_rows().is_empty();
    for (id, decision) in ask_server(context, mapping, &to_ask, writes).await? {
        let decision = match decision {
            RemovalDecision::Remove { reason: RemovalReason::Merged, .. } if may_be_listed => {
                RemovalDecision::Keep(UnlistedStatus::NotListed)
            }
            decision => decision,
        };
        match decision {
            RemovalDecision::Remove { reason, merged_into } => {
                removals.push(Removal { id, reason, merged_into });
            }
            RemovalDecision::Keep(status) => {
                let ask_again_at = decide::ask_again_at(first_missed.get(&id).copied(), now);
                writes.unconfirmed.push(UnconfirmedRemoval { id, status, ask_again_at });
            }
        }
    }
    // Tickets that stayed earlier and are removed now count as well, and those that are of another type now.
    let allowed = allowed_deletions(stored, delete_guard);
    let removed = (removals.len() + out_of_scope.len()) as u64;
    if allowed < removed && !accept_deletes {
        writes.unconfirmed.extend(removals.iter().map(|removal| guarded(&removal.id)));
        writes.unconfirmed.extend(out_of_scope.iter().map(guarded));
        return Ok(Some(GuardedDeletions { removals: removed, allowed }));
    }
    removals.extend(out_of_scope.into_iter().map(|id| Removal::new(id, RemovalReason::OutOfScope)));
    if !removals.is_empty() {
        let (removed, kept) = (removals.len(), writes.unconfirmed.len());
        tracing::info!(target: DECISION_TARGET, removed, kept, "removing {removed} tickets, keeping {kept} unlisted ones");
    }
    writes.removals = removals;
    Ok(None)
}

/// Asks for a hundred tickets at a time first: those returned are present. Then for each of the others.
async fn ask_server(
    context: &RunContext,
    mapping: &RowMapping,
    unlisted: &[i64],
    writes: &mut UnlistedWrites,
) -> Result<Vec<(i64, RemovalDecision)>, SyncError> {
    for ids in unlisted.chunks(IDS_PER_REQUEST) {
        match listed_tickets(context, mapping, ids).await {
            Ok(listed) => {
                writes.present.extend(listed.observed);
                writes.memory.merge(listed.memory);
            }
            // Then each of them is asked for alone.
            Err(SyncError::Halo(error)) if error.can_be_ticket_specific() => {
                tracing::warn!("cannot list tickets by id: {error}; fetching them one by one");
            }
            Err(error) => return Err(error),
        }
    }
    let present: HashSet<i64> = writes.present.iter().map(|observed| observed.ticket.id()).collect();
    let (mut decisions, mut failures) = (Vec::new(), 0);
    for (index, id) in unlisted.iter().filter(|id| !present.contains(id)).enumerate() {
        if failures == FAILURES_MAX {
            decisions.push((*id, RemovalDecision::Keep(UnlistedStatus::NotAsked)));
            continue;
        }
        if index % RECORD_REQUESTS_EVERY == 0 {
            context.record_requests().await?;
        }
        let decision = match context.halo.fetch_ticket(*id).await {
            Ok((_, meta)) if meta.is_aged() => RemovalDecision::Keep(UnlistedStatus::NotAsked),
            Ok((lookup, _)) => decide::decide_removal(&lookup, &context.settings.scope),
            // One ticket that cannot be read does not keep the others from being decided.
            Err(error) if error.can_be_ticket_specific() => {
                failures += 1;
                RemovalDecision::Keep(UnlistedStatus::Unreadable)
            }
            Err(error) => return Err(error.into()),
        };
        decisions.push((*id, decision));
    }
    Ok(decisions)
}
