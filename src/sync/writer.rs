//! Stores one batch of rows while the next one arrives.
//!
//! With the rows go the figures of the walk and its place in the list, so that a kill between any two
//! commits leaves a place that the rows reach.

use std::collections::BTreeSet;

use super::account::Account;
use super::pass::Pass;
use super::walk::Plan;
use super::{SyncError, Working};
use crate::halo::Spent;
use crate::store::{Applied, Place, RunFigures, Sighting, StoreError, WalkFigures};
use crate::ticket::Stamp;
use crate::ticket::parse::Stray;

/// Rows that are stored together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) sightings: Vec<Sighting>,
    pub(super) strays: Vec<Stray>,
}

/// What a stored batch did, and the older versions among it.
type Stored = Result<(Applied, Vec<Sighting>), StoreError>;

/// When the first full walk began by the server's clock, where that tells the time.
#[derive(Clone, Copy)]
pub(super) struct FillStart(pub(super) Option<Stamp>);

/// What is being written and for which walk.
pub(super) struct Writer<'p> {
    pass: &'p Pass,
    walk_id: i64,
    /// The first full walk's start by the server's clock: it is told in the watermark.
    fill: Option<FillStart>,
    under_way: Option<Working<Stored>>,
    /// What the pass did so far, walks before this one included.
    pub(super) tally: Tally,
    pub(super) older: Vec<Sighting>,
}

/// What a pass did so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) applied: Applied,
    /// Rows received by walks that ended.
    pub(super) received: u64,
    pub(super) deleted: u64,
}

impl Tally {
    pub(super) fn figures(&self, spent: Spent) -> RunFigures {
        RunFigures {
            requests: spent.requests,
            list_requests: spent.list_requests,
            retries: spent.retries,
            received: self.received,
            created: self.applied.created,
            updated: self.applied.updated,
            deleted: self.deleted,
        }
    }
}

impl<'p> Writer<'p> {
    pub(super) fn new(pass: &'p Pass, plan: &Plan, fill: Option<FillStart>, tally: Tally) -> Writer<'p> {
        Writer { pass, walk_id: plan.walk_id, fill, under_way: None, tally, older: Vec::new() }
    }

    /// Notes the start of the walk, which its first answer tells.
    pub(super) fn begin(&mut self, start: Option<Stamp>) {
        self.fill = self.fill.map(|_| FillStart(start));
    }

    /// Stores a batch once the one before is stored. `place` is where the walk can be taken up again
    /// when this is committed, `None` where it cannot.
    pub(super) async fn store(
        &mut self,
        mut batch: Batch,
        walk: WalkFigures,
        place: Option<Place>,
    ) -> Result<(), SyncError> {
        self.wait().await?;
        let (pass, walk_id, fill) = (self.pass, self.walk_id, self.fill);
        let (fate, run_id) = (pass.fate(), pass.run_id);
        let (now, spent) = ((pass.wall)(), pass.spent());
        let received = self.tally.received + walk.unique_ids;
        let run = RunFigures { received, ..self.tally.figures(spent) };
        self.under_way = Some(pass.store.start(move |store| {
            store.write(fate, |writing| {
                writing.name_statuses(&mut batch.sightings)?;
                let applied = writing.upsert(&batch.sightings, run_id, now)?;
                writing.keep_strays(&batch.strays, now)?;
                writing.note_walk(walk_id, &walk, None, now)?;
                writing.note_run(run_id, &run)?;
                let place = place.map(|place| Place {
                    older: applied.older.iter().map(|id| id.cast_unsigned()).collect(),
                    ..place
                });
                writing.note_place(walk_id, place.as_ref())?;
                if let (Some(FillStart(started_at)), Some(mut mark)) = (fill, writing.snapshot().watermark()?)
                {
                    mark.fill_started_at = started_at;
                    mark.fill_last_id = place.and_then(|place| place.cursor);
                    writing.set_watermark(&mark, None, Some(run_id), now)?;
                }
                let mut older = Vec::new();
                if !applied.older.is_empty() {
                    let ids: BTreeSet<_> = applied.older.iter().copied().collect();
                    older = batch.sightings;
                    older.retain(|sighting| ids.contains(&sighting.ticket.id()));
                }
                Ok((applied, older))
            })
        }));
        Ok(())
    }

    /// Waits until everything that was given is stored.
    pub(super) async fn wait(&mut self) -> Result<(), SyncError> {
        if let Some(under_way) = self.under_way.take() {
            let (applied, older) = under_way.done().await??;
            self.tally.applied.add(applied);
            self.older.extend(older);
        }
        Ok(())
    }
}

/// The account as `walks` has it.
pub(super) fn figures<'a>(accounts: impl IntoIterator<Item = &'a Account>) -> WalkFigures {
    let mut figures = WalkFigures::default();
    for account in accounts {
        figures.pages += account.pages();
        figures.unique_ids += account.unique();
        figures.record_count = match (figures.record_count, account.reading().latest_count()) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        figures.count_fell |= account.count_fell();
        figures.readings = figures.readings.max(account.readings());
    }
    figures
}
