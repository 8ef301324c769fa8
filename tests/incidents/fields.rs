//! Custom fields: told by the list, or asked for ticket by ticket where it does not tell them; owed until they are here.

use std::time::Duration;

use halo_simulator::{ApiEndpoint, Edit};
use halosync::sync::SyncError;
use rstest::rstest;
use serde_json::json;

use crate::desk::{Desk, follows, minutes, virtually};

/// A desk that copies custom fields.
fn desk(tickets: u32, knobs: &[&str]) -> Desk {
    let mut desk = Desk::new(tickets, knobs);
    desk.settings.scope.custom_fields = true;
    desk
}

fn debts(desk: &Desk) -> Vec<String> {
    desk.texts("SELECT reason || ' after ' || attempts FROM pending_fetches ORDER BY UID")
}

fn type_into(desk: &Desk, id: i64, field: i64, text: &str) {
    desk.with(|server, now| {
        server.edit(id, Edit::CustomField { field, value: json!(text), display: text.to_owned() }, now);
    });
}

#[rstest]
#[case::the_list_tells_them(&[], "listed", 0)]
#[case::no_list_of_fields(&["field_info=off"], "listed", 0)]
#[case::a_forbidden_list_of_fields(&["fieldinfo:status=403"], "listed", 0)]
#[case::the_list_does_not_know_the_parameter(&["include_custom_fields=ignored"], "one_by_one", 120)]
#[case::neither(&["include_custom_fields=ignored", "field_info=off"], "one_by_one", 120)]
#[case::the_list_tells_something_else(&["listed_fields=display"], "one_by_one", 120)]
#[case::the_list_leaves_out_what_is_empty(&["unfilled_fields=left_out"], "listed", 0)]
fn custom_fields_are_right_on_every_server_and_cost_single_requests_only_where_they_must(
    #[case] knobs_or_faults: &[&str],
    #[case] verdict: &str,
    #[case] at_least: u64,
) {
    virtually(async {
        let (faults, knobs): (Vec<&str>, Vec<&str>) = knobs_or_faults.iter().partition(|it| it.contains(':'));
        let desk = desk(120, &knobs);
        for fault in faults {
            desk.inject(fault);
        }
        desk.good().await;
        desk.assert_equal("the first pass");
        assert_eq!(desk.verdict("custom_fields"), verdict);
        let compared = 2 * 15 + 8;
        let singles = desk.singles();
        assert!(
            (at_least..=at_least + compared).contains(&singles),
            "{singles} single tickets were asked for"
        );
        assert_eq!(debts(&desk), [""; 0]);

        minutes(30).await;
        let ids = desk.ids();
        for id in &ids[20..27] {
            type_into(&desk, *id, 121, &format!("CC-{id}"));
        }
        minutes(1).await;
        desk.forget();
        assert!(follows(&desk.good().await));
        desk.assert_equal("seven tickets changed");
        let expected = if at_least == 0 { 0 } else { 7 };
        assert_eq!(desk.singles(), expected, "single tickets asked for after seven changes");
        let logged = desk.texts(
            "SELECT json_extract(changed, '$.\"CUSTOM.121\"[1]') FROM changes
             WHERE json_extract(changed, '$.\"CUSTOM.121\"[1]') LIKE 'CC-%' AND run_id = 2 ORDER BY UID",
        );
        let typed: Vec<_> = ids[20..27].iter().map(|id| format!("CC-{id}")).collect();
        assert_eq!(logged, typed, "the change log");

        minutes(30).await;
        desk.forget();
        let changes = desk.changes();
        desk.good().await;
        assert_eq!((desk.lists(), desk.singles(), desk.changes()), (1, 0, changes), "a quiet pass");
        desk.full().await;
        assert_eq!((desk.singles(), desk.changes()), (0, changes), "a full walk that finds nothing changed");
    });
}

