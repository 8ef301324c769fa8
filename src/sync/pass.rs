//! One pass: names, one walk, what became of absent tickets, and the watermark.
//!
//! The last rows, the tickets that leave, the end of the walk and the move of the watermark are one
//! transaction: a crash leaves either a mark that is older than the data, or both.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::TimeDelta;

use super::account::{Account, Newest, Verdict};
use super::confirm::End;
use super::walk::{Plan, Walked};
use super::writer::{Tally, figures};
use super::{Progress, SharedStore, SyncError, Wall, calibration, names};
use crate::halo::{Halo, Receipt};
use crate::scope::{MAPPING, Scope, Shift};
use crate::store::{
    Departed, Departure, Fate, RunEnd, RunFigures, Snapshot, Store, StoreError, Unfinished, WalkFigures,
    WalkOutcome, Writing,
};
use crate::ticket::Stamp;
use crate::watermark::{self, Move, Past, Schedule, State, Walk, Watermark, ZONES};

/// An interrupted full walk that began longer ago is not taken up again.
const UNFINISHED_MAX: TimeDelta = TimeDelta::days(7);

/// What a pass is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The scope wanted; its ticket types are filled in from `ticket_types`.
    pub scope: Scope,
    /// Names of the ticket types to copy; none is all.
    pub ticket_types: Vec<String>,
    /// Rows a page, at most 100.
    pub page_size: u32,
    /// Requests at a time.
    pub parallel_requests: u32,
    /// Rows a transaction, about; usually [`super::BATCH_ROWS`].
    pub batch_rows: usize,
    /// Which walk is due when.
    pub schedule: Schedule,
    /// The share of the tickets that may disappear at once.
    pub delete_guard: f64,
    /// Whether a person said that they really did.
    pub accept_deletes: bool,
    /// Whether to write nothing but the record of the pass.
    pub dry_run: bool,
    /// How many tickets fewer than the server counts are accepted.
    pub accept_shortfall: u64,
    /// How long the records of passes are kept.
    pub keep_runs: TimeDelta,
}

/// A pass under way.
pub struct Pass {
    pub(super) halo: Arc<Halo>,
    pub(super) store: SharedStore,
    pub(super) settings: Settings,
    pub(super) wall: Wall,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) run_id: i64,
}

/// How a pass ended that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that the server has is stored.
    Complete,
    /// What was received is stored, but it may not be everything; the watermark stays.
    Incomplete(String),
    /// So many tickets are gone that nothing is deleted until a person says so; the watermark stays.
    Brake {
        /// How many are gone.
        absent: u64,
        /// How many may be.
        allowed: u64,
    },
}

/// What a pass did.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its number in `runs`.
    pub run_id: i64,
    /// The walk.
    pub walk: Walk,
    /// How it ended.
    pub outcome: Outcome,
    /// What it asked for and did.
    pub run: RunFigures,
    /// What the walk read.
    pub figures: WalkFigures,
    /// The watermark after it.
    pub covered_until: Option<Stamp>,
    /// Tickets present after it.
    pub tickets: u64,
    /// What a person should know besides.
    pub warnings: Vec<String>,
    /// Whether nothing of it was kept.
    pub dry_run: bool,
    /// What the pass did so far.
    pub(super) tally: Tally,
}

/// The bits of a request number below those of the pass.
const REQUEST_BITS: u32 = 32;

impl Pass {
    /// Runs one pass to its end, or until `stop` is over: then requests are dropped and what is being
    /// committed is committed.
    ///
    /// # Errors
    /// [`SyncError`] where it could not go on; what was stored until then stays, the watermark too.
    pub async fn run(
        halo: Arc<Halo>,
        store: SharedStore,
        settings: Settings,
        wall: Wall,
        progress: Arc<dyn Progress>,
        stop: impl Future<Output = ()>,
    ) -> Result<Report, SyncError> {
        store.lock().read(|snapshot| same_server(snapshot, &settings.scope))?;
        let kind = if settings.dry_run { "dry_run" } else { "sync" };
        let now = wall();
        let keep_since = now.minus(settings.keep_runs);
        let run_id = store
            .work(move |store| {
                store.write(Fate::Commit, |writing| {
                    writing.forget_runs(keep_since)?;
                    writing.begin_run(kind, now)
                })
            })
            .await?;
        halo.number_requests_from(run_id << REQUEST_BITS);
        let mut pass = Pass { halo, store, settings, wall, progress, run_id };
        let done = tokio::select! {
            // Not by chance: the same events have the same end.
            biased;
            () = stop => Err(SyncError::Stopped),
            done = pass.go() => done,
        };
        match done {
            Ok(report) => Ok(report),
            Err(error) => {
                pass.note_failure(&error);
                Err(error)
            }
        }
    }

