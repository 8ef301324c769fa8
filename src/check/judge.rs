//! What the facts mean: pure, facts in and verdicts out.

use std::time::Duration;

use chrono::TimeDelta;
use url::Url;

use super::{Counts, Estimate, Verdict};
use crate::agent::AgentError;
use crate::config::{RateLimit, ServerUrl};
use crate::halo::{HaloError, Reached, allowed};
use crate::store::Calibration;
use crate::sync;
use crate::sync::fields::FieldVerdict;
use crate::ticket::Stamp;
use crate::ticket::parse::Named;

/// Clocks that differ by no more than this need no word.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(1);

/// Requests of a first pass besides its pages: two for the token, three for names, one spare.
const BESIDES_PAGES: u64 = 6;

/// How many requests a check makes itself, about.
const OWN_REQUESTS: u64 = 12;

/// Whether what answers may be HaloITSM's interface.
pub(super) fn server(reached: Reached, server: &ServerUrl) -> Verdict {
    let says = format!("{} answers in {} ms", server.as_str(), reached.took.as_millis());
    if !reached.is_page {
        return Verdict::Good(says);
    }
    Verdict::warning(
        format!("{says}, with a web page where JSON should be"),
        "server_url may be that of the portal, or of the login page of a proxy: set it to the \"Resource Server\" in \
         Configuration > Integrations > HaloITSM API",
    )
}

/// How far the server's clock is ahead, and what that means.
pub(super) fn clock(reached: Reached, now: Stamp) -> (Option<TimeDelta>, Verdict) {
    let Some(date) = reached.date else {
        let verdict = Verdict::warning(
            "the server sends no readable `Date`",
            "without it no watermark moves: see whether a proxy in between removes the header",
        );
        return (None, verdict);
    };
    let ahead = date - now.instant();
    // `Date` has whole seconds, and was written at some time while the answer was under way.
    let unsure = TimeDelta::from_std(reached.took).unwrap_or(TimeDelta::MAX) + TimeDelta::seconds(1);
    let seconds = ahead.num_seconds();
    let way = if seconds < 0 { "behind" } else { "ahead of" };
    let verdict = if ahead.abs() <= unsure {
        Verdict::Good("the server's clock and this machine's agree".into())
    } else {
        let apart = humantime::format_duration(Duration::from_secs(seconds.unsigned_abs()));
        let says = format!("the server's clock is {apart} {way} this machine's");
        if ahead.abs() <= CLOCK_TOLERANCE {
            Verdict::Good(says)
        } else {
            Verdict::warning(
                says,
                "set this machine's clock (NTP): `status` and the schedule go by it; the watermark goes by the \
                 server's and is not in danger",
            )
        }
    };
    (Some(ahead), verdict)
}

/// Where tokens come from.
pub(super) fn authorisation(endpoint: &Url, auth_is_set: bool, tenant_is_set: bool) -> Verdict {
    let source = |is_set| if is_set { "as configured" } else { "as the server says" };
    let mut place = endpoint.clone();
    place.set_query(None);
    let tenant = endpoint.query_pairs().find(|(name, _)| name == "tenant");
    let tenant = tenant.map_or("no tenant".to_owned(), |(_, tenant)| {
        format!("tenant {tenant} ({})", source(tenant_is_set || auth_is_set))
    });
    Verdict::Good(format!("tokens are at {place} ({}), {tenant}", source(auth_is_set)))
}

/// The token, and its scope where `instead` of the wanted one there is another.
pub(super) fn token(scope: &str, instead: Option<&str>) -> Verdict {
    match instead {
        None => Verdict::Good(format!("the client gets a token for `{scope}`")),
        Some(instead) => Verdict::warning(
            format!("the server does not know the scope `{scope}`: the client gets a token for `{instead}`"),
            format!(
                "set `scope` to one that the API application has; with `{instead}` it may see more than it needs"
            ),
        ),
    }
}

