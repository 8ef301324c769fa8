//! The end of a walk: judged, and stored in one transaction.
//!
//! The last rows, the tickets that leave, the end of the walk and the move of the watermark belong
//! together: a crash leaves either a mark that is older than the data, or both.

use chrono::TimeDelta;

use super::account::{Account, Newest, Verdict};
use super::confirm::{End, Missed};
use super::definitions::FIELDS_WALKED;
use super::fields::FieldSource;
use super::mapping::Unexplained;
use super::pass::{Outcome, Pass, Report};
use super::walk::{Plan, Walked};
use super::writer::{Tally, figures};
use super::{SyncError, calibration};
use crate::store::{Fate, RunEnd, RunFigures, Store, StoreError, WalkOutcome, Writing};
use crate::ticket::Stamp;
use crate::watermark::{self, Move, State, Walk, Watermark};

/// What ends with a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// The pass.
    Run,
    /// The pass, unless the walk has everything: then it goes on.
    RunUnlessComplete,
    /// Only the walk: the pass goes on.
    Walk,
    /// The same, and it is held for incomplete, because a ticket that must come back did not.
    WithoutTheCanary,
}

/// The ticket that must come back in the next walk: the newest one of this walk that is not newer
/// than its start.
fn next_canary(plan: &Plan, walked: &Walked) -> Option<Newest> {
    if plan.taken_up.is_some() {
        // What was received before the interruption is in the store.
        return None;
    }
    walked.accounts.iter().filter_map(Account::newest).max_by_key(|it| it.stamp)
}

/// How many changes since `seq` should have been brought by the walks before.
fn belated(writing: &Writing<'_>, was: &Watermark, seq: i64, overlap: TimeDelta) -> Result<u64, StoreError> {
    match was.covered_until {
        // What became visible within the overlap, the next following walk would have brought.
        Some(covered_until) => writing.snapshot().belated(seq, covered_until.minus(overlap)),
        None => Ok(0),
    }
}

/// The mark after a walk, with the ticket that must come back next time, and why it moved if it did.
/// `crowd` tickets of one stamp are too many to ask for again and again.
fn move_mark(
    writing: &Writing<'_>,
    was: &Watermark,
    moved: Move,
    (canary, start): (Option<Newest>, Option<Stamp>),
    crowd: u64,
) -> Result<(Option<Watermark>, Option<&'static str>), StoreError> {
    let Some(mut mark) = writing.snapshot().watermark()? else { return Ok((None, None)) };
    // A following walk in the middle of a full one moved it further than the full one could.
    let moved = if mark.covered_until == was.covered_until { moved } else { Move::Stay };
    let reason = match moved {
        Move::Counted(to) => {
            mark.covered_until = Some(to);
            mark.state = State::Following;
            (mark.fill_started_at, mark.fill_last_id) = (None, None);
            Some("counted")
        }
        Move::ClockStepped(to) => {
            mark.covered_until = Some(to);
            Some("clock_stepped")
        }
        Move::Stay => None,
    };
    if moved != Move::Stay {
        let newest = match (canary, start) {
            (Some(newest), _) if mark.newest_seen <= Some(newest.stamp) => {
                Some((newest.stamp, newest.id, newest.tickets))
            }
            // The ticket that bore it has left or changed, or the walk did not see all: the table knows.
            (_, Some(start)) if !still_bears(writing, &mark)? => writing.snapshot().newest_update(start)?,
            _ => None,
        };
        if let Some((stamp, id, tickets)) = newest {
            mark.newest_seen = Some(stamp);
            mark.canary = (tickets <= crowd).then_some(id);
        }
    }
    Ok((Some(mark), reason))
}

