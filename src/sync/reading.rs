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

use super::seek::{Found, Seek};
use crate::ticket::Stamp;

/// What an answer held, before any of it was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The number of the page.
    pub number: u32,
    /// The tickets in the order received, each once, with their `last_update`.
    pub tickets: Vec<(i64, Option<Stamp>)>,
    /// Rows without a usable id; each counts as a ticket.
    pub strays: u64,
    /// All rows.
    pub rows: u64,
    /// The count that the server claims.
    pub record_count: Option<u64>,
    /// The place of this answer in the order of arrival.
    pub arrived: u64,
}

impl Received {
    fn ids(&self) -> impl DoubleEndedIterator<Item = i64> + Clone {
        self.tickets.iter().map(|(id, _)| *id)
    }
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
    /// The list moves so fast that the position in it cannot be found.
    #[error("the list changes with every answer, and the place to go on from is not to be found")]
    Restless,
}

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is entered.
    Entered,
    /// It was entered before; it is not needed.
    Stale,
    /// Rows may have slipped through before it: the place behind the cursor is to be looked for first.
    Seek,
}

/// What to ask for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This page.
    Page(u32),
    /// The page behind the last one, because nothing but the count says that there is none.
    Beyond(u32),
    /// First the place behind the cursor.
    Seek,
    /// Nothing: that was all.
    End,
}

/// Where in the list a cursor stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Anchor {
    /// How many rows of the list stand at or before the cursor.
    position: u64,
    /// The cursor, `None` before the first row.
    cursor: Option<i64>,
}

/// The set as it stood in one answer before the first page was entered: the one that held the end of
/// the list.
#[derive(Clone, Copy, Debug)]
struct Base {
    count: u64,
    /// The greatest id there was.
    top: Option<i64>,
}

/// One reading.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about what was received")]
pub struct Reading {
    /// Rows asked for on a page.
    asked: u32,
    ids: RoaringTreemap,
    strays: u64,
    rows: u64,
    pages: u32,
    next_page: u32,
    page_size: u64,
    cursor: Option<i64>,
    ascending: bool,
    /// Where it was sought last.
    anchor: Anchor,
    /// Where a reading that goes on began.
    origin: Anchor,
    base: Option<Base>,
    /// Arrival and count of every answer.
    counts: Vec<(u64, u64)>,
    first: Option<(u64, u64)>,
    latest: Option<(u64, u64)>,
    /// The highest count since the end of the list was seen.
    highest: u64,
    uncounted: bool,
    entered_count: Option<u64>,
    page_before: Vec<i64>,
    last_page_full: bool,
    sought: bool,
    /// Whether a page held rows that its own count denies.
    surplus: bool,
    ended: bool,
}

impl Reading {
    /// A reading from the beginning, with `asked` rows a page.
    #[must_use]
    pub fn new(asked: u32) -> Reading {
        Reading::resumed(asked, RoaringTreemap::new(), None)
    }

    /// A reading that goes on behind `cursor`, with the ids that were received up to there.
    #[must_use]
    pub fn resumed(asked: u32, ids: RoaringTreemap, cursor: Option<i64>) -> Reading {
        Reading {
            asked,
            ids,
            strays: 0,
            rows: 0,
            pages: 0,
            next_page: 1,
            page_size: 0,
            cursor,
            ascending: true,
            anchor: Anchor::default(),
            origin: Anchor::default(),
            base: None,
            counts: Vec::new(),
            first: None,
            latest: None,
            highest: 0,
            uncounted: false,
            entered_count: None,
            page_before: Vec::new(),
            last_page_full: false,
            sought: false,
            surplus: false,
            ended: false,
        }
    }

