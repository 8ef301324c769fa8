//! What is known of the server besides its tickets: verdicts about it, ticket types, and tickets that it
//! does not show.

use super::mark::stamp;
use super::{Snapshot, StoreError, Writing};
use crate::ticket::Stamp;
use crate::ticket::parse::{Named, NamedDetails};

/// What was found out about the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// The question.
    pub question: String,
    /// The answer to it.
    pub verdict: String,
    /// What it rests on.
    pub details: Option<String>,
    /// When it was found out, by the local clock.
    pub decided_at: Stamp,
}

impl Snapshot<'_> {
    /// The ticket types.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn ticket_types(&self) -> Result<Vec<Named>, StoreError> {
        let mut statement = self.connection.prepare("SELECT ID, NAME FROM ticket_types ORDER BY ID")?;
        let types = statement.query_map([], |row| {
            Ok(Named { id: row.get(0)?, name: row.get(1)?, details: NamedDetails::default() })
        })?;
        Ok(types.collect::<Result<_, _>>()?)
    }

    /// A verdict about the server.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn verdict(&self, question: &str) -> Result<Option<Calibration>, StoreError> {
        Ok(self.calibrations()?.into_iter().find(|it| it.question == question))
    }

    /// All verdicts about the server.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn calibrations(&self) -> Result<Vec<Calibration>, StoreError> {
        let sql = "SELECT question, verdict, details, decided_at FROM calibrations ORDER BY question";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut calibrations = Vec::new();
        while let Some(row) = rows.next()? {
            let Some(decided_at) = stamp(row.get(3)?)? else { continue };
            calibrations.push(Calibration {
                question: row.get(0)?,
                verdict: row.get(1)?,
                details: row.get(2)?,
                decided_at,
            });
        }
        Ok(calibrations)
    }
}

impl Writing<'_> {
    /// Replaces the list of ticket types.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn replace_ticket_types(&self, types: &[Named]) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM ticket_types", [])?;
        let mut insert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO ticket_types (ID, NAME, \"USE\", SEQUENCE) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for Named { id, name, details } in types {
            insert.execute((id, name.trim(), &details.usage, details.sequence))?;
        }
        Ok(())
    }

    /// Stores a verdict about the server, with what it rests on.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn set_verdict(
        &self,
        question: &str,
        verdict: &str,
        details: Option<&str>,
        now: Stamp,
    ) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT OR REPLACE INTO calibrations (question, verdict, details, decided_at) VALUES (?1, ?2, ?3, ?4)",
            (question, verdict, details, now.to_string()),
        )?;
        Ok(())
    }

    /// Notes that the server did not show a ticket, and when to ask for it again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn note_absence(
        &self,
        id: i64,
        status: &str,
        now: Stamp,
        ask_again_at: Stamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO absences (UID, status, first_missed_at, ask_again_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (UID) DO UPDATE SET status = excluded.status, ask_again_at = excluded.ask_again_at",
            )?
            .execute((id, status, now.to_string(), ask_again_at.to_string()))?;
        Ok(())
    }
}
