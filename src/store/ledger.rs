//! What is known of the server besides its tickets: verdicts about it, ticket types, definitions of
//! custom fields, and tickets that it does not show.

use roaring::RoaringTreemap;

use super::mark::stamp;
use super::{Snapshot, StoreError, StoredRow, Writing};
use crate::ticket::parse::{Named, NamedDetails};
use crate::ticket::{CustomField, Stamp};

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

/// The status of a ticket that could not be found when it was asked for its custom fields: the next full
/// walk that misses it asks about it.
pub const MISSING: &str = "missing";

/// A stored ticket that the server did not show when it was last asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// Which.
    pub id: i64,
    /// What the server said of it.
    pub status: String,
    /// When it was first missed, by the local clock.
    pub first_missed_at: Stamp,
    /// When it is asked about again.
    pub ask_again_at: Stamp,
}

impl Snapshot<'_> {
    /// The definitions of the custom fields, ascending by number.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn field_definitions(&self) -> Result<Vec<CustomField>, StoreError> {
        let sql = "SELECT FIELD_ID, NAME, LABEL, TYPE FROM field_definitions ORDER BY FIELD_ID";
        let mut statement = self.connection.prepare_cached(sql)?;
        let definitions = statement.query_map([], |row| {
            Ok(CustomField {
                id: row.get(0)?,
                name: row.get(1)?,
                label: row.get(2)?,
                kind: row.get(3)?,
                ..CustomField::default()
            })
        })?;
        Ok(definitions.collect::<Result<_, _>>()?)
    }

    /// The newest tickets of each type that are not missed, `per_type` of those whose custom fields are known and of those that
    /// owe them, `at_most` in all: the first of every type before the second of any.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn samples(&self, per_type: u32, at_most: u32) -> Result<Vec<StoredRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT UID, TICKET_TYPE_ID FROM (
                 SELECT t.UID, TICKET_TYPE_ID, d.UID IS NOT NULL AS owed, ROW_NUMBER() OVER (
                     PARTITION BY TICKET_TYPE_ID, d.UID IS NOT NULL ORDER BY t.UID DESC) AS place
                 FROM tickets t LEFT JOIN debts d ON d.UID = t.UID
                 WHERE t.UID NOT IN (SELECT UID FROM absences))
             WHERE place <= ?1 ORDER BY place, owed, TICKET_TYPE_ID LIMIT ?2",
        )?;
        let rows = statement.query_map([per_type, at_most], |row| {
            Ok(StoredRow { id: row.get(0)?, ticket_type: row.get(1)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The tickets that the server did not show.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn absences(&self) -> Result<Vec<Absence>, StoreError> {
        let sql = "SELECT UID, status, first_missed_at, ask_again_at FROM absences ORDER BY UID";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut absences = Vec::new();
        while let Some(row) = rows.next()? {
            let stamps = (stamp(row.get(2)?)?, stamp(row.get(3)?)?);
            let (Some(first_missed_at), Some(ask_again_at)) = stamps else { continue };
            absences.push(Absence { id: row.get(0)?, status: row.get(1)?, first_missed_at, ask_again_at });
        }
        Ok(absences)
    }

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
    /// Adds definitions of custom fields; what is known of a field already is replaced. None is ever
    /// taken away: a list that leaves one out must not cost its values.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn add_field_definitions(&self, definitions: &[CustomField]) -> Result<(), StoreError> {
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO field_definitions (FIELD_ID, NAME, LABEL, TYPE) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (FIELD_ID) DO UPDATE SET NAME = COALESCE(excluded.NAME, NAME),
                 LABEL = COALESCE(excluded.LABEL, LABEL), TYPE = COALESCE(excluded.TYPE, TYPE)",
        )?;
        for CustomField { id, name, label, kind, .. } in definitions {
            upsert.execute((id, name, label, kind))?;
        }
        Ok(())
    }

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

    /// Forgets a verdict about the server.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn forget_verdict(&self, question: &str) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM calibrations WHERE question = ?1", [question])?;
        Ok(())
    }

    /// Stores another verdict about a question that was asked; the same one is left as it is.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn note_verdict(&self, question: &str, verdict: &str, now: Stamp) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE calibrations SET verdict = ?2, details = NULL, decided_at = ?3
             WHERE question = ?1 AND verdict <> ?2",
            (question, verdict, now.to_string()),
        )?;
        Ok(())
    }

    /// A ticket that was seen is not absent, in whatever version it was. Where its custom fields are copied
    /// and not known, they are owed again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn forget_absences(&self, seen: &RoaringTreemap, now: Stamp) -> Result<(), StoreError> {
        let absences = self.snapshot().absences()?;
        let mut back = absences.iter().filter(|absence| seen.contains(absence.id.cast_unsigned())).peekable();
        if back.peek().is_none() {
            return Ok(());
        }
        let copies_fields = self.snapshot().copies_fields()?;
        let mut delete = self.connection.prepare("DELETE FROM absences WHERE UID = ?1")?;
        for absence in back {
            delete.execute([absence.id])?;
            if copies_fields {
                self.owe_if_unknown(absence.id, now)?;
            }
        }
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