    /// Notes what an answer says of the whole list, whether it is entered or not.
    pub fn note(&mut self, page: &Received) {
        self.page_size = self.page_size.max(page.rows);
        let Some(count) = page.record_count else {
            self.uncounted = true;
            return;
        };
        let here = (page.arrived, count);
        self.counts.push(here);
        self.first = Some(self.first.map_or(here, |first| first.min(here)));
        self.latest = Some(self.latest.map_or(here, |latest| latest.max(here)));
        self.highest = self.highest.max(count);
    }

    /// Notes the set as it stands, where this is the last page of the list; says whether it is.
    pub fn set_top(&mut self, page: &Received) -> bool {
        let Some(count) = page.record_count else { return true };
        let end = self.position_of(page.number) + page.rows;
        let is_last = end == count && (0 < page.rows || count == 0);
        if is_last {
            self.base = Some(Base { count, top: page.ids().max() });
            self.highest = count;
        }
        is_last
    }

    /// The last page, as far as is known.
    #[must_use]
    pub fn last_page(&self) -> u32 {
        *self.ahead().end()
    }

    /// Enters a page.
    ///
    /// # Errors
    /// [`Fault`] where the answer cannot be that page; nothing is entered then.
    pub fn enter(&mut self, page: &Received) -> Result<Step, Fault> {
        if page.number < self.next_page {
            return Ok(Step::Stale);
        }
        let grown = page.record_count.unwrap_or(0).saturating_sub(self.entered_count.unwrap_or(0));
        // As many newcomers as a page holds push the same rows onto the next one.
        if grown < page.rows && page.ids().eq(self.page_before.iter().copied()) {
            return Err(Fault::Repeated(page.number));
        }
        if page.rows == 0 && page.record_count.is_some_and(|count| self.position_of(page.number) < count) {
            return Err(Fault::Empty(page.number));
        }
        if self.ascending && 0 < self.pages && page.record_count < self.entered_count {
            return Ok(Step::Seek);
        }
        self.ascending &= self.ascends(page);
        self.take(page);
        Ok(Step::Entered)
    }

    /// Enters the page behind the last one: rows that are new there show that the count is too low. A
    /// server may answer it with nothing, or with rows that it gave already.
    pub fn enter_beyond(&mut self, page: &Received) {
        if page.ids().any(|id| !self.ids.contains(id.cast_unsigned())) {
            self.take(page);
        } else {
            self.ended = true;
        }
    }

    /// Ends the reading.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Looks for the place behind the cursor.
    #[must_use]
    pub fn seek(&mut self) -> Seek {
        let before = match self.anchor.cursor {
            None => self.ids.len() + self.strays,
            Some(_) => self.anchor.position + self.behind(self.anchor.cursor),
        };
        // What has left since is not there any more.
        let fell = self.entered_count.zip(self.latest_count()).map_or(0, |(was, is)| was.saturating_sub(is));
        self.sought = true;
        Seek::new(
            self.cursor.unwrap_or(i64::MIN),
            self.page_size(),
            before.saturating_sub(fell),
            self.latest_count().unwrap_or(before),
        )
    }

    /// Goes on where a search found the cursor.
    pub fn anchor(&mut self, found: &Found) {
        self.anchor = Anchor { position: found.position, cursor: self.cursor };
        if self.pages == 0 {
            self.origin = self.anchor;
        }
        self.take(&found.page);
    }

    fn take(&mut self, page: &Received) {
        let end = self.position_of(page.number) + page.rows;
        self.surplus |= 1 < page.number && page.record_count.is_some_and(|count| count < end);
        self.pages += 1;
        self.next_page = page.number + 1;
        self.rows += page.rows;
        self.strays += page.strays;
        let cap = if 1 < self.pages { self.page_size } else { u64::from(self.asked) };
        self.last_page_full = cap <= page.rows;
        self.entered_count = page.record_count;
        self.ids.extend(page.ids().map(i64::cast_unsigned));
        self.cursor = self.cursor.max(page.ids().max());
        self.page_before = page.ids().collect();
        self.ended = page.rows == 0;
    }

