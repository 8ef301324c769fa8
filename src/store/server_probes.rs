//! What is known of the server besides its tickets: verdicts about it, ticket types, definitions of
//! custom fields, and tickets that it does not show.

use roaring::RoaringTreemap;

use super::watermark::parse_timestamp;
use super::{ReadTx, StoreError, StoredTicket, WriteTx};
use crate::ticket::parse::{ReferenceDetails, ReferenceItem};
use crate::ticket::{CustomField, Timestamp};

/// What was found out about the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerProbe {
    /// The question.
    pub probe: String,
    /// The answer to it.
    pub result: String,
    /// What it rests on.
    pub details: Option<String>,
    /// When it was found out, by the local clock.
    pub probed_at: Timestamp,
}

/// The status of a ticket that could not be found when it was asked for its custom fields: the next full
/// walk that misses it asks about it.
pub const MISSING_STATUS: &str = "missing";

/// A stored ticket that the server did not show when it was last asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlistedTicket {
    /// Which.
    pub id: i64,
    /// What the server said of it.
    pub status: String,
    /// When it was first missed, by the local clock.
    pub first_missed_at: Timestamp,
    /// When it is asked about again.
    pub ask_again_at: Timestamp,
}

impl ReadTx<'_> {
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
    pub fn sample_tickets(&self, per_type: u32, limit: u32) -> Result<Vec<StoredTicket>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT UID, TICKET_TYPE_ID FROM (
                 SELECT t.UID, TICKET_TYPE_ID, d.UID IS NOT NULL AS pending, ROW_NUMBER() OVER (
                     PARTITION BY TICKET_TYPE_ID, d.UID IS NOT NULL ORDER BY t.UID DESC) AS position
                 FROM tickets t LEFT JOIN pending_fetches d ON d.UID = t.UID
                 WHERE t.UID NOT IN (SELECT UID FROM unlisted_tickets))
             WHERE position <= ?1 ORDER BY position, pending, TICKET_TYPE_ID LIMIT ?2",
        )?;
        let rows = statement.query_map([per_type, limit], |row| {
            Ok(StoredTicket { id: row.get(0)?, ticket_type: row.get(1)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The tickets that the server did not show.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn unlisted_tickets(&self) -> Result<Vec<UnlistedTicket>, StoreError> {
        let sql = "SELECT UID, status, first_missed_at, ask_again_at FROM unlisted_tickets ORDER BY UID";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut unlisted = Vec::new();
        while let Some(row) = rows.next()? {
            let timestamps = (parse_timestamp(row.get(2)?)?, parse_timestamp(row.get(3)?)?);
            let (Some(first_missed_at), Some(ask_again_at)) = timestamps else { continue };
            unlisted.push(UnlistedTicket {
                id: row.get(0)?,
                status: row.get(1)?,
                first_missed_at,
                ask_again_at,
            });
        }
        Ok(unlisted)
    }

    /// The ticket types.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn ticket_types(&self) -> Result<Vec<ReferenceItem>, StoreError> {
        let mut statement = self.connection.prepare("SELECT ID, NAME FROM ticket_types ORDER BY ID")?;
        let types = statement.query_map([], |row| {
            Ok(ReferenceItem { id: row.get(0)?, name: row.get(1)?, details: ReferenceDetails::default() })
        })?;
        Ok(types.collect::<Result<_, _>>()?)
    }

    /// A verdict about the server.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn probe(&self, probe: &str) -> Result<Option<ServerProbe>, StoreError> {
        Ok(self.probes()?.into_iter().find(|it| it.probe == probe))
    }

    /// All verdicts about the server.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn probes(&self) -> Result<Vec<ServerProbe>, StoreError> {
        let sql = "SELECT probe, result, details, probed_at FROM server_probes ORDER BY probe";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut probes = Vec::new();
        while let Some(row) = rows.next()? {
            let Some(probed_at) = parse_timestamp(row.get(3)?)? else { continue };
            probes.push(ServerProbe {
                probe: row.get(0)?,
                result: row.get(1)?,
                details: row.get(2)?,
                probed_at,
            });
        }
        Ok(probes)
    }
}

impl WriteTx<'_> {
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
    pub fn replace_ticket_types(&self, types: &[ReferenceItem]) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM ticket_types", [])?;
        let mut insert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO ticket_types (ID, NAME, \"USE\", SEQUENCE) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for ReferenceItem { id, name, details } in types {
            insert.execute((id, name.trim(), &details.usage, details.sequence))?;
        }
        Ok(())
    }

    /// Stores a verdict about the server, with what it rests on.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn record_probe(
        &self,
        probe: &str,
        result: &str,
        details: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT OR REPLACE INTO server_probes (probe, result, details, probed_at) VALUES (?1, ?2, ?3, ?4)",
            (probe, result, details, now.to_string()),
        )?;
        Ok(())
    }

    /// Forgets a verdict about the server.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn delete_probe(&self, probe: &str) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM server_probes WHERE probe = ?1", [probe])?;
        Ok(())
    }

    /// Stores another verdict about a question that was asked; the same one is left as it is.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn update_probe_result(&self, probe: &str, result: &str, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE server_probes SET result = ?2, details = NULL, probed_at = ?3
             WHERE probe = ?1 AND result <> ?2",
            (probe, result, now.to_string()),
        )?;
        Ok(())
    }

    /// A ticket that was seen is not absent, in whatever version it was. Where its custom fields are copied
    /// and not known, they are owed again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn clear_unlisted(&self, seen: &RoaringTreemap, now: Timestamp) -> Result<(), StoreError> {
        let unlisted = self.as_read_tx().unlisted_tickets()?;
        let mut relisted =
            unlisted.iter().filter(|ticket| seen.contains(ticket.id.cast_unsigned())).peekable();
        if relisted.peek().is_none() {
            return Ok(());
        }
        let has_custom_fields = self.as_read_tx().has_custom_fields()?;
        let mut delete = self.connection.prepare("DELETE FROM unlisted_tickets WHERE UID = ?1")?;
        for ticket in relisted {
            delete.execute([ticket.id])?;
            if has_custom_fields {
                self.enqueue_fetch_if_unknown(ticket.id, now)?;
            }
        }
        Ok(())
    }

    /// Notes that the server did not show a ticket, and when to ask for it again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn record_unlisted(
        &self,
        id: i64,
        status: &str,
        now: Timestamp,
        ask_again_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO unlisted_tickets (UID, status, first_missed_at, ask_again_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (UID) DO UPDATE SET status = excluded.status, ask_again_at = excluded.ask_again_at",
            )?
            .execute((id, status, now.to_string(), ask_again_at.to_string()))?;
        Ok(())
    }
}
