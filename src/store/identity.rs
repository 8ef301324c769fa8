//! Tells what a database file is, by its pragmas, its tables and its migrations, before anything is changed in it.
//!
//! A file that is not ours is never touched. One of ours can be more than intact or damaged: a kill may have ended its
//! creation, and a text dump (`.dump`, `.recover`) loses the pragmas that mark it as ours.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::{Connection, OptionalExtension as _};

use super::StoreError;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// `"HALO"`, which `file` and SQLite tools display.
pub(super) const APPLICATION_ID: i32 = 0x4841_4C4F;

/// The newest schema version that this version knows, stored in `user_version`.
pub const SCHEMA_VERSION: i32 = 1;

/// The name of the first migration, in every version.
const FIRST_MIGRATION: &str = "tickets";

/// What a database file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DatabaseKind {
    /// Nothing is in it yet.
    Empty,
    /// Its creation was interrupted, and nothing was stored in it yet.
    HalfCreated,
    /// Its tables are ours, but the pragmas that say so are lost: it was restored from a text dump.
    Restored,
    /// A database of this program.
    Ours,
}

/// What [`DatabaseFacts::classify`] goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DatabaseFacts {
    application_id: i32,
    user_version: i32,
    /// Whether there is neither table nor view, nor anything else.
    is_empty: bool,
    tables: BTreeSet<String>,
    /// Its applied migrations: version, name and checksum.
    history: Vec<(i64, String, String)>,
    /// Whether a ticket, a change record or a run is stored.
    has_rows: bool,
}

/// Its applied migrations, compared with those of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum History {
    /// None is recorded.
    Missing,
    /// The first of ours, but not all.
    Earlier,
    /// All of ours.
    Current,
    /// All of ours and more.
    Newer(i64),
    /// Others than ours.
    Different,
}

impl DatabaseFacts {
    /// Reads the facts. Also of a foreign database: a damaged schema is found here, where the error can name the file.
    pub(super) fn read(connection: &Connection) -> Result<DatabaseFacts, StoreError> {
        let tables = table_names(connection)?;
        let is_empty = !connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\')",
            [],
            |row| row.get::<_, bool>(0),
        )?;
        let mut facts = DatabaseFacts {
            application_id: application_id(connection)?,
            user_version: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
            is_empty,
            tables,
            history: Vec::new(),
            has_rows: false,
        };
        // What is in the tables of another program is none of our business.
        if facts.application_id != APPLICATION_ID && !(facts.application_id == 0 && facts.has_main_tables()) {
            return Ok(facts);
        }
        if facts.tables.contains("refinery_schema_history") {
            facts.history = read_history(connection)?;
        }
        for table in ["tickets", "changes", "runs"] {
            if facts.tables.contains(table) {
                // An index may be damaged, which is for the integrity check to report.
                let sql = format!("SELECT 1 FROM {table} NOT INDEXED LIMIT 1");
                let row = connection.query_row(&sql, [], |_| Ok(()));
                facts.has_rows |= row.optional()?.is_some();
            }
        }
        Ok(facts)
    }

    fn has_main_tables(&self) -> bool {
        ["tickets", "changes"].iter().all(|it| self.tables.contains(*it))
    }

    /// Whether migrations of this version are still to be applied.
    pub(super) fn needs_migration(&self) -> bool {
        compare_history(&self.history) != History::Current
    }

    /// Decides what the database is. `path` names it in errors.
    pub(super) fn classify(&self, path: &Path) -> Result<DatabaseKind, StoreError> {
        let path = || path.to_owned();
        let foreign = || StoreError::Foreign { path: path(), application_id: self.application_id };
        let is_marked = self.application_id == APPLICATION_ID;
        if self.application_id != 0 && !is_marked {
            return Err(foreign());
        }
        if is_marked && SCHEMA_VERSION < self.user_version {
            let found = self.user_version.into();
            return Err(StoreError::Newer { path: path(), found, known: SCHEMA_VERSION });
        }
        if self.is_empty {
            return Ok(DatabaseKind::Empty);
        }
        let history = compare_history(&self.history);
        let missing: Vec<_> = expected_tables()?.difference(&self.tables).cloned().collect();
        // Other programs use the same library for their migrations.
        let is_like_ours = missing.is_empty()
            || (self.has_main_tables()
                && self.history.first().is_some_and(|(_, name, _)| name == FIRST_MIGRATION));
        if !is_marked && !is_like_ours {
            return Err(foreign());
        }
        match history {
            History::Newer(found) => Err(StoreError::Newer { path: path(), found, known: SCHEMA_VERSION }),
            History::Different => Err(StoreError::Unreleased { path: path() }),
            History::Earlier | History::Current if history == History::Earlier || missing.is_empty() => {
                Ok(match self.user_version {
                    0 if is_marked && !self.has_rows => DatabaseKind::HalfCreated,
                    1.. if is_marked => DatabaseKind::Ours,
                    _ => DatabaseKind::Restored,
                })
            }
            _ if is_marked && !self.has_rows => Ok(DatabaseKind::HalfCreated),
            _ => Err(StoreError::IncompleteSchema { path: path(), missing }),
        }
    }
}

