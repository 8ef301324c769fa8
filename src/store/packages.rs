//! Consumers and their packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension as _, Row};

use super::tx::{parse_optional_timestamp, parse_timestamp};
use super::{ReadTx, ReferenceResult, StoreError, WriteTx};
use crate::config::ConsumerName;
use crate::reference::{REFERENCE_TABLES, ReferenceTable};
use crate::snapshot_table::SnapshotTable;
use crate::ticket::{RowHasher, Timestamp};

/// The position of a consumer in the change records.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ConsumerPosition {
    /// The last change record in its packages.
    pub exported_seq: i64,
    /// The last change record that it has acknowledged.
    pub acked_seq: i64,
    /// When its last package was written, by the local clock.
    pub exported_at: Option<Timestamp>,
    /// The `manifest_sha256` of its last package.
    #[serde(skip)]
    pub last_manifest: Option<String>,
    /// That of the package before it, where the last one has nothing but reference tables: both end at the same change.
    #[serde(skip)]
    pub previous_manifest: Option<String>,
    /// The absolute path of the folder of its packages; `None` before the first one.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

/// A package: a row of `packages`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PackageRecord {
    /// The change record before the first one in it.
    pub from_seq: i64,
    /// The last change record in it.
    pub to_seq: i64,
    /// The name of the data file.
    #[serde(rename = "file")]
    pub data_file: String,
    /// The name of the manifest.
    #[serde(rename = "manifest")]
    pub manifest_file: String,
    /// The number of rows in the data file.
    pub rows: u64,
    /// The size of the data file in bytes.
    pub bytes: u64,
    /// The SHA-256 of the data file.
    pub sha256: String,
    /// The `manifest_sha256` of the manifest.
    pub manifest_sha256: String,
    /// When it was recorded, by the local clock.
    #[serde(skip)]
    pub created_at: Timestamp,
}

/// A package whose files may not have their names yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPackage {
    /// Its record.
    pub record: PackageRecord,
    /// The content of its manifest.
    pub manifest: String,
    /// The hashes of its reference tables, by name.
    pub reference: BTreeMap<String, i64>,
}

const POSITION_COLUMNS: &str =
    "exported_seq, acked_seq, exported_at, last_manifest, folder, previous_manifest";

pub(super) const PACKAGE_COLUMNS: &str =
    "from_seq, to_seq, data_file, manifest_file, \"rows\", bytes, sha256, manifest_sha256, created_at";

