//! The known custom fields, and the tickets by which the list is compared with single tickets.

use super::{ReadTx, StoreError, StoredTicket, WriteTx};
use crate::ticket::{CustomField, Timestamp};

impl ReadTx<'_> {
    /// The definitions of the custom fields, ascending by id, without values.
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

    /// The newest listed tickets of each type: `per_type` of those whose custom fields are known and
    /// `per_type` of those with a pending fetch, at most `limit` in all. The first ticket of every type
    /// comes before the second of any.
    pub fn sample_tickets(&self, per_type: u32, limit: u32) -> Result<Vec<StoredTicket>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT UID, TICKET_TYPE_ID FROM (
                 SELECT t.UID, TICKET_TYPE_ID, p.UID IS NOT NULL AS pending, ROW_NUMBER() OVER (
                     PARTITION BY TICKET_TYPE_ID, p.UID IS NOT NULL ORDER BY t.UID DESC) AS position
                 FROM tickets t LEFT JOIN pending_fetches p ON p.UID = t.UID AND p.kind = 'custom_fields'
                 WHERE t.UID NOT IN (SELECT UID FROM unlisted_tickets))
             WHERE position <= ?1 ORDER BY position, pending, TICKET_TYPE_ID LIMIT ?2",
        )?;
        let rows = statement.query_map([per_type, limit], |row| {
            Ok(StoredTicket { id: row.get(0)?, ticket_type: row.get(1)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The fields that tickets have and that are not among `listed`, each with the oldest and the newest listed ticket that has
    /// it: where the server was restored from a backup, the newest ones are gone.
    pub fn unlisted_fields(&self, listed: &[CustomField]) -> Result<Vec<(i64, [i64; 2])>, StoreError> {
        let sql = "SELECT FIELD_ID, MIN(UID), MAX(UID) FROM custom_fields
                   WHERE UID NOT IN (SELECT UID FROM unlisted_tickets) GROUP BY FIELD_ID";
        let mut statement = self.connection.prepare(sql)?;
        let fields = statement.query_map([], |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?])))?;
        let mut fields: Vec<(i64, [i64; 2])> = fields.collect::<Result<_, _>>()?;
        fields.retain(|(id, _)| listed.iter().all(|field| field.id != *id));
        Ok(fields)
    }
}

impl WriteTx<'_> {
    /// Enqueues a fetch for every ticket that has a field which the server no longer shows.
    pub fn enqueue_fetches_with_field(&self, field_id: i64, now: Timestamp) -> Result<(), StoreError> {
        let mut select = self.connection.prepare("SELECT UID FROM custom_fields WHERE FIELD_ID = ?1")?;
        let ids: Vec<i64> = select.query_map([field_id], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for id in ids {
            self.connection
                .prepare_cached("UPDATE ticket_state SET fields_hash = NULL WHERE UID = ?1")?
                .execute([id])?;
            self.enqueue_fetch_if_unknown(id, now)?;
        }
        Ok(())
    }

    /// Adds or updates definitions of custom fields. None is ever deleted: a list that leaves one out must
    /// not cost its values.
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
}
