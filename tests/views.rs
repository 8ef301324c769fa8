//! The views, on rows with known answers.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use rstest::rstest;
use support::made_database::MadeDatabase;

/// Statuses as a server shows them, and the names that tickets need.
const NAMES: &str = "
    INSERT INTO statuses (ID, NAME, CLOSED) VALUES (1, 'New', 0), (2, 'In Progress', 0), (9, 'Closed', 1), (10, 'Solved', 1);
    INSERT INTO ticket_types (ID, NAME, PRESENT) VALUES (1, 'Incident', 0);
    INSERT INTO agents (ID, NAME, PRESENT) VALUES (1, 'Unassigned', 1), (5, 'Ada', 0);
    INSERT INTO teams (ID, NAME) VALUES (3, 'Network');
    INSERT INTO slas (ID, NAME) VALUES (1, 'Gold'), (2, 'Silver');
    INSERT INTO priorities (SLA_ID, PRIORITY_ID, NAME) VALUES
        (1, 1, 'Critical'), (1, 3, 'Medium'), (2, 1, 'Critical'), (2, 3, 'Normal')";

fn database(sql: &str) -> MadeDatabase {
    MadeDatabase::new(&format!("{NAMES}; {sql}"))
}

#[rstest]
#[case::priority_of_its_own_sla("SLA_ID, PRIORITY_ID", "1, 3", "SLA, PRIORITY", "Gold | Medium")]
#[case::the_same_number_in_another_sla("SLA_ID, PRIORITY_ID", "2, 3", "SLA, PRIORITY", "Silver | Normal")]
#[case::no_sla_and_all_agree("SLA_ID, PRIORITY_ID", "0, 1", "SLA, PRIORITY", "NULL | Critical")]
#[case::unknown_sla_even_where_all_agree("SLA_ID, PRIORITY_ID", "7, 1", "SLA, PRIORITY", "NULL | NULL")]
#[case::no_sla_and_they_differ("PRIORITY_ID", "3", "SLA, PRIORITY", "NULL | NULL")]
#[case::unknown_priority("SLA_ID, PRIORITY_ID", "1, 8", "SLA, PRIORITY", "Gold | NULL")]
#[case::agent_who_is_no_longer_listed("AGENT_ID", "5", "AGENT, AGENT_ID", "Ada | 5")]
#[case::nobody("AGENT_ID", "1", "AGENT, AGENT_ID", "NULL | 1")]
#[case::unknown_agent("AGENT_ID", "77", "AGENT, AGENT_ID", "NULL | 77")]
#[case::team_by_its_text("TEAM, TEAM_ID", "'Desk', 3", "TEAM", "Desk")]
#[case::team_by_its_number("TEAM_ID", "3", "TEAM", "Network")]
#[case::team_with_an_empty_text("TEAM, TEAM_ID", "'', 3", "TEAM", "Network")]
#[case::type_that_is_no_longer_listed("TICKET_TYPE_ID", "1", "TICKET_TYPE", "Incident")]
#[case::no_names_at_all(
    "NAME",
    "'x'",
    "TICKET_TYPE, PRIORITY, SLA, AGENT, TEAM, CLOSED",
    "NULL | NULL | NULL | NULL | NULL | 0"
)]
fn overview_names_what_tickets_number(
    #[case] columns: &str,
    #[case] values: &str,
    #[case] asked: &str,
    #[case] expected: &str,
) {
    let database = database(&format!("INSERT INTO tickets (UID, {columns}) VALUES (1, {values})"));
    assert_eq!(database.rows(&format!("SELECT {asked} FROM ticket_overview")), [expected]);
}

