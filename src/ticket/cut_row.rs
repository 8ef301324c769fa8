//! Finds the count and the id of a row in a response that cannot be parsed: it was cut off, is too large, or is broken.

use super::attribute::ValueKind;
use super::conversion::is_ticket_id;
use super::json_value::{convert_raw, parse_count};
use super::value::AttributeValue;

/// What the bytes received of a response show, though it cannot be parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutRow {
    /// The id of the first row of the list, or of the bare ticket.
    pub id: Option<i64>,
    /// The server's count of the list, where it stands before the rows.
    pub record_count: Option<u64>,
}

/// Reads what the bytes received of a list response or of a bare ticket show.
///
/// Looks only at the row's own members, up to the first place that is not JSON: a wrong id would be worse than none.
/// What is inside strings does not matter, invalid UTF-8 and control characters included. A number at the very end may
/// be cut off and is not used. The time is linear in the bytes, and nothing is allocated for them.
#[must_use]
pub fn read_cut_row(bytes: &[u8]) -> CutRow {
    let mut scanner = TokenScanner { rest: bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) };
    let mut row = CutRow::default();
    row.id = scanner.expect(b'{').and_then(|()| scanner.read_envelope(&mut row.record_count));
    row
}

/// Walks over the tokens of JSON.
struct TokenScanner<'a> {
    rest: &'a [u8],
}

impl<'a> TokenScanner<'a> {
    /// Reads the members of the object around the rows, or of the ticket; returns the id.
    fn read_envelope(&mut self, record_count: &mut Option<u64>) -> Option<i64> {
        loop {
            match self.find_member(&[b"id", b"record_count", b"tickets"])? {
                b"record_count" => {
                    let raw = self.scalar()?;
                    *record_count = std::str::from_utf8(raw).ok().and_then(parse_count);
                    self.expect(b',')?;
                }
                b"tickets" => {
                    self.expect(b'[')?;
                    self.expect(b'{')?;
                    self.find_member(&[b"id"])?;
                    break;
                }
                _ => break,
            }
        }
        let raw = self.scalar()?;
        match convert_raw(ValueKind::Integer, std::str::from_utf8(raw).ok()?, &mut 0) {
            Ok(AttributeValue::Integer(id)) if is_ticket_id(id) => Some(id),
            _ => None,
        }
    }

