//! THE table: the 101 mapped attributes of a ticket, one line each. Parsing, the upsert, the headers of
//! exports and `docs/attributes.md` all use it.
//!
//! The schema is *not* generated from it: migrations are frozen history, the table is the present, and
//! `tests/attributes.rs` compares the two.

/// One mapped attribute of a ticket.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Name of its column in `tickets` and in exports.
    pub name: &'static str,
    /// Property of the list row that the value comes from.
    pub source: AttributeSource,
    /// Kind of the value.
    pub kind: ValueKind,
    /// Meaning, in one sentence.
    pub about: &'static str,
}

/// Source of an attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeSource {
    /// The value of this property of the list row.
    Property(&'static str),
    /// The name in the status list of the number in this property.
    StatusName(&'static str),
}

impl AttributeSource {
    /// Returns the property of the list row that the value is derived from.
    #[must_use]
    pub const fn property(self) -> &'static str {
        match self {
            AttributeSource::Property(property) | AttributeSource::StatusName(property) => property,
        }
    }
}

/// Kind of a value. `ticket::conversion` has the rules by which each kind is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ValueKind {
    /// Text, stored unchanged.
    Text,
    /// 64-bit integer; the server sends some ids as `18.0`.
    Integer,
    /// Double.
    Real,
    /// 0 or 1.
    Boolean,
    /// Instant, stored as the text of a [`super::Timestamp`].
    Timestamp,
    /// Clock text `HH:MM:SS`, stored unchanged.
    Clock,
}

impl ValueKind {
    /// Returns its name in `docs/attributes.md` and `fixtures/attributes.tsv`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the SQL type of its column.
    #[must_use]
    pub const fn column_type(self) -> &'static str {
        match self {
            ValueKind::Integer | ValueKind::Boolean => "INTEGER",
            ValueKind::Real => "REAL",
            ValueKind::Text | ValueKind::Timestamp | ValueKind::Clock => "TEXT",
        }
    }
}

use ValueKind::{Boolean, Clock, Integer, Real, Text, Timestamp};

/// Number of attributes.
pub const ATTRIBUTE_COUNT: usize = 101;

