//! What a fault does: to the world, instead of an answer, inside a list, or on the wire.

use crate::knob_values::RetryAfter;

/// What a fault does.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Another status, with a body that suits it: JSON below 500, an HTML page from there on.
    Status(u16),
    /// A whole HTML page with that status.
    Html(u16),
    /// A JSON error object with that status; 200 is the interesting one.
    Error(u16),
    /// A 429, and what it says about waiting.
    Throttle(RetryAfter, u32),
    /// A redirect to another host.
    Redirect(u16),
    /// A 200 with an empty body.
    Blank,
    /// Every token becomes worthless before the request is looked at.
    Expire,
    /// The body ends after so many bytes, `None` for half of it.
    Cut(Option<usize>),
    /// The connection is reset without an answer.
    Reset,
    /// The body comes in small pieces over so many milliseconds.
    Slow(u32),
    /// The answer is held back for so many milliseconds.
    Delay(u32),
    /// One byte in the middle of the body is no UTF-8.
    Garble,
    /// The list begins so many rows too early, so that rows come twice across pages.
    Repeat(u32),
    /// The list has no rows, while its count stays.
    Empty,
    /// `record_count` is not the truth.
    Count(WrongCount),
    /// `tickets` is not there.
    Tickets(WrongTickets),
    /// So many listed tickets are deleted just before the answer.
    Delete(u32),
    /// So many listed tickets are edited just before the answer.
    Edit(u32),
    /// So many tickets are created just before the answer.
    Create(u32),
    /// So many per cent of the listed tickets leave the agent's permissions just before the answer.
    Hide(u32),
    /// The server's clock jumps by so many seconds, and stays there.
    Skew(i64),
}

/// How `record_count` is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongCount {
    /// By so many.
    OffBy(i64),
    /// It is this number.
    Fixed(i64),
    /// It is a text.
    Text,
    /// It is null.
    Null,
    /// It is not there.
    Missing,
}

/// How `tickets` is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongTickets {
    /// The property is left out.
    Missing,
    /// It is null.
    Null,
}

/// How a fault spells an effect; the command line, its errors and the documentation read this table.
pub(crate) struct EffectSpec {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    pub(crate) description: &'static str,
    pub(crate) parse: fn(Option<&str>) -> Option<Effect>,
}

