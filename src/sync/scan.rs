//! Reads the lists of a walk page by page, in order of id.
//!
//! [`Account`] says what to ask for next and what it all comes to; here it is asked for, and what came
//! is handed to the writer. The rows of the end are not stored here: they go into the transaction that
//! moves the watermark.

use std::sync::Arc;

use roaring::RoaringTreemap;
use tokio::time::Instant;

use super::SyncError;
use super::list_read::{ListReadError, NextRequest, PageOutcome};
use super::list_scan::{ListScan, ListScanOptions, ReadVerdict};
use super::pages::{FetchedPage, PageFetcher, Prefetcher};
use super::probes::FirstPage;
use super::row_intake::{MissingNames, RowMapping};
use super::run::{RunContext, run_start};
use super::writer::{BatchWriter, InitialStart, RowBatch, RunTotals, scan_stats};
use crate::halo::{Filter, HaloError};
use crate::store::{InterruptedScan, ObservedTicket, ScanCheckpoint};
use crate::ticket::Timestamp;
use crate::watermark::{ScanKind, Watermark};

/// How often the end of a list is looked for before it is read without having been seen.
const END_SEARCH_MAX: u32 = 3;

/// What is read and for which walk.
pub(super) struct ScanPlan {
    pub(super) kind: ScanKind,
    pub(super) scan_id: i64,
    /// The lists that are read one after another; together they hold everything.
    pub(super) lists: Vec<Filter>,
    /// Where the copy stood when the walk was planned.
    pub(super) watermark: Watermark,
    /// What the rows are mapped with.
    pub(super) mapping: Arc<RowMapping>,
    /// The newest change then.
    pub(super) seq_at_start: i64,
    /// Whether it is the first full walk of its scope: then its position is told in the watermark.
    pub(super) is_initial: bool,
    /// The walk that is taken up again.
    pub(super) resumed_from: Option<InterruptedScan>,
    /// Whether it makes way for following walks that become due.
    pub(super) interleaves_incremental: bool,
}

/// A walk that came to its end.
pub(super) struct ScanEnd {
    pub(super) list_scans: Vec<ListScan>,
    /// What an interrupted walk received of lists before them.
    earlier_ids: RoaringTreemap,
    pub(super) verdict: ReadVerdict,
    /// Why it cannot be trusted, whatever it counted.
    pub(super) fault: Option<ListReadError>,
    /// The start of the walk by the server's clock.
    pub(super) start: Option<Timestamp>,
    /// The same for the present pass, where the walk was taken up again.
    pub(super) run_start: Option<Timestamp>,
    /// What the pass did and stored so far.
    pub(super) totals: RunTotals,
    /// The rows of the end, not stored yet.
    pub(super) unstored: RowBatch,
    /// Older versions than the stored ones, as the list shows them.
    pub(super) older: Vec<ObservedTicket>,
    /// Numbers that no list of the server explains.
    pub(super) missing_names: MissingNames,
    /// Tickets that are listed although they are of no type that is copied.
    pub(super) out_of_scope: Vec<i64>,
}

impl ScanEnd {
    /// The ids received.
    pub(super) fn seen_ids(&self) -> RoaringTreemap {
        self.list_scans.iter().fold(self.earlier_ids.clone(), |ids, list| ids | list.seen_ids())
    }
}

