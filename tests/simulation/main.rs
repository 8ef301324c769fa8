//! Randomized simulation test: people change tickets on the server, the network fails, and the client is killed at any
//! moment; certain invariants must hold all the same. Each simulation run follows from its seed, bit for bit: requests,
//! random draws and time share one thread with a virtual clock, over a real SQLite file.
//!
//! `scenario` draws a simulation run from its seed. `server_activity` changes the server, `fault_transport` lets that
//! happen between any two responses and injects faults, and `client` executes the runs and kills them.
//! `reference_model` records what happened on the server and what must therefore be stored, and `invariants` checks the
//! database against it after every run and at the end, without using any of the client's own code:
//!
//! 1. At the end, after one undisturbed full scan, the local copy equals the server, attribute by attribute.
//! 2. The change log has no gaps, and undoing it leads from the present tickets back to none (`change_log`).
//! 3. The watermark moves as designed and never passes the data: what a run has promised is stored.
//! 4. A verified scan missed no ticket that was in its list from the first response on.
//! 5. No ticket was removed that was listed all the time, or that the server only refuses to show.
//! 6. SQLite finds the file intact.
//! 7. A run that is complete lacks no ticket that stood in the list all the while, and one that nothing disturbed and that
//!    lacks none is complete (`promise`).
//! 8. A value that cannot be read leaves the last good one, and exactly those values are in `rejects`.
//! 9. The deltas that a consumer took at any time fold to the tickets (`local_edits::Consumer`).
//! 10. Reference tables are what the server's lists showed; what is no longer listed keeps its name, and a list that is
//!     refused or doubtful changes nothing (`reference_lists`).
//! 11. What list rows carry beside the attributes is stored as far as it is carried, and a change of a column profile is no
//!     change of a ticket (`extras`).
//! 12. A change became visible between the two times that its record says (`change_times`).
//! 13. An erased ticket is never stored, its change records have no values, and no run lacks it.
//!
//! Half of the simulation runs have no hazards (`scenario::Hazards`). In the others rows lose their id, cannot be parsed or
//! have values of a wrong type (`row_defects`), other programs edit the local database and disks lose rows of it
//! (`local_edits`), tickets are erased in it, or older copies of it and of the server are restored.
//!
//! One limit is known and excused: where one ticket disappeared from the list and another one entered it between the
//! same two responses of a scan, no count shows it. Conditions that the client cannot handle yet are listed in
//! `scenario::UNSUPPORTED`.
//!
//! - `cargo test --test simulation` plays the seeds of `corpus.txt`, then the first 2,000.
//! - `HALOSYNC_SIMULATION_SEED=17 cargo test --test simulation -- --nocapture simulation_runs_converge` plays one seed
//!   and prints its log.
//! - `HALOSYNC_SIMULATION_RUNS=1000000 cargo test --release --test simulation -- --nocapture simulation_runs_converge` is
//!   the long campaign on all cores. It stops at the first seed that fails. `HALOSYNC_SIMULATION_FROM=5000000` starts at
//!   another seed; `HALOSYNC_SIMULATION_KEEP=1` continues after a failure and lists all of them.
//! - `HALOSYNC_SIMULATION_WITH=all`, or a comma-separated list of conditions, enables conditions that are not supported
//!   yet.
//! - `HALOSYNC_SIMULATION_TRACES=FILE cargo test --test simulation request_traces` writes a digest of the requests and
//!   the stored tables of each of the first 2,000 seeds. Equal files before and after a change prove that it altered
//!   neither.
//! - `tests/simulation/injected_faults.sh` injects faults into copies of the source tree and requires that the simulation
//!   finds each of them.

#![allow(clippy::print_stdout, reason = "a campaign reports its progress")]

#[path = "../support/mod.rs"]
mod support;

mod change_log;
mod change_times;
mod client;
mod coverage;
mod db_reader;
mod extras;
mod fault_transport;
mod invariants;
mod local_edits;
mod promise;
mod reference_lists;
mod reference_model;
mod row_defects;
mod scenario;
mod server_activity;
mod simulation;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use coverage::{Coverage, CoverageEvent};
use scenario::Scenario;
use simulation::SimulationResult;
use support::database::temporary_directory_in_memory;
use support::env_number;

