//! SIGHUP: settings and secrets that change while the service runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use halo_simulator::{Simulator, SimulatorSettings};
use rustix::process::Signal;

use super::daemon::{Daemon, free_address};
use super::life::{QUICK, RARE};
use super::support::test_env::TestEnv;
use super::{serve, settings};

/// Changes the settings file.
fn change(env: &TestEnv<()>, from: &str, to: &str) {
    let path = env.path("agent.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} in\n{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

/// SIGHUP; systemd is told of a reload with its moment, and that it is over.
fn reload(daemon: &mut Daemon) {
    daemon.signal(Signal::HUP);
    daemon.told("RELOADING=1");
    let moment: u64 = daemon.told("MONOTONIC_USEC=").parse().unwrap();
    assert_ne!(moment, 0);
    daemon.told("READY=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_settings_come_into_force_and_bad_ones_leave_the_old_ones_there() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), &format!("{RARE}\n[log]\nlevel = \"info\"\n"));
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");

    for (from, to, says) in [
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
        let line = daemon.logged(if says.is_empty() { "rejected" } else { says });
        assert_eq!(line.contains(" ERROR "), !says.starts_with("settings reloaded"), "{line}");
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

    // An interval that would not have come for an hour, and a level that shows requests.
    change(&env, "interval = \"1h\"", "interval = \"100ms\"");
    change(&env, "level = \"info\"", "level = \"debug\"");
    reload(&mut daemon);
    daemon.logged("settings reloaded");
    let request = daemon.logged("answered request=");
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
async fn what_only_the_server_can_refuse_has_the_settings_before_put_back() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), RARE);
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
async fn settings_that_come_in_the_middle_of_a_pass_wait_for_its_end() {
    let simulator = serve(2_000).await;
    simulator.with(|server| server.knobs().latency_ms = 60);
    let env = TestEnv::for_server(&simulator.url(), RARE);
    let mut daemon = Daemon::start(&env);
    daemon.told("STATUS=asking for changes");
    change(&env, "interval = \"1h\"", "interval = \"100ms\"");
    reload(&mut daemon);
    daemon.logged("complete: full scan, 2000 rows");
    daemon.logged("complete: incremental scan");
    daemon.logged("complete: incremental scan");
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_was_changed_where_it_is_kept_is_found_without_being_told() {
    let address = free_address();
    let at = |settings: SimulatorSettings| SimulatorSettings { listen: address.parse().unwrap(), ..settings };
    let simulator = Simulator::start(at(settings(250))).await.unwrap();
    let env = TestEnv::for_server(&simulator.url(), QUICK);
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");
    simulator.stop().await;
    fs::write(env.path("client-secret"), "another-secret\n").unwrap();
    let changed = SimulatorSettings { client_secret: "another-secret".into(), ..settings(250) };
    let _simulator = Simulator::start(at(changed)).await.unwrap();
    daemon.logged("the client secret has changed: using the new one");
    daemon.logged("complete: incremental scan");
    assert_eq!(daemon.stop(), Some(0));
}