/// Where the list names no fields for a ticket that has none, a comparison shows that this is what it means.
#[test]
fn tickets_that_hold_nothing_and_of_which_the_list_says_nothing_are_not_asked_for_alone() {
    virtually(async {
        let desk = desk(120, &["unfilled_fields=left_out"]);
        let ids = desk.ids();
        desk.with(|server, now| {
            for (id, field) in ids[..60]
                .iter()
                .flat_map(|id| [120, 121, 122, 123, 124, 125, 126, 127, 131].map(|it| (*id, it)))
            {
                server.edit(id, Edit::CustomField { field, value: json!(""), display: String::new() }, now);
            }
        });
        minutes(60).await;
        desk.good().await;
        desk.assert_equal("half of them hold nothing");
        assert_eq!(desk.verdict("custom_fields"), "listed_unless_empty");
        assert_eq!((desk.singles(), debts(&desk)), (15, vec![]), "single tickets, all for the comparison");

        minutes(30).await;
        type_into(&desk, ids[10], 121, "CC-1");
        minutes(1).await;
        desk.good().await;
        desk.with(|server, now| {
            server.edit(
                ids[10],
                Edit::CustomField { field: 121, value: json!(""), display: String::new() },
                now,
            );
        });
        minutes(1).await;
        desk.forget();
        desk.good().await;
        desk.assert_equal("typed and emptied");
        assert_eq!(desk.singles(), 0);
    });
}

#[test]
fn ten_thousand_tickets_with_custom_fields_cost_a_hundred_and_thirty_requests() {
    virtually(async {
        let mut desk = desk(10_000, &[]);
        desk.settings.page_size = 100;
        desk.good().await;
        assert!(desk.requests() <= 130, "{} requests", desk.requests());
        assert_eq!(desk.number("SELECT COUNT(DISTINCT UID) FROM custom_fields"), 10_000);
        assert_eq!(debts(&desk), [""; 0]);
    });
}

/// Four hundred fields do not fit into one query; each ticket gets those of every part.
#[rstest]
fn a_query_that_would_be_too_long_is_split_and_every_field_arrives(
    #[values("named", "left_out")] unfilled: &str,
) {
    virtually(async {
        let desk = desk(25, &[&format!("unfilled_fields={unfilled}")]);
        let ids = desk.ids();
        desk.with(|server, _| {
            for field in 1_000..1_400 {
                server.define_field(field, &format!("CFnumber{field}"), "One of many");
            }
        });
        for (id, field) in ids.iter().zip((1_000..1_400).step_by(16)) {
            type_into(&desk, *id, field, "typed");
        }
        minutes(60).await;
        // One changes between the parts of its page: what it holds is asked for alone.
        let changing = ids[14];
        desk.before_list(6, move |server, now| {
            let edit = Edit::CustomField { field: 1_399, value: json!("late"), display: "late".into() };
            server.edit(changing, edit, now);
        });
        desk.good().await;
        let longest = desk.asked().iter().map(String::len).max();
        assert!(longest <= Some(1_800), "a query of {longest:?} characters");
        desk.wait_and_follow().await;
        desk.assert_equal("four hundred fields");
    });
}

#[test]
fn a_field_that_is_defined_later_arrives_by_the_next_day() {
    virtually(async {
        let desk = desk(60, &[]);
        desk.good().await;
        minutes(120).await;
        let ids = desk.ids();
        desk.with(|server, _| server.define_field(900, "CFAsset", "Asset"));
        type_into(&desk, ids[7], 900, "Printer 7");
        desk.good().await;
        minutes(24 * 60).await;
        assert!(!follows(&desk.good().await), "no full walk asked for the new field");
        desk.assert_equal("a new field");
        minutes(5).await;
        assert!(follows(&desk.good().await), "and then the changes are followed again");
    });
}

