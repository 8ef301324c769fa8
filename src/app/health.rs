//! The one definition of health, for `status`, the metrics and `/readyz`.
//!
//! A pure function of a status report: the facts in the database, the settings and the time.

use std::fmt;

use chrono::TimeDelta;
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::count;
use super::duration::age_to_text;
use super::status::StatusReport;
use crate::config::size_to_text;
use crate::store::{LastRun, PendingTickets, RunKind, RunStatus, UnlistedStatus};
use crate::sync::{RunOutcome, SyncError};
use crate::ticket::Timestamp;
use crate::watermark::WatermarkState;

/// The disk is nearly full when less than that many times `min_free_disk` is free.
const LOW_DISK_FACTOR: u64 = 2;

/// After that many failed pushes somebody has to look; fewer are an outage that may end by itself.
const LAKE_FAILURES_MIN: u32 = 3;

/// Whether an administrator has to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthLevel {
    /// There is nothing to do.
    Ok,
    /// There is at least one reason to look.
    Attention,
}

/// A reason why health needs attention; the order is that of [`Assessment::reasons`].
#[derive(Clone, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum HealthReason {
    /// The last integrity check found damage.
    DatabaseDamaged,
    /// Another program changed the schema.
    SchemaChanged(String),
    /// The disk of the database is full or nearly full.
    DiskLow {
        /// The free space in bytes.
        free: u64,
        /// The free space below which runs stop, in bytes.
        minimum: u64,
    },
    /// No full scan of the present scope was complete yet.
    InitialLoadIncomplete {
        /// Tickets that were received and stored.
        received: u64,
        /// The server's count of all.
        total: Option<u64>,
        /// Whether a run is under way.
        is_running: bool,
    },
    /// So many tickets would be deleted that a person has to confirm it.
    DeleteGuard {
        /// How many would be deleted.
        removals: u64,
        /// How many may be deleted without confirmation.
        allowed: u64,
    },
    /// The last complete run ended too long ago.
    Stale {
        /// When it ended and how long ago that is, if a record of it is kept.
        last_complete: Option<(Timestamp, TimeDelta)>,
    },
    /// The last run that ended was not complete, for another reason than those that have their own.
    LastRunNotComplete {
        /// Whether it failed; otherwise it is incomplete.
        failed: bool,
        /// Why.
        error: Option<String>,
    },
    /// Tickets are listed that cannot be read.
    PendingTickets(PendingTickets),
    /// The last full scan showed rows without a usable id.
    RejectedRows(u64),
    /// Another program changed the stored tickets.
    LocalEdits(String),
    /// The server sent values that could not be stored as received.
    RejectedValues(u64),
    /// The server refuses to show the custom fields of so many tickets.
    UnreadableCustomFields(u64),
    /// The server no longer lists some tickets, and does not say that they are deleted.
    UnlistedTickets(Vec<(UnlistedStatus, u64)>),
    /// Packages cannot be shipped to the lake.
    LakeNotShipped {
        /// Pushes in a row that failed.
        failures: u32,
        /// Why the last one failed.
        error: String,
    },
}

impl HealthReason {
    /// The identifier of the reason in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }

    /// Whether the data must not be relied on.
    #[must_use]
    pub const fn prevents_readiness(&self) -> bool {
        use HealthReason::{DatabaseDamaged, DeleteGuard, InitialLoadIncomplete, Stale};
        matches!(self, DatabaseDamaged | DeleteGuard { .. } | InitialLoadIncomplete { .. } | Stale { .. })
    }

