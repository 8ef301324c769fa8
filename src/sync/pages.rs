//! Pages on their way from the server: fetched ahead in parallel, parsed and mapped where they arrive,
//! handed out in order of their numbers.
//!
//! A place in the channel is waited for before a fetch is started, not after.

use std::cmp::Ordering;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::SyncError;
use super::mapping::{Mapping, Unexplained};
use super::reading::Received;
use super::writer::Batch;
use crate::halo::{Filter, Halo, HaloError, ListQuery, Listed, Receipt};
use crate::ticket::attribute::TICKET_TYPE_ID;

/// How many pages a lane may have under way, or parsed and waiting. It bounds the memory, and how much
/// is asked for twice after a kill.
const PAGES_A_LANE: usize = 2;

/// A page, parsed and mapped.
pub(super) struct Page {
    pub(super) received: Received,
    pub(super) receipt: Receipt,
    pub(super) batch: Batch,
    /// Numbers that no list of the server explains.
    pub(super) unexplained: Unexplained,
    /// Tickets that are listed although they are of no type that is copied.
    pub(super) outside: Vec<i64>,
    pub(super) repaired: usize,
}

/// What every lane needs.
#[derive(Clone)]
pub(super) struct Lane {
    halo: Arc<Halo>,
    query: Arc<ListQuery>,
    mapping: Arc<Mapping>,
    permits: Arc<Semaphore>,
    lanes: usize,
}

impl Lane {
    pub(super) fn new(halo: &Arc<Halo>, filter: &Filter, mapping: &Arc<Mapping>, lanes: usize) -> Lane {
        let query = ListQuery { filter: filter.clone(), fields: mapping.fields.asked() };
        Lane {
            halo: Arc::clone(halo),
            query: Arc::new(query),
            mapping: Arc::clone(mapping),
            permits: Arc::new(Semaphore::new(lanes)),
            lanes,
        }
    }

    /// Fetches one page.
    pub(super) async fn page(&self, number: u32, size: u32) -> Result<Page, HaloError> {
        let permit = self.permits.acquire().await;
        let listed = self.halo.page(&self.query, number, size).await?;
        // The network is free for the next page while this one is mapped.
        drop(permit);
        Ok(self.map(number, listed))
    }

    /// Makes a page of an answer.
    pub(super) fn map(&self, number: u32, listed: Listed) -> Page {
        map(number, listed, &self.mapping)
    }

    /// Starts fetching pages in order.
    fn start(&self, numbers: RangeInclusive<u32>, size: u32) -> mpsc::Receiver<Fetching> {
        let (sender, receiver) = mpsc::channel(self.lanes * PAGES_A_LANE);
        let lane = self.clone();
        tokio::spawn(async move {
            for number in numbers {
                let Ok(place) = sender.reserve().await else { return };
                let lane = lane.clone();
                let fetch = tokio::spawn(async move { lane.page(number, size).await });
                place.send((number, AbortOnDropHandle::new(fetch)));
            }
        });
        receiver
    }
}

type Fetching = (u32, AbortOnDropHandle<Result<Page, HaloError>>);

/// The pages that are fetched ahead.
pub(super) struct Ahead<'l> {
    lane: &'l Lane,
    under_way: Option<mpsc::Receiver<Fetching>>,
    held: Option<Fetching>,
}

impl<'l> Ahead<'l> {
    pub(super) fn new(lane: &'l Lane) -> Ahead<'l> {
        Ahead { lane, under_way: None, held: None }
    }

    /// The first of the `wanted` pages. Those fetched ahead may have passed it, where the walk went
    /// back to look for its place: then it is fetched alone, and they are of use later.
    pub(super) async fn page(&mut self, wanted: RangeInclusive<u32>, size: u32) -> Result<Page, SyncError> {
        let number = *wanted.start();
        loop {
            let under_way = self.under_way.get_or_insert_with(|| self.lane.start(wanted.clone(), size));
            let coming = match self.held.take() {
                Some(held) => Some(held),
                None => under_way.recv().await,
            };
            let Some((at, page)) = coming else {
                self.under_way = None;
                continue;
            };
            match at.cmp(&number) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(page.await??),
                Ordering::Greater => {
                    self.held = Some((at, page));
                    return Ok(self.lane.page(number, size).await?);
                }
            }
        }
    }
}

/// From an answer to rows that can be stored. Those outside of the scope are counted before they are left
/// out, because the server counts them.
fn map(number: u32, listed: Listed, mapping: &Mapping) -> Page {
    let Listed { list, receipt } = listed;
    let tickets = list.tickets.iter().map(|ticket| (ticket.id(), ticket.last_update())).collect();
    let mut page = Page {
        received: Received {
            number,
            tickets,
            strays: list.strays.len() as u64,
            rows: list.received as u64,
            record_count: list.record_count,
            arrived: receipt.arrived,
        },
        receipt,
        batch: Batch { sightings: Vec::with_capacity(list.tickets.len()), strays: list.strays },
        unexplained: Unexplained::default(),
        outside: Vec::new(),
        repaired: list.repaired,
    };
    for ticket in list.tickets {
        let (id, unexplained) = (ticket.id(), mapping.unexplained(&ticket));
        let outside = mapping.scope.leaves_out(ticket.integer(TICKET_TYPE_ID));
        match mapping.sighting(ticket, receipt.request_no) {
            Some(sighting) => {
                page.unexplained.add(unexplained);
                page.batch.sightings.push(sighting);
            }
            None => page.outside.extend(outside.then_some(id)),
        }
    }
    page
}
