//! Repairs common defects of JSON documents.
//!
//! Invalid UTF-8, lone surrogates (`\ud800`) and raw control characters in a string become U+FFFD and are
//! counted. A byte-order mark is removed; a raw line break or tab in a string is escaped. A number beyond
//! the range of a double becomes a string, so that only its attribute is lost and not the page.

/// The longest document of which a copy is repaired, in bytes. A longer one is repaired in place before it is parsed,
/// by who accounts for its memory.
pub(crate) const REPAIRED_COPY_MAX: usize = 1 << 20;

const REPLACEMENT: Fix = Fix::Replace("\u{FFFD}");

const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// Returns the repaired text and the number of places that became U+FFFD.
pub(super) fn repair(bytes: &[u8]) -> (String, usize) {
    let mut copy = bytes.to_vec();
    let repaired = repair_in_place(&mut copy, growth(bytes));
    let text = String::from_utf8(copy);
    (text.unwrap_or_else(|_| unreachable!("what is no UTF-8 was replaced")), repaired)
}

/// Repairs a document; returns the number of places that became U+FFFD. Meanwhile it is longer by its [`growth`].
pub(crate) fn repair_in_place(bytes: &mut Vec<u8>, growth: usize) -> usize {
    let length = bytes.len();
    // The document moves back that far, so that what is written never passes what is still to be read.
    bytes.reserve_exact(growth);
    bytes.resize(length + growth, 0);
    bytes.copy_within(..length, growth);
    let (mut scanner, mut read, mut written, mut repaired) = (Scanner::default(), growth, 0, 0);
    while let Some(Defect { at, length, fix }) = scanner.next_defect(&bytes[growth..]) {
        let at = growth + at;
        bytes.copy_within(read..at, written);
        written += at - read;
        read = at + length;
        match fix {
            Fix::Replace(text) => bytes[written..written + text.len()].copy_from_slice(text.as_bytes()),
            Fix::Quote => {
                bytes.copy_within(at..read, written + 1);
                bytes[written] = b'"';
                bytes[written + 1 + length] = b'"';
            }
        }
        written += fix.length(length);
        repaired += usize::from(fix == REPLACEMENT);
    }
    bytes.copy_within(read.., written);
    bytes.truncate(written + length + growth - read);
    repaired
}

/// Returns how much longer the document is while it is repaired, in bytes.
pub(crate) fn growth(bytes: &[u8]) -> usize {
    let mut scanner = Scanner::default();
    let mut growth = 0;
    while let Some(Defect { length, fix, .. }) = scanner.next_defect(bytes) {
        growth += fix.length(length).saturating_sub(length);
    }
    growth
}