    /// What an administrator can do, in one clause.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            HealthReason::DatabaseDamaged => {
                "restore a backup, or move the file away, then run `halosync sync`; `halosync check` shows the damage"
            }
            HealthReason::SchemaChanged(_) => "`halosync check` shows how to undo it",
            HealthReason::DiskLow { .. } => "make room on that disk, or lower `min_free_disk`",
            HealthReason::InitialLoadIncomplete { is_running: true, .. } => "it continues by itself",
            HealthReason::InitialLoadIncomplete { received: 0, .. } => "`halosync sync` starts it",
            HealthReason::InitialLoadIncomplete { .. } => "`halosync sync` continues it",
            HealthReason::DeleteGuard { .. } => RunOutcome::DELETE_GUARD_HELP,
            HealthReason::Stale { .. } => {
                "`halosync sync` catches up; `halosync check` finds what prevents it"
            }
            HealthReason::LastRunNotComplete { failed: true, .. } => "`halosync check` finds the cause",
            HealthReason::LastRunNotComplete { failed: false, .. } => {
                "`halosync sync` tries again, and says what to do where that does not help"
            }
            HealthReason::PendingTickets(_) => {
                "every `halosync sync` asks again; with `accept_shortfall` runs are complete all the same"
            }
            HealthReason::RejectedRows(_) => {
                "correct the data in HaloITSM and run `halosync sync --full`; with `accept_shortfall` runs are \
                 complete all the same"
            }
            HealthReason::LocalEdits(_) => "`halosync sync --full` repairs them",
            HealthReason::RejectedValues(_) => {
                "the last good value stays; the table `rejects` shows what the server sent"
            }
            HealthReason::UnreadableCustomFields(_) => {
                "let the agent of the API application see them, then run `halosync sync --full`"
            }
            HealthReason::LakeNotShipped { .. } => {
                "`halosync lake push` tries again, and says what to do; `halosync lake status` shows what waits"
            }
            HealthReason::UnlistedTickets(_) => {
                "nothing was deleted; the table `unlisted_tickets` has the details, `halosync sync --full` asks again"
            }
        }
    }
}

impl fmt::Display for HealthReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HealthReason::DatabaseDamaged => out.write_str("the database is damaged"),
            HealthReason::SchemaChanged(changes) => {
                write!(out, "another program changed the schema: {changes}")
            }
            HealthReason::DiskLow { free, minimum } => {
                let nearly = if *free < *minimum { "" } else { "nearly " };
                let (free, minimum) = (size_to_text(*free), size_to_text(*minimum));
                write!(out, "the disk is {nearly}full: {free} are free, runs stop below {minimum}")
            }
            HealthReason::InitialLoadIncomplete { received, total, is_running } => {
                let state = if *is_running { "is under way" } else { "has not completed" };
                write!(out, "the initial load {state}")?;
                match (received, total) {
                    (0, _) => Ok(()),
                    (received, Some(total)) if received <= total => {
                        let received = indicatif::HumanCount(*received);
                        write!(out, ": {received} of {} are saved", count(*total, "ticket"))
                    }
                    (1, _) => out.write_str(": 1 ticket is saved"),
                    (received, _) => write!(out, ": {} are saved", count(*received, "ticket")),
                }
            }
            HealthReason::DeleteGuard { removals, allowed } => {
                let outcome = RunOutcome::DeleteGuard { removals: *removals, allowed: *allowed };
                out.write_str(&outcome.reason().unwrap_or_default())
            }
            HealthReason::Stale { last_complete: Some((at, age)) } => {
                write!(out, "the last complete run ended at {}, {}", at.to_second(), age_to_text(*age))
            }
            HealthReason::Stale { last_complete: None } => out.write_str("no complete run is on record"),
            HealthReason::LastRunNotComplete { failed, error } => {
                out.write_str(if *failed { "the last run failed" } else { "the last run was incomplete" })?;
                error.as_ref().map_or(Ok(()), |error| write!(out, ": {error}"))
            }
            HealthReason::PendingTickets(PendingTickets { count: pending, first_ids }) => {
                let ids: Vec<_> = first_ids.iter().map(ToString::to_string).collect();
                let more = if first_ids.len() as u64 == *pending { "" } else { ", …" };
                write!(out, "{} cannot be read yet: {}{more}", count(*pending, "ticket"), ids.join(", "))
            }
            HealthReason::RejectedRows(rows) => {
                write!(out, "{} no usable id", with_verb(*rows, "row", "has", "have"))
            }
            HealthReason::LocalEdits(edits) => {
                write!(out, "another program changed the stored tickets ({edits})")
            }
            HealthReason::RejectedValues(values) => {
                write!(out, "{} could not be stored as received", count(*values, "value"))
            }
            HealthReason::UnreadableCustomFields(tickets) => {
                write!(out, "the server refuses the custom fields of {}", count(*tickets, "ticket"))
            }
            HealthReason::UnlistedTickets(unlisted) => {
                let tickets = unlisted.iter().map(|(_, tickets)| tickets).sum();
                let subject = with_verb(tickets, "ticket", "is", "are");
                write!(out, "{subject} no longer listed by the server: {}", unlisted_to_text(unlisted))
            }
            HealthReason::LakeNotShipped { failures, error } => {
                let times = count(u64::from(*failures), "time");
                write!(out, "shipping to the lake failed {times} in a row: {error}")
            }
        }
    }
}

