//! Rows and elements that are served with a defect.

use chrono::TimeDelta;
use halo_simulator::{ApiRequest, Edit, RowDefect, Server};
use serde_json::{Value, json};

use crate::{PAGE_2, get, now, page, server, server_with_faults, text_of, token};

fn rows(list: &Value) -> &Vec<Value> {
    list["tickets"].as_array().expect("rows")
}

fn defects(words: &[&str]) -> Vec<RowDefect> {
    words.iter().map(|word| word.parse().expect("a defect")).collect()
}

fn is_json(server: &mut Server, target: &str) -> bool {
    get(server, target).json_body().is_some()
}

#[test]
fn row_without_id_stands_where_its_ticket_stands_in_every_list() {
    let mut server = server_with_faults(250, &["list:row=missing.id:3,101", "list:row=null.id:102"]);
    let ids = server.ids();
    let (first, second) = (page(&mut server, 1, ""), page(&mut server, 2, ""));
    assert_eq!((&first["record_count"], rows(&first).len()), (&json!(250), 100));
    let without_id = |list: &Value| -> Vec<usize> {
        (0..100).filter(|&at| rows(list)[at].get("id").is_none_or(Value::is_null)).collect()
    };
    assert_eq!((without_id(&first), without_id(&second)), (vec![2], vec![0, 1]));
    assert_eq!((rows(&second)[0].get("id"), rows(&second)[1].get("id")), (None, Some(&Value::Null)));

    server.edit(ids[2], Edit::Touch, now());
    let recent = page(&mut server, 1, "lastupdatefromdate=2026-03-04T10:20:00");
    assert_eq!((&recent["record_count"], rows(&recent)[0].get("id")), (&json!(1), None));
    let by_id = page(&mut server, 1, &format!("ticketids={}", ids[2]));
    assert_eq!(rows(&by_id)[0].get("id"), None);
    assert_eq!(server.row(ids[2], now()).expect("a row")["id"], ids[2]);
}

#[test]
fn text_of_a_row_without_id_moves_with_every_request() {
    let mut server = server_with_faults(5, &["list:row=missing.id:3"]);
    let token = token(&mut server);
    let request = ApiRequest::get("/api/tickets?pageinate=true&page_no=1&order=id", &token);
    let mut row_at = |seconds| {
        let list = server.respond(&request, now() + TimeDelta::seconds(seconds)).json_body().expect("JSON");
        rows(&list)[2].clone()
    };
    let (first, mut second) = (row_at(0), row_at(1));
    assert_ne!(first, second);
    second["ticketage"] = first["ticketage"].clone();
    assert_eq!(first, second);
}

#[test]
fn record_count_leaves_out_uncounted_rows_only() {
    let faults = ["list:row=missing.id:3,101", "list:row=uncounted:3,101"];
    let mut server = server_with_faults(250, &faults);
    let ids = server.ids();
    let (first, last) = (page(&mut server, 1, ""), page(&mut server, 3, ""));
    assert_eq!((&first["record_count"], rows(&first).len(), rows(&last).len()), (&json!(248), 100, 50));
    assert_eq!(page(&mut server, 1, &format!("ticketids={},{}", ids[3], ids[4]))["record_count"], 2);
    assert_eq!(page(&mut server, 1, &format!("ticketids={},{}", ids[2], ids[3]))["record_count"], 1);
}

#[test]
fn ids_can_be_text_or_float() {
    let mut server = server_with_faults(5, &["any:row=text.id:all", "any:row=float.client_id:2"]);
    let id = server.ids()[1];
    let list = page(&mut server, 1, "");
    assert!(rows(&list).iter().all(|row| row["id"].is_string()));
    assert!(rows(&list)[1]["client_id"].is_f64() && rows(&list)[2]["client_id"].is_i64());
    let ticket = get(&mut server, &format!("/api/tickets/{id}")).json_body().expect("JSON");
    assert_eq!(ticket["id"], id.to_string());
}

#[test]
fn row_is_unreadable_for_a_while() {
    for defect in ["broken", "cut", "control", "surrogate", "byte"] {
        let mut server = server_with_faults(250, &[&format!("list@..2:row={defect}:101")]);
        let readable: Vec<_> = (0..3).map(|_| is_json(&mut server, PAGE_2)).collect();
        assert_eq!(readable, [false, false, true], "{defect}");
        let mut server = server_with_faults(250, &[&format!("list:row={defect}:101")]);
        assert!(is_json(&mut server, "/api/tickets?pageinate=true&page_no=1&page_size=100&order=id"));
    }
}

