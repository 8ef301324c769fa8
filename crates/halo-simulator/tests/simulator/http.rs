//! The simulator over HTTP.

use std::time::{Duration, Instant};

use halo_simulator::{ServerFault, Simulator, SimulatorSettings};
use serde_json::Value;

use crate::{PAGE_2, SCOPE, credentials, ids};

async fn running(knobs: &[&str]) -> (Simulator, reqwest::Client, String) {
    let mut settings = SimulatorSettings { tickets: 300, ..SimulatorSettings::default() };
    for knob in knobs {
        settings.knobs.set(knob).expect("a knob");
    }
    let simulator = Simulator::start(settings).await.expect("a port");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let form = credentials("demo-secret", SCOPE);
    let response =
        client.post(format!("{}/auth/token", simulator.url())).form(&form).send().await.expect("a response");
    let token: Value = response.json().await.expect("JSON");
    let token = token["access_token"].as_str().expect("a token").to_owned();
    (simulator, client, token)
}

async fn fetch(
    simulator: &Simulator,
    client: &reqwest::Client,
    token: &str,
) -> reqwest::Result<reqwest::Response> {
    client.get(format!("{}{PAGE_2}", simulator.url())).bearer_auth(token).send().await
}

#[tokio::test]
async fn http_page_is_compressed_or_not() {
    for knob in ["gzip=on", "gzip=off"] {
        let (simulator, client, token) = running(&[knob]).await;
        let response = fetch(&simulator, &client, &token).await.expect("a response");
        assert!(response.headers().contains_key("date"));
        assert_eq!(response.content_length().is_none(), knob == "gzip=on");
        let page: Value = response.json().await.expect("JSON");
        assert_eq!(ids(&page), simulator.with(|server| server.ids())[100..200]);
        simulator.stop().await;
    }
}

#[tokio::test]
async fn authinfo_has_listen_address() {
    let (simulator, client, _) = running(&[]).await;
    let info = client.get(format!("{}/api/authinfo", simulator.url())).send().await.expect("a response");
    let info: Value = info.json().await.expect("JSON");
    assert_eq!(info["auth_url"], format!("{}/auth", simulator.url()));
}

#[tokio::test]
async fn delivery_faults_reach_the_client() {
    let (simulator, client, token) = running(&[]).await;
    let inject =
        |spec: &str| simulator.with(|server| server.inject(ServerFault::parse(spec).expect("a fault")));

    inject("list@1:cut=5000");
    let cut = fetch(&simulator, &client, &token).await.expect("headers");
    assert_eq!(cut.status(), 200);
    assert!(cut.bytes().await.is_err());

    inject("list@1:reset");
    assert!(fetch(&simulator, &client, &token).await.is_err());

    inject("list@1:slow=60");
    let started = Instant::now();
    let slow = fetch(&simulator, &client, &token).await.expect("headers").bytes().await;
    assert!(slow.is_ok() && started.elapsed() >= Duration::from_millis(50));

    assert_eq!(fetch(&simulator, &client, &token).await.expect("a response").status(), 200);
}

#[tokio::test]
async fn generated_body_is_streamed_compressed_or_cut() {
    for (knob, fault) in [
        ("gzip=on", "list@1:bomb=ids"),
        ("gzip=off", "list@1:bomb=ids"),
        ("gzip=on", "list@1:row=huge20:101"),
    ] {
        let (simulator, client, token) = running(&[knob]).await;
        let inject =
            |spec: &str| simulator.with(|server| server.inject(ServerFault::parse(spec).expect("a fault")));
        inject(fault);
        let response = fetch(&simulator, &client, &token).await.expect("a response");
        // The client takes the length away where it decompresses.
        assert_eq!(response.content_length().is_none(), knob == "gzip=on");
        let body = response.bytes().await.expect("the whole body");
        let list: Value = serde_json::from_slice(&body).expect("JSON");
        let rows = list["tickets"].as_array().expect("rows").len();
        assert_eq!(rows, if fault.contains("bomb") { 200_000 } else { 100 });

        inject("list@1:bomb=ids");
        inject("list@1:cut=1000000");
        let cut = fetch(&simulator, &client, &token).await.expect("headers");
        assert!(cut.bytes().await.is_err());

        inject("list@1:bomb=ids:20000");
        inject("list@1:slow=60");
        let started = Instant::now();
        let slow = fetch(&simulator, &client, &token).await.expect("headers").bytes().await;
        assert!(slow.is_ok() && started.elapsed() >= Duration::from_millis(50));
        assert_eq!(fetch(&simulator, &client, &token).await.expect("a response").status(), 200);
    }
}

#[tokio::test]
async fn connections_are_numbered() {
    let (simulator, _, token) = running(&[]).await;
    simulator.with(|server| {
        server.inject(ServerFault::parse("list@conn2:date=2001-01-01T00:00:00Z").expect("a fault"));
    });
    let mut years = Vec::new();
    for _ in 0..4 {
        // A new client opens a new connection; the first was opened for the token.
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let response = fetch(&simulator, &client, &token).await.expect("a response");
        years.push(response.headers()["date"].to_str().expect("a date")[12..16] == *"2001");
    }
    assert_eq!(years, [true, false, true, false]);
}

#[tokio::test]
async fn delayed_requests_overlap() {
    let (simulator, client, token) = running(&["latency_ms=60"]).await;
    simulator.with(|server| server.log_mut().reset());
    let started = Instant::now();
    let fetches: Vec<_> = (0..8)
        .map(|_| {
            let request = client.get(format!("{}{PAGE_2}", simulator.url())).bearer_auth(&token);
            tokio::spawn(async move { request.send().await.expect("a response").status() })
        })
        .collect();
    for fetch in fetches {
        assert_eq!(fetch.await.expect("no panic"), 200);
    }
    assert!(started.elapsed() < Duration::from_millis(400), "{:?}", started.elapsed());
    simulator.with(|server| {
        assert_eq!(server.log().list_count(), 8);
        assert!(server.log().peak_in_flight() > 1);
    });
}

#[tokio::test]
async fn date_header_can_be_absent() {
    let (simulator, client, token) = running(&["date_header=off"]).await;
    let response = fetch(&simulator, &client, &token).await.expect("a response");
    assert!(!response.headers().contains_key("date"));
}

#[tokio::test]
async fn other_than_loopback_address_is_refused() {
    let settings = SimulatorSettings {
        listen: "0.0.0.0:0".parse().expect("an address"),
        ..SimulatorSettings::default()
    };
    let error = Simulator::start(settings).await.expect_err("refused");
    assert!(error.to_string().contains("loopback"));
}

#[tokio::test]
async fn stopped_simulator_releases_its_port() {
    let (simulator, client, token) = running(&[]).await;
    let url = simulator.url();
    drop(token);
    simulator.stop().await;
    assert!(client.get(format!("{url}/api/authinfo")).send().await.is_err());
}