/// The number that a database file bears as the mark of its program, 0 if none.
pub(super) fn application_id(connection: &Connection) -> Result<i32, StoreError> {
    Ok(connection.pragma_query_value(None, "application_id", |row| row.get(0))?)
}

/// Applies the migrations that are still to be applied, and records them in the same transaction: a kill leaves all of
/// them or none.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    embedded::migrations::runner().set_grouped(true).run(connection)?;
    Ok(())
}

fn compare_history(applied: &[(i64, String, String)]) -> History {
    let known: Vec<_> = embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(|it| (i64::from(it.version()), it.name().to_owned(), it.checksum().to_string()))
        .collect();
    let common = applied.len().min(known.len());
    match applied.last() {
        None => History::Missing,
        _ if applied[..common] != known[..common] => History::Different,
        Some((version, ..)) if known.len() < applied.len() => History::Newer(*version),
        _ if applied.len() < known.len() => History::Earlier,
        _ => History::Current,
    }
}

fn read_history(connection: &Connection) -> Result<Vec<(i64, String, String)>, StoreError> {
    // Text, whatever the types are: the table may be another program's.
    let sql = "SELECT version, CAST(name AS TEXT), CAST(checksum AS TEXT) FROM refinery_schema_history ORDER BY version";
    let Ok(mut statement) = connection.prepare(sql) else { return Ok(Vec::new()) };
    let text =
        |row: &rusqlite::Row<'_>, column| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    let rows = statement.query_map([], |row| Ok((row.get(0)?, text(row, 1)?, text(row, 2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The tables of a database with all migrations of this version.
fn expected_tables() -> Result<&'static BTreeSet<String>, StoreError> {
    static EXPECTED: OnceLock<BTreeSet<String>> = OnceLock::new();
    if let Some(expected) = EXPECTED.get() {
        return Ok(expected);
    }
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection)?;
    let tables = table_names(&connection)?;
    Ok(EXPECTED.get_or_init(|| tables))
}

