//! An HTTP server on loopback that returns prepared responses byte for byte and records the requests.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The `Date` header of all responses.
pub(crate) const DATE_OF_ANSWERS: &str = "Thu, 26 Feb 2026 16:30:00 GMT";

/// One response.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A recorded response with status 200; the file extension determines the content type.
    pub(crate) fn page(name: &str) -> Answer {
        let kind = match name.rsplit('.').next() {
            Some("json") => "application/json; charset=utf-8",
            Some("html") => "text/html; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        };
        let headers = vec![(CONTENT_TYPE.to_string(), kind.to_owned())];
        Answer { status: 200, headers, body: super::page(name) }
    }

    /// The same with another status.
    pub(crate) fn with_status(self, status: u16) -> Answer {
        Answer { status, ..self }
    }

    /// The same with one more header; `date` replaces the usual one.
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// One request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Vec<u8>,
}

struct Script {
    answers: HashMap<String, Vec<Answer>>,
    log: Mutex<Vec<Seen>>,
}

impl Script {
    /// Records the request and returns the next response of its path.
    fn answer(&self, seen: Seen) -> Answer {
        let mut log = self.log.lock().expect("the log");
        let before = log.iter().filter(|it| it.path == seen.path).count();
        let answers = self.answers.get(&seen.path);
        let answer = answers.and_then(|answers| answers.get(before).or(answers.last())).cloned();
        log.push(seen);
        answer.unwrap_or(Answer { status: 404, headers: Vec::new(), body: Vec::new() })
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
    pub(crate) fn serve(answers: impl IntoIterator<Item = (&'static str, Vec<Answer>)>) -> FixtureServer {
        let answers = answers.into_iter().map(|(path, answers)| (path.to_owned(), answers)).collect();
        let script = Arc::new(Script { answers, log: Mutex::default() });
        let (stop, stopped) = oneshot::channel();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().fallback(give).with_state(Arc::clone(&script));
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

    /// All requests so far, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.log.lock().expect("the log").clone()
    }

    /// The requests for one path.
    pub(crate) fn asked(&self, path: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path == path).collect()
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

async fn give(State(script): State<Arc<Script>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let authorization = head.headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok());
    let answer = script.answer(Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        authorization: authorization.map(ToOwned::to_owned),
        body: body.into(),
    });
    let mut response = Response::builder().status(answer.status);
    if !answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(DATE.as_str())) {
        response = response.header(DATE, DATE_OF_ANSWERS);
    }
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).expect("an answer")
}