impl ReadTx<'_> {
    /// The position of a consumer, if it exists.
    pub fn consumer_position(&self, consumer: &ConsumerName) -> Result<Option<ConsumerPosition>, StoreError> {
        let sql = format!("SELECT {POSITION_COLUMNS} FROM consumers WHERE name = ?1");
        let row = self.connection.query_row(&sql, [consumer.as_str()], |row| Ok(read_position(row, 0)));
        row.optional()?.transpose()
    }

    /// The name, position and number of waiting change records of every consumer, by name.
    pub fn consumers(&self) -> Result<Vec<(String, ConsumerPosition, i64)>, StoreError> {
        let newest = self.greatest_seq()?;
        let sql = format!("SELECT name, {POSITION_COLUMNS} FROM consumers ORDER BY name");
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut consumers = Vec::new();
        while let Some(row) = rows.next()? {
            let position = read_position(row, 1)?;
            let behind = newest - position.exported_seq;
            consumers.push((row.get(0)?, position, behind));
        }
        Ok(consumers)
    }

    /// The published packages of a consumer that have not aged out, in order.
    pub fn packages(&self, consumer: &str) -> Result<Vec<PackageRecord>, StoreError> {
        let sql = format!(
            "SELECT {PACKAGE_COLUMNS} FROM packages WHERE consumer = ?1 AND state = 'published' ORDER BY to_seq, from_seq"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([consumer])?;
        let mut packages = Vec::new();
        while let Some(row) = rows.next()? {
            packages.push(read_package(row)?);
        }
        Ok(packages)
    }

    /// The package of a consumer that is named and not published: a killed export left it.
    pub fn named_package(&self, consumer: &ConsumerName) -> Result<Option<NamedPackage>, StoreError> {
        let sql = format!(
            "SELECT {PACKAGE_COLUMNS}, manifest, reference FROM packages WHERE consumer = ?1 AND state = 'named'"
        );
        let row = self.connection.query_row(&sql, [consumer.as_str()], |row| {
            let (manifest, reference): (_, String) = (row.get("manifest")?, row.get("reference")?);
            Ok(read_package(row).and_then(|record| {
                Ok(NamedPackage { record, manifest, reference: parse_hashes(&reference)? })
            }))
        });
        row.optional()?.transpose()
    }

    /// The reference tables that a consumer does not have as they are, with the hashes of their rows. A table that is empty
    /// and was never exported is none of them.
    pub fn changed_reference(
        &self,
        consumer: &ConsumerName,
    ) -> Result<Vec<(&'static ReferenceTable, i64)>, StoreError> {
        let mut select = self
            .connection
            .prepare("SELECT hash FROM exported_reference WHERE consumer = ?1 AND table_name = ?2")?;
        let mut changed = Vec::new();
        for table in &REFERENCE_TABLES {
            // One that is read page by page comes along when its end is reached.
            let list = self.reference_list(table)?;
            if list.is_some_and(|list| list.result == ReferenceResult::Partial) {
                continue;
            }
            let sent: Option<i64> =
                select.query_row((consumer.as_str(), table.name), |row| row.get(0)).optional()?;
            if sent.is_none() && self.is_reference_empty(table)? {
                continue;
            }
            let mut hash = RowHasher::new();
            self.for_each_row(SnapshotTable::Reference(table), |cells| {
                for cell in cells {
                    cell.add_to_hash(&mut hash);
                }
                Ok::<_, StoreError>(())
            })?;
            let hash = hash.digest().cast_signed();
            if sent != Some(hash) {
                changed.push((table, hash));
            }
        }
        Ok(changed)
    }

    /// Whether a consumer has a package with nothing but reference tables after a change record. There is one name for it.
    pub fn has_reference_package(&self, consumer: &ConsumerName, seq: i64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM consumers WHERE name = ?1 AND reference_seq = ?2)";
        Ok(self.connection.query_row(sql, (consumer.as_str(), seq), |row| row.get(0))?)
    }
}

