//! Splits a page that cannot be read, down to the single row that causes it: one ticket must not block a
//! hundred others, nor the scan.
//!
//! A page of n rows costs at most 2n requests, since every part is split into at least two. A row that cannot be read
//! alone either is an unreadable ticket if its id can be told, from the ids that were requested or from what was
//! received.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use super::list::{Filter, ListPage, ListQuery};
use super::memory::{BudgetPermit, MEMORY_MAX};
use super::request::RequestPart;
use super::{HaloClient, HaloError, ResponseMeta};
use crate::ticket::parse::{ParsedPage, RejectedRow, UnreadableReason, UnreadableTicket};
use crate::ticket::{RejectedValue, Ticket};

/// The most unreadable rows without an id in one page. With more, something other than the rows is the cause, and the
/// page fails.
const UNIDENTIFIED_ROWS_MAX: usize = 5;

/// After so many unreadable rows without a readable one, pages of the list are not split any more: something other
/// than the rows is the cause, and the page fails.
const UNREADABLE_IN_A_ROW_MAX: u32 = 1_000;

/// The most memory for the rows of a page that is fetched in parts; the rest is deferred. What is left of the budget
/// is for the next part.
const PAGE_MEMORY_MAX: usize = MEMORY_MAX / 4 * 3;

/// A page or a part of it: rows by their position in the list, or tickets by their ids.
#[derive(Clone)]
struct PagePart<'q> {
    filter: Cow<'q, Filter>,
    number: u32,
    size: u32,
}

/// The parts of a page that were fetched so far.
#[derive(Default)]
struct PageParts {
    list: ParsedPage,
    /// The response with the first part, which stands for the whole page.
    meta: Option<ResponseMeta>,
    memory: BudgetPermit,
    unidentified_rows: usize,
}

impl HaloClient {
    /// Fetches one page of the list. If the page is too large or cannot be parsed, it is fetched in smaller
    /// parts; a single row that cannot be read becomes an unreadable ticket, or a rejected row if its id cannot be
    /// told. If there are more custom fields than fit one request, the page is fetched once for each part of them.
    pub async fn fetch_page(&self, query: &ListQuery, number: u32, size: u32) -> Result<ListPage, HaloError> {
        let mut page: Option<ListPage> = None;
        for fields in self.split_fields(query, number, size) {
            let held = page.as_ref().map_or(0, |page| page.memory.bytes());
            let whole = PagePart { filter: Cow::Borrowed(&query.filter), number, size };
            let part = self.fetch_or_split(&whole, fields, held).await?;
            match &mut page {
                Some(page) => {
                    page.list.merge_custom_fields(part.list);
                    page.memory.merge(part.memory);
                    page.meta.age = page.meta.age.max(part.meta.age);
                }
                None => page = Some(part),
            }
        }
        page.map_or_else(|| unreachable!("a query has at least one list of fields"), Ok)
    }

    async fn fetch_or_split(
        &self,
        whole: &PagePart<'_>,
        fields: &[i64],
        held: usize,
    ) -> Result<ListPage, HaloError> {
        let error = match self.fetch_part(whole, fields, held, false).await {
            Err(error) if error.should_split_page() => error,
            done => {
                self.record_readability(whole, done.as_ref().ok().map(|page| &page.list));
                return done;
            }
        };
        let (page, size) = (whole.number, whole.size);
        if !whole.is_by_id() && UNREADABLE_IN_A_ROW_MAX <= self.unreadable_in_a_row.load(Ordering::Relaxed) {
            tracing::warn!(page, "no row of the last pages can be read: page {page} is not read row by row");
            return Err(error);
        }
        let mut parts = PageParts::default();
        if whole.is_single_row() {
            parts.add_unreadable_row(whole, error)?;
        } else {
            tracing::info!(page, rows = size, "fetching page {page} in smaller parts: {error}");
            self.fetch_parts(whole, fields, held, &mut parts, error).await?;
        }
        self.record_readability(whole, Some(&parts.list));
        Ok(ListPage {
            list: parts.list,
            meta: parts.meta.unwrap_or_else(|| self.meta_without_response()),
            memory: parts.memory,
        })
    }

