//! Reads the lists of a scan page by page, in order of id.
//!
//! [`ListScan`] says what to ask for next; here it is asked for, and the rows go to the writer.

mod batch;
mod position;

use roaring::RoaringTreemap;
use tokio::time::Instant;

use super::ScanEnd;
use super::list::{ListScan, ListScanOptions, NextRequest, ReadVerdict, RejectedRows};
use super::page::{ListReadError, Page, PageOutcome};
use super::plan::{ChangesMax, ScanPlan};
use super::prefetch::{PageFetcher, Prefetcher};
use super::writer::{BatchWriter, InitialStart, RowBatch};
use crate::halo::HaloError;
use crate::store::ScanCheckpoint;
use crate::sync::SyncError;
use crate::sync::completeness::Shortfall;
use crate::sync::context::{Interleave, RunContext, RunPhase};
use crate::sync::probes::FirstPage;
use crate::sync::row_intake::MissingNames;
use crate::sync::totals::RunTotals;
use crate::ticket::{ExtraSet, FieldSearch};
use crate::watermark::{ScanKind, ScanStart, WatermarkState};

/// Reads the lists of a plan. `first_page` is the first page of the first list if it was fetched already; `interleave`
/// runs between two commits when an incremental scan is due.
pub(in crate::sync) async fn read(
    context: &RunContext,
    plan: &ScanPlan,
    first_page: Option<FirstPage>,
    totals: RunTotals,
    interleave: Option<&Interleave<'_>>,
) -> Result<ScanEnd, SyncError> {
    let resumed_from = plan.resumed_from.as_ref();
    let first_start = resumed_from.and_then(|scan| scan.checkpoint.server_started_at);
    let initial_start = plan.is_initial.then_some(InitialStart(first_start));
    let mut reader = ScanReader {
        context,
        plan,
        interleave,
        writer: BatchWriter::new(context, plan, initial_start, totals),
        end: ScanEnd {
            list_scans: Vec::new(),
            earlier_ids: resumed_from.map(|scan| scan.earlier_list_ids.clone()).unwrap_or_default(),
            earlier_rejected: resumed_from.map(|scan| scan.earlier_rejected_rows.clone()).unwrap_or_default(),
            verdict: ReadVerdict::Verified,
            fault: None,
            start: ScanStart { first: first_start, session: None },
            is_aged: false,
            totals: RunTotals::default(),
            unstored: RowBatch::default(),
            older: Vec::new(),
            missing_names: MissingNames::default(),
            shown_extras: ExtraSet::default(),
            out_of_scope: Vec::new(),
            unmapped: None,
        },
        is_start_taken: resumed_from.is_some(),
        first_page,
        unstored_ids: RoaringTreemap::new(),
        batched_rows: 0,
        checkpoint: resumed_from.map(|scan| scan.checkpoint.clone()).unwrap_or_default(),
        last_incremental: Instant::now(),
        stored_tickets: None,
    };
    let unidentified = reader.end.earlier_rejected.len() as u64;
    if unidentified != 0 {
        reader.end.verdict = ReadVerdict::Short(Shortfall { missing: 0, unidentified });
    }
    reader.report_phase();
    let first_list = resumed_from.map_or(0, |scan| scan.checkpoint.part as usize);
    for list_index in first_list..plan.lists.len() {
        reader.read_list(list_index).await?;
        if list_index + 1 < plan.lists.len() {
            // A checkpoint belongs to one list.
            reader.flush().await?;
        }
        if reader.end.fault.is_some() {
            break;
        }
    }
    reader.finish().await
}

struct ScanReader<'c, 'i> {
    context: &'c RunContext,
    plan: &'c ScanPlan,
    interleave: Option<&'c Interleave<'i>>,
    writer: BatchWriter<'c>,
    end: ScanEnd,
    /// Whether the first response, which gives the start of the scan, was received.
    is_start_taken: bool,
    first_page: Option<FirstPage>,
    /// The ids of the rows that are not stored yet.
    unstored_ids: RoaringTreemap,
    /// The rows that were handed to the writer or are about to be.
    batched_rows: u64,
    /// The checkpoint once they are.
    checkpoint: ScanCheckpoint,
    last_incremental: Instant,
    /// How many tickets were stored before the list was read, once the initial load is complete.
    stored_tickets: Option<u64>,
}

