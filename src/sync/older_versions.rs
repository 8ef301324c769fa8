//! Listed tickets that are older than the stored version: taken only if the server confirms them.

use roaring::RoaringTreemap;

use super::SyncError;
use super::context::RunContext;
use super::lookup::{IDS_PER_REQUEST, RECORD_REQUESTS_EVERY, listed_ticket, listed_tickets};
use super::row_intake::RowMapping;
use super::scan::ScanEnd;
use crate::halo::TicketLookup;
use crate::store::ObservedTicket;
use crate::ticket::Ticket;

/// Takes the older versions out of the rows of a scan and returns those that the server confirms, one request each.
/// `before_interruption` are the ids of older versions that the interrupted part of the scan had received.
pub(super) async fn confirm(
    context: &RunContext,
    mapping: &RowMapping,
    scan: &mut ScanEnd,
    before_interruption: &RoaringTreemap,
) -> Result<Vec<ObservedTicket>, SyncError> {
    let mut observed = std::mem::take(&mut scan.unstored.tickets);
    observed.append(&mut scan.older);
    let ids: Vec<i64> = before_interruption.iter().map(u64::cast_signed).collect();
    for ids in ids.chunks(IDS_PER_REQUEST) {
        let listed = listed_tickets(context, mapping, ids).await?;
        observed.extend(listed.observed);
        scan.unstored.memory.merge(listed.memory);
    }
    let (observed, older_ids) = context
        .store
        .call(move |store| {
            let older_ids = store.read(|tx| tx.older_among(&observed))?;
            Ok((observed, older_ids))
        })
        .await?;
    let is_older = |observed: &ObservedTicket| older_ids.contains(&observed.ticket.id());
    let (older, newer): (Vec<_>, Vec<_>) = observed.into_iter().partition(is_older);
    scan.unstored.tickets = newer;
    let mut confirmed = Vec::new();
    for (index, observed) in older.into_iter().enumerate() {
        if index % RECORD_REQUESTS_EVERY == 0 {
            context.record_requests().await?;
        }
        let current = current_version(context, observed.ticket.id()).await?;
        if current.is_some_and(|current| current.last_update() == observed.ticket.last_update()) {
            confirmed.push(observed);
        }
    }
    Ok(confirmed)
}

/// The ticket as a request for it alone shows it, otherwise as the list does.
async fn current_version(context: &RunContext, id: i64) -> Result<Option<Ticket>, SyncError> {
    match context.halo.fetch_ticket(id).await {
        Ok((_, meta)) if meta.is_aged() => Ok(None),
        Ok((TicketLookup::Found(ticket), _)) => Ok(Some(*ticket)),
        Ok((TicketLookup::Missing | TicketLookup::Forbidden, _)) => listed_ticket(context, id).await,
        Err(error) if error.can_be_ticket_specific() => listed_ticket(context, id).await,
        Err(error) => Err(error.into()),
    }
}