/// The numbers of the wanted ticket types, and whether they exist.
pub(super) fn ticket_types(
    wanted: &[String],
    answered: Result<Vec<Named>, HaloError>,
) -> (Vec<i64>, Verdict) {
    let types = match answered {
        Ok(types) => types,
        Err(error) => return (Vec::new(), without_types(wanted, error)),
    };
    let ids = match sync::resolve_types(wanted, &types) {
        Ok(ids) => ids,
        Err(error) => return (Vec::new(), Verdict::Bad(error.into())),
    };
    let copied =
        if wanted.is_empty() { "all are copied".into() } else { format!("copied: {}", wanted.join(", ")) };
    (ids, Verdict::Good(format!("{} are known; {copied}", types.len())))
}

/// Names that are not to be had stop nothing, unless one of them is to be copied or nobody answers.
fn without_types(wanted: &[String], error: HaloError) -> Verdict {
    let nobody = matches!(error, HaloError::Unreachable { .. } | HaloError::Throttled { .. });
    if nobody || error.is_of_the_token() || !wanted.is_empty() {
        return Verdict::of(error);
    }
    Verdict::warning(error.to_string(), "tickets are copied all the same, without the names of their types")
}

/// Whether the plain list shows every ticket.
pub(super) fn coverage(counts: Counts) -> Verdict {
    let Counts { plain: Some(plain), open: Some(open), closed: Some(closed) } = counts else {
        return Verdict::warning(
            "the server does not say how many tickets there are",
            "no pass can be complete without `record_count`: see whether server_url leads to HaloITSM itself",
        );
    };
    let all = open.saturating_add(closed);
    let told = format!("the plain list counts {plain}; {open} are open, {closed} closed");
    if all == 0 && plain == 0 {
        Verdict::warning(
            "the agent sees no ticket",
            "the API application's agent needs permissions for teams, clients and ticket types",
        )
    } else if plain < all {
        Verdict::warning(
            format!("{told}: it leaves out {}", all - plain),
            "what the plain list leaves out is copied only where full walks read open and closed tickets apart; \
             compare the count of `status` with these",
        )
    } else {
        Verdict::Good(told)
    }
}

/// How many rows a page really has: `received` of `asked`, where the server counts `count`.
pub(super) fn page_cap(received: u64, asked: u64, count: Option<u64>) -> Verdict {
    let counted = count.map_or("no count".to_owned(), |count| count.to_string());
    let says = format!("{received} rows came of {counted}, {asked} were asked for");
    if received < asked.min(count.unwrap_or(received)) {
        Verdict::warning(says, "passes follow the rows that really come; they only take more requests")
    } else if asked < received {
        Verdict::warning(says, "the server ignores `page_size`; passes follow the rows that really come")
    } else {
        Verdict::Good(says)
    }
}

/// What is left of the window for the check itself.
pub(super) fn rate_limit(spent: u64, limit: RateLimit) -> Verdict {
    let says = format!("{spent} of {} requests were made in the last {}", limit.requests, window(limit));
    if u64::from(allowed(limit)) < spent.saturating_add(OWN_REQUESTS) {
        Verdict::warning(says, "the check waits its turn; wait for it, or run it later")
    } else {
        Verdict::Good(says)
    }
}

/// How custom fields are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// Not at all, or with the list.
    Listed,
    /// Ticket by ticket.
    OneByOne,
    /// That was not found out yet.
    Unknown,
}

/// How custom fields will be read, by the verdicts of passes.
pub(super) fn fields(wanted: bool, found: &[Calibration]) -> Fields {
    let verdict = found.iter().find(|it| it.question == sync::LISTED_FIELDS);
    match verdict.and_then(|it| FieldVerdict::from_word(&it.verdict)) {
        _ if !wanted => Fields::Listed,
        Some(FieldVerdict::Wrong) => Fields::OneByOne,
        Some(FieldVerdict::Listed | FieldVerdict::ListedUnlessEmpty | FieldVerdict::NoFields) => {
            Fields::Listed
        }
        Some(FieldVerdict::Unknown) | None => Fields::Unknown,
    }
}

