//! The knobs: what nobody has established about the real server, and what a test wants to turn.
//!
//! One table, `knobs!` below, makes the [`Knobs`] structure, its defaults, the parser of `name=value` and the table in
//! `docs/simulator.md`. Each row says what is known of the truth and how well: **H** seen in a real answer or in Halo's
//! own specification, **M** one good source, **L** a guess or conflicting sources, **–** no fact about Halo at all (the
//! size of the world, the comfort of a test).

use std::fmt;

use crate::knob_values::{
    Application, ClockZero, DateFilterMode, DatePrecision, DefaultOrder, DeletedGet, DeletedInList,
    ErrorBody, ExpiresIn, HiddenGet, KnobValue, ListEnvelope, ListedFields, PagePastEnd, ParameterSupport,
    PlainList, RetryAfter, RowShape, Switch, TenantPolicy, UnfilledFields, bounds,
};

/// One row of the table, as documentation and the command line see it.
#[derive(Clone, Copy)]
pub struct Knob {
    /// The name, as in `name=value`.
    pub name: &'static str,
    /// What the knob decides.
    pub description: &'static str,
    /// What is known of the real server.
    pub evidence: &'static str,
    /// `H`, `M`, `L` or `–`.
    pub confidence: &'static str,
    allowed: fn() -> String,
    get: fn(&Knobs) -> String,
    set: fn(&mut Knobs, &str) -> bool,
}

impl Knob {
    /// The values it takes, for a person: `on, off` or `1 to 1000`.
    #[must_use]
    pub fn allowed(&self) -> String {
        (self.allowed)()
    }

    /// Its value in `knobs`, spelled as it is set.
    #[must_use]
    pub fn value(&self, knobs: &Knobs) -> String {
        (self.get)(knobs)
    }
}

/// Why a `name=value` was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnobError {
    /// There is no `=` in it.
    NotAPair(String),
    /// No knob has that name.
    UnknownName(String),
    /// The knob does not take that value.
    BadValue {
        /// The knob.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would have been taken.
        allowed: String,
    },
}

impl fmt::Display for KnobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KnobError::NotAPair(text) => write!(f, "`{text}` is not of the form name=value"),
            KnobError::UnknownName(name) => {
                let names: Vec<_> = TABLE.iter().map(|knob| knob.name).collect();
                write!(f, "no knob is called `{name}`; there are {}", names.join(", "))
            }
            KnobError::BadValue { name, value, allowed } => {
                write!(f, "`{value}` is not a value of {name}; it takes {allowed}")
            }
        }
    }
}

impl std::error::Error for KnobError {}

impl Knobs {
    /// Turns one knob, given as `name=value`. Names and words are not case-sensitive.
    ///
    /// # Errors
    /// When there is no such knob or it does not take that value; the message names what would have been taken.
    pub fn set(&mut self, pair: &str) -> Result<(), KnobError> {
        let (name, value) = pair.split_once('=').ok_or_else(|| KnobError::NotAPair(pair.to_owned()))?;
        let (name, value) = (name.trim(), value.trim());
        let knob = TABLE
            .iter()
            .find(|knob| knob.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| KnobError::UnknownName(name.to_owned()))?;
        if (knob.set)(self, value) {
            return Ok(());
        }
        Err(KnobError::BadValue { name: knob.name, value: value.to_owned(), allowed: knob.allowed() })
    }

    /// All rows of the table, in its order.
    #[must_use]
    pub fn table() -> &'static [Knob] {
        TABLE
    }

    /// The table as Markdown; `docs/simulator.md` holds it, a test keeps the two equal.
    #[must_use]
    pub fn markdown() -> String {
        let defaults = Knobs::default();
        let mut text =
            String::from("| knob | values | default | decides | known | |\n|---|---|---|---|---|---|\n");
        for knob in TABLE {
            let row = [
                &format!("`{}`", knob.name),
                &knob.allowed(),
                &format!("`{}`", knob.value(&defaults)),
                knob.description,
                knob.evidence,
                knob.confidence,
            ];
            text.push_str("| ");
            text.push_str(&row.join(" | "));
            text.push_str(" |\n");
        }
        text
    }
}

