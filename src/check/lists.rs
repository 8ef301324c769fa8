//! What the server's lists show. Pure functions from facts to outcomes.

use indicatif::HumanCount;
use serde::Serialize;

use super::CheckOutcome;
use crate::app::count;
use crate::halo::HaloError;
use crate::reference::ReferenceItem;
use crate::sync;

/// The server's ticket counts (`record_count`); `None` where it gives none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ListCounts {
    /// Count of the plain list.
    #[serde(rename = "plain")]
    pub plain_list: Option<u64>,
    /// Count of the list of open tickets.
    pub open: Option<u64>,
    /// Count of the list of closed tickets.
    pub closed: Option<u64>,
}

impl ListCounts {
    /// Returns the number of tickets; the plain list may leave some out.
    pub(super) fn total(self) -> Option<u64> {
        let open_and_closed = self.open.unwrap_or(0).saturating_add(self.closed.unwrap_or(0));
        self.plain_list.map(|plain_list| plain_list.max(open_and_closed))
    }
}

/// Looks up the ids of the configured ticket types.
pub(super) fn ticket_types(
    wanted: &[String],
    result: Result<Vec<ReferenceItem>, HaloError>,
) -> (Vec<i64>, CheckOutcome) {
    let types = match result {
        Ok(types) => types,
        Err(error) => return (Vec::new(), types_unavailable(wanted, error)),
    };
    let ids = match sync::resolve_ticket_types(wanted, &types) {
        Ok(ids) => ids,
        Err(error) => return (Vec::new(), CheckOutcome::Fail(error.into())),
    };
    let synced =
        if wanted.is_empty() { "all are synced".into() } else { format!("synced: {}", wanted.join(", ")) };
    (ids, CheckOutcome::Ok(format!("{} on the server; {synced}", count(types.len() as u64, "type"))))
}

/// Unavailable type names are a warning, unless the settings name a type or the server is unreachable.
fn types_unavailable(wanted: &[String], error: HaloError) -> CheckOutcome {
    let is_unreachable = matches!(error, HaloError::Unreachable { .. } | HaloError::RateLimited { .. });
    if is_unreachable || error.is_token_error() || !wanted.is_empty() {
        return CheckOutcome::Fail(error.into());
    }
    CheckOutcome::warning(error.to_string(), "tickets are synced anyway, without the names of their types")
}

/// Checks whether the plain list shows every ticket.
pub(super) fn coverage(counts: ListCounts) -> CheckOutcome {
    let ListCounts { plain_list: Some(plain_list), open: Some(open), closed: Some(closed) } = counts else {
        return CheckOutcome::warning(
            "the server does not say how many tickets there are",
            "no run can complete without `record_count`: check that server_url points to HaloITSM itself",
        );
    };
    let open_and_closed = open.saturating_add(closed);
    let message = format!(
        "the plain list has {}; {} are open, {} closed",
        count(plain_list, "ticket"),
        HumanCount(open),
        HumanCount(closed)
    );
    if open_and_closed == 0 && plain_list == 0 {
        CheckOutcome::warning(
            "the agent of the API application sees no tickets",
            "that agent needs permissions for teams, clients and ticket types",
        )
    } else if plain_list < open_and_closed {
        CheckOutcome::warning(
            format!("{message}: it leaves out {}", HumanCount(open_and_closed - plain_list)),
            "what the plain list leaves out is synced only if full scans read open and closed tickets separately; \
             compare the number of tickets in `halosync status` with these",
        )
    } else {
        CheckOutcome::Ok(message)
    }
}

/// Checks the rows of a page: `received` of `requested`, where the server reports `record_count` tickets.
pub(super) fn page_cap(received: u64, requested: u64, record_count: Option<u64>) -> CheckOutcome {
    let total = record_count.map_or("no count".to_owned(), |number| count(number, "ticket"));
    let message =
        format!("{} received for a page of {requested}; the server reports {total}", count(received, "row"));
    if received < requested.min(record_count.unwrap_or(received)) {
        CheckOutcome::warning(message, "runs adapt to the rows received; they only take more requests")
    } else if requested < received {
        CheckOutcome::warning(message, "the server ignores `page_size`; runs adapt to the rows received")
    } else {
        CheckOutcome::Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::ExitStatus;
    use crate::halo::{Resource, Responder};
    use crate::reference::TICKET_TYPES;

    #[test]
    fn plain_list_smaller_than_open_plus_closed_warns() {
        for (plain_list, open, closed, expected) in [
            (Some(10), Some(4), Some(6), "ok"),
            (Some(11), Some(4), Some(6), "ok"),
            (Some(9), Some(4), Some(6), "warning"),
            (Some(0), Some(0), Some(0), "warning"),
            (Some(10), None, Some(6), "warning"),
        ] {
            let outcome = coverage(ListCounts { plain_list, open, closed });
            assert_eq!(outcome.as_str(), expected, "{plain_list:?} {open:?} {closed:?}");
        }
    }

    #[test]
    fn page_shorter_or_longer_than_requested_warns() {
        for (received, count, expected) in [
            (100, Some(717), "ok"),
            (30, Some(30), "ok"),
            (0, Some(0), "ok"),
            (50, Some(717), "warning"),
            (250, Some(717), "warning"),
            (100, None, "ok"),
        ] {
            assert_eq!(page_cap(received, 100, count).as_str(), expected, "{received} of {count:?}");
        }
    }

    #[test]
    fn ticket_type_names_match_ignoring_case_and_blanks() {
        let reference_item = |name: &str| ReferenceItem { id: 1, name: name.into() };
        let types = || Ok(vec![reference_item(" Incident "), reference_item("Change")]);
        let wanted = |name: &str| vec![name.to_owned()];
        let (ids, outcome) = ticket_types(&wanted("incident"), types());
        assert_eq!((ids, outcome.as_str()), (vec![1], "ok"));
        let (ids, outcome) = ticket_types(&[], types());
        assert_eq!((ids, outcome.as_str()), (vec![], "ok"));
        let (_, outcome) = ticket_types(&wanted("incidents"), types());
        assert_eq!(outcome.exit_status(), ExitStatus::Config);
        let forbidden = || {
            let (resource, answered_by) = (Resource::Reference(TICKET_TYPES), Responder::Server);
            Err(HaloError::Refused { resource, status: 403, answered_by, message: None })
        };
        assert_eq!(ticket_types(&[], forbidden()).1.as_str(), "warning");
        let (_, outcome) = ticket_types(&wanted("incident"), forbidden());
        assert_eq!(outcome.exit_status(), ExitStatus::Refused);
    }
}
