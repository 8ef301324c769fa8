//! Rows, single tickets and reference lists.

use std::collections::HashSet;

use chrono::TimeDelta;
use halo_simulator::{Edit, Knobs, Server, SimulatorSettings};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{get, now, page, server, server_with, text_of};

// ---- Rows (§2.7, §5, §6) ----

#[test]
fn all_recorded_properties_occur_and_rows_are_json() {
    let mut server = server(1_000);
    let mut seen: HashSet<String> = HashSet::new();
    let mut bytes = 0;
    for number in 1..=10 {
        let response =
            get(&mut server, &format!("/api/tickets?pageinate=true&page_no={number}&page_size=100"));
        bytes += response.body.len();
        for row in response.json_body().expect("JSON")["tickets"].as_array().expect("rows") {
            seen.extend(row.as_object().expect("a row").keys().cloned());
        }
    }
    let table = include_str!("../../../../fixtures/attributes.tsv");
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
    fn rows_of_any_seed_are_json_with_their_id(seed: u64, tickets in 1..60_u32, details_bytes in 0..5_000_u32) {
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
fn numbers_are_formatted_as_recorded() {
    let mut server = server(300);
    let text = text_of(&get(&mut server, "/api/tickets?pageinate=true&page_no=1&page_size=100"));
    for spelling in ["\"estimate\":-0.0,", "\"cost\":0.0,", "\"cost\":27.0,", "\"cost\":0.7500000000000001,"]
    {
        assert!(text.contains(spelling), "{spelling}");
    }
    assert!(!text.contains(":null"));
}

#[test]
fn fractions_end_in_0_3_or_7_milliseconds() {
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
fn unset_dates_are_sentinels_and_unknown_users_have_no_email() {
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
fn row_format_follows_its_knobs() {
    let mut server = server_with(10, &["row_shape=2024", "category_display=on", "clock_zero=04:00:00"]);
    let row = &page(&mut server, 1, "")["tickets"][0];
    assert!(row.get("team_id").is_none() && row.get("_open_search_score").is_none());
    assert!(row.get("category_1_display").is_some());
    assert_eq!(row["starttime"], "04:00:00");
}

#[test]
fn only_ticketage_changes_over_time() {
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
fn same_seed_generates_same_rows() {
    let rows_of = |seed| {
        let server =
            Server::new(SimulatorSettings { seed, tickets: 50, ..SimulatorSettings::default() }, now());
        server.ids().into_iter().map(|id| server.row(id, now())).collect::<Vec<_>>()
    };
    assert_eq!(rows_of(7), rows_of(7));
    assert_ne!(rows_of(7), rows_of(8));
}

#[test]
fn raw_row_is_served_verbatim() {
    let mut server = server(10);
    let id = server.ids()[4];
    server.set_raw_row(id, r#"{"id":"\ud800",,}"#.to_owned());
    let text = text_of(&get(&mut server, "/api/tickets?pageinate=true&page_no=1&page_size=100&order=id"));
    assert!(text.contains(r#",{"id":"\ud800",,},{"id":"#));
    assert_eq!(server.row(id, now()), None);
}

// ---- Single ticket, custom fields, reference lists (§3, §4) ----

#[test]
fn single_ticket_is_a_bare_object_with_custom_fields() {
    let mut server = server(30);
    let id = server.ids()[11];
    let ticket = get(&mut server, &format!("/API/Tickets/{id}")).json_body().expect("JSON");
    assert_eq!(ticket["id"], id);
    assert_eq!(ticket["summary"], server.row(id, now()).expect("a row")["summary"]);
    let kinds: HashSet<_> = ticket["customfields"]
        .as_array()
        .expect("fields")
        .iter()
        .map(|field| field["type"].as_i64().expect("a type"))
        .collect();
    assert_eq!(kinds, HashSet::from([0, 1, 2, 3, 4, 5, 6, 7, 10]));
    let text = text_of(&get(&mut server, &format!("/api/tickets/{id}")));
    assert!(text.contains("\"site_id\":"));
    assert!(ticket["user"]["site_id"].is_f64() || ticket.get("user").is_none());
}

#[test]
fn unknown_ticket_is_404_with_body_of_knob() {
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
        let response = get(&mut server, "/api/tickets/5");
        assert_eq!((response.status, text_of(&response).as_str()), (404, body));
    }
}

#[test]
fn list_includes_custom_fields_if_supported() {
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
    let fields = get(&mut ignores, "/api/FieldInfo").json_body().expect("JSON");
    assert_eq!(fields.as_array().expect("an array").len(), 9);
}

#[test]
fn statuses_and_types_are_bare_arrays_without_paging() {
    let mut server = server(5);
    for path in ["/api/Status", "/api/tickettype"] {
        let one = get(&mut server, &format!("{path}?pageinate=true&page_no=1&page_size=2")).json_body();
        let two = get(&mut server, &format!("{path}?pageinate=true&page_no=2&page_size=2")).json_body();
        assert!(one.as_ref().expect("JSON").as_array().expect("an array").len() > 6, "{path}");
        assert_eq!(one, two, "{path}");
    }
    server.rename_status(2, "Being worked on");
    let statuses = text_of(&get(&mut server, "/api/status?excludeclosed=true"));
    assert!(statuses.contains("Being worked on") && !statuses.contains("\"Closed\""));
    let types = |server: &mut Server, query: &str| {
        get(server, &format!("/api/tickettype{query}"))
            .json_body()
            .expect("JSON")
            .as_array()
            .expect("an array")
            .len()
    };
    assert_eq!(types(&mut server, ""), 7);
    assert_eq!(types(&mut server, "?showall=true&showinactive=true"), 8);
}
