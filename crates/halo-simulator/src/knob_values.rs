//! Types of knob values: numbers in a range, or one of a few words.

use std::ops::{Bound, RangeBounds};

/// A type of knob value: a word from a list or a number in a range.
pub(crate) trait KnobValue: Sized {
    fn parse(text: &str, range: (Bound<&i64>, Bound<&i64>)) -> Option<Self>;
    fn to_text(&self) -> String;
    fn allowed(range: (Bound<&i64>, Bound<&i64>)) -> String;
}

macro_rules! number_knob {
    ($($number:ty),+) => { $(
        impl KnobValue for $number {
            fn parse(text: &str, range: (Bound<&i64>, Bound<&i64>)) -> Option<Self> {
                let number: i64 = text.parse().ok()?;
                range.contains(&number).then(|| Self::try_from(number).ok()).flatten()
            }
            fn to_text(&self) -> String {
                self.to_string()
            }
            fn allowed(range: (Bound<&i64>, Bound<&i64>)) -> String {
                match range {
                    (Bound::Included(min), Bound::Included(max)) => format!("{min} to {max}"),
                    _ => "a whole number".to_owned(),
                }
            }
        }
    )+ };
}

number_knob!(u32, i32);

/// Defines enums of words: each variant with its spelling and meaning.
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

/// Returns both ends of a range, as [`KnobValue`] takes them.
pub(crate) fn bounds(range: &impl RangeBounds<i64>) -> (Bound<&i64>, Bound<&i64>) {
    (range.start_bound(), range.end_bound())
}

words! {
    /// On or off.
    Switch {
        /// Yes.
        On = "on",
        /// No.
        Off = "off",
    }
    /// Whether a date filter includes its bound.
    DateFilterMode {
        /// Rows with exactly that timestamp are included.
        Inclusive = "inclusive",
        /// Rows with exactly that timestamp are excluded.
        Exclusive = "exclusive",
        /// The filter is not supported: all rows are returned.
        Ignored = "ignored",
    }
    /// The precision of date filters.
    DatePrecision {
        /// The stored 1/300 s.
        Exact = "exact",
        /// Whole seconds, both sides truncated.
        Second = "second",
    }
    /// The order of a list requested without `order`.
    DefaultOrder {
        /// By id, descending.
        Newest = "newest",
        /// By the used share of the SLA time, which changes every minute.
        Sla = "sla",
    }
    /// Whether the server supports a parameter.
    ParameterSupport {
        /// It has an effect.
        Honored = "honored",
        /// It is ignored without an error.
        Ignored = "ignored",
    }
    /// Which tickets the plain list contains.
    PlainList {
        /// Open and closed tickets.
        All = "all",
        /// Open tickets, and tickets closed in the 30 days before the start.
        OpenAndRecent = "open_and_recent",
    }
    /// The response to a page past the last.
    PagePastEnd {
        /// No rows.
        Empty = "empty",
        /// The last page again.
        Last = "last",
    }
    /// When deleted tickets are listed.
    DeletedInList {
        /// Never.
        Never = "never",
        /// With `deleted=true`, without other tickets.
        Only = "only",
        /// With `deleted=true`, together with other tickets.
        Also = "also",
    }
    /// The status of a request for a deleted ticket.
    DeletedGet {
        /// 404.
        NotFound = "404",
        /// 403.
        Forbidden = "403",
        /// 200 with `"deleted": true`.
        Found = "200",
    }
    /// The status of a request for a ticket that the agent may not see.
    HiddenGet {
        /// 404, as if the ticket did not exist.
        NotFound = "404",
        /// 403.
        Forbidden = "403",
    }
    /// The form of an error body.
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
    /// The `Retry-After` header of a 429 response.
    RetryAfter {
        /// None.
        Off = "off",
        /// A number of seconds.
        Seconds = "seconds",
        /// An HTTP date.
        Date = "date",
    }
    /// How the token endpoint handles the tenant.
    TenantPolicy {
        /// It may be omitted; a wrong one is refused.
        Accepted = "accepted",
        /// It must be sent and correct.
        Required = "required",
        /// It is not checked.
        Ignored = "ignored",
    }
    /// The format of `expires_in`.
    ExpiresIn {
        /// A number.
        Number = "number",
        /// The number as a string.
        Text = "text",
        /// Absent.
        Missing = "missing",
        /// Zero, although the token is valid for longer.
        Zero = "zero",
    }
    /// How the API application is set up.
    Application {
        /// "Client ID and Secret (Services)", logging in as an agent.
        Service = "service",
        /// Another authentication method: `unauthorized_client`.
        Other = "other",
        /// Not logging in as an agent: a token, but 403 on tickets.
        User = "user",
    }
    /// The envelope of a paged response.
    ListEnvelope {
        /// Includes `page_no` and `page_size`.
        Echo = "echo",
        /// The same as for an unpaged response.
        Bare = "bare",
        /// Includes the column profile, as with `includecolumns=true`.
        Full = "full",
    }
    /// How a list row represents empty custom fields.
    UnfilledFields {
        /// Each with an empty value.
        Named = "named",
        /// No `customfields` if all of them are empty.
        LeftOut = "left_out",
    }
    /// Which value of a custom field a list row contains.
    ListedFields {
        /// The stored value.
        Value = "value",
        /// The display text.
        Display = "display",
    }
    /// The version of the row format.
    RowShape {
        /// As recorded in 2025.
        Recent = "2025",
        /// Without `team_id` and `_open_search_score`.
        Older = "2024",
    }
    /// The maximum page size of clients, sites and users.
    ReferencePageCap {
        /// 50 rows.
        Fifty = "50",
        /// 100 rows.
        Hundred = "100",
        /// As many as requested.
        Unlimited = "none",
    }
    /// The form of the list of agents.
    AgentList {
        /// A bare array, whether paged or not.
        Bare = "bare",
        /// A bare array, but an object with `results` if paging is requested.
        Paged = "paged",
        /// Always an object with `results`.
        Results = "results",
    }
    /// How reference objects represent ids.
    ReferenceIds {
        /// `12`
        Integer = "integer",
        /// `12.0`
        Double = "double",
    }
    /// When disabled agents and teams, and inactive clients, sites and users, are listed.
    DisabledInList {
        /// Always.
        Always = "always",
        /// With `includedisabled` or `includeinactive`.
        Asked = "asked",
        /// Never.
        Never = "never",
    }
    /// The names of priorities with the same number in different SLAs.
    PriorityNames {
        /// Other names in each SLA.
        Different = "different",
        /// The same names in all SLAs.
        Same = "same",
    }
    /// Which property of a category has the text that tickets have.
    CategoryPath {
        /// `value`; `category_name` has the last level.
        Value = "value",
        /// `category_name`; `value` has the last level.
        CategoryName = "category_name",
    }
    /// How a list row represents optional properties that are not set.
    UnsetExtras {
        /// Absent.
        LeftOut = "left_out",
        /// `1900-01-01T00:00:00`, or 0 for an id.
        Sentinel = "sentinel",
    }
    /// The value of an unset time of day.
    ClockZero {
        /// `00:00:00`
        Midnight = "00:00:00",
        /// `04:00:00`, midnight of US Eastern in UTC.
        Eastern = "04:00:00",
    }
}

