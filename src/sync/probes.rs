//! What is known about the server's behavior, and which lists hold all tickets.
//!
//! Nobody has established whether the plain list holds closed tickets (`halo-api.md` §2.5), nor what the date filter means
//! (`date_filter`). The decisions are pure; the probes are few, run before their results are relied on, weekly, and when the
//! canary is missing.

use std::time::Duration;

use chrono::TimeDelta;

use super::SyncError;
use super::context::RunContext;
use super::probe_results;
use crate::halo::{Coverage, Filter, ListPage, ListQuery};
use crate::store::{Probe, StoreError};
use crate::ticket::{FieldSearch, Ticket, Timestamp};
use crate::watermark::DateFilterBehavior;

/// How long a result is relied on.
pub(super) const VALID_FOR: TimeDelta = TimeDelta::days(7);

/// A step of the server's clock that a full scan answered is not answered by another one for so long.
const CLOCK_STEP_VALID_FOR: Duration = Duration::from_hours(24);

/// Rows requested from a list that is only counted: more than one, so that a row that cannot be read does not hide the
/// count.
const COUNT_PAGE_SIZE: u32 = 10;

/// Attempts to get a count from a list that does not report it.
const COUNT_ATTEMPTS_MAX: u32 = 3;

/// Rows that take more memory, in bytes, are not kept while other lists are counted.
const KEPT_ROWS_MAX: usize = 4 << 20;

/// Which lists together hold all tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum ListCoverage {
    /// The plain list.
    Plain,
    /// The lists of open and of closed tickets: the plain list leaves some out.
    OpenAndClosed,
}

