//! The service ships to a lake, by a schedule of its own.

use std::fs;

use rustix::process::Signal;

use super::daemon::Daemon;
use super::life::EVERY_HOUR;
use super::serve;
use super::support::test_env::TestEnv;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lake_of_reloaded_settings_is_shipped_to_between_the_runs() {
    let simulator = serve(250).await;
    let env = TestEnv::for_server(&simulator.url(), EVERY_HOUR);
    let mut daemon = Daemon::start_with(&env, &[], |command| {
        // It looks four times in this time.
        command.env("WATCHDOG_USEC", "400000");
    });
    daemon.logged("complete: full scan");
    let folder = tempfile::tempdir().unwrap();
    let (lake, aside) = (folder.path().join("lake"), folder.path().join("aside"));
    fs::create_dir(&lake).unwrap();
    let settings = env.path("agent.toml");
    let section =
        format!("\n[lake]\nurl = \"file://{}\"\nserver = \"acme\"\nschedule = \"1s\"\n", lake.display());
    fs::write(&settings, fs::read_to_string(&settings).unwrap() + &section).unwrap();
    daemon.signal(Signal::HUP);
    daemon.logged("settings reloaded");
    // The first push comes after a run, and the next ones do not wait an hour for another.
    daemon.sync_now();
    daemon.logged("shipped 1 package to the lake");
    fs::rename(&lake, &aside).unwrap();
    daemon.logged("the folder of the lake does not exist");
    assert_eq!(daemon.stop(), Some(0));
}
