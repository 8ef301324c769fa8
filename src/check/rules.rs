//! What the facts mean: pure, facts in and verdicts out.

use std::time::Duration;

use chrono::TimeDelta;
use url::Url;

use super::{CheckOutcome, InitialLoadEstimate, ListCounts};
use crate::app::AppError;
use crate::config::{RateLimit, ServerUrl};
use crate::halo::{HaloError, PingResponse, effective_limit};
use crate::store::ServerProbe;
use crate::sync;
use crate::sync::custom_fields::source::FieldProbeResult;
use crate::ticket::Timestamp;
use crate::ticket::parse::ReferenceItem;

/// Clocks that differ by no more than this need no word.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(1);

/// Requests of a first pass besides its pages: two for the token, three for names, one spare.
const REQUESTS_BESIDES_PAGES: u64 = 6;

/// How many requests a check makes itself, about.
const CHECK_REQUESTS: u64 = 12;

/// Whether what answers may be HaloITSM's interface.
pub(super) fn server(ping: PingResponse, server: &ServerUrl) -> CheckOutcome {
    let message = format!("{} answers in {} ms", server.as_str(), ping.took.as_millis());
    if !ping.is_html {
        return CheckOutcome::Ok(message);
    }
    CheckOutcome::warning(
        format!("{message}, with a web page where JSON should be"),
        "server_url may be that of the portal, or of the login page of a proxy: set it to the \"Resource Server\" in \
         Configuration > Integrations > HaloITSM API",
    )
}

/// How far the server's clock is ahead, and what that means.
pub(super) fn clock(ping: PingResponse, now: Timestamp) -> (Option<TimeDelta>, CheckOutcome) {
    let Some(date) = ping.date else {
        let outcome = CheckOutcome::warning(
            "the server sends no readable `Date`",
            "without it no watermark moves: see whether a proxy in between removes the header",
        );
        return (None, outcome);
    };
    let clock_ahead = date - now.instant();
    // `Date` has whole seconds, and was written at some time while the answer was under way.
    let uncertainty = TimeDelta::from_std(ping.took).unwrap_or(TimeDelta::MAX) + TimeDelta::seconds(1);
    let seconds = clock_ahead.num_seconds();
    let direction = if seconds < 0 { "behind" } else { "ahead of" };
    let outcome = if clock_ahead.abs() <= uncertainty {
        CheckOutcome::Ok("the server's clock and this machine's agree".into())
    } else {
        let difference = humantime::format_duration(Duration::from_secs(seconds.unsigned_abs()));
        let message = format!("the server's clock is {difference} {direction} this machine's");
        if clock_ahead.abs() <= CLOCK_TOLERANCE {
            CheckOutcome::Ok(message)
        } else {
            CheckOutcome::warning(
                message,
                "set this machine's clock (NTP): `status` and the schedule go by it; the watermark goes by the \
                 server's and is not in danger",
            )
        }
    };
    (Some(clock_ahead), outcome)
}

/// Where tokens come from.
pub(super) fn authorization(endpoint: &Url, auth_is_set: bool, tenant_is_set: bool) -> CheckOutcome {
    let source = |is_set| if is_set { "as configured" } else { "as the server says" };
    let mut url = endpoint.clone();
    url.set_query(None);
    let tenant = endpoint.query_pairs().find(|(name, _)| name == "tenant");
    let tenant = tenant.map_or("no tenant".to_owned(), |(_, tenant)| {
        format!("tenant {tenant} ({})", source(tenant_is_set || auth_is_set))
    });
    CheckOutcome::Ok(format!("tokens are at {url} ({}), {tenant}", source(auth_is_set)))
}

/// The token, and its scope where `instead` of the wanted one there is another.
pub(super) fn token(scope: &str, granted_scope: Option<&str>) -> CheckOutcome {
    match granted_scope {
        None => CheckOutcome::Ok(format!("the client gets a token for `{scope}`")),
        Some(granted_scope) => CheckOutcome::warning(
            format!(
                "the server does not know the scope `{scope}`: the client gets a token for `{granted_scope}`"
            ),
            format!(
                "set `scope` to one that the API application has; with `{granted_scope}` it may see more than it needs"
            ),
        ),
    }
}

/// The numbers of the wanted ticket types, and whether they exist.
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
    let copied =
        if wanted.is_empty() { "all are copied".into() } else { format!("copied: {}", wanted.join(", ")) };
    (ids, CheckOutcome::Ok(format!("{} are known; {copied}", types.len())))
}

/// Names that are not to be had stop nothing, unless one of them is to be copied or nobody answers.
fn types_unavailable(wanted: &[String], error: HaloError) -> CheckOutcome {
    let is_unreachable = matches!(error, HaloError::Unreachable { .. } | HaloError::RateLimited { .. });
    if is_unreachable || error.is_token_error() || !wanted.is_empty() {
        return CheckOutcome::from_error(error);
    }
    CheckOutcome::warning(
        error.to_string(),
        "tickets are copied all the same, without the names of their types",
    )
}

