//! The requests for tickets: the list, single tickets and custom fields.

use url::Url;

use super::memory::BudgetPermit;
use super::request::{ReadResponse, RequestPart, RequestSpec};
use super::row_memory::{ROW_MAX, memory_until_stored, row_memory, set_aside_large_rows};
use super::ticket_search::SearchedTicket;
use super::{HaloClient, HaloError, HttpResponse, Resource, ResponseMeta};
use crate::ticket::parse::{self, CutRow, ParseError, ParsedPage};
use crate::ticket::{CustomField, FieldSearch, Ticket, Timestamp, UnmappedFields};

/// Which tickets to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All tickets of these types.
    All {
        /// Ticket type ids; empty means all types.
        types: Vec<i64>,
        /// Open tickets, closed tickets, or the default.
        coverage: Coverage,
    },
    /// Tickets of these types that were updated at or after an instant.
    UpdatedFrom {
        /// Ticket type ids; empty means all types.
        types: Vec<i64>,
        /// The instant.
        from: Timestamp,
        /// The plain list, open tickets or closed ones.
        coverage: Coverage,
    },
    /// Exactly the tickets with these ids.
    Ids(Vec<i64>),
}

/// Which tickets a list covers. Servers differ in what the plain list leaves out: some list only open
/// and recently closed tickets (`halo-api.md` §2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// The plain list: what the server lists unless it is asked for open or for closed tickets.
    #[default]
    Plain,
    /// Open tickets.
    Open,
    /// Closed tickets.
    Closed,
}

/// Which tickets to list, and with which custom fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Which tickets.
    pub filter: Filter,
    /// The ids of the custom fields.
    pub fields: Vec<i64>,
}

impl From<Filter> for ListQuery {
    fn from(filter: Filter) -> ListQuery {
        ListQuery { filter, fields: Vec::new() }
    }
}

/// The longest query string of one request, in bytes; what does not fit goes into further requests.
const QUERY_MAX: usize = 1_800;

/// A page of the ticket list.
#[derive(Debug)]
pub struct ListPage {
    /// The content of the page.
    pub list: ParsedPage,
    /// The response that brought it.
    pub meta: ResponseMeta,
    /// The memory that the tickets take; to be dropped with them.
    pub memory: BudgetPermit,
}

/// A single ticket with all its members.
#[derive(Debug)]
pub struct TicketDetails {
    /// The ticket, or that the server does not show it.
    pub lookup: TicketLookup,
    /// The response that brought it.
    pub meta: ResponseMeta,
    /// The memory that the ticket takes; to be dropped with it.
    pub memory: BudgetPermit,
}

/// The result of fetching a single ticket.
#[derive(Debug)]
pub enum TicketLookup {
    /// The ticket exists.
    Found(Box<Ticket>),
    /// 404 or 410.
    Missing,
    /// 403.
    Forbidden,
}

impl HaloClient {
    /// Fetches one page of the list, in order of id. Servers honor paging only if both `pageinate` and
    /// `page_no` are sent, and the default order is not fixed (`halo-api.md` §2.1, §2.2).
    pub async fn fetch_list(
        &self,
        filter: &Filter,
        page: u32,
        page_size: u32,
    ) -> Result<ListPage, HaloError> {
        self.fetch_rows(filter, &[], page, page_size, RequestPart::default()).await
    }

    /// Fetches one page with some custom fields in its rows, if the server supports that
    /// (`halo-api.md` §2.6).
    pub(super) async fn fetch_rows(
        &self,
        filter: &Filter,
        fields: &[i64],
        page: u32,
        page_size: u32,
        part: RequestPart,
    ) -> Result<ListPage, HaloError> {
        let url = self.list_url(filter, fields, page, page_size);
        let spec = RequestSpec { part, ..RequestSpec::new(Resource::TicketList, &url, &[]) };
        let search = part.search;
        let read =
            self.get(&spec, move |response| ParsedPage::parse_and_search(&response.body, search)).await?;
        let (mut list, meta) = (read.value, read.meta);
        list.repaired += read.repaired;
        self.options.privacy.apply_to_page(&mut list);
        list.unmapped = list.unmapped.map(|fields| self.clean_names(&fields));
        // Where rows should be, there may be the text of an error.
        for row in list.rejected_rows.iter_mut().filter(|row| self.redactor.finds_secret(&row.rejected.raw)) {
            row.rejected.raw = self.redactor.redact(&row.rejected.raw);
        }
        let memory = read.memory.into_rows(set_aside_large_rows(&mut list));
        Ok(ListPage { list, meta, memory })
    }

    /// Fetches one ticket. 403, 404 and 410 are results, not errors.
    pub async fn fetch_ticket(&self, id: i64) -> Result<(TicketLookup, ResponseMeta), HaloError> {
        let url = self.options.server.endpoint(&format!("/api/tickets/{id}"));
        let TicketDetails { lookup, meta, .. } = self.lookup_ticket(id, &url, SearchedTicket::Plain).await?;
        Ok((lookup, meta))
    }

    /// Fetches one ticket with its custom fields, which some servers send only if details are requested.
    /// 403, 404 and 410 are results, not errors. The agent's view of the ticket is never requested, because
    /// that may mark the ticket as read (`halo-api.md` §3).
    pub async fn fetch_ticket_details(&self, id: i64) -> Result<TicketDetails, HaloError> {
        let mut url = self.options.server.endpoint(&format!("/api/tickets/{id}"));
        url.query_pairs_mut().append_pair("includedetails", "true");
        let details = self.lookup_ticket(id, &url, SearchedTicket::WithDetails).await?;
        if memory_until_stored(ROW_MAX, ROW_MAX) < details.memory.bytes() {
            let (resource, limit) = (Resource::Ticket, ROW_MAX);
            let row = CutRow { id: Some(id), record_count: None };
            return Err(HaloError::TooLarge { resource, limit, row });
        }
        Ok(details)
    }

