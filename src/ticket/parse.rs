//! Parses the body of a response into tickets or reference items, in one pass over the JSON.
//!
//! Unknown properties are skipped, absent ones are NULL, and no row is lost: a value of the wrong kind
//! becomes NULL and a [`RejectedValue`], a row without a usable id becomes a [`RejectedRow`]. A document
//! that is not valid JSON is repaired (`ticket::repair`) and parsed once more.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::custom_field;
use super::repair::repair;
use super::row::TicketSeed;
use super::value::RejectedValue;
use super::{CustomField, Ticket};

/// Why a response could not be parsed.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is not JSON, even after repair.
    #[error("the answer is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// It is JSON, but not what was requested.
    #[error("the answer is not {expected}")]
    UnexpectedShape {
        /// What was requested, such as "a list of tickets".
        expected: &'static str,
    },
}

/// One response of the ticket list.
#[derive(Debug, Default)]
pub struct ParsedPage {
    /// Total that the server reports for the filter; `None` if missing or not a count.
    pub record_count: Option<u64>,
    /// Tickets in the order received, one for each id (see [`ParsedPage::parse`]).
    pub tickets: Vec<Ticket>,
    /// Rows that are not tickets.
    pub rejected_rows: Vec<RejectedRow>,
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
}

impl ParsedPage {
    /// Parses a response of `GET /api/tickets` (`halo-api.md` §2.3).
    ///
    /// Of several rows with the same id the one with the latest `last_update` is kept, of equal ones the
    /// last, so that the same page always gives the same tickets.
    ///
    /// # Errors
    /// A response without an array `tickets` is an error, never an empty list.
    pub fn parse(bytes: &[u8]) -> Result<ParsedPage, ParseError> {
        let document =
            parse_document(bytes, "a list of tickets", |text| parse_with_seed(text, EnvelopeSeed))?;
        let mut page = document.value;
        page.repaired += document.repaired;
        if !page.rejected_rows.is_empty() {
            page.rejected_rows = collect_rejected_rows(&document.text);
        }
        if !page.tickets.is_sorted_by(|left, right| left.id < right.id) {
            page.tickets = dedup_tickets(page.tickets);
        }
        Ok(page)
    }
}

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
    let row = parse_document(bytes, expected, |text| parse_with_seed(text, TicketSeed::default()))?.value;
    row.ok().ok_or(ParseError::UnexpectedShape { expected })
}

/// A status or a ticket type: a number with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceItem {
    /// Number of the item.
    pub id: i64,
    /// Name as received, including surrounding spaces.
    pub name: String,
    /// Further properties.
    pub details: ReferenceDetails,
}

/// Optional properties of a status or ticket type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceDetails {
    /// Statuses only; 0 is a status of tickets (`halo-api.md` §4.1).
    pub kind: Option<i64>,
    /// Position in the server's lists.
    pub sequence: Option<i64>,
    /// `#rrggbb`.
    pub color: Option<String>,
    /// Ticket types only: `tickets`, `projects`, ….
    pub usage: Option<String>,
}

/// Parses a response of `/api/status` or `/api/tickettype`: a bare array, or an object with one array
/// (`halo-api.md` §4). Rows without an id or a name are skipped.
pub fn parse_reference_items(bytes: &[u8]) -> Result<Vec<ReferenceItem>, ParseError> {
    Ok(array_rows(bytes, "a list of names")?.iter().filter_map(reference_item).collect())
}

/// Parses a response of `/api/FieldInfo`: the definitions of the custom fields of tickets, in the same
/// shape as [`parse_reference_items`] (`halo-api.md` §8). Rows without an id are skipped.
pub fn parse_field_definitions(bytes: &[u8]) -> Result<Vec<CustomField>, ParseError> {
    Ok(custom_field::parse_definitions(&array_rows(bytes, "a list of field definitions")?))
}

/// Returns the rows of a bare array, or of the only array in an object.
fn array_rows(bytes: &[u8], expected: &'static str) -> Result<Vec<serde_json::Value>, ParseError> {
    let tree: serde_json::Value = parse_document(bytes, expected, |text| serde_json::from_str(text))?.value;
    let rows = match tree {
        serde_json::Value::Array(rows) => Some(rows),
        serde_json::Value::Object(object) => {
            let mut arrays = object.into_values().filter_map(|member| match member {
                serde_json::Value::Array(rows) => Some(rows),
                _ => None,
            });
            arrays.next().filter(|_| arrays.next().is_none())
        }
        _ => None,
    };
    rows.ok_or(ParseError::UnexpectedShape { expected })
}

fn reference_item(row: &serde_json::Value) -> Option<ReferenceItem> {
    let integer = |key: &str| row.get(key).and_then(super::value::integer);
    let text = |key: &str| row.get(key).and_then(serde_json::Value::as_str).map(super::value::replace_nul);
    Some(ReferenceItem {
        id: integer("id")?,
        name: text("name")?,
        details: ReferenceDetails {
            kind: integer("type"),
            sequence: integer("sequence"),
            color: text("colour"),
            usage: text("use"),
        },
    })
}

