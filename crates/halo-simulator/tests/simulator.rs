//! The simulator keeps to what is known of the real server.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{
    ApiEndpoint, ApiRequest, ApiResponse, Delivery, Edit, Knobs, Server, ServerFault, Simulator,
    SimulatorSettings, SqlDateTime,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn now() -> DateTime<Utc> {
    "2026-03-04T10:20:30.4Z".parse().expect("a moment")
}

fn server_with(tickets: u32, knobs: &[&str]) -> Server {
    let mut settings = SimulatorSettings { tickets, ..SimulatorSettings::default() };
    for knob in knobs {
        settings.knobs.set(knob).expect("a knob");
    }
    Server::new(settings, now())
}

fn server(tickets: u32) -> Server {
    server_with(tickets, &[])
}

const SCOPE: &str = "read:tickets";

fn credentials<'a>(secret: &'a str, scope: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("grant_type", "client_credentials"),
        ("client_id", "halosync-demo"),
        ("client_secret", secret),
        ("scope", scope),
    ]
}

fn token_answer(server: &mut Server, secret: &str, scope: &str, at: DateTime<Utc>) -> ApiResponse {
    server.respond(&ApiRequest::form("/auth/token", &credentials(secret, scope)), at)
}

fn token(server: &mut Server) -> String {
    let answer = token_answer(server, "demo-secret", SCOPE, now());
    let body = answer.json_body().expect("JSON");
    body["access_token"].as_str().expect("a token").to_owned()
}

fn ask(server: &mut Server, target: &str) -> ApiResponse {
    let token = token(server);
    server.respond(&ApiRequest::get(target, &token), now())
}

