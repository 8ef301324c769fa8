//! What the server does with what it is asked: found out by asking, and stored with the time.
//!
//! Nobody has established whether the date filter is inclusive or in which zone it is read, nor whether
//! the plain list holds closed tickets (`halo-api.md` §2.4, §2.5). The decisions are pure; the
//! questions are few and asked before the answers are relied on, weekly, and when a ticket that must
//! come back does not.

use chrono::TimeDelta;

use super::SyncError;
use super::pass::Pass;
use crate::halo::{Coverage, Filter, ListQuery, Listed};
use crate::store::StoreError;
use crate::ticket::{Stamp, Ticket};
use crate::watermark::{DateFilter, ZONES};

pub(super) const DATE_FILTER: &str = "date_filter";
pub(super) const LIST_COVERAGE: &str = "list_coverage";

/// How long a verdict is relied on.
pub(super) const VALID: TimeDelta = TimeDelta::days(7);

/// Rows asked for of a list that is only counted: more than one, so that a row that cannot be read does
/// not hide the count.
const ROWS_TO_COUNT: u32 = 10;

/// How often a list that does not tell its count is asked for it.
const COUNTS_MAX: u32 = 3;

/// So many pages are looked through for one ticket.
const PAGES_MAX: u32 = 10;

/// Where the lower bound of a question lies, from the stamp of a known ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// At the stamp.
    At,
    /// Just behind it.
    After,
    /// Behind it in every zone.
    FarAfter,
    /// Just before it.
    Before,
    /// Before it in every zone.
    FarBefore,
}

impl Bound {
    /// How far from the stamp. A server that keeps whole seconds must not count the next one as this.
    #[must_use]
    pub const fn offset(self) -> TimeDelta {
        match self {
            Bound::At => TimeDelta::zero(),
            Bound::After => TimeDelta::seconds(1),
            Bound::FarAfter => ZONES,
            Bound::Before => TimeDelta::seconds(-1),
            Bound::FarBefore => TimeDelta::hours(-ZONES.num_hours()),
        }
    }
}

/// Whether the known ticket is in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It is, with the same stamp.
    Shown,
    /// It is not.
    Absent,
    /// It has changed since, or the answer is too long to tell.
    Unclear,
}

/// What to ask next, or what it all says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// Ask with this bound.
    Ask(Bound),
    /// That is how the filter works.
    Decided(DateFilter),
}

/// Decides after the answers so far, in the order in which they were asked for.
#[must_use]
pub fn inquire(answers: &[Sight]) -> Inquiry {
    use Sight::{Absent, Shown, Unclear};
    match answers {
        [] => Inquiry::Ask(Bound::At),
        [Shown] => Inquiry::Ask(Bound::After),
        [Shown, Absent] => Inquiry::Decided(DateFilter::Inclusive),
        [Shown, Shown] => Inquiry::Ask(Bound::FarAfter),
        [Shown, Shown, Absent] => Inquiry::Decided(DateFilter::Early),
        [Shown, Shown, Shown] => Inquiry::Decided(DateFilter::Ignored),
        [Absent] => Inquiry::Ask(Bound::Before),
        [Absent, Shown] => Inquiry::Decided(DateFilter::Exclusive),
        [Absent, Absent] => Inquiry::Ask(Bound::FarBefore),
        [Absent, Absent, Shown] => Inquiry::Decided(DateFilter::Late),
        [.., Unclear | Absent | Shown] => Inquiry::Decided(DateFilter::Unknown),
    }
}

/// Which lists hold all tickets together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// The plain list does.
    Plain,
    /// It leaves some out: those of the open and of the closed tickets do.
    OpenAndClosed,
}

impl Lists {
    /// Its word in `calibrations.verdict`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Lists::Plain => "plain",
            Lists::OpenAndClosed => "open_and_closed",
        }
    }

    /// From its word.
    #[must_use]
    pub fn from_word(word: &str) -> Lists {
        if word == Lists::OpenAndClosed.word() { Lists::OpenAndClosed } else { Lists::Plain }
    }

    /// The lists to read for these types, with a lower bound or without.
    #[must_use]
    pub fn filters(self, types: &[i64], from: Option<Stamp>) -> Vec<Filter> {
        let coverages: &[Coverage] = match self {
            Lists::Plain => &[Coverage::Plain],
            Lists::OpenAndClosed => &[Coverage::Open, Coverage::Closed],
        };
        let filter = |coverage: &Coverage| {
            let (types, coverage) = (types.to_vec(), *coverage);
            match from {
                None => Filter::All { types, coverage },
                Some(from) => Filter::UpdatedFrom { types, from, coverage },
            }
        };
        coverages.iter().map(filter).collect()
    }
}