#[test]
fn custom_fields_are_switched_on_and_off_and_the_log_tells_both() {
    virtually(async {
        let mut desk = desk(40, &[]);
        desk.settings.scope.custom_fields = false;
        desk.good().await;
        minutes(30).await;
        assert_eq!(desk.number("SELECT COUNT(*) FROM custom_fields"), 0);

        desk.settings.scope.custom_fields = true;
        assert!(!follows(&desk.good().await), "switched on, it followed");
        desk.assert_equal("switched on");
        minutes(30).await;

        desk.settings.scope.custom_fields = false;
        let mark = desk.covered_until();
        assert!(follows(&desk.good().await), "switched off, the position is lost");
        assert!(mark <= desk.covered_until());
        for table in ["custom_fields", "pending_fetches", "field_definitions"] {
            assert_eq!(desk.number(&format!("SELECT COUNT(*) FROM {table}")), 0, "{table}");
        }
        let told = "SELECT COUNT(*) FROM changes WHERE json_extract(changed, '$.\"CUSTOM.120\"') IS NOT NULL";
        let on = desk.number(&format!("{told} AND reason IS NULL"));
        let off = desk.number(&format!("{told} AND reason = 'custom_fields_off'"));
        assert_eq!((on, off), (40, 40), "tickets whose field appears in the log, and disappears");

        minutes(30).await;
        desk.settings.scope.custom_fields = true;
        desk.forget();
        assert!(!follows(&desk.good().await), "switched on again, it followed");
        let defined = desk.with(|server, _| server.log().count(ApiEndpoint::FieldInfo));
        assert_eq!(defined, 1, "how often the definitions were asked for");
        desk.assert_equal("switched on again");
    });
}

#[test]
fn inc_57_and_58_a_detail_that_fails_is_a_debt_that_outlives_the_mark_and_is_paid_later() {
    virtually(async {
        let mut desk = desk(60, &["include_custom_fields=ignored"]);
        desk.inject("ticket:status=500");
        let report = desk.good().await;
        assert!(desk.covered_until().is_some(), "INC-57: the mark waits for the details: {report:?}");
        assert_eq!(debts(&desk).len(), 60, "INC-57: {:?}", debts(&desk));
        assert_eq!(desk.number("SELECT COUNT(*) FROM tickets"), 60);
        let tried =
            desk.number("SELECT COUNT(*) FROM pending_fetches WHERE attempts = 1 AND reason = 'unavailable'");
        assert!((1..60).contains(&tried), "INC-58: {tried} were tried before the others were left for later");

        // The next pass tries once more; what fails again waits for five minutes, and is paid then.
        desk.heal();
        desk.settings.parallel_requests = 1;
        let first = 60 - tried + 1;
        desk.inject(&format!("ticket@{first}..{}:status=500", first + 5));
        minutes(1).await;
        desk.good().await;
        assert_eq!(debts(&desk), ["unavailable after 2"]);
        minutes(1).await;
        desk.good().await;
        assert_eq!(debts(&desk), ["unavailable after 2"], "it is not due yet");
        minutes(5).await;
        desk.good().await;
        assert_eq!(debts(&desk), [""; 0]);
        desk.assert_equal("INC-57");
    });
}

#[test]
fn debts_that_failed_take_a_quarter_of_a_window_and_fresh_ones_as_much_as_they_need() {
    virtually(async {
        let mut desk = desk(100, &["include_custom_fields=ignored"]);
        desk.settings.parallel_requests = 32;
        desk.inject("ticket:html=200");
        desk.good().await;
        assert_eq!(desk.number("SELECT COUNT(*) FROM pending_fetches WHERE attempts = 1"), 100);
        desk.heal();
        desk.settings.requests_per_window = 100;
        for left in [75, 50] {
            minutes(60).await;
            desk.forget();
            desk.good().await;
            assert_eq!(desk.singles(), 25, "single tickets in a pass");
            assert_eq!(debts(&desk).len(), left);
        }
    });
}

#[test]
fn a_refused_detail_is_tried_again_at_full_walks_only() {
    virtually(async {
        let desk = desk(20, &["include_custom_fields=ignored"]);
        desk.inject("ticket:status=403");
        desk.good().await;
        assert_eq!(debts(&desk), ["unreadable after 1"; 20]);
        assert_eq!(desk.number("SELECT unreadable FROM sync_health"), 20);
        desk.heal();
        minutes(60).await;
        desk.forget();
        assert!(follows(&desk.good().await));
        assert_eq!(desk.singles(), 0, "asked for again by a following pass");
        desk.full().await;
        assert_eq!(debts(&desk), [""; 0]);
        desk.assert_equal("the refusal is over");
    });
}

