//! Starts cycles and acts on their results.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::Service;
use super::cycle::{CycleResult, ServiceCycle};
use super::failure_policy::{FailureAction, failure_action};
use super::schedule::RunSchedule;
#[cfg(feature = "lake")]
use crate::app::lake::PushMoment;
use crate::app::{AppError, ExitStatus, now};
use crate::config::{Config, SyncConfig};
use crate::sync::{RunReport, SyncError};

/// The longest delay: clocks cannot represent times that are much further away.
const DELAY_MAX: Duration = Duration::from_hours(24 * 366);

/// How often the database is checked for damage.
const INTEGRITY_CHECK_INTERVAL: Duration = Duration::from_hours(24);

impl Service {
    /// Starts a cycle.
    pub(super) fn begin_cycle(&mut self) -> Result<(), AppError> {
        self.cycle_started = Instant::now();
        self.run_was_requested = std::mem::take(&mut self.run_requested);
        if self.locked_store.is_replaced(&self.loaded.config) {
            tracing::warn!("the database was moved, removed or replaced: opening the file that is there now");
            if !self.reopen_database()? {
                self.failed_runs += 1;
                self.schedule_next();
                self.update_status();
                return Ok(());
            }
        }
        let halo = Arc::clone(&self.state.lock().halo);
        let cycle = ServiceCycle {
            loaded: Arc::clone(&self.loaded),
            halo,
            store: self.locked_store.store.clone(),
            state: Arc::clone(&self.state),
            stop: self.stop.clone(),
            checks_integrity: self
                .integrity_checked_at
                .is_none_or(|at| INTEGRITY_CHECK_INTERVAL <= at.elapsed()),
        };
        self.running_cycle = Some(tokio::spawn(cycle.run()));
        self.update_status();
        Ok(())
    }

    /// Opens the database again; returns whether that succeeded. A file that is not the database of this server
    /// ends the service, everything else is an outage.
    fn reopen_database(&mut self) -> Result<bool, AppError> {
        match self.locked_store.reopen(&self.loaded.config) {
            Ok(()) => {
                // A new file has not been checked for damage.
                self.integrity_checked_at = None;
                self.state.lock().process.database_ok = None;
                Ok(true)
            }
            Err(error) if error.exit_status() == ExitStatus::Config => Err(error),
            Err(error) => {
                self.record_failure(&error.chain(), Some(&error.help()));
                Ok(false)
            }
        }
    }

    /// Schedules the next cycle at the interval, or earlier after a failure.
    fn schedule_next(&mut self) {
        let SyncConfig { interval, jitter, .. } = self.config().sync;
        self.schedule_in(RunSchedule { interval, jitter }.delay_after(
            self.cycle_started.elapsed(),
            self.failed_runs,
            fastrand::f64(),
        ));
    }

    /// Schedules the next cycle after `delay`.
    pub(super) fn schedule_in(&mut self, delay: Duration) {
        let delay = delay.min(DELAY_MAX);
        self.next_cycle_due = Instant::now() + delay;
        self.next_run_at = now().plus(TimeDelta::from_std(delay).unwrap_or_default());
    }

    /// Acts on the result of a cycle and schedules the next one.
    pub(super) fn finish_cycle(
        &mut self,
        result: CycleResult,
        apply_config: &impl Fn(&Config),
    ) -> Result<(), AppError> {
        let halo = Arc::clone(&self.state.lock().halo);
        self.history.has_authenticated |= halo.has_authenticated();
        let took = result.took;
        let mut run_immediately = self.run_requested;
        let CycleResult { run, maintenance, .. } = result;
        match run {
            Ok(report) => self.record_run_report(&report, took),
            Err(SyncError::Stopped) => return Ok(()),
            Err(error) => run_immediately |= self.handle_run_failure(error.into(), apply_config)?,
        }
        self.log_maintenance(&maintenance);
        #[cfg(feature = "lake")]
        self.push_to_lake_if_due(PushMoment::AfterRun);
        self.state.lock().process.last_duration = Some(took);
        self.write_textfile();
        if let Some(accepted) = self.pending_config.take() {
            self.activate_config(accepted, apply_config);
            run_immediately |= self.failed_runs != 0;
        }
        self.schedule_next();
        if run_immediately {
            self.schedule_in(Duration::ZERO);
        }
        self.update_status();
        Ok(())
    }

    fn record_run_report(&mut self, report: &RunReport, took: Duration) {
        self.previous_config = None;
        self.history.disk_failed = false;
        self.failed_runs = 0;
        self.log_run(report, took);
        match report.outcome.reason() {
            None => {
                self.state.lock().process.run_counts.complete += 1;
                self.record_recovery();
            }
            Some(why) => {
                self.state.lock().process.run_counts.incomplete += 1;
                self.record_failure(&why, report.outcome.help());
            }
        }
    }

    /// Acts on a failed run; returns whether the next one starts at once.
    fn handle_run_failure(
        &mut self,
        error: AppError,
        apply_config: &impl Fn(&Config),
    ) -> Result<bool, AppError> {
        self.state.lock().process.run_counts.failed += 1;
        self.run_log.record_failure(Instant::now());
        self.failed_runs = self.failed_runs.saturating_add(1);
        let action = failure_action(&error, self.history);
        self.history.disk_failed = action == FailureAction::ReopenDatabase;
        if action == FailureAction::StopService && self.pending_config.is_none() {
            return if self.restore_previous_config(&error, apply_config)? { Ok(true) } else { Err(error) };
        }
        self.record_failure(&error.chain(), Some(&error.help()));
        match action {
            // With a delay: a disk that failed is likely to fail again at once.
            FailureAction::ReopenDatabase => self.reopen_database().map(|_| false),
            FailureAction::ReloadSecret => Ok(self.reload_secret()),
            // Pending settings may fix it.
            FailureAction::StopService | FailureAction::Retry => Ok(false),
        }
    }

    /// Handles SIGUSR1: starts a cycle now, or right after the running one.
    pub(super) fn sync_now(&mut self) {
        tracing::info!("run requested by SIGUSR1");
        self.run_requested = true;
        self.schedule_in(Duration::ZERO);
    }
}
