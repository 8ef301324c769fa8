//! The queries of `docs/questions.md`, as they stand there, on tickets with known answers.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::made_database::MadeDatabase;

/// Twelve tickets, two more that were deleted, and what happened to some of them.
const WORLD: &str = r#"
    INSERT INTO statuses (ID, NAME, CLOSED) VALUES (1, 'New', 0), (2, 'In Progress', 0), (3, 'Waiting', 0), (9, 'Closed', 1);
    INSERT INTO ticket_types (ID, NAME) VALUES (1, 'Incident'), (2, 'Request');
    INSERT INTO agents (ID, NAME) VALUES (1, 'Unassigned'), (5, 'Ada'), (6, 'Bob');
    INSERT INTO teams (ID, NAME) VALUES (1, 'Desk'), (2, 'Network');
    INSERT INTO slas (ID, NAME) VALUES (1, 'Gold');
    INSERT INTO priorities (SLA_ID, PRIORITY_ID, NAME) VALUES (1, 1, 'High'), (1, 2, 'Low');

    INSERT INTO tickets (UID, NAME, STATUS_ID, STATUS, TICKET_TYPE_ID, AGENT_ID, TEAM, TEAM_ID, CLIENT_ID, CLIENT_NAME, SLA_ID,
        PRIORITY_ID, CATEGORY_1, SOURCE_CREATED_DATE, FIX_BY_DATE, RESPOND_BY_DATE, SOURCE_LAST_MODIFIED, ON_HOLD, MERGED_INTO_ID)
    VALUES
    (101, 'Printer jams', 9, 'Closed', 1, 5, 'Desk', 1, 1, 'Acme', 1, 1, 'Hardware>Printer', '2024-03-04T08:00:00.000Z',
        '2024-03-05T08:00:00.000Z', '2024-03-04T09:00:00.000Z', '2024-03-04T18:00:00.000Z', 0, 0),
    (102, 'No VPN', 9, 'Closed', 1, 5, 'Network', 2, 1, 'Acme', 1, 1, 'Network>VPN', '2024-03-05T08:15:00.000Z',
        '2024-03-06T08:15:00.000Z', '2024-03-05T09:15:00.000Z', '2024-03-07T08:15:00.000Z', 0, 0),
    (103, 'New battery', 9, 'Closed', 2, 6, 'Desk', 1, 2, 'Globex', 1, 2, 'Hardware>Laptop>Battery', '2024-03-05T14:00:00.000Z',
        NULL, NULL, '2024-04-02T14:00:00.000Z', 0, 0),
    (104, 'Screen flickers', 9, 'Closed', 1, 6, 'Desk', 1, 2, 'Globex', 1, 2, NULL, '2024-04-09T08:30:00.000Z',
        '2024-04-10T08:30:00.000Z', NULL, '2024-04-10T08:30:00.000Z', 0, 0),
    (201, 'VPN drops every hour', 1, 'New', 1, 1, 'Desk', 1, 1, 'Acme', 1, 1, 'Network>VPN', «-2 hours»,
        «+6 hours», NULL, «-1 hour», 0, 0),
    (202, 'Mail is slow', 2, 'In Progress', 1, 5, 'Desk', 1, 2, 'Globex', 1, 1, 'Mail', «-72 hours»,
        «-5 hours», NULL, «-1 days», 0, 0),
    (203, 'Order laptops', 3, 'Waiting', 2, 6, 'Network', 2, 1, 'Acme', 1, 2, 'Hardware', «-20 days»,
        «-10 days», NULL, «-16 days», 1, 0),
    (204, 'Old switch', 2, 'In Progress', 2, 5, NULL, 2, 2, 'Globex', 1, 2, 'Network', «-100 days»,
        «-24 hours», NULL, «-40 days», 0, 0),
    (205, 'Wi-Fi is down', 9, 'Closed', 1, 5, 'Network', 2, 1, 'Acme', 1, 1, 'Network>Wi-Fi', «-4 days»,
        «-2 days», NULL, «-1 days», 0, 0),
    (206, 'Mail slow again', 9, 'Closed', 1, 5, 'Desk', 1, 2, 'Globex', 1, 1, 'Mail', «-3 days»,
        NULL, NULL, «-3 days», 0, 202),
    (207, 'Somebody else', 9, 'Closed', 1, 77, 'Desk', 1, 2, 'Globex', 1, 1, 'Mail', «-3 days»,
        NULL, NULL, «-3 days», 0, 0),
    (208, 'Undated', 1, 'New', 1, NULL, NULL, NULL, 2, 'Globex', NULL, NULL, NULL, NULL, NULL, NULL, «-3 days», 0, 0);
    UPDATE tickets SET DESCRIPTION = 'The vpn client asks for the password again and again' WHERE UID = 202;
    INSERT INTO ticket_extra (UID, CLOSED_AT, RESPONDED_AT) VALUES
        (101, '2024-03-04T18:00:00.000Z', '2024-03-04T08:30:00.000Z'),
        (102, '2024-03-07T08:15:00.000Z', '2024-03-05T11:21:00.000Z'),
        (103, '2024-04-02T14:00:00.000Z', NULL),
        (205, «-1 days», NULL), (206, «-3 days», NULL), (207, «-3 days», NULL);
    INSERT INTO custom_fields (UID, FIELD_ID, NAME, LABEL, TYPE, VALUE, DISPLAY) VALUES
        (201, 1, 'CFService', 'Service', 2, '3', 'Remote access'), (201, 2, 'CFCostCentre', 'Cost center', 0, 'CC-7', 'CC-7'),
        (202, 1, 'CFService', 'Service', 2, '0', ''), (202, 2, 'CFCostCentre', 'Cost center', 0, '', '');

    INSERT INTO changes (UID, op, reason, observed_at, not_before, changed, last_row, run_id) VALUES
    (101, 'c', NULL, '2024-03-04T09:00:00.000Z', NULL, NULL, NULL, 1),
    (101, 'u', NULL, '2024-03-04T10:00:00.000Z', '2024-03-04T09:00:00.000Z',
        '{"AGENT_ID":[1,5],"LAST_ACTION_DATE":["a","b"],"STATUS":["New","In Progress"],"STATUS_ID":[1,2]}', NULL, 1),
    (101, 'u', NULL, '2024-03-04T18:00:00.000Z', NULL, '{"STATUS":["In Progress","Closed"],"STATUS_ID":[2,9]}', NULL, 1),
    (102, 'u', NULL, '2024-03-05T10:15:00.000Z', NULL, '{"STATUS":["New","In Progress"],"STATUS_ID":[1,2]}', NULL, 1),
    (102, 'u', NULL, '2024-03-07T08:15:00.000Z', NULL, '{"STATUS":["In Progress","Closed"],"STATUS_ID":[2,9]}', NULL, 1),
    (302, 'u', NULL, '2024-03-10T00:00:00.000Z', NULL, '{"STATUS":["New","Waiting"],"STATUS_ID":[1,3]}', NULL, 1),
    (302, 'd', 'merged', '2024-03-12T00:00:00.000Z', NULL, NULL,
        '{"UID":302,"NAME":"Paper jams","STATUS":"Waiting","STATUS_ID":3,"AGENT_ID":6,"CLIENT_NAME":"Acme","MERGED_INTO_ID":101}', 1),
    (301, 'd', 'vanished', '2024-03-20T00:00:00.000Z', NULL, NULL,
        '{"UID":301,"NAME":"A test","STATUS":"New","STATUS_ID":1,"AGENT_ID":1,"CLIENT_NAME":"Acme","MERGED_INTO_ID":0}', 1),
    (204, 'u', NULL, «-90 days», NULL, '{"STATUS":["New","In Progress"],"STATUS_ID":[1,2]}', NULL, 1),
    (202, 'c', NULL, «-72 hours», NULL, NULL, NULL, 1),
    (202, 'u', NULL, «-48 hours», NULL, '{"STATUS":["In Progress","Closed"],"STATUS_ID":[2,9],"LAST_ACTION_DATE":["a","b"]}', NULL, 1),
    (202, 'u', NULL, «-24 hours», NULL, '{"AGENT_ID":[6,5],"STATUS":["Closed","In Progress"],"STATUS_ID":[9,2]}', NULL, 1)
