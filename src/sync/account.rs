//! The account of one list: up to three readings of it, and what they come to.
//!
//! Pure. `counted` is said only where nothing that stood in the list all the while can be missing; a
//! list that moves is read again until a reading brings nothing that an earlier one should have brought.

use roaring::RoaringTreemap;

use super::reading::{Fault, Next, Reading, Received, Step};
use super::seek::{Found, Seek};
use crate::ticket::Stamp;

/// After so many readings that still bring something the walk is incomplete.
const READINGS_MAX: u32 = 3;

/// What a walk is, as far as its account depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether newcomers stand at the end of the list: it has no date filter, so that only tickets that
    /// were created or came into sight enter it.
    pub full: bool,
    /// Rows asked for on a page.
    pub page_size: u32,
    /// How many there are by what other lists count.
    pub agreed: Option<u64>,
    /// How many tickets fewer than the server counts are accepted (`[sync] accept_shortfall`).
    pub accept_shortfall: u64,
}

/// What the account comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is missing.
    Counted,
    /// It may not be: the list is to be read again.
    Again,
    /// Every reading brought something that the ones before should have brought.
    Restless,
    /// Two readings agree on other tickets than the server counts.
    Differs {
        /// Different tickets received.
        unique: u64,
        /// What the server counts.
        count: u64,
    },
    /// The server does not say how many there are.
    Uncounted,
}

/// The newest `last_update` among tickets of a list, as the canary of later walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// The stamp.
    pub stamp: Stamp,
    /// The greatest id that bears it.
    pub id: i64,
    /// How many tickets bear it.
    pub tickets: u64,
}

/// The account of a list.
#[derive(Debug)]
pub struct Account {
    rules: Rules,
    /// The start of the pass by the server's clock.
    start: Option<Stamp>,
    seen: RoaringTreemap,
    reading: Reading,
    readings: u32,
    /// Tickets of the time before the start that this reading brought and no earlier one.
    news: u64,
    pages: u64,
    rows: u64,
    count_fell: bool,
    newest: Option<Newest>,
}

impl Account {
    /// The account of a list that is read from its beginning.
    #[must_use]
    pub fn new(rules: Rules, start: Option<Stamp>) -> Account {
        Account::resumed(rules, start, RoaringTreemap::new(), None)
    }

    /// The account of a list that is read on behind `cursor`, with the ids received up to there.
    #[must_use]
    pub fn resumed(rules: Rules, start: Option<Stamp>, seen: RoaringTreemap, cursor: Option<i64>) -> Account {
        let reading = Reading::resumed(rules.page_size, seen.clone(), cursor);
        Account {
            rules,
            start,
            seen,
            reading,
            readings: 1,
            news: 0,
            pages: 0,
            rows: 0,
            count_fell: false,
            newest: None,
        }
    }

    /// Notes what an answer says of the list, entered or not.
    pub fn note(&mut self, page: &Received) {
        self.reading.note(page);
    }

    /// Notes the set as it stands, where this is the last page of the list; says whether it is.
    pub fn set_top(&mut self, page: &Received) -> bool {
        self.reading.set_top(page)
    }

