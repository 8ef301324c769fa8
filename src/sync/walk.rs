//! Reads the lists of a walk page by page, in order of id.
//!
//! [`Account`] says what to ask for next and what it all comes to; here it is asked for, and what came
//! is handed to the writer. The rows of the end are not stored here: they go into the transaction that
//! moves the watermark.

use std::sync::Arc;

use roaring::RoaringTreemap;
use tokio::time::Instant;

use super::SyncError;
use super::account::{Account, Rules, Verdict};
use super::calibration::FirstPage;
use super::mapping::{Mapping, Unexplained};
use super::pages::{Ahead, Lane, Page};
use super::pass::{Pass, start_of};
use super::reading::{Fault, Next, Step};
use super::writer::{Batch, FillStart, Tally, Writer, figures};
use crate::halo::{Filter, HaloError};
use crate::store::{Place, Sighting, Unfinished};
use crate::ticket::Stamp;
use crate::watermark::{Walk, Watermark};

/// How often the end of a list is looked for before it is read without having been seen.
const TOPS_MAX: u32 = 3;

/// What is read and for which walk.
pub(super) struct Plan {
    pub(super) walk: Walk,
    pub(super) walk_id: i64,
    /// The lists that are read one after another; together they hold everything.
    pub(super) lists: Vec<Filter>,
    /// Where the copy stood when the walk was planned.
    pub(super) mark: Watermark,
    /// What the rows are mapped with.
    pub(super) mapping: Arc<Mapping>,
    /// The newest change then.
    pub(super) seq: i64,
    /// Whether it is the first full walk of its scope: then its position is told in the watermark.
    pub(super) fill: bool,
    /// The walk that is taken up again.
    pub(super) taken_up: Option<Unfinished>,
    /// Whether it makes way for following walks that become due.
    pub(super) yields: bool,
}

/// A walk that came to its end.
pub(super) struct Walked {
    pub(super) accounts: Vec<Account>,
    /// What an interrupted walk received of lists before them.
    read_before: RoaringTreemap,
    pub(super) verdict: Verdict,
    /// Why it cannot be trusted, whatever it counted.
    pub(super) fault: Option<Fault>,
    /// The start of the walk by the server's clock.
    pub(super) start: Option<Stamp>,
    /// The same for the present pass, where the walk was taken up again.
    pub(super) session_start: Option<Stamp>,
    /// What the pass did and stored so far.
    pub(super) tally: Tally,
    /// The rows of the end, not stored yet.
    pub(super) rest: Batch,
    /// Older versions than the stored ones, as the list shows them.
    pub(super) older: Vec<Sighting>,
    /// Numbers that no list of the server explains.
    pub(super) unexplained: Unexplained,
    /// Tickets that are listed although they are of no type that is copied.
    pub(super) outside: Vec<i64>,
}

impl Walked {
    /// The ids received.
    pub(super) fn seen(&self) -> RoaringTreemap {
        self.accounts.iter().fold(self.read_before.clone(), |seen, account| seen | account.seen())
    }
}

impl Pass {
    /// Reads the lists of a plan.
    pub(super) async fn walk(
        &self,
        plan: &Plan,
        first: Option<FirstPage>,
        tally: Tally,
    ) -> Result<Walked, SyncError> {
        let start = plan.taken_up.as_ref().and_then(|walk| walk.place.begun_at);
        let fill = plan.fill.then_some(FillStart(start));
        let mut reader = Reader {
            pass: self,
            plan,
            writer: Writer::new(self, plan, fill, tally),
            walked: Walked {
                accounts: Vec::new(),
                read_before: plan.taken_up.as_ref().map(|walk| walk.read_before.clone()).unwrap_or_default(),
                verdict: Verdict::Counted,
                fault: None,
                start,
                session_start: None,
                tally: Tally::default(),
                rest: Batch::default(),
                older: Vec::new(),
                unexplained: Unexplained::default(),
                outside: Vec::new(),
            },
            begun: plan.taken_up.is_some(),
            first,
            rest_ids: RoaringTreemap::new(),
            place: plan.taken_up.as_ref().map(|walk| walk.place.clone()).unwrap_or_default(),
            followed: Instant::now(),
        };
        let first_list = plan.taken_up.as_ref().map_or(0, |walk| walk.place.part as usize);
        for part in first_list..plan.lists.len() {
            reader.read_list(part).await?;
            if part + 1 < plan.lists.len() {
                // A place is one in one list.
                reader.store().await?;
            }
            if reader.walked.fault.is_some() || reader.walked.verdict != Verdict::Counted {
                break;
            }
        }
        reader.end().await
    }
}

