//! How much memory rows take until they are stored, and the rows that take too much.

use crate::ticket::parse::{ParsedPage, UnreadableReason, UnreadableTicket};
use crate::ticket::{AttributeValue, CustomField, CustomFields, Ticket};

/// The most memory of one row, in bytes. While a row is stored there are up to eight copies of its texts: the received and
/// the stored ones, both in a change record, and what SQLite makes of that.
pub(super) const ROW_MAX: usize = 12 << 20;

/// What a custom field takes besides its texts, in bytes, most of it in a change record.
const FIELD_BYTES: usize = 2 << 10;

/// How many copies of the largest row count besides the rows themselves. With as many as there may be, no two pages would
/// fit.
const COUNTED_COPIES: usize = 3;

/// Makes rows that take too much memory unreadable tickets; returns what the others take until they are stored.
pub(super) fn set_aside_large_rows(list: &mut ParsedPage) -> usize {
    let (mut sum, mut largest) = (0, 0);
    let unreadable = &mut list.unreadable;
    list.tickets.retain(|ticket| {
        let bytes = row_memory(ticket);
        let fits = bytes <= ROW_MAX;
        if fits {
            (sum, largest) = (sum + bytes, largest.max(bytes));
        } else {
            unreadable.push(UnreadableTicket { id: ticket.id(), reason: UnreadableReason::TooLarge });
        }
        fits
    });
    memory_until_stored(sum, largest)
}

/// Returns what rows count until they are stored.
pub(super) fn memory_until_stored(rows: usize, largest: usize) -> usize {
    rows + COUNTED_COPIES * largest
}

/// About how much memory a ticket takes, in bytes.
pub(super) fn row_memory(ticket: &Ticket) -> usize {
    let value = |it: &AttributeValue| match it {
        AttributeValue::Text(it) => text_memory(it),
        _ => 0,
    };
    let field = |it: &CustomField| {
        let texts = [&it.name, &it.label, &it.value, &it.display];
        FIELD_BYTES + texts.into_iter().flatten().map(|it| text_memory(it)).sum::<usize>()
    };
    let rejected = ticket.rejected_values().iter().map(|it| size_of_val(it) + text_memory(&it.1.raw));
    let fields = ticket.custom_fields().map_or(&[][..], CustomFields::fields);
    size_of::<Ticket>()
        + size_of_val(ticket.stored_values())
        + ticket.stored_values().iter().map(value).sum::<usize>()
        + rejected.sum::<usize>()
        + fields.iter().map(field).sum::<usize>()
}

/// The memory of a text. In the JSON of a change record a control character takes six bytes.
fn text_memory(text: &str) -> usize {
    /// What the allocator needs besides.
    const ALLOCATION: usize = 16;
    ALLOCATION + text.len() + 5 * control_characters(text)
}

/// How many control characters a text has. Sums of bytes, each too small to overflow, are what the processor counts fastest.
fn control_characters(text: &str) -> usize {
    let count = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(*byte < b' ')).sum::<u8>();
    text.as_bytes().chunks(usize::from(u8::MAX)).map(|chunk| usize::from(count(chunk))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(texts: &[&str]) -> ParsedPage {
        let row = |(index, text)| format!(r#"{{"id":{},"details":"{text}"}}"#, index + 1);
        let rows: Vec<_> = texts.iter().enumerate().map(row).collect();
        ParsedPage::parse(format!("{{\"tickets\":[{}]}}", rows.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn large_row_is_an_unreadable_ticket_and_takes_no_memory() {
        let (large, control) = ("x".repeat(ROW_MAX), "\\u0001".repeat(ROW_MAX / 6));
        let mut list = page(&["", &large, "x", &control]);
        let bytes = set_aside_large_rows(&mut list);
        let ids: Vec<_> = list.tickets.iter().map(Ticket::id).collect();
        let too_large = |id| UnreadableTicket { id, reason: UnreadableReason::TooLarge };
        assert_eq!((ids, list.unreadable), (vec![1, 3], vec![too_large(2), too_large(4)]));
        assert!((8_000..32_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn every_control_character_counts() {
        for length in [0, 1, 254, 255, 256, 511, 1_000] {
            assert_eq!(control_characters(&"\u{1}".repeat(length)), length);
            assert_eq!(control_characters(&"x\n\u{7f} ä\0".repeat(length)), 2 * length);
        }
    }

    #[test]
    fn row_takes_more_than_its_texts() {
        let text = "x".repeat(1_000);
        let fields = format!(
            r#"{{"id":1,"details":"{text}","customfields":[{{"id":1,"name":"CFa","value":"{text}"}}]}}"#
        );
        let ticket = crate::ticket::parse::parse_ticket(fields.as_bytes()).unwrap();
        let bytes = row_memory(&ticket);
        assert!((6_000..8_000).contains(&bytes), "{bytes}");
    }
}