#[test]
fn overview_has_every_attribute_and_the_everyday_columns_first() {
    let database = database("INSERT INTO tickets (UID) VALUES (1)");
    let columns = |table: &str| database.rows(&format!("SELECT name FROM pragma_table_info('{table}')"));
    let overview = columns("ticket_overview");
    let missing: Vec<_> = columns("tickets").into_iter().filter(|it| !overview.contains(it)).collect();
    assert_eq!(missing, [""; 0]);
    assert_eq!(
        overview[..19].join(" "),
        "UID NAME STATUS TICKET_TYPE PRIORITY SLA AGENT TEAM CLIENT_NAME SITE_NAME USER_NAME SOURCE_CREATED_DATE CLOSED \
         CLOSED_AT RESPONDED_AT ASSIGNED_AT PARENT_ID AGE_HOURS SOURCE_LAST_MODIFIED"
    );
    assert_eq!(columns("open_tickets"), overview);
    assert_eq!(columns("closed_tickets"), overview);
    assert_eq!(columns("overdue_tickets"), [&overview[..], &["HOURS_OVERDUE".to_owned()]].concat());
}

#[test]
fn closed_is_what_the_server_says_of_the_status_and_else_status_9() {
    let database = database(
        "INSERT INTO tickets (UID, STATUS_ID) VALUES (1, 1), (9, 9), (10, 10), (20, 20), (30, NULL);
         INSERT INTO ticket_extra (UID, CLOSED_AT) VALUES (1, «-1 day»), (9, «-1 day»)",
    );
    let closed = "SELECT UID, CLOSED, CLOSED_AT IS NOT NULL FROM ticket_overview ORDER BY UID";
    let expected = ["1 | 0 | 0", "9 | 1 | 1", "10 | 1 | 0", "20 | 0 | 0", "30 | 0 | 0"];
    assert_eq!(database.rows(closed), expected, "an open ticket has no date of closing, whatever is stored");
    assert_eq!(database.rows("SELECT UID FROM open_tickets ORDER BY 1"), ["1", "20", "30"]);
    assert_eq!(database.rows("SELECT UID FROM closed_tickets ORDER BY 1"), ["9", "10"]);

    database.execute("UPDATE statuses SET CLOSED = NULL");
    assert_eq!(database.rows("SELECT UID FROM closed_tickets"), ["9"]);
    database.execute("DELETE FROM statuses");
    assert_eq!(database.rows("SELECT UID FROM closed_tickets"), ["9"]);
    database.execute("INSERT INTO statuses (ID, NAME, CLOSED) VALUES (9, 'Waiting', 0)");
    assert_eq!(database.rows("SELECT UID FROM closed_tickets"), [""; 0]);
}

#[test]
fn age_is_computed_when_asked_and_ends_when_the_ticket_was_closed() {
    let database = database(
        "INSERT INTO tickets (UID, STATUS_ID, SOURCE_CREATED_DATE, TICKET_AGE) VALUES
             (1, 1, «-36 hours», 99.0), (2, 9, «-100 hours», NULL), (3, 9, «-100 hours», NULL), (4, 1, NULL, 3.0);
         INSERT INTO ticket_extra (UID, CLOSED_AT) VALUES (2, «-52 hours»)",
    );
    let ages = database.rows("SELECT UID, ROUND(AGE_HOURS, 1) FROM ticket_overview ORDER BY UID");
    assert_eq!(ages, ["1 | 36", "2 | 48", "3 | NULL", "4 | NULL"]);
}

#[test]
fn overdue_tickets_are_open_past_their_date_and_neither_on_hold_nor_without_a_service_level() {
    let database = database(
        "INSERT INTO tickets (UID, STATUS_ID, FIX_BY_DATE, ON_HOLD, EXCLUDE_FROM_SLA) VALUES
             (1, 1, «-3 hours», 0, 0), (2, 1, «-2 hours», NULL, NULL), (3, 1, «-1 hour», 1, 0), (4, 1, «-1 hour», 0, 1),
             (5, 9, «-1 hour», 0, 0), (6, 1, «+1 hour», 0, 0), (7, 1, NULL, 0, 0)",
    );
    assert_eq!(
        database.rows("SELECT UID, ROUND(HOURS_OVERDUE, 1) FROM overdue_tickets ORDER BY UID"),
        ["1 | 3", "2 | 2"]
    );
}

/// Change records: `(UID, op, reason, not_before, observed_at, source_last_modified, changed, last_row)`.
fn changes(rows: &str) -> String {
    let columns = "UID, op, reason, not_before, observed_at, source_last_modified, changed, last_row, run_id";
    let rows = rows.replace("),", ", 1),").trim_end().strip_suffix(')').unwrap().to_owned() + ", 1)";
    format!("INSERT INTO changes ({columns}) VALUES {rows}")
}