/// What a first pass of `count` tickets takes with `rows` a page, `lanes` requests at a time and `took` each;
/// `singles` tickets are asked for one by one as well.
pub(super) fn first_pass(
    count: u64,
    rows: u64,
    singles: u64,
    lanes: u32,
    took: Duration,
    limit: RateLimit,
) -> Estimate {
    let requests = count.div_ceil(rows.max(1)) + singles + BESIDES_PAGES;
    let whole_windows = u32::try_from((requests - 1) / u64::from(allowed(limit))).unwrap_or(u32::MAX);
    let throttled = limit.window.saturating_mul(whole_windows);
    let turns = u32::try_from(requests.div_ceil(u64::from(lanes.max(1)))).unwrap_or(u32::MAX);
    Estimate { requests, takes: throttled.max(took.saturating_mul(turns)) }
}

/// The estimate in words: what it takes with the list alone, and with custom fields ticket by ticket.
pub(super) fn estimate(listed: Estimate, one_by_one: Estimate, fields: Fields, limit: RateLimit) -> Verdict {
    let minutes = |estimate: Estimate| match estimate.takes.as_secs().div_ceil(60) {
        0 | 1 => "up to a minute".to_owned(),
        more => format!("about {more} minutes"),
    };
    let (estimate, besides) = match fields {
        Fields::Listed => (listed, String::new()),
        Fields::OneByOne => (one_by_one, ", with custom fields ticket by ticket".into()),
        Fields::Unknown => {
            let (requests, minutes) = (one_by_one.requests, minutes(one_by_one));
            (listed, format!("; {requests} and {minutes} if the list does not tell custom fields"))
        }
    };
    Verdict::Good(format!(
        "a first pass takes {} requests: {} at {} in {}{besides}",
        estimate.requests,
        minutes(estimate),
        limit.requests,
        window(limit)
    ))
}

/// The verdicts that passes left behind.
pub(super) fn calibrations(found: &[Calibration]) -> Verdict {
    let oldest = found.iter().map(|it| it.decided_at).min();
    Verdict::Good(match oldest {
        None => "no verdicts about the server yet; the first passes reach them".into(),
        Some(oldest) => format!("{} verdicts about the server, the oldest of {oldest}", found.len()),
    })
}

fn window(limit: RateLimit) -> String {
    humantime::format_duration(limit.window).to_string()
}

impl Verdict {
    pub(super) fn warning(says: impl Into<String>, help: impl Into<String>) -> Verdict {
        Verdict::Warning { says: says.into(), help: help.into() }
    }

