//! Knobs: settings for server behavior that is not established, and for the needs of tests.
//!
//! One table, `knobs!` below, generates the [`Knobs`] struct, its defaults, the parser of `name=value` and the table in
//! `docs/simulator.md`. Each row says what is known about the real server and how reliably: **H** seen in a real
//! response or in Halo's own specification, **M** one good source, **L** a guess or conflicting sources, **–** not a fact
//! about Halo (size of the data, convenience of tests).

use std::fmt;

use crate::knob_values::{
    AgentList, Application, CategoryPath, ClockZero, DateFilterMode, DatePrecision, DefaultOrder, DeletedGet,
    DeletedInList, DisabledInList, ErrorBody, ExpiresIn, HiddenGet, KnobValue, ListEnvelope, ListedFields,
    PagePastEnd, ParameterSupport, PlainList, PriorityNames, ReferenceIds, ReferencePageCap, RetryAfter,
    RowExtras, RowShape, Switch, TenantPolicy, UnfilledFields, UnsetExtras, bounds,
};

/// The description of one knob, for the documentation and the command line.
#[derive(Clone, Copy)]
pub struct Knob {
    /// The name, as in `name=value`.
    pub name: &'static str,
    /// What the knob controls.
    pub description: &'static str,
    /// What is known about the real server.
    pub evidence: &'static str,
    /// How reliably it is known: `H`, `M`, `L` or `–`.
    pub confidence: &'static str,
    allowed: fn() -> String,
    get: fn(&Knobs) -> String,
    set: fn(&mut Knobs, &str) -> bool,
}

impl Knob {
    /// Returns the allowed values as text: `on, off` or `1 to 1000`.
    #[must_use]
    pub fn allowed(&self) -> String {
        (self.allowed)()
    }

    /// Returns its value in `knobs`, spelled as for [`Knobs::set`].
    #[must_use]
    pub fn value(&self, knobs: &Knobs) -> String {
        (self.get)(knobs)
    }
}

/// An error in a `name=value` pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnobError {
    /// The text has no `=`.
    NotAPair(String),
    /// No knob has that name.
    UnknownName(String),
    /// The value is not allowed.
    BadValue {
        /// The name of the knob.
        name: &'static str,
        /// The invalid value.
        value: String,
        /// The allowed values.
        allowed: String,
    },
}

impl fmt::Display for KnobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KnobError::NotAPair(text) => write!(f, "`{text}` is not of the form name=value"),
            KnobError::UnknownName(name) => {
                let names: Vec<_> = TABLE.iter().map(|knob| knob.name).collect();
                write!(f, "unknown knob `{name}`; known knobs: {}", names.join(", "))
            }
            KnobError::BadValue { name, value, allowed } => {
                write!(f, "invalid value `{value}` for knob `{name}`; allowed: {allowed}")
            }
        }
    }
}

impl std::error::Error for KnobError {}

impl Knobs {
    /// Sets one knob, given as `name=value`. Names and words are not case-sensitive.
    ///
    /// # Errors
    /// If the knob does not exist or the value is not allowed; the message lists what is.
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

