//! What was received of one list, what to ask for next, and whether anything can be missing.
//!
//! Pure: responses go in, the next request and the verdict come out. Only rows received count: a page size that was
//! requested or echoed proves nothing, and a short page is not the last one (`halo-api.md` §2.1). The list is in order
//! of id, and the position in it is the greatest id received, never a page number: a row that disappears moves all rows
//! after it to the left and hides one at each page boundary that is read later. Such a move shows in the counts: where a
//! page reports fewer tickets than the page before it, the boundary between them is read again.
//!
//! A list that changes while it is read is read again, up to three times, until a read brings nothing that an earlier
//! one should have brought.

mod newest;
mod next_request;
mod read;
mod rejected_rows;
mod verdict;

use roaring::RoaringTreemap;

pub use newest::NewestTicket;
pub use next_request::NextRequest;
use read::{ListBaseline, ListPosition, ListRead};
use rejected_rows::PageOrder;
pub(in crate::sync) use rejected_rows::RejectedRows;
pub use verdict::ReadVerdict;

use super::page::{ListReadError, Page, PageOutcome};
use super::seek::CursorSeek;
use crate::ticket::Timestamp;

/// How a list is read.
#[derive(Clone, Copy, Debug)]
pub struct ListScanOptions {
    /// Whether new tickets appear only at the end of the list: it has no date filter, and closing a ticket does not
    /// move it into the list.
    pub appends_only: bool,
    /// Rows requested per page.
    pub page_size: u32,
    /// The number of tickets on which the counts of other lists agree.
    pub cross_checked_count: Option<u64>,
    /// How many tickets fewer than the server counts are accepted (`[sync] accept_shortfall`).
    pub accept_shortfall: u64,
}

/// The scan of one list: up to three reads of it.
pub struct ListScan {
    options: ListScanOptions,
    /// The start of the scan by the server's clock.
    start: Option<Timestamp>,
    seen_ids: RoaringTreemap,
    read: ListRead,
    reads: u32,
    /// Tickets from before the start that this read brought and no earlier one.
    missed_earlier: u64,
    pages: u64,
    rows: u64,
    count_fell: bool,
    newest: Option<NewestTicket>,
    /// Those of the earlier read that showed the most: a later one may have missed them, and nothing tells which.
    earlier_rejected: RejectedRows,
}

impl ListScan {
    /// A scan from the beginning of the list.
    #[must_use]
    pub fn new(options: ListScanOptions, start: Option<Timestamp>) -> ListScan {
        ListScan::from_checkpoint(options, start, RoaringTreemap::new(), RejectedRows::default(), None)
    }

    /// A scan that continues after `cursor`, with the ids and the rows without an id received up to there.
    #[must_use]
    pub(in crate::sync) fn from_checkpoint(
        options: ListScanOptions,
        start: Option<Timestamp>,
        seen_ids: RoaringTreemap,
        rejected: RejectedRows,
        cursor: Option<i64>,
    ) -> ListScan {
        let read =
            ListRead { ids: seen_ids.clone(), rejected, cursor, last_id: cursor, ..ListRead::default() };
        ListScan {
            options,
            start,
            seen_ids,
            read,
            reads: 1,
            missed_earlier: 0,
            pages: 0,
            rows: 0,
            count_fell: false,
            newest: None,
            earlier_rejected: RejectedRows::default(),
        }
    }

    /// Records what a response says about the list as a whole, whether its page is added or not.
    pub fn record_response(&mut self, page: &Page) {
        let read = &mut self.read;
        read.largest_page = read.largest_page.max(page.rows);
        match page.record_count {
            None => read.count_missing = true,
            Some(count) => {
                let counted = (page.arrival_no, count);
                read.counts.push(counted);
                read.latest = read.latest.max(Some(counted));
                read.highest_count = read.highest_count.max(count);
            }
        }
    }

    /// Takes a page as the baseline if it is the last one of the list; returns whether it is.
    pub fn record_last_page(&mut self, page: &Page) -> bool {
        let Some(count) = page.record_count else { return true };
        let end = self.read.rows_before(page.number) + page.rows;
        let is_end = end <= count && count - end <= self.options.accept_shortfall;
        let is_last = is_end && (0 < page.rows || count == 0);
        if is_last {
            self.read.baseline = Some(ListBaseline { count, max_id: page.ids().max() });
            self.read.highest_count = count;
        }
        is_last
    }

    /// Adds a page. After an error nothing of it is added.
    pub fn add_page(&mut self, page: &Page) -> Result<PageOutcome, ListReadError> {
        let read = &mut self.read;
        if page.number <= read.last_added {
            return Ok(PageOutcome::AlreadyAdded);
        }
        let growth = page.record_count.unwrap_or(0).saturating_sub(read.previous_count.unwrap_or(0));
        // If a page's worth of tickets was inserted before it, the same rows rightly appear on the next page: that is no
        // repetition.
        // Rows without an id all look alike; only the count tells that they end.
        let is_comparable = page.ids().next().is_some() || page.record_count.is_none();
        if is_comparable && growth < page.rows && page.ids().eq(read.previous_ids.iter().copied()) {
            return Err(ListReadError::RepeatedPage(page.number));
        }
        let missing = page.record_count.unwrap_or(0).saturating_sub(read.rows_before(page.number));
        // The last page may be empty because the count is too high, which reading again shows. A full list is not
        // believed to be empty for that reason.
        let missing_max = match page.number {
            1 if self.options.appends_only => 0,
            _ => u64::from(self.options.page_size).saturating_sub(1).max(self.options.accept_shortfall),
        };
        if page.rows == 0 && missing_max < missing {
            return Err(ListReadError::EmptyPage(page.number));
        }
        if !read.out_of_order && 0 < read.pages && page.record_count < read.previous_count {
            return Ok(PageOutcome::SeekNeeded);
        }
        read.out_of_order |= !read.is_in_id_order(page);
        self.append_next(page);
        Ok(PageOutcome::Added)
    }