impl Pass {
    /// Judges a walk and stores its end.
    pub(super) async fn conclude(
        &self,
        plan: &Plan,
        mut walked: Walked,
        closing: Closing,
    ) -> Result<Report, SyncError> {
        let mut warnings = Vec::new();
        if walked.unexplained != Unexplained::default() {
            self.look_up(walked.unexplained).await?;
        }
        let (mut walk_outcome, mut outcome) = judge(&walked);
        if closing == Closing::WithoutTheCanary {
            let why = "a ticket that must come back did not: the date filter does not work as it did".into();
            (walk_outcome, outcome) = (WalkOutcome::Incomplete, Outcome::Incomplete(why));
        }
        let older_before = plan.taken_up.as_ref().map(|walk| walk.place.older.clone()).unwrap_or_default();
        let took_back = self.confirm_older(&plan.mapping, &mut walked, &older_before).await?;
        let mut end = End { took_back, ..End::default() };
        if plan.walk == Walk::Full
            && walk_outcome == WalkOutcome::Counted
            && let Some(brake) = self.absent(&plan.mapping, &walked, &mut end).await?
        {
            outcome = brake;
        }
        if walked.start.is_none() {
            warnings
                .push("the server sent no readable `Date`: the rows are stored, the watermark stays".into());
        }
        let canary = next_canary(plan, &walked);
        if outcome == Outcome::Complete && plan.walk == Walk::Full {
            self.calibrate_for_following(canary).await?;
        }
        let moved = match outcome {
            Outcome::Complete => {
                let overlap = self.settings.schedule.overlap;
                // A walk that was taken up again may have begun before the server's clock stepped back.
                let start = walked.start.min(walked.session_start).or(walked.session_start);
                watermark::after_counted(plan.mark.covered_until, start, overlap)
            }
            _ => Move::Stay,
        };
        if let Move::ClockStepped(_) = moved {
            warnings.push("the server's clock stepped back: the next walk is a full one".into());
        }
        let report = Report {
            run_id: self.run_id,
            walk: plan.walk,
            outcome,
            run: RunFigures::default(),
            figures: figures(&walked.accounts),
            covered_until: None,
            tickets: 0,
            warnings,
            dry_run: self.settings.dry_run,
            tally: Tally::default(),
        };
        self.finish(report, plan, walk_outcome, (moved, canary), walked, (end, closing)).await
    }

    /// Finds out how the date filter works, before it is relied on. What is not found out now is asked
    /// for again; it is no failure of a walk that has everything.
    async fn calibrate_for_following(&self, canary: Option<Newest>) -> Result<(), SyncError> {
        let Some(Newest { stamp, id, .. }) = canary else { return Ok(()) };
        if self.settings.dry_run || !self.is_open(calibration::DATE_FILTER)? {
            return Ok(());
        }
        match self.calibrate_filter(id, stamp).await {
            Err(SyncError::Halo(error)) => {
                tracing::warn!("the date filter could not be tried: {error}");
                Ok(())
            }
            done => done.map(drop),
        }
    }

