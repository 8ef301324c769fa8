//! Which columns of tickets are exported (`--columns`).

use super::reader::did_you_mean;
use crate::ticket::attribute::ATTRIBUTE_COUNT;
use crate::ticket::{Column, delta_columns};

/// Most columns that can be named: the attributes, the four before them, extras and custom fields.
const MAX_COLUMNS: usize = ATTRIBUTE_COUNT + 6;

/// Names of columns, in the order in which they are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnSelection {
    /// Positions among the columns of a delta; the first `count` are used. An array, so that options stay `Copy`.
    positions: [u8; MAX_COLUMNS],
    count: usize,
}

impl ColumnSelection {
    /// Parses names that are separated by commas.
    ///
    /// # Errors
    /// The problem, as a clause.
    pub fn parse(text: &str) -> Result<ColumnSelection, String> {
        let columns = delta_columns();
        let mut selection = ColumnSelection { positions: [0; MAX_COLUMNS], count: 0 };
        for name in text.split(',').map(str::trim) {
            if name.is_empty() {
                return Err("must be names of columns, separated by commas".to_owned());
            }
            let position = columns.iter().position(|column| column.name == name).ok_or_else(|| {
                let hint = did_you_mean(name, columns.iter().map(|column| column.name));
                format!("there is no column `{name}`{hint}")
            })?;
            if selection.names().any(|known| known == name) {
                return Err(format!("`{name}` is named twice"));
            }
            // There are fewer than 256 columns, and each is named at most once.
            selection.positions[selection.count] = u8::try_from(position).unwrap_or_default();
            selection.count += 1;
        }
        Ok(selection)
    }

    /// Returns the names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let columns = delta_columns();
        let positions = self.positions.into_iter().take(self.count);
        positions.map(move |position| columns[usize::from(position)].name)
    }

    /// Whether a column is named.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Returns the positions of the exported columns among those of a table: the named ones in their order, and
    /// before them those that are always exported, unless they are named too.
    #[must_use]
    pub fn apply(&self, columns: &[Column]) -> Vec<usize> {
        let is_first = |column: &Column| column.is_always_exported() && !self.contains(column.name);
        let first = columns.iter().enumerate().filter(|(_, column)| is_first(column)).map(|(index, _)| index);
        let named = self.names().filter_map(|name| columns.iter().position(|column| column.name == name));
        first.chain(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot_table::SnapshotTable;

    #[test]
    fn selected_columns_follow_those_that_are_always_exported() {
        let names = |text: &str, columns: &[Column]| -> Vec<&str> {
            let selection = ColumnSelection::parse(text).unwrap();
            selection.apply(columns).into_iter().map(|index| columns[index].name).collect()
        };
        let delta = delta_columns();
        let always = ["_seq", "_op", "_observed_at", "_reason"];
        for (text, expected) in [
            ("NAME", &["UID", "NAME"][..]),
            ("TEAM, NAME", &["UID", "TEAM", "NAME"]),
            ("NAME,UID,_custom_fields", &["NAME", "UID", "_custom_fields"]),
        ] {
            assert_eq!(names(text, &delta), [&always[..], expected].concat(), "{text}");
            let tickets: Vec<_> = expected.iter().filter(|name| **name != "_custom_fields").collect();
            assert_eq!(names(text, &SnapshotTable::Tickets.columns()).iter().collect::<Vec<_>>(), tickets);
        }
        let deleted = names("TEAM,COST", &SnapshotTable::DeletedTickets.columns());
        assert_eq!(deleted, ["UID", "REASON", "SEEN_AT", "TEAM"]);
    }

    #[test]
    fn unknown_columns_are_errors_with_the_nearest_name() {
        for (text, error) in [
            ("NAME,TAEM", "there is no column `TAEM`; did you mean `TEAM`?"),
            ("name", "there is no column `name`; did you mean `NAME`?"),
            ("custom_fields", "there is no column `custom_fields`; did you mean `_custom_fields`?"),
            ("NOTHING_LIKE_IT", "there is no column `NOTHING_LIKE_IT`"),
            ("NAME,TEAM,NAME", "`NAME` is named twice"),
            ("", "must be names of columns, separated by commas"),
            ("NAME,", "must be names of columns, separated by commas"),
        ] {
            assert_eq!(ColumnSelection::parse(text), Err(error.to_owned()), "{text:?}");
        }
        let all: Vec<_> = delta_columns().iter().map(|column| column.name).collect();
        let selection = ColumnSelection::parse(&all.join(",")).unwrap();
        assert_eq!(selection.names().collect::<Vec<_>>(), all);
    }
}