/// Whether somebody interrupted a run.
#[must_use]
pub fn was_interrupted(run: &LastRun) -> bool {
    run.error.as_deref() == Some(SyncError::Stopped.to_string().as_str())
}

fn with_verb(number: u64, noun: &str, singular: &str, plural: &str) -> String {
    format!("{} {}", count(number, noun), if number == 1 { singular } else { plural })
}

/// What is known about unlisted tickets: `2 refused, 1 still on the server`.
#[must_use]
pub fn unlisted_to_text(unlisted: &[(UnlistedStatus, u64)]) -> String {
    let parts = unlisted.iter().map(|(status, tickets)| {
        let state = match status {
            UnlistedStatus::Guarded => "kept by the delete guard",
            UnlistedStatus::NotAsked => "not asked for yet",
            UnlistedStatus::Missing => "not found, to be asked for again",
            UnlistedStatus::Forbidden => "refused (403)",
            UnlistedStatus::NotListed => "still on the server",
            UnlistedStatus::Unreadable => "unreadable",
        };
        format!("{} {state}", indicatif::HumanCount(*tickets))
    });
    parts.collect::<Vec<_>>().join(", ")
}

impl Serialize for HealthReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("HealthReason", 3)?;
        document.serialize_field("reason", self.as_str())?;
        document.serialize_field("message", &self.to_string())?;
        document.serialize_field("help", self.help())?;
        document.end()
    }
}

/// What [`StatusReport::assess`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// Every reason, the most serious first.
    pub reasons: Vec<HealthReason>,
}

impl Assessment {
    /// Whether there is any reason to look.
    #[must_use]
    pub fn level(&self) -> HealthLevel {
        if self.reasons.is_empty() { HealthLevel::Ok } else { HealthLevel::Attention }
    }

    /// Why the data must not be relied on, if so.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<&HealthReason> {
        self.reasons.iter().find(|reason| reason.prevents_readiness())
    }
}

impl StatusReport {
    /// Assesses the health; `database_ok` is the result of the last integrity check, if there was one.
    #[must_use]
    pub fn assess(&self, database_ok: Option<bool>) -> Assessment {
        let health = &self.health;
        let mut reasons = self.assess_file(database_ok);
        let state = health.watermark.as_ref().map(|watermark| watermark.state);
        let is_initial = state != Some(WatermarkState::Incremental);
        if is_initial {
            reasons.push(HealthReason::InitialLoadIncomplete {
                received: health.saved_by_initial_load(),
                total: health.interrupted_scan_count,
                is_running: self.is_running(),
            });
        }
        if let Some(RunOutcome::DeleteGuard { removals, allowed }) = self.delete_guard {
            reasons.push(HealthReason::DeleteGuard { removals, allowed });
        }
        let age_reason = (!is_initial && self.is_stale()).then(|| HealthReason::Stale {
            last_complete: health.last_complete_at.zip(self.last_complete_age()),
        });
        // Where runs go on and lack something, that is why none was complete.
        let (stale_first, stale_last) =
            if self.lacks_only() { (None, age_reason) } else { (age_reason, None) };
        reasons.extend(stale_first);
        let last_run_at = reasons.len();
        if self.accepted_lacks() == 0 && health.pending_tickets.count != 0 {
            reasons.push(HealthReason::PendingTickets(health.pending_tickets.clone()));
        }
        if self.accepted_lacks() == 0 && health.rejected_rows != 0 {
            reasons.push(HealthReason::RejectedRows(health.rejected_rows));
        }
        reasons.extend(stale_last);
        if let Some(edits) = self.inspection.as_ref().and_then(|it| it.local_edits.clone()) {
            reasons.push(HealthReason::LocalEdits(edits));
        }
        if let rejected_values @ 1.. = health.rejects.saturating_sub(health.rejected_rows) {
            reasons.push(HealthReason::RejectedValues(rejected_values));
        }
        if health.unreadable != 0 {
            reasons.push(HealthReason::UnreadableCustomFields(health.unreadable));
        }
        let stays = |status| {
            use UnlistedStatus::{Forbidden, NotListed, Unreadable};
            matches!(status, Forbidden | NotListed | Unreadable)
        };
        let unlisted: Vec<_> =
            health.unlisted_by_status.iter().copied().filter(|(status, _)| stays(*status)).collect();
        if !unlisted.is_empty() {
            reasons.push(HealthReason::UnlistedTickets(unlisted));
        }
        let pushes = self.lake.as_ref().and_then(|lake| lake.pushes.as_ref());
        if let Some(pushes) = pushes.filter(|pushes| LAKE_FAILURES_MIN <= pushes.failures) {
            let error = pushes.error.clone().unwrap_or_default();
            reasons.push(HealthReason::LakeNotShipped { failures: pushes.failures, error });
        }
        if let Some(reason) = self.assess_last_run(&reasons) {
            reasons.insert(last_run_at, reason);
        }
        Assessment { reasons }
    }

