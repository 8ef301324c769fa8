//! Authentication, rate limit and clock.

use chrono::TimeDelta;
use halo_simulator::{ApiRequest, Server, SimulatorSettings};
use serde_json::json;

use crate::{
    SCOPE, credentials, get, now, server, server_with, server_with_faults, text_of, token, token_response,
};

// ---- Authentication (§1) ----

#[test]
fn token_is_a_jwt_valid_for_an_hour() {
    let mut server = server(5);
    let response = token_response(&mut server, "demo-secret", SCOPE, now()).json_body().expect("JSON");
    let token = response["access_token"].as_str().expect("a token").to_owned();
    assert!(token.starts_with("eyJ") && token.split('.').count() == 3);
    assert_eq!((&response["token_type"], &response["expires_in"]), (&json!("Bearer"), &json!(3600)));
    for name in ["scope", "refresh_token", "id_token"] {
        assert!(!response[name].as_str().expect("a text").is_empty(), "{name}");
    }
    let request = ApiRequest::get("/api/status", &token);
    assert_eq!(server.respond(&request, now() + TimeDelta::seconds(3_599)).status, 200);
    assert_eq!(server.respond(&request, now() + TimeDelta::seconds(3_600)).status, 401);
    assert_eq!(server.respond(&ApiRequest::get("/api/status", "eyJ.no.no"), now()).status, 401);
}

#[test]
fn refused_token_request_has_oauth_error() {
    for (knob, secret, scope, error) in [
        ("tenant=accepted", "wrong", SCOPE, "invalid_client"),
        ("tenant=accepted", "demo-secret", "read:users", "invalid_scope"),
        ("scope_read_tickets=off", "demo-secret", SCOPE, "invalid_scope"),
        ("application=other", "demo-secret", SCOPE, "unauthorized_client"),
    ] {
        let mut server = server_with(5, &[knob]);
        let response = token_response(&mut server, secret, scope, now());
        assert_eq!(
            (response.status, &response.json_body().expect("JSON")["error"]),
            (400, &json!(error)),
            "{knob}"
        );
    }
}

#[test]
fn wrong_tenant_gets_html_page() {
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
        let response = server.respond(&request, now());
        assert_eq!(response.status == 200, works, "{knob} {given}");
        if !works {
            assert!(response.header("Content-Type").expect("a type").starts_with("text/html"));
            assert!((240_000..260_000).contains(&response.body.len()));
        }
    }
}

#[test]
fn insufficient_tokens_are_refused() {
    let mut server = server(5);
    let response = token_response(&mut server, "demo-secret", "", now()).json_body().expect("JSON");
    let request = ApiRequest::get("/api/tickets", response["access_token"].as_str().expect("a token"));
    assert_eq!(server.respond(&request, now()).status, 401);
    let mut user = server_with(5, &["application=user"]);
    assert_eq!(get(&mut user, "/api/tickets").status, 403);
    let mut narrow = server_with(5, &["reference_needs_all=on"]);
    assert_eq!(get(&mut narrow, "/api/status").status, 403);
    assert_eq!(get(&mut narrow, "/api/tickets").status, 200);
}

#[test]
fn new_token_can_revoke_old_token() {
    for (knob, status) in [("off", 200), ("on", 401)] {
        let mut server = server_with(5, &[&format!("new_token_kills_old={knob}")]);
        let old = token(&mut server);
        token(&mut server);
        assert_eq!(server.respond(&ApiRequest::get("/api/status", &old), now()).status, status);
    }
}

#[test]
fn authinfo_needs_no_token_and_can_be_absent() {
    let request = ApiRequest { method: "GET".into(), path: "/api/authinfo".into(), ..ApiRequest::default() };
    let info = server(5).respond(&request, now()).json_body().expect("JSON");
    assert_eq!(info["auth_url"], "http://127.0.0.1/auth");
    let mut other = server_with_faults(5, &["authinfo:auth_url=https://auth.example/auth"]);
    let info = other.respond(&request, now()).json_body().expect("JSON");
    assert_eq!(info["auth_url"], "https://auth.example/auth");
    assert_eq!(server_with(5, &["authinfo=off"]).respond(&request, now()).status, 404);
}

#[test]
fn errors_repeat_the_secret_and_the_token_of_the_request_in_every_encoding() {
    for (name, secret, token) in [
        ("plain", "demo-secret", "a.b"),
        ("percent", "%64%65%6D%6F%2D%73%65%63%72%65%74", "%61%2E%62"),
        ("form", "demo-secret", "a.b"),
        ("basic", "aGFsb3N5bmMtZGVtbzpkZW1vLXNlY3JldA", "aGFsb3N5bmMtZGVtbzphLmI"),
        ("base64url", "ZGVtby1zZWNyZXQ", "YS5i"),
        ("hex", "64656d6f2d736563726574", "612e62"),
        ("json", "\\u0064\\u0065\\u006d\\u006f", "\\u0061\\u002e\\u0062"),
        ("html", "&#100;&#101;&#109;&#111;", "&#97;&#46;&#98;"),
    ] {
        let mut server = server_with_faults(5, &[&format!("any:echo={name}")]);
        let response = server.respond(&ApiRequest::get("/api/tickets", "a.b"), now());
        assert_eq!(response.status, 401, "{name}");
        let text = response.json_body().expect("JSON").to_string().replace("\\\\", "\\");
        assert!(text.contains(secret) && text.contains(token), "{name}: {text}");
    }
    let mut server = server_with_faults(5, &["any:echo=plain"]);
    let refusal = token_response(&mut server, "wrong", SCOPE, now()).json_body().expect("JSON");
    assert_eq!(refusal["error"], "invalid_client");
    assert!(refusal["error_description"].as_str().expect("a text").contains("demo-secret"));
    let token = token(&mut server);
    assert!(
        !text_of(&server.respond(&ApiRequest::get("/api/status", &token), now())).contains("demo-secret")
    );
}

#[test]
fn paths_outside_api_return_portal_page() {
    let mut server = server(5);
    let response = get(&mut server, "/tickets?pageinate=true");
    assert_eq!(response.status, 200);
    assert!(text_of(&response).starts_with("<!DOCTYPE html>"));
    assert_eq!(get(&mut server, "/api/nothing").status, 404);
}

// ---- Limits and clock (§7) ----

#[test]
fn rate_limit_window_rolls_and_has_recorded_text() {
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
fn retry_after_follows_its_knob() {
    for (knob, expected) in [("seconds", "290"), ("date", "Wed, 04 Mar 2026 10:25:30 GMT")] {
        let mut server = server_with(5, &["rate_limit=1", &format!("retry_after={knob}")]);
        let token = token(&mut server);
        let at = now() + TimeDelta::milliseconds(10_100);
        assert_eq!(
            server.respond(&ApiRequest::get("/api/status", &token), at).header("Retry-After"),
            Some(expected)
        );
    }
}

#[test]
fn responses_have_date_of_simulated_clock() {
    let mut server = server(5);
    assert_eq!(get(&mut server, "/api/nothing").header("date"), Some("Wed, 04 Mar 2026 10:20:30 GMT"));
    server.set_clock_offset(-TimeDelta::hours(2));
    assert_eq!(get(&mut server, "/api/status").header("date"), Some("Wed, 04 Mar 2026 08:20:30 GMT"));
    let id = server.create(1, now())[0];
    assert_eq!(server.row(id, now()).expect("a row")["dateoccurred"], "2026-03-04T08:20:30");
    server.knobs().set("date_header=off").expect("a knob");
    assert_eq!(get(&mut server, "/api/status").header("date"), None);
}