    /// The one transaction at the end.
    async fn finish(
        &self,
        mut report: Report,
        plan: &Plan,
        mut walk_outcome: WalkOutcome,
        (moved, canary): (Move, Option<Newest>),
        walked: Walked,
        (mut end, closing): (End, Closing),
    ) -> Result<Report, SyncError> {
        let (run_id, walk_id, now) = (self.run_id, plan.walk_id, (self.wall)());
        let (fate, spent, overlap) = (self.fate(), self.spent(), self.settings.schedule.overlap);
        let (was, seq) = (plan.mark.clone(), plan.seq);
        let crowd = u64::from(self.settings.page_size);
        let may_confirm = plan.walk == Walk::Full
            && !plan.fill
            && plan.taken_up.is_none()
            && report.outcome == Outcome::Complete;
        // Every field that is known was asked for, where any is asked for in the list.
        let asked_all = plan.walk == Walk::Full && matches!(plan.mapping.fields, FieldSource::List { .. });
        let goes_on = self.reads_details();
        let mut seen = walked.seen();
        seen.extend(end.present.iter().map(|sighting| sighting.ticket.id().cast_unsigned()));
        let Walked { mut rest, mut tally, start, .. } = walked;
        let work = move |store: &mut Store| {
            let tickets = store.write(fate, |writing| {
                for sightings in [&mut rest.sightings, &mut end.present, &mut end.took_back] {
                    writing.name_statuses(sightings)?;
                }
                tally.applied.add(writing.upsert(&rest.sightings, run_id, now)?);
                writing.keep_strays(&rest.strays, now)?;
                tally.applied.add(writing.upsert(&end.present, run_id, now)?);
                tally.applied.updated += writing.take_back(&end.took_back, run_id, now)?;
                tally.deleted += writing.remove(&end.departed, run_id, now)?;
                writing.forget_absences(&seen, now)?;
                for Missed { id, status, ask_again_at } in &end.absences {
                    writing.note_absence(*id, status, now, *ask_again_at)?;
                }
                if walk_outcome == WalkOutcome::Counted && may_confirm {
                    let belated = belated(writing, &was, seq, overlap)?;
                    if belated == 0 {
                        walk_outcome = WalkOutcome::Confirmed;
                    } else {
                        report.warnings.push(format!(
                            "{belated} changes are older than what was known to be complete: the server shows \
                             changes later than `overlap` reaches back, or an earlier walk missed them"
                        ));
                    }
                }
                let mark = move_mark(writing, &was, moved, (canary, start), crowd)?;
                report.covered_until = mark.0.as_ref().and_then(|mark| mark.covered_until);
                if let (Some(mark), reason) = mark {
                    writing.set_watermark(&mark, reason, Some(run_id), now)?;
                }
                writing.note_walk(walk_id, &report.figures, Some(walk_outcome), now)?;
                let complete = report.outcome == Outcome::Complete;
                if complete && asked_all {
                    writing.note_verdict(FIELDS_WALKED, "done", now)?;
                }
                let ends = closing == Closing::Run || closing == Closing::RunUnlessComplete && !complete;
                if ends && !goes_on {
                    end_run(writing, run_id, &tally.figures(spent), &report.outcome, now)?;
                } else {
                    writing.note_run(run_id, &tally.figures(spent))?;
                }
                writing.snapshot().ticket_count()
            })?;
            let run = tally.figures(spent);
            if fate == Fate::RollBack {
                store.write(Fate::Commit, |writing| end_run(writing, run_id, &run, &report.outcome, now))?;
            }
            (report.run, report.tickets, report.tally) = (run, tickets, tally);
            Ok(report)
        };
        self.store.work(work).await
    }
}

/// Whether the ticket that is to come back is in the table as it was.
fn still_bears(writing: &Writing<'_>, mark: &Watermark) -> Result<bool, StoreError> {
    match (mark.newest_seen, mark.canary) {
        (None, _) => Ok(false),
        // Too many tickets bear it for one of them to be asked for.
        (Some(_), None) => Ok(true),
        (Some(stamp), Some(id)) => writing.snapshot().bears(id, stamp),
    }
}

fn judge(walked: &Walked) -> (WalkOutcome, Outcome) {
    if let Some(fault) = walked.fault {
        return (WalkOutcome::Incomplete, Outcome::Incomplete(fault.to_string()));
    }
    match walked.verdict {
        Verdict::Counted => (WalkOutcome::Counted, Outcome::Complete),
        Verdict::Differs { unique, count } => {
            let why = format!("{unique} different tickets were received, and the server counts {count}");
            (WalkOutcome::Unverified, Outcome::Incomplete(why))
        }
        Verdict::Again | Verdict::Restless => {
            let why = "the list moves so fast that every reading shows what the ones before had missed";
            (WalkOutcome::Incomplete, Outcome::Incomplete(why.into()))
        }
        Verdict::Uncounted => {
            let why = "the server does not say how many tickets there are".to_owned();
            (WalkOutcome::Unverified, Outcome::Incomplete(why))
        }
    }
}

pub(super) fn end_run(
    writing: &Writing<'_>,
    run_id: i64,
    run: &RunFigures,
    outcome: &Outcome,
    now: Stamp,
) -> Result<(), StoreError> {
    writing.note_run(run_id, run)?;
    match outcome {
        Outcome::Complete => writing.end_run(run_id, RunEnd::Complete, now),
        Outcome::Incomplete(why) => writing.end_run(run_id, RunEnd::Incomplete(why), now),
        Outcome::Brake { absent, allowed } => {
            let why = format!("{absent} tickets are gone at once, and {allowed} may be");
            writing.end_run(run_id, RunEnd::Incomplete(&why), now)
        }
    }
}
