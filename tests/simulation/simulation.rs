//! One simulation run from its first request to the final check.

use std::collections::BTreeSet;
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
use crate::extras::ExtrasBefore;
use crate::fault_transport::FaultTransport;
use crate::invariants::{Before, CheckResult, InvariantChecker};
use crate::local_edits::{Consumer, LocalEdit};
use crate::reference_lists::stored_lists;
use crate::reference_model::{PromiseBackup, ReferenceModel};
use crate::row_defects;
use crate::scenario::{Hazards, RunScenario, Scenario, percent, stream};
use crate::server_activity::{self, Timing};
use crate::support::mapping::Names;
use crate::support::server::STATUS_NAMES;
use crate::support::virtual_env::with_paused_time;
use crate::support::virtual_server::VirtualServer;

/// How many full scans may be needed at the end: one that resumes an earlier one, one that confirms it, one to spare.
const FINAL_SCANS_MAX: u64 = 3;

/// The number of the first run after all faults.
const FIRST_FINAL_RUN: u64 = 101;

/// The tables that [`SimulationResult::trace_digest`] covers: those whose content does not depend on how runs and scans
/// are recorded.
const TRACED_TABLES: [&str; 9] = [
    "changes",
    "custom_fields",
    "field_definitions",
    "rejects",
    "statuses",
    "ticket_extra",
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
        Box::pin(simulation.play()).await
    })
}

