//! The watchdog: a notification means that work makes progress, not only that a timer runs.

use std::time::Duration;

use halo_simulator::ServerFault;
use rustix::process::Signal;

use super::daemon::{Daemon, free_address, get};
use super::life::EVERY_HOUR;
use super::serve;
use super::support::test_env::TestEnv;

/// The watchdog timeout; the service checks four times in it.
const WATCHDOG: Duration = Duration::from_millis(400);

fn start(env: &TestEnv<()>) -> Daemon {
    Daemon::start_with(env, &[], |command| {
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stuck_writer_suspends_watchdog_notifications_until_it_continues() {
    let simulator = serve(250).await;
    let metrics = free_address();
    let more = format!("{EVERY_HOUR}\n[store]\nbusy_timeout = \"1h\"\n\n[metrics]\nlisten = \"{metrics}\"\n");
    let env = TestEnv::for_server(&simulator.url(), &more);
    let mut daemon = start(&env);
    daemon.logged("complete: full scan");
    daemon.notified("WATCHDOG=1");
    assert_eq!(get(&metrics, "/healthz"), (200, "{\"alive\":true}\n".into()));

    let mut blocker = rusqlite::Connection::open(env.path("halosync.db")).unwrap();
    let blocking = blocker.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    daemon.signal(Signal::USR1);
    daemon.logged("the database writer is stuck");
    assert!(
        !daemon.notified_within("WATCHDOG=1", 2 * WATCHDOG),
        "a watchdog notification was sent while the writer was stuck"
    );
    assert_eq!(get(&metrics, "/healthz").0, 503);

    blocking.rollback().unwrap();
    daemon.notified("WATCHDOG=1");
    daemon.logged("complete: incremental scan");
    assert_eq!(get(&metrics, "/healthz").0, 200);
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stuck_writer_delays_shutdown_by_less_than_five_seconds() {
    let simulator = serve(250).await;
    let env =
        TestEnv::for_server(&simulator.url(), &format!("{EVERY_HOUR}\n[store]\nbusy_timeout = \"1h\"\n"));
    let mut daemon = start(&env);
    daemon.logged("complete: full scan");
    let mut blocker = rusqlite::Connection::open(env.path("halosync.db")).unwrap();
    let blocking = blocker.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    daemon.signal(Signal::USR1);
    daemon.logged("is stuck");
    assert_eq!(daemon.stop(), Some(0), "{}", daemon.transcript());
    drop(blocking);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limit_pause_does_not_suspend_watchdog_notifications() {
    let simulator = serve(250).await;
    let env =
        TestEnv::for_server(&simulator.url(), &EVERY_HOUR.replace("max_retries = 0", "max_retries = 9"));
    let mut daemon = start(&env);
    daemon.logged("complete: full scan");
    simulator.with(|server| server.inject(ServerFault::parse("list:throttle=600").unwrap()));
    daemon.signal(Signal::USR1);
    daemon.logged("pausing all requests for 600 s");
    for _ in 0..8 {
        daemon.notified("WATCHDOG=1");
    }
    assert_eq!(daemon.count_lines("is stuck"), 0);
    assert_eq!(daemon.stop(), Some(0));
}
