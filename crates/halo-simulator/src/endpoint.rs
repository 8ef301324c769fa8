//! The places of the API that the server knows, and how a path leads there.

use std::fmt;

/// A place of the API.
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
    /// Anything else.
    Other,
}

impl ApiEndpoint {
    /// All of them with their names, as a fault spells them.
    pub const NAMES: [(ApiEndpoint, &'static str); 8] = [
        (ApiEndpoint::Token, "token"),
        (ApiEndpoint::AuthInfo, "authinfo"),
        (ApiEndpoint::List, "list"),
        (ApiEndpoint::Ticket, "ticket"),
        (ApiEndpoint::Status, "status"),
        (ApiEndpoint::TicketType, "tickettype"),
        (ApiEndpoint::FieldInfo, "fieldinfo"),
        (ApiEndpoint::Other, "other"),
    ];
}

impl fmt::Display for ApiEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ApiEndpoint::NAMES.iter().find(|(endpoint, _)| endpoint == self);
        f.write_str(name.map_or("other", |(_, name)| name))
    }
}

/// Where a path leads, and the id it ends with; names of paths are not case-sensitive (halo-api.md §2).
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
        _ => (ApiEndpoint::Other, None),
    }
}