    pub(super) fn of(error: HaloError) -> Verdict {
        Verdict::Bad(AgentError::Sync(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::parse::NamedDetails;
    use chrono::DateTime;

    const LIMIT: RateLimit = RateLimit { requests: 300, window: Duration::from_mins(5) };

    fn at(second: i64) -> Stamp {
        Stamp::new(DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap()
    }

    fn word(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Good(_) => "good",
            Verdict::Warning { .. } => "warning",
            Verdict::Bad(_) => "bad",
        }
    }

    #[test]
    fn a_clock_that_is_more_than_a_minute_off_or_silent_is_warned_of() {
        let took = Duration::from_millis(200);
        for (date, expected, says) in [
            (Some(0), "good", "agree"),
            (Some(-1), "good", "agree"),
            (Some(30), "good", "30s ahead of"),
            (Some(-59), "good", "59s behind"),
            (Some(61), "warning", "1m 1s ahead of"),
            (Some(-7_200), "warning", "2h behind"),
            (None, "warning", "no readable `Date`"),
        ] {
            let date_of = |second| at(second).instant();
            let reached = Reached { date: date.map(date_of), took, is_page: false };
            let (ahead, verdict) = clock(reached, at(0));
            assert_eq!(ahead.map(|it| it.num_seconds()), date);
            assert_eq!(word(&verdict), expected, "{date:?}");
            assert!(verdict.says().contains(says), "{date:?}: {}", verdict.says());
        }
    }

    #[test]
    fn a_plain_list_that_counts_less_than_open_and_closed_ones_is_warned_of() {
        for (plain, open, closed, expected) in [
            (Some(10), Some(4), Some(6), "good"),
            (Some(11), Some(4), Some(6), "good"),
            (Some(9), Some(4), Some(6), "warning"),
            (Some(0), Some(0), Some(0), "warning"),
            (Some(10), None, Some(6), "warning"),
        ] {
            let verdict = coverage(Counts { plain, open, closed });
            assert_eq!(word(&verdict), expected, "{plain:?} {open:?} {closed:?}");
        }
    }

    #[test]
    fn a_page_that_is_shorter_or_longer_than_asked_is_warned_of() {
        for (received, count, expected) in [
            (100, Some(717), "good"),
            (30, Some(30), "good"),
            (0, Some(0), "good"),
            (50, Some(717), "warning"),
            (250, Some(717), "warning"),
            (100, None, "good"),
        ] {
            assert_eq!(word(&page_cap(received, 100, count)), expected, "{received} of {count:?}");
        }
    }

    #[test]
    fn a_first_pass_takes_the_longer_of_its_rate_limit_and_its_pages() {
        let estimate = |count, took| first_pass(count, 100, 0, 4, Duration::from_millis(took), LIMIT);
        for (count, took, requests, seconds) in [
            (0, 100, 6, 0),
            (10_000, 100, 106, 2),
            (27_900, 0, 285, 0),
            (28_000, 0, 286, 300),
            (1_000_000, 100, 10_006, 35 * 300),
            (20_000, 60_000, 206, 52 * 60),
        ] {
            let Estimate { requests: found, takes } = estimate(count, took);
            assert_eq!((found, takes.as_secs()), (requests, seconds), "{count} tickets, {took} ms");
        }
        let one_by_one = first_pass(10_000, 100, 10_000, 4, Duration::from_millis(100), LIMIT);
        assert_eq!((one_by_one.requests, one_by_one.takes.as_secs()), (10_106, 35 * 300));
    }

    #[test]
    fn custom_fields_are_counted_ticket_by_ticket_where_that_was_found_necessary() {
        let found = |question: &str, verdict: &str| Calibration {
            question: question.into(),
            verdict: verdict.into(),
            details: None,
            decided_at: at(0),
        };
        let (wrong, names) = (found(sync::LISTED_FIELDS, "one_by_one"), found("status_names", "listed"));
        for (wanted, found, expected, says) in [
            (false, vec![wrong.clone()], Fields::Listed, "106 requests: about 5 minutes at 300 in 5m"),
            (true, vec![names.clone(), wrong], Fields::OneByOne, "10106 requests: about 175 minutes"),
            (true, vec![names], Fields::Unknown, "; 10106 and about 175 minutes if the list"),
            (
                true,
                vec![found(sync::LISTED_FIELDS, "listed")],
                Fields::Listed,
                "106 requests: about 5 minutes",
            ),
        ] {
            assert_eq!(fields(wanted, &found), expected, "{found:?}");
            let takes = |requests, minutes| Estimate { requests, takes: Duration::from_mins(minutes) };
            let told = estimate(takes(106, 5), takes(10_106, 175), expected, LIMIT).says();
            assert!(told.contains(says), "{told}");
        }
    }

    #[test]
    fn a_type_is_known_by_its_name_without_regard_to_case_and_blanks() {
        let named = |name: &str| Named { id: 1, name: name.into(), details: NamedDetails::default() };
        let types = || Ok(vec![named(" Incident "), named("Change")]);
        let wanted = |name: &str| vec![name.to_owned()];
        let (ids, verdict) = ticket_types(&wanted("incident"), types());
        assert_eq!((ids, word(&verdict)), (vec![1], "good"));
        let (ids, verdict) = ticket_types(&[], types());
        assert_eq!((ids, word(&verdict)), (vec![], "good"));
        let (_, Verdict::Bad(error)) = ticket_types(&wanted("incidents"), types()) else { panic!("taken") };
        assert_eq!(error.exit_status(), 78);
        let forbidden = || Err(HaloError::Refused { what: "the list", status: 403, message: None });
        assert_eq!(word(&ticket_types(&[], forbidden()).1), "warning");
        let (_, Verdict::Bad(error)) = ticket_types(&wanted("incident"), forbidden()) else {
            panic!("taken")
        };
        assert_eq!(error.exit_status(), 77);
    }

    #[test]
    fn a_check_that_has_to_wait_for_the_rate_limit_says_so() {
        assert_eq!(word(&rate_limit(0, LIMIT)), "good");
        assert_eq!(word(&rate_limit(273, LIMIT)), "good");
        assert_eq!(word(&rate_limit(274, LIMIT)), "warning");
    }
}
