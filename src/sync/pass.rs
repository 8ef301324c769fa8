//! One pass: names, one walk, what became of absent tickets, and the watermark.
//!
//! The last rows, the tickets that leave, the end of the walk and the move of the watermark are one
//! transaction: a crash leaves either a mark that is older than the data, or both.

use std::sync::Arc;

use chrono::TimeDelta;

use super::absence::{self, Conclusion, Judgement, Word};
use super::reading::Verdict;
use super::walk::{Batch, Plan, Walked, figures, run_figures};
use super::{Progress, SharedStore, SyncError, Wall, names};
use crate::halo::{Filter, Halo, Receipt, Single};
use crate::scope::{MAPPING, Scope, Shift};
use crate::store::{
    Departed, Departure, Fate, RunEnd, RunFigures, Sighting, Snapshot, StoreError, WalkFigures, WalkOutcome,
    Writing,
};
use crate::ticket::Stamp;
use crate::watermark::{self, Move, Schedule, State, Walk, Watermark};

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
    /// Which walk is due when.
    pub schedule: Schedule,
    /// The share of the tickets that may disappear at once.
    pub delete_guard: f64,
    /// Whether a person said that they really did.
    pub accept_deletes: bool,
    /// Whether to write nothing but the record of the pass.
    pub dry_run: bool,
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
}

