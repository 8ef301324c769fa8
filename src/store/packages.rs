//! Consumers and their packages.

use std::path::PathBuf;

use rusqlite::{OptionalExtension as _, Row};

use super::tx::{parse_optional_timestamp, parse_timestamp};
use super::{ReadTx, StoreError, WriteTx};
use crate::config::ConsumerName;
use crate::ticket::Timestamp;

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
}

/// A package that is complete on disk: a row of `packages`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PackageRecord {
    /// The change record before the first one in it.
    pub from_seq: i64,
    /// The last change record in it.
    pub to_seq: i64,
    /// The absolute path of its folder.
    #[serde(skip)]
    pub folder: PathBuf,
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

const POSITION_COLUMNS: &str = "exported_seq, acked_seq, exported_at, last_manifest";

const PACKAGE_COLUMNS: &str = "from_seq, to_seq, folder, data_file, manifest_file, \"rows\", bytes, sha256, manifest_sha256, created_at";

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

    /// The packages of a consumer that have not aged out, in order.
    pub fn packages(&self, consumer: &str) -> Result<Vec<PackageRecord>, StoreError> {
        let sql = format!("SELECT {PACKAGE_COLUMNS} FROM packages WHERE consumer = ?1 ORDER BY to_seq");
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([consumer])?;
        let mut packages = Vec::new();
        while let Some(row) = rows.next()? {
            packages.push(read_package(row)?);
        }
        Ok(packages)
    }
}

impl WriteTx<'_> {
    /// Records a package and moves its consumer to the end of it.
    ///
    /// # Errors
    /// [`StoreError::InvalidData`] if the package does not begin where the last one ended.
    pub fn record_package(
        &self,
        consumer: &ConsumerName,
        package: &PackageRecord,
        acknowledged: bool,
    ) -> Result<(), StoreError> {
        let at = self.as_read_tx().consumer_position(consumer)?.unwrap_or_default().exported_seq;
        if at != package.from_seq {
            let what = format!(
                "position {at} of consumer {} instead of {}, where the new package begins,",
                consumer.as_str(),
                package.from_seq
            );
            return Err(StoreError::InvalidData { what });
        }
        let created_at = package.created_at.to_string();
        self.connection.execute(
            "INSERT INTO consumers (name, exported_seq, acked_seq, exported_at, last_manifest)
             VALUES (?1, ?2, CASE ?3 WHEN 1 THEN ?2 ELSE 0 END, ?4, ?5)
             ON CONFLICT (name) DO UPDATE SET exported_seq = excluded.exported_seq,
                 acked_seq = MAX(acked_seq, excluded.acked_seq), exported_at = excluded.exported_at,
                 last_manifest = excluded.last_manifest",
            (consumer.as_str(), package.to_seq, acknowledged, &created_at, &package.manifest_sha256),
        )?;
        self.connection.execute(
            &format!("INSERT INTO packages (consumer, {PACKAGE_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"),
            (
                consumer.as_str(),
                package.from_seq,
                package.to_seq,
                package.folder.to_string_lossy(),
                &package.data_file,
                &package.manifest_file,
                package.rows.cast_signed(),
                package.bytes.cast_signed(),
                &package.sha256,
                &package.manifest_sha256,
                created_at,
            ),
        )?;
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
        self.connection.execute("DELETE FROM packages WHERE consumer = ?1", [consumer.as_str()])?;
        self.connection.execute("DELETE FROM consumers WHERE name = ?1", [consumer.as_str()])?;
        Ok(())
    }

    /// Deletes the record of a package; the position of its consumer stays.
    pub fn delete_package(&self, consumer: &str, to_seq: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM packages WHERE consumer = ?1 AND to_seq = ?2";
        self.connection.execute(sql, (consumer, to_seq))?;
        Ok(())
    }
}

fn read_position(row: &Row<'_>, first: usize) -> Result<ConsumerPosition, StoreError> {
    Ok(ConsumerPosition {
        exported_seq: row.get(first)?,
        acked_seq: row.get(first + 1)?,
        exported_at: parse_optional_timestamp(row.get(first + 2)?)?,
        last_manifest: row.get(first + 3)?,
    })
}

fn read_package(row: &Row<'_>) -> Result<PackageRecord, StoreError> {
    Ok(PackageRecord {
        from_seq: row.get(0)?,
        to_seq: row.get(1)?,
        folder: PathBuf::from(row.get::<_, String>(2)?),
        data_file: row.get(3)?,
        manifest_file: row.get(4)?,
        rows: row.get::<_, i64>(5)?.cast_unsigned(),
        bytes: row.get::<_, i64>(6)?.cast_unsigned(),
        sha256: row.get(7)?,
        manifest_sha256: row.get(8)?,
        created_at: parse_timestamp(&row.get::<_, String>(9)?)?,
    })
}
