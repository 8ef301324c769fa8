//! Every file of `fixtures/pages` is read, and read as its README says: a table names each file and
//! what comes of it, and a file that is not in the table is a failure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halosync::config::{RateLimit, ServerUrl};
use halosync::halo::{
    ClientOptions, Coverage, Filter, HaloClient, HaloError, HttpRequest, HttpResponse, RateLimiter,
    TicketLookup, Transport, TransportError,
};
use halosync::retry::RetryPolicy;
use halosync::sync::scan::Page;
use halosync::sync::scan::list::{ListScan, ListScanOptions, NextRequest, ReadVerdict};
use halosync::ticket::attribute::{MERGED_INTO_ID, STATUS, STATUS_ID};
use halosync::ticket::parse::{self, ParsedPage};
use halosync::ticket::{ATTRIBUTES, AttributeValue, CustomField, Ticket, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

mod support;

use support::expected::expected;
use support::fixture_server::FixtureServer;
use support::{agent, fixture_server, page};

/// What comes of a file.
#[derive(Clone, Copy, Debug)]
enum Comes {
    /// A page of the list.
    List(Listed),
    /// No list: what the parser says.
    Fault(&'static str),
    /// One ticket: its id, whether it is deleted, what it was merged into.
    Ticket(i64, bool, i64),
    /// Status 200, and no ticket.
    NoTicket,
    /// Status 404: there is no such ticket.
    Missing,
    /// Names: numbers and names as the server has them.
    Names(&'static [(i64, &'static str)]),
    /// A token that is good for so many seconds.
    Token(u64),
    /// Statuses of the token server, and the error that follows.
    NoToken(&'static [u16], &'static str),
    /// Where the token is asked for.
    Discovery(&'static str),
    /// Statuses of the ticket list, and the error that follows.
    Refusal(&'static [u16], &'static str),
    /// What the page of this name must hold.
    ExpectedOf(&'static str),
    /// What the custom fields of a detail must hold, which this version does not read.
    CustomFields,
    /// Words.
    Words,
}

/// What a page of the list holds.
#[derive(Clone, Copy, Debug)]
struct Listed {
    count: Option<u64>,
    received: usize,
    ids: &'static [i64],
    strays: usize,
    /// Places of the text that became U+FFFD.
    repaired: usize,
    then: Then,
}

/// What the page alone means for a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It proves itself.
    Complete,
    /// There is more to ask for.
    AskOn,
    /// It is not complete, and there is nothing more to ask for.
    Differs,
    /// It cannot be the page that was asked for.
    Fault,
}

const fn list(count: Option<u64>, ids: &'static [i64], then: Then) -> Comes {
    Comes::List(Listed { count, received: ids.len(), ids, strays: 0, repaired: 0, then })
}

const fn repaired(count: u64, ids: &'static [i64], repaired: usize) -> Comes {
    let (count, received, then) = (Some(count), ids.len(), Then::Complete);
    Comes::List(Listed { count, received, ids, strays: 0, repaired, then })
}

const NO_LIST: &str = "the answer is not a list of tickets";
const NO_JSON: &str = "the answer is not JSON";

#[rustfmt::skip]
const FILES: &[(&str, Comes)] = &[
    ("README.md", Comes::Words),

    ("list-full-envelope-with-column-profile.json", list(Some(5), &[212, 1041, 1047, 1102, 1239], Then::Complete)),
    ("list-full-envelope-with-column-profile.expected.tsv", Comes::ExpectedOf("list-full-envelope-with-column-profile")),
    ("list-plain-envelope.json", list(Some(4), &[3310, 3316, 3322, 3335], Then::Complete)),
    ("list-empty.json", list(Some(0), &[], Then::Complete)),
    ("list-two-pages-1.json", list(Some(5), &[5001, 5002, 5004], Then::AskOn)),
    ("list-two-pages-2.json", list(Some(5), &[5009, 5010], Then::AskOn)),
    ("list-members-in-another-order.json", list(Some(2), &[596, 598], Then::Complete)),
    ("list-posted-style-dates.json", list(Some(7), &[501, 502, 503, 504, 505, 506, 507], Then::Complete)),
    ("list-posted-style-dates.expected.tsv", Comes::ExpectedOf("list-posted-style-dates")),
    ("list-sentinel-dates.json", list(Some(5), &[511, 512, 513, 514, 515], Then::Complete)),
    ("list-sentinel-dates.expected.tsv", Comes::ExpectedOf("list-sentinel-dates")),
    ("list-hostile-text.json", repaired(9, &[521, 522, 523, 524, 525, 526, 527, 528, 529], 3)),
    ("list-hostile-text.expected.tsv", Comes::ExpectedOf("list-hostile-text")),
    ("list-lone-surrogate.json", repaired(4, &[531, 532, 533, 534], 14)),
    ("list-lone-surrogate.expected.tsv", Comes::ExpectedOf("list-lone-surrogate")),
    ("list-invalid-utf8.json", repaired(5, &[541, 542, 543, 544, 545], 18)),
    ("list-invalid-utf8.expected.tsv", Comes::ExpectedOf("list-invalid-utf8")),
    ("list-with-bom.json", list(Some(2), &[551, 552], Then::Complete)),
    ("list-wrong-kinds.json", list(Some(7), &[561, 562, 563, 564, 565, 566, 567], Then::Complete)),
    ("list-wrong-kinds.expected.tsv", Comes::ExpectedOf("list-wrong-kinds")),
    ("list-row-without-id.json", Comes::List(Listed { count: Some(12), received: 12, ids: &[571, 574, 575], strays: 9, repaired: 0, then: Then::Complete })),
    ("list-duplicate-ids.json", Comes::List(Listed { count: Some(7), received: 7, ids: &[581, 582, 583, 584], strays: 0, repaired: 0, then: Then::Differs })),
    ("list-ids-descending.json", list(Some(2), &[594, 591], Then::Complete)),
    ("list-deep-nesting.json", list(Some(3), &[601, 602, 603], Then::Complete)),
    ("list-record-count-missing.json", list(None, &[591, 594], Then::AskOn)),
    ("list-record-count-null.json", list(None, &[591, 594], Then::AskOn)),
    ("list-record-count-as-text.json", list(Some(2), &[591, 594], Then::Complete)),
    ("list-record-count-as-float.json", list(Some(2), &[591, 594], Then::Complete)),
    ("list-record-count-negative.json", list(None, &[591, 594], Then::AskOn)),
    ("list-record-count-above-the-rows.json", list(Some(3), &[591, 594], Then::AskOn)),
    ("list-record-count-below-the-rows.json", list(Some(1), &[591, 594], Then::Differs)),
    ("list-no-rows-although-the-count-says-two.json", list(Some(2), &[], Then::Fault)),
    ("list-tickets-missing.json", Comes::Fault(NO_LIST)),
    ("list-tickets-null.json", Comes::Fault(NO_LIST)),
    ("list-tickets-an-object.json", Comes::Fault(NO_LIST)),
    ("list-bare-array.json", Comes::Fault(NO_LIST)),
    ("list-error-object-with-200.json", Comes::Fault(NO_LIST)),
    ("list-html-with-200.html", Comes::Fault(NO_JSON)),
    ("list-truncated.json", Comes::Fault(NO_JSON)),

    ("detail-with-custom-fields-of-each-type.json", Comes::Ticket(6120, false, 0)),
    ("detail-with-custom-fields-of-each-type.expected.tsv", Comes::CustomFields),
    ("detail-nested-user-with-float-site-id.json", Comes::Ticket(6121, false, 0)),
    ("detail-without-custom-fields.json", Comes::Ticket(6124, false, 0)),
    ("detail-deleted-true.json", Comes::Ticket(6122, true, 0)),
    ("detail-merged.json", Comes::Ticket(6123, false, 6121)),
    ("detail-in-an-array.json", Comes::NoTicket),
    ("detail-404-empty.txt", Comes::Missing),
    ("detail-404-message.json", Comes::Missing),
    ("detail-404-error-and-description.json", Comes::Missing),
    ("detail-404-bare-string.json", Comes::Missing),
    ("detail-404-html.html", Comes::Missing),

    ("status-bare-array.json", Comes::Names(&[(1, "New"), (2, "In Progress"), (28, "On Hold \u{2013} with \"Supplier\""), (9, "Closed"), (40, "Shipped")])),
    ("status-in-an-envelope.json", Comes::Names(&[(1, "New"), (2, "In Progress"), (9, "Closed")])),
    ("tickettype-bare-array.json", Comes::Names(&[(1, "Incident"), (36, " General Enquiry "), (33, "Service Request"), (41, "Service request\t"), (22, "Project")])),

    ("token-ok.json", Comes::Token(3_600)),
    ("token-expires-as-text.json", Comes::Token(3_600)),
    ("token-without-expires.json", Comes::Token(300)),
    ("token-without-access-token.json", Comes::NoToken(&[200], "the answer for a token cannot be used (status 200, 84 bytes): the answer is not a token")),
    ("token-error-invalid-client.json", Comes::NoToken(&[400, 401], "the authorisation server refuses client fixture-client with `invalid_client`: The specified client credentials are invalid.")),
    ("token-error-unauthorized-client.json", Comes::NoToken(&[400], "the authorisation server refuses client fixture-client with `unauthorized_client`: This client application is not allowed to use the specified grant type.")),
    ("token-error-invalid-scope.json", Comes::NoToken(&[400], "the authorisation server refuses client fixture-client with `invalid_scope`: The specified scope is not supported.")),
    ("token-wrong-tenant.html", Comes::NoToken(&[500], "the server answers 500 when asked for a token")),
    ("authinfo.json", Comes::Discovery("https://auth.desk.example.com/auth/token?tenant=larkfield")),

    ("error-text.json", Comes::Refusal(&[400], "the server refuses the ticket list with status 400: The value \"abc\" is not valid for lastupdatefromdate.")),
    ("error-object-with-description.json", Comes::Refusal(&[401], "the server refuses the ticket list with status 401: The access token has expired.")),
    ("error-and-description.json", Comes::Refusal(&[401], "the server refuses the ticket list with status 401: invalid_token: The access token is not valid.")),
    ("error-dotnet-exception.json", Comes::Refusal(&[500], "the server answers 500 when asked for the ticket list: Object reference not set to an instance of an object.")),
    ("error-message.json", Comes::Refusal(&[401, 403], "the server refuses the ticket list with status {}: Authorization has been denied for this request.")),
    ("error-one-key.json", Comes::Refusal(&[404], "the server refuses the ticket list with status 404: Ticket 999999 was not found")),
    ("error-errors-array.json", Comes::Refusal(&[400], "the server refuses the ticket list with status 400: page_no must be greater than zero; page_size must be greater than zero")),
    ("error-json-string.json", Comes::Refusal(&[403], "the server refuses the ticket list with status 403: You do not have permission to view tickets.")),
    ("error-empty.txt", Comes::Refusal(&[503], "the server answers 503 when asked for the ticket list")),
    ("error-plain-text.txt", Comes::Refusal(&[503], "the server answers 503 when asked for the ticket list: Service Unavailable")),
    ("error-html.html", Comes::Refusal(&[502], "the server answers 502 when asked for the ticket list")),
    ("error-truncated.json", Comes::Refusal(&[500], "the server answers 500 when asked for the ticket list")),
    ("error-429-bare-string.json", Comes::Refusal(&[429], "the server's rate limit holds when asked for the ticket list")),
    ("error-429-text-without-quotes.txt", Comes::Refusal(&[429], "the server's rate limit holds when asked for the ticket list")),
];

#[test]
fn every_file_of_the_folder_stands_in_the_table_once() {
    let there: BTreeSet<String> = std::fs::read_dir(support::pages())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let listed: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let untested: Vec<_> = there.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&there).collect();
    assert!(untested.is_empty() && gone.is_empty(), "untested: {untested:?}; not there: {gone:?}");
    assert_eq!(listed.len(), FILES.len(), "a file stands in the table twice");
}

