//! What is asked of the server: the ticket list, one ticket, the names of statuses and types.

use url::Url;

use super::{Errand, Halo, HaloError, Receipt};
use crate::ticket::parse::{self, List, Named};
use crate::ticket::{CustomField, Stamp, Ticket};

/// What the ticket list is for, in messages.
pub(super) const LIST: &str = "the ticket list";

/// Which tickets the list is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All of these types; no types is all.
    All {
        /// Ticket type ids.
        types: Vec<i64>,
        /// Which of them.
        coverage: Coverage,
    },
    /// Those of these types that were updated at or after an instant.
    UpdatedFrom {
        /// Ticket type ids.
        types: Vec<i64>,
        /// The instant.
        from: Stamp,
        /// Which of them.
        coverage: Coverage,
    },
    /// Exactly these.
    Ids(Vec<i64>),
}

/// Which tickets a list covers. What the plain list leaves out differs between servers: some show open
/// and recently closed tickets only (`halo-api.md` §2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// What the server shows when nothing is said about it.
    #[default]
    Plain,
    /// Open tickets.
    Open,
    /// Closed tickets.
    Closed,
}

/// Which tickets the list is to hold, and which custom fields its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Which tickets.
    pub filter: Filter,
    /// The numbers of the custom fields; none are asked for where there are none.
    pub fields: Vec<i64>,
}

impl From<Filter> for ListQuery {
    fn from(filter: Filter) -> ListQuery {
        ListQuery { filter, fields: Vec::new() }
    }
}

/// The query of a request is no longer than this; what does not fit is asked for by further ones.
const QUERY_MAX: usize = 1_800;

/// A page of the list.
#[derive(Debug)]
pub struct Listed {
    /// What it holds.
    pub list: List,
    /// Which request it answers.
    pub receipt: Receipt,
}

/// What the server says of one ticket.
#[derive(Debug)]
pub enum Single {
    /// It is there.
    Found(Box<Ticket>),
    /// 404 or 410.
    Missing,
    /// 403.
    Forbidden,
}

impl Halo {
    /// One page of the list, in order of id. Paging is honoured only where `pageinate` and `page_no`
    /// are both sent, and the default order is not fixed (`halo-api.md` §2.1, §2.2).
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn list(&self, filter: &Filter, page: u32, page_size: u32) -> Result<Listed, HaloError> {
        self.list_with(filter, &[], page, page_size).await
    }

    /// The same with some custom fields in its rows, where the server knows how (`halo-api.md` §2.6).
    pub(super) async fn list_with(
        &self,
        filter: &Filter,
        fields: &[i64],
        page: u32,
        page_size: u32,
    ) -> Result<Listed, HaloError> {
        let url = self.list_url(filter, fields, page, page_size);
        let errand = Errand { what: LIST, url: &url, also: &[] };
        let (list, receipt) = self.get(&errand, |answer| List::read(&answer.body)).await?;
        Ok(Listed { list, receipt })
    }

    /// One ticket.
    ///
    /// # Errors
    /// [`HaloError`]; 403 and 404 are answers.
    pub async fn ticket(&self, id: i64) -> Result<(Single, Receipt), HaloError> {
        self.single(self.terms.server.at(&format!("/api/tickets/{id}"))).await
    }

    /// One ticket with all that it tells alone, its custom fields above all. Some servers tell them only
    /// when asked for details; the screen of a person is never asked for, because that may mark the ticket
    /// as read (`halo-api.md` §3).
    ///
    /// # Errors
    /// [`HaloError`]; 403 and 404 are answers.
    pub async fn detail(&self, id: i64) -> Result<(Single, Receipt), HaloError> {
        let mut url = self.terms.server.at(&format!("/api/tickets/{id}"));
        url.query_pairs_mut().append_pair("includedetails", "true");
        self.single(url).await
    }

    async fn single(&self, url: Url) -> Result<(Single, Receipt), HaloError> {
        let errand = Errand { what: "a ticket", url: &url, also: &[403, 404, 410] };
        self.get(&errand, |answer| match answer.status {
            404 | 410 => Ok(Single::Missing),
            403 => Ok(Single::Forbidden),
            _ => parse::single(&answer.body).map(|ticket| Single::Found(Box::new(ticket))),
        })
        .await
    }

    /// The names of the statuses. `open_only` asks to leave the closed ones out, which a server may
    /// ignore (`halo-api.md` §4.1).
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn statuses(&self, open_only: bool) -> Result<Vec<Named>, HaloError> {
        let mut url = self.terms.server.at("/api/status");
        url.query_pairs_mut().append_pair("showall", "true");
        if open_only {
            url.query_pairs_mut().append_pair("excludeclosed", "true");
        }
        self.names("the status list", &url).await
    }

    /// The names of the ticket types, those of inactive ones included.
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn ticket_types(&self) -> Result<Vec<Named>, HaloError> {
        let mut url = self.terms.server.at("/api/tickettype");
        url.query_pairs_mut().append_pair("showall", "true").append_pair("showinactive", "true");
        self.names("the list of ticket types", &url).await
    }

    /// The definitions of the custom fields of tickets.
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn field_definitions(&self) -> Result<Vec<CustomField>, HaloError> {
        let url = self.terms.server.at("/api/FieldInfo");
        let errand = Errand { what: "the list of custom fields", url: &url, also: &[] };
        let (definitions, _) = self.get(&errand, |answer| parse::field_definitions(&answer.body)).await?;
        Ok(definitions)
    }

    /// Cuts the custom fields of a query into lists that are short enough for one request each; one empty
    /// list where there are none.
    pub(super) fn cut<'q>(&self, query: &'q ListQuery, page: u32, page_size: u32) -> Vec<&'q [i64]> {
        let url = self.list_url(&query.filter, &[], page, page_size);
        let without = url.query().unwrap_or_default().len();
        cut(&query.fields, QUERY_MAX.saturating_sub(without + "&include_custom_fields=".len()))
    }

    async fn names(&self, what: &'static str, url: &Url) -> Result<Vec<Named>, HaloError> {
        let errand = Errand { what, url, also: &[] };
        let (names, _) = self.get(&errand, |answer| parse::named(&answer.body)).await?;
        Ok(names)
    }

    fn list_url(&self, filter: &Filter, fields: &[i64], page: u32, page_size: u32) -> Url {
        let mut url = self.terms.server.at("/api/tickets");
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

/// Cuts numbers into lists of so many characters at most, as a query spells them: a comma is `%2C` there.
fn cut(numbers: &[i64], room: usize) -> Vec<&[i64]> {
    let mut lists = Vec::new();
    let (mut first, mut taken) = (0, 0);
    for (place, number) in numbers.iter().enumerate() {
        let more = number.to_string().len() + "%2C".len();
        if first < place && room < taken + more {
            lists.push(&numbers[first..place]);
            (first, taken) = (place, 0);
        }
        taken += more;
    }
    lists.push(&numbers[first..]);
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_fields_is_cut_into_parts_that_fit_and_none_is_lost() {
        let numbers: Vec<i64> = (95..1_400).collect();
        for room in [0, 5, 6, 100, 1_700] {
            let lists = cut(&numbers, room);
            assert_eq!(lists.concat(), numbers, "{room}");
            for list in lists {
                let spelled = list.iter().map(ToString::to_string).collect::<Vec<_>>().join("%2C");
                assert!(list.len() == 1 || spelled.len() <= room, "{room}: {spelled}");
            }
        }
        assert_eq!(cut(&[], 100), [&[] as &[i64]]);
    }
}