struct Simulation<'s> {
    scenario: &'s Scenario,
    transport: Arc<FaultTransport>,
    client: Client<'s>,
    checker: InvariantChecker,
    db: DbReader,
    /// Takes deltas, if other programs edit the database, older copies of it are restored or tickets are erased.
    consumer: Option<Consumer>,
    /// What was promised when the local database was copied.
    local_backup: Option<PromiseBackup>,
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
            scenario.hazards,
            2 * scenario.parallel_requests as usize,
        );
        let db = DbReader::open(client.path());
        let Hazards { local_edits, restored_backups, purges, .. } = scenario.hazards;
        let consumer = (local_edits || restored_backups || purges).then(Consumer::default);
        Simulation { scenario, transport, client, checker, db, consumer, local_backup: None, verbose }
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
        if scenario.hazards.has_defects() {
            let mut rng = stream(scenario.seed, 7_001, 0);
            self.transport.with(|model, server, now| {
                while percent(&mut rng, 50) {
                    row_defects::change(model, server, now, scenario.hazards, &mut rng);
                }
            });
        }
        for (number, run) in (1..).zip(&scenario.runs) {
            self.change_server_before(number, run).await;
            self.change_local_database(number);
            self.purge_tickets(number);
            self.run(number, run).await?;
        }
        self.transport.with(|model, server, now| {
            server.clear_faults();
            server.knobs().rate_limit = 0;
            model.outages.clear();
            if !scenario.hazards.keeps_defects {
                row_defects::repair_all(model, server, now);
            } else if !model.defective_ids().is_empty() {
                model.coverage.record(CoverageEvent::DefectsKept);
            }
        });
        self.transport.log(|| "no more faults from here on".into());
        if scenario.hazards.local_edits {
            self.client.check_hashes();
        }
        // Longer than every error of the local clock, so that reference tables are read again.
        sleep(Duration::from_hours(24 * 60)).await;
        let last = scenario.runs.last().expect("a run");
        for number in 1..=FINAL_SCANS_MAX {
            let resumes = self.resumes();
            let pending = self.db.pending_tickets();
            let gives_up = self.transport.with(|model, _, _| {
                let is_listed = |id| model.tickets.get(id).is_some_and(|ticket| ticket.listed);
                number < FINAL_SCANS_MAX && !pending.iter().all(is_listed)
            });
            let complete = self
                .run(FIRST_FINAL_RUN - 1 + number, &RunScenario::undisturbed(last.scope, &last.reference))
                .await?;
            // A run that something keeps from being complete has read everything all the same.
            let run_id = self.db.last_run();
            let settled =
                self.db.scans().iter().any(|scan| scan.run_id == run_id && scan.full && scan.is_settled());
            // A pending ticket that the server no longer has is given up after the scan: the next one decides about it.
            if (complete || settled) && !resumes && !gives_up {
                break;
            }
            if number == FINAL_SCANS_MAX {
                return Err("no full scan was complete although there were no more faults".into());
            }
        }
        self.transport
            .with(|model, server, now| InvariantChecker::check_final_state(&self.db, model, server, now))?;
        let Some(consumer) = &mut self.consumer else { return Ok(()) };
        // Where the server does not show an edited ticket, nobody knows what to repair.
        let not_shown = self.transport.with(|model, _, _| {
            let mut edited: BTreeSet<_> = model.local_edits.keys().copied().collect();
            edited
                .retain(|id| model.tickets.get(id).is_none_or(|it| !it.listed || it.defects.hides_ticket()));
            edited
        });
        let edited = self.transport.with(|model, _, _| model.local_edits.clone());
        consumer.check(self.client.path(), &self.db, &not_shown, &edited)
    }

    /// Whether the next full scan continues an earlier one.
    fn resumes(&self) -> bool {
        let scans = self.db.scans();
        let last = scans.iter().rfind(|scan| scan.full);
        last.is_some_and(|scan| !scan.is_settled() && 0 < scan.pages)
    }

    async fn change_server_before(&self, number: u64, run: &RunScenario) {
        let mut rng = stream(self.scenario.seed, 2_000, number);
        let mut admin_rng = stream(self.scenario.seed, 2_001, number);
        let mut defect_rng = stream(self.scenario.seed, 7_002, number);
        let mut backup_rng = stream(self.scenario.seed, 7_004, number);
        let mut names_rng = stream(self.scenario.seed, 8_001, number);
        let hazards = self.scenario.hazards;
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
                let names = &self.scenario.names;
                let has_tables = run.scope.types.len() + run.reference.len() != 0;
                if names.activity && has_tables && percent(&mut names_rng, 60) {
                    server_activity::change_reference(model, server, now, &mut names_rng);
                }
                if names.activity && has_tables && percent(&mut names_rng, 25) {
                    server_activity::change_outages(model, now, &mut names_rng);
                }
                if names.profiles_change && percent(&mut names_rng, 15) {
                    server_activity::change_profile(model, server, now, &mut names_rng);
                }
                if hazards.restored_backups && percent(&mut backup_rng, 50) {
                    server_activity::restore(model, server, now, &mut backup_rng);
                }
                if hazards.has_defects() && percent(&mut defect_rng, 60) {
                    row_defects::change(model, server, now, hazards, &mut defect_rng);
                }
            });
        }
    }

    /// Changes the local database between two runs, as no run does.
    fn change_local_database(&mut self, number: u64) {
        let Hazards { local_edits, restored_backups, .. } = self.scenario.hazards;
        let mut rng = stream(self.scenario.seed, 7_003, number);
        let path = self.client.path();
        if let Some(consumer) = self.consumer.as_mut().filter(|_| percent(&mut rng, 30)) {
            consumer.take_delta(path);
        }
        while local_edits && percent(&mut rng, 60) {
            let Some(edit) = LocalEdit::draw(&self.db.ticket_ids(), &mut rng) else { break };
            edit.apply(path);
            self.transport.with(|model, _, now| {
                model.coverage.record(CoverageEvent::EditedLocally);
                model.record_local_edit(&edit.tickets);
                let verb = if edit.fires_triggers { "runs" } else { "the disk loses what this deletes:" };
                model.log(now, || format!("{verb} {}", edit.sql));
            });
        }
        if let Some(consumer) = self.consumer.as_mut().filter(|_| percent(&mut rng, 30)) {
            consumer.take_delta(path);
        }
        if local_edits && percent(&mut rng, 20) {
            self.client.check_hashes();
            self.transport.log(|| "checks the hashes of all rows".into());
        }
        if !restored_backups {
            return;
        }
        if percent(&mut rng, 40) {
            self.transport.log(|| "copies the local database".into());
            self.client.back_up();
            self.local_backup = Some(self.transport.with(|model, _, _| model.back_up_promises()));
        } else if let Some(backup) = self.local_backup.as_ref().filter(|_| percent(&mut rng, 50)) {
            self.transport.log(|| "restores the copy of the local database".into());
            self.client.restore_backup();
            self.transport.with(|model, _, _| {
                self.checker.forget_newer(&self.db, model);
                model.restore_promises(backup);
                model.coverage.record(CoverageEvent::LocalBackupRestored);
            });
            // A new lineage begins, and every consumer starts again.
            self.consumer = Some(Consumer::default());
        }
    }

    /// Erases tickets of whatever kind between two runs, and lets erased ones be stored again.
    fn purge_tickets(&mut self, number: u64) {
        if !self.scenario.hazards.purges {
            return;
        }
        let mut rng = stream(self.scenario.seed, 9_001, number);
        while percent(&mut rng, 60) {
            let (purged, known): (Vec<i64>, Vec<i64>) = self.transport.with(|model, _, _| {
                (model.purged.iter().copied().collect(), model.tickets.keys().copied().collect())
            });
            let undone = rng.choice(&purged).filter(|_| percent(&mut rng.fork(), 35)).copied();
            if let Some(id) = undone {
                self.client.undo_purge(id);
                self.transport.with(|model, _, now| model.undo_purge(id, now));
            } else if let Some(id) = rng.choice(&known).copied()
                && self.client.purge(id, rng.bool())
            {
                self.transport.with(|model, _, now| model.purge(id, now));
            }
            if let Some(consumer) = self.consumer.as_mut().filter(|_| percent(&mut rng, 30)) {
                consumer.take_delta(self.client.path());
            }
        }
    }

    /// Executes a run and checks the invariants. Returns whether the run was complete.
    async fn run(&mut self, number: u64, scenario: &RunScenario) -> Result<bool, String> {
        let (run_id, watermark) = (self.db.last_run(), self.db.watermark());
        let resumes = self.resumes();
        let seq = self.transport.with(|model, _, _| model.seq);
        let before = Before {
            run_id,
            watermark,
            seq,
            extras: ExtrasBefore::read(&self.db, seq),
            lists: stored_lists(&self.db),
            unlisted: self.db.unlisted_tickets().into_keys().collect(),
            tickets: self.scenario.hazards.rejected_values.then(|| self.db.tickets()),
            is_undisturbed_next: FIRST_FINAL_RUN <= number && !resumes,
        };
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
        self.transport.with(|model, server, now| {
            checker.check_after_run(db, (model, server, now), &trace, &before, &end)
        })?;
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
