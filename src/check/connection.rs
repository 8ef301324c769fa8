//! The connection to the server: response, clock, tokens, rate limit. Pure functions from facts to outcomes.

use std::time::Duration;

use chrono::TimeDelta;
use indicatif::{HumanCount, HumanDuration};
use url::Url;

use super::CheckOutcome;
use super::requests::{CHECK_REQUESTS, UsedRequests};
use crate::config::{RateLimit, ServerUrl};
use crate::halo::{PingResponse, ProxyRoute, effective_limit};
use crate::ticket::Timestamp;

/// Difference of clocks that is tolerated.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(1);

/// Checks whether the response looks like the HaloITSM API.
pub(super) fn server(ping: PingResponse, server: &ServerUrl, proxy: Option<&ProxyRoute>) -> CheckOutcome {
    let through = proxy.map_or(String::new(), |proxy| format!(" through the proxy {proxy}"));
    let message = format!("{} responded in {} ms{through}", server.as_str(), ping.took.as_millis());
    if !ping.is_html {
        return CheckOutcome::Ok(message);
    }
    CheckOutcome::warning(
        format!("{message}, but with a web page instead of JSON"),
        "server_url may point to the portal or to the login page of a proxy: set it to the \"Resource Server\" in \
         Configuration > Integrations > HaloITSM API",
    )
}

/// Compares the clocks; the first value is by how many seconds the server's is ahead.
pub(super) fn clock(ping: PingResponse, now: Timestamp) -> (Option<i64>, CheckOutcome) {
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
    let difference = humantime::format_duration(Duration::from_secs(seconds.unsigned_abs()));
    let message = format!("the server's clock is {difference} {direction} this machine's");
    let outcome = if clock_ahead.abs() <= uncertainty {
        CheckOutcome::Ok("the clocks of the server and this machine agree".into())
    } else if clock_ahead.abs() <= CLOCK_TOLERANCE {
        CheckOutcome::Ok(message)
    } else {
        CheckOutcome::warning(
            message,
            "set this machine's clock (NTP): `status` and the schedule depend on it; the watermark uses the server's \
             clock and is not affected",
        )
    };
    (Some(seconds), outcome)
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

/// Checks whether the current window of the rate limit leaves room for the check itself.
pub(super) fn rate_limit(used: UsedRequests, limit: RateLimit) -> CheckOutcome {
    let message = format!(
        "{} of {} requests used in the last {}",
        HumanCount(used.total),
        HumanCount(limit.requests.into()),
        HumanDuration(limit.window)
    );
    let (limit, used) = used.limit_for_check(limit);
    if u64::from(effective_limit(limit)) < used.saturating_add(CHECK_REQUESTS) {
        CheckOutcome::warning(message, "the check waits for the rate limit; let it wait, or run it later")
    } else {
        CheckOutcome::Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    #[test]
    fn clock_off_by_over_a_minute_or_without_date_warns() {
        let at =
            |second| Timestamp::new(DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap();
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
            let ping = PingResponse { date: date.map(|second| at(second).instant()), took, is_html: false };
            let (seconds_ahead, outcome) = clock(ping, at(0));
            assert_eq!((seconds_ahead, outcome.as_str()), (date, expected), "{date:?}");
            assert!(outcome.message().contains(fragment), "{date:?}: {}", outcome.message());
        }
    }

    #[test]
    fn check_that_must_wait_for_the_rate_limit_warns() {
        let limit = RateLimit { requests: 300, window: Duration::from_mins(5) };
        for (total, by_checks, is_running, expected) in [
            (0, 0, false, "ok"),
            (275, 10, false, "ok"),
            (276, 10, false, "warning"),
            // The run leaves 15.
            (275, 0, true, "ok"),
            (275, 4, true, "ok"),
            (275, 5, true, "warning"),
        ] {
            let used = UsedRequests { total, by_checks, is_running };
            assert_eq!(rate_limit(used, limit).as_str(), expected, "{used:?}");
        }
    }
}
