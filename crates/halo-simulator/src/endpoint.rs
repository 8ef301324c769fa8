//! The API endpoints, and how a path is routed to them.

use std::fmt;

/// An API endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApiEndpoint {
    /// `POST /auth/token`
    Token,
    /// `GET /api/authinfo`
    AuthInfo,
    /// `GET /api/tickets`
    List,
    /// `GET /api/tickets/{id}`
    Ticket,
    /// `GET /api/status`
    Status,
    /// `GET /api/tickettype`
    TicketType,
    /// `GET /api/fieldinfo`, with or without an id
    FieldInfo,
    /// `GET /api/agent`
    Agent,
    /// `GET /api/team`
    Team,
    /// `GET /api/priority`
    Priority,
    /// `GET /api/sla`
    Sla,
    /// `GET /api/category`
    Category,
    /// `GET /api/client`
    Client,
    /// `GET /api/site`
    Site,
    /// `GET /api/users`
    Users,
    /// Any other path.
    Other,
}

impl ApiEndpoint {
    /// All endpoints with the names used in fault specifications.
    pub const NAMES: [(ApiEndpoint, &'static str); 16] = [
        (ApiEndpoint::Token, "token"),
        (ApiEndpoint::AuthInfo, "authinfo"),
        (ApiEndpoint::List, "list"),
        (ApiEndpoint::Ticket, "ticket"),
        (ApiEndpoint::Status, "status"),
        (ApiEndpoint::TicketType, "tickettype"),
        (ApiEndpoint::FieldInfo, "fieldinfo"),
        (ApiEndpoint::Agent, "agent"),
        (ApiEndpoint::Team, "team"),
        (ApiEndpoint::Priority, "priority"),
        (ApiEndpoint::Sla, "sla"),
        (ApiEndpoint::Category, "category"),
        (ApiEndpoint::Client, "client"),
        (ApiEndpoint::Site, "site"),
        (ApiEndpoint::Users, "users"),
        (ApiEndpoint::Other, "other"),
    ];
}

impl fmt::Display for ApiEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ApiEndpoint::NAMES.iter().find(|(endpoint, _)| endpoint == self);
        f.write_str(name.map_or("other", |(_, name)| name))
    }
}

/// Returns the endpoint of a path and the id at its end. Paths are not case-sensitive (halo-api.md §2).
pub(crate) fn route(path: &str) -> (ApiEndpoint, Option<i64>) {
    let path = path.trim_matches('/').to_ascii_lowercase();
    match *path.split('/').collect::<Vec<_>>() {
        ["auth", "token"] => (ApiEndpoint::Token, None),
        ["api", "authinfo"] => (ApiEndpoint::AuthInfo, None),
        ["api", "tickets"] => (ApiEndpoint::List, None),
        ["api", "tickets", id] => {
            id.parse().map_or((ApiEndpoint::Other, None), |id| (ApiEndpoint::Ticket, Some(id)))
        }
        ["api", "status"] => (ApiEndpoint::Status, None),
        ["api", "tickettype"] => (ApiEndpoint::TicketType, None),
        ["api", "fieldinfo"] => (ApiEndpoint::FieldInfo, None),
        ["api", "fieldinfo", id] => (ApiEndpoint::FieldInfo, id.parse().ok()),
        ["api", "agent"] => (ApiEndpoint::Agent, None),
        ["api", "team"] => (ApiEndpoint::Team, None),
        ["api", "priority"] => (ApiEndpoint::Priority, None),
        ["api", "sla"] => (ApiEndpoint::Sla, None),
        ["api", "category"] => (ApiEndpoint::Category, None),
        ["api", "client"] => (ApiEndpoint::Client, None),
        ["api", "site"] => (ApiEndpoint::Site, None),
        ["api", "users"] => (ApiEndpoint::Users, None),
        _ => (ApiEndpoint::Other, None),
    }
}