    /// Returns all knobs in the order of the table.
    #[must_use]
    pub fn table() -> &'static [Knob] {
        TABLE
    }

    /// Returns the table as Markdown; a test compares it with `docs/simulator.md`.
    #[must_use]
    pub fn markdown() -> String {
        let defaults = Knobs::default();
        let mut text = String::from(
            "| knob | values | default | meaning | what is known | |\n|---|---|---|---|---|---|\n",
        );
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

/// Each row: `name: Type, range, default, description, evidence, confidence;`
macro_rules! knobs {
    ($($name:ident: $type:ty, $range:expr, $default:expr, $description:literal, $evidence:literal, $confidence:literal;)+) => {
        /// The values of all knobs.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Knobs {
            $(#[doc = concat!($description, ".")] pub $name: $type,)+
        }

        impl Default for Knobs {
            fn default() -> Self {
                Knobs { $($name: $default,)+ }
            }
        }

        const TABLE: &[Knob] = &[$(
            Knob {
                name: stringify!($name),
                description: $description,
                evidence: $evidence,
                confidence: $confidence,
                allowed: || <$type as KnobValue>::allowed(bounds(&$range)),
                get: |knobs| knobs.$name.to_text(),
                set: |knobs, text| match <$type as KnobValue>::parse(text, bounds(&$range)) {
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
    page_cap: u32, 1..=1000, 100, "Maximum page size", "documented maximum 100; larger values are reduced without an error", "H";
    default_rows: u32, 1..=1000, 50, "Rows of a response without paging", "50 for an API agent", "H";
    count_cap: u32, 1..=100_000, 1000, "Maximum `count` without paging", "1000", "M";
    page_past_end: PagePastEnd, .., PagePastEnd::Empty, "Response to a page past the last", "all clients assume empty; not recorded", "L";
    envelope: ListEnvelope, .., ListEnvelope::Echo, "Envelope of a paged response", "echoed paging was recorded; the column profile came with `includecolumns`", "M";

    // Order
    default_order: DefaultOrder, .., DefaultOrder::Newest, "Order when none is requested", "comes from a column profile; newest first and SLA order were both seen", "M";
    order_by_id: ParameterSupport, .., ParameterSupport::Honored, "Whether `order=id` works", "sent by working clients", "H";
    order_by_last_update: ParameterSupport, .., ParameterSupport::Ignored, "Whether `order=last_update` works", "no evidence", "L";

    // Filters
    date_filter: DateFilterMode, .., DateFilterMode::Inclusive, "Whether `lastupdatefromdate` and `lastupdatetodate` include their bound", "filtering is certain, the bound is not", "L";
    date_precision: DatePrecision, .., DatePrecision::Exact, "Precision of date filters", "not established", "L";
    date_filter_shift: i32, -840..=840, 0, "Minutes added to the value of a date filter (for a server that interprets it as local time)", "UTC is assumed", "L";
    type_filter: ParameterSupport, .., ParameterSupport::Honored, "Whether `requesttype_id` and `requesttype` filter", "documented", "H";
    plain_list: PlainList, .., PlainList::All, "Which tickets the plain list contains", "sources disagree", "L";
    include_custom_fields: ParameterSupport, .., ParameterSupport::Honored, "Whether the list supports `include_custom_fields`", "newer servers do", "M";

    // Custom fields
    field_info: Switch, .., Switch::On, "Whether /api/FieldInfo exists (otherwise 404)", "in the specification", "M";
    unfilled_fields: UnfilledFields, .., UnfilledFields::Named, "How a list row represents empty custom fields", "other null values are omitted", "L";
    listed_fields: ListedFields, .., ListedFields::Value, "Which value of a custom field a list row contains", "`cf_display_values_only` selects the other", "L";
    detail_cache_s: u32, 0..=86_400, 0, "Seconds for which the response for a single ticket is cached", "the parameter `nocache` exists", "L";

    // Deletions and merges
    deleted_listed: DeletedInList, .., DeletedInList::Only, "When deleted tickets are listed", "\"only\" and \"also\" are both claimed", "L";
    deleted_get: DeletedGet, .., DeletedGet::NotFound, "Status of GET for a deleted ticket", "not established", "L";
    hidden_get: HiddenGet, .., HiddenGet::Forbidden, "Status of GET for a ticket outside the agent's permissions", "not established", "L";
    merged_listed: Switch, .., Switch::On, "Whether a merged ticket stays in the list", "not established", "L";
    delete_stamps: Switch, .., Switch::Off, "Whether a deletion updates `last_update`", "not established", "L";
    merge_stamps: Switch, .., Switch::On, "Whether a merge updates `last_update`", "not established", "L";
    sla_stamps: Switch, .., Switch::Off, "Whether an SLA recalculation updates `last_update`", "not established", "L";
    commit_delay_ms: u32, 0..=3_600_000, 400, "Milliseconds between the timestamp of a change and its visibility", "0.12 to 0.36 s in every recording", "M";

    // Rows
    row_shape: RowShape, .., RowShape::Recent, "Year of the row format", "both recorded", "H";
    category_display: Switch, .., Switch::Off, "Whether rows contain `category_N_display`", "specified, but in no sample", "L";
    clock_zero: ClockZero, .., ClockZero::Midnight, "Value of an unset time of day", "both recorded", "H";

    // Errors and limits
    error_body: ErrorBody, .., ErrorBody::Message, "Body of 400, 401, 403 and 404 responses", "no fixed form", "H";
    limit_body: ErrorBody, .., ErrorBody::Text, "Body of 429 responses", "observed as a bare JSON string", "M";
    retry_after: RetryAfter, .., RetryAfter::Off, "`Retry-After` header of 429 responses", "never recorded", "L";
    rate_limit: u32, 0..=1_000_000, 0, "Maximum requests in a rolling window; 0 for no limit", "300 by the recorded text", "M";
    rate_window_s: u32, 1..=86_400, 300, "Length of the rolling window in seconds", "300 by the recorded text", "M";

    // Authentication
    tenant: TenantPolicy, .., TenantPolicy::Accepted, "How the token endpoint handles the tenant", "differs by instance", "M";
    application: Application, .., Application::Service, "How the API application is set up", "the two common mistakes", "M";
    scope_read_tickets: Switch, .., Switch::On, "Whether the scope `read:tickets` exists (otherwise `invalid_scope`)", "it does; unknown for older servers", "H";
    reference_needs_all: Switch, .., Switch::Off, "Whether /Status, /TicketType, /FieldInfo, /Agent, /Team, /Priority, /SLA and /Category return 403 for the scope `read:tickets`", "sources disagree", "L";
    token_seconds: u32, 1..=86_400, 3600, "Lifetime of a token in seconds", "3600 in every source", "H";
    expires_in: ExpiresIn, .., ExpiresIn::Number, "Format of `expires_in`", "a number", "H";
    new_token_kills_old: Switch, .., Switch::Off, "Whether a new token revokes older ones", "assumed by one client, no evidence", "L";
    authinfo: Switch, .., Switch::On, "Whether /api/authinfo exists (otherwise 404)", "in the specification and used", "H";
    excludeclosed: ParameterSupport, .., ParameterSupport::Honored, "Whether /Status supports `excludeclosed`", "documented; the similar `type` does not work", "M";

    // Transport
    gzip: Switch, .., Switch::On, "Whether responses are compressed if the client accepts gzip", "usual for the web server", "M";
    date_header: Switch, .., Switch::On, "Whether responses have a `Date` header", "usual for the web server", "M";
    latency_ms: u32, 0..=600_000, 0, "Delay of each response in milliseconds; requests overlap", "about 160 for a single ticket", "–";

    // Generated data, used only at the start
    undated: u32, 0..=1000, 0, "Tickets per thousand without `last_update` (half absent, half 1900-01-01)", "possible by the schema", "M";
    details_bytes: u32, 0..=1_000_000, 1350, "Average length of `details` in bytes", "a row is then about 3.6 kB", "–";
    slas: u32, 1..=9, 1, "Number of SLAs that tickets have, from 1 on", "1 to 30 on real servers", "–";
    more_clients: u32, 0..=2000, 0, "Clients without tickets, each with a site and a user", "10 to 10,000 clients on real servers", "–";
    lost_agents: u32, 0..=1000, 0, "Assigned tickets per thousand with an agent that no list has", "some old ids are in no answer at all", "M";

    // Reference objects
    customers_scope: Switch, .., Switch::On, "Whether /Client, /Site and /Users return 403 without the scope `read:customers`", "probed on a live server", "H";
    reference_page_cap: ReferencePageCap, .., ReferencePageCap::Hundred, "Maximum page size of /Client, /Site and /Users", "clients ask for 500 and 999; nobody says what they get", "L";
    reference_ids: ReferenceIds, .., ReferenceIds::Integer, "How reference objects represent ids", "integers, and doubles on some objects", "H";
    sidecar_arrays: Switch, .., Switch::Off, "Whether envelopes of reference objects have further arrays", "recorded for attachments and actions", "M";
    agent_list: AgentList, .., AgentList::Paged, "Form of the list of agents", "bare without paging; `results` with it since 2025", "M";
    disabled_listed: DisabledInList, .., DisabledInList::Asked, "When disabled or inactive agents, teams, clients, sites and users are listed", "the parameters exist", "L";
    priority_names: PriorityNames, .., PriorityNames::Different, "Names of priorities with the same number in different SLAs", "tried on a live server", "H";
    priority_twice: Switch, .., Switch::Off, "Whether a priority is listed twice, first as a hidden one", "rows have `ishidden`", "L";
    category_path: CategoryPath, .., CategoryPath::Value, "Which property of a category has the text that tickets have", "not established", "L";
    row_extras: RowExtras, .., RowExtras::RECORDED, "Which optional properties list rows carry: any of `dateclosed`, `responsedate`, `dateassigned` and `parent_id`, joined by `+`", "two without a column profile, four with one", "H";
    unset_extras: UnsetExtras, .., UnsetExtras::LeftOut, "How a list row represents those that are not set", "`dateclosed` and `parent_id` appear only when set", "H";
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
            ("gzip=maybe", "invalid value `maybe` for knob `gzip`; allowed: on, off"),
            ("page_cap=0", "invalid value `0` for knob `page_cap`; allowed: 1 to 1000"),
        ] {
            assert_eq!(knobs.set(pair).expect_err("refused").to_string(), message);
        }
        let unknown = knobs.set("page_size=4").expect_err("refused").to_string();
        assert!(unknown.starts_with("unknown knob `page_size`; known knobs: page_cap, "), "{unknown}");
    }
}
