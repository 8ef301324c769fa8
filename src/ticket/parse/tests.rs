use super::*;
use crate::ticket::{ATTRIBUTES, AttributeValue};
use proptest::prelude::*;

const PAGE: &[u8] = include_bytes!("../../../fixtures/pages/list-plain-envelope.json");

fn parse(rows: &str) -> ParsedPage {
    ParsedPage::parse(format!("{{\"tickets\":[{rows}]}}").as_bytes()).unwrap()
}

fn value(ticket: &Ticket, attribute: &str) -> AttributeValue {
    let position = ATTRIBUTES.iter().position(|it| it.name == attribute).unwrap();
    ticket.values()[position].clone()
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::Text(text.to_owned())
}

#[test]
fn ids_are_numbers_or_digits_as_text_from_1_to_2_to_the_53() {
    let page = parse(
        r#"{"id":"12"},{"id":18.0},{"id":9007199254740992},{"id":0},{"id":-5},{"id":"-5"},{"id":"+5"},{"id":"1e2"},
           {"id":"07"},{"id":" 7"},{"id":9007199254740993},{"id":9007199254740993.0},{"id":null},{},7"#,
    );
    let ids: Vec<_> = page.tickets.iter().map(Ticket::id).collect();
    assert_eq!(ids, [12, 18, 1 << 53]);
    assert_eq!((page.rejected_rows.len(), page.rows_received), (12, 15));
    assert_eq!(value(&page.tickets[0], "UID"), AttributeValue::Integer(12));
}