impl ScanReader<'_, '_> {
    async fn read_list(&mut self, list_index: usize) -> Result<(), SyncError> {
        let settings = &self.context.settings;
        let fetcher = PageFetcher::new(
            &self.context.halo,
            &self.plan.lists[list_index],
            &self.plan.mapping,
            settings.parallel_requests.max(1) as usize,
        );
        let probed_page = self.first_page.take();
        let options = ListScanOptions {
            cross_checked_count: probed_page.as_ref().and_then(|page| page.cross_checked_count),
            // A ticket that is closed enters the list of closed tickets anywhere.
            appends_only: self.plan.kind == ScanKind::Full && self.plan.lists.len() == 1,
            page_size: settings.page_size,
            accept_shortfall: settings.accept_shortfall,
        };
        let mut first_page = match probed_page {
            Some(page) => fetcher.map_page(1, page.response),
            None => self.fetch_first_page(&fetcher, list_index, options.page_size).await?,
        };
        if 0 < first_page.rows && self.end.unmapped.is_none() {
            self.end.unmapped = first_page.unmapped.take();
        }
        let start = &mut self.end.start;
        start.session = start.session.or(first_page.server_start);
        if !self.is_start_taken {
            start.first = first_page.server_start;
            self.writer.set_start(start.first);
            self.is_start_taken = true;
        }
        if let Some(count) = first_page.record_count.filter(|count| first_page.rows < *count) {
            self.check_count(count)?;
            if self.end.fault.is_some() {
                return Ok(());
            }
        }
        let is_resumed = self.start_list(list_index, options);
        let short_before = self.end.shortfall();
        self.read_once(&fetcher, first_page, is_resumed).await?;
        let earlier = self.end.verdict;
        while self.end.fault.is_none() {
            self.end.verdict = match self.list().verdict() {
                ReadVerdict::Short(shortfall) => ReadVerdict::Short(short_before.and(shortfall)),
                ReadVerdict::Verified if short_before.total() != 0 => ReadVerdict::Short(short_before),
                verdict => verdict,
            };
            if self.end.verdict != ReadVerdict::ReadAgain {
                break;
            }
            let reads = self.list().reads();
            tracing::info!(
                reads,
                "the list changed while it was read, or its count differs: reading it again"
            );
            self.list_mut().read_again();
            self.report_phase();
            let first_page = fetcher.fetch(1, self.list().page_size()).await?;
            self.read_once(&fetcher, first_page, false).await?;
        }
        // A list that is not proved complete keeps no other one from being read.
        if !matches!(earlier, ReadVerdict::Verified | ReadVerdict::Short(_)) {
            self.end.verdict = earlier;
        }
        Ok(())
    }

    /// Compares the count of a list of more than one page with the number of stored tickets.
    fn check_count(&mut self, count: u64) -> Result<(), SyncError> {
        let stored = self.context.store.lock().read(|tx| tx.ticket_count())?;
        let most = match self.plan.changes_max {
            ChangesMax::Any => u64::MAX,
            ChangesMax::HalfOfStored => stored / 2,
            ChangesMax::Tickets(most) => most,
        };
        if most < count {
            self.end.fault = Some(ListReadError::TooManyChanges(count));
            return Ok(());
        }
        // While the initial load is under way, the number of stored tickets says nothing.
        self.stored_tickets = (self.plan.watermark.state == WatermarkState::Incremental).then_some(stored);
        Ok(())
    }

    /// Fetches the first page of a list, or the one on which an interrupted scan of it probably continues. Servers differ in
    /// how they answer a request for a page after the last one.
    async fn fetch_first_page(
        &self,
        fetcher: &PageFetcher,
        list_index: usize,
        size: u32,
    ) -> Result<Page, SyncError> {
        let received = self.checkpoint_of(list_index).map_or(0, |checkpoint| checkpoint.ids.len());
        let number = u32::try_from(received / u64::from(size.max(1))).unwrap_or(0) + 1;
        let search = if self.end.unmapped.is_none() { FieldSearch::On } else { FieldSearch::Off };
        match fetcher.fetch_and_search(number, size, search).await {
            Err(HaloError::Refused { .. } | HaloError::Unreadable(_) | HaloError::Unavailable { .. })
                if number != 1 =>
            {
                Ok(fetcher.fetch_and_search(1, size, search).await?)
            }
            page => Ok(page?),
        }
    }

    /// Where an interrupted scan of this list continues.
    fn checkpoint_of(&self, list_index: usize) -> Option<&ScanCheckpoint> {
        let checkpoint = self.plan.resumed_from.as_ref().map(|scan| &scan.checkpoint);
        checkpoint.filter(|checkpoint| checkpoint.part as usize == list_index)
    }