impl WriteTx<'_> {
    /// Records a package before its files have names. `folder` is the absolute path of its consumer's folder, kept where the
    /// consumer is new.
    ///
    /// # Errors
    /// [`StoreError::InvalidData`] if the package does not begin where the last one ended.
    pub fn name_package(
        &self,
        consumer: &ConsumerName,
        folder: &Path,
        package: &NamedPackage,
    ) -> Result<(), StoreError> {
        let record = &package.record;
        let at = self.as_read_tx().consumer_position(consumer)?.unwrap_or_default().exported_seq;
        if at != record.from_seq {
            let what = format!(
                "position {at} of consumer {} instead of {}, where the new package begins,",
                consumer.as_str(),
                record.from_seq
            );
            return Err(StoreError::InvalidData { what });
        }
        self.connection.execute(
            "INSERT OR IGNORE INTO consumers (name, folder) VALUES (?1, ?2)",
            (consumer.as_str(), folder.to_string_lossy()),
        )?;
        self.connection.execute(
            &format!(
                "INSERT INTO packages ({PACKAGE_COLUMNS}, consumer, manifest, reference, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'named')"
            ),
            (
                record.from_seq,
                record.to_seq,
                &record.data_file,
                &record.manifest_file,
                record.rows.cast_signed(),
                record.bytes.cast_signed(),
                &record.sha256,
                &record.manifest_sha256,
                record.created_at.to_string(),
                consumer.as_str(),
                &package.manifest,
                serde_json::json!(package.reference).to_string(),
            ),
        )?;
        Ok(())
    }

    /// Records that the files of a named package have their names, and moves its consumer to the end of it.
    pub fn publish_package(
        &self,
        consumer: &ConsumerName,
        package: &PackageRecord,
        acknowledged: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let PackageRecord { from_seq, to_seq, .. } = package;
        let reference: String = self.connection.query_row(
            "UPDATE packages SET state = 'published', manifest = NULL, created_at = ?4
             WHERE consumer = ?1 AND to_seq = ?2 AND from_seq = ?3 RETURNING reference",
            (consumer.as_str(), to_seq, from_seq, now.to_string()),
            |row| row.get(0),
        )?;
        self.connection.execute(
            "UPDATE consumers SET exported_seq = ?2, acked_seq = CASE WHEN ?3 THEN ?2 ELSE acked_seq END,
                 exported_at = ?4, previous_manifest = CASE WHEN ?6 THEN last_manifest END, last_manifest = ?5,
                 reference_seq = CASE WHEN ?6 THEN ?2 ELSE reference_seq END
             WHERE name = ?1",
            (
                consumer.as_str(),
                to_seq,
                acknowledged,
                now.to_string(),
                &package.manifest_sha256,
                from_seq == to_seq,
            ),
        )?;
        for (table, hash) in parse_hashes(&reference)? {
            self.connection.execute(
                "INSERT OR REPLACE INTO exported_reference (consumer, table_name, hash) VALUES (?1, ?2, ?3)",
                (consumer.as_str(), table, hash),
            )?;
        }
        Ok(())
    }

    /// Deletes the record of a named package, of which there is no file.
    pub fn discard_named_package(&self, consumer: &ConsumerName) -> Result<(), StoreError> {
        let sql = "DELETE FROM packages WHERE consumer = ?1 AND state = 'named'";
        self.connection.execute(sql, [consumer.as_str()])?;
        Ok(())
    }

    /// Records that the folder of a consumer was moved.
    pub fn set_consumer_folder(&self, consumer: &ConsumerName, folder: &Path) -> Result<(), StoreError> {
        let sql = "UPDATE consumers SET folder = ?2 WHERE name = ?1";
        self.connection.execute(sql, (consumer.as_str(), folder.to_string_lossy()))?;
        Ok(())
    }

    /// Records the last change record that a consumer has acknowledged; an earlier one is ignored.
    pub fn acknowledge(&self, consumer: &ConsumerName, seq: i64) -> Result<(), StoreError> {
        let sql = "UPDATE consumers SET acked_seq = MAX(acked_seq, ?2) WHERE name = ?1";
        self.connection.execute(sql, (consumer.as_str(), seq))?;
        Ok(())
    }

    /// Deletes a consumer and the records of its packages.
    pub fn forget_consumer(&self, consumer: &ConsumerName) -> Result<(), StoreError> {
        self.forget_packages(consumer)?;
        if *consumer == ConsumerName::lake() {
            // Its chain begins anew, and a chain in the lake belongs to one epoch.
            self.end_lake_epoch("its packages were forgotten")?;
        }
        Ok(())
    }

    /// Deletes a consumer and the records of its packages, for a chain that begins anew.
    pub(super) fn forget_packages(&self, consumer: &ConsumerName) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM packages WHERE consumer = ?1", [consumer.as_str()])?;
        self.connection.execute("DELETE FROM exported_reference WHERE consumer = ?1", [consumer.as_str()])?;
        self.connection.execute("DELETE FROM consumers WHERE name = ?1", [consumer.as_str()])?;
        Ok(())
    }

    /// Deletes the record of a package; the position of its consumer stays.
    pub fn delete_package(&self, consumer: &str, package: &PackageRecord) -> Result<(), StoreError> {
        let sql = "DELETE FROM packages WHERE consumer = ?1 AND to_seq = ?2 AND from_seq = ?3";
        self.connection.execute(sql, (consumer, package.to_seq, package.from_seq))?;
        Ok(())
    }
}

fn parse_hashes(json: &str) -> Result<BTreeMap<String, i64>, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::InvalidData {
        what: format!("a package whose reference tables are not JSON ({error})"),
    })
}

fn read_position(row: &Row<'_>, first: usize) -> Result<ConsumerPosition, StoreError> {
    Ok(ConsumerPosition {
        exported_seq: row.get(first)?,
        acked_seq: row.get(first + 1)?,
        exported_at: parse_optional_timestamp(row.get(first + 2)?)?,
        last_manifest: row.get(first + 3)?,
        folder: Some(PathBuf::from(row.get::<_, String>(first + 4)?)),
        previous_manifest: row.get(first + 5)?,
    })
}

pub(super) fn read_package(row: &Row<'_>) -> Result<PackageRecord, StoreError> {
    Ok(PackageRecord {
        from_seq: row.get(0)?,
        to_seq: row.get(1)?,
        data_file: row.get(2)?,
        manifest_file: row.get(3)?,
        rows: row.get::<_, i64>(4)?.cast_unsigned(),
        bytes: row.get::<_, i64>(5)?.cast_unsigned(),
        sha256: row.get(6)?,
        manifest_sha256: row.get(7)?,
        created_at: parse_timestamp(&row.get::<_, String>(8)?)?,
    })
}
