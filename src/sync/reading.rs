//! The account of a walk: what was received, what is still to be asked for, and whether the ids are as
//! many as the server says there are.
//!
//! Pure. Only rows received count: a page size that was asked for, or echoed, proves nothing, and a
//! short page is not the last one (`halo-api.md` §2.1).

use roaring::RoaringTreemap;

/// What an answer held, before any of it was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The ids, each once.
    pub ids: Vec<i64>,
    /// Rows without a usable id; each counts as a ticket.
    pub strays: u64,
    /// All rows.
    pub rows: u64,
    /// The count that the server claims.
    pub record_count: Option<u64>,
}

/// Why an answer cannot be the page that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The page before had the same ids.
    #[error("page {0} repeats the page before it: the server ignores paging")]
    Repeated(u32),
    /// It is empty, although the server says that there are more.
    #[error("page {0} is empty although the server counts more tickets")]
    Empty(u32),
}

/// What the account comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As many different tickets as the server counts.
    Counted,
    /// Fewer or more.
    Differs {
        /// Different tickets received.
        unique: u64,
        /// The last count.
        count: u64,
    },
    /// The server does not say how many there are.
    Uncounted,
}

/// The account of one walk.
#[derive(Debug, Default)]
pub struct Reading {
    seen: RoaringTreemap,
    strays: u64,
    rows: u64,
    pages: u32,
    page_size: u64,
    record_count: Option<u64>,
    count_fell: bool,
    page_before: Vec<i64>,
    ended: bool,
}

impl Reading {
    /// Enters the next page in the order of page numbers.
    ///
    /// # Errors
    /// [`Fault`] where the answer cannot be that page; nothing is entered then.
    pub fn enter(&mut self, page: &Received) -> Result<(), Fault> {
        let number = self.pages + 1;
        if !page.ids.is_empty() && page.ids == self.page_before {
            return Err(Fault::Repeated(number));
        }
        if page.rows == 0 && page.record_count.is_some_and(|count| self.unique() < count) {
            return Err(Fault::Empty(number));
        }
        self.pages = number;
        self.rows += page.rows;
        self.page_size = self.page_size.max(page.rows);
        self.strays += page.strays;
        self.seen.extend(page.ids.iter().map(|id| id.cast_unsigned()));
        self.count_fell |= page.record_count < self.record_count;
        self.record_count = page.record_count;
        self.page_before.clone_from(&page.ids);
        self.ended = page.rows == 0;
        Ok(())
    }

    /// How many pages there are, as far as is known; it may grow while they are read.
    #[must_use]
    pub fn pages_needed(&self) -> u32 {
        match self.record_count {
            _ if self.ended => self.pages,
            Some(count) => {
                let pages = count.div_ceil(self.page_size.max(1)).max(1);
                u32::try_from(pages).unwrap_or(u32::MAX).max(self.pages)
            }
            // Without a count, only an empty page is the end.
            None => self.pages + 1,
        }
    }

    /// How many rows a page really holds, where the first one held fewer than were asked for although
    /// there are more; then every further page is asked for in that size, so that it begins where the
    /// one before ended, whichever size the server reckons with.
    #[must_use]
    pub fn page_size(&self, asked: u32) -> u32 {
        let more = self.record_count.is_none_or(|count| self.rows < count);
        match u32::try_from(self.page_size) {
            Ok(received @ 1..) if more && received < asked => received,
            _ => asked,
        }
    }

