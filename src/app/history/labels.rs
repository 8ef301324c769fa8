//! What people call the attributes, and how their values are shown: one table.
//!
//! Attributes of one label say the same thing, such as a number and its name: a change of them is one line.

use crate::ticket::attribute::stored_attributes;

/// What the value of an attribute is to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is shown as it is.
    Value,
    /// The number of a row of a reference table: the table, and a noun for a number without a name.
    Number(&'static str, &'static str),
    /// A priority, whose name depends on the SLA.
    Priority,
    /// The number of another ticket; 0 is none.
    Ticket,
    /// The name of the number of the same label, as the server sent it then.
    Name,
    /// It is shown behind the name of the same label.
    Addition,
    /// It repeats another attribute of the same label.
    Repetition,
    /// It moves with every edit, or every request.
    Bookkeeping,
}

use Meaning::{Addition, Bookkeeping, Name, Number, Priority, Repetition, Ticket, Value};

/// An attribute with a label.
#[derive(Clone, Copy, Debug)]
pub(super) struct LabeledAttribute {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) meaning: Meaning,
}

const fn labeled(name: &'static str, label: &'static str, meaning: Meaning) -> LabeledAttribute {
    LabeledAttribute { name, label, meaning }
}

/// The labels, in the order in which changes are shown. Other attributes are shown by their names.
#[rustfmt::skip]
pub(super) static LABELS: &[LabeledAttribute] = &[
    labeled("NAME",                 "Summary",          Value),
    labeled("ID_SUMMARY",           "Summary",          Repetition),
    labeled("STATUS",               "Status",           Name),
    labeled("STATUS_ID",            "Status",           Number("statuses", "status")),
    labeled("TICKET_TYPE_ID",       "Type",             Number("ticket_types", "ticket type")),
    labeled("PRIORITY_ID",          "Priority",         Priority),
    labeled("SLA_ID",               "SLA",              Number("slas", "SLA")),
    labeled("AGENT_ID",             "Agent",            Number("agents", "agent")),
    labeled("TEAM",                 "Team",             Name),
    labeled("TEAM_ID",              "Team",             Number("teams", "team")),
    labeled("CLIENT_NAME",          "Client",           Name),
    labeled("CLIENT_ID",            "Client",           Number("clients", "client")),
    labeled("SITE_NAME",            "Site",             Name),
    labeled("SITE_ID",              "Site",             Number("sites", "site")),
    labeled("USER_NAME",            "User",             Name),
    labeled("USER_ID",              "User",             Number("users", "user")),
    labeled("USER_EMAIL",           "User",             Addition),
    labeled("CATEGORY_1",           "Category 1",       Name),
    labeled("CATEGORY_1_DISPLAY",   "Category 1",       Repetition),
    labeled("CATEGORY_2",           "Category 2",       Name),
    labeled("CATEGORY_2_DISPLAY",   "Category 2",       Repetition),
    labeled("CATEGORY_3",           "Category 3",       Name),
    labeled("CATEGORY_3_DISPLAY",   "Category 3",       Repetition),
    labeled("CATEGORY_4",           "Category 4",       Name),
    labeled("CATEGORY_4_DISPLAY",   "Category 4",       Repetition),
    labeled("IMPACT",               "Impact",           Value),
    labeled("URGENCY",              "Urgency",          Value),
    labeled("SOURCE_CREATED_DATE",  "Opened",           Value),
    labeled("EXTRA.ASSIGNED_AT",    "Assigned at",      Value),
    labeled("EXTRA.RESPONDED_AT",   "Responded at",     Value),
    labeled("EXTRA.CLOSED_AT",      "Closed at",        Value),
    labeled("RESPOND_BY_DATE",      "Respond by",       Value),
    labeled("FIX_BY_DATE",          "Fix by",           Value),
    labeled("DEADLINE_DATE",        "Deadline",         Value),
    labeled("TARGET_DATE",          "Target",           Value),
    labeled("ON_HOLD",              "On hold",          Value),
    labeled("SLA_HOLD_TIME",        "Hours on hold",    Value),
    labeled("EXCLUDE_FROM_SLA",     "Excluded from SLA", Value),
    labeled("FLAGGED",              "Flagged",          Value),
    labeled("READ",                 "Read",             Value),
    labeled("REVIEWED",             "Reviewed",         Value),
    labeled("TICKET_TAGS",          "Tags",             Value),
    labeled("REPORTED_BY",          "Reported by",      Value),
    labeled("EMAIL_TO_LIST",        "E-mail to",        Value),
    labeled("LAST_INCOMING_EMAIL",  "Last e-mail",      Value),
    labeled("ATTACHMENT_COUNT",     "Attachments",      Value),
    labeled("CHILD_COUNT",          "Child tickets",    Value),
    labeled("EXTRA.PARENT_ID",      "Parent ticket",    Ticket),
    labeled("MERGED_INTO_ID",       "Merged into",      Ticket),
    labeled("ESTIMATE",             "Estimate",         Value),
    labeled("COST",                 "Cost",             Value),
    labeled("DESCRIPTION",          "Description",      Value),
    labeled("SOURCE_LAST_MODIFIED", "Last update",      Bookkeeping),
    labeled("LAST_ACTION_DATE",     "Last action",      Bookkeeping),
    labeled("TICKET_AGE",           "Age in days",      Bookkeeping),
    labeled("OPEN_SEARCH_SCORE",    "Search score",     Bookkeeping),
];

/// The row of an attribute in the table.
pub(super) fn labeled_attribute(name: &str) -> Option<&'static LabeledAttribute> {
    LABELS.iter().find(|it| it.name == name)
}

/// Whether an attribute moves with every edit or request, so that a change of it says nothing.
pub(super) fn is_bookkeeping(name: &str) -> bool {
    labeled_attribute(name).is_some_and(|it| it.meaning == Bookkeeping)
}

/// The attributes of a label.
pub(super) fn attributes_of(label: &str) -> impl Iterator<Item = &'static LabeledAttribute> {
    LABELS.iter().filter(move |it| it.label == label)
}

/// The labels, each once, in the order of the table.
pub(super) fn labels() -> Vec<&'static str> {
    let mut labels: Vec<_> = LABELS.iter().map(|it| it.label).collect();
    labels.dedup();
    labels
}

/// The attributes and extras without a label, in their order.
pub(super) fn unlabeled() -> impl Iterator<Item = &'static str> {
    stored_attributes().map(|it| it.name).filter(|name| labeled_attribute(name).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_of_an_attribute_and_twins_stand_together() {
        let mut names: Vec<_> = LABELS.iter().map(|it| it.name).collect();
        for name in &names {
            assert!(stored_attributes().any(|it| it.name == *name), "{name}");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "an attribute has two labels");
        let mut once = labels();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), labels().len(), "attributes of a label stand apart");
    }
}