fn table_names(connection: &Connection) -> Result<BTreeSet<String>, StoreError> {
    let sql =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let mut statement = connection.prepare(sql)?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use DatabaseKind::{Empty, HalfCreated, Ours, Restored};

    /// The facts of an intact database with rows.
    fn intact() -> DatabaseFacts {
        let history = embedded::migrations::runner();
        let history = history.get_migrations().iter();
        DatabaseFacts {
            application_id: APPLICATION_ID,
            user_version: SCHEMA_VERSION,
            is_empty: false,
            tables: expected_tables().unwrap().clone(),
            history: history
                .map(|it| (i64::from(it.version()), it.name().to_owned(), it.checksum().to_string()))
                .collect(),
            has_rows: true,
        }
    }

    fn classify(change: impl FnOnce(&mut DatabaseFacts)) -> Result<DatabaseKind, String> {
        let mut facts = intact();
        change(&mut facts);
        facts.classify(Path::new("x.db")).map_err(|error| error.to_string())
    }

    /// As a text dump leaves the pragmas.
    fn unmark(facts: &mut DatabaseFacts) {
        (facts.application_id, facts.user_version) = (0, 0);
    }

    #[test]
    fn interrupted_creations_and_dumps_are_recognized() {
        assert_eq!(classify(|_| {}), Ok(Ours));
        assert_eq!(classify(unmark), Ok(Restored), "restored from a dump");
        let with_more = |facts: &mut DatabaseFacts| {
            unmark(facts);
            facts.tables.extend(["lost_and_found".to_owned(), "tickets_fts".to_owned()]);
        };
        assert_eq!(classify(with_more), Ok(Restored), "recovered");
        assert_eq!(classify(|it| it.user_version = 0), Ok(Restored), "only the version is lost");
        for application_id in [0, APPLICATION_ID] {
            let empty = |facts: &mut DatabaseFacts| {
                *facts = DatabaseFacts { application_id, is_empty: true, ..DatabaseFacts::default() };
            };
            assert_eq!(classify(empty), Ok(Empty));
        }
        // What a kill between two of the steps leaves: mark, history table, tables, history row, version.
        let started = DatabaseFacts { user_version: 0, has_rows: false, ..intact() };
        let only_history = BTreeSet::from(["refinery_schema_history".to_owned()]);
        for (name, facts) in [
            ("the history table", DatabaseFacts { tables: only_history, history: vec![], ..started.clone() }),
            ("the tables", DatabaseFacts { history: vec![], ..started.clone() }),
            ("all but the version", started.clone()),
        ] {
            assert_eq!(classify(|it| *it = facts), Ok(HalfCreated), "{name}");
        }
    }

    #[test]
    fn everything_else_is_refused_for_its_reason() {
        type Change = Box<dyn FnOnce(&mut DatabaseFacts)>;
        let lose_history = |facts: &mut DatabaseFacts| facts.history.clear();
        let lose_table = |facts: &mut DatabaseFacts| assert!(facts.tables.remove("watermarks"));
        let edit = |facts: &mut DatabaseFacts| facts.history[0].2 = "1".into();
        let (foreign, incomplete) = ("another program", "x.db is incomplete");
        let cases: [(&str, Change, &str); 10] = [
            ("another id", Box::new(|it| it.application_id = 7), foreign),
            (
                "other tables",
                Box::new(|it| {
                    *it = DatabaseFacts { tables: ["moz_places".into()].into(), ..DatabaseFacts::default() }
                }),
                foreign,
            ),
            (
                "other tables, the same library",
                Box::new(|it| {
                    unmark(it);
                    it.tables = ["refinery_schema_history".into(), "users".into()].into();
                    it.history[0].1 = "users".into();
                }),
                foreign,
            ),
            ("a newer version", Box::new(|it| it.user_version = SCHEMA_VERSION + 1), "schema 2"),
            (
                "a dump of a newer version",
                Box::new(|it| {
                    unmark(it);
                    it.history.push((2, "more".into(), "5".into()));
                }),
                "schema 2",
            ),
            ("an unreleased version", Box::new(edit), "unreleased version"),
            (
                "a dump of an unreleased version",
                Box::new(move |it| {
                    unmark(it);
                    edit(it);
                    it.tables.remove("scans");
                }),
                "unreleased version",
            ),
            ("a lost table", Box::new(lose_table), "x.db is incomplete: watermarks is missing"),
            (
                "a dump that lost a table",
                Box::new(move |it| {
                    unmark(it);
                    lose_table(it);
                }),
                incomplete,
            ),
            (
                "a lost history",
                Box::new(lose_history),
                "x.db is incomplete: the record of its schema is missing",
            ),
        ];
        for (name, change, message) in cases {
            let error = classify(change).unwrap_err();
            assert!(error.contains(message), "{name}: {error}");
        }
    }
}
