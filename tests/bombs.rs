//! Memory is bounded whatever the server sends: many large answers at once, answers that are too large, and small ones
//! that grow when they are decompressed or parsed.

#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use halosync::config::{RateLimit, ServerUrl};
use halosync::halo::{
    ClientOptions, Coverage, Filter, HaloClient, HaloError, HttpOptions, HttpTransport, ListQuery,
    RateLimiter,
};
use halosync::reference::{STATUSES, TICKET_TYPES};
use halosync::retry::RetryPolicy;
use halosync::ticket::parse::{ParsedPage, UnreadableReason};
use rstest::rstest;
use support::fixture_server::{FixtureServer, PreparedResponse};
use support::test_env::{CommandResult, TestEnv};

/// The most memory that the program may ever use, in bytes.
const PEAK_MAX: u64 = 150_000_000;

const LIST: &str = "/api/tickets";

fn json(body: Vec<u8>) -> PreparedResponse {
    PreparedResponse { status: 200, headers: vec![("content-type".into(), "application/json".into())], body }
}

fn gzipped(answer: &PreparedResponse) -> PreparedResponse {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&answer.body).unwrap();
    let body = encoder.finish().unwrap();
    PreparedResponse { body, ..answer.clone() }.with_header("content-encoding", "gzip")
}

