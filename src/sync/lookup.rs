//! Looks up tickets by id: in the list by `ticketids`, or one alone.

use super::SyncError;
use super::context::RunContext;
use super::row_intake::RowMapping;
use crate::halo::{Filter, ListQuery};
use crate::store::ObservedTicket;
use crate::ticket::Ticket;

/// How many tickets one request asks for by id.
pub(super) const IDS_PER_REQUEST: usize = 100;

/// Rows per page of such a request: the most that a server returns.
const IDS_PAGE_SIZE: u32 = 100;

/// After so many single tickets the requests are recorded, so that a run after a kill keeps to the rate limit.
pub(super) const RECORD_REQUESTS_EVERY: usize = 16;

/// The tickets with these ids that the list shows and the scope includes. `ids` are sorted.
pub(super) async fn listed_tickets(
    context: &RunContext,
    mapping: &RowMapping,
    ids: &[i64],
) -> Result<Vec<ObservedTicket>, SyncError> {
    let query = ListQuery { filter: Filter::Ids(ids.to_vec()), fields: mapping.fields.requested_ids() };
    let (mut observed, mut received) = (Vec::new(), 0);
    // More than one page where the server returns fewer rows than requested.
    for number in 1.. {
        let page = context.halo.fetch_page(&query, number, IDS_PAGE_SIZE).await?;
        context.record_requests().await?;
        let (list, request_no) = (page.list, page.meta.request_no);
        received += list.rows_received;
        let is_last =
            list.rows_received == 0 || list.record_count.is_none_or(|count| count <= received as u64);
        let wanted = list.tickets.into_iter().filter(|ticket| ids.binary_search(&ticket.id()).is_ok());
        observed.extend(wanted.filter_map(|ticket| mapping.map_ticket(ticket, request_no)));
        // A server that does not know `ticketids` would return everything, page by page.
        if is_last || ids.len() <= received {
            break;
        }
    }
    Ok(observed)
}

/// The ticket as the list shows it; `None` if the list does not.
pub(super) async fn listed_ticket(context: &RunContext, id: i64) -> Result<Option<Ticket>, SyncError> {
    let page = context.halo.fetch_page(&Filter::Ids(vec![id]).into(), 1, IDS_PAGE_SIZE).await?;
    Ok(page.list.tickets.into_iter().find(|ticket| ticket.id() == id))
}