/// A parsed document, with its text after any repair.
struct ParsedDocument<'a, T> {
    value: T,
    text: Cow<'a, str>,
    repaired: usize,
}

/// Parses a document, after repair if necessary.
fn parse_document<'a, T>(
    bytes: &'a [u8],
    expected: &'static str,
    parse: impl Fn(&str) -> serde_json::Result<T>,
) -> Result<ParsedDocument<'a, T>, ParseError> {
    // `from_str` after one UTF-8 check of the whole document is a third cheaper than `from_slice`, which
    // checks every string separately.
    if let Ok(text) = std::str::from_utf8(bytes) {
        match parse(text) {
            Ok(value) => return Ok(ParsedDocument { value, text: text.into(), repaired: 0 }),
            Err(error) if error.is_data() => return Err(ParseError::UnexpectedShape { expected }),
            Err(_) => {}
        }
    }
    let (text, repaired) = repair(bytes);
    match parse(&text) {
        Ok(value) => Ok(ParsedDocument { value, text: text.into(), repaired }),
        Err(error) if error.is_data() => Err(ParseError::UnexpectedShape { expected }),
        Err(error) => Err(ParseError::NotJson(error)),
    }
}

/// Parses the whole text with a seed; anything but whitespace after the document is an error.
fn parse_with_seed<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> serde_json::Result<S::Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Parses the object around the rows.
struct EnvelopeSeed;

impl<'de> DeserializeSeed<'de> for EnvelopeSeed {
    type Value = ParsedPage;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ParsedPage, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed {
    type Value = ParsedPage;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object that holds an array `tickets`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut envelope: A) -> Result<ParsedPage, A::Error> {
        let mut page = None;
        let mut record_count = None;
        while let Some(key) = envelope.next_key::<Cow<'de, str>>()? {
            match &*key {
                "tickets" => page = Some(envelope.next_value_seed(RowsSeed)?),
                "record_count" => record_count = parse_count(&envelope.next_value()?),
                _ => {
                    envelope.next_value::<IgnoredAny>()?;
                }
            }
        }
        let page = page.ok_or_else(|| A::Error::missing_field("tickets"))?;
        Ok(ParsedPage { record_count, ..page })
    }
}

/// Parses a count: a non-negative number, integral float or digits as text.
fn parse_count(value: &serde_json::Value) -> Option<u64> {
    match value {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        value => value.as_u64().or_else(|| {
            value
                .as_f64()
                .filter(|count| count.fract() == 0.0 && (0.0..9e15).contains(count))
                .map(|it| it as u64)
        }),
    }
}

/// Parses the array of rows.
struct RowsSeed;

impl<'de> DeserializeSeed<'de> for RowsSeed {
    type Value = ParsedPage;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ParsedPage, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed {
    type Value = ParsedPage;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array of tickets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<ParsedPage, A::Error> {
        let mut page = ParsedPage::default();
        let mut seed = TicketSeed::default();
        while let Some(row) = rows.next_element_seed(&mut seed)? {
            page.rows_received += 1;
            match row {
                Ok(ticket) => page.tickets.push(ticket),
                Err(rejected) => page.rejected_rows.push(RejectedRow { rejected }),
            }
        }
        page.repaired = seed.repaired;
        Ok(page)
    }
}

/// Parses the list again to get the text of the rejected rows, which are too rare to keep the text of
/// every row.
fn collect_rejected_rows(text: &str) -> Vec<RejectedRow> {
    #[derive(Deserialize)]
    struct RawTicketArray<'a> {
        #[serde(borrow)]
        tickets: Vec<&'a RawValue>,
    }
    let Ok(raw) = serde_json::from_str::<RawTicketArray<'_>>(text) else { return Vec::new() };
    raw.tickets
        .into_iter()
        .filter_map(|row| {
            parse_with_seed(row.get(), TicketSeed::default())
                .ok()?
                .err()
                .map(|rejected| RejectedValue::new(rejected.reason, row.get()))
        })
        .map(|rejected| RejectedRow { rejected })
        .collect()
}

/// Keeps one ticket for each id; see [`ParsedPage::parse`].
fn dedup_tickets(tickets: Vec<Ticket>) -> Vec<Ticket> {
    let mut positions: HashMap<i64, usize> = HashMap::with_capacity(tickets.len());
    let mut kept: Vec<Ticket> = Vec::with_capacity(tickets.len());
    for ticket in tickets {
        match positions.get(&ticket.id()) {
            Some(&position) if ticket.last_update() >= kept[position].last_update() => {
                kept[position] = ticket;
            }
            Some(_) => {}
            None => {
                positions.insert(ticket.id(), kept.len());
                kept.push(ticket);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &[u8] = include_bytes!("../../fixtures/pages/list-plain-envelope.json");

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