#[rustfmt::skip]
pub(crate) const EFFECTS: &[EffectSpec] = &[
    EffectSpec { name: "status", value: "400 to 599", description: "that status, with a JSON body below 500 and an HTML page from there on",
        parse: |value| status(value, 400..=599).map(Effect::Status) },
    EffectSpec { name: "html", value: "200 to 599, or nothing for 200", description: "a whole HTML page with that status",
        parse: |value| status(value.or(Some("200")), 200..=599).map(Effect::Html) },
    EffectSpec { name: "error", value: "200 to 599, or nothing for 200", description: "a JSON error object with that status",
        parse: |value| status(value.or(Some("200")), 200..=599).map(Effect::Error) },
    EffectSpec { name: "throttle", value: "nothing, seconds, or `date` and seconds (`date7`)", description: "429 without or with `Retry-After`, as seconds or as an HTTP date",
        parse: throttle },
    EffectSpec { name: "redirect", value: "301, 302, 303, 307 or 308", description: "a redirect to another host",
        parse: |value| status(value, 301..=308).filter(|code| ![304, 305, 306].contains(code)).map(Effect::Redirect) },
    EffectSpec { name: "blank", value: "nothing", description: "200 with an empty body", parse: |value| without_value(value, Effect::Blank) },
    EffectSpec { name: "expire", value: "nothing", description: "every token becomes worthless; this request is the first to see 401",
        parse: |value| without_value(value, Effect::Expire) },
    EffectSpec { name: "cut", value: "bytes, or nothing for half", description: "the connection ends after that much of the body",
        parse: cut },
    EffectSpec { name: "reset", value: "nothing", description: "the connection is reset without an answer", parse: |value| without_value(value, Effect::Reset) },
    EffectSpec { name: "slow", value: "milliseconds", description: "the body comes in small pieces over that time", parse: |value| number(value).map(Effect::Slow) },
    EffectSpec { name: "delay", value: "milliseconds", description: "the answer is held back", parse: |value| number(value).map(Effect::Delay) },
    EffectSpec { name: "garble", value: "nothing", description: "one byte of the body is no UTF-8", parse: |value| without_value(value, Effect::Garble) },
    EffectSpec { name: "repeat", value: "rows", description: "the page begins that many rows too early", parse: |value| number(value).map(Effect::Repeat) },
    EffectSpec { name: "empty", value: "nothing", description: "no rows, the count stays", parse: |value| without_value(value, Effect::Empty) },
    EffectSpec { name: "count", value: "+N, -N, N, `text`, `null` or `missing`", description: "`record_count` lies", parse: wrong_count },
    EffectSpec { name: "tickets", value: "`missing` or `null`", description: "no `tickets` in the envelope", parse: wrong_tickets },
    EffectSpec { name: "delete", value: "tickets", description: "that many are deleted just before the answer", parse: |value| number(value).map(Effect::Delete) },
    EffectSpec { name: "edit", value: "tickets", description: "that many are edited just before the answer", parse: |value| number(value).map(Effect::Edit) },
    EffectSpec { name: "create", value: "tickets", description: "that many are created just before the answer", parse: |value| number(value).map(Effect::Create) },
    EffectSpec { name: "hide", value: "per cent", description: "that share of the tickets leaves the agent's permissions",
        parse: |value| number(value).filter(|percent| *percent <= 100).map(Effect::Hide) },
    EffectSpec { name: "skew", value: "seconds, with sign", description: "the server's clock jumps and stays there", parse: |value| number(value).map(Effect::Skew) },
];

fn number<N: std::str::FromStr>(value: Option<&str>) -> Option<N> {
    value?.parse().ok()
}

fn status(value: Option<&str>, range: std::ops::RangeInclusive<u16>) -> Option<u16> {
    number(value).filter(|status| range.contains(status))
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

/// How a list answer is bent while it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListFault {
    pub(crate) rows_repeated: usize,
    pub(crate) no_rows: bool,
    count: Option<WrongCount>,
    tickets: Option<WrongTickets>,
}

impl ListFault {
    pub(crate) fn from_effects(effects: &[Effect]) -> ListFault {
        let mut fault = ListFault::default();
        for effect in effects {
            match *effect {
                Effect::Repeat(rows) => fault.rows_repeated = usize::try_from(rows).unwrap_or(usize::MAX),
                Effect::Empty => fault.no_rows = true,
                Effect::Count(wrong) => fault.count = Some(wrong),
                Effect::Tickets(wrong) => fault.tickets = Some(wrong),
                _ => {}
            }
        }
        fault
    }

    /// Writes `"record_count":…,` as it is to be read.
    pub(crate) fn write_count(&self, true_count: usize, body: &mut Vec<u8>) {
        let true_count = i64::try_from(true_count).unwrap_or(i64::MAX);
        let value = match self.count {
            None => true_count.to_string(),
            Some(WrongCount::OffBy(by)) => (true_count + by).to_string(),
            Some(WrongCount::Fixed(number)) => number.to_string(),
            Some(WrongCount::Text) => format!("\"{true_count}\""),
            Some(WrongCount::Null) => "null".to_owned(),
            Some(WrongCount::Missing) => return,
        };
        body.extend_from_slice(format!("\"record_count\":{value},").as_bytes());
    }

    /// Writes `"tickets":`; false where no rows are to follow.
    pub(crate) fn write_tickets_key(&self, body: &mut Vec<u8>) -> bool {
        match self.tickets {
            None => body.extend_from_slice(b"\"tickets\":"),
            Some(WrongTickets::Null) => body.extend_from_slice(b"\"tickets\":null,"),
            Some(WrongTickets::Missing) => {}
        }
        self.tickets.is_none()
    }
}
