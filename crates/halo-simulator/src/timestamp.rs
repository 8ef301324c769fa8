//! Timestamps as the server's database stores them.
//!
//! The columns are SQL Server `datetime`, which counts steps of 1/300 s, so every fraction that a client reads ends in
//! 0, 3 or 7 milliseconds (halo-api.md §2.4). A [`SqlDateTime`] is that count: it holds no value that the real server
//! could not store, and equal timestamps are as frequent as there.

use std::num::NonZeroU64;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};

use crate::json;

const STEPS_PER_SECOND: u64 = 300;
const SECONDS_PER_DAY: u64 = 86_400;
/// Seconds from 0000-03-01, where the count starts, to 1970-01-01. A year that starts in March ends with the leap day;
/// starting in year 0 makes the sentinel `0001-01-01` an ordinary value.
const UNIX_EPOCH_SECONDS: i64 = 62_162_035_200;

/// A timestamp in steps of 1/300 s since 0000-03-01 UTC.
///
/// Never zero, so that an `Option<SqlDateTime>` takes eight bytes: a million tickets hold several of them each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlDateTime(NonZeroU64);

impl SqlDateTime {
    /// `0001-01-01T00:00:00`, the unset value of a .NET date (halo-api.md §6).
    pub const NET_ZERO: SqlDateTime = SqlDateTime::from_days(306);
    /// `1899-12-30T00:00:00`, the unset value of an OLE date.
    pub const OLE_ZERO: SqlDateTime = SqlDateTime::from_days(693_899);
    /// `1900-01-01T00:00:00`, the unset value of a `datetime` column.
    pub const COLUMN_ZERO: SqlDateTime = SqlDateTime::from_days(693_901);

    /// Converts to the nearest step, as SQL Server rounds: 17.1521 s becomes 17.153 s.
    #[must_use]
    pub fn from_utc(time: DateTime<Utc>) -> SqlDateTime {
        let micros = time.timestamp_micros().saturating_add(UNIX_EPOCH_SECONDS * 1_000_000);
        let micros = u64::try_from(micros).unwrap_or(0);
        SqlDateTime::from_steps((micros.saturating_mul(3) + 5_000) / 10_000)
    }