const INTERVALS: &str = "
    SELECT STATUS_ID, STATUS, substr(since, 6, 8), substr(until, 6, 8), since_known, ROUND(hours), uncertain_hours, end_reason
    FROM status_intervals WHERE UID = 7 ORDER BY COALESCE(until, '9'), since";

#[rstest]
#[case::first_seen_in_its_third_status(
    "(7, 'c', NULL, NULL, '2026-11-01T00:00:00.000Z', NULL, NULL, NULL)",
    "2",
    &["2 | In Progress | NULL | NULL | 0 | NULL | NULL | NULL"]
)]
#[case::a_change_of_which_the_server_says_when(
    r#"(7, 'u', NULL, '2026-11-01T00:00:00.000Z', '2026-11-01T06:00:00.000Z', '2026-11-01T02:00:00.000Z',
        '{"SOURCE_LAST_MODIFIED":["x","y"],"STATUS":["New","In Progress"],"STATUS_ID":[1,2]}', NULL),
       (7, 'u', NULL, NULL, '2026-11-02T06:00:00.000Z', '2026-11-02T02:00:00.000Z',
        '{"SOURCE_LAST_MODIFIED":["x","y"],"STATUS":["In Progress","Closed"],"STATUS_ID":[2,9]}', NULL)"#,
    "9",
    &[
        "1 | New | NULL | 11-01T02 | 0 | NULL | NULL | changed",
        "2 | In Progress | 11-01T02 | 11-02T02 | 1 | 24 | 6 | changed",
        "9 | Closed | 11-02T02 | NULL | 1 | 0 | NULL | NULL",
    ]
)]
#[case::a_change_that_did_not_move_the_last_update(
    r#"(7, 'u', NULL, NULL, '2026-11-02T06:00:00.000Z', '2026-11-01T00:00:00.000Z', '{"STATUS":["New","x"],"STATUS_ID":[1,9]}', NULL)"#,
    "9",
    &["1 | New | NULL | 11-02T06 | 0 | NULL | NULL | changed", "9 | Closed | 11-02T06 | NULL | 1 | 0 | NULL | NULL"]
)]
#[case::a_server_that_went_back(
    r#"(7, 'u', 'went_back', NULL, '2026-11-02T06:00:00.000Z', '2026-10-01T00:00:00.000Z',
        '{"SOURCE_LAST_MODIFIED":["x","y"],"STATUS":["New","x"],"STATUS_ID":[1,9]}', NULL)"#,
    "9",
    &["1 | New | NULL | 11-02T06 | 0 | NULL | NULL | changed", "9 | Closed | 11-02T06 | NULL | 1 | 0 | NULL | NULL"]
)]
#[case::renames_never_count(
    r#"(7, 'u', 'status_renamed', NULL, '2026-11-02T06:00:00.000Z', NULL, '{"STATUS":["Done","Closed"]}', NULL)"#,
    "9",
    &["9 | Closed | NULL | NULL | 0 | NULL | NULL | NULL"]
)]
#[case::names_are_those_of_today_or_the_recorded_ones(
    r#"(7, 'u', NULL, NULL, '2026-11-02T06:00:00.000Z', NULL, '{"STATUS":["Gone","Shut"],"STATUS_ID":[44,9]}', NULL)"#,
    "9",
    &["44 | Gone | NULL | 11-02T06 | 0 | NULL | NULL | changed", "9 | Closed | 11-02T06 | NULL | 1 | 0 | NULL | NULL"]
)]
#[case::a_repair_is_no_change(
    r#"(7, 'u', NULL, NULL, '2026-11-02T06:00:00.000Z', NULL, '{"STATUS":["New","x"],"STATUS_ID":[1,9]}', NULL),
       (7, 'u', 'repaired', NULL, '2026-11-03T06:00:00.000Z', NULL, '{"STATUS":["mine","Closed"],"STATUS_ID":[5,9]}', NULL)"#,
    "9",
    &["1 | New | NULL | 11-02T06 | 0 | NULL | NULL | changed", "9 | Closed | 11-02T06 | NULL | 1 | 0 | NULL | NULL"]
)]
#[case::a_change_that_a_repair_hides(
    r#"(7, 'u', NULL, NULL, '2026-11-02T06:00:00.000Z', NULL, '{"STATUS":["New","x"],"STATUS_ID":[1,2]}', NULL),
       (7, 'u', 'repaired', NULL, '2026-11-03T06:00:00.000Z', NULL, '{"STATUS":["mine","Closed"],"STATUS_ID":[5,9]}', NULL)"#,
    "9",
    &[
        "1 | New | NULL | 11-02T06 | 0 | NULL | NULL | changed",
        "9 | Closed | NULL | NULL | 0 | NULL | NULL | NULL",
        "2 | In Progress | 11-02T06 | NULL | 1 | NULL | NULL | unseen",
    ]
)]
#[case::deleted_and_back(
    r#"(7, 'c', NULL, NULL, '2026-11-01T00:00:00.000Z', NULL, NULL, NULL),
       (7, 'u', NULL, NULL, '2026-11-02T00:00:00.000Z', NULL, '{"STATUS":["New","x"],"STATUS_ID":[1,2]}', NULL),
       (7, 'd', 'merged', NULL, '2026-11-03T00:00:00.000Z', NULL, NULL, '{"STATUS":"x","STATUS_ID":2}'),
       (7, 'c', NULL, NULL, '2026-11-04T00:00:00.000Z', NULL, NULL, NULL)"#,
    "2",
    &[
        "1 | New | NULL | 11-02T00 | 0 | NULL | NULL | changed",
        "2 | In Progress | 11-02T00 | 11-03T00 | 1 | 24 | NULL | merged",
        "2 | In Progress | NULL | NULL | 0 | NULL | NULL | NULL",
    ]
)]
#[case::deleted_after_its_row_was_lost(
    r#"(7, 'u', NULL, NULL, '2026-11-02T00:00:00.000Z', NULL, '{"STATUS":["New","x"],"STATUS_ID":[1,2]}', NULL),
       (7, 'd', 'vanished', NULL, '2026-11-03T00:00:00.000Z', NULL, NULL, NULL)"#,
    "",
    &[
        "1 | New | NULL | 11-02T00 | 0 | NULL | NULL | changed",
        "2 | In Progress | 11-02T00 | 11-03T00 | 1 | 24 | NULL | vanished",
    ]
)]
#[case::a_custom_field_that_only_mentions_it(
    r#"(7, 'u', NULL, NULL, '2026-11-02T00:00:00.000Z', NULL, '{"CUSTOM.1":["\"STATUS_ID\"","x"]}', NULL)"#,
    "2",
    &["2 | In Progress | NULL | NULL | 0 | NULL | NULL | NULL"]
)]
fn status_intervals_never_claim_what_was_not_seen(
    #[case] records: &str,
    #[case] status_now: &str,
    #[case] expected: &[&str],
) {
    let database = database(&changes(records));
    if !status_now.is_empty() {
        database.execute(&format!(
            "INSERT INTO tickets (UID, STATUS_ID, STATUS) VALUES (7, {status_now}, 'old name')"
        ));
    }
    // The length of a stretch that lasts grows.
    let rows = database.rows(
        &INTERVALS
            .replace("ROUND(hours)", "CASE WHEN until IS NULL AND hours > 0 THEN 0 ELSE ROUND(hours) END"),
    );
    assert_eq!(rows, expected);
    // Records that aged out leave unknown beginnings, never others.
    let mut claims =
        database.rows("SELECT UID, STATUS_ID, since, until FROM status_intervals WHERE since_known");
    while !claims.is_empty() {
        database.execute("DELETE FROM changes WHERE seq = (SELECT MIN(seq) FROM changes)");
        let fewer =
            database.rows("SELECT UID, STATUS_ID, since, until FROM status_intervals WHERE since_known");
        assert!(fewer.iter().all(|claim| claims.contains(claim)), "{fewer:?}");
        claims = fewer;
    }
}

