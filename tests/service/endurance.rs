//! Thousands of runs: the resource usage of the service does not grow with them.

use std::fs;

use chrono::Utc;

use super::daemon::Daemon;
use super::serve;
use super::support::env_number;
use super::support::test_env::TestEnv;

/// Resource usage of a process.
#[derive(Clone, Copy, Debug)]
struct ResourceUsage {
    /// Resident memory in KiB.
    memory: u64,
    descriptors: usize,
    threads: u64,
}

fn resource_usage(daemon: &Daemon) -> ResourceUsage {
    let process = format!("/proc/{}", daemon.pid());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let number = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let descriptors = fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count);
    ResourceUsage { memory: number("VmRSS:"), descriptors, threads: number("Threads:") }
}

/// `HALOSYNC_ENDURANCE_RUNS` sets another number of runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_descriptors_and_threads_do_not_grow_over_thousands_of_runs() {
    let runs = env_number("HALOSYNC_ENDURANCE_RUNS").map_or(2_000, |runs| u32::try_from(runs).unwrap());
    let simulator = serve(500).await;
    let settings =
        "rate_limit = \"1000000/1s\"\n\n[sync]\ninterval = \"1ms\"\n\n[export]\nschedule = \"after-sync\"\n";
    let env = TestEnv::for_server(&simulator.url(), settings);
    let mut daemon = Daemon::start_with_every_run_logged(&env);
    let mut first = None;
    for run in 0..runs {
        if run % 20 == 0 {
            simulator.with(|server| server.edit_some(2, Utc::now()));
        }
        daemon.logged("complete: ");
        if run == runs / 4 {
            first = Some(resource_usage(&daemon));
        }
    }
    let (first, last) = (first.unwrap(), resource_usage(&daemon));
    assert_eq!(daemon.stop(), Some(0));
    // The number of blocking threads varies; each has its own stack and allocator arena.
    assert!(last.memory <= first.memory + first.memory / 10 + 2_048, "{first:?} became {last:?}");
    assert!(last.descriptors <= first.descriptors + 4, "{first:?} became {last:?}");
    assert!(last.threads <= first.threads + 4, "{first:?} became {last:?}");
    let recorded: u32 = env.value("SELECT COUNT(*) FROM runs WHERE outcome = 'complete'");
    assert!(runs <= recorded, "{recorded} of {runs} runs are recorded");
}
