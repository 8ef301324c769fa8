//! The simulated server in its three forms: in virtual time ([`VirtualServer`]), in this process over real sockets
//! ([`Simulator`]), and as a process of its own ([`ServerProcess`]).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use halo_simulator::{PlainList, Server, Simulator, SimulatorSettings};
use serde_json::Value as Json;

use super::mapping::{self, Fields, Names, Tickets};
use super::schema::Schema;
use super::test_env::{CLIENT_ID, CLIENT_SECRET};
use super::virtual_server::VirtualServer;

/// The names of the statuses of a new server.
pub(crate) static STATUS_NAMES: LazyLock<Names> = LazyLock::new(mapping::status_names);

/// The settings of a simulated server that accepts [`CLIENT_ID`] and [`CLIENT_SECRET`].
pub(crate) fn settings(tickets: u32) -> SimulatorSettings {
    let (client_id, client_secret) = (CLIENT_ID.into(), CLIENT_SECRET.into());
    SimulatorSettings { tickets, client_id, client_secret, ..SimulatorSettings::default() }
}

/// Starts a simulated server that accepts [`CLIENT_ID`] and [`CLIENT_SECRET`].
pub(crate) async fn serve(tickets: u32) -> Simulator {
    Simulator::start(settings(tickets)).await.unwrap()
}

/// A server that determines which tickets should be stored locally.
pub(crate) trait ServerTickets {
    /// The tickets of the server as rows of `tickets`.
    fn expected_tickets(&self) -> Tickets;
}

impl ServerTickets for Simulator {
    fn expected_tickets(&self) -> Tickets {
        self.with(|server| expected_tickets(server, Utc::now(), &STATUS_NAMES))
    }
}

impl ServerTickets for VirtualServer {
    fn expected_tickets(&self) -> Tickets {
        self.with(|server, now| expected_tickets(server, now, &STATUS_NAMES))
    }
}

impl ServerTickets for ServerProcess {
    fn expected_tickets(&self) -> Tickets {
        let ids = self.control("GET", "ids");
        let ids = ids.as_array().unwrap().iter().map(|id| id.as_i64().unwrap());
        let ticket =
            |id| (id, mapping::expected(&self.control("GET", &format!("row?id={id}")), &STATUS_NAMES));
        ids.map(ticket).collect()
    }
}

/// All tickets that the client may see, whatever a plain list shows.
pub(crate) fn visible_ids(server: &mut Server) -> Vec<i64> {
    let plain_list = std::mem::replace(&mut server.knobs().plain_list, PlainList::All);
    let ids = server.ids();
    server.knobs().plain_list = plain_list;
    ids
}

/// All visible tickets as rows of `tickets`.
pub(crate) fn expected_tickets(server: &mut Server, now: DateTime<Utc>, names: &Names) -> Tickets {
    let ids = visible_ids(server);
    let ticket = |id: i64| (id, mapping::expected(&server.row(id, now).unwrap(), names));
    ids.into_iter().map(ticket).collect()
}

/// The custom fields of all visible tickets as rows of `custom_fields`.
pub(crate) fn expected_custom_fields(server: &mut Server) -> BTreeMap<i64, Fields> {
    let ids = visible_ids(server);
    let fields = |id: i64| (id, mapping::expected_fields(&server.custom_fields(id).unwrap()));
    ids.into_iter().map(fields).collect()
}

/// `halosync simulate`, until it is dropped.
pub(crate) struct ServerProcess {
    process: Child,
    address: String,
}

impl ServerProcess {
    pub(crate) fn start<'k>(tickets: u32, knobs: impl IntoIterator<Item = &'k str>) -> ServerProcess {
        let knobs = knobs.into_iter().flat_map(|knob| ["--knob".into(), knob.into()]);
        ServerProcess::start_with(tickets, knobs)
    }

    /// Starts it with more arguments.
    pub(crate) fn start_with(tickets: u32, arguments: impl IntoIterator<Item = OsString>) -> ServerProcess {
        let mut process = Command::new(env!("CARGO_BIN_EXE_halosync"))
            .env_clear()
            .args(["--json", "simulate", "--listen", "127.0.0.1:0", "--tickets", &tickets.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        while !text.ends_with("}\n") {
            assert_ne!(lines.read_line(&mut text).unwrap(), 0, "the simulator ended: {text}");
        }
        let started: Json = serde_json::from_str(&text).unwrap();
        Schema::of("simulate").assert_valid(&started);
        let address = started["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        ServerProcess { process, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Calls a control endpoint.
    pub(crate) fn control(&self, method: &str, path: &str) -> Json {
        let (status, body) = self.request(method, &format!("/_sim/{path}"));
        assert_eq!(status, 200, "{method} {path}: {body}");
        serde_json::from_str(&body).unwrap_or(Json::Null)
    }

    /// Makes a request without a token or body, and returns status and body of the response.
    pub(crate) fn request(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|head| head.get(..3)?.parse().ok());
        (status.unwrap(), body.to_owned())
    }

    pub(crate) fn reset_request_log(&self) {
        self.control("POST", "log");
    }

    /// Requests since [`ServerProcess::reset_request_log`].
    pub(crate) fn request_count(&self) -> u64 {
        self.control("GET", "log")["total"].as_u64().unwrap()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}
