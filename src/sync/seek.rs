//! The search for the place in a list where ids pass a cursor: by halving, from a guess outwards.
//!
//! Pure. It ends at the page that holds the place; how many rows stand before it is then known, which a
//! page number alone never tells.

use super::reading::{Fault, Received};

/// More answers than this without an end: the list moves faster than it can be searched.
const ASKED_MAX: u32 = 60;

/// A search under way.
#[derive(Debug)]
pub struct Seek {
    /// The greatest id that was received.
    cursor: i64,
    size: u32,
    /// The last page that is known to end at or before the cursor; 0 is none.
    before: u32,
    /// The first page that is known to begin behind the cursor, or behind the end of the list.
    behind: u32,
    /// How far to step while one side is still open.
    stride: u32,
    page: u32,
    count: Option<u64>,
    asked: u32,
    /// The answer that `behind` is known from.
    behind_it: Option<Received>,
}

/// The page on which ids pass the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The page.
    pub page: Received,
    /// How many rows of the list stand at or before the cursor.
    pub position: u64,
}

impl Seek {
    /// A search for the place behind `cursor`, which is thought to have `position` rows before it, of
    /// `count`.
    #[must_use]
    pub fn new(cursor: i64, size: u32, position: u64, count: u64) -> Seek {
        let page_of = |row: u64| u32::try_from(row / u64::from(size.max(1))).unwrap_or(u32::MAX - 1) + 1;
        let behind = page_of(count.saturating_sub(1)) + 1;
        let page = page_of(position).clamp(1, behind - 1);
        Seek { cursor, size, before: 0, behind, stride: 1, page, count: None, asked: 0, behind_it: None }
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
    pub fn answered(&mut self, page: &Received) -> Result<Option<Found>, Fault> {
        self.asked += 1;
        if self.count != page.record_count || self.size < u32::try_from(page.rows).unwrap_or(u32::MAX) {
            // What was learnt is of a list that is not any more.
            self.size = self.size.max(u32::try_from(page.rows).unwrap_or(u32::MAX));
            let count = page.record_count.unwrap_or_default();
            let last = count.div_ceil(u64::from(self.size.max(1)));
            self.before = 0;
            self.behind = u32::try_from(last).unwrap_or(u32::MAX - 1).max(1) + 1;
            self.stride = 1;
            self.behind_it = None;
            self.count = page.record_count;
        }
        let ids = || page.tickets.iter().map(|(id, _)| *id);
        let (first, last) = (ids().next(), ids().next_back());
        let passed = ids().filter(|id| *id <= self.cursor).count() as u64;
        let before = u64::from(page.number - 1) * u64::from(self.size);
        let begins_behind = first.is_none_or(|first| self.cursor < first);
        let ends_before = last.is_some_and(|last| last <= self.cursor);
        if begins_behind {
            if page.number <= self.behind {
                self.behind = page.number;
                self.behind_it = Some(page.clone());
            }
        } else if ends_before {
            self.before = self.before.max(page.number);
        }
        if !begins_behind && !ends_before {
            return Ok(Some(Found { page: page.clone(), position: before + passed }));
        }
        if self.behind <= self.before {
            // As many left as came: only the newest answer is known to be true.
            self.before = if ends_before { page.number } else { 0 };
            self.behind = if begins_behind { page.number } else { u32::MAX };
            self.behind_it = begins_behind.then(|| page.clone());
            self.stride = 1;
        }
        if self.before + 1 == self.behind {
            // The edge between two pages: the rows behind it are on the second, if there is one.
            let position = u64::from(self.before) * u64::from(self.size);
            match self.behind_it.take() {
                Some(page) => return Ok(Some(Found { page, position })),
                None => return Ok(Some(Found { page: page.clone(), position: before + passed })),
            }
        }
        if ASKED_MAX <= self.asked {
            return Err(Fault::Restless);
        }
        self.page = self.next_after(page.number, begins_behind);
        Ok(None)
    }

    fn next_after(&mut self, page: u32, to_the_left: bool) -> u32 {
        let (low, high) = (self.before + 1, self.behind - 1);
        let stepped =
            if to_the_left { page.saturating_sub(self.stride) } else { page.saturating_add(self.stride) };
        self.stride = self.stride.saturating_mul(2);
        if (low..=high).contains(&stepped) { stepped } else { low + (high - low) / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(list: &[i64], number: u32, size: usize) -> Received {
        let rows: Vec<_> =
            list.iter().skip((number as usize - 1) * size).take(size).map(|id| (*id, None)).collect();
        Received {
            number,
            rows: rows.len() as u64,
            tickets: rows,
            record_count: Some(list.len() as u64),
            ..Received::default()
        }
    }

    /// Searches a list that stays as it is; gives the place and the number of requests.
    fn search(list: &[i64], cursor: i64, guess: u64, size: usize) -> (Found, u32) {
        let mut seek = Seek::new(cursor, u32::try_from(size).unwrap(), guess, list.len() as u64);
        for asked in 1.. {
            let answer = page(list, seek.page(), size);
            if let Some(found) = seek.answered(&answer).unwrap() {
                return (found, asked);
            }
        }
        unreachable!()
    }

    #[test]
    fn one_deletion_before_the_cursor_is_found_by_one_request() {
        let list: Vec<i64> = (1..=1_000).filter(|id| *id != 5).collect();
        let (found, asked) = search(&list, 300, 299, 100);
        assert_eq!((found.page.number, found.position, asked), (3, 299, 1));
    }

    #[test]
    fn the_end_of_a_page_costs_one_request_more() {
        let list: Vec<i64> = (1..=1_000).collect();
        let (found, asked) = search(&list, 300, 300, 100);
        assert_eq!(found.position, 300);
        assert!(asked <= 2, "{asked} requests");
    }

    proptest! {
        #[test]
        fn the_place_is_found_by_halving_wherever_it_is_guessed(
            gaps in proptest::collection::vec(1i64..5, 0..2_000), cursor in 0i64..7_000, guess in 0u64..3_000, size in 1usize..50,
        ) {
            let list: Vec<i64> = gaps.iter().scan(0, |id, gap| { *id += gap; Some(*id) }).collect();
            let (found, asked) = search(&list, cursor, guess, size);
            prop_assert_eq!(found.position, list.iter().filter(|id| **id <= cursor).count() as u64);
            let pages = list.len().div_ceil(size).max(1);
            prop_assert!(asked <= 2 * pages.ilog2() + 4, "{} requests for {} pages", asked, pages);
            // From its page on, nothing behind the cursor is missing.
            let before = (found.page.number as usize - 1) * size;
            prop_assert!(list.iter().take(before).all(|id| *id <= cursor));
        }
    }
}
