//! What a request is for.

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
}
