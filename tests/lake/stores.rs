//! Stores that others have written, and what may go wrong on the way to them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use reqwest::Client;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::lake_env::LakeEnv;
use crate::recipes::{has_python_module, python};
use crate::support::test_env::CommandResult;

pub(crate) const SECRET: &str = "qsecretofthestoreq";

/// A store in a process of its own, which ends with it.
struct StoreProcess(Child);

impl Drop for StoreProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl StoreProcess {
    /// Starts it; it says `ready` when it listens.
    fn start(command: &mut Command, ready: &str) -> StoreProcess {
        let (mut output, output_of_process) = std::io::pipe().unwrap();
        let process = command
            .stdin(Stdio::null())
            .stdout(output_of_process.try_clone().unwrap())
            .stderr(output_of_process)
            .spawn();
        let process = StoreProcess(process.unwrap());
        // The command holds the other end, too.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (mut seen, mut byte) = (String::new(), [0]);
        while !seen.contains(ready) {
            assert_ne!(output.read(&mut byte).unwrap(), 0, "it ended: {seen}");
            seen.push(char::from(byte[0]));
        }
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        process
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// moto's S3.
pub(crate) struct Moto {
    _process: StoreProcess,
    pub(crate) url: String,
}

impl Moto {
    /// Starts it with an empty bucket `lake`; `None` where it is not installed.
    pub(crate) fn start() -> Option<Moto> {
        if !has_python_module("moto.server") {
            return None;
        }
        let port = free_port();
        let mut command = Command::new("python3");
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = StoreProcess::start(&mut command, "Running on");
        let url = format!("http://127.0.0.1:{port}");
        let created = run(Client::builder().no_proxy().build().unwrap().put(format!("{url}/lake")).send());
        assert!(created.unwrap().status().is_success());
        Some(Moto { _process: process, url })
    }

    /// The names and entity tags of all objects, as the store lists them.
    pub(crate) fn listing(&self) -> BTreeMap<String, String> {
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

/// Azurite, Microsoft's imitation of its Blob Storage.
pub(crate) struct Azurite {
    _process: StoreProcess,
    folder: TempDir,
    pub(crate) url: String,
}

/// The account that Azurite has; its key is public.
const AZURITE_ACCOUNT: &str = "devstoreaccount1";
const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

impl Azurite {
    /// Starts it with an empty container `lake`; `None` where it is not installed.
    pub(crate) fn start() -> Option<Azurite> {
        let is_there = Command::new("azurite-blob").arg("--version").output().is_ok();
        if !is_there {
            eprintln!("SKIPPED: azurite-blob is not installed");
        }
        if !is_there || !has_python_module("azure.storage.blob") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new("azurite-blob");
        command.args([
            "--silent",
            "--skipApiVersionCheck",
            "--disableTelemetry",
            "--blobPort",
            &port.to_string(),
        ]);
        command.arg("--location").arg(folder.path());
        let process = StoreProcess::start(&mut command, "successfully listens");
        let azurite =
            Azurite { _process: process, folder, url: format!("http://127.0.0.1:{port}/{AZURITE_ACCOUNT}") };
        azurite.python("client.create_container()");
        Some(azurite)
    }

    /// The names of all objects and the hashes of their content.
    pub(crate) fn listing(&self) -> String {
        self.python(
            "for it in client.list_blobs(): print(it.name, bytes(it.content_settings.content_md5).hex())",
        )
    }

    fn python(&self, work: &str) -> String {
        let program = format!(
            "from azure.storage.blob import ContainerClient\n\
             client = ContainerClient('{}', 'lake', credential='{AZURITE_KEY}')\n{work}\n",
            self.url
        );
        python(&program, self.folder.path())
    }

    /// A copy under a name in the container, which it reaches at `endpoint`.
    pub(crate) fn copy_at(endpoint: &str, server: &str) -> LakeEnv {
        let variables = [
            ("HALOSYNC_LAKE__ENDPOINT", endpoint.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_NAME", AZURITE_ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", AZURITE_KEY.to_owned()),
        ];
        LakeEnv::with(server, "", "az://lake/halo", variables)
    }
}

/// A copy under a name in the bucket, which it reaches at `endpoint`.
pub(crate) fn copy_at(endpoint: &str, server: &str) -> LakeEnv {
    let variables = [
        ("HALOSYNC_LAKE__ENDPOINT", endpoint.to_owned()),
        ("HALOSYNC_LAKE__REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
    ];
    LakeEnv::with(server, "", "s3://lake/halo", variables)
}

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(work)
}

/// What a proxy does to creations of objects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// None.
    Nothing,
    /// Answers 409 and stores nothing.
    Conflict,
    /// Stores it and hangs up.
    HangUp,
    /// Answers 503 and stores nothing.
    Unavailable,
    /// Takes each object, whether there is one of that name or not.
    IgnoresCondition,
    /// Answers 409 as above, and 403 for objects that do not exist, as S3 does where the credentials may not list.
    HidesMissing,
    /// Answers 500 to data.
    FailsForData,
    /// Answers 403 to listings.
    RefusesListing,
    /// Answers that a token has expired, and repeats it.
    RepeatsToken,
}

/// What the answer of [`Trouble::RepeatsToken`] repeats.
pub(crate) const TEMPORARY_TOKEN: &str = "qtemporarytokenq";

/// A proxy before a store that does something to every third creation, or to all of them.
pub(crate) struct Proxy {
    _runtime: Runtime,
    pub(crate) url: String,
    state: Arc<ProxyState>,
}

struct ProxyState {
    store: String,
    client: Client,
    trouble: Trouble,
    creations: Mutex<u32>,
    hold: Mutex<Option<Hold>>,
}

/// What holds the creation of a data file.
struct Hold {
    reached: mpsc::Sender<()>,
    go_on: oneshot::Receiver<()>,
}

impl Proxy {
    pub(crate) fn start(store: &str, trouble: Trouble) -> Proxy {
        let runtime = Runtime::new().unwrap();
        let state = Arc::new(ProxyState {
            store: store.to_owned(),
            client: Client::builder().no_proxy().build().unwrap(),
            trouble,
            creations: Mutex::default(),
            hold: Mutex::default(),
        });
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::clone(&state);
        let serve = move |request: Request<Body>| {
            let state = Arc::clone(&shared);
            async move { forward(&state, request).await }
        };
        let router = Router::new().fallback(serve);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Proxy { _runtime: runtime, url, state }
    }

    /// Pushes, and does something while the creation of its first data file is held.
    pub(crate) fn push_held<T>(&self, env: &LakeEnv, meanwhile: impl FnOnce() -> T) -> (CommandResult, T) {
        let ((reached, is_reached), (release, go_on)) = (mpsc::channel(), oneshot::channel());
        *self.state.hold.lock().unwrap() = Some(Hold { reached, go_on });
        let push = env.lake_command(&["--json", "lake", "push"]).spawn().unwrap();
        is_reached.recv().unwrap();
        let done = meanwhile();
        release.send(()).unwrap();
        (CommandResult::of(push), done)
    }
}

/// Three pushes of a copy through a proxy for each kind of trouble, after which the lake is verified without it. `copy_at`
/// makes a copy of a name at a proxy, `objects` counts the objects of that name.
#[track_caller]
pub(crate) fn assert_troubles_do_no_harm(
    store: &str,
    endpoint: &str,
    copy_at: impl Fn(&Proxy, &str) -> LakeEnv,
    objects: impl Fn(&str) -> usize,
) {
    let troubles = [Trouble::Conflict, Trouble::HangUp, Trouble::Unavailable, Trouble::HidesMissing];
    for (number, trouble) in troubles.into_iter().enumerate() {
        let proxy = Proxy::start(store, trouble);
        let env = copy_at(&proxy, &format!("copy-{number}"));
        for summary in ["a", "b", "c"] {
            env.edit(1..=5, summary);
            env.push();
        }
        env.set_variable("HALOSYNC_LAKE__ENDPOINT", endpoint.to_owned());
        env.verify();
        assert_eq!(objects(&format!("server=copy-{number}")), 3 * 3 + 2 + 1, "{trouble:?}");
    }
}

async fn forward(state: &ProxyState, request: Request<Body>) -> Response<Body> {
    let trouble = state.trouble;
    let answer = |status| Response::builder().status(status).body(Body::empty()).unwrap();
    let (mut parts, body) = request.into_parts();
    let is_creation = parts.method == Method::PUT && parts.headers.contains_key("if-none-match");
    let is_listing = parts.uri.query().is_some_and(|query| query.contains("list-type"));
    let is_troubled = is_creation && {
        let mut creations = state.creations.lock().unwrap();
        *creations += 1;
        creations.is_multiple_of(3)
    };
    let is_data = is_creation && parts.uri.path().contains("/changes/");
    let hold = state.hold.lock().unwrap().take_if(|_| is_data);
    if let Some(Hold { reached, go_on }) = hold {
        reached.send(()).unwrap();
        go_on.await.unwrap();
    }
    match trouble {
        Trouble::Conflict | Trouble::HidesMissing if is_troubled => return answer(StatusCode::CONFLICT),
        Trouble::FailsForData if is_data => {
            return answer(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Trouble::RefusesListing if is_listing => return answer(StatusCode::FORBIDDEN),
        Trouble::RepeatsToken => {
            let text = format!(
                "<Error><Code>ExpiredToken</Code><Message>expired</Message><Token-0>{TEMPORARY_TOKEN}</Token-0></Error>"
            );
            return Response::builder().status(StatusCode::BAD_REQUEST).body(Body::from(text)).unwrap();
        }
        Trouble::Unavailable if is_troubled => return answer(StatusCode::SERVICE_UNAVAILABLE),
        Trouble::IgnoresCondition => drop(parts.headers.remove("if-none-match")),
        _ => {}
    }
    let url = format!("{}{}", state.store, parts.uri);
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let sent =
        state.client.request(parts.method, url).headers(parts.headers).body(body).send().await.unwrap();
    if trouble == Trouble::HangUp && is_troubled {
        // A body that fails ends the connection.
        let broken = futures_util::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("hung up"))]);
        return Response::builder().header("content-length", "9").body(Body::from_stream(broken)).unwrap();
    }
    if trouble == Trouble::HidesMissing && !is_listing && sent.status() == StatusCode::NOT_FOUND {
        return answer(StatusCode::FORBIDDEN);
    }
    let mut response = Response::builder().status(sent.status());
    response.headers_mut().unwrap().extend(sent.headers().clone());
    response.headers_mut().unwrap().remove("transfer-encoding");
    response.body(Body::from(sent.bytes().await.unwrap())).unwrap()
}
