//! Compares the table of attributes in the code with the specification, the database schema, the header of
//! exports, the documentation and recorded responses of the server.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use halosync::config::{Format, FormatOptions};
use halosync::export::RowWriter;
use halosync::reference::{ReferenceRow, STATUSES, parse_reference_list};
use halosync::store::{Store, StoreOptions};
use halosync::ticket::attribute::{self, ATTRIBUTE_COUNT, STATUS};
use halosync::ticket::parse::ParsedPage;
use halosync::ticket::{ATTRIBUTES, Attribute, AttributeValue, ValueKind};

mod support;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn attribute_table_matches_the_specification() {
    let text = file("fixtures/attributes.tsv");
    let mut lines = text.lines();
    let header: Vec<_> = lines.next().expect("a header").split('\t').collect();
    let column = |name| header.iter().position(|it| *it == name).expect(name);
    let columns = [column("attribute"), column("json_field"), column("kind")];
    let specified: Vec<[&str; 3]> = lines
        .map(|line| {
            let cells: Vec<_> = line.split('\t').collect();
            columns.map(|column| cells[column])
        })
        .collect();
    let declared: Vec<[&str; 3]> =
        ATTRIBUTES.iter().map(|it| [it.name, it.source.property(), it.kind.as_str()]).collect();
    for (row, (specified, declared)) in specified.iter().zip(&declared).enumerate() {
        assert_eq!(specified, declared, "row {} of fixtures/attributes.tsv (left) and of the table", row + 1);
    }
    assert_eq!(specified.len(), ATTRIBUTE_COUNT, "the table has {ATTRIBUTE_COUNT} rows");
}

/// Returns the statement that adds an attribute to an existing database.
fn alter_table(attribute: &Attribute) -> String {
    let name = match attribute.name {
        "TABLE" => "\"TABLE\"",
        name => name,
    };
    let bare = attribute.name;
    let check = match attribute.kind {
        ValueKind::Boolean => format!("CHECK ({name} IN (0, 1))"),
        ValueKind::Timestamp => format!("CHECK (length({name}) = 24)"),
        ValueKind::Integer => format!("CONSTRAINT \"{bare} is an integer\" CHECK ({name} | 0 = {name})"),
        ValueKind::Real => format!("CONSTRAINT \"{bare} is a number\" CHECK ({name} < '')"),
        ValueKind::Text | ValueKind::Clock => {
            format!("CONSTRAINT \"{bare} is a text\" CHECK ({name} < x'')")
        }
    };
    format!("ALTER TABLE tickets ADD COLUMN {name} {} {check};", attribute.kind.column_type())
}

/// The constraints avoid `typeof`, which is slow, and must accept the same values. There is one exception, which no server
/// can send: an integer column takes the real number -2^63, because it equals an integer.
#[test]
fn columns_accept_exactly_the_values_of_their_type() {
    const VALUES: [&str; 33] = [
        "NULL",
        "0",
        "-1",
        "1",
        "5.0",
        "1.5",
        "-0.5",
        "0.1",
        "1e300",
        "9e999",
        "-9e999",
        "9.3e18",
        "4503599627370497.5",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "''",
        "' '",
        "'-'",
        "'abc'",
        "'12'",
        "' 12 '",
        "'1.5'",
        "'1e3'",
        "'0x10'",
        "'9223372036854775808'",
        "'a' || char(0)",
        "x''",
        "x'00'",
        "x'31'",
        "x'ff'",
        "CAST('12' AS BLOB)",
        "zeroblob(9)",
    ];
    let folder = tempfile::tempdir().unwrap();
    let connection = new_database(folder.path());
    for attribute in ATTRIBUTES.iter().filter(|attribute| attribute.name != "UID") {
        let accepted = match attribute.kind {
            ValueKind::Integer => ["integer", "null"],
            ValueKind::Real => ["real", "null"],
            ValueKind::Text | ValueKind::Clock => ["text", "null"],
            ValueKind::Boolean | ValueKind::Timestamp => continue,
        };
        let plain = format!(
            "DROP TABLE IF EXISTS plain; CREATE TEMP TABLE plain (v {})",
            attribute.kind.column_type()
        );
        for value in VALUES {
            connection.execute_batch(&format!("{plain}; INSERT INTO plain VALUES ({value})")).unwrap();
            let found: String =
                connection.query_row("SELECT typeof(v) FROM plain", [], |row| row.get(0)).unwrap();
            let sql = format!("REPLACE INTO tickets (UID, \"{}\") VALUES (7, {value})", attribute.name);
            let stored = connection.execute(&sql, []).map_err(|error| error.to_string());
            assert_eq!(stored.is_ok(), accepted.contains(&&*found), "{sql}, {found}: {stored:?}");
            let says_which = |error: String| error.contains(&format!("{} is a", attribute.name));
            assert!(stored.err().is_none_or(says_which), "{sql}");
        }
    }
}

