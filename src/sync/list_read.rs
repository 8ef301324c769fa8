//! One reading of one list: what was received, what to ask for next, and whether anything can have
//! slipped through between two answers.
//!
//! Pure. Only rows received count: a page size that was asked for, or echoed, proves nothing, and a
//! short page is not the last one (`halo-api.md` §2.1). The list is in order of id, and the position in
//! it is the greatest id entered, never a page number: a row that leaves shifts all behind it to the
//! left and hides one at each boundary that is read later. A shift shows in the counts: where a page
//! claims fewer tickets than the page before it, the boundary between them is asked for again.

use std::ops::RangeInclusive;

use roaring::RoaringTreemap;

use super::seek::{CursorSeek, SeekResult};
use crate::ticket::Timestamp;

/// What an answer held, before any of it was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageSummary {
    /// The number of the page.
    pub number: u32,
    /// The tickets in the order received, each once, with their `last_update`.
    pub tickets: Vec<(i64, Option<Timestamp>)>,
    /// Rows without a usable id; each counts as a ticket.
    pub rejected_rows: u64,
    /// All rows.
    pub rows: u64,
    /// The count that the server claims.
    pub record_count: Option<u64>,
    /// The place of this answer in the order of arrival.
    pub arrival_no: u64,
}

impl PageSummary {
    fn ids(&self) -> impl DoubleEndedIterator<Item = i64> + Clone {
        self.tickets.iter().map(|(id, _)| *id)
    }
}

/// Why an answer cannot be the page that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListReadError {
    /// The page before had the same ids.
    #[error("page {0} repeats the page before it: the server ignores paging")]
    RepeatedPage(u32),
    /// It is empty, although the server says that there are more.
    #[error("page {0} is empty although the server counts more tickets")]
    EmptyPage(u32),
    /// The list moves so fast that the position in it cannot be found.
    #[error("the list changes with every answer, and the place to go on from is not to be found")]
    UnstableList,
}

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOutcome {
    /// It is entered.
    Added,
    /// It was entered before; it is not needed.
    AlreadyAdded,
    /// Rows may have slipped through before it: the place behind the cursor is to be looked for first.
    SeekNeeded,
}

/// What to ask for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRequest {
    /// This page.
    Page(u32),
    /// The page behind the last one, because nothing but the count says that there is none.
    PastEnd(u32),
    /// First the place behind the cursor.
    Seek,
    /// Nothing: that was all.
    End,
}

/// Where in the list a cursor stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ListPosition {
    /// How many rows of the list stand at or before the cursor.
    position: u64,
    /// The cursor, `None` before the first row.
    cursor: Option<i64>,
}

/// The set as it stood in one answer before the first page was entered: the one that held the end of
/// the list.
#[derive(Clone, Copy, Debug)]
struct ListBaseline {
    count: u64,
    /// The greatest id there was.
    max_id: Option<i64>,
}

/// One reading.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about what was received")]
pub struct ListRead {
    /// Rows asked for on a page.
    requested_page_size: u32,
    ids: RoaringTreemap,
    rejected_rows: u64,
    rows: u64,
    pages: u32,
    next_page: u32,
    largest_page: u64,
    cursor: Option<i64>,
    ascending: bool,
    /// Where it was sought last.
    last_seek: ListPosition,
    /// Where a reading that goes on began.
    start_position: ListPosition,
    baseline: Option<ListBaseline>,
    /// Arrival and count of every answer.
    counts: Vec<(u64, u64)>,
    first: Option<(u64, u64)>,
    latest: Option<(u64, u64)>,
    /// The highest count since the end of the list was seen.
    highest_count: u64,
    count_missing: bool,
    previous_record_count: Option<u64>,
    previous_page_ids: Vec<i64>,
    last_page_full: bool,
    used_seek: bool,
    /// Whether a page held rows that its own count denies.
    has_excess_rows: bool,
    ended: bool,
}

impl ListRead {
    /// A reading from the beginning, with `asked` rows a page.
    #[must_use]
    pub fn new(requested_page_size: u32) -> ListRead {
        ListRead::from_checkpoint(requested_page_size, RoaringTreemap::new(), None)
    }

    /// A reading that goes on behind `cursor`, with the ids that were received up to there.
    #[must_use]
    pub fn from_checkpoint(requested_page_size: u32, ids: RoaringTreemap, cursor: Option<i64>) -> ListRead {
        ListRead {
            requested_page_size,
            ids,
            rejected_rows: 0,
            rows: 0,
            pages: 0,
            next_page: 1,
            largest_page: 0,
            cursor,
            ascending: true,
            last_seek: ListPosition::default(),
            start_position: ListPosition::default(),
            baseline: None,
            counts: Vec::new(),
            first: None,
            latest: None,
            highest_count: 0,
            count_missing: false,
            previous_record_count: None,
            previous_page_ids: Vec::new(),
            last_page_full: false,
            used_seek: false,
            has_excess_rows: false,
            ended: false,
        }
    }

