//! What a fault does: to the world, instead of an answer, inside a list, or on the wire.

use super::choices::RetryAfter;

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
    Count(Lie),
    /// `tickets` is not there.
    Tickets(Loss),
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
pub enum Lie {
    /// By so many.
    Off(i64),
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
pub enum Loss {
    /// The property is left out.
    Missing,
    /// It is null.
    Null,
}

/// How a fault spells an effect; the command line, its errors and the documentation read this table.
pub(super) struct EffectWord {
    pub(super) name: &'static str,
    pub(super) value: &'static str,
    pub(super) about: &'static str,
    pub(super) read: fn(Option<&str>) -> Option<Effect>,
}

#[rustfmt::skip]
pub(super) const EFFECTS: &[EffectWord] = &[
    EffectWord { name: "status", value: "400 to 599", about: "that status, with a JSON body below 500 and an HTML page from there on",
        read: |value| status(value, 400..=599).map(Effect::Status) },
    EffectWord { name: "html", value: "200 to 599, or nothing for 200", about: "a whole HTML page with that status",
        read: |value| status(value.or(Some("200")), 200..=599).map(Effect::Html) },
    EffectWord { name: "error", value: "200 to 599, or nothing for 200", about: "a JSON error object with that status",
        read: |value| status(value.or(Some("200")), 200..=599).map(Effect::Error) },
    EffectWord { name: "throttle", value: "nothing, seconds, or `date` and seconds (`date7`)", about: "429 without or with `Retry-After`, as seconds or as an HTTP date",
        read: throttle },
    EffectWord { name: "redirect", value: "301, 302, 303, 307 or 308", about: "a redirect to another host",
        read: |value| status(value, 301..=308).filter(|code| ![304, 305, 306].contains(code)).map(Effect::Redirect) },
    EffectWord { name: "blank", value: "nothing", about: "200 with an empty body", read: |value| alone(value, Effect::Blank) },
    EffectWord { name: "expire", value: "nothing", about: "every token becomes worthless; this request is the first to see 401",
        read: |value| alone(value, Effect::Expire) },
    EffectWord { name: "cut", value: "bytes, or nothing for half", about: "the connection ends after that much of the body",
        read: cut },
    EffectWord { name: "reset", value: "nothing", about: "the connection is reset without an answer", read: |value| alone(value, Effect::Reset) },
    EffectWord { name: "slow", value: "milliseconds", about: "the body comes in small pieces over that time", read: |value| number(value).map(Effect::Slow) },
    EffectWord { name: "delay", value: "milliseconds", about: "the answer is held back", read: |value| number(value).map(Effect::Delay) },
    EffectWord { name: "garble", value: "nothing", about: "one byte of the body is no UTF-8", read: |value| alone(value, Effect::Garble) },
    EffectWord { name: "repeat", value: "rows", about: "the page begins that many rows too early", read: |value| number(value).map(Effect::Repeat) },
    EffectWord { name: "empty", value: "nothing", about: "no rows, the count stays", read: |value| alone(value, Effect::Empty) },
    EffectWord { name: "count", value: "+N, -N, N, `text`, `null` or `missing`", about: "`record_count` lies", read: lie },
    EffectWord { name: "tickets", value: "`missing` or `null`", about: "no `tickets` in the envelope", read: loss },
    EffectWord { name: "delete", value: "tickets", about: "that many are deleted just before the answer", read: |value| number(value).map(Effect::Delete) },
    EffectWord { name: "edit", value: "tickets", about: "that many are edited just before the answer", read: |value| number(value).map(Effect::Edit) },
    EffectWord { name: "create", value: "tickets", about: "that many are created just before the answer", read: |value| number(value).map(Effect::Create) },
    EffectWord { name: "hide", value: "per cent", about: "that share of the tickets leaves the agent's permissions",
        read: |value| number(value).filter(|percent| *percent <= 100).map(Effect::Hide) },
    EffectWord { name: "skew", value: "seconds, with sign", about: "the server's clock jumps and stays there", read: |value| number(value).map(Effect::Skew) },
];

fn number<N: std::str::FromStr>(value: Option<&str>) -> Option<N> {
    value?.parse().ok()
}

fn status(value: Option<&str>, range: std::ops::RangeInclusive<u16>) -> Option<u16> {
    number(value).filter(|status| range.contains(status))
}

fn alone(value: Option<&str>, effect: Effect) -> Option<Effect> {
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

fn lie(value: Option<&str>) -> Option<Effect> {
    let lie = match value? {
        "text" => Lie::Text,
        "null" => Lie::Null,
        "missing" => Lie::Missing,
        text if text.starts_with(['+', '-']) => Lie::Off(text.parse().ok()?),
        text => Lie::Fixed(text.parse().ok()?),
    };
    Some(Effect::Count(lie))
}

fn loss(value: Option<&str>) -> Option<Effect> {
    match value? {
        "missing" => Some(Effect::Tickets(Loss::Missing)),
        "null" => Some(Effect::Tickets(Loss::Null)),
        _ => None,
    }
}

/// How a list answer is bent while it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bend {
    pub(super) rows_repeated: usize,
    pub(super) no_rows: bool,
    count: Option<Lie>,
    tickets: Option<Loss>,
}

impl Bend {
    pub(super) fn of(effects: &[Effect]) -> Bend {
        let mut bend = Bend::default();
        for effect in effects {
            match *effect {
                Effect::Repeat(rows) => bend.rows_repeated = usize::try_from(rows).unwrap_or(usize::MAX),
                Effect::Empty => bend.no_rows = true,
                Effect::Count(lie) => bend.count = Some(lie),
                Effect::Tickets(loss) => bend.tickets = Some(loss),
                _ => {}
            }
        }
        bend
    }

    /// Writes `"record_count":…,` as it is to be read.
    pub(super) fn write_count(&self, truth: usize, body: &mut Vec<u8>) {
        let truth = i64::try_from(truth).unwrap_or(i64::MAX);
        let value = match self.count {
            None => truth.to_string(),
            Some(Lie::Off(by)) => (truth + by).to_string(),
            Some(Lie::Fixed(number)) => number.to_string(),
            Some(Lie::Text) => format!("\"{truth}\""),
            Some(Lie::Null) => "null".to_owned(),
            Some(Lie::Missing) => return,
        };
        body.extend_from_slice(format!("\"record_count\":{value},").as_bytes());
    }

    /// Writes `"tickets":`; false where no rows are to follow.
    pub(super) fn write_tickets_key(&self, body: &mut Vec<u8>) -> bool {
        match self.tickets {
            None => body.extend_from_slice(b"\"tickets\":"),
            Some(Loss::Null) => body.extend_from_slice(b"\"tickets\":null,"),
            Some(Loss::Missing) => {}
        }
        self.tickets.is_none()
    }
}
