//! Bombs: responses that are small on the wire, or short to describe, and large in memory.

use crate::generated::GeneratedText;
use crate::message::ApiResponse;

/// A response with very many items, generated while it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bomb {
    /// What the items are.
    pub items: BombItems,
    /// The number of items.
    pub count: u64,
    /// The status of the response.
    pub status: u16,
}

/// The items of a [`Bomb`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BombItems {
    /// A page of rows without any property.
    BlankRows,
    /// A page of rows without an id.
    RowsWithoutId,
    /// A page of rows with distinct ids.
    Ids,
    /// A bare array of objects with an id and a name, as of statuses.
    Elements,
    /// An array of empty arrays.
    Arrays,
}

/// The words for the items, their default number, and their text.
const WORDS: &[(&str, BombItems, u64, &str)] = &[
    ("blank_rows", BombItems::BlankRows, 2_000_000, "{}"),
    ("rows_without_id", BombItems::RowsWithoutId, 2_000_000, r#"{"summary":"Row #"}"#),
    ("ids", BombItems::Ids, 200_000, r#"{"id":#,"summary":"Ticket #"}"#),
    ("elements", BombItems::Elements, 1_000_000, r#"{"id":#,"name":"Name #"}"#),
    ("arrays", BombItems::Arrays, 2_000_000, "[]"),
];

impl Bomb {
    /// Parses `ITEMS[:COUNT[:STATUS]]`.
    pub(crate) fn parse(text: &str) -> Option<Bomb> {
        let mut parts = text.split(':');
        let word = parts.next()?;
        let (_, items, count, _) = WORDS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(word))?;
        let count = parts.next().map_or(Some(*count), |text| text.parse().ok())?;
        let status = parts.next().map_or(Some(200), |text| text.parse().ok())?;
        let is_whole = parts.next().is_none() && (200..=599).contains(&status) && count <= MAX_COUNT;
        is_whole.then_some(Bomb { items: *items, count, status })
    }

    pub(crate) fn response(self, page_no: u32) -> ApiResponse {
        let Bomb { items, count, status } = self;
        let template = WORDS.iter().find(|(_, known, ..)| *known == items).map_or("", |(.., text)| text);
        let (before, after) = match items {
            BombItems::Elements | BombItems::Arrays => ("[".to_owned(), "]"),
            BombItems::BlankRows | BombItems::RowsWithoutId | BombItems::Ids => (
                format!(
                    "{{\"page_no\":{page_no},\"page_size\":{count},\"record_count\":{count},\"tickets\":["
                ),
                "],\"include_children\":false}",
            ),
        };
        let at = before.len();
        ApiResponse::json(status, before + after).with_generated(at, GeneratedText::list(template, count))
    }
}

/// A limit that keeps the length of the body a number of 64 bits.
const MAX_COUNT: u64 = 1_000_000_000_000;