impl RunContext {
    /// Reads the lists of a plan.
    pub(super) async fn scan(
        &self,
        plan: &ScanPlan,
        first_page: Option<FirstPage>,
        totals: RunTotals,
    ) -> Result<ScanEnd, SyncError> {
        let start =
            plan.resumed_from.as_ref().and_then(|interrupted| interrupted.checkpoint.server_started_at);
        let initial_start = plan.is_initial.then_some(InitialStart(start));
        let mut reader = ScanReader {
            context: self,
            plan,
            writer: BatchWriter::new(self, plan, initial_start, totals),
            scan: ScanEnd {
                list_scans: Vec::new(),
                earlier_ids: plan
                    .resumed_from
                    .as_ref()
                    .map(|interrupted| interrupted.earlier_list_ids.clone())
                    .unwrap_or_default(),
                verdict: ReadVerdict::Verified,
                fault: None,
                start,
                run_start: None,
                totals: RunTotals::default(),
                unstored: RowBatch::default(),
                older: Vec::new(),
                missing_names: MissingNames::default(),
                out_of_scope: Vec::new(),
            },
            start_known: plan.resumed_from.is_some(),
            first_page: first_page,
            unstored_ids: RoaringTreemap::new(),
            checkpoint: plan
                .resumed_from
                .as_ref()
                .map(|interrupted| interrupted.checkpoint.clone())
                .unwrap_or_default(),
            last_incremental: Instant::now(),
        };
        let first_list =
            plan.resumed_from.as_ref().map_or(0, |interrupted| interrupted.checkpoint.part as usize);
        for list_index in first_list..plan.lists.len() {
            reader.read_list(list_index).await?;
            if list_index + 1 < plan.lists.len() {
                // A place is one in one list.
                reader.flush().await?;
            }
            if reader.scan.fault.is_some() || reader.scan.verdict != ReadVerdict::Verified {
                break;
            }
        }
        reader.finish().await
    }
}

/// Reads lists into accounts and rows into the writer.
struct ScanReader<'p> {
    context: &'p RunContext,
    plan: &'p ScanPlan,
    writer: BatchWriter<'p>,
    scan: ScanEnd,
    /// Whether the start of the walk is known, as far as the server tells it.
    start_known: bool,
    /// The first page of the first list, where it was fetched already.
    first_page: Option<FirstPage>,
    /// The ids of the rows that are not stored yet.
    unstored_ids: RoaringTreemap,
    /// How far the walk is when they are.
    checkpoint: ScanCheckpoint,
    last_incremental: Instant,
}