fn list(server: &mut Server, query: &str) -> Value {
    let answer = ask(server, &format!("/api/tickets?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
    answer.json_body().expect("JSON")
}

fn page(server: &mut Server, number: u32, query: &str) -> Value {
    list(server, &format!("pageinate=true&page_no={number}&page_size=100&order=id&{query}"))
}

fn ids(list: &Value) -> Vec<i64> {
    let rows = list["tickets"].as_array().expect("tickets");
    rows.iter().map(|row| row["id"].as_i64().expect("an id")).collect()
}

fn text_of(answer: &ApiResponse) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

// ---- Paging (halo-api.md §2.1) ----

#[test]
fn a_list_without_pageinate_answers_fifty_rows_and_calls_them_all() {
    let mut server = server(300);
    for query in ["", "page_no=2", "page_size=100", "pageinate=true", "pageinate=false&page_no=1", "order=id"]
    {
        let list = list(&mut server, query);
        assert_eq!((ids(&list).len(), &list["record_count"]), (50, &json!(50)), "{query}");
        assert_eq!(list["page_no"], Value::Null, "{query}");
    }
}

#[test]
fn the_rows_of_an_unpaged_list_are_the_newest_up_to_count() {
    let mut server = server(1_300);
    let newest: Vec<i64> = server.ids().into_iter().rev().collect();
    for (query, rows) in [("", 50), ("count=7", 7), ("count=700", 700), ("count=5000", 1_000)] {
        let list = list(&mut server, query);
        assert_eq!(ids(&list), newest[..rows], "{query}");
        assert_eq!(list["record_count"], json!(rows), "{query}");
    }
}

#[test]
fn with_both_switches_the_count_is_the_total_and_the_page_is_capped() {
    let mut server = server(717);
    let all = server.ids();
    let first = list(&mut server, "PageInate=True&Page_No=1&PAGE_SIZE=1000&order=id");
    assert_eq!(ids(&first), all[..100]);
    assert_eq!(first["record_count"], json!(717));
    let last = page(&mut server, 8, "");
    assert_eq!(ids(&last), all[700..]);
    assert_eq!((&last["page_no"], &last["page_size"]), (&json!(8), &json!(100)));
    assert_eq!(ids(&page(&mut server, 9, "")), [0_i64; 0]);
}

#[test]
fn a_page_past_the_end_can_repeat_the_last() {
    let mut server = server_with(150, &["page_past_end=last"]);
    assert_eq!(ids(&page(&mut server, 7, "")), ids(&page(&mut server, 2, "")));
}

#[test]
fn a_lower_page_cap_cuts_without_a_word() {
    let mut server = server_with(150, &["page_cap=40"]);
    let all = server.ids();
    assert_eq!(ids(&page(&mut server, 2, "")), all[40..80]);
}

#[test]
fn ids_have_gaps() {
    let ids = server(500).ids();
    assert_eq!(ids.len(), 500);
    assert!(ids.last().expect("a last") - ids[0] > 600);
}

// ---- Order (§2.2) ----

#[test]
fn without_an_order_pages_come_newest_first_or_by_a_moving_sla() {
    let mut newest = server(200);
    let down: Vec<i64> = newest.ids().into_iter().rev().collect();
    assert_eq!(ids(&list(&mut newest, "pageinate=true&page_no=1&page_size=100")), down[..100]);

    let mut moving = server_with(200, &["default_order=sla"]);
    let token = token(&mut moving);
    let target = "/api/tickets?pageinate=true&page_no=1&page_size=100";
    let mut seen = HashSet::new();
    for hours in 0..5 {
        let answer = moving.respond(&ApiRequest::get(target, &token), now() + TimeDelta::minutes(10 * hours));
        seen.insert(ids(&answer.json_body().expect("JSON")));
    }
    assert!(seen.len() > 1, "the order stood still");
}

#[test]
fn an_order_that_is_not_known_is_ignored() {
    let mut server = server(120);
    let unordered = ids(&list(&mut server, "pageinate=true&page_no=1&page_size=20"));
    for order in ["last_update", "colour"] {
        let ordered = list(&mut server, &format!("pageinate=true&page_no=1&page_size=20&order={order}"));
        assert_eq!(ids(&ordered), unordered, "{order}");
    }
    let up = ids(&page(&mut server, 1, ""));
    let down = ids(&page(&mut server, 1, "orderdesc=true"));
    assert_eq!(up[0], server.ids()[0]);
    assert_eq!(down[0], *server.ids().last().expect("a last"));
}

// ---- Envelope (§2.3) ----

#[test]
fn the_envelope_is_plain_or_carries_the_column_profile() {
    let keys = |list: &Value| {
        let mut keys: Vec<_> = list.as_object().expect("an object").keys().cloned().collect();
        keys.sort();
        keys
    };
    let mut server = server(60);
    assert_eq!(keys(&list(&mut server, "")), ["include_children", "record_count", "tickets"]);
    let paged = page(&mut server, 1, "");
    assert_eq!(keys(&paged), ["include_children", "page_no", "page_size", "record_count", "tickets"]);
    let full = page(&mut server, 1, "includecolumns=true");
    assert_eq!(full["columns"][2]["column_name"], "slatimeleftpercused");
    assert_eq!(full["columns"][2]["order_seq"], 1);
    assert_eq!(full["tickets"][0]["timetaken"], json!(0.750_000_000_000_000_1));
}

// ---- Date filters (§2.4) ----

#[test]
fn a_date_filter_is_inclusive_or_exclusive_and_takes_both_spellings() {
    for (knob, includes) in [("date_filter=inclusive", true), ("date_filter=exclusive", false)] {
        let mut server = server_with(200, &[knob]);
        let id = server.ids()[17];
        server.edit(id, Edit::Touch, now() - TimeDelta::minutes(30));
        let stamp = server.row(id, now()).expect("a row")["last_update"].as_str().expect("a date").to_owned();
        for spelling in [stamp.clone(), format!("{stamp}Z"), stamp.replace(':', "%3A")] {
            let found = page(&mut server, 1, &format!("lastupdatefromdate={spelling}"));
            assert_eq!(ids(&found).contains(&id), includes, "{knob} {spelling}");
            let found =
                page(&mut server, 1, &format!("lastupdatefromdate={spelling}&lastupdatetodate={spelling}"));
            assert_eq!(ids(&found).contains(&id), includes, "{knob} {spelling}");
        }
    }
}

#[test]
fn a_date_filter_can_be_ignored_and_a_bad_date_is_400() {
    let mut deaf = server_with(80, &["date_filter=ignored"]);
    assert_eq!(page(&mut deaf, 1, "lastupdatefromdate=2999-01-01")["record_count"], 80);
    let mut server = server(80);
    assert_eq!(page(&mut server, 1, "lastupdatefromdate=2999-01-01")["record_count"], 0);
    assert_eq!(ask(&mut server, "/api/tickets?lastupdatefromdate=yesterday").status, 400);
}

#[test]
fn a_filter_read_as_local_time_misses_or_repeats_hours() {
    let mut server = server_with(50, &["date_filter_shift=300"]);
    let id = server.ids()[3];
    server.edit(id, Edit::Touch, now());
    assert_eq!(page(&mut server, 1, "lastupdatefromdate=2026-03-04T10:00:00")["record_count"], 0);
    assert_eq!(ids(&page(&mut server, 1, "lastupdatefromdate=2026-03-04T05:20:00")), [id]);
}

#[test]
fn datesearch_knows_database_columns_only() {
    let mut server = server(400);
    let opened = page(&mut server, 1, "datesearch=dateoccured&startdate=2025-03-04");
    let count = opened["record_count"].as_i64().expect("a count");
    assert!((80..200).contains(&count), "{count}");
    let ignored = page(&mut server, 1, "datesearch=dateoccurred&startdate=2025-03-04");
    assert_eq!(ignored["record_count"], 400);
}

#[test]
fn a_change_becomes_readable_with_a_stamp_that_is_already_past() {
    let mut server = server_with(20, &["commit_delay_ms=5000"]);
    let id = server.ids()[0];
    server.edit(id, Edit::Touch, now());
    let row = server.row(id, now()).expect("a row");
    assert_eq!(row["last_update"], "2026-03-04T10:20:25.4");
    let stamp = |name: &str| SqlDateTime::parse(row[name].as_str().expect("a date")).expect("a date");
    let later = stamp("lastactiondate").millis_since(stamp("last_update"));
    assert!((110..370).contains(&later), "{later}");
}

#[test]
fn rows_without_a_stamp_match_no_date_filter() {
    let mut server = server_with(1_000, &["undated=500"]);
    let rows: Vec<Value> = server.ids().into_iter().filter_map(|id| server.row(id, now())).collect();
    let absent = rows.iter().filter(|row| row.get("last_update").is_none()).count();
    let sentinel = rows.iter().filter(|row| row["last_update"] == "1900-01-01T00:00:00").count();
    assert!(absent > 150 && sentinel > 150, "{absent} {sentinel}");
    let found = page(&mut server, 1, "lastupdatefromdate=2000-01-01");
    assert_eq!(found["record_count"], json!(1_000 - absent - sentinel));
}

// ---- Which tickets (§2.5) ----

#[test]
fn unknown_parameters_are_ignored() {
    let mut server = server(70);
    assert_eq!(page(&mut server, 1, "tickettype_id=3&agentid=9&colour=red")["record_count"], 70);
}

#[test]
fn open_and_closed_lists_add_up_to_the_plain_one() {
    let mut server = server(1_000);
    let count = |list: &Value| list["record_count"].as_i64().expect("a count");
    let open = count(&page(&mut server, 1, "open_only=true"));
    let closed = count(&page(&mut server, 1, "closed_only=True"));
    assert_eq!(open + closed, 1_000);
    assert!((620..780).contains(&closed), "{closed}");

    let mut recent = server_with(1_000, &["plain_list=open_and_recent"]);
    let plain = count(&page(&mut recent, 1, ""));
    assert!(open < plain && plain < 500, "{plain}");
    assert_eq!(count(&page(&mut recent, 1, "closed_only=true")), closed);
    assert_eq!(recent.ids().len(), usize::try_from(plain).expect("a count"));
}

#[test]
fn filters_choose_by_type_status_client_agent_and_id() {
    let mut server = server(600);
    for (query, field, value) in [
        ("requesttype_id=1", "tickettype_id", 1),
        ("status_id=28", "status_id", 28),
        ("client_id=14", "client_id", 14),
        ("agent_id=5", "agent_id", 5),
    ] {
        let found = page(&mut server, 1, query);
        let rows = found["tickets"].as_array().expect("rows");
        assert!(!rows.is_empty() && rows.len() < 600, "{query}");
        assert!(rows.iter().all(|row| row[field] == value), "{query}");
    }
    let some = [server.ids()[3], server.ids()[90], 5];
    let found = page(&mut server, 1, &format!("ticketids={},{},{}", some[1], some[0], some[2]));
    assert_eq!(ids(&found), some[..2]);
    let two = page(&mut server, 1, "requesttype=1,3")["record_count"].as_i64().expect("a count");
    assert!((300..550).contains(&two), "{two}");
    let mut deaf = server_with(600, &["type_filter=ignored"]);
    assert_eq!(page(&mut deaf, 1, "requesttype_id=1")["record_count"], 600);
}

#[test]
fn deleted_tickets_are_listed_and_answered_as_the_knobs_say() {
    for (knob, with_parameter) in [("never", 99), ("only", 1), ("also", 100)] {
        let mut server = server_with(100, &[&format!("deleted_listed={knob}")]);
        let id = server.ids()[50];
        server.delete(id, now());
        assert_eq!(page(&mut server, 1, "")["record_count"], 99);
        assert_eq!(page(&mut server, 1, "deleted=true")["record_count"], with_parameter, "{knob}");
        server.restore(id, now());
        assert_eq!(server.ids().len(), 100);
    }
    for (knob, status) in [("404", 404), ("403", 403), ("200", 200)] {
        let mut server = server_with(10, &[&format!("deleted_get={knob}")]);
        let id = server.ids()[5];
        server.delete(id, now());
        let answer = ask(&mut server, &format!("/api/tickets/{id}"));
        assert_eq!(answer.status, status);
        if status == 200 {
            assert_eq!(answer.json_body().expect("JSON")["deleted"], true);
        }
    }
}

#[test]
fn what_moves_the_stamp_is_for_the_knobs_to_say() {
    for (knob, act) in [
        ("delete_stamps", (|server, id| server.delete(id, now())) as fn(&mut Server, i64)),
        ("merge_stamps", |server, id| server.merge(id, 1, now())),
        ("sla_stamps", |server, id| server.recount_sla(id, now())),
    ] {
        for (value, moves) in [("on", true), ("off", false)] {
            let mut server = server_with(20, &[&format!("{knob}={value}"), "deleted_get=200"]);
            let id = server.ids()[2];
            let stamp = |server: &Server| server.row(id, now()).expect("a row")["last_update"].clone();
            let before = stamp(&server);
            act(&mut server, id);
            assert_eq!(stamp(&server) != before, moves, "{knob}={value}");
        }
    }
}

#[test]
fn a_merge_can_be_undone() {
    let mut server = server(30);
    let ids = server.ids();
    let row = |server: &Server| server.row(ids[4], now()).expect("a row");
    let before = row(&server);
    server.merge(ids[4], ids[9], now());
    assert_eq!((&row(&server)["merged_into_id"], &row(&server)["status_id"]), (&json!(ids[9]), &json!(9)));
    assert_eq!(server.ids().len(), 30);
    server.unmerge(ids[4], now());
    let after = row(&server);
    assert_eq!((&after["merged_into_id"], &after["status_id"]), (&json!(0), &before["status_id"]));
    server.knobs().set("merged_listed=off").expect("a knob");
    server.merge(ids[4], ids[9], now());
    assert_eq!(server.ids().len(), 29);
}

#[test]
fn hidden_tickets_leave_the_list_and_are_forbidden_or_not_found() {
    let mut server = server(40);
    let id = server.ids()[7];
    server.hide(&[id]);
    assert_eq!(server.ids().len(), 39);
    assert_eq!(ask(&mut server, &format!("/api/tickets/{id}")).status, 403);
    server.knobs().set("hidden_get=404").expect("a knob");
    assert_eq!(ask(&mut server, &format!("/api/tickets/{id}")).status, 404);
    server.unhide(&[id]);
    assert_eq!(server.ids().len(), 40);
}

#[test]
fn a_renamed_client_changes_rows_and_no_stamp() {
    let mut server = server(100);
    let before = page(&mut server, 1, "client_id=14");
    server.rename_client(14, "Copper \"Line\"");
    let after = page(&mut server, 1, "client_id=14");
    assert_eq!(after["tickets"][0]["client_name"], "Copper \"Line\"");
    assert_eq!(after["tickets"][0]["last_update"], before["tickets"][0]["last_update"]);
}

// ---- Rows (§2.7, §5, §6) ----

#[test]
fn every_recorded_field_occurs_in_some_row_and_every_row_is_json() {
    let mut server = server(1_000);
    let mut seen: HashSet<String> = HashSet::new();
    let mut bytes = 0;
    for number in 1..=10 {
        let answer = ask(&mut server, &format!("/api/tickets?pageinate=true&page_no={number}&page_size=100"));
        bytes += answer.body.len();
        for row in answer.json_body().expect("JSON")["tickets"].as_array().expect("rows") {
            seen.extend(row.as_object().expect("a row").keys().cloned());
        }
    }
    let table = include_str!("../../../fixtures/attributes.tsv");
    let recorded = table.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let missing: Vec<_> = recorded
        .filter(|cells| cells[5] == "recorded" && !seen.contains(cells[2]))
        .map(|cells| cells[2])
        .collect();
    assert_eq!(missing, [""; 0]);
    assert!((3_200_000..4_000_000).contains(&bytes), "{} bytes a row", bytes / 1_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_row_of_every_world_is_json_with_its_own_id(seed: u64, tickets in 1..60_u32, details_bytes in 0..5_000_u32) {
        let knobs = Knobs { details_bytes, undated: 300, ..Knobs::default() };
        let mut server = Server::new(SimulatorSettings { seed, tickets, knobs, ..SimulatorSettings::default() }, now());
        server.edit_some(tickets / 2, now());
        let ids = server.ids();
        prop_assert_eq!(ids.len(), usize::try_from(tickets).expect("a count"));
        for id in ids {
            let row = server.row(id, now()).expect("JSON");
            prop_assert_eq!(row["id"].as_i64(), Some(id));
            prop_assert_eq!(&row["idsummary"], &json!(format!("{id} - {}", row["summary"].as_str().expect("a text"))));
        }
    }
}

#[test]
fn numbers_keep_the_spelling_of_the_server() {
    let mut server = server(300);
    let text = text_of(&ask(&mut server, "/api/tickets?pageinate=true&page_no=1&page_size=100"));
    for spelling in ["\"estimate\":-0.0,", "\"cost\":0.0,", "\"cost\":27.0,", "\"cost\":0.7500000000000001,"]
    {
        assert!(text.contains(spelling), "{spelling}");
    }
    assert!(!text.contains(":null"));
}

#[test]
fn every_fraction_ends_in_0_3_or_7_milliseconds() {
    let mut server = server(200);
    let found = page(&mut server, 1, "");
    let mut with_fraction = 0;
    for row in found["tickets"].as_array().expect("rows") {
        for name in ["dateoccurred", "last_update", "lastactiondate", "respondbydate"] {
            let text = row[name].as_str().expect("a date");
            assert!(!text.ends_with(['Z', '.']), "{text}");
            let Some((_, fraction)) = text.split_once('.') else { continue };
            assert!(fraction.len() <= 3 && !fraction.ends_with('0'), "{text}");
            assert!(fraction.len() < 3 || fraction.ends_with(['3', '7']), "{text}");
            with_fraction += 1;
        }
    }
    assert!(with_fraction > 300);
}

#[test]
fn unset_dates_are_sentinels_and_unknown_users_have_no_address() {
    let server = server(1_000);
    let rows: Vec<Value> = server.ids().into_iter().filter_map(|id| server.row(id, now())).collect();
    for (name, sentinel) in [
        ("lastincomingemail", "0001-01-01T00:00:00"),
        ("targetdate", "1900-01-01T00:00:00"),
        ("deadlinedate", "1900-01-01T00:00:00"),
        ("fixbydate", "1899-12-30T00:00:00"),
    ] {
        assert!(rows.iter().any(|row| row[name] == sentinel), "{name}");
    }
    let nobody: Vec<_> = rows.iter().filter(|row| row["client_id"] == 1).collect();
    assert!(!nobody.is_empty() && nobody.len() < 100, "{}", nobody.len());
    for name in ["reportedby", "user_email", "emailtolist"] {
        assert!(nobody.iter().all(|row| row.get(name).is_none()), "{name}");
    }
    assert!(rows.iter().any(|row| row.get("dateclosed").is_none()));
    assert!(rows.iter().any(|row| row.get("parent_id").is_some()));
}

#[test]
fn the_row_shape_follows_its_knobs() {
    let mut server = server_with(10, &["row_shape=2024", "category_display=on", "clock_zero=04:00:00"]);
    let row = &page(&mut server, 1, "")["tickets"][0];
    assert!(row.get("team_id").is_none() && row.get("_open_search_score").is_none());
    assert!(row.get("category_1_display").is_some());
    assert_eq!(row["starttime"], "04:00:00");
}

#[test]
fn only_the_age_differs_between_two_moments() {
    let server = server(50);
    let id = server.ids()[20];
    let early = server.row(id, now()).expect("a row");
    let late = server.row(id, now() + TimeDelta::hours(12)).expect("a row");
    let age = |row: &Value| row["ticketage"].as_f64().expect("days");
    assert!((age(&late) - age(&early) - 0.5).abs() < 1e-9);
    let differing: Vec<_> = early
        .as_object()
        .expect("a row")
        .iter()
        .filter(|(name, value)| late[name.as_str()] != **value)
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(differing, ["ticketage"]);
}

#[test]
fn the_same_seed_makes_the_same_world_and_another_seed_another() {
    let world = |seed| {
        let server =
            Server::new(SimulatorSettings { seed, tickets: 50, ..SimulatorSettings::default() }, now());
        server.ids().into_iter().map(|id| server.row(id, now())).collect::<Vec<_>>()
    };
    assert_eq!(world(7), world(7));
    assert_ne!(world(7), world(8));
}

#[test]
fn a_raw_row_is_served_verbatim() {
    let mut server = server(10);
    let id = server.ids()[4];
    server.set_raw_row(id, r#"{"id":"\ud800",,}"#.to_owned());
    let text = text_of(&ask(&mut server, "/api/tickets?pageinate=true&page_no=1&page_size=100&order=id"));
    assert!(text.contains(r#",{"id":"\ud800",,},{"id":"#));
    assert_eq!(server.row(id, now()), None);
}

// ---- Single ticket, custom fields, reference lists (§3, §4) ----

#[test]
fn a_single_ticket_is_a_bare_object_with_custom_fields() {
    let mut server = server(30);
    let id = server.ids()[11];
    let ticket = ask(&mut server, &format!("/API/Tickets/{id}")).json_body().expect("JSON");
    assert_eq!(ticket["id"], id);
    assert_eq!(ticket["summary"], server.row(id, now()).expect("a row")["summary"]);
    let kinds: HashSet<_> = ticket["customfields"]
        .as_array()
        .expect("fields")
        .iter()
        .map(|field| field["type"].as_i64().expect("a type"))
        .collect();
    assert_eq!(kinds, HashSet::from([0, 1, 2, 3, 4, 5, 6, 7, 10]));
    let text = text_of(&ask(&mut server, &format!("/api/tickets/{id}")));
    assert!(text.contains("\"site_id\":"));
    assert!(ticket["user"]["site_id"].is_f64() || ticket.get("user").is_none());
}

#[test]
fn an_unknown_ticket_is_404_in_the_shape_of_the_knob() {
    for (shape, body) in [
        ("message", r#"{"Message":"Ticket 5 could not be found."}"#),
        ("error", r#"{"error":"Ticket 5 could not be found."}"#),
        ("nested", r#"{"error":{"error_description":"Ticket 5 could not be found."}}"#),
        ("list", r#"{"errors":["Ticket 5 could not be found."]}"#),
        ("string", r#""Ticket 5 could not be found.""#),
        ("plain", "Ticket 5 could not be found."),
        ("empty", ""),
    ] {
        let mut server = server_with(3, &[&format!("error_body={shape}")]);
        let answer = ask(&mut server, "/api/tickets/5");
        assert_eq!((answer.status, text_of(&answer).as_str()), (404, body));
    }
}

#[test]
fn custom_fields_come_with_the_list_where_the_server_knows_the_parameter() {
    let mut knows = server(20);
    let rows = page(&mut knows, 1, "include_custom_fields=120,126");
    for row in rows["tickets"].as_array().expect("rows") {
        assert_eq!(row["customfields"].as_array().expect("fields").len(), 2);
    }
    let id = knows.ids()[0];
    knows.edit(id, Edit::CustomField { field: 121, value: json!(42), display: "42".into() }, now());
    let row = &page(&mut knows, 1, "include_custom_fields=121")["tickets"][0];
    assert_eq!(row["customfields"][0]["value"], 42);

    let mut ignores = server_with(20, &["include_custom_fields=ignored"]);
    assert!(page(&mut ignores, 1, "include_custom_fields=120")["tickets"][0].get("customfields").is_none());
    let fields = ask(&mut ignores, "/api/FieldInfo").json_body().expect("JSON");
    assert_eq!(fields.as_array().expect("an array").len(), 9);
}

#[test]
fn statuses_and_types_are_bare_arrays_that_know_no_paging() {
    let mut server = server(5);
    for path in ["/api/Status", "/api/tickettype"] {
        let one = ask(&mut server, &format!("{path}?pageinate=true&page_no=1&page_size=2")).json_body();
        let two = ask(&mut server, &format!("{path}?pageinate=true&page_no=2&page_size=2")).json_body();
        assert!(one.as_ref().expect("JSON").as_array().expect("an array").len() > 6, "{path}");
        assert_eq!(one, two, "{path}");
    }
    server.rename_status(2, "Being worked on");
    let statuses = text_of(&ask(&mut server, "/api/status?excludeclosed=true"));
    assert!(statuses.contains("Being worked on") && !statuses.contains("\"Closed\""));
    let types = |server: &mut Server, query: &str| {
        ask(server, &format!("/api/tickettype{query}"))
            .json_body()
            .expect("JSON")
            .as_array()
            .expect("an array")
            .len()
    };
    assert_eq!(types(&mut server, ""), 7);
    assert_eq!(types(&mut server, "?showall=true&showinactive=true"), 8);
}

// ---- Access (§1) ----

#[test]
fn a_token_is_three_dotted_parts_and_lives_an_hour() {
    let mut server = server(5);
    let answer = token_answer(&mut server, "demo-secret", SCOPE, now()).json_body().expect("JSON");
    let token = answer["access_token"].as_str().expect("a token").to_owned();
    assert!(token.starts_with("eyJ") && token.split('.').count() == 3);
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(3600)));
    for name in ["scope", "refresh_token", "id_token"] {
        assert!(!answer[name].as_str().expect("a text").is_empty(), "{name}");
    }
    let request = ApiRequest::get("/api/status", &token);
    assert_eq!(server.respond(&request, now() + TimeDelta::seconds(3_599)).status, 200);
    assert_eq!(server.respond(&request, now() + TimeDelta::seconds(3_600)).status, 401);
    assert_eq!(server.respond(&ApiRequest::get("/api/status", "eyJ.no.no"), now()).status, 401);
}

#[test]
fn a_refused_token_says_why() {
    for (knob, secret, scope, error) in [
        ("tenant=accepted", "wrong", SCOPE, "invalid_client"),
        ("tenant=accepted", "demo-secret", "read:users", "invalid_scope"),
        ("scope_read_tickets=off", "demo-secret", SCOPE, "invalid_scope"),
        ("application=other", "demo-secret", SCOPE, "unauthorized_client"),
    ] {
        let mut server = server_with(5, &[knob]);
        let answer = token_answer(&mut server, secret, scope, now());
        assert_eq!(
            (answer.status, &answer.json_body().expect("JSON")["error"]),
            (400, &json!(error)),
            "{knob}"
        );
    }
}

#[test]
fn a_wrong_tenant_is_a_whole_html_page() {
    for (knob, given, works) in [
        ("accepted", "", true),
        ("accepted", "?tenant=acme", true),
        ("accepted", "?tenant=other", false),
        ("required", "", false),
        ("required", "?Tenant=ACME", true),
        ("ignored", "?tenant=other", true),
    ] {
        let mut settings =
            SimulatorSettings { tenant: Some("acme".into()), tickets: 3, ..SimulatorSettings::default() };
        settings.knobs.set(&format!("tenant={knob}")).expect("a knob");
        let mut server = Server::new(settings, now());
        let mut request = ApiRequest::form("/auth/token", &credentials("demo-secret", SCOPE));
        request.query = given.trim_start_matches('?').to_owned();
        let answer = server.respond(&request, now());
        assert_eq!(answer.status == 200, works, "{knob} {given}");
        if !works {
            assert!(answer.header("Content-Type").expect("a type").starts_with("text/html"));
            assert!((240_000..260_000).contains(&answer.body.len()));
        }
    }
}

#[test]
fn a_token_without_scope_opens_nothing_and_a_user_login_no_tickets() {
    let mut server = server(5);
    let answer = token_answer(&mut server, "demo-secret", "", now()).json_body().expect("JSON");
    let request = ApiRequest::get("/api/tickets", answer["access_token"].as_str().expect("a token"));
    assert_eq!(server.respond(&request, now()).status, 401);
    let mut user = server_with(5, &["application=user"]);
    assert_eq!(ask(&mut user, "/api/tickets").status, 403);
    let mut narrow = server_with(5, &["reference_needs_all=on"]);
    assert_eq!(ask(&mut narrow, "/api/status").status, 403);
    assert_eq!(ask(&mut narrow, "/api/tickets").status, 200);
}

#[test]
fn a_new_token_may_end_the_old_one() {
    for (knob, status) in [("off", 200), ("on", 401)] {
        let mut server = server_with(5, &[&format!("new_token_kills_old={knob}")]);
        let old = token(&mut server);
        token(&mut server);
        assert_eq!(server.respond(&ApiRequest::get("/api/status", &old), now()).status, status);
    }
}

#[test]
fn discovery_needs_no_token_and_can_be_missing() {
    let request = ApiRequest { method: "GET".into(), path: "/api/authinfo".into(), ..ApiRequest::default() };
    let info = server(5).respond(&request, now()).json_body().expect("JSON");
    assert_eq!(info["auth_url"], "http://127.0.0.1:0/auth");
    assert_eq!(server_with(5, &["authinfo=off"]).respond(&request, now()).status, 404);
}

#[test]
fn outside_the_api_the_portal_answers_200() {
    let mut server = server(5);
    let answer = ask(&mut server, "/tickets?pageinate=true");
    assert_eq!(answer.status, 200);
    assert!(text_of(&answer).starts_with("<!DOCTYPE html>"));
    assert_eq!(ask(&mut server, "/api/nothing").status, 404);
}

// ---- Limits and clock (§7) ----

#[test]
fn the_rate_limit_rolls_and_speaks_the_recorded_text() {
    let mut server = server_with(5, &["rate_limit=300"]);
    let token = token(&mut server);
    let request = ApiRequest::get("/api/status", &token);
    for second in 1..300 {
        assert_eq!(server.respond(&request, now() + TimeDelta::seconds(second)).status, 200);
    }
    let refused = server.respond(&request, now() + TimeDelta::milliseconds(299_999));
    assert_eq!(refused.status, 429);
    assert_eq!(text_of(&refused), "\"Rate Limit Reached - 300 Requests per rolling 5 minute window.\"");
    assert_eq!(refused.header("retry-after"), None);
    assert_eq!(server.respond(&request, now() + TimeDelta::seconds(300)).status, 200);
}

#[test]
fn a_refusal_may_say_how_long_to_wait() {
    for (knob, told) in [("seconds", "290"), ("date", "Wed, 04 Mar 2026 10:25:30 GMT")] {
        let mut server = server_with(5, &["rate_limit=1", &format!("retry_after={knob}")]);
        let token = token(&mut server);
        let at = now() + TimeDelta::milliseconds(10_100);
        assert_eq!(
            server.respond(&ApiRequest::get("/api/status", &token), at).header("Retry-After"),
            Some(told)
        );
    }
}

#[test]
fn every_answer_carries_the_date_of_the_simulated_clock() {
    let mut server = server(5);
    assert_eq!(ask(&mut server, "/api/nothing").header("date"), Some("Wed, 04 Mar 2026 10:20:30 GMT"));
    server.set_clock_offset(-TimeDelta::hours(2));
    assert_eq!(ask(&mut server, "/api/status").header("date"), Some("Wed, 04 Mar 2026 08:20:30 GMT"));
    let id = server.create(1, now())[0];
    assert_eq!(server.row(id, now()).expect("a row")["dateoccurred"], "2026-03-04T08:20:30");
    server.knobs().set("date_header=off").expect("a knob");
    assert_eq!(ask(&mut server, "/api/status").header("date"), None);
}

// ---- Faults ----

fn struck(spec: &str, target: &str) -> (Server, ApiResponse) {
    let mut server = server(250);
    server.inject(ServerFault::parse(spec).expect("a fault"));
    let answer = ask(&mut server, target);
    (server, answer)
}

const PAGE_2: &str = "/api/tickets?pageinate=true&page_no=2&page_size=100&order=id";

#[test]
fn a_fault_replaces_the_answer() {
    for (spec, status, start) in [
        ("list:status=503", 503, "<!DOCTYPE html>"),
        ("list:status=403", 403, "{\"Message\""),
        ("any@..9:html", 200, "<!DOCTYPE html>"),
        ("list@page2:html=500", 500, "<!DOCTYPE html>"),
        ("list:error", 200, "{\"error\""),
        ("list:blank", 200, ""),
        ("list:redirect=307", 307, ""),
        ("list:throttle=7", 429, "\"Rate Limit"),
    ] {
        if spec.starts_with("any") {
            let mut server = server(5);
            server.inject(ServerFault::parse(spec).expect("a fault"));
            let answer = server.respond(&ApiRequest::get("/api/status", "none"), now());
            assert_eq!((answer.status, text_of(&answer).starts_with(start)), (status, true), "{spec}");
            continue;
        }
        let (_, answer) = struck(spec, PAGE_2);
        assert_eq!((answer.status, text_of(&answer).starts_with(start)), (status, true), "{spec}");
    }
    let (_, answer) = struck("list:throttle=date7", PAGE_2);
    assert_eq!(answer.header("retry-after"), Some("Wed, 04 Mar 2026 10:20:37 GMT"));
}

#[test]
fn a_fault_bends_a_list() {
    let plain = server(250).ids();
    let bent = |spec: &str| struck(spec, PAGE_2).1.json_body().expect("JSON");
    assert_eq!(ids(&bent("list:repeat=3")), plain[97..197]);
    let empty = bent("list:empty");
    assert_eq!((ids(&empty).len(), &empty["record_count"]), (0, &json!(250)));
    assert_eq!(bent("list:count=-7")["record_count"], 243);
    assert_eq!(bent("list:count=+7")["record_count"], 257);
    assert_eq!(bent("list:count=9")["record_count"], 9);
    assert_eq!(bent("list:count=text")["record_count"], "250");
    assert!(bent("list:count=missing").get("record_count").is_none());
    assert!(bent("list:tickets=missing").get("tickets").is_none());
    assert_eq!(bent("list:tickets=null").get("tickets"), Some(&Value::Null));
}

#[test]
fn a_fault_changes_the_world_between_pages() {
    assert_eq!(struck("list:delete=5", PAGE_2).0.ids().len(), 245);
    assert_eq!(struck("list:create=5", PAGE_2).0.ids().len(), 255);
    assert_eq!(struck("list:hide=50", PAGE_2).0.ids().len(), 125);
    let (mut edited, _) = struck("list@1:edit=5", PAGE_2);
    assert_eq!(page(&mut edited, 1, "lastupdatefromdate=2026-03-04T10:20:00")["record_count"], 5);
    let (_, late) = struck("list:skew=3600", PAGE_2);
    assert_eq!(late.header("date"), Some("Wed, 04 Mar 2026 11:20:30 GMT"));
    let (_, expired) = struck("list:expire", PAGE_2);
    assert_eq!(expired.status, 401);
}

#[test]
fn a_fault_spoils_the_delivery() {
    let (_, whole) = struck("status:cut", PAGE_2);
    let (_, cut) = struck("list:cut", PAGE_2);
    assert_eq!(cut.delivery, Delivery::Cut(whole.body.len() / 2));
    assert_eq!(struck("list:cut=100", PAGE_2).1.delivery, Delivery::Cut(100));
    assert_eq!(struck("list:reset", PAGE_2).1.delivery, Delivery::Reset);
    assert_eq!(struck("list:slow=80", PAGE_2).1.delivery, Delivery::Slow(Duration::from_millis(80)));
    assert_eq!(struck("list:delay=80", PAGE_2).1.delay, Duration::from_millis(80));
    assert!(std::str::from_utf8(&struck("list:garble", PAGE_2).1.body).is_err());
}

#[test]
fn a_fault_strikes_when_it_is_told_to() {
    for (when, struck_at) in [
        ("", vec![1, 2, 3, 4, 5, 6]),
        ("@3", vec![3]),
        ("@2..4", vec![2, 3, 4]),
        ("@..2", vec![1, 2]),
        ("@5..", vec![5, 6]),
        ("@every2", vec![2, 4, 6]),
        ("@every2x2", vec![2, 4]),
        ("@x3", vec![1, 2, 3]),
        ("@page2", vec![]),
        ("@chance100", vec![1, 2, 3, 4, 5, 6]),
    ] {
        let mut server = server(5);
        server.inject(ServerFault::parse(&format!("status{when}:blank")).expect("a fault"));
        let statuses: Vec<_> =
            (1..=6).filter(|_| text_of(&ask(&mut server, "/api/status")).is_empty()).collect();
        assert_eq!(statuses.len(), struck_at.len(), "{when}");
        let mut server = Server::new(SimulatorSettings { tickets: 5, ..SimulatorSettings::default() }, now());
        server.inject(ServerFault::parse(&format!("status{when}:blank")).expect("a fault"));
        for number in 1..=6 {
            let empty = text_of(&ask(&mut server, "/api/status")).is_empty();
            assert_eq!(empty, struck_at.contains(&number), "{when} {number}");
        }
    }
}

#[test]
fn a_fault_by_chance_repeats_with_the_seed() {
    let run = || {
        let mut server = server(5);
        server.inject(ServerFault::parse("status@chance30:blank").expect("a fault"));
        (0..100).map(|_| text_of(&ask(&mut server, "/api/status")).is_empty()).collect::<Vec<_>>()
    };
    let first = run();
    assert_eq!(first, run());
    assert!((15..45).contains(&first.iter().filter(|&&hit| hit).count()));
}

#[test]
fn a_wrong_fault_is_told_what_would_have_been_right() {
    for (spec, told) in [
        ("list", "`list` is not of the form ENDPOINT[@[WHEN][xTIMES]]:EFFECT[=VALUE]"),
        ("lists:reset", "no endpoint is called `lists`; there are any, token, authinfo, list, "),
        ("list@soon:reset", "`soon` is no moment; write N, N..M, N.., ..M, everyN, pageN or chanceN"),
        ("list:explode", "no effect is called `explode`; there are status, html, error, throttle, "),
        ("list:status=99", "`99` is not a value of status; it takes 400 to 599"),
        ("list:reset=1", "`1` is not a value of reset; it takes nothing"),
    ] {
        let error = ServerFault::parse(spec).expect_err("no fault").to_string();
        assert!(error.starts_with(told), "{spec}: {error}");
    }
}

// ---- Log and control ----

#[test]
fn the_log_counts_what_was_asked() {
    let mut server = server(5);
    ask(&mut server, "/api/tickets?count=1");
    ask(&mut server, "/api/nothing");
    let log = server.log();
    assert_eq!((log.list_count(), log.token_count(), log.total()), (1, 2, 4));
    let asked: Vec<_> =
        log.entries().map(|entry| (entry.endpoint, entry.status, entry.query.as_str())).collect();
    assert_eq!(asked[1], (ApiEndpoint::List, 200, "count=1"));
    assert_eq!(asked[3], (ApiEndpoint::Other, 404, ""));
    server.log_mut().reset();
    assert_eq!(server.log().total(), 0);
}

#[test]
fn the_server_is_driven_through_control_endpoints() {
    let mut server = server(50);
    let mut control = |method: &str, path: &str, query: &str, body: &str| {
        let request = ApiRequest {
            method: method.into(),
            path: format!("/_sim/{path}"),
            query: query.into(),
            body: body.into(),
            ..ApiRequest::default()
        };
        let answer = server.respond(&request, now());
        (answer.status, answer.json_body().unwrap_or_else(|| json!(text_of(&answer))))
    };
    let (_, ids) = control("GET", "ids", "", "");
    let id = ids[7].as_i64().expect("an id");
    assert_eq!(control("POST", "edit", &format!("id={id}&summary=Moved+away&status=28"), "").1, json!([id]));
    let (_, row) = control("GET", "row", &format!("id={id}"), "");
    assert_eq!((&row["summary"], &row["onhold"]), (&json!("Moved away"), &json!(true)));
    assert_eq!(control("POST", "delete", "count=3", "").1.as_array().expect("ids").len(), 3);
    assert_eq!(control("POST", "create", "count=2", "").1.as_array().expect("ids").len(), 2);
    assert_eq!(control("GET", "ids", "", "").1.as_array().expect("ids").len(), 49);
    assert_eq!(control("POST", "knobs", "page_cap=40&gzip=off", "").1["page_cap"], "40");
    assert_eq!(control("POST", "knobs", "page_cap=no", "").0, 400);
    assert_eq!(control("POST", "fault", "", "list@1:reset status:blank").0, 200);
    assert_eq!(control("POST", "fault", "", "lost:reset").0, 400);
    assert_eq!(control("POST", "nonsense", "", "").0, 404);
    assert_eq!(control("GET", "log", "", "").1["total"], 0);
}

#[test]
fn edits_move_the_row_and_its_stamp() {
    let mut server = server(100);
    let changed = server.edit_some(25, now());
    assert_eq!(changed.len(), 25);
    let found = page(&mut server, 1, "lastupdatefromdate=2026-03-04T10:20:00");
    assert_eq!(ids(&found), changed);
    let id = changed[0];
    server.edit(id, Edit::Status(9), now());
    assert!(server.row(id, now()).expect("a row").get("dateclosed").is_some());
    server.edit(id, Edit::Status(2), now());
    assert!(server.row(id, now()).expect("a row").get("dateclosed").is_none());
    server.edit(id, Edit::Details("quote \" and\nline".into()), now());
    assert_eq!(server.row(id, now()).expect("a row")["details"], "quote \" and\nline");
}

// ---- The socket door ----

async fn running(knobs: &[&str]) -> (Simulator, reqwest::Client, String) {
    let mut settings = SimulatorSettings { tickets: 300, ..SimulatorSettings::default() };
    for knob in knobs {
        settings.knobs.set(knob).expect("a knob");
    }
    let simulator = Simulator::start(settings).await.expect("a port");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let form = credentials("demo-secret", SCOPE);
    let answer =
        client.post(format!("{}/auth/token", simulator.url())).form(&form).send().await.expect("an answer");
    let token: Value = answer.json().await.expect("JSON");
    let token = token["access_token"].as_str().expect("a token").to_owned();
    (simulator, client, token)
}

async fn fetch(
    simulator: &Simulator,
    client: &reqwest::Client,
    token: &str,
) -> reqwest::Result<reqwest::Response> {
    client.get(format!("{}{PAGE_2}", simulator.url())).bearer_auth(token).send().await
}

#[tokio::test]
async fn a_page_travels_over_a_socket_compressed_or_not() {
    for knob in ["gzip=on", "gzip=off"] {
        let (simulator, client, token) = running(&[knob]).await;
        let answer = fetch(&simulator, &client, &token).await.expect("an answer");
        assert!(answer.headers().contains_key("date"));
        assert_eq!(answer.content_length().is_none(), knob == "gzip=on");
        let page: Value = answer.json().await.expect("JSON");
        assert_eq!(ids(&page), simulator.with(|server| server.ids())[100..200]);
        simulator.stop().await;
    }
}

#[tokio::test]
async fn the_discovered_address_is_the_one_it_listens_on() {
    let (simulator, client, _) = running(&[]).await;
    let info = client.get(format!("{}/api/authinfo", simulator.url())).send().await.expect("an answer");
    let info: Value = info.json().await.expect("JSON");
    assert_eq!(info["auth_url"], format!("{}/auth", simulator.url()));
}

#[tokio::test]
async fn a_cut_body_a_reset_and_a_slow_body_reach_the_client_as_such() {
    let (simulator, client, token) = running(&[]).await;
    let spoil =
        |spec: &str| simulator.with(|server| server.inject(ServerFault::parse(spec).expect("a fault")));

    spoil("list@1:cut=5000");
    let cut = fetch(&simulator, &client, &token).await.expect("a head");
    assert_eq!(cut.status(), 200);
    assert!(cut.bytes().await.is_err());

    spoil("list@1:reset");
    assert!(fetch(&simulator, &client, &token).await.is_err());

    spoil("list@1:slow=60");
    let begun = Instant::now();
    let slow = fetch(&simulator, &client, &token).await.expect("a head").bytes().await;
    assert!(slow.is_ok() && begun.elapsed() >= Duration::from_millis(50));

    assert_eq!(fetch(&simulator, &client, &token).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn requests_overlap_while_the_server_is_slow() {
    let (simulator, client, token) = running(&["latency_ms=60"]).await;
    simulator.with(|server| server.log_mut().reset());
    let begun = Instant::now();
    let fetches: Vec<_> = (0..8)
        .map(|_| {
            let request = client.get(format!("{}{PAGE_2}", simulator.url())).bearer_auth(&token);
            tokio::spawn(async move { request.send().await.expect("an answer").status() })
        })
        .collect();
    for fetch in fetches {
        assert_eq!(fetch.await.expect("no panic"), 200);
    }
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    simulator.with(|server| {
        assert_eq!(server.log().list_count(), 8);
        assert!(server.log().peak_in_flight() > 1);
    });
}

#[tokio::test]
async fn an_answer_can_lack_its_date() {
    let (simulator, client, token) = running(&["date_header=off"]).await;
    let answer = fetch(&simulator, &client, &token).await.expect("an answer");
    assert!(!answer.headers().contains_key("date"));
}

#[tokio::test]
async fn only_loopback_addresses_are_served() {
    let settings = SimulatorSettings {
        listen: "0.0.0.0:0".parse().expect("an address"),
        ..SimulatorSettings::default()
    };
    let error = Simulator::start(settings).await.expect_err("refused");
    assert!(error.to_string().contains("loopback"));
}

#[tokio::test]
async fn a_stopped_simulator_leaves_its_port() {
    let (simulator, client, token) = running(&[]).await;
    let url = simulator.url();
    drop(token);
    simulator.stop().await;
    assert!(client.get(format!("{url}/api/authinfo")).send().await.is_err());
}

// ---- Documentation ----

#[test]
fn the_documentation_holds_the_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/simulator.md");
    let written = std::fs::read_to_string(path).expect("docs/simulator.md");
    let mut renewed = written.clone();
    for (name, table) in [("knobs", Knobs::markdown()), ("effects", ServerFault::markdown())] {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let from = renewed.find(&begin).expect("a beginning") + begin.len();
        let to = renewed.find(&end).expect("an end");
        renewed.replace_range(from..to, &format!("\n{table}\n"));
    }
    if renewed != written {
        std::fs::write(path, &renewed).expect("a writable file");
        panic!("docs/simulator.md was out of date and has been written anew; look at the difference");
    }
}
