//! Interprets the facts: pure functions from facts to outcomes.

use std::time::Duration;

use chrono::TimeDelta;
use indicatif::{HumanCount, HumanDuration};
use url::Url;

use super::{CheckOutcome, InitialLoadEstimate, ListCounts};
use crate::app::{AppError, count};
use crate::config::{RateLimit, ServerUrl};
use crate::halo::{HaloError, PingResponse, effective_limit};
use crate::store::{Probe, ServerProbe};
use crate::sync;
use crate::sync::custom_fields::source::FieldProbeResult;
use crate::ticket::Timestamp;
use crate::ticket::parse::ReferenceItem;

/// Difference of clocks that is tolerated.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(1);

/// Requests of the initial load besides its pages: two for the token, three for reference lists, one spare.
const REQUESTS_BESIDES_PAGES: u64 = 6;

/// Requests that a check makes itself, roughly.
const CHECK_REQUESTS: u64 = 12;

/// Checks whether the response looks like the HaloITSM API.
pub(super) fn server(ping: PingResponse, server: &ServerUrl) -> CheckOutcome {
    let message = format!("{} responded in {} ms", server.as_str(), ping.took.as_millis());
    if !ping.is_html {
        return CheckOutcome::Ok(message);
    }
    CheckOutcome::warning(
        format!("{message}, but with a web page instead of JSON"),
        "server_url may point to the portal or to the login page of a proxy: set it to the \"Resource Server\" in \
         Configuration > Integrations > HaloITSM API",
    )
}

/// Compares the clocks; the first value is how far the server's is ahead.
pub(super) fn clock(ping: PingResponse, now: Timestamp) -> (Option<TimeDelta>, CheckOutcome) {
    let Some(date) = ping.date else {
        let outcome = CheckOutcome::warning(
            "the server sends no readable `Date` header",
            "without it the watermark cannot move: check whether a proxy removes the header",
        );
        return (None, outcome);
    };
    let clock_ahead = date - now.instant();
    // `Date` is in whole seconds, and the server set it at some time during the request.
    let uncertainty = TimeDelta::from_std(ping.took).unwrap_or(TimeDelta::MAX) + TimeDelta::seconds(1);
    let seconds = clock_ahead.num_seconds();
    let direction = if seconds < 0 { "behind" } else { "ahead of" };
    let outcome = if clock_ahead.abs() <= uncertainty {
        CheckOutcome::Ok("the clocks of the server and this machine agree".into())
    } else {
        let difference = humantime::format_duration(Duration::from_secs(seconds.unsigned_abs()));
        let message = format!("the server's clock is {difference} {direction} this machine's");
        if clock_ahead.abs() <= CLOCK_TOLERANCE {
            CheckOutcome::Ok(message)
        } else {
            CheckOutcome::warning(
                message,
                "set this machine's clock (NTP): `status` and the schedule depend on it; the watermark uses the server's \
                 clock and is not affected",
            )
        }
    };
    (Some(clock_ahead), outcome)
}

/// Describes where tokens are issued.
pub(super) fn authorization(endpoint: &Url, auth_is_set: bool, tenant_is_set: bool) -> CheckOutcome {
    let source = |is_set| if is_set { "from the settings" } else { "from the server" };
    let mut url = endpoint.clone();
    url.set_query(None);
    let tenant = endpoint.query_pairs().find(|(name, _)| name == "tenant");
    let tenant = tenant.map_or("no tenant".to_owned(), |(_, tenant)| {
        format!("tenant {tenant} ({})", source(tenant_is_set || auth_is_set))
    });
    CheckOutcome::Ok(format!("tokens are issued at {url} ({}), {tenant}", source(auth_is_set)))
}

/// Checks the scope of the token; `granted_scope` is set where it differs from the configured one.
pub(super) fn token(scope: &str, granted_scope: Option<&str>) -> CheckOutcome {
    match granted_scope {
        None => CheckOutcome::Ok(format!("the server issues a token for scope `{scope}`")),
        Some(granted_scope) => CheckOutcome::warning(
            format!("the server does not know scope `{scope}` and issues a token for `{granted_scope}`"),
            format!(
                "set `scope` to one that the API application has; with `{granted_scope}` halosync may see more than it needs"
            ),
        ),
    }
}

