//! What is copied changes between two starts of the agent; and what the server calls its statuses and types.

use halo_simulator::{ApiEndpoint, Edit};
use halosync::sync::{RunOutcome, SyncError};
use halosync::ticket::Timestamp;

use crate::desk::{Desk, follows, minutes, virtually};

fn types(desk: &Desk) -> Vec<String> {
    desk.texts("SELECT DISTINCT CAST(TICKET_TYPE_ID AS TEXT) FROM tickets ORDER BY 1")
}

/// The tickets of these types that the server has.
fn wanted(desk: &Desk, types: &[i64]) -> i64 {
    let ids = desk.ids();
    desk.with(|server, now| {
        let kind = |id: &i64| server.row(*id, now).unwrap()["tickettype_id"].as_i64().unwrap();
        i64::try_from(ids.iter().filter(|id| types.is_empty() || types.contains(&kind(id))).count()).unwrap()
    })
}

#[test]
fn a_type_filter_that_changes_to_and_fro_and_is_widened_and_removed_loses_nothing() {
    virtually(async {
        let mut desk = Desk::new(150, &[]);
        desk.settings.scope.custom_fields = true;
        let steps: [(&[&str], &[i64]); 6] = [
            (&["Incident"], &[1]),
            (&["service request"], &[3]),
            (&["Incident"], &[1]),
            (&["INCIDENT", " Service Request "], &[1, 3]),
            (&[], &[]),
            (&["Incident"], &[1]),
        ];
        let mut filled = 0;
        for (names, ids) in steps {
            desk.settings.ticket_types = names.iter().map(|name| (*name).to_owned()).collect();
            // Somebody edits what is not copied now.
            let some = desk.ids()[..20].to_vec();
            desk.with(|server, now| some.iter().for_each(|id| server.edit(*id, Edit::Touch, now)));
            minutes(30).await;
            assert!(!follows(&desk.good().await), "{names:?}: the old position still stands");
            assert_eq!(desk.number("SELECT COUNT(*) FROM tickets"), wanted(&desk, ids), "{names:?}");
            if !ids.is_empty() {
                let spelled: Vec<_> = ids.iter().map(ToString::to_string).collect();
                assert_eq!(types(&desk), spelled, "{names:?}");
            }
            minutes(30).await;
            assert!(follows(&desk.good().await), "{names:?}: filled, and the changes are not followed");
            filled += 1;
        }
        let other = desk.number("SELECT COUNT(*) FROM changes WHERE op = 'd' AND reason <> 'out_of_scope'");
        assert_eq!(other, 0, "tickets left for another reason than the filter");
        let said = desk.number("SELECT COUNT(*) FROM watermark_journal WHERE reason = 'scope_changed'");
        assert_eq!(said, filled - 1);
        desk.settings.ticket_types.clear();
        minutes(30).await;
        desk.good().await;
        desk.assert_equal("everything again");
    });
}

/// Rows outside of a new scope leave in the transaction that drops the position: no brake, and nobody is asked about them.
#[test]
fn what_a_narrower_filter_leaves_out_leaves_at_once_and_costs_no_request() {
    virtually(async {
        let mut desk = Desk::new(200, &[]);
        desk.good().await;
        minutes(30).await;
        desk.settings.ticket_types = vec!["Problem".to_owned()];
        desk.forget();
        desk.good().await;
        assert_eq!(desk.singles(), 0);
        let left = "SELECT COUNT(*) || ' in ' || COUNT(DISTINCT observed_at) FROM changes WHERE op = 'd'";
        assert_eq!(desk.texts(left), [format!("{} in 1", 200 - wanted(&desk, &[4]))]);
    });
}

