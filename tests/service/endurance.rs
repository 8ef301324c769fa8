//! Thousands of passes: what a process holds does not grow with them.

use std::fs;

use chrono::Utc;

use super::daemon::Daemon;
use super::serve;
use super::support::test_env::TestEnv;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Resident memory in KiB.
    memory: u64,
    descriptors: usize,
    threads: u64,
}

fn held(daemon: &Daemon) -> Held {
    let process = format!("/proc/{}", daemon.pid());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let number = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let descriptors = fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count);
    Held { memory: number("VmRSS:"), descriptors, threads: number("Threads:") }
}

/// `HALOSYNC_PASSES` plays another number of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_passes_leave_memory_and_descriptors_as_they_were() {
    let passes: u32 = std::env::var("HALOSYNC_PASSES").ok().and_then(|it| it.parse().ok()).unwrap_or(2_000);
    let simulator = serve(500).await;
    let more =
        "rate_limit = \"1000000/1s\"\n\n[sync]\ninterval = \"1ms\"\n\n[export]\nschedule = \"after-sync\"\n";
    let env = TestEnv::for_server(&simulator.url(), more);
    let mut daemon = Daemon::start(&env);
    let mut first = None;
    for pass in 0..passes {
        if pass % 20 == 0 {
            simulator.with(|server| server.edit_some(2, Utc::now()));
        }
        daemon.logged("complete: ");
        if pass == passes / 4 {
            first = Some(held(&daemon));
        }
    }
    let (first, last) = (first.unwrap(), held(&daemon));
    assert_eq!(daemon.stop(), Some(0));
    // Threads that block come and go; each has stack and arena.
    assert!(last.memory <= first.memory + first.memory / 10 + 2_048, "{first:?} became {last:?}");
    assert!(last.descriptors <= first.descriptors + 4, "{first:?} became {last:?}");
    assert!(last.threads <= first.threads + 4, "{first:?} became {last:?}");
    let made: u32 = env.value("SELECT COUNT(*) FROM runs WHERE outcome = 'complete'");
    assert!(passes <= made, "{made} of {passes} passes are on record");
}