#[test]
fn backlog_is_computed_from_dates_and_has_every_day_to_today() {
    let database = database(
        "INSERT INTO tickets (UID, STATUS_ID, SOURCE_CREATED_DATE) VALUES
             (1, 1, «-6 days»), (2, 9, «-6 days»), (3, 9, «-4 days»), (4, 9, «-4 days»), (5, 10, «-1 day»),
             (6, 1, NULL), (7, 9, «-2 days»), (8, 1, «+3 days»);
         INSERT INTO ticket_extra (UID, CLOSED_AT) VALUES (1, «-5 days»), (2, «-4 days»), (3, «-4 days»), (5, «-0 days»),
             (7, «-3 days»)",
    );
    let days = "SELECT julianday(date('now')) - julianday(DAY), OPENED, CLOSED, BACKLOG, UNKNOWN FROM backlog_by_day";
    assert_eq!(
        database.rows(days),
        [
            "6 | 2 | 0 | 2 | 0",
            "5 | 0 | 0 | 2 | 0",
            // One of the two that were opened was closed, too; of the other nobody knows when it was.
            "4 | 2 | 2 | 1 | 1",
            "3 | 0 | 0 | 1 | 1",
            // By its dates it was closed before it was opened.
            "2 | 1 | 1 | 1 | 1",
            "1 | 1 | 0 | 2 | 1",
            "0 | 0 | 1 | 1 | 1",
        ]
    );
    database.execute("DELETE FROM tickets");
    assert_eq!(database.rows("SELECT * FROM backlog_by_day"), [""; 0]);
}

