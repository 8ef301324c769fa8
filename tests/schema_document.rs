//! `docs/schema.md`: every table, view and column of a database, with the comments of the migration.
//!
//! `UPDATE_GOLDEN=1 cargo test --test schema_document` writes it again.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;

use halosync::ticket::ATTRIBUTES;
use support::made_database::MadeDatabase;

const MIGRATION: &str = include_str!("../migrations/V1__tickets.sql");

/// Views whose columns without a comment are those of another object.
const BASES: [(&str, &str); 7] = [
    ("ticket_overview", "tickets"),
    ("open_tickets", "ticket_overview"),
    ("closed_tickets", "ticket_overview"),
    ("overdue_tickets", "ticket_overview"),
    ("deleted_tickets", "tickets"),
    ("ticket_history", "changes"),
    ("ticket_custom_fields", "custom_fields"),
];

/// What the migration does not create.
const OTHERS: [(&str, &str); 2] = [
    (
        "tickets_fts",
        "The full-text index over `NAME` and `DESCRIPTION` of `tickets`, if `full_text` is on; its `rowid` is `UID`. The \
         tables `tickets_fts_…` belong to it.",
    ),
    ("refinery_schema_history", "The migrations that made this database; of the library that runs them."),
];

/// A statement of the migration that creates something.
#[derive(Default)]
struct Described {
    /// The comment above it.
    about: String,
    /// The comments of its columns.
    columns: BTreeMap<String, String>,
}

/// Adds a line of a comment to what it says so far.
fn append(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(line.trim());
}

/// The last name in a line of SQL.
fn last_name(code: &str) -> &str {
    let code = code.trim_end().trim_end_matches([',', ';', '"']);
    let start = code.rfind(|it: char| !it.is_alphanumeric() && it != '_').map_or(0, |at| at + 1);
    &code[start..]
}

fn first_name(code: &str) -> &str {
    let code = code.trim_start().trim_start_matches('"');
    code.split(|it: char| !it.is_alphanumeric() && it != '_').next().unwrap()
}

/// Reads the comments of the migration: those above an object, and those behind a column, which go on in lines that are
/// indented further. In a table a comment may also stand above its column.
fn comments() -> BTreeMap<String, Described> {
    let mut objects = BTreeMap::<String, Described>::new();
    let (mut above, mut object, mut column, mut is_table) =
        (String::new(), None::<String>, None::<String>, false);
    let mut above_column = String::new();
    for line in MIGRATION.lines() {
        let (code, comment) = line.split_once("--").map_or((line, None), |(code, it)| (code, Some(it)));
        if line.trim().is_empty() {
            (above, object, column) = (String::new(), None, None);
        } else if let Some(rest) =
            ["TABLE", "VIEW"].iter().find_map(|it| line.strip_prefix(&format!("CREATE {it} ")))
        {
            let name = first_name(rest).to_owned();
            is_table = line.starts_with("CREATE TABLE");
            objects.insert(
                name.clone(),
                Described { about: std::mem::take(&mut above), ..Described::default() },
            );
            object = Some(name);
        } else if line.starts_with("--") {
            append(&mut above, comment.unwrap());
        } else if let Some(described) = object.as_ref().and_then(|name| objects.get_mut(name)) {
            let indent = code.len() - code.trim_start().len();
            match (comment, &column) {
                (Some(comment), Some(column)) if code.trim().is_empty() && 20 <= code.len() => {
                    let text =
                        described.columns.get_mut(column).unwrap_or_else(|| panic!("no column for {line}"));
                    append(text, comment);
                }
                (Some(comment), _) if code.trim().is_empty() => {
                    column = None;
                    append(&mut above_column, comment);
                }
                (comment, _) => {
                    let name = if is_table { first_name(code) } else { last_name(code) };
                    let mut about = if is_table && indent == 4 {
                        std::mem::take(&mut above_column)
                    } else {
                        String::new()
                    };
                    append(&mut about, comment.unwrap_or_default());
                    column = comment.filter(|_| !name.is_empty()).map(|_| name.to_owned());
                    if !about.trim().is_empty() && !name.is_empty() {
                        described.columns.insert(name.to_owned(), about.trim().to_owned());
                    }
                    if !is_table {
                        above_column.clear();
                    }
                }
            }
        }
    }
    objects
}

