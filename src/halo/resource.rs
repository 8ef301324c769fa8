//! What a request is for.

use super::memory::MEMORY_MAX;
use super::transport::SHORT_BODY_MAX;
use crate::reference::ReferenceTable;

/// What a request is for. Its text appears in messages: `request for a token was refused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The address of the authorization server.
    AuthInfo,
    /// An access token.
    Token,
    /// A page of the ticket list.
    TicketList,
    /// A single ticket.
    Ticket,
    /// A reference table.
    Reference(&'static ReferenceTable),
    /// The definitions of the custom fields.
    FieldDefinitions,
}

impl Resource {
    /// Returns the name of the resource in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::AuthInfo => "the authorization server's address",
            Resource::Token => "a token",
            Resource::TicketList => "the ticket list",
            Resource::Ticket => "a ticket",
            Resource::Reference(table) => table.list_name,
            Resource::FieldDefinitions => "the custom field list",
        }
    }

    /// Returns the longest body that is accepted; a longer one of at most `SHORT_BODY_MAX` is cut.
    pub(super) fn body_max(self) -> usize {
        match self {
            Resource::AuthInfo | Resource::Token => SHORT_BODY_MAX,
            Resource::TicketList | Resource::Ticket => MEMORY_MAX,
            Resource::Reference(_) | Resource::FieldDefinitions => 32 << 20,
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}
