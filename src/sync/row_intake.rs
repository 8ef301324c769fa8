//! Turns a ticket from a response into one that can be stored: checks that it is in scope, extracts its custom
//! fields if the response has them, and finds numbers without a name.
//!
//! Pure: the facts about the server that it needs are loaded before the scan.

use std::collections::{BTreeSet, HashSet};

use super::custom_fields::source::FieldSource;
use crate::reference::{AGENTS, ReferenceTable, STATUSES, TICKET_TYPES};
use crate::scope::Scope;
use crate::store::ObservedTicket;
use crate::ticket::Ticket;
use crate::ticket::attribute::{AGENT_ID, STATUS_ID, TICKET_TYPE_ID};

/// The facts about the server that the mapping of its rows needs.
#[derive(Clone, Debug)]
pub(super) struct RowMapping {
    pub(super) scope: Scope,
    /// The numbers that have names, in the order of [`LOOKED_UP`]; `None` where the table is not read.
    pub(super) named: [Option<HashSet<i64>>; LOOKED_UP.len()],
    pub(super) fields: FieldSource,
}

/// The tables that are asked early for a number without a name, with the attribute that has it. All of them come in one
/// request.
pub(super) static LOOKED_UP: [(&ReferenceTable, usize); 3] =
    [(STATUSES, STATUS_ID), (TICKET_TYPES, TICKET_TYPE_ID), (AGENTS, AGENT_ID)];

/// Numbers in rows that the reference tables do not name, in the order of [`LOOKED_UP`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MissingNames(pub(super) [BTreeSet<i64>; LOOKED_UP.len()]);

/// So many numbers without a name are looked up at most.
const MISSING_NAMES_MAX: usize = 1_000;

impl MissingNames {
    pub(super) fn add(&mut self, more: MissingNames) {
        for (numbers, more) in self.0.iter_mut().zip(more.0) {
            numbers.extend(more);
            // A server that invents numbers must not cost memory.
            while MISSING_NAMES_MAX < numbers.len() {
                numbers.pop_last();
            }
        }
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

    /// Whether it cannot be told that a ticket is in the scope, because its type cannot be read.
    pub(super) fn is_type_unreadable(&self, ticket: &Ticket) -> bool {
        !self.scope.includes(None)
            && ticket.rejected_values().iter().any(|(position, _)| *position == TICKET_TYPE_ID)
    }

    /// Adds the numbers of a row that the reference tables do not name.
    pub(super) fn add_missing_names(&self, ticket: &Ticket, missing: &mut MissingNames) {
        for ((named, missing), (_, position)) in self.named.iter().zip(&mut missing.0).zip(LOOKED_UP) {
            if let (Some(named), Some(number)) = (named, ticket.integer(position))
                && !named.contains(&number)
            {
                missing.insert(number);
            }
        }
    }
}
