//! Pending tickets: listed by the server, but not readable when they were met. They are asked for by their ids, a hundred
//! at a time, then alone, always in the shape of the list; in the run that met them, then with growing pauses.

use std::collections::HashMap;

use super::SyncError;
use super::context::{DECISION_TARGET, RunContext, RunPhase};
use super::lookup::{IDS_PER_REQUEST, ListedTickets, RECORD_REQUESTS_EVERY, listed_tickets};
use super::report::RunReport;
use super::row_intake::RowMapping;
use super::unlisted::decide::{RemovalDecision, decide_removal};
use crate::halo::{BudgetPermit, TicketLookup};
use crate::store::{
    DueTicket, ObservedTicket, PENDING_TICKET_PAUSE_MAX, PendingTicketReason, RemovalReason,
    pending_ticket_due_at,
};

/// What became of a pending ticket.
enum PendingOutcome {
    /// It was read.
    Read(Box<ObservedTicket>),
    /// It was read, and its type is not in the scope.
    OutOfScope,
    /// The server no longer has it, or no longer lists it because it is deleted or merged.
    Missing,
    /// It stays pending.
    Failed(PendingTicketReason),
}

/// Asks for the pending tickets that are due, and stores what can be read.
pub(super) async fn fetch_due(
    context: &RunContext,
    mapping: &RowMapping,
    mut report: RunReport,
) -> Result<RunReport, SyncError> {
    if context.settings.dry_run {
        return Ok(report);
    }
    let (now, latest_due) = (context.now(), context.now().plus(PENDING_TICKET_PAUSE_MAX));
    let due = context.store.call(move |store| store.read(|tx| tx.due_tickets(now, latest_due))).await?;
    if !due.is_empty() {
        let pending = due.len() as u64;
        tracing::info!(target: DECISION_TARGET, pending, "asking for pending tickets: {pending}");
        context.progress.phase(RunPhase::PendingTickets(pending));
    }
    let (alone, together): (Vec<_>, Vec<_>) = due.into_iter().partition(|ticket| ticket.is_too_large);
    for tickets in together.chunks(IDS_PER_REQUEST).chain(alone.chunks(1)) {
        match fetch_batch(context, mapping, tickets).await {
            Ok((outcomes, _memory)) => store_outcomes(context, outcomes, &mut report).await?,
            // The server has a problem of its own; the tickets stay pending.
            Err(SyncError::Halo(error)) => {
                report.warnings.push(format!("tickets that could not be read are still pending: {error}"));
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// Asks for some tickets; returns what became of them, and the memory that those that were read occupy.
async fn fetch_batch(
    context: &RunContext,
    mapping: &RowMapping,
    tickets: &[DueTicket],
) -> Result<(Vec<(DueTicket, PendingOutcome)>, BudgetPermit), SyncError> {
    let ids: Vec<i64> = tickets.iter().map(|ticket| ticket.id).collect();
    let ListedTickets { observed, out_of_scope, unreadable, is_aged, memory } =
        listed_tickets(context, mapping, &ids).await?;
    let mut observed: HashMap<_, _> =
        observed.into_iter().map(|observed| (observed.ticket.id(), observed)).collect();
    let unreadable: HashMap<_, _> = unreadable.into_iter().map(|it| (it.id, it.reason)).collect();
    let mut outcomes = Vec::new();
    for (index, ticket) in tickets.iter().enumerate() {
        if index % RECORD_REQUESTS_EVERY == 0 {
            context.record_requests().await?;
        }
        let outcome = match (observed.remove(&ticket.id), unreadable.get(&ticket.id)) {
            (Some(observed), _) => PendingOutcome::Read(Box::new(observed)),
            (None, Some(reason)) => PendingOutcome::Failed((*reason).into()),
            (None, None) if out_of_scope.contains(&ticket.id) => PendingOutcome::OutOfScope,
            (None, None) if is_aged => PendingOutcome::Failed(PendingTicketReason::Unavailable),
            (None, None) => look_up(context, ticket.id).await?,
        };
        outcomes.push((*ticket, outcome));
    }
    Ok((outcomes, memory))
}

/// Asks whether the server still has a ticket that it does not list by its id.
async fn look_up(context: &RunContext, id: i64) -> Result<PendingOutcome, SyncError> {
    Ok(match context.halo.fetch_ticket(id).await {
        Ok((_, meta)) if meta.is_aged() => PendingOutcome::Failed(PendingTicketReason::Unavailable),
        Ok((TicketLookup::Forbidden, _)) => PendingOutcome::Failed(PendingTicketReason::Forbidden),
        // Nothing waits for a ticket that is deleted or merged: no list will ever show it again.
        Ok((lookup, _)) => match decide_removal(&lookup, &context.settings.scope) {
            RemovalDecision::Remove { reason: RemovalReason::OutOfScope, .. } => PendingOutcome::OutOfScope,
            RemovalDecision::Remove { .. } => PendingOutcome::Missing,
            RemovalDecision::Keep(_) => PendingOutcome::Failed(PendingTicketReason::NotListed),
        },
        Err(error) if error.can_be_ticket_specific() => {
            PendingOutcome::Failed(PendingTicketReason::Unavailable)
        }
        Err(error) => return Err(error.into()),
    })
}

async fn store_outcomes(
    context: &RunContext,
    outcomes: Vec<(DueTicket, PendingOutcome)>,
    report: &mut RunReport,
) -> Result<(), SyncError> {
    let (run_id, now, mut totals, requests) =
        (context.run_id, context.now(), report.totals, context.requests());
    let tx_end = context.tx_end();
    report.totals = context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| {
                let mut read = Vec::new();
                for (DueTicket { id, attempts, .. }, outcome) in outcomes {
                    match outcome {
                        PendingOutcome::Read(observed) => {
                            tx.complete_ticket(id)?;
                            read.push(*observed);
                        }
                        PendingOutcome::OutOfScope | PendingOutcome::Missing => tx.give_up_ticket(id, now)?,
                        PendingOutcome::Failed(reason) => {
                            tx.reschedule_ticket(id, reason, pending_ticket_due_at(attempts, now))?;
                        }
                    }
                }
                tx.apply_status_names(&mut read)?;
                totals.changes += tx.upsert(&read, run_id, now)?.changes;
                tx.record_run_stats(run_id, &totals.run_stats(requests))?;
                Ok(totals)
            })
        })
        .await?;
    Ok(())
}
