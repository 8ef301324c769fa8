//! Effects of faults: on the data, in place of a response, in a list, or during delivery.

use chrono::{DateTime, TimeDelta, Utc};

use crate::bomb::Bomb;
use crate::knob_values::RetryAfter;
use crate::row_defect::{self, Places, RowDefect};
use crate::secret_encoding::SecretEncoding;

/// The most by which a fault moves the clock: no year then has more than four digits.
const CLOCK_SECONDS_MAX: i64 = 250_000_000_000;

/// The effect of a fault.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Responds with this status: a JSON body below 500, an HTML page otherwise.
    Status(u16),
    /// Responds with an HTML page and this status.
    Html(u16),
    /// Responds with a JSON error object and this status, which may be 200.
    Error(u16),
    /// Responds with 429 and a `Retry-After` of this many seconds.
    Throttle(RetryAfter, u32),
    /// Redirects to another host.
    Redirect(u16),
    /// Adds the client secret and a token to every text of an error, and of `authinfo`.
    Echo(SecretEncoding),
    /// Names this authorization server in `authinfo`.
    AuthUrl(String),
    /// Responds with 200 and an empty body.
    Blank,
    /// Revokes all tokens before the request is handled.
    Expire,
    /// Closes the connection after this many bytes of the body; `None` for half of it.
    Cut(Option<usize>),
    /// Resets the connection without a response.
    Reset,
    /// Sends the body in small chunks over this many milliseconds.
    Slow(u32),
    /// Delays the response by this many milliseconds.
    Delay(u32),
    /// Makes one byte in the middle of the body invalid UTF-8.
    Garble,
    /// Starts the page this many rows too early, so that rows are repeated across pages.
    Repeat(u32),
    /// Sends no rows, but the correct count; a reference list is an empty array.
    Empty,
    /// Serves rows of tickets, or elements of a reference list, with a defect.
    Row(RowDefect, Places),
    /// Appends new rows to the list without end; `record_count` grows with every page, from at least this number on.
    Endless(u64),
    /// Responds with very many items.
    Bomb(Bomb),
    /// Sends a wrong `record_count`.
    Count(WrongCount),
    /// Sends no `tickets`, or no array of clients, sites or users.
    Tickets(WrongTickets),
    /// Deletes this many listed tickets before the response.
    Delete(u32),
    /// Edits this many listed tickets before the response.
    Edit(u32),
    /// Creates this many tickets before the response.
    Create(u32),
    /// Hides this percentage of the listed tickets from the agent before the response.
    Hide(u32),
    /// Reveals this many hidden tickets before the response, those with the lowest ids; no `last_update` changes.
    Reveal(u32),
    /// Restores this many deleted tickets before the response, those with the lowest ids.
    Restore(u32),
    /// Shifts the server's clock by this many seconds, permanently.
    Skew(i64),
    /// Handles the request on a node whose clock is ahead by this many seconds.
    Clock(i64),
    /// Sends this time in the `Date` header.
    Date(DateTime<Utc>),
    /// Sends this `Age` with a `Date` that is earlier by as much; the content is current.
    Age(u32),
    /// Serves responses to the same request again for this many seconds, with their `Age` and old `Date`.
    Cache(u32),
}

/// How `record_count` is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongCount {
    /// The true count plus this number.
    OffBy(i64),
    /// This number.
    Fixed(i64),
    /// The true count as a string.
    Text,
    /// Null.
    Null,
    /// Absent.
    Missing,
}

/// How `tickets` is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongTickets {
    /// Absent.
    Missing,
    /// Null.
    Null,
}

/// The specification of an effect, for the parser, its errors and the documentation.
pub(crate) struct EffectSpec {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    pub(crate) description: &'static str,
    pub(crate) parse: fn(Option<&str>) -> Option<Effect>,
}