    /// Whether a page is in order of id and not before the one that came before it.
    fn ascends(&self, page: &Received) -> bool {
        let within = page.ids().is_sorted_by(|one, next| one < next);
        let behind =
            self.page_before.first().zip(page.ids().next_back()).is_none_or(|(first, last)| *first <= last);
        within && behind
    }

    /// What is to be asked for next. `agreed` is a count that other lists agree with.
    #[must_use]
    pub fn next(&self, agreed: Option<u64>) -> Next {
        match self.latest_count() {
            _ if self.ended => Next::End,
            _ if self.pages == 0 => Next::Page(self.next_page),
            // Without a count, only an empty page is the end.
            None => Next::Page(self.next_page),
            Some(count) if self.position_of(self.next_page) < count => Next::Page(self.next_page),
            // So many have left that there is no next page; what was on it stands before the cursor now.
            Some(_) if self.ascending && self.latest_count() < self.entered_count => Next::Seek,
            Some(count) if self.last_page_full && agreed != Some(count) => Next::Beyond(self.next_page),
            Some(_) => Next::End,
        }
    }

    /// The pages that are still to come, as far as is known; they may become more.
    #[must_use]
    pub fn ahead(&self) -> RangeInclusive<u32> {
        let last = match self.latest_count() {
            Some(count) => count.div_ceil(self.page_size.max(1)),
            None => u64::from(self.next_page),
        };
        self.next_page..=u32::try_from(last).unwrap_or(u32::MAX).max(self.next_page)
    }

    fn position_of(&self, page: u32) -> u64 {
        u64::from(page - 1) * self.page_size
    }

    /// How many rows a page really holds, where a page held fewer than were asked for although there
    /// are more.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        let capped = self.latest_count().is_none_or(|count| self.page_size < count);
        match u32::try_from(self.page_size) {
            Ok(size) if 0 < size && capped => size.min(self.asked),
            _ => self.asked,
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
    pub fn proves_itself(&self, full: bool) -> bool {
        let (Some(latest), false) = (self.latest_count(), self.uncounted) else { return false };
        if self.pages == 1 && !self.sought {
            return self.entered_count == Some(self.unique());
        }
        if !self.ascending || self.surplus {
            return false;
        }
        if !full {
            return !self.count_fell() && !self.sought && self.unique() == latest;
        }
        let Some(base) = self.base else { return false };
        let newcomers = self.behind(base.top.max(self.origin.cursor));
        let stood = base.count.saturating_sub(self.origin.position);
        let read = (self.behind(self.origin.cursor) + self.strays).saturating_sub(newcomers);
        let whole_tail = self.anchor.position + self.behind(self.anchor.cursor) + self.strays == latest;
        let only_left = newcomers == 0 && self.highest <= base.count;
        read == stood || (read < stood && only_left && whole_tail)
    }

    /// How many ids were received behind a cursor.
    fn behind(&self, cursor: Option<i64>) -> u64 {
        match cursor {
            None => self.ids.len(),
            Some(cursor) => self.ids.len() - self.ids.rank(cursor.cast_unsigned()),
        }
    }

    /// Different tickets received.
    #[must_use]
    pub fn unique(&self) -> u64 {
        self.ids.len() + self.strays
    }

    /// Rows without a usable id.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.strays
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
    pub fn is_uncounted(&self) -> bool {
        self.uncounted
    }

    /// Whether a page held rows that its own count denies.
    #[must_use]
    pub fn has_surplus(&self) -> bool {
        self.surplus
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
    pub fn fallen(&self) -> u64 {
        let mut counts = self.counts.clone();
        counts.sort_unstable();
        counts.windows(2).map(|pair| pair[0].1.saturating_sub(pair[1].1)).sum()
    }

    /// Whether a count was ever lower than an earlier one.
    #[must_use]
    pub fn count_fell(&self) -> bool {
        self.fallen() != 0
    }
}
