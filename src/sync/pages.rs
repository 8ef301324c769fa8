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
use super::list_read::PageSummary;
use super::row_intake::{MissingNames, RowMapping};
use super::writer::RowBatch;
use crate::halo::{Filter, HaloClient, HaloError, ListPage, ListQuery, ResponseMeta};
use crate::ticket::attribute::TICKET_TYPE_ID;

/// How many pages a lane may have under way, or parsed and waiting. It bounds the memory, and how much
/// is asked for twice after a kill.
const PREFETCHED_PER_REQUEST: usize = 2;

/// A page, parsed and mapped.
pub(super) struct FetchedPage {
    pub(super) summary: PageSummary,
    pub(super) meta: ResponseMeta,
    pub(super) batch: RowBatch,
    /// Numbers that no list of the server explains.
    pub(super) missing_names: MissingNames,
    /// Tickets that are listed although they are of no type that is copied.
    pub(super) out_of_scope: Vec<i64>,
    pub(super) repaired: usize,
}

/// What every lane needs.
#[derive(Clone)]
pub(super) struct PageFetcher {
    halo: Arc<HaloClient>,
    query: Arc<ListQuery>,
    mapping: Arc<RowMapping>,
    permits: Arc<Semaphore>,
    parallel_requests: usize,
}

impl PageFetcher {
    pub(super) fn new(
        halo: &Arc<HaloClient>,
        filter: &Filter,
        mapping: &Arc<RowMapping>,
        parallel_requests: usize,
    ) -> PageFetcher {
        let query = ListQuery { filter: filter.clone(), fields: mapping.fields.requested_ids() };
        PageFetcher {
            halo: Arc::clone(halo),
            query: Arc::new(query),
            mapping: Arc::clone(mapping),
            permits: Arc::new(Semaphore::new(parallel_requests)),
            parallel_requests,
        }
    }

    /// Fetches one page.
    pub(super) async fn fetch(&self, number: u32, size: u32) -> Result<FetchedPage, HaloError> {
        let permit = self.permits.acquire().await;
        let list_page = self.halo.fetch_page(&self.query, number, size).await?;
        // The network is free for the next page while this one is mapped.
        drop(permit);
        Ok(self.map_page(number, list_page))
    }

    /// Makes a page of an answer.
    pub(super) fn map_page(&self, number: u32, list_page: ListPage) -> FetchedPage {
        build_page(number, list_page, &self.mapping)
    }

    /// Starts fetching pages in order.
    fn start_prefetch(&self, numbers: RangeInclusive<u32>, size: u32) -> mpsc::Receiver<InFlightPage> {
        let (sender, receiver) = mpsc::channel(self.parallel_requests * PREFETCHED_PER_REQUEST);
        let fetcher = self.clone();
        tokio::spawn(async move {
            for number in numbers {
                let Ok(slot) = sender.reserve().await else { return };
                let fetcher = fetcher.clone();
                let fetch = tokio::spawn(async move { fetcher.fetch(number, size).await });
                slot.send((number, AbortOnDropHandle::new(fetch)));
            }
        });
        receiver
    }
}

type InFlightPage = (u32, AbortOnDropHandle<Result<FetchedPage, HaloError>>);

/// The pages that are fetched ahead.
pub(super) struct Prefetcher<'l> {
    fetcher: &'l PageFetcher,
    in_flight: Option<mpsc::Receiver<InFlightPage>>,
    held: Option<InFlightPage>,
}

impl<'l> Prefetcher<'l> {
    pub(super) fn new(fetcher: &'l PageFetcher) -> Prefetcher<'l> {
        Prefetcher { fetcher, in_flight: None, held: None }
    }

    /// The first of the `wanted` pages. Those fetched ahead may have passed it, where the walk went
    /// back to look for its place: then it is fetched alone, and they are of use later.
    pub(super) async fn fetch(
        &mut self,
        wanted: RangeInclusive<u32>,
        size: u32,
    ) -> Result<FetchedPage, SyncError> {
        let number = *wanted.start();
        loop {
            let in_flight =
                self.in_flight.get_or_insert_with(|| self.fetcher.start_prefetch(wanted.clone(), size));
            let next_page = match self.held.take() {
                Some(held) => Some(held),
                None => in_flight.recv().await,
            };
            let Some((at, page)) = next_page else {
                self.in_flight = None;
                continue;
            };
            match at.cmp(&number) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(page.await??),
                Ordering::Greater => {
                    self.held = Some((at, page));
                    return Ok(self.fetcher.fetch(number, size).await?);
                }
            }
        }
    }
}

/// From an answer to rows that can be stored. Those outside of the scope are counted before they are left
/// out, because the server counts them.
fn build_page(number: u32, list_page: ListPage, mapping: &RowMapping) -> FetchedPage {
    let ListPage { list, meta } = list_page;
    let tickets = list.tickets.iter().map(|ticket| (ticket.id(), ticket.last_update())).collect();
    let mut page = FetchedPage {
        summary: PageSummary {
            number,
            tickets,
            rejected_rows: list.rejected_rows.len() as u64,
            rows: list.rows_received as u64,
            record_count: list.record_count,
            arrival_no: meta.arrival_no,
        },
        meta,
        batch: RowBatch {
            tickets: Vec::with_capacity(list.tickets.len()),
            rejected_rows: list.rejected_rows,
        },
        missing_names: MissingNames::default(),
        out_of_scope: Vec::new(),
        repaired: list.repaired,
    };
    for ticket in list.tickets {
        let (id, missing_names) = (ticket.id(), mapping.missing_names(&ticket));
        let out_of_scope = mapping.scope.excludes(ticket.integer(TICKET_TYPE_ID));
        match mapping.map_ticket(ticket, meta.request_no) {
            Some(sighting) => {
                page.missing_names.add(missing_names);
                page.batch.tickets.push(sighting);
            }
            None => page.out_of_scope.extend(out_of_scope.then_some(id)),
        }
    }
    page
}
