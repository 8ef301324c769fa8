//! The quantities that settings are written in.

use std::time::Duration;

use super::reader::duration;

/// A promise: no more than `requests` in any window of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many requests, at least one.
    pub requests: u32,
    /// In how long a window.
    pub window: Duration,
}

impl RateLimit {
    /// Reads `"300/5m"`.
    pub(super) fn parse(text: &str) -> Option<RateLimit> {
        let (requests, window) = text.split_once('/')?;
        let requests = requests.trim().parse().ok().filter(|requests| 0 < *requests)?;
        // `300/m` reads naturally as 300 in one minute.
        let window = window.trim();
        let unit_alone = window.starts_with(|first: char| first.is_ascii_alphabetic());
        let window = if unit_alone { duration(&format!("1{window}")) } else { duration(window) }?;
        Some(RateLimit { requests, window })
    }
}

/// A share, `0.0..=1.0`.
pub(super) fn parse_percentage(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

/// When something happens that may also never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportSchedule {
    /// Never.
    Off,
    /// After each pass.
    AfterSync,
    /// So often.
    Every(Duration),
}

impl ExportSchedule {
    pub(super) fn parse(text: &str) -> Option<ExportSchedule> {
        match text {
            "off" => Some(ExportSchedule::Off),
            "after-sync" => Some(ExportSchedule::AfterSync),
            every => duration(every).map(ExportSchedule::Every),
        }
    }
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
    fn share_is_parsed_from_a_percentage() {
        for (text, expected) in
            [("5%", Some(0.05)), ("0%", Some(0.0)), ("101%", None), ("5", None), ("-1%", None)]
        {
            assert_eq!(parse_percentage(text), expected, "{text}");
        }
    }
}