/// A page with one ticket whose text has so many bytes.
fn page_with_text(id: i64, bytes: usize) -> PreparedResponse {
    let text = "x".repeat(bytes);
    json(format!(r#"{{"record_count":1,"tickets":[{{"id":{id},"details":"{text}"}}]}}"#).into_bytes())
}

/// A page with one ticket whose text has so many bytes, and defects.
fn page_with_defects(bytes: usize, defects: usize, defect: &[u8]) -> PreparedResponse {
    let page = page_with_text(1, bytes);
    let end = page.body.len() - r#""}]}"#.len();
    let body = [&page.body[..end], &defect.repeat(defects), &page.body[end..]].concat();
    json(body)
}

/// A page with rows.
fn page_of(rows: usize, row: impl Fn(usize) -> String) -> PreparedResponse {
    let mut body = format!(r#"{{"record_count":{rows},"tickets":["#);
    write_elements(&mut body, rows, row);
    body.push('}');
    json(body.into_bytes())
}

/// A page with eight tickets of 6 MiB.
fn page_of_48_mib() -> PreparedResponse {
    let text = "x".repeat(6 << 20);
    page_of(8, |row| format!(r#"{{"id":{},"details":"{text}"}}"#, row + 1))
}

/// An array.
fn array_of(elements: usize, element: impl Fn(usize) -> String) -> String {
    let mut body = "[".to_owned();
    write_elements(&mut body, elements, element);
    body
}

fn write_elements(body: &mut String, elements: usize, element: impl Fn(usize) -> String) {
    for number in 0..elements {
        let comma = if number == 0 { "" } else { "," };
        write!(body, "{comma}{}", element(number)).unwrap();
    }
    body.push(']');
}

// ---- The client ----

fn client(url: &str, auth_url: bool) -> HaloClient {
    let options = ClientOptions {
        server: ServerUrl::parse(url).unwrap(),
        tenant: None,
        auth_url: auth_url.then(|| format!("{url}/auth").parse().unwrap()),
        client_id: "fixture-client".into(),
        client_secret: "fixture-secret-of-nobody".to_owned().into(),
        scope: "read:tickets".into(),
        narrower_scope: None,
        retry: RetryPolicy {
            max_retries: 5,
            rate_limit_wait: Duration::from_secs(1),
            max_wait: Duration::MAX,
        },
        privacy: Arc::default(),
    };
    let http = HttpOptions {
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_mins(2),
        loopback: true,
        ..HttpOptions::default()
    };
    let limit = RateLimit { requests: 100_000, window: Duration::from_secs(1) };
    let transport = Arc::new(HttpTransport::new(&http).unwrap());
    HaloClient::new(transport, RateLimiter::new(limit, 0), options, || 0.01)
}

fn server_with(list: Vec<PreparedResponse>) -> FixtureServer {
    FixtureServer::serve([("/auth/token", vec![PreparedResponse::page("token-ok.json")]), (LIST, list)])
}

fn all() -> ListQuery {
    Filter::All { types: Vec::new(), coverage: Coverage::default() }.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_that_do_not_fit_together_are_read_one_by_one() {
    let server = server_with(vec![page_of_48_mib()]);
    let client = Arc::new(client(&server.url(), true));
    let fetches: Vec<_> = (0..4)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                let page = client.fetch_page(&all(), 1, 100).await.unwrap();
                assert!(48 << 20 < page.memory.bytes());
                page.list.tickets.len()
            })
        })
        .collect();
    for fetch in fetches {
        assert_eq!(fetch.await.unwrap(), 8);
    }
    let requests = server.requests_for(LIST).len();
    assert!(requests <= 8, "{requests} requests: each answer is requested twice at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_kept_do_not_block_the_next_answer() {
    let server = server_with(vec![page_of_48_mib(), page_with_text(100, 6 << 20)]);
    let client = client(&server.url(), true);
    let kept = client.fetch_page(&all(), 1, 1).await.unwrap();
    let squeezed = client.fetch_page(&all(), 2, 1).await.unwrap().list;
    assert_eq!(squeezed.unreadable.len(), 1, "it fits beside the rows of the other page");
    assert_eq!((squeezed.unreadable[0].id, squeezed.unreadable[0].reason), (100, UnreadableReason::Deferred));
    drop(kept);
    assert_eq!(client.fetch_page(&all(), 2, 1).await.unwrap().list.tickets.len(), 1);
}

#[rstest]
#[case::plain(false)]
#[case::gzipped(true)]
#[tokio::test]
async fn ticket_of_70_mb_is_too_large_at_once_and_known_by_its_id(#[case] is_gzipped: bool) {
    let answer = page_with_text(4711, 70_000_000);
    let server = server_with(vec![if is_gzipped { gzipped(&answer) } else { answer }]);
    let client = client(&server.url(), true);
    let list = client.fetch_page(&all(), 1, 1).await.unwrap().list;
    assert_eq!(list.unreadable.len(), 1);
    assert_eq!((list.unreadable[0].id, list.unreadable[0].reason), (4711, UnreadableReason::TooLarge));
    assert_eq!(server.requests_for(LIST).len(), 1);
    let error = client.fetch_list(&all().filter, 1, 100).await.unwrap_err();
    assert_eq!(error.to_string(), "the response for the ticket list exceeds the limit of 64 MiB");
    assert_eq!(server.requests_for(LIST).len(), 2);
}

#[tokio::test]
async fn reference_list_may_have_32_mib() {
    let names = |bytes: usize| json(format!(r#"[{{"id":1,"name":"{}"}}]"#, "x".repeat(bytes)).into_bytes());
    let server = FixtureServer::serve([
        ("/auth/token", vec![PreparedResponse::page("token-ok.json")]),
        ("/api/status", vec![names(33 << 20)]),
        ("/api/tickettype", vec![names(31 << 20)]),
    ]);
    let client = client(&server.url(), true);
    let error = client.fetch_reference_list(STATUSES).await.unwrap_err();
    assert_eq!(error.to_string(), "the response for the status list exceeds the limit of 32 MiB");
    assert_eq!(server.requests_for("/api/status").len(), 1, "it was requested again");
    client.fetch_reference_list(TICKET_TYPES).await.unwrap();
}

/// The server sends the start of a long error body and then nothing more.
#[tokio::test]
async fn error_body_is_received_no_further_than_64_kib() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            std::thread::spawn(move || {
                let mut request = [0; 4_096];
                let _ = connection.read(&mut request);
                if request.starts_with(b"POST") {
                    let token = r#"{"access_token":"a-token"}"#;
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{token}", token.len());
                    let _ = connection.write_all(head.as_bytes());
                    return;
                }
                let head =
                    "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: 10000000\r\n\r\n";
                let _ = connection.write_all(head.as_bytes());
                let _ = connection.write_all("no access ".repeat(6_600).as_bytes());
                // Until the other side closes the connection.
                let _ = connection.read(&mut request);
            });
        }
    });
    let started = Instant::now();
    let error = client(&url, true).fetch_list(&all().filter, 1, 100).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10), "the rest was waited for");
    assert!(matches!(&error, HaloError::Refused { status: 403, message: Some(_), .. }), "{error:?}");
}