#[rustfmt::skip]
pub(crate) const EFFECTS: &[EffectSpec] = &[
    EffectSpec { name: "status", value: "400 to 599", description: "responds with that status: a JSON body below 500, an HTML page otherwise",
        parse: |value| status(value, 400..=599).map(Effect::Status) },
    EffectSpec { name: "html", value: "200 to 599; 200 if omitted", description: "responds with an HTML page and that status",
        parse: |value| status(value.or(Some("200")), 200..=599).map(Effect::Html) },
    EffectSpec { name: "error", value: "200 to 599; 200 if omitted", description: "responds with a JSON error object and that status",
        parse: |value| status(value.or(Some("200")), 200..=599).map(Effect::Error) },
    EffectSpec { name: "throttle", value: "none, seconds, or `date` and seconds (`date7`)", description: "responds with 429; `Retry-After` is absent, in seconds, or an HTTP date",
        parse: throttle },
    EffectSpec { name: "redirect", value: "301, 302, 303, 307 or 308", description: "redirects to another host",
        parse: |value| status(value, 301..=308).filter(|code| ![304, 305, 306].contains(code)).map(Effect::Redirect) },
    EffectSpec { name: "echo", value: "`plain`, `percent`, `form`, `basic`, `base64url`, `hex`, `json` or `html`", description: "adds the client secret and a token in that encoding to every text of an error, and of `authinfo`",
        parse: |value| SecretEncoding::parse(value?).map(Effect::Echo) },
    EffectSpec { name: "auth_url", value: "an address", description: "names that authorization server in `authinfo`", parse: |value| value.map(|url| Effect::AuthUrl(url.to_owned())) },
    EffectSpec { name: "blank", value: "none", description: "responds with 200 and an empty body", parse: |value| without_value(value, Effect::Blank) },
    EffectSpec { name: "expire", value: "none", description: "revokes all tokens; this request is the first to get 401",
        parse: |value| without_value(value, Effect::Expire) },
    EffectSpec { name: "cut", value: "bytes; half of the body if omitted", description: "closes the connection after that many bytes of the body",
        parse: cut },
    EffectSpec { name: "reset", value: "none", description: "resets the connection without a response", parse: |value| without_value(value, Effect::Reset) },
    EffectSpec { name: "slow", value: "milliseconds", description: "sends the body in small chunks over that time", parse: |value| number(value).map(Effect::Slow) },
    EffectSpec { name: "delay", value: "milliseconds", description: "delays the response", parse: |value| number(value).map(Effect::Delay) },
    EffectSpec { name: "garble", value: "none", description: "makes one byte of the body invalid UTF-8", parse: |value| without_value(value, Effect::Garble) },
    EffectSpec { name: "repeat", value: "rows", description: "starts the page that many rows too early", parse: |value| number(value).map(Effect::Repeat) },
    EffectSpec { name: "empty", value: "none", description: "sends no rows, but the correct count; a reference list is an empty array", parse: |value| without_value(value, Effect::Empty) },
    EffectSpec { name: "count", value: "+N, -N, N, `text`, `null` or `missing`", description: "sends a wrong `record_count`", parse: wrong_count },
    EffectSpec { name: "tickets", value: "`missing` or `null`", description: "sends no `tickets`, or no `clients`, `sites`, `users` or `results`", parse: wrong_tickets },
    EffectSpec { name: "row", value: "a defect, and places: `text.id`, `broken:3,17`, `null.id:all`; the first place if omitted", description: "serves the rows at those places with a defect, see below", parse: row },
    EffectSpec { name: "endless", value: "the first count; the true one if omitted", description: "appends new rows to the list without end; `record_count` grows with every page",
        parse: |value| number(value.or(Some("0"))).filter(|count| *count <= FIRST_COUNT_MAX).map(Effect::Endless) },
    EffectSpec { name: "bomb", value: "ITEMS[:COUNT[:STATUS]]; ITEMS is `blank_rows`, `rows_without_id`, `ids`, `elements` or `arrays`", description: "responds with very many rows in a list, or objects or arrays in a bare array; generated while it is sent",
        parse: |value| value.and_then(Bomb::parse).map(Effect::Bomb) },
    EffectSpec { name: "delete", value: "tickets", description: "deletes that many tickets before the response", parse: |value| number(value).map(Effect::Delete) },
    EffectSpec { name: "edit", value: "tickets", description: "edits that many tickets before the response", parse: |value| number(value).map(Effect::Edit) },
    EffectSpec { name: "create", value: "tickets", description: "creates that many tickets before the response", parse: |value| number(value).map(Effect::Create) },
    EffectSpec { name: "hide", value: "percent", description: "hides that percentage of the tickets from the agent",
        parse: |value| number(value).filter(|percent| *percent <= 100).map(Effect::Hide) },
    EffectSpec { name: "reveal", value: "tickets", description: "reveals that many hidden tickets before the response, lowest ids first; no `last_update` changes", parse: |value| number(value).map(Effect::Reveal) },
    EffectSpec { name: "restore", value: "tickets", description: "restores that many deleted tickets before the response, lowest ids first", parse: |value| number(value).map(Effect::Restore) },
    EffectSpec { name: "skew", value: "seconds; may be negative", description: "shifts the server's clock permanently", parse: |value| clock_seconds(value).map(Effect::Skew) },
    EffectSpec { name: "clock", value: "seconds; may be negative", description: "handles the request on a node whose clock is ahead by that", parse: |value| clock_seconds(value).map(Effect::Clock) },
    EffectSpec { name: "date", value: "a time such as `9999-12-31T23:59:59Z`", description: "sends that time in the `Date` header",
        parse: |value| DateTime::parse_from_rfc3339(value?).ok().map(|time| Effect::Date(time.to_utc())) },
    EffectSpec { name: "age", value: "seconds", description: "sends that `Age` with a `Date` that is earlier by as much; the content is current", parse: |value| number(value).map(Effect::Age) },
    EffectSpec { name: "cache", value: "seconds", description: "serves the response to the same request again for that long, with its `Age` and old `Date`", parse: |value| number(value).map(Effect::Cache) },
];

