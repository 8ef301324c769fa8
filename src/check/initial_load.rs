//! What the initial load costs. Pure functions from facts to outcomes.

use std::time::Duration;

use indicatif::HumanCount;
use serde::{Serialize, Serializer};

use super::CheckOutcome;
use crate::app::count;
use crate::config::RateLimit;
use crate::halo::effective_limit;
use crate::store::{Probe, ServerProbe};
use crate::sync::custom_fields::source::FieldProbeResult;

/// Requests of the initial load besides its pages: two for the token, three for reference lists, one spare.
const REQUESTS_BESIDES_PAGES: u64 = 6;

/// Cost of the initial load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct InitialLoadEstimate {
    /// Number of requests.
    pub requests: u64,
    /// Time at the configured rate limit.
    #[serde(rename = "seconds", serialize_with = "serialize_seconds")]
    pub duration: Duration,
}

fn serialize_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

/// How custom fields are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CustomFieldsReadMode {
    /// With the list, or not at all.
    WithList,
    /// One request for each ticket.
    PerTicket,
    /// Not probed yet.
    Unknown,
}

/// Returns how runs will read custom fields, by the probes so far.
pub(super) fn custom_fields_mode(wanted: bool, probes: &[ServerProbe]) -> CustomFieldsReadMode {
    let probe = probes.iter().find(|it| it.probe == Probe::CustomFields);
    match probe.and_then(|it| FieldProbeResult::parse(&it.result)) {
        _ if !wanted => CustomFieldsReadMode::WithList,
        Some(FieldProbeResult::Unreliable) => CustomFieldsReadMode::PerTicket,
        Some(FieldProbeResult::Listed | FieldProbeResult::ListedUnlessEmpty | FieldProbeResult::NoFields) => {
            CustomFieldsReadMode::WithList
        }
        Some(FieldProbeResult::Unknown) | None => CustomFieldsReadMode::Unknown,
    }
}

/// Estimates the initial load of `tickets` tickets with `page_rows` rows a page and `parallel_requests` requests of
/// `latency` each; `single_requests` fetch tickets one by one. `used` requests of the rate limit's window are used up
/// already.
pub(super) fn estimate_initial_load(
    tickets: u64,
    page_rows: u64,
    single_requests: u64,
    parallel_requests: u32,
    latency: Duration,
    limit: RateLimit,
    used: u64,
) -> InitialLoadEstimate {
    let requests = tickets.div_ceil(page_rows.max(1)) + single_requests + REQUESTS_BESIDES_PAGES;
    let last_request = used.saturating_add(requests - 1);
    let whole_windows = u32::try_from(last_request / u64::from(effective_limit(limit))).unwrap_or(u32::MAX);
    let rate_limit_time = limit.window.saturating_mul(whole_windows);
    let sequential_requests =
        u32::try_from(requests.div_ceil(u64::from(parallel_requests.max(1)))).unwrap_or(u32::MAX);
    InitialLoadEstimate {
        requests,
        duration: rate_limit_time.max(latency.saturating_mul(sequential_requests)),
    }
}

/// Describes the estimate: with the list alone, and with custom fields read one ticket at a time.
pub(super) fn initial_load(
    with_list: InitialLoadEstimate,
    per_ticket: InitialLoadEstimate,
    mode: CustomFieldsReadMode,
    limit: RateLimit,
) -> CheckOutcome {
    let duration_text = |estimate: InitialLoadEstimate| match estimate.duration.as_secs().div_ceil(60) {
        0 | 1 => "up to a minute".to_owned(),
        minutes => format!("about {} minutes", HumanCount(minutes)),
    };
    let (estimate, suffix) = match mode {
        CustomFieldsReadMode::WithList => (with_list, String::new()),
        CustomFieldsReadMode::PerTicket => {
            (per_ticket, ", with custom fields read one ticket at a time".into())
        }
        CustomFieldsReadMode::Unknown => {
            let (requests, duration) = (count(per_ticket.requests, "request"), duration_text(per_ticket));
            (
                with_list,
                format!("; {requests}, {duration}, if custom fields must be read one ticket at a time"),
            )
        }
    };
    CheckOutcome::Ok(format!(
        "{}, {} at a rate limit of {}/{}{suffix}",
        count(estimate.requests, "request"),
        duration_text(estimate),
        limit.requests,
        humantime::format_duration(limit.window)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::Timestamp;

    use CustomFieldsReadMode::{PerTicket, Unknown, WithList};

    const LIMIT: RateLimit = RateLimit { requests: 300, window: Duration::from_mins(5) };

    #[test]
    fn initial_load_estimate_is_longer_of_rate_limit_and_pages() {
        let estimate = |count, took, used| {
            estimate_initial_load(count, 100, 0, 4, Duration::from_millis(took), LIMIT, used)
        };
        for (count, took, used, requests, seconds) in [
            (0, 100, 0, 6, 0),
            (10_000, 100, 0, 106, 2),
            (27_900, 0, 0, 285, 0),
            (28_000, 0, 0, 286, 300),
            (1_000_000, 100, 0, 10_006, 35 * 300),
            (20_000, 60_000, 0, 206, 52 * 60),
            // What the window has used up already is waited for.
            (10_000, 100, 179, 106, 2),
            (10_000, 100, 180, 106, 300),
            (0, 100, 285, 6, 300),
        ] {
            let InitialLoadEstimate { requests: found, duration: takes } = estimate(count, took, used);
            assert_eq!(
                (found, takes.as_secs()),
                (requests, seconds),
                "{count} tickets, {took} ms, {used} used"
            );
        }
        let per_ticket = estimate_initial_load(10_000, 100, 10_000, 4, Duration::from_millis(100), LIMIT, 0);
        assert_eq!((per_ticket.requests, per_ticket.duration.as_secs()), (10_106, 35 * 300));
    }

    #[test]
    fn custom_fields_are_estimated_per_ticket_where_probe_says_so() {
        let probed_at: Timestamp = "2026-11-22T12:00:00.000Z".parse().unwrap();
        let probe =
            |probe, result: &str| ServerProbe { probe, result: result.into(), details: None, probed_at };
        let names = probe(Probe::ClosedStatuses, "known");
        let unreliable = probe(Probe::CustomFields, "unreliable");
        let listed = probe(Probe::CustomFields, "listed");
        for (wanted, probes, mode, fragment) in [
            (
                false,
                vec![unreliable.clone()],
                WithList,
                "106 requests, about 5 minutes at a rate limit of 300/5m",
            ),
            (true, vec![names.clone(), unreliable], PerTicket, "10,106 requests, about 175 minutes"),
            (true, vec![names], Unknown, "; 10,106 requests, about 175 minutes, if custom"),
            (true, vec![listed], WithList, "106 requests, about 5 minutes"),
        ] {
            assert_eq!(custom_fields_mode(wanted, &probes), mode, "{probes:?}");
            let estimate =
                |requests, minutes| InitialLoadEstimate { requests, duration: Duration::from_mins(minutes) };
            let message = initial_load(estimate(106, 5), estimate(10_106, 175), mode, LIMIT).message();
            assert!(message.contains(fragment), "{message}");
        }
    }
}