/// Looks up the ids of the configured ticket types.
pub(super) fn ticket_types(
    wanted: &[String],
    result: Result<Vec<ReferenceItem>, HaloError>,
) -> (Vec<i64>, CheckOutcome) {
    let types = match result {
        Ok(types) => types,
        Err(error) => return (Vec::new(), types_unavailable(wanted, error)),
    };
    let ids = match sync::resolve_ticket_types(wanted, &types) {
        Ok(ids) => ids,
        Err(error) => return (Vec::new(), CheckOutcome::Fail(error.into())),
    };
    let synced =
        if wanted.is_empty() { "all are synced".into() } else { format!("synced: {}", wanted.join(", ")) };
    (ids, CheckOutcome::Ok(format!("{} on the server; {synced}", count(types.len() as u64, "type"))))
}

/// Unavailable type names are a warning, unless the settings name a type or the server is unreachable.
fn types_unavailable(wanted: &[String], error: HaloError) -> CheckOutcome {
    let is_unreachable = matches!(error, HaloError::Unreachable { .. } | HaloError::RateLimited { .. });
    if is_unreachable || error.is_token_error() || !wanted.is_empty() {
        return CheckOutcome::from_error(error);
    }
    CheckOutcome::warning(error.to_string(), "tickets are synced anyway, without the names of their types")
}

/// Checks whether the plain list shows every ticket.
pub(super) fn coverage(counts: ListCounts) -> CheckOutcome {
    let ListCounts { default_list: Some(default_list), open: Some(open), closed: Some(closed) } = counts
    else {
        return CheckOutcome::warning(
            "the server does not say how many tickets there are",
            "no run can complete without `record_count`: check that server_url points to HaloITSM itself",
        );
    };
    let open_and_closed = open.saturating_add(closed);
    let message = format!(
        "the plain list has {}; {} are open, {} closed",
        count(default_list, "ticket"),
        HumanCount(open),
        HumanCount(closed)
    );
    if open_and_closed == 0 && default_list == 0 {
        CheckOutcome::warning(
            "the agent of the API application sees no tickets",
            "that agent needs permissions for teams, clients and ticket types",
        )
    } else if default_list < open_and_closed {
        CheckOutcome::warning(
            format!("{message}: it leaves out {}", HumanCount(open_and_closed - default_list)),
            "what the plain list leaves out is synced only if full scans read open and closed tickets separately; \
             compare the number of tickets in `halosync status` with these",
        )
    } else {
        CheckOutcome::Ok(message)
    }
}

/// Checks the rows of a page: `received` of `requested`, where the server reports `record_count` tickets.
pub(super) fn page_cap(received: u64, requested: u64, record_count: Option<u64>) -> CheckOutcome {
    let total = record_count.map_or("no count".to_owned(), |number| count(number, "ticket"));
    let message =
        format!("{} received for a page of {requested}; the server reports {total}", count(received, "row"));
    if received < requested.min(record_count.unwrap_or(received)) {
        CheckOutcome::warning(message, "runs adapt to the rows received; they only take more requests")
    } else if requested < received {
        CheckOutcome::warning(message, "the server ignores `page_size`; runs adapt to the rows received")
    } else {
        CheckOutcome::Ok(message)
    }
}

