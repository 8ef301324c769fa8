//! Lists that change while they are read.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::seek::SeekStep;
use super::*;
use crate::sync::completeness::Shortfall;
use crate::ticket::RejectedValue;
use crate::ticket::parse::RejectedRow;

/// A list that changes between responses.
struct FakeList {
    ids: BTreeSet<i64>,
    last_created_id: i64,
    /// The greatest id at the start; later tickets are dated after the start.
    initial_max_id: i64,
    /// What happens before each response.
    events: Vec<Option<ListEvent>>,
    responses: u64,
    count_offset: i64,
    /// Responses before which a ticket was added or disappeared.
    inserted_at: BTreeSet<u64>,
    removed_at: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug)]
enum ListEvent {
    Created,
    /// A ticket with a free id: restored, or edited during an incremental scan.
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

    fn respond(&mut self, number: u32, size: u32) -> Page {
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
        let page = Page {
            number,
            rows: tickets.len() as u64,
            tickets,
            record_count: (self.ids.len() as u64).checked_add_signed(self.count_offset),
            arrival_no: self.responses,
            ..Page::default()
        };
        self.responses += 1;
        page
    }
}

/// How a list was read.
struct ScanTrace {
    scan: ListScan,
    verdict: Result<ReadVerdict, ListReadError>,
    /// Pairs of responses that were added one after the other.
    consecutive_pages: Vec<(u64, u64)>,
    requests: u64,
}

