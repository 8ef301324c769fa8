//! The simulated server as a transport without sockets. Its clock is the runtime's, so that waiting costs nothing while
//! that one is paused.

use std::future::Future;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use flate2::read::GzDecoder;
use halo_simulator::{ApiRequest, ApiResponse, Delivery, Server, SimulatorSettings};
use halosync::halo::{HttpRequest, HttpResponse, Token, Transport, TransportError};
use halosync::sync::Clock;
use halosync::ticket::Timestamp;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

/// The default of `agent.toml`.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);

/// The limit of the real transport.
const BODY_MAX: u64 = 64 << 20;

/// A simulated server whose clock starts at a given time and advances with the runtime's.
pub(crate) struct VirtualServer {
    server: Mutex<Server>,
    started_at: DateTime<Utc>,
    since: Instant,
}

impl VirtualServer {
    /// A server whose clock now shows `started_at`. Must be called inside the runtime.
    pub(crate) fn new(settings: SimulatorSettings, started_at: DateTime<Utc>) -> Arc<VirtualServer> {
        let server = Mutex::new(Server::new(settings, started_at));
        Arc::new(VirtualServer { server, started_at, since: Instant::now() })
    }

    /// The server's time.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.started_at + TimeDelta::from_std(self.since.elapsed()).expect("a span of days")
    }

    /// Reads or changes the server at its current time.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut Server, DateTime<Utc>) -> R) -> R {
        let now = self.now();
        change(&mut self.lock(), now)
    }

    /// A local clock that is ahead of the server's by `offset`.
    pub(crate) fn local_clock(self: &Arc<Self>, offset: TimeDelta) -> Clock {
        let server = Arc::clone(self);
        Arc::new(move || Timestamp::new(server.now() + offset).expect("a year of four digits"))
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let request = to_simulator(&request);
        let since = Instant::now();
        let response = self.with(|server, now| server.respond(&request, now));
        let transfer = match response.delivery {
            Delivery::Slow(duration) => duration,
            Delivery::Complete | Delivery::Cut(_) | Delivery::Reset => Duration::ZERO,
        };
        let delay = tokio::time::sleep(response.delay + transfer);
        if tokio::time::timeout(REQUEST_TIMEOUT, delay).await.is_err() {
            return Err(TransportError::Simulated("no answer in time"));
        }
        match response.delivery {
            Delivery::Complete | Delivery::Slow(_) => {}
            Delivery::Cut(_) | Delivery::Reset => {
                return Err(TransportError::Simulated("the connection broke"));
            }
        }
        if BODY_MAX < response.body_length() {
            let mut received = response.complete_body();
            received.truncate(usize::try_from(BODY_MAX).unwrap_or(usize::MAX));
            return Err(TransportError::TooLarge { received: received.into() });
        }
        Ok(from_simulator(response.encoded(), since.elapsed()))
    }
}

impl Transport for VirtualServer {
    fn send(
        &self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>> {
        Box::pin(self.exchange(request))
    }
}

fn to_simulator(request: &HttpRequest) -> ApiRequest {
    let path = request.url.path();
    let mut converted = match &request.form {
        None => ApiRequest { method: "GET".into(), path: path.into(), ..ApiRequest::default() },
        Some(form) => {
            let fields: Vec<_> = form.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
            ApiRequest::form(path, &fields)
        }
    };
    request.url.query().unwrap_or_default().clone_into(&mut converted.query);
    converted.accept_encoding = Some("gzip".into());
    let token = request.bearer.as_ref().map(Token::header);
    converted.authorization = token.map(|token| token.to_str().expect("a header").to_owned());
    converted
}

fn from_simulator(response: ApiResponse, took: Duration) -> HttpResponse {
    let header = |name: &str| response.header(name).map(ToOwned::to_owned);
    let date = header("date").and_then(|date| httpdate::parse_http_date(&date).ok());
    let (retry_after, location, age) = (header("retry-after"), header("location"), header("age"));
    let compressed = header("content-encoding").is_some();
    let mut body = response.body;
    if compressed {
        let bytes = std::mem::take(&mut body);
        GzDecoder::new(&bytes[..]).read_to_end(&mut body).expect("a complete gzip body");
    }
    let date = date.map(DateTime::<Utc>::from);
    HttpResponse { status: response.status, date, retry_after, location, age, body: body.into(), took }
}