#[test]
fn history_leaves_out_twins_and_bookkeeping_and_keeps_every_event() {
    let database = MadeDatabase::new(&changes(
        r#"(7, 'c', NULL, NULL, '2026-11-01T00:00:00.000Z', NULL, NULL, NULL),
           (7, 'u', NULL, NULL, '2026-11-01T00:00:00.000Z', NULL, '{"SOURCE_LAST_MODIFIED":["a","b"],"LAST_ACTION_DATE":["a","b"],
             "TICKET_AGE":[1.0,2.0],"OPEN_SEARCH_SCORE":[1.0,2.0],"STATUS":["New","Closed"],"STATUS_ID":[1,9],"TEAM":["A","B"],
             "TEAM_ID":[1,2],"CLIENT_NAME":["A","B"],"CLIENT_ID":[1,2],"SITE_NAME":["A","B"],"SITE_ID":[1,2],"USER_NAME":["A","B"],
             "USER_ID":[1,2],"CATEGORY_1":["A","B"],"CATEGORY_1_DISPLAY":["A","B"],"NAME":["a","b"],"ID_SUMMARY":["7: a","7: b"],
             "CUSTOM.5":["3","4"],"CUSTOM.5.DISPLAY":["Low","High"],"EXTRA.CLOSED_AT":[null,"2026"]}', NULL),
           (7, 'u', NULL, NULL, '2026-11-01T00:00:00.000Z', NULL, '{"LAST_ACTION_DATE":["a","b"]}', NULL),
           (7, 'u', NULL, NULL, '2026-11-01T00:00:00.000Z', NULL, '{"STATUS_ID":[1,9],"TEAM_ID":[1,2],"CLIENT_ID":[1,2],"CATEGORY_2_DISPLAY":["A","B"],
             "CUSTOM.5.DISPLAY":["Low","High"]}', NULL),
           (7, 'u', 'repaired', NULL, '2026-11-01T00:00:00.000Z', NULL, '{"NAME":["a","b"]}', NULL),
           (7, 'd', 'deleted', NULL, '2026-11-01T00:00:00.000Z', NULL, NULL, NULL)"#,
    ));
    let history = "SELECT op, attribute, old_value, new_value FROM ticket_history ORDER BY seq, attribute";
    assert_eq!(
        database.rows(history),
        [
            "c | NULL | NULL | NULL",
            "u | CATEGORY_1 | A | B",
            "u | CLIENT_NAME | A | B",
            "u | CUSTOM.5 | 3 | 4",
            "u | EXTRA.CLOSED_AT | NULL | 2026",
            "u | NAME | a | b",
            "u | SITE_NAME | A | B",
            "u | STATUS | New | Closed",
            "u | TEAM | A | B",
            "u | USER_NAME | A | B",
            // Where a twin changed alone, it is the event.
            "u | CATEGORY_2_DISPLAY | A | B",
            "u | CLIENT_ID | 1 | 2",
            "u | CUSTOM.5.DISPLAY | Low | High",
            "u | STATUS_ID | 1 | 9",
            "u | TEAM_ID | 1 | 2",
            "d | NULL | NULL | NULL",
        ]
    );
}