/// Reads lists into accounts and rows into the writer.
struct Reader<'p> {
    pass: &'p Pass,
    plan: &'p Plan,
    writer: Writer<'p>,
    walked: Walked,
    /// Whether the start of the walk is known, as far as the server tells it.
    begun: bool,
    /// The first page of the first list, where it was fetched already.
    first: Option<FirstPage>,
    /// The ids of the rows that are not stored yet.
    rest_ids: RoaringTreemap,
    /// How far the walk is when they are.
    place: Place,
    followed: Instant,
}

impl Reader<'_> {
    async fn read_list(&mut self, part: usize) -> Result<(), SyncError> {
        let settings = &self.pass.settings;
        let lane = Lane::new(
            &self.pass.halo,
            &self.plan.lists[part],
            &self.plan.mapping,
            settings.parallel_requests.max(1) as usize,
        );
        let known = self.first.take();
        let rules = Rules {
            agreed: known.as_ref().and_then(|known| known.agreed),
            // A ticket that is closed enters the list of the closed ones anywhere.
            full: self.plan.walk == Walk::Full && self.plan.lists.len() == 1,
            page_size: settings.page_size,
            accept_shortfall: settings.accept_shortfall,
        };
        let first = match known {
            Some(known) => lane.map(1, known.listed),
            None => lane.page(1, rules.page_size).await?,
        };
        self.walked.session_start = self.walked.session_start.or(start_of(&first.receipt));
        if !self.begun {
            self.walked.start = start_of(&first.receipt);
            self.writer.begin(self.walked.start);
            self.begun = true;
        }
        let taken_up =
            self.plan.taken_up.as_ref().map(|walk| &walk.place).filter(|it| it.part as usize == part);
        let account = if let Some(place) = taken_up {
            Account::resumed(rules, self.walked.start, place.ids.clone(), place.cursor)
        } else {
            self.place = Place { part: u32::try_from(part).unwrap_or(u32::MAX), ..Place::default() };
            Account::new(rules, self.walked.start)
        };
        let goes_on = taken_up.is_some();
        self.walked.accounts.push(account);
        self.read_once(&lane, first, goes_on).await?;
        while self.walked.fault.is_none() {
            self.walked.verdict = self.account().verdict();
            if self.walked.verdict != Verdict::Again {
                break;
            }
            tracing::info!(
                readings = self.account().readings(),
                "the list moved, or its count differs: reading it again"
            );
            self.account_mut().read_again();
            let first = lane.page(1, rules.page_size).await?;
            self.read_once(&lane, first, false).await?;
        }
        Ok(())
    }

    /// Reads a list once, to its end or to a fault.
    async fn read_once(&mut self, lane: &Lane, first: Page, goes_on: bool) -> Result<(), SyncError> {
        self.account_mut().note(&first.received);
        let mut ahead = Ahead::new(lane);
        let mut parked: Vec<Page> = Vec::new();
        if self.plan.walk == Walk::Full && 1 < self.account().reading().last_page() {
            parked.extend(self.find_top(lane).await?);
        } else if !goes_on {
            parked.push(first);
        }
        if goes_on {
            self.find_place(lane).await?;
        }
        while self.walked.fault.is_none() {
            let page = match self.account().next() {
                Next::End => break,
                Next::Seek => {
                    self.find_place(lane).await?;
                    continue;
                }
                Next::Beyond(number) => {
                    self.look_beyond(lane, number).await?;
                    continue;
                }
                Next::Page(number) => {
                    if let Some(page) = self.take_parked(&mut parked, number) {
                        page
                    } else {
                        let reading = self.account().reading();
                        let (wanted, size) = (reading.ahead(), reading.page_size());
                        let last = *wanted.end()
                            - u32::from(parked.iter().any(|it| it.received.number == *wanted.end()));
                        let page = ahead.page(number..=last.max(number), size).await?;
                        self.account_mut().note(&page.received);
                        page
                    }
                }
            };
            self.enter(page, &mut parked, lane).await?;
        }
        Ok(())
    }

    /// Enters a page, or keeps it for later and looks for the place behind the cursor first.
    async fn enter(&mut self, page: Page, parked: &mut Vec<Page>, lane: &Lane) -> Result<(), SyncError> {
        match self.account_mut().enter(&page.received) {
            Ok(Step::Entered) => self.keep(page).await?,
            Ok(Step::Stale) => {}
            Ok(Step::Seek) => {
                parked.push(page);
                self.find_place(lane).await?;
            }
            Err(fault) => self.walked.fault = Some(fault),
        }
        Ok(())
    }

    async fn find_place(&mut self, lane: &Lane) -> Result<(), SyncError> {
        let mut seek = self.account_mut().seek();
        let size = self.account().reading().page_size();
        let mut answers: Vec<Page> = Vec::new();
        loop {
            let page = lane.page(seek.page(), size).await?;
            self.account_mut().note(&page.received);
            let answered = seek.answered(&page.received);
            answers.push(page);
            match answered {
                Ok(None) => {}
                Ok(Some(found)) => {
                    self.account_mut().anchor(&found);
                    let arrived = found.page.arrived;
                    let page = answers.into_iter().find(|page| page.received.arrived == arrived);
                    return match page {
                        Some(page) => self.keep(page).await,
                        None => Ok(()),
                    };
                }
                Err(fault) => {
                    self.walked.fault = Some(fault);
                    return Ok(());
                }
            }
        }
    }

    /// The last page of the list as it stands now: the tickets that are created from now on are beyond.
    /// What is entered is asked for after it, so that everything received stood in it or came later.
    async fn find_top(&mut self, lane: &Lane) -> Result<Option<Page>, SyncError> {
        for _ in 0..TOPS_MAX {
            let reading = self.account().reading();
            let page = lane.page(reading.last_page(), reading.page_size()).await?;
            self.account_mut().note(&page.received);
            if self.account_mut().set_top(&page.received) {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// A page that was fetched before its turn, unless the list has moved since.
    fn take_parked(&self, parked: &mut Vec<Page>, number: u32) -> Option<Page> {
        let latest = self.account().reading().latest_count();
        parked.retain(|page| number <= page.received.number && page.received.record_count == latest);
        let place = parked.iter().position(|page| page.received.number == number)?;
        Some(parked.swap_remove(place))
    }

    /// Asks whether the count tells the truth about where the list ends. Servers differ in how they
    /// answer such a page (`halo-api.md` §2.1); that they refuse it says the same as an empty one.
    async fn look_beyond(&mut self, lane: &Lane, number: u32) -> Result<(), SyncError> {
        let page = match lane.page(number, self.account().reading().page_size()).await {
            Ok(page) => page,
            Err(HaloError::Refused { .. } | HaloError::Unreadable(_) | HaloError::Unavailable { .. }) => {
                self.account_mut().end();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.account_mut().note(&page.received);
        self.account_mut().enter_beyond(&page.received);
        self.keep(page).await
    }

    /// Puts the rows of an entered page to those that are stored next.
    async fn keep(&mut self, page: Page) -> Result<(), SyncError> {
        if page.repaired != 0 {
            let places = page.repaired;
            tracing::warn!(
                places,
                "an answer was repaired in {places} places: not everything was UTF-8 text"
            );
        }
        let account = self.account();
        self.pass.progress.received(account.rows(), account.reading().latest_count());
        if self.pass.settings.batch_rows <= self.walked.rest.sightings.len() {
            self.store().await?;
        }
        self.rest_ids.extend(page.received.tickets.iter().map(|(id, _)| id.cast_unsigned()));
        self.place.cursor = self.account().reading().cursor();
        self.walked.unexplained.add(page.unexplained);
        self.walked.outside.extend(page.outside);
        self.walked.rest.sightings.extend(page.batch.sightings);
        self.walked.rest.strays.extend(page.batch.strays);
        Ok(())
    }

    /// Hands what was kept to the writer.
    async fn store(&mut self) -> Result<(), SyncError> {
        let batch = std::mem::take(&mut self.walked.rest);
        let ids = std::mem::take(&mut self.rest_ids);
        // Where the order is ignored, or the list is read again, there is no place to go on from.
        let kept = self.plan.walk == Walk::Full && !self.pass.settings.dry_run;
        let goes_on = kept && self.account().readings() == 1;
        let place = self.place.cursor.filter(|_| goes_on).map(|cursor| Place {
            cursor: Some(cursor),
            begun_at: self.walked.start,
            ids,
            part: self.place.part,
            older: RoaringTreemap::new(),
        });
        self.writer.store(batch, figures(&self.walked.accounts), place).await?;
        if self.plan.yields && self.pass.settings.schedule.follow_every <= self.followed.elapsed() {
            self.writer.wait().await?;
            let tally = std::mem::take(&mut self.writer.tally);
            self.writer.tally = Box::pin(self.pass.follow_meanwhile(&self.plan.mapping, tally)).await?;
            self.followed = Instant::now();
        }
        Ok(())
    }

    async fn end(mut self) -> Result<Walked, SyncError> {
        self.writer.wait().await?;
        let rows: u64 = self.walked.accounts.iter().map(Account::rows).sum();
        self.walked.tally = self.writer.tally;
        self.walked.tally.received += rows;
        self.walked.older = self.writer.older;
        Ok(self.walked)
    }

    fn account(&self) -> &Account {
        self.walked.accounts.last().unwrap_or_else(|| unreachable!("an account for each list"))
    }

    fn account_mut(&mut self) -> &mut Account {
        self.walked.accounts.last_mut().unwrap_or_else(|| unreachable!("an account for each list"))
    }
}