/// What one list says of itself: its count, and its first ticket.
pub type Told = (Option<u64>, Option<i64>);

/// Compares the counts of the plain, the open and the closed list. A server that does not know the
/// parameters gives the same list three times.
#[must_use]
pub fn lists(plain: Told, open: Told, closed: Told) -> Lists {
    let ignored = open == closed && open.1.is_some();
    match (plain.0, open.0, closed.0) {
        (Some(plain), Some(open), Some(closed)) if plain < open + closed && !ignored => Lists::OpenAndClosed,
        _ => Lists::Plain,
    }
}

/// The first page of a list that was asked for already.
pub(super) struct FirstPage {
    pub(super) listed: Listed,
    /// How many tickets there are by what other lists count.
    pub(super) agreed: Option<u64>,
}

fn tell(listed: &Listed) -> Told {
    (listed.list.record_count, listed.list.tickets.first().map(Ticket::id))
}

impl Pass {
    /// How the date filter works, as far as is known.
    pub(super) fn date_filter(&self) -> Result<DateFilter, StoreError> {
        let verdict = self.store.lock().read(|snapshot| snapshot.verdict(DATE_FILTER))?;
        Ok(verdict.map_or(DateFilter::Unknown, |it| DateFilter::from_word(&it.verdict)))
    }

    /// Which lists are to be read, as far as is known.
    pub(super) fn lists(&self) -> Result<Lists, StoreError> {
        let verdict = self.store.lock().read(|snapshot| snapshot.verdict(LIST_COVERAGE))?;
        Ok(verdict.map_or(Lists::Plain, |it| Lists::from_word(&it.verdict)))
    }

    /// Whether a question is to be asked (again).
    pub(super) fn is_open(&self, question: &str) -> Result<bool, StoreError> {
        let verdict = self.store.lock().read(|snapshot| snapshot.verdict(question))?;
        let now = (self.wall)();
        let fresh = verdict.is_some_and(|it| {
            it.verdict != DateFilter::Unknown.word()
                && (now.instant() - it.decided_at.instant()).abs() < VALID
        });
        Ok(!fresh)
    }

    /// Finds out how the date filter works by a ticket whose stamp is known.
    pub(super) async fn calibrate_filter(&self, id: i64, stamp: Stamp) -> Result<DateFilter, SyncError> {
        let mut answers = Vec::new();
        let verdict = loop {
            match inquire(&answers) {
                Inquiry::Ask(bound) => answers.push(self.look_for(id, stamp, bound).await?),
                Inquiry::Decided(verdict) => break verdict,
            }
        };
        let details = format!("asked {} times about ticket {id}, updated {stamp}", answers.len());
        self.keep_verdict(DATE_FILTER, verdict.word(), Some(details)).await?;
        let word = verdict.word();
        tracing::info!(verdict = word, "the date filter of the server: {word}");
        Ok(verdict)
    }

    async fn look_for(&self, id: i64, stamp: Stamp, bound: Bound) -> Result<Sight, SyncError> {
        let from = stamp.minus(-bound.offset());
        let (mut received, size) = (0, self.settings.page_size);
        let lists = self.lists()?.filters(&self.settings.scope.ticket_types, Some(from));
        for query in &lists.into_iter().map(ListQuery::from).collect::<Vec<_>>() {
            for number in 1..=PAGES_MAX {
                let list = self.halo.page(query, number, size).await?.list;
                if let Some(ticket) = list.tickets.iter().find(|ticket| ticket.id() == id) {
                    let same = ticket.last_update() == Some(stamp);
                    return Ok(if same { Sight::Shown } else { Sight::Unclear });
                }
                received += list.received as u64;
                if list.received == 0 || list.record_count.is_some_and(|count| count <= received) {
                    break;
                }
                if number == PAGES_MAX {
                    return Ok(Sight::Unclear);
                }
            }
            received = 0;
        }
        Ok(Sight::Absent)
    }