#[tokio::test]
async fn token_and_authinfo_of_many_arrays_are_unreadable() {
    let arrays = json(array_of(2_000_000, |_| "[]".into()).into_bytes());
    let server = FixtureServer::serve([
        ("/api/authinfo", vec![gzipped(&arrays)]),
        ("/auth/token", vec![arrays.clone(), arrays.clone(), arrays]),
    ]);
    let error = client(&server.url(), false).fetch_list(&all().filter, 1, 100).await.unwrap_err();
    assert!(error.is_token_error(), "{error:?}");
    assert_eq!(error.to_string(), "unexpected response for a token (status 200, 65536 bytes)");
    assert_eq!(server.requests_for("/api/authinfo").len(), 1);
}

#[tokio::test]
async fn every_request_refuses_cached_answers_and_age_is_passed_on() {
    let page = PreparedResponse::page("list-empty.json");
    let server = server_with(vec![
        page.clone(),
        page.clone().with_header("age", "0"),
        page.clone().with_header("age", "12"),
        page.with_header("age", "yesterday"),
    ]);
    let client = client(&server.url(), false);
    let mut ages = Vec::new();
    for _ in 0..4 {
        let meta = client.fetch_list(&all().filter, 1, 100).await.unwrap().meta;
        ages.push((meta.age, meta.is_aged()));
    }
    assert_eq!(ages, [(None, false), (Some(0), false), (Some(12), true), (None, false)]);
    assert_eq!(server.requests().len(), 6, "authinfo, token, and four pages");
    for seen in server.requests() {
        assert_eq!(seen.cache_control.as_deref(), Some("no-cache"), "{} {}", seen.method, seen.path);
    }
}