    /// Whether the last run ended a short time ago and was incomplete.
    fn lacks_only(&self) -> bool {
        let run = self.health.runs.iter().find(|run| run.kind == RunKind::Sync && run.outcome.is_some());
        let ended_at = run
            .filter(|run| run.outcome == Some(RunStatus::Incomplete))
            .and_then(|run| run.ended_at.as_deref()?.parse::<Timestamp>().ok());
        ended_at.is_some_and(|at| self.now.instant() - at.instant() <= self.stale_after)
    }

    /// Whether the database and its disk are sound.
    fn assess_file(&self, database_ok: Option<bool>) -> Vec<HealthReason> {
        let mut reasons = Vec::new();
        if database_ok == Some(false) || self.inspection.as_ref().is_some_and(|it| it.is_damaged) {
            reasons.push(HealthReason::DatabaseDamaged);
        }
        if let Some(changes) = self.inspection.as_ref().and_then(|it| it.schema_changes.clone()) {
            reasons.push(HealthReason::SchemaChanged(changes));
        }
        let minimum = self.min_free_disk;
        if let Some(free) =
            self.free_disk_bytes.filter(|free| *free < minimum.saturating_mul(LOW_DISK_FACTOR))
        {
            reasons.push(HealthReason::DiskLow { free, minimum });
        }
        reasons
    }

