//! Reference tables: names for the numbers in tickets. What each is, where it comes from and which columns are kept is one
//! table, [`REFERENCE_TABLES`]; everything else is derived from it or compared with it.
//!
//! Only the columns named there are ever read: some of these objects have secrets among their properties
//! (`halo-objects.md` §1).

mod parse;
mod tables;

pub use parse::{ReferenceRow, parse_reference_list, parse_reference_list_and_search, reference_items};
pub use tables::{
    AGENTS, PRIORITIES, REFERENCE_TABLES, STATUS_CLOSED, STATUSES, TICKET_TYPES, render_markdown,
};

use crate::ticket::{Column, ValueKind};

/// A reference table: a list of the server, and the columns that are kept of it.
#[derive(Debug, PartialEq, Eq)]
pub struct ReferenceTable {
    /// The name of the table in the database, in exports, and in `[halo] reference`.
    pub name: &'static str,
    /// The list in messages: "the agent list".
    pub list_name: &'static str,
    /// The path of the list below the server's address.
    pub endpoint: &'static str,
    /// The parameters that make the list complete.
    pub parameters: &'static [(&'static str, &'static str)],
    /// The names that the array may have in an object around it; a bare array is always read. Without a name the only array
    /// of the object is.
    pub array_names: &'static [&'static str],
    /// The columns; the keys come first.
    pub columns: &'static [ReferenceColumn],
    /// When it is read.
    pub selection: Selection,
    /// Whether it is read page by page.
    pub is_paged: bool,
    /// Whether the token needs the scope `read:customers` for it.
    pub needs_customers: bool,
    /// What it is good for, for the documentation.
    pub about: &'static str,
}

/// When a reference table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Always.
    Always,
    /// Unless the settings leave it out.
    Default,
    /// If the settings name it.
    OnRequest,
}

/// A column of a reference table.
#[derive(Debug, PartialEq, Eq)]
pub struct ReferenceColumn {
    /// Its name and kind.
    pub column: Column,
    /// The property of the list's elements that it is read from; `None` where it follows from something else.
    pub property: Option<&'static str>,
    /// What an element without a readable value is.
    pub role: ColumnRole,
}

/// What an element of a list is without a readable value of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnRole {
    /// Part of the key: without it the element is unreadable.
    Key,
    /// The name: without it the element is unreadable.
    Name,
    /// Another column: the last good value stays.
    Other,
}

/// A number and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceItem {
    /// The number.
    pub id: i64,
    /// The name.
    pub name: String,
}

/// Whether the server listed a row last; the last column of every reference table.
pub const PRESENT: Column = Column { name: "PRESENT", kind: ValueKind::Boolean };

impl ReferenceTable {
    /// Returns the table with a name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static ReferenceTable> {
        REFERENCE_TABLES.iter().find(|table| table.name == name)
    }

    /// Returns the name in words, for messages: "ticket types".
    #[must_use]
    pub fn words(&self) -> String {
        if self.name == "slas" { "SLAs".into() } else { self.name.replace('_', " ") }
    }

    /// Returns the columns in the database, [`PRESENT`] included.
    pub fn stored_columns(&self) -> impl Iterator<Item = Column> {
        self.columns.iter().map(|it| it.column).chain([PRESENT])
    }

    /// Returns the columns of the key.
    pub fn key(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().filter(|it| it.role == ColumnRole::Key).map(|it| it.column.name)
    }

    /// Returns the position of a column.
    #[must_use]
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|it| it.column.name == column)
    }
}

impl std::fmt::Display for ReferenceTable {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name)
    }
}
