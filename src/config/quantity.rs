//! Quantities in settings: durations, rate limits, percentages, sizes.

use std::time::Duration;

use indicatif::HumanCount;

/// Parses a duration with a unit; never zero.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text.trim()).ok().filter(|duration| !duration.is_zero())
}

/// At most `requests` requests in any rolling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Number of requests, at least one.
    pub requests: u32,
    /// Length of the window.
    pub window: Duration,
}

impl RateLimit {
    /// Parses a text such as `300/5m`.
    pub(super) fn parse(text: &str) -> Option<RateLimit> {
        let (requests, window) = text.split_once('/')?;
        let requests = requests.trim().parse().ok().filter(|requests| 0 < *requests)?;
        // `300/m` means 300 in one minute.
        let window = window.trim();
        let unit_alone = window.starts_with(|first: char| first.is_ascii_alphabetic());
        let window = if unit_alone { parse_duration(&format!("1{window}")) } else { parse_duration(window) }?;
        Some(RateLimit { requests, window })
    }
}

/// Parses a percentage into a fraction from 0 to 1.
pub(super) fn parse_percentage(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

/// Parses a size such as `256MB` into bytes; `0` needs no unit. A unit is 1,024 times the one before.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().ok()?;
    let shift = match unit.trim().to_ascii_uppercase().as_str() {
        "" if number == 0 => 0,
        "B" => 0,
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// Formats a number of bytes in the units of the settings, where 1 MB has 1,048,576 bytes: `24.2 MB`, `9,216 MB`, `12 GB`.
#[must_use]
pub fn size_to_text(bytes: u64) -> String {
    let megabytes = bytes >> 20;
    match megabytes {
        0..100 => format!("{megabytes}.{} MB", ((bytes % (1 << 20)) * 10) >> 20),
        100..10_000 => format!("{} MB", HumanCount(megabytes)),
        _ => format!("{} GB", HumanCount(megabytes >> 10)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_needs_a_unit_unless_it_is_0() {
        for (text, expected) in [
            ("256MB", Some(256 << 20)),
            (" 2 gb ", Some(2 << 30)),
            ("1KB", Some(1_024)),
            ("7B", Some(7)),
            ("1TB", Some(1 << 40)),
            ("0", Some(0)),
            ("0MB", Some(0)),
            ("256", None),
            ("MB", None),
            ("", None),
            ("-1MB", None),
            ("1.5GB", None),
            ("1PB", None),
            ("99999999TB", None),
            ("99999999999999999999B", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }

    #[test]
    fn rate_limit_is_requests_per_window() {
        for (text, limit) in [
            ("300/5m", Some((300, 300))),
            ("450 / 300s", Some((450, 300))),
            ("10/s", Some((10, 1))),
            ("0/5m", None),
            ("300", None),
            ("300/0s", None),
            ("many/5m", None),
        ] {
            let limit = limit.map(|(requests, s)| RateLimit { requests, window: Duration::from_secs(s) });
            assert_eq!(RateLimit::parse(text), limit, "{text}");
        }
    }

    #[test]
    fn percentage_is_parsed_as_a_fraction() {
        for (text, expected) in
            [("5%", Some(0.05)), ("0%", Some(0.0)), ("101%", None), ("5", None), ("-1%", None)]
        {
            assert_eq!(parse_percentage(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_have_the_units_of_the_settings() {
        for (bytes, text) in [
            (0, "0.0 MB"),
            (426_535, "0.4 MB"),
            (25_400_000, "24.2 MB"),
            (100 << 20, "100 MB"),
            (9 << 30, "9,216 MB"),
            (12 << 30, "12 GB"),
            (u64::MAX, "17,179,869,183 GB"),
        ] {
            assert_eq!(size_to_text(bytes), text);
        }
    }
}
