//! From a ticket of an answer to one that can be stored: inside the scope or not, its custom fields as far
//! as the answer tells them, and whether its numbers have names.
//!
//! Pure. What it needs to know of the server is looked up once for each pass.

use std::collections::HashSet;

use super::custom_fields::source::FieldSource;
use crate::scope::Scope;
use crate::store::ObservedTicket;
use crate::ticket::Ticket;
use crate::ticket::attribute::{STATUS_ID, TICKET_TYPE_ID};

/// What is known of the server when its rows are mapped.
#[derive(Clone, Debug)]
pub(super) struct RowMapping {
    pub(super) scope: Scope,
    pub(super) statuses: HashSet<i64>,
    pub(super) types: HashSet<i64>,
    pub(super) fields: FieldSource,
}

/// Numbers that stand in rows and that no list of the server explains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MissingNames {
    pub(super) status: bool,
    pub(super) ticket_type: bool,
}

impl MissingNames {
    pub(super) fn add(&mut self, more: MissingNames) {
        self.status |= more.status;
        self.ticket_type |= more.ticket_type;
    }
}

impl RowMapping {
    /// The row that can be stored; `None` where the ticket is of no type that is copied.
    pub(super) fn map_ticket(&self, mut ticket: Ticket, request_no: i64) -> Option<ObservedTicket> {
        if !self.scope.includes(ticket.integer(TICKET_TYPE_ID)) {
            return None;
        }
        let custom_fields = self.fields.extract_from(&mut ticket);
        let hash = ticket.hash();
        Some(ObservedTicket { ticket, hash, custom_fields, request_no })
    }

    /// Which numbers of a row nobody explains.
    pub(super) fn missing_names(&self, ticket: &Ticket) -> MissingNames {
        let is_unknown = |position, known: &dyn Fn(i64) -> bool| {
            ticket.integer(position).is_some_and(|number| !known(number))
        };
        MissingNames {
            status: is_unknown(STATUS_ID, &|status| self.statuses.contains(&status)),
            ticket_type: is_unknown(TICKET_TYPE_ID, &|id| self.types.contains(&id)),
        }
    }
}