"#;

/// The queries in the order of the document: the heading above each, and the expected rows.
const ANSWERS: [(&str, &[&str]); 24] = [
    (
        "Open tickets by team and age",
        &["Desk | 2 | 1.5 | 3", "Network | 2 | 60 | 100", "(no team) | 1 | NULL | NULL"],
    ),
    (
        "How old are the open tickets?",
        &[
            "1: under a day | 1",
            "2: under a week | 1",
            "3: under 30 days | 1",
            "5: older | 1",
            "not known | 1",
        ],
    ),
    (
        "Which tickets are overdue?",
        &["204 | Old switch | Network | Ada | Low | 24", "202 | Mail is slow | Desk | Ada | High | 5"],
    ),
    (
        "Which closed tickets breached their service level?",
        &["2024-03 | 1 | 1 | 0", "2024-04 | 0 | 0 | 1", "not known | 0 | 0 | 1"],
    ),
    (
        "Which closed tickets breached their service level?",
        &["102 | No VPN | Network | 2024-03-07T08:15:00.000Z | 2024-03-06T08:15:00.000Z | 24"],
    ),
    (
        "How long does it take to close a ticket?",
        &[
            "Incident | 2024-03 | 2 | 29 | 48",
            "Incident | not known | 1 | NULL | NULL",
            "Request | 2024-04 | 1 | 672 | 672",
        ],
    ),
    ("How quickly do we respond?", &["High | 2 | 1.8 | 1 | 1 | 0", "Low | 0 | NULL | 0 | 0 | 2"]),
    (
        "How many tickets does each client open in a month?",
        &["Acme | 2024-03 | 2", "Globex | 2024-03 | 1", "Globex | 2024-04 | 1"],
    ),
    ("Which tickets were reopened?", &["202 | Mail is slow | Closed | In Progress | 24"]),
    ("How does the backlog develop?", &["2024-03-31 | 1 | 0", "2024-04-30 | 0 | 1", "2024-05-31 | 0 | 1"]),
    (
        "Do we close as many tickets as come in?",
        &[
            "2024-03-04 | 3 | 2",
            "2024-03-11 | 0 | 0",
            "2024-03-18 | 0 | 0",
            "2024-03-25 | 0 | 0",
            "2024-04-01 | 0 | 1",
        ],
    ),
    ("Who closed the most tickets?", &["5 | Ada | 2", "77 | NULL | 1"]),
    (
        "How much does each agent have to do?",
        &["(nobody) | 2 | 0 | 0 | 0.1", "Ada | 2 | 0 | 2 | 100", "Bob | 1 | 1 | 0 | 20"],
    ),
    ("What are the tickets about?", &["Network | 4 | 2", "Hardware | 3 | 1", "Mail | 3 | 1", "NULL | 2 | 1"]),
    ("What are the tickets about?", &["Hardware | 1", "Hardware>Laptop>Battery | 1", "Hardware>Printer | 1"]),
    (
        "What happened to one ticket?",
        &[
            "2024-03-04T09:00:00.000Z | NULL | c | NULL | NULL | NULL",
            "2024-03-04T10:00:00.000Z | 2024-03-04T09:00:00.000Z | u | AGENT_ID | Unassigned | Ada",
            "2024-03-04T10:00:00.000Z | 2024-03-04T09:00:00.000Z | u | STATUS | New | In Progress",
            "2024-03-04T18:00:00.000Z | NULL | u | STATUS | In Progress | Closed",
        ],
    ),
    (
        "How long do tickets stay in each status?",
        &[
            "Waiting | 1 | 48 | 48 | 0",
            "In Progress | 2 | 27 | 46 | 1",
            "Closed | 1 | 24 | 24 | 0",
            "New | 0 | NULL | NULL | 5",
        ],
    ),
    (
        "Which open tickets has nobody touched?",
        &[
            "204 | Old switch | In Progress | Network | Ada | 40",
            "203 | Order laptops | Waiting | Network | Bob | 16",
        ],
    ),
    (
        "Which open tickets have no agent?",
        &["201 | VPN drops every hour | Desk | 2", "208 | Undated | NULL | NULL"],
    ),
    (
        "Which tickets were merged?",
        &["206 | Mail slow again | 202 | Mail is slow | 1", "302 | Paper jams | 101 | Printer jams | 0"],
    ),
    (
        "Which tickets were deleted?",
        &["301 | A test | vanished | New | NULL | Acme", "302 | Paper jams | merged | Waiting | Bob | Acme"],
    ),
    ("When do tickets come in?", &["2 | 08 | 2", "1 | 08 | 1", "2 | 14 | 1"]),
    (
        "How do I see custom fields as columns?",
        &[
            "201 | VPN drops every hour | New | Remote access | CC-7",
            "202 | Mail is slow | In Progress | NULL | NULL",
            "203 | Order laptops | Waiting | NULL | NULL",
            "204 | Old switch | In Progress | NULL | NULL",
            "208 | Undated | New | NULL | NULL",
        ],
    ),
    (
        "Which tickets contain a word?",
        &[
            "102 | No VPN | Closed | NULL",
            "201 | VPN drops every hour | New | NULL",
            "202 | Mail is slow | In Progress | The [vpn] client asks for the password again…",
        ],
    ),
];

/// The queries of a document, each with the heading above it.
fn queries(page: &str) -> Vec<(&str, &str)> {
    let sections = page.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap());
    let queries = sections.flat_map(|(heading, text)| {
        text.split("```sql\n").skip(1).map(move |rest| (heading, rest.split("```").next().unwrap()))
    });
    queries.collect()
}

#[test]
fn documented_questions_have_the_known_answers() {
    let page = fs::read_to_string("docs/questions.md").unwrap();
    let database = MadeDatabase::new(WORLD);
    let answers: Vec<_> =
        queries(&page).into_iter().map(|(heading, query)| (heading, database.rows(query))).collect();
    for ((heading, rows), (expected_heading, expected)) in answers.iter().zip(ANSWERS) {
        assert_eq!(
            (*heading, &rows[..]),
            (expected_heading, &expected.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..])
        );
    }
    assert_eq!(answers.len(), ANSWERS.len());
}

#[test]
fn documented_questions_scan_changes_once() {
    let page = fs::read_to_string("docs/questions.md").unwrap();
    let database = MadeDatabase::new("");
    for (_, query) in queries(&page) {
        database.assert_changes_are_scanned_once(query);
    }
}
