//! The world of faults: a server that people work at, a network that fails, an agent that is killed at any moment, and
//! what must hold all the same. Each world follows from its seed, bit for bit: requests, chance and time are one thread
//! of virtual time over a real SQLite file.
//!
//! `plan` draws a world from its seed, `people` work at the desk, `wire` lets them act between any two answers and lets
//! requests meet faults, `agent` does the passes and kills them, `ledger` remembers what happened on the server, and
//! `oracle` judges after every pass and in the end, with none of the agent's own code:
//!
//! 1. in the end, after one full walk in peace, the copy equals the server, attribute by attribute;
//! 2. the change log is gapless, and undoing it leads from the present tickets back to none (`log`);
//! 3. the watermark moves as the design says, and never passes the data: whatever a pass promised is stored;
//! 4. a counted walk missed no ticket that stood in its list from its first answer on;
//! 5. no ticket was removed that was listed all the time, or that the server only forbids to see;
//! 6. SQLite finds the file intact.
//!
//! One limit is known and excused: where a ticket left and another entered between the same two answers of a walk, no
//! count shows it. What the agent cannot stand yet is named in `plan::NOT_YET`.
//!
//! - `cargo test --test worlds` plays the seeds of `corpus.txt`, then the first 2,000.
//! - `HALOSYNC_WORLD_SEED=17 cargo test --test worlds -- --nocapture worlds_converge` plays one and tells its story.
//! - `HALOSYNC_WORLDS=1000000 cargo test --release --test worlds -- --nocapture worlds_converge` is the long campaign on
//!   all cores; it stops at the first failing seed. `HALOSYNC_WORLDS_FROM=5000000` begins elsewhere,
//!   `HALOSYNC_WORLDS_KEEP=1` goes on after a failure and lists all of them.
//! - `HALOSYNC_WORLDS_WITH=all`, or names of hardships with commas between them, tries what is not stood yet.
//! - `tests/worlds/planted.sh` plants bugs into copies of the tree and demands that the worlds find each.

#![allow(clippy::print_stdout, reason = "a campaign tells how it goes")]

#[path = "../support/mapping.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod mapping;
#[path = "../support/simulated.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod simulated;

mod agent;
mod copy;
mod coverage;
mod ledger;
mod life;
mod log;
mod oracle;
mod people;
mod plan;
mod wire;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use coverage::{Coverage, Happening};
use life::Played;
use plan::Plan;
use tempfile::TempDir;

/// Enough for every kind of event to meet every other, and less than a minute on two busy cores.
const WORLDS: u64 = 2_000;

/// How many worlds are played twice.
const TWICE: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.replace('_', "").parse().expect(name))
}

/// A folder for databases: in memory, where the system has such a place.
fn folder() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder")
}

fn play(seed: u64, told: bool) -> Played {
    let folder = folder();
    let played = catch_unwind(AssertUnwindSafe(|| life::play(seed, folder.path(), told)));
    played.unwrap_or_else(|_| Played {
        coverage: Coverage::default(),
        digest: None,
        verdict: Err("something panicked, see above".into()),
        story: String::new(),
    })
}

/// What is to be said of a world that failed; it is played once more to be told.
fn complaint(seed: u64) -> String {
    let Played { verdict, story, .. } = play(seed, true);
    let fact =
        verdict.err().unwrap_or_else(|| "failed, but not when played again: it is not deterministic".into());
    let plan = Plan { passes: Vec::new(), ..Plan::of(seed) };
    format!("world {seed}: {fact}\n{plan:?}\n{story}\nplay it again: {}\n", command(seed))
}

/// What plays a world again, with the hardships that are tried now.
fn command(seed: u64) -> String {
    let with = std::env::var("HALOSYNC_WORLDS_WITH").map(|with| format!("HALOSYNC_WORLDS_WITH={with} "));
    let with = with.unwrap_or_default();
    format!("{with}HALOSYNC_WORLD_SEED={seed} cargo test --test worlds -- --nocapture worlds_converge")
}

/// The seeds that are worth a look every time: each line a seed and `# why`.
fn corpus() -> Vec<u64> {
    let lines =
        include_str!("corpus.txt").lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|seed| !seed.is_empty()).map(|seed| seed.parse().expect("a seed")).collect()
}