#[test]
fn rejected_row_names_the_ticket_before_it() {
    let page = parse(r#"{"summary":"a"},{"id":3},{"id":null},{"id":"x"},{"id":4}"#);
    let after: Vec<_> = page.rejected_rows.iter().map(|it| it.after_id).collect();
    assert_eq!(after, [None, Some(3), Some(3)]);
    assert_eq!(page.rejected_rows[1].rejected.raw, r#"{"id":null}"#);
}

#[test]
fn number_in_a_text_attribute_keeps_its_spelling() {
    let page = parse(
        r#"{"id":1,"userdef1":"x"},{"userdef1":1.50,"id":2,"userdef2":-0.0,"userdef3":7,"userdef4":true}"#,
    );
    let ticket = &page.tickets[1];
    assert_eq!(value(ticket, "USER_DEF_1"), text("1.50"));
    assert_eq!(value(ticket, "USER_DEF_2"), text("-0.0"));
    assert_eq!(value(ticket, "USER_DEF_3"), text("7"));
    assert_eq!(value(ticket, "USER_DEF_4"), text("true"));
    assert_eq!(ticket.rejected_values(), []);
    let single = parse_ticket(br#"{"id":2,"userdef1":1.50}"#).unwrap();
    assert_eq!(value(&single, "USER_DEF_1"), text("1.50"));
}

#[test]
fn of_a_repeated_property_the_last_value_counts() {
    let page = parse(
        r#"{"id":1,"cost":"n/a","cost":2,"userdef1":[1],"userdef1":1.0,"userdef2":1.0,"userdef2":[2]}"#,
    );
    let ticket = &page.tickets[0];
    assert_eq!(value(ticket, "COST"), AttributeValue::Real(2.0));
    assert_eq!(value(ticket, "USER_DEF_1"), text("1.0"));
    let [(position, rejected)] = ticket.rejected_values() else { panic!("{:?}", ticket.rejected_values()) };
    assert_eq!((ATTRIBUTES[*position].name, rejected.raw.as_str()), ("USER_DEF_2", "[2]"));
}

#[test]
fn of_two_rows_with_equal_stamps_the_order_does_not_decide() {
    let row =
        |summary: &str| format!(r#"{{"id":1,"last_update":"2026-01-01T00:00:00","summary":"{summary}"}}"#);
    let one = parse(&format!("{},{}", row("a"), row("b"))).tickets;
    let other = parse(&format!("{},{}", row("b"), row("a"))).tickets;
    assert_eq!((one.len(), &one), (1, &other));
    let later = r#"{"id":1,"last_update":"2026-01-01T00:00:00.003","summary":"later"}"#;
    for rows in [format!("{},{later}", row("a")), format!("{later},{}", row("a"))] {
        assert_eq!(value(&parse(&rows).tickets[0], "NAME"), text("later"));
    }
}

#[test]
fn custom_fields_that_are_no_array_tell_nothing() {
    for (property, expected) in [
        ("", (false, false)),
        (r#","customfields":null"#, (false, true)),
        (r#","customfields":{}"#, (false, true)),
        (r#","customfields":"none""#, (false, true)),
        (r#","customfields":[]"#, (true, false)),
    ] {
        let page = parse(&format!(r#"{{"id":1{property}}}"#));
        let ticket = &page.tickets[0];
        let found = (ticket.custom_fields().is_some(), ticket.has_unreadable_custom_fields());
        assert_eq!(found, expected, "{property}");
    }
}

#[test]
fn parts_of_a_page_are_joined_and_a_readable_row_wins() {
    let unreadable = |id| UnreadableTicket { id, reason: UnreadableReason::Invalid };
    let mut page = parse(r#"{"id":1},{"id":3}"#);
    page.add_unreadable(unreadable(2));
    page.add_unreadable(unreadable(2));
    page.add_unreadable(unreadable(4));
    page.append(parse(r#"{"x":1},{"id":4},{"id":3}"#));
    assert_eq!(page.tickets.iter().map(Ticket::id).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(page.unreadable, [unreadable(2)]);
    assert_eq!((page.rows_received, page.rejected_rows[0].after_id), (8, Some(3)));
}

/// A ticket that disappears between two parts moves a row to the part before, where nobody asks for it any more.
#[test]
fn count_of_a_page_in_parts_is_the_highest_one() {
    let part = |count: &str| ParsedPage::parse(format!(r#"{{{count}"tickets":[]}}"#).as_bytes()).unwrap();
    let mut page = ParsedPage::default();
    for (count, expected) in [
        ("", None),
        ("\"record_count\":99,", Some(99)),
        ("\"record_count\":100,", Some(100)),
        ("\"record_count\":99,", Some(100)),
    ] {
        page.append(part(count));
        assert_eq!(page.record_count, expected);
    }
}

#[test]
fn deleted_is_read_like_any_boolean() {
    for (json, deleted) in
        [("true", true), ("\"True\"", true), ("false", false), ("{\"a\":true}", false), ("null", false)]
    {
        let ticket = parse_ticket(format!(r#"{{"id":1,"deleted":{json}}}"#).as_bytes()).unwrap();
        assert_eq!(ticket.is_deleted(), deleted, "{json}");
    }
}

#[test]
fn page_of_more_than_a_thousand_rows_is_refused_at_once() {
    let page = |rows: usize| format!("{{\"tickets\":[{}{{}}]}}", "{},".repeat(rows - 1));
    assert_eq!(ParsedPage::parse(page(1_000).as_bytes()).unwrap().rejected_rows.len(), 1_000);
    let error = ParsedPage::parse(page(2_000_000).as_bytes()).unwrap_err();
    assert!(matches!(error, ParseError::TooLong { max: 1_000 }), "{error:?}");
}

#[test]
fn nested_values_need_neither_memory_nor_stack() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for property in ["deleted", "status_id", "customfields", "other"] {
        assert_eq!(parse(&format!(r#"{{"id":1,"{property}":{deep}}}"#)).tickets.len(), 1, "{property}");
    }
    let page = format!(r#"{{"record_count":{deep},"tickets":[]}}"#);
    assert_eq!(ParsedPage::parse(page.as_bytes()).unwrap().record_count, None);
    for (count, expected) in [
        ("9007199254740992", Some(1 << 53)),
        ("9007199254740993", None),
        ("9223372036854775808", None),
        ("\"18446744073709551615\"", None),
        ("1e300", None),
        ("-1", None),
        ("2.5", None),
    ] {
        let page = format!(r#"{{"record_count":{count},"tickets":[]}}"#);
        assert_eq!(ParsedPage::parse(page.as_bytes()).unwrap().record_count, expected, "{count}");
    }
}

#[test]
fn second_list_in_one_answer_is_an_error() {
    let error = ParsedPage::parse(br#"{"tickets":[{"id":1}],"tickets":[{"id":2}]}"#).unwrap_err();
    assert!(matches!(error, ParseError::UnexpectedShape { .. }), "{error:?}");
}

proptest! {
    #[test]
    fn parsing_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (ParsedPage::parse(&bytes), parse_ticket(&bytes), parse_field_definitions(&bytes));
    }

    #[test]
    fn damaged_page_is_an_error_or_a_page_and_never_a_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut: prop::sample::Index,
    ) {
        let mut bytes = PAGE.to_vec();
        for (position, byte) in damage {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(page) = ParsedPage::parse(&bytes) {
            prop_assert!(page.tickets.len() + page.rejected_rows.len() <= page.rows_received);
        }
        bytes.truncate(cut.index(bytes.len()));
        let _ = ParsedPage::parse(&bytes);
    }
}

#[test]
fn count_that_falls_between_two_parts_is_noticed() {
    let part = |count, id| {
        ParsedPage::parse(format!("{{\"record_count\":{count},\"tickets\":[{{\"id\":{id}}}]}}").as_bytes())
            .unwrap()
    };
    for (counts, fell) in [([3, 3], false), ([3, 4], false), ([3, 2], true)] {
        let mut page = ParsedPage::default();
        page.append(part(counts[0], 1));
        page.append(part(counts[1], 2));
        assert_eq!((page.count_fell, page.record_count), (fell, counts.into_iter().max()), "{counts:?}");
    }
}

#[test]
fn unmapped_fields_of_all_rows_are_found_only_where_they_are_looked_for() {
    let json = br#"{"record_count":2,"folders":[],"tickets":[
        {"id":1,"summary":"x","customfields":[],"deleted":false,"dateclosed":null,"mood":"calm","score":1e999,"big":{"in":1}},
        7,{"id":2,"mood":null,"mo\u006fd2":[1],"summary":3}]}"#;
    let page = ParsedPage::parse_and_search(json, FieldSearch::On).unwrap();
    let found = page.unmapped.unwrap();
    let found: Vec<_> = found.iter().map(|(name, types)| (name, types[0].as_str(), types.len())).collect();
    assert_eq!(
        found,
        [("big", "object", 1), ("mood", "string", 1), ("mood2", "array", 1), ("score", "number", 1)]
    );
    let without = ParsedPage::parse(json).unwrap();
    assert_eq!((without.unmapped, without.repaired), (None, page.repaired));
    assert_eq!(without.tickets, page.tickets);
    let (ticket, found) =
        parse_ticket_and_search(br#"{"id":1,"deleted":true,"steps":[]}"#, FieldSearch::On).unwrap();
    assert!(ticket.is_deleted());
    assert_eq!(found.unwrap().iter().map(|it| it.0).collect::<Vec<_>>(), ["steps"]);
}
