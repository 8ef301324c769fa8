//! The lists of reference objects, and that they have what tickets name.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use halo_simulator::{
    ApiRequest, ApiResponse, Edit, ReferenceKey, Server, ServerFault, Simulator, SimulatorSettings,
};
use serde_json::{Value, json};

use crate::{credentials, get, list, now, page, server, server_with, text_of};

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

const SCOPES: &str = "read:tickets read:customers";

fn fetch(server: &mut Server, target: &str) -> Value {
    let response = fetch_as(server, SCOPES, target);
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

fn names_of(server: &mut Server, endpoint: &str, query: &str) -> Vec<String> {
    let rows = all_rows(server, endpoint, query);
    rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
}

fn id_numbers(server: &mut Server, endpoint: &str, query: &str) -> Vec<i64> {
    let rows = all_rows(server, endpoint, query);
    rows.iter().map(|row| row["id"].as_i64().expect("an id")).collect()
}

#[test]
fn lists_are_consistent_under_knobs_and_after_three_slas_were_defined() {
    for knobs in [
        &["slas=3"][..],
        &["slas=9", "priority_names=same"],
        &["more_clients=130"],
        &["agent_list=results", "sidecar_arrays=on", "envelope=bare", "disabled_listed=always"],
        &["reference_page_cap=none", "order_by_id=ignored"],
    ] {
        assert_consistent(&mut server_with(300, knobs));
    }
    let mut server = server_with(300, &["slas=3"]);
    let slas: BTreeSet<_> = tickets(&mut server).iter().map(|row| row["sla_id"].as_i64()).collect();
    assert_eq!(slas, BTreeSet::from([Some(1), Some(2), Some(3)]));
    let row = tickets(&mut server).into_iter().find(|row| row["sla_id"] == 2).expect("a ticket of SLA 2");
    let detail = fetch(&mut server, &format!("/api/tickets/{}", row["id"]));
    assert_eq!((&detail["sla_name"], &detail["priority"]["slaid"]), (&json!("Gold"), &json!(2)));
}

#[test]
fn generated_data_knobs_change_their_property_only() {
    let plain = tickets(&mut server(300));
    for (knob, property) in [
        ("slas=3", "sla_id"),
        ("lost_agents=500", "agent_id"),
        ("more_clients=50", ""),
        ("row_extras=all", ""),
    ] {
        let mut changed = tickets(&mut server_with(300, &[knob]));
        assert_eq!(changed != plain, knob != "more_clients=50", "{knob}");
        for (row, before) in changed.iter_mut().zip(&plain) {
            if !property.is_empty() {
                row[property] = before[property].clone();
            }
            if knob.starts_with("row_extras") {
                let row = row.as_object_mut().expect("a row");
                row.retain(|name, _| name != "responsedate" && name != "dateassigned");
            }
        }
        assert_eq!(changed, plain, "{knob}");
    }
}

#[test]
fn small_lists_are_bare_arrays_and_large_ones_are_in_an_envelope() {
    let mut server = server(120);
    for path in ["/api/Agent", "/API/team", "/api/Priority", "/api/SLA", "/api/Category"] {
        let list = fetch(&mut server, path);
        assert!(list.as_array().is_some_and(|rows| !rows.is_empty()), "{path}");
    }
    for (path, key) in [("/api/Client", "clients"), ("/api/Site", "sites"), ("/api/Users", "users")] {
        let list = fetch(&mut server, &format!("{path}?pageinate=true&page_no=1&page_size=5"));
        let members: Vec<_> = list.as_object().expect("an envelope").keys().map(String::as_str).collect();
        assert_eq!(members.iter().filter(|name| ![key].contains(name)).count(), 3, "{members:?}");
        assert_eq!((&list["page_no"], &list["page_size"]), (&json!(1), &json!(5)));
        assert_eq!(list[key].as_array().expect("rows").len(), 5, "{path}");
        assert!(list["record_count"].as_u64() > Some(5), "{path}");
        let beyond = fetch(&mut server, &format!("{path}?pageinate=true&page_no=99&page_size=50"));
        assert_eq!(beyond[key], json!([]), "{path}");
    }
    for (endpoint, query) in ALL {
        let rows = all_rows(&mut server, endpoint, query);
        assert!(
            rows.iter().all(|row| row.as_object().is_some_and(|row| row.values().all(|it| !it.is_null())))
        );
    }
}

#[test]
fn properties_have_the_recorded_form() {
    let mut server = server(200);
    let agents = all_rows(&mut server, "agent", ALL[0].1);
    assert_eq!(agents[0]["team"], "ALL");
    assert!(agents[0].get("email").is_none() && agents[0].get("isapiagent").is_none());
    assert_eq!(agents.iter().filter(|row| row["isapiagent"] == true).count(), 1);
    let priority = &all_rows(&mut server, "priority", "slaid=2")[0];
    assert!(priority["id"].as_str().is_some_and(|guid| guid.len() == 36));
    assert_eq!((&priority["slaid"], &priority["priorityid"]), (&json!(2), &json!(1)));
    for name in ["name", "colour", "ishidden", "responsetime", "responseunits", "fixtime", "fixunits"] {
        assert!(priority.get(name).is_some(), "{name}");
    }
    assert!(all_rows(&mut server, "site", "")[0]["client_id"].is_f64());
    let user = &all_rows(&mut server, "users", "client_id=14")[0];
    assert!(user["site_id"].is_f64() && user["site_id_int"].is_i64() && user["client_id"] == 14);
    let sla = &all_rows(&mut server, "sla", "showpriorities=true")[0];
    assert_eq!(sla["priorities"].as_array().expect("priorities").len(), 4);
    assert!(all_rows(&mut server, "sla", "")[0].get("priorities").is_none());
}

#[test]
fn only_volatile_properties_change_over_time() {
    let mut server = server(50);
    let token = |server: &mut Server| {
        let form = credentials("demo-secret", SCOPES);
        let body = server.respond(&ApiRequest::form("/auth/token", &form), now()).json_body().expect("JSON");
        body["access_token"].as_str().expect("a token").to_owned()
    };
    let token = token(&mut server);
    for (endpoint, query) in ALL {
        let request = ApiRequest::get(&format!("/api/{endpoint}?{query}"), &token);
        let early = server.respond(&request, now()).json_body().expect("JSON");
        let late = server.respond(&request, now() + TimeDelta::minutes(7)).json_body().expect("JSON");
        let mut changed = BTreeSet::new();
        for (early, late) in rows_of(&early).iter().zip(rows_of(&late)) {
            let properties = early.as_object().expect("a row").iter();
            changed.extend(
                properties.filter(|(name, it)| late[name.as_str()] != **it).map(|(name, _)| name.clone()),
            );
        }
        let expected: &[&str] = match endpoint {
            "agent" => &["lastonline", "ticket_count"],
            "team" | "client" => &["ticket_count"],
            _ => &[],
        };
        assert_eq!(changed.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{endpoint}");
    }
}

#[test]
fn reference_page_cap_limits_clients_sites_and_users() {
    for (cap, rows) in [("50", 50), ("100", 100), ("none", 152)] {
        let mut server = server_with(10, &["more_clients=132", &format!("reference_page_cap={cap}")]);
        let target = "/api/client?includeinactive=true&pageinate=true&page_no=1&page_size=500";
        let list = fetch(&mut server, target);
        assert_eq!((&list["record_count"], rows_of(&list).len()), (&json!(152), rows), "{cap}");
        assert_eq!(id_numbers(&mut server, "client", "includeinactive=true").len(), 152, "{cap}");
    }
    let mut server = server_with(10, &["more_clients=132"]);
    let unpaged = fetch(&mut server, "/api/client");
    assert_eq!((&unpaged["record_count"], rows_of(&unpaged).len()), (&json!(50), 50));
}

#[test]
fn agents_are_bare_or_in_results() {
    let paged = "/api/agent?pageinate=true&page_no=1&page_size=4";
    for (form, bare_unpaged, bare_paged) in
        [("bare", true, true), ("paged", true, false), ("results", false, false)]
    {
        let mut server = server_with(5, &[&format!("agent_list={form}")]);
        let (whole, page) = (fetch(&mut server, "/api/agent"), fetch(&mut server, paged));
        assert_eq!((whole.is_array(), page.is_array()), (bare_unpaged, bare_paged), "{form}");
        assert_eq!(rows_of(&whole).len(), 10, "{form}");
        assert_eq!(rows_of(&page).len(), if bare_paged { 10 } else { 4 }, "{form}");
        if !bare_paged {
            assert_eq!(page["record_count"], 10, "{form}");
        }
    }
}

#[test]
fn reference_ids_can_be_doubles() {
    let mut server = server_with(20, &["reference_ids=double"]);
    for (endpoint, query) in ALL {
        let rows = all_rows(&mut server, endpoint, query);
        let id = if endpoint == "priority" { "priorityid" } else { "id" };
        assert!(rows.iter().all(|row| row[id].is_f64()), "{endpoint}");
    }
    let text = text_of(&fetch_as(&mut server, SCOPES, "/api/team"));
    assert!(text.contains("\"id\":1.0,"), "{text}");
}

#[test]
fn sidecar_arrays_stand_beside_the_named_one() {
    for (knob, others) in [("sidecar_arrays=on", 2), ("sidecar_arrays=off", 0)] {
        let mut server = server_with(5, &[knob, "agent_list=results"]);
        for endpoint in ["agent", "client", "site", "users"] {
            let list = fetch(&mut server, &format!("/api/{endpoint}"));
            let arrays = list.as_object().expect("an envelope").values().filter(|it| it.is_array());
            assert_eq!(arrays.count(), 1 + others, "{endpoint}");
        }
        let text = text_of(&fetch_as(&mut server, SCOPES, "/api/client"));
        assert_eq!(text.find("folders").is_some_and(|at| Some(at) < text.find("clients")), others > 0);
    }
}

#[test]
fn disabled_rows_are_listed_as_the_knob_says() {
    for (setting, without_flag, with_flag) in
        [("asked", false, true), ("never", false, false), ("always", true, true)]
    {
        let mut server = server_with(200, &[&format!("disabled_listed={setting}")]);
        for (endpoint, flag, state) in [
            ("agent", "includedisabled=true", "isdisabled"),
            ("team", "includedisabled=true", "inactive"),
            ("client", "includeinactive=true", "inactive"),
            ("site", "includeinactive=true", "inactive"),
            ("users", "includeinactive=true", "inactive"),
        ] {
            for (query, listed) in [("", without_flag), (flag, with_flag)] {
                let rows = all_rows(&mut server, endpoint, query);
                assert_eq!(
                    rows.iter().any(|row| row[state] == true),
                    listed,
                    "{setting}: {endpoint} {query}"
                );
                assert!(rows.iter().any(|row| row[state] == false), "{setting}: {endpoint} {query}");
            }
        }
    }
    let mut server = server(200);
    let disabled: Vec<_> = all_rows(&mut server, "agent", ALL[0].1)
        .iter()
        .filter(|row| row["isdisabled"] == true)
        .map(|row| row["id"].clone())
        .collect();
    assert!(tickets(&mut server).iter().any(|row| disabled.contains(&row["agent_id"])));
    assert!(!id_numbers(&mut server, "agent", "includedisabled=true").contains(&1));
    assert_eq!(id_numbers(&mut server, "agent", "includeenabled=false&includedisabled=true"), [6, 14, 23]);
    assert!(!id_numbers(&mut server, "team", "").contains(&20));
}

#[test]
fn customers_need_their_scope_and_any_endpoint_can_be_forbidden_alone() {
    let mut server = server(20);
    let status = |server: &mut Server, scope: &str, endpoint: &str| {
        fetch_as(server, scope, &format!("/api/{endpoint}")).status
    };
    for (endpoint, _) in ALL {
        let needs_scope = ["client", "site", "users"].contains(&endpoint);
        assert_eq!(status(&mut server, "read:tickets", endpoint), if needs_scope { 403 } else { 200 });
        assert_eq!(status(&mut server, "edit:customers", endpoint), 200, "{endpoint}");
    }
    for fault in ["agent:status=403", "users:status=403"] {
        server.inject(ServerFault::parse(fault).expect("a fault"));
    }
    for _ in 0..3 {
        for (endpoint, _) in ALL {
            let expected = if ["agent", "users"].contains(&endpoint) { 403 } else { 200 };
            assert_eq!(status(&mut server, SCOPES, endpoint), expected, "{endpoint}");
        }
        assert_eq!(get(&mut server, "/api/tickets").status, 200);
    }
    let mut server = server_with(20, &["customers_scope=off", "reference_needs_all=on"]);
    assert_eq!(status(&mut server, "read:tickets", "client"), 200);
    for endpoint in ["agent", "team", "priority", "sla", "category"] {
        assert_eq!(status(&mut server, "read:tickets", endpoint), 403, "{endpoint}");
        assert_eq!(status(&mut server, "all", endpoint), 200, "{endpoint}");
    }
}

#[test]
fn priority_numbers_are_used_again_in_every_sla() {
    let names = |server: &mut Server, number: i64| -> Vec<Value> {
        let rows = all_rows(server, "priority", "");
        rows.into_iter().filter(|row| row["priorityid"] == number).map(|row| row["name"].clone()).collect()
    };
    assert_eq!(names(&mut server(5), 3), ["Medium", "Planned", "Next sprint"]);
    assert_eq!(names(&mut server_with(5, &["priority_names=same"]), 3), ["Medium"; 3]);

    let mut server = server_with(5, &["priority_twice=on"]);
    let rows = all_rows(&mut server, "priority", "slaid=1");
    let twice: Vec<_> = rows.iter().filter(|row| row["priorityid"] == 3).collect();
    assert_eq!(twice.iter().map(|row| &row["ishidden"]).collect::<Vec<_>>(), [true, false]);
    assert_ne!(twice[0]["id"], twice[1]["id"]);
    assert_ne!(twice[0]["name"], twice[1]["name"]);
}

#[test]
fn either_property_of_a_category_has_the_path() {
    for (knob, path) in [("category_path=value", "value"), ("category_path=category_name", "category_name")] {
        let rows = all_rows(&mut server_with(5, &[knob]), "category", "");
        for row in &rows {
            let other = if path == "value" { "category_name" } else { "value" };
            let (path, other) = (row[path].as_str().expect("a path"), row[other].as_str().expect("a level"));
            assert_eq!(path.rsplit('>').next(), Some(other), "{knob}");
        }
        assert!(rows.iter().any(|row| row[path] == "Hardware>Laptop>Battery"), "{knob}");
    }
}

#[test]
fn lost_agents_are_in_no_list() {
    let mut server = server_with(300, &["lost_agents=300"]);
    let known = id_numbers(&mut server, "agent", ALL[0].1);
    let lost = |server: &mut Server| {
        let rows = tickets(server);
        rows.into_iter().filter(|row| !known.contains(&row["agent_id"].as_i64().expect("an id"))).count()
    };
    let at_first = lost(&mut server);
    assert!((50..130).contains(&at_first), "{at_first}");
    let id = server.ids()[0];
    server.edit(id, Edit::Agent(7), now());
    let before = lost(&mut server);
    server.edit(id, Edit::Agent(4_711), now());
    assert_eq!(lost(&mut server), before + 1);
}

// ---- What rows carry beside the attributes ----

const EXTRAS: [&str; 4] = ["dateclosed", "responsedate", "dateassigned", "parent_id"];

fn extras_of(rows: &[Value]) -> Vec<&'static str> {
    EXTRAS.into_iter().filter(|name| rows.iter().any(|row| row.get(name).is_some())).collect()
}

#[test]
fn rows_carry_the_extras_of_the_knob_which_can_change() {
    let mut server = server(300);
    let before = tickets(&mut server);
    assert_eq!(extras_of(&before), ["dateclosed", "parent_id"]);
    for (setting, carried) in [
        ("none", &[][..]),
        ("all", &EXTRAS),
        ("responsedate", &["responsedate"]),
        ("dateassigned+dateclosed", &["dateclosed", "dateassigned"]),
        ("dateclosed+parent_id", &["dateclosed", "parent_id"]),
    ] {
        let request = ApiRequest {
            method: "POST".into(),
            path: "/_sim/knobs".into(),
            query: format!("row_extras={setting}"),
            ..ApiRequest::default()
        };
        assert_eq!(server.respond(&request, now()).status, 200, "{setting}");
        let rows = tickets(&mut server);
        assert_eq!(extras_of(&rows), carried, "{setting}");
        assert!(rows.iter().zip(&before).all(|(row, old)| row["last_update"] == old["last_update"]));
        for id in [server.ids()[1], server.ids()[2]] {
            let detail = text_of(&get(&mut server, &format!("/api/tickets/{id}")));
            for name in EXTRAS {
                assert!(detail.matches(&format!("\"{name}\":")).count() <= 1, "{setting}: {name}");
            }
            assert!(detail.contains("\"responsedate\":") || !detail.contains("\"dateclosed\":"));
        }
    }
    assert_eq!(tickets(&mut server), before);
    assert!(server.knobs().set("row_extras=dateclosed+cost").is_err());
}

#[test]
fn unset_extras_are_left_out_or_sentinels() {
    let mut server = server_with(300, &["row_extras=all"]);
    let rows = tickets(&mut server);
    for name in EXTRAS {
        assert!(rows.iter().any(|row| row.get(name).is_some()), "{name}");
        assert!(rows.iter().any(|row| row.get(name).is_none()), "{name}");
    }
    server.knobs().set("unset_extras=sentinel").expect("a knob");
    for (row, before) in tickets(&mut server).iter().zip(&rows) {
        for name in EXTRAS {
            let unset = if name == "parent_id" { json!(0) } else { json!("1900-01-01T00:00:00") };
            assert_eq!(&row[name], before.get(name).unwrap_or(&unset), "{name}");
        }
    }
    server.knobs().set("row_extras=none").expect("a knob");
    assert_eq!(extras_of(&tickets(&mut server)), [""; 0]);
}

#[test]
fn first_response_follows_the_opening_and_is_not_after_the_closing() {
    let mut server = server_with(1_000, &["row_extras=all"]);
    let rows = tickets(&mut server);
    let time = |row: &Value, name: &str| {
        let text = row.get(name)?.as_str().expect("a date");
        Some(text.parse::<chrono::NaiveDateTime>().expect("a date"))
    };
    let mut open_with_response = 0;
    for row in &rows {
        let (opened, closed) = (time(row, "dateoccurred").expect("a date"), time(row, "dateclosed"));
        let (responded, assigned) = (time(row, "responsedate"), time(row, "dateassigned"));
        assert!(responded.is_none_or(|it| opened <= it) && assigned.is_none_or(|it| opened <= it), "{row}");
        assert_eq!(assigned.is_some(), row["agent_id"] != 1, "{row}");
        if let Some(closed) = closed {
            assert!(
                responded.is_some_and(|it| it <= closed) && assigned.is_none_or(|it| it <= closed),
                "{row}"
            );
        } else {
            open_with_response += usize::from(responded.is_some());
        }
        assert!(responded.is_none_or(|it| Some(it) <= time(row, "last_update")), "{row}");
    }
    let open = rows.iter().filter(|row| row.get("dateclosed").is_none()).count();
    assert!((open / 4..open).contains(&open_with_response), "{open_with_response} of {open}");
    // It moves with an edit only.
    let late = now() + TimeDelta::hours(9);
    let at_night = server.row(server.ids()[999], late).expect("a row");
    assert_eq!(at_night.get("responsedate"), rows[999].get("responsedate"));
}

// ---- Changes ----

const KEYS: [(ReferenceKey, &str, &str); 8] = [
    (ReferenceKey::Agent(5), "agent", "agent=5"),
    (ReferenceKey::Team(6), "team", "team=6"),
    (ReferenceKey::Priority { sla: 2, priority: 3 }, "priority", "priority=3&sla=2"),
    (ReferenceKey::Sla(2), "sla", "sla=2"),
    (ReferenceKey::Category(3), "category", "category=3"),
    (ReferenceKey::Client(14), "client", "client=14"),
    (ReferenceKey::Site(141), "site", "site=141"),
    (ReferenceKey::User(14_900), "users", "user=14900"),
];

/// The name of an object in a list; a category's is its path.
fn name_property(endpoint: &str) -> &'static str {
    if endpoint == "category" { "value" } else { "name" }
}

