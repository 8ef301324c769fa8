//! Serves a [`Server`] over HTTP/1.1 on a loopback address.
//!
//! It uses hyper directly for two features that frameworks do not offer: resetting a connection, and responses without
//! `Date`. All delays are here and outside the lock, so that concurrent requests overlap.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderName};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::faulty_stream::{FaultyStream, http_response, read_body};
use crate::message::{ApiRequest, ApiResponse, Delivery};
use crate::server::Server;
use crate::settings::SimulatorSettings;

/// A running simulated server; dropping it stops it.
#[derive(Debug)]
pub struct Simulator {
    server: Arc<Mutex<Server>>,
    address: SocketAddr,
    stopping: CancellationToken,
    accept_task: JoinHandle<()>,
}

impl Simulator {
    /// Starts a server on the listen address of the settings.
    ///
    /// # Errors
    /// If the address cannot be bound or is not a loopback address: the client secret is published, so other machines
    /// must not reach the server.
    pub async fn start(settings: SimulatorSettings) -> io::Result<Simulator> {
        if !settings.listen.ip().is_loopback() {
            let message =
                format!("the simulator listens on loopback addresses only, not on {}", settings.listen.ip());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let settings = SimulatorSettings { listen: address, ..settings };
        let server = Arc::new(Mutex::new(Server::new(settings, Utc::now())));
        let stopping = CancellationToken::new();
        let accept_task = tokio::spawn(accept(listener, Arc::clone(&server), stopping.clone()));
        Ok(Simulator { server, address, stopping, accept_task })
    }

    /// Returns the base URL, without `/api`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs `action` on the server; requests wait meanwhile.
    pub fn with<R>(&self, action: impl FnOnce(&mut Server) -> R) -> R {
        action(&mut lock(&self.server))
    }

    /// Closes all connections and waits until the port is free.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        // If the task panicked, the port is free as well.
        let _ = (&mut self.accept_task).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

// A panic in a test's closure must not make every later request panic too.
fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, server: Arc<Mutex<Server>>, stopping: CancellationToken) {
    let mut connections = 0_u64;
    while let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await {
        // A client that disconnects before it is accepted must not stop the server.
        let Ok((stream, _)) = accepted else { continue };
        connections += 1;
        let (number, server, stopping) = (connections, Arc::clone(&server), stopping.clone());
        tokio::spawn(async move {
            stopping.run_until_cancelled(serve_connection(stream, number, server)).await;
        });
    }
}

/// Serves one connection until it ends.
async fn serve_connection(stream: TcpStream, number: u64, server: Arc<Mutex<Server>>) {
    // Pages are larger than a segment; waiting for acknowledgments would slow down every response.
    let _ = stream.set_nodelay(true);
    let faulty_stream = FaultyStream::new(stream);
    let reset_handle = faulty_stream.reset_handle();
    let service = service_fn(|request| {
        let (server, reset_handle) = (Arc::clone(&server), reset_handle.clone());
        async move {
            let response = respond(request, number, &server).await;
            if response.delivery == Delivery::Reset {
                reset_handle.reset();
            }
            Ok::<_, Infallible>(http_response(response))
        }
    });
    let connection =
        http1::Builder::new().auto_date_header(false).serve_connection(TokioIo::new(faulty_stream), service);
    // Truncated responses end the connection with an error on purpose.
    let _ = connection.await;
}

async fn respond(request: hyper::Request<Incoming>, connection: u64, server: &Mutex<Server>) -> ApiResponse {
    let (head, body) = request.into_parts();
    let header = |name: HeaderName| head.headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let request = ApiRequest {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or("").to_owned(),
        authorization: header(AUTHORIZATION),
        accept_encoding: header(ACCEPT_ENCODING),
        body: read_body(body).await,
        connection,
    };
    let response = {
        let mut server = lock(server);
        server.log.begin_request();
        server.respond(&request, Utc::now())
    };
    let response = if response.is_streamed() { response } else { response.encoded() };
    if !response.delay.is_zero() {
        tokio::time::sleep(response.delay).await;
    }
    lock(server).log.finish_request();
    response
}
