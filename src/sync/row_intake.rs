//! Turns a ticket from a response into one that can be stored: checks that it is in scope, extracts its custom
//! fields if the response has them, and finds numbers without a name.
//!
//! Pure: the facts about the server that it needs are loaded before the scan.

use std::collections::HashSet;

use super::custom_fields::source::FieldSource;
use crate::scope::Scope;
use crate::store::ObservedTicket;
use crate::ticket::Ticket;
use crate::ticket::attribute::{STATUS_ID, TICKET_TYPE_ID};

/// The facts about the server that the mapping of its rows needs.
#[derive(Clone, Debug)]
pub(super) struct RowMapping {
    pub(super) scope: Scope,
    pub(super) statuses: HashSet<i64>,
    pub(super) types: HashSet<i64>,
    pub(super) fields: FieldSource,
}

/// Whether rows have numbers that the reference tables do not name.
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
    /// The row to store; `None` if the type of the ticket is not in scope.
    pub(super) fn map_ticket(&self, mut ticket: Ticket, request_no: i64) -> Option<ObservedTicket> {
        if !self.scope.includes(ticket.integer(TICKET_TYPE_ID)) {
            return None;
        }
        let custom_fields = self.fields.extract_from(&mut ticket);
        let hash = ticket.hash();
        Some(ObservedTicket { ticket, hash, custom_fields, request_no })
    }

    /// Whether the reference tables lack names for the numbers of a row.
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
