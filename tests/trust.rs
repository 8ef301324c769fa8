//! Whom halosync trusts: the authorization server that a server names, files that others can write, certificates, and
//! the size of what is stored of an error.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use halo_simulator::{ServerFault, Simulator};
use rstest::rstest;
use serde_json::Value as Json;
use support::fixture_server::serve_response;
use support::server::{serve, settings};
use support::test_env::{CLIENT_SECRET, CommandResult, NO_SERVER, TestEnv};
use support::tls::{CertificateOptions, TlsProxy};

/// An environment whose settings name no authorization server.
fn env_without_auth_url(url: &str, settings: &str) -> TestEnv<()> {
    let env = TestEnv::for_server(url, settings);
    set_auth_url(&env, "");
    env
}

/// Replaces the line of the authorization server in the settings; an empty one leaves it out.
fn set_auth_url(env: &TestEnv<()>, line: &str) {
    let path = env.path("agent.toml");
    let text = fs::read_to_string(&path).unwrap();
    let kept: String =
        text.lines().filter(|line| !line.starts_with("auth_url")).map(|line| format!("{line}\n")).collect();
    fs::write(path, kept.replacen("[halo]\n", &format!("[halo]\n{line}\n"), 1)).unwrap();
}

fn name_auth_server(simulator: &Simulator, url: &str) {
    let fault = ServerFault::parse(&format!("authinfo:auth_url={url}")).unwrap();
    simulator.with(|server| server.inject(fault));
}

fn token_requests(simulator: &Simulator) -> usize {
    usize::try_from(simulator.with(|server| server.log().token_count())).unwrap()
}

fn step<'a>(report: &'a Json, name: &str) -> &'a Json {
    report["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).unwrap()
}

// ---- The authorization server ----

/// A listener that counts connections and answers none.
fn other_server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    (address, connections)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secret_does_not_go_to_another_origin_that_the_server_names() {
    let simulator = serve(10).await;
    let (other, connections) = other_server();
    let env = env_without_auth_url(&simulator.url(), "max_retries = 0\n");
    let port = simulator.url().rsplit(':').next().unwrap().to_owned();
    for (url, line) in [
        (format!("http://{other}/auth"), Some(format!("auth_url = \"http://{other}/auth\""))),
        (
            format!("http://localhost:{port}/auth"),
            Some(format!("auth_url = \"http://localhost:{port}/auth\"")),
        ),
        (
            format!("https://127.0.0.1:{port}/auth"),
            Some(format!("auth_url = \"https://127.0.0.1:{port}/auth\"")),
        ),
        (
            "https://auth.example/auth?x=\"y".to_owned(),
            Some("auth_url = \"https://auth.example/auth\"".to_owned()),
        ),
        ("http://auth.example/auth".to_owned(), None),
        (format!("http://127.0.0.1:{port}@{other}/auth"), None),
        (format!("http://user@127.0.0.1:{port}/auth"), None),
        ("ftp://127.0.0.1/auth".to_owned(), None),
    ] {
        simulator.with(|server| server.clear_faults());
        name_auth_server(&simulator, &url);
        let result = env.run(&["sync"]).code(78);
        let check = env.run_json(&["check"]).code(78);
        let help = step(&check.json, "authorization")["help"].as_str().unwrap();
        match &line {
            Some(line) => {
                assert!(
                    result.stderr.contains(&format!("below [halo]: {line}\n")),
                    "{url}: {}",
                    result.stderr
                );
                assert!(help.ends_with(line.as_str()), "{url}: {help}");
            }
            None => assert!(!help.contains("auth_url = "), "{url}: {help}"),
        }
        assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 0, "{url}");
    }
    assert_eq!(token_requests(&simulator), 0, "the secret was sent");
    assert_eq!(connections.load(Ordering::SeqCst), 0, "another server was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_server_cannot_name_an_address_without_tls() {
    let simulator = serve(10).await;
    let proxy = TlsProxy::start(&simulator.url(), &CertificateOptions { name: "localhost", days: (-1, 90) });
    let url = format!("https://localhost:{}", proxy.address.port());
    let env = env_without_auth_url(&url, "ca_file = \"authority.pem\"\nmax_retries = 0\n");
    fs::write(env.path("authority.pem"), &proxy.authority).unwrap();
    // What the simulator says by itself: http on loopback.
    let result = env.run(&["sync"]).code(78);
    assert!(!result.stderr.contains("auth_url = "), "{}", result.stderr);
    name_auth_server(&simulator, &format!("http://localhost:{}/auth", proxy.address.port()));
    env.run(&["sync"]).code(78);
    assert_eq!(token_requests(&simulator), 0, "the secret was sent");

    simulator.with(|server| server.clear_faults());
    name_auth_server(&simulator, &format!("{}/auth", url.to_uppercase()));
    env.run(&["sync"]).success();
    // Not even by the settings.
    let mut settings = fs::read_to_string(env.path("agent.toml")).unwrap();
    settings.push_str("auth_url = \"http://127.0.0.1:1/auth\"\n");
    fs::write(env.path("agent.toml"), settings).unwrap();
    let result = env.run(&["sync"]).code(78);
    assert!(
        result.stderr.contains("`halo.auth_url` must be https, because server_url is"),
        "{}",
        result.stderr
    );
}