/// A defect: where it is, and what to write instead.
struct Defect {
    at: usize,
    length: usize,
    fix: Fix,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fix {
    Replace(&'static str),
    /// The same bytes in quotes.
    Quote,
}

impl Fix {
    /// The length of what is written instead of so many bytes.
    fn length(self, defect: usize) -> usize {
        match self {
            Fix::Replace(text) => text.len(),
            Fix::Quote => defect + 2,
        }
    }
}

/// Goes from defect to defect.
#[derive(Default)]
struct Scanner {
    position: usize,
    in_string: bool,
}

impl Scanner {
    fn next_defect(&mut self, bytes: &[u8]) -> Option<Defect> {
        while let Some(rest @ [first, ..]) = bytes.get(self.position..) {
            let at = self.position;
            let (length, fix) = match first {
                b'"' => {
                    self.in_string = !self.in_string;
                    (1, None)
                }
                b'\\' if self.in_string => escape(rest),
                b'\n' if self.in_string => (1, Some(Fix::Replace("\\n"))),
                b'\r' if self.in_string => (1, Some(Fix::Replace("\\r"))),
                b'\t' if self.in_string => (1, Some(Fix::Replace("\\t"))),
                ..b' ' if self.in_string => (1, Some(REPLACEMENT)),
                b'-' | b'0'..=b'9' if !self.in_string => number(rest),
                0x80.. if at == 0 && rest.starts_with(BYTE_ORDER_MARK) => {
                    (BYTE_ORDER_MARK.len(), Some(Fix::Replace("")))
                }
                0x80.. => character(rest),
                _ => (1, None),
            };
            self.position += length;
            if let Some(fix) = fix {
                return Some(Defect { at, length, fix });
            }
        }
        None
    }
}

/// The length of the character at the start of `rest`, or of the bytes there that are none.
fn character(rest: &[u8]) -> (usize, Option<Fix>) {
    let start = &rest[..rest.len().min(4)];
    let chunk = start.utf8_chunks().next();
    let valid = chunk.as_ref().and_then(|chunk| chunk.valid().chars().next());
    match (valid, chunk) {
        (None, Some(chunk)) => (chunk.invalid().len(), Some(REPLACEMENT)),
        (character, _) => (character.map_or(1, char::len_utf8), None),
    }
}

/// The length of the number at the start of `rest`, which is quoted if it is beyond the range of a double.
fn number(rest: &[u8]) -> (usize, Option<Fix>) {
    let is_end = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let length = rest.iter().position(is_end).unwrap_or(rest.len());
    let digits = std::str::from_utf8(&rest[..length]).unwrap_or_default();
    (length, digits.parse::<f64>().is_ok_and(f64::is_infinite).then_some(Fix::Quote))
}

/// The length of the escape at the start of `rest`, which is replaced if it is a lone surrogate.
fn escape(rest: &[u8]) -> (usize, Option<Fix>) {
    match utf16_unit(rest) {
        Some(0xD800..=0xDBFF) if matches!(rest.get(6..).and_then(utf16_unit), Some(0xDC00..=0xDFFF)) => {
            (12, None)
        }
        Some(0xD800..=0xDFFF) => (6, Some(REPLACEMENT)),
        Some(_) => (6, None),
        None => (1 + usize::from(rest.get(1).is_some_and(u8::is_ascii)), None),
    }
}

/// Returns the UTF-16 code unit of a `\u` escape at the start of the text.
fn utf16_unit(text: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(text.strip_prefix(b"\\u")?.get(..4)?).ok()?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::lone_surrogate(br#"{"a":"x\ud800y"}"#, "x\u{FFFD}y", 1)]
    #[case::lone_low_surrogate(br#"{"a":"\udc00"}"#, "\u{FFFD}", 1)]
    #[case::surrogate_pair_is_kept(br#"{"a":"\ud83d\ude00\ud83d"}"#, "\u{1F600}\u{FFFD}", 1)]
    #[case::escaped_backslash_does_not_start_an_escape(br#"{"a":"\\ud800\udc00"}"#, "\\ud800\u{FFFD}", 1)]
    #[case::invalid_bytes(b"{\"a\":\"x\xff\xfey\"}", "x\u{FFFD}\u{FFFD}y", 2)]
    #[case::raw_nul(b"{\"a\":\"x\0y\"}", "x\u{FFFD}y", 1)]
    #[case::raw_line_break(b"{\"a\":\"x\r\ny\"}", "x\r\ny", 0)]
    #[case::byte_order_mark(b"\xef\xbb\xbf{\"a\":\"x\"}", "x", 0)]
    #[case::number_beyond_the_range_of_a_double(br#"{"b":[-0.5,1e5],"a":-1e400}"#, "-1e400", 0)]
    fn broken_json_is_repaired(#[case] bytes: &[u8], #[case] value: &str, #[case] expected_repairs: usize) {
        let (text, repaired) = repair(bytes);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((parsed["a"].as_str(), repaired), (Some(value), expected_repairs));
    }

    proptest! {
        #[test]
        fn valid_json_keeps_its_meaning(value in any::<String>()) {
            let json = serde_json::json!({ "a": value, value: [1, "\u{1F600}"] });
            let (text, repaired) = repair(json.to_string().as_bytes());
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), json);
            prop_assert_eq!(repaired, 0);
        }

        #[test]
        fn repair_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = repair(&bytes);
        }
    }
}
