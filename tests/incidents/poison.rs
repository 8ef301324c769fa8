//! Pages that cannot be read because of one row.

use halo_simulator::{Edit, Server};
use halosync::sync::{RunOutcome, RunReport, RunSettings, SyncError};
use rstest::rstest;

use crate::support::virtual_env::{VirtualEnv, advance_minutes, is_incremental, with_paused_time};

/// Has the server send a row that no repair turns into JSON.
fn break_row(env: &VirtualEnv, id: i64) {
    env.with_server(|server, _| server.set_raw_row(id, format!(r#"{{"id":{id},"summary":"#)));
}

/// A run that ends incomplete because of one ticket.
async fn run_without(env: &VirtualEnv, settings: RunSettings, id: i64) -> RunReport {
    let report = env.run_until(settings, std::future::pending()).await.unwrap();
    assert_eq!(report.outcome, RunOutcome::Incomplete(format!("1 ticket cannot be read yet: {id}")));
    report
}

fn pending(env: &VirtualEnv) -> Vec<String> {
    env.texts("SELECT UID || ' ' || reason || ' ' || attempts FROM pending_fetches WHERE kind = 'ticket'")
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
            let broken = ids[position];
            break_row(&env, broken);
            run_without(&env, env.settings.clone(), broken).await;
            assert_eq!(stored_ids(&env), without(&ids, &[broken]), "position {position}");
            assert_eq!(env.texts("SELECT outcome FROM scans"), ["verified"], "position {position}");
            assert_eq!(pending(&env), [format!("{broken} unreadable 1")], "position {position}");
            assert_eq!(env.number("SELECT COUNT(*) FROM rejects"), 0, "position {position}");
            assert!(
                page_sizes(&env).contains(&"1".to_owned()),
                "position {position}: the page was not read row by row"
            );
            env.with_server(|server, _| server.clear_raw_row(broken));
            advance_minutes(4).await;
            run_without(&env, env.settings.clone(), broken).await;
            advance_minutes(2).await;
            env.run_ok().await;
            assert_eq!(pending(&env), [""; 0], "position {position}");
            env.assert_matches_server(&format!("position {position}"));
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
        run_without(&env, env.full_scan_settings(), ids[17]).await;
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
        assert!(is_incremental(&run_without(&env, env.settings.clone(), ids[70]).await));
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
        run_without(&env, env.settings.clone(), giant).await;
        assert_eq!(stored_ids(&env), without(&ids, &[giant]));
        assert_eq!(env.texts("SELECT outcome FROM scans"), ["verified"]);
        // It is not asked for again in the run that met it.
        assert_eq!(pending(&env), [format!("{giant} too_large 1")]);
        env.limit_body_bytes(2_000_000);
        advance_minutes(6).await;
        env.run_ok().await;
        env.assert_matches_server("the row fits");
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

/// The page that is read in parts is longer than the list, or than what the server sends at once.
#[rstest]
#[case::rows_past_the_end_repeat(&["page_past_end=last"])]
#[case::page_cap(&["page_cap=11"])]
#[case::both(&["page_cap=11", "page_past_end=last"])]
fn unparsable_rows_are_read_past_on_every_server(#[case] knobs: &[&str]) {
    with_paused_time(async {
        let mut env = VirtualEnv::new(15, knobs);
        env.settings.page_size = 13;
        let ids = env.server_ids();
        break_row(&env, ids[0]);
        break_row(&env, ids[14]);
        let report = env.run().await.unwrap();
        let reason = format!("2 tickets cannot be read yet: {}, {}", ids[0], ids[14]);
        assert_eq!(report.outcome, RunOutcome::Incomplete(reason), "{knobs:?}");
        assert_eq!(stored_ids(&env), without(&ids, &[ids[0], ids[14]]));
        assert!(report.moved_watermark);
    });
}