    /// Whether what the pass does is kept.
    pub(super) fn fate(&self) -> Fate {
        if self.settings.dry_run { Fate::RollBack } else { Fate::Commit }
    }

    async fn go(&mut self) -> Result<Report, SyncError> {
        self.settle_types().await?;
        let mark = self.settle_scope().await?;
        self.refresh_names().await?;
        let names = Arc::new(self.store.lock().read(|snapshot| snapshot.status_names())?);
        match self.choose(&mark).await? {
            Walk::Full => self.full(mark, &names, Tally::default()).await,
            Walk::Following { from } => self.following(mark, from, &names, Tally::default()).await,
        }
    }

    /// Which walk is due.
    async fn choose(&self, mark: &Watermark) -> Result<Walk, SyncError> {
        let filter = match (mark.canary, mark.newest_seen) {
            (Some(id), Some(stamp))
                if mark.state == State::Following
                    && !self.settings.dry_run
                    && !self.settings.schedule.full
                    && self.is_open(calibration::DATE_FILTER)? =>
            {
                self.calibrate_filter(id, stamp).await?
            }
            _ => self.date_filter()?,
        };
        let past = self.store.lock().read(|snapshot| {
            Ok::<_, StoreError>(Past {
                last_full: snapshot.last_full()?,
                stepped: snapshot.stepped_since_full()?,
                to_confirm: snapshot.fill_to_confirm()?,
                filter,
            })
        })?;
        Ok(watermark::next_walk(mark, &self.settings.schedule, &past, (self.wall)()))
    }

    /// Reads everything, from where an earlier full walk was interrupted if there is one.
    async fn full(
        &self,
        mark: Watermark,
        names: &Arc<HashMap<i64, String>>,
        tally: Tally,
    ) -> Result<Report, SyncError> {
        let taken_up = self.unfinished().await?;
        let mut first = None;
        if taken_up.is_none() && !self.settings.dry_run && self.is_open(calibration::LIST_COVERAGE)? {
            first = self.calibrate_lists().await?;
        }
        let mut plan = self.plan(Walk::Full, mark, taken_up).await?;
        let resumed = plan.taken_up.is_some();
        let stepped = self.store.lock().read(|snapshot| snapshot.stepped_since_full())?;
        plan.yields = plan.mark.state == State::Following && !stepped && !self.settings.dry_run;
        let walked = self.walk(&plan, names, first, tally).await?;
        if !resumed {
            return self.conclude(&plan, walked, Closing::Run).await;
        }
        // What was received before the interruption may have changed or left since.
        let all_stand = walked.accounts.iter().all(Account::has_as_many_as_stand);
        let report = self.conclude(&plan, walked, Closing::RunUnlessComplete).await?;
        let mark = self.store.lock().read(|snapshot| snapshot.watermark())?;
        let Some(mark) = mark.filter(|_| report.outcome == Outcome::Complete) else { return Ok(report) };
        let from = watermark::following(&mark, &self.settings.schedule, self.date_filter()?);
        match from.filter(|_| all_stand && mark.state == State::Following) {
            Some(from) => Box::pin(self.following(mark, from, names, report.tally)).await,
            None => Box::pin(self.full(mark, names, report.tally)).await,
        }
    }

    /// Asks for what changed. Where the ticket that must come back does not, the filter no longer means
    /// what it did: then further back, and if that does not help, for everything.
    async fn following(
        &self,
        mark: Watermark,
        from: Stamp,
        names: &Arc<HashMap<i64, String>>,
        mut tally: Tally,
    ) -> Result<Report, SyncError> {
        for from in [from, from.minus(ZONES)] {
            let plan = self.plan(Walk::Following { from }, mark.clone(), None).await?;
            let walked = self.walk(&plan, names, None, tally).await?;
            let counted = walked.fault.is_none() && walked.verdict == Verdict::Counted;
            if !counted || self.canary_is_well(&mark, &walked).await? {
                return self.conclude(&plan, walked, Closing::Run).await;
            }
            tracing::warn!(canary = mark.canary, %from, "a ticket that must come back did not: asking further back");
            tally = self.conclude(&plan, walked, Closing::WithoutTheCanary).await?.tally;
            if let (Some(id), Some(stamp)) = (mark.canary, mark.newest_seen) {
                self.calibrate_filter(id, stamp).await?;
            }
        }
        self.full(mark, names, tally).await
    }

