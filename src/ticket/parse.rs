//! Parses the body of a response into tickets, in one pass over the JSON.
//!
//! Unknown properties are skipped, absent ones are NULL, and no row is lost: a value that no rule of
//! `ticket::value` takes becomes a [`RejectedValue`], a row without a usable id a [`RejectedRow`]. Only a page with
//! such values is passed over once more, for their texts. A document that is not valid JSON is repaired
//! (`ticket::repair`) and parsed again.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub use super::cut_row::id_of_cut_row;
pub use super::document::ParseError;
pub use super::reference_list::{ParsedItems, ReferenceDetails, ReferenceItem, parse_reference_items};

use super::document::{parse_document, parse_with_seed};
use super::row::{TicketSeed, UnresolvedValue, resolve_row};
use super::value::RejectedValue;
use super::{CustomField, Ticket, Timestamp, custom_field, reference_list};

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
        let expected = "a list of tickets";
        let is_too_long = Cell::new(false);
        let parse = |text: &str| parse_with_seed(text, EnvelopeSeed { is_too_long: &is_too_long });
        let document = match parse_document(bytes, expected, parse) {
            Err(_) if is_too_long.get() => return Err(ParseError::TooLong { max: ROWS_PER_PAGE_MAX }),
            document => document?,
        };
        let mut draft = document.value;
        draft.page.repaired += document.repaired;
        if !draft.open_rows.is_empty() {
            let seed = EnvelopeTextSeed { draft: &mut draft };
            parse_with_seed(&document.text, seed).map_err(ParseError::NotJson)?;
        }
        let mut page = draft.page;
        if !page.tickets.is_sorted_by(|left, right| left.id < right.id) {
            page.tickets = dedup_tickets(page.tickets);
        }
        Ok(page)
    }

    /// Adds the next part of the page, which was requested in parts.
    pub fn append(&mut self, part: ParsedPage) {
        let before = self.tickets.last().map(Ticket::id);
        self.record_count = part.record_count;
        self.rows_received += part.rows_received;
        self.repaired += part.repaired;
        self.rejected_rows.extend(
            part.rejected_rows.into_iter().map(|rejected_row| RejectedRow {
                after_id: rejected_row.after_id.or(before),
                ..rejected_row
            }),
        );
        self.unreadable.extend(part.unreadable);
        self.tickets.extend(part.tickets);
        if !self.tickets.is_sorted_by(|left, right| left.id < right.id) {
            self.tickets = dedup_tickets(std::mem::take(&mut self.tickets));
        }
        self.settle_unreadable();
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
}

impl ParsedPage {}

impl ParsedPage {
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
    let expected = "a ticket";
    let parse = |text: &str| parse_with_seed(text, TicketSeed::default());
    let document = parse_document(bytes, expected, parse)?;
    let mut row = document.value.map_err(|_| ParseError::UnexpectedShape { expected })?;
    if !row.unresolved.is_empty() {
        resolve_row(&document.text, &mut row.ticket, &row.unresolved, &mut 0).map_err(ParseError::NotJson)?;
    }
    Ok(row.ticket)
}

/// Parses a response of `/api/FieldInfo`: the definitions of the custom fields of tickets, in the same
/// shape as [`parse_reference_items`] (`halo-api.md` §8). Rows without an id are skipped.
pub fn parse_field_definitions(bytes: &[u8]) -> Result<Vec<CustomField>, ParseError> {
    let list =
        reference_list::parse_list(bytes, "a list of field definitions", custom_field::parse_definition)?;
    Ok(list.items)
}

/// A page, and the rows of which something is missing that only their text shows, in the order received.
#[derive(Default)]
struct PageDraft {
    page: ParsedPage,
    open_rows: Vec<OpenRow>,
}

/// A row of which something is missing.
struct OpenRow {
    /// Its position among the rows received.
    row: usize,
    part: OpenPart,
}

/// What is missing of a row.
enum OpenPart {
    /// Values of the ticket at this index.
    Values(usize, Vec<UnresolvedValue>),
    /// The text of the rejected row at this index.
    RejectedRow(usize),
}

