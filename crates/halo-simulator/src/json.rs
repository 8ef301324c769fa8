//! Writers for the JSON values of a row, which append to a buffer.
//!
//! A page holds about 10,000 values; building a `serde_json` tree of them would cost more than everything else combined.

use std::io::Write;

const DIGIT_PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// Returns the two digits of a number below 100.
pub(crate) fn digit_pair(number: u64) -> [u8; 2] {
    let start = usize::try_from(number % 100).unwrap_or(0) * 2;
    [DIGIT_PAIRS[start], DIGIT_PAIRS[start + 1]]
}

pub(crate) fn integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    let mut rest = value.unsigned_abs();
    let mut text = [0_u8; 20];
    let mut start = text.len();
    while rest >= 10 {
        start -= 2;
        text[start..start + 2].copy_from_slice(&digit_pair(rest));
        rest /= 100;
    }
    if rest > 0 || start == text.len() {
        start -= 1;
        text[start] = b'0' + u8::try_from(rest).unwrap_or(0);
    }
    out.extend_from_slice(&text[start..]);
}

/// Writes a floating-point number with its decimal point: `27.0`, `-0.0`, `0.7500000000000001` (halo-api.md §5).
pub(crate) fn real(out: &mut Vec<u8>, value: f64) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value:?}");
}

pub(crate) fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Escapes a text as the inside of a JSON string, for text that is prepared once and copied often.
pub(crate) fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Writes 16 random bytes as a quoted GUID.
pub(crate) fn guid(out: &mut Vec<u8>, high: u64, low: u64) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for (index, byte) in high.to_be_bytes().into_iter().chain(low.to_be_bytes()).enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_output_matches_standard_library() {
        for value in [0, 5, 9, 10, 42, 99, 100, 101, 1_000, 408_002, -1, -17, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            integer(&mut out, value);
            assert_eq!(String::from_utf8(out).expect("digits"), value.to_string());
        }
    }

    #[test]
    fn whole_float_keeps_point_and_negative_zero_keeps_sign() {
        for (value, text) in
            [(0.0, "0.0"), (-0.0, "-0.0"), (27.0, "27.0"), (0.1 + 0.65, "0.75"), (0.000_39, "0.00039")]
        {
            let mut out = Vec::new();
            real(&mut out, value);
            assert_eq!(String::from_utf8(out).expect("digits"), text);
        }
    }
}