#[rstest]
#[case::missing(404, "")]
#[case::forbidden(403, r#"{"auth_url":"https://evil.example"}"#)]
#[case::page(200, "<html>")]
#[case::empty(200, "")]
#[case::number(200, r#"{"auth_url":7}"#)]
#[case::null(200, r#"{"auth_url":null,"tenant_id":null}"#)]
#[case::relative(200, r#"{"auth_url":"/elsewhere"}"#)]
#[case::blank(200, r#"{"auth_url":""}"#)]
#[case::twice(200, r#"{"auth_url":"https://evil.example","auth_url":"https://evil.example"}"#)]
#[case::list(200, r#"[{"auth_url":"https://evil.example"}]"#)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_is_requested_from_the_server_where_authinfo_says_nothing_readable(
    #[case] status: u16,
    #[case] body: &'static str,
) {
    let simulator = serve(10).await;
    let env = env_without_auth_url(&simulator.url(), "max_retries = 0\n");
    let path = format!("{}/_sim/replay?path=/api/authinfo&status={status}", simulator.url());
    post(&path, body);
    if status == 403 {
        // A refusal says nothing, whatever is in it.
        simulator.with(|server| server.inject(ServerFault::parse("authinfo:status=403").unwrap()));
    }
    env.run(&["sync"]).success();
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 10);
}

