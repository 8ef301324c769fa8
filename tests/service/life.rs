//! The life of the service from start to exit: scheduled runs, outages, signals, and the faults that end it.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chrono::Utc;
use halo_simulator::{Application, ServerFault, Simulator, SimulatorSettings};
use rstest::rstest;
use rustix::process::Signal;

use super::daemon::{Daemon, free_address, get};
use super::support::env_number;
use super::support::test_env::TestEnv;
use super::{serve, settings};

/// A short interval, and a rate limit that does not slow a test down.
pub(crate) const EVERY_200_MS: &str =
    "rate_limit = \"100000/1s\"\nmax_retries = 0\n\n[sync]\ninterval = \"200ms\"\n";

/// No scheduled run after the first one.
pub(crate) const EVERY_HOUR: &str =
    "rate_limit = \"100000/1s\"\nmax_retries = 0\n\n[sync]\ninterval = \"1h\"\n";

async fn serve_at(address: &str, settings: SimulatorSettings) -> Simulator {
    let listen: SocketAddr = address.parse().unwrap();
    Simulator::start(SimulatorSettings { listen, ..settings }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_are_synced_and_exported_while_other_commands_run() {
    let simulator = serve(300).await;
    let env = TestEnv::for_server(
        &simulator.url(),
        &format!("{EVERY_200_MS}\n[export]\nschedule = \"after-sync\"\n"),
    );
    let mut daemon = Daemon::start(&env);
    daemon.notified("READY=1");
    daemon.logged("complete: full scan, 300 rows, 300 created");
    daemon.logged("exported for default: changes 0 to 300, 300 rows");
    daemon.notified("STATUS=300 tickets, complete until ");

    simulator.with(|server| server.edit_some(7, Utc::now()));
    let line = daemon.logged("7 updated");
    assert!(line.contains("complete: incremental scan"), "{line}");
    daemon.logged("exported for default: changes 300 to 307, 7 rows");
    assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'u'"), 7);

    let second = env.run(&["run"]).code(75);
    let error = second.stderr;
    assert!(error.contains(&format!("another halosync (pid {}) is using", daemon.pid())), "{error}");
    env.run(&["sync"]).code(75);
    env.run(&["export", "delta", "--consumer", "lake"]).success();
    env.run(&["export", "verify", "export", "--expect-to", "307"]).success();
    env.run(&["status", "--max-age", "1m"]).success();

    assert_eq!(daemon.stop(), Some(0), "{}", daemon.transcript());
    daemon.notified("STOPPING=1");
    assert_eq!(daemon.count_lines(" WARN "), 0, "{}", daemon.transcript());
    // Readers without write access need the WAL file to exist; its content is in the database by now.
    assert_eq!(fs::metadata(env.path("halosync.db-wal")).unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_starts_without_the_server_and_logs_outage_and_recovery() {
    let address = free_address();
    let env = TestEnv::for_server(&format!("http://{address}"), EVERY_200_MS);
    let mut daemon = Daemon::start_with_every_run_logged(&env);
    daemon.notified("READY=1");
    let line = daemon.logged("run incomplete: cannot reach");
    assert!(line.contains(" WARN ") && line.contains(&address), "{line}");
    daemon.notified("STATUS=cannot reach");
    daemon.logged("4 runs in a row were incomplete: cannot reach");
    assert_eq!(daemon.count_lines(" WARN "), 2, "{}", daemon.transcript());

    let simulator = serve_at(&address, settings(250)).await;
    daemon.logged("complete: full scan, 250 rows");
    let recovered = daemon.logged("recovered after ");
    let failures: u32 = recovered.split(' ').rev().nth(1).unwrap().parse().unwrap();
    assert!(4 <= failures, "{recovered}");

    simulator.stop().await;
    daemon.logged("run incomplete: cannot reach");
    let simulator = serve_at(&address, settings(250)).await;
    daemon.logged("recovered after ");
    simulator.with(|server| server.revoke_tokens());
    daemon.logged("complete: incremental scan");
    assert_eq!(daemon.stop(), Some(0));
}

/// The service is stopped in the middle of its initial load.
#[rstest]
#[case::sigterm(Signal::TERM, 0)]
#[case::sigint(Signal::INT, 130)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_service_counts_every_ticket_that_its_run_created(
    #[case] signal: Signal,
    #[case] status: i32,
) {
    let simulator = serve(2_500).await;
    let stuck = ServerFault::parse("list@18:delay=600000").unwrap();
    simulator.with(|server| server.inject(stuck));
    let env = TestEnv::for_server(&simulator.url(), EVERY_HOUR);
    let mut daemon = Daemon::start(&env);
    daemon.notified("READY=1");
    let committed = || env.try_value::<i64>("SELECT COUNT(*) FROM tickets").is_some_and(|rows| 0 < rows);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !(committed() && 18 <= simulator.with(|server| server.log().list_count())) {
        assert!(Instant::now() < deadline, "{}", daemon.transcript());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    daemon.signal(signal);
    assert_eq!(daemon.wait_for_exit().code(), Some(status), "{}", daemon.transcript());
    let tickets = env.number("SELECT COUNT(*) FROM tickets");
    assert_eq!(env.number("SELECT SUM(created) FROM runs"), tickets);
    assert_eq!(env.number("SELECT SUM(received) FROM runs"), tickets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_needs_no_full_scan_and_sigusr1_does_not_wait_for_the_interval() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), EVERY_HOUR);
    for _ in 0..3 {
        let mut daemon = Daemon::start(&env);
        daemon.logged("complete: ");
        daemon.sync_now();
        assert_eq!(daemon.stop(), Some(0), "{}", daemon.transcript());
    }
    assert_eq!(env.number("SELECT COUNT(*) FROM scans WHERE kind = 'full'"), 1);
    assert_eq!(env.number("SELECT COUNT(*) FROM scans WHERE kind = 'incremental'"), 5);
    // Each run records its own requests: one for an incremental scan without changes, and one more for a token after
    // a start.
    let requests = env.number("SELECT requests FROM runs ORDER BY run_id DESC LIMIT 1");
    assert_eq!(requests, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_client_ends_the_service_at_startup_and_is_an_outage_later() {
    let mut other = settings(250);
    other.knobs.set("application=other").unwrap();
    let simulator = Simulator::start(other).await.unwrap();
    let env = TestEnv::for_server(&simulator.url(), EVERY_200_MS);
    let mut daemon = Daemon::start(&env);
    daemon.notified("READY=1");
    assert_eq!(daemon.wait_for_exit().code(), Some(77));
    daemon.logged("error: the authorization server refused client fixture-client (unauthorized_client)");

    simulator.with(|server| server.knobs().application = Application::Service);
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");
    simulator.with(|server| {
        server.knobs().application = Application::Other;
        server.revoke_tokens();
    });
    daemon.logged("run incomplete: the authorization server refused client");
    simulator.with(|server| server.knobs().application = Application::Service);
    daemon.logged("recovered after");
    // The client lacks permissions, so every ticket request is a 403; that is an outage as well.
    simulator.with(|server| {
        server.knobs().application = Application::User;
        server.revoke_tokens();
    });
    daemon.logged("request for the ticket list was refused (status 403)");
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_ticket_type_ends_the_service_with_78() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), &format!("ticket_type = \"Incidnet\"\n{EVERY_200_MS}"));
    let mut daemon = Daemon::start(&env);
    daemon.notified("READY=1");
    assert_eq!(daemon.wait_for_exit().code(), Some(78));
    daemon.logged("help: ticket_type can be any of");
}

#[test]
fn invalid_settings_end_the_service_before_it_is_ready() {
    let env = TestEnv::for_server("http://127.0.0.1:1", "[metrics]\nlisten = \"9187\"\n");
    let mut daemon = Daemon::start(&env);
    assert_eq!(daemon.wait_for_exit().code(), Some(78));
    daemon.logged("`metrics.listen` must be an address with a port");
    assert!(!daemon.notified_within("READY=1", Duration::ZERO));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let env = TestEnv::for_server("http://127.0.0.1:1", &format!("[metrics]\nlisten = \"{address}\"\n"));
    let mut daemon = Daemon::start(&env);
    assert_eq!(daemon.wait_for_exit().code(), Some(75), "{}", daemon.transcript());
    assert!(!env.path("halosync.db").exists(), "a database was created");
}

/// The delays are drawn from a seed; what the service is doing at that moment differs between machines.
/// `HALOSYNC_TERMS` sets the number of rounds, `HALOSYNC_TERMS_SEED` the seed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_at_any_moment_exits_0_and_leaves_an_intact_database() {
    let seed = env_number("HALOSYNC_TERMS_SEED").unwrap_or(7);
    let rounds = env_number("HALOSYNC_TERMS").unwrap_or(15);
    let mut random = fastrand::Rng::with_seed(seed);
    let simulator = serve(2_000).await;
    simulator.with(|server| server.knobs().latency_ms = 5);
    let env = TestEnv::for_server(
        &simulator.url(),
        &format!("{EVERY_200_MS}\n[export]\nschedule = \"after-sync\"\n"),
    );
    for round in 0..rounds {
        let context = format!("seed {seed}, round {round}");
        simulator.with(|server| server.edit_some(200, Utc::now()));
        let mut daemon = Daemon::start(&env);
        daemon.notified("READY=1");
        daemon.notified_within("never sent", Duration::from_millis(random.u64(0..250)));
        assert_eq!(daemon.stop(), Some(0), "{context}\n{}", daemon.transcript());
        let integrity: String = env.value("PRAGMA integrity_check");
        assert_eq!(integrity, "ok", "{context}");
    }
    env.run(&["sync", "--full"]).success();
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 2_000);
    env.run(&["export", "verify", "export"]).success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_signals_do_no_harm_and_a_second_sigterm_changes_nothing() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), EVERY_HOUR);
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");
    for _ in 0..200 {
        daemon.signal(Signal::HUP);
        daemon.signal(Signal::USR1);
        daemon.signal(Signal::PIPE);
    }
    daemon.logged("settings reloaded");
    simulator.with(|server| server.edit_some(3, Utc::now()));
    daemon.signal(Signal::USR1);
    daemon.logged("3 updated");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(daemon.count_lines(" WARN ") + daemon.count_lines(" ERROR "), 0, "{}", daemon.transcript());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_ends_the_service_with_130_and_without_an_error() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), EVERY_200_MS);
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete:");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait_for_exit().code(), Some(130));
    let transcript = daemon.transcript();
    assert!(transcript.contains(" stopped\n") && !transcript.contains("error:"), "{transcript}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_log_pipe_does_not_stop_the_service() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), EVERY_200_MS);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut daemon = Daemon::start_with(&env, &[], |command| {
        command.stderr(Stdio::from(writer));
    });
    drop(reader);
    daemon.notified("READY=1");
    daemon.notified("STATUS=250 tickets");
    simulator.with(|server| server.edit_some(3, Utc::now()));
    daemon.notified("STATUS=asking for changes");
    daemon.notified("STATUS=asking for changes");
    daemon.notified("STATUS=250 tickets");
    assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'u'"), 3);
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_database_is_noticed_and_loaded_again() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), EVERY_HOUR);
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete: full scan");
    for file in ["halosync.db", "halosync.db-wal", "halosync.db-shm"] {
        fs::rename(env.path(file), env.path(format!("aside-{file}"))).unwrap();
    }
    daemon.signal(Signal::USR1);
    daemon.logged("the database was moved, removed or replaced");
    daemon.logged("complete: full scan, 250 rows, 250 created");
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 250);
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn integrity_check_reports_damage_until_a_backup_is_restored() {
    let simulator = serve(250).await;
    let metrics = free_address();
    let env =
        TestEnv::for_server(&simulator.url(), &format!("{EVERY_HOUR}\n[metrics]\nlisten = \"{metrics}\"\n"));
    env.run(&["sync"]).success();
    let path = env.path("halosync.db");
    let intact = fs::read(&path).unwrap();
    env.damage("rejects_by_attribute");

    let mut daemon = Daemon::start(&env);
    let line = daemon.logged("integrity check failed");
    assert!(line.contains(" ERROR ") && line.contains("is damaged") && line.contains("backup"), "{line}");
    daemon.notified("STATUS=250 tickets");
    let text = get(&metrics, "/metrics").1;
    assert!(text.contains("\nhalosync_database_ok 0\n") && text.contains("\nhalosync_healthy 0\n"), "{text}");
    assert_eq!(get(&metrics, "/readyz").0, 503);

    fs::write(env.path("backup"), intact).unwrap();
    fs::rename(env.path("backup"), &path).unwrap();
    for file in ["halosync.db-wal", "halosync.db-shm"] {
        fs::remove_file(env.path(file)).unwrap();
    }
    daemon.sync_now();
    daemon.notified("STATUS=250 tickets");
    assert!(get(&metrics, "/metrics").1.contains("\nhalosync_database_ok 1\n"));
    assert_eq!(get(&metrics, "/readyz").0, 200);
    assert_eq!(daemon.stop(), Some(0));
}