/// Enough for every kind of event to meet every other, and about three minutes on two cores that others use too.
const DEFAULT_RUNS: u64 = 2_000;

/// How many seeds are played twice.
const REPEATED_RUNS: u64 = 60;

fn play(seed: u64, verbose: bool) -> SimulationResult {
    let folder = temporary_directory_in_memory();
    let result = catch_unwind(AssertUnwindSafe(|| simulation::play(seed, folder.path(), verbose)));
    result.unwrap_or_else(|_| SimulationResult {
        coverage: Coverage::default(),
        digest: None,
        trace_digest: None,
        outcome: Err("something panicked, see above".into()),
        log: String::new(),
    })
}

/// A report about a seed that failed; plays it again for its log.
fn failure_report(seed: u64) -> String {
    let SimulationResult { outcome, log, .. } = play(seed, true);
    let failure =
        outcome.err().unwrap_or_else(|| "failed, but not when played again: it is not deterministic".into());
    let scenario = Scenario { runs: Vec::new(), ..Scenario::from_seed(seed) };
    format!("seed {seed}: {failure}\n{scenario:?}\n{log}\nto play it again: {}\n", replay_command(seed))
}

/// The command that plays a seed again, with the conditions that are enabled now.
fn replay_command(seed: u64) -> String {
    let with = std::env::var("HALOSYNC_SIMULATION_WITH")
        .map(|with| format!("HALOSYNC_SIMULATION_WITH={with} "))
        .unwrap_or_default();
    format!(
        "{with}HALOSYNC_SIMULATION_SEED={seed} cargo test --test simulation -- --nocapture simulation_runs_converge"
    )
}

/// The seeds that are played every time: each line is a seed and `# why`.
fn corpus() -> Vec<u64> {
    let lines =
        include_str!("corpus.txt").lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|seed| !seed.is_empty()).map(|seed| seed.parse().expect("a seed")).collect()
}

/// A patch that no longer applies injects nothing.
#[test]
fn every_injected_fault_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let skipped = |why: &str| {
        // Written directly to stderr, because the test harness captures what `eprintln!` prints.
        let _ = writeln!(std::io::stderr(), "SKIPPED every_injected_fault_applies: {why}");
    };
    let Ok(folder) = std::fs::read_dir(root.join("tests/simulation/injected_faults")) else {
        return skipped("the patches are not there");
    };
    let paths = folder.map(|entry| entry.expect("a file").path());
    let mut patches: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == "patch")).collect();
    patches.sort();
    assert!(!patches.is_empty(), "there are no patches");
    for patch in patches {
        let mut command = Command::new("patch");
        command.args(["--dry-run", "--batch", "--fuzz=0", "-p1", "--directory"]).arg(root);
        let output = match command.arg("--input").arg(&patch).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => return skipped("`patch` is not installed"),
            output => output.expect("patch"),
        };
        let message = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{} no longer applies: {message}", patch.display());
    }
}

/// Executes `work` in parallel on all cores and waits until all calls have returned.
fn on_all_cores(work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        // A simulation run waits for its database thread whenever that one works: two runs keep a core busy.
        for _ in 0..2 * cores {
            scope.spawn(&work);
        }
    });
}

/// Plays seeds on all cores, in order, until one fails or there are no more.
struct Campaign {
    next: AtomicU64,
    failed: Mutex<BTreeMap<u64, String>>,
    coverage: Mutex<Coverage>,
    stopped: AtomicBool,
    /// How many seeds were played to the end.
    played: AtomicU64,
    elapsed: Duration,
}