    /// Adds the page after the last one: new rows there show that the count is too low. A server may answer it with
    /// nothing, or with rows that it returned before.
    pub fn add_page_past_end(&mut self, page: &Page) {
        let read = &self.read;
        let has_new_ids = page.ids().any(|id| !read.ids.contains(id.cast_unsigned()));
        let repeats_last = read.previous_ids.is_empty() && page.rejected_rows.len() <= read.previous_rejected;
        let has_only_rejected = page.ids().next().is_none() && !page.rejected_rows.is_empty();
        if has_new_ids || has_only_rejected && !repeats_last {
            self.append_next(page);
        } else {
            self.read.ended = true;
            self.track_tickets(page);
        }
    }

    /// Ends the read: there is nothing after the last page.
    pub fn finish(&mut self) {
        self.read.ended = true;
    }

    /// Begins the search for the page on which ids pass the cursor.
    #[must_use]
    pub fn start_seek(&mut self) -> CursorSeek {
        let (page_size, latest) = (self.page_size(), self.latest_count());
        let read = &mut self.read;
        let rows_before = match read.last_seek.cursor {
            None => read.different_rows(),
            Some(_) => read.last_seek.position + read.count_after(read.last_seek.cursor),
        };
        // Rows that disappeared since are no longer before the cursor.
        let decrease = read.previous_count.zip(latest).map_or(0, |(was, is)| was.saturating_sub(is));
        read.used_seek = true;
        CursorSeek::new(
            read.cursor.unwrap_or(i64::MIN),
            page_size,
            rows_before.saturating_sub(decrease),
            latest.unwrap_or(rows_before),
        )
    }

    /// Continues on the page that a search found; `position` rows of the list are at or before the cursor.
    pub fn resume_at(&mut self, page: &Page, position: u64) {
        self.read.last_seek = ListPosition { position, cursor: self.read.cursor };
        if self.read.pages == 0 {
            self.read.origin = self.read.last_seek;
        }
        self.append(page, PageOrder::Found(self.read.cursor));
    }

    fn append_next(&mut self, page: &Page) {
        self.append(page, PageOrder::Next(self.read.last_id));
    }

    fn append(&mut self, page: &Page, order: PageOrder) {
        self.read.append(page, order, self.options.page_size);
        self.track_tickets(page);
    }

    fn track_tickets(&mut self, page: &Page) {
        self.pages += 1;
        self.rows += page.rows;
        for (id, last_update) in &page.tickets {
            let is_new = self.seen_ids.insert(id.cast_unsigned());
            let predates_start = last_update.zip(self.start).is_none_or(|(at, start)| at <= start);
            if is_new && predates_start && 1 < self.reads {
                self.missed_earlier += 1;
            }
            if let Some(last_update) = last_update.filter(|_| predates_start) {
                self.newest = Some(NewestTicket::after(self.newest, last_update, *id, is_new));
            }
        }
    }

    /// Begins the next read of the list.
    pub fn read_again(&mut self) {
        self.count_fell |= self.read.total_decrease() != 0;
        let read = std::mem::take(&mut self.read);
        if let Some(size) = read.real_page_size {
            self.options.page_size = size.min(self.options.page_size);
        }
        if self.earlier_rejected.len() < read.rejected.len() {
            self.earlier_rejected = read.rejected;
        }
        self.reads += 1;
        self.missed_earlier = 0;
    }

    /// How many reads there were.
    #[must_use]
    pub fn reads(&self) -> u32 {
        self.reads
    }

    /// The greatest id received; `None` if the list is not in order of id.
    #[must_use]
    pub fn cursor(&self) -> Option<i64> {
        self.read.cursor.filter(|_| !self.read.out_of_order)
    }

    /// The count of the latest response of this read.
    #[must_use]
    pub fn latest_count(&self) -> Option<u64> {
        self.read.latest.map(|(_, count)| count)
    }

    /// Different tickets received in all reads. A row without an id is none.
    #[must_use]
    pub fn unique_ids(&self) -> u64 {
        self.seen_ids.len()
    }

    /// The count of the first response of this read.
    #[must_use]
    pub fn first_count(&self) -> Option<u64> {
        self.read.counts.iter().min().map(|(_, count)| *count)
    }

    /// The ids received in all reads.
    #[must_use]
    pub fn seen_ids(&self) -> &RoaringTreemap {
        &self.seen_ids
    }

    /// The rows without a usable id, of the read that showed the most.
    pub(in crate::sync) fn rejected_rows(&self) -> &RejectedRows {
        let (earlier, present) = (&self.earlier_rejected, &self.read.rejected);
        if earlier.len() <= present.len() { present } else { earlier }
    }

    /// Pages added in all reads.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Different rows received in this read, those before an interruption included.
    #[must_use]
    pub fn read_rows(&self) -> u64 {
        self.read.different_rows()
    }

    /// Rows received in all reads, repetitions included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether a count was ever lower than an earlier one of the same read.
    #[must_use]
    pub fn count_fell(&self) -> bool {
        self.count_fell || self.read.total_decrease() != 0
    }

    /// The newest ticket that is not newer than the start.
    #[must_use]
    pub fn newest(&self) -> Option<NewestTicket> {
        self.newest
    }
}

#[cfg(test)]
mod tests;
