use super::*;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use secrecy::SecretString;

use crate::config::{RateLimit, ServerUrl};
use crate::halo::memory::MEMORY_MAX;
use crate::halo::transport::{Body, HttpRequest, HttpResponse, Transport, TransportError};
use crate::halo::{ClientOptions, Coverage, RateLimiter};
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
    /// Every page has the same row.
    ignores_paging: bool,
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
        let (page, size) =
            if self.ignores_paging { (1, 1) } else { (number("page_no"), number("page_size")) };
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
        narrower_scope: None,
        retry: RetryPolicy {
            max_retries: 5,
            rate_limit_wait: std::time::Duration::from_mins(1),
            max_wait: std::time::Duration::MAX,
        },
        privacy: Arc::default(),
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
    let reasons =
        [(7, UnreadableReason::Invalid), (50, UnreadableReason::TooLarge), (100, UnreadableReason::Invalid)];
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
    assert_eq!(list.record_count, Some(300), "the count is read from what cannot be parsed");
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
async fn page_whose_parts_are_all_the_same_row_fails() {
    let server =
        BrokenRows { tickets: 10, too_large: [1].into(), ignores_paging: true, ..BrokenRows::default() };
    let server = Arc::new(server);
    client(&server).fetch_page(&all(), 1, 100).await.unwrap_err();
    let requests = *server.list_requests.lock().unwrap();
    assert!(requests < 20, "{requests} requests");
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
        list: ParsedPage::parse(format!("{{\"record_count\":3,\"tickets\":[{{\"id\":{id}}}]}}").as_bytes())
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
