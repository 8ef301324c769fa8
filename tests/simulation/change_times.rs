//! `changes.not_before` against what happened: the change became visible in (`not_before`, `observed_at`], by the local
//! clock of the runs that wrote these times.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use halosync::ticket::Timestamp;

use crate::coverage::CoverageEvent;
use crate::db_reader::{DatedRecord, DbReader, ScanRecord, WatermarkMove};
use crate::invariants::CheckResult;
use crate::reference_model::ReferenceModel;

/// Follows when runs and scans began.
#[derive(Default)]
pub(crate) struct ChangeTimes {
    /// The error of the local clock in each run.
    offsets: BTreeMap<i64, TimeDelta>,
    /// The run in which each scan began, which another one may have continued.
    begun_in: BTreeMap<i64, i64>,
    /// The runs that may have missed a ticket without anybody being able to know.
    excused: BTreeSet<i64>,
    /// The tickets that could not be read at some time: a scan counts them as received.
    ever_pending: BTreeSet<i64>,
}

/// The facts about a run that matter here.
pub(crate) struct DatedRun<'r> {
    pub(crate) run_id: i64,
    pub(crate) clock_offset: TimeDelta,
    pub(crate) scans: &'r [ScanRecord],
    pub(crate) moves: &'r [WatermarkMove],
    /// The tickets that were not listed before the run.
    pub(crate) unlisted_before: &'r BTreeSet<i64>,
    /// Whether one ticket disappeared and another one entered between the same two responses.
    pub(crate) is_exchange_undetectable: bool,
    /// Whether responses about single tickets may be outdated.
    pub(crate) is_cached: bool,
}

impl ChangeTimes {
    /// Forgets what happened after the newest run and scan of a database that was restored.
    pub(crate) fn forget_newer(&mut self, run_id: i64, scan_id: i64) {
        self.offsets.retain(|id, _| *id <= run_id);
        self.excused.retain(|id| *id <= run_id);
        self.begun_in.retain(|id, _| *id <= scan_id);
    }

    /// Checks the change records of a run.
    pub(crate) fn check(
        &mut self,
        db: &DbReader,
        model: &mut ReferenceModel,
        run: &DatedRun<'_>,
    ) -> CheckResult {
        self.offsets.insert(run.run_id, run.clock_offset);
        for scan in run.scans {
            self.begun_in.entry(scan.scan_id).or_insert(scan.run_id);
        }
        if run.is_exchange_undetectable {
            self.excused.insert(run.run_id);
        }
        self.ever_pending.extend(db.pending_tickets());
        let records = db.dated_records(run.run_id - 1);
        for record in &records {
            let DatedRecord { observed_at, not_before, reason, .. } = record;
            if model.local_edits.contains_key(&record.id) || self.ever_pending.contains(&record.id) {
                continue;
            }
            if *not_before > Some(*observed_at) {
                return Err(format!("a change is not before it was observed: {record:?}"));
            }
            let is_event =
                !matches!(reason.as_deref(), Some("repaired" | "custom_fields" | "custom_fields_off"));
            match not_before {
                Some(_) if !is_event => {
                    return Err(format!("no event of the ticket, but bounded: {record:?}"));
                }
                Some(not_before) => {
                    model.coverage.record(CoverageEvent::ChangeBounded);
                    self.check_truth(model, run, record, *not_before)?;
                }
                None => check_is_unbounded(db, run, record)?,
            }
        }
        Ok(())
    }

    /// Checks that a change of the ticket became visible in the interval of its record.
    fn check_truth(
        &self,
        model: &ReferenceModel,
        run: &DatedRun<'_>,
        record: &DatedRecord,
        not_before: Timestamp,
    ) -> CheckResult {
        let has_other_scope =
            run.moves.iter().any(|step| step.reason == "scope_changed" && step.run_id == Some(record.run_id));
        match record.reason.as_deref() {
            // Nobody records when a name changed.
            Some("status_renamed") => return Ok(()),
            Some("out_of_scope") if has_other_scope => return Ok(()),
            _ if run.is_cached => return Ok(()),
            _ => {}
        }
        let of_scan = run.scans.iter().rfind(|scan| scan.started_at == not_before).map(|scan| scan.scan_id);
        let begun_in = of_scan.and_then(|scan_id| self.begun_in.get(&scan_id).copied());
        let Some(begun_in) = begun_in else {
            return Err(format!("nothing began at that time: {record:?}"));
        };
        if self.excused.range(begun_in..).next().is_some() {
            return Ok(());
        }
        let in_truth = |at: Timestamp, run_id: i64| {
            at.instant() - self.offsets.get(&run_id).copied().unwrap_or_default()
        };
        let from = in_truth(not_before, begun_in);
        // Times are stored in milliseconds.
        let until = in_truth(record.observed_at, record.run_id) + TimeDelta::milliseconds(1);
        let times: &[DateTime<Utc>] = model.tickets.get(&record.id).map_or(&[], |ticket| &ticket.changes);
        if times.iter().any(|at| from <= *at && *at <= until) {
            return Ok(());
        }
        Err(format!("the ticket did not change from {from} to {until}, but at {times:?}: {record:?}"))
    }
}

/// Checks that a record has no bound only where no verified full scan of the scope saw the ticket before.
fn check_is_unbounded(db: &DbReader, run: &DatedRun<'_>, record: &DatedRecord) -> CheckResult {
    // What is beside the row need not have been asked for or carried before.
    let is_beside = |name: &String| {
        name.starts_with("EXTRA.")
            || name.starts_with("CUSTOM.")
            || matches!(name.as_str(), "TICKET_AGE" | "OPEN_SEARCH_SCORE")
    };
    if record.op != "u" || record.reason.is_some() || record.changed.iter().all(is_beside) {
        return Ok(());
    }
    let created = "SELECT COALESCE(MAX(run_id), 0) FROM changes WHERE op = 'c' AND UID = ?1 AND seq < ?2";
    let created_in = db.number(created, [record.id, record.seq]);
    let scope_since =
        run.moves.iter().rfind(|step| step.reason == "scope_changed").and_then(|step| step.run_id);
    let since = created_in.max(scope_since.unwrap_or(0));
    let verified: Vec<_> =
        run.scans.iter().filter(|scan| scan.is_verified() && scan.run_id < record.run_id).collect();
    // After the local clock stepped back its times say nothing.
    let is_past = verified.iter().all(|scan| scan.started_at <= record.observed_at);
    let was_missed = run.unlisted_before.contains(&record.id);
    let saw = verified.iter().find(|scan| scan.full && since < scan.run_id);
    match saw.filter(|_| is_past && !was_missed && created_in != 0) {
        Some(scan) => Err(format!("{scan:?} saw the ticket, but nothing says when it changed: {record:?}")),
        None => Ok(()),
    }
}
