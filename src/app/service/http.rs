//! The HTTP endpoints of the service: `/metrics`, `/healthz`, `/readyz`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::metrics::render_metrics;
use super::state::ServiceState;

/// The content type of Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Connections at a time; further ones wait in the queue of the kernel.
const CONNECTIONS_MAX: usize = 32;

/// How long a client may take for the head of a request, the first one and each one after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may live, whatever it is used for.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(1);

/// The largest head of a request, in bytes.
const HEAD_MAX: usize = 16 << 10;

/// How long to wait where a connection cannot be accepted, because the process may open no more files.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// The HTTP server; dropping it closes the address and all connections.
pub(super) struct MonitoringServer {
    task: JoinHandle<()>,
}

/// Requests that may read the database at a time; the others wait, so that the writer finds a free thread.
const CONCURRENT_READS_MAX: usize = 2;

#[derive(Clone)]
struct HandlerState {
    state: Arc<ServiceState>,
    read_permits: Arc<Semaphore>,
    watchdog_interval: Duration,
}

impl MonitoringServer {
    /// Serves the endpoints; `watchdog_interval` is how often liveness is checked.
    pub(super) fn serve(
        listener: TcpListener,
        state: Arc<ServiceState>,
        watchdog_interval: Duration,
    ) -> MonitoringServer {
        let hosts = AllowedHosts::of(&listener);
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .layer(from_fn_with_state(hosts, check_host))
            .with_state(HandlerState {
                state,
                read_permits: Arc::new(Semaphore::new(CONCURRENT_READS_MAX)),
                watchdog_interval,
            });
        MonitoringServer { task: tokio::spawn(accept(listener, router)) }
    }
}

impl Drop for MonitoringServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts connections as long as there are fewer than the most.
async fn accept(listener: TcpListener, router: Router) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                connections.spawn(async move {
                    serve_connection(stream, router).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // How a connection ends concerns only its client.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
}

/// The names that a request may use for this service. A page in a browser can make its own name lead here, and would
/// send that one.
#[derive(Clone, Debug)]
struct AllowedHosts {
    listen: IpAddr,
    /// The name of this machine, where other machines can connect.
    machine: Option<String>,
}

impl AllowedHosts {
    fn of(listener: &TcpListener) -> AllowedHosts {
        let listen = listener.local_addr().map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip());
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        AllowedHosts { listen, machine: Some(machine).filter(|_| !listen.is_loopback()) }
    }

    fn allows(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let host = authority.host();
        let literal = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = literal.parse::<IpAddr>() {
            // A name that was made to lead here is never an address.
            let address = address.to_canonical();
            return address.is_loopback()
                || address == self.listen.to_canonical()
                || self.listen.is_unspecified();
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let is_machine = self.machine.as_ref().is_some_and(|it| name.eq_ignore_ascii_case(it));
        !authority.as_str().contains('@') && (name.eq_ignore_ascii_case("localhost") || is_machine)
    }
}

/// Refuses requests under an unknown name. HTTP/1.0 needs none; no browser speaks it.
async fn check_host(State(hosts): State<AllowedHosts>, request: Request, next: Next) -> Response {
    let named = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let target = request.uri().authority().map(Authority::as_str);
    let is_named = request.version() == axum::http::Version::HTTP_10 || request.headers().contains_key(HOST);
    if is_named && named.chain(target).all(|host| hosts.allows(host)) {
        return next.run(request).await;
    }
    let help = "unknown Host: use the address in metrics.listen, localhost, or the name of this machine\n";
    (StatusCode::MISDIRECTED_REQUEST, help).into_response()
}

/// The metrics in the text format.
async fn metrics(State(HandlerState { state, read_permits, .. }): State<HandlerState>) -> Response {
    let _permit = read_permits.acquire().await;
    match tokio::task::spawn_blocking(move || render_metrics(&state.metrics_snapshot())).await {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether the service makes progress.
async fn healthz(State(HandlerState { state, watchdog_interval, .. }): State<HandlerState>) -> Response {
    let alive = state.is_alive(watchdog_interval);
    json_response(alive, &json!({ "alive": alive }))
}

/// Whether the data can be relied on.
async fn readyz(State(HandlerState { state, read_permits, .. }): State<HandlerState>) -> Response {
    let _permit = read_permits.acquire().await;
    match tokio::task::spawn_blocking(move || state.readiness()).await {
        Ok(Ok(report)) => {
            let covered_until = report.health.watermark.and_then(|watermark| watermark.covered_until);
            let covered_until = covered_until.map(|at| at.to_string());
            json_response(true, &json!({ "ready": true, "covered_until": covered_until }))
        }
        Ok(Err(why)) => json_response(false, &json!({ "ready": false, "why": why })),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn json_response(ok: bool, document: &Value) -> Response {
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CONTENT_TYPE, "application/json")], format!("{document}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("127.0.0.1", "127.0.0.1:9187", true)]
    #[case("127.0.0.1", "127.0.0.1", true)]
    #[case("127.0.0.1", "127.8.9.1:80", true)]
    #[case("127.0.0.1", "LocalHost:9187", true)]
    #[case("127.0.0.1", "localhost.", true)]
    #[case("127.0.0.1", "[::1]:9187", true)]
    #[case("127.0.0.1", "[::ffff:127.0.0.1]", true)]
    #[case("127.0.0.1", "evil.example:9187", false)]
    #[case("127.0.0.1", "localhost.evil.example", false)]
    #[case("127.0.0.1", "127.0.0.1.evil.example", false)]
    #[case("127.0.0.1", "localhost@evil.example", false)]
    #[case("127.0.0.1", "x@localhost", false)]
    #[case("127.0.0.1", "srv1", false)]
    #[case("127.0.0.1", "10.0.0.5:9187", false)]
    #[case("127.0.0.1", "", false)]
    #[case("10.0.0.5", "10.0.0.5:9187", true)]
    #[case("10.0.0.5", "10.0.0.6:9187", false)]
    #[case("10.0.0.5", "SRV1:9187", true)]
    #[case("10.0.0.5", "srv1.evil.example", false)]
    #[case("0.0.0.0", "192.168.1.7:9187", true)]
    #[case("::", "[fd00::7]:9187", true)]
    #[case("::", "evil.example", false)]
    fn only_addresses_and_own_names_are_allowed(
        #[case] listen: IpAddr,
        #[case] host: &str,
        #[case] allowed: bool,
    ) {
        let machine = (!listen.is_loopback()).then(|| "srv1".to_owned());
        assert_eq!(AllowedHosts { listen, machine }.allows(host), allowed);
    }
}
