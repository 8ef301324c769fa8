//! What to ask for next.

use std::ops::RangeInclusive;

use super::ListScan;

/// What to ask for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRequest {
    /// This page.
    Page(u32),
    /// The page after the last one, because only the count says that there is none.
    PastEnd(u32),
    /// The page on which ids pass the cursor ([`ListScan::start_seek`]).
    Seek,
    /// Nothing: the read is complete.
    End,
}

impl ListScan {
    /// What to ask for next.
    #[must_use]
    pub fn next_request(&self) -> NextRequest {
        let (read, latest) = (&self.read, self.latest_count());
        let next_page = read.last_added + 1;
        match latest {
            _ if read.ended => NextRequest::End,
            _ if read.pages == 0 => NextRequest::Page(next_page),
            // Without a count, only an empty page is the end.
            None => NextRequest::Page(next_page),
            Some(count) if read.rows_before(next_page) < count => NextRequest::Page(next_page),
            // So many tickets disappeared that the next page no longer exists; its rows, which are not received yet,
            // have moved to an earlier page.
            Some(_) if !read.out_of_order && latest < read.previous_count => NextRequest::Seek,
            Some(_) if read.last_page_full && self.options.cross_checked_count != latest => {
                NextRequest::PastEnd(next_page)
            }
            Some(_) => NextRequest::End,
        }
    }

    /// The pages still to come, as far as is known; they may become more.
    #[must_use]
    pub fn remaining_pages(&self) -> RangeInclusive<u32> {
        let next_page = self.read.last_added + 1;
        let last = match self.latest_count() {
            Some(count) => count.div_ceil(self.read.largest_page.max(1)),
            None => u64::from(next_page),
        };
        next_page..=u32::try_from(last).unwrap_or(u32::MAX).max(next_page)
    }

    /// The number of rows to request: what a page really holds, if one held fewer rows than requested although there
    /// are more.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        let is_capped = self.latest_count().is_none_or(|count| self.read.largest_page < count);
        match u32::try_from(self.read.largest_page) {
            Ok(size) if 0 < size && is_capped => size.min(self.options.page_size),
            _ => self.options.page_size,
        }
    }
}
