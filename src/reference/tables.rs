//! The reference tables, one row for each object of the server. Facts: `halo-objects.md` §2 and §3.

use super::ColumnRole::{Key, Name, Other};
use super::{ColumnRole, ReferenceColumn, ReferenceTable, Selection};
use crate::ticket::Column;
use crate::ticket::ValueKind::{self, Boolean, Integer, Real, Text};

const fn column(
    name: &'static str,
    property: &'static str,
    kind: ValueKind,
    role: ColumnRole,
) -> ReferenceColumn {
    ReferenceColumn { column: Column { name, kind }, property: Some(property), role }
}

const fn derived(name: &'static str, kind: ValueKind) -> ReferenceColumn {
    ReferenceColumn { column: Column { name, kind }, property: None, role: Other }
}

/// The statuses of tickets.
pub const STATUSES: &ReferenceTable = &REFERENCE_TABLES[0];
/// The position of `statuses.CLOSED`, which follows from a second request.
pub const STATUS_CLOSED: usize = 5;
/// The ticket types.
pub const TICKET_TYPES: &ReferenceTable = &REFERENCE_TABLES[1];
/// Who works on tickets.
pub const AGENTS: &ReferenceTable = &REFERENCE_TABLES[2];
/// The priorities of the SLAs.
pub const PRIORITIES: &ReferenceTable = &REFERENCE_TABLES[4];