    /// A response about another ticket is unreadable: it says nothing about this one. A 403 refuses this ticket, whatever
    /// its body: a firewall that blocks everything blocks the list before.
    async fn lookup_ticket(
        &self,
        id: i64,
        url: &Url,
        kind: SearchedTicket,
    ) -> Result<TicketDetails, HaloError> {
        let spec = RequestSpec::new(Resource::Ticket, url, &[403, 404, 410]);
        let search = self.ticket_search.begin(kind);
        let read = move |response: &HttpResponse| match response.status {
            404 | 410 => Ok((TicketLookup::Missing, None)),
            403 => Ok((TicketLookup::Forbidden, None)),
            _ => match parse::parse_ticket_and_search(&response.body, search)? {
                (ticket, unmapped) if ticket.id() == id => {
                    Ok((TicketLookup::Found(Box::new(ticket)), unmapped))
                }
                _ => Err(ParseError::UnexpectedShape { expected: "the ticket that was asked for" }),
            },
        };
        let response = self.get(&spec, read).await;
        if search == FieldSearch::On {
            let unmapped = response.as_ref().ok().and_then(|read| read.value.1.as_ref());
            self.ticket_search.end(kind, unmapped.map(|fields| self.clean_names(fields)));
        }
        let ReadResponse { value: (mut lookup, _), meta, memory, .. } = response?;
        let mut bytes = 0;
        if let TicketLookup::Found(ticket) = &mut lookup {
            self.options.privacy.apply_to_ticket(ticket);
            bytes = row_memory(ticket);
        }
        Ok(TicketDetails { lookup, meta, memory: memory.into_rows(memory_until_stored(bytes, bytes)) })
    }

    /// Fetches the definitions of the custom fields of tickets.
    pub async fn fetch_field_definitions(&self) -> Result<Vec<CustomField>, HaloError> {
        let url = self.options.server.endpoint("/api/FieldInfo");
        let spec = RequestSpec::new(Resource::FieldDefinitions, &url, &[]);
        let read = self.get(&spec, |response| parse::parse_field_definitions(&response.body)).await?;
        Ok(read.value)
    }

    /// Makes names of properties safe to store and to log.
    pub(super) fn clean_names(&self, fields: &UnmappedFields) -> UnmappedFields {
        fields.cleaned(|name| self.server_text(name).into_string())
    }

    /// Splits the custom fields of a query into lists that fit one request each; one empty list if there are
    /// none.
    pub(super) fn split_fields<'q>(&self, query: &'q ListQuery, page: u32, page_size: u32) -> Vec<&'q [i64]> {
        let url = self.list_url(&query.filter, &[], page, page_size);
        let base_length = url.query().unwrap_or_default().len();
        split_to_fit(&query.fields, QUERY_MAX.saturating_sub(base_length + "&include_custom_fields=".len()))
    }

    fn list_url(&self, filter: &Filter, fields: &[i64], page: u32, page_size: u32) -> Url {
        let mut url = self.options.server.endpoint("/api/tickets");
        let mut query = url.query_pairs_mut();
        query.append_pair("pageinate", "true");
        query.append_pair("page_no", &page.to_string());
        query.append_pair("page_size", &page_size.to_string());
        query.append_pair("order", "id");
        query.append_pair("orderdesc", "false");
        let joined = |ids: &[i64]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let (types, from, coverage): (&[i64], _, _) = match filter {
            Filter::All { types, coverage } => (types, None, *coverage),
            Filter::UpdatedFrom { types, from, coverage } => (types, Some(from), *coverage),
            Filter::Ids(ids) => {
                query.append_pair("ticketids", &joined(ids));
                (&[], None, Coverage::Plain)
            }
        };
        match types {
            [] => {}
            [one] => {
                query.append_pair("requesttype_id", &one.to_string());
            }
            several => {
                query.append_pair("requesttype", &joined(several));
            }
        }
        if let Some(from) = from {
            query.append_pair("lastupdatefromdate", &from.to_string());
        }
        match coverage {
            Coverage::Plain => {}
            Coverage::Open => {
                query.append_pair("open_only", "true");
            }
            Coverage::Closed => {
                query.append_pair("closed_only", "true");
            }
        }
        if !fields.is_empty() {
            query.append_pair("include_custom_fields", &joined(fields));
        }
        drop(query);
        url
    }
}

/// Splits numbers into lists of at most `max_chars` characters in a query, where a comma is `%2C`.
fn split_to_fit(numbers: &[i64], max_chars: usize) -> Vec<&[i64]> {
    let mut chunks = Vec::new();
    let (mut first, mut used) = (0, 0);
    for (index, number) in numbers.iter().enumerate() {
        let needed = number.to_string().len() + "%2C".len();
        if first < index && max_chars < used + needed {
            chunks.push(&numbers[first..index]);
            (first, used) = (index, 0);
        }
        used += needed;
    }
    chunks.push(&numbers[first..]);
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_fields_are_split_into_chunks_that_fit_and_none_is_lost() {
        let numbers: Vec<i64> = (95..1_400).collect();
        for max_chars in [0, 5, 6, 100, 1_700] {
            let chunks = split_to_fit(&numbers, max_chars);
            assert_eq!(chunks.concat(), numbers, "{max_chars}");
            for chunk in chunks {
                let joined = chunk.iter().map(ToString::to_string).collect::<Vec<_>>().join("%2C");
                assert!(chunk.len() == 1 || joined.len() <= max_chars, "{max_chars}: {joined}");
            }
        }
        assert_eq!(split_to_fit(&[], 100), [&[] as &[i64]]);
    }
}
