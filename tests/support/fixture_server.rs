//! An HTTP server on loopback that returns prepared responses byte for byte and records the requests.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, DATE};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The `Date` header of all responses.
pub(crate) const RESPONSE_DATE: &str = "Thu, 26 Feb 2026 16:30:00 GMT";

/// One response.
#[derive(Clone, Debug)]
pub(crate) struct PreparedResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl PreparedResponse {
    /// A recorded response with status 200; the file extension determines the content type.
    pub(crate) fn page(name: &str) -> PreparedResponse {
        let kind = match name.rsplit('.').next() {
            Some("json") => "application/json; charset=utf-8",
            Some("html") => "text/html; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        };
        let headers = vec![(CONTENT_TYPE.to_string(), kind.to_owned())];
        PreparedResponse { status: 200, headers, body: super::page(name) }
    }

    /// The same with another status.
    pub(crate) fn with_status(self, status: u16) -> PreparedResponse {
        PreparedResponse { status, ..self }
    }

    /// The same with one more header; `date` replaces the usual one.
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> PreparedResponse {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// One request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// The response to a request before which so many were received for the same path; without one it gets 404.
type Respond = dyn Fn(&ReceivedRequest, usize) -> Option<PreparedResponse> + Send + Sync;

struct Script {
    respond: Box<Respond>,
    /// Responses that replace those of `respond`, by path.
    replaced: Mutex<HashMap<String, PreparedResponse>>,
    log: Mutex<Vec<ReceivedRequest>>,
}

impl Script {
    /// Records the request and returns the next response of its path.
    fn respond(&self, request: ReceivedRequest) -> PreparedResponse {
        let mut log = self.log.lock().expect("the log");
        let earlier = log.iter().filter(|it| it.path == request.path).count();
        let replaced = self.replaced.lock().expect("the responses").get(&request.path).cloned();
        let response = replaced.or_else(|| (self.respond)(&request, earlier));
        log.push(request);
        response.unwrap_or(PreparedResponse { status: 404, headers: Vec::new(), body: Vec::new() })
    }
}

/// The server; it ends with this value.
pub(crate) struct FixtureServer {
    address: SocketAddr,
    script: Arc<Script>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FixtureServer {
    /// Serves the responses of each path one after another, and the last one for all further requests. Other paths get
    /// 404.
    pub(crate) fn serve(
        responses: impl IntoIterator<Item = (&'static str, Vec<PreparedResponse>)>,
    ) -> FixtureServer {
        let responses: HashMap<_, _> = responses.into_iter().collect();
        FixtureServer::serve_with(move |request, earlier| {
            let responses = responses.get(&*request.path)?;
            responses.get(earlier).or(responses.last()).cloned()
        })
    }

    /// Serves what `respond` says.
    pub(crate) fn serve_with(
        respond: impl Fn(&ReceivedRequest, usize) -> Option<PreparedResponse> + Send + Sync + 'static,
    ) -> FixtureServer {
        let script = Arc::new(Script {
            respond: Box::new(respond),
            replaced: Mutex::default(),
            log: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().fallback(handle).with_state(Arc::clone(&script));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    served = axum::serve(listener, app) => served.expect("to serve"),
                    _ = stopped => {}
                }
            });
        });
        FixtureServer { address, script, stop: Some(stop), thread: Some(thread) }
    }

    /// Its address, `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From here on the server gives this response to a path.
    pub(crate) fn set_response(&self, path: &str, response: PreparedResponse) {
        self.script.replaced.lock().expect("the responses").insert(path.to_owned(), response);
    }

    /// All requests so far, in order.
    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.script.log.lock().expect("the log").clone()
    }

    /// The requests for one path.
    pub(crate) fn requests_for(&self, path: &str) -> Vec<ReceivedRequest> {
        self.requests().into_iter().filter(|request| request.path == path).collect()
    }
}

impl Drop for FixtureServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the fixture server failed");
        }
    }
}

/// Starts a server with the same response to every request; returns its address. `head` is the status line without its
/// version, and further headers.
pub(crate) fn serve_response(head: &str, body: &str) -> String {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let length = body.len();
    let response = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(response.as_bytes()));
        }
    });
    url
}

async fn handle(State(script): State<Arc<Script>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let header = |name| head.headers.get(name).and_then(|it| it.to_str().ok()).map(ToOwned::to_owned);
    let prepared = script.respond(ReceivedRequest {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        authorization: header(AUTHORIZATION),
        cache_control: header(CACHE_CONTROL),
        body: body.into(),
    });
    let mut response = Response::builder().status(prepared.status);
    if !prepared.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(DATE.as_str())) {
        response = response.header(DATE, RESPONSE_DATE);
    }
    for (name, value) in &prepared.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(prepared.body)).expect("a response")
}