impl ListCoverage {
    /// Its text in `server_probes.result`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The lists to read for these ticket types, with a lower bound or without.
    #[must_use]
    pub fn filters(self, types: &[i64], from: Option<Timestamp>) -> Vec<Filter> {
        let coverages: &[Coverage] = match self {
            ListCoverage::Plain => &[Coverage::Plain],
            ListCoverage::OpenAndClosed => &[Coverage::Open, Coverage::Closed],
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

/// What a list reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListSummary {
    /// Its count.
    pub count: Option<u64>,
    /// The id of its first ticket.
    pub first_id: Option<i64>,
}

/// Compares the counts of the plain, the open and the closed list. A server that does not know the parameters returns the
/// same list three times.
#[must_use]
pub fn decide_list_coverage(plain: ListSummary, open: ListSummary, closed: ListSummary) -> ListCoverage {
    let parameters_ignored = open == closed && open.first_id.is_some();
    match (plain.count, open.count, closed.count) {
        (Some(plain), Some(open), Some(closed)) if plain < open + closed && !parameters_ignored => {
            ListCoverage::OpenAndClosed
        }
        _ => ListCoverage::Plain,
    }
}

/// The first page of a list that was fetched before the scan.
pub(super) struct FirstPage {
    pub(super) response: ListPage,
    /// The number of tickets on which the counts of other lists agree.
    pub(super) cross_checked_count: Option<u64>,
}

fn summarize(list_page: &ListPage) -> ListSummary {
    ListSummary {
        count: list_page.list.record_count,
        first_id: list_page.list.tickets.first().map(Ticket::id),
    }
}

/// How the date filter works, as far as is known.
pub(super) fn date_filter(context: &RunContext) -> Result<DateFilterBehavior, StoreError> {
    let stored = context.store.lock().read(|tx| tx.probe(Probe::DateFilter))?;
    stored.map_or(Ok(DateFilterBehavior::Unknown), |it| it.parse_result())
}

/// Which lists are to be read, as far as is known.
pub(super) fn list_coverage(context: &RunContext) -> Result<ListCoverage, StoreError> {
    let stored = context.store.lock().read(|tx| tx.probe(Probe::ListCoverage))?;
    stored.map_or(Ok(ListCoverage::Plain), |it| it.parse_result())
}

/// By how much the clocks of the server's nodes differ, as far as is known: incremental scans ask that much further back.
pub(super) fn clock_difference(context: &RunContext) -> Result<TimeDelta, StoreError> {
    let stored = context.store.lock().read(|tx| tx.probe(Probe::ClockDifference))?;
    stored.map_or(Ok(TimeDelta::zero()), |it| it.parse_result().map(TimeDelta::seconds))
}

/// The same, where a full scan has answered such a step within the last day: then it is no step of the clock.
pub(super) fn recent_clock_difference(context: &RunContext) -> Result<TimeDelta, SyncError> {
    let is_old = probe_results::is_older_than(context, Probe::ClockDifference, CLOCK_STEP_VALID_FOR)?;
    Ok(if is_old { TimeDelta::zero() } else { clock_difference(context)? })
}

/// Whether the plain, the open and the closed list are all empty, twice each. An empty list is the most likely wrong answer
/// of all: one is not believed.
pub(super) async fn is_list_empty(context: &RunContext) -> Result<bool, SyncError> {
    for _ in 0..2 {
        for coverage in [Coverage::Plain, Coverage::Open, Coverage::Closed] {
            let page =
                context.halo.fetch_page(&whole_list(context, coverage).into(), 1, COUNT_PAGE_SIZE).await?;
            if page.list.record_count != Some(0) || page.list.rows_received != 0 || page.meta.is_aged() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Whether a probe is due: it has no result, an unknown one, or an old one.
pub(super) fn is_due(context: &RunContext, probe: Probe) -> Result<bool, StoreError> {
    let stored = context.store.lock().read(|tx| tx.probe(probe))?;
    let now = context.now();
    let fresh = stored.is_some_and(|it| {
        it.result != DateFilterBehavior::Unknown.as_str() && now.is_within(VALID_FOR, it.probed_at)
    });
    Ok(!fresh)
}

/// Finds out which lists hold all tickets. If the plain list does, returns its first page, requested with these custom
/// fields.
pub(super) async fn probe_list_coverage(
    context: &RunContext,
    fields: Vec<i64>,
) -> Result<Option<FirstPage>, SyncError> {
    let query = ListQuery { filter: whole_list(context, Coverage::Plain), fields };
    let page_size = context.settings.page_size;
    let plain_page = page_with_count(context, &query, page_size, FieldSearch::On).await?;
    let mut summaries = vec![summarize(&plain_page)];
    // Large rows would take the memory of the next responses; they are requested again.
    let plain_page = Some(plain_page).filter(|page| page.memory.bytes() <= KEPT_ROWS_MAX);
    for coverage in [Coverage::Open, Coverage::Closed] {
        let query = whole_list(context, coverage).into();
        let page = page_with_count(context, &query, COUNT_PAGE_SIZE, FieldSearch::Off).await?;
        summaries.push(summarize(&page));
    }
    let coverage = decide_list_coverage(summaries[0], summaries[1], summaries[2]);
    let count = |summary: ListSummary| summary.count.map_or("?".to_owned(), |count| count.to_string());
    let [plain, open, closed] = [summaries[0], summaries[1], summaries[2]].map(count);
    let details = format!("{plain} in the plain list, {open} open, {closed} closed");
    if summaries.iter().all(|summary| summary.count.is_some()) {
        probe_results::record(context, Probe::ListCoverage, coverage.as_str(), Some(details)).await?;
    }
    let sum = summaries[1].count.zip(summaries[2].count).map(|(open, closed)| open + closed);
    let cross_checked_count = summaries[0].count.filter(|count| sum == Some(*count));
    if coverage != ListCoverage::Plain {
        return Ok(None);
    }
    let response = match plain_page {
        Some(page) => page,
        None => page_with_count(context, &query, page_size, FieldSearch::On).await?,
    };
    Ok(Some(FirstPage { response, cross_checked_count }))
}

/// Every ticket in the scope, as far as this list covers it.
pub(super) fn whole_list(context: &RunContext, coverage: Coverage) -> Filter {
    Filter::All { types: context.settings.scope.ticket_types.clone(), coverage }
}

/// The first page of a list. If it comes without a count, it is requested again: it matters whether that was an accident
/// or the server never counts.
async fn page_with_count(
    context: &RunContext,
    query: &ListQuery,
    size: u32,
    search: FieldSearch,
) -> Result<ListPage, SyncError> {
    for _ in 1..COUNT_ATTEMPTS_MAX {
        let page = context.halo.fetch_page_and_search(query, 1, size, search).await?;
        if page.list.record_count.is_some() {
            return Ok(page);
        }
    }
    Ok(context.halo.fetch_page_and_search(query, 1, size, search).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_list_is_enough_unless_open_and_closed_tickets_are_more() {
        for (name, plain, open, closed, expected) in [
            ("all", (Some(10), Some(1)), (Some(4), Some(2)), (Some(6), Some(1)), ListCoverage::Plain),
            (
                "a ticket closed meanwhile",
                (Some(10), Some(1)),
                (Some(4), Some(2)),
                (Some(5), Some(1)),
                ListCoverage::Plain,
            ),
            (
                "open ones only",
                (Some(4), Some(2)),
                (Some(4), Some(2)),
                (Some(6), Some(1)),
                ListCoverage::OpenAndClosed,
            ),
            (
                "parameters unknown",
                (Some(10), Some(1)),
                (Some(10), Some(1)),
                (Some(10), Some(1)),
                ListCoverage::Plain,
            ),
            ("no counts", (Some(10), Some(1)), (None, Some(2)), (Some(6), Some(1)), ListCoverage::Plain),
            ("nothing", (Some(0), None), (Some(0), None), (Some(0), None), ListCoverage::Plain),
        ] {
            let [plain, open, closed] =
                [plain, open, closed].map(|(count, first_id)| ListSummary { count, first_id });
            assert_eq!(decide_list_coverage(plain, open, closed), expected, "{name}");
        }
    }
}
