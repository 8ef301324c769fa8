//! The HTTP endpoints of the service: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::metrics::render_metrics;
use super::state::ServiceState;

/// The content type of Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The HTTP server; dropping it closes the address.
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
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(HandlerState {
                state,
                read_permits: Arc::new(Semaphore::new(CONCURRENT_READS_MAX)),
                watchdog_interval,
            });
        let task = tokio::spawn(async move {
            // It ends only with the process.
            let _ = axum::serve(listener, router).await;
        });
        MonitoringServer { task }
    }
}

impl Drop for MonitoringServer {
    fn drop(&mut self) {
        self.task.abort();
    }
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
