//! Transactions, and how times and words are read from their columns.

use std::str::FromStr;

use rusqlite::Connection;

use super::StoreError;
use crate::ticket::Timestamp;

/// A transaction that reads: everything it returns is of one state of the database.
pub struct ReadTx<'c> {
    pub(super) connection: &'c Connection,
}

/// A transaction that writes.
pub struct WriteTx<'c> {
    pub(super) connection: &'c Connection,
}

impl WriteTx<'_> {
    /// The read methods, which see what this transaction has written.
    #[must_use]
    pub fn as_read_tx(&self) -> ReadTx<'_> {
        ReadTx { connection: self.connection }
    }
}

/// Whether the work of a transaction is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxEnd {
    /// Commits it.
    Commit,
    /// Rolls it back once its results are known: a dry run.
    Rollback,
}

pub(super) fn parse_timestamp(text: &str) -> Result<Timestamp, StoreError> {
    text.parse().map_err(|_| StoreError::InvalidData { what: format!("invalid timestamp {text:?}") })
}

pub(super) fn parse_optional_timestamp(text: Option<String>) -> Result<Option<Timestamp>, StoreError> {
    text.map(|text| parse_timestamp(&text)).transpose()
}

/// Parses a word that stands for a variant of an enum; `column` names its place in the error.
pub(super) fn parse_word<T: FromStr>(column: &str, word: &str) -> Result<T, StoreError> {
    word.parse().map_err(|_| StoreError::InvalidData { what: format!("unknown {column} {word:?}") })
}