#[test]
fn deleted_tickets_name_their_agent_and_merge_target() {
    let database = database(&changes(
        r#"(7, 'd', 'merged', NULL, '2026-11-01T00:00:00.000Z', NULL, NULL, '{"NAME":"a","AGENT_ID":5,"MERGED_INTO_ID":3}'),
           (8, 'd', 'vanished', NULL, '2026-11-01T00:00:00.000Z', NULL, NULL, '{"NAME":"b","AGENT_ID":1,"MERGED_INTO_ID":0}'),
           (9, 'd', 'vanished', NULL, '2026-11-01T00:00:00.000Z', NULL, NULL, NULL)"#,
    ));
    assert_eq!(
        database.rows("SELECT UID, REASON, NAME, AGENT, MERGED_INTO_ID FROM deleted_tickets ORDER BY UID"),
        ["7 | merged | a | Ada | 3", "8 | vanished | b | NULL | NULL", "9 | vanished | NULL | NULL | NULL"]
    );
}

#[rstest]
#[case::text(0, "'0'", "'0'", "0")]
#[case::empty_text(0, "''", "''", "NULL")]
#[case::text_without_display(0, "'x'", "NULL", "x")]
#[case::memo_that_looks_like_json(1, "'[]'", "''", "[]")]
#[case::selection(2, "'3'", "'Low'", "Low")]
#[case::selection_without_display(2, "'3'", "''", "3")]
#[case::empty_selection(2, "'0'", "''", "NULL")]
#[case::empty_selection_that_is_displayed(2, "'0'", "'0'", "NULL")]
#[case::selections(3, "'[1,2]'", "'Mail, VPN'", "Mail, VPN")]
#[case::empty_selections(3, "'[]'", "''", "NULL")]
#[case::empty_selections_that_are_displayed(3, "'[]'", "'[]'", "NULL")]
#[case::date(4, "'2024-06-20T00:00:00'", "'20/06/2024'", "2024-06-20")]
#[case::date_alone(4, "'2024-06-20'", "'6/20/2024'", "2024-06-20")]
#[case::date_and_time(
    4,
    "'2024-06-20T14:45:16.4926282Z'",
    "'20/06/2024 14:45:16'",
    "2024-06-20T14:45:16.493Z"
)]
#[case::date_with_an_offset(4, "'2024-06-20T14:45:16+02:00'", "''", "2024-06-20T12:45:16.000Z")]
#[case::no_date(4, "'0001-01-01T00:00:00'", "'01/01/0001'", "NULL")]
#[case::no_date_of_1900(4, "'1900-01-01T00:00:00Z'", "'1/1/1900'", "NULL")]
#[case::no_date_with_a_zone(4, "'1899-12-30T00:00:00Z'", "''", "NULL")]
#[case::empty_date(4, "''", "''", "NULL")]
#[case::old_date(4, "'1971-05-03T00:00:00'", "'03/05/1971'", "1971-05-03")]
#[case::date_that_is_none(4, "'next week'", "''", "next week")]
#[case::time(5, "'09:30:00'", "'09:30'", "09:30:00")]
#[case::time_as_a_date(5, "'1900-01-01T09:30:00'", "'09:30'", "09:30:00")]
#[case::no_time(5, "'0001-01-01T00:00:00'", "''", "NULL")]
#[case::checked_box(6, "'true'", "'Yes'", "yes")]
#[case::unchecked_box(6, "'false'", "'No'", "no")]
#[case::unchecked_box_as_a_number(6, "'0'", "''", "no")]
#[case::box_as_text(6, "'True'", "''", "yes")]
#[case::box_that_nobody_has_seen(6, "NULL", "NULL", "NULL")]
#[case::table(7, r#"'[{"part":"x"}]'"#, "''", r#"[{"part":"x"}]"#)]
#[case::empty_table(7, "'[]'", "''", "NULL")]
#[case::rich_text(10, "'<p>x</p>'", "'<p>x</p>'", "<p>x</p>")]
fn empty_custom_fields_are_null_and_dates_are_iso(
    #[case] kind: i64,
    #[case] value: &str,
    #[case] display: &str,
    #[case] expected: &str,
) {
    let database = MadeDatabase::new("INSERT INTO tickets (UID) VALUES (1)");
    let sql = format!(
        "INSERT INTO custom_fields (UID, FIELD_ID, TYPE, VALUE, DISPLAY) VALUES (1, 5, {kind}, {value}, {display})"
    );
    database.execute(&sql);
    assert_eq!(database.rows("SELECT TEXT FROM ticket_custom_fields"), [expected]);
}

