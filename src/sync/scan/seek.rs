//! Finds the page of a list on which ids pass a cursor: from a guess outwards, then by halving.
//!
//! Pure. When it ends, the number of rows at or before the cursor is known, which no page number tells.

use super::page::Page;

/// After so many responses the list changes faster than it can be searched.
const REQUESTS_MAX: u32 = 60;

/// A search in progress.
#[derive(Debug)]
pub struct CursorSeek {
    /// The greatest id received so far.
    cursor: i64,
    page_size: u32,
    /// The last page known to end at or before the cursor; 0 if there is none.
    page_before: u32,
    /// The first page known to begin after the cursor, or after the end of the list.
    page_after: u32,
    /// How far to step while one side is still open.
    stride: u32,
    next_page: u32,
    count: Option<u64>,
    requests: u32,
    /// The response that `page_after` is known from.
    after: Option<Page>,
}

/// What a response means for the search.
#[derive(Debug)]
pub enum SeekStep {
    /// Ask for [`CursorSeek::next_page`].
    Continue,
    /// The page on which ids pass the cursor.
    Found {
        /// The page.
        page: Box<Page>,
        /// How many rows of the list are at or before the cursor.
        position: u64,
    },
    /// The list changes with every response.
    Unstable,
}

impl CursorSeek {
    /// A search for `cursor` in a list of `count` rows, of which about `position` are at or before it.
    #[must_use]
    pub fn new(cursor: i64, page_size: u32, position: u64, count: u64) -> CursorSeek {
        let page_of = |row: u64| u32::try_from(row / u64::from(page_size.max(1))).unwrap_or(u32::MAX - 1) + 1;
        let page_after = page_of(count.saturating_sub(1)) + 1;
        CursorSeek {
            cursor,
            page_size,
            page_before: 0,
            page_after,
            stride: 1,
            next_page: page_of(position).clamp(1, page_after - 1),
            count: None,
            requests: 0,
            after: None,
        }
    }

    /// The number of the page to ask for.
    #[must_use]
    pub fn next_page(&self) -> u32 {
        self.next_page
    }

    /// Evaluates the response for [`CursorSeek::next_page`].
    pub fn process_response(&mut self, page: Page) -> SeekStep {
        self.requests += 1;
        if self.count != page.record_count || u64::from(self.page_size) < page.rows {
            self.restart(&page);
        }
        let (first, last) = (page.ids().next(), page.ids().next_back());
        let last_before = page.ids().rfind(|id| *id <= self.cursor);
        let is_before = |after_id: Option<i64>| last_before.is_some() && after_id < last_before;
        let rejected_before = page.rejected_rows.iter().filter(|row| is_before(row.after_id)).count();
        let at_or_before = (page.ids().filter(|id| *id <= self.cursor).count() + rejected_before) as u64;
        let position = u64::from(page.number - 1) * u64::from(self.page_size) + at_or_before;
        let begins_after_cursor = first.is_none_or(|first| self.cursor < first);
        // A row without an id that follows the cursor may not have been received.
        let has_row_after = page.rejected_rows.iter().any(|row| row.after_id == Some(self.cursor));
        let ends_before_cursor = last.is_some_and(|last| last <= self.cursor) && !has_row_after;
        if !begins_after_cursor && !ends_before_cursor {
            return SeekStep::Found { page: Box::new(page), position };
        }
        let number = page.number;
        let mut page = Some(page);
        if begins_after_cursor && number <= self.page_after {
            self.page_after = number;
            self.after = page.take();
        } else if ends_before_cursor {
            self.page_before = self.page_before.max(number);
        }
        if self.page_after <= self.page_before {
            // As many tickets disappeared as were added: only the newest response is known to be true.
            self.page_before = if ends_before_cursor { number } else { 0 };
            self.page_after = if begins_after_cursor { number } else { u32::MAX };
            self.after =
                page.take_if(|_| begins_after_cursor).or(self.after.take().filter(|_| begins_after_cursor));
            self.stride = 1;
        }
        if self.page_before + 1 == self.page_after {
            // The cursor is at the edge between two pages: what follows it is on the second, if there is one.
            let edge = u64::from(self.page_before) * u64::from(self.page_size);
            let found = self.after.take().map(|page| (page, edge)).or(page.map(|page| (page, position)));
            if let Some((page, position)) = found {
                return SeekStep::Found { page: Box::new(page), position };
            }
        }
        if REQUESTS_MAX <= self.requests {
            return SeekStep::Unstable;
        }
        self.next_page = self.step_from(number, begins_after_cursor);
        SeekStep::Continue
    }

