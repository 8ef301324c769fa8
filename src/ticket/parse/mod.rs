//! Parses the body of a response into tickets, in one pass over the JSON.
//!
//! Unknown properties are skipped, absent ones are NULL, and no row is lost: a value that no rule of
//! `ticket::conversion` takes becomes a [`RejectedValue`], a row without a usable id a [`RejectedRow`]. Only a page with
//! such values is passed over once more, for their texts. A document that is not valid JSON is repaired
//! (`ticket::repair`) and parsed again.

mod envelope;

use std::collections::{HashMap, HashSet};

pub use super::cut_row::{CutRow, read_cut_row};
pub use super::document::ParseError;
pub use super::list::{ParsedItems, parse_list};

use super::document::{parse_document, parse_with_seed};
use super::row::{TicketSeed, resolve_row};
use super::value::RejectedValue;
use super::{CustomField, ExtraSet, FieldSearch, Ticket, Timestamp, UnmappedFields, custom_field};

/// The most rows of one page. The API returns at most 1,000 (`count`); with more, the page is not what was requested.
pub const ROWS_PER_PAGE_MAX: usize = 1_000;

/// One response of the ticket list.
#[derive(Debug, Default)]
pub struct ParsedPage {
    /// Total that the server reports for the filter; `None` if missing or not a count.
    pub record_count: Option<u64>,
    /// Tickets in the order received, one for each id (see [`ParsedPage::parse`]).
    pub tickets: Vec<Ticket>,
    /// Rows that are not tickets.
    pub rejected_rows: Vec<RejectedRow>,
    /// Tickets whose row could not be read, each once; none of them is in `tickets`.
    pub unreadable: Vec<UnreadableTicket>,
    /// Number of rows received, including duplicates and rejected rows.
    pub rows_received: usize,
    /// Number of places repaired to U+FFFD.
    pub repaired: usize,
    /// Whether it was requested in parts.
    pub was_split: bool,
    /// Whether the count fell between two parts: then a row between them may be missing.
    pub count_fell: bool,
    /// The properties that no mapping knows; `None` where they were not looked for.
    pub unmapped: Option<UnmappedFields>,
}

/// A row that is not a ticket, for it has no usable id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRow {
    /// The reason, and the row as JSON.
    pub rejected: RejectedValue,
    /// The id of the ticket before it on its page.
    pub after_id: Option<i64>,
}

/// A ticket whose id can be told, but whose row cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableTicket {
    /// Its id.
    pub id: i64,
    /// Why its row cannot be read.
    pub reason: UnreadableReason,
}

/// Why the row of a ticket cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadableReason {
    /// It cannot be parsed.
    Invalid,
    /// It is too large.
    TooLarge,
    /// There was no memory for it beside other rows; alone it may be readable.
    Deferred,
}

impl ParsedPage {
    /// Parses a response of `GET /api/tickets` (`halo-api.md` §2.3).
    ///
    /// Of several rows with the same id the one with the latest `last_update` is kept, of equal ones the one with the
    /// greatest hash, so that the same rows in any order always give the same tickets.
    ///
    /// # Errors
    /// A response without an array `tickets` is an error, never an empty list; so is one with more than
    /// [`ROWS_PER_PAGE_MAX`] rows.
    pub fn parse(bytes: &[u8]) -> Result<ParsedPage, ParseError> {
        ParsedPage::parse_and_search(bytes, FieldSearch::Off)
    }

    /// The same, with a search for unmapped fields in all rows.
    ///
    /// # Errors
    /// As for [`ParsedPage::parse`].
    pub fn parse_and_search(bytes: &[u8], search: FieldSearch) -> Result<ParsedPage, ParseError> {
        let mut page = envelope::parse(bytes, search)?;
        if !page.tickets.is_sorted_by(|left, right| left.id < right.id) {
            page.tickets = dedup_tickets(page.tickets);
        }
        Ok(page)
    }

    /// What one row carries, the response carries: where another row lacks it, it is NULL.
    fn share_shown_extras(&mut self) {
        let shown = self.tickets.iter().fold(ExtraSet::default(), |set, it| set.union(it.shown_extras));
        for ticket in &mut self.tickets {
            ticket.shown_extras = shown;
        }
    }

    /// Adds the next part of the page, which was requested in parts. A count that fell between two parts hid a row at their
    /// boundary: the highest one shows that something is missing.
    pub fn append(&mut self, part: ParsedPage) {
        let before = self.tickets.last().map(Ticket::id);
        self.add_count(part.record_count);
        self.rows_received += part.rows_received;
        self.repaired += part.repaired;
        self.rejected_rows.extend(
            part.rejected_rows.into_iter().map(|rejected_row| RejectedRow {
                after_id: rejected_row.after_id.or(before),
                ..rejected_row
            }),
        );
        self.unreadable.extend(part.unreadable);
        if let Some(unmapped) = part.unmapped {
            self.unmapped.get_or_insert_default().merge(&unmapped);
        }
        self.tickets.extend(part.tickets);
        if !self.tickets.is_sorted_by(|left, right| left.id < right.id) {
            self.tickets = dedup_tickets(std::mem::take(&mut self.tickets));
        }
        self.settle_unreadable();
    }

