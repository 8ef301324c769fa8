//! The simulator behaves as the real server is known to behave.

mod auth;
mod clocks;
mod control;
mod defects;
mod faults;
mod http;
mod lists;
mod reference;
mod replay;
mod rows;
mod unbounded;

use chrono::{DateTime, Utc};
use halo_simulator::{ApiRequest, ApiResponse, Knobs, RowDefect, Server, ServerFault, SimulatorSettings};
use serde_json::Value;

fn now() -> DateTime<Utc> {
    "2026-03-04T10:20:30.4Z".parse().expect("a time")
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

fn token_response(server: &mut Server, secret: &str, scope: &str, at: DateTime<Utc>) -> ApiResponse {
    server.respond(&ApiRequest::form("/auth/token", &credentials(secret, scope)), at)
}

fn token(server: &mut Server) -> String {
    let response = token_response(server, "demo-secret", SCOPE, now());
    let body = response.json_body().expect("JSON");
    body["access_token"].as_str().expect("a token").to_owned()
}

fn get(server: &mut Server, target: &str) -> ApiResponse {
    let token = token(server);
    server.respond(&ApiRequest::get(target, &token), now())
}

fn list(server: &mut Server, query: &str) -> Value {
    let response = get(server, &format!("/api/tickets?{query}"));
    assert_eq!(response.status, 200, "{query}: {}", String::from_utf8_lossy(&response.body));
    response.json_body().expect("JSON")
}

fn page(server: &mut Server, number: u32, query: &str) -> Value {
    list(server, &format!("pageinate=true&page_no={number}&page_size=100&order=id&{query}"))
}

fn ids(list: &Value) -> Vec<i64> {
    let rows = list["tickets"].as_array().expect("tickets");
    rows.iter().map(|row| row["id"].as_i64().expect("an id")).collect()
}

/// A server with faults.
fn server_with_faults(tickets: u32, faults: &[&str]) -> Server {
    let mut server = server(tickets);
    for fault in faults {
        server.inject(ServerFault::parse(fault).expect("a fault"));
    }
    server
}

fn text_of(response: &ApiResponse) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

const PAGE_2: &str = "/api/tickets?pageinate=true&page_no=2&page_size=100&order=id";

#[test]
fn documentation_has_current_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/simulator.md");
    let current = std::fs::read_to_string(path).expect("docs/simulator.md");
    let mut updated = current.clone();
    for (name, table) in [
        ("knobs", Knobs::markdown()),
        ("effects", ServerFault::markdown()),
        ("defects", RowDefect::markdown()),
    ] {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let from = updated.find(&begin).expect("a beginning") + begin.len();
        let to = updated.find(&end).expect("an end");
        updated.replace_range(from..to, &format!("\n{table}\n"));
    }
    if updated != current {
        std::fs::write(path, &updated).expect("docs/simulator.md is writable");
        panic!("docs/simulator.md was outdated and has been updated; review the changes");
    }
}
