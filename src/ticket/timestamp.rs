//! Timestamps: UTC text `YYYY-MM-DDTHH:MM:SS.sssZ`, always 24 characters, so that text order is time
//! order.
//!
//! The server sends instants without a zone and with 0 to 3 fraction digits, in some responses with 7
//! digits and `Z` or an offset. "No date" is any year before 1980 (`halo-api.md` §6).

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, TimeDelta, Timelike as _, Utc};

/// An instant in whole milliseconds, floored, between the years 0000 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

/// The text is not a timestamp in a known format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date and time")]
pub struct InvalidTimestamp;

/// First year that counts as a date; the server sends unset dates as 0001, 1899, 1900 or 1901.
const FIRST_YEAR: i32 = 1980;

impl Timestamp {
    /// Floors an instant to milliseconds; `None` outside the years 0000 to 9999.
    #[must_use]
    pub fn new(instant: DateTime<Utc>) -> Option<Timestamp> {
        let sub_millis = instant.nanosecond() % 1_000_000;
        let floored = instant - TimeDelta::nanoseconds(i64::from(sub_millis));
        (0..=9999).contains(&floored.year()).then_some(Timestamp(floored))
    }

    /// Parses an instant in any format that HaloITSM sends; `Ok(None)` is its "no date".
    pub fn parse_halo(text: &str) -> Result<Option<Timestamp>, InvalidTimestamp> {
        let text = text.trim();
        let instant = match parse_common(text.as_bytes()) {
            Some(instant) => instant,
            None => parse_uncommon(text).or_else(|| parse_date(text)).ok_or(InvalidTimestamp)?,
        };
        if instant.year() < FIRST_YEAR {
            return Ok(None);
        }
        Timestamp::new(instant).map(Some).ok_or(InvalidTimestamp)
    }

    /// Returns the instant.
    #[must_use]
    pub fn instant(self) -> DateTime<Utc> {
        self.0
    }

    /// Returns the text to the second, for people.
    #[must_use]
    pub fn to_second(self) -> String {
        self.0.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Whether the two are less than `span` apart, whichever is the earlier one: a clock may have been set back.
    #[must_use]
    pub fn is_within(self, span: TimeDelta, other: Timestamp) -> bool {
        (self.0 - other.0).abs() < span
    }

    /// Returns the timestamp `span` later; 1970-01-01 if the result is out of range.
    #[must_use]
    pub fn plus(self, span: TimeDelta) -> Timestamp {
        self.0.checked_add_signed(span).and_then(Timestamp::new).unwrap_or(Timestamp(DateTime::UNIX_EPOCH))
    }

    /// Returns the timestamp `span` earlier; 1970-01-01 if the result is out of range.
    #[must_use]
    pub fn minus(self, span: TimeDelta) -> Timestamp {
        self.0.checked_sub_signed(span).and_then(Timestamp::new).unwrap_or(Timestamp(DateTime::UNIX_EPOCH))
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Parses the 24 characters that `Display` writes, and nothing else; see [`Timestamp::parse_halo`] for
    /// other formats.
    fn from_str(text: &str) -> Result<Timestamp, InvalidTimestamp> {
        let timestamp = parse_common(text.as_bytes()).and_then(Timestamp::new).ok_or(InvalidTimestamp)?;
        if timestamp.to_string() == text { Ok(timestamp) } else { Err(InvalidTimestamp) }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        write_digits(&mut text[0..4], at.year().unsigned_abs());
        write_digits(&mut text[5..7], at.month());
        write_digits(&mut text[8..10], at.day());
        write_digits(&mut text[11..13], at.hour());
        write_digits(&mut text[14..16], at.minute());
        write_digits(&mut text[17..19], at.second());
        write_digits(&mut text[20..23], at.nanosecond() / 1_000_000);
        out.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

fn write_digits(target: &mut [u8], mut number: u32) {
    for digit in target.iter_mut().rev() {
        // Cannot fail: the remainder is below ten.
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// Parses `YYYY-MM-DDTHH:MM:SS[.fraction][Z]` by hand, for speed: every row has eight of them.
fn parse_common(text: &[u8]) -> Option<DateTime<Utc>> {
    let text = text.strip_suffix(b"Z").unwrap_or(text);
    let (date_time, fraction) = (text.get(..19)?, &text[19..]);
    if date_time[4] != b'-'
        || date_time[7] != b'-'
        || date_time[13] != b':'
        || date_time[16] != b':'
        || date_time[10] != b'T'
    {
        return None;
    }
    let milli = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) => {
            [100, 10, 1].iter().zip(digits).map(|(weight, digit)| weight * u32::from(digit - b'0')).sum()
        }
        _ => return None,
    };
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(parse_number(&date_time[0..4])?).ok()?,
        parse_number(&date_time[5..7])?,
        parse_number(&date_time[8..10])?,
    )?;
    let at = date.and_hms_milli_opt(
        parse_number(&date_time[11..13])?,
        parse_number(&date_time[14..16])?,
        parse_number(&date_time[17..19])?,
        milli,
    )?;
    Some(at.and_utc())
}

fn parse_number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

/// Parses the rarer formats: an offset, a space instead of `T`, a leap second.
fn parse_uncommon(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::<FixedOffset>::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .map(|at| at.to_utc())
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(|at| at.and_utc()))
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|at| at.and_utc()))
        .ok()
}

