//! The HTTP endpoints under attack: connections that are held open, unknown names, and no descriptors left.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use halo_simulator::ServerFault;
use rstest::rstest;
use rustix::process::{Pid, Resource, Rlimit};

use super::daemon::{Daemon, TIMEOUT, free_address, get};
use super::life::{EVERY_200_MS, EVERY_HOUR};
use super::serve;
use super::support::test_env::TestEnv;

const WATCHDOG: Duration = Duration::from_millis(400);

fn start(env: &TestEnv<()>) -> Daemon {
    Daemon::start_with(env, &[], |command| {
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    })
}

fn descriptors(daemon: &Daemon) -> usize {
    let folder = Path::new("/proc").join(daemon.pid().to_string()).join("fd");
    fs::read_dir(folder).unwrap().count()
}

/// Sends a request byte for byte and returns the response until the connection closes.
fn exchange(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_connections_take_few_descriptors_and_end_after_five_seconds() {
    let simulator = serve(50).await;
    let metrics = free_address();
    let env = TestEnv::for_server(
        &simulator.url(),
        &format!("{EVERY_200_MS}\n[metrics]\nlisten = \"{metrics}\"\n"),
    );
    let mut daemon = start(&env);
    daemon.logged("complete: full scan");
    let before = descriptors(&daemon);
    let since = Instant::now();
    let mut held: Vec<_> = (0..100).map(|_| TcpStream::connect(&metrics).unwrap()).collect();
    for (index, stream) in held.iter_mut().enumerate() {
        // Nothing, a part of the head, or a whole request whose connection is kept.
        let sent =
            ["", "GET /metrics HTTP/1.1\r\nHost: local", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"];
        let _ = stream.write_all(sent[index % 3].as_bytes());
    }
    for _ in 0..10 {
        daemon.notified("WATCHDOG=1");
        let more = descriptors(&daemon).saturating_sub(before);
        assert!(more <= 32 + 16, "{more} more descriptors");
    }
    daemon.sync_now();
    let first = &mut held[0];
    first.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert_eq!(first.read(&mut [0; 16]).unwrap_or(0), 0, "it is closed");
    assert!((4..12).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    drop(held);
    // Nothing of them is left, and the next client is served.
    assert_eq!(get(&metrics, "/healthz").0, 200);
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchdog_is_notified_while_no_file_can_be_opened() {
    let simulator = serve(50).await;
    let metrics = free_address();
    let env =
        TestEnv::for_server(&simulator.url(), &format!("{EVERY_HOUR}\n[metrics]\nlisten = \"{metrics}\"\n"));
    let mut daemon = start(&env);
    daemon.logged("complete: full scan");
    daemon.notified("STATUS=50 tickets");
    let pid = Pid::from_raw(daemon.pid().cast_signed());
    let limit = |current| Rlimit { current: Some(current), maximum: Some(1_024) };
    let previous = rustix::process::prlimit(pid, Resource::Nofile, limit(3)).unwrap();
    assert!(3 < previous.current.unwrap_or(u64::MAX));
    let stream = TcpStream::connect(&metrics).unwrap();
    for _ in 0..12 {
        daemon.notified("WATCHDOG=1");
    }
    rustix::process::prlimit(pid, Resource::Nofile, limit(1_024)).unwrap();
    drop(stream);
    assert_eq!(get(&metrics, "/healthz").0, 200, "it serves again");
    daemon.sync_now();
    assert_eq!(daemon.stop(), Some(0));
}

#[rstest]
#[case::address("GET /healthz HTTP/1.1\r\nHost: ADDRESS\r\nConnection: close\r\n\r\n", 200)]
#[case::localhost("GET /healthz HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n", 200)]
#[case::loopback("GET /healthz HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n", 200)]
#[case::http_1_0("GET /healthz HTTP/1.0\r\n\r\n", 200)]
#[case::rebound_name("GET /metrics HTTP/1.1\r\nHost: evil.example:9187\r\nConnection: close\r\n\r\n", 421)]
#[case::rebound_name_for_readiness(
    "GET /readyz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    421
)]
#[case::two_names(
    "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    421
)]
#[case::name_in_the_target(
    "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    421
)]
#[case::no_name("GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n", 421)]
#[case::unknown_path("GET /else HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_under_an_unknown_name_is_refused(#[case] request: &str, #[case] status: u16) {
    let simulator = serve(50).await;
    let metrics = free_address();
    let env =
        TestEnv::for_server(&simulator.url(), &format!("{EVERY_HOUR}\n[metrics]\nlisten = \"{metrics}\"\n"));
    let mut daemon = Daemon::start(&env);
    daemon.notified("READY=1");
    let answer = exchange(&metrics, &request.replace("ADDRESS", &metrics));
    let found = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    assert_eq!(found, Some(status), "{answer}");
    assert!(status == 200 || !answer.contains("halosync_"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_that_has_synced_waits_while_the_server_names_another_one() {
    let simulator = serve(50).await;
    let env = TestEnv::for_server(&simulator.url(), EVERY_200_MS);
    let settings = fs::read_to_string(env.path("agent.toml")).unwrap();
    let without: String =
        settings.lines().filter(|it| !it.starts_with("auth_url")).map(|it| format!("{it}\n")).collect();
    fs::write(env.path("agent.toml"), without).unwrap();
    let portal = ServerFault::parse("authinfo:auth_url=https://portal.example/auth").unwrap();
    simulator.with(|server| server.inject(portal.clone()));
    // The first time only an administrator can decide.
    let mut daemon = Daemon::start(&env);
    assert_eq!(daemon.wait_for_exit().code(), Some(78), "{}", daemon.transcript());

    simulator.with(|server| server.clear_faults());
    env.run(&["sync"]).success();
    // What the server said is remembered for a day, which has passed here.
    let database = rusqlite::Connection::open(env.path("halosync.db")).unwrap();
    database.execute("DELETE FROM server_probes WHERE probe = 'token_url'", []).unwrap();
    drop(database);
    simulator.with(|server| server.inject(portal));
    let mut daemon = Daemon::start(&env);
    let line = daemon.logged("run incomplete");
    assert!(line.contains("auth_url = \"https://portal.example/auth\""), "{line}");
    let tokens = simulator.with(|server| server.log().token_count());
    simulator.with(|server| server.clear_faults());
    daemon.logged("recovered after");
    assert_eq!(tokens, 1, "the secret was sent only by the sync before");
    assert_eq!(daemon.stop(), Some(0));
}