fn listed_names(server: &mut Server, endpoint: &str) -> Vec<Value> {
    let query = ALL.iter().find(|(name, _)| *name == endpoint).expect("a list").1;
    let rows = all_rows(server, endpoint, query);
    rows.iter().map(|row| row[name_property(endpoint)].clone()).collect()
}

#[test]
fn renamed_added_removed_and_disabled_objects_leave_last_update_alone() {
    let mut server = server(400);
    let updates = |server: &mut Server| -> Vec<Value> {
        tickets(server).iter().map(|row| row["last_update"].clone()).collect()
    };
    let before = updates(&mut server);
    server.back_up();
    for (key, endpoint, _) in KEYS {
        let count = listed_names(&mut server, endpoint).len();
        server.rename_reference(key, "New \"name\"");
        let names = listed_names(&mut server, endpoint);
        assert_eq!(names.iter().filter(|name| **name == "New \"name\"").count(), 1, "{endpoint}");
        server.remove_reference(key);
        let names = listed_names(&mut server, endpoint);
        assert_eq!((names.len(), names.contains(&json!("New \"name\""))), (count - 1, false), "{endpoint}");
        server.add_reference(key, "Back");
        assert!(listed_names(&mut server, endpoint).contains(&json!("Back")), "{endpoint}");
    }
    for (key, endpoint) in [
        (ReferenceKey::Agent(4_711), "agent"),
        (ReferenceKey::Team(99), "team"),
        (ReferenceKey::Priority { sla: 1, priority: 9 }, "priority"),
        (ReferenceKey::Sla(77), "sla"),
        (ReferenceKey::Category(501), "category"),
        (ReferenceKey::Client(5_000), "client"),
        (ReferenceKey::Site(142_009), "site"),
        (ReferenceKey::User(14_999), "users"),
    ] {
        server.add_reference(key, "Newcomer");
        assert_eq!(listed_names(&mut server, endpoint).iter().filter(|name| **name == "Newcomer").count(), 1);
    }
    server.set_reference_inactive(ReferenceKey::Agent(5), true);
    assert!(!names_of(&mut server, "agent", "").contains(&"Back".to_owned()));
    assert!(names_of(&mut server, "agent", "includedisabled=true").contains(&"Back".to_owned()));
    server.set_reference_inactive(ReferenceKey::Agent(5), false);
    assert!(names_of(&mut server, "agent", "").contains(&"Back".to_owned()));
    server.set_reference_inactive(ReferenceKey::Priority { sla: 2, priority: 3 }, true);
    let hidden = all_rows(&mut server, "priority", "").into_iter().filter(|row| row["ishidden"] == true);
    assert_eq!(hidden.map(|row| row["name"].clone()).collect::<Vec<_>>(), ["Back"]);
    assert_eq!(updates(&mut server), before);

    server.restore_backup();
    for (_, endpoint, _) in KEYS {
        let names = listed_names(&mut server, endpoint);
        assert!(!names.contains(&json!("Back")) && !names.contains(&json!("Newcomer")), "{endpoint}");
    }
}

