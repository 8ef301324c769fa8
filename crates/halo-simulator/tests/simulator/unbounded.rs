//! Responses without a reasonable size: bombs, huge rows, and a list that never ends.

use halo_simulator::{ApiRequest, ApiResponse};
use serde_json::{Value, json};

use crate::{PAGE_2, get, ids, now, page, server_with_faults, token_response};

fn bomb(fault: &str, target: &str) -> ApiResponse {
    get(&mut server_with_faults(5, &[fault]), target)
}

#[test]
fn bomb_is_generated_while_it_is_sent() {
    for (fault, target, least) in [
        ("list:bomb=blank_rows", "/api/tickets", 6_000_000),
        ("list:bomb=rows_without_id", "/api/tickets", 40_000_000),
        ("list:bomb=ids", "/api/tickets", 7_000_000),
        ("status:bomb=elements", "/api/status", 30_000_000),
        ("list:bomb=arrays:2000000:500", "/api/tickets", 6_000_000),
        ("list:row=huge3000:2", "/api/tickets", 3_000_000_000),
        ("ticket:row=fields1000000:1", "/api/tickets/1001", 80_000_000),
    ] {
        let response = bomb(fault, target);
        assert!(response.body.len() < 100_000, "{fault}: {}", response.body.len());
        assert!(least < response.body_length(), "{fault}: {}", response.body_length());
    }
}

#[test]
fn bomb_has_the_announced_items() {
    let list = bomb("list:bomb=ids:300", PAGE_2).json_body().expect("JSON");
    assert_eq!((&list["page_no"], &list["record_count"]), (&json!(2), &json!(300)));
    assert_eq!(ids(&list), (1..=300).collect::<Vec<_>>());
    let rows = |items: &str| {
        let mut list = bomb(&format!("list:bomb={items}:3"), PAGE_2).json_body().expect("JSON");
        list["tickets"].take()
    };
    assert_eq!(rows("blank_rows"), json!([{}, {}, {}]));
    assert_eq!(rows("rows_without_id")[2], json!({ "summary": "Row 3" }));
    let elements = bomb("status:bomb=elements:2", "/api/status").json_body();
    assert_eq!(elements, Some(json!([{ "id": 1, "name": "Name 1" }, { "id": 2, "name": "Name 2" }])));
    let error = bomb("list:bomb=arrays:2:400", PAGE_2);
    assert_eq!((error.status, error.json_body()), (400, Some(json!([[], []]))));
    let token = token_response(&mut server_with_faults(5, &["token:bomb=arrays:1"]), "", "", now());
    assert_eq!((token.status, token.json_body()), (200, Some(json!([[]]))));
}

#[test]
fn huge_row_is_huge_in_lists_and_alone() {
    let faults = ["list:row=huge2:2", "ticket:row=huge1:2"];
    let mut server = server_with_faults(5, &faults);
    let id = server.ids()[1];
    let usual = server.row(id, now()).expect("a row")["details"].as_str().expect("a text").to_owned();
    let list = page(&mut server, 1, "");
    let ticket = get(&mut server, &format!("/api/tickets/{id}")).json_body().expect("JSON");
    for (row, megabytes) in [(&list["tickets"][1], 2), (&ticket, 1)] {
        let details = row["details"].as_str().expect("a text");
        assert_eq!(details.len(), usual.len() + megabytes * 1_000_000);
        assert!(details.ends_with(&usual) && row["id"] == id);
    }
    assert_eq!(ids(&list), server.ids());
}

#[test]
fn ticket_can_have_any_number_of_custom_fields() {
    let mut server = server_with_faults(5, &["any:row=fields2000:2"]);
    let id = server.ids()[1];
    let ticket = get(&mut server, &format!("/api/tickets/{id}")).json_body().expect("JSON");
    let list = page(&mut server, 1, "include_custom_fields=120");
    for row in [&ticket, &list["tickets"][1]] {
        let fields = row["customfields"].as_array().expect("fields");
        assert_eq!((fields.len(), &fields[1_999]["id"]), (2_000, &json!(2_000)));
    }
    let plain = |row: &Value| row["customfields"].as_array().expect("fields").len();
    assert_eq!(plain(&list["tickets"][0]), 1);
}

#[test]
fn endless_list_brings_new_ids_and_grows() {
    let mut server = server_with_faults(150, &["list:endless"]);
    let all = server.ids();
    let (mut seen, mut counts) = (Vec::new(), Vec::new());
    for number in 1..=5 {
        let list = page(&mut server, number, "");
        seen.extend(ids(&list));
        counts.push(list["record_count"].as_u64().expect("a count"));
    }
    assert_eq!(seen[..150], all);
    assert!(seen.len() == 500 && seen.is_sorted_by(|a, b| a < b));
    assert!((1..).zip(&counts).all(|(number, count)| number * 100 < *count), "{counts:?}");
    assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");

    let mut server = server_with_faults(150, &["list:endless=1000000000000"]);
    assert!(page(&mut server, 1, "")["record_count"].as_u64() > Some(1_000_000_000_000));
    let far = "/api/tickets?pageinate=true&page_size=100&order=id&page_no=9223372036854775807";
    for target in ["/api/tickets?pageinate=true&page_size=100&order=id&page_no=10000000000", far] {
        let list = get(&mut server, target).json_body().expect("JSON");
        assert_eq!(ids(&list).len(), 100, "{target}");
    }
}

#[test]
fn count_can_be_off_by_one_for_good() {
    for (fault, counts) in [("list:count=+1", [251, 6]), ("list:count=-1", [249, 4])] {
        let mut server = server_with_faults(250, &[fault]);
        let changed = server.edit_some(5, now());
        for _ in 0..3 {
            let (all, recent) =
                (page(&mut server, 3, ""), page(&mut server, 1, "lastupdatefromdate=2026-03-04T10:20:00"));
            assert_eq!(
                [&all["record_count"], &recent["record_count"]],
                [&json!(counts[0]), &json!(counts[1])]
            );
            assert_eq!((ids(&all).len(), ids(&recent)), (50, changed.clone()));
        }
    }
}

#[test]
fn in_process_client_gets_the_complete_body() {
    let response = bomb("list:bomb=blank_rows:1000", PAGE_2);
    let encoded = response.clone().encoded();
    assert_eq!(encoded.body, response.complete_body());
    assert_eq!(encoded.body_length(), response.body_length());
    let mut server = server_with_faults(5, &["list:bomb=blank_rows:1000000"]);
    let token = crate::token(&mut server);
    let request = ApiRequest { accept_encoding: Some("gzip".into()), ..ApiRequest::get(PAGE_2, &token) };
    let compressed = server.respond(&request, now()).encoded();
    assert_eq!(compressed.header("content-encoding"), Some("gzip"));
    assert!(compressed.body.len() < 100_000, "{}", compressed.body.len());
}
