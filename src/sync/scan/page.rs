//! A page of the list: what it says about the list, and the rows of it that can be stored.

use crate::store::ObservedTicket;
use crate::ticket::Timestamp;
use crate::ticket::parse::{ParsedPage, RejectedRow};

use super::super::row_intake::MissingNames;

/// One response to a request for a page.
#[derive(Debug, Default)]
pub struct Page {
    /// The number of the page, from 1.
    pub number: u32,
    /// The tickets in the order received, each once, with their `last_update`.
    pub tickets: Vec<(i64, Option<Timestamp>)>,
    /// Rows without a usable id; each counts as a ticket.
    pub rejected_rows: Vec<RejectedRow>,
    /// All rows, also those that repeat a ticket.
    pub rows: u64,
    /// The number of tickets that the server says the list has.
    pub record_count: Option<u64>,
    /// The position of this response in the order of arrival.
    pub arrival_no: u64,
    /// The start of the request by the server's clock.
    pub(in crate::sync) server_start: Option<Timestamp>,
    /// The tickets of the scope, ready to be stored.
    pub(in crate::sync) observed: Vec<ObservedTicket>,
    /// Listed tickets whose type is not in the scope.
    pub(in crate::sync) out_of_scope: Vec<i64>,
    pub(in crate::sync) missing_names: MissingNames,
    /// In how many places the response was no valid text and was repaired.
    pub(in crate::sync) repaired: usize,
}

impl Page {
    /// What a parsed page says about the list, before any ticket is left out: the server counts all of them.
    #[must_use]
    pub fn new(number: u32, list: &ParsedPage, arrival_no: u64) -> Page {
        Page {
            number,
            tickets: list.tickets.iter().map(|ticket| (ticket.id(), ticket.last_update())).collect(),
            rejected_rows: list.rejected_rows.clone(),
            rows: list.rows_received as u64,
            record_count: list.record_count,
            arrival_no,
            repaired: list.repaired,
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