#[test]
fn rows_have_new_names_at_once_and_keep_names_of_removed_objects() {
    let mut server = server_with(400, &["slas=2"]);
    for key in [ReferenceKey::Team(6), ReferenceKey::Site(141), ReferenceKey::Client(14)] {
        server.rename_reference(key, "R & \"D\"");
    }
    let user = tickets(&mut server)[0]["user_id"].as_i64().expect("an id");
    server.rename_reference(ReferenceKey::User(user), "Married Name");
    assert_consistent(&mut server);
    let rows = tickets(&mut server);
    for (id, value, name) in
        [("team_id", 6, "team"), ("site_id", 141, "site_name"), ("client_id", 14, "client_name")]
    {
        assert!(rows.iter().any(|row| row[id] == value), "{id}");
        assert!(rows.iter().all(|row| (row[id] == value) == (row[name] == "R & \"D\"")), "{id}");
    }
    assert_eq!(rows[0]["user_name"], "Married Name");
    server.rename_reference(ReferenceKey::Sla(2), "Platinum");
    let of_sla_2 = rows.iter().find(|row| row["sla_id"] == 2).expect("a ticket");
    assert_eq!(fetch(&mut server, &format!("/api/tickets/{}", of_sla_2["id"]))["sla_name"], "Platinum");
    server.remove_reference(ReferenceKey::Team(6));
    assert_eq!(tickets(&mut server), rows);
}

