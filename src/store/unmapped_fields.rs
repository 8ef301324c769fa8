//! Fields that no mapping knows: their names and JSON types, and since when the server sends them.

use std::collections::HashMap;

use rusqlite::OptionalExtension as _;

use super::tx::{parse_timestamp, parse_word};
use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::{JsonType, Timestamp, UnmappedFields};

/// The most rows of one object; fields beyond them are dropped.
const FIELDS_MAX: usize = 1_000;

/// A row of `unmapped_fields`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct UnmappedField {
    /// `tickets` for a row of the list, `ticket` for a single ticket, else the name of a reference table.
    pub object: String,
    /// The name of the property.
    pub field: String,
    /// The type of its value.
    pub json_type: JsonType,
    /// When it was seen first, by the local clock.
    pub first_seen_at: Timestamp,
    /// When it was seen last, by the local clock.
    pub last_seen_at: Timestamp,
    /// Whether it was there when its object was searched for the first time: then it is not new.
    pub in_first_search: bool,
}

/// What a search for unmapped fields found that was not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFindings {
    /// The new ones, by name.
    pub fields: Vec<UnmappedField>,
    /// Whether the object was searched for the first time.
    pub is_first_search: bool,
}

/// The stored rows of one field.
type KnownField = Vec<(JsonType, String)>;

impl WriteTx<'_> {
    /// Stores what a search found in answers of one kind, and returns what is new.
    ///
    /// A field that was only ever null gets its type when a value shows it: that is not new. Null says nothing about a
    /// field whose type is known.
    pub fn record_unmapped_fields(
        &self,
        object: &str,
        seen: &UnmappedFields,
        now: Timestamp,
    ) -> Result<FieldFindings, StoreError> {
        let at = now.to_string();
        let is_first_search = self.record_search(object, &at)?;
        let known = self.known_fields(object)?;
        let mut rows_left = FIELDS_MAX.saturating_sub(known.values().map(Vec::len).sum());
        let mut touch = self.connection.prepare_cached(
            "UPDATE unmapped_fields SET last_seen_at = ?4 WHERE object = ?1 AND field = ?2 AND json_type = ?3",
        )?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO unmapped_fields (object, field, json_type, first_seen_at, last_seen_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let mut delete_null = self.connection.prepare_cached(
            "DELETE FROM unmapped_fields WHERE object = ?1 AND field = ?2 AND json_type = 'null'",
        )?;
        let mut fields = Vec::new();
        for (field, types) in seen.iter() {
            let rows = known.get(field).map_or(&[][..], Vec::as_slice);
            if types == [JsonType::Null] && !rows.is_empty() {
                // It is still sent; which of its types it has now is not known: the last one, probably.
                if let Some((json_type, _)) = rows.iter().max_by_key(|(_, last_seen_at)| last_seen_at) {
                    touch.execute((object, field, json_type.as_str(), &at))?;
                }
                continue;
            }
            let null_since: Option<String> = match rows {
                [(JsonType::Null, _)] => {
                    let since = self.first_seen_as_null(object, field)?;
                    delete_null.execute((object, field))?;
                    rows_left += 1;
                    Some(since)
                }
                _ => None,
            };
            for json_type in types {
                if rows.iter().any(|(known, _)| *known == json_type) {
                    touch.execute((object, field, json_type.as_str(), &at))?;
                    continue;
                }
                let Some(left) = rows_left.checked_sub(1) else { break };
                rows_left = left;
                let first_seen_at = null_since.as_ref().unwrap_or(&at);
                insert.execute((object, field, json_type.as_str(), first_seen_at, &at))?;
                if null_since.is_none() {
                    fields.push(UnmappedField {
                        object: object.to_owned(),
                        field: field.to_owned(),
                        json_type,
                        first_seen_at: now,
                        last_seen_at: now,
                        in_first_search: is_first_search,
                    });
                }
            }
        }
        Ok(FieldFindings { fields, is_first_search })
    }

    /// Records a search; returns whether it is the first one of the object.
    fn record_search(&self, object: &str, at: &str) -> Result<bool, StoreError> {
        let sql = "UPDATE field_searches SET last_searched_at = ?2 WHERE object = ?1";
        let is_first = self.connection.prepare_cached(sql)?.execute((object, at))? == 0;
        if is_first {
            let sql = "INSERT INTO field_searches (object, first_searched_at, last_searched_at) VALUES (?1, ?2, ?2)";
            self.connection.execute(sql, (object, at))?;
        }
        Ok(is_first)
    }

    /// The stored rows of an object by field, each with its type and when it was seen last.
    fn known_fields(&self, object: &str) -> Result<HashMap<String, KnownField>, StoreError> {
        let sql = "SELECT field, json_type, last_seen_at FROM unmapped_fields WHERE object = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([object])?;
        let mut known: HashMap<String, KnownField> = HashMap::new();
        while let Some(row) = rows.next()? {
            let json_type = parse_word("unmapped_fields.json_type", &row.get::<_, String>(1)?)?;
            known.entry(row.get(0)?).or_default().push((json_type, row.get(2)?));
        }
        Ok(known)
    }

    fn first_seen_as_null(&self, object: &str, field: &str) -> Result<String, StoreError> {
        let sql = "SELECT first_seen_at FROM unmapped_fields WHERE object = ?1 AND field = ?2 AND json_type = 'null'";
        Ok(self.connection.query_row(sql, (object, field), |row| row.get(0))?)
    }
}

impl ReadTx<'_> {
    /// The unmapped fields that were first seen at a time or later.
    pub fn unmapped_fields_since(&self, since: Timestamp) -> Result<Vec<UnmappedField>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT object, field, json_type, first_seen_at, last_seen_at,
                 first_seen_at <= COALESCE(first_searched_at, '')
             FROM unmapped_fields LEFT JOIN field_searches USING (object)
             WHERE ?1 <= first_seen_at ORDER BY object, field, json_type",
        )?;
        let mut rows = statement.query([since.to_string()])?;
        let mut fields = Vec::new();
        while let Some(row) = rows.next()? {
            fields.push(UnmappedField {
                object: row.get(0)?,
                field: row.get(1)?,
                json_type: parse_word("unmapped_fields.json_type", &row.get::<_, String>(2)?)?,
                first_seen_at: parse_timestamp(&row.get::<_, String>(3)?)?,
                last_seen_at: parse_timestamp(&row.get::<_, String>(4)?)?,
                in_first_search: row.get(5)?,
            });
        }
        Ok(fields)
    }

    /// How many unmapped fields are known; `None` where nothing was searched yet.
    pub fn unmapped_field_count(&self) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT COUNT(*) FROM (SELECT DISTINCT object, field FROM unmapped_fields)
                   HAVING EXISTS (SELECT 1 FROM field_searches)";
        let count: Option<i64> = self.connection.query_row(sql, [], |row| row.get(0)).optional()?;
        Ok(count.map(i64::cast_unsigned))
    }
}
