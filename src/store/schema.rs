//! Compares the schema of a database with the one that the migrations make.
//!
//! A trigger of another program on our tables can undo what a run writes, for example empty `changes`, and no
//! run would notice. Tables, views and ordinary indexes that users add are allowed. A database that lost one of our tables
//! is not even opened (`identity`).

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::Connection;

use super::{SchemaFault, Store, StoreError, StoreOptions};

/// Objects that exist only with their setting: the full-text index and the index of `SOURCE_LAST_MODIFIED`.
const FULL_TEXT: &str = "tickets_fts";
const DATE_INDEX: &str = "tickets_by_last_modified";

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaComparison {
    /// What is wrong.
    pub faults: Vec<SchemaFault>,
    /// Objects that users added and that are left alone, each as `table NAME`.
    pub additions: Vec<String>,
}

/// A row of `sqlite_master`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SchemaObject {
    kind: String,
    /// The table or view that it belongs to.
    table: String,
    /// The statement that creates it.
    sql: String,
}

type Objects = BTreeMap<String, SchemaObject>;

impl Store {
    /// Compares tables, indexes, triggers and views with those that the migrations make.
    pub fn compare_schema(&self) -> Result<SchemaComparison, StoreError> {
        let found = objects(&self.connection).map_err(|error| error.with_path(&self.path))?;
        Ok(compare(&expected_objects()?, &found))
    }

    /// Checks that no other program changed the schema, and returns the objects that users added.
    ///
    /// # Errors
    /// [`StoreError::SchemaChanged`] with every fault.
    pub fn check_schema(&self) -> Result<Vec<String>, StoreError> {
        let SchemaComparison { faults, additions } = self.compare_schema()?;
        if faults.is_empty() {
            Ok(additions)
        } else {
            Err(StoreError::SchemaChanged { path: self.path.clone(), faults })
        }
    }
}

/// The schema of a new database with all settings on.
fn expected_objects() -> Result<Objects, StoreError> {
    let now = "1980-01-01T00:00:00.000Z";
    let now =
        now.parse().map_err(|_| StoreError::InvalidData { what: format!("invalid timestamp {now:?}") })?;
    let options =
        StoreOptions { busy_timeout: Duration::ZERO, full_text: true, index_last_modified: true, now };
    objects(&Store::in_memory_with(&options)?.connection)
}

fn objects(connection: &Connection) -> Result<Objects, StoreError> {
    // SQLite's own tables, and the indexes that belong to a constraint.
    let mut statement = connection
        .prepare("SELECT name, type, tbl_name, COALESCE(sql, '') FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")?;
    let objects = statement.query_map([], |row| {
        // Some tools lay the statements out anew.
        let sql = without_comments(&row.get::<_, String>(3)?);
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok((row.get(0)?, SchemaObject { kind: row.get(1)?, table: row.get(2)?, sql }))
    })?;
    Ok(objects.collect::<Result<_, _>>()?)
}

/// Removes the comments of a statement, which would hide what follows them on one line.
fn without_comments(sql: &str) -> String {
    let mut kept = String::with_capacity(sql.len());
    let mut quote = None;
    let mut rest = sql.chars().peekable();
    while let Some(character) = rest.next() {
        match quote {
            None if character == '-' && rest.peek() == Some(&'-') => {
                for _ in rest.by_ref().take_while(|it| *it != '\n') {}
                kept.push('\n');
                continue;
            }
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if open == character => quote = None,
            _ => {}
        }
        kept.push(character);
    }
    kept
}

fn compare(expected: &Objects, found: &Objects) -> SchemaComparison {
    let mut comparison = SchemaComparison::default();
    let mut fault = |message: String, statement: Option<String>| {
        comparison.faults.push(SchemaFault { message, statement });
    };
    for (name, object) in expected {
        let is_wanted = match group(name) {
            Some(leader) => found.contains_key(leader),
            None => true,
        };
        let SchemaObject { kind, table, sql } = object;
        let quoted = quote(name);
        // Their statements depend on the versions of SQLite and refinery that made them.
        let is_of_library =
            kind == "table" && (name.starts_with("tickets_fts_") || name == "refinery_schema_history");
        match found.get(name) {
            None if is_wanted => {
                // Of a table the rows are lost, too.
                let statement = (kind != "table").then(|| sql.clone());
                fault(format!("{kind} {name} is missing"), statement);
            }
            Some(other) if !is_of_library && other != object => {
                let statement = match kind.as_str() {
                    "table" => None,
                    _ => Some(format!("DROP {} {quoted}; {sql}", other.kind.to_uppercase())),
                };
                fault(format!("{kind} {name} of {table} was altered"), statement);
            }
            None | Some(_) => {}
        }
    }
    let is_our_table =
        |name: &str| expected.values().any(|object| object.kind == "table" && object.table == name);
    for (name, SchemaObject { kind, table, sql }) in
        found.iter().filter(|(name, _)| !expected.contains_key(*name))
    {
        let drop = || Some(format!("DROP {} {}", kind.to_uppercase(), quote(name)));
        let is_unique = sql.to_uppercase().starts_with("CREATE UNIQUE");
        match kind.as_str() {
            "trigger" if is_our_table(table) => fault(
                format!(
                    "trigger {name} on {table} does not belong to halosync: it can change or undo what is stored"
                ),
                drop(),
            ),
            "index" if is_our_table(table) && is_unique => {
                fault(
                    format!(
                        "index {name} on {table} does not belong to halosync: it can refuse what is stored"
                    ),
                    drop(),
                );
            }
            _ => comparison.additions.push(format!("{kind} {name}")),
        }
    }
    comparison
}

/// The object that an optional object comes and goes with.
fn group(name: &str) -> Option<&'static str> {
    match name {
        DATE_INDEX => Some(DATE_INDEX),
        name if name.starts_with(FULL_TEXT) => Some(FULL_TEXT),
        _ => None,
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
