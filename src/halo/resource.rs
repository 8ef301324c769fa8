//! What a request is for.

use super::memory::MEMORY_MAX;
use super::transport::SHORT_BODY_MAX;

/// What a request is for. Its text appears in messages: `request for a token was refused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::IntoStaticStr)]
pub enum Resource {
    /// The address of the authorization server.
    #[strum(to_string = "the authorization server's address")]
    AuthInfo,
    /// An access token.
    #[strum(to_string = "a token")]
    Token,
    /// A page of the ticket list.
    #[strum(to_string = "the ticket list")]
    TicketList,
    /// A single ticket.
    #[strum(to_string = "a ticket")]
    Ticket,
    /// The statuses of tickets.
    #[strum(to_string = "the status list")]
    Statuses,
    /// The ticket types.
    #[strum(to_string = "the ticket type list")]
    TicketTypes,
    /// The definitions of the custom fields.
    #[strum(to_string = "the custom field list")]
    FieldDefinitions,
}

impl Resource {
    /// Returns the name of the resource in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the longest body that is accepted; a longer one of at most `SHORT_BODY_MAX` is cut.
    pub(super) fn body_max(self) -> usize {
        match self {
            Resource::AuthInfo | Resource::Token => SHORT_BODY_MAX,
            Resource::TicketList | Resource::Ticket => MEMORY_MAX,
            Resource::Statuses | Resource::TicketTypes | Resource::FieldDefinitions => 32 << 20,
        }
    }
}
