//! From a ticket of an answer to one that can be stored: inside the scope or not, its custom fields as far
//! as the answer tells them, and whether its numbers have names.
//!
//! Pure. What it needs to know of the server is looked up once for each pass.

use std::collections::HashSet;

use super::fields::FieldSource;
use crate::scope::Scope;
use crate::store::Sighting;
use crate::ticket::Ticket;
use crate::ticket::attribute::{STATUS_ID, TICKET_TYPE_ID};

/// What is known of the server when its rows are mapped.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub(super) scope: Scope,
    pub(super) statuses: HashSet<i64>,
    pub(super) types: HashSet<i64>,
    pub(super) fields: FieldSource,
}

/// Numbers that stand in rows and that no list of the server explains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unexplained {
    pub(super) status: bool,
    pub(super) ticket_type: bool,
}

impl Unexplained {
    pub(super) fn add(&mut self, more: Unexplained) {
        self.status |= more.status;
        self.ticket_type |= more.ticket_type;
    }
}

impl Mapping {
    /// The row that can be stored; `None` where the ticket is of no type that is copied.
    pub(super) fn sighting(&self, mut ticket: Ticket, request_no: i64) -> Option<Sighting> {
        if !self.scope.holds(ticket.integer(TICKET_TYPE_ID)) {
            return None;
        }
        let told = self.fields.told(&mut ticket);
        let hash = ticket.hash();
        Some(Sighting { ticket, hash, told, request_no })
    }

    /// Which numbers of a row nobody explains.
    pub(super) fn unexplained(&self, ticket: &Ticket) -> Unexplained {
        let unknown = |position, known: &dyn Fn(i64) -> bool| {
            ticket.integer(position).is_some_and(|number| !known(number))
        };
        Unexplained {
            status: unknown(STATUS_ID, &|status| self.statuses.contains(&status)),
            ticket_type: unknown(TICKET_TYPE_ID, &|id| self.types.contains(&id)),
        }
    }
}
