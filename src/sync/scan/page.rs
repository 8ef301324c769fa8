//! A page of the list: what it says about the list, and the rows of it that can be stored.

use tokio::sync::OwnedSemaphorePermit;

use crate::halo::BudgetPermit;
use crate::store::ObservedTicket;
use crate::ticket::parse::{ParsedPage, RejectedRow, UnreadableTicket};
use crate::ticket::{ExtraSet, Timestamp, UnmappedFields};

use super::super::row_intake::MissingNames;

/// One response to a request for a page.
#[derive(Debug, Default)]
pub struct Page {
    /// The number of the page, from 1.
    pub number: u32,
    /// The tickets in the order received, each once, with their `last_update`; also those that cannot be read.
    pub tickets: Vec<(i64, Option<Timestamp>)>,
    /// Rows without a usable id.
    pub rejected_rows: Vec<RejectedRow>,
    /// All rows, also those that repeat a ticket.
    pub rows: u64,
    /// The number of tickets that the server says the list has.
    pub record_count: Option<u64>,
    /// The position of this response in the order of arrival.
    pub arrival_no: u64,
    /// The start of the request by the server's clock.
    pub(in crate::sync) server_start: Option<Timestamp>,
    /// The share of the memory for responses that its rows occupy.
    pub(in crate::sync) memory: BudgetPermit,
    /// Its slot among the prefetched pages, until its rows are stored.
    pub(in crate::sync) slot: Option<OwnedSemaphorePermit>,
    /// Whether a cache answered: then the page proves nothing.
    pub(in crate::sync) is_aged: bool,
    /// Tickets whose row cannot be read.
    pub(in crate::sync) unreadable: Vec<UnreadableTicket>,
    /// The tickets of the scope, ready to be stored.
    pub(in crate::sync) observed: Vec<ObservedTicket>,
    /// Listed tickets whose type is not in the scope.
    pub(in crate::sync) out_of_scope: Vec<i64>,
    pub(in crate::sync) missing_names: MissingNames,
    /// The extras that its rows carry.
    pub(in crate::sync) shown_extras: ExtraSet,
    /// The unmapped fields of its rows, if they were looked for.
    pub(in crate::sync) unmapped: Option<UnmappedFields>,
    /// Whether it was requested in parts.
    pub(in crate::sync) was_split: bool,
    /// Whether the count fell between two parts: then a row between them may be missing.
    pub(in crate::sync) count_fell: bool,
    /// In how many places the response was no valid text and was repaired.
    pub(in crate::sync) repaired: usize,
}

impl Page {
    /// What a parsed page says about the list, before any ticket is left out: the server counts all of them.
    #[must_use]
    pub fn new(number: u32, list: &ParsedPage, arrival_no: u64) -> Page {
        let mut tickets: Vec<_> =
            list.tickets.iter().map(|ticket| (ticket.id(), ticket.last_update())).collect();
        for unreadable in &list.unreadable {
            let position = tickets.iter().position(|(id, _)| unreadable.id < *id).unwrap_or(tickets.len());
            tickets.insert(position, (unreadable.id, None));
        }
        Page {
            number,
            tickets,
            unreadable: list.unreadable.clone(),
            rejected_rows: list.rejected_rows.clone(),
            rows: list.rows_received as u64,
            record_count: list.record_count,
            arrival_no,
            repaired: list.repaired,
            shown_extras: list
                .tickets
                .iter()
                .fold(ExtraSet::default(), |set, it| set.union(it.shown_extras())),
            unmapped: list.unmapped.clone(),
            was_split: list.was_split,
            count_fell: list.count_fell,
            ..Page::default()
        }
    }

    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = i64> + Clone {
        self.tickets.iter().map(|(id, _)| *id)
    }
}

/// Why reading a list was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListReadError {
    /// A page has the same ids as the page before.
    #[error("page {0} repeats the page before it: the server ignores paging")]
    RepeatedPage(u32),
    /// A page is empty, although the server counts more tickets.
    #[error("page {0} is empty although the server counts more tickets")]
    EmptyPage(u32),
    /// The position to continue from cannot be found.
    #[error("the list changes too quickly to resume from a stable position")]
    UnstableList,
    /// It brings ever new ids.
    #[error("the list does not end: it showed {0} different tickets, more than twice as many as expected")]
    Endless(u64),
    /// It was empty, and asked again it was not.
    #[error("the server showed an empty list, but did not when it was asked again")]
    FalselyEmpty,
    /// More changed than an incremental scan should read.
    #[error("{0} tickets changed: reading the whole list instead")]
    TooManyChanges(u64),
}

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOutcome {
    /// Its tickets count as received.
    Added,
    /// It was added before and is not needed.
    AlreadyAdded,
    /// Rows may have moved to an earlier page: continue at the page on which ids pass the cursor.
    SeekNeeded,
}