/// Parses the object around the rows.
struct EnvelopeSeed<'a> {
    is_too_long: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = PageDraft;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PageDraft, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    type Value = PageDraft;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object that holds an array `tickets`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut envelope: A) -> Result<PageDraft, A::Error> {
        let mut draft: Option<PageDraft> = None;
        let mut record_count = None;
        while let Some(key) = envelope.next_key::<Cow<'de, str>>()? {
            match &*key {
                "tickets" if draft.is_some() => return Err(A::Error::duplicate_field("tickets")),
                "tickets" => {
                    draft = Some(envelope.next_value_seed(RowsSeed { is_too_long: self.is_too_long })?);
                }
                "record_count" => record_count = envelope.next_value_seed(CountSeed)?,
                _ => {
                    envelope.next_value::<IgnoredAny>()?;
                }
            }
        }
        let mut draft = draft.ok_or_else(|| A::Error::missing_field("tickets"))?;
        draft.page.record_count = record_count;
        Ok(draft)
    }
}

/// Parses a count: a non-negative number, integral float or digits as text; `None` for any other value.
struct CountSeed;

impl<'de> DeserializeSeed<'de> for CountSeed {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CountSeed {
    type Value = Option<u64>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Option<u64>, E> {
        Ok(Some(count))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, count: f64) -> Result<Option<u64>, E> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok((count.fract() == 0.0 && (0.0..9e15).contains(&count)).then_some(count as u64))
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<u64>, E> {
        Ok(text.trim().parse().ok())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Option<u64>, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Option<u64>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// Parses the array of rows.
struct RowsSeed<'a> {
    is_too_long: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for RowsSeed<'_> {
    type Value = PageDraft;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PageDraft, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_> {
    type Value = PageDraft;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array of tickets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<PageDraft, A::Error> {
        let mut draft = PageDraft::default();
        let mut seed = TicketSeed::default();
        while let Some(parsed) = rows.next_element_seed(&mut seed)? {
            let PageDraft { page, open_rows } = &mut draft;
            let row = page.rows_received;
            if ROWS_PER_PAGE_MAX <= row {
                self.is_too_long.set(true);
                return Err(A::Error::custom("too many rows"));
            }
            page.rows_received += 1;
            match parsed {
                Ok(parsed) => {
                    if !parsed.unresolved.is_empty() {
                        let part = OpenPart::Values(page.tickets.len(), parsed.unresolved);
                        open_rows.push(OpenRow { row, part });
                    }
                    page.tickets.push(parsed.ticket);
                }
                Err(reason) => {
                    open_rows.push(OpenRow { row, part: OpenPart::RejectedRow(page.rejected_rows.len()) });
                    let after_id = page.tickets.last().map(Ticket::id);
                    let rejected = RejectedValue::new(reason, "");
                    page.rejected_rows.push(RejectedRow { rejected, after_id });
                }
            }
        }
        draft.page.repaired = seed.repaired;
        Ok(draft)
    }
}

/// Passes over the page once more and fills in what only the text of its rows shows.
struct EnvelopeTextSeed<'a> {
    draft: &'a mut PageDraft,
}

impl<'de> DeserializeSeed<'de> for EnvelopeTextSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeTextSeed<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object that holds an array `tickets`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut envelope: A) -> Result<(), A::Error> {
        while let Some(key) = envelope.next_key::<Cow<'de, str>>()? {
            if key == "tickets" {
                envelope.next_value_seed(RowTextsSeed { draft: self.draft })?;
            } else {
                envelope.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Passes over the array of rows once more.
struct RowTextsSeed<'a> {
    draft: &'a mut PageDraft,
}

impl<'de> DeserializeSeed<'de> for RowTextsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowTextsSeed<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array of tickets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        let PageDraft { page, open_rows } = self.draft;
        let mut open_rows = open_rows.iter().peekable();
        let mut position = 0;
        while let Some(row) = rows.next_element::<&'de RawValue>()? {
            if let Some(open) = open_rows.next_if(|open| open.row == position) {
                match &open.part {
                    OpenPart::Values(index, unresolved) => {
                        resolve_row(row.get(), &mut page.tickets[*index], unresolved, &mut page.repaired)
                            .map_err(A::Error::custom)?;
                    }
                    OpenPart::RejectedRow(index) => {
                        let rejected = &mut page.rejected_rows[*index].rejected;
                        *rejected = RejectedValue::new(rejected.reason, row.get());
                    }
                }
            }
            position += 1;
        }
        Ok(())
    }
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
mod tests {
    use super::*;
    use crate::ticket::{ATTRIBUTES, AttributeValue};
    use proptest::prelude::*;

