//! The real transport: reqwest, without redirects and without retries of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::tls::TlsInfo;
use reqwest::{Certificate, Client, ClientBuilder, Proxy, Response};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::Url;

use super::ca::Certificates;
use super::proxy::{ProxyError, ProxyProblem, ProxyRoute, ProxyRules};
use super::root_cause::RootCause;
use super::tls_error::TlsError;
use super::transport::{Body, HttpRequest, HttpResponse, SHORT_BODY_MAX, Transport, TransportError};

/// How long a connection may be silent in the middle of a response.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The connection settings.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a whole request may take.
    pub request_timeout: Duration,
    /// Additional root certificates.
    pub ca: Option<Certificates>,
    /// Whether those are the only ones; those of the system are not used then.
    pub ca_only: bool,
    /// A proxy, whose address may hold a password; `None` uses the standard environment variables.
    pub proxy: Option<SecretString>,
    /// Whether the server is this machine, which is never reached through a proxy.
    pub loopback: bool,
    /// Whether the server's certificate is kept ([`HttpTransport::certificate`]).
    pub keeps_certificate: bool,
}

/// Sends requests over HTTP.
pub struct HttpTransport {
    client: Client,
    proxies: ProxyRules,
    certificate: Mutex<Option<Vec<u8>>>,
}

impl HttpTransport {
    /// Builds the HTTP client.
    ///
    /// # Errors
    /// A certificate or a proxy that cannot be used.
    pub fn new(options: &HttpOptions) -> Result<HttpTransport, RootCause> {
        let proxies = ProxyRules::new(options.proxy.as_ref(), options.loopback);
        if let Some(problem) = proxies.setting_problem() {
            return Err(RootCause::of(&problem));
        }
        let client = HttpTransport::build_client(options).map_err(|error| RootCause::of(&error))?;
        Ok(HttpTransport { client, proxies, certificate: Mutex::default() })
    }

    /// Returns the last certificate (DER) of the server, if it is kept and the connection was encrypted.
    #[must_use]
    pub fn certificate(&self) -> Option<Vec<u8>> {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn build_client(options: &HttpOptions) -> Result<Client, reqwest::Error> {
        // A cached answer is the truth of another time.
        let headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("no-cache"))]);
        client_builder(options)?
            .default_headers(headers)
            .tls_info(options.keeps_certificate)
            .read_timeout(IDLE_MAX.min(options.request_timeout))
            .build()
    }

    async fn exchange(&self, http_request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let proxy = self.proxies.route(&http_request.url);
        if let Some(problem) = proxy.as_ref().and_then(ProxyRoute::problem) {
            return Err(TransportError::Proxy(ProxyError { problem, source: None }));
        }
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
        let response = request.send().await.map_err(|error| connection_error(error, proxy.is_some()))?;
        let peer = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        if let Some(certificate) = peer {
            *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate.to_vec());
        }
        let status = response.status().as_u16();
        let headers = response.headers();
        let date = header(headers, &DATE).and_then(|date| httpdate::parse_http_date(&date).ok());
        let retry_after = header(headers, &RETRY_AFTER);
        let location = header(headers, &LOCATION);
        let ages: Vec<&str> = headers.get_all(AGE).iter().filter_map(|age| age.to_str().ok()).collect();
        let age = (!ages.is_empty()).then(|| ages.join(", "));
        let body = match http_request.memory.filter(|_| response.status().is_success()) {
            Some(memory) => {
                let body = Body::with_memory(memory, response.content_length());
                read_body(response, body).await?
            }
            None => read_start(response).await?,
        };
        Ok(HttpResponse {
            status,
            date: date.map(DateTime::<Utc>::from),
            retry_after,
            location,
            age,
            body,
            took: since.elapsed(),
        })
    }
}

/// Builds an HTTP client for another server than HaloITSM, with the same certificates and proxy. Unlike a request to
/// HaloITSM, an upload may be silent for as long as it takes. With `https_only` unencrypted connections are refused, wherever
/// an address comes from.
///
/// # Errors
/// A certificate or a proxy that cannot be used.
#[cfg(feature = "lake")]
pub fn other_client(options: &HttpOptions, https_only: bool) -> Result<Client, RootCause> {
    if let Some(problem) = ProxyRules::new(options.proxy.as_ref(), options.loopback).setting_problem() {
        return Err(RootCause::of(&problem));
    }
    let builder = client_builder(options).map(|builder| builder.https_only(https_only));
    builder.and_then(ClientBuilder::build).map_err(|error| RootCause::of(&error))
}

/// What the clients have in common.
fn client_builder(options: &HttpOptions) -> Result<ClientBuilder, reqwest::Error> {
    let mut builder = Client::builder()
        .user_agent(concat!("halosync/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(options.connect_timeout)
        .timeout(options.request_timeout);
    if let Some(ca) = &options.ca {
        let certificates: Result<Vec<_>, _> = ca.iter().map(Certificate::from_der).collect();
        let certificates = certificates?;
        builder = if options.ca_only {
            builder.tls_certs_only(certificates)
        } else {
            builder.tls_certs_merge(certificates)
        };
    }
    Ok(if options.loopback {
        builder.no_proxy()
    } else if let Some(proxy) = &options.proxy {
        builder.no_proxy().proxy(Proxy::all(proxy.expose_secret())?)
    } else {
        builder
    })
}

/// Reads a whole body chunk by chunk, as far as there is memory. It never waits for memory: bodies that wait for each
/// other would deadlock.
async fn read_body(mut response: Response, mut body: Body) -> Result<Body, TransportError> {
    while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
        body = body.push(&chunk)?;
    }
    Ok(body.complete())
}

/// Reads the start of a body; the rest is not received.
async fn read_start(mut response: Response) -> Result<Body, TransportError> {
    let mut bytes = Vec::new();
    while bytes.len() < SHORT_BODY_MAX
        && let Some(chunk) = response.chunk().await.map_err(transport_error)?
    {
        let wanted = chunk.len().min(SHORT_BODY_MAX - bytes.len());
        bytes.extend_from_slice(&chunk[..wanted]);
    }
    Ok(bytes.into())
}

impl Transport for HttpTransport {
    fn send(
        &self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + '_>> {
        Box::pin(self.exchange(request))
    }

    fn proxy_route(&self, url: &Url) -> Option<ProxyRoute> {
        self.proxies.route(url)
    }
}

/// Converts an error of a request without a response, which goes through a proxy or not.
fn connection_error(error: reqwest::Error, through_proxy: bool) -> TransportError {
    let problem = match ProxyProblem::find_in(&error) {
        None if error.is_connect() && error.is_timeout() => Some(ProxyProblem::Timeout),
        problem => problem,
    };
    match problem {
        Some(problem) if through_proxy => {
            // The tunnel's own text says no more than the problem.
            let source = (problem == ProxyProblem::Unreachable).then(|| RootCause::of(&error.without_url()));
            TransportError::Proxy(ProxyError { problem, source })
        }
        _ => transport_error(error),
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