/// Whether the plain list shows every ticket.
pub(super) fn coverage(counts: ListCounts) -> CheckOutcome {
    let ListCounts { default_list: Some(default_list), open: Some(open), closed: Some(closed) } = counts
    else {
        return CheckOutcome::warning(
            "the server does not say how many tickets there are",
            "no pass can be complete without `record_count`: see whether server_url leads to HaloITSM itself",
        );
    };
    let open_and_closed = open.saturating_add(closed);
    let message = format!("the plain list counts {default_list}; {open} are open, {closed} closed");
    if open_and_closed == 0 && default_list == 0 {
        CheckOutcome::warning(
            "the agent sees no ticket",
            "the API application's agent needs permissions for teams, clients and ticket types",
        )
    } else if default_list < open_and_closed {
        CheckOutcome::warning(
            format!("{message}: it leaves out {}", open_and_closed - default_list),
            "what the plain list leaves out is copied only where full walks read open and closed tickets apart; \
             compare the count of `status` with these",
        )
    } else {
        CheckOutcome::Ok(message)
    }
}

/// How many rows a page really has: `received` of `asked`, where the server counts `count`.
pub(super) fn page_cap(received: u64, requested: u64, count: Option<u64>) -> CheckOutcome {
    let count_text = count.map_or("no count".to_owned(), |count| count.to_string());
    let message = format!("{received} rows came of {count_text}, {requested} were requested for");
    if received < requested.min(count.unwrap_or(received)) {
        CheckOutcome::warning(
            message,
            "passes follow the rows that really come; they only take more requests",
        )
    } else if requested < received {
        CheckOutcome::warning(
            message,
            "the server ignores `page_size`; passes follow the rows that really come",
        )
    } else {
        CheckOutcome::Ok(message)
    }
}

/// What is left of the window for the check itself.
pub(super) fn rate_limit(requests_made: u64, limit: RateLimit) -> CheckOutcome {
    let message =
        format!("{requests_made} of {} requests were made in the last {}", limit.requests, window(limit));
    if u64::from(effective_limit(limit)) < requests_made.saturating_add(CHECK_REQUESTS) {
        CheckOutcome::warning(message, "the check waits its turn; wait for it, or run it later")
    } else {
        CheckOutcome::Ok(message)
    }
}

/// How custom fields are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CustomFieldsReadMode {
    /// Not at all, or with the list.
    WithList,
    /// Ticket by ticket.
    PerTicket,
    /// That was not found out yet.
    Unknown,
}

/// How custom fields will be read, by the verdicts of passes.
pub(super) fn custom_fields_mode(wanted: bool, probes: &[ServerProbe]) -> CustomFieldsReadMode {
    let probe = probes.iter().find(|it| it.probe == sync::CUSTOM_FIELDS_PROBE);
    match probe.and_then(|it| FieldProbeResult::parse(&it.result)) {
        _ if !wanted => CustomFieldsReadMode::WithList,
        Some(FieldProbeResult::Unreliable) => CustomFieldsReadMode::PerTicket,
        Some(FieldProbeResult::Listed | FieldProbeResult::ListedUnlessEmpty | FieldProbeResult::NoFields) => {
            CustomFieldsReadMode::WithList
        }
        Some(FieldProbeResult::Unknown) | None => CustomFieldsReadMode::Unknown,
    }
}

/// What a first pass of `count` tickets takes with `rows` a page, `lanes` requests at a time and `took` each;
/// `singles` tickets are asked for one by one as well.
pub(super) fn estimate_initial_load(
    count: u64,
    page_rows: u64,
    single_requests: u64,
    parallel_requests: u32,
    latency: Duration,
    limit: RateLimit,
) -> InitialLoadEstimate {
    let requests = count.div_ceil(page_rows.max(1)) + single_requests + REQUESTS_BESIDES_PAGES;
    let whole_windows = u32::try_from((requests - 1) / u64::from(effective_limit(limit))).unwrap_or(u32::MAX);
    let rate_limit_time = limit.window.saturating_mul(whole_windows);
    let sequential_requests =
        u32::try_from(requests.div_ceil(u64::from(parallel_requests.max(1)))).unwrap_or(u32::MAX);
    InitialLoadEstimate {
        requests,
        duration: rate_limit_time.max(latency.saturating_mul(sequential_requests)),
    }
}