/// The 101 attributes, in the order of the columns of `tickets`.
#[rustfmt::skip]
pub const ATTRIBUTES: [Attribute; ATTRIBUTE_COUNT] = [
    field("AGENT_ID",                       "agent_id",                   Integer,   "Agent the ticket is assigned to; 1 means unassigned."),
    field("APPOINTMENT_TYPE",               "appointment_type",           Integer,   "Kind of appointment, if the ticket is one."),
    field("ATTACHMENT_COUNT",               "attachment_count",           Integer,   "Number of attachments."),
    field("CATEGORY_1",                     "category_1",                 Text,      "First category, the whole path with `>` between its levels."),
    field("CATEGORY_1_DISPLAY",             "category_1_display",         Text,      "First category as shown to people."),
    field("CATEGORY_2",                     "category_2",                 Text,      "Second category."),
    field("CATEGORY_2_DISPLAY",             "category_2_display",         Text,      "Second category as shown to people."),
    field("CATEGORY_3",                     "category_3",                 Text,      "Third category."),
    field("CATEGORY_3_DISPLAY",             "category_3_display",         Text,      "Third category as shown to people."),
    field("CATEGORY_4",                     "category_4",                 Text,      "Fourth category."),
    field("CATEGORY_4_DISPLAY",             "category_4_display",         Text,      "Fourth category as shown to people."),
    field("CHILD_COUNT",                    "child_count",                Integer,   "Number of child tickets."),
    field("CLIENT_ID",                      "client_id",                  Integer,   "Client (customer); 1 means unknown."),
    field("CLIENT_NAME",                    "client_name",                Text,      "Name of the client; a rename does not touch the ticket."),
    field("COST",                           "cost",                       Real,      "Cost booked on the ticket."),
    field("CREATED_FROM_AUTOMATION_STD_ID", "createdfromautomationstdid", Integer,   "Automation template that created the ticket."),
    field("SOURCE_CREATED_DATE",            "dateoccurred",               Timestamp, "When the ticket was opened."),
    field("DEADLINE_DATE",                  "deadlinedate",               Timestamp, "Deadline."),
    field("DEPARTMENT_ID",                  "department_id",              Integer,   "Department."),
    field("DESCRIPTION",                    "details",                    Text,      "Details as plain text; line breaks may be lost at the source."),
    field("EMAIL_TO_LIST",                  "emailtolist",                Text,      "Addresses that e-mails of the ticket go to."),
    field("END_USER_STATUS",                "enduserstatus",              Integer,   "Status as shown to the end user."),
    field("ESTIMATE",                       "estimate",                   Real,      "Estimated hours."),
    field("ESTIMATE_DAYS",                  "estimatedays",               Real,      "Estimated days."),
    field("EXCLUDE_FROM_SLA",               "excludefromsla",             Boolean,   "1 if no service level applies."),
    field("FIX_BY_DATE",                    "fixbydate",                  Timestamp, "Service-level target for the fix."),
    field("FLAGGED",                        "flagged",                    Boolean,   "1 if an agent flagged it."),
    field("GUID",                           "guid",                       Text,      "Globally unique id of the ticket."),
    field("UID",                            "id",                         Integer,   "Ticket number, the primary key."),
    field("ID_SUMMARY",                     "idsummary",                  Text,      "Number and summary in one text."),
    field("IMPACT",                         "impact",                     Integer,   "Impact."),
    field("IMPACT_LEVEL",                   "impactlevel",                Integer,   "Impact level."),
    field("INACTIVE",                       "inactive",                   Boolean,   "1 if the user is inactive."),
    field("INVOICE_SEPERATELY_OVERRIDE",    "invoiceseperatelyoverride",  Boolean,   "1 if it is invoiced separately (the server's spelling)."),
    field("IS_IMPORTANT_CONTACT",           "isimportantcontact",         Boolean,   "1 if the user is an important contact."),
    field("IS_VIP",                         "is_vip",                     Boolean,   "1 if the user is a VIP."),
    field("ITIL_REQUEST_TYPE_ID",           "itil_requesttype_id",        Integer,   "ITIL kind: 1 incident, 2 change, 3 service request, 4 problem, …."),
    field("LAST_ACTION_DATE",               "lastactiondate",             Timestamp, "When the last action was added."),
    field("LAST_INCOMING_EMAIL",            "lastincomingemail",          Timestamp, "When the last e-mail came in."),
    field("SOURCE_LAST_MODIFIED",           "last_update",                Timestamp, "When the ticket was last updated on the server; incremental scans filter by it."),
    field("MATCHED_KB_ID",                  "matched_kb_id",              Integer,   "Matched knowledge-base article; 0 is none."),
    field("MAXIMUM_RESTRICTED_PRIORITY",    "maximumRestrictedPriority",  Integer,   "Highest priority allowed."),
    field("MERGED_INTO_ID",                 "merged_into_id",             Integer,   "Ticket it was merged into; 0 is not merged."),
    field("NOT_USEFUL_COUNT",               "notuseful_count",            Integer,   "Votes \"not useful\"."),
    field("ON_HOLD",                        "onhold",                     Boolean,   "1 if the service-level clock is stopped."),
    field("OPEN_SEARCH_SCORE",              "_open_search_score",         Real,      "Score of a text search; differs in every response."),
    field("OPP_COMPANY_NAME",               "oppcompanyname",             Text,      "Company of an opportunity."),
    field("OPP_VALUE_ADJUSTED",             "oppvalueadjusted",           Real,      "Adjusted value of an opportunity."),
    field("ORGANISATION_ID",                "organisation_id",            Integer,   "Organisation."),
    field("PIPELINE_STAGE_ID",              "pipeline_stage_id",          Integer,   "Pipeline stage of an opportunity."),
    field("PRIORITY_ID",                    "priority_id",                Integer,   "Priority; unique only together with the service level."),
    field("PRODUCT_ID",                     "product_id",                 Integer,   "Product; 0 is none."),
    field("PURCHASE_ORDER_NUMBER",          "purchaseordernumber",        Text,      "Purchase order number."),
    field("QUANTITY",                       "quantity",                   Integer,   "Quantity."),
    field("READ",                           "read",                       Boolean,   "1 if an agent has read it."),
    field("RELEASE2_ID",                    "release2_id",                Integer,   "Second release; 0 is none."),
    field("RELEASE3_ID",                    "release3_id",                Integer,   "Third release; 0 is none."),
    field("RELEASE_ID",                     "release_id",                 Integer,   "Release; 0 is none."),
    field("RELEASE_IMPORTANT",              "release_important",          Boolean,   "1 if it is important for the release."),
    field("RELEASE_NOTE_GROUP_ID",          "releasenotegroup_id",        Integer,   "Group of the release note."),
    field("REPORTED_BY",                    "reportedby",                 Text,      "Who reported it: a name or an address."),
    field("RESPOND_BY_DATE",                "respondbydate",              Timestamp, "Service-level target for the first response."),
    field("REVIEWED",                       "reviewed",                   Boolean,   "1 if it was reviewed."),
    field("SECTION_TIMEZONE",               "section_timezone",           Text,      "The team's time zone, a Windows zone name."),
    field("SERVICE_STATUS_NOTE",            "servicestatusnote",          Text,      "Note shown on the service status page."),
    field("SITE_ID",                        "site_id",                    Integer,   "Site of the client."),
    field("SITE_NAME",                      "site_name",                  Text,      "Name of the site; a rename does not touch the ticket."),
    field("SITE_TIMEZONE",                  "site_timezone",              Text,      "The site's time zone, a Windows zone name."),
    field("SLA_HOLD_TIME",                  "slaholdtime",                Real,      "Hours on hold; a stored value that does not grow by itself."),
    field("SLA_ID",                         "sla_id",                     Integer,   "Service level agreement."),
    field("SOURCE",                         "source",                     Integer,   "How the ticket came in."),
    field("START_TIME",                     "starttime",                  Clock,     "Start, as a clock text; which time means \"not set\" depends on the server."),
    field("START_TIME_SLOT",                "starttimeslot",              Integer,   "Slot of the start time."),
    lookup("STATUS",                        "status_id",                   Text,      "Name of the status; the number as text if the name is unknown."),
    field("STATUS_ID",                      "status_id",                  Integer,   "Status, the number."),
    field("NAME",                           "summary",                    Text,      "Summary: the one-line subject."),
    field("SUPPLIER_STATUS",                "supplier_status",            Integer,   "Status at the supplier."),
    field("TABLE",                          "table",                      Integer,   "Kind of record; 1 is a ticket."),
    field("TARGET_DATE",                    "targetdate",                 Timestamp, "Target date."),
    field("TARGET_TIME",                    "targettime",                 Clock,     "Target, as a clock text; which time means \"not set\" depends on the server."),
    field("TARGET_TIME_SLOT",               "targettimeslot",             Integer,   "Slot of the target time."),
    field("TEAM",                           "team",                       Text,      "Name of the team."),
    field("TEAM_ID",                        "team_id",                    Integer,   "Team, the number."),
    field("TICKET_AGE",                     "ticketage",                  Real,      "Age in days at the time of the request; differs in every response."),
    field("TICKET_TAGS",                    "ticket_tags",                Text,      "Tags, separated by commas."),
    field("TICKET_TYPE_ID",                 "tickettype_id",              Integer,   "Ticket type."),
    field("UPDATE_SERVICE_STATUS",          "updateservicestatus",        Boolean,   "1 if it updates the service status."),
    field("URGENCY",                        "urgency",                    Integer,   "Urgency."),
    field("USE",                            "use",                        Text,      "What the record is used as, `ticket` for tickets."),
    field("USEFUL_COUNT",                   "useful_count",               Integer,   "Votes \"useful\"."),
    field("USER_DEF_1",                     "userdef1",                   Text,      "First user-defined text."),
    field("USER_DEF_2",                     "userdef2",                   Text,      "Second user-defined text."),
    field("USER_DEF_3",                     "userdef3",                   Text,      "Third user-defined text."),
    field("USER_DEF_4",                     "userdef4",                   Text,      "Fourth user-defined text."),
    field("USER_DEF_5",                     "userdef5",                   Text,      "Fifth user-defined text."),
    field("USER_EMAIL",                     "user_email",                 Text,      "The user's e-mail address."),
    field("USER_ID",                        "user_id",                    Integer,   "User (the person helped)."),
    field("USER_NAME",                      "user_name",                  Text,      "Name of the user."),
    field("WORKFLOW_ID",                    "workflow_id",                Integer,   "Workflow."),
    field("WORKFLOW_SEQ",                   "workflow_seq",               Integer,   "Sequence of the workflow."),
    field("WORKFLOW_STEP",                  "workflow_step",              Integer,   "Step of the workflow."),
];

