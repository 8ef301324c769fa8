//! Injected faults.

use std::time::Duration;

use halo_simulator::{ApiRequest, ApiResponse, Delivery, Server, ServerFault, SimulatorSettings};
use serde_json::{Value, json};

use crate::{PAGE_2, get, ids, now, page, server, text_of};

fn respond_with_fault(spec: &str, target: &str) -> (Server, ApiResponse) {
    let mut server = server(250);
    server.inject(ServerFault::parse(spec).expect("a fault"));
    let response = get(&mut server, target);
    (server, response)
}

#[test]
fn fault_replaces_response() {
    for (spec, status, start) in [
        ("list:status=503", 503, "<!DOCTYPE html>"),
        ("list:status=403", 403, "{\"Message\""),
        ("any@..9:html", 200, "<!DOCTYPE html>"),
        ("list@page2:html=500", 500, "<!DOCTYPE html>"),
        ("list:error", 200, "{\"error\""),
        ("list:blank", 200, ""),
        ("list:redirect=307", 307, ""),
        ("list:throttle=7", 429, "\"Rate Limit"),
    ] {
        if spec.starts_with("any") {
            let mut server = server(5);
            server.inject(ServerFault::parse(spec).expect("a fault"));
            let response = server.respond(&ApiRequest::get("/api/status", "none"), now());
            assert_eq!((response.status, text_of(&response).starts_with(start)), (status, true), "{spec}");
            continue;
        }
        let (_, response) = respond_with_fault(spec, PAGE_2);
        assert_eq!((response.status, text_of(&response).starts_with(start)), (status, true), "{spec}");
    }
    let (_, response) = respond_with_fault("list:throttle=date7", PAGE_2);
    assert_eq!(response.header("retry-after"), Some("Wed, 04 Mar 2026 10:20:37 GMT"));
}

#[test]
fn fault_alters_list() {
    let plain = server(250).ids();
    let faulty_list = |spec: &str| respond_with_fault(spec, PAGE_2).1.json_body().expect("JSON");
    assert_eq!(ids(&faulty_list("list:repeat=3")), plain[97..197]);
    let empty = faulty_list("list:empty");
    assert_eq!((ids(&empty).len(), &empty["record_count"]), (0, &json!(250)));
    assert_eq!(faulty_list("list:count=-7")["record_count"], 243);
    assert_eq!(faulty_list("list:count=+7")["record_count"], 257);
    assert_eq!(faulty_list("list:count=9")["record_count"], 9);
    assert_eq!(faulty_list("list:count=text")["record_count"], "250");
    assert!(faulty_list("list:count=missing").get("record_count").is_none());
    assert!(faulty_list("list:tickets=missing").get("tickets").is_none());
    assert_eq!(faulty_list("list:tickets=null").get("tickets"), Some(&Value::Null));
}

#[test]
fn fault_changes_data_between_pages() {
    assert_eq!(respond_with_fault("list:delete=5", PAGE_2).0.ids().len(), 245);
    assert_eq!(respond_with_fault("list:create=5", PAGE_2).0.ids().len(), 255);
    assert_eq!(respond_with_fault("list:hide=50", PAGE_2).0.ids().len(), 125);
    let (mut edited, _) = respond_with_fault("list@1:edit=5", PAGE_2);
    assert_eq!(page(&mut edited, 1, "lastupdatefromdate=2026-03-04T10:20:00")["record_count"], 5);
    let (_, late) = respond_with_fault("list:skew=3600", PAGE_2);
    assert_eq!(late.header("date"), Some("Wed, 04 Mar 2026 11:20:30 GMT"));
    let (_, expired) = respond_with_fault("list:expire", PAGE_2);
    assert_eq!(expired.status, 401);
}