/// `name: Kind, range, default, what it decides, what is known, confidence;`
macro_rules! knobs {
    ($($name:ident: $kind:ty, $range:expr, $default:expr, $decides:literal, $known:literal, $confidence:literal;)+) => {
        /// Every knob with its present value.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Knobs {
            $(#[doc = concat!($decides, ".")] pub $name: $kind,)+
        }

        impl Default for Knobs {
            fn default() -> Self {
                Knobs { $($name: $default,)+ }
            }
        }

        const TABLE: &[Knob] = &[$(
            Knob {
                name: stringify!($name),
                description: $decides,
                evidence: $known,
                confidence: $confidence,
                allowed: || <$kind as KnobValue>::allowed(bounds(&$range)),
                get: |knobs| knobs.$name.to_text(),
                set: |knobs, text| match <$kind as KnobValue>::parse(text, bounds(&$range)) {
                    Some(value) => {
                        knobs.$name = value;
                        true
                    }
                    None => false,
                },
            },
        )+];
    };
}

#[rustfmt::skip]
knobs! {
    // Paging
    page_cap: u32, 1..=1000, 100, "Greatest page size that is honoured", "documented maximum 100; a larger value is cut without a word", "H";
    default_rows: u32, 1..=1000, 50, "Rows of an answer without paging", "50 for an API agent", "H";
    count_cap: u32, 1..=100_000, 1000, "Greatest `count` without paging", "1000", "M";
    page_past_end: PagePastEnd, .., PagePastEnd::Empty, "A page beyond the last", "every client assumes empty; no recording", "L";
    envelope: ListEnvelope, .., ListEnvelope::Echo, "What surrounds the rows of a paged answer", "the paging echo was recorded; the column profile came with `includecolumns`", "M";

    // Order
    default_order: DefaultOrder, .., DefaultOrder::Newest, "The order when none is asked for", "comes from a column profile; newest first and SLA order were both seen", "M";
    order_by_id: ParameterSupport, .., ParameterSupport::Honored, "Whether `order=id` works", "sent by working clients", "H";
    order_by_last_update: ParameterSupport, .., ParameterSupport::Ignored, "Whether `order=last_update` works", "shown by nobody", "L";

    // Filters
    date_filter: DateFilterMode, .., DateFilterMode::Inclusive, "How `lastupdatefromdate`/`todate` take their own bound", "that they filter is certain, the bound is not", "L";
    date_precision: DatePrecision, .., DatePrecision::Exact, "How finely date filters compare", "not established", "L";
    date_filter_shift: i32, -840..=840, 0, "Minutes added to a date filter's value (a server that reads it as local time)", "UTC is assumed", "L";
    type_filter: ParameterSupport, .., ParameterSupport::Honored, "Whether `requesttype_id` and `requesttype` filter", "documented", "H";
    plain_list: PlainList, .., PlainList::All, "Which tickets the plain list holds", "sources disagree", "L";
    include_custom_fields: ParameterSupport, .., ParameterSupport::Honored, "Whether the list knows `include_custom_fields`", "newer servers do", "M";

    // Custom fields
    field_info: Switch, .., Switch::On, "Whether /api/FieldInfo is there (else 404)", "in the specification", "M";
    unfilled_fields: UnfilledFields, .., UnfilledFields::Named, "What a list row carries of custom fields that hold nothing", "nulls are left out elsewhere", "L";
    listed_fields: ListedFields, .., ListedFields::Value, "What a list row carries as the value of a custom field", "`cf_display_values_only` asks for the other", "L";
    detail_cache_s: u32, 0..=86_400, 0, "Seconds for which a single ticket is answered as it was asked for before", "the parameter `nocache` exists", "L";

    // Tickets that go
    deleted_listed: DeletedInList, .., DeletedInList::Only, "When deleted tickets are listed", "\"only\" and \"also\" are both claimed", "L";
    deleted_get: DeletedGet, .., DeletedGet::NotFound, "GET of a deleted ticket", "not established", "L";
    hidden_get: HiddenGet, .., HiddenGet::Forbidden, "GET of a ticket outside the agent's permissions", "not established", "L";
    merged_listed: Switch, .., Switch::On, "Whether a merged ticket stays in the list", "not established", "L";
    delete_stamps: Switch, .., Switch::Off, "Whether a deletion moves `last_update`", "not established", "L";
    merge_stamps: Switch, .., Switch::On, "Whether a merge moves `last_update`", "not established", "L";
    sla_stamps: Switch, .., Switch::Off, "Whether an SLA recount moves `last_update`", "not established", "L";
    commit_delay_ms: u32, 0..=3_600_000, 400, "Milliseconds between the stamp of a change and the moment it can be read", "0.12 to 0.36 s in every recording", "M";

    // Rows
    row_shape: RowShape, .., RowShape::Recent, "Age of the row shape", "both recorded", "H";
    category_display: Switch, .., Switch::Off, "Whether rows carry `category_N_display`", "specified, in no sample", "L";
    clock_zero: ClockZero, .., ClockZero::Midnight, "How an unset clock time is written", "both recorded", "H";

    // Errors and limits
    error_body: ErrorBody, .., ErrorBody::Message, "Body of a 400, 401, 403, 404", "no fixed form", "H";
    limit_body: ErrorBody, .., ErrorBody::Text, "Body of a 429", "a bare JSON string was met", "M";
    retry_after: RetryAfter, .., RetryAfter::Off, "`Retry-After` of a 429", "recorded by nobody", "L";
    rate_limit: u32, 0..=1_000_000, 0, "Requests in a rolling window, 0 for no limit", "300 by the recorded text", "M";
    rate_window_s: u32, 1..=86_400, 300, "Length of that window in seconds", "300 by the recorded text", "M";

    // Access
    tenant: TenantPolicy, .., TenantPolicy::Accepted, "The tenant at the token endpoint", "differs by instance", "M";
    application: Application, .., Application::Service, "How the API application is set up", "the two mistakes people make", "M";
    scope_read_tickets: Switch, .., Switch::On, "Whether the scope `read:tickets` exists (else `invalid_scope`)", "it does; older servers are not known", "H";
    reference_needs_all: Switch, .., Switch::Off, "Whether /Status and /TicketType answer 403 under `read:tickets`", "sources disagree", "L";
    token_seconds: u32, 1..=86_400, 3600, "Life of a token in seconds", "3600 in every source", "H";
    expires_in: ExpiresIn, .., ExpiresIn::Number, "How `expires_in` is written", "a number", "H";
    new_token_kills_old: Switch, .., Switch::Off, "Whether a new token ends the older ones", "feared by one client, not shown", "L";
    authinfo: Switch, .., Switch::On, "Whether /api/authinfo is there (else 404)", "in the specification and used", "H";
    excludeclosed: ParameterSupport, .., ParameterSupport::Honored, "Whether /Status knows `excludeclosed`", "documented; its sibling `type` does not work", "M";

    // Transport
    gzip: Switch, .., Switch::On, "Whether an answer is compressed when the client offers it", "usual for the web server", "M";
    date_header: Switch, .., Switch::On, "Whether answers carry `Date`", "usual for the web server", "M";
    latency_ms: u32, 0..=600_000, 0, "Milliseconds before each answer; requests overlap", "about 160 for a single ticket", "–";

    // The world, read when it is made
    undated: u32, 0..=1000, 0, "Tickets in a thousand without a `last_update` (half absent, half 1900-01-01)", "possible by the schema", "M";
    details_bytes: u32, 0..=1_000_000, 1350, "Average length of `details` in bytes", "a row is then about 3.6 kB", "–";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_accept_their_default_and_exactly_the_allowed_values() {
        for knob in Knobs::table() {
            let mut knobs = Knobs::default();
            let default = knob.value(&knobs);
            knobs.set(&format!("{}={default}", knob.name)).expect("the default");
            assert_eq!(knobs, Knobs::default(), "{}", knob.name);
            let Some((min, max)) =
                knob.allowed().split_once(" to ").map(|(a, b)| (a.to_owned(), b.to_owned()))
            else {
                for value in knob.allowed().split(", ") {
                    knobs.set(&format!("{}={}", knob.name, value.to_uppercase())).expect("an allowed word");
                    assert_eq!(knob.value(&knobs), value);
                }
                continue;
            };
            for number in [&min, &max] {
                knobs.set(&format!("{}={number}", knob.name)).expect("an allowed number");
                assert_eq!(knob.value(&knobs), *number);
            }
            let above_max = max.parse::<i64>().expect("a number") + 1;
            assert!(knobs.set(&format!("{}={above_max}", knob.name)).is_err(), "{}", knob.name);
        }
    }

    #[test]
    fn knob_names_are_unique_and_every_knob_has_a_confidence() {
        let mut names: Vec<_> = Knobs::table().iter().map(|knob| knob.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Knobs::table().len());
        for knob in Knobs::table() {
            assert!(["H", "M", "L", "–"].contains(&knob.confidence), "{}", knob.name);
        }
    }

    #[test]
    fn knob_errors_say_what_is_allowed() {
        let mut knobs = Knobs::default();
        for (pair, message) in [
            ("gzip", "`gzip` is not of the form name=value"),
            ("gzip=maybe", "`maybe` is not a value of gzip; it takes on, off"),
            ("page_cap=0", "`0` is not a value of page_cap; it takes 1 to 1000"),
        ] {
            assert_eq!(knobs.set(pair).expect_err("refused").to_string(), message);
        }
        let unknown = knobs.set("page_size=4").expect_err("refused").to_string();
        assert!(unknown.starts_with("no knob is called `page_size`; there are page_cap, "), "{unknown}");
    }
}
