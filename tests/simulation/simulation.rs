//! One simulation run from its first request to the final check.

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

use crate::client::{Client, RunEnd};
use crate::coverage::{Coverage, CoverageEvent};
use crate::db_reader::DbReader;
use crate::fault_transport::FaultTransport;
use crate::invariants::{Before, CheckResult, ForbiddenTickets, InvariantChecker};
use crate::reference_model::ReferenceModel;
use crate::scenario::{RunScenario, Scenario, percent, stream};
use crate::server_activity::{self, Timing};
use crate::support::mapping::Names;
use crate::support::server::STATUS_NAMES;
use crate::support::virtual_env::with_paused_time;
use crate::support::virtual_server::VirtualServer;

/// How many full scans may be needed at the end: one that resumes an earlier one, one that confirms it, one to spare.
const FINAL_SCANS_MAX: u64 = 3;

/// The tables that [`SimulationResult::trace_digest`] covers: those whose content does not depend on how runs and scans
/// are recorded.
const TRACED_TABLES: [&str; 8] = [
    "changes",
    "custom_fields",
    "field_definitions",
    "rejects",
    "statuses",
    "ticket_state",
    "ticket_types",
    "tickets",
];

/// The result of a simulation run. Digests and log are there only if it was verbose.
pub(crate) struct SimulationResult {
    pub(crate) coverage: Coverage,
    /// Covers every request and the whole database at the end.
    pub(crate) digest: Option<u64>,
    /// Covers every request and the [`TRACED_TABLES`] at the end.
    pub(crate) trace_digest: Option<u64>,
    pub(crate) outcome: CheckResult,
    /// What happened, one line per event.
    pub(crate) log: String,
}

fn start_time() -> DateTime<Utc> {
    "2026-03-04T10:20:30.4Z".parse().expect("a time")
}

/// Plays the simulation run of a seed in an existing empty directory.
pub(crate) fn play(seed: u64, folder: &Path, verbose: bool) -> SimulationResult {
    let scenario = Scenario::from_seed(seed);
    with_paused_time(async {
        let simulation = Simulation::new(&scenario, folder, verbose);
        simulation.play().await
    })
}

struct Simulation<'s> {
    scenario: &'s Scenario,
    transport: Arc<FaultTransport>,
    client: Client<'s>,
    checker: InvariantChecker,
    db: DbReader,
    verbose: bool,
}