/// How many tickets one request asks for by number.
const IDS_A_REQUEST: usize = 100;

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
            done = pass.go() => done,
            () = stop => Err(SyncError::Stopped),
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
        let names = self.store.lock().read(|snapshot| snapshot.status_names())?;
        let walk = {
            let store = self.store.lock();
            let (last_full, stepped) = store.read(|snapshot| {
                Ok::<_, StoreError>((snapshot.last_full()?, snapshot.stepped_since_full()?))
            })?;
            watermark::next_walk(&mark, &self.settings.schedule, last_full, stepped, (self.wall)())
        };
        let plan = self.plan(walk, &mark).await?;
        tracing::info!(run = self.run_id, walk = walk.word(), "walking");
        let walked = self.walk(&plan, names).await?;
        if !walked.unnamed.is_empty() {
            self.look_up_statuses().await?;
        }
        self.conclude(walk, &plan, mark, walked).await
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
        let newest_seen = stored.and_then(|mark| mark.newest_seen);
        let mark = Watermark { newest_seen, ..Watermark::of_nothing(wanted) };
        let (run_id, now, fate) = (self.run_id, (self.wall)(), self.fate());
        self.store
            .work(move |store| {
                store.write(fate, |writing| {
                    writing.remove(&departed, run_id, now)?;
                    writing.set_watermark(&mark, Some(reason), Some(run_id), now)?;
                    Ok(mark)
                })
            })
            .await
    }

    async fn plan(&self, walk: Walk, mark: &Watermark) -> Result<Plan, SyncError> {
        let types = self.settings.scope.ticket_types.clone();
        let filter = match walk {
            Walk::Full => Filter::All { types },
            Walk::Following { from } => Filter::UpdatedFrom { types, from },
        };
        let (run_id, now) = (self.run_id, (self.wall)());
        // The walks of a dry run are no evidence of anything: they are not kept.
        let fate = self.fate();
        let walk_id = self
            .store
            .work(move |store| store.write(fate, |writing| writing.begin_walk(run_id, &walk, now)))
            .await?;
        Ok(Plan { filter, walk_id, full: walk == Walk::Full, fill: mark.state == State::Filling })
    }

    /// Judges a walk and stores its end.
    async fn conclude(
        &self,
        walk: Walk,
        plan: &Plan,
        mark: Watermark,
        mut walked: Walked,
    ) -> Result<Report, SyncError> {
        let mut warnings = Vec::new();
        let (walk_outcome, mut outcome) = judge(&walked);
        let mut end =
            End { took_back: Vec::new(), departed: Vec::new(), absences: Vec::new(), present: Vec::new() };
        if plan.full && walk_outcome == WalkOutcome::Counted {
            end.took_back = self.confirm_older(std::mem::take(&mut walked.older)).await?;
            if let Some(brake) = self.absent(&walked, &mut end).await? {
                outcome = brake;
            }
        }
        let start = start_of(&walked.first);
        if start.is_none() {
            warnings
                .push("the server sent no readable `Date`: the rows are stored, the watermark stays".into());
        }
        let moved = match outcome {
            Outcome::Complete => {
                watermark::after_counted(mark.covered_until, start, self.settings.schedule.overlap)
            }
            _ => Move::Stay,
        };
        let mut after = mark.clone();
        let reason = match moved {
            Move::Counted(to) => {
                after.covered_until = Some(to);
                after.state = State::Following;
                (after.fill_started_at, after.fill_last_id) = (None, None);
                Some("counted")
            }
            Move::ClockStepped(to) => {
                after.covered_until = Some(to);
                warnings.push("the server's clock stepped back: the next walk is a full one".into());
                Some("clock_stepped")
            }
            Move::Stay => None,
        };
        let report = Report {
            run_id: self.run_id,
            walk,
            outcome,
            run: RunFigures::default(),
            figures: figures(&walked.reading),
            covered_until: after.covered_until,
            tickets: 0,
            warnings,
            dry_run: self.settings.dry_run,
        };
        self.finish(report, plan, walk_outcome, (after, reason), walked, end).await
    }

    /// The one transaction at the end.
    async fn finish(
        &self,
        mut report: Report,
        plan: &Plan,
        walk_outcome: WalkOutcome,
        (mut mark, reason): (Watermark, Option<&'static str>),
        walked: Walked,
        end: End,
    ) -> Result<Report, SyncError> {
        let (run_id, walk_id, now) = (self.run_id, plan.walk_id, (self.wall)());
        let (fate, spent) = (self.fate(), self.halo.spent());
        let received = walked.reading.rows();
        let Walked { rest, mut applied, .. } = walked;
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let mut store = store.lock();
            let (run, tickets) = store.write(fate, |writing| {
                let Batch { sightings, strays } = &rest;
                applied.add(writing.upsert(sightings, run_id, now)?);
                writing.keep_strays(strays, now)?;
                applied.add(writing.upsert(&end.present, run_id, now)?);
                applied.updated += writing.take_back(&end.took_back, run_id, now)?;
                let deleted = writing.remove(&end.departed, run_id, now)?;
                for (id, status) in &end.absences {
                    writing.note_absence(*id, status, now, now.minus(-TimeDelta::days(1)))?;
                }
                mark.newest_seen = mark.newest_seen.max(applied.newest);
                writing.set_watermark(&mark, reason, Some(run_id), now)?;
                writing.note_walk(walk_id, &report.figures, Some(walk_outcome), now)?;
                let run = RunFigures { deleted, ..run_figures(spent, received, &applied) };
                end_run(writing, run_id, &run, &report.outcome, now)?;
                Ok((run, writing.snapshot().ticket_count()?))
            })?;
            if fate == Fate::RollBack {
                store.write(Fate::Commit, |writing| end_run(writing, run_id, &run, &report.outcome, now))?;
            }
            (report.run, report.tickets) = (run, tickets);
            Ok(report)
        })
        .await?
    }

    /// Asks about the stored tickets that a counted full walk did not show. Gives the brake, where it
    /// holds.
    async fn absent(&self, walked: &Walked, end: &mut End) -> Result<Option<Outcome>, SyncError> {
        let seen = walked.reading.seen().clone();
        let (absent, stored) = self
            .store
            .work(move |store| {
                store.read(|snapshot| Ok((snapshot.absent_from(&seen)?, snapshot.ticket_count()?)))
            })
            .await?;
        end.departed.extend(walked.outside.iter().map(|id| out_of_scope(*id)));
        let judgement = absence::judge(
            absent.len() as u64,
            stored,
            walked.reading.unique(),
            self.settings.delete_guard,
            self.settings.accept_deletes,
        );
        match judgement {
            Judgement::NoneAbsent => Ok(None),
            Judgement::Brake { allowed } => {
                end.absences.extend(absent.iter().map(|id| (*id, "not_asked")));
                Ok(Some(Outcome::Brake { absent: absent.len() as u64, allowed }))
            }
            Judgement::Ask => {
                self.ask_about(&absent, end).await?;
                Ok(None)
            }
        }
    }

    /// By the hundred first: what comes back is present. Then one by one.
    async fn ask_about(&self, absent: &[i64], end: &mut End) -> Result<(), SyncError> {
        let names = self.store.lock().read(|snapshot| snapshot.status_names())?;
        for ids in absent.chunks(IDS_A_REQUEST) {
            let listed =
                self.halo.list(&Filter::Ids(ids.to_vec()), 1, self.settings.page_size.max(100)).await?;
            for mut ticket in listed.list.tickets {
                let wanted = ids.binary_search(&ticket.id()).is_ok();
                if wanted
                    && self.settings.scope.holds(ticket.integer(crate::ticket::attribute::TICKET_TYPE_ID))
                {
                    ticket.name_status(|status| names.get(&status).cloned());
                    let (hash, request_no) = (ticket.hash(), listed.receipt.request_no);
                    end.present.push(Sighting { ticket, hash, request_no });
                }
            }
        }
        for id in absent {
            if end.present.iter().any(|sighting| sighting.ticket.id() == *id) {
                continue;
            }
            let (single, _) = self.halo.ticket(*id).await?;
            let word = match &single {
                Single::Missing => Word::Missing,
                Single::Forbidden => Word::Forbidden,
                Single::Found(ticket) => Word::Found(ticket),
            };
            match absence::conclude(word, &self.settings.scope) {
                Conclusion::Leaves(reason) => end.departed.push(Departed { id: *id, reason }),
                Conclusion::Stays(status) => end.absences.push((*id, status)),
            }
        }
        Ok(())
    }

    /// Which of the versions that are older than the stored ones the server really means.
    async fn confirm_older(&self, older: Vec<Sighting>) -> Result<Vec<Sighting>, SyncError> {
        let mut confirmed = Vec::new();
        for sighting in older {
            if let (Single::Found(now), _) = self.halo.ticket(sighting.ticket.id()).await?
                && now.last_update() == sighting.ticket.last_update()
            {
                confirmed.push(sighting);
            }
        }
        Ok(confirmed)
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

/// What the end of a pass stores besides the last rows.
struct End {
    took_back: Vec<Sighting>,
    departed: Vec<Departed>,
    absences: Vec<(i64, &'static str)>,
    present: Vec<Sighting>,
}

fn out_of_scope(id: i64) -> Departed {
    Departed { id, reason: Departure::OutOfScope }
}

/// The start of the pass by the server's clock, where it tells the time.
pub(super) fn start_of(first: &Receipt) -> Option<Stamp> {
    first.date.and_then(|date| watermark::pass_start(date, first.took))
}

fn judge(walked: &Walked) -> (WalkOutcome, Outcome) {
    if let Some(fault) = walked.fault {
        return (WalkOutcome::Incomplete, Outcome::Incomplete(fault.to_string()));
    }
    match walked.reading.verdict() {
        Verdict::Counted => (WalkOutcome::Counted, Outcome::Complete),
        Verdict::Differs { unique, count } => {
            let why = format!("{unique} different tickets were received, and the server counts {count}");
            (WalkOutcome::Incomplete, Outcome::Incomplete(why))
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
