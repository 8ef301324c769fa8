//! Lists: paging, order, envelope, filters.

use std::collections::HashSet;

use chrono::TimeDelta;
use halo_simulator::{ApiRequest, Edit, Server, SqlDateTime};
use serde_json::{Value, json};

use crate::{get, ids, list, now, page, server, server_with, token};

// ---- Paging (halo-api.md §2.1) ----

#[test]
fn list_without_pageinate_has_50_rows_and_counts_only_them() {
    let mut server = server(300);
    for query in ["", "page_no=2", "page_size=100", "pageinate=true", "pageinate=false&page_no=1", "order=id"]
    {
        let list = list(&mut server, query);
        assert_eq!((ids(&list).len(), &list["record_count"]), (50, &json!(50)), "{query}");
        assert_eq!(list["page_no"], Value::Null, "{query}");
    }
}

#[test]
fn unpaged_list_has_newest_rows_up_to_count() {
    let mut server = server(1_300);
    let newest: Vec<i64> = server.ids().into_iter().rev().collect();
    for (query, rows) in [("", 50), ("count=7", 7), ("count=700", 700), ("count=5000", 1_000)] {
        let list = list(&mut server, query);
        assert_eq!(ids(&list), newest[..rows], "{query}");
        assert_eq!(list["record_count"], json!(rows), "{query}");
    }
}