#[test]
fn control_endpoints_change_reference_objects() {
    let mut server = server(30);
    let mut control = |action: &str, query: &str| {
        let request = ApiRequest {
            method: "POST".into(),
            path: format!("/_sim/{action}"),
            query: query.into(),
            ..ApiRequest::default()
        };
        server.respond(&request, now()).status
    };
    for (_, endpoint, parameter) in KEYS {
        assert_eq!(control("rename", &format!("{parameter}&name=Renamed+{endpoint}")), 200, "{parameter}");
    }
    for parameter in ["agent=77", "priority=9&sla=1", "site=149"] {
        assert_eq!(control("add", &format!("{parameter}&name=Added")), 200, "{parameter}");
    }
    assert_eq!(control("remove", "agent=8"), 200);
    assert_eq!(control("disable", "agent=9"), 200);
    assert_eq!((control("disable", "agent=11"), control("enable", "agent=11")), (200, 200));
    for (action, query) in [
        ("rename", "agent=5"),
        ("rename", "name=Nobody"),
        ("add", "agent=5"),
        ("remove", "status=1"),
        ("disable", ""),
        ("remove", "priority=3"),
        ("remove", "agent=five"),
    ] {
        assert_eq!(control(action, query), 400, "{action} {query}");
    }
    for (_, endpoint, _) in KEYS {
        assert!(
            listed_names(&mut server, endpoint).contains(&json!(format!("Renamed {endpoint}"))),
            "{endpoint}"
        );
    }
    for endpoint in ["agent", "priority", "site"] {
        assert!(listed_names(&mut server, endpoint).contains(&json!("Added")), "{endpoint}");
    }
    assert!(!id_numbers(&mut server, "agent", ALL[0].1).contains(&8));
    let enabled = id_numbers(&mut server, "agent", "");
    assert!(!enabled.contains(&9) && enabled.contains(&11));
}