impl<'s> Simulation<'s> {
    fn new(scenario: &'s Scenario, folder: &Path, verbose: bool) -> Simulation<'s> {
        let knobs = scenario.parsed_knobs();
        let forbidden = knobs.reference_needs_all.is_on() && knobs.scope_read_tickets.is_on();
        let status_names = if forbidden { Names::new() } else { STATUS_NAMES.clone() };
        let settings = SimulatorSettings {
            seed: scenario.seed,
            tickets: scenario.tickets,
            knobs,
            ..SimulatorSettings::default()
        };
        let simulated = VirtualServer::new(settings, start_time());
        let model = simulated.with(|server, _| ReferenceModel::of(server, status_names, verbose));
        let transport = FaultTransport::new(simulated, model, scenario);
        let client = Client::new(scenario, Arc::clone(&transport), folder);
        let checker = InvariantChecker::new(
            TimeDelta::from_std(scenario.overlap).expect("an overlap"),
            2 * scenario.parallel_requests as usize,
        );
        let db = DbReader::open(client.path());
        Simulation { scenario, transport, client, checker, db, verbose }
    }

    async fn play(mut self) -> SimulationResult {
        let outcome = self.execute().await;
        let digest = self.verbose.then(|| self.digest(|_| true));
        let trace_digest = self.verbose.then(|| self.digest(|table| TRACED_TABLES.contains(&table)));
        self.transport.with(|model, _, _| SimulationResult {
            coverage: std::mem::take(&mut model.coverage),
            digest,
            trace_digest,
            outcome,
            log: model.log_text(),
        })
    }

    async fn execute(&mut self) -> CheckResult {
        let scenario = self.scenario;
        for (number, run) in (1..).zip(&scenario.runs) {
            self.change_server_before(number, run).await;
            self.run(number, run).await?;
        }
        self.transport.with(|_, server, _| {
            server.clear_faults();
            server.knobs().rate_limit = 0;
        });
        self.transport.log(|| "no more faults from here on".into());
        // Longer than every error of the local clock, so that reference tables are read again.
        sleep(Duration::from_hours(24 * 60)).await;
        let scope = scenario.runs.last().expect("a run").scope;
        for number in 1..=FINAL_SCANS_MAX {
            let resumes = self.db.scans().last().is_some_and(|scan| !scan.is_verified() && 0 < scan.pages);
            let complete = self.run(100 + number, &RunScenario::undisturbed(scope)).await?;
            if complete && !resumes {
                break;
            }
            if number == FINAL_SCANS_MAX {
                return Err("no full scan was complete although there were no more faults".into());
            }
        }
        self.transport.with(|model, server, now| {
            let forbidden = ForbiddenTickets::of(server);
            InvariantChecker::check_final_state(&self.db, model, server, now, forbidden)
        })
    }

    async fn change_server_before(&self, number: u64, run: &RunScenario) {
        let mut rng = stream(self.scenario.seed, 2_000, number);
        let mut admin_rng = stream(self.scenario.seed, 2_001, number);
        for pause in &run.pauses_before {
            sleep(*pause).await;
            let overlap = TimeDelta::from_std(self.scenario.overlap).expect("an overlap");
            let lower_bound = self.db.watermark().map(|watermark| watermark.minus(overlap));
            self.transport.with(|model, server, now| {
                let timing = Timing::BetweenRuns { lower_bound };
                server_activity::change_tickets(model, server, now, timing, &mut rng);
                if self.scenario.admin_activity && percent(&mut admin_rng, 50) {
                    server_activity::administrate(model, server, now, timing, &mut admin_rng);
                }
            });
        }
    }

    /// Executes a run and checks the invariants. Returns whether the run was complete.
    async fn run(&mut self, number: u64, scenario: &RunScenario) -> Result<bool, String> {
        let (run_id, watermark) = (self.db.last_run(), self.db.watermark());
        let before = Before { run_id, watermark, seq: self.transport.with(|model, _, _| model.seq) };
        self.transport.log(|| format!("run {} starts: {scenario:?}", run_id + 1));
        let end = self.client.run(number, scenario).await;
        let trace = self.transport.trace();
        let (event, description) = describe(&end, trace.has_list_response());
        self.record(event);
        for event in self.db.events_after(before.run_id) {
            self.record(event);
        }
        self.transport.log(|| format!("run {} ends: {description}", run_id + 1));
        if matches!(end, RunEnd::Endless) {
            return Err("a run does not end".into());
        }
        let (checker, db) = (&mut self.checker, &self.db);
        self.transport
            .with(|model, server, now| checker.check_after_run(db, (model, server, now), &trace, &before))?;
        Ok(matches!(end, RunEnd::Finished(result) if is_complete(&result)))
    }

    fn record(&self, event: CoverageEvent) {
        self.transport.with(|model, _, _| model.coverage.record(event));
    }

    /// Computes a digest of the server's request log and of the tables that `covers` accepts.
    fn digest(&self, covers: impl Fn(&str) -> bool) -> u64 {
        let mut digest = Xxh3::new();
        self.transport.with(|_, server, _| {
            let mut line = String::new();
            for entry in server.log().entries() {
                line.clear();
                let _ = write!(line, "{} {} {} {}", entry.at, entry.path, entry.query, entry.status);
                digest.update(line.as_bytes());
            }
        });
        let mut tables = self.db.tables();
        tables.retain(|table| covers(table));
        self.db.dump(&tables, &mut |line| digest.update(line.as_bytes()));
        digest.digest()
    }
}

fn is_complete(result: &Result<RunReport, SyncError>) -> bool {
    matches!(result, Ok(RunReport { outcome: RunOutcome::Complete, .. }))
}

fn describe(end: &RunEnd, scanning: bool) -> (CoverageEvent, String) {
    let result = match end {
        RunEnd::Killed if scanning => {
            return (CoverageEvent::KilledDuringScan, "killed during a scan".into());
        }
        RunEnd::Killed => return (CoverageEvent::KilledOutsideScan, "killed".into()),
        RunEnd::Endless => return (CoverageEvent::RunFailed, "never".into()),
        RunEnd::Finished(result) => result,
    };
    match &**result {
        Ok(RunReport { outcome, scan_kind, covered_until, scan_stats, .. }) => {
            let kind = if *scan_kind == ScanKind::Full { "full" } else { "incremental" };
            let event = match outcome {
                RunOutcome::Complete => CoverageEvent::RunComplete,
                RunOutcome::Incomplete(_) | RunOutcome::ScopeGuard { .. } => CoverageEvent::RunIncomplete,
                RunOutcome::DeleteGuard { .. } => CoverageEvent::DeleteGuardTriggered,
            };
            let watermark = covered_until.map_or("nothing".into(), |watermark| watermark.to_string());
            (event, format!("{kind}, {outcome:?}, covered until {watermark}, {scan_stats:?}"))
        }
        Err(SyncError::Stopped) => (CoverageEvent::StopRequested, "stopped".into()),
        Err(SyncError::Store(error @ StoreError::InvalidData { .. })) => panic!("{error}"),
        Err(error) => (CoverageEvent::RunFailed, error_chain(error)),
    }
}

/// Formats an error and its causes.
fn error_chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", error_chain(cause)))
}