    /// Whether the ids are as many as the server says.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.record_count {
            None => Verdict::Uncounted,
            Some(count) if count == self.unique() => Verdict::Counted,
            Some(count) => Verdict::Differs { unique: self.unique(), count },
        }
    }

    /// Different tickets received.
    #[must_use]
    pub fn unique(&self) -> u64 {
        self.seen.len() + self.strays
    }

    /// The ids received.
    #[must_use]
    pub fn seen(&self) -> &RoaringTreemap {
        &self.seen
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

    /// The last count.
    #[must_use]
    pub fn record_count(&self) -> Option<u64> {
        self.record_count
    }

    /// Whether a count was ever lower than the one before.
    #[must_use]
    pub fn count_fell(&self) -> bool {
        self.count_fell
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(ids: impl IntoIterator<Item = i64>, record_count: impl Into<Option<u64>>) -> Received {
        let ids: Vec<_> = ids.into_iter().collect();
        Received { rows: ids.len() as u64, ids, strays: 0, record_count: record_count.into() }
    }

    fn read(pages: &[Received]) -> Result<Reading, Fault> {
        let mut reading = Reading::default();
        for page in pages {
            reading.enter(page)?;
        }
        Ok(reading)
    }

    #[test]
    fn a_walk_is_counted_when_its_ids_are_as_many_as_the_server_says() {
        for (name, pages, verdict) in [
            ("one page", vec![page(1..=3, 3)], Verdict::Counted),
            ("none at all", vec![page([], 0)], Verdict::Counted),
            ("two pages", vec![page(1..=3, 5), page(4..=5, 5)], Verdict::Counted),
            ("a ticket that came meanwhile", vec![page(1..=3, 5), page(4..=6, 6)], Verdict::Counted),
            (
                "a ticket twice hides another",
                vec![page(1..=3, 5), page(3..=4, 5)],
                Verdict::Differs { unique: 4, count: 5 },
            ),
            ("a ticket that left meanwhile", vec![page(1..=3, 5), page([5], 4)], Verdict::Counted),
            ("no count", vec![page(1..=3, None), page([], None)], Verdict::Uncounted),
            ("a count too low", vec![page(1..=3, 2)], Verdict::Differs { unique: 3, count: 2 }),
        ] {
            assert_eq!(read(&pages).unwrap().verdict(), verdict, "{name}");
        }
    }

    #[test]
    fn a_row_without_an_id_counts_as_received() {
        let broken = Received { ids: vec![1, 3], strays: 1, rows: 3, record_count: Some(3) };
        assert_eq!(read(&[broken]).unwrap().verdict(), Verdict::Counted);
    }

    #[test]
    fn a_page_that_repeats_another_or_is_empty_too_early_is_a_fault() {
        assert_eq!(read(&[page(1..=50, 120), page(1..=50, 120)]).unwrap_err(), Fault::Repeated(2));
        assert_eq!(read(&[page(1..=50, 120), page([], 120)]).unwrap_err(), Fault::Empty(2));
    }

    #[test]
    fn the_pages_follow_the_rows_received_and_not_the_size_asked_for() {
        let capped = read(&[page(1..=40, 717)]).unwrap();
        assert_eq!((capped.page_size(100), capped.pages_needed()), (40, 18));
        let whole = read(&[page(1..=17, 17)]).unwrap();
        assert_eq!((whole.page_size(100), whole.pages_needed()), (100, 1));
    }

    #[test]
    fn a_count_that_fell_is_remembered() {
        assert!(read(&[page(1..=3, 6), page(4..=5, 5)]).unwrap().count_fell());
        assert!(!read(&[page(1..=3, 5), page(4..=6, 6)]).unwrap().count_fell());
    }

    proptest! {
        #[test]
        fn a_still_list_is_counted_whatever_the_cap_and_the_gaps(gaps in proptest::collection::vec(1i64..50, 0..400), cap in 1usize..100) {
            let ids: Vec<i64> = gaps.iter().scan(0, |id, gap| { *id += gap; Some(*id) }).collect();
            let count = ids.len() as u64;
            let mut reading = Reading::default();
            reading.enter(&page(ids.iter().copied().take(cap), count)).unwrap();
            while reading.pages() < reading.pages_needed() {
                let size = reading.page_size(100) as usize;
                let from = reading.pages() as usize * size;
                reading.enter(&page(ids[from..].iter().copied().take(size.min(cap)), count)).unwrap();
            }
            prop_assert_eq!(reading.verdict(), Verdict::Counted);
            prop_assert!(ids.iter().all(|id| reading.seen().contains(id.cast_unsigned())));
        }
    }
}
