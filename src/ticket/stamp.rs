//! The one spelling of time: UTC text `YYYY-MM-DDTHH:MM:SS.sssZ`, always 24 characters, so that text
//! order is time order.
//!
//! The server writes instants without a zone and with 0 to 3 fraction digits, in other answers with 7
//! digits and `Z` or an offset; "no date" is a date before 1980 (`halo-api.md` §6).

use std::fmt;

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, TimeDelta, Timelike as _, Utc};

/// An instant in whole milliseconds, floored, between the years 0000 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(DateTime<Utc>);

/// The text is no instant that the agent knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date and time")]
pub struct NotAnInstant;

/// The first year that counts as a date: unset dates come as 0001, 1899, 1900 and 1901.
const FIRST_YEAR: i32 = 1980;

impl Stamp {
    /// The instant, floored to milliseconds; `None` outside the years that 24 characters can spell.
    #[must_use]
    pub fn new(instant: DateTime<Utc>) -> Option<Stamp> {
        let below = instant.nanosecond() % 1_000_000;
        let floored = instant - TimeDelta::nanoseconds(i64::from(below));
        (0..=9999).contains(&floored.year()).then_some(Stamp(floored))
    }

    /// Reads an instant as the server writes it; `Ok(None)` is the server's "no date".
    ///
    /// # Errors
    /// [`NotAnInstant`] where the text is neither.
    pub fn read(text: &str) -> Result<Option<Stamp>, NotAnInstant> {
        let text = text.trim();
        let instant = match plain(text.as_bytes()) {
            Some(instant) => instant,
            None => with_zone(text).or_else(|| bare_date(text)).ok_or(NotAnInstant)?,
        };
        if instant.year() < FIRST_YEAR {
            return Ok(None);
        }
        Stamp::new(instant).map(Some).ok_or(NotAnInstant)
    }

    /// Reads back what [`Stamp`] spelled, as it stands in the database.
    ///
    /// # Errors
    /// [`NotAnInstant`] for any other spelling.
    pub fn from_spelled(text: &str) -> Result<Stamp, NotAnInstant> {
        let stamp = plain(text.as_bytes()).and_then(Stamp::new).ok_or(NotAnInstant)?;
        if stamp.to_string() == text { Ok(stamp) } else { Err(NotAnInstant) }
    }

    /// The instant.
    #[must_use]
    pub fn instant(self) -> DateTime<Utc> {
        self.0
    }

    /// Earlier by that much; the beginning of time where that cannot be spelled.
    #[must_use]
    pub fn minus(self, span: TimeDelta) -> Stamp {
        self.0.checked_sub_signed(span).and_then(Stamp::new).unwrap_or(Stamp(DateTime::UNIX_EPOCH))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        digits(&mut text[0..4], at.year().unsigned_abs());
        digits(&mut text[5..7], at.month());
        digits(&mut text[8..10], at.day());
        digits(&mut text[11..13], at.hour());
        digits(&mut text[14..16], at.minute());
        digits(&mut text[17..19], at.second());
        digits(&mut text[20..23], at.nanosecond() / 1_000_000);
        out.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

fn digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        // A remainder of ten fits a byte.
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction][Z]`, read by hand because eight of them stand in every row.
fn plain(text: &[u8]) -> Option<DateTime<Utc>> {
    let text = text.strip_suffix(b"Z").unwrap_or(text);
    let (clock, fraction) = (text.get(..19)?, &text[19..]);
    if clock[4] != b'-' || clock[7] != b'-' || clock[13] != b':' || clock[16] != b':' || clock[10] != b'T' {
        return None;
    }
    let milli = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) => {
            [100, 10, 1].iter().zip(digits).map(|(place, digit)| place * u32::from(digit - b'0')).sum()
        }
        _ => return None,
    };
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(number(&clock[0..4])?).ok()?,
        number(&clock[5..7])?,
        number(&clock[8..10])?,
    )?;
    let at = date.and_hms_milli_opt(
        number(&clock[11..13])?,
        number(&clock[14..16])?,
        number(&clock[17..19])?,
        milli,
    )?;
    Some(at.and_utc())
}

fn number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

/// The rarer spellings: an offset, a blank in place of `T`, a leap second.
fn with_zone(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::<FixedOffset>::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .map(|at| at.to_utc())
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(|at| at.and_utc()))
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|at| at.and_utc()))
        .ok()
}

/// A date alone is the midnight that begins it; the server gives date-only fields as midnights too.
fn bare_date(text: &str) -> Option<DateTime<Utc>> {
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
    #[case::an_offset("2022-09-30T10:00:00-04:00", "2022-09-30T14:00:00.000Z")]
    #[case::an_offset_without_colon("2022-09-30T10:00:00.25-0400", "2022-09-30T14:00:00.250Z")]
    #[case::a_blank("2025-10-28 14:00:00.1", "2025-10-28T14:00:00.100Z")]
    #[case::a_date("2025-10-28", "2025-10-28T00:00:00.000Z")]
    #[case::a_far_future("9999-12-31T23:59:59.999", "9999-12-31T23:59:59.999Z")]
    fn an_instant_has_one_spelling(#[case] written: &str, #[case] spelled: &str) {
        assert_eq!(Stamp::read(written).map(|at| at.map(|at| at.to_string())), Ok(Some(spelled.to_owned())));
    }

    #[rstest]
    #[case("0001-01-01T00:00:00")]
    #[case("1899-12-30T00:00:00")]
    #[case("1900-01-01T00:00:00")]
    #[case("1901-01-01T08:00:00")]
    #[case("1979-12-31T23:59:59.999")]
    fn a_year_before_1980_is_no_date(#[case] written: &str) {
        assert_eq!(Stamp::read(written), Ok(None));
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
    fn what_is_no_instant_is_refused(#[case] written: &str) {
        assert_eq!(Stamp::read(written), Err(NotAnInstant));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC*") {
            let _ = Stamp::read(&text);
        }

        #[test]
        fn spelling_is_read_back_and_keeps_the_order(left in 315_532_800_000_i64..253_402_300_799_999, right in 315_532_800_000_i64..253_402_300_799_999) {
            let stamps = [left, right].map(|ms| Stamp::new(DateTime::from_timestamp_millis(ms).unwrap()).unwrap());
            let texts = stamps.map(|stamp| stamp.to_string());
            for (stamp, text) in stamps.iter().zip(&texts) {
                prop_assert_eq!(text.len(), 24);
                prop_assert_eq!(Stamp::from_spelled(text), Ok(*stamp));
                prop_assert_eq!(Stamp::read(text), Ok(Some(*stamp)));
            }
            prop_assert_eq!(stamps[0].cmp(&stamps[1]), texts[0].cmp(&texts[1]));
        }
    }
}