    /// The next byte that is not whitespace.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.rest = &self.rest[1..])
    }

    /// Moves to the value of the first member with one of these names, inside an object.
    fn find_member(&mut self, names: &[&'static [u8]]) -> Option<&'static [u8]> {
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            if let Some(found) = names.iter().find(|it| **it == &name[1..name.len() - 1]) {
                return Some(found);
            }
            self.skip_value()?;
            self.expect(b',')?;
        }
    }

    /// Moves past a string; returns it with its quotes and escapes.
    fn string(&mut self) -> Option<&'a [u8]> {
        if self.peek()? != b'"' {
            return None;
        }
        let mut length = 1;
        loop {
            length += match self.rest.get(length)? {
                b'"' => break,
                b'\\' => 2,
                _ => 1,
            };
        }
        let (string, rest) = self.rest.split_at(length + 1);
        self.rest = rest;
        Some(string)
    }

    /// Moves past a string, number or word.
    fn scalar(&mut self) -> Option<&'a [u8]> {
        if self.peek()? == b'"' {
            return self.string();
        }
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",:{}[]\"".contains(byte);
        let (scalar, rest) = self.rest.split_at(self.rest.iter().position(is_end)?);
        self.rest = rest;
        (!scalar.is_empty()).then_some(scalar)
    }

    /// Moves past a value, however deep it is nested.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'{' | b'[' => {
                    depth += 1;
                    self.rest = &self.rest[1..];
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.rest = &self.rest[1..];
                }
                b',' | b':' if depth != 0 => self.rest = &self.rest[1..],
                _ => {
                    self.scalar()?;
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::parse::ParsedPage;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::cut_in_a_text(r#"{"record_count":3,"tickets":[{"id":42,"summary":"aaa"#, Some(42))]
    #[case::broken_after_the_id(r#"{"tickets":[{"id":42,"summary":]}"#, Some(42))]
    #[case::after_nested_values(
        r#"{"a":[1,{"id":7}],"tickets":[ {"user":{"id":9},"t":"\"id\":8", "id" : 42.0 ,"#,
        Some(42)
    )]
    #[case::id_as_text(r#"{"tickets":[{"id":"42","#, Some(42))]
    #[case::bare_ticket(r#"{"user":{"id":9},"id":42,"details":"aaa"#, Some(42))]
    #[case::with_a_byte_order_mark("\u{FEFF}{\"id\":42,", Some(42))]
    #[case::number_may_be_cut(r#"{"tickets":[{"id":42"#, None)]
    #[case::text_is_cut(r#"{"tickets":[{"id":"42"#, None)]
    #[case::beyond_the_cut(r#"{"tickets":[{"summary":"aaa"#, None)]
    #[case::only_the_next_row_has_one(r#"{"tickets":[{"summary":"aaa"},{"id":43,"#, None)]
    #[case::only_a_nested_object_has_one(r#"{"tickets":[{"user":{"id":9}}]}"#, None)]
    #[case::broken_before_the_id(r#"{"tickets":[{"summary":"he said "id":7, so","id":42,"#, None)]
    #[case::null(r#"{"tickets":[{"id":null,"#, None)]
    #[case::zero(r#"{"tickets":[{"id":0,"#, None)]
    #[case::negative(r#"{"tickets":[{"id":-4,"#, None)]
    #[case::beyond_2_to_the_53(r#"{"tickets":[{"id":9007199254740993,"#, None)]
    #[case::no_list("[]", None)]
    #[case::empty("", None)]
    fn id_is_read_from_what_was_received(#[case] received: &str, #[case] id: Option<i64>) {
        assert_eq!(read_cut_row(received.as_bytes()).id, id);
    }

    #[rstest]
    #[case::before_a_broken_row(r#"{"page_no":1,"record_count":3,"tickets":[{"summary":]}"#, Some(3))]
    #[case::as_text(r#"{"record_count":"3","tickets":[{"id":42,"summary":"aaa"#, Some(3))]
    #[case::may_be_cut(r#"{"record_count":3"#, None)]
    #[case::member_of_a_row(r#"{"tickets":[{"record_count":3,"id":42,"#, None)]
    #[case::negative(r#"{"record_count":-3,"tickets":[{"id":42,"#, None)]
    fn count_is_read_from_what_was_received(#[case] received: &str, #[case] count: Option<u64>) {
        assert_eq!(read_cut_row(received.as_bytes()).record_count, count);
    }

    #[test]
    fn invalid_utf8_before_the_id_does_not_hide_it() {
        assert_eq!(read_cut_row(b"{\"tickets\":[{\"summary\":\"x\xff\xfe\0\n\",\"id\":42,").id, Some(42));
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let row =
            [r#"{"tickets":[{"x":"#, &"[".repeat(2_000_000), &"]".repeat(2_000_000), r#","id":42,"#].concat();
        assert_eq!(read_cut_row(row.as_bytes()).id, Some(42));
    }

    /// The pages of `fixtures/pages` that can be parsed, each with the id of its first row.
    fn fixture_pages() -> Vec<(String, Vec<u8>, Option<i64>)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pages");
        let mut pages = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // Pages with rows in another order or with the same id are not in the order received.
            let first =
                ParsedPage::parse(&bytes).ok().and_then(|page| page.tickets.first().map(|it| it.id()));
            if name.starts_with("list-") && first.is_some() {
                pages.push((name, bytes, first));
            }
        }
        assert!(pages.len() > 15, "{} pages", pages.len());
        pages
    }

    #[test]
    fn whole_page_shows_the_id_of_its_first_row() {
        for (name, bytes, first) in fixture_pages() {
            assert_eq!(read_cut_row(&bytes).id, first, "{name}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_cut_row(&bytes);
        }

        #[test]
        fn cut_page_shows_the_id_of_its_first_row_or_none(cut: prop::sample::Index) {
            for (name, bytes, first) in fixture_pages() {
                let cut = &bytes[..cut.index(bytes.len())];
                let id = read_cut_row(cut).id;
                prop_assert!(id.is_none() || id == first, "{}: {:?} after {} bytes", name, id, cut.len());
            }
        }
    }
}