#[test]
fn an_unknown_type_is_an_error_with_the_names_that_exist_and_changes_nothing() {
    virtually(async {
        let mut desk = Desk::new(60, &[]);
        desk.good().await;
        let (changes, mark) = (desk.changes(), desk.covered_until());
        desk.settings.ticket_types = vec!["Incidents".to_owned()];
        match desk.sync().await {
            Err(SyncError::UnknownType { name, known }) => {
                assert_eq!(name, "Incidents");
                assert!(known.contains(&"Incident".to_owned()), "{known:?}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((desk.changes(), desk.covered_until()), (changes, mark));
    });
}

#[test]
fn a_copy_made_under_another_mapping_is_filled_again_and_unchanged_tickets_stay_silent() {
    virtually(async {
        let desk = Desk::new(60, &[]);
        desk.good().await;
        let changes = desk.changes();
        desk.write(|writing| {
            let mut mark = writing.as_read_tx().watermark()?.unwrap();
            mark.scope.mapping = 0;
            writing.set_watermark(&mark, None, None, "2026-11-22T12:00:00.000Z".parse::<Timestamp>().unwrap())
        });
        minutes(30).await;
        assert!(!follows(&desk.good().await), "it followed under another mapping");
        assert_eq!(desk.changes(), changes);
        desk.assert_equal("another mapping");
    });
}

#[test]
fn names_are_asked_for_daily_and_for_an_unknown_number_hourly_at_most() {
    virtually(async {
        let desk = Desk::new(60, &[]);
        let asked = |desk: &Desk| {
            desk.with(|server, _| {
                let count = |endpoint| server.log().count(endpoint);
                (count(ApiEndpoint::Status), count(ApiEndpoint::TicketType))
            })
        };
        // Both lists are forbidden at first: the numbers of every row are unknown.
        desk.inject("status:status=403");
        desk.inject("tickettype:status=403");
        desk.good().await;
        assert_eq!(asked(&desk), (1, 1), "asked for once, though every row has unknown numbers");
        assert_eq!(desk.number("SELECT COUNT(*) FROM tickets WHERE STATUS = CAST(STATUS_ID AS TEXT)"), 60);
        for (after, expected) in [(30, (0, 0)), (31, (1, 1)), (30, (0, 0))] {
            minutes(after).await;
            desk.forget();
            desk.with(|server, now| drop(server.edit_some(3, now)));
            desk.good().await;
            assert_eq!(asked(&desk), expected, "{after} minutes later");
        }
        // They come back: every ticket gets its name in one transaction.
        desk.heal();
        minutes(61).await;
        desk.with(|server, now| drop(server.edit_some(3, now)));
        desk.good().await;
        desk.assert_nothing_lost("the names are back");
        let renamed = "SELECT COUNT(DISTINCT observed_at) FROM changes WHERE reason = 'status_renamed'";
        assert_eq!(desk.number(renamed), 1);
        minutes(23 * 60).await;
        desk.forget();
        desk.good().await;
        assert_eq!(asked(&desk), (0, 0), "known numbers are asked for daily only");
        minutes(2 * 60).await;
        desk.good().await;
        assert_eq!(asked(&desk), (2, 1), "a day later: all statuses, and which of them are open");
    });
}

/// A permission that is taken away may empty a list; what its numbers were called stays known.
#[test]
fn an_empty_list_of_names_renames_nothing() {
    virtually(async {
        let desk = Desk::new(60, &[]);
        desk.good().await;
        let (names, changes) = (desk.texts("SELECT NAME FROM statuses ORDER BY ID"), desk.changes());
        desk.alter(Some(|url, _| url.path().ends_with("tatus").then(|| b"[]".to_vec())));
        minutes(24 * 60).await;
        desk.good().await;
        assert_eq!(desk.verdict("status_names"), "empty");
        assert_eq!(desk.texts("SELECT NAME FROM statuses ORDER BY ID"), names);
        assert_eq!(desk.changes(), changes, "records although nothing changed");
    });
}

/// A column of the server that is called otherwise one day must not look like tickets of another type.
#[test]
fn rows_without_a_type_are_not_outside_of_a_filter() {
    virtually(async {
        let mut desk = Desk::new(60, &[]);
        desk.settings.ticket_types = vec!["Incident".to_owned()];
        desk.good().await;
        let stored = wanted(&desk, &[1]);
        desk.alter(Some(|url, body| {
            let text = std::str::from_utf8(body).ok()?;
            let renamed = || text.replace("\"tickettype_id\"", "\"kind_id\"").into_bytes();
            url.path().starts_with("/api/tickets").then(renamed)
        }));
        minutes(60).await;
        desk.with(|server, now| drop(server.edit_some(20, now)));
        desk.full().await;
        assert_eq!(desk.number("SELECT COUNT(*) FROM tickets"), stored);
        assert_eq!(desk.number("SELECT COUNT(*) FROM changes WHERE op = 'd'"), 0);
    });
}

/// What leaves because it is of another type now counts for the brake like all that leaves.
#[test]
fn tickets_that_are_of_another_type_all_at_once_trip_the_brake() {
    virtually(async {
        let mut desk = Desk::new(200, &["type_filter=ignored"]);
        desk.settings.ticket_types = vec!["Incident".to_owned()];
        desk.good().await;
        let (stored, ids) = (wanted(&desk, &[1]), desk.ids());
        assert!(30 < stored, "{stored} are too few for a brake");
        desk.with(|server, now| ids.iter().for_each(|id| server.edit(*id, Edit::TicketType(3), now)));
        minutes(60).await;
        let braked = desk.sync_until(desk.by_hand(), std::future::pending()).await.unwrap();
        assert!(matches!(braked.outcome, RunOutcome::DeleteGuard { .. }), "{braked:?}");
        assert_eq!(desk.number("SELECT COUNT(*) FROM changes WHERE op = 'd'"), 0);
        desk.settings.accept_deletes = true;
        desk.full().await;
        assert_eq!(desk.number("SELECT COUNT(*) FROM tickets"), 0, "accepted, and they are still here");
    });
}