/// Reads a list as a scan does, with `parallel_requests` pages prefetched in the order that `shuffle` gives.
fn scan_list(
    list: &mut FakeList,
    appends_only: bool,
    size: u32,
    parallel_requests: usize,
    shuffle: &[usize],
) -> ScanTrace {
    let options =
        ListScanOptions { appends_only, page_size: size, cross_checked_count: None, accept_shortfall: 0 };
    let mut scan = ListScan::new(options, Some(at(0)));
    let mut consecutive_pages = vec![];
    let verdict = loop {
        if let Err(fault) =
            read_once(&mut scan, list, size, parallel_requests, shuffle, &mut consecutive_pages)
        {
            break Err(fault);
        }
        match scan.verdict() {
            ReadVerdict::ReadAgain => scan.read_again(),
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
    let mut record_added = |page: &Page| {
        if let Some(previous) = previous.replace(page.arrival_no) {
            consecutive_pages.push((page.arrival_no.min(previous), page.arrival_no.max(previous)));
        }
    };
    let first = list.respond(1, size);
    scan.record_response(&first);
    let mut prefetched = vec![];
    if scan.options.appends_only && 1 < *scan.remaining_pages().end() {
        for _ in 0..3 {
            let last_page = list.respond(*scan.remaining_pages().end(), size);
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
        let latest = scan.latest_count();
        prefetched
            .retain(|page| page.number > number || (page.number == number && page.record_count == latest));
        let at = prefetched.iter().position(|page| page.number == number);
        let page = if let Some(at) = at {
            prefetched.swap_remove(at)
        } else {
            let mut numbers: Vec<u32> = scan.remaining_pages().take(parallel_requests).collect();
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

fn seek_position(scan: &mut ListScan, list: &mut FakeList) -> Result<Page, ListReadError> {
    let mut seek = scan.start_seek();
    loop {
        let page = list.respond(seek.next_page(), scan.page_size());
        scan.record_response(&page);
        match seek.process_response(page) {
            SeekStep::Continue => {}
            SeekStep::Found { page, position } => {
                scan.resume_at(&page, position);
                return Ok(*page);
            }
            SeekStep::Unstable => return Err(ListReadError::UnstableList),
        }
    }
}

impl ScanTrace {
    /// Tickets that were in the list all the time and were not received.
    fn missed_ids(&self, initial_ids: &BTreeSet<i64>, list: &FakeList) -> Vec<i64> {
        let always_listed = initial_ids.intersection(&list.ids);
        always_listed.copied().filter(|id| !self.scan.seen_ids().contains(id.cast_unsigned())).collect()
    }

    /// Whether one ticket disappeared and another was added between two consecutive responses: the one case that no
    /// count shows.
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
    // Where new tickets appear only at the end, the end is read first.
    for (appends_only, tickets, requests) in
        [(true, 950, 11), (false, 950, 10), (true, 40, 1), (false, 40, 1)]
    {
        let mut list = FakeList::new(tickets, vec![]);
        let trace = scan_list(&mut list, appends_only, 100, 4, &[]);
        assert_eq!(
            (trace.verdict, trace.requests),
            (Ok(ReadVerdict::Verified), requests),
            "{tickets}, appends_only: {appends_only}"
        );
    }
}

#[test]
fn full_last_page_is_not_assumed_to_be_the_end() {
    let mut list = FakeList::new(300, vec![]);
    let verified = scan_list(&mut list, true, 100, 1, &[]);
    assert_eq!((verified.verdict, verified.requests), (Ok(ReadVerdict::Verified), 5));
    // A count that is too low shows on the page after the last one.
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
            let name =
                format!("{parallel_requests} parallel requests, row {index} removed before response {at}");
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
    // Both happen between the responses for pages 2 and 4, which are fetched in another order.
    let initial_ids = list.ids.clone();
    let trace = scan_list(&mut list, true, 100, 4, &[1]);
    assert_eq!((trace.verdict, trace.missed_ids(&initial_ids, &list)), (Ok(ReadVerdict::Verified), vec![]));
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
    let short = Ok(ReadVerdict::Short(Shortfall { missing: 7, unidentified: 0 }));
    for (off_by, accepted, verdict) in
        [(7, 0, mismatch(250, 257)), (7, 6, mismatch(250, 257)), (7, 7, short), (-7, 0, mismatch(250, 243))]
    {
        let mut list = FakeList::new(250, vec![]);
        list.count_offset = off_by;
        let options = ListScanOptions {
            appends_only: true,
            page_size: 100,
            cross_checked_count: None,
            accept_shortfall: accepted,
        };
        let mut scan = ListScan::new(options, Some(at(0)));
        read_once(&mut scan, &mut list, 100, 1, &[], &mut vec![]).unwrap();
        // What is accepted is accepted in the first read.
        if verdict != short {
            assert_eq!(scan.verdict(), ReadVerdict::ReadAgain);
            scan.read_again();
            read_once(&mut scan, &mut list, 100, 1, &[], &mut vec![]).unwrap();
        }
        assert_eq!(Ok::<_, ListReadError>(scan.verdict()), verdict, "{off_by}");
    }
}

fn event(appends_only: bool) -> impl Strategy<Value = Option<ListEvent>> {
    let insertions = any::<u32>().prop_map(move |id| {
        if appends_only { ListEvent::Created } else { ListEvent::Inserted(i64::from(id)) }
    });
    let removals = any::<u16>().prop_map(|index| ListEvent::Removed(usize::from(index)));
    prop_oneof![8 => Just(None), 1 => insertions.prop_map(Some), 1 => removals.prop_map(Some)]
}

fn events() -> impl Strategy<Value = (bool, Vec<Option<ListEvent>>)> {
    any::<bool>().prop_flat_map(|appends_only| {
        (Just(appends_only), proptest::collection::vec(event(appends_only), 0..80))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn verified_scan_misses_nothing_except_in_an_undetectable_swap(
        (appends_only, events) in events(), tickets in 0i64..200, size in 1u32..40, parallel_requests in 1usize..6,
        shuffle in proptest::collection::vec(0usize..8, 0..6),
    ) {
        let mut list = FakeList::new(tickets, events);
        let initial_ids = list.ids.clone();
        let trace = scan_list(&mut list, appends_only, size, parallel_requests, &shuffle);
        if trace.verdict == Ok(ReadVerdict::Verified) && !trace.has_undetectable_swap(&list) {
            prop_assert_eq!(trace.missed_ids(&initial_ids, &list), Vec::<i64>::new());
        }
    }

    #[test]
    fn static_list_is_verified_by_the_first_read(tickets in 0i64..400, size in 1u32..50, parallel_requests in 1usize..6, appends_only: bool) {
        let mut list = FakeList::new(tickets, vec![]);
        let trace = scan_list(&mut list, appends_only, size, parallel_requests, &[]);
        prop_assert_eq!(trace.verdict, Ok(ReadVerdict::Verified));
        prop_assert_eq!(trace.scan.reads(), 1);
        let pages = tickets.cast_unsigned().div_ceil(u64::from(size)).max(1);
        prop_assert!(trace.requests <= pages + 2, "{} requests for {} pages", trace.requests, pages);
    }
}

/// A page of these rows; `None` is a row without an id.
fn page_of(number: u32, record_count: u64, rows: &[Option<i64>]) -> Page {
    let mut page =
        Page { number, rows: rows.len() as u64, record_count: Some(record_count), ..Page::default() };
    let mut after_id = None;
    for row in rows {
        after_id = row.or(after_id);
        if let Some(id) = row {
            page.tickets.push((*id, Some(at(0))));
        } else {
            let rejected = RejectedValue { reason: "no usable id".into(), raw: String::new() };
            page.rejected_rows.push(RejectedRow { rejected, after_id });
        }
    }
    page
}

fn read_pages(scan: &mut ListScan, pages: &[Page]) {
    for page in pages {
        scan.record_response(page);
        assert_eq!(scan.add_page(page), Ok(PageOutcome::Added));
    }
}

#[test]
fn row_without_id_on_a_page_past_the_end_is_new_only_if_the_page_is() {
    for (last, past_end, expected) in [
        (&[Some(10), None][..], &[Some(10), None][..], 1),
        (&[None], &[None], 1),
        (&[None], &[None, None], 3),
        (&[Some(10)], &[None], 1),
        (&[Some(10)], &[Some(20), None], 1),
        (&[Some(10)], &[], 0),
    ] {
        let options = ListScanOptions {
            appends_only: false,
            page_size: 2,
            cross_checked_count: None,
            accept_shortfall: 0,
        };
        let mut scan = ListScan::new(options, Some(at(0)));
        let count = last.len() as u64;
        read_pages(&mut scan, &[page_of(1, count, last)]);
        let past_end = page_of(2, count, past_end);
        scan.record_response(&past_end);
        scan.add_page_past_end(&past_end);
        assert_eq!(scan.rejected_rows().len(), expected, "{last:?}, {past_end:?}");
    }
}

#[test]
fn row_without_id_that_only_an_earlier_read_showed_is_still_missing() {
    let options =
        ListScanOptions { appends_only: false, page_size: 2, cross_checked_count: None, accept_shortfall: 0 };
    let mut scan = ListScan::new(options, Some(at(0)));
    // The list is in no order, and a ticket that both reads show disappeared while the second one was under way.
    read_pages(&mut scan, &[page_of(1, 4, &[Some(30), Some(10)]), page_of(2, 4, &[None, Some(20)])]);
    assert_eq!(scan.verdict(), ReadVerdict::ReadAgain);
    scan.read_again();
    let mut second = [page_of(1, 4, &[Some(30), Some(10)]), page_of(2, 3, &[Some(20)])];
    second[1].arrival_no = 1;
    read_pages(&mut scan, &second);
    let shortfall = Shortfall { missing: 0, unidentified: 1 };
    assert_eq!(scan.verdict(), ReadVerdict::Short(shortfall));
}

#[test]
fn adjacent_pages_of_rows_without_id_are_no_repetition() {
    let options =
        ListScanOptions { appends_only: false, page_size: 1, cross_checked_count: None, accept_shortfall: 0 };
    let mut scan = ListScan::new(options, Some(at(0)));
    read_pages(&mut scan, &[page_of(1, 3, &[Some(10)]), page_of(2, 3, &[None]), page_of(3, 3, &[None])]);
    assert_eq!(scan.verdict(), ReadVerdict::Short(Shortfall { missing: 0, unidentified: 2 }));
}

#[test]
fn page_whose_count_fell_between_its_parts_is_read_again() {
    let options =
        ListScanOptions { appends_only: true, page_size: 2, cross_checked_count: None, accept_shortfall: 0 };
    for count_fell in [false, true] {
        let mut scan = ListScan::new(options, Some(at(0)));
        let (first, last) = (page_of(1, 4, &[Some(10), Some(20)]), page_of(2, 4, &[Some(30), Some(40)]));
        scan.record_response(&last);
        assert!(scan.record_last_page(&last));
        read_pages(&mut scan, &[Page { count_fell, ..first }, last]);
        let expected = if count_fell { ReadVerdict::ReadAgain } else { ReadVerdict::Verified };
        assert_eq!(scan.verdict(), expected);
    }
}
