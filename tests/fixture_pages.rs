//! Checks every file of `fixtures/pages` against a table of what it must be read as; a file that is not in the
//! table is a failure.

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
use halosync::reference::{ReferenceRow, ReferenceTable, STATUSES, TICKET_TYPES, parse_reference_list};
use halosync::retry::RetryPolicy;
use halosync::sync::scan::Page;
use halosync::sync::scan::list::{ListScan, ListScanOptions, NextRequest, ReadVerdict};
use halosync::ticket::attribute::{MERGED_INTO_ID, STATUS, STATUS_ID};
use halosync::ticket::parse::{self, ParsedPage};
use halosync::ticket::{ATTRIBUTES, AttributeValue, CustomField, Ticket, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

mod support;

use support::expected::expected;
use support::fixture_server::{FixtureServer, PreparedResponse};
use support::page;
use support::test_env::{CLIENT_ID, CLIENT_SECRET, TestEnv};

/// What a file must be read as.
#[derive(Clone, Copy, Debug)]
enum FixtureKind {
    /// A page of the list.
    List(ExpectedList),
    /// Not a list: the error of the parser.
    Fault(&'static str),
    /// One ticket: its id, whether it is deleted, and the id of the ticket that it was merged into.
    Ticket(i64, bool, i64),
    /// Status 200, but not a ticket.
    NoTicket,
    /// Status 404: the ticket does not exist.
    Missing,
    /// A reference table: ids and names as received.
    ReferenceItems(&'static str, &'static [(&'static [i64], &'static str)]),
    /// A token with this lifetime in seconds.
    Token(u64),
    /// HTTP statuses of the token response, and the resulting error.
    NoToken(&'static [u16], &'static str),
    /// The address that tokens are requested from.
    Discovery(&'static str),
    /// HTTP statuses of the ticket list, and the resulting error.
    Refusal(&'static [u16], &'static str),
    /// The expected values of the page with this name.
    ExpectedOf(&'static str),
    /// The expected custom fields of a single ticket.
    CustomFields,
    /// Documentation.
    Documentation,
}

/// What a page of the ticket list must hold.
#[derive(Clone, Copy, Debug)]
struct ExpectedList {
    count: Option<u64>,
    received: usize,
    ids: &'static [i64],
    rejected_rows: usize,
    /// Characters that were replaced with U+FFFD.
    repaired: usize,
    result: ScanState,
}

/// The state of a scan after the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanState {
    /// The page proves that the list is complete.
    Verified,
    /// There is more to request.
    MorePages,
    /// The list is not complete, and there is nothing more to request.
    Incomplete,
    /// The page cannot be the requested one.
    Fault,
}

const fn list(count: Option<u64>, ids: &'static [i64], result: ScanState) -> FixtureKind {
    FixtureKind::List(ExpectedList { count, received: ids.len(), ids, rejected_rows: 0, repaired: 0, result })
}

const fn repaired(count: u64, ids: &'static [i64], repaired: usize) -> FixtureKind {
    let (count, received, result) = (Some(count), ids.len(), ScanState::Verified);
    FixtureKind::List(ExpectedList { count, received, ids, rejected_rows: 0, repaired, result })
}

const NO_LIST: &str = "the answer is not a list of tickets";
const NO_JSON: &str = "the answer is not JSON";

#[rustfmt::skip]
const FILES: &[(&str, FixtureKind)] = &[
    ("README.md", FixtureKind::Documentation),

    ("list-full-envelope-with-column-profile.json", list(Some(5), &[212, 1041, 1047, 1102, 1239], ScanState::Verified)),
    ("list-full-envelope-with-column-profile.expected.tsv", FixtureKind::ExpectedOf("list-full-envelope-with-column-profile")),
    ("list-plain-envelope.json", list(Some(4), &[3310, 3316, 3322, 3335], ScanState::Verified)),
    ("list-empty.json", list(Some(0), &[], ScanState::Verified)),
    ("list-two-pages-1.json", list(Some(5), &[5001, 5002, 5004], ScanState::MorePages)),
    ("list-two-pages-2.json", list(Some(5), &[5009, 5010], ScanState::MorePages)),
    ("list-members-in-another-order.json", list(Some(2), &[596, 598], ScanState::Verified)),
    ("list-posted-style-dates.json", list(Some(7), &[501, 502, 503, 504, 505, 506, 507], ScanState::Verified)),
    ("list-posted-style-dates.expected.tsv", FixtureKind::ExpectedOf("list-posted-style-dates")),
    ("list-sentinel-dates.json", list(Some(5), &[511, 512, 513, 514, 515], ScanState::Verified)),
    ("list-sentinel-dates.expected.tsv", FixtureKind::ExpectedOf("list-sentinel-dates")),
    ("list-hostile-text.json", repaired(9, &[521, 522, 523, 524, 525, 526, 527, 528, 529], 3)),
    ("list-hostile-text.expected.tsv", FixtureKind::ExpectedOf("list-hostile-text")),
    ("list-lone-surrogate.json", repaired(4, &[531, 532, 533, 534], 14)),
    ("list-lone-surrogate.expected.tsv", FixtureKind::ExpectedOf("list-lone-surrogate")),
    ("list-invalid-utf8.json", repaired(5, &[541, 542, 543, 544, 545], 18)),
    ("list-invalid-utf8.expected.tsv", FixtureKind::ExpectedOf("list-invalid-utf8")),
    ("list-with-bom.json", list(Some(2), &[551, 552], ScanState::Verified)),
    ("list-wrong-kinds.json", list(Some(7), &[561, 562, 563, 564, 565, 566, 567], ScanState::Verified)),
    ("list-wrong-kinds.expected.tsv", FixtureKind::ExpectedOf("list-wrong-kinds")),
    ("list-row-without-id.json", FixtureKind::List(ExpectedList { count: Some(12), received: 12, ids: &[571, 574, 575], rejected_rows: 9, repaired: 0, result: ScanState::Incomplete })),
    ("list-duplicate-ids.json", FixtureKind::List(ExpectedList { count: Some(7), received: 7, ids: &[581, 582, 583, 584], rejected_rows: 0, repaired: 0, result: ScanState::Incomplete })),
    ("list-ids-descending.json", list(Some(2), &[594, 591], ScanState::Verified)),
    ("list-deep-nesting.json", list(Some(3), &[601, 602, 603], ScanState::Verified)),
    ("list-record-count-missing.json", list(None, &[591, 594], ScanState::MorePages)),
    ("list-record-count-null.json", list(None, &[591, 594], ScanState::MorePages)),
    ("list-record-count-as-text.json", list(Some(2), &[591, 594], ScanState::Verified)),
    ("list-record-count-as-float.json", list(Some(2), &[591, 594], ScanState::Verified)),
    ("list-record-count-negative.json", list(None, &[591, 594], ScanState::MorePages)),
    ("list-record-count-above-the-rows.json", list(Some(3), &[591, 594], ScanState::MorePages)),
    ("list-record-count-below-the-rows.json", list(Some(1), &[591, 594], ScanState::Incomplete)),
    ("list-no-rows-although-the-count-says-two.json", list(Some(2), &[], ScanState::Incomplete)),
    ("list-tickets-missing.json", FixtureKind::Fault(NO_LIST)),
    ("list-tickets-null.json", FixtureKind::Fault(NO_LIST)),
    ("list-tickets-an-object.json", FixtureKind::Fault(NO_LIST)),
    ("list-bare-array.json", FixtureKind::Fault(NO_LIST)),
    ("list-error-object-with-200.json", FixtureKind::Fault(NO_LIST)),
    ("list-html-with-200.html", FixtureKind::Fault(NO_JSON)),
    ("list-truncated.json", FixtureKind::Fault(NO_JSON)),

    ("detail-with-custom-fields-of-each-type.json", FixtureKind::Ticket(6120, false, 0)),
    ("detail-with-custom-fields-of-each-type.expected.tsv", FixtureKind::CustomFields),
    ("detail-nested-user-with-float-site-id.json", FixtureKind::Ticket(6121, false, 0)),
    ("detail-without-custom-fields.json", FixtureKind::Ticket(6124, false, 0)),
    ("detail-deleted-true.json", FixtureKind::Ticket(6122, true, 0)),
    ("detail-merged.json", FixtureKind::Ticket(6123, false, 6121)),
    ("detail-in-an-array.json", FixtureKind::NoTicket),
    ("detail-404-empty.txt", FixtureKind::Missing),
    ("detail-404-message.json", FixtureKind::Missing),
    ("detail-404-error-and-description.json", FixtureKind::Missing),
    ("detail-404-bare-string.json", FixtureKind::Missing),
    ("detail-404-html.html", FixtureKind::Missing),

    ("status-bare-array.json", FixtureKind::ReferenceItems("statuses", &[(&[1], "New"), (&[2], "In Progress"), (&[9], "Closed"), (&[28], "On Hold \u{2013} with \"Supplier\""), (&[40], "Shipped")])),
    ("status-in-an-envelope.json", FixtureKind::ReferenceItems("statuses", &[(&[1], "New"), (&[2], "In Progress"), (&[9], "Closed")])),
    ("tickettype-bare-array.json", FixtureKind::ReferenceItems("ticket_types", &[(&[1], "Incident"), (&[22], "Project"), (&[33], "Service Request"), (&[36], "General Enquiry"), (&[41], "Service request")])),

    ("agent-bare-array.json", FixtureKind::ReferenceItems("agents", &[(&[1], "Unassigned"), (&[3], "Rowena Castlemaine"), (&[5], "Ottoline Fairweather"), (&[13], "Bertrand \"Bert\" \u{d3} S\u{fa}illeabh\u{e1}in"), (&[20], "Monitoring Integration")])),
    ("agent-in-results-with-doubles.json", FixtureKind::ReferenceItems("agents", &[(&[1], "Unassigned"), (&[3], "Rowena Castlemaine"), (&[13], "Bertrand \"Bert\" \u{d3} S\u{fa}illeabh\u{e1}in")])),
    ("team-bare-array.json", FixtureKind::ReferenceItems("teams", &[(&[4], "Service Desk"), (&[6], "Projects"), (&[8], "1st Line Support"), (&[9], "Pre-2020 Desk"), (&[11], "Renewals")])),
    ("priority-of-two-slas.json", FixtureKind::ReferenceItems("priorities", &[(&[1, 1], "Critical"), (&[1, 2], "High"), (&[1, 3], "Medium"), (&[4, 1], "Immediate"), (&[4, 3], "Planned")])),
    ("sla-bare-array.json", FixtureKind::ReferenceItems("slas", &[(&[1], "Standard SLA"), (&[3], "None"), (&[4], "Gold SLA")])),
    ("category-bare-array.json", FixtureKind::ReferenceItems("categories", &[(&[220], "Administrative>Onboarding>Employee"), (&[228], "Network>Remote access>VPN"), (&[333], "Premises>Lifts>Inspection"), (&[340], "Email>Shared mailbox"), (&[410], "Hardware>Laptop"), (&[411], "Duplicate")])),
    ("client-envelope-with-sidecar.json", FixtureKind::ReferenceItems("clients", &[(&[1], "Unknown"), (&[12], "Oakhollow Partners, Inc."), (&[27], "Brightwater Ceramics"), (&[31], "Larkfield Joinery Ltd")])),
    ("site-envelope-with-doubles.json", FixtureKind::ReferenceItems("sites", &[(&[1], "Unknown"), (&[18], "Main office"), (&[75], "Kiln Lane works"), (&[77], "Main office")])),
    ("users-envelope.json", FixtureKind::ReferenceItems("users", &[(&[-1], "General User"), (&[1], "General User"), (&[51], "Marguerite O'Dell"), (&[201], "Imogen Thackray-Vale"), (&[241], "Odile Brannigan")])),

    ("token-ok.json", FixtureKind::Token(3_600)),
    ("token-expires-as-text.json", FixtureKind::Token(3_600)),
    ("token-without-expires.json", FixtureKind::Token(300)),
    ("token-without-access-token.json", FixtureKind::NoToken(&[200], "unexpected response for a token (status 200, 84 bytes): the answer is not a token")),
    ("token-error-invalid-client.json", FixtureKind::NoToken(&[400, 401], "the authorization server refused client fixture-client (invalid_client)")),
    ("token-error-unauthorized-client.json", FixtureKind::NoToken(&[400], "the authorization server refused client fixture-client (unauthorized_client)")),
    ("token-error-invalid-scope.json", FixtureKind::NoToken(&[400], "the authorization server refused client fixture-client (invalid_scope)")),
    ("token-wrong-tenant.html", FixtureKind::NoToken(&[500], "request for a token failed (status 500)")),
    ("authinfo.json", FixtureKind::Discovery("https://auth.desk.example.com/auth/token?tenant=larkfield")),

    ("error-text.json", FixtureKind::Refusal(&[400], "request for the ticket list was refused (status 400): The value \"abc\" is not valid for lastupdatefromdate.")),
    ("error-object-with-description.json", FixtureKind::Refusal(&[401], "request for the ticket list was refused (status 401): The access token has expired.")),
    ("error-and-description.json", FixtureKind::Refusal(&[401], "request for the ticket list was refused (status 401): invalid_token: The access token is not valid.")),
    ("error-dotnet-exception.json", FixtureKind::Refusal(&[500], "request for the ticket list failed (status 500): Object reference not set to an instance of an object.")),
    ("error-message.json", FixtureKind::Refusal(&[401, 403], "request for the ticket list was refused (status {}): Authorization has been denied for this request.")),
    ("error-one-key.json", FixtureKind::Refusal(&[404], "request for the ticket list was refused (status 404): Ticket 999999 was not found")),
    ("error-errors-array.json", FixtureKind::Refusal(&[400], "request for the ticket list was refused (status 400): page_no must be greater than zero; page_size must be greater than zero")),
    ("error-json-string.json", FixtureKind::Refusal(&[403], "request for the ticket list was refused (status 403): You do not have permission to view tickets.")),
    ("error-empty.txt", FixtureKind::Refusal(&[503], "request for the ticket list failed (status 503)")),
    ("error-plain-text.txt", FixtureKind::Refusal(&[503], "request for the ticket list failed (status 503): Service Unavailable")),
    ("error-html.html", FixtureKind::Refusal(&[502], "request for the ticket list failed (status 502)")),
    ("error-truncated.json", FixtureKind::Refusal(&[500], "request for the ticket list failed (status 500)")),
    ("error-429-bare-string.json", FixtureKind::Refusal(&[429], "rate limit exceeded while fetching the ticket list")),
    ("error-429-text-without-quotes.txt", FixtureKind::Refusal(&[429], "rate limit exceeded while fetching the ticket list")),
];

#[test]
fn every_fixture_page_is_in_the_table_once() {
    let present: BTreeSet<String> = std::fs::read_dir(support::pages())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let listed: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let untested: Vec<_> = present.difference(&listed).collect();
    let missing: Vec<_> = listed.difference(&present).collect();
    assert!(untested.is_empty() && missing.is_empty(), "untested: {untested:?}; missing: {missing:?}");
    assert_eq!(listed.len(), FILES.len(), "a file is in the table twice");
}

#[test]
fn readme_lists_every_fixture_page() {
    let readme = String::from_utf8(page("README.md")).unwrap();
    let undocumented: Vec<_> = FILES
        .iter()
        .filter(|(_, expectation)| {
            !matches!(
                expectation,
                FixtureKind::Documentation | FixtureKind::ExpectedOf(_) | FixtureKind::CustomFields
            )
        })
        .map(|(name, _)| *name)
        .filter(|name| !readme.contains(&format!("`{name}`")))
        .collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
}

// ---- Pages of the ticket list ----

fn read(name: &str) -> ParsedPage {
    ParsedPage::parse(&page(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the tickets of a page, with status names from the recorded status list.
fn tickets(name: &str) -> BTreeMap<i64, Ticket> {
    let statuses = reference_rows(STATUSES, "status-bare-array.json");
    let name_of = |it: &ReferenceRow| Some((it.id()?, it.name(STATUSES).map(ToOwned::to_owned)));
    let names = statuses.iter().filter_map(name_of).collect();
    let mut tickets = read(name).tickets;
    for ticket in &mut tickets {
        ticket.resolve_status_name(&names);
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

/// Returns the state of a scan that received these pages.
fn scan_state(pages: &[ParsedPage]) -> ScanState {
    let options = ListScanOptions {
        appends_only: false,
        page_size: 100,
        cross_checked_count: None,
        accept_shortfall: 0,
    };
    let mut scan = ListScan::new(options, None);
    for (number, page) in (1..).zip(pages) {
        let page = received(number, page);
        scan.record_response(&page);
        if scan.add_page(&page).is_err() {
            return ScanState::Fault;
        }
    }
    match (scan.next_request(), scan.verdict()) {
        (NextRequest::Page(_), _) => ScanState::MorePages,
        (_, ReadVerdict::Verified) => ScanState::Verified,
        _ => ScanState::Incomplete,
    }
}

#[test]
fn list_page_yields_its_rows_and_count() {
    for (name, expectation) in FILES {
        let FixtureKind::List(expected) = expectation else { continue };
        let list = read(name);
        let ids: Vec<_> = list.tickets.iter().map(Ticket::id).collect();
        assert_eq!(ids, expected.ids, "{name}: the ids");
        assert_eq!(list.record_count, expected.count, "{name}: record_count");
        assert_eq!(list.rows_received, expected.received, "{name}: rows received");
        assert_eq!(list.rejected_rows.len(), expected.rejected_rows, "{name}: rows without a usable id");
        assert_eq!(list.repaired, expected.repaired, "{name}: repaired characters");
        assert_eq!(scan_state(&[list]), expected.result, "{name}: the state of the scan");
    }
}

#[test]
fn every_value_matches_its_expected_file() {
    let mut wrong = Vec::new();
    for (_, expectation) in FILES {
        let FixtureKind::ExpectedOf(name) = expectation else { continue };
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
fn only_values_of_the_wrong_type_are_rejected() {
    for (name, expectation) in FILES {
        let FixtureKind::List(_) = expectation else { continue };
        // A status that is not a number is rejected once, as STATUS_ID.
        let page = name.strip_suffix(".json").unwrap();
        let reported: BTreeSet<(i64, usize)> = match page {
            "list-wrong-kinds" => expected(page)
                .into_iter()
                .filter(|line| line.rejected.unwrap())
                .map(|line| (line.uid, if line.position == STATUS { STATUS_ID } else { line.position }))
                .collect(),
            _ => BTreeSet::new(),
        };
        let rejected: BTreeSet<(i64, usize)> = read(name)
            .tickets
            .iter()
            .flat_map(|ticket| ticket.rejected_values().iter().map(|(position, _)| (ticket.id(), *position)))
            .collect();
        let named = |set: BTreeSet<(i64, usize)>| -> Vec<_> {
            set.into_iter().map(|(uid, position)| (uid, ATTRIBUTES[position].name)).collect()
        };
        assert_eq!(named(rejected), named(reported), "{name}");
    }
}

#[test]
fn rejected_value_is_kept_as_received() {
    let tickets = tickets("list-wrong-kinds.json");
    let raw = |uid: i64, attribute: &str| {
        let kept = tickets[&uid]
            .rejected_values()
            .iter()
            .find(|(position, _)| ATTRIBUTES[*position].name == attribute);
        let (_, rejected) = kept.unwrap_or_else(|| panic!("{uid} {attribute}"));
        rejected.raw.clone()
    };
    assert_eq!(raw(561, "STATUS_ID"), r#"{"id":2,"name":"In Progress"}"#);
    assert_eq!(raw(561, "AGENT_ID"), "[3]");
    assert_eq!(raw(561, "TEAM_ID"), "\"Service Desk\"");
    assert_eq!(raw(562, "AGENT_ID"), "9223372036854775808");
    assert_eq!(raw(562, "SITE_ID"), "18.5");
    assert!(raw(562, "COST").contains("1e400"), "{}", raw(562, "COST"));
    assert_eq!(raw(563, "IS_IMPORTANT_CONTACT"), "2");
    assert_eq!(raw(564, "SOURCE_CREATED_DATE"), "\"31/12/2025\"");
    assert_eq!(raw(565, "DESCRIPTION"), r#"["a","b"]"#);
}

#[test]
fn row_without_a_valid_id_is_kept_whole() {
    let rejected_rows: Vec<_> = read("list-row-without-id.json").rejected_rows;
    let begins = [
        "{\"summary\":\"No id at all\"",
        "{\"id\":null,",
        "{\"id\":\"abc\",",
        "{\"id\":1.5,",
        "{\"id\":9223372036854775808,",
        "{\"id\":{\"value\":572},",
        "{\"id\":true,",
        "{}",
        "573",
    ];
    assert_eq!(rejected_rows.len(), begins.len());
    for (rejected_row, begins) in rejected_rows.iter().zip(begins) {
        assert!(
            rejected_row.rejected.raw.starts_with(begins),
            "{} instead of {begins}…",
            rejected_row.rejected.raw
        );
        let row: serde_json::Value = serde_json::from_str(&rejected_row.rejected.raw).unwrap();
        let whole = row.as_object().is_none_or(|row| row.is_empty() || row["use"] == "ticket");
        assert!(whole, "the row is truncated: {row}");
    }
}

#[test]
fn duplicate_id_keeps_the_latest_update() {
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
fn member_order_and_nested_members_of_the_same_name_do_not_matter() {
    let tickets = tickets("list-members-in-another-order.json");
    assert_eq!(*value(&tickets[&596], "NAME"), text("The id comes last"));
    assert_eq!(*value(&tickets[&598], "NAME"), text("The id comes in the middle"));
    assert_eq!(*value(&tickets[&596], "STATUS"), text("New"));
    assert_eq!(*value(&tickets[&596], "SOURCE_LAST_MODIFIED"), text("2026-02-24T11:02:13.230Z"));
}

#[test]
fn attribute_missing_from_a_plain_envelope_is_null() {
    let tickets = tickets("list-plain-envelope.json");
    for (uid, ticket) in &tickets {
        assert_eq!(*value(ticket, "OPEN_SEARCH_SCORE"), AttributeValue::Null, "{uid}");
    }
    assert_eq!(*value(&tickets[&3322], "USER_EMAIL"), AttributeValue::Null);
    assert_eq!(*value(&tickets[&3335], "TEAM_ID"), AttributeValue::Null, "the format of 2024 has none");
    assert_eq!(*value(&tickets[&3310], "TEAM_ID"), AttributeValue::Integer(4));
    assert_eq!(*value(&tickets[&3316], "ESTIMATE"), AttributeValue::Real(1.25));
    match value(&tickets[&3310], "ESTIMATE") {
        AttributeValue::Real(number) => assert_eq!(number.to_bits(), 0.0_f64.to_bits(), "-0.0 is 0.0"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_pages_together_are_verified() {
    let pages = ["list-two-pages-1.json", "list-two-pages-2.json"].map(read);
    assert_eq!(scan_state(&pages), ScanState::Verified);
}

#[test]
fn unknown_status_is_named_by_its_id() {
    let tickets = tickets("list-full-envelope-with-column-profile.json");
    assert_eq!(*value(&tickets[&212], "STATUS"), text("71"));
    assert_eq!(*value(&tickets[&1239], "STATUS"), text("Closed"));
}

// ---- A recorded server without sockets ----

/// Sends recorded responses by path: a status and a file each; the last one is repeated.
#[derive(Default)]
struct RecordedServer {
    responses: HashMap<String, Vec<(u16, &'static str)>>,
    requests: Mutex<Vec<RecordedRequest>>,
}

#[derive(Clone, Debug)]
struct RecordedRequest {
    url: String,
    path: String,
    with_token: bool,
    scope: Option<String>,
}

impl RecordedServer {
    fn with(mut self, path: &str, responses: &[(u16, &'static str)]) -> RecordedServer {
        self.responses.insert(path.to_owned(), responses.to_vec());
        self
    }

    /// Creates a server that issues tokens.
    fn with_token() -> RecordedServer {
        RecordedServer::default().with("/auth/token", &[(200, "token-ok.json")])
    }

    fn requests(&self, path: &str) -> Vec<RecordedRequest> {
        self.requests.lock().expect("the log").iter().filter(|it| it.path == path).cloned().collect()
    }
}

impl Transport for RecordedServer {
    fn send(
        &self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>> {
        let path = request.url.path().to_owned();
        let scope = request.form.iter().flatten().find(|(name, _)| *name == "scope");
        let scope = scope.map(|(_, value)| value.expose_secret().to_owned());
        let with_token = request.bearer.is_some();
        let earlier = self.requests(&path).len();
        let recorded = RecordedRequest { url: request.url.into(), path: path.clone(), with_token, scope };
        self.requests.lock().expect("the log").push(recorded);
        let prepared = self.responses.get(&path).unwrap_or_else(|| panic!("unexpected request for {path}"));
        let (status, name) = *prepared.get(earlier).or(prepared.last()).expect("a response");
        let response = HttpResponse {
            status,
            date: None,
            retry_after: None,
            location: None,
            age: None,
            body: page(name).into(),
            took: Duration::ZERO,
        };
        Box::pin(std::future::ready(Ok(response)))
    }
}

fn client_options(auth_url: Option<&str>, max_retries: u32) -> ClientOptions {
    ClientOptions {
        server: ServerUrl::parse("https://desk.example.com").expect("an address"),
        tenant: None,
        auth_url: auth_url.map(|url| url.parse().expect("an address")),
        client_id: CLIENT_ID.into(),
        client_secret: SecretString::from(CLIENT_SECRET.to_owned()),
        scope: "read:tickets".into(),
        narrower_scope: None,
        retry: RetryPolicy { max_retries, rate_limit_wait: Duration::from_mins(1), max_wait: Duration::MAX },
        privacy: Arc::default(),
    }
}

fn client(transport: &Arc<RecordedServer>, options: ClientOptions) -> HaloClient {
    let limit = RateLimit { requests: 1_000, window: Duration::from_secs(1) };
    HaloClient::new(Arc::clone(transport) as Arc<dyn Transport>, RateLimiter::new(limit, 0), options, || 0.5)
}

/// Creates a client without retries and with a configured authorization server.
fn no_retry_client(transport: &Arc<RecordedServer>) -> HaloClient {
    client(transport, client_options(Some("https://desk.example.com/auth"), 0))
}

const ALL: Filter = Filter::All { types: Vec::new(), coverage: Coverage::Plain };

/// Returns the text of an error and its cause, which must be one line, not a whole page, and without the secret.
fn checked_message(name: &str, error: &HaloError) -> String {
    let cause = std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    let message = format!("{error}{cause}");
    let secret = message.contains(CLIENT_SECRET);
    let page = message.contains('<') || message.contains(['\r', '\n']);
    assert!(!secret && !page && message.chars().count() < 400, "{name}: {message}");
    message
}

#[tokio::test]
async fn response_that_is_not_a_list_is_an_error() {
    for (name, expectation) in FILES {
        let FixtureKind::Fault(expected_message) = expectation else { continue };
        let bytes = page(name);
        assert_eq!(
            ParsedPage::parse(&bytes).map(|_| ()).unwrap_err().to_string(),
            *expected_message,
            "{name}"
        );

        let server = Arc::new(RecordedServer::with_token().with("/api/tickets", &[(200, name)]));
        let error = no_retry_client(&server).fetch_list(&ALL, 1, 100).await.unwrap_err();
        assert!(matches!(error, HaloError::Unreadable(_)), "{name}: {error:?}");
        let html = if bytes.starts_with(b"<!DOCTYPE html>") { " of HTML" } else { "" };
        let size = bytes.len();
        assert_eq!(
            checked_message(name, &error),
            format!(
                "unexpected response for the ticket list (status 200, {size} bytes{html}): {expected_message}"
            ),
        );
    }
}

#[tokio::test]
async fn open_and_closed_tickets_are_requested_with_any_filter() {
    let from: Timestamp = "2026-11-22T12:00:00.000Z".parse().unwrap();
    let all = |coverage| Filter::All { types: Vec::new(), coverage };
    let updated = |coverage| Filter::UpdatedFrom { types: vec![4], from, coverage };
    let plain = "?pageinate=true&page_no=1&page_size=100&order=id&orderdesc=false";
    let since = "&requesttype_id=4&lastupdatefromdate=2026-11-22T12%3A00%3A00.000Z";
    for (filter, extra) in [
        (all(Coverage::Plain), String::new()),
        (all(Coverage::Open), "&open_only=true".into()),
        (all(Coverage::Closed), "&closed_only=true".into()),
        (updated(Coverage::Plain), since.into()),
        (updated(Coverage::Open), format!("{since}&open_only=true")),
        (updated(Coverage::Closed), format!("{since}&closed_only=true")),
    ] {
        let server = Arc::new(RecordedServer::with_token().with("/api/tickets", &[(200, "list-empty.json")]));
        no_retry_client(&server).fetch_list(&filter, 1, 100).await.unwrap();
        let url = &server.requests("/api/tickets")[0].url;
        assert_eq!(*url, format!("https://desk.example.com/api/tickets{plain}{extra}"));
    }
}

#[tokio::test(start_paused = true)]
async fn response_that_is_not_a_list_is_retried() {
    for broken in ["list-truncated.json", "list-html-with-200.html", "list-tickets-missing.json"] {
        let responses = [(200, broken), (200, "list-empty.json")];
        let server = Arc::new(RecordedServer::with_token().with("/api/tickets", &responses));
        let page = client(&server, client_options(Some("https://desk.example.com/auth"), 1))
            .fetch_list(&ALL, 1, 100)
            .await;
        assert_eq!(page.unwrap().list.record_count, Some(0), "{broken}");
    }
}

#[tokio::test]
async fn single_ticket_is_read_from_its_own_members() {
    for (name, expectation) in FILES {
        let FixtureKind::Ticket(id, deleted, merged_into) = *expectation else { continue };
        let path = format!("/api/tickets/{id}");
        let server = Arc::new(RecordedServer::with_token().with(&path, &[(200, name)]));
        let (lookup, _) = no_retry_client(&server).fetch_ticket(id).await.unwrap();
        let TicketLookup::Found(ticket) = lookup else { panic!("{name}: {lookup:?}") };
        assert_eq!(*ticket, parse::parse_ticket(&page(name)).unwrap(), "{name}");
        assert_eq!(ticket.id(), id, "{name}");
        assert_eq!(ticket.is_deleted(), deleted, "{name}: deleted");
        assert_eq!(ticket.integer(MERGED_INTO_ID), Some(merged_into), "{name}: merged_into_id");
        assert_eq!(ticket.rejected_values(), [], "{name}");
        assert!(server.requests(&path)[0].with_token, "{name}");
    }
}

#[test]
fn nested_user_members_are_ignored() {
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
    assert_ne!(priorities[0], priorities[1], "the fixture cannot tell the two apart");
    assert_eq!(*value(&ticket, "INACTIVE"), whole["inactive"].as_bool().map_or(AttributeValue::Null, bit));
}

fn bit(value: bool) -> AttributeValue {
    AttributeValue::Integer(i64::from(value))
}

#[tokio::test]
async fn ticket_in_an_array_is_an_error_and_not_missing() {
    for (name, expectation) in FILES {
        let FixtureKind::NoTicket = expectation else { continue };
        let server = Arc::new(RecordedServer::with_token().with("/api/tickets/6125", &[(200, name)]));
        let error = no_retry_client(&server).fetch_ticket(6125).await.unwrap_err();
        assert!(checked_message(name, &error).ends_with("the answer is not a ticket"), "{name}: {error}");
    }
}

#[tokio::test]
async fn status_404_means_missing_ticket_for_any_body() {
    for (name, expectation) in FILES {
        let FixtureKind::Missing = expectation else { continue };
        let server = Arc::new(RecordedServer::with_token().with("/api/tickets/999", &[(404, name)]));
        let (lookup, _) = no_retry_client(&server).fetch_ticket(999).await.unwrap();
        assert!(matches!(lookup, TicketLookup::Missing), "{name}: {lookup:?}");
        assert_eq!(server.requests("/api/tickets/999").len(), 1, "{name}: a 404 was retried");
    }
}

#[test]
fn reference_items_are_read_bare_or_in_an_envelope() {
    for (name, expectation) in FILES {
        let FixtureKind::ReferenceItems(table, expected) = expectation else { continue };
        let table = ReferenceTable::named(table).expect("a reference table");
        let rows = reference_rows(table, name);
        let names: Vec<_> = rows.iter().map(|row| (row.key(table), row.name(table).unwrap())).collect();
        let expected: Vec<_> = expected.iter().map(|(key, name)| (key.to_vec(), *name)).collect();
        assert_eq!(names, expected, "{name}");
    }
    let column = |table: &'static ReferenceTable, name: &str, column: &str| {
        let position = table.position(column).expect("a column");
        reference_rows(table, name).into_iter().map(|mut row| row.values.remove(position)).collect::<Vec<_>>()
    };
    let kinds = [0, 0, 0, 0, 1].map(AttributeValue::Integer);
    assert_eq!(column(STATUSES, "status-bare-array.json", "TYPE"), kinds, "status 40 belongs to orders");
    let last = |name| column(STATUSES, "status-bare-array.json", name)[2].clone();
    assert_eq!(last("SEQUENCE"), AttributeValue::Integer(900));
    assert_eq!(last("COLOUR"), AttributeValue::Text("#000000".into()));
    let usages =
        ["tickets", "projects", "tickets", "tickets", "tickets"].map(|it| AttributeValue::Text(it.into()));
    assert_eq!(column(TICKET_TYPES, "tickettype-bare-array.json", "USE"), usages);
}

fn reference_rows(table: &ReferenceTable, name: &str) -> Vec<ReferenceRow> {
    let list = parse_reference_list(table, &page(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(list.unreadable, 0, "{name}");
    list.items
}

/// Starts a server over sockets that issues the token of this file and has no tickets.
fn serve_no_tickets(token: &str) -> FixtureServer {
    let page = |name: &str| vec![PreparedResponse::page(name)];
    FixtureServer::serve([
        ("/auth/token", page(token)),
        ("/api/status", page("status-bare-array.json")),
        ("/api/tickettype", page("tickettype-bare-array.json")),
        ("/api/tickets", page("list-empty.json")),
    ])
}

#[test]
fn repeated_type_name_selects_every_type_with_that_name() {
    let server = serve_no_tickets("token-ok.json");
    for (wanted, name, value) in
        [("service REQUEST", "requesttype", "33,41"), (" general enquiry", "requesttype_id", "36")]
    {
        let env = TestEnv::for_server(&server.url(), &format!("ticket_type = \"{wanted}\""));
        env.run(&["sync"]).success();
        let request = server.requests_for("/api/tickets").pop().unwrap();
        let query: HashMap<_, _> =
            url::form_urlencoded::parse(request.query.as_bytes()).into_owned().collect();
        assert_eq!(query.get(name).map(String::as_str), Some(value), "{wanted:?}: {}", request.query);
    }
}

// ---- Tokens ----

#[test]
fn token_is_sent_exactly_as_received() {
    for (name, expectation) in FILES {
        let FixtureKind::Token(_) = expectation else { continue };
        let server = serve_no_tickets(name);
        TestEnv::for_server(&server.url(), "").run(&["sync"]).success();
        let response: serde_json::Value = serde_json::from_slice(&support::page(name)).unwrap();
        let bearer = format!("Bearer {}", response["access_token"].as_str().unwrap());
        let requests = server.requests_for("/api/tickets");
        assert_eq!(requests[0].authorization.as_deref(), Some(&*bearer), "{name}");
        assert_eq!(server.requests_for("/auth/token").len(), 1, "{name}: one token is enough");
    }
}

#[tokio::test(start_paused = true)]
async fn token_is_renewed_shortly_before_it_expires() {
    for (name, expectation) in FILES {
        let FixtureKind::Token(lifetime) = *expectation else { continue };
        let recorded = RecordedServer::default().with("/auth/token", &[(200, name)]);
        let server = Arc::new(recorded.with("/api/tickets", &[(200, "list-empty.json")]));
        let client = no_retry_client(&server);
        let token_requests = async |after: u64| {
            tokio::time::advance(Duration::from_secs(after)).await;
            client.fetch_list(&ALL, 1, 100).await.unwrap();
            server.requests("/auth/token").len()
        };
        assert_eq!(token_requests(0).await, 1, "{name}");
        assert_eq!(token_requests(lifetime - 61).await, 1, "{name}: renewed after {} s", lifetime - 61);
        assert_eq!(token_requests(60).await, 2, "{name}: used in its last second");
    }
}

#[tokio::test]
async fn refused_token_request_is_reported_and_nothing_else_is_requested() {
    for (name, expectation) in FILES {
        let FixtureKind::NoToken(statuses, expected_message) = expectation else { continue };
        for status in *statuses {
            let server = Arc::new(RecordedServer::default().with("/auth/token", &[(*status, name)]));
            let error = no_retry_client(&server).fetch_list(&ALL, 1, 100).await.unwrap_err();
            assert_eq!(checked_message(name, &error), *expected_message, "{name}");
            assert!(server.requests("/api/tickets").is_empty(), "{name}: requested without a token");
        }
    }
}

#[tokio::test]
async fn refused_client_gets_advice_about_its_settings() {
    let server = |name| Arc::new(RecordedServer::default().with("/auth/token", &[(400, name)]));
    for name in ["token-error-invalid-client.json", "token-error-unauthorized-client.json"] {
        let server = server(name);
        let error = no_retry_client(&server).fetch_list(&ALL, 1, 100).await.unwrap_err();
        assert!(error.advice().contains("\"Client ID and Secret (Services)\""), "{name}: {}", error.advice());
        assert_eq!(server.requests("/auth/token").len(), 1, "{name}: a refusal was retried");
    }
    let wrong = Arc::new(RecordedServer::default().with("/auth/token", &[(500, "token-wrong-tenant.html")]));
    let error = no_retry_client(&wrong).fetch_list(&ALL, 1, 100).await.unwrap_err();
    assert!(error.advice().contains("tenant"), "{}", error.advice());
}

#[tokio::test]
async fn response_about_another_ticket_says_nothing() {
    let recorded = RecordedServer::with_token();
    let server = Arc::new(recorded.with("/api/tickets/7", &[(200, "detail-deleted-true.json")]));
    let client = no_retry_client(&server);
    for error in [client.fetch_ticket(7).await.map(drop), client.fetch_ticket_details(7).await.map(drop)]
        .map(Result::unwrap_err)
    {
        assert!(matches!(error, HaloError::Unreadable(_)), "{error:?}");
        let message = checked_message("another ticket", &error);
        assert!(message.ends_with("the ticket that was asked for"), "{message}");
    }
}

#[tokio::test]
async fn refused_scope_is_never_widened() {
    let refused = (400, "token-error-invalid-scope.json");
    let recorded = RecordedServer::default().with("/auth/token", &[refused, (200, "token-ok.json")]);
    let server = Arc::new(recorded.with("/api/tickets", &[(200, "list-empty.json")]));
    let error = no_retry_client(&server).fetch_list(&ALL, 1, 100).await.unwrap_err();
    assert!(error.advice().ends_with("below [halo]: scope = \"all\""), "{}", error.advice());
    let requests = server.requests("/auth/token");
    let scopes: Vec<_> = requests.into_iter().filter_map(|request| request.scope).collect();
    assert_eq!(scopes, ["read:tickets"]);
}

#[tokio::test]
async fn token_endpoint_is_discovered_from_a_server_that_names_itself_and_from_no_other() {
    for (name, expectation) in FILES {
        let FixtureKind::Discovery(url) = expectation else { continue };
        let own = url.split("/auth/").next().unwrap();
        for (address, is_itself) in [(own, true), ("https://desk.example.com", false)] {
            let recorded = RecordedServer::with_token().with("/api/authinfo", &[(200, name)]);
            let server = Arc::new(recorded.with("/api/tickets", &[(200, "list-empty.json")]));
            let options =
                ClientOptions { server: ServerUrl::parse(address).unwrap(), ..client_options(None, 0) };
            let found = client(&server, options).fetch_list(&ALL, 1, 100).await;
            let (info, token) = (server.requests("/api/authinfo"), server.requests("/auth/token"));
            assert_eq!(info[0].url, format!("{address}/api/authinfo"), "{name}");
            assert!(!info[0].with_token, "{name}: there is no token yet");
            if is_itself {
                found.unwrap();
                assert_eq!(token[0].url, *url, "{name}");
            } else {
                let advice = found.unwrap_err().advice().into_owned();
                let lines = format!("auth_url = \"{own}/auth\"; and tenant = \"larkfield\"");
                assert!(advice.ends_with(&lines), "{name}: {advice}");
                assert!(token.is_empty(), "{name}: the secret was sent");
            }
        }
    }
}

// ---- Errors ----

#[tokio::test]
async fn error_shows_the_message_of_its_body_on_one_line() {
    for (name, expectation) in FILES {
        let FixtureKind::Refusal(statuses, expected_message) = expectation else { continue };
        for status in *statuses {
            let server = Arc::new(RecordedServer::with_token().with("/api/tickets", &[(*status, name)]));
            let error = no_retry_client(&server).fetch_list(&ALL, 1, 100).await.unwrap_err();
            assert_eq!(
                checked_message(name, &error),
                expected_message.replace("{}", &status.to_string()),
                "{name}"
            );
            let (tokens, requests) = if *status == 401 { (2, 2) } else { (1, 1) };
            assert_eq!(server.requests("/auth/token").len(), tokens, "{name}: tokens after {status}");
            assert_eq!(server.requests("/api/tickets").len(), requests, "{name}: requests after {status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rate_limited_request_waits_and_is_retried() {
    for limit in ["error-429-bare-string.json", "error-429-text-without-quotes.txt"] {
        let responses = [(429, limit), (200, "list-empty.json")];
        let server = Arc::new(RecordedServer::with_token().with("/api/tickets", &responses));
        let client = client(&server, client_options(Some("https://desk.example.com/auth"), 1));
        let started = tokio::time::Instant::now();
        client.fetch_list(&ALL, 1, 100).await.unwrap();
        assert_eq!(started.elapsed().as_secs(), 60, "{limit}: rate_limit_wait");
    }
}

#[test]
fn custom_fields_of_every_type_match_the_expected_file() {
    let name = "detail-with-custom-fields-of-each-type.expected.tsv";
    let detail = parse::parse_ticket(&page(&name.replace(".expected.tsv", ".json"))).unwrap();
    let custom_fields = detail.custom_fields().unwrap();
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
    assert_eq!(custom_fields.fields(), expected.collect::<Vec<_>>());
    assert!(!custom_fields.has_rejected_values(), "{:?}", custom_fields.rejected_values());
}