#[test]
fn the_readme_of_the_folder_tells_of_every_file() {
    let readme = String::from_utf8(page("README.md")).unwrap();
    let untold: Vec<_> = FILES
        .iter()
        .filter(|(_, comes)| !matches!(comes, Comes::Words | Comes::ExpectedOf(_) | Comes::CustomFields))
        .map(|(name, _)| *name)
        .filter(|name| !readme.contains(&format!("`{name}`")))
        .collect();
    assert!(untold.is_empty(), "{untold:?}");
}

// ---- Pages of the list ----

fn read(name: &str) -> ParsedPage {
    ParsedPage::parse(&page(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The tickets of a page, their statuses named by the recorded list of names.
fn tickets(name: &str) -> BTreeMap<i64, Ticket> {
    let names = parse::parse_reference_items(&page("status-bare-array.json")).expect("names");
    let mut tickets = read(name).tickets;
    for ticket in &mut tickets {
        ticket.resolve_status_name(|id| names.iter().find(|it| it.id == id).map(|it| it.name.clone()));
    }
    tickets.into_iter().map(|ticket| (ticket.id(), ticket)).collect()
}

fn value<'t>(ticket: &'t Ticket, attribute: &str) -> &'t AttributeValue {
    let position = ATTRIBUTES.iter().position(|it| it.name == attribute);
    &ticket.values()[position.expect("an attribute")]
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::Text(text.to_owned())
}

fn received(number: usize, list: &ParsedPage) -> Page {
    Page::new(u32::try_from(number).expect("a page"), list, number as u64)
}

/// What a walk concludes from pages.
fn conclude(pages: &[ParsedPage]) -> Then {
    let rules =
        ListScanOptions { full: false, page_size: 100, cross_checked_count: None, accept_shortfall: 0 };
    let mut account = ListScan::new(rules, None);
    for (number, page) in (1..).zip(pages) {
        let page = received(number, page);
        account.record_response(&page);
        if account.add_page(&page).is_err() {
            return Then::Fault;
        }
    }
    match (account.next_request(), account.verdict()) {
        (NextRequest::Page(_), _) => Then::AskOn,
        (_, ReadVerdict::Verified) => Then::Complete,
        _ => Then::Differs,
    }
}

#[test]
fn a_page_of_the_list_gives_its_rows_and_means_what_its_count_says() {
    for (name, comes) in FILES {
        let Comes::List(expected) = comes else { continue };
        let list = read(name);
        let ids: Vec<_> = list.tickets.iter().map(Ticket::id).collect();
        assert_eq!(ids, expected.ids, "{name}: the ids");
        assert_eq!(list.record_count, expected.count, "{name}: record_count");
        assert_eq!(list.rows_received, expected.received, "{name}: rows received");
        assert_eq!(list.rejected_rows.len(), expected.strays, "{name}: rows without a usable id");
        assert_eq!(list.repaired, expected.repaired, "{name}: repaired places");
        assert_eq!(conclude(&[list]), expected.then, "{name}: what follows");
    }
}

#[test]
fn every_value_is_the_one_that_was_written_down() {
    let mut wrong = Vec::new();
    for (_, comes) in FILES {
        let Comes::ExpectedOf(name) = comes else { continue };
        let tickets = tickets(&format!("{name}.json"));
        let lines = expected(name);
        assert!(!lines.is_empty(), "{name}");
        for line in lines {
            let ticket = tickets.get(&line.uid).unwrap_or_else(|| panic!("{name}: no ticket {}", line.uid));
            let value = &ticket.values()[line.position];
            if *value != line.value {
                let (uid, attribute) = (line.uid, line.attribute());
                wrong.push(format!("{name}: {uid} {attribute}: {value:?}, not {:?}", line.value));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_value_of_the_wrong_kind_is_reported_and_no_other_is() {
    for (name, comes) in FILES {
        let Comes::List(_) = comes else { continue };
        // A status that is no number is reported once, as the number it should be.
        let page = name.strip_suffix(".json").unwrap();
        let reported: BTreeSet<(i64, usize)> = match page {
            "list-wrong-kinds" => expected(page)
                .into_iter()
                .filter(|line| line.rejected.unwrap())
                .map(|line| (line.uid, if line.position == STATUS { STATUS_ID } else { line.position }))
                .collect(),
            _ => BTreeSet::new(),
        };
        let odd: BTreeSet<(i64, usize)> = read(name)
            .tickets
            .iter()
            .flat_map(|ticket| ticket.rejected_values().iter().map(|(position, _)| (ticket.id(), *position)))
            .collect();
        let named = |set: BTreeSet<(i64, usize)>| -> Vec<_> {
            set.into_iter().map(|(uid, position)| (uid, ATTRIBUTES[position].name)).collect()
        };
        assert_eq!(named(odd), named(reported), "{name}");
    }
}

#[test]
fn a_reported_value_is_kept_as_the_server_wrote_it() {
    let tickets = tickets("list-wrong-kinds.json");
    let raw = |uid: i64, attribute: &str| {
        let kept =
            tickets[&uid].rejected_values().iter().find(|(place, _)| ATTRIBUTES[*place].name == attribute);
        let (_, oddity) = kept.unwrap_or_else(|| panic!("{uid} {attribute}"));
        oddity.raw.clone()
    };
    assert_eq!(raw(561, "STATUS_ID"), r#"{"id":2,"name":"In Progress"}"#);
    assert_eq!(raw(561, "AGENT_ID"), "[3]");
    assert_eq!(raw(561, "TEAM_ID"), "\"Service Desk\"");
    assert_eq!(raw(562, "AGENT_ID"), "9223372036854775808");
    assert_eq!(raw(562, "SITE_ID"), "18.5");
    assert!(raw(562, "COST").contains("1e400"), "{}", raw(562, "COST"));
    assert_eq!(raw(563, "IS_IMPORTANT_CONTACT"), "2");
    assert_eq!(raw(564, "SOURCE_CREATED_DATE"), "\"31/12/2025\"");
    assert_eq!(raw(565, "USER_NAME"), "12");
}

#[test]
fn a_row_without_a_usable_id_is_kept_whole() {
    let strays: Vec<_> = read("list-row-without-id.json").rejected_rows;
    let begins = [
        "{\"summary\": \"No id at all\"",
        "{\"id\": null,",
        "{\"id\": \"abc\",",
        "{\"id\": 1.5,",
        "{\"id\": 9223372036854775808,",
        "{\"id\": {\"value\": 572},",
        "{\"id\": true,",
        "{}",
        "573",
    ];
    assert_eq!(strays.len(), begins.len());
    for (stray, begins) in strays.iter().zip(begins) {
        assert!(stray.rejected.raw.starts_with(begins), "{} instead of {begins}…", stray.rejected.raw);
        let row: serde_json::Value = serde_json::from_str(&stray.rejected.raw).unwrap();
        let whole = row.as_object().is_none_or(|row| row.is_empty() || row["use"] == "ticket");
        assert!(whole, "the end of the row is there too: {row}");
    }
}

#[test]
fn of_rows_with_one_id_the_later_update_wins_and_else_the_later_row() {
    let tickets = tickets("list-duplicate-ids.json");
    for (uid, name, status) in [
        (581, "Once", 1),
        (582, "Older first, now newer", 2),
        (583, "The same twice", 1),
        (584, "Newer first", 2),
    ] {
        assert_eq!(tickets[&uid].integer(STATUS_ID), Some(status), "{uid}");
        assert_eq!(*value(&tickets[&uid], "NAME"), text(name), "{uid}");
    }
}

#[test]
fn members_in_any_order_and_nested_namesakes_give_the_same_ticket() {
    let tickets = tickets("list-members-in-another-order.json");
    assert_eq!(*value(&tickets[&596], "NAME"), text("The id comes last"));
    assert_eq!(*value(&tickets[&598], "NAME"), text("The id comes in the middle"));
    assert_eq!(*value(&tickets[&596], "STATUS"), text("New"));
    assert_eq!(*value(&tickets[&596], "SOURCE_LAST_MODIFIED"), text("2026-02-24T11:02:13.230Z"));
}

#[test]
fn what_a_plain_envelope_leaves_out_is_null() {
    let tickets = tickets("list-plain-envelope.json");
    for (uid, ticket) in &tickets {
        assert_eq!(*value(ticket, "OPEN_SEARCH_SCORE"), AttributeValue::Null, "{uid}");
    }
    assert_eq!(*value(&tickets[&3322], "USER_EMAIL"), AttributeValue::Null);
    assert_eq!(*value(&tickets[&3335], "TEAM_ID"), AttributeValue::Null, "the shape of 2024 has none");
    assert_eq!(*value(&tickets[&3310], "TEAM_ID"), AttributeValue::Integer(4));
    assert_eq!(*value(&tickets[&3316], "ESTIMATE"), AttributeValue::Real(1.25));
    match value(&tickets[&3310], "ESTIMATE") {
        AttributeValue::Real(number) => assert_eq!(number.to_bits(), 0.0_f64.to_bits(), "-0.0 is 0.0"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_pages_are_complete_together_and_neither_is_alone() {
    let pages = ["list-two-pages-1.json", "list-two-pages-2.json"].map(read);
    assert_eq!(conclude(&pages), Then::Complete);
}

#[test]
fn the_names_of_unknown_statuses_are_their_numbers() {
    let tickets = tickets("list-full-envelope-with-column-profile.json");
    assert_eq!(*value(&tickets[&212], "STATUS"), text("71"));
    assert_eq!(*value(&tickets[&1239], "STATUS"), text("Closed"));
}

// ---- Answers of a server without a socket ----

/// Gives prepared answers by path: a status and a file each; the last one again and again.
#[derive(Default)]
struct Recorded {
    answers: HashMap<String, Vec<(u16, &'static str)>>,
    asked: Mutex<Vec<Asked>>,
}

#[derive(Clone, Debug)]
struct Asked {
    url: String,
    path: String,
    with_token: bool,
    scope: Option<String>,
}

impl Recorded {
    fn with(mut self, path: &str, answers: &[(u16, &'static str)]) -> Recorded {
        self.answers.insert(path.to_owned(), answers.to_vec());
        self
    }

    /// With a good token before everything else.
    fn signed_in() -> Recorded {
        Recorded::default().with("/auth/token", &[(200, "token-ok.json")])
    }

    fn asked(&self, path: &str) -> Vec<Asked> {
        self.asked.lock().expect("the log").iter().filter(|it| it.path == path).cloned().collect()
    }
}

impl Transport for Recorded {
    fn send(
        &self,
        ask: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>> {
        let path = ask.url.path().to_owned();
        let scope = ask.form.iter().flatten().find(|(name, _)| *name == "scope");
        let scope = scope.map(|(_, value)| value.expose_secret().to_owned());
        let with_token = ask.bearer.is_some();
        let before = self.asked(&path).len();
        let asked = Asked { url: ask.url.into(), path: path.clone(), with_token, scope };
        self.asked.lock().expect("the log").push(asked);
        let prepared = self.answers.get(&path).unwrap_or_else(|| panic!("nobody should ask for {path}"));
        let (status, name) = *prepared.get(before).or(prepared.last()).expect("an answer");
        let answer = HttpResponse {
            status,
            date: None,
            retry_after: None,
            location: None,
            body: page(name).into(),
            took: Duration::ZERO,
        };
        Box::pin(std::future::ready(Ok(answer)))
    }
}

fn terms(auth_url: Option<&str>, max_retries: u32) -> ClientOptions {
    ClientOptions {
        server: ServerUrl::parse("https://desk.example.com").expect("an address"),
        tenant: None,
        auth_url: auth_url.map(|url| url.parse().expect("an address")),
        client_id: agent::CLIENT_ID.into(),
        client_secret: SecretString::from(agent::CLIENT_SECRET.to_owned()),
        scope: "read:tickets".into(),
        retry: RetryPolicy { max_retries, rate_limit_wait: Duration::from_mins(1), max_wait: Duration::MAX },
    }
}

fn halo(transport: &Arc<Recorded>, terms: ClientOptions) -> HaloClient {
    let limit = RateLimit { requests: 1_000, window: Duration::from_secs(1) };
    HaloClient::new(Arc::clone(transport) as Arc<dyn Transport>, RateLimiter::new(limit, 0), terms, || 0.5)
}

/// A server that is asked once, at an authorisation server that the settings name.
fn once(transport: &Arc<Recorded>) -> HaloClient {
    halo(transport, terms(Some("https://desk.example.com/auth"), 0))
}

const ALL: Filter = Filter::All { types: Vec::new(), coverage: Coverage::Default };

/// An error and its cause as a terminal and a log can hold them: one line, no page, no secret.
fn presentable(name: &str, error: &HaloError) -> String {
    let cause = std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    let message = format!("{error}{cause}");
    let secret = message.contains(agent::CLIENT_SECRET);
    let page = message.contains('<') || message.contains(['\r', '\n']);
    assert!(!secret && !page && message.chars().count() < 400, "{name}: {message}");
    message
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_an_error_and_never_an_empty_list() {
    for (name, comes) in FILES {
        let Comes::Fault(says) = comes else { continue };
        let bytes = page(name);
        assert_eq!(ParsedPage::parse(&bytes).map(|_| ()).unwrap_err().to_string(), *says, "{name}");

        let server = Arc::new(Recorded::signed_in().with("/api/tickets", &[(200, name)]));
        let error = once(&server).fetch_list(&ALL, 1, 100).await.unwrap_err();
        assert!(matches!(error, HaloError::Unreadable(_)), "{name}: {error:?}");
        let html = if bytes.starts_with(b"<!DOCTYPE html>") { " of HTML" } else { "" };
        let size = bytes.len();
        assert_eq!(
            presentable(name, &error),
            format!("the answer for the ticket list cannot be used (status 200, {size} bytes{html}): {says}"),
        );
    }
}

#[tokio::test]
async fn open_and_closed_tickets_are_asked_for_apart_with_any_other_filter() {
    let from = Timestamp::parse("2026-11-22T12:00:00.000Z").unwrap();
    let all = |coverage| Filter::All { types: Vec::new(), coverage };
    let updated = |coverage| Filter::UpdatedFrom { types: vec![4], from, coverage };
    let plain = "?pageinate=true&page_no=1&page_size=100&order=id&orderdesc=false";
    let since = "&requesttype_id=4&lastupdatefromdate=2026-11-22T12%3A00%3A00.000Z";
    for (filter, more) in [
        (all(Coverage::Default), String::new()),
        (all(Coverage::Open), "&open_only=true".into()),
        (all(Coverage::Closed), "&closed_only=true".into()),
        (updated(Coverage::Default), since.into()),
        (updated(Coverage::Open), format!("{since}&open_only=true")),
        (updated(Coverage::Closed), format!("{since}&closed_only=true")),
    ] {
        let server = Arc::new(Recorded::signed_in().with("/api/tickets", &[(200, "list-empty.json")]));
        once(&server).fetch_list(&filter, 1, 100).await.unwrap();
        let asked = &server.asked("/api/tickets")[0].url;
        assert_eq!(*asked, format!("https://desk.example.com/api/tickets{plain}{more}"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_list_is_asked_for_again() {
    for broken in ["list-truncated.json", "list-html-with-200.html", "list-tickets-missing.json"] {
        let answers = [(200, broken), (200, "list-empty.json")];
        let server = Arc::new(Recorded::signed_in().with("/api/tickets", &answers));
        let listed =
            halo(&server, terms(Some("https://desk.example.com/auth"), 1)).fetch_list(&ALL, 1, 100).await;
        assert_eq!(listed.unwrap().list.record_count, Some(0), "{broken}");
    }
}

#[tokio::test]
async fn a_single_ticket_is_read_by_its_own_members_only() {
    for (name, comes) in FILES {
        let Comes::Ticket(id, deleted, merged_into) = *comes else { continue };
        let path = format!("/api/tickets/{id}");
        let server = Arc::new(Recorded::signed_in().with(&path, &[(200, name)]));
        let (single, _) = once(&server).fetch_ticket(id).await.unwrap();
        let TicketLookup::Found(ticket) = single else { panic!("{name}: {single:?}") };
        assert_eq!(*ticket, parse::parse_ticket(&page(name)).unwrap(), "{name}");
        assert_eq!(ticket.id(), id, "{name}");
        assert_eq!(ticket.is_deleted(), deleted, "{name}: deleted");
        assert_eq!(ticket.integer(MERGED_INTO_ID), Some(merged_into), "{name}: merged_into_id");
        assert_eq!(ticket.rejected_values(), [], "{name}");
        assert!(server.asked(&path)[0].with_token, "{name}");
    }
}

#[test]
fn what_stands_in_the_nested_user_is_not_the_tickets() {
    let bytes = page("detail-nested-user-with-float-site-id.json");
    let whole: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let ticket = parse::parse_ticket(&bytes).unwrap();
    for (attribute, property) in
        [("SITE_ID", "site_id"), ("PRIORITY_ID", "priority_id"), ("SLA_ID", "sla_id")]
    {
        let own = whole[property].as_i64().unwrap();
        assert_eq!(*value(&ticket, attribute), AttributeValue::Integer(own), "{attribute}");
    }
    let priorities = [&whole["priority_id"], &whole["user"]["priority_id"]];
    assert_ne!(priorities[0], priorities[1], "the two can be told apart");
    assert_eq!(*value(&ticket, "INACTIVE"), whole["inactive"].as_bool().map_or(AttributeValue::Null, bit));
}

fn bit(truth: bool) -> AttributeValue {
    AttributeValue::Integer(i64::from(truth))
}

#[tokio::test]
async fn a_ticket_in_an_array_is_a_fault_and_never_not_found() {
    for (name, comes) in FILES {
        let Comes::NoTicket = comes else { continue };
        let server = Arc::new(Recorded::signed_in().with("/api/tickets/6125", &[(200, name)]));
        let error = once(&server).fetch_ticket(6125).await.unwrap_err();
        assert!(presentable(name, &error).ends_with("the answer is not a ticket"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_404_says_that_there_is_no_such_ticket_whatever_its_body() {
    for (name, comes) in FILES {
        let Comes::Missing = comes else { continue };
        let server = Arc::new(Recorded::signed_in().with("/api/tickets/999", &[(404, name)]));
        let (single, _) = once(&server).fetch_ticket(999).await.unwrap();
        assert!(matches!(single, TicketLookup::Missing), "{name}: {single:?}");
        assert_eq!(server.asked("/api/tickets/999").len(), 1, "{name}: an answer, not a failure");
    }
}

#[test]
fn names_are_read_bare_or_in_an_envelope_with_their_stray_spaces() {
    for (name, comes) in FILES {
        let Comes::Names(names) = comes else { continue };
        let read =
            parse::parse_reference_items(&page(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let read: Vec<_> = read.iter().map(|it| (it.id, it.name.as_str())).collect();
        assert_eq!(read, *names, "{name}");
    }
    let statuses = parse::parse_reference_items(&page("status-bare-array.json")).unwrap();
    let kinds: Vec<_> = statuses.iter().map(|it| it.details.kind).collect();
    assert_eq!(kinds, [Some(0), Some(0), Some(0), Some(0), Some(1)], "40 is a status of orders");
    assert_eq!(statuses[3].details.sequence, Some(900));
    assert_eq!(statuses[3].details.color.as_deref(), Some("#000000"));
    let types = parse::parse_reference_items(&page("tickettype-bare-array.json")).unwrap();
    let usages: Vec<_> = types.iter().map(|it| it.details.usage.as_deref()).collect();
    assert_eq!(
        usages,
        [Some("tickets"), Some("tickets"), Some("tickets"), Some("tickets"), Some("projects")]
    );
}

#[test]
fn a_repeated_type_name_means_every_type_that_bears_it() {
    let page = |name: &str| vec![fixture_server::Answer::page(name)];
    let server = FixtureServer::serve([
        ("/auth/token", page("token-ok.json")),
        ("/api/status", page("status-bare-array.json")),
        ("/api/tickettype", page("tickettype-bare-array.json")),
        ("/api/tickets", page("list-empty.json")),
    ]);
    for (wanted, name, value) in
        [("service REQUEST", "requesttype", "33,41"), (" general enquiry", "requesttype_id", "36")]
    {
        let agent = agent::Agent::of(&server.url(), &format!("ticket_type = \"{wanted}\""));
        agent.run(&["sync"]).success();
        let asked = server.asked("/api/tickets").pop().unwrap();
        let query: HashMap<_, _> = url::form_urlencoded::parse(asked.query.as_bytes()).into_owned().collect();
        assert_eq!(query.get(name).map(String::as_str), Some(value), "{wanted:?}: {}", asked.query);
    }
}

// ---- Tokens ----

#[test]
fn a_token_is_shown_exactly_as_the_server_gave_it() {
    for (name, comes) in FILES {
        let Comes::Token(_) = comes else { continue };
        let page = |name: &str| vec![fixture_server::Answer::page(name)];
        let server = FixtureServer::serve([
            ("/auth/token", page(name)),
            ("/api/status", page("status-bare-array.json")),
            ("/api/tickettype", page("tickettype-bare-array.json")),
            ("/api/tickets", page("list-empty.json")),
        ]);
        agent::Agent::of(&server.url(), "").run(&["sync"]).success();
        let answer: serde_json::Value = serde_json::from_slice(&support::page(name)).unwrap();
        let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
        let asked = server.asked("/api/tickets");
        assert_eq!(asked[0].authorization.as_deref(), Some(&*bearer), "{name}");
        assert_eq!(server.asked("/auth/token").len(), 1, "{name}: one token is enough");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_shortly_before_it_ends() {
    for (name, comes) in FILES {
        let Comes::Token(life) = *comes else { continue };
        let recorded = Recorded::default().with("/auth/token", &[(200, name)]);
        let server = Arc::new(recorded.with("/api/tickets", &[(200, "list-empty.json")]));
        let halo = once(&server);
        let tokens = async |after: u64| {
            tokio::time::advance(Duration::from_secs(after)).await;
            halo.fetch_list(&ALL, 1, 100).await.unwrap();
            server.asked("/auth/token").len()
        };
        assert_eq!(tokens(0).await, 1, "{name}");
        assert_eq!(tokens(life - 61).await, 1, "{name}: still good after {} s", life - 61);
        assert_eq!(tokens(60).await, 2, "{name}: not used in its last second");
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_asked_and_the_reason_is_told() {
    for (name, comes) in FILES {
        let Comes::NoToken(statuses, says) = comes else { continue };
        for status in *statuses {
            let server = Arc::new(Recorded::default().with("/auth/token", &[(*status, name)]));
            let error = once(&server).fetch_list(&ALL, 1, 100).await.unwrap_err();
            assert_eq!(presentable(name, &error), *says, "{name}");
            assert!(server.asked("/api/tickets").is_empty(), "{name}: asked without a token");
        }
    }
}

#[tokio::test]
async fn a_refused_client_is_told_which_settings_to_look_at() {
    let server = |name| Arc::new(Recorded::default().with("/auth/token", &[(400, name)]));
    for name in ["token-error-invalid-client.json", "token-error-unauthorized-client.json"] {
        let server = server(name);
        let error = once(&server).fetch_list(&ALL, 1, 100).await.unwrap_err();
        assert!(error.advice().contains("\"Client ID and Secret (Services)\""), "{name}: {}", error.advice());
        assert_eq!(server.asked("/auth/token").len(), 1, "{name}: refused once is refused");
    }
    let wrong = Arc::new(Recorded::default().with("/auth/token", &[(500, "token-wrong-tenant.html")]));
    let error = once(&wrong).fetch_list(&ALL, 1, 100).await.unwrap_err();
    assert!(error.advice().contains("tenant"), "{}", error.advice());
}

#[tokio::test]
async fn an_unknown_scope_is_asked_for_once_more_as_all() {
    let refused = (400, "token-error-invalid-scope.json");
    let scopes = |server: &Recorded| -> Vec<_> {
        server.asked("/auth/token").into_iter().filter_map(|asked| asked.scope).collect()
    };
    let never = Arc::new(Recorded::default().with("/auth/token", &[refused]));
    once(&never).fetch_list(&ALL, 1, 100).await.unwrap_err();
    assert_eq!(scopes(&never), ["read:tickets", "all"]);

    let recorded = Recorded::default().with("/auth/token", &[refused, (200, "token-ok.json")]);
    let server = Arc::new(recorded.with("/api/tickets", &[(200, "list-empty.json")]));
    once(&server).fetch_list(&ALL, 1, 100).await.unwrap();
    assert_eq!(scopes(&server), ["read:tickets", "all"]);
    assert!(server.asked("/api/tickets")[0].with_token);
}

#[tokio::test]
async fn the_server_says_where_tokens_are_to_be_had() {
    for (name, comes) in FILES {
        let Comes::Discovery(url) = comes else { continue };
        let recorded = Recorded::signed_in().with("/api/authinfo", &[(200, name)]);
        let server = Arc::new(recorded.with("/api/tickets", &[(200, "list-empty.json")]));
        halo(&server, terms(None, 0)).fetch_list(&ALL, 1, 100).await.unwrap();
        let (info, token) = (server.asked("/api/authinfo"), server.asked("/auth/token"));
        assert_eq!(info[0].url, "https://desk.example.com/api/authinfo", "{name}");
        assert!(!info[0].with_token, "{name}: there is no token yet");
        assert_eq!(token[0].url, *url, "{name}");
    }
}

// ---- Errors ----

#[tokio::test]
async fn an_error_shows_what_its_body_says_on_one_line() {
    for (name, comes) in FILES {
        let Comes::Refusal(statuses, says) = comes else { continue };
        for status in *statuses {
            let server = Arc::new(Recorded::signed_in().with("/api/tickets", &[(*status, name)]));
            let error = once(&server).fetch_list(&ALL, 1, 100).await.unwrap_err();
            assert_eq!(presentable(name, &error), says.replace("{}", &status.to_string()), "{name}");
            let (tokens, asked) = if *status == 401 { (2, 2) } else { (1, 1) };
            assert_eq!(server.asked("/auth/token").len(), tokens, "{name}: tokens after {status}");
            assert_eq!(server.asked("/api/tickets").len(), asked, "{name}: requests after {status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_waited_for_and_is_no_fault_of_the_data() {
    for limit in ["error-429-bare-string.json", "error-429-text-without-quotes.txt"] {
        let answers = [(429, limit), (200, "list-empty.json")];
        let server = Arc::new(Recorded::signed_in().with("/api/tickets", &answers));
        let halo = halo(&server, terms(Some("https://desk.example.com/auth"), 1));
        let since = tokio::time::Instant::now();
        halo.fetch_list(&ALL, 1, 100).await.unwrap();
        assert_eq!(since.elapsed().as_secs(), 60, "{limit}: as long as rate_limit_wait says");
    }
}

#[test]
fn custom_fields_of_every_type_are_the_ones_that_were_written_down() {
    let name = "detail-with-custom-fields-of-each-type.expected.tsv";
    let detail = parse::parse_ticket(&page(&name.replace(".expected.tsv", ".json"))).unwrap();
    let told = detail.custom_fields().unwrap();
    let member = |text: &str| match text {
        "NULL" => None,
        text => Some(serde_json::from_str::<serde_json::Value>(text).unwrap()),
    };
    let text = |text: &str| member(text).map(|it| it.as_str().unwrap().to_owned());
    let table = String::from_utf8(page(name)).unwrap();
    let expected = table.lines().skip(1).map(|line| {
        let cells: Vec<_> = line.split('\t').collect();
        assert_eq!(cells[0], detail.id().to_string());
        CustomField {
            id: cells[1].parse().unwrap(),
            name: text(cells[2]),
            label: text(cells[3]),
            kind: member(cells[4]).and_then(|it| it.as_i64()),
            value: text(cells[5]),
            display: text(cells[6]),
        }
    });
    assert_eq!(told.fields(), expected.collect::<Vec<_>>());
    assert_eq!(told.rejected_values(), []);
}
