//! The search for unmapped fields in one of the single tickets that a run fetches anyway.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ticket::{FieldSearch, UnmappedFields};

/// Which response for a single ticket is searched: the two have different properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchedTicket {
    /// The ticket alone.
    Plain,
    /// The ticket with all its members.
    WithDetails,
}

/// One search: requested, under way in one request, ended.
#[derive(Default)]
pub(super) struct TicketSearch(Mutex<SearchState>);

#[derive(Default)]
enum SearchState {
    #[default]
    Idle,
    Requested(SearchedTicket),
    UnderWay,
    Ended(UnmappedFields),
}

impl TicketSearch {
    fn lock(&self) -> MutexGuard<'_, SearchState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests a search, and forgets an earlier one.
    pub(super) fn request(&self, kind: SearchedTicket) {
        *self.lock() = SearchState::Requested(kind);
    }

    /// Whether the response to a request is to be searched: if so, no other one is until [`TicketSearch::end`].
    pub(super) fn begin(&self, kind: SearchedTicket) -> FieldSearch {
        let mut state = self.lock();
        match *state {
            SearchState::Requested(requested) if requested == kind => {
                *state = SearchState::UnderWay;
                FieldSearch::On
            }
            _ => FieldSearch::Off,
        }
    }

    /// Ends a search that began; without a ticket the next one is searched.
    pub(super) fn end(&self, kind: SearchedTicket, found: Option<UnmappedFields>) {
        *self.lock() = found.map_or(SearchState::Requested(kind), SearchState::Ended);
    }

    /// Takes what was found.
    pub(super) fn take(&self) -> Option<UnmappedFields> {
        match std::mem::take(&mut *self.lock()) {
            SearchState::Ended(fields) => Some(fields),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::JsonType;

    #[test]
    fn one_ticket_of_the_requested_kind_is_searched() {
        let (search, plain, details) =
            (TicketSearch::default(), SearchedTicket::Plain, SearchedTicket::WithDetails);
        assert_eq!(search.begin(plain), FieldSearch::Off, "nobody asked");
        search.request(details);
        assert_eq!(search.begin(plain), FieldSearch::Off, "another kind");
        assert_eq!(search.begin(details), FieldSearch::On);
        assert_eq!(search.begin(details), FieldSearch::Off, "one is under way");
        search.end(details, None);
        assert_eq!(search.begin(details), FieldSearch::On, "the first one was not there");
        let mut fields = UnmappedFields::default();
        fields.add("mood", JsonType::String);
        search.end(details, Some(fields.clone()));
        assert_eq!(search.begin(details), FieldSearch::Off, "it ended");
        assert_eq!((search.take(), search.take()), (Some(fields), None));
    }
}