fn number<N: std::str::FromStr>(value: Option<&str>) -> Option<N> {
    value?.parse().ok()
}

fn status(value: Option<&str>, range: std::ops::RangeInclusive<u16>) -> Option<u16> {
    number(value).filter(|status| range.contains(status))
}

/// A limit that leaves room for the count to grow.
const FIRST_COUNT_MAX: u64 = 1_000_000_000_000_000;

fn clock_seconds(value: Option<&str>) -> Option<i64> {
    number(value).filter(|seconds| (-CLOCK_SECONDS_MAX..=CLOCK_SECONDS_MAX).contains(seconds))
}

/// Adds two offsets of a clock, within the limits of what a clock may show.
pub(crate) fn shifted(offset: TimeDelta, by: TimeDelta) -> TimeDelta {
    let max = TimeDelta::seconds(CLOCK_SECONDS_MAX);
    offset.checked_add(&by).unwrap_or(offset).clamp(-max, max)
}

fn row(value: Option<&str>) -> Option<Effect> {
    let (defect, places) = value?.split_once(':').unwrap_or((value?, "1"));
    Some(Effect::Row(defect.parse().ok()?, Places::parse(places)?))
}

fn without_value(value: Option<&str>, effect: Effect) -> Option<Effect> {
    value.is_none().then_some(effect)
}

fn cut(value: Option<&str>) -> Option<Effect> {
    match value {
        None => Some(Effect::Cut(None)),
        Some(_) => number(value).map(|bytes| Effect::Cut(Some(bytes))),
    }
}

