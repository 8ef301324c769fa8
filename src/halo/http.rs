//! The wire in earnest: reqwest, with everything it would do on its own account switched off.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::tls::TlsInfo;
use reqwest::{Certificate, Client, Proxy, Response};
use secrecy::ExposeSecret as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::flaw::Flaw;
use super::transport::{Answer, Ask, Body, Broken, Root, Transport};

/// The room for all bodies under way together, in bytes after decompression: a small compressed answer
/// can be a thousand times its size.
pub(super) const BODIES_MAX: usize = 64 << 20;

/// Room is given out in pieces of this many bytes.
const PIECE: usize = 1 << 10;

/// How long a connection may be silent in the middle of an answer.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// What the connection is made of.
#[derive(Clone, Debug, Default)]
pub struct Wiring {
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// Further root certificates, PEM.
    pub ca: Option<Vec<u8>>,
    /// A proxy; `None` leaves it to the standard variables.
    pub proxy: Option<String>,
    /// Whether the server is this machine, which no proxy may come before.
    pub loopback: bool,
    /// Whether the server's certificate is kept to be looked at ([`Http::certificate`]).
    pub keeps_certificate: bool,
}

/// Requests over HTTP.
pub struct Http {
    client: Client,
    room: Arc<Semaphore>,
    certificate: Mutex<Option<Vec<u8>>>,
}

impl Http {
    /// Prepares connections.
    ///
    /// # Errors
    /// What is wrong with the certificate or the proxy.
    pub fn new(wiring: &Wiring) -> Result<Http, Root> {
        let client = Http::client(wiring).map_err(|error| Root::of(&error))?;
        let room = Arc::new(Semaphore::new(BODIES_MAX / PIECE));
        Ok(Http { client, room, certificate: Mutex::default() })
    }

    /// The certificate (DER) that the server showed last, where it is kept and the connection was encrypted.
    #[must_use]
    pub fn certificate(&self) -> Option<Vec<u8>> {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn client(wiring: &Wiring) -> Result<Client, reqwest::Error> {
        let mut builder = Client::builder()
            .user_agent(concat!("halosync/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .tls_info(wiring.keeps_certificate)
            .connect_timeout(wiring.connect_timeout)
            .read_timeout(IDLE_MAX.min(wiring.request_timeout))
            .timeout(wiring.request_timeout);
        if let Some(ca) = &wiring.ca {
            // The certificate of an authority often comes with those between.
            for certificate in Certificate::from_pem_bundle(ca)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if wiring.loopback {
            builder = builder.no_proxy();
        } else if let Some(proxy) = &wiring.proxy {
            builder = builder.no_proxy().proxy(Proxy::all(proxy)?);
        }
        builder.build()
    }

    async fn exchange(&self, ask: Ask) -> Result<Answer, Broken> {
        let mut request = match &ask.form {
            None => self.client.get(ask.url),
            Some(form) => {
                let fields: Vec<_> =
                    form.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
                self.client.post(ask.url).form(&fields)
            }
        };
        if let Some(token) = &ask.bearer {
            request = request.header(AUTHORIZATION, token.header());
        }
        let since = Instant::now();
        let response = request.send().await.map_err(broken)?;
        let peer = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        if let Some(certificate) = peer {
            *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate.to_vec());
        }
        let status = response.status().as_u16();
        let headers = response.headers();
        let date = header(headers, &DATE).and_then(|date| httpdate::parse_http_date(&date).ok());
        let retry_after = header(headers, &RETRY_AFTER);
        let location = header(headers, &LOCATION);
        let body = self.body(response).await?;
        Ok(Answer {
            status,
            date: date.map(DateTime::<Utc>::from),
            retry_after,
            location,
            body,
            took: since.elapsed(),
        })
    }

    /// Reads a body as it comes, as long as there is room. It does not wait for room: lanes that wait
    /// for each other's would wait for ever, and a repeated request finds it free.
    async fn body(&self, mut response: Response) -> Result<Body, Broken> {
        let mut bytes = Vec::new();
        let mut room = self.take_room(0)?;
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            let wanted = (bytes.len() + chunk.len()).div_ceil(PIECE);
            room.merge(self.take_room(wanted - room.num_permits())?);
            bytes.extend_from_slice(&chunk);
        }
        Ok(Body::new(bytes, room))
    }

    fn take_room(&self, pieces: usize) -> Result<OwnedSemaphorePermit, Broken> {
        let pieces = u32::try_from(pieces).map_err(|_| Broken::TooLarge)?;
        Arc::clone(&self.room).try_acquire_many_owned(pieces).map_err(|_| Broken::TooLarge)
    }
}

impl Transport for Http {
    fn send(&self, ask: Ask) -> Pin<Box<dyn Future<Output = Result<Answer, Broken>> + Send + '_>> {
        Box::pin(self.exchange(ask))
    }
}

/// Only the bottom of it is kept: the address above may hold what a log must not.
fn broken(error: reqwest::Error) -> Broken {
    let error = error.without_url();
    if error.is_timeout() {
        return Broken::Timeout;
    }
    let root = Root::of(&error);
    match (error.is_connect(), Flaw::of(&error)) {
        (true, Some(flaw)) => Broken::Unsafe(flaw, root),
        (true, None) => Broken::Connect(root),
        (false, _) => Broken::Lost(root),
    }
}

fn header(headers: &HeaderMap<HeaderValue>, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(ToOwned::to_owned)
}
