//! When a round begins, and what follows from its end.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::Service;
use super::rhythm::Rhythm;
use super::round::{Ended, Round};
use super::trouble::{Consequence, consequence};
use crate::agent::{AgentError, now};
use crate::config::{Config, Sync};
use crate::sync::{Report, SyncError};

/// No clock can tell of moments that are much further away.
const WAIT_MAX: Duration = Duration::from_hours(24 * 366);

/// How often the database is inspected.
const INSPECTION: Duration = Duration::from_hours(24);

impl Service {
    /// Begins a round.
    pub(super) fn begin(&mut self) -> Result<(), AgentError> {
        self.begun = Instant::now();
        self.wanted_now = false;
        if self.copy.is_replaced(&self.loaded.config) {
            tracing::warn!("the database was moved, removed or replaced: opening what has its name now");
            if !self.reopen()? {
                self.failed += 1;
                self.wait();
                self.tell_status();
                return Ok(());
            }
        }
        let halo = Arc::clone(&self.board.entries().halo);
        let round = Round {
            loaded: Arc::clone(&self.loaded),
            halo,
            store: self.copy.store().clone(),
            board: Arc::clone(&self.board),
            stop: self.stop.clone(),
            inspects: self.inspected_at.is_none_or(|at| INSPECTION <= at.elapsed()),
        };
        self.under_way = Some(tokio::spawn(round.run()));
        self.tell_status();
        Ok(())
    }

    /// Opens the database anew; gives whether it could be. What is no database of ours ends the service,
    /// everything else is an outage.
    fn reopen(&mut self) -> Result<bool, AgentError> {
        match self.copy.reopen(&self.loaded.config) {
            Ok(()) => {
                // Another file is another one to look through.
                self.inspected_at = None;
                self.board.entries().database_ok = None;
                Ok(true)
            }
            Err(error) if error.exit_status() == 78 => Err(error),
            Err(error) => {
                self.tell_trouble(&error.chain(), Some(&error.help()));
                Ok(false)
            }
        }
    }

    /// Lets the next round begin when the rhythm wants it.
    fn wait(&mut self) {
        let Sync { interval, jitter, .. } = self.config().sync;
        self.begin_in(Rhythm { interval, jitter }.wait(self.begun.elapsed(), self.failed, fastrand::f64()));
    }

    /// Lets the next round begin so long from now.
    pub(super) fn begin_in(&mut self, wait: Duration) {
        let wait = wait.min(WAIT_MAX);
        self.due = Instant::now() + wait;
        self.due_at = now().minus(-TimeDelta::from_std(wait).unwrap_or_default());
    }

    /// A round is over: what it means, and when the next one begins.
    pub(super) fn settle(&mut self, ended: Ended, heed: &impl Fn(&Config)) -> Result<(), AgentError> {
        let halo = Arc::clone(&self.board.entries().halo);
        self.let_in |= halo.was_let_in();
        let took = ended.took;
        let mut at_once = self.wanted_now;
        let Ended { pass, upkeep, .. } = ended;
        match pass {
            Ok(report) => self.settle_report(&report, took),
            Err(SyncError::Stopped) => return Ok(()),
            Err(error) => at_once |= self.settle_failure(error.into(), heed)?,
        }
        self.tell_upkeep(&upkeep);
        self.board.entries().last_duration = Some(took);
        self.write_figures();
        if let Some(accepted) = self.settings_next.take() {
            self.take_up(accepted, heed);
            at_once |= self.failed != 0;
        }
        self.wait();
        if at_once {
            self.begin_in(Duration::ZERO);
        }
        self.tell_status();
        Ok(())
    }

    fn settle_report(&mut self, report: &Report, took: Duration) {
        self.settings_before = None;
        self.disk_failed = false;
        self.failed = 0;
        self.tell_pass(report, took);
        match report.outcome.why() {
            None => {
                self.board.entries().passes.complete += 1;
                self.tell_recovery();
            }
            Some(why) => {
                self.board.entries().passes.incomplete += 1;
                self.tell_trouble(&why, report.outcome.help());
            }
        }
    }

    /// What follows from a failed pass; gives whether another one is to begin at once.
    fn settle_failure(&mut self, error: AgentError, heed: &impl Fn(&Config)) -> Result<bool, AgentError> {
        self.board.entries().passes.failed += 1;
        self.failed = self.failed.saturating_add(1);
        let follows = consequence(&error, self.let_in, self.disk_failed);
        self.disk_failed = follows == Consequence::Reopen;
        if follows == Consequence::End && self.settings_next.is_none() {
            return if self.take_back(&error, heed)? { Ok(true) } else { Err(error) };
        }
        self.tell_trouble(&error.chain(), Some(&error.help()));
        match follows {
            // With a wait: a disk that fails does so again within the same moment.
            Consequence::Reopen => self.reopen().map(|_| false),
            Consequence::ReadSecretAgain => Ok(self.take_new_secret()),
            // Settings that came meanwhile may mend it.
            Consequence::End | Consequence::Retry => Ok(false),
        }
    }

    /// SIGUSR1: a round now, or right after the one under way.
    pub(super) fn sync_now(&mut self) {
        tracing::info!("a pass is wanted now");
        self.wanted_now = true;
        self.begin_in(Duration::ZERO);
    }
}