/// A patch that no longer applies plants nothing.
#[test]
fn every_planted_bug_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let skipped = |why: &str| {
        // Past the harness, which keeps what a test prints to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED every_planted_bug_applies: {why}");
    };
    let Ok(folder) = std::fs::read_dir(root.join("tests/worlds/planted")) else {
        return skipped("the patches are not there");
    };
    let paths = folder.map(|entry| entry.expect("a file").path());
    let mut patches: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == "patch")).collect();
    patches.sort();
    assert!(!patches.is_empty(), "no bug is planted");
    for patch in patches {
        let mut tool = Command::new("patch");
        tool.args(["--dry-run", "--batch", "--fuzz=0", "-p1", "--directory"]).arg(root);
        let done = match tool.arg("--input").arg(&patch).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => return skipped("there is no `patch`"),
            done => done.expect("patch"),
        };
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{} no longer applies: {said}", patch.display());
    }
}

/// Plays worlds on all cores, in order, until one fails or the list ends.
struct Campaign {
    next: AtomicU64,
    failed: Mutex<BTreeMap<u64, String>>,
    coverage: Mutex<Coverage>,
    over: AtomicBool,
    /// How many were played to their end.
    played: AtomicU64,
    took: Duration,
}

impl Campaign {
    fn play(seeds: impl Fn(u64) -> Option<u64> + Sync) -> Campaign {
        let mut campaign = Campaign {
            next: AtomicU64::new(0),
            failed: Mutex::default(),
            coverage: Mutex::default(),
            over: AtomicBool::new(false),
            played: AtomicU64::new(0),
            took: Duration::ZERO,
        };
        let goes_on = std::env::var_os("HALOSYNC_WORLDS_KEEP").is_some();
        let since = Instant::now();
        let work = || {
            while !campaign.over.load(Ordering::Relaxed) {
                let place = campaign.next.fetch_add(1, Ordering::Relaxed);
                let Some(seed) = seeds(place) else { return };
                let played = play(seed, false);
                campaign.coverage.lock().unwrap_or_else(PoisonError::into_inner).add(&played.coverage);
                if let Err(fact) = played.verdict {
                    campaign.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, fact);
                    campaign.over.fetch_or(!goes_on, Ordering::Relaxed);
                }
                let played = 1 + campaign.played.fetch_add(1, Ordering::Relaxed);
                if played.is_multiple_of(10_000) {
                    println!("{}", rate(played, since.elapsed()));
                }
            }
        };
        std::thread::scope(|scope| {
            let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
            // A world is one thread that waits for another one whenever the database works: two of them keep a core busy.
            for _ in 0..2 * cores {
                scope.spawn(work);
            }
        });
        campaign.took = since.elapsed();
        campaign
    }

    fn rate(&self) -> String {
        rate(self.played.load(Ordering::Relaxed), self.took)
    }

    fn assert_none_failed(&self) {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        for (seed, fact) in failed.iter() {
            println!("world {seed}: {fact}\n    {}", command(*seed));
        }
        if let Some(seed) = failed.keys().next() {
            panic!("{} failed of {}\n{}", failed.len(), self.rate(), complaint(*seed));
        }
    }
}

fn rate(worlds: u64, took: Duration) -> String {
    let a_second = u32::try_from(worlds).map_or(0.0, f64::from) / took.as_secs_f64().max(0.001);
    format!("{worlds} worlds, {a_second:.0} a second")
}

#[test]
fn worlds_converge() {
    if let Some(seed) = number("HALOSYNC_WORLD_SEED") {
        let told = complaint(seed);
        println!("{told}");
        let verdict = play(seed, false).verdict;
        assert!(verdict.is_ok(), "world {seed}: {}", verdict.unwrap_err());
        return;
    }
    let corpus = corpus();
    Campaign::play(|place| corpus.get(usize::try_from(place).ok()?).copied()).assert_none_failed();

    let worlds = number("HALOSYNC_WORLDS").unwrap_or(WORLDS);
    let from = number("HALOSYNC_WORLDS_FROM").unwrap_or(0);
    let campaign = Campaign::play(|place| (place < worlds).then_some(from + place));
    println!("{}", campaign.rate());
    let coverage = campaign.coverage.lock().unwrap_or_else(PoisonError::into_inner).clone();
    println!("{}", coverage.shares(campaign.played.load(Ordering::Relaxed)));
    campaign.assert_none_failed();
    if WORLDS <= worlds {
        let never: Vec<_> = Happening::expected().filter(|it| coverage.worlds_with(*it) == 0).collect();
        assert!(never.is_empty(), "in {worlds} worlds it never happened: {never:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let seeds = 1_000_000..1_000_000 + TWICE;
    let differ: Vec<_> = seeds.filter(|seed| play(*seed, true).digest != play(*seed, true).digest).collect();
    assert!(differ.is_empty(), "these worlds went another way when played again: {differ:?}");
}
