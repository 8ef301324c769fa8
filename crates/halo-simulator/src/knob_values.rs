//! What a knob can hold: a number of a range, or one of a few words.

use std::ops::{Bound, RangeBounds};

/// What a knob can hold: a word of a list or a number of a range.
pub(crate) trait KnobValue: Sized {
    fn parse(text: &str, range: (Bound<&i64>, Bound<&i64>)) -> Option<Self>;
    fn to_text(&self) -> String;
    fn allowed(range: (Bound<&i64>, Bound<&i64>)) -> String;
}

macro_rules! number_knob {
    ($($kind:ty),+) => { $(
        impl KnobValue for $kind {
            fn parse(text: &str, range: (Bound<&i64>, Bound<&i64>)) -> Option<Self> {
                let number: i64 = text.parse().ok()?;
                range.contains(&number).then(|| Self::try_from(number).ok()).flatten()
            }
            fn to_text(&self) -> String {
                self.to_string()
            }
            fn allowed(range: (Bound<&i64>, Bound<&i64>)) -> String {
                match range {
                    (Bound::Included(least), Bound::Included(most)) => format!("{least} to {most}"),
                    _ => "a whole number".to_owned(),
                }
            }
        }
    )+ };
}

number_knob!(u32, i32);

/// A knob that takes words: each variant with its spelling and its meaning.
macro_rules! words {
    ($($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $variant:ident = $word:literal,)+ })+) => { $(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$meaning])* $variant,)+ }

        impl KnobValue for $name {
            fn parse(text: &str, _: (Bound<&i64>, Bound<&i64>)) -> Option<Self> {
                [$(($word, $name::$variant)),+]
                    .into_iter()
                    .find_map(|(word, value)| word.eq_ignore_ascii_case(text).then_some(value))
            }
            fn to_text(&self) -> String {
                match self { $($name::$variant => $word,)+ }.to_owned()
            }
            fn allowed(_: (Bound<&i64>, Bound<&i64>)) -> String {
                [$($word),+].join(", ")
            }
        }
    )+ };
}

/// Both ends of a range, as [`Turn`] wants them.
pub(crate) fn bounds(range: &impl RangeBounds<i64>) -> (Bound<&i64>, Bound<&i64>) {
    (range.start_bound(), range.end_bound())
}

words! {
    /// Something that is either so or not.
    Switch {
        /// It is so.
        On = "on",
        /// It is not.
        Off = "off",
    }
    /// How a date filter takes its own bound.
    DateFilterMode {
        /// Rows of exactly that moment come back.
        Inclusive = "inclusive",
        /// They do not.
        Exclusive = "exclusive",
        /// The filter is not known: every row comes back.
        Ignored = "ignored",
    }
    /// How finely a date filter compares.
    DatePrecision {
        /// By the stored 1/300 s.
        Exact = "exact",
        /// By whole seconds, cut off on both sides.
        Second = "second",
    }
    /// The order of a list that was asked for without `order`.
    DefaultOrder {
        /// By id, the greatest first.
        Newest = "newest",
        /// By the share of the SLA time that is used, which moves by the minute.
        Sla = "sla",
    }
    /// Whether a parameter has an effect.
    ParameterSupport {
        /// It has.
        Honored = "honoured",
        /// It is skipped without a word.
        Ignored = "ignored",
    }
    /// Which tickets the plain list holds.
    PlainList {
        /// Open and closed ones.
        All = "all",
        /// Open ones, and closed ones of the 30 days before the world was made.
        OpenAndRecent = "open_and_recent",
    }
    /// How a list answers a page beyond the last one.
    PagePastEnd {
        /// With no rows.
        Empty = "empty",
        /// With the last page once more.
        Last = "last",
    }
    /// When deleted tickets are listed.
    DeletedInList {
        /// Never.
        Never = "never",
        /// With `deleted=true`, and then only they.
        Only = "only",
        /// With `deleted=true`, among the others.
        Also = "also",
    }
    /// How a single ticket answers that was deleted.
    DeletedGet {
        /// 404.
        NotFound = "404",
        /// 403.
        Forbidden = "403",
        /// 200 with `deleted` set.
        Found = "200",
    }
    /// How a single ticket answers that the agent may not see.
    HiddenGet {
        /// 404, as if there were none.
        NotFound = "404",
        /// 403.
        Forbidden = "403",
    }
    /// The body of a refusal.
    ErrorBody {
        /// `{"Message":"…"}`
        Message = "message",
        /// `{"error":"…"}`
        Error = "error",
        /// `{"error":{"error_description":"…"}}`
        Nested = "nested",
        /// `{"error":"…","error_description":"…"}`
        Pair = "pair",
        /// `{"ClassName":"…","Message":"…"}`, a .NET exception.
        Exception = "exception",
        /// `{"errors":["…"]}`
        List = "list",
        /// A bare JSON string.
        Text = "string",
        /// Plain text.
        Plain = "plain",
        /// Nothing.
        Empty = "empty",
        /// A whole HTML page.
        Html = "html",
    }
    /// What a 429 says about waiting.
    RetryAfter {
        /// Nothing.
        Off = "off",
        /// A number of seconds.
        Seconds = "seconds",
        /// An HTTP date.
        Date = "date",
    }
    /// How the token endpoint treats a tenant.
    TenantPolicy {
        /// It may be left out; a wrong one is refused.
        Accepted = "accepted",
        /// It must be sent and be right.
        Required = "required",
        /// It is not looked at.
        Ignored = "ignored",
    }
    /// How `expires_in` is written.
    ExpiresIn {
        /// A number.
        Number = "number",
        /// The number as text.
        Text = "text",
        /// Not at all.
        Missing = "missing",
        /// Zero, although the token lives.
        Zero = "zero",
    }
    /// What the application may do at the token endpoint.
    Application {
        /// "Client ID and Secret (Services)", logging in as an agent.
        Service = "service",
        /// Another authentication method: `unauthorized_client`.
        Other = "other",
        /// Not logging in as an agent: a token, but 403 on tickets.
        User = "user",
    }
    /// How much a paged answer carries around its rows.
    ListEnvelope {
        /// `page_no` and `page_size`.
        Echo = "echo",
        /// Only what an unpaged answer carries.
        Bare = "bare",
        /// The column profile too, as if `includecolumns=true` were sent.
        Full = "full",
    }
    /// What a list row carries of custom fields that hold nothing.
    UnfilledFields {
        /// Each, with an empty value.
        Named = "named",
        /// No `customfields` at all where none holds anything.
        LeftOut = "left_out",
    }
    /// What a list row carries as the value of a custom field.
    ListedFields {
        /// The value.
        Value = "value",
        /// What is displayed.
        Display = "display",
    }
    /// The age of the row shape.
    RowShape {
        /// As recorded in 2025.
        Recent = "2025",
        /// Without `team_id` and `_open_search_score`.
        Older = "2024",
    }
    /// How an unset clock time is written.
    ClockZero {
        /// `00:00:00`
        Midnight = "00:00:00",
        /// `04:00:00`, midnight of US Eastern in UTC.
        Eastern = "04:00:00",
    }
}

impl Switch {
    /// Whether it is [`Switch::On`].
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Switch::On
    }
}

impl ParameterSupport {
    /// Whether it is [`Honoured::Honoured`].
    #[must_use]
    pub fn is_honored(self) -> bool {
        self == ParameterSupport::Honored
    }
}
