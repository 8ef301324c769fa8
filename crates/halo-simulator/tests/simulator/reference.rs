//! The lists of reference objects, and that they have what tickets name.

use std::collections::BTreeSet;

use halo_simulator::{ApiRequest, ApiResponse, Server};
use serde_json::Value;

use crate::{credentials, now, page, server};

/// Everything that an agent may see of the lists.
const ALL: [(&str, &str); 8] = [
    ("agent", "includeenabled=true&includedisabled=true&includeunassigned=true&includeapiagents=true"),
    ("team", "showall=true&includedisabled=true"),
    ("priority", ""),
    ("sla", ""),
    ("category", ""),
    ("client", "includeinactive=true"),
    ("site", "includeinactive=true"),
    ("users", "includeinactive=true"),
];

fn fetch_as(server: &mut Server, scope: &str, target: &str) -> ApiResponse {
    let form = credentials("demo-secret", scope);
    let token = server.respond(&ApiRequest::form("/auth/token", &form), now()).json_body().expect("JSON");
    let token = token["access_token"].as_str().expect("a token");
    server.respond(&ApiRequest::get(target, token), now())
}

fn fetch(server: &mut Server, target: &str) -> Value {
    let response = fetch_as(server, "read:tickets read:customers", target);
    assert_eq!(response.status, 200, "{target}: {}", String::from_utf8_lossy(&response.body));
    response.json_body().expect("JSON")
}

/// The array of a response, whether bare or in an envelope.
fn rows_of(list: &Value) -> &Vec<Value> {
    let in_envelope = ["clients", "sites", "users", "results"].into_iter().find_map(|key| list.get(key));
    in_envelope.unwrap_or(list).as_array().expect("rows")
}

/// All rows of a list, over all its pages.
fn all_rows(server: &mut Server, endpoint: &str, query: &str) -> Vec<Value> {
    let list = fetch(server, &format!("/api/{endpoint}?{query}"));
    if list.is_array() {
        return rows_of(&list).clone();
    }
    let mut rows = Vec::new();
    for number in 1.. {
        let target =
            format!("/api/{endpoint}?{query}&pageinate=true&page_no={number}&page_size=100&order=id");
        let list = fetch(server, &target);
        if rows_of(&list).is_empty() {
            assert_eq!(list["record_count"], rows.len(), "{endpoint}");
            break;
        }
        rows.extend(rows_of(&list).iter().cloned());
    }
    rows
}

fn numbers(rows: &[Value], names: &[&str]) -> BTreeSet<Vec<i64>> {
    let number = |value: &Value| value.as_i64().unwrap_or(i64::MIN);
    rows.iter().map(|row| names.iter().map(|name| number(&row[*name])).collect()).collect()
}

fn tickets(server: &mut Server) -> Vec<Value> {
    let count = server.ids().len();
    let pages = u32::try_from(count.div_ceil(100)).expect("a count");
    (1..=pages)
        .flat_map(|number| page(server, number, "")["tickets"].as_array().expect("rows").clone())
        .collect()
}

/// Asserts that the lists have every object that a ticket names, with the same name.
fn assert_consistent(server: &mut Server) {
    let lists = ALL.map(|(endpoint, query)| all_rows(server, endpoint, query));
    let [agents, teams, priorities, slas, categories, clients, sites, users] = &lists;
    let tickets = tickets(server);
    for (ticket_names, rows, names) in [
        (&["agent_id"][..], agents, &["id"][..]),
        (&["team_id"], teams, &["id"]),
        (&["sla_id", "priority_id"], priorities, &["slaid", "priorityid"]),
        (&["sla_id"], slas, &["id"]),
        (&["client_id"], clients, &["id"]),
        (&["site_id"], sites, &["id"]),
        (&["user_id"], users, &["id"]),
    ] {
        let missing: Vec<_> =
            numbers(&tickets, ticket_names).difference(&numbers(rows, names)).cloned().collect();
        assert_eq!(missing, [[0; 0]; 0], "{ticket_names:?}");
        assert_eq!(numbers(rows, names).len(), rows.len(), "{ticket_names:?}: a key stands for one row");
    }
    let names = |rows: &[Value], id: &str, name: &str| -> BTreeSet<(i64, String)> {
        let text = |value: &Value| value.as_str().expect("a name").to_owned();
        rows.iter().map(|row| (row[id].as_i64().expect("an id"), text(&row[name]))).collect()
    };
    for (id, name, rows) in [
        ("team_id", "team", teams),
        ("client_id", "client_name", clients),
        ("site_id", "site_name", sites),
        ("user_id", "user_name", users),
    ] {
        let unknown: Vec<_> =
            names(&tickets, id, name).difference(&names(rows, "id", "name")).cloned().collect();
        assert_eq!(unknown, [], "{name}");
    }
    for (level, name) in [(1, "category_1"), (2, "category_2")] {
        let of_level = categories.iter().filter(|row| row["type_id"] == level);
        let known: BTreeSet<_> = of_level.map(|row| row["value"].as_str().expect("a path")).collect();
        let texts = tickets.iter().map(|ticket| ticket[name].as_str().expect("a path"));
        assert_eq!(texts.filter(|text| !text.is_empty() && !known.contains(text)).count(), 0, "{name}");
    }
}

#[test]
fn lists_have_every_object_that_tickets_name() {
    let mut server = server(1_200);
    server.edit_some(200, now());
    server.create(50, now());
    assert_consistent(&mut server);
    let unassigned = all_rows(&mut server, "agent", ALL[0].1);
    assert_eq!((&unassigned[0]["id"], &unassigned[0]["name"]), (&1.into(), &"Unassigned".into()));
    let unknown = all_rows(&mut server, "client", ALL[5].1);
    assert_eq!((&unknown[0]["id"], &unknown[0]["name"]), (&1.into(), &"Unknown".into()));
}
