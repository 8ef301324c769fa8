//! The search for the place in a list where ids pass a cursor: by halving, from a guess outwards.
//!
//! Pure. It ends at the page that holds the place; how many rows stand before it is then known, which a
//! page number alone never tells.

use super::list_read::{ListReadError, PageSummary};

/// More answers than this without an end: the list moves faster than it can be searched.
const REQUESTS_MAX: u32 = 60;

/// A search under way.
#[derive(Debug)]
pub struct CursorSeek {
    /// The greatest id that was received.
    cursor: i64,
    page_size: u32,
    /// The last page that is known to end at or before the cursor; 0 is none.
    page_before: u32,
    /// The first page that is known to begin behind the cursor, or behind the end of the list.
    page_after: u32,
    /// How far to step while one side is still open.
    stride: u32,
    page: u32,
    count: Option<u64>,
    requests: u32,
    /// The answer that `behind` is known from.
    page_after_summary: Option<PageSummary>,
}

/// The page on which ids pass the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeekResult {
    /// The page.
    pub page: PageSummary,
    /// How many rows of the list stand at or before the cursor.
    pub position: u64,
}

impl CursorSeek {
    /// A search for the place behind `cursor`, which is thought to have `position` rows before it, of
    /// `count`.
    #[must_use]
    pub fn new(cursor: i64, page_size: u32, position: u64, count: u64) -> CursorSeek {
        let page_of = |row: u64| u32::try_from(row / u64::from(page_size.max(1))).unwrap_or(u32::MAX - 1) + 1;
        let page_after = page_of(count.saturating_sub(1)) + 1;
        let page = page_of(position).clamp(1, page_after - 1);
        CursorSeek {
            cursor,
            page_size,
            page_before: 0,
            page_after,
            stride: 1,
            page,
            count: None,
            requests: 0,
            page_after_summary: None,
        }
    }

    /// The page to ask for.
    #[must_use]
    pub fn page(&self) -> u32 {
        self.page
    }

    /// Takes its answer and gives the place, where this is it.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn process_response(&mut self, page: &PageSummary) -> Result<Option<SeekResult>, ListReadError> {
        self.requests += 1;
        if self.count != page.record_count || self.page_size < u32::try_from(page.rows).unwrap_or(u32::MAX) {
            // What was learnt is of a list that is not any more.
            self.page_size = self.page_size.max(u32::try_from(page.rows).unwrap_or(u32::MAX));
            let count = page.record_count.unwrap_or_default();
            let last = count.div_ceil(u64::from(self.page_size.max(1)));
            self.page_before = 0;
            self.page_after = u32::try_from(last).unwrap_or(u32::MAX - 1).max(1) + 1;
            self.stride = 1;
            self.page_after_summary = None;
            self.count = page.record_count;
        }
        let ids = || page.tickets.iter().map(|(id, _)| *id);
        let (first, last) = (ids().next(), ids().next_back());
        let passed = ids().filter(|id| *id <= self.cursor).count() as u64;
        let rows_before = u64::from(page.number - 1) * u64::from(self.page_size);
        let begins_after_cursor = first.is_none_or(|first| self.cursor < first);
        let ends_before_cursor = last.is_some_and(|last| last <= self.cursor);
        if begins_after_cursor {
            if page.number <= self.page_after {
                self.page_after = page.number;
                self.page_after_summary = Some(page.clone());
            }
        } else if ends_before_cursor {
            self.page_before = self.page_before.max(page.number);
        }
        if !begins_after_cursor && !ends_before_cursor {
            return Ok(Some(SeekResult { page: page.clone(), position: rows_before + passed }));
        }
        if self.page_after <= self.page_before {
            // As many left as came: only the newest answer is known to be true.
            self.page_before = if ends_before_cursor { page.number } else { 0 };
            self.page_after = if begins_after_cursor { page.number } else { u32::MAX };
            self.page_after_summary = begins_after_cursor.then(|| page.clone());
            self.stride = 1;
        }
        if self.page_before + 1 == self.page_after {
            // The edge between two pages: the rows behind it are on the second, if there is one.
            let position = u64::from(self.page_before) * u64::from(self.page_size);
            match self.page_after_summary.take() {
                Some(page) => return Ok(Some(SeekResult { page, position })),
                None => return Ok(Some(SeekResult { page: page.clone(), position: rows_before + passed })),
            }
        }
        if REQUESTS_MAX <= self.requests {
            return Err(ListReadError::UnstableList);
        }
        self.page = self.next_after(page.number, begins_after_cursor);
        Ok(None)
    }

    fn next_after(&mut self, page: u32, backward: bool) -> u32 {
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

    fn page(list: &[i64], number: u32, size: usize) -> PageSummary {
        let rows: Vec<_> =
            list.iter().skip((number as usize - 1) * size).take(size).map(|id| (*id, None)).collect();
        PageSummary {
            number,
            rows: rows.len() as u64,
            tickets: rows,
            record_count: Some(list.len() as u64),
            ..PageSummary::default()
        }
    }

    /// Searches a list that stays as it is; gives the place and the number of requests.
    fn search(list: &[i64], cursor: i64, guess: u64, size: usize) -> (SeekResult, u32) {
        let mut seek = CursorSeek::new(cursor, u32::try_from(size).unwrap(), guess, list.len() as u64);
        for requests in 1.. {
            let answer = page(list, seek.page(), size);
            if let Some(found) = seek.process_response(&answer).unwrap() {
                return (found, requests);
            }
        }
        unreachable!()
    }

    #[test]
    fn deletion_before_cursor_is_located_with_one_request() {
        let list: Vec<i64> = (1..=1_000).filter(|id| *id != 5).collect();
        let (found, requests) = search(&list, 300, 299, 100);
        assert_eq!((found.page.number, found.position, requests), (3, 299, 1));
    }

    #[test]
    fn cursor_at_page_end_costs_one_more_request() {
        let list: Vec<i64> = (1..=1_000).collect();
        let (found, requests) = search(&list, 300, 300, 100);
        assert_eq!(found.position, 300);
        assert!(requests <= 2, "{requests} requests");
    }

    proptest! {
        #[test]
        fn cursor_position_is_found_by_bisection_from_any_guess(
            gaps in proptest::collection::vec(1i64..5, 0..2_000), cursor in 0i64..7_000, guess in 0u64..3_000, size in 1usize..50,
        ) {
            let list: Vec<i64> = gaps.iter().scan(0, |id, gap| { *id += gap; Some(*id) }).collect();
            let (found, requests) = search(&list, cursor, guess, size);
            prop_assert_eq!(found.position, list.iter().filter(|id| **id <= cursor).count() as u64);
            let pages = list.len().div_ceil(size).max(1);
            prop_assert!(requests <= 2 * pages.ilog2() + 4, "{} requests for {} pages", requests, pages);
            // From its page on, nothing behind the cursor is missing.
            let rows_before = (found.page.number as usize - 1) * size;
            prop_assert!(list.iter().take(rows_before).all(|id| *id <= cursor));
        }
    }
}