/// The database is on a disk of its own, which is full before the initial load is complete, or has too little space left
/// to begin it.
#[rstest]
#[case::full("0", "the disk is full")]
#[case::nearly_full("8MB", "the disk of")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_is_an_outage_that_ends_when_space_is_freed(#[case] minimum: &str, #[case] cause: &str) {
    let simulator = serve(3_000).await;
    let env = TestEnv::for_server(
        &simulator.url(),
        &format!("{EVERY_200_MS}\n[store]\npath = \"disk/halosync.db\"\nmin_free_disk = \"{minimum}\"\n"),
    );
    let disk = env.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |options: &str| {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&disk).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    };
    if !mount("size=4m") {
        eprintln!("SKIPPED: a small disk cannot be mounted here");
        return;
    }
    let _mounted = Mounted(&disk);
    let mut daemon = Daemon::start(&env);
    daemon.logged(&format!("run incomplete: {cause}"));
    daemon.notified(&format!("STATUS={cause}"));
    assert!(mount("remount,size=64m"));
    daemon.logged("recovered after");
    let database = rusqlite::Connection::open(disk.join("halosync.db")).unwrap();
    let tickets: i64 = database.query_row("SELECT COUNT(*) FROM tickets", [], |row| row.get(0)).unwrap();
    assert_eq!(tickets, 3_000);
    drop(database);
    assert_eq!(daemon.stop(), Some(0), "{}", daemon.transcript());
}

/// A mounted disk; it is unmounted when this is dropped.
struct Mounted<'d>(&'d std::path::Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}