    /// Notes what an answer says of the whole list, whether it is entered or not.
    pub fn record_response(&mut self, page: &PageSummary) {
        self.largest_page = self.largest_page.max(page.rows);
        let Some(count) = page.record_count else {
            self.count_missing = true;
            return;
        };
        let entry = (page.arrival_no, count);
        self.counts.push(entry);
        self.first = Some(self.first.map_or(entry, |first| first.min(entry)));
        self.latest = Some(self.latest.map_or(entry, |latest| latest.max(entry)));
        self.highest_count = self.highest_count.max(count);
    }

    /// Notes the set as it stands, where this is the last page of the list; says whether it is.
    pub fn record_last_page(&mut self, page: &PageSummary) -> bool {
        let Some(count) = page.record_count else { return true };
        let end = self.position_of(page.number) + page.rows;
        let is_last = end == count && (0 < page.rows || count == 0);
        if is_last {
            self.baseline = Some(ListBaseline { count, max_id: page.ids().max() });
            self.highest_count = count;
        }
        is_last
    }

    /// The last page, as far as is known.
    #[must_use]
    pub fn last_page(&self) -> u32 {
        *self.remaining_pages().end()
    }

    /// Enters a page.
    ///
    /// # Errors
    /// [`Fault`] where the answer cannot be that page; nothing is entered then.
    pub fn add_page(&mut self, page: &PageSummary) -> Result<PageOutcome, ListReadError> {
        if page.number < self.next_page {
            return Ok(PageOutcome::AlreadyAdded);
        }
        let growth = page.record_count.unwrap_or(0).saturating_sub(self.previous_record_count.unwrap_or(0));
        // As many newcomers as a page holds push the same rows onto the next one.
        if growth < page.rows && page.ids().eq(self.previous_page_ids.iter().copied()) {
            return Err(ListReadError::RepeatedPage(page.number));
        }
        if page.rows == 0 && page.record_count.is_some_and(|count| self.position_of(page.number) < count) {
            return Err(ListReadError::EmptyPage(page.number));
        }
        if self.ascending && 0 < self.pages && page.record_count < self.previous_record_count {
            return Ok(PageOutcome::SeekNeeded);
        }
        self.ascending &= self.is_in_id_order(page);
        self.append_page(page);
        Ok(PageOutcome::Added)
    }

    /// Enters the page behind the last one: rows that are new there show that the count is too low. A
    /// server may answer it with nothing, or with rows that it gave already.
    pub fn add_page_past_end(&mut self, page: &PageSummary) {
        if page.ids().any(|id| !self.ids.contains(id.cast_unsigned())) {
            self.append_page(page);
        } else {
            self.ended = true;
        }
    }

    /// Ends the reading.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// Looks for the place behind the cursor.
    #[must_use]
    pub fn start_seek(&mut self) -> CursorSeek {
        let rows_before = match self.last_seek.cursor {
            None => self.ids.len() + self.rejected_rows,
            Some(_) => self.last_seek.position + self.count_after(self.last_seek.cursor),
        };
        // What has left since is not there any more.
        let decrease =
            self.previous_record_count.zip(self.latest_count()).map_or(0, |(was, is)| was.saturating_sub(is));
        self.used_seek = true;
        CursorSeek::new(
            self.cursor.unwrap_or(i64::MIN),
            self.page_size(),
            rows_before.saturating_sub(decrease),
            self.latest_count().unwrap_or(rows_before),
        )
    }

    /// Goes on where a search found the cursor.
    pub fn resume_at(&mut self, found: &SeekResult) {
        self.last_seek = ListPosition { position: found.position, cursor: self.cursor };
        if self.pages == 0 {
            self.start_position = self.last_seek;
        }
        self.append_page(&found.page);
    }

    fn append_page(&mut self, page: &PageSummary) {
        let end = self.position_of(page.number) + page.rows;
        self.has_excess_rows |= 1 < page.number && page.record_count.is_some_and(|count| count < end);
        self.pages += 1;
        self.next_page = page.number + 1;
        self.rows += page.rows;
        self.rejected_rows += page.rejected_rows;
        let cap = if 1 < self.pages { self.largest_page } else { u64::from(self.requested_page_size) };
        self.last_page_full = cap <= page.rows;
        self.previous_record_count = page.record_count;
        self.ids.extend(page.ids().map(i64::cast_unsigned));
        self.cursor = self.cursor.max(page.ids().max());
        self.previous_page_ids = page.ids().collect();
        self.ended = page.rows == 0;
    }

    /// Whether a page is in order of id and not before the one that came before it.
    fn is_in_id_order(&self, page: &PageSummary) -> bool {
        let ids_sorted = page.ids().is_sorted_by(|one, next| one < next);
        let follows_previous = self
            .previous_page_ids
            .first()
            .zip(page.ids().next_back())
            .is_none_or(|(first, last)| *first <= last);
        ids_sorted && follows_previous
    }