// ---- Faults ----

#[test]
fn faults_of_lists_apply_to_reference_objects() {
    let fetch_with = |fault: &str, target: &str| {
        let mut server = server(50);
        server.inject(ServerFault::parse(fault).expect("a fault"));
        fetch(&mut server, target)
    };
    let page = "/api/client?pageinate=true&page_no=1&page_size=10";
    assert_eq!(fetch_with("client:count=+3", page)["record_count"], 22);
    let empty = fetch_with("client:empty", page);
    assert_eq!((&empty["record_count"], &empty["clients"]), (&json!(19), &json!([])));
    assert!(fetch_with("client:tickets=missing", page).get("clients").is_none());
    assert_eq!(fetch_with("client:tickets=null", page)["clients"], Value::Null);
    let second = "/api/client?pageinate=true&page_no=2&page_size=5&order=id";
    let with_defect = fetch_with("client:row=text.id:7", second);
    let texts: Vec<_> = rows_of(&with_defect).iter().map(|row| row["id"].is_string()).collect();
    assert_eq!(texts, [false, true, false, false, false]);
    assert_eq!(fetch_with("agent:row=null.id:1", "/api/agent")[0]["id"], Value::Null);
    assert_eq!(fetch_with("agent:empty", "/api/agent"), json!([]));
    assert_eq!(fetch_with("sla:bomb=elements:500", "/api/sla").as_array().map(Vec::len), Some(500));
    let mut server = server(50);
    list(&mut server, "");
    fetch(&mut server, "/api/priority");
    assert_eq!(server.log().count(halo_simulator::ApiEndpoint::Priority), 1);
}

