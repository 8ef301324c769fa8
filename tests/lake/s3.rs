//! A store that speaks the protocol of S3, written by others (moto), and what may go wrong on the way to it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use reqwest::Client;
use tokio::runtime::Runtime;

use crate::lake_env::LakeEnv;
use crate::recipes::{assert_recipes_agree, duckdb_program, has_python_module, python, three_servers};

const SECRET: &str = "qsecretofthestoreq";

/// moto's S3, in a process of its own.
struct Moto {
    process: Child,
    url: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Moto {
    /// Starts it with an empty bucket `lake`; `None` where it is not installed.
    fn start() -> Option<Moto> {
        if !has_python_module("moto.server") {
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new("python3")
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says so when it listens.
        let mut seen = String::new();
        let mut output = process.stderr.take().unwrap();
        let mut byte = [0];
        while !seen.contains("Running on") {
            assert_ne!(output.read(&mut byte).unwrap(), 0, "moto ended: {seen}");
            seen.push(char::from(byte[0]));
        }
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let url = format!("http://127.0.0.1:{port}");
        let created = run(Client::builder().no_proxy().build().unwrap().put(format!("{url}/lake")).send());
        assert!(created.unwrap().status().is_success());
        Some(Moto { process, url })
    }

    /// The names and entity tags of all objects, as the store lists them.
    fn listing(&self) -> BTreeMap<String, String> {
        let url = format!("{}/lake?list-type=2&max-keys=1000", self.url);
        let client = Client::builder().no_proxy().build().unwrap();
        let xml = run(async { client.get(url).send().await.unwrap().text().await.unwrap() });
        let tag = |text: &str, name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
        };
        xml.split("<Contents>")
            .skip(1)
            .map(|it| (tag(it, "Key").unwrap(), tag(it, "ETag").unwrap()))
            .collect()
    }
}

/// A copy under a name in the bucket, which it reaches at `endpoint`.
fn copy_at(endpoint: &str, server: &str) -> LakeEnv {
    let variables = [
        ("HALOSYNC_LAKE__ENDPOINT", endpoint.to_owned()),
        ("HALOSYNC_LAKE__REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
    ];
    LakeEnv::with(server, "", "s3://lake/halo", variables)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(work)
}

/// What a proxy does to creations of objects.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    /// Answers 409 and stores nothing.
    Conflict,
    /// Stores it and hangs up.
    HangUp,
    /// Answers 503 and stores nothing.
    Unavailable,
    /// Takes each object, whether there is one of that name or not.
    IgnoresCondition,
}

/// A proxy before a store that does something to every third creation, or to all of them.
struct Proxy {
    _runtime: Runtime,
    url: String,
}

impl Proxy {
    fn start(store: &str, trouble: Trouble) -> Proxy {
        let runtime = Runtime::new().unwrap();
        let store = store.to_owned();
        let client = Client::builder().no_proxy().build().unwrap();
        let creations = Arc::new(Mutex::new(0_u32));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = move |request: Request<Body>| {
            let (store, client, creations) = (store.clone(), client.clone(), Arc::clone(&creations));
            async move { forward(&client, &store, &creations, trouble, request).await }
        };
        let router = Router::new().fallback(serve);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Proxy { _runtime: runtime, url }
    }
}

async fn forward(
    client: &Client,
    store: &str,
    creations: &Mutex<u32>,
    trouble: Trouble,
    request: Request<Body>,
) -> Response<Body> {
    let answer = |status| Response::builder().status(status).body(Body::empty()).unwrap();
    let (mut parts, body) = request.into_parts();
    let is_creation = parts.method == Method::PUT && parts.headers.contains_key("if-none-match");
    let is_troubled = is_creation && {
        let mut creations = creations.lock().unwrap();
        *creations += 1;
        creations.is_multiple_of(3)
    };
    match trouble {
        Trouble::Conflict if is_troubled => return answer(StatusCode::CONFLICT),
        Trouble::Unavailable if is_troubled => return answer(StatusCode::SERVICE_UNAVAILABLE),
        Trouble::IgnoresCondition => drop(parts.headers.remove("if-none-match")),
        _ => {}
    }
    let url = format!("{store}{}", parts.uri);
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let sent = client.request(parts.method, url).headers(parts.headers).body(body).send().await.unwrap();
    if trouble == Trouble::HangUp && is_troubled {
        // A body that fails ends the connection.
        let broken = futures_util::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("hung up"))]);
        return Response::builder().header("content-length", "9").body(Body::from_stream(broken)).unwrap();
    }
    let mut response = Response::builder().status(sent.status());
    response.headers_mut().unwrap().extend(sent.headers().clone());
    response.headers_mut().unwrap().remove("transfer-encoding");
    response.body(Body::from(sent.bytes().await.unwrap())).unwrap()
}