/// A ticket that cannot be found when its fields are asked for: the debt becomes an absence. It comes back unchanged, and
/// its fields are still not known.
#[test]
fn a_debt_of_a_ticket_that_vanishes_is_owed_again_when_it_returns() {
    virtually(async {
        let desk = desk(30, &["include_custom_fields=ignored", "hidden_get=404"]);
        desk.good().await;
        minutes(30).await;
        let id = desk.ids()[4];
        type_into(&desk, id, 121, "CC-new");
        desk.inject("ticket:status=404");
        minutes(1).await;
        desk.good().await;
        let absent = "SELECT UID || ' ' || status FROM unlisted_tickets";
        assert_eq!((debts(&desk), desk.texts(absent)), (vec![], vec![format!("{id} missing")]));

        desk.heal();
        desk.with(|server, _| server.hide(&[id]));
        minutes(60).await;
        desk.good().await;
        assert_eq!(
            desk.number("SELECT COUNT(*) FROM unlisted_tickets"),
            1,
            "a following pass concludes nothing"
        );
        desk.with(|server, _| server.unhide(&[id]));
        minutes(1).await;
        desk.full().await;
        assert_eq!((debts(&desk), desk.texts(absent)), (vec![], vec![]));
        desk.assert_equal("the ticket is back");
    });
}

#[test]
fn a_detail_of_an_older_version_is_not_stored_over_a_newer_row() {
    virtually(async {
        let desk = desk(12, &["include_custom_fields=ignored", "detail_cache_s=7200"]);
        desk.good().await;
        minutes(30).await;
        let id = desk.ids()[3];
        type_into(&desk, id, 121, "CC-newer");
        minutes(1).await;
        desk.good().await;
        assert_eq!(debts(&desk), ["stale after 1"]);
        minutes(180).await;
        desk.good().await;
        assert_eq!(debts(&desk), [""; 0]);
        desk.assert_equal("the cache is over");
    });
}

#[test]
fn a_pass_that_is_stopped_while_it_reads_details_owes_the_rest() {
    virtually(async {
        let desk = desk(60, &["include_custom_fields=ignored", "latency_ms=1000"]);
        // When the second batch is under way: 15 were compared, twice because they seemed wrong, and 16 make a batch.
        let world = std::sync::Arc::clone(&desk.world);
        let stop = async move {
            while world.with(|server, _| server.log().count(ApiEndpoint::Ticket)) < 2 * 15 + 16 + 5 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let ended = desk.sync_until(desk.settings.clone(), stop).await;
        assert!(matches!(ended, Err(SyncError::Stopped)), "it was not stopped");
        let owed = debts(&desk).len();
        assert_eq!(owed, 60 - 16, "owed after one batch");
        minutes(1).await;
        desk.forget();
        assert!(follows(&desk.good().await), "the mark did not move with the walk");
        assert_eq!(desk.singles(), 44, "the rest alone is asked for");
        desk.assert_equal("stopped and gone on");
    });
}

/// A list that knew the parameter and refuses it from some day on: one pass fails, the next one finds out why, and goes on
/// ticket by ticket.
#[test]
fn a_list_that_begins_to_refuse_custom_fields_fails_one_pass_and_no_more() {
    virtually(async {
        let desk = desk(40, &[]);
        desk.good().await;
        assert_eq!(desk.verdict("custom_fields"), "listed");
        minutes(30).await;
        type_into(&desk, desk.ids()[4], 121, "CC-new");
        desk.refuse(Some(|url| url.query().is_some_and(|query| query.contains("include_custom_fields"))));
        assert!(desk.sync().await.is_err(), "the list was refused, and nobody noticed");
        minutes(5).await;
        desk.good().await;
        assert_eq!((desk.verdict("custom_fields").as_str(), debts(&desk)), ("one_by_one", vec![]));
        desk.assert_equal("ticket by ticket");
        desk.assert_fields_equal("ticket by ticket");

        // Any other failure is no reason to believe that: one request more, and the list tells them as before.
        let other = self::desk(40, &[]);
        other.good().await;
        minutes(30).await;
        other.inject("list@x9:status=503");
        assert!(other.sync().await.is_err());
        other.heal();
        other.forget();
        other.good().await;
        assert_eq!((other.verdict("custom_fields").as_str(), other.lists()), ("listed", 2));
        other.good().await;
        assert_eq!(other.lists(), 3, "the list was tried again although nothing had failed");
    });
}
