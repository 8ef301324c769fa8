//! Request log, control endpoints and edits.

use halo_simulator::{ApiEndpoint, ApiRequest, Edit};
use serde_json::json;

use crate::{get, ids, now, page, server, text_of};

#[test]
fn log_counts_requests() {
    let mut server = server(5);
    get(&mut server, "/api/tickets?count=1");
    get(&mut server, "/api/nothing");
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
fn control_endpoints_change_the_server() {
    let mut server = server(50);
    let mut control = |method: &str, path: &str, query: &str, body: &str| {
        let request = ApiRequest {
            method: method.into(),
            path: format!("/_sim/{path}"),
            query: query.into(),
            body: body.into(),
            ..ApiRequest::default()
        };
        let response = server.respond(&request, now());
        (response.status, response.json_body().unwrap_or_else(|| json!(text_of(&response))))
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
    assert_eq!(control("POST", "defect", &format!("id={id}"), "null.id uncounted").1, json!([id]));
    assert_eq!(control("POST", "defect", &format!("id={id}"), "id").0, 400);
    assert_eq!(control("POST", "replay", "path=/api/tickettype&status=500", "[]").0, 200);
    assert_eq!(control("POST", "replay", "path=status", "[]").0, 400);
    assert_eq!(control("POST", "clock", "offset=9223372036854775807", "").0, 400);
    assert_eq!(control("GET", "log", "", "").1["total"], 0);
    assert_eq!(server.row_defects(id).len(), 2);
    let replayed = ApiRequest::get("/api/tickettype", "none");
    assert_eq!(server.respond(&replayed, now()).status, 500);
    let heal = ApiRequest { method: "POST".into(), path: "/_sim/heal".into(), ..ApiRequest::default() };
    server.respond(&heal, now());
    assert_eq!(server.respond(&replayed, now()).status, 401);
}

#[test]
fn reveal_by_count_takes_hidden_tickets() {
    let mut server = server(20);
    let hidden = server.ids()[3..9].to_vec();
    server.hide(&hidden);
    let mut reveal = |query: &str| {
        let request = ApiRequest {
            method: "POST".into(),
            path: "/_sim/reveal".into(),
            query: query.into(),
            ..ApiRequest::default()
        };
        server.respond(&request, now()).json_body()
    };
    assert_eq!(reveal("count=2"), Some(json!(hidden[..2])));
    assert_eq!(reveal(&format!("ids={},{}", hidden[4], hidden[5])), Some(json!(hidden[4..])));
    assert_eq!(reveal("count=9"), Some(json!(hidden[2..4])));
    assert_eq!(reveal("count=1"), Some(json!([])));
    assert_eq!(server.ids().len(), 20);
}

#[test]
fn edits_change_row_and_last_update() {
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

#[test]
fn delayed_changes_are_dated_now_and_visible_later() {
    let mut server = server(20);
    let id = server.ids()[4];
    let control = |server: &mut halo_simulator::Server, query: &str, seconds: i64| {
        let (path, query) = query.split_once('?').expect("a query");
        let request = ApiRequest {
            method: "POST".into(),
            path: format!("/_sim/{path}"),
            query: query.into(),
            ..ApiRequest::default()
        };
        server.respond(&request, now() + chrono::TimeDelta::seconds(seconds)).status
    };
    let at = |seconds| now() + chrono::TimeDelta::seconds(seconds);
    let updated =
        |server: &halo_simulator::Server| server.row(id, at(0)).expect("a row")["last_update"].clone();
    let before = updated(&server);
    assert_eq!(control(&mut server, &format!("edit?id={id}&agent=3&visible_in=600"), 0), 200);
    assert_eq!(control(&mut server, "create?count=2&visible_in=300", 60), 200);
    assert_eq!(control(&mut server, "create?count=2&visible_in=-1", 60), 400);
    for (seconds, tickets, is_edited) in
        [(300, 20, false), (359, 20, false), (360, 22, false), (600, 22, true)]
    {
        server.respond(&ApiRequest::get("/api/nothing", "none"), at(seconds));
        assert_eq!((server.ids().len(), updated(&server) != before), (tickets, is_edited), "{seconds} s");
    }
    let timestamp = at(0).format("%Y-%m-%dT%H:%M:%S").to_string();
    assert!(updated(&server).as_str().expect("a text").starts_with(&timestamp));
}

#[test]
fn properties_of_rows_details_and_reference_objects_change() {
    let mut server = server(20);
    let id = server.ids()[4];
    let mut property = |query: &str, body: &str| {
        let request = ApiRequest {
            method: "POST".into(),
            path: "/_sim/property".into(),
            query: query.into(),
            body: body.into(),
            ..ApiRequest::default()
        };
        server.respond(&request, now()).status
    };
    assert_eq!(property("of=list&name=mood", "\"calm\""), 200);
    assert_eq!(property("of=list&name=cost", ""), 200);
    assert_eq!(property(&format!("of=ticket&name=cost&id={id}"), "[1]"), 200);
    assert_eq!(property("of=agent&name=desk", "{}"), 200);
    assert_eq!(property("of=status&name=name", "7"), 200);
    assert_eq!(property("of=tickettype&name=use", ""), 200);
    for (query, body) in [("of=nothing&name=x", "1"), ("of=list", "1"), ("of=list&name=x", "{")] {
        assert_eq!(property(query, body), 400, "{query}");
    }
    assert_eq!(property("of=tickettype&name=use&reset=true", ""), 200);
    let row = page(&mut server, 1, "")["tickets"][0].clone();
    assert_eq!((&row["mood"], row.get("cost")), (&json!("calm"), None));
    let detail = get(&mut server, &format!("/api/tickets/{id}")).json_body().expect("a ticket");
    assert_eq!((&detail["cost"], detail.get("mood")), (&json!([1]), None));
    let first = |server: &mut halo_simulator::Server, path: &str| {
        get(server, path).json_body().expect("a list")[0].clone()
    };
    assert_eq!(first(&mut server, "/api/agent")["desk"], json!({}));
    assert_eq!(first(&mut server, "/api/status")["name"], 7);
    assert_eq!(first(&mut server, "/api/tickettype")["use"], "tickets");
}
