//! Metrics, health and readiness as monitoring reads them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use chrono::Utc;
use halo_simulator::{ServerFault, Simulator, SimulatorSettings};
use rustix::process::Signal;

use super::daemon::{Daemon, find_program, free_address, get, metric};
use super::life::{EVERY_200_MS, EVERY_HOUR};
use super::serve;
use super::support::test_env::TestEnv;

/// Returns what `promtool check metrics` reports for a text; nothing if it is not installed.
fn lint(text: &str) -> String {
    let Some(promtool) = find_program("promtool") else {
        eprintln!("SKIPPED: promtool is not installed");
        return String::new();
    };
    let mut lint = Command::new(promtool);
    lint.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut lint = lint.spawn().unwrap();
    lint.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = lint.wait_with_output().unwrap();
    let messages = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() || !messages.is_empty(), "promtool failed without a message");
    messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_match_the_database_and_pass_promtool() {
    let simulator = serve(250).await;
    let (metrics, textfile) = (free_address(), "metrics/halosync.prom");
    let more = format!(
        "{EVERY_HOUR}\n[metrics]\nlisten = \"{metrics}\"\ntextfile = \"{textfile}\"\n\n\
         [export]\nschedule = \"after-sync\"\n"
    );
    let env = TestEnv::for_server(&simulator.url(), &more);
    fs::create_dir(env.path("metrics")).unwrap();
    let mut daemon = Daemon::start(&env);
    daemon.notified("STATUS=250 tickets");
    let (status, text) = get(&metrics, "/metrics");
    assert_eq!((status, lint(&text).as_str()), (200, ""));
    for (name, value) in [
        ("halosync_tickets", 250.0),
        ("halosync_changes_total", 250.0),
        ("halosync_runs_total{outcome=\"complete\"}", 1.0),
        ("halosync_runs_total{outcome=\"failed\"}", 0.0),
        ("halosync_consecutive_failures", 0.0),
        ("halosync_pending_fetches", 0.0),
        ("halosync_unlisted_tickets", 0.0),
        ("halosync_rejects", 0.0),
        ("halosync_healthy", 1.0),
        ("halosync_interval_seconds", 3600.0),
        ("halosync_export_exported_seq{consumer=\"default\"}", 250.0),
        ("halosync_export_acked_seq{consumer=\"default\"}", 0.0),
        ("halosync_export_waiting_changes{consumer=\"default\"}", 0.0),
        ("halosync_build_info{version=\"0.1.0\"}", 1.0),
    ] {
        assert!((metric(&text, name) - value).abs() < f64::EPSILON, "{name} is {}", metric(&text, name));
    }
    let now: f64 = Utc::now().timestamp().to_string().parse().unwrap();
    for name in ["halosync_last_success_timestamp_seconds", "halosync_watermark_timestamp_seconds"] {
        assert!((now - metric(&text, name)).abs() < 60.0, "{name} is {}", metric(&text, name));
    }
    assert!(metric(&text, "halosync_watermark_lag_seconds") < 60.0);
    let size = fs::metadata(env.path("halosync.db")).unwrap().len();
    let exposed = text.lines().find(|line| line.starts_with("halosync_database_bytes"));
    assert_eq!(exposed, Some(format!("halosync_database_bytes {size}").as_str()));

    // The text file for the collector has the same metrics, is complete, and everyone can read it.
    let file = env.path(textfile);
    let deadline = std::time::Instant::now() + super::daemon::TIMEOUT;
    while !file.exists() {
        assert!(std::time::Instant::now() < deadline, "no metrics were written\n{}", daemon.transcript());
        std::thread::yield_now();
    }
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(lint(&written), "");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    assert!((metric(&written, "halosync_tickets") - 250.0).abs() < f64::EPSILON);
    assert_eq!(fs::read_dir(env.path("metrics")).unwrap().count(), 1, "a temporary file was left behind");

    // A forgotten consumer has no metrics any more.
    env.run(&["export", "delta", "--consumer", "lake"]).success();
    assert!(get(&metrics, "/metrics").1.contains("consumer=\"lake\""));
    env.run(&["export", "forget", "--consumer", "lake"]).success();
    assert!(!get(&metrics, "/metrics").1.contains("consumer=\"lake\""));
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_complete_runs_are_a_success_and_every_response_is_counted() {
    let simulator = serve(250).await;
    let metrics = free_address();
    let env = TestEnv::for_server(
        &simulator.url(),
        &format!("{EVERY_200_MS}\n[metrics]\nlisten = \"{metrics}\"\n"),
    );
    let settings = fs::read_to_string(env.path("agent.toml")).unwrap();
    fs::write(env.path("agent.toml"), settings.replace("max_retries = 0", "max_retries = 1")).unwrap();
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");
    simulator.with(|server| server.inject(ServerFault::parse("list:status=503").unwrap()));
    daemon.logged("run incomplete: request for the ticket list failed (status 503");
    let (_, before) = get(&metrics, "/metrics");
    daemon.logged("4 runs in a row");
    daemon.notified("STATUS=request for the ticket list failed (status 503");
    let (_, after) = get(&metrics, "/metrics");
    let success = "halosync_last_success_timestamp_seconds";
    assert!(
        (metric(&before, success) - metric(&after, success)).abs() < f64::EPSILON,
        "the time of the last success changed"
    );
    assert!(4.0 <= metric(&after, "halosync_consecutive_failures"));
    assert!(4.0 <= metric(&after, "halosync_runs_total{outcome=\"failed\"}"));
    assert!(8.0 <= metric(&after, "halosync_requests_total{status=\"503\"}"));
    assert!(4.0 <= metric(&after, "halosync_retries_total"));
    assert!(
        metric(&before, "halosync_watermark_lag_seconds") < metric(&after, "halosync_watermark_lag_seconds")
    );

    simulator.with(|server| {
        server.clear_faults();
        server.inject(ServerFault::parse("list@x1:throttle=1").unwrap());
    });
    daemon.logged("pausing all requests for 1 s");
    daemon.logged("recovered after");
    let (_, text) = get(&metrics, "/metrics");
    assert!((metric(&text, "halosync_requests_total{status=\"429\"}") - 1.0).abs() < f64::EPSILON);
    assert!((metric(&text, "halosync_rate_limited_seconds_total") - 1.0).abs() < f64::EPSILON);
    assert!(metric(&after, success) < metric(&text, success));

    // A request without a response has no status; an incomplete run is not a success either.
    simulator.with(|server| server.inject(ServerFault::parse("list@x2:reset").unwrap()));
    daemon.logged("run incomplete: cannot reach");
    daemon.logged("recovered after");
    let (_, text) = get(&metrics, "/metrics");
    assert!((metric(&text, "halosync_requests_total{status=\"none\"}") - 2.0).abs() < f64::EPSILON);
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readyz_is_200_only_while_the_last_complete_run_is_recent() {
    let metrics = free_address();
    let server = free_address();
    let env = TestEnv::for_server(
        &format!("http://{server}"),
        &format!("{EVERY_200_MS}\n[metrics]\nlisten = \"{metrics}\"\n"),
    );
    let mut daemon = Daemon::start(&env);
    daemon.logged("run incomplete");
    let (status, text) = get(&metrics, "/readyz");
    assert_eq!(
        (status, text.as_str()),
        (503, "{\"ready\":false,\"why\":\"the initial load has not completed\"}\n")
    );
    assert_eq!(get(&metrics, "/healthz").0, 200, "an outage of the server is not a fault of the service");

    let listen = server.parse().unwrap();
    let settings = SimulatorSettings { listen, ..super::settings(250) };
    let simulator = Simulator::start(settings).await.unwrap();
    daemon.logged("recovered after");
    let (status, text) = get(&metrics, "/readyz");
    assert_eq!(status, 200, "{text}");
    assert!(text.starts_with("{\"covered_until\":\"20"), "{text}");

    simulator.stop().await;
    daemon.logged("8 runs in a row");
    let (status, text) = get(&metrics, "/readyz");
    assert_eq!(status, 503);
    assert!(text.contains("the last complete run ended at 20"), "{text}");
    assert_eq!(get(&metrics, "/").0, 404);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_in_the_alert_rules_is_exported() {
    let simulator = serve(250).await;
    let metrics = free_address();
    let lake = tempfile::tempdir().unwrap();
    let settings = format!(
        "{EVERY_HOUR}\n[metrics]\nlisten = \"{metrics}\"\n\n[lake]\nurl = \"file://{}\"\nserver = \"acme\"\n",
        lake.path().display()
    );
    let env = TestEnv::for_server(&simulator.url(), &settings);
    let mut daemon = Daemon::start(&env);
    daemon.notified("STATUS=250 tickets");
    daemon.logged("shipped 1 package to the lake");
    let (_, text) = get(&metrics, "/metrics");
    assert!(text.contains("halosync_lake_shipped_seq 250\n"), "{text}");
    assert!(lake.path().join("epochs/server=acme/000001.json").exists());
    let rules = fs::read_to_string("packaging/prometheus/halosync.rules.yml").unwrap();
    let in_name = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let metrics_in_rules: std::collections::BTreeSet<_> =
        rules.split(|it| !in_name(it)).filter(|word| word.starts_with("halosync_")).collect();
    assert!(12 <= metrics_in_rules.len(), "{metrics_in_rules:?}");
    for name in metrics_in_rules {
        assert!(
            text.contains(&format!("# TYPE {name} "))
                || name == "halosync_database_ok"
                || name.starts_with("halosync_export"),
            "{name} in\n{text}"
        );
    }
    assert_eq!(daemon.stop(), Some(0));
}

/// The cause comes first, not the age of the data that follows from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readyz_is_503_and_names_the_delete_guard_while_it_holds() {
    let metrics = free_address();
    let simulator = serve(250).await;
    let env =
        TestEnv::for_server(&simulator.url(), &format!("{EVERY_HOUR}\n[metrics]\nlisten = \"{metrics}\"\n"));
    env.run(&["sync"]).success();
    simulator.with(|server| {
        let ids = server.ids();
        ids[..100].iter().for_each(|id| server.delete(*id, Utc::now()));
    });
    env.run(&["sync", "--full"]).code(3);
    let mut daemon = Daemon::start(&env);
    daemon.logged("run incomplete");
    let (status, text) = get(&metrics, "/readyz");
    let why = "100 tickets would be deleted at once; the delete guard allows 20";
    assert_eq!((status, text), (503, format!("{{\"ready\":false,\"why\":\"{why}\"}}\n")));
    let (_, text) = get(&metrics, "/metrics");
    assert!(text.contains("\nhalosync_healthy 0\n"), "{text}");

    assert_eq!(daemon.stop(), Some(0));
    env.run(&["sync", "--full", "--accept-deletes"]).success();
    let mut daemon = Daemon::start(&env);
    daemon.notified("STATUS=150 tickets");
    assert_eq!(get(&metrics, "/readyz").0, 200);
    assert_eq!(daemon.stop(), Some(0));
}