    /// Finds out which lists hold all tickets; gives the first page of the plain one, where that does,
    /// with these custom fields and the count that the others agree on.
    pub(super) async fn calibrate_lists(&self, fields: Vec<i64>) -> Result<Option<FirstPage>, SyncError> {
        let query = ListQuery { filter: self.whole_list(Coverage::Plain), fields };
        let plain = self.counted_page(&query, self.settings.page_size).await?;
        let mut told = vec![tell(&plain)];
        for coverage in [Coverage::Open, Coverage::Closed] {
            told.push(tell(&self.counted_page(&self.whole_list(coverage).into(), ROWS_TO_COUNT).await?));
        }
        let verdict = lists(told[0], told[1], told[2]);
        let count = |told: Told| told.0.map_or("?".to_owned(), |count| count.to_string());
        let [all, open, closed] = [told[0], told[1], told[2]].map(count);
        let details = format!("{all} in the plain list, {open} open, {closed} closed");
        if told.iter().all(|(count, _)| count.is_some()) {
            self.keep_verdict(LIST_COVERAGE, verdict.word(), Some(details)).await?;
        }
        let sum = told[1].0.zip(told[2].0).map(|(open, closed)| open + closed);
        let agreed = told[0].0.filter(|count| sum == Some(*count));
        Ok((verdict == Lists::Plain).then_some(FirstPage { listed: plain, agreed }))
    }

    /// Everything in the scope, as far as the list covers it.
    pub(super) fn whole_list(&self, coverage: Coverage) -> Filter {
        Filter::All { types: self.settings.scope.ticket_types.clone(), coverage }
    }

    /// The first page of a list. Where it comes without a count it is asked for again: whether that is a
    /// fault or the way of the server decides about what is read.
    async fn counted_page(&self, query: &ListQuery, size: u32) -> Result<Listed, SyncError> {
        let mut page = self.halo.page(query, 1, size).await?;
        for _ in 1..COUNTS_MAX {
            if page.list.record_count.is_some() {
                break;
            }
            page = self.halo.page(query, 1, size).await?;
        }
        Ok(page)
    }

    pub(super) async fn keep_verdict(
        &self,
        question: &'static str,
        verdict: &'static str,
        details: Option<String>,
    ) -> Result<(), SyncError> {
        let now = (self.wall)();
        let fate = self.fate();
        self.store
            .work(move |store| {
                store.write(fate, |writing| writing.set_verdict(question, verdict, details.as_deref(), now))
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that shows what was updated at or after its own reading of the bound.
    fn verdict(shows: impl Fn(TimeDelta) -> Sight) -> (DateFilter, usize) {
        let mut answers = Vec::new();
        loop {
            match inquire(&answers) {
                Inquiry::Ask(bound) => answers.push(shows(bound.offset())),
                Inquiry::Decided(verdict) => return (verdict, answers.len()),
            }
        }
    }

    #[test]
    fn the_filter_is_known_by_its_answers_in_every_zone() {
        let sight = |shown| if shown { Sight::Shown } else { Sight::Absent };
        for minutes in (-12 * 60..=14 * 60).step_by(15) {
            let shift = TimeDelta::minutes(minutes);
            let expected = match minutes {
                0 => DateFilter::Inclusive,
                ..0 => DateFilter::Early,
                _ => DateFilter::Late,
            };
            let (found, asked) = verdict(|offset| sight(offset + shift <= TimeDelta::zero()));
            assert_eq!(found, expected, "{minutes} minutes");
            assert!(asked <= 3);
        }
        assert_eq!(verdict(|offset| sight(offset < TimeDelta::zero())), (DateFilter::Exclusive, 2));
        assert_eq!(verdict(|_| Sight::Shown), (DateFilter::Ignored, 3));
        assert_eq!(verdict(|_| Sight::Absent), (DateFilter::Unknown, 3));
        assert_eq!(verdict(|_| Sight::Unclear), (DateFilter::Unknown, 1));
    }

    #[test]
    fn the_plain_list_is_enough_unless_open_and_closed_tickets_are_more() {
        for (name, plain, open, closed, expected) in [
            ("all", (Some(10), Some(1)), (Some(4), Some(2)), (Some(6), Some(1)), Lists::Plain),
            (
                "a ticket closed meanwhile",
                (Some(10), Some(1)),
                (Some(4), Some(2)),
                (Some(5), Some(1)),
                Lists::Plain,
            ),
            (
                "open ones only",
                (Some(4), Some(2)),
                (Some(4), Some(2)),
                (Some(6), Some(1)),
                Lists::OpenAndClosed,
            ),
            (
                "parameters unknown",
                (Some(10), Some(1)),
                (Some(10), Some(1)),
                (Some(10), Some(1)),
                Lists::Plain,
            ),
            ("no counts", (Some(10), Some(1)), (None, Some(2)), (Some(6), Some(1)), Lists::Plain),
            ("nothing", (Some(0), None), (Some(0), None), (Some(0), None), Lists::Plain),
        ] {
            assert_eq!(lists(plain, open, closed), expected, "{name}");
        }
    }
}