/// An empty database of the present schema.
fn new_database(folder: &Path) -> rusqlite::Connection {
    let path = folder.join("halosync.db");
    let options = StoreOptions {
        busy_timeout: std::time::Duration::ZERO,
        full_text: false,
        index_last_modified: false,
        now: halosync::app::now(),
    };
    Store::open(&path, &options).unwrap().close().unwrap();
    rusqlite::Connection::open(&path).unwrap()
}

#[test]
fn schema_has_exactly_the_attributes_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let connection = new_database(folder.path());
    let mut statement =
        connection.prepare("SELECT name, type FROM pragma_table_info('tickets') ORDER BY cid").unwrap();
    let columns: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    let missing: Vec<_> = ATTRIBUTES
        .iter()
        .filter(|attribute| columns.iter().all(|(name, _)| name != attribute.name))
        .map(alter_table)
        .collect();
    assert!(missing.is_empty(), "columns are missing: add a NEW migration with\n{}", missing.join("\n"));
    let declared: Vec<_> =
        ATTRIBUTES.iter().map(|it| (it.name.to_owned(), it.kind.column_type().to_owned())).collect();
    assert_eq!(columns, declared, "columns of `tickets` (left) and attributes of the table");
}

#[test]
fn export_header_has_the_attributes_of_the_table() {
    let written = RowWriter::new(
        FormatOptions::exact(Format::Csv),
        "tickets",
        &halosync::ticket::delta_columns(),
        Vec::new(),
    )
    .unwrap();
    let written = written.finish().unwrap();
    let written = String::from_utf8(written).unwrap();
    let names: Vec<_> = ATTRIBUTES.iter().map(|attribute| attribute.name).collect();
    assert_eq!(
        written,
        format!("_seq,_op,_observed_at,_reason,{},_extra,_custom_fields\r\n", names.join(","))
    );
    assert_eq!(
        written,
        file("fixtures/exports/header.csv"),
        "consumers rely on this header: a new column needs a new version of it"
    );
}

#[test]
fn attribute_documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/attributes.md");
    let document = attribute::render_markdown();
    let current = fs::read_to_string(&path).unwrap_or_default();
    if current != document {
        fs::write(&path, document).unwrap();
        panic!(
            "docs/attributes.md was out of date and has been regenerated: review it, commit it, test again"
        );
    }
}

#[test]
fn recorded_page_has_a_value_for_every_attribute() {
    let list = ParsedPage::parse(&support::page("list-full-envelope-with-column-profile.json")).unwrap();
    let statuses = parse_reference_list(STATUSES, &support::page("status-bare-array.json")).unwrap().items;
    let name_of = |it: &ReferenceRow| Some((it.id()?, it.name(STATUSES).map(ToOwned::to_owned)));
    let names = statuses.iter().filter_map(name_of).collect();
    let mut tickets = list.tickets;
    for ticket in &mut tickets {
        assert_eq!(ticket.values()[STATUS], AttributeValue::Null, "a list row has no status name");
        ticket.resolve_status_name(&names);
    }
    let always_null: Vec<_> = (0..ATTRIBUTE_COUNT)
        .filter(|position| tickets.iter().all(|ticket| ticket.values()[*position] == AttributeValue::Null))
        .map(|position| format!("{} ({})", ATTRIBUTES[position].name, ATTRIBUTES[position].source.property()))
        .collect();
    assert!(always_null.is_empty(), "NULL in every row of the page: {always_null:#?}");
}

#[test]
fn every_property_of_the_table_occurs_in_a_recorded_row() {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for entry in fs::read_dir(support::pages()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("list-") {
            continue;
        }
        // Some pages are broken on purpose, and some files are not pages; they add nothing.
        let page: serde_json::Value = serde_json::from_slice(&support::page(&name)).unwrap_or_default();
        let rows = page["tickets"].as_array().cloned().unwrap_or_default();
        seen.extend(rows.iter().filter_map(|row| row.as_object()).flat_map(|row| row.keys().cloned()));
    }
    let never_seen: Vec<_> =
        ATTRIBUTES.iter().map(|it| it.source.property()).filter(|it| !seen.contains(*it)).collect();
    assert!(never_seen.is_empty(), "misspelled? these properties occur in no recorded row: {never_seen:#?}");
}
