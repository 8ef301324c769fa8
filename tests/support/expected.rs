//! Expected values written by hand: `X.expected.tsv` beside `X.json`.

use std::collections::HashMap;

use halosync::ticket::{ATTRIBUTES, AttributeValue};

/// One line: the expected value of an attribute of a ticket.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) uid: i64,
    /// The position of the attribute in [`ATTRIBUTES`].
    pub(crate) position: usize,
    pub(crate) value: AttributeValue,
    /// Whether the value is reported; `None` where the file has no such column.
    pub(crate) rejected: Option<bool>,
}

impl Expected {
    pub(crate) fn attribute(&self) -> &'static str {
        ATTRIBUTES[self.position].name
    }
}

/// All lines of `<page>.expected.tsv`.
pub(crate) fn expected(page: &str) -> Vec<Expected> {
    let positions: HashMap<_, _> =
        ATTRIBUTES.iter().enumerate().map(|(position, attribute)| (attribute.name, position)).collect();
    let name = format!("{page}.expected.tsv");
    let text = String::from_utf8(super::page(&name)).expect("UTF-8");
    let mut lines = text.lines();
    let columns: Vec<_> = lines.next().expect("a header").split('\t').collect();
    assert_eq!(columns[..3], ["UID", "ATTRIBUTE", "VALUE"], "{name}");
    lines
        .map(|line| {
            let cells: Vec<_> = line.split('\t').collect();
            assert_eq!(cells.len(), columns.len(), "{name}: {line}");
            Expected {
                uid: cells[0].parse().expect("a UID"),
                position: *positions.get(cells[1]).unwrap_or_else(|| panic!("{name}: no attribute {line}")),
                value: value(cells[2]),
                rejected: cells.get(3).map(|cell| *cell == "1"),
            }
        })
        .collect()
}

fn value(cell: &str) -> AttributeValue {
    if cell == "NULL" {
        AttributeValue::Null
    } else if cell.starts_with('"') {
        AttributeValue::Text(serde_json::from_str(cell).expect("a JSON string"))
    } else if cell.contains('.') {
        AttributeValue::Real(cell.parse().expect("a real number"))
    } else {
        AttributeValue::Integer(cell.parse().expect("an integer"))
    }
}