/// Parses a date without a time as midnight, which is how the server sends date-only fields too.
fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::no_fraction("2025-10-28T14:00:00", "2025-10-28T14:00:00.000Z")]
    #[case::one_digit("2025-10-28T16:19:26.5", "2025-10-28T16:19:26.500Z")]
    #[case::two_digits("2025-10-28T16:19:26.54", "2025-10-28T16:19:26.540Z")]
    #[case::three_digits("2025-10-31T16:19:27.953", "2025-10-31T16:19:27.953Z")]
    #[case::seven_digits_are_floored("2024-06-20T14:45:16.4929999Z", "2024-06-20T14:45:16.492Z")]
    #[case::offset("2022-09-30T10:00:00-04:00", "2022-09-30T14:00:00.000Z")]
    #[case::offset_without_colon("2022-09-30T10:00:00.25-0400", "2022-09-30T14:00:00.250Z")]
    #[case::space_instead_of_t("2025-10-28 14:00:00.1", "2025-10-28T14:00:00.100Z")]
    #[case::date_only("2025-10-28", "2025-10-28T00:00:00.000Z")]
    #[case::last_millisecond("9999-12-31T23:59:59.999", "9999-12-31T23:59:59.999Z")]
    fn timestamp_has_one_text_form(#[case] written: &str, #[case] expected: &str) {
        assert_eq!(
            Timestamp::parse_halo(written).map(|at| at.map(|at| at.to_string())),
            Ok(Some(expected.to_owned()))
        );
    }

    #[rstest]
    #[case("0001-01-01T00:00:00")]
    #[case("1899-12-30T00:00:00")]
    #[case("1900-01-01T00:00:00")]
    #[case("1901-01-01T08:00:00")]
    #[case("1979-12-31T23:59:59.999")]
    fn year_before_1980_means_no_date(#[case] written: &str) {
        assert_eq!(Timestamp::parse_halo(written), Ok(None));
    }

    #[rstest]
    #[case("")]
    #[case("31/12/2025")]
    #[case("2025-02-30T00:00:00")]
    #[case("2025-10-28T24:00:00")]
    #[case("2025-10-28T10:00:00.")]
    #[case("2025-10-28T10:00:00.12x")]
    #[case("10000-01-01T00:00:00")]
    #[case("yesterday")]
    fn invalid_timestamp_is_rejected(#[case] written: &str) {
        assert_eq!(Timestamp::parse_halo(written), Err(InvalidTimestamp));
    }

    proptest! {
        #[test]
        fn timestamp_parsing_never_panics(text in "\\PC*") {
            let _ = Timestamp::parse_halo(&text);
        }

        #[test]
        fn timestamp_text_round_trips_and_sorts_by_time(left in 315_532_800_000_i64..253_402_300_799_999, right in 315_532_800_000_i64..253_402_300_799_999) {
            let timestamps = [left, right].map(|ms| Timestamp::new(DateTime::from_timestamp_millis(ms).unwrap()).unwrap());
            let texts = timestamps.map(|timestamp| timestamp.to_string());
            for (timestamp, text) in timestamps.iter().zip(&texts) {
                prop_assert_eq!(text.len(), 24);
                prop_assert_eq!(text.parse(), Ok(*timestamp));
                prop_assert_eq!(Timestamp::parse_halo(text), Ok(Some(*timestamp)));
            }
            prop_assert_eq!(timestamps[0].cmp(&timestamps[1]), texts[0].cmp(&texts[1]));
        }
    }
}