    /// Takes the count of a part.
    pub fn add_count(&mut self, count: Option<u64>) {
        self.count_fell |= count.is_some() && count < self.record_count;
        self.record_count = self.record_count.max(count);
    }

    /// Adds a row that could not be read, of a ticket whose id can be told.
    pub fn add_unreadable(&mut self, ticket: UnreadableTicket) {
        self.rows_received += 1;
        self.unreadable.push(ticket);
        self.settle_unreadable();
    }

    /// A ticket that another row shows readable is not unreadable.
    fn settle_unreadable(&mut self) {
        if self.unreadable.is_empty() {
            return;
        }
        let mut known: HashSet<i64> = self.tickets.iter().map(Ticket::id).collect();
        self.unreadable.retain(|it| known.insert(it.id));
    }

    /// Adds the custom fields of another response to the same list request, which asked for other fields.
    /// Where `other` does not have the same version of a ticket, its custom fields are marked unreadable.
    pub fn merge_custom_fields(&mut self, other: ParsedPage) {
        self.repaired += other.repaired;
        let mut others: HashMap<i64, Ticket> = other.tickets.into_iter().map(|it| (it.id(), it)).collect();
        for ticket in &mut self.tickets {
            let other = others.remove(&ticket.id()).filter(|it| it.last_update() == ticket.last_update());
            let Some(mut other) =
                other.filter(|other| !other.custom_fields_unreadable && !ticket.custom_fields_unreadable)
            else {
                (ticket.custom_fields, ticket.custom_fields_unreadable) = (None, true);
                continue;
            };
            ticket.custom_fields = match (ticket.custom_fields.take(), other.take_custom_fields()) {
                (Some(one), Some(other)) => Some(one.merged_with(other)),
                // Servers may leave out empty fields.
                (one, other) => one.or(other),
            };
        }
    }
}

/// Parses a response of `GET /api/tickets/{id}`: the bare object (`halo-api.md` §3).
///
/// # Errors
/// Anything but one object with a usable id is an error.
pub fn parse_ticket(bytes: &[u8]) -> Result<Ticket, ParseError> {
    Ok(parse_ticket_and_search(bytes, FieldSearch::Off)?.0)
}

/// The same, with a search for unmapped fields.
///
/// # Errors
/// As for [`parse_ticket`].
pub fn parse_ticket_and_search(
    bytes: &[u8],
    search: FieldSearch,
) -> Result<(Ticket, Option<UnmappedFields>), ParseError> {
    let expected = "a ticket";
    let parse = |text: &str| {
        let mut seed = TicketSeed::new(search);
        let row = parse_with_seed(text, &mut seed)?;
        Ok((row, seed.unmapped))
    };
    let document = parse_document(bytes, expected, parse)?;
    let (row, unmapped) = document.value;
    let mut row = row.map_err(|_| ParseError::UnexpectedShape { expected })?;
    if !row.unresolved.is_empty() {
        resolve_row(&document.text, &mut row.ticket, &row.unresolved, &mut 0).map_err(ParseError::NotJson)?;
    }
    Ok((row.ticket, unmapped))
}

/// Parses a response of `/api/FieldInfo`: the definitions of the custom fields of tickets, in the same
/// shape as statuses (`halo-api.md` §8). Rows without an id are skipped.
pub fn parse_field_definitions(bytes: &[u8]) -> Result<Vec<CustomField>, ParseError> {
    let list = parse_list(bytes, "a list of field definitions", &[], custom_field::parse_definition)?;
    Ok(list.items)
}

/// Keeps one ticket for each id; see [`ParsedPage::parse`].
fn dedup_tickets(tickets: Vec<Ticket>) -> Vec<Ticket> {
    let mut positions: HashMap<i64, usize> = HashMap::with_capacity(tickets.len());
    let mut kept: Vec<Ticket> = Vec::with_capacity(tickets.len());
    for ticket in tickets {
        match positions.get(&ticket.id()) {
            Some(&position) if rank(&kept[position]) < rank(&ticket) => kept[position] = ticket,
            Some(_) => {}
            None => {
                positions.insert(ticket.id(), kept.len());
                kept.push(ticket);
            }
        }
    }
    kept
}

/// Of two rows of one id the one with the greater rank counts.
fn rank(ticket: &Ticket) -> (Option<Timestamp>, u64, u64, Option<u64>) {
    let custom_fields = ticket.custom_fields().map(super::CustomFields::hash);
    (ticket.last_update(), ticket.hash(), ticket.received_hash(), custom_fields)
}

#[cfg(test)]
mod tests;
