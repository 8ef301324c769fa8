//! The columns of a list row: a table of all properties and the sources of their values.

use crate::knob_values::{RowShape, Switch};
use crate::knobs::Knobs;

/// The source of a property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnSource {
    /// The same JSON text in every row.
    Fixed(&'static str),
    /// The unset time of day, which a knob decides.
    ClockZero,
    Id,
    IdSummary,
    Summary,
    Details,
    Opened,
    Updated,
    LastAction,
    Closed,
    FixBy,
    RespondBy,
    Responded,
    Assigned,
    TargetDate,
    LastEmail,
    Age,
    HoldHours,
    Cost,
    Guid,
    Status,
    Type,
    Itil,
    Agent,
    OnHold,
    MergedInto,
    Parent,
    Client,
    ClientName,
    Site,
    SiteName,
    User,
    UserName,
    UserEmail,
    Team,
    TeamName,
    Department,
    Sla,
    SlaName,
    Priority,
    Impact,
    Urgency,
    Category,
    SubCategory,
    Tags,
    Attachments,
    Children,
    Important,
    Read,
    Phone,
    WorkflowStep,
}

/// The properties of a plain list row (halo-api.md §2.7), in the same order for all rows.
#[rustfmt::skip]
const FIELDS: &[(&str, ColumnSource)] = {
    use ColumnSource::{
        Age, Agent, Assigned, Attachments, Category, Children, Client, ClientName, ClockZero, Closed, Cost,
        Department, Details, FixBy, Fixed, Guid, HoldHours, Id, IdSummary, Impact, Important, Itil,
        LastAction, LastEmail, MergedInto, OnHold, Opened, Parent, Phone, Priority, Read, RespondBy, Responded, Site,
        SiteName, Sla, Status, SubCategory, Summary, Tags, TargetDate, Team, TeamName, Type, Updated, Urgency,
        User, UserEmail, UserName, WorkflowStep,
    };
    &[
        ("id", Id), ("dateoccurred", Opened), ("summary", Summary), ("details", Details),
        ("status_id", Status), ("tickettype_id", Type), ("sla_id", Sla), ("priority_id", Priority),
        ("client_id", Client), ("client_name", ClientName), ("site_id", Site), ("site_name", SiteName),
        ("user_id", User), ("user_name", UserName), ("user_email", UserEmail), ("reportedby", UserEmail),
        ("emailtolist", UserEmail), ("emailcclist", Fixed("\"\"")), ("team_id", Team), ("team", TeamName),
        ("department_id", Department), ("agent_id", Agent), ("organisation_id", Fixed("1")),
        ("category_1", Category), ("category_2", SubCategory), ("category_3", Fixed("\"\"")), ("category_4", Fixed("\"\"")),
        ("category_1_display", Category), ("category_2_display", SubCategory),
        ("category_3_display", Fixed("\"\"")), ("category_4_display", Fixed("\"\"")),
        ("estimate", Fixed("-0.0")), ("estimatedays", Fixed("0.0")), ("cost", Cost), ("excludefromsla", Fixed("false")),
        ("slaholdtime", HoldHours), ("onhold", OnHold), ("fixbydate", FixBy), ("respondbydate", RespondBy),
        ("responsedate", Responded), ("dateassigned", Assigned),
        ("dateclosed", Closed), ("lastactiondate", LastAction), ("last_update", Updated),
        ("lastincomingemail", LastEmail), ("targetdate", TargetDate), ("targettime", ClockZero),
        ("deadlinedate", Fixed("\"1900-01-01T00:00:00\"")), ("starttime", ClockZero),
        ("starttimeslot", Fixed("0")), ("targettimeslot", Fixed("0")), ("ticketage", Age),
        ("impact", Impact), ("impactlevel", Fixed("0")), ("urgency", Urgency), ("itil_requesttype_id", Itil),
        ("maximumRestrictedPriority", Fixed("0")), ("source", Fixed("3")), ("flagged", Fixed("false")),
        ("is_vip", Fixed("false")), ("isimportantcontact", Important), ("inactive", Fixed("false")),
        ("invoiceseperatelyoverride", Fixed("false")), ("matched_kb_id", Fixed("0")), ("merged_into_id", MergedInto),
        ("parent_id", Parent), ("attachment_count", Attachments), ("child_count", Children),
        ("appointment_type", Fixed("0")), ("enduserstatus", Fixed("0")), ("supplier_status", Fixed("0")),
        ("useful_count", Fixed("0")), ("notuseful_count", Fixed("0")), ("read", Read), ("reviewed", Fixed("false")),
        ("oppcompanyname", ClientName), ("oppvalueadjusted", Fixed("0.0")), ("pipeline_stage_id", Fixed("1")),
        ("product_id", Fixed("0")), ("release_id", Fixed("0")), ("release2_id", Fixed("0")), ("release3_id", Fixed("0")),
        ("release_important", Fixed("false")), ("releasenotegroup_id", Fixed("0")),
        ("purchaseordernumber", Fixed("\"\"")), ("quantity", Fixed("1")), ("projectinternaltask", Fixed("false")),
        ("section_timezone", Fixed("\"\"")), ("site_timezone", Fixed("\"\"")), ("servicestatusnote", Fixed("\"\"")),
        ("updateservicestatus", Fixed("false")), ("ticket_tags", Tags), ("table", Fixed("1")),
        ("use", Fixed("\"ticket\"")), ("userdef1", Fixed("\"\"")), ("userdef2", Fixed("\"\"")),
        ("userdef3", Fixed("\"\"")), ("userdef4", Fixed("\"\"")), ("userdef5", Phone),
        ("workflow_id", Fixed("1")), ("workflow_seq", Fixed("1")), ("workflow_step", WorkflowStep),
        ("guid", Guid), ("idsummary", IdSummary), ("_open_search_score", Fixed("0.0")),
    ]
};

/// The properties that a column profile adds to the row (halo-api.md §2.7).
#[rustfmt::skip]
const PROFILE_FIELDS: &[(&str, ColumnSource)] = {
    use ColumnSource::{Fixed, SlaName};
    &[
        ("sla_name", SlaName), ("categoryid_1", Fixed("0")), ("timetaken", Fixed("0.7500000000000001")),
        ("slaresponsestate", Fixed("\"I\"")), ("nextactivitydate", Fixed("\"1900-01-01T00:00:00\"")),
        ("unread_child_action_count", Fixed("0")), ("unread_related_action_count", Fixed("0")), ("lastnote", Fixed("\"\"")),
    ]
};

/// Whether rows include the properties of a column profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnSet {
    Plain,
    Profile,
}

/// Returns the properties of a row under the given knobs.
pub(crate) fn columns(
    knobs: &Knobs,
    column_set: ColumnSet,
) -> impl Iterator<Item = (&'static str, ColumnSource)> {
    let older = knobs.row_shape == RowShape::Older;
    let with_display = knobs.category_display == Switch::On;
    let extras = knobs.row_extras;
    let profile = if column_set == ColumnSet::Profile { PROFILE_FIELDS } else { &[] };
    FIELDS.iter().chain(profile).copied().filter(move |(name, _)| match *name {
        "team_id" | "_open_search_score" => !older,
        _ if name.ends_with("_display") => with_display,
        _ => extras.carries(name),
    })
}