    /// Fetches the parts of a page, which failed with `failure`. If the server sends fewer rows than requested, the
    /// positions of the rows after them are unknown, and the page fails.
    async fn fetch_parts(
        &self,
        whole: &PagePart<'_>,
        fields: &[i64],
        held: usize,
        parts: &mut PageParts,
        failure: HaloError,
    ) -> Result<(), HaloError> {
        let mut to_fetch = whole.split();
        while let Some(part) = to_fetch.pop() {
            match self.fetch_part(&part, fields, held + parts.memory.bytes(), true).await {
                Ok(page) => {
                    let end = part.end_reached(&page.list);
                    parts.add(page, part.is_by_id());
                    match end {
                        Some(true) => break,
                        Some(false) => return Err(failure),
                        None => {}
                    }
                }
                Err(error) if !error.should_split_page() => return Err(error),
                Err(error) if part.is_single_row() => parts.add_unreadable_row(&part, error)?,
                Err(_) => to_fetch.extend(part.split()),
            }
        }
        Ok(())
    }

    async fn fetch_part(
        &self,
        part: &PagePart<'_>,
        fields: &[i64],
        held: usize,
        is_after_failure: bool,
    ) -> Result<ListPage, HaloError> {
        let request = RequestPart { held, is_after_failure, is_single_row: part.is_single_row() };
        self.fetch_rows(&part.filter, fields, part.number, part.size, request).await
    }