    /// Forgets what was learned: it was about a list that has changed since.
    fn restart(&mut self, page: &Page) {
        self.page_size = self.page_size.max(u32::try_from(page.rows).unwrap_or(u32::MAX));
        let last_page = page.record_count.unwrap_or_default().div_ceil(u64::from(self.page_size.max(1)));
        self.page_before = 0;
        self.page_after = u32::try_from(last_page).unwrap_or(u32::MAX - 1).max(1) + 1;
        self.stride = 1;
        self.after = None;
        self.count = page.record_count;
    }

    fn step_from(&mut self, page: u32, backward: bool) -> u32 {
        let (low, high) = (self.page_before + 1, self.page_after - 1);
        let stepped =
            if backward { page.saturating_sub(self.stride) } else { page.saturating_add(self.stride) };
        self.stride = self.stride.saturating_mul(2);
        if (low..=high).contains(&stepped) { stepped } else { low + (high - low) / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(list: &[i64], number: u32, size: usize) -> Page {
        let ids = list.iter().skip((number as usize - 1) * size).take(size);
        let tickets: Vec<_> = ids.map(|id| (*id, None)).collect();
        let (rows, record_count) = (tickets.len() as u64, Some(list.len() as u64));
        Page { number, tickets, rows, record_count, ..Page::default() }
    }

    /// Searches a list that does not change. Returns the number of the page, the position, and the number of requests.
    fn search(list: &[i64], cursor: i64, guess: u64, size: usize) -> (u32, u64, u32) {
        let mut seek = CursorSeek::new(cursor, u32::try_from(size).unwrap(), guess, list.len() as u64);
        for requests in 1.. {
            match seek.process_response(page(list, seek.next_page(), size)) {
                SeekStep::Found { page, position } => return (page.number, position, requests),
                SeekStep::Continue => {}
                SeekStep::Unstable => panic!("the list does not change"),
            }
        }
        unreachable!()
    }

    #[test]
    fn deletion_before_cursor_is_located_with_one_request() {
        let list: Vec<i64> = (1..=1_000).filter(|id| *id != 5).collect();
        assert_eq!(search(&list, 300, 299, 100), (3, 299, 1));
    }

    #[test]
    fn cursor_at_page_end_costs_one_more_request() {
        let list: Vec<i64> = (1..=1_000).collect();
        let (_, position, requests) = search(&list, 300, 300, 100);
        assert_eq!(position, 300);
        assert!(requests <= 2, "{requests} requests");
    }

    proptest! {
        #[test]
        fn cursor_position_is_found_by_bisection_from_any_guess(
            gaps in proptest::collection::vec(1i64..5, 0..2_000), cursor in 0i64..7_000, guess in 0u64..3_000, size in 1usize..50,
        ) {
            let list: Vec<i64> = gaps.iter().scan(0, |id, gap| { *id += gap; Some(*id) }).collect();
            let (page, position, requests) = search(&list, cursor, guess, size);
            prop_assert_eq!(position, list.iter().filter(|id| **id <= cursor).count() as u64);
            let pages = list.len().div_ceil(size).max(1);
            prop_assert!(requests <= 2 * pages.ilog2() + 4, "{} requests for {} pages", requests, pages);
            // No id after the cursor is on an earlier page.
            let rows_before = (page as usize - 1) * size;
            prop_assert!(list.iter().take(rows_before).all(|id| *id <= cursor));
        }
    }
}