    /// A following walk in the middle of a full one.
    pub(super) async fn follow_meanwhile(
        &self,
        names: &Arc<HashMap<i64, String>>,
        tally: Tally,
    ) -> Result<Tally, SyncError> {
        let filter = self.date_filter()?;
        let mark = self.store.lock().read(|snapshot| snapshot.watermark())?;
        let from = mark.as_ref().and_then(|mark| watermark::following(mark, &self.settings.schedule, filter));
        let (Some(mark), Some(from)) = (mark, from) else { return Ok(tally) };
        let plan = self.plan(Walk::Following { from }, mark, None).await?;
        let walked = self.walk(&plan, names, None, tally).await?;
        // What this one did not bring, the full walk does.
        let well = self.canary_is_well(&plan.mark, &walked).await?;
        let closing = if well { Closing::Walk } else { Closing::WithoutTheCanary };
        Ok(self.conclude(&plan, walked, closing).await?.tally)
    }

    /// The full walk that was interrupted, unless it is older than it is worth.
    async fn unfinished(&self) -> Result<Option<Unfinished>, SyncError> {
        if self.settings.dry_run {
            return Ok(None);
        }
        let unfinished = self.store.work(|store| store.read(|snapshot| snapshot.unfinished())).await?;
        let now = (self.wall)();
        let fresh = |walk: &Unfinished| (now.instant() - walk.started_at.instant()).abs() < UNFINISHED_MAX;
        Ok(unfinished.filter(fresh))
    }

    /// Finds the ids of the wanted ticket types, among the stored names first.
    async fn settle_types(&mut self) -> Result<(), SyncError> {
        if self.settings.ticket_types.is_empty() {
            return Ok(());
        }
        let wanted = &self.settings.ticket_types;
        let stored = self.store.lock().read(|snapshot| snapshot.ticket_types())?;
        self.settings.scope.ticket_types = match names::resolve(wanted, &stored) {
            Ok(ids) => ids,
            Err(_) => names::resolve(wanted, &self.halo.ticket_types().await?)?,
        };
        Ok(())
    }

    /// Brings the database to the wanted scope and gives its watermark.
    async fn settle_scope(&self) -> Result<Watermark, SyncError> {
        let wanted = Scope { mapping: MAPPING, ..self.settings.scope.clone() };
        let stored = self.store.lock().read(|snapshot| snapshot.watermark())?;
        let (reason, departed) = match &stored {
            Some(mark) if mark.scope.shift_to(&wanted) == Shift::None => return Ok(mark.clone()),
            None => ("created", Vec::new()),
            Some(_) => {
                let rows = self.store.lock().read(|snapshot| snapshot.stored_rows())?;
                let outside = rows.into_iter().filter(|row| !wanted.holds(row.ticket_type));
                ("scope_changed", outside.map(|row| out_of_scope(row.id)).collect())
            }
        };
        let mark = Watermark::of_nothing(wanted);
        let (run_id, now, fate) = (self.run_id, (self.wall)(), self.fate());
        self.store
            .work(move |store| {
                store.write(fate, |writing| {
                    writing.remove(&departed, run_id, now)?;
                    writing.give_up_walks(now)?;
                    writing.set_watermark(&mark, Some(reason), Some(run_id), now)?;
                    Ok(mark)
                })
            })
            .await
    }

    async fn plan(
        &self,
        walk: Walk,
        mark: Watermark,
        taken_up: Option<Unfinished>,
    ) -> Result<Plan, SyncError> {
        let from = match walk {
            Walk::Full => None,
            Walk::Following { from } => Some(from),
        };
        let lists = self.lists()?.filters(&self.settings.scope.ticket_types, from);
        let fill = walk == Walk::Full && mark.state == State::Filling;
        let (run_id, now) = (self.run_id, (self.wall)());
        // The walks of a dry run are no evidence of anything: they are not kept.
        let fate = self.fate();
        let resumed = taken_up.as_ref().map(|walk| walk.walk_id);
        let (walk_id, seq) = self
            .store
            .work(move |store| {
                store.write(fate, |writing| {
                    let seq = writing.snapshot().greatest_seq()?;
                    let walk_id = match resumed {
                        None => writing.begin_walk(run_id, &walk, fill, now)?,
                        Some(walk_id) => {
                            writing.take_up_walk(walk_id, run_id)?;
                            walk_id
                        }
                    };
                    Ok((walk_id, seq))
                })
            })
            .await?;
        tracing::info!(run = self.run_id, walk = walk.word(), resumed = resumed.is_some(), "walking");
        Ok(Plan { walk, walk_id, lists, mark, seq, fill, taken_up, yields: false })
    }

