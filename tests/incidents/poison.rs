//! Pages that cannot be read because of one row.

use halo_simulator::{Edit, Server};
use halosync::sync::SyncError;

use crate::desk::{Desk, follows, minutes, virtually};

/// No repair makes JSON of it.
const BROKEN: &str = r#"{"id":1,"summary":"#;

fn poison(desk: &Desk, id: i64) {
    desk.with(|server, _| server.set_raw_row(id, BROKEN.to_owned()));
}

fn ids_here(desk: &Desk) -> Vec<i64> {
    let ids = desk.texts("SELECT CAST(UID AS TEXT) FROM tickets ORDER BY UID");
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

fn without(ids: &[i64], gone: &[i64]) -> Vec<i64> {
    ids.iter().copied().filter(|id| !gone.contains(id)).collect()
}

fn sizes(desk: &Desk) -> Vec<String> {
    let mut sizes = desk.asked_for("page_size");
    sizes.sort();
    sizes.dedup();
    sizes
}

#[test]
fn a_row_that_cannot_be_parsed_costs_itself_alone() {
    // On the first page and its first row, in the middle, and the last row of all.
    for place in [0, 17, 39] {
        virtually(async {
            let desk = Desk::new(40, &[]);
            let ids = desk.ids();
            poison(&desk, ids[place]);
            desk.good().await;
            assert_eq!(ids_here(&desk), without(&ids, &[ids[place]]), "place {place}");
            assert_eq!(desk.texts("SELECT outcome FROM scans"), ["verified"], "place {place}");
            let rejects = desk.texts("SELECT reason || ': ' || raw FROM rejects");
            assert_eq!(rejects.len(), 1, "place {place}: {rejects:?}");
            assert!(rejects[0].starts_with("the row cannot be read: "), "place {place}: {rejects:?}");
            assert!(sizes(&desk).contains(&"1".to_owned()), "place {place}: it was not read row by row");
        });
    }
}

#[test]
fn a_row_that_breaks_after_it_was_stored_keeps_its_copy() {
    virtually(async {
        let desk = Desk::new(40, &[]);
        desk.good().await;
        minutes(30).await;
        let ids = desk.ids();
        poison(&desk, ids[17]);
        desk.with(|server, now| server.edit(ids[20], Edit::Agent(1), now));
        desk.full().await;
        assert_eq!(ids_here(&desk), ids, "a ticket was lost with its row");
        assert_eq!(desk.number("SELECT COUNT(*) FROM changes WHERE op = 'd'"), 0);
    });
}

#[test]
fn a_following_walk_goes_on_past_a_row_that_cannot_be_parsed() {
    virtually(async {
        let desk = Desk::new(200, &[]);
        desk.good().await;
        minutes(30).await;
        let ids = desk.ids();
        let edited = &ids[60..95];
        desk.with(|server, now| edited.iter().for_each(|id| server.edit(*id, Edit::Agent(1), now)));
        poison(&desk, ids[70]);
        minutes(1).await;
        let before = desk.covered_until();
        assert!(follows(&desk.good().await));
        assert!(before < desk.covered_until(), "the watermark stands still");
        assert_eq!(
            desk.number("SELECT COUNT(*) FROM changes WHERE op = 'u'"),
            34,
            "the other rows of the page"
        );
    });
}

#[test]
fn a_page_that_is_too_large_is_read_in_parts() {
    virtually(async {
        let desk = Desk::new(40, &[]);
        let ids = desk.ids();
        desk.with(|server, now| {
            for id in &ids {
                server.edit(*id, Edit::Details("x".repeat(5_000)), now);
            }
        });
        // Every row fits, ten of them do not.
        desk.take_in(50_000);
        desk.good().await;
        desk.assert_equal("all rows fit");
        assert_eq!(desk.number("SELECT COUNT(*) FROM rejects"), 0);
        assert_eq!(sizes(&desk), ["10", "5"]);
    });
}

#[test]
fn a_row_that_is_too_large_costs_itself_alone() {
    virtually(async {
        let desk = Desk::new(40, &[]);
        let ids = desk.ids();
        let giant = ids[23];
        desk.with(|server, now| server.edit(giant, Edit::Details("x".repeat(300_000)), now));
        desk.take_in(200_000);
        desk.good().await;
        assert_eq!(ids_here(&desk), without(&ids, &[giant]));
        assert_eq!(desk.texts("SELECT outcome FROM scans"), ["verified"]);
        let told = format!("the row after ticket {}", ids[22]);
        let rejects = desk.texts("SELECT raw FROM rejects");
        assert!(rejects.len() == 1 && rejects[0].starts_with(&told), "{rejects:?}");
    });
}

#[test]
fn a_web_page_is_never_read_in_parts() {
    for fault in ["list@page2:html", "list@page2:html=500", "list@page2:status=503", "list@page2:error"] {
        virtually(async {
            let desk = Desk::new(40, &[]);
            desk.inject(fault);
            let ended = desk.sync().await;
            assert!(matches!(ended, Err(SyncError::Halo(_))), "{fault}: {ended:?}");
            assert_eq!(desk.covered_until(), None, "{fault}");
            assert_eq!(sizes(&desk), ["10"], "{fault}");
            let error = desk.texts("SELECT error FROM runs").concat();
            assert!(!error.is_empty(), "{fault}: nothing is said of why");
            desk.with(|server: &mut Server, _| server.clear_faults());
            desk.good().await;
            desk.assert_equal(fault);
        });
    }
}