/// How many values list rows may carry beside the attributes.
pub const EXTRA_COUNT: usize = 4;

/// What list rows may carry beside the attributes: the columns of `ticket_extra`, in order. Their names are those in
/// `changes.changed` and `rejects`. Only lists of some servers carry them (`halo-api.md` §2.7).
#[rustfmt::skip]
pub const EXTRAS: [Attribute; EXTRA_COUNT] = [
    field("EXTRA.CLOSED_AT",    "dateclosed",   Timestamp, "When the ticket was closed; NULL where it is open."),
    field("EXTRA.RESPONDED_AT", "responsedate", Timestamp, "When an agent first responded."),
    field("EXTRA.ASSIGNED_AT",  "dateassigned", Timestamp, "When the ticket was assigned."),
    field("EXTRA.PARENT_ID",    "parent_id",    Integer,   "Ticket that it belongs to."),
];

/// What the names of [`EXTRAS`] begin with; the rest is the name of the column.
pub const EXTRA_PREFIX: &str = "EXTRA.";

/// How many values of a ticket are stored: the attributes, then the extras.
pub const STORED_COUNT: usize = ATTRIBUTE_COUNT + EXTRA_COUNT;

/// Iterates over everything that is stored of a ticket: the attributes, then the extras.
pub fn stored_attributes() -> impl Iterator<Item = &'static Attribute> {
    ATTRIBUTES.iter().chain(&EXTRAS)
}

