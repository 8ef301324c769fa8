//! Looks up tickets by id: in the list by `ticketids`, or one alone.

use super::SyncError;
use super::context::RunContext;
use super::row_intake::RowMapping;
use crate::halo::{BudgetPermit, Filter, ListQuery};
use crate::store::ObservedTicket;
use crate::ticket::Ticket;
use crate::ticket::attribute::TICKET_TYPE_ID;
use crate::ticket::parse::{UnreadableReason, UnreadableTicket};

/// How many tickets one request asks for by id.
pub(super) const IDS_PER_REQUEST: usize = 100;

/// Rows per page of such a request: the most that a server returns.
const IDS_PAGE_SIZE: u32 = 100;

/// After so many single tickets the requests are recorded, so that a run after a kill keeps to the rate limit.
pub(super) const RECORD_REQUESTS_EVERY: usize = 16;

/// What the list shows when it is asked for ids.
#[derive(Default)]
pub(super) struct ListedTickets {
    /// The tickets that the scope includes.
    pub(super) observed: Vec<ObservedTicket>,
    /// The ids of tickets of other types.
    pub(super) out_of_scope: Vec<i64>,
    /// Tickets whose row cannot be read.
    pub(super) unreadable: Vec<UnreadableTicket>,
    /// Whether a cache answered: then it proves nothing that a ticket is not shown.
    pub(super) is_aged: bool,
    /// The share of the memory for responses that the tickets occupy.
    pub(super) memory: BudgetPermit,
}

/// The tickets with these ids that the list shows. `ids` are sorted.
pub(super) async fn listed_tickets(
    context: &RunContext,
    mapping: &RowMapping,
    ids: &[i64],
) -> Result<ListedTickets, SyncError> {
    let query = ListQuery { filter: Filter::Ids(ids.to_vec()), fields: mapping.fields.requested_ids() };
    let (mut listed, mut received) = (ListedTickets::default(), 0);
    // More than one page where the server returns fewer rows than requested.
    for number in 1.. {
        let page = context.halo.fetch_page(&query, number, IDS_PAGE_SIZE).await?;
        context.record_requests().await?;
        let (list, request_no) = (page.list, page.meta.request_no);
        listed.is_aged |= page.meta.is_aged();
        listed.memory.merge(page.memory);
        received += list.rows_received;
        let is_last =
            list.rows_received == 0 || list.record_count.is_none_or(|count| count <= received as u64);
        let is_wanted = |id: i64| ids.binary_search(&id).is_ok();
        listed.unreadable.extend(list.unreadable.into_iter().filter(|ticket| is_wanted(ticket.id)));
        for ticket in list.tickets.into_iter().filter(|ticket| is_wanted(ticket.id())) {
            let (id, is_excluded) = (ticket.id(), mapping.scope.excludes(ticket.integer(TICKET_TYPE_ID)));
            listed.out_of_scope.extend(is_excluded.then_some(id));
            if mapping.is_type_unreadable(&ticket) {
                listed.unreadable.push(UnreadableTicket { id, reason: UnreadableReason::Invalid });
            }
            listed.observed.extend(mapping.map_ticket(ticket, request_no));
        }
        // A server that does not know `ticketids` would return everything, page by page.
        if is_last || ids.len() <= received {
            break;
        }
    }
    Ok(listed)
}

/// The ticket as the list shows it; `None` if the list does not, or if a cache answered.
pub(super) async fn listed_ticket(context: &RunContext, id: i64) -> Result<Option<Ticket>, SyncError> {
    let page = context.halo.fetch_page(&Filter::Ids(vec![id]).into(), 1, IDS_PAGE_SIZE).await?;
    if page.meta.is_aged() {
        return Ok(None);
    }
    Ok(page.list.tickets.into_iter().find(|ticket| ticket.id() == id))
}
