//! From its start to its end: what the service does by itself, what it survives, and what ends it.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use chrono::Utc;
use halo_simulator::{Application, Simulator, SimulatorSettings};
use rustix::process::Signal;

use super::daemon::{Daemon, free_address, get};
use super::support::test_env::TestEnv;
use super::{serve, settings};

/// Short intervals, so that something happens, and no limit that would hold a test up.
pub(crate) const QUICK: &str =
    "rate_limit = \"100000/1s\"\nmax_retries = 0\n\n[sync]\ninterval = \"200ms\"\n";

/// No pass by itself after the first one.
pub(crate) const RARE: &str = "rate_limit = \"100000/1s\"\nmax_retries = 0\n\n[sync]\ninterval = \"1h\"\n";

async fn serve_at(address: &str, settings: SimulatorSettings) -> Simulator {
    let listen: SocketAddr = address.parse().unwrap();
    Simulator::start(SimulatorSettings { listen, ..settings }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_arrive_packages_are_made_and_others_work_beside_it() {
    let simulator = serve(300).await;
    let env =
        TestEnv::for_server(&simulator.url(), &format!("{QUICK}\n[export]\nschedule = \"after-sync\"\n"));
    let mut daemon = Daemon::start(&env);
    daemon.told("READY=1");
    daemon.logged("complete: full scan, 300 rows, 300 created");
    daemon.logged("exported for default: changes 0 to 300, 300 rows");
    daemon.told("STATUS=300 tickets, complete until ");

    simulator.with(|server| server.edit_some(7, Utc::now()));
    let line = daemon.logged("7 updated");
    assert!(line.contains("complete: incremental scan"), "{line}");
    daemon.logged("exported for default: changes 300 to 307, 7 rows");
    assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'u'"), 7);

    let second = env.run(&["run"]).code(75);
    let error = second.stderr;
    assert!(error.contains(&format!("another halosync (pid {}) is at work", daemon.pid())), "{error}");
    env.run(&["sync"]).code(75);
    env.run(&["export", "delta", "--consumer", "lake"]).success();
    env.run(&["export", "verify", "export", "--expect-to", "307"]).success();
    env.run(&["status", "--max-age", "1m"]).success();

    assert_eq!(daemon.stop(), Some(0), "{}", daemon.story());
    daemon.told("STOPPING=1");
    assert_eq!(daemon.lines_with(" WARN "), 0, "{}", daemon.story());
    // Readers who may not write need the files beside the database; the log is in it.
    assert_eq!(fs::metadata(env.path("halosync.db-wal")).unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_before_the_server_is_and_tells_an_outage_once_and_its_end() {
    let address = free_address();
    let env = TestEnv::for_server(&format!("http://{address}"), QUICK);
    let mut daemon = Daemon::start(&env);
    daemon.told("READY=1");
    let line = daemon.logged("run incomplete: cannot reach");
    assert!(line.contains(" WARN ") && line.contains(&address), "{line}");
    daemon.told("STATUS=cannot reach");
    daemon.logged("4 runs in a row were incomplete: cannot reach");
    assert_eq!(daemon.lines_with(" WARN "), 2, "{}", daemon.story());

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_no_reason_for_a_full_walk_and_an_hour_is_not_waited_for_a_wish() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), RARE);
    for _ in 0..3 {
        let mut daemon = Daemon::start(&env);
        daemon.logged("complete: ");
        daemon.sync_now();
        assert_eq!(daemon.stop(), Some(0), "{}", daemon.story());
    }
    assert_eq!(env.number("SELECT COUNT(*) FROM scans WHERE kind = 'full'"), 1);
    assert_eq!(env.number("SELECT COUNT(*) FROM scans WHERE kind = 'incremental'"), 5);
    // Each pass writes down its own requests: one quiet walk is one request, and a start is a token more.
    let requests = env.number("SELECT requests FROM runs ORDER BY run_id DESC LIMIT 1");
    assert_eq!(requests, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_refused_ends_it_at_the_start_and_is_an_outage_later() {
    let mut other = settings(250);
    other.knobs.set("application=other").unwrap();
    let simulator = Simulator::start(other).await.unwrap();
    let env = TestEnv::for_server(&simulator.url(), QUICK);
    let mut daemon = Daemon::start(&env);
    daemon.told("READY=1");
    assert_eq!(daemon.ended().code(), Some(77));
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
    // 403 for every ticket: the permissions of the client, and an outage as well.
    simulator.with(|server| {
        server.knobs().application = Application::User;
        server.revoke_tokens();
    });
    daemon.logged("request for the ticket list was refused (status 403)");
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_no_server_agrees_with_end_it_with_78() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), &format!("ticket_type = \"Incidnet\"\n{QUICK}"));
    let mut daemon = Daemon::start(&env);
    daemon.told("READY=1");
    assert_eq!(daemon.ended().code(), Some(78));
    daemon.logged("help: ticket_type can be any of");
}

#[test]
fn settings_that_cannot_be_used_end_it_before_it_is_ready() {
    let env = TestEnv::for_server("http://127.0.0.1:1", "[metrics]\nlisten = \"9187\"\n");
    let mut daemon = Daemon::start(&env);
    assert_eq!(daemon.ended().code(), Some(78));
    daemon.logged("`metrics.listen` must be an address with a port");
    assert!(!daemon.hears("READY=1", Duration::ZERO));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let env = TestEnv::for_server("http://127.0.0.1:1", &format!("[metrics]\nlisten = \"{address}\"\n"));
    let mut daemon = Daemon::start(&env);
    assert_eq!(daemon.ended().code(), Some(75), "{}", daemon.story());
    assert!(!env.path("halosync.db").exists(), "a database was made all the same");
}

/// Whatever it is doing. The moments are drawn from a seed; what is done at them differs from machine to machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_any_moment_sigterm_ends_it_with_0_and_leaves_a_sound_copy() {
    let seed = std::env::var("HALOSYNC_TERMS_SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(7);
    let rounds = std::env::var("HALOSYNC_TERMS").ok().and_then(|it| it.parse().ok()).unwrap_or(15);
    let mut random = fastrand::Rng::with_seed(seed);
    let simulator = serve(2_000).await;
    simulator.with(|server| server.knobs().latency_ms = 5);
    let env =
        TestEnv::for_server(&simulator.url(), &format!("{QUICK}\n[export]\nschedule = \"after-sync\"\n"));
    for round in 0..rounds {
        let what = format!("seed {seed}, round {round}");
        simulator.with(|server| server.edit_some(200, Utc::now()));
        let mut daemon = Daemon::start(&env);
        daemon.told("READY=1");
        daemon.hears("nothing of the kind", Duration::from_millis(random.u64(0..250)));
        assert_eq!(daemon.stop(), Some(0), "{what}\n{}", daemon.story());
        let sound: String = env.value("PRAGMA integrity_check");
        assert_eq!(sound, "ok", "{what}");
    }
    env.run(&["sync", "--full"]).success();
    assert_eq!(env.number("SELECT COUNT(*) FROM tickets"), 2_000);
    env.run(&["export", "verify", "export"]).success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_signals_is_weathered_and_being_told_twice_to_end_is_the_same_as_once() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), RARE);
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
    assert_eq!(daemon.lines_with(" WARN ") + daemon.lines_with(" ERROR "), 0, "{}", daemon.story());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_from_the_keyboard_ends_it_with_130() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), QUICK);
    let mut daemon = Daemon::start(&env);
    daemon.logged("complete:");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.ended().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_any_more_stops_nothing() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), QUICK);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut daemon = Daemon::start_with(&env, &[], |command| {
        command.stderr(Stdio::from(writer));
    });
    drop(reader);
    daemon.told("READY=1");
    daemon.told("STATUS=250 tickets");
    simulator.with(|server| server.edit_some(3, Utc::now()));
    daemon.told("STATUS=asking for changes");
    daemon.told("STATUS=asking for changes");
    daemon.told("STATUS=250 tickets");
    assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'u'"), 3);
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_taken_away_is_noticed_and_filled_anew() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), RARE);
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
async fn damage_is_found_by_looking_through_the_database_and_a_backup_ends_it() {
    let simulator = serve(250).await;
    let metrics = free_address();
    let env = TestEnv::for_server(&simulator.url(), &format!("{RARE}\n[metrics]\nlisten = \"{metrics}\"\n"));
    env.run(&["sync"]).success();
    let path = env.path("halosync.db");
    let sound = fs::read(&path).unwrap();
    env.database().damage("rejects_by_ticket");

    let mut daemon = Daemon::start(&env);
    let line = daemon.logged("integrity check failed");
    assert!(line.contains(" ERROR ") && line.contains("is damaged") && line.contains("backup"), "{line}");
    daemon.told("STATUS=250 tickets");
    let text = get(&metrics, "/metrics").1;
    assert!(text.contains("\nhalosync_database_ok 0\n") && text.contains("\nhalosync_healthy 0\n"), "{text}");
    assert_eq!(get(&metrics, "/readyz").0, 503);

    fs::write(env.path("backup"), sound).unwrap();
    fs::rename(env.path("backup"), &path).unwrap();
    for beside in ["halosync.db-wal", "halosync.db-shm"] {
        fs::remove_file(env.path(beside)).unwrap();
    }
    daemon.sync_now();
    daemon.told("STATUS=250 tickets");
    assert!(get(&metrics, "/metrics").1.contains("\nhalosync_database_ok 1\n"));
    assert_eq!(get(&metrics, "/readyz").0, 200);
    assert_eq!(daemon.stop(), Some(0));
}

/// A disk of its own for the database, which is full before the copy is complete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_it_stays_and_goes_on_when_there_is_room() {
    let simulator = serve(3_000).await;
    let env =
        TestEnv::for_server(&simulator.url(), &format!("{QUICK}\n[store]\npath = \"disk/halosync.db\"\n"));
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
    daemon.logged("run incomplete: the disk is full");
    daemon.told("STATUS=the disk is full");
    assert!(mount("remount,size=64m"));
    daemon.logged("recovered after");
    let database = rusqlite::Connection::open(disk.join("halosync.db")).unwrap();
    let tickets: i64 = database.query_row("SELECT COUNT(*) FROM tickets", [], |row| row.get(0)).unwrap();
    assert_eq!(tickets, 3_000);
    drop(database);
    assert_eq!(daemon.stop(), Some(0), "{}", daemon.story());
}

/// A disk, until it is dropped.
struct Mounted<'d>(&'d std::path::Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}