/// Which optional properties list rows carry; an administrator edits the column profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties")]
pub struct RowExtras {
    /// `dateclosed`
    pub dateclosed: bool,
    /// `responsedate`
    pub responsedate: bool,
    /// `dateassigned`
    pub dateassigned: bool,
    /// `parent_id`
    pub parent_id: bool,
}

impl RowExtras {
    /// None of them.
    pub const NONE: RowExtras =
        RowExtras { dateclosed: false, responsedate: false, dateassigned: false, parent_id: false };
    /// All of them.
    pub const ALL: RowExtras =
        RowExtras { dateclosed: true, responsedate: true, dateassigned: true, parent_id: true };
    /// Those that were recorded without a column profile.
    pub const RECORDED: RowExtras = RowExtras { dateclosed: true, parent_id: true, ..RowExtras::NONE };

    fn properties(&mut self) -> [(&'static str, &mut bool); 4] {
        [
            ("dateclosed", &mut self.dateclosed),
            ("responsedate", &mut self.responsedate),
            ("dateassigned", &mut self.dateassigned),
            ("parent_id", &mut self.parent_id),
        ]
    }

    /// Returns whether rows carry this property; all others than the four they do.
    pub(crate) fn carries(mut self, property: &str) -> bool {
        self.properties().into_iter().find(|(name, _)| *name == property).is_none_or(|(_, carried)| *carried)
    }
}

impl KnobValue for RowExtras {
    fn parse(text: &str, _: (Bound<&i64>, Bound<&i64>)) -> Option<Self> {
        let mut extras = RowExtras::NONE;
        match text.to_ascii_lowercase().as_str() {
            "none" => {}
            "all" => extras = RowExtras::ALL,
            names => {
                // A plus sign in a query is a space.
                for name in names.split(['+', ' ', ',']) {
                    *extras.properties().into_iter().find(|(known, _)| *known == name)?.1 = true;
                }
            }
        }
        Some(extras)
    }
    fn to_text(&self) -> String {
        let mut extras = *self;
        let carried = extras.properties().into_iter().filter(|(_, carried)| **carried);
        match carried.map(|(name, _)| name).collect::<Vec<_>>()[..] {
            [] => "none".to_owned(),
            [_, _, _, _] => "all".to_owned(),
            ref names => names.join("+"),
        }
    }
    fn allowed(_: (Bound<&i64>, Bound<&i64>)) -> String {
        "none, dateclosed, responsedate, dateassigned, parent_id, dateclosed+parent_id, all".to_owned()
    }
}

impl Switch {
    /// Returns whether it is [`Switch::On`].
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Switch::On
    }
}

impl ParameterSupport {
    /// Returns whether it is [`ParameterSupport::Honored`].
    #[must_use]
    pub fn is_honored(self) -> bool {
        self == ParameterSupport::Honored
    }
}