    /// Judges a walk and stores its end.
    async fn conclude(&self, plan: &Plan, mut walked: Walked, closing: Closing) -> Result<Report, SyncError> {
        let mut warnings = Vec::new();
        if !walked.unnamed.is_empty() {
            self.look_up_statuses().await?;
            let names = self.store.lock().read(|snapshot| snapshot.status_names())?;
            for sighting in &mut walked.rest.sightings {
                sighting.ticket.name_status(|status| names.get(&status).cloned());
            }
        }
        let (mut walk_outcome, mut outcome) = judge(&walked);
        if closing == Closing::WithoutTheCanary {
            let why = "a ticket that must come back did not: the date filter does not work as it did".into();
            (walk_outcome, outcome) = (WalkOutcome::Incomplete, Outcome::Incomplete(why));
        }
        let older_before = plan.taken_up.as_ref().map(|walk| walk.place.older.clone()).unwrap_or_default();
        let took_back = self.confirm_older(&mut walked, &older_before).await?;
        let mut end = End { took_back, ..End::default() };
        if plan.walk == Walk::Full
            && walk_outcome == WalkOutcome::Counted
            && let Some(brake) = self.absent(&walked, &mut end).await?
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
                tracing::warn!(%error, "the date filter could not be tried");
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
        (end, closing): (End, Closing),
    ) -> Result<Report, SyncError> {
        let (run_id, walk_id, now) = (self.run_id, plan.walk_id, (self.wall)());
        let (fate, spent, overlap) = (self.fate(), self.halo.spent(), self.settings.schedule.overlap);
        let (was, seq) = (plan.mark.clone(), plan.seq);
        let crowd = u64::from(self.settings.page_size);
        let may_confirm = plan.walk == Walk::Full
            && !plan.fill
            && plan.taken_up.is_none()
            && report.outcome == Outcome::Complete;
        let Walked { rest, mut tally, start, .. } = walked;
        let work = move |store: &mut Store| {
            let tickets = store.write(fate, |writing| {
                tally.applied.add(writing.upsert(&rest.sightings, run_id, now)?);
                writing.keep_strays(&rest.strays, now)?;
                tally.applied.add(writing.upsert(&end.present, run_id, now)?);
                tally.applied.updated += writing.take_back(&end.took_back, run_id, now)?;
                tally.deleted += writing.remove(&end.departed, run_id, now)?;
                for (id, status) in &end.absences {
                    writing.note_absence(*id, status, now, now.minus(-TimeDelta::days(1)))?;
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
                if closing == Closing::Run || closing == Closing::RunUnlessComplete && !complete {
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

    /// Writes down why the pass ended early; that it cannot be written down is no second failure.
    fn note_failure(&self, error: &SyncError) {
        let (run_id, now, spent) = (self.run_id, (self.wall)(), self.halo.spent());
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        let noted = self.store.lock().write(Fate::Commit, |writing| {
            let health = writing.snapshot().run_figures(run_id)?;
            let run = RunFigures {
                requests: spent.requests,
                list_requests: spent.list_requests,
                retries: spent.retries,
                ..health
            };
            writing.note_run(run_id, &run)?;
            writing.end_run(run_id, RunEnd::Failed(&text), now)
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "the failure of the pass could not be written down");
        }
    }
}

/// Whether what is stored is of the server that is wanted.
///
/// # Errors
/// [`SyncError::AnotherServer`] where it is not.
pub fn same_server(snapshot: &Snapshot<'_>, wanted: &Scope) -> Result<(), SyncError> {
    let Some(stored) = snapshot.watermark()?.map(|mark| mark.scope) else { return Ok(()) };
    if stored.shift_to(wanted) != Shift::Foreign {
        return Ok(());
    }
    let named = |scope: &Scope| match scope.tenant.as_str() {
        "" => scope.server.clone(),
        tenant => format!("{} (tenant {tenant})", scope.server),
    };
    Err(SyncError::AnotherServer { stored: named(&stored), wanted: named(wanted) })
}

/// What ends with a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
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

pub(super) fn out_of_scope(id: i64) -> Departed {
    Departed { id, reason: Departure::OutOfScope }
}

/// The start of the pass by the server's clock, where it tells the time.
pub(super) fn start_of(first: &Receipt) -> Option<Stamp> {
    first.date.and_then(|date| watermark::pass_start(date, first.took))
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

fn end_run(
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