impl ScanReader<'_> {
    async fn read_list(&mut self, list_index: usize) -> Result<(), SyncError> {
        let settings = &self.context.settings;
        let fetcher = PageFetcher::new(
            &self.context.halo,
            &self.plan.lists[list_index],
            &self.plan.mapping,
            settings.parallel_requests.max(1) as usize,
        );
        let probed_page = self.first_page.take();
        let rules = ListScanOptions {
            cross_checked_count: probed_page.as_ref().and_then(|page| page.cross_checked_count),
            // A ticket that is closed enters the list of the closed ones anywhere.
            full: self.plan.kind == ScanKind::Full && self.plan.lists.len() == 1,
            page_size: settings.page_size,
            accept_shortfall: settings.accept_shortfall,
        };
        let first_page = match probed_page {
            Some(page) => fetcher.map_page(1, page.list_page),
            None => fetcher.fetch(1, rules.page_size).await?,
        };
        self.scan.run_start = self.scan.run_start.or(run_start(&first_page.meta));
        if !self.start_known {
            self.scan.start = run_start(&first_page.meta);
            self.writer.set_start(self.scan.start);
            self.start_known = true;
        }
        let resumed_from = self
            .plan
            .resumed_from
            .as_ref()
            .map(|interrupted| &interrupted.checkpoint)
            .filter(|it| it.part as usize == list_index);
        let list = if let Some(checkpoint) = resumed_from {
            ListScan::from_checkpoint(rules, self.scan.start, checkpoint.ids.clone(), checkpoint.cursor)
        } else {
            self.checkpoint = ScanCheckpoint {
                part: u32::try_from(list_index).unwrap_or(u32::MAX),
                ..ScanCheckpoint::default()
            };
            ListScan::new(rules, self.scan.start)
        };
        let is_resumed = resumed_from.is_some();
        self.scan.list_scans.push(list);
        self.read_once(&fetcher, first_page, is_resumed).await?;
        while self.scan.fault.is_none() {
            self.scan.verdict = self.current_list().verdict();
            if self.scan.verdict != ReadVerdict::ReadAgain {
                break;
            }
            tracing::info!(
                readings = self.current_list().reads(),
                "the list moved, or its count differs: reading it again"
            );
            self.current_list_mut().begin_next_read();
            let first_page = fetcher.fetch(1, rules.page_size).await?;
            self.read_once(&fetcher, first_page, false).await?;
        }
        Ok(())
    }

    /// Reads a list once, to its end or to a fault.
    async fn read_once(
        &mut self,
        fetcher: &PageFetcher,
        first_page: FetchedPage,
        is_resumed: bool,
    ) -> Result<(), SyncError> {
        self.current_list_mut().record_response(&first_page.summary);
        let mut prefetcher = Prefetcher::new(fetcher);
        let mut parked: Vec<FetchedPage> = Vec::new();
        if self.plan.kind == ScanKind::Full && 1 < self.current_list().current_read().last_page() {
            parked.extend(self.find_list_end(fetcher).await?);
        } else if !is_resumed {
            parked.push(first_page);
        }
        if is_resumed {
            self.seek_position(fetcher).await?;
        }
        while self.scan.fault.is_none() {
            let page = match self.current_list().next_request() {
                NextRequest::End => break,
                NextRequest::Seek => {
                    self.seek_position(fetcher).await?;
                    continue;
                }
                NextRequest::PastEnd(number) => {
                    self.check_past_end(fetcher, number).await?;
                    continue;
                }
                NextRequest::Page(number) => {
                    if let Some(page) = self.take_parked(&mut parked, number) {
                        page
                    } else {
                        let read = self.current_list().current_read();
                        let (wanted, size) = (read.remaining_pages(), read.page_size());
                        let last = *wanted.end()
                            - u32::from(parked.iter().any(|it| it.summary.number == *wanted.end()));
                        let page = prefetcher.fetch(number..=last.max(number), size).await?;
                        self.current_list_mut().record_response(&page.summary);
                        page
                    }
                }
            };
            self.process_page(page, &mut parked, fetcher).await?;
        }
        Ok(())
    }

    /// Enters a page, or keeps it for later and looks for the place behind the cursor first.
    async fn process_page(
        &mut self,
        page: FetchedPage,
        parked: &mut Vec<FetchedPage>,
        fetcher: &PageFetcher,
    ) -> Result<(), SyncError> {
        match self.current_list_mut().add_page(&page.summary) {
            Ok(PageOutcome::Added) => self.collect_rows(page).await?,
            Ok(PageOutcome::AlreadyAdded) => {}
            Ok(PageOutcome::SeekNeeded) => {
                parked.push(page);
                self.seek_position(fetcher).await?;
            }
            Err(fault) => self.scan.fault = Some(fault),
        }
        Ok(())
    }

    async fn seek_position(&mut self, fetcher: &PageFetcher) -> Result<(), SyncError> {
        let mut seek = self.current_list_mut().start_seek();
        let size = self.current_list().current_read().page_size();
        let mut pages: Vec<FetchedPage> = Vec::new();
        loop {
            let page = fetcher.fetch(seek.page(), size).await?;
            self.current_list_mut().record_response(&page.summary);
            let result = seek.process_response(&page.summary);
            pages.push(page);
            match result {
                Ok(None) => {}
                Ok(Some(found)) => {
                    self.current_list_mut().resume_at(&found);
                    let arrived = found.page.arrival_no;
                    let page = pages.into_iter().find(|page| page.summary.arrival_no == arrived);
                    return match page {
                        Some(page) => self.collect_rows(page).await,
                        None => Ok(()),
                    };
                }
                Err(fault) => {
                    self.scan.fault = Some(fault);
                    return Ok(());
                }
            }
        }
    }

    /// The last page of the list as it stands now: the tickets that are created from now on are beyond.
    /// What is entered is asked for after it, so that everything received stood in it or came later.
    async fn find_list_end(&mut self, fetcher: &PageFetcher) -> Result<Option<FetchedPage>, SyncError> {
        for _ in 0..END_SEARCH_MAX {
            let read = self.current_list().current_read();
            let page = fetcher.fetch(read.last_page(), read.page_size()).await?;
            self.current_list_mut().record_response(&page.summary);
            if self.current_list_mut().record_last_page(&page.summary) {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// A page that was fetched before its turn, unless the list has moved since.
    fn take_parked(&self, parked: &mut Vec<FetchedPage>, number: u32) -> Option<FetchedPage> {
        let latest = self.current_list().current_read().latest_count();
        parked.retain(|page| number <= page.summary.number && page.summary.record_count == latest);
        let index = parked.iter().position(|page| page.summary.number == number)?;
        Some(parked.swap_remove(index))
    }

    /// Asks whether the count tells the truth about where the list ends. Servers differ in how they
    /// answer such a page (`halo-api.md` §2.1); that they refuse it says the same as an empty one.
    async fn check_past_end(&mut self, fetcher: &PageFetcher, number: u32) -> Result<(), SyncError> {
        let page = match fetcher.fetch(number, self.current_list().current_read().page_size()).await {
            Ok(page) => page,
            Err(HaloError::Refused { .. } | HaloError::Unreadable(_) | HaloError::Unavailable { .. }) => {
                self.current_list_mut().finish();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.current_list_mut().record_response(&page.summary);
        self.current_list_mut().add_page_past_end(&page.summary);
        self.collect_rows(page).await
    }

    /// Puts the rows of an entered page to those that are stored next.
    async fn collect_rows(&mut self, page: FetchedPage) -> Result<(), SyncError> {
        if page.repaired != 0 {
            let places = page.repaired;
            tracing::warn!(
                places,
                "an answer was repaired in {places} places: not everything was UTF-8 text"
            );
        }
        let list = self.current_list();
        self.context.progress.received(list.rows(), list.current_read().latest_count());
        if self.context.settings.batch_rows <= self.scan.unstored.tickets.len() {
            self.flush().await?;
        }
        self.unstored_ids.extend(page.summary.tickets.iter().map(|(id, _)| id.cast_unsigned()));
        self.checkpoint.cursor = self.current_list().current_read().cursor();
        self.scan.missing_names.add(page.missing_names);
        self.scan.out_of_scope.extend(page.out_of_scope);
        self.scan.unstored.tickets.extend(page.batch.tickets);
        self.scan.unstored.rejected_rows.extend(page.batch.rejected_rows);
        Ok(())
    }

    /// Hands what was kept to the writer.
    async fn flush(&mut self) -> Result<(), SyncError> {
        let batch = std::mem::take(&mut self.scan.unstored);
        let ids = std::mem::take(&mut self.unstored_ids);
        // Where the order is ignored, or the list is read again, there is no place to go on from.
        let records_checkpoint = self.plan.kind == ScanKind::Full && !self.context.settings.dry_run;
        let can_resume = records_checkpoint && self.current_list().reads() == 1;
        let checkpoint = self.checkpoint.cursor.filter(|_| can_resume).map(|cursor| ScanCheckpoint {
            cursor: Some(cursor),
            server_started_at: self.scan.start,
            ids,
            part: self.checkpoint.part,
            older: RoaringTreemap::new(),
        });
        self.writer.store(batch, scan_stats(&self.scan.list_scans), checkpoint).await?;
        if self.plan.interleaves_incremental
            && self.context.settings.schedule.incremental_every <= self.last_incremental.elapsed()
        {
            self.writer.wait().await?;
            let totals = std::mem::take(&mut self.writer.totals);
            self.writer.totals =
                Box::pin(self.context.interleave_incremental_scan(&self.plan.mapping, totals)).await?;
            self.last_incremental = Instant::now();
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<ScanEnd, SyncError> {
        self.writer.wait().await?;
        let rows: u64 = self.scan.list_scans.iter().map(ListScan::rows).sum();
        self.scan.totals = self.writer.totals;
        self.scan.totals.received += rows;
        self.scan.older = self.writer.older;
        Ok(self.scan)
    }

    fn current_list(&self) -> &ListScan {
        self.scan.list_scans.last().unwrap_or_else(|| unreachable!("an account for each list"))
    }

    fn current_list_mut(&mut self) -> &mut ListScan {
        self.scan.list_scans.last_mut().unwrap_or_else(|| unreachable!("an account for each list"))
    }
}