    const PAGE: &[u8] = include_bytes!("../../fixtures/pages/list-plain-envelope.json");

    fn parse(rows: &str) -> ParsedPage {
        ParsedPage::parse(format!("{{\"tickets\":[{rows}]}}").as_bytes()).unwrap()
    }

    fn value(ticket: &Ticket, attribute: &str) -> AttributeValue {
        let position = ATTRIBUTES.iter().position(|it| it.name == attribute).unwrap();
        ticket.values()[position].clone()
    }

    fn text(text: &str) -> AttributeValue {
        AttributeValue::Text(text.to_owned())
    }

    #[test]
    fn ids_are_numbers_or_digits_as_text_from_1_to_2_to_the_53() {
        let page = parse(
            r#"{"id":"12"},{"id":18.0},{"id":9007199254740992},{"id":0},{"id":-5},{"id":"-5"},{"id":"+5"},{"id":"1e2"},
               {"id":"07"},{"id":" 7"},{"id":9007199254740993},{"id":9007199254740993.0},{"id":null},{},7"#,
        );
        let ids: Vec<_> = page.tickets.iter().map(Ticket::id).collect();
        assert_eq!(ids, [12, 18, 1 << 53]);
        assert_eq!((page.rejected_rows.len(), page.rows_received), (12, 15));
        assert_eq!(value(&page.tickets[0], "UID"), AttributeValue::Integer(12));
    }

