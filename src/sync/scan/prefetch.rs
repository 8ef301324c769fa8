//! Pages on their way from the server: prefetched in parallel, parsed and mapped in the task that fetched them, handed
//! out in order of their numbers.
//!
//! A slot is reserved before a request is started and is free again when the rows are stored, so that no more pages are in
//! memory, or requested again after a kill, than there are slots.

use std::cmp::Ordering;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::page::Page;
use crate::halo::{Filter, HaloClient, HaloError, ListPage, ListQuery, ResponseMeta};
use crate::sync::SyncError;
use crate::sync::row_intake::{MissingNames, RowMapping};
use crate::ticket::attribute::TICKET_TYPE_ID;
use crate::ticket::parse::{UnreadableReason, UnreadableTicket};
use crate::ticket::{FieldSearch, Timestamp};
use crate::watermark;

/// How many prefetched pages, for each parallel request, may be in flight or not stored yet.
const SLOTS_PER_REQUEST: usize = 2;

/// Fetches the pages of one list, at most `parallel_requests` at a time.
#[derive(Clone)]
pub(super) struct PageFetcher {
    halo: Arc<HaloClient>,
    query: Arc<ListQuery>,
    mapping: Arc<RowMapping>,
    permits: Arc<Semaphore>,
    slots: Arc<Semaphore>,
    slot_count: usize,
}

impl PageFetcher {
    pub(super) fn new(
        halo: &Arc<HaloClient>,
        filter: &Filter,
        mapping: &Arc<RowMapping>,
        parallel_requests: usize,
    ) -> PageFetcher {
        let query = ListQuery { filter: filter.clone(), fields: mapping.fields.requested_ids() };
        let slot_count = parallel_requests * SLOTS_PER_REQUEST;
        PageFetcher {
            halo: Arc::clone(halo),
            query: Arc::new(query),
            mapping: Arc::clone(mapping),
            permits: Arc::new(Semaphore::new(parallel_requests)),
            slots: Arc::new(Semaphore::new(slot_count)),
            slot_count,
        }
    }

    /// Fetches one page.
    pub(super) async fn fetch(&self, number: u32, size: u32) -> Result<Page, HaloError> {
        self.fetch_and_search(number, size, FieldSearch::Off).await
    }

    /// The same, with a search for unmapped fields in its rows.
    pub(super) async fn fetch_and_search(
        &self,
        number: u32,
        size: u32,
        search: FieldSearch,
    ) -> Result<Page, HaloError> {
        let permit = self.permits.acquire().await;
        let list_page = self.halo.fetch_page_and_search(&self.query, number, size, search).await?;
        // The next request can start while this page is mapped.
        drop(permit);
        Ok(self.map_page(number, list_page))
    }

    /// Makes a page of a response.
    pub(super) fn map_page(&self, number: u32, list_page: ListPage) -> Page {
        build_page(number, list_page, &self.mapping)
    }

    /// Starts fetching pages in order.
    fn start_prefetch(&self, numbers: RangeInclusive<u32>, size: u32) -> mpsc::Receiver<InFlightPage> {
        let (sender, receiver) = mpsc::channel(self.slot_count);
        let fetcher = self.clone();
        tokio::spawn(async move {
            for number in numbers {
                let slot = tokio::select! {
                    Ok(slot) = Arc::clone(&fetcher.slots).acquire_owned() => slot,
                    () = sender.closed() => return,
                };
                let fetcher = fetcher.clone();
                let fetch = tokio::spawn(async move {
                    let page = fetcher.fetch(number, size).await?;
                    Ok(Page { slot: Some(slot), ..page })
                });
                if sender.send((number, AbortOnDropHandle::new(fetch))).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

type InFlightPage = (u32, AbortOnDropHandle<Result<Page, HaloError>>);

/// The pages that are prefetched.
pub(super) struct Prefetcher<'f> {
    fetcher: &'f PageFetcher,
    in_flight: Option<mpsc::Receiver<InFlightPage>>,
    /// The next prefetched page, ahead of the wanted one.
    held: Option<InFlightPage>,
}

impl<'f> Prefetcher<'f> {
    pub(super) fn new(fetcher: &'f PageFetcher) -> Prefetcher<'f> {
        Prefetcher { fetcher, in_flight: None, held: None }
    }

    /// The first of the `wanted` pages. Where the scan went back to seek its position, the prefetched pages are ahead of
    /// it: then it is fetched alone, and they are used later.
    pub(super) async fn fetch(&mut self, wanted: RangeInclusive<u32>, size: u32) -> Result<Page, SyncError> {
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

/// The page of a response, with the rows that can be stored.
fn build_page(number: u32, response: ListPage, mapping: &RowMapping) -> Page {
    let ListPage { list, meta, memory } = response;
    let mut page = Page {
        // A cache tells the time of an earlier answer.
        server_start: start_of(&meta).filter(|_| !meta.is_aged()),
        is_aged: meta.is_aged(),
        memory,
        ..Page::new(number, &list, meta.arrival_no)
    };
    page.observed.reserve(list.tickets.len());
    for ticket in list.tickets {
        let id = ticket.id();
        let mut missing_names = MissingNames::default();
        mapping.add_missing_names(&ticket, &mut missing_names);
        if mapping.is_type_unreadable(&ticket) {
            page.unreadable.push(UnreadableTicket { id, reason: UnreadableReason::Invalid });
        }
        let is_out_of_scope = mapping.scope.excludes(ticket.integer(TICKET_TYPE_ID));
        match mapping.map_ticket(ticket, meta.request_no) {
            Some(observed) => {
                page.missing_names.add(missing_names);
                page.observed.push(observed);
            }
            None => page.out_of_scope.extend(is_out_of_scope.then_some(id)),
        }
    }
    page
}

/// The start of a request by the server's clock, if the response tells the time.
fn start_of(meta: &ResponseMeta) -> Option<Timestamp> {
    meta.date.and_then(|date| watermark::run_start(date, meta.took))
}
