//! Parses the object around the rows of a page, and the rows one after another.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{ParseError, ParsedPage, ROWS_PER_PAGE_MAX, RejectedRow};
use crate::ticket::document::{parse_document, parse_with_seed};
use crate::ticket::json_value::parse_count;
use crate::ticket::row::{TicketSeed, UnresolvedValue, resolve_row};
use crate::ticket::{FieldSearch, RejectedValue, Ticket};

/// Parses a page, with every row as received.
pub(super) fn parse(bytes: &[u8], search: FieldSearch) -> Result<ParsedPage, ParseError> {
    let expected = "a list of tickets";
    let is_too_long = Cell::new(false);
    let parse = |text: &str| parse_with_seed(text, EnvelopeSeed { is_too_long: &is_too_long, search });
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
    Ok(draft.page)
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
    search: FieldSearch,
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
                    let EnvelopeSeed { is_too_long, search } = self;
                    draft = Some(envelope.next_value_seed(RowsSeed { is_too_long, search })?);
                }
                "record_count" => {
                    record_count = parse_count(envelope.next_value::<&'de RawValue>()?.get());
                }
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

/// Parses the array of rows.
struct RowsSeed<'a> {
    is_too_long: &'a Cell<bool>,
    search: FieldSearch,
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
        let mut seed = TicketSeed::new(self.search);
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
        draft.page.unmapped = seed.unmapped;
        draft.page.share_shown_extras();
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
                        *rejected = RejectedValue::new(std::mem::take(&mut rejected.reason), row.get());
                    }
                }
            }
            position += 1;
        }
        Ok(())
    }
}