/// The description of a column, by its own comment, else by that of the column it is taken from.
fn about(objects: &BTreeMap<String, Described>, object: &str, column: &str) -> Option<String> {
    if let Some(text) = objects.get(object).and_then(|it| it.columns.get(column)) {
        return Some(text.clone());
    }
    if object == "tickets" {
        let attribute = ATTRIBUTES.iter().find(|it| it.name == column)?;
        return Some(format!("{} (`{}`)", attribute.about, attribute.source.property()));
    }
    let (_, base) = BASES.iter().find(|(view, _)| *view == object)?;
    about(objects, base, column)
}

#[test]
fn schema_is_described_as_the_migration_says() {
    let database = MadeDatabase::new("");
    let objects = comments();
    let mut page = "# Tables and views\n\nEvery table, view and column of the database; begin with the views. \
                    [queries.md](queries.md) says how to query it, and\n[questions.md](questions.md) has the SQL for common questions. \
                    Times are UTC text such as `2026-11-22T11:58:51.000Z`. NULL means\nthat a value is not known, or that there is \
                    none. Write to no table: halosync undoes what it notices. This page is generated from\nthe comments of the \
                    schema.\n"
        .to_owned();
    let mut missing = Vec::new();
    for (kind, title) in [("view", "Views"), ("table", "Tables")] {
        page += &format!("\n## {title}\n");
        let names = database.rows(&format!(
            "SELECT name FROM sqlite_master WHERE type = '{kind}' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             AND name NOT LIKE 'tickets\\_fts\\_%' ESCAPE '\\' ORDER BY rowid"
        ));
        for name in names {
            let other = OTHERS.iter().find(|(other, _)| *other == name);
            let text = other.map_or_else(|| objects.get(&name).map_or("", |it| &it.about), |(_, text)| text);
            if text.is_empty() {
                missing.push(name.clone());
            }
            page += &format!("\n### {name}\n\n{}\n", text.replace('<', "\\<"));
            if other.is_some() {
                continue;
            }
            let columns =
                database.rows(&format!("SELECT name || ' | ' || type FROM pragma_table_xinfo('{name}')"));
            let columns = columns.iter().map(|it| it.split_once(" | ").unwrap());
            // Three views have the columns of a fourth one.
            let base = BASES.iter().find(|(view, base)| *view == name && *base == "ticket_overview");
            let has_own = |column: &str| objects.get(&name).is_some_and(|it| it.columns.contains_key(column));
            let own: Vec<_> = columns.filter(|(column, _)| base.is_none() || has_own(column)).collect();
            if base.is_some() {
                page += "\nIts columns are those of [ticket_overview](#ticket_overview)";
                page += if own.is_empty() { ".\n" } else { ", and:\n" };
            }
            if own.is_empty() {
                continue;
            }
            page += if kind == "table" {
                "\n| column | type | meaning |\n|---|---|---|\n"
            } else {
                "\n| column | meaning |\n|---|---|\n"
            };
            for (column, column_type) in own {
                let Some(about) = about(&objects, &name, column) else {
                    missing.push(format!("{name}.{column}"));
                    continue;
                };
                let column_type = if kind == "table" { format!(" {column_type} |") } else { String::new() };
                page += &format!(
                    "| `{column}` |{column_type} {} |\n",
                    about.replace('|', "\\|").replace('<', "\\<")
                );
            }
        }
    }
    assert_eq!(missing, [""; 0], "these have no comment in migrations/V1__tickets.sql");
    let unused: Vec<_> = objects
        .iter()
        .flat_map(|(name, described)| described.columns.keys().map(move |column| (name, column)))
        .filter(|(name, column)| {
            let sql = format!("SELECT 1 FROM pragma_table_xinfo('{name}') WHERE name = '{column}'");
            database.rows(&sql).is_empty()
        })
        .collect();
    assert_eq!(unused, [], "comments that belong to no column");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write("docs/schema.md", &page).unwrap();
    }
    let current = fs::read_to_string("docs/schema.md").unwrap_or_default();
    assert!(current == page, "schema.md is not current: UPDATE_GOLDEN=1 cargo test --test schema_document");
}