#[test]
fn fault_affects_delivery() {
    let (_, whole) = respond_with_fault("status:cut", PAGE_2);
    let (_, cut) = respond_with_fault("list:cut", PAGE_2);
    assert_eq!(cut.delivery, Delivery::Cut(whole.body.len() / 2));
    assert_eq!(respond_with_fault("list:cut=100", PAGE_2).1.delivery, Delivery::Cut(100));
    assert_eq!(respond_with_fault("list:reset", PAGE_2).1.delivery, Delivery::Reset);
    assert_eq!(
        respond_with_fault("list:slow=80", PAGE_2).1.delivery,
        Delivery::Slow(Duration::from_millis(80))
    );
    assert_eq!(respond_with_fault("list:delay=80", PAGE_2).1.delay, Duration::from_millis(80));
    assert!(std::str::from_utf8(&respond_with_fault("list:garble", PAGE_2).1.body).is_err());
}

#[test]
fn fault_trigger_selects_requests() {
    for (when, expected) in [
        ("", vec![1, 2, 3, 4, 5, 6]),
        ("@3", vec![3]),
        ("@2..4", vec![2, 3, 4]),
        ("@..2", vec![1, 2]),
        ("@5..", vec![5, 6]),
        ("@every2", vec![2, 4, 6]),
        ("@every2x2", vec![2, 4]),
        ("@x3", vec![1, 2, 3]),
        ("@page2", vec![]),
        ("@conn1", vec![]),
        ("@chance100", vec![1, 2, 3, 4, 5, 6]),
    ] {
        let mut server = server(5);
        server.inject(ServerFault::parse(&format!("status{when}:blank")).expect("a fault"));
        let statuses: Vec<_> =
            (1..=6).filter(|_| text_of(&get(&mut server, "/api/status")).is_empty()).collect();
        assert_eq!(statuses.len(), expected.len(), "{when}");
        let mut server = Server::new(SimulatorSettings { tickets: 5, ..SimulatorSettings::default() }, now());
        server.inject(ServerFault::parse(&format!("status{when}:blank")).expect("a fault"));
        for number in 1..=6 {
            let empty = text_of(&get(&mut server, "/api/status")).is_empty();
            assert_eq!(empty, expected.contains(&number), "{when} {number}");
        }
    }
}

#[test]
fn fault_probability_is_reproducible() {
    let run = || {
        let mut server = server(5);
        server.inject(ServerFault::parse("status@chance30:blank").expect("a fault"));
        (0..100).map(|_| text_of(&get(&mut server, "/api/status")).is_empty()).collect::<Vec<_>>()
    };
    let first = run();
    assert_eq!(first, run());
    assert!((15..45).contains(&first.iter().filter(|&&hit| hit).count()));
}

#[test]
fn invalid_fault_error_lists_allowed_values() {
    for (spec, expected) in [
        ("list", "`list` is not of the form ENDPOINT[@[WHEN][xTIMES]]:EFFECT[=VALUE]"),
        ("lists:reset", "unknown endpoint `lists`; known endpoints: any, token, authinfo, list, "),
        (
            "list@soon:reset",
            "invalid condition `soon`; use N, N..M, N.., ..M, everyN, pageN, connN or chanceN",
        ),
        ("list:explode", "unknown effect `explode`; known effects: status, html, error, throttle, "),
        ("list:status=99", "invalid value `99` for effect `status`; allowed: 400 to 599"),
        ("list:reset=1", "invalid value `1` for effect `reset`; allowed: none"),
        ("list:row=text.id:0", "invalid value `text.id:0` for effect `row`; allowed: a defect, and places"),
        ("list:row=id", "invalid value `id` for effect `row`; allowed: a defect, and places"),
        ("list:bomb=rows", "invalid value `rows` for effect `bomb`; allowed: ITEMS"),
        ("any:skew=250000000001", "invalid value `250000000001` for effect `skew`; allowed: seconds"),
        ("any:date=tomorrow", "invalid value `tomorrow` for effect `date`; allowed: a time"),
    ] {
        let error = ServerFault::parse(spec).expect_err("no fault").to_string();
        assert!(error.starts_with(expected), "{spec}: {error}");
    }
}
