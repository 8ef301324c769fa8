//! The account of one list: up to three readings of it, and what they come to.
//!
//! Pure. `counted` is said only where nothing that stood in the list all the while can be missing; a
//! list that moves is read again until a reading brings nothing that an earlier one should have brought.

use roaring::RoaringTreemap;

use super::list_read::{ListRead, ListReadError, NextRequest, PageOutcome, PageSummary};
use super::seek::{CursorSeek, SeekResult};
use crate::ticket::Timestamp;

/// After so many readings that still bring something the walk is incomplete.
const READS_MAX: u32 = 3;

/// What a walk is, as far as its account depends on it.
#[derive(Clone, Copy, Debug)]
pub struct ListScanOptions {
    /// Whether newcomers stand at the end of the list: it has no date filter, so that only tickets that
    /// were created or came into sight enter it.
    pub full: bool,
    /// Rows asked for on a page.
    pub page_size: u32,
    /// How many there are by what other lists count.
    pub cross_checked_count: Option<u64>,
    /// How many tickets fewer than the server counts are accepted (`[sync] accept_shortfall`).
    pub accept_shortfall: u64,
}

/// What the account comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadVerdict {
    /// Nothing is missing.
    Verified,
    /// It may not be: the list is to be read again.
    ReadAgain,
    /// Every reading brought something that the ones before should have brought.
    Unstable,
    /// Two readings agree on other tickets than the server counts.
    CountMismatch {
        /// Different tickets received.
        unique: u64,
        /// What the server counts.
        count: u64,
    },
    /// The server does not say how many there are.
    NoCount,
}

/// The newest `last_update` among tickets of a list, as the canary of later walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewestTicket {
    /// The stamp.
    pub last_update: Timestamp,
    /// The greatest id that bears it.
    pub id: i64,
    /// How many tickets bear it.
    pub tickets: u64,
}

/// The account of a list.
#[derive(Debug)]
pub struct ListScan {
    options: ListScanOptions,
    /// The start of the pass by the server's clock.
    start: Option<Timestamp>,
    seen_ids: RoaringTreemap,
    current_read: ListRead,
    reads: u32,
    /// Tickets of the time before the start that this reading brought and no earlier one.
    missed_earlier: u64,
    pages: u64,
    rows: u64,
    count_fell: bool,
    newest: Option<NewestTicket>,
}

impl ListScan {
    /// The account of a list that is read from its beginning.
    #[must_use]
    pub fn new(options: ListScanOptions, start: Option<Timestamp>) -> ListScan {
        ListScan::from_checkpoint(options, start, RoaringTreemap::new(), None)
    }

    /// The account of a list that is read on behind `cursor`, with the ids received up to there.
    #[must_use]
    pub fn from_checkpoint(
        options: ListScanOptions,
        start: Option<Timestamp>,
        seen_ids: RoaringTreemap,
        cursor: Option<i64>,
    ) -> ListScan {
        let current_read = ListRead::from_checkpoint(options.page_size, seen_ids.clone(), cursor);
        ListScan {
            options,
            start,
            seen_ids,
            current_read,
            reads: 1,
            missed_earlier: 0,
            pages: 0,
            rows: 0,
            count_fell: false,
            newest: None,
        }
    }

    /// Notes what an answer says of the list, entered or not.
    pub fn record_response(&mut self, page: &PageSummary) {
        self.current_read.record_response(page);
    }

    /// Notes the set as it stands, where this is the last page of the list; says whether it is.
    pub fn record_last_page(&mut self, page: &PageSummary) -> bool {
        self.current_read.record_last_page(page)
    }

