//! From the bytes of an answer to tickets and reference rows, in one walk over the JSON.
//!
//! Unknown properties are passed over, absent ones are NULL, and a row is never lost: a value of the
//! wrong kind is NULL and kept as an oddity, a row without a usable id is kept whole as a [`Stray`].
//! A document that is not JSON is read once more with what commonly breaks it repaired.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::field;
use super::repair::repair;
use super::row::Row;
use super::value::Oddity;
use super::{CustomField, Ticket};

/// Why an answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not JSON, even after repair.
    #[error("the answer is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON of another shape than was asked for.
    #[error("the answer is not {expected}")]
    Shape {
        /// What was asked for.
        expected: &'static str,
    },
}

/// One answer of the ticket list.
#[derive(Debug, Default)]
pub struct List {
    /// The total that the server claims for the filter; `None` where it is missing or no count.
    pub record_count: Option<u64>,
    /// The tickets in the order received, one for each id (see [`List::read`]).
    pub tickets: Vec<Ticket>,
    /// Rows without a usable id.
    pub strays: Vec<Stray>,
    /// How many rows were received, repetitions and strays included.
    pub received: usize,
    /// How many places of the text were repaired to U+FFFD.
    pub repaired: usize,
}

/// A row that is no ticket: it has no usable id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Why, and the row as JSON.
    pub oddity: Oddity,
}

impl List {
    /// Reads an answer of `GET /api/tickets` (`halo-api.md` §2.3).
    ///
    /// An id that stands in it twice is given once: the later `last_update` wins, else the later row,
    /// so that the same page always means the same tickets.
    ///
    /// # Errors
    /// [`ParseError`] for anything that does not hold an array `tickets`; an error object or a missing
    /// array is never an empty list.
    pub fn read(bytes: &[u8]) -> Result<List, ParseError> {
        let document = document(bytes, "a list of tickets", |text| whole(text, Envelope))?;
        let mut list = document.value;
        list.repaired += document.repaired;
        if !list.strays.is_empty() {
            list.strays = strays(&document.text);
        }
        if !list.tickets.is_sorted_by(|left, right| left.id < right.id) {
            list.tickets = without_repetitions(list.tickets);
        }
        Ok(list)
    }
}

impl List {
    /// Adds the custom fields of another answer to the same request that was asked for others. Of what the
    /// other one does not show in the same version, they are unclear.
    pub fn add_fields(&mut self, other: List) {
        self.repaired += other.repaired;
        let mut others: HashMap<i64, Ticket> = other.tickets.into_iter().map(|it| (it.id(), it)).collect();
        for ticket in &mut self.tickets {
            let other = others.remove(&ticket.id()).filter(|it| it.last_update() == ticket.last_update());
            let Some(mut other) = other.filter(|other| !other.fields_unclear && !ticket.fields_unclear)
            else {
                (ticket.custom_fields, ticket.fields_unclear) = (None, true);
                continue;
            };
            ticket.custom_fields = match (ticket.custom_fields.take(), other.take_custom_fields()) {
                (Some(one), Some(other)) => Some(one.and(other)),
                // A server may leave out what is empty.
                (one, other) => one.or(other),
            };
        }
    }
}

/// Reads an answer of `GET /api/tickets/{id}`: the bare object (`halo-api.md` §3).
///
/// # Errors
/// [`ParseError`] for anything that is not one object with a usable id.
pub fn single(bytes: &[u8]) -> Result<Ticket, ParseError> {
    let expected = "a ticket";
    let row = document(bytes, expected, |text| whole(text, Row::default()))?.value;
    row.ok().ok_or(ParseError::Shape { expected })
}

/// A named number: a status or a ticket type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its number.
    pub id: i64,
    /// Its name as the server has it, stray spaces included.
    pub name: String,
    /// The rest that is worth keeping, where it is there.
    pub details: NamedDetails,
}

/// What else a status or ticket type may tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedDetails {
    /// Statuses: 0 is a ticket status (`halo-api.md` §4.1).
    pub kind: Option<i64>,
    /// Place in the lists of the server.
    pub sequence: Option<i64>,
    /// `#rrggbb`.
    pub colour: Option<String>,
    /// Types: `tickets`, `projects`, ….
    pub usage: Option<String>,
}

/// Reads `/api/status` or `/api/tickettype`: a bare array, or an object that holds one
/// (`halo-api.md` §4). Rows without an id or name are passed over; they name nothing.
///
/// # Errors
/// [`ParseError`] where there is no such array.
pub fn named(bytes: &[u8]) -> Result<Vec<Named>, ParseError> {
    Ok(rows(bytes, "a list of names")?.iter().filter_map(named_row).collect())
}

/// Reads `/api/FieldInfo`: what custom fields of tickets there are, in the shape of [`named`]
/// (`halo-api.md` §8). Rows without an id are passed over.
///
/// # Errors
/// [`ParseError`] where there is no such array.
pub fn field_definitions(bytes: &[u8]) -> Result<Vec<CustomField>, ParseError> {
    Ok(field::definitions(&rows(bytes, "a list of field definitions")?))
}

