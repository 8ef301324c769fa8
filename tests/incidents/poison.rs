//! Pages that cannot be read because of one row.

use halo_simulator::{Edit, Server};
use halosync::sync::SyncError;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

/// A row that no repair turns into JSON.
const BROKEN: &str = r#"{"id":1,"summary":"#;

fn break_row(env: &VirtualEnv, id: i64) {
    env.with_server(|server, _| server.set_raw_row(id, BROKEN.to_owned()));
}

fn stored_ids(env: &VirtualEnv) -> Vec<i64> {
    let ids = env.texts("SELECT CAST(UID AS TEXT) FROM tickets ORDER BY UID");
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

fn without(ids: &[i64], gone: &[i64]) -> Vec<i64> {
    ids.iter().copied().filter(|id| !gone.contains(id)).collect()
}

fn page_sizes(env: &VirtualEnv) -> Vec<String> {
    let mut sizes = env.list_parameters("page_size");
    sizes.sort();
    sizes.dedup();
    sizes
}

#[test]
fn unparsable_row_costs_only_itself() {
    // The first row, a row in the middle, and the last row.
    for position in [0, 17, 39] {
        with_paused_time(async {
            let env = VirtualEnv::new(40, &[]);
            let ids = env.server_ids();
            break_row(&env, ids[position]);
            env.run_ok().await;
            assert_eq!(stored_ids(&env), without(&ids, &[ids[position]]), "position {position}");
            assert_eq!(env.texts("SELECT outcome FROM scans"), ["verified"], "position {position}");
            let rejects = env.texts("SELECT reason || ': ' || raw FROM rejects");
            assert_eq!(rejects.len(), 1, "position {position}: {rejects:?}");
            assert!(rejects[0].starts_with("the row cannot be read: "), "position {position}: {rejects:?}");
            assert!(
                page_sizes(&env).contains(&"1".to_owned()),
                "position {position}: the page was not read row by row"
            );
        });
    }
}

#[test]
fn stored_ticket_survives_when_its_row_becomes_unparsable() {
    with_paused_time(async {
        let env = VirtualEnv::new(40, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        let ids = env.server_ids();
        break_row(&env, ids[17]);
        env.with_server(|server, now| server.edit(ids[20], Edit::Agent(1), now));
        env.run_full_ok().await;
        assert_eq!(stored_ids(&env), ids, "a ticket was lost with its row");
        assert_eq!(env.number("SELECT COUNT(*) FROM changes WHERE op = 'd'"), 0);
    });
}

#[test]
fn incremental_scan_continues_past_unparsable_row() {
    with_paused_time(async {
        let env = VirtualEnv::new(200, &[]);
        env.run_ok().await;
        advance_minutes(30).await;
        let ids = env.server_ids();
        let edited = &ids[60..95];
        env.with_server(|server, now| edited.iter().for_each(|id| server.edit(*id, Edit::Agent(1), now)));
        break_row(&env, ids[70]);
        advance_minutes(1).await;
        let before = env.covered_until();
        assert!(is_incremental(&env.run_ok().await));
        assert!(before < env.covered_until(), "the watermark did not move");
        assert_eq!(
            env.number("SELECT COUNT(*) FROM changes WHERE op = 'u'"),
            34,
            "the other rows of the page"
        );
    });
}

#[test]
fn oversized_page_is_read_in_parts() {
    with_paused_time(async {
        let env = VirtualEnv::new(40, &[]);
        let ids = env.server_ids();
        env.with_server(|server, now| {
            for id in &ids {
                server.edit(*id, Edit::Details("x".repeat(5_000)), now);
            }
        });
        // Each row fits, but a page of ten does not.
        env.limit_body_bytes(50_000);
        env.run_ok().await;
        env.assert_matches_server("all rows fit");
        assert_eq!(env.number("SELECT COUNT(*) FROM rejects"), 0);
        assert_eq!(page_sizes(&env), ["10", "5"]);
    });
}

#[test]
fn oversized_row_costs_only_itself() {
    with_paused_time(async {
        let env = VirtualEnv::new(40, &[]);
        let ids = env.server_ids();
        let giant = ids[23];
        env.with_server(|server, now| server.edit(giant, Edit::Details("x".repeat(300_000)), now));
        env.limit_body_bytes(200_000);
        env.run_ok().await;
        assert_eq!(stored_ids(&env), without(&ids, &[giant]));
        assert_eq!(env.texts("SELECT outcome FROM scans"), ["verified"]);
        let expected = format!("the row after ticket {}", ids[22]);
        let rejects = env.texts("SELECT raw FROM rejects");
        assert!(rejects.len() == 1 && rejects[0].starts_with(&expected), "{rejects:?}");
    });
}

#[test]
fn html_response_is_never_read_in_parts() {
    for fault in ["list@page2:html", "list@page2:html=500", "list@page2:status=503", "list@page2:error"] {
        with_paused_time(async {
            let env = VirtualEnv::new(40, &[]);
            env.inject(fault);
            let result = env.run().await;
            assert!(matches!(result, Err(SyncError::Halo(_))), "{fault}: {result:?}");
            assert_eq!(env.covered_until(), None, "{fault}");
            assert_eq!(page_sizes(&env), ["10"], "{fault}");
            let error = env.texts("SELECT error FROM runs").concat();
            assert!(!error.is_empty(), "{fault}: no reason is recorded");
            env.with_server(|server: &mut Server, _| server.clear_faults());
            env.run_ok().await;
            env.assert_matches_server(fault);
        });
    }
}