    /// Enters a page.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn add_page(&mut self, page: &PageSummary) -> Result<PageOutcome, ListReadError> {
        let outcome = self.current_read.add_page(page)?;
        if outcome == PageOutcome::Added {
            self.track_tickets(page);
        }
        Ok(outcome)
    }

    /// Enters the page behind the last one.
    pub fn add_page_past_end(&mut self, page: &PageSummary) {
        self.current_read.add_page_past_end(page);
        self.track_tickets(page);
    }

    /// Notes that there is nothing behind the last page.
    pub fn finish(&mut self) {
        self.current_read.finish();
    }

    /// The search for the place to go on from.
    #[must_use]
    pub fn start_seek(&mut self) -> CursorSeek {
        self.current_read.start_seek()
    }

    /// Goes on where the search ended.
    pub fn resume_at(&mut self, found: &SeekResult) {
        self.current_read.resume_at(found);
        self.track_tickets(&found.page);
    }

    fn track_tickets(&mut self, page: &PageSummary) {
        self.pages += 1;
        self.rows += page.rows;
        for (id, last_update) in &page.tickets {
            let is_new = self.seen_ids.insert(id.cast_unsigned());
            let predates_start =
                last_update.zip(self.start).is_none_or(|(last_update, start)| last_update <= start);
            if is_new && predates_start && 1 < self.reads {
                self.missed_earlier += 1;
            }
            if let Some(last_update) = last_update.filter(|_| predates_start) {
                self.newest = Some(match self.newest {
                    Some(newest) if last_update < newest.last_update => newest,
                    Some(newest) if last_update == newest.last_update => NewestTicket {
                        id: newest.id.max(*id),
                        tickets: newest.tickets + u64::from(is_new),
                        ..newest
                    },
                    _ => NewestTicket { last_update, id: *id, tickets: 1 },
                });
            }
        }
    }

    /// What to ask for next.
    #[must_use]
    pub fn next_request(&self) -> NextRequest {
        self.current_read.next_request(self.options.cross_checked_count)
    }

    /// What this reading comes to, together with those before.
    #[must_use]
    pub fn verdict(&self) -> ReadVerdict {
        let read = &self.current_read;
        let (Some(first), Some(latest), false) =
            (read.first_count(), read.latest_count(), read.is_count_missing())
        else {
            return ReadVerdict::NoCount;
        };
        let unique = read.unique_tickets();
        if self.reads == 1 {
            return if read.is_proved_complete(self.options.full) {
                ReadVerdict::Verified
            } else {
                ReadVerdict::ReadAgain
            };
        }
        let always_listed = first.saturating_sub(read.total_decrease());
        let too_few = unique + self.options.accept_shortfall < always_listed;
        let too_many = read.has_excess_rows() || latest + read.total_decrease() < unique;
        let differs = too_few || too_many;
        match (self.missed_earlier, differs) {
            (0, false) => ReadVerdict::Verified,
            (0, true) => ReadVerdict::CountMismatch { unique, count: latest },
            _ if self.reads < READS_MAX => ReadVerdict::ReadAgain,
            _ => ReadVerdict::Unstable,
        }
    }

    /// Begins the next reading.
    pub fn begin_next_read(&mut self) {
        self.count_fell |= self.current_read.count_fell();
        self.current_read = ListRead::new(self.options.page_size);
        self.reads += 1;
        self.missed_earlier = 0;
    }

    /// The reading under way.
    #[must_use]
    pub fn current_read(&self) -> &ListRead {
        &self.current_read
    }

    /// How many readings there were.
    #[must_use]
    pub fn reads(&self) -> u32 {
        self.reads
    }

    /// Whether as many tickets were received as the list counts: then none of them has left since.
    #[must_use]
    pub fn matches_latest_count(&self) -> bool {
        self.current_read.latest_count() == Some(self.unique_tickets())
    }

    /// Different tickets received in all readings.
    #[must_use]
    pub fn unique_tickets(&self) -> u64 {
        self.seen_ids.len() + self.current_read.rejected_rows()
    }

    /// The ids received in all readings.
    #[must_use]
    pub fn seen_ids(&self) -> &RoaringTreemap {
        &self.seen_ids
    }

    /// Pages entered in all readings.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Rows received in all readings, repetitions included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether a count was ever lower than an earlier one of the same reading.
    #[must_use]
    pub fn count_fell(&self) -> bool {
        self.count_fell || self.current_read.count_fell()
    }

    /// The newest ticket that is not newer than the start.
    #[must_use]
    pub fn newest(&self) -> Option<NewestTicket> {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A list that changes between answers.
    struct FakeList {
        ids: BTreeSet<i64>,
        last_created_id: i64,
        /// The greatest id at the start; what entered later is dated later.
        initial_max_id: i64,
        /// What happens before each answer.
        events: Vec<Option<ListEvent>>,
        responses: u64,
        count_offset: i64,
        /// Answers at which something entered or left.
        inserted_at: BTreeSet<u64>,
        removed_at: BTreeSet<u64>,
    }

    #[derive(Clone, Copy, Debug)]
    enum ListEvent {
        Created,
        /// One of an id that was free: a restored ticket, or one that was edited into a following walk.
        Inserted(i64),
        Removed(usize),
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::new(chrono::DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap()
    }

    impl FakeList {
        fn new(tickets: i64, events: Vec<Option<ListEvent>>) -> FakeList {
            let ids = (1..=tickets).map(|id| id * 10).collect();
            let (inserted_at, removed_at) = (BTreeSet::new(), BTreeSet::new());
            FakeList {
                ids,
                last_created_id: tickets * 10,
                initial_max_id: tickets * 10,
                events,
                responses: 0,
                count_offset: 0,
                inserted_at,
                removed_at,
            }
        }

        fn respond(&mut self, number: u32, size: u32) -> PageSummary {
            let event = if self.events.is_empty() { None } else { self.events.remove(0) };
            match event {
                Some(ListEvent::Created) => {
                    self.last_created_id += 10;
                    self.ids.insert(self.last_created_id);
                    self.inserted_at.insert(self.responses);
                }
                Some(ListEvent::Inserted(id))
                    if self.ids.insert(id % self.last_created_id.max(10) / 10 * 10 + 5) =>
                {
                    self.inserted_at.insert(self.responses);
                }
                Some(ListEvent::Inserted(_)) => {}
                Some(ListEvent::Removed(index)) => {
                    let id = self.ids.iter().nth(index % self.ids.len().max(1)).copied();
                    if let Some(id) = id {
                        self.ids.remove(&id);
                        self.removed_at.insert(self.responses);
                    }
                }
                None => {}
            }
            let skip = (number as usize - 1) * size as usize;
            let with_date = |id: i64| (id, Some(at(i64::from(self.initial_max_id < id || id % 10 != 0))));
            let tickets: Vec<_> =
                self.ids.iter().copied().skip(skip).take(size as usize).map(with_date).collect();
            let summary = PageSummary {
                number,
                rows: tickets.len() as u64,
                tickets,
                rejected_rows: 0,
                record_count: (self.ids.len() as u64).checked_add_signed(self.count_offset),
                arrival_no: self.responses,
            };
            self.responses += 1;
            summary
        }
    }

    /// How a list was read.
    struct ScanTrace {
        scan: ListScan,
        verdict: Result<ReadVerdict, ListReadError>,
        /// Pairs of answers that were entered one after the other.
        consecutive_pages: Vec<(u64, u64)>,
        requests: u64,
    }

    /// Reads as the walk does, with so many answers fetched ahead in the order that `shuffle` gives.
    fn scan_list(
        list: &mut FakeList,
        full: bool,
        size: u32,
        parallel_requests: usize,
        shuffle: &[usize],
    ) -> ScanTrace {
        let options =
            ListScanOptions { full, page_size: size, cross_checked_count: None, accept_shortfall: 0 };
        let mut scan = ListScan::new(options, Some(at(0)));
        let mut consecutive_pages = vec![];
        let verdict = loop {
            if let Err(fault) =
                read_once(&mut scan, list, size, parallel_requests, shuffle, &mut consecutive_pages)
            {
                break Err(fault);
            }
            match scan.verdict() {
                ReadVerdict::ReadAgain => scan.begin_next_read(),
                verdict => break Ok(verdict),
            }
        };
        ScanTrace { scan, verdict, consecutive_pages, requests: list.responses }
    }

    fn read_once(
        scan: &mut ListScan,
        list: &mut FakeList,
        size: u32,
        parallel_requests: usize,
        shuffle: &[usize],
        consecutive_pages: &mut Vec<(u64, u64)>,
    ) -> Result<(), ListReadError> {
        let mut previous = None;
        let mut record_added = |page: &PageSummary| {
            if let Some(previous) = previous.replace(page.arrival_no) {
                consecutive_pages.push((page.arrival_no.min(previous), page.arrival_no.max(previous)));
            }
        };
        let first = list.respond(1, size);
        scan.record_response(&first);
        let mut prefetched = vec![];
        if scan.options.full && 1 < scan.current_read().last_page() {
            for _ in 0..3 {
                let last_page = list.respond(scan.current_read().last_page(), size);
                scan.record_response(&last_page);
                if scan.record_last_page(&last_page) {
                    prefetched.push(last_page);
                    break;
                }
            }
        } else {
            prefetched.push(first);
        }
        loop {
            let number = match scan.next_request() {
                NextRequest::End => return Ok(()),
                NextRequest::PastEnd(number) => {
                    let page = list.respond(number, size);
                    scan.record_response(&page);
                    scan.add_page_past_end(&page);
                    continue;
                }
                NextRequest::Seek => {
                    record_added(&seek_position(scan, list)?);
                    continue;
                }
                NextRequest::Page(number) => number,
            };
            let latest = scan.current_read().latest_count();
            prefetched.retain(|page| {
                page.number > number || (page.number == number && page.record_count == latest)
            });
            let at = prefetched.iter().position(|page| page.number == number);
            let page = if let Some(at) = at {
                prefetched.swap_remove(at)
            } else {
                let mut numbers: Vec<u32> =
                    scan.current_read().remaining_pages().take(parallel_requests).collect();
                numbers.retain(|number| prefetched.iter().all(|page| page.number != *number));
                for (index, other) in shuffle.iter().enumerate() {
                    let len = numbers.len();
                    numbers.swap(index % len, other % len);
                }
                for number in numbers {
                    let page = list.respond(number, size);
                    scan.record_response(&page);
                    prefetched.retain(|it| it.number != number);
                    prefetched.push(page);
                }
                let at = prefetched.iter().position(|page| page.number == number).unwrap();
                prefetched.swap_remove(at)
            };
            match scan.add_page(&page)? {
                PageOutcome::Added => record_added(&page),
                PageOutcome::AlreadyAdded => {}
                PageOutcome::SeekNeeded => {
                    prefetched.push(page);
                    record_added(&seek_position(scan, list)?);
                }
            }
        }
    }

    fn seek_position(scan: &mut ListScan, list: &mut FakeList) -> Result<PageSummary, ListReadError> {
        let mut seek = scan.start_seek();
        loop {
            let page = list.respond(seek.page(), scan.current_read().page_size());
            scan.record_response(&page);
            if let Some(found) = seek.process_response(&page)? {
                scan.resume_at(&found);
                return Ok(found.page);
            }
        }
    }

    impl ScanTrace {
        /// Those that stood in the list all the while and were not received.
        fn missed_ids(&self, initial_ids: &BTreeSet<i64>, list: &FakeList) -> Vec<i64> {
            let always_listed = initial_ids.intersection(&list.ids);
            always_listed.copied().filter(|id| !self.scan.seen_ids().contains(id.cast_unsigned())).collect()
        }

        /// Whether one left and another entered between two answers that were entered one after the
        /// other: the one case in which a count says nothing.
        fn has_undetectable_swap(&self, list: &FakeList) -> bool {
            let between =
                |events: &BTreeSet<u64>, (from, to): (u64, u64)| events.range(from + 1..=to).next().is_some();
            self.consecutive_pages
                .iter()
                .any(|pair| between(&list.inserted_at, *pair) && between(&list.removed_at, *pair))
        }
    }

    fn event_at(at: usize, event: ListEvent) -> Vec<Option<ListEvent>> {
        let mut events = vec![None; at];
        events.push(Some(event));
        events
    }

    #[test]
    fn static_list_costs_one_request_per_page() {
        // A full walk looks at its end first.
        for (full, tickets, requests) in [(true, 950, 11), (false, 950, 10), (true, 40, 1), (false, 40, 1)] {
            let mut list = FakeList::new(tickets, vec![]);
            let trace = scan_list(&mut list, full, 100, 4, &[]);
            assert_eq!(
                (trace.verdict, trace.requests),
                (Ok(ReadVerdict::Verified), requests),
                "{tickets}, full: {full}"
            );
        }
    }

    #[test]
    fn full_last_page_is_not_assumed_to_be_the_end() {
        let mut list = FakeList::new(300, vec![]);
        let verified = scan_list(&mut list, true, 100, 1, &[]);
        assert_eq!((verified.verdict, verified.requests), (Ok(ReadVerdict::Verified), 5));
        // A count that is too low is found out there.
        let mut list = FakeList::new(300, vec![]);
        list.count_offset = -100;
        let trace = scan_list(&mut list, true, 100, 1, &[]);
        assert_eq!(trace.verdict, Ok(ReadVerdict::CountMismatch { unique: 300, count: 200 }));
    }

    #[test]
    fn deletion_during_scan_hides_nothing_and_costs_few_requests() {
        for parallel_requests in [1, 4, 16] {
            for (at, index) in [(1, 3), (2, 50), (5, 3), (5, 999), (8, 450), (9, 500)] {
                let mut list = FakeList::new(1_000, event_at(at, ListEvent::Removed(index)));
                let initial_ids = list.ids.clone();
                let trace = scan_list(&mut list, true, 100, parallel_requests, &[]);
                let name = format!("{parallel_requests} lanes, {index} left before answer {at}");
                assert_eq!(trace.verdict, Ok(ReadVerdict::Verified), "{name}");
                assert_eq!(trace.missed_ids(&initial_ids, &list), [0; 0], "{name}");
                assert!(trace.requests <= 10 + 15, "{name}: {} requests", trace.requests);
            }
        }
    }

    #[test]
    fn removed_and_created_tickets_do_not_cancel_out_in_full_scan() {
        let mut list = FakeList::new(1_000, event_at(3, ListEvent::Removed(3)));
        list.events.push(Some(ListEvent::Created));
        // Both between the answers of pages 2 and 4, where the pages are fetched in another order.
        let initial_ids = list.ids.clone();
        let trace = scan_list(&mut list, true, 100, 4, &[1]);
        assert_eq!(
            (trace.verdict, trace.missed_ids(&initial_ids, &list)),
            (Ok(ReadVerdict::Verified), vec![])
        );
    }

    #[test]
    fn changing_list_is_read_twice_and_not_forever() {
        let events = (0..200).map(|at| Some(ListEvent::Inserted(at * 7_919))).collect();
        let mut list = FakeList::new(2_000, events);
        let initial_ids = list.ids.clone();
        let trace = scan_list(&mut list, false, 100, 1, &[]);
        assert_eq!((trace.verdict, trace.scan.reads()), (Ok(ReadVerdict::Verified), 2));
        assert_eq!(trace.missed_ids(&initial_ids, &list), [0; 0]);
    }

    #[test]
    fn count_mismatch_seen_by_two_reads_is_not_verified() {
        let mismatch = |unique, count| Ok(ReadVerdict::CountMismatch { unique, count });
        for (off_by, accepted, verdict) in
            [(7, 0, mismatch(250, 257)), (7, 7, Ok(ReadVerdict::Verified)), (-7, 0, mismatch(250, 243))]
        {
            let mut list = FakeList::new(250, vec![]);
            list.count_offset = off_by;
            let options = ListScanOptions {
                full: true,
                page_size: 100,
                cross_checked_count: None,
                accept_shortfall: accepted,
            };
            let mut scan = ListScan::new(options, Some(at(0)));
            read_once(&mut scan, &mut list, 100, 1, &[], &mut vec![]).unwrap();
            assert_eq!(scan.verdict(), ReadVerdict::ReadAgain);
            scan.begin_next_read();
            read_once(&mut scan, &mut list, 100, 1, &[], &mut vec![]).unwrap();
            assert_eq!(Ok::<_, ListReadError>(scan.verdict()), verdict, "{off_by}");
        }
    }

    fn event(full: bool) -> impl Strategy<Value = Option<ListEvent>> {
        let insertions = any::<u32>()
            .prop_map(move |id| if full { ListEvent::Created } else { ListEvent::Inserted(i64::from(id)) });
        let removals = any::<u16>().prop_map(|index| ListEvent::Removed(usize::from(index)));
        prop_oneof![8 => Just(None), 1 => insertions.prop_map(Some), 1 => removals.prop_map(Some)]
    }

    fn events() -> impl Strategy<Value = (bool, Vec<Option<ListEvent>>)> {
        any::<bool>().prop_flat_map(|full| (Just(full), proptest::collection::vec(event(full), 0..80)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn verified_scan_misses_nothing_except_in_an_undetectable_swap(
            (full, events) in events(), tickets in 0i64..200, size in 1u32..40, parallel_requests in 1usize..6,
            shuffle in proptest::collection::vec(0usize..8, 0..6),
        ) {
            let mut list = FakeList::new(tickets, events);
            let initial_ids = list.ids.clone();
            let trace = scan_list(&mut list, full, size, parallel_requests, &shuffle);
            if trace.verdict == Ok(ReadVerdict::Verified) && !trace.has_undetectable_swap(&list) {
                prop_assert_eq!(trace.missed_ids(&initial_ids, &list), Vec::<i64>::new());
            }
        }

        #[test]
        fn static_list_is_verified_by_the_first_read(tickets in 0i64..400, size in 1u32..50, parallel_requests in 1usize..6, full: bool) {
            let mut list = FakeList::new(tickets, vec![]);
            let trace = scan_list(&mut list, full, size, parallel_requests, &[]);
            prop_assert_eq!(trace.verdict, Ok(ReadVerdict::Verified));
            prop_assert_eq!(trace.scan.reads(), 1);
            let pages = tickets.cast_unsigned().div_ceil(u64::from(size)).max(1);
            prop_assert!(trace.requests <= pages + 2, "{} requests for {} pages", trace.requests, pages);
        }
    }
}
