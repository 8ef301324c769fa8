//! Reads the list page by page: pages are fetched in parallel, stored in order of id.
//!
//! Fetches run ahead in tasks of their own, which parse too; their handles come through a bounded
//! channel in page order. One writer stores about a thousand rows a transaction while the next ones
//! arrive. The rows of the end are not stored here: they go into the transaction that moves the
//! watermark.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::SyncError;
use super::pass::Pass;
use super::reading::{Fault, Reading, Received};
use crate::halo::{Filter, Halo, HaloError, Listed, Receipt, Spent};
use crate::scope::Scope;
use crate::store::{Applied, RunFigures, Sighting, StoreError, WalkFigures};
use crate::ticket::Stamp;
use crate::ticket::attribute::TICKET_TYPE_ID;
use crate::ticket::parse::Stray;

/// Rows a transaction, about.
const BATCH_ROWS: usize = 1_000;

/// How many pages may wait, parsed, for the writer; with those under way it bounds the memory.
const PAGES_AHEAD_PER_LANE: usize = 2;

/// What is read and for which walk.
pub(super) struct Plan {
    pub(super) filter: Filter,
    pub(super) walk_id: i64,
    /// Whether older versions than the stored ones are worth a question: in a full walk.
    pub(super) full: bool,
    /// Whether it is the first one: then its position is kept.
    pub(super) fill: bool,
}

/// A walk that came to its end.
pub(super) struct Walked {
    pub(super) reading: Reading,
    /// Why it cannot be trusted, whatever it counted.
    pub(super) fault: Option<Fault>,
    /// The answer that it began with.
    pub(super) first: Receipt,
    /// What was stored already.
    pub(super) applied: Applied,
    /// The rows of the end, not stored yet.
    pub(super) rest: Batch,
    /// Older versions than the stored ones, as the list shows them.
    pub(super) older: Vec<Sighting>,
    /// Status numbers that have no name.
    pub(super) unnamed: BTreeSet<i64>,
    /// Tickets that are listed although they are of no type that is copied.
    pub(super) outside: Vec<i64>,
}

/// Rows that are stored together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) sightings: Vec<Sighting>,
    pub(super) strays: Vec<Stray>,
}

/// A page, parsed and mapped.
struct Page {
    received: Received,
    receipt: Receipt,
    batch: Batch,
    unnamed: BTreeSet<i64>,
    outside: Vec<i64>,
    repaired: usize,
}

/// What every lane needs.
#[derive(Clone)]
struct Lane {
    halo: Arc<Halo>,
    filter: Arc<Filter>,
    names: Arc<HashMap<i64, String>>,
    scope: Arc<Scope>,
    permits: Arc<Semaphore>,
}

impl Lane {
    async fn page(self, number: u32, size: u32) -> Result<Page, HaloError> {
        let permit = self.permits.acquire().await;
        let listed = self.halo.list(&self.filter, number, size).await?;
        // The network is free for the next page while this one is mapped.
        drop(permit);
        Ok(map(listed, &self.names, &self.scope))
    }
}

/// From an answer to rows that can be stored: the status gets its name, rows outside of the scope are
/// left out. They are counted before, because the server counts them.
fn map(listed: Listed, names: &HashMap<i64, String>, scope: &Scope) -> Page {
    let Listed { list, receipt } = listed;
    let mut page = Page {
        received: Received {
            ids: list.tickets.iter().map(crate::ticket::Ticket::id).collect(),
            strays: list.strays.len() as u64,
            rows: list.received as u64,
            record_count: list.record_count,
        },
        receipt,
        batch: Batch { sightings: Vec::with_capacity(list.tickets.len()), strays: list.strays },
        unnamed: BTreeSet::new(),
        outside: Vec::new(),
        repaired: list.repaired,
    };
    for mut ticket in list.tickets {
        if !scope.holds(ticket.integer(TICKET_TYPE_ID)) {
            page.outside.push(ticket.id());
            continue;
        }
        ticket.name_status(|status| {
            let name = names.get(&status).cloned();
            if name.is_none() {
                page.unnamed.insert(status);
            }
            name
        });
        let hash = ticket.hash();
        page.batch.sightings.push(Sighting { ticket, hash, request_no: receipt.request_no });
    }
    page
}

impl Pass {
    /// Reads the whole list of a plan.
    pub(super) async fn walk(&self, plan: &Plan, names: HashMap<i64, String>) -> Result<Walked, SyncError> {
        let lanes = self.settings.parallel_requests.max(1) as usize;
        let lane = Lane {
            halo: Arc::clone(&self.halo),
            filter: Arc::new(plan.filter.clone()),
            names: Arc::new(names),
            scope: Arc::new(self.settings.scope.clone()),
            permits: Arc::new(Semaphore::new(lanes)),
        };
        let asked = self.settings.page_size;
        let first = lane.clone().page(1, asked).await?;
        let mut writer = Writer::new(self, plan, first.receipt);
        let mut walked = Walked {
            reading: Reading::default(),
            fault: None,
            first: first.receipt,
            applied: Applied::default(),
            rest: Batch::default(),
            older: Vec::new(),
            unnamed: BTreeSet::new(),
            outside: Vec::new(),
        };
        walked.fault = self.enter(&mut walked, &mut writer, first).await?;
        while walked.fault.is_none() && walked.reading.pages() < walked.reading.pages_needed() {
            let size = walked.reading.page_size(asked);
            let numbers = walked.reading.pages() + 1..=walked.reading.pages_needed();
            let mut pages = in_order(&lane, numbers, size, lanes * (1 + PAGES_AHEAD_PER_LANE));
            while let Some(page) = pages.recv().await {
                walked.fault = self.enter(&mut walked, &mut writer, page.await??).await?;
                if walked.fault.is_some() {
                    break;
                }
            }
        }
        (walked.applied, walked.older) = writer.finish().await?;
        Ok(walked)
    }