/// Checks whether the current window of the rate limit leaves room for the check itself.
pub(super) fn rate_limit(requests_made: u64, limit: RateLimit) -> CheckOutcome {
    let message = format!(
        "{} of {} requests used in the last {}",
        HumanCount(requests_made),
        HumanCount(limit.requests.into()),
        HumanDuration(limit.window)
    );
    if u64::from(effective_limit(limit)) < requests_made.saturating_add(CHECK_REQUESTS) {
        CheckOutcome::warning(message, "the check waits for the rate limit; let it wait, or run it later")
    } else {
        CheckOutcome::Ok(message)
    }
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
/// `latency` each; `single_requests` fetch tickets one by one.
pub(super) fn estimate_initial_load(
    tickets: u64,
    page_rows: u64,
    single_requests: u64,
    parallel_requests: u32,
    latency: Duration,
    limit: RateLimit,
) -> InitialLoadEstimate {
    let requests = tickets.div_ceil(page_rows.max(1)) + single_requests + REQUESTS_BESIDES_PAGES;
    let whole_windows = u32::try_from((requests - 1) / u64::from(effective_limit(limit))).unwrap_or(u32::MAX);
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

/// Sums up the server probes of earlier runs.
pub(super) fn probes(results: &[ServerProbe]) -> CheckOutcome {
    let oldest = results.iter().map(|it| it.probed_at).min();
    CheckOutcome::Ok(match oldest {
        None => "none yet: the first runs probe the server".into(),
        Some(oldest) => format!("{}, the oldest from {oldest}", count(results.len() as u64, "probe")),
    })
}

impl CheckOutcome {
    pub(super) fn warning(message: impl Into<String>, help: impl Into<String>) -> CheckOutcome {
        CheckOutcome::Warning { message: message.into(), help: help.into() }
    }

    pub(super) fn from_error(error: HaloError) -> CheckOutcome {
        CheckOutcome::Fail(AppError::Sync(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::ExitStatus;
    use crate::halo::Resource;
    use crate::ticket::parse::ReferenceDetails;
    use chrono::DateTime;

    const LIMIT: RateLimit = RateLimit { requests: 300, window: Duration::from_mins(5) };

    fn at(second: i64) -> Timestamp {
        Timestamp::new(DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap()
    }

    fn outcome_name(outcome: &CheckOutcome) -> &'static str {
        match outcome {
            CheckOutcome::Ok(_) => "ok",
            CheckOutcome::Warning { .. } => "warning",
            CheckOutcome::Fail(_) => "fail",
        }
    }

    #[test]
    fn clock_off_by_over_a_minute_or_without_date_warns() {
        let took = Duration::from_millis(200);
        for (date, expected, fragment) in [
            (Some(0), "ok", "agree"),
            (Some(-1), "ok", "agree"),
            (Some(30), "ok", "30s ahead of"),
            (Some(-59), "ok", "59s behind"),
            (Some(61), "warning", "1m 1s ahead of"),
            (Some(-7_200), "warning", "2h behind"),
            (None, "warning", "no readable `Date`"),
        ] {
            let date_of = |second| at(second).instant();
            let ping = PingResponse { date: date.map(date_of), took, is_html: false };
            let (clock_ahead, outcome) = clock(ping, at(0));
            assert_eq!(clock_ahead.map(|it| it.num_seconds()), date);
            assert_eq!(outcome_name(&outcome), expected, "{date:?}");
            assert!(outcome.message().contains(fragment), "{date:?}: {}", outcome.message());
        }
    }

    #[test]
    fn default_list_smaller_than_open_plus_closed_warns() {
        for (default_list, open, closed, expected) in [
            (Some(10), Some(4), Some(6), "ok"),
            (Some(11), Some(4), Some(6), "ok"),
            (Some(9), Some(4), Some(6), "warning"),
            (Some(0), Some(0), Some(0), "warning"),
            (Some(10), None, Some(6), "warning"),
        ] {
            let outcome = coverage(ListCounts { default_list, open, closed });
            assert_eq!(outcome_name(&outcome), expected, "{default_list:?} {open:?} {closed:?}");
        }
    }

    #[test]
    fn page_shorter_or_longer_than_requested_warns() {
        for (received, count, expected) in [
            (100, Some(717), "ok"),
            (30, Some(30), "ok"),
            (0, Some(0), "ok"),
            (50, Some(717), "warning"),
            (250, Some(717), "warning"),
            (100, None, "ok"),
        ] {
            assert_eq!(outcome_name(&page_cap(received, 100, count)), expected, "{received} of {count:?}");
        }
    }

    #[test]
    fn initial_load_estimate_is_longer_of_rate_limit_and_pages() {
        let estimate =
            |count, took| estimate_initial_load(count, 100, 0, 4, Duration::from_millis(took), LIMIT);
        for (count, took, requests, seconds) in [
            (0, 100, 6, 0),
            (10_000, 100, 106, 2),
            (27_900, 0, 285, 0),
            (28_000, 0, 286, 300),
            (1_000_000, 100, 10_006, 35 * 300),
            (20_000, 60_000, 206, 52 * 60),
        ] {
            let InitialLoadEstimate { requests: found, duration: takes } = estimate(count, took);
            assert_eq!((found, takes.as_secs()), (requests, seconds), "{count} tickets, {took} ms");
        }
        let per_ticket = estimate_initial_load(10_000, 100, 10_000, 4, Duration::from_millis(100), LIMIT);
        assert_eq!((per_ticket.requests, per_ticket.duration.as_secs()), (10_106, 35 * 300));
    }

    #[test]
    fn custom_fields_are_estimated_per_ticket_where_probe_says_so() {
        let probe = |probe, result: &str| ServerProbe {
            probe,
            result: result.into(),
            details: None,
            probed_at: at(0),
        };
        let (wrong, names) = (probe(Probe::CustomFields, "unreliable"), probe(Probe::StatusNames, "listed"));
        for (wanted, probes, expected, fragment) in [
            (
                false,
                vec![wrong.clone()],
                CustomFieldsReadMode::WithList,
                "106 requests, about 5 minutes at a rate limit of 300/5m",
            ),
            (
                true,
                vec![names.clone(), wrong],
                CustomFieldsReadMode::PerTicket,
                "10,106 requests, about 175 minutes",
            ),
            (
                true,
                vec![names],
                CustomFieldsReadMode::Unknown,
                "; 10,106 requests, about 175 minutes, if custom",
            ),
            (
                true,
                vec![probe(Probe::CustomFields, "listed")],
                CustomFieldsReadMode::WithList,
                "106 requests, about 5 minutes",
            ),
        ] {
            assert_eq!(custom_fields_mode(wanted, &probes), expected, "{probes:?}");
            let estimate_of =
                |requests, minutes| InitialLoadEstimate { requests, duration: Duration::from_mins(minutes) };
            let message =
                initial_load(estimate_of(106, 5), estimate_of(10_106, 175), expected, LIMIT).message();
            assert!(message.contains(fragment), "{message}");
        }
    }

    #[test]
    fn ticket_type_names_match_ignoring_case_and_blanks() {
        let reference_item =
            |name: &str| ReferenceItem { id: 1, name: name.into(), details: ReferenceDetails::default() };
        let types = || Ok(vec![reference_item(" Incident "), reference_item("Change")]);
        let wanted = |name: &str| vec![name.to_owned()];
        let (ids, outcome) = ticket_types(&wanted("incident"), types());
        assert_eq!((ids, outcome_name(&outcome)), (vec![1], "ok"));
        let (ids, outcome) = ticket_types(&[], types());
        assert_eq!((ids, outcome_name(&outcome)), (vec![], "ok"));
        let (_, CheckOutcome::Fail(error)) = ticket_types(&wanted("incidents"), types()) else {
            panic!("accepted")
        };
        assert_eq!(error.exit_status(), ExitStatus::Config);
        let forbidden =
            || Err(HaloError::Refused { resource: Resource::TicketTypes, status: 403, message: None });
        assert_eq!(outcome_name(&ticket_types(&[], forbidden()).1), "warning");
        let (_, CheckOutcome::Fail(error)) = ticket_types(&wanted("incident"), forbidden()) else {
            panic!("accepted")
        };
        assert_eq!(error.exit_status(), ExitStatus::Refused);
    }

    #[test]
    fn check_that_must_wait_for_the_rate_limit_warns() {
        assert_eq!(outcome_name(&rate_limit(0, LIMIT)), "ok");
        assert_eq!(outcome_name(&rate_limit(273, LIMIT)), "ok");
        assert_eq!(outcome_name(&rate_limit(274, LIMIT)), "warning");
    }
}