#[tokio::test]
async fn long_answer_is_parsed_beside_the_event_loop() {
    let answer = page_of(1, |_| format!(r#"{{"id":1,"extra":{}}}"#, array_of(12_000_000, |_| "[]".into())));
    let started = Instant::now();
    ParsedPage::parse(&answer.body).unwrap();
    let parsing = started.elapsed();
    let server = server_with(vec![answer]);
    let client = client(&server.url(), true);
    // The client runs on one thread.
    let query = all();
    let fetch = client.fetch_list(&query.filter, 1, 100);
    tokio::pin!(fetch);
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    loop {
        tokio::select! {
            page = &mut fetch => {
                assert_eq!(page.unwrap().list.tickets.len(), 1);
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    assert!(longest < parsing / 2, "the loop stood still for {longest:?}; parsing takes {parsing:?}");
}

// ---- The program ----

fn env_for(server: &FixtureServer) -> TestEnv<()> {
    let settings = "max_retries = 1\nrate_limit = \"100000/1s\"\ninclude_custom_fields = true\n";
    TestEnv::for_server(&server.url(), settings)
}

/// One program at a time: how much freed memory the allocator keeps depends on how busy the machine is.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a sync; returns how it ended, and its peak memory in bytes.
fn sync_in(env: &TestEnv<()>) -> (CommandResult, u64) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut child = env.command(&["sync"]).spawn().unwrap();
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    while child.try_wait().unwrap().is_none() {
        // The kernel keeps the highest value, so nothing between two looks is missed.
        let status = fs::read_to_string(&status_file).unwrap_or_default();
        // Before it runs the program, the new process has the memory of the test.
        let is_program = status.starts_with("Name:\thalosync\n");
        let peak = status.lines().filter(|_| is_program).find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak_kib = peak_kib.max(peak.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    (CommandResult::of(child), peak_kib * 1024)
}

/// Appends a line to the file named by `HALOSYNC_BOMBS_TABLE`, if it is set: the table in `docs/performance.md` comes
/// from there.
fn record_peak(form: &str, on_the_wire: usize, peak_mb: u64, status: Option<i32>) {
    let Ok(path) = std::env::var("HALOSYNC_BOMBS_TABLE") else { return };
    let thread = std::thread::current();
    let (bomb, status) = (thread.name().unwrap_or_default(), status.unwrap_or(-1));
    let line = format!("| `{bomb}` | {form} | {on_the_wire} | {peak_mb} | {status} |\n");
    fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
}

/// A server with these answers; the others are small.
fn server_answering(answers: Vec<(&'static str, Vec<PreparedResponse>)>) -> FixtureServer {
    let status_list = json(br#"[{"id":1,"name":"New","type":0}]"#.to_vec());
    let mut all = vec![
        ("/auth/token", vec![PreparedResponse::page("token-ok.json")]),
        ("/api/status", vec![status_list.clone()]),
        ("/api/tickettype", vec![status_list]),
        ("/api/FieldInfo", vec![json(b"[]".to_vec())]),
        (LIST, vec![page_of(1, |_| r#"{"id":1,"summary":"x"}"#.into())]),
    ];
    // Of two answers for one path the last one counts.
    all.extend(answers);
    FixtureServer::serve(all)
}

/// Asserts how a sync ended that was to exhaust the memory.
fn assert_bounded(form: &str, on_the_wire: usize, (result, peak): (CommandResult, u64)) {
    let peak_mb = peak / 1_000_000;
    record_peak(form, on_the_wire, peak_mb, result.status);
    assert!(matches!(result.status, Some(0..=99)), "{form}: {result:?}");
    assert!(peak <= PEAK_MAX, "{form}: {peak_mb} MB with {on_the_wire} bytes on the wire: {result:?}");
}

/// Runs a sync against a server with this answer, plain and compressed.
fn assert_peak(path: &'static str, answer: &PreparedResponse) {
    for (form, answer) in [("plain", answer.clone()), ("gzipped", gzipped(answer))] {
        let on_the_wire = answer.body.len();
        let server = server_answering(vec![(path, vec![answer])]);
        assert_bounded(form, on_the_wire, sync_in(&env_for(&server)));
        assert!(!server.requests_for(path).is_empty(), "{form}: not requested");
    }
}

#[rstest]
#[case::five_megabytes(1_700_000)]
#[case::up_to_the_budget(20_000_000)]
#[case::beyond_the_budget(35_000_000)]
fn rows_without_content(#[case] rows: usize) {
    assert_peak(LIST, &page_of(rows, |_| "{}".into()));
}

#[test]
fn rows_of_numbers_and_null() {
    assert_peak(LIST, &page_of(15_000_000, |number| ["1", "null"][number % 2].into()));
}

#[test]
fn distinct_ids_on_one_page() {
    assert_peak(LIST, &page_of(200_000, |number| format!(r#"{{"id":{}}}"#, number + 1)));
}

#[test]
fn rows_without_id() {
    assert_peak(LIST, &page_of(2_000_000, |_| r#"{"summary":"x"}"#.into()));
}

#[test]
fn empty_custom_fields_in_one_row() {
    assert_peak(
        LIST,
        &page_of(1, |_| format!(r#"{{"id":1,"customfields":{}}}"#, array_of(10_000_000, |_| "{}".into()))),
    );
}

#[test]
fn custom_fields_in_one_row() {
    let field = |n| format!(r#"{{"id":{n},"name":"CFa","value":"x"}}"#);
    assert_peak(
        LIST,
        &page_of(1, |_| format!(r#"{{"id":1,"customfields":{}}}"#, array_of(1_000_000, field))),
    );
}

/// Its rows do not fit beside those of another one: who keeps one while it asks for the next waits for its own memory.
#[test]
fn page_of_large_rows() {
    let text = "x".repeat(5 << 20);
    let page = page_of(8, |row| format!(r#"{{"id":{},"details":"{text}"}}"#, row + 1));
    let on_the_wire = page.body.len();
    let server = server_answering(vec![(LIST, vec![page])]);
    let env = env_for(&server);
    assert_bounded("plain", on_the_wire, sync_in(&env));
    assert_eq!(env.texts("SELECT count(*) || '' FROM tickets"), ["8"]);
    let requests = server.requests_for(LIST).len();
    assert!(requests <= 8, "{requests} requests for a list of one page");
}

#[test]
fn ticket_of_60_mb() {
    assert_peak(LIST, &page_with_text(1, 60_000_000));
}

#[rstest]
#[case::lone_surrogate(br"\ud800")]
#[case::invalid_utf8(b"\xff")]
#[case::nul(b"\0")]
fn ticket_of_60_mb_with_text_to_repair(#[case] defect: &[u8]) {
    assert_peak(LIST, &page_with_defects(60_000_000, 1, defect));
}

#[rstest]
#[case::that_fit_after_repair(20_000_000)]
#[case::that_do_not(60_000_000)]
fn page_of_nuls(#[case] bytes: usize) {
    assert_peak(LIST, &page_with_defects(0, bytes, b"\0"));
}

/// The custom fields of sixteen tickets, each as large as a row may be.
#[test]
fn custom_fields_of_many_tickets() {
    let value = "x".repeat(900);
    let fields = array_of(4_000, |n| format!(r#"{{"id":{n},"name":"CFa","value":"{value}"}}"#));
    let list = page_of(16, |row| format!(r#"{{"id":{}}}"#, row + 1));
    let mut answers = vec![(LIST, vec![list])];
    for id in 1..=16 {
        let detail = json(format!(r#"{{"id":{id},"customfields":{fields}}}"#).into_bytes());
        answers.push((&*format!("/api/tickets/{id}").leak(), vec![detail]));
    }
    let on_the_wire = answers.iter().map(|(_, answers)| answers[0].body.len()).sum();
    let server = server_answering(answers);
    let env = env_for(&server);
    assert_bounded("plain", on_the_wire, sync_in(&env));
    assert_eq!(env.texts("SELECT count(*) || '' FROM custom_fields"), ["64000"]);
}

/// The list is asked for some custom fields at a time, and a ticket has a large one each time.
#[test]
fn large_custom_fields_in_every_part_of_a_request() {
    let definitions = array_of(2_000, |n| format!(r#"{{"id":{},"name":"CFa"}}"#, n + 1));
    let value = "x".repeat(9_000_000);
    let page =
        |field| page_of(1, |_| format!(r#"{{"id":1,"customfields":[{{"id":{field},"value":"{value}"}}]}}"#));
    let pages: Vec<_> = (1..=40).map(page).collect();
    let on_the_wire = pages[0].body.len();
    let server =
        server_answering(vec![("/api/FieldInfo", vec![json(definitions.into_bytes())]), (LIST, pages)]);
    let (result, peak) = sync_in(&env_for(&server));
    assert_eq!(result.status, Some(3), "one ticket is too large: {result:?}");
    assert_bounded("plain", on_the_wire, (result, peak));
    assert!(10 < server.requests_for(LIST).len(), "the custom fields were not requested in parts");
}

/// The text of a ticket is as large as it may be, and then it is another one. In a change record a control character takes
/// six bytes.
#[rstest]
#[case::control_characters(r"\u0001", 2_000_000)]
#[case::plain_text("x", 12_000_000)]
fn change_of_a_large_ticket(#[case] character: &str, #[case] times: usize) {
    let text = character.repeat(times);
    let page = |end: &str, updated: &str| {
        page_of(1, |_| format!(r#"{{"id":1,"details":"{text}{end}","last_update":"{updated}"}}"#))
    };
    let (old, new) = (page("", "2026-02-26T16:00:00Z"), page("new", "2026-02-26T16:10:00Z"));
    let on_the_wire = new.body.len();
    let server = server_answering(vec![(LIST, vec![old.clone()])]);
    let env = env_for(&server);
    let (first, _) = sync_in(&env);
    first.success();
    server.set_response(LIST, new);
    assert_bounded("plain", on_the_wire, sync_in(&env));
    assert_eq!(env.texts("SELECT op FROM changes"), ["c", "u"]);
}

#[test]
fn value_that_is_a_tree() {
    assert_peak(
        LIST,
        &page_of(1, |_| format!(r#"{{"id":1,"summary":{}}}"#, array_of(10_000_000, |_| "[]".into()))),
    );
}

#[rstest]
#[case::a_million(1_000_000)]
#[case::too_many_for_its_limit(2_000_000)]
fn statuses(#[case] rows: usize) {
    let status = |number| format!(r#"{{"id":{number},"name":"Status"}}"#);
    assert_peak("/api/status", &json(array_of(rows, status).into_bytes()));
}

#[test]
fn statuses_without_content() {
    assert_peak("/api/status", &json(array_of(10_000_000, |_| "{}".into()).into_bytes()));
}

#[rstest]
#[case::of_the_list(LIST, 500)]
#[case::of_the_list_refused(LIST, 403)]
#[case::of_the_token("/auth/token", 500)]
#[case::of_the_token_refused("/auth/token", 400)]
#[case::of_a_reference_list("/api/status", 404)]
fn error_body_of_arrays(#[case] path: &'static str, #[case] status: u16) {
    assert_peak(path, &json(array_of(2_000_000, |_| "[]".into()).into_bytes()).with_status(status));
}

#[test]
fn token_of_arrays() {
    assert_peak("/auth/token", &json(array_of(2_000_000, |_| "[]".into()).into_bytes()));
}
