//! Repairs common defects of JSON documents.
//!
//! Invalid UTF-8, lone surrogates (`\ud800`) and raw control characters in a string become U+FFFD and are
//! counted. A byte-order mark is removed; a raw line break or tab in a string is escaped. A number beyond
//! the range of a double becomes a string, so that only its attribute is lost and not the page.

/// Returns the repaired text and the number of places that became U+FFFD.
pub(super) fn repair(bytes: &[u8]) -> (String, usize) {
    let mut repaired = 0;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push('\u{FFFD}');
            repaired += 1;
        }
    }
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let (text, repaired_in_strings) = repair_strings(text);
    (text, repaired + repaired_in_strings)
}

fn repair_strings(text: &str) -> (String, usize) {
    let mut out = String::with_capacity(text.len());
    let mut repaired = 0;
    let mut in_string = false;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let consumed = match next {
            '"' => {
                in_string = !in_string;
                out.push('"');
                1
            }
            '\\' if in_string => copy_escape(rest, &mut out, &mut repaired),
            '\n' | '\r' | '\t' if in_string => {
                out.push_str(match next {
                    '\n' => "\\n",
                    '\r' => "\\r",
                    _ => "\\t",
                });
                1
            }
            control if in_string && control < ' ' => {
                out.push('\u{FFFD}');
                repaired += 1;
                1
            }
            '-' | '0'..='9' if !in_string => copy_number(rest, &mut out),
            other => {
                out.push(other);
                other.len_utf8()
            }
        };
        rest = &rest[consumed..];
    }
    (out, repaired)
}

/// Copies the number at the start of `rest`, in quotes if it is beyond the range of a double. Returns its
/// length.
fn copy_number(rest: &str, out: &mut String) -> usize {
    let length =
        rest.find(|it: char| !matches!(it, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
    let digits = &rest[..length];
    if digits.parse::<f64>().is_ok_and(f64::is_infinite) {
        out.push('"');
        out.push_str(digits);
        out.push('"');
    } else {
        out.push_str(digits);
    }
    length
}

/// Copies the escape at the start of `rest`, or U+FFFD for a lone surrogate. Returns the bytes consumed.
fn copy_escape(rest: &str, out: &mut String, repaired: &mut usize) -> usize {
    match utf16_unit(rest) {
        Some(0xD800..=0xDBFF) if matches!(rest.get(6..).and_then(utf16_unit), Some(0xDC00..=0xDFFF)) => {
            out.push_str(&rest[..12]);
            12
        }
        Some(0xD800..=0xDFFF) => {
            out.push('\u{FFFD}');
            *repaired += 1;
            6
        }
        Some(_) => {
            out.push_str(&rest[..6]);
            6
        }
        None => {
            let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[..length]);
            length
        }
    }
}

/// Returns the UTF-16 code unit of a `\u` escape at the start of the text.
fn utf16_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
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
