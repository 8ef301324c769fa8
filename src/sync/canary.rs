//! The canary: the stored ticket that an incremental scan must return.

use super::SyncError;
use super::context::RunContext;
use super::lookup::listed_ticket;
use super::scan::ScanEnd;
use super::unlisted::decide::{self, RemovalDecision};
use crate::halo::TicketLookup;
use crate::store::UnlistedStatus;
use crate::ticket::Ticket;
use crate::watermark::Watermark;

/// Whether the canary was returned, or has an excuse: it is no longer listed, or has changed since the scan.
pub(super) async fn is_ok(
    context: &RunContext,
    watermark: &Watermark,
    scan: &ScanEnd,
) -> Result<bool, SyncError> {
    let Some(id) = watermark.canary else { return Ok(true) };
    if scan.has_seen(id) {
        return Ok(true);
    }
    let should_be_listed = |ticket: &Ticket| {
        let updated = ticket.last_update();
        ticket.id() == id && updated.is_some_and(|at| scan.start.covers().is_none_or(|start| at <= start))
    };
    if let Some(ticket) = listed_ticket(context, id).await? {
        return Ok(!should_be_listed(&ticket));
    }
    // An empty list may be as wrong as the one of the scan, and a server that does not know `ticketids` returns anything:
    // a request for the ticket alone decides.
    let (lookup, meta) = match context.halo.fetch_ticket(id).await {
        // Then nothing excuses it; one ticket that cannot be read must not end every run.
        Err(error) if error.can_be_ticket_specific() => return Ok(false),
        done => done?,
    };
    if meta.is_aged() {
        return Ok(false);
    }
    // Deleted, merged, out of scope, or no longer visible to this agent.
    let is_excused = decide::decide_removal(&lookup, &context.settings.scope)
        != RemovalDecision::Keep(UnlistedStatus::NotListed);
    Ok(is_excused || matches!(&lookup, TicketLookup::Found(ticket) if !should_be_listed(ticket)))
}
