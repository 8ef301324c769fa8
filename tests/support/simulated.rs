//! The simulated server as a transport without sockets. Its clock is the runtime's, so that waiting costs nothing while that
//! is paused.

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
pub(crate) struct World {
    server: Mutex<Server>,
    began: DateTime<Utc>,
    since: Instant,
}

impl World {
    /// A server whose clock now shows `began`. Must be called inside the runtime.
    pub(crate) fn new(settings: SimulatorSettings, began: DateTime<Utc>) -> Arc<World> {
        let server = Mutex::new(Server::new(settings, began));
        Arc::new(World { server, began, since: Instant::now() })
    }

    /// The server's time.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.began + TimeDelta::from_std(self.since.elapsed()).expect("a span of days")
    }

    /// Reads or changes the server at its current time.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut Server, DateTime<Utc>) -> R) -> R {
        let now = self.now();
        look(&mut self.lock(), now)
    }

    /// A local clock that agrees with the server's.
    pub(crate) fn wall(self: &Arc<Self>) -> Clock {
        let world = Arc::clone(self);
        Arc::new(move || Timestamp::new(world.now()).expect("a moment of these years"))
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, ask: HttpRequest) -> Result<HttpResponse, TransportError> {
        let request = request(&ask);
        let since = Instant::now();
        let answer = self.with(|server, now| server.respond(&request, now));
        let dripping = match answer.delivery {
            Delivery::Slow(over) => over,
            Delivery::Complete | Delivery::Cut(_) | Delivery::Reset => Duration::ZERO,
        };
        let travels = tokio::time::sleep(answer.delay + dripping);
        if tokio::time::timeout(REQUEST_TIMEOUT, travels).await.is_err() {
            return Err(TransportError::Simulated("no answer in time"));
        }
        match answer.delivery {
            Delivery::Complete | Delivery::Slow(_) => {}
            Delivery::Cut(_) | Delivery::Reset => {
                return Err(TransportError::Simulated("the connection broke"));
            }
        }
        if BODY_MAX < answer.body_length() {
            return Err(TransportError::TooLarge);
        }
        Ok(read(answer.encoded(), since.elapsed()))
    }
}

impl Transport for World {
    fn send(
        &self,
        ask: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>> {
        Box::pin(self.exchange(ask))
    }
}

fn request(ask: &HttpRequest) -> ApiRequest {
    let mut request = match &ask.form {
        None => ApiRequest { method: "GET".into(), path: ask.url.path().into(), ..ApiRequest::default() },
        Some(form) => {
            let fields: Vec<_> = form.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
            ApiRequest::form(ask.url.path(), &fields)
        }
    };
    ask.url.query().unwrap_or_default().clone_into(&mut request.query);
    request.accept_encoding = Some("gzip".into());
    let token = ask.bearer.as_ref().map(Token::header);
    request.authorization = token.map(|token| token.to_str().expect("a header").to_owned());
    request
}

fn read(answer: ApiResponse, took: Duration) -> HttpResponse {
    let header = |name: &str| answer.header(name).map(ToOwned::to_owned);
    let date = header("date").and_then(|date| httpdate::parse_http_date(&date).ok());
    let (retry_after, location) = (header("retry-after"), header("location"));
    let packed = header("content-encoding").is_some();
    let body = if packed {
        let mut body = Vec::new();
        GzDecoder::new(&answer.body[..]).read_to_end(&mut body).expect("what was packed whole");
        body
    } else {
        answer.body
    };
    let date = date.map(DateTime::<Utc>::from);
    HttpResponse { status: answer.status, date, retry_after, location, body: body.into(), took }
}
