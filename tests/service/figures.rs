//! Metrics, health and readiness, as those who watch read them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use chrono::Utc;
use halo_simulator::{ServerFault, Simulator, SimulatorSettings};
use rustix::process::Signal;

use super::daemon::{Daemon, free_address, get, metric, program};
use super::life::{QUICK, RARE};
use super::serve;
use super::support::test_env::TestEnv;

/// What `promtool check metrics` has against a text; nothing where it is not installed.
fn lint(text: &str) -> String {
    let Some(promtool) = program("promtool") else {
        eprintln!("SKIPPED: promtool is not installed");
        return String::new();
    };
    let mut lint = Command::new(promtool);
    lint.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut lint = lint.spawn().unwrap();
    lint.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = lint.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() || !told.is_empty(), "promtool failed without a word");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_follow_what_happens_and_are_clean_for_prometheus() {
    let simulator = serve(250).await;
    let (metrics, textfile) = (free_address(), "figures/halosync.prom");
    let more = format!(
        "{RARE}\n[metrics]\nlisten = \"{metrics}\"\ntextfile = \"{textfile}\"\n\n[export]\nschedule = \"after-sync\"\n"
    );
    let env = TestEnv::for_server(&simulator.url(), &more);
    fs::create_dir(env.path("figures")).unwrap();
    let mut daemon = Daemon::start(&env);
    daemon.told("STATUS=250 tickets");
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

    // What the collector reads from the folder is the same, is for everybody, and is whole.
    let file = env.path(textfile);
    let until = std::time::Instant::now() + super::daemon::PATIENCE;
    while !file.exists() {
        assert!(std::time::Instant::now() < until, "no figures were written\n{}", daemon.story());
        std::thread::yield_now();
    }
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(lint(&written), "");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    assert!((metric(&written, "halosync_tickets") - 250.0).abs() < f64::EPSILON);
    assert_eq!(fs::read_dir(env.path("figures")).unwrap().count(), 1, "a draft was left behind");

    // A consumer who is forgotten leaves no figure behind.
    env.run(&["export", "delta", "--consumer", "lake"]).success();
    assert!(get(&metrics, "/metrics").1.contains("consumer=\"lake\""));
    env.run(&["export", "forget", "--consumer", "lake"]).success();
    assert!(!get(&metrics, "/metrics").1.contains("consumer=\"lake\""));
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_complete_pass_is_a_success_and_every_answer_is_counted() {
    let simulator = serve(250).await;
    let metrics = free_address();
    let env = TestEnv::for_server(&simulator.url(), &format!("{QUICK}\n[metrics]\nlisten = \"{metrics}\"\n"));
    let agent_text = fs::read_to_string(env.path("agent.toml")).unwrap();
    fs::write(env.path("agent.toml"), agent_text.replace("max_retries = 0", "max_retries = 1")).unwrap();
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");
    simulator.with(|server| server.inject(ServerFault::parse("list:status=503").unwrap()));
    daemon.logged("run incomplete: the server answers 503");
    let (_, before) = get(&metrics, "/metrics");
    daemon.logged("4 runs in a row");
    daemon.told("STATUS=the server answers 503");
    let (_, after) = get(&metrics, "/metrics");
    let success = "halosync_last_success_timestamp_seconds";
    assert!((metric(&before, success) - metric(&after, success)).abs() < f64::EPSILON, "it moved");
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

    // Without an answer there is no status; a pass that is not complete is no success either.
    simulator.with(|server| server.inject(ServerFault::parse("list@x2:reset").unwrap()));
    daemon.logged("run incomplete: cannot reach");
    daemon.logged("recovered after");
    let (_, text) = get(&metrics, "/metrics");
    assert!((metric(&text, "halosync_requests_total{status=\"none\"}") - 2.0).abs() < f64::EPSILON);
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_ready_when_it_was_complete_a_short_while_ago() {
    let metrics = free_address();
    let server = free_address();
    let env = TestEnv::for_server(
        &format!("http://{server}"),
        &format!("{QUICK}\n[metrics]\nlisten = \"{metrics}\"\n"),
    );
    let mut daemon = Daemon::start(&env);
    daemon.logged("run incomplete");
    let (status, text) = get(&metrics, "/readyz");
    assert_eq!(
        (status, text.as_str()),
        (503, "{\"ready\":false,\"why\":\"the initial load has not completed\"}\n")
    );
    assert_eq!(get(&metrics, "/healthz").0, 200, "an outage of the server is none of the service");

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
    assert_eq!(daemon.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_figure_that_an_alert_asks_for_is_exposed() {
    let simulator = serve(250).await;
    let metrics = free_address();
    let env = TestEnv::for_server(&simulator.url(), &format!("{RARE}\n[metrics]\nlisten = \"{metrics}\"\n"));
    let mut daemon = Daemon::start(&env);
    daemon.told("STATUS=250 tickets");
    let (_, text) = get(&metrics, "/metrics");
    let rules = fs::read_to_string("packaging/prometheus/halosync.rules.yml").unwrap();
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let asked: std::collections::BTreeSet<_> =
        rules.split(|it| !is_part(it)).filter(|word| word.starts_with("halosync_")).collect();
    assert!(12 <= asked.len(), "{asked:?}");
    for name in asked {
        assert!(
            text.contains(&format!("# TYPE {name} "))
                || name == "halosync_database_ok"
                || name.starts_with("halosync_export"),
            "{name} in\n{text}"
        );
    }
    assert_eq!(daemon.stop(), Some(0));
}