fn throttle(value: Option<&str>) -> Option<Effect> {
    let Some(text) = value else { return Some(Effect::Throttle(RetryAfter::Off, 0)) };
    match text.strip_prefix("date") {
        Some(seconds) => number(Some(seconds)).map(|seconds| Effect::Throttle(RetryAfter::Date, seconds)),
        None => number(value).map(|seconds| Effect::Throttle(RetryAfter::Seconds, seconds)),
    }
}

fn wrong_count(value: Option<&str>) -> Option<Effect> {
    let wrong = match value? {
        "text" => WrongCount::Text,
        "null" => WrongCount::Null,
        "missing" => WrongCount::Missing,
        text if text.starts_with(['+', '-']) => WrongCount::OffBy(text.parse().ok()?),
        text => WrongCount::Fixed(text.parse().ok()?),
    };
    Some(Effect::Count(wrong))
}

fn wrong_tickets(value: Option<&str>) -> Option<Effect> {
    match value? {
        "missing" => Some(Effect::Tickets(WrongTickets::Missing)),
        "null" => Some(Effect::Tickets(WrongTickets::Null)),
        _ => None,
    }
}

/// A list that never ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndlessList {
    pub(crate) first_count: u64,
    /// The greatest page requested so far.
    pub(crate) highest_page: u64,
}

/// How a list response is altered while it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListFault {
    pub(crate) rows_repeated: usize,
    pub(crate) no_rows: bool,
    pub(crate) defects: Vec<(Places, RowDefect)>,
    pub(crate) endless: Option<EndlessList>,
    count: Option<WrongCount>,
    tickets: Option<WrongTickets>,
}

impl ListFault {
    /// `highest_page` is the greatest page requested so far.
    pub(crate) fn from_effects(effects: &[Effect], highest_page: u64) -> ListFault {
        let mut fault = ListFault::default();
        for effect in effects {
            match *effect {
                Effect::Repeat(rows) => fault.rows_repeated = usize::try_from(rows).unwrap_or(usize::MAX),
                Effect::Empty => fault.no_rows = true,
                Effect::Count(wrong) => fault.count = Some(wrong),
                Effect::Tickets(wrong) => fault.tickets = Some(wrong),
                Effect::Row(ref defect, ref places) => fault.defects.push((places.clone(), defect.clone())),
                Effect::Endless(first_count) => {
                    fault.endless = Some(EndlessList { first_count, highest_page });
                }
                _ => {}
            }
        }
        fault
    }

    /// Alters a reference list, which is a bare array.
    pub(crate) fn alter_elements(&self, array: &mut Vec<u8>) {
        if self.no_rows && array.first() == Some(&b'[') {
            *array = b"[]".to_vec();
        }
        row_defect::apply_to_elements(&self.defects, array);
    }

    /// Writes `"record_count":…,`, right or wrong.
    pub(crate) fn write_count(&self, true_count: u64, body: &mut Vec<u8>) {
        let true_count = i64::try_from(true_count).unwrap_or(i64::MAX);
        let value = match self.count {
            None => true_count.to_string(),
            Some(WrongCount::OffBy(by)) => true_count.saturating_add(by).to_string(),
            Some(WrongCount::Fixed(number)) => number.to_string(),
            Some(WrongCount::Text) => format!("\"{true_count}\""),
            Some(WrongCount::Null) => "null".to_owned(),
            Some(WrongCount::Missing) => return,
        };
        body.extend_from_slice(format!("\"record_count\":{value},").as_bytes());
    }

    /// Writes the key of the array in an envelope, such as `"tickets":`; returns false if no rows follow.
    pub(crate) fn write_array_key(&self, name: &str, body: &mut Vec<u8>) -> bool {
        match self.tickets {
            None => body.extend_from_slice(format!("\"{name}\":").as_bytes()),
            Some(WrongTickets::Null) => body.extend_from_slice(format!("\"{name}\":null,").as_bytes()),
            Some(WrongTickets::Missing) => {}
        }
        self.tickets.is_none()
    }
}