#[test]
fn no_view_scans_changes_for_each_ticket_and_open_tickets_are_counted_in_an_index() {
    let database = MadeDatabase::new("");
    for view in database.rows("SELECT name FROM sqlite_master WHERE type = 'view'") {
        database.assert_changes_are_scanned_once(&format!("SELECT * FROM {view}"));
    }
    for view in ["open_tickets", "closed_tickets", "ticket_overview"] {
        let plan = database.plan(&format!("SELECT COUNT(*) FROM {view}"));
        assert!(plan[0].1.contains("USING COVERING INDEX tickets_by_status"), "{view}: {plan:?}");
    }
    for one in ["ticket_overview", "ticket_history", "status_intervals", "open_tickets"] {
        let plan = database.plan(&format!("SELECT * FROM {one} WHERE UID = 7"));
        let scan = plan
            .iter()
            .find(|(_, step)| step.starts_with("SCAN changes") || step.starts_with("SCAN tickets"));
        assert_eq!(scan, None, "{one} of one ticket: {plan:?}");
    }
}

#[rstest]
#[case::correlated("SELECT (SELECT COUNT(*) FROM changes WHERE changes.UID + 0 = t.UID) FROM tickets t")]
#[case::inner_loop("SELECT t.UID FROM tickets t LEFT JOIN changes c ON c.UID + 0 = t.UID")]
#[should_panic(expected = "SCAN c")]
fn scan_of_changes_for_each_ticket_is_noticed(#[case] sql: &str) {
    MadeDatabase::new("").assert_changes_are_scanned_once(sql);
}

/// Words and pairs of words that SQLite learned after 3.31.
const NEWER: [&str; 22] = [
    "strict",
    "iif",
    "unixepoch",
    "timediff",
    "right join",
    "full join",
    "full outer",
    "as materialized",
    "not materialized",
    "returning",
    "distinct from",
    "octet_length",
    "format",
    "concat",
    "concat_ws",
    "string_agg",
    "floor",
    "ceil",
    "jsonb",
    "jsonb_each",
    "nulls",
    "unhex",
];

#[test]
fn migration_and_documented_queries_need_no_newer_sqlite_than_3_31() {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let blocks = |text: &str| -> String {
        text.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
    };
    let texts = [
        ("the migration", read("migrations/V1__tickets.sql")),
        ("questions.md", blocks(&read("docs/questions.md"))),
        ("queries.md", blocks(&read("docs/queries.md"))),
    ];
    for (name, text) in texts {
        assert!(text.contains("SELECT"), "{name}");
        for line in text.lines() {
            let code = line.split("--").next().unwrap();
            let words: Vec<_> = code
                .split(|it: char| !it.is_alphanumeric() && it != '_')
                .filter(|it| !it.is_empty())
                .collect();
            let words = format!(" {} ", words.join(" ").to_lowercase());
            let newer = NEWER.iter().find(|newer| words.contains(&format!(" {newer} ")));
            assert_eq!((newer, code.contains("->")), (None, false), "{name}: {line}");
        }
    }
}