/// Every reference table, in the order in which they are read.
#[rustfmt::skip]
pub static REFERENCE_TABLES: [ReferenceTable; 10] = [
    ReferenceTable {
        name: "statuses", list_name: "the status list", endpoint: "/api/status", parameters: &[("showall", "true")], array_names: &[],
        columns: &[
            column("ID",       "id",       Integer, Key),
            column("NAME",     "name",     Text,    Name),
            column("TYPE",     "type",     Integer, Other),
            column("SEQUENCE", "sequence", Integer, Other),
            column("COLOUR",   "colour",   Text,    Other),
            derived("CLOSED",              Boolean),
        ],
        selection: Selection::Always, is_paged: false, needs_customers: false,
        about: "Statuses, and which of them count as closed.",
    },
    ReferenceTable {
        name: "ticket_types", list_name: "the ticket type list", endpoint: "/api/tickettype",
        parameters: &[("showall", "true"), ("showinactive", "true")], array_names: &[],
        columns: &[
            column("ID",       "id",       Integer, Key),
            column("NAME",     "name",     Text,    Name),
            column("USE",      "use",      Text,    Other),
            column("SEQUENCE", "sequence", Integer, Other),
        ],
        selection: Selection::Always, is_paged: false, needs_customers: false,
        about: "Ticket types.",
    },
    ReferenceTable {
        name: "agents", list_name: "the agent list", endpoint: "/api/Agent",
        parameters: &[
            ("includeenabled", "true"), ("includedisabled", "true"), ("includeunassigned", "true"),
            ("includeapiagents", "true"),
        ],
        array_names: &["agents", "results"],
        columns: &[
            column("ID",        "id",         Integer, Key),
            column("NAME",      "name",       Text,    Name),
            column("INITIALS",  "initials",   Text,    Other),
            column("JOB_TITLE", "jobtitle",   Text,    Other),
            column("TEAM",      "team",       Text,    Other),
            column("DISABLED",  "isdisabled", Boolean, Other),
            column("API_AGENT", "isapiagent", Boolean, Other),
        ],
        selection: Selection::Default, is_paged: false, needs_customers: false,
        about: "Who works on tickets, also those who left. 1 is nobody.",
    },
    ReferenceTable {
        name: "teams", list_name: "the team list", endpoint: "/api/Team",
        parameters: &[("showall", "true"), ("includedisabled", "true")], array_names: &["teams", "results"],
        columns: &[
            column("ID",              "id",              Integer, Key),
            column("NAME",            "name",            Text,    Name),
            column("SEQUENCE",        "sequence",        Integer, Other),
            column("DEPARTMENT_ID",   "department_id",   Integer, Other),
            column("DEPARTMENT_NAME", "department_name", Text,    Other),
            column("INACTIVE",        "inactive",        Boolean, Other),
            column("FOR_REQUESTS",    "forrequests",     Boolean, Other),
        ],
        selection: Selection::Default, is_paged: false, needs_customers: false,
        about: "Teams and their departments.",
    },
    ReferenceTable {
        name: "priorities", list_name: "the priority list", endpoint: "/api/Priority", parameters: &[], array_names: &["priorities", "results"],
        columns: &[
            column("SLA_ID",         "slaid",         Integer, Key),
            column("PRIORITY_ID",    "priorityid",    Integer, Key),
            column("NAME",           "name",          Text,    Name),
            column("GUID",           "id",            Text,    Other),
            column("COLOUR",         "colour",        Text,    Other),
            column("HIDDEN",         "ishidden",      Boolean, Other),
            column("RESPONSE_TIME",  "responsetime",  Real,    Other),
            column("RESPONSE_UNITS", "responseunits", Text,    Other),
            column("FIX_TIME",       "fixtime",       Real,    Other),
            column("FIX_UNITS",      "fixunits",      Text,    Other),
        ],
        selection: Selection::Default, is_paged: false, needs_customers: false,
        about: "Priorities, by SLA and number: priority 3 of one SLA is not priority 3 of another.",
    },
    ReferenceTable {
        name: "slas", list_name: "the SLA list", endpoint: "/api/SLA", parameters: &[], array_names: &["slas", "results"],
        columns: &[
            column("ID",             "id",                   Integer, Key),
            column("NAME",           "name",                 Text,    Name),
            column("WORKDAY_ID",     "workday_id",           Integer, Other),
            column("WORKDAY_NAME",   "workday_name",         Text,    Other),
            column("TRACK_RESPONSE", "trackslaresponsetime", Boolean, Other),
            column("TRACK_FIX",      "trackslafixbytime",    Boolean, Other),
        ],
        selection: Selection::Default, is_paged: false, needs_customers: false,
        about: "Service level agreements.",
    },
    ReferenceTable {
        name: "categories", list_name: "the category list", endpoint: "/api/Category", parameters: &[], array_names: &["categories", "results"],
        columns: &[
            column("ID",                   "id",              Integer, Key),
            column("VALUE",                "value",           Text,    Name),
            column("NAME",                 "category_name",   Text,    Other),
            column("TYPE_ID",              "type_id",         Integer, Other),
            column("SLA_ID",               "sla_id",          Integer, Other),
            column("PRIORITY_ID",          "priority_id",     Integer, Other),
            column("ITIL_REQUEST_TYPE_ID", "itilrequesttype", Integer, Other),
        ],
        selection: Selection::OnRequest, is_paged: false, needs_customers: false,
        about: "Categories. Tickets name them as text.",
    },
    ReferenceTable {
        name: "clients", list_name: "the client list", endpoint: "/api/Client",
        parameters: &[("includeactive", "true"), ("includeinactive", "true")], array_names: &["clients"],
        columns: &[
            column("ID",            "id",            Integer, Key),
            column("NAME",          "name",          Text,    Name),
            column("TOPLEVEL_ID",   "toplevel_id",   Integer, Other),
            column("TOPLEVEL_NAME", "toplevel_name", Text,    Other),
            column("REF",           "ref",           Text,    Other),
            column("CUSTOMER_TYPE", "customertype",  Integer, Other),
            column("IS_VIP",        "is_vip",        Boolean, Other),
            column("INACTIVE",      "inactive",      Boolean, Other),
        ],
        selection: Selection::OnRequest, is_paged: true, needs_customers: true,
        about: "Customers. 1 is unknown.",
    },
    ReferenceTable {
        name: "sites", list_name: "the site list", endpoint: "/api/Site",
        parameters: &[("includeactive", "true"), ("includeinactive", "true")], array_names: &["sites"],
        columns: &[
            column("ID",          "id",          Integer, Key),
            column("NAME",        "name",        Text,    Name),
            column("CLIENT_ID",   "client_id",   Integer, Other),
            column("CLIENT_NAME", "client_name", Text,    Other),
            column("SLA_ID",      "sla_id",      Integer, Other),
            column("TIMEZONE",    "timezone",    Text,    Other),
            column("INACTIVE",    "inactive",    Boolean, Other),
        ],
        selection: Selection::OnRequest, is_paged: true, needs_customers: true,
        about: "Sites of customers.",
    },
    ReferenceTable {
        name: "users", list_name: "the user list", endpoint: "/api/Users",
        parameters: &[("includeactive", "true"), ("includeinactive", "true")], array_names: &["users"],
        columns: &[
            column("ID",                 "id",               Integer, Key),
            column("NAME",               "name",             Text,    Name),
            column("EMAIL",              "emailaddress",     Text,    Other),
            column("TITLE",              "title",            Text,    Other),
            column("CLIENT_ID",          "client_id",        Integer, Other),
            column("CLIENT_NAME",        "client_name",      Text,    Other),
            column("SITE_ID",            "site_id",          Integer, Other),
            column("SITE_NAME",          "site_name",        Text,    Other),
            column("LINKED_AGENT_ID",    "linked_agent_id",  Integer, Other),
            column("IS_SERVICE_ACCOUNT", "isserviceaccount", Boolean, Other),
            column("INACTIVE",           "inactive",         Boolean, Other),
        ],
        selection: Selection::OnRequest, is_paged: true, needs_customers: true,
        about: "The people who are helped: personal data.",
    },
];

