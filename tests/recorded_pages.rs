//! Runs the real program against recorded responses: all 101 attributes of every row reach the database and the exported
//! file with their expected values.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use halosync::ticket::attribute::ATTRIBUTE_COUNT;
use halosync::ticket::{ATTRIBUTES, AttributeValue, ValueKind};
use rstest::rstest;

mod support;

use support::database::attribute_value;
use support::expected::{Expected, expected};
use support::fixture_server::{FixtureServer, PreparedResponse};
use support::test_env::{CLIENT_ID, CLIENT_SECRET, TestEnv};

const PAGE: &str = "list-full-envelope-with-column-profile";

fn server() -> FixtureServer {
    let page = |name: &str| vec![PreparedResponse::page(name)];
    FixtureServer::serve([
        ("/auth/token", page("token-ok.json")),
        ("/api/authinfo", page("authinfo.json")),
        ("/api/status", page("status-bare-array.json")),
        ("/api/tickettype", page("tickettype-bare-array.json")),
        ("/api/tickets", page(&format!("{PAGE}.json"))),
    ])
}

/// Returns the expected values of the page: every attribute of every ticket.
fn expected_rows() -> BTreeMap<i64, Vec<Expected>> {
    let mut rows: BTreeMap<i64, Vec<Expected>> = BTreeMap::new();
    for value in expected(PAGE) {
        rows.entry(value.uid).or_default().push(value);
    }
    for (uid, values) in &rows {
        let positions: BTreeSet<_> = values.iter().map(|value| value.position).collect();
        assert_eq!(
            (positions.len(), values.len()),
            (ATTRIBUTE_COUNT, ATTRIBUTE_COUNT),
            "ticket {uid} has an expected value for each attribute"
        );
    }
    assert_eq!(rows.len(), 5);
    rows
}