    /// Counts the unreadable rows since the last readable one.
    fn record_readability(&self, whole: &PagePart<'_>, list: Option<&ParsedPage>) {
        match list {
            Some(list) if !list.tickets.is_empty() => self.unreadable_in_a_row.store(0, Ordering::Relaxed),
            // Tickets that are requested by id may all be known as unreadable.
            Some(list) if !whole.is_by_id() => {
                let rows = u32::try_from(list.unreadable.len()).unwrap_or(u32::MAX);
                self.unreadable_in_a_row.fetch_add(rows, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl<'q> PagePart<'q> {
    /// The ids of the tickets, if they all fit this page.
    fn ids(&self) -> Option<&[i64]> {
        match &*self.filter {
            Filter::Ids(ids) if self.number == 1 && ids.len() <= self.size as usize => Some(ids),
            _ => None,
        }
    }

    fn is_by_id(&self) -> bool {
        self.ids().is_some()
    }

    fn is_single_row(&self) -> bool {
        self.ids().map_or(self.size <= 1, |ids| ids.len() <= 1)
    }

    /// Splits the page into parts of the same size, the last one first.
    fn split(&self) -> Vec<PagePart<'q>> {
        if let Some(ids) = self.ids() {
            let parts = ids.chunks(ids.len().div_ceil(2).max(1)).rev();
            return parts
                .map(|ids| PagePart { filter: Cow::Owned(Filter::Ids(ids.to_vec())), ..*self })
                .collect();
        }
        let split = smallest_divisor(self.size);
        let size = self.size / split;
        let numbers = (self.number - 1) * split + 1..=self.number * split;
        numbers.rev().map(|number| PagePart { filter: self.filter.clone(), number, size }).collect()
    }

    /// Whether the list ends with this part: `None` if more follows, `false` if the server sent fewer rows than
    /// requested although more follow.
    fn end_reached(&self, list: &ParsedPage) -> Option<bool> {
        if self.is_by_id() || self.size as usize <= list.rows_received {
            return None;
        }
        let end = u64::from(self.number) * u64::from(self.size);
        Some(list.record_count.is_some_and(|count| count < end))
    }
}

impl PageParts {
    fn add(&mut self, page: ListPage, is_by_id: bool) {
        let ListPage { mut list, meta, memory } = page;
        let first_meta = self.meta.get_or_insert(meta);
        first_meta.age = first_meta.age.max(meta.age);
        let other_ids = self.list.record_count.filter(|_| is_by_id).unwrap_or(0);
        list.record_count = list.record_count.map(|count| count + other_ids);
        if !self.list.tickets.is_empty() && PAGE_MEMORY_MAX < self.memory.bytes() + memory.bytes() {
            let deferred =
                |ticket: &Ticket| UnreadableTicket { id: ticket.id(), reason: UnreadableReason::Deferred };
            list.unreadable.extend(list.tickets.drain(..).map(|ticket| deferred(&ticket)));
        } else {
            self.memory.merge(memory);
        }
        self.list.append(list);
    }

    fn add_unreadable_row(&mut self, part: &PagePart<'_>, error: HaloError) -> Result<(), HaloError> {
        let id = match part.ids() {
            Some([id]) => Some(*id),
            _ => error.row_id(),
        };
        if let Some(id) = id {
            let reason = match &error {
                HaloError::TooLarge { .. } if error.is_too_large_alone() => UnreadableReason::TooLarge,
                HaloError::TooLarge { .. } => UnreadableReason::Deferred,
                _ => UnreadableReason::Invalid,
            };
            tracing::debug!(id, "the row of ticket {id} cannot be read: {error}");
            self.list.add_unreadable(UnreadableTicket { id, reason });
            if part.is_by_id() {
                self.list.record_count = Some(self.list.record_count.unwrap_or(0) + 1);
            }
            return Ok(());
        }
        self.unidentified_rows += 1;
        if UNIDENTIFIED_ROWS_MAX < self.unidentified_rows {
            return Err(error);
        }
        let after_id = self.list.tickets.last().map(Ticket::id);
        let position = match after_id {
            Some(id) => format!("the row after ticket {id}"),
            None => format!("row {} of the list ordered by id", part.number),
        };
        let rejected =
            RejectedValue { reason: "the row cannot be read", raw: format!("{position}: {error}") };
        let after_id = self.list.tickets.last().map(Ticket::id);
        self.list.rejected_rows.push(RejectedRow { rejected, after_id });
        self.list.rows_received += 1;
        Ok(())
    }
}

/// Returns into how many parts to split a page, so that all parts have the same size.
fn smallest_divisor(size: u32) -> u32 {
    (2..=size).find(|divisor| size.is_multiple_of(*divisor)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};

    use secrecy::SecretString;

    use super::super::memory::MEMORY_MAX;
    use super::super::transport::{Body, HttpRequest, HttpResponse, Transport, TransportError};
    use super::super::{ClientOptions, Coverage, RateLimiter};
    use crate::config::{RateLimit, ServerUrl};
    use crate::retry::RetryPolicy;

    /// A server with the tickets 1 to `tickets`, some of whose rows are broken or too large.
    #[derive(Default)]
    struct BrokenRows {
        tickets: i64,
        /// No JSON after their id.
        broken: BTreeSet<i64>,
        /// No JSON before their id.
        unidentified: BTreeSet<i64>,
        too_large: BTreeSet<i64>,
        list_requests: Mutex<usize>,
    }

    impl BrokenRows {
        fn respond(&self, request: &HttpRequest) -> Result<Vec<u8>, TransportError> {
            if request.form.is_some() {
                return Ok(br#"{"access_token":"t","expires_in":3600}"#.to_vec());
            }
            *self.list_requests.lock().unwrap() += 1;
            let parameter = |wanted: &str| {
                let mut pairs = request.url.query_pairs();
                pairs.find_map(|(name, value)| (name == wanted).then_some(value.into_owned()))
            };
            let number = |name| parameter(name).and_then(|value| value.parse::<usize>().ok()).unwrap_or(1);
            let ids: Vec<i64> = match parameter("ticketids") {
                Some(ids) => ids.split(',').map(|id| id.parse().unwrap()).collect(),
                None => (1..=self.tickets).collect(),
            };
            let (page, size) = (number("page_no"), number("page_size"));
            let row = |id: &i64| {
                if self.broken.contains(id) {
                    format!("{{\"id\":{id},\"summary\":}}")
                } else if self.unidentified.contains(id) {
                    format!("{{\"summary\":,\"id\":{id}}}")
                } else {
                    format!("{{\"id\":{id}}}")
                }
            };
            let shown: Vec<i64> = ids.iter().skip((page - 1) * size).take(size).copied().collect();
            let rows: Vec<String> = shown.iter().map(row).collect();
            let body = format!("{{\"record_count\":{},\"tickets\":[{}]}}", ids.len(), rows.join(","));
            if shown.iter().any(|id| self.too_large.contains(id)) {
                let received = Body::from(body.as_bytes()[..body.len() - 2].to_vec());
                return Err(TransportError::TooLarge { received });
            }
            Ok(body.into_bytes())
        }
    }

    impl Transport for BrokenRows {
        fn send(
            &self,
            request: HttpRequest,
        ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>> {
            let response = self.respond(&request).map(|body| HttpResponse {
                status: 200,
                date: None,
                retry_after: None,
                location: None,
                age: None,
                body: body.into(),
                took: std::time::Duration::ZERO,
            });
            Box::pin(std::future::ready(response))
        }
    }

    fn client(server: &Arc<BrokenRows>) -> HaloClient {
        let options = ClientOptions {
            server: ServerUrl::parse("http://127.0.0.1").unwrap(),
            tenant: None,
            auth_url: Some("http://127.0.0.1/auth".parse().unwrap()),
            client_id: String::new(),
            client_secret: SecretString::from(String::new()),
            scope: String::new(),
            retry: RetryPolicy {
                max_retries: 5,
                rate_limit_wait: std::time::Duration::from_mins(1),
                max_wait: std::time::Duration::MAX,
            },
        };
        let limit = RateLimit { requests: 1_000_000, window: std::time::Duration::from_secs(1) };
        let transport: Arc<dyn Transport> = Arc::<BrokenRows>::clone(server);
        HaloClient::new(transport, RateLimiter::new(limit, 0), options, || 0.5)
    }

    fn all() -> ListQuery {
        Filter::All { types: Vec::new(), coverage: Coverage::default() }.into()
    }

    fn ids(list: &ParsedPage) -> Vec<i64> {
        list.tickets.iter().map(Ticket::id).collect()
    }

    fn unreadable(list: &ParsedPage) -> Vec<(i64, UnreadableReason)> {
        list.unreadable.iter().map(|ticket| (ticket.id, ticket.reason)).collect()
    }

    #[test]
    fn page_is_split_until_one_row_is_left() {
        for (size, steps) in [(100, vec![50, 25, 5, 1]), (70, vec![35, 7, 1]), (73, vec![1])] {
            let mut sizes = vec![];
            let mut left = size;
            while 1 < left {
                left /= smallest_divisor(left);
                sizes.push(left);
            }
            assert_eq!(sizes, steps, "{size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unreadable_rows_of_a_page_cost_only_themselves() {
        let server = Arc::new(BrokenRows {
            tickets: 250,
            broken: [7, 100].into(),
            too_large: [50].into(),
            ..BrokenRows::default()
        });
        let list = client(&server).fetch_page(&all(), 1, 100).await.unwrap().list;
        let expected: Vec<i64> = (1..=99).filter(|id| ![7, 50].contains(id)).collect();
        assert_eq!(ids(&list), expected);
        let reasons = [
            (7, UnreadableReason::Invalid),
            (50, UnreadableReason::TooLarge),
            (100, UnreadableReason::Invalid),
        ];
        assert_eq!(unreadable(&list), reasons);
        assert_eq!((list.rows_received, list.record_count, list.rejected_rows.len()), (100, Some(250), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn page_without_any_readable_row_costs_two_requests_a_row_at_most() {
        let server = BrokenRows { tickets: 300, broken: (1..=100).collect(), ..BrokenRows::default() };
        let server = Arc::new(server);
        let client = client(&server);
        let list = client.fetch_page(&all(), 1, 100).await.unwrap().list;
        assert_eq!((ids(&list), list.unreadable.len(), list.rows_received), (vec![], 100, 100));
        // The page is tried three times, its parts once.
        assert_eq!(*server.list_requests.lock().unwrap(), 3 + 2 + 4 + 20 + 100);
        let list = client.fetch_page(&all(), 2, 100).await.unwrap().list;
        assert_eq!(list.tickets.len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn too_large_page_is_not_requested_again() {
        let server = Arc::new(BrokenRows { tickets: 2, too_large: [1, 2].into(), ..BrokenRows::default() });
        let list = client(&server).fetch_page(&all(), 1, 2).await.unwrap().list;
        assert_eq!(unreadable(&list), [1, 2].map(|id| (id, UnreadableReason::TooLarge)));
        assert_eq!(*server.list_requests.lock().unwrap(), 3);
        client(&server).fetch_list(&all().filter, 1, 2).await.unwrap_err();
        assert_eq!(*server.list_requests.lock().unwrap(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn row_whose_id_cannot_be_told_is_a_rejected_row_with_its_position() {
        let server = Arc::new(BrokenRows { tickets: 10, unidentified: [4].into(), ..BrokenRows::default() });
        let list = client(&server).fetch_page(&all(), 1, 10).await.unwrap().list;
        assert_eq!((list.tickets.len(), list.unreadable.len(), list.rows_received), (9, 0, 10));
        assert_eq!(list.rejected_rows[0].after_id, Some(3));

        let unidentified = (1..=10).collect();
        let server = Arc::new(BrokenRows { tickets: 10, unidentified, ..BrokenRows::default() });
        let error = client(&server).fetch_page(&all(), 1, 10).await.unwrap_err();
        assert!(matches!(error, HaloError::Unreadable(_)), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn tickets_by_id_are_split_by_id() {
        // Here the ids need not be received.
        let server = BrokenRows {
            tickets: 500,
            unidentified: [204].into(),
            too_large: [299].into(),
            ..BrokenRows::default()
        };
        let server = Arc::new(server);
        let client = client(&server);
        let query = ListQuery::from(Filter::Ids((201..=300).collect()));
        let list = client.fetch_page(&query, 1, 100).await.unwrap().list;
        assert_eq!(ids(&list), (201..=300).filter(|id| ![204, 299].contains(id)).collect::<Vec<_>>());
        let reasons = [(204, UnreadableReason::Invalid), (299, UnreadableReason::TooLarge)];
        assert_eq!(unreadable(&list), reasons);
        assert_eq!((list.rows_received, list.record_count), (100, Some(100)));

        *server.list_requests.lock().unwrap() = 0;
        let list = client.fetch_page(&Filter::Ids(vec![299]).into(), 1, 100).await.unwrap().list;
        assert_eq!((unreadable(&list), list.record_count), (vec![reasons[1]], Some(1)));
        assert_eq!(*server.list_requests.lock().unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn list_of_unreadable_rows_only_is_given_up() {
        let server =
            Arc::new(BrokenRows { tickets: 2_000, broken: (1..=1_900).collect(), ..BrokenRows::default() });
        let client = client(&server);
        for page in 1..=10 {
            client.fetch_page(&all(), page, 100).await.unwrap();
        }
        *server.list_requests.lock().unwrap() = 0;
        client.fetch_page(&all(), 11, 100).await.unwrap_err();
        assert_eq!(*server.list_requests.lock().unwrap(), 3, "the page was split");
        // Tickets that are asked for by id may be known as unreadable.
        let list = client.fetch_page(&Filter::Ids(vec![1, 2]).into(), 1, 100).await.unwrap().list;
        assert_eq!(list.unreadable.len(), 2);
        client.fetch_page(&all(), 20, 100).await.unwrap();
        let list = client.fetch_page(&all(), 12, 100).await.unwrap().list;
        assert_eq!(list.unreadable.len(), 100, "a readable row did not begin the count anew");
    }

    #[test]
    fn rows_beyond_the_memory_for_one_page_are_deferred() {
        let page = |id: i64, bytes: usize| ListPage {
            list: ParsedPage::parse(
                format!("{{\"record_count\":3,\"tickets\":[{{\"id\":{id}}}]}}").as_bytes(),
            )
            .unwrap(),
            meta: ResponseMeta {
                request_no: 1,
                arrival_no: 1,
                date: None,
                took: std::time::Duration::ZERO,
                bytes,
                age: None,
            },
            memory: BudgetPermit::of_rows(bytes),
        };
        let mut parts = PageParts::default();
        parts.add(page(1, MEMORY_MAX), false);
        parts.add(page(2, 1), false);
        assert_eq!((ids(&parts.list), parts.memory.bytes()), (vec![1], MEMORY_MAX));
        assert_eq!(unreadable(&parts.list), [(2, UnreadableReason::Deferred)]);
        assert_eq!((parts.list.rows_received, parts.list.record_count), (2, Some(3)));
    }
}