/// The estimate in words: what it takes with the list alone, and with custom fields ticket by ticket.
pub(super) fn initial_load(
    with_list: InitialLoadEstimate,
    per_ticket: InitialLoadEstimate,
    mode: CustomFieldsReadMode,
    limit: RateLimit,
) -> CheckOutcome {
    let minutes = |estimate: InitialLoadEstimate| match estimate.duration.as_secs().div_ceil(60) {
        0 | 1 => "up to a minute".to_owned(),
        more => format!("about {more} minutes"),
    };
    let (estimate, suffix) = match mode {
        CustomFieldsReadMode::WithList => (with_list, String::new()),
        CustomFieldsReadMode::PerTicket => (per_ticket, ", with custom mode ticket by ticket".into()),
        CustomFieldsReadMode::Unknown => {
            let (requests, minutes) = (per_ticket.requests, minutes(per_ticket));
            (with_list, format!("; {requests} and {minutes} if the list does not tell custom mode"))
        }
    };
    CheckOutcome::Ok(format!(
        "a first pass takes {} requests: {} at {} in {}{suffix}",
        estimate.requests,
        minutes(estimate),
        limit.requests,
        window(limit)
    ))
}

/// The verdicts that passes left behind.
pub(super) fn probes(results: &[ServerProbe]) -> CheckOutcome {
    let oldest = results.iter().map(|it| it.probed_at).min();
    CheckOutcome::Ok(match oldest {
        None => "no verdicts about the server yet; the first passes reach them".into(),
        Some(oldest) => format!("{} verdicts about the server, the oldest of {oldest}", results.len()),
    })
}

fn window(limit: RateLimit) -> String {
    humantime::format_duration(limit.window).to_string()
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
    use crate::ticket::parse::ReferenceDetails;
    use chrono::DateTime;

    const LIMIT: RateLimit = RateLimit { requests: 300, window: Duration::from_mins(5) };

    fn at(second: i64) -> Timestamp {
        Timestamp::new(DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap()
    }

    fn outcome_name(outcome: &CheckOutcome) -> &'static str {
        match outcome {
            CheckOutcome::Ok(_) => "good",
            CheckOutcome::Warning { .. } => "warning",
            CheckOutcome::Fail(_) => "bad",
        }
    }

    #[test]
    fn clock_off_by_over_a_minute_or_without_date_warns() {
        let took = Duration::from_millis(200);
        for (date, expected, fragment) in [
            (Some(0), "good", "agree"),
            (Some(-1), "good", "agree"),
            (Some(30), "good", "30s ahead of"),
            (Some(-59), "good", "59s behind"),
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
            (Some(10), Some(4), Some(6), "good"),
            (Some(11), Some(4), Some(6), "good"),
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
            (100, Some(717), "good"),
            (30, Some(30), "good"),
            (0, Some(0), "good"),
            (50, Some(717), "warning"),
            (250, Some(717), "warning"),
            (100, None, "good"),
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
        let probe = |question: &str, verdict: &str| ServerProbe {
            probe: question.into(),
            result: verdict.into(),
            details: None,
            probed_at: at(0),
        };
        let (wrong, names) =
            (probe(sync::CUSTOM_FIELDS_PROBE, "one_by_one"), probe("status_names", "listed"));
        for (wanted, probes, expected, fragment) in [
            (
                false,
                vec![wrong.clone()],
                CustomFieldsReadMode::WithList,
                "106 requests: about 5 minutes at 300 in 5m",
            ),
            (
                true,
                vec![names.clone(), wrong],
                CustomFieldsReadMode::PerTicket,
                "10106 requests: about 175 minutes",
            ),
            (true, vec![names], CustomFieldsReadMode::Unknown, "; 10106 and about 175 minutes if the list"),
            (
                true,
                vec![probe(sync::CUSTOM_FIELDS_PROBE, "listed")],
                CustomFieldsReadMode::WithList,
                "106 requests: about 5 minutes",
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
        assert_eq!((ids, outcome_name(&outcome)), (vec![1], "good"));
        let (ids, outcome) = ticket_types(&[], types());
        assert_eq!((ids, outcome_name(&outcome)), (vec![], "good"));
        let (_, CheckOutcome::Fail(error)) = ticket_types(&wanted("incidents"), types()) else {
            panic!("taken")
        };
        assert_eq!(error.exit_status(), 78);
        let forbidden = || Err(HaloError::Refused { what: "the list", status: 403, message: None });
        assert_eq!(outcome_name(&ticket_types(&[], forbidden()).1), "warning");
        let (_, CheckOutcome::Fail(error)) = ticket_types(&wanted("incident"), forbidden()) else {
            panic!("taken")
        };
        assert_eq!(error.exit_status(), 77);
    }

    #[test]
    fn check_that_must_wait_for_the_rate_limit_warns() {
        assert_eq!(outcome_name(&rate_limit(0, LIMIT)), "good");
        assert_eq!(outcome_name(&rate_limit(273, LIMIT)), "good");
        assert_eq!(outcome_name(&rate_limit(274, LIMIT)), "warning");
    }
}