    /// Starts the scan of a list; returns whether it continues from a checkpoint.
    fn start_list(&mut self, list_index: usize, options: ListScanOptions) -> bool {
        let checkpoint = self.checkpoint_of(list_index).cloned();
        let start = self.end.start.first;
        let is_resumed = checkpoint.is_some();
        let list = if let Some(checkpoint) = checkpoint {
            let rejected = RejectedRows::from_checkpoint(checkpoint.rejected_rows);
            ListScan::from_checkpoint(options, start, checkpoint.ids, rejected, checkpoint.cursor)
        } else {
            let part = u32::try_from(list_index).unwrap_or(u32::MAX);
            self.checkpoint = ScanCheckpoint { part, ..ScanCheckpoint::default() };
            ListScan::new(options, start)
        };
        self.end.list_scans.push(list);
        is_resumed
    }

    /// Reads a list once, to its end or to a fault.
    async fn read_once(
        &mut self,
        fetcher: &PageFetcher,
        mut first_page: Page,
        is_resumed: bool,
    ) -> Result<(), SyncError> {
        self.list_mut().record_response(&first_page);
        self.report_progress();
        let mut prefetcher = Prefetcher::new(fetcher);
        // Pages received before their turn.
        let mut parked: Vec<Page> = Vec::new();
        if self.plan.kind == ScanKind::Full && 1 < *self.list().remaining_pages().end() {
            parked.extend(self.find_list_end(fetcher).await?);
        } else if !is_resumed {
            parked.push(std::mem::take(&mut first_page));
        }
        if is_resumed {
            self.seek_position(fetcher, Some(first_page)).await?;
        }
        while self.end.fault.is_none() {
            if self.list().is_endless(self.stored_tickets) {
                self.end.fault = Some(ListReadError::Endless(self.list().unique_ids()));
                break;
            }
            let page = match self.list().next_request() {
                NextRequest::End => break,
                NextRequest::Seek => {
                    self.seek_position(fetcher, None).await?;
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
                        let (wanted, size) = (self.list().remaining_pages(), self.list().page_size());
                        let is_parked = parked.iter().any(|page| page.number == *wanted.end());
                        let last = *wanted.end() - u32::from(is_parked);
                        let page = prefetcher.fetch(number..=last.max(number), size).await?;
                        self.list_mut().record_response(&page);
                        page
                    }
                }
            };
            match self.list_mut().add_page(&page) {
                Ok(PageOutcome::Added) => self.keep_rows(page).await?,
                Ok(PageOutcome::AlreadyAdded) => {}
                Ok(PageOutcome::SeekNeeded) => {
                    parked.push(Page { slot: None, ..page });
                    self.seek_position(fetcher, None).await?;
                }
                Err(fault) => self.end.fault = Some(fault),
            }
        }
        Ok(())
    }

    fn report_phase(&self) {
        let reads_again = self.end.list_scans.last().is_some_and(|list| 1 < list.reads());
        self.context.progress.phase(match self.plan.kind {
            _ if reads_again => RunPhase::Confirming,
            ScanKind::Full if self.plan.is_initial => RunPhase::InitialLoad,
            ScanKind::Full => RunPhase::FullScan,
            ScanKind::Incremental { .. } => RunPhase::IncrementalScan,
        });
    }

    /// Reports how many tickets of the lists so far are received.
    fn report_progress(&self) {
        let Some((list, earlier)) = self.end.list_scans.split_last() else { return };
        let before = self.end.earlier_ids.len() + earlier.iter().map(ListScan::unique_ids).sum::<u64>();
        let total = list.latest_count().map(|count| before + count);
        self.context.report_progress(before + list.read_rows(), total, list.page_size());
    }

    async fn finish(mut self) -> Result<ScanEnd, SyncError> {
        self.writer.wait().await?;
        self.end.totals = self.writer.totals;
        self.end.totals.received += self.end.rows();
        self.end.older = self.writer.older;
        Ok(self.end)
    }

    fn list(&self) -> &ListScan {
        self.end.list_scans.last().unwrap_or_else(|| unreachable!("every list that is read has a scan"))
    }

    fn list_mut(&mut self) -> &mut ListScan {
        self.end.list_scans.last_mut().unwrap_or_else(|| unreachable!("every list that is read has a scan"))
    }
}