fn post(url: &str, body: &str) {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_writes_what_the_server_says_about_itself() {
    let simulator = TestEnv::builder().tickets(10).tenant(Some("acme")).start().await;
    let (url, env) = (simulator.server.url(), TestEnv::for_server(NO_SERVER, ""));
    let init = |file: &str, server: &str| env.run(&["init", file, "--server", server]);
    init("own.toml", &url).success();
    let text = fs::read_to_string(env.path("own.toml")).unwrap();
    for line in [
        format!("server_url = \"{url}\"\n"),
        format!("auth_url = \"{url}/auth\"\n"),
        "tenant = \"acme\"\n".to_owned(),
    ] {
        assert!(text.contains(&format!("\n{line}")), "{line} in\n{text}");
    }
    let mode = fs::metadata(env.path("own.toml")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640);

    simulator.inject("authinfo:auth_url=https://auth.example/auth");
    let result = init("other.toml", &url).success();
    assert!(result.stdout.contains("another address than the server's"), "{}", result.stdout);
    assert!(
        fs::read_to_string(env.path("other.toml"))
            .unwrap()
            .contains("\nauth_url = \"https://auth.example/auth\"\n")
    );

    simulator.clear_faults();
    simulator.inject("authinfo:auth_url=http://auth.example/auth");
    init("unsafe.toml", &url).code(78);
    simulator.clear_faults();
    simulator.inject("authinfo:status=404");
    init("none.toml", &url).success();
    assert!(fs::read_to_string(env.path("none.toml")).unwrap().contains("\n# auth_url = \"\"\n"));
    init("down.toml", NO_SERVER).code(69);
    init("bad.toml", "halo.example").code(2);
    assert!(!env.path("down.toml").exists() && !env.path("unsafe.toml").exists());
    simulator.reset_request_log();
    init("own.toml", &url).code(73);
    assert_eq!(simulator.with_server(|server| server.log().entries().count()), 0, "nothing to ask for");
}

// ---- What is remembered of it ----

const REMEMBERED: &str = "SELECT details FROM server_probes WHERE probe = 'token_url'";

fn requests(simulator: &Simulator) -> Vec<String> {
    simulator.with(|server| {
        let paths = server.log().entries().map(|entry| entry.path.clone()).collect();
        server.log_mut().reset();
        paths
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_asks_for_the_authorization_server_once_a_day() {
    let simulator = serve(10).await;
    let url = simulator.url();
    let env = env_without_auth_url(&url, "max_retries = 0\n");
    env.run(&["sync", "--dry-run"]).success();
    assert_eq!(env.texts(REMEMBERED), [""; 0], "a dry run keeps nothing");
    env.run(&["sync"]).success();
    assert_eq!(env.texts(REMEMBERED), [format!("{url}/auth/token")]);
    requests(&simulator);
    env.run(&["sync"]).success();
    assert_eq!(requests(&simulator), ["/auth/token", "/api/tickets"]);
    for (probed_at, is_asked) in [("-23 hours", false), ("-25 hours", true), ("+25 hours", true)] {
        edit(
            &env,
            &format!(
                "UPDATE server_probes SET probed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '{probed_at}') WHERE probe = 'token_url'"
            ),
        );
        env.run(&["sync"]).success();
        assert_eq!(requests(&simulator)[0] == "/api/authinfo", is_asked, "{probed_at}");
    }
    // A setting wins, and is not remembered.
    set_auth_url(&env, &format!("auth_url = \"{url}/elsewhere\""));
    env.run(&["sync"]).code(65);
    assert_eq!(requests(&simulator), ["/elsewhere/token"]);
    edit(&env, "DELETE FROM server_probes WHERE probe = 'token_url'");
    set_auth_url(&env, &format!("auth_url = \"{url}/auth\""));
    env.run(&["sync"]).success();
    assert_eq!(env.texts(REMEMBERED), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_is_asked_again_where_the_remembered_address_or_tenant_is_wrong() {
    let mut settings = settings(10);
    settings.tenant = Some("acme".into());
    settings.knobs.set("tenant=required").unwrap();
    let simulator = Simulator::start(settings).await.unwrap();
    let url = simulator.url();
    let env = env_without_auth_url(&url, "max_retries = 0\n");
    env.run(&["sync"]).success();
    let right = format!("{url}/auth/token?tenant=acme");
    assert_eq!(env.texts(REMEMBERED), [right.as_str()]);
    let (other, connections) = other_server();
    for (remembered, is_used) in [
        (format!("{url}/auth/token?tenant=before"), true),
        (format!("{url}/before/token?tenant=acme"), true),
        (format!("http://{other}/auth/token?tenant=acme"), false),
        (format!("https://{}/auth/token", url.strip_prefix("http://").unwrap()), false),
        (url.replace("http://", "http://name:word@") + "/auth/token", false),
        ("no address".to_owned(), false),
    ] {
        edit(&env, &format!("UPDATE server_probes SET details = '{remembered}' WHERE probe = 'token_url'"));
        requests(&simulator);
        env.run(&["sync"]).success();
        let asked = requests(&simulator);
        let first = usize::from(is_used);
        assert_eq!(asked[first], "/api/authinfo", "{remembered}: {asked:?}");
        assert_eq!(asked[first + 1..], ["/auth/token", "/api/tickets"], "{remembered}");
        assert_eq!(env.texts(REMEMBERED), [right.as_str()], "{remembered}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0, "another server was asked");

    // Where the server says nothing, what it said before holds: no guess without a tenant.
    simulator.with(|server| {
        server.inject(ServerFault::parse("token:status=503").unwrap());
        server.inject(ServerFault::parse("authinfo:status=503").unwrap());
    });
    env.run(&["sync"]).code(69);
    let asked = simulator.with(|server| {
        let tokens = server.log().entries().filter(|it| it.path == "/auth/token");
        tokens.map(|it| it.query.clone()).collect::<Vec<_>>()
    });
    assert_eq!(asked, ["tenant=acme"]);
    requests(&simulator);
    simulator.with(|server| server.clear_faults());

    // Where it says the same as before, or cannot be asked, the refusal is the error.
    fs::write(env.path("client-secret"), "wrong").unwrap();
    for fault in ["authinfo:status=503", "authinfo:reset"] {
        simulator.with(|server| server.inject(ServerFault::parse(fault).unwrap()));
        env.run(&["sync"]).code(77);
        assert_eq!(requests(&simulator)[..2], ["/auth/token", "/api/authinfo"], "{fault}");
        simulator.with(|server| server.clear_faults());
    }
}

/// The settings of the tenant may change between runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remembered_tenant_is_that_of_the_settings_or_of_the_server() {
    let mut settings = settings(10);
    settings.tenant = Some("acme".into());
    let simulator = Simulator::start(settings).await.unwrap();
    let url = simulator.url();
    let env = env_without_auth_url(&url, "tenant = \"ACME\"\n");
    env.run(&["sync"]).success();
    assert_eq!(env.texts(REMEMBERED), [format!("{url}/auth/token?tenant=ACME")]);
    requests(&simulator);
    env.run(&["sync"]).success();
    assert_eq!(requests(&simulator), ["/auth/token", "/api/tickets"]);
    for (result, details, is_used) in [
        ("tenant_of_settings", "ACME", true),
        ("tenant_of_settings", "acme", false),
        ("reported", "ACME", false),
        ("reported", "acme", false),
    ] {
        edit(
            &env,
            &format!(
                "UPDATE server_probes SET result = '{result}', details = '{url}/auth/token?tenant={details}' WHERE probe = 'token_url'"
            ),
        );
        env.run(&["sync"]).success();
        assert_eq!(requests(&simulator)[0] == "/auth/token", is_used, "{result}, {details}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secret_that_the_server_repeats_is_not_remembered() {
    let simulator = serve(10).await;
    let env = env_without_auth_url(&simulator.url(), "max_retries = 0\n");
    for tenant in [CLIENT_SECRET, &format!("x{CLIENT_SECRET}y")] {
        let body = format!("{{\"auth_url\":\"{}/auth\",\"tenant_id\":\"{tenant}\"}}", simulator.url());
        post(&format!("{}/_sim/replay?path=/api/authinfo&status=200", simulator.url()), &body);
        env.run(&["sync"]).success();
        assert_eq!(env.texts(REMEMBERED), [""; 0], "{tenant}");
    }
}

fn edit(env: &TestEnv<()>, sql: &str) {
    rusqlite::Connection::open(env.path("halosync.db")).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_on_this_machine_is_never_asked_through_a_proxy() {
    let simulator = serve(10).await;
    let (other, connections) = other_server();
    let proxy = format!("http://{other}");
    let env = TestEnv::for_server(&simulator.url(), &format!("max_retries = 0\nproxy = \"{proxy}\"\n"));
    let mut command = env.command(&["sync"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, &proxy);
    }
    CommandResult::of(command.spawn().unwrap()).success();
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

// ---- Files ----

/// Runs a command that must end soon with 78 and return its messages.
fn refused(env: &TestEnv<()>, arguments: &[&str]) -> String {
    let started = Instant::now();
    let result = env.run(arguments).code(78);
    assert!(started.elapsed() < Duration::from_secs(5), "{arguments:?} took {:?}", started.elapsed());
    result.stderr + &result.stdout
}

fn replace(path: &Path, make: impl FnOnce(&Path)) {
    fs::remove_file(path).unwrap();
    make(path);
}

/// An environment with every kind of trusted file.
fn env_with_files() -> TestEnv<()> {
    let env = TestEnv::for_server(NO_SERVER, "ca_file = \"ca.pem\"\nmax_retries = 0\n");
    fs::write(
        env.path("ca.pem"),
        TlsProxy::start(NO_SERVER, &CertificateOptions { name: "localhost", days: (-1, 90) }).authority,
    )
    .unwrap();
    for file in ["agent.toml", "ca.pem"] {
        set_mode(&env, file, 0o644);
    }
    env
}

fn set_mode(env: &TestEnv<()>, file: &str, mode: u32) {
    fs::set_permissions(env.path(file), fs::Permissions::from_mode(mode)).unwrap();
}

#[rstest]
fn file_that_others_can_write_is_refused(
    #[values("agent.toml", "client-secret", "ca.pem")] file: &str,
    #[values(0o620, 0o602, 0o666, 0o664)] mode: u32,
) {
    let env = env_with_files();
    env.run(&["sync"]).code(69);
    set_mode(&env, file, mode);
    let path = env.path(file);
    for arguments in [&["sync"][..], &["check"], &["run"]] {
        let message = refused(&env, arguments);
        assert!(message.contains(&format!("other users can write it (mode {mode:04o})")), "{message}");
        assert!(message.contains(&format!("help: chmod go-w {}", path.display())), "{message}");
    }
    if file == "agent.toml" {
        refused(&env, &["status"]);
    }
    Command::new("chmod").arg("go-w").arg(&path).status().unwrap();
    if file != "client-secret" {
        env.run(&["sync"]).code(69);
    }
}

#[rstest]
fn file_of_another_user_is_refused(#[values("agent.toml", "client-secret", "ca.pem")] file: &str) {
    let env = env_with_files();
    if chown(env.path(file), Some(12_345), None).is_err() {
        // Only root can give a file away.
        return;
    }
    let message = refused(&env, &["sync"]);
    assert!(message.contains("it belongs to user 12345, who can write it"), "{message}");
    assert!(message.contains("sudo -u '#12345' halosync"), "{message}");
}

#[rstest]
fn file_that_is_no_regular_file_is_refused_at_once(
    #[values("agent.toml", "client-secret", "ca.pem")] file: &str,
    #[values("a named pipe", "a socket", "a folder", "a device")] kind: &str,
    #[values(false, true)] by_link: bool,
) {
    let env = env_with_files();
    let elsewhere = env.path("elsewhere");
    let make = |path: &Path| match kind {
        "a named pipe" => assert!(Command::new("mkfifo").arg("-m600").arg(path).status().unwrap().success()),
        "a socket" => drop(UnixListener::bind(path).unwrap()),
        "a folder" => fs::create_dir(path).unwrap(),
        _ => symlink("/dev/zero", path).unwrap(),
    };
    replace(&env.path(file), |path| {
        if by_link {
            make(&elsewhere);
            symlink(&elsewhere, path).unwrap();
        } else {
            make(path);
        }
    });
    for arguments in [&["sync"][..], &["check"], &["check", "--offline"]] {
        if file == "ca.pem" && arguments.len() == 2 {
            continue;
        }
        let message = refused(&env, arguments);
        assert!(message.contains(&format!("it is {kind}, not a regular file")), "{message}");
    }
}

#[rstest]
fn link_to_a_regular_file_is_followed(#[values("agent.toml", "client-secret", "ca.pem")] file: &str) {
    let env = env_with_files();
    // As a mounted volume of Kubernetes looks like.
    fs::create_dir(env.path("..data")).unwrap();
    fs::rename(env.path(file), env.path("..data").join(file)).unwrap();
    symlink(Path::new("..data").join(file), env.path(file)).unwrap();
    env.run(&["sync"]).code(69);
    fs::set_permissions(env.path("..data").join(file), fs::Permissions::from_mode(0o666)).unwrap();
    refused(&env, &["sync"]);
}

#[rstest]
fn huge_file_is_not_read(#[values("agent.toml", "client-secret", "ca.pem")] file: &str) {
    let env = env_with_files();
    let path = env.path(file);
    File::options().append(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let message = refused(&env, &["sync"]);
    assert!(message.contains("it has more than"), "{message}");
}

#[test]
fn secret_is_not_quoted_by_a_problem_of_the_settings() {
    let env = TestEnv::for_server("https://halo.invalid", "max_retries = 0\n");
    let settings = fs::read_to_string(env.path("agent.toml")).unwrap();
    let settings =
        settings.replace("client_secret_file = \"client-secret\"", "client_secret = \"canary-4f1d9b\"");
    set_mode(&env, "agent.toml", 0o600);
    for broken in [
        settings.replace("client_secret = ", "client_secret "),
        settings.replace("canary-4f1d9b\"", "canary-4f1d9b"),
        settings.replace("\"canary-4f1d9b\"", "canary-4f1d9b"),
        settings.replace("\"canary-4f1d9b\"", "[\"canary-4f1d9b\"]"),
        settings.replace("client_secret = ", "client_secrett = "),
        format!("{settings}page_size = \"canary-4f1d9b\"\n"),
        format!("{settings}page_size = {{ client_secret = \"canary-4f1d9b\" }}\n"),
        format!("{settings}page_size = [{{ client_secret = \"canary-4f1d9b\" }}]\n"),
        format!("{settings}proxy = [\"http://user:canary-4f1d9b@proxy.example\"]\n"),
        format!("{settings}proxy = \"user:canary-4f1d9b@proxy.example\"\n"),
        format!("{settings}auth_url = \"https://user:canary-4f1d9b@auth.example\"\n"),
        format!("{settings}[metrics]\nlisten = \"canary-4f1d9b\"\n"),
    ] {
        fs::write(env.path("agent.toml"), &broken).unwrap();
        let result = env.run(&["-vvv", "sync"]);
        assert_ne!(result.status, Some(0), "{broken}");
        assert!(!result.stderr.contains("canary"), "{broken}\n{}", result.stderr);
    }
    fs::write(env.path("agent.toml"), &settings).unwrap();
    for (name, value) in [
        ("HALOSYNC_HALO__CLIENT_SECRT", "canary-4f1d9b"),
        ("HALOSYNC_HALO__PAGE_SIZE", "canary-4f1d9b"),
        ("HALOSYNC_HALO__PROXY", "canary-4f1d9b://"),
        ("HALOSYNC_HALO__SERVER_URL", "https://user:canary-4f1d9b@halo.example"),
    ] {
        let child = env.command(&["-vvv", "sync"]).env(name, value).spawn().unwrap();
        let result = CommandResult::of(child);
        assert_ne!(result.status, Some(0), "{name}");
        assert!(!result.stderr.contains("canary"), "{name}\n{}", result.stderr);
    }
}

#[test]
fn check_warns_about_folders_of_others_and_addresses_for_others() {
    let env = TestEnv::for_server(NO_SERVER, "max_retries = 0\n[metrics]\nlisten = \"0.0.0.0:9187\"\n");
    fs::set_permissions(env.directory(), fs::Permissions::from_mode(0o777)).unwrap();
    let found = env.run_json(&["check", "--offline"]).json;
    let settings = step(&found, "settings");
    assert_eq!(settings["outcome"], "warning", "{found:#}");
    let message = settings["message"].as_str().unwrap();
    assert!(
        message.contains("other users can replace files in") && message.contains("on 0.0.0.0:9187"),
        "{message}"
    );

    fs::set_permissions(env.directory(), fs::Permissions::from_mode(0o1777)).unwrap();
    for (listen, outcome) in
        [("127.0.0.1:9187", "ok"), ("[::1]:9187", "ok"), ("[::]:9187", "warning"), ("10.0.0.5:1", "warning")]
    {
        let child =
            env.command(&["--json", "check", "--offline"]).env("HALOSYNC_METRICS__LISTEN", listen).spawn();
        let found = CommandResult::of(child.unwrap()).json;
        assert_eq!(step(&found, "settings")["outcome"], outcome, "{listen}: {found:#}");
    }
}

// ---- Certificates ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_file_works_as_it_is_written_or_is_refused() {
    let simulator = serve(10).await;
    let proxy = TlsProxy::start(&simulator.url(), &CertificateOptions { name: "localhost", days: (-1, 90) });
    let url = format!("https://localhost:{}", proxy.address.port());
    let env = TestEnv::for_server(&url, "ca_file = \"ca.pem\"\nmax_retries = 0\n");
    let pem = &proxy.authority;
    for (text, status) in [
        (pem.clone(), 0),
        (format!("\u{FEFF}{pem}"), 0),
        (pem.replace('\n', "\r\n"), 0),
        (format!("  {}", pem.replace('\n', "\n  ")), 0),
        (format!("our authority\n{pem}"), 0),
        (pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), 78),
        (pem.replace("-----END", "----END"), 78),
        (pem.replace('M', "!"), 78),
        (format!("{pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 78),
        (String::new(), 78),
    ] {
        fs::write(env.path("ca.pem"), &text).unwrap();
        let result = env.run(&["sync"]).code(status);
        assert!(
            status == 0 || result.stderr.contains("cannot use the certificates in"),
            "{text}\n{}",
            result.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_only_trusts_no_certificate_of_the_system() {
    let simulator = serve(10).await;
    let options = CertificateOptions { name: "localhost", days: (-1, 90) };
    let (proxy, other) = (TlsProxy::start(&simulator.url(), &options), TlsProxy::start(NO_SERVER, &options));
    let url = format!("https://localhost:{}", proxy.address.port());
    let env = TestEnv::for_server(&url, "max_retries = 0\n");
    fs::write(env.path("own.pem"), &proxy.authority).unwrap();
    fs::write(env.path("other.pem"), &other.authority).unwrap();
    let sync = |system: &str, ca_file: &str, ca_only: &str| {
        let mut command = env.command(&["sync"]);
        command.env("SSL_CERT_FILE", env.path(system));
        command.env("HALOSYNC_HALO__CA_FILE", ca_file).env("HALOSYNC_HALO__CA_ONLY", ca_only);
        CommandResult::of(command.spawn().unwrap())
    };
    sync("own.pem", "other.pem", "false").success();
    sync("other.pem", "own.pem", "false").success();
    sync("other.pem", "own.pem", "true").success();
    let result = sync("own.pem", "other.pem", "true").code(69);
    assert!(result.stderr.contains("TLS connection failed"), "{}", result.stderr);
    let result = sync("own.pem", "", "true").code(78);
    assert!(result.stderr.contains("`halo.ca_only` needs `halo.ca_file`"), "{}", result.stderr);
}

// ---- What is stored of an error ----

#[rstest]
#[case::code_of_60_megabytes(60 << 20, 65)]
#[case::code_of_60_kilobytes(60 << 10, 65)]
#[case::unknown_code(9, 65)]
fn text_of_the_token_endpoint_is_not_stored(#[case] length: usize, #[case] status: i32) {
    let body =
        format!("{{\"error\":\"{}\",\"error_description\":\"{}\"}}", "x".repeat(length), "y".repeat(length));
    let body: &'static str = body.leak();
    let url = serve_response("400 Bad Request\r\nContent-Type: application/json", body);
    let env = TestEnv::for_server(&url, "max_retries = 0\n");
    let result = env.run(&["-vvv", "sync"]).code(status);
    assert!(!result.stderr.contains("xxxx") && !result.stderr.contains("yyyy"), "{}", result.stderr);
    assert_eq!(env.texts("SELECT error FROM runs"), ["request for a token was refused (status 400)"]);
    assert!(fs::metadata(env.database.path()).unwrap().len() < 1 << 20);
}

#[rstest]
#[case::long_message("x".repeat(60_000))]
#[case::hidden_characters("\u{202E}a\u{2066}b\u{2028}c\u{200B}d\u{FEFF}\u{7}e\u{1b}[31m".repeat(100))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_of_the_server_is_stored_on_one_line_of_500_characters(#[case] message: String) {
    let simulator = serve(10).await;
    let body = serde_json::json!({ "message": message }).to_string();
    post(&format!("{}/_sim/replay?path=/api/tickets&status=403", simulator.url()), &body);
    let env = TestEnv::for_server(&simulator.url(), "max_retries = 0\n");
    let result = env.run(&["sync"]).code(77);
    let stored = env.texts("SELECT error FROM runs").concat();
    let (_, shown) = stored.split_once("(status 403): ").unwrap();
    assert!(0 < shown.chars().count() && shown.chars().count() <= 500, "{stored}");
    for text in [&stored, &result.stderr] {
        assert!(!text.chars().any(|it| it != '\n' && halosync::halo::is_hidden(it)), "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_in_a_help_are_bounded() {
    let simulator = serve(10).await;
    let types: Vec<_> = (1..200)
        .map(|id| serde_json::json!({ "id": id, "name": format!("{id}{}", "n".repeat(10_000)) }))
        .collect();
    post(
        &format!("{}/_sim/replay?path=/api/tickettype&status=200", simulator.url()),
        &Json::from(types).to_string(),
    );
    let env = TestEnv::for_server(&simulator.url(), "max_retries = 0\nticket_type = \"Incident\"\n");
    let result = env.run(&["sync"]).code(78);
    assert!(result.stderr.contains("ticket_type can be any of \"100nnn"), "{}", result.stderr);
    assert!(
        result.stderr.trim_end().ends_with(" and 149 more") && result.stderr.len() < 4_000,
        "{}",
        result.stderr.len()
    );
}