impl Campaign {
    fn play(seeds: impl Fn(u64) -> Option<u64> + Sync) -> Campaign {
        let mut campaign = Campaign {
            next: AtomicU64::new(0),
            failed: Mutex::default(),
            coverage: Mutex::default(),
            stopped: AtomicBool::new(false),
            played: AtomicU64::new(0),
            elapsed: Duration::ZERO,
        };
        let keep_going = std::env::var_os("HALOSYNC_SIMULATION_KEEP").is_some();
        let started = Instant::now();
        on_all_cores(|| {
            while !campaign.stopped.load(Ordering::Relaxed) {
                let index = campaign.next.fetch_add(1, Ordering::Relaxed);
                let Some(seed) = seeds(index) else { return };
                let result = play(seed, false);
                campaign.coverage.lock().unwrap_or_else(PoisonError::into_inner).add(&result.coverage);
                if let Err(failure) = result.outcome {
                    campaign.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, failure);
                    campaign.stopped.fetch_or(!keep_going, Ordering::Relaxed);
                }
                let played = 1 + campaign.played.fetch_add(1, Ordering::Relaxed);
                if played.is_multiple_of(10_000) {
                    println!("{}", rate(played, started.elapsed()));
                }
            }
        });
        campaign.elapsed = started.elapsed();
        campaign
    }

    fn rate(&self) -> String {
        rate(self.played.load(Ordering::Relaxed), self.elapsed)
    }

    fn assert_none_failed(&self) {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        for (seed, failure) in failed.iter() {
            println!("seed {seed}: {failure}\n    {}", replay_command(*seed));
        }
        if let Some(seed) = failed.keys().next() {
            panic!("{} failed of {}\n{}", failed.len(), self.rate(), failure_report(*seed));
        }
    }
}

fn rate(runs: u64, elapsed: Duration) -> String {
    let per_second = u32::try_from(runs).map_or(0.0, f64::from) / elapsed.as_secs_f64().max(0.001);
    format!("{runs} simulation runs, {per_second:.0} per second")
}

#[test]
fn simulation_runs_converge() {
    if let Some(seed) = env_number("HALOSYNC_SIMULATION_SEED") {
        let report = failure_report(seed);
        println!("{report}");
        let outcome = play(seed, false).outcome;
        assert!(outcome.is_ok(), "seed {seed}: {}", outcome.unwrap_err());
        return;
    }
    let corpus = corpus();
    Campaign::play(|index| corpus.get(usize::try_from(index).ok()?).copied()).assert_none_failed();

    let runs = env_number("HALOSYNC_SIMULATION_RUNS").unwrap_or(DEFAULT_RUNS);
    let from = env_number("HALOSYNC_SIMULATION_FROM").unwrap_or(0);
    let campaign = Campaign::play(|index| (index < runs).then_some(from + index));
    println!("{}", campaign.rate());
    let coverage = campaign.coverage.lock().unwrap_or_else(PoisonError::into_inner).clone();
    println!("{}", coverage.shares(campaign.played.load(Ordering::Relaxed)));
    campaign.assert_none_failed();
    if DEFAULT_RUNS <= runs {
        let never: Vec<_> = CoverageEvent::expected().filter(|it| coverage.runs_with(*it) == 0).collect();
        assert!(never.is_empty(), "never happened in {runs} simulation runs: {never:?}");
    }
}

#[test]
fn same_seed_gives_the_same_history() {
    let seeds = 1_000_000..1_000_000 + REPEATED_RUNS;
    let differ: Vec<_> = seeds.filter(|seed| play(*seed, true).digest != play(*seed, true).digest).collect();
    assert!(differ.is_empty(), "these seeds gave another history when played again: {differ:?}");
}

/// Records a line `seed digest` for each of the first seeds, so that a change can prove that it altered neither requests
/// nor stored data. Does nothing unless `HALOSYNC_SIMULATION_TRACES` names the file to write.
#[test]
fn request_traces_are_recorded() {
    let Some(path) = std::env::var_os("HALOSYNC_SIMULATION_TRACES") else { return };
    let next = AtomicU64::new(0);
    let digests = Mutex::new(BTreeMap::new());
    on_all_cores(|| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if DEFAULT_RUNS <= seed {
                return;
            }
            let digest = play(seed, true).trace_digest;
            digests.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, digest);
        }
    });
    let digests = digests.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut lines = String::new();
    for (seed, digest) in digests {
        let digest = digest.map_or("panicked".to_owned(), |digest| digest.to_string());
        let _ = writeln!(lines, "{seed} {digest}");
    }
    std::fs::write(&path, lines).expect("the file named by HALOSYNC_SIMULATION_TRACES is written");
}
