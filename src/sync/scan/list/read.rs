//! One read of a list, and whether it proves that nothing is missing.

use roaring::RoaringTreemap;

use super::super::page::Page;
use super::rejected_rows::{PageOrder, RejectedRows};

/// Where a cursor is in the list.
#[derive(Clone, Copy, Default)]
pub(super) struct ListPosition {
    /// How many rows of the list are at or before the cursor.
    pub(super) position: u64,
    /// The cursor; `None` before the first row.
    pub(super) cursor: Option<i64>,
}

/// The list as reported by the response that held its end, before any page was added.
#[derive(Clone, Copy)]
pub(super) struct ListBaseline {
    pub(super) count: u64,
    pub(super) max_id: Option<i64>,
}

/// One complete reading of the list.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about what was received")]
pub(super) struct ListRead {
    pub(super) ids: RoaringTreemap,
    pub(super) rejected: RejectedRows,
    pub(super) pages: u32,
    /// The last page added; 0 if none is.
    pub(super) last_added: u32,
    pub(super) largest_page: u64,
    pub(super) cursor: Option<i64>,
    pub(super) out_of_order: bool,
    pub(super) last_seek: ListPosition,
    /// Where a resumed read began.
    pub(super) origin: ListPosition,
    pub(super) baseline: Option<ListBaseline>,
    /// Arrival number and count of every response.
    pub(super) counts: Vec<(u64, u64)>,
    /// The one of them that arrived last.
    pub(super) latest: Option<(u64, u64)>,
    /// The highest count since the baseline.
    pub(super) highest_count: u64,
    pub(super) count_missing: bool,
    pub(super) previous_count: Option<u64>,
    pub(super) previous_ids: Vec<i64>,
    /// How many rows without an id the previous page had.
    pub(super) previous_rejected: usize,
    /// The ticket received last, whatever the order.
    pub(super) last_id: Option<i64>,
    pub(super) last_page_full: bool,
    pub(super) used_seek: bool,
    /// Whether a page held more rows than its own count allows.
    pub(super) has_excess_rows: bool,
    pub(super) ended: bool,
    /// Whether a row may be missing inside of a page.
    pub(super) has_torn_page: bool,
    pub(super) has_split_page: bool,
    /// How many rows a page of the server really has, where pages that were requested in parts hid that it is fewer than
    /// requested.
    pub(super) real_page_size: Option<u32>,
}

impl ListRead {
    pub(super) fn append(&mut self, page: &Page, order: PageOrder, requested_page_size: u32) {
        let end = self.rows_before(page.number) + page.rows;
        self.has_excess_rows |= 1 < page.number && page.record_count.is_some_and(|count| count < end);
        self.detect_page_size(page);
        self.has_torn_page |= page.count_fell;
        self.has_split_page |= page.was_split;
        self.pages += 1;
        self.last_added = page.number;
        self.rejected.add(page, order);
        let cap = if 1 < self.pages { self.largest_page } else { u64::from(requested_page_size) };
        self.last_page_full = cap <= page.rows;
        self.previous_count = page.record_count;
        self.ids.extend(page.ids().map(i64::cast_unsigned));
        self.cursor = self.cursor.max(page.ids().max());
        self.previous_ids = page.ids().collect();
        self.previous_rejected = page.rejected_rows.len();
        self.last_id = page.ids().next_back().or(self.last_id);
        self.ended = page.rows == 0;
    }

    /// Whether a page is in order of id and not before the page that came before it.
    pub(super) fn is_in_id_order(&self, page: &Page) -> bool {
        let is_sorted = page.ids().is_sorted_by(|one, next| one < next);
        let first_before = self.previous_ids.first();
        is_sorted && first_before.zip(page.ids().next_back()).is_none_or(|(first, last)| *first <= last)
    }

    /// A server that sends fewer rows than requested begins a page earlier than is expected after one that was requested in
    /// parts, where it shows.
    fn detect_page_size(&mut self, page: &Page) {
        let pages_before = u64::from(page.number - 1);
        if !self.has_split_page || page.was_split || pages_before == 0 {
            return;
        }
        if let Some(first) = page.ids().next().filter(|first| Some(*first) <= self.cursor) {
            let rows_before = self.ids.rank((first - 1).cast_unsigned());
            self.real_page_size = u32::try_from(rows_before / pages_before)
                .ok()
                .filter(|size| 0 < *size)
                .or(self.real_page_size);
        }
    }

    pub(super) fn rows_before(&self, page: u32) -> u64 {
        u64::from(page - 1) * self.largest_page
    }

    /// How many rows are missing of those that were in the list all the time; `None` if that cannot be told from one read.
    /// Rows without an id count as received.
    ///
    /// One response that holds as many rows as it counts proves itself. Several prove it where nothing can have been missed
    /// between them:
    ///
    /// * `appends_only`, a list in which new tickets appear at the end: of the ids up to the baseline's greatest id, as
    ///   many were received as the baseline counted. The baseline is the response with the last page, fetched before
    ///   any page was added. A ticket that disappeared and a new one cannot cancel out, because the greatest id and the
    ///   count are of the same response. Where some ids are missing, their tickets may have disappeared unread; that is
    ///   so where nothing was added meanwhile, because then each disappearance shows in a count, and each boundary where
    ///   one happened was read again.
    /// * otherwise, where new tickets may appear anywhere: the counts never fell, and as many ids as the last count.
    pub(super) fn missing_rows(&self, latest: u64, appends_only: bool) -> Option<u64> {
        if self.pages == 1 && !self.used_seek {
            return self.previous_count?.checked_sub(self.different_rows());
        }
        if self.out_of_order || self.has_excess_rows || self.has_torn_page {
            return None;
        }
        if !appends_only {
            let is_stable = self.total_decrease() == 0 && !self.used_seek;
            return latest.checked_sub(self.different_rows()).filter(|_| is_stable);
        }
        let baseline = self.baseline?;
        let added = self.count_after(baseline.max_id.max(self.origin.cursor));
        let listed_at_start = baseline.count.saturating_sub(self.origin.position);
        let received = self.rows_after(self.origin.cursor).saturating_sub(added);
        let tail = self.last_seek.position + self.rows_after(self.last_seek.cursor);
        let only_removals = added == 0 && self.highest_count <= baseline.count;
        if received < listed_at_start && only_removals && tail == latest {
            return Some(0);
        }
        listed_at_start.checked_sub(received)
    }

    /// How many ids after a cursor were received.
    pub(super) fn count_after(&self, cursor: Option<i64>) -> u64 {
        match cursor {
            None => self.ids.len(),
            Some(cursor) => self.ids.len() - self.ids.rank(cursor.cast_unsigned()),
        }
    }

    /// How many different tickets and rows without an id after a cursor were received.
    fn rows_after(&self, cursor: Option<i64>) -> u64 {
        self.count_after(cursor) + self.rejected.count_after(cursor)
    }

    /// Different tickets and rows without an id.
    pub(super) fn different_rows(&self) -> u64 {
        self.ids.len() + self.rejected.len()
    }

    /// By how much the counts fell in all, in order of arrival.
    pub(super) fn total_decrease(&self) -> u64 {
        let mut counts = self.counts.clone();
        counts.sort_unstable();
        counts.windows(2).map(|pair| pair[0].1.saturating_sub(pair[1].1)).sum()
    }
}
