//! One world from its beginning to its judgement.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::SimulatorSettings;
use halosync::store::StoreError;
use halosync::sync::{RunOutcome, RunReport, SyncError};
use halosync::watermark::ScanKind;
use tokio::time::sleep;
use xxhash_rust::xxh3::Xxh3;

use crate::agent::{Agent, Ended};
use crate::copy::Copy;
use crate::coverage::{Coverage, Happening};
use crate::ledger::Ledger;
use crate::mapping::{self, Names};
use crate::oracle::{Before, Forbids, Oracle, Verdict};
use crate::people::{self, Moment};
use crate::plan::{PassPlan, Plan, percent, stream};
use crate::simulated::World;
use crate::wire::Wire;

/// So many full walks may be needed in the end: one that resumes an earlier one, one that confirms it, one to spare.
const LAST_WALKS_MAX: u64 = 3;

/// A world that was played.
pub(crate) struct Played {
    pub(crate) coverage: Coverage,
    /// Of every request and of the database in the end, where the story was to be told.
    pub(crate) digest: Option<u64>,
    pub(crate) verdict: Verdict,
    /// What happened, where it was to be told.
    pub(crate) story: String,
}

fn began() -> DateTime<Utc> {
    "2026-03-04T10:20:30.4Z".parse().expect("a moment")
}

/// Plays the world of a seed in a folder that is there and empty.
pub(crate) fn play(seed: u64, folder: &Path, told: bool) -> Played {
    let plan = Plan::of(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let life = Life::new(&plan, folder, told);
        life.live().await
    })
}

struct Life<'p> {
    plan: &'p Plan,
    wire: Arc<Wire>,
    agent: Agent<'p>,
    oracle: Oracle,
    copy: Copy,
    told: bool,
}