#[test]
fn every_attribute_of_a_recorded_page_reaches_the_database() {
    let server = server();
    let env = TestEnv::for_server(&server.url(), "");
    env.run(&["sync"]).success();

    let database = env.connection();
    let mut wrong = Vec::new();
    for (uid, values) in expected_rows() {
        for expected in values {
            let name = expected.attribute();
            let sql = format!("SELECT \"{name}\", typeof(\"{name}\") FROM tickets WHERE UID = ?1");
            let (value, kind): (AttributeValue, String) = database
                .query_row(&sql, [uid], |row| Ok((attribute_value(row.get_ref(0)?), row.get(1)?)))
                .unwrap_or_else(|error| panic!("ticket {uid}: {error}"));
            let expected_type = match (&expected.value, ATTRIBUTES[expected.position].kind) {
                (AttributeValue::Null, _) => "null",
                (_, ValueKind::Integer | ValueKind::Boolean) => "integer",
                (_, ValueKind::Real) => "real",
                (_, ValueKind::Text | ValueKind::Timestamp | ValueKind::Clock) => "text",
            };
            if !same(&value, &expected.value) || kind != expected_type {
                wrong.push(format!("{uid} {name}: {value:?} ({kind}), not {:?}", expected.value));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 5);
    assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'c'"), 5);
    assert_eq!(env.number("SELECT COUNT(*) FROM rejects"), 0, "every value of the page is valid");
    assert_eq!(env.number("SELECT COUNT(*) FROM runs WHERE outcome = 'complete'"), 1);
    let covered = env.watermark();
    assert!(
        ("2026-02-26T16:00"..="2026-02-26T16:29:59.000Z").contains(&covered.as_str()),
        "the watermark comes from the `Date` of the responses, not from the local clock: {covered}"
    );
}

#[test]
fn every_attribute_of_a_recorded_page_reaches_the_export() {
    let server = server();
    let env = TestEnv::for_server(&server.url(), "");
    env.run(&["sync"]).success();
    env.run(&["export", "delta", "--format", "csv"]).success();

    let file = env.path("export/deltas/default/000000000000-000000000005.csv");
    let text = fs::read_to_string(&file).unwrap();
    let raw = fields(&text);
    let records: Vec<csv::StringRecord> =
        csv::Reader::from_reader(text.as_bytes()).records().map(Result::unwrap).collect();
    assert_eq!((raw.len(), records.len()), (6, 5), "a header and five tickets");
    assert_eq!(format!("{}\r\n", raw[0].join(",")), header());

    let column = |position: usize| 4 + position;
    let uid = ATTRIBUTES.iter().position(|it| it.name == "UID").unwrap();
    let mut wrong = Vec::new();
    for (id, values) in expected_rows() {
        let row = records.iter().position(|record| record[column(uid)] == id.to_string());
        let row = row.unwrap_or_else(|| panic!("ticket {id} is not in {}", file.display()));
        assert_eq!(&records[row][1], "c", "ticket {id}");
        assert_eq!(records[row][2].len(), 24, "ticket {id}: _observed_at");
        for expected in values {
            let parsed = &records[row][column(expected.position)];
            let written = raw[row + 1][column(expected.position)];
            let is_equal = match &expected.value {
                AttributeValue::Null => written.is_empty(),
                AttributeValue::Integer(number) => written == number.to_string(),
                AttributeValue::Real(number) => {
                    written.contains('.')
                        && written.parse().is_ok_and(|it: f64| it.to_bits() == number.to_bits())
                }
                AttributeValue::Text(text) if text.is_empty() => written == "\"\"",
                AttributeValue::Text(text) => !written.is_empty() && parsed == text,
            };
            if !is_equal {
                wrong.push(format!("{id} {}: {written}, not {:?}", expected.attribute(), expected.value));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let numbers: BTreeSet<_> = records.iter().map(|record| record[0].to_owned()).collect();
    assert_eq!(numbers, (1..=5).map(|seq| seq.to_string()).collect(), "_seq");
}

#[test]
fn complete_single_page_needs_one_list_request_and_one_token() {
    let server = server();
    let env = TestEnv::for_server(&server.url(), "");
    env.run(&["sync"]).success();

    let token: serde_json::Value = serde_json::from_slice(&support::page("token-ok.json")).unwrap();
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    for request in &server.requests() {
        let authorization = request.authorization.as_deref();
        let is_token_request = request.path == "/auth/token";
        assert_eq!(
            authorization,
            (!is_token_request).then_some(&*bearer),
            "{} {}",
            request.method,
            request.path
        );
        assert!(!request.query.contains(CLIENT_SECRET), "the secret is in a URL");
    }
    let tokens = server.requests_for("/auth/token");
    assert_eq!(tokens.len(), 1, "one token is enough");
    let form: BTreeMap<_, _> = url::form_urlencoded::parse(&tokens[0].body).into_owned().collect();
    let expected_form = [
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("grant_type", "client_credentials"),
        ("scope", "read:tickets"),
    ];
    assert_eq!(form, expected_form.map(|(name, value)| (name.to_owned(), value.to_owned())).into());

    // The others are probes: of open and closed tickets, and of the date filter.
    let has_any = |names: &[&str], query: &str| names.iter().any(|name| query.contains(name));
    let mut lists = server.requests_for("/api/tickets");
    assert!(lists.len() <= 6, "{lists:#?}");
    lists.retain(|request| !has_any(&["open_only", "closed_only", "lastupdatefromdate"], &request.query));
    assert_eq!(lists.len(), 1, "{lists:#?}");
    let query: BTreeMap<_, _> = url::form_urlencoded::parse(lists[0].query.as_bytes()).into_owned().collect();
    for (name, value) in [("pageinate", "true"), ("page_no", "1"), ("page_size", "100"), ("order", "id")] {
        assert_eq!(query.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(query.get("lastupdatefromdate"), None, "the initial load has no date filter");
    assert!(server.requests_for("/api/authinfo").is_empty(), "auth_url is set, so it is not requested");
}

/// Two rows of one ticket with equal stamps, at the end of one page and at the start of the next one.
#[rstest]
fn ticket_that_two_pages_show_differently_is_recorded_once(
    #[values(["one", "two"], ["two", "one"])] summaries: [&'static str; 2],
) {
    let server = FixtureServer::serve_with(move |request, _| {
        let name = match &*request.path {
            "/auth/token" => return Some(PreparedResponse::page("token-ok.json")),
            "/api/status" => "status-bare-array.json",
            "/api/tickettype" => "tickettype-bare-array.json",
            "/api/tickets" if request.query.contains("_only") || request.query.contains("fromdate") => {
                "list-empty.json"
            }
            "/api/tickets" => {
                let row = |id: u32, summary: &str| {
                    let at = "2026-02-24T11:02:13.23";
                    serde_json::json!({ "id": id, "summary": summary, "last_update": at, "dateoccurred": at })
                };
                let mut rows: Vec<_> = (1..=9).map(|id| row(id, "other")).collect();
                rows.extend(summaries.map(|summary| row(10, summary)));
                rows.extend((11..=19).map(|id| row(id, "other")));
                let page = if request.query.contains("page_no=1&") { &rows[..10] } else { &rows[10..] };
                let body = serde_json::json!({ "record_count": 20, "tickets": page });
                return Some(PreparedResponse {
                    body: body.to_string().into(),
                    ..PreparedResponse::page("list-empty.json")
                });
            }
            _ => return None,
        };
        Some(PreparedResponse::page(name))
    });
    let env = TestEnv::for_server(&server.url(), "page_size = 10\n");
    env.run(&["sync"]).code(3);
    let state =
        || (env.number("SELECT COUNT(*) FROM changes"), env.texts("SELECT NAME FROM tickets WHERE UID = 10"));
    let first = state();
    assert_eq!(first.0, 19);
    for _ in 0..3 {
        env.run(&["sync", "--full"]).code(3);
        assert_eq!(state(), first);
    }
}

fn header() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/exports/header.csv");
    fs::read_to_string(path).expect("fixtures/exports/header.csv")
}

/// Compares to the last bit: `-0.0` is not `0.0`.
fn same(left: &AttributeValue, right: &AttributeValue) -> bool {
    match (left, right) {
        (AttributeValue::Real(left), AttributeValue::Real(right)) => left.to_bits() == right.to_bits(),
        _ => left == right,
    }
}

/// Returns the fields of each row including their quotes, because a CSV reader does not distinguish NULL from an
/// empty text.
fn fields(text: &str) -> Vec<Vec<&str>> {
    let mut rows = vec![Vec::new()];
    let (mut start, mut quoted) = (0, false);
    for (position, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' | b'\r' if !quoted => {
                rows.last_mut().expect("a row").push(&text[start..position]);
                start = position + 1;
            }
            b'\n' if !quoted => {
                assert!(text[..position].ends_with('\r'), "a row does not end with CRLF");
                rows.push(Vec::new());
                start = position + 1;
            }
            _ => {}
        }
    }
    assert_eq!(rows.pop(), Some(Vec::new()), "the last row does not end with CRLF");
    rows
}