#[test]
fn defects_of_a_ticket_stay_until_it_is_repaired() {
    let mut server = server(5);
    let id = server.ids()[1];
    let target = format!("/api/tickets/{id}");
    server.set_row_defects(id, defects(&["object.cost", "text.client_id"]));
    for row in [&rows(&page(&mut server, 1, ""))[1], &get(&mut server, &target).json_body().expect("JSON")] {
        assert!(row["cost"]["id"].is_f64() && row["client_id"].is_string(), "{row}");
    }
    server.set_row_defects(id, defects(&["broken"]));
    assert!(!is_json(&mut server, "/api/tickets") && !is_json(&mut server, &target));
    assert_eq!(server.row_defects(id), defects(&["broken"]));
    server.set_row_defects(id, Vec::new());
    assert!(is_json(&mut server, "/api/tickets") && is_json(&mut server, &target));
}

#[test]
fn custom_fields_can_be_unreadable_in_lists_and_single_tickets() {
    let mut server = server(5);
    let id = server.ids()[0];
    let single = format!("/api/tickets/{id}");
    let listed = format!("/api/tickets?ticketids={id}&include_custom_fields=120,121");
    let mut fields = |words: &[&str]| {
        server.set_row_defects(id, defects(words));
        let ticket = get(&mut server, &single).json_body().expect("JSON")["customfields"].take();
        let mut list = get(&mut server, &listed).json_body().expect("JSON");
        [ticket, list["tickets"][0]["customfields"].take()]
    };
    for found in fields(&["text.customfields.id"]) {
        assert!(found.as_array().expect("fields").iter().all(|field| field["id"].is_string()));
    }
    for found in fields(&["null.customfields.121.id"]) {
        let ids = found.as_array().expect("fields").iter().map(|field| &field["id"]);
        assert_eq!(ids.filter(|id| id.is_null()).count(), 1);
    }
    for found in fields(&["nonsense.customfields.121"]) {
        assert!(found.as_array().expect("fields").contains(&json!("n/a")));
    }
    assert_eq!(fields(&["null.customfields"]), [Value::Null, Value::Null]);
}

#[test]
fn reference_lists_can_be_empty_or_have_unreadable_elements() {
    let element_faults = ["row=text.id:2", "row=null.id:3", "row=missing.name:4", "row=nonsense:5"];
    for (endpoint, target) in
        [("status", "/api/status"), ("tickettype", "/api/tickettype"), ("fieldinfo", "/api/fieldinfo")]
    {
        let faults: Vec<_> = element_faults.iter().map(|fault| format!("{endpoint}@1:{fault}")).collect();
        let faults: Vec<_> = faults.iter().map(String::as_str).collect();
        let mut server = server_with_faults(5, &faults);
        let found = get(&mut server, target).json_body().expect("JSON");
        assert!(found[0]["id"].is_i64() && found[1]["id"].is_string() && found[2]["id"].is_null());
        assert_eq!((found[3].get("name"), &found[4]), (None, &json!("n/a")), "{target}");
        let next = get(&mut server, target).json_body().expect("JSON");
        assert!(next.as_array().expect("elements").iter().all(|element| element["id"].is_i64()));

        let mut server = server_with_faults(5, &[&format!("{endpoint}@..2:empty")]);
        let empty: Vec<_> = (0..3).map(|_| text_of(&get(&mut server, target)) == "[]").collect();
        assert_eq!(empty, [true, true, false], "{target}");
    }
}

#[test]
fn list_can_be_empty_at_first() {
    let mut server = server_with_faults(250, &["list@..2:empty", "list@..2:count=0"]);
    let counts: Vec<_> = (0..3)
        .map(|_| page(&mut server, 1, ""))
        .map(|list| (list["record_count"].clone(), rows(&list).len()))
        .collect();
    assert_eq!(counts, [(json!(0), 0), (json!(0), 0), (json!(250), 100)]);
}

#[test]
fn tickets_enter_the_list_below_others_without_a_new_last_update() {
    let faults = ["list@1:hide=50", "list@3:reveal=2", "list@4:delete=10", "list@5:restore=3"];
    let mut server = server_with_faults(100, &faults);
    let all = server.ids();
    let mut listed = || {
        drop(page(&mut server, 1, ""));
        server.ids()
    };
    let (hidden, same, revealed) = (listed(), listed(), listed());
    assert_eq!((hidden.len(), &same, revealed.len()), (50, &hidden, 52));
    let first_hidden: Vec<_> = all.iter().filter(|id| !hidden.contains(id)).take(2).collect();
    assert!(first_hidden.iter().all(|id| revealed.contains(id)));
    assert_eq!((listed().len(), listed().len()), (42, 45));
    assert_eq!(page(&mut server, 1, "lastupdatefromdate=2026-03-04T10:20:00")["record_count"], 0);
}
