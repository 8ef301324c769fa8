//! Measures the simulator, to make sure that it is not the bottleneck of measurements that use it.

use std::io::{Read, Write};
use std::net::TcpStream;

use chrono::{DateTime, TimeDelta, Utc};
use divan::Bencher;
use divan::counter::ItemsCount;
use halo_simulator::{ApiRequest, Server, Simulator, SimulatorSettings};

fn main() {
    divan::main();
}

const SIZES: [u32; 3] = [10_000, 100_000, 1_000_000];

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

fn server(tickets: u32) -> (Server, String) {
    let mut server = Server::new(SimulatorSettings { tickets, ..SimulatorSettings::default() }, now());
    let response = server.respond(&ApiRequest::form("/auth/token", &CREDENTIALS), now());
    let body = response.json_body().expect("JSON");
    let token = body["access_token"].as_str().expect("a token").to_owned();
    (server, token)
}

const CREDENTIALS: [(&str, &str); 4] = [
    ("grant_type", "client_credentials"),
    ("client_id", "halosync-demo"),
    ("client_secret", "demo-secret"),
    ("scope", "read:tickets"),
];

fn target(page: u32) -> String {
    format!("/api/tickets?pageinate=true&page_no={page}&page_size=100&order=id")
}

/// Pages of a full scan, without HTTP.
#[divan::bench(args = SIZES)]
fn page(bencher: Bencher<'_, '_>, tickets: u32) {
    let (mut server, token) = server(tickets);
    let mut page = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        page = page % (tickets / 100) + 1;
        server.respond(&ApiRequest::get(&target(page), &token), now()).body.len()
    });
}

/// The first page of an incremental list right after a change, so that the selection is not cached.
#[divan::bench(args = SIZES)]
fn changed_page(bencher: Bencher<'_, '_>, tickets: u32) {
    let (mut server, token) = server(tickets);
    let id = server.ids()[0];
    let recently = now() - TimeDelta::minutes(30);
    let target = format!("{}&lastupdatefromdate={}", target(1), recently.format("%Y-%m-%dT%H:%M:%SZ"));
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        server.edit(id, halo_simulator::Edit::Touch, now());
        server.respond(&ApiRequest::get(&target, &token), now()).body.len()
    });
}

/// The first page of a full list right after a change, which checks every ticket.
#[divan::bench(args = SIZES)]
fn first_page(bencher: Bencher<'_, '_>, tickets: u32) {
    let (mut server, token) = server(tickets);
    let id = server.ids()[0];
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        server.edit(id, halo_simulator::Edit::Touch, now());
        server.respond(&ApiRequest::get(&target(1), &token), now()).body.len()
    });
}

/// Generating the tickets.
#[divan::bench(args = SIZES, sample_count = 5)]
fn start(tickets: u32) -> Server {
    Server::new(SimulatorSettings { tickets, ..SimulatorSettings::default() }, now())
}

/// Pages over one kept-alive loopback connection; the client discards them.
#[divan::bench(args = [10_000, 1_000_000])]
fn page_over_http(bencher: Bencher<'_, '_>, tickets: u32) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let settings = SimulatorSettings { tickets, ..SimulatorSettings::default() };
    let simulator = runtime.block_on(Simulator::start(settings)).expect("a port");
    let token = simulator.with(|server| {
        let response = server.respond(&ApiRequest::form("/auth/token", &CREDENTIALS), Utc::now());
        response.json_body().expect("JSON")["access_token"].as_str().expect("a token").to_owned()
    });
    let mut stream = TcpStream::connect(simulator.url().trim_start_matches("http://")).expect("a connection");
    let mut buffer = vec![0; 1 << 20];
    let mut page = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        page = page % (tickets / 100) + 1;
        let request =
            format!("GET {} HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {token}\r\n\r\n", target(page));
        stream.write_all(request.as_bytes()).expect("a request");
        read_response(&mut stream, &mut buffer)
    });
}

fn read_response(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    let mut length = None;
    while length.is_none_or(|length| filled < length) {
        filled += stream.read(&mut buffer[filled..]).expect("bytes");
        if length.is_none()
            && let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
            let field = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            length = field.and_then(|digits| digits.trim().parse::<usize>().ok()).map(|body| end + 4 + body);
        }
    }
    filled
}