    /// Enters a page into the account and hands full batches to the writer.
    async fn enter(
        &self,
        walked: &mut Walked,
        writer: &mut Writer<'_>,
        page: Page,
    ) -> Result<Option<Fault>, SyncError> {
        if let Err(fault) = walked.reading.enter(&page.received) {
            return Ok(Some(fault));
        }
        if page.repaired != 0 {
            tracing::warn!(
                places = page.repaired,
                "an answer was repaired: not everything in it was UTF-8 text"
            );
        }
        self.progress.received(walked.reading.rows(), walked.reading.record_count());
        walked.unnamed.extend(page.unnamed);
        walked.outside.extend(page.outside);
        if BATCH_ROWS <= walked.rest.sightings.len() {
            let batch = std::mem::take(&mut walked.rest);
            writer.store(batch, figures(&walked.reading)).await?;
        }
        walked.rest.sightings.extend(page.batch.sightings);
        walked.rest.strays.extend(page.batch.strays);
        Ok(None)
    }
}

/// The account as `walks` has it.
pub(super) fn figures(reading: &Reading) -> WalkFigures {
    WalkFigures {
        pages: u64::from(reading.pages()),
        unique_ids: reading.unique(),
        record_count: reading.record_count(),
        count_fell: reading.count_fell(),
    }
}

type Fetching = AbortOnDropHandle<Result<Page, HaloError>>;

/// Fetches run ahead; their handles come out in order. A place in the channel is waited for before the
/// fetch is started, not after.
fn in_order(
    lane: &Lane,
    numbers: std::ops::RangeInclusive<u32>,
    size: u32,
    ahead: usize,
) -> mpsc::Receiver<Fetching> {
    let (sender, receiver) = mpsc::channel(ahead);
    let lane = lane.clone();
    tokio::spawn(async move {
        for number in numbers {
            let Ok(place) = sender.reserve().await else { return };
            place.send(AbortOnDropHandle::new(tokio::spawn(lane.clone().page(number, size))));
        }
    });
    receiver
}

/// What a stored batch did, and the older versions among it.
type Stored = Result<(Applied, Vec<Sighting>), StoreError>;

/// When the fill that is under way began by the server's clock, where that tells the time.
#[derive(Clone, Copy)]
struct FillStart(Option<Stamp>);

/// Stores one batch while the next one arrives.
struct Writer<'p> {
    pass: &'p Pass,
    walk_id: i64,
    keep_older: bool,
    fill: Option<FillStart>,
    under_way: Option<JoinHandle<Stored>>,
    applied: Applied,
    older: Vec<Sighting>,
}

impl<'p> Writer<'p> {
    fn new(pass: &'p Pass, plan: &Plan, first: Receipt) -> Writer<'p> {
        Writer {
            pass,
            walk_id: plan.walk_id,
            keep_older: plan.full,
            fill: plan.fill.then(|| FillStart(super::pass::start_of(&first))),
            under_way: None,
            applied: Applied::default(),
            older: Vec::new(),
        }
    }

    async fn store(&mut self, batch: Batch, walk: WalkFigures) -> Result<(), SyncError> {
        self.wait().await?;
        let (pass, walk_id, keep_older, fill) = (self.pass, self.walk_id, self.keep_older, self.fill);
        let (store, fate, run_id) = (pass.store.clone(), pass.fate(), pass.run_id);
        let (now, spent) = ((pass.wall)(), pass.halo.spent());
        let run = run_figures(spent, walk.unique_ids, &self.applied);
        self.under_way = Some(tokio::task::spawn_blocking(move || {
            store.lock().write(fate, |writing| {
                let applied = writing.upsert(&batch.sightings, run_id, now)?;
                writing.keep_strays(&batch.strays, now)?;
                writing.note_walk(walk_id, &walk, None, now)?;
                writing.note_run(run_id, &run)?;
                if let (Some(FillStart(started_at)), Some(last)) = (fill, batch.sightings.last())
                    && let Some(mut mark) = writing.snapshot().watermark()?
                {
                    mark.fill_started_at = started_at;
                    mark.fill_last_id = Some(last.ticket.id());
                    mark.newest_seen = mark.newest_seen.max(applied.newest);
                    writing.set_watermark(&mark, None, Some(run_id), now)?;
                }
                let mut older = Vec::new();
                if keep_older && !applied.older.is_empty() {
                    let ids: BTreeSet<_> = applied.older.iter().copied().collect();
                    older = batch.sightings;
                    older.retain(|sighting| ids.contains(&sighting.ticket.id()));
                }
                Ok((applied, older))
            })
        }));
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), SyncError> {
        if let Some(under_way) = self.under_way.take() {
            let (applied, older) = under_way.await??;
            self.applied.add(applied);
            self.older.extend(older);
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(Applied, Vec<Sighting>), SyncError> {
        self.wait().await?;
        Ok((self.applied, self.older))
    }
}

/// The figures of a pass so far.
pub(super) fn run_figures(spent: Spent, received: u64, applied: &Applied) -> RunFigures {
    RunFigures {
        requests: spent.requests,
        list_requests: spent.list_requests,
        retries: spent.retries,
        received,
        created: applied.created,
        updated: applied.updated,
        deleted: 0,
    }
}