    /// What is to be asked for next. `agreed` is a count that other lists agree with.
    #[must_use]
    pub fn next_request(&self, cross_checked_count: Option<u64>) -> NextRequest {
        match self.latest_count() {
            _ if self.ended => NextRequest::End,
            _ if self.pages == 0 => NextRequest::Page(self.next_page),
            // Without a count, only an empty page is the end.
            None => NextRequest::Page(self.next_page),
            Some(count) if self.position_of(self.next_page) < count => NextRequest::Page(self.next_page),
            // So many have left that there is no next page; what was on it stands before the cursor now.
            Some(_) if self.ascending && self.latest_count() < self.previous_record_count => {
                NextRequest::Seek
            }
            Some(count) if self.last_page_full && cross_checked_count != Some(count) => {
                NextRequest::PastEnd(self.next_page)
            }
            Some(_) => NextRequest::End,
        }
    }

    /// The pages that are still to come, as far as is known; they may become more.
    #[must_use]
    pub fn remaining_pages(&self) -> RangeInclusive<u32> {
        let last = match self.latest_count() {
            Some(count) => count.div_ceil(self.largest_page.max(1)),
            None => u64::from(self.next_page),
        };
        self.next_page..=u32::try_from(last).unwrap_or(u32::MAX).max(self.next_page)
    }

    fn position_of(&self, page: u32) -> u64 {
        u64::from(page - 1) * self.largest_page
    }

    /// How many rows a page really holds, where a page held fewer than were asked for although there
    /// are more.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        let capped = self.latest_count().is_none_or(|count| self.largest_page < count);
        match u32::try_from(self.largest_page) {
            Ok(size) if 0 < size && capped => size.min(self.requested_page_size),
            _ => self.requested_page_size,
        }
    }

    /// Whether every ticket that stood in the list all the while was received.
    ///
    /// One answer that holds as many as it counts proves itself. Several prove it where nothing can
    /// have slipped through between them:
    ///
    /// * `full`, a list in which newcomers stand at the end: as many ids as there were in one answer
    ///   before them all, of those that there were: a leaver and a newcomer cannot cancel out, because the
    ///   greatest id and the count are of the same answer. Where some are missing they may have left
    ///   unread; that is so where nothing came meanwhile, because then every ticket that left shows in a
    ///   count, and each boundary where it did was asked for again.
    /// * else, where newcomers may stand anywhere: the counts never fell, and as many ids as the last.
    #[must_use]
    pub fn is_proved_complete(&self, full: bool) -> bool {
        let (Some(latest), false) = (self.latest_count(), self.count_missing) else { return false };
        if self.pages == 1 && !self.used_seek {
            return self.previous_record_count == Some(self.unique_tickets());
        }
        if !self.ascending || self.has_excess_rows {
            return false;
        }
        if !full {
            return !self.count_fell() && !self.used_seek && self.unique_tickets() == latest;
        }
        let Some(baseline) = self.baseline else { return false };
        let newcomers = self.count_after(baseline.max_id.max(self.start_position.cursor));
        let listed_at_start = baseline.count.saturating_sub(self.start_position.position);
        let received =
            (self.count_after(self.start_position.cursor) + self.rejected_rows).saturating_sub(newcomers);
        let tail_matches_count =
            self.last_seek.position + self.count_after(self.last_seek.cursor) + self.rejected_rows == latest;
        let only_removals = newcomers == 0 && self.highest_count <= baseline.count;
        received == listed_at_start || (received < listed_at_start && only_removals && tail_matches_count)
    }

    /// How many ids were received behind a cursor.
    fn count_after(&self, cursor: Option<i64>) -> u64 {
        match cursor {
            None => self.ids.len(),
            Some(cursor) => self.ids.len() - self.ids.rank(cursor.cast_unsigned()),
        }
    }

    /// Different tickets received.
    #[must_use]
    pub fn unique_tickets(&self) -> u64 {
        self.ids.len() + self.rejected_rows
    }

    /// Rows without a usable id.
    #[must_use]
    pub fn rejected_rows(&self) -> u64 {
        self.rejected_rows
    }

    /// The ids received.
    #[must_use]
    pub fn ids(&self) -> &RoaringTreemap {
        &self.ids
    }

    /// Rows received, repetitions included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Pages entered.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// The greatest id entered, unless the list is not in order of id.
    #[must_use]
    pub fn cursor(&self) -> Option<i64> {
        self.cursor.filter(|_| self.ascending)
    }

    /// Whether an answer came without a count.
    #[must_use]
    pub fn is_count_missing(&self) -> bool {
        self.count_missing
    }

    /// Whether a page held rows that its own count denies.
    #[must_use]
    pub fn has_excess_rows(&self) -> bool {
        self.has_excess_rows
    }

    /// The count of the first answer.
    #[must_use]
    pub fn first_count(&self) -> Option<u64> {
        self.first.map(|(_, count)| count)
    }

    /// The count of the latest answer.
    #[must_use]
    pub fn latest_count(&self) -> Option<u64> {
        self.latest.map(|(_, count)| count)
    }

    /// By how much the counts fell, answer for answer.
    #[must_use]
    pub fn total_decrease(&self) -> u64 {
        let mut counts = self.counts.clone();
        counts.sort_unstable();
        counts.windows(2).map(|pair| pair[0].1.saturating_sub(pair[1].1)).sum()
    }

    /// Whether a count was ever lower than an earlier one.
    #[must_use]
    pub fn count_fell(&self) -> bool {
        self.total_decrease() != 0
    }
}
