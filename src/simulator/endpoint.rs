//! The places of the API that the server knows, and how a path leads there.

use std::fmt;

/// A place of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
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

impl Endpoint {
    /// All of them with their names, as a fault spells them.
    pub const NAMES: [(Endpoint, &'static str); 8] = [
        (Endpoint::Token, "token"),
        (Endpoint::AuthInfo, "authinfo"),
        (Endpoint::List, "list"),
        (Endpoint::Ticket, "ticket"),
        (Endpoint::Status, "status"),
        (Endpoint::TicketType, "tickettype"),
        (Endpoint::FieldInfo, "fieldinfo"),
        (Endpoint::Other, "other"),
    ];
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Endpoint::NAMES.iter().find(|(endpoint, _)| endpoint == self);
        f.write_str(name.map_or("other", |(_, name)| name))
    }
}

/// Where a path leads, and the id it ends with; names of paths are not case-sensitive (halo-api.md §2).
pub(super) fn route(path: &str) -> (Endpoint, Option<i64>) {
    let path = path.trim_matches('/').to_ascii_lowercase();
    match *path.split('/').collect::<Vec<_>>() {
        ["auth", "token"] => (Endpoint::Token, None),
        ["api", "authinfo"] => (Endpoint::AuthInfo, None),
        ["api", "tickets"] => (Endpoint::List, None),
        ["api", "tickets", id] => {
            id.parse().map_or((Endpoint::Other, None), |id| (Endpoint::Ticket, Some(id)))
        }
        ["api", "status"] => (Endpoint::Status, None),
        ["api", "tickettype"] => (Endpoint::TicketType, None),
        ["api", "fieldinfo"] => (Endpoint::FieldInfo, None),
        ["api", "fieldinfo", id] => (Endpoint::FieldInfo, id.parse().ok()),
        _ => (Endpoint::Other, None),
    }
}
