//! Quantities in settings: durations, rate limits, percentages.

use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
