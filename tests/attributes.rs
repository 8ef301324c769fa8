//! Five hands wrote down the 101 attributes: the specification, the schema, the header of the exports,
//! the documentation and the server. These tests hold each against the one table in the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use halosync::config::{Format, FormatOptions};
use halosync::export::RowWriter;
use halosync::store::{Store, StoreOptions};
use halosync::ticket::attribute::{self, ATTRIBUTE_COUNT, STATUS};
use halosync::ticket::parse::{self, ParsedPage};
use halosync::ticket::{ATTRIBUTES, Attribute, AttributeValue, ValueKind};

mod support;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_specification_and_the_table_agree_row_by_row() {
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

/// The line that adds an attribute to an installed database.
fn alter_table(attribute: &Attribute) -> String {
    let name = match attribute.name {
        "TABLE" => "\"TABLE\"",
        name => name,
    };
    let check = match attribute.kind {
        ValueKind::Boolean => format!("{name} IN (0, 1)"),
        ValueKind::Timestamp => format!("length({name}) = 24"),
        ValueKind::Integer => format!("typeof({name}) IN ('integer', 'null')"),
        ValueKind::Real => format!("typeof({name}) IN ('real', 'null')"),
        ValueKind::Text | ValueKind::Clock => format!("typeof({name}) IN ('text', 'null')"),
    };
    format!("ALTER TABLE tickets ADD COLUMN {name} {} CHECK ({check});", attribute.kind.column_type())
}

#[test]
fn the_migrations_build_exactly_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halosync.db");
    let options = StoreOptions {
        busy_timeout: std::time::Duration::ZERO,
        full_text: false,
        index_last_modified: false,
        now: halosync::app::now(),
    };
    Store::open(&path, &options).unwrap().close().unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let mut statement =
        connection.prepare("SELECT name, type FROM pragma_table_info('tickets') ORDER BY cid").unwrap();
    let built: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    let missing: Vec<_> = ATTRIBUTES
        .iter()
        .filter(|attribute| built.iter().all(|(name, _)| name != attribute.name))
        .map(alter_table)
        .collect();
    assert!(missing.is_empty(), "add a NEW migration with\n{}", missing.join("\n"));
    let declared: Vec<_> =
        ATTRIBUTES.iter().map(|it| (it.name.to_owned(), it.kind.column_type().to_owned())).collect();
    assert_eq!(built, declared, "the columns of `tickets` (left) and the table, in order");
}

#[test]
fn the_header_of_an_export_is_the_columns_of_the_table() {
    let written = RowWriter::new(
        FormatOptions::exact(Format::Csv),
        &halosync::ticket::delta_columns(false),
        Vec::new(),
    );
    let written = written.finish().unwrap();
    let written = String::from_utf8(written).unwrap();
    let names: Vec<_> = ATTRIBUTES.iter().map(|attribute| attribute.name).collect();
    assert_eq!(written, format!("_seq,_op,_observed_at,{}\r\n", names.join(",")));
    assert_eq!(
        written,
        file("fixtures/exports/header.csv"),
        "systems that read the exports know this header: a new column goes into a new version of it"
    );
}

#[test]
fn the_documentation_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/attributes.md");
    let document = attribute::render_markdown();
    let there = fs::read_to_string(&path).unwrap_or_default();
    if there != document {
        fs::write(&path, document).unwrap();
        panic!("docs/attributes.md was out of date; it is written anew: look at it, commit it, test again");
    }
}

#[test]
fn a_recorded_page_touches_every_attribute() {
    let list = ParsedPage::parse(&support::page("list-full-envelope-with-column-profile.json")).unwrap();
    let names = parse::parse_reference_items(&support::page("status-bare-array.json")).unwrap();
    let mut tickets = list.tickets;
    for ticket in &mut tickets {
        assert_eq!(ticket.values()[STATUS], AttributeValue::Null, "a list row holds no status name");
        ticket.resolve_status_name(|id| names.iter().find(|it| it.id == id).map(|it| it.name.clone()));
    }
    let untouched: Vec<_> = (0..ATTRIBUTE_COUNT)
        .filter(|position| tickets.iter().all(|ticket| ticket.values()[*position] == AttributeValue::Null))
        .map(|position| format!("{} ({})", ATTRIBUTES[position].name, ATTRIBUTES[position].source.property()))
        .collect();
    assert!(untouched.is_empty(), "NULL in every row of the page: {untouched:#?}");
}

#[test]
fn every_property_of_the_table_was_seen_in_a_recorded_row() {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for entry in fs::read_dir(support::pages()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("list-") {
            continue;
        }
        // What is no JSON adds nothing: some pages are broken on purpose, some files are no pages.
        let page: serde_json::Value = serde_json::from_slice(&support::page(&name)).unwrap_or_default();
        let rows = page["tickets"].as_array().cloned().unwrap_or_default();
        seen.extend(rows.iter().filter_map(|row| row.as_object()).flat_map(|row| row.keys().cloned()));
    }
    let never: Vec<_> =
        ATTRIBUTES.iter().map(|it| it.source.property()).filter(|it| !seen.contains(*it)).collect();
    assert!(never.is_empty(), "a misspelt property would be NULL for ever; never seen: {never:#?}");
}