/// The rows of a bare array, or of the one array that an object holds.
fn rows(bytes: &[u8], expected: &'static str) -> Result<Vec<serde_json::Value>, ParseError> {
    let tree: serde_json::Value = document(bytes, expected, |text| serde_json::from_str(text))?.value;
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
    rows.ok_or(ParseError::Shape { expected })
}

fn named_row(row: &serde_json::Value) -> Option<Named> {
    let integer = |key: &str| row.get(key).and_then(super::value::integer);
    let text = |key: &str| row.get(key).and_then(serde_json::Value::as_str).map(super::value::clean);
    Some(Named {
        id: integer("id")?,
        name: text("name")?,
        details: NamedDetails {
            kind: integer("type"),
            sequence: integer("sequence"),
            colour: text("colour"),
            usage: text("use"),
        },
    })
}

/// A document that was read.
struct Document<'a, T> {
    value: T,
    text: Cow<'a, str>,
    repaired: usize,
}

/// Reads a document, repaired where it must be.
fn document<'a, T>(
    bytes: &'a [u8],
    expected: &'static str,
    read: impl Fn(&str) -> serde_json::Result<T>,
) -> Result<Document<'a, T>, ParseError> {
    // `from_str` after one check of the whole is cheaper by a third than `from_slice`, which checks
    // every text on its own.
    if let Ok(text) = std::str::from_utf8(bytes) {
        match read(text) {
            Ok(value) => return Ok(Document { value, text: text.into(), repaired: 0 }),
            Err(error) if error.is_data() => return Err(ParseError::Shape { expected }),
            Err(_) => {}
        }
    }
    let (text, repaired) = repair(bytes);
    match read(&text) {
        Ok(value) => Ok(Document { value, text: text.into(), repaired }),
        Err(error) if error.is_data() => Err(ParseError::Shape { expected }),
        Err(error) => Err(ParseError::NotJson(error)),
    }
}

/// Reads the whole text by a seed; anything but blanks behind it is an error.
fn whole<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> serde_json::Result<S::Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// The envelope around the rows.
struct Envelope;

impl<'de> DeserializeSeed<'de> for Envelope {
    type Value = List;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<List, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Envelope {
    type Value = List;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object that holds an array `tickets`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut envelope: A) -> Result<List, A::Error> {
        let mut list = None;
        let mut record_count = None;
        while let Some(key) = envelope.next_key::<Cow<'de, str>>()? {
            match &*key {
                "tickets" => list = Some(envelope.next_value_seed(Rows)?),
                "record_count" => record_count = count(&envelope.next_value()?),
                _ => {
                    envelope.next_value::<IgnoredAny>()?;
                }
            }
        }
        let list = list.ok_or_else(|| A::Error::missing_field("tickets"))?;
        Ok(List { record_count, ..list })
    }
}

/// A count as the server may write it; anything else is no count.
fn count(value: &serde_json::Value) -> Option<u64> {
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

/// The array of rows.
struct Rows;

impl<'de> DeserializeSeed<'de> for Rows {
    type Value = List;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<List, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows {
    type Value = List;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array of tickets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<List, A::Error> {
        let mut list = List::default();
        let mut order = Row::default();
        while let Some(row) = rows.next_element_seed(&mut order)? {
            list.received += 1;
            match row {
                Ok(ticket) => list.tickets.push(ticket),
                Err(oddity) => list.strays.push(Stray { oddity }),
            }
        }
        list.repaired = order.repaired;
        Ok(list)
    }
}

/// Reads the rows without a usable id once more, now for their text: they are too rare to keep the
/// text of every row at hand.
fn strays(text: &str) -> Vec<Stray> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(borrow)]
        tickets: Vec<&'a RawValue>,
    }
    let Ok(raw) = serde_json::from_str::<Raw<'_>>(text) else { return Vec::new() };
    raw.tickets
        .into_iter()
        .filter_map(|row| {
            whole(row.get(), Row::default()).ok()?.err().map(|odd| Oddity::new(odd.reason, row.get()))
        })
        .map(|oddity| Stray { oddity })
        .collect()
}

fn without_repetitions(tickets: Vec<Ticket>) -> Vec<Ticket> {
    let mut places: HashMap<i64, usize> = HashMap::with_capacity(tickets.len());
    let mut kept: Vec<Ticket> = Vec::with_capacity(tickets.len());
    for ticket in tickets {
        match places.get(&ticket.id()) {
            Some(&place) if ticket.last_update() >= kept[place].last_update() => kept[place] = ticket,
            Some(_) => {}
            None => {
                places.insert(ticket.id(), kept.len());
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
        fn no_bytes_make_the_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (List::read(&bytes), single(&bytes), named(&bytes));
        }

        #[test]
        fn a_damaged_page_is_an_error_or_a_list_and_never_a_panic(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut: prop::sample::Index,
        ) {
            let mut bytes = PAGE.to_vec();
            for (place, byte) in damage {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Ok(list) = List::read(&bytes) {
                prop_assert!(list.tickets.len() + list.strays.len() <= list.received);
            }
            bytes.truncate(cut.index(bytes.len()));
            let _ = List::read(&bytes);
        }
    }
}