#[test]
fn paged_list_has_total_count_and_capped_page_size() {
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
fn page_past_end_can_repeat_last_page() {
    let mut server = server_with(150, &["page_past_end=last"]);
    assert_eq!(ids(&page(&mut server, 7, "")), ids(&page(&mut server, 2, "")));
}

#[test]
fn page_cap_reduces_page_size() {
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
fn default_order_is_newest_first_or_by_changing_sla() {
    let mut newest = server(200);
    let down: Vec<i64> = newest.ids().into_iter().rev().collect();
    assert_eq!(ids(&list(&mut newest, "pageinate=true&page_no=1&page_size=100")), down[..100]);

    let mut by_sla = server_with(200, &["default_order=sla"]);
    let token = token(&mut by_sla);
    let target = "/api/tickets?pageinate=true&page_no=1&page_size=100";
    let mut seen = HashSet::new();
    for hours in 0..5 {
        let response =
            by_sla.respond(&ApiRequest::get(target, &token), now() + TimeDelta::minutes(10 * hours));
        seen.insert(ids(&response.json_body().expect("JSON")));
    }
    assert!(seen.len() > 1, "the order did not change");
}

#[test]
fn unknown_order_is_ignored() {
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
fn envelope_is_plain_or_has_column_profile() {
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
fn date_filter_bound_follows_knob_with_and_without_zone() {
    for (knob, includes) in [("date_filter=inclusive", true), ("date_filter=exclusive", false)] {
        let mut server = server_with(200, &[knob]);
        let id = server.ids()[17];
        server.edit(id, Edit::Touch, now() - TimeDelta::minutes(30));
        let timestamp =
            server.row(id, now()).expect("a row")["last_update"].as_str().expect("a date").to_owned();
        for spelling in [timestamp.clone(), format!("{timestamp}Z"), timestamp.replace(':', "%3A")] {
            let found = page(&mut server, 1, &format!("lastupdatefromdate={spelling}"));
            assert_eq!(ids(&found).contains(&id), includes, "{knob} {spelling}");
            let found =
                page(&mut server, 1, &format!("lastupdatefromdate={spelling}&lastupdatetodate={spelling}"));
            assert_eq!(ids(&found).contains(&id), includes, "{knob} {spelling}");
        }
    }
}

#[test]
fn date_filter_can_be_ignored_and_invalid_date_is_400() {
    let mut ignoring = server_with(80, &["date_filter=ignored"]);
    assert_eq!(page(&mut ignoring, 1, "lastupdatefromdate=2999-01-01")["record_count"], 80);
    let mut server = server(80);
    assert_eq!(page(&mut server, 1, "lastupdatefromdate=2999-01-01")["record_count"], 0);
    assert_eq!(get(&mut server, "/api/tickets?lastupdatefromdate=yesterday").status, 400);
}

#[test]
fn date_filter_shift_moves_the_bound() {
    let mut server = server_with(50, &["date_filter_shift=300"]);
    let id = server.ids()[3];
    server.edit(id, Edit::Touch, now());
    assert_eq!(page(&mut server, 1, "lastupdatefromdate=2026-03-04T10:00:00")["record_count"], 0);
    assert_eq!(ids(&page(&mut server, 1, "lastupdatefromdate=2026-03-04T05:20:00")), [id]);
}

#[test]
fn datesearch_accepts_only_database_columns() {
    let mut server = server(400);
    let opened = page(&mut server, 1, "datesearch=dateoccured&startdate=2025-03-04");
    let count = opened["record_count"].as_i64().expect("a count");
    assert!((80..200).contains(&count), "{count}");
    let ignored = page(&mut server, 1, "datesearch=dateoccurred&startdate=2025-03-04");
    assert_eq!(ignored["record_count"], 400);
}

#[test]
fn commit_delay_makes_timestamps_older() {
    let mut server = server_with(20, &["commit_delay_ms=5000"]);
    let id = server.ids()[0];
    server.edit(id, Edit::Touch, now());
    let row = server.row(id, now()).expect("a row");
    assert_eq!(row["last_update"], "2026-03-04T10:20:25.4");
    let timestamp = |name: &str| SqlDateTime::parse(row[name].as_str().expect("a date")).expect("a date");
    let later = timestamp("lastactiondate").millis_since(timestamp("last_update"));
    assert!((110..370).contains(&later), "{later}");
}

#[test]
fn rows_without_last_update_match_no_date_filter() {
    let mut server = server_with(1_000, &["undated=500"]);
    let rows: Vec<Value> = server.ids().into_iter().filter_map(|id| server.row(id, now())).collect();
    let absent = rows.iter().filter(|row| row.get("last_update").is_none()).count();
    let sentinel = rows.iter().filter(|row| row["last_update"] == "1900-01-01T00:00:00").count();
    assert!(absent > 150 && sentinel > 150, "{absent} {sentinel}");
    let found = page(&mut server, 1, "lastupdatefromdate=2000-01-01");
    assert_eq!(found["record_count"], json!(1_000 - absent - sentinel));
}

// ---- Selection (§2.5) ----

#[test]
fn unknown_parameters_are_ignored() {
    let mut server = server(70);
    assert_eq!(page(&mut server, 1, "tickettype_id=3&agentid=9&colour=red")["record_count"], 70);
}

#[test]
fn open_and_closed_counts_add_up_to_plain_list() {
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
fn lists_filter_by_type_status_client_agent_and_id() {
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
    let mut ignoring = server_with(600, &["type_filter=ignored"]);
    assert_eq!(page(&mut ignoring, 1, "requesttype_id=1")["record_count"], 600);
}

#[test]
fn deleted_tickets_follow_the_knobs() {
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
        let response = get(&mut server, &format!("/api/tickets/{id}"));
        assert_eq!(response.status, status);
        if status == 200 {
            assert_eq!(response.json_body().expect("JSON")["deleted"], true);
        }
    }
}

#[test]
fn knobs_decide_which_changes_update_last_update() {
    for (knob, action) in [
        ("delete_stamps", (|server, id| server.delete(id, now())) as fn(&mut Server, i64)),
        ("merge_stamps", |server, id| server.merge(id, 1, now())),
        ("sla_stamps", |server, id| server.recount_sla(id, now())),
    ] {
        for (value, changes) in [("on", true), ("off", false)] {
            let mut server = server_with(20, &[&format!("{knob}={value}"), "deleted_get=200"]);
            let id = server.ids()[2];
            let timestamp = |server: &Server| server.row(id, now()).expect("a row")["last_update"].clone();
            let before = timestamp(&server);
            action(&mut server, id);
            assert_eq!(timestamp(&server) != before, changes, "{knob}={value}");
        }
    }
}

#[test]
fn merge_can_be_undone() {
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
fn hidden_tickets_are_unlisted_and_forbidden_or_not_found() {
    let mut server = server(40);
    let id = server.ids()[7];
    server.hide(&[id]);
    assert_eq!(server.ids().len(), 39);
    assert_eq!(get(&mut server, &format!("/api/tickets/{id}")).status, 403);
    server.knobs().set("hidden_get=404").expect("a knob");
    assert_eq!(get(&mut server, &format!("/api/tickets/{id}")).status, 404);
    server.unhide(&[id]);
    assert_eq!(server.ids().len(), 40);
}

#[test]
fn renamed_client_changes_rows_but_not_last_update() {
    let mut server = server(100);
    let before = page(&mut server, 1, "client_id=14");
    server.rename_client(14, "Copper \"Line\"");
    let after = page(&mut server, 1, "client_id=14");
    assert_eq!(after["tickets"][0]["client_name"], "Copper \"Line\"");
    assert_eq!(after["tickets"][0]["last_update"], before["tickets"][0]["last_update"]);
}