/// Returns the attribute or the extra at a position.
///
/// # Panics
/// If the position is not below [`STORED_COUNT`].
#[must_use]
pub fn stored_attribute(position: usize) -> &'static Attribute {
    ATTRIBUTES.get(position).unwrap_or_else(|| &EXTRAS[position - ATTRIBUTE_COUNT])
}

/// Position of the ticket number.
pub const UID: usize = position("UID");
/// Position of the agent.
pub const AGENT_ID: usize = position("AGENT_ID");
/// Position of the status name.
pub const STATUS: usize = position("STATUS");
/// Position of the status number.
pub const STATUS_ID: usize = position("STATUS_ID");
/// Position of the ticket type.
pub const TICKET_TYPE_ID: usize = position("TICKET_TYPE_ID");
/// Position of the time of the last update.
pub const SOURCE_LAST_MODIFIED: usize = position("SOURCE_LAST_MODIFIED");
/// Position of the id of the ticket it was merged into.
pub const MERGED_INTO_ID: usize = position("MERGED_INTO_ID");

/// Positions of the attributes that differ in every response; a difference in them alone is not a change
/// (`halo-api.md` §5).
pub const VOLATILE: [usize; 2] = [position("TICKET_AGE"), position("OPEN_SEARCH_SCORE")];

const fn field(
    name: &'static str,
    property: &'static str,
    kind: ValueKind,
    about: &'static str,
) -> Attribute {
    Attribute { name, source: AttributeSource::Property(property), kind, about }
}

const fn lookup(
    name: &'static str,
    property: &'static str,
    kind: ValueKind,
    about: &'static str,
) -> Attribute {
    Attribute { name, source: AttributeSource::StatusName(property), kind, about }
}

/// Returns the position of an attribute; a misspelled name is a compile error.
const fn position(name: &str) -> usize {
    let mut index = 0;
    while index < ATTRIBUTE_COUNT {
        if str_eq(ATTRIBUTES[index].name, name) {
            return index;
        }
        index += 1;
    }
    panic!("there is no attribute with this name")
}

const fn str_eq(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut index = 0;
    while index < left.len() && index < right.len() && left[index] == right[index] {
        index += 1;
    }
    index == left.len() && index == right.len()
}

const _: () = {
    let mut index = 0;
    while index < ATTRIBUTE_COUNT {
        assert!(position(ATTRIBUTES[index].name) == index, "two attributes share a name");
        index += 1;
    }
};

/// Returns the content of `docs/attributes.md`.
#[must_use]
pub fn render_markdown() -> String {
    let mut text = String::from(
        "# The 101 attributes\n\n\
         Generated from the table in `src/ticket/attribute.rs`; `cargo test` rewrites this file when they differ.\n\
         Timestamps are UTC text `YYYY-MM-DDTHH:MM:SS.sssZ`; booleans are 0 or 1; an absent value is NULL.\n\n\
         | # | attribute | property of the list row | kind | meaning |\n| ---: | --- | --- | --- | --- |\n",
    );
    for (index, attribute) in ATTRIBUTES.iter().enumerate() {
        let property = match attribute.source {
            AttributeSource::Property(property) => format!("`{property}`"),
            AttributeSource::StatusName(property) => format!("`{property}`, by name in `/api/status`"),
        };
        let Attribute { name, kind, about, .. } = attribute;
        text.push_str(&format!("| {} | `{name}` | {property} | {} | {about} |\n", index + 1, kind.as_str()));
    }
    text
}