// ---- Over HTTP ----

#[tokio::test]
async fn reference_objects_are_served_over_http() {
    let settings = SimulatorSettings { tickets: 300, ..SimulatorSettings::default() };
    let simulator = Simulator::start(settings).await.expect("a port");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let form = credentials("demo-secret", SCOPES);
    let response =
        client.post(format!("{}/auth/token", simulator.url())).form(&form).send().await.expect("a response");
    let token: Value = response.json().await.expect("JSON");
    let token = token["access_token"].as_str().expect("a token");
    for (endpoint, query) in ALL {
        let mut rows = Vec::new();
        for number in 1.. {
            let url = format!(
                "{}/api/{endpoint}?{query}&pageinate=true&page_no={number}&page_size=100&order=id",
                simulator.url()
            );
            let response = client.get(url).bearer_auth(token).send().await.expect("a response");
            assert_eq!(response.status(), 200, "{endpoint}");
            let list: Value = response.json().await.expect("JSON");
            rows.extend(rows_of(&list).iter().cloned());
            if list.is_array() || list["record_count"] == rows.len() {
                break;
            }
        }
        let expected = simulator.with(|server| all_rows(server, endpoint, query));
        let ids = |rows: &[Value]| rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&rows), ids(&expected), "{endpoint}");
    }
    simulator.stop().await;
}