    /// Enters a page.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn enter(&mut self, page: &Received) -> Result<Step, Fault> {
        let step = self.reading.enter(page)?;
        if step == Step::Entered {
            self.see(page);
        }
        Ok(step)
    }

    /// Enters the page behind the last one.
    pub fn enter_beyond(&mut self, page: &Received) {
        self.reading.enter_beyond(page);
        self.see(page);
    }

    /// Notes that there is nothing behind the last page.
    pub fn end(&mut self) {
        self.reading.end();
    }

    /// The search for the place to go on from.
    #[must_use]
    pub fn seek(&mut self) -> Seek {
        self.reading.seek()
    }

    /// Goes on where the search ended.
    pub fn anchor(&mut self, found: &Found) {
        self.reading.anchor(found);
        self.see(&found.page);
    }

    fn see(&mut self, page: &Received) {
        self.pages += 1;
        self.rows += page.rows;
        for (id, stamp) in &page.tickets {
            let is_new = self.seen.insert(id.cast_unsigned());
            let of_before = stamp.zip(self.start).is_none_or(|(stamp, start)| stamp <= start);
            if is_new && of_before && 1 < self.readings {
                self.news += 1;
            }
            if let Some(stamp) = stamp.filter(|_| of_before) {
                self.newest = Some(match self.newest {
                    Some(newest) if stamp < newest.stamp => newest,
                    Some(newest) if stamp == newest.stamp => Newest {
                        id: newest.id.max(*id),
                        tickets: newest.tickets + u64::from(is_new),
                        ..newest
                    },
                    _ => Newest { stamp, id: *id, tickets: 1 },
                });
            }
        }
    }

    /// What to ask for next.
    #[must_use]
    pub fn next(&self) -> Next {
        self.reading.next(self.rules.agreed)
    }

    /// What this reading comes to, together with those before.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let reading = &self.reading;
        let (Some(first), Some(latest), false) =
            (reading.first_count(), reading.latest_count(), reading.is_uncounted())
        else {
            return Verdict::Uncounted;
        };
        let unique = reading.unique();
        if self.readings == 1 {
            return if reading.proves_itself(self.rules.full) { Verdict::Counted } else { Verdict::Again };
        }
        let stood = first.saturating_sub(reading.fallen());
        let too_few = unique + self.rules.accept_shortfall < stood;
        let too_many = reading.has_surplus() || latest + reading.fallen() < unique;
        let differs = too_few || too_many;
        match (self.news, differs) {
            (0, false) => Verdict::Counted,
            (0, true) => Verdict::Differs { unique, count: latest },
            _ if self.readings < READINGS_MAX => Verdict::Again,
            _ => Verdict::Restless,
        }
    }

    /// Begins the next reading.
    pub fn read_again(&mut self) {
        self.count_fell |= self.reading.count_fell();
        self.reading = Reading::new(self.rules.page_size);
        self.readings += 1;
        self.news = 0;
    }

    /// The reading under way.
    #[must_use]
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// How many readings there were.
    #[must_use]
    pub fn readings(&self) -> u32 {
        self.readings
    }

    /// Whether as many tickets were received as the list counts: then none of them has left since.
    #[must_use]
    pub fn has_as_many_as_stand(&self) -> bool {
        self.reading.latest_count() == Some(self.unique())
    }

    /// Different tickets received in all readings.
    #[must_use]
    pub fn unique(&self) -> u64 {
        self.seen.len() + self.reading.strays()
    }

    /// The ids received in all readings.
    #[must_use]
    pub fn seen(&self) -> &RoaringTreemap {
        &self.seen
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
        self.count_fell || self.reading.count_fell()
    }

    /// The newest ticket that is not newer than the start.
    #[must_use]
    pub fn newest(&self) -> Option<Newest> {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A list that changes between answers.
    struct List {
        ids: BTreeSet<i64>,
        created: i64,
        /// The greatest id at the start; what entered later is dated later.
        last: i64,
        /// What happens before each answer.
        events: Vec<Option<Event>>,
        answers: u64,
        count_is_off_by: i64,
        /// Answers at which something entered or left.
        entered: BTreeSet<u64>,
        left: BTreeSet<u64>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Created,
        /// One of an id that was free: a restored ticket, or one that was edited into a following walk.
        Enters(i64),
        Leaves(usize),
    }

    fn at(second: i64) -> Stamp {
        Stamp::new(chrono::DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap()
    }

    impl List {
        fn new(tickets: i64, events: Vec<Option<Event>>) -> List {
            let ids = (1..=tickets).map(|id| id * 10).collect();
            let (entered, left) = (BTreeSet::new(), BTreeSet::new());
            List {
                ids,
                created: tickets * 10,
                last: tickets * 10,
                events,
                answers: 0,
                count_is_off_by: 0,
                entered,
                left,
            }
        }

        fn answer(&mut self, number: u32, size: u32) -> Received {
            let event = if self.events.is_empty() { None } else { self.events.remove(0) };
            match event {
                Some(Event::Created) => {
                    self.created += 10;
                    self.ids.insert(self.created);
                    self.entered.insert(self.answers);
                }
                Some(Event::Enters(id)) if self.ids.insert(id % self.created.max(10) / 10 * 10 + 5) => {
                    self.entered.insert(self.answers);
                }
                Some(Event::Enters(_)) => {}
                Some(Event::Leaves(place)) => {
                    let id = self.ids.iter().nth(place % self.ids.len().max(1)).copied();
                    if let Some(id) = id {
                        self.ids.remove(&id);
                        self.left.insert(self.answers);
                    }
                }
                None => {}
            }
            let skip = (number as usize - 1) * size as usize;
            let dated = |id: i64| (id, Some(at(i64::from(self.last < id || id % 10 != 0))));
            let tickets: Vec<_> =
                self.ids.iter().copied().skip(skip).take(size as usize).map(dated).collect();
            let received = Received {
                number,
                rows: tickets.len() as u64,
                tickets,
                strays: 0,
                record_count: (self.ids.len() as u64).checked_add_signed(self.count_is_off_by),
                arrived: self.answers,
            };
            self.answers += 1;
            received
        }
    }

    /// How a list was read.
    struct Read {
        account: Account,
        verdict: Result<Verdict, Fault>,
        /// Pairs of answers that were entered one after the other.
        neighbours: Vec<(u64, u64)>,
        requests: u64,
    }

    /// Reads as the walk does, with so many answers fetched ahead in the order that `shuffle` gives.
    fn read(list: &mut List, full: bool, size: u32, lanes: usize, shuffle: &[usize]) -> Read {
        let rules = Rules { full, page_size: size, agreed: None, accept_shortfall: 0 };
        let mut account = Account::new(rules, Some(at(0)));
        let mut neighbours = vec![];
        let verdict = loop {
            if let Err(fault) = read_once(&mut account, list, size, lanes, shuffle, &mut neighbours) {
                break Err(fault);
            }
            match account.verdict() {
                Verdict::Again => account.read_again(),
                verdict => break Ok(verdict),
            }
        };
        Read { account, verdict, neighbours, requests: list.answers }
    }

    fn read_once(
        account: &mut Account,
        list: &mut List,
        size: u32,
        lanes: usize,
        shuffle: &[usize],
        neighbours: &mut Vec<(u64, u64)>,
    ) -> Result<(), Fault> {
        let mut before = None;
        let mut entered = |page: &Received| {
            if let Some(before) = before.replace(page.arrived) {
                neighbours.push((page.arrived.min(before), page.arrived.max(before)));
            }
        };
        let first = list.answer(1, size);
        account.note(&first);
        let mut parked = vec![];
        if account.rules.full && 1 < account.reading().last_page() {
            for _ in 0..3 {
                let top = list.answer(account.reading().last_page(), size);
                account.note(&top);
                if account.set_top(&top) {
                    parked.push(top);
                    break;
                }
            }
        } else {
            parked.push(first);
        }
        loop {
            let number = match account.next() {
                Next::End => return Ok(()),
                Next::Beyond(number) => {
                    let page = list.answer(number, size);
                    account.note(&page);
                    account.enter_beyond(&page);
                    continue;
                }
                Next::Seek => {
                    entered(&find_place(account, list)?);
                    continue;
                }
                Next::Page(number) => number,
            };
            let latest = account.reading().latest_count();
            parked.retain(|page| {
                page.number > number || (page.number == number && page.record_count == latest)
            });
            let at = parked.iter().position(|page| page.number == number);
            let page = if let Some(at) = at {
                parked.swap_remove(at)
            } else {
                let mut numbers: Vec<u32> = account.reading().ahead().take(lanes).collect();
                numbers.retain(|number| parked.iter().all(|page| page.number != *number));
                for (place, other) in shuffle.iter().enumerate() {
                    let len = numbers.len();
                    numbers.swap(place % len, other % len);
                }
                for number in numbers {
                    let page = list.answer(number, size);
                    account.note(&page);
                    parked.retain(|it| it.number != number);
                    parked.push(page);
                }
                let at = parked.iter().position(|page| page.number == number).unwrap();
                parked.swap_remove(at)
            };
            match account.enter(&page)? {
                Step::Entered => entered(&page),
                Step::Stale => {}
                Step::Seek => {
                    parked.push(page);
                    entered(&find_place(account, list)?);
                }
            }
        }
    }

    fn find_place(account: &mut Account, list: &mut List) -> Result<Received, Fault> {
        let mut seek = account.seek();
        loop {
            let page = list.answer(seek.page(), account.reading().page_size());
            account.note(&page);
            if let Some(found) = seek.answered(&page)? {
                account.anchor(&found);
                return Ok(found.page);
            }
        }
    }

    impl Read {
        /// Those that stood in the list all the while and were not received.
        fn missed(&self, before: &BTreeSet<i64>, list: &List) -> Vec<i64> {
            let stood = before.intersection(&list.ids);
            stood.copied().filter(|id| !self.account.seen().contains(id.cast_unsigned())).collect()
        }

        /// Whether one left and another entered between two answers that were entered one after the
        /// other: the one case in which a count says nothing.
        fn is_blind(&self, list: &List) -> bool {
            let between =
                |events: &BTreeSet<u64>, (from, to): (u64, u64)| events.range(from + 1..=to).next().is_some();
            self.neighbours.iter().any(|pair| between(&list.entered, *pair) && between(&list.left, *pair))
        }
    }

    fn happens(at: usize, event: Event) -> Vec<Option<Event>> {
        let mut events = vec![None; at];
        events.push(Some(event));
        events
    }

    #[test]
    fn a_still_list_costs_its_pages() {
        // A full walk looks at its end first.
        for (full, tickets, requests) in [(true, 950, 11), (false, 950, 10), (true, 40, 1), (false, 40, 1)] {
            let mut list = List::new(tickets, vec![]);
            let read = read(&mut list, full, 100, 4, &[]);
            assert_eq!(
                (read.verdict, read.requests),
                (Ok(Verdict::Counted), requests),
                "{tickets}, full: {full}"
            );
        }
    }

    #[test]
    fn a_full_last_page_is_not_taken_for_the_end() {
        let mut list = List::new(300, vec![]);
        let counted = read(&mut list, true, 100, 1, &[]);
        assert_eq!((counted.verdict, counted.requests), (Ok(Verdict::Counted), 5));
        // A count that is too low is found out there.
        let mut list = List::new(300, vec![]);
        list.count_is_off_by = -100;
        let read = read(&mut list, true, 100, 1, &[]);
        assert_eq!(read.verdict, Ok(Verdict::Differs { unique: 300, count: 200 }));
    }

    #[test]
    fn one_deletion_in_mid_walk_hides_nothing_and_costs_few_requests() {
        for lanes in [1, 4, 16] {
            for (at, place) in [(1, 3), (2, 50), (5, 3), (5, 999), (8, 450), (9, 500)] {
                let mut list = List::new(1_000, happens(at, Event::Leaves(place)));
                let before = list.ids.clone();
                let read = read(&mut list, true, 100, lanes, &[]);
                let name = format!("{lanes} lanes, {place} left before answer {at}");
                assert_eq!(read.verdict, Ok(Verdict::Counted), "{name}");
                assert_eq!(read.missed(&before, &list), [0; 0], "{name}");
                assert!(read.requests <= 10 + 15, "{name}: {} requests", read.requests);
            }
        }
    }

    #[test]
    fn a_leaver_and_a_newcomer_do_not_cancel_out_in_a_full_walk() {
        let mut list = List::new(1_000, happens(3, Event::Leaves(3)));
        list.events.push(Some(Event::Created));
        // Both between the answers of pages 2 and 4, where the pages are fetched in another order.
        let before = list.ids.clone();
        let read = read(&mut list, true, 100, 4, &[1]);
        assert_eq!((read.verdict, read.missed(&before, &list)), (Ok(Verdict::Counted), vec![]));
    }

    #[test]
    fn a_busy_list_is_read_twice_and_not_for_ever() {
        let events = (0..200).map(|at| Some(Event::Enters(at * 7_919))).collect();
        let mut list = List::new(2_000, events);
        let before = list.ids.clone();
        let read = read(&mut list, false, 100, 1, &[]);
        assert_eq!((read.verdict, read.account.readings()), (Ok(Verdict::Counted), 2));
        assert_eq!(read.missed(&before, &list), [0; 0]);
    }

    #[test]
    fn a_shortfall_that_two_readings_agree_on_is_not_called_complete() {
        let differs = |unique, count| Ok(Verdict::Differs { unique, count });
        for (off_by, accepted, verdict) in
            [(7, 0, differs(250, 257)), (7, 7, Ok(Verdict::Counted)), (-7, 0, differs(250, 243))]
        {
            let mut list = List::new(250, vec![]);
            list.count_is_off_by = off_by;
            let rules = Rules { full: true, page_size: 100, agreed: None, accept_shortfall: accepted };
            let mut account = Account::new(rules, Some(at(0)));
            read_once(&mut account, &mut list, 100, 1, &[], &mut vec![]).unwrap();
            assert_eq!(account.verdict(), Verdict::Again);
            account.read_again();
            read_once(&mut account, &mut list, 100, 1, &[], &mut vec![]).unwrap();
            assert_eq!(Ok::<_, Fault>(account.verdict()), verdict, "{off_by}");
        }
    }

    fn event(full: bool) -> impl Strategy<Value = Option<Event>> {
        let enters =
            any::<u32>().prop_map(move |id| if full { Event::Created } else { Event::Enters(i64::from(id)) });
        let leaves = any::<u16>().prop_map(|place| Event::Leaves(usize::from(place)));
        prop_oneof![8 => Just(None), 1 => enters.prop_map(Some), 1 => leaves.prop_map(Some)]
    }

    fn events() -> impl Strategy<Value = (bool, Vec<Option<Event>>)> {
        any::<bool>().prop_flat_map(|full| (Just(full), proptest::collection::vec(event(full), 0..80)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn a_counted_walk_missed_nothing_unless_one_came_and_one_left_between_two_answers(
            (full, events) in events(), tickets in 0i64..200, size in 1u32..40, lanes in 1usize..6,
            shuffle in proptest::collection::vec(0usize..8, 0..6),
        ) {
            let mut list = List::new(tickets, events);
            let before = list.ids.clone();
            let read = read(&mut list, full, size, lanes, &shuffle);
            if read.verdict == Ok(Verdict::Counted) && !read.is_blind(&list) {
                prop_assert_eq!(read.missed(&before, &list), Vec::<i64>::new());
            }
        }

        #[test]
        fn a_still_list_is_counted_at_first_sight(tickets in 0i64..400, size in 1u32..50, lanes in 1usize..6, full: bool) {
            let mut list = List::new(tickets, vec![]);
            let read = read(&mut list, full, size, lanes, &[]);
            prop_assert_eq!(read.verdict, Ok(Verdict::Counted));
            prop_assert_eq!(read.account.readings(), 1);
            let pages = tickets.cast_unsigned().div_ceil(u64::from(size)).max(1);
            prop_assert!(read.requests <= pages + 2, "{} requests for {} pages", read.requests, pages);
        }
    }
}
