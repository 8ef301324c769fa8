//! One pass: the scope, names, one walk, and what single tickets are asked for.

use std::sync::Arc;

use chrono::TimeDelta;

use super::account::{Account, Verdict};
use super::conclusion::Closing;
use super::mapping::Mapping;
use super::settle::same_server;
use super::walk::Plan;
use super::writer::Tally;
use super::{Progress, SharedStore, SyncError, Wall, calibration};
use crate::halo::{Halo, Receipt, Spent};
use crate::scope::Scope;
use crate::store::{
    Departed, Departure, Fate, RunEnd, RunFigures, StoreError, Unfinished, WalkFigures, Writing,
};
use crate::ticket::Stamp;
use crate::watermark::{self, Past, Schedule, State, Walk, Watermark, ZONES};

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
    /// How many requests a window of the rate limit has.
    pub requests_a_window: u32,
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
    /// What the server was asked by passes before this one.
    spent_before: Spent,
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

impl Outcome {
    /// Its word in `runs.outcome`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Outcome::Complete => "complete",
            Outcome::Incomplete(_) | Outcome::Brake { .. } => "incomplete",
        }
    }

    /// Why it is not complete.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        match self {
            Outcome::Complete => None,
            Outcome::Incomplete(why) => Some(why.clone()),
            Outcome::Brake { absent, allowed } => {
                Some(format!("{absent} tickets are gone at once, and no more than {allowed} may be"))
            }
        }
    }

    /// What a person can do.
    #[must_use]
    pub const fn help(&self) -> Option<&'static str> {
        match self {
            Outcome::Brake { .. } => Some(
                "A cut in the permissions of the agent that the application logs in as looks like this. If the \
                 tickets are really gone: halosync sync --full --accept-deletes",
            ),
            Outcome::Complete | Outcome::Incomplete(_) => None,
        }
    }
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
        let spent_before = halo.spent();
        let mut pass = Pass { halo, store, settings, wall, progress, run_id, spent_before };
        let done = tokio::select! {
            // Not by chance: the same events have the same end.
            biased;
            () = stop => Err(SyncError::Stopped),
            done = pass.go() => done,
        };
        match done {
            Ok(report) => Ok(report),
            Err(error) => {
                pass.note_failure(&error).await;
                Err(error)
            }
        }
    }

    /// How often the pass asked the server so far.
    pub(super) fn spent(&self) -> Spent {
        self.halo.spent().since(self.spent_before)
    }

    /// Whether what the pass does is kept.
    pub(super) fn fate(&self) -> Fate {
        if self.settings.dry_run { Fate::RollBack } else { Fate::Commit }
    }

    async fn go(&mut self) -> Result<Report, SyncError> {
        self.settle_types().await?;
        let mark = self.settle_scope().await?;
        self.refresh_names().await?;
        let fields = self.settle_fields().await?;
        let mapping = Arc::new(self.mapping(fields)?);
        let report = match self.choose(&mark, &mapping).await? {
            Walk::Full => self.full(mark, &mapping, Tally::default()).await?,
            Walk::Following { from } => self.following(mark, from, &mapping, Tally::default()).await?,
        };
        if self.reads_details() { self.read_details(&mapping.fields, report).await } else { Ok(report) }
    }

    /// Whether single tickets are asked for their custom fields when the walk is over.
    pub(super) fn reads_details(&self) -> bool {
        self.settings.scope.custom_fields && !self.settings.dry_run
    }

    /// Which walk is due.
    async fn choose(&self, mark: &Watermark, mapping: &Mapping) -> Result<Walk, SyncError> {
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
        let fields_grew = self.fields_grew(&mapping.fields)?;
        let past = self.store.lock().read(|snapshot| {
            Ok::<_, StoreError>(Past {
                last_full: snapshot.last_full()?.map(|walk| walk.ended_at),
                stepped: snapshot.stepped_since_full()?,
                to_confirm: snapshot.fill_to_confirm()?,
                fields_grew,
                filter,
            })
        })?;
        Ok(watermark::next_walk(mark, &self.settings.schedule, &past, (self.wall)()))
    }

    /// Reads everything, from where an earlier full walk was interrupted if there is one.
    async fn full(&self, mark: Watermark, mapping: &Arc<Mapping>, tally: Tally) -> Result<Report, SyncError> {
        let taken_up = self.unfinished().await?;
        let mut first = None;
        if taken_up.is_none() && !self.settings.dry_run && self.is_open(calibration::LIST_COVERAGE)? {
            first = self.calibrate_lists(mapping.fields.asked()).await?;
        }
        let mut plan = self.plan(Walk::Full, mark, mapping, taken_up).await?;
        let resumed = plan.taken_up.is_some();
        let stepped = self.store.lock().read(|snapshot| snapshot.stepped_since_full())?;
        plan.yields = plan.mark.state == State::Following && !stepped && !self.settings.dry_run;
        let walked = self.walk(&plan, first, tally).await?;
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
            Some(from) => Box::pin(self.following(mark, from, mapping, report.tally)).await,
            None => Box::pin(self.full(mark, mapping, report.tally)).await,
        }
    }

    /// Asks for what changed. Where the ticket that must come back does not, the filter no longer means
    /// what it did: then further back, and if that does not help, for everything.
    async fn following(
        &self,
        mark: Watermark,
        from: Stamp,
        mapping: &Arc<Mapping>,
        mut tally: Tally,
    ) -> Result<Report, SyncError> {
        for from in [from, from.minus(ZONES)] {
            let plan = self.plan(Walk::Following { from }, mark.clone(), mapping, None).await?;
            let walked = self.walk(&plan, None, tally).await?;
            let counted = walked.fault.is_none() && walked.verdict == Verdict::Counted;
            if !counted || self.canary_is_well(&mark, &walked).await? {
                return self.conclude(&plan, walked, Closing::Run).await;
            }
            tracing::warn!(
                canary = mark.canary,
                "a ticket that must come back when asked for changes from {from} on did not: asking further back"
            );
            tally = self.conclude(&plan, walked, Closing::WithoutTheCanary).await?.tally;
            if let (Some(id), Some(stamp)) = (mark.canary, mark.newest_seen) {
                self.calibrate_filter(id, stamp).await?;
            }
        }
        self.full(mark, mapping, tally).await
    }

    /// A following walk in the middle of a full one.
    pub(super) async fn follow_meanwhile(
        &self,
        mapping: &Arc<Mapping>,
        tally: Tally,
    ) -> Result<Tally, SyncError> {
        let filter = self.date_filter()?;
        let mark = self.store.lock().read(|snapshot| snapshot.watermark())?;
        let from = mark.as_ref().and_then(|mark| watermark::following(mark, &self.settings.schedule, filter));
        let (Some(mark), Some(from)) = (mark, from) else { return Ok(tally) };
        let plan = self.plan(Walk::Following { from }, mark, mapping, None).await?;
        let walked = self.walk(&plan, None, tally).await?;
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

    async fn plan(
        &self,
        walk: Walk,
        mark: Watermark,
        mapping: &Arc<Mapping>,
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
        tracing::debug!(run = self.run_id, walk = walk.word(), resumed = resumed.is_some(), "walking");
        let mapping = Arc::clone(mapping);
        Ok(Plan { walk, walk_id, lists, mark, mapping, seq, fill, taken_up, yields: false })
    }

    /// Writes down how often the server was asked so far.
    pub(super) async fn note_requests(&self) -> Result<(), SyncError> {
        let run_id = self.run_id;
        let run = Tally::default().figures(self.spent());
        self.store
            .work(move |store| store.write(Fate::Commit, |writing| writing.note_requests(run_id, &run)))
            .await
    }

    /// Writes down why the pass ended early; that it cannot be written down is no second failure.
    async fn note_failure(&self, error: &SyncError) {
        let (run_id, now, spent) = (self.run_id, (self.wall)(), self.spent());
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        let write = move |writing: &Writing<'_>| {
            let health = writing.snapshot().run_figures(run_id)?;
            let run = RunFigures {
                requests: spent.requests,
                list_requests: spent.list_requests,
                retries: spent.retries,
                ..health
            };
            writing.note_run(run_id, &run)?;
            writing.end_run(run_id, RunEnd::Failed(&text), now)
        };
        let noted = self.store.work(move |store| store.write(Fate::Commit, write)).await;
        if let Err(error) = noted {
            tracing::debug!(%error, "the failure of the pass could not be written down");
        }
    }
}

pub(super) fn out_of_scope(id: i64) -> Departed {
    Departed { id, reason: Departure::OutOfScope }
}

/// The start of the pass by the server's clock, where it tells the time.
pub(super) fn start_of(first: &Receipt) -> Option<Stamp> {
    first.date.and_then(|date| watermark::pass_start(date, first.took))
}
