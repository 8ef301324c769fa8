//! Durations for people.

use chrono::TimeDelta;

use super::count;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A duration in its greatest unit: `32 s`, `4 min`, `3 h`, `3 days`.
#[must_use]
pub fn rough_duration(seconds: u64) -> String {
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        _ => count(seconds / DAY, "day"),
    }
}

/// A duration in its two greatest units: `32 s`, `4 min 32 s`, `3 h`, `1 day 4 h`, `3 days`.
#[must_use]
pub fn duration_to_text(seconds: u64) -> String {
    let rest = match seconds {
        0..MINUTE => 0,
        MINUTE..HOUR => seconds % MINUTE,
        HOUR..DAY => seconds % HOUR / MINUTE * MINUTE,
        // Of several days nobody counts the hours.
        _ if seconds / DAY == 1 => seconds % DAY / HOUR * HOUR,
        _ => 0,
    };
    let first = rough_duration(seconds);
    if rest == 0 { first } else { format!("{first} {}", rough_duration(rest)) }
}

/// An age: `just now`, `1 min ago`, and `in 5 min` where the other clock is ahead.
#[must_use]
pub fn age_to_text(age: TimeDelta) -> String {
    let seconds = age.num_seconds();
    let text = rough_duration(seconds.unsigned_abs());
    match seconds {
        0 => "just now".into(),
        ..0 => format!("in {text}"),
        _ => format!("{text} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_or_two_units_and_agree_in_number() {
        for (seconds, rough, text) in [
            (0, "0 s", "0 s"),
            (59, "59 s", "59 s"),
            (60, "1 min", "1 min"),
            (272, "4 min", "4 min 32 s"),
            (3_600, "1 h", "1 h"),
            (3_659, "1 h", "1 h"),
            (11_100, "3 h", "3 h 5 min"),
            (86_400, "1 day", "1 day"),
            (86_400 + 4 * 3_600 + 59, "1 day", "1 day 4 h"),
            (3 * 86_400 + 4 * 3_600, "3 days", "3 days"),
            (1_500 * 86_400, "1,500 days", "1,500 days"),
        ] {
            assert_eq!((rough_duration(seconds).as_str(), duration_to_text(seconds).as_str()), (rough, text));
        }
    }

    #[test]
    fn ages_name_the_past_the_present_and_the_future() {
        for (milliseconds, text) in [
            (0, "just now"),
            (999, "just now"),
            (-999, "just now"),
            (1_000, "1 s ago"),
            (119_999, "1 min ago"),
            (-300_000, "in 5 min"),
            (259_200_000, "3 days ago"),
        ] {
            assert_eq!(age_to_text(TimeDelta::milliseconds(milliseconds)), text);
        }
    }
}