/// Returns the table of `docs/reference-tables.md`.
#[must_use]
pub fn render_markdown() -> String {
    let mut text = String::from(
        "# Reference tables\n\n\
         Generated from the table in `src/reference/tables.rs`; `cargo test` rewrites this file when they differ.\n\
         Tickets have numbers, these tables have the names. Rows that the server no longer lists stay with `PRESENT = 0`,\n\
         because tickets may still name them. Only the columns below are read.\n\n\
         | table | read | from | column: property |\n| --- | --- | --- | --- |\n",
    );
    for table in &REFERENCE_TABLES {
        let read = match table.selection {
            Selection::Always => "always",
            Selection::Default => "by default",
            Selection::OnRequest => "where `[halo] reference` names it",
        };
        let columns: Vec<_> = table
            .columns
            .iter()
            .map(|it| match it.property {
                Some(property) => format!("`{}`: `{property}`", it.column.name),
                None => format!("`{}`", it.column.name),
            })
            .collect();
        text.push_str(&format!(
            "| `{}`: {} | {read} | `{}` | {} |\n",
            table.name,
            table.about,
            table.endpoint,
            columns.join(", ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_those_of_their_constants() {
        let names = [STATUSES, TICKET_TYPES, AGENTS, PRIORITIES].map(|table| table.name);
        assert_eq!(names, ["statuses", "ticket_types", "agents", "priorities"]);
        assert_eq!(STATUSES.position("CLOSED"), Some(STATUS_CLOSED));
    }

    #[test]
    fn keys_come_first_and_are_integers_and_each_table_has_a_name() {
        for table in &REFERENCE_TABLES {
            let roles: Vec<_> = table.columns.iter().map(|it| it.role).collect();
            let keys = roles.iter().take_while(|role| **role == Key).count();
            assert!(0 < keys && roles[keys..].iter().all(|role| *role != Key), "{table}");
            assert!(table.columns[..keys].iter().all(|it| it.column.kind == Integer), "{table}");
            assert_eq!(roles.iter().filter(|role| **role == Name).count(), 1, "{table}");
        }
    }
}