#[test]
fn second_push_to_s3_changes_nothing_and_no_secret_is_anywhere() {
    let Some(moto) = Moto::start() else { return };
    let env = copy_at(&moto.url, "acme");
    env.edit(1..=30, "a");
    env.push();
    env.edit(1..=3, "b");
    env.push();
    let before = moto.listing();
    // Two objects for each package, two for the epoch, and intents and the status.
    assert_eq!(before.len(), 2 * 3 + 2 + 1, "{before:?}");
    env.push();
    assert_eq!(moto.listing(), before);
    env.verify();
    let log = env.lake_run(&["-vv", "lake", "push"]).success();
    assert!(!log.stderr.contains(SECRET) && !log.stdout.contains(SECRET));
    let database = std::fs::read(env.path("halosync.db")).unwrap();
    assert!(!database.windows(SECRET.len()).any(|it| it == SECRET.as_bytes()));
}

#[test]
fn troubles_on_the_way_neither_lose_nor_repeat_an_object() {
    let Some(moto) = Moto::start() else { return };
    for (number, trouble) in
        [Trouble::Conflict, Trouble::HangUp, Trouble::Unavailable].into_iter().enumerate()
    {
        let proxy = Proxy::start(&moto.url, trouble);
        let mut env = copy_at(&proxy.url, &format!("copy-{number}"));
        for summary in ["a", "b", "c"] {
            env.edit(1..=5, summary);
            env.push();
        }
        env.set_variable("HALOSYNC_LAKE__ENDPOINT", moto.url.clone());
        env.verify();
        let own = format!("server=copy-{number}");
        let objects: Vec<_> = moto.listing().into_keys().filter(|name| name.contains(&own)).collect();
        assert_eq!(objects.len(), 3 * 3 + 2 + 1, "{trouble:?}: {objects:?}");
    }
}

#[test]
fn store_that_ignores_the_condition_is_refused() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::start(&moto.url, Trouble::IgnoresCondition);
    let env = copy_at(&proxy.url, "acme");
    env.edit(1..=3, "a");
    let refused = env.lake_run(&["lake", "push"]).code(78);
    assert!(refused.stderr.contains("lake_accepts_second"), "{}", refused.stderr);
    assert!(!moto.listing().keys().any(|name| name.contains("/changes/")));
    let check = env.lake_run(&["check"]);
    assert!(check.stdout.contains("accepts a second object"), "{}", check.stdout);
}

#[test]
fn store_that_is_down_or_refuses_is_named_and_loses_nothing() {
    let Some(moto) = Moto::start() else { return };
    let mut env = copy_at(&moto.url, "acme");
    env.edit(1..=3, "a");
    env.push();
    env.edit([1], "b");
    env.set_variable("HALOSYNC_LAKE__ENDPOINT", "http://127.0.0.1:9".into());
    let failed = env.lake_run(&["lake", "push"]).code(69);
    assert!(failed.stderr.contains("lake_unavailable"), "{}", failed.stderr);
    env.set_variable("HALOSYNC_LAKE__ENDPOINT", moto.url.clone());
    assert_eq!(env.push()["shipped"].as_array().unwrap().len(), 1);
    env.verify();
    let mut missing = copy_at(&moto.url, "acme");
    missing.edit(1..=3, "a");
    missing.set_variable("HALOSYNC_LAKE__URL", "s3://no-such-bucket/halo".into());
    let refused = missing.lake_run(&["lake", "push"]).code(78);
    assert!(refused.stderr.contains("lake_not_found"), "{}", refused.stderr);
}

#[test]
fn duckdb_reads_a_lake_of_three_servers_from_s3() {
    if !has_python_module("duckdb_extension_httpfs") {
        return;
    }
    let Some(moto) = Moto::start() else { return };
    let envs = three_servers(|number| copy_at(&moto.url, &format!("server-{number}")));
    let databases: Vec<_> = envs.iter().map(|env| env.path("halosync.db")).collect();
    let servers = ["server-0", "server-1", "server-2"];
    let databases: Vec<_> = servers.into_iter().zip(databases.iter().map(AsRef::as_ref)).collect();
    let endpoint = moto.url.trim_start_matches("http://");
    let secret = format!(
        "CREATE SECRET (TYPE s3, KEY_ID 'testing', SECRET '{SECRET}', REGION 'us-east-1', ENDPOINT '{endpoint}',
         USE_SSL false, URL_STYLE 'path')"
    );
    let folder = tempfile::tempdir().unwrap();
    let program = duckdb_program("s3://lake/halo", &secret, &databases);
    let extension = "from pathlib import Path\nimport duckdb_extension_httpfs as httpfs\n\
         db.install_extension(str(next(Path(httpfs.__file__).parent.rglob('*.duckdb_extension'))))\n\
         db.load_extension('httpfs')";
    let connected = "db = duckdb.connect()\n";
    let program = program.replace(connected, &format!("{connected}{extension}\n"));
    assert_recipes_agree(&python(&program, folder.path()), &envs);
}