    /// Why the last run that ended was not complete, except what is among `reasons`. A run without an outcome is still
    /// running or was killed.
    fn assess_last_run(&self, reasons: &[HealthReason]) -> Option<HealthReason> {
        let runs = &self.health.runs;
        let run = runs.iter().find(|run| run.kind == RunKind::Sync && run.outcome.is_some())?;
        let failed = match run.outcome? {
            RunStatus::Complete => return None,
            RunStatus::Incomplete => false,
            RunStatus::Failed => true,
        };
        // Whoever interrupted it knows, and the next run continues.
        if was_interrupted(run) {
            return None;
        }
        // A run joins its reasons with semicolons, and some contain one.
        let known: Vec<_> = reasons.iter().map(ToString::to_string).collect();
        let is_known = |part: &str| {
            known.iter().any(|it| it.split("; ").any(|it| !it.is_empty() && part.starts_with(it)))
        };
        let error = run.error.as_deref().map(|error| {
            error.split("; ").filter(|part| failed || !is_known(part)).collect::<Vec<_>>().join("; ")
        });
        if error.as_deref() == Some("") {
            return None;
        }
        Some(HealthReason::LastRunNotComplete { failed, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Inspection;
    use crate::store::{InterruptedScan, ScanCheckpoint};
    use crate::ticket::ChangeCounts;
    use crate::watermark::Watermark;

    use RunKind::{DryRun, Sync};
    use RunStatus::{Complete, Failed, Incomplete};

    const NOW: &str = "2026-11-22T12:00:00.000Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run((kind, outcome): (RunKind, Option<RunStatus>)) -> LastRun {
        LastRun {
            run_id: 1,
            kind,
            outcome,
            error: outcome.filter(|it| *it != Complete).map(|_| "why".to_owned()),
            started_at: NOW.into(),
            ended_at: None,
            requests: 1,
            changes: ChangeCounts::default(),
        }
    }

    /// A healthy report with one change.
    fn with(change: impl FnOnce(&mut StatusReport)) -> StatusReport {
        let mut report = StatusReport::example();
        change(&mut report);
        report
    }

    fn runs(runs: &[(RunKind, Option<RunStatus>)]) -> StatusReport {
        with(|it| it.health.runs = runs.iter().copied().map(run).collect())
    }

    fn failed_with(outcome: RunStatus, error: &str) -> impl Fn(&mut StatusReport) {
        move |it| {
            it.health.runs = vec![LastRun { error: Some(error.to_owned()), ..run((Sync, Some(outcome))) }];
        }
    }

    fn initial(report: &mut StatusReport) {
        let mark = report.health.watermark.take().unwrap();
        report.health.watermark = Some(Watermark { state: WatermarkState::Initial, ..mark });
    }

    fn pending(count: u64) -> PendingTickets {
        PendingTickets { count, first_ids: vec![5, 7] }
    }

    const GUARD: RunOutcome = RunOutcome::DeleteGuard { removals: 500, allowed: 400 };

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn health_is_ok_or_names_every_reason() {
        let ended_at = |at| with(|it| it.health.last_complete_at = at);
        let (edge, old) = (Some(at("2026-11-22T11:45:00.000Z")), Some(at("2026-11-22T11:44:59.999Z")));
        let failed = (Sync, Some(Failed));
        let complete = (Sync, Some(Complete));
        let free = |bytes| with(move |it| it.free_disk_bytes = bytes);
        let unlisted = |status| with(move |it| it.health.unlisted_by_status = vec![(status, 3)]);
        let inspection = |inspection| with(|it| it.inspection = Some(inspection));
        let all = with(|it| {
            failed_with(Failed, "why")(it);
            it.inspection = Some(Inspection {
                is_damaged: true,
                schema_changes: Some("x".into()),
                local_edits: Some("y".into()),
            });
            it.free_disk_bytes = Some(0);
            it.delete_guard = Some(GUARD);
            it.health.last_complete_at = old;
            it.health.pending_tickets = pending(2);
            (it.health.rejects, it.health.rejected_rows, it.health.unreadable) = (5, 2, 1);
            it.health.unlisted_by_status = vec![(UnlistedStatus::Forbidden, 1)];
        });
        let every_reason = "database_damaged schema_changed disk_low delete_guard stale last_run_not_complete \
                            pending_tickets rejected_rows local_edits rejected_values unreadable_custom_fields \
                            unlisted_tickets";
        let cases = vec![
            ("healthy", with(|_| ()), Some(true), "", true),
            ("never checked", with(|_| ()), None, "", true),
            ("damaged", with(|_| ()), Some(false), "database_damaged", false),
            (
                "damage found now",
                inspection(Inspection { is_damaged: true, ..Inspection::default() }),
                None,
                "database_damaged",
                false,
            ),
            (
                "schema",
                inspection(Inspection { schema_changes: Some("x".into()), ..Inspection::default() }),
                None,
                "schema_changed",
                true,
            ),
            (
                "edits",
                inspection(Inspection { local_edits: Some("x".into()), ..Inspection::default() }),
                None,
                "local_edits",
                true,
            ),
            ("a file system that does not say", free(None), None, "", true),
            ("twice the minimum", free(Some(512 << 20)), None, "", true),
            ("less", free(Some((512 << 20) - 1)), None, "disk_low", true),
            ("no minimum", with(|it| (it.free_disk_bytes, it.min_free_disk) = (Some(0), 0)), None, "", true),
            ("no watermark", with(|it| it.health.watermark = None), None, "initial_load_incomplete", false),
            ("initial", with(initial), None, "initial_load_incomplete", false),
            (
                "initial, and old",
                with(|it| {
                    initial(it);
                    it.health.last_complete_at = old;
                }),
                None,
                "initial_load_incomplete",
                false,
            ),
            ("guard", with(|it| it.delete_guard = Some(GUARD)), None, "delete_guard", false),
            ("three intervals old", ended_at(edge), None, "", true),
            ("older", ended_at(old), None, "stale", false),
            ("no complete run on record", ended_at(None), None, "stale", false),
            ("failed", runs(&[failed]), None, "last_run_not_complete", true),
            ("incomplete", runs(&[(Sync, Some(Incomplete))]), None, "last_run_not_complete", true),
            (
                "running after a failure",
                runs(&[(Sync, None), failed, complete]),
                None,
                "last_run_not_complete",
                true,
            ),
            ("running after a complete run", runs(&[(Sync, None), complete, failed]), None, "", true),
            ("a dry run is no evidence", runs(&[(DryRun, Some(Failed)), complete]), None, "", true),
            ("no runs", runs(&[]), None, "", true),
            ("pending", with(|it| it.health.pending_tickets = pending(2)), None, "pending_tickets", true),
            ("custom fields", with(|it| it.health.pending_fetches = 9), None, "", true),
            (
                "rows",
                with(|it| (it.health.rejects, it.health.rejected_rows) = (2, 2)),
                None,
                "rejected_rows",
                true,
            ),
            ("values", with(|it| it.health.rejects = 1), None, "rejected_values", true),
            (
                "accepted",
                with(|it| {
                    it.accept_shortfall = 3;
                    it.health.pending_tickets = pending(2);
                    (it.health.rejects, it.health.rejected_rows) = (1, 1);
                }),
                None,
                "",
                true,
            ),
            (
                "more than accepted",
                with(|it| {
                    it.accept_shortfall = 2;
                    it.health.pending_tickets = pending(2);
                    (it.health.rejects, it.health.rejected_rows) = (1, 1);
                }),
                None,
                "pending_tickets rejected_rows",
                true,
            ),
            ("unreadable", with(|it| it.health.unreadable = 2), None, "unreadable_custom_fields", true),
            ("refused", unlisted(UnlistedStatus::Forbidden), None, "unlisted_tickets", true),
            ("still there", unlisted(UnlistedStatus::NotListed), None, "unlisted_tickets", true),
            ("to be asked", unlisted(UnlistedStatus::NotAsked), None, "", true),
            ("missing", unlisted(UnlistedStatus::Missing), None, "", true),
            ("everything", all, None, every_reason, false),
        ];
        for (name, report, database_ok, reasons, ready) in cases {
            let found = report.assess(database_ok);
            let names: Vec<_> = found.reasons.iter().map(HealthReason::as_str).collect();
            assert_eq!(names.join(" "), reasons, "{name}");
            assert_eq!(found.level() == HealthLevel::Ok, reasons.is_empty(), "{name}");
            assert_eq!(found.why_not_ready().is_none(), ready, "{name}");
        }
    }

    /// The delete guard, pending tickets and rows without an id have reasons of their own.
    #[test]
    fn last_run_repeats_no_other_reason() {
        let lacking = |outcome, error: &str| {
            with(|it| {
                failed_with(outcome, error)(it);
                it.delete_guard = Some(GUARD);
                it.health.pending_tickets = pending(3);
                (it.health.rejects, it.health.rejected_rows) = (1, 1);
            })
        };
        let guard = "500 tickets would be deleted at once; the delete guard allows 400";
        let rows = "1 row has no usable id (page 3, after ticket 17)";
        let pending = "3 tickets cannot be read yet: 5, 7, …";
        for (outcome, error, expected) in [
            (Incomplete, guard.to_owned(), None),
            (Incomplete, format!("{rows}; {pending}; {guard}"), None),
            (Incomplete, format!("a fault; {guard}"), Some("the last run was incomplete: a fault")),
            (Failed, "a fault".to_owned(), Some("the last run failed: a fault")),
            (Failed, guard.to_owned(), Some(&*format!("the last run failed: {guard}"))),
        ] {
            let reasons = lacking(outcome, &error).assess(None).reasons;
            let last_run = reasons.iter().find(|it| it.as_str() == "last_run_not_complete");
            assert_eq!(last_run.map(ToString::to_string).as_deref(), expected, "{error}");
        }
    }

    #[test]
    fn what_recent_runs_lack_comes_before_the_age_that_follows_from_it() {
        for (ended_at, expected) in [
            ("2026-11-22T11:59:00.000Z", "pending_tickets stale"),
            ("2026-11-22T11:00:00.000Z", "stale pending_tickets"),
        ] {
            let report = with(|it| {
                failed_with(Incomplete, "3 tickets cannot be read yet: 5, 7, …")(it);
                it.health.runs[0].ended_at = Some(ended_at.into());
                it.health.pending_tickets = pending(3);
                it.health.last_complete_at = None;
            });
            let names: Vec<_> = report.assess(None).reasons.iter().map(HealthReason::as_str).collect();
            assert_eq!(names.join(" "), expected, "{ended_at}");
        }
    }

    #[test]
    fn initial_load_says_how_far_it_is_and_whether_it_continues() {
        let load = |received: u64, total, is_running: bool| {
            let report = with(|it| {
                initial(it);
                let checkpoint =
                    ScanCheckpoint { ids: (1..=received).collect(), ..ScanCheckpoint::default() };
                it.health.interrupted_scan = Some(InterruptedScan {
                    scan_id: 1,
                    started_at: at(NOW),
                    checkpoint,
                    earlier_list_ids: (1..1).collect(),
                    earlier_rejected_rows: vec![],
                });
                it.health.interrupted_scan_count = total;
                it.holders.writer = is_running.then_some(815);
                it.health.runs = vec![run((Sync, None))];
            });
            let reason = report.assess(None).reasons.remove(0);
            (reason.to_string(), reason.help())
        };
        let (starts, continues, waits) =
            ("`halosync sync` starts it", "`halosync sync` continues it", "it continues by itself");
        for (received, total, is_running, message, help) in [
            (0, None, false, "the initial load has not completed", starts),
            (0, Some(8), true, "the initial load is under way", waits),
            (1, None, false, "the initial load has not completed: 1 ticket is saved", continues),
            (3_200, None, true, "the initial load is under way: 3,200 tickets are saved", waits),
            (
                3_200,
                Some(8_000),
                true,
                "the initial load is under way: 3,200 of 8,000 tickets are saved",
                waits,
            ),
            // Tickets that disappeared meanwhile were received, too.
            (9, Some(8), false, "the initial load has not completed: 9 tickets are saved", continues),
        ] {
            assert_eq!(load(received, total, is_running), (message.to_owned(), help));
        }
    }

    #[test]
    fn reasons_are_clauses_with_numbers_and_causes() {
        let disk = |free| HealthReason::DiskLow { free, minimum: 256 << 20 };
        let last_complete = Some((at("2026-11-22T09:00:00.123Z"), TimeDelta::hours(3)));
        for (reason, message) in [
            (
                HealthReason::LastRunNotComplete { failed: true, error: Some("why".into()) },
                "the last run failed: why",
            ),
            (HealthReason::LastRunNotComplete { failed: false, error: None }, "the last run was incomplete"),
            (HealthReason::RejectedValues(1), "1 value could not be stored as received"),
            (HealthReason::RejectedValues(1_000), "1,000 values could not be stored as received"),
            (HealthReason::RejectedRows(2), "2 rows have no usable id"),
            (HealthReason::PendingTickets(pending(2)), "2 tickets cannot be read yet: 5, 7"),
            (HealthReason::UnreadableCustomFields(2), "the server refuses the custom fields of 2 tickets"),
            (
                HealthReason::UnlistedTickets(vec![
                    (UnlistedStatus::Forbidden, 2_000),
                    (UnlistedStatus::NotListed, 1),
                ]),
                "2,001 tickets are no longer listed by the server: 2,000 refused (403), 1 still on the server",
            ),
            (HealthReason::Stale { last_complete: None }, "no complete run is on record"),
            (
                HealthReason::Stale { last_complete },
                "the last complete run ended at 2026-11-22T09:00:00Z, 3 h ago",
            ),
            (disk(300 << 20), "the disk is nearly full: 300 MB are free, runs stop below 256 MB"),
            (disk(3 << 20), "the disk is full: 3.0 MB are free, runs stop below 256 MB"),
        ] {
            let help = reason.help();
            assert!(!help.is_empty());
            assert_eq!(
                serde_json::to_value(&reason).unwrap(),
                serde_json::json!({ "reason": reason.as_str(), "message": message, "help": help })
            );
        }
    }

    #[test]
    fn interrupted_run_is_no_reason() {
        let mut report = StatusReport::example();
        let failed = |error: &str| LastRun { error: Some(error.into()), ..run((Sync, Some(Failed))) };
        report.health.runs = vec![failed(&SyncError::Stopped.to_string())];
        assert_eq!(report.assess(None).reasons, []);
        report.health.runs = vec![failed("the disk is full")];
        assert_eq!(report.assess(None).reasons.len(), 1);
    }
}
