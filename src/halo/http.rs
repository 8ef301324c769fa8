//! The real transport: reqwest, without redirects and without retries of its own.

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

use super::tls_error::TlsError;
use super::transport::{
    Body, HttpRequest, HttpResponse, RESPONSE_MEMORY_MAX, RootCause, Transport, TransportError,
};

/// Memory for response bodies is reserved in units of this many bytes.
const PERMIT_BYTES: usize = 1 << 10;

/// How long a connection may be silent in the middle of a response.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The connection settings.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a whole request may take.
    pub request_timeout: Duration,
    /// Additional root certificates, PEM.
    pub ca: Option<Vec<u8>>,
    /// A proxy; `None` uses the standard environment variables.
    pub proxy: Option<String>,
    /// Whether the server is this machine, which is never reached through a proxy.
    pub loopback: bool,
    /// Whether the server's certificate is kept ([`HttpTransport::certificate`]).
    pub keeps_certificate: bool,
}

/// Sends requests over HTTP.
pub struct HttpTransport {
    client: Client,
    memory: Arc<Semaphore>,
    certificate: Mutex<Option<Vec<u8>>>,
}

impl HttpTransport {
    /// Builds the HTTP client.
    ///
    /// # Errors
    /// A certificate or a proxy that cannot be used.
    pub fn new(options: &HttpOptions) -> Result<HttpTransport, RootCause> {
        let client = HttpTransport::build_client(options).map_err(|error| RootCause::of(&error))?;
        let memory = Arc::new(Semaphore::new(RESPONSE_MEMORY_MAX / PERMIT_BYTES));
        Ok(HttpTransport { client, memory, certificate: Mutex::default() })
    }

    /// Returns the last certificate (DER) of the server, if it is kept and the connection was encrypted.
    #[must_use]
    pub fn certificate(&self) -> Option<Vec<u8>> {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn build_client(options: &HttpOptions) -> Result<Client, reqwest::Error> {
        let mut builder = Client::builder()
            .user_agent(concat!("halosync/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .tls_info(options.keeps_certificate)
            .connect_timeout(options.connect_timeout)
            .read_timeout(IDLE_MAX.min(options.request_timeout))
            .timeout(options.request_timeout);
        if let Some(ca) = &options.ca {
            // The file often contains intermediate certificates too.
            for certificate in Certificate::from_pem_bundle(ca)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if options.loopback {
            builder = builder.no_proxy();
        } else if let Some(proxy) = &options.proxy {
            builder = builder.no_proxy().proxy(Proxy::all(proxy)?);
        }
        builder.build()
    }

    async fn exchange(&self, http_request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let mut request = match &http_request.form {
            None => self.client.get(http_request.url),
            Some(form) => {
                let fields: Vec<_> =
                    form.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
                self.client.post(http_request.url).form(&fields)
            }
        };
        if let Some(token) = &http_request.bearer {
            request = request.header(AUTHORIZATION, token.header());
        }
        let since = Instant::now();
        let response = request.send().await.map_err(transport_error)?;
        let peer = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        if let Some(certificate) = peer {
            *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate.to_vec());
        }
        let status = response.status().as_u16();
        let headers = response.headers();
        let date = header(headers, &DATE).and_then(|date| httpdate::parse_http_date(&date).ok());
        let retry_after = header(headers, &RETRY_AFTER);
        let location = header(headers, &LOCATION);
        let body = self.read_body(response).await?;
        Ok(HttpResponse {
            status,
            date: date.map(DateTime::<Utc>::from),
            retry_after,
            location,
            body,
            took: since.elapsed(),
        })
    }

    /// Reads a body chunk by chunk while there is memory left. It never waits for memory: bodies that wait
    /// for each other would deadlock, and a retry finds the memory free.
    async fn read_body(&self, mut response: Response) -> Result<Body, TransportError> {
        let mut bytes = Vec::new();
        let mut permit = self.reserve_memory(0)?;
        while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
            let needed = (bytes.len() + chunk.len()).div_ceil(PERMIT_BYTES);
            permit.merge(self.reserve_memory(needed - permit.num_permits())?);
            bytes.extend_from_slice(&chunk);
        }
        Ok(Body::new(bytes, permit))
    }

    fn reserve_memory(&self, permits: usize) -> Result<OwnedSemaphorePermit, TransportError> {
        let permits = u32::try_from(permits).map_err(|_| TransportError::TooLarge)?;
        Arc::clone(&self.memory).try_acquire_many_owned(permits).map_err(|_| TransportError::TooLarge)
    }
}

impl Transport for HttpTransport {
    fn send(
        &self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>> {
        Box::pin(self.exchange(request))
    }
}

/// Converts an error of reqwest. Only its root cause is kept: the URL may contain what a log must not.
fn transport_error(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if error.is_timeout() {
        return TransportError::Timeout;
    }
    let root = RootCause::of(&error);
    match (error.is_connect(), TlsError::find_in(&error)) {
        (true, Some(tls_error)) => TransportError::Tls(tls_error, root),
        (true, None) => TransportError::Connect(root),
        (false, _) => TransportError::ConnectionLost(root),
    }
}

fn header(headers: &HeaderMap<HeaderValue>, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(ToOwned::to_owned)
}
