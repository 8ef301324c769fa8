//! What other programs ask the service over HTTP: `/metrics`, `/healthz`, `/readyz`.

use std::io;
use std::net::SocketAddr;
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

use super::board::Board;
use super::exposition::exposition;

/// Prometheus' text format, by its name in HTTP.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The served address. It is given up when this is dropped.
pub(super) struct Endpoint {
    serving: JoinHandle<()>,
}

/// The address, taken but not served yet.
pub(super) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// So many may read the database for figures at a time; the others wait, and the writer has its threads.
const READERS_MAX: usize = 2;

#[derive(Clone)]
struct Known {
    board: Arc<Board>,
    turns: Arc<Semaphore>,
    beat: Duration,
}

impl Endpoint {
    /// Serves what the board knows; `beat` is how often somebody looks whether everything gets on.
    pub(super) fn serve(listener: TcpListener, board: Arc<Board>, beat: Duration) -> Endpoint {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(alive))
            .route("/readyz", get(ready))
            .with_state(Known { board, turns: Arc::new(Semaphore::new(READERS_MAX)), beat });
        let serving = tokio::spawn(async move {
            // It ends with the process only.
            let _ = axum::serve(listener, router).await;
        });
        Endpoint { serving }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn metrics(State(Known { board, turns, .. }): State<Known>) -> Response {
    let _turn = turns.acquire().await;
    match tokio::task::spawn_blocking(move || exposition(&board.figures())).await {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether the process gets on.
async fn alive(State(Known { board, beat, .. }): State<Known>) -> Response {
    let alive = board.is_alive(beat);
    answer(alive, &json!({ "alive": alive }))
}

/// Whether the copy can be relied on.
async fn ready(State(Known { board, turns, .. }): State<Known>) -> Response {
    let _turn = turns.acquire().await;
    match tokio::task::spawn_blocking(move || board.readiness()).await {
        Ok(Ok(standing)) => {
            let covered_until = standing.health.watermark.and_then(|mark| mark.covered_until);
            let covered_until = covered_until.map(|at| at.to_string());
            answer(true, &json!({ "ready": true, "covered_until": covered_until }))
        }
        Ok(Err(why)) => answer(false, &json!({ "ready": false, "why": why })),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn answer(well: bool, document: &Value) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CONTENT_TYPE, "application/json")], format!("{document}\n")).into_response()
}