    /// Parses a date as the filters of the ticket list do: with or without a zone, with or without a time.
    ///
    /// A text without a zone is UTC (halo-api.md §2.4; the knob `date_filter_shift` adds an offset).
    #[must_use]
    pub fn parse(text: &str) -> Option<SqlDateTime> {
        let text = text.trim();
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(SqlDateTime::from_utc(time.to_utc()));
        }
        let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"))
            .or_else(|_| {
                NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|day| day.and_time(chrono::NaiveTime::MIN))
            });
        local.ok().map(|time| SqlDateTime::from_utc(time.and_utc()))
    }

    /// Returns the timestamp plus `delta`.
    #[must_use]
    pub fn plus(self, delta: TimeDelta) -> SqlDateTime {
        let steps = delta.num_milliseconds().saturating_mul(3) / 10;
        SqlDateTime::from_steps(self.0.get().saturating_add_signed(steps))
    }

    /// Truncates to the second.
    #[must_use]
    pub fn whole_second(self) -> SqlDateTime {
        SqlDateTime::from_steps(self.0.get() / STEPS_PER_SECOND * STEPS_PER_SECOND)
    }

    /// Truncates to the minute.
    #[must_use]
    pub fn whole_minute(self) -> SqlDateTime {
        SqlDateTime::from_steps(self.0.get() / (60 * STEPS_PER_SECOND) * (60 * STEPS_PER_SECOND))
    }

    /// Truncates to the day.
    #[must_use]
    pub fn midnight(self) -> SqlDateTime {
        let day = SECONDS_PER_DAY * STEPS_PER_SECOND;
        SqlDateTime::from_steps(self.0.get() / day * day)
    }

    /// Returns the number of steps, which also serves as a seed that changes with the timestamp.
    #[must_use]
    pub fn steps(self) -> u64 {
        self.0.get()
    }

    /// Returns the milliseconds since `earlier`; negative if `earlier` is later.
    #[must_use]
    pub fn millis_since(self, earlier: SqlDateTime) -> i64 {
        let steps = i128::from(self.0.get()) - i128::from(earlier.0.get());
        i64::try_from(steps * 10 / 3).unwrap_or(i64::MAX)
    }

    /// Writes the timestamp as in a GET response: no zone, at most three fractional digits, no trailing zeros
    /// (halo-api.md §6). Formatted by hand, because a page spends most of its time on it.
    pub fn write(self, out: &mut Vec<u8>) {
        let steps = self.0.get();
        let seconds = steps / STEPS_PER_SECOND;
        let millis = ((steps % STEPS_PER_SECOND) * 10 + 1) / 3;
        let (year, month, day) = civil_from_days(seconds / SECONDS_PER_DAY);
        let second_of_day = seconds % SECONDS_PER_DAY;

        let mut text = *b"0000-00-00T00:00:00.000";
        for (offset, pair) in [
            (0, year / 100),
            (2, year % 100),
            (5, month),
            (8, day),
            (11, second_of_day / 3_600),
            (14, second_of_day / 60 % 60),
            (17, second_of_day % 60),
            (20, millis / 10),
        ] {
            text[offset..offset + 2].copy_from_slice(&json::digit_pair(pair));
        }
        text[22] = json::digit_pair(millis % 10)[1];
        let length = match millis {
            0 => 19,
            _ if millis.is_multiple_of(100) => 21,
            _ if millis.is_multiple_of(10) => 22,
            _ => 23,
        };
        out.extend_from_slice(&text[..length]);
    }

    const fn from_days(days: u64) -> SqlDateTime {
        SqlDateTime::from_steps(days * SECONDS_PER_DAY * STEPS_PER_SECOND)
    }

    const fn from_steps(steps: u64) -> SqlDateTime {
        match NonZeroU64::new(steps) {
            Some(steps) => SqlDateTime(steps),
            None => SqlDateTime(NonZeroU64::MIN),
        }
    }
}

/// Returns year, month and day of a day number since 0000-03-01 (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reformat(text: &str) -> String {
        let mut out = Vec::new();
        SqlDateTime::parse(text).expect("a date").write(&mut out);
        String::from_utf8(out).expect("digits")
    }

    #[test]
    fn fractions_end_in_0_3_or_7_without_trailing_zeros() {
        for (written, read_back) in [
            ("2025-10-28T16:19:17.1521", "2025-10-28T16:19:17.153"),
            ("2025-10-28T16:19:26.54", "2025-10-28T16:19:26.54"),
            ("2025-10-28T16:19:13.229", "2025-10-28T16:19:13.23"),
            ("2025-10-28T14:00:00", "2025-10-28T14:00:00"),
            ("2025-10-28T14:00:00.999Z", "2025-10-28T14:00:01"),
            ("2024-02-29T23:59:59.5+02:00", "2024-02-29T21:59:59.5"),
            ("2026-01-31", "2026-01-31T00:00:00"),
            ("1900-01-01T00:00:00", "1900-01-01T00:00:00"),
            ("0001-01-01T00:00:00", "0001-01-01T00:00:00"),
        ] {
            assert_eq!(reformat(written), read_back);
        }
    }

    #[test]
    fn zero_constants_match_the_recorded_sentinels() {
        for (sentinel, text) in [
            (SqlDateTime::NET_ZERO, "0001-01-01"),
            (SqlDateTime::OLE_ZERO, "1899-12-30"),
            (SqlDateTime::COLUMN_ZERO, "1900-01-01"),
        ] {
            assert_eq!(SqlDateTime::parse(text), Some(sentinel));
        }
    }

    #[test]
    fn dates_of_four_centuries_match_chrono() {
        let mut day = NaiveDate::from_ymd_opt(1801, 1, 1).expect("a day");
        for _ in 0..146_097 {
            let text = format!("{day}T00:00:00");
            assert_eq!(reformat(&text), text);
            day = day.succ_opt().expect("a next day");
        }
    }
}