    #[test]
    fn rejected_row_names_the_ticket_before_it() {
        let page = parse(r#"{"summary":"a"},{"id":3},{"id":null},{"id":"x"},{"id":4}"#);
        let after: Vec<_> = page.rejected_rows.iter().map(|it| it.after_id).collect();
        assert_eq!(after, [None, Some(3), Some(3)]);
        assert_eq!(page.rejected_rows[1].rejected.raw, r#"{"id":null}"#);
    }

    #[test]
    fn number_in_a_text_attribute_keeps_its_spelling() {
        let page = parse(
            r#"{"id":1,"userdef1":"x"},{"userdef1":1.50,"id":2,"userdef2":-0.0,"userdef3":7,"userdef4":true}"#,
        );
        let ticket = &page.tickets[1];
        assert_eq!(value(ticket, "USER_DEF_1"), text("1.50"));
        assert_eq!(value(ticket, "USER_DEF_2"), text("-0.0"));
        assert_eq!(value(ticket, "USER_DEF_3"), text("7"));
        assert_eq!(value(ticket, "USER_DEF_4"), text("true"));
        assert_eq!(ticket.rejected_values(), []);
        let single = parse_ticket(br#"{"id":2,"userdef1":1.50}"#).unwrap();
        assert_eq!(value(&single, "USER_DEF_1"), text("1.50"));
    }

    #[test]
    fn of_a_repeated_property_the_last_value_counts() {
        let page = parse(
            r#"{"id":1,"cost":"n/a","cost":2,"userdef1":[1],"userdef1":1.0,"userdef2":1.0,"userdef2":[2]}"#,
        );
        let ticket = &page.tickets[0];
        assert_eq!(value(ticket, "COST"), AttributeValue::Real(2.0));
        assert_eq!(value(ticket, "USER_DEF_1"), text("1.0"));
        let [(position, rejected)] = ticket.rejected_values() else {
            panic!("{:?}", ticket.rejected_values())
        };
        assert_eq!((ATTRIBUTES[*position].name, rejected.raw.as_str()), ("USER_DEF_2", "[2]"));
    }

    #[test]
    fn of_two_rows_with_equal_stamps_the_order_does_not_decide() {
        let row = |summary: &str| {
            format!(r#"{{"id":1,"last_update":"2026-01-01T00:00:00","summary":"{summary}"}}"#)
        };
        let one = parse(&format!("{},{}", row("a"), row("b"))).tickets;
        let other = parse(&format!("{},{}", row("b"), row("a"))).tickets;
        assert_eq!((one.len(), &one), (1, &other));
        let later = r#"{"id":1,"last_update":"2026-01-01T00:00:00.003","summary":"later"}"#;
        for rows in [format!("{},{later}", row("a")), format!("{later},{}", row("a"))] {
            assert_eq!(value(&parse(&rows).tickets[0], "NAME"), text("later"));
        }
    }

    #[test]
    fn custom_fields_that_are_no_array_tell_nothing() {
        for (property, expected) in [
            ("", (false, false)),
            (r#","customfields":null"#, (false, true)),
            (r#","customfields":{}"#, (false, true)),
            (r#","customfields":"none""#, (false, true)),
            (r#","customfields":[]"#, (true, false)),
        ] {
            let page = parse(&format!(r#"{{"id":1{property}}}"#));
            let ticket = &page.tickets[0];
            let found = (ticket.custom_fields().is_some(), ticket.has_unreadable_custom_fields());
            assert_eq!(found, expected, "{property}");
        }
    }

    #[test]
    fn parts_of_a_page_are_joined_and_a_readable_row_wins() {
        let unreadable = |id| UnreadableTicket { id, reason: UnreadableReason::Invalid };
        let mut page = parse(r#"{"id":1},{"id":3}"#);
        page.add_unreadable(unreadable(2));
        page.add_unreadable(unreadable(2));
        page.add_unreadable(unreadable(4));
        page.append(parse(r#"{"x":1},{"id":4},{"id":3}"#));
        assert_eq!(page.tickets.iter().map(Ticket::id).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(page.unreadable, [unreadable(2)]);
        assert_eq!((page.rows_received, page.rejected_rows[0].after_id), (8, Some(3)));
    }

    #[test]
    fn deleted_is_read_like_any_boolean() {
        for (json, deleted) in
            [("true", true), ("\"True\"", true), ("false", false), ("{\"a\":true}", false), ("null", false)]
        {
            let ticket = parse_ticket(format!(r#"{{"id":1,"deleted":{json}}}"#).as_bytes()).unwrap();
            assert_eq!(ticket.is_deleted(), deleted, "{json}");
        }
    }

    #[test]
    fn page_of_more_than_a_thousand_rows_is_refused_at_once() {
        let page = |rows: usize| format!("{{\"tickets\":[{}{{}}]}}", "{},".repeat(rows - 1));
        assert_eq!(ParsedPage::parse(page(1_000).as_bytes()).unwrap().rejected_rows.len(), 1_000);
        let error = ParsedPage::parse(page(2_000_000).as_bytes()).unwrap_err();
        assert!(matches!(error, ParseError::TooLong { max: 1_000 }), "{error:?}");
    }

    #[test]
    fn nested_values_need_neither_memory_nor_stack() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        for property in ["deleted", "status_id", "customfields", "other"] {
            assert_eq!(parse(&format!(r#"{{"id":1,"{property}":{deep}}}"#)).tickets.len(), 1, "{property}");
        }
        let page = format!(r#"{{"record_count":{deep},"tickets":[]}}"#);
        assert_eq!(ParsedPage::parse(page.as_bytes()).unwrap().record_count, None);
    }

    #[test]
    fn second_list_in_one_answer_is_an_error() {
        let error = ParsedPage::parse(br#"{"tickets":[{"id":1}],"tickets":[{"id":2}]}"#).unwrap_err();
        assert!(matches!(error, ParseError::UnexpectedShape { .. }), "{error:?}");
    }

    proptest! {
        #[test]
        fn parsing_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (ParsedPage::parse(&bytes), parse_ticket(&bytes), parse_reference_items(&bytes));
        }

        #[test]
        fn damaged_page_is_an_error_or_a_page_and_never_a_panic(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut: prop::sample::Index,
        ) {
            let mut bytes = PAGE.to_vec();
            for (position, byte) in damage {
                let position = position.index(bytes.len());
                bytes[position] = byte;
            }
            if let Ok(page) = ParsedPage::parse(&bytes) {
                prop_assert!(page.tickets.len() + page.rejected_rows.len() <= page.rows_received);
            }
            bytes.truncate(cut.index(bytes.len()));
            let _ = ParsedPage::parse(&bytes);
        }
    }
}
