//! Replayed responses.

use halo_simulator::{ReplayedResponse, Server, ServerFault, SimulatorSettings};

use crate::{ApiRequest, get, now, text_of, token_response};

fn server(replays: &[(&str, u16, &str)]) -> Server {
    let replays = replays.iter().map(|&(path, status, body)| ReplayedResponse {
        path: path.into(),
        status,
        body: body.into(),
    });
    let settings =
        SimulatorSettings { tickets: 5, replays: replays.collect(), ..SimulatorSettings::default() };
    Server::new(settings, now())
}

#[test]
fn responses_of_a_path_follow_one_another_and_the_last_stays() {
    let mut server = server(&[
        ("/api/tickets", 200, "first"),
        ("/api/tickets/7", 404, "{}"),
        ("/API/Tickets/", 500, "second"),
    ]);
    let mut ask = |target: &str| {
        let response = server.respond(&ApiRequest::get(target, "none"), now());
        (response.status, text_of(&response), response.header("content-type").map(str::to_owned))
    };
    let json = || Some("application/json; charset=utf-8".to_owned());
    assert_eq!(ask("/api/tickets?page_no=1"), (200, "first".to_owned(), json()));
    assert_eq!(ask("/api/tickets/7"), (404, "{}".to_owned(), json()));
    for _ in 0..3 {
        assert_eq!(ask("/api/tickets"), (500, "second".to_owned(), json()));
    }
    assert_eq!(ask("/api/tickets/8").0, 401);
}

#[test]
fn other_paths_are_served_as_usual() {
    let mut server = server(&[("/api/status", 200, "[]")]);
    assert_eq!(text_of(&get(&mut server, "/api/status")), "[]");
    assert_eq!(get(&mut server, "/api/tickets").json_body().expect("JSON")["record_count"], 5);
}

#[test]
fn replayed_token_is_accepted_and_a_replayed_error_is_not() {
    let token = r#"{"access_token":"abc","expires_in":60}"#;
    let mut server = server(&[("/auth/token", 400, r#"{"access_token":"no"}"#), ("/auth/token", 200, token)]);
    assert_eq!(token_response(&mut server, "any", "all", now()).status, 400);
    assert_eq!(server.respond(&ApiRequest::get("/api/tickets", "no"), now()).status, 401);
    assert_eq!(token_response(&mut server, "any", "all", now()).status, 200);
    assert_eq!(server.respond(&ApiRequest::get("/api/tickets", "abc"), now()).status, 200);
    let later = now() + chrono::TimeDelta::seconds(60);
    assert_eq!(server.respond(&ApiRequest::get("/api/tickets", "abc"), later).status, 401);
}

#[test]
fn faults_apply_to_replayed_responses_and_they_are_logged() {
    let mut server = server(&[("/api/status", 200, "[1,2]")]);
    server.inject(ServerFault::parse("status@1:status=503").expect("a fault"));
    server.inject(ServerFault::parse("status@2:cut=2").expect("a fault"));
    let request = ApiRequest::get("/api/status", "none");
    assert_eq!(server.respond(&request, now()).status, 503);
    let cut = server.respond(&request, now());
    assert_eq!((text_of(&cut), cut.delivery), ("[1,2]".to_owned(), halo_simulator::Delivery::Cut(2)));
    assert_eq!(server.log().total(), 2);
    server.clear_replays();
    assert_eq!(server.respond(&request, now()).status, 401);
}
