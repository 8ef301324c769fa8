//! SIGHUP: settings and secrets that change while the service runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use halo_simulator::{Simulator, SimulatorSettings};
use rustix::process::Signal;

use super::daemon::{Daemon, free_address};
use super::life::{EVERY_200_MS, EVERY_HOUR};
use super::support::test_env::TestEnv;
use super::{serve, settings};

/// Replaces a text in the settings file.
fn change(env: &TestEnv<()>, from: &str, to: &str) {
    let path = env.path("agent.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} in\n{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

/// Sends SIGHUP; systemd must be notified of the reload with its time, and of its end.
fn reload(daemon: &mut Daemon) {
    daemon.signal(Signal::HUP);
    daemon.notified("RELOADING=1");
    let time: u64 = daemon.notified("MONOTONIC_USEC=").parse().unwrap();
    assert_ne!(time, 0);
    daemon.notified("READY=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_applies_valid_settings_and_rejects_invalid_ones() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), &format!("{EVERY_HOUR}\n[log]\nlevel = \"info\"\n"));
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");

    for (from, to, message) in [
        ("interval = \"1h\"", "interval = \"soon\"", "`sync.interval` must be a duration"),
        ("interval = \"soon\"", "intervall = \"1h\"", "did you mean `interval`?"),
        (
            "intervall = \"1h\"",
            "interval = \"1h\"\n[store]\npath = \"other.db\"",
            "`store.path` cannot change",
        ),
        (
            "\n[store]\npath = \"other.db\"",
            "\n[metrics]\nlisten = \"127.0.0.1:1\"",
            "`metrics.listen` cannot",
        ),
        ("\n[metrics]\nlisten = \"127.0.0.1:1\"", "\n[log]\nformat = \"json\"", ""),
        ("\n[log]\nformat = \"json\"", "", "settings reloaded"),
    ] {
        change(&env, from, to);
        reload(&mut daemon);
        let line = daemon.logged(if message.is_empty() { "rejected" } else { message });
        assert_eq!(line.contains(" ERROR "), !message.starts_with("settings reloaded"), "{line}");
    }
    change(&env, &simulator.url(), "http://127.0.0.1:9");
    reload(&mut daemon);
    daemon.logged("the database is a copy of");
    change(&env, "http://127.0.0.1:9", &simulator.url());
    let secret = env.path("client-secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    reload(&mut daemon);
    daemon.logged("the client secret can be read by others");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    daemon.sync_now();

    // A shorter interval, so the next run is not an hour away, and a level that logs requests.
    change(&env, "interval = \"1h\"", "interval = \"100ms\"");
    change(&env, "level = \"info\"", "level = \"debug\"");
    reload(&mut daemon);
    daemon.logged("settings reloaded");
    let request = daemon.logged("response received request=");
    assert!(request.contains("path=\"/auth/token\"") && request.contains("status=200"), "{request}");
    let request = daemon.logged("path=\"/api/tickets\"");
    for part in ["request=", "what=\"the ticket list\"", "page=\"1\"", "status=200", "ms="] {
        assert!(request.contains(part), "no {part} in {request}");
    }
    daemon.logged("complete: incremental scan");
    daemon.logged("complete: incremental scan");
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_rejected_by_the_server_are_replaced_by_the_previous_ones() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), EVERY_HOUR);
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");
    change(&env, "max_retries = 0", "max_retries = 0\nticket_type = \"Incidnet\"");
    reload(&mut daemon);
    daemon.logged("settings reloaded");
    daemon.signal(Signal::USR1);
    daemon.logged("new settings rejected, the previous ones stay in effect: the server has no ticket type");
    daemon.logged("complete: incremental scan");
    change(&env, "Incidnet", "Incident");
    reload(&mut daemon);
    daemon.signal(Signal::USR1);
    daemon.logged("complete: full scan");
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_during_a_run_takes_effect_after_the_run() {
    let simulator = serve(2_000).await;
    simulator.with(|server| server.knobs().latency_ms = 60);
    let env = TestEnv::for_server(&simulator.url(), EVERY_HOUR);
    let mut daemon = Daemon::start_with_every_run_logged(&env);
    daemon.notified("STATUS=asking for changes");
    change(&env, "interval = \"1h\"", "interval = \"100ms\"");
    reload(&mut daemon);
    daemon.logged("complete: full scan, 2,000 rows");
    daemon.logged("complete: incremental scan");
    daemon.logged("complete: incremental scan");
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_client_secret_is_used_without_a_reload() {
    let address = free_address();
    let at = |settings: SimulatorSettings| SimulatorSettings { listen: address.parse().unwrap(), ..settings };
    let simulator = Simulator::start(at(settings(250))).await.unwrap();
    let env = TestEnv::for_server(&simulator.url(), EVERY_200_MS);
    let mut daemon = Daemon::start_with_every_run_logged(&env);
    daemon.logged("complete: full scan");
    simulator.stop().await;
    fs::write(env.path("client-secret"), "another-secret\n").unwrap();
    let changed = SimulatorSettings { client_secret: "another-secret".into(), ..settings(250) };
    let _simulator = Simulator::start(at(changed)).await.unwrap();
    daemon.logged("the client secret has changed: using the new one");
    daemon.logged("complete: incremental scan");
    assert_eq!(daemon.stop(), Some(0));
}