impl<'p> Life<'p> {
    fn new(plan: &'p Plan, folder: &Path, told: bool) -> Life<'p> {
        let knobs = plan.turned();
        let forbidden = knobs.reference_needs_all.is_on() && knobs.scope_read_tickets.is_on();
        let names = if forbidden { Names::new() } else { STATUS_NAMES.clone() };
        let settings = SimulatorSettings {
            seed: plan.seed,
            tickets: plan.tickets,
            knobs,
            ..SimulatorSettings::default()
        };
        let world = World::new(settings, began());
        let ledger = world.with(|server, _| Ledger::of(server, names, told));
        let wire = Wire::new(world, ledger, plan);
        let agent = Agent::new(plan, Arc::clone(&wire), folder);
        let oracle = Oracle::new(
            TimeDelta::from_std(plan.overlap).expect("an overlap"),
            2 * plan.parallel_requests as usize,
        );
        let copy = Copy::open(agent.path());
        Life { plan, wire, agent, oracle, copy, told }
    }

    async fn live(mut self) -> Played {
        let verdict = self.history().await;
        let digest = self.told.then(|| self.digest());
        self.wire.with(|ledger, _, _| Played {
            coverage: std::mem::take(&mut ledger.coverage),
            digest,
            verdict,
            story: ledger.story(),
        })
    }

    async fn history(&mut self) -> Verdict {
        let plan = self.plan;
        for (number, pass) in (1..).zip(&plan.passes) {
            self.people_before(number, pass).await;
            self.pass(number, pass).await?;
        }
        self.wire.with(|_, server, _| {
            server.clear_faults();
            server.knobs().rate_limit = 0;
        });
        self.wire.tell(|| "nothing goes wrong any more".into());
        // Beyond every error of the local clock, so that names are asked for again.
        sleep(Duration::from_hours(24 * 60)).await;
        let scope = plan.passes.last().expect("a pass").scope;
        for number in 1..=LAST_WALKS_MAX {
            let resumes = self.copy.walks().last().is_some_and(|walk| !walk.is_counted() && 0 < walk.pages);
            let complete = self.pass(100 + number, &PassPlan::quiet(scope)).await?;
            if complete && !resumes {
                break;
            }
            if number == LAST_WALKS_MAX {
                return Err("no full walk came to a good end although nothing was wrong any more".into());
            }
        }
        self.wire.with(|ledger, server, now| {
            let forbids = Forbids::of(server);
            Oracle::at_the_end(&self.copy, ledger, server, now, forbids)
        })
    }

    async fn people_before(&self, number: u64, pass: &PassPlan) {
        let mut chance = stream(self.plan.seed, 2_000, number);
        let mut more = stream(self.plan.seed, 2_001, number);
        for pause in &pass.before {
            sleep(*pause).await;
            let overlap = TimeDelta::from_std(self.plan.overlap).expect("an overlap");
            let bound = self.copy.mark().map(|mark| mark.minus(overlap));
            self.wire.with(|ledger, server, now| {
                people::act(ledger, server, now, Moment::Between { bound }, &mut chance);
                if self.plan.wide && percent(&mut more, 50) {
                    people::act_widely(ledger, server, now, Moment::Between { bound }, &mut more);
                }
            });
        }
    }

    /// Does a pass and judges it; whether it was complete.
    async fn pass(&mut self, number: u64, pass: &PassPlan) -> Result<bool, String> {
        let (run, mark) = (self.copy.last_run(), self.copy.mark());
        let before = Before { run, mark, seq: self.wire.with(|ledger, _, _| ledger.seq) };
        self.wire.tell(|| format!("pass {} begins: {pass:?}", run + 1));
        let ended = self.agent.pass(number, pass).await;
        let seen = self.wire.seen();
        let (happening, words) = words(&ended, seen.walked());
        self.saw(happening);
        for happening in self.copy.happenings(before.run) {
            self.saw(happening);
        }
        self.wire.tell(|| format!("pass {} ends: {words}", run + 1));
        if matches!(ended, Ended::Never) {
            return Err("a pass does not end".into());
        }
        let (oracle, copy) = (&mut self.oracle, &self.copy);
        self.wire
            .with(|ledger, server, now| oracle.after_pass(copy, (ledger, server, now), &seen, &before))?;
        Ok(matches!(ended, Ended::Itself(done) if is_complete(&done)))
    }

    fn saw(&self, happening: Happening) {
        self.wire.with(|ledger, _, _| ledger.coverage.saw(happening));
    }

    fn digest(&self) -> u64 {
        let mut digest = Xxh3::new();
        self.wire.with(|_, server, _| {
            let mut line = String::new();
            for entry in server.log().entries() {
                line.clear();
                let _ = write!(line, "{} {} {} {}", entry.at, entry.path, entry.query, entry.status);
                digest.update(line.as_bytes());
            }
        });
        self.copy.digest(&mut |line| digest.update(line.as_bytes()));
        digest.digest()
    }
}

static STATUS_NAMES: std::sync::LazyLock<Names> = std::sync::LazyLock::new(mapping::status_names);

fn is_complete(done: &Result<RunReport, SyncError>) -> bool {
    matches!(done, Ok(RunReport { outcome: RunOutcome::Complete, .. }))
}

fn words(ended: &Ended, walked: bool) -> (Happening, String) {
    let done = match ended {
        Ended::Killed if walked => return (Happening::KilledInMidWalk, "killed in mid-walk".into()),
        Ended::Killed => return (Happening::KilledElsewhere, "killed".into()),
        Ended::Never => return (Happening::PassFailed, "not at all".into()),
        Ended::Itself(done) => done,
    };
    match &**done {
        Ok(RunReport { outcome, scan_kind: walk, covered_until, scan_stats: figures, .. }) => {
            let kind = if *walk == ScanKind::Full { "full" } else { "incremental" };
            let happening = match outcome {
                RunOutcome::Complete => Happening::PassComplete,
                RunOutcome::Incomplete(_) => Happening::PassIncomplete,
                RunOutcome::DeleteGuard { .. } => Happening::BrakeHeld,
            };
            let mark = covered_until.map_or("nothing".into(), |mark| mark.to_string());
            (happening, format!("{kind}, {outcome:?}, covered until {mark}, {figures:?}"))
        }
        Err(SyncError::Stopped) => (Happening::StoppedByAPerson, "stopped".into()),
        Err(SyncError::Store(error @ StoreError::InvalidData { .. })) => panic!("{error}"),
        Err(error) => (Happening::PassFailed, causes(error)),
    }
}

/// An error and what lies behind it.
fn causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", causes(cause)))
}
